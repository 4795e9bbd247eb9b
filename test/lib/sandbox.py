"""Runs a command where nothing it does can leak: own network, PID and mount namespaces.

    python3 test/lib/sandbox.py [--disk] [--uplink FILE] -- COMMAND...

As root the namespaces are made directly, otherwise inside a user namespace (the command then sees
itself as uid 0 without rights outside). Everything below the command ends with it, whichever way it
ends: the command's init is PID 1 of its namespace, and it dies with this launcher. Bridges, member
networks, firewall rules and the tmpfs that holds data directories vanish with their namespaces, so
two runs side by side cannot collide and an interrupted run leaves nothing behind.

Inside, PGHA_SANDBOX names the run directory (tmpfs; with --disk a directory of the disk that the
launcher removes). --uplink connects the sandbox to the caller's network by a veth pair on a free
10.87.N.0/24 (root only) and writes what the caller needs to reach it as JSON to FILE.
"""
import argparse
import ctypes
import errno
import fcntl
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
# A server that is killed leaves a segment of shared memory, and a machine has room for a few thousand.
WORLD = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV, MS_NOEXEC = 4096, 16384, 1 << 18, 2, 4, 8
PR_SET_PDEATHSIG = 1
GRACE_S = 20  # from SIGTERM to SIGKILL of the command

_libc = ctypes.CDLL(None, use_errno=True)


def _check(ret, what):
    if ret != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"{what}: {os.strerror(err)}")


def _mount(source, target, fstype, flags, data=None):
    _check(_libc.mount(source.encode(), target.encode(), fstype.encode() if fstype else None,
                       ctypes.c_ulong(flags), data.encode() if data else None),
           f"mount {target}")


def _die_with_parent(parent):
    """parent: the pid expected, or 0 where it lies outside our PID namespace."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def own_memory():
    """Gives this process shared memory of its own: that of servers which its tests kill goes with it.
    For root; nothing happens for others."""
    if os.geteuid() != 0:
        return
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC), "unshare")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


def inside():
    """The run directory if this process runs in a sandbox, else None."""
    return os.environ.get("PGHA_SANDBOX")


def rootless():
    return os.environ.get("PGHA_SANDBOX_ROOTLESS") == "1"


def _sweep(base):
    """Removes run directories of launchers that were killed: their lock is free."""
    for path in glob.glob(os.path.join(base, "pghad-*")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_uid == os.geteuid() and os.path.exists(path + "/.sandbox"):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(fd)


def _map_self(uid, gid):
    with open("/proc/self/setgroups", "w") as f:
        f.write("deny")
    with open("/proc/self/uid_map", "w") as f:
        f.write(f"0 {uid} 1")
    with open("/proc/self/gid_map", "w") as f:
        f.write(f"0 {gid} 1")


def _mount_programs(run_dir):
    """Shows the programs under test where user postgres can reach them: a home directory, root's
    above all, is often closed to others."""
    build = os.environ.get("PGHA_BUILD")
    if not build or not os.path.isdir(build) or rootless():
        return
    shown = os.path.join(run_dir, "programs")
    os.mkdir(shown)
    _mount(os.path.abspath(build), shown, None, MS_BIND)
    os.environ["PGHA_SANDBOX_PROGRAMS"] = shown


def programs():
    """Directory of the programs under test as every user can reach it."""
    return os.environ.get("PGHA_SANDBOX_PROGRAMS") or \
        os.path.abspath(os.environ.get("PGHA_BUILD", "build/gcc"))


def _init(run_dir, disk, argv, ready_r):
    """PID 1 of the sandbox: mounts, starts the command, reaps, passes SIGTERM and SIGINT on."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    if not disk:
        _mount("tmpfs", run_dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    _mount_programs(run_dir)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.read(ready_r, 1)  # the launcher has made the uplink
    os.close(ready_r)
    child = os.fork()
    if child == 0:
        try:
            for sig in (signal.SIGINT, signal.SIGHUP):
                signal.signal(sig, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(argv[0], argv)
        except OSError as e:
            print(f"sandbox: {argv[0]}: {e}", file=sys.stderr)
        os._exit(127)

    def forward(sig, _frame):
        try:
            os.kill(child, sig)
        except ProcessLookupError:
            pass

    signal.signal(signal.SIGTERM, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff if os.WIFEXITED(status)
                     else 128 + os.WTERMSIG(status))


def _complain(e):
    print(f"sandbox: {e}", file=sys.stderr)
    if not isinstance(e, OSError) or e.errno not in (errno.EPERM, errno.EACCES, errno.ENOSPC):
        return
    if rootless():
        print("sandbox: an ordinary user may not make namespaces on this system; either run this "
              "as root (sudo), or allow it:\n    sysctl user.max_user_namespaces=10000\n"
              "    sysctl kernel.apparmor_restrict_unprivileged_userns=0   # Ubuntu",
              file=sys.stderr)
    else:
        print("sandbox: root may not make namespaces here; a container needs --privileged",
              file=sys.stderr)


def _keeper(launcher, run_dir, disk, argv, ready_r, pid_w, as_root):
    """Makes the namespaces; its child is their init. Lives only to hand on the exit code."""
    # An interrupt from the terminal, or its end, reaches the whole foreground group by itself.
    for sig in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent(launcher)
    uid, gid = os.geteuid(), os.getegid()
    if as_root:
        _check(_libc.unshare(WORLD), "unshare")
    else:
        os.environ["PGHA_SANDBOX_ROOTLESS"] = "1"
        _check(_libc.unshare(CLONE_NEWUSER | WORLD), "unshare")
        _map_self(uid, gid)
    # Held back until init can pass it on: a PID 1 without a handler never sees it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    init = os.fork()
    if init == 0:
        try:
            os.close(pid_w)
            _die_with_parent(0)
            _init(run_dir, disk, argv, ready_r)
        except BaseException as e:  # an init that ends without a word helps nobody
            _complain(e)
        os._exit(125)
    os.close(ready_r)
    os.write(pid_w, f"{init}\n".encode())
    os.close(pid_w)
    signal.signal(signal.SIGTERM, lambda s, f: os.kill(init, s))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        pid, status = os.wait()
        if pid == init:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _connect(init_pid):
    """(N, interface) of a new veth pair whose other end, "uplink", is in the sandbox."""
    for n in range(100, 250):
        host = f"pgha{n}"
        in_use = subprocess.run(["ip", "-4", "route", "show", "table", "all"], capture_output=True,
                                text=True, check=True).stdout
        if f" 10.87.{n}." in f" {in_use}":
            continue
        made = subprocess.run(["ip", "link", "add", host, "type", "veth", "peer", "name", "uplink",
                               "netns", str(init_pid)], stderr=subprocess.DEVNULL)
        if made.returncode != 0:
            continue  # another sandbox has just taken the name
        for cmd in (["ip", "addr", "add", f"10.87.{n}.254/24", "dev", host],
                    ["ip", "link", "set", host, "up"]):
            subprocess.run(cmd, check=True)
        return n, host
    raise RuntimeError("cannot connect the sandbox: no free 10.87.N.0/24")


def _make_uplink(init_pid, path, run_dir):
    """The index of the host side of the veth pair; None where there is none."""
    info = {"pid": init_pid, "dir": run_dir, "subnet": None, "interface": None}
    index = None
    if os.geteuid() == 0:
        info["subnet"], info["interface"] = _connect(init_pid)
        index = socket.if_nametoindex(info["interface"])
    with open(path, "w") as f:
        json.dump(info, f)
    return index


def _remove_uplink(index):
    """The kernel does it, too, but where a connection was open up to a minute after the namespace's end.

    By index: the name may be another sandbox's by now.
    """
    subprocess.run(["ip", "link", "del", f"if{index}"], stderr=subprocess.DEVNULL)


def run(argv, disk=False, uplink=None, env=None):
    """Runs argv in a sandbox and returns its exit code."""
    keeper, asked = None, False

    def stop(_sig, _frame):
        nonlocal asked
        asked = True
        if keeper:
            os.kill(keeper, signal.SIGTERM)
            signal.alarm(GRACE_S)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda s, f: keeper and os.kill(keeper, signal.SIGKILL))
    base = os.environ.get("TMPDIR", "/tmp")
    _sweep(base)
    run_dir = tempfile.mkdtemp(prefix="pghad-", dir=base)
    os.chmod(run_dir, 0o755)
    lock = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    open(os.path.join(run_dir, ".sandbox"), "w").close()  # from here on _sweep() looks at it
    os.environ.update(env or {})
    os.environ["PGHA_SANDBOX"] = run_dir
    for name in ("PGHA_SANDBOX_ROOTLESS", "PGHA_SANDBOX_PROGRAMS"):
        os.environ.pop(name, None)
    ready_r, ready_w = os.pipe()
    pid_r, pid_w = os.pipe()
    launcher, as_root = os.getpid(), os.geteuid() == 0
    keeper = os.fork()
    if keeper == 0:
        try:
            os.close(ready_w)
            os.close(pid_r)
            _keeper(launcher, run_dir, disk, argv, ready_r, pid_w, as_root)
        except BaseException as e:
            _complain(e)
        os._exit(125)
    if asked:
        stop(None, None)
    os.close(ready_r)
    os.close(pid_w)
    index = None
    try:
        line = os.read(pid_r, 32)
        if line:
            if uplink:
                index = _make_uplink(int(line), uplink, run_dir)
            os.write(ready_w, b"g")
        os.close(ready_w)
        _, status = os.waitpid(keeper, 0)
    finally:
        keeper = None
        signal.alarm(0)
        if index:
            _remove_uplink(index)
        shutil.rmtree(run_dir, ignore_errors=True)
        os.close(lock)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def postgres_programs():
    """Directory of PostgreSQL's programs: PG_BIN, else that of the newest version that is here."""
    explicit = os.environ.get("PG_BIN")
    if explicit:
        return explicit
    found = glob.glob("/usr/lib/postgresql/[0-9]*/bin/postgres")
    if not found:
        raise RuntimeError("no PostgreSQL below /usr/lib/postgresql: run make deps, or set PG_BIN")
    return os.path.dirname(max(found, key=lambda path: int(path.split("/")[4])))


def postgres_user():
    """(uid, gid) of the user that runs PostgreSQL, or None where it is ourselves."""
    if rootless() or os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("postgres")
    return entry.pw_uid, entry.pw_gid


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--disk", action="store_true", help="data directories on disk, not on tmpfs")
    p.add_argument("--uplink", metavar="FILE", help="make the sandbox reachable from outside")
    p.add_argument("command", nargs=argparse.REMAINDER)
    a = p.parse_args()
    argv = a.command[1:] if a.command[:1] == ["--"] else a.command
    if not argv:
        p.error("no command")
    sys.exit(run(argv, disk=a.disk, uplink=a.uplink))


if __name__ == "__main__":
    # ip and nft live where an ordinary user's PATH does not look.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    main()
