/* Strict parsers of what PostgreSQL's own tools print (LC_ALL=C). */
#ifndef PGHAD_PG_CONTROL_H
#define PGHAD_PG_CONTROL_H

#include "base/err.h"
#include "core/types.h"

enum pg_control_state {
    PG_CONTROL_STARTING,    /* "starting up" */
    PG_CONTROL_SHUT_DOWN,
    PG_CONTROL_SHUT_DOWN_RECOVERY,
    PG_CONTROL_SHUTTING_DOWN,
    PG_CONTROL_CRASH_RECOVERY,
    PG_CONTROL_ARCHIVE_RECOVERY,
    PG_CONTROL_PRODUCTION,
};

struct pg_control {
    uint64_t system_id;
    uint32_t catalog_version;
    enum pg_control_state state;
    uint32_t timeline;      /* of the latest checkpoint */
    uint64_t checkpoint_lsn;
    uint64_t redo_lsn;
    uint64_t min_recovery_lsn;
    uint32_t min_recovery_timeline;
    uint64_t segment_bytes;
    uint32_t max_connections; /* a standby needs at least these (the parameters of that name) */
    uint32_t max_worker_processes;
    uint32_t max_wal_senders;
    uint32_t max_prepared_xacts;
    uint32_t max_locks_per_xact;
    bool checksums;
    bool log_hints;
};

/* What a standby must have at least, by this directory: max_connections, max_worker_processes,
 * max_wal_senders, max_prepared_transactions, max_locks_per_transaction, in this order. */
#define PG_NEEDS 5
void pg_control_needs(const struct pg_control *c, uint32_t ret[PG_NEEDS]);

/* Every field must be there exactly once. ERR_CORRUPT names the one that is not. */
bool pg_control_parse(struct pg_control *c, const char *text, struct err *e);

/* A position that this directory's WAL has surely reached: the latest checkpoint, or what recovery
 * must replay to be consistent. A lower bound, never a report. */
struct position pg_control_floor(const struct pg_control *c);

/* End of valid WAL from `pg_waldump --stats` (its first line, "WAL statistics between A and B:").
 * ERR_NOT_FOUND when it printed none: there is no valid record after the start. */
bool pg_waldump_parse(const char *out, uint64_t *end, struct err *e);

#endif
