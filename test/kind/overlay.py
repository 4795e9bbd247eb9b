"""One of the overlays that stand for a deployment, with its own names, and the pods of its clients.

Shrunk to what the nodes have: requests that fit and the image of `make kind-load`; the limits, volumes
and settings are the overlay's.
"""
import json
import os

import yaml

import nodes
import wait
from deployment import Deployment, run

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
CLIENT = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
GONE_S = 300


class Overlay(Deployment):
    def __init__(self, kubeconfig, directory, overlay, namespace, cluster, members):
        super().__init__(kubeconfig, directory, namespace)
        self.overlay, self.cluster, self.members = overlay, cluster, members
        self.namespaces = []
        with open(os.path.join(self.folder, "pghad.yaml")) as f:
            self.settings = yaml.safe_load(f)

    @property
    def folder(self):
        return os.path.join(nodes.ROOT, "k8s", "overlays", self.overlay)

    def apply(self, **more):
        self.make_namespace(self.ns)
        shrink = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "any"}, "spec": {
            "template": {"spec": {"containers": [{"name": "postgres", "resources": {
                "requests": {"cpu": "50m", "memory": "128Mi"}}}]}}}}
        content = {"resources": [os.path.relpath(self.folder, self.dir)],
                   "images": [{"name": "pghad", "newTag": "dev"}],
                   "patches": [{"target": {"kind": "StatefulSet"}, "patch": json.dumps(shrink)}], **more}
        with open(os.path.join(self.dir, "kustomization.yaml"), "w") as f:
            yaml.safe_dump(content, f)
        self.kubectl("apply", "-k", self.dir)
        return self

    def make_namespace(self, name, **labels):
        self._apply({"apiVersion": "v1", "kind": "Namespace",
                     "metadata": {"name": name, "labels": {**RESTRICTED, **labels}}})
        self.namespaces.append(name)

    def secret(self, name, **values):
        """By hand, as the overlay's text asks for."""
        self._apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.ns},
                     "stringData": values})

    def _apply(self, *objects):
        path = os.path.join(self.dir, "object.json")
        with open(path, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "List", "items": objects}, f)
        # Each says its namespace, which is not always this one's.
        run([nodes.program("kubectl"), "--kubeconfig", self.kubeconfig, "apply", "-f", path])

    def wait_ready(self, n=None, deadline_s=180):
        wait.until(lambda: len(self.ready_members()) == (n or self.members), deadline_s,
                   f"{n or self.members} members of {self.cluster} to be Ready", every=0.5)

    def ready_members(self):
        return [p for p in self.ready() if p.startswith(f"{self.cluster}-") and p[len(self.cluster) + 1:].isdigit()]

    def client(self, namespace=None, labels=None, env_from=None):
        """A pod that an application could be. labels: of a namespace of its own. env_from: Secret whose
        keys are its variables."""
        if namespace is None:
            namespace = self.ns
        else:
            self.make_namespace(namespace, **(labels or {}))
        container = {"name": "client", "image": "pghad:dev", "command": ["sleep", "infinity"],
                     "securityContext": CLIENT}
        if env_from:
            container["envFrom"] = [{"secretRef": {"name": env_from}}]
        self._apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": namespace},
                     "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
                              "securityContext": {"runAsNonRoot": True, "runAsUser": 1000,
                                                  "seccompProfile": {"type": "RuntimeDefault"}},
                              "containers": [container]}})
        self.kubectl("-n", namespace, "wait", "pod/client", "--for=condition=Ready", "--timeout=120s",
                     timeout_s=150)
        return Client(self, namespace)

    def exec(self, pod, *argv, check=True):
        return self.kubectl("exec", pod, "-c", "postgres", "--", *argv, check=check)

    def extensions(self, database, user):
        return set(self.exec(self.primary(), "psql", "-XAtq", "-U", user, "-d", database, "-c",
                             "SELECT extname FROM pg_extension").stdout.split())

    def lose_primary(self):
        """Deletes its pod; returns the name of it."""
        name = self.primary()
        uid = self.get("pod", name)["metadata"]["uid"]
        self.kubectl("delete", "pod", name, "--wait=false")
        wait.until(lambda: self.get("pod", name)["metadata"]["uid"] != uid, 180, f"{name}: another pod",
                   every=0.5)
        return name

    def remove(self):
        for name in self.namespaces:
            self.kubectl("delete", "namespace", name, "--wait=false", check=False)
        # The names are fixed: the next one must not meet what is on its way out.
        for name in self.namespaces:
            wait.until(lambda n=name: self.kubectl("get", "namespace", n, check=False).returncode != 0,
                       GONE_S, f"the namespace {name} to be gone", every=0.5)

    def story(self):
        out = [self.kubectl("get", "pods,pvc,lease,jobs", "-o", "wide", check=False).stdout,
               self.kubectl("events", check=False).stdout[-3000:]]
        for i in range(self.members):
            out.append(self.kubectl("logs", f"{self.cluster}-{i}", "--tail=20", check=False).stdout)
        return "\n".join(out)


class Client:
    def __init__(self, overlay, namespace):
        self.overlay, self.ns = overlay, namespace

    def _psql(self, target, statement, password=None):
        """target: what an application gives to libpq; expanded by a shell of the pod."""
        return self.overlay.kubectl(
            "-n", self.ns, "exec", "client", "--", "env", f"PGPASSWORD={password or ''}",
            "PGCONNECT_TIMEOUT=3", "sh", "-c", f'exec psql -XAtq -v ON_ERROR_STOP=1 -d "{target}" -c "$0"',
            statement, check=False)

    def ask(self, target, statement, password=None, deadline_s=30):
        """As applications do: again until it is answered."""
        def once():
            r = self._psql(target, statement, password)
            if r.returncode != 0:
                raise OSError(r.stderr.strip())
            return [r.stdout.strip()]
        return wait.until(once, deadline_s, f"an answer to {statement!r}", every=0.2)[0]

    def refusal(self, target, statement="SELECT 1", password=None):
        """Why it is refused."""
        r = self._psql(target, statement, password)
        assert r.returncode != 0, f"{target} was let in: {r.stdout}"
        return r.stderr
