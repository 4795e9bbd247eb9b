/* The two volume locks, flock(2) on files of the state directory.
 *
 * guard.lock: held by guard for life. server.lock: its open file description is inherited by
 * postgres and all its children and by nobody else, so it is free exactly when no server process
 * of any incarnation is alive (on this node at least: flock over NFS may be local to a node). */
#ifndef PGHAD_GUARD_LOCKS_H
#define PGHAD_GUARD_LOCKS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct locks {
    char guard_path[PATH_MAX];
    char server_path[PATH_MAX];
    int guard_fd;
};

/* Builds the paths and creates state_dir when it is missing. */
bool locks_init(struct locks *l, const char *state_dir, struct err *e);

enum locks_try { LOCKS_GOT, LOCKS_BUSY, LOCKS_ERROR };
/* One try for guard.lock. It stays ours until the process ends. */
enum locks_try locks_try_guard(struct locks *l, struct err *e);

/* For a child: opens and locks path; the descriptor survives exec. Negative: -1 held, -2 error. */
int locks_take_inherited(const char *path);

/* Exit codes of the child that tries server.lock for guard, who must not open files on a volume
 * that may hang. */
enum { LOCKS_PROBE_FREE = 0, LOCKS_PROBE_HELD = 1, LOCKS_PROBE_ERROR = 2 };
/* Body of that child. */
_Noreturn void locks_probe(const char *path);

#endif
