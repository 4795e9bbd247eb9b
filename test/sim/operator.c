/* What is left to people: a case that members cannot get out of by themselves, because nobody can prove
 * that nothing is lost; whether it is told; and the way out that the runbook describes. */
#include "plan.h"

const struct record *last_record(void)
{
    const struct record *best = W.lease.has_record ? &W.lease.record : NULL;
    if (W.state.has_record && (best == NULL || record_cmp(&W.state.record, best) > 0))
        best = &W.state.record;
    for (int i = 0; i < W.n; i++)
        if (W.m[i].has_record && (best == NULL || record_cmp(&W.m[i].record, best) > 0))
            best = &W.m[i].record;
    return best;
}

static bool somebody_is_called(const struct ha_name *name)
{
    for (int i = 0; i < W.n; i++)
        if (name_eq(&W.m[i].id.name, name) && W.m[i].container_at_ms != INT64_MAX)
            return true;
    return false;
}

/* The Lease was lost or is older than an epoch that was acquired, so every voter of the highest copy is asked,
 * and one of their volumes is gone. */
bool operators_case(void)
{
    const struct record *copy = last_record();
    bool older = W.state.epoch > W.lease.epoch;
    if (copy == NULL || (copy == &W.lease.record && !older))
        return false;
    for (uint8_t i = 0; i < copy->n; i++)
        if (copy->m[i].in_v && by_volume(copy->m[i].volume) == NULL)
            return true;
    return false;
}

/* Its copy counts in an election: it is the one that is recorded, not rolled back nor promoted by hand. */
static bool copy_counts(const struct record *r, const struct record_member *line)
{
    const struct member *m = by_volume(line->volume);
    return m != NULL && m->data == DATA_OK && !m->damaged && pos_of(m).timeline <= r->timeline &&
           position_cmp(pos_of(m), line->flushed) >= 0;
}

/* The record is there and fewer of its voters than have to report can ever do so again. Where all of them
 * answer, the last writer needs nobody. */
bool too_few_are_left(void)
{
    const struct record *r = last_record();
    uint8_t left = 0;
    bool writer = false, all_there = true;
    if (r == NULL || r != &W.lease.record)
        return false;
    for (uint8_t i = 0; i < r->n; i++) {
        if (!r->m[i].in_v)
            continue;
        bool counts = copy_counts(r, &r->m[i]);
        left = (uint8_t)(left + (counts ? 1 : 0));
        writer = writer || (counts && r->m[i].volume == r->writer);
        all_there = all_there && somebody_is_called(&r->m[i].name);
    }
    return left < record_needed(r) && !(writer && all_there);
}

bool operator_told(void)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].container && W.m[i].proc == PG_RUNNING && W.m[i].ver.waits)
            return true;
    return false;
}

/* hactl refuses to order others: one that the record does not list, or that was promoted by hand. */
static bool may_be_named(const struct record *r, const struct member *m)
{
    return record_find(r, m->volume) != NULL && pos_of(m).timeline <= r->timeline;
}

/* in: only volumes that an order under this record may name; NULL = any. */
static struct member *with_most_data(const struct record *in)
{
    struct member *best = NULL;
    for (int i = 0; i < W.n; i++)
        if (W.m[i].data == DATA_OK && !W.m[i].damaged && (in == NULL || may_be_named(in, &W.m[i])) &&
            (best == NULL || position_cmp(pos_of(&W.m[i]), pos_of(best)) > 0))
            best = &W.m[i];
    return best;
}

bool order_failover(void)
{
    const struct member *target = with_most_data(last_record());
    if (target == NULL)
        return false;
    give_intent(INTENT_FAILOVER, target);
    W.intent.accept_loss = true;
    W.intent_until_ms = W.now + 30000;
    W.state_seq++;
    TRACE(target, "ORDER: failover to it, loss of data accepted");
    return true;
}

bool loss_was_accepted(const struct member *m, uint64_t epoch)
{
    const struct intent *in = &W.intent;
    bool acquired = m->ver.memo.accepted_epoch == epoch && epoch != 0;
    return acquired || (in->kind == INTENT_FAILOVER && in->accept_loss && in->epoch == epoch &&
                        name_eq(&in->target, &m->id.name));
}

void give_up_what_lacks(const struct member *m)
{
    static bool here[ENTRY_MAX];
    memset(here, 0, sizeof here);
    for (uint64_t i = 0; i < m->len; i++)
        here[m->log[i]] = true;
    for (uint32_t e = 1; e <= W.next_entry; e++)
        W.kept[e] = W.kept[e] && here[e];
}

/* Nothing is promised about what the volume that is kept does not hold. */
static void forget_others(const struct member *kept)
{
    give_up_what_lacks(kept);
    for (uint32_t tl = kept->tl + 1; tl < OWNED_MAX; tl++)
        W.timeline_owner[tl] = 0;
    W.last_ack_epoch = W.given_up_epoch = 0;
}

void last_resort(void)
{
    struct member *kept = with_most_data(NULL);
    for (int i = 0; i < W.n; i++) {
        struct member *m = &W.m[i];
        if (m->container_at_ms == INT64_MAX)
            continue;
        if (m->container)
            container_dies(m, 0);
        m->container_at_ms = W.now + 2000 + between(0, 2000);
        if (m != kept)
            volume_lost(m);
    }
    if (kept == NULL)
        return;
    TRACE(kept, "LAST RESORT: this volume is kept");
    kept->volume = random_id(); /* its member.state is moved away */
    kept->durable_epoch = 0;
    kept->has_record = false;
    forget_others(kept);
    W.lease = (struct lease){0};
    W.state = (struct state_view){0};
    W.rv++;
    W.state_seq++;
    wake_all();
}
