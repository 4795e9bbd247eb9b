"""repmgr as a subject: one primary and two standbys with replication slots, and repmgrd beside each of them, set up as
its quickstart does. tools/peer gets the programs.

repmgrd promotes and follows by itself. It neither ends a lost primary nor brings it back: its documentation leaves
both to people and their scripts. Here the harness does it, as soon as clients can write again: a lost primary is ended
before its cable is plugged in, and a former one returns by `repmgr node rejoin --force-rewind`.
"""
import os
import secrets

import checker
import wait
from peer import Peer, PeerMember, lines_of, version_of
from remote import Remote
from subject import MEMBERS

# monitor_interval_secs, reconnect_attempts, reconnect_interval: the defaults; then three looks, a second apart.
TIMES = {"default": (2, 6, 10), "tuned": (1, 3, 1)}
# Of its connections. Each look ends with a query on a standing connection; if the cable goes in between, repmgrd waits
# for the answer as long as TCP does, by default a quarter of an hour.
CONNECTIONS = {"default": "connect_timeout=2", "tuned": "connect_timeout=2 tcp_user_timeout=2000"}
SERVER = """listen_addresses = '*'
unix_socket_directories = ''
max_wal_senders = 10
max_replication_slots = 10
wal_level = replica
hot_standby = on
wal_log_hints = on
shared_preload_libraries = 'repmgr'
log_timezone = 'UTC'
"""
HBA = """local all all trust
host all,replication repmgr samenet trust
host all all all scram-sha-256
"""
# What a service manager does: both are started, and repmgrd again when it has ended.
SERVICES = 'pg_ctl -D "$1" -w start; while :; do repmgrd -f "$2" --daemonize=false --no-pid-file; sleep 1; done'


class RepmgrMember(PeerMember):
    def __init__(self, *args):
        super().__init__(*args)
        self.config = os.path.join(self.dir, "repmgr.conf")
        self.command = ["sh", "-c", SERVICES, "sh", self.pgdata, self.config]
        self.env = {"PATH": f"{self.pg_bin}:{os.environ['PATH']}"}

    def repmgr(self, *words):
        return self.run(f"{self.pg_bin}/repmgr", "-f", self.config, *words)

    def own_view(self, statement):
        return checker.query(self.ip, statement, password=self.password, dbname="repmgr")

    def configure(self, number, times):
        """repmgr.conf: what has no default, and the times."""
        interval, attempts, pause = TIMES[times]
        repmgr, control = f"{self.pg_bin}/repmgr", f"{self.pg_bin}/pg_ctl -D {self.pgdata} -w"
        self.own(self.config, f"""node_id={number + 1}
node_name='{self.name}'
conninfo='host={self.ip} user=repmgr dbname=repmgr {CONNECTIONS[times]}'
data_directory='{self.pgdata}'
pg_bindir='{self.pg_bin}'
use_replication_slots=yes
failover=automatic
promote_command='{repmgr} standby promote -f {self.config} --log-to-file'
follow_command='{repmgr} standby follow -f {self.config} --log-to-file --upstream-node-id=%n'
service_start_command='{control} -l {self.log} start'
service_restart_command='{control} -l {self.log} -m fast restart'
service_stop_command='{control} -m fast stop'
monitor_interval_secs={interval}
reconnect_attempts={attempts}
reconnect_interval={pause}
""")


class Repmgr(Peer):
    def __init__(self, name, number, programs, times):
        self.programs, self.times, self.remote = programs, times, None
        self.version = version_of(os.path.join(programs, "repmgr"))
        super().__init__(name, f"repmgr {self.version}, {times}", number)
        self.period_s, self.attempts, self.pause_s = TIMES[times]
        self.lease_s = (self.attempts - 1) * self.pause_s

    def build(self):
        return f"{self.version}-{self.times}"

    def settings(self):
        return {"version": f"{self.version}, of Debian 12",
                "times": f"monitor_interval_secs {self.period_s}, reconnect_attempts {self.attempts}, "
                         f"reconnect_interval {self.pause_s}; conninfo with {CONNECTIONS[self.times]}",
                "replication": "asynchronous, with slots: a commit waits for no standby",
                "done by the harness": "a lost primary, which nothing fences, is ended before its cable is back; "
                                       "a former one returns by node rejoin --force-rewind when clients write again",
                "switchover": "standby switchover --siblings-follow, by a stand-in for ssh that connects in no time",
                **self.server_settings()}

    # Making it.

    def _start(self):
        self.password = secrets.token_hex(16)
        self.remote = Remote(self.dir, self.member_at)
        for i in range(MEMBERS):
            self._make_member(i)
        p = self.members[0]
        self._make_primary(p)
        for m in self.members[1:]:
            self._make_standby(m, p)

    def _make_member(self, i):
        name = f"{self.name}-{i}"
        m = RepmgrMember(name, self.net.nodes[name], os.path.join(self.dir, name), {}, self.programs)
        m.password = self.password
        m.env["PATH"] = f"{self.remote.path}:{m.env['PATH']}"
        m.configure(i, self.times)
        self.members.append(m)

    def _make_primary(self, m):
        secret = os.path.join(m.dir, "password")
        m.own(secret, self.password)
        m.once("initdb", "-D", m.pgdata, "--data-checksums", "--locale=C.UTF-8", "--encoding=UTF8",
               f"--pwfile={secret}")
        m.own(os.path.join(m.pgdata, "postgresql.conf"), SERVER + lines_of(self.times))
        with open(os.path.join(m.pgdata, "pg_hba.conf"), "w") as f:
            f.write(HBA)
        m.start()
        wait.until(m.writable, 60, f"{m.name} to run")
        for statement in ("CREATE ROLE repmgr SUPERUSER LOGIN", "CREATE DATABASE repmgr OWNER repmgr"):
            m.sql(statement, timeout=20)
        m.repmgr("primary", "register")

    def _make_standby(self, m, primary):
        m.once("repmgr", "-f", m.config, "-h", primary.ip, "-U", "repmgr", "-d", "repmgr", "standby", "clone",
               "--fast-checkpoint")
        m.start()
        wait.until(lambda: m.writable() is False, 60, f"{m.name} to run")
        m.repmgr("standby", "register", f"--upstream-node-id={self._id(primary)}")

    def _id(self, m):
        return self.members.index(m) + 1

    def _stop_beside(self):
        if self.remote:
            self.remote.close()
            self.remote = None

    # Looking and doing.

    def check_healthy(self):
        self._bring_back()
        p = self.streaming()
        nodes = dict(p.own_view("SELECT node_id, (type, upstream_node_id, active)::text FROM repmgr.nodes"))
        assert nodes == {self._id(m): "(primary,,t)" if m is p else f"(standby,{self._id(p)},t)"
                         for m in self.members}, nodes
        for m in self.members:
            self._check_daemon(m, p)
        p.repmgr("cluster", "show")
        return p

    def _check_daemon(self, m, primary):
        """Its repmgrd is there, may act, and watches that primary."""
        running, paused, upstream, seen_s = m.own_view(
            "SELECT repmgr.repmgrd_is_running(), repmgr.repmgrd_is_paused(), repmgr.get_upstream_node_id(), "
            "repmgr.get_upstream_last_seen()")[0]
        assert running and not paused, f"repmgrd of {m.name}: running {running}, paused {paused}"
        if m is not primary:
            assert upstream == self._id(primary) and 0 <= seen_s <= self.period_s + 1, \
                f"repmgrd of {m.name} watches {upstream}, seen {seen_s} s ago"

    def _bring_back(self):
        """What people do: a server that is down or writes beside a newer primary returns as its standby."""
        writable = [m for m in self.members if m.running() and m.writable()]
        if not writable:
            return
        p = max(writable, key=lambda m: m.timeline())
        if p.own_view(f"SELECT type FROM repmgr.nodes WHERE node_id = {self._id(p)}") != [("primary",)]:
            return  # its promotion has not been noted yet
        for m in self.members:
            if m is not p and m.running() and (m in writable or not m.postmaster()):
                self._rejoin(m, p)

    @staticmethod
    def _rejoin(m, primary):
        if m.postmaster():
            m.run("pg_ctl", "-D", m.pgdata, "-w", "-m", "fast", "stop")
        # Without it pg_rewind may read the old timeline from the new primary's pg_control, and do nothing: its manual.
        primary.sql("CHECKPOINT", timeout=60)
        m.repmgr("node", "rejoin", "-d", f"host={primary.ip} user=repmgr dbname=repmgr", "--force-rewind")

    def node_back(self, primary):
        if primary.postmaster():
            primary.run("pg_ctl", "-D", primary.pgdata, "-w", "-m", "immediate", "stop")
        super().node_back(primary)

    def switchover(self, primary):
        heir = next(m for m in self.members if m is not primary)
        try:
            heir.repmgr("standby", "switchover", "--siblings-follow")
        except RuntimeError as e:
            raise wait.Timeout(f"switchover refused: {e}") from e
        return {"verdict": f"{heir.name} was told to take over"}

    def supervisors(self):
        return {m.name: [p for p in m.processes() if p.name == "repmgrd"] for m in self.members}
