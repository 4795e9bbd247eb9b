"""The Kubernetes API is away, lies about nothing but answers badly, or is edited by hand."""
import copy
import os
import signal

import pytest

import wait

LEASE_S, FENCE_S = 5, 3.3


@pytest.fixture
def outage(kube):
    """Ways to lose the API server that end with the test."""
    class Outage:
        def begin(self, how):
            self.how = how
            (kube.down if how == "down" else kube.pause)()

        def end(self):
            if self.how:
                (kube.up if self.how == "down" else kube.resume)()
                self.how = None

    o = Outage()
    o.how = None
    yield o
    o.end()


@pytest.mark.kind
@pytest.mark.parametrize("how", ["down", "hangs"])
def test_api_away_60s_with_members_up(cluster, outage, how):
    with cluster.load() as load:
        p = cluster.primary()
        tli = p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8]
        at = wait.boot_us()
        outage.begin(how)
        cluster.stays_writable(p, 60, "writes without the API")
        outage.end()
        assert cluster.wait_healthy() is p
        load.wait_writes(5)
        assert p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == tli
        assert load.gap_ms(at) < 2000, "no write downtime"
    cluster.verify()


def test_an_outage_is_told_until_it_ends(cluster, outage):
    """Each promise ends the need for the next for a while; what the status says does not flicker."""
    p = cluster.primary()

    def told():
        s = p.status()
        return s["failsafe_mode_is_active"] and "failsafe" in [a["name"] for a in s["alarms"]] and \
            "pgha_failsafe 1" in p.get("/metrics")[1]

    assert not told()
    outage.begin("down")
    wait.until(told, 2 * LEASE_S, "the outage in the status")
    wait.holds(told, LEASE_S, "the outage in the status", every=0.05)
    outage.end()
    wait.until(lambda: not told(), 20, "its end")
    cluster.wait_healthy()


@pytest.mark.parametrize("lost", ["replica", "primary"])
def test_api_away_and_a_member_lost(cluster, outage, lost):
    """Not everybody can promise: the primary fences itself, nobody takes over."""
    with cluster.load() as load:
        p = cluster.primary()
        victim = p if lost == "primary" else cluster.standby()
        outage.begin("down")
        cluster.stays_writable(p, FENCE_S, "writes by promises")
        victim.kill()
        wait.until(lambda: not cluster.writable(), 2 * LEASE_S, "the fence")
        wait.holds(lambda: not cluster.writable(), 3 * LEASE_S, "no second primary", every=0.5)
        at = wait.boot_us()
        outage.end()
        load.wait_writes(40, at)
        victim.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.parametrize("what", ["container", "agent"])
def test_restart_of_a_standby_during_an_outage(fresh, outage, what):
    """It knows from its own disk whom to ask, follows the same writer again, and its promise and its
    acknowledgement are there: with two members writes depend on both."""
    c = fresh(size=2)
    p = c.wait_healthy()
    s = c.standby()
    wait.until(lambda: "pg-0" in s.addresses() or "pg-1" in s.addresses(), 10, "kept addresses")
    with c.load() as load:
        outage.begin("down")
        c.stays_writable(p, FENCE_S, "writes by promises")
        at = wait.boot_us()
        if what == "container":
            s.kill()
            s.start()
        else:
            old = s.agent()
            old.signal(signal.SIGKILL)
            wait.until(lambda: s.agent() and s.agent().pid != old.pid, 10, "a new agent")
        wait.until(lambda: s.ip in c.streaming(p), 15, "it streams again")
        load.wait_writes(10, at)
        c.stays_writable(p, 3 * LEASE_S, "writes by promises")
        assert load.gap_ms(at) < 1000 * FENCE_S, "the primary was not fenced"
        outage.end()
        assert c.wait_healthy() is p
    c.verify()


def test_fourth_member_during_an_outage(fresh, outage):
    """It is not listed, so it may neither acquire nor is it asked; it joins when the API is back."""
    c = fresh(size=3)
    c.wait_healthy()
    with c.load() as load:
        p = c.primary()
        newcomer = c.add_member(3)
        at = wait.boot_us()
        outage.begin("down")
        newcomer.start()
        c.stays_writable(p, 4 * LEASE_S, "writes go on")
        assert load.gap_ms(at) < 2000
        outage.end()
        assert c.wait_healthy() is p
        assert len(c.streaming(p)) == 3
    c.verify()


def test_api_flaky(cluster, kube, api_fault):
    """15 s of bad answers, among good ones. Nothing of that demotes by itself."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        with api_fault(kube):
            cluster.stays_writable(p, 15, "writes go on")
        load.wait_writes(5)
        assert load.gap_ms(at) < 2000
        cluster.wait_healthy()
    cluster.verify()


def test_replies_of_the_api_vanish(cluster, net):
    """Requests arrive and are committed, their answers are lost: the outcome is unknown."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        for seconds in (0.4, 1.2, 2.2, 0.8, 4):
            net.drop("api", p.name)
            cluster.stays_writable(p, seconds, "writes go on")
            net.heal()
            cluster.stays_writable(p, 1, "writes go on")
        assert load.gap_ms(at) < 2000
        cluster.wait_healthy()
    cluster.verify()


def test_lease_is_touched_by_others_all_the_time(cluster):
    """Each renewal may meet a conflict that is nobody's acquisition."""
    import threading

    stop = threading.Event()
    touched = []

    def touch():
        while not stop.wait(0.05):
            cluster.kube.admin.patch("leases", cluster.ns, cluster.name, {
                "metadata": {"labels": {"touched": str(len(touched))}}})
            touched.append(1)

    thread = threading.Thread(target=touch)
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        thread.start()
        try:
            cluster.stays_writable(p, 12, "writes go on")
        finally:
            stop.set()
            thread.join()
        assert len(touched) > 50
        assert load.gap_ms(at) < 2000
        assert cluster.lease()["metadata"]["labels"]["touched"], "what is not ours is kept"
        cluster.wait_healthy()
    cluster.verify()


def test_api_flaps(cluster, outage):
    """Up and away in turns, shorter and longer than a request's deadline."""
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        for how, seconds in (("hangs", 0.5), ("down", 1), ("hangs", 2.5), ("hangs", 1)):
            outage.begin(how)
            cluster.stays_writable(p, seconds, "writes go on")
            outage.end()
            cluster.stays_writable(p, 1, "writes go on")
        load.wait_writes(5)
        assert load.gap_ms(at) < 2000
        cluster.wait_healthy()
    cluster.verify()


def test_switchover_right_after_an_outage(cluster, outage):
    with cluster.load() as load:
        outage.begin("down")
        wait.holds(lambda: len(cluster.writable()) == 1, 5, "writes go on", every=0.5)
        outage.end()
        at = wait.boot_us()
        old = cluster.wait_healthy()
        cluster.switchover()
        load.wait_writes(20, at)
        assert cluster.wait_healthy() is not old
    cluster.verify()


def edit_lease(cluster, change):
    """As a human with kubectl edit does: read, change, replace; again on a conflict."""
    import kubeapi

    def once():
        lease = cluster.lease()
        change(lease)
        try:
            return cluster.kube.admin.put("leases", cluster.ns, lease)
        except kubeapi.ApiError as e:
            assert e.code == 409
            return None

    wait.until(once, 10, "the edit", every=0)


def test_lease_deleted(cluster):
    with cluster.load() as load:
        at = wait.boot_us()
        cluster.kube.admin.delete("leases", cluster.ns, cluster.name)
        wait.until(lambda: cluster.holder(), 60, "a holder of a new Lease")
        load.wait_writes(60)
        cluster.wait_healthy()
        assert load.gap_ms(at) is not None
    cluster.verify()


def test_lease_emptied_by_hand(cluster):
    """An empty holder that is no release of ours gives nobody the right to take it at once."""
    with cluster.load() as load:
        def empty(lease):
            lease["spec"]["holderIdentity"] = ""

        edit_lease(cluster, empty)
        wait.until(lambda: cluster.holder(), 60, "a holder again")
        load.wait_writes(60)
        cluster.wait_healthy()
    cluster.verify()


def test_lease_given_to_a_stranger(cluster):
    with cluster.load() as load:
        def give(lease):
            lease["spec"]["holderIdentity"] = "somebody-else"

        edit_lease(cluster, give)
        wait.until(lambda: (cluster.holder() or "").startswith("pg-"), 60, "a holder of ours")
        load.wait_writes(60)
        cluster.wait_healthy()
    cluster.verify()


def test_lease_reapplied_by_a_tool(cluster):
    """GitOps puts back an older state of the object: older epoch, older record, older holder."""
    with cluster.load() as load:
        old = copy.deepcopy(cluster.lease())
        cluster.switchover()
        cluster.wait_healthy()

        def back(lease):
            lease["spec"] = copy.deepcopy(old["spec"])
            lease["metadata"]["annotations"] = copy.deepcopy(old["metadata"]["annotations"])

        edit_lease(cluster, back)
        # The rules restore the highest copy once all of its members report, then elect.
        load.wait_writes(90)
        cluster.wait_healthy(90)
    cluster.verify()


def test_lease_stripped_by_a_tool(cluster):
    """A manifest without annotations is applied with --force: the record is gone from the Lease."""
    with cluster.load() as load:
        def strip(lease):
            lease["spec"] = {}
            lease["metadata"].pop("annotations", None)

        edit_lease(cluster, strip)
        load.wait_writes(90)
        cluster.wait_healthy(90)
    cluster.verify()


def test_configmap_deleted(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        cluster.kube.admin.delete("configmaps", cluster.ns, f"{cluster.name}-state")
        wait.until(lambda: cluster.state() is not None, 60, "the state ConfigMap again")
        load.wait_writes(20)
        assert cluster.wait_healthy() is p
    cluster.verify()


def test_role_labels_removed_by_hand(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        for m in cluster.members:
            cluster.kube.admin.patch("pods", cluster.ns, m.name,
                                     {"metadata": {"labels": {"role": None}}})
        assert cluster.wait_healthy() is p
        load.wait_writes(5)
    cluster.verify()


@pytest.mark.tls
@pytest.mark.long
def test_certificate_authority_of_the_api_is_exchanged(cluster, kube):
    """Members read the file again within a minute; until then the promises carry the primary."""
    def renewed():
        return cluster.lease()["spec"]["renewTime"]

    with cluster.load() as load:
        p, at = cluster.primary(), wait.boot_us()
        pods = {cluster.credentials(name): pod for name, pod in cluster.pods.items()}
        for _ in kube.exchange_ca(pods):
            before = renewed()
            wait.until(lambda: renewed() != before, 90, "renewals with what the file says now")
            assert cluster.writable() == [p] and load.gap_ms(at) < 2000, "no write downtime"
            cluster.wait_healthy()
        p.kill()
        load.wait_writes(60, wait.boot_us())
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.rbac
def test_members_stay_within_their_rights(cluster, kube):
    """A change of primary asks for everything; an API server that starts may refuse for a moment,
    so what came before does not count."""
    kube.forget_requests()
    cluster.switchover()
    cluster.wait_healthy()
    refused = [r for r in kube.denied() if r["code"] == 403]
    assert not refused, f"{len(refused)} refused requests, the first: {refused[0]}"
