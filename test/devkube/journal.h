/* What tests ask afterwards: every committed lease write in order, and counts of requests. */
#ifndef DEVKUBE_JOURNAL_H
#define DEVKUBE_JOURNAL_H

#include "devkube/reply.h"
#include "devkube/store.h"

struct journal;

struct journal *journal_new(size_t entries_max);
void journal_free(struct journal *j);

/* Notes a change of a Lease; user is who wrote it. Call it in commit order. */
void journal_lease(struct journal *j, const struct change *c, const char *user);
/* Counts a request; code 0 means that the client got no answer. */
void journal_count(struct journal *j, const char *user, const char *verb, const char *resource,
                   unsigned code);
void journal_reset_counts(struct journal *j);

/* {"dropped":N,"items":[..]}: entries with rv above since; dropped counts entries overwritten. */
void journal_render_log(const struct journal *j, int64_t since, struct reply *rp);
struct json_object *journal_render_counts(const struct journal *j); /* array; caller owns */

#endif
