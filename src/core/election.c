/* Who may try, who goes first, and whether enough reports are in. */
#include "internal.h"

bool peer_fresh(const struct turn *t, const struct peer *p)
{
    return p->received_ms > 0 && t->now - p->sent_ms <= FRESH_MS;
}

const struct peer *peer_of_volume(const struct turn *t, uint64_t volume)
{
    for (uint8_t i = 0; volume != 0 && i < t->v->n_peers; i++)
        if (t->v->peer[i].received_ms > 0 && t->v->peer[i].state.volume == volume)
            return &t->v->peer[i];
    return NULL;
}

const struct peer *peer_of_name(const struct turn *t, const struct ha_name *name)
{
    for (uint8_t i = 0; i < t->v->n_peers; i++)
        if (name_eq(&t->v->peer[i].name, name))
            return &t->v->peer[i];
    return NULL;
}

/* On another one somebody has promoted it by hand, and what it holds is of no epoch. */
bool allocated(const struct record *rec, struct position p)
{
    return rec->timeline == 0 || p.timeline <= rec->timeline;
}

/* Below the position last recorded for that volume: it was rolled back. */
static bool position_counts(const struct record *rec, const struct record_member *line,
                            struct position p)
{
    return position_cmp(p, line->flushed) >= 0 && allocated(rec, p);
}

bool report_counts(const struct turn *t, const struct record *rec, const struct peer *p,
                   const struct record_member *line)
{
    return p->state.data == DATA_OK && p->state.system_id == t->v->self.system_id &&
           position_counts(rec, line, p->state.position);
}

bool replicates_async(const struct turn *t, const struct record *rec)
{
    return t->v->set.mode == REPL_ASYNC && rec->w == 0 && rec->sealed == 0;
}

static bool ordered_to(const struct turn *t, const struct ha_name *target)
{
    const struct intent *in = &t->v->intent;
    return in->kind == INTENT_FAILOVER && in->id != 0 && !t->v->intent_expired &&
           in->epoch == t->lease->epoch && name_eq(&in->target, target);
}

bool loss_accepted(const struct turn *t)
{
    /* Without the record of the Lease nobody knows which epoch the order would end: left to the last resort. */
    bool writes = t->writer_me && (t->mine || t->v->pg.maybe_writable);
    if (writes || !t->lease->has_record || t->stale)
        return false;
    bool acquired = t->mine && t->m->accepted_epoch != 0 && t->m->accepted_epoch == t->lease->epoch;
    return acquired || (t->v->intent.accept_loss && ordered_to(t, &t->v->self.id.name));
}

const struct peer *loss_accepted_for(const struct turn *t)
{
    const struct peer *p = peer_of_name(t, &t->v->intent.target);
    bool ordered = t->v->intent.accept_loss && ordered_to(t, &t->v->intent.target);
    return ordered && p != NULL && peer_fresh(t, p) ? p : NULL;
}

/* Whoever accepts a loss gives up what nobody can tell, not what an answering voter shows; and a writer of whose
 * WAL a voter holds more was rolled back. */
bool a_voter_holds_more(const struct turn *t, const struct record *rec)
{
    for (uint8_t i = 0; i < rec->n; i++) {
        const struct peer *p = rec->m[i].in_v ? peer_of_volume(t, rec->m[i].volume) : NULL;
        if (p != NULL && peer_fresh(t, p) && report_counts(t, rec, p, &rec->m[i]) &&
            position_cmp(p->state.position, t->v->pg.position) > 0)
            return true;
    }
    return false;
}

bool own_copy_counts(const struct turn *t, const struct record *rec)
{
    const struct record_member *own = record_find(rec, t->v->self.volume);
    if (own == NULL)
        return false;
    if (loss_accepted(t))
        return allocated(rec, t->v->pg.position);
    return own->in_v && position_counts(rec, own, t->v->pg.position);
}

struct tally election_tally(const struct turn *t, const struct record *rec, uint64_t epoch)
{
    struct tally r = {.needed = record_needed(rec), .greatest = true};
    struct position best = t->v->pg.position;
    r.timeline = t->v->pg.local_timeline > best.timeline ? t->v->pg.local_timeline : best.timeline;
    bool accepted = loss_accepted(t), alone = accepted || replicates_async(t, rec);
    if (rec->sealed != 0)
        r.needed = rec->sealed == t->v->self.volume ? 1 : HA_MEMBERS_MAX + 1;
    if (alone)
        r.needed = 1;
    if (own_copy_counts(t, rec)) {
        r.answering = 1;
        r.reports = 1;
        r.own = true;
    } else {
        r.greatest = false; /* promoted by hand in mid-election: its timeline is above all, and void */
    }
    for (uint8_t i = 0; i < rec->n; i++) {
        const struct record_member *line = &rec->m[i];
        const struct peer *p = line->in_v ? peer_of_volume(t, line->volume) : NULL;
        if (p == NULL || line->volume == t->v->self.volume)
            continue;
        if (peer_fresh(t, p) && p->state.data == DATA_OK)
            r.answering++;
        if (p->state.refused_epoch > r.refused && p->state.refused_epoch >= epoch)
            r.refused = p->state.refused_epoch;
        if (p->state.position.timeline > r.timeline)
            r.timeline = p->state.position.timeline; /* counted or not, its number is used */
        if (p->state.frozen_epoch != epoch || epoch == 0 || !report_counts(t, rec, p, line))
            continue;
        r.reports++;
        if (position_cmp(p->state.position, best) > 0) {
            best = p->state.position;
            r.best = line->volume;
            r.greatest = false;
        }
    }
    r.sufficient = r.reports >= r.needed;
    int64_t patience = accepted ? t->lease_ms : t->v->set.retry_ms;
    if (alone && t->now - t->m->elected_ms < patience && r.reports < r.answering)
        r.sufficient = false; /* a while for those who answer */
    return r;
}

/* The highest copy of the record that this member can show: Lease, ConfigMap or its own disk. */
const struct record *highest_copy(const struct turn *t)
{
    const struct record *best = NULL;
    if (t->lease->exists && t->lease->has_record)
        best = &t->lease->record;
    if (t->v->st.has_record && (best == NULL || record_cmp(&t->v->st.record, best) > 0))
        best = &t->v->st.record;
    if (t->v->self.has_record && (best == NULL || record_cmp(&t->v->self.record, best) > 0))
        best = &t->v->self.record;
    return best;
}

bool ranks_before(const struct turn *t, const struct peer *p)
{
    int c = position_cmp(p->state.position, t->v->pg.position);
    if (c != 0)
        return c > 0;
    if (p->state.priority != t->v->set.priority)
        return p->state.priority > t->v->set.priority;
    size_t i = 0;
    while (i + 1 < HA_NAME_SIZE && p->name.s[i] == t->v->self.id.name.s[i])
        i++;
    return p->name.s[i] < t->v->self.id.name.s[i];
}

static uint8_t own_rank(const struct turn *t, const struct record *rec)
{
    uint8_t rank = 0;
    for (uint8_t i = 0; i < t->v->n_peers; i++) {
        const struct peer *p = &t->v->peer[i];
        const struct record_member *line = record_find(rec, p->state.volume);
        if (peer_fresh(t, p) && line != NULL && line->in_v && !p->state.nofailover &&
            !p->state.paused && p->state.data == DATA_OK && ranks_before(t, p))
            rank++;
    }
    return rank;
}

bool core_barred(const struct view *v)
{
    return v->set.nofailover || (v->pg.resorted && !v->set.collation_any);
}

/* A pause forbids failover, not the return of the writer itself. A barred member is still the one to go
 * where nobody else can: alone in V, sealed, or named because it holds the most. */
static bool electable(const struct turn *t, const struct record *rec, bool successor)
{
    uint64_t self = t->v->self.volume;
    if (t->v->st.paused)
        return rec->writer == self;
    if (!t->v->set.nofailover && rec->writer == self)
        return true; /* other libraries came under a server that is primary already: too late to refuse */
    return !core_barred(t->v) || successor || rec->sealed == self || record_votes(rec) == 1;
}

bool election_may_acquire(struct turn *t)
{
    const struct view *v = t->v;
    bool asked = ordered_to(t, &v->self.id.name), accepted = loss_accepted(t);
    if (!v->lv.known || !t->lease->exists || t->mine || t->behind ||
        v->self.data != DATA_OK || v->pg.process != PG_RUNNING || v->pg.in_recovery != TRI_YES ||
        v->pg.accounted != TRI_YES || promise_binds(t) || v->self.terminate > 0)
        return false;
    const struct record *rec = t->rec;
    if (!t->lease->has_record) {
        rec = highest_copy(t); /* the Lease lost it: restored by the acquisition */
        if (rec == NULL)
            return false;
    }
    const struct record *copy = highest_copy(t);
    bool restored = t->stale;
    if (copy != NULL && /* ONE_WAY: rec is one */
        record_cmp(copy, rec) > 0)
        rec = copy;
    if (!own_copy_counts(t, rec) || (accepted && a_voter_holds_more(t, rec)))
        return false;
    if (rec->sealed != 0 && rec->sealed != v->self.volume && !accepted)
        return false;
    bool successor;
    int64_t since = claim_open_since(t, &successor);
    if (!asked && !electable(t, rec, successor))
        return false;
    if (!successor)
        since += (int64_t)own_rank(t, rec) * STAGGER_MS;
    wake(t, since);
    if (t->now < since)
        return false;
    struct tally tally = election_tally(t, rec, 0);
    uint8_t needed = restored || !t->lease->has_record ? record_votes(rec) : tally.needed;
    bool whole = returning_writer(t) || (rec == t->rec && last_writer_alone(t, rec));
    if (!successor && !accepted && !whole && tally.answering < needed)
        return false;
    /* Compare-and-swap only on a version that a linearizable read has shown after the count ended. */
    t->need_get = v->lv.got_ms < since;
    return !t->need_get;
}

/* The standby to hand over to: the named one, or the best by rank. 0 with the reason otherwise. */
uint64_t best_standby(const struct turn *t, const struct ha_name *named, const char **why)
{
    const struct record_member *best = NULL;
    const struct peer *best_peer = NULL;
    *why = "no standby is streaming and electable";
    for (uint8_t i = 0; i < t->rec->n; i++) {
        const struct record_member *line = &t->rec->m[i];
        if (line->volume == t->v->self.volume)
            continue;
        bool is_named = !name_empty(named);
        if (is_named && !name_eq(&line->name, named))
            continue;
        const struct peer *p = peer_of_volume(t, line->volume);
        const char *no = NULL;
        if (!line->in_v)
            no = "the member has no vote yet: it has not caught up";
        else if (p == NULL || !peer_fresh(t, p) || p->sent_ms < t->m->preflight_ms)
            no = "the member does not answer";
        else if (p->state.nofailover)
            no = "the member is barred: tagged nofailover, or its collations differ";
        else if (p->leaving)
            no = "the member's pod is being deleted";
        else if (p->state.data != DATA_OK || p->state.process != PG_RUNNING)
            no = "the member's server is not running";
        if (no != NULL) {
            if (is_named)
                *why = no;
            continue;
        }
        bool better = best_peer == NULL;
        if (!better) {
            int c = position_cmp(p->state.position, best_peer->state.position);
            better = p->state.priority != best_peer->state.priority
                         ? p->state.priority > best_peer->state.priority
                         : c > 0;
        }
        if (better) {
            best = line;
            best_peer = p;
        }
    }
    return best == NULL ? 0 : best->volume;
}
