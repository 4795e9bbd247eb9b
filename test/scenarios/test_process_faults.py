"""Processes that die or freeze."""
import glob
import json
import os
import shutil
import signal

import psycopg2
import psycopg2.extras
import pytest

import wait
from cluster import PARAMETERS, continue_processes, stop_processes

LEASE_S = 5    # profile fast: others wait this long for a silent holder
FENCE_S = 3.3  # the holder's own deadline


@pytest.mark.versions
@pytest.mark.kind
def test_postmaster_sigkill(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        p.postmaster().signal(signal.SIGKILL)
        load.wait_writes(20, at)
        cluster.wait_healthy()
        assert load.gap_ms(at) < LEASE_S * 1000, "a provable death must not wait for the lease"
    cluster.verify()


@pytest.mark.kind
def test_postmaster_sigkill_twice_in_a_row(cluster):
    """The second fault falls into the time before the first checkpoint of the new primary."""
    with cluster.load() as load:
        for _ in range(2):
            at = wait.boot_us()
            cluster.primary().postmaster().signal(signal.SIGKILL)
            load.wait_writes(30, at)
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_postmaster_sigstop_and_backends_run_on(cluster):
    """A frozen postmaster admits nobody, its backends go on; whatever is decided, one writes."""
    with cluster.load() as load:
        p = cluster.primary()
        postmaster = p.postmaster()
        postmaster.signal(signal.SIGSTOP)
        at = wait.boot_us()
        load.wait_writes(30, at)
        try:
            postmaster.signal(signal.SIGCONT)
        except ProcessLookupError:
            pass  # replaced meanwhile
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_backend_sigkill(cluster):
    """PostgreSQL resets itself after this; here it must come back by promotion only."""
    with cluster.load() as load:
        at = wait.boot_us()
        backend = wait.until(lambda: cluster.primary().client_backends(), 5, "a client backend")[0]
        backend.signal(signal.SIGKILL)
        load.wait_writes(20, at)
    cluster.verify()


@pytest.mark.kind
def test_agent_sigkill_does_not_stop_writes(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        tli = p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8]
        old = p.agent()
        at = wait.boot_us()
        old.signal(signal.SIGKILL)
        wait.until(lambda: (a := p.agent()) and a.pid != old.pid, 10, "a new agent")
        wait.until(lambda: p.says("/primary"), 10, "the new agent to be primary again")
        load.wait_writes(10)
        assert cluster.primary() is p
        assert p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == tli
        assert load.gap_ms(at) < 2000
    cluster.verify()


@pytest.mark.local
def test_a_new_agent_does_not_make_the_gate_strict(cluster, kube):
    """Not strict: a session may commit without standbys, also while the new agent has not been able to
    write the Lease."""
    p = cluster.primary()
    p.sql("CREATE TABLE IF NOT EXISTS loose (id int)")
    old = p.agent()
    since = os.path.getsize(p.log)

    def commits():
        p.sql("SET synchronous_commit = off; INSERT INTO loose VALUES (1)")
        return True
    rule = kube.faults.add(user="system:serviceaccount:*", verb="create,update", resource="leases", delay_after_ms=20_000)
    try:
        old.signal(signal.SIGKILL)
        wait.until(lambda: (a := p.agent()) and a.pid != old.pid, 10, "a new agent", every=0.005)
        wait.until(lambda: p.says("/primary"), 10, "the new agent to be primary", every=0.005)
        wait.holds(commits, 1, "commits that wait for nobody", every=0.005)
        assert next(f["fired"] for f in kube.faults.list() if f["id"] == rule) > 0
    finally:
        kube.faults.clear()
    wait.holds(lambda: commits() and p.says("/primary"), 2, "commits that wait for nobody", every=0.005)
    with open(p.log, encoding="utf-8", errors="replace") as f:
        f.seek(since)
        assert "refused in strict mode" not in f.read()
    cluster.wait_healthy()
    assert p.sql("SELECT name FROM pg_settings WHERE pending_restart") == []


def unheard(cluster, net, p):
    """Nothing that p sends arrives, so no standby can confirm what it commits from now on."""
    for other in [*(m.name for m in cluster.others(p)), "api"]:
        net.drop(p.name, other)
    wait.until(lambda: p.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), 20,
               "a commit that waits")


def test_agent_sigkill_on_an_unheard_primary(cluster, net):
    """A new agent that reaches nobody knows of no standby; commits wait for the same ones as before."""
    with cluster.load() as load:
        p = cluster.primary()
        names, old = cluster.sync_names(p), p.agent()
        unheard(cluster, net, p)
        old.signal(signal.SIGKILL)
        fenced = {x.pid for x in p.postgres_processes()}
        seen = set()

        def ended():
            try:
                seen.add(cluster.sync_names(p))
            except psycopg2.Error:
                pass
            return not fenced & {x.pid for x in p.postgres_processes()}

        wait.until(ended, 30, "guard to fence")
        assert seen <= {names}, f"commits waited for {seen}, not for {names}"
        load.wait_writes(40, wait.boot_us())
        net.heal()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_agent_sigkill_on_a_replica(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        postmaster = s.postmaster().pid
        at = wait.boot_us()
        old = s.agent()
        old.signal(signal.SIGKILL)
        wait.until(lambda: (a := s.agent()) and a.pid != old.pid, 10, "a new agent")
        wait.until(lambda: s.says("/replica"), 10, "the new agent to know its replica")
        assert s.postmaster().pid == postmaster
        load.wait_writes(10)
        assert load.gap_ms(at) < 2000
    cluster.verify()


@pytest.mark.kind
def test_agent_sigstop_30s_is_fenced(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        fenced = {x.pid for x in p.postgres_processes()}
        p.agent().signal(signal.SIGSTOP)
        wait.until(lambda: not fenced & {x.pid for x in p.postgres_processes()}, FENCE_S + 2,
                   "guard to fence")
        load.wait_writes(30, at)
        assert cluster.primary() is not p
        assert load.gap_ms(at) < 2 * LEASE_S * 1000
        cluster.wait_healthy()  # the old one has rejoined without help
    cluster.verify()


@pytest.mark.kind
def test_frozen_backends_are_fenced(cluster, net):
    """SIGSTOP of every client backend, then no way to renew: the fence must not need them."""
    with cluster.load() as load:
        p = cluster.primary()
        load.wait_writes(20)
        stop_processes(p.client_backends())
        assert any(b.state == "T" for b in p.postgres_processes()), "there is somebody to fence"
        at = wait.boot_us()
        net.cut_peers(p.name)
        net.cut_api(p.name)
        wait.until(lambda: all(b.state != "T" for b in p.postgres_processes()), FENCE_S + 3,
                   "guard to leave no frozen backend")
        load.wait_writes(30, at)
        assert cluster.primary() is not p
        net.heal()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_whole_primary_frozen_and_thawed(cluster):
    """docker pause: every process of the pod, guard too, stops; it thaws after another took over."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        frozen = p.processes()
        stop_processes(frozen)
        try:
            load.wait_writes(30, at)
            assert cluster.primary() is not p
        finally:
            continue_processes(frozen)
        cluster.wait_healthy()
    # Without the commit gate a backend frozen between commit and reply may still reply when thawed.
    cluster.verify(late_ok=True)


@pytest.mark.versions
@pytest.mark.kind
def test_member_killed_and_another_takes_over(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        p.kill()
        load.wait_writes(LEASE_S + 15, at)
        assert cluster.primary() is not p
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_member_killed_and_container_back_at_once(cluster):
    """Same pod, new boot id, free volume lock: proof of death, nobody has to wait for the lease."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        p.kill()
        p.start()
        load.wait_writes(LEASE_S + 15, at)
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_member_killed_and_pod_recreated(cluster):
    """Another pod uid on the same volume proves nothing about the old pod."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        p.kill()
        cluster.recreate_pod(p)
        p.start()
        load.wait_writes(LEASE_S + 20, at)
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_replica_killed_and_back(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        at = wait.boot_us()
        s.kill()
        load.wait_writes(10)
        assert load.gap_ms(at) < 2000, "the other standby acknowledges"
        s.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_replica_with_a_lost_volume_is_cloned(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        s.kill()
        s.lose_volume()
        load.wait_writes(10)
        s.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.versions
@pytest.mark.kind
def test_query_that_blocks_replay_during_failover(cluster):
    """Every standby has a session that holds a lock which replay needs, for ever."""
    import checker  # noqa: F401
    import psycopg2

    with cluster.load() as load:
        p = cluster.primary()
        p.sql("CREATE TABLE IF NOT EXISTS blocked (n int)")
        lsn = p.sql("SELECT pg_current_wal_lsn()")[0][0]
        sessions = []
        try:
            for m in cluster.others(p):
                wait.until(lambda m=m: m.sql("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn",
                                             (lsn,))[0][0], 10, "the table on the standby")
                conn = psycopg2.connect(host=m.ip, user="postgres", dbname="postgres",
                                        password=cluster.password, connect_timeout=3)
                conn.cursor().execute("SELECT count(*) FROM blocked")  # stays in its transaction
                sessions.append(conn)
            p.sql("TRUNCATE blocked")
            lsn = p.sql("SELECT pg_current_wal_lsn()")[0][0]
            wait.until(lambda: any(
                m.sql("SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn AND "
                      "pg_last_wal_replay_lsn() < %s::pg_lsn", (lsn, lsn))[0][0]
                for m in cluster.others(p)), 10, "replay to be blocked")
            at = wait.boot_us()
            p.kill()
            load.wait_writes(LEASE_S + 15, at, what="writes: a query must not hold up a promotion")
        finally:
            for conn in sessions:
                conn.close()
        p.start()
        cluster.wait_healthy()
        cluster.primary().sql("DROP TABLE blocked")
    cluster.verify()


@pytest.mark.versions
@pytest.mark.kind
@pytest.mark.parametrize("again", [False, True], ids=["stays-up", "primary-dies"])
def test_checkpointer_stopped_across_a_change_of_set(cluster, again):
    """A reload is not its effect: with a stopped checkpointer the barrier must not be passed."""
    with cluster.load() as load:
        p = cluster.primary()
        standbys = cluster.others(p)
        for s in standbys:
            s.kill()
        wait.until(lambda: cluster.sealed(p), 40, "the seal")
        load.wait_writes(20)
        checkpointer = p.backend("checkpointer")
        checkpointer.signal(signal.SIGSTOP)
        for s in standbys:
            s.start()
        wait.until(lambda: len(cluster.streaming(p)) == 2, 40, "both standbys to stream")
        wait.holds(lambda: cluster.sealed(p), 5, "sealed while no CHECKPOINT can return")
        if again:
            at = wait.boot_us()
            p.kill()
            wait.holds(lambda: not cluster.writable(), 2 * LEASE_S,
                       "only the sealed volume may write")
            p.start()
            load.wait_writes(40, at)
        else:
            checkpointer.signal(signal.SIGCONT)
        cluster.wait_healthy()
        wait.until(lambda: not cluster.sealed(cluster.primary()), 30, "the seal to be lifted")
    cluster.verify()


def _programs_with_hanging_waldump(m, directory):
    os.makedirs(directory, mode=0o755)
    os.chmod(directory, 0o755)
    for name in os.listdir(m.pg_bin):
        os.symlink(os.path.join(m.pg_bin, name), os.path.join(directory, name))
    hanging = os.path.join(directory, "pg_waldump")
    os.unlink(hanging)
    with open(hanging, "w") as f:
        f.write("#!/bin/sh\nexec sleep 1000\n")
    os.chmod(hanging, 0o755)
    return directory


@pytest.mark.versions
def test_diverged_member_whose_wal_end_cannot_be_read(fresh, net):
    """It cannot start for its history, its agent knows no position, and PostgreSQL's tool does not
    say where its WAL ends: what pg_control says is enough to see that it must be repaired."""
    cluster = fresh()
    cluster.wait_healthy()
    with cluster.load() as load:
        p = cluster.primary()
        net.cut_peers(p.name)
        p.sql("CHECKPOINT")  # beyond what anybody else will have
        p.kill()
        at = wait.boot_us()
        load.wait_writes(LEASE_S + 20, at, "a new primary")
        net.heal()  # not before: what its sockets still hold would arrive
        new = cluster.primary()
        for history in glob.glob(os.path.join(new.pgdata, "pg_wal", "*.history")):
            copy = shutil.copy(history, os.path.join(p.pgdata, "pg_wal"))
            owner = os.stat(os.path.join(p.pgdata, "PG_VERSION"))
            os.chown(copy, owner.st_uid, owner.st_gid)
        good, p.pg_bin = p.pg_bin, _programs_with_hanging_waldump(p, os.path.join(p.dir, "programs"))
        p.start()
        cluster.wait_healthy(60)
        assert p.log_lines("operation-failed"), "the end of WAL was not found"
        assert cluster.primary() is new
        p.pg_bin = good
    cluster.verify()


def test_a_promotion_that_ends_slowly(fresh):
    """PostgreSQL shows the new timeline before it says that recovery has ended; recovery_end_command
    makes that long. Nobody may take the number for used up, nor the server for one on a wrong timeline."""
    c = fresh(options={"postgres.parameters": json.dumps(
        {**PARAMETERS, "recovery_end_command": "sleep 0.7"})})
    with c.load() as load:
        p = c.wait_healthy()
        c.hactl("restart", p.name, "--wait", "--force", timeout_s=60)
        c.wait_healthy()
        at = wait.boot_us()
        p.postmaster().signal(signal.SIGKILL)
        load.wait_writes(30, at)
        c.wait_healthy()
    c.verify()
    for m in c.members:
        assert not [r for r in m.log_lines("rule") if r.get("rule") == "wrong-timeline"], m.name


@pytest.mark.versions
def test_a_diverged_standby_confirms_nothing(fresh, net):
    """A primary dies with WAL that nobody confirmed; the next one is left alone with it. In the segment
    of the fork PostgreSQL counts what a receiver on the old timeline has flushed, although it is other
    WAL: under its name in the set the old primary would confirm commits that it does not have."""
    c = fresh(options={"replication.strict": "true"})  # else the last one left goes on alone
    old = c.wait_healthy()
    standbys = c.others(old)
    old.sql("CREATE TABLE bulk (filler text)")
    net.cut_peers(old.name)  # a receiver that is only stopped would find some MB in its socket later
    with pytest.raises(psycopg2.errors.QueryCanceled):
        old.sql("BEGIN; INSERT INTO bulk SELECT repeat('x', 1000) FROM generate_series(1, 5000);"
                "SELECT pg_sleep(60)", timeout=8)
    old.kill()
    wait.until(lambda: c.writable(), 30, "another primary")
    new, other = c.primary(), next(m for m in standbys if not m.writable())
    net.heal()
    other.kill()
    old.start()

    def asks():
        """What it reports as flushed is more than the new primary has ever written."""
        return new.sql("SELECT sync_state, flush_lsn::text FROM pg_stat_replication"
                       f" WHERE flush_lsn > pg_current_wal_lsn() AND client_addr = '{old.ip}'")

    rows = wait.until(asks, 30, "the old primary to connect with its other WAL", every=0.02)
    assert {state for state, _ in rows} == {"async"}, rows
    client = psycopg2.connect(host=new.ip, user="postgres", dbname="postgres", password=new.password,
                              application_name="lonely", sslmode="disable", gssencmode="disable",
                              async_=True)
    psycopg2.extras.wait_select(client)
    cursor = client.cursor()  # lives as long as its statement
    cursor.execute("INSERT INTO bulk VALUES ('nobody else has this')")

    def waits():
        return new.sql("SELECT wait_event FROM pg_stat_activity"
                       " WHERE application_name = 'lonely'") == [("SyncRep",)]

    wait.until(waits, 30, "the commit to wait")
    wait.holds(waits, 5, "the commit waits")
    other.start()
    psycopg2.extras.wait_select(client)
    cursor.close()
    client.close()
    c.wait_healthy(60)
    for m in c.members:
        assert m.sql("SELECT filler FROM bulk") == [("nobody else has this",)]
