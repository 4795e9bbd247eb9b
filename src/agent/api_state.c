/* The ConfigMap: state of the cluster, intent and result, settings, history. */
#include <stdlib.h>
#include <string.h>

#include "api_parts.h"
#include "base/log.h"
#include "base/str.h"
#include "core/record.h"
#include "kube/record.h"

#define HISTORY_LINES 32
#define STATE_RETRY_MS 500

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

void api_poll_state(struct api *a)
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
    else if (s != NULL)
        log_event(LOG_ERROR, "state-damaged", "epoch is not a number");
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

/* A call on the ConfigMap has ended: true when it succeeded; then its object is the state. */
static bool state_call_done(struct api *a, struct kube_call **call, int64_t *next_ms, int64_t now)
{
    bool ok = kube_call_outcome(*call) == KUBE_OK;
    if (ok) {
        (void)kube_watch_merge(a->state, *call);
        api_poll_state(a);
    } else {
        const struct kube_reply *r = kube_call_reply(*call);
        if (api_worth_a_line(a, r))
            log_event(LOG_WARNING, "state-write-failed", r->err.msg,
                      LOG_I("status", r->http_status));
        *next_ms = now + (r->outcome == KUBE_CONFLICT ? 50 : STATE_RETRY_MS);
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
        struct kube_change label = {"app.kubernetes.io/instance", api_cluster(a)};
        return kube_configmap_create(a->kube, a->state_name, &label, 1, data, n,
                                     now + API_REQUEST_MS);
    }
    return kube_configmap_patch(a->kube, a->state_name, m->rv, data, n, now + API_REQUEST_MS);
}

static bool behind(const struct state_view *st, const struct state_sync *s)
{
    return st->epoch < s->epoch || !st->has_record || record_cmp(&s->record, &st->record) > 0 ||
           (st->system_id == 0 && s->system_id != 0);
}

void api_sync_state(struct api *a, uint64_t epoch, const struct record *r, uint64_t system_id,
                    int64_t now)
{
    struct state_sync s = {.epoch = epoch, .system_id = system_id, .record = *r};
    if (a->sync != NULL || now < a->sync_next_ms || !a->st.known || !behind(&a->st, &s))
        return;
    a->sync_of = s;
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

/* An admission webhook may accept everything and store something else: that is not asked again at once. */
static void sync_done(struct api *a, int64_t now)
{
    if (!state_call_done(a, &a->sync, &a->sync_next_ms, now) || !behind(&a->st, &a->sync_of))
        return;
    log_event(LOG_WARNING, "state-write-failed", "the ConfigMap does not keep what is written: an admission webhook "
              "or another program changes it", LOG_S("configmap", a->state_name));
    a->sync_next_ms = now + STATE_RETRY_MS;
}

/* The last lines of the history with the new one behind them. */
void api_drive_history(struct api *a, int64_t now)
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

void api_drive_state(struct api *a, int64_t now)
{
    if (a->sync != NULL && kube_call_outcome(a->sync) != KUBE_PENDING)
        sync_done(a, now);
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
