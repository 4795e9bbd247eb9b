"""The cluster of `make kind-up kind-load`, as its users see it."""
import json
import os
import secrets
import subprocess
import sys
import time

import pytest
import yaml

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import kubereal  # noqa: E402
import wait  # noqa: E402

BUILD = os.path.abspath(os.environ.get("PGHA_BUILD", os.path.join(ROOT, "build", "gcc")))
CLUSTER = os.environ.get("KIND_CLUSTER", "pghad")
PASSWORD = "not-a-secret-1"  # of k8s/overlays/kind


def program(name):
    return kubereal.find_program(name) or name


def run(argv, check=True, timeout_s=120, stdin=None, env=None):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, input=stdin,
                       env={**os.environ, **(env or {})})
    if check and r.returncode != 0:
        pytest.fail(f"{' '.join(argv)}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return r


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory):
    path = tmp_path_factory.mktemp("kind") / "kubeconfig"
    path.write_text(run([program("kind"), "get", "kubeconfig", "--name", CLUSTER]).stdout)
    return str(path)


class Deployment:
    """The kind overlay in a namespace of its own, which enforces "restricted"."""

    def __init__(self, kubeconfig, directory):
        self.kubeconfig, self.dir = kubeconfig, directory
        self.ns = "t-" + secrets.token_hex(3)

    def kubectl(self, *args, **options):
        return run([program("kubectl"), "--kubeconfig", self.kubeconfig, "-n", self.ns, *args],
                   **options)

    def hactl(self, *args, check=True, timeout_s=120):
        return run([os.path.join(BUILD, "hactl"), "--kubeconfig", self.kubeconfig, "-n", self.ns,
                    *args], check=check, timeout_s=timeout_s)

    def get(self, kind, name=None, selector=None):
        args = [kind] + ([name] if name else []) + (["-l", selector] if selector else [])
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def apply(self, **more):
        """more: further keys of the kustomization, such as patches."""
        up = os.path.relpath(os.path.join(ROOT, "k8s"), self.dir)
        with open(os.path.join(self.dir, "namespace.yaml"), "w") as f:
            yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": self.ns}}, f)
        with open(os.path.join(self.dir, "kustomization.yaml"), "w") as f:
            yaml.safe_dump({"namespace": self.ns, "resources": [f"{up}/overlays/kind",
                                                                "namespace.yaml"],
                            "components": [f"{up}/components/restricted"], **more}, f)
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


@pytest.fixture(scope="module")
def deployment(kubeconfig, tmp_path_factory):
    d = Deployment(kubeconfig, str(tmp_path_factory.mktemp("overlay")))
    began = time.monotonic()
    d.apply()
    try:
        d.wait_ready()
    except wait.Timeout:
        print(d.story())
        d.remove()
        raise
    print(f"\n  three members Ready {time.monotonic() - began:.1f} s after kubectl apply")
    yield d
    d.remove()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    d = getattr(item, "funcargs", {}).get("deployment")
    if report.failed and d is not None:
        report.sections.append(("the deployment", d.story()))
