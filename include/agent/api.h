/* What the agent wants of the Kubernetes API: the Lease, the state ConfigMap, pods, labels, Events.
 *
 * Non-blocking. Requests are begun here; what came of them shows in the next observation. */
#ifndef PGHAD_AGENT_API_H
#define PGHAD_AGENT_API_H

#include "base/err.h"
#include "config/config.h"
#include "core/core.h"
#include "http/status.h"
#include "kube/client.h"
#include "kube/intent.h"

struct api;
struct http_client;
struct loop;

struct api_pod {
    struct ha_name name;
    char uid[HA_UID_SIZE];
    char ip[48];
    bool deleting;
    char role[32]; /* value of the role label, "" = none */
};

struct api *api_new(struct http_client *c, struct loop *l, const struct config *cfg,
                    const struct identity *id, struct err *e);
void api_free(struct api *a);
/* Once a turn, before observing: polls every request and watch. */
void api_poll(struct api *a, int64_t now);

void api_observe_lease(const struct api *a, struct lease_view *lv);
void api_observe_state(const struct api *a, struct state_view *st);
/* The operator's intent as the ConfigMap has it; kind INTENT_NONE when there is none, or its result is
 * final: an agent that has forgotten what it did must not do it again. */
void api_observe_intent(const struct api *a, struct intent *in);
/* The result as the ConfigMap has it; id 0 = none. */
const struct intent_result *api_intent_result(const struct api *a);
/* Cluster-wide settings text; its generation rises with each change. "" when there is none. */
const char *api_settings_text(const struct api *a, uint64_t *generation);
size_t api_pods(const struct api *a, const struct api_pod **ret);
bool api_pods_known(const struct api *a); /* the pods were listed at least once */

void api_lease_get(struct api *a, int64_t now);
/* False when it could not even be begun; nothing was sent then. */
bool api_lease_write(struct api *a, const struct lease_write *w, int64_t now);
/* Role label and status annotation of our own pod; ROLE_UNKNOWN removes the label. The last wish
 * wins. Confirmed by api_label(). */
void api_set_label(struct api *a, enum ha_role role, int64_t now);
enum ha_role api_label(const struct api *a);
/* Whom the Services for writers lead to, where they have no selector (kube/endpoint.h). The last wish wins. */
void api_set_endpoint(struct api *a, enum endpoint want, int64_t now);
/* One patch for each new text: the caller gives one only when it is worth a request. */
#define API_ANNOTATION_MAX 2048
void api_set_annotation(struct api *a, const char *json, int64_t now);
/* Removes role=primary from every other pod that still has it. */
void api_strip(struct api *a, int64_t now);
/* Brings epoch, record and system id into the ConfigMap (system id only once). */
void api_sync_state(struct api *a, uint64_t epoch, const struct record *r, uint64_t system_id,
                    int64_t now);
void api_write_result(struct api *a, const struct intent_result *r, int64_t now);
void api_append_history(struct api *a, const struct history_entry *h, int64_t now);
/* The latest change in the ConfigMap, NULL = none. */
const struct history_entry *api_last_change(const struct api *a);
size_t api_history(const struct api *a, struct status_history *ret, size_t max);
void api_event(struct api *a, bool warning, const char *reason, const char *note, int64_t now);
/* What is forbidden, as kube_denials(). */
size_t api_denials(const struct api *a, const struct kube_denial **ret);
void api_counters(const struct api *a, struct status_counters *n);
int64_t api_contact_ms(const struct api *a);

#endif
