"""Guard under test: the real program, an agent that obeys, a real PostgreSQL.

Everything runs in the PID namespace that guard makes, so a test ends by killing one process.
"""
import atexit
import ctypes
import glob
import json
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import results  # noqa: E402
import sandbox  # noqa: E402

IS_ROOT = os.geteuid() == 0


def _programs():
    """Where the programs under test are; copies where user postgres could not reach them: a home
    directory, root's above all, is often closed to others."""
    build = os.path.abspath(os.environ.get("PGHA_BUILD", os.path.join(ROOT, "build", "gcc")))
    parts = pathlib.Path(build, "pghad").parents
    if not IS_ROOT or all(not p.exists() or p.stat().st_mode & 0o1 for p in parts):
        return build
    copies = tempfile.mkdtemp(prefix="pgha-prog-", dir="/tmp")
    atexit.register(shutil.rmtree, copies, ignore_errors=True)
    os.chmod(copies, 0o755)
    for path in [os.path.join(build, n) for n in ("pghad", "fake-agent")] + \
            glob.glob(os.path.join(build, "pghad_gate-*.so")):
        shutil.copy(path, copies)
    return copies


BUILD = _programs()
PG_BIN = sandbox.postgres_programs()
DEADLINE_S = 30
LIBC = ctypes.CDLL(None, use_errno=True)


def pytest_configure():
    """An end by SIGTERM cleans up as an end by Ctrl-C does."""
    sandbox.own_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def boot_ms():
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000


def until(condition, what, deadline_s=DEADLINE_S, every=0.005):
    """Waits for a condition and returns its value."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(every)  # ok: between two looks at a condition with a deadline


def die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def stat_of(pid):
    """(comm, state, ppid) or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            text = f.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    comm = text[text.index("(") + 1:text.rindex(")")]
    rest = text[text.rindex(")") + 2:].split()
    return comm, rest[0], int(rest[1])


def ppid_of(pid):
    """Parent, or None when the process has gone meanwhile."""
    st = stat_of(pid)
    return st[2] if st else None


def descendants(pid):
    """Host pid -> (comm, state) of everything below pid."""
    all_of = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            st = stat_of(int(name))
            if st:
                all_of[int(name)] = st
    found, grew = {pid}, True
    while grew:
        grew = False
        for p, (_, _, ppid) in all_of.items():
            if ppid in found and p not in found:
                found.add(p)
                grew = True
    return {p: all_of[p][:2] for p in found if p != pid and p in all_of}


def pidfds(pids):
    """A handle on each of the processes that are still there."""
    fds = []
    for pid in pids:
        try:
            fds.append(os.pidfd_open(pid))
        except ProcessLookupError:
            pass  # a process that was about to end anyway
    return fds


def wait_gone(fds, deadline_s=DEADLINE_S):
    """Waits until every process behind the handles has ended; returns the BOOTTIME in ms."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    left = set(fds)
    end = time.monotonic() + deadline_s
    while left:
        assert time.monotonic() < end, f"{len(left)} processes are still alive"
        for fd, _ in poll.poll(100):
            left.discard(fd)
            poll.unregister(fd)
    at = boot_ms()
    for fd in fds:
        os.close(fd)
    return at


class Agent:
    """The control connection of one incarnation of the fake agent."""

    def __init__(self, conn):
        self.conn = conn
        self.file = conn.makefile("r")
        assert self.file.readline().strip() == "hello"

    def do(self, *words):
        self.conn.sendall((" ".join(str(w) for w in words) + "\n").encode())
        reply = self.file.readline().strip()
        assert reply, f"the agent died at: {words}"
        return reply

    def number(self, *words):
        return int(self.do(*words))

    def status(self):
        return json.loads(self.do("status"))

    def wait_status(self, condition, what, deadline_s=DEADLINE_S):
        def check():
            st = self.status()
            return st if condition(st) else None
        return until(check, what, deadline_s, every=0.01)

    def gone(self):
        """The other side has closed: the agent process is dead."""
        self.conn.settimeout(DEADLINE_S)
        return self.conn.recv(1) == b""


class Guard:
    """One volume and the guards that were started on it."""

    def __init__(self, base, template):
        self.base = base
        self.template = template
        self.data = os.path.join(base, "vol", "data")
        self.state = os.path.join(base, "vol", "pghad")
        self.sock_dir = os.path.join(base, "s")
        self.log = os.path.join(base, "log")
        self.user = pwd.getpwnam("postgres") if IS_ROOT else pwd.getpwuid(os.getuid())
        for path in (os.path.join(base, "vol"), self.sock_dir):
            os.makedirs(path)
            self.give(path)
        os.chmod(base, 0o755)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.sock_dir, "ctl"))
        os.chmod(os.path.join(self.sock_dir, "ctl"), 0o777)
        self.listener.listen(8)
        self.listener.settimeout(DEADLINE_S)
        self.procs = []
        self.clients = []

    def give(self, path):
        if IS_ROOT:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def make_data(self):
        subprocess.run(["cp", "-a", self.template, self.data], check=True)

    def env(self, **more):
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGDATA": self.data,
                "PGHA_AGENT": os.path.join(BUILD, "fake-agent"), "PGHA_USER": self.user.pw_name,
                "FAKE_SOCKET": os.path.join(self.sock_dir, "ctl"), **more}

    def spawn(self, *args, as_user=False, prefix=(), **env):
        """Starts a guard; as_user: without being root, also when the test is."""
        who = {}
        if as_user and IS_ROOT:
            who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        with open(self.log, "ab") as log:
            proc = subprocess.Popen([*prefix, os.path.join(BUILD, "pghad"), *args],
                                    env=self.env(**env), stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, cwd="/", preexec_fn=die_with_parent, **who)
        self.procs.append(proc)
        return proc

    def accept(self):
        return Agent(self.listener.accept()[0])

    def start(self, *args, **kw):
        """A guard with its agent: (process, agent)."""
        proc = self.spawn(*args, **kw)
        return proc, self.accept()

    def inner_pid(self, proc):
        """Host pid of the guard inside the namespace."""
        return next(p for p in descendants(proc.pid) if ppid_of(p) == proc.pid)

    def start_postgres(self, agent):
        seq = agent.number(
            "start", f"{PG_BIN}/postgres", self.data, "-c", "listen_addresses=", "-c",
            f"unix_socket_directories={self.sock_dir}", "-c", "fsync=off", "-c",
            "restart_after_crash=off", "-c", "max_connections=20")
        assert seq > 0
        st = agent.wait_status(lambda s: s["postgres_pid"] > 0, "postgres to be started")
        until(lambda: self.sql("select 1", check=False) == "1", "postgres to accept connections")
        return st

    def psql(self, sql):
        return [f"{PG_BIN}/psql", "-X", "-h", self.sock_dir, "-U", "postgres", "-d", "postgres",
                "-Atq", "-c", sql]

    def sql(self, sql, check=True):
        done = subprocess.run(self.psql(sql), capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def writers(self, n):
        """n backends that commit in a loop; returns once all of them do."""
        self.sql("create table if not exists t (w int, i bigint)")
        before = int(self.sql("select count(distinct w) from t"))
        for w in range(n):
            loop = (f"do $$ declare i bigint := 0; begin loop insert into t values "
                    f"({before + w}, i); i := i + 1; commit; end loop; end $$")
            self.clients.append(subprocess.Popen(self.psql(loop), stdout=subprocess.DEVNULL,
                                                 stderr=subprocess.DEVNULL,
                                                 preexec_fn=die_with_parent))
        until(lambda: int(self.sql("select count(distinct w) from t")) == before + n,
              "the writers to write")

    def servers(self, proc):
        """Host pids of the server's living processes."""
        return [p for p, (comm, state) in descendants(proc.pid).items()
                if comm == "postgres" and state not in "ZX"]

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def events(self, name):
        found = []
        for line in self.log_text().splitlines():
            if line.startswith("{") and f'"event":"{name}"' in line:
                found.append(json.loads(line))
        return found

    def close(self):
        for proc in self.clients + self.procs:
            # Below unshare, guard's change of user has undone what ties it to its parent.
            below = []
            for pid in descendants(proc.pid) if proc.poll() is None else ():
                try:
                    below.append(os.pidfd_open(pid))
                except ProcessLookupError:
                    pass
            if proc.poll() is None:
                proc.kill()
            proc.wait()
            for fd in below:
                try:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                os.close(fd)
        self.listener.close()


@pytest.fixture(scope="session", name="template")
def _template():
    base = tempfile.mkdtemp(prefix="pgha-tmpl-", dir="/tmp")
    try:
        who = {}
        if IS_ROOT:
            pg = pwd.getpwnam("postgres")
            os.chown(base, pg.pw_uid, pg.pw_gid)
            who = {"user": pg.pw_uid, "group": pg.pw_gid, "extra_groups": []}
        data = os.path.join(base, "data")
        subprocess.run([f"{PG_BIN}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N",
                        "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL,
                       cwd=base, **who)
        yield data
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(name="guard")
def _guard(template):
    base = tempfile.mkdtemp(prefix="pgha-grd-", dir="/tmp")
    g = Guard(base, template)
    try:
        yield g
    finally:
        g.close()
        shutil.rmtree(base, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what guard and the server said."""
    report = (yield).get_result()
    results.record(item, report, "guard")
    for name in ("guard", "stopped"):
        g = item.funcargs.get(name) if hasattr(item, "funcargs") else None
        if report.failed and call.when == "call" and g is not None and os.path.exists(g.log):
            report.sections.append((f"log of {name}", g.log_text()[-8000:]))
