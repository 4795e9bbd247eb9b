/* The object store: one sorted array and one ring of changes per resource. It knows nothing of
 * HTTP, users or validation, and never fails (memory aside, which ends the program). */
#include "devkube/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

struct shelf {
    struct object *objects; /* sorted by namespace, name */
    size_t n;
    size_t cap;
    struct change *ring;
    uint64_t end; /* changes ever recorded */
};

static const char *const pod_fields[] = {"spec.nodeName", "status.phase", "status.podIP",
                                         "spec.serviceAccountName", NULL};
static const char *const core_event_fields[] = {"involvedObject.kind", "involvedObject.name",
                                                "involvedObject.uid", "reason", "type", NULL};
static const char *const event_fields[] = {"regarding.kind", "regarding.name", "regarding.uid",
                                           "reason", "type", NULL};
static const char *const no_fields[] = {NULL};

/* Which kinds accept a PUT that creates, or one without resourceVersion, follows the strategies
 * of the kube-apiserver registry. */
static const struct resource resources[] = {
    {"", "v1", "configmaps", "configmap", "ConfigMap", "configmaps", no_fields,
     .namespaced = true, .unconditional_update = true},
    {"", "v1", "events", "event", "Event", "events", core_event_fields,
     .namespaced = true, .create_on_update = true, .unconditional_update = true},
    {"", "v1", "namespaces", "namespace", "Namespace", "namespaces", no_fields,
     .has_status = true, .unconditional_update = true},
    {"", "v1", "nodes", "node", "Node", "minions", no_fields,
     .has_status = true, .unconditional_update = true},
    {"", "v1", "pods", "pod", "Pod", "pods", pod_fields,
     .namespaced = true, .has_status = true, .unconditional_update = true},
    {"", "v1", "secrets", "secret", "Secret", "secrets", no_fields,
     .namespaced = true, .unconditional_update = true},
    {"", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", "serviceaccounts",
     no_fields, .namespaced = true, .unconditional_update = true},
    {"", "v1", "services", "service", "Service", "services/specs", no_fields,
     .namespaced = true, .has_status = true, .create_on_update = true,
     .unconditional_update = true},
    {"apps", "v1", "statefulsets", "statefulset", "StatefulSet", "statefulsets", no_fields,
     .namespaced = true, .has_status = true, .unconditional_update = true},
    {"coordination.k8s.io", "v1", "leases", "lease", "Lease", "leases", no_fields,
     .namespaced = true, .create_on_update = true},
    {"discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice",
     "endpointslices", no_fields, .namespaced = true, .unconditional_update = true},
    {"events.k8s.io", "v1", "events", "event", "Event", "events", event_fields,
     .namespaced = true, .create_on_update = true, .unconditional_update = true},
};

#define RESOURCES (sizeof(resources) / sizeof(resources[0]))

struct store {
    struct shelf shelves[RESOURCES];
    size_t history;
    int64_t rv;
    unsigned refs;
    store_listener *listener;
    void *listener_ctx;
};

struct store *store_new(size_t history)
{
    struct store *st = calloc(1, sizeof(*st));
    must(st && history > 0);
    st->history = history;
    st->refs = 1;
    for (size_t i = 0; i < RESOURCES; i++) {
        st->shelves[i].ring = calloc(history, sizeof(struct change));
        must(st->shelves[i].ring);
    }
    return st;
}

struct store *store_ref(struct store *st)
{
    st->refs++;
    return st;
}

static void shelf_done(struct shelf *sh, size_t history)
{
    for (size_t i = 0; i < sh->n; i++) {
        free(sh->objects[i].ns);
        free(sh->objects[i].name);
        json_object_put(sh->objects[i].json);
    }
    for (size_t i = 0; i < history; i++) {
        json_object_put(sh->ring[i].json);
        json_object_put(sh->ring[i].prev);
    }
    free(sh->objects);
    free(sh->ring);
}

void store_unref(struct store *st)
{
    if (!st || --st->refs > 0)
        return;
    for (size_t i = 0; i < RESOURCES; i++)
        shelf_done(&st->shelves[i], st->history);
    free(st);
}

struct store *store_snapshot(const struct store *st)
{
    struct store *copy = store_new(1);
    copy->rv = st->rv;
    for (size_t i = 0; i < RESOURCES; i++) {
        const struct shelf *from = &st->shelves[i];
        struct shelf *to = &copy->shelves[i];
        if (from->n == 0)
            continue;
        to->objects = calloc(from->n, sizeof(struct object));
        must(to->objects);
        to->n = to->cap = from->n;
        for (size_t k = 0; k < from->n; k++) {
            to->objects[k] = from->objects[k];
            to->objects[k].ns = strdup(from->objects[k].ns);
            to->objects[k].name = strdup(from->objects[k].name);
            must(to->objects[k].ns && to->objects[k].name);
            json_object_get(to->objects[k].json);
        }
    }
    return copy;
}

void store_listen(struct store *st, store_listener *fn, void *ctx)
{
    st->listener = fn;
    st->listener_ctx = ctx;
}

const struct resource *store_resources(size_t *n)
{
    *n = RESOURCES;
    return resources;
}

const struct resource *store_find_resource(const char *group, const char *version,
                                           const char *plural)
{
    for (size_t i = 0; i < RESOURCES; i++) {
        const struct resource *r = &resources[i];
        if (str_eq(r->group, group) && str_eq(r->version, version) && str_eq(r->plural, plural))
            return r;
    }
    return NULL;
}

const char *store_change_name(enum change_type t)
{
    static const char *const names[] = {
        [CHANGE_ADDED] = "ADDED", [CHANGE_MODIFIED] = "MODIFIED", [CHANGE_DELETED] = "DELETED"};
    return names[t];
}

int64_t store_rv(const struct store *st)
{
    return st->rv;
}

static const struct shelf *shelf_of(const struct store *st, const struct resource *res)
{
    return &st->shelves[res - resources];
}

size_t store_count(const struct store *st, const struct resource *res)
{
    return shelf_of(st, res)->n;
}

static int object_cmp(const struct object *o, const char *ns, const char *name)
{
    int c = strcmp(o->ns, ns);
    return c ? c : strcmp(o->name, name);
}

/* Index of the object, or where it would be inserted. */
static size_t shelf_find(const struct shelf *sh, const char *ns, const char *name, bool *found)
{
    size_t lo = 0;
    size_t hi = sh->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (object_cmp(&sh->objects[mid], ns, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *found = lo < sh->n && object_cmp(&sh->objects[lo], ns, name) == 0;
    return lo;
}

struct json_object *store_get(const struct store *st, const struct resource *res, const char *ns,
                              const char *name)
{
    bool found;
    const struct shelf *sh = shelf_of(st, res);
    size_t at = shelf_find(sh, res->namespaced ? ns : "", name, &found);
    return found ? sh->objects[at].json : NULL;
}

const struct object *store_next(const struct store *st, const struct resource *res, const char *ns,
                                size_t *pos)
{
    const struct shelf *sh = shelf_of(st, res);
    while (*pos < sh->n) {
        const struct object *o = &sh->objects[(*pos)++];
        if (!ns || str_eq(o->ns, ns))
            return o;
    }
    return NULL;
}

static void stamp(struct json_object *json, int64_t rv)
{
    char text[24];
    must(str_format(text, sizeof(text), "%" PRId64, rv));
    jx_set_str(jx_need(json, "metadata"), "resourceVersion", text);
}

/* Takes json and prev. */
static void record(struct store *st, const struct resource *res, enum change_type type,
                   struct json_object *json, struct json_object *prev)
{
    struct shelf *sh = &st->shelves[res - resources];
    struct change *slot = &sh->ring[sh->end++ % st->history];
    json_object_put(slot->json);
    json_object_put(slot->prev);
    *slot = (struct change){.type = type, .rv = st->rv, .json = json, .prev = prev};
    if (!st->listener)
        return;
    /* The listener may write again and reuse the slot. */
    struct change now = *slot;
    json_object_get(now.json);
    json_object_get(now.prev);
    st->listener(st->listener_ctx, res, &now);
    json_object_put(now.json);
    json_object_put(now.prev);
}

static void shelf_insert(struct shelf *sh, size_t at, const char *ns, const char *name)
{
    if (sh->n == sh->cap) {
        sh->cap = sh->cap ? sh->cap * 2 : 16;
        sh->objects = reallocarray(sh->objects, sh->cap, sizeof(struct object));
        must(sh->objects);
    }
    memmove(&sh->objects[at + 1], &sh->objects[at], (sh->n - at) * sizeof(struct object));
    sh->n++;
    sh->objects[at] = (struct object){.ns = strdup(ns), .name = strdup(name)};
    must(sh->objects[at].ns && sh->objects[at].name);
}

int64_t store_put(struct store *st, const struct resource *res, const char *ns, const char *name,
                  struct json_object *json)
{
    bool found;
    struct shelf *sh = &st->shelves[res - resources];
    if (!res->namespaced)
        ns = "";
    size_t at = shelf_find(sh, ns, name, &found);
    if (!found)
        shelf_insert(sh, at, ns, name);
    int64_t rv = ++st->rv;
    stamp(json, rv);
    struct object *o = &sh->objects[at];
    struct json_object *prev = o->json;
    o->json = json;
    o->rv = rv;
    record(st, res, prev ? CHANGE_MODIFIED : CHANGE_ADDED, json_object_get(json), prev);
    return rv;
}

void store_remove(struct store *st, const struct resource *res, const char *ns, const char *name)
{
    bool found;
    struct shelf *sh = &st->shelves[res - resources];
    size_t at = shelf_find(sh, res->namespaced ? ns : "", name, &found);
    must(found);
    struct object gone = sh->objects[at];
    sh->n--;
    memmove(&sh->objects[at], &sh->objects[at + 1], (sh->n - at) * sizeof(struct object));
    st->rv++;
    struct json_object *last = jx_copy(gone.json);
    stamp(last, st->rv);
    record(st, res, CHANGE_DELETED, last, gone.json);
    free(gone.ns);
    free(gone.name);
}

static uint64_t ring_begin(const struct store *st, const struct shelf *sh)
{
    return sh->end > st->history ? sh->end - st->history : 0;
}

uint64_t store_end(const struct store *st, const struct resource *res)
{
    return shelf_of(st, res)->end;
}

uint64_t store_cursor_after(const struct store *st, const struct resource *res, int64_t rv)
{
    const struct shelf *sh = shelf_of(st, res);
    uint64_t begin = ring_begin(st, sh);
    uint64_t at = sh->end;
    while (at > begin && sh->ring[(at - 1) % st->history].rv > rv)
        at--;
    return at;
}

const struct change *store_change(const struct store *st, const struct resource *res,
                                  uint64_t cursor, bool *lost)
{
    const struct shelf *sh = shelf_of(st, res);
    *lost = cursor < ring_begin(st, sh);
    return *lost || cursor >= sh->end ? NULL : &sh->ring[cursor % st->history];
}

bool store_expired(const struct store *st, const struct resource *res, int64_t rv, int64_t *oldest)
{
    const struct shelf *sh = shelf_of(st, res);
    uint64_t begin = ring_begin(st, sh);
    *oldest = begin > 0 ? sh->ring[begin % st->history].rv - 1 : 0;
    return rv < *oldest;
}
