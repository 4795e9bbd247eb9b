/* Decoding and validation, only as far as clients of this double can get them wrong. */
#include "devkube/validate.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/str.h"

#define EVENT_TEXT_MAX 128
#define EVENT_NOTE_MAX 1024

/* kubernetes/apimachinery MicroTime: RFC 3339 with exactly six fraction digits. The text of a
 * failure is that of Go's time.Parse. */
static bool parse_microtime(const char *s, struct err *e)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddddd";
    static const char layout[] = "2006-01-02T15:04:05.000000Z07:00";
    const size_t seconds = strlen("2006-01-02T15:04:05");
    size_t n = 0;
    while (n < sizeof(shape) - 1 &&
           (shape[n] == 'd' ? isdigit((unsigned char)s[n]) : s[n] == shape[n]))
        n++;
    const char *rest = n < seconds ? s : n < sizeof(shape) - 1 ? s + seconds : s + n;
    const char *part = n < seconds ? "2006" : n < sizeof(shape) - 1 ? ".000000" : "Z07:00";
    bool complete = n == sizeof(shape) - 1;
    size_t zone = 0;
    if (complete && *rest == 'Z')
        zone = 1;
    else if (complete && (*rest == '+' || *rest == '-') && strlen(rest) >= 6)
        zone = 6;
    if (zone == 0)
        return err_set(e, ERR_INVALID,
                       "parsing time \"%.64s\" as \"%s\": cannot parse \"%.64s\" as \"%s\"", s,
                       layout, rest, part);
    if (rest[zone])
        return err_set(e, ERR_INVALID, "parsing time \"%.64s\": extra text: \"%.64s\"", s,
                       rest + zone);
    return true;
}

static const char *go_name(const struct json_object *o)
{
    switch (json_object_get_type(o)) {
    case json_type_boolean:
        return "bool";
    case json_type_int:
    case json_type_double:
        return "number";
    case json_type_null:
    case json_type_object:
    case json_type_array:
    case json_type_string:
        break;
    }
    return json_type_to_name(json_object_get_type(o));
}

static bool type_error(const struct resource *res, const char *path, const struct json_object *val,
                       const char *type, struct err *e)
{
    const char *owner = str_starts(path, "metadata.") ? "ObjectMeta" : res->kind;
    return err_set(e, ERR_INVALID,
                   "json: cannot unmarshal %s into Go struct field %s%s.%s of type %s",
                   go_name(val), owner, str_starts(path, "spec.") ? "Spec" : "", path, type);
}

static bool decode_type(const struct resource *res, const struct json_object *o, const char *path,
                        enum json_type type, const char *go_type, struct err *e)
{
    const struct json_object *val = jx_path(o, path);
    return !val || json_object_is_type(val, type) || type_error(res, path, val, go_type, e);
}

static bool decode_microtime(const struct resource *res, const struct json_object *o,
                             const char *path, struct err *e)
{
    const char *s = jx_str(o, path);
    return decode_type(res, o, path, json_type_string, "string", e) &&
           (!s || parse_microtime(s, e));
}

static bool decode_strings(const struct resource *res, const struct json_object *o,
                           const char *path, struct err *e)
{
    if (!decode_type(res, o, path, json_type_object, "map[string]string", e))
        return false;
    for (struct lh_entry *p = jx_head(jx_path(o, path)); p; p = p->next) {
        if (!json_object_is_type(jx_val(p), json_type_string))
            return type_error(res, path, jx_val(p), "string", e);
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

static bool decode_lease(const struct resource *res, struct json_object *o, struct err *e)
{
    drop_unknown_lease_fields(jx_get(o, "spec"));
    return decode_type(res, o, "spec", json_type_object, "v1.LeaseSpec", e) &&
           decode_type(res, o, "spec.holderIdentity", json_type_string, "string", e) &&
           decode_type(res, o, "spec.leaseDurationSeconds", json_type_int, "int32", e) &&
           decode_type(res, o, "spec.leaseTransitions", json_type_int, "int32", e) &&
           decode_microtime(res, o, "spec.acquireTime", e) &&
           decode_microtime(res, o, "spec.renewTime", e);
}

static void drop_if_empty(struct json_object *o, const char *key)
{
    struct json_object *val = jx_get(o, key);
    if (json_object_is_type(val, json_type_object) && json_object_object_length(val) == 0)
        json_object_object_del(o, key);
}

bool validate_decode(const struct resource *res, struct json_object *o, struct err *e)
{
    jx_strip_nulls(o);
    if (!decode_type(res, o, "metadata", json_type_object, "v1.ObjectMeta", e))
        return false;
    struct json_object *meta = jx_need(o, "metadata");
    json_object_object_del(meta, "managedFields");
    json_object_object_del(meta, "selfLink");
    drop_if_empty(meta, "labels");
    drop_if_empty(meta, "annotations");
    static const char *const strings[] = {"metadata.name", "metadata.namespace", "metadata.uid",
                                          "metadata.resourceVersion"};
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        if (!decode_type(res, o, strings[i], json_type_string, "string", e))
            return false;
    }
    if (!decode_strings(res, o, "metadata.labels", e) ||
        !decode_strings(res, o, "metadata.annotations", e))
        return false;
    if (str_eq(res->kind, "ConfigMap"))
        return decode_strings(res, o, "data", e);
    if (str_eq(res->kind, "Lease"))
        return decode_lease(res, o, e);
    if (str_eq(res->group, "events.k8s.io"))
        return decode_microtime(res, o, "eventTime", e) &&
               decode_microtime(res, o, "series.lastObservedTime", e);
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

/* The server validates events in their core form, and says so. */
static bool validate_event(const char *name, const struct json_object *o, struct reply *rp)
{
    static const char *const needed[] = {"eventTime", "reportingController", "reportingInstance",
                                         "action", "reason"};
    const struct resource *res = store_find_resource("", "v1", "events");
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
        return reply_invalid(rp, res, name, "FieldValueInvalid", "message",
                             "Invalid value: \"\": can have at most %d characters",
                             EVENT_NOTE_MAX);
    if (!*jx_str_or(o, "regarding.namespace", "") &&
        !str_eq(jx_str_or(o, "metadata.namespace", ""), "default"))
        return reply_invalid(rp, res, name, "FieldValueInvalid", "involvedObject.namespace",
                             "Invalid value: \"\": does not match event.namespace");
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
        return validate_event(name, o, rp);
    return true;
}
