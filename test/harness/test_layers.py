"""What make test says at the end: tools/run-layers with a make that plays the layers, and
tools/run-pytest with a program that plays pytest."""
import os
import signal
import subprocess

import pytest

import wait

RUN_LAYERS = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "run-layers")
RUN_PYTEST = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "run-pytest")
FAKE_MAKE = r"""#!/bin/bash
case "${@: -1}" in
good) echo "3 passed, 1 skipped in 0.10s" ;;
two) echo "4 passed, 0 failed"; echo "5 passed in 1.00s" ;;
bad) echo "2 failed, 1 passed in 0.10s"; exit 1 ;;
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
    return {line.split()[0]: line.split("  ", 1)[1].strip() for line in lines[:-1]}, lines[-1]


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


@pytest.mark.parametrize("why, again", [
    ("not within 5 s: a primary", True), ("RBAC proof: forbidden: ...", False),
    ("3 acknowledged rows lost, of 90", False)])
def test_a_bound_missed_has_a_second_chance_and_a_wrong_result_has_none(tmp_path, why, again):
    fake = tmp_path / "pytest"
    fake.write_text(f"""#!/bin/bash
if [ "${{@: -1}}" = a.py::test_a ]; then echo '1 passed in 0.1s'; exit 0; fi
echo 'E   AssertionError: {why}'; echo 'FAILED a.py::test_a - AssertionError'
echo '1 failed, 4 passed in 0.1s'; exit 1
""")
    fake.chmod(0o755)
    r = subprocess.run([RUN_PYTEST, str(fake)], capture_output=True, text=True, timeout=30)
    assert ("second chance" in r.stdout) is again
    assert r.stdout.splitlines()[-1].startswith("5 passed, 0 failed" if again else
                                                "4 passed, 1 failed")
    assert (r.returncode == 0) is again
