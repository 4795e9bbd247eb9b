"""One member: a supervisor in its own network and PID namespace, as in a pod.

The harness plays the kubelet: it starts `pghad` with the environment of a pod, may kill anything in
there, and starts the "container" again (same pod uid, new boot id) or recreates the pod (new uid).
"""
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

import checker
import netns
import sandbox
import wait

BUILD = os.environ.get("PGHA_BUILD", "build/gcc")


class Process:
    """A process of a member, named by its pid here, outside the member's namespace."""

    def __init__(self, pid):
        self.pid = pid
        status = _read(f"/proc/{pid}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.name = fields["Name"]
        self.inner = int(fields["NSpid"].split()[-1])
        self.parent = int(fields["PPid"])
        self.threads = int(fields.get("Threads", "0"))
        self.state = fields["State"].split()[0]
        self.title = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()

    def signal(self, sig):
        os.kill(self.pid, sig)

    def memory_kb(self):
        """(resident, private and proportional set size) in kB."""
        rows = dict(line.split(":", 1) for line in
                    _read(f"/proc/{self.pid}/smaps_rollup").splitlines()[1:])
        kb = {k: int(v.split()[0]) for k, v in rows.items()}
        return {"rss": kb["Rss"], "pss": kb["Pss"],
                "private": kb["Private_Clean"] + kb["Private_Dirty"]}

    def __repr__(self):
        return f"{self.pid}({self.inner}) {self.title or self.name}"


def _read(path):
    with open(path, errors="replace") as f:
        return f.read()


def processes_of_namespace(inode):
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.stat(f"/proc/{entry}/ns/pid").st_ino == inode:
                found.append(Process(int(entry)))
        except (OSError, KeyError):
            continue  # it has just ended
    return found


class Member:
    def __init__(self, name, node, directory, env, pg_bin):
        """env: what the pod's specification would give; what is the pod's own is added here."""
        self.name, self.node, self.dir, self.env, self.pg_bin = name, node, directory, env, pg_bin
        self.ip = node.ip
        self.pgdata = os.path.join(directory, "data", "pgdata")
        self.log = os.path.join(directory, f"{name}.log")
        self.uid = None
        self.args = []  # of pghad
        self.programs = None  # directory of another build
        self.before = []  # command prefix inside its network
        self.proc = None
        self.starts = 0
        self.password = None
        self._ns = None
        self.make_volume()

    def state_dir(self):
        return os.path.join(os.path.dirname(self.pgdata), "pghad")

    def addresses(self):
        """What it has kept of where the others are."""
        path = os.path.join(self.state_dir(), "members.addresses")
        return _read(path) if os.path.exists(path) else ""

    # The pod and its volume.

    def make_volume(self):
        user = sandbox.postgres_user()
        for path in (self.dir, os.path.dirname(self.pgdata), os.path.join(self.dir, "run")):
            os.makedirs(path, exist_ok=True)
            if user:
                shutil.chown(path, *user)
        open(self.log, "a").close()
        if user:
            shutil.chown(self.log, *user)

    def lose_volume(self):
        """The volume is gone for good; only for a member that is down."""
        assert not self.running()
        volume = os.path.dirname(self.pgdata)
        for name in os.listdir(volume):  # not itself: it may be a file system of its own
            path = os.path.join(volume, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        self.make_volume()

    def environment(self):
        return {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/tmp",
            "POD_NAME": self.name, "POD_UID": self.uid, "POD_IP": self.ip,
            "PGDATA": self.pgdata, "PGHA_POSTGRES_BIN_DIR": self.pg_bin,
            "PGHA_POSTGRES_SOCKET_DIR": os.path.join(self.dir, "run"),
            "PGHA_API_SOCKET": os.path.join(self.dir, "run", "agent.sock"),
            **self.env,
        }

    def start(self):
        """Starts the container."""
        assert not self.running(), f"{self.name} runs already"
        prefix = [*self.node.prefix(), *self.before]
        if sandbox.rootless():
            # initdb and postgres refuse uid 0, also that of a user namespace.
            prefix += ["unshare", "-U", "--map-user=1000", "--map-group=1000", "--"]
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen([*prefix, f"{self.programs or sandbox.programs()}/pghad",
                                          *self.args],
                                         env=self.environment(), stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log, cwd="/", start_new_session=True)
        self.starts += 1
        self._ns = None
        return self

    def running(self):
        return self.proc is not None and self.proc.poll() is None

    def wait_exit(self, deadline_s):
        wait.until(lambda: not self.running(), deadline_s, f"{self.name}: the container to end",
                   every=0.01)
        return self.proc.returncode

    def terminate(self, deadline_s=30):
        """SIGTERM, as the kubelet does, and wait."""
        if self.running():
            self.proc.terminate()
            self.wait_exit(deadline_s)

    def kill(self):
        """The container dies at once: SIGKILL of PID 1, the kernel ends the namespace."""
        if not self.running():
            return
        guard = self.guard()
        (guard.signal if guard else self.proc.send_signal)(signal.SIGKILL)
        inode = self._ns
        try:
            self.wait_exit(10)
        except wait.Timeout:
            self.proc.kill()
            self.proc.wait()
        if inode:
            wait.until(lambda: not [p for p in processes_of_namespace(inode) if p.state != "Z"],
                       10, f"{self.name}: the namespace to be empty", every=0.01)

    # What runs inside.

    def namespace(self):
        """Inode of the member's PID namespace, None until it exists."""
        if self._ns is None and self.running():
            own = os.stat("/proc/self/ns/pid").st_ino
            pending = [self.proc.pid]
            while pending:
                pid = pending.pop()
                try:
                    inode = os.stat(f"/proc/{pid}/ns/pid").st_ino
                    if inode != own:
                        self._ns = inode
                        break
                    children = _read(f"/proc/{pid}/task/{pid}/children").split()
                    pending += [int(c) for c in children]
                except OSError:
                    continue
        return self._ns

    def processes(self):
        inode = self.namespace()
        return processes_of_namespace(inode) if inode else []

    def guard(self):
        return next((p for p in self.processes() if p.inner == 1), None)

    def agent(self):
        return next((p for p in self.processes() if p.name.startswith("pghad-agent")), None)

    def postmaster(self):
        """The postgres process that is nobody's child but guard's."""
        procs = self.processes()
        postgres = {p.pid: p for p in procs if p.name == "postgres"}
        return next((p for p in postgres.values()
                     if p.parent not in postgres and not p.title.startswith("postgres: ")), None)

    def postgres_processes(self):
        return [p for p in self.processes() if p.name == "postgres"]

    def backend(self, kind):
        """A child of the postmaster by the words of its title: "checkpointer", "walreceiver"."""
        return next((p for p in self.postgres_processes()
                     if p.title.startswith(f"postgres: {kind}")
                     or f": {kind}" in p.title), None)

    def client_backends(self):
        return [p for p in self.postgres_processes()
                if re.match(r"postgres: (\S+: )?postgres postgres ", p.title)]

    # What it says.

    def get(self, path, timeout=1.0):
        """(HTTP status, body) of the REST server; raises OSError when there is no answer."""
        try:
            with urllib.request.urlopen(f"http://{netns.in_url(self.ip)}:8008{path}", timeout=timeout) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def status(self):
        return json.loads(self.get("/status")[1])

    def says(self, path):
        """Whether a health path answers 200; no answer is not 200."""
        try:
            return self.get(path)[0] == 200
        except OSError:
            return False

    def sql(self, statement, args=None, timeout=3):
        return checker.query(self.ip, statement, args, password=self.password, timeout=timeout)

    def timeline(self):
        """Of a primary."""
        return self.sql("SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int")[0][0]

    def writable(self):
        """Whether a client may write here: True, False, or None when nobody answers."""
        try:
            return not self.sql("SELECT pg_is_in_recovery()", timeout=2)[0][0]
        except Exception:  # any refusal means that no client writes here
            return None

    def log_lines(self, event=None):
        rows = []
        with open(self.log, errors="replace") as f:
            for line in f:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and (event is None or row.get("event") == event):
                    rows.append(row)
        return rows
