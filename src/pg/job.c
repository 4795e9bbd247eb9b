/* The slot for one long operation, and what its jobs share. */
#include "pg/job.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "job_private.h"

#define OUT_MAX (1024 * 1024)
#define ENV_MAX 512
#define WAIT_TICK_MS 10

/* ---- children ---- */

const char *job_tool(struct pg_job *j, const char *name)
{
    static char path[4][PG_PATH_SIZE];
    static unsigned at;
    at = (at + 1) % 4;
    must(pg_path(path[at], j->env->bin_dir, name));
    return path[at];
}

/* The agent's environment may hold PGHOST, PGOPTIONS or a password: none of it is for the tools. */
static const char **clean_env(const char *const *extra)
{
    const char **env = calloc(ENV_MAX, sizeof(*env));
    size_t n = 0;
    must(env != NULL);
    env[n++] = "LC_ALL=C";
    for (size_t i = 0; extra && extra[i] && n < ENV_MAX - 1; i++)
        env[n++] = extra[i];
    size_t own = n;
    for (char **p = environ; *p && n < ENV_MAX - 1; p++) {
        size_t key = strcspn(*p, "=") + 1;
        bool skip = str_starts(*p, "PG") || str_starts(*p, "LC_") || str_starts(*p, "LANG") ||
                    str_starts(*p, "NOTIFY_SOCKET=");
        for (size_t i = 0; i < own; i++)
            skip = skip || strncmp(*p, env[i], key) == 0;
        if (!skip)
            env[n++] = *p;
    }
    return env;
}

struct proc *job_start(struct pg_job *j, const char *const *argv, const char *const *extra,
                       int64_t deadline_ms, struct err *e)
{
    const char **env = clean_env(extra);
    struct proc_spec spec = {
        .argv = argv, .env = env, .out_max = OUT_MAX, .deadline_ms = deadline_ms};
    struct proc *p = proc_start(pg_engine_loop(j->engine), &spec, e);
    free(env);
    return p;
}

void job_run(struct pg_job *j, const char *text, const char *const *argv, const char *const *extra)
{
    struct err e;
    j->step_text = text;
    j->proc = job_start(j, argv, extra, j->deadline_ms, &e);
    if (!j->proc) {
        err_wrap(&e, "%s", text);
        job_fail(j, &e);
    }
}

bool job_child_ok(struct pg_job *j)
{
    bool ok = proc_ok(j->proc);
    if (!ok) {
        char words[300];
        struct err e;
        proc_telling_line(j->proc, words, sizeof(words));
        if (proc_timed_out(j->proc))
            err_set(&e, ERR_TIMEOUT, "%s: deadline passed", j->step_text);
        else
            err_set(&e, ERR_TRANSIENT, "%s: %s", j->step_text, words[0] ? words : "failed");
        job_fail(j, &e);
        return false;
    }
    proc_free(j->proc);
    j->proc = NULL;
    return true;
}

/* A child, because a tree may be large and the file system slow. */
void job_remove_tree(struct pg_job *j, const char *path)
{
    const char *argv[] = {"/bin/rm", "-rf", "--one-file-system", "--", path, NULL};
    job_run(j, "removing an older directory", argv, NULL);
}

/* ---- the source ---- */

bool job_set_source(struct pg_job *j, const struct pg_source *s, struct err *e)
{
    if (!s->hostaddr || !str_copy(j->from.hostaddr, sizeof(j->from.hostaddr), s->hostaddr) ||
        !str_copy(j->from.host, sizeof(j->from.host), s->host ? s->host : "") ||
        !str_copy(j->from.sslmode, sizeof(j->from.sslmode), s->sslmode ? s->sslmode : "prefer"))
        return err_set(e, ERR_INVALID, "source: an address, name or mode is missing or too long");
    j->from.port = s->port;
    j->from.epoch = s->epoch;
    return pg_passfile_write(j->env, s->epoch, e);
}

void job_conninfo(const struct pg_job *j, struct buf *b)
{
    char port[8], passfile[PG_PATH_SIZE];
    must(str_format(port, sizeof(port), "%u", j->from.port));
    must(pg_passfile_path(passfile, j->env, j->from.epoch));
    pg_conninfo_add(b, "hostaddr", j->from.hostaddr);
    if (j->from.host[0])
        pg_conninfo_add(b, "host", j->from.host);
    pg_conninfo_add(b, "port", port);
    pg_conninfo_add(b, "user", j->env->repl_user);
    pg_conninfo_add(b, "dbname", "postgres");
    pg_conninfo_add(b, "passfile", passfile);
    pg_conninfo_add(b, "application_name", "pghad");
    pg_conninfo_add(b, "sslmode", j->from.sslmode);
    pg_conninfo_add(b, "gssencmode", "disable");
    pg_conninfo_add(b, "connect_timeout", "10");
    pg_conninfo_add(b, "keepalives_idle", "5");
    pg_conninfo_add(b, "keepalives_interval", "2");
    pg_conninfo_add(b, "keepalives_count", "5");
    pg_conninfo_add(b, "tcp_user_timeout", "20000");
    must(!b->overflow);
}

bool job_move(const char *from, const char *to, struct err *e)
{
    char parent[PG_PATH_SIZE];
    if (rename(from, to) != 0)
        return err_errno(e, ERR_FATAL, "rename %s to %s", from, to);
    str_copy(parent, sizeof(parent), to);
    *strrchr(parent, '/') = '\0';
    return fd_sync_dir(parent, e);
}

/* ---- the slot ---- */

bool job_claim(struct pg_job *j, enum pg_job_kind kind, int64_t deadline_ms, struct err *e)
{
    if (j->state == PG_JOB_RUNNING)
        return err_set(e, ERR_CONFLICT, "another operation is running: %s", pg_job_step(j));
    pg_job_clear(j);
    j->kind = kind;
    j->deadline_ms = deadline_ms;
    j->started_ms = loop_now(pg_engine_loop(j->engine));
    j->step = 0;
    j->step_text = "beginning";
    return true;
}

static void release(struct pg_job *j)
{
    proc_free(j->proc);
    j->proc = NULL;
    pg_peer_free(j->peer);
    j->peer = NULL;
    job_release_initdb(j);
}

void job_fail(struct pg_job *j, const struct err *e)
{
    j->error = *e;
    j->state = PG_JOB_FAILED;
    release(j);
}

void job_done(struct pg_job *j)
{
    j->state = PG_JOB_OK;
    j->step_text = "done";
    release(j);
}

static void job_prepare(void *ctx, struct loop *l)
{
    const struct pg_job *j = ctx;
    if (j->state != PG_JOB_RUNNING)
        return;
    if (j->deadline_ms)
        loop_wake_at(l, j->deadline_ms);
    if (j->cancelled || (j->proc && proc_state(j->proc) == PROC_DONE))
        loop_wake_now(l);
    else if (!j->proc)
        loop_wake_at(l, loop_now(l) + WAIT_TICK_MS); /* waits for a session or the server's start */
}

static void job_dispatch(void *ctx, struct loop *l)
{
    struct pg_job *j = ctx;
    int64_t now = loop_now(l);
    struct err e;
    if (j->state != PG_JOB_RUNNING)
        return;
    if (j->proc && proc_state(j->proc) != PROC_DONE) {
        if (j->cancelled)
            proc_kill(j->proc, SIGKILL);
        return;
    }
    if (j->cancelled) {
        err_set(&e, ERR_TRANSIENT, "%s: cancelled", j->step_text);
        job_fail(j, &e);
    } else if (!j->proc && j->deadline_ms && now >= j->deadline_ms) {
        err_set(&e, ERR_TIMEOUT, "%s: deadline passed", j->step_text);
        job_fail(j, &e);
    } else {
        j->advance(j, now);
    }
}

/* ---- life ---- */

struct pg_job *pg_job_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_job *j = calloc(1, sizeof(*j));
    must(j != NULL);
    j->engine = g;
    j->env = env;
    j->step_text = "idle";
    must(str_format(j->next_dir, sizeof(j->next_dir), "%s.new", env->data_dir));
    j->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = j,
                                   .prepare = job_prepare,
                                   .dispatch = job_dispatch};
    pg_engine_add(g, &j->driver);
    return j;
}

void pg_job_free(struct pg_job *j)
{
    if (!j)
        return;
    pg_engine_remove(j->engine, &j->driver);
    release(j);
    free(j);
}

void pg_job_cancel(struct pg_job *j)
{
    if (j->state == PG_JOB_RUNNING)
        j->cancelled = true;
}

void pg_job_clear(struct pg_job *j)
{
    if (j->state == PG_JOB_RUNNING)
        return;
    j->state = PG_JOB_IDLE;
    j->kind = PG_JOB_NONE;
    j->step_text = "idle";
    j->cancelled = false;
    j->volume = 0;
    j->aside[0] = '\0';
    j->end = (struct position){0};
    j->error = (struct err){0};
}

enum pg_job_kind pg_job_kind(const struct pg_job *j)
{
    return j->kind;
}

enum pg_job_state pg_job_state(const struct pg_job *j)
{
    return j->state;
}

const char *pg_job_step(const struct pg_job *j)
{
    return j->step_text;
}

int64_t pg_job_started_ms(const struct pg_job *j)
{
    return j->started_ms;
}

const struct err *pg_job_error(const struct pg_job *j)
{
    return &j->error;
}

/* pg_basebackup -P: "  12345/67890 kB (18%), 0/1 tablespace (...)", the last one counts. */
void pg_job_progress(const struct pg_job *j, uint64_t *done, uint64_t *total)
{
    *done = *total = 0;
    if (j->kind != PG_JOB_CLONE || !j->proc)
        return;
    const char *tail = proc_err_tail(j->proc);
    for (const char *p = strstr(tail, " kB ("); p; p = strstr(p + 1, " kB (")) {
        const char *s = p;
        while (s > tail && strchr("0123456789/", s[-1]))
            s--;
        unsigned long long a, b;
        if (sscanf(s, "%18llu/%18llu kB", &a, &b) == 2) {
            *done = (uint64_t)a * 1024;
            *total = (uint64_t)b * 1024;
        }
    }
}

struct position pg_job_walend(const struct pg_job *j)
{
    return j->end;
}

const struct pg_control *pg_job_control(const struct pg_job *j)
{
    return &j->control;
}

const char *pg_job_set_aside(const struct pg_job *j)
{
    return j->aside;
}

uint64_t pg_job_volume(const struct pg_job *j)
{
    return j->volume;
}
