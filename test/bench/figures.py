"""From raw episodes to figures: which rows count, and what each metric is computed from."""
import json

import stats

# metric: (title, goal in words, floor in words)
METRICS = {
    "P1": ("PostgreSQL killed", "p50 ≤ 120 ms, p99 ≤ 400 ms", "45 to 70 ms"),
    "P2": ("planned switchover", "p50 ≤ 150 ms, p99 ≤ 350 ms", "85 to 130 ms"),
    "P3": ("member killed, from its container's return", "p50 ≤ 500 ms", "220 to 350 ms"),
    "P4": ("node lost", "p99 ≤ lease + 500 ms", "lease + 50 ms"),
    "P5": ("promotion asked for to first commit", "p50 ≤ 40 ms, p99 ≤ 150 ms", "28 ms"),
    "P6c": ("old primary streams again, clean", "p50 ≤ 500 ms", "120 ms"),
    "P6x": ("old primary streams again, crashed", "p50 ≤ 2000 ms", "900 ms"),
    "P7": ("other replicas stream from the new primary", "p99 ≤ 500 ms", "50 ms"),
    "SVC": ("switchover, through the Service", "", ""),
    "ALONE": ("commits are acknowledged before any standby streams from the new primary", "0 ms", "0 ms"),
}
BY_ITSELF = "-by-itself"
# Of whose episodes it is computed.
SOURCES = {"P1": ["P1"], "P2": ["P2"], "P3": ["P3"], "P4": ["P4"], "P5": ["P1", "P2", "P4"],
           "P6c": ["P2"], "P6x": ["P1"], "P7": ["P1", "P2"], "SVC": ["P2"],
           "ALONE": ["P1", "P2", "P4"]}


def load(path):
    """Rows of a run; of each subject only those of the build that was measured last."""
    with open(path) as f:
        rows = [json.loads(line) for line in f if line.endswith("\n")]
    newest = {r["subject"]: r["build"] for r in rows if r["what"] in ("episode", "rest")}
    beside = {r["session"] for r in rows if r["what"] == "subject" and r["peer"]}
    kept = [r for r in rows if "build" not in r or newest.get(r["subject"]) == r["build"]]
    return _by_itself(kept, beside) if beside else kept


def _by_itself(rows, beside):
    """Clusters at rest cost processor time, so what was measured in no session with a peer is another subject:
    it may not be held against peers that stood beside one another."""

    def renamed(r):
        if "subject" not in r or r["session"] in beside:
            return r
        more = {"title": f"{r['title']}, by itself"} if "title" in r else {}
        return {**r, **more, "subject": f"{r['subject']}{BY_ITSELF}"}
    return [renamed(r) for r in rows]


def subjects(rows):
    """{name: last row that describes it}, pghad first."""
    found = {r["subject"]: r for r in rows if r["what"] == "subject"}
    return dict(sorted(found.items(), key=lambda s: (s[1]["peer"], s[0])))


def episodes(rows, subject, *metrics):
    return [r for r in rows if r["what"] == "episode" and r["subject"] == subject and
            r["metric"] in metrics and "failed" not in r]


def _others(e):
    """When the last of the members that stayed replicas streamed, from the end of recovery."""
    times = [t for name, t in e["streams_ms"].items() if name != e["old"]]
    ended = e["phases_ms"].get("recovery_ended")
    return max(0.0, max(times) - ended) if times and ended is not None else None


def _alone(e):
    """For how long what clients were told was on the new primary's volume only."""
    times = e["streams_ms"].values()
    return max(0.0, min(times) - e["phases_ms"]["first_commit"]) if times and "promote_sent" in e["phases_ms"] else None


def values(rows, subject, metric):
    """The figures of one metric, in ms, one per episode."""
    def of(f):
        found = (f(e) for e in episodes(rows, subject, *SOURCES[metric]))
        return [round(v, 2) for v in found if v is not None]

    if metric in ("P1", "P2", "P4"):
        return of(lambda e: e["gap_ms"])
    if metric == "P3":
        return of(lambda e: (e["gap_to_us"] - e["back_us"]) / 1000)
    if metric == "P5":
        return of(lambda e: e["phases_ms"]["first_commit"] - e["phases_ms"]["promote_sent"]
                  if "promote_sent" in e["phases_ms"] else None)
    if metric in ("P6c", "P6x"):
        return of(lambda e: e["streams_ms"].get(e["old"]))
    if metric == "P7":
        return of(_others)
    if metric == "ALONE":
        return of(_alone)
    return of(lambda e: e["front_gap_ms"])


# Of a cluster at rest: (title, goal, unit, how it is written).
REST = {
    "P8": ("API requests of three members at rest", "≤ 0.6/s", "{:.2f}/s"),
    "P9m": ("memory of a member's supervisor, RSS", "≤ 8 MB", "{:.1f} MB"),
    "P9p": ("the same, proportional (PSS)", "", "{:.1f} MB"),
    "P9c": ("processor at rest, of one core", "≤ 0.1 %", "{:.2f} %"),
}


def at_rest(rows, subject):
    """{"P8": value, ...} of the last look at it, means over the members; {}: nobody looked."""
    found = [r for r in rows if r["what"] == "rest" and r["subject"] == subject]
    if not found:
        return {}
    members = list(found[-1]["members"].values())

    def mean(key):
        return sum(m[key] for m in members) / len(members)
    return {"P8": sum(found[-1]["requests"].values()) / found[-1]["seconds"],
            "P9m": mean("rss_kb") / 1024, "P9p": mean("pss_kb") / 1024, "P9c": mean("cpu_percent")}


def violations(rows, subject):
    """{"lost rows": n, ...} over all episodes of a subject, without what did not happen."""
    total = {}
    for e in (r for r in rows if r["what"] == "episode" and r["subject"] == subject):
        for word, key in (("rows lost", "lost"), ("overlaps", "overlaps"), ("phantoms", "phantom"),
                          ("refused rows found", "not_failed")):
            total[word] = total.get(word, 0) + e.get(key, 0)
        total["episodes failed"] = total.get("episodes failed", 0) + ("failed" in e)
    return {k: v for k, v in total.items() if v}


def median_episode(found):
    """The episode whose gap is nearest to the median gap."""
    middle = stats.median([e["gap_ms"] for e in found])
    return min(found, key=lambda e: (abs(e["gap_ms"] - middle), e["episode"]))


def steps(episode, order):
    """[(phase, from ms, to ms)] of one episode, in order of time, up to the first commit."""
    at = sorted(((v, order.index(k), k) for k, v in episode["phases_ms"].items()
                 if 0 < v <= episode["phases_ms"]["first_commit"]))
    out, last = [], 0.0
    for ms, _, phase in at:
        out.append((phase, last, ms))
        last = ms
    return out
