"""What make test says at the end: tools/run-layers with a make that plays the layers, and
tools/run-pytest with a program that plays pytest."""
import fcntl
import os
import signal
import subprocess
import time

import pytest

import wait

RUN_LAYERS = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "run-layers")
RUN_PYTEST = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "run-pytest")
FAKE_MAKE = r"""#!/bin/bash
case "${@: -1}" in
good) echo "3 passed, 1 skipped in 0.10s" ;;
two) echo "4 passed, 0 failed"; echo "5 passed in 1.00s" ;;
bad) echo "failed: x.py::test_x: not within 5 s: y"; echo "2 failed, 1 passed in 0.10s"; exit 1 ;;
crashed) echo "Segmentation fault"; exit 139 ;;
silent) echo "nothing to do" ;;
lying) echo "7 passed, 0 failed"; exit 2 ;;
flags) echo "flags:$MAKEFLAGS"; echo "1 passed, 0 failed" ;;
first) : > "$HERE/first"; for i in {1..400}; do [ -e "$HERE/second" ] && { echo "1 passed"; exit; }; read -rt 0.05 <> <(:); done ;;
second) : > "$HERE/second"; for i in {1..400}; do [ -e "$HERE/first" ] && { echo "1 passed"; exit; }; read -rt 0.05 <> <(:); done ;;
forever) echo $$ > "$HERE/pid"; exec sleep 1000 ;;
esac
"""


@pytest.fixture
def start(tmp_path):
    make = tmp_path / "make"
    make.write_text(FAKE_MAKE)
    make.chmod(0o755)

    def run(*layers, **env):
        return subprocess.Popen([RUN_LAYERS, *layers], stdout=subprocess.PIPE, text=True,
                                env={**os.environ, "MAKE": str(make), "HERE": str(tmp_path),
                                     **env})
    return run


def result(p):
    out, _ = p.communicate(timeout=30)
    return p.returncode, out


def rows(out):
    lines = out.split("=== layers\n")[1].splitlines()
    return {line.split()[0]: line.split("  ", 1)[1].strip() for line in lines[:-1]
            if "  " in line}, lines[-1]


def test_counts_are_added_up(start):
    code, out = result(start("a=good", "b=two"))
    layers, total = rows(out)
    assert code == 0 and total == "12 passed, 0 failed"
    assert layers["a"].startswith("3 passed, 0 failed, 1 skipped")


@pytest.mark.parametrize("target, failed", [("bad", 2), ("crashed", 1), ("silent", 1),
                                            ("lying", 1)])
def test_no_failure_vanishes_and_the_rest_still_runs(start, target, failed):
    code, out = result(start(f"x={target}", "a=good"))
    layers, total = rows(out)
    assert code == 1 and total.endswith(f" passed, {failed} failed")
    assert f"{failed} failed" in layers["x"] and layers["a"].startswith("3 passed")


def test_what_failed_is_told_again_after_the_counts(start):
    _, out = result(start("x=bad,a=good"))
    assert out.splitlines()[-2:] == ["x | failed: x.py::test_x: not within 5 s: y",
                                     "4 passed, 2 failed"]


def test_layers_with_a_comma_run_side_by_side(start):
    """Each waits for the other."""
    code, out = result(start("a=first,b=second"))
    assert (code, rows(out)[1]) == (0, "2 passed, 0 failed")
    assert "a | 1 passed" in out and "b | 1 passed" in out


def test_options_go_on_to_the_layers_but_the_job_server_does_not(start):
    _, out = result(start("a=flags", MAKEFLAGS=" -j8 --jobserver-auth=3,4 -- SAN=1"))
    assert "flags:   -- SAN=1" in out


def test_over_time_is_a_failure(start):
    code, out = result(start("a=forever", "b=good", PGHA_TEST_LIMIT_S="1"))
    assert code == 1 and "a: no end within 1 s" in out
    assert "1 failed" in rows(out)[0]["a"]


def test_terminated__ends_its_layers(start, tmp_path):
    p = start("a=forever,b=good")
    wait.until(lambda: (tmp_path / "pid").read_text().strip(), 20, "the layer to run")
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 143
    pid = int((tmp_path / "pid").read_text())
    wait.until(lambda: not os.path.exists(f"/proc/{pid}"), 5, "the layer to end")


FAKE_PYTEST = """#!/bin/bash
if [ "${@: -1}" = a.py::test_a ]; then echo '%s in 0.1s'; exit %d; fi
echo 'E   AssertionError: %s'; echo 'FAILED a.py::test_a - AssertionError: %s'
echo '1 failed, 4 passed in 0.1s'; exit 1
"""


@pytest.fixture
def run_pytest(tmp_path):
    def run(why, second="1 passed"):
        fake = tmp_path / "pytest"
        fake.write_text(FAKE_PYTEST % (second, "failed" in second, why, why))
        fake.chmod(0o755)
        r = subprocess.run([RUN_PYTEST, str(fake)], capture_output=True, text=True, timeout=60,
                           env={**os.environ, "PGHA_TEST_LOCK": str(tmp_path / "lock")})
        return r.returncode, r.stdout
    return run


@pytest.mark.parametrize("why, again", [
    ("not within 5 s: a primary; last seen: the connection was lost", True),
    ("RBAC proof: forbidden: ...", False), ("3 acknowledged rows lost, of 90", False),
    ("two writable servers: [pg-0, pg-1]", False)])
def test_a_bound_missed_has_a_second_chance_and_a_wrong_result_has_none(run_pytest, why, again):
    code, out = run_pytest(why)
    assert ("second chance" in out) is again
    word, total = out.splitlines()[-2:]
    assert word == f"{'flaky' if again else 'failed'}: a.py::test_a: AssertionError: {why}"
    assert total.startswith("5 passed, 0 failed" if again else "4 passed, 1 failed")
    assert (code == 0) is again


def test_what_fails_twice_has_failed(run_pytest):
    code, out = run_pytest("not within 5 s: a primary", second="1 failed")
    assert code == 1 and "flaky" not in out
    assert out.splitlines()[-1].startswith("4 passed, 1 failed")


def test_the_second_chance_waits_until_the_other_layers_are_done(tmp_path):
    """The first run shares the machine; whoever runs meanwhile is waited for."""
    lock = tmp_path / "lock"
    fake = tmp_path / "pytest"
    fake.write_text(FAKE_PYTEST % ("1 passed", 0, "not within 5 s", "not within 5 s"))
    fake.chmod(0o755)
    with open(lock, "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        p = subprocess.Popen([RUN_PYTEST, str(fake)], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PGHA_TEST_LOCK": str(lock)})
        for line in p.stdout:
            if line.startswith("second chance"):
                break
        with pytest.raises(subprocess.TimeoutExpired):
            p.wait(1)
        fcntl.flock(f, fcntl.LOCK_UN)
    out, _ = p.communicate(timeout=60)
    assert p.returncode == 0 and "flaky: a.py::test_a" in out


FAKE_STILL = r"""#!/bin/bash
here=$(dirname "$0"); echo run >> "$here/runs"; n=$(wc -l < "$here/runs")
[ "$n" = "$(cat "$here/still")" ] && until [ -e "$here/go" ]; do read -rt 0.05 <> <(:); done
[ "$n" -gt 2 ] && { echo "$(cat "$here/failures") passed in 0.1s"; exit; }
for i in $(seq "$(cat "$here/failures")"); do echo "FAILED a.py::test_$i - AssertionError: late"; done
echo "$(cat "$here/failures") failed, 4 passed in 0.1s"; exit 1
"""


@pytest.fixture
def still(tmp_path):
    def run(failures, run):
        """Tests of which so many fail in the first two runs; the machine stands still in one of them."""
        fake = tmp_path / "pytest"
        fake.write_text(FAKE_STILL)
        fake.chmod(0o755)
        (tmp_path / "failures").write_text(str(failures))
        (tmp_path / "still").write_text(str(run))
        p = subprocess.Popen([RUN_PYTEST, str(fake)], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PGHA_TEST_LOCK": str(tmp_path / "lock")})
        runs = tmp_path / "runs"
        wait.until(lambda: runs.exists() and len(runs.read_text().split()) == run, 20, "the run that is meant")
        p.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # ok: the length of the pause
        p.send_signal(signal.SIGCONT)
        (tmp_path / "go").touch()
        return result(p)
    return run


def test_a_second_chance_during_a_standstill_is_repeated(still):
    code, out = still(1, 2)
    assert code == 0 and out.count("second chance") == 2 and "flaky: a.py::test_1" in out


def test_a_second_chance_is_repeated_for_no_earlier_standstill(still):
    code, out = still(1, 1)
    assert code == 1 and out.count("second chance") == 1 and "failed: a.py::test_1" in out


@pytest.mark.parametrize("failures, again", [(5, True), (6, False)])
def test_each_standstill_allows_one_failure_more(still, failures, again):
    _, out = still(failures, 1)
    assert ("second chance" in out) is again


RUN_UNITS = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "run-units")
FAKE_UNIT = r"""#!/bin/bash
here=$(dirname "$0")
echo "[ RUN      ] sound"; echo "[       OK ] sound"; echo "[ RUN      ] late"
echo run >> "$here/runs"
if [ $(wc -l < "$here/runs") -le $(cat "$here/bad") ]; then
    until [ -e "$here/go" ]; do read -rt 0.05 <> <(:); done
    [ -e "$here/crash" ] && kill -SEGV $$
    echo "ERROR: not within 5 ms: x"; echo "[  ERROR   ] --- [   LINE   ] --- a.c:7: error: Failure!"
    echo "[  FAILED  ] late"; echo "[  PASSED  ] 1 test(s)."; echo "[  FAILED  ] 1 test(s), listed below:"
    exit 1
fi
echo "[       OK ] late"; echo "[  PASSED  ] 2 test(s)."
"""


@pytest.fixture
def units(tmp_path):
    def run(bad, pause_s):
        """A unit program whose first runs fail, and a machine that stands still for pause_s in the first."""
        program = tmp_path / "test_x"
        program.write_text(FAKE_UNIT)
        program.chmod(0o755)
        (tmp_path / "bad").write_text(str(bad))
        p = subprocess.Popen([RUN_UNITS, str(program)], stdout=subprocess.PIPE, text=True)
        wait.until(lambda: (tmp_path / "runs").exists(), 20, "the program runs")
        p.send_signal(signal.SIGSTOP)
        time.sleep(pause_s)  # ok: the length of the pause
        p.send_signal(signal.SIGCONT)
        (tmp_path / "go").touch()
        return result(p)
    return run


def test_a_unit_program_that_fails_has_no_second_chance(units):
    code, out = units(1, 0)
    assert code == 1 and out.endswith("1 passed, 1 failed\n")
    assert "failed: test_x: late: ERROR: not within 5 ms: x: a.c:7: error: Failure!\n" in out
    assert "flaky" not in out


def test_a_unit_program_that_fails_while_the_machine_stands_still_runs_again(units):
    code, out = units(1, 1.5)
    assert code == 0 and out.endswith("2 passed, 0 failed\n")
    assert "flaky: test_x: the machine stood still for 1." in out and "not within 5 ms: x" in out


def test_a_unit_program_that_crashes_has_no_second_chance(units, tmp_path):
    (tmp_path / "crash").touch()
    code, out = units(1, 1.5)
    assert code == 1 and "test_x: ended with -11" in out and "flaky" not in out
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_unit_program_that_fails_again_has_failed(units):
    code, out = units(2, 1.5)
    assert code == 1 and out.endswith("1 passed, 1 failed\n") and "flaky" not in out
