/* A cluster as table, tree, JSON, YAML or names. */
#include "hactl/render.h"

#include <string.h>

#include "base/str.h"
#include "kube/intent.h"

static struct json_object *text_or_null(const char *s)
{
    return *s ? json_object_new_string(s) : NULL;
}

static struct json_object *int_or_null(int64_t v, int64_t unknown)
{
    return v == unknown ? NULL : json_object_new_int64(v);
}

static void add(struct json_object *o, const char *key, struct json_object *v)
{
    json_object_object_add(o, key, v);
}

static const char *source_text(enum member_source s)
{
    switch (s) {
    case SOURCE_LIVE:
        return "live";
    case SOURCE_PUBLISHED:
        return "published";
    case SOURCE_NONE:
        break;
    }
    return "none";
}

static struct json_object *member_json(const struct member_view *m)
{
    struct json_object *o = json_object_new_object();
    char lsn[32];

    add(o, "name", json_object_new_string(m->name));
    add(o, "role", json_object_new_string(role_text(m->role)));
    add(o, "state", text_or_null(m->state));
    add(o, "timeline", int_or_null(m->timeline, 0));
    add(o, "lsn", m->lsn ? json_object_new_string(lsn_text(lsn, sizeof(lsn), m->lsn)) : NULL);
    add(o, "lag_bytes", int_or_null(m->lag_bytes, -1));
    add(o, "sync", text_or_null(m->sync));
    add(o, "votes", json_object_new_boolean(m->in_v));
    add(o, "ready", json_object_new_boolean(m->ready));
    add(o, "terminating", json_object_new_boolean(m->terminating));
    add(o, "pending_restart", json_object_new_boolean(m->pending_restart));
    add(o, "address", text_or_null(m->address));
    add(o, "port", json_object_new_int64(m->port));
    add(o, "node", text_or_null(m->node));
    add(o, "rule", text_or_null(m->rule));
    add(o, "reason", text_or_null(m->reason));
    add(o, "version", text_or_null(m->version));
    add(o, "pghad_version", text_or_null(m->daemon));
    add(o, "volume", text_or_null(m->volume));
    add(o, "tags", text_or_null(m->tags));
    add(o, "perishable_slots", text_or_null(m->perishable_slots));
    add(o, "source", json_object_new_string(source_text(m->source)));
    add(o, "age_seconds", m->source == SOURCE_NONE ? NULL : int_or_null(m->age_s, -1));
    return o;
}

static struct json_object *operation_json(const struct cluster_view *v)
{
    struct json_object *o = json_object_new_object();
    bool begun = v->result.id == v->intent.id && v->result.state != INTENT_STATE_NONE;

    add(o, "kind", json_object_new_string(intent_kind_name(v->intent.kind)));
    add(o, "target", text_or_null(v->intent.target.s));
    add(o, "state", json_object_new_string(begun ? intent_state_name(v->result.state) : "waiting"));
    add(o, "phase", begun ? json_object_new_string(intent_phase_name(v->result.phase)) : NULL);
    return o;
}

struct json_object *render_cluster_json(const struct cluster_view *v)
{
    const struct member_view *p = cluster_primary(v);
    struct json_object *o = json_object_new_object();
    struct json_object *alarms = json_object_new_array(), *members = json_object_new_array();

    add(o, "cluster", json_object_new_string(v->name));
    add(o, "namespace", json_object_new_string(v->ns));
    add(o, "system_id", text_or_null(v->system_id));
    add(o, "epoch", json_object_new_int64((int64_t)v->epoch));
    add(o, "primary", p ? json_object_new_string(p->name) : NULL);
    add(o, "timeline", p ? int_or_null(p->timeline, 0) : NULL);
    add(o, "required_acks", v->has_record ? json_object_new_int(v->record.w) : NULL);
    add(o, "sealed", v->has_record ? json_object_new_boolean(v->record.sealed != 0) : NULL);
    add(o, "paused", json_object_new_boolean(v->paused));
    add(o, "operation", v->intent_is_open ? operation_json(v) : NULL);
    add(o, "degraded", json_object_new_boolean(v->alarms_n > 0));
    for (size_t i = 0; i < v->alarms_n; i++)
        json_object_array_add(alarms, json_object_new_string(v->alarms[i]));
    add(o, "alarms", alarms);
    for (size_t i = 0; i < v->n; i++)
        json_object_array_add(members, member_json(&v->m[i]));
    add(o, "members", members);
    return o;
}

struct cells {
    char state[96], timeline[24], lsn[32], lag[64], address[96];
};

#define MAIN_COLUMNS 8
#define WIDE_COLUMNS 14

static const char *const columns[WIDE_COLUMNS] = {
    "MEMBER", "ROLE",    "STATE", "TL",   "LSN",     "LAG",    "SYNC",
    "TAGS",   "ADDRESS", "NODE",  "RULE", "VERSION", "VOLUME", "STATUS AGE",
};

static const char *lag_cell(struct cells *c, const struct member_view *m)
{
    char bytes[32];
    const char *text = bytes_text(bytes, sizeof(bytes), m->lag_bytes);

    if (m->role == ROLE_PRIMARY || m->lag_bytes < 0)
        return "";
    /* ~: not measured now, but what the member published some time ago */
    if (m->source == SOURCE_PUBLISHED)
        return str_format(c->lag, sizeof(c->lag), "~%s", text) ? c->lag : "";
    return str_format(c->lag, sizeof(c->lag), "%s", text) ? c->lag : "";
}

static const char *age_cell(char *dst, size_t size, const struct member_view *m)
{
    if (m->source == SOURCE_LIVE)
        return "live";
    if (m->source == SOURCE_NONE || m->age_s < 0)
        return "unknown";
    if (m->age_s < 120)
        return str_format(dst, size, "%llds", (long long)m->age_s) ? dst : "?";
    if (m->age_s < 7200)
        return str_format(dst, size, "%lldm", (long long)(m->age_s / 60)) ? dst : "?";
    return str_format(dst, size, "%lldh", (long long)(m->age_s / 3600)) ? dst : "?";
}

static const char *color_of(const struct member_view *m, bool is_primary)
{
    if (is_primary)
        return "1;32";
    if (m->role == ROLE_PRIMARY || !member_streams(m))
        return "31";
    return NULL;
}

/* Of a member that alone does not answer the last word may be far from the truth, so it is told as old. */
static const char *state_cell(struct cells *c, const struct cluster_view *v,
                              const struct member_view *m)
{
    const char *state = m->pod ? (m->state[0] ? m->state : "unknown") : "no pod";
    const char *silent = v->any_live && m->source == SOURCE_PUBLISHED ? "no answer, last " : "";

    return str_format(c->state, sizeof(c->state), "%s%s%s%s%s", silent, state,
                      m->pod && !m->ready ? ", not ready" : "",
                      m->terminating ? ", terminating" : "",
                      m->pending_restart ? ", restart pending" : "")
               ? c->state
               : "?";
}

static void member_row(struct table *t, const struct cluster_view *v, const struct member_view *m,
                       int parent)
{
    struct cells c;
    char age[32];
    const char *cells[WIDE_COLUMNS] = {
        m->name,
        role_text(m->role),
        state_cell(&c, v, m),
        m->timeline > 0 &&
                str_format(c.timeline, sizeof(c.timeline), "%lld", (long long)m->timeline)
            ? c.timeline
            : "",
        lsn_text(c.lsn, sizeof(c.lsn), m->lsn),
        lag_cell(&c, m),
        m->sync,
        m->tags,
        m->address[0] && str_format(c.address, sizeof(c.address), "%s:%lld", m->address,
                                    (long long)m->port)
            ? c.address
            : "",
        m->node,
        m->rule,
        m->version,
        m->volume,
        age_cell(age, sizeof(age), m),
    };

    table_row(t, cells, parent, color_of(m, m == cluster_primary(v)));
}

static void put_title(struct session *s, const struct cluster_view *v)
{
    const struct member_view *p = cluster_primary(v);

    fprintf(s->out, "Cluster %s%s%s", color_on(s, "1"), v->name, color_off(s));
    if (v->system_id[0])
        fprintf(s->out, " (system %s)", v->system_id);
    fprintf(s->out, ", epoch %llu, ", (unsigned long long)v->epoch);
    if (p)
        fprintf(s->out, "primary %s\n", p->name);
    else
        fprintf(s->out, "%sno primary%s\n", color_on(s, "1;31"), color_off(s));
}

static void put_notes(struct session *s, const struct cluster_view *v)
{
    bool published = false;

    for (size_t i = 0; i < v->n; i++)
        published = published || (v->m[i].source == SOURCE_PUBLISHED && v->m[i].lag_bytes >= 0 &&
                                  v->m[i].role != ROLE_PRIMARY);
    if (published)
        fputs("~ as last published, not measured now\n", s->out);
    if (v->paused)
        fprintf(s->out, "%spaused%s: no automatic failover until `hactl resume`\n",
                color_on(s, "33"), color_off(s));
    if (v->intent_is_open) {
        bool begun = v->result.id == v->intent.id && v->result.state != INTENT_STATE_NONE;
        fprintf(s->out, "in progress: %s%s%s, %s%s%s\n", intent_kind_name(v->intent.kind),
                v->intent.target.s[0] ? " of " : "", v->intent.target.s,
                begun ? intent_state_name(v->result.state) : "not yet accepted",
                begun ? ", phase " : "", begun ? intent_phase_name(v->result.phase) : "");
    }
    const struct member_view *p = cluster_primary(v);
    if (p && p->perishable_slots[0]) {
        fprintf(s->out, "%slogical slots%s that only %s has, and no other primary will have: ",
                color_on(s, "33"), color_off(s), p->name);
        put_clean(s->out, p->perishable_slots);
        fputc('\n', s->out);
    }
    for (size_t i = 0; i < v->alarms_n; i++) {
        fprintf(s->out, "%sdegraded%s: ", color_on(s, "31"), color_off(s));
        put_clean(s->out, v->alarms[i]);
        fputc('\n', s->out);
    }
}

void render_cluster(struct session *s, const struct cluster_view *v)
{
    struct table *t;

    if (s->output == OUTPUT_JSON || s->output == OUTPUT_YAML) {
        render_document(s, render_cluster_json(v));
        return;
    }
    if (s->output == OUTPUT_NAME) {
        for (size_t i = 0; i < v->n; i++)
            fprintf(s->out, "%s\n", v->m[i].name);
        return;
    }
    put_title(s, v);
    t = table_new(s, columns, s->output == OUTPUT_WIDE ? WIDE_COLUMNS : MAIN_COLUMNS, false);
    for (size_t i = 0; i < v->n; i++)
        member_row(t, v, &v->m[i], -1);
    table_print(t);
    put_notes(s, v);
}

/* Rows whose upstream is `from`, in order, each followed by its own. */
static void put_children(struct table *t, const struct cluster_view *v, const char *from,
                         int parent, int *rows, bool done[CLUSTER_MEMBERS_MAX])
{
    const struct member_view *p = cluster_primary(v);

    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        const char *up = m == p ? "" : m->follows[0] ? m->follows : p ? p->name : "";
        if (done[i] || !str_eq(up, from))
            continue;
        done[i] = true;
        int row = (*rows)++;
        member_row(t, v, m, parent);
        put_children(t, v, m->name, row, rows, done);
    }
}

void render_topology(struct session *s, const struct cluster_view *v)
{
    bool done[CLUSTER_MEMBERS_MAX] = {false};
    int rows = 0;
    struct table *t;

    if (s->output == OUTPUT_JSON || s->output == OUTPUT_YAML || s->output == OUTPUT_NAME) {
        render_cluster(s, v);
        return;
    }
    put_title(s, v);
    t = table_new(s, columns, s->output == OUTPUT_WIDE ? WIDE_COLUMNS : MAIN_COLUMNS, true);
    put_children(t, v, "", -1, &rows, done);
    for (size_t i = 0; i < v->n; i++) { /* an upstream that is gone, or a ring of tags */
        if (!done[i]) {
            done[i] = true;
            rows++;
            member_row(t, v, &v->m[i], -1);
        }
    }
    table_print(t);
    put_notes(s, v);
}
