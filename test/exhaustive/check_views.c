/* Whole decisions over small views: errors sit as easily in what a fact is derived from as in the rules.
 *
 * First every combination of a few values of three members: what the Lease says, what the own server is,
 * who votes, W, the seal, and what each peer answers. Then views at random, some turns after each other.
 * The verdicts are held against the promises, here and in fuzz_decide.c; nothing here uses a fact. */
#include <time.h>

#include "core/record.h"
#include "decide_view.h"

#define RANDOM_INPUTS 60000
#define INTENTS 4

enum lease_is { HELD_BY_PEER, ELECTING, ELECTING_SUCCESSOR, ELECTING_LAST_WRITER, HOLDER_BY_HAND, MINE_WRITER, MY_POD,
                NOBODY, RELEASED, NAMED, LEASES };
enum own_is { DOWN, DOWN_DIVERGED, STANDBY, FROZEN, FROZEN_BEHIND, PRIMARY, PRIMARY_LAPSED, OWNS };

static struct count {
    unsigned long long views, writers, ordered, last_writers, rewinds, clones, fences, acquisitions, early, random;
} count;

/* One digit of a number whose digits are the choices. */
static unsigned pick(uint64_t *x, unsigned n)
{
    unsigned digit = (unsigned)(*x % n);
    *x /= n;
    return digit;
}

static void set_lease(struct view *v, struct memo *m, enum lease_is is)
{
    struct lease *l = &v->lv.lease;
    struct identity self = v->self.id, peer = v->self.id;
    peer.name = v->peer[0].name;
    l->holder = is == HELD_BY_PEER ? peer : self;
    l->record.writer = is == HELD_BY_PEER ? v->peer[0].state.volume : v->self.volume;
    bool acquired = is == ELECTING || is == ELECTING_SUCCESSOR || is == ELECTING_LAST_WRITER;
    if (acquired || is == HOLDER_BY_HAND) {
        l->record.writer = is == ELECTING_LAST_WRITER ? v->self.volume : v->peer[1].state.volume;
        l->record.writer_epoch = 4;
    }
    m->acquired_epoch = acquired ? 5 : 0;
    if (is == ELECTING_SUCCESSOR) {
        m->bypass_epoch = 5;
        m->bypass_end = (struct position){4, 200};
    }
    if (is == MY_POD)
        l->holder.boot++;
    if (is == NOBODY || is == RELEASED || is == NAMED)
        l->holder = (struct identity){.boot = 0};
    if (is == RELEASED || is == NAMED)
        l->release = (struct release){.valid = true, .epoch = 5, .releaser = self.name,
                                      .volume = l->record.writer, .end = {4, 200}};
    if (is == NAMED)
        l->release.successor = self.name;
    v->lv.changed_ms = v->now_ms - 30000;
    v->lv.got_ms = v->now_ms - 10;
    v->st.record = v->self.record = l->record;
}

static void set_server(struct view *v, struct memo *m, enum own_is is)
{
    struct pg *g = &v->pg;
    bool primary = is == PRIMARY || is == PRIMARY_LAPSED;
    g->process = is == DOWN || is == DOWN_DIVERGED ? PG_DOWN : PG_RUNNING;
    g->in_recovery = g->process == PG_DOWN ? TRI_UNKNOWN : primary ? TRI_NO : TRI_YES;
    g->maybe_writable = primary;
    g->position = (struct position){4, is == FROZEN_BEHIND ? 150 : 200};
    g->accounted = TRI_YES;
    g->frozen_epoch = is == FROZEN || is == FROZEN_BEHIND ? 5 : 0;
    g->diverged = is == DOWN_DIVERGED ? TRI_YES : TRI_NO;
    g->ssn = ssn_of_record(&v->lv.lease.record, v->self.volume, true, v->set.mode);
    g->closed = primary ? TRI_NO : TRI_YES;
    g->open = primary ? TRI_YES : TRI_NO;
    m->deadline_ms = is == PRIMARY_LAPSED ? v->now_ms - 1 : v->now_ms + 5000;
    m->proven = true;
    m->named_epoch = 5;
    m->right_seq = v->lv.write_seq;
}

/* Silence, or every answer to the questions that matter. */
static void set_peer(struct view *v, unsigned i, unsigned what, uint64_t writer)
{
    static const uint64_t lsn[] = {150, 200, 250};
    struct peer *p = &v->peer[i];
    uint64_t x = what - 1;
    p->received_ms = p->sent_ms = what == 0 ? v->now_ms - 60000 : v->now_ms - 20;
    if (what == 0)
        return;
    p->state.position = (struct position){4, lsn[pick(&x, 3)]};
    p->state.frozen_epoch = pick(&x, 2) == 0 ? 5 : 0;
    p->state.durable_epoch = 4 + (pick(&x, 3) + 1) % 3;
    p->state.position.timeline -= pick(&x, 2);
    p->state.streams_from = p->state.frozen_epoch == 0 ? writer : 0;
    p->state.refused_epoch = p->state.durable_epoch > 5 ? p->state.durable_epoch : 0;
}

static const struct peer *answer_of(const struct view *v, uint64_t volume)
{
    for (uint8_t i = 0; i < v->n_peers; i++)
        if (v->peer[i].state.volume == volume && v->now_ms - v->peer[i].sent_ms < 10000)
            return &v->peer[i];
    return NULL;
}

/* V - W members of V, this one among them, detached for this epoch, at or beyond what the record says of
 * them, none with more than this one. A sealed volume needs nobody, and nobody else can go on. */
static bool elected(const struct view *v)
{
    const struct record *r = &v->lv.lease.record;
    unsigned votes = 0, reports = 0;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct record_member *line = &r->m[i];
        const struct peer *p = answer_of(v, line->volume);
        if (!line->in_v)
            continue;
        votes++;
        bool self = line->volume == v->self.volume;
        if (!self && (p == NULL || p->state.frozen_epoch != 5))
            continue;
        struct position at = self ? v->pg.position : p->state.position;
        if (position_cmp(at, line->flushed) < 0)
            continue;
        reports++;
        if (position_cmp(at, v->pg.position) > 0)
            return false;
    }
    if (r->sealed != 0)
        return r->sealed == v->self.volume;
    return reports >= 1 && reports + r->w >= votes;
}

/* All that was acknowledged is in the WAL of the writer that the record names last: of this member, then. Every
 * voter answers, and none has heard of a later epoch. */
static bool last_writer(const struct view *v)
{
    const struct record *r = &v->lv.lease.record;
    const struct record_member *own = record_find(r, v->self.volume);
    for (uint8_t i = 0; i < r->n; i++) {
        const struct peer *p = answer_of(v, r->m[i].volume);
        if (r->m[i].in_v && r->m[i].volume != v->self.volume && (p == NULL || p->state.durable_epoch > 5))
            return false;
    }
    return r->writer == v->self.volume && own != NULL && own->in_v &&
           position_cmp(v->pg.position, own->flushed) >= 0;
}

/* An operator's order for this member and this epoch: its own copy is enough, unless a voter that answers
 * shows more. */
static bool ordered(const struct view *v)
{
    const struct record *r = &v->lv.lease.record;
    const struct intent *in = &v->intent;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct peer *p = r->m[i].in_v ? answer_of(v, r->m[i].volume) : NULL;
        if (p != NULL && p->state.frozen_epoch == 5 && position_cmp(p->state.position, v->pg.position) > 0 &&
            position_cmp(p->state.position, r->m[i].flushed) >= 0)
            return false;
    }
    return in->kind == INTENT_FAILOVER && in->accept_loss && in->epoch == 5 &&
           strcmp(in->target.s, v->self.id.name.s) == 0;
}

static void judge_election(const struct view *v, const struct memo *before, const struct verdict *d)
{
    const struct record_member *own = record_find(&v->lv.lease.record, v->self.volume);
    if (d->write.kind != WRITE_WRITER)
        return;
    count.writers++;
    bool successor = before->bypass_epoch == 5 && position_cmp(v->pg.position, before->bypass_end) >= 0;
    REQUIRE(v->pg.frozen_epoch == 5 && own != NULL && (own->in_v || ordered(v)));
    REQUIRE(before->acquired_epoch == 5);
    REQUIRE(successor || elected(v) || last_writer(v) || ordered(v));
    count.ordered += successor || elected(v) || last_writer(v) ? 0 : 1;
    count.last_writers += successor || elected(v) || ordered(v) ? 0 : 1;
    REQUIRE(d->write.want.record.n == v->lv.lease.record.n); /* V stays as it is */
}

/* W others besides the writer hold its promotion and stream from it. */
static void judge_rewind(const struct view *v, const struct verdict *d)
{
    const struct record *r = &v->lv.lease.record;
    const struct record_member *own = record_find(r, v->self.volume);
    unsigned copies = 0;
    if ((d->effects & EFF_REWIND) == 0)
        return;
    count.rewinds++;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct peer *p = answer_of(v, r->m[i].volume);
        if (r->m[i].in_v && r->m[i].volume != r->writer && p != NULL && p->state.streams_from == r->writer)
            copies++;
    }
    bool promised = r->w >= 1 || v->set.mode == REPL_ASYNC; /* asynchronous commits have no other copy to wait for */
    REQUIRE(promised && (own == NULL || !own->in_v || copies >= r->w));
}

/* R = V - W voters have not heard from the writer for long enough, and none who answers has: with them gone it
 * finds too few standbys for a commit, and its gate lets none pass without. */
static bool helpless(const struct view *v)
{
    const struct record *r = &v->lv.lease.record;
    int64_t least = v->set.early_ms;
    unsigned votes = 0, silent = 0;
    for (uint8_t i = 0; i < r->n; i++) {
        const struct record_member *line = &r->m[i];
        const struct peer *p = answer_of(v, line->volume);
        votes += line->in_v ? 1 : 0;
        if (!line->in_v || line->volume == r->writer)
            continue;
        if (line->volume == v->self.volume) {
            silent++;
        } else if (p != NULL && p->state.lease_epoch == 5) {
            if (p->state.writer_silent_ms < least)
                return false;
            silent++;
        }
    }
    const struct peer *w = &v->peer[0];
    return least > 0 && v->set.mode != REPL_ASYNC && r->strict && r->w > 0 && r->sealed == 0 &&
           w->state.volume == r->writer && w->silent_since_ms != 0 && v->now_ms - w->silent_since_ms >= least &&
           silent >= 1 && silent + r->w >= votes;
}

/* Nobody but its writer gets the Lease of a living holder, and that only when it is helpless. */
static void judge_acquisition(const struct view *v, const struct verdict *d)
{
    const struct lease *l = &v->lv.lease;
    bool held = l->holder.name.s[0] != '\0' && !identity_same_pod(&l->holder, &v->self.id);
    if (d->write.kind != WRITE_ACQUIRE || !held)
        return;
    bool counted = v->now_ms - v->lv.changed_ms >= l->duration_s * 1000;
    REQUIRE(counted || (l->record.writer_epoch == l->epoch && helpless(v)));
    count.early += counted ? 0 : 1;
}

static void judge(const struct view *v, struct memo *m)
{
    static struct verdict d;
    struct memo before = *m;
    decide_checked(v, m, &d);
    judge_election(v, &before, &d);
    judge_rewind(v, &d);
    judge_acquisition(v, &d);
    count.views++;
    count.clones += (d.effects & EFF_CLONE) != 0 ? 1 : 0;
    count.fences += (d.effects & EFF_FENCE) != 0 ? 1 : 0;
    count.acquisitions += d.write.kind == WRITE_ACQUIRE ? 1 : 0;
    if (v->pg.maybe_writable && before.deadline_ms <= v->now_ms)
        REQUIRE((d.effects & EFF_FENCE) != 0);
}

static void choose_record(struct view *v, uint64_t *x)
{
    struct record *r = &v->lv.lease.record;
    unsigned seal = pick(x, 3), votes = pick(x, 8);
    r->w = (uint8_t)pick(x, 3);
    r->sealed = seal == 1 ? v->self.volume : seal == 2 ? v->peer[0].state.volume : 0;
    for (uint8_t i = 0; i < r->n; i++)
        r->m[i].in_v = (votes >> i & 1) != 0;
}

static void choose_intent(struct view *v, uint64_t *x)
{
    static const enum intent_kind kinds[] = {INTENT_NONE, INTENT_FAILOVER, INTENT_FAILOVER, INTENT_REINIT};
    unsigned which = pick(x, INTENTS);
    v->intent = (struct intent){.kind = kinds[which], .id = 77, .epoch = 5, .target = v->self.id.name};
    v->intent.accept_loss = which == 2;
    if (v->intent.kind == INTENT_NONE)
        v->intent.id = 0;
}

static void every_view(void)
{
    static const unsigned first = 37, second = 7;
    uint64_t views = (uint64_t)LEASES * OWNS * 3 * 8 * 3 * INTENTS * first * second;
    static struct view base, v;
    struct memo m0, m;
    view_base(&base, &m0, 1);
    for (uint64_t n = 0; n < views; n++) {
        uint64_t x = n;
        v = base;
        m = m0;
        choose_record(&v, &x);
        choose_intent(&v, &x);
        set_lease(&v, &m, (enum lease_is)pick(&x, LEASES));
        set_server(&v, &m, (enum own_is)pick(&x, OWNS));
        set_peer(&v, 0, pick(&x, first), v.lv.lease.record.writer);
        set_peer(&v, 1, pick(&x, second), v.lv.lease.record.writer);
        judge(&v, &m);
    }
}

/* A holder in the middle of its Lease, and what the two others have heard from it. */
static void every_silence(void)
{
    static const int64_t silence[] = {0, 1499, 1500, 5000};
    uint64_t views = 3 * 8 * 3 * 2 * 2 * 2 * 2 * 2 * OWNS * 4 * (1 + 2 * 4) * 2;
    static struct view base, v;
    struct memo m0, m;
    view_base(&base, &m0, 1);
    for (uint64_t n = 0; n < views; n++) {
        uint64_t x = n;
        v = base;
        m = m0;
        choose_record(&v, &x);
        struct record *r = &v.lv.lease.record;
        r->strict = pick(&x, 2) != 0;
        v.set.early_ms = pick(&x, 2) * 1500;
        v.set.mode = pick(&x, 2) != 0 ? REPL_ASYNC : REPL_QUORUM;
        bool electing = pick(&x, 2) != 0, promised = pick(&x, 2) != 0;
        set_lease(&v, &m, HELD_BY_PEER);
        r->writer_epoch = electing ? 4 : 5;
        v.st.record = v.self.record = *r;
        v.lv.changed_ms = v.now_ms - 2500;
        m.promise_until_ms = promised ? v.now_ms + 5000 : 0;
        m.promise_epoch = promised ? 5 : 0;
        set_server(&v, &m, (enum own_is)pick(&x, OWNS));
        m.deadline_ms = 0;
        m.named_epoch = 0;
        int64_t own = silence[pick(&x, 4)];
        v.peer[0].silent_since_ms = own == 0 ? 0 : v.now_ms - own;
        v.peer[0].sent_ms = v.peer[0].received_ms = v.now_ms - own - 20;
        unsigned other = pick(&x, 9);
        set_peer(&v, 1, other == 0 ? 0 : 1, r->writer);
        if (other > 0) {
            v.peer[1].state.lease_epoch = 4 + (other - 1) % 2;
            v.peer[1].state.writer_silent_ms = silence[(other - 1) / 2];
        }
        if (pick(&x, 2) != 0) /* the last look at the Lease is older than the silence */
            v.lv.got_ms = v.now_ms - 2400;
        unsigned long long before = count.acquisitions;
        judge(&v, &m);
        if (count.acquisitions > before)
            REQUIRE(!promised && v.lv.got_ms >= v.now_ms - own + v.set.early_ms);
    }
}

static void random_views(void)
{
    static uint8_t bytes[600];
    uint64_t s = 88172645463325252ull;
    for (; count.random < RANDOM_INPUTS; count.random++) {
        size_t size = 40 + (s >> 33) % 500;
        for (size_t i = 0; i < size; i++) {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            bytes[i] = (uint8_t)(s * 0x2545F4914F6CDD1Dull >> 56);
        }
        (void)LLVMFuzzerTestOneInput(bytes, size);
    }
}

int main(void)
{
    clock_t start = clock();
    every_view();
    every_silence();
    random_views();
    printf("%llu views of three members, %llu at random: %llu writers, %llu of them by order "
           "and %llu as the last one, %llu acquisitions, %llu of them early, %llu rewinds, %llu clones, %llu fences, all allowed; %.0f s\n",
           count.views, count.random, count.writers, count.ordered, count.last_writers, count.acquisitions, count.early,
           count.rewinds, count.clones, count.fences, (double)(clock() - start) / CLOCKS_PER_SEC);
    bool seen = count.writers > 0 && count.ordered > 0 && count.last_writers > 0 && count.acquisitions > 0 && count.early > 0 &&
                count.rewinds > 0 && count.clones > 0 && count.fences > 0;
    if (!seen)
        printf("some of these never came about: the views show nothing\n");
    return seen ? 0 : 1;
}
