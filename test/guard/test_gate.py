"""The commit gate in one PostgreSQL, whose deadline the test moves.

Before the commit record a session is refused (FATAL, nothing is written); after it the client hears
nothing at all, and the server ends.
"""
import io
import os
import shutil
import signal
import subprocess
import tempfile
import threading

import psycopg2
import pytest
from psycopg2 import errorcodes

from conftest import DEADLINE_S, IS_ROOT, PG_BIN, until
from gate_server import Page, Server, library

REFUSED = "FATAL:  this server has no right to commit any more"
CLIENT_REFUSED = f"client backend: {REFUSED}"
UNTOLD = "the lease ran out before a finished transaction was answered"


@pytest.fixture(scope="module", name="shared")
def _shared(template):
    """One server for all: each test finds it running, with a right, an empty table t and no settings
    but the usual ones."""
    base = tempfile.mkdtemp(prefix="pgha-gate-", dir="/tmp")
    page = Page()
    s = None
    try:
        s = Server(base, template, page)
        yield s
    finally:
        if s:
            s.close()
        page.close()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(name="page")
def _page(shared):
    shared.page.grant()
    return shared.page


@pytest.fixture(name="stopped")
def _stopped(shared, page):
    shared.stop()
    shared.configure()
    shared.begin()
    yield shared
    shared.hang_up()
    shared.stop()
    shared.configure()


@pytest.fixture(name="server")
def _server(shared, page):
    shared.begin()
    if shared.proc is None or shared.proc.poll() is not None:
        shared.start()
    for (gid,) in shared.sql("SELECT gid FROM pg_prepared_xacts"):
        shared.sql(f"ROLLBACK PREPARED '{gid}'")
    shared.sql("DROP TABLE IF EXISTS t, u")
    shared.sql("CREATE TABLE t (i int)")
    shared.begin()
    yield shared
    page.grant()
    shared.hang_up()
    shared.configure()


def refused(server, act):
    """The session ends with the gate's own message, which is looked for in the log: psycopg2 keeps only
    that the connection is closed."""
    before = server.said(CLIENT_REFUSED)
    with pytest.raises(psycopg2.OperationalError):
        act()
    server.wait_log(CLIENT_REFUSED, before + 1)
    assert server.proc.poll() is None and not server.said(UNTOLD)


def run(conn, text):
    with conn.cursor() as c:
        c.execute(text)


def count(server):
    return server.sql("SELECT count(*) FROM t")[0][0]


# ---- before the record ----

def by_autocommit(server):
    c = server.connect()
    return lambda: run(c, "INSERT INTO t VALUES (1)")


def by_commit(server):
    c = server.connect(autocommit=False)
    run(c, "INSERT INTO t VALUES (1)")
    return c.commit


def by_asynchronous_commit(server):
    c = server.connect(autocommit=False)
    run(c, "SET synchronous_commit = off")
    run(c, "INSERT INTO t VALUES (1)")
    return c.commit


def by_prepare(server):
    c = server.connect()
    run(c, "BEGIN")
    run(c, "INSERT INTO t VALUES (1)")
    return lambda: run(c, "PREPARE TRANSACTION 'one'")


def by_create_table(server):
    c = server.connect()
    return lambda: run(c, "CREATE TABLE u AS SELECT 1 AS i")


def by_concurrent_index(server):
    c = server.connect()
    return lambda: run(c, "CREATE INDEX CONCURRENTLY ON t (i)")


def by_copy(server):
    c = server.connect()

    def copy():
        with c.cursor() as cur:
            cur.copy_expert("COPY t FROM STDIN", io.StringIO("1\n" * 10000))
    return copy


def by_parallel_query(server):
    run(server.connect(), "INSERT INTO t SELECT generate_series(1, 20000)")
    c = server.connect()
    for name, value in (("parallel_setup_cost", 0), ("parallel_tuple_cost", 0),
                        ("min_parallel_table_scan_size", 0), ("max_parallel_workers_per_gather", 2)):
        run(c, f"SET {name} = {value}")
    with c.cursor() as cur:  # workers are really started, and finish within the lease
        cur.execute("EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT count(*) FROM t")
        plan = "\n".join(r[0] for r in cur.fetchall())
    assert "Workers Launched: 2" in plan, plan
    return lambda: run(c, "CREATE TABLE u AS SELECT count(*) FROM t")


def by_read(server):
    c = server.connect()
    return lambda: run(c, "SELECT count(*) FROM t")


WAYS = [by_autocommit, by_commit, by_asynchronous_commit, by_prepare, by_create_table,
        by_concurrent_index, by_copy, by_parallel_query, by_read]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__[3:])
def test_deadline_passed__refused_and_nothing_written(server, page, way):
    act = way(server)
    before = count(server)
    page.lapse()
    refused(server, act)
    refused(server, lambda: server.connect().cursor().execute("SELECT 1"))
    page.grant()
    assert count(server) == before
    assert server.sql("SELECT count(*) FROM pg_prepared_xacts")[0][0] == 0
    assert server.sql("SELECT to_regclass('u')")[0][0] is None
    assert server.sql("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass")[0][0] == 0


@pytest.mark.parametrize("way", [w for w in WAYS if w is not by_prepare],
                         ids=lambda w: w.__name__[3:])
def test_deadline_ahead__let_through(server, way):
    way(server)()
    assert not server.said(CLIENT_REFUSED) and not server.said(UNTOLD)


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
def test_second_phase__refused_and_still_prepared(server, page, how):
    by_prepare(server)()
    c = server.connect()
    page.lapse()
    refused(server, lambda: run(c, f"{how} PREPARED 'one'"))
    page.grant()
    assert server.sql("SELECT gid FROM pg_prepared_xacts") == [("one",)]
    assert count(server) == 0
    run(server.connect(), f"{how} PREPARED 'one'")
    assert count(server) == (how == "COMMIT")


def in_thread(act):
    """Runs act beside the test; what came of it is in the list afterwards."""
    result = []

    def body():
        try:
            act()
            result.append(None)
        except psycopg2.Error as e:
            result.append(e)
    t = threading.Thread(target=body, daemon=True)
    t.start()
    return t, result


def test_procedure_with_commit_inside__ends_at_the_next_commit(server, page):
    holder, c = server.connect(), server.connect()
    run(holder, "SELECT pg_advisory_lock(1)")
    thread, result = in_thread(lambda: run(c, """DO $$ BEGIN
        INSERT INTO t VALUES (1); COMMIT;
        PERFORM pg_advisory_lock(1); INSERT INTO t VALUES (2); COMMIT; END $$"""))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    until(lambda: server.sql(waiting)[0][0] == 1, "the procedure to wait after its first COMMIT")
    page.lapse()
    holder.close()
    thread.join(DEADLINE_S)
    assert isinstance(result[0], psycopg2.Error)
    server.wait_log(CLIENT_REFUSED)
    page.grant()
    assert server.sql("SELECT i FROM t") == [(1,)]


def test_background_worker__refused_and_later_caught_up(server, page):
    """A worker that applies changes of a publication commits without a client."""
    run(server.connect(), "CREATE PUBLICATION p FOR TABLE t")
    run(server.connect(), "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    run(server.connect(), "CREATE DATABASE sub")
    sub = server.connect(dbname="sub")
    run(sub, "CREATE TABLE t (i int)")
    run(sub, f"CREATE SUBSCRIPTION s CONNECTION 'host={server.base} user=postgres dbname=postgres' "
             "PUBLICATION p WITH (create_slot = off, copy_data = off, slot_name = s)")
    run(server.connect(), "INSERT INTO t VALUES (1)")
    arrived = "SELECT i FROM t ORDER BY i"
    until(lambda: server.sql(arrived, "sub") == [(1,)], "the first row to be applied")
    lock = server.connect(autocommit=False, dbname="sub")
    run(lock, "LOCK TABLE t")
    run(server.connect(), "INSERT INTO t VALUES (2)")
    until(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0] == 1,
          "the worker to wait for the table")
    page.lapse()
    lock.close()
    server.wait_log(f"logical replication worker: {REFUSED}")
    page.grant()
    until(lambda: server.sql(arrived, "sub") == [(1,), (2,)], "the worker to catch up")
    sub.close()
    for text in ("ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET (slot_name = NONE)",
                 "DROP SUBSCRIPTION s"):
        server.sql(text, "sub")
    until(lambda: not server.sql("SELECT 1 FROM pg_replication_slots WHERE active"), "a free slot")
    server.sql("SELECT pg_drop_replication_slot('s')")
    server.sql("DROP DATABASE sub")


# ---- after the record ----

def untold(server, page, act):
    """act waits for a standby that does not exist, its record written; then the deadline passes, and
    the wait ends. The client must hear nothing, and the server ends."""
    server.configure(synchronous_standby_names="nobody")
    until(lambda: server.sql("SHOW synchronous_standby_names") == [("nobody",)], "the setting")
    thread, result = in_thread(act)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    until(lambda: server.sql(waiting)[0][0] == 1, "the commit to wait for its standby")
    page.lapse()
    server.configure()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert isinstance(result[0], psycopg2.Error), "the client was told of the commit"
    server.wait_end()
    assert server.said(UNTOLD) == 1
    assert not server.said(CLIENT_REFUSED), "the client was told that it was not committed"
    page.grant()
    server.start()


def test_record_written__client_not_told_and_row_there(server, page):
    untold(server, page, by_autocommit(server))
    until(lambda: count(server) == 1, "the row after the restart")


def test_prepare_written__client_not_told(server, page):
    untold(server, page, by_prepare(server))
    until(lambda: server.sql("SELECT gid FROM pg_prepared_xacts") == [("one",)], "the transaction")


def test_second_phase_written__client_not_told(server, page):
    by_prepare(server)()
    c = server.connect()
    untold(server, page, lambda: run(c, "COMMIT PREPARED 'one'"))
    until(lambda: count(server) == 1, "the row after the restart")


def test_procedure__record_of_inner_commit_written__client_not_told(server, page):
    c = server.connect()
    untold(server, page, lambda: run(c, "DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; "
                                        "INSERT INTO t VALUES (2); END $$"))
    until(lambda: server.sql("SELECT i FROM t") == [(1,)], "the first row after the restart")


# ---- left alone ----

def test_standby__read_past_the_deadline__undisturbed_until_promoted(stopped, page):
    open(os.path.join(stopped.data, "standby.signal"), "w").close()
    page.lapse()
    stopped.start(wait=False)
    stopped.wait_log("ready to accept read-only connections")
    c = stopped.connect()
    run(c, "SELECT count(*) FROM pg_class")
    run(c, "SELECT pg_promote(false)")
    stopped.wait_log("database system is ready to accept connections")
    refused(stopped, lambda: run(c, "SELECT 1"))


def test_crash_recovery__deadline_passed__ends_all_the_same(server, page):
    run(server.connect(), "INSERT INTO t VALUES (1)")
    server.stop(signal.SIGQUIT)
    page.lapse()
    server.start(wait=False)
    server.wait_log("database system was not properly shut down")
    server.wait_log("database system is ready to accept connections")
    refused(server, lambda: count(server))
    page.grant()
    assert count(server) == 1


@pytest.mark.parametrize("strict", ["off", "on"])
def test_autovacuum__deadline_passed_and_strict__goes_on(server, page, strict):
    server.sql("INSERT INTO t SELECT generate_series(1, 1000)")
    server.sql("DELETE FROM t")  # counted when the session ends
    page.lapse()
    server.configure(autovacuum="on", pghad_gate__strict=strict)
    server.wait_log('autovacuum worker: LOG:  automatic vacuum of table "postgres.public.t"')
    assert not server.said(f"autovacuum worker: {REFUSED}")
    assert not server.said(UNTOLD)


def gate_is_active(server):
    return server.sql("SHOW pghad_gate.active")[0][0] == "on"


def test_started_by_hand__silent(stopped):
    stopped.start(page_fd=-1)
    run(stopped.connect(), "CREATE TEMP TABLE x (i int)")
    assert not gate_is_active(stopped)
    assert not stopped.said("gate is not active")


def test_not_writable__never_refused(server, page):
    """Outside of Kubernetes, and wherever nobody was given a right."""
    assert gate_is_active(server)
    page.set(0, writable=0)
    by_autocommit(server)()
    assert count(server) == 1


def test_page_of_another_version__inactive_with_a_warning(stopped):
    other = Page(version=99)
    other.lapse()
    fd = other.reader()
    try:
        stopped.start(page_fd=fd)
    finally:
        os.close(fd)
        other.close()
    assert stopped.said("WARNING:  the commit gate is not active") == 1
    assert not gate_is_active(stopped)


def test_descriptor_and_variable__not_passed_on(server):
    """Programs that the server runs get neither, and nobody can write to the page."""
    run(server.connect(), "COPY t FROM PROGRAM 'env | grep -c PGHA_ || true'")
    assert server.sql("SELECT i FROM t") == [(0,)]
    maps = []
    for fd in os.listdir(f"/proc/{server.proc.pid}/fd"):
        try:
            maps.append(os.readlink(f"/proc/{server.proc.pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    assert not [m for m in maps if "gate-test" in m]
    with open(f"/proc/{server.proc.pid}/maps", encoding="utf-8") as f:
        mode = [line.split()[1] for line in f if "gate-test" in line]
    assert mode == ["r--s"]


def test_loaded_into_one_session__does_nothing(stopped):
    stopped.configure(shared_preload_libraries="''")
    stopped.start()
    stopped.page.lapse()
    c = stopped.connect()
    run(c, f"LOAD '{library()}'")
    run(c, "CREATE TEMP TABLE x (i int)")


# ---- strict ----

def test_strict__commit_that_does_not_wait__refused_by_an_error(server):
    by_prepare(server)()
    server.configure(pghad_gate__strict="on")
    until(lambda: server.sql("SHOW pghad_gate.strict") == [("on",)], "the setting")
    c = server.connect()
    for level in ("off", "local", "remote_write"):
        run(c, f"SET synchronous_commit = {level}")
        run(c, "SELECT count(*) FROM t")  # nothing to wait for
        for text in ("INSERT INTO t VALUES (1)", "COMMIT PREPARED 'one'",
                     "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'two'"):
            with pytest.raises(psycopg2.Error) as e:
                run(c, text)
            assert e.value.pgcode == errorcodes.OBJECT_NOT_IN_PREREQUISITE_STATE
            assert "refused in strict mode" in str(e.value)
    assert count(server) == 0
    for level in ("on", "remote_apply"):
        run(c, f"SET synchronous_commit = {level}")
        run(c, "INSERT INTO t VALUES (1)")
    assert count(server) == 2


def test_strict__may_not_be_turned_off_by_a_plain_user(server):
    run(server.connect(), "CREATE ROLE u LOGIN")
    c = psycopg2.connect(host=server.base, user="u", dbname="postgres")
    server.sessions.append(c)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run(c, "SET pghad_gate.strict = off")
