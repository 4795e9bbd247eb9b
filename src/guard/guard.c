/* PID 1: one poll() on signals, a timer and the link. The fence is looked at first after every
 * wait; nothing in a turn may block, allocate or touch the volume. */
#include "guard/guard.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/must.h"
#include "base/str.h"
#include "guard/fence.h"
#include "guard/spawn.h"

/* Whoever lowers the deadline says so over the link; if that gets lost, it is read again at least
 * this often while writable. */
#define WATCH_MS 250
#define LOOK_MS 1000       /* the same while postgres runs as a standby */
#define LOCK_RETRY_MS 20   /* guard.lock held by an earlier incarnation */
#define LOCK_LOG_MS 10000
#define PAUSE_MIN_MS 50    /* restart of the agent: far below the shortest fence time, 3.3 s */
#define PAUSE_MAX_MS 1000
#define AGENT_STEADY_MS 10000 /* an agent that lived so long starts the back-off anew */
#define FAST_STOP_MS 10000

static struct guard the_guard;

void guard_signals(sigset_t *set)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
        sigaddset(set, handled[i]);
}

/* ---- end of everything ---- */

_Noreturn static void finish(struct guard *g)
{
    log_event(LOG_INFO, "guard-ending", "every process is being ended",
              LOG_I("exit_code", g->exit_code));
    fence_end_all();
    _exit(g->exit_code);
}

static void fence(struct guard *g)
{
    int64_t deadline = page_deadline_ms(g->page);
    int64_t began = clock_boot_us();
    fence_end_all();
    int64_t took_us = clock_boot_us() - began;
    /* Every process of the namespace is gone; what follows is no longer urgent. */
    page_clear_writable(g->page);
    page_forfeit(g->page);
    g->status.fenced = page_count_fence(g->page);
    g->now_ms = clock_boot_ms();
    servers_forget(g);
    fd_close(&g->link_fd);
    g->agent_pid = 0;
    g->agent_pause_ms = 0;
    g->agent_next_ms = g->now_ms;
    log_event(LOG_ERROR, "fenced", "the deadline passed while postgres was writable",
              LOG_I("fenced", g->status.fenced), LOG_I("took_us", took_us),
              LOG_I("late_us", deadline > 0 ? began - deadline * 1000 : -1));
    guard_stop_event(g, LADDER_AGENT_GONE);
}

/* ---- the agent ---- */

static void start_agent(struct guard *g)
{
    int pair[2];
    g->agent_next_ms = 0;
    g->agent_began_ms = g->now_ms;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0) {
        pair[0] = spawn_high_fd(pair[0]);
        pair[1] = spawn_high_fd(pair[1]);
        g->agent_pid = spawn_agent(g->cfg->agent_path, g->cfg->argv, pair[1], g->page_fd);
        fd_close(&pair[1]);
        g->link_fd = pair[0];
    } else {
        g->agent_pid = -1;
    }
    if (g->agent_pid < 0) {
        log_event(LOG_ERROR, "agent-not-started", "fork or socketpair failed",
                  LOG_I("errno", errno));
        g->agent_pid = 0;
        fd_close(&g->link_fd);
        g->agent_next_ms = g->now_ms + PAUSE_MAX_MS;
        return;
    }
    g->status.agent_starts++;
    g->status.done_seq = 0;
    g->status.done_result = LINK_OK;
    g->status.task_seq = 0;
    g->status.task_result = LINK_OK;
    g->status_dirty = true;
    g->task.seq = 0; /* a task of the last agent goes on; its number means nothing to the new one */
    log_event(LOG_INFO, "agent-started", g->cfg->agent_path, LOG_I("pid", g->agent_pid),
              LOG_I("starts", g->status.agent_starts));
}

static void agent_ended(struct guard *g, int status)
{
    g->agent_pid = 0;
    log_event(LOG_WARNING, "agent-ended", "the agent has ended",
              LOG_I("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
              LOG_I("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
    /* Its last words may be waiting: an orderly exit is a message followed by the end. */
    requests_handle(g, POLLIN);
    fd_close(&g->link_fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == LINK_EXIT_CONFIG && g->status.starts == 0)
        guard_request_exit(g, LINK_EXIT_CONFIG);
    guard_stop_event(g, page_writable(g->page) ? LADDER_AGENT_GONE_WRITER : LADDER_AGENT_GONE);
}

static void plan_restart(struct guard *g)
{
    if (g->agent_pid > 0 || g->agent_next_ms)
        return;
    bool steady = g->now_ms - g->agent_began_ms >= AGENT_STEADY_MS;
    int64_t pause = steady || !g->agent_pause_ms ? PAUSE_MIN_MS : g->agent_pause_ms * 2;
    g->agent_pause_ms = pause > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause;
    g->agent_next_ms = g->now_ms + g->agent_pause_ms;
}

/* ---- stopping ---- */

static void tell_agent(struct guard *g)
{
    g->status.terminate++;
    if (!g->stop_by_ms)
        g->stop_by_ms = g->now_ms + g->cfg->grace_ms;
    g->status.terminate_by_ms = g->stop_by_ms;
    g->status_dirty = true;
}

static void fast_stop(struct guard *g)
{
    g->stop_by_ms = g->now_ms + FAST_STOP_MS;
    g->agent_next_ms = 0;
    if (g->postgres_pid > 0)
        kill(g->postgres_pid, SIGINT);
    else if (g->status.server_lock == LINK_LOCK_FREE)
        guard_stop_event(g, LADDER_EMPTY);
}

void guard_stop_event(struct guard *g, enum ladder_event event)
{
    enum ladder_state before = g->stop;
    struct ladder_step step = ladder_step(before, event);
    g->stop = step.next;
    if (before != step.next)
        log_event(LOG_INFO, "stop-step", ladder_state_name(step.next));
    switch (step.action) {
    case LADDER_NOTHING:
        return;
    case LADDER_RESTART_AGENT:
        plan_restart(g);
        return;
    case LADDER_TELL_AGENT:
        tell_agent(g);
        if (g->agent_pid == 0)
            guard_stop_event(g, page_writable(g->page) ? LADDER_AGENT_GONE_WRITER
                                                       : LADDER_AGENT_GONE);
        return;
    case LADDER_FAST_STOP:
        fast_stop(g);
        return;
    case LADDER_END:
        finish(g);
    }
}

void guard_request_exit(struct guard *g, int code)
{
    g->exit_code = code;
    guard_stop_event(g, LADDER_EXIT);
}

/* ---- signals and children ---- */

static void reap(struct guard *g)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return;
        if (pid == g->agent_pid)
            agent_ended(g, status);
        else if (pid == g->postgres_pid)
            servers_postgres_ended(g, status);
        else if (pid == g->probe.pid)
            servers_probe_ended(g, status);
    }
}

static void read_signals(struct guard *g)
{
    struct signalfd_siginfo info;
    while (read(g->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        int sig = (int)info.ssi_signo;
        if (sig == SIGCHLD)
            continue; /* one may stand for many: the turn reaps until there is none */
        if (sig == SIGTERM || sig == SIGINT) {
            g->exit_code = 128 + sig;
            log_event(LOG_INFO, "terminate-requested", "asked to stop", LOG_I("signal", sig));
            guard_stop_event(g, LADDER_TERM);
        } else if (g->agent_pid > 0) {
            kill(g->agent_pid, sig);
        }
    }
}

/* ---- the turn ---- */

static int64_t wake_ms(const struct guard *g)
{
    int64_t at = servers_wake_ms(g);
    int64_t deadline = page_deadline_ms(g->page);
    if (page_writable(g->page)) {
        int64_t watch = g->now_ms + WATCH_MS;
        watch = deadline < watch ? deadline : watch;
        at = watch < at ? watch : at;
    } else if (g->postgres_pid > 0 && g->now_ms + LOOK_MS < at) {
        at = g->now_ms + LOOK_MS;
    }
    if (g->agent_next_ms && g->agent_next_ms < at)
        at = g->agent_next_ms;
    if (g->stop_by_ms && g->stop_by_ms < at)
        at = g->stop_by_ms;
    return at;
}

static void tick(struct guard *g)
{
    servers_tick(g);
    if (g->stop_by_ms && g->now_ms >= g->stop_by_ms) {
        g->stop_by_ms = 0;
        guard_stop_event(g, page_writable(g->page) ? LADDER_LATE_WRITER : LADDER_LATE);
    }
    if (g->agent_next_ms && g->now_ms >= g->agent_next_ms && g->agent_pid == 0)
        start_agent(g);
}

static void set_timer(const struct guard *g, int64_t at_ms)
{
    struct itimerspec at = {{0}, {0}};
    if (at_ms != INT64_MAX) {
        at_ms = at_ms > 0 ? at_ms : 1; /* zero would disarm it */
        at.it_value.tv_sec = at_ms / 1000;
        at.it_value.tv_nsec = at_ms % 1000 * 1000000;
    }
    must(timerfd_settime(g->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

enum { P_TIMER, P_SIGNAL, P_LIFE, P_LINK, P_COUNT };

static void turn(struct guard *g)
{
    requests_send_status(g);
    set_timer(g, wake_ms(g));
    short link_events = (short)(POLLIN | (g->status_dirty ? POLLOUT : 0));
    struct pollfd fds[P_COUNT] = {
        [P_TIMER] = {.fd = g->timer_fd, .events = POLLIN},
        [P_SIGNAL] = {.fd = g->signal_fd, .events = POLLIN},
        [P_LIFE] = {.fd = g->cfg->life_fd, .events = POLLIN},
        [P_LINK] = {.fd = g->link_fd, .events = link_events},
    };
    int n = poll(fds, P_COUNT, -1);
    g->now_ms = clock_boot_ms();
    if (page_overdue(g->page, g->now_ms)) {
        fence(g);
        return;
    }
    if (n < 0)
        return;
    if (fds[P_TIMER].revents & POLLIN) {
        uint64_t ticks;
        must(read(g->timer_fd, &ticks, sizeof(ticks)) > 0 || errno == EAGAIN);
    }
    if (fds[P_LIFE].revents)
        finish(g); /* the outer process is gone */
    if (fds[P_SIGNAL].revents & POLLIN)
        read_signals(g);
    requests_handle(g, fds[P_LINK].revents);
    reap(g);
    tick(g);
}

/* ---- start ---- */

static bool new_boot_id(char *dst, size_t size, struct err *e)
{
    unsigned char raw[16];
    if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
        return err_errno(e, ERR_FATAL, "getrandom");
    must(size > 2 * sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++)
        must(str_format(dst + 2 * i, size - 2 * i, "%02x", (unsigned)raw[i]));
    return true;
}

/* The last incarnation of this volume may still be dying: wait for it, not for ever blindly. */
static bool wait_guard_lock(struct guard *g, struct err *e)
{
    int64_t logged = 0;
    for (;;) {
        enum locks_try got = locks_try_guard(&g->locks, e);
        if (got != LOCKS_BUSY)
            return got == LOCKS_GOT;
        int64_t now = clock_boot_ms();
        if (!logged || now - logged >= LOCK_LOG_MS) {
            logged = now;
            log_event(LOG_WARNING, "volume-in-use", "another pghad holds this volume; waiting",
                      LOG_S("path", g->locks.guard_path));
        }
        struct pollfd fds[2] = {{.fd = g->signal_fd, .events = POLLIN},
                                {.fd = g->cfg->life_fd, .events = POLLIN}};
        if (poll(fds, 2, LOCK_RETRY_MS) <= 0)
            continue;
        if (fds[1].revents)
            _exit(1);
        struct signalfd_siginfo info;
        while (read(g->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
            int sig = (int)info.ssi_signo;
            if (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT)
                _exit(128 + sig); /* there is nothing yet to hand over */
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}

static bool init(struct guard *g, const struct guard_config *cfg, struct err *e)
{
    sigset_t set;
    guard_signals(&set);
    memset(g, 0, sizeof(*g));
    g->cfg = cfg;
    g->link_fd = g->page_fd = g->gate_fd = -1;
    g->status.last_exit = -1;
    g->exit_code = 1;
    g->signal_fd = spawn_high_fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    g->timer_fd = spawn_high_fd(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (g->signal_fd < 0 || g->timer_fd < 0)
        return err_errno(e, ERR_FATAL, "signalfd or timerfd");
    if (!locks_init(&g->locks, cfg->state_dir, e) || !wait_guard_lock(g, e))
        return false;
    g->locks.guard_fd = spawn_high_fd(g->locks.guard_fd);
    if (!new_boot_id(g->status.boot_id, sizeof(g->status.boot_id), e) ||
        !page_create(g->status.boot_id, &g->page_fd, &g->page, e))
        return false;
    g->page_fd = spawn_high_fd(g->page_fd);
    g->gate_fd = spawn_high_fd(page_read_only(g->page_fd));
    if (g->gate_fd < 0)
        log_event(LOG_WARNING, "gate-without-page", "the server cannot be given the fence page",
                  LOG_I("errno", errno));
    return true;
}

void guard_run(const struct guard_config *cfg, struct err *e)
{
    struct guard *g = &the_guard;
    if (getpid() != 1) {
        err_set(e, ERR_BUG, "guard is not the first process of its namespace");
        return;
    }
    if (!init(g, cfg, e))
        return;
    g->now_ms = clock_boot_ms();
    g->agent_next_ms = g->now_ms;
    g->probe_next_ms = g->now_ms;
    log_event(LOG_INFO, "guard-started", "guard holds the volume", LOG_S("boot_id", g->status.boot_id),
              LOG_S("state_dir", cfg->state_dir));
    tick(g);
    for (;;)
        turn(g);
}
