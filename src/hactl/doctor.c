/* What the checks of doctor share: the report, and reading a StatefulSet as its members would. */
#include "hactl/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "base/str.h"
#include "hactl/jget.h"

#define SETTINGS_KEY "pghad.yaml"
#define SETTINGS_DIR "/etc/pghad"
#define ENV_MAX 64

const char *doctor_status_text(enum doctor_status s)
{
    static const char *const words[] = {"ok", "warning", "error", "unknown"};

    return words[s];
}

size_t doctor_count(const struct doctor_report *r, enum doctor_status s)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += r->row[i].status == s;
    return n;
}

struct doctor_row *doctor_add(struct doctor_report *r, enum doctor_status s, const char *check,
                              const char *fmt, ...)
{
    struct doctor_row *row = &r->row[r->n < DOCTOR_ROWS_MAX ? r->n++ : DOCTOR_ROWS_MAX - 1];
    va_list ap;

    *row = (struct doctor_row){.status = s, .check = check};
    va_start(ap, fmt);
    vsnprintf(row->what, sizeof(row->what), fmt, ap);
    va_end(ap);
    return row;
}

void doctor_why(struct doctor_row *row, const char *text)
{
    snprintf(row->why, sizeof(row->why), "%s", text);
}

void doctor_remedy(struct doctor_row *row, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(row->remedy, sizeof(row->remedy), fmt, ap);
    va_end(ap);
}

bool doctor_readable(const struct doctor_facts *f, struct doctor_report *r, const char *check,
                     const struct doctor_object *o, const char *resource)
{
    struct doctor_row *row;

    if (o->read == DOCTOR_READ)
        return true;
    row = doctor_add(r, DOCTOR_UNKNOWN, check,
                     o->read == DOCTOR_DENIED ? "your account may not read %s"
                                              : "%s could not be read", resource);
    doctor_remedy(row, "kubectl auth can-i list %s -n %s", resource, f->ns);
    return false;
}

size_t doctor_length(struct json_object *a)
{
    return json_object_is_type(a, json_type_array) ? json_object_array_length(a) : 0;
}

size_t doctor_items(struct json_object *list)
{
    return doctor_length(jget(list, "items", NULL));
}

struct json_object *doctor_item(struct json_object *list, size_t i)
{
    return json_object_array_get_idx(jget(list, "items", NULL), i);
}

bool doctor_selects(struct json_object *selector, struct json_object *labels)
{
    bool any = false;

    if (!json_object_is_type(selector, json_type_object))
        return false;
    const struct json_object_iterator end = json_object_iter_end(selector);
    for (struct json_object_iterator it = json_object_iter_begin(selector);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        struct json_object *have = jget(labels, json_object_iter_peek_name(&it), NULL);
        if (!have || !str_eq(jtext(have), jtext(json_object_iter_peek_value(&it))))
            return false;
        any = true;
    }
    return any;
}

struct json_object *doctor_pod_spec(const struct doctor_set *s)
{
    return jget(s->o, "spec", "template", "spec", NULL);
}

struct json_object *doctor_template_labels(const struct doctor_set *s)
{
    return jget(s->o, "spec", "template", "metadata", "labels", NULL);
}

struct json_object *doctor_container(const struct doctor_set *s)
{
    struct json_object *list = jget(doctor_pod_spec(s), "containers", NULL);
    const char *want = jtext(jget(s->o, "spec", "template", "metadata", "annotations",
                                  "kubectl.kubernetes.io/default-container", NULL));
    size_t n = doctor_length(list);

    for (size_t i = 0; i < n; i++) {
        struct json_object *c = json_object_array_get_idx(list, i);
        if (str_eq(jtext(jget(c, "name", NULL)), *want ? want : "postgres"))
            return c;
    }
    return n > 0 ? json_object_array_get_idx(list, 0) : NULL;
}

const char *doctor_env(const struct doctor_set *s, const char *name)
{
    struct json_object *env = jget(doctor_container(s), "env", NULL);

    for (size_t i = 0; i < doctor_length(env); i++) {
        struct json_object *v = json_object_array_get_idx(env, i);
        if (str_eq(jtext(jget(v, "name", NULL)), name))
            return jtext(jget(v, "value", NULL));
    }
    return "";
}

int64_t doctor_port(const struct doctor_set *s, struct json_object *port)
{
    struct json_object *list = jget(doctor_container(s), "ports", NULL);

    if (!json_object_is_type(port, json_type_string))
        return jint(port, 0);
    for (size_t i = 0; i < doctor_length(list); i++) {
        struct json_object *p = json_object_array_get_idx(list, i);
        if (str_eq(jtext(jget(p, "name", NULL)), json_object_get_string(port)))
            return jint(jget(p, "containerPort", NULL), 0);
    }
    return jint(port, 0);
}

int64_t doctor_rest_port(const struct doctor_set *s)
{
    const char *colon = s->cfg_ok ? strrchr(s->cfg.api.listen, ':') : NULL;
    int64_t port;

    return colon && str_to_i64(colon + 1, 1, 65535, &port) ? port : 8008;
}

/* The volume that is mounted on the directory of the settings. */
static struct json_object *settings_volume(const struct doctor_set *s)
{
    struct json_object *mounts = jget(doctor_container(s), "volumeMounts", NULL);
    struct json_object *volumes = jget(doctor_pod_spec(s), "volumes", NULL);
    const char *name = "";

    for (size_t i = 0; i < doctor_length(mounts) && !*name; i++) {
        struct json_object *m = json_object_array_get_idx(mounts, i);
        const char *path = jtext(jget(m, "mountPath", NULL));
        if (str_eq(path, SETTINGS_DIR) || str_eq(path, SETTINGS_DIR "/") ||
            str_eq(path, CONFIG_FILE))
            name = jtext(jget(m, "name", NULL));
    }
    for (size_t i = 0; *name && i < doctor_length(volumes); i++) {
        struct json_object *v = json_object_array_get_idx(volumes, i);
        if (str_eq(jtext(jget(v, "name", NULL)), name))
            return v;
    }
    return NULL;
}

const char *doctor_settings_name(const struct doctor_set *s)
{
    struct json_object *v = settings_volume(s);
    struct json_object *sources = jget(v, "projected", "sources", NULL);
    const char *name = jtext(jget(v, "configMap", "name", NULL));

    for (size_t i = 0; i < doctor_length(sources) && !*name; i++)
        name = jtext(
            jget(json_object_array_get_idx(sources, i), "configMap", "name", NULL));
    return name;
}

static bool runs_pghad(const struct doctor_set *s, const char *cluster)
{
    struct json_object *env = jget(doctor_container(s), "env", NULL);
    const char *image = jtext(jget(doctor_container(s), "image", NULL));

    if (str_eq(s->name, cluster) || strstr(image, "pghad") || settings_volume(s) ||
        str_eq(jtext(jget(doctor_template_labels(s), "app.kubernetes.io/name", NULL)), "pghad"))
        return true;
    for (size_t i = 0; i < doctor_length(env); i++) {
        if (str_starts(jtext(jget(json_object_array_get_idx(env, i), "name", NULL)), "PGHA_"))
            return true;
    }
    return false;
}

void doctor_find_sets(struct doctor_facts *f)
{
    for (size_t i = 0; i < doctor_items(f->statefulsets.o) && f->sets < DOCTOR_SETS_MAX; i++) {
        struct json_object *o = doctor_item(f->statefulsets.o, i);
        struct doctor_set s = {.o = o, .name = jtext(jget(o, "metadata", "name", NULL))};
        if (*s.name && runs_pghad(&s, f->cluster))
            f->set[f->sets++] = s;
    }
}

static char *variable(const char *name, const char *value, const char *suffix)
{
    size_t size = strlen(name) + strlen(value) + strlen(suffix) + 2;
    char *v = malloc(size);

    must(v && str_format(v, size, "%s=%s%s", name, value, suffix));
    return v;
}

/* The literal variables of the container, as environ, and the name of the first pod, from which the
 * cluster's follows. *_FILE name files of the pod, which are not here, and none of them bears on a
 * check. */
static size_t container_env(const struct doctor_set *s, char *env[ENV_MAX + 2])
{
    struct json_object *list = jget(doctor_container(s), "env", NULL);
    size_t n = 0;

    env[n++] = variable("POD_NAME", s->name, "-0");
    for (size_t i = 0; i < doctor_length(list) && n <= ENV_MAX; i++) {
        struct json_object *v = json_object_array_get_idx(list, i);
        const char *name = jtext(jget(v, "name", NULL)), *value = jtext(jget(v, "value", NULL));
        if (*name && *value && !str_ends(name, "_FILE") && !str_eq(name, "POSTGRES_PASSWORD"))
            env[n++] = variable(name, value, "");
    }
    env[n] = NULL;
    return n;
}

/* The loader reads files, so the text becomes one that has no name. */
static int text_file(const char *text, char *path, size_t size)
{
    int fd = memfd_create(SETTINGS_KEY, MFD_CLOEXEC);
    size_t len = strlen(text), done = 0;

    while (fd >= 0 && done < len) {
        ssize_t n = write(fd, text + done, len - done);
        if (n <= 0) {
            close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    must(str_format(path, size, "/proc/self/fd/%d", fd));
    return fd;
}

/* What the loader says begins with the name of the file, which here means nothing. */
static void name_source(struct err *e, const char *path)
{
    char msg[sizeof(e->msg)];

    if (str_starts(e->msg, path) &&
        str_format(msg, sizeof(msg), "%s%s", SETTINGS_KEY, e->msg + strlen(path)))
        memcpy(e->msg, msg, sizeof(msg));
}

void doctor_take_settings(struct doctor_facts *f, struct doctor_set *s)
{
    const char *text = jtext(jget(s->file.o, "data", SETTINGS_KEY, NULL));
    const char *shared = jtext(jget(f->state.o, "data", "config", NULL));
    char *env[ENV_MAX + 2], path[32];
    int fd = text_file(text, path, sizeof(path));
    size_t n = container_env(s, env);
    struct config_sources from = {.file = path, .env = env, .check_only = true};

    s->cfg_ok = fd >= 0 ? config_load(&s->cfg, &from, &s->fault)
                        : err_errno(&s->fault, ERR_FATAL, "memory for the settings");
    if (!str_copy(s->lease, sizeof(s->lease), s->cfg_ok ? s->cfg.cluster.name : s->name))
        str_copy(s->lease, sizeof(s->lease), "?");
    /* The cluster-wide settings are known for this cluster only, and none of them names it. */
    if (s->cfg_ok && *shared && str_eq(s->lease, f->cluster)) {
        from.cluster_text = shared;
        s->cfg_ok = config_load(&s->cfg, &from, &s->fault);
    }
    name_source(&s->fault, path);
    if (fd >= 0)
        close(fd);
    while (n > 0)
        free(env[--n]);
}

void doctor_choose_own(struct doctor_facts *f)
{
    f->own = NULL;
    for (size_t i = 0; i < f->sets; i++) {
        if (str_eq(f->set[i].lease, f->cluster) &&
            (!f->own || str_eq(f->set[i].name, f->cluster)))
            f->own = &f->set[i];
    }
}

void doctor_facts_done(struct doctor_facts *f)
{
    struct doctor_object *all[] = {&f->state, &f->statefulsets, &f->services, &f->slices, &f->pdbs,
                                   &f->autoscalers, &f->pods, &f->nodes, &f->bindings, &f->roles,
                                   &f->cluster_bindings};

    for (size_t i = 0; i < f->sets; i++) {
        json_object_put(f->set[i].file.o);
        config_done(&f->set[i].cfg);
    }
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        json_object_put(all[i]->o);
    json_object_put(f->cluster_roles);
    json_object_put(f->secrets);
    *f = (struct doctor_facts){0};
}

void doctor_run(const struct doctor_facts *f, struct doctor_report *r)
{
    static doctor_check *const checks[] = {
        doctor_statefulset, doctor_settings, doctor_one_lease, doctor_access,   doctor_secrets,
        doctor_probes,      doctor_grace,    doctor_services,  doctor_slices,  doctor_budget,   doctor_autoscaler,
        doctor_placement,   doctor_image,    doctor_mesh,      doctor_latency,  doctor_clocks,
    };

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        checks[i](f, r);
}
