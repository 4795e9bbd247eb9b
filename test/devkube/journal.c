/* The lease log is a ring of rendered lines; counters are few, so a scan finds them. */
#include "devkube/journal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"

/* Users are free text when no token file is given, so the table needs a bound. */
#define COUNTERS_MAX 10000

struct entry {
    int64_t rv;
    char *line;
};

struct counter {
    char *user;
    char *verb;
    char *resource;
    unsigned code;
    int64_t n;
};

struct journal {
    struct entry *ring;
    size_t max;
    uint64_t end;
    struct counter *counters;
    size_t n;
};

struct journal *journal_new(size_t entries_max)
{
    struct journal *j = calloc(1, sizeof(*j));
    must(j && entries_max > 0);
    j->max = entries_max;
    j->ring = calloc(entries_max, sizeof(struct entry));
    j->counters = calloc(COUNTERS_MAX, sizeof(struct counter));
    must(j->ring && j->counters);
    return j;
}

void journal_reset_counts(struct journal *j)
{
    for (size_t i = 0; i < j->n; i++) {
        free(j->counters[i].user);
        free(j->counters[i].verb);
        free(j->counters[i].resource);
    }
    j->n = 0;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->max; i++)
        free(j->ring[i].line);
    journal_reset_counts(j);
    free(j->ring);
    free(j->counters);
    free(j);
}

void journal_lease(struct journal *j, const struct change *c, const char *user)
{
    static const char *const copied[] = {"spec.holderIdentity", "spec.leaseTransitions",
                                         "spec.leaseDurationSeconds", "spec.renewTime",
                                         "metadata.annotations"};
    int64_t epoch = jx_int(c->json, "spec.leaseTransitions", 0);
    const char *holder = jx_str_or(c->json, "spec.holderIdentity", "");
    struct json_object *o = json_object_new_object();
    jx_set_int(o, "rv", c->rv);
    jx_set_int(o, "boot_ms", clock_boot_ms());
    jx_set_str(o, "user", user ? user : "");
    jx_set_str(o, "type", store_change_name(c->type));
    jx_set_str(o, "namespace", jx_str_or(c->json, "metadata.namespace", ""));
    jx_set_str(o, "name", jx_str_or(c->json, "metadata.name", ""));
    jx_set_str(o, "uid", jx_str_or(c->json, "metadata.uid", ""));
    jx_set(o, "holder_changed",
           json_object_new_boolean(!str_eq(holder, jx_str_or(c->prev, "spec.holderIdentity", ""))));
    jx_set(o, "epoch_changed",
           json_object_new_boolean(epoch != jx_int(c->prev, "spec.leaseTransitions", 0)));
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
        struct json_object *val = jx_path(c->json, copied[i]);
        jx_set(o, strchr(copied[i], '.') + 1, jx_copy(val));
    }
    struct entry *slot = &j->ring[j->end++ % j->max];
    free(slot->line);
    slot->rv = c->rv;
    slot->line = strdup(jx_text(o));
    must(slot->line);
    json_object_put(o);
}

void journal_count(struct journal *j, const char *user, const char *verb, const char *resource,
                   unsigned code)
{
    for (size_t i = 0; i < j->n; i++) {
        struct counter *c = &j->counters[i];
        if (c->code == code && str_eq(c->verb, verb) && str_eq(c->resource, resource) &&
            str_eq(c->user, user)) {
            c->n++;
            return;
        }
    }
    if (j->n == COUNTERS_MAX)
        return;
    struct counter *c = &j->counters[j->n++];
    *c = (struct counter){.user = strdup(user),
                          .verb = strdup(verb),
                          .resource = strdup(resource),
                          .code = code,
                          .n = 1};
    must(c->user && c->verb && c->resource);
}

void journal_render_log(const struct journal *j, int64_t since, struct reply *rp)
{
    const char *sep = "";
    uint64_t begin = j->end > j->max ? j->end - j->max : 0;
    must(buf_printf(&rp->body, "{\"dropped\":%" PRIu64 ",\"items\":[", begin));
    for (uint64_t i = begin; i < j->end; i++) {
        const struct entry *e = &j->ring[i % j->max];
        if (e->rv <= since)
            continue;
        must(buf_printf(&rp->body, "%s%s", sep, e->line));
        sep = ",";
    }
    must(buf_puts(&rp->body, "]}\n"));
}

struct json_object *journal_render_counts(const struct journal *j)
{
    struct json_object *items = json_object_new_array();
    for (size_t i = 0; i < j->n; i++) {
        const struct counter *c = &j->counters[i];
        struct json_object *o = json_object_new_object();
        jx_set_str(o, "user", c->user);
        jx_set_str(o, "verb", c->verb);
        jx_set_str(o, "resource", c->resource);
        jx_set_int(o, "code", c->code);
        jx_set_int(o, "count", c->n);
        must(json_object_array_add(items, o) == 0);
    }
    return items;
}
