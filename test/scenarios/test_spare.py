"""The WAL segment that standbys keep in advance."""
import os

import pytest
import wait

SPARE = "xlogtemp.pghad"
ROUNDS = 8
pytestmark = pytest.mark.local


def has_spare(m):
    return os.path.exists(os.path.join(m.pgdata, "pg_wal", SPARE))


def used(c):
    return sum(len(m.log_lines("spare-used")) for m in c.members)


def test_segment_in_advance(cluster):
    """Standbys make one; who follows a new writer begins its timeline in it; the writer needs none."""
    c = cluster
    p = c.wait_healthy()
    before = used(c)
    with c.load():
        for _ in range(ROUNDS):  # one that is behind, or was asked to wait, does without: any round will do
            wait.until(lambda: all(map(has_spare, c.others(p))), 60, "a spare segment on each standby")
            wait.until(lambda: not has_spare(p), 60, "the writer to remove its own")
            c.switchover()
            p = c.wait_healthy()
            if used(c) > before:
                break
        assert used(c) > before, f"no spare was used in {ROUNDS} switchovers"
        wait.until(lambda: all(map(has_spare, c.others(p))), 60, "another one in its place")
    c.verify()
