/* A listening socket served by libmicrohttpd inside our loop, with bounded connections.
 *
 * The library times a connection only by silence, so a client that sends a byte now and then could
 * keep one for ever. Here every connection has a deadline for its next whole request (and for taking
 * the answer), and when all are taken the one that has been useless longest makes room. */
#ifndef PGHAD_HTTP_LISTENER_H
#define PGHAD_HTTP_LISTENER_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

#define LISTENER_BACKLOG 512
#define LISTENER_REQUEST_MEMORY 8192

struct listener;

struct listener_opts {
    const char *listen;    /* "address:port", "[v6]:port", ":port" = every address; or NULL */
    const char *unix_path; /* when listen is NULL */
    unsigned connections_max;
    int64_t request_ms, idle_ms;
    MHD_AccessHandlerCallback handle;
    MHD_RequestCompletedCallback completed; /* NULL: none */
    void *ctx;
};

struct listener *listener_new(const struct listener_opts *o, struct err *e);
void listener_free(struct listener *l); /* suspended connections must have been resumed */

void listener_prepare(struct listener *l, struct loop *lp);
void listener_dispatch(struct listener *l, struct loop *lp);
/* Tells that a connection was resumed, so that the next turn does not wait. */
void listener_kick(struct listener *l);

uint16_t listener_port(const struct listener *l);
unsigned listener_open(const struct listener *l);
uint64_t listener_dropped(const struct listener *l);

#endif
