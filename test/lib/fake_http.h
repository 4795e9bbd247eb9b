/* An HTTP server for unit tests, as a source of the same loop as the client under test: no thread, no
 * child, no port but one that the kernel chose. The handler writes raw bytes, so that every kind of
 * bad answer is possible. */
#ifndef PGHAD_TEST_FAKE_HTTP_H
#define PGHAD_TEST_FAKE_HTTP_H

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "loop/loop.h"

#define FAKE_CONNS 24
#define FAKE_LOG 64

struct fake_conn {
    int fd; /* -1 = free */
    unsigned serial; /* 1 for the first connection, and so on */
    struct buf in, out;
    bool bytewise; /* one byte a turn */
    bool close_after;
    bool reset_after;
    bool busy; /* answered by nothing yet, or a stream: reads no further request */
};

struct fake_request {
    struct fake_conn *conn;
    char line[2048]; /* "GET /path HTTP/1.1" */
    const char *head;
    const char *body;
};

struct fake_http {
    int fd;
    unsigned port;
    char url[64];
    struct fake_conn c[FAKE_CONNS];
    unsigned accepted;
    unsigned n_log;
    char log[FAKE_LOG][512]; /* request lines without the version, in order */
    void (*handler)(struct fake_http *f, const struct fake_request *r);
    void *ctx;
};

/* "Name: value" of the request's head contains text? */
static inline bool fake_has(const struct fake_request *r, const char *text)
{
    return strstr(r->head, text) != NULL;
}

static inline void fake_raw(const struct fake_request *r, const char *bytes)
{
    buf_puts(&r->conn->out, bytes);
}

static inline void fake_reply(const struct fake_request *r, int status, const char *type,
                              const char *extra, const char *body)
{
    buf_printf(&r->conn->out,
               "HTTP/1.1 %d X\r\nContent-Type: %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, type,
               extra ? extra : "", strlen(body), body);
}

static inline void fake_json(const struct fake_request *r, int status, const char *body)
{
    fake_reply(r, status, "application/json", NULL, body);
}

/* Opens a chunked stream; fake_chunk sends on it, fake_end ends it cleanly. */
static inline void fake_stream(const struct fake_request *r)
{
    r->conn->busy = true;
    buf_puts(&r->conn->out,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static inline void fake_chunk_n(struct fake_conn *c, const char *bytes, size_t len)
{
    buf_printf(&c->out, "%zx\r\n", len);
    buf_put(&c->out, bytes, len);
    buf_puts(&c->out, "\r\n");
}

static inline void fake_chunk(struct fake_conn *c, const char *bytes)
{
    fake_chunk_n(c, bytes, strlen(bytes));
}

static inline void fake_end(struct fake_conn *c)
{
    buf_puts(&c->out, "0\r\n\r\n");
    c->busy = false;
}

static inline void fake_drop(struct fake_conn *c)
{
    if (c->fd < 0)
        return;
    if (c->reset_after) {
        struct linger l = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    }
    close(c->fd);
    c->fd = -1;
    buf_done(&c->in);
    buf_done(&c->out);
}

static inline void fake_accept(struct fake_http *f)
{
    int fd;

    while ((fd = accept4(f->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        size_t i = 0;
        while (i < FAKE_CONNS && f->c[i].fd >= 0)
            i++;
        assert(i < FAKE_CONNS);
        /* Else the second piece of an answer waits 40 ms for the client's acknowledgement of the first. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        f->c[i] = (struct fake_conn){.fd = fd, .serial = ++f->accepted};
        buf_init(&f->c[i].in, 4 << 20);
        buf_init(&f->c[i].out, 64 << 20);
    }
}

static inline void fake_take_request(struct fake_http *f, struct fake_conn *c)
{
    char *end = strstr(buf_str(&c->in), "\r\n\r\n") ? strstr(c->in.data, "\r\n\r\n") : NULL;
    size_t body = 0;

    if (!end || c->busy)
        return;
    end[2] = '\0'; /* each line of the head keeps its end */
    const char *cl = strcasestr(c->in.data, "\r\nContent-Length:");
    if (cl)
        body = (size_t)strtoul(cl + 17, NULL, 10);
    size_t whole = (size_t)(end - c->in.data) + 4 + body;
    if (c->in.len < whole) {
        end[2] = '\r';
        return;
    }
    struct fake_request r = {.conn = c, .head = c->in.data, .body = end + 4};
    char *copy = strndup(r.body, body);
    r.body = copy;
    snprintf(r.line, sizeof(r.line), "%.*s", (int)strcspn(r.head, "\r"), r.head);
    if (f->n_log < FAKE_LOG)
        snprintf(f->log[f->n_log++], sizeof(f->log[0]), "%.*s",
                 (int)(strlen(r.line) > 9 ? strlen(r.line) - 9 : 0), r.line);
    f->handler(f, &r);
    free(copy);
    if (c->fd >= 0)
        buf_consume(&c->in, whole);
}

static inline void fake_flush(struct fake_conn *c)
{
    if (c->out.len) {
        ssize_t n = send(c->fd, c->out.data, c->bytewise ? 1 : c->out.len, MSG_NOSIGNAL);
        if (n > 0)
            buf_consume(&c->out, (size_t)n);
        else if (n < 0 && errno != EAGAIN)
            fake_drop(c);
    }
    if (c->fd >= 0 && c->out.len == 0 && c->close_after)
        fake_drop(c);
}

static inline void fake_prepare(void *ctx, struct loop *l)
{
    struct fake_http *f = ctx;

    loop_want(l, f->fd, POLLIN);
    for (size_t i = 0; i < FAKE_CONNS; i++) {
        if (f->c[i].fd < 0)
            continue;
        loop_want(l, f->c[i].fd, (short)(POLLIN | (f->c[i].out.len ? POLLOUT : 0)));
        if (f->c[i].close_after && f->c[i].out.len == 0)
            loop_wake_now(l);
    }
}

static inline void fake_dispatch(void *ctx, struct loop *l)
{
    struct fake_http *f = ctx;

    if (loop_revents(l, f->fd))
        fake_accept(f);
    for (size_t i = 0; i < FAKE_CONNS; i++) {
        struct fake_conn *c = &f->c[i];
        char chunk[65536];
        if (c->fd < 0)
            continue;
        ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            fake_drop(c);
            continue;
        }
        if (n > 0)
            buf_put(&c->in, chunk, (size_t)n);
        if (c->in.len)
            fake_take_request(f, c);
        if (c->fd >= 0)
            fake_flush(c);
    }
}

static inline void fake_http_init(struct fake_http *f,
                                  void (*handler)(struct fake_http *, const struct fake_request *),
                                  void *ctx)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int one = 1;

    memset(f, 0, sizeof(*f));
    f->handler = handler;
    f->ctx = ctx;
    for (size_t i = 0; i < FAKE_CONNS; i++)
        f->c[i].fd = -1;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert(f->fd >= 0 && bind(f->fd, (struct sockaddr *)&a, len) == 0 && listen(f->fd, 64) == 0);
    assert(getsockname(f->fd, (struct sockaddr *)&a, &len) == 0);
    f->port = ntohs(a.sin_port);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u", f->port);
}

static inline struct loop_source fake_http_source(struct fake_http *f)
{
    return (struct loop_source){
        .name = "fake", .ctx = f, .prepare = fake_prepare, .dispatch = fake_dispatch};
}

static inline void fake_http_done(struct fake_http *f)
{
    for (size_t i = 0; i < FAKE_CONNS; i++)
        fake_drop(&f->c[i]);
    close(f->fd);
}

#endif
