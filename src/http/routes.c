/* The route table and the meaning of each health check. */
#include "http/routes.h"

#include <string.h>

#include "base/str.h"

static const struct route routes[] = {
    {"/", CHECK_PRIMARY, DOC_STATUS},
    {"/startup", CHECK_STARTUP, DOC_STATUS},
    {"/liveness", CHECK_LIVENESS, DOC_STATUS},
    {"/readiness", CHECK_READINESS, DOC_STATUS},
    {"/primary", CHECK_PRIMARY, DOC_STATUS},
    {"/read-write", CHECK_PRIMARY, DOC_STATUS},
    {"/master", CHECK_PRIMARY, DOC_STATUS},
    {"/leader", CHECK_LEADER, DOC_STATUS},
    {"/standby-leader", CHECK_STANDBY_LEADER, DOC_STATUS},
    {"/standby_leader", CHECK_STANDBY_LEADER, DOC_STATUS},
    {"/replica", CHECK_REPLICA, DOC_STATUS},
    {"/read-only", CHECK_READ_ONLY, DOC_STATUS},
    {"/sync", CHECK_SYNC, DOC_STATUS},
    {"/synchronous", CHECK_SYNC, DOC_STATUS},
    {"/read-only-sync", CHECK_READ_ONLY_SYNC, DOC_STATUS},
    {"/quorum", CHECK_QUORUM, DOC_STATUS},
    {"/read-only-quorum", CHECK_READ_ONLY_QUORUM, DOC_STATUS},
    {"/async", CHECK_ASYNC, DOC_STATUS},
    {"/asynchronous", CHECK_ASYNC, DOC_STATUS},
    {"/health", CHECK_HEALTH, DOC_STATUS},
    {"/status", CHECK_ALWAYS, DOC_STATUS},
    {"/patroni", CHECK_ALWAYS, DOC_STATUS},
    {"/cluster", CHECK_ALWAYS, DOC_CLUSTER},
    {"/history", CHECK_ALWAYS, DOC_HISTORY},
    {"/config", CHECK_ALWAYS, DOC_CONFIG},
    {"/explain", CHECK_ALWAYS, DOC_EXPLAIN},
    {"/metrics", CHECK_ALWAYS, DOC_METRICS},
};

const struct route *route_find(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (strlen(routes[i].path) == n && memcmp(routes[i].path, path, n) == 0)
            return &routes[i];
    return NULL;
}

/* Bytes, or with kB, MB, GB, TB in powers of 1024. */
static bool parse_bytes(const char *text, int64_t *ret)
{
    static const struct {
        const char *unit;
        int shift;
    } units[] = {{"", 0}, {"B", 0}, {"kB", 10}, {"KB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}};
    char digits[20];
    size_t n = strspn(text, "0123456789");
    int64_t v;
    if (n == 0 || n >= sizeof(digits))
        return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    if (!str_to_i64(digits, 0, INT64_MAX, &v))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(text + n, units[i].unit) == 0)
            return !__builtin_mul_overflow(v, INT64_C(1) << units[i].shift, ret);
    return false;
}

bool route_query_add(struct route_query *q, const char *key, const char *value)
{
    if (strcmp(key, "lag") == 0) {
        q->has_lag = true;
        return value && parse_bytes(value, &q->lag_bytes);
    }
    if (strcmp(key, "mode") == 0) {
        q->by_write = str_eq(value, "write");
        return q->by_write || str_eq(value, "apply");
    }
    if (strcmp(key, "replication_state") == 0) {
        q->need_streaming = str_eq(value, "streaming");
        q->impossible |= !q->need_streaming && !str_eq(value, "in archive recovery");
        return value != NULL;
    }
    if (!str_starts(key, "tag_"))
        return true;
    if (!value || q->tags_n >= STATUS_TAGS_MAX)
        return false;
    struct status_tag *t = &q->tags[q->tags_n];
    /* Too long for any tag of ours: it matches nobody. */
    if (str_copy(t->key, sizeof(t->key), key + 4) && str_copy(t->value, sizeof(t->value), value))
        q->tags_n++;
    else
        q->impossible = true;
    return true;
}

bool status_lease_valid(const struct status *s, int64_t now_ms)
{
    return s->is_holder && s->fence_deadline_ms > now_ms;
}

/* Serving writes: the role is published as primary only while clients are admitted. */
static bool is_primary(const struct status *s, int64_t now_ms)
{
    return status_lease_valid(s, now_ms) && s->process == PG_RUNNING && s->in_recovery == TRI_NO &&
           s->role == ROLE_PRIMARY;
}

static bool is_standby(const struct status *s)
{
    return s->process == PG_RUNNING && s->in_recovery == TRI_YES;
}

static int64_t lag_of(const struct status *s, const struct route_query *q)
{
    return q->by_write ? s->receive_lag_bytes : s->replay_lag_bytes;
}

static bool has_tag(const struct status *s, const struct status_tag *want)
{
    for (uint8_t i = 0; i < s->tags_n; i++)
        if (strcmp(s->tags[i].key, want->key) == 0)
            return strcmp(s->tags[i].value, want->value) == 0;
    return false;
}

static bool is_replica(const struct status *s, const struct route_query *q)
{
    if (!is_standby(s) || s->noloadbalance || q->impossible)
        return false;
    if (q->need_streaming && !s->streaming)
        return false;
    if (q->has_lag && (lag_of(s, q) < 0 || lag_of(s, q) > q->lag_bytes))
        return false;
    for (uint8_t i = 0; i < q->tags_n; i++)
        if (!has_tag(s, &q->tags[i]))
            return false;
    return true;
}

/* The sync role of this member comes from the Lease: an old view of it is not an answer. */
static bool is_replica_of(const struct status *s, const struct route_query *q, int64_t now_ms,
                          enum status_sync sync)
{
    bool fresh = s->lease_seen_ms > 0 && now_ms - s->lease_seen_ms <= s->lease_duration_ms;
    return fresh && s->sync == sync && is_replica(s, q);
}

static bool within(struct route_memory *m, bool by_write, int64_t bound, int64_t lag)
{
    size_t i = 0;
    while (i < ROUTE_MEMORY && !(m->v[i].used && m->v[i].bound_bytes == bound &&
                                 m->v[i].by_write == by_write))
        i++;
    bool ready = lag <= bound;
    if (i == ROUTE_MEMORY) {
        i = m->next++ % ROUTE_MEMORY;
        m->v[i].bound_bytes = bound;
        m->v[i].by_write = by_write;
        m->v[i].used = true;
    } else if (m->v[i].ready) {
        ready = lag - bound <= bound / 2;
    } else {
        ready = lag <= bound / 2;
    }
    m->v[i].ready = ready;
    return ready;
}

static bool is_ready(const struct status *s, const struct route_query *q, int64_t now_ms,
                     struct route_memory *memory)
{
    if (s->in_recovery == TRI_NO)
        return is_primary(s, now_ms);
    if (!is_standby(s) || !s->streaming || !s->joined)
        return false;
    int64_t bound = q->has_lag ? q->lag_bytes : s->ready_max_lag_bytes;
    if (bound < 0)
        return true;
    return lag_of(s, q) >= 0 && within(memory, q->by_write, bound, lag_of(s, q));
}

/* Only what a restart of the container could mend: the loop stands still, or a server is up as primary
 * although its right has passed. Never the API server, SQL, lag or peers. */
static bool is_alive(const struct status *s, const struct route_time *t)
{
    bool overdue = s->fence_deadline_ms > 0 && s->fence_deadline_ms <= t->now_ms &&
                   s->process != PG_DOWN && s->in_recovery == TRI_NO;
    return t->now_ms - s->published_ms <= t->stall_ms && !overdue;
}

bool route_passes(enum route_check check, const struct status *s, const struct route_query *q,
                  const struct route_time *t, struct route_memory *memory)
{
    int64_t now = t->now_ms;
    switch (check) {
    case CHECK_ALWAYS:
    case CHECK_STARTUP:
        return true;
    case CHECK_LIVENESS:
        return is_alive(s, t);
    case CHECK_READINESS:
        return is_ready(s, q, now, memory);
    case CHECK_PRIMARY:
        return is_primary(s, now);
    case CHECK_LEADER:
        return status_lease_valid(s, now);
    case CHECK_STANDBY_LEADER:
        return false; /* this cluster is never a standby of another one */
    case CHECK_REPLICA:
        return is_replica(s, q);
    case CHECK_READ_ONLY:
        return is_primary(s, now) || is_replica(s, q);
    case CHECK_SYNC:
        return is_replica_of(s, q, now, STATUS_SYNC_SYNC);
    case CHECK_READ_ONLY_SYNC:
        return is_primary(s, now) || is_replica_of(s, q, now, STATUS_SYNC_SYNC);
    case CHECK_QUORUM:
        return is_replica_of(s, q, now, STATUS_SYNC_QUORUM);
    case CHECK_READ_ONLY_QUORUM:
        return is_primary(s, now) || is_replica_of(s, q, now, STATUS_SYNC_QUORUM);
    case CHECK_ASYNC:
        return is_replica_of(s, q, now, STATUS_SYNC_ASYNC);
    case CHECK_HEALTH:
        return s->process == PG_RUNNING;
    }
    return false;
}
