/* Paths of the REST server and what they answer. Pure: a snapshot, a query and an instant in, a yes or
 * no out (INTERFACES: "REST, port 8008"). */
#ifndef PGHAD_HTTP_ROUTES_H
#define PGHAD_HTTP_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/status.h"

enum route_doc { DOC_STATUS, DOC_CLUSTER, DOC_HISTORY, DOC_CONFIG, DOC_EXPLAIN, DOC_METRICS };
#define ROUTE_DOCS 6

enum route_check {
    CHECK_ALWAYS, /* a document, not a health check */
    CHECK_STARTUP,
    CHECK_LIVENESS,
    CHECK_READINESS,
    CHECK_PRIMARY,
    CHECK_LEADER,
    CHECK_STANDBY_LEADER,
    CHECK_REPLICA,
    CHECK_READ_ONLY,
    CHECK_SYNC,
    CHECK_READ_ONLY_SYNC,
    CHECK_QUORUM,
    CHECK_READ_ONLY_QUORUM,
    CHECK_ASYNC,
    CHECK_HEALTH,
};

struct route {
    const char *path;
    enum route_check check;
    enum route_doc doc;
};

/* A slash at the end does not count. NULL: no such path. */
const struct route *route_find(const char *path);

struct route_query {
    bool has_lag;
    int64_t lag_bytes;
    bool by_write;             /* mode=write: lag of what is received, not of what is replayed */
    bool need_streaming;       /* replication_state=streaming */
    bool impossible;           /* a condition that no member can meet */
    uint8_t tags_n;
    struct status_tag tags[STATUS_TAGS_MAX];
};

/* One parameter of the query; value NULL when it has none. False: known, but its value is not
 * understood (answer 400). Parameters we do not know are ignored, as probes append their own. */
bool route_query_add(struct route_query *q, const char *key, const char *value);

/* What /readiness said last for a bound: once Ready a replica may lag half as much again before it is
 * not, and must be within half of the bound to come back. */
#define ROUTE_MEMORY 8
struct route_memory {
    struct {
        int64_t bound_bytes;
        bool by_write, used, ready;
    } v[ROUTE_MEMORY];
    size_t next;
};

struct route_time {
    int64_t now_ms;   /* CLOCK_BOOTTIME */
    int64_t stall_ms; /* /liveness: oldest snapshot that still counts */
};

bool route_passes(enum route_check check, const struct status *s, const struct route_query *q,
                  const struct route_time *t, struct route_memory *memory);

/* The holder's right to write at this instant. */
bool status_lease_valid(const struct status *s, int64_t now_ms);

#endif
