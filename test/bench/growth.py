#!/usr/bin/env python3
"""Whether a supervisor grows: its memory and its descriptors over many failovers and many health requests.

    make bench-growth [FAILOVERS=1000] [PROBES=1000000] [RUN=latest]

Runs inside test/lib/sandbox.py, on the real API server with real PostgreSQL. One cluster of three, without clients:
PostgreSQL of the primary is killed and a switchover is ordered in turn; then the primary is asked. The processes
must be the same from the first look to the last. Raw data, an object per line, replaces
test/bench/results/growth-RUN.jsonl; growth_report.py makes the table of docs/performance.md from it.
"""
import argparse
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.dirname(os.path.abspath(__file__))]

import bench  # noqa: E402
import resources  # noqa: E402
import wait  # noqa: E402
from subject import Pghad  # noqa: E402

LOOKS = 40            # over all failovers
PROBES_AT_ONCE = 100_000


def look(process):
    kb = process.memory_kb()
    return {"pid": process.pid, "rss_kb": kb["rss"], "private_kb": kb["private"],
            "descriptors": len(os.listdir(f"/proc/{process.pid}/fd"))}


class Growth:
    def __init__(self, run, subject):
        self.run, self.s = run, subject
        self.failovers = self.probes = 0
        self.pids = None

    def note(self, settled=False):
        """settled: once the agents have given back what the last turns needed."""
        if settled:
            self.s.wait_healthy()
            resources.settle(self.s.members)
        members = {m.name: {"guard": look(m.guard()), "agent": look(m.agent())} for m in self.s.members}
        pids = {name: (v["guard"]["pid"], v["agent"]["pid"]) for name, v in members.items()}
        assert self.pids in (None, pids), f"a process was replaced: {self.pids} became {pids}"
        self.pids = pids
        self.run.note("memory", failovers=self.failovers, probes=self.probes, settled=settled, members=members)
        kb = [v["guard"]["rss_kb"] + v["agent"]["rss_kb"] for v in members.values()]
        print(f"  after {self.failovers} failovers and {self.probes} probes: {sorted(kb)} kB", flush=True)

    def fail_over(self, n):
        for k in range(n):
            if k % max(1, n // LOOKS) == 0:
                self.note(settled=k == 0)
            old = self.s.wait_healthy()
            timeline = old.timeline()
            (self.s.switchover if k % 2 else self.s.postgres_killed)(old)
            self.wait_promoted(timeline)
            self.failovers += 1
        self.note()
        self.note(settled=True)

    def wait_promoted(self, timeline):
        """One that has WAL which nobody received is promoted anew in its place."""
        wait.until(lambda: self.s.check_healthy().timeline() > timeline, self.s.healthy_s, "a promotion", every=0.1)

    def probe(self, n):
        primary = self.s.wait_healthy()
        while self.probes < n:
            resources.probes(primary, min(PROBES_AT_ONCE, n - self.probes))
            self.probes += min(PROBES_AT_ONCE, n - self.probes)
        self.note(settled=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--failovers", type=int, default=1000)
    p.add_argument("--probes", type=int, default=1_000_000)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    s = Pghad("growth", "pghad", 0)
    with bench.session("growth", a.out) as run:
        run.start([s])
        try:
            growth = Growth(run, s)
            growth.fail_over(a.failovers)
            growth.probe(a.probes)
        except BaseException:
            run.save(s)
            raise
        finally:
            s.stop()


if __name__ == "__main__":
    main()
