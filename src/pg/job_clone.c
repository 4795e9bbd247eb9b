/* CLONE: a base backup beside PGDATA, moved into its place at the end.
 *
 * An old directory that is to be kept until then stays valid: the marker is set only while
 * PGDATA is not a directory to rely on, i.e. from the start when there is none, else from the
 * exchange on. */
#include "pg/job.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "job_private.h"
#include "pg/datadir.h"

#define ASK_MS 5000
#define DROP_MS 5000

enum step {
    STEP_ASK,
    STEP_DROP_SLOT, /* of an earlier clone that did not finish */
    STEP_CLEAN_NEXT,
    STEP_CLEAN_OLD, /* an earlier PGDATA.old, or PGDATA itself where it goes first */
    STEP_COPY,
    STEP_CHECK,
    STEP_EXCHANGE,
    STEP_END,
};

/* ---- the slot on the source ---- */

static bool slot_path(const struct pg_job *j, char dst[PG_PATH_SIZE])
{
    return pg_path(dst, j->env->state_dir, "clone.slot");
}

/* Before it is made, so that an unused slot is never forgotten: it would retain WAL up to the
 * cap. */
static bool note_slot(const struct pg_job *j, struct err *e)
{
    char path[PG_PATH_SIZE], member[PG_MEMBER_SIZE];
    pg_member_name(member, j->volume);
    return (slot_path(j, path) || err_set(e, ERR_INVALID, "clone: the path is too long")) &&
           fd_replace_file(path, member, strlen(member), 0600, e);
}

static void forget_slot(const struct pg_job *j)
{
    char path[PG_PATH_SIZE];
    if (slot_path(j, path))
        unlink(path);
}

/* Begins to drop the noted slot; false when there is none. */
static bool start_drop(struct pg_job *j)
{
    char path[PG_PATH_SIZE], passfile[PG_PATH_SIZE];
    struct buf b;
    buf_init(&b, PG_MEMBER_SIZE);
    bool any = slot_path(j, path) && fd_read_file(path, &b, NULL) &&
               (j->volume_before = pg_member_volume(buf_str(&b))) != 0;
    buf_done(&b);
    if (!any || j->volume_before == j->pgstate->volume ||
        !pg_passfile_path(passfile, j->env, j->from.epoch))
        return false;
    struct pg_conn_spec spec = {.hostaddr = j->from.hostaddr,
                                .port = j->from.port,
                                .user = j->env->repl_user,
                                .passfile = passfile,
                                .walsender = true,
                                .once = true};
    j->conn = pg_conn_new(j->engine, &spec);
    j->sent = false;
    pg_conn_open(j->conn);
    return true;
}

/* Whatever the outcome, the clone goes on: the slot may be long gone or on another server. */
static bool drop_ended(struct pg_job *j, int64_t now)
{
    char sql[64], member[PG_MEMBER_SIZE];
    enum pg_conn_state s = pg_conn_state(j->conn);
    if (s == PG_CONN_IDLE && !j->sent) {
        pg_member_name(member, j->volume_before);
        must(str_format(sql, sizeof(sql), "DROP_REPLICATION_SLOT %s WAIT", member));
        j->sent = pg_conn_exec(j->conn, sql, now + DROP_MS, NULL);
        return !j->sent;
    }
    return s == PG_CONN_OFF || s == PG_CONN_IDLE;
}

/* ---- the copy ---- */

static void copy(struct pg_job *j)
{
    struct buf info;
    char member[PG_MEMBER_SIZE];
    const char *argv[20];
    size_t n = 0;
    buf_init(&info, 8192);
    job_conninfo(j, &info);
    argv[n++] = job_tool(j, "pg_basebackup");
    argv[n++] = "-D";
    argv[n++] = j->next_dir;
    argv[n++] = "-d";
    argv[n++] = buf_str(&info);
    argv[n++] = "--wal-method=stream";
    argv[n++] = "--checkpoint=fast";
    argv[n++] = "--progress";
    argv[n++] = "--no-password";
    struct err e;
    if (j->slot && !note_slot(j, &e)) {
        buf_done(&info);
        job_fail(j, &e);
        return;
    }
    if (j->slot) {
        pg_member_name(member, j->volume);
        argv[n++] = "--create-slot";
        argv[n++] = "--slot";
        argv[n++] = member;
    }
    argv[n] = NULL;
    job_run(j, "copying", argv, NULL);
    buf_done(&info);
}

static bool take_answer(struct pg_job *j, struct err *e)
{
    const struct pg_peer_facts *f = pg_peer_facts(j->peer);
    if (pg_peer_state(j->peer) == PG_PEER_FAILED) {
        *e = *pg_peer_error(j->peer);
        return err_wrap(e, "clone source %s", j->from.hostaddr);
    }
    if (j->system_id && f->system_id != j->system_id)
        return err_set(e, ERR_INVALID, "clone source %s: system identifier %llu, expected %llu",
                       j->from.hostaddr, (unsigned long long)f->system_id,
                       (unsigned long long)j->system_id);
    /* pg_basebackup would copy all of it, and the programs here could not start what came. */
    if (f->server_version / 10000 != j->env->major)
        return err_set(e, ERR_INVALID, "clone source %s: it is PostgreSQL %u, the binaries here are %u",
                       j->from.hostaddr, f->server_version / 10000, j->env->major);
    j->system_id = f->system_id;
    pg_peer_free(j->peer);
    j->peer = NULL;
    return true;
}

/* The copy is complete: it must be what we asked for, and can never start as a primary. */
static bool check_copy(struct pg_job *j, struct err *e)
{
    struct pg_env next = *j->env;
    struct pg_datadir d;
    str_copy(next.data_dir, sizeof(next.data_dir), j->next_dir);
    /* The markers are not about this one. */
    if (!str_copy(next.state_dir, sizeof(next.state_dir), j->next_dir) ||
        !pg_datadir_look(&next, j->system_id, &d, e))
        return false;
    if (d.state != DATA_OK)
        return err_set(e, ERR_CORRUPT, "the copy is not usable: %s", d.why);
    return pg_standby_signal(&next, e);
}

static bool exchange(struct pg_job *j, struct err *e)
{
    if (!pg_marker_set(j->env, PG_MARK_CLONE, "moving the copy into place", e))
        return false;
    if (access(j->env->data_dir, F_OK) == 0 && rmdir(j->env->data_dir) != 0) {
        if (j->replace == PG_REPLACE_NOTHING || j->remove_first)
            return err_set(e, ERR_CONFLICT, "%s is not empty", j->env->data_dir);
        if (!job_move(j->env->data_dir, j->old_dir, e))
            return false;
    }
    if (!job_move(j->next_dir, j->env->data_dir, e))
        return false;
    j->pgstate->volume = j->volume;
    j->pgstate->system_id = j->system_id;
    if (!pg_state_save(j->env, j->pgstate, e))
        return false;
    forget_slot(j); /* the slot is that of a member now */
    /* What an older marker spoke of is gone; our own goes last. */
    return pg_marker_clear(j->env, PG_MARK_REWIND, e) &&
           pg_marker_clear(j->env, PG_MARK_INITDB, e) && pg_marker_clear(j->env, PG_MARK_CLONE, e);
}

/* Goes to the next step and begins what it waits for. */
static void enter(struct pg_job *j, enum step step)
{
    struct err e;
    j->step = (int)step;
    switch (step) {
    case STEP_ASK:
        j->step_text = "asking the source";
        j->peer = pg_peer_new(j->engine, j->env);
        pg_peer_ask(j->peer, j->from.hostaddr, j->from.port, j->from.epoch,
                    j->started_ms + ASK_MS);
        return;
    case STEP_DROP_SLOT:
        j->step_text = "dropping the slot of an earlier clone";
        if (!start_drop(j))
            enter(j, STEP_CLEAN_NEXT);
        return;
    case STEP_CLEAN_NEXT:
        job_remove_tree(j, j->next_dir);
        return;
    case STEP_CLEAN_OLD:
        if ((j->replace == PG_REPLACE_NOTHING || j->remove_first) &&
            !pg_marker_set(j->env, PG_MARK_CLONE, "copying", &e))
            job_fail(j, &e);
        else
            job_remove_tree(j, j->remove_first || j->replace == PG_REPLACE_NOTHING
                                   ? j->env->data_dir
                                   : j->old_dir);
        return;
    case STEP_COPY:
        copy(j);
        return;
    case STEP_CHECK:
        j->step_text = "checking the copy";
        if (!check_copy(j, &e))
            job_fail(j, &e);
        else
            enter(j, STEP_EXCHANGE);
        return;
    case STEP_EXCHANGE:
        j->step_text = "moving the copy into place";
        if (!exchange(j, &e))
            job_fail(j, &e);
        else if (j->replace == PG_REPLACE_REMOVE)
            enter(j, STEP_END);
        else
            job_done(j);
        return;
    case STEP_END:
        job_remove_tree(j, j->old_dir);
        return;
    }
}

static void advance(struct pg_job *j, int64_t now)
{
    struct err e;
    if (j->step == STEP_ASK) {
        if (pg_peer_state(j->peer) == PG_PEER_RUNNING)
            return;
        if (!take_answer(j, &e))
            job_fail(j, &e);
        else
            enter(j, STEP_DROP_SLOT);
    } else if (j->step == STEP_DROP_SLOT) {
        if (!drop_ended(j, now))
            return;
        pg_conn_free(j->conn);
        j->conn = NULL;
        enter(j, STEP_CLEAN_NEXT);
    } else if (j->step == STEP_END) {
        proc_free(j->proc); /* the clone is in place; what is left of the old one is only space */
        j->proc = NULL;
        job_done(j);
    } else if (job_child_ok(j)) {
        enter(j, (enum step)(j->step + 1));
    }
}

/* Nothing that may be the only copy of something is removed unless the caller says so. */
static bool may_replace(struct pg_job *j, const struct pg_clone_spec *s, struct err *e)
{
    struct pg_datadir d;
    if (!pg_datadir_look(j->env, 0, &d, e))
        return false;
    bool own_cut = d.state == DATA_PARTIAL && !d.marker[PG_MARK_REWIND];
    if (s->replace == PG_REPLACE_NOTHING && d.state != DATA_EMPTY && !own_cut)
        return err_set(e, ERR_CONFLICT, "clone: %s has content%s%s", j->env->data_dir,
                       d.why[0] ? ": " : "", d.why);
    j->replace = s->replace;
    /* Nothing here is worth keeping, but PGDATA.old may be: a clone that was cut while it moved. */
    if (s->replace == PG_REPLACE_KEEP && (own_cut || d.state == DATA_EMPTY))
        j->replace = PG_REPLACE_NOTHING;
    if (s->remove_first && s->replace != PG_REPLACE_REMOVE)
        return err_set(e, ERR_BUG, "clone: remove_first without PG_REPLACE_REMOVE");
    return true;
}

bool pg_job_begin_clone(struct pg_job *j, const struct pg_clone_spec *s, struct err *e)
{
    if (!job_claim(j, PG_JOB_CLONE, s->deadline_ms, e) || !may_replace(j, s, e) ||
        !job_set_source(j, &s->from, e))
        return false;
    if (!str_format(j->old_dir, sizeof(j->old_dir), "%s.%s", j->env->data_dir,
                    s->replace == PG_REPLACE_KEEP ? "old" : "drop"))
        return err_set(e, ERR_INVALID, "clone: the path is too long");
    j->remove_first = s->remove_first;
    j->slot = s->slot;
    j->pgstate = s->state;
    j->system_id = s->system_id;
    j->volume = pg_volume_new();
    j->advance = advance;
    j->state = PG_JOB_RUNNING;
    enter(j, STEP_ASK);
    return true;
}
