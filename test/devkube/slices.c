/* Endpoints as the real controller computes them: a pod counts when it matches, has an address
 * and has not finished; ready = publishNotReadyAddresses or (Ready and not being deleted). One
 * slice per Service, no batching, no delay, one address family. */
#include "devkube/slices.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

#define MANAGER "endpointslice-controller.k8s.io"

static bool labels_match(const struct json_object *want, const struct json_object *have)
{
    for (struct lh_entry *e = jx_head(want); e; e = e->next) {
        const struct json_object *val = jx_get(have, jx_key(e));
        if (!val || !jx_equal(val, jx_val(e)))
            return false;
    }
    return true;
}

static bool pod_ready(const struct json_object *pod)
{
    const struct json_object *conditions = jx_path(pod, "status.conditions");
    if (!json_object_is_type(conditions, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(conditions); i++) {
        const struct json_object *c = json_object_array_get_idx(conditions, i);
        if (str_eq(jx_str(c, "type"), "Ready"))
            return str_eq(jx_str(c, "status"), "True");
    }
    return false;
}

static bool pod_counts(const struct json_object *service, const struct json_object *pod)
{
    const char *phase = jx_str_or(pod, "status.phase", "");
    return *jx_str_or(pod, "status.podIP", "") && !str_eq(phase, "Failed") &&
           !str_eq(phase, "Succeeded") &&
           labels_match(jx_path(service, "spec.selector"), jx_path(pod, "metadata.labels"));
}

static struct json_object *endpoint_new(const struct json_object *service,
                                        const struct json_object *pod)
{
    bool always = jx_bool(service, "spec.publishNotReadyAddresses");
    bool serving = always || pod_ready(pod);
    bool terminating = jx_path(pod, "metadata.deletionTimestamp") != NULL;
    struct json_object *o = json_object_new_object();
    struct json_object *addresses = json_object_new_array();
    must(json_object_array_add(addresses,
                               json_object_new_string(jx_str_or(pod, "status.podIP", ""))) == 0);
    jx_set(o, "addresses", addresses);
    struct json_object *conditions = jx_need(o, "conditions");
    jx_set(conditions, "ready", json_object_new_boolean(always || (serving && !terminating)));
    jx_set(conditions, "serving", json_object_new_boolean(serving));
    jx_set(conditions, "terminating", json_object_new_boolean(terminating));
    jx_set_str(o, "nodeName", jx_str(pod, "spec.nodeName"));
    struct json_object *ref = jx_need(o, "targetRef");
    jx_set_str(ref, "kind", "Pod");
    jx_set_str(ref, "namespace", jx_str(pod, "metadata.namespace"));
    jx_set_str(ref, "name", jx_str(pod, "metadata.name"));
    jx_set_str(ref, "uid", jx_str(pod, "metadata.uid"));
    return o;
}

/* The number of a named container port; 0 when the pod has none of that name. */
static int64_t named_port(const struct json_object *pod, const char *name)
{
    const struct json_object *containers = jx_path(pod, "spec.containers");
    if (!json_object_is_type(containers, json_type_array))
        return 0;
    for (size_t i = 0; i < json_object_array_length(containers); i++) {
        const struct json_object *ports = jx_get(json_object_array_get_idx(containers, i), "ports");
        if (!json_object_is_type(ports, json_type_array))
            continue;
        for (size_t k = 0; k < json_object_array_length(ports); k++) {
            const struct json_object *p = json_object_array_get_idx(ports, k);
            if (str_eq(jx_str(p, "name"), name))
                return jx_int(p, "containerPort", 0);
        }
    }
    return 0;
}

static struct json_object *ports_new(const struct json_object *service,
                                     const struct json_object *a_pod)
{
    struct json_object *out = json_object_new_array();
    const struct json_object *ports = jx_path(service, "spec.ports");
    size_t n = json_object_is_type(ports, json_type_array) ? json_object_array_length(ports) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct json_object *p = json_object_array_get_idx(ports, i);
        const char *name = jx_str(p, "targetPort");
        int64_t number = name ? named_port(a_pod, name)
                              : jx_int(p, "targetPort", jx_int(p, "port", 0));
        if (number == 0)
            continue;
        struct json_object *o = json_object_new_object();
        jx_set_str(o, "name", jx_str_or(p, "name", ""));
        jx_set_int(o, "port", number);
        jx_set_str(o, "protocol", jx_str_or(p, "protocol", "TCP"));
        must(json_object_array_add(out, o) == 0);
    }
    return out;
}

static void set_owner(struct json_object *meta, const struct json_object *service)
{
    struct json_object *owner = json_object_new_object();
    jx_set_str(owner, "apiVersion", "v1");
    jx_set_str(owner, "kind", "Service");
    jx_set_str(owner, "name", jx_str(service, "metadata.name"));
    jx_set_str(owner, "uid", jx_str(service, "metadata.uid"));
    jx_set(owner, "controller", json_object_new_boolean(true));
    jx_set(owner, "blockOwnerDeletion", json_object_new_boolean(true));
    struct json_object *owners = json_object_new_array();
    must(json_object_array_add(owners, owner) == 0);
    jx_set(meta, "ownerReferences", owners);
}

static struct json_object *slice_new(struct store *st, const struct json_object *service,
                                     const char *ns, const char *name)
{
    const struct resource *pods = store_find_resource("", "v1", "pods");
    struct json_object *o = json_object_new_object();
    struct json_object *meta = jx_need(o, "metadata");
    jx_set_str(meta, "name", name);
    jx_set_str(meta, "namespace", ns);
    struct json_object *labels = jx_need(meta, "labels");
    jx_set_str(labels, "endpointslice.kubernetes.io/managed-by", MANAGER);
    jx_set_str(labels, "kubernetes.io/service-name", jx_str(service, "metadata.name"));
    if (str_eq(jx_str(service, "spec.clusterIP"), "None"))
        jx_set_str(labels, "service.kubernetes.io/headless", "");
    set_owner(meta, service);

    size_t pos = 0;
    const struct object *pod;
    const struct json_object *a_pod = NULL;
    struct json_object *endpoints = json_object_new_array();
    while ((pod = store_next(st, pods, ns, &pos))) {
        if (!pod_counts(service, pod->json))
            continue;
        a_pod = pod->json;
        must(json_object_array_add(endpoints, endpoint_new(service, pod->json)) == 0);
    }
    bool v6 = strchr(jx_str_or(a_pod, "status.podIP", ""), ':') != NULL;
    jx_set_str(o, "addressType", v6 ? "IPv6" : "IPv4");
    jx_set(o, "endpoints", endpoints);
    jx_set(o, "ports", ports_new(service, a_pod));
    return o;
}

/* The slice's identity survives its rewriting. */
static void keep_identity(struct json_object *o, const struct json_object *old,
                          const struct json_object *service)
{
    static const char *const kept[] = {"uid", "creationTimestamp", "resourceVersion"};
    struct json_object *meta = jx_need(o, "metadata");
    struct json_object *from = jx_get(old, "metadata");
    for (size_t i = 0; from && i < sizeof(kept) / sizeof(kept[0]); i++)
        jx_set(meta, kept[i], jx_copy(jx_get(from, kept[i])));
    if (from)
        return;
    /* A service's uid with its first letter changed: unique, and reproducible in one run. */
    char uid[64];
    must(str_format(uid, sizeof(uid), "e%s", jx_str_or(service, "metadata.uid", "-") + 1));
    jx_set_str(meta, "uid", uid);
    jx_set_str(meta, "creationTimestamp", jx_str(service, "metadata.creationTimestamp"));
}

static void sync_service(struct store *st, const struct resource *slices,
                         const struct json_object *service, const char *ns)
{
    char name[300];
    must(str_format(name, sizeof(name), "%.253s-%.5s", jx_str_or(service, "metadata.name", ""),
                    jx_str_or(service, "metadata.uid", "00000")));
    const struct json_object *old = store_get(st, slices, ns, name);
    struct json_object *o = slice_new(st, service, ns, name);
    keep_identity(o, old, service);
    if (old && jx_equal(old, o))
        json_object_put(o);
    else
        store_put(st, slices, ns, name, o);
}

static bool service_selects(const struct json_object *service)
{
    const struct json_object *sel = jx_path(service, "spec.selector");
    return json_object_is_type(sel, json_type_object) && json_object_object_length(sel) > 0;
}

/* A Service whose selector is taken away keeps the slice that was made for it, as with the real one. */
static bool is_orphan(struct store *st, const struct json_object *slice, const char *ns)
{
    const struct resource *services = store_find_resource("", "v1", "services");
    const struct json_object *labels = jx_path(slice, "metadata.labels");
    const struct json_object *by = jx_get(labels, "endpointslice.kubernetes.io/managed-by");
    const struct json_object *of = jx_get(labels, "kubernetes.io/service-name");
    if (!jx_value(of) || !str_eq(jx_value(by), MANAGER))
        return false;
    return store_get(st, services, ns, jx_value(of)) == NULL;
}

static void drop_orphans(struct store *st, const struct resource *slices, const char *ns)
{
    size_t pos = 0;
    const struct object *o;
    while ((o = store_next(st, slices, ns, &pos))) {
        if (!is_orphan(st, o->json, ns))
            continue;
        store_remove(st, slices, o->ns, o->name);
        pos = 0;
    }
}

void slices_sync(struct store *st, const char *ns)
{
    size_t pos = 0;
    const struct object *service;
    const struct resource *slices = store_find_resource("discovery.k8s.io", "v1",
                                                        "endpointslices");
    const struct resource *services = store_find_resource("", "v1", "services");
    while ((service = store_next(st, services, ns, &pos))) {
        if (service_selects(service->json))
            sync_service(st, slices, service->json, ns);
    }
    drop_orphans(st, slices, ns);
}
