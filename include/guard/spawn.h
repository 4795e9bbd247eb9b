/* Children of guard: agent, postgres, lock probe. Each gets a session of its own, default signals
 * and only the descriptors meant for it. All return a pid, or -1 with errno. */
#ifndef PGHAD_GUARD_SPAWN_H
#define PGHAD_GUARD_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/link.h"

/* Descriptor numbers in the agent. */
#define SPAWN_LINK_FD 3
#define SPAWN_PAGE_FD 4
/* Descriptor number in postgres; server.lock gets the next one. */
#define SPAWN_GATE_FD 3

/* Moves fd (and closes the old number) out of the range that children use; close-on-exec. */
int spawn_high_fd(int fd);

/* Finds the agent's program: $PGHA_AGENT, beside this program, or ../lib/pghad. */
bool spawn_find_agent(char *dst, size_t size, struct err *e);

pid_t spawn_agent(const char *path, char *const *argv, int link_fd, int page_fd);
/* gate_fd: the page for reading, -1: none. */
pid_t spawn_postgres(const struct link_start *start, const char *lock_path, int gate_fd);
pid_t spawn_probe(const char *lock_path);

#endif
