/* HTTP/1.1 client: calls that are started, driven by the loop and polled; used for the Kubernetes
 * API and for peers. One thread, no resolver, no callback into the caller.
 *
 * A channel is a group of connections of its own: a call never waits for one of another channel, so
 * a lease write does not queue behind a list. Connections are kept alive within their channel; after
 * a failure the next call to that origin gets a fresh one. The process must ignore SIGPIPE;
 * http_client_new sees to it. */
#ifndef PGHAD_HTTP_CLIENT_H
#define PGHAD_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

#define HTTP_CHANNELS_MAX 32
#define HTTP_CONNECT_MS 1500

struct http_client;
struct http_call;

/* Trust and credentials of the transport. Strings are borrowed until the call has been freed; NULL =
 * not set. PEM texts win over files. */
struct http_tls {
    const char *ca_file; /* read again at least every 60 s */
    const char *ca_pem;
    const char *cert_file, *key_file;
    const char *cert_pem, *key_pem;
    bool insecure; /* no check of the server's certificate; for people, never for the agent */
};

struct http_request {
    const char *channel; /* "lease", "peer-db-1", ...; at most 31 bytes */
    const char *method;  /* "GET", "PUT", ... */
    /* http or https. The host must be an IP literal or "localhost" unless connect_to is given:
     * looking up any other name would start a thread. */
    const char *url;
    const char *connect_to;     /* "ip:port" or "[ip]:port" dialled in place of the URL's, or NULL */
    const char *unix_socket;    /* path dialled in place of the URL's host, or NULL */
    const char *proxy;          /* URL, whatever the environment says; or NULL */
    /* Without one: as https_proxy, all_proxy and no_proxy say (http_proxy for http), but never for
     * loopback. false = no proxy, whatever the environment says. For people, never for the agent. */
    bool proxy_of_env;
    bool may_resolve;           /* names allowed, with the thread that costs (hactl) */
    const char *const *headers; /* "Name: value", NULL-terminated, copied; or NULL */
    const char *user_password;  /* "user:password" for basic authentication, or NULL */
    const char *body;           /* copied; NULL = none */
    size_t body_len;
    int64_t deadline_ms;        /* BOOTTIME, for everything; 0 = none (streams only) */
    int64_t connect_ms;         /* name, TCP and TLS together; 0 = HTTP_CONNECT_MS */
    size_t body_max;            /* bytes of the answer kept; a longer one is an error */
    bool stream;                /* the body is consumed while it arrives */
    bool fresh;                 /* on a new connection */
    const struct http_tls *tls; /* borrowed until the call has been freed; NULL = system trust */
};

/* Whether a request to this URL could be begun at all: ERR_INVALID tells what is wrong with it, before
 * anything depends on it. Members as in struct http_request. */
bool http_url_check(const char *url, const char *connect_to, bool may_resolve, struct err *e);

enum http_state { HTTP_PENDING, HTTP_DONE };

/* The answer so far; final once the state is HTTP_DONE. */
struct http_result {
    int status; /* 0 until the answer's headers are complete */
    /* NONE: a whole answer, whatever its status. TIMEOUT: the deadline or the connect limit.
     * TRANSIENT: refused, reset, cut off, TLS. CORRUPT: not HTTP, or longer than body_max.
     * INVALID: the request could not be begun. */
    struct err err;
    int64_t sent_ms;  /* BOOTTIME, read before the request was handed over for sending */
    int64_t done_ms;  /* BOOTTIME when the end was seen */
    bool sent;        /* false: no byte of the request has left, the server cannot have acted */
    int64_t retry_after_s; /* 0 = none */
    char content_type[64];
    struct buf body;  /* owned by the call */
};

struct http_client *http_client_new(const char *user_agent); /* NULL only when out of memory */
void http_client_free(struct http_client *c); /* cancels what is under way; calls must be freed too */
/* To be added to the loop before any source that polls calls. */
struct loop_source http_client_source(struct http_client *c);

/* Starts at once, as far as that goes without blocking. Never NULL: what cannot be begun is DONE with
 * its error. */
struct http_call *http_start(struct http_client *c, const struct http_request *r);
enum http_state http_call_state(const struct http_call *call);
const struct http_result *http_call_result(const struct http_call *call);
/* Drops the first n bytes of the body (streams). */
void http_call_consume(struct http_call *call, size_t n);
void http_call_free(struct http_call *call); /* NULL accepted; cancels, closing the connection */

/* Connections opened since the start. */
uint64_t http_client_connects(const struct http_client *c);

#endif
