"""What fences have shown, and whether that keeps the bound: from the rows that fence.py writes."""
import os
import platform
import statistics

BOUND_MS = 100
STOLEN_MS = 20  # more than that, and a fence is one of the machine's host, not of this machine
FROZEN = "file system frozen"
# To end takes processor time, too: there only the acknowledgements have the bound.
STARVED = ("16 spinning processes", "half a processor for the pod", "a tenth of a processor for the pod")


def disturbed(rows):
    return [r for r in rows if r.get("stolen_ms", 0) > STOLEN_MS]


def counted(rows):
    return [r for r in rows if r.get("stolen_ms", 0) <= STOLEN_MS]


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))]


def table(rows):
    yield ("| condition | n | last commit, max | last acknowledgement, max | last process, p50 | p99 | max |")
    yield "|---|---|---|---|---|---|---|"
    groups = {}
    for r in rows:
        groups.setdefault(r["condition"], []).append(r)
    for title, found in [*groups.items(), ("all", rows)]:
        late = [r["late_ms"] for r in found if r["late_ms"] is not None]
        told = [f"{max(r[k] for r in found):+.1f}" for k in ("last_commit_ms", "last_ack_ms")]
        cells = [f"{statistics.median(late):.1f}", f"{percentile(late, 0.99):.1f}", f"{max(late):.1f}"] \
            if late else ["cannot end", "cannot end", "cannot end"]
        yield f"| {title} | {len(found)} | {' | '.join(told + cells)} |"


def report(everything, load, gate, clients):
    rows = counted(everything)
    yield "# Fence"
    yield ""
    yield (f"{len(rows)} fences {'with' if gate else 'without'} the commit gate; ms after the deadline until the last "
           "commit record was made, the last acknowledgement came to one of "
           f"{clients} clients, and the last server process was gone. {os.cpu_count()} processors, load average "
           f"{load[0]:.1f} at the beginning, kernel {platform.release()}. Bound: {BOUND_MS} ms.")
    yield ""
    yield from table(rows)
    out = disturbed(everything)
    if out:
        yield ""
        late = [r["late_ms"] for r in out if r["late_ms"] is not None]
        yield (f"Not counted are {len(out)} fences in which the hypervisor gave more than {STOLEN_MS} ms of the "
               f"processors to other machines: last commit at most {max(r['last_commit_ms'] for r in out):+.1f} ms, "
               f"last acknowledgement {max(r['last_ack_ms'] for r in out):+.1f} ms" +
               (f", last process {max(late):.1f} ms." if late else "."))
    frozen = [r for r in rows if r["condition"] == FROZEN]
    if frozen:
        yield ""
        yield (f"File system frozen: {sum(r['in_sleep_at_the_end'] for r in frozen)} processes in uninterruptible "
               f"sleep when all others were gone; acknowledgements after the thaw: "
               f"{sum(r['acks_after_thaw'] for r in frozen)}; from the thaw to the end of the last process: p50 "
               f"{statistics.median(r['thaw_to_end_ms'] for r in frozen):.1f} ms, max "
               f"{max(r['thaw_to_end_ms'] for r in frozen):.1f} ms. A second guard on the volume came up in none.")


def verdict(everything, wanted):
    """What breaks the bound, and conditions that were not measured as often as was asked."""
    rows = counted(everything)
    worst = max([r["late_ms"] for r in rows if r["late_ms"] is not None and r["condition"] not in STARVED] +
                [r[k] for r in rows for k in ("last_ack_ms", "last_commit_ms")])
    wrong = [f"longer than {BOUND_MS} ms: {worst:.1f} ms"] if worst > BOUND_MS else []
    for title in dict.fromkeys(r["condition"] for r in everything):
        n = sum(r["condition"] == title for r in rows)
        if n < wanted:
            wrong.append(f"{title}: {n} of {wanted} fences, the others were disturbed")
    return wrong
