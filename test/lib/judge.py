"""Clients whose history an outside checker judges: test/judge.

    with judge.Recorder(c.targets(), log, password) as r:    # reads and writes on whoever claims to be primary
        r.wait_answers(100, 20)
        ...                                                  # faults
        r.finish()                                           # reads all once more; a primary must be there
    v = judge.check(log, picture="x.html")
    assert v["verdict"] == "linearizable"
"""
import json
import os
import signal
import subprocess
import time

import wait
from checker import PG_ENV

PROGRAM = os.path.abspath(os.path.join(os.environ.get("PGHA_BUILD", "build/gcc"), "judge"))
LAST_LOOK_S = 90


class NoVerdict(Exception):
    """The history cannot be judged; the message says why."""


class Recorder:
    """One running `judge record`, ended on the way out."""

    def __init__(self, targets, log, password=None):
        self.log, self.targets = log, targets
        self.env = {**os.environ, **PG_ENV, **({"PGPASSWORD": password} if password else {})}
        self.proc = None

    def __enter__(self):
        self.proc = subprocess.Popen([PROGRAM, "record", "--log", self.log, *self.targets],
                                     env=self.env, stderr=subprocess.PIPE, text=True)
        self.wait_answers(1, 30)
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.communicate()

    def answers(self, since_ns=0, server=""):
        """How many operations that were called since then have been executed for sure."""
        try:
            with open(self.log, encoding="ascii") as f:
                lines = f.read().split("\n")[:-1]
        except FileNotFoundError:
            return 0
        n = 0
        for line in reversed(lines):  # in order of their ends, and none takes longer than a few seconds
            row = json.loads(line)
            if row.get("return", since_ns) < since_ns:
                break
            n += row.get("outcome") == "ok" and row["call"] >= since_ns and \
                row["server"].startswith(server)
        return n

    def wait_answers(self, count, deadline_s, since_ns=None, server="", what="answers to clients"):
        """Waits until `count` operations called since then (default: now) are executed, on that server."""
        since = time.time_ns() if since_ns is None else since_ns

        def enough():
            if self.proc.poll() is not None:
                raise NoVerdict(f"the recorder has ended: {self.proc.stderr.read().strip()}")
            return self.answers(since, server) >= count

        wait.until(enough, deadline_s, what)

    def finish(self):
        self.proc.send_signal(signal.SIGTERM)
        try:
            _, words = self.proc.communicate(timeout=LAST_LOOK_S)
        except subprocess.TimeoutExpired:
            raise NoVerdict("the recorder does not end") from None
        if self.proc.returncode != 0:
            raise NoVerdict(words.strip())


def check(log, picture=None, marks=None, limit="60s"):
    """The verdict as `judge check` prints it; raises NoVerdict where the file is no whole history."""
    argv = [PROGRAM, "check", "--limit", limit]
    for option, path in ("--picture", picture), ("--marks", marks):
        argv += [option, path] if path else []
    r = subprocess.run([*argv, log], capture_output=True, text=True)
    if not r.stdout:
        raise NoVerdict(r.stderr.strip())
    v = json.loads(r.stdout)
    code = {"linearizable": 0, "broken": 1, "undecided": 2}[v["verdict"]]
    assert r.returncode == code, f"{v['verdict']}, but exit code {r.returncode}"
    return v
