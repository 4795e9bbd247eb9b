"""What each overlay that stands for a deployment promises to the people and programs that use it.

The names, numbers and labels here are those that their clients and scripts know, written out and not
derived, so that a change of base or components that breaks one of them is noticed.
"""
import base64
import os

import pytest
import yaml

import wait
from test_manifests import objects, one


class Expected:
    def __init__(self, namespace, name, replicas, storage, requests, limits, image, labels=None,
                 storage_class=None, claim="data", parameters=None, superuser="postgres",
                 database="", alias=None, secrets=None, hba=(), scripts=()):
        hba = list(hba)
        self.__dict__.update(locals())


def usual_secrets(cluster):
    return {k: (f"{cluster}-secrets", k)
            for k in ("superuser-password", "replication-password", "peer-token")}


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
    "promptsales": Expected(
        "promptcontent-dev", "postgres", 3, "10Gi", {"cpu": "500m", "memory": "1Gi"},
        {"cpu": "2", "memory": "4Gi"}, "pghad:0.1.0-pg16-vector", labels={"app": "postgres"},
        storage_class="standard", claim="postgres-data", superuser="User",
        database="PromptContent", alias="postgres",
        secrets={"superuser-password": ("postgres-secret", "POSTGRES_PASSWORD"),
                 "replication-password": ("postgres-secret", "replication-password"),
                 "peer-token": ("postgres-secret", "peer-token")},
        scripts=["10-vector.sql"],
        parameters={"max_connections": "400", "shared_buffers": "1GB",
                    "effective_cache_size": "3GB"}),
    "shared-postgresql": Expected(
        "database", "shared-postgresql", 1, "20Gi", {"cpu": "500m", "memory": "1Gi"},
        {"cpu": "1", "memory": "1536Mi"}, "pghad:0.1.0", alias="shared-postgresql",
        secrets=usual_secrets("shared-postgresql"),
        parameters={"max_connections": "80", "shared_buffers": "256MB", "work_mem": "4MB",
                    "effective_cache_size": "1GB", "maintenance_work_mem": "64MB",
                    "statement_timeout": "30s", "max_wal_size": "1GB",
                    "checkpoint_timeout": "15min"}),
    "evolution-api": Expected(
        "evolution-api", "postgres", 1, "10Gi", {"cpu": "500m", "memory": "1Gi"},
        {"memory": "1Gi"}, "pghad:0.1.0", database="evolution", alias="postgres",
        secrets=usual_secrets("postgres"), scripts=["10-extensions.sql"],
        parameters={"shared_preload_libraries": "pg_stat_statements"}),
    "cluster": Expected(
        "postgres", "postgres-cluster", 3, "50Gi", {"cpu": "1", "memory": "2Gi"},
        {"cpu": "2", "memory": "4Gi"}, "pghad:0.1.0-pg16.2",
        labels={"postgresql": "postgres-cluster"}, storage_class="nfs-postgres-v2",
        database="app",
        secrets={"superuser-password": ("postgres-admin-credentials", "password"),
                 "replication-password": ("postgres-cluster-secrets", "replication-password"),
                 "peer-token": ("postgres-cluster-secrets", "peer-token")},
        scripts=["10-app.sh"],
        hba=["host all all 10.0.0.0/8 md5", "host all all 172.16.0.0/12 md5",
             "host all all 192.168.0.0/16 md5", "host all all all reject"],
        parameters={"max_connections": "200", "shared_buffers": "512MB",
                    "effective_cache_size": "3GB", "work_mem": "8MB", "wal_buffers": "16MB",
                    "maintenance_work_mem": "64MB", "max_wal_size": "1GB",
                    "checkpoint_timeout": "5min",
                    "shared_preload_libraries": "pg_stat_statements"}),
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
        secret = [d for d in docs if ref and d["kind"] == "Secret"
                  and d["metadata"]["name"] == ref["name"]]
        if secret:
            found[e["name"]] = base64.b64decode(secret[0]["data"][ref["key"]]).decode()
    return found


def test_settings(deployment):
    """That they are valid is test_the_settings_are_valid's to find."""
    want, docs = deployment
    file = yaml.safe_load(one(docs, "ConfigMap", f"{want.name}-config")["data"]["pghad.yaml"])
    env = given_by_secrets(docs)
    assert file["cluster"]["members"] == want.replicas
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
    file = yaml.safe_load(one(docs, "ConfigMap", f"{want.name}-config")["data"]["pghad.yaml"])
    assert file["cluster"]["services"] == [f"{want.name}-rw", want.alias]
    rights = {(v, resource) for d in docs if d["kind"] == "Role" for r in d["rules"] for v in r["verbs"]
              for resource in r["resources"] if want.alias in r.get("resourceNames", ())}
    assert {("get", "services"), ("update", "endpointslices")} <= rights


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


def overlay(offline, name):
    return objects(offline.kustomize(f"k8s/overlays/{name}"))


def clients(docs):
    """Who may reach PostgreSQL by the NetworkPolicy, beside the members."""
    rules = one(docs, "NetworkPolicy")["spec"]["ingress"]
    found = [r["from"] for r in rules[1:] if r["ports"] == [{"port": "postgres"}]]
    assert len(found) == 1
    return found[0]


def test_promptsales_lets_in_the_four_systems_and_its_own_namespace(offline):
    docs = overlay(offline, "promptsales")
    assert clients(docs) == [{"podSelector": {}}, {"namespaceSelector": {"matchExpressions": [
        {"key": "component", "operator": "In",
         "values": ["crm", "ads", "content", "central"]}]}}]
    dns = [r for r in one(docs, "NetworkPolicy")["spec"]["egress"]
           if {p["port"] for p in r["ports"]} == {53}]
    assert dns[0]["to"] == [{"namespaceSelector": {"matchLabels": {
        "kubernetes.io/metadata.name": "kube-system"}}}]


def test_promptsales_prefers_different_nodes(offline):
    spec = one(overlay(offline, "promptsales"), "StatefulSet")["spec"]["template"]
    terms = spec["spec"]["affinity"]["podAntiAffinity"]
    assert list(terms) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    term = terms["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert term["weight"] == 100
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    wanted = term["podAffinityTerm"]["labelSelector"]["matchExpressions"]
    assert wanted == [{"key": "app", "operator": "In", "values": ["postgres"]}]
    assert spec["metadata"]["labels"]["app"] == "postgres"


def test_promptsales_keeps_no_more_wal_than_the_volume_has_room_for(offline):
    docs = overlay(offline, "promptsales")
    text = one(docs, "ConfigMap", "postgres-config")["data"]["pghad.yaml"]
    assert yaml.safe_load(text)["replication"] == {"max_wal_keep": "2GB"}


def test_evolution_api_is_for_its_own_namespace_alone(offline):
    docs = overlay(offline, "evolution-api")
    assert clients(docs) == [{"podSelector": {}}]
    data = one(docs, "Secret", "evolution-api-database")["data"]
    text = {k: base64.b64decode(v).decode() for k, v in data.items()}
    assert text["DATABASE_PROVIDER"] == "postgresql"
    assert text["DATABASE_URL"].endswith("@postgres.evolution-api.svc.cluster.local:5432/evolution")
    assert "REPLACE" in text["DATABASE_URL"]


def test_cluster_services_apart_and_watched(offline):
    docs = overlay(offline, "cluster")
    assert {d["metadata"]["name"] for d in docs if d["kind"] == "Service"} == {
        f"postgres-cluster-{s}" for s in ("rw", "ro", "r", "pods")}
    spec = one(docs, "StatefulSet")["spec"]["template"]["spec"]
    assert spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0][
        "topologyKey"] == "kubernetes.io/hostname"
    assert one(docs, "PodMonitor", "postgres-cluster")
    assert {"namespaceSelector": {"matchLabels": {"pghad/client": "true"}}} in clients(docs)
    app = next(v for v in spec["volumes"] if v["name"] == "app")
    assert app["secret"]["secretName"] == "postgres-app-credentials"
    mounted = {m["mountPath"]: m["name"] for m in spec["containers"][0]["volumeMounts"]}
    env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
    assert mounted[env["APP_CREDENTIALS"]] == "app"


def test_cluster_brings_no_secret(offline):
    assert not [d for d in overlay(offline, "cluster") if d["kind"] == "Secret"]


@pytest.mark.parametrize("name", ["cluster", "shared-postgresql"])
def test_the_namespace_enforces_restricted(name, offline):
    labels = one(overlay(offline, name), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_shared_postgresql_makes_the_databases_by_a_job(offline, kube, namespace):
    """After the server, again at each sync, admitted as restricted; databases.sh itself is tested
    against a server in test/standalone."""
    docs = overlay(offline, "shared-postgresql")
    job = one(docs, "Job")
    notes = job["metadata"]["annotations"]
    assert int(notes["argocd.argoproj.io/sync-wave"]) == 1
    assert notes["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
    pod = job["spec"]["template"]["spec"]
    psql = pod["containers"][0]
    env = {e["name"]: e.get("value") for e in psql["env"]}
    assert env["PGHOST"] in {d["metadata"]["name"] for d in docs if d["kind"] == "Service"}
    mounted = {m["mountPath"]: m["name"] for m in psql["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes[mounted[env["ROLES"]]]["secret"]["secretName"] == "shared-postgresql-roles"
    directory, script = os.path.split(psql["command"][1])
    assert script in one(docs, "ConfigMap", volumes[mounted[directory]]["configMap"]["name"])["data"]
    assert psql["image"] == container(docs)["image"]
    path = kube.admin.path("pods", namespace, dryRun="All")
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": namespace},
            "spec": pod}
    wait.until(lambda: kube.admin.ask("POST", path, made), 10, "the Job's pod to be admitted")


def test_nothing_is_exposed(deployment):
    """Inside the cluster only; one Service without an address of its own names the pods."""
    want, docs = deployment
    services = [d for d in docs if d["kind"] == "Service"]
    assert all(s["spec"].get("type", "ClusterIP") == "ClusterIP" for s in services)
    assert [s["metadata"]["name"] for s in services if s["spec"].get("clusterIP") == "None"] == [
        f"{want.name}-pods"]


def test_no_password_outside_a_secret(deployment):
    _, docs = deployment
    for d in docs:
        if d["kind"] == "ConfigMap":
            assert not {"POSTGRES_PASSWORD", "superuser-password"} & set(d["data"])
    env = container(docs)["env"]
    assert not [e["name"] for e in env if "PASSWORD" in e["name"] and not e["name"].endswith("_FILE")]
