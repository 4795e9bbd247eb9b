/* Requests to the Kubernetes API: started, polled, with a definite class of outcome.
 *
 * Each request has one total deadline; one that changes something also carries ?timeout=, so that
 * the server stops acting soon after it. A 401 makes the token be read again and the request sent
 * once more within its deadline (with a new sent_ms). */
#ifndef PGHAD_KUBE_CLIENT_H
#define PGHAD_KUBE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/types.h"
#include "kube/config.h"
#include "kube/lease.h"
#include "loop/loop.h"

#define KUBE_BODY_MAX (8 * 1024 * 1024)
#define KUBE_PODS_MAX 32
#define KUBE_EVENTS_MAX 16
#define KUBE_EVENT_RETRY_MS 10000

struct http_client;
struct json_object;
struct kube;
struct kube_call;

enum kube_outcome {
    KUBE_PENDING,
    KUBE_OK,       /* 2xx with a whole answer */
    KUBE_REFUSED,  /* definitely not applied: 400, 401, 403, 404, 405, 410, 415, 422, 429, or not begun */
    KUBE_CONFLICT, /* 409: read back before judging, the request may have been sent twice */
    KUBE_UNKNOWN,  /* timeout, 5xx, reset, cut off: it may have been applied */
};

/* Final once the outcome is not PENDING. */
struct kube_reply {
    enum kube_outcome outcome;
    int http_status;    /* 0 = no answer */
    char reason[64];    /* of the Status object, "" = none */
    /* Kind: NONE on OK; NOT_FOUND (404), CONFLICT (409), DENIED (401, 403), INVALID (400, 405, 410,
     * 415, 422), TRANSIENT (429, 5xx, transport), TIMEOUT, CORRUPT (not JSON). code = http_status. */
    struct err err;
    int64_t sent_ms;    /* BOOTTIME before the (last) sending */
    int64_t done_ms;
    bool sent;          /* false: no byte of the request has left; UNKNOWN then means not applied */
    int64_t retry_after_s; /* 0 = not asked for */
    struct json_object *body; /* owned by the call; NULL unless the answer was a JSON object */
};

/* config is copied; http is borrowed. */
struct kube *kube_new(const struct kube_config *config, struct http_client *http, struct err *e);
void kube_free(struct kube *k); /* NULL accepted; calls and watches must be freed before */
/* Drives watches, Events and the repetition after 401. To be added after http_client_source. */
struct loop_source kube_source(struct kube *k);
const char *kube_namespace(const struct kube *k);
/* Takes token and certificate of the config from now on; no call may be under way. */
void kube_set_credentials(struct kube *k, const struct kube_config *config);
/* BOOTTIME of the last answer of the API server that was understood, of any request or watch;
 * 0 = never. */
int64_t kube_contact_ms(const struct kube *k);

/* Calls. Never NULL; what cannot be begun is REFUSED with its error. deadline_ms is BOOTTIME. */
enum kube_outcome kube_call_outcome(struct kube_call *c);
const struct kube_reply *kube_call_reply(struct kube_call *c);
void kube_call_free(struct kube_call *c); /* NULL accepted; cancels */

/* Lease. Reads are linearizable. All on a channel of their own. */
struct kube_call *kube_lease_get(struct kube *k, const char *name, int64_t deadline_ms);
struct kube_call *kube_lease_create(struct kube *k, const char *name, const struct lease *want,
                                    int64_t deadline_ms);
/* PUT of the object as last read with *want in it. A 201 (http_status) is an alarm: it was gone. */
struct kube_call *kube_lease_put(struct kube *k, const struct kube_lease *last,
                                 const struct lease *want, int64_t deadline_ms);
/* The Lease in a finished call: of a 2xx, or absent after a 404. False while there is neither. */
bool kube_call_lease(struct kube_call *c, struct kube_lease *ret, struct err *e);

/* Pods. */
struct kube_pod {
    struct ha_name name;
    char uid[HA_UID_SIZE];
    char ip[48];
    char node[256];
    char role[64];       /* value of the role label, "" = none */
    char phase[16];
    bool ready, deleting;
    struct buf status;   /* annotation pghad.io/status, bounded */
};
struct kube_pods {
    uint8_t n;
    struct kube_pod p[KUBE_PODS_MAX]; /* in order of name */
};
#define KUBE_STATUS_MAX 4096
#define ANNOTATION_STATUS "pghad.io/status"

void kube_pods_done(struct kube_pods *p); /* accepts a zeroed one; zeroes */
struct kube_call *kube_pod_list(struct kube *k, const char *selector, int64_t deadline_ms);
bool kube_call_pods(struct kube_call *c, const char *role_label, struct kube_pods *ret,
                    struct err *e);

struct kube_change {
    const char *key;
    const char *value; /* NULL removes the key */
};
struct kube_meta {
    const struct kube_change *labels;
    size_t n_labels;
    const struct kube_change *annotations;
    size_t n_annotations;
};
/* Merge patch; uid (or NULL) makes it fail with 422/409 when the pod was replaced by another one. */
struct kube_call *kube_pod_patch(struct kube *k, const char *name, const char *uid,
                                 const struct kube_meta *m, int64_t deadline_ms);

/* ConfigMap. */
struct kube_configmap {
    bool exists;
    char name[256];
    char rv[KUBE_RV_SIZE];
    char uid[HA_UID_SIZE];
    struct json_object *raw; /* owned; NULL when it does not exist */
};
void kube_configmap_done(struct kube_configmap *m); /* accepts a zeroed one; zeroes */
void kube_configmap_copy(struct kube_configmap *dst, const struct kube_configmap *src);
/* Value of a key, borrowed from *m; NULL when absent. */
const char *kube_configmap_get_value(const struct kube_configmap *m, const char *key);
bool kube_call_configmap(struct kube_call *c, struct kube_configmap *ret, struct err *e);

struct kube_call *kube_configmap_get(struct kube *k, const char *name, int64_t deadline_ms);
/* labels may be NULL when n_labels is 0. */
struct kube_call *kube_configmap_create(struct kube *k, const char *name,
                                        const struct kube_change *labels, size_t n_labels,
                                        const struct kube_change *data, size_t n_data,
                                        int64_t deadline_ms);
/* Compare-and-swap on uid and resourceVersion of *last; other keys are carried through. */
struct kube_call *kube_configmap_put(struct kube *k, const struct kube_configmap *last,
                                     const struct kube_change *data, size_t n_data,
                                     int64_t deadline_ms);
/* Merge patch of data; with rv (not NULL) a compare-and-swap. */
struct kube_call *kube_configmap_patch(struct kube *k, const char *name, const char *rv,
                                       const struct kube_change *data, size_t n_data,
                                       int64_t deadline_ms);

/* An Event, begun and forgotten: at most KUBE_EVENTS_MAX wait, more are dropped and counted. One that
 * is forbidden is sent again every KUBE_EVENT_RETRY_MS: the right may come. */
struct kube_event {
    const char *kind;        /* of the object it is about: "Pod", "StatefulSet", "Lease", ... */
    const char *api_version; /* "v1", "apps/v1", ... */
    const char *name, *uid;  /* uid NULL = unknown */
    const char *reporter;    /* this member's name */
    const char *action, *reason; /* at most 128 bytes */
    const char *note;            /* cut at 1000 bytes */
    bool warning;
};
void kube_event_post(struct kube *k, const struct kube_event *ev);

/* May this account do that? Any account may ask. */
struct kube_call *kube_access_review(struct kube *k, const char *verb, const char *group,
                                     const char *resource, const char *name, int64_t deadline_ms);
bool kube_call_allowed(struct kube_call *c, bool *ret, struct err *e);

/* Anything else. path begins with "/" and may carry a query; body NULL = none; content_type NULL =
 * application/json (PATCH: application/merge-patch+json). */
struct kube_call *kube_request(struct kube *k, const char *method, const char *path,
                               const char *content_type, const char *body, int64_t deadline_ms);

/* Counters for /metrics: one row per verb, resource and code. */
struct kube_stat {
    const char *verb;     /* "get", "update", "watch", ...; static */
    const char *resource; /* "leases", "pods", ..., "other"; static */
    int code;             /* HTTP status, 0 = no answer */
    uint64_t count;
};
#define KUBE_STATS_MAX 96
/* Rows in use. */
size_t kube_stats(const struct kube *k, const struct kube_stat **ret);

/* What the API server forbids (403): a row for each verb and resource from its first refusal until an
 * answer that shows the right. */
struct kube_denial {
    const char *verb, *resource; /* as in kube_stat */
    uint32_t count;              /* refusals in a row */
    int64_t since_ms, last_ms;   /* BOOTTIME of the first and of the last of them */
    char text[256];              /* what the server said last */
};
#define KUBE_DENIALS_MAX 16
size_t kube_denials(const struct kube *k, const struct kube_denial **ret);

uint64_t kube_rejected(const struct kube *k); /* answers that were damaged, too large or not ours */
uint64_t kube_events_dropped(const struct kube *k);

#endif
