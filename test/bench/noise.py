"""How quiet the machine is: what a loop loses to others, and what a flushed write takes."""
import os
import tempfile
import time

import stats

SPIN_S, LOST_NS = 3, 200_000
FLUSHES, BLOCK = 300, b"\0" * 8192


def spin():
    """A loop that only reads the clock. Steps above 0.2 ms were somebody else's."""
    clock = time.monotonic_ns
    begin = last = clock()
    end, lost, longest = begin + SPIN_S * 1_000_000_000, 0, 0
    while last < end:
        now = clock()
        step = now - last
        if step > LOST_NS:
            lost += step
            longest = max(longest, step)
        last = now
    return {"spin_lost_percent": round(100 * lost / (last - begin), 2),
            "spin_longest_ms": round(longest / 1e6, 2)}


def flush(directory):
    """8 kB appended and made durable, one after the other."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as f:
        for _ in range(FLUSHES):
            begin = time.monotonic_ns()
            os.write(f.fileno(), BLOCK)
            os.fdatasync(f.fileno())
            times.append((time.monotonic_ns() - begin) / 1e6)
    return {"flush_p50_ms": round(stats.median(times), 3),
            "flush_p95_ms": round(stats.quantile(times, 0.95), 3),
            "flush_max_ms": round(max(times), 3)}


def probe(directory):
    return {**spin(), **flush(directory), "load": [round(x, 2) for x in os.getloadavg()]}


class Processors:
    """What the processors did between two looks: percent of all, busy and stolen by the host."""

    def __init__(self):
        self._was = self._read()

    @staticmethod
    def _read():
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
        return sum(v), v[3] + v[4], v[7]

    def look(self):
        was, self._was = self._was, self._read()
        total, idle, stolen = (b - a for a, b in zip(was, self._was))
        if total == 0:
            return {}
        return {"busy_percent": round(100 * (total - idle) / total, 1),
                "stolen_percent": round(100 * stolen / total, 1)}
