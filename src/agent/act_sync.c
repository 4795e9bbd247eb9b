/* synchronous_standby_names: written, kept against other hands, and proved to be in force. */
#include "act_parts.h"
#include "base/log.h"

#define LOOK_AGAIN_MS 2000 /* how long a value set by hand may go unseen on a primary */
#define OVERRULE_MS 500 /* a reload needs a moment until its effect shows */

void act_sync(struct agent *a, const struct ssn *want, int64_t now)
{
    struct sync_setting *s = &a->sync;
    if (a->server.pid == 0 || !a->server.answered || want->kind == SSN_UNKNOWN ||
        (s->written_ms != 0 && ssn_eq(&s->want, want)))
        return;
    struct pg_ssn set;
    struct buf text;
    struct err e = {0};
    pg_ssn_of(want, &set);
    buf_init(&text, PG_SSN_SIZE - 1);
    bool from_empty = s->written_ms != 0 ? s->want.kind == SSN_EMPTY
                                         : pg_probe_facts(a->probe)->fresh_ssn[0] == '\0';
    bool changed;
    if (!pg_ssn_render(&text, &set, &e) || !pg_conf_set_ssn(a->conf, &set, &e)) {
        act_trouble(a, "sync-setting-invalid", &e);
    } else if (act_apply_conf(a, &changed)) {
        *s = (struct sync_setting){.want = *want, .written_ms = now};
        pg_barrier_begin(&s->barrier, buf_str(&text), from_empty, now);
        log_event(LOG_INFO, "sync-set", "synchronous_standby_names written",
                  LOG_S("value", buf_str(&text)));
    }
    buf_done(&text);
}

/* Whoever sets it by ALTER SYSTEM beats our file, and commits would be acknowledged that nobody else has. */
static void overrule_hand(struct agent *a, int64_t now)
{
    struct sync_setting *s = &a->sync;
    int64_t looked_ms = pg_probe_facts(a->probe)->fresh_ms;
    /* A value that is none of ours, as '*', is seen as unknown: that this is the reason says the look. */
    if (ssn_eq(&a->view.pg.ssn, &s->want) || a->server.pid == 0 || a->server.end_requested ||
        !pg_probe_facts(a->probe)->valid || looked_ms < s->written_ms + OVERRULE_MS ||
        looked_ms < s->overruled_ms + OVERRULE_MS)
        return;
    struct err e = {0};
    s->overruled_ms = now;
    log_event(LOG_WARNING, "setting-overruled", "synchronous_standby_names was set by hand; it is ours",
              LOG_S("value", pg_probe_facts(a->probe)->fresh_ssn));
    if (!pg_conf_strip_auto(a->conf, &e) || !pg_conf_reload(a->server.pid, &e))
        act_trouble(a, "setting-not-overruled", &e);
}

/* Looks at the walsenders and sometimes a CHECKPOINT. */
void act_sync_prove(struct agent *a, int64_t now)
{
    struct sync_setting *s = &a->sync;
    if (s->written_ms == 0)
        return;
    int64_t fresh = pg_probe_facts(a->probe)->fresh_ms;
    bool due = a->server.in_recovery == TRI_NO && now - fresh >= LOOK_AGAIN_MS;
    if (due || !ssn_eq(&a->view.pg.ssn, &s->want)) /* a reload is not its effect: look until it shows */
        pg_probe_kick_settings(a->probe, fresh > s->written_ms ? fresh : s->written_ms);
    overrule_hand(a, now);
    if (s->in_force || a->server.in_recovery != TRI_NO)
        return;
    int64_t after = pg_barrier_checkpoint_after(&s->barrier);
    struct err e = {0};
    if (after != 0 && a->checkpoint_ms < after &&
        pg_task_state(a->checkpoint) != PG_TASK_RUNNING && now - s->checkpoint_asked_ms > 200) {
        s->checkpoint_asked_ms = now;
        (void)pg_task_checkpoint(a->checkpoint, now + CHECKPOINT_TASK_MS, &e);
    }
}
