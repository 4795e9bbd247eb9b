"""The tables of starts and sizes, from what start.py has measured."""
import stats
from load_report import seconds
from scale_report import of

NOT_MEASURED = "Not measured yet: `make bench-start`.\n"


def starts(rows, table):
    lines = []
    for members in (1, 3):
        for end in ("stopped", "killed"):
            ms = [r["ms"] for r in of(rows, "start") if (r["members"], r["end"]) == (members, end)]
            if ms:
                lines.append(["one member" if members == 1 else f"{members} members, at once", end, str(len(ms)),
                              seconds(stats.median(ms)), seconds(stats.quantile(ms, 0.95)), seconds(max(ms))])
    return table(["containers start", "after they were", "n", "first commit, p50", "p95", "max"], lines) \
        if lines else NOT_MEASURED


def _kb(size):
    return f"{size / 1024:.0f} kB"


def sizes(rows, table):
    found, builds = of(rows, "sizes"), [r["seconds"] for r in of(rows, "build")]
    if not found:
        return NOT_MEASURED
    r = found[-1]
    lines = [[f"`{name}`, without symbols", _kb(size)] for name, size in r["programs"].items()]
    lines += [["the image's layer with all three", f"{_kb(r['layer'])}, compressed {_kb(r['compressed'])}"],
              ["packages with libraries that they need", ", ".join(f"`{p}`" for p in r["packages"])]]
    if builds:
        lines.append([f"a build from nothing, {_processors(rows)} processors",
                      f"{stats.median(builds):.0f} s, at most {max(builds):.0f} (n={len(builds)})"])
    return table(["", ""], lines)


def _processors(rows):
    return of(rows, "session")[-1]["cpus"]
