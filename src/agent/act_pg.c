/* Effects on the local server and its data directory. Each is idempotent: it is asked for again every
 * turn until the view shows it. */
#include <signal.h>
#include <string.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "pg/promote.h"

#define TASK_MS 5000
#define CHECKPOINT_TASK_MS 300000
#define LOOK_AGAIN_MS 2000 /* how long a value set by hand may go unseen on a primary */
#define OVERRULE_MS 500 /* a reload needs a moment until its effect shows */
#define PROMOTE_REPEAT_MS 20
#define WALEND_MS 5000ll
#define FLOOR_MS 3000
#define NEEDS_MS 5000

static void trouble(struct agent *a, const char *event, const struct err *e)
{
    static int64_t said_ms;
    static const char *said;
    if (said == event && a->last_now_ms - said_ms < 5000)
        return;
    said = event;
    said_ms = a->last_now_ms;
    log_event(LOG_WARNING, event, e->msg, LOG_S("kind", err_kind_name(e->kind)));
}

/* Writes the generated files and has the server read them if anything differs. */
static bool apply_conf(struct agent *a, bool *changed)
{
    struct err e = {0};
    *changed = false;
    if (!pg_conf_write(a->conf, changed, &e)) {
        trouble(a, "configuration-unwritten", &e);
        return false;
    }
    if (*changed && a->server.pid != 0 && guard_link_signal(a->link, SIGHUP, &e) == 0) {
        trouble(a, "reload-unsent", &e);
        return false;
    }
    return true;
}

static void act_gate(struct agent *a, bool closed, int64_t now)
{
    struct gate *g = &a->gate;
    if (a->server.pid == 0 || (g->written && g->closed == closed))
        return;
    bool changed;
    pg_conf_set_closed(a->conf, closed);
    if (!apply_conf(a, &changed))
        return;
    *g = (struct gate){.closed = closed, .written = true, .written_ms = now};
}

static void act_start(struct agent *a, int64_t now)
{
    const struct link_status *g = guard_link_status(a->link);
    struct server *s = &a->server;
    struct err e = {0};
    if (s->pid != 0 || g == NULL || g->postgres_pid != 0 || now < s->next_start_ms ||
        (s->start_sent_ms != 0 && now - s->start_sent_ms < 1000) ||
        pg_job_state(a->job) == PG_JOB_RUNNING || s->hidden)
        return;
    struct pg_ssn none = {.kind = PG_SSN_UNSATISFIABLE};
    bool changed;
    pg_conf_set_upstream(a->conf, NULL);
    pg_conf_set_closed(a->conf, true);
    if (!pg_conf_set_ssn(a->conf, &none, &e) || !pg_datadir_private(&a->env, &e) ||
        !pg_standby_signal(&a->env, &e) || !pg_promote_forget(&a->env, &e) ||
        !pg_placeholders_settle(&a->env, &e) || !pg_conf_clean_auto(a->conf, &e) ||
        !pg_conf_write(a->conf, &changed, &e)) {
        trouble(a, "start-unprepared", &e);
        (void)str_format(a->unprepared, sizeof a->unprepared, "%.150s", e.msg);
        return;
    }
    a->unprepared[0] = '\0';
    const char *const *argv = pg_conf_argv(a->conf);
    /* argv: path, -D, data directory, then what guard passes on as it is */
    if (guard_link_start(a->link, argv[0], a->env.data_dir, argv + 3, &e) == 0) {
        trouble(a, "start-unsent", &e);
        return;
    }
    s->start_sent_ms = now;
    s->crashed = false;
    a->gate = (struct gate){.closed = true, .written = true, .written_ms = now};
    a->sync = (struct sync_setting){0};
    /* The judgement outlives the start: it is about the WAL, not about this life of the server. */
    a->follow = (struct follow){.diverged = a->follow.diverged,
                                .judged_epoch = a->follow.judged_epoch,
                                .history_holds = a->follow.history_holds,
                                .history = a->follow.history,
                                .has_history = a->follow.has_history};
}

static void act_stop(struct agent *a, int64_t now)
{
    struct server *s = &a->server;
    struct err e = {0};
    if (s->pid == 0 || s->end_requested)
        return;
    if (guard_link_signal(a->link, SIGINT, &e) == 0) {
        trouble(a, "stop-unsent", &e);
        return;
    }
    s->end_requested = true;
    s->stop_since_ms = now;
}

static void act_kill(struct agent *a)
{
    const struct link_status *g = guard_link_status(a->link);
    struct err e = {0};
    if (g != NULL && g->sweeping)
        return;
    a->server.end_requested = true;
    if (guard_link_kill_servers(a->link, 0, &e) == 0)
        trouble(a, "kill-unsent", &e);
}

static void act_detach(struct agent *a, uint64_t epoch)
{
    if (a->server.pid == 0 || a->state.epoch < epoch)
        return;
    a->follow.volume = 0;
    pg_detach_begin(a->detach, epoch, a->conf, a->server.pid);
}

/* A server that was cut off from its history may refuse to start at all; then PostgreSQL's tools say
 * where its WAL ends, and the primary says whether that is part of its history. */
static bool cannot_start(const struct agent *a)
{
    return a->server.pid == 0 && a->server.failed_starts >= 2 &&
           (a->view.pg.position.lsn != 0 || a->server.floor.lsn != 0);
}

/* Where the end of WAL is not known, what is surely there may already be outside of the primary's
 * history. That it is inside says nothing of the rest, unless the rest cannot be read by anybody. */
static void judge(struct agent *a, const struct pg_peer_facts *f)
{
    struct follow *w = &a->follow;
    bool whole = a->view.pg.position.lsn != 0;
    w->diverged = pg_peer_diverged(f, whole ? a->view.pg.position : a->server.floor);
    w->history_holds = whole && a->view.pg.accounted == TRI_YES && w->diverged == TRI_NO;
    if (whole || w->diverged == TRI_YES)
        return;
    w->diverged = TRI_UNKNOWN;
    w->wal_missing = a->server.wal_unreadable;
}

static void judge_lineage(struct agent *a, int64_t now)
{
    struct follow *w = &a->follow;
    enum pg_peer_state st = pg_peer_state(a->asker);
    const struct lease *l = &a->view.lv.lease;
    if (st == PG_PEER_OK && w->asked_ms != 0) {
        const struct pg_peer_facts *f = pg_peer_facts(a->asker);
        w->asked_ms = 0;
        w->again_ms = now + (w->provisional ? 50 : 500);
        if (f->in_recovery != TRI_NO || f->timeline != l->record.timeline)
            return; /* not promoted yet: says nothing */
        w->history = f->history;
        w->has_history = true;
        if (w->judged_epoch != l->epoch && w->not_streaming_ms != 0)
            w->not_streaming_ms = now; /* the promotion may have taken long */
        judge(a, f);
        w->judged_epoch = l->epoch;
        /* Same history and yet no stream for long: the writer no longer has what we need. */
        if (w->diverged == TRI_NO && w->not_streaming_ms != 0 && now - w->not_streaming_ms > 20000)
            w->wal_missing = true;
        return;
    }
    bool waiting = w->volume != 0 && (w->provisional || (w->not_streaming_ms != 0 &&
                                                          now - w->not_streaming_ms > 100));
    bool other = l->has_record && l->record.writer != 0 && l->record.writer != a->state.volume &&
                 l->record.writer_epoch == l->epoch && a->state.epoch == l->epoch;
    if (!other || st == PG_PEER_RUNNING || now < w->again_ms || (!waiting && !cannot_start(a)))
        return;
    struct member *up = member_of_volume(a, l->record.writer);
    struct err e = {0};
    w->again_ms = now + 500;
    if (up == NULL || up->ip[0] == '\0' || !pg_passfile_write(&a->env, l->epoch, &e))
        return;
    w->asked_ms = now;
    pg_peer_ask(a->asker, up->ip, a->env.port, l->epoch, now + 2000);
}

static void act_follow(struct agent *a, const struct verdict *d, int64_t now)
{
    struct follow *w = &a->follow;
    struct member *up = member_of_volume(a, d->upstream);
    if (up == NULL)
        up = member_of_name(a, &d->upstream_name);
    if (up == NULL || up->ip[0] == '\0' || a->server.pid == 0 || a->server.end_requested ||
        a->state.epoch != d->epoch)
        return;
    /* SIGHUP ends a postmaster that has not installed its handlers: it must have spoken first. */
    if (!a->server.answered && !pg_probe_starting(a->probe))
        return;
    if (w->volume == d->upstream && w->epoch == d->epoch && strcmp(w->address, up->ip) == 0 &&
        w->provisional == d->provisional)
        return;
    bool writer = d->upstream == a->view.lv.lease.record.writer;
    struct pg_upstream u = {.port = a->env.port, .volume = a->state.volume, .epoch = d->epoch,
                            .slot = writer, /* a frozen member may never have made one for us */
                            .provisional = d->provisional};
    (void)str_copy(u.hostaddr, sizeof u.hostaddr, up->ip);
    (void)str_copy(u.host, sizeof u.host, up->peer.name.s);
    pg_detach_reset(a->detach);
    struct err e = {0};
    if (!pg_passfile_write(&a->env, d->epoch, &e) ||
        !pg_passfile_drop(&a->env, d->epoch, &e)) {
        trouble(a, "passfile-unwritten", &e);
        return;
    }
    bool changed;
    pg_conf_set_upstream(a->conf, &u);
    if (!apply_conf(a, &changed))
        return;
    *w = (struct follow){.volume = d->upstream, .epoch = d->epoch, .since_ms = now,
                         .not_streaming_ms = now, .diverged = w->diverged,
                         .judged_epoch = w->judged_epoch, .history_holds = w->history_holds,
                         .provisional = d->provisional};
    (void)str_copy(w->address, sizeof w->address, up->ip);
    log_event(LOG_INFO, "follow",
              writer ? "streaming from the primary" : "streaming from a frozen member that holds more",
              LOG_S(writer ? "primary" : "member", up->peer.name.s),
              LOG_S("address", up->ip), LOG_I("epoch", d->epoch),
              LOG_I("confirms", !d->provisional));
}

static void act_sync(struct agent *a, const struct ssn *want, int64_t now)
{
    struct sync_setting *s = &a->sync;
    if (a->server.pid == 0 || !a->server.answered || want->kind == SSN_UNKNOWN ||
        (s->written_ms != 0 && ssn_eq(&s->want, want)))
        return;
    struct pg_ssn set;
    struct buf text;
    struct err e = {0};
    pg_ssn_of(want, &set);
    buf_init(&text, PG_SSN_SIZE - 1);
    bool from_empty = s->written_ms != 0 ? s->want.kind == SSN_EMPTY
                                         : pg_probe_facts(a->probe)->fresh_ssn[0] == '\0';
    bool changed;
    if (!pg_ssn_render(&text, &set, &e) || !pg_conf_set_ssn(a->conf, &set, &e)) {
        trouble(a, "sync-setting-invalid", &e);
    } else if (apply_conf(a, &changed)) {
        *s = (struct sync_setting){.want = *want, .written_ms = now};
        pg_barrier_begin(&s->barrier, buf_str(&text), from_empty, now);
        log_event(LOG_INFO, "sync-set", "synchronous_standby_names written",
                  LOG_S("value", buf_str(&text)));
    }
    buf_done(&text);
}

/* Whoever sets it by ALTER SYSTEM beats our file, and commits would be acknowledged that nobody else has. */
static void overrule_hand(struct agent *a, int64_t now)
{
    struct sync_setting *s = &a->sync;
    int64_t looked_ms = pg_probe_facts(a->probe)->fresh_ms;
    /* A value that is none of ours, as '*', is seen as unknown: that this is the reason says the look. */
    if (ssn_eq(&a->view.pg.ssn, &s->want) || a->server.pid == 0 ||
        looked_ms < s->written_ms + OVERRULE_MS || looked_ms < s->overruled_ms + OVERRULE_MS)
        return;
    struct err e = {0};
    s->overruled_ms = now;
    log_event(LOG_WARNING, "setting-overruled", "synchronous_standby_names was set by hand; it is ours",
              LOG_S("value", pg_probe_facts(a->probe)->fresh_ssn));
    if (!pg_conf_strip_auto(a->conf, &e) || !pg_conf_reload(a->server.pid, &e))
        trouble(a, "setting-not-overruled", &e);
}

/* Evidence needs looks at the walsenders and sometimes a CHECKPOINT. */
static void drive_proof(struct agent *a, int64_t now)
{
    struct sync_setting *s = &a->sync;
    if (s->written_ms == 0)
        return;
    int64_t fresh = pg_probe_facts(a->probe)->fresh_ms;
    bool due = a->server.in_recovery == TRI_NO && now - fresh >= LOOK_AGAIN_MS;
    if (due || !ssn_eq(&a->view.pg.ssn, &s->want)) /* a reload is not its effect: look until it shows */
        pg_probe_kick_settings(a->probe, fresh > s->written_ms ? fresh : s->written_ms);
    overrule_hand(a, now);
    if (s->in_force || a->server.in_recovery != TRI_NO)
        return;
    int64_t after = pg_barrier_checkpoint_after(&s->barrier);
    struct err e = {0};
    if (after != 0 && a->checkpoint_ms < after &&
        pg_task_state(a->checkpoint) != PG_TASK_RUNNING && now - s->checkpoint_asked_ms > 200) {
        s->checkpoint_asked_ms = now;
        (void)pg_task_checkpoint(a->checkpoint, now + CHECKPOINT_TASK_MS, &e);
    }
}

static void act_promote(struct agent *a, const struct verdict *d, int64_t now)
{
    struct server *s = &a->server;
    struct err e = {0};
    if (s->pid == 0 || s->in_recovery != TRI_YES || now < s->promote_next_ms)
        return;
    if (page_deadline_ms(a->page) <= now + a->set.kill_ms)
        return;
    if (!s->armed) {
        uint32_t current = pg_probe_facts(a->probe)->timeline;
        if (!pg_placeholders_write(&a->env, current, d->timeline, &e)) {
            trouble(a, "placeholders-unwritten", &e);
            return;
        }
        if (!guard_link_arm(a->link, &e)) {
            trouble(a, "guard-unarmed", &e);
            return;
        }
        s->armed = true;
        pg_detach_reset(a->detach);
        log_event(LOG_INFO, "promote-sent", "the server is asked to leave recovery",
                  LOG_I("timeline", d->timeline), LOG_I("epoch", d->epoch));
    }
    s->promote_next_ms = now + PROMOTE_REPEAT_MS;
    if (!pg_promote_request(&a->env, s->pid, &e))
        trouble(a, "promote-unsent", &e);
}

static void act_tasks(struct agent *a, const struct verdict *d, int64_t now)
{
    struct err e = {0};
    if (pg_task_state(a->checkpoint) == PG_TASK_OK && pg_task_begun_ms(a->checkpoint) > 0)
        a->checkpoint_ms = pg_task_begun_ms(a->checkpoint);
    if ((d->effects & EFF_CHECKPOINT) != 0 && pg_task_state(a->checkpoint) != PG_TASK_RUNNING &&
        a->server.answered)
        (void)pg_task_checkpoint(a->checkpoint, now + CHECKPOINT_TASK_MS, &e);
    if (pg_task_state(a->misc) == PG_TASK_RUNNING || !a->server.answered || a->server.pid == 0)
        return;
    if ((d->effects & EFF_END_CLIENTS) != 0 && !a->clients_ended) {
        a->clients_ended = pg_task_end_clients(a->misc, now + TASK_MS, &e);
        return;
    }
    if ((d->effects & EFF_DROP_SENDERS) != 0 && !a->senders_ended) {
        a->senders_ended = pg_task_end_senders(a->misc, d->target, now + TASK_MS, &e);
        return;
    }
    if ((d->effects & EFF_SLOTS) != 0 && now >= a->slots_ms) {
        struct pg_slot_want want[HA_MEMBERS_MAX];
        size_t n = 0;
        for (uint8_t i = 0; i < a->n_members; i++) {
            const struct peer *p = &a->member[i].peer;
            if (p->received_ms == 0 || p->state.volume == 0 || p->state.data != DATA_OK ||
                core_is_gone(&a->view, p))
                continue; /* the volume of an empty member changes with its copy */
            uint64_t advance = p->state.position.lsn;
            if (a->server.in_recovery != TRI_YES || advance > a->server.last.lsn)
                advance = 0;
            want[n++] = (struct pg_slot_want){p->state.volume, advance};
        }
        a->slots_ms = now + (a->server.in_recovery == TRI_NO ? 1000 : 5000);
        if (n > 0)
            (void)pg_task_slots(a->misc, want, n, d->slots_settled, now + TASK_MS, &e);
    }
}

/* --- the exclusive operation on the data directory ---------------------------------------------- */

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

static void act_job(struct agent *a, const struct verdict *d, int64_t now)
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
        trouble(a, "operation-unbegun", &e);
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

static int64_t probe_interval(const struct agent *a, const struct verdict *d, int64_t now)
{
    uint32_t hurry = EFF_PROMOTE | EFF_DETACH | EFF_VOTES | EFF_PG_STOP | EFF_CHECKPOINT;
    bool proving = a->sync.written_ms != 0 && !a->sync.in_force && a->server.in_recovery == TRI_NO;
    if ((d->effects & hurry) != 0 || now < a->hot_until_ms || !a->server.answered)
        return 10;
    if (proving || (d->effects & EFF_PEERS) != 0)
        return 20;
    if ((d->effects & EFF_FOLLOW) != 0 && !a->view.pg.streaming)
        return 20;
    return a->server.in_recovery == TRI_NO ? 500 : 1000;
}

void act_pg(struct agent *a, int64_t now)
{
    const struct verdict *d = &a->verdict;
    uint32_t e = d->effects;
    pg_probe_set_interval(a->probe, probe_interval(a, d, now));
    if ((e & EFF_FENCE) != 0)
        act_kill(a);
    if (a->conf_due && a->server.answered) {
        bool changed;
        a->conf_due = !apply_conf(a, &changed);
    }
    act_job(a, d, now);
    judge_lineage(a, now);
    if ((e & EFF_PG_START) != 0)
        act_start(a, now);
    if ((e & EFF_CLOSE) != 0)
        act_gate(a, true, now);
    if ((e & EFF_OPEN) != 0)
        act_gate(a, false, now);
    if ((e & EFF_DETACH) != 0)
        act_detach(a, d->epoch);
    if ((e & EFF_FOLLOW) != 0)
        act_follow(a, d, now);
    if ((e & EFF_SSN) != 0)
        act_sync(a, &d->ssn, now);
    drive_proof(a, now);
    if ((e & EFF_PROMOTE) != 0)
        act_promote(a, d, now);
    act_tasks(a, d, now);
    if ((e & EFF_PG_STOP) != 0 &&
        ((e & EFF_DROP_SENDERS) == 0 || a->senders_ended || now - a->memo.stop_ms > 100))
        act_stop(a, now);
}
