"""Tables and plots of how cost grows, from what scale.py has measured."""
import json
import os

import plots
import stats


def load(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def of(rows, what):
    return [r for r in rows if r["what"] == what]


def quantile(cumulative, q):
    """Upper bound in ms of the bucket that the quantile falls into; None without any."""
    bounds = sorted((float("inf") if le == "+Inf" else float(le), n) for le, n in cumulative.items())
    total = bounds[-1][1] if bounds else 0
    return next((1000 * le for le, n in bounds if n >= total * q), None) if total else None


def bucket(cumulative, q):
    ms = quantile(cumulative, q)
    return "none" if ms is None else "above all" if ms == float("inf") else f"≤ {ms:g} ms"


def gaps(rows, size, metric):
    return [r["gap_ms"] for r in of(rows, "episode") if r["size"] == size and r["metric"] == metric]


def per_second(r):
    return sum(r["requests"].values()) / r["seconds"]


def _gap(v):
    return f"{stats.median(v):.0f} ms, at most {max(v):.0f} (n={len(v)})" if v else ""


def members(rows, table):
    lines = []
    for start in of(rows, "start"):
        size = start["size"]
        r = next(r for r in of(rows, "rest") if r["size"] == size)
        lines.append([str(size), f"{start['writable_ms'] / 1000:.1f} s", f"{start['whole_ms'] / 1000:.1f} s",
                      _gap(gaps(rows, size, "P1")), _gap(gaps(rows, size, "P2")),
                      f"{per_second(r):.2f}/s", f"{stats.median(r['rss_kb']) / 1024:.1f} MB",
                      f"{stats.median(r['cpu_percent']):.2f} %, at most {max(r['cpu_percent']):.2f}",
                      bucket(r["renewals"], 0.5)])
    return table(["members", "writable after", "all stream after", "PostgreSQL killed", "switchover",
                  "API requests", "RSS of a member's supervisor", "its processor, of one core",
                  "renewal of the Lease, p50"], lines)


def clusters(rows, table):
    lines = [[str(r["count"]), f"{per_second(r):.2f}/s", f"{per_second(r) / r['count']:.2f}/s",
              f"{r['server_cpu_percent']:.1f} %", f"{r['server_rss_kb'] / 1024:.0f} MB",
              f"{stats.median(r['rss_kb']) / 1024:.1f} MB", f"{stats.median(r['cpu_percent']):.2f} %",
              bucket(r["renewals"], 0.5), bucket(r["renewals"], 0.99)] for r in of(rows, "clusters")]
    return table(["clusters of three", "API requests", "of each cluster", "API server's processor, of one core",
                  "its RSS", "RSS of a member's supervisor", "its processor, of one core",
                  "renewal of the Lease, p50", "p99"], lines)


def drawings(rows):
    """{file name: SVG}"""
    made = {}
    sizes = [r["size"] for r in of(rows, "start")]
    if len(sizes) > 1:
        made["scale-members.svg"] = plots.lines("Milliseconds by members", "members", [
            ("PostgreSQL killed", [(n, stats.median(gaps(rows, n, "P1"))) for n in sizes if gaps(rows, n, "P1")]),
            ("switchover", [(n, stats.median(gaps(rows, n, "P2"))) for n in sizes if gaps(rows, n, "P2")])])
    found = of(rows, "clusters")
    if len(found) > 1:
        made["scale-clusters.svg"] = plots.lines("On one API server, by clusters of three", "clusters", [
            ("API requests in 10 s", [(r["count"], 10 * per_second(r)) for r in found]),
            ("API server: % of a core", [(r["count"], r["server_cpu_percent"]) for r in found]),
            ("renewal p99, ms at most", [(r["count"], quantile(r["renewals"], 0.99)) for r in found])])
    return made


def pictures(rows):
    return "\n".join(f"![{name[:-4]}](performance/{name})\n" for name in sorted(drawings(rows)))
