/* Flight records on disk: the files that an agent keeps beside its durable state, and copies.
 *
 * <dir>/flight.0 to flight.3, written in turn, each at most FLIGHT_FILE_BYTES: together the bound. A
 * tail that was cut by a crash is cut off by the next append and passed over by readers. Everything
 * here may block for as long as the volume does: never call it from an agent's loop. */
#ifndef PGHAD_FLIGHT_STORE_H
#define PGHAD_FLIGHT_STORE_H

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "flight/codec.h"

#define FLIGHT_FILES 4
#define FLIGHT_FILE_BYTES (1024 * 1024)
#define FLIGHT_LOAD_BYTES (64 * 1024 * 1024) /* of a file that is read */

/* Appends frames, the first of which is a key; those of them that an earlier, interrupted call has
 * written are left out. Not synced: what the kernel has survives every process, not the node.
 * ERR_TRANSIENT: another process is writing. */
bool flight_append(const char *dir, const struct ha_name *member, const void *frames, size_t len,
                   struct err *e);

/* A whole record in memory, checked from end to end. */
struct flight {
    struct flight_header header; /* of the newest part */
    struct buf frames;
    size_t turns;
    size_t torn_bytes;      /* cut off at the end */
    unsigned foreign_files; /* files of a directory that another build wrote, left out */
    bool from_text;
    struct flight_turn last; /* used while loading */
};

/* path: a record as copied, its text form, or a directory of an agent. On failure *e names the file
 * and nothing is kept: ERR_NOT_FOUND; ERR_CORRUPT: damaged; ERR_INVALID: of another format or
 * layout, or no record at all. */
bool flight_load(struct flight *f, const char *path, struct err *e);
void flight_done(struct flight *f); /* accepts a zeroed one */

/* Walks the turns, oldest first. */
struct flight_cursor {
    const struct flight *f;
    size_t at;
    struct flight_turn turn;
    struct flight_meta meta;
};
void flight_begin(struct flight_cursor *c, const struct flight *f);
bool flight_next(struct flight_cursor *c); /* false: no more */

/* As one file, header and frames. */
bool flight_export(const struct flight *f, struct buf *b);

#endif
