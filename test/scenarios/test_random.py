"""Random sequences of faults, one cluster for each seed: make chaos SEEDS=FIRST-LAST [KUBE=real].

Nothing but the verdict is asserted: a healthy cluster in the end, no acknowledged row lost, no two
writers.
"""
import os

from chaos import Chaos


def pytest_generate_tests(metafunc):
    first, _, last = os.environ["PGHA_CHAOS"].partition("-")
    metafunc.parametrize("seed", range(int(first), int(last or first) + 1))


def test_random_faults(fresh, net, seed):
    c = fresh()
    c.wait_healthy()
    chaos = Chaos(c, net, seed)
    with c.load():
        chaos.run()
        c.wait_healthy()
    c.verify(late_ok=True)
