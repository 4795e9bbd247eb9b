"""What happened when in one episode, from the logs of all members: one story on one clock.

A phase is {name: ms since the last acknowledgement before the gap}. What a subject's log does not tell is
absent. PostgreSQL's own lines are the same for every subject, so promotion and streaming compare directly.
"""
import calendar
import json
import re
import time

ORDER = ("fault", "back", "server_up", "stopping", "detected", "stopped", "proof", "acquire", "lease",
         "votes", "prepared", "promote_sent", "recovery_ended", "admitted", "first_commit", "label", "slice")
WORDS = {
    "fault": "the fault falls", "back": "the container is started again",
    "server_up": "its server runs, as a standby", "stopping": "the planned stop begins",
    "detected": "a supervisor knows that the server has ended",
    "stopped": "no process of the old server is left",
    "proof": "the Lease is given back", "acquire": "the successor asks for the Lease",
    "lease": "it has the Lease", "votes": "enough members have reported",
    "prepared": "all is in place for the promotion", "promote_sent": "promotion is asked for",
    "recovery_ended": "recovery has ended", "admitted": "clients are admitted",
    "first_commit": "a client hears of a commit", "label": "the pod has the label",
    "slice": "the Service leads there",
}
# (phase, who: old, new or any, what the row of the supervisor's log must have)
PGHAD = (
    ("stopping", "old", {"rule": "handover-stop"}),
    ("detected", "old", {"event": "postgres-ended", "source": "agent"}),
    ("stopped", "old", {"event": "server-gone"}),
    ("proof", "old", {"event": "lease-write", "holder": ""}),
    ("acquire", "new", {"rule": "acquire"}),
    ("lease", "new", {"rule": "elect-detach"}),
    ("votes", "new", {"rule": "elect-writer"}),
    ("votes", "new", {"rule": "elect-bypass"}),
    ("prepared", "new", {"rule": "promote"}),
    ("promote_sent", "new", {"event": "promote-sent"}),
    ("recovery_ended", "new", {"event": "recovery-ended"}),
    ("admitted", "new", {"event": "primary"}),
)
# The same in Patroni's words.
PATRONI = (
    ("detected", "old", re.compile(r"doing crash recovery|starting as a secondary|starting after|"
                                   r"manual failover: demot|switchover: demot|received switchover|"
                                   r"Trying to start|postmaster .*died")),
    ("lease", "new", re.compile(r"promoted self to leader|because i had the session lock|"
                                r"by acquiring session lock")),
)
SERVER = (
    ("server_up", re.compile(r"ready to accept read-only connections")),
    ("promote_sent", re.compile(r"received promote request")),
    ("recovery_ended", re.compile(r"archive recovery complete")),
)
STREAMS = r"(?:started streaming WAL from primary|restarted WAL streaming) at \S+ on timeline {}\b"
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,](\d{3}) (?:UTC \[\d+\] )?(?:\S+ )?(\w+): +(.*)")


def _wall(day, ms):
    return calendar.timegm(time.strptime(day, "%Y-%m-%d %H:%M:%S")) + int(ms) / 1000


def _json_wall(stamp):
    day, _, fraction = stamp.rstrip("Z").replace("T", " ").partition(".")
    return calendar.timegm(time.strptime(day, "%Y-%m-%d %H:%M:%S")) + float("0." + (fraction or "0"))


def read(path, offset):
    """Rows of one log from there on: (wall clock s, dict of the supervisor or text of a line)."""
    with open(path, "rb") as f:
        f.seek(offset)
        for raw in f:
            line = raw.decode(errors="replace").rstrip("\n")
            if line.startswith("{"):
                try:
                    row = json.loads(line)
                    yield _json_wall(row["ts"]), row
                except (ValueError, KeyError, TypeError):
                    pass
                continue
            m = LINE.match(line)
            if m:
                yield _wall(m[1], m[2]), m[4]


def _matches(row, what):
    if isinstance(what, dict):
        return isinstance(row, dict) and all(row.get(k) == v for k, v in what.items())
    return isinstance(row, str) and what.search(row) is not None


def first(rows, what, since):
    return next((at for at, row in rows if at >= since and _matches(row, what)), None)


def of(logs, old, new, since_s, zero_s, names):
    """{phase: ms}. logs: {member: rows}; since_s, zero_s: wall clock of the fault and of the last
    acknowledgement; names: PGHAD, PATRONI, or () for a log that tells nothing of its own."""
    found = {}

    def put(phase, at):
        if at is not None and phase not in found:
            found[phase] = round((at - zero_s) * 1000, 2)

    for phase, who, what in names:
        members = {"old": [old], "new": [new]}.get(who, list(logs))
        times = [t for t in (first(logs[m], what, since_s) for m in members) if t is not None]
        if times:
            put(phase, min(times))
    for phase, what in SERVER:
        put(phase, first(logs[new], what, since_s))
    return found


def streaming(rows, timeline, since):
    """When this member last began to stream that timeline; None: it did not."""
    what = re.compile(STREAMS.format(timeline))
    return max((at for at, row in rows if at >= since and _matches(row, what)), default=None)
