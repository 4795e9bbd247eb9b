/* A short child that is waited for: only where an answer is needed at once and the work is
 * reading one small file, i.e. at the start of the agent and of the server. */
#ifndef PGHAD_SRC_PG_RUN_PRIVATE_H
#define PGHAD_SRC_PG_RUN_PRIVATE_H

#include "base/buf.h"
#include "base/err.h"

/* Standard output of a successful run of at most 2 s, appended to out. */
bool pg_run(const char *const *argv, struct buf *out, struct err *e);

#endif
