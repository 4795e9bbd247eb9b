#include "hactl/rollout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "hactl/jget.h"
#include "kube/intent.h"

/* --- the StatefulSet --- */

bool rollout_take_set(struct rollout_set *set, struct json_object *o, const char *container,
                      struct err *e)
{
    struct json_object *template = jget(o, "spec", "template", NULL);
    struct json_object *c = cluster_container(template, container);
    struct json_object *strategy = jget(o, "spec", "updateStrategy", NULL);

    *set = (struct rollout_set){0};
    jcopy(set->name, sizeof(set->name), jget(o, "metadata", "name", NULL));
    set->deleting = jget(o, "metadata", "deletionTimestamp", NULL) != NULL;
    /* The API server fills in RollingUpdate where nothing is said. */
    set->on_delete = str_eq(jtext(jget(strategy, "type", NULL)), "OnDelete");
    if (!str_copy(set->strategy, sizeof(set->strategy),
                  strategy ? json_object_to_json_string_ext(strategy, JSON_C_TO_STRING_PLAIN) : "{}"))
        return err_set(e, ERR_INVALID, "StatefulSet %s: its updateStrategy is too long", set->name);
    jcopy(set->put_aside, sizeof(set->put_aside),
          jget(o, "metadata", "annotations", ANNOTATION_STRATEGY, NULL));
    set->replicas = jint(jget(o, "spec", "replicas", NULL), 1);
    set->generation = jint(jget(o, "metadata", "generation", NULL), 0);
    set->observed = jint(jget(o, "status", "observedGeneration", NULL), 0);
    jcopy(set->revision, sizeof(set->revision), jget(o, "status", "updateRevision", NULL));
    jcopy(set->stamp, sizeof(set->stamp),
          jget(template, "metadata", "annotations", ANNOTATION_STAMP, NULL));
    if (!c)
        return err_set(e, ERR_INVALID, "StatefulSet %s has no container %s", set->name,
                       container ? container : "at all");
    jcopy(set->container, sizeof(set->container), jget(c, "name", NULL));
    jcopy(set->image, sizeof(set->image), jget(c, "image", NULL));
    return true;
}

const char *rollout_set_name(const struct cluster_view *v)
{
    const struct member_view *holder = cluster_find(v, v->holder);

    if (holder && holder->set[0])
        return holder->set;
    for (size_t i = 0; i < v->n; i++) {
        if (v->m[i].set[0])
            return v->m[i].set;
    }
    return "";
}

static struct json_object *add_object(struct json_object *o, const char *key)
{
    struct json_object *inner = json_object_new_object();

    must(inner && json_object_object_add(o, key, inner) == 0);
    return inner;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
    must(json_object_object_add(o, key, text ? json_object_new_string(text) : NULL) == 0);
}

/* null removes what the other type had. */
struct json_object *rollout_strategy_patch(const struct rollout_set *set)
{
    struct json_object *o = json_object_new_object();
    struct json_object *notes = add_object(add_object(o, "metadata"), "annotations");
    struct json_object *strategy = add_object(add_object(o, "spec"), "updateStrategy");

    add_text(notes, ANNOTATION_STRATEGY, set->strategy);
    add_text(strategy, "type", "OnDelete");
    add_text(strategy, "rollingUpdate", NULL);
    return o;
}

struct json_object *rollout_restore_patch(const struct rollout_set *set)
{
    struct json_object *o = json_object_new_object();
    struct json_object *strategy = jparse(set->put_aside, strlen(set->put_aside));

    add_text(add_object(add_object(o, "metadata"), "annotations"), ANNOTATION_STRATEGY, NULL);
    if (json_object_is_type(strategy, json_type_object))
        must(json_object_object_add(add_object(o, "spec"), "updateStrategy", strategy) == 0);
    else
        json_object_put(strategy);
    return o;
}

struct json_object *rollout_template_patch(const struct rollout_set *set, const char *image,
                                           const char *stamp)
{
    struct json_object *o = json_object_new_object();
    struct json_object *template = add_object(add_object(o, "spec"), "template");

    if (stamp)
        add_text(add_object(add_object(template, "metadata"), "annotations"), ANNOTATION_STAMP,
                 stamp);
    if (image) {
        struct json_object *list = json_object_new_array();
        struct json_object *c = json_object_new_object();
        must(list && c && json_object_array_add(list, c) == 0);
        add_text(c, "name", set->container);
        add_text(c, "image", image);
        must(json_object_object_add(add_object(template, "spec"), "containers", list) == 0);
    }
    return o;
}

/* --- members --- */

/* The number of a pod of this set, -1 = none of its names. */
static int64_t ordinal(const struct rollout_set *set, const char *name)
{
    size_t n = strlen(set->name);
    int64_t number;

    if (!str_starts(name, set->name) || name[n] != '-' ||
        !str_to_i64(name + n + 1, 0, 1000000, &number))
        return -1;
    return number;
}

static bool of_set(const struct rollout_set *set, const struct member_view *m)
{
    return m->pod && str_eq(m->set, set->name);
}

bool rollout_outdated(const struct rollout_set *set, const struct member_view *m)
{
    return of_set(set, m) && !m->terminating && !str_eq(m->revision, set->revision);
}

size_t rollout_pending(const struct rollout_set *set, const struct cluster_view *v)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++)
        n += rollout_outdated(set, &v->m[i]);
    return n;
}

bool rollout_restart_open(const struct rollout_set *set, const struct cluster_view *v)
{
    for (size_t i = 0; set->stamp[0] && i < v->n; i++) {
        if (rollout_outdated(set, &v->m[i]) && !str_eq(v->m[i].stamp, set->stamp))
            return true;
    }
    return false;
}

static bool has_vote(const struct cluster_view *v, const struct member_view *m)
{
    uint64_t volume;
    bool known = str_to_hex64(m->volume, &volume);

    for (uint8_t i = 0; i < v->record.n; i++) {
        const struct record_member *r = &v->record.m[i];
        /* By volume: a member with a new volume must not live on the vote of its old one. */
        if (r->in_v && (known ? r->volume == volume : str_eq(r->name.s, m->name)))
            return true;
    }
    return false;
}

static bool say(char *dst, size_t size, const char *what, const char *more)
{
    snprintf(dst, size, "%s%s%s%s", what, *more ? " (" : "", more, *more ? ")" : "");
    return true;
}

bool rollout_unwell(const struct cluster_view *v, const struct member_view *m, char *dst, size_t size)
{
    const struct member_view *p = cluster_primary(v);

    if (!m->pod)
        return say(dst, size, "has no pod", "");
    if (m->terminating)
        return say(dst, size, "is being deleted", "");
    if (m->waiting[0])
        return say(dst, size, m->waiting, m->waiting_text);
    if (m->source == SOURCE_NONE)
        return say(dst, size, "has not reported yet", "");
    if (m == p)
        return m->ready ? false : say(dst, size, "is not ready", m->state);
    if (!member_streams(m))
        return say(dst, size, "does not stream", m->state[0] ? m->state : "state unknown");
    if (p && m->timeline > 0 && p->timeline > 0 && m->timeline != p->timeline)
        return say(dst, size, "streams another timeline", "");
    /* Who streams from another standby has no vote, ever. */
    if (v->has_record && !m->follows[0] && !has_vote(v, m))
        return say(dst, size, "has no vote yet", "");
    return m->ready ? false : say(dst, size, "is not ready", m->state);
}

bool rollout_cannot_run(const struct member_view *m)
{
    static const char *const reasons[] = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName",
                                          "ErrImageNeverPull", "CrashLoopBackOff",
                                          "CreateContainerConfigError", "CreateContainerError"};

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (str_eq(m->waiting, reasons[i]))
            return true;
    }
    return false;
}

/* --- what forbids it --- */

static bool refuse(struct rollout_text *t, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool refuse(struct rollout_text *t, const char *hint, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(t->why, sizeof(t->why), fmt, ap);
    va_end(ap);
    snprintf(t->hint, sizeof(t->hint), "%s", hint);
    return false;
}

static bool may_be_primary(const struct cluster_view *v, const struct member_view *m)
{
    return !m->follows[0] && !strstr(m->tags, "nofailover=true") && (!v->has_record || has_vote(v, m));
}

static bool other_may_be_primary(const struct rollout_set *set, const struct cluster_view *v)
{
    const struct member_view *p = cluster_primary(v);

    for (size_t i = 0; i < v->n; i++) {
        if (&v->m[i] != p && of_set(set, &v->m[i]) && may_be_primary(v, &v->m[i]))
            return true;
    }
    return false;
}

const struct member_view *rollout_unwell_one(const struct rollout_set *set,
                                             const struct cluster_view *v, bool new_template,
                                             char *why, size_t size)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        bool due = new_template ? of_set(set, m) && !m->terminating : rollout_outdated(set, m);
        if (due && !m->waiting[0] && rollout_unwell(v, m, why, size))
            return m;
    }
    return NULL;
}

bool rollout_allowed(const struct rollout_set *set, const struct cluster_view *v, bool force,
                     bool new_template, struct rollout_text *ret)
{
    char why[256];

    if (set->deleting)
        return refuse(ret, "", "StatefulSet %s is being deleted", set->name);
    if (v->paused)
        return refuse(ret, "hactl resume", "the cluster is paused, so nothing could be handed over");
    if (v->intent_is_open)
        return refuse(ret, "Wait until it has ended; `hactl list -w` shows it.",
                      "another operation is in progress: %s", intent_kind_name(v->intent.kind));
    if (!cluster_primary(v))
        return refuse(ret,
                      "Without a primary there is no order to keep: `hactl list` says what it waits "
                      "for. Where it is the template, mend it with kubectl and delete the pods.",
                      "there is no primary");
    const struct member_view *m = rollout_unwell_one(set, v, new_template, why, sizeof(why));
    if (m && !force)
        return refuse(ret, "Mend it first; with --force it is replaced first.", "%s %s", m->name, why);
    if (!force && !other_may_be_primary(set, v))
        return refuse(ret, "--force accepts that writes stop while its pod is replaced.",
                      "no other member may become primary in place of %s", cluster_primary(v)->name);
    return true;
}

/* --- what is next --- */

static void set_step(struct rollout_step *s, enum rollout_act act, const struct member_view *m,
                     const char *why)
{
    *s = (struct rollout_step){.act = act, .m = m};
    snprintf(s->text.why, sizeof(s->text.why), "%s", why);
}

/* Pods that are not there, that go, and those that nobody has to wait for. */
static bool wait_for_pods(const struct rollout_set *set, const struct cluster_view *v,
                          struct rollout_step *ret)
{
    int64_t there = 0;

    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        int64_t number = ordinal(set, m->name);
        if (!of_set(set, m))
            continue;
        if (m->terminating || number < 0 || number >= set->replicas) {
            set_step(ret, ROLLOUT_WAIT, m, m->terminating ? "is being deleted"
                                                          : "is being scaled away");
            return true;
        }
        there++;
    }
    if (there < set->replicas) {
        set_step(ret, ROLLOUT_WAIT, NULL, "the StatefulSet controller has not made every pod");
        return true;
    }
    return false;
}

/* What does not run cannot be harmed, and is perhaps what the new template mends: it goes first. What
 * runs and is unwell goes first only when it was asked for, and when nobody else is away. */
static const struct member_view *broken_one(const struct rollout_set *set,
                                            const struct cluster_view *v, bool unwell)
{
    char why[256];

    for (size_t i = 0; i < v->n; i++) {
        if (of_set(set, &v->m[i]) && !rollout_outdated(set, &v->m[i]) &&
            rollout_unwell(v, &v->m[i], why, sizeof(why)))
            unwell = false;
    }
    for (size_t i = v->n; i-- > 0;) {
        const struct member_view *m = &v->m[i];
        if (rollout_outdated(set, m) && m != cluster_primary(v) &&
            (m->waiting[0] || (unwell && rollout_unwell(v, m, why, sizeof(why)))))
            return m;
    }
    return NULL;
}

static bool wait_for_health(const struct rollout_set *set, const struct cluster_view *v, uint8_t w,
                            struct rollout_step *ret)
{
    char why[320];

    if (!cluster_primary(v)) {
        set_step(ret, ROLLOUT_WAIT, NULL, "there is no primary");
        return true;
    }
    for (size_t i = 0; i < v->n; i++) {
        if (of_set(set, &v->m[i]) && rollout_unwell(v, &v->m[i], why, sizeof(why))) {
            set_step(ret, ROLLOUT_WAIT, &v->m[i], why);
            return true;
        }
    }
    if (v->has_record && (v->record.w < w || (v->record.sealed && set->replicas > 1))) {
        set_step(ret, ROLLOUT_WAIT, NULL, "commits do not yet have the copies that they had before");
        return true;
    }
    if (v->intent_is_open || v->paused) {
        set_step(ret, ROLLOUT_WAIT, NULL, v->paused ? "the cluster is paused"
                                                    : "another operation is in progress");
        return true;
    }
    return false;
}

static const struct member_view *successor(const struct rollout_set *set,
                                           const struct cluster_view *v)
{
    const struct member_view *best = NULL;

    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        if (!of_set(set, m) || m == cluster_primary(v) || rollout_outdated(set, m) ||
            !may_be_primary(v, m))
            continue;
        if (!best || (m->lag_bytes >= 0 && m->lag_bytes < best->lag_bytes))
            best = m;
    }
    return best;
}

void rollout_next(const struct rollout_set *set, const struct cluster_view *v,
                  const struct rollout_how *how, struct rollout_step *ret)
{
    const struct member_view *p = cluster_primary(v), *m;

    if (!set->revision[0] || set->observed < set->generation) {
        set_step(ret, ROLLOUT_WAIT, NULL, "the StatefulSet controller has not seen the new template");
        return;
    }
    if (wait_for_pods(set, v, ret))
        return;
    if (p && (m = broken_one(set, v, how->unwell_first))) {
        set_step(ret, ROLLOUT_REPLACE, m, "it does not run");
        return;
    }
    if (wait_for_health(set, v, how->w, ret))
        return;
    for (size_t i = v->n; i-- > 0;) { /* highest number first, as the controller does */
        if (&v->m[i] != p && rollout_outdated(set, &v->m[i])) {
            set_step(ret, ROLLOUT_REPLACE, &v->m[i], "replica");
            return;
        }
    }
    if (!rollout_outdated(set, p))
        set_step(ret, ROLLOUT_COMPLETE, NULL, "");
    else if ((m = successor(set, v)))
        set_step(ret, ROLLOUT_SWITCH, m, "");
    else if (how->in_place)
        set_step(ret, ROLLOUT_REPLACE, p, "primary");
    else
        set_step(ret, ROLLOUT_STUCK, p, "is the last one, and no other member may become primary");
}
