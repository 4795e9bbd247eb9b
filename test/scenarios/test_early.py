"""A strict primary that is silent to all who elect is succeeded before its lease has run out."""
import contextlib
import json

import pytest

import wait
LEASE_S = 5

EARLY = {"replication.strict": "true", "failover.early_after": "1500ms"}


def says_strict(c):
    return json.loads(c.lease()["metadata"]["annotations"]["pghad.io/record"]).get("strict", False)


@pytest.fixture
def early(fresh):
    c = fresh(options=EARLY)
    c.wait_healthy()
    wait.until(lambda: says_strict(c), 20, "the record to say that the gate is strict")
    return c


def test_a_lost_node_does_not_cost_its_lease(early, net):
    with early.load() as load:
        p = early.primary()
        load.wait_writes(20)
        at = wait.boot_us()
        net.cut_all(p.name)
        load.wait_writes(30, at)
        assert early.primary() is not p
        gap = load.gap_ms(at)
        net.heal()
        early.wait_healthy(60)
    print(f"gap {gap:.0f} ms, lease {LEASE_S} s")
    assert gap < LEASE_S * 1000, "nobody had to wait for the lease"
    early.verify(late_ok=True)


def test_a_primary_without_its_peers_hands_over_although_it_renews(early, net):
    """It reaches the API and its clients, but nobody confirms its commits any more."""
    with early.load() as load:
        p = early.primary()
        load.wait_writes(20)
        at = wait.boot_us()
        net.cut_peers(p.name)
        load.wait_writes(30, at + 1_500_000)
        assert early.primary() is not p
        assert load.gap_ms(at) < LEASE_S * 1000
        net.heal()
        early.wait_healthy(60)
    early.verify(late_ok=True)


def test_one_cut_link_is_no_reason(early, net):
    with early.load():
        p, s = early.primary(), early.standby()
        net.cut(p.name, s.name)
        early.stays_writable(p, 6, "the other standby hears the primary")
        net.heal()
        assert early.wait_healthy(60) is p
    early.verify()


def test_strict_is_taken_back_before_the_gate_is_loosened(fresh):
    """What edit-config asks for holds for the next primary; on the way back the record says it first."""
    c = fresh()
    c.wait_healthy()
    c.hactl("edit-config", "--set", "replication.strict=true", "--set", "failover.early_after=1500ms", "--force")
    c.wait_healthy()
    assert not says_strict(c), "sessions from before may commit without standbys"
    c.hactl("switchover", "--force")
    wait.until(lambda: says_strict(c), 20, "the record to say that the gate is strict")
    p = c.wait_healthy()
    with pytest.raises(Exception, match="strict"):
        p.sql("SET synchronous_commit = off; CREATE TABLE loose (id int)")
    c.hactl("edit-config", "--set", "replication.strict=false", "--set", "failover.early_after=0s", "--force")

    def loose():
        with contextlib.suppress(Exception):
            p.sql("SET synchronous_commit = off; CREATE TABLE IF NOT EXISTS loose (id int)")
            return True
        return False
    wait.until(loose, 30, "the gate to let a session commit without standbys")
    assert not says_strict(c)
    c.wait_healthy()
    c.verify()
