/* Verdict -> adapters. Order matters: the fence page first, durable state second, the rest after. */
#include <string.h>

#include "agent.h"
#include "base/log.h"

#define PEER_CALL_MS 1000

static void deadline_lowered(struct agent *a)
{
    struct err e = {0};
    if (page_writable(a->page) && !guard_link_watch(a->link, &e))
        log_event(LOG_WARNING, "guard-untold", e.msg);
}

static void act_page(struct agent *a, int64_t now)
{
    const struct verdict *d = &a->verdict;
    int64_t have = page_deadline_ms(a->page);
    if (d->deadline_ms <= now) {
        if (have > now) {
            page_forfeit(a->page);
            deadline_lowered(a);
        }
        return;
    }
    if (d->deadline_ms == have)
        return;
    if (d->failsafe) {
        if (!page_extend(a->page, d->deadline_ms))
            a->memo.deadline_ms = 0; /* a lapse is final */
        return;
    }
    page_grant(a->page, d->deadline_ms);
    if (d->deadline_ms < have)
        deadline_lowered(a);
}

static bool act_store(struct agent *a)
{
    const struct verdict *d = &a->verdict;
    if (d->store_epoch <= a->state.epoch && !d->store_record)
        return true;
    struct pg_state next = a->state;
    if (d->store_epoch > next.epoch)
        next.epoch = d->store_epoch;
    if (d->store_record) {
        next.record = a->view.lv.lease.record;
        next.has_record = true;
    }
    struct err e = {0};
    if (!pg_state_save(&a->env, &next, &e)) {
        if (!a->state_unwritten) /* once, not each turn of a full or read-only volume */
            log_event(LOG_ERROR, "state-unwritten", e.msg, LOG_S("path", a->env.state_dir));
        a->state_unwritten = true;
        return false;
    }
    a->state_unwritten = false;
    a->state = next;
    return true;
}

int64_t peers_rest_ms(const struct agent *a)
{
    return a->set.renew_ms < 1000 ? a->set.renew_ms : 1000;
}

static int64_t peer_interval(const struct agent *a, const struct verdict *d)
{
    if ((d->effects & EFF_VOTES) != 0)
        return 5;
    if ((d->effects & EFF_PROMISES) != 0)
        return a->set.retry_ms / 2;
    if ((d->effects & EFF_PEERS) != 0)
        return a->memo.handover_intent != 0 || a->memo.elected_epoch != 0 ||
                       (a->memo.preflight_intent != 0 &&
                        a->view.now_ms - a->memo.preflight_ms < 1000) ||
                       a->view.pg.crashed
                   ? 10
                   : 100;
    return peers_rest_ms(a);
}

void act_peers(struct agent *a, int64_t now)
{
    const struct verdict *d = &a->verdict;
    int64_t every = peer_interval(a, d);
    enum peer_ask ask = (d->effects & EFF_VOTES) != 0      ? PEER_VOTE
                        : (d->effects & EFF_PROMISES) != 0 ? PEER_PROMISE
                                                           : PEER_STATE;
    for (uint8_t i = 0; i < a->n_members; i++) {
        struct member *m = &a->member[i];
        int64_t pause = now < m->chase_until_ms && every > 20 ? 20 : every;
        bool busy = peer_call_poll(m->channel, now, NULL) == PEER_CALL_RUNNING;
        bool urgent = ask != PEER_STATE && m->asked == PEER_STATE;
        if (m->ip[0] == '\0' || (busy && !urgent))
            continue;
        if (now - m->asked_ms < pause && !urgent) {
            loop_wake_at(a->loop, m->asked_ms + pause);
            continue;
        }
        struct peer_request q = {.ask = ask, .from = a->id, .epoch = d->epoch};
        if (ask == PEER_PROMISE) {
            q.epoch = a->view.lv.lease.epoch;
            q.promise_ms = a->set.lease_ms;
        }
        m->asked = ask;
        m->asked_ms = now;
        if (m->peer.silent_since_ms == 0)
            m->peer.silent_since_ms = now;
        (void)peer_call_start(m->channel, m->ip, peer_server_port(a->peers_in), &a->tokens, &q, now, now + PEER_CALL_MS);
    }
}

static void answer_peers(struct agent *a)
{
    const struct verdict *d = &a->verdict;
    struct peer_state s;
    fill_peer_state(a, &s);
    peer_server_publish(a->peers_in, &s);
    if (a->promise_ticket != 0) {
        struct peer_state p = s;
        p.promise_ms = d->promise_ms;
        (void)peer_server_answer(a->peers_in, a->promise_ticket, &p);
    }
    const struct inbox *in = &a->view.in;
    bool report = a->view.pg.frozen_epoch == in->vote_req.epoch &&
                  a->view.pg.accounted == TRI_YES;
    if (a->vote_ticket != 0 && (report || d->refused_epoch != 0))
        (void)peer_server_answer(a->peers_in, a->vote_ticket, &s);
}

static void act_labels(struct agent *a, int64_t now)
{
    uint32_t e = a->verdict.effects;
    if ((e & EFF_UNLABEL) != 0)
        api_set_label(a->api, ROLE_UNKNOWN, now);
    else if ((e & EFF_LABEL_PRIMARY) != 0)
        api_set_label(a->api, ROLE_PRIMARY, now);
    else if ((e & EFF_LABEL_REPLICA) != 0)
        api_set_label(a->api, ROLE_REPLICA, now);
    if ((e & EFF_STRIP) != 0)
        api_strip(a->api, now);
    api_set_endpoint(a->api, a->verdict.endpoint, now);
}

static void act_exit(struct agent *a)
{
    struct err e = {0};
    if (a->exiting || guard_link_exit(a->link, 0, &e) == 0)
        return;
    a->exiting = true;
    log_event(LOG_INFO, "agent-exit", "handed over and stopped: the container ends");
}

void act(struct agent *a, int64_t now)
{
    const struct verdict *d = &a->verdict;
    a->memo = d->memo;
    act_page(a, now);
    if (!act_store(a)) {
        answer_peers(a);
        return; /* nothing may happen that assumes what could not be made durable */
    }
    if ((d->effects & EFF_LEASE_WRITE) != 0)
        (void)api_lease_write(a->api, &d->write, now);
    if ((d->effects & EFF_LEASE_GET) != 0)
        api_lease_get(a->api, now);
    act_pg(a, now);
    act_labels(a, now);
    if ((d->effects & EFF_STATE) != 0 && a->view.lv.lease.has_record)
        api_sync_state(a->api, a->view.lv.lease.epoch, &a->view.lv.lease.record,
                       a->view.self.system_id, now);
    act_peers(a, now);
    answer_peers(a);
    if ((d->effects & EFF_EXIT) != 0)
        act_exit(a);
}
