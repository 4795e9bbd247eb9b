"""The network goes away, silently, for some."""
import pytest

import wait

LEASE_S, FENCE_S = 5, 3.3


@pytest.mark.kind
def test_primary_cut_from_the_api_only(cluster, net):
    """All listed members promise: writes go on for as long as it lasts."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        net.cut_api(p.name)
        cluster.stays_writable(p, 3 * LEASE_S, "writes by promises")
        load.wait_writes(5)
        assert load.gap_ms(at) < 2000
        net.heal()
        assert cluster.wait_healthy() is p
    cluster.verify()


@pytest.mark.kind
def test_primary_cut_from_its_peers_only(cluster, net):
    """The lease is renewed, no standby acknowledges: sealed, then lifted; one writer throughout."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        net.cut_peers(p.name)
        load.wait_writes(40, at + 2_000_000)
        net.heal()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
@pytest.mark.parametrize("clients", [False, True], ids=["clients-cut", "clients-reach-it"])
def test_primary_cut_from_all(cluster, net, clients):
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        if clients:
            net.cut_peers(p.name)
            net.cut_api(p.name)
        else:
            net.cut_all(p.name)
        load.wait_writes(LEASE_S + 20, at + 1_000_000)
        assert cluster.primary() is not p
        assert load.gap_ms(at) < 3 * LEASE_S * 1000
        if clients:
            assert not p.writable(), "the old primary was fenced"
        net.heal()
        cluster.wait_healthy()
    cluster.verify(late_ok=not clients)


@pytest.mark.kind
def test_primary_hears_but_is_not_heard(cluster, net):
    """One direction only: the primary's packets vanish, those to it arrive."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        for other in cluster.others(p):
            net.drop(p.name, other.name)
        net.drop(p.name, "api")
        load.wait_writes(LEASE_S + 20, at + 1_000_000)
        assert cluster.primary() is not p
        net.heal()
        cluster.wait_healthy()
    cluster.verify(late_ok=True)


@pytest.mark.kind
def test_standby_cut_off(cluster, net):
    with cluster.load() as load:
        p, s = cluster.primary(), cluster.standby()
        at = wait.boot_us()
        net.cut_all(s.name)
        cluster.stays_writable(p, 2 * LEASE_S, "the primary stays")
        assert load.gap_ms(at) < 2000, "the other standby acknowledges"
        net.heal()
        assert cluster.wait_healthy() is p
    cluster.verify()


@pytest.mark.versions
@pytest.mark.kind
def test_last_standby_lost_seals_and_unseals(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        for s in cluster.others(p):
            s.kill()
        wait.until(lambda: cluster.sealed(p), 40, "the seal")
        load.wait_writes(20, what="writes of the sealed primary")
        assert cluster.sync_names(p) == ""
        assert "sealed" in cluster.hactl("list", "-o", "json", check=3).stdout
        for s in cluster.others(p):
            s.start()
        assert cluster.wait_healthy() is p
        assert not cluster.sealed(p)
        assert load.gap_ms(at) < 20000
    cluster.verify()


def test_a_survivor_without_a_majority_names_whom_it_waits_for(cluster):
    """One of three cannot know whether the others confirmed more: no primary, and everybody can see why."""
    def alarm():
        return {a["name"]: a["text"] for a in left.status()["alarms"]}.get("waits-for", "")

    with cluster.load() as load:
        p, left = cluster.primary(), cluster.standby()
        lost = cluster.others(left)
        assert not alarm()
        for m in lost:
            m.kill()
        wait.until(lambda: all(m.name in alarm() for m in lost), 2 * LEASE_S, "the names of the lost")
        assert not cluster.writable()
        said = cluster.hactl("list", check=3).stdout
        assert f"{p.name} is not Ready" in said and f"{left.name}: no primary" in said, said
        at = wait.boot_us()
        lost[0].start()
        load.wait_writes(40, at)
        lost[1].start()
        cluster.wait_healthy()
        wait.until(lambda: not alarm(), 5, "the alarm to end")
    cluster.verify()


@pytest.mark.kind
def test_sealed_primary_dies_and_only_it_may_return(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        standbys = cluster.others(p)
        for s in standbys:
            s.kill()
        wait.until(lambda: cluster.sealed(p), 40, "the seal")
        load.wait_writes(20)
        p.kill()
        at = wait.boot_us()
        for s in standbys:
            s.start()
        wait.holds(lambda: not cluster.writable(), 3 * LEASE_S, "nobody else writes", every=0.5)
        p.start()
        load.wait_writes(40, at)
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_flapping_link_of_the_primary(cluster, net):
    """Short cuts, each below the lease: no failover is due, none may do harm."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        for _ in range(4):
            net.cut_all(p.name)
            wait.holds(lambda: True, 0.7, "")
            net.heal()
            load.wait_writes(30)
        assert load.gap_ms(at) < 3 * LEASE_S * 1000
        cluster.wait_healthy()
    cluster.verify(late_ok=True)


def test_last_rows_on_a_member_that_must_not_be_primary(fresh, net):
    """Only the member tagged nofailover has the last acknowledged rows: the other one takes the
    Lease, streams them from it, and becomes primary with all of them."""
    cluster = fresh(start=False).start(members=[])
    electable, tagged = cluster.members[1], cluster.members[2]
    tagged.env["PGHA_TAGS_NOFAILOVER"] = "true"
    for m in cluster.members:
        m.start()
    cluster.wait_healthy()
    with cluster.load() as load:
        p = cluster.primary()
        assert p is cluster.members[0]
        at = wait.boot_us()
        net.cut(p.name, electable.name)
        load.wait_writes(40, at + 300_000, "writes that only the tagged standby acknowledges")
        p.kill()
        at = wait.boot_us()
        load.wait_writes(LEASE_S + 20, at, "a new primary")
        assert cluster.primary() is electable
        assert load.gap_ms(at) < 3 * LEASE_S * 1000
        took = [line for line in electable.log_lines("follow") if line.get("member") == tagged.name]
        assert took, "the difference was streamed from the tagged member"
        net.heal()
        p.start()
        cluster.wait_healthy()
        assert cluster.primary() is electable
    cluster.verify()
