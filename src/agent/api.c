/* The Kubernetes API as the agent needs it: at most one request of each purpose in flight. */
#include "agent/api.h"

#include <stdlib.h>
#include <string.h>

#include "api_parts.h"
#include "base/str.h"
#include "http/client.h"
#include "kube/config.h"

#define PODS_IDLE_MS 90000
#define LEASE_IDLE_MAX_MS 60000

extern char **environ;

/* The Lease changes with each renewal: three of them missed, by our pace or by the holder's, of
 * which the duration tells (each profile renews at least five times in one), mean a dead stream. */
static int64_t lease_idle_ms(const struct api *a)
{
    const struct kube_lease *l = a->lease != NULL ? kube_watch_get_lease(a->lease) : NULL;
    int64_t own = 3 * a->cfg->lease.renew_ms;
    int64_t theirs = l != NULL ? (int64_t)l->lease.duration_s * 1000 * 3 / 5 : 0;
    if (theirs > LEASE_IDLE_MAX_MS)
        theirs = LEASE_IDLE_MAX_MS; /* whatever somebody wrote there */
    return (own > theirs ? own : theirs) + 1000;
}

struct api *api_new(struct http_client *c, struct loop *l, const struct config *cfg,
                    const struct identity *id, struct err *e)
{
    struct kube_config kc = {0};
    struct kube_settings ks = {
        .server = cfg->kube.server,
        .token_file = cfg->kube.token_file,
        .ca_file = cfg->kube.ca_file,
        .kubeconfig = cfg->kube.kubeconfig,
        .context = cfg->kube.context,
        .ns = cfg->cluster.ns,
        .in_cluster_first = true,
        .env = environ,
    };
    if (!kube_config_load(&kc, &ks, e))
        return NULL;
    struct api *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(e, ERR_FATAL, "out of memory"), NULL;
    a->cfg = cfg;
    a->id = *id;
    a->kube = kube_new(&kc, c, e);
    kube_config_done(&kc);
    if (a->kube == NULL) {
        free(a);
        return NULL;
    }
    buf_init(&a->history_due, 4096);
    (void)str_format(a->state_name, sizeof a->state_name, "%s-state", api_cluster(a));
    /* In this order: what has come over the one is read by the other in the same turn. */
    struct loop_source transport = http_client_source(c), src = kube_source(a->kube);
    loop_add(l, &transport);
    loop_add(l, &src);
    api_endpoints_init(a);
    a->lease = kube_watch_lease(a->kube, api_cluster(a), lease_idle_ms(a));
    a->pods = kube_watch_pods(a->kube, cfg->cluster.selector, cfg->cluster.role_label,
                              PODS_IDLE_MS);
    a->state = kube_watch_configmap(a->kube, a->state_name, PODS_IDLE_MS);
    return a;
}

void api_free(struct api *a)
{
    if (a == NULL)
        return;
    kube_call_free(a->get);
    kube_call_free(a->write);
    kube_call_free(a->patch);
    api_endpoints_done(a);
    kube_call_free(a->sync);
    kube_call_free(a->result_call);
    kube_call_free(a->history_call);
    for (size_t i = 0; i < a->n_strip; i++)
        kube_call_free(a->strip[i].call);
    kube_watch_free(a->lease);
    kube_watch_free(a->pods);
    kube_watch_free(a->state);
    kube_free(a->kube);
    buf_done(&a->history_due);
    free(a->settings);
    free(a);
}

void api_event(struct api *a, bool warning, const char *reason, const char *note, int64_t now)
{
    (void)now;
    struct kube_event ev = {.kind = "Pod", .api_version = "v1", .name = a->id.name.s,
                            .uid = a->id.uid, .reporter = a->id.name.s, .action = reason,
                            .reason = reason, .note = note, .warning = warning};
    kube_event_post(a->kube, &ev);
}

bool api_worth_a_line(const struct api *a, const struct kube_reply *r)
{
    const struct kube_denial *d;
    size_t n = kube_denials(a->kube, &d);

    for (size_t i = 0; r->http_status == 403 && i < n; i++)
        if (d[i].count > 3 && str_starts(r->err.msg, d[i].text))
            return false;
    return true;
}

size_t api_denials(const struct api *a, const struct kube_denial **ret)
{
    return kube_denials(a->kube, ret);
}

void api_counters(const struct api *a, struct status_counters *n)
{
    const struct kube_stat *s;
    size_t rows = kube_stats(a->kube, &s);
    n->api_n = 0;
    for (size_t i = 0; i < rows && n->api_n < STATUS_API_MAX; i++) {
        struct status_api_count *x = &n->api[n->api_n++];
        *x = (struct status_api_count){.code = s[i].code, .count = s[i].count};
        (void)str_copy(x->verb, sizeof x->verb, s[i].verb);
        (void)str_copy(x->resource, sizeof x->resource, s[i].resource);
    }
    n->api_rejected = kube_rejected(a->kube);
    n->lease_renew = a->renew;
    n->lease_renew_failures = a->renew_failures;
}

int64_t api_contact_ms(const struct api *a)
{
    return kube_contact_ms(a->kube);
}

void api_poll(struct api *a, int64_t now)
{
    kube_watch_set_idle(a->lease, lease_idle_ms(a));
    api_poll_write(a);
    api_poll_get(a);
    api_poll_pods(a);
    api_poll_state(a);
    api_poll_strip(a);
    api_drive_endpoints(a, now);
    api_drive_patch(a, now);
    api_drive_state(a, now);
    api_drive_history(a, now);
}
