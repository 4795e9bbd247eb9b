/* JSON documents. */
#include "http/render.h"

#include <time.h>

#include "base/jw.h"
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

static void put_tri(struct jw *j, const char *key, enum tri t)
{
    if (t == TRI_UNKNOWN)
        jw_null(j, key);
    else
        jw_bool(j, key, t == TRI_YES);
}

static void put_known(struct jw *j, const char *key, int64_t v)
{
    if (v < 0)
        jw_null(j, key);
    else
        jw_int(j, key, v);
}

static void put_lsn(struct jw *j, const char *key, uint64_t lsn)
{
    char t[24];
    if (lsn == 0) {
        jw_null(j, key);
        return;
    }
    (void)str_format(t, sizeof(t), "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    jw_string(j, key, t);
}

static void put_hex(struct jw *j, const char *key, uint64_t v)
{
    char t[20];
    if (v == 0) {
        jw_null(j, key);
        return;
    }
    (void)str_format(t, sizeof(t), "%016llx", (unsigned long long)v);
    jw_string(j, key, t);
}

static void put_time(struct jw *j, const char *key, int64_t us)
{
    char t[40];
    if (us > 0 && str_microtime(t, sizeof(t), us))
        jw_string(j, key, t);
    else
        jw_null(j, key);
}

static void put_text(struct jw *j, const char *key, const char *s)
{
    if (s[0])
        jw_string(j, key, s);
    else
        jw_null(j, key);
}

static void put_tags(struct jw *j, const struct status_tag *t, uint8_t n)
{
    jw_object(j, "tags");
    for (uint8_t i = 0; i < n; i++)
        jw_string(j, t[i].key, t[i].value);
    jw_object_end(j);
}

static void put_age(struct jw *j, const struct status *s, int64_t now_ms)
{
    jw_int(j, "age_ms", now_ms > s->published_ms ? now_ms - s->published_ms : 0);
    put_time(j, "time", s->published_us);
}

static void put_identity(struct jw *j, const struct status *s)
{
    jw_string(j, "name", s->name.s);
    jw_string(j, "cluster", s->cluster.s);
    jw_string(j, "namespace", s->ns.s);
    put_text(j, "address", s->address);
    jw_uint(j, "port", s->port);
    jw_string(j, "role", role_name(s->role));
    jw_string(j, "state", s->state);
    jw_string(j, "rule", s->rule.s);
    jw_string(j, "reason", s->reason);
}

/* The names under which existing tools look for positions. */
static void put_wal(struct jw *j, const struct status *s)
{
    jw_uint(j, "timeline", s->timeline);
    put_lsn(j, "lsn", s->write_lsn ? s->write_lsn : s->received_lsn);
    jw_object(j, "xlog");
    if (s->in_recovery == TRI_NO) {
        put_lsn(j, "location", s->write_lsn);
    } else {
        put_lsn(j, "received_location", s->received_lsn);
        put_lsn(j, "replayed_location", s->replayed_lsn);
        put_time(j, "replayed_timestamp", s->replayed_at_us);
        jw_bool(j, "paused", s->replay_paused);
    }
    jw_object_end(j);
    jw_bool(j, "streaming", s->streaming);
    if (s->streaming)
        jw_string(j, "replication_state", "streaming");
    put_known(j, "receive_lag", s->receive_lag_bytes);
    put_known(j, "replay_lag", s->replay_lag_bytes);
}

static void put_lease(struct jw *j, const struct status *s, int64_t now_ms)
{
    jw_object(j, "lease");
    put_text(j, "holder", s->holder.s);
    jw_bool(j, "held", s->is_holder);
    jw_bool(j, "valid", status_lease_valid(s, now_ms));
    jw_uint(j, "epoch", s->epoch);
    put_known(j, "seen_ms", s->lease_seen_ms > 0 ? now_ms - s->lease_seen_ms : -1);
    put_known(j, "age_ms", s->lease_renewed_ms > 0 ? now_ms - s->lease_renewed_ms : -1);
    jw_int(j, "duration_ms", s->lease_duration_ms);
    if (s->fence_deadline_ms > 0)
        jw_int(j, "fence_in_ms", s->fence_deadline_ms - now_ms);
    else
        jw_null(j, "fence_in_ms");
    jw_object_end(j);
}

static void put_record(struct jw *j, const struct status *s)
{
    jw_string(j, "sync", sync_name(s->sync));
    jw_bool(j, s->sync == STATUS_SYNC_QUORUM ? "quorum_standby" : "sync_standby",
              s->sync == STATUS_SYNC_SYNC || s->sync == STATUS_SYNC_QUORUM);
    jw_object(j, "replication");
    jw_string(j, "mode", mode_name(s->mode));
    jw_bool(j, "strict", s->strict);
    jw_uint(j, "vote_set", s->v_size);
    jw_uint(j, "w", s->w);
    jw_uint(j, "record_epoch", s->record_epoch);
    jw_uint(j, "record_rev", s->record_rev);
    jw_bool(j, "joined", s->joined);
    jw_object_end(j);
    if (s->sealed)
        put_hex(j, "sealed", s->sealed);
    else
        jw_bool(j, "sealed", false);
}

static void put_slots(struct jw *j, const struct status *s)
{
    jw_array(j, "slots");
    for (uint8_t i = 0; i < s->slots_n; i++) {
        const struct status_slot *x = &s->slots[i];
        jw_object(j, NULL);
        jw_string(j, "name", x->name.s);
        put_lsn(j, "restart_lsn", x->restart_lsn);
        put_known(j, "retained_bytes", x->retained_bytes);
        jw_bool(j, "active", x->active);
        jw_object_end(j);
    }
    jw_array_end(j);
}

static void put_alarms(struct jw *j, const struct status *s)
{
    jw_array(j, "alarms");
    for (uint8_t i = 0; i < s->alarms_n; i++) {
        jw_object(j, NULL);
        jw_string(j, "name", s->alarms[i].name);
        jw_string(j, "text", s->alarms[i].text);
        jw_object_end(j);
    }
    jw_array_end(j);
}

static void put_versions(struct jw *j, const struct status *s)
{
    char id[24];
    jw_uint(j, "server_version", s->server_version);
    (void)str_format(id, sizeof(id), "%llu", (unsigned long long)s->system_id);
    put_text(j, "database_system_identifier", s->system_id ? id : "");
    put_hex(j, "volume", s->volume);
    put_text(j, "pod_uid", s->id.uid);
    put_hex(j, "boot", s->id.boot);
    jw_object(j, "pghad");
    jw_string(j, "version", PGHAD_VERSION);
    jw_string(j, "scope", s->cluster.s);
    jw_string(j, "name", s->name.s);
    jw_object_end(j);
}

bool render_status(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct jw j;
    jw_init(&j, b);
    jw_object(&j, NULL);
    put_identity(&j, s);
    put_age(&j, s, now_ms);
    put_time(&j, "agent_start_time", s->started_us);
    put_time(&j, "postmaster_start_time", s->postmaster_start_us);
    jw_string(&j, "process", process_name(s->process));
    jw_string(&j, "data", data_name(s->data));
    put_tri(&j, "in_recovery", s->in_recovery);
    put_wal(&j, s);
    put_lease(&j, s, now_ms);
    jw_bool(&j, "cluster_unlocked", s->holder.s[0] == '\0');
    put_record(&j, s);
    put_slots(&j, s);
    put_text(&j, "perishable_slots", s->perishable_slots);
    put_tags(&j, s->tags, s->tags_n);
    jw_bool(&j, "pause", s->paused);
    jw_bool(&j, "failsafe_mode_is_active", s->failsafe);
    put_tri(&j, "commit_gate", s->commit_gate);
    jw_bool(&j, "pending_restart", s->pending_restart);
    put_text(&j, "pending_restart_reason", s->pending_restart ? s->pending_restart_reason : "");
    put_alarms(&j, s);
    put_versions(&j, s);
    jw_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}

static void put_member(struct jw *j, const struct status_member *m)
{
    jw_object(j, NULL);
    jw_string(j, "name", m->name.s);
    jw_string(j, "role", role_name(m->role));
    jw_string(j, "state", m->state);
    put_text(j, "host", m->address);
    jw_uint(j, "port", m->port);
    jw_uint(j, "timeline", m->timeline);
    jw_bool(j, "streaming", m->streaming);
    jw_string(j, "sync", sync_name(m->sync));
    jw_bool(j, "in_vote_set", m->in_v);
    put_hex(j, "volume", m->volume);
    put_lsn(j, "lsn", m->received_lsn);
    put_lsn(j, "receive_lsn", m->received_lsn);
    put_lsn(j, "replay_lsn", m->replayed_lsn);
    put_known(j, "lag", m->replay_lag_bytes);
    put_known(j, "receive_lag", m->receive_lag_bytes);
    put_known(j, "replay_lag", m->replay_lag_bytes);
    jw_bool(j, "pending_restart", m->pending_restart);
    put_tags(j, m->tags, m->tags_n);
    jw_object_end(j);
}

bool render_cluster(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct jw j;
    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_string(&j, "scope", s->cluster.s);
    jw_string(&j, "namespace", s->ns.s);
    put_text(&j, "leader", s->holder.s);
    jw_uint(&j, "epoch", s->epoch);
    jw_bool(&j, "pause", s->paused);
    put_age(&j, s, now_ms);
    jw_array(&j, "members");
    for (uint8_t i = 0; i < s->members_n; i++)
        put_member(&j, &s->members[i]);
    jw_array_end(&j);
    jw_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}

static void put_change(struct jw *j, const struct status_history *h)
{
    jw_object(j, NULL);
    put_time(j, "time", h->at_us);
    jw_string(j, "cause", h->cause);
    jw_string(j, "reason", h->reason);
    put_text(j, "from", h->from.s);
    put_text(j, "to", h->to.s);
    jw_uint(j, "epoch", h->epoch);
    jw_uint(j, "timeline", h->timeline);
    put_lsn(j, "lsn", h->lsn);
    put_known(j, "lost_bytes", h->lost_bytes);
    put_known(j, "write_gap_ms", h->write_gap_ms);
    jw_object(j, "phases_ms");
    for (uint8_t i = 0; i < h->phases_n; i++)
        jw_int(j, h->phases[i].name, h->phases[i].ms);
    jw_object_end(j);
    jw_object_end(j);
}

bool render_history(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct jw j;
    jw_init(&j, b);
    jw_object(&j, NULL);
    put_age(&j, s, now_ms);
    jw_array(&j, "history");
    for (uint8_t i = 0; i < s->history_n; i++)
        put_change(&j, &s->history[i]);
    jw_array_end(&j);
    jw_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}

bool render_explain(const struct status *s, int64_t now_ms, struct buf *b)
{
    struct jw j;
    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_string(&j, "name", s->name.s);
    put_age(&j, s, now_ms);
    jw_string(&j, "rule", s->rule.s);
    jw_string(&j, "reason", s->reason);
    put_alarms(&j, s);
    jw_array(&j, "decisions");
    for (uint8_t i = 0; i < s->decisions_n; i++) {
        jw_object(&j, NULL);
        put_time(&j, "time", s->decisions[i].at_us);
        jw_string(&j, "rule", s->decisions[i].rule.s);
        jw_string(&j, "reason", s->decisions[i].reason);
        jw_object_end(&j);
    }
    jw_array_end(&j);
    jw_object_end(&j);
    return buf_puts(b, "\n") && !b->overflow;
}
