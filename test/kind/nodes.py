"""The nodes of the kind cluster as this machine sees them: containers whose processes, files and
network are in reach without their help, so that a fault can be injected into a node, and healed,
even while it is frozen.

    python3 test/kind/nodes.py heal     # undoes whatever an interrupted run has left in the nodes
"""
import json
import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))

import kubereal  # noqa: E402
import wait  # noqa: E402

CLUSTER = os.environ.get("KIND_CLUSTER", "pghad")
CHAIN = "PGHAD-CHAOS"
API_PORT = "6443"


def sh(*argv, check=True, timeout_s=120):
    r = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout_s,
                       stdin=subprocess.DEVNULL)
    if check and r.returncode != 0:
        raise OSError(f"{' '.join(map(str, argv))}: exit {r.returncode}: {r.stdout}{r.stderr}")
    return r


def program(name):
    return kubereal.find_program(name) or name


def _read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""  # it has just ended


def pids_of(comm, mark):
    """Processes of that name, as this machine numbers them, whose control group contains mark: the
    id of a node's container, or "pod" and a pod's uid."""
    return [int(p) for p in os.listdir("/proc") if p.isdigit()
            and _read(f"/proc/{p}/comm").strip() == comm and mark in _read(f"/proc/{p}/cgroup")]


class Node:
    def __init__(self, name):
        self.name = name
        facts = self._inspect()
        self.id, self.ip = facts["Id"], facts["NetworkSettings"]["Networks"]["kind"]["IPAddress"]
        self._pid = facts["State"]["Pid"]

    def _inspect(self):
        return json.loads(sh("docker", "inspect", self.name).stdout)[0]

    @property
    def pid(self):
        """The node's first process."""
        if not self._pid or not os.path.exists(f"/proc/{self._pid}"):
            self._pid = self._inspect()["State"]["Pid"]
        return self._pid

    def path(self, path):
        """A file of the node, as this machine names it."""
        return f"/proc/{self.pid}/root{path}"

    def inside(self, *argv, check=True):
        """With the node's network and programs, but not in its control group: works when frozen."""
        return sh("nsenter", "-t", self.pid, "-n", "-m", "--", *argv, check=check)

    def run(self, *argv, check=True):
        return sh("docker", "exec", self.name, *argv, check=check)

    def processes(self, comm):
        return pids_of(comm, self.id)

    def state(self):
        """running, paused or exited."""
        return self._inspect()["State"]["Status"]

    # Life.

    def pause(self):
        sh("docker", "pause", self.name)

    def unpause(self):
        sh("docker", "unpause", self.name)

    def kill(self):
        """Power loss: everything in it ends at once, its disk stays."""
        sh("docker", "kill", "-s", "KILL", self.name)
        wait.until(lambda: self.state() == "exited", 30, f"{self.name} to be off")
        self._pid = None

    def start(self):
        sh("docker", "start", self.name)
        facts = self._inspect()
        self._pid = facts["State"]["Pid"]
        assert facts["NetworkSettings"]["Networks"]["kind"]["IPAddress"] == self.ip, \
            f"{self.name} came back with another address"

    def kubelet(self, verb):
        """stop: its containers go on, and one that ends stays ended. start, restart: it also forgets
        how long containers that keep ending must wait for their next start."""
        # The first process of a node that was started a moment ago does not take orders yet.
        wait.until(lambda: self.run("systemctl", verb, "kubelet", check=False).returncode == 0,
                   60, f"kubelet of {self.name}: {verb}", every=0.5)

    # Network. eth+: what enters or leaves the node; kubelet's own probes of its pods do neither.

    def _chain(self):
        self.inside("iptables", "-w", "-N", CHAIN, check=False)
        for hook in ("FORWARD", "INPUT", "OUTPUT"):
            if self.inside("iptables", "-w", "-C", hook, "-j", CHAIN, check=False).returncode:
                self.inside("iptables", "-w", "-I", hook, "1", "-j", CHAIN)

    def rule(self, *match, target=("-j", "DROP")):
        self._chain()
        self.inside("iptables", "-w", "-A", CHAIN, *match, *target)

    def drop_between(self, source, destination):
        self.rule("-s", source, "-d", destination)

    def drop_api(self, api, pod=None):
        """What the node, or one pod on it, has to say to the API server, and the answers."""
        end = ("-s", pod) if pod else ()
        self.rule(*end, "-d", api, "-p", "tcp", "--dport", API_PORT)
        end = ("-d", pod) if pod else ()
        self.rule(*end, "-s", api, "-p", "tcp", "--sport", API_PORT)

    def unplug(self, pod=None):
        """Cuts the node, or one pod on it, from everything beyond the node."""
        self.rule("-i", "eth+", *(("-d", pod) if pod else ()))
        self.rule("-o", "eth+", *(("-s", pod) if pod else ()))

    def device(self):
        route = self.inside("ip", "-4", "route", "show", "default").stdout.split()
        return route[route.index("dev") + 1] if "dev" in route else "eth0"

    def limit(self, rate, burst="16kb", latency="400ms"):
        """All that leaves the node, at most so much."""
        self.inside("tc", "qdisc", "replace", "dev", self.device(), "root", "tbf", "rate", rate,
                    "burst", burst, "latency", latency)

    def heal_network(self):
        for hook in ("FORWARD", "INPUT", "OUTPUT"):
            while self.inside("iptables", "-w", "-D", hook, "-j", CHAIN, check=False).returncode == 0:
                pass
        self.inside("iptables", "-w", "-F", CHAIN, check=False)
        self.inside("iptables", "-w", "-X", CHAIN, check=False)
        if " tbf " in self.inside("tc", "qdisc", "show", check=False).stdout:
            self.inside("tc", "qdisc", "del", "dev", self.device(), "root", check=False)

    def heal(self):
        """On, awake, connected, with a kubelet; whatever it was before."""
        state = self.state()
        if state == "paused":
            self.unpause()
        elif state != "running":
            self.start()
        self.heal_network()
        if not self.processes("kubelet"):
            self.kubelet("start")


class Nodes:
    """All nodes; `api` is the address of the API server, which is the control plane's."""

    def __init__(self):
        names = sh(program("kind"), "get", "nodes", "--name", CLUSTER).stdout.split()
        self.control_plane = Node(next(n for n in names if n.endswith("control-plane")))
        self.workers = [Node(n) for n in sorted(names) if not n.endswith("control-plane")]
        self.api = self.control_plane.ip

    def __getitem__(self, name):
        return next(n for n in self.all() if n.name == name)

    def all(self):
        return [self.control_plane, *self.workers]

    def heal(self):
        for n in self.all():
            n.heal()


if __name__ == "__main__":
    if sys.argv[1:] != ["heal"]:
        sys.exit(__doc__)
    Nodes().heal()
