/* Sockets, connections and requests: libmicrohttpd driven by one poll() loop, and the place where
 * faults become real. */
#ifndef DEVKUBE_SERVER_H
#define DEVKUBE_SERVER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "devkube/api.h"
#include "devkube/faults.h"
#include "devkube/journal.h"
#include "devkube/users.h"

struct server;

struct server_options {
    const char *listen;  /* ADDR:PORT of the API; port 0 takes any */
    const char *control; /* ADDR:PORT that answers /devkube/ even while the API is down; or NULL */
    const char *tls_cert; /* PEM texts, or NULL for plain HTTP */
    const char *tls_key;
    struct users *users; /* borrowed */
    size_t history;
    size_t log_max;
    int64_t bookmark_ms;
};

struct server *server_new(const struct server_options *opt, struct err *e);
void server_free(struct server *sv);

int server_port(const struct server *sv, bool control);
/* Runs until *stop is set by a signal handler. */
void server_run(struct server *sv, const volatile sig_atomic_t *stop);

/* For the control paths. */
struct store *server_store(struct server *sv);
struct faults *server_faults(struct server *sv);
struct journal *server_journal(struct server *sv);
bool server_has_control(const struct server *sv);
void server_down(struct server *sv, int64_t for_ms); /* <= 0: until server_up */
void server_up(struct server *sv);
bool server_is_down(const struct server *sv);
void server_wake_watches(struct server *sv, const struct resource *res); /* NULL: all */
void server_counts(const struct server *sv, int64_t *connections, int64_t *watches);

#endif
