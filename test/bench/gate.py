"""Freezes of a whole member past its deadline, with the commit gate and without: what its clients still
hear of afterwards.

One round: guard, agent and PostgreSQL with 4 clients that commit asynchronously in a loop; a deadline
400 ms ahead; SIGSTOP of every process, guard included; SIGCONT, in random order, 100 ms after the
deadline, and guard is the last by another 100 ms: it fences as soon as it runs, and what is measured is
what happens before. Counted are answers after the deadline, apart for what was
sent after it (must be none with the gate) and before it (at most one for each client: its commit was made
before the freeze). A round whose freeze came too late is done again.

    make bench-gate N=200      raw data: test/bench/results/gate-<time>.jsonl
"""
import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "guard"), os.path.join(ROOT, "test", "lib")]

import psycopg2  # noqa: E402
import conftest  # noqa: E402
from conftest import Guard, boot_ms, descendants, until  # noqa: E402
from gate_server import library  # noqa: E402

CLIENTS = 4
LEAD_MS = 400


class Client(threading.Thread):
    def __init__(self, guard):
        super().__init__(daemon=True)
        self.guard, self.acks = guard, []

    def run(self):
        try:
            conn = psycopg2.connect(host=self.guard.sock_dir, user="postgres", dbname="postgres")
            conn.autocommit = True
            with conn.cursor() as c:
                c.execute("SET synchronous_commit = off")
                while True:
                    sent = boot_ms()
                    c.execute("INSERT INTO t VALUES (1)")
                    self.acks.append((sent, boot_ms()))
        except psycopg2.Error:
            pass


def signal_all(pids, sig):
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


def one(guard, proc, agent):
    """(answers to what was sent after the deadline, to what was sent before, commits) or None."""
    guard.start_postgres(agent)
    agent.number("grant", 600000)
    agent.number("arm")
    guard.sql("CREATE TABLE IF NOT EXISTS t (i int)")
    clients = [Client(guard) for _ in range(CLIENTS)]
    for c in clients:
        c.start()
    until(lambda: all(len(c.acks) > 20 for c in clients), "the clients to commit")
    deadline = agent.number("grant", LEAD_MS)
    agent.number("arm")  # so that guard looks at the page
    frozen = [guard.inner_pid(proc)] + list(descendants(guard.inner_pid(proc)))
    signal_all(frozen, signal.SIGSTOP)
    in_time = boot_ms() < deadline
    until(lambda: boot_ms() > deadline + 100, "the deadline to be long past")
    inner, others = frozen[0], frozen[1:]
    random.shuffle(others)
    signal_all(others, signal.SIGCONT)
    until(lambda: boot_ms() > deadline + 200, "guard's turn")
    signal_all([inner], signal.SIGCONT)
    for c in clients:
        c.join(60)
        assert not c.is_alive()
    if not in_time:
        return None
    acks = [a for c in clients for a in c.acks]
    return (sum(s > deadline for s, _ in acks), sum(s <= deadline < a for s, a in acks), len(acks))


def rounds(gate, n, raw, template, until_s):
    base = tempfile.mkdtemp(prefix="pgha-bench-gate-", dir="/tmp")
    guard = Guard(base, template)
    total, done = [0, 0, 0], 0
    try:
        guard.make_data()
        if gate:
            with open(os.path.join(guard.data, "postgresql.conf"), "a", encoding="utf-8") as f:
                f.write(f"shared_preload_libraries = '\"{library()}\"'\n")
        proc, agent = guard.start()
        while done < n and time.monotonic() < until_s:
            got = one(guard, proc, agent)
            agent = guard.accept()
            if got is None:
                continue
            done += 1
            total = [a + b for a, b in zip(total, got)]
            raw.write(json.dumps({"gate": gate, "round": done, "sent_after": got[0],
                                  "sent_before": got[1], "commits": got[2]}) + "\n")
            raw.flush()
    finally:
        guard.close()
        shutil.rmtree(base, ignore_errors=True)
    print(f"{'with' if gate else 'without'} the gate: {done} freezes, {total[2]} commits; after the "
          f"deadline {total[0]} answers to what was sent after it, {total[1]} to what was sent before")
    return total[0] if gate else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=200)
    p.add_argument("--minutes", type=float, default=60, help="of each half, at most")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = os.path.join(ROOT, "test", "bench", "results",
                        time.strftime("gate-%Y%m%dT%H%M%SZ.jsonl", time.gmtime()))
    make_template = conftest._template.__wrapped__()
    template = next(make_template)
    bad = 0
    try:
        with open(path, "w", encoding="utf-8") as raw:
            for gate in (True, False):
                bad += rounds(gate, a.n, raw, template, time.monotonic() + 60 * a.minutes)
    finally:
        make_template.close()
    print(f"raw data: {os.path.relpath(path, ROOT)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
