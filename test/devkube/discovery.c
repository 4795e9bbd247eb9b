/* Paths that are not stored objects: health, version, discovery, access reviews. */
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "devkube/api.h"

static struct json_object *version_pair(const char *group, const char *version)
{
    char text[128];
    must(str_format(text, sizeof(text), "%s/%s", group, version));
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "groupVersion", text);
    jx_set_str(o, "version", version);
    return o;
}

static struct json_object *group_new(const char *name)
{
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "name", name);
    struct json_object *versions = json_object_new_array();
    must(json_object_array_add(versions, version_pair(name, "v1")) == 0);
    jx_set(o, "versions", versions);
    jx_set(o, "preferredVersion", version_pair(name, "v1"));
    return o;
}

static struct json_object *group_list(void)
{
    size_t n;
    const char *last = "";
    const struct resource *all = store_resources(&n);
    struct json_object *groups = json_object_new_array();
    must(json_object_array_add(groups, group_new("authorization.k8s.io")) == 0);
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(all[i].group, last))
            must(json_object_array_add(groups, group_new(all[i].group)) == 0);
        last = all[i].group;
    }
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "kind", "APIGroupList");
    jx_set_str(o, "apiVersion", "v1");
    jx_set(o, "groups", groups);
    return o;
}

static void resource_add(struct json_object *list, const struct resource *res, const char *sub)
{
    static const char *const verbs[] = {"create", "delete", "get",   "list",
                                        "patch",  "update", "watch", NULL};
    static const char *const sub_verbs[] = {"get", "patch", "update", NULL};
    char name[64];
    must(str_format(name, sizeof(name), "%s%s", res->plural, sub));
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "name", name);
    jx_set_str(o, "singularName", *sub ? "" : res->singular);
    jx_set(o, "namespaced", json_object_new_boolean(res->namespaced));
    jx_set_str(o, "kind", res->kind);
    struct json_object *array = json_object_new_array();
    for (const char *const *v = *sub ? sub_verbs : verbs; *v; v++)
        must(json_object_array_add(array, json_object_new_string(*v)) == 0);
    jx_set(o, "verbs", array);
    must(json_object_array_add(list, o) == 0);
}

static struct json_object *resource_list(const char *group_version)
{
    size_t n;
    const struct resource *all = store_resources(&n);
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < n; i++) {
        char gv[128];
        must(str_format(gv, sizeof(gv), "%s%s%s", all[i].group, *all[i].group ? "/" : "",
                        all[i].version));
        if (!str_eq(gv, group_version))
            continue;
        resource_add(list, &all[i], "");
        if (all[i].has_status)
            resource_add(list, &all[i], "/status");
    }
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "kind", "APIResourceList");
    jx_set_str(o, "apiVersion", "v1");
    jx_set_str(o, "groupVersion", group_version);
    jx_set(o, "resources", list);
    return o;
}

static struct json_object *version_info(void)
{
    struct json_object *o = json_object_new_object();
    jx_set_str(o, "major", "1");
    jx_set_str(o, "minor", "36");
    jx_set_str(o, "gitVersion", "v1.36.0-devkube");
    jx_set_str(o, "platform", "linux/amd64");
    return o;
}

static struct json_object *core_versions(void)
{
    struct json_object *o = json_object_new_object();
    struct json_object *versions = json_object_new_array();
    must(json_object_array_add(versions, json_object_new_string("v1")) == 0);
    jx_set_str(o, "kind", "APIVersions");
    jx_set(o, "versions", versions);
    jx_set(o, "serverAddressByClientCIDRs", json_object_new_array());
    return o;
}

static void access_review(const struct api_request *rq, struct reply *rp)
{
    struct json_object *o = jx_parse(rq->body, rq->body_len);
    if (!json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        reply_bad_request(rp, "the object provided is unrecognized (must be of type "
                              "SelfSubjectAccessReview): couldn't get version/kind; json parse "
                              "error");
        return;
    }
    const char *ns = jx_str_or(o, "spec.resourceAttributes.namespace", "");
    bool allowed = str_eq(rq->user_ns, "*") || str_eq(rq->user_ns, ns);
    jx_set_str(o, "kind", "SelfSubjectAccessReview");
    jx_set_str(o, "apiVersion", "authorization.k8s.io/v1");
    struct json_object *status = json_object_new_object();
    jx_set(status, "allowed", json_object_new_boolean(allowed));
    jx_set(o, "status", status);
    reply_json(rp, 201, o);
}

void api_fixed(const struct api *a, const struct api_request *rq, struct reply *rp)
{
    (void)a;
    const char *p = rq->path;
    if (str_ends(p, "/selfsubjectaccessreviews")) {
        if (str_eq(rq->method, "POST"))
            access_review(rq, rp);
        else
            reply_method_not_allowed(rp);
    } else if (!str_eq(rq->method, "GET") && !str_eq(rq->method, "HEAD")) {
        reply_method_not_allowed(rp);
    } else if (str_eq(p, "/version")) {
        reply_json(rp, 200, version_info());
    } else if (str_eq(p, "/api")) {
        reply_json(rp, 200, core_versions());
    } else if (str_eq(p, "/apis")) {
        reply_json(rp, 200, group_list());
    } else if (str_starts(p, "/api/")) {
        reply_json(rp, 200, resource_list(p + strlen("/api/")));
    } else if (str_starts(p, "/apis/") && strchr(p + strlen("/apis/"), '/')) {
        reply_json(rp, 200, resource_list(p + strlen("/apis/")));
    } else if (str_starts(p, "/apis/")) {
        struct json_object *o = group_new(p + strlen("/apis/"));
        jx_set_str(o, "kind", "APIGroup");
        jx_set_str(o, "apiVersion", "v1");
        reply_json(rp, 200, o);
    } else {
        reply_text(rp, 200, "ok");
    }
}
