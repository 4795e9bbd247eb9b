/* Adapters -> view. Facts only: what is not known is unknown, and no fact is ever guessed. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

void ssn_from(const struct pg_ssn *p, struct ssn *ret)
{
    *ret = (struct ssn){.kind = SSN_UNKNOWN};
    switch (p->kind) {
    case PG_SSN_EMPTY:
        ret->kind = SSN_EMPTY;
        break;
    case PG_SSN_UNSATISFIABLE:
        ret->kind = SSN_UNSATISFIABLE;
        break;
    case PG_SSN_SET:
        ret->kind = SSN_SET;
        ret->mode = p->mode;
        ret->w = p->w;
        ret->n = p->n;
        memcpy(ret->volume, p->volume, sizeof ret->volume);
        break;
    case PG_SSN_OTHER:
        break;
    }
}

void pg_ssn_of(const struct ssn *s, struct pg_ssn *ret)
{
    *ret = (struct pg_ssn){.kind = PG_SSN_UNSATISFIABLE};
    if (s->kind == SSN_EMPTY)
        ret->kind = PG_SSN_EMPTY;
    if (s->kind != SSN_SET)
        return;
    ret->kind = PG_SSN_SET;
    ret->mode = s->mode == REPL_SYNC ? REPL_SYNC : REPL_QUORUM;
    ret->w = s->w;
    ret->n = s->n;
    memcpy(ret->volume, s->volume, sizeof ret->volume);
}

static void server_ended(struct agent *a, const struct link_status *g)
{
    struct server *s = &a->server;
    s->clean = WIFEXITED(g->last_exit) && WEXITSTATUS(g->last_exit) == 0;
    s->crashed = s->seen && !s->end_requested && !s->clean;
    if (s->seen && !s->answered) {
        s->failed_starts++;
        int64_t pause = s->failed_starts > 5 ? 5000 : 200 * (int64_t)s->failed_starts;
        s->next_start_ms = a->view.now_ms + pause;
    }
    a->status.n.pg_crashes += s->crashed ? 1 : 0;
    log_event(s->crashed ? LOG_WARNING : LOG_INFO, "postgres-ended",
              s->crashed ? "postgres ended without having been asked to" : "postgres ended",
              LOG_I("pid", s->pid), LOG_I("wait_status", g->last_exit));
    s->pid = 0;
    s->seen = false;
    s->answered = false;
    s->end_requested = false;
    s->in_recovery = TRI_UNKNOWN;
    s->timeline = 0;
    s->armed = false;
    s->promoted_ms = 0;
    s->promoted_end_lsn = 0;
    s->hidden = s->walend_known && position_cmp(s->walend, s->last) > 0;
    s->walend_known = false;
    a->sync = (struct sync_setting){0};
    a->gate.written = false;
    a->follow.volume = 0;
    a->follow.not_streaming_ms = 0;
    a->clients_ended = a->senders_ended = false;
    a->dir_looked_ms = 0;
    a->slots_ms = 0;
    a->slots_set = 0; /* a directory that was rewound or copied has none */
    pg_probe_want(a->probe, false);
    pg_detach_set_postmaster(a->detach, 0);
    pg_detach_reset(a->detach);
}

static void server_began(struct agent *a, const struct link_status *g)
{
    struct server *s = &a->server;
    bool mine = s->start_sent_ms > 0;
    *s = (struct server){.pid = g->postgres_pid, .starts = g->starts, .seen = true,
                         .strict = mine && s->strict, .last = s->last, .failed_starts = s->failed_starts, .floor = s->floor,
                         .walend_failures = s->walend_failures,
                         .wal_unreadable = s->wal_unreadable};
    /* A server that an earlier agent left running may be a primary: its settings are not known. */
    s->inherited = !mine;
    if (!mine)
        a->sync = (struct sync_setting){0};
    a->memo.pg_fault_ms = 0;
    pg_detach_reset(a->detach);
    pg_probe_want(a->probe, true);
    pg_probe_set_interval(a->probe, 10);
}

/* Before the verdict, so that it does not ask for another one where the stop waits for this. */
static void observe_checkpoint(struct agent *a)
{
    int64_t begun = pg_task_begun_ms(a->checkpoint);
    if (pg_task_state(a->checkpoint) == PG_TASK_OK && begun > a->checkpoint_ms)
        a->checkpoint_ms = begun;
}

static void observe_promotion(struct agent *a, const struct pg_facts *f, int64_t now)
{
    struct server *s = &a->server;
    if (f->in_recovery == TRI_NO && s->in_recovery != TRI_NO) {
        s->promoted_ms = now;
        s->promoted_end_lsn = f->write_lsn;
        s->walend_known = false;
        a->slots_ms = 0;
        a->slots_set = 0; /* nobody can be admitted before the standbys find theirs */
        log_event(LOG_INFO, "recovery-ended", "the server is writable",
                  LOG_I("timeline", f->timeline));
    }
    s->in_recovery = f->in_recovery;
}

void observe_server(struct agent *a, int64_t now)
{
    const struct link_status *g = guard_link_status(a->link);
    struct server *s = &a->server;
    if (g == NULL)
        return;
    if (s->pid != 0 && (g->postgres_pid != s->pid))
        server_ended(a, g);
    if (s->pid == 0 && g->postgres_pid != 0)
        server_began(a, g);
    if (s->pid == 0)
        return;
    const struct pg_facts *f = pg_probe_facts(a->probe);
    if (!f->valid)
        return;
    if (!s->answered) {
        s->answered = true;
        s->reached_ms = now;
        s->failed_starts = s->walend_failures = 0;
        s->wal_unreadable = false;
        pg_probe_kick_settings(a->probe, 0);
    }
    observe_promotion(a, f, now);
    if (position_cmp(f->position, s->last) != 0)
        s->reached_ms = now;
    s->last = f->position;
    s->timeline = f->timeline;
}

/* --- parts of the view -------------------------------------------------------------------------- */

static enum pg_process process_of(const struct agent *a)
{
    const struct server *s = &a->server;
    if (s->pid == 0)
        return PG_DOWN;
    if (s->end_requested)
        return PG_STOPPING;
    return s->answered && s->in_recovery != TRI_UNKNOWN ? PG_RUNNING : PG_STARTING;
}

static bool settings_low(const struct server *s, const struct pg_facts *f)
{
    if (s->pid == 0 || !f->valid || !f->replay_paused || s->needs_ms == 0 || f->full_ms == 0)
        return false;
    for (int i = 0; i < PG_NEEDS; i++)
        if (f->needs[i] < s->needs[i])
            return true;
    return false;
}

/* End of local WAL. What a running standby has received and replayed is not all: recovery ends early
 * where a timeline history is missing, and a walreceiver that has just switched timelines copies its
 * segment anew from the beginning. So PostgreSQL's own tools look at the files once in every life. */
static void view_position(struct agent *a, struct pg *p)
{
    struct server *s = &a->server;
    p->position = s->last;
    p->accounted = TRI_NO;
    if (s->walend_known && position_cmp(s->walend, p->position) > 0)
        p->position = s->walend;
    if (s->pid == 0 || s->answered)
        p->accounted = s->walend_known || (s->pid != 0 && s->in_recovery == TRI_NO) ? TRI_YES : TRI_NO;
    p->wal_unread = s->pid != 0 && s->answered && s->in_recovery == TRI_YES && s->walend_known &&
                    position_cmp(s->last, s->walend) < 0;
    p->reached_ms = s->reached_ms;
    s->walend_wanted = s->pid != 0 && s->answered && p->accounted != TRI_YES;
}

static bool caught_up(struct agent *a, const struct pg_sender *x, const struct pg_facts *f)
{
    struct stream_base *free_slot = NULL;
    for (size_t i = 0; i < HA_MEMBERS_MAX; i++) {
        struct stream_base *b = &a->base[i];
        if (b->volume == x->volume && b->start_us == x->start_us)
            return x->flush_lsn >= b->lsn;
        if (b->volume == x->volume)
            free_slot = b;
        else if (free_slot == NULL && (b->volume == 0 || pg_facts_sender(f, b->volume) == NULL))
            free_slot = b;
    }
    if (free_slot != NULL)
        *free_slot = (struct stream_base){x->volume, x->start_us, f->write_lsn};
    return false;
}

static void view_senders(struct agent *a, const struct pg_facts *f, struct pg *p)
{
    for (uint8_t i = 0; i < f->n_senders && p->n_senders < HA_MEMBERS_MAX; i++) {
        const struct pg_sender *x = &f->sender[i];
        if (x->volume == 0 || pg_facts_sender(f, x->volume) != x)
            continue;
        p->sender[p->n_senders++] = (struct walsender){
            .volume = x->volume,
            .streaming = x->streaming,
            .flushed_lsn = x->flush_lsn,
            .caught_up = x->streaming && caught_up(a, x, f),
        };
    }
}

static void view_sync(struct agent *a, const struct pg_facts *f, struct pg *p)
{
    struct sync_setting *s = &a->sync;
    if (f->fresh_ms == 0 || f->fresh_ms < s->written_ms)
        return;
    struct pg_ssn parsed;
    pg_ssn_parse(&parsed, f->fresh_ssn);
    ssn_from(&parsed, &p->ssn);
    if (s->written_ms == 0)
        return; /* not set by this agent: no proof of effect */
    pg_barrier_feed(&s->barrier, f);
    if (!s->in_force && pg_barrier_in_force(&s->barrier, a->checkpoint_ms)) {
        s->in_force = true;
        s->in_force_ms = a->view.now_ms;
    }
    if (s->in_force && s->proof_lsn == 0 && f->at_ms > s->in_force_ms)
        s->proof_lsn = f->write_lsn; /* read after the proof: what barrier (b) must see flushed */
    p->ssn_in_force = s->in_force;
    p->ssn_proof_lsn = s->proof_lsn;
}

static void view_gate(struct agent *a, struct pg *p, int64_t now)
{
    struct gate *g = &a->gate;
    if (a->server.pid == 0 || !a->server.answered || !g->written)
        return;
    if (pg_hbaprobe_done(a->hbaprobe) && pg_hbaprobe_at_ms(a->hbaprobe) >= g->written_ms)
        g->proved_closed = pg_hbaprobe_closed(a->hbaprobe);
    bool settled = g->proved_closed == (g->closed ? TRI_YES : TRI_NO);
    if (!settled && now >= g->next_probe_ms) {
        g->next_probe_ms = now + 4;
        if (pg_hbaprobe_done(a->hbaprobe) || pg_hbaprobe_at_ms(a->hbaprobe) == 0 ||
            pg_hbaprobe_at_ms(a->hbaprobe) < g->written_ms)
            pg_hbaprobe_begin(a->hbaprobe, a->cfg.pod.ip, now + 1000);
    }
    p->closed = g->closed && settled ? TRI_YES : TRI_NO;
    p->open = !g->closed && settled ? TRI_YES : TRI_NO;
}

static enum tri strict_of(const struct server *s, const struct pg_facts *f)
{
    if (s->pid == 0 || s->inherited || !f->valid || f->full_ms == 0)
        return TRI_UNKNOWN;
    return s->strict && f->gate ? TRI_YES : TRI_NO;
}

/* What this agent has written, or how a server that it has found running says that it is set. */
static bool strict_now(const struct agent *a, const struct pg_facts *f)
{
    if (!a->server.inherited || settings_known(a))
        return pg_conf_strict(a->conf);
    return !f->valid || f->full_ms == 0 || f->gate_strict;
}

static void view_follow(struct agent *a, const struct pg_facts *f, struct pg *p, int64_t now)
{
    struct follow *w = &a->follow;
    p->follows = w->volume;
    p->follows_epoch = w->epoch;
    p->streaming = f->valid && f->receiver_streaming && w->volume != 0;
    p->receiver_timeline = f->valid && f->receiver_streaming ? f->received_timeline : 0;
    /* One that cannot get past the fork streams for a moment, is told that the timeline has ended, and
     * begins again at its segment: only the writer's own timeline, or new WAL, is a stream. */
    const struct record *r = &a->view.lv.lease.record;
    bool same = p->streaming && (w->volume != r->writer || p->receiver_timeline >= r->timeline);
    bool moved = p->streaming && position_cmp(f->position, w->received) > 0;
    if (moved)
        w->received = f->position;
    if (same || moved) {
        w->not_streaming_ms = 0;
        w->wal_missing = false;
    }
    if (same) {
        w->diverged = TRI_NO;
        w->judged_epoch = w->epoch;
        w->history_holds = w->volume == r->writer;
    } else if (!moved && w->volume != 0 && w->not_streaming_ms == 0) {
        w->not_streaming_ms = now;
    }
    p->not_streaming_since_ms = w->not_streaming_ms;
    uint64_t epoch = a->view.lv.lease.epoch;
    p->diverged = w->judged_epoch == epoch ? w->diverged : TRI_UNKNOWN;
    p->wal_missing = w->judged_epoch == epoch && w->wal_missing;
    p->history_holds = p->diverged == TRI_NO && w->history_holds;
}

static enum op_state op_state_of(const struct agent *a)
{
    switch (pg_job_state(a->job)) {
    case PG_JOB_RUNNING:
        return OP_RUNNING;
    case PG_JOB_OK:
        return OP_OK;
    case PG_JOB_FAILED:
        return OP_FAILED;
    case PG_JOB_IDLE:
        break;
    }
    return OP_IDLE;
}

static void view_pg(struct agent *a, struct pg *p, int64_t now)
{
    const struct server *s = &a->server;
    const struct pg_facts *f = pg_probe_facts(a->probe);
    p->process = process_of(a);
    p->ours = s->seen;
    p->crashed = s->crashed && s->pid == 0;
    p->clean = s->clean;
    p->failed_starts = s->failed_starts < 200 ? (uint8_t)s->failed_starts : 200;
    p->answers = s->pid == 0 ? TRI_NO : pg_probe_answers(a->probe, now);
    p->in_recovery = s->in_recovery;
    p->maybe_writable = guard_link_writable(a->link);
    p->looked_ms = f->valid ? f->at_ms : 0;
    p->storage_since_ms = storage_look(a, now);
    p->settings_low = settings_low(s, f);
    p->resorted = pg_collation_differs(a->collation) == TRI_YES;
    view_position(a, p);
    p->local_timeline = a->dir.timeline;
    /* The directory was looked at before this life began: a session that breaks must not bring an old
     * timeline back. */
    if (s->pid != 0 && s->timeline != 0)
        p->local_timeline = s->timeline;
    if (s->pid != 0 && pg_detach_state(a->detach) == PG_DETACH_FROZEN)
        p->frozen_epoch = pg_detach_epoch(a->detach);
    view_follow(a, f, p, now);
    if (s->pid != 0 && f->valid) {
        view_senders(a, f, p);
        view_sync(a, f, p);
    }
    view_gate(a, p, now);
    p->strict = strict_of(s, f);
    p->strict_now = strict_now(a, f);
    p->promoted_ms = s->promoted_ms;
    p->promoted_end_lsn = s->promoted_end_lsn;
    p->checkpoint_ms = a->checkpoint_ms;
    p->op = a->op;
    p->op_state = op_state_of(a);
    p->op_failures = a->op_failures;
    p->op_since_ms = pg_job_started_ms(a->job);
    p->stop_since_ms = s->stop_since_ms;
}

static void view_self(struct agent *a, struct self *self)
{
    const struct link_status *g = guard_link_status(a->link);
    self->id = a->id;
    self->ordinal = a->ordinal;
    self->volume = a->state.volume;
    self->system_id = a->dir.system_id;
    self->data = a->dir.state;
    self->durable_epoch = a->state.epoch;
    self->has_record = a->state.has_record;
    self->record = a->state.record;
    self->started_ms = a->started_ms;
    if (g == NULL)
        return;
    self->fenced = g->fenced > 0;
    self->terminate = g->terminate > 2 ? 2 : (uint8_t)g->terminate;
    if (g->server_lock == LINK_LOCK_FREE || g->postgres_pid != 0)
        self->server_lock = TRI_YES;
    else if (g->server_lock == LINK_LOCK_HELD)
        self->server_lock = TRI_NO;
}

static void look_at_data(struct agent *a, int64_t now)
{
    bool due = a->dir_looked_ms == 0 || (a->server.pid == 0 && now - a->dir_looked_ms > 1000);
    if (!due || pg_job_state(a->job) == PG_JOB_RUNNING)
        return;
    a->dir_looked_ms = now;
    struct err e = {0};
    uint64_t expected = a->state.system_id;
    if (!pg_datadir_look(&a->env, expected, &a->dir, &e))
        log_event(LOG_ERROR, "data-unreadable", e.msg, LOG_S("path", a->env.data_dir));
}

void observe(struct agent *a, int64_t now)
{
    struct view *v = &a->view;
    memset(v, 0, sizeof *v);
    v->now_ms = now;
    v->set = a->set;
    api_observe_lease(a->api, &v->lv);
    api_observe_state(a->api, &v->st);
    api_observe_intent(a->api, &v->intent);
    v->intent_expired = v->intent.kind != INTENT_NONE && v->intent.expires_s != 0 &&
                        clock_wall_us() / 1000000 > v->intent.expires_s;
    observe_server(a, now);
    observe_checkpoint(a);
    look_at_data(a, now);
    view_self(a, &v->self);
    view_pg(a, &v->pg, now);
    observe_members(a, now);
    v->label = api_label(a->api);
}
