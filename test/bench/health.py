#!/usr/bin/env python3
"""How many health requests a member answers, at rest and while its cluster fails over.

    make bench-health [N=5] [SUBJECTS=pghad,patroni-4-tuned] [RUN=latest]

Runs inside test/lib/sandbox.py, on the real API server. wrk asks over 64 connections, as fast as it is answered, on
the processors that the members use as well. The subjects take turns. While a cluster fails over, its two standbys
are asked at once, one of which is promoted; what is asked is /liveness, that no change of role makes a 503 of.

Raw data, an object per line, replaces test/bench/results/health-RUN.jsonl; health_report.py makes the table of
docs/performance.md from it.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.dirname(os.path.abspath(__file__))]

import bench  # noqa: E402

CONNECTIONS, SECONDS = 64, 10
FAULT_AFTER_S = 2
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "health.lua")


def ask(member, path, closing):
    """{"per_s", "p50_ms", "p99_ms", "max_ms", "unanswered", "cut", "not_2xx"} of one member."""
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{SECONDS}s", "--timeout", "10s", "-s", SCRIPT]
    if closing:
        command += ["-H", "Connection: close"]
    r = subprocess.run([*command, f"http://{member.ip}:8008{path}"], capture_output=True, text=True,
                       timeout=SECONDS + 30)
    if r.returncode != 0:
        raise RuntimeError(f"wrk: {r.stderr.strip()}")
    found = json.loads(r.stdout.strip().splitlines()[-1])
    return {"per_s": round(found["requests"] / found["us"] * 1e6),
            **{f"{q}_ms": round(found[f"{q}_us"] / 1000, 3) for q in ("p50", "p99", "max")},
            **{what: found[what] for what in ("unanswered", "cut", "not_2xx")}}


def at_rest(s, closing):
    return [ask(s.wait_healthy(), "/readiness", closing)]


def failing_over(s):
    """Of both members that stay; PostgreSQL of the third is killed meanwhile. A peer may start it again in place, and
    pghad promotes it anew there where it has WAL that nobody received: "took_over" tells."""
    old = s.wait_healthy()
    before = old.timeline()
    with concurrent.futures.ThreadPoolExecutor(len(s.members)) as pool:
        jobs = [pool.submit(ask, m, "/liveness", False) for m in s.members if m is not old]
        time.sleep(FAULT_AFTER_S)  # ok: the fault falls while they are asked
        s.postgres_killed(old)
        rows = [job.result() for job in jobs]
    new = s.wait_healthy()
    assert s.peer or new.timeline() > before, "nobody was promoted"
    return [{**row, "took_over": new is not old} for row in rows]


CONDITIONS = {"keep-alive": lambda s: at_rest(s, False), "closing": lambda s: at_rest(s, True),
              "failing over": failing_over}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=5, help="turns of every subject in every condition")
    p.add_argument("--subjects", default="pghad,patroni-4-tuned")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    absent = {}
    subjects = bench.build_subjects(a.subjects.split(","), absent)
    with bench.session("health", a.out, absent=absent, connections=CONNECTIONS, seconds=SECONDS) as run:
        run.start(subjects)
        try:
            for k in range(a.n):
                for condition, measure in CONDITIONS.items():
                    for s in subjects:
                        for row in measure(s):
                            run.note("health", subject=s.name, condition=condition, turn=k, **row)
                            print(f"  {condition:<12} {s.title:<24} {row['per_s']:>7} /s   p50 {row['p50_ms']} ms   "
                                  f"p99 {row['p99_ms']} ms   unanswered {row['unanswered']}", flush=True)
        except BaseException:
            for s in subjects:
                run.save(s)
            raise
        finally:
            for s in subjects:
                s.stop()
    for what, why in absent.items():
        print(f"  {what}: not measured: {why}")


if __name__ == "__main__":
    main()
