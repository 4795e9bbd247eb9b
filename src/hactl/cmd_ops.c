/* pause, resume, restart, reload, reinit. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/cluster.h"
#include "hactl/commands.h"
#include "hactl/jget.h"
#include "hactl/operation.h"
#include "hactl/session.h"

#define SHORT_MS 60000
#define PAUSE_POLL_MS 250
#define RESTART_MS 600000
#define REINIT_MS (24 * 3600000LL)

static int connect_api(struct session *s)
{
    int rc = session_connect(s);

    if (rc == EXIT_DONE && api_is_socket(s->api))
        return session_fail(s, EXIT_USAGE, "Run it without --socket.",
                            "%s goes through the Kubernetes API", s->args.command->name);
    return rc;
}

struct pause {
    bool on;
    bool was; /* set already */
};

static int pause_change(struct session *s, struct json_object *data, void *arg)
{
    struct pause *p = arg;

    (void)s;
    p->was = str_eq(jtext(jget(data, "paused", NULL)), "true");
    if (p->on)
        must(json_object_object_add(data, "paused", json_object_new_string("true")) == 0);
    else
        json_object_object_del(data, "paused");
    return EXIT_DONE;
}

static bool pause_landed(struct json_object *data, void *arg)
{
    const struct pause *p = arg;

    return str_eq(jtext(jget(data, "paused", NULL)), "true") == p->on;
}

/* The members that have not taken the change over, as text; "" = none. */
static void not_yet(const struct cluster_view *v, bool on, char *dst, size_t size)
{
    size_t used = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        if (!m->pod || m->terminating || (m->source != SOURCE_NONE && m->paused == on))
            continue;
        int n = snprintf(dst + used, size - used, "%s%s", used ? ", " : "", m->name);
        if (n > 0 && (size_t)n < size - used)
            used += (size_t)n;
    }
}

static int wait_for_pause(struct session *s, bool on)
{
    struct cluster_view v;
    char names[512];
    int rc;

    for (;;) {
        int64_t end_ms = s->deadline_ms;
        s->deadline_ms = clock_boot_ms() + API_REQUEST_MS;
        rc = cluster_gather(s, &v, true);
        s->deadline_ms = end_ms;
        if (rc != EXIT_DONE)
            return rc;
        not_yet(&v, on, names, sizeof(names));
        if (!names[0]) {
            fprintf(s->out, "every member knows it\n");
            return EXIT_DONE;
        }
        if (clock_boot_ms() >= end_ms)
            return session_fail(s, EXIT_FAILED, "It is written, and they follow when they see it.",
                                "not yet known to %s", names);
        api_pause(s->api, PAUSE_POLL_MS);
    }
}

static int set_pause(struct session *s, bool on)
{
    struct pause p = {.on = on};
    struct state_change c = {pause_change, pause_landed, &p};
    int rc = connect_api(s);

    session_set_deadline(s, SHORT_MS);
    if (rc != EXIT_DONE || (rc = state_update(s, &c)) != EXIT_DONE)
        return rc;
    fprintf(s->out, "cluster %s is %s%s\n", s->cluster,
            p.was == on ? (on ? "paused already" : "not paused") : (on ? "paused" : "resumed"),
            on ? ": no automatic failover until `hactl resume`" : "");
    return args_has(&s->args, OPT_WAIT) ? wait_for_pause(s, on) : EXIT_DONE;
}

int cmd_pause(struct session *s)
{
    return set_pause(s, true);
}

int cmd_resume(struct session *s)
{
    return set_pause(s, false);
}

static int order(struct session *s, enum intent_kind kind, const char *target, enum follow until)
{
    struct intent in = {.kind = kind, .force = args_has(&s->args, OPT_FORCE)};
    struct intent_result r;
    int rc;

    must(str_copy(in.target.s, sizeof(in.target.s), target));
    rc = operation_give(s, &in);
    return rc == EXIT_DONE ? operation_follow(s, &in, until, &r) : rc;
}

/* Replicas first and the primary last; the first failure ends it, so that a bad setting does not
 * take one member after the other down. */
static int restart_all(struct session *s, const struct cluster_view *v)
{
    const struct member_view *p = cluster_primary(v);
    int rc;

    if (!p)
        return session_fail(s, EXIT_REFUSED, "Restart single members by name.",
                            "there is no primary, so a rolling restart could lose the last copy");
    if (!args_has(&s->args, OPT_FORCE) &&
        !session_confirm(s, "Restart postgres on every member, one by one?"))
        return s->in_tty ? EXIT_FAILED : EXIT_USAGE;
    for (size_t i = 0; i <= v->n; i++) {
        const struct member_view *m = i < v->n ? &v->m[i] : p;
        if (!m->pod || (i < v->n && m == p))
            continue;
        fprintf(s->out, "%s (%s)\n", m->name, m == p ? "primary" : "replica");
        fflush(s->out);
        session_set_deadline(s, RESTART_MS);
        rc = order(s, INTENT_RESTART, m->name, FOLLOW_FINAL);
        if (rc != EXIT_DONE)
            return session_fail(s, rc, NULL, "stopped at %s; members after it were not restarted",
                                m->name);
    }
    return EXIT_DONE;
}

int cmd_restart(struct session *s)
{
    bool wait = args_has(&s->args, OPT_WAIT);
    struct cluster_view v;
    int rc = connect_api(s);

    if (rc != EXIT_DONE || (rc = cluster_gather(s, &v, false)) != EXIT_DONE)
        return rc;
    if (s->args.operands == 0)
        return restart_all(s, &v);
    if (!cluster_need_member(s, &v, s->args.operand[0]))
        return EXIT_USAGE;
    session_set_deadline(s, wait ? RESTART_MS : SHORT_MS);
    return order(s, INTENT_RESTART, s->args.operand[0], wait ? FOLLOW_FINAL : FOLLOW_ACCEPTED);
}

/* One order per member, so that the verdict is each member's own. */
int cmd_reload(struct session *s)
{
    struct cluster_view v;
    int rc = connect_api(s), worst = EXIT_DONE;

    if (rc != EXIT_DONE || (rc = cluster_gather(s, &v, false)) != EXIT_DONE)
        return rc;
    if (s->args.operands && !cluster_need_member(s, &v, s->args.operand[0]))
        return EXIT_USAGE;
    for (size_t i = 0; i < v.n; i++) {
        const struct member_view *m = &v.m[i];
        if (s->args.operands ? !str_eq(m->name, s->args.operand[0]) : !m->pod)
            continue;
        if (s->output == OUTPUT_TABLE || s->output == OUTPUT_WIDE)
            fprintf(s->out, "%s\n", m->name);
        session_set_deadline(s, SHORT_MS);
        rc = order(s, INTENT_RELOAD, m->name, FOLLOW_FINAL);
        worst = rc > worst ? rc : worst;
    }
    return worst;
}

int cmd_reinit(struct session *s)
{
    const char *name = s->args.operand[0];
    bool wait = args_has(&s->args, OPT_WAIT);
    const struct member_view *m;
    struct cluster_view v;
    char question[200];
    int rc = connect_api(s);

    if (rc != EXIT_DONE || (rc = cluster_gather(s, &v, false)) != EXIT_DONE)
        return rc;
    if (!(m = cluster_need_member(s, &v, name)))
        return EXIT_USAGE;
    if (m == cluster_primary(&v) || str_eq(v.holder, name))
        return session_fail(s, EXIT_REFUSED, "Switch over first: hactl switchover.",
                            "reinit refused: %s is the primary, its data are the cluster's", name);
    if (str_eq(m->rule, "data-bad")) /* the member would never begin: what is not ours is not touched */
        return session_fail(s, EXIT_REFUSED, "Look what it is, and move it away by hand.",
                            "reinit refused: the directory of %s is not of this cluster or damaged", name);
    must(str_format(question, sizeof(question),
                    "Replace all data of %s by a new copy from the primary?", name));
    if (!args_has(&s->args, OPT_FORCE) && !session_confirm(s, question))
        return s->in_tty ? session_fail(s, EXIT_FAILED, NULL, "not confirmed, nothing was done")
                         : EXIT_USAGE;
    session_set_deadline(s, wait ? REINIT_MS : SHORT_MS);
    return order(s, INTENT_REINIT, name, wait ? FOLLOW_FINAL : FOLLOW_ACCEPTED);
}
