#!/usr/bin/env python3
"""How cost grows with the number of members and of clusters on one API server.

    make bench-scale [SIZES=1,3,5,9,16] [CLUSTERS=1,10,25,50] [N=5] [REST_S=60] [RUN=latest]

Runs inside test/lib/sandbox.py, with real PostgreSQL throughout. For each size a cluster is made from nothing: until
it takes writes, and until all stream; then at rest: requests, memory, processor, how long a renewal of the Lease takes;
then N failovers and N switchovers. After that clusters of three, more and more of them beside one another, at rest.
Raw data, an object per line, replaces test/bench/results/scale-RUN.jsonl; scale_report.py makes the tables of
docs/performance.md from it.
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.dirname(os.path.abspath(__file__))]

import bench  # noqa: E402
import rest  # noqa: E402
import wait  # noqa: E402
from subject import Labels, Pghad, Watched  # noqa: E402

START_S = 600  # bound for a cluster to come up, never a measure
AT_ONCE = 4    # clusters that are started at the same time
BUCKET = re.compile(r'^pgha_lease_renew_seconds_bucket\{le="([^"]+)"\} (\d+)$', re.M)


class Sized(Pghad):
    """A cluster of any size. Its servers take little memory, so that many fit."""

    healthy_s = START_S

    def __init__(self, name, number, size):
        options = {"postgres.parameters": json.dumps({"shared_buffers": "8MB"})}
        if size == 1:
            options["replication.mode"] = "async"  # nobody can confirm anything
        super().__init__(name, f"{size} members", number, options=options)
        self.size = size

    def start_timed(self):
        """{"writable_ms", "whole_ms"} from the start of its containers."""
        os.makedirs(self.dir, exist_ok=True)
        began = wait.boot_s()
        self._start()
        wait.until(self.cluster.writable, START_S, f"{self.name}: a writable primary", every=0.02)
        writable = wait.boot_s()
        self.wait_healthy()
        return {"writable_ms": round((writable - began) * 1000),
                "whole_ms": round((wait.boot_s() - began) * 1000)}

    @contextlib.contextmanager
    def undisturbed(self):
        self.cluster.kubelet.stop()  # it asks for readiness far more often than a real one; not needed again
        yield

    def watch(self):
        self.front = Watched(self.kube, self.net, self.ns, self.service)
        self.labels = Labels(self.kube, self.ns, self.primary_label)

    def renewals(self):
        """{upper bound in s: renewals so far} of all members."""
        total = {}
        for m in self.members:
            for le, n in BUCKET.findall(m.get("/metrics")[1]):
                total[le] = total.get(le, 0) + int(n)
        return total


def between(before, after):
    """What a cumulative histogram has counted meanwhile, still cumulative."""
    return {le: after[le] - before.get(le, 0) for le in after}


def added(histograms):
    total = {}
    for h in histograms:
        for le, n in h.items():
            total[le] = total.get(le, 0) + n
    return total


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", f.read(), re.M)[1])


def at_rest(kube, subjects, server_pid):
    """Of all of them together, over rest.REST_S seconds."""
    before = [s.renewals() for s in subjects]
    used, began = rest._cpu_ns(server_pid), wait.boot_s()
    rows = [row for _, row in rest.measure(kube, subjects)]
    seconds = wait.boot_s() - began
    members = [m for row in rows for m in row["members"].values()]
    requests = {}
    for row in rows:
        for what, n in row["requests"].items():
            requests[what] = requests.get(what, 0) + n
    return {"seconds": rows[0]["seconds"], "requests": requests, "members": len(members),
            "rss_kb": sorted(m["rss_kb"] for m in members), "pss_kb": sum(m["pss_kb"] for m in members),
            "cpu_percent": sorted(m["cpu_percent"] for m in members),
            "server_cpu_percent": round((rest._cpu_ns(server_pid) - used) / 1e7 / seconds, 2),
            "server_rss_kb": resident_kb(server_pid),
            "renewals": between(added(before), added(s.renewals() for s in subjects))}


class Scale:
    def __init__(self, run):
        self.bench, self.kube, self.net, self.dir = run, run.kube, run.net, run.dir

    def note(self, what, **row):
        self.bench.note(what, **row)
        told = {k: v for k, v in row.items() if not isinstance(v, (dict, list))}
        print(f"  {what}: " + ", ".join(f"{k} {v}" for k, v in told.items()), flush=True)

    def members(self, size, n):
        s = Sized(f"m{size}", 0, size)
        s.place(self.kube, self.net, self.bench.cuts, self.dir)
        try:
            self.note("start", size=size, **s.start_timed())
            s.watch()
            self.note("rest", size=size, **at_rest(self.kube, [s], self.kube.apiserver.proc.pid))
            for k in range(n):
                for metric in ("P1", "P2") if size > 1 else ("P1",):
                    row = self.bench.episode(s, metric)
                    self.note("episode", size=size, metric=metric, **row)
                    bench.check_safe(f"{size} members, {metric}", row)
        except BaseException:
            self.bench.save(s)
            raise
        finally:
            s.stop()
            for i in range(size):
                self.net.remove_node(f"{s.cluster_name()}-{i}")

    def clusters(self, counts):
        running = []
        try:
            for count in counts:
                new = [Sized(f"c{i}", i, 3) for i in range(len(running), count)]
                for s in new:
                    s.place(self.kube, self.net, self.bench.cuts, self.dir)
                running += new
                began = wait.boot_s()
                with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                    for job in [pool.submit(s.start_timed) for s in new]:
                        job.result()
                self.note("clusters", count=count, started_s=round(wait.boot_s() - began, 1),
                          **at_rest(self.kube, running, self.kube.apiserver.proc.pid))
        finally:
            for s in running:
                s.stop()


def numbers(text):
    return [int(x) for x in text.split(",") if x]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", type=numbers, default=numbers("1,3,5,9,16"))
    p.add_argument("--clusters", type=numbers, default=numbers("1,10,25,50"))
    p.add_argument("-n", type=int, default=5, help="failovers and switchovers of each size")
    p.add_argument("--rest", type=int, default=rest.REST_S, help="seconds")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    rest.REST_S = a.rest
    with bench.session("scale", a.out) as run:
        scale = Scale(run)
        for size in a.sizes:
            scale.members(size, a.n)
        scale.clusters(a.clusters)


if __name__ == "__main__":
    try:
        main()
    except bench.Unsafe as e:
        sys.exit(f"bench-scale: SAFETY VIOLATED, no figure of this run counts: {e}")
