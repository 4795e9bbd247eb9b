/* The turn. The poll array is rebuilt each time, so nothing in it can be stale.
 *
 * poll()'s own timeout stands still while the machine is suspended; deadlines therefore go through
 * a timerfd on CLOCK_BOOTTIME. */
#include "loop/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"

struct loop {
    struct loop_source sources[LOOP_SOURCES_MAX];
    int nsources;
    struct pollfd fds[LOOP_FDS_MAX]; /* fds[0] is the timer */
    nfds_t nfds;
    int timer_fd;
    int64_t now_ms;
    int64_t wake_ms; /* of the next poll: asked for since the last one */
    int64_t woke_ms; /* when poll last returned; 0 before the first turn */
    int64_t longest_ms;
};

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    must(l->timer_fd >= 0);
    l->now_ms = clock_boot_ms();
    l->wake_ms = INT64_MAX;
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    fd_close(&l->timer_fd);
    free(l);
}

void loop_add(struct loop *l, const struct loop_source *s)
{
    must(l->nsources < LOOP_SOURCES_MAX);
    l->sources[l->nsources++] = *s;
}

int64_t loop_now(const struct loop *l)
{
    return l->now_ms;
}

void loop_want(struct loop *l, int fd, short events)
{
    must(fd >= 0);
    for (nfds_t i = 1; i < l->nfds; i++) {
        if (l->fds[i].fd == fd) {
            l->fds[i].events = (short)(l->fds[i].events | events);
            return;
        }
    }
    must(l->nfds < LOOP_FDS_MAX);
    l->fds[l->nfds++] = (struct pollfd){.fd = fd, .events = events};
}

short loop_revents(const struct loop *l, int fd)
{
    for (nfds_t i = 1; i < l->nfds; i++)
        if (l->fds[i].fd == fd)
            return l->fds[i].revents;
    return 0;
}

void loop_wake_at(struct loop *l, int64_t at_ms)
{
    if (at_ms < l->wake_ms)
        l->wake_ms = at_ms;
}

void loop_wake_now(struct loop *l)
{
    l->wake_ms = INT64_MIN;
}

static void wait_ready(struct loop *l)
{
    int timeout = 0;
    if (l->wake_ms > clock_boot_ms()) {
        struct itimerspec at = {.it_value = {.tv_sec = l->wake_ms / 1000,
                                             .tv_nsec = l->wake_ms % 1000 * 1000000}};
        must(timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
        timeout = -1;
    }
    if (poll(l->fds, l->nfds, timeout) >= 0)
        return;
    must(errno == EINTR || errno == ENOMEM);
    for (nfds_t i = 0; i < l->nfds; i++)
        l->fds[i].revents = 0;
}

void loop_turn(struct loop *l, int64_t max_wait_ms)
{
    int64_t start = clock_boot_ms();
    loop_wake_at(l, start + (max_wait_ms > 0 ? max_wait_ms : 0));
    l->fds[0] = (struct pollfd){.fd = l->timer_fd, .events = POLLIN};
    l->nfds = 1;
    for (int i = 0; i < l->nsources; i++)
        if (l->sources[i].prepare)
            l->sources[i].prepare(l->sources[i].ctx, l);

    if (l->woke_ms) {
        int64_t busy = clock_boot_ms() - l->woke_ms;
        if (busy > l->longest_ms)
            l->longest_ms = busy;
    }
    wait_ready(l);
    l->wake_ms = INT64_MAX;
    l->now_ms = clock_boot_ms();
    l->woke_ms = l->now_ms;
    if (l->fds[0].revents & POLLIN) {
        uint64_t ticks;
        ssize_t n = read(l->timer_fd, &ticks, sizeof(ticks));
        must(n == (ssize_t)sizeof(ticks) || errno == EAGAIN);
    }
    for (int i = 0; i < l->nsources; i++)
        if (l->sources[i].dispatch)
            l->sources[i].dispatch(l->sources[i].ctx, l);
}

int64_t loop_longest_turn_ms(struct loop *l)
{
    int64_t ms = l->longest_ms;
    l->longest_ms = 0;
    return ms;
}
