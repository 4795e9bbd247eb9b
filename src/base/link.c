/* Packing, checking, sending and receiving of link messages. No heap: guard uses this. */
#include "base/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/must.h"
#include "base/str.h"

#define HEADER_BYTES offsetof(struct link_msg, u)

size_t link_size(uint32_t kind)
{
    switch (kind) {
    case LINK_START_POSTGRES:
        return HEADER_BYTES + sizeof(struct link_start);
    case LINK_SIGNAL_POSTGRES:
        return HEADER_BYTES + sizeof(struct link_signal);
    case LINK_KILL_SERVERS:
        return HEADER_BYTES + sizeof(struct link_kill);
    case LINK_STATUS_REQUEST:
    case LINK_WATCH:
        return HEADER_BYTES;
    case LINK_EXIT:
        return HEADER_BYTES + sizeof(struct link_exit);
    case LINK_STATUS:
        return HEADER_BYTES + sizeof(struct link_status);
    default:
        return 0;
    }
}

void link_init(struct link_msg *m, enum link_kind kind, uint32_t seq)
{
    memset(m, 0, sizeof(*m));
    m->version = LINK_VERSION;
    m->kind = (uint32_t)kind;
    m->seq = seq;
    m->size = (uint32_t)link_size((uint32_t)kind);
    must(m->size != 0);
}

enum link_io link_send(int fd, const struct link_msg *m)
{
    ssize_t n;
    do
        n = send(fd, m, m->size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)m->size)
        return LINK_IO_OK;
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
        return LINK_IO_AGAIN;
    return LINK_IO_CLOSED;
}

enum link_io link_recv(int fd, struct link_msg *ret)
{
    ssize_t n;
    do
        n = recv(fd, ret, sizeof(*ret), MSG_DONTWAIT | MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return LINK_IO_AGAIN;
    if (n <= 0)
        return LINK_IO_CLOSED;
    if ((size_t)n < HEADER_BYTES || ret->version != LINK_VERSION || ret->size != (uint32_t)n ||
        link_size(ret->kind) != (size_t)n)
        return LINK_IO_BAD;
    return LINK_IO_OK;
}

bool link_fill_start(struct link_start *s, const char *bin, const char *data_dir,
                     const char *const *extra, struct err *e)
{
    memset(s, 0, sizeof(*s));
    if (!str_copy(s->bin, sizeof(s->bin), bin) ||
        !str_copy(s->data_dir, sizeof(s->data_dir), data_dir))
        return err_set(e, ERR_INVALID, "path of postgres or its data directory too long");
    size_t used = 0;
    for (; extra && extra[s->nargs]; s->nargs++) {
        const char *arg = extra[s->nargs];
        if (s->nargs == LINK_ARGS_MAX || !str_copy(s->args + used, sizeof(s->args) - used, arg))
            return err_set(e, ERR_INVALID, "arguments of postgres too long or too many");
        used += strlen(arg) + 1;
    }
    return true;
}

bool link_start_argv(const struct link_start *s, const char **argv)
{
    if (!memchr(s->bin, '\0', sizeof(s->bin)) || s->bin[0] != '/' ||
        !memchr(s->data_dir, '\0', sizeof(s->data_dir)) || s->data_dir[0] != '/' ||
        s->nargs > LINK_ARGS_MAX)
        return false;
    size_t n = 0;
    argv[n++] = s->bin;
    argv[n++] = "-D";
    argv[n++] = s->data_dir;
    const char *at = s->args;
    const char *end = s->args + sizeof(s->args);
    for (uint32_t i = 0; i < s->nargs; i++) {
        const char *nul = memchr(at, '\0', (size_t)(end - at));
        if (!nul)
            return false;
        argv[n++] = at;
        at = nul + 1;
    }
    argv[n] = NULL;
    return true;
}

const char *link_result_name(uint32_t result)
{
    static const char *const names[] = {
        [LINK_OK] = "ok",
        [LINK_BUSY] = "busy",
        [LINK_RUNNING] = "running",
        [LINK_NOT_RUNNING] = "not-running",
        [LINK_STUCK] = "stuck",
        [LINK_UNKNOWN] = "unknown",
        [LINK_STOPPING] = "stopping",
        [LINK_INVALID] = "invalid",
        [LINK_FAILED] = "failed",
    };
    return result < sizeof(names) / sizeof(names[0]) ? names[result] : "?";
}

const char *link_lock_name(uint32_t lock)
{
    static const char *const names[] = {
        [LINK_LOCK_UNKNOWN] = "unknown",
        [LINK_LOCK_FREE] = "free",
        [LINK_LOCK_HELD] = "held",
    };
    return lock < sizeof(names) / sizeof(names[0]) ? names[lock] : "?";
}
