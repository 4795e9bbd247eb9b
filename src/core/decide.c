/* One turn: account for what happened, derive the facts, take the first rule, fill in its effects. */
#include "internal.h"

_Static_assert(FACT_COUNT <= 64, "facts are one 64-bit word");

static size_t first_match(uint64_t facts)
{
    size_t i = 0;
    for (; i + 1 < core_rule_count; i++) {
        const struct rule *r = &core_rules[i];
        if ((facts & r->all) == r->all && (r->any == 0 || (facts & r->any) != 0) &&
            (facts & r->none) == 0)
            break;
    }
    return i;
}

/* The highest epoch that this member must remember before it does anything else. */
static void plan_store(struct turn *t, struct verdict *out)
{
    const struct view *v = t->v;
    uint64_t epoch = v->self.durable_epoch;
    if ((out->effects & EFF_DETACH) != 0 && out->epoch > epoch)
        epoch = out->epoch;
    if ((out->effects & (EFF_FOLLOW | EFF_CLONE | EFF_PROMOTE | EFF_INITDB)) != 0 &&
        t->lease->epoch > epoch)
        epoch = t->lease->epoch;
    /* Not from a Lease that was edited, nor while writable, when no epoch can be acquired: whoever follows
     * this member in that epoch could log in. */
    if ((t->mine || t->writer_me) && !t->disputed && !v->pg.maybe_writable &&
        t->lease->epoch > epoch)
        epoch = t->lease->epoch;
    if (epoch != v->self.durable_epoch)
        out->store_epoch = epoch;
    out->store_record =
        v->lv.known && t->lease->exists && t->lease->has_record && !t->disputed &&
        t->lease->epoch >= v->self.durable_epoch &&
        (!v->self.has_record || record_cmp(t->rec, &v->self.record) > 0);
}

static void plan_upstream(struct turn *t, const struct rule *r, struct verdict *out)
{
    const struct record_member *blind = blind_writer(t);
    if ((r->all & FACT(BLIND_WRITER)) != 0 && blind != NULL) { /* ONE_WAY: by the fact there is one */
        out->epoch = t->v->self.durable_epoch;
        out->upstream = blind->volume;
        out->upstream_name = blind->name;
        out->provisional = !lineage_proved(t, &t->v->self.record, out->epoch);
        return;
    }
    out->upstream = t->rec->writer;
    out->provisional = (r->all & FACT(FETCH)) != 0 || !lineage_proved(t, t->rec, out->epoch);
    if ((r->all & FACT(FETCH)) != 0)
        out->upstream = election_tally(t, t->rec, t->lease->epoch).best;
    const struct record_member *w = record_find(t->rec, out->upstream);
    if (w != NULL)
        out->upstream_name = w->name;
}

bool core_is_gone(const struct view *v, const struct peer *p)
{
    return v->pods_known && !p->pod_known && v->lv.known && v->lv.lease.has_record &&
           record_find(&v->lv.lease.record, p->state.volume) == NULL;
}

/* A member that is empty, copies or is silent may come to use a slot that nobody else knows of. */
static bool slots_settled(const struct turn *t)
{
    uint8_t n = 1;
    for (uint8_t i = 0; i < t->v->n_peers; i++) {
        const struct peer *p = &t->v->peer[i];
        const struct record_member *line = record_find(t->rec, p->state.volume);
        if (core_is_gone(t->v, p))
            continue;
        if (!peer_fresh(t, p) || p->state.data != DATA_OK || line == NULL)
            return false;
        n++;
    }
    return t->me != NULL && n == t->rec->n && n >= t->v->set.members;
}

static void fill(struct turn *t, const struct rule *r)
{
    struct verdict *out = t->out;
    out->epoch = t->lease->epoch;
    if ((out->facts & FACT(VOTE)) != 0 && (r->all & FACT(VOTE)) != 0)
        out->epoch = t->v->in.vote_req.epoch;
    if ((out->effects & (EFF_FOLLOW | EFF_CLONE | EFF_REWIND)) != 0)
        plan_upstream(t, r, out);
    struct change c = replication_plan(t);
    out->ssn = c.ssn;
    if ((out->effects & EFF_SSN) != 0 && (t->rec->n == 0 || c.ssn.kind == SSN_UNKNOWN))
        out->effects &= ~(uint32_t)EFF_SSN;
    out->slots_settled = slots_settled(t);
    out->timeline = t->rec->timeline;
    out->strict = strict_kept(t);
    out->writer_silent_ms = writer_silent(t);
    out->target = t->m->handover_target;
    /* A replica admits readers only while it follows; before that it may show unconfirmed rows. */
    if ((r->effects & EFF_FOLLOW) != 0 && t->v->pg.open != TRI_YES &&
        (!t->v->pg.streaming || out->provisional))
        out->effects &= ~(uint32_t)EFF_OPEN;
    /* Readers are led to it when it admits them. A deposed primary that said so earlier would change the
     * Service for readers just before the one for writers, and kube-proxy takes one change in a second. */
    if (t->v->pg.open != TRI_YES)
        out->effects &= ~(uint32_t)EFF_LABEL_REPLICA;
    if ((r->effects & EFF_PG_START) != 0 && start_waits(t))
        out->effects &= ~(uint32_t)EFF_PG_START;
    /* The label goes only when the checkpoint is done: until then we serve. */
    if ((r->effects & (EFF_CHECKPOINT | EFF_UNLABEL)) == (EFF_CHECKPOINT | EFF_UNLABEL) &&
        t->v->pg.checkpoint_ms < t->m->handover_ms)
        out->effects &= ~(uint32_t)EFF_UNLABEL;
    if ((r->effects & EFF_CHECKPOINT) != 0 && (r->effects & EFF_UNLABEL) == 0 &&
        t->v->pg.checkpoint_ms >= t->v->pg.promoted_ms && t->v->pg.promoted_ms > 0)
        out->effects &= ~(uint32_t)EFF_CHECKPOINT;
    if ((r->effects & EFF_CHECKPOINT) != 0 && (r->effects & EFF_UNLABEL) != 0 &&
        t->v->pg.checkpoint_ms >= t->m->handover_ms)
        out->effects &= ~(uint32_t)EFF_CHECKPOINT;
    out->endpoint = endpoint_wanted(t);
    uint64_t needed = FACT(PG_PRIMARY) | FACT(ADMITTED) | FACT(RIGHT) | FACT(WRITER_ME);
    out->serving = (out->facts & needed) == needed && (r->effects & EFF_FENCE) == 0;
    if (out->failsafe)
        out->effects |= EFF_PROMISES;
    name_missing(t, out->waits_for, sizeof out->waits_for);
}

static bool writes_by(const struct record *r, const struct view *v, uint64_t epoch)
{
    return r->writer != 0 && r->writer == v->self.volume && r->writer_epoch == epoch && epoch > 0;
}

/* The Lease never goes back by itself: copies are made of what it showed. One that is older than a
 * copy was put back by somebody (a restored etcd, a backup tool), and so is its holder. */
static void judge_age(struct turn *t)
{
    const struct view *v = t->v;
    const struct record *copy = highest_copy(t);
    uint64_t acquired = copy != NULL && copy->epoch > v->st.epoch ? copy->epoch : v->st.epoch;
    t->superseded = acquired > v->self.durable_epoch && acquired > t->lease->epoch;
    if (!v->lv.known || !t->lease->exists)
        return;
    t->stale = t->lease->has_record && /* ONE_WAY: then there is a copy */
               copy != NULL &&         /* ONE_WAY */
               record_cmp(copy, &t->lease->record) > 0;
    t->stale = t->stale || v->st.epoch > t->lease->epoch;
    struct version known = {copy != NULL ? copy->epoch : 0, copy != NULL ? copy->rev : 0};
    if (known.epoch < t->lease->epoch)
        known = (struct version){t->lease->epoch, UINT64_MAX};
    if (t->m->deadline_ms > t->now)
        known.rev = UINT64_MAX; /* a writer may learn of its own change later than its peers */
    for (uint8_t i = 0; i < v->n_peers; i++) {
        const struct peer_state *s = &v->peer[i].state;
        struct version theirs = {s->record_epoch, s->record_rev};
        if (peer_fresh(t, &v->peer[i]) && s->system_id == v->self.system_id &&
            version_cmp(theirs, known) > 0)
            t->behind = true;
    }
}

/* An epoch has one writer: the second write of its election names it, and every later record of that
 * epoch repeats it. A record that says otherwise was edited by hand. The writer, and whoever is named, know
 * whether they have ever asked for that; the others compare with what they have seen under the same
 * version, and otherwise take a later record for the writer's own correction. */
static bool names_another_writer(const struct turn *t)
{
    const struct view *v = t->v;
    const struct record *r = &t->lease->record;
    uint64_t epoch = t->lease->epoch;
    if (!t->lease->exists || !t->lease->has_record || epoch == 0)
        return false;
    uint64_t named = r->writer_epoch == epoch ? r->writer : 0;
    bool asked = t->m->named_epoch == epoch;
    bool was_me = v->self.has_record && writes_by(&v->self.record, v, epoch);
    if (named == v->self.volume && named != 0)
        return !asked && !was_me;
    const struct record *seen[] = {v->self.has_record ? &v->self.record : NULL,
                                   v->st.has_record ? &v->st.record : NULL};
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++)
        if (seen[i] != NULL && seen[i]->writer != 0 && seen[i]->writer_epoch == epoch &&
            seen[i]->writer != named && (named == 0 || record_cmp(r, seen[i]) == 0))
            return true;
    return was_me || (r->writer_epoch == epoch && named == 0);
}

static void setup(struct turn *t, const struct view *v, struct verdict *out)
{
    static const struct record no_record;
    *t = (struct turn){.v = v, .m = &out->memo, .out = out, .now = v->now_ms};
    t->lease = &v->lv.lease;
    t->rec = t->lease->exists && t->lease->has_record ? &t->lease->record : &no_record;
    judge_age(t);
    bool foreign = t->stale || t->behind;
    t->disputed = names_another_writer(t);
    bool named = t->lease->exists && identity_eq(&t->lease->holder, &v->self.id);
    t->mine = v->lv.known && named && !foreign;
    t->writer_me = t->lease->exists && !foreign && !t->disputed &&
                   writes_by(t->rec, v, t->lease->epoch);
    /* A Lease that was deleted, emptied, edited or re-applied by somebody says nothing against a live
     * right: our own durable copy of the record stands until another holder or a newer acquisition
     * is seen. A member whose clocks stood still may have a right that is over for everybody else. */
    bool lost = !t->lease->exists || !t->lease->has_record || t->stale || t->disputed;
    bool other = t->lease->exists && !name_empty(&t->lease->holder.name) && !named;
    bool newer = t->behind || t->superseded || t->lease->epoch > v->self.durable_epoch;
    if (lost && !other && !newer && v->self.has_record && out->memo.deadline_ms > t->now &&
        writes_by(&v->self.record, v, v->self.durable_epoch)) {
        t->rec = &v->self.record;
        t->writer_me = true;
    }
    t->me = record_find(t->rec, v->self.volume);
    t->lease_ms = (int64_t)t->lease->duration_s * 1000;
    if (t->lease_ms < v->set.lease_ms)
        t->lease_ms = v->set.lease_ms;
}

/* A clone that was asked for waits for answers of the others that are younger than the order and not behind
 * the record. At rest they are asked about as often as the record is renewed: under load, with the two in an
 * unlucky step, an answer is always behind it. */
static bool clone_waits_for_answers(const struct turn *t)
{
    const struct intent *in = &t->v->intent;
    return in->id != 0 && in->kind == INTENT_REINIT && in->id == t->m->reinit_intent &&
           in->id != t->m->dead_intent && !t->v->intent_expired && (t->out->facts & FACT(REINIT)) == 0;
}

void decide(const struct view *v, const struct memo *m, struct verdict *out)
{
    struct turn t;
    *out = (struct verdict){0};
    out->memo = *m;
    out->wake_at_ms = v->now_ms + v->set.retry_ms;
    setup(&t, v, out);
    right_account(&t);
    claim_count(&t);
    right_answer_promise(&t);
    replication_track(&t);
    handover_track(&t);
    bool down = v->pg.process == PG_DOWN && v->pg.crashed;
    out->memo.pg_fault_ms = !down ? 0 : out->memo.pg_fault_ms != 0 ? out->memo.pg_fault_ms
                                                                    : v->now_ms;
    if (v->pg.process == PG_RUNNING && v->pg.in_recovery == TRI_NO)
        out->memo.rolled_back = false;
    out->facts = facts_of(&t);
    size_t row = first_match(out->facts);
    const struct rule *r = &core_rules[row];
    out->rule = (uint32_t)row;
    out->memo.last_rule = (uint32_t)row;
    out->effects = r->effects;
    fill(&t, r);
    lease_plan(&t, r->write);
    if ((r->effects & EFF_FENCE) != 0 && (out->facts & FACT(DEPOSED)) != 0)
        out->memo.deadline_ms = 0;
    if ((r->all & FACT(STORAGE_HANGS)) != 0) { /* nor does a renewal that is on its way restore it */
        out->memo.deadline_ms = 0;
        out->memo.forfeit_ms = v->now_ms;
    }
    if ((r->all & FACT(RESTART)) != 0)
        out->memo.restart_intent = v->intent.id;
    if (out->memo.preflight_intent != 0 && v->now_ms - out->memo.preflight_ms <= FRESH_MS)
        out->effects |= EFF_PEERS;
    if (v->set.early_ms > 0 && out->writer_silent_ms > 0 && !t.mine) /* one answer that was lost is not silence */
        out->effects |= EFF_PEERS;
    bool repair_waits = (out->facts & (FACT(DIVERGED) | FACT(REPAIRABLE))) == FACT(DIVERGED);
    if (repair_waits || clone_waits_for_answers(&t)) /* for answers that let it begin */
        out->effects |= EFF_PEERS;
    bool unread = lease_busy(&t) && v->lv.outcome == OUTCOME_UNKNOWN;
    bool doubt = (t.stale || t.behind || t.disputed) && v->now_ms - v->lv.got_ms > v->set.retry_ms;
    if ((t.need_get || unread || doubt) && (r->effects & EFF_FENCE) == 0)
        out->effects |= EFF_LEASE_GET;
    plan_store(&t, out);
    out->alarm = (out->effects & EFF_ALARM) != 0 || t.stale || t.behind ||
                 t.disputed;
    /* A release or a fence of this turn ends it, and no rule that serves does either. */
    out->serving = out->serving && right_is_live(&t); /* ONE_WAY */
    out->deadline_ms = out->memo.deadline_ms;
    wake(&t, out->deadline_ms);
}
