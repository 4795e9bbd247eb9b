/* Reading a cluster: Lease, pods and ConfigMap from the API, live numbers from the members. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/cluster.h"
#include "hactl/jget.h"
#include "hactl/session.h"

#define LIVE_MS 300

/* prefix + namespace + middle + cluster + suffix */
static bool fetch(struct session *s, const char *const parts[3], struct json_object **ret,
                  struct err *e)
{
    char path[320];

    *ret = NULL;
    if (!str_format(path, sizeof(path), "%s%s%s%s%s", parts[0], api_namespace(s->api), parts[1],
                    s->cluster, parts[2]))
        return err_set(e, ERR_INVALID, "the cluster's name is too long");
    return api_call(s->api, "GET", path, NULL, s->deadline_ms, ret, e);
}

static const char *const lease_path[] = {"/apis/coordination.k8s.io/v1/namespaces/", "/leases/", ""};
static const char *const state_path[] = {"/api/v1/namespaces/", "/configmaps/", "-state"};
static const char *const pods_path[] = {
    "/api/v1/namespaces/", "/pods?labelSelector=app.kubernetes.io%2Finstance%3D", ""};

static void gather_live(struct session *s, struct cluster_view *v)
{
    struct api_fetch f[CLUSTER_MEMBERS_MAX] = {0};
    struct member_view *who[CLUSTER_MEMBERS_MAX];
    size_t n = 0;
    int64_t deadline = clock_boot_ms() + LIVE_MS;

    for (size_t i = 0; i < v->n; i++) {
        struct member_view *m = &v->m[i];
        if (!m->address[0] || m->terminating)
            continue;
        str_copy(f[n].host, sizeof(f[n].host), m->address);
        f[n].port = m->rest_port;
        f[n].path = "/status";
        who[n++] = m;
    }
    api_fetch_all(s->api, f, n, deadline);
    for (size_t i = 0; i < n; i++) {
        /* Another pod may have got the address meanwhile: believe only who gives the right name. */
        const char *name = f[i].doc ? jtext(jget(f[i].doc, "name", NULL)) : "";
        if (f[i].doc && (!*name || str_eq(name, who[i]->name)))
            cluster_take_status(who[i], f[i].doc);
        json_object_put(f[i].doc);
    }
}

int cluster_gather(struct session *s, struct cluster_view *v, bool live)
{
    struct json_object *o = NULL;
    struct err e;
    bool ok;

    *v = (struct cluster_view){.now_s = clock_wall_us() / 1000000};
    str_copy(v->name, sizeof(v->name), s->cluster);
    str_copy(v->ns, sizeof(v->ns), api_namespace(s->api));

    ok = fetch(s, lease_path, &o, &e) && cluster_take_lease(v, o, &e);
    json_object_put(o);
    if (!ok && e.kind != ERR_NOT_FOUND)
        return session_fail_err(s, "read the Lease", &e);
    ok = fetch(s, state_path, &o, &e);
    if (ok)
        cluster_take_state(v, o);
    json_object_put(o);
    if (!ok && e.kind != ERR_NOT_FOUND)
        return session_fail_err(s, "read the cluster's state", &e);
    ok = fetch(s, pods_path, &o, &e);
    if (ok)
        cluster_take_pods(v, o);
    json_object_put(o);
    if (!ok)
        return session_fail_err(s, "list the pods", &e);
    if (!v->has_lease && !v->has_state && v->n == 0)
        return session_fail(s, EXIT_FAILED, "Check --cluster and -n.",
                            "there is no cluster %s in namespace %s", v->name, v->ns);
    if (live)
        gather_live(s, v);
    cluster_conclude(v);
    return EXIT_DONE;
}

const struct member_view *cluster_need_member(struct session *s, const struct cluster_view *v,
                                              const char *member)
{
    const struct member_view *m = cluster_find(v, member);
    const char *names[CLUSTER_MEMBERS_MAX];
    char list[1024] = "";
    size_t used = 0;

    if (m)
        return m;
    for (size_t i = 0; i < v->n; i++) {
        names[i] = v->m[i].name;
        int n = snprintf(list + used, sizeof(list) - used, "%s%s (%s)", used ? ", " : "",
                         v->m[i].name,
                         v->m[i].role == ROLE_PRIMARY   ? "primary"
                         : v->m[i].role == ROLE_REPLICA ? "replica"
                                                        : "role unknown");
        if (n > 0 && (size_t)n < sizeof(list) - used)
            used += (size_t)n;
    }
    const char *near = nearest_word(member, names, v->n);
    session_fail(s, EXIT_USAGE, NULL, "cluster %s has no member %s%s%s%s; members: %s", v->name,
                 member, near ? "; did you mean " : "", near ? near : "", near ? "?" : "",
                 used ? list : "none");
    return NULL;
}
