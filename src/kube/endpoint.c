/* Service and EndpointSlice: the few fields that matter, and the slice built whole. */
#include "kube/endpoint.h"

#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "internal.h"
#include "jx.h"

#define GROUP "discovery.k8s.io"
#define SERVICE_LABEL "kubernetes.io/service-name"
#define BODY_MAX (16 * 1024)

static bool failed(struct kube_call *c, struct err *e)
{
    const struct kube_reply *r = kube_call_reply(c);

    if (r->outcome == KUBE_OK)
        return false;
    if (e && r->outcome == KUBE_PENDING)
        err_set(e, ERR_BUG, "the request is still under way");
    else if (e)
        *e = r->err;
    return true;
}

static bool is_absent(struct kube_call *c)
{
    return kube_call_is_get(c) && kube_call_reply(c)->http_status == 404;
}

/* ---- Service ---- */

void kube_service_done(struct kube_service *s)
{
    json_object_put(s->ports);
    *s = (struct kube_service){0};
}

struct kube_call *kube_service_get(struct kube *k, const char *name, int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf path;

    buf_init(&path, 2048);
    kube_path(&path, k, "", "services", name);
    c = kube_begin(k, "kube", "GET", buf_str(&path), NULL, NULL, deadline_ms);
    buf_done(&path);
    return c;
}

static bool take_port(struct json_object *in, int64_t postgres, struct json_object *list, struct err *e)
{
    struct json_object *o = json_object_new_object(), *target = jx_get(in, "targetPort");
    char name[64] = "", protocol[8] = "TCP";
    int64_t port = postgres;

    must(o && json_object_array_add(list, o) == 0);
    if (!jx_take_str(in, "name", false, name, sizeof(name), e) ||
        !jx_take_str(in, "protocol", false, protocol, sizeof(protocol), e) ||
        (json_object_is_type(target, json_type_int) &&
         !jx_take_int(in, "targetPort", true, 1, 65535, &port, e)))
        return err_wrap(e, "spec.ports");
    jx_set_text(o, "name", name);
    jx_set_text(o, "protocol", protocol);
    jx_set_int(o, "port", port);
    return true;
}

static size_t length(struct json_object *list)
{
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

/* Of a slice's ports; an absent protocol is TCP. */
static bool ports_text(struct json_object *list, char *ret, struct err *e)
{
    size_t used = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < length(list); i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        const char *name = jx_text(jx_get(o, "name")), *protocol = jx_text(jx_get(o, "protocol"));
        int64_t port = 0;
        if (!jx_take_int(o, "port", false, 0, 65535, &port, e))
            return false;
        if (!str_format(ret + used, KUBE_PORTS_SIZE - used, "%s/%s/%lld ", name ? name : "",
                        protocol ? protocol : "TCP", (long long)port))
            return err_set(e, ERR_CORRUPT, "more than %d bytes of ports", KUBE_PORTS_SIZE);
        used += strlen(ret + used);
    }
    return true;
}

bool kube_service_decode(struct json_object *o, int64_t port, struct kube_service *ret, struct err *e)
{
    struct json_object *meta = jx_get(o, "metadata"), *spec = jx_get(o, "spec");
    struct json_object *selector = jx_get(spec, "selector"), *ports = jx_get(spec, "ports");
    struct kube_service s = {.exists = true, .ports = json_object_new_array()};
    bool ok = str_eq(jx_text(jx_get(o, "kind")), "Service") ||
              err_set(e, ERR_CORRUPT, "not a Service");

    must(s.ports);
    ok = ok && jx_take_str(meta, "name", true, s.name, sizeof(s.name), e) &&
         jx_take_str(meta, "uid", true, s.uid, sizeof(s.uid), e);
    for (size_t i = 0; ok && i < length(ports); i++)
        ok = take_port(json_object_array_get_idx(ports, i), port, s.ports, e);
    ok = ok && ports_text(s.ports, s.ports_text, e);
    s.has_selector = json_object_is_type(selector, json_type_object) && json_object_object_length(selector) > 0;
    if (!ok) {
        kube_service_done(&s);
        return err_wrap(e, "Service");
    }
    kube_service_done(ret);
    *ret = s;
    return true;
}

bool kube_call_service(struct kube_call *c, int64_t port, struct kube_service *ret, struct err *e)
{
    if (is_absent(c)) {
        kube_service_done(ret);
        return true;
    }
    if (failed(c, e))
        return false;
    if (kube_service_decode(kube_call_reply(c)->body, port, ret, e))
        return true;
    kube_call_kube(c)->rejected++;
    return false;
}

/* ---- EndpointSlice ---- */

struct kube_call *kube_slice_list(struct kube *k, const char *service, int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf path;

    buf_init(&path, 2048);
    kube_path(&path, k, GROUP, "endpointslices", NULL);
    buf_puts(&path, "?labelSelector=" SERVICE_LABEL "%3D");
    kube_escape(&path, service);
    c = kube_begin(k, "kube", "GET", buf_str(&path), NULL, NULL, deadline_ms);
    buf_done(&path);
    return c;
}

static bool decode_endpoint(struct json_object *o, struct kube_endpoint *ret, struct err *e)
{
    struct json_object *ref = jx_get(o, "targetRef"), *ips = jx_get(o, "addresses");
    const char *ip = length(ips) > 0 ? jx_text(json_object_array_get_idx(ips, 0)) : NULL;

    return jx_take_name(ref, "name", false, &ret->pod, e) &&
           jx_take_str(ref, "uid", false, ret->uid, sizeof(ret->uid), e) &&
           jx_take_str(o, "nodeName", false, ret->node, sizeof(ret->node), e) &&
           (!ip || str_copy(ret->ip, sizeof(ret->ip), ip) || err_set(e, ERR_CORRUPT, "an address that is none"));
}

static struct json_object *first_owner(struct json_object *meta)
{
    struct json_object *list = jx_get(meta, "ownerReferences");

    return length(list) > 0 ? json_object_array_get_idx(list, 0) : NULL;
}

static bool decode_slice(struct json_object *o, struct kube_slice *ret, struct err *e)
{
    struct json_object *list = jx_get(o, "endpoints"), *meta = jx_get(o, "metadata");
    struct kube_slice s = {.exists = true, .n = length(list)};

    if (!jx_take_str(o, "addressType", true, s.family, sizeof(s.family), e) ||
        !jx_take_str(meta, "resourceVersion", true, s.rv, sizeof(s.rv), e) ||
        !jx_take_str(first_owner(meta), "uid", false, s.owner, sizeof(s.owner), e) ||
        !ports_text(jx_get(o, "ports"), s.ports_text, e) ||
        (s.n > 0 && !decode_endpoint(json_object_array_get_idx(list, 0), &s.to, e)))
        return err_wrap(e, "EndpointSlice");
    if (!s.rv[0])
        return err_set(e, ERR_CORRUPT, "EndpointSlice: without a resourceVersion no write of it can be refused");
    memcpy(s.foreign, ret->foreign, sizeof(s.foreign));
    *ret = s;
    return true;
}

static bool decode_slices(struct json_object *o, const char *service, struct kube_slice *ret, struct err *e)
{
    struct json_object *items = jx_get(o, "items");

    for (size_t i = 0; i < length(items); i++) {
        struct json_object *item = json_object_array_get_idx(items, i);
        const char *name = jx_text(jx_get(jx_get(item, "metadata"), "name"));
        if (str_eq(name, service)) {
            if (!decode_slice(item, ret, e))
                return false;
        } else if (name && length(jx_get(item, "endpoints")) > 0 &&
                   !str_copy(ret->foreign, sizeof(ret->foreign), name)) {
            return err_set(e, ERR_CORRUPT, "an EndpointSlice of more than %zu bytes of name", sizeof(ret->foreign));
        }
    }
    return true;
}

bool kube_slice_decode(struct json_object *o, const char *service, struct kube_slice *ret, struct err *e)
{
    const char *kind = jx_text(jx_get(o, "kind"));
    struct kube_slice s = {0};
    bool ok = false;

    if (str_eq(kind, "EndpointSlice")) {
        memcpy(s.foreign, ret->foreign, sizeof(s.foreign)); /* of which it does not speak */
        ok = decode_slice(o, &s, e);
    } else if (str_eq(kind, "EndpointSliceList")) {
        ok = decode_slices(o, service, &s, e);
    } else {
        err_set(e, ERR_CORRUPT, "neither an EndpointSlice nor a list of them");
    }
    if (ok)
        *ret = s;
    return ok;
}

bool kube_slice_fits(const struct kube_slice *s, const struct kube_service *of)
{
    return str_eq(s->owner, of->uid) && str_eq(s->ports_text, of->ports_text);
}

bool kube_call_slice(struct kube_call *c, const char *service, struct kube_slice *ret, struct err *e)
{
    if (failed(c, e))
        return false;
    if (kube_slice_decode(kube_call_reply(c)->body, service, ret, e))
        return true;
    kube_call_kube(c)->rejected++;
    return false;
}

static struct json_object *endpoint_of(const struct kube *k, const struct kube_endpoint *to)
{
    struct json_object *o = json_object_new_object(), *ips = json_object_new_array(), *ref, *is;

    must(o && ips && json_object_array_add(ips, json_object_new_string(to->ip)) == 0);
    must(json_object_object_add(o, "addresses", ips) == 0);
    is = jx_object_in(o, "conditions");
    must(json_object_object_add(is, "ready", json_object_new_boolean(true)) == 0);
    if (to->node[0])
        jx_set_text(o, "nodeName", to->node);
    ref = jx_object_in(o, "targetRef");
    jx_set_text(ref, "kind", "Pod");
    jx_set_text(ref, "namespace", k->cfg.ns);
    jx_set_text(ref, "name", to->pod.s);
    jx_set_text(ref, "uid", to->uid);
    return o;
}

static struct json_object *owner_of(const struct kube_service *s)
{
    struct json_object *o = json_object_new_object();

    must(o);
    jx_set_text(o, "apiVersion", "v1");
    jx_set_text(o, "kind", "Service");
    jx_set_text(o, "name", s->name);
    jx_set_text(o, "uid", s->uid);
    return o;
}

static struct json_object *slice_of(const struct kube *k, const struct kube_service *s,
                                    const struct kube_slice *last, const struct kube_endpoint *to)
{
    struct json_object *o = json_object_new_object(), *meta, *labels, *owners = json_object_new_array();
    struct json_object *endpoints = json_object_new_array();

    must(o && owners && endpoints && json_object_array_add(owners, owner_of(s)) == 0);
    jx_set_text(o, "apiVersion", GROUP "/v1");
    jx_set_text(o, "kind", "EndpointSlice");
    meta = jx_object_in(o, "metadata");
    jx_set_text(meta, "name", s->name);
    jx_set_text(meta, "namespace", k->cfg.ns);
    if (last->exists)
        jx_set_text(meta, "resourceVersion", last->rv);
    labels = jx_object_in(meta, "labels");
    jx_set_text(labels, SERVICE_LABEL, s->name);
    jx_set_text(labels, "endpointslice.kubernetes.io/managed-by", "pghad.io");
    must(json_object_object_add(meta, "ownerReferences", owners) == 0);
    /* It cannot be changed. */
    jx_set_text(o, "addressType", last->exists ? last->family : strchr(to->ip, ':') ? "IPv6" : "IPv4");
    if (to->pod.s[0])
        must(json_object_array_add(endpoints, endpoint_of(k, to)) == 0);
    must(json_object_object_add(o, "endpoints", endpoints) == 0);
    must(json_object_object_add(o, "ports", jx_copy(s->ports)) == 0);
    return o;
}

struct kube_call *kube_slice_put(struct kube *k, const struct kube_service *s, const struct kube_slice *last,
                                 const struct kube_endpoint *to, int64_t deadline_ms)
{
    struct json_object *o = slice_of(k, s, last, to);
    struct kube_call *c;
    struct buf path, body;
    struct err e;

    buf_init(&path, 2048);
    buf_init(&body, BODY_MAX);
    kube_path(&path, k, GROUP, "endpointslices", last->exists ? s->name : NULL);
    if (jx_print(o, &body)) {
        c = kube_begin(k, "kube", last->exists ? "PUT" : "POST", buf_str(&path), NULL, buf_str(&body),
                       deadline_ms);
    } else {
        err_set(&e, ERR_INVALID, "an EndpointSlice of more than %d bytes", BODY_MAX);
        c = kube_not_begun(k, &e);
    }
    json_object_put(o);
    buf_done(&path);
    buf_done(&body);
    return c;
}
