"""An API server whose answers come too late to be of use, or tell of what was."""
import pytest
import wait

LEASE_S, REQUEST_MS = 5, 1000
MEMBERS = "system:serviceaccount:*"
pytestmark = [pytest.mark.local, pytest.mark.long]


def fired(kube, rule):
    return next(f["fired"] for f in kube.faults.list() if f["id"] == rule)


def test_failover_while_answers_are_slower_than_a_renewal_should_be(cluster, kube):
    """Each write is answered just within its time: the right counts from when it was sent."""
    with cluster.load() as load:
        kube.faults.add(user=MEMBERS, verb="create,update,patch", delay_after_ms=REQUEST_MS * 7 // 10)
        try:
            p = cluster.fails_over(load, 2 * LEASE_S)
        finally:
            kube.faults.clear()
        p.start()
        cluster.wait_healthy()
    cluster.verify()


def test_no_failover_while_no_write_is_answered_in_time(cluster, kube):
    """Every write is committed and nobody hears of it in time. The members' promises carry the primary;
    once it is gone nobody takes for a right what was only read back, until answers come in time."""
    with cluster.load() as load:
        p = cluster.primary()
        rule = kube.faults.add(user=MEMBERS, verb="create,update", resource="leases",
                               delay_after_ms=5 * REQUEST_MS)
        try:
            at = wait.boot_us()
            cluster.stays_writable(p, 3 * LEASE_S, "writes by promises")
            load.wait_writes(20, at + LEASE_S * 1_000_000)
            p.kill()
            wait.holds(lambda: not cluster.writable(), 4 * LEASE_S, "no right from what was read", every=0.5)
            assert fired(kube, rule) > 5
            at = wait.boot_us()
        finally:
            kube.faults.clear()
        load.wait_writes(60, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.parametrize("what", ["lists", "lists-and-reads"])
def test_failover_while_reads_are_old(cluster, kube, what):
    """A server that has fallen behind: what it lists is as it was when it did. Whoever hears nothing of the
    holder lists again; that the old state comes again is no sign of its life."""
    with cluster.load() as load:
        rule = kube.faults.add(user=MEMBERS, verb="list" if what == "lists" else "list,get", stale_list=True)
        try:
            p = cluster.fails_over(load, 2 * LEASE_S)
            assert fired(kube, rule), "nobody was told of what was"
        finally:
            kube.faults.clear()
        p.start()
        cluster.wait_healthy()
    cluster.verify()
