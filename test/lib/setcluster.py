"""A cluster whose pods are made by the real StatefulSet controller, from the shipped StatefulSet.

The harness plays scheduler and kubelet: a pod without a node gets one, its container is started when
its image "can be pulled", a deleted pod gets SIGTERM and goes when its container has ended. Images say
what happens to a container:

    anything:bad      cannot be pulled
    anything:stuck    starts, and its server never comes up
    anything:next     runs the programs of build/.../next
"""
import os
import threading

import yaml

import kubebase
import rbac
import sandbox
import wait
from cluster import Cluster, Kubelet
from kubebase import Pod
from kubeclient import ApiError
from member import Member

PERIOD_S = 0.1
SET = os.path.join(kubebase.ROOT, "k8s/base/statefulset.yaml")


class SetKubelet(Kubelet):
    def __init__(self, cluster):
        self._stopping = {}  # uid: thread
        super().__init__(cluster, PERIOD_S)

    def _run(self):
        while not self._stop.wait(self.period_s):
            try:
                self._turn()
            except (OSError, ApiError):  # the API is away, or the pod has just gone: next round
                pass

    def _turn(self):
        c = self.cluster
        for pod in c.kube.admin.list("pods", c.ns, selector=c.kube.selector(c.name)):
            meta = pod["metadata"]
            if "deletionTimestamp" in meta:
                self._end(meta["name"], meta["uid"])
            elif not pod["spec"].get("nodeName"):
                c.kube.admin.create("pods", c.ns, {
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": "node-" + meta["name"]}},
                    name=meta["name"], sub="binding")
            elif meta["name"] not in c.pods:
                self._begin(pod)
            else:
                self._report(meta["name"])

    def _begin(self, pod):
        c, meta = self.cluster, pod["metadata"]
        image = pod["spec"]["containers"][0]["image"]
        if image.endswith(":bad"):
            if not pod["status"].get("containerStatuses"):
                self._cannot_pull(meta["name"], image)
            return
        m = c.member_of(meta["name"])
        if m.running():
            return
        made = Pod(c.ns, c.name, m.name, meta["uid"], m.ip, "node-" + m.name, None)
        c.kube.set_ready(made, False)
        m.uid, m.env = made.uid, c._env(made)
        m.programs = os.path.join(sandbox.programs(), "next") if image.endswith(":next") else None
        if image.endswith(":stuck"):
            m.env["PGHA_POSTGRES_BIN_DIR"] = "/nonexistent"
        c.mark("pod", f"{m.name} starts with {image}")
        c.pods[m.name] = made
        m.start()

    def _cannot_pull(self, name, image):
        c = self.cluster
        c.kube.admin.patch("pods", c.ns, name, {"status": {"phase": "Pending", "containerStatuses": [{
            "name": "postgres", "image": image, "imageID": "", "ready": False, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff",
                                  "message": f"Back-off pulling image \"{image}\""}}}]}},
            sub="status")

    def _report(self, name):
        m, pod = self.cluster.member_of(name), self.cluster.pods[name]
        ready = m.running() and m.says("/readiness")
        if self._told.get(pod.uid) != ready:
            self.cluster.kube.set_ready(pod, ready)
            self._told[pod.uid] = ready

    def _end(self, name, uid):
        if uid in self._stopping:
            return
        c = self.cluster
        c.mark("pod", f"{name} is deleted")
        c.deleted.append((name, uid))

        def end():
            pod = c.pods.get(name)
            if pod is not None and pod.uid == uid:
                c.member_of(name).terminate(60)
                c.pods.pop(name)
            c.kube.admin.delete("pods", c.ns, name, grace_s=0, missing_ok=True)

        self._stopping[uid] = threading.Thread(target=end, daemon=True, name=f"end of {name}")
        self._stopping[uid].start()

    def stop(self):
        super().stop()
        for t in self._stopping.values():
            t.join(70)


class SetCluster(Cluster):
    """As Cluster; hactl runs with the rights of the operator's Role and no others."""

    def start(self, members=None):
        assert members is None
        os.makedirs(self.dir, exist_ok=True)
        self.began_s = wait.boot_s()
        self.deleted = []  # (name, uid) in the order of the deletions
        self.mark("start", f"StatefulSet of {self.size} on {self.kube.backend}")
        self._secrets()
        self.kube.install(self.ns, self.name)
        self.kubeconfig = self.kube.write_kubeconfig(
            os.path.join(self.dir, "kubeconfig"), self.ns,
            token=self.kube.add_person(self.ns, self.name, rbac.OPERATOR))
        self.kubelet = SetKubelet(self)
        self.kube.admin.create("statefulsets", self.ns, self._set())
        return self

    def _set(self):
        with open(SET) as f:
            s = yaml.safe_load(f)
        s["spec"]["replicas"] = self.size
        # The volumes are the harness's; a claim would wait for a provisioner.
        del s["spec"]["volumeClaimTemplates"]
        s["spec"]["template"]["spec"]["volumes"].append({"name": "data", "emptyDir": {}})
        return s

    def member_of(self, name):
        """Its node, volume and container; made when its pod is first seen."""
        found = [m for m in self.members if m.name == name]
        if found:
            return found[0]
        number = int(name.rpartition("-")[2])
        node = self.net.nodes.get(name) or self.net.add_node(name, number)
        self.kube.admin.ensure("nodes", None, {"metadata": {"name": "node-" + name}})
        m = Member(name, node, os.path.join(self.volumes, name), {}, sandbox.postgres_programs())
        m.password = self.password
        self.members = sorted([*self.members, m], key=lambda x: x.name)
        return m

    def check_healthy(self, down=()):
        there = [m for m in self.members if m.name not in down]
        assert len(there) == self.size, f"{len(there)} of {self.size} members"
        return super().check_healthy(down)

    def set(self):
        return self.kube.admin.get("statefulsets", self.ns, self.name)

    def patch_set(self, **spec):
        return self.kube.admin.patch("statefulsets", self.ns, self.name, {"spec": spec})

    def revisions(self):
        """{pod: revision that it was made from}, of those that are not going."""
        return {p["metadata"]["name"]: p["metadata"]["labels"]["controller-revision-hash"]
                for p in self.kube.admin.list("pods", self.ns,
                                              selector=self.kube.selector(self.name))
                if "deletionTimestamp" not in p["metadata"]}

    def stop(self):
        if self.kubelet:
            self.kube.admin.delete("statefulsets", self.ns, self.name, missing_ok=True)
        super().stop()
