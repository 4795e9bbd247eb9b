/* Keeps the newest version of a watched object out of lists, events, reads and writes. */
#include "watched.h"

#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "internal.h"
#include "jx.h"

void watched_done(struct watched *w)
{
    kube_lease_done(&w->lease);
    kube_configmap_done(&w->configmap);
    kube_pods_done(&w->pods);
}

const char *watched_rv(const struct watched *w)
{
    if (w->kind == WATCHED_LEASE)
        return w->lease.lease.exists ? w->lease.rv : "";
    return w->configmap.exists ? w->configmap.rv : "";
}

static struct seen *find_seen(struct watched *w, const char *rv)
{
    for (size_t i = 0; i < SEEN_MAX; i++)
        if (w->seen[i].rv[0] && str_eq(w->seen[i].rv, rv))
            return &w->seen[i];
    return NULL;
}

static void note_change(struct watched *w, int64_t at_ms, int64_t got_ms)
{
    w->known = true;
    w->generation++;
    w->taken_ms = w->changed_ms = at_ms;
    w->got_ms = got_ms;
}

/* One object decoded, not yet judged. */
struct version {
    struct kube_lease lease;
    struct kube_configmap configmap;
    const char *rv; /* "" = does not exist */
};

static void version_done(struct version *v)
{
    kube_lease_done(&v->lease);
    kube_configmap_done(&v->configmap);
}

static const char *renewed_of(const struct version *v)
{
    const char *t = jx_text(jx_path(v->lease.raw, "spec", "renewTime", NULL));

    return t ? t : "";
}

/* Since when this version is known. */
static int64_t note_seen(struct watched *w, const struct version *v, int64_t now_ms)
{
    char renewed[SEEN_RENEWED_SIZE] = "";
    struct seen *s = find_seen(w, v->rv);

    if (!v->rv[0])
        return now_ms;
    if (!str_copy(renewed, sizeof(renewed), renewed_of(v)))
        renewed[0] = '\0';
    if (s && str_eq(s->renewed, renewed))
        return s->first_ms;
    if (!s)
        s = &w->seen[w->seen_next++ % SEEN_MAX];
    str_copy(s->rv, sizeof(s->rv), v->rv);
    memcpy(s->renewed, renewed, sizeof(renewed));
    s->first_ms = now_ms;
    return now_ms;
}

static bool decode(const struct watched *w, struct json_object *obj, struct version *v,
                   struct err *e)
{
    const char *name;

    *v = (struct version){.rv = ""};
    if (!obj)
        return true;
    if (w->kind == WATCHED_LEASE) {
        if (!kube_lease_decode(obj, &v->lease, e))
            return false;
        if (v->lease.damage.kind != ERR_NONE)
            (*w->rejected)++;
        v->rv = v->lease.rv;
        name = v->lease.name;
    } else {
        if (!kube_configmap_decode(obj, &v->configmap, e))
            return false;
        v->rv = v->configmap.rv;
        name = v->configmap.name;
    }
    if (str_eq(name, w->name))
        return true;
    err_set(e, ERR_CORRUPT, "object \"%.100s\" in place of \"%.100s\"", name, w->name);
    version_done(v);
    return false;
}

/* got_ms 0: by an event. Events come in order, so one of a known version is the same write again; what a
 * read shows may have been put back (a store restored from a copy), and counts from now. */
static void adopt(struct watched *w, struct version *v, int64_t at_ms, int64_t got_ms)
{
    int64_t first_ms = note_seen(w, v, at_ms);

    if (w->kind == WATCHED_LEASE) {
        kube_lease_done(&w->lease);
        w->lease = v->lease;
        v->lease = (struct kube_lease){0};
    } else {
        kube_configmap_done(&w->configmap);
        w->configmap = v->configmap;
        v->configmap = (struct kube_configmap){0};
    }
    note_change(w, at_ms, got_ms);
    if (got_ms == 0)
        w->changed_ms = first_ms;
}

static void await(struct watched *w, int64_t now_ms)
{
    w->awaiting = true;
    w->await_absence = watched_rv(w)[0] == '\0';
    str_copy(w->await_rv, sizeof(w->await_rv), watched_rv(w));
    w->await_until_ms = now_ms + AWAIT_MS;
}

static enum watched_verdict judge(struct watched *w, struct version *v, int64_t sent_ms,
                                  int64_t done_ms)
{
    if (!w->known || !str_eq(v->rv, watched_rv(w))) {
        if (w->known && sent_ms <= w->taken_ms && v->rv[0] && find_seen(w, v->rv))
            return WATCHED_OLDER;
        if (w->known && sent_ms < w->taken_ms)
            return WATCHED_AMBIGUOUS;
        adopt(w, v, done_ms, sent_ms);
        return WATCHED_NEWER;
    }
    if (sent_ms > w->got_ms)
        w->got_ms = sent_ms;
    return WATCHED_SAME;
}

enum watched_verdict watched_merge(struct watched *w, struct json_object *obj, int64_t sent_ms,
                                   int64_t done_ms, struct err *e)
{
    enum watched_verdict verdict;
    struct version v;

    if (!decode(w, obj, &v, e)) {
        (*w->rejected)++;
        return WATCHED_DAMAGED;
    }
    verdict = judge(w, &v, sent_ms, done_ms);
    version_done(&v);
    if (verdict == WATCHED_NEWER)
        await(w, done_ms);
    return verdict;
}

static enum watched_verdict list_object(struct watched *w, struct json_object *items,
                                        int64_t sent_ms, int64_t done_ms, struct err *e)
{
    size_t n = items ? json_object_array_length(items) : 0;
    struct json_object *found = NULL;
    enum watched_verdict verdict;
    struct version v;

    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(items, i);
        if (str_eq(jx_text(jx_path(o, "metadata", "name", NULL)), w->name))
            found = o;
    }
    if (!decode(w, found, &v, e)) {
        (*w->rejected)++;
        return WATCHED_DAMAGED;
    }
    verdict = judge(w, &v, sent_ms, done_ms);
    version_done(&v);
    /* The stream will start at the list: what it brings is newer, unless a later result is in. */
    w->awaiting = false;
    if (verdict == WATCHED_OLDER)
        await(w, done_ms);
    return verdict;
}

/* The lists of one version agree if nothing has moved; pods are compared as a whole. */
static bool same_pods(const struct kube_pods *a, const struct kube_pods *b)
{
    if (a->n != b->n)
        return false;
    for (uint8_t i = 0; i < a->n; i++) {
        const struct kube_pod *x = &a->p[i], *y = &b->p[i];
        if (!str_eq(x->name.s, y->name.s) || !str_eq(x->uid, y->uid) || !str_eq(x->ip, y->ip) ||
            !str_eq(x->node, y->node) || !str_eq(x->role, y->role) ||
            !str_eq(x->phase, y->phase) || x->ready != y->ready || x->deleting != y->deleting ||
            !str_eq(buf_str(&x->status), buf_str(&y->status)))
            return false;
    }
    return true;
}

static enum watched_verdict list_pods(struct watched *w, struct json_object *list, int64_t sent_ms,
                                      int64_t done_ms, struct err *e)
{
    struct kube_pods now = {0};

    if (!kube_pods_decode(list, w->role_label, &now, w->rejected, e)) {
        (*w->rejected)++;
        return WATCHED_DAMAGED;
    }
    if (w->known && same_pods(&now, &w->pods)) {
        kube_pods_done(&now);
        w->got_ms = sent_ms;
        return WATCHED_SAME;
    }
    kube_pods_done(&w->pods);
    w->pods = now;
    note_change(w, done_ms, sent_ms);
    return WATCHED_NEWER;
}

enum watched_verdict watched_list(struct watched *w, struct json_object *list, int64_t sent_ms,
                                  int64_t done_ms, struct err *e)
{
    static const char *const kinds[] = {[WATCHED_LEASE] = "LeaseList",
                                        [WATCHED_CONFIGMAP] = "ConfigMapList",
                                        [WATCHED_PODS] = "PodList"};
    struct json_object *items = jx_get(list, "items");

    if (!str_eq(jx_text(jx_get(list, "kind")), kinds[w->kind]) ||
        (items && !json_object_is_type(items, json_type_array))) {
        (*w->rejected)++;
        err_set(e, ERR_CORRUPT, "not a %s", kinds[w->kind]);
        return WATCHED_DAMAGED;
    }
    return w->kind == WATCHED_PODS ? list_pods(w, list, sent_ms, done_ms, e)
                                   : list_object(w, items, sent_ms, done_ms, e);
}

static enum watched_verdict event_pod(struct watched *w, struct json_object *obj, bool gone,
                                      int64_t now_ms, struct err *e)
{
    struct kube_pod p;

    if (!kube_pod_decode(obj, w->role_label, &p, e)) {
        (*w->rejected)++;
        return WATCHED_DAMAGED;
    }
    if (gone) {
        bool removed = kube_pods_remove(&w->pods, p.name.s, p.uid);
        buf_done(&p.status);
        if (!removed)
            return WATCHED_OLDER;
    } else if (!kube_pods_set(&w->pods, &p)) {
        (*w->rejected)++;
        err_set(e, ERR_CORRUPT, "more than %d pods", KUBE_PODS_MAX);
        return WATCHED_DAMAGED;
    }
    note_change(w, now_ms, 0);
    return WATCHED_NEWER;
}

enum watched_verdict watched_event(struct watched *w, struct json_object *obj, bool gone,
                                   int64_t now_ms, struct err *e)
{
    struct version v;

    if (w->kind == WATCHED_PODS)
        return event_pod(w, obj, gone, now_ms, e);
    if (!decode(w, obj, &v, e)) {
        (*w->rejected)++;
        return WATCHED_DAMAGED;
    }
    if (w->awaiting) {
        bool reached = gone ? w->await_absence
                            : !w->await_absence && str_eq(v.rv, w->await_rv);
        note_seen(w, &v, now_ms);
        version_done(&v);
        if (reached)
            w->awaiting = false;
        return reached ? WATCHED_SAME : WATCHED_OLDER;
    }
    if (gone) {
        note_seen(w, &v, now_ms);
        version_done(&v); /* v is now "does not exist" */
        v.rv = "";
    }
    if (w->known && str_eq(v.rv, watched_rv(w))) {
        version_done(&v);
        return WATCHED_SAME;
    }
    adopt(w, &v, now_ms, 0);
    return WATCHED_NEWER;
}

bool watched_overdue(const struct watched *w, int64_t now_ms)
{
    return w->awaiting && now_ms >= w->await_until_ms;
}
