/* Evidence that every walsender uses a new synchronous_standby_names. Pure.
 *
 * A reload is not its effect: each walsender applies its own copy when it next looks. Proof: a
 * fresh session shows the value, and each walsender that is older than that session is gone or
 * its reply_time has changed twice; from empty to non-empty a CHECKPOINT begun afterwards has
 * returned (the checkpointer sets the shared flag that makes commits wait). */
#ifndef PGHAD_PG_BARRIER_H
#define PGHAD_PG_BARRIER_H

#include "pg/conf.h"
#include "pg/facts.h"

struct pg_barrier {
    bool armed;             /* the fresh session showed the value */
    int64_t from_ms;        /* waiting for a fresh look begun after this */
    char want[PG_SSN_SIZE];
    bool need_checkpoint;
    int64_t armed_ms;       /* when that fresh session was begun */
    uint8_t n;
    bool cut;               /* more walsenders than fit: no proof without ending them */
    struct {
        int32_t pid;
        int64_t start_us;
        int64_t reply_us;
        uint8_t changes;
    } old[PG_SENDERS_MAX];
};

/* The value was written and the reload sent at now_ms. from_empty: the setting before was empty. */
void pg_barrier_begin(struct pg_barrier *b, const char *want, bool from_empty, int64_t now_ms);
/* Feed each new look. checkpoint_ms: when the last CHECKPOINT that has returned was begun. */
void pg_barrier_feed(struct pg_barrier *b, const struct pg_facts *f);
bool pg_barrier_in_force(const struct pg_barrier *b, int64_t checkpoint_ms);
/* A CHECKPOINT begun at or after this is needed; 0 = none (or not known yet). */
int64_t pg_barrier_checkpoint_after(const struct pg_barrier *b);

#endif
