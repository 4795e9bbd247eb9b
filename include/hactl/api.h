/* Requests of a command: each call turns the loop until its answer or its deadline. */
#ifndef PGHAD_HACTL_API_H
#define PGHAD_HACTL_API_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "hactl/args.h"

#define API_REQUEST_MS 10000 /* deadline of one request unless the command's own is nearer */

struct api;

/* From --kubeconfig, --context, -n, or --socket (then only fetches work). NULL on failure. */
struct api *api_new(const struct args *a, struct err *e);
void api_free(struct api *a); /* NULL accepted */
const char *api_namespace(const struct api *a);
/* "https://server, file, context \"name\"" into dst, returned; "" with --socket. */
const char *api_whom(const struct api *a, char *dst, size_t size);
bool api_is_socket(const struct api *a);

/* 2xx: true and *ret (owned by the caller; NULL accepted) is the object. Otherwise the kind of *e:
 * NOT_FOUND (404), CONFLICT (409), DENIED (401, 403), INVALID (other 4xx), TRANSIENT or TIMEOUT
 * (outcome unknown); code is the HTTP status. path may carry a query; body NULL = none. */
bool api_call(struct api *a, const char *method, const char *path, const char *body,
              int64_t deadline_ms, struct json_object **ret, struct err *e);

/* As api_call with PATCH and another kind of patch, such as "application/strategic-merge-patch+json". */
bool api_patch(struct api *a, const char *path, const char *content_type, const char *body,
               int64_t deadline_ms, struct json_object **ret, struct err *e);

struct api_fetch {
    char host[64];    /* address of the member; unused with --socket */
    int64_t port;
    const char *path; /* borrowed */
    struct json_object *doc; /* owned by the caller; NULL = no answer in time */
};

/* Plain GETs of members' REST, all at once; whatever has not answered at the deadline has not. */
void api_fetch_all(struct api *a, struct api_fetch *f, size_t n, int64_t deadline_ms);

/* Turns the loop for that long. */
void api_pause(struct api *a, int64_t ms);

#endif
