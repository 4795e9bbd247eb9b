"""One deployment of three members for all faults; a failure discards it.

    make kind-chaos [N=1] [SEEDS=1-10] [K=WORD]
"""
import os
import secrets
import signal
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "kind"), os.path.join(ROOT, "test", "lib")]

from kindcluster import KindCluster, KindNet  # noqa: E402
from kindkube import KindKube  # noqa: E402

# FAULTS, N and SEEDS of make kind-chaos.
SOME, NONE = bool(os.environ.get("PGHA_FAULTS")), os.environ.get("PGHA_EPISODES") == "0"
collect_ignore = [f for f, out in (("test_faults.py", NONE), ("test_objects.py", NONE or SOME),
                                   ("test_sequences.py", os.environ.get("PGHA_CHAOS") == "none"))
                  if out]
LOGS = os.path.join(ROOT, "build", "test-logs")


def pytest_configure(config):
    if "PGHA_SANDBOX" not in os.environ:
        pytest.exit("run through test/kind/inside (make kind-chaos)", returncode=4)
    if not config.option.basetemp:
        config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")
    # An end from outside heals like one by the keyboard.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def kube():
    with KindKube() as k:
        yield k


@pytest.fixture(scope="session")
def net(kube):
    return KindNet(kube)


class Pool:
    def __init__(self, kube, net):
        self.kube, self.net, self.cluster = kube, net, None

    def new(self, **more):
        self.discard()
        self.cluster = KindCluster(self.kube, self.net, "t-" + secrets.token_hex(3), **more)
        self.cluster.start().wait_healthy(180)
        return self.cluster

    def get(self):
        return self.cluster or self.new()

    def discard(self):
        if self.cluster:
            self.cluster.remove()
        self.cluster = None


@pytest.fixture(scope="session")
def pool(kube, net):
    p = Pool(kube, net)
    yield p
    p.discard()


def _finish(request, pool):
    pool.kube.heal()
    if getattr(request.node, "failed", False):
        pool.discard()


@pytest.fixture
def cluster(request, pool):
    request.node.pool = pool
    yield pool.get()
    _finish(request, pool)


@pytest.fixture
def fresh(request, pool):
    """A function that makes a cluster of its own: fresh(size=3, ...)."""
    request.node.pool = pool
    yield pool.new
    _finish(request, pool)
    pool.discard()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    pool = getattr(item, "pool", None)
    if not report.failed or pool is None:
        return
    item.failed = True
    if pool.cluster is None:
        return
    name = f"kind-{item.name}".replace("/", "_").replace(" ", "-")
    directory = os.path.join(LOGS, f"{name}-{pool.cluster.ns}")
    pool.kube.heal()
    pool.cluster.save_logs(directory)
    report.sections.append((f"timeline of all members; more in {directory}",
                            "\n".join(pool.cluster.story(last=120))))
