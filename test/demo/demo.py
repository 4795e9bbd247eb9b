#!/usr/bin/env python3
"""The demo: three members, one writer, four faults; what a client saw, in milliseconds.

    make demo            runs and cleans up
    make demo KEEP=1     leaves the cluster running and prints how to reach it

Runs as root or, where user namespaces are allowed, as anybody. Nothing outside build/demo (or
build/demo-2, ... beside another demo) and a sandbox of namespaces is touched.
"""
import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import sandbox  # noqa: E402

DIR = os.environ.get("PGHA_DEMO_DIR", "")
UPLINK = os.path.join(DIR, "uplink.json")
COLOR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOR else text


def title(text):
    print("\n" + paint("1", text), flush=True)


class Demo:
    def __init__(self, kube, net, cluster):
        self.kube, self.net, self.cluster = kube, net, cluster
        self.rows = []
        self.began = time.monotonic()

    def list(self):
        out = self.cluster.hactl("list").stdout
        print("\n".join("  " + line for line in out.rstrip("\n").split("\n")), flush=True)

    def fault(self, name, how, do, undo=None):
        """One fault under load: the gap, who is primary, and back to full strength."""
        import wait
        c = self.cluster
        old = c.wait_healthy()
        title(name)
        print(f"  {how(old)}", flush=True)
        at = wait.boot_us()
        do(old)
        # A planned change is over when the order is; a fault when writes are back for good.
        self.load.wait_writes(60, max(at, self._back(at)))
        new = c.primary()
        gap = self.load.gap_ms(at)
        if undo:
            undo(old)
        c.wait_healthy()
        gap = max(gap, self.load.gap_ms(at))
        self.rows.append((name, gap, old.name, new.name))
        who = new.name if new is not old else f"{new.name} again"
        print(f"  write gap {paint('1;32', f'{gap:.0f} ms')}, primary is {paint('1', who)}",
              flush=True)

    def _back(self, at):
        """Until something was interrupted or plainly will not be: a row acknowledged 1 s after."""
        return at + 1_000_000

    def run(self):
        c = self.cluster
        title("three members")
        c.wait_healthy()
        print(f"  ready after {time.monotonic() - self.began:.1f} s", flush=True)
        self.list()
        with c.load() as self.load:
            self.fault("kill -9 of postgres", lambda p: f"SIGKILL to the postmaster of {p.name}",
                       lambda p: p.postmaster().signal(signal.SIGKILL))
            self.fault("a whole member dies",
                       lambda p: f"SIGKILL to everything in {p.name}; its container is back at once",
                       lambda p: (p.kill(), p.start()))
            self.fault("network cut",
                       lambda p: f"{p.name} can reach nobody and nobody can reach it (lease 5 s)",
                       lambda p: self.net.cut_all(p.name), lambda p: self.net.heal())
            self.fault("hactl switchover", lambda p: "a planned change, ordered by an operator",
                       lambda p: self.say(c.switchover()))
        title("at the end")
        self.list()
        return self.verdict()

    def say(self, result):
        lines = result.stdout.split("\n")
        at = next((i for i, line in enumerate(lines) if line.startswith("switchover done")), None)
        for line in [] if at is None else lines[at:at + 2]:
            print(f"  {line}", flush=True)

    def verdict(self):
        import checker
        c = self.cluster
        p = c.wait_healthy()
        history = checker.History(c.writer_logs)
        v = history.against(checker.table_ids(p.ip, c.password))
        # A row sent before the cut whose answer came after it proves nothing about two writers.
        overlaps = [o for o in history.overlaps() if o["kind"] == "proved"]
        print()
        for name, gap, old, new in self.rows:
            print(f"  {name:<22} {gap:6.0f} ms   {old} -> {new}")
        good = not v["lost"] and not overlaps
        print("\n" + paint("1;32" if good else "1;31",
                           f"acknowledged {v['acknowledged']}, lost {len(v['lost'])}, "
                           f"overlaps {len(overlaps)}"), flush=True)
        return good


def keep(cluster, net):
    """Prints how to reach the cluster and waits until interrupted."""
    with open(UPLINK) as f:
        info = json.load(f)
    p = cluster.primary()
    kubeconfig = os.path.join(DIR, "kubeconfig")
    cluster.kube.write_kubeconfig(kubeconfig, cluster.ns)
    hactl = os.path.relpath(f"{os.environ['PGHA_BUILD']}/hactl", ROOT)
    prefix = ""
    if info["subnet"] is None:
        enter = os.path.join(DIR, "in")
        with open(enter, "w") as f:
            f.write("#!/bin/sh\n# Runs a command inside the demo's network.\n"
                    f"exec nsenter --preserve-credentials -U -n -m -t {info['pid']} "
                    f"--wd=\"$PWD\" -- \"$@\"\n")
        os.chmod(enter, 0o755)
        prefix = os.path.relpath(enter, ROOT) + " "
    logs = os.path.relpath(DIR, ROOT) + "/logs"
    title("it goes on running; reach it from another terminal in this directory")
    print(f"""
  export KUBECONFIG={kubeconfig} PGHA_CLUSTER={cluster.name}
  export PGUSER=postgres PGPASSWORD={cluster.password}
  {prefix}{hactl} list
  {prefix}{hactl} switchover --force
  {prefix}{hactl} psql -- -c 'select pg_is_in_recovery(), inet_server_addr()'""")
    for m in cluster.members:
        print(f"  {prefix}curl -s http://{m.ip}:8008/status      # {m.name}"
              f"{', primary' if m is p else ''}")
    print(f"\n  Ctrl-C ends it; what the members said is then in {logs}.", flush=True)
    done = threading.Event()
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, lambda *_: done.set())
    done.wait()


def inside(keep_running):
    import kubeapi
    import netns
    from cluster import Cluster

    # A signal ends the demo as an exception, so that everything is put away; the second one of a
    # terminal that goes away or of an impatient user must not end the putting away.
    def end(sig, _frame):
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        sys.exit(128 + sig)

    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, end)
    net = netns.Network.from_uplink(UPLINK) if keep_running else netns.Network()
    with kubeapi.open_kube("devkube", host=net.api_ip) as kube:
        cluster = Cluster(kube, net, "demo", name="pg")
        try:
            demo = Demo(kube, net, cluster)
            cluster.start()
            good = demo.run()
            if keep_running:
                keep(cluster, net)
            return 0 if good else 1
        except AssertionError as e:
            print(paint("1;31", f"\ndemo failed: {e}"), file=sys.stderr)
            print("\n".join(cluster.story(last=60)), file=sys.stderr)
            return 1
        finally:
            cluster.save_logs(os.path.join(DIR, "logs"))
            cluster.stop()


def claim_directory():
    """build/demo, or the first of build/demo-2, ... that no running demo has. Kept by the lock."""
    n = 1
    while True:
        path = os.path.join(ROOT, "build", "demo" if n == 1 else f"demo-{n}")
        os.makedirs(path, exist_ok=True)
        fd = os.open(os.path.join(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return path
        except BlockingIOError:
            os.close(fd)
            n += 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--keep", action="store_true", help="leave the cluster running at the end")
    a = p.parse_args()
    if sandbox.inside():
        return inside(a.keep)
    directory = claim_directory()
    os.environ["PGHA_DEMO_DIR"] = directory
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    argv = [sys.executable, os.path.abspath(__file__), *sys.argv[1:]]
    return sandbox.run(argv, uplink=os.path.join(directory, "uplink.json") if a.keep else None)


if __name__ == "__main__":
    sys.exit(main())
