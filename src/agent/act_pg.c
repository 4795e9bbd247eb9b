/* Effects on the local server and its data directory. Each is idempotent: it is asked for again every
 * turn until the view shows it. */
#include <signal.h>
#include <string.h>

#include "act_parts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "pg/promote.h"
#include "pg/spare.h"

#define TASK_MS 5000
#define PROMOTE_REPEAT_MS 20
#define RELEASE_FIRST_MS 100

void act_trouble(struct agent *a, const char *event, const struct err *e)
{
    static int64_t said_ms;
    static const char *said;
    if (said == event && a->last_now_ms - said_ms < 5000)
        return;
    said = event;
    said_ms = a->last_now_ms;
    log_event(LOG_WARNING, event, e->msg, LOG_S("kind", err_kind_name(e->kind)));
}

bool act_apply_conf(struct agent *a, bool *changed)
{
    struct err e = {0};
    *changed = false;
    if (!pg_conf_write(a->conf, changed, &e)) {
        act_trouble(a, "configuration-unwritten", &e);
        return false;
    }
    struct server *s = &a->server;
    bool strict = pg_conf_strict(a->conf);
    s->strict = s->strict && strict;
    s->unread = s->unread || *changed;
    if (s->unread && s->pid != 0 && guard_link_signal(a->link, SIGHUP, &e) == 0) {
        act_trouble(a, "reload-unsent", &e);
        return false;
    }
    s->unread = false;
    /* Sessions of a standby commit nothing, and end before its promotion. */
    s->strict = strict && (s->strict || s->in_recovery == TRI_YES);
    return true;
}

/* Of a server that an earlier agent left running, hba and the standbys that commits wait for are known
 * when the verdict has named them; until then nothing that users have changed is worth a reload. */
bool settings_known(const struct agent *a)
{
    return !a->server.inherited || (a->sync.written_ms != 0 && a->gate.written);
}

/* A parameter that its start had to raise would else vanish from the file, and wait for a restart. */
static void inherit_floors(struct agent *a)
{
    struct err e = {0};
    if (!a->server.inherited || a->server.floors_read)
        return;
    a->server.floors_read = true;
    if (!pg_conf_read_floor(a->conf, &e))
        act_trouble(a, "control-unread", &e);
}

/* What is written for another reason meanwhile keeps the standbys as they are: an empty list would end the
 * wait of every commit that no standby has. */
static void inherit_sync(struct agent *a)
{
    const struct pg_facts *f = pg_probe_facts(a->probe);
    struct pg_ssn set;
    struct err e = {0};
    if (!a->server.inherited || a->sync.written_ms != 0 || !f->valid || f->fresh_ms == 0)
        return;
    pg_ssn_parse(&set, f->fresh_ssn);
    if (set.kind == PG_SSN_OTHER)
        set = (struct pg_ssn){.kind = PG_SSN_UNSATISFIABLE};
    if (!pg_conf_set_ssn(a->conf, &set, &e))
        act_trouble(a, "sync-setting-invalid", &e);
}

static void act_gate(struct agent *a, bool closed, int64_t now)
{
    struct gate *g = &a->gate;
    if (a->server.pid == 0 || (g->written && g->closed == closed))
        return;
    bool changed;
    pg_conf_set_closed(a->conf, closed);
    if (!act_apply_conf(a, &changed))
        return;
    *g = (struct gate){.closed = closed, .written = true, .written_ms = now};
}

static void act_strict(struct agent *a)
{
    bool before = pg_conf_strict(a->conf), changed;
    pg_conf_keep_strict(a->conf, a->verdict.strict);
    if (pg_conf_strict(a->conf) != before && settings_known(a))
        (void)act_apply_conf(a, &changed);
}

/* To prepare a start blocks for some 30 ms; the release that others wait for goes first. */
static bool release_first(struct agent *a, int64_t now)
{
    const struct lease_view *lv = &a->view.lv;
    int64_t until = lv->write_sent_ms + RELEASE_FIRST_MS;
    if (lv->write != WRITE_RELEASE || lv->outcome != OUTCOME_PENDING || now >= until)
        return false;
    loop_wake_at(a->loop, until);
    return true;
}

static void act_start(struct agent *a, int64_t now)
{
    const struct link_status *g = guard_link_status(a->link);
    struct server *s = &a->server;
    struct err e = {0};
    if (s->pid != 0 || g == NULL || g->postgres_pid != 0 || now < s->next_start_ms ||
        (s->start_sent_ms != 0 && now - s->start_sent_ms < 1000) ||
        pg_job_state(a->job) == PG_JOB_RUNNING || s->hidden || release_first(a, now))
        return;
    struct pg_ssn none = {.kind = PG_SSN_UNSATISFIABLE};
    bool changed;
    pg_conf_set_upstream(a->conf, NULL);
    pg_conf_set_closed(a->conf, true);
    if (!pg_conf_set_ssn(a->conf, &none, &e) || !pg_datadir_private(&a->env, &e) ||
        !pg_standby_signal(&a->env, &e) || !pg_promote_forget(&a->env, &e) ||
        !pg_placeholders_settle(&a->env, &e) || !pg_spare_settle(&a->env, &e) ||
        !pg_conf_clean_auto(a->conf, &e) || !pg_conf_write(a->conf, &changed, &e)) {
        act_trouble(a, "start-unprepared", &e);
        (void)str_format(a->unprepared, sizeof a->unprepared, "%.150s", e.msg);
        return;
    }
    a->unprepared[0] = '\0';
    const char *const *argv = pg_conf_argv(a->conf);
    /* argv: path, -D, data directory, then what guard passes on as it is */
    if (guard_link_start(a->link, argv[0], a->env.data_dir, argv + 3, &e) == 0) {
        act_trouble(a, "start-unsent", &e);
        return;
    }
    s->start_sent_ms = now;
    s->crashed = false;
    s->strict = pg_conf_strict(a->conf);
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
        act_trouble(a, "stop-unsent", &e);
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
        act_trouble(a, "kill-unsent", &e);
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

/* A pod that is made anew after a forced deletion has an address while the old container still ends.
 * Only the stream that is there brings the end of WAL, without which the old writer may not release the
 * Lease. Whoever has answered at the new address has the volume, so the old one is gone. */
static bool stream_outlives_pod(const struct agent *a, const struct member *up)
{
    return a->view.pg.streaming && up->peer.sent_ms < up->ip_since_ms;
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
    if (w->volume == d->upstream && w->epoch == d->epoch && w->provisional == d->provisional &&
        (strcmp(w->address, up->ip) == 0 || stream_outlives_pod(a, up)))
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
        act_trouble(a, "passfile-unwritten", &e);
        return;
    }
    if (writer && !d->provisional)
        spare_use(a);
    bool changed;
    pg_conf_set_upstream(a->conf, &u);
    if (!act_apply_conf(a, &changed))
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
            act_trouble(a, "placeholders-unwritten", &e);
            return;
        }
        if (!guard_link_arm(a->link, &e)) {
            act_trouble(a, "guard-unarmed", &e);
            return;
        }
        s->armed = true;
        pg_detach_reset(a->detach);
        log_event(LOG_INFO, "promote-sent", "the server is asked to leave recovery",
                  LOG_I("timeline", d->timeline), LOG_I("epoch", d->epoch));
    }
    s->promote_next_ms = now + PROMOTE_REPEAT_MS;
    if (!pg_promote_request(&a->env, s->pid, &e))
        act_trouble(a, "promote-unsent", &e);
}

/* A set that has changed is asked for once more soon after; one that stays is looked after. */
#define SLOTS_CHANGED_MS 1000
#define SLOTS_SAME_MS 5000

static void act_slots(struct agent *a, const struct verdict *d, int64_t now)
{
    struct err e = {0};
    struct pg_slot_want want[HA_MEMBERS_MAX];
    size_t n = 0;
    uint64_t set = d->slots_settled ? 1 : 0;
    for (uint8_t i = 0; i < a->n_members; i++) {
        const struct peer *p = &a->member[i].peer;
        if (p->received_ms == 0 || p->state.volume == 0 || p->state.data != DATA_OK || core_is_gone(&a->view, p))
            continue; /* the volume of an empty member changes with its copy */
        uint64_t advance = p->state.position.lsn;
        if (a->server.in_recovery != TRI_YES || advance > a->server.last.lsn)
            advance = 0;
        want[n++] = (struct pg_slot_want){p->state.volume, advance};
        set += p->state.volume;
    }
    bool settled = a->server.in_recovery != TRI_NO || set == a->slots_set;
    a->slots_set = set;
    a->slots_ms = now + (settled ? SLOTS_SAME_MS : SLOTS_CHANGED_MS);
    if (n > 0)
        (void)pg_task_slots(a->misc, want, n, d->slots_settled, now + TASK_MS, &e);
}

static void act_tasks(struct agent *a, const struct verdict *d, int64_t now)
{
    struct err e = {0};
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
    if ((d->effects & EFF_SLOTS) != 0 && now >= a->slots_ms)
        act_slots(a, d, now);
}

static int64_t probe_interval(const struct agent *a, const struct verdict *d, int64_t now)
{
    uint32_t hurry = EFF_PROMOTE | EFF_DETACH | EFF_VOTES | EFF_PG_STOP | EFF_CHECKPOINT;
    bool proving = a->sync.written_ms != 0 && !a->sync.in_force && a->server.in_recovery == TRI_NO;
    bool admitting = a->server.in_recovery == TRI_NO && (d->effects & EFF_PEERS) != 0 &&
                     a->view.pg.open != TRI_YES;
    if ((d->effects & EFF_PROMOTE) != 0 || admitting)
        return 4; /* each look is a step of what clients wait for */
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
    inherit_floors(a);
    inherit_sync(a);
    act_strict(a);
    if (a->conf_due && a->server.answered && settings_known(a)) {
        bool changed;
        a->conf_due = !act_apply_conf(a, &changed);
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
    act_sync_prove(a, now);
    if ((e & EFF_PROMOTE) != 0)
        act_promote(a, d, now);
    act_tasks(a, d, now);
    if ((e & EFF_PG_STOP) != 0 &&
        ((e & EFF_DROP_SENDERS) == 0 || a->senders_ended || now - a->memo.stop_ms > 100))
        act_stop(a, now);
}
