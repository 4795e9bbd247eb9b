"""The flight recorder: what was decided live is decided again from the record."""
import glob
import os
import signal
import subprocess

import pytest

import wait
from member import BUILD

LEASE_S = 5  # profile fast


def state_dir(m):
    return os.path.join(os.path.dirname(m.pgdata), "pghad")


def run(program, *args, **env):
    r = subprocess.run([os.path.abspath(f"{BUILD}/{program}"), *args], capture_output=True,
                       text=True, timeout=60, env={**os.environ, **env})
    return r.returncode, r.stdout + r.stderr


def pghad(*args):
    return run("pghad", *args)


def recorded(m, rule):
    """Its rules so far as text, once rule is among them: the writer works beside the loop."""
    code, text = pghad("--record-text", state_dir(m))
    rules = [line[len("verdict.rule="):] for line in text.splitlines()
             if line.startswith("verdict.rule=")]
    return (rules, text) if code == 0 and rule in rules else None


def test_failover_is_recorded_and_replays_identically(cluster, tmp_path):
    with cluster.load() as load:
        p = cluster.primary()
        # Of a record with W = 0, just after a bootstrap, nobody else may take over.
        wait.until(lambda: p.status()["replication"]["w"] >= 1, 10, "W to be recorded")
        load.wait_writes(10)
        at = wait.boot_us()
        p.kill()
        load.wait_writes(LEASE_S + 15, at)
        new = cluster.primary()
        assert new is not p
        p.start()
        cluster.wait_healthy()
        wait.until(lambda: recorded(p, "follow"), 10, "the record of the old primary's return")
        rules, text = wait.until(lambda: recorded(new, "serve"), 10, "the record of the failover")
        assert "lost=" not in text
        for rule in ("acquire", "elect-detach", "promote"):
            assert rule in rules, rules
        for m in cluster.members:
            copy = str(tmp_path / f"{m.name}.flight")
            code, out = run("hactl", "record", "--file", copy, PGHA_STATE_DIR=state_dir(m))
            assert code == 0, out
            code, out = pghad("--replay", copy)
            assert code == 0 and " 0 differ" in out, f"{m.name}: {out}"
        code, story = run("hactl", "explain", "--file", str(tmp_path / f"{new.name}.flight"))
        assert code == 0
        at = next(x.split()[0] for x in story.splitlines() if " promote " in x)
        code, told = run("hactl", "explain", "--at", at, PGHA_STATE_DIR=state_dir(new))
        assert code == 0
        for words in (f"held by {new.name} (this member)", "Why this rule", f"{p.name}: "):
            assert words in told, told
    cluster.verify()


@pytest.mark.local
def test_a_cluster_at_rest_writes_no_record(cluster):
    """The questions that members ask each second are no news, and news is written within half a second. What
    a machine that stands still for a moment brings about is news."""
    last = {"since": wait.boot_s()}

    def steady():
        sizes = [sum(os.path.getsize(f) for f in glob.glob(os.path.join(state_dir(m), "flight.*")))
                 for m in cluster.members]
        if sizes != last.get("sizes"):
            last.update(sizes=sizes, since=wait.boot_s())
        return wait.boot_s() - last["since"] >= 2.5
    wait.until(steady, 60, "2.5 s in which no member writes its record")


def test_record_survives_the_agent(cluster):
    """What was recorded stays, and the next agent goes on in the same record."""
    with cluster.load() as load:
        s = cluster.standby()
        wait.until(lambda: recorded(s, "follow"), 10, "a record")
        old = s.agent()
        old.signal(signal.SIGKILL)
        wait.until(lambda: (a := s.agent()) and a.pid != old.pid, 10, "a new agent")

        def both():
            code, text = pghad("--record-text", state_dir(s))
            turns = [x.split() for x in text.splitlines() if x.startswith("turn ")]
            runs = {x[1] for x in turns}
            return code == 0 and len(runs) > 1 and turns[-1][1] != turns[0][1] and "damaged" not in text
        wait.until(both, 10, "turns of both agents in one record")
        code, out = pghad("--replay", state_dir(s))
        assert code == 0, out
        load.wait_writes(10)
    cluster.verify()
