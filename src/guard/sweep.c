/* Finding processes in /proc. Backends are sessions of their own, so no process group covers them. */
#include "guard/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define DEPTH_MAX 64

bool sweep_parse_stat(const char *text, struct sweep_proc *ret)
{
    const char *open = strchr(text, '(');
    const char *close = strrchr(text, ')');
    if (!open || !close || close < open || open == text || open[-1] != ' ')
        return false;
    char num[24];
    int64_t pid, ppid;
    size_t len = (size_t)(open - 1 - text);
    if (len >= sizeof(num))
        return false;
    memcpy(num, text, len);
    num[len] = '\0';
    if (!str_to_i64(num, 1, INT32_MAX, &pid))
        return false;
    if (close[1] != ' ' || close[2] == '\0' || close[3] != ' ')
        return false;
    const char *from = close + 4;
    const char *to = strchr(from, ' ');
    if (!to || (size_t)(to - from) >= sizeof(num))
        return false;
    memcpy(num, from, (size_t)(to - from));
    num[to - from] = '\0';
    if (!str_to_i64(num, 0, INT32_MAX, &ppid))
        return false;
    len = (size_t)(close - open - 1);
    if (len >= sizeof(ret->comm))
        len = sizeof(ret->comm) - 1;
    memcpy(ret->comm, open + 1, len);
    ret->comm[len] = '\0';
    ret->pid = (pid_t)pid;
    ret->ppid = (pid_t)ppid;
    ret->state = close[2];
    return true;
}

bool sweep_wants(const struct sweep_proc *p, enum sweep_origin origin, bool force)
{
    if (p->pid == 1 || p->state == 'Z' || p->state == 'X')
        return false;
    switch (origin) {
    case SWEEP_OF_GUARD:
        return true;
    case SWEEP_OF_AGENT:
        return false;
    case SWEEP_FROM_OUTSIDE:
        return force || str_eq(p->comm, "postgres");
    }
    return true;
}

static bool read_stat(pid_t pid, struct sweep_proc *ret)
{
    char path[40], text[512];
    if (!str_format(path, sizeof(path), "/proc/%d/stat", (int)pid))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    fd_close(&fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return sweep_parse_stat(text, ret);
}

/* Walks up the parents. One that vanishes meanwhile has left its children to guard. */
static enum sweep_origin origin_of(const struct sweep_proc *p, pid_t agent)
{
    struct sweep_proc at = *p;
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        if (agent > 0 && (at.pid == agent || at.ppid == agent))
            return SWEEP_OF_AGENT;
        if (at.ppid == 1)
            return SWEEP_OF_GUARD;
        if (at.ppid == 0)
            return SWEEP_FROM_OUTSIDE;
        if (!read_stat(at.ppid, &at))
            return SWEEP_OF_GUARD;
    }
    return SWEEP_OF_GUARD;
}

static unsigned visit(const char *name, pid_t agent, pid_t probe, int sig, bool force)
{
    int64_t pid;
    struct sweep_proc p;
    if (!str_to_i64(name, 2, INT32_MAX, &pid) || pid == probe ||
        !read_stat((pid_t)pid, &p))
        return 0;
    if (!sweep_wants(&p, origin_of(&p, agent), force))
        return 0;
    kill(p.pid, sig);
    return 1;
}

unsigned sweep_signal(pid_t agent, pid_t probe, int sig, bool force)
{
    must(getpid() == 1);
    static union {
        struct dirent64 align;
        char bytes[8192];
    } room;
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    unsigned found = 0;
    ssize_t n;
    while ((n = getdents64(fd, room.bytes, sizeof(room.bytes))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(room.bytes + at);
            found += visit(d->d_name, agent, probe, sig, force);
            at += d->d_reclen;
        }
    }
    fd_close(&fd);
    return found;
}

unsigned sweep_orphans(pid_t agent, pid_t probe)
{
    must(getpid() == 1);
    char text[4096];
    unsigned found = 0;
    int64_t pid = 0;
    int fd = open("/proc/self/task/1/children", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* a kernel without CONFIG_PROC_CHILDREN */
    ssize_t n;
    while ((n = read(fd, text, sizeof(text))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9' && pid <= INT32_MAX) {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            if (pid > 1 && pid <= INT32_MAX && pid != agent && pid != probe && kill((pid_t)pid, SIGKILL) == 0)
                found++;
            pid = 0;
        }
    }
    fd_close(&fd);
    return found;
}
