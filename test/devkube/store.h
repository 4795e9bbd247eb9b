/* Objects, the one revision counter, and the bounded history that watches read.
 *
 * Objects are kept without kind and apiVersion (lists print them so) and are immutable once
 * stored: a write replaces the tree. Every write of any resource takes the next resource version,
 * as one etcd does. */
#ifndef DEVKUBE_STORE_H
#define DEVKUBE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devkube/jsonx.h"

struct resource {
    const char *group; /* "" is the core group */
    const char *version;
    const char *plural;
    const char *singular;
    const char *kind;
    const char *key;           /* below /registry/, seen in precondition messages */
    const char *const *fields; /* selectable besides metadata.name and metadata.namespace */
    bool namespaced;
    bool has_status;
    bool create_on_update;     /* PUT of a missing object creates it */
    bool unconditional_update; /* PUT without resourceVersion is accepted */
};

enum change_type { CHANGE_ADDED, CHANGE_MODIFIED, CHANGE_DELETED };

struct change {
    enum change_type type;
    int64_t rv;
    struct json_object *json; /* the object with this rv; for DELETED its last state */
    struct json_object *prev; /* what it replaced; NULL for ADDED */
};

struct object {
    char *ns; /* "" for cluster-scoped */
    char *name;
    int64_t rv;
    struct json_object *json;
};

struct store;

typedef void store_listener(void *ctx, const struct resource *res, const struct change *c);

/* history: changes kept per resource, at least 1. */
struct store *store_new(size_t history);
struct store *store_ref(struct store *st);
void store_unref(struct store *st);
/* The objects as they are now, without history: what a lagging replica would answer. */
struct store *store_snapshot(const struct store *st);
/* Called after each change, also for changes made by the listener itself. */
void store_listen(struct store *st, store_listener *fn, void *ctx);

const struct resource *store_resources(size_t *n);
const struct resource *store_find_resource(const char *group, const char *version,
                                           const char *plural); /* NULL when unknown */
const char *store_change_name(enum change_type t);

int64_t store_rv(const struct store *st);
size_t store_count(const struct store *st, const struct resource *res);
struct json_object *store_get(const struct store *st, const struct resource *res, const char *ns,
                              const char *name); /* borrowed; NULL when absent */
/* Objects in key order; ns NULL means all; *pos starts at 0. NULL at the end. */
const struct object *store_next(const struct store *st, const struct resource *res, const char *ns,
                                size_t *pos);

/* Takes json, stamps metadata.resourceVersion, returns it. */
int64_t store_put(struct store *st, const struct resource *res, const char *ns, const char *name,
                  struct json_object *json);
/* The object must exist. Watchers get DELETED with a resource version of its own. */
void store_remove(struct store *st, const struct resource *res, const char *ns, const char *name);

/* History by position: a cursor is the number of changes of the resource that came before. */
uint64_t store_end(const struct store *st, const struct resource *res);
uint64_t store_cursor_after(const struct store *st, const struct resource *res, int64_t rv);
/* NULL when the change at that cursor is not there (yet); *lost says it was dropped. */
const struct change *store_change(const struct store *st, const struct resource *res,
                                  uint64_t cursor, bool *lost);
/* True when a watch from rv would miss changes; *oldest is the least rv that would not. */
bool store_expired(const struct store *st, const struct resource *res, int64_t rv,
                   int64_t *oldest);

#endif
