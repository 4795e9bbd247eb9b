/* Results of operator's requests: what happened, definite, with milliseconds per phase.
 *
 * A switchover is begun by the old primary, which records its phases before it releases the Lease;
 * the new primary takes that result from the ConfigMap and completes it. */
#include <string.h>

#include "agent.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/intent.h"

static void say(struct agent *a, enum intent_state state, enum intent_phase phase,
                const char *message, int64_t now)
{
    struct intent_result *r = &a->result;
    r->state = state;
    r->phase = phase;
    r->updated_s = clock_wall_us() / 1000000;
    r->primary = a->view.lv.lease.holder.name;
    (void)str_copy(r->message, sizeof r->message, message);
    if (intent_state_final(state)) {
        int64_t total = 0;
        for (size_t i = 0; i < PHASE_COUNT; i++)
            total += r->phase_ms[i] > 0 ? r->phase_ms[i] : 0;
        r->total_ms = (int32_t)total;
    }
    api_write_result(a->api, r, now);
}

static void phase_begins(struct agent *a, enum intent_phase p, int64_t now)
{
    if (a->op_phase == p)
        return;
    if (a->op_phase_since_ms != 0 && a->op_phase < PHASE_COUNT)
        a->result.phase_ms[a->op_phase] = (int32_t)(now - a->op_phase_since_ms);
    a->op_phase = p;
    a->op_phase_since_ms = now;
}

static void phases_end(struct agent *a, int64_t now)
{
    phase_begins(a, PHASE_COUNT, now);
    a->op_phase_since_ms = 0;
}

/* A result is begun anew; a phase of an earlier request that ended elsewhere is no part of it. */
static void result_begins(struct agent *a, const struct intent *in)
{
    intent_result_init(&a->result, in);
    a->op_phase = PHASE_COUNT;
    a->op_phase_since_ms = 0;
}

/* The old primary: checkpoint, stop, release. */
static void old_primary(struct agent *a, int64_t now)
{
    const struct memo *m = &a->memo;
    const struct intent_result *r = &a->verdict.result;
    if (r->id != 0 && (r->id != a->result.id || r->state != a->result.state)) {
        if (r->id != a->result.id)
            result_begins(a, &a->view.intent);
        if (r->state == INTENT_RUNNING)
            phase_begins(a, PHASE_CHECKPOINT, now);
        else
            phases_end(a, now);
        say(a, r->state, r->state == INTENT_RUNNING ? PHASE_CHECKPOINT : a->result.phase,
            r->state == INTENT_RUNNING ? "checkpoint while serving" : r->message, now);
    }
    if (m->handover_intent <= 1 || m->handover_intent != a->result.id)
        return;
    if (m->stop_ms > 0 && a->op_phase == PHASE_CHECKPOINT)
        phase_begins(a, PHASE_STOP, now);
    if (a->op_phase == PHASE_STOP && a->view.pg.process == PG_DOWN) {
        phase_begins(a, PHASE_RELEASE, now);
        say(a, INTENT_RUNNING, PHASE_RELEASE, "stopped; waiting for the target's confirmation", now);
    }
}

static bool concerns_new_primary(const struct agent *a)
{
    const struct intent *in = &a->view.intent;
    return (in->kind == INTENT_SWITCHOVER || in->kind == INTENT_FAILOVER) && in->id != 0 &&
           in->epoch < a->view.lv.lease.epoch &&
           identity_eq(&a->view.lv.lease.holder, &a->id);
}

/* As ordered, or what came instead. begun: the old primary's part; it named itself as the primary. */
static void say_who_serves(struct agent *a, const struct intent_result *begun, int64_t now)
{
    const struct intent *in = &a->view.intent;

    if (in->target.s[0] != '\0' && !name_eq(&in->target, &a->id.name))
        say(a, INTENT_FAILED, PHASE_FIRST_WRITE, "another member than the target became the primary",
            now);
    else if (begun->id == in->id && name_eq(&begun->primary, &a->id.name))
        say(a, INTENT_FAILED, PHASE_FIRST_WRITE,
            "the old primary serves again: nobody else took the released Lease in time", now);
    else
        say(a, INTENT_DONE, PHASE_FIRST_WRITE, "the new primary serves", now);
}

/* The new primary: acquire, promote, first write. */
static void new_primary(struct agent *a, int64_t now)
{
    const struct intent *in = &a->view.intent;
    if (!concerns_new_primary(a))
        return;
    const struct intent_result *begun = api_intent_result(a->api);
    if (a->result.id != in->id) {
        if (begun->id == in->id && intent_state_final(begun->state))
            return;
        result_begins(a, in);
        if (begun->id == in->id)
            a->result = *begun;
        a->result.state = INTENT_RUNNING;
        phase_begins(a, PHASE_ACQUIRE, now);
    }
    if (intent_state_final(a->result.state))
        return;
    if (a->server.armed && a->op_phase == PHASE_ACQUIRE)
        phase_begins(a, PHASE_PROMOTE, now);
    if (a->server.in_recovery == TRI_NO && a->op_phase == PHASE_PROMOTE)
        phase_begins(a, PHASE_FIRST_WRITE, now);
    if (!a->verdict.serving)
        return;
    phases_end(a, now);
    for (size_t i = PHASE_CHECKPOINT; begun->id == in->id && i <= PHASE_RELEASE; i++)
        if (a->result.phase_ms[i] < 0)
            a->result.phase_ms[i] = begun->phase_ms[i];
    a->result.write_gap_ms = (int32_t)a->succession.write_gap_ms;
    say_who_serves(a, begun, now);
}

static void member_operation(struct agent *a, int64_t now)
{
    const struct intent *in = &a->view.intent;
    bool kind = in->kind == INTENT_RESTART || in->kind == INTENT_REINIT;
    if (!kind || in->id == 0 || !name_eq(&in->target, &a->id.name))
        return;
    bool begun = a->result.id == in->id;
    uint64_t wanted = FACT(RESTART) | FACT(REINIT);
    if (!begun && (a->verdict.facts & wanted) != 0) {
        result_begins(a, in);
        phase_begins(a, PHASE_STOP, now);
        say(a, INTENT_RUNNING, PHASE_STOP, "stopping the server", now);
        return;
    }
    if (!begun || intent_state_final(a->result.state))
        return;
    if (a->op_phase == PHASE_STOP && a->view.pg.process == PG_DOWN)
        phase_begins(a, in->kind == INTENT_REINIT ? PHASE_CLONE : PHASE_START, now);
    if (a->op_phase == PHASE_CLONE && a->view.pg.process == PG_RUNNING)
        phase_begins(a, PHASE_STREAM, now);
    bool up = a->verdict.serving || a->view.pg.streaming;
    if (up && a->memo.dead_intent == in->id && a->op_phase != PHASE_STOP) {
        phases_end(a, now);
        say(a, INTENT_DONE, in->kind == INTENT_REINIT ? PHASE_STREAM : PHASE_START,
            in->kind == INTENT_REINIT ? "cloned and streaming" : "restarted", now);
    }
}

/* Every member meant reads its settings again at once; the one named, or else the holder, reports. */
static void reload_operation(struct agent *a, int64_t now)
{
    const struct intent *in = &a->view.intent;
    bool named = name_eq(&in->target, &a->id.name), all = in->target.s[0] == '\0';
    if (in->kind != INTENT_RELOAD || in->id == 0 || in->id == a->reloaded_intent ||
        (!named && !all) || in->epoch != a->view.lv.lease.epoch || a->view.intent_expired)
        return;
    a->reloaded_intent = in->id;
    struct err e = {0};
    bool ok = agent_reload(a, &e);
    if (!named && !identity_eq(&a->view.lv.lease.holder, &a->id))
        return;
    result_begins(a, in);
    say(a, ok ? INTENT_DONE : INTENT_FAILED, PHASE_PREFLIGHT,
        ok ? "the settings were read again" : e.msg, now);
}

void operations(struct agent *a, int64_t now)
{
    old_primary(a, now);
    new_primary(a, now);
    member_operation(a, now);
    reload_operation(a, now);
}
