/* The ConfigMap: values by key, and writes that are compare-and-swaps. */
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "internal.h"
#include "jx.h"

#define BODY_MAX (2 * 1024 * 1024) /* the server refuses objects above about 1.5 MB */

void kube_configmap_done(struct kube_configmap *m)
{
    json_object_put(m->raw);
    *m = (struct kube_configmap){0};
}

void kube_configmap_copy(struct kube_configmap *dst, const struct kube_configmap *src)
{
    struct json_object *raw = json_object_get(src->raw);

    kube_configmap_done(dst);
    *dst = *src;
    dst->raw = raw;
}

const char *kube_configmap_get_value(const struct kube_configmap *m, const char *key)
{
    return jx_text(jx_path(m->raw, "data", key, NULL));
}

bool kube_configmap_decode(struct json_object *o, struct kube_configmap *ret, struct err *e)
{
    struct json_object *meta = jx_get(o, "metadata"), *data = jx_get(o, "data");
    struct json_object *kind = jx_get(o, "kind");
    struct kube_configmap m = {.exists = true};

    if (!json_object_is_type(o, json_type_object) ||
        (kind && !str_eq(jx_text(kind), "ConfigMap")))
        return err_set(e, ERR_CORRUPT, "not a ConfigMap");
    if (data && !json_object_is_type(data, json_type_object))
        return err_set(e, ERR_CORRUPT, "ConfigMap: data has the wrong type");
    if (!jx_take_str(meta, "name", true, m.name, sizeof(m.name), e) ||
        !jx_take_str(meta, "uid", true, m.uid, sizeof(m.uid), e) ||
        !jx_take_str(meta, "resourceVersion", true, m.rv, sizeof(m.rv), e))
        return err_wrap(e, "ConfigMap");
    if (m.rv[0] == '\0' || m.uid[0] == '\0')
        return err_set(e, ERR_CORRUPT, "ConfigMap without uid or resourceVersion");
    json_object_put(ret->raw);
    *ret = m;
    ret->raw = json_object_get(o);
    return true;
}

bool kube_call_configmap(struct kube_call *c, struct kube_configmap *ret, struct err *e)
{
    const struct kube_reply *r = kube_call_reply(c);

    if (r->outcome == KUBE_PENDING)
        return err_set(e, ERR_BUG, "the request is still under way");
    if (r->http_status == 404 && kube_call_is_get(c)) {
        kube_configmap_done(ret);
        return true;
    }
    if (r->outcome != KUBE_OK) {
        if (e)
            *e = r->err;
        return false;
    }
    if (kube_configmap_decode(r->body, ret, e))
        return true;
    kube_call_kube(c)->rejected++;
    return false;
}

static struct kube_call *send(struct kube *k, const char *method, const char *name,
                              struct json_object *o, int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf path, body;

    buf_init(&path, 2048);
    buf_init(&body, BODY_MAX);
    kube_path(&path, k, "", "configmaps", name);
    if (!o || jx_print(o, &body)) {
        c = kube_begin(k, "kube", method, buf_str(&path), NULL, o ? buf_str(&body) : NULL,
                       deadline_ms);
    } else {
        struct err e;
        err_set(&e, ERR_INVALID, "a ConfigMap of more than %d bytes", BODY_MAX);
        c = kube_not_begun(k, &e);
    }
    json_object_put(o);
    buf_done(&path);
    buf_done(&body);
    return c;
}

struct kube_call *kube_configmap_get(struct kube *k, const char *name, int64_t deadline_ms)
{
    return send(k, "GET", name, NULL, deadline_ms);
}

struct kube_call *kube_configmap_create(struct kube *k, const char *name,
                                        const struct kube_change *labels, size_t n_labels,
                                        const struct kube_change *data, size_t n_data,
                                        int64_t deadline_ms)
{
    struct json_object *o = json_object_new_object(), *meta;

    must(o);
    jx_set_text(o, "apiVersion", "v1");
    jx_set_text(o, "kind", "ConfigMap");
    meta = jx_object_in(o, "metadata");
    jx_set_text(meta, "name", name);
    jx_set_text(meta, "namespace", k->cfg.ns);
    for (size_t i = 0; i < n_labels; i++)
        if (labels[i].value)
            jx_set_text(jx_object_in(meta, "labels"), labels[i].key, labels[i].value);
    for (size_t i = 0; i < n_data; i++)
        if (data[i].value)
            jx_set_text(jx_object_in(o, "data"), data[i].key, data[i].value);
    return send(k, "POST", NULL, o, deadline_ms);
}

struct kube_call *kube_configmap_put(struct kube *k, const struct kube_configmap *last,
                                     const struct kube_change *data, size_t n_data,
                                     int64_t deadline_ms)
{
    struct json_object *o, *values;
    struct err e;

    if (!last->raw) {
        err_set(&e, ERR_BUG, "PUT of a ConfigMap that has not been read");
        return kube_not_begun(k, &e);
    }
    o = jx_copy(last->raw);
    jx_set_text(o, "apiVersion", "v1");
    jx_set_text(o, "kind", "ConfigMap");
    json_object_object_del(jx_object_in(o, "metadata"), "managedFields");
    values = jx_object_in(o, "data");
    for (size_t i = 0; i < n_data; i++) {
        if (data[i].value)
            jx_set_text(values, data[i].key, data[i].value);
        else
            json_object_object_del(values, data[i].key);
    }
    return send(k, "PUT", last->name, o, deadline_ms);
}

struct kube_call *kube_configmap_patch(struct kube *k, const char *name, const char *rv,
                                       const struct kube_change *data, size_t n_data,
                                       int64_t deadline_ms)
{
    struct json_object *o = json_object_new_object(), *values;

    must(o);
    if (rv)
        jx_set_text(jx_object_in(o, "metadata"), "resourceVersion", rv);
    values = jx_object_in(o, "data");
    for (size_t i = 0; i < n_data; i++) {
        if (data[i].value)
            jx_set_text(values, data[i].key, data[i].value);
        else
            must(json_object_object_add(values, data[i].key, NULL) == 0); /* null removes it */
    }
    return send(k, "PATCH", name, o, deadline_ms);
}
