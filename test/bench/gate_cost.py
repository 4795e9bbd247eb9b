"""What the commit gate costs: pgbench on a server that is started with it and without it, in turns.

    make bench-gate-cost PAIRS=40

The same data directory always, started anew and warmed up for each turn: pgbench -S (reads) and -N (simple
update), without fsync, so that nothing but processors counts and the share of the gate is as large as it
can be. With the gate, its page is writable and its deadline far, as in a primary. A pair is one turn with
and one without, in random order. Compared are transactions per second and processor time of the server per
transaction, which other load on the machine disturbs less; the figure is the median over the pairs of the
ratio, with an interval that holds it in 95 of 100 drawings (bootstrap). Exit code 1 when the median of
processor time or of the rate is worse by more than 1.5 %.

Raw data: test/bench/results/gate-cost-<time>.jsonl, one JSON object per run; the table beside it.
"""
import argparse
import json
import math
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "guard"), os.path.join(ROOT, "test", "lib")]

import conftest  # noqa: E402
from gate_server import Page, Server  # noqa: E402

RESULTS = os.path.join(ROOT, "test", "bench", "results")
WORKLOADS = {"reads (-S)": "-S", "simple update (-N)": "-N"}
BOUND = 0.015
SCALE, CLIENTS = 10, 2
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
NOISE = {"fsync": "off", "wal_level": "replica", "checkpoint_timeout": "1h", "max_wal_size": "4GB",
         "shared_buffers": "256MB"}


def start(s, gate):
    """Anew, warmed up: what is in memory does not depend on the turn before."""
    s.stop(signal.SIGINT)
    s.configure(**NOISE, **({} if gate else {"shared_preload_libraries": "''"}))
    s.page.grant()
    s.start()
    assert gate == bool(s.sql("select 1 from pg_settings where name = 'pghad_gate.active' and setting = 'on'"))
    s.sql("select sum(abalance) from pgbench_accounts")
    pgbench(s, "-S", "-n", "-T", "1")


def pgbench(s, *args):
    return subprocess.run([f"{conftest.PG_BIN}/pgbench", "-h", s.base, "-U", "postgres", *args, "postgres"],
                          capture_output=True, text=True, check=True).stdout


def ended_s(pid):
    """Processor time of the children of a process that have ended: of backends, for a postmaster."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * TICK_S


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return len(f.read().split())


def run(s, flag, seconds):
    pid = s.proc.pid
    at_rest = children(pid)
    before = ended_s(pid)
    out = pgbench(s, flag, "-n", "-c", str(CLIENTS), "-j", "1", "-M", "prepared", "-T", str(seconds))
    conftest.until(lambda: children(pid) <= at_rest, "the backends to be reaped")
    n = int(re.search(r"actually processed: (\d+)", out).group(1))
    tps = float(re.search(r"tps = ([\d.]+)", out).group(1))
    return {"tps": round(tps, 1), "transactions": n, "cpu_us": round((ended_s(pid) - before) * 1e6 / n, 3)}


def interval(values, draws=4000):
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(draws * 0.025)], medians[int(draws * 0.975)]


def ratios(rows, workload, what):
    """with / without - 1, of each pair."""
    pairs = {}
    for r in rows:
        if r["workload"] == workload:
            pairs.setdefault(r["pair"], {})[r["gate"]] = r[what]
    return [math.expm1(math.log(p[True] / p[False])) for p in pairs.values() if len(p) == 2]


def table(rows):
    yield "| workload | pairs | tps without | tps with | rate | processor time per transaction |"
    yield "|---|---|---|---|---|---|"
    for workload in WORKLOADS:
        cells = []
        for what in ("tps", "cpu_us"):
            found = ratios(rows, workload, what)
            low, high = interval(found)
            cells.append(f"{statistics.median(found):+.2%} ({low:+.2%} to {high:+.2%})")
        tps = [statistics.median(r["tps"] for r in rows if r["workload"] == workload and r["gate"] is gate)
               for gate in (False, True)]
        yield f"| {workload} | {len(found)} | {tps[0]:.0f} | {tps[1]:.0f} | {cells[0]} | {cells[1]} |"


def worst(rows):
    return max(s * statistics.median(ratios(rows, w, what)) for w in WORKLOADS
               for what, s in (("tps", -1), ("cpu_us", 1)))


def measure(pairs, seconds, raw):
    base = tempfile.mkdtemp(prefix="pgha-gate-cost-", dir="/dev/shm")
    os.chmod(base, 0o755)
    making, page, s, rows = conftest._template.__wrapped__(), Page(), None, []
    try:
        path = os.path.join(base, "pg")
        os.mkdir(path)
        s = Server(path, next(making), page).start()
        pgbench(s, "-i", "-q", "-s", str(SCALE))
        for pair in range(pairs):
            for gate in random.sample((True, False), 2):
                start(s, gate)
                for workload, flag in WORKLOADS.items():
                    rows.append({"pair": pair, "workload": workload, "gate": gate, **run(s, flag, seconds)})
                    raw.write(json.dumps(rows[-1]) + "\n")
                    raw.flush()
    finally:
        if s:
            s.close()
        page.close()
        making.close()
        shutil.rmtree(base, ignore_errors=True)
    return rows


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=40, help="pairs of each workload")
    p.add_argument("--seconds", type=int, default=3, help="of one run")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = os.path.join(RESULTS, time.strftime("gate-cost-%Y%m%dT%H%M%SZ.jsonl", time.gmtime()))
    load = os.getloadavg()[0]
    with open(path, "w", encoding="utf-8") as raw:
        rows = measure(a.n, a.seconds, raw)
    text = "\n".join([
        "# What the commit gate costs", "",
        f"pgbench, {CLIENTS} clients, scale {SCALE}, no fsync, runs of {a.seconds} s in turns; {os.cpu_count()} "
        f"processors, load average {load:.1f} at the beginning. Median over the pairs of with / without, and in "
        "brackets its interval of 95 %.", "", *table(rows)]) + "\n"
    with open(path[:-6] + ".md", "w", encoding="utf-8") as f:
        f.write(text)
    print(text + f"\nraw data: {os.path.relpath(path, ROOT)}")
    return 1 if worst(rows) > BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
