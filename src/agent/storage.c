/* Whether the volume takes writes: a small file beside the data directory, written and synced now and then
 * while this member may be writable.
 *
 * A child does it, since the call may never return: what sleeps on a volume cannot be ended, not even by
 * SIGKILL. A child that has not come back is the answer; another one is not sent after it. That a write
 * fails (no space, read-only) is an answer, too: PostgreSQL says what is wrong then. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"

#define TELL_MS 2000

_Noreturn static void write_and_exit(const struct agent *a)
{
    char path[PG_PATH_SIZE];
    if (close_range(3, ~0u, 0) != 0 || !pg_path(path, a->env.state_dir, "volume.probe"))
        _exit(1);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        _exit(1);
    _exit(pwrite(fd, "writable", 8, 0) == 8 && fdatasync(fd) == 0 ? 0 : 1);
}

static void came_back(struct storage *s, int64_t now)
{
    if (s->told)
        log_event(LOG_WARNING, "volume-answers", "the volume takes writes again",
                  LOG_I("after_ms", now - s->since_ms));
    s->probe = 0;
    s->told = false;
}

int64_t storage_look(struct agent *a, int64_t now)
{
    struct storage *s = &a->storage;
    if (s->probe != 0 && waitpid(s->probe, NULL, WNOHANG) != 0)
        came_back(s, now);
    if (s->probe != 0 && !s->told && now - s->since_ms >= TELL_MS) {
        s->told = true;
        log_event(LOG_WARNING, "volume-silent", "a small write to the volume does not come back",
                  LOG_S("path", a->env.state_dir));
    }
    if (s->probe == 0 && page_writable(a->page) && now >= s->next_ms) {
        pid_t pid = fork();
        if (pid == 0)
            write_and_exit(a);
        s->next_ms = now + a->set.lease_ms / 2;
        s->probe = pid > 0 ? pid : 0;
        s->since_ms = now;
    }
    return s->probe != 0 ? s->since_ms : 0;
}
