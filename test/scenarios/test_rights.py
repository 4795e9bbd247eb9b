"""The Role of the members lacks a verb: it is told by name, the database runs on, and the right heals
without a restart when it is back."""
import json
import os

import pytest
import yaml

import kubebase
import wait

pytestmark = pytest.mark.rbac


def alarms(cluster):
    return [a["text"] for m in cluster.members if m.running() for a in m.status()["alarms"]
            if a["name"] == "access-denied"]


def notes(cluster, reason):
    return [e.get("note", "") for e in cluster.kube.admin.list("events", cluster.ns)
            if e["reason"] == reason]


def told(cluster, verb, resource):
    return [t for t in alarms(cluster) if f"{verb} {resource}" in t]


def agents(cluster):
    return [(m.name, m.agent().pid) for m in cluster.members]


def restart_api(cluster):
    """Open streams outlive the right to open them."""
    cluster.kube.down()
    cluster.kube.up()


READS = [("list", "leases"), ("watch", "leases"), ("list", "pods"), ("watch", "pods"),
         ("list", "configmaps"), ("watch", "configmaps")]
EVERYTHING = [*READS, ("get", "leases"), ("update", "leases"), ("create", "leases"),
              ("patch", "pods"), ("patch", "configmaps"), ("create", "configmaps"),
              ("get", "services"), ("list", "endpointslices"), ("create", "endpointslices"),
              ("update", "endpointslices")]


def expect_told(cluster, verb, resource, members=1):
    wait.until(lambda: len(told(cluster, verb, resource)) >= members, 30,
               f"{members} members to tell of {verb} {resource}")
    wait.until(lambda: any(f"{verb} {resource}" in n for n in notes(cluster, "AccessDenied")), 20,
               "an Event that names it")


def expect_healed(cluster, before):
    wait.until(lambda: not alarms(cluster), 60, "the alarm to end")
    p = cluster.wait_healthy()
    assert agents(cluster) == before, "without a restart"
    return p


@pytest.mark.parametrize("verb, resource", READS)
def test_reading_is_taken_away(cluster, kube, verb, resource):
    with cluster.load() as load:
        p, before = cluster.primary(), agents(cluster)
        at = wait.boot_us()
        with kube.without(cluster.ns, cluster.name, (verb, resource)):
            restart_api(cluster)
            expect_told(cluster, verb, resource, members=3)
            cluster.stays_writable(p, 3, "writes go on")
        assert expect_healed(cluster, before) is p
        assert load.gap_ms(at) < 2000
    cluster.verify()


@pytest.mark.parametrize("taken", [[("update", "leases")], EVERYTHING], ids=["update", "everything"])
def test_nobody_may_renew(cluster, kube, taken):
    """The writer lives by the promises of the others, as in an outage of the API."""
    with cluster.load() as load:
        p, before = cluster.primary(), agents(cluster)
        at = wait.boot_us()
        lines = len(p.log_lines("lease-write-failed"))
        with kube.without(cluster.ns, cluster.name, *taken):
            expect_told(cluster, "update", "leases")
            assert "update leases" in cluster.hactl("list", check=3).stdout
            cluster.stays_writable(p, 8, "writes go on")
        assert expect_healed(cluster, before) is p
        assert load.gap_ms(at) < 2000
        assert len(p.log_lines("lease-write-failed")) - lines < 10, "the log is not flooded"
    cluster.verify()


def fail_over(cluster, load):
    """The primary dies and comes back; returns once the new one serves."""
    p, at = cluster.primary(), wait.boot_us()
    p.kill()
    load.wait_writes(30, at)
    assert cluster.primary() is not p
    p.start()
    return wait.until(lambda: agents(cluster), 20, "agents")


def test_labels_cannot_be_set(cluster, kube):
    """No reason not to promote."""
    with cluster.load() as load:
        with kube.without(cluster.ns, cluster.name, ("patch", "pods")):
            before = fail_over(cluster, load)
            expect_told(cluster, "patch", "pods")
            assert cluster.labelled_primary() != [cluster.primary().name]
        p = expect_healed(cluster, before)
        assert cluster.labelled_primary() == [p.name]
    cluster.verify()


@pytest.mark.parametrize("verb", ["list", "update"])
def test_the_service_cannot_be_led(cluster, kube, verb):
    """No reason not to promote either."""
    service = f"{cluster.name}-rw"
    with cluster.load() as load:
        old = cluster.primary()
        with kube.without(cluster.ns, cluster.name, (verb, "endpointslices")):
            before = fail_over(cluster, load)
            expect_told(cluster, verb, "endpointslices")
            assert kube.endpoints_of(cluster.ns, service) == [old.ip]
        p = expect_healed(cluster, before)
        wait.until(lambda: kube.endpoints_of(cluster.ns, service) == [p.ip], 20, "the Service to follow")
    cluster.verify()


def test_state_cannot_be_kept(cluster, kube):
    """The primary serves on; a new one is not made, since the copy of the record comes before the
    promotion."""
    with cluster.load() as load:
        p, at = cluster.primary(), wait.boot_us()
        with kube.without(cluster.ns, cluster.name, ("patch", "configmaps")):
            kube.admin.patch("configmaps", cluster.ns, f"{cluster.name}-state",
                             {"data": {"epoch": "0"}})
            expect_told(cluster, "patch", "configmaps")
            cluster.stays_writable(p, 3, "writes go on")
            assert load.gap_ms(at) < 2000
            p.kill()
            wait.until(lambda: cluster.holder() not in ("", p.name), 20, "a new holder")
            expect_told(cluster, "patch", "configmaps")
            assert not cluster.writable()
            p.start()
            before = wait.until(lambda: agents(cluster), 20, "agents")
        load.wait_writes(30)
        p = expect_healed(cluster, before)
        epoch = str(cluster.lease()["spec"]["leaseTransitions"])
        wait.until(lambda: cluster.state()["data"]["epoch"] == epoch, 10, "the copy of the epoch")
        wait.until(lambda: p.name in cluster.hactl("history").stdout.splitlines()[-1], 10,
                   "the change in the history")
    cluster.verify()


def test_the_lease_cannot_be_read_by_name(cluster, kube):
    """An election needs to know that it saw the latest: a list says it as well."""
    with cluster.load() as load:
        kube.forget_requests()
        with kube.without(cluster.ns, cluster.name, ("get", "leases")):
            before = fail_over(cluster, load)
            assert [r for r in kube.requests() if (r["verb"], r["resource"], r["code"]) ==
                    ("get", "leases", 403)], "it was asked for"
        expect_healed(cluster, before)
    cluster.verify()


def test_events_cannot_be_told(cluster, kube):
    """They wait for the right, so that nothing is missing later."""
    with cluster.load() as load:
        with kube.without(cluster.ns, cluster.name, ("create", "events")):
            known = len(notes(cluster, "Promoted"))
            before = fail_over(cluster, load)
            wait.until(lambda: told(cluster, "create", "events"), 30, "the alarm")
            assert any("create events" in r["msg"] for m in cluster.members
                       for r in m.log_lines("access-denied"))
            assert len(notes(cluster, "Promoted")) == known
        expect_healed(cluster, before)
        wait.until(lambda: len(notes(cluster, "Promoted")) > known, 30, "the Event of the change")
    cluster.verify()


@pytest.mark.parametrize("verb, resource", [("create", "leases"), ("create", "configmaps")])
def test_a_new_cluster_waits_for_its_rights(fresh, kube, verb, resource):
    c = fresh(size=1, start=False)
    kube.install(c.ns, c.name)
    with kube.without(c.ns, c.name, (verb, resource)):
        c.start()
        wait.until(lambda: told(c, verb, resource), 60, "the member to tell")
        before = agents(c)
    c.wait_healthy()
    expect_healed(c, before)


def test_doctor_names_what_is_missing(cluster, kube):
    with open(os.path.join(kubebase.ROOT, "k8s/base/statefulset.yaml")) as f:
        kube.admin.ensure("statefulsets", cluster.ns, yaml.safe_load(f))

    def missing():
        rows = json.loads(cluster.hactl("doctor", "-o", "json", check=None).stdout)["checks"]
        return [r for r in rows if r["check"] == "access" and r["status"] != "ok"]

    try:
        assert missing() == []
        for verb, resource in EVERYTHING:
            with kube.without(cluster.ns, cluster.name, (verb, resource)):
                found = missing()
                assert len(found) == 1 and f"may not {verb} {resource}" in found[0]["what"], found
                assert f"verbs [{verb}]" in found[0]["remedy"], found
        assert missing() == []
    finally:
        kube.admin.delete("statefulsets", cluster.ns, cluster.name)
    cluster.wait_healthy()
