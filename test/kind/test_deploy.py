"""Deployed as the documentation says: it comes up, is reached through its Services, is operated from
outside, and a planned change or the loss of a pod is one short interruption."""
import re
import time

import wait


def test_it_comes_up_and_is_writable(deployment):
    p = deployment.primary()
    assert p is not None
    deployment.hactl("wait", "--for", "primary")
    deployment.sql("CREATE TABLE t (id int PRIMARY KEY)")
    deployment.sql("INSERT INTO t VALUES (1)")
    assert deployment.sql("SELECT pg_is_in_recovery()", host="pg-ro") == "t"
    assert wait.until(lambda: deployment.sql("SELECT count(*) FROM t", host="pg-ro") == "1", 10,
                      "the row on a replica")
    # As the manifests say: nobody is root, nothing but volumes can be written.
    pod = deployment.get("pod", p)
    assert deployment.kubectl("exec", p, "--", "id", "-u").stdout.strip() == "999"
    assert deployment.kubectl("exec", p, "--", "touch", "/usr/x", check=False).returncode != 0
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_the_services_lead_to_the_roles(deployment):
    ips = {p["metadata"]["name"]: p["status"]["podIP"] for p in deployment.get("pods")["items"]}
    primary = deployment.primary()
    assert deployment.endpoints("pg-rw") == [ips[primary]]
    assert deployment.endpoints("pg-ro") == sorted(ip for n, ip in ips.items() if n != primary)
    assert deployment.endpoints("pg-r") == sorted(ips.values())


def test_switchover_from_outside(deployment):
    before = deployment.primary()
    r = deployment.hactl("switchover", "--force")
    print("\n  " + r.stdout.strip().replace("\n", "\n  "))
    after = deployment.primary()
    assert after not in (None, before)
    began = time.monotonic()
    wait.until(lambda: deployment.sql("INSERT INTO t VALUES (2)", check=False) is not None, 10,
               "a write through pg-rw")
    print(f"  a new client writes {time.monotonic() - began:.2f} s after the verdict")
    deployment.wait_ready()
    # Until the others stream again it says so and ends with 3.
    said = wait.until(lambda: (r := deployment.hactl("list", check=False)).returncode == 0 and r.stdout,
                      60, "a list without complaint")
    assert re.search(rf"^{after}\s+primary", said, re.M)
    assert deployment.sql("SELECT count(*) FROM t") == "2"


def test_the_primary_s_pod_is_deleted(deployment):
    """SIGTERM is a switchover; the pod comes back as a replica on its volume."""
    before = deployment.primary()
    uid = deployment.get("pod", before)["metadata"]["uid"]
    other = next(n for n in deployment.ready() if n != before)
    deployment.kubectl("delete", "pod", before, "--wait=false")
    wait.until(lambda: deployment.primary() not in (None, before), 30, "another primary", every=0.1)
    wait.until(lambda: deployment.sql("INSERT INTO t VALUES (3)", pod=other, check=False)
               is not None, 20, "a write through pg-rw")
    wait.until(lambda: deployment.get("pod", before)["metadata"]["uid"] != uid, 60, "another pod")
    deployment.wait_ready()
    assert deployment.sql("SELECT count(*) FROM t") == "3"
