/* pause, resume, restart, reload, reinit. */
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/cluster.h"
#include "hactl/commands.h"
#include "hactl/jget.h"
#include "hactl/operation.h"
#include "hactl/session.h"

#define SHORT_MS 60000
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

static int set_pause(struct session *s, bool on)
{
    struct pause p = {.on = on};
    struct state_change c = {pause_change, pause_landed, &p};
    int rc = connect_api(s);

    if (rc != EXIT_DONE || (rc = state_update(s, &c)) != EXIT_DONE)
        return rc;
    fprintf(s->out, "cluster %s is %s%s\n", s->cluster,
            p.was == on ? (on ? "paused already" : "not paused") : (on ? "paused" : "resumed"),
            on ? ": no automatic failover until `hactl resume`" : "");
    return EXIT_DONE;
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

int cmd_reload(struct session *s)
{
    const char *target = s->args.operands ? s->args.operand[0] : "";
    struct cluster_view v;
    int rc = connect_api(s);

    if (rc != EXIT_DONE)
        return rc;
    if (*target) {
        if ((rc = cluster_gather(s, &v, false)) != EXIT_DONE)
            return rc;
        if (!cluster_need_member(s, &v, target))
            return EXIT_USAGE;
    }
    session_set_deadline(s, SHORT_MS);
    return order(s, INTENT_RELOAD, target, FOLLOW_FINAL);
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
    must(str_format(question, sizeof(question),
                    "Replace all data of %s by a new copy from the primary?", name));
    if (!args_has(&s->args, OPT_FORCE) && !session_confirm(s, question))
        return s->in_tty ? session_fail(s, EXIT_FAILED, NULL, "not confirmed, nothing was done")
                         : EXIT_USAGE;
    session_set_deadline(s, wait ? REINIT_MS : SHORT_MS);
    return order(s, INTENT_REINIT, name, wait ? FOLLOW_FINAL : FOLLOW_ACCEPTED);
}
