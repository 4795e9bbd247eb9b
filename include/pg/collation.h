/* Whether the databases' collations sort here as they did where their indexes were built.
 *
 * PostgreSQL keeps with each database the version of the collation it was made with (datcollversion) and
 * can say what the libraries of this very server have (pg_database_collation_actual_version; 15 and later).
 * Where they differ, indexes on text may be out of order: PostgreSQL warns, and corrupts nothing as long as
 * nobody writes. Only the default collation of each database is looked at; "C" and "C.*" have no version. */
#ifndef PGHAD_PG_COLLATION_H
#define PGHAD_PG_COLLATION_H

#include "core/types.h"
#include "pg/engine.h"
#include "pg/env.h"

#define PG_COLLATION_TEXT_SIZE 128

struct pg_collation;

struct pg_collation *pg_collation_new(struct pg_engine *g, const struct pg_env *env);
void pg_collation_free(struct pg_collation *c);

/* Asks the local server over a session of its own; what was known stays until the answer. Nothing happens
 * while it is being asked. deadline_ms: BOOTTIME. */
void pg_collation_ask(struct pg_collation *c, int64_t deadline_ms);
bool pg_collation_asking(const struct pg_collation *c);
/* The answer is that of a server that was stopped: known no more. */
void pg_collation_forget(struct pg_collation *c);

/* TRI_UNKNOWN: never answered. After TRI_YES pg_collation_text names a database and both versions. */
enum tri pg_collation_differs(const struct pg_collation *c);
const char *pg_collation_text(const struct pg_collation *c);

#endif
