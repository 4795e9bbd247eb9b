/* V, W and the seal: which change of the record is next, and in which order with the setting.
 *
 * A larger V, a smaller W and a seal are recorded first, then set. A smaller V, a larger W and the
 * lifting of a seal are set first and recorded only when (a) every walsender uses the new setting
 * and (b) W members of the new setting have flushed the position read after (a). One change at a
 * time; each turn computes the next one anew, so that an interrupted change is simply found again. */
#include "internal.h"

static const struct walsender *sender_of(const struct turn *t, uint64_t volume)
{
    for (uint8_t i = 0; i < t->v->pg.n_senders; i++)
        if (t->v->pg.sender[i].volume == volume && t->v->pg.sender[i].streaming)
            return &t->v->pg.sender[i];
    return NULL;
}

uint8_t senders_flushed(const struct turn *t, const struct record *rec, uint64_t lsn)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < rec->n; i++) {
        const struct record_member *line = &rec->m[i];
        const struct walsender *s = line->in_v ? sender_of(t, line->volume) : NULL;
        if (s != NULL && line->volume != t->v->self.volume && s->flushed_lsn >= lsn)
            n++;
    }
    return n;
}

uint64_t whole_records(const struct turn *t, uint64_t lsn)
{
    return lsn % 1024 == 0 ? t->v->pg.promoted_end_lsn : lsn;
}

/* PostgreSQL counts whatever a walreceiver has flushed, also one that still asks for the timeline before
 * the fork and whose WAL beyond it is another (measured: a commit was acknowledged that no standby had).
 * So a member streams under the name that confirms only when all of its WAL is known to be the writer's:
 * its receiver is on the timeline that only this writer has, or its WAL ends there, or not after the
 * position on the same timeline with which the writer was elected, or the writer was asked. */
static bool own_wal_is_of(const struct turn *t, const struct record *rec)
{
    const struct pg *pg = &t->v->pg;
    const struct record_member *w = record_find(rec, rec->writer);
    if (pg->history_holds || (rec->timeline > 0 && pg->receiver_timeline == rec->timeline))
        return true;
    if (pg->accounted != TRI_YES || pg->position.lsn == 0)
        return false;
    return pg->position.timeline == rec->timeline ||
           (w != NULL && pg->position.timeline == w->flushed.timeline &&
            pg->position.lsn <= w->flushed.lsn);
}

bool lineage_proved(struct turn *t, const struct record *rec, uint64_t epoch)
{
    if (t->v->pg.diverged == TRI_YES)
        t->m->lineage_epoch = 0;
    else if (own_wal_is_of(t, rec))
        t->m->lineage_epoch = epoch;
    else if (t->v->pg.local_timeline > rec->timeline) /* promoted by hand since */
        t->m->lineage_epoch = 0;
    return epoch != 0 && t->m->lineage_epoch == epoch;
}

/* Standbys of V that stream, without the writer. */
static uint8_t streaming_of_v(const struct turn *t)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < t->rec->n; i++)
        if (t->rec->m[i].in_v && t->rec->m[i].volume != t->v->self.volume &&
            sender_of(t, t->rec->m[i].volume) != NULL)
            n++;
    return n;
}

/* Silence is an answer only once there was a question: a member that nobody could ask yet, or asked
 * this very moment, is not gone. */
static bool may_yet_answer(const struct turn *t, const struct ha_name *name)
{
    const struct peer *p = peer_of_name(t, name);
    if (p == NULL || !p->pod_known)
        return !t->v->pods_known;
    return p->silent_since_ms == 0 || t->now - p->silent_since_ms < t->v->set.retry_ms;
}

/* Standbys of V that stream, answer as followers of this election or may do so: they are about to
 * stream. */
static uint8_t hopeful_of_v(const struct turn *t)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < t->rec->n; i++) {
        const struct record_member *line = &t->rec->m[i];
        if (!line->in_v || line->volume == t->v->self.volume)
            continue;
        const struct peer *p = peer_of_volume(t, line->volume);
        bool answers = p != NULL && peer_fresh(t, p);
        if (sender_of(t, line->volume) != NULL || (answers && p->state.data == DATA_OK) ||
            (!answers && may_yet_answer(t, &line->name)))
            n++;
    }
    return n;
}

static int64_t gone_since(const struct turn *t, uint64_t volume)
{
    for (size_t i = 0; i < HA_MEMBERS_MAX; i++)
        if (t->m->gone[i].volume == volume)
            return t->m->gone[i].since_ms;
    return 0;
}

/* Keeps, for each volume of the record, since when it does not stream. */
void replication_track(struct turn *t)
{
    struct memo *m = t->m;
    bool serving = t->mine && t->writer_me && t->v->pg.process == PG_RUNNING &&
                   t->v->pg.in_recovery == TRI_NO;
    if (!serving) {
        m->unsat_since_ms = 0;
        for (size_t i = 0; i < HA_MEMBERS_MAX; i++)
            m->gone[i].volume = 0;
        return;
    }
    for (uint8_t i = 0; i < HA_MEMBERS_MAX; i++) {
        uint64_t volume = i < t->rec->n ? t->rec->m[i].volume : 0;
        bool gone = volume != 0 && volume != t->v->self.volume && sender_of(t, volume) == NULL;
        int64_t since = gone_since(t, volume);
        m->gone[i].since_ms = !gone ? 0 : since != 0 && m->gone[i].volume == volume ? since : t->now;
        m->gone[i].volume = volume;
    }
    bool unsat = t->v->set.mode != REPL_ASYNC && t->rec->sealed == 0 &&
                 streaming_of_v(t) < t->rec->w;
    if (!unsat)
        m->unsat_since_ms = 0;
    else if (m->unsat_since_ms == 0)
        m->unsat_since_ms = t->now;
}

static struct change record_first(const struct turn *t, struct record next)
{
    struct change c = {.kind = CHANGE_RECORD, .record = next};
    c.record.rev = t->rec->rev + 1;
    c.record.epoch = t->lease->epoch;
    c.ssn = ssn_of_record(t->rec, t->v->self.volume, true, t->v->set.mode);
    return c;
}

static struct change setting_first(const struct turn *t, struct record next)
{
    struct change c = {.kind = CHANGE_SETTING, .record = next};
    c.record.rev = t->rec->rev + 1;
    c.record.epoch = t->lease->epoch;
    c.ssn = ssn_of_record(&c.record, t->v->self.volume, true, t->v->set.mode);
    const struct pg *pg = &t->v->pg;
    c.proved = ssn_eq(&pg->ssn, &c.ssn) && pg->ssn_in_force && pg->ssn_proof_lsn > 0 &&
               senders_flushed(t, &c.record, pg->ssn_proof_lsn) >= c.record.w;
    return c;
}

static void set_vote(struct record *r, uint64_t volume, bool vote)
{
    for (uint8_t i = 0; i < r->n; i++)
        if (r->m[i].volume == volume)
            r->m[i].in_v = vote;
}

/* Members that stream and are not listed are listed; those that caught up get a vote. */
static bool plan_growth(const struct turn *t, struct change *c)
{
    const struct pg *pg = &t->v->pg;
    for (uint8_t i = 0; i < pg->n_senders; i++) {
        const struct walsender *s = &pg->sender[i];
        if (!s->streaming || !s->caught_up || s->volume == 0)
            continue;
        const struct record_member *line = record_find(t->rec, s->volume);
        if (line != NULL && line->in_v)
            continue;
        const struct peer *p = peer_of_volume(t, s->volume);
        if (p == NULL)
            continue; /* a stranger: no name, no vote */
        /* A stream that outlived the promotion may have flushed no record of this timeline yet: recorded
         * with its number, the position would void all that the member can report. */
        bool past = pg->promoted_end_lsn > 0 && s->flushed_lsn >= pg->promoted_end_lsn;
        if (!past && p->state.position.timeline != t->rec->timeline)
            continue;
        struct record next = *t->rec;
        /* The same name with another volume is a replaced member: its old line stays until it
         * leaves V by the barrier. */
        struct record_member *m = record_add(&next, s->volume, &p->name);
        if (m == NULL)
            continue;
        m->in_v = true;
        m->flushed = (struct position){.timeline = t->rec->timeline,
                                       .lsn = whole_records(t, s->flushed_lsn)};
        *c = record_first(t, next);
        return true;
    }
    return false;
}

/* A member that has not streamed for long leaves V by the barrier, then the list. */
static bool plan_leave(const struct turn *t, struct change *c)
{
    for (uint8_t i = 0; i < t->rec->n; i++) {
        const struct record_member *line = &t->rec->m[i];
        int64_t since = gone_since(t, line->volume);
        if (line->volume == t->v->self.volume || since == 0)
            continue;
        const struct peer *p = peer_of_name(t, &line->name);
        bool replaced = p != NULL && peer_fresh(t, p) && p->state.volume != line->volume &&
                        p->state.volume != 0;
        if (t->now - since < t->v->set.leave_ms && !replaced)
            continue;
        struct record next = *t->rec;
        if (!line->in_v) {
            record_remove(&next, line->volume);
            *c = record_first(t, next);
            return true;
        }
        if (t->v->set.mode == REPL_ASYNC) {
            set_vote(&next, line->volume, false);
            *c = record_first(t, next);
            return true;
        }
        if (t->rec->sealed != 0 || streaming_of_v(t) < t->rec->w || t->rec->w == 0)
            continue; /* its copy may still be needed */
        set_vote(&next, line->volume, false);
        *c = setting_first(t, next);
        return true;
    }
    return false;
}

static bool plan_degrade(const struct turn *t, struct change *c)
{
    const struct memo *m = t->m;
    if (t->v->set.strict || m->unsat_since_ms == 0)
        return false;
    bool promoting = t->v->pg.open != TRI_YES;
    bool hopeless = promoting && hopeful_of_v(t) < t->rec->w;
    if (!hopeless && t->now - m->unsat_since_ms < t->v->set.degrade_ms)
        return false;
    struct record next = *t->rec;
    next.w = streaming_of_v(t);
    if (next.w == 0)
        next.sealed = t->v->self.volume;
    *c = record_first(t, next);
    return true;
}

static bool plan_strengthen(const struct turn *t, struct change *c)
{
    uint8_t k = t->v->set.mode == REPL_ASYNC ? 0 : t->v->set.k;
    uint8_t streaming = streaming_of_v(t);
    uint8_t want = k < streaming ? k : streaming;
    struct record next = *t->rec;
    bool unseal = t->v->set.mode == REPL_ASYNC && t->rec->sealed != 0;
    if (t->rec->w > k || unseal) { /* the operator lowered k, or chose asynchronous replication */
        next.w = k;
        next.sealed = 0;
        *c = record_first(t, next);
        return true;
    }
    if (want <= t->rec->w)
        return false;
    next.w = want;
    next.sealed = 0;
    *c = setting_first(t, next);
    return true;
}

static bool strict_wanted(const struct turn *t)
{
    const struct settings *s = &t->v->set;
    return s->early_ms > 0 && s->strict && s->mode != REPL_ASYNC;
}

bool strict_from_now(const struct turn *t)
{
    return strict_wanted(t) && t->v->pg.strict == TRI_YES;
}

/* Of a gate that was left strict a new agent takes it for told until a write of its own has succeeded: that
 * of an earlier one may still be applied. So does a writer whose Lease was lost: it may be put back as it was.
 * A gate that is loose was promised by nobody. */
bool strict_kept(struct turn *t)
{
    struct memo *m = t->m;
    bool told = (t->lease->exists && t->lease->record.strict) || t->rec->strict ||
                (m->has_pending && m->pending.strict);
    if (told || (!t->writer_me && !t->v->pg.maybe_writable))
        m->loose_told = false;
    else if (t->writer_me && m->proven && t->rec == &t->lease->record && !lease_busy(t))
        m->loose_told = true;
    bool asked = t->v->set.strict && t->v->set.mode != REPL_ASYNC;
    return asked || (t->v->pg.maybe_writable && !m->loose_told && (told || t->v->pg.strict_now));
}

/* A gate that is to be loosened is so only after the record has ceased to promise it (strict_kept). */
static bool plan_strict(const struct turn *t, struct change *c)
{
    enum tri gate = t->v->pg.strict;
    bool next_strict = strict_wanted(t) && (gate == TRI_YES || (gate == TRI_UNKNOWN && t->rec->strict));
    if (next_strict == t->rec->strict)
        return false;
    struct record next = *t->rec;
    next.strict = next_strict;
    *c = record_first(t, next);
    return true;
}

struct change replication_plan(const struct turn *t)
{
    struct change c = {.kind = CHANGE_NONE};
    bool primary = t->mine && t->writer_me && t->v->pg.process == PG_RUNNING &&
                   t->v->pg.in_recovery == TRI_NO;
    c.ssn = ssn_of_record(t->rec, t->v->self.volume, primary, t->v->set.mode);
    if (!primary)
        return c;
    /* A lease write whose outcome is open may be applied any time: until a later one has succeeded
     * the record in force is not known, and the setting stays as it is. */
    bool open = t->m->has_pending && t->v->lv.outcome != OUTCOME_OK;
    if (open || t->out->failsafe || lease_busy(t)) {
        c.ssn = t->v->pg.ssn;
        return c;
    }
    if (plan_strict(t, &c) || plan_degrade(t, &c) || plan_growth(t, &c) || plan_strengthen(t, &c) || plan_leave(t, &c))
        return c;
    return c;
}

bool replication_admissible(const struct turn *t)
{
    const struct record *r = t->rec;
    if (t->v->set.mode == REPL_ASYNC)
        return true;
    if (t->v->set.strict && r->w < t->v->set.k)
        return false;
    if (r->sealed == t->v->self.volume || r->w == 0)
        return true;
    return t->v->pg.promoted_end_lsn > 0 &&
           senders_flushed(t, r, t->v->pg.promoted_end_lsn) >= r->w;
}
