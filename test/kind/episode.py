"""One fault under load, what a client of the Service saw of it, and the verdict.

A row of the results (build/kind-chaos.jsonl, one JSON object per line) has
    commit, at                 of the product, where git knows it, with + when files differ; the end
    fault, n, lease_s          what, the how manieth in this run, how long others wait for a holder
    load                       of the machine, last minute; its figures beyond its processors mean little
    gap_ms, silent_ms          longest silence of acknowledgements; sum of those over 100 ms
    gap_at_ms                  from the fault to the begin of that longest silence
    steps                      of a random sequence: [name, ms since its begin, ms until it was over]
    proxy_ms                   how much of the gap came after the last change of the endpoints
    own_ms, phases_ms          what the cluster's history says of the same: no write for so long, and why
    container_ms               until kubelet has started the killed container again
    empty_ms, most             longest time without an endpoint, largest number of endpoints at once
    healthy_ms                 from the fault until all members stream again
    acked, unknown, late       rows; late: answers of the old server that were on their way
    moved                      whether another member is primary
    violations                 must be empty
"""
import functools
import json
import os
import time

import checker
import nodes
import wait

RESULTS = os.environ.get("PGHA_KIND_RESULTS",
                         os.path.join(nodes.ROOT, "build", "kind-chaos.jsonl"))
LOGS = os.path.join(nodes.ROOT, "build", "test-logs")
SILENT_US = 100_000
SLACK_MS = 1000  # an endpoint's history comes through the API, a gap from the writer
SETTLE_S = 180


class Episode:
    def __init__(self, cluster, fault, late_ok=False, pod_gone=False, every_ms=5, **_):
        self.c, self.fault, self.every_ms = cluster, fault, every_ms
        self.late_ok, self.pod_gone = late_ok, pod_gone
        self.row = {"fault": fault, "violations": []}
        self.load = self.primary = self.at = None

    def standby(self):
        return self.c.standby()

    def back(self, after_s=0):
        """Waits until rows sent so long after the fault are acknowledged."""
        self.load.wait_writes(SETTLE_S, self.at + int(after_s * 1e6))

    def run(self, inject):
        """Healthy, inject(self), healthy again, verdict. Raises what went wrong, after noting it."""
        c = self.c
        c.wait_healthy(SETTLE_S)
        restarts = {m.name: (m.uid, m.restarts()) for m in c.members}
        c.mark("fault", self.fault)
        self.lease_s, known = c.lease_s(), changes(c)
        try:
            with c.load(every_ms=self.every_ms) as self.load:
                self.primary = c.primary()
                self.at = wait.boot_us()
                self._inject(inject)
                self.end = wait.boot_us()
            self._explain(known)
            if os.environ.get("PGHA_KIND_LOGS"):
                c.save_logs(os.path.join(LOGS, f"kind-{self.fault}-{c.ns}-{int(wait.boot_s())}".replace(" ", "-")))
            self._judge()
        except BaseException as e:
            self.row["violations"].append(f"{type(e).__name__}: {str(e)[:300]}")
            if isinstance(e, KeyboardInterrupt):  # what hangs is interrupted, and must be explained
                c.save_logs(os.path.join(LOGS, f"kind-interrupted-{c.ns}"))
            raise
        finally:
            self._write()
        forgive(c, restarts)
        assert not self.row["violations"], "; ".join(self.row["violations"])
        return self.row

    def _inject(self, inject):
        try:
            inject(self)
            self.load.wait_writes(SETTLE_S)
            p = self.c.wait_healthy(SETTLE_S)
            self.row["healthy_ms"] = (wait.boot_us() - self.at) // 1000
            self.row["moved"] = p is not self.primary
            self.load.wait_writes(30)
        finally:
            self.c.kube.heal()

    def _explain(self, known):
        new = [change for key, change in changes(self.c).items() if key not in known]
        gaps = [change for change in new if change["write_gap_ms"] is not None]
        if gaps:
            longest = max(gaps, key=lambda change: change["write_gap_ms"])
            self.row["own_ms"], self.row["phases_ms"] = longest["write_gap_ms"], longest["phases_ms"]

    def _judge(self):
        row, h, c = self.row, self.load.history(), self.c
        silences = h.silences(self.at)
        begin, back = max(silences, key=lambda s: s[1] - s[0], default=(0, 0))
        row["gap_ms"] = round((back - begin) / 1000, 1)
        row["gap_at_ms"] = (begin - self.at) // 1000
        row["silent_ms"] = round(sum(b - a for a, b in silences if b - a > SILENT_US) / 1000, 1)
        published = [a for a, _, now in c.endpoints.between(begin, back) if now and a > begin]
        if published:
            row["proxy_ms"] = round((back - published[-1]) / 1000, 1)
        row["empty_ms"] = round(c.endpoints.longest_empty_us(self.at, self.end) / 1000, 1)
        row["most"] = c.endpoints.most(self.at, self.end)
        row["acked"], row["unknown"] = len(h.acks), len(h.unknowns)
        overlaps = h.overlaps()
        row["late"] = sum(o["kind"] == "late" for o in overlaps)
        proved = [o for o in overlaps if o["kind"] == "proved" or not self.late_ok]
        if proved:
            row["violations"].append(f"{len(proved)} overlaps, the first: {proved[0]}")
        if row["most"] > 1:
            row["violations"].append(f"{row['most']} endpoints at once")
        # With the pod's object goes its endpoint, while its server goes on for the clients that it has.
        may_be_empty = (back - self.at) / 1000 if self.pod_gone else row["gap_ms"]
        if row["empty_ms"] > may_be_empty + SLACK_MS:
            row["violations"].append(f"no endpoint for {row['empty_ms']} ms, longer than the gap")
        # All that was ever acknowledged, not only in this episode.
        total = checker.History(c.writer_logs)
        # The rules of kube-proxy come later than the endpoints, so a new client may have to try again.
        ids = wait.until(lambda: checker.table_ids(c.rw, c.password), 30, "all rows through the Service")
        verdict = total.against(ids)
        for what in ("lost", "phantom", "not_failed"):
            if verdict[what]:
                row["violations"].append(f"{len(verdict[what])} rows {what}: {verdict[what][:3]}")

    def _write(self):
        c = self.c
        c.counts = getattr(c, "counts", {})
        c.counts[self.fault] = c.counts.get(self.fault, 0) + 1
        row = {"fault": self.fault, "n": c.counts[self.fault],
               "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit(),
               "lease_s": self.lease_s, "load": round(os.getloadavg()[0], 1), **self.row}
        os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
        with open(RESULTS, "a") as f:
            f.write(json.dumps(row) + "\n")
        print(f"\n  {self.fault}: " + ", ".join(
            f"{k} {row[k]}" for k in ("gap_ms", "proxy_ms", "own_ms", "phases_ms", "container_ms",
                                      "silent_ms", "empty_ms", "healthy_ms", "late", "violations") if row.get(k) not in (None, [])), flush=True)


@functools.cache
def commit():
    def git(*args):
        return nodes.sh("git", "-C", nodes.ROOT, *args, check=False).stdout.strip()
    found = git("rev-parse", "--short", "HEAD")
    return found + ("+" if found and git("diff", "HEAD", "--name-only", "--", "src", "include", "k8s") else "")


def changes(c):
    """The cluster's own history, by epoch and timeline."""
    def ask():
        return json.loads(c.hactl("history", "-o", "json", check=0).stdout) or None
    found = wait.until(ask, 30, "the history", every=0.5)
    return {(change["epoch"], change["timeline"]): change for change in found}


def forgive(c, before=None):
    """A kubelet lets a container that has ended before wait ever longer for its next start; faults of
    one episode shall not lengthen the next."""
    for m in c.members:
        if m.restarts() and (before or {}).get(m.name) != (m.uid, m.restarts()):
            m.node.kubelet("restart")
