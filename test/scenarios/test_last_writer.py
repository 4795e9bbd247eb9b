"""The last writer is whole, and the volumes of too many voters are not: it needs nobody's report."""
import wait


def both_others_lose_their_volumes(c):
    """All pods end at once; that of the primary is made anew, so that nothing vouches for its predecessor."""
    p = c.wait_healthy()
    p.sql("CREATE TABLE kept (id int PRIMARY KEY)")
    p.sql("INSERT INTO kept VALUES (1)")
    for m in c.members:
        m.kill()
    for m in c.others(p):
        m.lose_volume()
    c.recreate_pod(p)
    return p


def test_the_last_writer_returns_where_nobody_else_has_a_vote_left(fresh):
    c = fresh(size=3)
    p = both_others_lose_their_volumes(c)
    for m in c.members:
        m.start()
    assert c.wait_healthy(60) is p
    for m in c.members:
        assert [row[0] for row in m.sql("SELECT id FROM kept")] == [1], m.name
    with c.load() as load:
        load.wait_writes(20)
    c.switchover()
    c.wait_healthy()
    c.verify()


def test_it_waits_for_somebody_who_may_know_of_a_later_writer(fresh):
    """One voter stays silent: an operator decides, and may decide for the last writer."""
    c = fresh(size=3)
    p = both_others_lose_their_volumes(c)
    silent, other = c.others(p)
    p.start()
    other.start()
    wait.until(lambda: p.status()["state"] == "running", 60, "the last writer to answer")
    wait.holds(lambda: not c.writable(), 12, "nobody is promoted", every=0.5)
    r = c.hactl("failover", "--to", p.name, "--accept-data-loss", "--force", check=0)
    assert p.name in r.stdout + r.stderr
    wait.until(lambda: c.writable() == [p], 60, "the ordered member to write")
    silent.start()
    assert c.wait_healthy(90) is p
    c.verify()
