#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

_Noreturn void must_fail(const char *expr, const char *file, int line)
{
    log_event(LOG_ERROR, "invariant-broken", expr, LOG_S("file", file), LOG_I("line", line));
    /* The default action of a signal is ignored for the first process of a namespace, so abort()
     * is not certain to end it. Its end kills every process of the namespace: that is the fence. */
    if (getpid() == 1)
        _exit(134);
    abort();
}
