/* One turn of the agent: observe, decide, act, publish. */
#include <string.h>
#include <sys/stat.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define MEND_MS 1000

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

/* Changes with the file: kubelet puts another one into its place. */
static uint64_t file_stamp(const struct agent *a)
{
    struct stat st;
    if (stat(a->sources.file != NULL ? a->sources.file : CONFIG_FILE, &st) != 0)
        return 0;
    return (uint64_t)st.st_ino * 1000003 + (uint64_t)st.st_mtim.tv_sec * 1000000007 +
           (uint64_t)st.st_mtim.tv_nsec + (uint64_t)st.st_size;
}

static bool refuse(struct agent *a, const struct err *e)
{
    (void)str_format(a->refused, sizeof a->refused, "%.150s", e->msg);
    a->status.n.config_reloads_failed++;
    log_event(LOG_ERROR, "config-refused", e->msg, LOG_S("hint", "the old settings stay"));
    api_event(a->api, true, "ConfigRefused", e->msg, loop_now(a->loop));
    return false;
}

bool agent_reload(struct agent *a, struct err *e)
{
    struct config_changes ch = {0};
    uint64_t generation;
    a->sources.cluster_text = api_settings_text(a->api, &generation);
    a->settings_generation = generation;
    a->file_seen = file_stamp(a);
    if (!config_reload(&a->cfg, &a->sources, &ch, e))
        return refuse(a, e);
    for (size_t i = 0; i < ch.n; i++)
        log_event(LOG_INFO, "config-changed", ch.v[i].name, LOG_S("from", ch.v[i].from),
                  LOG_S("to", ch.v[i].to), LOG_I("needs_restart", ch.v[i].needs_restart));
    config_changes_done(&ch);
    config_settings(&a->cfg, &a->set);
    a->collation_next_ms = 0; /* a reload is how somebody tells that the indexes were built anew */
    bool ok = agent_user_conf(a, e);
    if (ok) {
        a->refused[0] = '\0';
        a->status.n.config_reloads_ok++;
    } else {
        (void)refuse(a, e);
    }
    struct peer_tokens tokens;
    struct err why;
    if (peer_tokens_read(&tokens, a->cfg.api.token_file, &why)) {
        a->tokens = tokens;
        peer_server_set_tokens(a->peers_in, &tokens);
    } else {
        log_event(LOG_ERROR, "token-unreadable", why.msg, LOG_S("hint", "the old token stays"));
        if (ok)
            *e = why;
        ok = false;
    }
    agent_show_config(a);
    return ok;
}

/* Cluster-wide settings come with the ConfigMap; a change of them is a reload. */
static void watch_settings(struct agent *a)
{
    uint64_t generation;
    struct err e = {0};
    (void)api_settings_text(a->api, &generation);
    if (generation != a->settings_generation)
        (void)agent_reload(a, &e);
}

/* Settings that were refused, or with which no server starts, are taken up by themselves once somebody
 * has mended them; all others when a reload is asked for. */
static void watch_mending(struct agent *a, int64_t now)
{
    struct err e = {0};
    bool wrong = a->refused[0] != '\0' || a->server.failed_starts > 0;
    if (!wrong || now < a->file_next_ms)
        return;
    a->file_next_ms = now + MEND_MS;
    if (file_stamp(a) != a->file_seen)
        (void)agent_reload(a, &e);
}

void agent_turn(struct agent *a)
{
    int64_t now = loop_now(a->loop), began_us = clock_boot_us();
    page_beat(a->page, now);
    api_poll(a->api, now);
    watch_settings(a);
    watch_mending(a, now);
    bool late = stalled(a, now);
    observe(a, now);
    decide(&a->view, &a->memo, &a->verdict);
    bool acts = !late || (a->verdict.effects & EFF_FENCE) != 0;
    recorder_note(a, now, !acts);
    succession_note(a, now);
    if (acts) {
        narrate(a, now);
        act(a, now);
        passwords_turn(a, now);
        collations_turn(a, now);
        spare_turn(a, now);
    } else {
        pg_probe_kick(a->probe);
    }
    publish(a, now);
    agent_trim(a, now);
    recorder_flush(a, now);
    status_hist_add(&a->status.n.loop, clock_boot_us() - began_us);
    loop_wake_at(a->loop, a->verdict.wake_at_ms);
}
