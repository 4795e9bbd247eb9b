/* One exclusive long operation on the data directory at a time, as a polled machine.
 *
 * Every job is safe to cut at any moment: a marker is durable before it begins, new directories are
 * built beside PGDATA (PGDATA.new) and moved into place at the end. */
#ifndef PGHAD_PG_JOB_H
#define PGHAD_PG_JOB_H

#include "pg/conf.h"
#include "pg/control.h"
#include "pg/engine.h"
#include "pg/history.h"
#include "pg/state.h"

enum pg_job_kind {
    PG_JOB_NONE,
    PG_JOB_INITDB,
    PG_JOB_CLONE,
    PG_JOB_REWIND,
    PG_JOB_WALEND,
    PG_JOB_CONTROL,
};
enum pg_job_state { PG_JOB_IDLE, PG_JOB_RUNNING, PG_JOB_OK, PG_JOB_FAILED };

/* As the official image's first start: initdb, the database, the members' role, the scripts
 * against a temporary server that listens on a private socket only. Output goes to
 * <state_dir>/initdb.log. NULL strings: not set. */
struct pg_initdb_spec {
    const char *database;       /* POSTGRES_DB; NULL: the superuser's name */
    const char *initdb_args;    /* POSTGRES_INITDB_ARGS, blanks separate, quotes group */
    const char *init_scripts;   /* NULL: /docker-entrypoint-initdb.d; need not exist */
    bool checksums;
    /* The temporary server runs with it: what pg_control remembers of its parameters is a lower bound
     * for the first start as a standby. NULL: with PostgreSQL's defaults. */
    struct pg_conf *conf;
    struct pg_state *state;     /* volume (if it was 0) and system_id are set and saved */
    int64_t deadline_ms;        /* BOOTTIME; 0: none */
};

struct pg_source {
    const char *hostaddr;       /* numeric */
    const char *host;           /* name, for verify-full; NULL: none */
    uint16_t port;
    const char *sslmode;        /* NULL: prefer */
    uint64_t epoch;             /* its passfile exists (pg_passfile_write) */
};

enum pg_replace {
    PG_REPLACE_NOTHING,  /* PGDATA must be absent or empty, or partial by our own marker */
    PG_REPLACE_KEEP,     /* the old directory becomes PGDATA.old (an older .old is removed first) */
    PG_REPLACE_REMOVE,   /* the old directory is removed once the new one is in its place */
};

struct pg_clone_spec {
    struct pg_source from;
    enum pg_replace replace;
    bool remove_first;          /* with PG_REPLACE_REMOVE: no room for two, the old one goes first */
    /* Make the slot of the new volume on the source; that of a clone which did not finish is dropped
     * when the next one begins. */
    bool slot;
    struct pg_state *state;     /* new volume id and the system id are set and saved at the end */
    uint64_t system_id;         /* the source must have it; 0: any */
    int64_t deadline_ms;
};

struct pg_rewind_spec {
    struct pg_source from;      /* the writer; its checkpoint must be of its present timeline */
    const struct pg_history *history; /* the writer's */
    uint64_t system_id;
    int64_t deadline_ms;
};

struct pg_job;

struct pg_job *pg_job_new(struct pg_engine *g, const struct pg_env *env);
void pg_job_free(struct pg_job *j);

/* false: another job runs (ERR_CONFLICT) or the preconditions do not hold; nothing was begun. The
 * server must be down, except for WALEND of a frozen standby. */
bool pg_job_begin_initdb(struct pg_job *j, const struct pg_initdb_spec *s, struct err *e);
bool pg_job_begin_clone(struct pg_job *j, const struct pg_clone_spec *s, struct err *e);
bool pg_job_begin_rewind(struct pg_job *j, const struct pg_rewind_spec *s, struct err *e);
/* End of valid WAL on disk, from the last checkpoint's redo, or from `from` where it is not 0 (a
 * running standby: its position). uncover: segments of newer timelines that hold no record of their
 * own go to <state>/uncovered, the server being down. Recovery opens a segment on the newest timeline
 * that has it, so the copy of one that was cut hides the whole one of the older timeline. */
bool pg_job_begin_walend(struct pg_job *j, struct position from, bool uncover, int64_t deadline_ms,
                         struct err *e);

/* Only pg_controldata (pg_job_control); any time. */
bool pg_job_begin_control(struct pg_job *j, int64_t deadline_ms, struct err *e);

enum pg_job_kind pg_job_kind(const struct pg_job *j);
enum pg_job_state pg_job_state(const struct pg_job *j);
const char *pg_job_step(const struct pg_job *j);      /* for people: "copying", "running scripts" */
int64_t pg_job_started_ms(const struct pg_job *j);
const struct err *pg_job_error(const struct pg_job *j);
/* Clone: bytes copied and the estimate of the whole, both 0 when not known. */
void pg_job_progress(const struct pg_job *j, uint64_t *done, uint64_t *total);
/* Kills what runs; the state becomes FAILED once it is reaped. Markers stay. */
void pg_job_cancel(struct pg_job *j);
/* Back to IDLE after OK or FAILED. */
void pg_job_clear(struct pg_job *j);

/* Results, after PG_JOB_OK. */
struct position pg_job_walend(const struct pg_job *j);          /* WALEND */
const struct pg_control *pg_job_control(const struct pg_job *j); /* not of CLONE; before REWIND */
const char *pg_job_set_aside(const struct pg_job *j); /* REWIND: directory, "" = nothing */
uint64_t pg_job_volume(const struct pg_job *j);                 /* INITDB, CLONE: the new id */

#endif
