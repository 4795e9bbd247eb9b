"""What is measured: clusters of three members, each in its own network and PID namespaces, all on one API
server and all standing at the same time, so that episodes can alternate. Here pghad; patroni.py has the peer.

A subject knows how to start, what its faults are and when it is well again. It never measures: gaps come from
the writer's log, phases from the logs of its members.
"""
import contextlib
import hashlib
import json
import os
import signal
import threading
import time

import checker
import netns
import phases
import sandbox
import wait
from cluster import Cluster, Kubelet
from kubeclient import ApiError
from member import BUILD
from route import Route

MEMBERS = 3
LEASE_S, RENEW_S = {"fast": 5, "default": 10, "calm": 30}, {"fast": 1, "default": 2, "calm": 5}


class Cuts:
    """Cables that are pulled one by one: what the harness's own network heals, it heals for all."""

    def __init__(self, net):
        self.net, self._cut = net, set()
        netns.sh("nft", "add table bridge bench")
        netns.sh("nft", "add set bridge bench lost { type ifname; }")
        for hook, directions in (("input", ["iifname"]), ("output", ["oifname"]),
                                 ("forward", ["iifname", "oifname"])):
            netns.sh("nft", f"add chain bridge bench {hook} "
                            f"{{ type filter hook {hook} priority -1; }}")
            for d in directions:
                netns.sh("nft", f"add rule bridge bench {hook} {d} @lost drop")

    def cut(self, member):
        netns.sh("nft", f"add element bridge bench lost {{ {member.node.link} }}")
        self._cut.add(member.node.link)

    def heal(self, member):
        """Also for a cable that is in its place."""
        if member.node.link in self._cut:
            netns.sh("nft", f"delete element bridge bench lost {{ {member.node.link} }}")
            self._cut.remove(member.node.link)


class Watched(Route):
    """A Service's front that notes when its endpoints changed."""

    def __init__(self, *args):
        self.changes = []  # (CLOCK_BOOTTIME us, addresses)
        super().__init__(*args)

    def _changed(self, addresses):
        self.changes.append((wait.boot_us(), list(addresses)))
        super()._changed(addresses)


class Labels:
    """Notes when which pod got the label of the primary."""

    def __init__(self, kube, namespace, selector):
        self.changes = []  # (CLOCK_BOOTTIME us, pod)
        self._args = (kube, namespace, selector)
        self._stop, self._watch = threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True, name="labels")
        self._thread.start()

    def _run(self):
        kube, namespace, selector = self._args
        while not self._stop.is_set():
            try:
                with kube.admin.watch("pods", namespace, selector=selector, idle_s=3600) as w:
                    self._watch = w
                    for kind, pod in w:
                        if kind == "ADDED":  # it has come to match the selector
                            self.changes.append((wait.boot_us(), pod["metadata"]["name"]))
            except (OSError, ValueError, ApiError):
                pass
            self._stop.wait(0.2)

    def close(self):
        self._stop.set()
        if self._watch:
            self._watch.close()
        self._thread.join(5)


class Subject:
    """name: in the raw data; title: in tables. late_ok as in Cluster.verify()."""

    peer = False
    only = None  # metrics in which it differs from another subject; None: it takes part in all
    service = None  # whose endpoints lead to the primary; None: there is no Kubernetes
    size = MEMBERS
    primary_label = "role=primary"
    healthy_s = 120
    own_phases = ()  # what its own log tells, as in phases.py

    def __init__(self, name, title, number):
        self.name, self.title, self.number = name, title, number
        self.ns = "bench-" + name.replace(".", "-")
        self.members, self.password = [], None
        self.labels = self.front = None

    def build(self):
        """What exactly is measured: rows of another build are not taken for this one's."""
        raise NotImplementedError

    def settings(self):
        """What the report says about it: {"word": value}."""
        raise NotImplementedError

    def place(self, kube, net, cuts, directory):
        """Its directory and the network of its members; not for several subjects at the same time."""
        self.kube, self.net, self.cuts = kube, net, cuts
        self.dir = os.path.join(directory, self.name)
        for i in range(self.size):
            net.add_node(f"{self.cluster_name()}-{i}", self.number * self.size + i)

    def start(self):
        os.makedirs(self.dir, exist_ok=True)
        self._start()
        self.wait_healthy()
        if self.service:
            self.front = Watched(self.kube, self.net, self.ns, self.service)
            self.labels = Labels(self.kube, self.ns, self.primary_label)

    def stop(self):
        for x in (self.front, self.labels):
            if x:
                x.close()
        self.front = self.labels = None
        for m in self.members:
            self.cuts.heal(m)  # an episode that failed may have left one pulled
        self._stop()

    def wait_healthy(self):
        return wait.until(self.check_healthy, self.healthy_s,
                          f"{self.title}: one primary, the others streaming from it", every=0.1)

    def member_at(self, ip):
        return next(m for m in self.members if m.ip == ip)

    @contextlib.contextmanager
    def undisturbed(self):
        """The harness asks nothing of the members while it lasts."""
        yield

    # Faults. Each returns extra columns of the episode.

    def postgres_killed(self, primary):
        primary.postmaster().signal(signal.SIGKILL)

    def member_killed(self, primary):
        """All processes at once, as when the container is killed; started again at once."""
        killed = wait.boot_us()
        primary.kill()
        back = wait.boot_us()
        primary.start()
        return {"back_us": back, "away_ms": (back - killed) / 1000}

    def node_lost(self, primary):
        self.cuts.cut(primary)

    def node_back(self, primary):
        self.cuts.heal(primary)


class Pghad(Subject):
    service = "pg-rw"
    primary_label = "role=primary"
    healthy_s = 60
    own_phases = phases.PGHAD

    def __init__(self, name, title, number, profile="default", programs=None, options=None):
        """programs: directory of another build below that of the present one; options: settings beside the profile."""
        super().__init__(name, title, number)
        self.profile, self.below, self.options = profile, programs, options or {}
        self.service = f"{self.cluster_name()}-rw"
        self.period_s, self.lease_s = RENEW_S[profile], LEASE_S[profile]

    def cluster_name(self):
        return self.name

    def programs(self):
        return os.path.join(sandbox.programs(), self.below) if self.below else sandbox.programs()

    def build(self):
        h = hashlib.sha256()
        for program in ("pghad", "pghad-agent"):
            with open(os.path.join(self.programs(), program), "rb") as f:
                h.update(f.read())
        return h.hexdigest()[:12]

    def settings(self):
        return {"lease": f"profile {self.profile}: {self.lease_s} s, renewed every {self.period_s} s",
                "replication": "quorum, ANY 1: a commit waits for one standby", **self.options}

    def _start(self):
        self.cluster = c = Cluster(
            self.kube, self.net, self.ns, size=self.size, name=self.cluster_name(),
            directory=self.dir,
            options={"lease.profile": self.profile, "postgres.parameters": json.dumps({}), **self.options})
        c.start(members=[])
        self.members, self.password = c.members, c.password
        for m in c.members:
            m.programs = self.programs()
            m.start()

    def _stop(self):
        self.cluster.remove()

    def save_logs(self, directory):
        self.cluster.save_logs(directory)

    def check_healthy(self):
        return self.cluster.check_healthy()

    @contextlib.contextmanager
    def undisturbed(self):
        self.cluster.kubelet.stop()  # it asks for readiness far more often than a real one
        try:
            yield
        finally:
            self.cluster.kubelet = Kubelet(self.cluster)

    def switchover(self, _primary):
        r = self.cluster.switchover()
        return {"verdict": r.stdout.strip().split("\n")[-1]}

    def supervisors(self):
        """{member: processes that are not PostgreSQL's}"""
        return {m.name: [m.guard(), m.agent()] for m in self.members}


class Load:
    """The writers of one episode: to every member, and through the Service's front where there is one."""

    EVERY_MS, FRONT_EVERY_MS = 5, 20
    WARM_ROWS = 200

    def __init__(self, subject, stem):
        self.subject, self.stem, self.logs = subject, stem, []
        self.direct = self._writer("direct", [f"{m.ip}:5432" for m in subject.members], self.EVERY_MS)
        self.front = self._writer("front", [subject.front.address], self.FRONT_EVERY_MS) if subject.front else None
        self.began_us = wait.boot_us()

    def _writer(self, name, addresses, every_ms):
        self.logs.append(os.path.join(self.stem, f"{name}.jsonl"))
        return checker.Writer(os.path.abspath(f"{BUILD}/ha-writer"), self.logs[-1], addresses,
                              password=self.subject.password, every_ms=every_ms)

    def __enter__(self):
        self.direct.start()
        self.direct.wait_writes(30, self.began_us, self.WARM_ROWS, "the writer to be warm")
        if self.front:
            # Ids begin with the clock in us and grow by one: writers that start together would share them.
            self.front.start()
            self.front.wait_writes(30, self.began_us, what="the writer through the Service to be warm")
        return self

    def __exit__(self, *_):
        for w in (self.direct, self.front):
            if w:
                w.stop()
                w.kill()

    def wait_back(self, deadline_s, after_us):
        self.direct.wait_writes(deadline_s, after_us, what="writes to come back")
        if self.front:
            self.front.wait_writes(deadline_s, after_us, what="writes through the Service to come back")

    def history(self):
        return checker.History(self.logs[0])

    def front_gap_us(self, since_us):
        return checker.History(self.logs[1]).gap_us(since_us) if self.front else None

    def verdict(self, primary, late_ok):
        """What a client may say of this episode's rows: {"acknowledged", "lost", "overlaps", ...}."""
        h = checker.History(self.logs)
        ids = [r[0] for r in checker.query(
            primary.ip, "SELECT id FROM ha_log WHERE id >= %s", (self.began_us,),
            password=self.subject.password, timeout=20)]
        v = h.against(ids)
        overlaps = [o for o in h.overlaps() if o["kind"] == "proved" or not late_ok]
        return {"acknowledged": v["acknowledged"], "lost": len(v["lost"]), "overlaps": len(overlaps),
                "phantom": len(v["phantom"]), "not_failed": len(v["not_failed"])}


def boot_offset_s():
    """What added to CLOCK_BOOTTIME gives the wall clock of the logs."""
    return time.time() - wait.boot_s()
