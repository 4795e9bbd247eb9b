"""Every rendered object passes the real API server, the pods pass the "restricted" level, and what
depends on each other in different files agrees."""
import base64
import copy
import os
import subprocess

import pytest
import yaml

import wait
from conftest import ROOT
from kubeclient import ApiError

BUILD = os.environ.get("PGHA_BUILD", os.path.join(ROOT, "build", "gcc"))
OVERLAYS = sorted(os.listdir(os.path.join(ROOT, "k8s", "overlays")))
OWN_SUFFIXES = ("rw", "ro", "r", "pods", "config", "viewer", "operator")
COMPONENTS = sorted(os.listdir(os.path.join(ROOT, "k8s", "components")))
LONGEST_LEASE_S = 30  # profile calm
GRACE_S = 100         # PGHA_GRACE_MS, from SIGTERM until guard stops everything by itself


def objects(text):
    return [d for d in yaml.safe_load_all(text) if d]


def namespace_of(docs):
    found = {d["metadata"].get("namespace", "default") for d in docs if d["kind"] != "Namespace"}
    assert len(found) == 1, "objects of one cluster in several namespaces"
    return found.pop()


def one(docs, kind, name=None):
    found = [d for d in docs if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


NAME = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: cluster-name
  annotations: {config.kubernetes.io/local-config: "true"}
data: {name: every-thing}
"""


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """An overlay with all components, as a directory."""
    d = tmp_path_factory.mktemp("overlay")
    up = os.path.relpath(os.path.join(ROOT, "k8s"), d)
    (d / "namespace.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: all}\n")
    (d / "name.yaml").write_text(NAME)
    (d / "kustomization.yaml").write_text(yaml.safe_dump({
        "namespace": "all", "resources": [f"{up}/base", "namespace.yaml", "name.yaml"],
        "components": [f"{up}/components/{c}" for c in sorted(COMPONENTS, key=lambda c: c != "name")]}))
    return str(d)


@pytest.fixture(params=[*OVERLAYS, "everything"], scope="session")
def rendered(request, offline):
    if request.param == "everything":
        return offline.kustomize(request.getfixturevalue("everything"))
    return offline.kustomize(f"k8s/overlays/{request.param}")


def test_the_api_server_takes_every_object(rendered, kube, kubectl):
    docs = objects(rendered)
    space = namespace_of(docs)
    brought = [d for d in docs if d["kind"] == "Namespace"]
    assert all(d["metadata"]["name"] == space for d in brought)
    # It must exist before a dry run can look into it.
    if brought:
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(brought[0]))
    elif space != "default":
        kube.admin.create("namespaces", None, {"metadata": {"name": space}})
    out = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)
    assert len(out.splitlines()) == len(docs)


def test_a_wrong_field_is_noticed(kubectl, offline):
    docs = objects(offline.kustomize("k8s/overlays/kind"))
    one(docs, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    r = kubectl.run("apply", "--dry-run=server", "--validate=strict", "-f", "-",
                    stdin=yaml.safe_dump_all(docs))
    assert r.returncode != 0 and "livenesProbe" in r.stderr


def test_the_pods_are_admitted_as_restricted(kube, kubectl, offline, namespace):
    docs = objects(offline.kustomize("k8s/overlays/kind"))
    for d in docs:
        d["metadata"]["namespace"] = namespace
        for subject in d.get("subjects", ()):
            subject["namespace"] = namespace
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(docs))
    # The StatefulSet controller makes them, and would be refused.
    wait.until(lambda: sorted(p["metadata"]["name"] for p in kube.admin.list("pods", namespace)) ==
               ["pg-0", "pg-1", "pg-2"], 30, "the pods of the StatefulSet")


def _pod(docs, namespace):
    template = copy.deepcopy(one(docs, "StatefulSet")["spec"]["template"])
    spec = template["spec"]
    spec["volumes"].append({"name": "data", "emptyDir": {}})
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {**template["metadata"], "name": "pg-0", "namespace": namespace}}


WEAKER = {
    "privilege escalation": lambda s: s["containers"][0]["securityContext"].pop(
        "allowPrivilegeEscalation"),
    "capabilities": lambda s: s["containers"][0]["securityContext"].pop("capabilities"),
    "root": lambda s: s["securityContext"].pop("runAsNonRoot"),
    "seccomp": lambda s: s["securityContext"].pop("seccompProfile"),
}


@pytest.mark.parametrize("what", WEAKER)
def test_a_weaker_pod_is_refused(what, kube, offline, namespace):
    """The proof that the admission is at work in the test above."""
    docs = objects(offline.kustomize("k8s/base"))
    kube.admin.create("serviceaccounts", namespace, {"metadata": {"name": "pg"}})
    path = kube.admin.path("pods", namespace, dryRun="All")
    pod = _pod(docs, namespace)
    wait.until(lambda: kube.admin.ask("POST", path, pod), 10, "the pod as shipped to be admitted")
    WEAKER[what](pod["spec"])
    with pytest.raises(ApiError) as e:
        kube.admin.ask("POST", path, pod)
    assert e.value.code == 403 and "restricted" in e.value.message


def test_nothing_is_writable_but_volumes(offline):
    spec = one(objects(offline.kustomize("k8s/base")), "StatefulSet")["spec"]["template"]["spec"]
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {m["mountPath"] for m in spec["containers"][0]["volumeMounts"]
              if not m.get("readOnly")}
    assert mounts == {"/var/lib/postgresql/data", "/tmp", "/run", "/dev/shm"}


@pytest.fixture
def docs(rendered):
    return objects(rendered)


def _follows(selector, labels):
    return all(labels.get(k) == v for k, v in selector.items())


def led_by_the_primary(docs):
    cluster = one(docs, "StatefulSet")["metadata"]["name"]
    settings = yaml.safe_load(one(docs, "ConfigMap", f"{cluster}-config")["data"]["pghad.yaml"])
    return settings["cluster"].get("services", [f"{cluster}-rw"])


def test_selectors_lead_to_the_pods(docs):
    sts = one(docs, "StatefulSet")
    labels = sts["spec"]["template"]["metadata"]["labels"]
    assert _follows(sts["spec"]["selector"]["matchLabels"], labels)
    assert _follows(one(docs, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels)
    cluster = sts["metadata"]["name"]
    for name in led_by_the_primary(docs):
        assert "selector" not in one(docs, "Service", name)["spec"]
    role = {"ro": {"role": "replica"}, "r": {}, "pods": {}}
    for suffix, extra in role.items():
        name = f"{cluster}-{suffix}"
        selector = one(docs, "Service", name)["spec"]["selector"]
        assert _follows(selector, {**labels, **extra})
        if extra:
            assert not _follows(selector, labels), f"{name} leads to pods without a role"
    assert one(docs, "Service", sts["spec"]["serviceName"])["spec"]["clusterIP"] == "None"
    for d in docs:
        if d["kind"] in ("NetworkPolicy",):
            assert _follows(d["spec"]["podSelector"]["matchLabels"], labels)
        if d["kind"] in ("PodMonitor",):
            assert _follows(d["spec"]["selector"]["matchLabels"], labels)
    # pghad takes the cluster's name from the pod's, and finds its pods by it.
    assert labels["app.kubernetes.io/instance"] == cluster


def test_one_name_throughout(docs):
    """Whatever the cluster is called: what refers to an object refers to one that is there."""
    sts = one(docs, "StatefulSet")
    cluster, spec = sts["metadata"]["name"], sts["spec"]["template"]["spec"]
    own = [d["metadata"] for d in docs
           if d["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "pghad"]
    assert {m["labels"]["app.kubernetes.io/instance"] for m in own} == {cluster}
    assert not [m["name"] for m in own if m["name"] != cluster
                and m["name"] not in [f"{cluster}-{s}" for s in OWN_SUFFIXES]]
    names = {n for d in docs if d["kind"] == "Role" for r in d["rules"]
             for n in r.get("resourceNames", ())}
    assert names == {cluster, f"{cluster}-state", *led_by_the_primary(docs)}
    assert one(docs, "RoleBinding")["roleRef"]["name"] == spec["serviceAccountName"] == cluster
    sources = next(v for v in spec["volumes"] if v["name"] == "config")["projected"]["sources"]
    assert one(docs, "ConfigMap", sources[0]["configMap"]["name"])["data"].keys() == {"pghad.yaml"}
    selectors = [t["labelSelector"] for t in spec.get("topologySpreadConstraints", ())]
    for term in spec.get("affinity", {}).get("podAntiAffinity", {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", ()):
        selectors.append(term["labelSelector"])
    labels = sts["spec"]["template"]["metadata"]["labels"]
    assert all(_follows(s["matchLabels"], labels) for s in selectors)
    for d in docs:
        if d["kind"] == "NetworkPolicy":
            to_members = d["spec"]["egress"][0]["to"][0]["podSelector"]["matchLabels"]
            from_members = d["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
            assert _follows(to_members, labels) and _follows(from_members, labels)


def test_ports_and_rights_agree(docs):
    spec = one(docs, "StatefulSet")["spec"]["template"]["spec"]
    ports = {p["name"]: p["containerPort"] for p in spec["containers"][0]["ports"]}
    assert ports == {"postgres": 5432, "rest": 8008, "peer": 8009}
    for d in docs:
        if d["kind"] == "Service":
            for p in d["spec"]["ports"]:
                assert ports[p["name"]] == p["targetPort"]
    account = one(docs, "ServiceAccount")["metadata"]
    assert spec["serviceAccountName"] == account["name"]
    binding = one(docs, "RoleBinding")
    subject = binding["subjects"][0]
    assert subject["name"] == account["name"]
    assert subject["namespace"] == account.get("namespace", "default")
    assert one(docs, "Role", binding["roleRef"]["name"])


def test_times_agree(docs):
    spec = one(docs, "StatefulSet")["spec"]["template"]["spec"]
    c = spec["containers"][0]
    assert spec["terminationGracePeriodSeconds"] > GRACE_S
    live = c["livenessProbe"]
    assert live["periodSeconds"] * live["failureThreshold"] >= 2 * LONGEST_LEASE_S
    for p in (c["startupProbe"], live, c["readinessProbe"]):
        assert set(p["httpGet"]) == {"path", "port"} and p["httpGet"]["port"] == "rest"


def test_the_settings_are_valid(docs, tmp_path):
    """As the agent reads them: file and environment of the container."""
    sts = one(docs, "StatefulSet")
    text = one(docs, "ConfigMap", sts["metadata"]["name"] + "-config")["data"]["pghad.yaml"]
    (tmp_path / "pghad.yaml").write_text(text)
    assert yaml.safe_load(text)["cluster"]["members"] == sts["spec"]["replicas"]
    env = {e["name"]: e["value"] for e in
           sts["spec"]["template"]["spec"]["containers"][0]["env"] if "value" in e}
    env.update(POD_NAME=sts["metadata"]["name"] + "-0", POD_NAMESPACE="db", POD_UID="0" * 8, POD_IP="10.0.0.1")
    agent = os.path.join(BUILD, "pghad-agent")
    r = subprocess.run([agent, "--check-config", "--config", tmp_path / "pghad.yaml"], env=env,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    (tmp_path / "pghad.yaml").write_text("cluster:\n  member: 3\n")
    r = subprocess.run([agent, "--check-config", "--config", tmp_path / "pghad.yaml"], env=env,
                       capture_output=True, text=True)
    assert r.returncode == 2 and "member" in r.stderr


def test_the_secrets_are_acceptable(offline):
    """Those of the kind overlay; the agent would refuse others and wait."""
    data = one(objects(offline.kustomize("k8s/overlays/kind")), "Secret")["data"]
    text = {k: base64.b64decode(v).decode() for k, v in data.items()}
    assert set(text) == {"superuser-password", "replication-password", "peer-token"}
    assert 16 <= len(text["peer-token"]) <= 256, "bounds of a token, include/http/peer.h"


# user, verb, group, resource, name, allowed
RIGHTS = [
    ("pg-viewer", "get", "coordination.k8s.io", "leases", "pg", True),
    ("pg-viewer", "list", "", "pods", "", True),
    ("pg-viewer", "get", "", "configmaps", "pg-state", True),
    ("pg-viewer", "update", "", "configmaps", "pg-state", False),
    ("pg-viewer", "get", "", "secrets", "pg-secrets", False),
    ("pg-operator", "get", "", "configmaps", "pg-state", True),
    ("pg-operator", "update", "", "configmaps", "pg-state", True),
    ("pg-operator", "update", "", "configmaps", "other", False),
    ("pg-operator", "update", "coordination.k8s.io", "leases", "pg", False),
    ("pg-operator", "delete", "", "pods", "pg-0", True),
    ("pg-operator", "patch", "apps", "statefulsets", "pg", True),
    ("pg-operator", "patch", "apps", "statefulsets", "other", False),
    ("pg-operator", "update", "apps", "statefulsets", "pg", False),
    ("pg-viewer", "patch", "apps", "statefulsets", "pg", False),
    ("pg-viewer", "delete", "", "pods", "pg-0", False),
    ("pg-operator", "create", "", "pods/exec", "pg-0", False),
    ("pg", "update", "coordination.k8s.io", "leases", "pg", True),
    ("pg", "update", "coordination.k8s.io", "leases", "other", False),
    ("pg", "delete", "coordination.k8s.io", "leases", "pg", False),
    ("pg", "get", "", "secrets", "pg-secrets", False),
    ("pg", "delete", "", "pods", "pg-0", False),
]


def test_roles_allow_what_they_say(kube, kubectl, offline, namespace):
    docs = objects(offline.kustomize("k8s/base"))
    for d in docs:
        if d["kind"] == "Role":
            kube.admin.create("roles", namespace, d)
            kube.admin.create("rolebindings", namespace, {
                "metadata": {"name": d["metadata"]["name"]},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                            "name": d["metadata"]["name"]},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io",
                              "name": d["metadata"]["name"]}]})

    def allowed(user, verb, group, resource, name):
        resource, _, sub = resource.partition("/")
        review = kube.admin.create("subjectaccessreviews", None, {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
                "user": user, "resourceAttributes": {
                    "namespace": namespace, "verb": verb, "group": group, "resource": resource,
                    "subresource": sub, "name": name}}})
        return review["status"]["allowed"]

    # The authorizer's caches follow the objects by some milliseconds.
    for user in ("pg", "pg-viewer", "pg-operator"):
        wait.until(lambda u=user: allowed(u, "list", "", "pods", ""), 10, f"rights of {user}")
    wrong = [r for r in RIGHTS if allowed(*r[:5]) != r[5]]
    assert not wrong
