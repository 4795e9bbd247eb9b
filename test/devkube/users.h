/* Bearer tokens. */
#ifndef DEVKUBE_USERS_H
#define DEVKUBE_USERS_H

#include <stdbool.h>

#include "base/err.h"

struct users;

/* path: lines "token user namespace", namespace "*" for all, '#' starts a comment line; read again
 * when it changes. NULL: every token is taken for the name of a user who may do everything. */
struct users *users_new(const char *path, struct err *e);
void users_free(struct users *u);

/* header: the Authorization header or NULL. False: 401. The results live until the next call. */
bool users_find(struct users *u, const char *header, const char **user, const char **ns);

#endif
