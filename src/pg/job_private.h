/* Inside of struct pg_job: the slot (job.c) and the four jobs (job_*.c).
 *
 * A job is a chain of steps: a step starts a child or asks a session and returns; job.c calls
 * `advance` again when the child has ended, and in every turn while there is none. */
#ifndef PGHAD_SRC_PG_JOB_PRIVATE_H
#define PGHAD_SRC_PG_JOB_PRIVATE_H

#include "loop/proc.h"
#include "pg/conn.h"
#include "pg/job.h"
#include "pg/peer.h"
#include "pg/task.h"

#define JOB_ARGS_MAX 64
#define JOB_SCRIPTS_MAX 64
#define JOB_TEXT_SIZE 1024

struct job_source {
    char hostaddr[64], host[256], sslmode[16];
    uint16_t port;
    uint64_t epoch;
};

struct pg_job {
    struct pg_engine *engine;
    const struct pg_env *env;
    struct pg_driver driver;

    enum pg_job_kind kind;
    enum pg_job_state state;
    const char *step_text;
    int step;
    void (*advance)(struct pg_job *j, int64_t now);
    bool cancelled;
    int64_t started_ms, deadline_ms;
    struct err error;
    struct proc *proc;

    char next_dir[PG_PATH_SIZE]; /* PGDATA.new */
    struct pg_state *pgstate;    /* borrowed from the caller */
    uint64_t volume;
    struct job_source from;
    struct pg_peer *peer;
    uint64_t system_id;
    struct pg_control control;

    /* initdb */
    struct proc *server;
    struct pg_env init_env;      /* as env, with the temporary server's socket */
    struct pg_conn *conn;
    struct pg_task *task;
    char database[PG_NAME_SIZE];
    char initdb_args[JOB_TEXT_SIZE];
    char script_dir[PG_PATH_SIZE];
    bool checksums;
    struct pg_conf *conf;        /* borrowed */
    char *script[JOB_SCRIPTS_MAX]; /* owned names, sorted */
    size_t n_scripts, script_at;

    /* clone */
    enum pg_replace replace;
    bool remove_first, slot, sent;
    uint64_t volume_before;      /* of an earlier clone that did not finish */
    char old_dir[PG_PATH_SIZE];  /* where the old PGDATA goes */

    /* rewind */
    struct pg_history writer;
    struct position fork;
    char aside[PG_PATH_SIZE];

    /* walend */
    struct position start, end;
    uint32_t candidate[PG_HISTORY_MAX];
    unsigned n_candidates, candidate_at;
    bool uncover;
    bool candidates_cut; /* lower ones did not fit */
};

/* Claims the slot. */
bool job_claim(struct pg_job *j, enum pg_job_kind kind, int64_t deadline_ms, struct err *e);
void job_fail(struct pg_job *j, const struct err *e);
void job_done(struct pg_job *j);
/* Starts a child with a clean environment (LC_ALL=C, no PG* variables) plus extra
 * (NULL-terminated, may be NULL). Fails the job when it cannot. */
void job_run(struct pg_job *j, const char *text, const char *const *argv, const char *const *extra);
struct proc *job_start(struct pg_job *j, const char *const *argv, const char *const *extra,
                       int64_t deadline_ms, struct err *e);
/* Path of a program of PostgreSQL; the text lives until the next but three calls. */
const char *job_tool(struct pg_job *j, const char *name);
/* Ends the finished child: true when it was successful, else the job has failed with its last
 * words. */
bool job_child_ok(struct pg_job *j);
void job_remove_tree(struct pg_job *j, const char *path);
/* Copies and checks what the caller gave. */
bool job_set_source(struct pg_job *j, const struct pg_source *s, struct err *e);
/* libpq connection string of the source. */
void job_conninfo(const struct pg_job *j, struct buf *b);
/* Sets PGDATA.new in its place: the directory of PGDATA synced afterwards. */
bool job_move(const char *from, const char *to, struct err *e);

void job_release_initdb(struct pg_job *j);

#endif
