/* Model API server and each member's client of it: one Lease, one ConfigMap. */
#include "world.h"

static void apply(struct member *m, struct put *p)
{
    p->applied = true;
    poke(m);
    if (p->lost_request)
        return;
    if (p->kind == WRITE_CREATE) {
        p->code = W.lease.exists ? 409 : 201;
    } else {
        p->code = !W.lease.exists ? 404 : W.rv != p->rv ? 409 : 200;
    }
    if (p->code < 300) {
        if (W.trap && (p->kind == WRITE_ACQUIRE || p->want.record.rev != W.lease.record.rev)) {
            TRACE(m, "FAULT trap: write %d applied, reply lost, API away", (int)p->kind);
            W.trap = false;
            p->lost_reply = true;
            m->api = API_SILENT;
            if (chance(50))
                m->agent_restart_at_ms = W.now + between(1, 1500);
        }
        W.lease = p->want;
        W.lease.exists = true;
        W.rv++;
        if (p->kind == WRITE_WRITER && p->accepted) {
            give_up_what_lacks(m);
            W.given_up_epoch = W.lease.epoch;
        }
        poke_all();
    }
}

static void see_state(struct member *m)
{
    m->seen_state = W.state_seq;
    agent_event(m);
    m->new_state = true;
    m->state = W.state;
    m->state.known = true;
    m->intent = W.intent;
}

static void adopt(struct member *m, const struct lease *l, uint64_t rv)
{
    if (m->known && m->seen_rv == rv && m->lease.exists == l->exists)
        return;
    /* docs/protocol.md: who finds itself named by a restored Lease must see a ConfigMap at least as new. */
    if (m->seen_rv < W.restored_rv && rv >= W.restored_rv)
        see_state(m);
    m->changed = m->local;
    m->lease = l->exists ? *l : (struct lease){0};
    m->new_lease = true;
    m->seen_rv = rv;
    m->known = true;
    agent_event(m);
}

void api_client_reset(struct member *m)
{
    if (m->put.active && !m->put.applied)
        (void)api_make_late(m, &m->put);
    m->put.active = false;
    m->known = m->get_pending = false;
    m->lease = (struct lease){0};
    m->changed = m->got = 0;
    m->seen_rv = 0;
    m->seen_state = UINT64_MAX;
    m->outcome = OUTCOME_NONE;
    m->wkind = WRITE_NONE;
    m->state.known = false;
    m->intent = (struct intent){0};
    m->new_lease = m->new_state = true;
}

/* A request that is given up here and may still be applied there. */
bool api_make_late(struct member *m, const struct put *p)
{
    for (int i = 0; i < LATE_MAX; i++)
        if (!m->late[i].active) {
            m->late[i] = *p;
            m->n_late++;
            return true;
        }
    return false;
}

void api_late_writes(struct member *m)
{
    for (int i = 0; i < LATE_MAX && m->n_late > 0; i++)
        if (m->late[i].active && W.now >= m->late[i].arrive_ms) {
            apply(m, &m->late[i]);
            m->late[i].active = false;
            m->n_late--;
            TRACE(m, "LATE write %d -> %d", (int)m->late[i].kind, m->late[i].code);
        }
    if (m->put.active && !m->put.applied && W.now >= m->put.arrive_ms)
        apply(m, &m->put);
}

static void write_done(struct member *m, enum write_outcome o)
{
    m->put.active = false;
    m->wdone = m->local;
    m->outcome = o;
    agent_event(m);
}

static void poll_write(struct member *m)
{
    struct put *p = &m->put;
    if (!p->active)
        return;
    if (p->applied && !p->lost_reply && !p->lost_request && W.now >= p->reply_ms &&
        m->api != API_SILENT) {
        TRACE(m, "write %d -> %d", (int)p->kind, p->code);
        write_done(m, p->code < 300 ? OUTCOME_OK : p->code == 404 ? OUTCOME_REFUSED : OUTCOME_UNKNOWN);
        if (p->code < 300 && m->seen_rv <= p->rv)
            adopt(m, &p->want, p->rv + 1); /* the reply carries the object as written */
        return;
    }
    if (W.now < p->deadline_ms)
        return;
    TRACE(m, "write %d timed out", (int)p->kind);
    if (!p->applied && !p->lost_request)
        (void)api_make_late(m, p);
    write_done(m, OUTCOME_UNKNOWN);
}

static void poll_get(struct member *m)
{
    if (!m->get_pending)
        return;
    if (!m->get_served && W.now >= m->get_serve_ms && m->api == API_UP) {
        m->get_served = true;
        m->get_lease = W.lease;
        m->get_rv = W.rv;
    }
    if (W.now < m->get_at_ms)
        return;
    m->get_pending = false;
    agent_event(m);
    if (!m->get_served || m->api == API_SILENT)
        return;
    if (m->get_rv >= m->seen_rv)
        adopt(m, &m->get_lease, m->get_rv);
    if (m->get_rv == m->seen_rv && m->get_sent > m->got)
        m->got = m->get_sent;
}

void api_client_run(struct member *m)
{
    poll_write(m);
    poll_get(m);
    if (m->api != API_UP || W.now < m->watch_from_ms)
        return;
    if (m->known && m->seen_rv < W.rv && chance(50))
        adopt(m, &W.lease, W.rv);
    if (m->seen_state != W.state_seq && chance(30))
        see_state(m);
}

void api_get(struct member *m)
{
    if (m->get_pending || W.now < m->get_next_ms)
        return;
    m->get_pending = true;
    m->get_served = false;
    m->get_sent = m->local;
    m->get_serve_ms = W.now + between(0, 15);
    m->get_at_ms = m->get_serve_ms + (chance(2) ? between(100, 900) : between(2, 15));
    m->get_next_ms = W.now + m->set.retry_ms / 5;
}

void api_write(struct member *m, const struct lease_write *w)
{
    if (m->put.active)
        return;
    m->wkind = w->kind;
    m->wseq++;
    m->wsent = m->local;
    m->wdur = w->want.duration_s;
    m->wholder = identity_eq(&w->want.holder, &m->id);
    m->outcome = OUTCOME_PENDING;
    m->put = (struct put){.active = true, .want = w->want, .kind = w->kind, .rv = m->seen_rv};
    m->put.accepted = loss_was_accepted(m, w->want.epoch);
    struct put *p = &m->put;
    p->deadline_ms = W.now + m->set.request_ms;
    p->arrive_ms = W.now + (chance(W.late_puts) ? between(100, 10000) : between(1, 10));
    p->reply_ms = p->arrive_ms + between(1, 10);
    p->lost_reply = chance(W.lose_puts);
    p->lost_request = (m->api == API_SILENT && !chance(10)) || chance(W.lose_puts);
    if (m->api == API_REFUSES)
        write_done(m, OUTCOME_REFUSED); /* connection refused, 403, 429: not applied */
    if (m->api == API_ERRORS) { /* 5xx: applied or not, now or later */
        for (int i = 0; i < LATE_MAX && chance(30); i++)
            if (!m->late[i].active) {
                (void)api_make_late(m, p);
                break;
            }
        write_done(m, OUTCOME_UNKNOWN);
    }
}

void api_save_state(struct member *m)
{
    if (m->api != API_UP || !m->lease.exists || !m->lease.has_record)
        return;
    struct state_view *s = &W.state;
    bool newer = !s->has_record || record_cmp(&m->lease.record, &s->record) > 0;
    if (s->exists && s->epoch >= m->lease.epoch && !newer && s->system_id != 0)
        return;
    s->exists = true;
    if (s->epoch < m->lease.epoch)
        s->epoch = m->lease.epoch;
    if (newer) {
        s->record = m->lease.record;
        s->has_record = true;
    }
    if (s->system_id == 0)
        s->system_id = m->system_id;
    W.state_seq++;
    poke_all();
}
