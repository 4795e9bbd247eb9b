"""Disks that are full, frozen, read-only, without power, or as they were yesterday."""
import os
import shutil
import signal

import pytest

import disks
import wait

LEASE_S = 5
pytestmark = [pytest.mark.skipif("disks.why_not()"), pytest.mark.local]
long = pytest.mark.long


def test_frozen_disk_of_the_primary(diskcluster):
    """Backends in uninterruptible sleep: nothing of theirs is acknowledged while it lasts, and all of it is
    there afterwards."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        c.disk(p).freeze(60)
        frozen = wait.boot_us()
        wait.until(lambda: any(b.state == "D" for b in p.postgres_processes()), 30,
                   "a process in uninterruptible sleep")
        wait.holds(lambda: len(c.writable()) <= 1, 2 * LEASE_S, "never two writers", every=0.5)
        acked = [r for r in load.history().acks if r["s"] == p.ip and r["i"] > frozen]
        assert not acked, f"acknowledged by a server whose disk does not write: {acked[0]}"
        c.disk(p).thaw()
        load.wait_writes(60)
        c.wait_healthy()
    c.verify(late_ok=True)


def test_primary_whose_disk_stays_frozen_is_replaced(diskcluster):
    """It gives its right up, although nobody can end what sleeps on its disk; that acknowledges nothing, and
    the member comes back by itself when the disk answers again."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        c.disk(p).freeze(180)
        frozen = wait.boot_us()
        wait.until(lambda: any(b.state == "D" for b in p.postgres_processes()), 30,
                   "a process in uninterruptible sleep")
        load.wait_writes(90, frozen, what="writes on another member")
        assert c.primary() is not p
        acked = [r for r in load.history().acks if r["s"] == p.ip and r["i"] > frozen]
        assert not acked, f"acknowledged by a server whose disk does not write: {acked[0]}"
        c.disk(p).thaw()
        c.wait_healthy()
    c.verify(late_ok=True)


@long
def test_container_ends_while_its_disk_is_frozen(diskcluster):
    """Its processes still sleep on the volume, for nobody can end them. Others take over; the next
    container on that volume does nothing before the last of them is gone."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        c.disk(p).freeze(90)
        wait.until(lambda: any(b.state == "D" for b in p.postgres_processes()), 30,
                   "a process in uninterruptible sleep")
        at = wait.boot_us()
        p.guard().signal(signal.SIGKILL)
        load.wait_writes(60, at, what="writes on another member")
        assert c.primary() is not p
        assert any(b.state == "D" for b in p.postgres_processes()), "it sleeps on"
        c.disk(p).thaw()
        p.kill()
        p.start()
        c.wait_healthy()
    c.verify(late_ok=True)


@pytest.mark.parametrize("who", ["primary", pytest.param("replica", marks=long)])
def test_full_disk(diskcluster, who):
    """Whoever cannot write any more is replaced or left behind, and comes back by itself when there is
    space again."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        m = p if who == "primary" else c.standby()
        c.disk(m).fill()
        # Beyond the segment of WAL that is there already.
        for _ in range(3):
            try:
                c.primary().sql("SELECT pg_switch_wal()")
            except Exception:  # it has just gone
                pass
            load.wait_writes(60)
        at = wait.boot_us()
        load.wait_writes(60, at)
        if who == "primary":
            wait.until(lambda: c.writable() and c.primary() is not m, 60, "another primary")
        c.disk(m).free()
        if not m.running():
            m.start()
        c.wait_healthy(90)
    c.verify(late_ok=True)


@long
def test_all_disks_full(diskcluster):
    """Nobody can write. With space everything comes back, and nothing acknowledged is missing."""
    c = diskcluster
    with c.load(every_ms=2) as load:
        for m in c.members:
            c.disk(m).fill()

        def stopped():
            try:
                c.primary(1).sql("SELECT pg_switch_wal()")
            except Exception:  # nobody is primary, or not any more
                pass
            return wait.boot_us() - load.writer.last_ack_us() > 2_000_000

        wait.until(stopped, 60, "writes to stop for want of space", every=0.5)
        for m in c.members:
            c.disk(m).free()
            if not m.running():
                m.start()
        at = wait.boot_us()
        load.wait_writes(90, at)
        c.wait_healthy(90)
    c.verify(late_ok=True)


@pytest.mark.parametrize("who", ["primary", pytest.param("replica", marks=long)])
def test_disk_turns_read_only(diskcluster, who):
    """ext4 found an error of its own. The others go on; checked and mounted again, the member is back."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        m = p if who == "primary" else c.standby()
        c.disk(m).fail()
        at = wait.boot_us()
        load.wait_writes(60, at + 500_000)
        if who == "primary":
            wait.until(lambda: c.writable() and c.primary() is not m, 60, "another primary")
        m.kill()
        c.disk(m).mend()
        m.start()
        c.wait_healthy(90)
    c.verify(late_ok=True)


@pytest.mark.parametrize("back", [pytest.param((0, 1, 2), marks=long), (2, 1)], ids=["all", "two"])
def test_power_lost_everywhere(diskcluster, back):
    """What was not synced is gone, on every member at once. Enough of them have what was acknowledged."""
    c = diskcluster
    for n in range(2):
        with c.load() as load:
            load.wait_writes(10)
            c.lose_power(c.members)
            at = wait.boot_us()
            for i in back:
                c.members[(i + n) % 3].start()
            load.wait_writes(60, at)
            for m in c.members:
                if not m.running():
                    m.start()
            c.wait_healthy()
        c.verify()


@long
def test_power_lost_at_the_primary(diskcluster):
    c = diskcluster
    with c.load() as load:
        for _ in range(3):
            p = c.primary()
            at = wait.boot_us()
            c.lose_power([p])
            load.wait_writes(40, at)
            p.start()
            c.wait_healthy()
    c.verify()


def alarms(m):
    return {a["name"]: a["text"] for a in m.status()["alarms"]}


def grown(c, load, rows=200):
    """Until so many rows more are acknowledged and recorded positions have followed."""
    def acked():
        return len(load.history().acks)
    before = acked()
    wait.until(lambda: acked() > before + rows, 30, "rows", every=0.2)


@pytest.mark.parametrize("who", ["primary", pytest.param("replica", marks=long)])
def test_snapshot_of_a_volume_restored(diskcluster, who):
    """An old copy must not win: it is caught up or cloned, and whoever has all writes."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        m = p if who == "primary" else c.standby()
        m.kill()
        snapshot = c.image(m)
        m.start()
        c.wait_healthy()
        grown(c, load)
        m.kill()
        c.disk(m).put_back(snapshot)
        m.start()
        c.wait_healthy()
    c.verify()


@long
def test_every_volume_restored_but_one(diskcluster):
    """Two of three as they were before: with the third away nobody may be primary, since what was
    acknowledged since then may be on it only."""
    c = diskcluster
    c.wait_healthy()
    old = c.members
    for m in old:
        m.terminate()
    snapshots = {m.name: c.image(m) for m in old}
    for m in old:
        m.start()
    with c.load() as load:
        c.wait_healthy()
        grown(c, load)
        p = c.primary()
        for m in c.members:
            m.kill()
        for m in c.others(p):
            c.disk(m).put_back(snapshots[m.name])
            m.start()
        wait.until(lambda: all(m.says("/liveness") for m in c.others(p)), 30, "the two to be up")
        wait.until(lambda: all("older state" in alarms(m).get("volume-old", "") for m in c.others(p)), 30,
                   "both to say that they are old")
        wait.holds(lambda: not c.writable(), 4 * LEASE_S, "no primary among old copies", every=0.5)
        at = wait.boot_us()
        p.start()
        load.wait_writes(60, at)
        c.wait_healthy()
    c.verify()


@long
def test_volume_that_is_a_copy_of_another_one(diskcluster):
    """Same system identifier, same volume id: a volume cloned by the storage. Two members with one vote
    must not count as two."""
    c = diskcluster
    with c.load() as load:
        p = c.primary()
        original, m = c.others(p)
        original.kill()
        m.kill()
        c.disk(m).umount()
        c.disk(original).umount()
        shutil.copyfile(c.disk(original).image, c.disk(m).image)
        c.disk(m).mount()
        c.disk(original).mount()
        m.start()
        original.start()
        at = wait.boot_us()
        load.wait_writes(60, at)
        wait.until(lambda: m.says("/startup") and original.says("/startup"), 30, "both to be up")
        for x, other in (m, original), (original, m):
            wait.until(lambda: other.name in alarms(x).get("volume-copied", ""), 30, f"the alarm of {x.name}")
        p.kill()
        wait.holds(lambda: len(c.writable()) <= 1, 2 * LEASE_S, "never two", every=0.5)
        p.start()
        load.wait_writes(60, wait.boot_us())
        # Slot and vote belong to the volume, so one of the two is left out until it has one of its own.
        twin = next(x for x in (m, original) if x not in c.writable())
        twin.kill()
        twin.lose_volume()
        twin.start()
        c.wait_healthy()
    c.verify()


@long
@pytest.mark.parametrize("size", [0, 100, 8192])
def test_pg_control_is_cut(diskcluster, size):
    """Refused, told, and replaced by a clone once an operator says so."""
    c = diskcluster
    with c.load() as load:
        s = c.standby()
        s.kill()
        path = os.path.join(s.pgdata, "global", "pg_control")
        with open(path, "r+b") as f:
            f.truncate(size)
            if size == 8192:  # whole, and garbage
                f.write(os.urandom(512))
        s.start()
        wait.until(lambda: s.says("/startup") and s.status()["alarms"], 30, "an alarm")
        load.wait_writes(10)
        c.wait_healthy(down=[s.name])
        s.kill()
        s.lose_volume()
        s.start()
        c.wait_healthy()
    c.verify()
