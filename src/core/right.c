/* The right to write: a deadline counted from the send of a write that succeeded.
 *
 * Only three things move it: a 2xx of a write that names this incarnation (forward), a full set of
 * promises while it has not passed (forward), and a release being prepared (to zero). Finding
 * oneself holder by reading gives no right. */
#include "internal.h"

/* T_S for a Lease of this duration: never more than the share that our own profile gives. */
static int64_t fence_ms_for(const struct settings *s, int64_t lease_ms)
{
    if (lease_ms <= 0 || lease_ms >= s->lease_ms)
        return s->fence_ms;
    return s->fence_ms * lease_ms / s->lease_ms;
}

static void account_write(struct turn *t)
{
    const struct lease_view *lv = &t->v->lv;
    struct memo *m = t->m;
    if (lv->outcome != OUTCOME_OK || lv->write_seq == m->right_seq)
        return;
    m->right_seq = lv->write_seq;
    m->has_pending = false;
    if (!lv->write_holder)
        return;
    m->proven = true;
    if (lv->write_sent_ms <= m->forfeit_ms || promise_binds(t))
        return; /* sent before a forfeit, or a promise was given since: never used */
    int64_t d = lv->write_sent_ms + fence_ms_for(&t->v->set, (int64_t)lv->write_duration_s * 1000);
    if (d > m->deadline_ms)
        m->deadline_ms = d;
}

static const struct peer *promise_of(const struct turn *t, const struct ha_name *name)
{
    const struct peer *p = peer_of_name(t, name);
    if (p == NULL || p->promise_sent_ms == 0 || p->promise_epoch != t->lease->epoch ||
        p->promise_until_ms <= t->now)
        return NULL;
    return p;
}

/* Until when the promises of all members of a list carry the right, 0 when one is missing: each for the
 * share of its own duration, which may have been asked for under another profile. */
static int64_t promised_until(const struct turn *t, const struct record *r, int64_t until)
{
    for (uint8_t i = 0; i < r->n && until > 0; i++) {
        if (name_eq(&r->m[i].name, &t->v->self.id.name))
            continue;
        const struct peer *p = promise_of(t, &r->m[i].name);
        if (p == NULL)
            return 0;
        int64_t least = p->promise_sent_ms +
                        fence_ms_for(&t->v->set, p->promise_until_ms - p->promise_sent_ms);
        if (least < until)
            until = least;
    }
    return until;
}

/* Whatever the API answers but a 2xx, and however fast, a renewal has failed. */
static bool renewals_fail(const struct turn *t)
{
    const struct lease_view *lv = &t->v->lv;
    bool slow = lv->outcome == OUTCOME_PENDING && t->now - lv->write_sent_ms >= t->v->set.retry_ms;
    bool failed = lv->outcome == OUTCOME_UNKNOWN || lv->outcome == OUTCOME_REFUSED;
    return (slow || failed) && t->m->deadline_ms - t->now < t->v->set.fence_ms - t->v->set.renew_ms;
}

static void account_promises(struct turn *t)
{
    struct memo *m = t->m;
    bool lapsed = m->deadline_ms <= t->now;
    if (!t->v->set.failsafe || !m->proven || lapsed || !t->mine || !t->writer_me) {
        m->failsafe_since_ms = 0;
        return;
    }
    if (!renewals_fail(t)) {
        if (t->v->lv.outcome == OUTCOME_OK)
            m->failsafe_since_ms = 0;
        return;
    }
    if (m->failsafe_since_ms == 0)
        m->failsafe_since_ms = t->now;
    t->out->failsafe = true;
    int64_t until = promised_until(t, t->rec, t->now + t->v->set.fence_ms);
    if (m->has_pending)
        until = promised_until(t, &m->pending, until);
    if (until > m->deadline_ms)
        m->deadline_ms = until;
}

static void void_promise(struct turn *t);

void right_account(struct turn *t)
{
    if (t->m->last_turn_ms == 0 || t->now - t->m->last_turn_ms > 2 * t->v->set.renew_ms)
        t->m->count_from_ms = t->now; /* a gap in our own observation: counts start again */
    t->m->last_turn_ms = t->now;
    void_promise(t);
    account_write(t);
    account_promises(t);
}

bool right_is_live(const struct turn *t)
{
    return t->m->deadline_ms > t->now;
}

bool promise_binds(const struct turn *t)
{
    return t->m->promise_until_ms > t->now;
}

/* A release that has been seen voids the promise for good: the acquisition that follows clears the
 * release from the Lease, and must not bring the promise back. Only he to whom it was given can
 * give it back: another's late acquisition and release says nothing about him. */
static void void_promise(struct turn *t)
{
    const struct lease *l = t->lease;
    if (l->exists && l->release.valid && name_empty(&l->holder.name) &&
        l->release.epoch == l->epoch && l->epoch >= t->m->promise_epoch && !t->stale &&
        name_eq(&l->release.releaser, &t->m->promised_to))
        t->m->promise_until_ms = 0;
}

static bool asker_is_holder(const struct turn *t, const struct peer_request *q)
{
    const struct lease *l = t->lease;
    if (!t->v->lv.known || !l->exists)
        return true; /* we cannot judge; the epoch below still can */
    if (l->epoch != q->epoch)
        return l->epoch < q->epoch;
    return identity_same_pod(&l->holder, &q->from);
}

/* "I will neither acquire nor report for anybody else." Refused while an acquisition of our own
 * may still be applied, or to anybody but the holder of an epoch that is not older than ours. */
void right_answer_promise(struct turn *t)
{
    const struct peer_request *q = &t->v->in.promise_req;
    t->out->promise_ms = 0;
    if (!t->v->in.promise)
        return;
    const struct lease_view *lv = &t->v->lv;
    bool acquiring = (lv->write == WRITE_ACQUIRE || lv->write == WRITE_TAKEOVER) &&
                     (lv->outcome == OUTCOME_PENDING ||
                      (lv->outcome == OUTCOME_UNKNOWN &&
                       t->now - lv->write_done_ms < 2 * t->v->set.request_ms));
    bool bound = promise_binds(t) && !name_eq(&t->m->promised_to, &q->from.name);
    if (acquiring || bound || t->mine || q->epoch < t->v->self.durable_epoch ||
        !asker_is_holder(t, q))
        return;
    int64_t ms = q->promise_ms > t->lease_ms ? q->promise_ms : t->lease_ms;
    if (ms > 10 * 60 * 1000)
        ms = 10 * 60 * 1000;
    t->m->promise_epoch = q->epoch;
    t->m->promise_until_ms = t->now + ms;
    t->m->promised_to = q->from.name;
    t->out->promise_ms = ms;
}
