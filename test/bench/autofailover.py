"""pg_auto_failover as a subject: three members and their monitor, made with `pg_autoctl create` and run with
`pg_autoctl run`, as its tutorial does. tools/peer gets the programs.

The monitor is a node of its own, with an address of its own. It decides; without it there is no failover.
"""
import os
import secrets

import checker
import wait
from peer import Peer, PeerMember, lines_of, version_of
from subject import MEMBERS

# Of the monitor, in ms.
TUNED = {"health_check_period": 1000, "health_check_timeout": 500, "health_check_retry_delay": 250,
         "node_considered_unhealthy_timeout": 3000, "primary_demote_timeout": 5000}
DEFAULT = {"health_check_period": 5000, "health_check_timeout": 5000, "health_check_retry_delay": 2000,
           "node_considered_unhealthy_timeout": 20000, "primary_demote_timeout": 30000}
# Of the keepers, in s. With wal_sender_timeout (30 s, tuned 5) before it, it must be over when a successor may write,
# which the last two above delay: that is what keeps an isolated primary from living on beside it.
PARTITION_S = {"default": 20, "tuned": 2}
MONITORS = 200  # the numbers of monitors' nodes begin here, beyond those of members


class Node(PeerMember):
    """A member, or the monitor: created once, then run."""

    # A /run of its own, as a pod has: by the pid file of a killed container pg_autoctl may think that it runs already.
    prepare = "mount -t tmpfs -o mode=1777 tmpfs /run && mkdir -m 1777 /run/postgresql /run/user && "

    def __init__(self, *args):
        super().__init__(*args)
        self.autoctl = os.path.join(self.pg_bin, "pg_autoctl")
        self.command = [self.autoctl, "run", "--pgdata", self.pgdata]
        self.env = {"PATH": f"{self.pg_bin}:{os.environ['PATH']}", "TMPDIR": "/run/user",
                    "XDG_RUNTIME_DIR": "/run/user"}
        # The server's lines belong into the member's log, which all members have under this name.
        os.symlink(os.path.basename(self.log), os.path.join(self.dir, "server.log"))

    def create(self, *words):
        self.once(self.autoctl, "create", *words, "--pgdata", self.pgdata, "--pgctl", f"{self.pg_bin}/pg_ctl",
                  "--hostname", self.ip, "--auth", "trust", "--no-ssl")

    def configure(self, text):
        """Lines at the end of postgresql.conf, of which standbys have a copy."""
        self.own(os.path.join(self.pgdata, "postgresql.conf"),
                 f"log_directory = '../..'\nlog_filename = 'server.log'\nlog_rotation_age = 0\n{text}")


class AutoFailover(Peer):
    server_timeouts = "wal_sender_timeout 30s, which pg_autoctl sets"

    def __init__(self, name, number, programs, times):
        self.programs, self.times, self.monitor = programs, times, None
        self.version = version_of(os.path.join(programs, "pg_autoctl"))
        super().__init__(name, f"pg_auto_failover {self.version}, {times}", number)
        self.guc = TUNED if times == "tuned" else DEFAULT
        self.period_s = self.guc["health_check_period"] / 1000
        self.lease_s = (self.guc["node_considered_unhealthy_timeout"] + self.guc["primary_demote_timeout"]) / 1000

    def build(self):
        return f"{self.version}-{self.times}"

    def settings(self):
        guc = ", ".join(f"{k} {v} ms" for k, v in self.guc.items())
        return {"version": f"{self.version}, of Debian 12",
                "times": f"{guc}, network_partition_timeout {PARTITION_S[self.times]} s",
                "mode": "a monitor as a fourth node, which the figures at rest do not count",
                "replication": "number_sync_standbys 1, its choice for three: a commit waits for one standby",
                "a postgres that was killed": "restarted in place by its keeper, unless the monitor fails over first",
                **self.server_settings()}

    def place(self, kube, net, cuts, directory):
        super().place(kube, net, cuts, directory)
        net.add_node(f"{self.name}-monitor", MONITORS + self.number)

    def nodes(self):
        return [*self.members, *([self.monitor] if self.monitor else [])]

    # Making it.

    def _node(self, name):
        return Node(name, self.net.nodes[name], os.path.join(self.dir, name), {}, self.programs)

    def _start(self):
        self.password = secrets.token_hex(16)
        self._make_monitor()
        for i in range(MEMBERS):
            self._make_member(i)

    def _make_monitor(self):
        self.monitor = m = self._node(f"{self.name}-monitor")
        m.create("monitor")
        tuned = TUNED if self.times == "tuned" else {}
        m.configure("".join(f"pgautofailover.{k} = {v}\n" for k, v in tuned.items()))
        m.start()
        wait.until(lambda: self._view() == {}, 60, "the monitor to answer")

    def _make_member(self, i):
        m = self._node(f"{self.name}-{i}")
        self.members.append(m)
        m.password = self.password
        m.create("postgres", "--name", m.name, "--monitor",
                 f"postgres://autoctl_node@{self.monitor.ip}:5432/pg_auto_failover")
        if i == 0:
            m.configure(lines_of(self.times))
            m.own(os.path.join(m.pgdata, "pg_hba.conf"), "host all postgres all scram-sha-256\n")
        if self.times == "tuned":
            m.once(m.autoctl, "config", "set", "--pgdata", m.pgdata, "timeout.network_partition_timeout",
                   str(PARTITION_S["tuned"]))
        m.start()
        if i == 0:
            wait.until(lambda: self._give_password(m), 60, "the first member to run", every=0.5)
        else:
            wait.until(lambda: self._view()[m.name][:2] == ("secondary", "secondary"), 120, f"{m.name} to stream")

    def _give_password(self, m):
        m.run(f"{self.programs}/psql", "-qU", "postgres", "-c", "SET password_encryption = 'scram-sha-256'",
              "-c", f"ALTER ROLE postgres PASSWORD '{self.password}'")
        return not m.sql("SELECT pg_is_in_recovery()")[0][0]

    # Looking and doing.

    def _view(self):
        """{member: (state, assigned state, health)} as the monitor has it."""
        rows = checker.query(self.monitor.ip, "SELECT nodename, reportedstate::text, goalstate::text, health "
                             "FROM pgautofailover.node", user="autoctl_node", dbname="pg_auto_failover")
        return {r[0]: r[1:] for r in rows}

    def check_healthy(self):
        p = self.streaming()
        view = self._view()
        assert view == {m.name: ("primary", "primary", 1) if m is p else ("secondary", "secondary", 1)
                        for m in self.members}, view
        names = p.sql("SHOW synchronous_standby_names")[0][0]
        assert names.startswith("ANY 1 ("), names
        return p

    def switchover(self, _primary):
        m = self.monitor
        try:
            said = m.run(m.autoctl, "perform", "switchover", "--pgdata", m.pgdata)
        except RuntimeError as e:
            raise wait.Timeout(f"switchover refused: {e}") from e
        return {"verdict": said.strip().split("\n")[-1]}
