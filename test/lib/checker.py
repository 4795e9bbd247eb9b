"""Reads the logs of ha-writer and says what a client may say: lost rows, overlaps, write gaps.

All instants are CLOCK_BOOTTIME us of one machine, so they compare across processes.
"""
import json
import os
import signal
import subprocess

import psycopg2

import wait

PG_ENV = {"PGUSER": "postgres", "PGDATABASE": "postgres"}


class Writer:
    """One running ha-writer. start() it before the fault, stop() it before the verdict."""

    def __init__(self, binary, log, targets, password=None, every_ms=5, op_timeout_ms=10000):
        self.log = log
        self.argv = [binary, "--log", log, "--every", str(every_ms),
                     "--op-timeout", str(op_timeout_ms), *targets]
        self.env = {**os.environ, **PG_ENV, **({"PGPASSWORD": password} if password else {})}
        self.proc = None
        self.summary = None
        self._tail = Tail(log)

    def start(self):
        self.proc = subprocess.Popen(self.argv, env=self.env, stdout=subprocess.PIPE, text=True)
        return self

    def last_ack_us(self):
        """Instant of the last acknowledgement so far, 0 = none."""
        self._tail.read()
        return self._tail.last_ack_us

    def wait_writes(self, deadline_s, after_us=None, count=5, what="acknowledged writes"):
        """Waits until `count` rows sent after after_us (default: now) are acknowledged."""
        after = wait.boot_us() if after_us is None else after_us

        def enough():
            if self.proc.poll() is not None:
                raise RuntimeError("the writer has ended")
            self._tail.read()
            return sum(1 for i, _ in self._tail.recent if i >= after) >= count

        wait.until(enough, deadline_s, what, every=0.01)

    def stop(self):
        if self.proc and self.summary is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                out, _ = self.proc.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                out, _ = self.proc.communicate()
            self.summary = json.loads(out) if out.strip() else {}
        return self

    def kill(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


class Tail:
    """Follows a log that is being written; keeps only what waiting needs."""

    def __init__(self, path):
        self.path, self.offset, self.last_ack_us = path, 0, 0
        self.recent = []  # (sent, acknowledged) of the last rows

    def read(self):
        try:
            with open(self.path, "rb") as f:
                f.seek(self.offset)
                data = f.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self.offset += end
        for line in data[:end].splitlines():
            if line.startswith(b'{"op":"ack"'):
                row = json.loads(line)
                self.last_ack_us = row["a"]
                self.recent.append((row["i"], row["a"]))
        del self.recent[:-400]


class History:
    """Everything that writers logged: acks, fails, unknowns as dicts, in order of their answers."""

    def __init__(self, paths):
        self.acks, self.fails, self.unknowns, self.notes = [], [], [], []
        by_op = {"ack": self.acks, "fail": self.fails, "unknown": self.unknowns,
                 "note": self.notes}
        for path in [paths] if isinstance(paths, str) else paths:
            if not os.path.exists(path):
                continue
            with open(path) as f:
                for line in f:
                    if not line.endswith("\n"):
                        continue  # the writer was killed in the middle of it
                    row = json.loads(line)
                    by_op[row["op"]].append(row)
        for rows in by_op.values():
            rows.sort(key=lambda r: r["a"])

    def gap_us(self, start_us=None, end_us=None):
        """Longest silence between two successive acknowledgements around [start, end].

        The last acknowledgement before start and the first one after end count, so a silence that
        began or ended outside is measured whole; one that has not ended counts up to end. None when
        there is no acknowledgement before start or none after it.
        """
        at = [r["a"] for r in self.acks]
        if start_us is not None:
            before = [a for a in at if a <= start_us]
            if not before:
                return None
            at = [before[-1]] + [a for a in at if a > start_us]
        if len(at) < 2:
            return None
        if end_us is not None:
            at = [a for a in at if a < end_us] + ([a for a in at if a >= end_us] or [end_us])[:1]
        return max(b - a for a, b in zip(at, at[1:]))

    def silences(self, start_us):
        """[(from, to)] between successive acknowledgements, beginning with the last one before start."""
        at = [r["a"] for r in self.acks]
        before = sum(1 for a in at if a <= start_us)
        at = at[max(0, before - 1):]
        return list(zip(at, at[1:]))

    def writers(self):
        """[(server, timeline, first ack, last ack)], by the first acknowledgement."""
        reign = {}
        for r in self.acks:
            first, _ = reign.get((r["s"], r["tl"]), (r["a"], None))
            reign[(r["s"], r["tl"])] = (first, r["a"])
        return sorted(((s, tl, a, b) for (s, tl), (a, b) in reign.items()), key=lambda x: x[2])

    def overlaps(self):
        """Rows that an older server acknowledged after a newer one had begun to.

        Newer = higher timeline. "proved": the row was sent after the newer server's first
        acknowledgement, so both were writers at once. "late": it was sent before; then only a
        client that is cut off or a server frozen between commit and reply explains it.
        """
        found = []
        reigns = self.writers()
        for server, timeline, first, _ in reigns:
            for r in self.acks:
                older = r["tl"] < timeline or (r["tl"] == timeline and r["s"] != server)
                if older and r["s"] != server and r["a"] > first:
                    found.append({"kind": "proved" if r["i"] > first else "late", "id": r["id"],
                                  "old": r["s"], "old_timeline": r["tl"], "new": server,
                                  "new_timeline": timeline, "ms": (r["a"] - first) / 1000})
        return found

    def against(self, ids):
        """Compares with the ids found in the table at the end."""
        present = set(ids)
        acked = {r["id"] for r in self.acks}
        failed = {r["id"] for r in self.fails}
        unknown = {r["id"] for r in self.unknowns}
        return {"acknowledged": len(acked), "lost": sorted(acked - present),
                "phantom": sorted(present - acked - unknown),
                "not_failed": sorted(failed & present),
                "unknown": len(unknown), "unknown_present": len(unknown & present)}


def query(host, sql, args=None, password=None, port=5432, timeout=3, user="postgres", dbname="postgres"):
    """Rows of one statement on one server, autocommit, every wait bounded."""
    conn = psycopg2.connect(host=host, port=port, user=user, dbname=dbname,
                            password=password, connect_timeout=max(2, int(timeout)),
                            options=f"-c statement_timeout={int(timeout * 1000)}",
                            tcp_user_timeout=int(timeout * 1000), sslmode="disable",
                            gssencmode="disable", application_name="ha-check")
    try:
        conn.autocommit = True
        with conn.cursor() as c:
            c.execute(sql, args)
            return c.fetchall() if c.description else []
    finally:
        conn.close()


def table_ids(host, password=None, port=5432):
    return [r[0] for r in query(host, "SELECT id FROM ha_log", password=password, port=port,
                                timeout=20)]
