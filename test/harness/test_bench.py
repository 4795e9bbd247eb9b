"""The benchmark's arithmetic: what a wrong figure would come from."""
import json
import os
import subprocess
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "bench"))

import bench  # noqa: E402
import fence_report  # noqa: E402
import figures  # noqa: E402
import growth_report  # noqa: E402
import health_report  # noqa: E402
import load_report  # noqa: E402
import phases  # noqa: E402
import remote  # noqa: E402
import report  # noqa: E402
import scale_report  # noqa: E402
import start_report  # noqa: E402
import stats  # noqa: E402


class Named:
    def __init__(self, name, peer, only=None):
        self.name, self.peer, self.only = name, peer, only

    def build(self):
        return "b1"


OURS, PEER, OTHER = Named("pghad", False), Named("peer", True), Named("other", True)


def test_quantiles_are_those_of_the_definition():
    assert stats.median([4, 1, 3]) == 3
    assert stats.median([4, 1, 3, 2]) == 2.5
    assert stats.quantile([10, 20, 30, 40, 50], 0.95) == pytest.approx(48)


def test_interval_holds_the_median_and_repeats():
    values = [100 + k % 17 for k in range(60)]
    low, high = stats.interval(values)
    assert low <= stats.median(values) <= high and high - low < 10
    assert stats.interval(values) == (low, high)
    assert stats.interval(values[:4]) is None


def test_p99_only_from_500_episodes():
    assert "p99" not in stats.summary(list(range(499)))
    assert stats.summary(list(range(1, 501)))["p99"] == pytest.approx(495.01)


def test_ratio_tells_a_change_from_noise():
    a, b = [100 + k % 10 for k in range(40)], [150 + k % 10 for k in range(40)]
    value, (low, high) = stats.ratio(b, a)
    assert low <= value <= high and low > 1.3
    _, (low, high) = stats.ratio(a, list(reversed(a)))
    assert low <= 1 <= high


def test_ratio_over_what_mostly_takes_no_time():
    value, (low, high) = stats.ratio([10.0] * 9, [0.0] * 5 + [2.0] * 4)
    assert value == float("inf") and low == 5 and high == float("inf")


def test_episodes_alternate_and_each_subject_is_spread_over_the_run():
    waves = bench.plan([OURS, PEER], ["P1"], 8, 2, lambda s, m: 0)
    order = [s.name for _, group in waves for s in group]
    assert order.count("pghad") == 8 and order.count("peer") == 2
    half = order[:5]
    assert half.count("pghad") == 4 and half.count("peer") == 1


def test_peers_wait_for_their_leases_together_but_never_beside_pghad():
    waves = bench.plan([OURS, PEER, OTHER], ["P1", "P4"], 1, 1, lambda s, m: 0)
    assert sorted((m, sorted(s.name for s in g)) for m, g in waves) == [
        ("P1", ["other"]), ("P1", ["peer"]), ("P1", ["pghad"]),
        ("P4", ["other", "peer"]), ("P4", ["pghad"])]


def test_a_variant_is_measured_where_it_differs():
    early = Named("pghad-early", False, only=("P4",))
    waves = bench.plan([OURS, early], ["P1", "P4"], 1, 1, lambda s, m: 0)
    assert sorted((m, [s.name for s in g]) for m, g in waves) == [
        ("P1", ["pghad"]), ("P4", ["pghad"]), ("P4", ["pghad-early"])]


def test_a_run_goes_on_where_it_stopped(tmp_path):
    path = str(tmp_path / "r.jsonl")
    bench.Results(path).add(what="episode", subject="pghad", build="b1", metric="P1")
    bench.Results(path).add(what="episode", subject="pghad", build="older", metric="P1")
    with open(path, "a") as f:
        f.write('{"what": "epis')  # interrupted in the middle of a line
    again = bench.Results(path)
    assert again.done(OURS, "P1") == 1 and again.done(OURS, "P2") == 0
    assert len(bench.plan([OURS], ["P1"], 3, 3, again.done)) == 2
    again.add(what="episode", subject="pghad", build="b1", metric="P1")
    assert bench.Results(path).done(OURS, "P1") == 2


LOG_OLD = """\
{"ts":"2026-11-21T21:40:25.456147Z","level":"info","event":"rule","rule":"handover-stop","source":"agent"}
2026-11-21 21:40:25.460 UTC [39] LOG:  received fast shutdown request
{"ts":"2026-11-21T21:40:25.659310Z","event":"lease-write","holder":"","source":"agent"}
2026-11-21 21:40:26.050 UTC [77] LOG:  started streaming WAL from primary at 0/5000000 on timeline 3
2026-11-21 21:40:26.100 UTC [77] LOG:  restarted WAL streaming at 0/5000000 on timeline 4
"""
LOG_NEW = """\
2026-11-21 21:40:20.100 UTC [39] LOG:  received promote request
{"ts":"2026-11-21T21:40:25.660895Z","event":"rule","rule":"acquire","source":"agent"}
2026-11-21 21:40:25.722 UTC [39] LOG:  received promote request
2026-11-21 21:40:25.786 UTC [39] LOG:  archive recovery complete
"""


def test_phases_are_those_of_this_episode(tmp_path):
    logs = {}
    for name, text in (("old", LOG_OLD), ("new", LOG_NEW)):
        (tmp_path / name).write_text(text)
        logs[name] = list(phases.read(str(tmp_path / name), 0))
    zero = phases._json_wall("2026-11-21T21:40:25.450000Z")
    found = phases.of(logs, "old", "new", zero, zero, phases.PGHAD)
    assert found == pytest.approx({"stopping": 6.15, "proof": 209.31, "acquire": 210.89,
                                   "promote_sent": 272.0, "recovery_ended": 336.0}, abs=0.05)
    assert phases.streaming(logs["old"], 4, zero) - zero == pytest.approx(0.65, abs=1e-3)
    assert phases.streaming(logs["old"], 5, zero) is None


def test_patronis_own_lines_are_read(tmp_path):
    path = tmp_path / "log"
    path.write_text("2026-11-21 21:40:25,500 INFO: promoted self to leader by acquiring session lock\n")
    (at, text), = phases.read(str(path), 0)
    assert text.startswith("promoted self") and at - int(at) == pytest.approx(0.5)


def test_the_stand_in_for_ssh_hands_over_words_streams_and_the_exit_code(tmp_path):
    class Here:
        dir = str(tmp_path)

        def entered(self, *argv):
            return list(argv)

        def environment(self):
            return {"PATH": os.environ["PATH"], "WHERE": "there"}

    r = remote.Remote(str(tmp_path), {"10.0.0.1": Here()}.__getitem__)
    try:
        def ssh(*words):
            return subprocess.run([os.path.join(r.path, "ssh"), "-o", "Batchmode=yes", "-q", *words], input="in",
                                  capture_output=True, text=True, timeout=30)
        there = ssh("10.0.0.1", 'cat; echo "$WHERE" >&2;', "exit 7")
        assert (there.stdout, there.stderr, there.returncode) == ("in", "there\n", 7)
        assert ssh("10.0.0.2", "true").returncode == 255
    finally:
        r.close()


def test_only_rows_of_the_last_build_count(tmp_path):
    path = tmp_path / "r.jsonl"
    rows = [{"what": "episode", "subject": "pghad", "build": b, "metric": "P1", "gap_ms": g}
            for b, g in (("b1", 900), ("b2", 100), ("b2", 120))]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert figures.values(figures.load(str(path)), "pghad", "P1") == [100, 120]


def test_what_stood_beside_no_peer_is_another_subject(tmp_path):
    path = tmp_path / "r.jsonl"
    rows = [{"what": "subject", "subject": s, "title": s, "session": n, "peer": s != "pghad", "build": "b"}
            for n, s in ((1, "pghad"), (1, "patroni"), (2, "pghad"))]
    rows += [{"what": "episode", "subject": s, "build": "b", "metric": "P1", "gap_ms": g, "session": n}
             for n, s, g in ((1, "pghad", 200), (1, "patroni", 900), (2, "pghad", 100))]

    def read(rows):
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return figures.load(str(path))
    found = read(rows)
    assert figures.values(found, "pghad", "P1") == [200]
    assert figures.values(found, "pghad-by-itself", "P1") == [100]
    assert [s["title"] for s in figures.subjects(found).values()] == ["pghad", "pghad, by itself", "patroni"]
    assert figures.values(read([r for r in rows if r["subject"] == "pghad"]), "pghad", "P1") == [200, 100]


def test_the_page_agrees_with_its_raw_data():
    path = os.path.join(report.RESULTS, "bench-latest.jsonl")
    stale = [p for p, text in report.Report(path).files().items() if report.differs(p, text)]
    assert not stale, f"run make bench-report: {stale}"


def test_renewals_are_told_by_their_bucket():
    renewals = {"0.005": 90, "0.01": 98, "0.025": 99, "+Inf": 100}
    assert scale_report.bucket(renewals, 0.5) == "≤ 5 ms"
    assert scale_report.bucket(renewals, 0.95) == "≤ 10 ms"
    assert scale_report.bucket(renewals, 0.99) == "≤ 25 ms"
    assert scale_report.bucket(renewals, 1.0) == "above all"
    assert scale_report.bucket({}, 0.5) == scale_report.bucket({"0.005": 0, "+Inf": 0}, 0.5) == "none"


def test_returns_under_load_are_told_apart_by_the_rewind():
    def killed(back_ms, rewound, old="a", new="b"):
        return {"what": "episode", "case": "tables", "metric": "P1", "gap_ms": 300.0, "old": old, "new": new,
                "streams_ms": {"a": back_ms, "c": 100.0}, "rewound": rewound}
    rows = [{"what": "case", "case": "tables", "says": "many tables"}, killed(400.0, False), killed(3000.0, True),
            killed(600.0, False), killed(50.0, False, old="a", new="a")]
    assert load_report.returns(rows, "tables") == ([400.0, 600.0], [3000.0])
    table = load_report.overview(rows, report.table)
    assert "| many tables | 300 ms, at most 300 ms (n=4) | not measured | 500 ms, at most 600 ms (n=2) | 3.00 s" in table
    assert load_report.overview([], report.table) == load_report.NOT_MEASURED


def fence(condition="calm", late=10.0, ack=1.0, commit=0.0, stolen=0):
    return {"condition": condition, "late_ms": late, "last_ack_ms": ack, "last_commit_ms": commit, "stolen_ms": stolen}


def test_a_late_fence_is_told_unless_the_condition_takes_its_processor():
    assert fence_report.verdict([fence()], 1) == []
    assert fence_report.verdict([fence(late=101.0)], 1) == ["longer than 100 ms: 101.0 ms"]
    starved = fence_report.STARVED[0]
    assert fence_report.verdict([fence(starved, late=400.0)], 1) == []
    assert fence_report.verdict([fence(starved, late=400.0, ack=101.5)], 1) == ["longer than 100 ms: 101.5 ms"]
    assert fence_report.verdict([fence(fence_report.FROZEN, late=None, commit=100.5)], 1) != []


def test_a_fence_of_the_host_counts_for_nothing_and_is_missed():
    rows = [fence(), fence(late=900.0, ack=900.0, stolen=21)]
    assert fence_report.verdict(rows, 1) == []
    assert fence_report.verdict(rows, 2) == ["calm: 1 of 2 fences, the others were disturbed"]
    rows.append(fence(fence_report.FROZEN, late=None, stolen=21))
    text = "\n".join(fence_report.report(rows, [0.5], True, 4))
    assert "Not counted are 2 fences" in text and "last process 900.0 ms" in text


def test_health_requests_that_got_no_answer_are_told():
    rows = [{"what": "subject", "subject": "pghad", "title": "pghad"}] + [
        {"what": "health", "subject": "pghad", "condition": "keep-alive", "per_s": per_s, "p99_ms": 2.5, "unanswered": n}
        for per_s, n in ((60_000, 0), (50_000, 3))]
    table = health_report.overview(rows, report.table)
    assert "55,000/s, p99 2.50 ms, at most 2.50 (n=2), 3 unanswered" in table and "not measured" in table
    assert health_report.overview([], report.table) == health_report.NOT_MEASURED


def memory(failovers, settled, rss_kb):
    return {"what": "memory", "failovers": failovers, "probes": 0, "settled": settled, "members": {
        name: {part: {"rss_kb": kb, "private_kb": 100, "descriptors": 40} for part in ("guard", "agent")}
        for name, kb in (("pg-0", 1024), ("pg-1", rss_kb))}}


def test_growth_is_that_of_the_largest_member_at_rest():
    rows = [memory(0, True, 2048), memory(500, False, 9216), memory(1000, False, 9216), memory(1000, True, 3072)]
    table = growth_report.overview(rows, report.table)
    assert "2.00 MB" in table and "3.00 MB" in table and "9.00 MB" not in table
    assert list(growth_report.drawings(rows)) == ["growth.svg"] and growth_report.drawings(rows[:2]) == {}


def test_starts_are_told_by_what_came_before():
    rows = [{"what": "start", "members": 1, "end": "stopped", "ms": ms} for ms in (400.0, 500.0)]
    rows.append({"what": "start", "members": 3, "end": "killed", "ms": 1500.0})
    table = start_report.starts(rows, report.table)
    assert "| one member | stopped | 2 | 450 ms |" in table and "| 3 members, at once | killed | 1 | 1.50 s |" in table
    assert start_report.starts([], report.table) == start_report.sizes([], report.table) == start_report.NOT_MEASURED


def test_a_new_primary_acknowledges_alone_until_a_standby_streams():
    def row(first_commit, streams):
        return {"what": "episode", "subject": "pghad", "build": "b1", "metric": "P1", "episode": 0, "gap_ms": 1,
                "phases_ms": {"promote_sent": 1, "first_commit": first_commit}, "streams_ms": streams}
    rows = [row(100, {"b": 90, "c": 150}), row(100, {"b": 250, "c": 300}), row(100, {})]
    assert figures.values(rows, "pghad", "ALONE") == [0, 150]
