/* What differs between the major versions of PostgreSQL: one table, read by everybody else. */
#ifndef PGHAD_PG_VERSION_H
#define PGHAD_PG_VERSION_H

#include <stdbool.h>
#include <stdint.h>

struct pg_version {
    uint32_t major;
    const char *initdb_checksums;   /* option that turns data checksums on */
    bool allow_alter_system;        /* parameter exists: the user's ALTER SYSTEM can be refused */
    bool failover_slots;            /* standbys keep copies of the logical slots that ask for it */
};

/* NULL for a version that we do not run. */
const struct pg_version *pg_version_find(uint32_t major);
/* The i-th known version, ascending; NULL past the end. */
const struct pg_version *pg_version_at(unsigned i);

#endif
