"""Fewer members, when the primary is among those that go; and more again on the volumes they left."""
import pytest

import wait
from setcluster import SetCluster

pytestmark = pytest.mark.statefulset
GAP_MS = 4000  # a hand-over, on a busy machine; without one it takes the lease's 5 s and more


@pytest.fixture
def cluster(fresh):
    c = fresh(kind=SetCluster)
    c.wait_healthy()
    if c.primary().name != "pg-2":
        c.switchover(to=c.member("pg-2"))
    wait.until(lambda: c.wait_healthy().name == "pg-2", 60, "pg-2 to be primary")
    return c


def scaled_to(c, n):
    c.patch_set(replicas=n)
    gone = [m.name for m in c.members if int(m.name[-1]) >= n]
    wait.until(lambda: not [m for m in c.members if m.name in gone and m.running()], 90,
               f"{gone} to end")
    c.size = n
    return gone


@pytest.mark.parametrize("left", [2, 1])
def test_primary_is_scaled_away(cluster, left):
    with cluster.load() as load:
        at = wait.boot_us()
        gone = scaled_to(cluster, left)
        load.wait_writes(20)
        gap = load.gap_ms(at)
        print(f"write gap of a scale-down to {left} with the primary: {gap:.0f} ms")
        assert cluster.primary().name not in gone
        r = cluster.hactl("list")
        if r.returncode == 3:  # the rows are still there: it says what they are
            assert "scaled away" in r.stdout + r.stderr, r.stdout + r.stderr
        if left > 1:  # they leave the record by themselves
            wait.until(lambda: cluster.hactl("list").returncode == 0, 60, "the list to be whole")
            names = cluster.hactl("list", "-o", "name", check=0).stdout.split()
            assert not set(names) & set(gone), names
        else:  # it writes alone, and what it has is all there is: the others have no say
            assert "sealed" in cluster.hactl("list", check=3).stdout
        cluster.patch_set(replicas=3)
        cluster.size = 3
        wait.until(lambda: all(m.running() for m in cluster.members), 60, "all to run again")
        load.wait_writes(20)
        cluster.wait_healthy()
    assert gap < GAP_MS
    cluster.verify()
