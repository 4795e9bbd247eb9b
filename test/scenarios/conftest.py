"""Clusters for the scenarios. One is reused by all scenarios of a kind, since its bootstrap costs
seconds: each scenario begins with a healthy cluster and must end with one; a failure discards it.

    python3 test/lib/sandbox.py -- python3 -m pytest test/scenarios --kube devkube|real
    test/kind/inside python3 -m pytest test/scenarios --kube kind

With kind only what is marked so: it needs no more of a member than its pod, its processes and its
network, and a whole deployment takes long to make.
"""
import json
import os
import secrets
import sys
import time

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", "lib"), os.path.join(ROOT, "test", "kind")]

import kubeapi  # noqa: E402
import netns  # noqa: E402
import results  # noqa: E402
import seldom  # noqa: E402
from cluster import PARAMETERS, Cluster  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
LOGS = os.path.join(ROOT, "build", "test-logs")
STORY_LINES = 250
SCENARIO_S = 12  # of one that nobody has measured
TOOK = {}  # file: seconds, in this run
PROOF = pytest.StashKey()  # lines for the end
collect_ignore = ([] if "PGHA_CHAOS" in os.environ else ["test_random.py"]) + \
                 ([] if "PGHA_OTHER_PG_BIN" in os.environ else ["test_versions.py"])


def pytest_addoption(parser):
    parser.addoption("--kube", default="devkube", choices=(*kubeapi.BACKENDS, "kind"),
                     help="API server to run against")
    parser.addoption("--seldom", action="store_true", help="one scenario for each fault made less than five times")
    parser.addoption("--kernel", default="", metavar="'A or B'",
                     help="what needs the embedded API server, or none in particular, and what has such a name")
    parser.addoption("--part", default="", metavar="K/N", help="the K-th of N parts that take about the same time")
    parser.addoption("--long", action="store_true", help="with the scenarios that are marked long")


def pytest_configure(config):
    config.addinivalue_line("markers", "rbac: needs an API server that enforces Roles")
    config.addinivalue_line("markers", "kind: runs against a deployment on kind as well")
    config.addinivalue_line("markers", "versions: run with every major version of PostgreSQL")
    config.addinivalue_line("markers", "statefulset: needs the StatefulSet controller")
    config.addinivalue_line("markers", "admission: needs admission policies")
    config.addinivalue_line("markers", "tls: needs an API server with certificates")
    config.addinivalue_line("markers", "bound: needs tokens that end with their pod")
    config.addinivalue_line("markers", "local: is no matter of the API server, so one of them will do")
    config.addinivalue_line("markers", "long: with --long only (make scenarios-long)")
    if "PGHA_SANDBOX" not in os.environ:
        pytest.exit("run through test/lib/sandbox.py or test/kind/inside (make integration, kind-test)",
                    returncode=4)
    saved = _saved(config)
    if saved and os.path.exists(saved):
        os.unlink(saved)  # of an earlier run: a part that does not come to its end leaves none
    if not config.option.basetemp:
        config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")


def pytest_generate_tests(metafunc):
    if "api_fault" in metafunc.fixturenames:
        from api_faults import faults_of
        rules = faults_of(metafunc.config.option.kube)
        metafunc.parametrize("api_fault", rules.values(), ids=rules.keys())


def pytest_collection_modifyitems(config, items):
    if config.option.kube == "devkube":  # it knows tokens, but none of these
        items[:] = [i for i in items
                    if not any(map(i.get_closest_marker, ("rbac", "statefulset", "tls", "bound", "admission")))]
    if config.option.kube == "kind":
        items[:] = [i for i in items if i.get_closest_marker("kind")]
    if config.option.kube == "real":
        items[:] = [i for i in items if not i.get_closest_marker("local")]
    if not config.option.long:
        items[:] = [i for i in items if not i.get_closest_marker("long")]
    if config.option.seldom:
        items[:] = seldom.select(items)
    if config.option.kernel:
        words = config.option.kernel.split(" or ")
        items[:] = [i for i in items if i.get_closest_marker("local") or "api_fault" in i.fixturenames or
                    any(w in i.name for w in words)]
    if config.option.part and not _named(config):
        items[:] = _part(items, *map(int, config.option.part.split("/")))


def _named(config):
    """Whether the tests were given one by one."""
    return any("::" in a or a.endswith(".py") for a in config.args)


def _seconds():
    """{file: seconds that its scenarios took in some run}."""
    with open(os.path.join(HERE, "seconds.txt")) as f:
        return {name: float(s) for name, s in map(str.split, f)}


def _part(items, k, n):
    """Whole files, since scenarios of one file share a cluster."""
    files, seconds = {}, _seconds()
    for i in items:
        files.setdefault(i.path, []).append(i)
    takes = {p: seconds.get(p.name, SCENARIO_S * len(files[p])) for p in files}
    parts = [[] for _ in range(n)]
    for path in sorted(files, key=lambda p: (-takes[p], p)):
        min(parts, key=lambda part: sum(takes[p] for p in part)).append(path)
    return [i for i in items if i.path in parts[k - 1]]


def pytest_runtest_logreport(report):
    name = os.path.basename(report.location[0])
    TOOK[name] = TOOK.get(name, 0) + report.duration


def pytest_sessionfinish(session):
    """What a part leaves becomes seconds.txt: cat build/scenario-seconds/*."""
    part = session.config.option.part
    if not part or not TOOK or _partial(session.config):
        return
    path = os.path.join(ROOT, "build", "scenario-seconds", part.replace("/", "-of-"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.writelines(f"{name} {seconds:.0f}\n" for name, seconds in sorted(TOOK.items()))


def pytest_report_header(config):
    return f"API server: {config.option.kube}"


class Pool:
    """At most one cluster at a time; on two cores a second one would only disturb the first."""

    def __init__(self, kube, net):
        self.kube, self.net, self.make = kube, net, Cluster
        self.cluster, self.key = None, None
        self.made = 0

    def new(self, size=3, options=None, start=True, kind=None, **more):
        self.discard()
        self.made += 1
        make = kind or self.make
        c = make(self.kube, self.net, f"test-{self.made}", size=size, options=options, **more)
        self.cluster = c
        if start:
            c.start()
        return c

    def get(self, size=3, options=None, kind=None):
        key = (kind, size, tuple(sorted((options or {}).items())))
        if self.cluster is None or self.key != key:
            self.new(size, options, kind=kind).wait_healthy()
            self.key = key
        return self.cluster

    def discard(self):
        if self.cluster:
            self.cluster.remove()
        self.cluster, self.key = None, None


class KindPool(Pool):
    def __init__(self, kube, net):
        from kindcluster import KindCluster
        super().__init__(kube, net)
        # A namespace of that name may still be on its way out.
        self.make = lambda k, n, namespace, **more: KindCluster(
            k, n, f"{namespace}-{secrets.token_hex(3)}", **more)

    def new(self, size=3, options=None, start=True, **more):
        return super().new(size, {"lease.profile": "fast",
                                  "postgres.parameters": json.dumps(PARAMETERS),
                                  **(options or {})}, start, **more)


@pytest.fixture(scope="session")
def world(request):
    """(API server, network) of the whole run."""
    backend = request.config.option.kube
    if backend == "kind":
        from kindcluster import KindNet
        from kindkube import KindKube
        with KindKube() as k:
            yield k, KindNet(k)
    else:
        n = netns.Network()
        with kubeapi.open_kube(backend, host=n.api_ip) as k:
            yield k, n


@pytest.fixture(scope="session")
def kube(world):
    return world[0]


@pytest.fixture(scope="session")
def net(world):
    return world[1]


def _partial(config):
    """Whether less than all scenarios were selected, so that unused verbs say nothing."""
    o = config.option
    return bool(o.seldom or o.keyword or o.markexpr or o.deselect or o.ignore or "PGHA_CHAOS" in os.environ or
                _named(config))


def _saved(config):
    """Where a part leaves what it used of the Roles; None: this run is no whole part."""
    part = config.option.part
    if not part or _partial(config) or config.option.kube != "real":
        return None
    return os.path.join(ROOT, "build", "rbac", f"part-{part.replace('/', '-of-')}.json")


@pytest.fixture(scope="session", autouse=True)
def rights(request, kube):
    """The RBAC proof: after the last scenario all that was asked of the API server is compared with
    the Roles in k8s/base."""
    saved = _saved(request.config)
    yield
    if kube.backend != "real":
        return
    partial = _partial(request.config) or saved is not None
    proof = kube.proof()
    lines = list(proof.table())
    if saved:
        proof.save(saved)
        lines.append("a part of the scenarios: unused verbs are looked for in all parts together")
    elif partial:
        lines.append("not all scenarios were selected: unused verbs were not looked at, only "
                     "requests that were forbidden or beyond the Roles")
    request.config.stash[PROOF] = lines
    faults = proof.verdict(whole=not partial)
    assert not faults, "RBAC proof: " + "\n".join(faults)


def pytest_terminal_summary(terminalreporter, config):
    if PROOF in config.stash:
        terminalreporter.section("requests and the Roles that allow them")
        for line in config.stash[PROOF]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def pool(kube, net, rights):
    p = (KindPool if kube.backend == "kind" else Pool)(kube, net)
    yield p
    p.discard()


def _finish(request, pool):
    """Heals, tells the story of a failure, and throws a cluster away that may be damaged."""
    pool.net.heal()
    c = pool.cluster
    failed = any(getattr(request.node, f"report_{when}", None) is not None and
                 getattr(request.node, f"report_{when}").failed for when in ("setup", "call"))
    if failed:
        pool.kube.heal()
        pool.discard()
    elif c:
        c.mark("end", request.node.name)


@pytest.fixture
def fresh(request, pool):
    """A function that makes a new cluster: fresh(size=3, options={}, start=True)."""
    request.node.began = time.time()
    request.node.pool = pool
    yield pool.new
    _finish(request, pool)
    pool.discard()


@pytest.fixture
def cluster(request, pool):
    """A healthy cluster of three, reused. Afterwards the four assertions are checked once more."""
    request.node.began = time.time()
    request.node.pool = pool
    c = pool.get()
    request.node.logs_from = len(c.writer_logs)
    c.mark("test", request.node.name)
    c.wait_healthy()
    yield c
    _finish(request, pool)


@pytest.fixture
def diskcluster(request, pool):
    """As cluster; each member has a file system of its own (test/lib/diskcluster.py)."""
    from diskcluster import DiskCluster
    request.node.began = time.time()
    request.node.pool = pool
    c = pool.get(kind=DiskCluster)
    request.node.logs_from = len(c.writer_logs)
    c.mark("test", request.node.name)
    c.wait_healthy()
    yield c
    _finish(request, pool)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    pool = getattr(item, "pool", None)
    c = pool.cluster if pool else None
    results.record(item, report, item.config.option.kube,
                   c.writer_logs[getattr(item, "logs_from", 0):] if c else ())
    if not report.failed or c is None:
        return
    directory = os.path.join(LOGS, f"{pool.kube.backend}-{item.name}".replace("/", "_"))
    c.save_logs(directory)
    story = c.story(since=item.began - 2)
    cut = len(story) - STORY_LINES
    if cut > 0:
        story = story[:60] + [f"... {cut} lines, see {directory}/timeline.txt"] + \
            story[-(STORY_LINES - 60):]
    report.sections.append(("timeline of all members", "\n".join(story)))
