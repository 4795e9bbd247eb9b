"""What peers have in common: where their programs come from, how a member of theirs runs, and when a cluster of them
is whole. A member runs in the network and PID namespaces of a pod, as user postgres, and is started again at once when
it was killed, as pghad's are.
"""
import os
import random
import shutil
import subprocess

import sandbox
from member import Member
from subject import MEMBERS, Subject

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
# What pghad gives its servers so that a change of the primary is quick; a tuned peer gets it as well.
PARAMETERS = {"wal_retrieve_retry_interval": "100ms", "wal_receiver_status_interval": "1s",
              "wal_sender_timeout": "5s", "wal_receiver_timeout": "5s", "tcp_keepalives_idle": "10",
              "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}

# PostgreSQL takes the postmaster.pid of a killed container for a living server's where a process or thread
# of the new one happens to have that number, and a peer then loses a turn of its loop. Numbers that begin
# elsewhere at each start spare it that.
APART = 'echo "$1" >/proc/sys/kernel/ns_last_pid; shift; exec "$@"'


def fetched(tool, *words):
    """The directory that tools/TOOL prints; raises RuntimeError where the peer cannot be had."""
    if sandbox.rootless():
        raise RuntimeError("peers' members need root: their user is postgres")
    r = subprocess.run([os.path.join(ROOT, "tools", tool), *words], capture_output=True, text=True)
    if r.returncode != 0:
        raise RuntimeError(r.stderr.strip().split("\n")[-1])
    return r.stdout.strip()


def version_of(program):
    """The number in what `program --version` says."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return next(w for w in said.split() if w[0].isdigit())


def lines_of(times):
    """What a peer with these times gets of them, as lines of postgresql.conf."""
    return "".join(f"{k} = '{v}'\n" for k, v in PARAMETERS.items()) if times == "tuned" else ""


class PeerMember(Member):
    prepare = ""  # what root does first, in shell

    def __init__(self, *args):
        super().__init__(*args)
        self.command = []  # its main process

    def start(self):
        assert not self.running(), f"{self.name} runs already"
        argv = [*self.node.prefix(), "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL",
                "--mount-proc", "sh", "-c", self.prepare + APART, "sh", str(random.randrange(1000, 20000)),
                *self._as_postgres(), *self.command]
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(argv, env=self.environment(), stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log, cwd=self.dir, start_new_session=True)
        self.starts += 1
        self._ns = None
        return self

    def once(self, *argv):
        """A container for this alone, before the one that stays."""
        as_ever, self.command = self.command, [*argv]
        code = self.start().wait_exit(120)
        self.command = as_ever
        if code:
            raise RuntimeError(f"{self.name}: {' '.join(argv[:3])}: {code}: see its log")

    @staticmethod
    def _as_postgres():
        uid, gid = sandbox.postgres_user()
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]

    def environment(self):
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": self.dir, "TZ": "UTC", **self.env}

    def entered(self, *argv):
        """The command that runs argv beside its processes: as a service of it, or a person who is there, would."""
        return ["nsenter", f"--target={self.guard().pid}", "--net", "--mount", "--pid", "--", *self._as_postgres(),
                *argv]

    def run(self, *argv, deadline_s=120):
        """What argv prints in there; what it complains of is in the member's log. Raises RuntimeError when it fails."""
        try:
            r = subprocess.run(self.entered(*argv), env=self.environment(), stdin=subprocess.DEVNULL,
                               capture_output=True, text=True, cwd=self.dir, timeout=deadline_s)
        except subprocess.TimeoutExpired as e:
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: not within {deadline_s} s") from e
        with open(self.log, "a") as log:
            log.write(r.stderr)
        if r.returncode != 0:
            said = (r.stderr or r.stdout).strip()[-400:]
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: {r.returncode}: {said}")
        return r.stdout

    def own(self, path, text):
        """A file of its user with this text at the end."""
        with open(path, "a") as f:
            f.write(text)
        shutil.chown(path, *sandbox.postgres_user())

    def supervisors(self):
        return [p for p in self.processes() if p.name != "postgres"]


class Peer(Subject):
    """times: "default" or "tuned"."""

    peer = True
    healthy_s = 180
    server_timeouts = "PostgreSQL's own timeouts"  # by default

    def cluster_name(self):
        return self.name

    def server_settings(self):
        return {"PostgreSQL": self.server_timeouts if self.times == "default" else
                ", ".join(f"{k} {v}" for k, v in PARAMETERS.items())}

    def nodes(self):
        """All that has a log: members, and what stands beside them."""
        return self.members

    def _stop(self):
        for m in self.nodes():
            m.kill()
        self.members = []
        self._stop_beside()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _stop_beside(self):
        """Ends what is no node."""

    def save_logs(self, directory):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        for m in self.nodes():
            shutil.copy(m.log, directory)

    def streaming(self):
        """The only writable member, after making sure that all others stream from it on its timeline."""
        writable = [m for m in self.members if m.running() and m.writable()]
        assert len(writable) == 1, f"writable: {[m.name for m in writable]}"
        p = writable[0]
        rest = [m for m in self.members if m is not p]
        assert len(rest) == MEMBERS - 1, self.members
        streaming = {r[0] for r in p.sql(
            "SELECT host(client_addr) FROM pg_stat_replication WHERE state = 'streaming'")}
        missing = [m.name for m in rest if m.ip not in streaming]
        assert not missing, f"not streaming from {p.name}: {missing}"
        timeline = p.timeline()
        for m in rest:
            assert m.sql("SELECT received_tli FROM pg_stat_wal_receiver") == [(timeline,)], m.name
        return p

    def supervisors(self):
        return {m.name: m.supervisors() for m in self.members}
