"""Clusters that have nothing to do with each other, although they look alike."""
import pytest
import wait
from cluster import Cluster

LEASE_S = 5
pytestmark = [pytest.mark.local, pytest.mark.long]


class Elsewhere(Cluster):
    """Of the same name in another namespace, on nodes of its own."""

    def node_of(self, name, number):
        return super().node_of(f"else-{name}", 20 + number)


@pytest.fixture
def elsewhere(cluster, kube, net):
    other = Elsewhere(kube, net, "test-elsewhere", name=cluster.name).start()
    try:
        other.wait_healthy()
        yield other
    finally:
        other.remove()


def system_id(m):
    return m.sql("SELECT system_identifier FROM pg_control_system()")


def test_two_clusters_of_one_name_in_two_namespaces(cluster, elsewhere, kube):
    """What happens to one is no matter of the other: a lost primary, a deleted Lease, a switchover."""
    assert system_id(cluster.primary()) != system_id(elsewhere.primary())
    here, there = cluster, elsewhere
    for _ in range(2):
        with here.load() as load, there.load() as calm:
            p, q = here.primary(), there.primary()
            epoch = there.lease()["spec"]["leaseTransitions"]
            began = at = wait.boot_us()
            p.kill()
            load.wait_writes(40, at)
            p.start()
            here.wait_healthy()
            at = wait.boot_us()
            kube.admin.delete("leases", here.ns, here.name)
            load.wait_writes(60, at)
            here.wait_healthy()
            here.switchover()
            here.wait_healthy()
            assert there.wait_healthy() is q and there.lease()["spec"]["leaseTransitions"] == epoch
            assert calm.gap_ms(began) < 1000 * LEASE_S
        here, there = there, here
    cluster.verify()
    elsewhere.verify()
