#!/usr/bin/env python3
"""Compares two builds of pghad that bench.py measured in turn: ratios, and what moved beyond noise.

    make bench-check REF=commit [N=20] [METRIC=P1,P2]

Moved: the 95 % interval of the ratio of medians does not hold 1. The exit code is 0 either way: what a
change may cost is a person's decision.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import figures  # noqa: E402
import phases  # noqa: E402
import stats  # noqa: E402


def verdict(interval):
    if interval is None:
        return "too few episodes"
    low, high = interval
    return "SLOWER" if low > 1 else "faster" if high < 1 else "within noise"


def lines(rows):
    """The comparison, line by line."""
    yield f"{'':<44} {'n':>7} {'this':>9} {'ref':>9} {'ratio':>6}  95 % interval"
    for metric, (title, _, _) in figures.METRICS.items():
        this, ref = (figures.values(rows, s, metric) for s in ("pghad", "ref"))
        if not this or not ref:
            continue
        ratio, interval = stats.ratio(this, ref)
        span = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
        yield (f"{metric:<4}{title:<40} {len(this):>3}/{len(ref):<3} {stats.median(this):>7.0f}ms "
               f"{stats.median(ref):>7.0f}ms {ratio:>6.2f}  {span}  {verdict(interval)}")


def step_lines(rows):
    """Where a difference lies: the median of each phase since the last acknowledgement."""
    for metric in ("P1", "P2", "P3", "P4"):
        both = [figures.episodes(rows, s, metric) for s in ("pghad", "ref")]
        if not all(both):
            continue
        yield f"\n{metric}: phases since the last acknowledgement, this and ref, ms"
        for phase in phases.ORDER:
            at = [[e["phases_ms"][phase] for e in found if phase in e["phases_ms"]] for found in both]
            if all(at):
                yield f"    {phase:<16} {stats.median(at[0]):>8.0f} {stats.median(at[1]):>8.0f}"


def main():
    rows = figures.load(sys.argv[1])
    for line in [*lines(rows), *step_lines(rows)]:
        print(line)


if __name__ == "__main__":
    main()
