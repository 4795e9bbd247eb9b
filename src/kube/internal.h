/* What the files of this area share. Nothing here is for other areas. */
#ifndef PGHAD_SRC_KUBE_INTERNAL_H
#define PGHAD_SRC_KUBE_INTERNAL_H

#include "http/client.h"
#include "kube/client.h"

#define KUBE_TOKEN_MAX 65536
#define EVENT_REQUEST_MS 3000

struct kube_watch;

struct kube {
    struct kube_config cfg;
    struct http_client *http; /* borrowed */
    struct http_tls tls;      /* borrows from cfg */
    char *user_password;      /* owned, or NULL */
    char *token;              /* owned; last one read */
    int64_t token_read_ms;
    struct err token_err; /* of the last reading; kind NONE = it worked */
    int64_t contact_ms;
    struct kube_call *calls;     /* pending ones */
    struct kube_watch *watches;
    struct buf events[KUBE_EVENTS_MAX]; /* bodies that wait, a ring */
    size_t event_first, event_count;
    struct kube_call *event_call; /* of the first one, while it is under way */
    int64_t event_next_ms;        /* not before, 0 = at once */
    uint64_t event_seq;
    struct kube_stat stats[KUBE_STATS_MAX];
    size_t n_stats;
    struct kube_denial denials[KUBE_DENIALS_MAX];
    size_t n_denials;
    uint64_t rejected, events_dropped;
};

/* ---- credentials (creds.c) ---- */

/* Reads the token again when it is old, or at once when forced. False when there is none to use. */
bool kube_creds_refresh(struct kube *k, bool force, struct err *e);
bool kube_token_clean(const char *text, size_t len, struct buf *ret); /* trimmed and checked */

/* ---- sending (client.c) ---- */

struct kube_sending {
    const char *channel;
    const char *method;
    const char *path; /* with its query */
    const char *content_type;
    const char *body;
    int64_t deadline_ms; /* 0: a stream */
    bool stream, fresh;
};
/* Adds server and credentials. Never NULL. */
struct http_call *kube_send(struct kube *k, const struct kube_sending *s);

/* A call on a channel; content_type as for kube_request. */
struct kube_call *kube_begin(struct kube *k, const char *channel, const char *method,
                             const char *path, const char *content_type, const char *body,
                             int64_t deadline_ms);
/* One that could not be begun. */
struct kube_call *kube_not_begun(struct kube *k, const struct err *why);
bool kube_call_is_get(const struct kube_call *c);
struct kube *kube_call_kube(const struct kube_call *c);

/* Fills reason and message of a failed answer from its body and status. */
void kube_explain(const struct http_result *h, char *reason, size_t reason_size, struct err *e);
enum err_kind kube_kind_of_status(int status);
bool kube_is_contact(int status);

/* ---- paths (path.c) ---- */

/* Appends s with everything but unreserved characters percent-encoded. */
void kube_escape(struct buf *b, const char *s);
/* "/apis/<group>/v1/namespaces/<ns>/<plural>[/<name>]"; group "" = the core group. */
void kube_path(struct buf *b, const struct kube *k, const char *group, const char *plural,
               const char *name);
/* Counts an answer, and keeps who is denied what; why: of a refusal, or NULL. */
void kube_count(struct kube *k, const char *method, const char *path, int code, const char *why);

/* ---- pods (pods.c) ---- */

struct json_object;
bool kube_pod_decode(struct json_object *o, const char *role_label, struct kube_pod *ret,
                     struct err *e);
/* Inserts or replaces by name, taking over p->status; false when there is no room. */
bool kube_pods_set(struct kube_pods *list, struct kube_pod *p);
bool kube_pods_remove(struct kube_pods *list, const char *name, const char *uid);
/* All items of a PodList; those that cannot be read are counted in *rejected. */
bool kube_pods_decode(struct json_object *list, const char *role_label, struct kube_pods *ret,
                      uint64_t *rejected, struct err *e);

/* ---- ConfigMap (configmap.c) ---- */

bool kube_configmap_decode(struct json_object *o, struct kube_configmap *ret, struct err *e);

/* ---- Service and EndpointSlice (endpoint.c) ---- */

struct kube_service;
struct kube_slice;
/* port: as for kube_call_service(). *ret stays as it is unless true is returned. */
bool kube_service_decode(struct json_object *o, int64_t port, struct kube_service *ret, struct err *e);
/* A slice, or a list of those of that Service; *ret as above. */
bool kube_slice_decode(struct json_object *o, const char *service, struct kube_slice *ret, struct err *e);

/* ---- Events (event.c), watches (watch.c) ---- */

void kube_events_step(struct kube *k, int64_t now_ms);
void kube_events_prepare(struct kube *k, struct loop *l);
void kube_events_done(struct kube *k);
void kube_watches_prepare(struct kube *k, struct loop *l);
void kube_watches_step(struct kube *k, int64_t now_ms);

#endif
