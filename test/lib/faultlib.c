/* Preloaded into the servers of one member: I/O that fails, and a wall clock that is wrong.
 *
 *     LD_PRELOAD=faultlib.so FAULTLIB=FILE
 *
 * FILE is looked at each time: words "fsync-wal", "write-wal", "fsync-data", "write-data" make that call
 * fail with EIO in postgres; "clock=SECONDS" moves CLOCK_REALTIME in every program. No file: nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static bool is_postgres; /* asked once: a server writes its title over its name */

__attribute__((constructor)) static void begin(void)
{
    is_postgres = strcmp(program_invocation_short_name, "postgres") == 0;
}

static const char *wanted(char *text, size_t size, const char *word)
{
    const char *path = getenv("FAULTLIB");
    if (path == NULL)
        return NULL;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, size - 1);
    syscall(SYS_close, fd);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, word);
}

static bool fails(int fd, const char *call)
{
    char text[256], word[32], link[64], path[512];
    int saved = errno;
    bool yes = false;
    if (is_postgres && wanted(text, sizeof(text), call) != NULL) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof(path) - 1);
        path[n > 0 ? n : 0] = '\0';
        const char *where = strstr(path, "/pg_wal/") ? "wal" : strstr(path, "/base/") ? "data" : NULL;
        if (where != NULL) {
            snprintf(word, sizeof(word), "%s-%s", call, where);
            yes = strstr(text, word) != NULL;
        }
    }
    errno = yes ? EIO : saved;
    return yes;
}

int fsync(int fd)
{
    return fails(fd, "fsync") ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails(fd, "fsync") ? -1 : (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    return fails(fd, "write") ? -1 : syscall(SYS_pwrite64, fd, data, n, at);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    return pwrite64(fd, data, n, at);
}

static time_t shift(void)
{
    char text[256];
    int saved = errno;
    const char *at = wanted(text, sizeof(text), "clock=");
    errno = saved;
    return at ? strtol(at + 6, NULL, 10) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int r = (int)syscall(SYS_clock_gettime, id, ts);
    if (r == 0 && id == CLOCK_REALTIME)
        ts->tv_sec += shift();
    return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    *tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *at)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (at != NULL)
        *at = ts.tv_sec;
    return ts.tv_sec;
}
