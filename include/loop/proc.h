/* Child processes with captured output and a deadline, as a loop source.
 *
 * For initdb, pg_basebackup, pg_rewind, pg_waldump, pg_controldata and user scripts: work that may
 * take minutes and must never block the loop. The child restores the signal mask and dispositions,
 * marks every inherited descriptor close-on-exec, is its own process group, and asks for SIGKILL
 * when its parent dies, so that an agent crash leaves no unsupervised pg_rewind. */
#ifndef PGHAD_LOOP_PROC_H
#define PGHAD_LOOP_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

enum proc_state { PROC_IDLE, PROC_RUNNING, PROC_DONE };

struct proc_spec {
    const char *const *argv;  /* NULL-terminated; argv[0] is the path, no PATH search */
    const char *const *env;   /* NULL-terminated whole environment, or NULL: the parent's */
    const char *input;        /* written to stdin, then closed; NULL: /dev/null */
    size_t out_max;           /* bytes of stdout kept; more is an error at the end */
    int64_t deadline_ms;      /* BOOTTIME; then SIGKILL to the group. 0: none */
    bool merge_stderr;        /* stderr into out; otherwise its last 4 KiB are kept apart */
};

struct proc;

struct proc *proc_start(struct loop *l, const struct proc_spec *spec, struct err *e); /* NULL on failure */
enum proc_state proc_state(const struct proc *p);
/* After PROC_DONE: exit status as of waitpid(2); timed_out when the deadline ended it. */
int proc_status(const struct proc *p);
bool proc_timed_out(const struct proc *p);
bool proc_ok(const struct proc *p); /* exited with 0, in time, output within the limit */
const struct buf *proc_out(const struct proc *p);
const char *proc_err_tail(const struct proc *p); /* last lines of stderr, NUL-terminated */
/* One line of them into dst, cut if need be: the first that tells of an error, else the last; "" when there is
 * none. What tools say after their error is what they clean up. */
void proc_telling_line(const struct proc *p, char *dst, size_t size);
void proc_kill(struct proc *p, int sig);         /* to the group; the state changes later */
void proc_free(struct proc *p); /* NULL accepted; a running child is killed and reaped */

/* The source that reaps and reads; add it once to the loop. SIGCHLD must be deliverable. */
struct loop_source proc_source(void);

#endif
