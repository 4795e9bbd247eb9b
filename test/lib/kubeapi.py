"""The Kubernetes API that a test runs against, behind one interface.

    import kubeapi
    with kubeapi.open_kube("real", host=net.api_ip) as kube:      # or "devkube"
        kube.install("db", "pg")                  # namespace, ServiceAccount, Role, Services
        pod = kube.add_pod("db", "pg", "pg-0", ip="10.87.0.11")   # Node, Pod with its address, token
        env = kube.member_env(pod, directory)     # what pghad needs to reach the API as that pod
        kube.admin.get("leases", "db", "pg")      # as administrator
        kube.endpoints_of("db", "pg-rw")          # ["10.87.0.11"] once the pod is labelled

Back ends, with the same methods (class Kube in kubebase.py documents each of them):

    RealKube    etcd, kube-apiserver and kube-controller-manager: RBAC, tokens bound to pods, real
                EndpointSlices, an audit log. Two to four seconds to start.
    DevKube     test/devkube, the embedded API server: milliseconds to start, injects faults.

Several clusters may live in one Kube, each in a namespace of its own; that is how scenarios share
one start of the real one.

    start(), stop(), `with`     own directory, own free ports; ends with the process that made it
    admin, client(...)          kubeclient.Client with all rights, with others
    install(ns, cluster)        what the shipped manifests in k8s/ make
    uninstall(ns)               removes the namespace and all in it
    add_pod / delete_pod        a pod as the kubelet and the StatefulSet controller would leave it
    set_ready(pod, bool)        as the readiness probe would
    write_credentials(pod, d)   token, ca.crt, namespace as in a container; again = rotation
    member_env(pod, d)          the same, and the settings that point pghad at it
    write_kubeconfig(path, ns)  for hactl and kubectl
    labels(cluster), selector() labels that the Services select by
    endpoints_of(ns, service)   ready addresses, sorted
    follow_endpoints(...)       calls back on each change of them
    pause() / resume()          the server hangs: connections stay, nothing is answered
    down() / up()               the server is gone: connections refused; its objects survive
    flaky(), heal()             a context in which requests fail now and then; an end to all faults
    request_counts(), denied()  what was asked of it, what was refused for want of rights
    faults                      None, or the means to inject particular faults (DevKube)
"""
from kubebase import Kube, Pod  # noqa: F401
from kubeclient import ApiError, Client  # noqa: F401

BACKENDS = ("devkube", "real")


def open_kube(backend, **options):
    """A back end by its name, not started. Options are those of its class."""
    if backend == "real":
        from kubereal import RealKube
        return RealKube(**options)
    if backend == "devkube":
        from kubedev import DevKube
        return DevKube(**options)
    raise ValueError(f"unknown back end {backend!r}: one of {', '.join(BACKENDS)}")
