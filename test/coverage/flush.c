/* Linked into the programs of the coverage build only (mk/coverage.mk). Counters are normally written when
 * a process exits, but members end by SIGKILL, by the fence and by _exit(). Here they are written before a
 * process waits, whenever FLUSH_MS have passed, and before _exit().
 *
 * The programs run as another user, and are seen at another place than where they were built (test/lib/sandbox.py
 * mounts them where all may look): counters go beside the program that runs. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_MS 300

void __gcov_dump(void);
void __gcov_reset(void);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
_Noreturn void __real__exit(int code);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
_Noreturn void __wrap__exit(int code);

/* The directory of the program in place of BUILD_DIR, in the names that the compiler noted. */
__attribute__((constructor)) static void find_place(void)
{
    char path[PATH_MAX], strip[12] = "0";
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    int parts = 0;

    if (n <= 0)
        return;
    path[n] = '\0';
    *strrchr(path, '/') = '\0';
    for (const char *c = BUILD_DIR; *c; c++)
        parts += *c == '/';
    strip[0] = (char)('0' + parts / 10);
    strip[1] = (char)('0' + parts % 10);
    setenv("GCOV_PREFIX", path, 1);
    setenv("GCOV_PREFIX_STRIP", strip, 1);
}

static void flush(void)
{
    int saved = errno;

    __gcov_dump();
    __gcov_reset();
    errno = saved;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    static long long flushed_ms;
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    long long now_ms = (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    if (now_ms - flushed_ms >= FLUSH_MS) {
        flushed_ms = now_ms;
        flush();
    }
    return __real_poll(fds, n, timeout_ms);
}

_Noreturn void __wrap__exit(int code)
{
    flush();
    __real__exit(code);
}
