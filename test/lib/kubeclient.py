"""A small client of the Kubernetes API for the harness, on the standard library only."""
import http.client
import json
import socket
import ssl
from urllib.parse import quote, urlencode, urlsplit

# plural: (path of the group and version, has a namespace)
KINDS = {
    "namespaces": ("/api/v1", False),
    "nodes": ("/api/v1", False),
    "pods": ("/api/v1", True),
    "services": ("/api/v1", True),
    "serviceaccounts": ("/api/v1", True),
    "configmaps": ("/api/v1", True),
    "secrets": ("/api/v1", True),
    "persistentvolumeclaims": ("/api/v1", True),
    "events": ("/apis/events.k8s.io/v1", True),
    "leases": ("/apis/coordination.k8s.io/v1", True),
    "endpointslices": ("/apis/discovery.k8s.io/v1", True),
    "roles": ("/apis/rbac.authorization.k8s.io/v1", True),
    "rolebindings": ("/apis/rbac.authorization.k8s.io/v1", True),
    "statefulsets": ("/apis/apps/v1", True),
    "poddisruptionbudgets": ("/apis/policy/v1", True),
    "mutatingadmissionpolicies": ("/apis/admissionregistration.k8s.io/v1", False),
    "mutatingadmissionpolicybindings": ("/apis/admissionregistration.k8s.io/v1", False),
    "subjectaccessreviews": ("/apis/authorization.k8s.io/v1", False),
    "tokenreviews": ("/apis/authentication.k8s.io/v1", False),
}
PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(Exception):
    """An answer other than 2xx. code is the HTTP status, status the Status object (or the text)."""

    def __init__(self, what, code, status):
        self.code, self.status = code, status
        self.reason = status.get("reason") if isinstance(status, dict) else None
        self.message = status.get("message") if isinstance(status, dict) else status
        super().__init__(f"{what}: {code} {self.reason or ''}: {self.message}")


class Answer:
    def __init__(self, code, headers, raw):
        self.code, self.headers, self.raw = code, headers, raw

    @property
    def body(self):
        """The parsed body, or its text where it is not JSON."""
        try:
            return json.loads(self.raw)
        except ValueError:
            return self.raw.decode("utf-8", "replace")


class Client:
    """One identity at one API server.

    Each request uses a connection of its own, unless keep_alive is set; then the client belongs to
    one thread, and a request on a connection that the server had closed fails like any other.
    """

    def __init__(self, url, ca_file=None, cert_file=None, key_file=None, token=None, timeout_s=10,
                 keep_alive=False):
        parts = urlsplit(url)
        self.url, self.host, self.port = url, parts.hostname, parts.port
        self.token, self.timeout_s, self.keep_alive = token, timeout_s, keep_alive
        self._kept = None
        self._tls = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=ca_file)
            if cert_file:
                self._tls.load_cert_chain(cert_file, key_file)

    def _connect(self, timeout_s):
        if self._tls:
            c = http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s,
                                            context=self._tls)
        else:
            c = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        c.connect()
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return c

    def close(self):
        if self._kept:
            self._kept.close()
            self._kept = None

    def _send(self, conn, method, path, body, content_type):
        headers = {"Accept": "application/json", "User-Agent": "pghad-test"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        conn.request(method, path, body=data, headers=headers)
        return conn.getresponse()

    def call(self, method, path, body=None, content_type="application/json", timeout_s=None):
        """One request, whatever the answer's code. Raises OSError or HTTPException without one."""
        timeout_s = timeout_s or self.timeout_s
        conn = self._kept or self._connect(timeout_s)
        self._kept = None
        keep = False
        try:
            conn.sock.settimeout(timeout_s)
            r = self._send(conn, method, path, body, content_type)
            answer = Answer(r.status, r.headers, r.read())
            keep = self.keep_alive and not r.will_close
            return answer
        finally:
            if keep:
                self._kept = conn
            else:
                conn.close()

    def ask(self, method, path, body=None, content_type="application/json", timeout_s=None):
        """As call(), but returns the parsed body and raises ApiError unless the code is 2xx."""
        a = self.call(method, path, body, content_type, timeout_s)
        if not 200 <= a.code < 300:
            raise ApiError(f"{method} {path}", a.code, a.body)
        return a.body

    @staticmethod
    def path(kind, namespace=None, name=None, sub=None, **query):
        """Address of a collection or an object; None values of query are left out."""
        prefix, namespaced = KINDS[kind]
        if namespaced and namespace:
            prefix += f"/namespaces/{quote(namespace, safe='')}"
        p = f"{prefix}/{kind}"
        if name:
            p += "/" + quote(name, safe="")
        if sub:
            p += "/" + sub
        query = {k: v for k, v in query.items() if v is not None}
        return p + ("?" + urlencode(query) if query else "")

    def get(self, kind, namespace, name, sub=None):
        return self.ask("GET", self.path(kind, namespace, name, sub))

    def find(self, kind, namespace, name):
        """As get(), None when there is no such object."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as e:
            if e.code == 404:
                return None
            raise

    def list_raw(self, kind, namespace=None, selector=None, fields=None):
        return self.ask("GET", self.path(kind, namespace, labelSelector=selector,
                                         fieldSelector=fields))

    def list(self, kind, namespace=None, selector=None, fields=None):
        return self.list_raw(kind, namespace, selector, fields)["items"]

    def create(self, kind, namespace, obj, name=None, sub=None):
        return self.ask("POST", self.path(kind, namespace, name, sub), obj)

    def ensure(self, kind, namespace, obj):
        """Creates the object unless one of its name exists; what exists is left as it is."""
        try:
            return self.create(kind, namespace, obj)
        except ApiError as e:
            if e.reason != "AlreadyExists":
                raise
            return self.get(kind, namespace, obj["metadata"]["name"])

    def put(self, kind, namespace, obj, sub=None):
        return self.ask("PUT", self.path(kind, namespace, obj["metadata"]["name"], sub), obj)

    def patch(self, kind, namespace, name, patch, how="merge", sub=None):
        return self.ask("PATCH", self.path(kind, namespace, name, sub), patch, PATCHES[how])

    def delete(self, kind, namespace, name, grace_s=None, missing_ok=False):
        try:
            return self.ask("DELETE",
                            self.path(kind, namespace, name, gracePeriodSeconds=grace_s))
        except ApiError as e:
            if missing_ok and e.code == 404:
                return None
            raise

    def watch(self, kind, namespace=None, name=None, selector=None, since=None, idle_s=30):
        return Watch(self, kind, namespace, name, selector, since, idle_s)


class Watch:
    """Iterates over (type, object) until the server ends the stream; a context manager.

    Without `since` it starts with ADDED for all that exists. idle_s without an event raises
    TimeoutError. close() from another thread ends a waiting iteration.
    """

    def __init__(self, client, kind, namespace, name, selector, since, idle_s):
        self._closed = False
        self._conn = client._connect(idle_s)
        try:
            path = client.path(kind, namespace, watch="1", labelSelector=selector,
                               fieldSelector=f"metadata.name={name}" if name else None,
                               resourceVersion=since)
            self._r = client._send(self._conn, "GET", path, None, None)
            if self._r.status != 200:
                raise ApiError(f"GET {path}", self._r.status,
                               Answer(self._r.status, None, self._r.read()).body)
            # The response may own the socket and have taken it from the connection.
            self._sock = self._conn.sock or self._r.fp.raw._sock
        except BaseException:
            self._conn.close()
            raise

    def __iter__(self):
        try:
            while True:
                line = self._r.readline()
                if not line:
                    return
                if line.strip():
                    e = json.loads(line)
                    yield e["type"], e["object"]
        except (OSError, ValueError, http.client.HTTPException):
            if not self._closed:
                raise

    def close(self):
        self._closed = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self._conn.close()
