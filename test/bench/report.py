#!/usr/bin/env python3
"""Writes the generated parts of docs/performance.md, and its plots, from the raw data of one run.

    make bench-report [RUN=latest]        report.py --check: fails where they differ from the data

Every figure of these parts comes from test/bench/results/bench-RUN.jsonl and has its number of episodes.
"""
import argparse
import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import figures  # noqa: E402
import growth_report  # noqa: E402
import health_report  # noqa: E402
import load_report  # noqa: E402
import phases  # noqa: E402
import plots  # noqa: E402
import scale_report  # noqa: E402
import start_report  # noqa: E402
import stats  # noqa: E402

RESULTS = os.path.join(ROOT, "test", "bench", "results")
PAGE = os.path.join(ROOT, "docs", "performance.md")
PLOTS = os.path.join(ROOT, "docs", "performance")
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end of generated -->)", re.S)
PLOTTED = ("P1", "P2", "P3", "P4")
BUSY_PERCENT = 10
SHORT = 5  # below so many episodes no interval is given
# Peers that are compared with first; what else was measured has tables of its own.
FIRST = ("patroni-3-default", "patroni-3-tuned", "patroni-4-default", "patroni-4-tuned")


def ms(v):
    return f"{v / 1000:.2f} s" if v >= 1000 else f"{v:.0f} ms"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def limit(medians):
    """When clients were served again, of [(ms, order, phase)]."""
    return next(at for at, _, phase in medians if phase == "first_commit")


class Report:
    def __init__(self, path):
        self.path = path
        self.rows = figures.load(path)
        self.scale, self.load, self.health, self.growth, self.starts = (
            scale_report.load(os.path.join(RESULTS, os.path.basename(path).replace("bench-", f"{kind}-", 1)))
            for kind in ("scale", "load", "health", "growth", "start"))
        self.subjects = figures.subjects(self.rows)
        self.absent = {k: v for r in self.rows if r["what"] == "session"
                       for k, v in r["absent"].items() if k not in self.subjects}

    def _title(self, name):
        return self.subjects[name]["title"]

    def values(self, subject, metric):
        return figures.values(self.rows, subject, metric)

    # Parts.

    def overview(self):
        own = [s for s, row in self.subjects.items() if not row["peer"]]
        return self._busy().lstrip() + "\n" + \
            self._overview([*own, *self._peers(True)], [a for a in self.absent if a in FIRST]) + \
            "\nMedians. " + self._not_installed()

    def overview_others(self):
        return self._overview([*self._own(), *self._peers(False)], [a for a in self.absent if a not in FIRST])

    def _own(self):
        """What stood beside peers and is held against them."""
        return [s for s in ("pghad",) if s in self.subjects]

    def _peers(self, first):
        return [s for s, row in self.subjects.items() if row["peer"] and (s in FIRST) == first]

    def _overview(self, subjects, absent):
        head = ["", "what", "goal", "floor", *(self._title(s) for s in subjects), *absent]
        rows = []
        for metric, (title, goal, floor) in figures.METRICS.items():
            cells = []
            for s in subjects:
                v = self.values(s, metric)
                cells.append(f"**{ms(stats.median(v))}** (n={len(v)})" if v else self._nothing(s, metric))
            cells += ["not installed here" for _ in absent]
            rows.append([metric, title, goal, floor, *cells])
        for metric, (title, goal, form) in figures.REST.items():
            found = [figures.at_rest(self.rows, s).get(metric) for s in subjects]
            rows.append([metric[:2], title, goal, "",
                         *("not measured" if v is None else f"**{form.format(v)}**" for v in found),
                         *("not installed here" for _ in absent)])
        return table(head, rows)

    def _nothing(self, subject, metric):
        """Why there is no figure: nobody looked, or such a thing does not happen there."""
        found = figures.episodes(self.rows, subject, *figures.SOURCES[metric])
        return f"does not arise (n={len(found)})" if found else "not measured"

    def _not_installed(self):
        return "".join(f"{name}: {why}. " for name, why in self.absent.items()) + "\n"

    def detail(self):
        rows = []
        for metric, (title, _, _) in figures.METRICS.items():
            for s in self.subjects:
                v = self.values(s, metric)
                if not v:
                    continue
                q = stats.summary(v)
                interval = f"{ms(q['p50_low'])} to {ms(q['p50_high'])}" if "p50_low" in q else \
                    f"n < {SHORT}"
                rows.append([f"{metric} {title}", self._title(s), str(q["n"]), ms(q["p50"]), interval,
                             ms(q["p95"]), ms(q["p99"]) if "p99" in q else "n < 500", ms(q["max"])])
        return table(["metric", "of", "n", "p50", "95 % interval of p50", "p95", "p99", "max"], rows)

    def ratios(self):
        own = [s for s, row in self.subjects.items() if not row["peer"] and s != "pghad"]
        return self._ratios([*own, *self._peers(True)])

    def ratios_others(self):
        return self._ratios(self._peers(False))

    def _ratios(self, subjects):
        rows = []
        for metric, (title, _, _) in figures.METRICS.items():
            own = self.values("pghad", metric)
            if own and stats.median(own) == 0:
                continue  # nothing is a multiple of it
            cells = []
            for s in subjects:
                v = self.values(s, metric)
                if not v or not own:
                    cells.append("")
                    continue
                value, interval = stats.ratio(v, own)
                cells.append(f"{value:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})"
                                               if interval else ""))
            rows.append([f"{metric} {title}", *cells])
        own = figures.at_rest(self.rows, "pghad")
        for metric, (title, _, _) in figures.REST.items():
            found = [figures.at_rest(self.rows, s) for s in subjects]
            rows.append([f"{metric[:2]} {title}",
                         *(f"{v[metric] / own[metric]:.1f}" if v and own else "" for v in found)])
        return table(["the column / pghad", *map(self._title, subjects)], rows)

    def safety(self):
        rows = []
        for s in self.subjects:
            found = [r for r in self.rows if r["what"] == "episode" and r["subject"] == s]
            acknowledged = sum(r.get("acknowledged", 0) for r in found)
            bad = figures.violations(self.rows, s)
            rows.append([self._title(s), str(len(found)), str(acknowledged),
                         ", ".join(f"{v} {k}" for k, v in bad.items()) or "none"])
        return table(["of", "episodes", "rows acknowledged", "rows lost, overlaps, failed episodes"],
                     rows)

    def at_rest(self):
        rows = []
        for s in self.subjects:
            found = [r for r in self.rows if r["what"] == "rest" and r["subject"] == s]
            if not found:
                continue
            r = found[-1]
            v = figures.at_rest(self.rows, s)
            private = sum(m["private_kb"] for m in r["members"].values()) / len(r["members"]) / 1024
            asked = ", ".join(f"{n} {what}" for what, n in sorted(r["requests"].items()))
            rows.append([self._title(s), *(figures.REST[k][2].format(v[k]) for k in figures.REST),
                         f"{private:.1f} MB", asked])
        return table(["of", *(figures.REST[k][0] for k in figures.REST), "private memory",
                      "asked of the API in a minute"], rows)

    def _by_itself(self, metric):
        """pghad's episodes without the noise of peers, where there are such."""
        return figures.episodes(self.rows, f"pghad{figures.BY_ITSELF}", metric) or \
            figures.episodes(self.rows, "pghad", metric)

    def _median_steps(self, metric):
        found = self._by_itself(metric)
        if not found:
            return None, []
        e = figures.median_episode(found)
        return e, figures.steps(e, phases.ORDER)

    def made_of(self):
        """Medians over all episodes, not of one: when each phase came, and what it took since the one
        before."""
        out = []
        for metric in PLOTTED:
            found = self._by_itself(metric)
            if not found:
                continue
            medians = sorted((stats.median(at), phases.ORDER.index(phase), phase)
                             for phase in phases.ORDER if phase != "fault"
                             for at in [[e["phases_ms"][phase] for e in found
                                         if phase in e["phases_ms"]]] if len(at) * 2 >= len(found))
            rows, last = [], None
            for at, _, phase in medians:
                step = f"{at - last:+.0f} ms" if last is not None else ""
                # What comes after the clients have been served is no part of their waiting.
                if last is None or last < limit(medians) or phase in ("label", "slice"):
                    rows.append([phases.WORDS[phase], f"{at:.0f} ms", step])
                last = at
            title = figures.METRICS[metric][0] if metric != "P3" else "member killed"
            out.append(f"{metric}, {title}, n={len(found)}, since the last acknowledgement:\n\n" +
                       table(["phase", "median", "since the one before"], rows))
        return "\n".join(out)

    def settings(self):
        rows = [[s["title"], "; ".join(f"{k}: {v}" for k, v in s["settings"].items()), s["build"]]
                for s in self.subjects.values()]
        return table(["of", "settings", "build"], rows)

    def machine(self):
        rows = []
        sessions = {r["session"]: r for r in self.rows if r["what"] == "session"}
        for r in (r for r in self.rows if r["what"] == "noise"):
            s = sessions[r["session"]]
            rows.append([s["at"], s["commit"], r["when"], f"{r['spin_lost_percent']} %",
                         f"{r['spin_longest_ms']} ms", f"{r['flush_p50_ms']} ms",
                         f"{r['flush_p95_ms']} ms", f"{r['load'][0]}"])
        busy = [e["stolen_percent"] for e in self.rows if e.get("what") == "episode" and
                "stolen_percent" in e]
        note = self._busy()
        if busy:
            note += f"\nStolen by the host during episodes: at most {max(busy)} % of both processors.\n"
        return table(["session", "commit", "when", "lost to others", "longest", "flush p50", "p95",
                      "load"], rows) + note

    def _busy(self):
        """A warning where others worked on the machine meanwhile."""
        quiet = [r["spin_lost_percent"] < BUSY_PERCENT for r in self.rows if r["what"] == "noise"]
        if all(quiet):
            return ""
        return (f"\n**The machine was not quiet**: {quiet.count(False)} of {len(quiet)} looks found more "
                f"than {BUSY_PERCENT} % of a processor taken by others. Figures of those sessions are upper "
                "bounds: they compare the columns with one another, no more.\n")

    def pictures(self):
        lines = []
        for name in sorted(set(self.plots()) - set(self.other_plots())):
            lines.append(f"![{name[:-4]}](performance/{name})\n")
        return "\n".join(lines)

    def plots(self):
        """{file name: SVG}"""
        made = {}
        for metric in PLOTTED:
            series = [(self._title(s), self.values(s, metric)) for s in self.subjects]
            series = [(label, v) for label, v in series if v]
            if series:
                made[f"{metric}.svg"] = plots.distribution(
                    f"{metric}: {figures.METRICS[metric][0]}, logarithmic", series)
            e, steps = self._median_steps(metric)
            if steps:
                made[f"{metric}-episode.svg"] = plots.timeline(
                    f"{metric}: the median episode of pghad, {e['gap_ms']:.0f} ms", steps,
                    phases.WORDS)
        return {**made, **self.other_plots()}

    def other_plots(self):
        return {**scale_report.drawings(self.scale), **growth_report.drawings(self.growth)}

    def page(self, text):
        parts = {"overview": self.overview, "overview-others": self.overview_others,
                 "ratios-others": self.ratios_others, "detail": self.detail, "ratios": self.ratios,
                 "safety": self.safety, "at-rest": self.at_rest, "made-of": self.made_of,
                 "settings": self.settings, "machine": self.machine, "pictures": self.pictures,
                 "source": lambda: f"`{os.path.relpath(self.path, ROOT)}`\n",
                 "load": lambda: load_report.overview(self.load, table),
                 "health": lambda: health_report.overview(self.health, table),
                 "growth": lambda: growth_report.overview(self.growth, table),
                 "growth-pictures": lambda: growth_report.pictures(self.growth),
                 "starts": lambda: start_report.starts(self.starts, table),
                 "sizes": lambda: start_report.sizes(self.starts, table),
                 "scale-members": lambda: scale_report.members(self.scale, table),
                 "scale-clusters": lambda: scale_report.clusters(self.scale, table),
                 "scale-pictures": lambda: scale_report.pictures(self.scale)}
        return PART.sub(lambda m: m[1] + parts[m[2]]() + m[3], text)

    def files(self):
        """{path: content} of everything generated."""
        with open(PAGE) as f:
            made = {PAGE: self.page(f.read())}
        made.update({os.path.join(PLOTS, n): svg for n, svg in self.plots().items()})
        return made


def differs(path, text):
    try:
        with open(path) as f:
            return f.read() != text
    except FileNotFoundError:
        return True


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", default="latest")
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    made = Report(os.path.join(RESULTS, f"bench-{a.run}.jsonl")).files()
    old = [path for path, text in made.items() if differs(path, text)]
    if a.check:
        if old:
            sys.exit("report: run make bench-report: " +
                     ", ".join(os.path.relpath(path, ROOT) for path in old))
        print(f"report: {len(made)} files agree with the raw data")
        return
    os.makedirs(PLOTS, exist_ok=True)
    for path in old:
        with open(path, "w") as f:
            f.write(made[path])
    print(f"report: {len(old)} of {len(made)} files written")


if __name__ == "__main__":
    main()
