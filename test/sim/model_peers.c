/* Calls between members: one at a time per pair, late answers, lost answers, doubled requests. */
#include "world.h"

#define GIVE_UP_MS 1000

static struct peer_state state_of(const struct member *m)
{
    struct peer_state s = {.id = m->id};
    s.volume = m->volume;
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
    s.streams_from = m->st.on && m->st.rx ? m->follows : 0;
    return s;
}

void peers_collect(struct member *m)
{
    for (int i = 0; i < W.n; i++) {
        struct ask *q = &m->ask[i];
        struct peer *p = &m->peer[i];
        if (i != m->idx)
            p->name = W.m[i].id.name;
        if (!q->active)
            continue;
        if (q->answered && W.now >= q->reply_ms) {
            q->active = false;
            if (!W.link[i][m->idx])
                continue;
            p->state = q->reply;
            p->sent_ms = q->sent_local;
            p->received_ms = m->local;
            p->silent_since_ms = 0;
            if (q->req.ask == PEER_PROMISE && q->reply.promise_ms > 0) {
                p->promise_sent_ms = q->sent_local;
                p->promise_until_ms = q->sent_local + q->reply.promise_ms;
                p->promise_epoch = q->req.epoch;
            }
        } else if (W.now >= q->give_up_ms) {
            q->active = false;
        }
    }
}

static bool arrives(struct member *o, int from)
{
    struct ask *q = &W.m[from].ask[o->idx];
    if (!q->active || q->arrived || W.now < q->arrive_ms)
        return false;
    if (!W.link[from][o->idx] || W.now > q->give_up_ms) {
        q->arrive_ms = INT64_MAX; /* lost */
        return false;
    }
    q->arrived = true;
    q->arrived_ms = W.now;
    return true;
}

void peers_inbox(struct member *m)
{
    m->in = (struct inbox){0};
    m->promise_from = -1;
    for (int i = 0; i < W.n; i++) {
        struct ask *q = &W.m[i].ask[m->idx];
        if (i != m->idx && arrives(m, i)) {
            if (q->req.ask == PEER_VOTE && (!m->has_vote || q->req.epoch >= m->vote.epoch ||
                                            m->local - m->vote_local >= 1000)) {
                m->vote = q->req;
                m->has_vote = true;
                m->vote_local = m->local;
            }
            if (chance(2)) {
                m->dup = q->req;
                m->has_dup = true;
                m->dup_at_ms = W.now + between(10, 3000);
            }
        }
        if (q->active && q->arrived && !q->answered && q->req.ask == PEER_PROMISE && !m->in.promise) {
            m->in.promise = true;
            m->in.promise_req = q->req;
            m->promise_from = i;
        }
    }
    if (m->has_dup && W.now >= m->dup_at_ms) {
        m->has_dup = false;
        if (m->dup.ask == PEER_VOTE && !m->has_vote) {
            m->vote = m->dup;
            m->has_vote = true;
            m->vote_local = m->local;
        } else if (m->dup.ask == PEER_PROMISE && !m->in.promise) {
            m->in.promise = true;
            m->in.promise_req = m->dup;
        }
    }
    m->in.vote = m->has_vote && m->local - m->vote_local < 1000;
    m->in.vote_req = m->vote;
}

void peers_answer(struct member *m)
{
    for (int i = 0; i < W.n; i++) {
        struct ask *q = &W.m[i].ask[m->idx];
        if (!q->active || !q->arrived || q->answered)
            continue;
        bool report = m->frozen_epoch == q->req.epoch && m->accounted;
        if (q->req.ask == PEER_VOTE && !report && m->ver.refused_epoch == 0 &&
            W.now - q->arrived_ms < 300)
            continue;
        if (q->req.ask == PEER_PROMISE && i != m->promise_from)
            continue;
        q->reply = state_of(m);
        if (q->req.ask == PEER_PROMISE)
            q->reply.promise_ms = m->ver.promise_ms;
        q->answered = true;
        q->reply_ms = W.now + (chance(W.late_answers) ? between(10, 1500) : between(0, 5));
    }
}

void peers_ask(struct member *m)
{
    uint32_t e = m->ver.effects;
    enum peer_ask ask = (e & EFF_VOTES) != 0      ? PEER_VOTE
                        : (e & EFF_PROMISES) != 0 ? PEER_PROMISE
                                                  : PEER_STATE;
    int64_t every = (e & EFF_VOTES) != 0      ? 10
                    : (e & EFF_PROMISES) != 0 ? m->set.retry_ms / 2
                    : (e & EFF_PEERS) != 0    ? 30
                                              : 1000;
    for (int i = 0; i < W.n; i++) {
        struct ask *q = &m->ask[i];
        if (i == m->idx || W.m[i].container_at_ms == INT64_MAX)
            continue;
        bool urgent = ask != PEER_STATE && q->req.ask == PEER_STATE;
        if ((q->active || W.now - m->ask_ms[i] < every) && !urgent)
            continue;
        m->ask_ms[i] = W.now;
        if (m->peer[i].silent_since_ms == 0)
            m->peer[i].silent_since_ms = m->local;
        *q = (struct ask){.active = true, .sent_local = m->local};
        q->req = (struct peer_request){.ask = ask, .from = m->id, .epoch = m->ver.epoch};
        if (ask == PEER_PROMISE) {
            q->req.epoch = m->lease.epoch;
            q->req.promise_ms = m->set.lease_ms;
        }
        q->arrive_ms = W.now + (chance(2) ? between(50, 1200) : between(0, 4));
        q->give_up_ms = W.now + GIVE_UP_MS;
    }
}
