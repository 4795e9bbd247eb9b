/* Asking a standby for promotion. */
#ifndef PGHAD_PG_PROMOTE_H
#define PGHAD_PG_PROMOTE_H

#include <sys/types.h>

#include "pg/env.h"

/* Writes the promote file and sends SIGUSR1 to the postmaster. Repeat every 20 ms until the
 * server is out of recovery: a request within milliseconds of losing the stream may be consumed
 * while the startup process is about to sleep for a whole wal_retrieve_retry_interval. */
bool pg_promote_request(const struct pg_env *env, pid_t postmaster, struct err *e);
/* Removes a promote file that was not consumed: before every start, a left-over would promote. */
bool pg_promote_forget(const struct pg_env *env, struct err *e);

#endif
