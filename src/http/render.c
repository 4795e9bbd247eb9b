/* JSON documents. */
#include "http/render.h"

#include <time.h>

#include "base/json.h"
#include "base/str.h"
#include "http/routes.h"

const char *role_name(enum ha_role r)
{
    static const char *const names[] = {"unknown", "primary", "replica"};
    return (unsigned)r < 3 ? names[r] : "unknown";
}

const char *sync_name(enum status_sync s)
{
    static const char *const names[] = {"none", "async", "sync", "quorum"};
    return (unsigned)s < 4 ? names[s] : "none";
}

static const char *data_name(enum data_state d)
{
    static const char *const names[] = {"unknown", "empty", "ok", "partial", "foreign", "broken"};
    return (unsigned)d < 6 ? names[d] : "unknown";
}

static const char *process_name(enum pg_process p)
{
    static const char *const names[] = {"down", "starting", "running", "stopping"};
    return (unsigned)p < 4 ? names[p] : "unknown";
}

static const char *mode_name(enum repl_mode m)
{
    static const char *const names[] = {"async", "sync", "quorum"};
    return (unsigned)m < 3 ? names[m] : "unknown";
}

static void put_tri(struct json *j, const char *key, enum tri t)
{
    if (t == TRI_UNKNOWN)
        json_null(j, key);
    else
        json_bool(j, key, t == TRI_YES);
}

static void put_known(struct json *j, const char *key, int64_t v)
{
    if (v < 0)
        json_null(j, key);
    else
        json_int(j, key, v);
}

static void put_lsn(struct json *j, const char *key, uint64_t lsn)
{
    char t[24];
    if (lsn == 0) {
        json_null(j, key);
        return;
    }
    (void)str_format(t, sizeof(t), "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    json_string(j, key, t);
}

static void put_hex(struct json *j, const char *key, uint64_t v)
{
    char t[20];
    if (v == 0) {
        json_null(j, key);
        return;
    }
    (void)str_format(t, sizeof(t), "%016llx", (unsigned long long)v);
    json_string(j, key, t);
}

static void put_time(struct json *j, const char *key, int64_t us)
{
    char t[40];
    if (us > 0 && str_microtime(t, sizeof(t), us))
        json_string(j, key, t);
    else
        json_null(j, key);
}

static void put_text(struct json *j, const char *key, const char *s)
{
    if (s[0])
        json_string(j, key, s);
    else
        json_null(j, key);
}

static void put_tags(struct json *j, const struct status_tag *t, uint8_t n)
{
    json_object(j, "tags");
    for (uint8_t i = 0; i < n; i++)
        json_string(j, t[i].key, t[i].value);
    json_object_end(j);
}

static void put_age(struct json *j, const struct status *s, int64_t now_ms)
{
    json_int(j, "age_ms", now_ms > s->published_ms ? now_ms - s->published_ms : 0);
    put_time(j, "time", s->published_us);
}

static void put_identity(struct json *j, const struct status *s)
{
    json_string(j, "name", s->name.s);
    json_string(j, "cluster", s->cluster.s);
    json_string(j, "namespace", s->ns.s);
    put_text(j, "address", s->address);
    json_uint(j, "port", s->port);
    json_string(j, "role", role_name(s->role));
    json_string(j, "state", s->state);
    json_string(j, "rule", s->rule.s);
    json_string(j, "reason", s->reason);
}

/* The names under which existing tools look for positions. */
static void put_wal(struct json *j, const struct status *s)
{
    json_uint(j, "timeline", s->timeline);
    put_lsn(j, "lsn", s->write_lsn ? s->write_lsn : s->received_lsn);
    json_object(j, "xlog");
    if (s->in_recovery == TRI_NO) {
        put_lsn(j, "location", s->write_lsn);
    } else {
        put_lsn(j, "received_location", s->received_lsn);
        put_lsn(j, "replayed_location", s->replayed_lsn);
        put_time(j, "replayed_timestamp", s->replayed_at_us);
        json_bool(j, "paused", s->replay_paused);
    }
    json_object_end(j);
    json_bool(j, "streaming", s->streaming);
    if (s->streaming)
        json_string(j, "replication_state", "streaming");
    put_known(j, "receive_lag", s->receive_lag_bytes);
    put_known(j, "replay_lag", s->replay_lag_bytes);
}

static void put_lease(struct json *j, const struct status *s, int64_t now_ms)
{
    json_object(j, "lease");
    put_text(j, "holder", s->holder.s);
    json_bool(j, "held", s->is_holder);
    json_bool(j, "valid", status_lease_valid(s, now_ms));
    json_uint(j, "epoch", s->epoch);
    put_known(j, "seen_ms", s->lease_seen_ms > 0 ? now_ms - s->lease_seen_ms : -1);
    put_known(j, "age_ms", s->lease_renewed_ms > 0 ? now_ms - s->lease_renewed_ms : -1);
    json_int(j, "duration_ms", s->lease_duration_ms);
    if (s->fence_deadline_ms > 0)
        json_int(j, "fence_in_ms", s->fence_deadline_ms - now_ms);
    else
        json_null(j, "fence_in_ms");
    json_object_end(j);
}

static void put_record(struct json *j, const struct status *s)
{
    json_string(j, "sync", sync_name(s->sync));
    json_bool(j, s->sync == STATUS_SYNC_QUORUM ? "quorum_standby" : "sync_standby",
              s->sync == STATUS_SYNC_SYNC || s->sync == STATUS_SYNC_QUORUM);
    json_object(j, "replication");
    json_string(j, "mode", mode_name(s->mode));
    json_bool(j, "strict", s->strict);
    json_uint(j, "vote_set", s->v_size);
    json_uint(j, "w", s->w);
    json_uint(j, "record_epoch", s->record_epoch);
    json_uint(j, "record_rev", s->record_rev);
    json_bool(j, "joined", s->joined);
    json_object_end(j);
    if (s->sealed)
        put_hex(j, "sealed", s->sealed);
    else
        json_bool(j, "sealed", false);
}

static void put_slots(struct json *j, const struct status *s)
{
    json_array(j, "slots");
    for (uint8_t i = 0; i < s->slots_n; i++) {
        const struct status_slot *x = &s->slots[i];
        json_object(j, NULL);
        json_string(j, "name", x->name.s);
        put_lsn(j, "restart_lsn", x->restart_lsn);
        put_known(j, "retained_bytes", x->retained_bytes);
        json_bool(j, "active", x->active);
        json_object_end(j);
    }
    json_array_end(j);
}

static void put_alarms(struct json *j, const struct status *s)
{
    json_array(j, "alarms");
    for (uint8_t i = 0; i < s->alarms_n; i++) {
        json_object(j, NULL);
        json_string(j, "name", s->alarms[i].name);
        json_string(j, "text", s->alarms[i].text);
        json_object_end(j);
    }
    json_array_end(j);
}

static void put_versions(struct json *j, const struct status *s)
{
    char id[24];
    json_uint(j, "server_version", s->server_version);
    (void)str_format(id, sizeof(id), "%llu", (unsigned long long)s->system_id);
    put_text(j, "database_system_identifier", s->system_id ? id : "");
    put_hex(j, "volume", s->volume);
    put_text(j, "pod_uid", s->id.uid);
    put_hex(j, "boot", s->id.boot);
    json_object(j, "pghad");
    json_string(j, "version", PGHAD_VERSION);
    json_string(j, "scope", s->cluster.s);
    json_string(j, "name", s->name.s);
    json_object_end(j);
}

bool render_status(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct json j;
    json_init(&j, b);
    json_object(&j, NULL);
    put_identity(&j, s);
    put_age(&j, s, now_ms);
    put_time(&j, "agent_start_time", s->started_us);
    put_time(&j, "postmaster_start_time", s->postmaster_start_us);
    json_string(&j, "process", process_name(s->process));
    json_string(&j, "data", data_name(s->data));
    put_tri(&j, "in_recovery", s->in_recovery);
    put_wal(&j, s);
    put_lease(&j, s, now_ms);
    json_bool(&j, "cluster_unlocked", s->holder.s[0] == '\0');
    put_record(&j, s);
    put_slots(&j, s);
    put_tags(&j, s->tags, s->tags_n);
    json_bool(&j, "pause", s->paused);
    json_bool(&j, "failsafe_mode_is_active", s->failsafe);
    put_tri(&j, "commit_gate", s->commit_gate);
    json_bool(&j, "pending_restart", s->pending_restart);
    put_text(&j, "pending_restart_reason", s->pending_restart ? s->pending_restart_reason : "");
    put_alarms(&j, s);
    put_versions(&j, s);
    json_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}

static void put_member(struct json *j, const struct status_member *m)
{
    json_object(j, NULL);
    json_string(j, "name", m->name.s);
    json_string(j, "role", role_name(m->role));
    json_string(j, "state", m->state);
    put_text(j, "host", m->address);
    json_uint(j, "port", m->port);
    json_uint(j, "timeline", m->timeline);
    json_bool(j, "streaming", m->streaming);
    json_string(j, "sync", sync_name(m->sync));
    json_bool(j, "in_vote_set", m->in_v);
    put_hex(j, "volume", m->volume);
    put_lsn(j, "lsn", m->received_lsn);
    put_lsn(j, "receive_lsn", m->received_lsn);
    put_lsn(j, "replay_lsn", m->replayed_lsn);
    put_known(j, "lag", m->replay_lag_bytes);
    put_known(j, "receive_lag", m->receive_lag_bytes);
    put_known(j, "replay_lag", m->replay_lag_bytes);
    json_bool(j, "pending_restart", m->pending_restart);
    put_tags(j, m->tags, m->tags_n);
    json_object_end(j);
}

bool render_cluster(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct json j;
    json_init(&j, b);
    json_object(&j, NULL);
    json_string(&j, "scope", s->cluster.s);
    json_string(&j, "namespace", s->ns.s);
    put_text(&j, "leader", s->holder.s);
    json_uint(&j, "epoch", s->epoch);
    json_bool(&j, "pause", s->paused);
    put_age(&j, s, now_ms);
    json_array(&j, "members");
    for (uint8_t i = 0; i < s->members_n; i++)
        put_member(&j, &s->members[i]);
    json_array_end(&j);
    json_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}

static void put_change(struct json *j, const struct status_history *h)
{
    json_object(j, NULL);
    put_time(j, "time", h->at_us);
    json_string(j, "kind", h->kind);
    json_string(j, "cause", h->cause);
    put_text(j, "from", h->from.s);
    put_text(j, "to", h->to.s);
    json_uint(j, "epoch", h->epoch);
    json_uint(j, "timeline", h->timeline);
    put_lsn(j, "lsn", h->lsn);
    put_known(j, "lost_bytes", h->lost_bytes);
    put_known(j, "write_gap_ms", h->write_gap_ms);
    json_object(j, "phases_ms");
    for (uint8_t i = 0; i < h->phases_n; i++)
        json_int(j, h->phases[i].name, h->phases[i].ms);
    json_object_end(j);
    json_object_end(j);
}

bool render_history(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct json j;
    json_init(&j, b);
    json_object(&j, NULL);
    put_age(&j, s, now_ms);
    json_array(&j, "history");
    for (uint8_t i = 0; i < s->history_n; i++)
        put_change(&j, &s->history[i]);
    json_array_end(&j);
    json_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}

bool render_explain(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct json j;
    json_init(&j, b);
    json_object(&j, NULL);
    json_string(&j, "name", s->name.s);
    put_age(&j, s, now_ms);
    json_string(&j, "rule", s->rule.s);
    json_string(&j, "reason", s->reason);
    put_alarms(&j, s);
    json_array(&j, "decisions");
    for (uint8_t i = 0; i < s->decisions_n; i++) {
        json_object(&j, NULL);
        put_time(&j, "time", s->decisions[i].at_us);
        json_string(&j, "rule", s->decisions[i].rule.s);
        json_string(&j, "reason", s->decisions[i].reason);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}
