"""Single faults of the catalogue (docs/faults.md) that no other file has."""
import os
import re
import signal
import subprocess
import time

import psycopg2
import pytest
import sandbox
import wait
from cluster import continue_processes, signal_all, stop_processes
from member import BUILD

LEASE_S = 5
pytestmark = pytest.mark.local
long = pytest.mark.long


# A library in the servers of one member.

@pytest.fixture
def bad(cluster):
    """bad(member, word...): starts the member anew with faultlib.so; without words it does nothing yet.
    Afterwards everybody is as before."""
    if "san" in os.path.basename(os.path.abspath(BUILD)):
        pytest.skip("the sanitizers want to be the first library that is loaded")
    changed = []

    class Bad:
        def __init__(self, m):
            self.m, self.file = m, os.path.join(m.dir, "faultlib")
            self.end()
            m.terminate()
            m.env = {**m.env, "LD_PRELOAD": f"{sandbox.programs()}/faultlib.so", "FAULTLIB": self.file}
            changed.append(self)
            m.start()
            cluster.wait_healthy()

        def begin(self, *words):
            with open(self.file, "w") as f:
                f.write(" ".join(words))

        def end(self):
            if os.path.exists(self.file):
                os.unlink(self.file)

    yield Bad
    for b in changed:
        b.end()
        b.m.env = {k: v for k, v in b.m.env.items() if k not in ("LD_PRELOAD", "FAULTLIB")}
        b.m.terminate()
        b.m.start()
    if changed:
        cluster.wait_healthy()


@pytest.mark.parametrize("word", ["fsync-wal", pytest.param("write-wal", marks=long)])
def test_io_errors_of_the_primary(cluster, bad, word):
    """PostgreSQL must not believe a disk that has failed once, and another one takes over."""
    p = cluster.primary()
    b = bad(p)
    if cluster.primary() is not p:
        cluster.switchover(p)
        cluster.wait_healthy()
    with cluster.load() as load:
        at = wait.boot_us()
        b.begin(word)
        wait.until(lambda: cluster.writable() and cluster.primary() is not p, 40, "another primary")
        load.wait_writes(30, at + 500_000)
        b.end()
        cluster.wait_healthy()
    cluster.verify()


@long
@pytest.mark.parametrize("word", ["fsync-data", "write-data"])
def test_io_errors_of_the_primary_s_tables(cluster, bad, word):
    """Seen at a checkpoint."""
    p = cluster.primary()
    b = bad(p)
    if cluster.primary() is not p:
        cluster.switchover(p)
        cluster.wait_healthy()
    with cluster.load() as load:
        load.wait_writes(10)
        b.begin(word)
        with pytest.raises(psycopg2.Error):
            p.sql("CHECKPOINT", timeout=20)
        at = wait.boot_us()
        load.wait_writes(40, at)
        b.end()
        cluster.wait_healthy()
    cluster.verify()


@long
@pytest.mark.parametrize("who", ["primary", "replica"])
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_wall_clock_is_wrong(cluster, bad, who, seconds):
    """No deadline is of that clock, and nobody compares another member's with its own."""
    p = cluster.primary()
    b = bad(p if who == "primary" else cluster.standby())
    with cluster.load() as load:
        p = cluster.primary()
        tli = p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8]
        b.begin(f"clock={seconds}")
        skew = b.m.sql("SELECT extract(epoch FROM clock_timestamp())")[0][0]
        assert abs(float(skew) - time.time() - seconds) < 60, "the clock is wrong"
        wait.holds(lambda: cluster.writable() == [p], 2 * LEASE_S, "no effect", every=0.5)
        assert p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == tli
        at = wait.boot_us()
        p.kill()
        load.wait_writes(40, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


# What a process may have.

def limit(process, most):
    """The soft limit of open files, as the user that it belongs to."""
    user = sandbox.postgres_user()
    who = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    hard = re.search(r"Max open files +\S+ +(\S+)", open(f"/proc/{process.pid}/limits").read()).group(1)
    subprocess.run(["prlimit", "--pid", str(process.pid), f"--nofile={hard if most == 'unlimited' else most}:{hard}"],
                   check=True, cwd="/", **who)


def test_no_descriptors_left_for_the_agent(cluster):
    """It renews, and answers for its member, with those that it has."""
    with cluster.load() as load:
        p = cluster.primary()
        agent = p.agent()
        most = max(int(fd) for fd in os.listdir(f"/proc/{agent.pid}/fd")) + 1
        at = wait.boot_us()
        limit(agent, most)
        try:
            wait.holds(lambda: len(cluster.writable()) <= 1, 2 * LEASE_S, "never two", every=0.5)
            load.wait_writes(30, at)
        finally:
            if agent.pid in [x.pid for x in p.processes()]:
                limit(agent, "unlimited")
        cluster.wait_healthy()
    cluster.verify()


PIDS = "/sys/fs/cgroup/pids"


@long
@pytest.mark.skipif(not os.access(PIDS, os.W_OK), reason="no controller for the number of processes")
def test_no_processes_left_for_the_fence(cluster):
    group = os.path.join(PIDS, f"pghad-test-{os.getpid()}-{wait.boot_us()}")
    os.mkdir(group)

    def write(name, value):
        with open(os.path.join(group, name), "w") as f:
            f.write(str(value))

    try:
        with cluster.load() as load:
            p = cluster.primary()
            inside = p.processes()
            for x in inside:
                write("cgroup.procs", x.pid)
            write("pids.max", len(p.processes()))
            at = wait.boot_us()
            p.agent().signal(signal.SIGSTOP)
            old = {x.pid for x in p.postgres_processes()}
            wait.until(lambda: not old & {x.pid for x in p.postgres_processes()}, 30, "the fence")
            load.wait_writes(30, at)
            write("pids.max", "max")
            p.kill()
            p.start()
            cluster.wait_healthy()
        cluster.verify()
    finally:
        wait.until(lambda: not open(os.path.join(group, "cgroup.procs")).read(), 30, "an empty group")
        os.rmdir(group)


def test_old_postmaster_pid_names_a_living_process(cluster):
    """As after a loss of power: the file of the old server, and its number is now somebody else's."""
    s = cluster.standby()
    path = os.path.join(s.pgdata, "postmaster.pid")
    with open(path) as f:
        lines = f.read().split("\n")
    s.kill()
    for inner in (1, 2, 3, 4, 5):  # guard, the agent, whatever comes after them
        with open(path, "w") as f:
            f.write("\n".join([str(inner), *lines[1:]]))
        user = sandbox.postgres_user()
        if user:
            os.chown(path, *user)
        os.chmod(path, 0o600)
        s.start()
        cluster.wait_healthy()
        s.kill()
    s.start()
    cluster.wait_healthy()


# The API server.

@long
@pytest.mark.parametrize("time_, duration", [("2099-01-01T00:00:00.000000Z", 5), ("1970-01-01T00:00:00.000000Z", 5),
                                             (None, 5), ("2099-01-01T00:00:00.000000Z", 3600)])
def test_absurd_times_in_the_lease(cluster, time_, duration):
    """Edited by hand, and then the holder dies: how long others wait is counted by their own clocks."""
    from test_api import edit_lease
    with cluster.load() as load:
        def absurd(lease):
            lease["spec"]["renewTime"] = time_
            lease["spec"]["leaseDurationSeconds"] = duration
        p = cluster.primary()
        edit_lease(cluster, absurd)
        wait.holds(lambda: cluster.writable() == [p], LEASE_S, "no effect", every=0.5)
        at = wait.boot_us()
        p.kill()
        load.wait_writes(60, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@long
def test_failover_with_silent_watches(cluster, kube):
    """Every watch stays open and says nothing: the polls see it."""
    with cluster.load() as load:
        kube.faults.add(user="system:serviceaccount:*", freeze_watch=True)
        try:
            p = cluster.fails_over(load, LEASE_S)
        finally:
            kube.faults.clear()
        p.start()
        cluster.wait_healthy()
    cluster.verify()


# The network.

@long
def test_large_packets_vanish(cluster, net):
    """Between the primary and its standbys; questions and answers get through, WAL does not."""
    with cluster.load() as load:
        p = cluster.primary()
        for o in cluster.others(p):
            net.drop_large(p.name, o.name)
        wait.holds(lambda: len(cluster.writable()) <= 1, 3 * LEASE_S, "never two", every=0.5)
        net.heal()
        load.wait_writes(60)
        cluster.wait_healthy()
    cluster.verify()


@long
def test_connections_are_reset(cluster, net):
    with cluster.load() as load:
        p = cluster.primary()
        for _ in range(5):
            for o in cluster.others(p):
                net._nft(f"add rule bridge pghad forward ip saddr {o.ip} ip daddr {p.ip} tcp dport 5432 drop")
            for x in p.postgres_processes():
                if "walsender" in x.title:
                    signal_all([x], signal.SIGTERM)
            net.heal()
            load.wait_writes(30)
        cluster.wait_healthy()
    cluster.verify()


# Sessions and settings.

@long
def test_every_connection_is_taken(cluster):
    """The agent has its own; nobody is demoted because clients are many."""
    with cluster.load() as load:
        p = cluster.primary()
        taken = []
        try:
            with pytest.raises(psycopg2.OperationalError):
                for _ in range(1000):
                    taken.append(psycopg2.connect(host=p.ip, user="postgres", dbname="postgres",
                                                  password=cluster.password, connect_timeout=5,
                                                  sslmode="disable"))
            assert len(taken) > 20
            wait.holds(lambda: p.says("/primary"), 2 * LEASE_S, "still primary", every=0.5)
            load.wait_writes(10)
        finally:
            for conn in taken:
                conn.close()
        assert cluster.wait_healthy() is p
    cluster.verify()


@long
def test_archive_command_hangs(fresh):
    """A switchover is not held up by what PostgreSQL would wait for at its end."""
    import json
    c = fresh(options={"postgres.parameters": json.dumps({
        "archive_mode": "on", "archive_command": "sleep 1000"})})
    c.wait_healthy()
    with c.load() as load:
        p = c.primary()
        p.sql("SELECT pg_switch_wal()")
        wait.until(lambda: [x for x in p.processes() if "sleep" in x.title], 30, "a command that hangs")
        at = wait.boot_us()
        c.switchover()
        assert c.primary() is not p
        load.wait_writes(30, at)
        c.wait_healthy()
    c.verify()


# Replication.

def test_waits_cancelled_and_then_a_failover(cluster):
    """Whoever cancels the wait for standbys is warned, and the row may be missing afterwards."""
    with cluster.load() as load:
        p = cluster.primary()
        receivers = [b for b in (m.backend("walreceiver") for m in cluster.others(p)) if b]
        stop_processes(receivers)
        try:
            cancelled = 0
            for _ in range(20):
                waiting = p.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                for i, (pid,) in enumerate(waiting):
                    p.sql("SELECT pg_cancel_backend(%s)" if i % 2 else "SELECT pg_terminate_backend(%s)",
                          (pid,))
                    cancelled += 1
                if cancelled > 5:
                    break
                wait.until(lambda: p.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), 20,
                           "a commit that waits")
            p.kill()
        finally:
            continue_processes(receivers)
        at = wait.boot_us()
        load.wait_writes(40, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@long
def test_crash_while_a_commit_waits_and_nobody_is_there(fresh):
    """Strict: what the old server had not had confirmed is not shown to clients before it is."""
    c = fresh(options={"replication.strict": "true"})
    p = c.wait_healthy()
    with c.load():
        standbys = c.others(p)
        for s in standbys:
            s.kill()
        wait.until(lambda: p.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), 20,
                   "a commit that waits")
        p.kill()
        p.start()
        wait.until(lambda: p.says("/liveness"), 30, "the member to be up")
        wait.holds(lambda: not c.writable(), 3 * LEASE_S, "no clients without a standby", every=0.5)
        at = wait.boot_us()
        for s in standbys:
            s.start()
        wait.until(c.writable, 60, "clients again")
        c.wait_healthy()
        assert at
    c.verify()


def test_standby_flaps(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        s = cluster.standby()
        at = wait.boot_us()
        for _ in range(15):
            receiver = s.backend("walreceiver")
            signal_all([receiver] if receiver else [], signal.SIGTERM)
            load.wait_writes(20)
        assert cluster.wait_healthy() is p
        assert load.gap_ms(at) < 1000 * LEASE_S
    cluster.verify()


@long
@pytest.mark.parametrize("alone", [False, True], ids=["connected", "cut-off"])
def test_promoted_by_hand(cluster, net, alone):
    """pg_promote() on a standby, also on one that nobody can tell anything: ended at once, and its number
    of a timeline stays void."""
    with cluster.load() as load:
        p = cluster.primary()
        s = cluster.standby()
        postmaster = s.postmaster().pid
        if alone:
            net.cut_peers(s.name)
            net.cut_api(s.name)
        try:
            s.sql("SELECT pg_promote(false)")
        except psycopg2.Error:  # its server may be ended before it answers
            pass
        wait.until(lambda: not [x for x in s.processes() if x.pid == postmaster], 30, "its end")
        assert p.says("/primary")
        net.heal()
        load.wait_writes(20)
        cluster.wait_healthy()
    cluster.verify(late_ok=True)


@pytest.mark.parametrize("by_hand", ["", "*"], ids=["nobody", "anybody"])
def test_whom_to_wait_for_set_by_alter_system(cluster, by_hand):
    """What the record says must be acknowledged is not taken away by hand, nor given to whoever streams."""
    with cluster.load() as load:
        p = cluster.primary()
        before = cluster.sync_names(p)
        assert before
        p.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{by_hand}'")
        p.sql("SELECT pg_reload_conf()")
        try:
            wait.until(lambda: cluster.sync_names(p) == before, 30, "the setting of the record")
            load.wait_writes(10)
        finally:
            p.sql("ALTER SYSTEM RESET synchronous_standby_names")
            p.sql("SELECT pg_reload_conf()")
        cluster.wait_healthy()
    cluster.verify()


@long
def test_repair_cut_again_and_again(cluster, net):
    """A member with WAL of its own is killed while it is repaired, each time a little later."""
    with cluster.load() as load:
        p = cluster.primary()
        net.cut_peers(p.name)
        p.sql("CHECKPOINT")
        p.kill()
        at = wait.boot_us()
        load.wait_writes(40, at)
        net.heal()
        for n in range(8):
            p.start()
            # ok: the moment of the fault
            time.sleep(0.1 + 0.25 * n)
            p.kill()
        p.start()
        cluster.wait_healthy(90)
    cluster.verify()


# Damage.

def damage(m, table):
    """Bytes of the third page of a table, on the disk of a member that is down."""
    with open(os.path.join(m.pgdata, table), "r+b") as f:
        f.seek(8192 * 2 + 4000)
        f.write(os.urandom(64))


def alarm(m, name):
    return {a["name"]: a["text"] for a in m.status()["alarms"]}.get(name, "")


@long
def test_damaged_page(cluster):
    """Checksums are on: an error and no answer, an alarm, on a replica and when it has become primary; the
    others have the rows, and hactl reinit makes it whole."""
    with cluster.load() as load:
        p, s = cluster.primary(), cluster.standby()
        assert s.sql("SHOW data_checksums") == [("on",)]
        p.sql("DROP TABLE IF EXISTS damaged")
        p.sql("CREATE TABLE damaged AS SELECT g, repeat('x', 200) t FROM generate_series(1, 2000) g")
        p.sql("VACUUM (FREEZE) damaged")  # nothing is left that a reader would write
        p.sql("CHECKPOINT", timeout=30)
        redo = p.sql("SELECT redo_lsn FROM pg_control_checkpoint()")[0][0]
        wait.until(lambda: s.sql("CHECKPOINT", timeout=30) or s.sql(
            "SELECT redo_lsn >= %s::pg_lsn FROM pg_control_checkpoint()", (redo,))[0][0], 60,
                   "a restart that replays nothing of it")
        file = s.sql("SELECT pg_relation_filepath('damaged')")[0][0]
        s.kill()
        damage(s, file)
        s.start()
        cluster.wait_healthy()

        def refused():
            with pytest.raises(psycopg2.Error, match="invalid page"):
                s.sql("SELECT count(t) FROM damaged")

        refused()
        wait.until(lambda: "hactl reinit" in alarm(s, "data-damaged"), 30, "the alarm of a replica")
        assert "damaged pages" in cluster.hactl("list").stdout
        cluster.switchover(s)
        cluster.wait_healthy()
        refused()
        load.wait_writes(20, wait.boot_us())
        wait.until(lambda: "after a switchover" in alarm(s, "data-damaged"), 30, "the alarm of a primary")
        cluster.switchover(p)
        cluster.wait_healthy()
        assert p.sql("SELECT count(t) FROM damaged") == [(2000,)]
        cluster.hactl("reinit", s.name, "--force", check=0, timeout_s=120)
        cluster.wait_healthy()
        assert s.sql("SELECT count(t) FROM damaged") == [(2000,)] and not alarm(s, "data-damaged")
        p.sql("DROP TABLE damaged")
    cluster.verify()
