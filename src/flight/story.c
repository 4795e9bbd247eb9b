/* A record as a story for the person on call: what changed around a member, and its decisions. */
#include "flight/story.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "core/record.h"

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

/* ---- what happened between two turns ---- */

struct telling {
    FILE *out;
    char stamp[FLIGHT_STAMP_SIZE];
    bool begun;             /* there is a turn before, of the same process */
    struct flight_turn was; /* that turn */
};

static void event(const struct telling *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void event(const struct telling *t, const char *fmt, ...)
{
    va_list ap;
    fprintf(t->out, "%s  * ", t->stamp);
    va_start(ap, fmt);
    vfprintf(t->out, fmt, ap);
    va_end(ap);
    fputc('\n', t->out);
}

static void tell_holder(const struct telling *t, const struct view *was, const struct view *now)
{
    const struct lease *a = &was->lv.lease, *b = &now->lv.lease;
    const char *self = identity_eq(&b->holder, &now->self.id) ? " (this member)" : "";
    if (!now->lv.known || (was->lv.known && a->exists == b->exists && a->epoch == b->epoch &&
                           identity_eq(&a->holder, &b->holder)))
        return;
    if (!b->exists)
        event(t, "there is no Lease%s", was->lv.known && a->exists ? " any more" : "");
    else if (b->holder.name.s[0] == '\0')
        event(t, "nobody holds the Lease%s, epoch %" PRIu64,
              b->release.valid ? ": it was released on purpose" : "", b->epoch);
    else if (!was->lv.known)
        event(t, "the Lease is held by %s%s, epoch %" PRIu64, b->holder.name.s, self, b->epoch);
    else
        event(t, "%s%s takes the Lease: epoch %" PRIu64, b->holder.name.s, self, b->epoch);
}

static void tell_record(const struct telling *t, const struct view *was, const struct view *now)
{
    const struct record *a = &was->lv.lease.record, *b = &now->lv.lease.record;
    const struct record_member *m = record_find(b, b->writer);
    if (!was->lv.lease.has_record || !now->lv.lease.has_record)
        return;
    if (m != NULL && (a->writer != b->writer || a->timeline != b->timeline))
        event(t, "%s is named as the one writer of epoch %" PRIu64 ", on timeline %u", m->name.s,
              b->writer_epoch, b->timeline);
    if ((a->sealed != 0) != (b->sealed != 0))
        event(t, b->sealed != 0 ? "sealed: the primary writes alone, no standby has to confirm"
                                : "no longer sealed: commits wait for a standby again");
}

static const char *order_text(enum intent_kind k)
{
    static const char *const words[] = {"nothing", "switchover", "failover",
                                        "restart", "reinit",     "reload"};
    return (size_t)k < sizeof words / sizeof words[0] ? words[k] : "?";
}

static void tell_server(const struct telling *t, const struct view *was, const struct view *now)
{
    if (now->pg.crashed && !was->pg.crashed)
        event(t, "postgres ended without having been asked to");
    if (now->self.fenced && !was->self.fenced)
        event(t, "guard has killed every process: the right to write had ended");
    if (now->self.terminate > 0 && was->self.terminate == 0)
        event(t, "SIGTERM: this pod shall end");
    if (now->st.paused != was->st.paused && was->st.known && now->st.known)
        event(t, now->st.paused ? "paused by an operator: no automatic failover"
                                : "no longer paused");
    if (now->intent.id != was->intent.id && now->intent.kind != INTENT_NONE)
        event(t, "an operator orders: %s%s%s", order_text(now->intent.kind),
              now->intent.target.s[0] != '\0' ? " to " : "", now->intent.target.s);
}

static void tell_reports(const struct telling *t, const struct view *was, const struct view *now)
{
    for (uint8_t i = 0; i < now->n_peers && i < HA_MEMBERS_MAX; i++) {
        const struct peer *b = &now->peer[i], *a = NULL;
        for (uint8_t k = 0; k < was->n_peers && k < HA_MEMBERS_MAX; k++)
            if (str_eq(was->peer[k].name.s, b->name.s))
                a = &was->peer[k];
        if (a == NULL)
            continue;
        if (a->pod_known && !b->pod_known)
            event(t, "%s: its pod is gone", b->name.s);
        uint64_t epoch = b->state.frozen_epoch;
        if (epoch != 0 && epoch != a->state.frozen_epoch && epoch == now->lv.lease.epoch)
            event(t, "%s has stopped receiving for epoch %" PRIu64 " and reports: WAL up to %X/%X "
                     "on timeline %u", b->name.s, epoch, (unsigned)(b->state.position.lsn >> 32),
                  (unsigned)b->state.position.lsn, b->state.position.timeline);
    }
}

/* Why a member may go for the Lease of another: how long each sign of life is ago. */
static void tell_silence(const struct telling *t, const struct view *v)
{
    const struct lease *l = &v->lv.lease;
    if (!l->exists || l->holder.name.s[0] == '\0')
        return;
    int64_t ms = v->now_ms - v->lv.changed_ms;
    fprintf(t->out, "%*s%s has not renewed the Lease for %" PRId64 ".%03d s (it lasts %d s)",
            (int)strlen(t->stamp) + 4, "", l->holder.name.s, ms / 1000, (int)(ms % 1000), l->duration_s);
    for (uint8_t i = 0; i < v->n_peers && i < HA_MEMBERS_MAX; i++)
        if (str_eq(v->peer[i].name.s, l->holder.name.s) && v->peer[i].received_ms != 0) {
            ms = v->now_ms - v->peer[i].received_ms;
            fprintf(t->out, " and last answered %" PRId64 ".%03d s ago", ms / 1000, (int)(ms % 1000));
        }
    fputc('\n', t->out);
}

void flight_tell_story(FILE *out, const struct flight *f)
{
    static struct flight_cursor c;
    static struct telling t;
    uint64_t run = 0;
    int64_t last_us = 0;
    t = (struct telling){.out = out};
    flight_begin(&c, f);
    while (flight_next(&c)) {
        const struct verdict *d = &c.turn.verdict;
        const struct view *v = &c.turn.view;
        flight_stamp(t.stamp, c.meta.wall_us);
        t.begun = t.begun && c.meta.run == run;
        if (!t.begun && last_us == 0)
            event(&t, "the agent started");
        else if (!t.begun)
            event(&t, "the agent started, %" PRId64 " ms after the last recorded turn of the one before",
                  (c.meta.wall_us - last_us) / 1000);
        if (c.meta.lost > 0)
            event(&t, "%u turns before this one are missing: the volume did not take them",
                  c.meta.lost);
        if (t.begun) {
            tell_server(&t, &t.was.view, v);
            tell_holder(&t, &t.was.view, v);
            tell_record(&t, &t.was.view, v);
            tell_reports(&t, &t.was.view, v);
        }
        if (!t.begun || d->rule != t.was.verdict.rule) {
            fprintf(out, "%s  %-18s epoch %" PRIu64 "  %s\n", t.stamp, core_rules[d->rule].id,
                    v->lv.lease.epoch, core_rules[d->rule].reason);
            if ((d->effects & EFF_LEASE_WRITE) != 0 && d->write.kind == WRITE_ACQUIRE)
                tell_silence(&t, v);
        }
        t.was = c.turn;
        t.begun = true;
        run = c.meta.run;
        last_us = c.meta.wall_us;
    }
}
