"""Each fault of faults.py, PGHA_EPISODES times, against the deployment as users have it."""
import os

import pytest

from episode import Episode
from faults import CATALOGUE

EPISODES = int(os.environ.get("PGHA_EPISODES", "1"))
CHOSEN = [t.strip() for t in os.environ.get("PGHA_FAULTS", "").split(";") if t.strip()]
assert set(CHOSEN) <= set(CATALOGUE), f"no such fault: {set(CHOSEN) - set(CATALOGUE)}"


@pytest.mark.parametrize("title", CHOSEN or CATALOGUE)
@pytest.mark.parametrize("n", range(1, EPISODES + 1))
def test_fault(cluster, title, n):
    inject, options = CATALOGUE[title]
    Episode(cluster, title, **options).run(inject)
