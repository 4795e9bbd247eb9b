"""hactl rollout: every pod replaced, replicas first, on a StatefulSet of the real controller."""
import json
import os
import re
import signal
import subprocess
import threading

import pytest

import wait
from member import BUILD
from setcluster import SetCluster

pytestmark = pytest.mark.statefulset
SILENCE_MS = 50  # a pause of the writer that counts as a gap; it writes every 5 ms
NEXT = "pghad:next"


@pytest.fixture
def cluster(request, pool):
    """A healthy cluster of three, reused; a failure discards it."""
    import time
    request.node.began, request.node.pool = time.time(), pool
    c = pool.get(kind=SetCluster)
    c.mark("test", request.node.name)
    c.wait_healthy()
    c.deleted.clear()
    yield c
    failed = [w for w in ("setup", "call") if getattr(request.node, f"report_{w}", None) is None or
              getattr(request.node, f"report_{w}").failed]
    if failed:
        pool.discard()


def gaps_ms(load, since_us):
    """Every silence of the writer since then that is longer than SILENCE_MS."""
    at = [r["a"] for r in load.history().acks]
    return [(b - a) / 1000 for a, b in zip(at, at[1:]) if b > since_us and b - a > SILENCE_MS * 1000]


def order(cluster):
    return [name for name, _ in cluster.deleted]


def updated(cluster):
    """Every pod is of the newest revision, and the controller agrees."""
    newest = cluster.set()["status"]["updateRevision"]
    assert set(cluster.revisions().values()) == {newest}


def by_role(cluster, primary):
    """Replicas, highest number first, then the primary."""
    return sorted((m.name for m in cluster.others(primary)), reverse=True) + [primary.name]


def rollout(cluster, *args):
    argv = [os.path.abspath(f"{BUILD}/hactl"), "--kubeconfig", cluster.kubeconfig, "-n", cluster.ns,
            "--cluster", cluster.name, "rollout", *args, "--force"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            stdin=subprocess.DEVNULL)


def put_primary_on(cluster, name):
    if cluster.primary().name != name:
        cluster.switchover(to=cluster.member(name))
    return cluster.wait_healthy()


def test_image_replicas_first_primary_last(cluster, record_property):
    p = put_primary_on(cluster, "pg-2")  # the one that a controller would take first
    with cluster.load() as load:
        at = wait.boot_us()
        r = cluster.hactl("rollout", "--image", "pghad:0.2.0", "--force", "-o", "json", check=0,
                          timeout_s=180)
        load.wait_writes(10)
        gaps = gaps_ms(load, at)
    done = json.loads(r.stdout)
    assert order(cluster) == ["pg-1", "pg-0", "pg-2"] == by_role(cluster, p)
    assert [(s["action"], s["member"]) for s in done["steps"] if s["action"] == "replace"] == \
        [("replace", n) for n in order(cluster)]
    assert [s["action"] for s in done["steps"]] == ["replace", "replace", "switchover", "replace"]
    assert done["state"] == "done" and done["pending"] == [] and done["image"] == "pghad:0.2.0"
    updated(cluster)
    assert cluster.wait_healthy() is not p
    cluster.verify()
    record_property("gaps_ms", [round(g) for g in gaps])
    print(f"write gaps of a rollout of three: {[round(g) for g in gaps]} ms, in all "
          f"{round(sum(gaps))} ms; hactl says {done['write_gap_ms']} ms in {done['total_ms']} ms")
    assert sum(gaps) < 5000
    # The same again has nothing to do.
    r = cluster.hactl("rollout", "--image", "pghad:0.2.0", "--force", check=0)
    assert "nothing to do" in r.stdout and len(cluster.deleted) == 3


@pytest.mark.long  # on a starved machine hactl may have given its order before it is stopped
def test_switchover_refused_for_a_moment(cluster):
    """Both replicas stream again, and the next moment neither has what was written meanwhile."""
    p = cluster.primary()
    cluster.hactl("edit-config", "--set", "failover.switchover_max_lag=0", "--force", check=0)
    with cluster.load() as load:
        run = rollout(cluster, "restart")
        said, held = [], []
        deadline = threading.Timer(180, run.kill)
        deadline.start()
        try:
            for line in run.stdout:
                said.append(line)
                if "streams and votes again" in line and len(cluster.deleted) == 2:
                    run.send_signal(signal.SIGSTOP)  # it would have given its order before they are found
                    held = [m.backend("walreceiver") for m in cluster.others(p)]
                    for receiver in held:
                        receiver.signal(signal.SIGSTOP)
                    run.send_signal(signal.SIGCONT)
                if "waiting: the switchover" in line:
                    break
        finally:
            for receiver in held:
                receiver.signal(signal.SIGCONT)
            cluster.hactl("edit-config", "--set", "failover.switchover_max_lag=16MB", "--force", check=0)
            out, err = run.communicate()
            deadline.cancel()
        said = "".join(said) + out
        assert run.returncode == 0, said + err
        assert "lags too far behind" in said and "rollout done" in said, said
        load.wait_writes(10)
    assert cluster.primary() is not p
    updated(cluster)
    cluster.wait_healthy()
    cluster.verify()


def test_interrupted_and_resumed(cluster):
    p = cluster.primary()
    expected = by_role(cluster, p)
    with cluster.load() as load:
        run = rollout(cluster, "restart")
        wait.until(lambda: cluster.deleted, 60, "the first pod to be deleted")
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
        assert run.returncode == 1, out + err
        assert "interrupted" in err and "same command" in err and expected[0] in err, err
        assert p.name in err.partition("Not touched:")[2], err
        assert cluster.wait_healthy() is p
        stamp = cluster.set()["spec"]["template"]["metadata"]["annotations"]["pghad.io/restarted-at"]
        assert order(cluster) == expected[:1]
        cluster.hactl("rollout", "restart", "--force", check=0, timeout_s=180)
        load.wait_writes(10)
    assert order(cluster) == expected, "the one that was done is not done again"
    annotations = cluster.set()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["pghad.io/restarted-at"] == stamp
    updated(cluster)
    cluster.wait_healthy()
    cluster.verify()


def test_image_that_cannot_be_pulled(cluster):
    p = cluster.primary()
    old = cluster.set()["spec"]["template"]["spec"]["containers"][0]["image"]
    expected = by_role(cluster, p)
    with cluster.load() as load:
        r = cluster.hactl("rollout", "--image", "pghad:bad", "--force", check=1, timeout_s=120)
        assert "ImagePullBackOff" in r.stderr and expected[0] in r.stderr, r.stderr
        assert f"hactl rollout --image {old}" in r.stderr, r.stderr
        assert order(cluster) == expected[:1], "nobody else was touched"
        assert cluster.primary() is p
        load.wait_writes(10)
        # What the message says: back to the old image. Only the broken pod differs from it.
        cluster.hactl("rollout", "--image", old, "--force", check=0, timeout_s=120)
        load.wait_writes(10)
    assert order(cluster) == [expected[0], expected[0]]
    updated(cluster)
    assert cluster.wait_healthy() is p
    cluster.verify()


def test_member_that_does_not_come_back(cluster):
    p = cluster.primary()
    old = cluster.set()["spec"]["template"]["spec"]["containers"][0]["image"]
    expected = by_role(cluster, p)
    with cluster.load() as load:
        r = cluster.hactl("rollout", "--image", "pghad:stuck", "--timeout", "6s", "--force", check=1)
        assert re.search(rf"{expected[0]} .*, for \d", r.stderr), r.stderr
        assert order(cluster) == expected[:1], "nobody else was touched"
        load.wait_writes(10)
        # It runs and is unwell: without --force that is a refusal, and changes nothing.
        r = cluster.hactl("rollout", "--image", old, "--dry-run", check=5)
        assert expected[0] in r.stderr, r.stderr
        cluster.hactl("rollout", "--image", old, "--force", check=0, timeout_s=120)
        load.wait_writes(10)
    assert order(cluster) == [expected[0], expected[0]]
    assert cluster.wait_healthy() is p
    updated(cluster)
    cluster.verify()


def test_rolling_update_goes_by_role_too(cluster):
    p = put_primary_on(cluster, "pg-2")
    expected = by_role(cluster, p)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    cluster.patch_set(updateStrategy=strategy)
    try:
        with cluster.load() as load:
            cluster.hactl("rollout", "restart", "--force", check=0, timeout_s=180)
            load.wait_writes(10)
        assert order(cluster) == expected
        now = cluster.set()
        assert now["spec"]["updateStrategy"]["type"] == "RollingUpdate"
        assert now["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 0
        assert "pghad.io/rollout-strategy" not in now["metadata"].get("annotations", {})
        updated(cluster)
        cluster.wait_healthy()
        assert order(cluster) == expected, "the controller has nothing left to do"
    finally:
        cluster.patch_set(updateStrategy={"type": "OnDelete", "rollingUpdate": None})
    cluster.verify()


def test_refusals_and_dry_run_change_nothing(cluster):
    before = cluster.set()
    r = cluster.hactl("rollout", "--image", "pghad:9", "--dry-run", check=0)
    names = by_role(cluster, cluster.primary())
    assert ", ".join(names) in r.stdout, r.stdout
    r = cluster.hactl("rollout", "--image", "", "--force", check=5)
    assert "image" in r.stderr, "the API server's own reason"
    r = cluster.hactl("rollout", "--image", "pghad:9", "--container", "web", "--force", check=2)
    assert "web" in r.stderr
    cluster.hactl("rollout", "restart", "--image", "pghad:9", check=2)
    uids = {p["metadata"]["uid"] for p in cluster.kube.admin.list("pods", cluster.ns)}
    cluster.hactl("rollout", "--image", "pghad:9", check=2)  # nobody to ask
    cluster.hactl("pause", "--wait", check=0)
    try:
        r = cluster.hactl("rollout", "restart", "--force", check=5)
        assert "paused" in r.stderr and "hactl resume" in r.stderr
    finally:
        cluster.hactl("resume", "--wait", check=0)
    assert cluster.set()["metadata"]["generation"] == before["metadata"]["generation"]
    assert cluster.deleted == []
    assert {p["metadata"]["uid"] for p in cluster.kube.admin.list("pods", cluster.ns)} == uids


def test_mixed_versions(cluster):
    """Half a rollout to a release with a newer peer protocol; a failover between old and new."""
    p = cluster.primary()
    old = cluster.set()["spec"]["template"]["spec"]["containers"][0]["image"]
    expected = by_role(cluster, p)

    def newer():
        return {m.name for m in cluster.members
                if [q for q in m.processes() if "/next/" in q.title]}

    with cluster.load() as load:
        run = rollout(cluster, "--image", NEXT)
        wait.until(lambda: cluster.deleted, 60, "the first pod to be deleted")
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
        assert run.returncode == 1, out + err
        assert cluster.wait_healthy() is p and newer() == {expected[0]}
        # An election needs the report of each of the two that are left, one old and one new.
        p.kill()
        load.wait_writes(30)
        new = cluster.primary()
        assert new is not p
        p.start()
        cluster.wait_healthy()
        cluster.hactl("rollout", "--image", NEXT, "--force", check=0, timeout_s=180)
        load.wait_writes(10)
        assert newer() == {m.name for m in cluster.members}
        cluster.hactl("rollout", "--image", old, "--force", check=0, timeout_s=180)
        load.wait_writes(10)
        assert newer() == set()
    updated(cluster)
    cluster.wait_healthy()
    cluster.verify()
