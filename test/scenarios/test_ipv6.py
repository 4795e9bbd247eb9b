"""Pods that are known by IPv6 addresses only."""
import wait
from cluster import Cluster


class SixCluster(Cluster):
    def node_of(self, name, number):
        if name in self.net.nodes:
            self.net.remove_node(name)
        return self.net.add_node_v6(name, number)

    def remove(self, objects=True):
        names = [m.name for m in self.members]  # forgotten with the cluster
        super().remove(objects)
        for name in names:
            self.net.remove_node(name)


def test_members_with_ipv6_addresses(fresh):
    """Cloned, switched over, failed over and brought back over IPv6, and clients are led there."""
    c = fresh(kind=SixCluster)
    old = c.wait_healthy()
    assert all(":" in m.ip for m in c.members)
    with c.load() as load:
        c.switchover()
        c.wait_healthy()
        p = c.primary()
        assert p is not old
        at = wait.boot_us()
        p.postmaster().signal(9)
        load.wait_writes(30, at)
        new = c.wait_healthy()
    slices = c.kube.admin.list("endpointslices", c.ns, selector=f"kubernetes.io/service-name={c.name}-rw")
    assert [(s["addressType"], e["addresses"]) for s in slices for e in s["endpoints"]] == [("IPv6", [new.ip])]
    c.hactl("list", check=0)
    c.verify()
