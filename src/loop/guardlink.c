/* The agent's end of the link. Reads every waiting status each turn and keeps the last one. */
#include "loop/guardlink.h"

#include <poll.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

struct guard_link {
    int fd;
    int page_fd;
    struct fence_page *page;
    uint32_t seq;
    bool lost;
    bool known;
    bool writable; /* the page's mark, seen before the messages that status is of */
    struct link_status status;
    struct link_msg msg; /* scratch: too big for comfort on the stack */
};

static bool env_fd(const char *name, int *ret, struct err *e)
{
    int64_t fd;
    if (!str_to_i64(getenv(name), 3, 1 << 20, &fd))
        return err_set(e, ERR_INVALID, "%s is not set: the agent is started by pghad only", name);
    *ret = (int)fd;
    return true;
}

struct guard_link *guard_link_new(struct err *e)
{
    int fd = -1, page_fd = -1;
    if (!env_fd(LINK_ENV_FD, &fd, e) || !env_fd(LINK_ENV_PAGE_FD, &page_fd, e))
        return NULL;
    return guard_link_open(fd, page_fd, e);
}

struct guard_link *guard_link_open(int link_fd, int page_fd, struct err *e)
{
    struct guard_link *g = calloc(1, sizeof(*g));
    must(g != NULL);
    g->fd = link_fd;
    g->page_fd = page_fd;
    if (!fd_set_cloexec(link_fd, true) || !fd_set_cloexec(page_fd, true)) {
        err_errno(e, ERR_INVALID, "descriptors %d and %d of guard", link_fd, page_fd);
        guard_link_free(g);
        return NULL;
    }
    if (!page_map(page_fd, &g->page, e)) {
        guard_link_free(g);
        return NULL;
    }
    g->writable = page_writable(g->page);
    guard_link_request_status(g, NULL);
    return g;
}

void guard_link_free(struct guard_link *g)
{
    if (!g)
        return;
    page_unmap(g->page);
    fd_close(&g->fd);
    fd_close(&g->page_fd);
    free(g);
}

static void source_prepare(void *ctx, struct loop *l)
{
    struct guard_link *g = ctx;
    if (!g->lost)
        loop_want(l, g->fd, POLLIN);
}

static void source_dispatch(void *ctx, struct loop *l)
{
    struct guard_link *g = ctx;
    bool before = g->writable;
    g->writable = page_writable(g->page);
    bool cleared = before && !g->writable; /* what guard said first may have come since the wait */
    if (g->lost || (!loop_revents(l, g->fd) && !cleared))
        return;
    for (;;) {
        switch (link_recv(g->fd, &g->msg)) {
        case LINK_IO_OK:
            if (g->msg.kind == LINK_STATUS) {
                g->status = g->msg.u.status;
                g->known = true;
            }
            continue;
        case LINK_IO_AGAIN:
            return;
        case LINK_IO_CLOSED:
        case LINK_IO_BAD:
            g->lost = true;
            return;
        }
    }
}

struct loop_source guard_link_source(struct guard_link *g)
{
    return (struct loop_source){
        .name = "guard", .ctx = g, .prepare = source_prepare, .dispatch = source_dispatch};
}

bool guard_link_lost(const struct guard_link *g)
{
    return g->lost;
}

const struct link_status *guard_link_status(const struct guard_link *g)
{
    return g->known ? &g->status : NULL;
}

struct fence_page *guard_link_page(const struct guard_link *g)
{
    return g->page;
}

bool guard_link_writable(const struct guard_link *g)
{
    return g->writable;
}

static uint32_t next_seq(struct guard_link *g)
{
    if (++g->seq == 0)
        g->seq = 1;
    return g->seq;
}

static uint32_t send_msg(struct guard_link *g, struct err *e)
{
    enum link_io io = link_send(g->fd, &g->msg);
    if (io == LINK_IO_OK)
        return g->msg.seq;
    if (io == LINK_IO_AGAIN) {
        err_set(e, ERR_TRANSIENT, "guard has not read its messages yet");
    } else {
        g->lost = true;
        err_set(e, ERR_FATAL, "guard is gone");
    }
    return 0;
}

bool guard_link_arm(struct guard_link *g, struct err *e)
{
    /* The mark first: once the message is in guard's queue, guard finds the mark set. */
    page_set_writable(g->page);
    g->writable = true;
    link_init(&g->msg, LINK_WATCH, next_seq(g));
    return send_msg(g, e) != 0;
}

bool guard_link_watch(struct guard_link *g, struct err *e)
{
    link_init(&g->msg, LINK_WATCH, next_seq(g));
    return send_msg(g, e) != 0;
}

uint32_t guard_link_start(struct guard_link *g, const char *bin, const char *data_dir,
                          const char *const *extra, struct err *e)
{
    link_init(&g->msg, LINK_START_POSTGRES, next_seq(g));
    if (!link_fill_start(&g->msg.u.start, bin, data_dir, extra, e))
        return 0;
    return send_msg(g, e);
}

uint32_t guard_link_signal(struct guard_link *g, int sig, struct err *e)
{
    link_init(&g->msg, LINK_SIGNAL_POSTGRES, next_seq(g));
    g->msg.u.signal.sig = sig;
    return send_msg(g, e);
}

uint32_t guard_link_kill_servers(struct guard_link *g, uint32_t term_ms, struct err *e)
{
    link_init(&g->msg, LINK_KILL_SERVERS, next_seq(g));
    g->msg.u.kill.term_ms = term_ms;
    return send_msg(g, e);
}

uint32_t guard_link_request_status(struct guard_link *g, struct err *e)
{
    link_init(&g->msg, LINK_STATUS_REQUEST, next_seq(g));
    return send_msg(g, e);
}

uint32_t guard_link_exit(struct guard_link *g, int code, struct err *e)
{
    link_init(&g->msg, LINK_EXIT, next_seq(g));
    g->msg.u.exit.code = code;
    return send_msg(g, e);
}
