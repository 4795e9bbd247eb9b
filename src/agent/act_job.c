/* The exclusive operation on the data directory: initdb, clone, rewind, the end of WAL, pg_control. */
#include "act_parts.h"
#include "base/log.h"

#define WALEND_MS 5000ll
#define FLOOR_MS 3000
#define NEEDS_MS 5000

/* A server that starts may wait for WAL that the primary does not have, and never say where it is. */
static bool floor_wanted(const struct agent *a, int64_t now)
{
    const struct follow *w = &a->follow;
    return a->server.pid != 0 && !a->server.answered && a->view.pg.position.lsn == 0 &&
           a->server.floor.lsn == 0 && w->volume != 0 && w->not_streaming_ms != 0 &&
           now - w->not_streaming_ms > FLOOR_MS;
}

/* Replay stands still: by a user's request, or for settings that are too low. pg_control tells. */
static bool needs_wanted(const struct agent *a, int64_t now)
{
    const struct server *s = &a->server;
    return s->pid != 0 && s->answered && s->in_recovery == TRI_YES &&
           pg_probe_facts(a->probe)->replay_paused &&
           (s->needs_ms == 0 || now - s->needs_ms > NEEDS_MS);
}

/* pg_waldump may need longer than it was given, or find nothing that recovery could begin with. */
static void walend_failed(struct agent *a)
{
    const struct pg_control *c = pg_job_control(a->job);
    struct server *s = &a->server;
    s->walend_failures++;
    s->wal_unreadable = s->pid == 0 && s->failed_starts >= 3 && s->walend_failures >= 3 &&
                        pg_job_error(a->job)->kind == ERR_CORRUPT;
    if (c->system_id != 0)
        s->floor = pg_control_floor(c);
}

static int64_t walend_deadline(const struct agent *a, int64_t now)
{
    unsigned n = a->server.walend_failures;
    return now + (WALEND_MS << (n < 6 ? n : 6));
}

static void job_ended(struct agent *a, int64_t now)
{
    struct err e = {0};
    bool ok = pg_job_state(a->job) == PG_JOB_OK;
    enum pg_job_kind kind = pg_job_kind(a->job);
    if (kind == PG_JOB_WALEND) {
        a->server.hidden = false; /* tried once: a start that reads less than all is noticed again */
        if (ok) {
            a->server.walend = pg_job_walend(a->job);
            a->server.walend_known = true;
            a->server.walend_failures = 0;
        } else {
            walend_failed(a);
        }
    } else if (kind == PG_JOB_CONTROL) {
        if (ok) {
            a->server.floor = pg_control_floor(pg_job_control(a->job));
            pg_control_needs(pg_job_control(a->job), a->server.needs);
        }
        a->server.needs_ms = now;
    } else if (ok) {
        log_event(LOG_INFO, "operation-done", pg_job_step(a->job), LOG_I("kind", kind));
        a->follow = (struct follow){0};
        if (kind == PG_JOB_CLONE || kind == PG_JOB_REWIND) /* nothing is left that is not its source's */
            a->follow = (struct follow){
                .diverged = TRI_NO, .judged_epoch = a->source_epoch, .history_holds = true};
        a->server.last = (struct position){0};
        a->server.floor = (struct position){0};
        a->server.walend_known = a->server.wal_unreadable = a->server.hidden = false;
        a->server.failed_starts = a->server.walend_failures = 0;
        a->server.next_start_ms = 0;
        if (kind == PG_JOB_INITDB) {
            /* The record already names the volume that was chosen to initialise. */
            a->state.volume = a->chosen_volume;
            (void)pg_state_save(&a->env, &a->state, &e);
        }
        if (kind == PG_JOB_CLONE)
            a->status.n.clones_ok++;
        if (kind == PG_JOB_REWIND)
            a->status.n.rewinds_ok++;
    }
    if (!ok) {
        log_event(LOG_WARNING, "operation-failed", pg_job_error(a->job)->msg,
                  LOG_I("kind", kind), LOG_S("step", pg_job_step(a->job)));
        if (a->op_failures < 200 && kind != PG_JOB_CONTROL)
            a->op_failures++;
        if (kind == PG_JOB_CLONE)
            a->status.n.clones_failed++;
        if (kind == PG_JOB_REWIND)
            a->status.n.rewinds_failed++;
    } else if (kind != PG_JOB_CONTROL && (kind != PG_JOB_WALEND || a->op == OP_WALEND)) {
        a->op_failures = 0;
    }
    int64_t pause = 500 * (int64_t)(a->op_failures > 10 ? 10 : a->op_failures);
    a->op_next_ms = now + (kind == PG_JOB_WALEND && ok ? 50 : pause);
    a->dir_looked_ms = 0;
    pg_job_clear(a->job);
}

static bool source_of(struct agent *a, const struct verdict *d, struct pg_source *src)
{
    struct member *up = member_of_volume(a, d->upstream);
    if (up == NULL)
        up = member_of_name(a, &d->upstream_name);
    struct err e = {0};
    if (up == NULL || up->ip[0] == '\0' || a->state.epoch != a->view.lv.lease.epoch ||
        !pg_passfile_write(&a->env, a->state.epoch, &e))
        return false;
    a->source_epoch = a->state.epoch;
    *src = (struct pg_source){.hostaddr = up->ip, .host = up->peer.name.s, .port = a->env.port,
                              .epoch = a->state.epoch};
    return true;
}

static bool begin_clone(struct agent *a, const struct verdict *d, struct err *e)
{
    struct pg_clone_spec s = {
        .state = &a->state, .system_id = a->view.st.system_id, .slot = true};
    if (!source_of(a, d, &s.from))
        return err_set(e, ERR_TRANSIENT, "the primary's address is not known yet");
    s.replace = a->dir.state == DATA_OK || a->dir.state == DATA_PARTIAL ? PG_REPLACE_KEEP
                                                                        : PG_REPLACE_NOTHING;
    return pg_job_begin_clone(a->job, &s, e);
}

static bool begin_rewind(struct agent *a, const struct verdict *d, struct err *e)
{
    struct pg_rewind_spec s = {.system_id = a->view.st.system_id};
    if (!source_of(a, d, &s.from) || !a->follow.has_history)
        return err_set(e, ERR_TRANSIENT, "the primary's history is not known yet");
    s.history = &a->follow.history;
    return pg_job_begin_rewind(a->job, &s, e);
}

bool agent_begin_initdb(struct agent *a, struct err *e)
{
    const struct config *c = &a->cfg;
    struct pg_initdb_spec s = {
        .database = c->bootstrap.database[0] != '\0' ? c->bootstrap.database : NULL,
        .initdb_args = c->bootstrap.initdb_args[0] != '\0' ? c->bootstrap.initdb_args : NULL,
        .init_scripts = c->bootstrap.init_dir[0] != '\0' ? c->bootstrap.init_dir : NULL,
        .checksums = true,
        .conf = a->conf,
        .state = &a->state,
    };
    a->chosen_volume = a->state.volume;
    return pg_job_begin_initdb(a->job, &s, e);
}

void act_job(struct agent *a, const struct verdict *d, int64_t now)
{
    struct err e = {0};
    enum pg_job_state st = pg_job_state(a->job);
    if (st == PG_JOB_OK || st == PG_JOB_FAILED) {
        job_ended(a, now);
        return; /* the present verdict does not know of it */
    }
    if (st == PG_JOB_RUNNING || now < a->op_next_ms)
        return;
    enum pg_op op = (d->effects & EFF_INITDB) != 0   ? OP_INITDB
                    : (d->effects & EFF_CLONE) != 0  ? OP_CLONE
                    : (d->effects & EFF_REWIND) != 0 ? OP_REWIND
                    : (d->effects & EFF_WALEND) != 0 ? OP_WALEND
                                                     : OP_NONE;
    bool down = a->server.pid == 0;
    if (op != OP_NONE && op != OP_WALEND && op != a->op)
        a->op_failures = 0;
    bool begun = false;
    if (op == OP_INITDB && down)
        begun = agent_begin_initdb(a, &e);
    else if (op == OP_CLONE && down)
        begun = begin_clone(a, d, &e);
    else if (op == OP_REWIND && down)
        begun = begin_rewind(a, d, &e);
    else if (down && !a->server.walend_known &&
             (op == OP_WALEND || (op == OP_NONE && a->server.failed_starts >= 2 &&
                                  a->view.pg.position.lsn == 0)))
        begun = pg_job_begin_walend(a->job, (struct position){0}, false, walend_deadline(a, now), &e);
    else if (down && a->server.hidden && op == OP_NONE)
        begun = pg_job_begin_walend(a->job, (struct position){0}, true, walend_deadline(a, now), &e);
    else if (!down && a->server.walend_wanted && pg_probe_facts(a->probe)->replayed_lsn != 0)
        begun = pg_job_begin_walend(a->job, pg_probe_facts(a->probe)->position, false,
                                    walend_deadline(a, now), &e);
    else if (floor_wanted(a, now) || needs_wanted(a, now))
        begun = pg_job_begin_control(a->job, now + WALEND_MS, &e);
    else
        return;
    if (!begun) {
        act_trouble(a, "operation-unbegun", &e);
        a->server.hidden = false;
        a->op_next_ms = now + 200;
        return;
    }
    if (op != OP_NONE) {
        a->op = op;
        if (op != OP_WALEND)
            log_event(LOG_INFO, "operation-begun", pg_job_step(a->job), LOG_I("operation", op));
    }
}
