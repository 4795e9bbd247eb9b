"""What the overlays of deployments choose otherwise than the base, on three members that fail over."""
import json
import os
import tempfile

import yaml

import sandbox
import wait

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def hba_of(overlay):
    with open(os.path.join(ROOT, "k8s", "overlays", overlay, "pghad.yaml")) as f:
        return yaml.safe_load(f)["postgres"]["hba"]


def test_another_name_superuser_database_and_hba(fresh):
    """Members reach each other although the user's lines end with a reject, and no part of pghad
    insists on a superuser called postgres, which here is only the writer's role."""
    scripts = tempfile.mkdtemp(dir=sandbox.inside())
    os.chmod(scripts, 0o755)
    with open(os.path.join(scripts, "10-writer.sh"), "w") as f:
        f.write("echo \"CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '$POSTGRES_PASSWORD'\" |\n"
                "    docker_process_sql\n")
    hba = hba_of("cluster")
    assert hba[-1] == "host all all all reject"
    c = fresh(name="postgres-cluster", options={
        "postgres.superuser": "User", "bootstrap.database": "PromptContent",
        "bootstrap.init_dir": scripts, "postgres.hba": json.dumps(hba)})
    p = c.wait_healthy()
    assert p.name == "postgres-cluster-0"
    with c.load() as load:
        at = wait.boot_us()
        p.kill()
        load.wait_writes(30, at)
        assert c.primary() is not p
        p.start()
        c.wait_healthy()
    assert c.primary().sql("SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1") == [
        ("User",), ("postgres",)]
    for m in c.members:
        assert m.sql("SELECT count(*) FROM pg_database WHERE datname = 'PromptContent'") == [(1,)]
    c.verify()
