"""What must hold with every major version of PostgreSQL, and between two of them: make test-pg PG=17.

PG_BIN are the programs under test, PGHA_OTHER_PG_BIN those of another version. Together with these run
the scenarios that are marked `versions`."""
import glob
import json
import os
import re

import pytest
import wait
from test_bad_input import snapshot

OTHER = os.environ["PGHA_OTHER_PG_BIN"]
LEASE_S = 5
REWIND = 3  # enum pg_job_kind

pytestmark = pytest.mark.versions


def major_of(directory):
    return re.search(r"\d+", os.popen(f"{directory}/postgres --version").read())[0]


def alarms(m):
    return json.dumps(m.status()["alarms"]) if m.says("/startup") else ""


def test_the_server_is_of_the_version_under_test(cluster):
    major = major_of(cluster.members[0].pg_bin)
    for m in cluster.members:
        assert m.sql("SHOW server_version_num")[0][0][:-4] == major
        assert m.sql("SHOW data_checksums") == [("on",)]
        assert m.status()["server_version"] // 10000 == int(major)


def test_replication_changes_its_form_while_writing(cluster):
    """FIRST, ANY, all of them, nobody, and back: each comes into force without a restart."""
    def becomes(form, *settings):
        cluster.hactl("edit-config", *[a for s in settings for a in ("--set", f"replication.{s}")],
                      "--force", check=0)
        p = cluster.primary()
        wait.until(lambda: cluster.sync_names(p).startswith(form) and
                   (form or not cluster.sync_names(p)), 40, f"{form or 'nobody'} to be waited for")

    with cluster.load() as load:
        try:
            for form, *settings in [("FIRST 1 (", "mode=sync"), ("ANY 2 (", "mode=quorum", "k=2"),
                                    ("ANY 1 (", "k=1"), ("", "mode=async")]:
                becomes(form, *settings)
                load.wait_writes(20, wait.boot_us())
        finally:
            becomes("ANY 1 (", "mode=quorum", "k=1")
        cluster.wait_healthy()
    cluster.verify()


def test_slots_exist_everywhere_and_move(cluster):
    """Every member keeps a slot for each other member, and those of standbys do not hold WAL for ever."""
    def positions(m):
        return dict(m.sql("SELECT slot_name, (restart_lsn - '0/0')::bigint FROM pg_replication_slots"
                          " WHERE slot_name LIKE 'm\\_%%'"))

    with cluster.load():
        wait.until(lambda: all(len(positions(m)) == 2 for m in cluster.members), 60,
                   "two slots on each member")
        p = cluster.primary()
        p.sql("SELECT pg_switch_wal()")
        lsn = p.sql("SELECT (pg_current_wal_lsn() - '0/0')::bigint")[0][0]
        wait.until(lambda: all(at is not None and at >= lsn for m in cluster.members
                               for at in positions(m).values()), 60,
                   f"all slots to pass {lsn}")
    cluster.verify()


def test_a_diverged_member_comes_back(fresh, net):
    """By pg_rewind, its other WAL kept; where this installation has none, by a clone."""
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
        p.start()
        cluster.wait_healthy(60)
        kept = glob.glob(os.path.join(os.path.dirname(p.pgdata), "pghad", "diverged", "*", "receipt"))
        assert len(kept) == 1, kept
        done = [r["kind"] for r in p.log_lines("operation-done")]
        assert (REWIND in done) == os.path.exists(f"{p.pg_bin}/pg_rewind"), done
    cluster.verify()


def test_binaries_of_another_version_leave_the_data_alone(cluster):
    """An upgraded image does not upgrade a directory, and a downgraded one does not open it either."""
    own, other = major_of(cluster.members[0].pg_bin), major_of(OTHER)
    with cluster.load() as load:
        s = cluster.standby()
        good = s.pg_bin
        s.terminate()
        before = snapshot(s.pgdata)
        s.pg_bin = OTHER
        try:
            s.start()
            told = wait.until(lambda: alarms(s), 30, "an alarm")
            assert f"data of PostgreSQL {own}, the binaries are {other}" in told, told
            wait.until(lambda: f"PostgreSQL {own}" in cluster.hactl("list", "-o", "json").stdout, 30,
                       "hactl to tell")
            assert cluster.hactl("reinit", s.name, "--force").returncode != 0
            load.wait_writes(10, wait.boot_us())
            cluster.wait_healthy(down=[s.name])
            assert not s.says("/readiness") and s.says("/liveness")
            assert not s.postmaster()
            s.terminate()
            assert snapshot(s.pgdata) == before, "the directory was touched"
        finally:
            s.kill()
            s.pg_bin = good
        s.start()
        cluster.wait_healthy()
        assert not s.log_lines("operation-begun")[1:], "it was cloned at the beginning and never again"
    cluster.verify()


def test_whole_cluster_on_binaries_of_another_version(cluster):
    """All images were changed at once: no member initialises, promotes or touches anything."""
    own, other = major_of(cluster.members[0].pg_bin), major_of(OTHER)
    with cluster.load():
        pass
    for m in cluster.members:
        m.terminate(60)
    before = {m.name: snapshot(m.pgdata) for m in cluster.members}
    good = cluster.members[0].pg_bin
    try:
        for m in cluster.members:
            m.pg_bin = OTHER
            m.start()
        for m in cluster.members:
            wait.until(lambda m=m: f"data of PostgreSQL {own}, the binaries are {other}" in alarms(m),
                       30, f"{m.name}: an alarm")
        wait.holds(lambda: not any(m.postmaster() for m in cluster.members), 2 * LEASE_S,
                   "no server runs")
        assert not cluster.holder()
    finally:
        for m in cluster.members:
            m.terminate(60)
            m.pg_bin = good
    assert {m.name: snapshot(m.pgdata) for m in cluster.members} == before
    for m in cluster.members:
        m.start()
    cluster.wait_healthy()
    cluster.verify()


def test_an_empty_member_of_another_version_copies_nothing(cluster):
    """Its base backup would succeed, and nothing here could start the copy."""
    own, other = major_of(cluster.members[0].pg_bin), major_of(OTHER)
    with cluster.load() as load:
        s = cluster.standby()
        good = s.pg_bin
        s.kill()
        s.lose_volume()
        s.pg_bin = OTHER
        try:
            s.start()
            told = wait.until(lambda: [r for r in s.log_lines("operation-failed")
                                       if f"it is PostgreSQL {own}, the binaries here are {other}"
                                       in r["msg"]], 30, "the reason in its log")
            assert told
            load.wait_writes(10, wait.boot_us())
            cluster.wait_healthy(down=[s.name])
            begun = [f for d in glob.glob(s.pgdata + "*") for f in os.listdir(d)]
            assert not begun, f"it has begun to copy: {begun[:5]}"
        finally:
            s.kill()
            s.pg_bin = good
        s.start()
        cluster.wait_healthy()
    cluster.verify()
