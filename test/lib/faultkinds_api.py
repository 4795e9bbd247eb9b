"""More faults for random episodes: an API server that answers badly, and objects that others edit."""
import kubeapi
import wait
from faultkinds import kind

THIRD = {"probability": 0.34, "seed": 1}


def _bad(e, **rule):
    """A rule of the embedded server (test/devkube/faults.h) for what members ask."""
    e.kube.faults.add(user="system:serviceaccount:*", **rule)
    try:
        yield
    finally:
        e.kube.faults.clear()


@kind("watches expired", group="api", on="devkube")
def watches_expired(e):
    yield from _bad(e, truncate_history=True)


@kind("connections to the API half open", group="api", on="devkube")
def half_open(e):
    yield from _bad(e, half_open=True, commit=True, **THIRD)


@kind("conflicts", group="api", on="devkube")
def conflicts(e):
    yield from _bad(e, status=409, verb="update", **THIRD)


@kind("token refused", group="api", on="devkube")
def token_refused(e):
    yield from _bad(e, status=401, **THIRD)


@kind("rights refused", group="api", on="devkube")
def rights_refused(e):
    yield from _bad(e, status=403, **THIRD)


@kind("throttled", group="api", on="devkube")
def throttled(e):
    yield from _bad(e, status=429, retry_after=1, **THIRD)


@kind("garbage of the API", group="api", on="devkube")
def garbage(e):
    yield from _bad(e, **e.rng.choice((
        {"status": 500}, {"status": 503, "retry_after": 1}, {"truncate": True}, {"garbage": True},
        {"chunk1": True}, {"huge": 64})), **THIRD)


@kind("committed and not answered", group="api", on="devkube")
def not_answered(e):
    yield from _bad(e, **e.rng.choice(({"status": 504, "commit": True}, {"drop_after": True})), **THIRD)


@kind("late requests of the API", group="api", on="devkube")
def late_requests(e):
    yield from _bad(e, **e.rng.choice((
        {"delay_before_ms": 1500, "ignore_timeout": True}, {"delay_before_ms": 700})), **THIRD)


@kind("API down and a member killed", group="api")
def api_down_and_a_member_killed(e):
    """Not everybody can promise any more."""
    e.kube.down()
    try:
        m = e.victim()
        m.kill()
        yield
        if not m.running():
            m.start()
    finally:
        e.kube.up()


# By hand.

def _edit_lease(e, change):
    """As kubectl edit does: read, change, replace; again on a conflict."""
    def once():
        lease = e.c.lease()
        if lease is None:
            return False
        change(lease)
        try:
            return e.kube.admin.put("leases", e.c.ns, lease)
        except kubeapi.ApiError as error:
            assert error.code in (404, 409)
            return False

    wait.until(once, 30, "the edit", every=0)


def _empty(lease):
    lease["spec"]["holderIdentity"] = ""


def _stranger(lease):
    lease["spec"]["holderIdentity"] = "somebody-else"


def _strip(lease):
    lease["spec"] = {}
    lease["metadata"].pop("annotations", None)


@kind("Lease edited by hand", group="api")
def lease_edited(e):
    _edit_lease(e, e.rng.choice((_empty, _stranger, _strip)))
    yield


@kind("absurd times in the Lease", group="api")
def absurd_times(e):
    time_, seconds = e.rng.choice((("2099-01-01T00:00:00.000000Z", 5), ("1970-01-01T00:00:00.000000Z", 5),
                                   (None, 5), ("2099-01-01T00:00:00.000000Z", 3600)))

    def absurd(lease):
        lease["spec"]["renewTime"] = time_
        lease["spec"]["leaseDurationSeconds"] = seconds
    _edit_lease(e, absurd)
    yield


@kind("role labels removed", group="api")
def labels_removed(e):
    for m in e.c.members:
        e.kube.admin.patch("pods", e.c.ns, m.name, {"metadata": {"labels": {"role": None}}})
    yield
