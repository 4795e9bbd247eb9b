"""PostgreSQL servers without a supervisor, for tests of the harness itself."""
import os
import shutil
import subprocess

import checker
import sandbox
import wait

BIN = sandbox.postgres_programs()


class Server:
    """A PostgreSQL server without a supervisor in a network namespace."""

    def __init__(self, node, directory):
        self.node, self.dir = node, directory
        self.proc = None

    def run(self, *cmd):
        user = sandbox.postgres_user()
        if user:
            prefix = ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"]
        else:
            prefix = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
        subprocess.run([*prefix, *map(str, cmd)], check=True, capture_output=True, cwd="/")

    def prefix(self):
        user = sandbox.postgres_user()
        if user:
            return [*self.node.prefix(), "setpriv", f"--reuid={user[0]}", f"--regid={user[1]}",
                    "--clear-groups"]
        return [*self.node.prefix(), "unshare", "-U", "--map-user=1000", "--map-group=1000"]

    def init(self):
        os.makedirs(self.dir)
        user = sandbox.postgres_user()
        if user:
            shutil.chown(self.dir, *user)
        self.run(f"{BIN}/initdb", "-D", f"{self.dir}/data", "--no-sync", "-A", "trust", "-U",
                 "postgres")
        self.finish()
        return self

    def clone(self, of):
        os.makedirs(self.dir)
        user = sandbox.postgres_user()
        if user:
            shutil.chown(self.dir, *user)
        self.run(f"{BIN}/pg_basebackup", "-D", f"{self.dir}/data", "-h", of.node.ip, "-U",
                 "postgres", "-R", "--no-sync", "-c", "fast")
        return self

    def finish(self):
        with open(f"{self.dir}/data/pg_hba.conf", "a") as f:
            f.write("host all,replication all 10.87.0.0/16 trust\n")

    def start(self):
        with open(f"{self.dir}/log", "a") as log:
            self.proc = subprocess.Popen(
                [*self.prefix(), f"{BIN}/postgres", "-D", f"{self.dir}/data", "-c",
                 f"listen_addresses={self.node.ip}", "-c", f"unix_socket_directories={self.dir}",
                 "-c", "wal_receiver_timeout=2s", "-c", "wal_retrieve_retry_interval=100ms"],
                stdout=log, stderr=log)
        wait.until(lambda: checker.query(self.node.ip, "SELECT 1"), 20, "server up")
        return self

    def crash(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                self.crash()
