"""Random episodes of one, two or three faults at once: make chaos SEED=1 N=50, or SEEDS=1-50 [KUBE=real].
RARE=1 draws faults the oftener the fewer kept episodes have them.

Nothing but the verdict is asserted: no acknowledged row lost, no two writers, and a healthy cluster within
60 s of the last fault's end. Each episode leaves a row in test/bench/results; make chaos-report adds them up.
"""
import collections
import os
import sys
import time

import pytest

import faultkinds
import faultkinds_api  # noqa: F401 - more of them
import faultkinds_moments  # noqa: F401

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "bench"))

import chaos_report  # noqa: E402

ANEW = 20  # episodes of one cluster
FORCED = [t.strip() for t in os.environ.get("PGHA_FAULTS", "").split(";") if t.strip()]
assert set(FORCED) <= set(faultkinds.KINDS), f"no such fault: {set(FORCED) - set(faultkinds.KINDS)}"


def pytest_generate_tests(metafunc):
    first, _, last = os.environ["PGHA_CHAOS"].partition("-")
    metafunc.parametrize("seed", range(int(first), int(last or first) + 1))


@pytest.fixture(scope="session")
def weights():
    if not os.environ.get("PGHA_RARE"):
        return {}
    kept = collections.Counter(fault for r in chaos_report.episodes() for fault in r["faults"])
    return {title: 10 / (10 + kept[title]) for title in faultkinds.KINDS}


@pytest.fixture(scope="session")
def tally(request):
    """The file of this run."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return os.environ.get("PGHA_TALLY") or os.path.join(
        ROOT, "test", "bench", "results", f"chaos-{request.config.option.kube}-{stamp}.jsonl")


def test_random_faults(pool, cluster, net, tally, weights, seed):
    c = cluster
    if not hasattr(c, "seen"):
        c.seen, c.episodes = faultkinds.Seen(), 0
    row = faultkinds.Episode(c, net, seed, weights).run(c.seen, FORCED)
    faultkinds.note(tally, row)
    c.episodes += 1
    if c.episodes >= ANEW:  # all that was ever acknowledged is compared each time
        pool.discard()
    assert not row["violations"], "; ".join(row["violations"])
