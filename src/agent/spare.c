/* The spare segment: made at rest on a standby by a child process, used when a new writer is followed. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"
#include "core/record.h"
#include "pg/spare.h"

#define REST_MS 3000
#define LOOK_EVERY_MS 5000
#define AFTER_FAILURE_MS 60000

/* No descriptor stays: a dead agent's sockets must not live on in it. */
_Noreturn static void make_and_exit(const struct agent *a)
{
    struct err e = {0};
    if (close_range(3, ~0u, 0) != 0)
        _exit(1);
    (void)setpriority(PRIO_PROCESS, 0, 10);
    _exit(pg_spare_make(&a->env, &e) ? 0 : 1);
}

static void reap(struct agent *a, int64_t now)
{
    int status = 0;
    pid_t got = waitpid(a->spare.maker, &status, WNOHANG);
    if (got == 0)
        return;
    a->spare.maker = 0;
    a->spare.there = got > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!a->spare.there)
        a->spare.next_ms = now + AFTER_FAILURE_MS;
}

void spare_turn(struct agent *a, int64_t now)
{
    struct spare *s = &a->spare;
    if (s->maker != 0)
        reap(a, now);
    bool rest = now - a->seen.rule_since_ms >= REST_MS && now >= a->hot_until_ms;
    if (s->maker != 0 || !rest || now < s->next_ms || !a->server.answered || a->server.end_requested ||
        pg_job_state(a->job) == PG_JOB_RUNNING)
        return;
    s->next_ms = now + LOOK_EVERY_MS;
    s->there = pg_spare_there(&a->env);
    struct err e = {0};
    if (a->server.in_recovery == TRI_NO && s->there && pg_spare_drop(&a->env, &e))
        s->there = false; /* a writer needs none, and pg_rewind would copy it */
    if (s->there || a->server.in_recovery != TRI_YES || !a->view.pg.streaming)
        return;
    pid_t pid = fork();
    if (pid == 0)
        make_and_exit(a);
    if (pid > 0)
        s->maker = pid;
}

void spare_use(struct agent *a)
{
    const struct record *r = &a->view.lv.lease.record;
    const struct record_member *w = record_find(r, r->writer);
    /* Nothing of own WAL lies beyond the fork, and the new timeline was not begun here. */
    if (!a->spare.there || w == NULL || w->flushed.lsn == 0 || r->timeline <= a->server.timeline ||
        a->server.timeline == 0 || position_cmp(a->view.pg.position, w->flushed) > 0)
        return;
    struct err e = {0};
    a->spare.there = false;
    a->spare.next_ms = 0;
    if (pg_spare_use(&a->env, r->timeline, w->flushed.lsn, &e))
        log_event(LOG_INFO, "spare-used", "the first segment of the new timeline is there already",
                  LOG_I("timeline", r->timeline));
    else if (e.kind != ERR_CONFLICT && e.kind != ERR_NOT_FOUND)
        log_event(LOG_WARNING, "spare-unused", e.msg);
}
