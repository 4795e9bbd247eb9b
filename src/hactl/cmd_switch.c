/* switchover and failover: topology before, preflight, confirmation, order, verdict, topology
 * after. The primary's agent decides; what is checked here only spares a round trip. */
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/cluster.h"
#include "hactl/commands.h"
#include "hactl/loss.h"
#include "hactl/operation.h"
#include "hactl/render.h"
#include "hactl/session.h"
#include "kube/intent.h"

#define SWITCH_MS 60000
#define SETTLE_MS 5000 /* for the former primary to stream again: a second mostly */
#define SETTLE_POLL_MS 200

static bool people_read(const struct session *s)
{
    return s->output == OUTPUT_TABLE || s->output == OUTPUT_WIDE;
}

static int need_api(struct session *s)
{
    int rc = session_connect(s);

    if (rc == EXIT_DONE && api_is_socket(s->api))
        return session_fail(s, EXIT_USAGE, "Run it without --socket.",
                            "%s goes through the Kubernetes API", s->args.command->name);
    return rc;
}

/* The standby that would be taken: streaming, least lag, then name. */
static const struct member_view *best_standby(const struct cluster_view *v)
{
    const struct member_view *best = NULL;

    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        if (m->role != ROLE_REPLICA || !member_streams(m) || strstr(m->tags, "nofailover=true"))
            continue;
        if (!best || (m->in_v && !best->in_v) ||
            (m->in_v == best->in_v && m->lag_bytes >= 0 && m->lag_bytes < best->lag_bytes))
            best = m;
    }
    return best;
}

static int check_switchover(struct session *s, const struct cluster_view *v,
                            const struct member_view *target)
{
    const struct member_view *p = cluster_primary(v);
    bool force = args_has(&s->args, OPT_FORCE);

    if (!p)
        return session_fail(s, EXIT_REFUSED, "With a lost primary use `hactl failover --to POD`.",
                            "switchover refused: there is no primary to switch over from");
    if (v->intent_is_open)
        return session_fail(s, EXIT_REFUSED, "Wait until it has ended; `hactl list -w` shows it.",
                            "another operation is in progress: %s",
                            intent_kind_name(v->intent.kind));
    if (!target && !force && !best_standby(v))
        return session_fail(s, EXIT_REFUSED, "See `hactl list` for the state of each.",
                            "switchover refused: no replica streams from %s", p->name);
    if (!target || force)
        return EXIT_DONE;
    if (!target->pod || target->terminating)
        return session_fail(s, EXIT_REFUSED, "Choose another member.",
                            "switchover refused: %s %s", target->name,
                            target->pod ? "is being deleted" : "has no pod");
    if (strstr(target->tags, "nofailover=true"))
        return session_fail(s, EXIT_REFUSED, "Choose another member or remove the tag.",
                            "switchover refused: %s is tagged nofailover", target->name);
    if (!member_streams(target))
        return session_fail(s, EXIT_REFUSED,
                            "Wait until it streams, or choose another member.",
                            "switchover refused: %s does not stream (%s)", target->name,
                            target->state[0] ? target->state : "state unknown");
    return EXIT_DONE;
}

static void lack_text(char *dst, size_t size, const struct loss *l, const struct member_view *target)
{
    char bytes[32];

    if (l->bytes)
        (void)str_format(dst, size, "at least %s of WAL that %s lacks are known",
                         bytes_text(bytes, sizeof(bytes), (int64_t)l->bytes), target->name);
    else
        (void)str_format(dst, size, "no WAL %sthat %s lacks is known",
                         l->older ? "but that of a later timeline " : "", target->name);
}

static int check_loss(struct session *s, const struct cluster_view *v, const struct member_view *target)
{
    bool accept = args_has(&s->args, OPT_ACCEPT_LOSS), force = args_has(&s->args, OPT_FORCE);
    const struct member_view *p = cluster_primary(v);
    char lack[160], hint[300];
    struct loss l;

    if (p && p->source == SOURCE_LIVE && accept)
        return session_fail(s, EXIT_REFUSED, "Without it nothing is lost: `hactl switchover --to POD`.",
                            "failover refused: %s is primary and answers, no data has to be given up", p->name);
    if (p && p->source == SOURCE_LIVE)
        return EXIT_DONE;
    loss_look(v, target, &l);
    if (!l.known)
        return EXIT_DONE;
    lack_text(lack, sizeof(lack), &l, target);
    if (l.more && (accept || !force)) {
        (void)str_format(hint, sizeof(hint), "Name that one: `hactl failover --to %s`.", l.more->name);
        return session_fail(s, EXIT_REFUSED, hint, "failover refused: %s answers and has more than %s: %s",
                            l.more->name, target->name, lack);
    }
    if (l.stranger && accept)
        return session_fail(s, EXIT_REFUSED, "Name one that answers with the volume it had; `hactl failover` without "
                            "--accept-data-loss tells which do not.",
                            "failover refused: %s came back with another volume, of which the Lease knows nothing",
                            target->name);
    if (l.by_hand && (accept || !force))
        return session_fail(s, EXIT_REFUSED, "Name another one. If there is none: \"The last resort\" in "
                            "docs/runbooks/no-primary.md.",
                            "failover refused: %s was promoted by hand, to timeline %lld of which the Lease knows "
                            "nothing", target->name, (long long)target->timeline);
    if (l.answer >= l.needed || accept || force)
        return EXIT_DONE;
    (void)str_format(hint, sizeof(hint), "Bring one of them back with its volume. If they are lost for good, "
                     "--accept-data-loss goes on with what %s has.", target->name);
    return session_fail(s, EXIT_REFUSED, hint,
                        "failover refused: %d of %d voters report and %d have to; missing: %s; what they "
                        "confirmed last may be on none of the others (%s)",
                        l.answer, l.voters, l.needed, l.absent, lack);
}

static int check_failover(struct session *s, const struct cluster_view *v,
                          const struct member_view *target)
{
    must(target != NULL); /* the command line demands one */
    if (v->intent_is_open && !args_has(&s->args, OPT_FORCE))
        return session_fail(s, EXIT_REFUSED, "Wait until it has ended; `hactl list -w` shows it.",
                            "another operation is in progress: %s",
                            intent_kind_name(v->intent.kind));
    if (!target->pod)
        return session_fail(s, EXIT_REFUSED, "Choose another member.",
                            "failover refused: %s has no pod", target->name);
    return check_loss(s, v, target);
}

static bool confirm(struct session *s, const struct cluster_view *v,
                    const struct member_view *target, enum intent_kind kind)
{
    const struct member_view *p = cluster_primary(v);
    char question[512], lack[160], loss[400] = "";
    struct loss l;

    if (args_has(&s->args, OPT_FORCE))
        return true;
    if (args_has(&s->args, OPT_ACCEPT_LOSS)) {
        loss_look(v, target, &l);
        lack_text(lack, sizeof(lack), &l, target);
        (void)str_format(loss, sizeof(loss), " and give up what only %s may have (%s)",
                         l.known && l.absent[0] ? l.absent : "others",
                         l.known ? lack : "nobody answers from here");
    }
    if (!str_format(question, sizeof(question), "%s from %s to %s%s?",
                    kind == INTENT_SWITCHOVER ? "Switch over" : "Fail over",
                    p ? p->name : "nobody", target ? target->name : "the best replica", loss))
        return false;
    return session_confirm(s, question);
}

static int dry_run(struct session *s, const struct cluster_view *v, enum intent_kind kind,
                   const struct member_view *target)
{
    const struct member_view *p = cluster_primary(v);
    const struct member_view *to = target ? target : best_standby(v);
    char lag[32];

    fprintf(s->out, "dry run: %s from %s to %s", intent_kind_name(kind), p ? p->name : "nobody",
            to ? to->name : "nobody");
    if (to && to->lag_bytes >= 0)
        fprintf(s->out, " (lag %s)", bytes_text(lag, sizeof(lag), to->lag_bytes));
    fputs("; nothing seen from here forbids it, the members check again. Nothing was ordered.\n",
          s->out);
    return EXIT_DONE;
}

/* The topology after: once no more is wrong with the cluster than was before, else what is wrong then. */
static void show_after(struct session *s, size_t alarms_before, bool done)
{
    int64_t until_ms = clock_boot_ms() + (done ? SETTLE_MS : 0);
    struct cluster_view v;

    for (;;) {
        s->deadline_ms = clock_boot_ms() + API_REQUEST_MS;
        if (cluster_gather(s, &v, true) != EXIT_DONE)
            return;
        if (v.alarms_n <= alarms_before || clock_boot_ms() >= until_ms)
            break;
        api_pause(s->api, SETTLE_POLL_MS);
    }
    fputc('\n', s->out);
    render_topology(s, &v);
}

static int run_switch(struct session *s, enum intent_kind kind)
{
    const char *to = s->args.value[OPT_TO];
    struct intent in = {.kind = kind};
    const struct member_view *target = NULL;
    struct intent_result result;
    struct cluster_view v;
    int rc = need_api(s);

    if (rc != EXIT_DONE || (rc = cluster_gather(s, &v, true)) != EXIT_DONE)
        return rc;
    if (to && !(target = cluster_need_member(s, &v, to)))
        return EXIT_USAGE;
    if (people_read(s)) {
        render_topology(s, &v);
        fputc('\n', s->out);
    }
    if (target && target == cluster_primary(&v)) {
        if (people_read(s))
            fprintf(s->out, "%s is the primary already, nothing to do\n", target->name);
        return EXIT_DONE;
    }
    rc = kind == INTENT_SWITCHOVER ? check_switchover(s, &v, target)
                                   : check_failover(s, &v, target);
    if (rc != EXIT_DONE)
        return rc;
    if (args_has(&s->args, OPT_DRY_RUN))
        return dry_run(s, &v, kind, target);
    if (!confirm(s, &v, target, kind))
        return s->in_tty ? session_fail(s, EXIT_FAILED, NULL, "not confirmed, nothing was done")
                         : EXIT_USAGE;

    session_set_deadline(s, SWITCH_MS);
    if (to)
        str_copy(in.target.s, sizeof(in.target.s), to);
    in.force = args_has(&s->args, OPT_FORCE);
    in.accept_loss = args_has(&s->args, OPT_ACCEPT_LOSS);
    if ((rc = operation_give(s, &in)) != EXIT_DONE)
        return rc;
    rc = operation_follow(s, &in, FOLLOW_FINAL, &result);
    if (rc == EXIT_REFUSED || !people_read(s))
        return rc;
    show_after(s, v.alarms_n, rc == EXIT_DONE);
    return rc;
}

int cmd_switchover(struct session *s)
{
    return run_switch(s, INTENT_SWITCHOVER);
}

int cmd_failover(struct session *s)
{
    if (!args_has(&s->args, OPT_TO))
        return session_fail(s, EXIT_USAGE, "`hactl list` shows the members.",
                            "failover needs --to POD");
    return run_switch(s, INTENT_FAILOVER);
}
