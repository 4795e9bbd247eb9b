/* The read-only REST server (DESIGN 9): TCP on 8008 and, if wanted, a unix socket with the same paths.
 *
 * libmicrohttpd without a thread: its epoll descriptor is one descriptor of our loop. Answers come
 * from the last published snapshot, never from SQL or the API server. GET, HEAD and OPTIONS behave
 * alike; another method is 405 with Allow, an unknown path 404. Memory is bounded: a number of
 * connections, 8 KiB of request each, and a deadline for every request and idle connection. */
#ifndef PGHAD_HTTP_SERVER_H
#define PGHAD_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "http/status.h"
#include "loop/loop.h"

struct http_server;

struct http_server_opts {
    const char *listen;        /* "10.0.0.1:8008", "[::1]:8008", ":8008" = every address, port 0 = any; NULL = no TCP */
    const char *unix_path;     /* mode 0660, an old socket file is replaced; NULL = none */
    unsigned connections_max;  /* per listener; 0 = 256 */
    int64_t stall_ms;          /* a snapshot older than this fails /liveness; 0 = 10 000 */
    int64_t request_ms;        /* first byte of a connection to its first whole request; 0 = 5 000 */
    int64_t idle_ms;           /* a connection without a whole request this long is closed; 0 = 60 000 */
};

/* NULL on failure (ERR_INVALID: address; ERR_FATAL: bind, with errno in code). */
struct http_server *http_server_new(const struct http_server_opts *o, struct err *e);
void http_server_free(struct http_server *s); /* NULL accepted */
struct loop_source http_server_source(struct http_server *s);

/* Copied. Before the first publication every health path answers 503 and documents are 503. */
void http_server_publish(struct http_server *s, const struct status *st);
/* The body of /config: a JSON object without secrets; copied. Until set, /config is 503. */
void http_server_set_config(struct http_server *s, const char *json);

uint16_t http_server_port(const struct http_server *s); /* bound TCP port, 0 = none */

struct http_server_stats {
    uint64_t requests;
    uint64_t by_class[6]; /* [2] = 2xx, ... */
    uint64_t dropped;     /* connections closed because they were too slow or idle */
    unsigned connections; /* open now */
};
struct http_server_stats http_server_stats(const struct http_server *s);

#endif
