/* hactl, also found as kubectl-hactl by `kubectl hactl`. */
#include <locale.h>
#include <stdio.h>

#include "base/log.h"
#include "hactl/session.h"

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    log_setup("hactl", LOG_ERROR);
    return hactl_run(argc, argv, stdin, stdout, stderr);
}
