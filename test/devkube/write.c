/* Create, update, patch and delete: the rules of kube-apiserver's generic registry. All checks
 * come before the commit, which cannot fail; one thread makes each request atomic. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "devkube/api.h"
#include "devkube/patch.h"
#include "devkube/validate.h"

/* Events have no reader that would delete them; the real server drops them after an hour. */
#define EVENTS_MAX 2000
#define GRACE_DEFAULT_S 30

static void stamp_time(struct json_object *meta, const char *key, int64_t in_s)
{
    char text[32];
    struct tm tm;
    time_t at = (time_t)(clock_wall_us() / 1000000 + in_s);
    must(gmtime_r(&at, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
    jx_set_str(meta, key, text);
}

static void random_bytes(unsigned char *dst, size_t n)
{
    must(getrandom(dst, n, 0) == (ssize_t)n);
}

static void stamp_uid(struct json_object *meta)
{
    unsigned char r[16];
    char text[40];
    random_bytes(r, sizeof(r));
    must(str_format(text, sizeof(text),
                    "%02x%02x%02x%02x-%02x%02x-4%x%02x-a%x%02x-%02x%02x%02x%02x%02x%02x", r[0],
                    r[1], r[2], r[3], r[4], r[5], r[6] & 15u, r[7], r[8] & 15u, r[9], r[10], r[11],
                    r[12], r[13], r[14], r[15]));
    jx_set_str(meta, "uid", text);
}

static bool kind_known(const char *gv, const char *kind)
{
    size_t n;
    char text[128];
    const struct resource *all = store_resources(&n);
    for (size_t i = 0; i < n; i++) {
        must(str_format(text, sizeof(text), "%s%s%s", all[i].group, *all[i].group ? "/" : "",
                        all[i].version));
        if (str_eq(text, gv) && str_eq(all[i].kind, kind))
            return true;
    }
    return false;
}

/* Is it what the path says? Absent kind and apiVersion are. */
static bool right_kind(const struct resource *res, const struct json_object *o, struct reply *rp)
{
    char gv[128];
    must(str_format(gv, sizeof(gv), "%s%s%s", res->group, *res->group ? "/" : "", res->version));
    const char *kind = jx_str_or(o, "kind", res->kind);
    const char *version = jx_str_or(o, "apiVersion", gv);
    if (str_eq(kind, res->kind) && str_eq(version, gv))
        return true;
    const char *group = *res->group ? res->group : "core";
    const char *slash = strchr(version, '/');
    const char *short_version = slash ? slash + 1 : version;
    if (kind_known(version, kind))
        return reply_bad_request(rp,
                                 "%s in version \"%s\" cannot be handled as a %s: converting "
                                 "(%s.%s) to (%.*s.%s): unknown conversion",
                                 kind, short_version, res->kind, short_version, kind,
                                 (int)strcspn(group, "."), group, res->kind);
    return reply_bad_request(rp,
                             "%.64s in version \"%.64s\" cannot be handled as a %s: no kind "
                             "\"%.64s\" is registered for version \"%.64s\" in scheme "
                             "\"pkg/runtime/scheme.go:111\"",
                             kind, short_version, res->kind, kind, version);
}

/* The body as an object of the addressed resource, without kind and apiVersion; NULL: rp set. */
static struct json_object *read_body(const struct api_request *rq, struct reply *rp)
{
    struct err e;
    const struct resource *res = rq->res;
    if (rq->content_type && !str_starts(rq->content_type, "application/json")) {
        reply_media_type(rp, false);
        return NULL;
    }
    struct json_object *o = jx_parse(rq->body, rq->body_len);
    bool ok = json_object_is_type(o, json_type_object);
    if (!ok)
        reply_bad_request(rp,
                          "the object provided is unrecognized (must be of type %s): couldn't get "
                          "version/kind; json parse error: unexpected end of JSON input (%.256s)",
                          res->kind, rq->body_len ? rq->body : "<empty>");
    ok = ok && right_kind(res, o, rp);
    if (ok && !validate_decode(res, o, &e))
        ok = reply_bad_request(rp, "%s in version \"%s\" cannot be handled as a %s: %s",
                               res->kind, res->version, res->kind, e.msg);
    if (!ok) {
        json_object_put(o);
        return NULL;
    }
    json_object_object_del(o, "kind");
    json_object_object_del(o, "apiVersion");
    return o;
}

static bool same_place(const struct api_request *rq, const struct json_object *o, struct reply *rp)
{
    const char *ns = jx_str_or(o, "metadata.namespace", "");
    const char *name = jx_str_or(o, "metadata.name", "");
    if (*ns && !str_eq(ns, rq->ns))
        return reply_bad_request(rp, "the namespace of the provided object does not match the "
                                     "namespace sent on the request");
    if (*rq->name && *name && !str_eq(name, rq->name))
        return reply_bad_request(
            rp, "the name of the object (%s) does not match the name on the URL (%s)", name,
            rq->name);
    return true;
}

static void generate_name(struct json_object *meta)
{
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    unsigned char r[5];
    char name[API_NAME_MAX];
    const char *prefix = jx_str_or(meta, "generateName", "");
    if (!*prefix || *jx_str_or(meta, "name", ""))
        return;
    random_bytes(r, sizeof(r));
    char tail[6] = {0};
    for (size_t i = 0; i < sizeof(r); i++)
        tail[i] = letters[r[i] % (sizeof(letters) - 1)];
    if (str_format(name, sizeof(name), "%s%s", prefix, tail))
        jx_set_str(meta, "name", name);
}

/* What the server sets itself; clients' values do not count. */
static void birth(const struct resource *res, struct json_object *o)
{
    struct json_object *meta = jx_need(o, "metadata");
    stamp_uid(meta);
    stamp_time(meta, "creationTimestamp", 0);
    json_object_object_del(meta, "deletionTimestamp");
    json_object_object_del(meta, "deletionGracePeriodSeconds");
    if (str_eq(res->kind, "Pod")) {
        struct json_object *status = json_object_new_object();
        jx_set_str(status, "phase", "Pending");
        jx_set(o, "status", status);
    } else if (str_eq(res->kind, "Namespace")) {
        jx_set_str(jx_need(o, "status"), "phase", "Active");
    }
}

static void drop_oldest_event(struct store *st, const struct resource *res)
{
    size_t pos = 0;
    const struct object *o;
    const struct object *oldest = NULL;
    if (!str_eq(res->plural, "events") || store_count(st, res) <= EVENTS_MAX)
        return;
    while ((o = store_next(st, res, NULL, &pos))) {
        if (!oldest || o->rv < oldest->rv)
            oldest = o;
    }
    if (oldest)
        store_remove(st, res, oldest->ns, oldest->name);
}

/* Takes o, which has passed decoding. */
static void commit_new(struct api *a, const struct api_request *rq, struct json_object *o,
                       struct reply *rp)
{
    const struct resource *res = rq->res;
    struct json_object *meta = jx_need(o, "metadata");
    if (*rq->ns)
        jx_set_str(meta, "namespace", rq->ns);
    if (*rq->name)
        jx_set_str(meta, "name", rq->name);
    const char *name = jx_str_or(meta, "name", "");
    if (!validate_object(res, name, o, rp)) {
        json_object_put(o);
        return;
    }
    birth(res, o);
    store_put(a->st, res, rq->ns, name, o);
    reply_object(rp, 201, res, o);
    drop_oldest_event(a->st, res);
}

static bool namespace_exists(const struct api *a, const struct api_request *rq, struct reply *rp)
{
    const struct resource *nss = store_find_resource("", "v1", "namespaces");
    if (!rq->res->namespaced || store_get(a->st, nss, "", rq->ns))
        return true;
    return reply_not_found(rp, nss, rq->ns);
}

void api_create(struct api *a, const struct api_request *rq, struct reply *rp)
{
    struct json_object *o = read_body(rq, rp);
    if (!o)
        return;
    struct json_object *meta = jx_need(o, "metadata");
    generate_name(meta);
    const char *name = jx_str_or(meta, "name", "");
    bool ok = same_place(rq, o, rp) && namespace_exists(a, rq, rp);
    if (ok && *jx_str_or(meta, "resourceVersion", ""))
        ok = reply_status(rp, 500, "", NULL,
                          "resourceVersion should not be set on objects to be created");
    if (ok && *name && store_get(a->st, rq->res, rq->ns, name))
        ok = reply_exists(rp, rq->res, name);
    if (ok)
        commit_new(a, rq, o, rp);
    else
        json_object_put(o);
}

static bool uid_precondition(const struct api_request *rq, const char *want, const char *have,
                             struct reply *rp)
{
    if (!*want || str_eq(want, have))
        return true;
    return reply_conflict(rp, rq->res, rq->name,
                          "StorageError: invalid object, Code: 4, Key: /registry/%s/%s%s%s, "
                          "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
                          "precondition: %s, UID in object meta: %s",
                          rq->res->key, rq->ns, *rq->ns ? "/" : "", rq->name, want, have);
}

/* Server-owned fields of o come from old, and so does what the (sub)resource may not change. */
static struct json_object *carry_over(const struct api_request *rq, const struct json_object *old,
                                      struct json_object *o)
{
    static const char *const owned[] = {"name",
                                        "namespace",
                                        "uid",
                                        "resourceVersion",
                                        "creationTimestamp",
                                        "deletionTimestamp",
                                        "deletionGracePeriodSeconds"};
    struct json_object *meta = jx_need(o, "metadata");
    struct json_object *old_meta = jx_get(old, "metadata");
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
        struct json_object *val = jx_get(old_meta, owned[i]);
        if (val)
            jx_set(meta, owned[i], jx_copy(val));
        else
            json_object_object_del(meta, owned[i]);
    }
    if (!rq->res->has_status)
        return o;
    struct json_object *base = *rq->sub ? jx_copy(old) : o;
    struct json_object *status = jx_copy(jx_get(*rq->sub ? o : old, "status"));
    if (*rq->sub)
        jx_set(base, "metadata", jx_copy(meta));
    if (status)
        jx_set(base, "status", status);
    else
        json_object_object_del(base, "status");
    if (base != o)
        json_object_put(o);
    return base;
}

/* Takes o. A write that changes nothing is not a write: the resource version stays. */
static void commit_change(struct api *a, const struct api_request *rq, struct json_object *old,
                          struct json_object *o, struct reply *rp)
{
    o = carry_over(rq, old, o);
    if (!validate_object(rq->res, rq->name, o, rp)) {
        json_object_put(o);
        return;
    }
    if (jx_equal(old, o)) {
        reply_object(rp, 200, rq->res, old);
        json_object_put(o);
        return;
    }
    store_put(a->st, rq->res, rq->ns, rq->name, o);
    reply_object(rp, 200, rq->res, o);
}

static bool rv_precondition(const struct api_request *rq, const struct json_object *old,
                            const struct json_object *o, struct reply *rp)
{
    const char *want = jx_str_or(o, "metadata.resourceVersion", "");
    if ((!*want || str_eq(want, "0")) && rq->res->unconditional_update)
        return true;
    if (!*want || str_eq(want, "0"))
        return reply_needs_rv(rp, rq->res, rq->name);
    return str_eq(want, jx_str_or(old, "metadata.resourceVersion", "")) ||
           reply_stale(rp, rq->res, rq->name);
}

void api_update(struct api *a, const struct api_request *rq, struct reply *rp)
{
    struct json_object *o = read_body(rq, rp);
    if (!o)
        return;
    struct json_object *old = store_get(a->st, rq->res, rq->ns, rq->name);
    const char *uid = jx_str_or(o, "metadata.uid", "");
    bool create = !old && rq->res->create_on_update && !*rq->sub;
    bool ok = same_place(rq, o, rp);
    if (ok && !old && !create)
        ok = reply_not_found(rp, rq->res, rq->name);
    ok = ok && uid_precondition(rq, uid, jx_str_or(old, "metadata.uid", ""), rp);
    if (ok && create)
        ok = namespace_exists(a, rq, rp);
    else
        ok = ok && rv_precondition(rq, old, o, rp);
    if (!ok)
        json_object_put(o);
    else if (create)
        commit_new(a, rq, o, rp);
    else
        commit_change(a, rq, old, o, rp);
}

/* Applies the patch in the body to doc. */
static bool apply_patch(const struct api_request *rq, bool ops, struct json_object **doc,
                        struct reply *rp)
{
    struct err e;
    bool ok = false;
    struct json_object *patch = jx_parse(rq->body, rq->body_len);
    if (!patch)
        reply_bad_request(rp, "error decoding patch: unexpected end of JSON input");
    else if (!json_object_is_type(patch, ops ? json_type_array : json_type_object))
        reply_bad_request(rp, "error decoding patch: json: cannot unmarshal %s into Go value of "
                              "type %s",
                          json_type_to_name(json_object_get_type(patch)),
                          ops ? "[]handlers.jsonPatchOp" : "map[string]interface {}");
    else if (ops && !patch_json(doc, patch, &e))
        reply_status(rp, 422, "Invalid", json_object_new_object(),
                     "the server rejected our request due to an error in our request");
    else
        ok = true;
    if (ok && !ops)
        patch_merge(*doc, patch);
    json_object_put(patch);
    return ok;
}

/* The result of a patch that does not decode is a 422 that quotes it, without naming the object. */
static bool decode_patched(const struct resource *res, struct json_object *o, struct reply *rp)
{
    static const struct resource nameless = {.group = "", .kind = ""};
    struct err e = {0};
    if (validate_decode(res, o, &e))
        return true;
    struct json_object *text = json_object_new_string(jx_text(o));
    reply_invalid(rp, &nameless, "", "FieldValueInvalid", "patch", "Invalid value: %s: %s",
                  jx_text(text), e.msg);
    json_object_put(text);
    return false;
}

static bool patch_preconditions(const struct api_request *rq, const struct json_object *old,
                                const struct json_object *o, struct reply *rp)
{
    const char *uid = jx_str_or(o, "metadata.uid", "");
    const char *rv = jx_str_or(o, "metadata.resourceVersion", "");
    if (!same_place(rq, o, rp))
        return false;
    if (*rv && !str_eq(rv, jx_str_or(old, "metadata.resourceVersion", "")))
        return reply_stale(rp, rq->res, rq->name);
    if (*uid && !str_eq(uid, jx_str_or(old, "metadata.uid", "")))
        return reply_invalid(rp, rq->res, rq->name, "FieldValueInvalid", "metadata.uid",
                             "Invalid value: \"%.253s\": field is immutable", uid);
    return true;
}

void api_patch(struct api *a, const struct api_request *rq, struct reply *rp)
{
    const char *type = rq->content_type ? rq->content_type : "";
    bool ops = str_starts(type, "application/json-patch+json");
    if (!ops && !str_starts(type, "application/merge-patch+json") &&
        !str_starts(type, "application/strategic-merge-patch+json")) {
        reply_media_type(rp, true);
        return;
    }
    struct json_object *old = store_get(a->st, rq->res, rq->ns, rq->name);
    if (!old) {
        reply_not_found(rp, rq->res, rq->name);
        return;
    }
    struct json_object *o = jx_copy(old);
    bool ok = apply_patch(rq, ops, &o, rp);
    if (ok && !json_object_is_type(o, json_type_object))
        ok = reply_bad_request(rp, "error decoding patch: the result is not an object");
    ok = ok && decode_patched(rq->res, o, rp) && patch_preconditions(rq, old, o, rp);
    if (!ok) {
        json_object_put(o);
        return;
    }
    json_object_object_del(o, "kind");
    json_object_object_del(o, "apiVersion");
    commit_change(a, rq, old, o, rp);
}

static bool delete_preconditions(const struct api_request *rq, const struct json_object *options,
                                 const struct json_object *old, struct reply *rp)
{
    static const struct {
        const char *field;
        const char *text;
        const char *past; /* what may have happened to the object */
    } checks[] = {{"uid", "UID", "deleted and then recreated"},
                  {"resourceVersion", "ResourceVersion", "modified"}};
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        const char *field = checks[i].field;
        const char *want = jx_str_or(jx_path(options, "preconditions"), field, "");
        const char *have = jx_str_or(jx_get(old, "metadata"), field, "");
        if (*want && !str_eq(want, have))
            return reply_precondition(rp, rq->res, rq->name,
                                      "the %s in the precondition (%s) does not match the %s in "
                                      "record (%s). The object might have been %s",
                                      checks[i].text, want, checks[i].text, have, checks[i].past);
    }
    return true;
}

static int64_t grace_of(const struct api_request *rq, const struct json_object *options,
                        const struct json_object *pod)
{
    int64_t asked = -1;
    const char *arg = api_arg(rq, "gracePeriodSeconds");
    const char *phase = jx_str_or(pod, "status.phase", "");
    if (!*jx_str_or(pod, "spec.nodeName", "") || str_eq(phase, "Failed") ||
        str_eq(phase, "Succeeded"))
        return 0; /* nobody runs it, so nobody would confirm its end */
    if (!arg || !str_to_i64(arg, 0, INT32_MAX, &asked))
        asked = jx_int(options, "gracePeriodSeconds", -1);
    if (asked < 0)
        asked = jx_int(pod, "spec.terminationGracePeriodSeconds", GRACE_DEFAULT_S);
    return asked;
}

/* Marks the pod; the node (here: the test) confirms with gracePeriodSeconds=0. */
static void delete_gracefully(struct api *a, const struct api_request *rq,
                              struct json_object *pod, int64_t grace_s, struct reply *rp)
{
    int64_t before = jx_int(pod, "metadata.deletionGracePeriodSeconds", INT64_MAX);
    if (grace_s >= before) {
        reply_object(rp, 200, rq->res, pod);
        return;
    }
    struct json_object *o = jx_copy(pod);
    struct json_object *meta = jx_need(o, "metadata");
    stamp_time(meta, "deletionTimestamp", grace_s);
    jx_set_int(meta, "deletionGracePeriodSeconds", grace_s);
    store_put(a->st, rq->res, rq->ns, rq->name, o);
    reply_object(rp, 200, rq->res, o);
}

static void empty_namespace(struct store *st, const char *ns)
{
    size_t n;
    const struct resource *all = store_resources(&n);
    for (size_t i = 0; i < n; i++) {
        const struct object *o;
        size_t pos = 0;
        while (all[i].namespaced && (o = store_next(st, &all[i], ns, &pos))) {
            store_remove(st, &all[i], o->ns, o->name);
            pos = 0; /* the listener may have removed others */
        }
    }
}

void api_delete(struct api *a, const struct api_request *rq, struct reply *rp)
{
    struct json_object *options = NULL;
    struct json_object *old = store_get(a->st, rq->res, rq->ns, rq->name);
    if (rq->body_len > 0 && !(options = jx_parse(rq->body, rq->body_len))) {
        reply_bad_request(rp, "couldn't get version/kind; json parse error");
        return;
    }
    if (!old) {
        reply_not_found(rp, rq->res, rq->name);
    } else if (delete_preconditions(rq, options, old, rp)) {
        bool pod = str_eq(rq->res->kind, "Pod");
        int64_t grace_s = pod ? grace_of(rq, options, old) : 0;
        if (grace_s > 0) {
            delete_gracefully(a, rq, old, grace_s, rp);
        } else {
            json_object_get(old);
            if (str_eq(rq->res->kind, "Namespace"))
                empty_namespace(a->st, rq->name);
            store_remove(a->st, rq->res, rq->ns, rq->name);
            if (pod)
                reply_object(rp, 200, rq->res, old);
            else
                reply_deleted(rp, rq->res, rq->name, jx_str_or(old, "metadata.uid", ""));
            json_object_put(old);
        }
    }
    json_object_put(options);
}
