/* Descriptors and durable files. Everything opened here is close-on-exec from birth. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static bool set_flag(int fd, int get, int set, int flag, bool on)
{
    int flags = fcntl(fd, get);
    if (flags < 0)
        return false;
    int want = on ? flags | flag : flags & ~flag;
    return want == flags || fcntl(fd, set, want) == 0;
}

bool fd_set_nonblock(int fd, bool on)
{
    return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

bool fd_set_cloexec(int fd, bool on)
{
    return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

void fd_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd); /* never repeated: after EINTR the descriptor is gone on Linux */
        errno = saved;
    }
    *fd = -1;
}

bool fd_write_all(int fd, const void *data, size_t len, struct err *e)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return err_errno(e, ERR_TRANSIENT, "write");
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_whole(int fd, const char *path, struct buf *b, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(e, ERR_TRANSIENT, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "%s: not a regular file", path);
    char chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, ERR_TRANSIENT, "read %s", path);
        if (n == 0)
            break;
        if (!buf_put(b, chunk, (size_t)n))
            return err_set(e, ERR_INVALID, "%s: larger than %zu bytes", path, b->max);
    }
    return buf_put(b, "", 0);
}

bool fd_read_file(const char *path, struct buf *b, struct err *e)
{
    buf_clear(b);
    /* Non-blocking, so that a FIFO in place of the file cannot hang the open. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        enum err_kind kind = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND
                             : errno == EACCES                   ? ERR_DENIED
                                                                 : ERR_TRANSIENT;
        return err_errno(e, kind, "open %s", path);
    }
    bool ok = read_whole(fd, path, b, e);
    fd_close(&fd);
    return ok;
}

/* The directory of path, "." when it has none. */
static bool parent_of(char *dst, size_t size, const char *path, struct err *e)
{
    if (!str_copy(dst, size, path))
        return err_set(e, ERR_INVALID, "path too long: %s", path);
    char *slash = strrchr(dst, '/');
    if (!slash)
        return str_copy(dst, size, ".");
    if (slash == dst)
        slash++;
    *slash = '\0';
    return true;
}

bool fd_sync_dir(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, ERR_TRANSIENT, "open directory %s", path);
    /* Some file systems cannot sync a directory and say EINVAL; there is nothing more to do there. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    if (!ok)
        err_errno(e, ERR_TRANSIENT, "fsync directory %s", path);
    fd_close(&fd);
    return ok;
}

static bool swap_file(const char *path, const void *data, size_t len, mode_t mode, bool sync,
                      struct err *e)
{
    char tmp[PATH_MAX];
    if (!str_format(tmp, sizeof(tmp), "%s.new", path))
        return err_set(e, ERR_INVALID, "path too long: %s", path);
    /* A leftover of a crash may have other permissions: start from a file of our own. */
    if (unlink(tmp) != 0 && errno != ENOENT)
        return err_errno(e, ERR_TRANSIENT, "unlink %s", tmp);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_errno(e, ERR_TRANSIENT, "create %s", tmp);
    bool ok = fd_write_all(fd, data, len, e);
    if (ok && fchmod(fd, mode) != 0) /* whatever the umask is */
        ok = err_errno(e, ERR_TRANSIENT, "chmod %s", tmp);
    if (ok && sync && fsync(fd) != 0)
        ok = err_errno(e, ERR_TRANSIENT, "fsync %s", tmp);
    if (close(fd) != 0 && ok)
        ok = err_errno(e, ERR_TRANSIENT, "close %s", tmp);
    if (ok && rename(tmp, path) != 0)
        ok = err_errno(e, ERR_TRANSIENT, "rename %s to %s", tmp, path);
    if (!ok) {
        unlink(tmp);
        return err_wrap(e, "replace %s", path);
    }
    return true;
}

bool fd_swap_file(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    return swap_file(path, data, len, mode, false, e);
}

bool fd_replace_file(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    char dir[PATH_MAX];
    return parent_of(dir, sizeof(dir), path, e) && swap_file(path, data, len, mode, true, e) &&
           fd_sync_dir(dir, e);
}

bool fd_mkdirs(const char *path, mode_t mode, struct err *e)
{
    char part[PATH_MAX];
    if (!str_copy(part, sizeof(part), path) || part[0] == '\0')
        return err_set(e, ERR_INVALID, "bad path: %s", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char c = *p;
        *p = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST) {
            /* A read-only or foreign parent answers so even for a directory that is there. */
            int code = errno;
            struct stat st;
            if (stat(part, &st) != 0 || !S_ISDIR(st.st_mode)) {
                errno = code;
                return err_errno(e, code == EACCES ? ERR_DENIED : ERR_TRANSIENT, "mkdir %s", part);
            }
        }
        *p = c;
        if (c == '\0')
            break;
    }
    struct stat st;
    if (stat(path, &st) != 0)
        return err_errno(e, ERR_TRANSIENT, "stat %s", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID, "%s: not a directory", path);
    return true;
}
