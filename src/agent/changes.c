/* Tells what has changed: who is primary, in history, counters and Events. */
#include <string.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

/* Counters that describe the last change are taken from the history, so they outlive this process. */
void fill_changes(const struct agent *a, struct status *s)
{
    s->history_n = (uint8_t)api_history(a->api, s->history, STATUS_HISTORY_MAX);
    s->n.switchover_write_gap_ms = s->n.lost_bytes_last_failover = -1;
    s->n.failover_phases_n = 0;
    for (uint8_t i = 0; i < s->history_n; i++) {
        const struct status_history *h = &s->history[i];
        if (!name_eq(&h->to, &a->id.name))
            continue;
        if (str_eq(h->cause, "switchover"))
            s->n.switchover_write_gap_ms = h->write_gap_ms;
        if (str_eq(h->cause, "failover") || str_eq(h->cause, "restart")) {
            s->n.lost_bytes_last_failover = h->lost_bytes;
            s->n.failover_phases_n = h->phases_n;
            memcpy(s->n.failover_phases, h->phases, sizeof h->phases);
        }
    }
}

static void count_change(struct status *s, const char *cause)
{
    s->n.switchovers += str_eq(cause, "switchover") ? 1 : 0;
    for (uint8_t i = 0; i < STATUS_CAUSES_MAX; i++) {
        struct status_cause_count *c = &s->n.failovers[i];
        if (c->cause[0] != '\0' && strcmp(c->cause, cause) != 0)
            continue;
        (void)str_copy(c->cause, sizeof c->cause, cause);
        c->count++;
        if (i >= s->n.failovers_n)
            s->n.failovers_n = (uint8_t)(i + 1);
        break;
    }
}

static void promoted(struct agent *a, struct status *s, const struct history_entry *h, int64_t now)
{
    char note[STATUS_TEXT_SIZE];
    api_append_history(a->api, h, now);
    (void)str_format(note, sizeof note, "primary since epoch %llu on timeline %u",
                     (unsigned long long)h->epoch, h->timeline);
    api_event(a->api, false, "Promoted", note, now);
    count_change(s, h->cause);
    log_event(LOG_INFO, "primary", "clients are admitted", LOG_I("epoch", h->epoch),
              LOG_I("timeline", h->timeline), LOG_S("cause", h->cause),
              LOG_S("reason", h->reason), LOG_S("from", h->from.s),
              LOG_I("write_gap_ms", h->write_gap_ms));
}

void succession_note(struct agent *a, int64_t now)
{
    const struct view *v = &a->view;
    struct succession_look l = {
        .now_ms = now,
        .wall_s = clock_wall_us() / 1000000,
        .self = &a->id,
        .volume = a->state.volume,
        .serving = a->verdict.serving,
        .stopping = (a->verdict.effects & (EFF_PG_STOP | EFF_DROP_SENDERS)) != 0,
        .killing = (a->verdict.effects & EFF_FENCE) != 0,
        .crashed = v->pg.crashed,
        .initialising = pg_job_state(a->job) == PG_JOB_RUNNING && pg_job_kind(a->job) == PG_JOB_INITDB,
        .armed = a->server.armed,
        .promoted_ms = a->server.promoted_ms,
        .promoted_end_lsn = a->server.promoted_end_lsn,
        .lease = &v->lv.lease,
        .lease_changed_ms = v->lv.changed_ms,
        .bypass_epoch = a->memo.bypass_epoch,
        .intent = &v->intent,
        .result = &a->result,
        .begun = api_intent_result(a->api),
        .history_known = v->st.known,
        .last = api_last_change(a->api),
    };
    struct history_entry h;
    if (succession_turn(&a->succession, &l, &h))
        promoted(a, &a->status, &h, now);
}

void tell_changes(struct agent *a, int64_t now)
{
    const struct status *s = &a->status;
    struct events_seen *seen = &a->seen;
    bool sealed = a->view.lv.lease.record.sealed == a->state.volume;
    if (s->role != seen->role) {
        if (seen->role == ROLE_PRIMARY)
            api_event(a->api, false, "Demoted", rule_of(a)->reason, now);
        seen->role = s->role;
    }
    if (s->role == ROLE_PRIMARY && sealed != seen->sealed) {
        api_event(a->api, sealed, sealed ? "Sealed" : "Unsealed",
                  sealed ? "no standby left: this volume alone holds acknowledged writes"
                         : "standbys acknowledge again",
                  now);
        seen->sealed = sealed;
    }
    const char *why = why_not_started(a);
    if (why != NULL && !seen->fails)
        api_event(a->api, true, "ServerDoesNotStart", why, now);
    seen->fails = why != NULL;
    if (s->failsafe != seen->failsafe) {
        log_event(LOG_WARNING, s->failsafe ? "failsafe-begin" : "failsafe-end",
                  s->failsafe ? "the Lease is not renewed; members give promises"
                              : "renewals succeed again");
        seen->failsafe = s->failsafe;
    }
}
