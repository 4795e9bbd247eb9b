"""Scenarios for those rows of the catalogue of faults that were made to happen less than five times.

make scenarios-seldom takes of each such row the scenario that ran least often; as often as needed.
"""
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "faults"), os.path.join(ROOT, "test", "bench")]

import chaos_report  # noqa: E402
import page  # noqa: E402
import results  # noqa: E402


def choose(rows, runs, named):
    """Indexes into named, a set of references per scenario that can run here."""
    chosen = []
    for row in sorted(rows, key=lambda r: chaos_report.made(r, runs)):
        able = [i for i, names in enumerate(named) if names & set(row["by"])]
        if able and not set(able) & set(chosen):
            chosen.append(min(able, key=lambda i: min(runs.get(ref, 0) for ref in named[i] & set(row["by"]))))
    return sorted(chosen)


def select(items):
    """Those of pytest's items; counts runs that make faults has not taken in yet."""
    kept = page.take_in(page.load_results(), page.read(page.NEW).splitlines())
    runs = chaos_report.runs_by_reference(kept)
    rows = chaos_report.seldom_rows(runs)
    return [items[i] for i in choose(rows, runs, [set(results.names(item)) for item in items])]
