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


def told(cluster, m, name, reason, word):
    """The member says what is wrong in /status, hactl, an Event and one line of its log."""
    alarm = wait.until(lambda: m.says("/startup") and
                       [a for a in m.status()["alarms"] if word in a["text"]], 20,
                       f"an alarm with {word}")[0]
    assert alarm["name"] == name, alarm
    assert m.says("/liveness") and not m.says("/readiness")
    events = wait.until(lambda: [e for e in cluster.kube.admin.list("events", cluster.ns)
                                 if e["reason"] == reason
                                 and word in (e.get("message") or e.get("note"))], 20, "an Event")
    assert events[0]["regarding" if "regarding" in events[0] else "involvedObject"]["name"] == m.name
    wait.until(lambda: "waiting" in cluster.hactl("list").stdout, 20, "hactl to tell")


BAD_AT_START = [
    ("lease:\n  profle: fast\n", "profle"),
    ("lease:\n  renew: 90min\n", "90min"),
    ("lease: {duration: 5s, fence: 4900ms}\n", "might still write"),
    ("postgres:\n  parameters: {max_conections: 100}\n", "max_conections"),
    ("postgres:\n  parameters: {work_mem: 4PB}\n", "work_mem"),
    ("postgres:\n  hba: [\"host all all 10.0.0.0/8 md6\"]\n", "md6"),
]


def test_bad_configuration_at_start_is_told_and_mended_without_a_restart(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        s.terminate()
        before = snapshot(s.pgdata)
        path = pathlib.Path(s.dir, "pghad.yaml")
        s.env["PGHA_LEASE_PROFILE"] = "default"
        s.args = ["--config", str(path)]
        try:
            path.write_text(BAD_AT_START[0][0])
            s.start()
            for text, word in BAD_AT_START:
                path.write_text(text)
                r = subprocess.run([f"{sandbox.programs()}/pghad", "--check-config", "--config",
                                    str(path)], capture_output=True, text=True)
                assert text.startswith("postgres") or \
                    (r.returncode == 2 and word in r.stdout + r.stderr), r
                told(cluster, s, "config-refused", "ConfigRefused", word)
                assert not s.postmaster() and snapshot(s.pgdata) == before
            lines = [r for r in s.log_lines("waiting") if "profle" in r["msg"]]
            assert len(lines) == 1 and f"{path}: line 2" in lines[0]["msg"], lines
            path.write_text("lease:\n  profile: fast\n")
            wait.until(lambda: s.says("/readiness"), 60, "the member to come by itself")
            assert s.running() and s.log_lines("mended")
            load.wait_writes(10, wait.boot_us())
            # Nor does it hold up the end of the pod.
            s.terminate()
            path.write_text("nonsense: true\n")
            s.start()
            told(cluster, s, "config-refused", "ConfigRefused", "nonsense")
            s.terminate(10)
            assert s.proc.returncode == 0
        finally:
            s.args = []
            s.env["PGHA_LEASE_PROFILE"] = "fast"
            if not s.running():
                s.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.parametrize("what", ["superuser", "replication", "token"])
def test_a_secret_that_arrives_late_is_waited_for(cluster, what):
    with cluster.load() as load:
        s = cluster.standby()
        s.terminate()
        before = snapshot(s.pgdata)
        late = pathlib.Path(s.dir, f"late-{what}")
        name = {"superuser": "POSTGRES_PASSWORD_FILE",
                "replication": "PGHA_POSTGRES_REPLICATION_PASSWORD_FILE",
                "token": "PGHA_API_TOKEN_FILE"}[what]
        env, s.env = s.env, {**s.env, name: str(late)}
        try:
            s.start()
            told(cluster, s, "waiting-for-secret", "WaitingForSecret", f"late-{what}")
            assert snapshot(s.pgdata) == before
            late.touch()  # and then it is empty
            told(cluster, s, "waiting-for-secret", "WaitingForSecret",
                 "no token" if what == "token" else "empty")
            shutil.copy(cluster.secret[what], late)
            shutil.copystat(cluster.secret[what], late)
            st = os.stat(cluster.secret[what])
            os.chown(late, st.st_uid, st.st_gid)
            wait.until(lambda: s.says("/readiness"), 60, "the member to come by itself")
        finally:
            s.env = env
        load.wait_writes(10, wait.boot_us())
        s.terminate()
        s.start()
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
                                         if e["reason"] == "ConfigRefused" and "leave_behind" in
                                         (e.get("message") or e.get("note"))], 10, "an Event")
            assert events
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
