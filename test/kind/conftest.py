"""The cluster of `make kind-up kind-load`, as its users see it."""
import os
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import nodes  # noqa: E402
import wait  # noqa: E402
from deployment import Deployment, run  # noqa: E402


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory):
    path = tmp_path_factory.mktemp("kind") / "kubeconfig"
    path.write_text(run([nodes.program("kind"), "get", "kubeconfig", "--name",
                         nodes.CLUSTER]).stdout)
    return str(path)


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
