/* Inside of struct pg_conf, shared by conf.c (model, files) and conf_render.c (text). */
#ifndef PGHAD_SRC_PG_CONF_PRIVATE_H
#define PGHAD_SRC_PG_CONF_PRIVATE_H

#include "pg/conf.h"

#define PG_CONF_TEXT_MAX 262144
#define PG_PRELOAD_SIZE 1024
#define PRELOAD_AGAIN_MS 5000
#define FLOORS 5

/* The parameters with a floor, in this order. */
extern const char *const pg_conf_floor_names[FLOORS];
/* Index of a parameter with a floor, or -1. */
int pg_conf_floor_of(const char *name);

/* A line of pg_hba.conf as far as its form goes; an empty one or a comment is fine. */
bool pg_conf_check_hba(const char *line, size_t number, struct err *e);
/* Whether PostgreSQL accepts the rendered settings, and which libraries they preload without ours:
 * preload_known stays as it is where there was no answer. Blocks for some 30 ms, 2 s at most. */
bool pg_conf_check(struct pg_conf *c, struct err *e);
/* shared_preload_libraries with the gate; false where there is no gate to add. */
bool pg_conf_preload(const struct pg_conf *c, struct buf *b);

struct pg_conf {
    const struct pg_env *env;
    struct pg_ssn ssn;
    struct pg_upstream upstream;
    bool closed;
    bool keep_strict;
    char os_user[PG_NAME_SIZE]; /* "" = no passwd entry */

    /* the user's, already checked and quoted, one per line */
    struct buf params, hba, ident;
    char include[PG_PATH_SIZE];
    char listen_addresses[256];
    char wal_level[16];
    char wal_cap[32], wal_keep[32];
    char restore_command[1024];
    uint32_t max_senders, max_slots;
    bool feedback, log_json, strict_commit;
    char preload[PG_PRELOAD_SIZE]; /* the user's shared_preload_libraries */
    bool preload_known;
    int64_t preload_next_ms; /* CLOCK_BOOTTIME; after no answer: not asked before */
    bool preload_in_auto;          /* postgresql.auto.conf sets it, which is read after our file */
    bool without_gate;             /* while rendering for a question */
    uint32_t floor[FLOORS];    /* 0 = none */
    uint32_t wish[FLOORS];     /* the user's own values, 0 = not given */
    const char *raised[FLOORS + 1];

    char file[PG_PATH_SIZE], hba_file[PG_PATH_SIZE], ident_file[PG_PATH_SIZE];
    char postgres[PG_PATH_SIZE];
    char arg[5][PG_PATH_SIZE + 32];
    char preload_arg[PG_PRELOAD_SIZE + PG_PATH_SIZE + 32];
    const char *argv[16];
};

#endif
