"""The RBAC proof sees what it is there to see."""
import pytest

import rbac

ROLE = """\
kind: Role
metadata: {name: pg}
rules:
  # Unlike this one, the next comment is a reason.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [pg]
    # unused by the tests: list, watch: they come with the next release
    verbs: [get, list, watch]
  - apiGroups: [""]
    resources: [configmaps]
    verbs: [create]  # unused by the tests: create: the harness makes it
---
kind: RoleBinding
metadata: {name: pg}
"""
ACCOUNTS = {rbac.user("db", "pg"): rbac.Account(rbac.MEMBERS, "pg"),
            rbac.user("db", "blue"): rbac.Account(rbac.MEMBERS, "blue")}
LEASE = {"group": "coordination.k8s.io", "resource": "leases", "name": "pg"}
CONFIGMAP = {"group": "", "resource": "configmaps", "name": ""}


def request(verb, what=LEASE, user="pg", code=200, **more):
    return {"user": rbac.user("db", user), "verb": verb, "code": code, "namespace": "db",
            "time": 100.0, **what, **more}


def proof(*requests, windows=(), role=ROLE):
    p = rbac.Proof(ACCOUNTS, windows, {rbac.MEMBERS[0]: role, rbac.VIEWER[0]: ""})
    for r in requests:
        p.add(r)
    return p


def test_parts_are_proved_together(tmp_path, monkeypatch, capsys):
    """One part alone has not used all; a part that is missing proves nothing."""
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    whole = rbac.Proof({}, [])
    keys = list(whole._rules())
    for path, mine in (a, keys[::2]), (b, keys[1::2]):
        part = rbac.Proof({}, [])
        used = {key for key, r in mine if not r.reason}
        part.count.update({r: 1 for key, r in part._rules() if key in used})
        part.save(path)
    assert rbac.main([a, b]) == 0 and capsys.readouterr().out.endswith("1 passed, 0 failed\n")
    assert rbac.main([a]) == 1 and "nothing used" in capsys.readouterr().out
    assert rbac.main([a, b, str(tmp_path / "c.json")]) == 1 and "c.json is missing" in capsys.readouterr().out


def test_used_or_with_a_reason_is_proved():
    assert proof(request("get")).verdict(whole=True) == []


@pytest.mark.parametrize("more", [
    request("update"), request("get", name="other"), request("get", name=""),
    request("get", resource="leases/status"), request("get", group=""),
    request("get", namespace="elsewhere"), request("get", CONFIGMAP),
    request("get", user="blue"), request("create", CONFIGMAP, user="green"),
    request("get", code=403), request("delete", code=403)])
def test_one_request_beyond_is_a_fault(more):
    faults = proof(request("get"), more).verdict(whole=False)
    assert len(faults) == 1 and more["user"] in faults[0] and more["verb"] in faults[0]


def test_a_name_follows_its_cluster():
    p = proof(request("get"), request("get", user="blue", name="blue"))
    assert p.verdict(whole=True) == []
    assert sum(p.count.values()) == 2


def test_who_is_no_account_of_a_test_does_not_matter():
    assert proof(request("get"), {**request("delete"), "user": "system:admin"},
                 request("get", resource="/api", group="", namespace=""),
                 request("create", resource="selfsubjectaccessreviews", namespace="",
                         group="authorization.k8s.io")).verdict(whole=True) == []


def test_unused_without_a_reason_is_a_fault_of_the_whole_only():
    p = proof()
    assert p.verdict(whole=False) == []
    assert [f for f in p.verdict(whole=True) if '"get leases.coordination.k8s.io/pg"' in f
            and "nothing used" in f] == p.verdict(whole=True) != []


def test_a_reason_of_a_used_verb_is_a_fault():
    faults = proof(request("get"), request("watch")).verdict(whole=True)
    assert len(faults) == 1 and "watch" in faults[0] and "says that it is unused" in faults[0]


def test_a_reason_of_a_verb_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="patch"):
        proof(role=ROLE.replace("tests: list, watch", "tests: list, patch"))


@pytest.mark.parametrize("window, beyond, excused", [
    (rbac.Window(99, 101), False, True), (rbac.Window(99, 101, "db"), False, True),
    (rbac.Window(99, 101, "other"), False, False), (rbac.Window(101, 102), False, False),
    (rbac.Window(99, 101), True, False), (rbac.Window(99, 101, "db", beyond=True), True, True)])
def test_refusals_count_but_in_their_time(window, beyond, excused):
    """beyond: the Role has no such verb at all."""
    p = proof(request("get"), request("delete" if beyond else "get", code=403), windows=[window])
    assert (p.verdict(whole=True) == []) is excused
    assert p.excused == excused


def test_what_a_scenario_added_counts_for_no_rule_of_the_manifest():
    more = [rbac.Rule("update", "", "configmaps", ["pg-other"], None)]
    p = rbac.Proof({rbac.user("db", "blue"): rbac.Account(rbac.MEMBERS, "blue", more)}, [],
                   {rbac.MEMBERS[0]: ROLE, rbac.VIEWER[0]: ""})
    for name in ("pg-other", "blue-other", ""):
        p.add(request("update", {**CONFIGMAP, "name": name}, user="blue"))
    assert len(p.verdict(whole=False)) == 2 and p.granted == 1 and not p.count


def test_a_list_by_label_has_no_name():
    slices = {"group": "discovery.k8s.io", "resource": "endpointslices"}
    p = rbac.Proof(ACCOUNTS, [])
    for verb, name in (("list", ""), ("create", "pg-rw"), ("create", ""), ("update", "pg-rw")):
        p.add(request(verb, slices, name=name))
    assert p.verdict(whole=False) == []
    for verb, name in (("update", "pg-ro"), ("update", ""), ("get", "pg-rw"), ("delete", "pg-rw")):
        p.add(request(verb, slices, name=name))
    assert len(p.verdict(whole=False)) == 4


def test_a_request_that_was_allowed_beyond_the_role_is_never_excused():
    p = proof(request("get"), request("delete"), windows=[rbac.Window(0, 1000, beyond=True)])
    assert len(p.verdict(whole=True)) == 1


def test_table_has_every_verb_with_its_number():
    rows = [line.split() for line in proof(request("get"), request("get")).table()]
    assert ["pg", "get", "leases.coordination.k8s.io", "pg", "2"] in rows
    assert ["pg", "watch", "leases.coordination.k8s.io", "pg", "0", "unused:"] in [
        r[:6] for r in rows]


def test_the_shipped_roles_can_be_read():
    p = rbac.Proof({}, [])
    assert all(p.roles[role] for role in (rbac.MEMBERS, rbac.VIEWER, rbac.OPERATOR))
