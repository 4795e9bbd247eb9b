/* Pods: the few fields that matter, and patches of labels and annotations. */
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "internal.h"
#include "jx.h"

void kube_pods_done(struct kube_pods *p)
{
    for (uint8_t i = 0; i < p->n; i++)
        buf_done(&p->p[i].status);
    *p = (struct kube_pods){0};
}

static bool is_ready(struct json_object *status)
{
    struct json_object *list = jx_get(status, "conditions");
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *c = json_object_array_get_idx(list, i);
        if (str_eq(jx_text(jx_get(c, "type")), "Ready"))
            return str_eq(jx_text(jx_get(c, "status")), "True");
    }
    return false;
}

bool kube_pod_decode(struct json_object *o, const char *role_label, struct kube_pod *ret,
                     struct err *e)
{
    struct json_object *meta = jx_get(o, "metadata"), *status = jx_get(o, "status");
    struct json_object *labels = jx_get(meta, "labels"), *kind = jx_get(o, "kind");
    const char *note = jx_text(jx_path(meta, "annotations", ANNOTATION_STATUS, NULL));
    struct kube_pod p = {0};

    if (kind && !str_eq(jx_text(kind), "Pod"))
        return err_set(e, ERR_CORRUPT, "not a Pod");
    if (!jx_take_name(meta, "name", true, &p.name, e) ||
        !jx_take_str(meta, "uid", true, p.uid, sizeof(p.uid), e) ||
        !jx_take_str(status, "podIP", false, p.ip, sizeof(p.ip), e) ||
        !jx_take_str(status, "phase", false, p.phase, sizeof(p.phase), e) ||
        !jx_take_str(jx_get(o, "spec"), "nodeName", false, p.node, sizeof(p.node), e) ||
        !jx_take_str(labels, role_label, false, p.role, sizeof(p.role), e))
        return err_wrap(e, "Pod");
    p.ready = is_ready(status);
    p.deleting = jx_get(meta, "deletionTimestamp") != NULL;
    buf_init(&p.status, KUBE_STATUS_MAX);
    if (note)
        buf_puts(&p.status, note); /* one that is too long is left out: it is for people */
    *ret = p;
    return true;
}

bool kube_pods_set(struct kube_pods *list, struct kube_pod *p)
{
    uint8_t i = 0;

    while (i < list->n && strcmp(list->p[i].name.s, p->name.s) < 0)
        i++;
    if (i < list->n && str_eq(list->p[i].name.s, p->name.s)) {
        buf_done(&list->p[i].status);
        list->p[i] = *p;
        return true;
    }
    if (list->n == KUBE_PODS_MAX) {
        buf_done(&p->status);
        return false;
    }
    memmove(&list->p[i + 1], &list->p[i], (size_t)(list->n - i) * sizeof(list->p[0]));
    list->p[i] = *p;
    list->n++;
    return true;
}

bool kube_pods_remove(struct kube_pods *list, const char *name, const char *uid)
{
    for (uint8_t i = 0; i < list->n; i++) {
        if (!str_eq(list->p[i].name.s, name) || !str_eq(list->p[i].uid, uid))
            continue;
        buf_done(&list->p[i].status);
        list->n--;
        memmove(&list->p[i], &list->p[i + 1], (size_t)(list->n - i) * sizeof(list->p[0]));
        return true;
    }
    return false;
}

bool kube_pods_decode(struct json_object *list, const char *role_label, struct kube_pods *ret,
                      uint64_t *rejected, struct err *e)
{
    struct json_object *items = jx_get(list, "items");
    struct kube_pods pods = {0};
    size_t n;

    /* Empty lists of old servers have "items": null. */
    if (!str_eq(jx_text(jx_get(list, "kind")), "PodList") ||
        (items && !json_object_is_type(items, json_type_array)))
        return err_set(e, ERR_CORRUPT, "not a list of pods");
    n = items ? json_object_array_length(items) : 0;
    for (size_t i = 0; i < n; i++) {
        struct kube_pod p;
        if (!kube_pod_decode(json_object_array_get_idx(items, i), role_label, &p, NULL) ||
            !kube_pods_set(&pods, &p))
            (*rejected)++;
    }
    kube_pods_done(ret);
    *ret = pods;
    return true;
}

struct kube_call *kube_pod_list(struct kube *k, const char *selector, int64_t deadline_ms)
{
    struct kube_call *c;
    struct buf path;

    buf_init(&path, 4096);
    kube_path(&path, k, "", "pods", NULL);
    buf_puts(&path, "?labelSelector=");
    kube_escape(&path, selector);
    c = kube_begin(k, "kube", "GET", buf_str(&path), NULL, NULL, deadline_ms);
    buf_done(&path);
    return c;
}

bool kube_call_pods(struct kube_call *c, const char *role_label, struct kube_pods *ret,
                    struct err *e)
{
    const struct kube_reply *r = kube_call_reply(c);
    struct kube *k = kube_call_kube(c);

    if (r->outcome != KUBE_OK) {
        if (e)
            *e = r->err;
        return false;
    }
    if (kube_pods_decode(r->body, role_label, ret, &k->rejected, e))
        return true;
    k->rejected++;
    return false;
}

static void put_changes(struct json_object *o, const struct kube_change *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].value)
            jx_set_text(o, list[i].key, list[i].value);
        else
            must(json_object_object_add(o, list[i].key, NULL) == 0); /* null removes it */
    }
}

struct kube_call *kube_pod_patch(struct kube *k, const char *name, const char *uid,
                                 const struct kube_meta *m, int64_t deadline_ms)
{
    struct json_object *o = json_object_new_object(), *meta;
    struct kube_call *c;
    struct buf path, body;

    must(o);
    meta = jx_object_in(o, "metadata");
    if (uid)
        jx_set_text(meta, "uid", uid);
    if (m->n_labels)
        put_changes(jx_object_in(meta, "labels"), m->labels, m->n_labels);
    if (m->n_annotations)
        put_changes(jx_object_in(meta, "annotations"), m->annotations, m->n_annotations);
    buf_init(&path, 2048);
    buf_init(&body, 64 * 1024);
    kube_path(&path, k, "", "pods", name);
    if (jx_print(o, &body)) {
        c = kube_begin(k, "kube", "PATCH", buf_str(&path), NULL, buf_str(&body), deadline_ms);
    } else {
        struct err e;
        err_set(&e, ERR_INVALID, "labels and annotations of more than %zu bytes", body.max);
        c = kube_not_begun(k, &e);
    }
    json_object_put(o);
    buf_done(&path);
    buf_done(&body);
    return c;
}
