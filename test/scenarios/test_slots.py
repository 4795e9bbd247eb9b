"""Replication slots that are not the members' own."""
import json

import pytest
import wait

MB = 1 << 20
CAP_MB = 64
pytestmark = [pytest.mark.local, pytest.mark.long]


def write_wal(m, megabytes):
    for _ in range(megabytes):
        m.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576))", timeout=30)


def wal_bytes(m):
    return int(m.sql("SELECT sum(size) FROM pg_ls_waldir()")[0][0])


def test_slot_without_a_consumer(fresh):
    """Somebody's slot, and nobody reads it: it keeps WAL up to the cap, then it is lost and the server lives."""
    c = fresh(options={"replication.max_wal_keep": f"{CAP_MB}MB", "postgres.parameters": json.dumps({
        "wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "64MB"})})
    p = c.wait_healthy()
    with c.load() as load:
        p.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")

        def status():
            write_wal(p, 16)
            p.sql("CHECKPOINT", timeout=30)
            return p.sql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'forgotten'")[0][0]

        held = []

        def lost():
            held.append(wal_bytes(p))
            return status() == "lost"

        wait.until(lost, 120, "the end of its right to WAL")
        assert max(held) > 3 * CAP_MB * MB // 4, "it kept nothing"
        wait.until(lambda: status() and wal_bytes(p) < (CAP_MB + 160) * MB, 60, "WAL to be removed")
        assert c.wait_healthy() is p
        kept = p.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'm\\_%%' AND wal_status = 'lost'")
        assert kept == [(0,)], "a member's slot is lost"
        assert p.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'forgotten'"), "not ours to drop"
        at = wait.boot_us()
        p.kill()
        load.wait_writes(40, at)
        p.start()
        c.wait_healthy()
    c.verify()
