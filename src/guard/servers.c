/* Starting postgres and ending what servers leave behind.
 *
 * server.lock says whether any process of any server lives. Opening a file on the volume may hang,
 * so a child looks; "it did not answer" is unknown, never free. */
#include "guard/guard.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "guard/spawn.h"
#include "guard/sweep.h"

#define PROBE_TIMEOUT_MS 2000
/* Pause between two looks while the answer is not "free" and no postmaster runs: killed processes are
 * gone within milliseconds, and a failover waits for the last of them. */
#define PROBE_QUICK_MS 3
#define PROBE_QUICK_TRIES 20
#define PROBE_EVERY_MS 20
#define PROBE_SLOW_MS 250
#define PROBE_FAST_TRIES 60
#define SWEEP_EVERY_MS 10
#define SWEEP_SLOW_MS 250       /* after a second of trying */
#define SWEEP_FORCE_AFTER_MS 1000 /* then processes from outside are ended as well */
#define START_GIVE_UP_MS 10000

static void set_lock(struct guard *g, enum link_lock lock)
{
    if (g->status.server_lock == (uint32_t)lock)
        return;
    g->status.server_lock = (uint32_t)lock;
    g->status_dirty = true;
}

/* Starts and kills have a place of their own: quicker requests may finish in the same turn. */
static void report_task(struct guard *g, uint32_t seq, enum link_result result)
{
    g->status.task_seq = seq;
    g->status.task_result = (uint32_t)result;
    requests_done(g, seq, result);
}

static void end_task(struct guard *g, enum link_result result)
{
    uint32_t seq = g->task.seq;
    g->task.op = GUARD_OP_NONE;
    g->task.sweeping = false;
    g->status.sweeping = 0;
    report_task(g, seq, result);
}

static void begin_probe(struct guard *g)
{
    if (g->probe.pid > 0)
        return;
    pid_t pid = spawn_probe(g->locks.server_path);
    unsigned tries = ++g->probe_tries;
    g->probe_next_ms = g->now_ms + (tries <= PROBE_QUICK_TRIES  ? PROBE_QUICK_MS
                                    : tries <= PROBE_FAST_TRIES ? PROBE_EVERY_MS
                                                                : PROBE_SLOW_MS);
    if (pid < 0)
        return;
    g->probe = (struct guard_probe){.pid = pid, .deadline_ms = g->now_ms + PROBE_TIMEOUT_MS};
}

static void start_now(struct guard *g)
{
    pid_t pid = spawn_postgres(&g->task.start, g->locks.server_path, g->gate_fd);
    if (pid < 0) {
        log_event(LOG_ERROR, "postgres-not-started", "fork failed", LOG_I("errno", errno));
        end_task(g, LINK_FAILED);
        return;
    }
    g->postgres_pid = pid;
    g->status.postgres_pid = pid;
    g->status.starts++;
    set_lock(g, LINK_LOCK_HELD);
    log_event(LOG_INFO, "postgres-started", g->task.start.bin, LOG_I("pid", pid),
              LOG_S("data_dir", g->task.start.data_dir), LOG_I("starts", g->status.starts));
    end_task(g, LINK_OK);
}

static bool task_sweeps(const struct guard *g)
{
    return g->task.op == GUARD_OP_SWEEP || (g->task.op == GUARD_OP_START && g->task.sweeping);
}

/* The answer of a probe, or "unknown" when there is none in time. */
static void judge(struct guard *g, enum link_lock lock)
{
    if (g->postgres_pid > 0)
        return; /* asked before the postmaster began: of no interest any more */
    set_lock(g, lock);
    if (lock == LINK_LOCK_FREE)
        g->probe_tries = 0;
    if (lock == LINK_LOCK_FREE && page_writable(g->page)) {
        requests_send_status(g); /* an agent that sees a running server without the mark takes it for a rogue */
        page_clear_writable(g->page);
        log_event(LOG_INFO, "server-gone", "no server process is left");
    }
    switch (g->task.op) {
    case GUARD_OP_NONE:
        break;
    case GUARD_OP_SWEEP:
        if (lock == LINK_LOCK_FREE)
            end_task(g, LINK_OK);
        break;
    case GUARD_OP_START:
        if (lock == LINK_LOCK_FREE) {
            start_now(g);
        } else if (lock == LINK_LOCK_UNKNOWN) {
            end_task(g, LINK_UNKNOWN);
        } else if (!g->task.sweeping) {
            log_event(LOG_WARNING, "leftovers-found",
                      "processes of an earlier server are alive; they are killed before the start");
            g->task.sweeping = true;
            g->task.next_ms = g->now_ms;
            g->status.sweeping = 1;
            g->status_dirty = true;
        }
        break;
    }
    if (lock == LINK_LOCK_FREE && g->postgres_pid == 0)
        guard_stop_event(g, LADDER_EMPTY);
}

void servers_probe_ended(struct guard *g, int status)
{
    g->probe.pid = 0;
    g->probe.overdue = false;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : LOCKS_PROBE_ERROR;
    if (code == LOCKS_PROBE_ERROR && !g->probe_logged) {
        g->probe_logged = true;
        log_event(LOG_ERROR, "lock-unknown", "server.lock cannot be tried",
                  LOG_S("path", g->locks.server_path));
    }
    if (code != LOCKS_PROBE_ERROR)
        g->probe_logged = false;
    judge(g, code == LOCKS_PROBE_FREE   ? LINK_LOCK_FREE
             : code == LOCKS_PROBE_HELD ? LINK_LOCK_HELD
                                        : LINK_LOCK_UNKNOWN);
}

void servers_begin_start(struct guard *g, uint32_t seq, const struct link_start *start)
{
    const char *argv[LINK_ARGS_MAX + 4];
    enum link_result refuse = LINK_OK;
    if (!link_start_argv(start, argv))
        refuse = LINK_INVALID;
    else if (g->stop >= LADDER_FAST)
        refuse = LINK_STOPPING;
    else if (g->postgres_pid > 0)
        refuse = LINK_RUNNING;
    else if (g->task.op != GUARD_OP_NONE)
        refuse = LINK_BUSY;
    else if (g->probe.overdue)
        refuse = LINK_UNKNOWN;
    if (refuse != LINK_OK) {
        report_task(g, seq, refuse);
        return;
    }
    g->task = (struct guard_task){
        .op = GUARD_OP_START, .seq = seq, .begun_ms = g->now_ms, .kill_from_ms = g->now_ms};
    g->task.next_ms = INT64_MAX;
    g->task.start = *start;
    /* The answer of a probe under way is as good: no server can have begun since it was asked. */
    g->probe_tries = 0;
    begin_probe(g);
}

void servers_begin_sweep(struct guard *g, uint32_t seq, uint32_t term_ms)
{
    if (g->task.op != GUARD_OP_NONE)
        end_task(g, LINK_BUSY); /* the newer and stronger request takes over */
    g->task = (struct guard_task){.op = GUARD_OP_SWEEP,
                                  .seq = seq,
                                  .begun_ms = g->now_ms,
                                  .next_ms = g->now_ms,
                                  .kill_from_ms = g->now_ms + term_ms};
    g->probe_tries = 0;
    g->status.sweeping = 1;
    g->status_dirty = true;
    log_event(LOG_INFO, "servers-killed", "every server process is being ended",
              LOG_I("term_ms", term_ms));
}

void servers_signal(struct guard *g, uint32_t seq, int sig)
{
    bool allowed = sig == SIGHUP || sig == SIGUSR1 || sig == SIGINT || sig == SIGQUIT ||
                   sig == SIGTERM;
    if (!allowed) {
        requests_done(g, seq, LINK_INVALID);
    } else if (g->postgres_pid == 0) {
        requests_done(g, seq, LINK_NOT_RUNNING);
    } else {
        /* A child of ours that is not reaped: the number cannot be another's. */
        kill(g->postgres_pid, sig);
        requests_done(g, seq, LINK_OK);
    }
}

void servers_postgres_ended(struct guard *g, int status)
{
    g->postgres_pid = 0;
    g->status.postgres_pid = 0;
    g->status.last_exit = status;
    g->status_dirty = true;
    /* Its children may live on: not free before a probe says so. */
    set_lock(g, LINK_LOCK_UNKNOWN);
    g->probe_next_ms = g->now_ms;
    g->probe_tries = 0;
    /* Nothing can become of the children of a postmaster that was killed. By themselves they end when they
     * notice: a busy one in its own time (35 s measured), a thousand idle ones in twice the time. */
    if (WIFSIGNALED(status))
        sweep_orphans(g->agent_pid, g->probe.pid);
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    log_event(clean ? LOG_INFO : LOG_WARNING, "postgres-ended",
              clean ? "the postmaster has ended" : "the postmaster has ended abnormally",
              LOG_I("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
              LOG_I("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
}

static void sweep_once(struct guard *g)
{
    int64_t age = g->now_ms - g->task.begun_ms;
    bool force = age >= SWEEP_FORCE_AFTER_MS;
    if (g->now_ms >= g->task.kill_from_ms) {
        sweep_signal(g->agent_pid, g->probe.pid, SIGKILL, force);
    } else if (!g->task.termed) {
        g->task.termed = true;
        sweep_signal(g->agent_pid, g->probe.pid, SIGTERM, false);
    }
    g->task.next_ms = g->now_ms + (force ? SWEEP_SLOW_MS : SWEEP_EVERY_MS);
    if (g->task.next_ms > g->task.kill_from_ms && g->now_ms < g->task.kill_from_ms)
        g->task.next_ms = g->task.kill_from_ms;
}

void servers_tick(struct guard *g)
{
    if (g->probe.pid > 0 && !g->probe.overdue && g->now_ms >= g->probe.deadline_ms) {
        g->probe.overdue = true;
        kill(g->probe.pid, SIGKILL);
        log_event(LOG_WARNING, "volume-silent", "the volume does not answer a look at server.lock");
        judge(g, LINK_LOCK_UNKNOWN);
    }
    if (task_sweeps(g) && g->now_ms >= g->task.next_ms)
        sweep_once(g);
    if (g->task.op == GUARD_OP_START && g->now_ms - g->task.begun_ms >= START_GIVE_UP_MS)
        end_task(g, LINK_STUCK);
    bool ask = g->postgres_pid == 0 && g->now_ms >= g->probe_next_ms &&
               (g->status.server_lock != LINK_LOCK_FREE || g->task.op != GUARD_OP_NONE);
    if (ask)
        begin_probe(g);
}

int64_t servers_wake_ms(const struct guard *g)
{
    int64_t at = INT64_MAX;
    if (task_sweeps(g) && g->task.next_ms < at)
        at = g->task.next_ms;
    if (g->task.op == GUARD_OP_START && g->task.begun_ms + START_GIVE_UP_MS < at)
        at = g->task.begun_ms + START_GIVE_UP_MS;
    if (g->probe.pid > 0) {
        if (!g->probe.overdue && g->probe.deadline_ms < at)
            at = g->probe.deadline_ms;
    } else if (g->postgres_pid == 0 &&
               (g->status.server_lock != LINK_LOCK_FREE || g->task.op != GUARD_OP_NONE) &&
               g->probe_next_ms < at) {
        at = g->probe_next_ms;
    }
    return at;
}

void servers_forget(struct guard *g)
{
    if (g->postgres_pid > 0)
        g->status.last_exit = SIGKILL; /* as a wait status: ended by that signal */
    g->postgres_pid = 0;
    g->status.postgres_pid = 0;
    g->task = (struct guard_task){.op = GUARD_OP_NONE};
    g->probe = (struct guard_probe){0};
    g->probe_next_ms = g->now_ms;
    g->status.sweeping = 0;
    set_lock(g, LINK_LOCK_UNKNOWN);
    g->status_dirty = true;
}
