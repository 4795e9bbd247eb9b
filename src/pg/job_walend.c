/* WALEND: where the valid WAL on disk ends, by PostgreSQL's own tools.
 *
 * From the last checkpoint's redo, following the timelines that descend from it, the highest first:
 * the last record of this directory is on the highest timeline that has one. */
#include "pg/job.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "job_private.h"
#include "pg/spare.h"

enum step { STEP_CONTROL, STEP_CONTROL_DONE, STEP_DUMP_DONE };

static bool wal_dir(const struct pg_job *j, char dst[PG_PATH_SIZE])
{
    return pg_path(dst, j->env->data_dir, "pg_wal");
}

/* Keeps the list descending. One that does not fit pushes out the lowest: the last record is on the
 * highest timeline that has one. */
static void add_candidate(struct pg_job *j, uint32_t tl)
{
    if (j->n_candidates == PG_HISTORY_MAX) {
        j->candidates_cut = true;
        if (j->candidate[PG_HISTORY_MAX - 1] > tl)
            return;
        j->n_candidates--;
    }
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
    j->candidates_cut = false;
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

static void segment_name(char dst[32], uint32_t tl, uint64_t segment, uint64_t segment_bytes)
{
    uint64_t per_id = UINT64_C(0x100000000) / segment_bytes;
    must(str_format(dst, 32, "%08X%08X%08X", tl, (unsigned)(segment / per_id),
                    (unsigned)(segment % per_id)));
}

/* The first segment of a newer timeline may have been made and not yet written to: it has no record, and
 * pg_waldump refuses it. On the timeline where reading begins the same would be damage. */
static bool is_untouched(const struct pg_job *j, const char *dir, const char *name)
{
    char path[PG_PATH_SIZE];
    return j->candidate[j->candidate_at] != j->start.timeline && pg_path(path, dir, name) &&
           !pg_segment_begun(path);
}

static bool segment_exists(const char *dir, const char *name)
{
    char path[PG_PATH_SIZE];
    return pg_path(path, dir, name) && access(path, F_OK) == 0;
}

/* Where the reading of candidate n begins, and the unbroken row of segments from there on. False: it
 * has none. */
static bool find_segments(const struct pg_job *j, const char *dir, uint64_t *from, char first[32],
                          char last[32])
{
    struct pg_history h;
    uint32_t n = j->candidate[j->candidate_at];
    uint64_t size = j->control.segment_bytes;
    *from = j->start.lsn;
    /* Records of timeline n begin at its branch point. */
    if (n != j->start.timeline && pg_history_read(&h, dir, n, NULL) && h.n > 0)
        *from = h.branch[h.n - 1].end;
    uint64_t segment = *from / size;
    segment_name(first, n, segment, size);
    if (!segment_exists(dir, first) || is_untouched(j, dir, first))
        return false;
    char next[32];
    must(str_copy(last, 32, first));
    for (segment_name(next, n, ++segment, size); segment_exists(dir, next);
         segment_name(next, n, ++segment, size))
        must(str_copy(last, 32, next));
    return true;
}

/* pg_waldump is told the first and the last segment. Without the first it learns the segment size
 * from any file, also one that was made in advance and is all zero; without the last it waits five
 * seconds for the file after it (both measured, PostgreSQL 15). */
static bool dump(struct pg_job *j)
{
    char dir[PG_PATH_SIZE], lsn[20], first[32], last[32];
    uint64_t from;
    must(wal_dir(j, dir));
    if (!find_segments(j, dir, &from, first, last))
        return false;
    pg_lsn_format(lsn, from);
    const char *argv[] = {job_tool(j, "pg_waldump"), "--stats", "-p", dir, "-s", lsn,
                          first, last, NULL};
    j->step = STEP_DUMP_DONE;
    job_run(j, "reading WAL", argv, NULL);
    return true;
}

static bool is_segment_of(const char *name, uint32_t tl)
{
    char prefix[9];
    must(str_format(prefix, sizeof(prefix), "%08X", tl));
    return strlen(name) == 24 && strspn(name, "0123456789ABCDEF") == 24 && memcmp(name, prefix, 8) == 0;
}

static bool set_aside(const struct pg_job *j, const char *dir, const char *name, struct err *e)
{
    char from[PG_PATH_SIZE], to[PG_PATH_SIZE];
    if (!pg_path(from, dir, name) ||
        !str_format(to, sizeof(to), "%s/uncovered", j->env->state_dir) || !fd_mkdirs(to, 0700, e) ||
        !str_format(to, sizeof(to), "%s/uncovered/%s", j->env->state_dir, name))
        return err_set(e, ERR_INVALID, "end of WAL: cannot set %s aside", name);
    return job_move(from, to, e);
}

/* The candidates that came before the one that has the end. */
static bool uncover(const struct pg_job *j, struct err *e)
{
    char dir[PG_PATH_SIZE];
    must(wal_dir(j, dir));
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, ERR_FATAL, "open %s", dir);
    bool ok = true;
    struct dirent *de;
    while (ok && (de = readdir(d)))
        for (unsigned i = 0; ok && i < j->candidate_at && i < j->n_candidates; i++)
            if (is_segment_of(de->d_name, j->candidate[i]))
                ok = set_aside(j, dir, de->d_name, e);
    closedir(d);
    return ok && fd_sync_dir(dir, e);
}

static void finish(struct pg_job *j)
{
    struct err e;
    if (j->uncover && !uncover(j, &e))
        job_fail(j, &e);
    else
        job_done(j);
}

/* No candidate has a record after the start. */
static void nothing_found(struct pg_job *j, const char *why)
{
    struct err e;
    bool replayed = j->start.lsn != j->control.redo_lsn;
    if (replayed && !j->candidates_cut) {
        j->end = j->start; /* a replayed position after which there is nothing */
        finish(j);
        return;
    }
    err_set(&e, ERR_CORRUPT, "end of WAL: no valid record at the last checkpoint's redo: %s", why);
    job_fail(j, &e);
}

/* Goes on until a candidate is being read or none is left. */
static void dump_next(struct pg_job *j, const char *why)
{
    for (; j->candidate_at < j->n_candidates; j->candidate_at++)
        if (dump(j))
            return;
    nothing_found(j, why);
}

/* pg_waldump ends with an error at the end of WAL, so its exit status says nothing. That it found no
 * record counts only in its own words: any other failure would pass a shorter WAL for the whole. */
static void take_dump(struct pg_job *j)
{
    uint64_t end;
    struct err e = {0};
    bool timed_out = proc_timed_out(j->proc);
    if (!timed_out && pg_waldump_parse(buf_str(proc_out(j->proc)), &end, &e)) {
        j->end = (struct position){.timeline = j->candidate[j->candidate_at], .lsn = end};
        finish(j);
        return;
    }
    char why[256];
    must(str_format(why, sizeof(why), "%.250s", proc_err_tail(j->proc)));
    bool none = !timed_out && e.kind == ERR_NOT_FOUND &&
                strstr(proc_err_tail(j->proc), "could not find a valid record after") != NULL;
    if (!none) {
        if (e.kind == ERR_NOT_FOUND)
            err_set(&e, ERR_CORRUPT, "end of WAL: %s", why);
        if (job_child_ok(j))
            job_fail(j, &e); /* it was content with what nobody can read */
        return;
    }
    proc_free(j->proc);
    j->proc = NULL;
    j->candidate_at++;
    dump_next(j, why);
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
        if (j->control.segment_bytes < 1 << 20 || j->control.segment_bytes > 1 << 30) {
            err_set(&e, ERR_CORRUPT, "pg_controldata: WAL segments of %llu bytes",
                    (unsigned long long)j->control.segment_bytes);
            job_fail(j, &e);
        } else if (!find_candidates(j, &e)) {
            job_fail(j, &e);
        } else {
            dump_next(j, "its segment is missing");
        }
        return;
    case STEP_DUMP_DONE:
        take_dump(j);
        return;
    }
}

bool pg_job_begin_walend(struct pg_job *j, struct position from, bool uncover, int64_t deadline_ms,
                         struct err *e)
{
    if (from.lsn != 0 && from.timeline == 0)
        return err_set(e, ERR_INVALID, "end of WAL: a position without a timeline");
    if (!job_claim(j, PG_JOB_WALEND, deadline_ms, e))
        return false;
    j->start = from;
    j->uncover = uncover;
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
