/* Shared by server.c (sockets, loop) and exchange.c (life of one request). */
#ifndef DEVKUBE_SERVER_INTERNAL_H
#define DEVKUBE_SERVER_INTERNAL_H

#include <microhttpd.h>
#include <netinet/in.h>

#include "devkube/server.h"

struct exchange;

struct conn {
    struct server *sv;
    int fd;                   /* libmicrohttpd's */
    char source[INET6_ADDRSTRLEN];
    bool dead;                /* reset it at the next opportunity */
    struct exchange *ex;      /* the request in progress, or NULL */
    struct conn *prev, *next;
};

struct listener {
    struct MHD_Daemon *daemon;
    int fd; /* -1 while down */
    struct sockaddr_storage addr;
    socklen_t addr_len;
};

struct server {
    struct server_options opt;
    struct api api;
    struct faults *faults;
    struct journal *journal;
    struct listener main;
    struct listener control; /* daemon NULL when there is none */
    struct conn *conns;
    struct exchange *suspended;
    struct conn *active;     /* whose request is being handled now */
    int64_t down_until_ms;   /* 0: up */
    int64_t gone_check_at_ms;
    int turns_due; /* turns of the loop that must not wait, see exchange_resume */
};

/* Resets the connection instead of closing it in order. */
void conn_reset(struct conn *c);

/* libmicrohttpd's callbacks; cls is the server. */
enum MHD_Result exchange_on_request(void *cls, struct MHD_Connection *mc, const char *url,
                                    const char *method, const char *version, const char *data,
                                    size_t *data_size, void **req);
void exchange_on_done(void *cls, struct MHD_Connection *mc, void **req,
                      enum MHD_RequestTerminationCode why);

void exchange_resume(struct exchange *ex); /* no-op unless suspended */
/* Resumes what is due; returns when the next one is (CLOCK_BOOTTIME ms, INT64_MAX: never). */
int64_t exchange_wake_due(struct server *sv, int64_t now_ms);
/* Resumes watches of res (NULL: all). */
void exchange_wake_watches(struct server *sv, const struct resource *res);
/* Resumes requests whose client has closed; libmicrohttpd does not look while they are
 * suspended. */
void exchange_drop_gone(struct server *sv);
int64_t exchange_count_watches(const struct server *sv);

#endif
