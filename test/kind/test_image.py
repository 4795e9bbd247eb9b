"""The image without Kubernetes: a plain single server, as the official image's, and says so."""
import os
import secrets

import pytest

import nodes
import wait
from deployment import run

ARCHIVE = os.path.join(nodes.ROOT, "build", "image", "pghad-dev.tar")
PASSWORD = "not-a-secret-1"
WAYS = {
    "as-it-comes": [],
    # What the Pod Security level "restricted" asks for, and a uid that has no account.
    "restricted": ["--user", "12345:0", "--read-only", "--cap-drop", "ALL", "--security-opt",
                   "no-new-privileges", "--tmpfs", "/tmp", "--tmpfs", "/run/postgresql"],
}


@pytest.fixture(scope="module")
def image():
    """PGHA_IMAGE: another one that docker has, as that of the Dockerfile."""
    if "PGHA_IMAGE" in os.environ:
        return os.environ["PGHA_IMAGE"]
    run(["docker", "load", "-i", ARCHIVE])
    return "pghad:dev"


@pytest.mark.parametrize("way", WAYS)
def test_a_plain_server(image, way):
    name = "pghad-test-" + secrets.token_hex(3)

    def start(*env):
        run(["docker", "run", "-d", "--name", name, "--network", "none", "-v",
             f"{name}:/var/lib/postgresql/data", "-e", f"PGPASSWORD={PASSWORD}", *env, *WAYS[way], image])

    def psql(statement):
        r = run(["docker", "exec", name, "psql", "-XAtq", "-h", "127.0.0.1", "-U", "shop", "-c", statement],
                check=False)
        return r.stdout.strip() if r.returncode == 0 else None

    start("-e", f"POSTGRES_PASSWORD={PASSWORD}", "-e", "POSTGRES_USER=shop")
    try:
        wait.until(lambda: psql("SELECT 1") == "1", 60, "the server to answer", every=0.2)
        log = run(["docker", "logs", name])
        assert '"event":"standalone"' in log.stdout + log.stderr
        psql("CREATE TABLE t (id int)")
        run(["docker", "rm", "-f", name])  # another container on its volume
        start()
        wait.until(lambda: psql("SELECT count(*) FROM t") == "0", 60, "the table of the first container",
                   every=0.2)
        run(["docker", "stop", "-t", "60", name])
        state = run(["docker", "inspect", "-f", "{{.State.ExitCode}}", name]).stdout.strip()
        assert state == "0"
    finally:
        run(["docker", "rm", "-f", "-v", name], check=False)
        run(["docker", "volume", "rm", "-f", name], check=False)
