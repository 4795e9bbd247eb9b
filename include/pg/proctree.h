/* The postmaster's children as /proc shows them.
 *
 * pg_stat_wal_receiver is empty while a walreceiver connects, so only the process list proves that
 * there is none. A title that cannot be read is unknown, never absent. */
#ifndef PGHAD_PG_PROCTREE_H
#define PGHAD_PG_PROCTREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "core/types.h"

enum pg_child {
    PG_CHILD_UNKNOWN, /* just forked or of a kind that we do not know */
    PG_CHILD_WALRECEIVER,
    PG_CHILD_STARTUP,
    PG_CHILD_CHECKPOINTER,
    PG_CHILD_WALSENDER,
    PG_CHILD_ARCHIVER,
    PG_CHILD_BACKEND,
    PG_CHILD_AUX,     /* walwriter, logger, background writer, workers, ... */
    PG_CHILD_KINDS,
};

struct pg_proctree {
    bool alive;       /* the postmaster is there (not a zombie) */
    unsigned n[PG_CHILD_KINDS];
    pid_t walreceiver; /* one of them, 0 = none seen */
    pid_t startup;
    pid_t checkpointer;
    char startup_title[128]; /* e.g. "recovering 000000010000000000000003" */
};

/* Reads /proc once. cluster_name as configured, it is part of the titles. */
bool pg_proctree_read(struct pg_proctree *t, pid_t postmaster, const char *cluster_name,
                      struct err *e);
/* TRI_NO only when every child was recognised and none is a walreceiver. */
enum tri pg_proctree_has_walreceiver(const struct pg_proctree *t);
/* Kind by process title; title is what /proc/<pid>/cmdline holds. */
enum pg_child pg_proctree_kind(const char *title, const char *cluster_name);
/* SIGTERM, and SIGCONT so that a stopped one can obey. */
bool pg_proctree_end_walreceiver(const struct pg_proctree *t, struct err *e);

#endif
