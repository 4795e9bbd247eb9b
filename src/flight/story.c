/* Turns in words for the person on call. */
#include "flight/story.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "core/record.h"
#include "flight/replay.h"

#define NEAR_MAX 32

void flight_stamp(char dst[FLIGHT_STAMP_SIZE], int64_t unix_us)
{
    time_t s = (time_t)(unix_us / 1000000);
    struct tm tm;
    size_t n = gmtime_r(&s, &tm) != NULL ? strftime(dst, FLIGHT_STAMP_SIZE, "%Y-%m-%dT%H:%M:%S", &tm)
                                         : 0;
    (void)str_format(dst + n, FLIGHT_STAMP_SIZE - n, ".%03dZ", (int)(unix_us / 1000 % 1000));
}

bool flight_stamp_parse(const char *text, int64_t *ret_us)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL)
        end = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
    if (end == NULL)
        return false;
    /* Stamps are shown cut to the millisecond: all of it is meant. */
    int64_t us = (int64_t)timegm(&tm) * 1000000 + 999, unit = 100000;
    if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9'; end++, unit /= 10)
            us += unit >= 1000 ? (*end - '0') * unit : 0;
    }
    *ret_us = us;
    return end[*end == 'Z'] == '\0';
}

bool flight_seek(struct flight_cursor *c, const struct flight *f, int64_t at_us)
{
    static struct flight_cursor next;
    flight_begin(&next, f);
    bool found = flight_next(&next) && next.meta.wall_us <= at_us;
    *c = next;
    while (found && flight_next(&next) && next.meta.wall_us <= at_us)
        *c = next;
    return found;
}

void flight_tell_story(FILE *out, const struct flight *f)
{
    static struct flight_cursor c;
    char stamp[FLIGHT_STAMP_SIZE];
    uint32_t rule = UINT32_MAX;
    uint64_t run = 0;
    flight_begin(&c, f);
    while (flight_next(&c)) {
        const struct verdict *d = &c.turn.verdict;
        flight_stamp(stamp, c.meta.wall_us);
        if (c.meta.run != run)
            fprintf(out, "%s  the agent started\n", stamp);
        if (c.meta.lost > 0)
            fprintf(out, "%s  %u turns before this one are missing: the volume did not take them\n",
                    stamp, c.meta.lost);
        if (d->rule != rule || c.meta.run != run)
            fprintf(out, "%s  %-18s epoch %" PRIu64 "  %s\n", stamp, core_rules[d->rule].id,
                    c.turn.view.lv.lease.epoch, core_rules[d->rule].reason);
        rule = d->rule;
        run = c.meta.run;
    }
}

/* ---- one turn ---- */

/* How long ago, by the member's own clock; of the future: in how long. */
static const char *ago(char dst[40], const struct view *v, int64_t at_ms)
{
    int64_t ms = v->now_ms - at_ms;
    if (at_ms == 0)
        return "never";
    if (ms < 0)
        return str_format(dst, 40, "in %" PRId64 ".%03d s", -ms / 1000, (int)(-ms % 1000)) ? dst : "?";
    return str_format(dst, 40, "%" PRId64 ".%03d s ago", ms / 1000, (int)(ms % 1000)) ? dst : "?";
}

static const char *tri_text(enum tri t)
{
    return t == TRI_YES ? "yes" : t == TRI_NO ? "no" : "unknown";
}

static const char *process_text(enum pg_process p)
{
    static const char *const words[] = {"down", "starting", "running", "stopping"};
    return p <= PG_STOPPING ? words[p] : "?";
}

static const char *data_text(enum data_state d)
{
    static const char *const words[] = {"not looked at", "empty", "in order", "an unfinished copy",
                                        "foreign", "damaged"};
    return d <= DATA_BROKEN ? words[d] : "?";
}

static const char *outcome_text(enum write_outcome o)
{
    static const char *const words[] = {"none", "under way", "accepted", "refused", "outcome unknown"};
    return o <= OUTCOME_UNKNOWN ? words[o] : "?";
}

static void put_position(FILE *out, struct position p)
{
    if (p.lsn == 0)
        fputs("WAL position unknown", out);
    else
        fprintf(out, "WAL up to %X/%X on timeline %u", (unsigned)(p.lsn >> 32), (unsigned)p.lsn,
                p.timeline);
}

static const char *name_of_volume(const struct record *r, uint64_t volume)
{
    const struct record_member *m = record_find(r, volume);
    return volume == 0 ? "nobody" : m != NULL ? m->name.s : "a volume that the record does not name";
}

static void tell_lease(FILE *out, const struct view *v)
{
    const struct lease *l = &v->lv.lease;
    char t[40];
    fputs("  Lease      ", out);
    if (!v->lv.known)
        fputs("never read", out);
    else if (!l->exists)
        fputs("there is none", out);
    else if (l->holder.name.s[0] != '\0')
        fprintf(out, "held by %s%s, epoch %" PRIu64 ", duration %d s", l->holder.name.s,
                identity_eq(&l->holder, &v->self.id) ? " (this member)" : "", l->epoch,
                l->duration_s);
    else
        fprintf(out, "held by nobody, epoch %" PRIu64 "%s", l->epoch,
                l->release.valid ? ", released on purpose" : "");
    fprintf(out, "; changed %s", ago(t, v, v->lv.changed_ms));
    fprintf(out, ", API last answered %s\n", ago(t, v, v->lv.contact_ms));
    if (v->lv.write != WRITE_NONE)
        fprintf(out, "  Last write %s, sent %s: %s\n", write_kind_name(v->lv.write),
                ago(t, v, v->lv.write_sent_ms), outcome_text(v->lv.outcome));
    if (!l->has_record)
        return;
    const struct record *r = &l->record;
    fprintf(out, "  Record     epoch %" PRIu64 " rev %" PRIu64 ", writer %s, timeline %u, W = %u, V =",
            r->epoch, r->rev, name_of_volume(r, r->writer), r->timeline, r->w);
    for (uint8_t i = 0; i < r->n && i < HA_MEMBERS_MAX; i++)
        if (r->m[i].in_v)
            fprintf(out, " %s", r->m[i].name.s);
    fprintf(out, "%s\n", r->sealed != 0 ? "; sealed" : "");
}

static void tell_self(FILE *out, const struct flight_turn *turn)
{
    const struct view *v = &turn->view;
    const struct pg *pg = &v->pg;
    char t[40];
    fprintf(out, "  Here       %s: postgres %s, in recovery: %s, ", v->self.id.name.s,
            process_text(pg->process), tri_text(pg->in_recovery));
    put_position(out, pg->position);
    fprintf(out, "%s%s, clients %s; data directory %s; durable epoch %" PRIu64 "\n",
            pg->streaming ? ", streaming" : "", pg->crashed ? ", crashed" : "",
            pg->open == TRI_YES ? "admitted" : "not admitted", data_text(v->self.data),
            v->self.durable_epoch);
    if (turn->verdict.deadline_ms != 0)
        fprintf(out, "  Right      to write: until %s\n", ago(t, v, turn->verdict.deadline_ms));
    if (v->self.terminate > 0)
        fputs("  SIGTERM    was received\n", out);
    if (v->st.paused)
        fputs("  Paused     by the operator\n", out);
}

static void tell_peers(FILE *out, const struct view *v)
{
    char t[40];
    for (uint8_t i = 0; i < v->n_peers && i < HA_MEMBERS_MAX; i++) {
        const struct peer *p = &v->peer[i];
        fprintf(out, "  Member     %s: ", p->name.s);
        if (p->received_ms == 0) {
            fprintf(out, "has never answered%s\n", p->pod_known ? "" : ", and has no pod");
            continue;
        }
        fprintf(out, "answered %s; postgres %s, in recovery: %s, ", ago(t, v, p->received_ms),
                process_text(p->state.process), tri_text(p->state.in_recovery));
        put_position(out, p->state.position);
        if (p->state.frozen_epoch != 0)
            fprintf(out, ", reported for epoch %" PRIu64, p->state.frozen_epoch);
        fprintf(out, ", rule %s%s\n", p->state.rule.s, p->pod_known ? "" : "; its pod is gone");
    }
}

static void tell_facts(FILE *out, const char *lead, uint64_t facts)
{
    for (int i = 0; i < FACT_COUNT; i++)
        if ((facts >> i & 1) != 0)
            fprintf(out, "    %s%s: %s\n", lead, fact_name((enum fact_bit)i),
                    fact_text((enum fact_bit)i));
}

static void tell_effects(FILE *out, const struct flight_cursor *c)
{
    const struct verdict *d = &c->turn.verdict;
    fputs("What was asked for\n   ", out);
    for (unsigned i = 0; i < 32; i++)
        if ((d->effects >> i & 1) != 0)
            fprintf(out, " %s", effect_name(i));
    if ((d->effects & EFF_LEASE_WRITE) != 0)
        fprintf(out, " (lease: %s)", write_kind_name(d->write.kind));
    fprintf(out, "%s\n", d->effects == 0 ? " nothing" : "");
    if (c->meta.held)
        fputs("    not done: the agent had stood still and looked first\n", out);
    if (d->waits_for[0] != '\0')
        fprintf(out, "    members of V that do not answer: %s\n", d->waits_for);
}

static void tell_near(FILE *out, const struct verdict *d)
{
    struct flight_near near[NEAR_MAX];
    size_t n = flight_near(d->facts, d->rule, near, NEAR_MAX);
    fprintf(out, "What nearly fired instead (one fact away)%s\n", n == 0 ? ": nothing" : "");
    for (size_t i = 0; i < n; i++) {
        const struct rule *r = &core_rules[near[i].rule];
        fprintf(out, "    %s (%s), ", r->id, r->reason);
        uint64_t bits = near[i].missing != 0 ? near[i].missing : near[i].present;
        fputs(near[i].missing != 0 ? "if" : "if not", out);
        for (int k = 0, first = 1; k < FACT_COUNT; k++) {
            if ((bits >> k & 1) == 0)
                continue;
            fprintf(out, "%s %s", first ? "" : " or", fact_name((enum fact_bit)k));
            first = 0;
        }
        fputc('\n', out);
    }
}

void flight_tell_turn(FILE *out, const struct flight_cursor *c)
{
    const struct view *v = &c->turn.view;
    const struct verdict *d = &c->turn.verdict;
    const struct rule *r = &core_rules[d->rule];
    char stamp[FLIGHT_STAMP_SIZE];
    flight_stamp(stamp, c->meta.wall_us);
    fprintf(out, "%s on %s: %s, rule %s (row %u)\n    %s\n", stamp, v->self.id.name.s,
            d->serving ? "serving as primary" : "not serving as primary", r->id, d->rule + 1,
            r->reason);
    fputs("What was known\n", out);
    tell_lease(out, v);
    tell_self(out, &c->turn);
    tell_peers(out, v);
    fputs("Why this rule\n", out);
    tell_facts(out, "", d->facts & (r->all | r->any));
    tell_facts(out, "not ", r->none);
    if ((r->all | r->any | r->none) == 0)
        fputs("    no other row of the policy fitted\n", out);
    tell_effects(out, c);
    tell_near(out, d);
}
