#!/usr/bin/env python3
"""Speed and memory in a few minutes: N episodes of each fault, p50 and max of the write gap.

    make bench-quick [N=10]

Runs inside test/lib/sandbox.py with data directories on disk. Raw data, one JSON object per episode,
goes to test/bench/results. Faults fall at random times of the renew period: otherwise figures that
rest on the lease mean nothing. No figure is asserted as such; rows lost or overlaps fail the run.
"""
import argparse
import datetime
import json
import os
import platform
import random
import signal
import statistics
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import kubeapi  # noqa: E402
import netns  # noqa: E402
import wait  # noqa: E402
from cluster import Cluster  # noqa: E402

RESULTS = os.path.join(ROOT, "test", "bench", "results")
RENEW_S, LEASE_S = {"fast": 1, "default": 2}, {"fast": 5, "default": 10}
STEADY_S = 60


class Bench:
    def __init__(self, kube, net, episodes, profile, out):
        self.kube, self.net, self.n, self.profile, self.out = kube, net, episodes, profile, out
        self.figures = {}

    def note(self, what, **row):
        row = {"what": what, "backend": self.kube.backend, "profile": self.profile, **row}
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()

    def episodes(self, what, fault, undo=None):
        """fault(primary) returns extra columns; the gap is the longest silence until all is well."""
        c, gaps = self.cluster, []
        for i in range(self.n):
            old = c.wait_healthy()
            # ok: the fault falls at a random time of the renew period; nothing is waited for
            time.sleep(random.uniform(0, RENEW_S[self.profile]))
            at = wait.boot_us()
            extra = fault(old) or {}
            self.load.wait_writes(90, at + 500_000)
            wait.until(lambda: self.load.gap_ms(at) is not None, 90, "a gap")
            new = c.primary()
            gap = self.load.gap_ms(at)
            if undo:
                undo(old)
            c.wait_healthy()
            gap = max(gap, self.load.gap_ms(at))
            gaps.append(gap)
            self.note(what, episode=i, gap_ms=round(gap, 2), old=old.name, new=new.name, at_us=at,
                      **extra)
            print(f"  {what:<28} {i + 1:>3}/{self.n}  {gap:8.1f} ms   {old.name} -> {new.name}",
                  flush=True)
        self.figures[what] = gaps

    def faults(self):
        def kill_postgres(p):
            p.postmaster().signal(signal.SIGKILL)

        def switchover(p):
            r = self.cluster.switchover()
            return {"verdict": r.stdout.strip().split("\n")[-1]}

        def kill_member(p):
            p.kill()
            killed = wait.boot_us()
            p.start()
            return {"container_away_ms": (wait.boot_us() - killed) / 1000}

        def cut(p):
            self.net.cut_all(p.name)

        with self.cluster.load() as self.load:
            self.episodes("postgres killed", kill_postgres)
            self.episodes("switchover", switchover)
            self.episodes("member killed, back at once", kill_member)
            self.episodes("node lost", cut, lambda p: self.net.heal())
        return self.cluster.verify(late_ok=True)

    def memory(self):
        rows = []
        for m in self.cluster.members:
            guard, agent = m.guard().memory_kb(), m.agent().memory_kb()
            rows.append(guard["rss"] + agent["rss"])
            self.note("memory", member=m.name, guard_kb=guard, agent_kb=agent)
        self.figures["guard + agent RSS"] = [r / 1024 for r in rows]
        self.figures["guard private memory"] = [m.guard().memory_kb()["private"] / 1024
                                                for m in self.cluster.members]

    def _requests(self):
        """{"verb resource": number} of what the members have asked so far."""
        by = {}
        if self.kube.backend == "devkube":
            rows = [(r, r["count"]) for r in self.kube.stats()["requests"]]
        else:
            rows = [(r, 1) for r in self.kube.requests()]
        account = f"system:serviceaccount:{self.cluster.ns}:"
        for r, n in rows:
            if r["user"].startswith(account):
                key = f"{r['verb']} {r['resource']}"
                by[key] = by.get(key, 0) + n
        return by

    def api_rate(self):
        """Requests per second of a cluster at rest, default profile."""
        before = self._requests()
        time.sleep(STEADY_S)  # ok: the length of the measurement
        after = self._requests()
        by = {k: n - before.get(k, 0) for k, n in after.items() if n > before.get(k, 0)}
        self.note("api", seconds=STEADY_S, requests=by)
        self.figures["API requests, at rest"] = [sum(by.values()) / STEADY_S]

    def run(self):
        self.cluster = Cluster(self.kube, self.net, "bench",
                               options={"lease.profile": self.profile}).start()
        try:
            self.cluster.wait_healthy()
            try:
                verdict = self.faults()
            except Exception:
                self.cluster.save_logs(os.path.join(ROOT, "build", "test-logs", "bench"))
                raise
            self.memory()
        finally:
            self.cluster.remove()
        self.cluster = Cluster(self.kube, self.net, "bench-rest",
                               options={"lease.profile": "default"}).start()
        try:
            self.cluster.wait_healthy()
            self.api_rate()
        finally:
            self.cluster.remove()
        return verdict


GOALS = {
    "postgres killed": (500, "ms p50"),
    "switchover": (400, "ms p50"),
    "member killed, back at once": (1000, "ms p50"),
    "node lost": (None, "ms p50"),
    "guard + agent RSS": (12, "MB"),
    "guard private memory": (1, "MB"),
    "API requests, at rest": (0.6, "/s, three members, default profile"),
}


def table(figures, profile):
    print(f"\n{'figure':<28} {'n':>3} {'p50':>9} {'max':>9}   goal (lease {LEASE_S[profile]} s)")
    for what, values in figures.items():
        goal, unit = GOALS[what]
        goal = goal or LEASE_S[profile] * 1000 + 1000
        p50 = statistics.median(values)
        reached = "reached" if p50 <= goal else "MISSED"
        print(f"{what:<28} {len(values):>3} {p50:>9.4g} {max(values):>9.4g}   "
              f"<= {goal} {unit}: {reached}")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=10, help="episodes of each fault")
    p.add_argument("--kube", default="devkube", choices=kubeapi.BACKENDS)
    p.add_argument("--profile", default="fast", choices=tuple(LEASE_S))
    p.add_argument("--seed", type=int, help="of the random times")
    a = p.parse_args()
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(1 << 31)
    random.seed(seed)
    os.makedirs(RESULTS, exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    path = os.path.join(RESULTS, f"quick-{a.kube}-{stamp}.jsonl")
    net = netns.Network()
    with open(path, "w") as out, kubeapi.open_kube(a.kube, host=net.api_ip) as kube:
        bench = Bench(kube, net, a.n, a.profile, out)
        bench.note("setting", seed=seed, episodes=a.n, kernel=platform.release(),
                   cpus=os.cpu_count(), load=os.getloadavg())
        verdict = bench.run()
        bench.note("verdict", acknowledged=verdict["acknowledged"], lost=0, overlaps=0)
    table(bench.figures, a.profile)
    print(f"\nacknowledged {verdict['acknowledged']}, lost 0, overlaps 0; raw data: "
          f"{os.path.relpath(path, ROOT)}")


if __name__ == "__main__":
    main()
