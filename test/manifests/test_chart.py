"""The chart makes the same objects as the overlays, byte for byte where it matters."""
import base64
import os
import subprocess

import pytest
import yaml

import kubereal
from conftest import ROOT
from test_manifests import everything, objects, one  # noqa: F401

CHART = os.path.join(ROOT, "k8s", "chart")
VALUES = os.path.join(ROOT, "test", "manifests", "values")

# Those that the chart has values for; the others are examples of kustomize.
OVERLAYS = sorted(f[:-len(".yaml")] for f in os.listdir(VALUES) if f != "everything.yaml")


def helm(*args, check=True):
    program = kubereal.find_program("helm")
    assert program, "no helm: run `make helm-bin`"
    r = subprocess.run([program, *args], capture_output=True, text=True, timeout=60,
                       env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    assert r.returncode == 0 or not check, r.stderr
    return r.stdout if check else r


def template(*args, namespace="default", name="pg"):
    return objects(helm("template", name, CHART, "-n", namespace, "--kube-version", "1.36.0",
                        *args))


def plain(docs):
    """By kind and name, without what may differ in form only."""
    found = {}
    for d in docs:
        if d["kind"] == "Namespace":  # helm install --create-namespace
            continue
        d["metadata"].setdefault("namespace", "default")
        if d["kind"] == "ConfigMap":
            d["data"] = {k: yaml.safe_load(v) for k, v in d["data"].items()}
        if d["kind"] == "Secret":
            for k, v in d.pop("stringData", {}).items():
                d.setdefault("data", {})[k] = base64.b64encode(v.encode()).decode()
        found[d["kind"], d["metadata"]["name"]] = d
    return found


@pytest.mark.parametrize("overlay", [*OVERLAYS, "everything"])
def test_the_chart_equals_kustomize(overlay, offline, request):
    directory = request.getfixturevalue("everything") if overlay == "everything" \
        else f"k8s/overlays/{overlay}"
    theirs = objects(offline.kustomize(directory))
    namespace = one(theirs, "StatefulSet")["metadata"].get("namespace", "default")
    ours = template("-f", os.path.join(VALUES, f"{overlay}.yaml"), namespace=namespace,
                    name=one(theirs, "StatefulSet")["metadata"]["name"])
    a, b = plain(ours), plain(theirs)
    assert sorted(a) == sorted(b)
    for key in b:
        assert a[key] == b[key], key


def test_lint():
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART)


def test_names_labels_and_retention_can_be_chosen(kubectl, namespace):
    docs = template(
        "--set", "name=shop-db,labels.team=shop,role.label=db-role,role.primary=leader",
        "--set", "persistentVolumeClaimRetentionPolicy.whenDeleted=Delete",
        "--set", "storage.className=fast,image.repository=example/pghad,image.tag=2",
        "--set", "settings.postgres.parameters.work_mem=8MB", "--set", "networkPolicy.enabled=true",
        "--set", "settings.cluster.services={shop-db-rw,shop}",
        namespace=namespace)
    assert not [d["metadata"]["name"] for d in docs
                if not d["metadata"]["name"].startswith("shop-db")]
    assert all(d["metadata"]["labels"]["team"] == "shop" for d in docs)
    sts = one(docs, "StatefulSet")["spec"]
    assert sts["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    assert sts["template"]["spec"]["containers"][0]["image"] == "example/pghad:2"
    assert one(docs, "Service", "shop-db-ro")["spec"]["selector"]["db-role"] == "replica"
    assert "selector" not in one(docs, "Service", "shop-db-rw")["spec"]
    settings = yaml.safe_load(one(docs, "ConfigMap")["data"]["pghad.yaml"])
    assert settings == {"cluster": {"members": 3, "role_label": "db-role",
                                    "role_primary": "leader", "services": ["shop-db-rw", "shop"]},
                        "postgres": {"parameters": {"work_mem": "8MB"}}}
    rules = one(docs, "Role", "shop-db")["rules"]
    assert {n for r in rules for n in r.get("resourceNames", ())} == {
        "shop-db", "shop-db-state", "shop-db-rw", "shop"}
    assert "pg-" not in yaml.safe_dump(docs).replace("pghad", "").replace("app-", "")
    kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-",
            stdin=yaml.safe_dump_all(docs))
