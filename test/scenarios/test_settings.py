"""Settings of the server that change: in any order, with values that only PostgreSQL refuses."""
import os
import pathlib

import pytest
import wait


def with_files(fresh, text, options=None):
    """A healthy cluster whose members read a file of their own, as from a ConfigMap."""
    c = fresh(start=False, options=options)
    c.start(members=[])
    for m in c.members:
        m.settings = pathlib.Path(m.dir, "pghad.yaml")
        m.settings.write_text(text)
        m.args = ["--config", str(m.settings)]
        m.start()
    c.wait_healthy()
    return c


def give(c, text):
    """As kubelet does: the file is there at once, whole."""
    for m in c.members:
        new = m.settings.with_suffix(".new")
        new.write_text(text)
        os.replace(new, m.settings)


def parameters(**params):
    return "postgres:\n  parameters:\n" + "".join(f"    {k}: \"{v}\"\n" for k, v in params.items())


def shown(m, name):
    return m.sql(f"SHOW {name}")[0][0]


@pytest.mark.versions
@pytest.mark.parametrize("setting,low,high", [("max_connections", 60, 90),
                                              ("max_prepared_transactions", 0, 5)])
def test_a_primary_that_is_restarted_first_with_raised_settings(fresh, setting, low, high):
    """PostgreSQL stops replay on the standbys then, and would promote none of them."""
    c = with_files(fresh, parameters(**{setting: low}))
    with c.load() as load:
        p = c.primary()
        give(c, parameters(**{setting: high}))
        c.hactl("reload", check=0)
        wait.until(lambda: all(m.status()["pending_restart"] for m in c.members), 20,
                   "all to say that a restart is due")
        c.hactl("restart", p.name, "--force", check=0)
        assert shown(c.primary(), setting) == str(high)
        load.wait_writes(20, wait.boot_us())
        wait.until(lambda: all(shown(m, setting) == str(high) for m in c.members), 60,
                   "the standbys to be started anew")
        assert all([r for r in m.log_lines("rule") if r["rule"] == "raise-settings"]
                   for m in c.others(c.primary()))
        c.wait_healthy()
        # They replay, and one of them can be promoted.
        p = c.primary()
        at = wait.boot_us()
        p.kill()
        load.wait_writes(30, at)
        p.start()
        c.wait_healthy()
    c.verify()


def test_lowered_settings_are_told_and_never_stop_a_start(fresh):
    c = with_files(fresh, parameters(max_connections=90))
    with c.load() as load:
        give(c, parameters(max_connections=60))
        for m in [*c.others(c.primary()), c.primary()]:
            m.kill()
            m.start()
            c.wait_healthy()
        load.wait_writes(20, wait.boot_us())
        for m in c.members:
            assert shown(m, "max_connections") == "90"
            told = wait.until(lambda: m.status()["alarms"], 20, "a word of it")
            assert told[0]["name"] == "settings-kept" and "max_connections" in told[0]["text"], told
    c.verify()


BAD = [(parameters(max_conections=100), "max_conections"),
       (parameters(work_mem="lots"), "work_mem"),
       ("postgres:\n  hba: [\"host all all 10.0.0.0/33 trust\"]\n", "10.0.0.0/33"),
       ("postgres:\n  hba: [\"host all all all scram\"]\n", "scram")]


def test_settings_that_only_postgresql_refuses_never_hold_up_a_running_server(fresh):
    """One bad name, and PostgreSQL would ignore every other change of the file: no member could close
    its doors, follow another one or wait for standbys any more."""
    c = with_files(fresh, parameters(work_mem="5MB"))
    with c.load() as load:
        for text, word in BAD:
            give(c, text)
            r = c.hactl("reload")
            assert r.returncode != 0 and word in r.stdout + r.stderr, r
            for m in c.members:
                wait.until(lambda: [a for a in m.status()["alarms"]
                                    if a["name"] == "config-refused" and word in a["text"]], 20,
                           f"{m.name} to say so")
                assert shown(m, "work_mem") == "5MB"
        p = c.primary()
        at = wait.boot_us()
        p.kill()
        load.wait_writes(30, at)
        assert c.primary() is not p
        p.start()  # it finds settings that nobody can start with
        wait.until(lambda: p.says("/startup") and p.status()["state"] == "waiting", 20,
                   "it to wait")
        c.wait_healthy(down=[p.name])
        give(c, parameters(work_mem="6MB"))  # nobody asks for a reload
        wait.until(lambda: all(shown(m, "work_mem") == "6MB" and not m.status()["alarms"]
                               for m in c.members), 60, "all to have the mended settings")
        c.wait_healthy()
        load.wait_writes(10, wait.boot_us())
    c.verify()


def test_a_library_that_is_not_there_is_told_and_mended(fresh):
    """No check before the start finds this one."""
    c = with_files(fresh, parameters(work_mem="5MB"))
    with c.load() as load:
        s = c.standby()
        s.terminate()
        s.settings.write_text(parameters(shared_preload_libraries="not_there"))
        s.start()
        wait.until(lambda: s.says("/startup") and [a for a in s.status()["alarms"] if a["name"] ==
                                                   "server-does-not-start"], 30, "an alarm")
        wait.until(lambda: [e for e in c.kube.admin.list("events", c.ns)
                            if e["reason"] == "ServerDoesNotStart"], 10, "an Event")
        assert s.says("/liveness") and not s.says("/readiness")
        s.settings.write_text(parameters(work_mem="5MB"))
        c.wait_healthy()
        assert s.running() and not s.status()["alarms"]
        load.wait_writes(10, wait.boot_us())
    c.verify()
