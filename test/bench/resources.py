#!/usr/bin/env python3
"""What a member costs: memory by mapping, processor at rest, growth under health probes.

    make bench-resources [PROBES=100000] [REST_S=60]

Runs inside test/lib/sandbox.py. Fails when a figure misses its goal.
"""
import argparse
import os
import re
import socket
import sys
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import kubeapi  # noqa: E402
import netns  # noqa: E402
import wait  # noqa: E402
from cluster import Cluster  # noqa: E402

GOAL_RSS_MB = 8.0        # guard and agent together
GOAL_CPU_PERCENT = 0.1   # of one core, guard and agent together, at rest
GOAL_GROWTH_KB = 512     # of the agent, over all probes
PATHS = ("/liveness", "/readiness", "/primary", "/replica", "/metrics", "/status", "/nothing-here")


def by_mapping(pid):
    """{name: [rss, private]} in kB, the largest first."""
    rows, name = {}, None
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)", line)
            if head:
                name = os.path.basename(head.group(1)) or "(anonymous)"
                continue
            key, _, value = line.partition(":")
            row = rows.setdefault(name, [0, 0])
            if key == "Rss":
                row[0] += int(value.split()[0])
            elif key.startswith("Private_"):
                row[1] += int(value.split()[0])
    return dict(sorted(rows.items(), key=lambda r: -r[1][0]))


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def switches(pid):
    with open(f"/proc/{pid}/status") as f:
        return sum(int(v) for v in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))


def cpu_ns(pid):
    """Finer than the ticks of /proc/PID/stat: time on a processor so far."""
    try:
        with open(f"/proc/{pid}/schedstat") as f:
            return int(f.read().split()[0])
    except OSError:
        return cpu_ticks(pid) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def settle(members):
    """Waits until the agents have given back what their start needed: no fall of more than 64 kB for
    5 s."""
    last = {}

    def steady():
        for m in members:
            kb, now = m.agent().memory_kb()["rss"], wait.boot_s()
            if m.name not in last or kb < last[m.name][0] - 64:
                last[m.name] = kb, now
        return all(wait.boot_s() - since >= 5 for _, since in last.values())
    wait.until(steady, 60, "the agents' memory to settle", every=0.5)


def rest(members, seconds):
    """Percent of one core of guard and agent of each member, and turns per second."""
    pids = {m.name: (m.guard().pid, m.agent().pid) for m in members}
    before = {p: (cpu_ns(p), switches(p)) for pair in pids.values() for p in pair}
    began = time.monotonic()
    time.sleep(seconds)  # ok: the length of the measurement
    took = time.monotonic() - began
    return {name: [((cpu_ns(p) - before[p][0]) / took / 1e7, (switches(p) - before[p][1]) / took)
                   for p in pair] for name, pair in pids.items()}


def probe(address, n, path):
    """n requests on one connection that is opened anew every thousand."""
    request = f"GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n".encode()
    for done in range(0, n, 1000):
        with socket.create_connection(address, 10) as s:
            f = s.makefile("rb")
            for _ in range(min(1000, n - done)):
                s.sendall(request)
                length = 0
                assert f.readline().startswith(b"HTTP/1.1 ")
                while (line := f.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert len(f.read(length)) == length


def probes(member, n):
    threads = [threading.Thread(target=probe, args=((member.ip, 8008), n // len(PATHS), path))
               for path in PATHS]
    began = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return n // len(PATHS) * len(PATHS) / (time.monotonic() - began)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--probes", type=int, default=100_000)
    p.add_argument("--rest", type=int, default=60, help="seconds")
    p.add_argument("--kube", default="devkube", choices=kubeapi.BACKENDS)
    p.add_argument("--mappings", action="store_true", help="every mapping, not only the sum")
    a = p.parse_args()
    missed = []

    def goal(what, value, bound, unit):
        good = value <= bound
        print(f"{what:<44} {value:9.3f} {unit:<5} goal <= {bound}: {'reached' if good else 'MISSED'}",
              flush=True)
        if not good:
            missed.append(what)

    net = netns.Network()
    with kubeapi.open_kube(a.kube, host=net.api_ip) as kube:
        c = Cluster(kube, net, "resources", options={"lease.profile": "default"}).start()
        try:
            primary = c.wait_healthy()
            c.kubelet.stop()
            settle(c.members)
            for m in c.members:
                role = "primary" if m is primary else "standby"
                guard, agent = m.guard().memory_kb(), m.agent().memory_kb()
                if a.mappings and m is not c.members[-1]:
                    for what, pid in (("guard", m.guard().pid), ("agent", m.agent().pid)):
                        print(f"--- {what} of the {role} {m.name}: kB resident, private")
                        for name, (rss, private) in by_mapping(pid).items():
                            if rss:
                                print(f"{rss:8} {private:8}  {name}")
                goal(f"{m.name} ({role}) guard + agent RSS", (guard["rss"] + agent["rss"]) / 1024,
                     GOAL_RSS_MB, "MB")
                print(f"    guard {guard}, agent {agent}")
                goal(f"{m.name} ({role}) guard private", guard["private"] / 1024, 1.0, "MB")
            if a.rest:
                for name, rows in rest(c.members, a.rest).items():
                    print(f"    {name}: guard {rows[0][0]:.3f} % {rows[0][1]:.1f} switches/s, "
                          f"agent {rows[1][0]:.3f} % {rows[1][1]:.1f} switches/s")
                    goal(f"{name} processor at rest", rows[0][0] + rows[1][0], GOAL_CPU_PERCENT, "%")
            if a.probes:
                probes(primary, 2000)  # what a first request allocates once
                before = primary.agent().memory_kb()["rss"]
                rate = probes(primary, a.probes)
                after = primary.agent().memory_kb()["rss"]
                print(f"    {a.probes} probes, {rate:.0f}/s, agent {before} kB -> {after} kB")
                goal("growth of the agent over all probes", after - before, GOAL_GROWTH_KB, "kB")
        finally:
            c.remove()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
