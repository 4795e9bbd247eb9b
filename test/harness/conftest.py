import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))


def pytest_configure(config):
    # Inside the sandbox, so that it vanishes with it and belongs to nobody else.
    if "PGHA_SANDBOX" in os.environ and not config.option.basetemp:
        config.option.basetemp = os.path.join(os.environ["PGHA_SANDBOX"], "pytest")


# One network for all: its names are of the whole sandbox.
@pytest.fixture(scope="session")
def net():
    import netns
    n = netns.Network()
    for i in range(2):
        n.add_node(f"pg-{i}", i)
    return n


@pytest.fixture
def servers(net, request):
    import sandbox
    from plainserver import Server
    root = os.path.join(sandbox.inside(), request.node.name)
    os.makedirs(root)
    made = []

    def make(i, clone_of=None):
        s = Server(net.nodes[f"pg-{i}"], f"{root}/{i}")
        s = (s.clone(clone_of) if clone_of else s.init()).start()
        made.append(s)
        return s

    yield make
    net.heal()
    for s in made:
        s.stop()
    shutil.rmtree(root, ignore_errors=True)
