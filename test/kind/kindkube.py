"""The API server of the kind cluster behind the interface of kubeapi.py, as far as a cluster of real
kubelets has it: pods are made by a StatefulSet, not by the harness."""
import base64
import http.client
import os
import threading

import yaml

import nodes
import wait
from kubebase import Kube
from kubeclient import ApiError, Client

AWAY = (OSError, ValueError, ApiError, http.client.HTTPException)


class KindKube(Kube):
    backend = "kind"
    enforces = True
    ApiError = ApiError

    def _start(self):
        self.nodes = nodes.Nodes()
        self.nodes.heal()
        text = nodes.sh(nodes.program("kind"), "get", "kubeconfig", "--internal", "--name",
                        nodes.CLUSTER).stdout
        config = yaml.safe_load(text)
        self.url = f"https://{self.nodes.api}:{nodes.API_PORT}"
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        cluster["server"] = self.url  # by address: the name is known to nodes only
        self.kubeconfig = os.path.join(self.dir, "kubeconfig")
        with open(self.kubeconfig, "w") as f:
            yaml.safe_dump(config, f)
        files = {}
        for name, data in (("ca", cluster["certificate-authority-data"]),
                           ("crt", user["client-certificate-data"]),
                           ("key", user["client-key-data"])):
            files[name] = os.path.join(self.dir, name)
            with open(files[name], "wb") as f:
                f.write(base64.b64decode(data))
        self.admin = Client(self.url, files["ca"], files["crt"], files["key"])
        self.control_plane = self.nodes.control_plane

    def _stop(self):
        self.heal()

    def pause(self):
        self.control_plane.pause()

    def resume(self):
        if self.control_plane.state() == "paused":
            self.control_plane.unpause()

    def down(self):
        """Refused, for everybody but the harness's own processes, whose packets go by lo."""
        self.control_plane.rule("-i", "eth+", "-p", "tcp", "--dport", nodes.API_PORT,
                                target=("-j", "REJECT", "--reject-with", "tcp-reset"))

    def up(self):
        self.control_plane.heal_network()

    def heal(self):
        self.nodes.heal()

    def wait_answers(self, deadline_s=180):
        wait.until(lambda: self.admin.call("GET", "/readyz", timeout_s=2).code == 200, deadline_s,
                   "the API server to be ready", every=0.1)


class Mirror:
    """A copy of the objects of one kind, kept up by a watch that outlives outages of the API server.

    on_change(objects) is called from the watching thread after the first list and after every event;
    objects is {name: object}.
    """

    def __init__(self, client, kind, namespace, selector, on_change=None):
        self._client, self._kind, self._ns, self._selector = client, kind, namespace, selector
        self._on_change = on_change or (lambda objects: None)
        self.objects = {}
        self._first, self._stop, self._watch = threading.Event(), threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"mirror of {kind}")
        self._thread.start()
        if not self._first.wait(30):
            raise wait.Timeout(f"{kind} in {namespace}: no answer within 30 s")

    def _run(self):
        while not self._stop.is_set():
            try:
                self._follow()
            except AWAY:
                pass
            self._stop.wait(0.1)

    def _follow(self):
        found = self._client.list_raw(self._kind, self._ns, self._selector)
        self._set({o["metadata"]["name"]: o for o in found["items"]})
        self._first.set()
        with self._client.watch(self._kind, self._ns, selector=self._selector, idle_s=3600,
                                since=found["metadata"]["resourceVersion"]) as w:
            self._watch = w
            for what, obj in w:
                if self._stop.is_set() or what not in ("ADDED", "MODIFIED", "DELETED"):
                    return
                objects = dict(self.objects)
                if what == "DELETED":
                    objects.pop(obj["metadata"]["name"], None)
                else:
                    objects[obj["metadata"]["name"]] = obj
                self._set(objects)

    def _set(self, objects):
        self.objects = objects
        self._on_change(objects)

    def close(self):
        self._stop.set()
        if self._watch:
            self._watch.close()
        self._thread.join(5)


class Endpoints:
    """What a Service has led to, and when: [(CLOCK_BOOTTIME us, frozenset of addresses)]."""

    def __init__(self, client, namespace, service):
        self.history = []
        self._mirror = Mirror(client, "endpointslices", namespace,
                              f"kubernetes.io/service-name={service}", self._changed)

    def _changed(self, slices):
        now = frozenset(a for s in slices.values() for e in s.get("endpoints") or ()
                        if (e.get("conditions") or {}).get("ready") is not False
                        for a in e["addresses"])
        if not self.history or self.history[-1][1] != now:
            self.history.append((wait.boot_us(), now))

    def between(self, start_us, end_us):
        """[(from, to, addresses)] that were in force at some time between the two."""
        rows, found = list(self.history), []
        for i, (at, addresses) in enumerate(rows):
            until = rows[i + 1][0] if i + 1 < len(rows) else end_us
            if until > start_us and at < end_us:
                found.append((max(at, start_us), min(until, end_us), addresses))
        return found

    def longest_empty_us(self, start_us, end_us):
        return max((b - a for a, b, now in self.between(start_us, end_us) if not now), default=0)

    def most(self, start_us, end_us):
        """The largest number of addresses at one time."""
        return max((len(now) for _, _, now in self.between(start_us, end_us)), default=0)

    def close(self):
        self._mirror.close()
