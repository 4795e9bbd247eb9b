/* Pods: who is there, our own label and annotation, stale labels of others. */
#include <string.h>

#include "api_parts.h"
#include "base/log.h"
#include "base/str.h"
#include "core/record.h"

static enum ha_role role_of_label(const struct api *a, const char *value)
{
    if (strcmp(value, a->cfg->cluster.role_primary) == 0)
        return ROLE_PRIMARY;
    return strcmp(value, a->cfg->cluster.role_replica) == 0 ? ROLE_REPLICA : ROLE_UNKNOWN;
}

void api_poll_pods(struct api *a)
{
    if (!kube_watch_known(a->pods) || kube_watch_generation(a->pods) == a->pods_generation)
        return;
    a->pods_generation = kube_watch_generation(a->pods);
    const struct kube_pods *p = kube_watch_get_pods(a->pods);
    a->n_pods = 0;
    for (uint8_t i = 0; p != NULL && i < p->n; i++) {
        struct api_pod *x = &a->pod[a->n_pods++];
        *x = (struct api_pod){.name = p->p[i].name, .deleting = p->p[i].deleting};
        (void)str_copy(x->uid, sizeof x->uid, p->p[i].uid);
        (void)str_copy(x->ip, sizeof x->ip, p->p[i].ip);
        (void)str_copy(x->role, sizeof x->role, p->p[i].role);
        if (name_eq(&x->name, &a->id.name)) {
            a->seen_role = role_of_label(a, x->role);
            a->role_news = true;
        }
    }
}

/* The watch may show for a moment what our own change has replaced already: to believe it would make that
 * change once more. */
static void believe_label(struct api *a, int64_t now)
{
    if (!a->role_news || a->patch != NULL || now - a->patched_ms < API_OWN_CHANGE_MS)
        return;
    a->role_news = false; /* a watch that stands still has no more to say than it had */
    a->have_role = a->seen_role;
    a->role_known = true;
}

size_t api_pods(const struct api *a, const struct api_pod **ret)
{
    *ret = a->pod;
    return a->n_pods;
}

bool api_pods_known(const struct api *a)
{
    return a->pods_generation != 0;
}

void api_set_label(struct api *a, enum ha_role role, int64_t now)
{
    if (!a->role_wanted || a->want_role != role)
        a->patch_next_ms = a->role_since_ms = now;
    a->want_role = role;
    a->role_wanted = true;
}

enum ha_role api_label(const struct api *a)
{
    return a->role_known ? a->have_role : ROLE_UNKNOWN;
}

void api_set_annotation(struct api *a, const char *json, int64_t now)
{
    (void)str_copy(a->annotation, sizeof a->annotation, json);
    a->annotation_since_ms = now;
}

/* Labels change the Service for readers, and kube-proxy takes one change in a second: that of the Service for
 * writers shall be it. */
static bool waits_for_writers(const struct api *a, int64_t now)
{
    if (a->want_role == ROLE_PRIMARY)
        return !api_endpoints_settled(a, now);
    return a->want_role == ROLE_REPLICA && now - a->role_since_ms < API_READERS_LATER_MS;
}

void api_drive_patch(struct api *a, int64_t now)
{
    if (a->patch != NULL) {
        enum kube_outcome o = kube_call_outcome(a->patch);
        if (o == KUBE_PENDING)
            return;
        if (o == KUBE_OK) {
            a->have_role = a->patch_role;
            a->role_known = true;
            a->role_news = false;
            a->patched_ms = now;
        } else {
            const struct kube_reply *r = kube_call_reply(a->patch);
            if (api_worth_a_line(a, r))
                log_event(LOG_WARNING, "label-failed", r->err.msg, LOG_I("status", r->http_status));
            a->patch_next_ms = now + API_PATCH_RETRY_MS;
            a->annotation_done[0] = '\0';
        }
        kube_call_free(a->patch);
        a->patch = NULL;
    }
    believe_label(a, now);
    bool role = a->role_wanted && (!a->role_known || a->have_role != a->want_role);
    /* What only informs waits: in a failover everything changes several times, and there is more to ask for. */
    bool settled = now - a->annotation_since_ms >= API_SETTLED_MS && now >= a->annotation_next_ms;
    bool note = settled && strcmp(a->annotation, a->annotation_done) != 0;
    if (!a->role_wanted || now < a->patch_next_ms || (!role && !note))
        return;
    if (role && waits_for_writers(a, now))
        return;
    const char *value = a->want_role == ROLE_PRIMARY   ? a->cfg->cluster.role_primary
                        : a->want_role == ROLE_REPLICA ? a->cfg->cluster.role_replica
                                                       : NULL;
    struct kube_change label = {a->cfg->cluster.role_label, value};
    struct kube_change status = {ANNOTATION_STATUS, a->annotation};
    struct kube_meta meta = {&label, 1, &status, a->annotation[0] != '\0' ? 1 : 0};
    a->patch_role = a->want_role;
    (void)str_copy(a->annotation_done, sizeof a->annotation_done, a->annotation);
    a->annotation_next_ms = now + 2000;
    a->patch = kube_pod_patch(a->kube, a->id.name.s, a->id.uid, &meta, now + API_REQUEST_MS);
}

static struct strip_of *strip_slot(struct api *a, const struct ha_name *name)
{
    for (size_t i = 0; i < a->n_strip; i++)
        if (name_eq(&a->strip[i].name, name))
            return &a->strip[i];
    if (a->n_strip == HA_MEMBERS_MAX)
        return NULL;
    a->strip[a->n_strip] = (struct strip_of){.name = *name};
    return &a->strip[a->n_strip++];
}

void api_strip(struct api *a, int64_t now)
{
    for (size_t i = 0; i < a->n_pods; i++) {
        const struct api_pod *p = &a->pod[i];
        if (name_eq(&p->name, &a->id.name) || role_of_label(a, p->role) != ROLE_PRIMARY)
            continue;
        struct strip_of *s = strip_slot(a, &p->name);
        if (s == NULL || s->call != NULL || now < s->next_ms)
            continue;
        struct kube_change label = {a->cfg->cluster.role_label, NULL};
        struct kube_meta meta = {&label, 1, NULL, 0};
        s->next_ms = now + API_PATCH_RETRY_MS;
        s->call = kube_pod_patch(a->kube, p->name.s, p->uid, &meta, now + API_REQUEST_MS);
    }
}

void api_poll_strip(struct api *a)
{
    for (size_t i = 0; i < a->n_strip; i++) {
        struct strip_of *s = &a->strip[i];
        if (s->call == NULL || kube_call_outcome(s->call) == KUBE_PENDING)
            continue;
        const struct kube_reply *r = kube_call_reply(s->call);
        if (r->outcome != KUBE_OK && api_worth_a_line(a, r))
            log_event(LOG_ERROR, "strip-failed", r->err.msg, LOG_S("pod", s->name.s),
                      LOG_I("status", r->http_status));
        kube_call_free(s->call);
        s->call = NULL;
    }
}
