"""hactl from outside, by every kind of kubeconfig that people have, on a real API server."""
import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import threading

import pytest
import yaml

import kubereal
import rbac
from member import BUILD

pytestmark = pytest.mark.rbac
HACTL = os.path.abspath(f"{BUILD}/hactl")
NAME = "kubernetes.default.svc"  # in the server's certificate, known to no resolver here


def data_of(path):
    with open(path, "rb") as f:
        return base64.b64encode(f.read()).decode()


class Outside:
    """A directory with a kubeconfig, and programs that use it."""

    def __init__(self, cluster, kube, directory, token):
        self.cluster, self.kube, self.dir, self.token = cluster, kube, str(directory), token
        self.path = self.file("config", "")
        self.server = {"server": kube.url, "certificate-authority-data": data_of(kube.ca_file)}
        self.user = {"token": token}

    def file(self, name, text, mode=0o600):
        path = os.path.join(self.dir, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
            f.write(text)
        return path

    def config(self, server=None, user=None, name="one", context=None):
        return {"apiVersion": "v1", "kind": "Config", "current-context": name,
                "clusters": [{"name": name, "cluster": server or self.server}],
                "users": [{"name": name, "user": user or self.user}],
                "contexts": [{"name": name, "context": context or {
                    "cluster": name, "user": name, "namespace": self.cluster.ns}}]}

    def write(self, **parts):
        self.file("config", yaml.safe_dump(self.config(**parts)))

    def run(self, *argv, **env):
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd="/",
                              stdin=subprocess.DEVNULL,
                              env={"PATH": os.environ["PATH"], "HOME": self.dir,
                                   "KUBECONFIG": self.path, **env})

    def works(self, *words, program=(HACTL,), **env):
        r = self.run(*program, *words, "list", "-o", "json", **env)
        assert r.returncode == 0, r.stdout + r.stderr
        assert {m["name"] for m in json.loads(r.stdout)["members"]} == \
            {m.name for m in self.cluster.members}
        return r

    def fails(self, code, *texts, **env):
        """Names every text; returns what it said."""
        r = self.run(HACTL, "list", **env)
        assert r.returncode == code and not r.stdout, r
        for text in texts:
            assert text in r.stderr, f"{text!r} is not in: {r.stderr}"
        return r.stderr


@pytest.fixture
def outside(cluster, kube, tmp_path):
    return Outside(cluster, kube, tmp_path, kube.add_person(cluster.ns, cluster.name, rbac.VIEWER))


@pytest.fixture
def alice(cluster, kube, outside):
    """Certificate and key of a person, as files."""
    kube.admin.ensure("rolebindings", cluster.ns, {
        "metadata": {"name": "alice"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                    "name": f"{cluster.name}-viewer"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}]})
    cert, key = kube.pki.issue("alice", "/CN=alice")
    return [outside.file(os.path.basename(p), open(p).read()) for p in (cert, key)]


def plugin(outside, script, **more):
    outside.file("plugin", "#!/bin/sh\n" + script, 0o700)
    outside.write(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1",
                                 "command": "./plugin", "interactiveMode": "Never", **more}})


def credential(**status):
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                       "status": status})


def test_tokens(outside):
    outside.write()
    outside.works()
    outside.file("token", outside.token + "\n")
    outside.write(user={"tokenFile": "token", "token": "the file wins"})
    outside.works()
    outside.write(user={"token": "unknown"})
    outside.fails(4, "401", outside.path, 'context "one"', outside.kube.url, "log in again")


def test_client_certificates(outside, alice):
    cert, key = alice
    outside.write(user={"client-certificate": os.path.basename(cert), "client-key": key})
    outside.works()
    outside.write(user={"client-certificate-data": data_of(cert), "client-key-data": data_of(key)})
    outside.works()
    outside.write(user={"client-certificate": cert})
    outside.fails(2, outside.path, 'context "one"', "client-key is missing")
    os.unlink(key)
    outside.write(user={"client-certificate": cert, "client-key": key})
    outside.fails(4, outside.path, 'context "one"', f"client-key {key}: No such file")


def test_credential_plugins(outside, alice, kube):
    cert, key = alice
    plugin(outside, f"test \"$1 $WHO\" = 'one two' || exit 1\necho '{credential(token=outside.token)}'\n",
           args=["one"], env=[{"name": "WHO", "value": "two"}])
    outside.works()
    with open(cert) as c, open(key) as k:
        pem = credential(clientCertificateData=c.read(), clientKeyData=k.read())
    outside.file("pem", pem)
    plugin(outside, "cat \"${0%/*}/pem\"\n")
    outside.works()
    # What it gives may have expired; then it is asked once more.
    plugin(outside, "n=\"${0%/*}/asked\"\nif [ -e \"$n\" ]; then "
                    f"echo '{credential(token=outside.token)}'; else touch \"$n\"; "
                    f"echo '{credential(token='expired')}'; fi\n")
    outside.works()
    plugin(outside, f"case \"$KUBERNETES_EXEC_INFO\" in *{kube.url}*{data_of(kube.ca_file)[:40]}*) "
                    f"echo '{credential(token=outside.token)}' ;; esac\n", provideClusterInfo=True)
    outside.works()


def test_credential_plugins_that_fail(outside):
    where = (outside.path, 'context "one"')
    plugin(outside, "echo 'session is over: log in' >&2; exit 1\n")
    outside.fails(4, *where, "session is over: log in")
    plugin(outside, f"echo '{credential(token='unknown')}'\n")
    outside.fails(4, *where, "401")
    plugin(outside, "echo '{}'\n")
    outside.fails(2, *where, "neither token nor certificate")
    plugin(outside, "", command="./none", installHint="install it from there")
    outside.fails(4, *where, "none", "is not installed: install it from there")
    plugin(outside, "", interactiveMode="Always")
    outside.fails(2, *where, "wants a terminal")


def test_contexts(outside, cluster):
    config = outside.config()
    for kind, entry in (("clusters", {"cluster": {**outside.server, "server": "https://127.0.0.1:1"}}),
                        ("users", {"user": {"token": "wrong"}}),
                        ("contexts", {"context": {"cluster": "two", "user": "two"}})):
        config[kind].append({"name": "two", **entry})
    config["contexts"].append({"name": "elsewhere", "context": {
        "cluster": "one", "user": "one", "namespace": "nowhere"}})
    config["contexts"].append({"name": "half", "context": {"cluster": "one", "user": "nobody"}})
    config["current-context"] = "two"
    outside.file("config", yaml.safe_dump(config))
    outside.works("--context", "one")
    outside.works("--context", "elsewhere", "-n", cluster.ns)
    outside.fails(4, "127.0.0.1:1", 'context "two"', outside.path)
    for name, text in (("three", f'context "three" is not in {outside.path}'),
                       ("half", f'context "half": user "nobody" is not in {outside.path}')):
        r = outside.run(HACTL, "--context", name, "list")
        assert r.returncode == 2 and text in r.stderr, r
    # Two files seen as one: the first has the context, the second what it needs.
    first = outside.file("first", yaml.safe_dump(
        {"current-context": "one", "contexts": config["contexts"][:1]}))
    outside.works(KUBECONFIG=f"{first}:{outside.dir}/none:{outside.path}")
    outside.works("--kubeconfig", outside.path, "--context", "one", KUBECONFIG="/none")
    os.mkdir(os.path.join(outside.dir, ".kube"))
    os.rename(first, os.path.join(outside.dir, ".kube", "config"))
    r = outside.run(HACTL, "list", KUBECONFIG="")
    assert r.returncode == 2 and 'cluster "one" is not in' in r.stderr, r


def test_trust(outside, kube, tmp_path):
    url = kube.url
    ca = outside.file("ca.crt", open(kube.ca_file).read())
    outside.write(server={"server": url, "certificate-authority": "ca.crt"})
    outside.works()
    outside.write(server={"server": url})
    outside.fails(4, url, outside.path, 'context "one"', "certificate")
    other = kubereal.Pki(str(tmp_path / "other"))
    outside.write(server={"server": url, "certificate-authority": other.ca})
    outside.fails(4, url, "certificate")
    outside.write(server={"server": url, "insecure-skip-tls-verify": True})
    outside.works()
    outside.write(server={"server": url, "insecure-skip-tls-verify": True,
                          "certificate-authority": ca})
    outside.fails(2, outside.path, 'context "one"', "insecure-skip-tls-verify contradicts")
    outside.write(server={**outside.server, "tls-server-name": NAME})
    outside.works()
    outside.write(server={**outside.server, "tls-server-name": "another.name"})
    outside.fails(4, url.rsplit(":", 1)[1], "certificate")
    outside.write(server={"server": url, "certificate-authority": "gone.crt"})
    outside.fails(4, outside.path, 'context "one"', "certificate-authority", "gone.crt: No such file")


class Proxy:
    """Answers CONNECT and leads everything to one address; notes what it was asked for."""

    def __init__(self, target):
        self.target, self.asked, self.threads = target, [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                conn, _ = self.listener.accept()
                self.threads.append(threading.Thread(target=self._serve, args=(conn,), daemon=True))
                self.threads[-1].start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                got = client.recv(4096)
                if not got:
                    return
                head += got
            self.asked.append(head.split(b"\r\n")[0].decode())
            if not head.startswith(b"CONNECT "):
                client.sendall(b"HTTP/1.1 405 no\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(self.target, 5) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                self._relay(client, server)

    @staticmethod
    def _relay(a, b):
        while True:
            for s in select.select([a, b], [], [], 30)[0] or [None]:
                got = s.recv(65536) if s else b""
                if not got:
                    return
                (b if s is a else a).sendall(got)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for t in [self.thread, *self.threads]:
            t.join(5)


def test_proxy(outside, kube):
    with contextlib.closing(Proxy((kube.address, kube.port))) as proxy:
        outside.write(server={**outside.server, "server": f"https://{NAME}:6443",
                              "proxy-url": proxy.url})
        outside.works()
        assert set(proxy.asked) == {f"CONNECT {NAME}:6443 HTTP/1.1"}
        outside.works(NO_PROXY=NAME, no_proxy=NAME)  # named in the file: the environment is not asked
        outside.write(server={**outside.server, "proxy-url": "ftp://127.0.0.1"})
        outside.fails(2, outside.path, 'context "one"', "proxy-url is no http, https or socks5 URL")
    outside.write(server={**outside.server, "proxy-url": proxy.url})
    outside.fails(4, outside.path, 'context "one"')


def test_proxy_of_the_environment(outside, kube):
    with contextlib.closing(Proxy((kube.address, kube.port))) as proxy:
        outside.write(server={**outside.server, "server": f"https://{NAME}:6443"})
        outside.works(HTTPS_PROXY=proxy.url)
        assert set(proxy.asked) == {f"CONNECT {NAME}:6443 HTTP/1.1"}
        asked = len(proxy.asked)
        outside.fails(4, NAME, HTTPS_PROXY=proxy.url, NO_PROXY=NAME)
        outside.fails(4, NAME, http_proxy=proxy.url)  # is for http
        outside.write(server={**outside.server, "server": f"https://127.0.0.1:{kube.port}",
                              "tls-server-name": NAME})
        outside.run(HACTL, "list", HTTPS_PROXY=proxy.url)
        assert len(proxy.asked) == asked


def test_kubectl_plugin(outside):
    """kubectl finds it in PATH as kubectl-hactl and leaves arguments and environment alone."""
    kubectl = kubereal.find_program("kubectl")
    os.mkdir(os.path.join(outside.dir, "bin"))
    os.symlink(HACTL, os.path.join(outside.dir, "bin", "kubectl-hactl"))
    path = f"{outside.dir}/bin:{os.environ['PATH']}"
    outside.write()
    outside.works(program=(kubectl, "hactl"), PATH=path)
    outside.works("--context", "one", "-n", outside.cluster.ns, program=(kubectl, "hactl"), PATH=path)
    r = outside.run(kubectl, "hactl", "--context", "none", "list", PATH=path)
    assert r.returncode == 2 and 'context "none"' in r.stderr, "exit codes come through"
    assert "kubectl-hactl" in outside.run(kubectl, "plugin", "list", PATH=path).stdout
