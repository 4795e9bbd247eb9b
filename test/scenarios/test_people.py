"""People with the Roles viewer and operator, and hactl in a pod: what they do is what they may."""
import os
import subprocess

import pytest

import kubereal
import rbac
import wait
from member import BUILD

pytestmark = pytest.mark.rbac


class Person:
    def __init__(self, cluster, kube, directory, **user):
        self.cluster, self.directory = cluster, str(directory)
        self.kubeconfig = kube.write_kubeconfig(os.path.join(directory, "config"), cluster.ns,
                                                user=user)

    def hactl(self, *args, check=0):
        return self.cluster.hactl(*args, check=check, kubeconfig=self.kubeconfig)

    def kubectl(self, *args, timeout_s=60):
        r = subprocess.run(
            [kubereal.find_program("kubectl"), "--kubeconfig", self.kubeconfig, *args],
            capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": self.directory})
        assert r.returncode == 0, f"kubectl {' '.join(args)}: {r.stdout}{r.stderr}"
        return r.stdout


@pytest.fixture
def viewer(cluster, kube, tmp_path):
    return Person(cluster, kube, tmp_path,
                  token=kube.add_person(cluster.ns, cluster.name, rbac.VIEWER))


@pytest.fixture
def operator(cluster, kube, tmp_path):
    return Person(cluster, kube, tmp_path,
                  token=kube.add_person(cluster.ns, cluster.name, rbac.OPERATOR))


def look(person, cluster):
    """Everything that shows and changes nothing."""
    p, s = cluster.primary(), cluster.standby()
    found = subprocess.run([os.path.abspath(f"{BUILD}/hactl"), "--kubeconfig", person.kubeconfig,
                            "list", "-o", "name"], capture_output=True, text=True, timeout=30)
    assert {n.split("/")[-1] for n in found.stdout.split()} == {m.name for m in cluster.members}, \
        f"the cluster is found by its Lease: {found}"
    for words in (("list", "-o", "wide"), ("topology",), ("history", "-o", "wide"), ("explain",),
                  ("explain", s.name), ("show-config", "-o", "json"), ("wait", "--for", "synced"),
                  ("dsn", "--replica"), ("version",), ("switchover", "--to", s.name, "--dry-run")):
        assert person.hactl(*words).stdout or words[0] == "wait", words
    # And what a person looks at next.
    assert p.name in person.kubectl("get", "pods")
    assert "role=primary" in person.kubectl("get", "pod", p.name, "--show-labels")
    assert p.name in person.kubectl("get", "lease", cluster.name)
    assert p.name in person.kubectl("get", "leases")
    assert "Promoted" in person.kubectl("events")
    person.kubectl("get", person.kubectl("get", "events", "-o", "name").split()[0])
    with pytest.raises(subprocess.TimeoutExpired):
        person.kubectl("get", "events", "--watch", timeout_s=1)


def orders(standby):
    return (("pause",), ("resume",), ("switchover", "--to", standby, "--force"),
            ("failover", "--to", standby, "--force"), ("reload",), ("restart", standby, "--force"),
            ("reinit", standby, "--force"),
            ("edit-config", "--set", "postgres.parameters.work_mem=5MB", "--force"))


def test_viewer_sees_everything_and_orders_nothing(cluster, kube, viewer):
    look(viewer, cluster)
    before = cluster.state()
    with kube.refusals(cluster.ns, beyond=True):
        # doctor reads more than a viewer may: the ClusterRole view is its measure.
        assert "may not list statefulsets" in viewer.hactl("doctor", check=4).stderr
        for order in orders(cluster.standby().name):
            r = viewer.hactl(*order, check=None)
            if order == ("resume",) and r.returncode == 0:
                continue  # there is nothing to do
            assert r.returncode == 4 and 'cannot update resource "configmaps"' in r.stderr, (order, r)
    assert cluster.state()["data"].get("intent") == before["data"].get("intent")
    assert cluster.state()["data"].get("config") == before["data"].get("config")


def test_operator_orders_everything(cluster, operator):
    look(operator, cluster)
    with cluster.load():
        operator.hactl("pause", "--wait")
        operator.hactl("resume", "--wait")
        target = cluster.standby()
        operator.hactl("switchover", "--to", target.name, "--force")
        assert cluster.wait_healthy() is target
        target = cluster.standby()
        operator.hactl("failover", "--to", target.name, "--force")
        assert cluster.wait_healthy() is target
        operator.hactl("reload")
        standby = cluster.standby()
        operator.hactl("restart", standby.name, "--force", "--wait")
        operator.hactl("reinit", standby.name, "--force", "--wait")
        operator.hactl("edit-config", "--set", "postgres.parameters.work_mem=5MB", "--force")
        wait.until(lambda: cluster.primary().sql("SHOW work_mem") == [("5MB",)], 20, "the setting")
        operator.hactl("edit-config", "--set", "postgres.parameters.work_mem=", "--force")
    cluster.verify()


def test_hactl_in_a_pod_has_the_rights_of_its_member(cluster, kube, tmp_path):
    """As through `kubectl exec`: the account of the pod suffices for every order."""
    m = cluster.standby()
    inside = Person(cluster, kube, tmp_path,
                    tokenFile=os.path.join(cluster.credentials(m.name), "token"))
    inside.hactl("list")
    inside.hactl("pause", "--wait")
    inside.hactl("resume", "--wait")
    inside.hactl("switchover", "--to", m.name, "--force")
    assert cluster.wait_healthy() is m
    cluster.verify()
