/* Paths of the API and the counters kept by them. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
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
        "leases", "pods", "configmaps", "events", "services", "endpointslices", "selfsubjectaccessreviews",
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

/* Whether the request was authorised, as far as its answer tells: what judges objects comes after. */
static bool shows_right(int code)
{
    return (code >= 200 && code < 300) || code == 404 || code == 409 || code == 410 || code == 422;
}

static void note_right(struct kube *k, const char *verb, const char *resource, int code,
                       const char *why)
{
    struct kube_denial *d = NULL;

    for (size_t i = 0; i < k->n_denials && !d; i++)
        if (str_eq(k->denials[i].verb, verb) && str_eq(k->denials[i].resource, resource))
            d = &k->denials[i];
    if (d && shows_right(code)) {
        *d = k->denials[--k->n_denials];
        return;
    }
    if (code != 403)
        return;
    int64_t now = clock_boot_ms();
    if (!d) {
        if (k->n_denials == KUBE_DENIALS_MAX)
            return;
        d = &k->denials[k->n_denials++];
        *d = (struct kube_denial){.verb = verb, .resource = resource, .since_ms = now};
    }
    d->count++;
    d->last_ms = now;
    snprintf(d->text, sizeof(d->text), "%s", why ? why : "");
}

void kube_count(struct kube *k, const char *method, const char *path, int code, const char *why)
{
    const char *rest;
    const char *resource = resource_of(path, &rest);
    const char *verb = str_eq(resource, "other") && str_eq(method, "GET")
                           ? "get"
                           : verb_of(method, path, rest);

    note_right(k, verb, resource, code, why);
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
