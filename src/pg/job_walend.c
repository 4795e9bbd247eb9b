/* WALEND: where the valid WAL on disk ends, by PostgreSQL's own tools.
 *
 * From the last checkpoint's redo, following the timelines that descend from it, the highest first:
 * the last record of this directory is on the highest timeline that has one. */
#include "pg/job.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "job_private.h"

enum step { STEP_CONTROL, STEP_CONTROL_DONE, STEP_DUMP_DONE };

static bool wal_dir(const struct pg_job *j, char dst[PG_PATH_SIZE])
{
    return pg_path(dst, j->env->data_dir, "pg_wal");
}

/* Keeps the list descending. */
static void add_candidate(struct pg_job *j, uint32_t tl)
{
    if (j->n_candidates == PG_HISTORY_MAX)
        return;
    unsigned i = j->n_candidates++;
    while (i > 0 && j->candidate[i - 1] < tl) {
        j->candidate[i] = j->candidate[i - 1];
        i--;
    }
    j->candidate[i] = tl;
}

/* Every timeline with a history here whose WAL goes on from the start. */
static bool find_candidates(struct pg_job *j, struct err *e)
{
    char dir[PG_PATH_SIZE];
    if (!wal_dir(j, dir))
        return err_set(e, ERR_INVALID, "end of WAL: the path is too long");
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, ERR_FATAL, "open %s", dir);
    j->n_candidates = j->candidate_at = 0;
    struct dirent *de;
    while ((de = readdir(d))) {
        struct pg_history h;
        char hex[9];
        uint64_t tl;
        if (strlen(de->d_name) != 16 || strcmp(de->d_name + 8, ".history") != 0)
            continue;
        memcpy(hex, de->d_name, 8);
        hex[8] = '\0';
        if (!str_to_hex64(hex, &tl) || (uint32_t)tl <= j->start.timeline)
            continue;
        if (pg_history_read(&h, dir, (uint32_t)tl, NULL) && !h.placeholder &&
            pg_history_contains(&h, j->start.timeline, j->start.lsn))
            add_candidate(j, (uint32_t)tl);
    }
    closedir(d);
    add_candidate(j, j->start.timeline);
    return true;
}

static void dump(struct pg_job *j)
{
    char dir[PG_PATH_SIZE], lsn[20], tl[16];
    struct pg_history h;
    uint32_t n = j->candidate[j->candidate_at];
    uint64_t from = j->start.lsn;
    must(wal_dir(j, dir));
    /* Records of timeline n begin at its branch point. */
    if (n != j->start.timeline && pg_history_read(&h, dir, n, NULL) && h.n > 0)
        from = h.branch[h.n - 1].end;
    pg_lsn_format(lsn, from);
    must(str_format(tl, sizeof(tl), "%u", n));
    const char *argv[] = {job_tool(j, "pg_waldump"), "--stats", "-p", dir, "-t", tl, "-s", lsn,
                          NULL};
    j->step = STEP_DUMP_DONE;
    job_run(j, "reading WAL", argv, NULL);
}

/* pg_waldump ends with an error at the end of WAL: its exit status says nothing. */
static void take_dump(struct pg_job *j)
{
    uint64_t end;
    struct err e = {0};
    bool found = !proc_timed_out(j->proc) && pg_waldump_parse(buf_str(proc_out(j->proc)), &end, &e);
    if (!found && (proc_timed_out(j->proc) || e.kind == ERR_CORRUPT)) {
        if (job_child_ok(j))
            job_fail(j, &e); /* it was content with what nobody can read */
        return;
    }
    uint32_t tl = j->candidate[j->candidate_at];
    if (found)
        j->end = (struct position){.timeline = tl, .lsn = end};
    else if (++j->candidate_at < j->n_candidates) {
        proc_free(j->proc);
        j->proc = NULL;
        dump(j);
        return;
    } else if (j->control.redo_lsn != j->start.lsn) {
        j->end = j->start; /* a replayed position after which there is nothing */
    } else {
        err_set(&e, ERR_CORRUPT, "end of WAL: no valid record at the last checkpoint's redo: %s",
                proc_err_tail(j->proc));
        job_fail(j, &e);
        return;
    }
    job_done(j);
}

static void advance(struct pg_job *j, int64_t now)
{
    struct err e;
    (void)now;
    switch ((enum step)j->step) {
    case STEP_CONTROL: {
        const char *argv[] = {job_tool(j, "pg_controldata"), "-D", j->env->data_dir, NULL};
        j->step = STEP_CONTROL_DONE;
        job_run(j, "reading pg_control", argv, NULL);
        return;
    }
    case STEP_CONTROL_DONE:
        if (proc_ok(j->proc) && !pg_control_parse(&j->control, buf_str(proc_out(j->proc)), &e)) {
            job_fail(j, &e);
            return;
        }
        if (!job_child_ok(j))
            return;
        if (j->kind == PG_JOB_CONTROL) {
            job_done(j);
            return;
        }
        if (j->start.lsn == 0)
            j->start = (struct position){.timeline = j->control.timeline,
                                         .lsn = j->control.redo_lsn};
        if (!find_candidates(j, &e))
            job_fail(j, &e);
        else
            dump(j);
        return;
    case STEP_DUMP_DONE:
        take_dump(j);
        return;
    }
}

bool pg_job_begin_walend(struct pg_job *j, struct position from, int64_t deadline_ms, struct err *e)
{
    if (from.lsn != 0 && from.timeline == 0)
        return err_set(e, ERR_INVALID, "end of WAL: a position without a timeline");
    if (!job_claim(j, PG_JOB_WALEND, deadline_ms, e))
        return false;
    j->start = from;
    j->advance = advance;
    j->state = PG_JOB_RUNNING;
    j->advance(j, j->started_ms);
    return true;
}

bool pg_job_begin_control(struct pg_job *j, int64_t deadline_ms, struct err *e)
{
    if (!job_claim(j, PG_JOB_CONTROL, deadline_ms, e))
        return false;
    j->advance = advance;
    j->state = PG_JOB_RUNNING;
    j->advance(j, j->started_ms);
    return true;
}
