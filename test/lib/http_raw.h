/* For tests of servers: a loop, raw sockets on loopback, and waiting with a deadline. */
#ifndef PGHAD_TEST_HTTP_RAW_H
#define PGHAD_TEST_HTTP_RAW_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "loop/loop.h"

#define RAW_MAX 262144
#define RAW_WAIT_MS 5000

struct raw {
    int fd;
    size_t len;
    bool closed;
    char data[RAW_MAX];
};

static inline int raw_connect(uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const void *p = &sa;
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, p, sizeof(sa)), 0);
    assert_true(fd_set_nonblock(fd, true));
    return fd;
}

static inline int raw_connect_v6(uint16_t port)
{
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const void *p = &sa;
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, p, sizeof(sa)), 0);
    assert_true(fd_set_nonblock(fd, true));
    return fd;
}

static inline void raw_open(struct raw *r, uint16_t port)
{
    r->fd = raw_connect(port);
    r->len = 0;
    r->closed = false;
    r->data[0] = '\0';
}

static inline void raw_close(struct raw *r)
{
    fd_close(&r->fd);
}

static inline void raw_send(struct raw *r, const char *text)
{
    struct err e;
    if (!fd_write_all(r->fd, text, strlen(text), &e))
        fail_msg("%s", e.msg);
}

/* Takes what is there; never waits. */
static inline void raw_take(struct raw *r)
{
    while (!r->closed && r->len < RAW_MAX - 1) {
        ssize_t n = recv(r->fd, r->data + r->len, RAW_MAX - 1 - r->len, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            r->closed = true;
            break;
        }
        r->len += (size_t)n;
    }
    r->data[r->len] = '\0';
}

/* A whole answer: headers, and Content-Length bytes unless it has no body. */
static inline bool raw_whole(const struct raw *r, bool body)
{
    const char *end = strstr(r->data, "\r\n\r\n");
    const char *length = strcasestr(r->data, "\r\nContent-Length: ");
    if (!end)
        return false;
    if (!body || !length || length > end)
        return true;
    size_t want = strtoul(length + 18, NULL, 10);
    return r->len >= (size_t)(end + 4 - r->data) + want;
}

static inline int raw_status(const struct raw *r)
{
    return strncmp(r->data, "HTTP/1.", 7) == 0 && r->len > 12 ? (int)strtol(r->data + 9, NULL, 10)
                                                              : 0;
}

static inline const char *raw_body(const struct raw *r)
{
    const char *end = strstr(r->data, "\r\n\r\n");
    return end ? end + 4 : "";
}

/* Turns the loop until the answer is whole or the peer has closed. */
static inline void raw_wait(struct loop *l, struct raw *r, bool body)
{
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (clock_boot_ms() < until) {
        raw_take(r);
        if (r->closed || raw_whole(r, body))
            return;
        loop_turn(l, 5);
    }
    fail_msg("no whole answer in time; got %zu bytes: %.200s", r->len, r->data);
}

/* One request on a new connection; the answer stays in r until the next. */
static inline int raw_request(struct loop *l, struct raw *r, uint16_t port, const char *text)
{
    raw_open(r, port);
    raw_send(r, text);
    raw_wait(l, r, strncmp(text, "HEAD", 4) != 0);
    raw_close(r);
    return raw_status(r);
}

static inline int raw_get(struct loop *l, struct raw *r, uint16_t port, const char *path)
{
    char text[512];
    assert_true(str_format(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path));
    return raw_request(l, r, port, text);
}

#endif
