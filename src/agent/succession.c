/* The bookkeeping of a change of the primary. */
#include "agent/succession.h"

#include <string.h>

#include "base/str.h"
#include "core/record.h"

/* A report of the old primary that is older than its last renewal by more than this says little about
 * the end of its writes. */
#define STALE_MS 5000
/* Turns of a primary are closer than this; one that comes later was held up. */
#define TURN_MS 700
/* Who gave the Lease back lives: so long its own word on how its writes ended is waited for. */
#define WORD_MS 2000
/* Where it is only known that writes ended within more than this, a prompter answer is waited for. */
#define PROMPT_MS 100

static struct succession_source *source_of(struct succession *s, const struct ha_name *name)
{
    for (uint8_t i = 0; i < s->n; i++)
        if (name_eq(&s->other[i].name, name))
            return &s->other[i];
    if (s->n == HA_MEMBERS_MAX)
        return NULL;
    s->other[s->n] = (struct succession_source){.name = *name};
    return &s->other[s->n++];
}

void succession_heard(struct succession *s, const struct peer_state *st, int64_t sent_ms, int64_t done_ms)
{
    int64_t ago_ms = st->written_ago_ms;
    struct succession_source *o = ago_ms > 0 ? source_of(s, &st->id.name) : NULL;
    if (o == NULL)
        return;
    o->volume = st->volume;
    if (sent_ms - ago_ms > o->written_ms)
        o->written_ms = sent_ms - ago_ms;
    o->until_ms = done_ms - ago_ms;
    o->ended = st->process != PG_RUNNING || st->in_recovery != TRI_NO;
    o->end = st->write_end;
}

int64_t succession_written_ago(const struct succession *s, int64_t now_ms)
{
    return s->written_ms > 0 && now_ms >= s->written_ms ? now_ms - s->written_ms + 1 : 0;
}

/* What the member with this volume told of itself; NULL: nothing, or it is ours. */
static const struct succession_source *source_on(const struct succession *s, uint64_t volume)
{
    for (uint8_t i = 0; volume != 0 && i < s->n; i++)
        if (s->other[i].volume == volume)
            return &s->other[i];
    return NULL;
}

static void look_at_lease(struct succession *s, const struct succession_look *l)
{
    bool mine = identity_eq(&l->lease->holder, l->self);
    if (!mine) {
        s->held = false;
        s->armed_ms = 0;
        s->writer = l->lease->record.writer;
        const struct record_member *m = record_find(&l->lease->record, s->writer);
        s->writer_name = m != NULL ? m->name : (struct ha_name){""};
        s->release = l->lease->release;
        s->holder_before = l->lease->holder.name;
        if (l->lease->holder.name.s[0] != '\0')
            s->renewed_ms = l->lease_changed_ms;
        return;
    }
    if (!s->held) {
        s->held = true;
        s->held_ms = l->now_ms;
        s->w = l->lease->record.w;
        s->sealed = l->lease->record.sealed;
    }
    if (!l->armed)
        s->armed_ms = 0;
    else if (s->armed_ms == 0)
        s->armed_ms = l->now_ms;
}

/* An order that caused an earlier change still lies there with its old result. */
static bool ordered(const struct succession_look *l)
{
    return l->result != NULL && l->result->id != 0 && l->result->id == l->intent->id &&
           l->result->state == INTENT_RUNNING &&
           (l->last == NULL || l->intent->epoch >= l->last->epoch);
}

static void put_phase(struct history_entry *h, enum intent_phase p, int64_t from, int64_t to)
{
    if (from > 0 && to >= from && to - from <= INT32_MAX)
        h->phase_ms[p] = (int32_t)(to - from);
}

static void put_phases(struct succession *s, const struct succession_look *l, int64_t end_ms,
                       bool restart)
{
    struct history_entry *h = &s->entry;
    bool planned = ordered(l) && l->begun != NULL && l->intent->id == l->begun->id &&
                   l->begun->phase_ms[PHASE_STOP] >= 0;
    for (size_t i = 0; planned && !restart && i <= PHASE_RELEASE; i++)
        h->phase_ms[i] = l->begun->phase_ms[i];
    if (restart)
        put_phase(h, PHASE_START, end_ms, s->armed_ms);
    else if (!planned)
        put_phase(h, PHASE_DETECT, end_ms, s->held_ms);
    if (!restart)
        put_phase(h, PHASE_ACQUIRE, s->held_ms, s->armed_ms);
    put_phase(h, PHASE_PROMOTE, s->armed_ms, l->promoted_ms);
    put_phase(h, PHASE_FIRST_WRITE, l->promoted_ms, l->now_ms);
}

/* Zero only where it is proved: nothing but our own volume was acknowledged on, or the reports (or the
 * end of WAL that the releaser named) hold everything that commits waited for. */
static int64_t lost_bytes(const struct succession *s, const struct succession_look *l, bool restart)
{
    bool all_wal = l->bypass_epoch != 0 && l->bypass_epoch == l->lease->epoch;
    bool alone = s->sealed != 0 && s->sealed == l->volume;
    if (ordered(l) && l->intent->accept_loss && !restart)
        return -1;
    return restart || all_wal || alone || s->w > 0 ? 0 : -1;
}

static void put_cause(struct succession *s, const struct succession_look *l,
                      const struct succession_source *from, bool restart)
{
    struct history_entry *h = &s->entry;
    enum write_end end = from != NULL ? from->end : WRITE_END_OTHER;
    const char *who = h->from.s[0] != '\0' ? h->from.s : "the primary";
    bool asked = ordered(l);
    bool planned = asked ? l->intent->kind == INTENT_SWITCHOVER : end == WRITE_END_PLANNED;
    (void)str_copy(h->cause, sizeof h->cause,
                   restart ? "restart" : planned ? "switchover" : "failover");
    if (asked && l->intent->created_by[0] != '\0')
        (void)str_format(h->reason, sizeof h->reason, "ordered by %s%s", l->intent->created_by,
                         l->intent->accept_loss ? ", who accepted the loss of data" : "");
    else if (asked)
        (void)str_copy(h->reason, sizeof h->reason, "ordered by an operator");
    else if (restart)
        (void)str_copy(h->reason, sizeof h->reason,
                       s->end == WRITE_END_CRASH ? "the server crashed and was started again"
                                  : "the server was started again");
    else if (planned)
        (void)str_format(h->reason, sizeof h->reason, "%s was asked to end", who);
    else if (end == WRITE_END_CRASH)
        (void)str_format(h->reason, sizeof h->reason, "the server of %s crashed", who);
    else if (s->release.valid && s->release.releaser.s[0] != '\0')
        (void)str_format(h->reason, sizeof h->reason, "%s gave the Lease back",
                         s->release.releaser.s);
    else if (s->holder_before.s[0] != '\0' && s->renewed_ms > 0 && s->held_ms > s->renewed_ms)
        (void)str_format(h->reason, sizeof h->reason, "%s did not renew the Lease for %lld ms",
                         s->holder_before.s, (long long)(s->held_ms - s->renewed_ms));
    else
        (void)str_copy(h->reason, sizeof h->reason, "nobody held the Lease");
}

static bool dated(const struct succession_source *o)
{
    return o != NULL && o->ended && o->until_ms - o->written_ms <= PROMPT_MS;
}

static void admitted(struct succession *s, const struct succession_look *l)
{
    bool own = s->writer == l->volume;
    const struct succession_source *o = own ? NULL : source_on(s, s->writer);
    int64_t end_ms = own ? s->written_ms : o != NULL ? o->written_ms : 0;
    bool restart = own && s->entry.epoch == l->lease->epoch;
    if (o != NULL && !o->ended && end_ms < s->renewed_ms - STALE_MS)
        end_ms = 0;
    history_entry_init(&s->entry);
    s->entry.time_s = l->wall_s;
    s->entry.epoch = l->lease->epoch;
    s->entry.timeline = l->lease->record.timeline;
    s->entry.lsn = l->promoted_end_lsn;
    s->entry.to = l->self->name;
    s->entry.from = own ? l->self->name : o != NULL ? o->name : s->writer_name;
    s->write_gap_ms = end_ms > 0 && l->now_ms - end_ms <= INT32_MAX ? l->now_ms - end_ms : -1;
    s->entry.write_gap_ms = (int32_t)s->write_gap_ms;
    s->entry.lost_bytes = lost_bytes(s, l, restart);
    put_cause(s, l, o, restart);
    put_phases(s, l, end_ms, restart);
    s->due = true;
    s->admitted_ms = l->now_ms;
    s->predecessor = s->writer;
    s->word_due = !own && !ordered(l) && s->release.valid && !dated(o);
}

/* The election was faster than a prompt answer of the old primary. True while it is still waited for. */
static bool awaits_word(struct succession *s, const struct succession_look *l)
{
    const struct succession_source *o = source_on(s, s->predecessor);
    if (!s->word_due)
        return false;
    s->word_due = !dated(o) && l->now_ms - s->admitted_ms < WORD_MS;
    if (s->word_due || o == NULL || !o->ended)
        return s->word_due;
    int64_t gap_ms = s->admitted_ms - o->written_ms;
    s->write_gap_ms = gap_ms > 0 && gap_ms <= INT32_MAX ? gap_ms : -1;
    s->entry.write_gap_ms = (int32_t)s->write_gap_ms;
    s->entry.from = o->name;
    put_cause(s, l, o, false);
    put_phase(&s->entry, PHASE_DETECT, o->written_ms, s->held_ms);
    return false;
}

/* What only the cluster's history knows: the first admission of all, and what a predecessor of this
 * process did. False when it has told this change already. */
static bool complete(struct succession *s, const struct succession_look *l)
{
    struct history_entry *h = &s->entry;
    const struct history_entry *last = l->last;
    if (last == NULL) {
        (void)str_copy(h->cause, sizeof h->cause, s->initialised ? "bootstrap" : "adoption");
        (void)str_copy(h->reason, sizeof h->reason,
                       s->initialised ? "a new cluster was initialised"
                                      : "data were found and no state of the cluster");
        h->from = (struct ha_name){""};
        h->write_gap_ms = -1;
        h->lost_bytes = -1;
        h->phase_ms[PHASE_DETECT] = -1;
        return true;
    }
    if (last->epoch == h->epoch && last->timeline == h->timeline && name_eq(&last->to, &h->to))
        return false;
    if (h->from.s[0] == '\0')
        h->from = last->to;
    if (last->epoch == h->epoch && name_eq(&last->to, &h->to) && !str_eq(h->cause, "restart")) {
        (void)str_copy(h->cause, sizeof h->cause, "restart");
        (void)str_copy(h->reason, sizeof h->reason, "the member was started again");
        h->lost_bytes = 0;
        h->phase_ms[PHASE_DETECT] = -1;
    }
    return true;
}

/* A stop is ordered after the turn began, and a crash is noticed as it happens: both ends are this turn.
 * Of any other end it is only known that it came after the last turn that served. */
static void note_writes(struct succession *s, const struct succession_look *l)
{
    bool ordered_end = l->stopping || l->killing, open = l->serving && !ordered_end;
    bool noticed = s->open && (ordered_end || l->crashed) && l->now_ms - s->turn_ms < TURN_MS;
    if (open || noticed)
        s->written_ms = l->now_ms;
    if (open)
        s->end = WRITE_END_OTHER;
    else if (s->open)
        s->end = l->crashed                    ? WRITE_END_CRASH
                 : l->stopping && !l->killing ? WRITE_END_PLANNED
                                               : WRITE_END_OTHER;
    if (l->serving)
        s->writer = l->volume;
    s->open = open;
    s->serving = l->serving;
    s->turn_ms = l->now_ms;
}

bool succession_turn(struct succession *s, const struct succession_look *l,
                     struct history_entry *ret)
{
    bool same = s->entry.epoch == l->lease->epoch &&
                s->entry.timeline == l->lease->record.timeline;
    s->initialised = s->initialised || l->initialising;
    look_at_lease(s, l);
    if (l->serving && !s->serving && !same)
        admitted(s, l);
    note_writes(s, l);
    if (!s->due || awaits_word(s, l) || !l->history_known)
        return false;
    s->due = false;
    if (!complete(s, l))
        return false;
    *ret = s->entry;
    return true;
}
