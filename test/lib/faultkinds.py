"""Faults for random episodes: one, two or three at once, drawn from a seed, in the verbs of Cluster and its
network.

Each is a generator with the decorator @kind: it injects, yields while the fault lasts, and takes back what
it did, whatever became of the member meanwhile. What a fault is and how long it lasts is drawn from the seed;
when it meets the members is not, so a seed that failed once is a hint and no proof.

A row of the tally (test/bench/results/chaos-*.jsonl, one JSON object per episode) has
    seed, faults, on           what was drawn, and the API server
    gap_ms                     longest silence of acknowledgements
    healed_ms                  from the end of the last fault until all members stream again
    acked, unknown, late       rows; late: sent before the new primary's first and acknowledged after it
    violations                 must be empty
    mended                     written by hand: where it is told what was wrong, and mended since
"""
import contextlib
import json
import os
import random
import signal
import time

import checker
import wait
from cluster import continue_processes, signal_all, stop_processes

HEAL_S = 60
KINDS = {}


class Kind:
    def __init__(self, title, run, group=None, alone=False, on=None, needs=None):
        self.title, self.run = title, contextlib.contextmanager(run)
        self.group, self.alone, self.on, self.needs = group, alone, on, needs


def kind(title, **options):
    """options: group, of which an episode has one; alone, never with others; on, one back end only;
    needs(cluster), whether this cluster can have it."""
    def add(run):
        KINDS[title] = Kind(title, run, **options)
        return run
    return add


class Episode:
    def __init__(self, cluster, net, seed, weights=None):
        """weights: {title: how often a kind is drawn, others 1}."""
        self.c, self.net, self.kube, self.seed = cluster, net, cluster.kube, seed
        self.weights = weights or {}
        self.rng = random.Random(seed)
        self.used = []
        self.load = self.first = None

    # Choices.

    def primary(self):
        """The primary, or who was it when the episode began."""
        return (self.c.writable() or [self.first])[0]

    def member(self):
        """Any member, rather one that had no fault yet."""
        left = [m for m in self.c.members if m not in self.used] or self.c.members
        return self.take(self.rng.choice(left))

    def victim(self):
        return self.take(self.primary()) if self.rng.random() < 0.6 else self.member()

    def standby(self):
        p = self.primary()
        return self.take(self.rng.choice([m for m in self.c.members if m is not p]))

    def take(self, m):
        self.used.append(m)
        self.c.mark("fault", f"meets {m.name}")
        return m

    def pause(self, longest_s):
        time.sleep(self.rng.uniform(0, longest_s))  # ok: the length of a fault, not a condition

    def draw(self):
        """One to three kinds, at most one of a group."""
        open_to = [k for k in KINDS.values() if k.on in (None, self.kube.backend) and
                   (k.needs is None or k.needs(self.c))]
        # Each k first with the probability weight / sum of weights, and so on down.
        open_to.sort(key=lambda k: self.rng.random() ** (1 / self.weights.get(k.title, 1)), reverse=True)
        first, *rest = open_to
        chosen = [first]
        for k in rest if not first.alone else ():
            if not k.alone and len(chosen) < self.how_many() and all(
                    k.group is None or k.group != c.group for c in chosen):
                chosen.append(k)
        return chosen

    def how_many(self):
        if not hasattr(self, "_how_many"):
            self._how_many = self.rng.choice((1, 2, 2, 3))
        return self._how_many

    # The episode.

    @contextlib.contextmanager
    def faults(self, chosen):
        """Injects them one after the other; at the end all are taken back and every member is started."""
        with contextlib.ExitStack() as healing:
            healing.callback(self.start_all)
            for k in chosen:
                self.c.mark("fault", k.title)
                healing.enter_context(k.run(self))
                self.pause(1.5)
            yield

    def run(self, seen, forced=None):
        """Returns the row of the tally. seen: Seen of this cluster."""
        c = self.c
        chosen = [KINDS[t] for t in forced] if forced else self.draw()
        row = {"seed": self.seed, "faults": [k.title for k in chosen], "on": self.kube.backend,
               "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "violations": []}
        self.first = c.wait_healthy()
        c.mark("episode", f"seed {self.seed}: {', '.join(row['faults'])}")
        began = 0
        try:
            with c.load() as self.load:
                began = wait.boot_us()
                with self.faults(chosen):
                    self.pause(self.rng.choice((2, 8)))
                healed = wait.boot_us()
                c.wait_healthy(HEAL_S)
                row["healed_ms"] = (wait.boot_us() - healed) // 1000
                self.load.wait_writes(HEAL_S)
        except AssertionError as e:
            row["violations"].append(f"liveness: {str(e)[:300]}")
        h = self.load.history()
        gap = h.gap_us(began)
        row["gap_ms"] = None if gap is None else round(gap / 1000, 1)
        row["acked"], row["unknown"] = len(h.acks), len(h.unknowns)
        overlaps = h.overlaps()
        row["late"] = sum(o["kind"] == "late" for o in overlaps)
        proved = [o for o in overlaps if o["kind"] == "proved"]
        if proved:
            row["violations"].append(f"{len(proved)} overlaps, the first: {proved[0]}")
        if not row["violations"]:
            row["violations"] += seen.judge(c, h)
        return row

    def start_all(self):
        for m in self.c.members:
            if not m.running():
                m.start()


class Seen:
    """What clients were told in all episodes of one cluster, against the table as it is now."""

    def __init__(self):
        self.acked, self.failed, self.unknown = set(), set(), set()

    def judge(self, c, history):
        self.acked |= {r["id"] for r in history.acks}
        self.failed |= {r["id"] for r in history.fails}
        self.unknown |= {r["id"] for r in history.unknowns}
        present = set(checker.table_ids(c.primary().ip, c.password))
        wrong = {"acknowledged rows lost": self.acked - present,
                 "rows that nobody wrote": present - self.acked - self.unknown - self.failed,
                 "rows that were refused are there": self.failed & present}
        return [f"{len(ids)} {what}: {sorted(ids)[:3]}" for what, ids in wrong.items() if ids]


def note(path, row):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a") as f:
        f.write(json.dumps(row) + "\n")


# Processes.

def _postmaster_killed(m):
    found = m.postmaster() if m.running() else None
    signal_all([found] if found else [], signal.SIGKILL)


@kind("postgres killed")
def postgres_killed(e):
    _postmaster_killed(e.victim())
    yield


@kind("backend killed")
def backend_killed(e):
    signal_all(e.take(e.primary()).client_backends()[:1], signal.SIGKILL)
    yield


@kind("agent killed")
def agent_killed(e):
    m = e.victim()
    signal_all([a for a in [m.running() and m.agent()] if a], signal.SIGKILL)
    yield


def _stopped(processes):
    stop_processes(processes)
    try:
        yield
    finally:
        continue_processes(processes)


@kind("agent frozen")
def agent_frozen(e):
    m = e.victim()
    yield from _stopped([a for a in [m.running() and m.agent()] if a])


@kind("server frozen")
def server_frozen(e):
    yield from _stopped(e.victim().postgres_processes())


@kind("pod frozen")
def pod_frozen(e):
    yield from _stopped(e.victim().processes())


@kind("client backends frozen")
def client_backends_frozen(e):
    yield from _stopped(e.take(e.primary()).client_backends())


@kind("receiver frozen")
def receiver_frozen(e):
    m = e.standby()
    yield from _stopped([b for b in [m.running() and m.backend("walreceiver")] if b])


@kind("checkpointer frozen")
def checkpointer_frozen(e):
    m = e.victim()
    yield from _stopped([b for b in [m.running() and m.backend("checkpointer")] if b])


def _again(e, m):
    if not m.running():
        m.start()


@kind("member killed, back at once")
def killed_and_back(e):
    m = e.victim()
    m.kill()
    _again(e, m)
    yield


@kind("member killed")
def member_killed(e):
    m = e.victim()
    m.kill()
    yield
    _again(e, m)


@kind("pod made anew", group="api")
def pod_made_anew(e):
    """The API must be there for it."""
    m = e.victim()
    m.kill()
    yield
    if not m.running():
        wait.until(lambda: e.c.recreate_pod(m) is None, 30, "another pod", every=0.5)
        m.start()


@kind("all killed", group="all")
def all_killed(e):
    order = list(e.c.members)
    for m in order:
        m.kill()
    yield
    e.rng.shuffle(order)
    for m in order:
        _again(e, m)
        e.pause(1)


@kind("all terminated", group="all")
def all_terminated(e):
    for m in e.c.members:
        if m.running():
            m.proc.terminate()
    yield
    for m in e.c.members:
        _ended(m)
        _again(e, m)


def _ended(m, within_s=5):
    try:
        m.wait_exit(within_s)
    except (wait.Timeout, AttributeError):
        m.kill()


@kind("terminated")
def terminated(e):
    m = e.victim()
    if m.running():
        m.proc.terminate()
    yield
    _ended(m)
    _again(e, m)


@kind("killed in its grace")
def killed_in_its_grace(e):
    """SIGTERM, and SIGKILL a moment later."""
    m = e.victim()
    if m.running():
        m.proc.terminate()
        e.pause(1)
        m.kill()
    _again(e, m)
    yield


@kind("killed again and again")
def killed_again_and_again(e):
    for _ in range(3):
        m = e.primary()
        if m.running():
            m.kill()
        _again(e, m)
        e.pause(3)
    e.take(m)
    yield


# API server.

@kind("API frozen", group="api")
def api_frozen(e):
    e.kube.pause()
    try:
        yield
    finally:
        e.kube.resume()


@kind("API down", group="api")
def api_down(e):
    e.kube.down()
    try:
        yield
    finally:
        e.kube.up()


@kind("bad answers of the API", group="api")
def bad_answers(e):
    with e.kube.flaky():
        yield


def _rule(e, **rule):
    e.kube.faults.add(user="system:serviceaccount:*", **rule)
    try:
        yield
    finally:
        e.kube.faults.clear()


@kind("silent watches", group="api", on="devkube")
def silent_watches(e):
    yield from _rule(e, freeze_watch=True)


@kind("late answers of the API", group="api", on="devkube")
def late_answers(e):
    yield from _rule(e, delay_after_ms=2500, verb="update", probability=0.5, seed=1)


@kind("stale reads of the API", group="api", on="devkube")
def stale_reads(e):
    yield from _rule(e, stale_list=True, verb="list", probability=0.7, seed=1)


@kind("Lease deleted", group="api")
def lease_deleted(e):
    e.kube.admin.delete("leases", e.c.ns, e.c.name)
    yield


@kind("state deleted", group="api")
def state_deleted(e):
    e.kube.admin.delete("configmaps", e.c.ns, f"{e.c.name}-state")
    yield


# Network. One that heals, heals all of it.

@kind("cut off", group="network")
def cut_off(e):
    e.net.cut_all(e.victim().name)
    yield
    e.net.heal()


@kind("cut off from the API", group="network")
def cut_from_api(e):
    e.net.cut_api(e.victim().name)
    yield
    e.net.heal()


@kind("cut off from its peers", group="network")
def cut_from_peers(e):
    e.net.cut_peers(e.victim().name)
    yield
    e.net.heal()


@kind("not heard", group="network")
def not_heard(e):
    """One direction only."""
    m = e.victim()
    for other in [*(o.name for o in e.c.others(m)), "api"]:
        e.net.drop(m.name, other)
    yield
    e.net.heal()


@kind("flapping link", group="network")
def flapping_link(e):
    m = e.victim()
    for _ in range(4):
        e.net.cut_all(m.name)
        e.pause(1.5)
        e.net.heal()
        e.pause(0.5)
    yield


# Operators and volumes.

@kind("switchover", group="api")
def switchover(e):
    e.c.hactl("switchover", "--force", "--timeout", "10s", timeout_s=60)
    yield


@kind("volume of a replica lost", alone=True)
def volume_lost(e):
    m = e.take(e.c.standby())
    m.kill()
    m.lose_volume()
    yield
    _again(e, m)
