#!/usr/bin/env python3
"""One cluster in strict quorum mode, clients whose history is kept, and faults: session.py, inside the sandbox.

    session.py --out DIR [--seed N] [--episodes N]

First come stories: faults that lose nothing as long as every rule of safety holds, and each of which loses
something without one of them. Then random episodes (test/lib/faultkinds.py). What becomes of the cluster is
asserted only as far as the history needs it; the verdict is the judge's.
"""
import argparse
import contextlib
import os
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import faultkinds  # noqa: E402
import judge  # noqa: E402
import kubeapi  # noqa: E402
import netns  # noqa: E402
import wait  # noqa: E402
from cluster import HEALTHY_S, Cluster  # noqa: E402

FEW = 100  # answers that a story wants before it goes on
AWAY_S = 8  # how long a fault lasts where a sound supervisor gives no sign
ELECTION_S = 15  # the same for an election; the lease is of 5 s


class Session:
    def __init__(self, cluster, net, recorder):
        self.c, self.net, self.recorder = cluster, net, recorder

    def answers(self, what):
        self.recorder.wait_answers(FEW, HEALTHY_S, what=what)

    @staticmethod
    def lasts(longest_s, until):
        """A fault lasts until something happens that a sound supervisor does not do, or so long."""
        with contextlib.suppress(wait.Timeout):
            wait.until(until, longest_s, "the defect to show")

    def run(self, seed, episodes):
        c = self.c
        for story in (primary_dies_unconfirmed, only_the_last_is_left):
            c.wait_healthy()
            self.answers("answers before a story")
            c.mark("story", story.__doc__.split("\n")[0])
            began = time.monotonic()
            story(self)
            self.answers("answers after a story")
            print(f"  {story.__name__.replace('_', ' ')} ({time.monotonic() - began:.0f} s)", flush=True)
        for n in range(seed, seed + episodes):
            self.episode(n)
        c.primary()

    def episode(self, seed):
        e = faultkinds.Episode(self.c, self.net, seed)
        chosen = e.draw()
        titles = ", ".join(k.title for k in chosen)
        e.first = self.c.wait_healthy()
        self.c.mark("episode", f"seed {seed}: {titles}")
        began = time.monotonic()
        with e.faults(chosen):
            e.pause(e.rng.choice((2, 8)))
        self.c.wait_healthy()
        self.answers("answers after an episode")
        print(f"  seed {seed}: {titles} ({time.monotonic() - began:.0f} s)", flush=True)


def primary_dies_unconfirmed(s):
    """The primary is cut from its standbys, not from its clients, and dies; then it comes back.

    Seen by clients when commits wait for no standby.
    """
    old = s.c.primary()
    s.net.cut_peers(old.name)
    cut = time.time_ns()
    s.lasts(AWAY_S, until=lambda: s.recorder.answers(cut) >= FEW)  # commits that nobody confirms
    old.kill()
    # Until then it stays cut off: the kernel goes on sending what a dead server had written.
    wait.until(lambda: [m for m in s.c.writable() if m is not old], HEALTHY_S, "a successor")
    s.answers("answers of the successor")
    s.net.heal()
    old.start()


def only_the_last_is_left(s):
    """One standby is cut from the primary; the other two die, the second standby with its volume.

    Seen by clients when a member is elected without enough reports.
    """
    old = s.c.primary()
    last, second = s.c.others(old)
    s.net.cut(old.name, last.name)
    cut = time.time_ns()
    s.recorder.wait_answers(FEW, HEALTHY_S, cut, what="commits that only the second confirms")
    for m in old, second:
        m.kill()
    second.lose_volume()
    second.start()
    s.lasts(ELECTION_S, until=lambda: s.c.writable() == [last])
    s.net.heal()
    old.start()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--episodes", type=int, default=0)
    a = p.parse_args()
    net = netns.Network()
    with kubeapi.open_kube("devkube", host=net.api_ip) as kube:
        c = Cluster(kube, net, "judge", options={"replication.strict": "true"})
        try:
            c.start().wait_healthy()
            targets = [f"{m.ip}:5432" for m in c.members]
            with judge.Recorder(targets, os.path.join(a.out, "history.jsonl"), c.password) as r:
                Session(c, net, r).run(a.seed, a.episodes)
                r.finish()
        finally:
            net.heal()
            kube.heal()
            c.save_logs(os.path.join(a.out, "logs"))
            c.remove()


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, judge.NoVerdict) as error:
        sys.exit(f"session: {error}")
