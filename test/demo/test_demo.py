"""The demo as a person uses it: at a terminal, with every command that it prints, and with every way
to end it. Whatever the way, nothing of it is left."""
import glob
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import uuid

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import wait  # noqa: E402

DEMO = os.path.join(ROOT, "test", "demo", "demo.py")
START_S, WHOLE_S, END_S = 60, 240, 30


class Terminal:
    """A demo at a terminal of its own."""

    def __init__(self, *options):
        self.mark = uuid.uuid4().hex
        self.text = ""
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ["PGHA_TEST_MARK"] = self.mark
            os.environ["NO_COLOR"] = "1"
            os.chdir(ROOT)
            os.execv(sys.executable, [sys.executable, "-B", DEMO, *options])
        os.set_inheritable(self.fd, False)
        self.pid, self.code = pid, None

    def read(self):
        """Takes what is there into self.text; False at the end."""
        if select.select([self.fd], [], [], 0.05)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.text += data.decode(errors="replace").replace("\r", "")
            return bool(data)
        return True

    def wait_for(self, words, deadline_s):
        end = time.monotonic() + deadline_s
        while words not in self.text:
            assert self.read(), f"the demo ended before it said {words!r}:\n{self.text}"
            assert time.monotonic() < end, f"no {words!r} within {deadline_s} s:\n{self.text}"

    def type(self, keys):
        os.write(self.fd, keys)

    def hang_up(self):
        os.close(self.fd)
        self.fd = None

    def wait_end(self):
        def ended():
            if self.fd is not None:
                self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            return pid
        if self.code is None:
            wait.until(ended, END_S, "the demo to end", every=0.01)
        return self.code

    def frame(self):
        """Pids of its launcher, the keeper and init of its sandbox, and the program inside."""
        found = []
        for pid in self.processes():
            with open(f"/proc/{pid}/cmdline") as f:
                if DEMO in f.read().split("\0"):
                    found.append(pid)
        return found

    def processes(self):
        """Pids of the frame and of what it has started; the members have another environment, but
        live in the PID namespace of the sandbox's init and end with that."""
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as f:
                    mine = self.mark.encode() in f.read()
                if mine:
                    with open(os.path.dirname(path) + "/stat") as f:
                        state = f.read().rsplit(")", 1)[1].split()[0]
                    if state not in "ZX":
                        found.append(int(path.split("/")[2]))
            except OSError:
                continue
        return sorted(found)

    def run_directory(self):
        for pid in self.frame():
            with open(f"/proc/{pid}/environ") as f:
                m = re.search(r"PGHA_SANDBOX=([^\0]+)", f.read())
            if m:
                return m.group(1)
        return None

    def kill(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait_end()
        if self.fd is not None:
            self.hang_up()


@pytest.fixture
def demo():
    made = []

    def start(*options):
        made.append(Terminal(*options))
        return made[-1]

    yield start
    for t in made:
        t.kill()


def interfaces():
    out = subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout
    return {i["ifname"] for i in json.loads(out)}


def printed_commands(text):
    block = text.split("reach it from another terminal")[1].split("Ctrl-C ends it")[0]
    lines = [line.strip() for line in block.splitlines()[1:]]
    return ([line for line in lines if line.startswith("export ")],
            [line for line in lines if line and not line.startswith("export ")])


def test_every_printed_command_works_and_ctrl_c_leaves_nothing(demo):
    kept = demo("--keep")
    kept.wait_for("three members", START_S)
    kept.wait_for("Ctrl-C ends it", WHOLE_S)
    assert "lost 0, overlaps 0" in kept.text
    directory = kept.run_directory()
    exports, commands = printed_commands(kept.text)
    assert exports and len(commands) >= 6
    wants = {" list": "primary", "switchover": "switchover done", "psql": "pg_is_in_recovery",
             "curl": '"name"'}
    seen = set()
    for command in commands:
        # Another terminal: none of this environment but what a login has.
        r = subprocess.run(["bash", "-c", "; ".join([*exports, command])], cwd=ROOT, text=True,
                           env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/"},
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=90)
        assert r.returncode == 0, f"{command}: exit {r.returncode}\n{r.stdout}{r.stderr}"
        kind = next(k for k in wants if k in command)
        assert wants[kind] in r.stdout, f"{command}:\n{r.stdout}"
        seen.add(kind)
    assert seen == set(wants)
    ours = {i for i in interfaces() if i.startswith("pgha")}
    kept.type(b"\x03")
    assert kept.wait_end() == 0
    assert not kept.processes() and not os.path.exists(directory)
    assert "Traceback" not in kept.text
    assert ours and not ours & interfaces()


def end_terminate(t):
    os.kill(t.pid, signal.SIGTERM)


def end_interrupt(t):
    t.type(b"\x03")


def end_hang_up(t):
    t.hang_up()


def end_kill_launcher(t):
    os.kill(t.pid, signal.SIGKILL)


def end_kill_demo(t):
    os.kill(t.frame()[3], signal.SIGKILL)


@pytest.mark.parametrize("end", [end_terminate, end_interrupt, end_hang_up, end_kill_launcher,
                                 end_kill_demo])
def test_ended_in_the_middle_leaves_nothing_and_disturbs_nobody(demo, end):
    victim, other = demo(), demo()
    for t in (victim, other):
        t.wait_for("three members", START_S)
    directory, others = victim.run_directory(), other.run_directory()
    assert directory != others
    before = other.frame()
    end(victim)
    assert victim.wait_end() != 0
    wait.until(lambda: not victim.processes(), 5, "the kernel to end what was left")
    assert "Traceback" not in victim.text
    if end is end_kill_launcher:  # its directory is empty, and goes with the next run
        assert os.listdir(directory) == [".sandbox"]
        demo().wait_for("three members", START_S)
    assert not os.path.exists(directory)
    assert other.frame() == before and os.path.exists(others)
