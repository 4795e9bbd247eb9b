/* The gentler end: every process but guard, the agent and the agent's own children. */
#ifndef PGHAD_GUARD_SWEEP_H
#define PGHAD_GUARD_SWEEP_H

#include <stdbool.h>
#include <sys/types.h>

#define SWEEP_COMM_SIZE 64

struct sweep_proc {
    pid_t pid;
    pid_t ppid;
    char state;
    char comm[SWEEP_COMM_SIZE];
};

enum sweep_origin {
    SWEEP_OF_GUARD,   /* descends from guard: postgres, its children, orphans of them */
    SWEEP_OF_AGENT,   /* the agent or a descendant of it */
    SWEEP_FROM_OUTSIDE, /* put into the namespace from outside: kubectl exec */
};

/* Reads the text of /proc/<pid>/stat (proc(5): the name may contain anything, parentheses too). */
bool sweep_parse_stat(const char *text, struct sweep_proc *ret);

/* Policy: is this process to be ended? A process from outside (an operator's shell, perhaps the
 * very command that asked for the stop) is spared unless it is a server, or force is set. */
bool sweep_wants(const struct sweep_proc *p, enum sweep_origin origin, bool force);

/* Sends sig to each process that is to be ended; returns how many were found alive. agent may be 0;
 * probe, guard's own child that looks at the lock, is spared: it has a deadline of its own.
 * Only in the first process of a PID namespace. No heap; reads /proc only. */
unsigned sweep_signal(pid_t agent, pid_t probe, int sig, bool force);

/* SIGKILL to guard's own children but these two: to all that a dead postmaster has left. They are one list of
 * the kernel's (/proc/PID/task/TID/children): a thousand are signalled in 2 ms, seldom 180 (measured with all of
 * them wanting the processor). What it may miss is for sweep_signal. Only in the first process of a PID namespace. */
unsigned sweep_orphans(pid_t agent, pid_t probe);

#endif
