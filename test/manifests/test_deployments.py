"""What each overlay that stands for a deployment promises to the people and programs that use it.

The names, numbers and labels here are those that their clients and scripts know, written out and not
derived, so that a change of base or components that breaks one of them is noticed.
"""
import base64

import pytest
import yaml

from test_manifests import objects, one


class Expected:
    def __init__(self, namespace, name, replicas, storage, requests, limits, image, labels=None,
                 storage_class=None, claim="data", parameters=None, superuser="postgres",
                 database="", alias=None, secrets=None, hba=(), scripts=()):
        hba = list(hba)
        self.__dict__.update(locals())


DEPLOYMENTS = {
    "feaf": Expected(
        "feaf-dashboard", "feaf-postgres", 1, "20Gi", {"cpu": "500m", "memory": "1Gi"},
        {"cpu": "1", "memory": "2Gi"}, "pghad:0.1.0-pg15", labels={"app": "feaf-postgres"},
        superuser="feaf_user", database="feaf", alias="feaf-postgres",
        secrets={"superuser-password": ("feaf-secrets", "POSTGRES_PASSWORD"),
                 "replication-password": ("feaf-secrets", "REPLICATION_PASSWORD"),
                 "peer-token": ("feaf-secrets", "PEER_TOKEN")},
        scripts=["01-init-database.sql"],
        parameters={
            "shared_buffers": "256MB", "effective_cache_size": "512MB", "work_mem": "16MB",
            "maintenance_work_mem": "128MB", "wal_buffers": "16MB", "random_page_cost": "1.1",
            "checkpoint_completion_target": "0.9", "autovacuum": "on",
            "autovacuum_max_workers": "3", "log_min_duration_statement": "1000ms",
            "log_connections": "on", "log_disconnections": "on"}),
}


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def deployment(request, offline):
    docs = objects(offline.kustomize(f"k8s/overlays/{request.param}"))
    return DEPLOYMENTS[request.param], docs


def container(docs):
    return one(docs, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]


def test_name_namespace_and_labels(deployment):
    want, docs = deployment
    sts = one(docs, "StatefulSet")
    assert sts["metadata"]["name"] == want.name
    assert {d["metadata"]["namespace"] for d in docs if d["kind"] != "Namespace"} == {want.namespace}
    for labels in (sts["metadata"]["labels"], sts["spec"]["template"]["metadata"]["labels"],
                   sts["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"]):
        assert (want.labels or {}).items() <= labels.items()


def test_members_sizes_and_image(deployment):
    want, docs = deployment
    sts = one(docs, "StatefulSet")["spec"]
    assert sts["replicas"] == want.replicas
    claim = sts["volumeClaimTemplates"][0]
    assert claim["metadata"]["name"] == want.claim
    assert claim["spec"]["resources"]["requests"]["storage"] == want.storage
    assert claim["spec"].get("storageClassName") == want.storage_class
    mounted = {m["mountPath"]: m["name"] for m in container(docs)["volumeMounts"]}
    assert mounted["/var/lib/postgresql/data"] == want.claim
    assert container(docs)["resources"] == {"requests": want.requests, "limits": want.limits}
    assert container(docs)["image"] == want.image


def test_one_member_at_a_time_is_drained(deployment):
    """With one member maxUnavailable keeps the node drainable; with three, two stay."""
    _, docs = deployment
    spec = one(docs, "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1 and "minAvailable" not in spec


def given_by_secrets(docs):
    """Variables whose value a Secret of the overlay has."""
    found = {}
    for e in container(docs)["env"]:
        ref = e.get("valueFrom", {}).get("secretKeyRef")
        if ref:
            secret = one(docs, "Secret", ref["name"])
            found[e["name"]] = base64.b64decode(secret["data"][ref["key"]]).decode()
    return found


def test_settings(deployment):
    """That they are valid is test_the_settings_are_valid's to find."""
    want, docs = deployment
    file = yaml.safe_load(one(docs, "ConfigMap", f"{want.name}-config")["data"]["pghad.yaml"])
    env = given_by_secrets(docs)
    assert file["cluster"] == {"members": want.replicas}
    superuser = file["postgres"].get("superuser", env.get("POSTGRES_USER", "postgres"))
    assert superuser == want.superuser
    assert file.get("bootstrap", {}).get("database", env.get("POSTGRES_DB", "")) == want.database
    assert file["postgres"]["parameters"] == want.parameters
    assert file["postgres"].get("hba", []) == want.hba


def test_passwords_come_from_where_they_are_kept(deployment):
    want, docs = deployment
    volumes = one(docs, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    sources = next(v for v in volumes if v["name"] == "config")["projected"]["sources"]
    found = {i["path"].removeprefix("secrets/"): (s["secret"]["name"], i["key"])
             for s in sources if "secret" in s for i in s["secret"]["items"]}
    assert found == want.secrets
    files = {e["name"]: e.get("value") for e in container(docs)["env"]}
    for name, path in {"PGHA_POSTGRES_SUPERUSER_PASSWORD_FILE": "superuser-password",
                       "PGHA_POSTGRES_REPLICATION_PASSWORD_FILE": "replication-password",
                       "PGHA_API_TOKEN_FILE": "peer-token"}.items():
        assert files[name] == f"/etc/pghad/secrets/{path}" and path in found


def test_a_secret_that_is_brought_must_be_replaced(deployment):
    """Each value says so, and with the token as it is no member starts: it is too short."""
    want, docs = deployment
    brought = {d["metadata"]["name"]: d["data"] for d in docs if d["kind"] == "Secret"}
    for key, (secret, entry) in want.secrets.items():
        if secret in brought:
            text = base64.b64decode(brought[secret][entry]).decode()
            assert "REPLACE" in text
            assert key != "peer-token" or len(text) < 16, "least length of a token, peer.h"


def test_the_host_name_of_the_clients_is_the_primary(deployment):
    want, docs = deployment
    if want.alias is None:
        return
    spec = one(docs, "Service", want.alias)["spec"]
    other = one(docs, "Service", f"{want.name}-rw")["spec"]
    assert spec == other and [p["port"] for p in spec["ports"]] == [5432]


def test_scripts_of_the_first_start_are_mounted(deployment):
    want, docs = deployment
    volumes = one(docs, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    mounts = {m["mountPath"]: m["name"] for m in container(docs)["volumeMounts"]}
    if not want.scripts:
        assert "/docker-entrypoint-initdb.d" not in mounts
        return
    volume = next(v for v in volumes if v["name"] == mounts["/docker-entrypoint-initdb.d"])
    scripts = one(docs, "ConfigMap", volume["configMap"]["name"])["data"]
    assert sorted(scripts) == sorted(want.scripts)
