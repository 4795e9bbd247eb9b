/* One episode: bootstrap, faults, healing, and the demand for a primary, full replication and rest.
 *
 * Its plan is drawn from the seed alone; what the world does then follows from seed and salt. So a fault
 * can be left out without another one becoming a different fault. */
#include <stdarg.h>

#include "plan.h"

struct world W;

void violate(const char *what, const char *fmt, ...)
{
    if (W.violation != NULL)
        return;
    W.violation = what;
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(W.detail, sizeof W.detail, "at %" PRId64 ": ", W.now);
    vsnprintf(W.detail + n, sizeof W.detail - (size_t)n, fmt, ap);
    va_end(ap);
    if (W.trace)
        printf("%7" PRId64 " VIOLATION %s: %s\n", W.now, what, W.detail);
}

static const struct member *primary(void)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].proc == PG_RUNNING && !W.m[i].recovery && W.m[i].admitted)
            return &W.m[i];
    return NULL;
}

static int members_now(void)
{
    int n = 0;
    for (int i = 0; i < W.n; i++)
        n += W.m[i].container_at_ms != INT64_MAX ? 1 : 0;
    return n;
}

/* Serving, every member streaming and voting, as many confirmations as asked for, and no restart owed:
 * standbys that need the primary's settings take turns, the last of seven half a minute later. */
static bool whole(void)
{
    const struct member *p = primary();
    const struct record *r = &W.lease.record;
    int n = members_now();
    if (p == NULL || p->label != ROLE_PRIMARY || !p->ver.serving || record_votes(r) != n ||
        r->n != n || r->sealed != 0)
        return false;
    if (W.set.mode != REPL_ASYNC && r->w != (W.set.k < n - 1 ? W.set.k : n - 1))
        return false;
    for (int i = 0; i < W.n; i++) {
        const struct member *m = &W.m[i];
        if (m->container_at_ms == INT64_MAX)
            continue;
        if (m->terminate_at_ms != 0)
            return false; /* a rolling restart is under way */
        if (m == p)
            continue;
        if (!(m->st.on && m->st.rx && m->st.upstream == p->idx) || m->label != ROLE_REPLICA ||
            m->settings_low)
            return false;
    }
    return true;
}

static void show(void)
{
    const struct record *r = &W.lease.record;
    printf("        Lease epoch %" PRIu64 " rev %" PRIu64 " n %d V %d W %d sealed %d holder %s\n",
           W.lease.epoch, r->rev, r->n, record_votes(r), r->w, r->sealed != 0, W.lease.holder.name.s);
    for (uint8_t i = 0; i < r->n; i++) {
        const struct member *m = by_volume(r->m[i].volume);
        printf("        %s %s flushed %u/%" PRIu64 "%s%s\n", r->m[i].name.s,
               m == NULL ? "(volume gone)" : "", r->m[i].flushed.timeline, r->m[i].flushed.lsn,
               r->m[i].in_v ? " vote" : "", r->m[i].volume == r->writer ? " writer" : "");
    }
    for (int i = 0; i < W.n; i++) {
        const struct member *m = &W.m[i];
        printf("        m%d up %d %s pos %u/%" PRIu64 " epoch %" PRIu64 " streams %d from m%d label %d k %d"
               " promise %" PRId64 " ssn %d/%d%s%s\n", i, m->container, core_rules[m->ver.rule].id,
               pos_of(m).timeline, m->len, m->durable_epoch, m->st.on && m->st.rx, m->st.upstream,
               (int)m->label, m->set.k, m->ver.memo.promise_until_ms - m->local, (int)m->ssn.kind, m->ssn.w,
               m->proof_lsn != 0 ? " proved" : "", m->set.nofailover ? " nofailover" : "");
    }
}

/* --- the plan --------------------------------------------------------------------------------- */

/* What --mix makes of a seed: three members mostly, every number from 1 to 7, every mode. */
static void mixed(struct plan *p)
{
    static const int members[] = {3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 1, 4, 4, 5, 5, 5, 6, 7};
    p->members = members[between(0, sizeof members / sizeof members[0] - 1)];
    p->mode = chance(12) ? REPL_ASYNC : chance(12) ? REPL_SYNC : REPL_QUORUM;
    p->strict = chance(12) && p->members > 1; /* alone it would never admit anybody */
    p->k = (uint8_t)(p->members > 3 && chance(30) ? 2 : 1);
}

static void draw_faults(struct plan *p, int storm)
{
    int rounds = (int)between(1, storm > 3 ? 16 : 7);
    for (int r = 0; r < rounds; r++) {
        for (int64_t n = chance(30) ? between(2, storm) : 1; n > 0; n--)
            p->step[p->n++] = (struct step){.kind = fault_draw(), .rng = random_id()};
        p->step[p->n - 1].wait_ms = between(10, chance(30) ? 15000 : 3000);
    }
}

void plan_draw(struct plan *p, uint64_t seed, const struct options *o)
{
    *p = (struct plan){.seed = seed, .members = o->members, .mode = o->mode, .k = o->k,
                       .strict = o->strict};
    W.rng = (seed + 1) * 0x9E3779B97F4A7C15ull + 1;
    for (int i = 0; i < 8; i++)
        (void)rnd();
    if (o->mix)
        mixed(p);
    p->grows = p->members >= 3 && p->members + 2 <= N_MAX && chance(10);
    p->dense = chance(2);
    if (chance(20))
        p->early = (struct step){.kind = fault_draw(), .rng = random_id(), .wait_ms = between(10, 3000)};
    p->early_ms = between(10, 8000);
    p->first_ms = between(10, 500);
    p->modes = chance(10);
    draw_faults(p, chance(20) ? 6 : 3);
    if (p->strict && p->mode != REPL_ASYNC && chance(60))
        p->silence_ms = between(1500, 4000);
}

/* --- the episode ------------------------------------------------------------------------------ */

static void begin(const struct plan *p, bool trace)
{
    int n = p->members + (p->grows ? 2 : 0);
    memset(&W, 0, offsetof(struct world, m));
    memset(W.m, 0, (size_t)n * sizeof W.m[0]);
    memset(&W.lease, 0, sizeof W - offsetof(struct world, lease));
    W.rng = (p->seed + 1) * 0xD1342543DE82EF95ull + p->salt * 0x9E3779B97F4A7C15ull + 1;
    for (int i = 0; i < 8; i++)
        (void)rnd();
    W.now = 100000;
    W.lively_from_ms = INT64_MAX;
    W.trace = trace;
    W.dense = p->dense;
    W.modes = p->modes;
    W.n = n;
    settings_default(p->members, p->mode, p->k, p->strict);
    W.set.early_ms = p->silence_ms;
    W.early = p->silence_ms > 0;
    for (int i = 0; i < W.n; i++) {
        struct member *m = &W.m[i];
        m->idx = i;
        identify(m);
        m->clock0 = between(1, 1000000);
        m->volume = random_id();
        m->data = DATA_EMPTY;
        m->container_at_ms = i < p->members ? W.now + between(0, 500) : INT64_MAX;
    }
    character();
    if (p->plain)
        plain_character();
    heal();
}

static bool run_until_whole(int64_t ms)
{
    for (int64_t end = W.now + ms; W.now < end && W.violation == NULL;) {
        world_step(end);
        if (whole())
            return true;
    }
    return whole();
}

static void run(int64_t ms)
{
    for (int64_t end = W.now + ms; W.now < end && W.violation == NULL;)
        world_step(end);
}

static void strike(const struct step *s)
{
    uint64_t rng = W.rng;
    W.rng = s->rng;
    fault(s->kind);
    W.rng = rng;
}

static void disturb(const struct plan *p)
{
    W.lively_from_ms = W.now; /* what the first fault will meet */
    run(p->first_ms);
    for (int i = 0; i < p->n && W.violation == NULL; i++) {
        const struct step *s = &p->step[i];
        if (!s->off)
            strike(s);
        W.lively_from_ms = W.now + s->wait_ms - 400;
        run(s->wait_ms);
    }
    W.lively_from_ms = INT64_MAX;
}

/* Where members may not go on by themselves they must say so, and the documented way out must work. */
static void ask_operator(const char *why)
{
    bool few = too_few_are_left(), order = few;
    if (!few && !operators_case())
        violate("liveness", "%s", why);
    else if (!operator_told())
        violate("alarm", "nobody says whom the election waits for");
    /* An order is for one epoch, and somebody who tries in vain may take the next one just then. */
    for (int i = 0; order && i < 3 && W.violation == NULL; i++) {
        order = order_failover();
        if (order && run_until_whole(90000))
            return;
    }
    if (order)
        violate("liveness", "not whole after three orders to fail over");
    if (W.violation != NULL)
        return;
    last_resort();
    if (!run_until_whole(90000))
        violate("liveness", "not whole 90 s after the last resort");
}

static void become_whole(int64_t ms, const char *otherwise)
{
    if (W.violation == NULL && !run_until_whole(ms) && W.violation == NULL)
        ask_operator(otherwise);
    if (W.violation == NULL)
        check_kept(primary(), UINT64_MAX, "missing at the end from");
}

static void settle(void)
{
    become_whole(90000, "not whole 90 s after healing");
    W.dense = false; /* nothing is asked of its rest but that nothing moves */
    run(20000); /* what the last faults left behind: the members may not have seen it yet */
    become_whole(60000, "whole, and then not any more");
    uint64_t promotions = W.promotions;
    if (W.violation != NULL || W.now <= W.intent_until_ms)
        return;
    run(8000);
    if (W.violation == NULL && (W.promotions != promotions || !whole()))
        violate("liveness", "whole, and then moves without a fault: %s",
                W.promotions != promotions ? "another promotion" : "no longer whole");
}

bool episode(const struct plan *p, bool trace)
{
    begin(p, trace);
    bool early = p->early.rng != 0 && !p->early.off; /* faults from the first moment on */
    if (early) {
        run(p->early_ms);
        strike(&p->early);
        run(p->early.wait_ms);
    }
    W.calm = true;
    if (early)
        heal(); /* whoever has a foreign volume is given an empty one */
    if (!run_until_whole(90000))
        violate("liveness", "no whole cluster after bootstrap");
    W.calm = false;
    disturb(p);
    W.calm = true;
    heal();
    settle();
    if (W.violation != NULL && trace)
        show();
    tally_episode(p);
    return W.violation == NULL;
}
