"""More faults for random episodes: ones that hit in the middle of something, and ones of the network."""
import os
import signal
import subprocess
import time

import psycopg2

import wait
from cluster import signal_all
from faultkinds import kind
from member import BUILD


def _start(m):
    if not m.running():
        m.start()


@kind("two members killed", group="all")
def two_killed(e):
    """One is left, and it may be one that lags."""
    gone = [e.victim(), e.member()]
    for m in gone:
        m.kill()
    yield
    e.rng.shuffle(gone)
    for m in gone:
        _start(m)
        e.pause(2)


@kind("deciders killed in a failover")
def deciders_killed(e):
    p = e.take(e.primary())
    p.kill()
    for _ in range(3):
        e.pause(2)
        signal_all([a for a in (m.running() and m.agent() for m in e.c.members) if a], signal.SIGKILL)
    yield
    _start(p)


@kind("agent killed where nobody hears it", group="network")
def unheard_agent_killed(e):
    """What nobody confirms waits, also when the agent is a new one that knows nothing."""
    m = e.take(e.primary())
    for other in [*(o.name for o in e.c.others(m)), "api"]:
        e.net.drop(m.name, other)
    e.pause(1.5)
    signal_all([a for a in [m.running() and m.agent()] if a], signal.SIGKILL)
    yield
    e.net.heal()


@kind("killed in a switchover", group="api")
def killed_in_a_switchover(e):
    """The old primary or whoever is to follow, at some moment of it."""
    p = e.primary()
    target = e.rng.choice(e.c.others(p))
    victim = e.take(e.rng.choice((p, target)))
    order = subprocess.Popen([os.path.abspath(f"{BUILD}/hactl"), "--kubeconfig", e.c.kubeconfig, "-n", e.c.ns,
                              "--cluster", e.c.name, "switchover", "--to", target.name, "--force", "--timeout",
                              "10s"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        e.pause(1.5)
        victim.kill()
        yield
    finally:
        order.kill()
        order.wait()
    _start(victim)


def _kill_ahead(e):
    """The primary, with last records that nobody else has."""
    m = e.take(e.primary())
    e.net.cut_peers(m.name)
    e.pause(1)
    m.kill()
    e.net.heal()
    return m


@kind("killed with WAL of its own", group="network")
def killed_with_wal_of_its_own(e):
    """A primary whose last records nobody has dies, and another one takes over."""
    m = _kill_ahead(e)
    yield
    _start(m)


@kind("repair cut again and again", group="network")
def repair_cut(e):
    """The same, then killed while it is repaired, each time a little later."""
    m = _kill_ahead(e)
    time.sleep(6)  # ok: until there may be another primary; nothing depends on it
    for n in range(4):
        _start(m)
        e.pause(0.3 + 0.5 * n)
        m.kill()
    yield
    _start(m)


@kind("large packets vanish", group="network")
def large_packets_vanish(e):
    """Questions and answers get through, WAL does not."""
    m = e.take(e.primary())
    for o in e.c.others(m):
        e.net.drop_large(m.name, o.name)
    yield
    e.net.heal()


@kind("connections reset")
def connections_reset(e):
    for _ in range(5):
        p = e.primary()
        signal_all([x for x in p.postgres_processes() if "walsender" in x.title], signal.SIGTERM)
        e.pause(0.5)
    yield


@kind("every connection taken")
def every_connection_taken(e):
    """Clients take what there is, as long as there is any."""
    p = e.take(e.primary())
    taken = []
    try:
        while len(taken) < 1000:
            taken.append(psycopg2.connect(host=p.ip, user="postgres", dbname="postgres", password=e.c.password,
                                          connect_timeout=5, sslmode="disable"))
    except psycopg2.Error:
        pass
    try:
        yield
    finally:
        for conn in taken:
            conn.close()


@kind("promoted by hand")
def promoted_by_hand(e):
    """pg_promote() on a standby: ended at once, its timeline's number stays void."""
    m = e.standby()
    old = m.postmaster() if m.running() else None
    try:
        m.sql("SELECT pg_promote(false)")
        wait.until(lambda: old is None or old.pid not in [x.pid for x in m.processes()], 30, "its end")
    except (psycopg2.Error, OSError):
        pass  # it is not there, or ended before it answers
    yield
