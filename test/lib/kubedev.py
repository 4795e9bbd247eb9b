"""DevKube: the embedded API server of test/devkube (`make devkube`).

Everything is in its memory. It checks tokens and the namespace that each belongs to, but knows no
Roles. Faults are rules of its own, see Faults.
"""
import os
import secrets
import signal

import kubebase
import wait
from kubebase import Daemon, Kube
from kubeclient import Client

PROGRAM = os.path.join(kubebase.ROOT, os.environ.get("PGHA_BUILD", "build/gcc"), "devkube")


def _read_number(path):
    with open(path) as f:
        return int(f.read())


class Faults:
    """Rules that make the server misbehave; test/devkube/faults.h says what each key does.

    Which requests (globs): source, user, verb, resource, namespace, name; how often: nth, count,
    probability, seed; what happens: refuse, drop_before, drop_after, half_open, chunk1, truncate,
    garbage, status, message, retry_after, commit, delay_before_ms, delay_after_ms, huge, ...
    """

    def __init__(self, control):
        self._control = control

    def add(self, **rule):
        """Returns the rule's number. An unknown key is an error."""
        return self._control.ask("POST", "/devkube/faults", rule)["id"]

    def remove(self, number):
        self._control.ask("DELETE", f"/devkube/faults/{number}")

    def clear(self):
        self._control.ask("DELETE", "/devkube/faults")

    def list(self):
        """The rules with how often each was seen and fired."""
        return self._control.ask("GET", "/devkube/faults")["items"]


class DevKube(Kube):
    backend = "devkube"
    enforces = False
    serves = set(kubebase.KINDS) - {"roles", "rolebindings", "poddisruptionbudgets",
                                    "persistentvolumeclaims", "subjectaccessreviews",
                                    "tokenreviews", "mutatingadmissionpolicies",
                                    "mutatingadmissionpolicybindings"}

    def __init__(self, host="127.0.0.1", directory=None, options=()):
        """options: further arguments of the program."""
        super().__init__(host, directory)
        self._options = list(options)
        self._tokens = {}  # token: (user, namespace)
        self.daemon = self._control = None

    def _path(self, name):
        return os.path.join(self.dir, name)

    # Life.

    def _start(self):
        if not os.access(PROGRAM, os.X_OK):
            raise RuntimeError(f"no {PROGRAM}: run `make devkube`")
        self._admin_token = self._new_token("admin", "*")
        ports = [self._path("port"), self._path("control-port")]
        self.daemon = Daemon([
            PROGRAM, "--listen", f"{self.host}:0", "--port-file", ports[0],
            "--control", "127.0.0.1:0", "--control-port-file", ports[1],
            "--token-file", self._path("tokens"), *self._options], self._path("devkube.log"))

        def announced():
            return not self.daemon.running() or all(os.path.exists(p) for p in ports)
        wait.until(announced, 10, "devkube to listen", every=0.005)
        self.daemon.check()
        self.port, control = map(_read_number, ports)
        self.url = f"http://{self.host}:{self.port}"
        self.admin = self.client(self._admin_token)
        self._control = Client(f"http://127.0.0.1:{control}")
        self.faults = Faults(self._control)

    def _stop(self):
        if self.daemon:
            self.daemon.kill()

    # Outages.

    def pause(self):
        self.daemon.signal(signal.SIGSTOP)

    def resume(self):
        self.daemon.signal(signal.SIGCONT)

    def heal(self):
        self.resume()  # or it cannot be told to forget its faults
        super().heal()

    def down(self):
        self._control.ask("POST", "/devkube/down", {"on": True})

    def up(self):
        self._control.ask("POST", "/devkube/down", {"on": False})

    def _flaky(self, stop):
        for seed, effect in enumerate((
                {"status": 500}, {"status": 503, "retry_after": 1}, {"status": 429},
                {"status": 504, "commit": True}, {"drop_before": True}, {"drop_after": True},
                {"delay_before_ms": 400}, {"delay_after_ms": 400})):
            self.faults.add(probability=0.06, seed=seed + 1, user="system:serviceaccount:*",
                            **effect)
        stop.wait()

    # Identities.

    def _new_token(self, user, namespace):
        token = secrets.token_hex(24)
        self._tokens[token] = (user, namespace)
        # Replaced as a whole: the server reads it again when it changes.
        with open(os.open(self._path("tokens.new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                  "w") as f:
            for t, (u, n) in self._tokens.items():
                f.write(f"{t} {u} {n}\n")
        os.rename(self._path("tokens.new"), self._path("tokens"))
        return token

    def client(self, token, **options):
        return Client(self.url, token=token, **options)

    def _token(self, pod_namespace, cluster, pod_name, pod_uid, seconds):
        return self._new_token(f"system:serviceaccount:{pod_namespace}:{cluster}", pod_namespace)

    def _admin_user(self):
        return {"token": self._admin_token}

    # What was asked of it.

    def stats(self):
        """rv, connections, watches, and the counts of requests."""
        return self._control.ask("GET", "/devkube/stats")

    def request_counts(self):
        return self.stats()["requests"]

    def forget_requests(self):
        self._control.ask("DELETE", "/devkube/stats")

    def lease_log(self, since=0):
        """Committed writes of Leases after that resource version, oldest first."""
        return self._control.ask("GET", f"/devkube/log?since={since}")["items"]
