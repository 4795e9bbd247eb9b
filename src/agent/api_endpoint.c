/* The Services for writers: the EndpointSlice of each, where nobody else writes that. */
#include <string.h>

#include "api_parts.h"
#include "base/log.h"
#include "base/str.h"

#define LOOK_EVERY_MS 60000  /* while primary; somebody may have changed or deleted what there is */
#define WATCH_EVERY_MS 10000 /* without a primary */
#define SETTLE_MS 300        /* the label waits for so long at most */
#define WRITES_MAX 4         /* at once; a slice that a webhook changes, or that the list does not show, has no last one */

void api_endpoints_init(struct api *a)
{
    const struct config_list *l = &a->cfg->cluster.services;

    for (size_t i = 0; i < l->n && i < CONFIG_SERVICES_MAX; i++)
        a->endpoint[a->n_endpoints++].name = l->v[i];
}

void api_endpoints_done(struct api *a)
{
    for (size_t i = 0; i < a->n_endpoints; i++) {
        kube_call_free(a->endpoint[i].service_call);
        kube_call_free(a->endpoint[i].call);
        kube_service_done(&a->endpoint[i].service);
    }
}

static void look_again(struct endpoint_of *x, int64_t at)
{
    x->service_known = x->slice_known = false;
    x->next_ms = at;
    x->writes = 0;
}

bool api_endpoints_settled(const struct api *a, int64_t now)
{
    bool all = true;

    for (size_t i = 0; i < a->n_endpoints; i++)
        all = all && a->endpoint[i].settled;
    return all || a->endpoint_want != ENDPOINT_MINE || now - a->endpoint_since_ms >= SETTLE_MS;
}

static void complain(const struct api *a, const struct endpoint_of *x, const struct err *e, struct kube_call *c)
{
    const struct kube_reply *r = kube_call_reply(c);

    if (api_worth_a_line(a, r))
        log_event(LOG_WARNING, "endpoint-failed", e->msg, LOG_S("service", x->name),
                  LOG_I("status", r->http_status));
}

/* A Service that had a selector keeps the slices that were made for it, and clients are sent there too. */
static void name_foreign(struct api *a, struct endpoint_of *x, int64_t now)
{
    char note[640];

    if (str_eq(x->foreign, x->slice.foreign))
        return;
    (void)str_copy(x->foreign, sizeof x->foreign, x->slice.foreign);
    if (!x->foreign[0])
        return;
    (void)str_format(note, sizeof note, "the Service %s also leads where the EndpointSlice %s says; delete the "
                     "Endpoints of the Service and that EndpointSlice", x->name, x->foreign);
    log_event(LOG_WARNING, "endpoint-foreign", note, LOG_S("service", x->name), LOG_S("slice", x->foreign));
    api_event(a, true, "EndpointForeign", note, now);
}

/* What was refused will be refused again. */
static int64_t pause_after(struct kube_call *c)
{
    int status = kube_call_reply(c)->http_status;

    return status >= 400 && status < 500 && status != 429 ? WATCH_EVERY_MS : API_PATCH_RETRY_MS;
}

static bool lost_a_race(const struct endpoint_of *x)
{
    bool raced = kube_call_outcome(x->call) == KUBE_CONFLICT || kube_call_reply(x->call)->http_status == 404;

    return x->writing && raced;
}

static void give_up(struct endpoint_of *x, int64_t now)
{
    log_event(LOG_WARNING, "endpoint-failed", "the EndpointSlice does not stay as it is written: an admission webhook "
              "or another program changes it", LOG_S("service", x->name));
    x->settled = true;
    look_again(x, now + WATCH_EVERY_MS);
}

static void poll_service(const struct api *a, struct endpoint_of *x, int64_t now)
{
    struct err e = {0};

    if (x->service_call == NULL || kube_call_outcome(x->service_call) == KUBE_PENDING)
        return;
    x->service_known = kube_call_service(x->service_call, a->cfg->postgres.port, &x->service, &e);
    if (!x->service_known) {
        x->next_ms = now + pause_after(x->service_call);
        x->settled = true;
        complain(a, x, &e, x->service_call);
    }
    kube_call_free(x->service_call);
    x->service_call = NULL;
}

static void poll_slice(struct api *a, struct endpoint_of *x, int64_t now)
{
    struct err e = {0};

    if (x->call == NULL || kube_call_outcome(x->call) == KUBE_PENDING)
        return;
    x->slice_known = kube_call_slice(x->call, x->name, &x->slice, &e);
    if (!x->slice_known && lost_a_race(x)) {
        x->next_ms = now;
    } else if (!x->slice_known) {
        x->next_ms = now + pause_after(x->call);
        x->settled = true;
        complain(a, x, &e, x->call);
    } else if (x->writing) {
        log_event(LOG_INFO, "endpoint", x->slice.n > 0 ? "the Service for writers leads here" :
                  "the Service for writers leads nowhere", LOG_S("service", x->name),
                  LOG_S("address", x->slice.to.ip));
    }
    kube_call_free(x->call);
    x->call = NULL;
}

static const struct kube_pod *pod_of(const struct api *a, const char *uid)
{
    const struct kube_pods *p = kube_watch_get_pods(a->pods);

    for (uint8_t i = 0; p != NULL && i < p->n; i++)
        if (strcmp(p->p[i].uid, uid) == 0)
            return &p->p[i];
    return NULL;
}

/* False: as it is, it may stay. */
static bool change_due(const struct api *a, const struct endpoint_of *x, struct kube_endpoint *to)
{
    const struct kube_slice *s = &x->slice;
    const struct kube_pod *own = pod_of(a, a->id.uid);

    *to = (struct kube_endpoint){0};
    switch (a->endpoint_want) {
    case ENDPOINT_KEEP:
        return false;
    case ENDPOINT_NOT_MINE:
        return s->n > 0 && strcmp(s->to.uid, a->id.uid) == 0;
    case ENDPOINT_NOT_GONE:
        return s->n > 0 && api_pods_known(a) && pod_of(a, s->to.uid) == NULL;
    case ENDPOINT_MINE:
        break;
    }
    if (own == NULL || own->ip[0] == '\0')
        return false;
    to->pod = own->name;
    (void)str_copy(to->uid, sizeof to->uid, own->uid);
    (void)str_copy(to->ip, sizeof to->ip, own->ip);
    (void)str_copy(to->node, sizeof to->node, own->node);
    return s->n != 1 || !kube_slice_fits(s, &x->service) || strcmp(s->to.uid, to->uid) != 0 ||
           strcmp(s->to.ip, to->ip) != 0;
}

/* Both as they are since the wish came up: a Service may have got a selector, or be another one. */
static void look(struct api *a, struct endpoint_of *x, int64_t now)
{
    if (!x->service_known && x->service_call == NULL)
        x->service_call = kube_service_get(a->kube, x->name, now + API_REQUEST_MS);
    if (!x->slice_known && x->call == NULL) {
        x->writing = false;
        x->call = kube_slice_list(a->kube, x->name, now + API_REQUEST_MS);
    }
}

static void drive(struct api *a, struct endpoint_of *x, int64_t now)
{
    struct kube_endpoint to;

    poll_service(a, x, now);
    poll_slice(a, x, now);
    if (a->endpoint_want == ENDPOINT_KEEP || now < x->next_ms || x->service_call != NULL || x->call != NULL)
        return;
    if (!x->service_known || !x->slice_known) {
        look(a, x, now);
        return;
    }
    bool ours = x->service.exists && !x->service.has_selector;
    if (ours)
        name_foreign(a, x, now);
    if (ours && change_due(a, x, &to)) {
        if (x->writes++ == WRITES_MAX) {
            give_up(x, now);
            return;
        }
        x->writing = true;
        x->call = kube_slice_put(a->kube, &x->service, &x->slice, &to, now + API_REQUEST_MS);
    } else {
        x->settled = true;
        look_again(x, now + (a->endpoint_want == ENDPOINT_MINE ? LOOK_EVERY_MS : WATCH_EVERY_MS));
    }
}

void api_drive_endpoints(struct api *a, int64_t now)
{
    for (size_t i = 0; i < a->n_endpoints; i++)
        drive(a, &a->endpoint[i], now);
}

void api_set_endpoint(struct api *a, enum endpoint want, int64_t now)
{
    if (a->endpoint_want == want)
        return;
    a->endpoint_want = want;
    a->endpoint_since_ms = now;
    /* A pod that is gone is commonly followed by an election: its address stays for that long, so that the
     * next primary's is the only change. */
    int64_t at = want == ENDPOINT_NOT_GONE ? now + WATCH_EVERY_MS : now;
    for (size_t i = 0; i < a->n_endpoints; i++) {
        look_again(&a->endpoint[i], at);
        a->endpoint[i].settled = false;
    }
    api_drive_endpoints(a, now); /* the next turn may be some 100 ms away, and clients wait */
}
