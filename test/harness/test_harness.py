"""The harness must see what it is there to see: proved on plain PostgreSQL, without the product."""
import os
import subprocess

import pytest

import checker
import sandbox
import wait

WRITER = os.path.join(os.environ.get("PGHA_BUILD", "build/gcc"), "ha-writer")


@pytest.fixture
def writer(net, request):
    log = os.path.join(sandbox.inside(), request.node.name + ".log")
    w = checker.Writer(WRITER, log, [f"{n.ip}:5432" for n in net.nodes.values()], every_ms=5)
    yield w.start()
    w.kill()


def test_partitions_are_silent_and_directed(net):
    a, b = net.nodes["pg-0"], net.nodes["pg-1"]
    listener = subprocess.Popen([*b.prefix(), "python3", "-m", "http.server", "80", "-b", b.ip],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def fetch(node):
        prefix = node.prefix() if node else []
        return subprocess.run([*prefix, "curl", "-so", "/dev/null", "-m", "0.5",
                               f"http://{b.ip}/"]).returncode

    try:
        wait.until(lambda: fetch(None) == 0, 10, "listener up")
        assert fetch(a) == 0
        for cut in (lambda: net.cut("pg-0", "pg-1"), lambda: net.drop("pg-1", "pg-0"),
                    lambda: net.cut_peers("pg-0"), lambda: net.cut_all("pg-0")):
            cut()
            assert fetch(a) == 28, "a cut is a silence (curl: timeout), not a refusal"
            assert fetch(None) == 0, "others are not affected"
            net.heal()
            assert fetch(a) == 0
        net.cut_all("pg-1")
        assert fetch(None) == 28
        net.heal()
        assert fetch(None) == 0
    finally:
        listener.kill()
        listener.wait()


def test_failover_gap_is_measured_and_nothing_is_lost(servers, writer):
    primary = servers(0)
    standby = servers(1, clone_of=primary)
    writer.wait_writes(10)
    checker.query(primary.node.ip, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    checker.query(primary.node.ip, "SELECT pg_reload_conf()")
    wait.until(lambda: checker.query(primary.node.ip, "SELECT count(*) FROM pg_stat_replication "
                                     "WHERE sync_state = 'sync'")[0][0] == 1, 30, "sync standby")
    writer.wait_writes(5)
    fault = wait.boot_us()
    primary.crash()
    checker.query(standby.node.ip, "ALTER SYSTEM SET synchronous_standby_names = ''")
    checker.query(standby.node.ip, "SELECT pg_promote()", timeout=60)
    writer.wait_writes(30)
    end = wait.boot_us()
    writer.stop()
    h = checker.History(writer.log)
    verdict = h.against(checker.table_ids(standby.node.ip))
    assert verdict["lost"] == [] and verdict["phantom"] == [] and verdict["not_failed"] == []
    assert verdict["acknowledged"] >= 10 and h.overlaps() == []
    assert [(s, tl) for s, tl, _, _ in h.writers()] == [(primary.node.ip, 1), (standby.node.ip, 2)]
    gap = h.gap_us(fault, end)
    assert 1000 < gap < 90_000_000
    assert writer.summary["longest_gap_us"] >= gap - 1000, "its own sum agrees"


def test_two_writers_are_caught(servers, writer):
    primary = servers(0)
    standby = servers(1, clone_of=primary)
    writer.wait_writes(10)
    checker.query(standby.node.ip, "SELECT pg_promote()", timeout=60)
    wait.until(lambda: checker.query(standby.node.ip, "SELECT NOT pg_is_in_recovery()")[0][0], 30,
               "second primary")
    writer.wait_writes(30, count=50)
    writer.stop()
    h = checker.History(writer.log)
    assert any(o["kind"] == "proved" for o in h.overlaps())
    verdict = h.against(checker.table_ids(standby.node.ip))
    assert verdict["lost"], "rows of the first primary after the fork are lost"


def test_cut_off_server_gives_unknown_not_ack(net, servers, writer):
    primary = servers(0)
    writer.wait_writes(10)
    net.cut_all("pg-0")
    cut = wait.boot_us()
    wait.until(lambda: any(r["i"] > cut - 1_000_000
                           for r in checker.History(writer.log).unknowns), 15,
               "the open row to become unknown")
    net.heal()
    writer.wait_writes(15)
    writer.stop()
    h = checker.History(writer.log)
    verdict = h.against(checker.table_ids(primary.node.ip))
    assert verdict["lost"] == [] and verdict["phantom"] == [] and verdict["unknown"] >= 1


def test_cancelled_sync_wait_is_unknown(servers, writer):
    primary = servers(0)
    writer.wait_writes(10)
    checker.query(primary.node.ip, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    checker.query(primary.node.ip, "SELECT pg_reload_conf()")
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    pid = wait.until(lambda: checker.query(primary.node.ip, waiting), 10, "a waiting commit")[0][0]
    checker.query(primary.node.ip, "SELECT pg_cancel_backend(%s)", (pid,))
    wait.until(lambda: any(r["state"] == "01000"
                           for r in checker.History(writer.log).unknowns), 10, "doubtful answer")
    writer.stop()


def test_terminated_sync_wait_is_unknown(servers, writer):
    """A server that stops ends the wait with a warning, when the row itself and CommandComplete are on
    their way already: not an acknowledgement before it is ready for the next query."""
    primary = servers(0)
    writer.wait_writes(10)
    checker.query(primary.node.ip, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    checker.query(primary.node.ip, "SELECT pg_reload_conf()")
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    for _ in range(5):
        pid = wait.until(lambda: checker.query(primary.node.ip, waiting), 10, "a waiting commit")[0][0]
        at = wait.boot_us()
        checker.query(primary.node.ip, "SELECT pg_terminate_backend(%s)", (pid,))
        wait.until(lambda at=at: any(r["a"] > at for r in checker.History(writer.log).unknowns), 10,
                   "an unknown row")
    writer.stop()
    assert all(r["a"] < at for r in checker.History(writer.log).acks), "nobody was there to wait for"


def test_checker_judges_synthetic_histories(tmp_path):
    def row(op, id_, server, timeline, sent, answered):
        return ('{"op":"%s","id":%d,"m":0,"i":%d,"a":%d,"s":"%s","tl":%d,"state":""}\n'
                % (op, id_, sent, answered, server, timeline))

    log = tmp_path / "log"
    log.write_text(row("ack", 1, "a", 1, 0, 10) + row("ack", 2, "a", 1, 20, 30) +
                   row("ack", 3, "b", 2, 500, 600) + row("unknown", 4, "", 0, 25, 700) +
                   row("ack", 5, "a", 1, 590, 650) + row("ack", 6, "a", 1, 610, 660) +
                   row("ack", 7, "b", 2, 700, 900))
    h = checker.History(str(log))
    assert [(o["id"], o["kind"]) for o in h.overlaps()] == [(5, "late"), (6, "proved")]
    assert h.gap_us() == 570 and h.gap_us(640, 700) == 240 and h.gap_us(950) is None
    verdict = h.against([1, 3, 4, 6, 7, 99])
    assert verdict["lost"] == [2, 5] and verdict["phantom"] == [99]
    assert verdict["unknown_present"] == 1
