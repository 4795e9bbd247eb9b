"""The table of health requests, from what health.py has measured."""
import stats
from scale_report import of

NOT_MEASURED = "Not measured yet: `make bench-health`.\n"
# condition of a run: (what it is, the goal)
CONDITIONS = {"keep-alive": ("connections that stay open", "≥ 50,000/s, p99 ≤ 2 ms"),
              "closing": ("a connection for each request", "≥ 15,000/s"),
              "failing over": ("connections that stay open, to each of two members while one is promoted", "")}


def _cell(rows):
    if not rows:
        return "not measured"
    per_s, p99 = ([r[key] for r in rows] for key in ("per_s", "p99_ms"))
    unanswered = sum(r["unanswered"] for r in rows)
    return (f"{stats.median(per_s):,.0f}/s, p99 {stats.median(p99):.2f} ms, at most {max(p99):.2f} (n={len(rows)})" +
            (f", {unanswered:,} unanswered" if unanswered else ""))


def overview(rows, table):
    subjects = {r["subject"]: r["title"] for r in of(rows, "subject")}
    if not subjects:
        return NOT_MEASURED
    lines = [[title, goal, *(_cell([r for r in of(rows, "health") if (r["subject"], r["condition"]) == (s, condition)])
                             for s in subjects)] for condition, (title, goal) in CONDITIONS.items()]
    return table(["asked over 64 connections", "goal", *subjects.values()], lines)
