/* The Kubernetes API as the agent needs it: at most one request of each purpose in flight. */
#include "agent/api.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "core/record.h"
#include "http/client.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/intent.h"
#include "kube/record.h"
#include "kube/watch.h"

#define REQUEST_MS 3000     /* of everything but the Lease */
#define PATCH_RETRY_MS 1000 /* after a patch that failed */
#define PODS_IDLE_MS 90000
#define HISTORY_LINES 32

extern char **environ;

struct strip_of { /* a pod whose label we remove */
    struct ha_name name;
    struct kube_call *call;
    int64_t next_ms;
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
    bool role_wanted, role_known;
    char annotation[API_ANNOTATION_MAX], annotation_done[API_ANNOTATION_MAX];
    struct kube_call *patch;
    enum ha_role patch_role;
    int64_t patch_next_ms, annotation_next_ms;
    struct strip_of strip[HA_MEMBERS_MAX];
    size_t n_strip;

    struct kube_call *sync;
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

static const char *cluster(const struct api *a)
{
    return a->cfg->cluster.name;
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
    (void)str_format(a->state_name, sizeof a->state_name, "%s-state", cluster(a));
    struct loop_source src = kube_source(a->kube);
    loop_add(l, &src);
    a->lease = kube_watch_lease(a->kube, cluster(a), 3 * cfg->lease.renew_ms + 1000);
    a->pods = kube_watch_pods(a->kube, cfg->cluster.selector, cfg->cluster.role_label, PODS_IDLE_MS);
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

/* --- the Lease ---------------------------------------------------------------------------------- */

static void poll_write(struct api *a)
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
        log_event(LOG_WARNING, "lease-write-failed", r->err.msg, LOG_I("kind", a->kind),
                  LOG_I("status", r->http_status), LOG_I("ms", r->done_ms - r->sent_ms));
    }
    kube_call_free(a->write);
    a->write = NULL;
}

static void poll_get(struct api *a)
{
    if (a->get == NULL || kube_call_outcome(a->get) == KUBE_PENDING)
        return;
    const struct kube_reply *r = kube_call_reply(a->get);
    if (kube_watch_merge(a->lease, a->get))
        a->own_got_ms = r->sent_ms;
    kube_call_free(a->get);
    a->get = NULL;
}

void api_lease_get(struct api *a, int64_t now)
{
    if (a->get != NULL || now < a->get_next_ms)
        return;
    a->get_next_ms = now + a->cfg->lease.retry_ms / 5;
    a->get = kube_lease_get(a->kube, cluster(a), now + a->cfg->lease.request_ms);
}

bool api_lease_write(struct api *a, const struct lease_write *w, int64_t now)
{
    if (a->write != NULL)
        return false;
    int64_t deadline = now + a->cfg->lease.request_ms;
    const struct kube_lease *last = kube_watch_get_lease(a->lease);
    if (w->kind == WRITE_CREATE)
        a->write = kube_lease_create(a->kube, cluster(a), &w->want, deadline);
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
    if (a->own_got_ms > lv->got_ms && a->own_got_ms >= lv->changed_ms)
        lv->got_ms = a->own_got_ms;
}

/* --- pods and labels ---------------------------------------------------------------------------- */

static enum ha_role role_of_label(const struct api *a, const char *value)
{
    if (strcmp(value, a->cfg->cluster.role_primary) == 0)
        return ROLE_PRIMARY;
    return strcmp(value, a->cfg->cluster.role_replica) == 0 ? ROLE_REPLICA : ROLE_UNKNOWN;
}

static void poll_pods(struct api *a)
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
        if (name_eq(&x->name, &a->id.name) && a->patch == NULL) {
            a->have_role = role_of_label(a, x->role);
            a->role_known = true;
        }
    }
}

size_t api_pods(const struct api *a, const struct api_pod **ret)
{
    *ret = a->pod;
    return a->n_pods;
}

void api_set_label(struct api *a, enum ha_role role, int64_t now)
{
    if (!a->role_wanted || a->want_role != role)
        a->patch_next_ms = now;
    a->want_role = role;
    a->role_wanted = true;
}

enum ha_role api_label(const struct api *a)
{
    return a->role_known ? a->have_role : ROLE_UNKNOWN;
}

void api_set_annotation(struct api *a, const char *json, int64_t now)
{
    (void)now;
    (void)str_copy(a->annotation, sizeof a->annotation, json);
}

static void drive_patch(struct api *a, int64_t now)
{
    if (a->patch != NULL) {
        enum kube_outcome o = kube_call_outcome(a->patch);
        if (o == KUBE_PENDING)
            return;
        if (o == KUBE_OK) {
            a->have_role = a->patch_role;
            a->role_known = true;
        } else {
            const struct kube_reply *r = kube_call_reply(a->patch);
            log_event(LOG_WARNING, "label-failed", r->err.msg, LOG_I("status", r->http_status));
            a->patch_next_ms = now + PATCH_RETRY_MS;
            a->annotation_done[0] = '\0';
        }
        kube_call_free(a->patch);
        a->patch = NULL;
    }
    bool role = a->role_wanted && (!a->role_known || a->have_role != a->want_role);
    bool note = strcmp(a->annotation, a->annotation_done) != 0 && now >= a->annotation_next_ms;
    if (!a->role_wanted || now < a->patch_next_ms || (!role && !note))
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
    a->patch = kube_pod_patch(a->kube, a->id.name.s, a->id.uid, &meta, now + REQUEST_MS);
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
        s->next_ms = now + PATCH_RETRY_MS;
        s->call = kube_pod_patch(a->kube, p->name.s, p->uid, &meta, now + REQUEST_MS);
    }
}

static void poll_strip(struct api *a)
{
    for (size_t i = 0; i < a->n_strip; i++) {
        struct strip_of *s = &a->strip[i];
        if (s->call == NULL || kube_call_outcome(s->call) == KUBE_PENDING)
            continue;
        const struct kube_reply *r = kube_call_reply(s->call);
        if (r->outcome != KUBE_OK)
            log_event(LOG_ERROR, "strip-failed", r->err.msg, LOG_S("pod", s->name.s),
                      LOG_I("status", r->http_status));
        kube_call_free(s->call);
        s->call = NULL;
    }
}

/* --- the ConfigMap ------------------------------------------------------------------------------ */

static void show_change(struct status_history *s, const struct history_entry *h)
{
    *s = (struct status_history){.at_us = h->time_s * 1000000, .from = h->from, .to = h->to,
                                 .epoch = h->epoch, .timeline = h->timeline, .lsn = h->lsn,
                                 .lost_bytes = h->lost_bytes, .write_gap_ms = h->write_gap_ms};
    (void)str_format(s->cause, sizeof s->cause, "%.30s", h->cause);
    (void)str_format(s->reason, sizeof s->reason, "%.150s", h->reason);
    for (size_t i = 0; i < PHASE_COUNT && s->phases_n < STATUS_PHASES_MAX; i++) {
        if (h->phase_ms[i] < 0)
            continue;
        struct status_phase *p = &s->phases[s->phases_n++];
        (void)str_copy(p->name, sizeof p->name, intent_phase_name((enum intent_phase)i));
        p->ms = h->phase_ms[i];
    }
}

static void decode_history(struct api *a, const char *text)
{
    a->n_history = 0;
    while (text != NULL && *text != '\0') {
        const char *end = strchr(text, '\n');
        size_t len = end != NULL ? (size_t)(end - text) : strlen(text);
        struct history_entry h;
        if (len > 0 && history_decode(text, len, &h, NULL)) {
            if (a->n_history == STATUS_HISTORY_MAX) {
                memmove(&a->history[0], &a->history[1],
                        sizeof a->history[0] * (STATUS_HISTORY_MAX - 1));
                a->n_history--;
            }
            show_change(&a->history[a->n_history++], &h);
            a->last = h;
        }
        text = end != NULL ? end + 1 : NULL;
    }
}

static void poll_state(struct api *a)
{
    if (!kube_watch_known(a->state) || kube_watch_generation(a->state) == a->state_generation)
        return;
    a->state_generation = kube_watch_generation(a->state);
    const struct kube_configmap *m = kube_watch_get_configmap(a->state);
    a->st = (struct state_view){.known = true, .exists = m != NULL && m->exists};
    a->intent = (struct intent){0};
    if (!a->st.exists)
        return;
    const char *s = kube_configmap_get_value(m, "system-id");
    if (s != NULL && !str_to_hex64(s, &a->st.system_id))
        log_event(LOG_ERROR, "state-damaged", "system-id is not 16 hexadecimal digits");
    int64_t epoch;
    s = kube_configmap_get_value(m, "epoch");
    if (s != NULL && str_to_i64(s, 0, INT32_MAX, &epoch))
        a->st.epoch = (uint64_t)epoch;
    struct err e = {0};
    s = kube_configmap_get_value(m, "record");
    if (s != NULL) {
        a->st.has_record = record_decode(s, strlen(s), &a->st.record, &e);
        if (!a->st.has_record)
            log_event(LOG_ERROR, "state-damaged", e.msg, LOG_S("key", "record"));
    }
    s = kube_configmap_get_value(m, "paused");
    a->st.paused = s != NULL && strcmp(s, "true") == 0;
    s = kube_configmap_get_value(m, "intent");
    if (s != NULL && s[0] != '\0' && !intent_decode(s, strlen(s), &a->intent, &e))
        log_event(LOG_WARNING, "intent-damaged", e.msg);
    a->seen_result = (struct intent_result){0};
    s = kube_configmap_get_value(m, "intent-result");
    if (s != NULL && s[0] != '\0' && !intent_result_decode(s, strlen(s), &a->seen_result, &e))
        log_event(LOG_WARNING, "intent-result-damaged", e.msg);
    decode_history(a, kube_configmap_get_value(m, "history"));
    s = kube_configmap_get_value(m, "config");
    if ((s == NULL) != (a->settings == NULL) ||
        (s != NULL && a->settings != NULL && strcmp(s, a->settings) != 0)) {
        free(a->settings);
        a->settings = s != NULL ? strdup(s) : NULL;
        a->settings_generation++;
    }
}

void api_observe_state(const struct api *a, struct state_view *st)
{
    *st = a->st;
}

void api_observe_intent(const struct api *a, struct intent *in)
{
    bool over = a->seen_result.id == a->intent.id && intent_state_final(a->seen_result.state);
    *in = over ? (struct intent){0} : a->intent;
}

const struct intent_result *api_intent_result(const struct api *a)
{
    return &a->seen_result;
}

const char *api_settings_text(const struct api *a, uint64_t *generation)
{
    *generation = a->settings_generation;
    return a->settings != NULL ? a->settings : "";
}

/* A call on the ConfigMap has ended: true when it succeeded; its object becomes the present state. */
static bool state_call_done(struct api *a, struct kube_call **call, int64_t *next_ms, int64_t now)
{
    bool ok = kube_call_outcome(*call) == KUBE_OK;
    if (ok) {
        (void)kube_watch_merge(a->state, *call);
        poll_state(a);
    } else {
        const struct kube_reply *r = kube_call_reply(*call);
        log_event(LOG_WARNING, "state-write-failed", r->err.msg, LOG_I("status", r->http_status));
        *next_ms = now + (r->outcome == KUBE_CONFLICT ? 50 : 500);
        kube_watch_refresh(a->state);
    }
    kube_call_free(*call);
    *call = NULL;
    return ok;
}

static struct kube_call *state_write(struct api *a, const struct kube_change *data, size_t n,
                                     int64_t now)
{
    const struct kube_configmap *m = kube_watch_get_configmap(a->state);
    if (m == NULL || !m->exists) {
        struct kube_change label = {"app.kubernetes.io/instance", cluster(a)};
        return kube_configmap_create(a->kube, a->state_name, &label, 1, data, n, now + REQUEST_MS);
    }
    return kube_configmap_patch(a->kube, a->state_name, m->rv, data, n, now + REQUEST_MS);
}

void api_sync_state(struct api *a, uint64_t epoch, const struct record *r, uint64_t system_id,
                    int64_t now)
{
    bool behind = a->st.epoch < epoch ||
                  (!a->st.has_record || record_cmp(r, &a->st.record) > 0) ||
                  (a->st.system_id == 0 && system_id != 0);
    if (!behind || a->sync != NULL || now < a->sync_next_ms || !a->st.known)
        return;
    char number[24], id[20];
    struct buf json;
    buf_init(&json, RECORD_JSON_MAX);
    struct kube_change data[3];
    size_t n = 0;
    (void)str_format(number, sizeof number, "%llu",
                     (unsigned long long)(epoch > a->st.epoch ? epoch : a->st.epoch));
    data[n++] = (struct kube_change){"epoch", number};
    if (record_encode(r, &json))
        data[n++] = (struct kube_change){"record", buf_str(&json)};
    if (a->st.system_id == 0 && system_id != 0) {
        (void)str_format(id, sizeof id, "%016llx", (unsigned long long)system_id);
        data[n++] = (struct kube_change){"system-id", id};
    }
    a->sync = state_write(a, data, n, now);
    buf_done(&json);
}

void api_write_result(struct api *a, const struct intent_result *r, int64_t now)
{
    a->result = *r;
    a->result_due = true;
    a->result_next_ms = now;
}

void api_append_history(struct api *a, const struct history_entry *h, int64_t now)
{
    buf_clear(&a->history_due);
    if (!history_encode(h, &a->history_due))
        buf_clear(&a->history_due);
    a->history_next_ms = now;
}

/* The last lines of the history with the new one behind them. */
static void drive_history(struct api *a, int64_t now)
{
    if (a->history_call != NULL) {
        if (kube_call_outcome(a->history_call) == KUBE_PENDING)
            return;
        if (state_call_done(a, &a->history_call, &a->history_next_ms, now))
            buf_clear(&a->history_due);
    }
    const struct kube_configmap *m = kube_watch_get_configmap(a->state);
    if (a->history_due.len == 0 || now < a->history_next_ms || m == NULL || !m->exists ||
        a->sync != NULL || a->result_call != NULL)
        return;
    const char *old = kube_configmap_get_value(m, "history");
    const char *from = old != NULL ? old : "";
    size_t lines = 0;
    for (const char *p = from + strlen(from); p > from && lines < HISTORY_LINES; p--)
        if (p[-1] == '\n' && ++lines == HISTORY_LINES) {
            from = p;
            break;
        }
    struct buf text;
    buf_init(&text, 128 * 1024);
    if (buf_puts(&text, from) && buf_puts(&text, buf_str(&a->history_due)) &&
        buf_puts(&text, "\n")) {
        struct kube_change data = {"history", buf_str(&text)};
        a->history_call = state_write(a, &data, 1, now);
    }
    buf_done(&text);
}

size_t api_history(const struct api *a, struct status_history *ret, size_t max)
{
    size_t n = a->n_history < max ? a->n_history : max;
    memcpy(ret, &a->history[a->n_history - n], n * sizeof *ret);
    return n;
}

const struct history_entry *api_last_change(const struct api *a)
{
    return a->n_history > 0 ? &a->last : NULL;
}

static void drive_state(struct api *a, int64_t now)
{
    if (a->sync != NULL && kube_call_outcome(a->sync) != KUBE_PENDING)
        (void)state_call_done(a, &a->sync, &a->sync_next_ms, now);
    if (a->result_call != NULL && kube_call_outcome(a->result_call) != KUBE_PENDING &&
        !state_call_done(a, &a->result_call, &a->result_next_ms, now))
        a->result_due = true;
    if (!a->result_due || a->result_call != NULL || a->sync != NULL || now < a->result_next_ms)
        return;
    struct buf json;
    buf_init(&json, INTENT_JSON_MAX);
    if (intent_result_encode(&a->result, &json)) {
        struct kube_change data = {"intent-result", buf_str(&json)};
        a->result_call = state_write(a, &data, 1, now);
    }
    a->result_due = false;
    buf_done(&json);
}

void api_event(struct api *a, bool warning, const char *reason, const char *note, int64_t now)
{
    (void)now;
    struct kube_event ev = {.kind = "Pod", .api_version = "v1", .name = a->id.name.s,
                            .uid = a->id.uid, .reporter = a->id.name.s, .action = reason,
                            .reason = reason, .note = note, .warning = warning};
    kube_event_post(a->kube, &ev);
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
    n->lease_renew = a->renew;
    n->lease_renew_failures = a->renew_failures;
}

int64_t api_contact_ms(const struct api *a)
{
    return kube_contact_ms(a->kube);
}

void api_poll(struct api *a, int64_t now)
{
    poll_write(a);
    poll_get(a);
    poll_pods(a);
    poll_state(a);
    poll_strip(a);
    drive_patch(a, now);
    drive_state(a, now);
    drive_history(a, now);
}
