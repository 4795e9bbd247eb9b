"""The shipped manifests against a real API server, which validates and admits as in a cluster."""
import os
import subprocess
import sys

import pytest
import yaml

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import kubereal  # noqa: E402

# Beside those of the harness: what turns a StatefulSet into pods.


def pytest_configure(config):
    if "PGHA_SANDBOX" in os.environ and not config.option.basetemp:
        config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")


class Kubectl:
    """The program as people run it, against the test's API server."""

    def __init__(self, kubeconfig=None):
        self.program = kubereal.find_program("kubectl")
        assert self.program, "no kubectl: run `make kubectl-bin`"
        self.rendered = {}
        self.env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent",
                    "KUBECONFIG": kubeconfig or "/nonexistent"}

    def run(self, *args, stdin=None):
        return subprocess.run([self.program, "--cache-dir", "/nonexistent", *args], env=self.env,
                              input=stdin, capture_output=True, text=True, timeout=60)

    def __call__(self, *args, stdin=None):
        """stdout; fails the test unless it succeeds without a warning."""
        r = self.run(*args, stdin=stdin)
        assert r.returncode == 0 and "Warning" not in r.stderr, \
            f"kubectl {' '.join(args)}: exit {r.returncode}\n{r.stderr}"
        return r.stdout

    def kustomize(self, directory):
        if directory not in self.rendered:
            self.rendered[directory] = self("kustomize", os.path.join(ROOT, directory))
        return self.rendered[directory]


@pytest.fixture(scope="session")
def offline():
    """kubectl without a cluster."""
    return Kubectl()


@pytest.fixture(scope="session")
def kube():
    with kubereal.RealKube(audit=False) as k:
        for path in os.listdir(os.path.join(os.path.dirname(__file__), "crds")):
            with open(os.path.join(os.path.dirname(__file__), "crds", path)) as f:
                k.admin.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                            yaml.safe_load(f))
        yield k


@pytest.fixture(scope="session")
def kubectl(kube):
    return Kubectl(kube.write_kubeconfig(os.path.join(kube.dir, "kubectl.conf")))


@pytest.fixture
def namespace(kube, request):
    """One that enforces the Pod Security level "restricted", as the components do."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name).lower().strip("-")[:60]
    kube.admin.create("namespaces", None, {"metadata": {"name": name, "labels": {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted"}}})
    yield name
    kube.uninstall(name)
