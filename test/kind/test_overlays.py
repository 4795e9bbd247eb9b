"""The overlays of docs/deployments.md brought up as a whole, and reached as their users would.

Each stands in the namespaces that its text names, so two runs cannot share one kind cluster. The image
is that of `make kind-load`, Debian's PostgreSQL, whatever version an overlay asks for; and pgvector,
which is not in it, is left out of the one that wants it. Nobody enforces network policies here.
"""
import os
import re

import pytest
import yaml

import nodes
import wait
from overlay import Overlay

SUPERUSER, REPLICATION = "not-a-secret-1", "not-a-secret-2"
TOKEN = "not-a-secret-but-long-enough"
USUAL = {"superuser-password": SUPERUSER, "replication-password": REPLICATION, "peer-token": TOKEN}
UNITS = {"ms": 1, "s": 1000, "min": 60000, "kB": 1, "MB": 1024, "GB": 1024 * 1024}


def number(text):
    """1000ms and 1s are the same, as are 1GB and 1024MB."""
    m = re.fullmatch(r"(\d+)([a-zA-Z]+)", text)
    return int(m[1]) * UNITS[m[2]] if m and m[2] in UNITS else text


@pytest.fixture
def deploy(request, kubeconfig, tmp_path):
    made = []

    def new(*args):
        d = Overlay(kubeconfig, str(tmp_path), *args)
        made.append(d)
        request.node.funcargs["deployment"] = d  # for its story
        return d

    yield new
    for d in made:
        d.remove()


def check(d, client, target, password=None):
    """What holds for all: Ready without a restart, the settings in force, one place to look."""
    d.wait_ready()
    for pod in d.get("pods", selector="app.kubernetes.io/name=pghad")["items"]:
        status = pod["status"]["containerStatuses"][0]
        assert status["restartCount"] == 0, pod["metadata"]["name"]
    for parameter, value in d.settings["postgres"]["parameters"].items():
        shown = client.ask(target, f"SHOW {parameter}", password)
        if parameter == "shared_preload_libraries":  # the commit gate comes after what the settings ask for
            shown, gate = shown.rsplit(", ", 1)
            assert "pghad_gate" in gate, gate
        assert number(shown) == number(value), parameter
    said = wait.until(lambda: (r := d.hactl("list", check=False)).returncode == 0 and r.stdout, 60,
                      "hactl list without complaint")
    assert len(re.findall(rf"^{d.cluster}-\d+ ", said, re.M)) == d.members


def keep(d, client, target, password=None):
    """What was written is there after the pod of the primary, whatever the number of members."""
    client.ask(target, "CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY)", password)
    client.ask(target, "INSERT INTO kept VALUES (1) ON CONFLICT DO NOTHING", password)
    d.lose_primary()
    client.ask(target, "INSERT INTO kept VALUES (2) ON CONFLICT DO NOTHING", password, deadline_s=120)
    assert client.ask(target, "SELECT count(*) FROM kept", password) == "2"
    d.wait_ready()


def test_promptsales(deploy):
    d = deploy("promptsales", "promptcontent-dev", "postgres", 3)
    d.apply(secretGenerator=[{"name": "postgres-secret", "namespace": d.ns, "behavior": "merge", "literals": [
                f"POSTGRES_PASSWORD={SUPERUSER}", f"replication-password={REPLICATION}", f"peer-token={TOKEN}"]}],
            configMapGenerator=[{"name": "postgres-init", "namespace": d.ns, "behavior": "merge",
                                 "literals": ["10-vector.sql=SELECT 1 AS \"no pgvector here\""]}])
    crm = d.client("promptsales-crm", {"component": "crm"})
    d.wait_ready()
    target = f"host=postgres.{d.ns}.svc.cluster.local user=User dbname=PromptContent"
    check(d, crm, target, SUPERUSER)
    assert d.get("pvc", "postgres-data-postgres-0")["status"]["phase"] == "Bound"
    assert "password authentication failed" in crm.refusal(target, password="REPLACE-THIS")
    readers = f"host=postgres-ro.{d.ns}.svc.cluster.local user=User dbname=PromptContent"
    assert crm.ask(readers, "SELECT pg_is_in_recovery()", SUPERUSER) == "t"
    keep(d, crm, target, SUPERUSER)
    wait.until(lambda: crm.ask(readers, "SELECT count(*) FROM kept", SUPERUSER) == "2", 60,
               "the rows on the replicas")


TOOLS = ("backstage", "sonarqube", "argo_workflows", "policyreporter", "grafana", "dex")


def test_shared_postgresql(deploy):
    """Both Secrets come late: pods and Job wait for them."""
    d = deploy("shared-postgresql", "database", "shared-postgresql", 1)
    d.apply()
    wait.until(lambda: "shared-postgresql-roles" in d.kubectl("events", check=False).stdout, 60,
               "the Job's pod to miss its Secret")
    assert d.ready_members() == []
    d.secret("shared-postgresql-secrets", **USUAL)
    d.secret("shared-postgresql-roles", **{t: f"{t} has one" for t in TOOLS})
    d.kubectl("wait", "job/shared-postgresql-databases", "--for=condition=Complete", "--timeout=300s",
              timeout_s=330)
    tools = d.client("shared-postgresql-tools", {"pghad/client": "true"})
    host = f"host=shared-postgresql.{d.ns}.svc.cluster.local"
    check(d, tools, f"{host} user=postgres dbname=postgres", SUPERUSER)
    for t in TOOLS:
        own = f"{host} user={t} dbname={t}"
        tools.ask(own, "CREATE TABLE t (id int); ALTER TABLE t ADD s text; INSERT INTO t VALUES (1, 'x')",
                  f"{t} has one")
        other = TOOLS[(TOOLS.index(t) + 1) % len(TOOLS)]
        assert "permission denied for database" in tools.refusal(f"{host} user={t} dbname={other}",
                                                                 password=f"{t} has one")
    keep(d, tools, f"{host} user=grafana dbname=grafana", "grafana has one")


def test_feaf(deploy):
    d = deploy("feaf", "feaf-dashboard", "feaf-postgres", 1)
    d.make_namespace(d.ns)  # there beforehand, with its Secret
    d.secret("feaf-secrets", POSTGRES_PASSWORD=SUPERUSER, REPLICATION_PASSWORD=REPLICATION, PEER_TOKEN=TOKEN,
             DATABASE_URL=f"postgresql://feaf_user:{SUPERUSER}@feaf-postgres:5432/feaf")
    d.apply()
    backend = d.client(env_from="feaf-secrets")
    d.wait_ready()
    check(d, backend, "$DATABASE_URL")
    assert backend.ask("$DATABASE_URL", "SHOW timezone") == "UTC"
    assert {"uuid-ossp", "pg_trgm"} <= d.extensions("feaf", "feaf_user")
    # As its scripts do it.
    assert d.exec("feaf-postgres-0", "psql", "-U", "feaf_user", "-d", "feaf", "-Atc", "SELECT 1").stdout == "1\n"
    d.exec("feaf-postgres-0", "pg_isready", "-U", "feaf_user", "-d", "feaf")
    assert d.get("pods", selector="app=feaf-postgres")["items"]
    keep(d, backend, "$DATABASE_URL")
    # Another password: kubelet brings it, the member takes it up.
    other = "not-a-secret-3"
    d.secret("feaf-secrets", POSTGRES_PASSWORD=other, REPLICATION_PASSWORD=REPLICATION, PEER_TOKEN=TOKEN)
    target = "host=feaf-postgres user=feaf_user dbname=feaf"
    assert backend.ask(target, "SELECT count(*) FROM kept", other, deadline_s=300) == "2"
    assert "password authentication failed" in backend.refusal("$DATABASE_URL")


def test_evolution_api(deploy):
    d = deploy("evolution-api", "evolution-api", "postgres", 1)
    url = f"postgresql://postgres:{SUPERUSER}@postgres.{d.ns}.svc.cluster.local:5432/evolution"
    d.apply(secretGenerator=[
        {"name": "postgres-secrets", "namespace": d.ns, "behavior": "merge",
         "literals": [f"{k}={v}" for k, v in USUAL.items()]},
        {"name": "evolution-api-database", "namespace": d.ns, "behavior": "merge",
         "literals": [f"DATABASE_URL={url}"]}])
    gateway = d.client(env_from="evolution-api-database")
    d.wait_ready()
    check(d, gateway, "$DATABASE_URL")
    gateway.ask("$DATABASE_URL", "CREATE TABLE session (id uuid DEFAULT gen_random_uuid(), creds jsonb, "
                                 "secret bytea DEFAULT pgp_sym_encrypt('x', 'key'))")
    gateway.ask("$DATABASE_URL", "INSERT INTO session (creds) VALUES ('{\"me\": {\"id\": \"1\"}}')")
    assert gateway.ask("$DATABASE_URL", "SELECT creds @> '{\"me\": {}}', pgp_sym_decrypt(secret, 'key') "
                                        "FROM session") == "t|x"
    assert int(gateway.ask("$DATABASE_URL", "SELECT sum(calls) FROM pg_stat_statements "
                                            "WHERE query LIKE '%session%'")) > 0
    keep(d, gateway, "$DATABASE_URL")


@pytest.fixture
def brought(kubeconfig, tmp_path):
    """What a cluster of the overlay "cluster" has beforehand: the Prometheus operator's kinds and a class
    of storage of that name, here kind's own."""
    from deployment import Deployment
    d = Deployment(kubeconfig, str(tmp_path), "default")
    crds = os.path.join(nodes.ROOT, "test", "manifests", "crds")
    standard = d.get("storageclass", "standard")
    own = os.path.join(str(tmp_path), "class.yaml")
    with open(own, "w") as f:
        yaml.safe_dump({k: standard[k] for k in ("apiVersion", "kind", "provisioner", "volumeBindingMode",
                                                 "reclaimPolicy")} |
                       {"metadata": {"name": "nfs-postgres-v2"}}, f)
    d.kubectl("apply", "-f", crds, "-f", own)
    d.kubectl("wait", "-f", crds, "--for=condition=Established", "--timeout=60s")
    yield
    d.kubectl("delete", "--ignore-not-found", "-f", own, "-f", crds)


def test_cluster(brought, deploy):
    d = deploy("cluster", "postgres", "postgres-cluster", 3)
    d.make_namespace(d.ns)
    d.secret("postgres-admin-credentials", username="postgres", password=SUPERUSER)
    d.secret("postgres-app-credentials", username="shop", password="it's a password")
    d.secret("postgres-cluster-secrets", **{k: v for k, v in USUAL.items() if k != "superuser-password"})
    d.apply()
    service = d.client("postgres-service", {"pghad/client": "true"})
    d.wait_ready()
    host = "host=postgres-cluster-{}.postgres.svc.cluster.local user={} dbname=app"
    check(d, service, host.format("rw", "postgres"), SUPERUSER)
    pods = d.get("pods", selector="postgresql=postgres-cluster")["items"]
    assert len({p["spec"]["nodeName"] for p in pods}) == 3
    app, password = host.format("rw", "shop"), "it's a password"
    assert service.ask(app, "SELECT usesuper FROM pg_user WHERE usename = current_user", password) == "f"
    assert "password authentication failed" in service.refusal(app, password="wrong")
    assert service.ask(host.format("ro", "shop"), "SELECT pg_is_in_recovery()", password) == "t"
    assert "pg_stat_statements" in d.extensions("app", "postgres")
    assert d.get("podmonitor")["items"] and d.get("prometheusrule")["items"]
    before = d.primary()
    keep(d, service, app, password)
    assert d.primary() not in (None, before)
    wait.until(lambda: service.ask(host.format("ro", "shop"), "SELECT count(*) FROM kept", password) == "2",
               60, "the rows on the replicas")
