"""Members that are taken away and come back, as an autoscaler does it."""
import json

import pytest
import wait


def record(c):
    return json.loads(c.state()["data"]["record"])


def slots(m):
    return {r[0] for r in m.sql("SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical'")}


def scale_away(c, m):
    """The StatefulSet controller: SIGTERM, then the pod is gone."""
    m.terminate()
    c.kube.delete_pod(c.pods.pop(m.name))
    c.members.remove(m)


@pytest.mark.versions
def test_scale_down_of_the_primary_and_up_again(fresh):
    """Churn: each time the one beyond the replicas is the primary. It hands over, leaves the record, and
    once fewer members are expected its slot goes, too."""
    c = fresh(options={"replication.leave_after": "6s", "replication.degrade_after": "2s"}, start=False)
    del c.options["cluster.members"]  # 3, and may be changed for the whole cluster
    c.start().wait_healthy()
    with c.load() as load:
        for _ in range(2):
            away = c.member("pg-2")
            if c.primary() is not away:
                c.switchover(away)
                c.wait_healthy()
            volume = away.status()["volume"]
            at = wait.boot_us()
            scale_away(c, away)
            load.wait_writes(20, at)
            assert load.gap_ms(at) < 3000, "handed over, not failed over"
            c.wait_healthy()
            assert c.primary().status()["lease"]["holder"] in ("pg-0", "pg-1")
            wait.until(lambda: volume not in json.dumps(record(c)), 30, "it to leave the record")
            c.hactl("edit-config", "--set", "cluster.members=2", "--force", check=0)
            wait.until(lambda: all(f"m_{volume}" not in slots(m) for m in c.members), 30,
                       "its slot to go")
            c.hactl("edit-config", "--set", "cluster.members=3", "--force", check=0)
            c.add_member(2).start()
            c.wait_healthy()
            load.wait_writes(10, wait.boot_us())
    c.verify()
