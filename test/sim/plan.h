/* Plans of episodes, and the tally of many. */
#ifndef PGHAD_TEST_SIM_PLAN_H
#define PGHAD_TEST_SIM_PLAN_H

#include "world.h"

/* The core that this program examines: a hash of its sources, given by the build. */
#ifndef CORE_ID
#define CORE_ID "unnamed"
#endif

#define STEPS_MAX 100
#define CELLS (1u << 18)
#define FAILURES_SIZE 8192

struct options {
    bool mix; /* members, mode, k and strict are drawn from the seed */
    int members;
    enum repl_mode mode;
    uint8_t k;
    bool strict, trace, coverage;
};

struct step { /* a fault, and the time until the next one */
    enum fault_kind kind;
    uint64_t rng; /* draws whom it hits and how; 0 = there is none */
    int64_t wait_ms;
    bool off;
};

struct plan {
    uint64_t seed, salt;
    int members;
    enum repl_mode mode;
    uint8_t k;
    bool strict, grows, modes;
    int64_t silence_ms; /* of a strict primary, before it is succeeded inside its lease; 0 = never */
    bool dense; /* nothing is skipped, see steps.c */
    bool plain; /* clocks in step, a network that loses nothing of itself */
    struct step early;
    int64_t early_ms, first_ms;
    int n;
    struct step step[STEPS_MAX];
};

/* episode.c */
void plan_draw(struct plan *p, uint64_t seed, const struct options *o);
bool episode(const struct plan *p, bool trace); /* false: W.violation and W.detail say what */

/* operator.c: what is left to people */
bool operators_case(void); /* a vote that nobody but the lost Lease could do without is gone for good */
bool too_few_are_left(void);
bool operator_told(void);
bool order_failover(void); /* to the member with the most data, loss of data accepted; false: to none */
void last_resort(void);    /* the procedure of that name in docs/runbooks/no-primary.md */

/* shrink.c: the smallest plan found that violates the same; false when the episode passes */
bool shrink(struct plan *p);

/* tally.c: what many episodes have covered. Kept in a file, so that a long run can be resumed. */
struct tally {
    uint64_t episodes, failed, virtual_ms, turns, promotions, acks, faults;
    uint64_t members[N_MAX + 1], mode[3];
    uint64_t fault[F_COUNT];
    uint64_t rule[RULES_MAX];          /* turns */
    uint64_t pair[RULES_MAX][F_COUNT]; /* a fault came while a member was in that rule */
    uint8_t seen[CELLS / 8];           /* sets of facts, by hash */
    char failures[FAILURES_SIZE];      /* lines */
    char core[16];                     /* whose episodes these are; empty = of this core, or not told */
};
extern struct tally T;

void tally_episode(const struct plan *p);
void tally_failure(uint64_t seed, const char *config);
/* Takes what failed and passes now out of the count, and marks it in the list. */
void tally_again(struct tally *t, const char *config, bool (*passes)(uint64_t seed, void *ctx), void *ctx);
void tally_add(struct tally *into, const struct tally *t);
bool tally_load(const char *path, struct tally *t);
bool tally_save(const char *path, const struct tally *t);
bool tally_of_this_core(const struct tally *t);
void tally_report(const struct tally *t);
bool tally_has(const char *config, uint64_t from, uint64_t to); /* these seeds are in it */
void tally_done(const char *config, uint64_t from, uint64_t to);

#endif
