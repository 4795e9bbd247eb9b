"""RealKube: etcd, kube-apiserver and kube-controller-manager as processes on this machine.

The programs come from TEST_ASSET_KUBE_APISERVER, TEST_ASSET_ETCD, TEST_ASSET_KUBE_CONTROLLER_MANAGER,
else from KUBEBUILDER_ASSETS, else from test/kubernetes/bin (`make kube-bins`). There is no kubelet
and no scheduler: add_pod() plays them.
"""
import base64
import collections
import contextlib
import datetime
import glob
import json
import os
import random
import secrets
import signal
import subprocess
import time

import kubebase
import rbac
import wait
from kubebase import Daemon, Kube, free_port
from kubeclient import Client

BIN = os.path.join(kubebase.ROOT, "test/kubernetes/bin")
ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVICE_NET = "10.96.0.0/16"
# endpointslice: what the Services lead to. serviceaccount: "default" in each namespace.
# namespace: removal of a namespace removes what is in it. statefulset: pods and their revisions, where
# a test makes a StatefulSet.
CONTROLLERS = ("endpointslice-controller,serviceaccount-controller,namespace-controller,"
               "statefulset-controller")
# Who asked for what and what came of it; no bodies. The controllers, the server itself and the
# harness are left out: their requests say nothing about the members and are most of all.
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:apiserver, kube-controller-manager, admin]
  - level: None
    nonResourceURLs: ["/readyz*", "/livez*"]
  - level: Metadata
"""


POD_NAME = "authentication.kubernetes.io/pod-name"


def _seconds(timestamp):
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def find_program(name):
    """Path of a control plane program, or None."""
    explicit = os.environ.get("TEST_ASSET_" + name.upper().replace("-", "_"))
    if explicit:
        return explicit
    for directory in (os.environ.get("KUBEBUILDER_ASSETS"), BIN):
        if directory and os.access(os.path.join(directory, name), os.X_OK):
            return os.path.join(directory, name)
    return None


def missing_programs():
    return [n for n in ("etcd", "kube-apiserver", "kube-controller-manager") if not find_program(n)]


class Pki:
    """A certificate authority and what it signed, as files of a directory."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(directory, mode=0o700)
        self.ca = self.path("ca.crt")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-days", "3650", "-subj", "/CN=pghad-test-ca",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                      "-keyout", self.path("ca.key"), "-out", self.ca)

    def path(self, name):
        return os.path.join(self.dir, name)

    @staticmethod
    def _openssl(*args):
        r = subprocess.run(["openssl", *args], capture_output=True, text=True)
        if r.returncode != 0:
            raise RuntimeError(f"openssl {args[0]}: {r.stderr.strip()}")

    def issue(self, name, subject, names=()):
        """Makes name.crt and name.key, for a server when it has names, else for a client."""
        key, csr, crt, ext = (self.path(f"{name}.{s}") for s in ("key", "csr", "crt", "ext"))
        with open(ext, "w") as f:
            f.write("keyUsage=digitalSignature\nextendedKeyUsage="
                    f"{'serverAuth' if names else 'clientAuth'}\n")
            if names:
                f.write(f"subjectAltName={','.join(names)}\n")
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-subj", subject, "-keyout", key, "-out", csr)
        self._openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.path("ca.key"),
                      "-set_serial", str(secrets.randbits(63)), "-days", "3650",
                      "-extfile", ext, "-out", crt)
        return crt, key

    def key_pair(self, name):
        key, pub = self.path(f"{name}.key"), self.path(f"{name}.pub")
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        self._openssl("ec", "-in", key, "-pubout", "-out", pub)
        return key, pub


class RealKube(Kube):
    """host: address to listen on, or 0.0.0.0 with `address`, the one that members use."""

    backend = "real"
    enforces = True

    def __init__(self, host="127.0.0.1", directory=None, address=None, controllers=CONTROLLERS,
                 start_timeout_s=None, audit=True):
        super().__init__(host, directory)
        self.address = address or ("127.0.0.1" if host == "0.0.0.0" else host)
        self.controllers, self.audit = controllers, audit
        self.start_timeout_s = start_timeout_s or float(
            os.environ.get("KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", "60s").rstrip("s"))
        self.etcd = self.apiserver = self.controller_manager = None
        self._audit_from = 0
        self.accounts = {}  # {user name: rbac.Account}
        self.windows = []   # rbac.Window: when a refusal says nothing
        self._leaving = {}  # {namespace that was uninstalled: its Window}
        self.ready_s = None  # what start() took until the API server was ready, in seconds

    def _path(self, *names):
        return os.path.join(self.dir, *names)

    # Life.

    def _start(self):
        absent = missing_programs()
        if absent:
            raise RuntimeError(f"no {', '.join(absent)}: run `make kube-bins` or set "
                               "KUBEBUILDER_ASSETS")
        began = wait.boot_s()
        self._make_keys()
        with open(self._path("audit-policy.yaml"), "w") as f:
            f.write(AUDIT_POLICY)
        # A port that was free a moment ago may be taken by now; then the server ends at once.
        for attempt in range(3):
            try:
                self._pick_ports()
                self._run_etcd()
                self._run_apiserver()
                break
            except RuntimeError as e:
                self._kill(self.apiserver, self.etcd)
                if attempt == 2 or "address already in use" not in str(e):
                    raise
        self.ready_s = wait.boot_s() - began
        self._run_controllers()

    def _make_keys(self):
        self.pki = Pki(self._path("pki"))
        self.ca_file = self._path("trusted.crt")
        self._trust(self.pki)
        self._issue_serving(self.pki)
        self.admin_cert = self.pki.issue("admin", "/O=system:masters/CN=admin")
        # A name of its own keeps the controllers out of the audit log.
        self.manager_cert = self.pki.issue("manager",
                                           "/O=system:masters/CN=kube-controller-manager")
        self.pki.key_pair("sa")

    def _issue_serving(self, pki):
        hosts = sorted({"127.0.0.1", "10.96.0.1", self.address})
        names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default.svc",
                 "DNS:kubernetes.default.svc.cluster.local", *(f"IP:{h}" for h in hosts)]
        self.serving = pki.issue("server", "/CN=kube-apiserver", names)

    def _trust(self, *authorities):
        """What clients are given as ca.crt from now on."""
        text = ""
        for pki in authorities:
            with open(pki.ca) as f:
                text += f.read()
        with open(self.ca_file + ".new", "w") as f:
            f.write(text)
        os.rename(self.ca_file + ".new", self.ca_file)

    def _pick_ports(self):
        self.port = free_port(self.host)
        self._etcd_url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        self._etcd_peer = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        self.url = f"https://{self.address}:{self.port}"
        self.admin = Client(self.url, self.ca_file, *self.admin_cert)

    def _run_etcd(self):
        self.etcd = Daemon([
            find_program("etcd"), "--name=test", "--data-dir", self._path("etcd"),
            "--listen-client-urls", self._etcd_url, "--advertise-client-urls", self._etcd_url,
            "--listen-peer-urls", self._etcd_peer, "--initial-advertise-peer-urls", self._etcd_peer,
            "--initial-cluster", f"test={self._etcd_peer}", "--unsafe-no-fsync",
            "--log-level=warn"], self._path("etcd.log"))

    def _run_apiserver(self):
        pki = self.pki.path
        argv = [
            find_program("kube-apiserver"), f"--etcd-servers={self._etcd_url}",
            f"--bind-address={self.host}", f"--secure-port={self.port}",
            # Without it the server looks for a default route, which a test's network has not; a
            # loopback address is refused as an endpoint of the kubernetes Service: keep none.
            f"--advertise-address={self.address}", "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self.serving[0]}", f"--tls-private-key-file={self.serving[1]}",
            f"--client-ca-file={self.pki.ca}", "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={SERVICE_NET}", f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={pki('sa.pub')}",
            f"--service-account-signing-key-file={pki('sa.key')}",
            "--anonymous-auth=false", "--profiling=false",
        ]
        if self.audit:
            argv += [f"--audit-policy-file={self._path('audit-policy.yaml')}",
                     f"--audit-log-path={self._path('audit.log')}", "--audit-log-mode=blocking"]
        # Until its caches are filled it may refuse what it will allow.
        starting = rbac.Window(time.time(), float("inf"))
        self.windows.append(starting)
        try:
            self.apiserver = Daemon(argv, self._path("kube-apiserver.log"))
            self._wait_ready()
        finally:
            starting.end_s = time.time()

    def _wait_ready(self):
        def ready():
            for d in (self.etcd, self.apiserver):
                if not d.running():
                    return True
            return self.admin.call("GET", "/readyz", timeout_s=5).code == 200
        wait.until(ready, self.start_timeout_s, "the API server to be ready", every=0.02)
        for d in (self.etcd, self.apiserver):
            d.check()

    def _run_controllers(self):
        kubeconfig = self._path("manager.kubeconfig")
        self.write_kubeconfig(kubeconfig, user=self._user(self.manager_cert))
        # By default a controller writes 20 objects a second after a burst of 30, a bound that tests
        # in close succession reach and a cluster in daily life does not.
        self.controller_manager = Daemon([
            find_program("kube-controller-manager"), f"--kubeconfig={kubeconfig}",
            "--leader-elect=false", "--secure-port=0",
            "--kube-api-qps=1000", "--kube-api-burst=1000", f"--controllers={self.controllers}",
            f"--root-ca-file={self.ca_file}", f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}"],
            self._path("kube-controller-manager.log"))

    @staticmethod
    def _kill(*daemons):
        for d in daemons:
            if d:
                d.kill()

    def _stop(self):
        # The controllers first, or they fill their log with complaints.
        self._kill(self.controller_manager, self.apiserver, self.etcd)

    # Outages.

    def pause(self):
        self.apiserver.signal(signal.SIGSTOP)

    def resume(self):
        self.etcd.signal(signal.SIGCONT)
        self.apiserver.signal(signal.SIGCONT)

    def down(self):
        self.apiserver.kill()

    def up(self):
        """Also starts what else has ended."""
        if not self.etcd.running():
            self._run_etcd()
        if self.apiserver.running():
            self._wait_ready()
        else:
            self._run_apiserver()
        if not self.controller_manager.running():
            self._run_controllers()

    def exchange_ca(self, pods):
        """Yields twice: the server has come back with the certificate of a new authority, while old and new
        are trusted; then with another one of it, and the old one is trusted no more. pods: {directory of
        credentials: Pod}."""
        new, old = Pki(self._path(f"pki-{secrets.token_hex(4)}")), self.pki
        for trusted in (old, new), (new,):
            self._trust(*trusted)
            for directory, pod in pods.items():
                self.write_credentials(pod, directory)
            self._issue_serving(new)
            self.admin = Client(self.url, self.ca_file, *self.admin_cert)
            self._kill(self.controller_manager, self.apiserver)
            self.up()
            yield

    def pause_etcd(self):
        """The API server answers, but no read or write of the store completes; resume() ends it."""
        self.etcd.signal(signal.SIGSTOP)

    def kill_etcd(self):
        """The API server stays without its store until up()."""
        self.etcd.kill()

    def _flaky(self, stop):
        """What happens to a control plane in trouble: its store stalls (504, or nothing in time,
        and the write may be committed all the same), the store restarts (500, 503), the server
        hangs, the server is replaced (replies lost, connections refused)."""
        dice = random.Random(1)

        def stall(daemon):
            daemon.signal(signal.SIGSTOP)
            stop.wait(dice.uniform(0.2, 1.2))
            daemon.signal(signal.SIGCONT)

        def restart_etcd():
            self.kill_etcd()
            self.up()

        def restart_apiserver():
            self.down()
            self.up()

        while not stop.wait(dice.uniform(0.2, 1.0)):
            dice.choice((lambda: stall(self.etcd), lambda: stall(self.apiserver), restart_etcd,
                         restart_apiserver))()

    # Identities.

    def client(self, token, **options):
        return Client(self.url, self.ca_file, token=token, **options)

    def _token(self, pod_namespace, cluster, pod_name, pod_uid, seconds):
        spec = {"expirationSeconds": seconds}
        if pod_uid:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": pod_uid}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        token = self.admin.create("serviceaccounts", pod_namespace, request, name=cluster,
                                  sub="token")["status"]["token"]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                  "spec": {"token": token}}
        wait.until(lambda: self.admin.create("tokenreviews", None, review)["status"]
                   .get("authenticated"), 10, f"the token of {pod_name} to be known", every=0.01)
        return token

    def _settle(self, namespace, cluster):
        """Authorisation works from caches that lag behind the objects by some milliseconds, more on
        a busy machine; a kubelet never has a container running as soon as a test has."""
        self.accounts[rbac.user(namespace, cluster)] = rbac.Account(rbac.MEMBERS, cluster)
        self._await_right(namespace, cluster, True, "update", "coordination.k8s.io", "leases",
                          cluster)
        if namespace in self._leaving:
            self._leaving.pop(namespace).end_s = time.time()

    def uninstall(self, namespace, wait_s=None):
        # The kernel delivers what a process has sent after its end, too, as late as a cut made it.
        if namespace not in self._leaving:
            self._leaving[namespace] = rbac.Window(time.time(), float("inf"), namespace)
            self.windows.append(self._leaving[namespace])
        super().uninstall(namespace, wait_s)

    def _await_right(self, namespace, account, allowed, verb, group, resource, name=""):
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": rbac.user(namespace, account),
            "resourceAttributes": {"namespace": namespace, "verb": verb, "name": name,
                                   "group": group, "resource": resource}}}
        wait.until(lambda: bool(self.admin.create("subjectaccessreviews", None, review)["status"]
                                ["allowed"]) is allowed, 10,
                   f"{account} {'to be' if allowed else 'not to be'} allowed to {verb} {resource}",
                   every=0.01)

    def add_person(self, namespace, cluster, role):
        """ServiceAccount with the Role rbac.VIEWER or rbac.OPERATOR of that cluster, in its place a
        person: returns its token."""
        for kind, obj in kubebase.manifests(namespace, cluster, (role[0],)):
            self.admin.ensure(kind, namespace, obj)
        name = kubebase.rename(role[1], "pg", cluster)
        self.admin.ensure("serviceaccounts", namespace, {"metadata": {"name": name}})
        self.admin.ensure("rolebindings", namespace, {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]})
        self.accounts[rbac.user(namespace, name)] = rbac.Account(role, cluster)
        self._await_right(namespace, name, True, "get", "", "configmaps", f"{cluster}-state")
        return self.admin.create("serviceaccounts", namespace, {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600}}, name=name, sub="token")["status"]["token"]

    def allow_service(self, namespace, cluster, service):
        role = self.admin.get("roles", namespace, cluster)
        more = [{"apiGroups": [group], "resources": [resource], "resourceNames": [service], "verbs": [verb]}
                for verb, group, resource in (("get", "", "services"),
                                              ("update", "discovery.k8s.io", "endpointslices"))]
        self.accounts[rbac.user(namespace, cluster)].more += [
            rbac.Rule(r["verbs"][0], r["apiGroups"][0], r["resources"][0], [service], None) for r in more]
        self._put_rules(namespace, cluster, role["rules"] + more, [(r, r["verbs"][0]) for r in more], True)

    @contextlib.contextmanager
    def without(self, namespace, cluster, *taken):
        """The Role of the members lacks (verb, resource) while it lasts."""
        role = self.admin.get("roles", namespace, cluster)
        lost = [(r, verb) for verb, resource in taken for r in role["rules"]
                if resource in r["resources"] and verb in r["verbs"]]
        assert len(lost) == len(taken), f"not in the Role: {taken}"
        rules = [{**r, "verbs": [v for v in r["verbs"] if (r, v) not in lost]}
                 for r in role["rules"]]
        with self.refusals(namespace):
            self._put_rules(namespace, cluster, [r for r in rules if r["verbs"]], lost, False)
            try:
                yield
            finally:
                self._put_rules(namespace, cluster, role["rules"], lost, True)

    def _put_rules(self, namespace, cluster, rules, changed, allowed):
        self.admin.patch("roles", namespace, cluster, {"rules": rules})
        for r, verb in changed:
            self._await_right(namespace, cluster, allowed, verb, r["apiGroups"][0],
                              r["resources"][0], r.get("resourceNames", [""])[0])

    @contextlib.contextmanager
    def refusals(self, namespace, beyond=False):
        """Forbidden requests of the namespace's accounts are meant to be while it lasts. beyond:
        also such as no Role covers."""
        window = rbac.Window(time.time(), float("inf"), namespace, beyond)
        self.windows.append(window)
        try:
            yield
        finally:
            window.end_s = time.time()

    @staticmethod
    def _user(cert):
        def data(path):
            with open(path, "rb") as f:
                return base64.b64encode(f.read()).decode()
        return {"client-certificate-data": data(cert[0]), "client-key-data": data(cert[1])}

    def _admin_user(self):
        return self._user(self.admin_cert)

    # What was asked of it.

    def requests(self):
        """As request_counts(), one by one: without count, with group, namespace, name, pod (whose
        token it was) and time (seconds since the epoch, at its arrival)."""
        if not self.audit:
            raise RuntimeError("started without the audit log")
        return list(self._audit(self._path("audit.log"), self._audit_from))

    def proof(self):
        """rbac.Proof over every request since the start, whatever was forgotten meanwhile."""
        proof = rbac.Proof(self.accounts, self.windows)
        # The server begins a new file after 100 MB.
        for path in sorted(glob.glob(self._path("audit*.log"))):
            for request in self._audit(path):
                proof.add(request)
        return proof

    def _audit(self, path, offset=0):
        with open(path, "rb") as f:
            f.seek(offset)
            for line in f:
                if not line.endswith(b"\n"):
                    break  # being written
                yield from self._request_of(json.loads(line))

    def request_counts(self):
        keys = ("user", "verb", "resource", "code")
        counts = collections.Counter(tuple(r[k] for k in keys) for r in self.requests())
        return [dict(zip(keys, key), count=n) for key, n in sorted(counts.items())]

    def forget_requests(self):
        self._audit_from = os.path.getsize(self._path("audit.log"))

    @staticmethod
    def _request_of(e):
        # A watch has two lines: its begin counts, its end does not.
        if e["verb"] == "watch" and e["stage"] == "ResponseComplete" and \
                e["responseStatus"]["code"] == 200:
            return
        if e["stage"] not in ("ResponseStarted", "ResponseComplete", "Panic"):
            return
        ref = e.get("objectRef", {})
        resource = ref.get("resource", e["requestURI"])
        if ref.get("subresource"):
            resource += "/" + ref["subresource"]
        # A refused identity has no user.
        user = e.get("user", {})
        yield {"user": user.get("username", ""), "verb": e["verb"], "resource": resource,
               "group": ref.get("apiGroup", ""), "namespace": ref.get("namespace", ""),
               "name": ref.get("name", ""), "code": e["responseStatus"]["code"],
               "pod": user.get("extra", {}).get(POD_NAME, [""])[0],
               "time": _seconds(e["requestReceivedTimestamp"])}
