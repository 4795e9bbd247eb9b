/* decide() with views that the input makes out of a sound one, some turns after each other.
 *
 * What is required here is written from the promises and looks at the view alone, not at the facts:
 * total, deterministic, and nothing that makes postgres writable without Lease and right. */
#include "core/record.h"
#include "decide_view.h"

#define CHANGES_MAX 60
#define TURNS_MAX 6

static bool has_bits(uint64_t v, uint64_t bits)
{
    return (v & bits) == bits;
}

static bool holder_is_self(const struct view *v)
{
    const struct lease *l = &v->lv.lease;
    return v->lv.known && l->exists && identity_eq(&l->holder, &v->self.id);
}

static bool names_as_writer(const struct record *r, const struct view *v, uint64_t epoch)
{
    return r->writer == v->self.volume && r->writer != 0 && r->writer_epoch == epoch && epoch > 0;
}

/* The first row that fits, once more. */
static void check_rule(const struct verdict *d)
{
    REQUIRE(d->rule < core_rule_count);
    for (uint32_t i = 0; i <= d->rule; i++) {
        const struct rule *r = &core_rules[i];
        bool fits = has_bits(d->facts, r->all) && (r->any == 0 || (d->facts & r->any) != 0) &&
                    (d->facts & r->none) == 0;
        REQUIRE(fits == (i == d->rule));
    }
}

static unsigned count_bits(uint64_t v)
{
    return (unsigned)__builtin_popcountll(v);
}

static void check_groups(const struct verdict *d)
{
    uint64_t f = d->facts;
    REQUIRE(count_bits(f & (FACT(LEASE_UNKNOWN) | FACT(LEASE_ABSENT) | FACT(LEASE_MINE) |
                            FACT(LEASE_MY_POD) | FACT(LEASE_OTHER) | FACT(LEASE_RELEASED) |
                            FACT(LEASE_EMPTY))) == 1);
    REQUIRE(count_bits(f & (FACT(PG_DOWN) | FACT(PG_MOVING) | FACT(PG_STANDBY) |
                            FACT(PG_PRIMARY))) == 1);
    REQUIRE(count_bits(f & (FACT(DATA_GOOD) | FACT(DATA_NONE) | FACT(DATA_BAD) |
                            FACT(DATA_UNKNOWN))) == 1);
    REQUIRE(count_bits(f & (FACT(WRITER_ME) | FACT(WRITER_OTHER) | FACT(WRITER_DISPUTED))) <= 1);
}

/* Only a 2xx of an own write or a set of promises moves the deadline on, and never beyond what
 * counts from the send. */
static void check_deadline(const struct view *v, const struct memo *before, const struct verdict *d)
{
    REQUIRE(d->deadline_ms == d->memo.deadline_ms);
    if (d->deadline_ms <= before->deadline_ms)
        return;
    bool by_write = v->lv.outcome == OUTCOME_OK && v->lv.write_holder &&
                    v->lv.write_seq != before->right_seq &&
                    d->deadline_ms <= v->lv.write_sent_ms + v->set.fence_ms;
    bool by_promises = v->set.failsafe && d->memo.proven && before->deadline_ms > v->now_ms &&
                       d->deadline_ms <= v->now_ms + v->set.fence_ms;
    /* A write that had just succeeded may have kept the right alive for the promises. */
    by_promises = by_promises || (v->set.failsafe && d->failsafe &&
                                  d->deadline_ms <= v->now_ms + v->set.fence_ms);
    REQUIRE(by_write || by_promises);
}

/* The fence is blocked by nothing. */
static void check_fence(const struct view *v, const struct verdict *d)
{
    bool other = v->lv.known && v->lv.lease.exists &&
                 v->lv.lease.holder.name.s[0] != '\0' && !holder_is_self(v);
    if (v->pg.maybe_writable && (other || d->memo.deadline_ms <= v->now_ms))
        REQUIRE((d->effects & EFF_FENCE) != 0 || (d->effects & EFF_LEASE_WRITE) != 0);
    if (v->pg.maybe_writable && other)
        REQUIRE((d->effects & EFF_FENCE) != 0);
}

/* Nothing makes or keeps postgres writable without Lease, right and writer. */
static void check_writable(const struct view *v, const struct verdict *d)
{
    const struct lease *l = &v->lv.lease;
    bool right = d->memo.deadline_ms > v->now_ms;
    bool standby = v->pg.process == PG_RUNNING && v->pg.in_recovery == TRI_YES;
    if ((d->effects & EFF_PROMOTE) != 0) {
        REQUIRE(holder_is_self(v) && l->has_record && names_as_writer(&l->record, v, l->epoch));
        REQUIRE(d->memo.deadline_ms - v->now_ms > v->set.kill_ms);
        REQUIRE(standby && v->self.data == DATA_OK && v->pg.closed == TRI_YES);
        REQUIRE(v->self.durable_epoch >= l->epoch && v->st.epoch >= l->epoch);
        REQUIRE(d->timeline == l->record.timeline && d->timeline > v->pg.local_timeline);
        REQUIRE(v->pg.ssn.kind == SSN_SET || v->pg.ssn.kind == SSN_UNSATISFIABLE);
    }
    if ((d->effects & EFF_OPEN) != 0 && !standby)
        REQUIRE(right);
    if (d->serving)
        REQUIRE(right && v->pg.process == PG_RUNNING && v->pg.in_recovery == TRI_NO);
    if ((d->effects & EFF_LABEL_PRIMARY) != 0)
        REQUIRE(right);
}

/* Inside the Lease of its holder: only while that can have nothing acknowledged without those who ask. */
static void check_early(const struct view *v, const struct verdict *d)
{
    const struct lease *l = &v->lv.lease;
    const struct record *r = &l->record;
    if (strcmp(core_rules[d->rule].id, "acquire-early") != 0)
        return;
    REQUIRE(d->write.kind == WRITE_ACQUIRE && v->set.early_ms > 0 && v->set.mode != REPL_ASYNC);
    REQUIRE(l->exists && l->has_record && r->strict && r->w > 0 && r->sealed == 0);
    REQUIRE(r->writer_epoch == l->epoch && r->writer != v->self.volume);
    unsigned voters = 0, silent = 0;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct record_member *line = &r->m[i];
        voters += line->in_v ? 1 : 0;
        if (line->in_v && line->volume == v->self.volume)
            silent++;
        for (uint8_t j = 0; j < v->n_peers; j++) {
            const struct peer *p = &v->peer[j];
            if (line->in_v && line->volume != v->self.volume && line->volume != r->writer &&
                p->state.volume == line->volume && p->state.lease_epoch == l->epoch &&
                p->state.writer_silent_ms >= v->set.early_ms) {
                silent++;
                break;
            }
        }
    }
    REQUIRE(silent >= 1 && silent + r->w >= voters);
}

/* While others may believe that the gate is strict it stays so. */
static void check_gate(const struct view *v, const struct memo *before, const struct verdict *d)
{
    const struct lease *l = &v->lv.lease;
    bool asked = v->set.strict && v->set.mode != REPL_ASYNC;
    if (asked || (v->pg.maybe_writable && l->exists && l->record.strict))
        REQUIRE(d->strict);
    if (v->pg.maybe_writable && before->has_pending && before->pending.strict && v->lv.outcome == OUTCOME_PENDING)
        REQUIRE(d->strict);
    bool told = l->record.strict || v->self.record.strict || v->st.record.strict || before->pending.strict;
    if (!asked && !told && !v->pg.strict_now)
        REQUIRE(!d->strict);
    bool known = l->record.strict || v->self.record.strict || v->st.record.strict;
    if ((d->effects & EFF_LEASE_WRITE) != 0 && d->write.want.record.strict && !known)
        REQUIRE(asked && v->set.early_ms > 0 && v->pg.strict == TRI_YES);
}

/* What a write of the Lease may say, by its kind. */
static void check_write(const struct view *v, const struct memo *before, const struct verdict *d)
{
    const struct lease *l = &v->lv.lease, *want = &d->write.want;
    REQUIRE(((d->effects & EFF_LEASE_WRITE) != 0) == (d->write.kind != WRITE_NONE));
    if (d->write.kind == WRITE_NONE)
        return;
    REQUIRE(v->lv.outcome != OUTCOME_PENDING && want->exists);
    REQUIRE(want->record.n <= HA_MEMBERS_MAX);
    switch (d->write.kind) {
    case WRITE_RENEW:
        REQUIRE(holder_is_self(v) && want->epoch == l->epoch);
        break;
    case WRITE_ACQUIRE:
        REQUIRE(!v->pg.maybe_writable || holder_is_self(v));
        REQUIRE(identity_eq(&want->holder, &v->self.id));
        REQUIRE(want->epoch > l->epoch && want->epoch > v->self.durable_epoch);
        REQUIRE(d->memo.deadline_ms == 0 && !want->fresh && !want->release.valid);
        REQUIRE(d->memo.promise_until_ms <= v->now_ms || holder_is_self(v));
        break;
    case WRITE_WRITER:
        REQUIRE(holder_is_self(v) && want->epoch == l->epoch);
        REQUIRE(v->pg.frozen_epoch == l->epoch && v->pg.accounted == TRI_YES);
        REQUIRE(d->memo.deadline_ms > v->now_ms);
        REQUIRE(names_as_writer(&want->record, v, want->epoch));
        REQUIRE(want->record.timeline > l->record.timeline);
        /* Elected in an epoch that this process acquired, or alone in the list of a cluster that begins. */
        REQUIRE(before->acquired_epoch == l->epoch || before->held_epoch == l->epoch ||
                (l->record.n == 1 && l->record.writer == 0));
        break;
    case WRITE_TAKEOVER:
        REQUIRE(identity_same_pod(&l->holder, &v->self.id) && want->epoch == l->epoch);
        REQUIRE(want->record.timeline >= l->record.timeline);
        break;
    case WRITE_RELEASE:
        REQUIRE(!v->pg.maybe_writable && holder_is_self(v) && want->holder.name.s[0] == '\0');
        REQUIRE(d->memo.deadline_ms == 0 && d->memo.forfeit_ms == v->now_ms);
        /* Who has neither acquired the epoch nor is its writer says nothing of who writes. */
        REQUIRE(!want->release.valid || l->record.writer_epoch == l->epoch ||
                (v->self.has_record && names_as_writer(&v->self.record, v, v->self.durable_epoch)) ||
                before->acquired_epoch == l->epoch || before->held_epoch == l->epoch || l->record.n == 1);
        break;
    case WRITE_ADOPT:
        REQUIRE(d->memo.deadline_ms > v->now_ms && want->epoch >= l->epoch);
        break;
    case WRITE_CREATE:
        REQUIRE(!l->exists && want->fresh && want->holder.name.s[0] == '\0');
        break;
    case WRITE_NONE:
        break;
    }
}

/* What destroys data asks for a copy elsewhere, and for nobody who may be writing here. */
static void check_destructive(const struct view *v, const struct verdict *d)
{
    uint32_t e = d->effects;
    if ((e & (EFF_CLONE | EFF_REWIND | EFF_INITDB)) != 0) {
        REQUIRE(!v->pg.maybe_writable);
        REQUIRE(v->self.data != DATA_FOREIGN && v->self.data != DATA_BROKEN &&
                v->self.data != DATA_UNKNOWN);
    }
    if ((e & EFF_INITDB) != 0 && v->lv.lease.record.n > 1) /* not beside members that the record lists */
        REQUIRE(d->memo.acquired_epoch == v->lv.lease.epoch || d->memo.held_epoch == v->lv.lease.epoch);
    if ((e & EFF_INITDB) != 0)
        REQUIRE(v->self.data != DATA_OK && v->st.known && v->st.system_id == 0 &&
                holder_is_self(v) && d->memo.deadline_ms > v->now_ms);
    if ((e & (EFF_CLONE | EFF_REWIND)) != 0)
        REQUIRE(!holder_is_self(v) && v->lv.lease.has_record && d->upstream != 0 &&
                d->upstream == v->lv.lease.record.writer && d->upstream != v->self.volume);
    if ((e & EFF_REWIND) != 0)
        REQUIRE(v->self.data == DATA_OK && v->pg.process == PG_DOWN);
    if ((e & EFF_PG_START) != 0)
        REQUIRE(v->self.data == DATA_OK && v->pg.process == PG_DOWN);
    if ((e & EFF_EXIT) != 0)
        REQUIRE(v->pg.process == PG_DOWN && v->self.terminate > 0);
}

static void check_rest(const struct view *v, const struct verdict *d)
{
    REQUIRE(d->wake_at_ms <= v->now_ms + v->set.retry_ms);
    REQUIRE(memchr(d->waits_for, '\0', sizeof(d->waits_for)) != NULL);
    REQUIRE(d->store_epoch == 0 || d->store_epoch > v->self.durable_epoch);
    REQUIRE(d->ssn.n <= HA_MEMBERS_MAX);
    if ((d->effects & EFF_SSN) != 0 && d->ssn.kind == SSN_SET)
        REQUIRE(d->ssn.w >= 1 && d->ssn.w <= d->ssn.n);
    if (d->promise_ms > 0) {
        REQUIRE(v->in.promise && d->memo.promise_until_ms == v->now_ms + d->promise_ms);
        REQUIRE(d->memo.promise_epoch == v->in.promise_req.epoch);
        REQUIRE(v->in.promise_req.epoch >= v->self.durable_epoch);
        REQUIRE(d->write.kind != WRITE_ACQUIRE);
    }
}

void decide_checked(const struct view *v, struct memo *m, struct verdict *ret)
{
    static struct verdict d, again;
    static struct view copy;
    copy = *v;
    memset(&d, 0, sizeof(d));
    memset(&again, 0xff, sizeof(again));
    decide(v, m, &d);
    decide(v, m, &again);
    if (getenv("FUZZ_TRACE") != NULL)
        fprintf(stderr, "%s: effects %x, write %d, deadline %+lld\n", core_rules[d.rule].id,
                d.effects, (int)d.write.kind, (long long)(d.deadline_ms - v->now_ms));
    REQUIRE(d.rule == again.rule && d.facts == again.facts && d.effects == again.effects);
    REQUIRE(d.deadline_ms == again.deadline_ms && d.wake_at_ms == again.wake_at_ms);
    REQUIRE(d.write.kind == again.write.kind && d.promise_ms == again.promise_ms);
    REQUIRE(record_cmp(&d.write.want.record, &again.write.want.record) == 0);
    REQUIRE(copy.now_ms == v->now_ms && copy.pg.process == v->pg.process);
    check_rule(&d);
    check_groups(&d);
    check_deadline(v, m, &d);
    check_fence(v, &d);
    check_writable(v, &d);
    check_write(v, m, &d);
    check_early(v, &d);
    check_gate(v, m, &d);
    check_destructive(v, &d);
    check_rest(v, &d);
    *m = d.memo;
    *ret = d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct view v;
    static struct memo m;
    static struct verdict d;
    struct input in = {data, size};
    view_base(&v, &m, input_below(&in, 4));
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        unsigned changes = input_below(&in, CHANGES_MAX);
        for (unsigned i = 0; i < changes && in.n > 0; i++)
            view_change(&v, &m, &in);
        decide_checked(&v, &m, &d);
        if (in.n == 0)
            break;
        v.now_ms += 100;
    }
    return 0;
}
