"""The kind overlay in a namespace of its own, as its users see it."""
import json
import os
import secrets

import yaml

import nodes
import wait

ROOT = nodes.ROOT
BUILD = os.path.abspath(os.environ.get("PGHA_BUILD", os.path.join(ROOT, "build", "gcc")))
PASSWORD = "not-a-secret-1"  # of k8s/overlays/kind


class Failed(AssertionError):
    """A command ended with an error; the message has its output."""


def run(argv, check=True, timeout_s=120):
    r = nodes.sh(*argv, check=False, timeout_s=timeout_s)
    if check and r.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return r


class Deployment:
    """The kind overlay in a namespace of its own, which enforces "restricted"."""

    def __init__(self, kubeconfig, directory, namespace=None):
        self.kubeconfig, self.dir = kubeconfig, directory
        self.ns = namespace or "t-" + secrets.token_hex(3)

    def kubectl(self, *args, **options):
        return run([nodes.program("kubectl"), "--kubeconfig", self.kubeconfig, "-n", self.ns, *args],
                   **options)

    def hactl(self, *args, check=True, timeout_s=120):
        return run([os.path.join(BUILD, "hactl"), "--kubeconfig", self.kubeconfig, "-n", self.ns,
                    *args], check=check, timeout_s=timeout_s)

    def get(self, kind, name=None, selector=None):
        args = [kind] + ([name] if name else []) + (["-l", selector] if selector else [])
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def apply(self, **more):
        """more: further keys of the kustomization; lists are added to those that are here."""
        up = os.path.relpath(os.path.join(ROOT, "k8s"), self.dir)
        with open(os.path.join(self.dir, "namespace.yaml"), "w") as f:
            yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": self.ns}}, f)
        content = {"namespace": self.ns, "resources": [f"{up}/overlays/kind", "namespace.yaml"],
                   "components": [f"{up}/components/restricted"]}
        for key, value in more.items():
            content[key] = content[key] + value if key in content else value
        with open(os.path.join(self.dir, "kustomization.yaml"), "w") as f:
            yaml.safe_dump(content, f)
        self.kubectl("apply", "-k", self.dir)
        return self

    def ready(self):
        """Names of the pods that are Ready."""
        return sorted(p["metadata"]["name"] for p in self.get("pods")["items"]
                      if any(c["type"] == "Ready" and c["status"] == "True"
                             for c in p["status"].get("conditions", ())))

    def wait_ready(self, n=3, deadline_s=120):
        return wait.until(lambda: len(self.ready()) == n and self.ready(), deadline_s,
                          f"{n} pods to be Ready", every=0.5)

    def primary(self):
        """Name of the labelled primary; None when there is none. Two are the end of the test."""
        found = [p["metadata"]["name"] for p in self.get("pods", selector="role=primary")["items"]]
        assert len(found) <= 1, f"two primaries: {found}"
        return found[0] if found else None

    def sql(self, statement, host="pg-rw", pod=None, check=True, timeout_s=30):
        """Through a Service, from inside the cluster as a client would."""
        r = self.kubectl("exec", pod or "pg-0", "-c", "postgres", "--", "env",
                         f"PGPASSWORD={PASSWORD}", "PGCONNECT_TIMEOUT=3", "psql", "-XAtq", "-h",
                         host, "-U", "postgres", "-c", statement, check=check, timeout_s=timeout_s)
        return r.stdout.strip() if r.returncode == 0 else None

    def endpoints(self, service):
        slices = self.get("endpointslices", selector=f"kubernetes.io/service-name={service}")
        return sorted(a for s in slices["items"] for e in s.get("endpoints") or ()
                      if e["conditions"].get("ready") is not False for a in e["addresses"])

    def remove(self):
        self.kubectl("delete", "namespace", self.ns, "--wait=false", check=False)

    def story(self):
        out = [self.kubectl("get", "pods,pvc,lease", "-o", "wide", check=False).stdout,
               self.kubectl("events", check=False).stdout[-3000:]]
        for i in range(3):
            out.append(f"--- pg-{i}")
            out.append(self.kubectl("logs", f"pg-{i}", "--tail=8", check=False).stdout)
        return "\n".join(out)
