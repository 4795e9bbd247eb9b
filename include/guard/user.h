/* Running as the database's user: PostgreSQL refuses root, and so does guard. */
#ifndef PGHAD_GUARD_USER_H
#define PGHAD_GUARD_USER_H

#include <stdbool.h>

#include "base/err.h"

/* No-op for an ordinary user. As root: creates data_dir and state_dir, gives them to the user (and
 * what is in them, when data_dir belongs to somebody else), then becomes that user for good.
 * user: a name, or "uid:gid" in numbers. Done in a child where it touches the volume. */
bool user_become(const char *user, const char *data_dir, const char *state_dir, struct err *e);

#endif
