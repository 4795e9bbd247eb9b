/* What a request is answered with, and the Status bodies of the real API server, word for word. */
#ifndef DEVKUBE_REPLY_H
#define DEVKUBE_REPLY_H

#include <stdbool.h>

#include "base/buf.h"
#include "devkube/store.h"

struct watch;

struct reply {
    unsigned status;
    const char *type;  /* Content-Type; static */
    int retry_after_s; /* header when > 0 */
    struct buf body;
    struct watch *watch; /* owned; when set the body is the stream */
};

void reply_init(struct reply *rp);
void reply_done(struct reply *rp);

/* The functions below replace the reply and return false, so that a refusal is one line. */
bool reply_text(struct reply *rp, unsigned status, const char *text);
bool reply_json(struct reply *rp, unsigned status, struct json_object *o); /* takes o */
/* A stored object, with kind and apiVersion put in front. */
bool reply_object(struct reply *rp, unsigned status, const struct resource *res,
                  const struct json_object *o);

/* details may be NULL (absent), otherwise taken; reason "" is left out. */
bool reply_status(struct reply *rp, unsigned status, const char *reason,
                  struct json_object *details, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool reply_bad_request(struct reply *rp, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool reply_unauthorized(struct reply *rp);
bool reply_forbidden(struct reply *rp, const struct resource *res, const char *ns,
                     const char *name, const char *verb, const char *user);
bool reply_not_found(struct reply *rp, const struct resource *res, const char *name);
bool reply_no_resource(struct reply *rp); /* unknown resource of a served group */
bool reply_no_path(struct reply *rp);     /* unknown path: text/plain */
bool reply_method_not_allowed(struct reply *rp);
bool reply_exists(struct reply *rp, const struct resource *res, const char *name);
bool reply_conflict(struct reply *rp, const struct resource *res, const char *name,
                    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool reply_stale(struct reply *rp, const struct resource *res, const char *name);
/* 422 with one cause; detail is the text after "field: ", cause its reason. */
bool reply_invalid(struct reply *rp, const struct resource *res, const char *name,
                   const char *cause, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* 422 of a PUT without resourceVersion; it names the resource, not the kind. */
bool reply_needs_rv(struct reply *rp, const struct resource *res, const char *name);
/* 409 of a DELETE whose preconditions fail; it names the kind, not the resource. */
bool reply_precondition(struct reply *rp, const struct resource *res, const char *name,
                        const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool reply_media_type(struct reply *rp, bool patch);
bool reply_too_many(struct reply *rp, int retry_after_s);
bool reply_future_rv(struct reply *rp, int64_t asked, int64_t now);
bool reply_timeout(struct reply *rp);
bool reply_deleted(struct reply *rp, const struct resource *res, const char *name,
                   const char *uid);

/* The Status object of an expired watch; owned by the caller. */
struct json_object *status_expired(int64_t asked, int64_t oldest);
/* "leases.coordination.k8s.io" or "pods"; static storage, valid until the next call. */
const char *resource_name(const struct resource *res);
/* Appends {"kind":..,"apiVersion":.., to b, for an object text without its first brace. */
void put_object(struct buf *b, const struct resource *res, const char *kind_suffix,
                const char *object_text);

#endif
