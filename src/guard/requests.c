/* The link: requests of the agent in, status out. A message is checked before it is believed. */
#include "guard/guard.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"

#define BATCH_MAX 16 /* messages per turn: a mad agent must not keep guard from its deadline */

void requests_done(struct guard *g, uint32_t seq, enum link_result result)
{
    g->status.done_seq = seq;
    g->status.done_result = (uint32_t)result;
    g->status_dirty = true;
    if (result != LINK_OK)
        log_event(LOG_WARNING, "request-refused", link_result_name((uint32_t)result),
                  LOG_I("seq", seq));
}

void requests_send_status(struct guard *g)
{
    if (!g->status_dirty || g->link_fd < 0)
        return;
    static struct link_msg msg;
    link_init(&msg, LINK_STATUS, 0);
    msg.u.status = g->status;
    /* A full queue keeps the mark: the turn asks for POLLOUT then. A dead agent shows by its end. */
    if (link_send(g->link_fd, &msg) != LINK_IO_AGAIN)
        g->status_dirty = false;
}

static void handle(struct guard *g, const struct link_msg *m)
{
    switch ((enum link_kind)m->kind) {
    case LINK_START_POSTGRES:
        servers_begin_start(g, m->seq, &m->u.start);
        return;
    case LINK_SIGNAL_POSTGRES:
        servers_signal(g, m->seq, m->u.signal.sig);
        return;
    case LINK_KILL_SERVERS:
        servers_begin_sweep(g, m->seq, m->u.kill.term_ms);
        return;
    case LINK_STATUS_REQUEST:
    case LINK_WATCH: /* that guard woke up and looks at the page is the whole effect */
        requests_done(g, m->seq, LINK_OK);
        return;
    case LINK_EXIT:
        guard_request_exit(g, m->u.exit.code & 0xff);
        return;
    case LINK_STATUS:
        requests_done(g, m->seq, LINK_INVALID);
        return;
    }
}

void requests_handle(struct guard *g, short revents)
{
    if (g->link_fd < 0 || !(revents & (POLLIN | POLLHUP | POLLERR)))
        return;
    static struct link_msg msg;
    for (int i = 0; i < BATCH_MAX && g->link_fd >= 0; i++) {
        switch (link_recv(g->link_fd, &msg)) {
        case LINK_IO_OK:
            handle(g, &msg);
            continue;
        case LINK_IO_AGAIN:
            return;
        case LINK_IO_BAD:
            log_event(LOG_ERROR, "agent-malformed", "the agent sent no message; it is restarted");
            break;
        case LINK_IO_CLOSED:
            break;
        }
        /* An agent without a link is of no use, and its end restarts it. */
        fd_close(&g->link_fd);
        if (g->agent_pid > 0)
            kill(g->agent_pid, SIGKILL);
    }
}
