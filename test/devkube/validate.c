/* Decoding and validation, only as far as clients of this double can get them wrong. */
#include "devkube/validate.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/str.h"

#define EVENT_TEXT_MAX 128
#define EVENT_NOTE_MAX 1024

static bool refuse_decode(const struct resource *res, struct reply *rp, const char *what)
{
    return reply_bad_request(rp, "%s in version \"%s\" cannot be handled as a %s: %s", res->kind,
                             res->version, res->kind, what);
}

/* kubernetes/apimachinery MicroTime: RFC 3339 with exactly six fraction digits. */
static bool is_microtime(const char *s)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddddd";
    size_t n = sizeof(shape) - 1;
    for (size_t i = 0; i < n; i++) {
        bool digit = isdigit((unsigned char)s[i]) != 0;
        if (shape[i] == 'd' ? !digit : s[i] != shape[i])
            return false;
    }
    const char *zone = s + n;
    return str_eq(zone, "Z") || ((*zone == '+' || *zone == '-') && strlen(zone) == 6);
}

static bool decode_microtime(const struct resource *res, const struct json_object *o,
                             const char *path, struct reply *rp)
{
    char what[256];
    const struct json_object *val = jx_path(o, path);
    const char *s = jx_str(o, path);
    if (!val || (s && is_microtime(s)))
        return true;
    str_format(what, sizeof(what),
               "parsing time \"%.64s\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse it",
               s ? s : "");
    return refuse_decode(res, rp, what);
}

static bool decode_type(const struct resource *res, const struct json_object *o, const char *path,
                        enum json_type type, struct reply *rp)
{
    char what[256];
    struct json_object *val = jx_path(o, path);
    if (!val || json_object_is_type(val, type))
        return true;
    str_format(what, sizeof(what), "json: cannot unmarshal %s into Go struct field %s.%s of type %s",
               json_type_to_name(json_object_get_type(val)), res->kind, path,
               json_type_to_name(type));
    return refuse_decode(res, rp, what);
}

static bool decode_strings(const struct resource *res, const struct json_object *o,
                           const char *path, struct reply *rp)
{
    char what[256];
    if (!decode_type(res, o, path, json_type_object, rp))
        return false;
    for (struct lh_entry *e = jx_head(jx_path(o, path)); e; e = e->next) {
        if (json_object_is_type(jx_val(e), json_type_string))
            continue;
        str_format(what, sizeof(what),
                   "json: cannot unmarshal %s into Go struct field %s.%s of type string",
                   json_type_to_name(json_object_get_type(jx_val(e))), res->kind, path);
        return refuse_decode(res, rp, what);
    }
    return true;
}

/* The server's struct has no place for other members, so they do not survive a write. */
static void drop_unknown_lease_fields(struct json_object *spec)
{
    static const char *const known[] = {"holderIdentity",   "leaseDurationSeconds", "acquireTime",
                                        "renewTime",        "leaseTransitions",     "strategy",
                                        "preferredHolder"};
    for (struct lh_entry *e = jx_head(spec), *next; e; e = next) {
        bool keep = false;
        next = e->next;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            keep = keep || str_eq(jx_key(e), known[i]);
        if (!keep)
            json_object_object_del(spec, jx_key(e));
    }
}

static bool decode_lease(const struct resource *res, struct json_object *o, struct reply *rp)
{
    drop_unknown_lease_fields(jx_get(o, "spec"));
    return decode_type(res, o, "spec", json_type_object, rp) &&
           decode_type(res, o, "spec.holderIdentity", json_type_string, rp) &&
           decode_type(res, o, "spec.leaseDurationSeconds", json_type_int, rp) &&
           decode_type(res, o, "spec.leaseTransitions", json_type_int, rp) &&
           decode_microtime(res, o, "spec.acquireTime", rp) &&
           decode_microtime(res, o, "spec.renewTime", rp);
}

static void drop_if_empty(struct json_object *o, const char *key)
{
    struct json_object *val = jx_get(o, key);
    if (json_object_is_type(val, json_type_object) && json_object_object_length(val) == 0)
        json_object_object_del(o, key);
}

bool validate_decode(const struct resource *res, struct json_object *o, struct reply *rp)
{
    jx_strip_nulls(o);
    if (!decode_type(res, o, "metadata", json_type_object, rp))
        return false;
    struct json_object *meta = jx_need(o, "metadata");
    json_object_object_del(meta, "managedFields");
    json_object_object_del(meta, "selfLink");
    drop_if_empty(meta, "labels");
    drop_if_empty(meta, "annotations");
    static const char *const strings[] = {"metadata.name", "metadata.namespace", "metadata.uid",
                                          "metadata.resourceVersion"};
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        if (!decode_type(res, o, strings[i], json_type_string, rp))
            return false;
    }
    if (!decode_strings(res, o, "metadata.labels", rp) ||
        !decode_strings(res, o, "metadata.annotations", rp))
        return false;
    if (str_eq(res->kind, "ConfigMap"))
        return decode_strings(res, o, "data", rp);
    if (str_eq(res->kind, "Lease"))
        return decode_lease(res, o, rp);
    if (str_eq(res->group, "events.k8s.io"))
        return decode_microtime(res, o, "eventTime", rp) &&
               decode_microtime(res, o, "series.lastObservedTime", rp);
    return true;
}

static bool is_subdomain(const char *s)
{
    size_t n = strlen(s);
    bool edge = true; /* the next character must be a letter or digit */
    for (size_t i = 0; i < n; i++) {
        bool alnum = islower((unsigned char)s[i]) || isdigit((unsigned char)s[i]);
        if (!alnum && (edge || (s[i] != '-' && s[i] != '.') || (s[i] == '.' && s[i - 1] == '-')))
            return false;
        edge = s[i] == '.';
    }
    return n > 0 && n <= 253 && !edge && s[n - 1] != '-';
}

static bool validate_lease(const struct resource *res, const char *name,
                           const struct json_object *o, struct reply *rp)
{
    int64_t seconds = jx_int(o, "spec.leaseDurationSeconds", 1);
    int64_t transitions = jx_int(o, "spec.leaseTransitions", 0);
    if (seconds <= 0)
        return reply_invalid(rp, res, name, "FieldValueInvalid", "spec.leaseDurationSeconds",
                             "Invalid value: %" PRId64 ": must be greater than 0", seconds);
    if (transitions < 0)
        return reply_invalid(rp, res, name, "FieldValueInvalid", "spec.leaseTransitions",
                             "Invalid value: %" PRId64 ": must be greater than or equal to 0",
                             transitions);
    return true;
}

static bool validate_event(const struct resource *res, const char *name,
                           const struct json_object *o, struct reply *rp)
{
    static const char *const needed[] = {"eventTime", "reportingController", "reportingInstance",
                                         "action", "reason"};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        const char *s = jx_str_or(o, needed[i], "");
        if (!*s)
            return reply_invalid(rp, res, name, "FieldValueRequired", needed[i],
                                 "Required value");
        if (strlen(s) > EVENT_TEXT_MAX)
            return reply_invalid(rp, res, name, "FieldValueInvalid", needed[i],
                                 "Invalid value: \"\": can have at most %d characters",
                                 EVENT_TEXT_MAX);
    }
    const char *type = jx_str_or(o, "type", "");
    if (!str_eq(type, "Normal") && !str_eq(type, "Warning"))
        return reply_invalid(rp, res, name, "FieldValueInvalid", "type",
                             "Invalid value: \"\": has invalid value: %.64s", type);
    if (strlen(jx_str_or(o, "note", "")) > EVENT_NOTE_MAX)
        return reply_invalid(rp, res, name, "FieldValueInvalid", "note",
                             "Invalid value: \"\": can have at most %d characters",
                             EVENT_NOTE_MAX);
    const char *where = jx_str_or(o, "regarding.namespace", "");
    const char *ns = jx_str_or(o, "metadata.namespace", "");
    if (!str_eq(where, ns) && !(*where == '\0' && str_eq(ns, "default")))
        return reply_invalid(rp, res, name, "FieldValueInvalid", "involvedObject.namespace",
                             "Invalid value: \"%.253s\": does not match event.namespace", where);
    return true;
}

bool validate_object(const struct resource *res, const char *name, const struct json_object *o,
                     struct reply *rp)
{
    if (!*name)
        return reply_invalid(rp, res, name, "FieldValueRequired", "metadata.name",
                             "Required value: name or generateName is required");
    if (!is_subdomain(name))
        return reply_invalid(
            rp, res, name, "FieldValueInvalid", "metadata.name",
            "Invalid value: \"%s\": a lowercase RFC 1123 subdomain must consist of lower case "
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
            "character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            name);
    if (str_eq(res->kind, "Lease"))
        return validate_lease(res, name, o, rp);
    if (str_eq(res->group, "events.k8s.io"))
        return validate_event(res, name, o, rp);
    return true;
}
