/* rollout: pods replaced one by one. What is next is decided in rollout.c from what was just read;
 * here it is done, followed and told. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/commands.h"
#include "hactl/jget.h"
#include "hactl/operation.h"
#include "hactl/render.h"
#include "rollout_run.h"

#define MEMBER_MS 600000 /* of one member, or of one stage between two */
#define CHANGE_MS 30000  /* one change of an object, with its repetitions */
#define SWITCH_MS 60000
#define SETTLE_MS 5000 /* at the beginning: what is unwell only for a moment is no reason to refuse */
#define POLL_MS 200
#define REFUSED_MS 15000 /* a member that has just come back may not stream this very moment, or lag */
#define CANNOT_RUN_MS 10000 /* a registry may have hiccups; what lasts longer ends the rollout */
#define MERGE "application/merge-patch+json"
#define STRATEGIC "application/strategic-merge-patch+json"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
}

/* Once: a second Ctrl-C ends hactl on the spot, which harms nothing either. */
static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

static int64_t member_ms(const struct rollout *r)
{
    return r->s->args.timeout_ms ? r->s->args.timeout_ms : MEMBER_MS;
}

/* --- the StatefulSet --- */

static void set_path(const struct rollout *r, const char *name, bool rehearsal, char *dst, size_t size)
{
    must(str_format(dst, size, "/apis/apps/v1/namespaces/%s/statefulsets/%s%s",
                    api_namespace(r->s->api), name, rehearsal ? "?dryRun=All" : ""));
}

static bool read_set(struct rollout *r, const char *name, struct err *e)
{
    struct json_object *o = NULL;
    char path[320];

    set_path(r, name, false, path, sizeof(path));
    bool ok = api_call(r->s->api, "GET", path, NULL, r->s->deadline_ms, &o, e) &&
              rollout_take_set(&r->set, o, r->s->args.value[OPT_CONTAINER], e);
    json_object_put(o);
    return ok;
}

static int fail_access(struct session *s, const char *doing, const struct err *e)
{
    if (e->kind == ERR_DENIED)
        return session_fail(s, EXIT_UNREACHABLE,
                            "The account of this kubeconfig needs get and patch of the StatefulSet and "
                            "delete of pods: the Role of operators has them.",
                            "%s: %s", doing, e->msg);
    return session_fail_err(s, doing, e);
}

/* Idempotent, so that one of unknown outcome is simply sent again. Puts o. */
static bool patch_set(struct rollout *r, const char *type, struct json_object *o, struct err *e)
{
    int64_t end_ms = clock_boot_ms() + CHANGE_MS;
    const char *body = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    struct json_object *now = NULL;
    char path[320];
    bool ok;

    set_path(r, r->set.name, false, path, sizeof(path));
    while (!(ok = api_patch(r->s->api, path, type, body, end_ms, &now, e)) &&
           (e->kind == ERR_TRANSIENT || e->kind == ERR_TIMEOUT || e->kind == ERR_CONFLICT) &&
           clock_boot_ms() < end_ms)
        api_pause(r->s->api, POLL_MS);
    ok = ok && rollout_take_set(&r->set, now, r->s->args.value[OPT_CONTAINER], e);
    json_object_put(now);
    json_object_put(o);
    return ok;
}

static bool delete_pod(struct rollout *r, const struct member_view *m, bool rehearsal, struct err *e)
{
    char path[320], body[256];

    /* The uid: a pod that somebody else has replaced meanwhile is another one. All in the body: with
     * one the API server does not look at the query, and a rehearsal there would be the real thing. */
    must(str_format(body, sizeof(body),
                    "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",%s\"preconditions\":{"
                    "\"uid\":\"%s\"}}", rehearsal ? "\"dryRun\":[\"All\"]," : "", m->uid));
    must(str_format(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s", api_namespace(r->s->api),
                    m->name));
    return api_call(r->s->api, "DELETE", path, body, clock_boot_ms() + API_REQUEST_MS, NULL, e);
}

/* --- one stage after the other --- */

/* Reads all again. Errors of one reading are no end: API servers are replaced, too. */
static bool look(struct rollout *r, char *why, size_t size)
{
    struct session *s = r->s;
    struct hush h;
    struct err e;

    s->deadline_ms = clock_boot_ms() + API_REQUEST_MS;
    session_hush(s, &h);
    bool ok = cluster_gather(s, &r->v, true) == EXIT_DONE;
    session_speak(s, &h);
    if (!ok)
        snprintf(why, size, "%.*s", (int)strcspn(h.text, "\n"), h.text);
    free(h.text);
    if (ok && !read_set(r, r->set.name, &e)) {
        snprintf(why, size, "read the StatefulSet: %s", e.msg);
        ok = false;
    }
    return ok;
}

static int replace(struct rollout *r, const struct member_view *m)
{
    struct err e;

    if (r->people) {
        fprintf(r->s->out, "%s (%s): replaced\n", m->name, r->step.text.why);
        fflush(r->s->out);
    }
    r->stage_ms = clock_boot_ms();
    r->cannot_run_ms = 0;
    r->said[0] = '\0';
    if (!delete_pod(r, m, false, &e)) {
        bool again = e.kind == ERR_CONFLICT || e.kind == ERR_NOT_FOUND || e.kind == ERR_TRANSIENT ||
                     e.kind == ERR_TIMEOUT;
        return again ? EXIT_DONE : fail_access(r->s, "delete the pod", &e);
    }
    must(str_copy(r->current, sizeof(r->current), m->name));
    return EXIT_DONE;
}

/* An exit code when it lasts too long, -1 to go on. */
static int wait_more(struct rollout *r, const char *who, const char *why)
{
    const struct member_view *m = r->step.m;
    int64_t now = clock_boot_ms();
    char text[720], t[32];

    snprintf(text, sizeof(text), "%s%s%s", who, *who ? " " : "", why);
    if (r->people && !str_eq(text, r->said)) {
        fputs("  waiting: ", r->s->out);
        put_clean(r->s->out, text);
        fputc('\n', r->s->out);
        fflush(r->s->out);
    }
    must(str_copy(r->said, sizeof(r->said), text));
    if (m && rollout_cannot_run(m) && !rollout_outdated(&r->set, m)) {
        if (r->cannot_run_ms == 0)
            r->cannot_run_ms = now;
        if (now - r->cannot_run_ms >= CANNOT_RUN_MS)
            return rollout_stop(r, "stopped", EXIT_FAILED, text);
    } else if (!m || !m->waiting[0]) {
        r->cannot_run_ms = 0;
    }
    if (now - r->stage_ms < member_ms(r))
        return -1;
    char late[800];
    snprintf(late, sizeof(late), "%s, for %s", text, rollout_seconds(t, sizeof(t), now - r->stage_ms));
    return rollout_stop(r, "stopped", EXIT_FAILED, late);
}

/* An exit code, -1 to go on. */
static int hand_over(struct rollout *r, const struct member_view *to)
{
    struct intent in = {.kind = INTENT_SWITCHOVER};
    struct intent_result result = {0};
    const struct member_view *from = cluster_primary(&r->v);
    int64_t begun_ms = clock_boot_ms();
    struct hush h;
    int rc;

    must(from && str_copy(in.target.s, sizeof(in.target.s), to->name));
    if (r->people && r->refused_ms == 0) {
        fprintf(r->s->out, "switchover from %s to %s\n", from->name, to->name);
        fflush(r->s->out);
    }
    r->s->deadline_ms = begun_ms + SWITCH_MS;
    session_hush(r->s, &h);
    if ((rc = operation_give(r->s, &in)) == EXIT_DONE)
        rc = operation_follow(r->s, &in, FOLLOW_QUIET, &result);
    session_speak(r->s, &h);
    bool refused = rc == EXIT_REFUSED && result.state == INTENT_REFUSED;
    if (refused && r->refused_ms == 0)
        r->refused_ms = begun_ms;
    if (refused && clock_boot_ms() - r->refused_ms < REFUSED_MS) {
        free(h.text);
        return wait_more(r, "the switchover:", result.message);
    }
    fputs(h.text, r->s->err);
    free(h.text);
    r->stage_ms = clock_boot_ms();
    if (rc != EXIT_DONE)
        return rollout_stop(r, "stopped", rc, "the switchover was not done");
    r->refused_ms = 0;
    struct json_object *o = rollout_add_step(r, "switchover", to->name, r->stage_ms - begun_ms);
    if (result.write_gap_ms >= 0) {
        must(json_object_object_add(o, "write_gap_ms", json_object_new_int(result.write_gap_ms)) == 0);
        r->write_gap_ms += result.write_gap_ms;
    } else {
        r->write_gap_ms = -1;
    }
    if (r->people && result.write_gap_ms >= 0)
        fprintf(r->s->out, "  %s is primary, no write for %d ms\n", to->name, result.write_gap_ms);
    return -1;
}

static void note_back(struct rollout *r)
{
    const struct member_view *m = cluster_find(&r->v, r->current);
    char t[32], why[256];

    if (!m || rollout_outdated(&r->set, m) || rollout_unwell(&r->v, m, why, sizeof(why)))
        return;
    int64_t now = clock_boot_ms(), ms = now - r->stage_ms;
    rollout_add_step(r, "replace", m->name, ms);
    r->replaced++;
    r->stage_ms = now;
    r->current[0] = '\0';
    if (r->people)
        fprintf(r->s->out, "  %s %s after %s\n", m->name,
                m == cluster_primary(&r->v) ? "is primary again" : "streams and votes again",
                rollout_seconds(t, sizeof(t), ms));
}

static int complete(struct rollout *r)
{
    char t[32], names[512];
    struct err e;

    if (r->set.put_aside[0] && !patch_set(r, MERGE, rollout_restore_patch(&r->set), &e))
        return fail_access(r->s, "put the update strategy back", &e);
    rollout_show(r, "done", false, "");
    if (!r->people)
        return EXIT_DONE;
    if (r->replaced == 0) {
        rollout_pending_text(r, true, names, sizeof(names));
        fprintf(r->s->out, "nothing to do: %s run revision %s\n", names, r->set.revision);
        return EXIT_DONE;
    }
    fprintf(r->s->out, "%srollout done%s: %d %s in %s", color_on(r->s, "32"), color_off(r->s),
            r->replaced, r->replaced == 1 ? "member" : "members",
            rollout_seconds(t, sizeof(t), clock_boot_ms() - r->begun_ms));
    if (r->write_gap_ms >= 0)
        fprintf(r->s->out, ", no write for %d ms", r->write_gap_ms);
    fputc('\n', r->s->out);
    return EXIT_DONE;
}

/* One look and what follows from it: an exit code, -1 to go on. */
static int advance(struct rollout *r)
{
    char why[640];
    int rc;

    if (!look(r, why, sizeof(why))) {
        r->step = (struct rollout_step){.act = ROLLOUT_WAIT};
        return wait_more(r, "", why);
    }
    if (r->v.has_record && r->v.record.w > r->how.w)
        r->how.w = r->v.record.w;
    rollout_next(&r->set, &r->v, &r->how, &r->step);
    if (r->current[0])
        note_back(r);
    if (r->step.act != ROLLOUT_SWITCH)
        r->refused_ms = 0; /* the next one is about another state of things */
    switch (r->step.act) {
    case ROLLOUT_COMPLETE:
        return complete(r);
    case ROLLOUT_REPLACE:
        if (r->step.m == cluster_primary(&r->v))
            r->write_gap_ms = -1;
        rc = replace(r, r->step.m);
        return rc == EXIT_DONE ? -1 : rc;
    case ROLLOUT_SWITCH:
        return hand_over(r, r->step.m);
    case ROLLOUT_WAIT:
        return wait_more(r, r->step.m ? r->step.m->name : "", r->step.text.why);
    case ROLLOUT_STUCK:
        break;
    }
    snprintf(why, sizeof(why), "%s %s", r->step.m ? r->step.m->name : "", r->step.text.why);
    return rollout_stop(r, "stopped", EXIT_REFUSED, why);
}

static int roll(struct rollout *r)
{
    int rc;

    r->stage_ms = clock_boot_ms();
    for (;;) {
        if (interrupted)
            return rollout_stop(r, "interrupted", EXIT_FAILED,
                                r->current[0]
                                    ? "the member that is being replaced comes back by itself"
                                    : "every member runs");
        if ((rc = advance(r)) >= 0)
            return rc;
        if (!interrupted)
            api_pause(r->s->api, POLL_MS);
    }
}

/* --- the beginning --- */

static const char *stamp_now(char *dst, size_t size)
{
    return stamp_text(dst, size, clock_wall_us() / 1000000);
}

/* The API server says beforehand what it would refuse: rights, admission, an impossible image. */
static int rehearse(struct rollout *r, struct json_object *patch)
{
    char path[320];
    struct err e;

    if (patch) {
        set_path(r, r->set.name, true, path, sizeof(path));
        if (!api_patch(r->s->api, path, STRATEGIC,
                       json_object_to_json_string_ext(patch, JSON_C_TO_STRING_PLAIN),
                       r->s->deadline_ms, NULL, &e))
            return e.kind == ERR_INVALID
                       ? session_fail(r->s, EXIT_REFUSED, NULL, "rollout refused: %s", e.msg)
                       : fail_access(r->s, "change the StatefulSet", &e);
    }
    for (size_t i = 0; i < r->v.n; i++) {
        const struct member_view *m = &r->v.m[i];
        if (!m->pod || m->terminating || !str_eq(m->set, r->set.name))
            continue;
        if (!delete_pod(r, m, true, &e) && e.kind == ERR_DENIED)
            return fail_access(r->s, "delete a pod", &e);
        break;
    }
    return EXIT_DONE;
}

static bool ask(struct rollout *r, bool all)
{
    char names[512], question[640];

    if (r->force)
        return true;
    rollout_pending_text(r, all, names, sizeof(names));
    snprintf(question, sizeof(question), "Replace %s, one by one?", names);
    return session_confirm(r->s, question);
}

static int begin(struct rollout *r)
{
    struct json_object *patch = NULL;
    struct rollout_text t = {0};
    char stamp[40], why[256];
    struct err e;
    bool stamped = r->restart && !rollout_restart_open(&r->set, &r->v);
    bool fresh = stamped || (r->image && !str_eq(r->image, r->set.image));
    bool dry = args_has(&r->s->args, OPT_DRY_RUN);
    int rc;

    if (!rollout_allowed(&r->set, &r->v, r->force, fresh, &t))
        return session_fail(r->s, EXIT_REFUSED, t.hint, "rollout refused, nothing was changed: %s",
                            t.why);
    r->how = (struct rollout_how){
        .w = r->v.has_record ? r->v.record.w : 0,
        .unwell_first = rollout_unwell_one(&r->set, &r->v, fresh, why, sizeof(why)) != NULL,
        .in_place = r->force,
    };
    if (fresh)
        patch = rollout_template_patch(&r->set, r->image, stamped ? stamp_now(stamp, sizeof(stamp))
                                                                  : NULL);
    bool some = fresh || rollout_pending(&r->set, &r->v) > 0;
    if (some || dry)
        rollout_say_plan(r, fresh, dry);
    rc = some ? rehearse(r, patch) : EXIT_DONE;
    if (rc == EXIT_DONE && dry)
        rollout_show(r, "planned", fresh, "");
    if (rc == EXIT_DONE && !dry && some && !ask(r, fresh))
        rc = r->s->in_tty ? session_fail(r->s, EXIT_FAILED, NULL, "not confirmed, nothing was done")
                          : EXIT_USAGE;
    if (rc != EXIT_DONE || dry) {
        json_object_put(patch);
        return rc;
    }
    catch_signals();
    r->begun_ms = clock_boot_ms();
    /* Before the template: a controller that goes by number would begin at once. */
    if (some && !r->set.on_delete && !patch_set(r, MERGE, rollout_strategy_patch(&r->set), &e)) {
        json_object_put(patch);
        return fail_access(r->s, "set the update strategy", &e);
    }
    if (patch && !patch_set(r, STRATEGIC, patch, &e))
        return fail_access(r->s, "change the template", &e);
    return roll(r);
}

static int gather(struct rollout *r)
{
    struct err e;
    int rc = cluster_gather(r->s, &r->v, true);

    if (rc != EXIT_DONE)
        return rc;
    const char *name = rollout_set_name(&r->v);
    if (!*name)
        return session_fail(r->s, EXIT_FAILED, "`kubectl get pods` shows who owns them.",
                            "no pod of cluster %s belongs to a StatefulSet", r->s->cluster);
    if (!read_set(r, name, &e))
        return e.kind == ERR_INVALID ? session_fail(r->s, EXIT_USAGE, NULL, "%s", e.msg)
                                     : fail_access(r->s, "read the StatefulSet", &e);
    must(str_copy(r->old_image, sizeof(r->old_image), r->set.image));
    for (size_t i = 0; i < r->v.n; i++) {
        if (rollout_outdated(&r->set, &r->v.m[i]) && r->v.m[i].image[0])
            must(str_copy(r->old_image, sizeof(r->old_image), r->v.m[i].image));
    }
    return EXIT_DONE;
}

/* Reads the cluster until nobody is unwell or it has lasted. */
static int start(struct rollout *r)
{
    int64_t end_ms = clock_boot_ms() + SETTLE_MS;
    char why[256];
    int rc;

    while ((rc = gather(r)) == EXIT_DONE && clock_boot_ms() < end_ms &&
           rollout_unwell_one(&r->set, &r->v, true, why, sizeof(why)))
        api_pause(r->s->api, POLL_MS);
    return rc == EXIT_DONE ? begin(r) : rc;
}

int cmd_rollout(struct session *s)
{
    struct rollout *r;
    int rc;

    if (s->args.operands && !str_eq(s->args.operand[0], "restart"))
        return session_fail(s, EXIT_USAGE, "See hactl help rollout.",
                            "rollout: \"%.60s\" is not restart", s->args.operand[0]);
    if (s->args.operands && args_has(&s->args, OPT_IMAGE))
        return session_fail(s, EXIT_USAGE, "Another image restarts every member anyway.",
                            "rollout: either restart or --image");
    if ((rc = session_connect(s)) != EXIT_DONE)
        return rc;
    if (api_is_socket(s->api))
        return session_fail(s, EXIT_USAGE, "Run it without --socket.",
                            "rollout goes through the Kubernetes API");
    must((r = calloc(1, sizeof(*r))) && (r->steps = json_object_new_array()));
    r->s = s;
    r->image = s->args.value[OPT_IMAGE];
    r->restart = s->args.operands > 0;
    r->force = args_has(&s->args, OPT_FORCE);
    r->people = s->output == OUTPUT_TABLE || s->output == OUTPUT_WIDE;
    s->deadline_ms = clock_boot_ms() + CHANGE_MS;
    rc = start(r);
    json_object_put(r->steps);
    free(r);
    return rc;
}
