/* Status bodies. Messages, reasons and details are what kube-apiserver answers; clients match on
 * them, so they are not paraphrased. */
#include "devkube/reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/str.h"

#define BODY_MAX ((size_t)256 << 20)
#define JSON_TYPE "application/json"
/* http.Error of Go's library ends its text with a newline. */
#define TEXT_TYPE "text/plain; charset=utf-8"

void reply_init(struct reply *rp)
{
    *rp = (struct reply){.status = 200, .type = JSON_TYPE};
    buf_init(&rp->body, BODY_MAX);
}

void reply_done(struct reply *rp)
{
    buf_done(&rp->body);
}

static void reply_start(struct reply *rp, unsigned status, const char *type)
{
    rp->status = status;
    rp->type = type;
    rp->retry_after_s = 0;
    buf_clear(&rp->body);
}

bool reply_text(struct reply *rp, unsigned status, const char *text)
{
    reply_start(rp, status, TEXT_TYPE);
    must(buf_puts(&rp->body, text));
    return false;
}

bool reply_json(struct reply *rp, unsigned status, struct json_object *o)
{
    reply_start(rp, status, JSON_TYPE);
    must(buf_puts(&rp->body, jx_text(o)));
    must(buf_puts(&rp->body, "\n")); /* Go's encoder ends each value with one */
    json_object_put(o);
    return false;
}

void put_object(struct buf *b, const struct resource *res, const char *kind_suffix,
                const char *object_text)
{
    must(buf_printf(b, "{\"kind\":\"%s%s\",\"apiVersion\":\"%s%s%s\",", res->kind, kind_suffix,
                    res->group, *res->group ? "/" : "", res->version));
    must(buf_puts(b, object_text + 1));
}

bool reply_object(struct reply *rp, unsigned status, const struct resource *res,
                  const struct json_object *o)
{
    reply_start(rp, status, JSON_TYPE);
    put_object(&rp->body, res, "", jx_text(o));
    must(buf_puts(&rp->body, "\n"));
    return false;
}

static struct json_object *status_new(unsigned code, const char *reason,
                                      struct json_object *details, const char *message)
{
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "kind", "Status");
    jx_set_str(o, "apiVersion", "v1");
    jx_set(o, "metadata", json_object_new_object());
    jx_set_str(o, "status", "Failure");
    jx_set_str(o, "message", message);
    if (*reason)
        jx_set_str(o, "reason", reason);
    if (details)
        jx_set(o, "details", details);
    jx_set_int(o, "code", code);
    return o;
}

__attribute__((format(printf, 5, 0))) static bool
reply_status_v(struct reply *rp, unsigned status, const char *reason, struct json_object *details,
               const char *fmt, va_list ap)
{
    char *message = NULL;
    must(vasprintf(&message, fmt, ap) >= 0);
    reply_json(rp, status, status_new(status, reason, details, message));
    free(message);
    return false;
}

bool reply_status(struct reply *rp, unsigned status, const char *reason,
                  struct json_object *details, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    reply_status_v(rp, status, reason, details, fmt, ap);
    va_end(ap);
    return false;
}

bool reply_bad_request(struct reply *rp, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    reply_status_v(rp, 400, "BadRequest", NULL, fmt, ap);
    va_end(ap);
    return false;
}

const char *resource_name(const struct resource *res)
{
    static char name[128];
    must(str_format(name, sizeof(name), "%s%s%s", res->plural, *res->group ? "." : "",
                    res->group));
    return name;
}

static struct json_object *details_new(const struct resource *res, const char *name,
                                       const char *kind)
{
    struct json_object *d = json_object_new_object();
    if (name && *name)
        jx_set_str(d, "name", name);
    if (*res->group)
        jx_set_str(d, "group", res->group);
    if (*kind)
        jx_set_str(d, "kind", kind);
    return d;
}

bool reply_unauthorized(struct reply *rp)
{
    return reply_status(rp, 401, "Unauthorized", NULL, "Unauthorized");
}

bool reply_forbidden(struct reply *rp, const struct resource *res, const char *ns,
                     const char *name, const char *verb, const char *user)
{
    char object[300] = "";
    char where[300] = "at the cluster scope";
    if (name && *name)
        must(str_format(object, sizeof(object), " \"%.253s\"", name));
    if (ns && *ns)
        must(str_format(where, sizeof(where), "in the namespace \"%.253s\"", ns));
    return reply_status(rp, 403, "Forbidden", details_new(res, name, res->plural),
                        "%s%s is forbidden: User \"%s\" cannot %s resource \"%s\" in API group "
                        "\"%s\" %s",
                        resource_name(res), object, user, verb, res->plural, res->group, where);
}

bool reply_not_found(struct reply *rp, const struct resource *res, const char *name)
{
    return reply_status(rp, 404, "NotFound", details_new(res, name, res->plural),
                        "%s \"%s\" not found", resource_name(res), name);
}

bool reply_no_resource(struct reply *rp)
{
    return reply_status(rp, 404, "NotFound", json_object_new_object(),
                        "the server could not find the requested resource");
}

bool reply_no_path(struct reply *rp)
{
    return reply_text(rp, 404, "404 page not found\n");
}

bool reply_method_not_allowed(struct reply *rp)
{
    return reply_status(rp, 405, "MethodNotAllowed", json_object_new_object(),
                        "the server does not allow this method on the requested resource");
}

bool reply_exists(struct reply *rp, const struct resource *res, const char *name)
{
    return reply_status(rp, 409, "AlreadyExists", details_new(res, name, res->plural),
                        "%s \"%s\" already exists", resource_name(res), name);
}

bool reply_conflict(struct reply *rp, const struct resource *res, const char *name,
                    const char *fmt, ...)
{
    char *why = NULL;
    va_list ap;
    va_start(ap, fmt);
    must(vasprintf(&why, fmt, ap) >= 0);
    va_end(ap);
    reply_status(rp, 409, "Conflict", details_new(res, name, res->plural),
                 "Operation cannot be fulfilled on %s \"%s\": %s", resource_name(res), name, why);
    free(why);
    return false;
}

bool reply_stale(struct reply *rp, const struct resource *res, const char *name)
{
    return reply_conflict(rp, res, name,
                          "the object has been modified; please apply your changes to the latest "
                          "version and try again");
}

/* The body of a 422; `what` names the kind ("Lease.coordination.k8s.io") or the resource. */
static bool reply_causes(struct reply *rp, struct json_object *details, const char *what,
                         const char *cause, const char *field, const char *detail)
{
    struct json_object *c = json_object_new_object();
    jx_set_str(c, "reason", cause);
    jx_set_str(c, "message", detail);
    jx_set_str(c, "field", field);
    struct json_object *causes = json_object_new_array();
    must(json_object_array_add(causes, c) == 0);
    jx_set(details, "causes", causes);
    return reply_status(rp, 422, "Invalid", details, "%s is invalid: %s: %s", what, field, detail);
}

static void kind_text(char *dst, size_t size, const struct resource *res, const char *name)
{
    must(str_format(dst, size, "%s%s%s \"%.300s\"", res->kind, *res->group ? "." : "", res->group,
                    name));
}

bool reply_invalid(struct reply *rp, const struct resource *res, const char *name,
                   const char *cause, const char *field, const char *fmt, ...)
{
    char what[512];
    char *detail = NULL;
    va_list ap;
    va_start(ap, fmt);
    must(vasprintf(&detail, fmt, ap) >= 0);
    va_end(ap);
    kind_text(what, sizeof(what), res, name);
    reply_causes(rp, details_new(res, name, res->kind), what, cause, field, detail);
    free(detail);
    return false;
}

bool reply_needs_rv(struct reply *rp, const struct resource *res, const char *name)
{
    char what[512];
    must(str_format(what, sizeof(what), "%s \"%.300s\"", resource_name(res), name));
    return reply_causes(rp, details_new(res, name, res->plural), what, "FieldValueInvalid",
                        "metadata.resourceVersion",
                        "Invalid value: 0: must be specified for an update");
}

bool reply_precondition(struct reply *rp, const struct resource *res, const char *name,
                        const char *fmt, ...)
{
    char what[512];
    char *why = NULL;
    va_list ap;
    va_start(ap, fmt);
    must(vasprintf(&why, fmt, ap) >= 0);
    va_end(ap);
    kind_text(what, sizeof(what), res, name);
    reply_status(rp, 409, "Conflict", details_new(res, name, res->kind),
                 "Operation cannot be fulfilled on %s: %s", what, why);
    free(why);
    return false;
}

bool reply_media_type(struct reply *rp, bool patch)
{
    if (patch)
        return reply_status(rp, 415, "UnsupportedMediaType", json_object_new_object(),
                            "415: Unsupported Media Type");
    return reply_status(rp, 415, "UnsupportedMediaType", NULL,
                        "the body of the request was in an unknown format - accepted media types "
                        "include: application/json, application/yaml, "
                        "application/vnd.kubernetes.protobuf");
}

bool reply_too_many(struct reply *rp, int retry_after_s)
{
    reply_text(rp, 429, "Too many requests, please try again later.\n");
    rp->retry_after_s = retry_after_s;
    return false;
}

bool reply_future_rv(struct reply *rp, int64_t asked, int64_t now)
{
    struct json_object *c = json_object_new_object();
    jx_set_str(c, "reason", "ResourceVersionTooLarge");
    jx_set_str(c, "message", "Too large resource version");
    struct json_object *causes = json_object_new_array();
    must(json_object_array_add(causes, c) == 0);
    struct json_object *d = json_object_new_object();
    jx_set(d, "causes", causes);
    jx_set_int(d, "retryAfterSeconds", 1);
    reply_status(rp, 504, "Timeout", d,
                 "Timeout: Too large resource version: %" PRId64 ", current: %" PRId64, asked,
                 now);
    rp->retry_after_s = 1;
    return false;
}

bool reply_timeout(struct reply *rp)
{
    return reply_status(rp, 504, "Timeout", json_object_new_object(),
                        "Timeout: request did not complete within the allotted timeout");
}

bool reply_deleted(struct reply *rp, const struct resource *res, const char *name,
                   const char *uid)
{
    struct json_object *d = details_new(res, name, res->plural);
    jx_set_str(d, "uid", uid);
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "kind", "Status");
    jx_set_str(o, "apiVersion", "v1");
    jx_set(o, "metadata", json_object_new_object());
    jx_set_str(o, "status", "Success");
    jx_set(o, "details", d);
    return reply_json(rp, 200, o);
}

struct json_object *status_expired(int64_t asked, int64_t oldest)
{
    char message[96];
    must(str_format(message, sizeof(message), "too old resource version: %" PRId64 " (%" PRId64 ")",
                    asked, oldest));
    return status_new(410, "Expired", NULL, message);
}
