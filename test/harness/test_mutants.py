"""The lists of deliberate defects follow the code: a defect that no longer applies shows nothing."""
import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "mutants"))

import run  # noqa: E402


def test_every_defect_applies():
    defects = run.read_list()
    assert len(defects) > 100
    assert all(m.changed() for m in defects)
    assert len({m.name for m in defects}) == len(defects)
