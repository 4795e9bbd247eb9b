"""Results of the chaos suite as a table, beside Patroni's on kind and the project's goals.

    python3 test/kind/kind_report.py RESULTS.jsonl... REPORT.md
"""
import collections
import json
import os
import statistics
import sys

# Patroni 3.0.2 with PostgreSQL 15 on kind on a machine of the same kind (two cores, one control plane,
# three workers), asynchronous, one row in 5 ms through the leader's Service; longest gap in s, smallest
# and largest of 2 to 6 episodes. First with its defaults (ttl 30, loop_wait 10), then tuned to its floor
# (ttl 20, loop_wait 1, retry_timeout 3).
PATRONI = {
    "switchover": ("1.4 to 3.7", "1.5 to 3.7"),
    "postgres killed": ("1.9 to 9.5", "1.0 to 2.7"),
    "container killed": ("2.1 to 4.6", "2.1 to 4.5"),
    "pod deleted": ("3.3 to 3.4", "2.2 to 3.9"),
    "pod deleted, forced": ("3.4 to 4.0", "2.5 to 3.4"),
    "node frozen": ("24.4 to 30.3", "23.2 to 24.3"),
    "node cut off": ("26.3 to 29.2", "22.8 to 24.3"),
    "API away 60 s": ("34.9 to 40.5, 0.1 with failsafe_mode", "55.2 to 56.5, 0.1 with failsafe_mode"),
    "rolling restart": ("3.6 in sum", "4.4 in sum"),
}
# fault: (what of the row, its p50 at most, in ms; LEASE: that of the lease besides)
LEASE = "lease"
GOALS = {
    "switchover": ("gap_ms", 400),
    "pod deleted": ("gap_ms", 500),
    "container killed": ("gap_ms", 1500),
    "node frozen": ("gap_ms", 1000, LEASE),
    "node killed": ("gap_ms", 1000, LEASE),
    "node cut off": ("gap_ms", 1000, LEASE),
    "API away 60 s": ("gap_ms", 200),
    "rolling restart": ("silent_ms", 500),
    "rollout": ("silent_ms", 500),
    "rollout of an image": ("silent_ms", 500),
}


def seconds(ms):
    return "–" if ms is None else f"{ms / 1000:.2f}"


def goal(fault, rows):
    """(text, met or None) of the fault's goal."""
    if fault not in GOALS:
        return "", None
    what, limit, *more = GOALS[fault]
    if more:
        limit += 1000 * max(r.get("lease_s") or 0 for r in rows)
    have = [r[what] for r in rows if what in r]
    text = f"{limit / 1000:g}" + (" in sum" if what == "silent_ms" else "")
    return text, bool(have) and statistics.median(have) <= limit


def values(rows, key):
    found = [r[key] for r in rows if r.get(key) is not None]
    return (statistics.median(found), max(found)) if found else (None, None)


def table(rows):
    groups = collections.defaultdict(list)
    for r in rows:
        groups[r["fault"]].append(r)
    yield ("| fault | n | gap p50 | gap max | the cluster's own p50 | of it after the endpoint p50 "
           "| silent in sum p50 | no endpoint max | healthy p50 | goal p50 | Patroni | Patroni tuned |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for fault, found in groups.items():
        text, met = goal(fault, found)
        mark = "" if met is None else " ✓" if met else " **missed**"
        gap, own, proxy, silent, empty, healthy = (values(found, k) for k in (
            "gap_ms", "own_ms", "proxy_ms", "silent_ms", "empty_ms", "healthy_ms"))
        yield "| " + " | ".join([fault, str(len(found)), seconds(gap[0]), seconds(gap[1]),
                                 seconds(own[0]), seconds(proxy[0]), seconds(silent[0]), seconds(empty[1]),
                                 seconds(healthy[0]),
                                 text + mark, *PATRONI.get(fault, ("", ""))]) + " |"


def phases(rows):
    """Where the time of each fault went, p50 of each phase."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for r in rows:
        if r.get("container_ms") is not None:
            groups[r["fault"]]["container started again after"].append(r["container_ms"])
        for phase, ms in (r.get("phases_ms") or {}).items():
            groups[r["fault"]][phase].append(ms)
    for fault, found in groups.items():
        yield f"* {fault}: " + ", ".join(f"{phase} {statistics.median(ms):.0f} ms (n = {len(ms)})"
                                         for phase, ms in found.items())


def report(rows):
    bad = [r for r in rows if r["violations"]]
    leases = sorted({r["lease_s"] for r in rows if r.get("lease_s")})
    yield "# Chaos on kind"
    yield ""
    yield (f"{len(rows)} episodes, {len(bad)} with violations; "
           f"{sum(r.get('acked') or 0 for r in rows)} rows acknowledged, "
           f"{sum(r.get('late') or 0 for r in rows)} of them late. Lease "
           f"{', '.join(map(str, leases))} s. One row in 5 ms through the Service `-rw`; times in s.")
    commits = collections.Counter(r["commit"] for r in rows if r.get("commit"))
    if commits:
        yield ""
        yield ("From " + min(r["at"] for r in rows)[:10] + " to " + max(r["at"] for r in rows)[:10] + ", of " +
               ", ".join(f"{commit} ({n})" for commit, n in commits.items()) + ".")
    loads = [r["load"] for r in rows if "load" in r]
    if loads:
        yield ""
        yield (f"Load average of the machine in the episodes: p50 {statistics.median(loads):.1f}, max "
               f"{max(loads):.1f}, with {os.cpu_count()} processors. Times of a machine that is busy "
               "with other things say little.")
    yield ""
    yield from table(rows)
    yield ""
    yield ("Gap: longest silence between two acknowledgements from the fault until all is healthy again. "
           "The cluster's own: no write for so long, as its history says; what is beyond is the Service's. "
           "After the endpoint: from the last change of the EndpointSlice to the first acknowledgement, which is "
           "kube-proxy's time, at least 1 s between two changes of its rules. Silent in sum: all "
           "silences over 0.1 s together. No endpoint: how long `-rw` led nowhere. "
           "Healthy: all members stream again; faults that are held for a time include it.")
    told = list(phases(rows))
    if told:
        yield ""
        yield "Phases of the changes, as the cluster's history has them, p50:"
        yield ""
        yield from told
    if bad:
        yield ""
        yield "Violations:"
        yield ""
    for r in bad:
        yield f"* {r['fault']} ({r['at']}): {'; '.join(r['violations'])}"


def main():
    *results, out = sys.argv[1:]
    rows = []
    for path in results:
        with open(path) as f:
            rows += [json.loads(line) for line in f]
    if not rows:
        sys.exit("no results")
    with open(out, "w") as f:
        f.writelines(line + "\n" for line in report(rows))
    print(f"  {len(rows)} episodes, {sum(bool(r['violations']) for r in rows)} with violations: {out}")


if __name__ == "__main__":
    main()
