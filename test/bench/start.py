#!/usr/bin/env python3
"""What pghad costs in an image and at the start of its containers.

    make bench-start [N=20] [RUN=latest]

Runs inside test/lib/sandbox.py, on the real API server. From the start of the containers of a cluster that has data
to the first commit that a client hears of: after all were stopped, and after all were killed. A kubelet's and a
container runtime's own time are not in it. Then the size of the programs and of the image's layer with them, and how
long a build from nothing takes.

Raw data, an object per line, replaces test/bench/results/start-RUN.jsonl; start_report.py makes the tables of
docs/performance.md from it.
"""
import argparse
import concurrent.futures
import gzip
import json
import os
import shutil
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.dirname(os.path.abspath(__file__))]

import bench  # noqa: E402
import wait  # noqa: E402
from member import BUILD  # noqa: E402
from subject import Load, Pghad  # noqa: E402

BACK_S, WHOLE_S = 60, 120  # bounds, never a measure
BUILDS = 3


class Sized(Pghad):
    def __init__(self, number, size):
        # Nobody can confirm anything to the only member.
        options = {"replication.mode": "async"} if size == 1 else {"postgres.parameters": json.dumps({})}
        super().__init__(f"start-{size}", f"{size} members", number, options=options)
        self.size = size


def at_once(f, members):
    with concurrent.futures.ThreadPoolExecutor(len(members)) as pool:
        for job in [pool.submit(f, m) for m in members]:
            job.result()


def start_again(s, number, end):
    """ms from the start of the containers to the first acknowledgement."""
    stem = os.path.join(s.dir, f"writer-{number}")
    os.makedirs(stem)
    s.wait_healthy()
    with Load(s, stem) as load:
        at_once(end, s.members)
        began = wait.boot_us()
        at_once(lambda m: m.start(), s.members)
        load.direct.wait_writes(BACK_S, began, what="writes after the start")
        first = next(b for a, b in load.history().silences(began) if b > began)
        new = s.wait_healthy()
    bench.check_safe(s.title, load.verdict(new, False))
    shutil.rmtree(stem)
    return round((first - began) / 1000, 1)


ENDS = {"stopped": lambda m: m.terminate(), "killed": lambda m: m.kill()}


def starts(run, n):
    for number, size in enumerate((1, 3)):
        s = Sized(number, size)
        run.start([s])
        try:
            for k in range(n):
                for end, f in ENDS.items():
                    ms = start_again(s, f"{end}-{k}", f)
                    run.note("start", members=size, end=end, ms=ms)
                    print(f"  {size} members, {end:<8} {k + 1:>3} {ms:>9.1f} ms", flush=True)
        except BaseException:
            run.save(s)
            raise
        finally:
            s.stop()


def sizes(directory):
    """Bytes of each program without symbols, of the layer, and the packages that it needs beside PostgreSQL's."""
    programs = {}
    for name in ("pghad", "pghad-agent", "hactl"):
        path = os.path.join(directory, name)
        subprocess.run(["strip", "-o", path, os.path.join(BUILD, name)], check=True)
        programs[name] = os.path.getsize(path)
    packed = subprocess.run(["tar", "-C", directory, "-c", *programs], check=True, capture_output=True).stdout
    wanted = subprocess.run([os.path.join(ROOT, "tools", "runtime-packages"),
                             *(os.path.join(BUILD, p) for p in programs)],
                            check=True, capture_output=True, text=True).stdout.split()
    return {"programs": programs, "layer": len(packed), "compressed": len(gzip.compress(packed)), "packages": wanted}


def build_s(directory):
    """Seconds of a build from nothing, as README tells it, on all processors."""
    tree = os.path.join(directory, "tree")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", "build", "bin", "results", "__pycache__"))
    began = wait.boot_s()
    subprocess.run(["make", "-C", tree, f"-j{os.cpu_count()}"], check=True, capture_output=True)
    took = wait.boot_s() - began
    shutil.rmtree(tree)
    return round(took, 1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=20, help="starts of each kind")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    with bench.session("start", a.out) as run:
        starts(run, a.n)
    work = os.path.join(run.dir, "sizes")
    os.makedirs(work)
    run.note("sizes", **sizes(work))
    for _ in range(BUILDS):
        run.note("build", seconds=build_s(run.dir))


if __name__ == "__main__":
    try:
        main()
    except bench.Unsafe as e:
        sys.exit(f"bench-start: SAFETY VIOLATED, no figure of this run counts: {e}")
