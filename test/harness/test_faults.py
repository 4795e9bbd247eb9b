"""The catalogue of faults: every row names scenarios that exist, and the page is made of what is there."""
import copy
import os
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "test", d) for d in ("faults", "bench", "lib")]

import chaos_report  # noqa: E402
import page  # noqa: E402
import seldom  # noqa: E402


@pytest.fixture
def areas():
    return copy.deepcopy(page.catalogue())


def test_every_row_has_what_it_names(areas):
    assert not page.faults_of(areas)


def test_the_page_is_made_of_the_catalogue_and_the_results(areas):
    assert page.read(page.PAGE) == page.page(areas, page.load_results()), "stale: make faults"


def test_results_are_of_rows_or_of_scenarios_that_exist():
    files = {ref.partition("::")[0] for ref in page.load_results()}
    gone = [f for f in files if not os.path.isfile(os.path.join(ROOT, "test", f))]
    assert not gone


def _no_scenario(row):
    row["by"] = ["scenarios/test_api.py::test_that_is_not_there"]


def _no_file(row):
    row["by"] = ["scenarios/test_nothing.py::test_x"]


def _unexplained(row):
    for key in ("by", "limit", "open"):
        row.pop(key, None)


def _unknown_key(row):
    row["wontfix"] = "x"


def _no_number(row):
    row["n"] = 4711


@pytest.mark.parametrize("damage, word", [(_no_scenario, "test_that_is_not_there"), (_no_file, "no file"),
                                          (_unexplained, "no scenario"), (_unknown_key, "wontfix"),
                                          (_no_number, "numbered")])
def test_a_row_that_is_wrong_is_seen(areas, damage, word):
    damage(page.all_rows(areas)[0])
    assert any(word in line for line in page.faults_of(areas))


def test_results_are_added_up():
    line = '{"scenario": "a::b", "result": "%s", "at": "2026-01-02T03:04:05Z", "on": "devkube", "gap_ms": %d}'
    kept = page.take_in({}, [line % ("passed", 100), line % ("failed", 300)])["a::b"]
    assert (kept["runs"], kept["failed"], kept["last"], kept["gaps"]) == (2, 1, "failed", [100, 300])
    assert page.result_of({"by": ["a::b", "a::c"]}, {"a::b": kept}) == \
        ("failed 2026-01-02", "2, 1 failed", "0.2", "0.3")


# Scenarios for faults that were made seldom (make scenarios-seldom).

ROWS = [{"n": 1, "by": ["f::a", "f::b"]}, {"n": 2, "by": ["f::b"]}, {"n": 3, "by": ["f::none"]}]


def test_a_seldom_fault_gets_the_scenario_that_ran_least():
    assert seldom.choose(ROWS[:1], {"f::a": 3, "f::b": 1}, [{"f::a"}, {"f::b"}, {"f::c"}]) == [1]


def test_one_scenario_will_do_for_two_faults_and_none_for_a_fault_of_another_machine():
    assert seldom.choose(ROWS, {"f::a": 1}, [{"f::a"}, {"f::b", "f::x"}]) == [1]
    assert seldom.choose(ROWS, {"f::b": 4}, [{"f::a"}, {"f::b"}]) == [0, 1]


def test_kept_runs_of_all_kinds_are_counted():
    runs = chaos_report.runs_by_reference({"scenarios/test_api.py::test_x": {"runs": 3}})
    assert runs["scenarios/test_api.py::test_x"] == 3
    for ref in (chaos_report.KIND + "all killed", "kind/faults.py::node frozen", "bench/fence.py::one_frozen"):
        assert runs[ref] > 0
    assert all(ref.startswith(("lib/", "kind/", "bench/", "scenarios/")) for ref in runs)
