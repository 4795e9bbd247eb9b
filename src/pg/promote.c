/* Promotion is asked for the way pg_ctl does it: a file and a signal, without waiting. */
#include "pg/promote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/fd.h"

bool pg_promote_request(const struct pg_env *env, pid_t postmaster, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (postmaster <= 1)
        return err_set(e, ERR_BUG, "promote: no postmaster");
    if (!pg_path(path, env->data_dir, "promote"))
        return err_set(e, ERR_INVALID, "promote: the path is too long");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "create %s", path);
    fd_close(&fd);
    if (kill(postmaster, SIGUSR1) != 0)
        return err_errno(e, ERR_TRANSIENT, "SIGUSR1 to the postmaster");
    return true;
}

bool pg_promote_forget(const struct pg_env *env, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!pg_path(path, env->data_dir, "promote"))
        return err_set(e, ERR_INVALID, "promote: the path is too long");
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(e, ERR_FATAL, "remove %s", path);
    return true;
}
