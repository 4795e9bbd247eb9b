"""Faults of pods, nodes and the control plane. Each is a function of an episode (episode.py) with the
decorator @fault; it returns when the fault is over and healed. What it changes is undone on the way
out whatever happens, and once more, from the state of the nodes, by KindKube.heal()."""
import contextlib
import os
import signal
import subprocess
import sys

import nodes
import wait

HELD_S = 20       # length of the faults that must not stop writes
API_AWAY_S = 60
BACK_S = 90       # bound for writes to come back; never a measure of speed
TOO_MANY = 429    # what the API server says when a budget refuses an eviction
CATALOGUE = {}


def fault(title, **options):
    """options: late_ok, the fault may leave an answer of the old server on the way to the client;
    pod_gone, the API forgets the primary's pod before it has ended; every_ms of the writer;
    random=False, not for random sequences."""
    def add(run):
        CATALOGUE[title] = (run, options)
        return run
    return add


# Pods and processes.

@fault("switchover")
def switchover(e):
    e.c.switchover()


@fault("postgres killed")
def postgres_killed(e):
    e.primary.postmaster().signal(signal.SIGKILL)
    e.back()


@fault("agent killed")
def agent_killed(e):
    old = e.primary.agent()
    old.signal(signal.SIGKILL)
    wait.until(lambda: (a := e.primary.agent()) and a.pid != old.pid, 20, "a new agent")


@fault("container killed")
def container_killed(e):
    e.primary.kill_container()
    wait.until(e.primary.running, BACK_S, "the container to be started again", every=0.02)
    e.row["container_ms"] = (wait.boot_us() - e.at) // 1000
    e.back()


@fault("container of a replica killed")
def replica_killed(e):
    e.standby().kill_container()


def delete_pod(e, m, *options):
    uid = m.uid
    e.c.kubectl("delete", "pod", m.name, "--wait=false", *options)
    e.back()
    wait.until(lambda: m.uid != uid, 180, f"{m.name}: another pod")


@fault("pod deleted")
def pod_deleted(e):
    delete_pod(e, e.primary)


@fault("pod deleted, forced", pod_gone=True)
def pod_deleted_forced(e):
    delete_pod(e, e.primary, "--grace-period=0", "--force")


@fault("pod evicted")
def pod_evicted(e):
    uid = e.primary.uid
    evict_when_allowed(e, e.primary.name)
    e.back()
    wait.until(lambda: e.primary.uid != uid, 180, "another pod")


def evict_when_allowed(e, name):
    """As `kubectl drain` does it: again and again while the budget refuses, which it does until kubelet
    has reported every member Ready; they stream before that. The fault begins with the last request."""
    def ask():
        e.at = wait.boot_us()
        try:
            evict(e.c, name)
        except e.c.kube.ApiError as refusal:
            return None if refusal.code == TOO_MANY else refusal
        return "granted"

    answer = wait.until(ask, BACK_S, f"the budget to let {name} go", every=0.5)
    if answer != "granted":
        raise answer


def evict(c, name):
    """Through the eviction API, which asks the PodDisruptionBudget. Raises ApiError when refused."""
    c.kube.admin.create("pods", c.ns, {"apiVersion": "policy/v1", "kind": "Eviction",
                                       "metadata": {"name": name}}, name=name, sub="eviction")


@fault("rolling restart", random=False)
def rolling_restart(e):
    """The replicas first, each back before the next, the primary last."""
    for m in [*e.c.others(e.primary), e.primary]:
        delete_pod(e, m)
        e.c.wait_healthy(180)


def roll_out(e, *what):
    old = {m.name: m.uid for m in e.c.members}
    e.c.hactl("rollout", *what, "--force", timeout_s=600, check=0)
    assert not any(m.uid == old[m.name] for m in e.c.members), "every pod is another one"


@fault("rollout", random=False)
def rollout(e):
    """The same by hactl."""
    roll_out(e, "restart")


@fault("rollout of an image", random=False)
def rollout_image(e):
    """To a build that speaks the next version of the members' protocol, or back from it."""
    image = "pghad:dev" if "pghad:next" in images(e) else "pghad:next"
    roll_out(e, "--image", image)
    wait.until(lambda: images(e) == {image}, 60, f"all members to run {image}")


def images(e):
    return {c["image"] for p in e.c.mirror.objects.values() for c in p["spec"]["containers"]}


@fault("backend out of memory")
def backend_out_of_memory(e):
    """More than the container's limit: the kernel ends the largest process of it."""
    with contextlib.suppress(Exception):  # the end of the connection is the purpose
        e.primary.sql("SELECT array_agg(repeat('x', 100000)) FROM generate_series(1, 20000)",
                      timeout=30)
        raise AssertionError("the query had enough memory")
    e.back()


@fault("pod out of memory", late_ok=True, random=False)
def pod_out_of_memory(e):
    """Files in memory, which no kill of a process frees: nothing in the container can live."""
    p = e.primary
    shm = p.node.path(f"/var/lib/kubelet/pods/{p.uid}/volumes/kubernetes.io~empty-dir/shm/hog")
    try:
        e.c.kubectl("exec", p.name, "-c", "postgres", "--", "sh", "-c",
                    "head -c 600m /dev/zero >/dev/shm/hog", check=False, timeout_s=60)
        e.back()
    finally:
        if os.path.exists(shm):
            os.unlink(shm)


# Nodes.

@fault("node frozen", late_ok=True)
def node_frozen(e):
    node = e.primary.node
    node.pause()
    try:
        e.back(after_s=1)
    finally:
        node.unpause()


@fault("node killed", late_ok=True)
def node_killed(e):
    node = e.primary.node
    node.kill()
    try:
        e.back(after_s=1)
    finally:
        node.start()


@fault("node cut off", late_ok=True)
def node_cut_off(e):
    node = e.primary.node
    try:
        node.unplug()
        e.back(after_s=1)
    finally:
        node.heal_network()


@fault("node cut off from the API")
def node_cut_from_api(e):
    node = e.primary.node
    try:
        node.drop_api(e.c.kube.nodes.api)
        wait.holds(lambda: e.c.writable() == [e.primary], HELD_S, "writes by promises", every=1)
    finally:
        node.heal_network()


@fault("node cut off from its peers")
def node_cut_from_peers(e):
    node = e.primary.node
    try:
        for m in e.c.others(e.primary):
            for end in (m.ip, m.node.ip):
                node.rule("-s", end)
                node.rule("-d", end)
        e.back(after_s=2)
    finally:
        node.heal_network()


@fault("node of a replica frozen")
def replica_node_frozen(e):
    node = e.standby().node
    node.pause()
    try:
        wait.holds(lambda: e.c.writable() == [e.primary], HELD_S, "the primary stays", every=1)
    finally:
        node.unpause()


@fault("node drained", random=False)
def node_drained(e):
    """Its pod waits for the node, which has its volume; meanwhile the budget protects the others, once both
    are Ready: who is not may always be evicted."""
    node = e.primary.node
    standby = e.standby()
    try:
        e.c.kubectl("drain", node.name, "--ignore-daemonsets", "--delete-emptydir-data",
                    "--timeout=150s", timeout_s=180)
        e.back()
        wait.until(lambda: e.c.ready() == sorted(m.name for m in e.c.others(e.primary)), BACK_S,
                   "both others to be Ready")
        try:
            evict(e.c, standby.name)
            raise AssertionError("the budget let a second member be evicted")
        except e.c.kube.ApiError as refusal:
            assert refusal.code == TOO_MANY, refusal
    finally:
        e.c.kubectl("uncordon", node.name)


# The network between members.

@fault("packet loss 5 %", late_ok=True)
def packet_loss(e):
    p = e.primary
    try:
        for end in ("-s", "-d"):
            p.node.rule(end, p.ip, "-m", "statistic", "--mode", "random", "--probability", "0.05")
        wait.holds(lambda: True, HELD_S, "")
    finally:
        p.node.heal_network()


@fault("rate 2 Mbit/s", late_ok=True)
def rate_limit(e):
    node = e.primary.node
    try:
        node.limit("2mbit")
        wait.holds(lambda: True, HELD_S, "")
    finally:
        node.heal_network()


@fault("latency 100 ms", late_ok=True)
def latency(e):
    p = e.primary
    delay = subprocess.Popen(
        ["nsenter", "-t", str(p.node.pid), "-n", "--", "setpriv", "--pdeathsig", "KILL", "--",
         sys.executable, os.path.join(os.path.dirname(__file__), "delay.py"), "7", "100"],
        stdout=subprocess.PIPE, text=True)
    try:
        assert delay.stdout.readline() == "ready\n", "no queue for packets here"
        p.node.rule("-s", p.ip, "-o", "eth+",
                    target=("-j", "NFQUEUE", "--queue-num", "7", "--queue-bypass"))
        wait.holds(lambda: delay.poll() is None, HELD_S, "the delay")
    finally:
        p.node.heal_network()
        delay.kill()
        delay.wait()


# The control plane.

@fault("API away 60 s", random=False)
def api_away(e):
    e.c.kube.pause()
    try:
        wait.holds(lambda: e.c.writable() == [e.primary], API_AWAY_S, "writes by promises", every=2)
    finally:
        e.c.kube.resume()
        e.c.kube.wait_answers()


def restart_of(e, program):
    control_plane = e.c.kube.control_plane
    old = control_plane.processes(program)
    assert old, f"no {program} in {control_plane.name}"
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    try:
        wait.until(lambda: set(control_plane.processes(program)) - set(old), BACK_S,
                   f"another {program}", every=0.1)
        e.c.kube.wait_answers()
    finally:
        control_plane.kubelet("restart")  # it would make the next one wait longer


@fault("API server restarted")
def api_restarted(e):
    restart_of(e, "kube-apiserver")


@fault("etcd restarted")
def etcd_restarted(e):
    restart_of(e, "etcd")


# Objects.

@fault("quota refuses a pod", random=False)
def quota(e):
    m = e.standby()
    uid = m.uid
    try:
        e.c.kubectl("create", "quota", "chaos", f"--hard=pods={e.c.size - 1}")
        # A quota holds when it has been counted, and the API server learns of it by a watch.
        wait.until(lambda: e.c.kubectl("get", "quota", "chaos", "-o", "jsonpath={.status.used.pods}").stdout,
                   BACK_S, "the quota to be counted", every=0.2)
        e.c.kubectl("delete", "pod", m.name, "--wait=false")
        wait.until(lambda: m.name not in e.c.mirror.objects, 180, f"{m.name} to be gone")
        wait.until(lambda: "exceeded quota" in e.c.kubectl("get", "events").stdout, 60,
                   "the refusal", every=0.5)
    finally:
        e.c.kubectl("delete", "quota", "chaos", "--ignore-not-found")
    wait.until(lambda: m.uid != uid, 180, f"{m.name}: another pod")


def lose_claim(e, m):
    """Claim, volume and container are gone at once; the StatefulSet makes all three anew."""
    claim = e.c.kube.admin.get("persistentvolumeclaims", e.c.ns, m.claim())["metadata"]["uid"]
    uid, node = m.uid, m.node  # asked now: the pod tells it, and is gone soon
    node.kubelet("stop")
    try:
        m.kill_container()
        e.c.kubectl("delete", "pvc", m.claim(), "--wait=false")
        e.c.kubectl("delete", "pod", m.name, "--grace-period=0", "--force", "--wait=false")
    finally:
        node.kubelet("start")
    e.back()

    def another():
        new = e.c.kube.admin.find("persistentvolumeclaims", e.c.ns, m.claim())
        return m.uid != uid and new and new["metadata"]["uid"] != claim and m.running()

    wait.until(another, 180, f"{m.name} on another volume", every=0.3)


@fault("volume of a replica lost", random=False)
def replica_volume_lost(e):
    lose_claim(e, e.standby())


@fault("volume of the primary lost", random=False)
def primary_volume_lost(e):
    lose_claim(e, e.primary)


@fault("StatefulSet orphaned", random=False)
def orphaned(e):
    """Deleted without its pods, which go on; a pod lost meanwhile comes back with the next one."""
    m = e.standby()
    uid = m.uid
    try:
        e.c.kubectl("delete", "statefulset", e.c.name, "--cascade=orphan")
        e.c.kubectl("delete", "pod", m.name, "--wait=false")
        wait.until(lambda: m.name not in e.c.mirror.objects, 180, f"{m.name} to be gone")
    finally:
        e.c.apply()
    wait.until(lambda: m.uid != uid, 180, f"{m.name}: another pod")
