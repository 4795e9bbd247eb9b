/* Routing, reads, and who may do what. */
#include "devkube/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "devkube/selector.h"
#include "devkube/watch.h"

#define SEGMENTS_MAX 9

const char *api_arg(const struct api_request *rq, const char *key)
{
    const char *v = rq->arg(rq->arg_ctx, key);
    return v && *v ? v : NULL;
}

static bool arg_true(const struct api_request *rq, const char *key)
{
    const char *v = api_arg(rq, key);
    return v && (str_eq(v, "true") || str_eq(v, "1"));
}

/* Splits the path; segments point into copy. 0 when there are too many. */
static size_t split(char *copy, const char *segments[SEGMENTS_MAX])
{
    size_t n = 0;
    for (char *p = copy; *p;) {
        size_t len = strcspn(p, "/");
        bool last = p[len] == '\0';
        p[len] = '\0';
        if (len > 0 && n == SEGMENTS_MAX)
            return 0;
        if (len > 0)
            segments[n++] = p;
        p += len + (last ? 0 : 1);
    }
    return n;
}

static const char *verb_of(const struct api_request *rq)
{
    bool item = rq->name[0] != '\0' || rq->route != API_RESOURCE;
    if (str_eq(rq->method, "GET"))
        return item ? "get" : arg_true(rq, "watch") ? "watch" : "list";
    if (str_eq(rq->method, "POST"))
        return "create";
    if (str_eq(rq->method, "PUT"))
        return "update";
    if (str_eq(rq->method, "PATCH"))
        return "patch";
    if (str_eq(rq->method, "DELETE"))
        return item ? "delete" : "deletecollection";
    return "other";
}

/* The segments after the version: [namespaces NS] plural [name [sub]]. */
static enum api_route route_resource(struct api_request *rq, const char *group,
                                     const char *version, const char **seg, size_t n)
{
    bool in_ns = n >= 3 && str_eq(seg[0], "namespaces") && !str_eq(seg[2], "status");
    if (in_ns) {
        if (!str_copy(rq->ns, sizeof(rq->ns), seg[1]))
            return API_NO_PATH;
        seg += 2;
        n -= 2;
    }
    rq->res = store_find_resource(group, version, seg[0]);
    if (!rq->res || n > 3 || (in_ns && !rq->res->namespaced))
        return API_NO_RESOURCE;
    if (n > 1 && !str_copy(rq->name, sizeof(rq->name), seg[1]))
        return API_NO_PATH;
    if (n > 1 && rq->res->namespaced && !in_ns)
        return API_NO_RESOURCE;
    if (n > 2) {
        if (!str_eq(seg[2], "status") || !rq->res->has_status)
            return API_NO_RESOURCE;
        must(str_copy(rq->sub, sizeof(rq->sub), seg[2]));
    }
    must(str_format(rq->resource, sizeof(rq->resource), "%s%s%s", rq->res->plural,
                    rq->sub[0] ? "/" : "", rq->sub));
    return API_RESOURCE;
}

static bool group_served(const char *group, const char *version)
{
    size_t n;
    const struct resource *all = store_resources(&n);
    for (size_t i = 0; i < n; i++) {
        if (str_eq(all[i].group, group) && str_eq(all[i].version, version))
            return true;
    }
    return str_eq(group, "authorization.k8s.io") && str_eq(version, "v1");
}

static enum api_route route_path(struct api_request *rq, char *copy)
{
    static const char *const fixed[] = {"version", "healthz", "livez", "readyz", "api", "apis"};
    const char *seg[SEGMENTS_MAX];
    size_t n = split(copy, seg);
    if (n == 1) {
        for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
            if (str_eq(seg[0], fixed[i]))
                return API_FIXED;
        }
    }
    bool core = n >= 2 && str_eq(seg[0], "api");
    bool grouped = n >= 3 && str_eq(seg[0], "apis");
    if (n == 2 && str_eq(seg[0], "apis") && group_served(seg[1], "v1"))
        return API_FIXED;
    if (!core && !grouped)
        return API_NO_PATH;
    const char *group = core ? "" : seg[1];
    const char *version = core ? seg[1] : seg[2];
    size_t skip = core ? 2 : 3;
    if (!group_served(group, version))
        return group_served(group, "v1") ? API_NO_RESOURCE : API_NO_PATH;
    if (n == skip)
        return API_FIXED;
    if (str_eq(group, "authorization.k8s.io"))
        return n == 4 && str_eq(seg[3], "selfsubjectaccessreviews") ? API_FIXED : API_NO_RESOURCE;
    return route_resource(rq, group, version, seg + skip, n - skip);
}

void api_route(struct api_request *rq)
{
    rq->ns[0] = rq->name[0] = rq->target[0] = rq->sub[0] = '\0';
    rq->res = NULL;
    char *copy = strdup(rq->path);
    must(copy);
    rq->route = route_path(rq, copy);
    free(copy);
    if (rq->route != API_RESOURCE)
        snprintf(rq->resource, sizeof(rq->resource), "%s", rq->path);
    rq->verb = verb_of(rq);
    must(str_copy(rq->target, sizeof(rq->target), rq->name));
    if (rq->route != API_RESOURCE || *rq->name || !api_arg(rq, "fieldSelector"))
        return;
    struct selector *sel = selector_new(rq->res, NULL, api_arg(rq, "fieldSelector"), NULL);
    const char *pinned = selector_name(sel);
    if (pinned && !str_copy(rq->target, sizeof(rq->target), pinned))
        rq->target[0] = '\0';
    selector_free(sel);
}

/* A watch fails elsewhere in the server than a list, with another code. */
static bool refuse_rv(const struct api_request *rq, const char *text, struct reply *rp)
{
    static const char why[] = "resourceVersion: Invalid value: \"%.64s\": strconv.ParseUint: "
                              "parsing \"%.64s\": invalid syntax";
    char message[320];
    must(str_format(message, sizeof(message), why, text, text));
    return str_eq(rq->verb, "watch")
               ? reply_status(rp, 500, "", NULL, "%s", message)
               : reply_bad_request(rp, "invalid resource version: %s", message);
}

/* resourceVersion argument: -1 when absent. False when it cannot be served; rp holds why. */
static bool asked_rv(const struct api_request *rq, const struct store *view, int64_t *ret,
                     struct reply *rp)
{
    const char *text = api_arg(rq, "resourceVersion");
    *ret = -1;
    if (!text)
        return true;
    if (!str_to_i64(text, 0, INT64_MAX, ret))
        return refuse_rv(rq, text, rp);
    if (*ret > store_rv(view) && !str_eq(rq->verb, "watch"))
        return reply_future_rv(rp, *ret, store_rv(view));
    return true;
}

static void api_get(const struct api_request *rq, struct store *view, struct reply *rp)
{
    int64_t rv;
    if (!asked_rv(rq, view, &rv, rp))
        return;
    const struct json_object *o = store_get(view, rq->res, rq->ns, rq->name);
    if (o)
        reply_object(rp, 200, rq->res, o);
    else
        reply_not_found(rp, rq->res, rq->name);
}

static void list(const struct api_request *rq, struct store *view, const struct selector *sel,
                 struct reply *rp)
{
    char head[64];
    size_t pos = 0;
    const char *sep = "";
    const struct object *o;
    buf_clear(&rp->body);
    must(str_format(head, sizeof(head), "{\"metadata\":{\"resourceVersion\":\"%" PRId64 "\"},",
                    store_rv(view)));
    put_object(&rp->body, rq->res, "List", head);
    must(buf_puts(&rp->body, "\"items\":["));
    while ((o = store_next(view, rq->res, *rq->ns ? rq->ns : NULL, &pos))) {
        if (!selector_match(sel, o->json))
            continue;
        must(buf_printf(&rp->body, "%s%s", sep, jx_text(o->json)));
        sep = ",";
    }
    must(buf_puts(&rp->body, "]}\n"));
}

static void api_list(const struct api *a, const struct api_request *rq, struct store *view,
                     struct reply *rp)
{
    int64_t rv;
    struct err e;
    struct watch_options opt = {.bookmarks = arg_true(rq, "allowWatchBookmarks"),
                                .bookmark_ms = a->bookmark_ms};
    const char *labels = api_arg(rq, "labelSelector");
    const char *fields = api_arg(rq, "fieldSelector");
    const char *timeout = api_arg(rq, "timeoutSeconds");
    if (!asked_rv(rq, view, &rv, rp))
        return;
    if (timeout && !str_to_i64(timeout, 0, INT32_MAX, &opt.timeout_s)) {
        reply_bad_request(rp, "strconv.ParseInt: parsing \"%.64s\": invalid syntax", timeout);
        return;
    }
    if (arg_true(rq, "sendInitialEvents")) {
        /* What a server without the WatchList feature says; clients then list and watch. */
        static const struct resource options = {.group = "meta.k8s.io", .kind = "ListOptions"};
        reply_invalid(rp, &options, "", "FieldValueForbidden", "sendInitialEvents",
                      "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList "
                      "feature gate is enabled");
        return;
    }
    struct selector *sel = selector_new(rq->res, labels, fields, &e);
    if (!sel) {
        reply_bad_request(rp, "%s", e.msg);
    } else if (str_eq(rq->verb, "watch")) {
        rp->watch = watch_new(a->st, rq->res, rq->ns, sel, rv, &opt);
    } else {
        list(rq, view, sel, rp);
        selector_free(sel);
    }
}

static bool permitted(const struct api_request *rq, struct reply *rp)
{
    if (str_eq(rq->user_ns, "*") || str_eq(rq->user_ns, rq->ns))
        return true;
    return reply_forbidden(rp, rq->res, rq->ns, rq->target, rq->verb, rq->user);
}

static void handle_resource(struct api *a, const struct api_request *rq, struct store *view,
                            struct reply *rp)
{
    const char *verb = rq->verb;
    if (!permitted(rq, rp))
        return;
    if (str_eq(verb, "get"))
        api_get(rq, view, rp);
    else if (str_eq(verb, "list") || str_eq(verb, "watch"))
        api_list(a, rq, view, rp);
    else if (str_eq(verb, "create") && !*rq->name && (*rq->ns || !rq->res->namespaced))
        api_create(a, rq, rp);
    else if (str_eq(verb, "update") && *rq->name)
        api_update(a, rq, rp);
    else if (str_eq(verb, "patch") && *rq->name)
        api_patch(a, rq, rp);
    else if (str_eq(verb, "delete") && !*rq->sub)
        api_delete(a, rq, rp);
    else
        reply_method_not_allowed(rp);
}

void api_handle(struct api *a, const struct api_request *rq, struct store *view, struct reply *rp)
{
    a->actor = rq->user;
    switch (rq->route) {
    case API_RESOURCE:
        handle_resource(a, rq, view, rp);
        break;
    case API_FIXED:
        api_fixed(a, rq, rp);
        break;
    case API_NO_RESOURCE:
        reply_no_resource(rp);
        break;
    case API_NO_PATH:
        reply_no_path(rp);
        break;
    }
    a->actor = NULL;
}
