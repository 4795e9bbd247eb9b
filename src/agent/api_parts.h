/* What the files that speak to the Kubernetes API for the agent share; see agent/api.h. */
#ifndef PGHAD_AGENT_API_PARTS_H
#define PGHAD_AGENT_API_PARTS_H

#include "agent/api.h"
#include "kube/client.h"
#include "kube/endpoint.h"
#include "kube/intent.h"
#include "kube/watch.h"

#define API_REQUEST_MS 3000     /* of everything but the Lease */
#define API_PATCH_RETRY_MS 1000 /* after a patch that failed */
#define API_OWN_CHANGE_MS 1000  /* until the watch must show an own change, or another one after it */
#define API_SETTLED_MS 500      /* without another change, before the annotation is written */
#define API_READERS_LATER_MS 1000 /* before a replica says that it is one */

struct strip_of { /* a pod whose label we remove */
    struct ha_name name;
    struct kube_call *call;
    int64_t next_ms;
};

struct state_sync { /* what the ConfigMap shall hold, at least */
    uint64_t epoch, system_id;
    struct record record;
};

struct endpoint_of { /* a Service for writers, and where it leads */
    const char *name; /* in cfg */
    struct kube_service service;
    struct kube_slice slice;
    bool service_known, slice_known; /* as read since the wish changed */
    struct kube_call *service_call, *call;
    bool writing; /* the call is a write of the slice */
    int64_t next_ms;
    bool settled;   /* since the wish changed: as it shall be, or refused */
    unsigned writes; /* since the wish changed, or the last pause */
    char foreign[254]; /* slice of somebody else, complained about */
};

struct api {
    const struct config *cfg;
    struct identity id;
    struct kube *kube;
    char state_name[300];
    struct kube_watch *lease, *pods, *state;
    struct api_pod pod[KUBE_PODS_MAX];
    size_t n_pods;
    uint64_t pods_generation;

    struct kube_call *get;
    int64_t get_next_ms;
    int64_t own_got_ms;

    struct kube_call *write;
    enum write_kind kind;
    enum write_outcome outcome;
    uint64_t seq;
    int64_t sent_ms, done_ms, renew_us;
    int32_t duration_s;
    bool names_us;
    struct status_hist renew;
    uint64_t renew_failures;

    enum ha_role want_role, have_role;
    enum ha_role seen_role; /* the watch's */
    int64_t role_since_ms; /* of the wish */
    bool role_wanted, role_known, role_news;
    char annotation[API_ANNOTATION_MAX], annotation_done[API_ANNOTATION_MAX];
    struct kube_call *patch;
    enum ha_role patch_role;
    int64_t patched_ms; /* our last change of the label was answered */
    int64_t patch_next_ms, annotation_next_ms, annotation_since_ms;
    struct strip_of strip[HA_MEMBERS_MAX];
    size_t n_strip;

    enum endpoint endpoint_want;
    int64_t endpoint_since_ms;
    struct endpoint_of endpoint[CONFIG_SERVICES_MAX];
    size_t n_endpoints;

    struct kube_call *sync;
    struct state_sync sync_of;
    int64_t sync_next_ms;
    struct kube_call *result_call;
    struct intent_result result;
    bool result_due;
    int64_t result_next_ms;
    struct buf history_due; /* line not yet in the ConfigMap */
    struct kube_call *history_call;
    int64_t history_next_ms;

    uint64_t state_generation;
    struct state_view st;
    struct intent intent;
    struct intent_result seen_result;
    uint64_t settings_generation;
    char *settings;
    struct status_history history[STATUS_HISTORY_MAX];
    size_t n_history;
    struct history_entry last; /* of the history, when there is one */
};

static inline const char *api_cluster(const struct api *a)
{
    return a->cfg->cluster.name;
}

/* False for a refusal (403) that repeats itself: "access-denied" has told it. */
bool api_worth_a_line(const struct api *a, const struct kube_reply *r);

/* Once a turn each. poll: takes what has come. drive: begins what is due as well. */
void api_poll_write(struct api *a);
void api_poll_get(struct api *a);
void api_poll_pods(struct api *a);
void api_poll_strip(struct api *a);
void api_drive_patch(struct api *a, int64_t now);
void api_poll_state(struct api *a);
void api_endpoints_init(struct api *a);
void api_endpoints_done(struct api *a);
void api_drive_endpoints(struct api *a, int64_t now);
bool api_endpoints_settled(const struct api *a, int64_t now);
void api_drive_state(struct api *a, int64_t now);
void api_drive_history(struct api *a, int64_t now);

#endif
