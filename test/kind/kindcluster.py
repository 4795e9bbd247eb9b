"""A cluster deployed on kind, with the verbs of test/lib/cluster.py: scenarios that use no others run
against either.

What differs: kubelet starts what has ended. kill() and terminate() therefore stop the kubelet of the
member's node first, and start() starts it again. A pod that is made anew has another address.
"""
import glob
import json
import os
import re
import shutil
import signal

import nodes
import wait
from cluster import Cluster, Load
from deployment import PASSWORD, Deployment
from kindkube import Endpoints, Mirror
from member import Member, Process

START_S = 120


class KindMember(Member):
    """A pod of the StatefulSet. Its processes are this machine's, so signals reach them directly."""

    def __init__(self, cluster, name):  # unlike the harness's, it makes nothing
        self.cluster, self.name = cluster, name
        self.dir = os.path.join(cluster.dir, name)
        self.log = os.path.join(self.dir, f"{name}.log")
        self.password = cluster.password
        self._ns, self._guard = None, None
        os.makedirs(self.dir, exist_ok=True)
        open(self.log, "a").close()

    # The pod.

    @property
    def pod(self):
        """The pod's object; LookupError while there is none."""
        return self.cluster.mirror.objects[self.name]

    @property
    def uid(self):
        return self.pod["metadata"]["uid"]

    @property
    def ip(self):
        return self.pod["status"]["podIP"]

    @property
    def node(self):
        return self.cluster.kube.nodes[self.pod["spec"]["nodeName"]]

    def restarts(self):
        return sum(s["restartCount"] for s in self.pod["status"].get("containerStatuses", ()))

    def namespace(self):
        if self._ns is not None:
            try:
                if os.stat(f"/proc/{self._guard}/ns/pid").st_ino == self._ns:
                    return self._ns
            except OSError:
                pass
        self._ns = None
        if self.name not in self.cluster.mirror.objects:
            return None
        for pid in nodes.pids_of("pghad", f"pod{self.uid}"):
            try:
                if Process(pid).inner == 1:
                    self._guard, self._ns = pid, os.stat(f"/proc/{pid}/ns/pid").st_ino
            except (OSError, KeyError):
                continue  # it has just ended
        return self._ns

    def running(self):
        guard = self.guard()
        return guard is not None and guard.state != "Z"

    # What a kubelet does.

    def start(self):
        # A pod that was just made has no node yet.
        wait.until(lambda: self.node, START_S, f"{self.name}: a node for the pod").kubelet("start")
        wait.until(self.running, START_S, f"{self.name}: kubelet to start the container")
        return self

    def wait_exit(self, deadline_s):
        wait.until(lambda: not self.running(), deadline_s, f"{self.name}: the container to end",
                   every=0.01)

    def kill(self):
        self.node.kubelet("stop")
        self.kill_container()

    def kill_container(self):
        """SIGKILL of PID 1; the kubelet starts it again at once, or after its growing pauses."""
        guard = self.guard()
        if guard:
            inode = self.namespace()
            guard.signal(signal.SIGKILL)
            wait.until(lambda: not _alive(inode), 30, f"{self.name}: the namespace to be empty",
                       every=0.01)

    def terminate(self, deadline_s=60):
        self.node.kubelet("stop")
        guard = self.guard()
        if guard:
            guard.signal(signal.SIGTERM)
            self.wait_exit(deadline_s)

    # Its volume.

    def claim(self):
        return f"data-{self.name}"

    def volume(self):
        """The volume's directory as this machine names it."""
        admin, ns = self.cluster.kube.admin, self.cluster.ns
        claim = admin.get("persistentvolumeclaims", ns, self.claim())
        spec = admin.ask("GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")["spec"]
        return self.node.path((spec.get("local") or spec["hostPath"])["path"])

    @property
    def pgdata(self):
        return os.path.join(self.volume(), "pgdata")

    def lose_volume(self):
        """All that is on it; the volume itself stays."""
        assert not self.running()
        path = self.volume()
        for entry in os.listdir(path):
            shutil.rmtree(os.path.join(path, entry))


def _alive(inode):
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.stat(f"/proc/{pid}/ns/pid").st_ino == inode and \
                    Process(pid).state != "Z":
                return True
        except (OSError, KeyError):
            continue
    return False


class Logs:
    """Copies what the pods' containers have logged to files of the harness, before kubelet removes it
    together with a pod."""

    LINE = re.compile(r"^\S+ (?:stdout|stderr) ([FP]) (.*)$")

    def __init__(self, cluster):
        self.cluster, self._read = cluster, {}

    def copy(self):
        for m in self.cluster.members:
            try:
                self._copy(m)
            except (OSError, LookupError):
                continue  # the node or the pod is away

    def _copy(self, m):
        pods = m.node.path("/var/log/pods")
        files = glob.glob(f"{pods}/{self.cluster.ns}_{m.name}_*/postgres/*.log")
        with open(m.log, "a") as out:
            for path in sorted(files, key=os.path.getmtime):
                key = os.sep.join(path.split(os.sep)[-3:])
                with open(path, errors="replace") as f:
                    f.seek(self._read.get(key, 0))
                    text = f.read()
                whole = text[:text.rfind("\n") + 1]
                self._read[key] = self._read.get(key, 0) + len(whole.encode(errors="replace"))
                for line in whole.splitlines():
                    part = self.LINE.match(line)
                    if part:
                        out.write(part.group(2) + ("\n" if part.group(1) == "F" else ""))


class KindNet:
    """Partitions as in test/lib/netns.py, by the packet filters of the members' nodes. Ends are member
    names, "client" (where the writer runs), "api", or addresses."""

    def __init__(self, kube):
        self.kube = kube
        self.api_ip = self.client_ip = kube.nodes.api
        self.cluster = None

    def _ip(self, end):
        if self.cluster and end in self.cluster.mirror.objects:
            return self.cluster.member(end).ip
        return {"client": self.client_ip, "api": self.api_ip}.get(end, end)

    def _node(self, *ends):
        name = next(e for e in ends if e in self.cluster.mirror.objects)
        return self.cluster.member(name).node

    def drop(self, src, dst):
        node, api = self._node(src, dst), ("-p", "tcp")
        if dst == "api":
            node.rule("-s", self._ip(src), "-d", self.api_ip, *api, "--dport", nodes.API_PORT)
        elif src == "api":
            node.rule("-s", self.api_ip, "-d", self._ip(dst), *api, "--sport", nodes.API_PORT)
        else:
            node.drop_between(self._ip(src), self._ip(dst))

    def cut(self, a, b):
        self.drop(a, b)
        self.drop(b, a)

    def cut_api(self, name):
        self.cut(name, "api")

    def cut_peers(self, name):
        for other in self.cluster.mirror.objects:
            if other != name:
                self.cut(name, other)

    def cut_all(self, name):
        m = self.cluster.member(name)
        m.node.unplug(m.ip)

    def heal(self):
        for n in self.kube.nodes.all():
            n.heal_network()


class KindCluster(Cluster):
    def __init__(self, kube, net, namespace, size=3, name="pg", options=None, apart=True, **_):
        """apart: as the overlay wants it, no two members on one node."""
        self.kube, self.net, self.ns, self.name, self.size = kube, net, namespace, name, size
        self.dir = os.path.join(kube.dir, namespace, name)
        self.volumes, self.apart = self.dir, apart
        self.options = options or {}
        self.members, self.pods, self.writer_logs = [], {}, []
        self.kubelet = None
        self.password = PASSWORD
        self.kubeconfig = kube.kubeconfig
        self.mirror = self.endpoints = None
        self._marks = os.path.join(self.dir, "test.log")
        os.makedirs(self.dir, exist_ok=True)
        self.deployment = Deployment(self.kubeconfig, self.dir, namespace)
        self.logs = Logs(self)

    def kubectl(self, *args, **options):
        return self.deployment.kubectl(*args, **options)

    # Making and ending.

    def start(self):
        self.began_s = wait.boot_s()
        self.mark("start", f"{self.size} members on kind")
        self.apply()
        self.mirror = Mirror(self.kube.admin, "pods", self.ns, self.kube.selector(self.name))
        self.endpoints = Endpoints(self.kube.admin, self.ns, f"{self.name}-rw")
        self.rw = wait.until(lambda: self.kube.admin.get("services", self.ns, f"{self.name}-rw")
                             ["spec"]["clusterIP"], 10, "an address of the Service")
        self.expect(self.size)
        self.net.cluster = self
        return self

    def expect(self, size):
        """So many members from now on; those that exist keep their objects here."""
        self.size = size
        have = {m.name: m for m in self.members}
        names = [f"{self.name}-{i}" for i in range(size)]
        self.members = [have.get(n) or KindMember(self, n) for n in names]

    def apply(self):
        more = {"patches": [{"target": {"kind": "StatefulSet"}, "patch": json.dumps(p)}
                            for p in self._patches()]}
        if self.name != "pg":
            with open(os.path.join(self.dir, "name.yaml"), "w") as f:
                json.dump({"apiVersion": "v1", "kind": "ConfigMap", "data": {"name": self.name},
                           "metadata": {"name": "cluster-name", "annotations": {
                               "config.kubernetes.io/local-config": "true"}}}, f)
            up = os.path.relpath(os.path.join(nodes.ROOT, "k8s"), self.dir)
            more["resources"], more["components"] = ["name.yaml"], [f"{up}/components/name"]
            more["secretGenerator"] = [{
                "name": f"{self.name}-secrets", "options": {"disableNameSuffixHash": True},
                "literals": [f"superuser-password={PASSWORD}",
                             "replication-password=not-a-secret-2",
                             "peer-token=not-a-secret-but-long-enough"]}]
        self.deployment.apply(**more)

    def _patches(self):
        env = {**self.options, "cluster.members": self.size}
        yield {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "any"},
               "spec": {"replicas": self.size, "template": {"spec": {"containers": [
                   {"name": "postgres", "env": [
                       {"name": f"PGHA_{k.replace('.', '_').upper()}", "value": str(v)}
                       for k, v in env.items()]}]}}}}
        if not self.apart:
            yield [{"op": "remove", "path": "/spec/template/spec/affinity"}]

    def stop(self):
        self.kube.heal()
        self.logs.copy()
        for watch in (self.mirror, self.endpoints):
            if watch:
                watch.close()
        self.mirror = self.endpoints = None

    def remove(self, objects=True):
        if self.mirror:
            self.stop()
        if objects:
            self.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", check=False)
            self.deployment.remove()
        shutil.rmtree(self.dir, ignore_errors=True)

    def recreate_pod(self, m):
        assert not m.running()
        uid = m.uid
        self.kube.admin.delete("pods", self.ns, m.name, grace_s=0)
        wait.until(lambda: m.uid != uid, 60, f"{m.name}: another pod")

    # Looking.

    def labelled_primary(self):
        return sorted(n for n, p in self.mirror.objects.items()
                      if p["metadata"].get("labels", {}).get("role") == "primary")

    def wait_healthy(self, deadline_s=120, down=()):
        try:
            return super().wait_healthy(deadline_s, down)
        finally:
            self.logs.copy()

    def ready(self):
        return sorted(n for n, p in self.mirror.objects.items()
                      if any(c["type"] == "Ready" and c["status"] == "True"
                             for c in p["status"].get("conditions", ())))

    def lease_s(self):
        """How long the others wait for a silent holder."""
        lease = self.kube.admin.find("leases", self.ns, self.name)
        return lease["spec"]["leaseDurationSeconds"] if lease else None

    def load(self, **options):
        """Through the Service, as a client: one address, which leads to whoever is primary."""
        return Load(self, **{"targets": [f"{self.rw}:5432"], **options})

    # Telling.

    def story(self, since=None, last=None):
        self.logs.copy()
        return super().story(since, last)

    def save_logs(self, directory):
        self.logs.copy()
        super().save_logs(directory)
        with open(os.path.join(directory, "kubectl.txt"), "w") as f:
            for what in ("pods,pvc,lease,sts,pdb,endpointslices", "events"):
                f.write(self.kubectl("get", what, "-o", "wide", check=False).stdout + "\n")
        with open(os.path.join(directory, "endpoints.txt"), "w") as f:
            for at, addresses in self.endpoints.history if self.endpoints else ():
                f.write(f"{at} {sorted(addresses)}\n")
