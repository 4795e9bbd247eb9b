"""What all back ends of kubeapi.py have in common; the interface is documented there and here."""
import atexit
import concurrent.futures
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import yaml

import wait
from kubeclient import KINDS, ApiError

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MANIFESTS = ("k8s/base/rbac.yaml", "k8s/base/services.yaml")
PLURAL = {"ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings",
          "Service": "services"}


def utc_now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def free_port(host):
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


# The kernel ties a process to the thread that started it, not to the whole parent, so all are
# started by one thread that lives as long as the program.
_spawner = concurrent.futures.ThreadPoolExecutor(1, "spawner")


class Daemon:
    """A server process that is killed when this program ends, however it ends."""

    def __init__(self, argv, log):
        self.name, self.log = os.path.basename(argv[0]), log
        with open(log, "ab") as out:
            self._log_from = out.tell()
            # A process group of its own: an interrupt from the terminal is for the harness, which
            # then stops its servers in order.
            self.proc = _spawner.submit(
                subprocess.Popen, ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0).result()

    def running(self):
        return self.proc.poll() is None

    def check(self):
        """Raises if it has ended, with the end of its log."""
        if not self.running():
            raise RuntimeError(f"{self.name} ended with {self.proc.returncode}:\n{self.tail()}")

    def tail(self, n=15):
        with open(self.log, "rb") as f:
            f.seek(self._log_from)
            return "".join(line.decode(errors="replace") for line in f.readlines()[-n:])

    def signal(self, sig):
        if self.running():
            self.proc.send_signal(sig)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.proc.wait()

    def memory_kb(self):
        with open(f"/proc/{self.proc.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


TOKEN_S = 24 * 3600  # longer than any test: nobody here renews tokens as a kubelet does


class Pod:
    """A pod that the harness made: namespace, cluster, name, uid, ip, node, token."""

    def __init__(self, namespace, cluster, name, uid, ip, node, token):
        self.namespace, self.cluster, self.name, self.uid = namespace, cluster, name, uid
        self.ip, self.node, self.token = ip, node, token


def rename(value, old, new):
    """Replaces the cluster's name wherever a manifest has it: "pg", "pg-rw", "pg-state"."""
    if isinstance(value, dict):
        return {k: rename(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [rename(v, old, new) for v in value]
    if isinstance(value, str) and (value == old or value.startswith(old + "-")):
        return new + value[len(old):]
    return value


def manifests(namespace, cluster, paths=MANIFESTS):
    """The shipped objects for one cluster, as (plural, object) in the order to create them."""
    for path in paths:
        with open(os.path.join(ROOT, path)) as f:
            for doc in yaml.safe_load_all(f):
                obj = rename(doc, "pg", cluster)
                obj["metadata"]["namespace"] = namespace
                for subject in obj.get("subjects", ()):
                    subject["namespace"] = namespace
                yield PLURAL[obj["kind"]], obj


class Kube:
    """One API server and what belongs to it. Subclasses say how it runs."""

    backend = None     # "real" or "devkube"
    enforces = False   # RBAC: requests beyond the Role get 403
    faults = None      # means to inject faults, see the subclass
    serves = set(KINDS)  # kinds of objects it knows

    def __init__(self, host="127.0.0.1", directory=None):
        """host: address that it listens on, reachable for the members. directory: kept if given."""
        self.host = host
        self.port = None
        self.url = None      # https://host:port
        self.ca_file = None  # None where the URL is plain http
        self.admin = None    # Client with all rights
        self._keep = directory is not None
        self.dir = directory
        self._started = False

    # Life.

    def start(self):
        """Returns self when the server is ready for requests."""
        if not self.dir:
            self.dir = tempfile.mkdtemp(prefix=f"pghad-{self.backend}-",
                                        dir=os.environ.get("PGHA_SANDBOX"))
        os.makedirs(self.dir, exist_ok=True)
        atexit.register(self.stop)
        self._started = True
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """Ends the servers and removes the directory; harmless when done twice."""
        if not self._started:
            return
        self._started = False
        atexit.unregister(self.stop)
        self._stop()
        if not self._keep:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def _start(self):
        raise NotImplementedError

    def _stop(self):
        raise NotImplementedError

    # Outages.

    def pause(self):
        """The server hangs: connections stay open or are accepted by the kernel, no answers."""
        raise NotImplementedError

    def resume(self):
        """Ends pause(); harmless otherwise."""
        raise NotImplementedError

    def down(self):
        """The server is gone without a word; connections are refused. Its objects survive."""
        raise NotImplementedError

    def up(self):
        """Ends down(); harmless otherwise. Returns when it answers again, at the same address."""
        raise NotImplementedError

    def heal(self):
        """Ends every outage and fault, whatever a test left behind."""
        if self.faults:
            self.faults.clear()
        self.resume()
        self.up()

    @contextlib.contextmanager
    def flaky(self):
        """While it lasts, requests fail every now and then, some after they were committed. Each
        back end does it by its own means; the way out heals."""
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1, "flaky") as pool:
            job = pool.submit(self._flaky, stop)
            try:
                yield
            finally:
                stop.set()
                concurrent.futures.wait([job])
                self.heal()
                job.result()

    def _flaky(self, stop):
        """Runs in a thread until stop is set; may leave an outage to heal()."""
        raise NotImplementedError

    # Identities.

    def client(self, token, **options):
        """A Client that is who the token says."""
        raise NotImplementedError

    def _token(self, pod_namespace, cluster, pod_name, pod_uid, seconds):
        """pod_uid None: of the ServiceAccount alone, so that it outlives the pod."""
        raise NotImplementedError

    def write_credentials(self, pod, directory, seconds=TOKEN_S, bound=True):
        """Writes token, ca.crt and namespace as the kubelet does: a second call rotates the token
        by one atomic swap of the symbolic link ..data. bound: refused when the pod is gone."""
        pod.token = self._token(pod.namespace, pod.cluster, pod.name, pod.uid if bound else None, seconds)
        os.makedirs(directory, exist_ok=True)
        data = tempfile.mkdtemp(prefix="..", dir=directory)
        os.chmod(data, 0o755)
        files = {"token": pod.token, "namespace": pod.namespace}
        if self.ca_file:
            with open(self.ca_file) as f:
                files["ca.crt"] = f.read()
        for name, text in files.items():
            with open(os.path.join(data, name), "w") as f:
                f.write(text)
            os.chmod(f.name, 0o644)
        link, old = os.path.join(directory, "..data"), None
        if os.path.islink(link):
            old = os.readlink(link)
        os.symlink(os.path.basename(data), link + "_tmp")
        os.rename(link + "_tmp", link)
        for name in files:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                os.symlink(os.path.join("..data", name), path)
        if old:
            shutil.rmtree(os.path.join(directory, old))

    def member_env(self, pod, directory):
        """Environment for pghad of this pod; writes the credentials into `directory` first."""
        self.write_credentials(pod, directory)
        env = {
            "POD_NAME": pod.name, "POD_NAMESPACE": pod.namespace, "POD_UID": pod.uid,
            "POD_IP": pod.ip, "NODE_NAME": pod.node,
            "PGHA_CLUSTER_NAME": pod.cluster, "PGHA_CLUSTER_NAMESPACE": pod.namespace,
            "PGHA_CLUSTER_SELECTOR": self.selector(pod.cluster),
            "PGHA_KUBE_SERVER": self.url,
            "PGHA_KUBE_TOKEN_FILE": os.path.join(directory, "token"),
        }
        if self.ca_file:
            env["PGHA_KUBE_CA_FILE"] = os.path.join(directory, "ca.crt")
        return env

    def write_kubeconfig(self, path, namespace="default", token=None, user=None):
        """kubeconfig of the administrator, of a token, or of a user entry; returns path."""
        cluster = {"server": self.url}
        if self.ca_file:
            cluster["certificate-authority"] = self.ca_file
        user = user or ({"token": token} if token else self._admin_user())
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test",
                                                      "namespace": namespace}}],
        }
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            yaml.safe_dump(config, f, sort_keys=False)
        return path

    def _admin_user(self):
        raise NotImplementedError

    # Clusters and pods.

    @staticmethod
    def labels(cluster):
        """Labels of a member's pod from its template; the role label comes from the member."""
        return {"app.kubernetes.io/name": "pghad", "app.kubernetes.io/instance": cluster}

    @classmethod
    def selector(cls, cluster):
        return ",".join(f"{k}={v}" for k, v in cls.labels(cluster).items())

    def install(self, namespace, cluster):
        """Namespace, ServiceAccount, Role, RoleBinding and Services of one cluster. Idempotent."""
        self.admin.ensure("namespaces", None, {"metadata": {"name": namespace}})
        for kind, obj in manifests(namespace, cluster):
            if kind not in self.serves:
                continue
            self.admin.ensure(kind, namespace, obj)
        self._settle(namespace, cluster)

    def _settle(self, namespace, cluster):
        """Returns when the rights of the cluster's ServiceAccount are in force."""

    def allow_service(self, namespace, cluster, service):
        """Gives the members of the cluster the right to lead one more Service."""

    def uninstall(self, namespace, wait_s=None):
        """Removes the objects of the namespace, then the namespace itself, which takes seconds:
        wait_s waits for that."""
        for kind in ("pods", "leases", "configmaps", "services"):
            for obj in self.admin.list(kind, namespace):
                self.admin.delete(kind, namespace, obj["metadata"]["name"], grace_s=0,
                                  missing_ok=True)
        self.admin.delete("namespaces", None, namespace, missing_ok=True)
        if wait_s:
            wait.until(lambda: self.admin.find("namespaces", None, namespace) is None, wait_s,
                       f"namespace {namespace} to go")

    def add_pod(self, namespace, cluster, name, ip, node=None, labels=None, ready=True):
        """Makes the pod as StatefulSet controller, scheduler and kubelet would, and its Node.

        A pod of that name must not exist; a new one gets a new uid. Returns a Pod with a token.
        """
        node = node or f"node-{name}"
        self.admin.ensure("nodes", None, {"metadata": {
            "name": node, "labels": {"kubernetes.io/hostname": node}}})
        pod = self.admin.create("pods", namespace, {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {
                **self.labels(cluster), "statefulset.kubernetes.io/pod-name": name,
                **(labels or {})}},
            "spec": {
                "nodeName": node, "serviceAccountName": cluster, "hostname": name,
                "subdomain": f"{cluster}-pods", "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "postgres", "image": "pghad"}]},
        })
        made = Pod(namespace, cluster, name, pod["metadata"]["uid"], ip, node, None)
        self.set_ready(made, ready)
        made.token = self._token(namespace, cluster, name, made.uid, TOKEN_S)
        return made

    def set_ready(self, pod, ready):
        """Reports the pod as running, with its address, ready or not."""
        now = utc_now()
        state = "True" if ready else "False"
        self.admin.patch("pods", pod.namespace, pod.name, {"status": {
            "phase": "Running", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "startTime": now,
            "conditions": [{"type": t, "status": state, "lastTransitionTime": now}
                           for t in ("Ready", "ContainersReady")]}}, sub="status")

    def delete_pod(self, pod, grace_s=0):
        """grace_s > 0 marks it as going (deletionTimestamp), as an eviction does; call again with 0
        when the member has ended, as the kubelet does."""
        self.admin.delete("pods", pod.namespace, pod.name, grace_s=grace_s, missing_ok=True)

    # Services.

    def endpoints_of(self, namespace, service):
        """Ready addresses behind a Service, sorted."""
        found = set()
        for s in self.admin.list("endpointslices", namespace,
                                 selector=f"kubernetes.io/service-name={service}"):
            for e in s.get("endpoints") or ():
                # Absent means ready.
                if (e.get("conditions") or {}).get("ready") is not False:
                    found.update(e["addresses"])
        return sorted(found)

    def follow_endpoints(self, namespace, service, callback):
        """Calls callback(addresses) from a thread of its own: first at once, then on each change.
        It outlives outages of the API server, as the rules of a node do. Returns a handle with
        close()."""
        return Follower(self, namespace, service, callback)

    # What was asked of it.

    def request_counts(self):
        """Requests since the start or forget_requests(), as dicts: user, verb, resource (with
        /subresource), code, count. Watches count when they begin."""
        raise NotImplementedError

    def forget_requests(self):
        raise NotImplementedError

    def denied(self):
        """The counts of requests of ServiceAccounts that were forbidden (403), and of all that were
        not authenticated (401)."""
        return [r for r in self.request_counts()
                if r["code"] == 401 or
                (r["code"] == 403 and r["user"].startswith("system:serviceaccount:"))]


class Follower:
    def __init__(self, kube, namespace, service, callback):
        self._kube, self._ns, self._service, self._callback = kube, namespace, service, callback
        self._watch = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name=f"endpoints of {service}")
        self._thread.start()

    def _run(self):
        last = None
        selector = f"kubernetes.io/service-name={self._service}"
        while not self._stop.is_set():
            try:
                with self._kube.admin.watch("endpointslices", self._ns, selector=selector,
                                            idle_s=3600) as w:
                    self._watch = w
                    # The first answer is read after the watch began: no change falls between.
                    for event in self._events(w):
                        del event
                        now = self._kube.endpoints_of(self._ns, self._service)
                        if now != last:
                            last = now
                            self._callback(now)
            except (OSError, ValueError, ApiError, http.client.HTTPException):
                pass
            # The server is away: the old addresses stay in force until it is back.
            self._stop.wait(0.2)

    def _events(self, w):
        yield None
        for event in w:
            if self._stop.is_set():
                return
            yield event

    def close(self):
        self._stop.set()
        if self._watch:
            self._watch.close()
        self._thread.join(5)
