"""Settings of the server that change: in any order, with values that only PostgreSQL refuses."""
import os
import pathlib
import signal

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
