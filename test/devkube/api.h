/* The Kubernetes API over the store: routing and the verbs. No sockets, no faults, no time but
 * stamps: one call, one answer. */
#ifndef DEVKUBE_API_H
#define DEVKUBE_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devkube/reply.h"
#include "devkube/store.h"

#define API_NAME_MAX 254

enum api_route {
    API_RESOURCE,    /* res, ns, name, sub are set */
    API_FIXED,       /* health, version, discovery, access reviews */
    API_NO_RESOURCE, /* a served group, but not this resource */
    API_NO_PATH,
};

struct api_request {
    const char *method; /* the first block is set by the caller; borrowed */
    const char *path;
    const char *content_type; /* may be NULL */
    const char *user;
    const char *user_ns; /* the only namespace the user may touch; "*" means all */
    const char *body;
    size_t body_len;
    const char *(*arg)(void *ctx, const char *key); /* query argument, NULL when absent */
    void *arg_ctx;

    enum api_route route; /* this block is set by api_route() */
    const struct resource *res;
    char ns[API_NAME_MAX];          /* "" when the request names none */
    char name[API_NAME_MAX];        /* "" for collections */
    char target[API_NAME_MAX];      /* name, or what a field selector pins it to */
    char sub[16];                   /* "" or "status" */
    char resource[API_NAME_MAX + 16]; /* "pods", "pods/status"; the path for other routes */
    const char *verb;               /* as RBAC names it */
};

struct api {
    struct store *st;
    const char *actor; /* user of the write being committed, for the lease log; else NULL */
    int64_t bookmark_ms;
};

void api_route(struct api_request *rq);
/* Answers; reads come from view (the live store, or a snapshot of it). */
void api_handle(struct api *a, const struct api_request *rq, struct store *view, struct reply *rp);

const char *api_arg(const struct api_request *rq, const char *key); /* NULL when absent or empty */

/* Parts of api_handle in files of their own. */
void api_fixed(const struct api *a, const struct api_request *rq, struct reply *rp);
void api_create(struct api *a, const struct api_request *rq, struct reply *rp);
void api_update(struct api *a, const struct api_request *rq, struct reply *rp);
void api_patch(struct api *a, const struct api_request *rq, struct reply *rp);
void api_delete(struct api *a, const struct api_request *rq, struct reply *rp);

#endif
