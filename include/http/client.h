/* HTTP requests as a loop source: libcurl's multi interface, one thread, no resolver.
 *
 * A call is begun, then polled; nothing is called back. Calls that name the same channel run one
 * after the other on one kept-alive connection at most; different channels never wait for each
 * other, so that a renewal never queues behind a list. After a failure the channel's next call uses
 * a fresh connection (a new source port, perhaps another API server).
 *
 * HTTP/1.1 only, no redirects, no proxy from the environment, descriptors close-on-exec. */
#ifndef PGHAD_HTTP_CLIENT_H
#define PGHAD_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

#define HTTP_CHANNEL_SIZE 64
#define HTTP_HEADERS_MAX 8

struct http_client;
struct http_call;

/* Verification of the server and our own credentials; PEM text, NULL = none. Borrowed during start. */
struct http_tls {
    const char *ca_pem;
    const char *cert_pem, *key_pem;
    const char *server_name; /* name to verify instead of the host in the URL; NULL = that host */
    bool insecure;
};

struct http_request {
    const char *method;             /* "GET", "PUT", ... */
    const char *url;                /* host must be an address, or resolved by `address` */
    const char *address;            /* dial this address instead of the URL's host; NULL = the host */
    const char *unix_path;          /* dial this unix socket; NULL = TCP */
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value", NULL-terminated */
    const char *body;               /* NULL = none */
    size_t body_len;
    const char *channel;            /* "" = a connection of its own */
    int64_t deadline_ms;            /* BOOTTIME, for the whole request; 0 = none (watches only) */
    int64_t connect_ms;             /* budget of connecting; 0 = 1500 */
    size_t body_max;                /* bytes of the answer kept; more fails the call */
    bool stream;                    /* the answer is consumed while it arrives (http_call_body) */
    const struct http_tls *tls;     /* for https */
    const char *proxy;              /* NULL = none at all */
};

enum http_state { HTTP_PENDING, HTTP_DONE };

struct http_client *http_client_new(struct loop *l);
void http_client_free(struct http_client *c); /* NULL accepted; calls must be freed before */
struct loop_source http_client_source(struct http_client *c);

/* NULL on failure (ERR_INVALID, ERR_FATAL); nothing was sent then. The request is copied. */
struct http_call *http_call_start(struct http_client *c, const struct http_request *r,
                                  int64_t now_ms, struct err *e);
void http_call_free(struct http_call *k); /* NULL accepted; one that runs is cancelled */
enum http_state http_call_state(const struct http_call *k);
/* HTTP status, also while a stream runs; 0 = no answer yet or none at all. */
int http_call_status(const struct http_call *k);
/* After HTTP_DONE: kind ERR_NONE = the answer is complete. ERR_TIMEOUT: the deadline passed.
 * ERR_TRANSIENT: connection, TLS, reset, cut body. ERR_INVALID: larger than body_max. */
const struct err *http_call_error(const struct http_call *k);
/* CLOCK_BOOTTIME before the request was handed to libcurl, and when its end was seen. */
int64_t http_call_sent_ms(const struct http_call *k);
int64_t http_call_done_ms(const struct http_call *k);
int64_t http_call_last_byte_ms(const struct http_call *k); /* streams: last progress */
/* The body so far; streams consume it with buf_consume. */
struct buf *http_call_body(struct http_call *k);
/* Content-Type of the answer, "" = none. */
const char *http_call_content_type(const struct http_call *k);
/* Retry-After in seconds, 0 = none. */
int http_call_retry_after(const struct http_call *k);

#endif
