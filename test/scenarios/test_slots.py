"""Replication slots that are not the members' own."""
import json

import pytest
import wait

MB = 1 << 20
CAP_MB = 64
pytestmark = pytest.mark.local


def write_wal(m, megabytes):
    for _ in range(megabytes):
        m.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576))", timeout=30)


def wal_bytes(m):
    return int(m.sql("SELECT sum(size) FROM pg_ls_waldir()")[0][0])


@pytest.mark.long
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


def slot(m, what="true"):
    return m.sql(f"SELECT {what} FROM pg_replication_slots WHERE slot_name = 'feed'")


def take(m):
    """How many changes the consumer gets, once and for all."""
    return m.sql("SELECT count(*) FROM pg_logical_slot_get_binary_changes('feed', NULL, NULL, "
                 "'proto_version', '1', 'publication_names', 'feed')", timeout=30)[0][0]


@pytest.mark.versions
def test_logical_slots_and_a_change_of_primary(fresh):
    """Before 17 they are lost, and hactl says so beforehand; from 17 on those that ask for it survive, and
    come back to the old primary, too."""
    c = fresh(options={"postgres.parameters": json.dumps({"wal_level": "logical"})})
    p = c.wait_healthy()
    kept = int(p.sql("SHOW server_version_num")[0][0]) >= 170000
    p.sql("CREATE TABLE fed (i int)")
    p.sql("CREATE PUBLICATION feed FOR TABLE fed")
    p.sql("SELECT pg_create_logical_replication_slot('plain', 'pgoutput')")
    p.sql(f"SELECT pg_create_logical_replication_slot('feed', 'pgoutput'{', failover => true' if kept else ''})")
    lost = ["plain"] if kept else ["feed", "plain"]
    wait.until(lambda: sorted((p.status()["perishable_slots"] or "").split(", ")) == lost, 30,
               "the slots that would be lost")
    for said in c.hactl("list").stdout, c.hactl("switchover", "--dry-run").stdout:
        assert f"that only {p.name} has" in said and "plain" in said and ("feed" in said) is not kept
    with c.load() as load:
        def copied(m, on):
            on.sql("INSERT INTO fed VALUES (1)")
            take(on)
            return slot(m, "synced AND NOT temporary") == [(True,)]

        for m in c.others(p) if kept else ():
            wait.until(lambda: copied(m, p), 60, f"a copy of the slot on {m.name}", every=0.5)
        p.sql("INSERT INTO fed VALUES (2)")
        at = wait.boot_us()
        p.kill()
        load.wait_writes(40, at)
        q = c.primary()
        assert q is not p and slot(q) == ([(True,)] if kept else [])
        if kept:
            assert take(q) >= 1, "what the consumer had not taken before"
        p.start()
        c.wait_healthy()
        if kept:
            wait.until(lambda: copied(p, q), 60, "a copy on the old primary", every=0.5)
    c.verify()
