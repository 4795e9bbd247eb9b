/* Calls between members: one at a time per pair, late answers, lost answers, doubled requests. */
#include "world.h"

#define GIVE_UP_MS 1000

#define BIT(i) ((uint8_t)(1u << (i)))

/* Takes the lowest member out of a set. */
static inline int next_of(unsigned *set)
{
    int i = __builtin_ctz(*set);
    *set &= *set - 1;
    return i;
}

void peers_forget(struct member *m)
{
    memset(W.ask[m->idx], 0, sizeof W.ask[0]);
    W.asked[m->idx] = 0;
    for (int i = 0; i < W.n; i++) {
        W.coming[i] &= (uint8_t)~BIT(m->idx);
        W.waiting[i] &= (uint8_t)~BIT(m->idx);
    }
}

/* No answer is waited for any more. */
static void ask_over(int asker, int other)
{
    W.ask[asker][other].active = false;
    W.asked[asker] &= (uint8_t)~BIT(other);
    W.coming[other] &= (uint8_t)~BIT(asker);
    W.waiting[other] &= (uint8_t)~BIT(asker);
}

static struct peer_state state_of(const struct member *m)
{
    struct peer_state s = {.id = m->id, .volume = m->volume};
    s.system_id = m->system_id;
    s.data = m->data;
    s.process = m->proc;
    s.in_recovery = m->answers ? (m->recovery ? TRI_YES : TRI_NO) : TRI_UNKNOWN;
    s.position = pos_of(m);
    s.durable_epoch = m->durable_epoch;
    s.frozen_epoch = m->accounted ? m->frozen_epoch : 0;
    s.refused_epoch = m->ver.refused_epoch;
    s.lease_epoch = m->lease.epoch;
    s.record_epoch = m->has_record ? m->record.epoch : 0;
    s.record_rev = m->has_record ? m->record.rev : 0;
    s.nofailover = m->set.nofailover;
    s.priority = m->set.priority;
    s.paused = m->state.paused;
    s.writer_silent_ms = m->ver.writer_silent_ms;
    s.streams_from = m->st.on && m->st.rx ? m->follows : 0;
    return s;
}

/* Does the asker do anything with it before its next turn? */
static bool matters(const struct peer_state *is, const struct peer_state *was)
{
    return is->process != was->process ||
           is->in_recovery != was->in_recovery || is->data != was->data ||
           is->volume != was->volume || is->id.boot != was->id.boot ||
           is->durable_epoch != was->durable_epoch || is->frozen_epoch != was->frozen_epoch ||
           is->refused_epoch != was->refused_epoch || is->lease_epoch != was->lease_epoch ||
           (is->writer_silent_ms > 0) != (was->writer_silent_ms > 0) || is->record_rev != was->record_rev || is->streams_from != was->streams_from;
}

static void take_reply(struct member *m, struct peer *p, const struct talk *t)
{
    bool promise = t->req.ask == PEER_PROMISE;
    bool late = p->received_ms == 0 || m->local - p->received_ms > 1200;
    if (late || promise || matters(&t->reply, &p->state))
        agent_event(m);
    p->state = t->reply;
    p->sent_ms = t->sent_local;
    p->received_ms = m->local;
    p->silent_since_ms = 0;
    if (promise && t->reply.promise_ms > 0) {
        p->promise_sent_ms = t->sent_local;
        p->promise_until_ms = t->sent_local + t->reply.promise_ms;
        p->promise_epoch = t->req.epoch;
    }
}

void peers_collect(struct member *m)
{
    for (unsigned set = W.asked[m->idx]; set != 0;) {
        int i = next_of(&set);
        struct ask *q = &W.ask[m->idx][i];
        if (q->answered && W.now >= q->reply_ms) {
            ask_over(m->idx, i);
            if (!W.link[i][m->idx])
                continue;
            take_reply(m, peer_at(m, i), &m->talk[i]);
        } else if (W.now >= q->give_up_ms) {
            ask_over(m->idx, i);
            agent_event(m);
        }
    }
}

static bool arrives(struct member *o, int from)
{
    struct ask *q = &W.ask[from][o->idx];
    if (W.now < q->arrive_ms)
        return false;
    W.coming[o->idx] &= (uint8_t)~BIT(from);
    if (!W.link[from][o->idx] || W.now > q->give_up_ms)
        return false; /* lost */
    W.waiting[o->idx] |= BIT(from);
    q->arrived = true;
    q->arrived_ms = W.now;
    return true;
}

/* Takes what has come; a vote or a promise wakes the agent. */
void peers_arrive(struct member *m)
{
    for (unsigned set = W.coming[m->idx]; set != 0;) {
        int i = next_of(&set);
        if (!arrives(m, i))
            continue;
        const struct peer_request *req = &W.m[i].talk[m->idx].req;
        if (req->ask != PEER_STATE)
            agent_event(m);
        if (req->ask == PEER_VOTE && (!m->has_vote || req->epoch >= m->vote.epoch ||
                                      m->local - m->vote_local >= 1000)) {
            m->vote = *req;
            m->has_vote = true;
            m->vote_local = m->local;
        }
        if (chance(2)) {
            m->dup = *req;
            m->has_dup = true;
            m->dup_at_ms = W.now + between(10, 3000);
        }
    }
    if (m->has_dup && W.now >= m->dup_at_ms && m->next_turn_ms > W.now)
        m->next_turn_ms = W.now;
}

void peers_inbox(struct member *m)
{
    struct inbox *in = &m->view.in;
    in->vote = in->promise = false;
    m->promise_from = -1;
    for (unsigned set = W.waiting[m->idx]; set != 0;) {
        int i = next_of(&set);
        if (W.ask[i][m->idx].kind == PEER_PROMISE && !in->promise) {
            in->promise = true;
            in->promise_req = W.m[i].talk[m->idx].req;
            m->promise_from = i;
        }
    }
    if (m->has_dup && W.now >= m->dup_at_ms) {
        m->has_dup = false;
        if (m->dup.ask == PEER_VOTE && !m->has_vote) {
            m->vote = m->dup;
            m->has_vote = true;
            m->vote_local = m->local;
        } else if (m->dup.ask == PEER_PROMISE && !in->promise) {
            in->promise = true;
            in->promise_req = m->dup;
        }
    }
    in->vote = m->has_vote && m->local - m->vote_local < 1000;
    in->vote_req = m->vote;
}

static void peers_wake(int i, int64_t at)
{
    soonest(&W.m[i].peers_due_ms, at);
    soonest(&W.due_ms[i], at);
}

static void reply(const struct member *m, int asker)
{
    struct ask *q = &W.ask[asker][m->idx];
    struct peer_state *s = &W.m[asker].talk[m->idx].reply;
    *s = state_of(m);
    if (q->kind == PEER_PROMISE)
        s->promise_ms = m->ver.promise_ms;
    q->answered = true;
    q->reply_ms = W.now + (chance(W.late_answers) ? between(10, 1500) : between(0, 5));
    peers_wake(asker, q->reply_ms);
}

/* In a turn: everything. Between turns only what is a look at what is known. */
void peers_answer(struct member *m, bool turn)
{
    for (unsigned set = W.waiting[m->idx]; set != 0;) {
        int i = next_of(&set);
        struct ask *q = &W.ask[i][m->idx];
        if (!turn && q->kind != PEER_STATE)
            continue;
        struct talk *talk = &W.m[i].talk[m->idx];
        bool report = m->frozen_epoch == talk->req.epoch && m->accounted;
        if (q->kind == PEER_VOTE && !report && m->ver.refused_epoch == 0 &&
            W.now - q->arrived_ms < 300)
            continue;
        if (q->kind == PEER_PROMISE && i != m->promise_from)
            continue;
        W.waiting[m->idx] &= (uint8_t)~BIT(i);
        reply(m, i);
    }
}

static enum peer_ask asks_for(uint32_t e)
{
    return (e & EFF_VOTES) != 0 ? PEER_VOTE : (e & EFF_PROMISES) != 0 ? PEER_PROMISE : PEER_STATE;
}

/* The intervals of the agent (src/agent/act.c). */
static int64_t asks_every(const struct member *m)
{
    const struct memo *o = &m->ver.memo;
    uint32_t e = m->ver.effects;
    if ((e & EFF_VOTES) != 0)
        return 5;
    if ((e & EFF_PROMISES) != 0)
        return m->set.retry_ms / 2;
    if ((e & EFF_PEERS) == 0)
        return 1000;
    bool hurry = o->handover_intent != 0 || o->elected_epoch != 0 || m->crashed ||
                 (o->preflight_intent != 0 && m->local - o->preflight_ms < 1000);
    return hurry ? 10 : 100;
}

/* Who runs at all tells its state between its turns, too: such a call needs no step of the answerer. */
static bool answers_at_once(const struct member *m, const struct member *o)
{
    return alive(o) && o->agent_frozen_until <= W.now && W.link[m->idx][o->idx];
}

static void send(struct member *m, int i, enum peer_ask ask)
{
    struct ask *q = &W.ask[m->idx][i];
    *q = (struct ask){.active = true, .kind = ask, .give_up_ms = W.now + GIVE_UP_MS};
    W.asked[m->idx] |= BIT(i);
    W.coming[i] &= (uint8_t)~BIT(m->idx); /* an urgent one replaces what was on its way */
    W.waiting[i] &= (uint8_t)~BIT(m->idx);
    bool slow = chance(2) && !(W.calm && W.early); /* as in heal() */
    if (!slow && ask == PEER_STATE && answers_at_once(m, &W.m[i])) {
        reply(&W.m[i], m->idx);
        return;
    }
    q->arrive_ms = W.now + (slow ? between(50, 1200) : between(0, 4));
    W.coming[i] |= BIT(m->idx);
    peers_wake(i, q->arrive_ms);
}

void peers_ask(struct member *m)
{
    enum peer_ask ask = asks_for(m->ver.effects);
    int64_t every = asks_every(m);
    for (int i = 0; i < W.n; i++) {
        struct ask *q = &W.ask[m->idx][i];
        bool urgent = ask != PEER_STATE && q->kind == PEER_STATE;
        if ((q->active || W.now - m->ask_ms[i] < every) && !urgent)
            continue;
        if (i == m->idx || W.m[i].container_at_ms == INT64_MAX)
            continue;
        m->ask_ms[i] = W.now;
        if (peer_at(m, i)->silent_since_ms == 0)
            peer_at(m, i)->silent_since_ms = m->local;
        struct talk *talk = &m->talk[i];
        talk->sent_local = m->local;
        talk->req = (struct peer_request){.ask = ask, .from = m->id, .epoch = m->ver.epoch};
        if (ask == PEER_PROMISE) {
            talk->req.epoch = m->lease.epoch;
            talk->req.promise_ms = m->set.lease_ms;
        }
        send(m, i, ask);
    }
}

int64_t peers_due(const struct member *m)
{
    int64_t d = m->has_dup ? m->dup_at_ms : INT64_MAX, every = asks_every(m);
    for (unsigned set = W.coming[m->idx]; set != 0;)
        soonest(&d, W.ask[next_of(&set)][m->idx].arrive_ms);
    for (int i = 0; i < W.n; i++) {
        const struct ask *out = &W.ask[m->idx][i];
        if (out->active && out->answered)
            soonest(&d, out->reply_ms);
        if (out->active)
            soonest(&d, out->give_up_ms);
        else if (i != m->idx && W.m[i].container_at_ms != INT64_MAX)
            soonest(&d, m->ask_ms[i] + every);
    }
    return d;
}
