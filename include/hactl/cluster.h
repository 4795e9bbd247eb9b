/* What hactl knows of a cluster: gathered from the Lease, the pods, the ConfigMap and, where they
 * can be reached, the members themselves. What is not known stays unknown and is shown so. */
#ifndef PGHAD_HACTL_CLUSTER_H
#define PGHAD_HACTL_CLUSTER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/intent.h"
#include "core/types.h"

#define CLUSTER_MEMBERS_MAX 64 /* pods shown; the cluster itself has at most HA_MEMBERS_MAX */
#define CLUSTER_ALARMS_MAX 16

enum member_source {
    SOURCE_NONE,      /* a pod (or a name in the record) that has said nothing */
    SOURCE_PUBLISHED, /* annotation of the pod, age_s old */
    SOURCE_LIVE,      /* its REST server answered just now */
};

struct member_view {
    char name[HA_NAME_SIZE];
    enum member_source source;
    int64_t age_s; /* of the published status, -1 = unknown */
    bool pod;      /* the pod exists */
    bool ready;    /* condition Ready */
    bool terminating;
    bool labelled_primary;
    char address[64];
    int64_t port;      /* of postgres */
    int64_t rest_port;
    char node[128];
    enum ha_role role;
    char state[48]; /* running, streaming, starting, …; "" = unknown */
    enum tri streaming;
    int64_t timeline; /* 0 = unknown */
    uint64_t lsn;     /* 0 = unknown */
    int64_t lag_bytes; /* -1 = unknown */
    char sync[16];     /* quorum, sync, async, yes; "" = none or unknown */
    char rule[64];
    char reason[192];
    char version[32]; /* of PostgreSQL */
    char daemon[32];  /* of pghad */
    char volume[24];
    char tags[160]; /* "k=v, k=v" */
    char follows[HA_NAME_SIZE]; /* cascading: tag replicatefrom */
    bool in_v;
    bool pending_restart;
    bool paused; /* it knows that the cluster is paused */
    char perishable_slots[192]; /* of the primary: the next one will not have them; "" = none */
    char alarm[192]; /* first of its own alarms, "" = none or unknown */
    char uid[40];    /* of the pod */
    char set[64];    /* StatefulSet that the pod belongs to, "" = none */
    char revision[72]; /* of the template that the pod was made from, "" = unknown */
    char stamp[40];    /* ANNOTATION_STAMP of the pod, "" = none */
    char image[256];   /* of the container that runs pghad */
    char waiting[64];  /* why a container does not run, or why there is no node; "" = nothing of that */
    char waiting_text[256];
};

#define ANNOTATION_STAMP "pghad.io/restarted-at" /* in the pod template: changes with each restart */

struct cluster_view {
    char name[64];
    char ns[64];
    char system_id[32];
    bool has_lease;
    uint64_t epoch;
    char holder[HA_NAME_SIZE]; /* "" = nobody */
    bool has_record, record_damaged;
    struct record record;
    bool has_state; /* the ConfigMap exists */
    bool paused;
    struct intent intent; /* id 0 = none */
    struct intent_result result;
    bool intent_is_open;
    int64_t now_s; /* 1970, when this was gathered */
    bool any_live; /* members can be reached from here: one that does not answer is silent */
    size_t n;
    struct member_view m[CLUSTER_MEMBERS_MAX]; /* by name */
    size_t alarms_n; /* why it is degraded; none = healthy */
    char alarms[CLUSTER_ALARMS_MAX][200];
};

struct session;

/* Reads everything; live: ask members' REST too, for at most 300 ms. Returns an exit code after
 * saying what failed. */
int cluster_gather(struct session *s, struct cluster_view *v, bool live);

/* Pure parts, for tests: each takes the object as the API server or the member sent it. */
bool cluster_take_lease(struct cluster_view *v, struct json_object *lease, struct err *e);
void cluster_take_state(struct cluster_view *v, struct json_object *configmap);
void cluster_take_pods(struct cluster_view *v, struct json_object *podlist);
void cluster_take_status(struct member_view *m, struct json_object *status);
/* The agent's own documents in place of all the others. */
void cluster_take_agent(struct cluster_view *v, struct json_object *status,
                        struct json_object *cluster);
/* After all parts: roles, lags, order, alarms. */
void cluster_conclude(struct cluster_view *v);

/* NULL when there is none. */
const struct member_view *cluster_find(const struct cluster_view *v, const char *member);
const struct member_view *cluster_primary(const struct cluster_view *v);
/* Streams from somebody, as far as is known. */
bool member_streams(const struct member_view *m);
uint64_t cluster_lsn(const char *text); /* "X/X"; 0 for anything else */
/* The container that runs pghad in a pod or a pod template: `wanted` (NULL = the one that kubectl's
 * annotation names, else "postgres", else the first). NULL when there is none. Borrowed. */
struct json_object *cluster_container(struct json_object *pod, const char *wanted);

/* Finds or says which members there are; NULL after the message. */
const struct member_view *cluster_need_member(struct session *s, const struct cluster_view *v,
                                              const char *member);

#endif
