/* The state of guard, one instance, and what its files offer each other.
 *
 * guard.c turns and reaps, servers.c starts and sweeps servers, requests.c talks to the agent. All
 * memory is static; nothing here blocks. */
#ifndef PGHAD_GUARD_GUARD_H
#define PGHAD_GUARD_GUARD_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/link.h"
#include "base/page.h"
#include "guard/ladder.h"
#include "guard/locks.h"

struct guard_config {
    char agent_path[PATH_MAX];
    char *const *argv; /* argv[0] is replaced by agent_path */
    char state_dir[PATH_MAX];
    int64_t grace_ms; /* from the first SIGTERM until guard stops by itself */
    int life_fd;      /* hangs up with the outer process; -1: there is none */
};

enum guard_op { GUARD_OP_NONE, GUARD_OP_START, GUARD_OP_SWEEP };

/* At most one operation on servers at a time. */
struct guard_task {
    enum guard_op op;
    uint32_t seq;         /* request to report on */
    int64_t begun_ms;
    int64_t next_ms;      /* next look */
    int64_t kill_from_ms; /* SIGTERM before, SIGKILL from then on */
    bool termed;          /* SIGTERM has been sent */
    bool sweeping;        /* a start that met leftovers */
    struct link_start start;
};

/* The child that tries server.lock. */
struct guard_probe {
    pid_t pid; /* 0: none */
    int64_t deadline_ms;
    bool overdue; /* killed, but not gone yet: the volume hangs */
};

struct guard {
    const struct guard_config *cfg;
    struct locks locks;
    struct fence_page *page;
    int page_fd;
    int gate_fd; /* the page for the server, read-only; -1: it could not be had */
    int signal_fd;
    int timer_fd;
    int link_fd; /* -1: no agent */
    int64_t now_ms;

    pid_t agent_pid;
    int64_t agent_began_ms;
    int64_t agent_next_ms; /* 0: none to be started */
    int64_t agent_pause_ms;

    pid_t postgres_pid;
    struct guard_task task;
    struct guard_probe probe;
    int64_t probe_next_ms;
    unsigned probe_tries; /* since the last "free" or the last end of a postmaster */
    bool probe_logged;

    enum ladder_state stop;
    int64_t stop_by_ms; /* 0: none */
    int exit_code;

    struct link_status status;
    bool status_dirty;
};

/* Runs guard; returns only when it cannot start. Requires PID 1, the right user, blocked signals. */
void guard_run(const struct guard_config *cfg, struct err *e);
/* The signals guard reads; to be blocked before anything is forked. */
void guard_signals(sigset_t *set);

/* ---- servers.c ---- */
void servers_begin_start(struct guard *g, uint32_t seq, const struct link_start *start);
void servers_begin_sweep(struct guard *g, uint32_t seq, uint32_t term_ms);
void servers_signal(struct guard *g, uint32_t seq, int sig);
void servers_postgres_ended(struct guard *g, int status);
void servers_probe_ended(struct guard *g, int status);
void servers_tick(struct guard *g);
int64_t servers_wake_ms(const struct guard *g);
/* After the fence: there is no process left. */
void servers_forget(struct guard *g);

/* ---- requests.c ---- */
void requests_handle(struct guard *g, short revents);
void requests_done(struct guard *g, uint32_t seq, enum link_result result);
void requests_send_status(struct guard *g); /* when something changed */

/* ---- guard.c ---- */
void guard_stop_event(struct guard *g, enum ladder_event event);
void guard_request_exit(struct guard *g, int code);

#endif
