/* REWIND: own WAL after the fork set aside, then pg_rewind against the writer.
 *
 * pg_rewind does crash recovery first where it is needed, in single-user mode, which refuses a
 * directory with standby.signal; the marker keeps such a directory from ever being started. */
#include "pg/job.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "job_private.h"
#include "pg/datadir.h"

#define ASK_MS 5000
#define FILES_MAX 8192

enum step { STEP_ASK, STEP_CONTROL, STEP_CLEAN_ASIDE, STEP_ASIDE, STEP_REWIND };

static void enter(struct pg_job *j, enum step step);

/* ---- before ---- */

static bool take_answer(struct pg_job *j, struct err *e)
{
    const struct pg_peer_facts *f = pg_peer_facts(j->peer);
    if (pg_peer_state(j->peer) == PG_PEER_FAILED) {
        *e = *pg_peer_error(j->peer);
        return err_wrap(e, "rewind source %s", j->from.hostaddr);
    }
    if (f->system_id != j->system_id)
        return err_set(e, ERR_INVALID, "rewind source %s: system identifier %llu, expected %llu",
                       j->from.hostaddr, (unsigned long long)f->system_id,
                       (unsigned long long)j->system_id);
    if (f->in_recovery != TRI_NO || f->timeline != j->writer.timeline)
        return err_set(e, ERR_TRANSIENT, "rewind source %s: not a writer on timeline %u",
                       j->from.hostaddr, j->writer.timeline);
    /* pg_rewind reads the source's timeline from its control file: before the first checkpoint on a
     * new timeline it would compare with the old one and leave a directory that cannot start. */
    if (f->checkpoint_timeline != f->timeline)
        return err_set(e, ERR_TRANSIENT, "rewind source %s: no checkpoint on timeline %u yet",
                       j->from.hostaddr, f->timeline);
    pg_peer_free(j->peer);
    j->peer = NULL;
    return true;
}

/* pg_rewind judges by the timeline of the last checkpoint, and after a clean stop it does no recovery first. A
 * server that was promoted by hand and stopped before its checkpoint would be left as it is, with WAL that
 * nobody has. An error here becomes a clone. */
static bool seen_by_pg_rewind(struct pg_job *j, struct err *e)
{
    uint32_t highest;
    bool recovers = j->control.state != PG_CONTROL_SHUT_DOWN &&
                    j->control.state != PG_CONTROL_SHUT_DOWN_RECOVERY;
    if (!pg_history_highest(j->env, &highest, e))
        return false;
    if (recovers)
        return true;
    /* A higher history may be the writer's, fetched since; how far it has replayed the server knows itself. */
    uint32_t replayed = j->control.min_recovery_timeline;
    if (replayed > j->control.timeline && pg_history_end_of(&j->writer, replayed) == 0)
        highest = replayed;
    if (highest <= j->control.timeline || pg_history_end_of(&j->writer, highest) != 0)
        return true;
    return err_set(e, ERR_INVALID, "rewind: own WAL is of timeline %u, and the last checkpoint in pg_control is "
                   "of timeline %u", highest, j->control.timeline);
}

static bool find_fork(struct pg_job *j, struct err *e)
{
    struct pg_history own;
    char dir[PG_PATH_SIZE];
    uint32_t tl = j->control.timeline;
    if (j->control.min_recovery_timeline > tl)
        tl = j->control.min_recovery_timeline;
    if (!seen_by_pg_rewind(j, e))
        return false;
    if (!pg_path(dir, j->env->data_dir, "pg_wal") || !pg_history_read(&own, dir, tl, e))
        return err_wrap(e, "own timeline");
    j->fork = pg_history_fork(&own, &j->writer);
    if (j->fork.timeline == 0)
        return err_set(e, ERR_INVALID, "rewind: no common timeline with the writer");
    if (j->fork.lsn == UINT64_MAX)
        j->fork.lsn = j->control.checkpoint_lsn; /* same timeline: nothing is beyond its end */
    return true;
}

/* ---- setting aside ---- */

/* Is this a WAL file of ours at or after the fork, or a history of a later timeline? */
static bool is_diverged(const struct pg_job *j, const char *name)
{
    char part[9];
    uint64_t tl, hi, lo;
    if (strlen(name) < 16 || strspn(name, "0123456789ABCDEF") < 8)
        return false;
    memcpy(part, name, 8);
    part[8] = '\0';
    if (!str_to_hex64(part, &tl) || tl < j->fork.timeline)
        return false;
    if (strcmp(name + 8, ".history") == 0)
        return tl > j->fork.timeline;
    if (strspn(name, "0123456789ABCDEF") != 24 ||
        (name[24] != '\0' && strcmp(name + 24, ".partial") != 0))
        return false;
    memcpy(part, name + 8, 8);
    if (!str_to_hex64(part, &hi))
        return false;
    memcpy(part, name + 16, 8);
    if (!str_to_hex64(part, &lo))
        return false;
    uint64_t segment = hi * (0x100000000u / j->control.segment_bytes) + lo;
    return segment >= j->fork.lsn / j->control.segment_bytes;
}

/* Starts cp of all diverged files into <aside>.new; nothing to copy is fine. */
static bool start_copy(struct pg_job *j, struct err *e)
{
    static const char *argv[FILES_MAX + 8]; /* too large for a stack frame */
    char dir[PG_PATH_SIZE], target[PG_PATH_SIZE];
    if (!pg_path(dir, j->env->data_dir, "pg_wal") ||
        !str_format(target, sizeof(target), "%s.new", j->aside) || !fd_mkdirs(target, 0700, e))
        return false;
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, ERR_FATAL, "open %s", dir);
    size_t n = 0, first;
    argv[n++] = "/bin/cp";
    argv[n++] = "--preserve=timestamps";
    argv[n++] = "--reflink=auto";
    argv[n++] = "-t";
    argv[n++] = target;
    argv[n++] = "--";
    first = n;
    struct dirent *de;
    bool ok = true;
    while (ok && (de = readdir(d))) {
        char *path = NULL;
        if (!is_diverged(j, de->d_name))
            continue;
        if (n == FILES_MAX)
            ok = err_set(e, ERR_INVALID, "rewind: more than %d diverged WAL files", FILES_MAX);
        else if (asprintf(&path, "%s/%s", dir, de->d_name) > 0)
            argv[n++] = path;
    }
    closedir(d);
    argv[n] = NULL;
    if (ok)
        job_run(j, "setting diverged WAL aside", argv, NULL);
    for (size_t i = first; i < n; i++)
        free((void *)(uintptr_t)argv[i]);
    return ok;
}

/* What was left behind, for people: written last, so that its presence means complete. */
static bool write_receipt(struct pg_job *j, struct err *e)
{
    char temp[PG_PATH_SIZE], path[PG_PATH_SIZE], fork[20], stamp[40];
    struct buf b;
    if (!str_format(temp, sizeof(temp), "%s.new", j->aside) || !pg_path(path, temp, "receipt"))
        return err_set(e, ERR_INVALID, "rewind: the path is too long");
    buf_init(&b, 4096);
    pg_lsn_format(fork, j->fork.lsn);
    str_microtime(stamp, sizeof(stamp), clock_wall_us());
    buf_printf(&b, "time=%s\nsystem_id=%llu\nfork_timeline=%u\nfork_lsn=%s\n", stamp,
               (unsigned long long)j->system_id, j->fork.timeline, fork);
    pg_lsn_format(fork, j->control.checkpoint_lsn);
    buf_printf(&b, "checkpoint_timeline=%u\ncheckpoint_lsn=%s\nwriter_timeline=%u\n",
               j->control.timeline, fork, j->writer.timeline);
    bool ok = fd_replace_file(path, buf_str(&b), b.len, 0600, e) && job_move(temp, j->aside, e);
    buf_done(&b);
    return ok;
}

static bool aside_path(struct pg_job *j, struct err *e)
{
    return str_format(j->aside, sizeof(j->aside), "%s/diverged/%u-%08X-%08X", j->env->state_dir,
                      j->fork.timeline, (unsigned)(j->fork.lsn >> 32), (unsigned)j->fork.lsn) ||
           err_set(e, ERR_INVALID, "rewind: the path is too long");
}

/* ---- the rewind ---- */

static bool prepare_dir(struct pg_job *j, struct err *e)
{
    static const char *const names[] = {"standby.signal", "recovery.signal"};
    char path[PG_PATH_SIZE];
    if (!pg_marker_set(j->env, PG_MARK_REWIND, "pg_rewind", e) ||
        !pg_postmaster_pid_forget(j->env, e))
        return false;
    for (size_t i = 0; i < 2; i++) {
        if (!pg_path(path, j->env->data_dir, names[i]))
            return err_set(e, ERR_INVALID, "rewind: the path is too long");
        if (unlink(path) != 0 && errno != ENOENT)
            return err_errno(e, ERR_FATAL, "remove %s", path);
    }
    return true;
}

static void start_rewind(struct pg_job *j)
{
    struct buf info;
    struct err e;
    char source[1100];
    if (!prepare_dir(j, &e)) {
        job_fail(j, &e);
        return;
    }
    buf_init(&info, 1024);
    job_conninfo(j, &info);
    must(str_format(source, sizeof(source), "--source-server=%s", buf_str(&info)));
    buf_done(&info);
    const char *argv[] = {job_tool(j, "pg_rewind"), "-D", j->env->data_dir, source, NULL};
    job_run(j, "rewinding", argv, NULL);
}

/* Before this line pg_rewind has changed nothing but what crash recovery does. */
static bool untouched(const struct pg_job *j)
{
    return !proc_timed_out(j->proc) && strlen(proc_err_tail(j->proc)) < 3500 &&
           !strstr(proc_err_tail(j->proc), "rewinding from last common checkpoint");
}

static void take_rewind(struct pg_job *j)
{
    struct err e;
    if (!proc_ok(j->proc)) {
        bool clear = untouched(j) && pg_standby_signal(j->env, NULL);
        job_child_ok(j);
        if (clear)
            pg_marker_clear(j->env, PG_MARK_REWIND, NULL);
        return;
    }
    if (!job_child_ok(j))
        return;
    if (!pg_standby_signal(j->env, &e) || !pg_marker_clear(j->env, PG_MARK_REWIND, &e))
        job_fail(j, &e);
    else
        job_done(j);
}

/* ---- steps ---- */

static void take_control(struct pg_job *j)
{
    struct err e;
    if (proc_ok(j->proc) && !pg_control_parse(&j->control, buf_str(proc_out(j->proc)), &e)) {
        job_fail(j, &e);
        return;
    }
    if (!job_child_ok(j))
        return;
    char receipt[PG_PATH_SIZE];
    if (j->control.system_id != j->system_id)
        err_set(&e, ERR_INVALID, "rewind: this directory belongs to another cluster");
    else if (find_fork(j, &e) && aside_path(j, &e)) {
        /* A rewind that was cut and is begun again has its WAL set aside already. */
        bool kept = pg_path(receipt, j->aside, "receipt") && access(receipt, F_OK) == 0;
        enter(j, kept ? STEP_REWIND : STEP_CLEAN_ASIDE);
        return;
    }
    job_fail(j, &e);
}

static void enter(struct pg_job *j, enum step step)
{
    struct err e;
    char temp[PG_PATH_SIZE];
    j->step = (int)step;
    switch (step) {
    case STEP_ASK:
        j->step_text = "asking the source";
        j->peer = pg_peer_new(j->engine, j->env);
        pg_peer_ask(j->peer, j->from.hostaddr, j->from.port, j->from.epoch,
                    j->started_ms + ASK_MS);
        return;
    case STEP_CONTROL: {
        const char *argv[] = {job_tool(j, "pg_controldata"), "-D", j->env->data_dir, NULL};
        job_run(j, "reading pg_control", argv, NULL);
        return;
    }
    case STEP_CLEAN_ASIDE:
        must(str_format(temp, sizeof(temp), "%s.new", j->aside));
        job_remove_tree(j, temp);
        return;
    case STEP_ASIDE:
        if (!start_copy(j, &e))
            job_fail(j, &e);
        return;
    case STEP_REWIND:
        start_rewind(j);
        return;
    }
}

static void advance(struct pg_job *j, int64_t now)
{
    struct err e;
    (void)now;
    switch ((enum step)j->step) {
    case STEP_ASK:
        if (pg_peer_state(j->peer) == PG_PEER_RUNNING)
            return;
        if (!take_answer(j, &e))
            job_fail(j, &e);
        else
            enter(j, STEP_CONTROL);
        return;
    case STEP_CONTROL:
        take_control(j);
        return;
    case STEP_CLEAN_ASIDE:
        if (job_child_ok(j))
            enter(j, STEP_ASIDE);
        return;
    case STEP_ASIDE:
        if (!job_child_ok(j))
            return;
        if (!write_receipt(j, &e))
            job_fail(j, &e);
        else
            enter(j, STEP_REWIND);
        return;
    case STEP_REWIND:
        take_rewind(j);
        return;
    }
}

bool pg_job_begin_rewind(struct pg_job *j, const struct pg_rewind_spec *s, struct err *e)
{
    struct pg_datadir d;
    if (!job_claim(j, PG_JOB_REWIND, s->deadline_ms, e) ||
        !pg_datadir_look(j->env, s->system_id, &d, e))
        return false;
    bool again = d.state == DATA_PARTIAL && d.marker[PG_MARK_REWIND] && !d.marker[PG_MARK_CLONE] &&
                 !d.marker[PG_MARK_INITDB];
    if (d.state != DATA_OK && !again)
        return err_set(e, ERR_CONFLICT, "rewind: no data directory to rewind: %s", d.why);
    if (!job_set_source(j, &s->from, e))
        return false;
    j->system_id = s->system_id;
    j->writer = *s->history;
    j->advance = advance;
    j->state = PG_JOB_RUNNING;
    enter(j, STEP_ASK);
    return true;
}
