/* Checks of the StatefulSet itself: shape, settings, Lease, image, time to stop, Secrets, mesh. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

#define GRACE_DEFAULT_MS 100000 /* PGHA_GRACE_MS of the supervisor */
#define GRACE_DEFAULT_S 30      /* of Kubernetes */

void doctor_statefulset(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "statefulset";
    const struct doctor_set *s = f->own;
    struct doctor_row *row;
    bool good = true;

    if (!doctor_readable(f, r, check, &f->statefulsets, "statefulsets"))
        return;
    if (!s) {
        row = doctor_add(r, DOCTOR_ERROR, check, "no StatefulSet takes the Lease %s", f->cluster);
        doctor_why(row, "there are no members, or their settings name another cluster");
        doctor_remedy(row, "check --cluster and -n; kubectl get statefulsets -n %s", f->ns);
        return;
    }
    if (!str_eq(jtext(jget(s->o, "spec", "podManagementPolicy", NULL)), "Parallel")) {
        row = doctor_add(r, DOCTOR_ERROR, check, "%s starts its pods one after the other", s->name);
        doctor_why(row, "a first start or an election waits for members that are never started");
        doctor_remedy(row, "spec.podManagementPolicy: Parallel (needs a new StatefulSet: kubectl "
                           "delete statefulset %s --cascade=orphan, then apply)", s->name);
        good = false;
    }
    if (jbool(jget(doctor_pod_spec(s), "shareProcessNamespace", NULL), false)) {
        row = doctor_add(r, DOCTOR_ERROR, check, "the containers of %s share one PID namespace",
                         s->name);
        doctor_why(row, "the supervisor is not PID 1: its end does not end the server processes");
        doctor_remedy(row, "spec.template.spec.shareProcessNamespace: false");
        good = false;
    }
    if (good)
        doctor_add(r, DOCTOR_OK, check, "%s, %lld replicas", s->name,
                   (long long)jint(jget(s->o, "spec", "replicas", NULL), 1));
}

void doctor_settings(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "settings";
    const struct doctor_set *s = f->own;
    struct doctor_row *row;

    if (!s)
        return;
    int64_t replicas = jint(jget(s->o, "spec", "replicas", NULL), 1);
    if (s->file.read == DOCTOR_ABSENT) {
        row = doctor_add(r, DOCTOR_ERROR, check, "ConfigMap %s does not exist",
                         doctor_settings_name(s));
        doctor_why(row, "pods that mount it cannot start");
        doctor_remedy(row, "apply the ConfigMap with the key pghad.yaml");
    } else if (!s->cfg_ok) {
        row = doctor_add(r, DOCTOR_ERROR, check, "%s", s->fault.msg);
        doctor_why(row, "a member that starts with these settings does not touch its data");
        doctor_remedy(row, "correct it; hactl config check FILE; hactl edit-config");
    } else if (s->file.read == DOCTOR_DENIED || s->file.read == DOCTOR_FAILED) {
        doctor_readable(f, r, check, &s->file, "configmaps");
    } else if (f->state.read == DOCTOR_DENIED || f->state.read == DOCTOR_FAILED) {
        doctor_readable(f, r, check, &f->state, "configmaps");
    } else if (s->cfg.cluster.members != replicas) {
        row = doctor_add(r, DOCTOR_WARNING, check,
                         "cluster.members is %lld, the StatefulSet has %lld replicas",
                         (long long)s->cfg.cluster.members, (long long)replicas);
        doctor_why(row, "the first initialisation waits for so many members");
        doctor_remedy(row, "set cluster.members or spec.replicas so that they are equal");
    } else {
        doctor_add(r, DOCTOR_OK, check, "valid; cluster.members equals the replicas");
    }
}

void doctor_one_lease(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "lease";
    char names[160] = "";
    struct doctor_row *row;
    size_t n = 0, used = 0;

    if (!doctor_readable(f, r, check, &f->statefulsets, "statefulsets"))
        return;
    for (size_t i = 0; i < f->sets; i++) {
        if (!str_eq(f->set[i].lease, f->cluster))
            continue;
        n++;
        int w = snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                         f->set[i].name);
        if (w > 0 && (size_t)w < sizeof(names) - used)
            used += (size_t)w;
    }
    if (n > 1) {
        row = doctor_add(r, DOCTOR_ERROR, check, "%zu StatefulSets take the Lease %s: %s", n,
                         f->cluster, names);
        doctor_why(row, "the members of both compete for one Lease: one primary among two sets of volumes");
        doctor_remedy(row, "give each its own cluster.name (PGHA_CLUSTER_NAME), or delete one");
    } else if (n == 1) {
        doctor_add(r, DOCTOR_OK, check, "one StatefulSet takes the Lease %s", f->cluster);
    }
}

/* The tag of an image reference; "" = none. A colon before the last slash belongs to the registry's
 * port. */
static const char *image_tag(const char *image)
{
    const char *slash = strrchr(image, '/');
    const char *colon = strchr(slash ? slash : image, ':');

    return colon ? colon + 1 : "";
}

void doctor_image(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "image";
    struct json_object *list;
    struct doctor_row *row;
    bool good = true;

    if (!f->own)
        return;
    list = jget(doctor_pod_spec(f->own), "containers", NULL);
    if (doctor_length(list) == 0) {
        row = doctor_add(r, DOCTOR_ERROR, check, "the pod template has no container");
        doctor_why(row, "there is nothing that could run");
        doctor_remedy(row, "apply the StatefulSet of the manifests or the chart again");
        return;
    }
    for (size_t i = 0; i < doctor_length(list); i++) {
        struct json_object *c = json_object_array_get_idx(list, i);
        const char *image = jtext(jget(c, "image", NULL)), *tag = image_tag(image);
        if (strchr(image, '@') || (*tag && !str_eq(tag, "latest")))
            continue;
        row = doctor_add(r, DOCTOR_WARNING, check, "container %s: %s has %s",
                         jtext(jget(c, "name", NULL)), image, *tag ? "the tag latest" : "no tag");
        doctor_why(row, "each pod runs what it meant when the pod was made: versions get mixed");
        doctor_remedy(row, "name a version or a digest in spec.template.spec.containers[%zu].image",
                      i);
        good = false;
    }
    if (good)
        doctor_add(r, DOCTOR_OK, check, "%s", jtext(jget(doctor_container(f->own), "image", NULL)));
}

void doctor_grace(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "grace-period";
    struct doctor_row *row;
    int64_t guard_ms = GRACE_DEFAULT_MS, pod_ms;

    if (!f->own)
        return;
    pod_ms = jint(jget(doctor_pod_spec(f->own), "terminationGracePeriodSeconds", NULL),
                  GRACE_DEFAULT_S);
    pod_ms = pod_ms < 0 || pod_ms > 1000000 ? 0 : pod_ms * 1000;
    str_to_i64(doctor_env(f->own, "PGHA_GRACE_MS"), 0, INT64_MAX / 2, &guard_ms);
    int64_t stop_ms = f->own->cfg_ok ? f->own->cfg.failover.stop_timeout_ms : 0;
    if (pod_ms <= stop_ms) {
        row = doctor_add(r, DOCTOR_ERROR, check,
                         "pods get %lld s to end, failover.stop_timeout is %lld ms",
                         (long long)(pod_ms / 1000), (long long)stop_ms);
        doctor_why(row, "kubelet kills the server before its shutdown checkpoint: crash recovery");
    } else if (pod_ms <= guard_ms) {
        row = doctor_add(r, DOCTOR_WARNING, check,
                         "pods get %lld s to end, the supervisor takes up to %lld ms",
                         (long long)(pod_ms / 1000), (long long)guard_ms);
        doctor_why(row, "kubelet may kill in the middle of a switchover and a clean stop");
    } else {
        doctor_add(r, DOCTOR_OK, check, "%lld s, longer than every stop",
                   (long long)(pod_ms / 1000));
        return;
    }
    int64_t need_s = (guard_ms > stop_ms ? guard_ms : stop_ms) / 1000 + 20;
    doctor_remedy(row, "spec.template.spec.terminationGracePeriodSeconds: %lld (or a smaller "
                       "PGHA_GRACE_MS)", (long long)need_s);
}

typedef void secret_taker(void *arg, const char *name, const char *key);

static void secret_source(struct json_object *o, const char *name, secret_taker *take, void *arg)
{
    struct json_object *items = jget(o, "items", NULL);

    if (!*name || jbool(jget(o, "optional", NULL), false))
        return;
    take(arg, name, "");
    for (size_t i = 0; i < doctor_length(items); i++)
        take(arg, name, jtext(jget(json_object_array_get_idx(items, i), "key", NULL)));
}

static void secrets_of_env(struct json_object *container, secret_taker *take, void *arg)
{
    struct json_object *env = jget(container, "env", NULL);
    struct json_object *from = jget(container, "envFrom", NULL);

    for (size_t i = 0; i < doctor_length(env); i++) {
        struct json_object *ref = jget(json_object_array_get_idx(env, i), "valueFrom",
                                       "secretKeyRef", NULL);
        const char *name = jtext(jget(ref, "name", NULL));
        if (*name && !jbool(jget(ref, "optional", NULL), false)) {
            take(arg, name, "");
            take(arg, name, jtext(jget(ref, "key", NULL)));
        }
    }
    for (size_t i = 0; i < doctor_length(from); i++) {
        struct json_object *ref = jget(json_object_array_get_idx(from, i), "secretRef", NULL);
        secret_source(ref, jtext(jget(ref, "name", NULL)), take, arg);
    }
}

void doctor_each_secret(const struct doctor_facts *f,
                        void (*take)(void *arg, const char *name, const char *key), void *arg)
{
    static const char *const kinds[] = {"initContainers", "containers"};
    struct json_object *volumes;

    if (!f->own)
        return;
    volumes = jget(doctor_pod_spec(f->own), "volumes", NULL);
    for (size_t i = 0; i < doctor_length(volumes); i++) {
        struct json_object *v = json_object_array_get_idx(volumes, i);
        struct json_object *one = jget(v, "secret", NULL);
        struct json_object *sources = jget(v, "projected", "sources", NULL);
        secret_source(one, jtext(jget(one, "secretName", NULL)), take, arg);
        for (size_t j = 0; j < doctor_length(sources); j++) {
            one = jget(json_object_array_get_idx(sources, j), "secret", NULL);
            secret_source(one, jtext(jget(one, "name", NULL)), take, arg);
        }
    }
    for (size_t k = 0; k < 2; k++) {
        struct json_object *list = jget(doctor_pod_spec(f->own), kinds[k], NULL);
        for (size_t i = 0; i < doctor_length(list); i++)
            secrets_of_env(json_object_array_get_idx(list, i), take, arg);
    }
}

struct secret_walk {
    const struct doctor_facts *f;
    struct doctor_report *r;
    bool good;
    size_t n;
};

static bool has_key(struct json_object *keys, const char *key)
{
    for (size_t i = 0; i < doctor_length(keys); i++) {
        if (str_eq(jtext(json_object_array_get_idx(keys, i)), key))
            return true;
    }
    return false;
}

static void judge_secret(void *arg, const char *name, const char *key)
{
    static const char check[] = "secrets";
    struct secret_walk *w = arg;
    struct json_object *keys = NULL;
    bool known = json_object_object_get_ex(w->f->secrets, name, &keys);
    struct doctor_row *row;

    w->n++;
    if (!known || json_object_is_type(keys, json_type_boolean)) {
        w->good = false;
        if (*key) /* said once for the whole Secret */
            return;
        row = doctor_add(w->r, DOCTOR_UNKNOWN, check, "your account may not read the Secret %s",
                         name);
        doctor_remedy(row, "kubectl get secret %s -n %s", name, w->f->ns);
    } else if (!keys && !*key) {
        w->good = false;
        row = doctor_add(w->r, DOCTOR_ERROR, check, "Secret %s does not exist", name);
        doctor_why(row, "pods that mount it cannot start");
        doctor_remedy(row, "kubectl create secret generic %s -n %s ...", name, w->f->ns);
    } else if (keys && *key && !has_key(keys, key)) {
        w->good = false;
        row = doctor_add(w->r, DOCTOR_ERROR, check, "Secret %s lacks the key %s", name, key);
        doctor_why(row, "pods that mount it cannot start");
        doctor_remedy(row, "kubectl edit secret %s -n %s: add %s", name, w->f->ns, key);
    }
}

void doctor_secrets(const struct doctor_facts *f, struct doctor_report *r)
{
    struct secret_walk w = {.f = f, .r = r, .good = true};

    if (!f->own || !f->secrets)
        return;
    doctor_each_secret(f, judge_secret, &w);
    if (w.good)
        doctor_add(r, DOCTOR_OK, "secrets",
                   w.n ? "all exist with the keys asked for" : "none is used");
}

void doctor_mesh(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "mesh";
    static const char *const proxies[] = {"istio-proxy", "linkerd-proxy"};
    static const char *const kinds[] = {"initContainers", "containers"};
    struct doctor_row *row;

    if (!doctor_readable(f, r, check, &f->pods, "pods"))
        return;
    for (size_t i = 0; i < doctor_items(f->pods.o); i++) {
        for (size_t k = 0; k < 4; k++) {
            struct json_object *pod = doctor_item(f->pods.o, i);
            struct json_object *list = jget(pod, "spec", kinds[k / 2], NULL);
            for (size_t j = 0; j < doctor_length(list); j++) {
                const char *name =
                    jtext(jget(json_object_array_get_idx(list, j), "name", NULL));
                if (!str_eq(name, proxies[k % 2]))
                    continue;
                row = doctor_add(r, DOCTOR_WARNING, check, "pod %s has a container %s",
                                 jtext(jget(pod, "metadata", "name", NULL)), name);
                doctor_why(row, "it intercepts the ports of the database and of the members");
                doctor_remedy(row, "template annotation sidecar.istio.io/inject: \"false\" or "
                                   "linkerd.io/inject: disabled");
                return;
            }
        }
    }
    if (doctor_items(f->pods.o) > 0)
        doctor_add(r, DOCTOR_OK, check, "no sidecar intercepts the ports");
}
