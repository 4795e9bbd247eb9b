#!/usr/bin/env python3
"""How long after its deadline a server writes, acknowledges, and has processes, by condition.

    make bench-fence [FENCES=25] [X=--no-gate]

Guard, PostgreSQL and the commit gate are the real ones, the agent grants a short right to write and then
no more; eight backends commit all the time, and four clients note what was acknowledged. When its commit
record was made the server itself keeps (track_commit_timestamp); it is asked when it has started anew. Runs
inside test/lib/sandbox.py as root. Raw data, one JSON object per fence, and the table go to
test/bench/results. Exit code 1 when the last commit, the last acknowledgement or the end of the last process
was more than 100 ms late. A process that was killed writes and acknowledges nothing any more, but it needs
processor time to end: where the condition is that there is none, that end has no bound. A fence in which the
hypervisor gave more than 20 ms of the processors to other machines is told but not counted, and made again; a
condition of which too few count fails.

A process in uninterruptible sleep cannot be ended by anybody. With a frozen file system the measure is
therefore what counts for a client, the last acknowledgement, and the time from the thaw to the end of the
last process; meanwhile a second guard on the same volume must get nothing.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.join(ROOT, "test", "guard"),
                os.path.dirname(os.path.abspath(__file__))]

import psycopg2  # noqa: E402

import conftest as guards  # noqa: E402
import disks  # noqa: E402
import fence_report  # noqa: E402
import sandbox  # noqa: E402
from fence_report import FROZEN, STOLEN_MS, counted, disturbed  # noqa: E402
from gate_server import library  # noqa: E402

RESULTS = os.path.join(ROOT, "test", "bench", "results")
WRITERS = 8
CLIENTS = 4
LOOK_BACK = 500  # transactions before the end among which the last commit is
DISK_MB = 220
TRIES = 3       # fences for each that is wanted, at most
PATIENCE_S = 1200  # in all, to wait for moments in which the host leaves this machine its processors
CGROUPS = "/sys/fs/cgroup"


def hurry(thread=0):
    """What measures must not wait for what it starves; its children are as all others."""
    try:
        os.sched_setscheduler(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        return False
    return True


class Client:
    """Commits all the time; knows when the last acknowledgement came."""

    def __init__(self, guard, write):
        self.guard, self.write = guard, write.replace("perform", "select")
        self.last_ms, self.acks = 0, 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        hurry(threading.get_native_id())
        try:
            conn = psycopg2.connect(host=self.guard.sock_dir, user="postgres", dbname="postgres")
            conn.autocommit = True
            with conn.cursor() as cur:
                while True:
                    cur.execute(self.write)
                    self.last_ms = guards.boot_ms()
                    self.acks += 1
        except psycopg2.Error:
            pass


def clients(s):
    """So many, each with its first acknowledgements."""
    found = [Client(s.guard, s.write) for _ in range(CLIENTS)]
    guards.until(lambda: all(c.acks > 3 for c in found), "commits of the clients")
    return found


def last_ack_ms(found):
    for c in found:
        c.thread.join(30)
        assert not c.thread.is_alive()
    return max(c.last_ms for c in found)


class Setting:
    """One guard with its volume, used for all fences of a condition."""

    def __init__(self, base, template, disk=False, pipe=False, writer_pause=0.0, last_words="freeze",
                 gate=True):
        """last_words: what makes an end of the agent. hog: it allocates and touches memory, gives it back,
        and does nothing else."""
        self.guard = guards.Guard(base, template)
        self.disk = self.pipe = None
        self.up = False  # started already, to be asked about the last one
        # On a small disk the WAL is all that grows.
        self.write = "perform pg_logical_emit_message(true, 'bench', 'x')" if disk else \
            "insert into t values (-2, 0)"
        self.pause, self.last_words = writer_pause, last_words
        if disk:
            vol = os.path.join(base, "vol")
            self.disk = disks.Disk(os.path.join(base, "image"), vol, DISK_MB)
            self.guard.give(vol)
        self.guard.make_data()
        self._configure(gate)
        if pipe:
            self.pipe, end = os.pipe()
            self.proc, self.agent = self._start_on(end)
            self.pipe_end = end
        else:
            self.proc, self.agent = self.guard.start()

    def _configure(self, gate):
        with open(os.path.join(self.guard.data, "postgresql.conf"), "a", encoding="utf-8") as f:
            f.write("track_commit_timestamp = on\n")
            if gate:
                f.write(f"shared_preload_libraries = '\"{library()}\"'\n")

    def start(self):
        self.guard.start_postgres(self.agent)
        self.up = True

    def last_commit_ms(self):
        """BOOTTIME of the last commit record of the server that was fenced; another one is started."""
        wall = time.time() * 1000
        to_boot = guards.boot_ms() - wall
        self.start()
        got = self.guard.sql(
            "select max(extract(epoch from at)) * 1000 from (select pg_xact_commit_timestamp(x::text::xid) at "
            f"from pg_snapshot_xmax(pg_current_snapshot()) n, generate_series(greatest(3, n::text::bigint - {LOOK_BACK}), "
            f"n::text::bigint - 1) x) c where at < to_timestamp({wall / 1000})")
        return float(got) + to_boot

    def _start_on(self, fd):
        """As Guard.start(), with a pipe that nobody reads for its log."""
        g = self.guard
        with open(fd, "wb", closefd=False) as log:
            proc = subprocess.Popen([os.path.join(guards.BUILD, "pghad")], env=g.env(),
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                    preexec_fn=guards.die_with_parent)
        g.procs.append(proc)
        return proc, g.accept()

    def block_pipe(self):
        os.set_blocking(self.pipe_end, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.pipe_end, b"x" * 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.pipe_end, b"x")
        os.set_blocking(self.pipe_end, True)

    def drain_pipe(self):
        os.set_blocking(self.pipe, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(self.pipe, 1 << 16):
                pass

    def writers(self):
        g = self.guard
        for p in g.clients:
            p.wait()
        g.clients.clear()
        g.sql("drop table if exists t")
        g.sql("create table t (w int, i bigint)")
        pause = f"perform pg_sleep({self.pause});" if self.pause else ""
        for w in range(WRITERS):
            loop = (f"do $$ begin insert into t values ({w}, 0); commit; loop {self.write}; commit; {pause} "
                    "end loop; end $$")
            g.clients.append(subprocess.Popen(g.psql(loop), stdout=subprocess.DEVNULL,
                                              stderr=subprocess.DEVNULL,
                                              preexec_fn=guards.die_with_parent))
        guards.until(lambda: int(g.sql("select count(distinct w) from t where w >= 0")) == WRITERS,
                     "the writers to write")

    def close(self):
        if self.disk:
            self.disk.thaw()
        self.guard.close()
        if self.disk:
            self.disk.remove()
        for fd in (self.pipe, getattr(self, "pipe_end", None)):
            if fd is not None:
                os.close(fd)


# Conditions: context managers around the time from before the grant to the end of the last process.


@contextlib.contextmanager
def plain(_s):
    yield


@contextlib.contextmanager
def backends_frozen(s):
    for pid in s.guard.servers(s.proc):
        if guards.ppid_of(pid) != s.guard.inner_pid(s.proc):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
    yield


@contextlib.contextmanager
def server_frozen(s):
    for pid in s.guard.servers(s.proc):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    yield


@contextlib.contextmanager
def spinners(_s):
    spin = [subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=guards.die_with_parent)
            for _ in range(16)]
    try:
        yield
    finally:
        for p in spin:
            p.kill()
            p.wait()


def quota_group(us):
    """A control group with so many us of a processor in 100 ms, or None where there is no such controller."""
    old = os.path.join(CGROUPS, "cpu", f"pghad-bench-{os.getpid()}")
    new = os.path.join(CGROUPS, f"pghad-bench-{os.getpid()}")
    try:
        if os.path.isdir(os.path.join(CGROUPS, "cpu")):
            os.mkdir(old)
            with open(os.path.join(old, "cpu.cfs_quota_us"), "w") as f:
                f.write(str(us))
            return old
        os.mkdir(new)
        with open(os.path.join(new, "cpu.max"), "w") as f:
            f.write(f"{us} 100000")
        return new
    except OSError:
        return None


@contextlib.contextmanager
def quota(s, us):
    """All of the pod, guard too, has that much of one processor and wants more than one."""
    group = quota_group(us)
    if group is None:
        raise Unavailable("no controller for processor time")
    try:
        for pid in [s.proc.pid, *guards.descendants(s.proc.pid)]:
            with contextlib.suppress(OSError), open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write(str(pid))
        yield
    finally:
        up = os.path.dirname(group)
        def empty():
            with open(os.path.join(group, "cgroup.procs")) as f:
                left = f.read().split()
            for pid in left:
                with contextlib.suppress(OSError), open(os.path.join(up, "cgroup.procs"), "w") as f:
                    f.write(pid)
            return not left
        guards.until(empty, "the control group to be empty")
        guards.until(lambda: _rmdir(group), "the control group to go")


def _rmdir(path):
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def hogging(_s):
    """The agent allocates and touches memory, gives it back, and so on."""
    yield


@contextlib.contextmanager
def log_blocked(s):
    s.block_pipe()
    yield
    s.drain_pipe()


@contextlib.contextmanager
def disk_full(s):
    s.disk.fill()
    try:
        yield
    finally:
        s.disk.free()


class Unavailable(Exception):
    pass

CONDITIONS = {
    "8 busy backends, agent stopped": (plain, {}),
    "backends stopped": (backends_frozen, {}),
    "every server process stopped": (server_frozen, {}),
    "16 spinning processes": (spinners, {}),
    "half a processor for the pod": (lambda s: quota(s, 50000), {}),
    "a tenth of a processor for the pod": (lambda s: quota(s, 10000), {}),
    "agent allocates in a loop": (plain, {"last_words": "hog"}),
    "log pipe blocked": (log_blocked, {"pipe": True}),
    "disk full": (disk_full, {"disk": True, "writer_pause": 0.005}),
}


def guard_says(g):
    """Its own figures of the last fence; none when its log was blocked."""
    told = g.events("fenced")[-1:] if os.path.exists(g.log) else []
    return {f"guard_{k}": told[0][k] for k in ("late_us", "took_us")} if told else {}


def stolen_ms():
    """Time that the hypervisor gave to others while this machine had work, all processors together (proc(5))."""
    with open("/proc/stat") as f:
        return int(f.readline().split()[8]) * 1000 // os.sysconf("SC_CLK_TCK")


def longest_pause_ms(for_ms):
    """How late the latest of many short sleeps was. Time stolen from an idle machine says nothing: it grows
    with each time that a processor is woken up."""
    now = guards.boot_ms()
    until, longest = now + for_ms, 0.0
    while now < until:
        time.sleep(0.002)  # ok: the distance of two looks is what is measured
        before, now = now, guards.boot_ms()
        longest = max(longest, now - before - 2)
    return longest


def one(s, condition):
    """One fence: what is written to the raw data."""
    g, agent = s.guard, s.agent
    if not s.up:
        s.start()
    s.writers()
    found = clients(s)
    with condition(s):
        lead = random.randint(350, 800)
        deadline = agent.number("grant", lead)
        assert agent.number("arm") == 1
        pids = g.servers(s.proc)
        assert len(pids) >= WRITERS + 5, pids
        fds = guards.pidfds(pids)
        agent.do(s.last_words)
        began = guards.boot_ms()
        # ok: until the deadline; what is stolen before it delays nothing
        time.sleep(max(0.0, (deadline - began) / 1000))
        before = stolen_ms()
        gone = guards.wait_gone(fds, 20)
        stolen = stolen_ms() - before
    acked = last_ack_ms(found)
    next_server(s)
    return {"late_ms": round(gone - deadline, 2), "stolen_ms": stolen, "last_ack_ms": round(acked - deadline, 2),
            "last_commit_ms": round(s.last_commit_ms() - deadline, 2),
            "lead_ms": lead, **guard_says(g), "left_ms": round(deadline - began, 1), "processes": len(pids)}


def next_server(s):
    s.up = False
    s.agent = s.guard.accept()
    assert s.agent.status()["fenced"] > 0
    s.agent.wait_status(lambda st: st["lock"] == "free", "the lock to be free")


def one_frozen(s):
    """No process that writes can end; what matters is what leaves and who gets the volume."""
    g, agent = s.guard, s.agent
    if not s.up:
        s.start()
    s.writers()
    found = clients(s)
    deadline = agent.number("grant", random.randint(1500, 2000))  # to freeze takes a moment
    assert agent.number("arm") == 1
    pids = g.servers(s.proc)
    fds = guards.pidfds(pids)
    s.disk.freeze(15)
    agent.do("freeze")
    stuck = guards.until(lambda: [p for p in pids if (guards.stat_of(p) or (0, 0))[1] == "D"],
                         "backends in uninterruptible sleep")
    # ok: past the deadline; nothing tells of what does not happen
    time.sleep(max(0.0, (deadline + 300 - guards.boot_ms()) / 1000))

    def in_sleep():
        """All that is left of the server, once what can be ended has ended."""
        left = [(guards.stat_of(p) or (0, "X"))[1] for p in pids]
        return left.count("D") if set(left) <= {"D", "Z", "X"} else 0
    sleepers = guards.until(in_sleep, "the end of what can be ended")
    second = g.spawn()
    g.listener.settimeout(0.3)
    try:
        g.listener.accept()
        raise AssertionError("a second guard came up on a frozen volume")
    except TimeoutError:
        pass
    finally:
        g.listener.settimeout(guards.DEADLINE_S)
    assert second.poll() is None
    acks = sum(c.acks for c in found)
    thawed = guards.boot_ms()
    s.disk.thaw()
    gone = guards.wait_gone(fds, 20)
    acked = last_ack_ms(found)
    row = {"late_ms": None, "last_ack_ms": round(acked - deadline, 2),
           "acks_after_thaw": sum(c.acks for c in found) - acks, "thaw_to_end_ms": round(gone - thawed, 2),
           "stuck": len(stuck), "in_sleep_at_the_end": sleepers}
    s.agent = g.accept()
    assert s.agent.status()["fenced"] > 0
    second.kill()
    second.wait()
    g.procs.remove(second)
    s.up = False
    s.agent.wait_status(lambda st: st["lock"] == "free", "the lock to be free")
    return {**row, "last_commit_ms": round(s.last_commit_ms() - deadline, 2)}


class Bench:
    def __init__(self, fences, only, out, gate):
        self.n, self.only, self.out, self.gate = fences, only, out, gate
        self.rows = []
        self.patience_s = PATIENCE_S

    def note(self, row):
        self.out.write(json.dumps(row) + "\n")
        self.out.flush()

    def wait_quiet(self):
        """Half a second in which the machine never stood still; while there is patience."""
        began = guards.boot_ms()
        while (guards.boot_ms() - began) / 1000 < self.patience_s:
            if longest_pause_ms(500) <= STOLEN_MS / 2:
                break
        self.patience_s -= (guards.boot_ms() - began) / 1000

    def condition(self, title, run, template, options):
        base = tempfile.mkdtemp(prefix="f", dir=sandbox.inside())
        s = None
        try:
            s = Setting(base, template, gate=self.gate, **options)
            found = []
            for i in range(TRIES * self.n):
                self.wait_quiet()
                row = {"condition": title, "n": i, "gate": self.gate, **run(s)}
                self.note(row)
                found.append(row)
                if i + 1 - len(disturbed(found)) == self.n:
                    break
            self.rows += found
            late = [r["late_ms"] for r in counted(found)]
            print(f"  {title:<36} {len(late):>4} fences, max {max((x for x in late if x is not None), default=0):.1f} ms, "
                  f"{len(disturbed(found))} disturbed", flush=True)
        except Unavailable as e:
            print(f"  {title:<36} not here: {e}", flush=True)
            self.note({"condition": title, "not_here": str(e)})
        except BaseException:
            if s is not None and os.path.exists(s.guard.log):
                print(s.guard.log_text()[-3000:], file=sys.stderr)
            raise
        finally:
            if s:
                s.close()
            shutil.rmtree(base, ignore_errors=True)

    def run(self, template):
        wanted = [t for t in (*CONDITIONS, FROZEN) if self.only in t]
        for title in wanted:
            if title == FROZEN:
                if disks.why_not():
                    print(f"  {title:<36} not here: {disks.why_not()}")
                    continue
                self.condition(title, one_frozen, template, {"disk": True, "writer_pause": 0.002})
                continue
            condition, options = CONDITIONS[title]
            if options.get("disk") and disks.why_not():
                print(f"  {title:<36} not here: {disks.why_not()}")
                continue
            self.condition(title, lambda s, c=condition: one(s, c), template, options)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("-n", type=int, default=25, help="fences of each condition")
    p.add_argument("--no-gate", action="store_true", help="as if the library were not installed")
    p.add_argument("--only", default="", help="conditions with this word")
    a = p.parse_args()
    if not sandbox.inside() or sandbox.rootless():
        sys.exit("bench-fence needs root: groups of processes, loop devices")
    if not hurry():
        print("  no real-time priority for what measures: figures under load are too large")
    os.makedirs(RESULTS, exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    path = os.path.join(RESULTS, f"fence-{stamp}.jsonl")
    load = os.getloadavg()
    template = guards._template.__wrapped__()
    with open(path, "w") as out:
        bench = Bench(a.n, a.only, out, not a.no_gate)
        bench.note({"setting": True, "kernel": platform.release(), "cpus": os.cpu_count(), "load": load})
        try:
            bench.run(next(template))
        finally:
            template.close()
    rows = counted(bench.rows)
    if len(rows) * TRIES <= len(bench.rows):
        sys.exit(f"{len(bench.rows) - len(rows)} of {len(bench.rows)} fences disturbed: the host of this machine is "
                 "too busy to measure anything")
    text = "\n".join(fence_report.report(bench.rows, load, not a.no_gate, CLIENTS)) + "\n"
    with open(path[:-6] + ".md", "w") as f:
        f.write(text)
    print("\n" + text + f"\nraw data: {os.path.relpath(path, ROOT)}")
    wrong = fence_report.verdict(bench.rows, a.n)
    if wrong:
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()
