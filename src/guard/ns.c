/* Becoming PID 1. Everything here happens once, before guard has children or locks. */
#include "guard/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

/* Does /proc show the namespace of this process? Otherwise the numbers in it are those of other
 * processes, and ending them would be a disaster. */
static bool proc_is_ours(void)
{
    char target[32], self[32];
    ssize_t n = readlink("/proc/self", target, sizeof(target) - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    return str_format(self, sizeof(self), "%d", (int)getpid()) && str_eq(target, self);
}

static bool mount_proc(struct err *e)
{
    /* Nothing of this may travel back to the mount namespace we came from. */
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return err_errno(e, ERR_FATAL, "make mounts private");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return err_errno(e, ERR_FATAL, "mount /proc of the new PID namespace");
    if (!proc_is_ours())
        return err_set(e, ERR_FATAL, "/proc shows another PID namespace");
    return true;
}

static bool write_text(const char *path, const char *text, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "open %s", path);
    bool ok = fd_write_all(fd, text, strlen(text), e) || err_wrap(e, "%s", path);
    fd_close(&fd);
    return ok;
}

/* The same numbers inside and outside, so that ownership on the volume means the same. */
static bool map_ids(uid_t uid, gid_t gid, struct err *e)
{
    char line[64];
    if (!write_text("/proc/self/setgroups", "deny", e)) /* user_namespaces(7) asks for it first */
        return false;
    if (!str_format(line, sizeof(line), "%u %u 1\n", (unsigned)uid, (unsigned)uid) ||
        !write_text("/proc/self/uid_map", line, e))
        return false;
    return str_format(line, sizeof(line), "%u %u 1\n", (unsigned)gid, (unsigned)gid) &&
           write_text("/proc/self/gid_map", line, e);
}

static bool unshare_all(struct err *e)
{
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) == 0)
        return true;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0)
        return err_errno(e, ERR_FATAL, "create a PID namespace, with or without a user namespace");
    return map_ids(uid, gid, e);
}

void ns_bind_life(int life_fd)
{
    if (life_fd < 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The parent is outside, so getppid() says 0 whether it lives or not; the pipe knows. */
    struct pollfd p = {.fd = life_fd, .events = POLLIN};
    if (poll(&p, 1, 0) > 0)
        _exit(1);
}

static void forward_set(sigset_t *set)
{
    static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
        sigaddset(set, forwarded[i]);
}

_Noreturn static void run_outer(pid_t inner)
{
    sigset_t set;
    forward_set(&set);
    for (;;) {
        int sig = sigwaitinfo(&set, NULL);
        if (sig < 0)
            continue;
        if (sig != SIGCHLD) {
            kill(inner, sig);
            continue;
        }
        int status;
        if (waitpid(inner, &status, WNOHANG) != inner)
            continue;
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
}

static bool ready_as_first(struct err *e)
{
    if (proc_is_ours())
        return true;
    if (unshare(CLONE_NEWNS) != 0)
        return err_errno(e, ERR_FATAL,
                         "PID 1, but /proc shows another namespace and cannot be replaced");
    return mount_proc(e);
}

bool ns_enter(int *ret_life_fd, struct err *e)
{
    *ret_life_fd = -1;
    if (getpid() == 1)
        return ready_as_first(e);

    int life[2];
    sigset_t set;
    forward_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL); /* a signal before the first wait must not be lost */
    if (pipe2(life, O_CLOEXEC) != 0)
        return err_errno(e, ERR_FATAL, "pipe");
    if (!unshare_all(e))
        return err_wrap(e, "pghad is not PID 1, and its guarantee needs a PID namespace of its own");
    pid_t inner = fork();
    if (inner < 0)
        return err_errno(e, ERR_FATAL, "fork into the PID namespace");
    if (inner > 0) {
        fd_close(&life[0]); /* the write end stays open for as long as this process lives */
        run_outer(inner);
    }
    fd_close(&life[1]);
    *ret_life_fd = life[0];
    ns_bind_life(life[0]);
    if (getpid() != 1)
        return err_set(e, ERR_BUG, "not the first process of the new PID namespace");
    return mount_proc(e);
}
