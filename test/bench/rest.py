"""What a cluster costs at rest: requests to the API server, memory and processor of the supervisors."""
import contextlib
import os
import time

import wait

REST_S = 60


def _cpu_ns(pid):
    """Time on a processor of all threads so far."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def _requests(kube, subject, since):
    """{"verb resource": number} of what the members have asked."""
    account = f"system:serviceaccount:{subject.ns}:"
    by = {}
    for r in kube.requests():
        if r["user"].startswith(account) and r["time"] >= since:
            key = f"{r['verb']} {r['resource']}"
            by[key] = by.get(key, 0) + 1
    return by


def measure(kube, subjects):
    """[(subject, row)]: all at the same time, without any client."""
    for s in subjects:
        s.wait_healthy()
    with contextlib.ExitStack() as stack:
        for s in subjects:
            stack.enter_context(s.undisturbed())
        return _measure(kube, subjects)


def _measure(kube, subjects):
    before = {s: {name: {p.pid: _cpu_ns(p.pid) for p in procs}
                  for name, procs in s.supervisors().items()} for s in subjects}
    begin, began = time.time(), wait.boot_s()
    time.sleep(REST_S)  # ok: the length of the measurement
    rows = []
    for s in subjects:
        seconds = wait.boot_s() - began
        members = {}
        for name, procs in s.supervisors().items():
            kb = [p.memory_kb() for p in procs]
            used = sum(_cpu_ns(p.pid) - before[s][name].get(p.pid, 0) for p in procs)
            members[name] = {"rss_kb": sum(m["rss"] for m in kb), "pss_kb": sum(m["pss"] for m in kb),
                             "private_kb": sum(m["private"] for m in kb), "processes": len(kb),
                             "cpu_percent": round(used / 1e7 / seconds, 3)}
        rows.append((s, {"seconds": round(seconds, 1), "requests": _requests(kube, s, begin),
                         "members": members}))
    return rows
