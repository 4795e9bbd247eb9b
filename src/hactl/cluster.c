/* From the objects of the API server to one picture of the cluster. Pure: no request here. */
#include "hactl/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "hactl/jget.h"
#include "kube/intent.h"
#include "kube/record.h"

#define STATUS_ANNOTATION "pghad.io/status"
#define RECORD_ANNOTATION "pghad.io/record"

uint64_t cluster_lsn(const char *text)
{
    const char *slash = strchr(text, '/');
    char hi[9];
    uint64_t h, l;

    if (!slash || slash - text > 8 || strlen(slash + 1) > 8)
        return 0;
    memcpy(hi, text, (size_t)(slash - text));
    hi[slash - text] = '\0';
    return str_to_hex64(hi, &h) && str_to_hex64(slash + 1, &l) ? h << 32 | l : 0;
}

/* LSNs are texts; a bare number is a byte position. */
static uint64_t lsn_of(struct json_object *o)
{
    int64_t n;

    if (json_object_is_type(o, json_type_string))
        return cluster_lsn(json_object_get_string(o));
    n = jint(o, 0);
    return n > 0 ? (uint64_t)n : 0;
}

static enum ha_role role_of(const char *s)
{
    static const char *const replica[] = {"replica", "standby", "sync_standby", "quorum_standby"};

    if (str_eq(s, "primary") || str_eq(s, "leader") || str_eq(s, "master"))
        return ROLE_PRIMARY;
    for (size_t i = 0; i < sizeof(replica) / sizeof(replica[0]); i++) {
        if (str_eq(s, replica[i]))
            return ROLE_REPLICA;
    }
    return ROLE_UNKNOWN;
}

static enum tri tri_of(struct json_object *o)
{
    if (!json_object_is_type(o, json_type_boolean))
        return TRI_UNKNOWN;
    return json_object_get_boolean(o) ? TRI_YES : TRI_NO;
}

static void take_tags(struct member_view *m, struct json_object *tags)
{
    size_t used = 0;

    if (!json_object_is_type(tags, json_type_object))
        return;
    m->tags[0] = '\0';
    const struct json_object_iterator end = json_object_iter_end(tags);
    for (struct json_object_iterator it = json_object_iter_begin(tags);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        const char *key = json_object_iter_peek_name(&it);
        const char *value = json_object_get_string(json_object_iter_peek_value(&it));
        int n = snprintf(m->tags + used, sizeof(m->tags) - used, "%s%s=%s", used ? ", " : "", key,
                         value ? value : "");
        if (n < 0 || (size_t)n >= sizeof(m->tags) - used) {
            m->tags[used] = '\0';
            return;
        }
        used += (size_t)n;
        if (str_eq(key, "replicatefrom"))
            jcopy(m->follows, sizeof(m->follows), json_object_iter_peek_value(&it));
    }
}

/* Keys that the annotation and /status have in common. */
static void take_common(struct member_view *m, struct json_object *st)
{
    static const char *const lsn_keys[][2] = {{"lsn", NULL},
                                              {"xlog", "location"},
                                              {"xlog", "received_location"},
                                              {"write_lsn", NULL},
                                              {"received_lsn", NULL}};

    m->role = role_of(jtext(jget(st, "role", NULL)));
    jcopy(m->state, sizeof(m->state), jget(st, "state", NULL));
    m->streaming = tri_of(jget(st, "streaming", NULL));
    m->timeline = jint(jget(st, "timeline", NULL), 0);
    m->lsn = 0;
    for (size_t i = 0; m->lsn == 0 && i < sizeof(lsn_keys) / sizeof(lsn_keys[0]); i++)
        m->lsn = lsn_of(jget(st, lsn_keys[i][0], lsn_keys[i][1], NULL));
    jcopy(m->rule, sizeof(m->rule), jget(st, "rule", NULL));
    jcopy(m->reason, sizeof(m->reason), jget(st, "reason", NULL));
    jcopy(m->volume, sizeof(m->volume), jget(st, "volume", NULL));
    m->pending_restart = jbool(jget(st, "pending_restart", NULL), false);
    m->paused = jbool(jget(st, "pause", NULL), false);
    jcopy(m->perishable_slots, sizeof(m->perishable_slots), jget(st, "perishable_slots", NULL));
    take_tags(m, jget(st, "tags", NULL));
}

static void take_version(struct member_view *m, struct json_object *o)
{
    int64_t n = json_object_is_type(o, json_type_int) ? json_object_get_int64(o) : 0;

    if (n >= 100000) /* server_version_num since PostgreSQL 10: major * 10000 + minor */
        snprintf(m->version, sizeof(m->version), "%d.%d", (int)(n / 10000), (int)(n % 10000));
}

/* A mode in words, or only whether commits wait for this member. */
static void take_sync(struct member_view *m, struct json_object *o)
{
    if (json_object_is_type(o, json_type_boolean))
        str_copy(m->sync, sizeof(m->sync), json_object_get_boolean(o) ? "yes" : "");
    else
        jcopy(m->sync, sizeof(m->sync), o);
    if (str_eq(m->sync, "none"))
        m->sync[0] = '\0';
}

static void take_annotation(struct member_view *m, struct json_object *st, int64_t now_s)
{
    int64_t at = jint(jget(st, "at", NULL), 0);

    take_common(m, st);
    m->source = SOURCE_PUBLISHED;
    m->age_s = at > 0 && at <= now_s ? now_s - at : -1;
    m->lag_bytes = jint(jget(st, "lag", NULL), -1);
    m->port = jint(jget(st, "port", NULL), m->port);
    m->rest_port = jint(jget(st, "rest_port", NULL), m->rest_port);
    take_sync(m, jget(st, "sync", NULL));
    take_version(m, jget(st, "server_version", NULL));
    jcopy(m->daemon, sizeof(m->daemon), jget(st, "version", NULL));
}

void cluster_take_status(struct member_view *m, struct json_object *st)
{
    struct json_object *o;

    if (!json_object_is_type(st, json_type_object))
        return;
    take_common(m, st);
    m->port = jint(jget(st, "port", NULL), m->port);
    jcopy(m->daemon, sizeof(m->daemon), jget(st, "pghad", "version", NULL));
    o = jget(st, "alarms", NULL);
    if (json_object_is_type(o, json_type_array) && json_object_array_length(o) > 0)
        jcopy(m->alarm, sizeof(m->alarm), jget(json_object_array_get_idx(o, 0), "text", NULL));
    m->source = SOURCE_LIVE;
    m->age_s = 0;
    m->lag_bytes = -1; /* this member's own idea of it is older than the primary's position */
    if ((o = jget(st, "sync", NULL)))
        take_sync(m, o);
    take_version(m, jget(st, "server_version", NULL));
}

static void holder_name(char *dst, size_t size, const char *identity)
{
    size_t n = strcspn(identity, "_");

    if (n >= size)
        n = size - 1;
    memcpy(dst, identity, n);
    dst[n] = '\0';
}

bool cluster_take_lease(struct cluster_view *v, struct json_object *lease, struct err *e)
{
    int64_t epoch = jint(jget(lease, "spec", "leaseTransitions", NULL), 0);
    const char *text;

    if (!json_object_is_type(lease, json_type_object) || epoch < 0)
        return err_set(e, ERR_INVALID, "this is no Lease");
    v->has_lease = true;
    v->epoch = (uint64_t)epoch;
    holder_name(v->holder, sizeof(v->holder), jtext(jget(lease, "spec", "holderIdentity", NULL)));
    text = jtext(jget(lease, "metadata", "annotations", RECORD_ANNOTATION, NULL));
    v->has_record = *text && record_decode(text, strlen(text), &v->record, NULL);
    v->record_damaged = *text && !v->has_record;
    return true;
}

void cluster_take_state(struct cluster_view *v, struct json_object *configmap)
{
    struct json_object *data = jget(configmap, "data", NULL);
    const char *text;

    v->has_state = true;
    jcopy(v->system_id, sizeof(v->system_id), jget(data, "system-id", NULL));
    v->paused = str_eq(jtext(jget(data, "paused", NULL)), "true");
    text = jtext(jget(data, "intent", NULL));
    if (*text && !intent_decode(text, strlen(text), &v->intent, NULL))
        v->intent = (struct intent){0};
    text = jtext(jget(data, "intent-result", NULL));
    if (*text && !intent_result_decode(text, strlen(text), &v->result, NULL))
        v->result = (struct intent_result){0};
    v->intent_is_open = intent_open(&v->intent, &v->result, v->epoch, v->now_s);
}

static struct member_view *add_member(struct cluster_view *v, const char *name)
{
    struct member_view *m;

    if (v->n == CLUSTER_MEMBERS_MAX || name[0] == '\0')
        return NULL;
    m = &v->m[v->n];
    *m = (struct member_view){.age_s = -1, .lag_bytes = -1, .port = 5432, .rest_port = 8008};
    if (!str_copy(m->name, sizeof(m->name), name))
        return NULL;
    v->n++;
    return m;
}

static bool pod_ready(struct json_object *pod)
{
    struct json_object *list = jget(pod, "status", "conditions", NULL);
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *c = json_object_array_get_idx(list, i);
        if (str_eq(jtext(jget(c, "type", NULL)), "Ready"))
            return str_eq(jtext(jget(c, "status", NULL)), "True");
    }
    return false;
}

static size_t length(struct json_object *a)
{
    return json_object_is_type(a, json_type_array) ? json_object_array_length(a) : 0;
}

struct json_object *cluster_container(struct json_object *pod, const char *wanted)
{
    struct json_object *list = jget(pod, "spec", "containers", NULL);
    const char *name = wanted ? wanted
                              : jtext(jget(pod, "metadata", "annotations",
                                           "kubectl.kubernetes.io/default-container", NULL));

    if (!*name)
        name = "postgres";
    for (size_t i = 0; i < length(list); i++) {
        struct json_object *c = json_object_array_get_idx(list, i);
        if (str_eq(jtext(jget(c, "name", NULL)), name))
            return c;
    }
    return !wanted && length(list) > 0 ? json_object_array_get_idx(list, 0) : NULL;
}

/* The first container that waits; what kubelet writes while it only prepares one is no news. */
static void take_waiting(struct member_view *m, struct json_object *statuses)
{
    for (size_t i = 0; i < length(statuses) && !m->waiting[0]; i++) {
        struct json_object *w = jget(json_object_array_get_idx(statuses, i), "state", "waiting", NULL);
        const char *reason = jtext(jget(w, "reason", NULL));
        if (str_eq(reason, "ContainerCreating") || str_eq(reason, "PodInitializing"))
            continue;
        jcopy(m->waiting, sizeof(m->waiting), jget(w, "reason", NULL));
        jcopy(m->waiting_text, sizeof(m->waiting_text), jget(w, "message", NULL));
    }
}

static void take_unscheduled(struct member_view *m, struct json_object *conditions)
{
    for (size_t i = 0; i < length(conditions) && !m->waiting[0]; i++) {
        struct json_object *c = json_object_array_get_idx(conditions, i);
        if (!str_eq(jtext(jget(c, "type", NULL)), "PodScheduled") ||
            !str_eq(jtext(jget(c, "status", NULL)), "False"))
            continue;
        jcopy(m->waiting, sizeof(m->waiting), jget(c, "reason", NULL));
        jcopy(m->waiting_text, sizeof(m->waiting_text), jget(c, "message", NULL));
    }
}

static void take_owner(struct member_view *m, struct json_object *owners)
{
    for (size_t i = 0; i < length(owners); i++) {
        struct json_object *o = json_object_array_get_idx(owners, i);
        if (jbool(jget(o, "controller", NULL), false) &&
            str_eq(jtext(jget(o, "kind", NULL)), "StatefulSet"))
            jcopy(m->set, sizeof(m->set), jget(o, "name", NULL));
    }
}

static void take_origin(struct member_view *m, struct json_object *pod)
{
    jcopy(m->uid, sizeof(m->uid), jget(pod, "metadata", "uid", NULL));
    jcopy(m->revision, sizeof(m->revision),
          jget(pod, "metadata", "labels", "controller-revision-hash", NULL));
    jcopy(m->stamp, sizeof(m->stamp), jget(pod, "metadata", "annotations", ANNOTATION_STAMP, NULL));
    jcopy(m->image, sizeof(m->image), jget(cluster_container(pod, NULL), "image", NULL));
    take_owner(m, jget(pod, "metadata", "ownerReferences", NULL));
    take_waiting(m, jget(pod, "status", "initContainerStatuses", NULL));
    take_waiting(m, jget(pod, "status", "containerStatuses", NULL));
    take_unscheduled(m, jget(pod, "status", "conditions", NULL));
}

void cluster_take_pods(struct cluster_view *v, struct json_object *podlist)
{
    struct json_object *items = jget(podlist, "items", NULL);
    size_t n = json_object_is_type(items, json_type_array) ? json_object_array_length(items) : 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *pod = json_object_array_get_idx(items, i);
        struct member_view *m = add_member(v, jtext(jget(pod, "metadata", "name", NULL)));
        if (!m)
            continue;
        m->pod = true;
        m->ready = pod_ready(pod);
        m->terminating = jget(pod, "metadata", "deletionTimestamp", NULL) != NULL;
        m->labelled_primary =
            role_of(jtext(jget(pod, "metadata", "labels", "role", NULL))) == ROLE_PRIMARY;
        jcopy(m->address, sizeof(m->address), jget(pod, "status", "podIP", NULL));
        jcopy(m->node, sizeof(m->node), jget(pod, "spec", "nodeName", NULL));
        take_origin(m, pod);
        const char *text = jtext(jget(pod, "metadata", "annotations", STATUS_ANNOTATION, NULL));
        struct json_object *st = *text ? jparse(text, strlen(text)) : NULL;
        if (json_object_is_type(st, json_type_object))
            take_annotation(m, st, v->now_s);
        json_object_put(st);
    }
}

static void take_peer(struct cluster_view *v, struct json_object *o)
{
    struct member_view *m = add_member(v, jtext(jget(o, "name", NULL)));
    struct json_object *lag = jget(o, "receive_lag", NULL);

    if (!m)
        return;
    take_common(m, o);
    m->pod = true; /* what the agent lists, it has met */
    m->ready = true;
    m->source = SOURCE_LIVE;
    m->age_s = 0;
    jcopy(m->address, sizeof(m->address), jget(o, "host", NULL));
    m->port = jint(jget(o, "port", NULL), m->port);
    m->lag_bytes = jint(lag ? lag : jget(o, "lag", NULL), -1);
    m->in_v = jbool(jget(o, "in_vote_set", NULL), false);
    take_sync(m, jget(o, "sync", NULL));
}

void cluster_take_agent(struct cluster_view *v, struct json_object *status,
                        struct json_object *cluster)
{
    struct json_object *list = jget(cluster, "members", NULL);
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    int64_t epoch = jint(jget(cluster, "epoch", NULL), 0);

    jcopy(v->name, sizeof(v->name), jget(cluster, "scope", NULL));
    jcopy(v->holder, sizeof(v->holder), jget(cluster, "leader", NULL));
    jcopy(v->ns, sizeof(v->ns), jget(status, "namespace", NULL));
    jcopy(v->system_id, sizeof(v->system_id), jget(status, "database_system_identifier", NULL));
    v->has_lease = true; /* with the API away its absence could not be told */
    v->epoch = epoch > 0 ? (uint64_t)epoch : 0;
    v->paused = jbool(jget(cluster, "pause", NULL), false);
    for (size_t i = 0; i < n; i++)
        take_peer(v, json_object_array_get_idx(list, i));
    for (size_t i = 0; i < v->n; i++) { /* of itself the agent knows more */
        if (str_eq(v->m[i].name, jtext(jget(status, "name", NULL)))) {
            int64_t lag = v->m[i].lag_bytes;
            cluster_take_status(&v->m[i], status);
            v->m[i].lag_bytes = lag;
        }
    }
}

const struct member_view *cluster_find(const struct cluster_view *v, const char *member)
{
    for (size_t i = 0; i < v->n; i++) {
        if (str_eq(v->m[i].name, member))
            return &v->m[i];
    }
    return NULL;
}

const struct member_view *cluster_primary(const struct cluster_view *v)
{
    const struct member_view *m = v->holder[0] ? cluster_find(v, v->holder) : NULL;

    return m && m->role == ROLE_PRIMARY ? m : NULL;
}

bool member_streams(const struct member_view *m)
{
    return m->streaming == TRI_YES || str_eq(m->state, "streaming");
}

static void alarm_add(struct cluster_view *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void alarm_add(struct cluster_view *v, const char *fmt, ...)
{
    va_list ap;

    if (v->alarms_n == CLUSTER_ALARMS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(v->alarms[v->alarms_n++], sizeof(v->alarms[0]), fmt, ap);
    va_end(ap);
}

static int by_name(const void *a, const void *b)
{
    const struct member_view *x = a, *y = b;

    return strverscmp(x->name, y->name);
}

static void merge_record(struct cluster_view *v)
{
    for (uint8_t i = 0; v->has_record && i < v->record.n; i++) {
        const struct record_member *r = &v->record.m[i];
        struct member_view *m = NULL;
        for (size_t j = 0; j < v->n; j++) {
            if (str_eq(v->m[j].name, r->name.s))
                m = &v->m[j];
        }
        if (!m && r->name.s[0])
            m = add_member(v, r->name.s);
        if (!m)
            continue;
        m->in_v = r->in_v;
        if (m->volume[0] == '\0' && r->volume != 0)
            snprintf(m->volume, sizeof(m->volume), "%016llx", (unsigned long long)r->volume);
    }
}

static void judge_member(struct cluster_view *v, const struct member_view *m, bool is_primary)
{
    if (!m->pod)
        alarm_add(v, v->has_record && v->record.sealed && m->in_v
                         ? "%s is in the member list but has no pod; it stays listed while the primary "
                           "is sealed, also if it was scaled away"
                         : "%s is in the member list but has no pod; one that was scaled away leaves "
                           "the list after replication.leave_after",
                  m->name);
    else if (m->source == SOURCE_NONE)
        alarm_add(v, "%s has not reported yet", m->name);
    else if (m->role == ROLE_PRIMARY && !is_primary && m->source == SOURCE_PUBLISHED && v->any_live)
        alarm_add(v, "%s does not answer; it was primary when it last published its status, and does "
                     "not hold the Lease any more",
                  m->name);
    else if (m->role == ROLE_PRIMARY && !is_primary)
        alarm_add(v, "%s calls itself primary but does not hold the Lease", m->name);
    else if (m->labelled_primary && !is_primary)
        alarm_add(v, "%s carries the label of the primary without being it", m->name);
    else if (m->role != ROLE_PRIMARY && !member_streams(m))
        alarm_add(v, "%s does not stream (%s)", m->name, m->state[0] ? m->state : "state unknown");
    else if (m->role == ROLE_PRIMARY && m->state[0] && !str_eq(m->state, "running"))
        alarm_add(v, "%s is primary but %s", m->name, m->state);
    else if (m->source == SOURCE_PUBLISHED && !m->ready) /* a dead member cannot publish that it is */
        alarm_add(v, "%s is not Ready and does not answer from here; shown is what it published last",
                  m->name);
}

void cluster_conclude(struct cluster_view *v)
{
    const struct member_view *primary;

    merge_record(v);
    qsort(v->m, v->n, sizeof(v->m[0]), by_name);
    primary = cluster_primary(v);
    v->alarms_n = 0;
    for (size_t i = 0; i < v->n; i++)
        v->any_live = v->any_live || v->m[i].source == SOURCE_LIVE;
    if (!v->has_lease)
        alarm_add(v, "there is no Lease: the cluster has not been bootstrapped, or it was deleted");
    else if (v->holder[0] == '\0')
        alarm_add(v, "no primary: nobody holds the Lease");
    else if (!primary)
        alarm_add(v, "no primary: %s holds the Lease but is not writable", v->holder);
    if (v->record_damaged)
        alarm_add(v, "the record in the Lease cannot be read: damaged, or of a newer version");
    if (v->has_record && v->record.sealed)
        alarm_add(v, "sealed: the primary writes alone, and its loss would lose writes");
    for (size_t i = 0; i < v->n; i++) {
        struct member_view *m = &v->m[i];
        bool is_primary = m == primary;
        judge_member(v, m, is_primary);
        if (m->alarm[0])
            alarm_add(v, "%s: %s", m->name, m->alarm);
        if (is_primary)
            m->lag_bytes = 0;
        else if (m->source == SOURCE_LIVE && primary && primary->source == SOURCE_LIVE && m->lsn &&
                 primary->lsn)
            m->lag_bytes = primary->lsn > m->lsn ? (int64_t)(primary->lsn - m->lsn) : 0;
    }
}
