"""The overlays' settings and scripts on a real server: it starts with them and has what they promise.

A plain server stands for the members: scripts run once, by the same code, and so do the settings. Read
from the files of the overlays, without kustomize.
"""
import os
import re
import shutil
import subprocess

import psycopg2
import pytest
import yaml

import sandbox
import wait
from conftest import PASSWORD, ROOT

OVERLAYS = os.path.join(ROOT, "k8s", "overlays")
# What the pod template sets from a Secret.
GIVEN = {
    "promptsales": {"POSTGRES_USER": "User", "POSTGRES_DB": "PromptContent"},
    "cluster": {"POSTGRES_USER": "postgres"},
}
EXTENSIONS = {
    "cluster": {"pg_stat_statements"},
    "evolution-api": {"pgcrypto", "pg_stat_statements"},
    "feaf": {"uuid-ossp", "pg_trgm"},
    "promptsales": {"vector"},
    "shared-postgresql": set(),
}
EXTENSION = re.compile(r'CREATE EXTENSION IF NOT EXISTS "?([\w-]+)')
# One of the addresses that the overlay "cluster" lets in, which 127.0.0.1 is not.
ADDRESS = "10.77.0.1"
APP = {"username": "shop", "password": "it's secret"}


@pytest.fixture(scope="module", autouse=True)
def address():
    subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True,
                   env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})


UNITS = {"ms": 1, "s": 1000, "min": 60000, "kB": 1, "MB": 1024, "GB": 1024 * 1024}


def number(text):
    """1000ms and 1s are the same, as are 1GB and 1024MB."""
    m = re.fullmatch(r"(\d+)([a-zA-Z]+)", text)
    return int(m[1]) * UNITS[m[2]] if m and m[2] in UNITS else text


def has_extension(name):
    major = os.path.basename(os.path.dirname(sandbox.postgres_programs()))
    return os.path.exists(f"/usr/share/postgresql/{major}/extension/{name}.control")


class Server:
    def __init__(self, container, name):
        self.container, self.dir = container, os.path.join(OVERLAYS, name)
        with open(os.path.join(self.dir, "pghad.yaml")) as f:
            self.settings = yaml.safe_load(f)
        env = GIVEN.get(name, {})
        self.superuser = env.get("POSTGRES_USER") or self.settings["postgres"].get("superuser", "postgres")
        self.database = env.get("POSTGRES_DB") or \
            self.settings.get("bootstrap", {}).get("database", self.superuser)
        base = os.path.dirname(container.scripts)
        self.left_out = self.bring_scripts()
        credentials = os.path.join(base, "credentials")
        os.mkdir(credentials)
        for file, text in APP.items():
            with open(os.path.join(credentials, file), "w") as f:
                f.write(text)
        # The server's user may not read below root's home.
        settings = shutil.copy(os.path.join(self.dir, "pghad.yaml"), base)
        container.run("--config", settings,
                      APP_CREDENTIALS=credentials, **env)
        wait.until(self.answers, 60, "the server to answer", every=0.05)

    def bring_scripts(self):
        """Returns those that are left out because this machine lacks their extension."""
        out, source = [], os.path.join(self.dir, "init")
        for file in sorted(os.listdir(source)) if os.path.isdir(source) else ():
            with open(os.path.join(source, file)) as f:
                text = f.read()
            if any(not has_extension(e) for e in EXTENSION.findall(text)):
                out.append(file)
                continue
            with open(os.path.join(self.container.scripts, file), "w") as f:
                f.write(text)
        return out

    def answers(self):
        if self.container.proc.poll() is not None:
            pytest.fail(f"ended with {self.container.proc.returncode}\n{self.container.tail()}")
        try:
            return self.ask("SELECT 1") == [(1,)]
        except psycopg2.OperationalError:
            return False

    def ask(self, statement, user=None, password=PASSWORD, database=None, host=ADDRESS):
        conn = psycopg2.connect(host=host, user=user or self.superuser, password=password,
                                dbname=database or self.database, connect_timeout=5,
                                sslmode="disable", gssencmode="disable")
        try:
            conn.autocommit = True
            with conn.cursor() as c:
                c.execute(statement)
                return c.fetchall() if c.description else []
        finally:
            conn.close()

    def extensions(self):
        return {r[0] for r in self.ask("SELECT extname FROM pg_extension")}


@pytest.fixture
def deploy(container):
    return lambda name: Server(container, name)


@pytest.mark.parametrize("name", sorted(EXTENSIONS))
def test_settings_and_scripts(name, deploy):
    server = deploy(name)
    assert server.ask("SELECT current_database(), usesuper FROM pg_user WHERE usename = current_user") \
        == [(server.database, True)]
    # The server shows the same quantity in the unit that fits.
    for parameter, value in server.settings["postgres"]["parameters"].items():
        shown = server.ask(f"SHOW {parameter}")[0][0]
        assert number(shown) == number(value), parameter
    missing = {"vector"} if "10-vector.sql" in server.left_out else set()
    assert EXTENSIONS[name] - missing <= server.extensions()


def test_feaf_is_in_utc(deploy):
    assert deploy("feaf").ask("SHOW timezone") == [("UTC",)]


def test_cluster_lets_in_the_private_networks_and_the_role_of_the_applications(deploy):
    server = deploy("cluster")
    as_app = {"user": APP["username"], "password": APP["password"]}
    server.ask("CREATE TABLE t (id int)", **as_app)
    assert server.ask("SELECT usesuper FROM pg_user WHERE usename = current_user", **as_app) == [(False,)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        server.ask("SELECT 1", user=APP["username"], password="wrong")
    with pytest.raises(psycopg2.OperationalError, match="pg_hba.conf rejects"):
        server.ask("SELECT 1", host="127.0.0.1", **as_app)


LIMITS = {"backstage": 15, "sonarqube": 20, "argo_workflows": 10, "policyreporter": 5, "grafana": 10,
          "dex": 5}


def test_shared_postgresql_gives_each_tool_its_database(deploy, tmp_path):
    server = deploy("shared-postgresql")
    script = os.path.join(server.dir, "databases.sh")

    def run(suffix, roles=LIMITS):
        for role in roles:
            (tmp_path / role).write_text(f"{role}'s {suffix}")
        return subprocess.run(["bash", script], capture_output=True, text=True, timeout=60, env={
            "PATH": os.environ["PATH"], "ROLES": str(tmp_path), "PGHOST": ADDRESS,
            "PGUSER": server.superuser, "PGPASSWORD": PASSWORD})

    incomplete = run("password", [r for r in LIMITS if r != "grafana"])
    assert incomplete.returncode != 0 and "grafana" in incomplete.stderr
    for suffix in ("password", "other password"):  # again, and with passwords that have changed
        r = run(suffix)
        assert r.returncode == 0, r.stderr
    for role in LIMITS:
        own = {"user": role, "password": f"{role}'s other password", "database": role}
        server.ask("CREATE TABLE t (id int); ALTER TABLE t ADD s text; INSERT INTO t VALUES (1, 'x')",
                   **own)
        assert server.ask("SHOW statement_timeout", **own) == [("30s",)]
        other = next(r for r in LIMITS if r != role)
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            server.ask("SELECT 1", **{**own, "database": other})
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        server.ask("SELECT 1", user="dex", password="dex's password", database="dex")
    found = server.ask("SELECT rolname, rolconnlimit FROM pg_roles WHERE rolcanlogin AND NOT (rolsuper "
                       "OR rolcreatedb OR rolcreaterole OR rolreplication)", database="postgres")
    assert dict(found) == LIMITS
    assert sum(LIMITS.values()) == 65 < int(server.settings["postgres"]["parameters"]["max_connections"])
