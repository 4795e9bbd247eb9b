"""The outside judge sees what it is there to see: histories whose verdict is known, and two plain servers."""
import json
import os
import sys

import pytest

import checker
import judge
import sandbox
import wait

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "judge"))
import verdicts  # noqa: E402

CUT_S = 3  # the recorder gives an answer up after that


def operations(text):
    """One line each: CLIENT CALL-RETURN WHAT, or CALL-? for an unknown outcome. WHAT: w1, r1, a1, r[1,2],
    and ! behind it for one that failed. A register where there is a w or a plain r, else a list."""
    rows = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        client, span, what = line.split()
        call, end = span.split("-")
        failed, what = what.endswith("!"), what.rstrip("!")
        kind, rest = what[0], what[1:]
        is_list = kind == "a" or rest.startswith("[")
        row = {"client": int(client), "key": "list/0" if is_list else "register/0", "call": int(call),
               "op": {"w": "write", "a": "append", "r": "read"}[kind],
               "return": int(call) + 1 if end == "?" else int(end),
               "outcome": "unknown" if end == "?" else "fail" if failed else "ok", "server": "a"}
        if kind == "r" and rest:
            row["result"] = json.loads(rest) if is_list else [int(rest)]
        elif kind != "r":
            row["value"] = int(rest)
        rows.append(row)
    return rows


def written(path, rows, end=True):
    with open(path, "w", encoding="ascii") as f:
        for row in [*rows, *([{"end": True}] if end else [])]:
            f.write(json.dumps(row) + "\n")
    return str(path)


GOOD = {
    "one after the other": "0 1-2 r0\n 0 3-4 w7\n 1 5-6 r7",
    "a read during a write may see it": "0 1-9 w7\n 1 2-3 r7\n 2 4-5 r7",
    "or not yet": "0 1-9 w7\n 1 2-3 r0\n 2 4-5 r7",
    "an unknown write that took effect": "0 1-? w7\n 1 5-6 r7",
    "an unknown write that took effect late": "0 1-? w7\n 1 5-6 r0\n 1 7-8 w8\n 1 9-10 r7",
    "an unknown write that never did": "0 1-? w7\n 1 5-6 r0\n 1 7-8 r0",
    "an unknown read": "0 1-2 w7\n 1 3-? r\n 0 5-6 r7",
    "a write that failed": "0 1-2 w7!\n 1 3-4 r0",
    "appends": "0 1-2 r[]\n 0 3-4 a1\n 1 5-6 a2\n 0 7-8 r[1,2]",
    "appends at once": "0 1-9 a1\n 1 1-9 a2\n 2 10-11 r[2,1]\n 3 12-13 r[2,1]",
    "an unknown append that took effect late": "0 1-? a1\n 1 2-3 a2\n 1 4-5 r[2]\n 1 6-7 r[2,1]",
}
BROKEN = {
    "a stale read": "0 1-2 w7\n 1 3-4 r0",
    "an acknowledged write lost": "0 1-2 w7\n 0 3-4 r7\n 0 5-6 w8\n 1 7-8 r7",
    "seen, then unseen": "0 1-? w7\n 1 3-4 r7\n 1 5-6 r0",
    "a write that failed and is there": "0 1-2 w7!\n 1 3-4 r7",
    "a value that nobody wrote": "0 1-2 r9",
    "a write seen before it was called": "0 5-6 w7\n 1 1-2 r7",
    "an acknowledged append lost": "0 1-2 a1\n 0 3-4 a2\n 1 5-6 r[1]",
    "two orders": "0 1-9 a1\n 1 1-9 a2\n 2 10-11 r[2,1]\n 3 12-13 r[1,2]",
    "two servers": "0 1-2 a1\n 1 1-2 a2\n 0 3-4 r[1]\n 1 3-4 r[2]",
    "applied twice": "0 1-2 a1\n 1 3-4 r[1,1]",
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_good(tmp_path, history):
    rows = operations(history)
    v = judge.check(written(tmp_path / "h", rows))
    assert v["verdict"] == "linearizable"
    assert v["reads"] + v["writes"] + v["failed"] + v["unknown"] == len(rows)


@pytest.mark.parametrize("history", BROKEN.values(), ids=BROKEN.keys())
def test_broken(tmp_path, history):
    picture = str(tmp_path / "picture.html")
    v = judge.check(written(tmp_path / "h", operations(history)), picture)
    assert v["verdict"] == "broken" and len(v["broken"]) == 1 and v["picture"] == picture
    with open(picture, encoding="utf-8") as f:
        assert "<svg" in f.read()


def test_a_row_that_is_gone_is_broken(tmp_path):
    rows = operations("0 1-2 r0\n 0 3-4 r")
    rows[1]["missing"] = True
    assert judge.check(written(tmp_path / "h", rows))["verdict"] == "broken"


def test_one_broken_key_among_good_ones(tmp_path):
    rows = operations(BROKEN["two orders"])
    for i in range(1, 30):
        rows += [{**r, "key": f"list/{i}"} for r in operations(GOOD["appends"])]
        rows += [{**r, "key": f"register/{i}"} for r in operations(GOOD["one after the other"])]
    v = judge.check(written(tmp_path / "h", rows))
    assert v["verdict"] == "broken" and v["broken"] == ["list/0"] and v["keys"] == 59


def test_out_of_time_is_no_good_verdict(tmp_path):
    """Thirty open writes may have happened in any order; none explains the last read."""
    rows = operations("\n".join(f"{i} 1-? w{i + 1}" for i in range(30)) + "\n90 5-6 r99")
    assert judge.check(written(tmp_path / "h", rows), limit="200ms")["verdict"] == "undecided"


@pytest.mark.parametrize("change, why", [
    ({"end": False}, "it has no end"), ({"op": "append"}, "no operation"), ({"key": "tree/1"}, "no model"),
    ({"outcome": "maybe"}, "no outcome"), ({"return": 0}, "before it was called")])
def test_what_is_no_whole_history_gets_no_verdict(tmp_path, change, why):
    rows = operations("0 1-2 w7\n 1 3-4 r7")
    end = change.pop("end", True)
    rows[0].update(change)
    with pytest.raises(judge.NoVerdict, match=why):
        judge.check(written(tmp_path / "h", rows, end))


def test_the_defects_are_found_in_the_sources():
    defects = verdicts.defects()
    assert len(defects) >= 2 and all(m.changed() for m in defects)


# The recorder, on servers without a supervisor.

@pytest.fixture
def recorder(net, request):
    log = os.path.join(sandbox.inside(), request.node.name + ".jsonl")
    return judge.Recorder([f"{n.ip}:5432" for n in net.nodes.values()], log)


def test_one_server_is_linearizable(net, servers, recorder):
    """Also where it was cut off, and where a wait for a standby was cut short: such outcomes are unknown."""
    primary = servers(0)
    with recorder as r:
        r.wait_answers(200, 30)
        net.cut_all("pg-0")
        wait.until(lambda: "timeout" in open(r.log, encoding="ascii").read(), CUT_S + 30, "a timeout")
        net.heal()
        r.wait_answers(100, 30)
        checker.query(primary.node.ip, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        checker.query(primary.node.ip, "SELECT pg_reload_conf()")
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        wait.until(lambda: checker.query(primary.node.ip, waiting), 30, "a waiting commit")
        checker.query(primary.node.ip, "ALTER SYSTEM SET synchronous_standby_names = ''")
        checker.query(primary.node.ip,
                      "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        checker.query(primary.node.ip, "SELECT pg_reload_conf()")
        r.wait_answers(100, 30)
        r.finish()
    v = judge.check(r.log)
    assert v["verdict"] == "linearizable", v
    assert v["reads"] > 100 and v["writes"] > 100 and v["unknown"] >= 1 and v["servers"] == 1


def test_two_primaries_are_broken(net, servers, recorder, tmp_path):
    primary = servers(0)
    with recorder as r:
        standby = servers(1, clone_of=primary)
        r.wait_answers(50, 30)
        checker.query(standby.node.ip, "SELECT pg_promote(false)")
        wait.until(lambda: checker.query(standby.node.ip, "SELECT NOT pg_is_in_recovery()")[0][0], 60,
                   "second primary")
        for s in primary, standby:
            r.wait_answers(100, 60, server=f"{s.node.ip}:")
        r.finish()
    v = judge.check(r.log, picture=str(tmp_path / "picture.html"))
    assert v["verdict"] == "broken" and v["servers"] == 2, v
