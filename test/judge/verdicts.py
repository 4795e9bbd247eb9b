#!/usr/bin/env python3
"""make judge: what clients of a cluster under faults saw is linearizable; with a defect it is not.

    verdicts.py --build DIR --make COMMAND [--seed N] [--episodes N] [--only NAME,...]

The same stories are played to the program as it is and to mutants of it, which lack one rule of safety each
and are built from a copy of the sources. The judge must find the first good and every other one broken:
otherwise it is blind. Histories, logs and pictures are kept in build/judge.
"""
import argparse
import fcntl
import glob
import os
import shlex
import shutil
import subprocess
import sys
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.join(ROOT, "test", "mutants")]

import judge  # noqa: E402
import run as mutants  # noqa: E402

KEPT = os.path.join(ROOT, "build", "judge")
OWN = os.path.join(ROOT, "test", "judge", "mutants")
SHOWN = ("w-reports",)  # of test/mutants/list
SOUND = "sound"
ENOUGH = 1000  # reads, and writes, of the sound program
LIMIT_S = 600


def defects():
    listed = [m for m in mutants.read_list() if m.name in SHOWN]
    assert len(listed) == len(SHOWN), f"test/mutants/list lacks one of {SHOWN}"
    return mutants.read_list(OWN) + listed


def build(mutant, programs, make, target):
    """Copies the programs to `target`; pghad-agent is built anew from a copy of the sources with the defect,
    all other objects are those of the sound one."""
    tree = os.path.join(target, "tree")
    relative = os.path.relpath(programs, ROOT)
    for name in ("src", "include", "mk", "tools"):
        shutil.copytree(os.path.join(ROOT, name), os.path.join(tree, name))
    shutil.copy(os.path.join(ROOT, "Makefile"), tree)
    shutil.copytree(os.path.join(programs, "obj"), os.path.join(tree, relative, "obj"))
    for path, text in mutant.changed().items():
        with open(os.path.join(tree, path), "w") as f:
            f.write(text)
    agent = os.path.join(relative, "pghad-agent")
    done = subprocess.run([*make, "-C", tree, "--no-print-directory", "WARN=-w", agent],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise mutants.Wrong(f"{mutant.name} does not build:\n{done.stdout}{done.stderr}")
    shown = os.path.join(target, "programs")
    os.mkdir(shown)
    for path in [p for p in glob.glob(os.path.join(programs, "*")) if os.access(p, os.X_OK)]:
        if os.path.isfile(path):
            shutil.copy(path, shown)
    shutil.copy(os.path.join(tree, agent), shown)
    shutil.rmtree(tree)
    return shown


def play(programs, out, seed, episodes):
    """True when the session came to its end."""
    command = [sys.executable, os.path.join(ROOT, "test/lib/sandbox.py"), "--", sys.executable,
               os.path.join(ROOT, "test/judge/session.py"), "--out", out, "--seed", str(seed),
               "--episodes", str(episodes)]
    env = {**os.environ, "PGHA_BUILD": programs, "PYTHONDONTWRITEBYTECODE": "1"}
    p = subprocess.Popen(command, env=env)
    try:
        return p.wait(LIMIT_S) == 0
    except BaseException as e:
        p.terminate()
        p.wait()
        if isinstance(e, subprocess.TimeoutExpired):
            return False
        raise


def told(v):
    return (f"{v['verdict']}: {v['reads']} reads, {v['writes']} writes, {v['unknown']} unknown, "
            f"{v['failed']} refused on {v['keys']} keys by {v['servers']} servers, "
            f"judged in {v['seconds']:.1f} s")


def examine(name, programs, seed, episodes):
    """What is wrong with the judge or with the program, None for nothing."""
    out = os.path.join(KEPT, name)
    began = time.monotonic()
    if not play(programs, out, seed, episodes):
        return f"the session did not come to its end, see {os.path.relpath(out, ROOT)}/logs/timeline.txt"
    v = judge.check(os.path.join(out, "history.jsonl"), os.path.join(out, "picture.html"),
                    os.path.join(out, "logs", "test.log"))
    print(f"  {told(v)}; {time.monotonic() - began:.0f} s in all", flush=True)
    if v.get("broken"):
        print(f"  picture of {v['broken'][0]}, of {len(v['broken'])} broken keys: "
              f"{os.path.relpath(v['picture'], ROOT)}", flush=True)
    wanted = "linearizable" if name == SOUND else "broken"
    if v["verdict"] != wanted:
        return f"{v['verdict']}, not {wanted}"
    if name == SOUND and (min(v["reads"], v["writes"]) < ENOUGH or v["servers"] < 2):
        return "too little happened for a verdict"
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", required=True, help="directory of the programs")
    p.add_argument("--make", default="make", help="how to build there")
    p.add_argument("--seed", type=int, default=1, help="of the first random episode")
    p.add_argument("--episodes", type=int, default=12)
    p.add_argument("--only", default="", help=f"{SOUND}, or names of mutants")
    a = p.parse_args()
    programs = os.path.realpath(a.build)
    os.makedirs(KEPT, exist_ok=True)
    alone = os.open(KEPT, os.O_RDONLY)
    fcntl.flock(alone, fcntl.LOCK_EX)  # two runs of one tree follow each other
    for name in os.listdir(KEPT):
        shutil.rmtree(os.path.join(KEPT, name))
    wrong = []
    subjects = {SOUND: None, **{m.name: m for m in defects()}}
    for name in a.only.split(",") if a.only else subjects:
        if name not in subjects:
            sys.exit(f"judge: no {name!r}; there are {', '.join(subjects)}")
        m = subjects[name]
        os.makedirs(os.path.join(KEPT, name))
        print(f"{name}: {m.what if m else 'the program as it is, under stories and random faults'}", flush=True)
        shown = build(m, programs, shlex.split(a.make), os.path.join(KEPT, name)) if m else programs
        fault = examine(name, shown, a.seed, 0 if m else a.episodes)
        if fault:
            wrong.append(f"{name}: {fault}")
    for line in wrong:
        print(f"judge: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (mutants.Wrong, judge.NoVerdict) as error:
        sys.exit(f"judge: {error}")
