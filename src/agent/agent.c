/* One turn of the agent: observe, decide, act, publish. */
#include <string.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"

static void narrate(struct agent *a, int64_t now)
{
    const struct verdict *d = &a->verdict;
    const struct rule *r = &core_rules[d->rule];
    if (a->seen.rule_since_ms != 0 && a->seen.rule == d->rule)
        return;
    a->seen.rule = d->rule;
    a->seen.rule_since_ms = now;
    log_event(LOG_INFO, "rule", r->reason, LOG_S("rule", r->id),
              LOG_I("epoch", a->view.lv.lease.epoch), LOG_I("timeline", a->view.pg.local_timeline),
              LOG_I("lsn", a->view.pg.position.lsn), LOG_I("w", a->view.lv.lease.record.w),
              LOG_I("rev", a->view.lv.lease.record.rev),
              LOG_I("sealed", a->view.lv.lease.record.sealed != 0),
              LOG_I("right_ms", d->deadline_ms > now ? d->deadline_ms - now : 0));
}

/* A turn that comes late has a stale picture: look first, act in the next one. The fence does not
 * depend on us, and a release or an answer may wait a turn. */
static bool stalled(struct agent *a, int64_t now)
{
    int64_t gap = a->last_now_ms == 0 ? 0 : now - a->last_now_ms;
    a->last_now_ms = now;
    if (gap < 2000)
        return false;
    log_event(LOG_WARNING, "loop-stall", "the agent was not running: it looks before it acts",
              LOG_I("gap_ms", gap));
    return true;
}

void agent_turn(struct agent *a)
{
    int64_t now = loop_now(a->loop);
    page_beat(a->page, now);
    api_poll(a->api, now);
    bool late = stalled(a, now);
    observe(a, now);
    decide(&a->view, &a->memo, &a->verdict);
    if (!late || (a->verdict.effects & EFF_FENCE) != 0) {
        narrate(a, now);
        act(a, now);
    } else {
        pg_probe_kick(a->probe);
    }
    publish(a, now);
    loop_wake_at(a->loop, a->verdict.wake_at_ms);
}
