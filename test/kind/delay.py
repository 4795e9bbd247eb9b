"""Holds packets back for a time, where the kernel has no netem: each packet that the packet filter
puts into the queue is accepted so much later.

    nsenter -t PID -n -- python3 test/kind/delay.py QUEUE MILLISECONDS
"""
import collections
import select
import socket
import struct
import sys
import time

NETFILTER, QUEUE = 12, 3  # protocol of the socket, subsystem
PACKET, VERDICT, CONFIG = (QUEUE << 8 | n for n in range(3))
CFG_CMD, CFG_PARAMS, CFG_MAXLEN = 1, 2, 3
BIND, COPY_META, ACCEPT = 1, 1, 1
REQUEST = 1
HEADER = 16 + 4  # of netlink, of netfilter


def attribute(kind, payload):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def message(kind, queue, *attributes):
    body = struct.pack("=BB", 0, 0) + struct.pack(">H", queue) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST, 0, 0) + body


def packets(data):
    """Ids of the packets that one datagram of the kernel tells of."""
    at = 0
    while at + HEADER <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        end, a = at + length, at + HEADER
        while kind == PACKET and a + 4 <= end:
            size, what = struct.unpack_from("=HH", data, a)
            if what & 0x3FFF == 1:
                yield struct.unpack_from(">I", data, a + 4)[0]
            a += (size + 3) & ~3
        at += (length + 3) & ~3


def main():
    queue, hold_s = int(sys.argv[1]), float(sys.argv[2]) / 1000
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((0, 0))
    for attributes in ([attribute(CFG_CMD, struct.pack(">BxH", BIND, socket.AF_INET))],
                       [attribute(CFG_PARAMS, struct.pack(">IB", 0, COPY_META)),
                        attribute(CFG_MAXLEN, struct.pack(">I", 65536))]):
        s.send(message(CONFIG, queue, *attributes))
    print("ready", flush=True)
    held = collections.deque()
    while True:
        left = held[0][0] - time.monotonic() if held else None
        if select.select([s], [], [], None if left is None else max(0, left))[0]:
            try:
                due = time.monotonic() + hold_s
                held.extend((due, n) for n in packets(s.recv(1 << 16)))
            except OSError:
                pass  # more at once than the socket holds: those are lost, as on a full line
        now = time.monotonic()
        while held and held[0][0] <= now:
            verdict = attribute(2, struct.pack(">II", ACCEPT, held.popleft()[1]))
            s.send(message(VERDICT, queue, verdict))


if __name__ == "__main__":
    main()
