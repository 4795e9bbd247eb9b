"""Without Kubernetes: a plain single server, and never a second writer of a cluster's data."""
import os
import signal
import stat
import subprocess

import pytest

import sandbox
import wait

OTHER_UID = 54321  # no account has it


def may_be_anybody():
    """False in a user namespace, which knows one uid only."""
    with open("/proc/self/uid_map") as f:
        return os.geteuid() == 0 and any(int(line.split()[2]) > OTHER_UID for line in f)


def test_a_plain_server_as_the_official_image(container):
    with open(os.path.join(container.scripts, "10-table.sql"), "w") as f:
        f.write("CREATE TABLE made_by_script (id int);\n")
    container.run(POSTGRES_DB="app").wait_ready()
    assert container.events("standalone"), "it says what it is"
    assert container.sql("SELECT pg_is_in_recovery(), current_setting('data_checksums')") == \
        [(False, "on")]
    assert container.sql("SHOW server_encoding") == [("UTF8",)]
    assert container.sql("SELECT count(*) FROM made_by_script", "app") == "0"
    container.sql("INSERT INTO made_by_script VALUES (7)", "app")
    assert container.stop() == 0
    assert not os.path.exists(os.path.join(container.data, "postmaster.pid")), "a clean stop"
    container.run(POSTGRES_DB="app", POSTGRES_PASSWORD=None).wait_ready()
    assert container.sql("SELECT id FROM made_by_script", "app") == "7"
    assert container.sql("SELECT timeline_id FROM pg_control_checkpoint()") == [(1,)]
    assert container.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("lang", [None, "C", "xx_YY.UTF-8"])
def test_utf8_whatever_the_locale(container, lang):
    container.run(LANG=lang).wait_ready()
    assert container.sql("SHOW server_encoding") == [("UTF8",)]


def test_a_crash_is_a_restart(container):
    container.run().wait_ready()
    container.sql("CREATE TABLE t AS SELECT 1 AS id")
    first = container.postmaster()
    os.kill(first, signal.SIGKILL)
    wait.until(lambda: container.postmaster() not in (None, first), 30, "another postmaster")
    container.wait_ready()
    assert container.sql("SELECT id FROM t") == [(1,)]


def test_settings_are_reloaded(container):
    path = os.path.join(container.scripts, "..", "pghad.yaml")

    def write(value):
        with open(path, "w") as f:
            f.write(f"postgres: {{parameters: {{work_mem: {value}}}}}\n")

    write("5MB")
    container.run("--config", path).wait_ready()
    assert container.sql("SHOW work_mem") == [("5MB",)]
    write("6MB")
    container.proc.send_signal(signal.SIGHUP)
    wait.until(lambda: container.sql("SHOW work_mem") == [("6MB",)], 10, "the new setting")


@pytest.mark.skipif(not may_be_anybody(), reason="needs to be root")
def test_a_volume_of_somebody_else_is_told_what_to_set(container):
    """The root of a volume belongs to root, and kubelet was not told of a group."""
    os.chown(container.volume, 0, 0)
    os.chmod(container.volume, 0o755)
    r = subprocess.run(["unshare", "-fp", "--mount-proc", "--kill-child", "--", "setpriv",
                        f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups", "--",
                        f"{sandbox.programs()}/pghad"],
                       env={"PATH": os.environ["PATH"], "PGDATA": container.data,
                            "POD_NAME": "pg-0"}, capture_output=True, text=True, cwd="/", timeout=20)
    assert r.returncode != 0
    assert f"uid {OTHER_UID}" in r.stdout + r.stderr and "set fsGroup" in r.stdout + r.stderr, r


@pytest.mark.skipif(not may_be_anybody(), reason="needs to be root")
def test_any_uid_and_what_kubelet_does_to_a_volume(container):
    for d in (container.volume, container.run_dir):
        os.chown(d, OTHER_UID, OTHER_UID)
    container.run(PGHA_USER=f"{OTHER_UID}:{OTHER_UID}").wait_ready()
    assert os.stat(container.data).st_uid == OTHER_UID
    assert container.stop() == 0
    # fsGroup without fsGroupChangePolicy: everything is given to the group, group-writable.
    for d, _, files in os.walk(container.volume):
        os.chmod(d, 0o2770)
        for f in files:
            path = os.path.join(d, f)
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | 0o660)
    container.run(PGHA_USER=f"{OTHER_UID}:{OTHER_UID}").wait_ready()
    assert stat.S_IMODE(os.stat(container.data).st_mode) & 0o027 == 0


def test_no_password_no_database(container):
    assert container.run(POSTGRES_PASSWORD=None).wait_end() == 1
    assert "POSTGRES_PASSWORD" in container.events("standalone-refused")[0]["hint"]
    assert not os.path.exists(container.data) or os.listdir(container.data) == []
    container.run(POSTGRES_PASSWORD=None, POSTGRES_HOST_AUTH_METHOD="trust").wait_ready()


def refused(container, why, **env):
    """The data of a container that ran and was stopped is refused, and left as it is."""
    before = _content(container.data)
    seen = len(container.events("standalone-refused"))
    assert container.run(**env).wait_end() == 1
    found = container.events("standalone-refused")[seen:]
    assert len(found) == 1 and why in found[0]["msg"], found
    assert _content(container.data) == before


def _content(directory):
    return sorted((os.path.join(d, f), os.stat(os.path.join(d, f)).st_mtime_ns)
                  for d, _, files in os.walk(directory) for f in files)


@pytest.fixture
def stopped(container):
    container.run().wait_ready()
    assert container.stop() == 0
    return container


def _sum(text):
    """FNV-1a, the last line of member.state."""
    h = 0xcbf29ce484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001b3) % (1 << 64)
    return f"sum={h:016x}\n"


def test_the_volume_of_a_cluster_is_refused(stopped):
    path = os.path.join(stopped.volume, "pghad", "member.state")
    with open(path) as f:
        text, _, last = f.read().partition("sum=")
    assert "\nepoch=0\n" in text and "sum=" + last == _sum(text)
    text = text.replace("\nepoch=0\n", "\nepoch=3\n")
    with open(path, "w") as f:
        f.write(text + _sum(text))
    refused(stopped, "belongs to a cluster")


def test_a_standby_is_refused(stopped):
    path = os.path.join(stopped.data, "standby.signal")
    open(path, "w").close()
    refused(stopped, "standby")
    os.unlink(path)
    stopped.run().wait_ready()


def test_data_at_the_root_of_the_volume_is_not_hidden(stopped):
    """A volume of the official image's older layout, mounted where ours are."""
    inner = os.path.join(stopped.data, "pgdata")
    seen = len(stopped.events("standalone-refused"))
    assert stopped.run(PGDATA=inner).wait_end() == 1
    assert "is itself a data directory" in stopped.events("standalone-refused")[seen]["msg"]
    assert not os.path.exists(inner) or os.listdir(inner) == []


@pytest.mark.parametrize("sign", ["KUBERNETES_SERVICE_HOST", "POD_NAME", "PGHA_CLUSTER_NAME",
                                  "PGHA_KUBE_SERVER"])
def test_anything_of_kubernetes_forbids_it(container, sign):
    """A pod that is set up half stays down; it does not become a second primary."""
    container.run(**{sign: "pg-0" if "NAME" in sign else "https://10.0.0.1"})
    wait.until(lambda: container.events("waiting"), 30, "the agent to complain")
    assert not container.events("standalone")
    assert container.postmaster() is None and not os.path.exists(os.path.join(container.data, "base"))
