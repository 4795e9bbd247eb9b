"""What each scenario came to, one JSON line per run in build/fault-results.jsonl: `make faults` takes them
into docs/faults.md."""
import json
import os
import time

import checker

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PATH = os.path.join(ROOT, "build", "fault-results.jsonl")


def names(item):
    """The scenario as the catalogue names it, and its parameters where those are names there, too."""
    base = os.path.join(ROOT, "test")
    file = os.path.relpath(str(item.path), base)
    found = [f"{file}::{item.originalname or item.name}"]
    call = getattr(item, "callspec", None)
    if call and "api_fault" in call.params:
        found.append(f"scenarios/api_faults.py::{call.id}")
    if call:
        found += [f"{file}::{v.__name__}" for v in call.params.values()
                  if getattr(v, "__module__", None) == item.module.__name__]
    return found


def gap_ms(logs):
    """Longest silence that the writer of one of these logs saw, None without rows."""
    gaps = [g for g in (checker.History(path).gap_us() for path in logs) if g is not None]
    return max(gaps) / 1000 if gaps else None


def record(item, report, on, logs=()):
    """One run; never a reason for a test to fail."""
    if report.when != "call" or report.skipped:
        return
    gap = gap_ms(logs)
    row = {"result": report.outcome, "on": on, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
           **({} if gap is None else {"gap_ms": round(gap, 1)})}
    try:
        os.makedirs(os.path.dirname(PATH), exist_ok=True)
        with open(PATH, "a") as f:
            f.writelines(json.dumps({"scenario": name, **row}) + "\n" for name in names(item))
    except OSError:
        pass
