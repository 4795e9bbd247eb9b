"""Ways in which the API server answers badly for a while, by back end: {name: context manager}."""
import contextlib

# Rules of the embedded server (test/devkube/faults.h): each bad for a third of the requests.
RULES = {
    "500": {"status": 500},
    "503-retry-after": {"status": 503, "retry_after": 1},
    "429": {"status": 429, "retry_after": 1},
    "409": {"status": 409, "verb": "update"},
    "401": {"status": 401},
    "403": {"status": 403},
    "404-of-lease": {"status": 404, "resource": "leases"},
    "410-of-watches": {"truncate_history": True},
    "committed-then-504": {"status": 504, "commit": True},
    "committed-then-dropped": {"drop_after": True},
    "dropped-unseen": {"drop_before": True},
    "half-open": {"half_open": True, "commit": True},
    "truncated": {"truncate": True},
    "garbage": {"garbage": True},
    "one-byte-chunks": {"chunk1": True},
    "huge": {"huge": 64},
    "slow": {"delay_before_ms": 700},
    "late-commit": {"delay_before_ms": 1500, "ignore_timeout": True},
}
STREAM_RULES = ("truncate_history", "freeze_watch")


def _rule(rule):
    @contextlib.contextmanager
    def inject(kube):
        more = {} if any(k in rule for k in STREAM_RULES) else {"probability": 0.34, "seed": 1}
        kube.faults.add(user="system:serviceaccount:*", **more, **rule)
        try:
            yield
        finally:
            kube.faults.clear()
    return inject


def faults_of(backend):
    found = {"mixed": lambda kube: kube.flaky()}
    if backend == "devkube":
        found.update({name: _rule(rule) for name, rule in RULES.items()})
    return found
