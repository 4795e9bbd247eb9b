/* Metrics in the two text formats. They differ in the header of counters, in the end mark, and in that
 * OpenMetrics wants the bounds of buckets as floats. What is not known has no sample. */
#include "http/render.h"

#include <string.h>

#include "base/jw.h"
#include "http/routes.h"

struct out {
    struct buf *b;
    bool openmetrics;
};

static const int64_t hist_bounds_us[STATUS_HIST_BUCKETS - 1] = {
    500,    1000,   2500,    5000,    10000,   25000,  50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000};
static const char *const hist_labels[STATUS_HIST_BUCKETS] = {
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
    "0.1",    "0.25",  "0.5",    "1.0",   "2.5",  "5.0",   "+Inf"};

void status_hist_add(struct status_hist *h, int64_t us)
{
    size_t i = 0;
    if (us < 0)
        us = 0;
    while (i < STATUS_HIST_BUCKETS - 1 && us > hist_bounds_us[i])
        i++;
    h->bucket[i]++;
    h->count++;
    h->sum_us += (uint64_t)us;
}

/* name is that of the family: without _total for counters. */
static void head(struct out *o, const char *name, const char *type, const char *help)
{
    const char *suffix = !o->openmetrics && strcmp(type, "counter") == 0 ? "_total" : "";
    buf_printf(o->b, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type);
}

/* Label values are UTF-8; backslash, quote and newline are escaped in both formats. */
static void put_value(struct buf *b, const char *s)
{
    while (*s) {
        size_t n = jw_utf8_len(s);
        if (n == 0)
            buf_puts(b, "\xEF\xBF\xBD");
        else if (*s == '\n')
            buf_puts(b, "\\n");
        else if (*s == '\\' || *s == '"')
            buf_printf(b, "\\%c", *s);
        else
            buf_put(b, s, n);
        s += n ? n : 1;
    }
}

static void label(struct out *o, const char *name, const char *key, const char *value)
{
    buf_printf(o->b, "%s{%s=\"", name, key);
    put_value(o->b, value);
    buf_puts(o->b, "\"} ");
}

static void put_seconds(struct out *o, int64_t ms)
{
    int64_t a = ms < 0 ? -ms : ms;
    buf_printf(o->b, "%s%lld.%03lld\n", ms < 0 ? "-" : "", (long long)(a / 1000),
               (long long)(a % 1000));
}

static void gauge(struct out *o, const char *name, const char *help, int64_t v)
{
    head(o, name, "gauge", help);
    buf_printf(o->b, "%s %lld\n", name, (long long)v);
}

static void seconds(struct out *o, const char *name, const char *help, int64_t ms)
{
    head(o, name, "gauge", help);
    buf_printf(o->b, "%s ", name);
    put_seconds(o, ms);
}

static void counter(struct out *o, const char *name, const char *help, uint64_t v)
{
    head(o, name, "counter", help);
    buf_printf(o->b, "%s_total %llu\n", name, (unsigned long long)v);
}

/* One sample per word, 1 for the one that holds. */
static void states(struct out *o, const char *name, const char *help, const char *key,
                   const char *const *words, size_t n, size_t now)
{
    head(o, name, "gauge", help);
    for (size_t i = 0; i < n; i++) {
        label(o, name, key, words[i]);
        buf_puts(o->b, i == now ? "1\n" : "0\n");
    }
}

static void histogram(struct out *o, const char *name, const char *help,
                      const struct status_hist *h)
{
    uint64_t sum = 0;
    head(o, name, "histogram", help);
    for (size_t i = 0; i < STATUS_HIST_BUCKETS; i++) {
        sum += h->bucket[i];
        buf_printf(o->b, "%s_bucket{le=\"%s\"} %llu\n", name, hist_labels[i],
                   (unsigned long long)sum);
    }
    buf_printf(o->b, "%s_sum %llu.%06llu\n%s_count %llu\n", name,
               (unsigned long long)(h->sum_us / 1000000), (unsigned long long)(h->sum_us % 1000000),
               name, (unsigned long long)h->count);
}

static void put_info(struct out *o, const struct status *s)
{
    head(o, "pgha_build_info", "gauge", "Version of pghad and of the server; always 1.");
    buf_puts(o->b, "pgha_build_info{version=\"" PGHAD_VERSION "\",");
    buf_printf(o->b, "server_version_num=\"%u\"} 1\n", s->server_version);
    head(o, "pgha_rule_info", "gauge", "Rule of the decision table in force; always 1.");
    label(o, "pgha_rule_info", "rule", s->rule.s);
    buf_puts(o->b, "1\n");
}

static void put_role(struct out *o, const struct status *s)
{
    static const char *const roles[] = {"unknown", "primary", "replica"};
    static const char *const syncs[] = {"none", "async", "sync", "quorum"};
    static const char *const processes[] = {"down", "starting", "running", "stopping"};
    states(o, "pgha_role", "Role of this member.", "role", roles, 3, s->role);
    states(o, "pgha_postgres_state", "State of the PostgreSQL process.", "state", processes, 4,
           s->process);
    states(o, "pgha_sync_state", "How commits wait for this member.", "state", syncs, 4, s->sync);
    if (s->timeline)
        gauge(o, "pgha_timeline", "Timeline of this member.", s->timeline);
    gauge(o, "pgha_paused", "1 while automatic failover is paused.", s->paused);
    gauge(o, "pgha_pending_restart", "1 if settings wait for a restart of PostgreSQL.",
          s->pending_restart);
    if (s->commit_gate != TRI_UNKNOWN)
        gauge(o, "pgha_commit_gate", "1 if the commit gate library is active.",
              s->commit_gate == TRI_YES);
}

static void put_lease(struct out *o, const struct status *s, int64_t now)
{
    gauge(o, "pgha_lease_held", "1 if this member holds the Lease and its right has not passed.",
          status_lease_valid(s, now));
    if (s->is_holder && s->lease_renewed_ms > 0)
        seconds(o, "pgha_lease_age_seconds", "Time since the last successful renewal was sent.",
                now - s->lease_renewed_ms);
    if (s->fence_deadline_ms > 0)
        seconds(o, "pgha_fence_deadline_seconds",
                "Time until PostgreSQL is killed unless the Lease is renewed.",
                s->fence_deadline_ms - now);
    if (s->lease_seen_ms > 0)
        seconds(o, "pgha_lease_seen_age_seconds", "Age of this member's view of the Lease.",
                now - s->lease_seen_ms);
    gauge(o, "pgha_lease_epoch", "Epoch: number of acquisitions of the Lease.", (int64_t)s->epoch);
    gauge(o, "pgha_failsafe", "1 while promises of the members replace the API server.",
          s->failsafe);
    histogram(o, "pgha_lease_renew_seconds", "Time from sending a renewal to its success.",
              &s->n.lease_renew);
    counter(o, "pgha_lease_renew_failures", "Renewals that failed or had no answer.",
            s->n.lease_renew_failures);
}

static void lsn_sample(struct out *o, const char *kind, uint64_t lsn)
{
    if (lsn == 0)
        return;
    label(o, "pgha_wal_lsn_bytes", "kind", kind);
    buf_printf(o->b, "%llu\n", (unsigned long long)lsn);
}

static void lag_sample(struct out *o, const char *kind, int64_t bytes)
{
    if (bytes < 0)
        return;
    label(o, "pgha_lag_bytes", "kind", kind);
    buf_printf(o->b, "%lld\n", (long long)bytes);
}

static void put_wal(struct out *o, const struct status *s)
{
    if (s->write_lsn || s->received_lsn || s->replayed_lsn) {
        head(o, "pgha_wal_lsn_bytes", "gauge", "Positions in the WAL, in bytes.");
        lsn_sample(o, "write", s->write_lsn);
        lsn_sample(o, "receive", s->received_lsn);
        lsn_sample(o, "replay", s->replayed_lsn);
    }
    if (s->receive_lag_bytes >= 0 || s->replay_lag_bytes >= 0) {
        head(o, "pgha_lag_bytes", "gauge", "Distance to the primary's last known position.");
        lag_sample(o, "receive", s->receive_lag_bytes);
        lag_sample(o, "replay", s->replay_lag_bytes);
    }
    gauge(o, "pgha_streaming", "1 while this member receives WAL from another.", s->streaming);
    gauge(o, "pgha_sealed", "1 while one volume alone holds acknowledged commits.", s->sealed != 0);
    gauge(o, "pgha_vote_set_size", "Members of the vote set V.", s->v_size);
    gauge(o, "pgha_sync_standbys_required", "Standbys whose acknowledgement a commit waits for.",
          s->w);
    gauge(o, "pgha_members", "Members known to this one.", s->members_n);
    if (s->slots_n == 0)
        return;
    head(o, "pgha_slot_retained_bytes", "gauge", "WAL kept for a replication slot.");
    for (uint8_t i = 0; i < s->slots_n; i++)
        if (s->slots[i].retained_bytes >= 0) {
            label(o, "pgha_slot_retained_bytes", "slot", s->slots[i].name.s);
            buf_printf(o->b, "%lld\n", (long long)s->slots[i].retained_bytes);
        }
}

static void put_changes(struct out *o, const struct status_counters *n)
{
    head(o, "pgha_failovers", "counter", "Promotions of this member, by cause.");
    for (uint8_t i = 0; i < n->failovers_n; i++) {
        label(o, "pgha_failovers_total", "cause", n->failovers[i].cause);
        buf_printf(o->b, "%llu\n", (unsigned long long)n->failovers[i].count);
    }
    if (n->failover_phases_n > 0) {
        head(o, "pgha_failover_seconds", "gauge", "Phases of the last promotion of this member.");
        for (uint8_t i = 0; i < n->failover_phases_n; i++) {
            label(o, "pgha_failover_seconds", "phase", n->failover_phases[i].name);
            put_seconds(o, n->failover_phases[i].ms);
        }
    }
    counter(o, "pgha_switchovers", "Planned switchovers to this member.", n->switchovers);
    if (n->switchovers > 0 && n->switchover_write_gap_ms >= 0)
        seconds(o, "pgha_switchover_write_gap_seconds",
                "Time without writes in the last switchover to this member.",
                n->switchover_write_gap_ms);
    if (n->failovers_n > 0 && n->lost_bytes_last_failover >= 0)
        gauge(o, "pgha_lost_bytes_last_failover", "WAL lost in the last failover to this member.",
              n->lost_bytes_last_failover);
    head(o, "pgha_rewinds", "counter", "Runs of pg_rewind, by result.");
    buf_printf(o->b,
               "pgha_rewinds_total{result=\"ok\"} %llu\npgha_rewinds_total{result=\"failed\"} %llu\n",
               (unsigned long long)n->rewinds_ok, (unsigned long long)n->rewinds_failed);
    head(o, "pgha_clones", "counter", "Copies of a whole data directory, by result.");
    buf_printf(o->b,
               "pgha_clones_total{result=\"ok\"} %llu\npgha_clones_total{result=\"failed\"} %llu\n",
               (unsigned long long)n->clones_ok, (unsigned long long)n->clones_failed);
    counter(o, "pgha_fences", "Times PostgreSQL was killed because its right had passed.",
            n->fences);
    counter(o, "pgha_postgres_crashes", "Unexpected ends of PostgreSQL.", n->pg_crashes);
}

static void put_api(struct out *o, const struct status_counters *n)
{
    head(o, "pgha_api_requests", "counter", "Requests to the Kubernetes API; code 0 is no answer.");
    for (uint8_t i = 0; i < n->api_n; i++) {
        const struct status_api_count *c = &n->api[i];
        buf_puts(o->b, "pgha_api_requests_total{verb=\"");
        put_value(o->b, c->verb);
        buf_puts(o->b, "\",resource=\"");
        put_value(o->b, c->resource);
        buf_printf(o->b, "\",code=\"%d\"} %llu\n", c->code, (unsigned long long)c->count);
    }
}

static void put_self(struct out *o, const struct status *s, const struct http_server_stats *h,
                     int64_t now)
{
    static const char *const classes[6] = {NULL, "1xx", "2xx", "3xx", "4xx", "5xx"};
    counter(o, "pgha_api_rejected", "Answers of the Kubernetes API that were damaged or not ours.",
            s->n.api_rejected);
    head(o, "pgha_peer_refused", "counter", "Calls of peers that were refused, by reason.");
    buf_printf(o->b,
               "pgha_peer_refused_total{reason=\"unauthorized\"} %llu\n"
               "pgha_peer_refused_total{reason=\"malformed\"} %llu\n",
               (unsigned long long)s->n.peer_unauthorized, (unsigned long long)s->n.peer_rejected);
    histogram(o, "pgha_loop_seconds", "Length of a turn of the supervisor's loop.", &s->n.loop);
    seconds(o, "pgha_snapshot_age_seconds", "Age of the snapshot these figures come from.",
            now > s->published_ms ? now - s->published_ms : 0);
    counter(o, "pgha_agent_restarts", "Restarts of the agent by guard.", s->n.agent_restarts);
    counter(o, "pgha_log_lines_dropped", "Log lines dropped because nobody read them.",
            s->n.log_dropped);
    head(o, "pgha_config_reloads", "counter", "Reloads of the settings, by result.");
    buf_printf(o->b,
               "pgha_config_reloads_total{result=\"ok\"} %llu\n"
               "pgha_config_reloads_total{result=\"failed\"} %llu\n",
               (unsigned long long)s->n.config_reloads_ok,
               (unsigned long long)s->n.config_reloads_failed);
    head(o, "pgha_http_requests", "counter", "Requests to this server, by class of the answer.");
    for (size_t i = 2; i < 6; i++) {
        label(o, "pgha_http_requests_total", "code", classes[i]);
        buf_printf(o->b, "%llu\n", (unsigned long long)h->by_class[i]);
    }
    gauge(o, "pgha_http_connections", "Connections open to this server.", h->connections);
    counter(o, "pgha_http_connections_dropped", "Connections closed because they were too slow.",
            h->dropped);
    if (s->alarms_n == 0)
        return;
    head(o, "pgha_alarm", "gauge", "Alarms in force; always 1.");
    for (uint8_t i = 0; i < s->alarms_n; i++) {
        label(o, "pgha_alarm", "name", s->alarms[i].name);
        buf_puts(o->b, "1\n");
    }
}

bool render_metrics(const struct status *s, const struct http_server_stats *h, int64_t now_ms,
                    bool openmetrics, struct buf *b)
{
    struct out o = {.b = b, .openmetrics = openmetrics};
    put_info(&o, s);
    put_role(&o, s);
    put_lease(&o, s, now_ms);
    put_wal(&o, s);
    put_changes(&o, &s->n);
    put_api(&o, &s->n);
    put_self(&o, s, h, now_ms);
    if (openmetrics)
        buf_puts(b, "# EOF\n");
    return !b->overflow;
}
