"""Secrets that change under a running cluster: the files reach the nodes one after the other."""
import os
import shutil

import psycopg2
import pytest

import sandbox
import wait

NAMES = {"superuser": "POSTGRES_PASSWORD_FILE", "replication": "PGHA_POSTGRES_REPLICATION_PASSWORD_FILE"}


def write_secret(m, what, text):
    """Into its place at once, as kubelet does it."""
    path = os.path.join(m.dir, f"{what}.secret")
    with open(path + ".new", "w") as f:
        f.write(text + "\n")
    os.chmod(path + ".new", 0o600)
    user = sandbox.postgres_user()
    if user:
        shutil.chown(path + ".new", *user)
    os.replace(path + ".new", path)
    return path


def with_own_secrets(fresh):
    c = fresh(start=False)
    c.start(members=[])
    for m in c.members:
        for what, name in NAMES.items():
            with open(c.secret[what]) as f:
                m.env[name] = write_secret(m, what, f.read().strip())
        m.start()
    c.wait_healthy()
    return c


def gets_in(m, user, password):
    try:
        psycopg2.connect(host=m.ip, user=user, password=password, dbname="postgres",
                         connect_timeout=3).close()
        return True
    except psycopg2.OperationalError as e:
        assert "password authentication failed" in str(e), e
        return False


def break_streams(c):
    """Every standby has to log in anew."""
    p = c.primary()
    before = p.sql("SELECT min(backend_start)::text FROM pg_stat_replication")
    p.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    wait.until(lambda: len(c.streaming(p)) == 2 and
               p.sql("SELECT min(backend_start)::text FROM pg_stat_replication") > before, 30,
               "both standbys to stream again")


@pytest.mark.parametrize("first", ["primary", "standbys"])
def test_passwords_change_in_any_order_of_their_arrival(fresh, first):
    c = with_own_secrets(fresh)
    p, old = c.primary(), c.password
    with open(c.secret["replication"]) as f:
        old_members = f.read().strip()
    early = [p] if first == "primary" else c.others(p)
    with c.load() as load:
        for m in early:
            write_secret(m, "superuser", "n'e\\w")
            write_secret(m, "replication", "new members")
        wait.until(lambda: all(len(m.log_lines("password-changed")) == 2 for m in early), 20,
                   "the new files to be noticed")
        if first == "primary":
            wait.until(lambda: gets_in(p, "postgres", "n'e\\w"), 20, "the new password to be in force")
            c.password = "n'e\\w"
            for m in c.members:
                m.password = c.password
        break_streams(c)
        for m in c.members:
            write_secret(m, "superuser", "n'e\\w")
            write_secret(m, "replication", "new members")
        wait.until(lambda: gets_in(p, "replicator", "new members") and
                   gets_in(p, "postgres", "n'e\\w"), 90, "the new passwords to be in force")
        assert not gets_in(p, "replicator", old_members) and not gets_in(p, "postgres", old)
        load.wait_writes(10, wait.boot_us())  # who is in stays in
        c.password = "n'e\\w"
        for m in c.members:
            m.password = c.password
        break_streams(c)
    with c.load() as load:
        at = wait.boot_us()
        p.kill()
        load.wait_writes(30, at)
        p.start()
        c.wait_healthy()
    c.verify()


def test_passwords_that_changed_while_nobody_ran(fresh):
    """Also a volume that knows nothing of the members' role yet, as an adopted one."""
    c = with_own_secrets(fresh)
    with c.load() as load:
        c.primary().sql("ALTER ROLE replicator RENAME TO somebody_else")
        load.wait_writes(10, wait.boot_us())
    for m in c.members:
        m.kill()
    for m in c.members:
        write_secret(m, "superuser", "other")
        write_secret(m, "replication", "other members")
        m.start()
    c.password = "other"
    for m in c.members:
        m.password = c.password
    c.wait_healthy()
    with c.load() as load:
        load.wait_writes(10, wait.boot_us())
    assert gets_in(c.primary(), "replicator", "other members")
    c.verify()
