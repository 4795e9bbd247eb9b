/* Listeners, connections and the loop. The listening sockets are ours, not libmicrohttpd's, so
 * that an outage really refuses connections and ends on the same port. */
#include "devkube/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "devkube/server_internal.h"
#include "devkube/slices.h"

#define BACKLOG 512
#define IDLE_TIMEOUT_S 90u /* as the real server */
#define CONNECTIONS_MAX 4000u
#define GONE_CHECK_MS 250

/* --- connections --- */

static void source_text(const struct sockaddr *sa, char *dst, size_t size)
{
    const void *at = sa->sa_family == AF_INET6
                         ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr
                         : (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    if (!inet_ntop(sa->sa_family, at, dst, (socklen_t)size))
        dst[0] = '\0';
}

static void set_reset_on_close(int fd)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

void conn_reset(struct conn *c)
{
    c->dead = true;
    set_reset_on_close(c->fd);
    shutdown(c->fd, SHUT_RDWR);
    if (c->ex)
        exchange_resume(c->ex);
}

static void conn_started(struct server *sv, struct MHD_Connection *mc, void **ctx)
{
    struct conn *c = calloc(1, sizeof(*c));
    must(c);
    c->sv = sv;
    c->fd = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    source_text(MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
                c->source, sizeof(c->source));
    c->next = sv->conns;
    if (c->next)
        c->next->prev = c;
    sv->conns = c;
    *ctx = c;
}

static void conn_closed(struct conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->sv->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        conn_started(cls, mc, ctx);
    else if (*ctx)
        conn_closed(*ctx);
}

/* --- listeners --- */

static bool parse_listen(struct listener *ln, const char *text, struct err *e)
{
    char host[128];
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (!colon || n >= sizeof(host))
        return err_set(e, ERR_INVALID, "\"%s\" is not ADDR:PORT", text);
    bool bracket = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    must(str_format(host, sizeof(host), "%.*s", (int)(bracket ? n - 2 : n), text + bracket));
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai;
    if (getaddrinfo(host, colon + 1, &hints, &ai) != 0)
        return err_set(e, ERR_INVALID, "\"%s\" is not ADDR:PORT", text);
    memcpy(&ln->addr, ai->ai_addr, ai->ai_addrlen);
    ln->addr_len = ai->ai_addrlen;
    freeaddrinfo(ai);
    return true;
}

static bool listener_open(struct listener *ln, struct err *e)
{
    int on = 1;
    int fd = socket(ln->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    struct sockaddr *sa = (struct sockaddr *)&ln->addr;
    if (bind(fd, sa, ln->addr_len) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, sa, &ln->addr_len) < 0) {
        err_errno(e, ERR_FATAL, "listen");
        close(fd);
        return false;
    }
    ln->fd = fd;
    return true;
}

static int listener_port(const struct listener *ln)
{
    return ntohs(ln->addr.ss_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)&ln->addr)->sin6_port
                     : ((const struct sockaddr_in *)&ln->addr)->sin_port);
}

static bool listener_start(struct listener *ln, struct server *sv, const char *text, bool tls,
                           struct err *e)
{
    if (!parse_listen(ln, text, e) || !listener_open(ln, e))
        return false;
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                     (tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem keys[] = {
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)sv->opt.tls_key},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)sv->opt.tls_cert},
        {MHD_OPTION_END, 0, NULL}};
    ln->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, exchange_on_request, sv, MHD_OPTION_ARRAY, tls ? keys : keys + 2,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_LIMIT,
        CONNECTIONS_MAX, MHD_OPTION_NOTIFY_COMPLETED, exchange_on_done, sv,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, sv, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)64 << 10, MHD_OPTION_END);
    if (!ln->daemon)
        return err_set(e, ERR_FATAL, "cannot start the HTTP daemon%s",
                       tls ? " (TLS key and certificate?)" : "");
    return true;
}

static void listener_accept(struct listener *ln, struct server *sv)
{
    for (;;) {
        int on = 1;
        struct sockaddr_storage from;
        socklen_t len = sizeof(from);
        char source[INET6_ADDRSTRLEN];
        int fd = accept4(ln->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        source_text((struct sockaddr *)&from, source, sizeof(source));
        if (ln == &sv->main && faults_refuse(sv->faults, source)) {
            set_reset_on_close(fd);
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        MHD_add_connection(ln->daemon, fd, (struct sockaddr *)&from, len);
    }
}

static void listener_stop(struct listener *ln)
{
    fd_close(&ln->fd);
    if (ln->daemon)
        MHD_stop_daemon(ln->daemon);
    ln->daemon = NULL;
}

/* --- the server --- */

static void on_change(void *ctx, const struct resource *res, const struct change *c)
{
    struct server *sv = ctx;
    if (str_eq(res->kind, "Lease"))
        journal_lease(sv->journal, c, sv->api.actor);
    exchange_wake_watches(sv, res);
    if (str_eq(res->kind, "Pod") || str_eq(res->kind, "Service"))
        slices_sync(sv->api.st, jx_str_or(c->json, "metadata.namespace", ""));
}

static void add_namespace(struct store *st, const char *name)
{
    struct json_object *o = json_object_new_object();
    jx_set_str(jx_need(o, "metadata"), "name", name);
    jx_set_str(jx_need(o, "metadata"), "uid", name);
    jx_set_str(jx_need(o, "status"), "phase", "Active");
    store_put(st, store_find_resource("", "v1", "namespaces"), "", name, o);
}

struct server *server_new(const struct server_options *opt, struct err *e)
{
    struct server *sv = calloc(1, sizeof(*sv));
    must(sv);
    sv->opt = *opt;
    sv->main.fd = sv->control.fd = -1;
    sv->api.st = store_new(opt->history);
    sv->api.bookmark_ms = opt->bookmark_ms;
    sv->faults = faults_new(sv->api.st);
    sv->journal = journal_new(opt->log_max);
    store_listen(sv->api.st, on_change, sv);
    add_namespace(sv->api.st, "default");
    add_namespace(sv->api.st, "kube-system");
    if (!listener_start(&sv->main, sv, opt->listen, opt->tls_cert != NULL, e) ||
        (opt->control && !listener_start(&sv->control, sv, opt->control, false, e))) {
        server_free(sv);
        return NULL;
    }
    return sv;
}

void server_free(struct server *sv)
{
    if (!sv)
        return;
    for (struct conn *c = sv->conns; c; c = c->next)
        conn_reset(c);
    /* libmicrohttpd must not be stopped with suspended connections; a turn takes them back. */
    if (sv->main.daemon)
        MHD_run(sv->main.daemon);
    if (sv->control.daemon)
        MHD_run(sv->control.daemon);
    listener_stop(&sv->main);
    listener_stop(&sv->control);
    faults_free(sv->faults);
    store_listen(sv->api.st, NULL, NULL);
    store_unref(sv->api.st);
    journal_free(sv->journal);
    free(sv);
}

int server_port(const struct server *sv, bool control)
{
    return listener_port(control ? &sv->control : &sv->main);
}

struct store *server_store(struct server *sv)
{
    return sv->api.st;
}

struct faults *server_faults(struct server *sv)
{
    return sv->faults;
}

struct journal *server_journal(struct server *sv)
{
    return sv->journal;
}

bool server_has_control(const struct server *sv)
{
    return sv->control.daemon != NULL;
}

bool server_is_down(const struct server *sv)
{
    return sv->down_until_ms != 0;
}

void server_wake_watches(struct server *sv, const struct resource *res)
{
    exchange_wake_watches(sv, res);
}

void server_counts(const struct server *sv, int64_t *connections, int64_t *watches)
{
    *connections = 0;
    for (const struct conn *c = sv->conns; c; c = c->next)
        ++*connections;
    *watches = exchange_count_watches(sv);
}

static bool conn_is_control(const struct conn *c)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof(local);
    struct listener at = {.fd = -1};
    if (!c->sv->control.daemon || getsockname(c->fd, (struct sockaddr *)&local, &len) < 0)
        return false;
    at.addr = local;
    return listener_port(&at) == listener_port(&c->sv->control);
}

void server_down(struct server *sv, int64_t for_ms)
{
    sv->down_until_ms = for_ms > 0 ? clock_boot_ms() + for_ms : INT64_MAX;
    fd_close(&sv->main.fd);
    for (struct conn *c = sv->conns; c; c = c->next) {
        if (c != sv->active && !conn_is_control(c))
            conn_reset(c);
    }
}

void server_up(struct server *sv)
{
    struct err e;
    if (sv->down_until_ms == 0)
        return;
    sv->down_until_ms = 0;
    if (!listener_open(&sv->main, &e)) {
        fprintf(stderr, "devkube: %s\n", e.msg);
        exit(1); /* somebody took the port: no test can go on */
    }
}

static int wait_ms(struct server *sv, int64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG idle;
    int64_t at = exchange_wake_due(sv, now_ms);
    if (sv->suspended && sv->gone_check_at_ms < at)
        at = sv->gone_check_at_ms;
    if (sv->down_until_ms && sv->down_until_ms < at)
        at = sv->down_until_ms;
    int64_t ms = sv->turns_due > 0 ? 0 : at - now_ms;
    sv->turns_due -= sv->turns_due > 0;
    if (MHD_get_timeout(sv->main.daemon, &idle) == MHD_YES && (int64_t)idle < ms)
        ms = (int64_t)idle;
    if (sv->control.daemon && MHD_get_timeout(sv->control.daemon, &idle) == MHD_YES &&
        (int64_t)idle < ms)
        ms = (int64_t)idle;
    return ms < 0 ? 0 : ms > 1000 ? 1000 : (int)ms;
}

static void timers(struct server *sv, int64_t now_ms)
{
    if (sv->down_until_ms && now_ms >= sv->down_until_ms)
        server_up(sv);
    if (now_ms < sv->gone_check_at_ms)
        return;
    exchange_drop_gone(sv);
    sv->gone_check_at_ms = now_ms + GONE_CHECK_MS;
}

static int epoll_fd_of(const struct listener *ln)
{
    if (!ln->daemon)
        return -1;
    return MHD_get_daemon_info(ln->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void server_run(struct server *sv, const volatile sig_atomic_t *stop)
{
    while (!*stop) {
        int64_t now = clock_boot_ms();
        timers(sv, now);
        struct pollfd fds[] = {{.fd = sv->main.fd, .events = POLLIN},
                               {.fd = sv->control.fd, .events = POLLIN},
                               {.fd = epoll_fd_of(&sv->main), .events = POLLIN},
                               {.fd = epoll_fd_of(&sv->control), .events = POLLIN}};
        int n = poll(fds, sizeof(fds) / sizeof(fds[0]), wait_ms(sv, now));
        must(n >= 0 || errno == EINTR);
        if (n > 0 && fds[0].revents)
            listener_accept(&sv->main, sv);
        if (n > 0 && fds[1].revents)
            listener_accept(&sv->control, sv);
        MHD_run(sv->main.daemon);
        if (sv->control.daemon)
            MHD_run(sv->control.daemon);
    }
}
