"""An admission policy or webhook that accepts what pghad writes and stores something else."""
import contextlib
import time

import pytest

import wait
from kubeclient import PATCHES

pytestmark = pytest.mark.admission
LOOK_S = 5
MOST_A_S = 5  # of all members together; each repeats what it could not have once or twice a second


def policy(name, ns, obj, kind, group, expression):
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
                 "matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
                                                         "operations": ["CREATE", "UPDATE"], "resources": [kind]}]},
                 "matchConditions": [{"name": "ours", "expression": f"object.metadata.namespace == '{ns}' && "
                                                                    f"object.metadata.name == '{obj}'"}],
                 "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}}


def binding(name):
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name}}


@contextlib.contextmanager
def mutated(c, kind, group, suffix, expression, gone):
    """What anybody writes to the object of the cluster is changed so that gone(object) is true."""
    name, obj, admin = f"{c.ns}-{kind}", f"{c.name}{suffix}", c.kube.admin

    def tried():
        path = admin.path(kind, c.ns, obj, dryRun="All")
        return admin.ask("PATCH", path, {"metadata": {"labels": {"tried": "yes"}}}, PATCHES["merge"])

    admin.create("mutatingadmissionpolicies", None, policy(name, c.ns, obj, kind, group, expression))
    admin.create("mutatingadmissionpolicybindings", None, binding(name))
    try:
        wait.until(lambda: gone(tried()), 20, "the policy to take effect")
        yield
    finally:
        admin.delete("mutatingadmissionpolicybindings", None, name)
        admin.delete("mutatingadmissionpolicies", None, name)


def writes(c, resource):
    return sum(float(line.rsplit(" ", 1)[1]) for m in c.members for line in m.get("/metrics")[1].splitlines()
               if line.startswith("pgha_api_requests_total{") and f'resource="{resource}"' in line
               and 'verb="get"' not in line)


CASES = {
    "lease": ("leases", "coordination.k8s.io", "",
              "has(object.metadata.annotations) ? [JSONPatch{op: 'remove', path: '/metadata/annotations'}] : []",
              lambda o: not o["metadata"].get("annotations")),
    "slice": ("endpointslices", "discovery.k8s.io", "-rw",
              "[JSONPatch{op: 'replace', path: '/endpoints', value: []}]",
              lambda o: not o["endpoints"]),
    "state": ("configmaps", "", "-state",
              "has(object.data) ? [JSONPatch{op: 'remove', path: '/data'}] : []",
              lambda o: not o.get("data")),
}


def rate(c, kind):
    before, began = writes(c, kind), wait.boot_s()
    time.sleep(LOOK_S)  # ok: what is asked in this time is counted
    return round((writes(c, kind) - before) / (wait.boot_s() - began), 1)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_writes_that_are_changed_are_no_storm(cluster, case):
    """No row is lost, the API server is not overrun, and all is well once the policy is gone."""
    kind = case[0]
    with cluster.load() as load:
        with mutated(cluster, *case):
            at_rest = rate(cluster, kind)
            cluster.primary().postmaster().signal(9)
            afterwards = rate(cluster, kind)
        at = wait.boot_us()
        load.wait_writes(60, at)
        cluster.wait_healthy()
    cluster.verify()
    assert at_rest <= MOST_A_S and afterwards <= MOST_A_S, (at_rest, afterwards)
