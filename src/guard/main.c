/* pghad: guard. Decides what kind of run this is, becomes PID 1 of a namespace and the database's
 * user, then guards. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/link.h"
#include "base/log.h"
#include "base/str.h"
#include "guard/fence.h"
#include "guard/guard.h"
#include "guard/ns.h"
#include "guard/spawn.h"
#include "guard/user.h"

#define MAX_GRACE_MS 86400000

static struct guard_config config;

static const char usage[] =
    "Usage: pghad [ARGUMENT...]\n"
    "PostgreSQL high availability on Kubernetes: the container's first process.\n"
    "\n"
    "pghad guards: it starts pghad-agent with the same arguments, starts and ends PostgreSQL for\n"
    "it, and ends every process when the right to be writable has run out.\n"
    "\n"
    "  --help             this text\n"
    "  --version          version\n"
    "  --rules, --check-config, --print-..., --replay, --record-text\n"
    "                     run by pghad-agent in the foreground, nothing is started\n"
    "\n"
    "Environment (everything else is the agent's):\n"
    "  PGDATA             data directory (default /var/lib/postgresql/data);\n"
    "                     PGHA_POSTGRES_DATA_DIR goes before it\n"
    "  PGHA_STATE_DIR     directory of locks and state on the same volume\n"
    "                     (default: pghad beside the data directory)\n"
    "  PGHA_USER          user to become when started as root: a name, or uid:gid\n"
    "                     (default postgres)\n"
    "  PGHA_GRACE_MS      milliseconds from SIGTERM until guard stops everything by itself\n"
    "                     (default 100000)\n"
    "  PGHA_AGENT         the agent's program (default: pghad-agent beside this one)\n"
    "\n"
    "Exit code: the agent's choice after an orderly stop; 128 + signal when guard had to stop by\n"
    "itself; 1 when it cannot start.\n";

static const char *env_or(const char *name, const char *other)
{
    const char *s = getenv(name);
    return s && s[0] ? s : other;
}

static bool runs_in_foreground(const char *arg)
{
    return str_starts(arg, "--rules") || str_eq(arg, "--check-config") ||
           str_starts(arg, "--print-") || str_eq(arg, "--replay") || str_starts(arg, "--record-text");
}

static bool take_path(const char *s, const char *what, char *dst, size_t size, struct err *e)
{
    if (s[0] != '/')
        return err_set(e, ERR_INVALID, "%s must be an absolute path: %.200s", what, s);
    return str_copy(dst, size, s) ||
           err_set(e, ERR_INVALID, "%s is too long: a path of %zu characters, %zu are possible", what,
                   strlen(s), size - 1);
}

static bool take_paths(char *data_dir, size_t size, struct err *e)
{
    const char *data = env_or("PGHA_POSTGRES_DATA_DIR", env_or("PGDATA", "/var/lib/postgresql/data"));
    if (!take_path(data, "the data directory (PGDATA)", data_dir, size, e))
        return false;
    for (size_t n = strlen(data_dir); n > 1 && data_dir[n - 1] == '/'; n--)
        data_dir[n - 1] = '\0';
    const char *state = getenv("PGHA_STATE_DIR");
    if (state && state[0])
        return take_path(state, "PGHA_STATE_DIR", config.state_dir, sizeof(config.state_dir), e);
    const char *slash = strrchr(data_dir, '/');
    return str_format(config.state_dir, sizeof(config.state_dir), "%.*s/pghad",
                      (int)(slash - data_dir), data_dir) ||
           err_set(e, ERR_INVALID, "the path of the data directory is too long");
}

/* The agent must agree on the state directory, and finds its descriptors by name. */
static bool set_environment(struct err *e)
{
    char fd[16];
    if (setenv("PGHA_STATE_DIR", config.state_dir, 1) != 0 ||
        !str_format(fd, sizeof(fd), "%d", SPAWN_LINK_FD) || setenv(LINK_ENV_FD, fd, 1) != 0 ||
        !str_format(fd, sizeof(fd), "%d", SPAWN_PAGE_FD) || setenv(LINK_ENV_PAGE_FD, fd, 1) != 0)
        return err_errno(e, ERR_FATAL, "set the environment");
    return true;
}

static bool prepare(struct err *e)
{
    char data_dir[PATH_MAX];
    if (!str_to_i64(env_or("PGHA_GRACE_MS", "100000"), 0, MAX_GRACE_MS, &config.grace_ms))
        return err_set(e, ERR_INVALID, "PGHA_GRACE_MS: want 0 to %d", MAX_GRACE_MS);
    if (!take_paths(data_dir, sizeof(data_dir), e) || !set_environment(e))
        return false;
    if (!ns_enter(&config.life_fd, e))
        return false;
    config.life_fd = spawn_high_fd(config.life_fd);
    log_setup("guard", LOG_INFO); /* while still root: the log pipe may belong to root */
    fence_prepare();
    if (!user_become(env_or("PGHA_USER", "postgres"), data_dir, config.state_dir, e))
        return false;
    ns_bind_life(config.life_fd);
    return true;
}

static void open_standard_fds(void)
{
    struct stat st;
    for (int fd = 0; fd < 3; fd++)
        if (fstat(fd, &st) != 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) < 0)
            _exit(1);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    open_standard_fds();
    log_setup("guard", LOG_INFO);
    if (argc > 1 && str_eq(argv[1], "--help")) {
        fputs(usage, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (argc > 1 && str_eq(argv[1], "--version")) {
        puts("pghad " PGHAD_VERSION);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (!spawn_find_agent(config.agent_path, sizeof(config.agent_path), &e))
        goto fail;
    config.argv = argv;
    argv[0] = config.agent_path;
    if (argc > 1 && runs_in_foreground(argv[1])) {
        execv(config.agent_path, argv);
        err_errno(&e, ERR_FATAL, "run %s", config.agent_path);
        goto fail;
    }
    sigset_t set;
    guard_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (prepare(&e))
        guard_run(&config, &e);
fail:
    log_event(LOG_ERROR, "guard-refused", e.msg);
    return 1;
}
