/* Timeline histories: the branch points that lead to a timeline. */
#ifndef PGHAD_PG_HISTORY_H
#define PGHAD_PG_HISTORY_H

#include "base/err.h"
#include "core/types.h"
#include "pg/env.h"

#define PG_HISTORY_MAX 64             /* branch points kept: the newest */
#define PG_HISTORY_TEXT_MAX (1 << 20) /* a line has some 60 bytes: ten thousand promotions */

struct pg_branch {
    uint32_t timeline; /* this timeline ... */
    uint64_t end;      /* ... was left here */
};

/* n branches, ascending, then `timeline` itself without an end. A database that lives for years is
 * promoted more often than fits: of the oldest branches only their end is kept, and a member that has
 * slept since then has nothing in common with this history. */
struct pg_history {
    uint32_t timeline;
    uint64_t dropped_end; /* branches that do not fit end here; 0 = all are kept */
    uint8_t n;
    bool placeholder; /* a reason given is our placeholder's: not a real timeline */
    struct pg_branch branch[PG_HISTORY_MAX];
};

/* Text of NNNNNNNN.history (NULL or "" for timeline 1). ERR_CORRUPT with the line. */
bool pg_history_parse(struct pg_history *h, uint32_t timeline, const char *text, struct err *e);
/* From <wal_dir>; timeline 1 needs no file. ERR_NOT_FOUND when it is absent. */
bool pg_history_read(struct pg_history *h, const char *wal_dir, uint32_t timeline, struct err *e);

/* Is WAL up to (tl, lsn) part of this history? Yes for lsn = the branch point itself. */
bool pg_history_contains(const struct pg_history *h, uint32_t tl, uint64_t lsn);
/* Timeline of the last record that ends at lsn; 0 = on a branch that is not kept. */
uint32_t pg_history_timeline_of(const struct pg_history *h, uint64_t lsn);
/* Where WAL of timeline tl ends in this history: UINT64_MAX for its own, 0 when it is not in it. */
uint64_t pg_history_end_of(const struct pg_history *h, uint32_t tl);
/* Where two histories part: the last common timeline and position. lsn UINT64_MAX: the same
 * timeline. timeline 0: nothing in common. */
struct position pg_history_fork(const struct pg_history *a, const struct pg_history *b);

/* Highest timeline of which the data directory has a real history, 1 for none. */
bool pg_history_highest(const struct pg_env *env, uint32_t *ret, struct err *e);

/* Placeholder history files. PostgreSQL promotes to the number after the last of the unbroken row of
 * histories that it finds, so they make a promotion choose `timeline`. They stay afterwards: a
 * standby of an older timeline fetches the history of every number up to the primary's own, and can
 * never stream when one is missing (measured: it asks again for ever) - numbers that were allocated
 * and never used, and ancestors whose files a clone did not bring along. Written from 2 to
 * timeline - 1 where there is none, just before a promotion; `current` is the server's own.
 * Existing files are never overwritten; a real history of `timeline` or above is ERR_INVALID: that
 * number cannot be had. */
bool pg_placeholders_write(const struct pg_env *env, uint32_t current, uint32_t timeline,
                           struct err *e);
/* Before a start: a server that begins recovery follows the unbroken row of histories above its own
 * timeline and takes the last of it for its target (findNewestTimeLine). So the row is filled up to
 * the highest real history - with a number missing the server would not see its own WAL behind the
 * gap, end recovery early, and be promoted without what it had confirmed (measured) - and
 * placeholders above that go. */
bool pg_placeholders_settle(const struct pg_env *env, struct err *e);

#endif
