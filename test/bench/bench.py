#!/usr/bin/env python3
"""How long clients cannot write, for pghad and its peers in turn, on one machine and one API server.

    make bench [METRIC=P1,P2] [N=20] [PEER_N=5] [SUBJECTS=pghad,patroni-3-tuned] [MINUTES=10] [RUN=name]

Runs inside test/lib/sandbox.py. All clusters stand side by side; episodes of all subjects alternate, so that a
drift of the machine meets them all, and only the one that is measured has clients. A gap is the longest
silence between two acknowledgements that an open-loop writer had, from the fault until all is well again.
Faults fall at random times of the renew period.

Raw data, an object per line, is appended to test/bench/results/bench-RUN.jsonl; what is there is not measured
again, so an interrupted run goes on. A row lost or two servers acknowledging at once ends pghad's benchmark with
an error, however fast it was; a peer's are counted and shown.
"""
import argparse
import concurrent.futures
import contextlib
import glob
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.dirname(os.path.abspath(__file__))]

import autofailover  # noqa: E402
import kubeapi  # noqa: E402
import kubereal  # noqa: E402
import netns  # noqa: E402
import noise  # noqa: E402
import patroni  # noqa: E402
import peer  # noqa: E402
import phases  # noqa: E402
import repmgr  # noqa: E402
import rest  # noqa: E402
import sandbox  # noqa: E402
import wait  # noqa: E402
from subject import Cuts, Load, Pghad, boot_offset_s  # noqa: E402

RESULTS = os.path.join(ROOT, "test", "bench", "results")
BACK_S = 150   # bound for writes to come back, never a measure
AFTER_US = 500_000
# metric: (what happens, slow: waits for a lease, so that peers may share the time)
FAULTS = {"P1": ("postgres killed", False), "P2": ("switchover", False),
          "P3": ("member killed, container back at once", False), "P4": ("node lost", True)}
AT_REST = "REST"
# Patroni's controllers' part: it writes Endpoints itself, and nodes read slices.
MIRRORING = "endpointslice-mirroring-controller"


class Unsafe(Exception):
    """A promise was broken: no figure counts."""


def check_safe(what, row):
    """row: an episode's, or Load.verdict()."""
    broken = {k: row[k] for k in ("lost", "overlaps", "phantom", "not_failed") if row[k]}
    if broken:
        raise Unsafe(f"{what}: {broken}")


class Results:
    """The file of one run."""

    def __init__(self, path):
        self.path, self.rows = path, []
        if os.path.exists(path):
            with open(path) as f:
                text = f.read()
            whole = text[:text.rfind("\n") + 1]
            if whole != text:  # interrupted in the middle of a line
                with open(path, "w") as f:
                    f.write(whole)
            self.rows = [json.loads(line) for line in whole.splitlines()]

    def add(self, **row):
        self.rows.append(row)
        with open(self.path, "a") as f:
            f.write(json.dumps(row) + "\n")

    def done(self, subject, metric):
        return sum(1 for r in self.rows if r["what"] == "episode" and r["metric"] == metric and
                   r["subject"] == subject.name and r["build"] == subject.build())

    def has_rest(self, subject):
        return any(r["what"] == "rest" and r["subject"] == subject.name and
                   r["build"] == subject.build() for r in self.rows)


def plan(subjects, metrics, n, peer_n, done):
    """Episodes in the order in which they are made, as waves [(metric, [subjects])]. Each subject's are
    spread evenly over the whole run: when it is cut short all have had their part. Peers whose episode is
    mostly waiting for a lease make it together."""
    at = {}
    for metric in metrics:
        for s in subjects:
            if s.only and metric not in s.only:
                continue
            want = peer_n if s.peer else n
            for k in range(done(s, metric), want):
                together = s.peer and FAULTS[metric][1]
                key = ((k + 0.5) / want, metric, "" if together else s.name)
                at.setdefault(key, []).append(s)
    return [(key[1], at[key]) for key in sorted(at)]


class Bench:
    def __init__(self, kube, net, results, directory):
        self.kube, self.net, self.results, self.dir = kube, net, results, directory
        self.cuts = Cuts(net)
        self.session = f"{int(time.time())}"
        self.number = 0

    def note(self, what, **row):
        self.results.add(what=what, session=self.session, **row)

    # Clusters.

    def start(self, subjects):
        for s in subjects:
            s.place(self.kube, self.net, self.cuts, self.dir)
        with concurrent.futures.ThreadPoolExecutor(len(subjects)) as pool:
            jobs = {s: pool.submit(s.start) for s in subjects}
        for s, job in jobs.items():
            if job.exception():
                self.save(s)
                raise job.exception()
            self.note("subject", subject=s.name, title=s.title, build=s.build(), peer=s.peer,
                      lease_s=s.lease_s, settings=s.settings())

    # One episode.

    def episode(self, s, metric):
        self.number += 1
        stem = os.path.join(self.dir, s.name, f"writer-{self.number}")
        os.makedirs(stem)
        processors = noise.Processors()
        old = s.wait_healthy()
        sizes = {m.name: os.path.getsize(m.log) for m in s.members}
        with Load(s, stem) as load:
            # ok: the fault falls at a random time of the renew period; nothing is waited for
            time.sleep(random.uniform(0, s.period_s))
            at = wait.boot_us()
            extra = self.fault(s, metric, old) or {}
            load.wait_back(BACK_S, wait.boot_us() + AFTER_US)
            if metric == "P4":
                s.node_back(old)
            new = s.wait_healthy()
        row = {"old": old.name, "new": new.name, "at_us": at, **extra, **processors.look(),
               **load.verdict(new, metric == "P4")}
        silences = load.history().silences(at)
        row.update(self.gaps(load, at, silences))
        row.update(self.story(s, sizes, row, silences))
        shutil.rmtree(stem)
        return row

    @staticmethod
    def fault(s, metric, old):
        return {"P1": s.postgres_killed, "P2": s.switchover, "P3": s.member_killed,
                "P4": s.node_lost}[metric](old)

    @staticmethod
    def gaps(load, at, silences):
        """The longest silence, and all that a client would call one."""
        begin, end = max(silences, key=lambda x: x[1] - x[0])
        front = load.front_gap_us(at)
        return {"gap_ms": round((end - begin) / 1000, 2), "gap_from_us": begin, "gap_to_us": end,
                "front_gap_ms": round(front / 1000, 2) if front else None,
                "silent_ms": round(sum(b - a for a, b in silences if b - a > 50_000) / 1000, 2)}

    def story(self, s, sizes, row, silences):
        """The phases, and when the other members streamed from the new primary. Phases are told of the silence
        in which the promotion falls, be another one longer."""
        offset, zero_us, end_us = boot_offset_s(), row["gap_from_us"], row["gap_to_us"]
        logs = {m.name: list(phases.read(m.log, sizes[m.name])) for m in s.members}
        since_s = row["at_us"] / 1e6 + offset

        def at_zero():
            return phases.of(logs, row["old"], row["new"], since_s, zero_us / 1e6 + offset, s.own_phases)

        found = at_zero()
        promoted_us = zero_us + found.get("promote_sent", 0) * 1000
        around = [x for x in silences if x[0] <= promoted_us < x[1]]
        if around and around[0] != (zero_us, end_us):
            zero_us, end_us = around[0]
            found = at_zero()
        zero_s = zero_us / 1e6 + offset

        def put(phase, us):
            if us is not None:
                found[phase] = round((us - zero_us) / 1000, 2)

        new = next(m for m in s.members if m.name == row["new"])
        put("fault", row["at_us"])
        put("back", row.get("back_us"))
        put("first_commit", end_us)
        if s.service:
            put("label", next((t for t, pod in s.labels.changes if t >= zero_us and pod == new.name), None))
            put("slice", next((t for t, a in s.front.changes if t >= zero_us and a == [new.ip]), None))
        timeline = new.timeline()
        streams = {name: round((t - zero_s) * 1000, 2)
                   for name, rows in logs.items() if name != new.name
                   for t in [phases.streaming(rows, timeline, since_s)] if t is not None}
        return {"phases_ms": found, "streams_ms": streams, "timeline": timeline}

    def save(self, s):
        """Keeps the logs of a subject, and those of writers whose episode was not finished."""
        to = os.path.join(ROOT, "build", "test-logs", f"bench-{s.name}")
        s.save_logs(to)
        for d in glob.glob(os.path.join(self.dir, s.name, "writer-*")):
            shutil.copytree(d, os.path.join(to, os.path.basename(d)))

    def make(self, s, metric):
        """One episode into the file; a peer that does not heal is started anew, and that is said."""
        k = self.results.done(s, metric)
        base = {"subject": s.name, "build": s.build(), "metric": metric, "episode": k}
        try:
            row = self.episode(s, metric)
        except (AssertionError, OSError, LookupError, RuntimeError) as e:
            self.save(s)
            self.note("episode", **base, failed=f"{type(e).__name__}: {e}"[:500])
            if not s.peer:
                raise
            print(f"  {metric} {s.title:<28} FAILED: {e}", flush=True)
            s.stop()
            s.start()
            return
        self.note("episode", **base, **row)
        print(f"  {metric} {s.title:<28} {k + 1:>3} {row['gap_ms']:>9.1f} ms   "
              f"{row['old']} -> {row['new']}", flush=True)
        if not s.peer:
            try:
                check_safe(f"{s.title}, {FAULTS[metric][0]}", row)
            except Unsafe:
                self.save(s)
                raise

    # The run.

    def run(self, subjects, metrics, n, peer_n, until_s):
        if AT_REST in metrics:
            asked = [s for s in subjects if not s.only]
            if not all(self.results.has_rest(s) for s in asked):
                for s, row in rest.measure(self.kube, asked):
                    self.note("rest", subject=s.name, build=s.build(), **row)
        waves = plan(subjects, [m for m in metrics if m in FAULTS], n, peer_n, self.results.done)
        for metric, group in waves:
            if until_s and wait.boot_s() > until_s:
                print("  the time is over; the same command goes on from here")
                return
            with concurrent.futures.ThreadPoolExecutor(len(group)) as pool:
                for job in [pool.submit(self.make, s, metric) for s in group]:
                    job.result()


@contextlib.contextmanager
def session(kind, out, **said):
    """A Bench on the real API server, whose raw data replace those in a file."""
    net = netns.Network()
    directory = os.path.join(sandbox.inside(), kind)
    os.makedirs(directory)
    if os.path.exists(out):
        os.unlink(out)
    with kubeapi.open_kube("real", host=net.api_ip, controllers=f"{kubereal.CONTROLLERS},{MIRRORING}") as kube:
        run = Bench(kube, net, Results(out), directory)
        run.note("session", commit=commit(), cpus=os.cpu_count(),
                 at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **said)
        run.note("noise", when="before", **noise.probe(directory))
        yield run
        run.note("noise", when="after", **noise.probe(directory))


def early(i):
    s = Pghad("pghad-early", "pghad, strict, early", i,
              options={"replication.strict": "true", "failover.early_after": "1500ms"})
    s.only = ("P4",)
    return s


def build_subjects(names, absent):
    """The subjects that were asked for and can be had; absent: {title: why not}."""
    made = []
    known = {
        "pghad": lambda i: Pghad("pghad", "pghad", i),
        "pghad-fast": lambda i: Pghad("pghad-fast", "pghad, profile fast", i, profile="fast"),
        "pghad-early": early,
        "ref": lambda i: Pghad("ref", "pghad, the other commit", i, programs="ref"),
    }
    for major in (3, 4):
        for times in patroni.TIMES:
            name = f"patroni-{major}-{times}"
            known[name] = (lambda i, name=name, major=major, times=times:
                           patroni.Patroni(name, i, patroni.modules(major), times))
    for word, how in (("sync", {"synchronous": True}), ("etcd", {"on_etcd": True})):
        name = f"patroni-4-tuned-{word}"
        known[name] = lambda i, name=name, how=how: patroni.Patroni(name, i, patroni.modules(4), "tuned", **how)
    for times in ("default", "tuned"):
        for word, kind in (("repmgr", repmgr.Repmgr), ("autofailover", autofailover.AutoFailover)):
            name = f"{word}-{times}"
            known[name] = (lambda i, name=name, word=word, kind=kind, times=times:
                           kind(name, i, peer.fetched("peer", word), times))
    for i, name in enumerate(names):
        if name not in known:
            raise SystemExit(f"bench: no subject {name!r}: one of {', '.join(known)}")
        try:
            made.append(known[name](i))
        except RuntimeError as e:
            absent[name] = str(e)
    return made


def commit():
    r = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%h"], capture_output=True, text=True)
    return r.stdout.strip()


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--metric", default="P1,P2,P3,P4,REST")
    p.add_argument("-n", type=int, default=100, help="episodes of each metric for pghad")
    p.add_argument("--peer-n", type=int, default=20, help="the same for each peer")
    p.add_argument("--subjects", default="pghad,pghad-early,patroni-3-default,patroni-3-tuned,"
                                         "patroni-4-default,patroni-4-tuned")
    p.add_argument("--minutes", type=float, help="stop before the first episode after so long")
    p.add_argument("--run", default="latest", help="name of the file of results")
    p.add_argument("--out", help="file of results, instead of one in test/bench/results")
    p.add_argument("--kube", default="real", choices=kubeapi.BACKENDS)
    p.add_argument("--seed", type=int, help="of the random times")
    a = p.parse_args()
    a.metrics = a.metric.split(",")
    wrong = [m for m in a.metrics if m not in FAULTS and m != AT_REST]
    if wrong:
        p.error(f"no metric {', '.join(wrong)}: one of {', '.join([*FAULTS, AT_REST])}")
    return a


def main():
    a = arguments()
    until_s = wait.boot_s() + a.minutes * 60 if a.minutes else None
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(1 << 31)
    random.seed(seed)
    results = Results(a.out or os.path.join(RESULTS, f"bench-{a.run}.jsonl"))
    absent = {}
    subjects = build_subjects(a.subjects.split(","), absent)
    net = netns.Network()
    options = {"host": net.api_ip}
    if a.kube == "real":
        options["controllers"] = f"{kubereal.CONTROLLERS},{MIRRORING}"
    directory = os.path.join(sandbox.inside(), "bench")
    os.makedirs(directory)
    with kubeapi.open_kube(a.kube, **options) as kube:
        bench = Bench(kube, net, results, directory)
        bench.note("session", seed=seed, kube=a.kube, commit=commit(), kernel=platform.release(),
                   cpus=os.cpu_count(), postgres=sandbox.postgres_programs(), absent=absent,
                   at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        bench.note("noise", when="before", **noise.probe(directory))
        bench.start(subjects)
        bench.note("noise", when="with all clusters at rest", **noise.probe(directory))
        try:
            bench.run(subjects, a.metrics, a.n, a.peer_n, until_s)
        finally:
            for s in subjects:
                s.stop()
        bench.note("noise", when="after", **noise.probe(directory))
    for what, why in absent.items():
        print(f"  {what}: not measured: {why}")
    print(f"  raw data: {os.path.relpath(results.path, ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except Unsafe as e:
        sys.exit(f"bench: SAFETY VIOLATED, no figure of this run counts: {e}")
