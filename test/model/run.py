#!/usr/bin/env python3
"""Explores every model within its bounds, and shows that each broken variant is rejected.

    run.py --build DIR [--only WORD] [--jobs N]

Every line of test/model/runs is one exploration: the name, the model, "holds" or "rejected", and the
definitions that make the bounds and the defect. All are exhaustive (breadth of every choice, full
states); one that ran out of memory, depth or time is a failure, not a success.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.realpath(os.path.dirname(__file__))
DEPTH, MEGABYTES, SECONDS = 400000, 2900, 280  # of one exploration (of the processor); two run at a time


def read_runs():
    runs = []
    with open(os.path.join(HERE, "runs")) as f:
        for line in f:
            words = line.split("#")[0].split()
            if words:
                runs.append((words[0], words[1], words[2], words[3:]))
    return runs


def command(where, *words):
    done = subprocess.run(words, cwd=where, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(" ".join(words) + ": " + (done.stdout + done.stderr)[:400])


def explore(build, name, model, flags):
    """What pan found: (violation or None, complete, states, depth, seconds)."""
    where = os.path.join(build, name)
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    shutil.copy(os.path.join(HERE, model + ".pml"), where)
    command(where, "spin", "-a", *("-D" + f for f in flags), model + ".pml")
    command(where, "gcc", "-O2", "-w", "-DSAFETY", "-DNOFAIR", "-DVECTORSZ=512",
            f"-DMEMLIM={MEGABYTES}", "-o", "pan", "pan.c")
    start = time.monotonic()
    out = subprocess.run(["prlimit", f"--cpu={SECONDS}", "./pan", "-E", "-n", f"-m{DEPTH}"],
                         cwd=where, capture_output=True, text=True).stdout
    took = time.monotonic() - start
    states = re.search(r"(\d+(?:\.\d+e\+\d+)?) states, stored", out)
    depth = re.search(r"depth reached (\d+)", out)
    broken = re.search(r"pan:\d+: (assertion violated .*?) \(at depth (\d+)\)", out)
    complete = states is not None and "max search depth too small" not in out and \
        "Search not completed" not in out
    words = f"{broken[1]} at depth {broken[2]}" if broken else None
    return words, complete, int(float(states[1])) if states else 0, \
        int(depth[1]) if depth else 0, took


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--build", required=True)
    a.add_argument("--only", default="")
    a.add_argument("--jobs", type=int, default=2)
    o = a.parse_args()
    if shutil.which("spin") is None:
        print("model: no spin: run make deps", file=sys.stderr)
        return 1
    build = os.path.realpath(o.build)
    os.nice(10)
    runs = [r for r in read_runs() if o.only in r[0]]
    lock, bad, total, start = threading.Lock(), [], [0], time.monotonic()

    def one(run):
        name, model, expect, flags = run
        try:
            words, complete, states, depth, took = explore(build, name, model, flags)
        except RuntimeError as e:
            words, complete, states, depth, took = None, False, 0, 0, 0.0
            print(f"{name}: {e}", file=sys.stderr)
        good = words is not None if expect == "rejected" else words is None and complete
        with lock:
            total[0] += states
            if not good:
                bad.append(name)
            verdict = f"rejected: {words}" if words else "holds" if complete else "NOT COMPLETED"
            print(f"{'' if good else 'WRONG '}{name} ({model}, {' '.join(flags)}): {verdict}; "
                  f"{states} states, depth {depth}, {took:.1f} s", flush=True)
        if good:
            shutil.rmtree(os.path.join(build, name), ignore_errors=True)

    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        list(pool.map(one, runs))
    holds = sum(1 for r in runs if r[2] == "holds")
    print(f"{holds} models hold, {len(runs) - holds} broken variants are to be rejected, "
          f"{len(bad)} wrong; {total[0]} states, {time.monotonic() - start:.0f} s")
    return 1 if bad or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
