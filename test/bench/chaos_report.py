#!/usr/bin/env python3
"""All episodes that were ever kept, added up: make chaos-report.

Reads test/bench/results/chaos-*.jsonl (rows as in test/lib/faultkinds.py) and, for the faults of the
catalogue, also the results of its scenarios (test/faults/results.json, see make faults), of the suite on
kind (test/kind/results) and of make bench-fence. Exit code 1 when a random episode had a violation.
"""
import collections
import glob
import json
import os
import re
import statistics
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "faults"))

import page  # noqa: E402


ENOUGH = 5
KIND = "lib/faultkinds::"  # of a random episode, whichever of those files it is in
# What is computed or calls a function: no real fault, and made thousands of times in each run of the tests.
COMPUTED = ("sim/", "exhaustive/", "fuzz/", "unit/", "bench/resources")


def lines_of(*pattern):
    for path in sorted(glob.glob(os.path.join(ROOT, "test", *pattern))):
        with open(path, encoding="utf-8") as f:
            for line in f:
                yield json.loads(line)


def episodes():
    return lines_of("bench", "results", "chaos-*.jsonl")


def runs_by_reference(results):
    """How often each scenario, as the catalogue names it, was run with a result that was kept."""
    runs = collections.Counter({ref: r["runs"] for ref, r in results.items() if not ref.startswith(page.RANDOM)})
    for r in episodes():
        runs.update(f"{KIND}{fault}" for fault in r["faults"])
    for r in lines_of("kind", "results", "*.jsonl"):
        runs[f"kind/faults.py::{r.get('fault')}"] += 1
    for r in lines_of("bench", "results", "fence-*.jsonl"):
        if "n" in r:
            runs["bench/fence.py::" + r["condition"].replace("file system frozen", "one_frozen")] += 1
    return runs


def automated_rows():
    """Rows of the catalogue with a scenario that makes the fault real."""
    return [r for r in page.all_rows(page.catalogue())
            if any(not ref.startswith(COMPUTED) for ref in r.get("by") or ())]


def made(row, runs):
    """How often the fault of a row was made to happen."""
    refs = {re.sub(r"^lib/faultkinds\w*\.py::", KIND, ref) for ref in row["by"]}
    return sum(runs.get(ref, 0) for ref in refs)


def seldom_rows(runs):
    return [r for r in automated_rows() if made(r, runs) < ENOUGH]


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))]


def gaps(values):
    values = [v / 1000 for v in values if v is not None]
    if not values:
        return "                       "
    return f"{statistics.median(values):7.2f} {percentile(values, 0.99):7.2f} {max(values):7.2f}"


def report_catalogue(results):
    real = automated_rows()
    seldom = seldom_rows(runs_by_reference(results))
    print(f"faults of the catalogue that were made to happen {ENOUGH} times or more: "
          f"{len(real) - len(seldom)} of {len(real)}" +
          (f"; seldomer: {', '.join(str(r['n']) for r in seldom)} (make scenarios-seldom)" if seldom else ""))
    computed = [r["n"] for r in page.all_rows(page.catalogue()) if r not in real and r.get("by")]
    print(f"by the simulator, computed or measured only: {', '.join(map(str, computed))}")


def main():
    kept = list(episodes())
    rows = [r for r in kept if "mended" not in r]
    bad = [r for r in rows if r["violations"]]
    by = collections.defaultdict(list)
    for r in rows:
        for fault in r["faults"]:
            by[fault].append(r)
    together = collections.Counter(len(r["faults"]) for r in rows)
    healed = [r["healed_ms"] for r in rows if r.get("healed_ms") is not None]
    print(f"{len(rows)} random episodes, {len(bad)} with violations; faults at once: "
          f"{', '.join(f'{n}: {together[n]}' for n in sorted(together))}")
    print(f"{sum(r['acked'] for r in rows)} rows acknowledged, {sum(r['unknown'] for r in rows)} unknown, "
          f"{sum(r['late'] for r in rows)} late")
    if healed:
        print(f"healthy after the last fault: p50 {statistics.median(healed) / 1000:.1f} s, "
              f"p99 {percentile(healed, 0.99) / 1000:.1f} s, max {max(healed) / 1000:.1f} s")
    print(f"\n{'fault, alone or with others':<34} {'n':>4} {'bad':>4} {'gap p50':>7} {'p99':>7} {'max':>7}  (s)")
    for fault in sorted(by, key=lambda f: (-len(by[f]), f)):
        found = by[fault]
        print(f"{fault:<34} {len(found):>4} {sum(bool(r['violations']) for r in found):>4} "
              f"{gaps([r['gap_ms'] for r in found])}")
    print(f"{'all':<34} {len(rows):>4} {len(bad):>4} {gaps([r['gap_ms'] for r in rows])}")
    results = {ref: r for ref, r in page.load_results().items() if not ref.startswith(page.RANDOM)}
    runs = sum(r["runs"] for r in results.values())
    failed = sum(r["failed"] for r in results.values())
    print(f"\n{len(results)} scenarios with {runs} kept runs, {failed} failed: docs/faults.md")
    report_catalogue(results)
    for r in kept:
        if "mended" in r:
            print(f"not counted: seed {r['seed']} ({', '.join(r['faults'])}), {r['violations'][0].split(':')[0]}; "
                  f"mended since, see {r['mended']}")
    for r in bad:
        print(f"\nseed {r['seed']} ({', '.join(r['faults'])}) on {r['on']}, {r['at']}:")
        for v in r["violations"]:
            print(f"  {v}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
