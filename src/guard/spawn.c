/* fork and exec. Between them only calls that are safe there, on memory that was ready before. */
#include "guard/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "guard/locks.h"

#define HIGH_FD 10

int spawn_high_fd(int fd)
{
    if (fd < 0 || fd >= HIGH_FD)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    fd_close(&fd);
    return high;
}

bool spawn_find_agent(char *dst, size_t size, struct err *e)
{
    const char *given = getenv("PGHA_AGENT");
    if (given && given[0]) {
        if (!str_copy(dst, size, given))
            return err_set(e, ERR_INVALID, "PGHA_AGENT is too long");
        if (access(dst, X_OK) != 0)
            return err_errno(e, ERR_INVALID, "PGHA_AGENT %s", dst);
        return true;
    }
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (n <= 0)
        return err_errno(e, ERR_FATAL, "read /proc/self/exe");
    exe[n] = '\0';
    const char *dir = dirname(exe);
    static const char *const places[] = {"pghad-agent", "../lib/pghad/pghad-agent"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (str_format(dst, size, "%s/%s", dir, places[i]) && access(dst, X_OK) == 0)
            return true;
    return err_set(e, ERR_INVALID, "pghad-agent is neither in %s nor in %s/../lib/pghad", dir, dir);
}

static void reset_child(void)
{
    setsid();
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_from(int first)
{
    if (close_range((unsigned)first, ~0U, 0) == 0)
        return;
    for (int fd = first; fd < 4096; fd++) /* kernels before 5.9 */
        close(fd);
}

_Noreturn static void fail_exec(const char *path)
{
    dprintf(STDERR_FILENO, "pghad: cannot run %s: %s\n", path, strerror(errno));
    _exit(LINK_EXIT_NO_EXEC);
}

pid_t spawn_agent(const char *path, char *const *argv, int link_fd, int page_fd)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    reset_child();
    if (dup2(link_fd, SPAWN_LINK_FD) < 0 || dup2(page_fd, SPAWN_PAGE_FD) < 0)
        _exit(LINK_EXIT_NO_EXEC);
    close_from(SPAWN_PAGE_FD + 1);
    execv(path, argv);
    fail_exec(path);
}

/* stdin from /dev/null; stdout and stderr are the log stream of the container. */
static void no_input(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        dup2(fd, STDIN_FILENO);
}

/* server.lock is ours, so no server of guard's is alive. After a SIGKILL postmaster.pid still names one, and
 * in a new namespace its number may be that of guard or the agent: PostgreSQL would take that for a
 * postmaster and refuse to start, for as long as they live. Any other process is left for it to judge. */
static void forget_dead_postmaster(const char *data_dir)
{
    char path[PATH_MAX], text[32] = "";
    int64_t pid = 0;
    if (!str_format(path, sizeof(path), "%s/postmaster.pid", data_dir))
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    fd_close(&fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    char comm[PATH_MAX], name[32] = "";
    if (!str_to_i64(text, 1, INT32_MAX, &pid) ||
        !str_format(comm, sizeof(comm), "/proc/%d/comm", (int)pid))
        return;
    fd = open(comm, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* there is no such process, and PostgreSQL sees that itself */
    n = read(fd, name, sizeof(name) - 1);
    fd_close(&fd);
    if (n > 0 && strncmp(name, "pghad", strlen("pghad")) == 0)
        (void)unlink(path);
}

/* What the commit gate in the server needs; it closes the descriptor. False: not to be had. */
static bool pass_page(int gate_fd)
{
    char text[12];
    if (gate_fd < 0)
        return false;
    return dup2(gate_fd, SPAWN_GATE_FD) == SPAWN_GATE_FD &&
           str_format(text, sizeof(text), "%d", SPAWN_GATE_FD) &&
           setenv(PAGE_ENV_SERVER_FD, text, 1) == 0;
}

pid_t spawn_postgres(const struct link_start *start, const char *lock_path, int gate_fd)
{
    const char *argv[LINK_ARGS_MAX + 4];
    if (!link_start_argv(start, argv)) {
        errno = EINVAL;
        return -1;
    }
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    reset_child();
    no_input();
    unsetenv(PAGE_ENV_SERVER_FD);
    close_from(pass_page(gate_fd) ? SPAWN_GATE_FD + 1 : SPAWN_GATE_FD);
    unsetenv(LINK_ENV_FD);
    unsetenv(LINK_ENV_PAGE_FD);
    /* Guard has no copy of this description: it is the server's alone and ends with its last
     * process. */
    int fd = locks_take_inherited(lock_path);
    if (fd < 0)
        _exit(fd == -1 ? LINK_EXIT_LOCK_HELD : LINK_EXIT_LOCK_ERROR);
    forget_dead_postmaster(start->data_dir);
    execv(start->bin, (char *const *)(uintptr_t)argv);
    fail_exec(start->bin);
}

pid_t spawn_probe(const char *lock_path)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    reset_child();
    close_from(3); /* guard.lock too: a probe that hangs must not keep it */
    locks_probe(lock_path);
}
