/* The Lease: reads, the one write in flight, and what the core is shown of both. */
#include "api_parts.h"
#include "base/log.h"
#include "core/record.h"

void api_poll_write(struct api *a)
{
    if (a->write == NULL)
        return;
    enum kube_outcome o = kube_call_outcome(a->write);
    if (o == KUBE_PENDING)
        return;
    const struct kube_reply *r = kube_call_reply(a->write);
    a->sent_ms = r->sent_ms;
    a->done_ms = r->done_ms;
    if (o == KUBE_OK) {
        /* A renewal that created the object is no renewal: somebody had deleted it. */
        bool gone = r->http_status == 201 && a->kind != WRITE_CREATE;
        a->outcome = gone ? OUTCOME_UNKNOWN : OUTCOME_OK;
        if (gone)
            log_event(LOG_ERROR, "lease-recreated", "a PUT of the Lease created it anew");
        (void)kube_watch_merge(a->lease, a->write);
        status_hist_add(&a->renew, (r->done_ms - r->sent_ms) * 1000);
    } else {
        bool never = o == KUBE_REFUSED || (o == KUBE_UNKNOWN && !r->sent);
        a->outcome = never ? OUTCOME_REFUSED : OUTCOME_UNKNOWN;
        a->renew_failures++;
        if (api_worth_a_line(a, r))
            log_event(LOG_WARNING, "lease-write-failed", r->err.msg, LOG_I("kind", a->kind),
                      LOG_I("status", r->http_status), LOG_I("ms", r->done_ms - r->sent_ms));
    }
    kube_call_free(a->write);
    a->write = NULL;
}

void api_poll_get(struct api *a)
{
    if (a->get == NULL || kube_call_outcome(a->get) == KUBE_PENDING)
        return;
    const struct kube_reply *r = kube_call_reply(a->get);
    if (kube_watch_merge(a->lease, a->get))
        a->own_got_ms = r->sent_ms;
    else if (r->http_status == 403)
        kube_watch_refresh(a->lease); /* a list is as linearizable */
    kube_call_free(a->get);
    a->get = NULL;
}

void api_lease_get(struct api *a, int64_t now)
{
    if (a->get != NULL || now < a->get_next_ms)
        return;
    a->get_next_ms = now + a->cfg->lease.retry_ms / 5;
    a->get = kube_lease_get(a->kube, api_cluster(a), now + a->cfg->lease.request_ms);
}

bool api_lease_write(struct api *a, const struct lease_write *w, int64_t now)
{
    if (a->write != NULL)
        return false;
    int64_t deadline = now + a->cfg->lease.request_ms;
    const struct kube_lease *last = kube_watch_get_lease(a->lease);
    if (w->kind == WRITE_CREATE)
        a->write = kube_lease_create(a->kube, api_cluster(a), &w->want, deadline);
    else if (last != NULL && last->raw != NULL)
        a->write = kube_lease_put(a->kube, last, &w->want, deadline);
    else
        return false;
    a->kind = w->kind;
    a->outcome = OUTCOME_PENDING;
    a->seq++;
    a->sent_ms = now;
    a->duration_s = w->want.duration_s;
    a->names_us = identity_eq(&w->want.holder, &a->id);
    if (w->kind != WRITE_RENEW)
        log_event(LOG_INFO, "lease-write", "writing the Lease", LOG_I("kind", w->kind),
                  LOG_I("epoch", w->want.epoch), LOG_S("holder", w->want.holder.name.s),
                  LOG_S("successor", w->want.release.successor.s));
    return true;
}

void api_observe_lease(const struct api *a, struct lease_view *lv)
{
    *lv = (struct lease_view){0};
    lv->known = kube_watch_known(a->lease);
    const struct kube_lease *l = kube_watch_get_lease(a->lease);
    if (lv->known && l != NULL)
        lv->lease = l->lease;
    lv->changed_ms = kube_watch_changed_ms(a->lease);
    lv->got_ms = kube_watch_got_ms(a->lease);
    lv->contact_ms = kube_contact_ms(a->kube);
    lv->get_pending = a->get != NULL;
    lv->write = a->kind;
    lv->outcome = a->outcome;
    lv->write_seq = a->seq;
    lv->write_sent_ms = a->sent_ms;
    lv->write_done_ms = a->done_ms;
    lv->write_duration_s = a->duration_s;
    lv->write_holder = a->names_us;
    /* An own read that agrees with the present state counts even when an event came in between. */
    if (a->own_got_ms > lv->got_ms && a->own_got_ms >= kube_watch_taken_ms(a->lease))
        lv->got_ms = a->own_got_ms;
}
