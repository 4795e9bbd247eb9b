/* What a lease write contains, and when it is due.
 *
 * Every write is a full PUT under the resourceVersion of the Lease in the view, so it fails when
 * anything has changed since. Every acquisition clears successor and shutdown position. */
#include "internal.h"

bool lease_busy(const struct turn *t)
{
    const struct lease_view *lv = &t->v->lv;
    if (lv->outcome == OUTCOME_PENDING)
        return true;
    return lv->outcome == OUTCOME_UNKNOWN && lv->got_ms < lv->write_done_ms;
}

static void hold(struct turn *t, struct lease *l)
{
    l->exists = true;
    l->fresh = false;
    l->holder = t->v->self.id;
    l->release = (struct release){0};
    l->duration_s = (int32_t)((t->v->set.lease_ms + 999) / 1000);
}

static void refresh_positions(const struct turn *t, struct record *r)
{
    for (uint8_t i = 0; i < r->n; i++) {
        struct record_member *line = &r->m[i];
        struct position now = line->flushed;
        if (line->volume == t->v->self.volume)
            now = (struct position){t->v->pg.position.timeline,
                                    whole_records(t, t->v->pg.position.lsn)};
        /* What lies before our own first record is of an older timeline for the standby, too. */
        bool forked = t->v->pg.promoted_end_lsn == 0 &&
                      line->flushed.timeline != t->v->pg.position.timeline;
        for (uint8_t s = 0; s < t->v->pg.n_senders && !forked; s++) {
            const struct walsender *w = &t->v->pg.sender[s];
            if (w->volume == line->volume && w->streaming &&
                w->flushed_lsn >= t->v->pg.promoted_end_lsn)
                now = (struct position){t->v->pg.position.timeline,
                                        whole_records(t, w->flushed_lsn)};
        }
        if (position_cmp(now, line->flushed) > 0)
            line->flushed = now;
    }
}

static bool renew_due(const struct turn *t)
{
    const struct lease_view *lv = &t->v->lv;
    if (!t->m->proven || !right_is_live(t))
        return lv->outcome != OUTCOME_OK || t->now - lv->write_sent_ms >= t->v->set.retry_ms / 4;
    int64_t every = lv->outcome == OUTCOME_OK ? t->v->set.renew_ms : t->v->set.retry_ms;
    return t->now - lv->write_sent_ms >= every;
}

static void wake_for_renewal(struct turn *t)
{
    int64_t every = t->v->lv.outcome == OUTCOME_OK ? t->v->set.renew_ms : t->v->set.retry_ms;
    wake(t, t->v->lv.write_sent_ms + every);
}

/* The writer's copy of a record that the Lease lost or that was edited. One write of ours may have been
 * applied and seen by others without our knowing: what we put back must outrank it. */
static void put_back(const struct turn *t, struct lease *l, const struct record *copy)
{
    uint64_t edited = t->disputed ? t->lease->record.rev : 0;
    l->record = *copy;
    l->has_record = true;
    if (t->writer_me) /* ONE_WAY: nobody else puts anything back */
        l->record.rev = (copy->rev > edited ? copy->rev : edited) + 2;
}

static uint8_t voters_past_promotion(const struct turn *t, const struct record *r)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < r->n; i++)
        if (r->m[i].in_v && r->m[i].volume != t->v->self.volume &&
            r->m[i].flushed.timeline == r->timeline)
            n++;
    return n;
}

/* A former primary sets own WAL aside only when the record shows W others past the promotion. That is written
 * as soon as clients have had their first commits, not with the next renewal. */
static bool promotion_shown(struct turn *t, const struct record *r)
{
    int64_t at = t->v->pg.promoted_ms + SHOW_PROMOTION_MS;
    if (t->v->pg.promoted_ms == 0 || r->w == 0 || voters_past_promotion(t, t->rec) >= r->w ||
        voters_past_promotion(t, r) < r->w)
        return false;
    wake(t, at);
    return t->now >= at;
}

static bool plan_renew(struct turn *t, struct lease *l)
{
    const struct pg *pg = &t->v->pg;
    bool due = renew_due(t);
    hold(t, l);
    bool lost = !l->has_record || t->disputed; /* somebody stripped or edited it under us */
    if (lost && t->writer_me && t->rec->n > 0)
        put_back(t, l, t->rec);
    uint64_t least = l->record.rev;
    due = due || (t->disputed && t->writer_me);
    bool primary = pg->process == PG_RUNNING && pg->in_recovery == TRI_NO;
    if (t->writer_me && primary) {
        struct change c = replication_plan(t);
        if (c.kind == CHANGE_RECORD || (c.kind == CHANGE_SETTING && c.proved)) {
            l->record = c.record;
            if (lost &&
                l->record.rev < least) /* ONE_WAY: what is put back goes up by two, a change by one */
                l->record.rev = least;
            due = true;
        }
        refresh_positions(t, &l->record);
        due = promotion_shown(t, &l->record) || due;
    } else if (t->writer_me && pg->in_recovery == TRI_YES &&
               l->record.timeline <= pg->local_timeline &&
               (t->out->facts & (FACT(RESUMABLE) | FACT(WRITABLE))) == FACT(RESUMABLE)) {
        l->record.timeline = pg->local_timeline + 1;
        l->record.strict = strict_from_now(t);
        l->record.rev++;
        l->record.epoch = t->lease->epoch;
        due = true;
    }
    return due;
}

static uint64_t max2(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void begin_list(struct turn *t, struct record *r, uint64_t epoch)
{
    *r = (struct record){.epoch = epoch, .rev = 1};
    struct record_member *m = record_add(r, t->v->self.volume, &t->v->self.id.name);
    if (m != NULL) { /* ONE_WAY: the list was empty */
        m->in_v = true;
        m->flushed = t->v->pg.position;
    }
}

static bool plan_acquire(struct turn *t, struct lease *l)
{
    const struct view *v = t->v;
    uint64_t epoch = 1 + max2(max2(t->lease->epoch, v->st.epoch), v->self.durable_epoch);
    const struct record *copy = highest_copy(t);
    bool boot = (t->out->facts & FACT(CLUSTER_NEW)) != 0;
    for (uint8_t i = 0; i < v->n_peers; i++) /* a Lease made anew may have forgotten epochs */
        if (peer_fresh(t, &v->peer[i]) && v->peer[i].state.durable_epoch >= epoch)
            epoch = v->peer[i].state.durable_epoch + 1;
    if (t->m->refused_max >= epoch)
        epoch = t->m->refused_max + 1;
    if (boot && t->v->lv.lease.has_record && t->rec->n > 0 && t->mine)
        ; /* an election already under way keeps its record */
    else if (boot && (copy == NULL || record_find(copy, v->self.volume) == NULL))
        begin_list(t, &l->record, epoch);
    else if (copy != NULL && (!l->has_record || record_cmp(copy, &l->record) > 0))
        l->record = *copy;
    /* Named successor of the recorded writer of the epoch just before this one, or that writer itself: the
     * reports are by-passed if we hold all of its WAL. */
    t->m->bypass_epoch = 0;
    const struct release *rel = &t->lease->release;
    bool named = name_eq(&rel->successor, &v->self.id.name) || rel->volume == v->self.volume;
    if (rel->valid && !t->stale && rel->epoch == t->lease->epoch && t->lease->epoch + 1 == epoch &&
        named && rel->volume == t->rec->writer && t->rec->writer_epoch == t->lease->epoch &&
        rel->end.lsn > 0) {
        t->m->bypass_epoch = epoch;
        t->m->bypass_end = rel->end;
    }
    t->m->accepted_epoch = loss_accepted(t) ? epoch : 0;
    hold(t, l);
    l->has_record = true;
    l->epoch = epoch;
    t->m->acquired_epoch = epoch;
    t->m->deadline_ms = 0; /* a new epoch: the right of an older one is over */
    return true;
}

/* Where the new timeline will not begin before: whoever holds no more of the old one may follow at once
 * under the name that confirms (lineage_proved). */
static void note_own_end(const struct turn *t, struct record *r)
{
    struct position end = {t->v->pg.position.timeline, whole_records(t, t->v->pg.position.lsn)};
    for (uint8_t i = 0; i < r->n; i++)
        if (r->m[i].volume == t->v->self.volume && t->v->pg.accounted == TRI_YES &&
            position_cmp(end, r->m[i].flushed) > 0)
            r->m[i].flushed = end;
}

static bool plan_takeover(struct turn *t, struct lease *l)
{
    const struct pg *pg = &t->v->pg;
    hold(t, l);
    if (t->writer_me) {
        uint32_t least = pg->local_timeline > l->record.timeline ? pg->local_timeline
                                                                  : l->record.timeline;
        l->record.timeline = least + 1;
        l->record.strict = strict_from_now(t);
        l->record.rev++;
        l->record.epoch = l->epoch;
        note_own_end(t, &l->record);
    }
    return true;
}

/* A number above the last allocated one is of a promotion by hand. It is about to count as used, and
 * would then look allocated: the voter that is on it is marked so that nothing it says on it counts. */
static void void_foreign(const struct turn *t, struct record *r)
{
    for (uint8_t i = 0; i < r->n; i++) {
        const struct peer *p = peer_of_volume(t, r->m[i].volume);
        if (p != NULL && r->timeline > 0 && p->state.position.timeline > r->timeline)
            r->m[i].flushed = (struct position){p->state.position.timeline, UINT64_MAX};
    }
}

/* What is here is all there is from now on: it has a vote, its end is the end, and a seal of a volume that
 * is given up is its own. */
static void accept_own_copy(const struct turn *t, struct record *r)
{
    for (uint8_t i = 0; i < r->n; i++) {
        if (r->m[i].volume != t->v->self.volume)
            continue;
        r->m[i].in_v = true;
        r->m[i].flushed = (struct position){t->v->pg.position.timeline,
                                            whole_records(t, t->v->pg.position.lsn)};
    }
    if (r->sealed != 0)
        r->sealed = t->v->self.volume;
}

static bool plan_writer(struct turn *t, struct lease *l)
{
    struct tally tally = election_tally(t, t->rec, t->lease->epoch);
    hold(t, l);
    void_foreign(t, &l->record);
    if (loss_accepted(t))
        accept_own_copy(t, &l->record);
    note_own_end(t, &l->record);
    uint32_t used = tally.timeline > l->record.timeline ? tally.timeline : l->record.timeline;
    l->record.writer = t->v->self.volume;
    l->record.writer_epoch = l->epoch;
    t->m->named_epoch = l->epoch;
    l->record.timeline = used + 1;
    l->record.strict = strict_from_now(t);
    l->record.epoch = l->epoch;
    l->record.rev++;
    return true;
}

static bool plan_adopt(struct turn *t, struct lease *l)
{
    const struct record *copy = t->disputed ? t->rec : highest_copy(t);
    uint64_t epoch = max2(t->lease->epoch, t->v->self.durable_epoch);
    if (copy != NULL && /* ONE_WAY: a writer has its own */
        (t->disputed || !l->has_record || /* ONE_WAY: that of the Lease is no higher */
         record_cmp(copy, &l->record) >= 0)) {
        put_back(t, l, copy);
    }
    l->epoch = epoch;
    hold(t, l);
    return l->has_record;
}

static const struct ha_name *member_name(const struct turn *t, uint64_t volume)
{
    static const struct ha_name nobody;
    const struct record_member *m = record_find(t->rec, volume);
    return m == NULL ? &nobody : &m->name;
}

static bool plan_release(struct turn *t, struct lease *l)
{
    static const struct ha_name anybody;
    struct memo *m = t->m;
    const char *why;
    uint64_t successor = 0;
    if (t->writer_me && m->handover_intent != 0)
        successor = handover_safe(t) && m->handover_target != 0 &&
                            peer_of_volume(t, m->handover_target) != NULL
                        ? m->handover_target
                        : 0; /* ONE_WAY: released only when that is safe */
    else if (t->writer_me) /* crashed, or fenced while others can elect: somebody else is first */
        successor = best_standby(t, &anybody, &why);
    else if (loss_accepted_for(t) != NULL)
        successor = loss_accepted_for(t)->state.volume;
    else if ((t->out->facts & FACT(SUFFICIENT)) != 0)
        successor = election_tally(t, t->rec, t->lease->epoch).best;
    else if (last_writer_there(t)) /* it needs no reports */
        successor = t->rec->writer;
    l->holder = (struct identity){0};
    l->exists = true;
    l->release = (struct release){
        /* Who writes is not known: the others wait for its whole right. */
        .valid = (t->out->facts & FACT(WRITER_DISPUTED)) == 0,
        .epoch = l->epoch,
        .releaser = t->v->self.id.name,
        .volume = t->v->self.volume,
        .end = t->v->pg.accounted == TRI_YES ? t->v->pg.position : (struct position){0},
        .successor = *member_name(t, successor),
    };
    m->forfeit_ms = t->now; /* before the release can be sent: forfeit */
    m->deadline_ms = 0;
    return true;
}

/* Fills verdict.write when the write of this kind is due. */
void lease_plan(struct turn *t, enum write_kind kind)
{
    if (kind == WRITE_NONE)
        return;
    if (kind == WRITE_RENEW && (t->out->facts & FACT(LEASE_MINE)) == 0)
        return;
    if (lease_busy(t)) {
        if (t->v->lv.outcome == OUTCOME_UNKNOWN && !t->v->lv.get_pending)
            t->out->effects |= EFF_LEASE_GET;
        return;
    }
    /* After a failure the next try keeps its distance, whatever it is for. */
    bool failed = t->v->lv.outcome == OUTCOME_UNKNOWN || t->v->lv.outcome == OUTCOME_REFUSED;
    if (failed && t->now - t->v->lv.write_sent_ms < t->v->set.retry_ms / 4) {
        wake(t, t->v->lv.write_sent_ms + t->v->set.retry_ms / 4);
        return;
    }
    struct lease l = *t->lease;
    bool due = false;
    switch (kind) { /* ONE_WAY: every value has its case */
    case WRITE_CREATE:
        l = (struct lease){.exists = true, .fresh = true};
        l.duration_s = (int32_t)((t->v->set.lease_ms + 999) / 1000);
        due = true;
        break;
    case WRITE_RENEW:
        due = plan_renew(t, &l);
        wake_for_renewal(t);
        break;
    case WRITE_ACQUIRE:
        due = plan_acquire(t, &l);
        break;
    case WRITE_TAKEOVER:
        due = plan_takeover(t, &l);
        break;
    case WRITE_WRITER:
        due = plan_writer(t, &l);
        break;
    case WRITE_ADOPT:
        due = plan_adopt(t, &l);
        break;
    case WRITE_RELEASE:
        due = plan_release(t, &l);
        break;
    case WRITE_NONE: /* NOT_REACHED: left above */
        break;       /* NOT_REACHED */
    }
    if (!due)
        return;
    int64_t shorter = t->now + t->v->set.fence_ms;
    if (l.duration_s < t->lease->duration_s && t->m->deadline_ms > shorter)
        t->m->deadline_ms = shorter; /* a PUT that shortens the duration binds us first */
    t->m->pending = l.record;
    t->m->has_pending = true;
    t->out->write.kind = kind;
    t->out->write.want = l;
    t->out->effects |= EFF_LEASE_WRITE;
}
