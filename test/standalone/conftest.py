"""pghad as `docker run IMAGE` starts it: no Kubernetes, one server, the official image's variables.

Runs in test/lib/sandbox.py: the network is its own, so that the usual port is free.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import checker  # noqa: E402
import sandbox  # noqa: E402
import wait  # noqa: E402

PASSWORD = "correct horse"


def pytest_configure(config):
    if "PGHA_SANDBOX" not in os.environ:
        pytest.exit("run through test/lib/sandbox.py (make test-standalone)", returncode=4)
    config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")


class Container:
    """One volume and the containers that were run on it, one after the other."""

    def __init__(self, base):
        self.volume = os.path.join(base, "volume")
        self.data = os.path.join(self.volume, "pgdata")
        self.scripts = os.path.join(base, "scripts")
        self.run_dir = os.path.join(base, "run")
        self.log = os.path.join(base, "log")
        self.proc = None
        self.chown_to = sandbox.postgres_user()
        for d in (self.volume, self.scripts, self.run_dir):
            os.makedirs(d)
        for d in (self.volume, self.run_dir):
            self.give(d)
        open(self.log, "w").close()

    def give(self, path):
        if self.chown_to:
            shutil.chown(path, *self.chown_to)

    def run(self, *args, **env):
        """Starts it; a value of None removes a variable."""
        assert self.proc is None or self.proc.poll() is not None
        full = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGDATA": self.data,
                "POSTGRES_PASSWORD": PASSWORD, "PGHA_POSTGRES_SOCKET_DIR": self.run_dir,
                "PGHA_BOOTSTRAP_INIT_DIR": self.scripts, **env}
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(
                [f"{sandbox.programs()}/pghad", *args],
                env={k: v for k, v in full.items() if v is not None},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        return self

    def sql(self, statement, database="postgres"):
        # An encrypted session is not to be had, and not needed on loopback.
        return checker.query("127.0.0.1", statement, password=PASSWORD) if database == "postgres" \
            else self._psql(database, statement)

    def _psql(self, database, statement):
        r = subprocess.run(["psql", "-XAtq", "-h", "127.0.0.1", "-U", "postgres", "-d", database,
                            "-c", statement], capture_output=True, text=True, timeout=10,
                           env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD})
        assert r.returncode == 0, r.stderr
        return r.stdout.strip()

    def wait_ready(self):
        def answers():
            if self.proc.poll() is not None:
                pytest.fail(f"ended with {self.proc.returncode}\n{self.tail()}")
            return self.sql("SELECT 1") == [(1,)]
        wait.until(answers, 60, "the server to answer", every=0.05)
        return self

    def wait_end(self, deadline_s=30):
        """Exit code of the container."""
        wait.until(lambda: self.proc.poll() is not None, deadline_s, "the container to end")
        return self.proc.returncode

    def stop(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        return self.wait_end()

    def postmaster(self):
        """Its pid here, outside the container's namespace."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline") as f:
                    words = f.read().split("\0")
            except OSError:
                continue
            if words[0].endswith("/bin/postgres") and self.data in words:
                return int(pid)
        return None

    def events(self, name=None):
        found = []
        with open(self.log, errors="replace") as f:
            for line in f:
                try:
                    e = json.loads(line)
                except ValueError:
                    continue
                if isinstance(e, dict) and name in (None, e.get("event")):
                    found.append(e)
        return found

    def tail(self):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-20:])

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
            wait.until(lambda: self.postmaster() is None, 10, "the server to be gone")


@pytest.fixture
def container():
    # pytest's own directories are closed to the user that the server becomes.
    base = tempfile.mkdtemp(dir=os.environ["PGHA_SANDBOX"])
    os.chmod(base, 0o755)
    c = Container(base)
    yield c
    c.close()
    shutil.rmtree(base)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    c = getattr(item, "funcargs", {}).get("container")
    if report.failed and c is not None:
        report.sections.append(("the container's log", c.tail()))
