/* File descriptor helpers: close-on-exec from birth, durable file replacement. */
#ifndef PGHAD_BASE_FD_H
#define PGHAD_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

bool fd_set_nonblock(int fd, bool on);
bool fd_set_cloexec(int fd, bool on);
void fd_close(int *fd); /* closes if >= 0 and sets -1 */

bool fd_write_all(int fd, const void *data, size_t len, struct err *e);
/* Reads a whole regular file into b (cleared first); ERR_NOT_FOUND when it is absent,
 * ERR_INVALID when larger than b->max. */
bool fd_read_file(const char *path, struct buf *b, struct err *e);
/* Writes path.new, fsync, rename, fsync of the directory: after a 2xx a crash shows old or new,
 * never a mixture. mode as for open(2). */
bool fd_replace_file(const char *path, const void *data, size_t len, mode_t mode, struct err *e);
/* The same without fsync: readers see old or new, a crash of the machine may leave either, or an empty
 * file. For what is made again before its next use. */
bool fd_swap_file(const char *path, const void *data, size_t len, mode_t mode, struct err *e);
bool fd_mkdirs(const char *path, mode_t mode, struct err *e);
bool fd_sync_dir(const char *path, struct err *e);

#endif
