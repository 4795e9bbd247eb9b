/* Lease requests and the access review. */
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "internal.h"
#include "jx.h"

#define GROUP "coordination.k8s.io"
#define CHANNEL "kube-lease" /* nothing else may make a renewal wait */

static struct kube_call *lease_call(struct kube *k, const char *method, const char *name,
                                    const char *body, int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf path;

    buf_init(&path, 2048);
    kube_path(&path, k, GROUP, "leases", name);
    c = kube_begin(k, CHANNEL, method, buf_str(&path), NULL, body, deadline_ms);
    buf_done(&path);
    return c;
}

struct kube_call *kube_lease_get(struct kube *k, const char *name, int64_t deadline_ms)
{
    return lease_call(k, "GET", name, NULL, deadline_ms);
}

struct kube_call *kube_lease_create(struct kube *k, const char *name, const struct lease *want,
                                    int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf body;
    struct err e;

    buf_init(&body, KUBE_LEASE_MAX);
    if (kube_lease_build_new(k->cfg.ns, name, want, clock_wall_us(), &body, &e))
        c = lease_call(k, "POST", NULL, buf_str(&body), deadline_ms);
    else
        c = kube_not_begun(k, &e);
    buf_done(&body);
    return c;
}

struct kube_call *kube_lease_put(struct kube *k, const struct kube_lease *last,
                                 const struct lease *want, int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf body;
    struct err e;

    buf_init(&body, KUBE_LEASE_MAX);
    if (kube_lease_build(last, want, clock_wall_us(), &body, &e))
        c = lease_call(k, "PUT", last->name, buf_str(&body), deadline_ms);
    else
        c = kube_not_begun(k, &e);
    buf_done(&body);
    return c;
}

bool kube_call_lease(struct kube_call *c, struct kube_lease *ret, struct err *e)
{
    const struct kube_reply *r = kube_call_reply(c);

    if (r->outcome == KUBE_PENDING)
        return err_set(e, ERR_BUG, "the request is still under way");
    if (r->http_status == 404 && kube_call_is_get(c)) {
        kube_lease_done(ret);
        return true;
    }
    if (r->outcome != KUBE_OK) {
        if (e)
            *e = r->err;
        return false;
    }
    if (!kube_lease_decode(r->body, ret, e)) {
        kube_call_kube(c)->rejected++;
        return false;
    }
    if (ret->damage.kind != ERR_NONE)
        kube_call_kube(c)->rejected++;
    return true;
}

struct kube_call *kube_access_review(struct kube *k, const char *verb, const char *group,
                                     const char *resource, const char *name, int64_t deadline_ms)
{
    struct json_object *o = json_object_new_object(), *what;
    struct kube_call *c;
    struct buf body;

    must(o);
    jx_set_text(o, "apiVersion", "authorization.k8s.io/v1");
    jx_set_text(o, "kind", "SelfSubjectAccessReview");
    what = jx_object_in(jx_object_in(o, "spec"), "resourceAttributes");
    jx_set_text(what, "namespace", k->cfg.ns);
    jx_set_text(what, "verb", verb);
    jx_set_text(what, "group", group);
    jx_set_text(what, "resource", resource);
    if (name)
        jx_set_text(what, "name", name);
    buf_init(&body, 4096);
    jx_print(o, &body);
    json_object_put(o);
    c = kube_begin(k, "kube", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                   NULL, buf_str(&body), deadline_ms);
    buf_done(&body);
    return c;
}

bool kube_call_allowed(struct kube_call *c, bool *ret, struct err *e)
{
    const struct kube_reply *r = kube_call_reply(c);
    struct json_object *allowed = jx_path(r->body, "status", "allowed", NULL);

    if (r->outcome != KUBE_OK) {
        if (e)
            *e = r->err;
        return false;
    }
    if (!json_object_is_type(allowed, json_type_boolean))
        return err_set(e, ERR_CORRUPT, "an access review without a verdict");
    *ret = json_object_get_boolean(allowed);
    return true;
}
