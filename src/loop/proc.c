/* Children with captured output. Only pids started here are waited for; the end of a child is seen
 * through a pidfd, so nothing depends on who handles SIGCHLD. */
#include "loop/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"

#define TAIL_BYTES 4096
#define REAP_TICK_MS 20      /* only where the kernel has no pidfd */
#define READ_TURN_BYTES 262144 /* per pipe and turn: a chatty child must not stall the loop */

struct proc {
    struct proc *next;
    pid_t pid;
    int pid_fd; /* -1 where the kernel cannot give one */
    int out_fd;
    int err_fd; /* -1 when stderr goes into out */
    enum proc_state state;
    int status;
    bool timed_out;
    bool too_much;
    bool abandoned; /* freed by its owner while it ran: reaped, then released */
    int64_t deadline_ms;
    struct buf out;
    char tail[2 * TAIL_BYTES + 1]; /* the last TAIL_BYTES count */
    size_t tail_len;
};

static struct proc *procs; /* one loop, one thread */

/* ---- the child's side ---- */

static void close_on_exec_from(int first)
{
    if (close_range((unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = first; fd < 4096; fd++) /* kernels before 5.11 */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

_Noreturn static void child_fail(const char *what)
{
    dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
    _exit(127);
}

_Noreturn static void child_run(const struct proc_spec *spec, pid_t parent, int in, int out, int err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(127); /* the parent died before the request: nobody would end this child */
    setpgid(0, 0);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
        _exit(127);
    close_on_exec_from(3);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* execve takes pointers to non-const for historical reasons and does not write through them. */
    char *const *argv = (char *const *)(uintptr_t)spec->argv;
    char *const *env = spec->env ? (char *const *)(uintptr_t)spec->env : environ;
    execve(argv[0], argv, env);
    child_fail(argv[0]);
}

/* ---- starting ---- */

/* stdin as an anonymous file: it is never full and never breaks, so no SIGPIPE can come of it. */
static int open_input(const char *input, struct err *e)
{
    if (!input) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            err_errno(e, ERR_FATAL, "open /dev/null");
        return fd;
    }
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0) {
        err_errno(e, ERR_FATAL, "memfd_create");
        return -1;
    }
    if (!fd_write_all(fd, input, strlen(input), e) || lseek(fd, 0, SEEK_SET) != 0)
        fd_close(&fd);
    return fd;
}

/* The read end is non-blocking, the write end is the child's and blocks as usual. */
static bool open_pipe(int p[2], struct err *e)
{
    if (pipe2(p, O_CLOEXEC) != 0)
        return err_errno(e, ERR_FATAL, "pipe");
    if (!fd_set_nonblock(p[0], true))
        return err_errno(e, ERR_FATAL, "fcntl");
    return true;
}

static bool spawn(struct proc *p, const struct proc_spec *spec, struct err *e)
{
    int in = -1, out[2] = {-1, -1}, err[2] = {-1, -1};
    in = open_input(spec->input, e);
    bool ok = in >= 0 && open_pipe(out, e) && (spec->merge_stderr || open_pipe(err, e));
    if (ok) {
        pid_t parent = getpid();
        p->pid = fork();
        if (p->pid == 0)
            child_run(spec, parent, in, out[1], spec->merge_stderr ? out[1] : err[1]);
        if (p->pid < 0)
            ok = err_errno(e, ERR_TRANSIENT, "fork");
    }
    if (ok) {
        setpgid(p->pid, p->pid); /* both sides, so that a kill right now reaches the group */
        p->pid_fd = pidfd_open(p->pid, 0);
        p->out_fd = out[0];
        p->err_fd = err[0];
        out[0] = err[0] = -1;
    }
    fd_close(&in);
    for (int i = 0; i < 2; i++) {
        fd_close(&out[i]);
        fd_close(&err[i]);
    }
    return ok;
}

struct proc *proc_start(struct loop *l, const struct proc_spec *spec, struct err *e)
{
    (void)l;
    struct proc *p = calloc(1, sizeof(*p));
    must(p != NULL);
    p->pid_fd = p->out_fd = p->err_fd = -1;
    p->deadline_ms = spec->deadline_ms;
    buf_init(&p->out, spec->out_max);
    if (!spawn(p, spec, e)) {
        buf_done(&p->out);
        free(p);
        return NULL;
    }
    p->state = PROC_RUNNING;
    p->next = procs;
    procs = p;
    return p;
}

/* ---- reading and reaping ---- */

static void take_tail(struct proc *p, const char *data, size_t len)
{
    if (len > TAIL_BYTES) {
        data += len - TAIL_BYTES;
        len = TAIL_BYTES;
    }
    if (p->tail_len + len > 2 * TAIL_BYTES) {
        memmove(p->tail, p->tail + p->tail_len - TAIL_BYTES, TAIL_BYTES);
        p->tail_len = TAIL_BYTES;
    }
    memcpy(p->tail + p->tail_len, data, len);
    p->tail_len += len;
    p->tail[p->tail_len] = '\0';
}

static void take_out(struct proc *p, const char *data, size_t len)
{
    size_t room = p->out.max - p->out.len;
    if (len > room) {
        p->too_much = true;
        len = room;
    }
    buf_put(&p->out, data, len);
}

static void drain(struct proc *p, int *fd)
{
    char chunk[16384];
    for (size_t total = 0; *fd >= 0 && total < READ_TURN_BYTES;) {
        ssize_t n = read(*fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            fd_close(fd);
            return;
        }
        total += (size_t)n;
        if (fd == &p->err_fd)
            take_tail(p, chunk, (size_t)n);
        else
            take_out(p, chunk, (size_t)n);
    }
}

static void close_fds(struct proc *p)
{
    fd_close(&p->pid_fd);
    fd_close(&p->out_fd);
    fd_close(&p->err_fd);
}

/* What the child itself wrote is in the pipes when it is reaped; a grandchild that keeps them open
 * is not waited for. */
static void reap(struct proc *p)
{
    int status;
    pid_t got = waitpid(p->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return;
    must(got == p->pid || (got < 0 && errno == ECHILD));
    p->status = got == p->pid ? status : -1;
    drain(p, &p->out_fd);
    drain(p, &p->err_fd);
    close_fds(p);
    p->state = PROC_DONE;
}

static void release(struct proc *p)
{
    for (struct proc **at = &procs; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    close_fds(p);
    buf_done(&p->out);
    free(p);
}

static void source_prepare(void *ctx, struct loop *l)
{
    (void)ctx;
    for (struct proc *p = procs; p; p = p->next) {
        if (p->state != PROC_RUNNING)
            continue;
        if (p->pid_fd >= 0)
            loop_want(l, p->pid_fd, POLLIN);
        else
            loop_wake_at(l, loop_now(l) + REAP_TICK_MS);
        if (p->out_fd >= 0)
            loop_want(l, p->out_fd, POLLIN);
        if (p->err_fd >= 0)
            loop_want(l, p->err_fd, POLLIN);
        if (p->deadline_ms && !p->timed_out)
            loop_wake_at(l, p->deadline_ms);
    }
}

static void source_dispatch(void *ctx, struct loop *l)
{
    (void)ctx;
    struct proc *next;
    for (struct proc *p = procs; p; p = next) {
        next = p->next;
        if (p->state != PROC_RUNNING)
            continue;
        bool ended = p->pid_fd < 0 || loop_revents(l, p->pid_fd);
        if (p->out_fd >= 0 && loop_revents(l, p->out_fd))
            drain(p, &p->out_fd);
        if (p->err_fd >= 0 && loop_revents(l, p->err_fd))
            drain(p, &p->err_fd);
        if (ended)
            reap(p);
        if (p->state == PROC_RUNNING && p->deadline_ms && !p->timed_out &&
            loop_now(l) >= p->deadline_ms) {
            p->timed_out = true;
            proc_kill(p, SIGKILL);
        }
        if (p->state == PROC_DONE && p->abandoned)
            release(p);
    }
}

struct loop_source proc_source(void)
{
    return (struct loop_source){
        .name = "proc", .prepare = source_prepare, .dispatch = source_dispatch};
}

/* ---- what the owner sees ---- */

enum proc_state proc_state(const struct proc *p)
{
    return p ? p->state : PROC_IDLE;
}

int proc_status(const struct proc *p)
{
    return p->status;
}

bool proc_timed_out(const struct proc *p)
{
    return p->timed_out;
}

bool proc_ok(const struct proc *p)
{
    return p->state == PROC_DONE && !p->timed_out && !p->too_much && WIFEXITED(p->status) &&
           WEXITSTATUS(p->status) == 0;
}

const struct buf *proc_out(const struct proc *p)
{
    return &p->out;
}

const char *proc_err_tail(const struct proc *p)
{
    return p->tail_len > TAIL_BYTES ? p->tail + (p->tail_len - TAIL_BYTES) : p->tail;
}

void proc_telling_line(const struct proc *p, char *dst, size_t size)
{
    static const char *const errors[] = {"error: ", "ERROR: ", "FATAL: ", "PANIC: "};
    const char *found = "", *line = proc_err_tail(p);
    size_t found_len = 0, len;

    for (bool error = false; *line && !error; line += len + (line[len] == '\n')) {
        len = strcspn(line, "\n");
        if (len == 0)
            continue;
        found = line;
        found_len = len;
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
            error |= memmem(line, len, errors[i], strlen(errors[i])) != NULL;
    }
    (void)snprintf(dst, size, "%.*s", (int)found_len, found);
}

/* The leader is not reaped while RUNNING, so neither its number nor its group's can be another's. */
void proc_kill(struct proc *p, int sig)
{
    if (p->state == PROC_RUNNING)
        kill(-p->pid, sig);
}

void proc_free(struct proc *p)
{
    if (!p)
        return;
    if (p->state == PROC_RUNNING) {
        proc_kill(p, SIGKILL);
        reap(p);
    }
    if (p->state == PROC_RUNNING) {
        /* Waiting here could take for ever (a child in uninterruptible sleep): the source reaps. */
        p->abandoned = true;
        p->deadline_ms = 0;
        fd_close(&p->out_fd);
        fd_close(&p->err_fd);
        return;
    }
    release(p);
}
