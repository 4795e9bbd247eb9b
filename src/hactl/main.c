/* hactl, also found as kubectl-hactl by `kubectl hactl`. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "hactl/session.h"

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_DFL); /* `hactl list | head` ends quietly */
    log_setup("hactl", LOG_ERROR);
    return hactl_run(argc, argv, stdin, stdout, stderr);
}
