/* Reduces a failing episode to few faults: leaves out, shortens and simplifies as long as the same
 * promise is broken. What happens beside the faults depends on chance, so each smaller plan is tried
 * with several salts before it is given up. */
#include "plan.h"

#define SALTS 24

static const char *broken; /* the promise, as violate() names it */
static uint64_t runs;

static bool still(struct plan *p)
{
    uint64_t salt = p->salt;
    for (uint64_t i = 0; i < SALTS; i++) {
        p->salt = (salt + i) % SALTS;
        runs++;
        if (!episode(p, false) && strcmp(W.violation, broken) == 0)
            return true;
    }
    p->salt = salt;
    return false;
}

static bool try(struct plan *p, const struct plan *smaller)
{
    struct plan q = *smaller;
    if (!still(&q))
        return false;
    *p = q;
    return true;
}

/* What was left out gives its time to the step before, so that the others keep their moments. */
static bool without(struct plan *p, int from, int n)
{
    struct plan q = *p;
    int64_t *wait = from > 0 ? &q.step[from - 1].wait_ms : &q.first_ms;
    for (int i = from; i < from + n; i++)
        *wait += q.step[i].wait_ms;
    for (int i = from; i + n < q.n; i++)
        q.step[i] = q.step[i + n];
    q.n -= n;
    return try(p, &q);
}

static bool fewer(struct plan *p)
{
    bool any = false;
    for (int n = p->n; n > 0; n /= 2)
        for (int from = p->n - n; from >= 0; from = from - n < 0 && from > 0 ? 0 : from - n)
            if (from + n <= p->n && without(p, from, n))
                any = true;
    return any;
}

static bool shorter(struct plan *p)
{
    bool any = false;
    for (int i = -1; i < p->n; i++)
        for (int part = 8; part >= 2; part /= 2) {
            struct plan q = *p;
            int64_t *wait = i < 0 ? &q.first_ms : &q.step[i].wait_ms;
            if (*wait < 100)
                break;
            *wait /= part;
            if (try(p, &q)) {
                any = true;
                break;
            }
        }
    return any;
}

static bool simpler(struct plan *p)
{
    bool any = false;
    for (int what = 0; what < 8; what++) {
        struct plan q = *p;
        switch (what) {
        case 0: q.early = (struct step){0}; break;
        case 1: q.dense = false; break;
        case 2: q.plain = true; break;
        case 3: q.modes = false; break;
        case 4: q.grows = false; break;
        case 5: q.mode = REPL_QUORUM; break;
        case 6: q.k = 1; break;
        case 7: q.members -= q.members > 1 ? 1 : 0; break;
        }
        if (memcmp(&q, p, sizeof q) != 0 && try(p, &q))
            any = true;
    }
    return any;
}

static void tell(const struct plan *p, int before)
{
    static const char *const modes[] = {"async", "sync", "quorum"};
    printf("%d faults of %d are left, salt %" PRIu64 ", found in %" PRIu64 " runs\n"
           "%d members%s, %s%s, k %d%s%s\n", p->n, before, p->salt, runs, p->members,
           p->grows ? " (two more may join)" : "", modes[p->mode], p->strict ? ", strict" : "", p->k,
           p->plain ? ", clocks in step" : "", p->dense ? ", dense" : "");
    if (p->early.rng != 0)
        printf("%8" PRId64 " ms after the start: %s\n", p->early_ms, fault_names[p->early.kind]);
    int64_t at = p->first_ms;
    for (int i = 0; i < p->n; i++) {
        printf("%8" PRId64 " ms: %s\n", at, fault_names[p->step[i].kind]);
        at += p->step[i].wait_ms;
    }
    printf("%8" PRId64 " ms: healed\n", at);
}

bool shrink(struct plan *p)
{
    if (episode(p, false))
        return false;
    broken = W.violation;
    int before = p->n + (p->early.rng != 0 ? 1 : 0);
    for (bool again = true; again;) {
        again = fewer(p);
        again = simpler(p) || again;
        again = shorter(p) || again;
    }
    printf("%s: ", broken);
    tell(p, before);
    episode(p, true);
    return true;
}
