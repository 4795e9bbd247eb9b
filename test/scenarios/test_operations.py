"""What operators and Kubernetes order: hactl and SIGTERM."""
import datetime
import json
import re
import signal
import subprocess
import threading
import time

import pytest

import wait
from cluster import continue_processes, stop_processes
from member import BUILD

LEASE_S = 5


@pytest.mark.versions
@pytest.mark.kind
def test_switchover_to_a_named_member(cluster):
    with cluster.load() as load:
        target = cluster.standby()
        at = wait.boot_us()
        r = cluster.switchover(to=target)
        assert "ms" in r.stdout, "the verdict has milliseconds per phase"
        load.wait_writes(10)
        assert cluster.wait_healthy() is target
        assert load.gap_ms(at) < LEASE_S * 1000
    cluster.verify()


@pytest.mark.kind
def test_switchover_to_any(cluster):
    with cluster.load() as load:
        old = cluster.primary()
        at = wait.boot_us()
        cluster.switchover()
        load.wait_writes(10)
        assert cluster.wait_healthy() is not old
        assert load.gap_ms(at) < LEASE_S * 1000
    cluster.verify()


@pytest.mark.versions
@pytest.mark.kind
def test_switchover_there_and_back(cluster):
    with cluster.load() as load:
        first, second = cluster.primary(), cluster.standby()
        for target in (second, first, second):
            cluster.switchover(to=target)
            load.wait_writes(10)
            assert cluster.wait_healthy() is target
    cluster.verify()


def refused(cluster, *args):
    """The order is refused with a reason, and nothing has changed."""
    p = cluster.primary()
    tli = p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8]
    r = cluster.hactl(*args, "--force", check=5)
    text = (r.stdout + r.stderr).strip()
    assert text, "a refusal says why"
    assert cluster.primary() is p
    assert p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == tli
    return text


def test_switchover_refused_to_a_stranger(cluster):
    with cluster.load():
        r = cluster.hactl("switchover", "--to", "pg-9", "--force")
        assert r.returncode == 2 and "pg-9" in r.stdout + r.stderr
    cluster.verify()


def test_switchover_to_the_primary_itself_does_nothing(cluster):
    with cluster.load():
        p = cluster.primary()
        r = cluster.hactl("switchover", "--to", p.name, "--force", check=0)
        assert "nothing to do" in r.stdout + r.stderr and cluster.primary() is p
    cluster.verify()


def test_switchover_refused_to_a_member_that_is_down(cluster):
    with cluster.load():
        s = cluster.standby()
        s.kill()
        assert s.name in refused(cluster, "switchover", "--to", s.name)
        s.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_switchover_refused_while_paused(cluster):
    with cluster.load():
        cluster.hactl("pause", check=0)
        try:
            assert "pause" in refused(cluster, "switchover", "--to", cluster.standby().name)
        finally:
            cluster.hactl("resume", check=0)
        cluster.wait_healthy()
    cluster.verify()


def test_reinit_refused_for_the_primary(cluster):
    with cluster.load():
        p = cluster.primary()
        r = cluster.hactl("reinit", p.name, "--force", check=5)
        assert p.name in r.stdout + r.stderr
        assert cluster.primary() is p
    cluster.verify()


def test_switchover_dry_run_changes_nothing(cluster):
    p = cluster.primary()
    cluster.hactl("switchover", "--to", cluster.standby().name, "--dry-run", "--force", check=0)
    assert cluster.wait_healthy() is p


def start_switchover(cluster, target):
    argv = [f"{BUILD}/hactl", "--kubeconfig", cluster.kubeconfig, "-n", cluster.ns, "--cluster",
            cluster.name, "switchover", "--to", target.name, "--force"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            stdin=subprocess.DEVNULL)


def definite(order, deadline_s=90):
    """The verdict of a switchover: an exit code that says done, failed or refused."""
    out, _ = order.communicate(timeout=deadline_s)
    assert order.returncode in (0, 1, 5), f"exit {order.returncode}: {out}"
    return order.returncode, out


class Phases:
    """Follows the result in the ConfigMap and acts once when a phase is reached."""

    def __init__(self, cluster, phases, act):
        self.cluster, self.phases, self.act = cluster, phases, act
        self.reached = threading.Event()
        self.stopped = threading.Event()
        self.since = cluster.state()["metadata"]["resourceVersion"]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        c = self.cluster
        with c.kube.admin.watch("configmaps", c.ns, f"{c.name}-state", since=self.since,
                                idle_s=120) as w:
            self.watch = w
            for _, obj in w:
                text = obj.get("data", {}).get("intent-result")
                if text and json.loads(text).get("phase") in self.phases:
                    self.act()
                    self.reached.set()
                    return
                if self.stopped.is_set():
                    return

    def stop(self):
        self.stopped.set()
        self.watch.close()
        self.thread.join(10)


def test_switchover_whose_target_dies_before_the_stop(cluster):
    """Its receiver is frozen, so the preflight or the wait for it cannot succeed; then it dies."""
    with cluster.load() as load:
        p, target = cluster.primary(), cluster.standby()
        at = wait.boot_us()
        stop_processes([target.backend("walreceiver")])
        order = start_switchover(cluster, target)
        target.kill()
        code, text = definite(order)
        assert code != 0, f"the target is dead, yet: {text}"
        load.wait_writes(30, at)
        assert cluster.primary() is p, "before the stop any failure rolls back"
        target.start()
        cluster.wait_healthy()
    cluster.verify()


def test_switchover_whose_target_dies_after_the_stop(cluster):
    """No rollback any more: within seconds somebody writes, and the verdict is definite."""
    with cluster.load() as load:
        target = cluster.standby()
        at = wait.boot_us()
        phases = Phases(cluster, ("stop", "release", "acquire", "promote"), target.kill)
        order = start_switchover(cluster, target)
        _, text = definite(order)
        phases.stop()
        assert phases.reached.is_set(), f"the stop was never reported: {text}"
        load.wait_writes(LEASE_S + 30, at)
        if not target.running():
            target.start()
        cluster.wait_healthy()
    cluster.verify()


def test_switchover_whose_target_freezes_after_the_stop(cluster):
    with cluster.load() as load:
        target = cluster.standby()
        at = wait.boot_us()
        frozen = []

        def freeze():
            frozen.extend(target.processes())
            stop_processes(frozen)

        phases = Phases(cluster, ("stop", "release", "acquire", "promote"), freeze)
        order = start_switchover(cluster, target)
        try:
            definite(order)
            phases.stop()
            assert phases.reached.is_set()
            load.wait_writes(LEASE_S + 30, at)
        finally:
            continue_processes(frozen)
        cluster.wait_healthy()
    cluster.verify(late_ok=True)


def test_switchover_that_no_standby_hears_of(cluster, net):
    """Their connections to the API are cut: nobody takes the released Lease. Its old holder takes it
    back, and the verdict does not call that done."""
    with cluster.load() as load:
        p, at = cluster.primary(), wait.boot_us()
        for m in cluster.members:
            if m is not p:
                net.cut_api(m.name)
        r = cluster.hactl("switchover", "--force", check=1)
        assert "old primary serves again" in r.stdout + r.stderr
        assert cluster.primary() is p
        load.wait_writes(LEASE_S + 30, at)
        net.heal()
        cluster.wait_healthy()
    cluster.verify()


def test_switchover_whose_old_primary_dies_in_it(cluster):
    with cluster.load() as load:
        p, target = cluster.primary(), cluster.standby()
        at = wait.boot_us()
        phases = Phases(cluster, ("stop",), p.kill)
        order = start_switchover(cluster, target)
        definite(order)
        phases.stop()
        load.wait_writes(LEASE_S + 30, at)
        if not p.running():
            p.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.versions
def test_sigterm_of_the_primary_is_a_switchover(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        at = wait.boot_us()
        p.terminate(deadline_s=25)
        assert p.proc.returncode in (0, 143)
        load.wait_writes(10, at)
        assert cluster.primary() is not p
        assert load.gap_ms(at) < LEASE_S * 1000, "nobody had to wait for the lease"
        p.start()
        cluster.wait_healthy()
    cluster.verify()


def make_pod_anew(cluster, p):
    """As after `kubectl delete --force`: the API knows a new pod, at an address where nobody answers yet,
    while the old container is still there."""
    nobody = cluster.net.addr(99)
    cluster.kube.delete_pod(cluster.pods[p.name])
    cluster.pods[p.name] = cluster.kube.add_pod(cluster.ns, cluster.name, p.name, nobody, ready=False)
    wait.until(lambda: all(f"{p.name} {nobody}\n" in m.addresses() for m in cluster.others(p)), 30,
               "the standbys to know the new address")


def test_pod_made_anew_before_the_primary_has_ended(cluster):
    """The old container can hand over while the API takes its token, here by a token that does not end with the
    pod. Its standbys must stay with it until it ends."""
    with cluster.load() as load:
        p = cluster.primary()
        cluster.kube.write_credentials(cluster.pods[p.name], cluster.credentials(p.name), bound=False)
        at = wait.boot_us()
        make_pod_anew(cluster, p)
        assert cluster.streaming(p) == {m.ip for m in cluster.others(p)}
        p.terminate(deadline_s=25)
        load.wait_writes(LEASE_S + 30, at)
        assert cluster.primary() is not p
        assert load.gap_ms(at) < LEASE_S * 1000, "nobody had to wait for the lease"
        cluster.recreate_pod(p)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.bound
def test_old_container_of_a_deleted_pod_is_refused(cluster):
    """The API refuses its token some seconds after the pod is gone. It serves by the promises of the others, and
    cannot give the Lease back when it ends."""
    with cluster.load() as load:
        p = cluster.primary()
        before = len(p.log_lines("lease-write-failed"))
        at = wait.boot_us()
        make_pod_anew(cluster, p)
        wait.until(lambda: any(line["status"] == 401 for line in p.log_lines("lease-write-failed")[before:]), 30,
                   "the API to refuse the token")
        cluster.stays_writable(p, 3, "writes go on")
        assert load.gap_ms(at) < 2000
        p.terminate(deadline_s=25)
        load.wait_writes(2 * LEASE_S + 15, wait.boot_us())
        assert cluster.primary() is not p
        cluster.recreate_pod(p)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


def test_sigterm_of_a_replica(cluster):
    with cluster.load() as load:
        s = cluster.standby()
        at = wait.boot_us()
        s.terminate(deadline_s=25)
        assert s.proc.returncode in (0, 143)
        load.wait_writes(5)
        assert load.gap_ms(at) < 2000
        s.start()
        cluster.wait_healthy()
    cluster.verify()


def test_rolling_restart_by_sigterm(cluster):
    """As a StatefulSet does it: highest ordinal first, each Ready again before the next."""
    with cluster.load() as load:
        for m in reversed(cluster.members):
            m.terminate(deadline_s=25)
            m.start()
            wait.until(lambda: m.says("/readiness"), 60, f"{m.name} ready")
        load.wait_writes(10)
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_pause_and_resume(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        cluster.hactl("pause", check=0)
        try:
            load.wait_writes(5)
            p.kill()
            wait.holds(lambda: not cluster.writable(), 3 * LEASE_S, "nobody is promoted", every=0.5)
        finally:
            at = wait.boot_us()
            cluster.hactl("resume", check=0)
        load.wait_writes(40, at)
        assert cluster.primary() is not p
        p.start()
        cluster.wait_healthy()
    cluster.verify()


@pytest.mark.kind
def test_restart_of_a_replica(cluster):
    with cluster.load() as load:
        p, s = cluster.primary(), cluster.standby()
        before = s.sql("SELECT pg_postmaster_start_time()")
        at = wait.boot_us()
        cluster.hactl("restart", s.name, "--wait", "--force", check=0)
        assert s.sql("SELECT pg_postmaster_start_time()") > before
        assert cluster.wait_healthy() is p
        assert load.gap_ms(at) < 2000
    cluster.verify()


@pytest.mark.kind
def test_restart_of_the_primary(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        before = p.sql("SELECT pg_postmaster_start_time()")
        cluster.hactl("restart", p.name, "--wait", "--force", check=0)
        load.wait_writes(20)
        cluster.wait_healthy()
        assert p.sql("SELECT pg_postmaster_start_time()") > before
    cluster.verify()


@pytest.mark.versions
@pytest.mark.kind
def test_reinit_of_a_replica(cluster):
    with cluster.load() as load:
        p, s = cluster.primary(), cluster.standby()
        volume = s.status()["volume"]
        at = wait.boot_us()
        cluster.hactl("reinit", s.name, "--wait", "--force", timeout_s=120, check=0)
        assert cluster.wait_healthy() is p
        assert s.status()["volume"] != volume, "a new copy is a new volume"
        assert load.gap_ms(at) < 2000
    cluster.verify()


@pytest.mark.kind
def test_failover_by_hand_when_the_primary_is_gone(cluster):
    with cluster.load() as load:
        p = cluster.primary()
        target = cluster.standby()
        p.kill()
        at = wait.boot_us()
        r = cluster.hactl("failover", "--to", target.name, "--force")
        # Another may have been elected by itself meanwhile; then the order is refused, or ends so.
        too_late = r.returncode == 1 and re.search("withdrawn|another member than the target", r.stderr)
        assert r.returncode in (0, 5) or too_late, r.stdout + r.stderr
        load.wait_writes(30, at)
        p.start()
        cluster.wait_healthy()
    cluster.verify()


def history(cluster):
    return json.loads(cluster.hactl("history", "-o", "json", check=0).stdout)


def new_change(cluster, before, deadline_s=10):
    """The one line that the history has got since."""
    rows = wait.until(lambda: history(cluster)[len(before):], deadline_s, "a line of history")
    assert len(rows) == 1, rows
    return rows[0]


def test_history_tells_each_change(cluster):
    """The gap it records is what a client saw: not shorter, but for what the client needs to notice."""
    notice_ms, slack_ms = 200, 150
    with cluster.load() as load:
        before, old, at = history(cluster), cluster.primary(), wait.boot_us()
        verdict = cluster.switchover()
        load.wait_writes(10, at)
        p, row, seen_ms = cluster.wait_healthy(), new_change(cluster, before), load.gap_ms(at)
        assert (row["cause"], row["from"], row["to"]) == ("switchover", old.name, p.name)
        assert row["lost_bytes"] == 0
        assert {"stop", "acquire", "promote", "first-write"} <= set(row["phases_ms"])
        assert seen_ms - notice_ms < row["write_gap_ms"] < seen_ms + slack_ms, (seen_ms, row)
        assert f"no write for {row['write_gap_ms']} ms" in verdict.stdout
        metrics = p.get("/metrics")[1]
        assert f"\npgha_switchover_write_gap_seconds {row['write_gap_ms'] / 1000:.3f}\n" in metrics

        before, old, at = history(cluster), cluster.primary(), wait.boot_us()
        old.terminate(deadline_s=25)
        load.wait_writes(10, at)
        old.start()
        cluster.wait_healthy()
        row, seen_ms = new_change(cluster, before), load.gap_ms(at)
        assert (row["cause"], row["from"]) == ("switchover", old.name), row
        assert row["reason"] == f"{old.name} was asked to end"
        assert seen_ms - notice_ms < row["write_gap_ms"] < seen_ms + slack_ms, (seen_ms, row)

        before, old, at = history(cluster), cluster.primary(), wait.boot_us()
        old.postmaster().signal(signal.SIGKILL)
        load.wait_writes(10, at)
        p = cluster.wait_healthy()
        row, seen_ms = new_change(cluster, before), load.gap_ms(at)
        assert row["cause"] == ("restart" if p is old else "failover"), row
        assert "crashed" in row["reason"]
        rules = [d["rule"] for d in json.loads(old.get("/explain")[1])["decisions"]]
        assert "wrong-timeline" not in rules, "a session that breaks says nothing of the timeline"
        assert seen_ms - notice_ms < row["write_gap_ms"] < seen_ms + slack_ms, (seen_ms, row)
        text = wait.until(lambda: (m := p.get("/metrics")[1]) and
                          'pgha_failover_seconds{phase="promote"}' in m and m, 5, "the metric")
        assert "\npgha_lost_bytes_last_failover 0\n" in text
    cluster.verify()


def test_a_done_order_is_not_done_again_by_a_new_agent(cluster):
    """The order lies in the ConfigMap until the next one; an agent that starts has forgotten it."""
    with cluster.load():
        p = cluster.primary()
        cluster.hactl("restart", p.name, "--wait", "--force", check=0)
        cluster.wait_healthy()
        before, started = history(cluster), p.sql("SELECT pg_postmaster_start_time()")
        agent = p.agent()
        agent.signal(signal.SIGKILL)
        wait.until(lambda: p.agent() and p.agent().pid != agent.pid, 10, "a new agent")
        cluster.wait_healthy()
        assert p.sql("SELECT pg_postmaster_start_time()") == started
        assert history(cluster) == before
    cluster.verify()


def test_reload_takes_a_cluster_wide_setting(cluster):
    with cluster.load():
        cluster.hactl("edit-config", "--set", "postgres.parameters.work_mem=7MB", "--force",
                      check=0)
        for m in cluster.members:
            wait.until(lambda: m.sql("SHOW work_mem")[0][0] == "7MB", 20, f"{m.name} to follow")
        r = cluster.hactl("edit-config", "--set", "lease.profile=breakneck", "--force")
        assert r.returncode == 2 and "fast" in r.stdout + r.stderr
        cluster.wait_healthy()
    cluster.verify()


def test_hactl_list_and_rest_agree(cluster):
    p = cluster.wait_healthy()
    for path in ("/primary", "/read-write", "/leader", "/read-only", "/readiness", "/liveness",
                 "/startup", "/health", "/"):
        assert p.get(path)[0] == 200, path
    for s in cluster.others(p):
        for path, code in (("/replica", 200), ("/primary", 503), ("/read-only", 200),
                           ("/readiness", 200), ("/health", 200), ("/nothing", 404)):
            assert s.get(path)[0] == code, path
    document = json.loads(cluster.hactl("list", "-o", "json", check=0).stdout)
    roles = {m["name"]: m["role"] for m in document["members"]}
    assert roles == {m.name: "primary" if m is p else "replica" for m in cluster.members}


def test_metrics_satisfy_promtool(cluster):
    for m in cluster.members:
        code, text = m.get("/metrics")
        assert code == 200
        r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                           text=True)
        assert r.returncode == 0, r.stdout + r.stderr


def test_reload_reads_the_file_again(cluster):
    """Each member gives its own verdict; a faulty file is refused and the old settings stay."""
    with cluster.load():
        s = cluster.standby()
        r = cluster.hactl("reload", "--wait", check=0)
        assert r.stdout.count("reload done") == len(cluster.members)
        ok = [m.get("/metrics")[1] for m in cluster.members]
        assert all('pgha_config_reloads_total{result="failed"} 0' in t for t in ok)
        r = cluster.hactl("reload", s.name, check=0)
        assert "reload done" in r.stdout and "the settings were read again" in r.stdout
    cluster.verify()


def test_pause_waits_until_every_member_knows(cluster):
    r = cluster.hactl("pause", "--wait", check=0)
    try:
        assert "every member knows it" in r.stdout
        assert all(m.status()["pause"] for m in cluster.members)
    finally:
        r = cluster.hactl("resume", "--wait", check=0)
    assert "every member knows it" in r.stdout
    assert not any(m.status()["pause"] for m in cluster.members)


def pod_patches(cluster):
    return sum(float(line.rsplit(" ", 1)[1]) for m in cluster.members
               for line in m.get("/metrics")[1].splitlines()
               if line.startswith("pgha_api_requests_total{") and 'verb="patch"' in line
               and 'resource="pods"' in line)


def annotation(cluster, m):
    pod = cluster.kube.admin.get("pods", cluster.ns, m.name)
    return json.loads(pod["metadata"]["annotations"]["pghad.io/status"])


def test_a_replica_tells_the_age_of_what_it_shows(cluster):
    def age_s(m):
        told = m.status()["xlog"]["replayed_timestamp"]
        return told and time.time() - datetime.datetime.fromisoformat(told).timestamp()

    with cluster.load():
        s = cluster.standby()
        wait.until(lambda: (age := age_s(s)) is not None and -1 < age < 3, 20, "rows of the last seconds")
    wait.until(lambda: age_s(s) > 3, 20, "the age of the last row grows")
    assert "replayed_timestamp" not in cluster.primary().status()["xlog"]


def test_annotation_is_written_on_change_only(cluster):
    with cluster.load() as load:
        p, s = cluster.primary(), cluster.standby()
        wait.until(lambda: annotation(cluster, s)["sync"] == "quorum", 10, "the settled status")
        note = annotation(cluster, p)
        assert note["role"] == "primary" and note["state"] == "running" and note["tags"] == {}
        assert note["timeline"] == p.status()["timeline"] and "/" in note["lsn"] and note["at"] > 0
        assert annotation(cluster, s)["role"] == "replica" and annotation(cluster, s)["lag"] >= 0
        told = ("role", "state", "rule", "sync", "timeline")
        for m in cluster.members:
            wait.until(lambda: all(annotation(cluster, m)[k] == m.status()[k] for k in told), 10,
                       f"{m.name} to have published its last change")
        # What earlier scenarios changed may still be on its way.
        seen = {"count": -1, "since": 0.0}

        def quiet():
            count = pod_patches(cluster)
            if count != seen["count"]:
                seen.update(count=count, since=wait.boot_s())
            return wait.boot_s() - seen["since"] >= 3
        wait.until(quiet, 30, "the last change to be published")
        before = pod_patches(cluster)
        wait.holds(lambda: pod_patches(cluster) == before, 6,
                   "at rest no pod is patched, however much is written", every=1)
        load.wait_writes(50)
        cluster.switchover(to=s)
        wait.until(lambda: annotation(cluster, s)["role"] == "primary", 10, "the change")
        cluster.wait_healthy()
    cluster.verify()


def test_agent_and_guard_are_single_threaded(cluster):
    for m in cluster.members:
        assert m.guard().threads == 1 and m.agent().threads == 1


def test_sigterm_of_all_leaves_a_released_lease(cluster):
    with cluster.load():
        pass
    p = cluster.primary()
    for s in cluster.others(p):
        s.proc.send_signal(signal.SIGTERM)
    for s in cluster.others(p):
        s.wait_exit(30)
    p.terminate()
    assert cluster.holder() == ""
    for m in cluster.members:
        m.start()
    cluster.verify()


def test_services_follow_the_primary(cluster, kube, net):
    """A client that knows only the Service's address, through a switchover and a failover."""
    from route import Route

    with Route(kube, net, cluster.ns, f"{cluster.name}-rw") as rw:
        wait.until(lambda: rw.backends == [cluster.primary().ip], 20, "the endpoint of the primary")
        with cluster.load(targets=[rw.address]) as load:
            at = wait.boot_us()
            cluster.switchover()
            load.wait_writes(20)
            assert load.gap_ms(at) < LEASE_S * 1000
            p = cluster.wait_healthy()
            wait.until(lambda: rw.backends == [p.ip], 10, "the endpoint to move")
            at = wait.boot_us()
            p.kill()
            load.wait_writes(LEASE_S + 20, at)
            p.start()
            p = cluster.wait_healthy()
            wait.until(lambda: kube.endpoints_of(cluster.ns, f"{cluster.name}-ro") ==
                       sorted(m.ip for m in cluster.others(p)), 20, "the replicas' endpoints")
    cluster.verify()
