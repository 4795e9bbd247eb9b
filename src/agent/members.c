/* The other members: their pods, what they answered and what they ask. */
#include <string.h>

#include "agent.h"
#include "base/str.h"

#define HOT_MS 1000 /* after the last question of somebody who waits */

struct member *member_of_name(struct agent *a, const struct ha_name *name)
{
    for (uint8_t i = 0; i < a->n_members; i++)
        if (name_eq(&a->member[i].peer.name, name))
            return &a->member[i];
    return NULL;
}

struct member *member_of_volume(struct agent *a, uint64_t volume)
{
    for (uint8_t i = 0; volume != 0 && i < a->n_members; i++)
        if (a->member[i].peer.received_ms > 0 && a->member[i].peer.state.volume == volume)
            return &a->member[i];
    return NULL;
}

struct member *member_slot(struct agent *a, const struct ha_name *name)
{
    struct member *m = member_of_name(a, name);
    if (m != NULL)
        return m;
    if (a->n_members >= HA_MEMBERS_MAX)
        return NULL;
    m = &a->member[a->n_members];
    *m = (struct member){.peer = {.name = *name}};
    m->channel = peer_channel_new(a->client);
    if (m->channel == NULL)
        return NULL;
    a->n_members++;
    return m;
}

static void observe_pods(struct agent *a)
{
    const struct api_pod *pods;
    size_t n = api_pods(a->api, &pods);
    if (!api_pods_known(a->api))
        return;
    for (uint8_t i = 0; i < a->n_members; i++)
        a->member[i].peer.pod_known = a->member[i].peer.leaving = false;
    for (size_t i = 0; i < n; i++) {
        if (name_eq(&pods[i].name, &a->id.name))
            continue;
        struct member *m = member_slot(a, &pods[i].name);
        if (m == NULL)
            continue;
        m->peer.pod_known = true;
        m->peer.leaving = pods[i].deleting;
        m->hinted = false;
        if (pods[i].ip[0] != '\0' && strcmp(pods[i].ip, m->ip) != 0) {
            (void)str_copy(m->ip, sizeof m->ip, pods[i].ip);
            m->ip_since_ms = a->view.now_ms;
        }
    }
    for (uint8_t i = 0; i < a->n_members; i++)
        if (a->member[i].hinted && !a->member[i].peer.pod_known)
            a->member[i].ip[0] = '\0';
    addresses_keep(a, a->view.now_ms);
}

/* An address may be another's by now: of another member, or of another cluster whose members have
 * the same names and, copied with its Secret, the same token. */
static bool is_ours(const struct agent *a, const struct peer_state *s)
{
    return s->system_id == 0 || a->dir.system_id == 0 || s->system_id == a->dir.system_id;
}

static void observe_calls(struct agent *a, int64_t now)
{
    for (uint8_t i = 0; i < a->n_members; i++) {
        struct member *m = &a->member[i];
        const struct peer_result *r;
        enum peer_call c = peer_call_poll(m->channel, now, &r);
        if (c != PEER_CALL_DONE && c != PEER_CALL_FAILED)
            continue;
        bool ours = c == PEER_CALL_DONE && is_ours(a, &r->state);
        if (c == PEER_CALL_DONE && name_eq(&r->state.id.name, &m->peer.name) &&
            (ours || !m->hinted)) {
            m->peer.state = r->state;
            m->peer.sent_ms = r->sent_ms;
            m->peer.received_ms = r->done_ms;
            m->peer.silent_since_ms = 0;
            succession_heard(&a->succession, &r->state, r->sent_ms, r->done_ms);
            if (ours && r->req.ask == PEER_PROMISE && r->state.promise_ms > 0) {
                m->peer.promise_sent_ms = r->sent_ms;
                m->peer.promise_until_ms = r->sent_ms + r->state.promise_ms;
                m->peer.promise_epoch = r->req.epoch;
            }
        }
        peer_call_cancel(m->channel);
    }
}

/* A holder that hands over or has crashed asks often; its answers then date the end of its writes. Only the
 * holder is chased, so that two members never keep each other busy. */
static void observe_asker(struct agent *a, const struct peer_inbox *p)
{
    struct member *m = member_of_name(a, &p->req.from.name);
    if (m == NULL || m->its_ask_ms == p->received_ms)
        return;
    if (p->received_ms - m->its_ask_ms < 60 &&
        name_eq(&a->view.lv.lease.holder.name, &m->peer.name))
        m->chase_until_ms = a->view.now_ms + 300;
    m->its_ask_ms = p->received_ms;
}

static void observe_inbox(struct agent *a, struct inbox *in)
{
    struct peer_server_stats st = peer_server_stats(a->peers_in);
    a->status.n.peer_unauthorized = st.unauthorized;
    a->status.n.peer_rejected = st.rejected;
    a->vote_ticket = a->promise_ticket = 0;
    const struct peer_inbox *p;
    for (size_t i = 0; (p = peer_server_pending(a->peers_in, i)) != NULL; i++) {
        if (p->req.ask == PEER_VOTE && (!in->vote || p->req.epoch > in->vote_req.epoch)) {
            in->vote = true;
            in->vote_req = p->req;
            a->vote_ticket = p->ticket;
        }
        if (p->req.ask == PEER_PROMISE && !in->promise) {
            in->promise = true;
            in->promise_req = p->req;
            a->promise_ticket = p->ticket;
        }
    }
    /* A vote once asked for stays wanted although its call was answered by time. */
    for (size_t i = 0; (p = peer_server_last(a->peers_in, i)) != NULL; i++) {
        observe_asker(a, p);
        /* Members ask each other once a second at rest: only who asks more often, or wants more than
         * the state, waits for our position. */
        bool eager = p->req.ask != PEER_STATE || p->gap_ms < peers_rest_ms(a) * 7 / 10;
        if (eager && a->view.now_ms - p->received_ms < 1000 &&
            p->received_ms + HOT_MS > a->hot_until_ms)
            a->hot_until_ms = p->received_ms + HOT_MS;
        if (p->req.ask == PEER_VOTE && a->view.now_ms - p->received_ms < 1000 &&
            (!in->vote || p->req.epoch > in->vote_req.epoch)) {
            in->vote = true;
            in->vote_req = p->req;
        }
    }
}

void observe_members(struct agent *a, int64_t now)
{
    struct view *v = &a->view;
    observe_pods(a);
    v->pods_known = api_pods_known(a->api);
    observe_calls(a, now);
    for (uint8_t i = 0; i < a->n_members; i++)
        v->peer[v->n_peers++] = a->member[i].peer;
    observe_inbox(a, &v->in);
}
