/* This member's durable state, outside PGDATA: <state_dir>/member.state. */
#ifndef PGHAD_PG_STATE_H
#define PGHAD_PG_STATE_H

#include "base/buf.h"
#include "base/err.h"
#include "core/types.h"
#include "pg/env.h"

struct pg_state {
    uint64_t epoch;     /* highest epoch detached for or followed */
    uint64_t volume;    /* random id of this data directory, 0 = none */
    uint64_t system_id; /* 0 = none */
    bool has_record;
    struct record record;
};

/* ERR_NOT_FOUND: there is none (first start). ERR_CORRUPT: file, line and reason; never guessed. */
bool pg_state_load(const struct pg_env *env, struct pg_state *s, struct err *e);
/* Atomic and synced: on return it is durable. Makes the state directory if needed. */
bool pg_state_save(const struct pg_env *env, const struct pg_state *s, struct err *e);

bool pg_state_parse(struct pg_state *s, const char *text, struct err *e);
bool pg_state_format(struct buf *b, const struct pg_state *s, struct err *e);

#endif
