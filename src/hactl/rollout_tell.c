/* What rollout says while it goes on, and its document for -o json. */
#include "rollout_run.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/render.h"

const char *rollout_seconds(char *dst, size_t size, int64_t ms)
{
    (void)str_format(dst, size, "%lld.%lld s", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
    return dst;
}

void rollout_pending_text(const struct rollout *r, bool all, char *dst, size_t size)
{
    const struct member_view *p = cluster_primary(&r->v);
    size_t used = 0;

    dst[0] = '\0';
    for (size_t i = r->v.n + 1; i-- > 0;) {
        const struct member_view *m = i > 0 ? &r->v.m[i - 1] : p;
        if (!m || (i > 0 && m == p) || !m->pod || !str_eq(m->set, r->set.name) ||
            (!all && !rollout_outdated(&r->set, m)))
            continue;
        int n = snprintf(dst + used, size - used, "%s%s%s", used ? ", " : "", m->name,
                         m == p ? " (primary)" : "");
        if (n > 0 && (size_t)n < size - used)
            used += (size_t)n;
    }
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
    must(json_object_object_add(o, key, json_object_new_string(text)) == 0);
}

static void add_int(struct json_object *o, const char *key, int64_t v)
{
    must(json_object_object_add(o, key, json_object_new_int64(v)) == 0);
}

static struct json_object *pending_json(const struct rollout *r, bool all)
{
    const struct member_view *p = cluster_primary(&r->v);
    struct json_object *list = json_object_new_array();

    for (size_t i = r->v.n + 1; i-- > 0;) {
        const struct member_view *m = i > 0 ? &r->v.m[i - 1] : p;
        if (m && (i == 0 || m != p) && m->pod && str_eq(m->set, r->set.name) &&
            (all || rollout_outdated(&r->set, m)))
            json_object_array_add(list, json_object_new_string(m->name));
    }
    return list;
}

void rollout_show(struct rollout *r, const char *state, bool all, const char *message)
{
    struct json_object *o = json_object_new_object();

    if (r->people) {
        json_object_put(o);
        return;
    }
    add_text(o, "state", state);
    add_text(o, "statefulset", r->set.name);
    add_text(o, "revision", r->set.revision);
    add_text(o, "image", r->set.image);
    must(json_object_object_add(o, "steps", json_object_get(r->steps)) == 0);
    must(json_object_object_add(o, "pending", pending_json(r, all)) == 0);
    if (r->write_gap_ms >= 0)
        add_int(o, "write_gap_ms", r->write_gap_ms);
    add_int(o, "total_ms", clock_boot_ms() - r->begun_ms);
    add_text(o, "message", message);
    render_document(r->s, o);
}

struct json_object *rollout_add_step(struct rollout *r, const char *action, const char *member,
                                    int64_t ms)
{
    struct json_object *o = json_object_new_object();

    add_text(o, "action", action);
    add_text(o, "member", member);
    add_int(o, "ms", ms);
    must(json_object_array_add(r->steps, o) == 0);
    return o;
}

int rollout_stop(struct rollout *r, const char *state, int code, const char *why)
{
    char rest[512], going[80] = "", hint[1024], back[300] = "";

    rollout_pending_text(r, false, rest, sizeof(rest));
    if (r->current[0])
        (void)str_format(going, sizeof(going), "%s has the new template. ", r->current);
    if (r->old_image[0] && !str_eq(r->old_image, r->set.image))
        (void)str_format(back, sizeof(back), " Back: hactl rollout --image %s", r->old_image);
    snprintf(hint, sizeof(hint), "%s%s%s%s%sThe same command goes on from here.%s", going,
             rest[0] ? "Not touched: " : "", rest, rest[0] ? ". " : "",
             r->set.put_aside[0] ? "The StatefulSet stays OnDelete until the rollout is complete. " : "",
             back);
    session_fail(r->s, code, hint, "rollout %s: %s", state, why);
    rollout_show(r, state, false, why);
    return code;
}

void rollout_say_plan(struct rollout *r, bool all, bool dry)
{
    const struct member_view *p = cluster_primary(&r->v);
    char names[512];

    if (!r->people)
        return;
    rollout_pending_text(r, all, names, sizeof(names));
    fprintf(r->s->out, "StatefulSet %s (%s)", r->set.name,
            r->set.on_delete ? "OnDelete" : "RollingUpdate, OnDelete until the end");
    if (r->image && !str_eq(r->image, r->set.image))
        fprintf(r->s->out, ": %s -> %s", r->set.image, r->image);
    fprintf(r->s->out, "\n%s: %s\n", dry ? "dry run, nothing was changed; in this order" : "in this order",
            names[0] ? names : "nobody");
    size_t copies = 0;
    for (uint8_t i = 0; i < r->v.record.n; i++)
        copies += r->v.record.m[i].in_v && p && !str_eq(r->v.record.m[i].name.s, p->name);
    if (r->v.has_record && r->v.record.w > 0 && r->v.record.w >= copies && names[0])
        fprintf(r->s->out, "note: every commit waits for all %zu standbys, so writes wait while one is "
                           "away: replication.degrade_after, for the whole time with strict\n", copies);
}
