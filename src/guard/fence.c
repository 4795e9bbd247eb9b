/* The shortest code in the project on purpose: what is here runs when disk, network, log pipe,
 * allocator and every other process hang. It must never open a file, allocate, log or wait for
 * anything but the end of processes that were killed. */
#include "guard/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"

#define WAIT_MIN_MS 1
#define WAIT_MAX_MS 20
#define STACK_BYTES 65536

extern const char __executable_start[]; /* from the linker: first byte of this program */
extern const char _end[];               /* one past its last */

/* Returns when waitpid says that there are no children at all. */
static bool reap_all(void)
{
    for (;;) {
        pid_t got = waitpid(-1, NULL, WNOHANG);
        if (got > 0 || (got < 0 && errno == EINTR))
            continue;
        return got < 0;
    }
}

void fence_end_all(void)
{
    /* Elsewhere kill(-1) would reach every process of the user, or of the machine. */
    must(getpid() == 1);
    int wait_ms = WAIT_MIN_MS;
    for (;;) {
        kill(-1, SIGKILL);
        if (reap_all())
            return;
        /* A child in uninterruptible sleep cannot answer a client any more; it is waited for
         * because it still may finish its I/O. */
        poll(NULL, 0, wait_ms);
        wait_ms = wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : wait_ms * 2;
    }
}

/* Through the kernel, which answers EFAULT where segments leave a hole between them. */
static void touch_program(void)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) != 0)
        return;
    char c;
    for (const char *at = __executable_start; at < _end; at += 4096)
        if (syscall(SYS_write, p[1], at, 1) == 1 && read(p[0], &c, 1) != 1)
            break;
    fd_close(&p[0]);
    fd_close(&p[1]);
}

static void touch_stack(void)
{
    volatile char room[STACK_BYTES];
    for (size_t i = 0; i < sizeof(room); i += 4096)
        room[i] = 0;
}

void fence_prepare(void)
{
    touch_program();
    touch_stack();
    /* The functions of libc that the fence calls become resident by being called. */
    kill(getpid(), 0);
    waitpid(-1, NULL, WNOHANG);
    poll(NULL, 0, 0);
    clock_boot_ms();
    /* On fault only: locking the whole of libc would cost megabytes for pages nobody needs. */
    mlockall(MCL_CURRENT | MCL_ONFAULT);
}
