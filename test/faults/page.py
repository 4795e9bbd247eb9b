#!/usr/bin/env python3
"""docs/faults.md from the catalogue of faults and the kept results of their scenarios.

    python3 test/faults/page.py write      take in new results (build/fault-results.jsonl, random episodes),
                                           write the page
    python3 test/faults/page.py check      exit code 1 and what is wrong: a row without a scenario that
                                           exists, or a page that is not made of what is there now

Scenarios leave a line in build/fault-results.jsonl each time they run (test/lib/results.py).
"""
import ast
import glob
import json
import os
import re
import statistics
import sys

import yaml

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CATALOGUE = os.path.join(ROOT, "test", "faults", "catalogue.yaml")
RESULTS = os.path.join(ROOT, "test", "faults", "results.json")
NEW = os.path.join(ROOT, "build", "fault-results.jsonl")
PAGE = os.path.join(ROOT, "docs", "faults.md")
EPISODES = os.path.join(ROOT, "test", "bench", "results", "chaos-*.jsonl")
RANDOM = "lib/faultkinds"  # begins the names of their files
ROWS = 86
KEYS = {"n", "fault", "injection", "expected", "by", "limit", "open"}
LONGEST = 97


def catalogue(path=CATALOGUE):
    with open(path, encoding="utf-8") as f:
        return yaml.safe_load(f)["areas"]


def all_rows(areas):
    return [row for area in areas for row in area["rows"]]


# Scenarios.

def names_of(path):
    """What may stand behind "::" for a file: functions and titles in Python, words elsewhere."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if not path.endswith(".py"):
        return set(re.findall(r"\w+", text))
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
            found.update(str(a.value) for d in node.decorator_list if isinstance(d, ast.Call)
                         for a in d.args if isinstance(a, ast.Constant))
        elif isinstance(node, ast.Dict):  # tables of rules, by name
            found.update(str(k.value) for k in node.keys if isinstance(k, ast.Constant))
    return found


def faults_of(areas, root=ROOT):
    """Everything that is wrong with the catalogue, as lines."""
    rows, known, bad = all_rows(areas), {}, []
    numbers = [row.get("n") for row in rows]
    if sorted(numbers) != list(range(1, len(rows) + 1)) or len(rows) < ROWS:
        bad.append(f"rows are not numbered 1 to {ROWS} or beyond, each once")
    for row in rows:
        at = f"row {row.get('n')}"
        if set(row) - KEYS:
            bad.append(f"{at}: unknown keys {sorted(set(row) - KEYS)}")
        bad += [f"{at}: no {k}" for k in ("fault", "injection", "expected") if not row.get(k)]
        if not (row.get("by") or row.get("limit") or row.get("open")):
            bad.append(f"{at}: no scenario, and no reason why there is none")
        for ref in row.get("by") or ():
            file, _, name = ref.partition("::")
            path = os.path.join(root, "test", file)
            if path not in known:
                known[path] = names_of(path) if os.path.isfile(path) else None
            if known[path] is None:
                bad.append(f"{at}: no file {file}")
            elif name not in known[path]:
                bad.append(f"{at}: {file} has no {name}")
    return bad


# Results: {reference: {"runs": n, "failed": n, "last": "passed", "at": date, "on": back end, "gaps": [...]}}

def load_results(path=RESULTS):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


GAPS_KEPT = 200


def take_in(results, lines):
    """Adds the results of single runs, JSON lines with scenario, result, at, on and perhaps gap_ms."""
    for line in lines:
        new = json.loads(line)
        kept = results.setdefault(new["scenario"], {"runs": 0, "failed": 0, "gaps": []})
        kept["runs"] += 1
        kept["failed"] += new["result"] != "passed"
        kept["last"], kept["at"], kept["on"] = new["result"], new["at"][:10], new["on"]
        if new.get("gap_ms") is not None:
            kept["gaps"] = (kept["gaps"] + [round(new["gap_ms"])])[-GAPS_KEPT:]
    return results


def result_of(row, results):
    """Cells: last result, runs, gap p50, gap max, over all scenarios of the row."""
    found = [results[ref] for ref in row.get("by") or () if ref in results]
    if not found:
        return "not run here", "", "", ""
    worst = next((f for f in found if f["last"] != "passed"), max(found, key=lambda f: f["at"]))
    runs, failed = sum(f["runs"] for f in found), sum(f["failed"] for f in found)
    gaps = [g for f in found for g in f["gaps"]]
    return (f"{worst['last']} {worst['at']}", f"{runs}" + (f", {failed} failed" if failed else ""),
            f"{statistics.median(gaps) / 1000:.1f}" if gaps else "",
            f"{max(gaps) / 1000:.1f}" if gaps else "")


# The page.

def wrapped(text, first="", then=""):
    """Lines of at most LONGEST characters; what is between backticks stays in one piece."""
    lines, line = [], first
    for word in re.findall(r"`[^`]*`\S*|\S+", " ".join(text.split())):
        if len(line) + 1 + len(word) > LONGEST and line.strip():
            lines.append(line)
            line = then + word
        else:
            line += ("" if line in (first, then) else " ") + word
    return lines + [line]


def kinds(ref):
    file = ref.partition("::")[0]
    return ("simulator" if file.startswith("sim/") else "kind" if file.startswith("kind/") else
            "guard" if file.startswith("guard/") else "core" if file.startswith("exhaustive/") else
            "random episodes" if file.startswith(RANDOM) else "bench-fence" if file.startswith("bench/fence") else "")


def render(areas, results):
    rows = all_rows(areas)
    automated = [r for r in rows if r.get("by")]
    missing = [r for r in rows if r.get("open")]
    yield "# Faults"
    yield ""
    yield "Generated by `make faults` from `test/faults`; do not edit."
    yield ""
    yield from wrapped(
        f"What can go wrong with PostgreSQL on Kubernetes, how it is made to happen, and what must come of it: "
        f"{len(rows)} faults. {len(automated)} have automated scenarios; for {len(missing)} something is still "
        "missing, and it is said what. Where one machine cannot produce all of a fault, the reason is given.")
    yield ""
    yield from wrapped(
        "Every scenario ends with the same assertions: no acknowledged row lost, no row that nobody wrote, no two "
        "writers, everybody healthy on one timeline. Scenarios on kind and those of the simulator are not recorded "
        "here: `make kind-chaos` and `make sim-report` have tables of their own. Runs are those of scenarios and of "
        "random episodes (`make chaos`), which have one to three faults at once. The gap is the longest silence of a "
        "client that writes every 5 ms, in seconds, over the recorded runs of all scenarios of the row; it holds what "
        "the scenario waits for on purpose, an outage of 60 s for example. Lease 5 s.")
    yield ""
    yield "## Results"
    for area in areas:
        yield ""
        yield f"### {area['title']}"
        yield ""
        yield "| # | fault | expected | last result | runs | gap p50 | gap max |"
        yield "|---|---|---|---|---|---|---|"
        for row in area["rows"]:
            last, runs, p50, most = result_of(row, results)
            if not row.get("by"):
                last = "open" if row.get("open") else "not on one machine"
            elif last == "not run here" and all(kinds(ref) for ref in row["by"]):
                last = "by " + ", ".join(sorted({kinds(ref) for ref in row["by"]}))
            yield (f"| [{row['n']}](#fault-{row['n']}) | {row['fault']} | {row['expected']} | {last} | {runs} "
                   f"| {p50} | {most} |")
    yield ""
    yield "## How"
    for row in rows:
        yield ""
        yield f"#### Fault {row['n']}"
        yield ""
        yield from wrapped(f"**{row['fault'][0].upper()}{row['fault'][1:]}.** {row['injection']}.")
        yield ""
        for ref in row.get("by") or ():
            file, _, name = ref.partition("::")
            yield f"* [`{name}`](../test/{file})"
        if row.get("limit"):
            yield from wrapped(row["limit"], "* Not on one machine: ", "  ")
        if row.get("open"):
            yield from wrapped(row["open"], "* Still missing: ", "  ")


def page(areas, results):
    return "\n".join(render(areas, results)) + "\n"


def read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as f:
        return f.read()


def of_random_episodes(areas, paths):
    """The results of the faults that random episodes have, from all that are kept."""
    found = {}
    for path in sorted(paths):
        for r in map(json.loads, read(path).splitlines()):
            for fault in r["faults"]:
                got = found.setdefault(fault, {"runs": 0, "failed": 0, "gaps": []})
                got["runs"] += 1
                got["failed"] += bool(r["violations"])
                got["last"], got["at"], got["on"] = "failed" if r["violations"] else "passed", r["at"][:10], r["on"]
                if r["gap_ms"] is not None:
                    got["gaps"] = (got["gaps"] + [round(r["gap_ms"])])[-GAPS_KEPT:]
    refs = {ref for row in all_rows(areas) for ref in row.get("by") or () if ref.startswith(RANDOM)}
    return {ref: found[title] for ref in refs if (title := ref.partition("::")[2]) in found}


def write():
    results = load_results()
    take_in(results, read(NEW).splitlines())
    results.update(of_random_episodes(catalogue(), glob.glob(EPISODES)))
    with open(RESULTS, "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1, sort_keys=True)
        f.write("\n")
    if os.path.exists(NEW):
        os.unlink(NEW)
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write(page(catalogue(), results))


def main():
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:] != ["check"]:
        sys.exit(__doc__)
    areas = catalogue()
    bad = faults_of(areas)
    if read(PAGE) != page(areas, load_results()):
        bad.append("docs/faults.md is stale: make faults")
    for line in bad:
        print(line)
    print(f"faults: {len(all_rows(areas))} rows, {sum(bool(r.get('open')) for r in all_rows(areas))} open")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
