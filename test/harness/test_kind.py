"""The faults of the suite on kind, as far as they can be tried without nodes."""
import os
import sys
import types

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "kind"))

import faults  # noqa: E402
import kind_report  # noqa: E402
from kubeclient import ApiError  # noqa: E402


class Admin:
    """Answers one eviction after the other with these codes."""

    def __init__(self, *codes):
        self.codes, self.asked = list(codes), []

    def create(self, kind, namespace, body, name, sub):
        self.asked.append((kind, namespace, name, sub, body["kind"]))
        code = self.codes.pop(0)
        if code != 201:
            raise ApiError("POST", code, {"reason": "x", "message": "y"})


def episode(admin):
    kube = types.SimpleNamespace(admin=admin, ApiError=ApiError)
    return types.SimpleNamespace(c=types.SimpleNamespace(kube=kube, ns="ns"), at=0)


def test_an_eviction_is_asked_for_until_the_budget_allows_it():
    e = episode(Admin(429, 429, 201))
    faults.evict_when_allowed(e, "pg-1")
    assert e.c.kube.admin.asked == 3 * [("pods", "ns", "pg-1", "eviction", "Eviction")]
    assert e.at > 0


def test_another_refusal_ends_it():
    e = episode(Admin(429, 404, 201))
    with pytest.raises(ApiError) as refusal:
        faults.evict_when_allowed(e, "pg-1")
    assert refusal.value.code == 404
    assert e.c.kube.admin.codes == [201]


def test_a_budget_that_never_allows_it_ends_it(monkeypatch):
    monkeypatch.setattr(faults, "BACK_S", 0.1)
    with pytest.raises(AssertionError, match="the budget to let pg-1 go"):
        faults.evict_when_allowed(episode(Admin(*[429] * 9)), "pg-1")


def test_the_report_says_what_went_wrong():
    row = {"fault": "switchover", "at": "2026-01-02T03:04:05Z", "commit": "abc", "lease_s": 10,
           "gap_ms": 300, "silent_ms": 300, "acked": 5, "violations": []}
    bad = {**row, "gap_ms": 900, "violations": ["2 endpoints at once"]}
    told = "\n".join(kind_report.report([row, bad]))
    assert "2 episodes, 1 with violations" in told
    assert "| switchover | 2 | 0.60 | 0.90 |" in told and "**missed**" in told
    assert "* switchover (2026-01-02T03:04:05Z): 2 endpoints at once" in told
