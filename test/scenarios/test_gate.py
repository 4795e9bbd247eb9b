"""The commit gate in a cluster: whole members frozen past their lease, and who loads it."""
import os
import struct

import pytest

import checker
import wait
from cluster import continue_processes, stop_processes

SESSIONS = 4  # of the writer on each server


def deadline_us(member):
    """The deadline in the fence page, as the member's guard shares it with its agent."""
    with open(f"/proc/{member.agent().pid}/fd/4", "rb") as page:
        page.seek(56)  # include/base/page.h
        return struct.unpack("=q", page.read(8))[0] * 1000


def late(acks, server, deadline):
    """(asked for after the deadline, asked for before and answered after it) of one server."""
    mine = [r for r in acks if r["s"] == server and r["a"] > deadline]
    return [r for r in mine if r["i"] > deadline], [r for r in mine if r["i"] <= deadline]


def test_async_primary_frozen_past_its_lease__acknowledges_nothing_when_thawed(fresh):
    c = fresh(options={"replication.mode": "async"})
    c.wait_healthy()
    with c.load() as load:
        p = c.primary()
        wait.until(lambda: p.status()["commit_gate"] is True, 30, "the gate to be seen")
        at = wait.boot_us()
        frozen = p.processes()
        stop_processes(frozen)
        try:
            deadline = deadline_us(p)
            load.wait_writes(30, max(at, deadline))
            assert c.primary() is not p
        finally:
            continue_processes(frozen)
        c.wait_healthy()
    h = checker.History(c.writer_logs)
    after, replies = late(h.acks, p.ip, deadline)
    assert not after, f"{len(after)} rows sent and acknowledged after the deadline"
    assert len(replies) <= SESSIONS, f"{len(replies)} replies after the deadline"
    assert [s for s, *_ in h.writers()] == [p.ip, c.primary().ip]


def test_libraries_of_the_user_are_preloaded_with_the_gate(fresh):
    """By the cluster's settings, and by ALTER SYSTEM, which is read after every file of ours."""
    c = fresh(size=1, options={"postgres.parameters": '{"shared_preload_libraries": "auto_explain"}'})
    c.wait_healthy()
    m = c.primary()

    def preloaded():
        return m.sql("SHOW shared_preload_libraries")[0][0]

    assert preloaded().startswith("auto_explain, ") and "/pghad_gate-" in preloaded()
    assert m.sql("SHOW auto_explain.log_analyze") == [("off",)]
    assert m.sql("SHOW pghad_gate.active") == [("on",)]
    assert not m.status()["pending_restart"]
    if int(m.sql("SHOW server_version_num")[0][0]) >= 170000:
        return  # ALTER SYSTEM is off there
    m.sql("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    m.sql("SELECT pg_reload_conf()")
    wait.until(lambda: m.status()["pending_restart"], 30, "the restart to be due")
    c.hactl("restart", m.name, "--force", check=0)
    c.wait_healthy()
    wait.until(lambda: preloaded().startswith("pg_stat_statements, "), 30, "the new library")
    assert "/pghad_gate-" in preloaded()
    wait.until(lambda: m.status()["commit_gate"] is True, 30, "the gate to be seen")


def test_gate_switched_off(fresh):
    c = fresh(size=1, options={"postgres.commit_gate": "false"})
    c.wait_healthy()
    m = c.primary()
    assert m.sql("SHOW shared_preload_libraries") == [("",)]
    wait.until(lambda: m.status()["commit_gate"] is False, 30, "the gate to be seen as absent")


def test_strict__commits_that_do_not_wait_are_refused(fresh):
    c = fresh(size=2, options={"replication.strict": "true"})
    c.wait_healthy()
    p = c.primary()
    with pytest.raises(Exception, match="refused in strict mode"):
        p.sql("SET synchronous_commit = local; CREATE TABLE refused (i int)")
    p.sql("CREATE TABLE taken (i int)")
