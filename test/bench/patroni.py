"""Patroni as a subject: its Kubernetes mode on the same API server, or an etcd, set as its own documentation says.

tools/patroni gets the programs. The kubeconfig holds a token of the pod's ServiceAccount, which has the rights that
Patroni's own manifest gives.
"""
import json
import os
import re
import secrets
import shutil
import urllib.error
import urllib.request

import yaml

import phases
import sandbox
import wait
from kubebase import TOKEN_S, Daemon, free_port
from kubereal import find_program
from peer import PARAMETERS, Peer, PeerMember, fetched
from subject import MEMBERS

# ttl, loop_wait, retry_timeout: the defaults, and the least that its documentation allows.
TIMES = {"default": (30, 10, 10), "tuned": (20, 1, 3)}
RULES = [
    {"apiGroups": [""], "resources": ["configmaps"],
     "verbs": ["create", "get", "list", "patch", "update", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["endpoints"],
     "verbs": ["get", "patch", "update", "create", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["endpoints/restricted"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch", "update", "watch"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["create"]},
]


def modules(major):
    """Directory of the Python modules; raises RuntimeError where it cannot be had."""
    return fetched("patroni", str(major))


def version_of(path):
    with open(os.path.join(path, "patroni", "version.py")) as f:
        return re.search(r"^__version__ = '(.*)'", f.read(), re.M)[1]


class PatroniMember(PeerMember):
    def __init__(self, *args):
        super().__init__(*args)
        self.config = os.path.join(self.dir, "patroni.yml")
        self.command = ["/usr/bin/python3", "-m", "patroni", self.config]


class Etcd:
    """One of its own, as fast as the API server's: nothing is flushed."""

    def __init__(self, net, directory):
        self.address = f"{net.api_ip}:{free_port(net.api_ip)}"
        peers = f"http://127.0.0.1:{free_port('127.0.0.1')}"
        self._daemon = Daemon([
            find_program("etcd"), "--name=patroni", "--data-dir", os.path.join(directory, "etcd"),
            "--listen-client-urls", f"http://{self.address}", "--advertise-client-urls", f"http://{self.address}",
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
            "--initial-cluster", f"patroni={peers}", "--unsafe-no-fsync", "--log-level=warn"],
            os.path.join(directory, "etcd.log"))
        wait.until(self._answers, 30, "etcd to answer", every=0.1)

    def _answers(self):
        with urllib.request.urlopen(f"http://{self.address}/health", timeout=2) as r:
            return r.status == 200

    def stop(self):
        self._daemon.kill()


class Patroni(Peer):
    own_phases = phases.PATRONI

    def __init__(self, name, number, modules_dir, times, synchronous=False, on_etcd=False):
        self.modules, self.times = modules_dir, times
        self.version = version_of(modules_dir)
        also = (", synchronous" if synchronous else "") + (", etcd" if on_etcd else "")
        super().__init__(name, f"Patroni {self.version}, {times}{also}", number)
        self.major = int(self.version.split(".")[0])
        self.synchronous, self.on_etcd, self.etcd = synchronous, on_etcd, None
        self.ttl, self.loop_wait, self.retry = TIMES[times]
        self.period_s, self.lease_s = self.loop_wait, self.ttl
        self.scope = name
        self.service = None if on_etcd else name
        word = "primary" if self.major >= 4 else "master"
        self.primary_label = f"role={word},cluster-name={self.scope}"

    def build(self):
        return "-".join([self.version, self.times, *(["sync"] if self.synchronous else []),
                         *(["etcd"] if self.on_etcd else [])])

    def settings(self):
        return {"version": self.version,
                "times": f"ttl {self.ttl}, loop_wait {self.loop_wait}, retry_timeout {self.retry}",
                "mode": "an etcd of its own, v3" if self.on_etcd else "Kubernetes, use_endpoints",
                "replication": "synchronous_mode: a commit waits for one standby, after a failover not at first"
                               if self.synchronous else "asynchronous: a commit waits for no standby",
                **self.server_settings()}

    # Objects and files.

    def _objects(self):
        admin, name = self.kube.admin, self.scope
        admin.ensure("namespaces", None, {"metadata": {"name": self.ns}})
        admin.ensure("serviceaccounts", self.ns, {"metadata": {"name": name}})
        admin.ensure("roles", self.ns, {"metadata": {"name": name}, "rules": RULES})
        admin.ensure("rolebindings", self.ns, {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.ns}]})
        admin.ensure("services", self.ns, {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "labels": self._labels()},
            "spec": {"ports": [{"name": "postgresql", "port": 5432, "targetPort": 5432}]}})
        self.kube._await_right(self.ns, name, True, "patch", "", "endpoints")

    def _labels(self):
        return {"application": "patroni", "cluster-name": self.scope}

    def _store(self, m):
        if self.on_etcd:
            return {"etcd3": {"hosts": self.etcd.address}}
        return {"kubernetes": {"namespace": self.ns, "labels": {"application": "patroni"},
                               "scope_label": "cluster-name", "role_label": "role",
                               "use_endpoints": True, "pod_ip": m.ip, "context": "test",
                               "ports": [{"name": "postgresql", "port": 5432}],
                               "cacert": self.ca}}

    def _config(self, m):
        parameters = {"unix_socket_directories": os.path.join(m.dir, "run")}
        if self.times == "tuned":
            parameters.update(PARAMETERS)
        dcs = {"ttl": self.ttl, "loop_wait": self.loop_wait, "retry_timeout": self.retry,
               "maximum_lag_on_failover": 1048576,
               "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": parameters}}
        if self.synchronous:
            dcs["synchronous_mode"] = True
        superuser = {"username": "postgres", "password": self.password}
        replication = {"username": "replicator", "password": self.replication_password}
        return {
            "scope": self.scope, "name": m.name,
            "restapi": {"listen": f"{m.ip}:8008", "connect_address": f"{m.ip}:8008"},
            **self._store(m),
            "bootstrap": {"dcs": dcs, "initdb": [{"auth-host": "scram-sha-256"},
                                                 {"auth-local": "trust"}, {"encoding": "UTF8"},
                                                 {"locale": "C.UTF-8"}, "data-checksums"]},
            "postgresql": {
                "listen": f"{m.ip}:5432", "connect_address": f"{m.ip}:5432", "data_dir": m.pgdata,
                "bin_dir": m.pg_bin, "pgpass": os.path.join(m.dir, "pgpass"),
                "pg_hba": ["local all all trust", "host all all all scram-sha-256",
                           "host replication replicator all scram-sha-256"],
                "authentication": {"superuser": superuser, "replication": replication}},
        }

    def _member(self, i):
        name = f"{self.scope}-{i}"
        m = PatroniMember(name, self.net.nodes[name], os.path.join(self.dir, name), {}, sandbox.postgres_programs())
        m.password = self.password
        m.env = {"PYTHONPATH": self.modules, "PYTHONDONTWRITEBYTECODE": "1"}
        if not self.on_etcd:
            m.env["KUBECONFIG"] = self._kubeconfig(m)
        with open(os.open(m.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            yaml.safe_dump(self._config(m), f, sort_keys=False)
        shutil.chown(m.config, *sandbox.postgres_user())
        return m

    def _kubeconfig(self, m):
        pod = self.kube.add_pod(self.ns, self.scope, m.name, m.ip, labels=self._labels())
        m.uid, path = pod.uid, os.path.join(m.dir, "kubeconfig")
        token = self.kube._token(self.ns, self.scope, m.name, pod.uid, TOKEN_S)
        self.kube.write_kubeconfig(path, self.ns, token=token)
        with open(path) as f:
            text = f.read().replace(self.kube.ca_file, self.ca)
        with open(path, "w") as f:
            f.write(text)
        shutil.chown(path, *sandbox.postgres_user())
        return path

    def _start(self):
        self.password, self.replication_password = secrets.token_hex(16), secrets.token_hex(16)
        if self.on_etcd:
            self.etcd = Etcd(self.net, self.dir)
        else:
            self._in_kubernetes()
        self.members = [self._member(i) for i in range(MEMBERS)]
        for m in self.members:
            m.start()

    def _in_kubernetes(self):
        # The key and certificate of the API server's authority lie where only root can go.
        self.ca = os.path.join(self.dir, "ca.crt")
        shutil.copy(self.kube.ca_file, self.ca)
        os.chmod(self.ca, 0o644)
        self._objects()

    def _stop_beside(self):
        if self.on_etcd:
            self.etcd.stop()
        else:
            self.kube.uninstall(self.ns)

    # Looking and doing.

    def _cluster(self, m):
        return json.loads(m.get("/cluster", timeout=5)[1])

    def check_healthy(self):
        p = self.streaming()
        view = {r["name"]: r for r in self._cluster(p)["members"]}
        states = {n: r["state"] for n, r in view.items()}
        assert len(view) == MEMBERS and set(states.values()) <= {"running", "streaming"}, states
        # A switchover is refused while a member's own word is of an older timeline.
        assert len({r.get("timeline") for r in view.values()}) == 1, view
        assert view[p.name]["role"] == "leader", view
        assert self.on_etcd or self.kube.endpoints_of(self.ns, self.service) == [p.ip]
        return p

    def switchover(self, primary):
        body = json.dumps({"leader": primary.name}).encode()
        request = urllib.request.Request(f"http://{primary.ip}:8008/switchover", data=body,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=90) as r:
                return {"verdict": r.read().decode()}
        except urllib.error.HTTPError as e:
            raise wait.Timeout(f"switchover refused: {e.code} {e.read().decode()}") from e
