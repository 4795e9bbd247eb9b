"""The Service for writers has no selector: its members lead it, in one write for one change of the primary."""
import contextlib

import pytest

import wait

SLICES = "endpointslices"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"


def leads_to(c, service=None):
    return c.kube.endpoints_of(c.ns, service or f"{c.name}-rw")


def slices_of(c, service):
    """{name: who manages it}"""
    return {s["metadata"]["name"]: s["metadata"]["labels"].get(MANAGED_BY)
            for s in c.kube.admin.list(SLICES, c.ns, selector=f"kubernetes.io/service-name={service}")}


def start(c):
    for m in c.members:
        m.start()
    return c.wait_healthy()


@contextlib.contextmanager
def changes(c):
    """A list that grows with each change of where the Service leads."""
    seen = []
    follower = c.kube.follow_endpoints(c.ns, f"{c.name}-rw", seen.append)
    try:
        wait.until(lambda: seen, 10, "the first look")
        yield seen
    finally:
        follower.close()


@pytest.mark.parametrize("how", ["switchover", "crash", "killed"])
def test_one_change_for_one_change_of_the_primary(cluster, how):
    old = cluster.primary()
    wait.until(lambda: leads_to(cluster) == [old.ip], 20, "the Service to lead to the primary")
    with cluster.load() as load, changes(cluster) as seen:
        if how == "switchover":
            cluster.switchover()
        elif how == "crash":
            old.postmaster().signal(9)
        else:
            old.kill()
        at = wait.boot_us()
        load.wait_writes(30, at)
        new = wait.until(lambda: (w := cluster.writable()) and w[0], 20, "a primary")
        wait.until(lambda: leads_to(cluster) == [new.ip], 5, "the Service to follow")
        if how == "killed":
            old.start()
        cluster.wait_healthy()
    assert seen == [[old.ip]] + ([[new.ip]] if new is not old else []), seen
    cluster.verify()


def test_the_service_for_writers_changes_first(cluster):
    """A change of another Service just before it would cost a second of kube-proxy."""
    rw, ro = f"{cluster.name}-rw", f"{cluster.name}-ro"
    old = cluster.primary()
    wait.until(lambda: leads_to(cluster, rw) == [old.ip] and len(leads_to(cluster, ro)) == 2, 30, "all to be led")
    last, order = {}, []
    with cluster.kube.admin.watch(SLICES, cluster.ns, idle_s=30) as events:
        cluster.switchover()
        new = cluster.wait_healthy()
        for _, s in events:
            service = s["metadata"]["labels"]["kubernetes.io/service-name"]
            now = sorted(a for e in s.get("endpoints") or () for a in e["addresses"])
            if last.setdefault(service, now) != now:
                order.append(service)
            last[service] = now
            if last.get(rw) == [new.ip] and old.ip in last.get(ro, ()):
                break
    assert new is not old
    assert order[0] == rw and ro in order, order


def test_a_slice_that_is_deleted_comes_back(cluster):
    p = cluster.primary()
    wait.until(lambda: leads_to(cluster) == [p.ip], 20, "the Service to lead to the primary")
    cluster.kube.admin.delete(SLICES, cluster.ns, f"{cluster.name}-rw")
    wait.until(lambda: leads_to(cluster) == [p.ip], 70, "the primary to make it again")


def test_the_address_of_a_pod_that_is_gone_is_given_up(fresh):
    """Nobody can be elected, and the address of the last primary may be given to any other pod."""
    c = fresh(size=3)
    p = c.wait_healthy()
    rest = c.others(p)
    wait.until(lambda: leads_to(c) == [p.ip], 20, "the Service to lead to the primary")
    c.kubelet.stop()
    for m in (p, rest[0]):
        m.kill()
        c.kube.delete_pod(c.pods[m.name])
    wait.until(lambda: leads_to(c) == [], 40, "the Service to lead nowhere")


def test_a_second_service_is_led_as_well(fresh):
    more = "clients-write-here"
    c = fresh(options={"cluster.services": f"[pg-rw, {more}]"}, start=False).start(members=[])
    c.kube.admin.create("services", c.ns, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": more},
        "spec": {"ports": [{"name": "pg", "port": 5000, "targetPort": 5432}]}})
    c.kube.allow_service(c.ns, c.name, more)
    for _ in range(2):
        p = start(c) if not c.members[0].running() else c.wait_healthy()
        for service in ("pg-rw", more):
            wait.until(lambda: leads_to(c, service) == [p.ip], 20, f"{service} to lead to {p.name}")
            assert slices_of(c, service) == {service: "pghad.io"}
        c.switchover()
    assert [(x["name"], x["port"]) for x in c.kube.admin.get(SLICES, c.ns, more)["ports"]] == [("pg", 5432)]


def test_a_service_with_a_selector_is_left_alone(fresh):
    """As older manifests have it: it follows the label."""
    c = fresh(start=False).start(members=[])
    c.kube.admin.patch("services", c.ns, "pg-rw", {"spec": {
        "publishNotReadyAddresses": True, "selector": {**c.kube.labels(c.name), "role": "primary"}}})
    p = start(c)
    wait.until(lambda: leads_to(c) == [p.ip], 20, "the Service to follow the label")
    c.switchover()
    new = c.wait_healthy()
    wait.until(lambda: leads_to(c) == [new.ip], 20, "the Service to follow the label")
    assert new is not p
    assert set(slices_of(c, "pg-rw").values()) == {CONTROLLER}
    assert c.kube.admin.find(SLICES, c.ns, "pg-rw") is None
    assert [m.name for m in c.members for event in ("endpoint", "endpoint-failed", "endpoint-foreign")
            if m.log_lines(event)] == []


def test_a_slice_of_somebody_else_is_named_and_stays(cluster):
    """Left from the time when the Service had a selector."""
    service = f"{cluster.name}-rw"
    name = f"{service}-left"
    old = cluster.primary()
    cluster.kube.admin.create(SLICES, cluster.ns, {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service, MANAGED_BY: CONTROLLER}},
        "endpoints": [{"addresses": ["10.9.9.9"]}], "ports": [{"name": "postgres", "port": 5432}]})
    cluster.switchover()  # who becomes primary looks at once
    p = cluster.wait_healthy()
    assert p is not old
    wait.until(lambda: [x for x in p.log_lines("endpoint-foreign")
                        if (x["service"], x["slice"]) == (service, name)], 20, "a line in the log")
    told = wait.until(lambda: [e for e in cluster.kube.admin.list("events", cluster.ns)
                               if e["reason"] == "EndpointForeign"], 20, "the Event")
    assert name in (told[0].get("note") or told[0].get("message"))
    assert leads_to(cluster) == sorted([p.ip, "10.9.9.9"]), "it is for people to delete"
    assert slices_of(cluster, service) == {service: "pghad.io", name: CONTROLLER}
    cluster.kube.admin.delete(SLICES, cluster.ns, name)
    wait.until(lambda: leads_to(cluster) == [p.ip], 20, "the Service to lead to the primary alone")
