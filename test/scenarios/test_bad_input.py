"""Bad input: told with its place, never touched, never a reason to lose data or to stop writes."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
import sandbox
import wait


def snapshot(directory):
    """Names, sizes and times of change of everything in there."""
    found = {}
    for base, _, files in os.walk(directory):
        for name in files:
            st = os.lstat(os.path.join(base, name))
            found[os.path.join(base, name)] = (st.st_size, st.st_mtime_ns)
    return found


def foreign_system(m):
    """A directory that was initialised for another cluster."""
    shutil.rmtree(m.pgdata)
    user = sandbox.postgres_user()
    kw = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    subprocess.run([f"{m.pg_bin}/initdb", "-D", m.pgdata, "-U", "postgres", "--no-sync"], check=True,
                   stdout=subprocess.DEVNULL, cwd="/", **kw)


def other_major_version(m):
    with open(os.path.join(m.pgdata, "PG_VERSION"), "w") as f:
        f.write("14\n")


def no_control_file(m):
    os.unlink(os.path.join(m.pgdata, "global", "pg_control"))


@pytest.mark.parametrize("damage,word", [(foreign_system, "system identifier"),
                                         (other_major_version, "PostgreSQL 14"),
                                         (no_control_file, "pg_control")],
                         ids=["foreign-system", "other-version", "half-a-copy"])
def test_bad_data_directory_is_explained_and_not_touched(cluster, damage, word):
    with cluster.load() as load:
        s = cluster.standby()
        s.kill()
        damage(s)
        before = snapshot(s.pgdata)
        s.start()
        alarms = wait.until(lambda: s.says("/startup") and s.status()["alarms"], 20, "an alarm")
        assert word in json.dumps(alarms), alarms
        wait.until(lambda: word in cluster.hactl("list", "-o", "json").stdout, 20, "hactl to tell")
        at = wait.boot_us()
        load.wait_writes(10, at)
        cluster.wait_healthy(down=[s.name])
        assert snapshot(s.pgdata) == before, "the directory was touched"
        assert not s.says("/readiness") and s.says("/liveness")
        # What the alarm tells an operator to do: give it an empty volume.
        s.terminate()
        s.lose_volume()
        s.start()
        cluster.wait_healthy()
    cluster.verify()


def test_bad_configuration_at_start_is_refused(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        s.terminate()
        path = pathlib.Path(s.dir, "pghad.yaml")
        try:
            for text, place, told in (
                    ("lease:\n  profle: fast\n", f"{path}: line 2", "profle"),
                    ("lease:\n  renew: 90min\n", f"{path}: line 2", "1min"),
                    ("lease: {duration: 5s, fence: 4900ms}\n", "lease.duration", "fence")):
                path.write_text(text)
                s.args = ["--config", str(path)]
                r = subprocess.run([f"{sandbox.programs()}/pghad", "--check-config", "--config",
                                    str(path)], capture_output=True, text=True)
                said = r.stdout + r.stderr
                assert r.returncode == 2 and told in said and place in said, said
                s.env["PGHA_LEASE_PROFILE"] = "default"
                s.start()
                assert s.wait_exit(20) == 2
        finally:
            s.args = []
            s.env["PGHA_LEASE_PROFILE"] = "fast"
            if not s.running():
                s.start()
        load.wait_writes(10, wait.boot_us())
        cluster.wait_healthy()
    cluster.verify()


def test_bad_configuration_on_reload_changes_nothing(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        s.terminate()
        path = pathlib.Path(s.dir, "pghad.yaml")
        path.write_text("replication:\n  leave_after: 21s\n")
        s.args = ["--config", str(path)]
        try:
            s.start()
            cluster.wait_healthy()
            path.write_text("replication:\n  leave_after: 21s\n  leave_behind: 3\n")
            s.guard().signal(signal.SIGHUP)
            row = wait.until(lambda: s.log_lines("config-refused"), 10, "the refusal")[0]
            assert f"{path}: line 3" in row["msg"] and "leave_behind" in row["msg"], row
            events = wait.until(lambda: [e for e in cluster.kube.admin.list("events", cluster.ns)
                                         if e["reason"] == "ConfigRefused"], 10, "an Event")
            assert "leave_behind" in (events[0].get("message") or events[0].get("note"))
            assert '"21s"' in s.get("/config")[1] or "21000" in s.get("/config")[1]
            path.write_text("replication:\n  leave_after: 22s\n")
            s.guard().signal(signal.SIGHUP)
            wait.until(lambda: "22" in s.get("/config")[1] and s.log_lines("config-changed"), 10,
                       "the new settings")
        finally:
            s.args = []
        load.wait_writes(10, wait.boot_us())
        s.terminate()
        s.start()
        cluster.wait_healthy()
    cluster.verify()
