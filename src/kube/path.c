/* Paths of the API and the counters kept by them. */
#include <string.h>

#include "base/str.h"
#include "internal.h"

void kube_escape(struct buf *b, const char *s)
{
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                     (*s >= '0' && *s <= '9') || strchr("-._~", *s);
        if (plain)
            buf_put(b, s, 1);
        else
            buf_printf(b, "%%%02X", (unsigned)(unsigned char)*s);
    }
}

void kube_path(struct buf *b, const struct kube *k, const char *group, const char *plural,
               const char *name)
{
    if (*group)
        buf_printf(b, "/apis/%s/v1/namespaces/", group);
    else
        buf_puts(b, "/api/v1/namespaces/");
    kube_escape(b, k->cfg.ns);
    buf_printf(b, "/%s", plural);
    if (!name)
        return;
    buf_puts(b, "/");
    kube_escape(b, name);
}

static const char *resource_of(const char *path, const char **rest)
{
    static const char *const known[] = {
        "leases", "pods", "configmaps", "events", "selfsubjectaccessreviews",
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        for (const char *at = path; (at = strstr(at, known[i])); at++) {
            const char *end = at + strlen(known[i]);
            if (at > path && at[-1] == '/' && (*end == '\0' || *end == '/' || *end == '?')) {
                *rest = end;
                return known[i];
            }
        }
    }
    *rest = "";
    return "other";
}

static const char *verb_of(const char *method, const char *path, const char *rest)
{
    static const char *const verbs[][2] = {{"POST", "create"},
                                           {"PUT", "update"},
                                           {"PATCH", "patch"},
                                           {"DELETE", "delete"}};

    if (strstr(path, "watch=true"))
        return "watch";
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (str_eq(method, verbs[i][0]))
            return verbs[i][1];
    return *rest == '/' ? "get" : "list";
}

void kube_count(struct kube *k, const char *method, const char *path, int code)
{
    const char *rest;
    const char *resource = resource_of(path, &rest);
    const char *verb = str_eq(resource, "other") && str_eq(method, "GET")
                           ? "get"
                           : verb_of(method, path, rest);

    for (size_t i = 0; i < k->n_stats; i++) {
        struct kube_stat *s = &k->stats[i];
        if (s->code == code && str_eq(s->verb, verb) && str_eq(s->resource, resource)) {
            s->count++;
            return;
        }
    }
    if (k->n_stats < KUBE_STATS_MAX)
        k->stats[k->n_stats++] =
            (struct kube_stat){.verb = verb, .resource = resource, .code = code, .count = 1};
}
