"""What scenarios may rely on, for each API server: its objects, tokens, Services and outages."""
import concurrent.futures
import contextlib
import http.client
import os
import queue
import signal
import statistics
import subprocess
import sys
import time

import pytest
import yaml

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

import kubeapi  # noqa: E402
import kubebase  # noqa: E402
import wait  # noqa: E402
from kubeclient import ApiError, Client  # noqa: E402

LIB = os.path.dirname(kubeapi.__file__)


def say(kube, text):
    print(f"  {kube.backend}: {text}")


def spread(values_ms):
    return f"p50 {statistics.median(values_ms):.1f} ms, max {max(values_ms):.1f} ms, " \
           f"n = {len(values_ms)}"


@pytest.fixture(scope="module", params=kubeapi.BACKENDS)
def kube(request):
    began = time.monotonic()
    with kubeapi.open_kube(request.param) as k:
        say(k, f"ready in {time.monotonic() - began:.2f} s")
        yield k


@pytest.fixture(scope="module")
def real(kube):
    return kube


only_real = pytest.mark.parametrize("kube", ["real"], indirect=True)


@pytest.fixture
def ns(kube, request):
    """A namespace with the manifests of cluster "pg"."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.originalname).lower()
    kube.install(name, "pg")
    yield name
    kube.heal()
    kube.uninstall(name)


def lease(name="pg", **meta):
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, **meta},
            "spec": {"holderIdentity": "pg-0", "leaseDurationSeconds": 5,
                     "renewTime": "2030-01-01T00:00:00.000000Z"}}


def refused(code, call, *args, **kw):
    """The Status that call(...) is refused with."""
    with pytest.raises(ApiError) as e:
        call(*args, **kw)
    assert e.value.code == code, e.value
    return e.value.status


def state_map(ns, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "pg-state", "namespace": ns}, "data": data}


# Both.

def test_lease_compare_and_swap(kube, ns):
    pod = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    c = kube.client(pod.token)
    made = c.create("leases", ns, lease())
    fresh = c.put("leases", ns, {**made, "spec": {**made["spec"], "leaseTransitions": 1}})
    assert fresh["metadata"]["uid"] == made["metadata"]["uid"]
    assert fresh["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    assert refused(409, c.put, "leases", ns, made) == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": 'Operation cannot be fulfilled on leases.coordination.k8s.io "pg": the object '
                   'has been modified; please apply your changes to the latest version and try '
                   'again',
        "reason": "Conflict",
        "details": {"name": "pg", "group": "coordination.k8s.io", "kind": "leases"}, "code": 409}
    assert refused(409, c.create, "leases", ns, lease()) == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": 'leases.coordination.k8s.io "pg" already exists', "reason": "AlreadyExists",
        "details": {"name": "pg", "group": "coordination.k8s.io", "kind": "leases"}, "code": 409}
    blind = refused(422, c.put, "leases", ns, lease())
    assert blind["reason"] == "Invalid"
    assert blind["details"]["causes"][0]["field"] == "metadata.resourceVersion"
    other = {**fresh["metadata"], "uid": "00000000-0000-4000-8000-000000000000"}
    assert refused(409, c.put, "leases", ns, {**fresh, "metadata": other})["reason"] == "Conflict"
    assert c.get("leases", ns, "pg") == fresh


def test_one_of_many_wins(kube, ns):
    base = kube.admin.create("leases", ns, lease())

    def take(i):
        try:
            kube.admin.put("leases", ns, {**base, "spec": {**base["spec"],
                                                           "holderIdentity": f"pg-{i}"}})
            return i
        except ApiError as e:
            assert e.reason == "Conflict", e
            return None
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [i for i in pool.map(take, range(1, 17)) if i is not None]
    assert len(winners) == 1
    assert kube.admin.get("leases", ns, "pg")["spec"]["holderIdentity"] == f"pg-{winners[0]}"


def expect(kube, ns, service, *ips):
    wait.until(lambda: kube.endpoints_of(ns, service) == list(ips), 10, f"{service} to lead to {ips}",
               every=0.01)


def by_label(name):
    """A Service for writers that follows the label, as one may still have."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "publishNotReadyAddresses": True, "ports": [{"name": "postgres", "port": 5432, "targetPort": 5432}],
        "selector": {**kubebase.Kube.labels("pg"), "role": "primary"}}}


def slice_of(service, ip=None, name=None, **meta):
    """An EndpointSlice as the members write it; ip None: it leads nowhere."""
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name or service, "labels": {"kubernetes.io/service-name": service}, **meta},
            "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}] if ip else [],
            "ports": [{"name": "postgres", "protocol": "TCP", "port": 5432}]}


def test_services_follow_labels_and_readiness(kube, ns):
    a = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    kube.add_pod(ns, "pg", "pg-1", "10.1.0.2", ready=False)
    kube.admin.create("services", ns, by_label("by-label"))

    def label(pod, role):
        kube.client(a.token).patch("pods", ns, pod, {"metadata": {"labels": {"role": role}}})

    expect(kube, ns, "pg-pods", "10.1.0.1", "10.1.0.2")
    expect(kube, ns, "pg-r", "10.1.0.1")
    assert kube.endpoints_of(ns, "by-label") == []
    label("pg-0", "primary")
    label("pg-1", "replica")
    expect(kube, ns, "by-label", "10.1.0.1")
    expect(kube, ns, "pg-ro")
    kube.set_ready(kubeapi.Pod(ns, "pg", "pg-1", None, "10.1.0.2", "node-pg-1", None), True)
    expect(kube, ns, "pg-ro", "10.1.0.2")
    kube.set_ready(a, False)
    expect(kube, ns, "pg-r", "10.1.0.2")
    assert kube.endpoints_of(ns, "by-label") == ["10.1.0.1"], "the label alone decides"
    expect(kube, ns, "pg-pods", "10.1.0.1", "10.1.0.2")
    label("pg-0", None)
    kube.set_ready(a, True)
    expect(kube, ns, "pg-r", "10.1.0.1", "10.1.0.2")
    expect(kube, ns, "by-label")
    assert kube.admin.list("endpointslices", ns, selector="kubernetes.io/service-name=pg-rw") == [], \
        "pg-rw has no selector: no label leads it anywhere"
    kube.delete_pod(a)
    expect(kube, ns, "pg-pods", "10.1.0.2")


def test_a_service_without_selector_leads_where_its_slice_says(kube, ns):
    pod = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1", labels={"role": "primary"})
    kube.add_pod(ns, "pg", "pg-1", "10.1.0.2")
    c = kube.client(pod.token)
    expect(kube, ns, "pg-r", "10.1.0.1", "10.1.0.2")
    assert c.list("endpointslices", ns, selector="kubernetes.io/service-name=pg-rw") == []
    made = c.create("endpointslices", ns, slice_of("pg-rw", "10.1.0.2"))
    assert kube.endpoints_of(ns, "pg-rw") == ["10.1.0.2"], "whatever the label says"
    seen = queue.Queue()
    with contextlib.closing(kube.follow_endpoints(ns, "pg-rw", seen.put)):
        assert seen.get(timeout=10) == ["10.1.0.2"]
        at = made["metadata"]["resourceVersion"]
        fresh = c.put("endpointslices", ns, slice_of("pg-rw", "10.1.0.1", resourceVersion=at))
        assert seen.get(timeout=10) == ["10.1.0.1"]
        # Who has not seen that write does not undo it.
        assert refused(409, c.put, "endpointslices", ns,
                       slice_of("pg-rw", "10.1.0.2", resourceVersion=at))["reason"] == "Conflict"
        assert refused(409, c.create, "endpointslices", ns,
                       slice_of("pg-rw", "10.1.0.2"))["reason"] == "AlreadyExists"
        assert kube.endpoints_of(ns, "pg-rw") == ["10.1.0.1"]
        c.put("endpointslices", ns, slice_of("pg-rw", resourceVersion=fresh["metadata"]["resourceVersion"]))
        assert seen.get(timeout=10) == []


def test_a_slice_outlives_the_selector_it_was_made_for(kube, ns):
    """Nobody takes it away, and the Service leads there for ever."""
    kube.add_pod(ns, "pg", "pg-0", "10.1.0.1", labels={"role": "primary"})
    kube.admin.create("services", ns, by_label("by-label"))
    expect(kube, ns, "by-label", "10.1.0.1")
    kube.admin.patch("services", ns, "by-label", {"spec": {"selector": None}})
    # A controller that has acted on what came later has seen this, too.
    kube.admin.create("services", ns, by_label("later"))
    expect(kube, ns, "later", "10.1.0.1")
    kube.admin.patch("pods", ns, "pg-0", {"metadata": {"labels": {"role": None}}})
    expect(kube, ns, "later")
    assert kube.endpoints_of(ns, "by-label") == ["10.1.0.1"]


def test_time_from_label_to_endpoint(kube, ns):
    """Measured: how long routing by a label lags behind it."""
    kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    kube.admin.create("services", ns, by_label("by-label"))
    seen = queue.Queue()
    follower = kube.follow_endpoints(ns, "by-label", lambda ips: seen.put((wait.boot_us(), ips)))
    took = []
    with contextlib.closing(follower):
        assert seen.get(timeout=10)[1] == []
        for i in range(20):
            on = i % 2 == 0
            sent = wait.boot_us()
            kube.admin.patch("pods", ns, "pg-0",
                             {"metadata": {"labels": {"role": "primary" if on else None}}})
            at, ips = seen.get(timeout=10)
            assert ips == (["10.1.0.1"] if on else [])
            took.append((at - sent) / 1000)
    say(kube, f"label PATCH to endpoint change seen by a client: {spread(took)}")


def test_time_from_write_to_endpoint(kube, ns):
    """Measured: the same without a selector."""
    c = kube.client(kube.add_pod(ns, "pg", "pg-0", "10.1.0.1").token, keep_alive=True)
    obj = c.create("endpointslices", ns, slice_of("pg-rw"))
    seen = queue.Queue()
    follower = kube.follow_endpoints(ns, "pg-rw", lambda ips: seen.put((wait.boot_us(), ips)))
    took = []
    with contextlib.closing(c), contextlib.closing(follower):
        assert seen.get(timeout=10)[1] == []
        for i in range(20):
            ip = f"10.1.0.{1 + i % 2}"
            sent = wait.boot_us()
            obj = c.put("endpointslices", ns, slice_of(
                "pg-rw", ip, resourceVersion=obj["metadata"]["resourceVersion"]))
            at, ips = seen.get(timeout=10)
            assert ips == [ip]
            took.append((at - sent) / 1000)
    say(kube, f"EndpointSlice PUT to endpoint change seen by a client: {spread(took)}")


def test_time_of_lease_renewal(kube, ns):
    """Measured: a full PUT on a kept connection."""
    pod = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    c = kube.client(pod.token, keep_alive=True)
    obj = c.create("leases", ns, lease())
    took = []
    with contextlib.closing(c):
        for i in range(50):
            obj["spec"]["leaseTransitions"] = i
            sent = wait.boot_us()
            obj = c.put("leases", ns, obj)
            took.append((wait.boot_us() - sent) / 1000)
    say(kube, f"lease PUT: {spread(took)}")


def test_watch_resumes_where_it_was(kube, ns):
    at = kube.admin.list_raw("leases", ns)["metadata"]["resourceVersion"]
    kube.admin.create("leases", ns, lease())
    kube.admin.delete("leases", ns, "pg")
    with kube.admin.watch("leases", ns, name="pg", since=at, idle_s=10) as w:
        events = iter(w)
        assert [next(events)[0], next(events)[0]] == ["ADDED", "DELETED"]


def test_tokens(kube, ns, tmp_path):
    pod = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    assert [p["metadata"]["uid"] for p in kube.client(pod.token).list("pods", ns)] == [pod.uid]
    refused(401, kube.client("no-such-token").list, "pods", ns)
    refused(403, kube.client(pod.token).list, "pods", "kube-system")
    counts = kube.denied()
    assert {r["code"] for r in counts} == {401, 403}

    env = kube.member_env(pod, str(tmp_path))
    first = pod.token
    with open(env["PGHA_KUBE_TOKEN_FILE"]) as f:
        assert f.read() == first
    kube.write_credentials(pod, str(tmp_path))
    with open(env["PGHA_KUBE_TOKEN_FILE"]) as f:
        second = f.read()
    assert second == pod.token != first
    assert len(Client(env["PGHA_KUBE_SERVER"], env.get("PGHA_KUBE_CA_FILE"),
                      token=second).list("pods", ns)) == 1
    with open(tmp_path / "namespace") as f:
        assert f.read() == ns
    # One version is left: the old one is gone with the swap.
    assert len([n for n in os.listdir(tmp_path) if n.startswith("..")]) == 2


def test_kubeconfig(kube, ns, tmp_path):
    path = kube.write_kubeconfig(str(tmp_path / "config"), ns, token=None)
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path) as f:
        config = yaml.safe_load(f)
    assert config["contexts"][0]["context"]["namespace"] == ns
    assert config["clusters"][0]["cluster"]["server"] == kube.url
    hactl_user = config["users"][0]["user"]
    assert "token" in hactl_user or "client-certificate-data" in hactl_user


def test_pod_goes_in_two_steps(kube, ns):
    pod = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    kube.delete_pod(pod, grace_s=30)
    assert "deletionTimestamp" in kube.admin.get("pods", ns, "pg-0")["metadata"]
    kube.delete_pod(pod)
    assert kube.admin.find("pods", ns, "pg-0") is None
    again = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    assert again.uid != pod.uid


def test_pause(kube, ns):
    made = kube.admin.create("leases", ns, lease())
    kube.pause()
    with pytest.raises(TimeoutError):
        kube.admin.call("GET", Client.path("leases", ns, "pg"), timeout_s=0.5)
    kube.resume()
    assert kube.admin.get("leases", ns, "pg") == made


def test_down_and_up(kube, ns):
    made = kube.admin.create("leases", ns, lease())
    kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    seen = queue.Queue()
    follower = kube.follow_endpoints(ns, "pg-pods", seen.put)
    with contextlib.closing(follower):
        wait.until(lambda: seen.get(timeout=10) == ["10.1.0.1"], 10, "the first endpoint")
        kube.down()
        with pytest.raises(ConnectionRefusedError):
            kube.admin.get("leases", ns, "pg")
        began = time.monotonic()
        kube.up()
        say(kube, f"back {time.monotonic() - began:.2f} s after an outage")
        assert kube.admin.get("leases", ns, "pg") == made
        assert seen.empty()  # an outage changes no routing
        kube.add_pod(ns, "pg", "pg-1", "10.1.0.2")
        assert seen.get(timeout=30) == ["10.1.0.1", "10.1.0.2"]


def test_flaky_then_well(kube, ns):
    pod = kube.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    c = kube.client(pod.token, timeout_s=0.7)
    bad = good = 0
    with kube.flaky():
        end = time.monotonic() + 60
        while (bad < 5 or good < 5) and time.monotonic() < end:
            try:
                if c.call("GET", c.path("pods", ns)).code == 200:
                    good += 1
                else:
                    bad += 1
            except Exception:  # whatever a broken connection looks like
                bad += 1
    assert bad >= 5 and good >= 5, (bad, good)
    for _ in range(50):
        assert kube.client(pod.token).call("GET", c.path("pods", ns)).code == 200


def test_uninstall_leaves_nothing(kube):
    kube.install("leaving", "pg")
    kube.add_pod("leaving", "pg", "pg-0", "10.1.0.1")
    kube.admin.create("leases", "leaving", lease())
    kube.uninstall("leaving", wait_s=30)
    assert kube.admin.find("namespaces", None, "leaving") is None
    assert kube.admin.list("leases", "leaving") == []


def test_dies_with_its_harness(kube):
    """Killed without a chance to clean up, a harness leaves no server behind."""
    code = (f"import sys; sys.path.insert(0, {LIB!r}); import kubeapi\n"
            f"k = kubeapi.open_kube({kube.backend!r}).start()\n"
            "ds = [d for d in vars(k).values() if hasattr(d, 'proc')]\n"
            "print(k.dir, *[d.proc.pid for d in ds], flush=True)\n"
            "sys.stdin.read()\n")
    p = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    try:
        directory, *pids = p.stdout.readline().split()
        assert len(pids) == (3 if kube.backend == "real" else 1)
        # It runs beside the one of these tests, and both answer.
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
        assert kube.admin.list("namespaces") is not None
    finally:
        p.send_signal(signal.SIGKILL)
        p.wait()
        p.stdin.close()
        p.stdout.close()

    def gone():
        return not any(running(int(pid)) for pid in pids)
    wait.until(gone, 10, "the servers to end")
    subprocess.run(["rm", "-rf", directory], check=True)


def running(pid):
    """Dead and waiting to be reaped counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# The real one.

@only_real
def test_role_allows_what_members_do(real, ns):
    pod = real.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    real.add_pod(ns, "pg", "pg-1", "10.1.0.2")
    real.forget_requests()
    c = real.client(pod.token)
    obj = c.create("leases", ns, lease())
    c.put("leases", ns, c.get("leases", ns, "pg"))
    assert [x["metadata"]["name"] for x in c.list("leases", ns, fields="metadata.name=pg")] == ["pg"]
    with c.watch("leases", ns, name="pg", idle_s=10) as w:
        assert next(iter(w))[1]["metadata"]["uid"] == obj["metadata"]["uid"]
    # Its own label, and taking the label from another.
    for name in ("pg-0", "pg-1"):
        c.patch("pods", ns, name, {"metadata": {"labels": {"role": "primary"}}})
        c.patch("pods", ns, name, {"metadata": {"labels": {"role": None}}})
    with c.watch("pods", ns, selector=real.selector("pg"), idle_s=10) as w:
        assert next(iter(w))[0] == "ADDED"
    state = c.create("configmaps", ns, state_map(ns, system_id="1"))
    c.put("configmaps", ns, state)
    c.patch("configmaps", ns, "pg-state", {"data": {"x": "y"}})
    with c.watch("configmaps", ns, name="pg-state", idle_s=10) as w:
        assert next(iter(w))[1]["data"] == {"system_id": "1", "x": "y"}
    assert c.get("services", ns, "pg-rw")["spec"].get("selector") is None
    where = c.create("endpointslices", ns, slice_of("pg-rw", "10.1.0.1"))
    c.put("endpointslices", ns, where)
    assert len(c.list("endpointslices", ns, selector="kubernetes.io/service-name=pg-rw")) == 1
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    c.create("events", ns, {
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "pg-"},
        "eventTime": now, "reportingController": "pghad", "reportingInstance": "pg-0",
        "action": "Promote", "reason": "Promoted", "type": "Normal",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "pg-0", "namespace": ns}})
    assert real.denied() == []
    assert {r["pod"] for r in real.requests() if r["user"] == f"system:serviceaccount:{ns}:pg"} \
        == {"pg-0"}


FORBIDDEN = [
    ("GET", "secrets", None), ("GET", "secrets", "any"), ("GET", "leases", None),
    ("GET", "leases", "other"), ("PUT", "leases", "other"), ("PATCH", "leases", "pg"),
    ("DELETE", "leases", "pg"), ("GET", "configmaps", None), ("GET", "configmaps", "other"),
    ("PUT", "configmaps", "other"), ("DELETE", "configmaps", "pg-state"),
    ("POST", "pods", None), ("DELETE", "pods", "pg-0"), ("PUT", "pods", "pg-0"),
    ("GET", "nodes", None), ("GET", "namespaces", None), ("GET", "events", None),
    ("GET", "services", None), ("GET", "services", "pg-ro"), ("PUT", "services", "pg-rw"),
    ("PATCH", "services", "pg-rw"), ("GET", "endpointslices", "pg-rw"), ("PUT", "endpointslices", "other"),
    ("PATCH", "endpointslices", "pg-rw"), ("DELETE", "endpointslices", "pg-rw"),
    ("DELETE", "endpointslices", "other"), ("DELETE", "endpointslices", None),
    ("POST", "rolebindings", None), ("GET", "statefulsets", None),
]


@only_real
def test_role_allows_no_more(real, ns):
    pod = real.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    c = real.client(pod.token)
    real.admin.create("leases", ns, lease())
    real.admin.create("leases", ns, lease("other"))
    real.admin.create("configmaps", ns, state_map(ns))
    slices = [real.admin.create("endpointslices", ns, slice_of("pg-rw", name=name)) for name in ("pg-rw", "other")]
    for method, kind, name in FORBIDDEN:
        body = {} if method in ("POST", "PUT", "PATCH") else None
        kinds = "application/merge-patch+json" if method == "PATCH" else "application/json"
        a = c.call(method, c.path(kind, ns, name), body, kinds)
        assert a.code == 403, (method, kind, name, a.code, a.body)
    a = c.call("PATCH", c.path("pods", ns, "pg-0", "status"), {}, "application/merge-patch+json")
    assert a.code == 403, "a member must not declare itself ready"
    assert len(real.admin.list("leases", ns)) == 2
    for made in slices:
        assert real.admin.get("endpointslices", ns, made["metadata"]["name"]) == made


@only_real
def test_what_arrives_after_its_cluster_is_no_fault(real):
    """A dead member's request may still be on its way. What the next cluster there is refused is one again."""
    def events():
        a = c.call("POST", c.path("events", "late"), {})
        return a.code, [f for f in real.proof().verdict(whole=False) if "'late'" in f]
    real.install("late", "pg")
    c = real.client(real.add_pod("late", "pg", "pg-0", "10.1.0.1").token)
    c.list("pods", "late")  # the server keeps the token for ten seconds
    real.uninstall("late")
    assert events() == (403, [])
    wait.until(lambda: real.admin.find("namespaces", None, "late") is None, 30, "the namespace to go")
    real.install("late", "pg")
    c = real.client(real.add_pod("late", "pg", "pg-0", "10.1.0.1").token)
    assert c.call("GET", c.path("secrets", "late")).code == 403
    assert [f.split(" secrets")[0][-4:] for f in real.proof().verdict(whole=False) if "'late'" in f] == ["list"]
    real.uninstall("late")


@only_real
def test_token_dies_with_its_pod(real, ns):
    pod = real.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    c = real.client(pod.token)
    c.list("pods", ns)
    real.delete_pod(pod)
    real.add_pod(ns, "pg", "pg-0", "10.1.0.1")
    began = time.monotonic()
    wait.until(lambda: c.call("GET", c.path("pods", ns)).code == 401, 90,
               "the token of the deleted pod to be refused")
    say(real, f"token refused {time.monotonic() - began:.1f} s after its pod was deleted")


@only_real
def test_store_stalls_and_restarts(real, ns):
    obj = real.admin.create("leases", ns, lease())
    real.etcd.signal(signal.SIGSTOP)
    obj["spec"]["leaseTransitions"] = 1
    path = real.admin.path("leases", ns, "pg", timeout="1s")

    def put():
        """The code of the answer, 0 where the server closed the connection without one."""
        try:
            return real.admin.call("PUT", path, obj).code
        except http.client.RemoteDisconnected:
            return 0

    assert put() in (0, 500, 504)
    real.resume()
    real.kill_etcd()
    code = put()
    assert code == 0 or code >= 500
    real.up()
    # Whether the write that got no answer was committed is for the reader to find out.
    assert real.admin.get("leases", ns, "pg")["metadata"]["uid"] == obj["metadata"]["uid"]


@only_real
def test_memory(real):
    for d in (real.etcd, real.apiserver, real.controller_manager):
        d.check()
        say(real, f"{d.name}: {d.memory_kb() // 1024} MB")


def test_manifests_name_only_their_cluster():
    for _, obj in kubebase.manifests("db", "blue"):
        text = yaml.safe_dump(obj)
        assert "pg" not in text.replace("pghad", ""), text
        assert obj["metadata"]["namespace"] == "db"
