/* Simulation of a cluster: the product's core, a model Kubernetes API, a model PostgreSQL, a model
 * network, one seed, virtual time in steps of 5 ms. Each episode injects faults for a while, heals,
 * and demands a primary and full replication, and then that nothing moves any more.
 *
 *   sim --seeds A-B [--members N] [--mode quorum|sync|async] [--strict] [--k K] [--trace]
 *      [--coverage]
 *
 * Checked all the time: at most one server acknowledges; nothing that was acknowledged or could be
 * read is missing from a server that admits clients; no last copy is given up; no timeline number
 * is used twice; nothing is acknowledged after the fence. */
#include <stdarg.h>
#include <stdlib.h>

#include "world.h"

struct world W;

static uint64_t rnd(void)
{
    W.rng ^= W.rng << 13;
    W.rng ^= W.rng >> 7;
    W.rng ^= W.rng << 17;
    return W.rng * 0x2545F4914F6CDD1Dull;
}

int64_t between(int64_t a, int64_t b)
{
    return a + (int64_t)((rnd() >> 11) % (uint64_t)(b - a + 1));
}

bool chance(int percent)
{
    return between(0, 99) < percent;
}

bool chance_in(int n)
{
    return between(1, n) == 1;
}

uint64_t random_id(void)
{
    return rnd() | 1;
}

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

/* Serving, every member streaming and voting, as many confirmations as asked for. */
static bool whole(void)
{
    const struct member *p = primary();
    const struct record *r = &W.lease.record;
    int n = members_now();
    if (p == NULL || p->label != ROLE_PRIMARY || !p->ver->serving || record_votes(r) != n ||
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
        if (!(m->st.on && m->st.rx && m->st.upstream == p->idx) || m->label != ROLE_REPLICA)
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
               " promise %" PRId64 " ssn %d/%d%s%s\n", i, m->container, core_rules[m->ver->rule].id,
               pos_of(m).timeline, m->len, m->durable_epoch, m->st.on && m->st.rx, m->st.upstream,
               (int)m->label, m->set.k, m->ver->memo.promise_until_ms - m->local, (int)m->ssn.kind, m->ssn.w,
               m->proof_lsn != 0 ? " proved" : "", m->set.nofailover ? " nofailover" : "");
    }
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

struct options {
    int members;
    enum repl_mode mode;
    uint8_t k;
    bool strict, trace, coverage;
};

static void begin(uint64_t seed, const struct options *o)
{
    uint64_t hits[RULES_MAX];
    memcpy(hits, W.rule_hits, sizeof hits);
    memset(&W, 0, sizeof W);
    memcpy(W.rule_hits, hits, sizeof hits);
    W.rng = (seed + 1) * 0x9E3779B97F4A7C15ull + 1;
    for (int i = 0; i < 8; i++)
        (void)rnd();
    W.now = 100000;
    W.lively_from_ms = INT64_MAX;
    W.trace = o->trace;
    bool grows = o->members >= 3 && o->members + 2 <= N_MAX && chance(10);
    W.n = o->members + (grows ? 2 : 0);
    settings_default(o->members, o->mode, o->k, o->strict);
    for (int i = 0; i < W.n; i++) {
        struct member *m = &W.m[i];
        m->idx = i;
        m->ver = &m->verdicts[0];
        identify(m);
        m->clock0 = between(1, 1000000);
        m->volume = random_id();
        m->data = DATA_EMPTY;
        m->container_at_ms = i < o->members ? W.now + between(0, 500) : INT64_MAX;
    }
    character();
    heal();
}

static bool episode(uint64_t seed, const struct options *o)
{
    begin(seed, o);
    if (chance(20)) { /* faults from the first moment on */
        run(between(10, 8000));
        fault();
        run(between(10, 3000));
        W.calm = true; /* whoever has a foreign volume is given an empty one */
        heal();
    }
    if (!run_until_whole(90000))
        violate("liveness", "no whole cluster after bootstrap");
    W.lively_from_ms = W.now; /* what the first fault will meet */
    run(between(10, 500));
    W.calm = false;
    int faults = (int)between(1, W.storm > 3 ? 16 : 7);
    for (int f = 0; f < faults && W.violation == NULL; f++) {
        for (int64_t n = chance(30) ? between(2, W.storm) : 1; n > 0; n--)
            fault();
        int64_t ms = between(10, chance(30) ? 15000 : 3000);
        W.lively_from_ms = W.now + ms - 400;
        run(ms);
    }
    W.lively_from_ms = INT64_MAX;
    W.calm = true;
    heal();
    if (W.violation == NULL && !run_until_whole(90000))
        violate("liveness", "not whole 90 s after healing");
    if (W.violation == NULL)
        check_kept(primary(), "missing at the end from");
    run(20000); /* what the last faults left behind */
    if (W.violation == NULL && !run_until_whole(60000))
        violate("liveness", "whole, and then not any more");
    uint64_t promotions = W.promotions;
    if (W.violation == NULL && W.now > W.intent_until_ms) {
        run(8000);
        if (W.violation == NULL && (W.promotions != promotions || !whole()))
            violate("liveness", "whole, and then moves without a fault: %s",
                    W.promotions != promotions ? "another promotion" : "no longer whole");
    }
    if (W.violation != NULL)
        printf("seed %" PRIu64 ": %s %s\n", seed, W.violation, W.detail);
    if (W.violation != NULL && o->trace)
        show();
    fflush(stdout);
    return W.violation == NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: sim --seeds A-B [--members 1-%d] [--mode quorum|sync|async] "
                    "[--strict] [--k K] [--trace] [--coverage]\n", N_MAX);
    return 2;
}

static bool parse(int argc, char **argv, struct options *o, uint64_t *from, uint64_t *to)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--strict") == 0) {
            o->strict = true;
        } else if (strcmp(argv[i], "--trace") == 0) {
            o->trace = true;
        } else if (strcmp(argv[i], "--coverage") == 0) {
            o->coverage = true;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            if (sscanf(next, "%" SCNu64 "-%" SCNu64, from, to) != 2)
                return false;
            i++;
        } else if (strcmp(argv[i], "--members") == 0) {
            o->members = (int)strtol(next, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--k") == 0) {
            o->k = (uint8_t)strtol(next, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--mode") == 0) {
            o->mode = strcmp(next, "async") == 0  ? REPL_ASYNC
                      : strcmp(next, "sync") == 0 ? REPL_SYNC
                                                  : REPL_QUORUM;
            i++;
        } else {
            return false;
        }
    }
    return o->members >= 1 && o->members <= N_MAX && o->k >= 1 && *from <= *to;
}

int main(int argc, char **argv)
{
    uint64_t from = 1, to = 1000;
    struct options o = {.members = 3, .mode = REPL_QUORUM, .k = 1};
    if (!parse(argc, argv, &o, &from, &to))
        return usage();
    uint64_t bad = 0, count = 0, unreached = 0;
    for (uint64_t s = from; s <= to; s++, count++)
        bad += episode(s, &o) ? 0 : 1;
    for (size_t i = 0; i < core_rule_count && o.coverage; i++)
        printf("%12" PRIu64 " turns of %s\n", W.rule_hits[i], core_rules[i].id);
    for (size_t i = 0; i < core_rule_count && count > 1; i++) {
        if (W.rule_hits[i] != 0)
            continue;
        printf("%s%s", unreached++ == 0 ? "rules never reached: " : " ", core_rules[i].id);
    }
    printf("%s%" PRIu64 " episodes, %" PRIu64 " failed\n", unreached > 0 ? "\n" : "", count, bad);
    return bad == 0 ? 0 : 1;
}
