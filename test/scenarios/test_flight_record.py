"""The flight recorder: what was decided live is decided again from the record."""
import os
import shutil
import subprocess

import wait
from member import BUILD

LEASE_S = 5  # profile fast


def state_dir(m):
    return os.path.join(os.path.dirname(m.pgdata), "pghad")


def pghad(*args):
    r = subprocess.run([os.path.abspath(f"{BUILD}/pghad"), *args], capture_output=True, text=True,
                       timeout=60)
    return r.returncode, r.stdout + r.stderr


def recorded(m, rule):
    """Its rules so far as text, once rule is among them: the writer works beside the loop."""
    code, text = pghad("--record-text", state_dir(m))
    rules = [line[len("verdict.rule="):] for line in text.splitlines()
             if line.startswith("verdict.rule=")]
    return (rules, text) if code == 0 and rule in rules else None


def test_failover_is_recorded_and_replays_identically(cluster, tmp_path):
    with cluster.load() as load:
        p = cluster.primary()
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
            copy = tmp_path / m.name
            shutil.copytree(state_dir(m), copy, ignore=shutil.ignore_patterns("*.lock"))
            code, out = pghad("--replay", str(copy))
            assert code == 0 and " 0 differ" in out, f"{m.name}: {out}"
            assert sum(f.stat().st_size for f in copy.glob("flight.*")) <= 4 << 20
    cluster.verify()
