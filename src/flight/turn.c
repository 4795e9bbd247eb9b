/* One turn in words for the person on call: what was known, why that was decided, what it asked. */
#include "flight/story.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "core/record.h"
#include "flight/replay.h"

#define NEAR_MAX 64
#define LINE_WIDTH 96

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

static const char *server_text(enum pg_process p, enum tri in_recovery)
{
    static const char *const words[] = {"is down", "starts", "runs", "stops"};
    if (p == PG_RUNNING && in_recovery != TRI_UNKNOWN)
        return in_recovery == TRI_YES ? "runs as a standby" : "runs as a primary";
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

static void put_voters(FILE *out, const struct record *r)
{
    for (uint8_t i = 0; i < r->n && i < HA_MEMBERS_MAX; i++)
        if (r->m[i].in_v)
            fprintf(out, " %s", r->m[i].name.s);
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
        fprintf(out, "held by %s%s, epoch %" PRIu64 ", for %d s after each renewal",
                l->holder.name.s, identity_eq(&l->holder, &v->self.id) ? " (this member)" : "",
                l->epoch, l->duration_s);
    else
        fprintf(out, "held by nobody, epoch %" PRIu64 "%s", l->epoch,
                l->release.valid ? ", released on purpose" : "");
    fprintf(out, "; last change seen %s", ago(t, v, v->lv.changed_ms));
    fprintf(out, ", last word of the API %s\n", ago(t, v, v->lv.contact_ms));
    if (v->lv.write != WRITE_NONE)
        fprintf(out, "             last write of this member: %s, sent %s, %s\n",
                write_kind_name(v->lv.write), ago(t, v, v->lv.write_sent_ms),
                outcome_text(v->lv.outcome));
    if (!l->has_record)
        return;
    const struct record *r = &l->record;
    fprintf(out, "  Record     writer %s since epoch %" PRIu64 ", timeline %u; a commit waits for W = "
                 "%u standbys; voters V:", name_of_volume(r, r->writer), r->writer_epoch,
            r->timeline, r->w);
    put_voters(out, r);
    fprintf(out, "%s\n", r->sealed != 0 ? "; sealed" : "");
}

static void tell_self(FILE *out, const struct flight_turn *turn)
{
    const struct view *v = &turn->view;
    const struct pg *pg = &v->pg;
    char t[40];
    fprintf(out, "  Here       %s: postgres %s%s%s, ", v->self.id.name.s,
            server_text(pg->process, pg->in_recovery), pg->streaming ? " and streams" : "",
            pg->crashed ? " after a crash" : "");
    put_position(out, pg->position);
    fprintf(out, "; clients %s; data directory %s; durable epoch %" PRIu64 "\n",
            pg->open == TRI_YES ? "admitted" : "not admitted", data_text(v->self.data),
            v->self.durable_epoch);
    int64_t end_ms = turn->verdict.deadline_ms;
    if (end_ms != 0)
        fprintf(out, "  Right      to write %s %s\n",
                end_ms > v->now_ms ? "ends, if it is not renewed," : "ended", ago(t, v, end_ms));
    if (v->self.terminate > 0)
        fputs("  SIGTERM    was received\n", out);
    if (v->st.paused)
        fputs("  Paused     by an operator\n", out);
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
        fprintf(out, "last answered %s: postgres %s, ", ago(t, v, p->received_ms),
                server_text(p->state.process, p->state.in_recovery));
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
            fprintf(out, "    %s  %s (%s)\n", lead, fact_text((enum fact_bit)i),
                    fact_name((enum fact_bit)i));
}

static const char *effect_text(unsigned bit)
{
    static const char *const words[] = {
        "read the Lease", "write the Lease", "kill every process of the pod",
        "ask all members for a promise", "ask the voters to detach and report",
        "ask the members for their state", "start postgres as a standby", "stop postgres",
        "stop receiving WAL", "stream from the primary", "initialise a data directory",
        "copy the primary", "rewind the data directory", "find the end of own WAL",
        "set who confirms commits", "refuse clients", "admit clients",
        "take the primary's label from other pods", "label this pod primary",
        "label this pod replica", "take the label from this pod", "end read-only clients", "promote",
        "checkpoint", "end other walsenders", "copy the state to the ConfigMap",
        "keep a slot for each member", "exit", "raise an alarm",
    };
    _Static_assert(1u << (sizeof words / sizeof words[0] - 1) == EFF_ALARM, "words of all effects");
    return bit < sizeof words / sizeof words[0] ? words[bit] : "?";
}

/* One more word of a list, on another line where this one is full; column 0 begins it. Returns the
 * column reached. */
static size_t put_item(FILE *out, size_t column, const char *word)
{
    size_t n = strlen(word);
    bool fits = column != 0 && column + 2 + n <= LINE_WIDTH;
    fprintf(out, "%s%s%s", column != 0 ? "," : "", fits ? " " : column != 0 ? "\n    " : "    ", word);
    return fits ? column + 2 + n : 4 + n;
}

static void tell_effects(FILE *out, const struct flight_cursor *c)
{
    const struct verdict *d = &c->turn.verdict;
    size_t column = 0;
    char word[64];
    fputs("What it asked for\n", out);
    for (unsigned i = 0; i < 32; i++) {
        if ((d->effects >> i & 1) == 0)
            continue;
        const char *kind = 1u << i == EFF_LEASE_WRITE ? write_kind_name(d->write.kind) : "";
        if (str_format(word, sizeof word, "%s%s%s", effect_text(i), *kind ? ": " : "", kind))
            column = put_item(out, column, word);
    }
    fputs(d->effects == 0 ? "    nothing\n" : "\n", out);
    if (c->meta.held)
        fputs("    not done: the agent had stood still and looked first\n", out);
    if (d->waits_for[0] != '\0')
        fprintf(out, "    voters whose report is missing: %s\n", d->waits_for);
}

static uint64_t bits_of(const struct flight_near *n)
{
    return n->missing != 0 ? n->missing : n->present;
}

/* Rows that want the same fact share a line, which begins with the fact: that is what a person can
 * look for in the world. */
static void tell_near(FILE *out, const struct verdict *d)
{
    struct flight_near near[NEAR_MAX];
    bool told[NEAR_MAX] = {false};
    size_t n = flight_near(d->facts, d->rule, near, NEAR_MAX);
    fprintf(out, "One fact away%s\n", n == 0 ? ": no other rule" : "");
    for (size_t i = 0; i < n; i++) {
        if (told[i])
            continue;
        const char *lead = near[i].missing != 0 ? "    if" : "    if not:";
        for (int k = 0; k < FACT_COUNT; k++) {
            if ((bits_of(&near[i]) >> k & 1) == 0)
                continue;
            fprintf(out, "%s %s (%s)", lead, fact_text((enum fact_bit)k),
                    fact_name((enum fact_bit)k));
            lead = " or";
        }
        lead = ":";
        for (size_t j = i; j < n; j++) {
            if (bits_of(&near[j]) != bits_of(&near[i]) ||
                (near[j].missing != 0) != (near[i].missing != 0))
                continue;
            fprintf(out, "%s %s", lead, core_rules[near[j].rule].id);
            lead = ",";
            told[j] = true;
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
    fprintf(out, "%s  %s (%s) decided by rule %s (row %u): %s\n", stamp, v->self.id.name.s,
            d->serving ? "serving as primary" : "not serving as primary", r->id, d->rule + 1,
            r->reason);
    fputs("What was known\n", out);
    tell_lease(out, v);
    tell_self(out, &c->turn);
    tell_peers(out, v);
    fputs("Why this rule\n", out);
    tell_facts(out, "yes", d->facts & (r->all | r->any));
    tell_facts(out, "no ", r->none);
    if ((r->all | r->any | r->none) == 0)
        fputs("    no other row of the policy fitted\n", out);
    tell_effects(out, c);
    tell_near(out, d);
}
