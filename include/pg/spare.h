/* A WAL segment made in advance for the timeline that is to come.
 *
 * The walreceiver writes the first segment of a new timeline only after it has filled all of it with
 * zeros and synced them, and until then it confirms nothing: the first commit after a promotion waits
 * for that. It takes a segment of that name as it is, however, as it takes those that were recycled. So
 * each standby keeps one, pg_wal/xlogtemp.pghad: a name that PostgreSQL clears away when it starts and
 * otherwise leaves alone. A directory without it is as good, only slower. */
#ifndef PGHAD_PG_SPARE_H
#define PGHAD_PG_SPARE_H

#include "core/types.h"
#include "pg/env.h"

/* Larger segments are not kept, nor any where the volume has less room than 16 of them. */
#define PG_SPARE_BYTES_MAX (64u << 20)

bool pg_spare_there(const struct pg_env *env);
/* Makes it if it is not there: writes and syncs a whole segment, so for a child process. ERR_INVALID
 * where there is to be none. */
bool pg_spare_make(const struct pg_env *env, struct err *e);
/* Gives it the name of the segment of `timeline` in which lsn lies, durably; what is there already is
 * left as it is. False also where there is no spare (ERR_NOT_FOUND). */
bool pg_spare_use(const struct pg_env *env, uint32_t timeline, uint64_t lsn, struct err *e);
bool pg_spare_drop(const struct pg_env *env, struct err *e);

/* Does the segment hold anything but zeros? Reads it up to the first byte that is none; true where it
 * cannot be read. */
bool pg_segment_begun(const char *path);
/* Before a start: recovery reads of a segment only the copy on the highest timeline, and one that was
 * never written to would hide the WAL that an older timeline has there. Such copies go. */
bool pg_spare_settle(const struct pg_env *env, struct err *e);

#endif
