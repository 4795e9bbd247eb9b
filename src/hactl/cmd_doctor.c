/* doctor: reads what the checks judge, and shows their rows. It sends nothing that changes an
 * object: GETs, and reviews of access, which the API server answers and does not keep. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/commands.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"
#include "hactl/render.h"
#include "hactl/session.h"

#define DOCTOR_MS 60000
#define STATUS_MS 500 /* of one member */
#define LATENCY_SAMPLES 9

static enum doctor_read read_kind(const struct err *e)
{
    return e->kind == ERR_NOT_FOUND ? DOCTOR_ABSENT
           : e->kind == ERR_DENIED  ? DOCTOR_DENIED
                                    : DOCTOR_FAILED;
}

static void get(struct session *s, struct doctor_object *o, const char *path)
{
    struct err e;

    json_object_put(o->o);
    o->o = NULL;
    o->read = api_call(s->api, "GET", path, NULL, s->deadline_ms, &o->o, &e) ? DOCTOR_READ
                                                                            : read_kind(&e);
}

/* group is "api/v1" or "apis/<group>/<version>"; name may carry a query. */
static void get_in_namespace(struct session *s, const struct doctor_facts *f,
                             struct doctor_object *o, const char *group, const char *name)
{
    char path[512];

    if (str_format(path, sizeof(path), "/%s/namespaces/%s/%s", group, f->ns, name))
        get(s, o, path);
    else
        o->read = DOCTOR_FAILED;
}

/* Names come out of objects that others wrote: only what a name may be goes into a path. */
static bool is_name(const char *s)
{
    return *s && *s != '.' && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0';
}

static bool is_role_name(const char *s)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:";

    return *s && *s != '.' && s[strspn(s, allowed)] == '\0';
}

/* --- access of the members' account --- */

static struct json_object *text_array(const char *const *texts, size_t n)
{
    struct json_object *a = json_object_new_array();

    for (size_t i = 0; i < n; i++)
        json_object_array_add(a, json_object_new_string(texts[i]));
    return a;
}

static void put_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, json_object_new_string(text));
}

static struct json_object *review(const struct doctor_facts *f, const struct doctor_need *n)
{
    struct json_object *o = json_object_new_object(), *meta = json_object_new_object();
    struct json_object *spec = json_object_new_object(), *what = json_object_new_object();
    char user[160], group[96], name[80];

    must(str_format(user, sizeof(user), "system:serviceaccount:%s:%s", f->ns, doctor_account(f)));
    must(str_format(group, sizeof(group), "system:serviceaccounts:%s", f->ns));
    const char *const groups[] = {"system:serviceaccounts", group, "system:authenticated"};
    doctor_need_name(f, n, name, sizeof(name));
    put_text(o, "apiVersion", "authorization.k8s.io/v1");
    put_text(o, "kind", "LocalSubjectAccessReview");
    put_text(meta, "namespace", f->ns);
    json_object_object_add(o, "metadata", meta);
    put_text(spec, "user", user);
    json_object_object_add(spec, "groups", text_array(groups, 3));
    put_text(what, "namespace", f->ns);
    put_text(what, "verb", n->verb);
    put_text(what, "group", n->group);
    put_text(what, "resource", n->resource);
    if (*name)
        put_text(what, "name", name);
    json_object_object_add(spec, "resourceAttributes", what);
    json_object_object_add(o, "spec", spec);
    return o;
}

/* False when this account may not ask. */
static bool ask_reviews(struct session *s, struct doctor_facts *f)
{
    char path[256];

    if (strlen(doctor_account(f)) > 63 ||
        !str_format(path, sizeof(path),
                    "/apis/authorization.k8s.io/v1/namespaces/%s/localsubjectaccessreviews", f->ns))
        return false;
    for (size_t k = 0; k < DOCTOR_NEEDS; k++) {
        struct json_object *o = review(f, &doctor_needs[k]), *answer = NULL;
        struct err e;
        bool ok = api_call(s->api, "POST", path, json_object_to_json_string(o), s->deadline_ms,
                           &answer, &e);
        struct json_object *allowed = jget(answer, "status", "allowed", NULL);
        if (json_object_is_type(allowed, json_type_boolean))
            f->allowed[k] = json_object_get_boolean(allowed) ? TRI_YES : TRI_NO;
        json_object_put(answer);
        json_object_put(o);
        if (!ok && k == 0)
            return false;
    }
    f->how = HOW_REVIEW;
    return true;
}

/* ClusterRoles that bindings of the list name, each once. */
static void get_cluster_roles(struct session *s, struct doctor_facts *f, struct json_object *list)
{
    for (size_t i = 0; i < doctor_items(list); i++) {
        struct json_object *ref = jget(doctor_item(list, i), "roleRef", NULL);
        const char *name = jtext(jget(ref, "name", NULL));
        struct doctor_object role = {0};
        char path[320];
        if (!str_eq(jtext(jget(ref, "kind", NULL)), "ClusterRole") || !is_role_name(name) ||
            jget(f->cluster_roles, name, NULL) ||
            !str_format(path, sizeof(path), "/apis/rbac.authorization.k8s.io/v1/clusterroles/%s",
                        name))
            continue;
        get(s, &role, path);
        if (role.o)
            json_object_object_add(f->cluster_roles, name, role.o);
    }
}

/* Of all bindings of the cluster those of this account; reading every role would take minutes. */
static void keep_ours(struct doctor_facts *f, struct json_object *list)
{
    struct json_object *kept = json_object_new_array();

    for (size_t i = 0; i < doctor_items(list); i++) {
        struct json_object *b = doctor_item(list, i);
        if (doctor_binds_account(f, b))
            json_object_array_add(kept, json_object_get(b));
    }
    json_object_object_add(list, "items", kept);
}

static void read_access(struct session *s, struct doctor_facts *f)
{
    static const char rbac[] = "apis/rbac.authorization.k8s.io/v1";

    if (!f->own || ask_reviews(s, f))
        return;
    f->cluster_roles = json_object_new_object();
    get_in_namespace(s, f, &f->bindings, rbac, "rolebindings");
    get_in_namespace(s, f, &f->roles, rbac, "roles");
    if (f->bindings.read != DOCTOR_READ || f->roles.read != DOCTOR_READ)
        return;
    get(s, &f->cluster_bindings, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings");
    keep_ours(f, f->bindings.o);
    get_cluster_roles(s, f, f->bindings.o);
    if (f->cluster_bindings.o) {
        keep_ours(f, f->cluster_bindings.o);
        get_cluster_roles(s, f, f->cluster_bindings.o);
    }
    doctor_access_from_roles(f);
}

/* --- Secrets --- */

struct secret_read {
    struct session *s;
    struct doctor_facts *f;
};

static struct json_object *key_names(struct json_object *data)
{
    struct json_object *keys = json_object_new_array();

    if (!json_object_is_type(data, json_type_object))
        return keys;
    const struct json_object_iterator end = json_object_iter_end(data);
    for (struct json_object_iterator it = json_object_iter_begin(data);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
        json_object_array_add(keys, json_object_new_string(json_object_iter_peek_name(&it)));
    return keys;
}

/* Only the names of the keys are kept. */
static void read_secret(void *arg, const char *name, const char *key)
{
    struct secret_read *w = arg;
    struct doctor_object secret = {0};
    struct json_object *keys = NULL;
    char rest[300];

    (void)key;
    if (json_object_object_get_ex(w->f->secrets, name, NULL) || !is_name(name) ||
        !str_format(rest, sizeof(rest), "secrets/%s", name))
        return;
    get_in_namespace(w->s, w->f, &secret, "api/v1", rest);
    if (secret.read == DOCTOR_READ)
        keys = key_names(jget(secret.o, "data", NULL));
    else if (secret.read != DOCTOR_ABSENT)
        keys = json_object_new_boolean(0);
    json_object_object_add(w->f->secrets, name, keys);
    json_object_put(secret.o);
}

/* --- measurements --- */

/* One read before the first sample: making the connection is not what a renewal waits for. */
static void measure_latency(struct session *s, struct doctor_facts *f)
{
    char path[256];

    if (!str_format(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s",
                    f->ns, f->cluster))
        return;
    for (size_t i = 0; i <= LATENCY_SAMPLES && f->lost < 2; i++) {
        struct doctor_object o = {0};
        int64_t began = clock_boot_us();
        get(s, &o, path);
        int64_t took = clock_boot_us() - began;
        json_object_put(o.o);
        if (i > 0 && (o.read == DOCTOR_READ || o.read == DOCTOR_ABSENT))
            f->latency_us[f->samples++] = took;
        else if (i > 0)
            f->lost++;
    }
}

/* One after the other: what counts is when each of them was asked and answered. */
static void measure_clocks(struct session *s, struct doctor_facts *f)
{
    int64_t port = f->own ? doctor_rest_port(f->own) : 8008;
    size_t n = doctor_items(f->pods.o), silent = 0;

    for (size_t i = 0; i < n && f->clocks < DOCTOR_CLOCKS_MAX && silent < 3; i++) {
        struct json_object *pod = doctor_item(f->pods.o, i);
        struct doctor_clock *clock = &f->clock[f->clocks];
        struct api_fetch fetch = {.port = port, .path = "/status"};
        jcopy(fetch.host, sizeof(fetch.host), jget(pod, "status", "podIP", NULL));
        if (!fetch.host[0] || jget(pod, "metadata", "deletionTimestamp", NULL))
            continue;
        int64_t sent_us = clock_wall_us();
        api_fetch_all(s->api, &fetch, 1, clock_boot_ms() + STATUS_MS);
        if (fetch.doc && doctor_clock_read(fetch.doc, sent_us, clock_wall_us(), clock) &&
            str_eq(clock->name, jtext(jget(pod, "metadata", "name", NULL))))
            f->clocks++;
        silent += fetch.doc == NULL;
        json_object_put(fetch.doc);
    }
}

/* --- all of it --- */

static void read_sets(struct session *s, struct doctor_facts *f)
{
    get_in_namespace(s, f, &f->statefulsets, "apis/apps/v1", "statefulsets");
    doctor_find_sets(f);
    for (size_t i = 0; i < f->sets; i++) {
        const char *name = doctor_settings_name(&f->set[i]);
        char rest[300];
        if (is_name(name) && str_format(rest, sizeof(rest), "configmaps/%s", name))
            get_in_namespace(s, f, &f->set[i].file, "api/v1", rest);
        doctor_take_settings(f, &f->set[i]);
    }
    doctor_choose_own(f);
}

static void read_facts(struct session *s, struct doctor_facts *f)
{
    struct secret_read secrets = {s, f};
    char rest[160];

    str_copy(f->cluster, sizeof(f->cluster), s->cluster);
    str_copy(f->ns, sizeof(f->ns), api_namespace(s->api));
    f->secrets = json_object_new_object();
    if (str_format(rest, sizeof(rest), "configmaps/%s-state", f->cluster))
        get_in_namespace(s, f, &f->state, "api/v1", rest);
    read_sets(s, f);
    if (f->statefulsets.read == DOCTOR_FAILED)
        return; /* no API server: every other read would wait as well */
    get_in_namespace(s, f, &f->services, "api/v1", "services");
    get_in_namespace(s, f, &f->slices, "apis/discovery.k8s.io/v1", "endpointslices");
    get_in_namespace(s, f, &f->pdbs, "apis/policy/v1", "poddisruptionbudgets");
    get_in_namespace(s, f, &f->autoscalers, "apis/autoscaling/v2", "horizontalpodautoscalers");
    if (str_format(rest, sizeof(rest), "pods?labelSelector=app.kubernetes.io%%2Finstance%%3D%s",
                   f->cluster))
        get_in_namespace(s, f, &f->pods, "api/v1", rest);
    get(s, &f->nodes, "/api/v1/nodes");
    doctor_each_secret(f, read_secret, &secrets);
    read_access(s, f);
    measure_latency(s, f);
    measure_clocks(s, f);
}

static void put_count(struct json_object *o, const char *key, size_t n)
{
    json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

static struct json_object *report_json(const struct doctor_facts *f, const struct doctor_report *r)
{
    struct json_object *o = json_object_new_object(), *rows = json_object_new_array();

    put_text(o, "cluster", f->cluster);
    put_text(o, "namespace", f->ns);
    put_count(o, "errors", doctor_count(r, DOCTOR_ERROR));
    put_count(o, "warnings", doctor_count(r, DOCTOR_WARNING));
    put_count(o, "unknown", doctor_count(r, DOCTOR_UNKNOWN));
    for (size_t i = 0; i < r->n; i++) {
        struct json_object *row = json_object_new_object();
        put_text(row, "status", doctor_status_text(r->row[i].status));
        put_text(row, "check", r->row[i].check);
        put_text(row, "what", r->row[i].what);
        put_text(row, "why", r->row[i].why);
        put_text(row, "remedy", r->row[i].remedy);
        json_object_array_add(rows, row);
    }
    json_object_object_add(o, "checks", rows);
    return o;
}

static void render_report(struct session *s, const struct doctor_facts *f,
                          const struct doctor_report *r)
{
    static const char *const columns[] = {"STATUS", "CHECK", "WHAT", "WHY", "REMEDY"};
    static const char *const colors[] = {NULL, "33", "31", "36"};
    struct table *t;

    if (s->output == OUTPUT_JSON || s->output == OUTPUT_YAML) {
        render_document(s, report_json(f, r));
        return;
    }
    if (s->output == OUTPUT_NAME) {
        for (size_t i = 0; i < r->n; i++) {
            if (r->row[i].status == DOCTOR_ERROR || r->row[i].status == DOCTOR_WARNING)
                fprintf(s->out, "%s\n", r->row[i].check);
        }
        return;
    }
    t = table_new(s, columns, sizeof(columns) / sizeof(columns[0]), false);
    for (size_t c = 2; c < sizeof(columns) / sizeof(columns[0]); c++)
        table_wrap(t, c);
    for (size_t i = 0; i < r->n; i++) {
        const struct doctor_row *row = &r->row[i];
        const char *const cells[] = {doctor_status_text(row->status), row->check, row->what,
                                     row->why, row->remedy};
        table_row(t, cells, -1, colors[row->status]);
    }
    table_print(t);
    size_t errors = doctor_count(r, DOCTOR_ERROR), warnings = doctor_count(r, DOCTOR_WARNING);
    fprintf(s->out, "%zu error%s, %zu warning%s, %zu unknown\n", errors, errors == 1 ? "" : "s",
            warnings, warnings == 1 ? "" : "s", doctor_count(r, DOCTOR_UNKNOWN));
}

int cmd_doctor(struct session *s)
{
    struct doctor_facts *f;
    struct doctor_report *r;
    int rc;

    if (args_has(&s->args, OPT_SOCKET))
        return session_fail(s, EXIT_USAGE, "Leave out --socket.",
                            "doctor reads the objects of the Kubernetes API");
    session_set_deadline(s, DOCTOR_MS);
    if ((rc = session_connect(s)) != EXIT_DONE)
        return rc;
    must((f = calloc(1, sizeof(*f))) && (r = calloc(1, sizeof(*r))));
    read_facts(s, f);
    if (f->statefulsets.read == DOCTOR_DENIED) {
        rc = session_fail(s, EXIT_UNREACHABLE,
                          "The ClusterRole view is enough for most of what is judged.",
                          "your account may not list statefulsets");
    } else if (f->statefulsets.read == DOCTOR_FAILED) {
        rc = session_fail(s, EXIT_UNREACHABLE, "Is the API server up?",
                          "the StatefulSets could not be read");
    } else {
        doctor_run(f, r);
        render_report(s, f, r);
        rc = doctor_count(r, DOCTOR_ERROR) > 0 ? EXIT_DEGRADED : EXIT_DONE;
    }
    doctor_facts_done(f);
    free(f);
    free(r);
    return rc;
}
