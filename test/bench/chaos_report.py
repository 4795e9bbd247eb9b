#!/usr/bin/env python3
"""All episodes that were ever kept, added up: make chaos-report.

Reads test/bench/results/chaos-*.jsonl (rows as in test/lib/faultkinds.py) and the results of the scenarios
of the catalogue (test/faults/results.json, see make faults). Exit code 1 when an episode had a violation.
"""
import collections
import glob
import json
import os
import statistics
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "faults"))

import page  # noqa: E402


def episodes():
    for path in sorted(glob.glob(os.path.join(ROOT, "test", "bench", "results", "chaos-*.jsonl"))):
        with open(path, encoding="utf-8") as f:
            for line in f:
                yield json.loads(line)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))]


def gaps(values):
    values = [v / 1000 for v in values if v is not None]
    if not values:
        return "                       "
    return f"{statistics.median(values):7.2f} {percentile(values, 0.99):7.2f} {max(values):7.2f}"


def main():
    rows = list(episodes())
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
    results = page.load_results()
    runs = sum(r["runs"] for r in results.values())
    failed = sum(r["failed"] for r in results.values())
    print(f"\n{len(results)} scenarios with {runs} kept runs, {failed} failed: docs/faults.md")
    seldom = [r["n"] for r in page.all_rows(page.catalogue()) if r.get("by") and
              sum(results.get(ref, {}).get("runs", 0) for ref in r["by"]) +
              sum(len(by.get(ref.partition("::")[2], ())) for ref in r["by"]) < 5]
    if seldom:
        print(f"faults of the catalogue that were made to happen less than five times: "
              f"{', '.join(map(str, seldom))}")
    for r in bad:
        print(f"\nseed {r['seed']} ({', '.join(r['faults'])}) on {r['on']}, {r['at']}:")
        for v in r["violations"]:
            print(f"  {v}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
