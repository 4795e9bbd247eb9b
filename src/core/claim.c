/* When a Lease may be taken from its last holder: its right is counted out, given back or of no use any more,
 * and who needs no reports then. */
#include "internal.h"

/* When the longest right ends that any version of the Lease has given: one that was put back or edited may
 * say a shorter duration than its writer goes by. 0 = not known. */
static int64_t counted_at(const struct turn *t)
{
    const struct lease_view *lv = &t->v->lv;
    int64_t from = lv->changed_ms > t->m->count_from_ms ? lv->changed_ms : t->m->count_from_ms;
    if (!lv->known || from <= 0)
        return 0;
    return from + t->lease_ms > t->m->counted_ms ? from + t->lease_ms : t->m->counted_ms;
}

void claim_count(struct turn *t)
{
    int64_t at = counted_at(t);
    if (at > 0)
        t->m->counted_ms = at;
}

bool claim_counted(const struct turn *t)
{
    int64_t at = counted_at(t);
    return at > 0 && t->now >= at;
}

/* Only the writer of an epoch can say that nothing of that epoch writes any more: this volume, or its pod
 * that came back with an empty one. Whoever was made holder by somebody who edited the Lease cannot. */
bool lease_released(const struct turn *t)
{
    const struct lease *l = t->lease;
    if (!l->exists || /* ONE_WAY: all who ask have seen it */
        !name_empty(&l->holder.name) || !l->release.valid || t->stale ||
        l->release.epoch != l->epoch)
        return false;
    if (!l->has_record || l->record.writer_epoch != l->epoch)
        return true;
    const struct record_member *w = record_find(&l->record, l->record.writer);
    return l->release.volume == l->record.writer ||
           (w != NULL && name_eq(&w->name, &l->release.releaser));
}

/* The writer that gave the Lease back has come back before anybody was elected: all that was ever
 * acknowledged is in its own WAL, whoever of V is missing. */
bool returning_writer(const struct turn *t)
{
    const struct lease *l = t->lease;
    return lease_released(t) && l->release.volume == t->v->self.volume && l->release.end.lsn > 0 &&
           t->rec->writer == t->v->self.volume && t->rec->writer_epoch == l->epoch &&
           position_cmp(t->v->pg.position, l->release.end) >= 0;
}

bool last_writer_there(const struct turn *t)
{
    const struct record_member *line = record_find(t->rec, t->rec->writer);
    const struct peer *p = peer_of_volume(t, t->rec->writer);
    return line != NULL && p != NULL && peer_fresh(t, p) && p->state.process == PG_RUNNING &&
           report_counts(t, t->rec, p, line);
}

/* Nobody who may have heard of a later epoch is silent. */
static bool all_know_no_later(const struct turn *t, const struct record *rec)
{
    for (uint8_t i = 0; i < t->v->n_peers; i++) {
        const struct peer *p = &t->v->peer[i];
        bool fresh = peer_fresh(t, p);
        if ((p->pod_known && !fresh) || (fresh && p->state.durable_epoch > t->lease->epoch))
            return false;
    }
    for (uint8_t i = 0; i < rec->n; i++) {
        const struct ha_name *name = &rec->m[i].name;
        const struct peer *p = peer_of_name(t, name);
        bool own = name_eq(name, &t->v->self.id.name); /* an older volume of ours, too */
        if (rec->m[i].in_v && !own && (p == NULL || !peer_fresh(t, p)))
            return false;
    }
    return true;
}

/* Only a writer has commits acknowledged, and there is none before the record names it: so the last one that
 * it names has them all in its own WAL, whatever became of the others. It asks for no reports where too few
 * can ever come, because volumes were replaced or promoted by hand. A Lease and a ConfigMap that were both
 * put back would not tell of a later writer: somebody who answers would. */
bool last_writer_alone(const struct turn *t, const struct record *rec)
{
    if (rec->writer != t->v->self.volume || t->stale || t->disputed || replicates_async(t, rec) ||
        !own_copy_counts(t, rec) || a_voter_holds_more(t, rec) || !all_know_no_later(t, rec))
        return false;
    uint8_t reports = 1;
    for (uint8_t i = 0; i < rec->n; i++) {
        const struct record_member *line = &rec->m[i];
        const struct peer *p = line->in_v ? peer_of_volume(t, line->volume) : NULL;
        if (p != NULL && report_counts(t, rec, p, line))
            reports++;
    }
    return reports < record_needed(rec);
}

/* For how long the recorded writer has not answered this member, 0 = it answers, or never did. */
int64_t writer_silent(const struct turn *t)
{
    const struct peer *p = peer_of_volume(t, t->rec->writer);
    return p == NULL || p->silent_since_ms == 0 ? 0 : t->now - p->silent_since_ms;
}

/* Before its Lease has run out a writer can be succeeded where it can have nothing acknowledged any more: its
 * gate lets no session commit without W confirmations, and those who elect cease to confirm (vote), so
 * that too few others are left. What it has acknowledged until then is in their reports, as in every
 * election. It may go on to show what it has to readers, until its own deadline. 0 = not now. */
static int64_t early_since(const struct turn *t)
{
    const struct record *r = t->rec;
    int64_t least = t->v->set.early_ms;
    if (least <= 0 || !r->strict || r->w == 0 || r->sealed != 0 || t->stale || t->disputed ||
        t->v->set.mode == REPL_ASYNC || r->writer_epoch != t->lease->epoch || writer_silent(t) < least)
        return 0;
    uint8_t silent = 0;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct peer *p = peer_of_volume(t, r->m[i].volume);
        bool own = r->m[i].volume == t->v->self.volume;
        if (!r->m[i].in_v || r->m[i].volume == r->writer)
            continue;
        bool knows = p != NULL && peer_fresh(t, p) && p->state.lease_epoch == t->lease->epoch;
        if (knows && p->state.writer_silent_ms < least)
            return 0; /* a link is cut, and the writer lives */
        if (own || knows)
            silent++;
    }
    return silent < record_needed(r) ? 0 : t->now - writer_silent(t) + least;
}

bool claim_early(const struct turn *t)
{
    return early_since(t) != 0 && !claim_counted(t);
}

/* When an acquisition may begin: proof of death, a writer that cannot acknowledge, or the count. 0 = not now. */
int64_t claim_open_since(struct turn *t, bool *successor)
{
    const struct lease *l = t->lease;
    const struct lease_view *lv = &t->v->lv;
    *successor = false;
    int64_t counted = counted_at(t);
    if (lease_released(t)) {
        if (name_eq(&l->release.successor, &t->v->self.id.name)) {
            *successor = true;
            return lv->changed_ms;
        }
        return name_empty(&l->release.successor) ? lv->changed_ms
                                                 : lv->changed_ms + 2 * t->v->set.renew_ms;
    }
    int64_t early = early_since(t);
    return early != 0 && early < counted ? early : counted;
}
