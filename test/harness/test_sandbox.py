"""Nothing outlives a sandbox, whichever way it ends."""
import glob
import os
import shutil
import signal
import subprocess
import sys

import pytest

import sandbox
import wait

LAUNCHER = os.path.join(os.path.dirname(__file__), "..", "lib", "sandbox.py")


@pytest.fixture
def base(tmp_path):
    return str(tmp_path)


def launch(base, *command, **kw):
    env = {**os.environ, "TMPDIR": base}
    env.pop("PGHA_BUILD", None)
    env.update(kw.pop("env", {}))
    return subprocess.Popen([sys.executable, "-B", LAUNCHER, *kw.pop("options", ()), "--",
                             *command], env=env, stdout=subprocess.PIPE, text=True, **kw)


def running(marker):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path) as f:
                argv = f.read().split("\0")
        except OSError:
            continue
        if argv[0] == "sleep" and marker in argv:
            found.append(int(path.split("/")[2]))
    return found


def test_exit_code_and_own_world(base):
    p = launch(base, "sh", "-c", "ls $PGHA_SANDBOX; ip -o link | wc -l; exit 7")
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 7
    assert out.split() == ["1"], "an empty run directory and no link but lo"
    assert os.listdir(base) == []


def test_shared_memory_of_a_killed_server_ends_with_it(base):
    """Segments of System V outlive their processes, but not their namespace."""
    p = launch(base, "sh", "-c", "ipcmk -M 56 >/dev/null; ipcs -m | grep -c 0x; readlink /proc/self/ns/ipc")
    number, namespace = p.communicate(timeout=20)[0].split()
    assert number == "1" and namespace != os.readlink("/proc/self/ns/ipc")


def test_dynamic_shared_memory_of_a_killed_server_ends_with_it(base):
    """Its files are those of a file system in memory: gigabytes after a day of tests."""
    p = launch(base, "sh", "-c", "ls /dev/shm; touch /dev/shm/left-behind")
    assert (p.communicate(timeout=20)[0], p.returncode) == ("", 0)
    assert not os.path.exists("/dev/shm/left-behind")


@pytest.mark.parametrize("options", [(), ("--disk",)], ids=["tmpfs", "disk"])
def test_killed_launcher_leaves_no_process_and_the_next_one_sweeps(base, options):
    marker = "1000001" if options else "1000002"
    p = launch(base, "sh", "-c", f"echo x > $PGHA_SANDBOX/file; sleep {marker} & sleep {marker}",
               options=options)
    wait.until(lambda: len(running(marker)) == 2, 20, "both children")
    p.kill()
    p.wait()
    wait.until(lambda: not running(marker), 5, "the kernel to end them")
    assert len(os.listdir(base)) == 1
    assert launch(base, "true", options=options).wait(20) == 0
    assert os.listdir(base) == []


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command_which_may_clean_up(base, sig):
    marker = "1000003"
    p = launch(base, "bash", "-c",
               f"trap 'echo cleaned; exit 9' TERM; sleep {marker} & echo up; wait")
    assert p.stdout.readline() == "up\n"
    p.send_signal(sig)
    out, _ = p.communicate(timeout=20)
    assert (out, p.returncode) == ("cleaned\n", 9)
    assert not running(marker) and os.listdir(base) == []


def test_two_sandboxes_side_by_side(base):
    """Same names, same addresses, no collision."""
    script = ("ip link add name pghabr0 type bridge && ip addr add 10.87.0.1/24 dev pghabr0 && "
              "echo made && cat")
    pair = [launch(base, "sh", "-c", script, stdin=subprocess.PIPE) for _ in range(2)]
    assert [p.stdout.readline() for p in pair] == ["made\n", "made\n"]
    for p in pair:
        p.communicate(timeout=20)
        assert p.returncode == 0


@pytest.mark.skipif(sandbox.postgres_user() is None, reason="needs root and a user postgres")
def test_programs_in_a_closed_home_can_be_run_by_postgres(base, tmp_path):
    """As in /root on a new machine; a program there could not start its children otherwise."""
    home = tmp_path / "home"
    build = home / "build"
    build.mkdir(parents=True)
    shutil.copy(shutil.which("true"), build / "program")
    home.chmod(0o700)
    user = sandbox.postgres_user()
    script = f"{build}/program; echo $?; $PGHA_SANDBOX_PROGRAMS/program; echo $?"
    p = launch("/tmp", "setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups",
               "sh", "-c", script, env={"PGHA_BUILD": str(build)})
    out, _ = p.communicate(timeout=20)
    assert out.split() == ["126", "0"]
