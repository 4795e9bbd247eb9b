"""The harness's network: one bridge, one network namespace per member, silent partitions.

Runs inside test/lib/sandbox.py only, so names and addresses are fixed and everything vanishes with
the sandbox. Addresses: .1 clients (writers, checks), .2 API server, .3 upward Services,
.11 upward members.

Partitions are rules of the bridge, "in the network": packets disappear without a word, in one or
both directions, for one address or one port, and neither end can tell a cut from a dead peer.
"""
import ctypes
import json
import os
import subprocess

import sandbox

BRIDGE = "pghabr0"
CLONE_NEWNET = 0x40000000
MS_BIND = 4096


def sh(*cmd, **kw):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, **kw)
    if r.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: {r.stderr.strip() or r.stdout.strip()}")
    return r.stdout


def in_url(ip):
    return f"[{ip}]" if ":" in ip else ip


class Node:
    """A network namespace with one address, as a pod on its own node."""

    def __init__(self, net, name, ip, path, link):
        self.net, self.name, self.ip, self.path, self.link = net, name, ip, path, link

    def prefix(self):
        """Command prefix that runs a program in here."""
        return ["nsenter", f"--net={self.path}", "--"]


class Network:
    def __init__(self, subnet=0):
        if not sandbox.inside():
            raise RuntimeError("run through test/lib/sandbox.py (make integration, make demo)")
        self.base = f"10.87.{subnet}"
        self.client_ip, self.api_ip = self.addr(1), self.addr(2)
        self.nodes = {}
        self.dir = os.path.join(sandbox.inside(), "net")
        os.makedirs(self.dir, exist_ok=True)
        self._next_service = 3
        self._ids = {}
        # Of its own a bridge takes the lowest address of its ports: a member that joins may change it
        # under the others, which then talk past it until their neighbour entries expire.
        sh("ip", "link", "add", "name", BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
        for n in (1, 2):
            sh("ip", "addr", "add", f"{self.addr(n)}/24", "dev", BRIDGE)
        sh("ip", "link", "set", BRIDGE, "up")
        if subnet:
            sh("ip", "link", "set", "uplink", "master", BRIDGE, "up")
        self._nft("add table bridge pghad")
        for hook in ("forward", "input", "output"):
            self._nft(f"add chain bridge pghad {hook} "
                      f"{{ type filter hook {hook} priority 0; }}")

    @classmethod
    def from_uplink(cls, path):
        with open(path) as f:
            return cls(subnet=json.load(f)["subnet"] or 0)

    def addr(self, n):
        return f"{self.base}.{n}"

    def service_ip(self):
        """A new address on the bridge for a Service's front."""
        if self._next_service > 10:
            raise RuntimeError("no service address left")
        ip = self.addr(self._next_service)
        self._next_service += 1
        sh("ip", "addr", "add", f"{ip}/24", "dev", BRIDGE)
        return ip

    def add_node(self, name, number):
        """Node `number` (0 upward) with address .11 + number."""
        if name in self.nodes:
            raise ValueError(f"node {name} exists")
        link, ip = f"ph{number}", self.addr(11 + number)
        for other in [n.name for n in self.nodes.values() if n.link == link]:
            self.remove_node(other)  # of a cluster of another name, which is gone
        path = os.path.join(self.dir, name)
        open(path, "w").close()
        pid = os.fork()
        if pid == 0:
            # A namespace lives as long as something holds it: here a bind mount of its file.
            libc = ctypes.CDLL(None)
            ok = (libc.unshare(CLONE_NEWNET) == 0 and
                  libc.mount(b"/proc/self/ns/net", path.encode(), None, ctypes.c_ulong(MS_BIND),
                             None) == 0)
            os._exit(0 if ok else 1)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            raise RuntimeError("cannot make a network namespace")
        node = Node(self, name, ip, path, link)
        sh("ip", "link", "add", link, "type", "veth", "peer", "name", "ptmp")
        # `ip link set netns` wants a name of its own registry or a pid: lend it one.
        holder = subprocess.Popen(node.prefix() + ["cat"], stdin=subprocess.PIPE)
        try:
            self._wait_ns(holder.pid, path)
            sh("ip", "link", "set", "ptmp", "netns", holder.pid)
        finally:
            holder.stdin.close()
            holder.wait()
        for cmd in (["link", "set", "ptmp", "name", "eth0"], ["link", "set", "lo", "up"],
                    ["addr", "add", f"{ip}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            sh(*node.prefix(), "ip", *cmd)
        sh("ip", "link", "set", link, "master", BRIDGE, "up")
        self.nodes[name] = node
        return node

    def add_node_v6(self, name, number):
        """As add_node(), known by an IPv6 address only; the API server and the partitions of single addresses stay IPv4."""
        node = self.add_node(name, number)
        if "inet6 fd87::1/" not in sh("ip", "-6", "addr", "show", "dev", BRIDGE):
            sh("ip", "addr", "add", "fd87::1/64", "dev", BRIDGE, "nodad")
        node.ip = f"fd87::{11 + number}"
        sh(*node.prefix(), "ip", "addr", "add", f"{node.ip}/64", "dev", "eth0", "nodad")
        return node

    @staticmethod
    def _wait_ns(pid, path):
        import wait
        inode = os.stat(path).st_ino
        wait.until(lambda: os.stat(f"/proc/{pid}/ns/net").st_ino == inode, 10,
                   "nsenter to enter the namespace", every=0.005)

    def remove_node(self, name):
        node = self.nodes.pop(name)
        sh("ip", "link", "del", node.link)
        sh("umount", node.path)
        os.unlink(node.path)

    # Partitions. Ends are member names, "client", "api", or addresses.

    def _ip(self, end):
        if end in self.nodes:
            return self.nodes[end].ip
        return {"client": self.client_ip, "api": self.api_ip}.get(end, end)

    @staticmethod
    def _nft(rule):
        sh("nft", rule)

    def drop(self, src, dst):
        """One direction: everything from src to dst disappears."""
        a, b = self._ip(src), self._ip(dst)
        for hook in ("forward", "input", "output"):
            self._nft(f"add rule bridge pghad {hook} ip saddr {a} ip daddr {b} drop")

    def drop_large(self, src, dst):
        """One direction: packets with more than 900 bytes disappear."""
        self._nft(f"add rule bridge pghad forward ip saddr {self._ip(src)} ip daddr {self._ip(dst)} "
                  "meta length > 900 drop")

    def cut(self, a, b):
        self.drop(a, b)
        self.drop(b, a)

    def cut_api(self, name):
        self.cut(name, "api")

    def cut_peers(self, name):
        for other in self.nodes:
            if other != name:
                self.cut(name, other)

    def cut_all(self, name):
        """The node's cable is pulled."""
        link = self.nodes[name].link
        for hook in ("forward", "input"):
            self._nft(f"add rule bridge pghad {hook} iifname {link} drop")
        for hook in ("forward", "output"):
            self._nft(f"add rule bridge pghad {hook} oifname {link} drop")

    def heal(self):
        self._nft("flush table bridge pghad")
