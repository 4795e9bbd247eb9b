/* The table of version differences; a new major version is one row here and one run of the
 * tests. */
#include "pg/version.h"

#include <stddef.h>

static const struct pg_version versions[] = {
    {.major = 15, .initdb_checksums = "--data-checksums"},
    {.major = 16, .initdb_checksums = "--data-checksums"},
    {.major = 17,
     .initdb_checksums = "--data-checksums",
     .allow_alter_system = true,
     .failover_slots = true},
    {.major = 18,
     .initdb_checksums = "--data-checksums",
     .allow_alter_system = true,
     .failover_slots = true},
};

const struct pg_version *pg_version_find(uint32_t major)
{
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        if (versions[i].major == major)
            return &versions[i];
    return NULL;
}

const struct pg_version *pg_version_at(unsigned i)
{
    return i < sizeof(versions) / sizeof(versions[0]) ? &versions[i] : NULL;
}
