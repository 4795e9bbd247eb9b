"""The table and the plot of what a supervisor keeps, from what growth.py has measured."""
import plots
from scale_report import of

NOT_MEASURED = "Not measured yet: `make bench-growth`.\n"
PARTS = ("guard", "agent")


def largest(row, part, key):
    return max(m[part][key] for m in row["members"].values())


def overview(rows, table):
    found = [r for r in of(rows, "memory") if r["settled"]]
    if not found:
        return NOT_MEASURED
    lines = [[f"{r['failovers']:,}", f"{r['probes']:,}",
              *(f"{largest(r, part, 'rss_kb') / 1024:.2f} MB, private {largest(r, part, 'private_kb') / 1024:.2f}"
                for part in PARTS), str(largest(r, "agent", "descriptors"))] for r in found]
    return table(["after failovers", "and health requests", "guard, RSS", "agent, RSS", "its descriptors"], lines) + \
        "\nOf each the largest of three members, at rest.\n"


def drawings(rows):
    """{file name: SVG}"""
    found = [r for r in of(rows, "memory") if not r["settled"]]
    if len(found) < 2:
        return {}
    title = "Memory in MB while failovers follow one another, the largest of three members"
    return {"growth.svg": plots.lines(title, "failovers", [
        (f"{part}, {word}", [(r["failovers"], largest(r, part, key) / 1024) for r in found])
        for part in PARTS for word, key in (("RSS", "rss_kb"), ("private", "private_kb"))])}


def pictures(rows):
    return "\n".join(f"![{name[:-4]}](performance/{name})\n" for name in drawings(rows))
