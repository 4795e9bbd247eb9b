/* The PID namespace whose end is the fence. */
#ifndef PGHAD_GUARD_NS_H
#define PGHAD_GUARD_NS_H

#include <stdbool.h>

#include "base/err.h"

/* Returns true in the first process of a PID namespace of our own, with a /proc that shows it.
 *
 * A process that is PID 1 already stays what it is (*ret_life_fd = -1). Any other makes the
 * namespace (with a user namespace when it has not the right) and continues as its first process;
 * the original process stays outside, forwards signals and the exit code, and never returns. The
 * two end together: *ret_life_fd hangs up when the outer one is gone. False when it is impossible. */
bool ns_enter(int *ret_life_fd, struct err *e);

/* Asks the kernel for SIGKILL at the end of the outer process. Again after a change of user, which
 * clears the request. Ends this process when it is too late. */
void ns_bind_life(int life_fd);

#endif
