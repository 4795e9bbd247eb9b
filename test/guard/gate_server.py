"""One PostgreSQL with the commit gate and a fence page that the test writes; no guard, no agent."""
import glob
import mmap
import os
import pwd
import re
import shutil
import signal
import struct
import subprocess

import psycopg2

from conftest import BUILD, DEADLINE_S, IS_ROOT, PG_BIN, boot_ms, die_with_parent, until

# struct fence_page of include/base/page.h
MAGIC, VERSION, BYTES = 0x70676861, 1, 4096
DEADLINE_AT, WRITABLE_AT = 56, 72
HOUR_MS = 3600 * 1000
SETTINGS = {
    "listen_addresses": "''", "fsync": "off", "restart_after_crash": "off", "max_connections": "100",
    "max_prepared_transactions": "10", "wal_level": "logical", "autovacuum": "off",
    "wal_retrieve_retry_interval": "100ms", "log_line_prefix": "'%b: '",
    "log_autovacuum_min_duration": "0", "autovacuum_naptime": "1s",
}


def library():
    """The gate that was built for the PostgreSQL of the tests."""
    found = subprocess.run([f"{PG_BIN}/postgres", "--version"], capture_output=True, text=True,
                           check=True).stdout
    major = re.search(r"PostgreSQL\) (\d+)", found).group(1)
    path = os.path.join(BUILD, f"pghad_gate-{major}.so")
    assert os.path.exists(path), \
        f"no {path}, there are {glob.glob(os.path.join(BUILD, '*.so'))}: run make deps"
    return path


class Page:
    def __init__(self, version=VERSION):
        self.fd = os.memfd_create("gate-test")
        os.ftruncate(self.fd, BYTES)
        self.bytes = mmap.mmap(self.fd, BYTES)
        self.bytes[0:8] = struct.pack("=II", MAGIC, version)

    def set(self, deadline_ms, writable=1):
        struct.pack_into("=q", self.bytes, DEADLINE_AT, int(deadline_ms))
        struct.pack_into("=I", self.bytes, WRITABLE_AT, writable)

    def grant(self):
        self.set(boot_ms() + HOUR_MS)

    def lapse(self):
        self.set(boot_ms() - 1)

    def reader(self):
        """As guard gives it to the server: for reading only."""
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY)

    def close(self):
        self.bytes.close()
        os.close(self.fd)


class Server:
    def __init__(self, base, template, page):
        self.base, self.page = base, page
        self.data = os.path.join(base, "data")
        self.log = os.path.join(base, "log")
        self.conf = os.path.join(self.data, "gate-test.conf")
        self.user = pwd.getpwnam("postgres") if IS_ROOT else pwd.getpwuid(os.getuid())
        self.proc = None
        self.sessions = []
        self.log_from = 0
        if IS_ROOT:
            os.chown(base, self.user.pw_uid, self.user.pw_gid)
        subprocess.run(["cp", "-a", template, self.data], check=True)
        self.configure()

    def configure(self, **changes):
        """Settings over the usual ones; a running server is told."""
        settings = {**SETTINGS, "unix_socket_directories": f"'{self.base}'",
                    "shared_preload_libraries": f"'\"{library()}\"'",
                    **{k.replace("__", "."): v for k, v in changes.items()}}
        with open(self.conf, "w", encoding="utf-8") as f:
            f.writelines(f"{k} = {v}\n" for k, v in settings.items())
        with open(os.path.join(self.data, "postgresql.conf"), "w", encoding="utf-8") as f:
            f.write("include 'gate-test.conf'\n")
        if self.proc:
            self.proc.send_signal(signal.SIGHUP)

    def start(self, page_fd=None, wait=True):
        """page_fd: what the environment names instead of the page; -1: nothing."""
        fd = self.page.reader() if page_fd is None else page_fd
        ready = self.said("database system is ready to accept") if os.path.exists(self.log) else 0
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGHA_GATE_FD": str(fd)}
        if fd < 0:
            del env["PGHA_GATE_FD"]
        who = {}
        if IS_ROOT:
            who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(
                [f"{PG_BIN}/postgres", "-D", self.data], env=env, cwd="/", stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=[fd] if fd > 2 else [],
                preexec_fn=die_with_parent, **who)
        if page_fd is None:
            os.close(fd)
        if wait:
            self.wait_log("database system is ready to accept", ready + 1)
        return self

    def connect(self, autocommit=True, dbname="postgres"):
        c = psycopg2.connect(host=self.base, user="postgres", dbname=dbname,
                             options=f"-c statement_timeout={DEADLINE_S}s")
        c.autocommit = autocommit
        self.sessions.append(c)
        return c

    def sql(self, text, dbname="postgres"):
        """Rows of one statement in a session of its own."""
        c = self.connect(dbname=dbname)
        with c.cursor() as cur:
            cur.execute(text)
            rows = cur.fetchall() if cur.description else []
        c.close()
        return rows

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def begin(self):
        """What was logged before is not looked at any more."""
        self.log_from = os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            f.seek(self.log_from)
            return f.read()

    def said(self, text):
        return self.log_text().count(text)

    def wait_log(self, text, times=1):
        until(lambda: self.said(text) >= times, f"log, {times} times: {text}")

    def wait_end(self):
        until(lambda: self.proc.poll() is not None, "the end of the server")
        self.proc = None

    def stop(self, sig=signal.SIGQUIT):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            self.proc.wait(30)
        self.proc = None

    def hang_up(self):
        for c in self.sessions:
            c.close()
        self.sessions = []

    def close(self):
        self.hang_up()
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGQUIT)
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        shutil.rmtree(self.base, ignore_errors=True)
