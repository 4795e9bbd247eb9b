"""Libraries that sort otherwise than those that built the indexes: told, and not elected unasked."""
import wait

ALARM = "collation-changed"


def told(m):
    return [a["text"] for a in m.status()["alarms"] if a["name"] == ALARM]


def test_members_whose_collations_differ_are_not_chosen(fresh):
    c = fresh()
    p = c.wait_healthy()
    p.sql("CREATE DATABASE sorted TEMPLATE template0 LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    # As after a new image: what the catalog remembers is not what the libraries are.
    p.sql("UPDATE pg_database SET datcollversion = '1' WHERE datname = 'sorted'")
    c.hactl("reload", check=0)
    for m in c.members:
        text = wait.until(lambda m=m: told(m), 30, f"{m.name} to say so")[0]
        assert text.startswith("database sorted: made with version 1, here is "), text
    target = c.others(p)[0]
    r = c.hactl("switchover", "--to", target.name, "--force")
    assert r.returncode == 5 and "its collations differ" in r.stdout + r.stderr, r
    assert c.primary() is p

    c.hactl("edit-config", "--set", "failover.collation_change=allow", "--force", check=0)
    wait.until(lambda: c.switchover(target, check=None).returncode == 0, 60, "the switchover to be taken",
               every=0.5)
    c.wait_healthy()
    assert c.primary() is target
    assert all(told(m) for m in c.members)

    target.sql("ALTER DATABASE sorted REFRESH COLLATION VERSION")
    c.hactl("reload", check=0)
    for m in c.members:
        wait.until(lambda m=m: not told(m), 30, f"{m.name} to be content")
