#!/usr/bin/env python3
"""Failovers of clusters that have much to do or much to carry.

    make bench-load [CASES=plain,connections,tables,unreplayed,long,large] [N=5] [RUN=latest]

Runs inside test/lib/sandbox.py, on the real API server with real PostgreSQL. Each case is a cluster of three that
is brought into its condition; before each episode the condition is made anew and looked at. Raw data, an object per
line, replaces test/bench/results/load-RUN.jsonl; load_report.py makes the tables of docs/performance.md from it.
"""
import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psycopg2

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.dirname(os.path.abspath(__file__))]

import bench  # noqa: E402
import phases  # noqa: E402
import sandbox  # noqa: E402
import wait  # noqa: E402
from subject import Pghad  # noqa: E402

MB = 1 << 20
LONG_S = 900   # bound for making a condition, never a measure
HEALTHY_S = 300


class Case(Pghad):
    """A cluster in the plain condition; the others are made of it."""

    key, says = "plain", "nothing but the writers"
    metrics = ("P1", "P2")
    parameters = {}
    healthy_s = HEALTHY_S

    def __init__(self, number):
        super().__init__(self.key, self.says, number,
                         options={"postgres.parameters": json.dumps(self.parameters)})
        self.held = contextlib.ExitStack()

    def prepare(self):
        """Once, on the healthy cluster."""

    def arm(self, primary):
        """Before each episode. Returns what was found of the condition, for the raw data."""
        return {}

    def disarm(self):
        self.held.close()

    def primary(self):
        return next(m for m in self.members if m.writable())

    def standbys(self, primary):
        return [m for m in self.members if m is not primary]

    def hold(self, member, *statements):
        """A session that stays in its transaction until the episode is over."""
        conn = psycopg2.connect(host=member.ip, user="postgres", dbname="postgres", password=self.password,
                                sslmode="disable", gssencmode="disable", connect_timeout=10)

        def end():
            with contextlib.suppress(psycopg2.Error):
                conn.close()
        self.held.callback(end)
        with conn.cursor() as c:
            for s in statements:
                c.execute(s)
        return conn


class Connections(Case):
    key, says = "connections", "1,000 client connections, 100 statements a second"
    parameters = {"max_connections": "1200"}
    CLIENTS, RATE = 1000, 100

    def prepare(self):
        self._script = os.path.join(self.dir, "client.sql")
        with open(self._script, "w") as f:
            f.write("SELECT count(*) FROM ha_log WHERE id > 0 AND id < 100;\n")

    def arm(self, primary):
        """Through the Service's front; whoever is thrown out connects again."""
        self._going = threading.Event()
        self._going.set()
        thread = threading.Thread(target=self._clients, daemon=True)
        thread.start()

        def end():
            self._going.clear()
            if self._pgbench:
                self._pgbench.terminate()
            thread.join(60)
        self._pgbench = None
        self.held.callback(end)

        def connected():
            n = primary.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'", timeout=20)[0][0]
            return n if n >= self.CLIENTS else None
        return {"connections": wait.until(connected, LONG_S, "all clients to be connected", every=0.5)}

    def _clients(self):
        host, port = self.front.address.rsplit(":", 1)
        env = {**os.environ, "PGPASSWORD": self.password, "PGUSER": "postgres", "PGDATABASE": "postgres",
               "PGHOST": host, "PGPORT": port, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
        command = [os.path.join(sandbox.postgres_programs(), "pgbench"), "-n", "-c", str(self.CLIENTS), "-j", "2",
                   "-R", str(self.RATE), "-T", "3600", "-f", self._script, "postgres"]
        while self._going.is_set():
            self._pgbench = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if not self._going.is_set():  # ended between the question and the start: nobody else would end it
                self._pgbench.terminate()
            self._pgbench.wait()
            time.sleep(0.1)  # ok: a client's pause between two attempts


class Tables(Case):
    key, says = "tables", "10,000 tables"
    TABLES = 10_000

    def prepare(self):
        self.primary().sql(
            "DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE t%%s (id int PRIMARY KEY)', i); "
            "IF i %% 200 = 0 THEN COMMIT; END IF; END LOOP; END $$" % self.TABLES, timeout=LONG_S)

    def arm(self, primary):
        return {"tables": primary.sql("SELECT count(*) FROM pg_tables WHERE tablename ~ '^t[0-9]+$'")[0][0]}


class Unreplayed(Case):
    """Standbys hold the WAL, and a reader on each keeps it from being replayed: it has the table that was locked.
    A hand-over would wait for them; so only the crash is measured."""

    key, says = "unreplayed", "1 GB of WAL that no standby has replayed, held up by a reader on each"
    metrics = ("P1",)
    parameters = {"max_standby_streaming_delay": "-1", "max_wal_size": "4GB"}
    BYTES = 1024 * MB

    def prepare(self):
        self.primary().sql("CREATE TABLE held (i int)")
        self.primary().sql("CREATE TABLE bulk (i int, t text)")

    def arm(self, primary):
        """The end of replay of both standbys stands still, the whole of the rest behind it."""
        primary.sql("TRUNCATE bulk", timeout=60)
        wait.until(lambda: self._behind(primary) < MB, LONG_S, "the standbys to have replayed all", every=0.5)
        for m in self.standbys(primary):
            self.hold(m, "SELECT count(*) FROM held")
        primary.sql("TRUNCATE held")
        while self._behind(primary) < self.BYTES:
            primary.sql("INSERT INTO bulk SELECT i, repeat(chr(65 + i % 26), 200) FROM generate_series(1, 200000) i",
                        timeout=120)
        wait.until(lambda: self._unflushed(primary) < MB, LONG_S, "the standbys to have received all", every=0.2)
        return {"unreplayed_mb": round(self._behind(primary) / MB)}

    def _lag(self, primary, column, which):
        return int(primary.sql(f"SELECT coalesce({which}(pg_current_wal_lsn() - {column}), 0)::int8 "
                               "FROM pg_stat_replication", timeout=20)[0][0])

    def _behind(self, primary):
        return self._lag(primary, "replay_lsn", "min")

    def _unflushed(self, primary):
        return self._lag(primary, "flush_lsn", "max")


class Long(Case):
    key, says = "long", "a transaction that has written 1,000,000 rows, a reader of one hour on each standby"

    def prepare(self):
        self.primary().sql("CREATE TABLE long (i int)")

    def arm(self, primary):
        self.hold(primary, "INSERT INTO long SELECT generate_series(1, 1000000)")
        for m in self.standbys(primary):
            self.hold(m, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM long")
        return {"open": primary.sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")[0][0]}


class Large(Case):
    """Segments of a relation that take no room on disk: PostgreSQL does not read them, pg_rewind looks at each. The
    killed primary has WAL that nobody has received, so that it is rewound."""

    key, says = "large", "a directory of 50 GB (sparse segments of one relation), WAL that no standby has"
    metrics = ("P1",)
    SEGMENTS = 50

    def prepare(self):
        self.primary().sql("CREATE TABLE large (i int)")
        path = self.primary().sql("SELECT pg_relation_filepath('large')")[0][0]
        wait.until(lambda: all(os.path.exists(os.path.join(m.pgdata, path)) for m in self.members), 60,
                   "the relation on every member")
        for m in self.members:
            for i in range(1, self.SEGMENTS + 1):
                file = os.path.join(m.pgdata, f"{path}.{i}")
                with open(file, "wb") as f:
                    f.truncate(1 << 30)
                owner = os.stat(os.path.join(m.pgdata, path))
                os.chown(file, owner.st_uid, owner.st_gid)
                os.chmod(file, 0o600)

    def arm(self, primary):
        size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(os.path.join(primary.pgdata, "base"))
                   for f in files)
        return {"gb": round(size / (1 << 30), 1)}

    def postgres_killed(self, primary):
        """While its walsenders are stopped the writers' next rows get to its disk, and no further."""
        def flushed():
            return primary.sql("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn")[0][0]

        for p in primary.postgres_processes():
            if "walsender" in p.title:
                p.signal(signal.SIGSTOP)
        before = flushed()
        wait.until(lambda: flushed() > before, 10, "a row that only the primary has", every=0.005)
        super().postgres_killed(primary)


CASES = {c.key: c for c in (Case, Connections, Tables, Unreplayed, Long, Large)}


OP_REWIND = 3  # enum pg_op in include/core/view.h


def rewound(member, offset):
    """Whether pg_rewind was begun there since."""
    return any(isinstance(row, dict) and row.get("event") == "operation-begun" and row.get("operation") == OP_REWIND
               for _, row in phases.read(member.log, offset))


def run_case(run, number, case, n):
    s = CASES[case](number)
    s.place(run.kube, run.net, run.cuts, run.dir)
    try:
        s.start()
        run.note("case", case=case, says=s.says, settings=s.settings(), build=s.build())
        s.prepare()
        for k in range(n):
            for metric in s.metrics:
                primary = s.wait_healthy()
                found = s.arm(primary)
                offset = os.path.getsize(primary.log)
                row = run.episode(s, metric)
                s.disarm()
                row["rewound"] = rewound(primary, offset)
                run.note("episode", case=case, metric=metric, condition=found, **row)
                print(f"  {metric} {case:<12} {k + 1:>3} {row['gap_ms']:>9.1f} ms   {row['old']} -> {row['new']}   "
                      f"{found} {'rewound' if row['rewound'] else ''}", flush=True)
                bench.check_safe(f"{case}, {metric}", row)
    except BaseException:
        run.save(s)
        raise
    finally:
        s.disarm()
        s.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", default=",".join(CASES))
    p.add_argument("-n", type=int, default=5, help="episodes of each kind and case")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    wrong = [c for c in a.cases.split(",") if c not in CASES]
    if wrong:
        p.error(f"no case {', '.join(wrong)}: one of {', '.join(CASES)}")
    with bench.session("load", a.out) as run:
        for number, case in enumerate(a.cases.split(",")):
            run_case(run, number, case, a.n)


if __name__ == "__main__":
    try:
        main()
    except bench.Unsafe as e:
        sys.exit(f"bench-load: SAFETY VIOLATED, no figure of this run counts: {e}")
