/* From the view to facts: named predicates, one bit each. */
#include "internal.h"

static uint64_t lease_facts(const struct turn *t)
{
    const struct lease *l = t->lease;
    if (!t->v->lv.known)
        return FACT(LEASE_UNKNOWN);
    if (!l->exists)
        return FACT(LEASE_ABSENT);
    if (t->stale || t->behind)
        return FACT(LEASE_EMPTY);
    if (identity_eq(&l->holder, &t->v->self.id))
        return FACT(LEASE_MINE);
    if (name_empty(&l->holder.name))
        return lease_released(t) ? FACT(LEASE_RELEASED) : FACT(LEASE_EMPTY);
    return identity_same_pod(&l->holder, &t->v->self.id) ? FACT(LEASE_MY_POD) : FACT(LEASE_OTHER);
}

static uint64_t pg_facts(const struct turn *t)
{
    const struct pg *pg = &t->v->pg;
    if (pg->process == PG_DOWN)
        return FACT(PG_DOWN);
    if (pg->process == PG_RUNNING && pg->in_recovery == TRI_YES)
        return FACT(PG_STANDBY);
    if (pg->process == PG_RUNNING && pg->in_recovery == TRI_NO)
        return FACT(PG_PRIMARY);
    return FACT(PG_MOVING);
}

static uint64_t data_facts(const struct turn *t)
{
    switch (t->v->self.data) { /* ONE_WAY: every value has its case */
    case DATA_OK:
        if (t->v->st.system_id != 0 && t->v->self.system_id != 0 &&
            t->v->st.system_id != t->v->self.system_id)
            return FACT(DATA_BAD);
        return FACT(DATA_GOOD);
    case DATA_EMPTY:
    case DATA_PARTIAL:
        return FACT(DATA_NONE);
    case DATA_FOREIGN:
    case DATA_BROKEN:
        return FACT(DATA_BAD);
    case DATA_UNKNOWN:
        break;
    }
    return FACT(DATA_UNKNOWN);
}

/* What the member that was chosen to initialise has written. Any other list is of a cluster that has data. */
static bool begins_list(const struct turn *t)
{
    return t->rec->n == 1 && t->me != NULL && t->rec->writer == 0 && t->me->flushed.lsn == 0;
}

/* An election is carried through by the process that acquired its epoch: whoever finds itself named as
 * holder cannot know whether the epoch has had a writer, whom somebody has edited away. The list of a
 * cluster that begins names nobody else who could write. */
static bool not_acquired(struct turn *t)
{
    struct memo *m = t->m;
    uint64_t epoch = t->lease->epoch;
    if (!t->mine || t->rec->writer_epoch == epoch)
        return false;
    if (m->acquired_epoch == epoch)
        m->held_epoch = epoch;
    return m->held_epoch != epoch && !begins_list(t);
}

static uint64_t writer_facts(struct turn *t)
{
    if (t->writer_me)
        return FACT(WRITER_ME);
    if (t->disputed || not_acquired(t))
        return FACT(WRITER_DISPUTED);
    bool other = t->lease->exists && t->lease->has_record && !t->stale && !t->behind &&
                 t->rec->writer != 0 &&
                 t->rec->writer_epoch == t->lease->epoch && t->lease->epoch > 0;
    return other ? FACT(WRITER_OTHER) : 0;
}

static bool deposed(const struct turn *t)
{
    const struct lease *l = t->lease;
    if (t->behind || t->superseded)
        return true;
    if (!t->v->lv.known || !l->exists)
        return false;
    if (!name_empty(&l->holder.name) && !identity_eq(&l->holder, &t->v->self.id))
        return true;
    /* Nobody acquires while writable: an epoch above the durable one is another's, even where somebody
     * has written this member into the Lease as its holder since. */
    bool acquired = !name_empty(&l->holder.name) && !t->v->pg.maybe_writable;
    return l->epoch > t->v->self.durable_epoch && t->v->self.durable_epoch > 0 && !acquired;
}

static bool resumable(const struct turn *t)
{
    const struct pg *pg = &t->v->pg;
    const struct record_member *line = t->me;
    if (!t->writer_me || pg->accounted != TRI_YES || line == NULL ||
        position_cmp(pg->position, line->flushed) < 0)
        return false;
    if (!t->v->self.fenced || !t->mine || t->m->acquired_epoch == t->lease->epoch ||
        t->rec->sealed == t->v->self.volume)
        return true;
    /* Fenced: the others have waited long; if they can elect, they do. */
    struct tally tally = election_tally(t, t->rec, 0);
    uint8_t others = tally.answering > 0 ? (uint8_t)(tally.answering - 1) : 0;
    return others < tally.needed || t->v->st.paused;
}

static bool prepared(const struct turn *t)
{
    const struct view *v = t->v;
    struct ssn want = ssn_of_record(t->rec, v->self.volume, false, v->set.mode);
    return v->pg.closed == TRI_YES && ssn_eq(&v->pg.ssn, &want) && v->st.known &&
           v->st.epoch >= t->lease->epoch && v->self.durable_epoch >= t->lease->epoch &&
           v->self.has_record && record_cmp(&v->self.record, t->rec) >= 0;
}

/* Others hold what this directory holds: W other members of V stream from the writer and have its
 * promotion point. What the record says alone could be about a volume that is gone. One that followed
 * this very writer and was promoted by hand may have been the only one to confirm the last commits:
 * then the others must have come past its end. It may have got its vote since the record that is known here. */
static bool last_copy_safe(const struct turn *t)
{
    uint8_t n = 0;
    bool voter = t->me != NULL && t->me->in_v;
    /* It says so, too, that it followed: the recorded position may be older. */
    bool by_hand = !allocated(t->rec, t->v->pg.position);
    bool followed = t->v->self.volume != t->rec->writer &&
                    (by_hand || (voter && t->me->flushed.timeline == t->rec->timeline));
    for (uint8_t i = 0; i < t->rec->n; i++) {
        const struct record_member *line = &t->rec->m[i];
        const struct peer *p = peer_of_volume(t, line->volume);
        if (line->in_v && line->volume != t->v->self.volume && line->volume != t->rec->writer &&
            line->flushed.timeline == t->rec->timeline && p != NULL && peer_fresh(t, p) &&
            p->state.streams_from == t->rec->writer &&
            (!followed || p->state.position.lsn >= t->v->pg.position.lsn))
            n++;
    }
    if (replicates_async(t, t->rec))
        return true;
    if (!voter && !by_hand)
        return t->rec->w >= 1 && t->rec->sealed == 0;
    return t->rec->w >= 1 && n >= t->rec->w;
}

/* A clone ends the vote of the volume that it replaces, a rewind until it is done, and for good if its
 * source is lost half-way: enough others must be left to elect, by answers to what was asked since then.
 * One that is down may be about to lose its vote, too. */
static bool vote_is_spare(const struct turn *t, int64_t since_ms)
{
    const struct record *r = t->rec;
    if (replicates_async(t, r) || t->me == NULL || !t->me->in_v ||
        (r->sealed != 0 && r->sealed != t->v->self.volume))
        return true;
    uint8_t others = 0;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct peer *p = peer_of_volume(t, r->m[i].volume);
        if (r->m[i].in_v && r->m[i].volume != t->v->self.volume && p != NULL && peer_fresh(t, p) &&
            p->sent_ms >= since_ms && p->state.process == PG_RUNNING &&
            report_counts(t, r, p, &r->m[i]))
            others++;
    }
    return others >= record_needed(r);
}

/* Which repair, and whether now: what is missing for a safe one may come for a while; after that a
 * copy is made beside the old directory. */
static uint64_t repair_facts(const struct turn *t)
{
    const struct pg *pg = &t->v->pg;
    struct memo *m = t->m;
    bool diverged = pg->diverged == TRI_YES || pg->wal_missing;
    if (!diverged && (pg->diverged == TRI_NO || pg->streaming))
        m->diverged_ms = 0;
    if (!diverged)
        return 0;
    if (m->diverged_ms == 0)
        m->diverged_ms = t->now;
    bool waited = t->now - m->diverged_ms >= t->v->set.leave_ms;
    bool safe = last_copy_safe(t);
    bool hopeless = record_votes(t->rec) <= 2 || waited;
    bool clone = pg->wal_missing || (pg->op == OP_REWIND && pg->op_failures >= 2) ||
                 (!safe && hopeless);
    uint64_t f = FACT(DIVERGED);
    if (safe)
        f |= FACT(LAST_COPY_SAFE);
    if (clone)
        f |= FACT(CLONE_NEEDED);
    if ((clone || safe) && (waited || vote_is_spare(t, 0)))
        f |= FACT(REPAIRABLE);
    return f;
}

static uint64_t follower_facts(const struct turn *t)
{
    const struct pg *pg = &t->v->pg;
    uint64_t f = repair_facts(t);
    const struct intent *in = &t->v->intent;
    bool for_me = in->id != 0 && in->id != t->m->dead_intent && !t->v->intent_expired &&
                  in->epoch == t->lease->epoch && name_eq(&in->target, &t->v->self.id.name);
    if (for_me && in->kind == INTENT_RESTART && pg->process != PG_RUNNING &&
        t->m->restart_intent == in->id)
        t->m->dead_intent = in->id; /* it ends or has ended: the rest is an ordinary start */
    else if (for_me && in->kind == INTENT_RESTART && pg->process == PG_RUNNING)
        f |= FACT(RESTART);
    if (for_me && in->kind == INTENT_REINIT && !t->mine && !t->writer_me) {
        if (t->m->reinit_intent != in->id) {
            t->m->reinit_intent = in->id;
            t->m->reinit_volume = t->v->self.volume;
            t->m->reinit_ms = t->now;
        }
        if (t->v->self.volume != t->m->reinit_volume)
            t->m->dead_intent = in->id; /* every clone has a new volume id: it is done */
        else if (vote_is_spare(t, t->m->reinit_ms))
            f |= FACT(REINIT);
    }
    return f;
}

static bool vote_due(const struct turn *t)
{
    const struct view *v = t->v;
    const struct peer_request *q = &v->in.vote_req;
    t->out->refused_epoch = 0;
    if (!v->in.vote)
        return false;
    /* An epoch has one winner, so a vote for the epoch that we already detach for is the same vote,
     * asked for again. Once we have followed a writer of that epoch it is refused like an older one. */
    bool followed = v->pg.follows != 0 && v->pg.follows_epoch >= q->epoch;
    if (q->epoch < v->self.durable_epoch || followed) {
        t->out->refused_epoch = v->self.durable_epoch;
        return false;
    }
    if (q->epoch == v->self.durable_epoch && v->pg.frozen_epoch == q->epoch)
        return false;
    if (promise_binds(t) && !name_eq(&t->m->promised_to, &q->from.name))
        return false;
    return !(t->mine && t->lease->epoch >= q->epoch);
}

/* The greatest report is of a member that must not be primary: what it holds more is streamed from
 * it. Its server is frozen and stays so; it is only read. Whatever prevents that (own WAL is not part
 * of its history, it is gone) must leave time to freeze again and to let it go first after all. */
static bool fetchable(const struct turn *t, const struct tally *tally)
{
    const struct peer *p = peer_of_volume(t, tally->best);
    return tally->sufficient && !tally->greatest && p != NULL && peer_fresh(t, p) &&
           (p->state.nofailover || t->v->st.paused) &&
           t->now - t->m->elected_ms <= t->lease_ms * 3 / 2;
}

static uint64_t election_facts(struct turn *t)
{
    struct memo *m = t->m;
    uint64_t f = 0;
    if (!t->mine || t->writer_me) {
        m->elected_epoch = 0;
        if (!election_may_acquire(t))
            return 0;
        return FACT(MAY_ACQUIRE) | (claim_early(t) ? FACT(EARLY) : 0);
    }
    if (m->elected_epoch != t->lease->epoch) {
        m->elected_epoch = t->lease->epoch;
        m->elected_ms = t->now;
        m->refused_max = 0;
    }
    struct tally tally = election_tally(t, t->rec, t->lease->epoch);
    if (tally.refused > m->refused_max)
        m->refused_max = tally.refused;
    if (tally.sufficient)
        f |= FACT(SUFFICIENT);
    if (tally.greatest)
        f |= FACT(GREATEST);
    if (fetchable(t, &tally))
        f |= FACT(FETCH);
    if (m->refused_max >= t->lease->epoch)
        f |= FACT(REFUSED);
    bool released = m->bypass_epoch == t->lease->epoch && m->bypass_epoch != 0 && tally.own &&
                    position_cmp(t->v->pg.position, m->bypass_end) >= 0;
    if (!loss_accepted(t) && (released || last_writer_alone(t, t->rec)))
        f |= FACT(BYPASS);
    if (t->now - m->elected_ms > 2 * t->lease_ms || promise_binds(t) || loss_accepted_for(t) != NULL)
        f |= FACT(OVERDUE);
    return f;
}

/* A restart in place has a time limit: two lease durations, or a server that failed to start again
 * and again. An ordinary election loses nothing, if there can be one. */
static bool stuck(struct turn *t)
{
    const struct view *v = t->v;
    struct memo *m = t->m;
    bool away = t->mine && t->writer_me &&
                (v->pg.process == PG_DOWN || v->pg.process == PG_STARTING);
    if (!away)
        m->away_ms = 0;
    else if (m->away_ms == 0)
        m->away_ms = t->now;
    bool late = v->set.crash_policy != CRASH_RESTART && t->now - m->away_ms > 2 * t->lease_ms;
    if (!away || !(late || v->pg.failed_starts >= 5) || v->st.paused || t->out->failsafe ||
        t->rec->sealed == v->self.volume)
        return false;
    struct tally tally = election_tally(t, t->rec, 0);
    return (uint8_t)(tally.answering - (tally.own ? 1 : 0)) >= tally.needed;
}

/* A disk that does not answer keeps a primary that commits nothing and renews its Lease for ever. After the
 * same time as a restart may take, a standby that confirms goes on: nothing acknowledged is lost by it. */
static bool storage_hangs(struct turn *t)
{
    static const struct ha_name anybody;
    const struct view *v = t->v;
    const char *why;
    if (!t->mine || !t->writer_me || v->pg.storage_since_ms == 0 ||
        t->now - v->pg.storage_since_ms < 2 * t->lease_ms || v->set.crash_policy == CRASH_RESTART ||
        v->st.paused || t->out->failsafe || t->rec->sealed == v->self.volume ||
        replicates_async(t, t->rec) || best_standby(t, &anybody, &why) == 0)
        return false;
    struct tally tally = election_tally(t, t->rec, 0);
    return (uint8_t)(tally.answering - (tally.own ? 1 : 0)) >= tally.needed;
}

static uint64_t writer_stage_facts(struct turn *t)
{
    const struct view *v = t->v;
    const struct memo *m = t->m;
    uint64_t f = 0;
    if (t->writer_me && t->rec->timeline > v->pg.local_timeline && v->pg.local_timeline > 0)
        f |= FACT(NEW_TIMELINE);
    if (t->writer_me && v->pg.in_recovery == TRI_NO && v->pg.process == PG_RUNNING &&
        v->pg.local_timeline > 0 && v->pg.local_timeline != t->rec->timeline)
        f |= FACT(WRONG_TIMELINE);
    if (stuck(t))
        f |= FACT(STUCK);
    if (storage_hangs(t))
        f |= FACT(STORAGE_HANGS);
    if (resumable(t))
        f |= FACT(RESUMABLE);
    if (t->writer_me && prepared(t))
        f |= FACT(PREPARED);
    if (t->writer_me && replication_admissible(t))
        f |= FACT(ADMISSIBLE);
    if (v->pg.open == TRI_YES)
        f |= FACT(ADMITTED);
    if (m->handover_intent != 0)
        f |= FACT(HANDOVER);
    if (m->handover_intent != 0 && m->stop_ms > 0) {
        f |= FACT(STOPPING);
        if (t->now - m->stop_ms > v->set.stop_ms)
            f |= FACT(OVERDUE);
    }
    if (m->handover_intent != 0 && handover_safe(t))
        f |= FACT(HANDED_SAFE);
    bool pending = false;
    if (t->mine && t->writer_me && crash_handover(t, &pending))
        f |= FACT(CRASH_HANDOVER);
    if (pending)
        f |= FACT(CRASH_PENDING);
    return f;
}

/* A member that was restarted while the API is away goes on with what it did before: it follows the
 * writer of its durable epoch, unless somebody who answers knows of a newer one. */
const struct record_member *blind_writer(const struct turn *t)
{
    const struct self *me = &t->v->self;
    const struct record *r = &me->record;
    if (t->v->lv.known || !me->has_record || r->writer == 0 || r->writer == me->volume ||
        r->writer_epoch != me->durable_epoch)
        return NULL;
    for (uint8_t i = 0; i < t->v->n_peers; i++) {
        const struct peer *p = &t->v->peer[i];
        if (peer_fresh(t, p) && (p->state.durable_epoch > me->durable_epoch ||
                                 p->state.lease_epoch > me->durable_epoch))
            return NULL;
    }
    const struct peer *w = peer_of_volume(t, r->writer);
    if (w == NULL || !peer_fresh(t, w) || w->state.in_recovery != TRI_NO ||
        w->state.system_id != me->system_id || w->state.durable_epoch != me->durable_epoch)
        return NULL;
    return record_find(r, r->writer);
}

/* Replay goes on, or the server sees an end where there is none: a number is missing in the row of
 * timeline histories, or the cut copy of a newer timeline's segment hides the older one. */
static uint64_t unread_facts(const struct turn *t)
{
    const struct pg *pg = &t->v->pg;
    struct memo *m = t->m;
    if (pg->process != PG_RUNNING || pg->in_recovery != TRI_YES)
        return 0;
    if (!pg->wal_unread) {
        if (pg->accounted == TRI_YES)
            m->rereads = 0;
        return 0;
    }
    /* One record can take minutes (CREATE DATABASE): a start that did not help is not repeated soon. */
    bool begun = m->rereads > 0 && m->reread_at_ms == pg->reached_ms;
    unsigned tries = m->rereads - (begun ? 1u : 0u);
    int64_t patience = (int64_t)REREAD_MS << (tries < 4 ? 3 * tries : 12);
    if (pg->streaming || pg->reached_ms == 0 || t->now - pg->reached_ms < patience)
        return FACT(WAL_UNREAD);
    if (!begun && m->rereads < UINT8_MAX)
        m->rereads++;
    m->reread_at_ms = pg->reached_ms;
    return FACT(WAL_UNREAD) | FACT(WAL_HIDDEN);
}

/* PostgreSQL pauses replay where the primary raised what a standby must raise first, and is then not
 * promoted either. The next start takes what pg_control has seen. In turn, so that those who
 * acknowledge are not away together; who is elected has no time to wait. */
static bool settings_due(const struct turn *t)
{
    const struct pg *pg = &t->v->pg;
    struct memo *m = t->m;
    if (!pg->settings_low || pg->process != PG_RUNNING || pg->in_recovery != TRI_YES) {
        m->settings_low_ms = 0;
        return false;
    }
    if (m->settings_low_ms == 0)
        m->settings_low_ms = t->now;
    int64_t before = 0;
    for (uint8_t i = 0; i < t->rec->n; i++)
        before += t->rec->m[i].in_v && t->rec->m[i].volume != t->rec->writer &&
                  t->rec->m[i].volume < t->v->self.volume;
    return t->mine || t->now - m->settings_low_ms >= before * SETTINGS_TURN_MS;
}

uint64_t facts_of(struct turn *t)
{
    const struct view *v = t->v;
    uint64_t f = lease_facts(t) | pg_facts(t) | data_facts(t) | writer_facts(t);
    if (right_is_live(t)) {
        f |= FACT(RIGHT);
        if (t->m->deadline_ms - t->now > v->set.kill_ms)
            f |= FACT(BUDGET);
    }
    if (v->pg.maybe_writable)
        f |= FACT(WRITABLE);
    if (deposed(t))
        f |= FACT(DEPOSED);
    if (lease_busy(t))
        f |= FACT(BUSY);
    if (claim_counted(t))
        f |= FACT(COUNTED);
    if (t->lease->exists && t->lease->epoch > 0 && v->pg.frozen_epoch == t->lease->epoch &&
        v->pg.accounted == TRI_YES)
        f |= FACT(FROZEN);
    if (v->pg.accounted == TRI_YES)
        f |= FACT(ACCOUNTED);
    if (settings_due(t))
        f |= FACT(SETTINGS_LOW);
    f |= unread_facts(t);
    /* Both are written together; one without the other was edited by hand, and there was a writer. */
    bool has_writer = t->writer_me || t->disputed || (t->lease->exists && t->lease->has_record &&
                                       (t->rec->writer != 0 || t->rec->writer_epoch != 0));
    if (v->st.known && v->st.system_id == 0 && v->lv.known && !has_writer) {
        f |= FACT(CLUSTER_NEW);
        if (bootstrap_ready(t))
            f |= FACT(BOOT_READY);
    }
    const struct record *copy = highest_copy(t);
    if (copy != NULL && record_find(copy, v->self.volume) != NULL)
        f |= FACT(LISTED);
    if (v->self.terminate > 0)
        f |= FACT(TERMINATE);
    if (v->self.server_lock == TRI_NO && v->pg.process == PG_DOWN)
        f |= FACT(LEFTOVERS);
    if (blind_writer(t) != NULL)
        f |= FACT(BLIND_WRITER);
    if (vote_due(t))
        f |= FACT(VOTE);
    return f | election_facts(t) | writer_stage_facts(t) | follower_facts(t);
}

const char *fact_name(enum fact_bit bit)
{
    static const char *const names[] = {
#define X(name, text) #name,
        FACTS(X)
#undef X
    };
    return bit < FACT_COUNT ? names[bit] : "?";
}

const char *fact_text(enum fact_bit bit)
{
    static const char *const texts[] = {
#define X(name, text) text,
        FACTS(X)
#undef X
    };
    return bit < FACT_COUNT ? texts[bit] : "?";
}
