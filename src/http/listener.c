/* The socket, the library's daemon without a thread, and the deadlines of connections. */
#include "listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

/* When every connection is taken, one that did nothing for this long gives way. */
#define USELESS_MS 1000

struct conn {
    bool used, dropped;
    int fd;
    int64_t since_ms;    /* accepted, or end of the last whole request */
    int64_t deadline_ms;
};

struct listener {
    struct listener_opts o;
    struct MHD_Daemon *daemon;
    int epoll_fd;
    uint16_t port;
    char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int64_t now_ms;
    int64_t next_check_ms;
    bool pending; /* the library has work that no descriptor announces */
    unsigned open;
    uint64_t dropped;
    struct conn conn[];
};

static void check_by(struct listener *l, int64_t at_ms)
{
    if (at_ms < l->next_check_ms)
        l->next_check_ms = at_ms;
}

static struct conn *take_conn(struct listener *l)
{
    for (unsigned i = 0; i < l->o.connections_max; i++)
        if (!l->conn[i].used)
            return &l->conn[i];
    return NULL;
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct listener *l = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct conn *k = *socket_context;
        if (k) {
            k->used = false;
            l->open--;
        }
        *socket_context = NULL;
        l->pending = true; /* a full daemon listens again only at the beginning of its next run */
        return;
    }
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *k = i ? take_conn(l) : NULL;
    *socket_context = k;
    if (!k)
        return;
    *k = (struct conn){.used = true,
                       .fd = i->connect_fd,
                       .since_ms = l->now_ms,
                       .deadline_ms = l->now_ms + l->o.request_ms};
    l->open++;
    check_by(l, l->open == l->o.connections_max ? l->now_ms : k->deadline_ms);
}

static struct conn *conn_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **req_cls)
{
    struct listener *l = cls;
    if (*req_cls == NULL) {
        struct conn *k = conn_of(c);
        if (k) {
            k->deadline_ms = l->now_ms + l->o.request_ms;
            check_by(l, k->deadline_ms);
        }
    }
    return l->o.handle(l->o.ctx, c, url, method, version, upload, upload_size, req_cls);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **req_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct listener *l = cls;
    struct conn *k = conn_of(c);
    if (k) {
        k->since_ms = l->now_ms;
        k->deadline_ms = l->now_ms + l->o.idle_ms;
        check_by(l, k->deadline_ms);
    }
    if (l->o.completed)
        l->o.completed(l->o.ctx, c, req_cls, code);
}

/* %00 must not end a path or a value early: what follows it would be ignored. */
static size_t unescape(void *cls, struct MHD_Connection *c, char *text)
{
    (void)cls, (void)c;
    size_t n = MHD_http_unescape(text);
    for (char *p = text; (p = memchr(p, '\0', n - (size_t)(p - text))) != NULL; p++)
        *p = '\1';
    return n;
}

/* The library owns the descriptor and closes it when it meets the end of the stream. */
static void drop(struct listener *l, struct conn *k)
{
    (void)shutdown(k->fd, SHUT_RDWR);
    k->dropped = true;
    l->dropped++;
    l->pending = true;
}

static void check_deadlines(struct listener *l)
{
    struct conn *oldest = NULL;
    l->next_check_ms = INT64_MAX;
    for (unsigned i = 0; i < l->o.connections_max; i++) {
        struct conn *k = &l->conn[i];
        if (!k->used || k->dropped)
            continue;
        if (k->deadline_ms <= l->now_ms) {
            drop(l, k);
            continue;
        }
        check_by(l, k->deadline_ms);
        if (!oldest || k->since_ms < oldest->since_ms)
            oldest = k;
    }
    if (l->open < l->o.connections_max || !oldest)
        return;
    if (l->now_ms - oldest->since_ms >= USELESS_MS)
        drop(l, oldest);
    check_by(l, l->now_ms + USELESS_MS);
}

/* --- the socket --- */

static bool split(const char *text, char *host, size_t host_size, char *port, size_t port_size)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !str_copy(port, port_size, colon + 1))
        return false;
    size_t n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= host_size)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    return true;
}

static int open_socket(const struct sockaddr *sa, socklen_t len, struct err *e, const char *what)
{
    int on = 1, off = 0;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        err_errno(e, ERR_FATAL, "socket for %s", what);
        return -1;
    }
    if (sa->sa_family != AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (sa->sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, sa, len) != 0 || listen(fd, LISTENER_BACKLOG) != 0) {
        err_errno(e, ERR_FATAL, "listen on %s", what);
        fd_close(&fd);
    }
    return fd;
}

static int open_address(const char *host, const char *port, const char *what, struct err *e)
{
    struct addrinfo *list = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    if (getaddrinfo(host, port, &hints, &list) != 0) {
        err_set(e, ERR_INVALID, "\"%s\" is not address:port", what);
        return -1;
    }
    int fd = open_socket(list->ai_addr, list->ai_addrlen, e, what);
    freeaddrinfo(list);
    return fd;
}

static int open_tcp(struct listener *l, struct err *e)
{
    char host[64], port[8];
    int64_t number;
    if (!split(l->o.listen, host, sizeof(host), port, sizeof(port)) ||
        !str_to_i64(port, 0, 65535, &number)) {
        err_set(e, ERR_INVALID, "\"%s\" is not address:port", l->o.listen);
        return -1;
    }
    /* Kubelets ask by the pod's first address, of either family; a kernel may be without IPv6. */
    int fd = open_address(host[0] ? host : "::", port, l->o.listen, e);
    if (fd < 0 && !host[0])
        fd = open_address("0.0.0.0", port, l->o.listen, e);
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (fd >= 0 && getsockname(fd, (struct sockaddr *)&ss, &len) == 0) {
        const void *p = &ss;
        l->port = ntohs(ss.ss_family == AF_INET6
                            ? ((const struct sockaddr_in6 *)p)->sin6_port
                            : ((const struct sockaddr_in *)p)->sin_port);
    }
    return fd;
}

/* A socket file left by a predecessor is replaced; anything else at that path is not ours. */
static int open_unix(struct listener *l, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    if (!str_copy(sa.sun_path, sizeof(sa.sun_path), l->o.unix_path)) {
        err_set(e, ERR_INVALID, "%s: too long for a socket", l->o.unix_path);
        return -1;
    }
    if (lstat(sa.sun_path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            err_set(e, ERR_INVALID, "%s exists and is not a socket", sa.sun_path);
            return -1;
        }
        (void)unlink(sa.sun_path);
    }
    char dir[sizeof(sa.sun_path)];
    (void)str_copy(dir, sizeof(dir), sa.sun_path);
    char *slash = strrchr(dir, '/');
    if (slash && slash != dir) {
        *slash = '\0';
        if (!fd_mkdirs(dir, 0755, e))
            return -1;
    }
    const void *p = &sa;
    int fd = open_socket(p, sizeof(sa), e, sa.sun_path);
    if (fd < 0)
        return -1;
    (void)chmod(sa.sun_path, 0660);
    (void)str_copy(l->unix_path, sizeof(l->unix_path), sa.sun_path);
    return fd;
}

static bool start_daemon(struct listener *l, int fd, struct err *e)
{
    /* Half of the connections for one address: a single stuck client leaves room for the probes. */
    unsigned per_ip = l->o.connections_max / 2;
    l->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, l,
        MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT,
        l->o.connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_ip,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LISTENER_REQUEST_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
        MHD_OPTION_END);
    const union MHD_DaemonInfo *i =
        l->daemon ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!i)
        return err_set(e, ERR_FATAL, "the HTTP library could not be started");
    l->epoll_fd = i->epoll_fd;
    return true;
}

struct listener *listener_new(const struct listener_opts *o, struct err *e)
{
    struct listener *l = calloc(1, sizeof(*l) + o->connections_max * sizeof(l->conn[0]));
    must(l != NULL);
    l->o = *o;
    l->epoll_fd = -1;
    l->next_check_ms = INT64_MAX;
    l->now_ms = clock_boot_ms();
    int fd = o->listen ? open_tcp(l, e) : open_unix(l, e);
    if (fd < 0 || !start_daemon(l, fd, e)) {
        if (!l->daemon)
            fd_close(&fd);
        listener_free(l);
        return NULL;
    }
    return l;
}

void listener_free(struct listener *l)
{
    if (!l)
        return;
    if (l->daemon)
        MHD_stop_daemon(l->daemon);
    if (l->unix_path[0])
        (void)unlink(l->unix_path);
    free(l);
}

void listener_kick(struct listener *l)
{
    l->pending = true;
}

void listener_prepare(struct listener *l, struct loop *lp)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    loop_want(lp, l->epoll_fd, POLLIN);
    if (MHD_get_timeout(l->daemon, &timeout) == MHD_YES) {
        if (timeout == 0)
            l->pending = true;
        else
            loop_wake_at(lp, loop_now(lp) + (int64_t)(timeout > 60000 ? 60000 : timeout));
    }
    if (l->pending)
        loop_wake_now(lp);
    else if (l->next_check_ms != INT64_MAX)
        loop_wake_at(lp, l->next_check_ms);
}

void listener_dispatch(struct listener *l, struct loop *lp)
{
    l->now_ms = loop_now(lp);
    if (l->now_ms >= l->next_check_ms)
        check_deadlines(l);
    if (!l->pending && loop_revents(lp, l->epoll_fd) == 0)
        return;
    l->pending = false;
    (void)MHD_run(l->daemon);
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

unsigned listener_open(const struct listener *l)
{
    return l->open;
}

uint64_t listener_dropped(const struct listener *l)
{
    return l->dropped;
}
