"""The table of failovers under load, from what load.py has measured."""
import stats
from scale_report import of

NOT_MEASURED = "Not measured yet: `make bench-load`.\n"


def gaps(rows, case, metric):
    return [r["gap_ms"] for r in of(rows, "episode") if r["case"] == case and r["metric"] == metric]


def seconds(ms):
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms"


def _cell(values):
    return f"{seconds(stats.median(values))}, at most {seconds(max(values))} (n={len(values)})" if values else "not measured"


def returns(rows, case):
    """(plain, after pg_rewind): ms until the killed primary streamed again."""
    found = [(r["streams_ms"].get(r["old"]), r["rewound"]) for r in of(rows, "episode")
             if r["case"] == case and r["metric"] == "P1" and r["old"] != r["new"]]
    return ([ms for ms, rewound in found if ms is not None and not rewound],
            [ms for ms, rewound in found if ms is not None and rewound])


def overview(rows, table):
    lines = []
    for c in of(rows, "case"):
        plain, rewound = returns(rows, c["case"])
        lines.append([c["says"], _cell(gaps(rows, c["case"], "P1")), _cell(gaps(rows, c["case"], "P2")),
                      _cell(plain) if plain else "", _cell(rewound) if rewound else ""])
    return table(["condition", "PostgreSQL killed", "switchover", "the killed one streams again",
                  "the same after pg_rewind"], lines) if lines else NOT_MEASURED
