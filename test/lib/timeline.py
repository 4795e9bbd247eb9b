"""Merges the JSON logs of all members and the harness's own marks into one story, by time.

    python3 test/lib/timeline.py FILE... [--since SECONDS]
"""
import argparse
import datetime
import json
import os
import sys


def _stamp(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _parse(path, name):
    last = 0.0
    try:
        f = open(path, errors="replace")
    except FileNotFoundError:
        return
    with f:
        for line in f:
            line = line.rstrip("\n")
            if not line:
                continue
            try:
                row = json.loads(line)
                at = _stamp(row["ts"])
            except (ValueError, KeyError, TypeError):
                # Not ours (a program's last words): keeps its place after the line before it.
                yield last, name, "", line[:300]
                continue
            last = at
            record = row.get("record")
            if isinstance(record, dict):
                yield at, name, "postgres", (
                    f"{record.get('error_severity', '')}: {record.get('message', '')}"
                    f"{' | ' + record['detail'] if record.get('detail') else ''}")
                continue
            extra = " ".join(f"{k}={v}" for k, v in row.items()
                             if k not in ("ts", "level", "event", "msg", "member", "source"))
            source = row.get("source", "")
            level = row.get("level", "info")
            mark = "" if level in ("info", "debug") else f"{level.upper()} "
            yield at, name, source, f"{mark}{row.get('event', '')}: {row.get('msg', '')} {extra}"


def merge(files, since=None):
    """files: {name: path}. Yields printable lines in order of time."""
    rows = [r for name, path in files.items() for r in _parse(path, name)]
    rows.sort(key=lambda r: r[0])
    width = max([len(n) for n in files] + [4])
    for at, name, source, text in rows:
        if since is not None and at < since:
            continue
        clock = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
        yield f"{clock:%H:%M:%S.%f} {name:<{width}} {source:<8} {text}"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("files", nargs="+")
    p.add_argument("--since", type=float, help="seconds since 1970")
    a = p.parse_args()
    names = {os.path.splitext(os.path.basename(f))[0]: f for f in a.files}
    sys.stdout.writelines(line + "\n" for line in merge(names, a.since))


if __name__ == "__main__":
    main()
