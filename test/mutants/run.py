#!/usr/bin/env python3
"""Deliberate defects, one at a time, and who notices.

Each entry of the list is applied to a copy of its file; only that file is compiled anew, linked with
the unchanged objects, and shown to the checks of the core and of the peer protocol: rule check, unit
tests, simulator. The first that fails has killed the mutant. A mutant that nobody kills is a hole in
the checks, and the run fails; so does a list whose text is no longer found in the code.

    run.py --cc gcc --build DIR [--only NAME,...] [--layers rules,unit,sim] [--jobs N] [--list]
    run.py --shrink NAME,...   # the simulator finds each and reduces the episode to fewer faults
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

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
LIST = os.path.join(ROOT, "test/mutants/list")
FLAGS = ["-std=gnu17", "-O2", "-w", "-Iinclude", "-Isrc/core", "-Itest/sim", "-Itest/lib",
         "-D_GNU_SOURCE"]
# Unit tests: what is linked with them.
UNITS = {
    "test_core_right": (["core", "base"], []),
    "test_core_acquisition": (["core", "base"], []),
    "test_core_bootstrap": (["core", "base"], []),
    "test_core_election": (["core", "base"], []),
    "test_core_replication": (["core", "base"], []),
    "test_core_handover": (["core", "base"], []),
    "test_core_repair": (["core", "base"], []),
    "test_core_words": (["core", "base"], []),
    "test_core_writer": (["core", "base"], []),
    "test_core_last_writer": (["core", "base"], []),
    "test_core_missing": (["core", "base"], []),
    "test_core_order": (["core", "base"], []),
    "test_core_endpoint": (["core", "base"], []),
    "test_core_early": (["core", "base"], []),
    "test_core_return": (["core", "base"], []),
    "test_peer_versions": (["codec", "base"], ["-ljson-c"]),
}
BASE = ["page", "clock", "fd", "must", "str", "err", "log", "buf", "jw"]

# How far the simulator looks before it gives a mutant up: options, first seed, last seed.
BOUND = [
    ("", 1, 1000), ("--members 2", 1, 600), ("--members 5", 1, 250), ("--strict", 1, 400),
    ("--mode async", 1, 250), ("", 1001, 2000),
]


class Wrong(Exception):
    pass


class Mutant:
    def __init__(self, name, what, line):
        self.name, self.what, self.line = name, what, line
        self.story, self.first = "", ""
        self.edits = []  # [file, old lines, new lines]

    def changed(self):
        """{file: text with the defect}; raises Wrong where the code has moved on."""
        texts = {}
        for path, old, new in self.edits:
            if path not in texts:
                with open(os.path.join(ROOT, path)) as f:
                    texts[path] = f.read()
            old, new = "\n".join(old), "\n".join(new)
            n = texts[path].count(old)
            if n != 1 or not old.strip():
                raise Wrong(f"list:{self.line}: {self.name}: its text occurs {n} times in {path}")
            texts[path] = texts[path].replace(old, new)
        return texts


def read_list(path=LIST):
    mutants = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            key, _, rest = line.partition(" ")
            if not line.strip() or key == "#":
                continue
            if key == "mutant":
                name, _, what = rest.partition(": ")
                mutants.append(Mutant(name, what, number))
            elif key == "story":
                mutants[-1].story = rest
            elif key == "sim":
                mutants[-1].first = rest
            elif key == "in":
                mutants[-1].edits.append([rest, [], []])
            elif line[0] in "-+":
                edit = mutants[-1].edits[-1]
                text = line[2:] if line[1:2] == " " else line[1:]
                edit[1 if line[0] == "-" else 2].append(text)
            else:
                raise Wrong(f"list:{number}: not understood: {line}")
    names = [m.name for m in mutants]
    for m in mutants:
        if not m.edits or names.count(m.name) > 1 or not m.what:
            raise Wrong(f"list:{m.line}: {m.name}: incomplete, or its name is used twice")
    return mutants


class Builder:
    def __init__(self, cc, build):
        self.cc, self.dir = cc, os.path.realpath(build)
        self.parts = {
            "core": self.sources("src/core"),
            "sim": self.sources("test/sim"),
            "rules": ["test/exhaustive/check_rules.c"],
            "codec": ["src/http/peer_codec.c"],
            "base": [f"src/base/{b}.c" for b in BASE],
        }
        for u in UNITS:
            self.parts[u] = [f"test/unit/{u}.c"]

    @staticmethod
    def sources(folder):
        return sorted(f"{folder}/{f}" for f in os.listdir(os.path.join(ROOT, folder))
                      if f.endswith(".c"))

    def run(self, *command):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise Wrong(" ".join(command[-3:]) + ":\n" + done.stderr)

    def object_of(self, source):
        return os.path.join(self.dir, "obj", source.replace("/", "_")[:-2] + ".o")

    def compile(self, source, target, text_in=None):
        include = ["-I" + os.path.dirname(source)]
        self.run(self.cc, *FLAGS, *include, "-c", "-o", target, text_in or source)

    def unchanged(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(os.path.join(self.dir, "obj"))
        sources = sorted(set(sum(self.parts.values(), [])))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda s: self.compile(s, self.object_of(s)), sources))

    def programs(self, where, texts):
        """Links every program that contains one of the changed files; {name: path}."""
        os.makedirs(where, exist_ok=True)
        objects = {}
        for source, text in texts.items():
            copy = os.path.join(where, os.path.basename(source))
            with open(copy, "w") as f:
                f.write(text)
            objects[source] = copy[:-2] + ".o"
            self.compile(source, objects[source], copy)
        programs = {}
        for name, parts in (("rules", ["rules", "core"]), ("sim", ["sim", "core"]),
                            *((u, [u, *UNITS[u][0]]) for u in UNITS)):
            sources = [s for p in parts for s in self.parts[p]]
            if texts and not any(s in texts for s in sources):
                continue
            programs[name] = os.path.join(where, name)
            libs = [*UNITS[name][1], "-lcmocka"] if name in UNITS else []
            self.run(self.cc, "-o", programs[name],
                     *(objects.get(s, self.object_of(s)) for s in sources), *libs)
        return programs


def rules_kill(program):
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return None
    found = re.search(r"UNSAFE (.*?): rule (\S+)|dead rule: (\S+)", done.stdout)
    why = "it crashed" if found is None else \
        f"{found[1]} ({found[2]})" if found[1] else f"dead rule {found[3]}"
    return f"rules: {why}"


def unit_kill(program):
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return None
    failed = re.findall(r"\[  FAILED  \] (\w+)", done.stdout + done.stderr)
    named = [f for f in failed if "__" in f]
    return f"unit: {named[0] if named else 'it crashed'}"


def sim_run(program, options, first, last):
    """(episodes until the first that failed, its words), or (episodes, None)."""
    p = subprocess.Popen([program, "--seeds", f"{first}-{last}", *options.split()],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for line in p.stdout:
            found = re.match(r"seed (\d+): (.*)", line)
            if found:
                return int(found[1]) - first + 1, found[2]
        p.wait()
        return last - first + 1, None if p.returncode == 0 else "it crashed"
    finally:
        p.kill()
        p.wait()


def sim_kill(program, hint, bound, sound=None):
    """An episode that the sound program does not pass either proves nothing: it is skipped."""
    seeds = 0
    for options, first, last in sorted(bound, key=lambda b: b[0] != hint) if hint else bound:
        while first <= last:
            n, words = sim_run(program, options, first, last)
            seeds += n
            first += n
            if not words:
                continue
            if sound and sim_run(sound, options, first - 1, first - 1)[1]:
                continue
            return f"sim {options}".strip() + f": seed {seeds}: " + \
                re.sub(r"at \d+: ", "", words)[:70]
    return None


def examine(builder, mutant, layers, bound, sound):
    start = time.monotonic()
    where = os.path.join(builder.dir, mutant.name)
    try:
        programs = builder.programs(where, mutant.changed())
        by = None
        if "rules" in layers and "rules" in programs:
            by = rules_kill(programs["rules"])
        for u in UNITS:
            if by is None and "unit" in layers and u in programs:
                by = unit_kill(programs[u])
        if by is None and "sim" in layers and "sim" in programs:
            by = sim_kill(programs["sim"], mutant.first, bound, sound)
        return by, time.monotonic() - start
    finally:
        shutil.rmtree(where, ignore_errors=True)


def shrink(builder, mutant, bound):
    """Words of the reduced episode; raises Wrong unless it breaks the same promise with fewer faults."""
    where = os.path.join(builder.dir, mutant.name)
    try:
        program = builder.programs(where, mutant.changed())["sim"]
        for options, first, last in bound:
            n, words = sim_run(program, options, first, last)
            if words:
                break
        else:
            raise Wrong(f"{mutant.name}: the simulator does not find it")
        done = subprocess.run([program, "--shrink", str(first + n - 1), *options.split()],
                              capture_output=True, text=True, timeout=300)
        told = re.match(r"(.*): (\d+) faults of (\d+) are left.*found in (\d+) runs", done.stdout)
        if done.returncode != 0 or told is None:
            raise Wrong(f"{mutant.name}: seed {first + n - 1} was not reduced:\n{done.stdout[:2000]}")
        promise, left, before = told[1], int(told[2]), int(told[3])
        if not words.startswith(promise) or f"VIOLATION {promise}" not in done.stdout:
            raise Wrong(f"{mutant.name}: {words!r} was reduced to another violation: {promise}")
        if left > 4 or (before > 4 and left >= before):
            raise Wrong(f"{mutant.name}: {left} of {before} faults are left")
        return f"{promise}: {left} of {before} faults, {told[4]} runs"
    finally:
        shutil.rmtree(where, ignore_errors=True)


def control(builder):
    """The checks must pass without a defect, or their failures mean nothing."""
    programs = builder.programs(os.path.join(builder.dir, "control"), {})
    found = rules_kill(programs["rules"])
    for u in UNITS:
        found = found or unit_kill(programs[u])
    found = found or sim_kill(programs["sim"], "", [("", 1, 60), ("--members 2", 1, 60)])
    if found:
        raise Wrong(f"the code fails without any defect: {found}")
    return programs["sim"]


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--cc", default="gcc")
    a.add_argument("--build", default=os.path.join(ROOT, "build/mutants"))
    a.add_argument("--only", default="")
    a.add_argument("--layers", default="rules,unit,sim")
    a.add_argument("--jobs", type=int, default=2)
    a.add_argument("--list", action="store_true", help="only check the list against the code")
    a.add_argument("--shrink", default="")
    o = a.parse_args()
    mutants = read_list()
    only = [n for n in (o.shrink or o.only).split(",") if n]
    mutants = [m for m in mutants if not only or m.name in only]
    if not mutants:
        raise Wrong("no mutant of that name")
    for m in mutants:
        m.changed()
    if o.list:
        print(f"{len(mutants)} mutants, every one applies")
        return 0
    os.nice(19)
    start = time.monotonic()
    builder = Builder(o.cc, o.build)
    builder.unchanged()
    if o.shrink:
        for m in mutants:
            print(f"{m.name}: {shrink(builder, m, BOUND)}", flush=True)
        return 0
    sound = control(builder)
    print(f"control: the code without a defect passes ({time.monotonic() - start:.0f} s)", flush=True)
    lock, survivors, kills = threading.Lock(), [], {}

    def one(m):
        try:
            by, took = examine(builder, m, o.layers.split(","), BOUND, sound)
        except (Wrong, subprocess.TimeoutExpired) as e:
            by, took = f"error: {e}", 0.0
        with lock:
            layer = by.split()[0].rstrip(":") if by else "SURVIVES"
            kills[layer] = kills.get(layer, 0) + 1
            if by is None or layer == "error":
                survivors.append(m.name)
            story = f" [story {m.story}]" if m.story else ""
            print(f"{m.name}{story}: {m.what}\n    {by or 'SURVIVES'} ({took:.1f} s)", flush=True)

    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        list(pool.map(one, mutants))
    stories = {s for m in mutants for s in m.story.split(", ") if s}
    print(f"{len(mutants)} mutants, {len(stories)} stories, {len(survivors)} survive, "
          f"{time.monotonic() - start:.0f} s; killed by " +
          ", ".join(f"{k} {n}" for k, n in sorted(kills.items())))
    if survivors:
        print("a hole in the checks: " + " ".join(survivors))
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as e:
        print(f"mutants: {e}", file=sys.stderr)
        sys.exit(1)
