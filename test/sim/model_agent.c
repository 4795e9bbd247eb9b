/* Containers, guard, and the agent: view of the model -> core -> effects on the model. */
#include "world.h"

struct member *by_volume(uint64_t v)
{
    for (int i = 0; v != 0 && i < W.n; i++)
        if (W.m[i].volume == v)
            return &W.m[i];
    return NULL;
}

void identify(struct member *m)
{
    m->id = (struct identity){.boot = m->boot};
    snprintf(m->id.name.s, sizeof m->id.name.s, "pg-%d", m->idx);
    snprintf(m->id.uid, sizeof m->id.uid, "uid-%d-%u", m->idx, m->uid);
}

void container_dies(struct member *m, int64_t back_ms)
{
    TRACE(m, "container dies for %" PRId64 " ms", back_ms);
    if (m->op_state == OP_RUNNING && (m->op == OP_CLONE || m->op == OP_INITDB) &&
        m->data == DATA_EMPTY && chance(50))
        m->data = DATA_PARTIAL;
    server_gone(m, false);
    m->leftovers = false;
    m->container = false;
    m->container_at_ms = W.now + back_ms;
    not_before(&m->container_at_ms, m->disk_until); /* the volume lock is held until then */
    poke(m);
    m->op = OP_NONE;
    m->op_state = OP_IDLE;
    m->agent_frozen_until = m->node_frozen_until = m->grace_until_ms = m->kill_at_ms = 0;
    m->kill_by_guard = false;
    m->agent_restart_at_ms = m->vm_paused_at = m->kill_container_at = 0;
    if (chance(30))
        m->uid++; /* the pod object was replaced too */
    identify(m);
}

/* A human or a tool does it: nobody armed guard, and the number is of no allocation. Two histories
 * under one number, which PostgreSQL itself cannot tell apart, are not modelled. */
void promoted_by_hand(struct member *m)
{
    m->tl = 100 + 50 * W.by_hand++;
    m->recovery = false;
    m->unread = 0;
    m->st.rx = false;
    m->promote_at_ms = m->detach_at_ms = 0;
    m->frozen_epoch = m->reign_epoch = 0;
    m->acked_upto = m->len;
    TRACE(m, "PROMOTED BY HAND to tl %u", m->tl);
}

void volume_lost(struct member *m)
{
    TRACE(m, "VOLUME LOST");
    m->data = DATA_EMPTY;
    m->volume = random_id();
    m->len = 0;
    m->tl = 0;
    m->durable_epoch = 0;
    m->has_record = false;
    m->new_record = true;
    m->system_id = 0;
    m->wal_missing = m->damaged = false;
    m->failed_starts = 0;
}

void agent_starts(struct member *m)
{
    int64_t deadline = m->writable ? m->page_deadline : 0;
    m->ver = (struct decided){0};
    m->ver.memo.deadline_ms = deadline;
    m->page_deadline = deadline;
    memset(&m->view, 0, sizeof m->view);
    for (int i = 0; i < W.n; i++)
        if (i != m->idx)
            peer_at(m, i)->name = W.m[i].id.name;
    m->new_lease = m->new_state = m->new_record = true;
    m->agent_started = m->local;
    m->next_turn_ms = m->busy_until_ms = W.now;
    poke(m);
    m->seen_at_ms = W.now + (chance(10) ? between(10, 2000) : 0);
    api_client_reset(m);
    peers_forget(m);
    m->has_vote = m->has_dup = false;
    m->op_failures = 0;
}

void container_starts(struct member *m)
{
    m->container = true;
    m->boot = random_id();
    identify(m);
    m->fenced = false;
    m->terminate = 0;
    m->label = ROLE_UNKNOWN;
    m->page_deadline = 0;
    m->set = W.set;
    m->checkpoint_local = 0;
    server_gone(m, false);
    agent_starts(m);
    wake_all();
    TRACE(m, "container starts");
}

/* The fence needs neither the agent nor the API. */
void guard_run(struct member *m)
{
    if (m->writable && m->local >= m->page_deadline && !m->kill_by_guard) {
        m->kill_by_guard = true;
        int64_t at = W.now + between(0, m->set.kill_ms * 7 / 10);
        if (m->kill_at_ms == 0 || m->kill_at_ms > at)
            m->kill_at_ms = at;
        m->agent_frozen_until = m->kill_at_ms; /* killed first of all */
    }
    if (m->grace_until_ms != 0 && W.now >= m->grace_until_ms)
        container_dies(m, between(500, 5000));
}

/* --- view ------------------------------------------------------------------------------------- */

/* PostgreSQL writes the new timeline's history some milliseconds before recovery has ended. */
#define NEW_TIMELINE_SHOWS_MS 12

static void view_pg(struct member *m, struct pg *g)
{
    g->looked_ms = m->local - (chance(10) ? between(10, 500) : between(0, 10));
    g->process = m->proc == PG_RUNNING && m->kill_at_ms != 0 ? PG_STOPPING : m->proc;
    g->ours = true;
    g->crashed = m->crashed && m->proc == PG_DOWN;
    g->clean = m->clean;
    g->answers = m->answers ? TRI_YES : TRI_NO;
    g->in_recovery = m->answers ? (m->recovery ? TRI_YES : TRI_NO) : TRI_UNKNOWN;
    g->maybe_writable = m->writable;
    g->position = pos_of(m);
    g->accounted = m->accounted || (m->proc == PG_DOWN && m->op == OP_WALEND && m->op_state == OP_OK)
                       ? TRI_YES
                       : TRI_NO;
    g->wal_unread = m->unread > 0 && m->accounted && m->proc == PG_RUNNING && m->recovery;
    g->settings_low = m->settings_low;
    bool inherited = m->agent_started > m->up_local;
    g->strict_now = !m->loose;
    g->strict = !m->answers || inherited ? TRI_UNKNOWN : W.gate ? TRI_YES : TRI_NO;
    g->reached_ms = m->up_local;
    g->local_timeline = m->tl;
    if (m->recovery && m->promote_at_ms != 0 && W.now >= m->promote_at_ms - NEW_TIMELINE_SHOWS_MS)
        g->local_timeline = m->promote_tl;
    g->frozen_epoch = m->frozen_epoch;
    g->follows = m->follows;
    g->follows_epoch = m->follows_epoch;
    g->streaming = m->st.rx && m->st.on;
    if (g->streaming)
        g->receiver_timeline = m->st.other ? m->tl : W.m[m->st.upstream].tl;
    struct member *up = by_volume(m->lease.record.writer);
    if (g->streaming && !m->st.other)
        g->diverged = TRI_NO;
    else if (up != NULL && up != m && m->data == DATA_OK && up->proc == PG_RUNNING &&
             !up->recovery && up->tl == m->lease.record.timeline && linked(m->idx, up->idx) &&
             m->durable_epoch == up->durable_epoch)
        g->diverged = m->damaged ? TRI_UNKNOWN : log_prefix(up, m) ? TRI_NO : TRI_YES;
    g->history_holds = !g->streaming && g->diverged == TRI_NO && g->accounted == TRI_YES;
    g->wal_missing = m->wal_missing && g->diverged == TRI_NO && !g->streaming;
    if (m->damaged && m->failed_starts >= 3 && up != NULL && up != m && up->answers &&
        !up->recovery && linked(m->idx, up->idx))
        g->wal_missing = true;
    g->failed_starts = m->failed_starts;
    g->ssn = m->ssn_at_ms != 0 ? (struct ssn){.kind = SSN_UNKNOWN} : m->ssn;
    g->ssn_in_force = m->proof_lsn != 0;
    g->ssn_proof_lsn = m->proof_lsn;
    for (int i = 0; i < W.n; i++) {
        const struct stream *s = &W.m[i].st;
        if (s->on && s->upstream == m->idx && m->answers)
            g->sender[g->n_senders++] = (struct walsender){.volume = s->provisional ? 0 : s->volume,
                                                           .streaming = true,
                                                           .flushed_lsn = s->flushed,
                                                           .caught_up = s->flushed >= s->start_lsn};
    }
    g->closed = m->gate_at_ms == 0 && m->closed && m->proc == PG_RUNNING ? TRI_YES : TRI_NO;
    g->open = m->gate_at_ms == 0 && m->admitted && m->proc == PG_RUNNING ? TRI_YES : TRI_NO;
    g->promoted_end_lsn = m->promoted_local != 0 ? m->promoted_end : 0;
    g->promoted_ms = m->promoted_local;
    g->checkpoint_ms = m->checkpoint_local;
    g->op = m->op;
    g->op_state = m->op_state;
    g->op_failures = m->op_failures;
    g->op_since_ms = m->op_since;
    g->storage_since_ms = W.now < m->disk_until ? m->disk_since : 0;
}

/* Only what has changed of the large parts. */
static void view_lease(struct member *m, struct lease_view *lv)
{
    lv->known = m->known;
    if (m->new_lease)
        lv->lease = m->lease;
    m->new_lease = false;
    lv->changed_ms = m->changed;
    lv->got_ms = m->got;
    lv->contact_ms = m->contact;
    lv->get_pending = m->get_pending;
    lv->write = m->wkind;
    lv->outcome = m->outcome;
    lv->write_seq = m->wseq;
    lv->write_sent_ms = m->wsent;
    lv->write_done_ms = m->wdone;
    lv->write_duration_s = m->wdur;
    lv->write_holder = m->wholder;
}

static void view_self(struct member *m, struct self *s)
{
    s->id = m->id;
    s->ordinal = (uint8_t)m->idx;
    s->volume = m->volume;
    s->system_id = m->system_id;
    s->data = W.now < m->seen_at_ms ? DATA_UNKNOWN : m->data;
    s->durable_epoch = m->durable_epoch;
    s->has_record = m->has_record;
    if (m->new_record)
        s->record = m->record;
    m->new_record = false;
    s->started_ms = m->agent_started;
    s->fenced = m->fenced;
    s->server_lock = m->proc == PG_DOWN && m->leftovers ? TRI_NO : TRI_YES;
    s->terminate = m->terminate;
}

static void view_make(struct member *m, struct view *v)
{
    v->now_ms = m->local;
    v->set = m->set;
    view_self(m, &v->self);
    v->pg = (struct pg){0};
    view_pg(m, &v->pg);
    view_lease(m, &v->lv);
    if (m->new_state) {
        v->st = m->state;
        v->intent = m->intent;
    }
    m->new_state = false;
    v->pods_known = true;
    v->n_peers = 0;
    for (int i = 0; i < W.n; i++)
        if (i != m->idx && W.m[i].container_at_ms != INT64_MAX) {
            peer_at(m, i)->pod_known = true;
            v->n_peers++;
        }
    v->label = m->label;
    v->intent_expired = W.now > W.intent_until_ms;
}

/* --- effects ---------------------------------------------------------------------------------- */

static void act_right(struct member *m, const struct verdict *d)
{
    if (d->failsafe && d->deadline_ms > m->local && m->page_deadline <= m->local)
        m->ver.memo.deadline_ms = 0; /* a lapse is final */
    else
        m->page_deadline = d->deadline_ms;
    if (m->page_deadline > m->local)
        m->lapsed = 0;
    if (d->store_epoch > m->durable_epoch)
        m->durable_epoch = d->store_epoch;
    if (d->store_record) {
        m->record = m->lease.record;
        m->has_record = true;
        m->new_record = true;
    }
    if ((d->effects & EFF_FENCE) != 0 && m->kill_at_ms == 0 &&
        (m->proc != PG_DOWN || m->writable || m->leftovers)) {
        m->kill_at_ms = W.now + between(0, 100);
        m->leftovers = false;
    }
}

static void act_follow(struct member *m, const struct verdict *d)
{
    uint32_t e = d->effects;
    if (m->proc != PG_RUNNING || !m->recovery)
        return;
    if ((e & EFF_DETACH) != 0 && m->frozen_epoch != d->epoch && m->durable_epoch >= d->epoch &&
        (m->detach_at_ms == 0 || m->detach_epoch != d->epoch)) {
        m->detach_epoch = d->epoch;
        m->frozen_epoch = 0;
        m->detach_at_ms = W.now + between(10, 60);
    }
    if ((e & EFF_FOLLOW) != 0 && m->durable_epoch == d->epoch &&
        (m->follows != d->upstream || m->follows_epoch != d->epoch ||
         m->provisional != d->provisional)) {
        m->follows = d->upstream;
        m->provisional = d->provisional;
        m->follows_epoch = d->epoch;
        m->frozen_epoch = 0;
        m->detach_at_ms = 0;
        m->st.rx = false;
    }
    if ((e & EFF_PROMOTE) != 0 && m->promote_at_ms == 0 && m->kill_at_ms == 0 &&
        m->page_deadline > m->local + m->set.kill_ms) {
        m->writable = true;
        m->frozen_epoch = 0;
        m->promote_tl = d->timeline;
        m->promote_epoch = m->lease.epoch;
        m->promote_at_ms = W.now + between(20, chance(5) ? 3000 : 120);
    }
}

static void gate_want(struct member *m, bool open)
{
    if (m->proc != PG_RUNNING || (m->gate_at_ms == 0 && m->closed != open) ||
        (m->gate_at_ms != 0 && m->gate_wanted_open == open))
        return;
    m->gate_wanted_open = open;
    m->gate_at_ms = W.now + between(5, 30);
}

static void act_server(struct member *m, const struct verdict *d)
{
    uint32_t e = d->effects;
    if ((e & EFF_PG_START) != 0 && !m->leftovers)
        server_start(m);
    if ((e & EFF_PG_STOP) != 0 && m->kill_at_ms == 0) {
        server_stop(m);
        m->leftovers = m->proc == PG_STOPPING && chance(10);
    }
    act_follow(m, d);
    if ((e & EFF_INITDB) != 0)
        op_begin(m, OP_INITDB, 300, 900);
    if ((e & EFF_CLONE) != 0)
        op_begin(m, OP_CLONE, 300, 900);
    if ((e & EFF_REWIND) != 0)
        op_begin(m, OP_REWIND, 100, 600);
    if ((e & EFF_WALEND) != 0)
        op_begin(m, OP_WALEND, 20, 80);
    if ((e & EFF_SSN) != 0 && m->proc == PG_RUNNING && m->answers && d->ssn.kind != SSN_UNKNOWN &&
        !ssn_eq(&m->ssn, &d->ssn)) {
        m->ssn = d->ssn;
        m->ssn_at_ms = W.now + between(5, 40);
        m->proof_lsn = 0;
    }
    if ((e & EFF_CLOSE) != 0)
        gate_want(m, false);
    if ((e & EFF_OPEN) != 0)
        gate_want(m, true);
    if ((e & EFF_CHECKPOINT) != 0 && m->checkpoint_at_ms == 0 && m->proc == PG_RUNNING) {
        m->checkpoint_begun = m->local;
        m->checkpoint_at_ms = W.now + between(10, chance(5) ? 4000 : 100);
    }
}

/* What must be durable first cannot be made so: its thread waits, and acts on nothing of that turn after. */
static bool waits_for_disk(struct member *m, const struct verdict *d)
{
    if (W.now >= m->disk_until || (d->store_epoch <= m->durable_epoch && !d->store_record))
        return false;
    not_before(&m->agent_frozen_until, m->disk_until);
    return true;
}

static void act(struct member *m, const struct verdict *d)
{
    uint32_t e = d->effects;
    if (waits_for_disk(m, d))
        return;
    act_right(m, d);
    peers_answer(m, true);
    if ((e & EFF_LEASE_GET) != 0)
        api_get(m);
    if ((e & EFF_LEASE_WRITE) != 0 && m->outcome != OUTCOME_PENDING)
        api_write(m, &d->write);
    act_server(m, d);
    if (m->api == API_UP && (e & EFF_LABEL_PRIMARY) != 0)
        m->label = ROLE_PRIMARY;
    if (m->api == API_UP && (e & EFF_LABEL_REPLICA) != 0)
        m->label = ROLE_REPLICA;
    if (m->api == API_UP && (e & EFF_UNLABEL) != 0)
        m->label = ROLE_UNKNOWN;
    if ((e & EFF_STATE) != 0)
        api_save_state(m);
    peers_ask(m);
    if ((e & EFF_EXIT) != 0)
        container_dies(m, between(500, 3000));
}

/* The agent turns when something has come, once or twice more until nothing is new, and at the latest when
 * the core asked for it. */
static void plan_turn(struct member *m, uint32_t rule, uint32_t effects, uint64_t facts)
{
    bool same = m->ver.rule == rule && m->ver.effects == effects && m->ver.facts == facts;
    m->quiet = same ? m->quiet + 1 : 0;
    m->busy_until_ms = W.now + (chance_in(W.dense ? 200 : 40) ? between(50, 600) : between(0, 15));
    m->next_turn_ms = m->busy_until_ms;
    if (!W.dense && m->quiet == 1 && chance(50))
        m->next_turn_ms += between(0, 120);
    else if (!W.dense && m->quiet > 0)
        m->next_turn_ms = INT64_MAX;
    int64_t latest = true_time(m, m->ver.wake_at_ms);
    if (m->next_turn_ms > latest)
        m->next_turn_ms = latest;
    if (m->next_turn_ms < m->busy_until_ms)
        m->next_turn_ms = m->busy_until_ms;
}

void agent_event(struct member *m)
{
    int64_t at = W.now + between(0, 10);
    if (at < m->busy_until_ms)
        at = m->busy_until_ms;
    soonest(&m->next_turn_ms, at);
    m->quiet = 0;
}

static void agent_trace(const struct member *m, const struct verdict *d, uint32_t before)
{
    if (d->rule != before)
        TRACE(m, "-> %s (epoch %" PRIu64 "/%" PRIu64 " tl %u len %" PRIu64
                 " V %d W %d sealed %d dl %" PRId64 ")",
              core_rules[d->rule].id, m->lease.epoch, m->durable_epoch, m->tl, m->len,
              record_votes(&m->lease.record), m->lease.record.w, m->lease.record.sealed != 0,
              m->page_deadline - m->local);
    if (d->result.id != 0)
        TRACE(m, "intent: state %d %s", (int)d->result.state, d->result.message);
}

bool agent_run(struct member *m, bool peers)
{
    if (m->set_at_ms != 0 && W.now >= m->set_at_ms) {
        m->set = W.set;
        m->set_at_ms = 0;
        agent_event(m);
    }
    op_run(m);
    if (peers) {
        peers_collect(m);
        peers_arrive(m);
    }
    if (W.now < m->next_turn_ms) {
        if (peers) {
            peers_answer(m, false);
            peers_ask(m);
        }
        return false;
    }
    peers_inbox(m);
    view_make(m, &m->view);
    uint32_t rule = m->ver.rule, effects = m->ver.effects;
    uint64_t facts = m->ver.facts;
    static struct verdict d;
    decide(&m->view, &m->ver.memo, &d);
    tally_turn(&m->ver, &d);
    struct decided *ver = &m->ver; /* field by field: what it remembers is large, and copied once */
    ver->rule = d.rule;
    ver->effects = d.effects;
    ver->facts = d.facts;
    ver->epoch = d.epoch;
    ver->refused_epoch = d.refused_epoch;
    ver->writer_silent_ms = d.writer_silent_ms;
    m->loose = !d.strict;
    ver->promise_ms = d.promise_ms;
    ver->wake_at_ms = d.wake_at_ms;
    ver->serving = d.serving;
    ver->waits = d.waits_for[0] != '\0';
    ver->memo = d.memo;
    W.turns++;
    if (W.trace)
        agent_trace(m, &d, rule);
    act(m, &d);
    if (m->container)
        plan_turn(m, rule, effects, facts);
    return true;
}
