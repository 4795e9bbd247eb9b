/* Locks on the data volume. Only locks_init and locks_try_guard run in guard itself, and only
 * before there is a server. */
#include "guard/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

/* What a volume's root looks like that belongs to root: the message says what to set. */
static bool refused(struct err *e, const char *dir, int code)
{
    if (code != EACCES && code != EPERM)
        return false;
    return err_set(e, ERR_DENIED, "uid %u, gid %u may not write to %s: set fsGroup in the pod's "
                   "securityContext, or give the directory above it to this uid", (unsigned)geteuid(),
                   (unsigned)getegid(), dir);
}

bool locks_init(struct locks *l, const char *state_dir, struct err *e)
{
    l->guard_fd = -1;
    if (!str_format(l->guard_path, sizeof(l->guard_path), "%s/guard.lock", state_dir) ||
        !str_format(l->server_path, sizeof(l->server_path), "%s/server.lock", state_dir))
        return err_set(e, ERR_INVALID, "path of the state directory is too long");
    return fd_mkdirs(state_dir, 0700, e) || refused(e, state_dir, e->code);
}

/* A file system that has turned read-only still has the locks of those who opened the file before: whether
 * the last server is gone must be known there, too. */
static int open_lock(const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | flags, 0600);
    if (fd < 0 && errno == EROFS)
        fd = open(path, O_RDONLY | O_NOFOLLOW | flags);
    return fd;
}

enum locks_try locks_try_guard(struct locks *l, struct err *e)
{
    if (l->guard_fd < 0)
        l->guard_fd = open_lock(l->guard_path, O_CLOEXEC);
    if (l->guard_fd < 0) {
        int code = errno;
        err_errno(e, ERR_FATAL, "open %s", l->guard_path);
        (void)refused(e, l->guard_path, code);
        return LOCKS_ERROR;
    }
    if (flock(l->guard_fd, LOCK_EX | LOCK_NB) == 0)
        return LOCKS_GOT;
    if (errno == EWOULDBLOCK || errno == EINTR)
        return LOCKS_BUSY;
    err_errno(e, ERR_FATAL, "lock %s", l->guard_path);
    return LOCKS_ERROR;
}

int locks_take_inherited(const char *path)
{
    int fd = open_lock(path, 0);
    if (fd < 0)
        return -2;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int why = errno == EWOULDBLOCK ? -1 : -2;
    fd_close(&fd);
    return why;
}

_Noreturn void locks_probe(const char *path)
{
    int fd = locks_take_inherited(path);
    _exit(fd >= 0 ? LOCKS_PROBE_FREE : fd == -1 ? LOCKS_PROBE_HELD : LOCKS_PROBE_ERROR);
}
