"""A failover that accepts the loss of data: the way out when too few voters are left to prove anything."""
import contextlib
import json
import signal

import psycopg2
import wait


def written(c, member):
    return [row[0] for row in member.sql("SELECT id FROM given_up ORDER BY id")]


def as_number(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def recorded(c, member):
    record = json.loads(c.lease()["metadata"]["annotations"]["pghad.io/record"])
    return next(as_number(m["lsn"]) for m in record["members"] if m["name"] == member.name)


def only_an_old_copy_left(c):
    """The survivor lacks the last acknowledged row; the volumes of both others are lost for good."""
    p = c.wait_healthy()
    survivor = c.standby()
    p.sql("CREATE TABLE given_up (id int PRIMARY KEY)")
    p.sql("INSERT INTO given_up VALUES (1)")
    wait.until(lambda: written(c, survivor) == [1], 20, "the row on the survivor")
    survivor.kill()
    before = as_number(p.sql("SELECT pg_current_wal_flush_lsn()")[0][0])
    p.sql("INSERT INTO given_up VALUES (2)", timeout=20)
    wait.until(lambda: recorded(c, p) > before, 20, "the renewal that records it")
    for m in c.others(survivor):
        m.kill()
        m.lose_volume()
    for m in c.members:
        m.start()
    wait.until(lambda: survivor.status()["state"] == "running", 60, "the survivor to answer")
    return survivor


def test_a_failover_may_accept_the_loss_of_data(fresh):
    c = fresh(size=3)
    survivor = only_an_old_copy_left(c)
    wait.holds(lambda: not c.writable(), 12, "nobody is promoted", every=0.5)
    r = c.hactl("failover", "--to", survivor.name, check=5)
    assert "1 of 3 voters report and 2 have to" in r.stderr, r.stderr
    assert f"of WAL that {survivor.name} lacks are known" in r.stderr, r.stderr
    assert "--accept-data-loss" in r.stderr, r.stderr
    assert not c.writable()
    r = c.hactl("failover", "--to", survivor.name, "--accept-data-loss", check=2)
    assert "--force" in r.stderr, "nobody is asked without a terminal"
    c.hactl("failover", "--to", survivor.name, "--accept-data-loss", "--force", check=0)
    assert c.wait_healthy(60) is survivor
    assert written(c, survivor) == [1]
    for m in c.others(survivor):
        assert written(c, m) == [1], "the empty ones were cloned from it"
    said = c.hactl("history", check=0).stdout.strip().splitlines()[-1]
    assert "who accepted the loss of data" in said, said
    with c.load() as load:
        load.wait_writes(20)
    c.switchover()
    c.wait_healthy()
    c.verify()


def test_a_survivor_that_was_promoted_by_hand_cannot_be_named(fresh):
    """What it has is of no epoch. It says so itself, and the others go on without it once they are back."""
    def alarm():
        return {a["name"]: a["text"] for a in survivor.status()["alarms"]}.get("waits-for", "")

    c = fresh(size=3)
    p = c.wait_healthy()
    survivor = c.standby()
    with c.load() as load:
        load.wait_writes(20)
    for m in c.others(survivor):
        m.kill()
    with contextlib.suppress(psycopg2.Error):  # its server may be ended before it answers
        survivor.sql("SELECT pg_promote(false)")
    wait.until(lambda: f"{survivor.name}(promoted-by-hand)" in alarm(), 40, "it to be named with the reason")
    assert p.name in alarm(), alarm()
    assert not c.writable()
    for given in (), ("--accept-data-loss", "--force"):
        r = c.hactl("failover", "--to", survivor.name, *given, check=5)
        assert f"{survivor.name} was promoted by hand" in r.stderr, r.stderr
    for m in c.others(survivor):
        m.start()
    c.wait_healthy(90)
    assert c.primary() is not survivor
    c.verify()


def test_an_order_never_shortens_the_wait_for_the_lease(fresh):
    """The primary only sleeps, with the right to write. The target waits for the end of that right as ever, and
    the sleeper finds itself fenced; here nothing is lost, since the target confirmed all."""
    c = fresh(size=3)
    p = c.wait_healthy()
    survivor = c.standby()
    third = next(m for m in c.others(survivor) if m is not p)
    third.kill()
    third.lose_volume()
    with c.load() as load:
        load.wait_writes(20)
        sleepers = p.processes()
        for process in sleepers:
            process.signal(signal.SIGSTOP)
        at = wait.boot_us()
        c.hactl("failover", "--to", survivor.name, "--accept-data-loss", "--force", check=0)
        load.wait_writes(20, at)
        gap = load.gap_ms(at)
        for process in sleepers:
            with contextlib.suppress(ProcessLookupError):  # the guard wakes first and fences the others
                process.signal(signal.SIGCONT)
        load.wait_writes(20, wait.boot_us())
        third.start()
        c.wait_healthy(90)
    assert gap > 3500, f"another wrote after {gap} ms; the Lease of 5 s was renewed at most a second before"
    c.verify(late_ok=True)
