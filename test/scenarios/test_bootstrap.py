"""First start, retained volumes, stop and start of the whole."""
import json
import os
import threading

import pytest

import wait


def system_ids(c):
    return {m.sql("SELECT system_identifier::text FROM pg_control_system()")[0][0]
            for m in c.members}


@pytest.mark.versions
@pytest.mark.parametrize("size", [1, 2, 3])
def test_bootstrap(fresh, size):
    c = fresh(size=size)
    p = c.wait_healthy()
    assert p.name == "pg-0", "ordinal 0 initialises"
    assert len(system_ids(c)) == 1
    with c.load() as load:
        load.wait_writes(10)
    for m in c.members:
        wait.until(lambda: len(m.sql("SELECT 1 FROM pg_replication_slots")) == size - 1, 20,
                   f"{m.name}: one slot for each other member and no more")
    c.verify()


@pytest.mark.versions
def test_retained_volumes_are_adopted(fresh):
    """The objects are gone, the volumes are not: the data decides, nobody runs initdb."""
    c = fresh(size=3)
    c.wait_healthy()
    before = system_ids(c)
    with c.load():
        # The data's home must not be ordinal 0, so that adoption is more than a start of pg-0.
        c.switchover(to=c.member("pg-2"))
    c.wait_healthy()
    c.kubelet.stop()
    for m in c.members:
        m.kill()
    members, logs = c.members, c.writer_logs
    for pod in c.pods.values():
        c.kube.delete_pod(pod)
    c.kube.uninstall(c.ns, wait_s=60)
    c.members, c.pods = [], {}
    c.start()
    c.writer_logs = logs
    assert [m.pgdata for m in c.members] == [m.pgdata for m in members]
    c.wait_healthy()
    assert system_ids(c) == before, "the old data was adopted"
    with c.load() as load:
        load.wait_writes(20)
    c.verify()


def test_empty_first_pod_does_not_win_against_data(fresh):
    """Objects gone and pg-0's volume lost: the members with data are adopted, pg-0 is cloned."""
    c = fresh(size=3)
    c.wait_healthy()
    before = system_ids(c)
    with c.load():
        pass
    c.wait_healthy()
    c.kubelet.stop()
    for m in c.members:
        m.kill()
    c.member("pg-0").lose_volume()
    logs = c.writer_logs
    for pod in c.pods.values():
        c.kube.delete_pod(pod)
    c.kube.uninstall(c.ns, wait_s=60)
    c.members, c.pods = [], {}
    c.start()
    c.writer_logs = logs
    p = c.wait_healthy()
    assert p.name != "pg-0" and system_ids(c) == before
    c.verify()


def test_the_only_volume_left_is_adopted_by_hand(fresh):
    """The last resort of the runbooks: two of three volumes are lost for good, with them the majority.
    Without Lease, state and its own record the survivor is data without a history, and is adopted."""
    c = fresh(size=3)
    c.wait_healthy()
    before = system_ids(c)
    survivor = c.standby()
    lost = c.others(survivor)
    for m in lost:
        m.kill()
        m.lose_volume()
    for m in lost:
        m.start()
    wait.until(lambda: not c.writable(), 20, "the lost primary to be noticed")
    wait.holds(lambda: not c.writable(), 8, "nobody is promoted", every=0.5)
    for m in c.members:
        m.terminate()
    c.kube.admin.delete("leases", c.ns, c.name)
    c.kube.admin.delete("configmaps", c.ns, f"{c.name}-state")
    os.unlink(os.path.join(os.path.dirname(survivor.pgdata), "pghad", "member.state"))
    for m in c.members:
        m.start()
    assert c.wait_healthy() is survivor
    assert system_ids(c) == before
    c.verify()


@pytest.mark.kind
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=lambda o: "".join(map(str, o)))
def test_full_stop_and_start_in_any_order(cluster, order):
    with cluster.load():
        pass
    for i in order:
        cluster.members[i].terminate()
    assert not cluster.writable()
    for i in reversed(order):
        cluster.members[i].start()
    cluster.wait_healthy()
    with cluster.load() as load:
        load.wait_writes(20)
    cluster.verify()


@pytest.mark.kind
def test_all_killed_at_once_and_started(cluster):
    with cluster.load() as load:
        for m in cluster.members:
            m.kill()
        at = wait.boot_us()
        for m in reversed(cluster.members):
            m.start()
        load.wait_writes(60, at)
    cluster.verify()


@pytest.mark.kind
def test_all_killed_and_two_are_enough(cluster):
    """R of V suffice: the last primary stays away and comes back later."""
    with cluster.load() as load:
        p = cluster.primary()
        for m in cluster.members:
            m.kill()
        at = wait.boot_us()
        for m in cluster.others(p):
            m.start()
        load.wait_writes(60, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


def test_standbys_killed_behind_an_unused_timeline(cluster):
    """Recovery finds its timeline number by number; one was allocated to a candidate that died."""
    def timeline(lease):
        return json.loads(lease["metadata"]["annotations"]["pghad.io/record"])["timeline"]

    with cluster.load() as load:
        target, lease = cluster.standby(), cluster.lease()
        at, before = wait.boot_us(), timeline(lease)
        order = threading.Thread(target=cluster.switchover, kwargs={"to": target, "check": None})
        with cluster.kube.admin.watch("leases", cluster.ns, cluster.name,
                                      since=lease["metadata"]["resourceVersion"]) as w:
            order.start()
            next(obj for _, obj in w if timeline(obj) > before)
        target.kill()
        order.join()
        load.wait_writes(60, at)
        target.start()
        p = cluster.wait_healthy()
        assert timeline(cluster.lease()) >= before + 2
        for m in cluster.members:
            m.kill()
        at = wait.boot_us()
        for m in cluster.others(p):
            m.start()
        load.wait_writes(60, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()
