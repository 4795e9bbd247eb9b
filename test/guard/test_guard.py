"""What guard promises, with real processes. Times are printed; bounds are generous."""
import fcntl
import os
import signal
import subprocess
import threading
import time

import psycopg2
import pytest

from conftest import (BUILD, DEADLINE_S, IS_ROOT, PG_BIN, boot_ms, descendants, pidfds, ppid_of,
                      until, wait_gone)

FENCE_BOUND_MS = 1000


def measure(capsys, text):
    with capsys.disabled():
        print(f"\n    {text}", end="")


def fence_after(guard, proc, agent, lead_ms, before_freeze=lambda: None):
    """Grants lead_ms, freezes the agent, waits for the end of every server process.
    Returns (ms after the deadline until the last one was gone, deadline)."""
    deadline = agent.number("grant", lead_ms)
    assert agent.number("arm") == 1
    pids = guard.servers(proc)
    assert len(pids) >= 5
    fds = pidfds(pids)
    before_freeze()
    agent.do("freeze")
    late = wait_gone(fds) - deadline
    assert not guard.servers(proc)
    return late, deadline


@pytest.mark.parametrize("round_no", range(3))
def test_fence__frozen_agent_and_busy_writers__all_gone_after_the_deadline(guard, capsys, round_no):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    guard.writers(8)
    acks = []

    def client():
        conn = psycopg2.connect(host=guard.sock_dir, user="postgres", dbname="postgres")
        conn.autocommit = True
        try:
            with conn.cursor() as cur:
                while True:
                    cur.execute("insert into t values (-1, 0)")
                    acks.append(boot_ms())
        except psycopg2.Error:
            pass

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    until(lambda: acks, "a first commit of the client")
    late, deadline = fence_after(guard, proc, agent, 1200)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    measure(capsys, f"[{round_no}] last server process gone {late:.1f} ms after the deadline, last "
                    f"commit acknowledged {acks[-1] - deadline:+.1f} ms")
    assert -5 <= late < FENCE_BOUND_MS
    assert acks[-1] > deadline - 1000, "the writer must have been alive shortly before"
    assert acks[-1] < deadline + FENCE_BOUND_MS
    fresh = guard.accept()
    st = fresh.status()
    assert (st["fenced"], st["page_fenced"], st["writable"], st["deadline"]) == (1, 1, 0, 0)
    assert st["agent_starts"] == 2 and st["postgres_pid"] == 0
    assert st["last_exit"] == signal.SIGKILL
    fresh.wait_status(lambda s: s["lock"] == "free", "server.lock to be free")
    assert guard.start_postgres(fresh)["starts"] == 2
    assert int(guard.sql("select count(*) from t")) > 0


def test_fence__frozen_server__killed_all_the_same(guard, capsys):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    guard.writers(4)

    def freeze_all():
        for fd in pidfds(guard.servers(proc)):
            try:
                signal.pidfd_send_signal(fd, signal.SIGSTOP)
            except ProcessLookupError:
                pass  # a session that was about to end anyway
            os.close(fd)

    late, _ = fence_after(guard, proc, agent, 1200, freeze_all)
    measure(capsys, f"stopped backends gone {late:.1f} ms after the deadline")
    assert -5 <= late < FENCE_BOUND_MS
    assert guard.accept().status()["fenced"] == 1


def test_fence__agent_stopped_between_mark_and_message__noticed(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    agent.number("grant", 1000)
    agent.do("mark")
    fds = pidfds(guard.servers(proc))
    agent.do("freeze")
    wait_gone(fds, 5)
    assert guard.accept().status()["fenced"] == 1


@pytest.mark.parametrize("how", ["forfeit", "forfeit-silently"])
def test_fence__forfeit_while_writable__at_once(guard, capsys, how):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    agent.number("grant", 60000)
    agent.number("arm")
    fds = pidfds(guard.servers(proc))
    before = boot_ms()
    agent.conn.sendall(how.encode() + b"\n")
    took = wait_gone(fds) - before
    measure(capsys, f"{how} noticed and executed in {took:.1f} ms")
    assert took < FENCE_BOUND_MS
    assert guard.accept().number("extend", 1000) == 0, "a lapse is final"


def test_fence__deadline_renewed_or_nothing_writable__never(guard):
    guard.make_data()
    _, agent = guard.start()
    guard.start_postgres(agent)
    agent.number("grant", 1)  # no right, but a standby needs none
    pid = agent.status()["postgres_pid"]
    first = agent.number("grant", 700)
    agent.number("arm")

    def renew():
        assert agent.number("extend", 700) == 1
        return boot_ms() > first + 800

    until(renew, "the first deadline to be long past", every=0.05)
    st = agent.status()
    assert (st["fenced"], st["postgres_pid"], st["writable"]) == (0, pid, 1)


def test_fence__writable_cleared_after_clean_stop__not_fenced_later(guard):
    guard.make_data()
    _, agent = guard.start()
    guard.start_postgres(agent)
    agent.number("grant", 60000)
    agent.number("arm")
    agent.number("signal", int(signal.SIGINT))
    st = agent.wait_status(lambda s: s["lock"] == "free" and s["postgres_pid"] == 0, "a stop")
    assert (st["writable"], st["last_exit"]) == (0, 0)
    agent.do("forfeit")
    assert agent.wait_status(lambda s: True, "status")["fenced"] == 0


@pytest.mark.parametrize("how", ["crash", "garbage"])
def test_agent__dies__restarted_and_postgres_untouched(guard, how):
    guard.make_data()
    proc, agent = guard.start()
    pid = guard.start_postgres(agent)["postgres_pid"]
    guard.writers(1)
    agent.number("grant", 60000)
    agent.number("arm")
    began = time.monotonic()
    agent.conn.sendall(f"{how}\n".encode())
    fresh = guard.accept()
    assert time.monotonic() - began < 3.3 / 2
    st = fresh.status()
    assert (st["postgres_pid"], st["agent_starts"], st["fenced"]) == (pid, 2, 0)
    assert (st["writable"], st["lock"]) == (1, "held")
    count = int(guard.sql("select count(*) from t"))
    until(lambda: int(guard.sql("select count(*) from t")) > count, "the writer to go on")
    assert guard.servers(proc)


def test_agent__keeps_crashing__back_off_grows_to_a_second(guard):
    _, agent = guard.start()
    pauses = []
    for _ in range(7):
        began = time.monotonic()
        agent.do("crash")
        agent = guard.accept()
        pauses.append(time.monotonic() - began)
    assert pauses[0] < 0.5 < pauses[-1] < 1.9, pauses


def test_server_lock__postmaster_killed__its_backends_end_unasked(guard):
    """By itself a busy backend would go on committing until it waits for something."""
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    guard.writers(2)
    agent.number("grant", 60000)
    agent.number("arm")
    postmaster = next(p for p in guard.servers(proc)
                      if ppid_of(p) == guard.inner_pid(proc))
    os.kill(postmaster, signal.SIGKILL)
    st = agent.wait_status(lambda s: s["postgres_pid"] == 0 and s["lock"] == "free",
                           "the lock to be free", 5)
    # A process that has let go of the lock has closed its files, but is not a zombie yet.
    until(lambda: not guard.servers(proc), "the servers to be gone")
    assert st["last_exit"] == signal.SIGKILL
    assert st["writable"] == 0
    assert st["agent_starts"] == 1, "the agent is spared"
    assert not guard.events("servers-killed"), "nobody asked for it"


def test_server_lock__mark_cleared__the_end_was_told_before(guard):
    """An agent would else find a primary that guard does not watch, and end it as a rogue: no crash, no hand-over."""
    guard.make_data()
    _, agent = guard.start()
    for _ in range(8):
        guard.start_postgres(agent)
        agent.number("grant", 60000)
        agent.number("arm")
        agent.number("signal", signal.SIGQUIT)
        assert agent.number("see-cleared") == 0, "postgres runs, the agent would think"


def leave_a_child(guard, agent):
    """A server that ends by itself and leaves a process behind that holds the volume."""
    script = os.path.join(guard.sock_dir, "server")
    with open(script, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\nsleep 300 &\nexit 3\n")
    os.chmod(script, 0o755)
    assert agent.number("start", script, guard.data) > 0
    return agent.wait_status(lambda s: s["postgres_pid"] == 0 and s["lock"] == "held",
                             "the lock to be seen as held")


def test_server_lock__server_ended_by_itself__held_by_a_child_until_swept(guard):
    guard.make_data()
    _, agent = guard.start()
    assert leave_a_child(guard, agent)["last_exit"] == 3 << 8
    agent.number("grant", 60000)
    agent.number("arm")
    st = agent.wait_status(lambda s: s["writable"] == 1, "it may be writable")
    assert st["lock"] == "held", "a process is alive"
    agent.number("kill", 0)
    st = agent.wait_status(lambda s: s["lock"] == "free" and not s["sweeping"], "a sweep", 5)
    assert st["writable"] == 0
    assert st["agent_starts"] == 1, "the agent is spared"


def test_start__leftovers_of_an_earlier_server__killed_first(guard):
    guard.make_data()
    proc, agent = guard.start()
    leave_a_child(guard, agent)
    assert guard.start_postgres(agent)["starts"] == 2
    assert "sleep" not in [comm for comm, _ in descendants(proc.pid).values()]
    assert guard.events("leftovers-found")


def test_kill_servers__gentle__running_postmaster_gets_sigterm_then_sigkill(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    guard.writers(2)
    victim = next(p for p in guard.servers(proc) if ppid_of(p) != guard.inner_pid(proc))
    os.kill(victim, signal.SIGSTOP)  # keeps any polite stop from finishing
    fds = pidfds(guard.servers(proc))
    began = boot_ms()
    agent.number("kill", 300)
    took = wait_gone(fds) - began
    assert 250 <= took < 3000
    agent.wait_status(lambda s: s["lock"] == "free" and not s["sweeping"], "a sweep")


@pytest.mark.skipif(not IS_ROOT, reason="entering a namespace needs root")
def test_kill_servers__process_from_outside__spared(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    inner = guard.inner_pid(proc)
    shell = subprocess.Popen(["nsenter", "-t", str(inner), "-p", "-m", "--", "sleep", "60"])
    guard.clients.append(shell)
    until(lambda: any(c == "sleep" for c, _ in descendants(shell.pid).values()), "the shell")
    agent.number("kill", 0)
    agent.wait_status(lambda s: s["lock"] == "free" and not s["sweeping"], "a sweep")
    assert shell.poll() is None


def test_start__lock_cannot_be_tried__refused_as_unknown(guard):
    guard.make_data()
    os.makedirs(os.path.join(guard.state, "server.lock"))
    guard.give(guard.state)
    _, agent = guard.start()
    assert agent.wait_status(lambda s: guard.events("lock-unknown"), "a look")["lock"] == "unknown"
    seq = agent.number("start", "/bin/true", guard.data)
    st = agent.wait_status(lambda s: s["task_seq"] == seq, "the refusal")
    assert (st["task_result"], st["starts"]) == ("unknown", 0)


def result(agent, *request):
    """What guard said to a request."""
    seq = agent.number(*request)
    assert seq > 0
    return agent.wait_status(lambda s: s["task_seq"] == seq, "the answer")["task_result"]


def test_start__not_to_be_done__refused_with_the_reason(guard):
    guard.make_data()
    _, agent = guard.start()
    assert result(agent, "start", "postgres", guard.data) == "invalid"  # not an absolute path
    assert result(agent, "start", f"{PG_BIN}/postgres", "data") == "invalid"
    agent.wait_status(lambda s: s["lock"] == "free", "the look at server.lock")
    assert agent.status()["starts"] == 0
    pid = guard.start_postgres(agent)["postgres_pid"]
    assert result(agent, "start", f"{PG_BIN}/postgres", guard.data) == "running"
    assert (agent.status()["postgres_pid"], agent.status()["starts"]) == (pid, 1)


def test_start__program_is_not_there__said_and_tried_again_when_asked(guard):
    guard.make_data()
    _, agent = guard.start()
    agent.number("start", "/nowhere/postgres", guard.data)
    st = agent.wait_status(lambda s: s["starts"] == 1 and s["postgres_pid"] == 0, "its end")
    assert st["last_exit"] != 0
    until(lambda: "cannot run /nowhere/postgres" in guard.log_text(), "the reason")
    guard.start_postgres(agent)


@pytest.fixture(name="silent_lock")
def _silent_lock(guard):
    """open() of server.lock hangs, as on a volume that does not answer: a file lease of the test
    delays every other open (fcntl(2), F_SETLEASE)."""
    os.makedirs(guard.state)
    path = os.path.join(guard.state, "server.lock")
    old = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel's wish to have the lease back
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    guard.give(guard.state)
    guard.give(path)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    release = [lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)]
    yield lambda: release.pop()()
    while release:
        release.pop()()
    os.close(fd)
    signal.signal(signal.SIGIO, old)


def test_volume__silent__guard_answers_refuses_and_recovers(guard, silent_lock):
    guard.make_data()
    _, agent = guard.start()
    seq = agent.number("start", f"{PG_BIN}/postgres", guard.data)
    worst = 0

    def refused():
        nonlocal worst
        began = time.monotonic()
        st = agent.status()
        worst = max(worst, time.monotonic() - began)
        return st if st["task_seq"] == seq else None

    st = until(refused, "the refusal", 10)
    assert (st["task_result"], st["lock"], st["starts"]) == ("unknown", "unknown", 0)
    assert worst < 1, "PID 1 itself never waits for the volume"
    assert guard.events("volume-silent")
    silent_lock()
    agent.wait_status(lambda s: s["lock"] == "free", "the volume to answer")
    assert guard.start_postgres(agent)["starts"] == 1


def test_volume__second_guard__waits_for_the_first(guard):
    first, agent = guard.start()
    boot_id = agent.status()["boot_id"]
    second = guard.spawn()
    until(lambda: guard.events("volume-in-use"), "the second to wait")
    assert second.poll() is None
    assert len(guard.events("guard-started")) == 1
    first.kill()
    fresh = guard.accept()
    st = fresh.status()
    assert st["boot_id"] != boot_id and st["page_boot_id"] == st["boot_id"]
    assert len(guard.events("volume-in-use")) == 1, "said once, not every 20 ms"


def test_volume__second_guard_waiting__ends_on_sigterm(guard):
    guard.start()
    second = guard.spawn()
    until(lambda: guard.events("volume-in-use"), "the second to wait")
    second.terminate()
    assert second.wait(DEADLINE_S) == 143


def test_namespace__outer_killed__everything_inside_ends(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    guard.writers(4)
    fds = pidfds(p for p, (_, state) in descendants(proc.pid).items() if state != "Z")
    assert len(fds) > 10
    proc.kill()
    wait_gone(fds, 5)


def test_namespace__inner_killed__137_and_everything_ends(guard, capsys):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    guard.writers(8)
    fds = pidfds(guard.servers(proc))
    began = boot_ms()
    os.kill(guard.inner_pid(proc), signal.SIGKILL)
    took = wait_gone(fds, 5) - began
    measure(capsys, f"guard itself killed: server gone in {took:.1f} ms")
    assert proc.wait(DEADLINE_S) == 137


def test_namespace__ordinary_user__serves_and_fences(guard, capsys):
    guard.make_data()
    proc, agent = guard.start(as_user=True)
    st = guard.start_postgres(agent)
    assert st["uid"] == guard.user.pw_uid
    assert st["pid"] < 20, "numbers of a namespace of its own"
    guard.writers(4)
    late, _ = fence_after(guard, proc, agent, 1200)
    measure(capsys, f"unprivileged: gone {late:.1f} ms after the deadline")
    assert -5 <= late < FENCE_BOUND_MS
    assert guard.accept().status()["fenced"] == 1


@pytest.mark.skipif(not IS_ROOT, reason="making PID namespaces by hand needs root")
def test_namespace__pid_1_already__no_second_one(guard):
    guard.make_data()
    proc, agent = guard.start(prefix=("unshare", "-p", "-f", "--kill-child", "--mount-proc"))
    guard.start_postgres(agent)
    below = descendants(proc.pid)
    assert sum(comm == "pghad" for comm, _ in below.values()) == 1
    late, _ = fence_after(guard, proc, agent, 1200)
    assert -5 <= late < FENCE_BOUND_MS


@pytest.mark.skipif(not IS_ROOT, reason="making PID namespaces by hand needs root")
def test_namespace__pid_1_with_a_foreign_proc__mounts_its_own(guard):
    guard.make_data()
    proc, agent = guard.start(prefix=("unshare", "-p", "-f", "--kill-child"))
    guard.start_postgres(agent)
    agent.number("kill", 0)  # would look for numbers of the host otherwise
    agent.wait_status(lambda s: s["lock"] == "free" and not s["sweeping"], "a sweep")
    assert proc.poll() is None and os.path.exists("/proc/self/stat")


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_namespace__impossible__refused_with_the_reason(guard):
    limit = "/proc/sys/user/max_pid_namespaces"
    script = f"unshare -U -r -m sh -c 'echo 0 > {limit} && exec {BUILD}/pghad'"
    done = subprocess.run(["sh", "-c", script], env=guard.env(), capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "guard-refused" in done.stderr and "PID namespace" in done.stderr


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_root__volume_is_created_and_given__nothing_runs_as_root(guard):
    proc, agent = guard.start(PGDATA=os.path.join(guard.base, "vol", "sub", "data"))
    st = agent.status()
    assert st["uid"] == guard.user.pw_uid
    made = os.stat(os.path.join(guard.base, "vol", "sub", "data"))
    assert (made.st_uid, made.st_mode & 0o777) == (guard.user.pw_uid, 0o700)
    inner = guard.inner_pid(proc)
    assert os.stat(f"/proc/{inner}").st_uid == guard.user.pw_uid
    with open(f"/proc/{inner}/status", encoding="utf-8") as f:
        status = f.read()
    assert f"Uid:\t{made.st_uid}\t{made.st_uid}\t{made.st_uid}\t{made.st_uid}" in status
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    assert ({int(g) for g in groups.split()[1:]} ==
            set(os.getgrouplist(guard.user.pw_name, guard.user.pw_gid)))


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("user", ["root", "no-such-user", "0:0"])
def test_root__user_that_will_not_do__refused(guard, user):
    proc = guard.spawn(PGHA_USER=user)
    assert proc.wait(DEADLINE_S) == 1
    assert "user" in guard.events("guard-refused")[0]["msg"].lower()


@pytest.mark.parametrize("setting, value, says", [
    ("PGHA_GRACE_MS", "soon", "PGHA_GRACE_MS: want 0 to"),
    ("PGHA_GRACE_MS", "-1", "PGHA_GRACE_MS: want 0 to"),
    ("PGDATA", "data", "the data directory (PGDATA) must be an absolute path: data"),
    ("PGDATA", "/" + "x" * 5000, "the data directory (PGDATA) is too long: a path of 5001 characters, 4095 are"),
    ("PGHA_STATE_DIR", "state", "PGHA_STATE_DIR must be an absolute path: state"),
    ("PGHA_AGENT", "/nowhere/agent", "PGHA_AGENT /nowhere/agent: "),
    ("PGHA_AGENT", "/" + 5000 * "a", "PGHA_AGENT is too long"),
    ("PGHA_USER", 70 * "u", "PGHA_USER is too long"),
])
def test_environment__that_will_not_do__refused_with_the_reason(guard, setting, value, says):
    if setting == "PGHA_USER" and not IS_ROOT:
        pytest.skip("only root becomes another user")
    assert guard.spawn(**{setting: value}).wait(DEADLINE_S) == 1
    assert says in guard.events("guard-refused")[0]["msg"]


def test_root__volume_that_cannot_be_made__refused_with_the_reason(guard):
    file = os.path.join(guard.sock_dir, "file")
    open(file, "w", encoding="utf-8").close()
    assert guard.spawn(PGDATA=f"{file}/data").wait(DEADLINE_S) == 1
    assert file in guard.events("guard-refused")[0]["msg"]


@pytest.mark.parametrize("code", [0, 3, 78, 255])
def test_exit__code_of_the_agent__is_the_code_of_the_container(guard, code):
    proc, agent = guard.start()
    agent.conn.sendall(f"exit {code}\n".encode())
    assert proc.wait(DEADLINE_S) == code


def test_exit__configuration_refused_at_start__ends_the_container(guard):
    proc, agent = guard.start()
    agent.conn.sendall(b"refuse-config\n")
    assert proc.wait(DEADLINE_S) == 2


def test_agent__configuration_refused_later__postgres_goes_on(guard):
    guard.make_data()
    _, agent = guard.start()
    pid = guard.start_postgres(agent)["postgres_pid"]
    agent.conn.sendall(b"refuse-config\n")
    st = guard.accept().status()
    assert (st["postgres_pid"], st["agent_starts"]) == (pid, 2)


def test_reaping__orphans__no_zombies_stay(guard):
    proc, agent = guard.start()
    for _ in range(20):
        agent.do("orphan")
    until(lambda: not any(state == "Z" for _, state in descendants(proc.pid).values()) and
          len(descendants(proc.pid)) == 2, "only guard and agent are left")


def test_memory__private_below_a_megabyte__and_one_thread(guard, capsys):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    inner = guard.inner_pid(proc)
    fields = {}
    with open(f"/proc/{inner}/smaps_rollup", encoding="utf-8") as f:
        for line in f.read().splitlines()[1:]:
            key, value = line.split(":")
            fields[key] = int(value.split()[0])
    private = fields["Private_Dirty"] + fields["Private_Clean"]
    measure(capsys, f"guard: private {private} kB (dirty {fields['Private_Dirty']}), "
                    f"resident {fields['Rss']} kB, locked {fields.get('Locked', 0)} kB")
    assert private < 1024
    assert len(os.listdir(f"/proc/{inner}/task")) == 1


def test_sigterm__agent_is_told_and_ends_orderly__its_code(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    proc.terminate()
    agent.wait_status(lambda s: s["terminate"] == 1, "the agent to know")
    proc.terminate()
    agent.wait_status(lambda s: s["terminate"] == 2, "the second to be counted")
    assert guard.sql("select 1") == "1", "guard leaves the stop to the agent"
    agent.number("signal", int(signal.SIGINT))
    agent.wait_status(lambda s: s["lock"] == "free", "the stop")
    agent.conn.sendall(b"exit 0\n")
    assert proc.wait(DEADLINE_S) == 0


def test_sigterm__agent_gone__fast_stop_of_a_standby(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    proc.terminate()
    agent.wait_status(lambda s: s["terminate"] == 1, "the agent to know")
    agent.do("crash")
    assert proc.wait(DEADLINE_S) == 143
    assert "database system is shut down" in guard.log_text()
    assert guard.events("stop-step")[-1]["msg"] == "over"


def test_sigterm__agent_gone_and_writable__killed_without_a_fast_stop(guard):
    guard.make_data()
    proc, agent = guard.start()
    guard.start_postgres(agent)
    agent.number("grant", 60000)
    agent.number("arm")
    proc.terminate()
    agent.wait_status(lambda s: s["terminate"] == 1, "the agent to know")
    agent.do("crash")
    assert proc.wait(DEADLINE_S) == 143
    assert "fast shutdown request" not in guard.log_text()


def test_sigterm__agent_frozen__stopped_when_the_grace_is_over(guard):
    guard.make_data()
    proc, agent = guard.start(PGHA_GRACE_MS="400")
    guard.start_postgres(agent)
    agent.do("freeze")
    began = time.monotonic()
    proc.terminate()
    assert proc.wait(DEADLINE_S) == 143
    assert 0.35 <= time.monotonic() - began < 10
    assert "database system is shut down" in guard.log_text()


def test_signal__hup__reaches_the_agent(guard):
    _, agent = guard.start()
    guard.procs[0].send_signal(signal.SIGHUP)  # deadly for the agent: it has no handler
    assert agent.gone()
    assert guard.accept().status()["agent_starts"] == 2


def test_environment__agent_and_arguments__passed_through(guard):
    _, agent = guard.start("--some", "argument", MARK="x1")
    assert agent.do("env", "MARK") == "x1"
    assert agent.do("env", "PGHA_STATE_DIR") == guard.state
    fake = next(p for p, (c, _) in descendants(guard.procs[0].pid).items() if c == "fake-agent")
    with open(f"/proc/{fake}/cmdline", "rb") as f:
        assert f.read().split(b"\0")[1:3] == [b"--some", b"argument"]


def test_foreground__rules__runs_the_agent_without_a_namespace(guard):
    done = subprocess.run([os.path.join(BUILD, "pghad"), "--rules"], env=guard.env(),
                          capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert done.stdout.startswith("rules pid=") and int(done.stdout.split("=")[1]) > 1


def test_help_and_version(guard):
    for arg, word in (("--help", "PGHA_GRACE_MS"), ("--version", "pghad ")):
        done = subprocess.run([os.path.join(BUILD, "pghad"), arg], env={}, capture_output=True,
                              text=True, timeout=DEADLINE_S, check=True)
        assert word in done.stdout
    bad = subprocess.run([os.path.join(BUILD, "pghad")], env={**guard.env(), "PGHA_AGENT": "/no"},
                         capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert bad.returncode == 1 and "PGHA_AGENT" in bad.stderr
