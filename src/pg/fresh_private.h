/* The settings as a new session sees them: one that is open keeps its own copy. Part of the probe. */
#ifndef PGHAD_SRC_PG_FRESH_PRIVATE_H
#define PGHAD_SRC_PG_FRESH_PRIVATE_H

#include "pg/conn.h"
#include "pg/facts.h"

struct pg_fresh {
    struct pg_conn *conn; /* owned by the probe */
    bool running, sent, asked;
    int64_t begun_ms;
    int64_t after_ms; /* asked: it must begin later than this */
    int64_t next_ms;  /* not asked: the next one by itself */
};

/* Only while the server answers the probe: begins a session when one is due, takes its answer into facts
 * (fresh_*), closes it. */
void pg_fresh_step(struct pg_fresh *f, struct pg_facts *facts, int64_t now);
void pg_fresh_prepare(const struct pg_fresh *f, struct loop *l);
/* A session begun later than after_ms is wanted soon; looks are 5 ms apart at least. */
void pg_fresh_ask(struct pg_fresh *f, int64_t after_ms);
void pg_fresh_stop(struct pg_fresh *f);

#endif
