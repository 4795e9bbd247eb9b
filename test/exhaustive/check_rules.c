/* Every combination of facts through the rule table: total, no dead rule, no unsafe effect.
 *
 * Facts come in groups of which exactly one bit is set (Lease, server, data directory, writer) and
 * single bits. All single bits together would be 2^29 sets for each of the 448 group states; a rule
 * looks at few of them, so for each group state the bits that no rule mentions there are left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

static const uint64_t lease[] = {FACT(LEASE_UNKNOWN), FACT(LEASE_ABSENT),   FACT(LEASE_MINE),
                                 FACT(LEASE_MY_POD),  FACT(LEASE_OTHER),    FACT(LEASE_RELEASED),
                                 FACT(LEASE_EMPTY)};
static const uint64_t server[] = {FACT(PG_DOWN), FACT(PG_MOVING), FACT(PG_STANDBY),
                                  FACT(PG_PRIMARY)};
static const uint64_t data[] = {FACT(DATA_GOOD), FACT(DATA_NONE), FACT(DATA_BAD),
                                FACT(DATA_UNKNOWN)};
static const uint64_t writer[] = {0, FACT(WRITER_ME), FACT(WRITER_OTHER), FACT(WRITER_DISPUTED)};

static uint64_t groups;
static uint64_t hits[128];
static uint64_t sets, unsafe;

static size_t match(uint64_t f)
{
    for (size_t i = 0; i < core_rule_count; i++) {
        const struct rule *r = &core_rules[i];
        if ((f & r->all) == r->all && (r->any == 0 || (f & r->any) != 0) && (f & r->none) == 0)
            return i;
    }
    return core_rule_count;
}

static void complain(const char *what, size_t rule, uint64_t f)
{
    if (unsafe++ > 20)
        return;
    printf("UNSAFE %s: rule %s with", what, core_rules[rule].id);
    for (int i = 0; i < FACT_COUNT; i++)
        if ((f >> i & 1) != 0)
            printf(" %s", fact_name((enum fact_bit)i));
    printf("\n");
}

static bool has(uint64_t f, uint64_t all)
{
    return (f & all) == all;
}

/* Written from the promises, not from the table. */
static void judge(uint64_t f, size_t i)
{
    const struct rule *r = &core_rules[i];
    uint32_t e = r->effects;
    if (has(f, FACT(WRITABLE) | FACT(DEPOSED)) && (e & EFF_FENCE) == 0)
        complain("a deposed writer is not fenced", i, f);
    if (has(f, FACT(WRITABLE)) && (f & FACT(RIGHT)) == 0 && (e & EFF_FENCE) == 0)
        complain("a lapsed writer is not fenced", i, f);
    if ((e & EFF_PROMOTE) != 0 &&
        !has(f, FACT(LEASE_MINE) | FACT(WRITER_ME) | FACT(RIGHT) | FACT(BUDGET) |
                    FACT(PREPARED) | FACT(NEW_TIMELINE) | FACT(PG_STANDBY) | FACT(DATA_GOOD) |
                    FACT(ACCOUNTED)))
        complain("promotion without right, proof or preparation", i, f);
    if (((e & EFF_PROMOTE) != 0 || r->write == WRITE_WRITER) && (f & FACT(WAL_UNREAD)) != 0)
        complain("becomes writer without own WAL", i, f);
    if ((e & EFF_OPEN) != 0 && (f & FACT(PG_PRIMARY)) != 0 &&
        ((f & FACT(RIGHT)) == 0 || (f & FACT(WRITER_ME)) == 0 ||
         (f & (FACT(ADMITTED) | FACT(ADMISSIBLE))) == 0))
        complain("clients admitted by a primary without right or confirmation", i, f);
    if (r->write == WRITE_WRITER &&
        (!has(f, FACT(LEASE_MINE) | FACT(FROZEN) | FACT(RIGHT)) ||
         (!has(f, FACT(SUFFICIENT) | FACT(GREATEST)) && (f & FACT(BYPASS)) == 0)))
        complain("second compare-and-swap without sufficient reports", i, f);
    if ((f & FACT(WRITER_DISPUTED)) != 0 &&
        (e & (EFF_PROMOTE | EFF_REWIND | EFF_CLONE | EFF_FOLLOW | EFF_INITDB)) != 0 &&
        (f & (FACT(LEASE_UNKNOWN) | FACT(CLUSTER_NEW))) == 0)
        complain("acts on a writer that was never made one", i, f);
    if (r->write == WRITE_WRITER && (f & (FACT(WRITER_OTHER) | FACT(WRITER_DISPUTED))) != 0)
        complain("a second writer in one epoch", i, f);
    if (r->write == WRITE_RELEASE && (f & FACT(WRITABLE)) != 0)
        complain("released while postgres may be writable", i, f);
    if (r->write == WRITE_ACQUIRE && (f & FACT(WRITABLE)) != 0 && (f & FACT(LEASE_MINE)) == 0)
        complain("acquisition while postgres may be writable", i, f);
    if ((e & EFF_REWIND) != 0 && ((f & FACT(LAST_COPY_SAFE)) == 0 || (f & FACT(REPAIRABLE)) == 0 || (f & FACT(LEASE_OTHER)) == 0 ||
                                  (f & FACT(WRITER_OTHER)) == 0))
        complain("rewind of what may be the last copy", i, f);
    if ((e & (EFF_CLONE | EFF_REWIND)) != 0 &&
        (f & (FACT(LEASE_MINE) | FACT(WRITER_ME) | FACT(WRITABLE) | FACT(DATA_BAD))) != 0)
        complain("the writer's or a foreign directory replaced", i, f);
    if ((e & EFF_INITDB) != 0 &&
        !has(f, FACT(CLUSTER_NEW) | FACT(LEASE_MINE) | FACT(DATA_NONE) | FACT(RIGHT)))
        complain("initdb in an existing cluster", i, f);
    if ((e & EFF_FOLLOW) != 0 && !has(f, FACT(LEASE_OTHER) | FACT(WRITER_OTHER)) &&
        (!has(f, FACT(LEASE_UNKNOWN) | FACT(BLIND_WRITER)) || (f & FACT(WRITABLE)) != 0) &&
        (!has(f, FACT(LEASE_MINE) | FACT(FETCH) | FACT(SUFFICIENT)) || (f & FACT(WRITER_ME)) != 0))
        complain("streams from nobody who is known to be entitled", i, f);
    if ((e & EFF_DETACH) != 0 && (f & FACT(WRITABLE)) != 0 && (f & FACT(LEASE_MINE)) == 0)
        complain("a writer detaches", i, f);
    if ((f & (FACT(DATA_BAD) | FACT(DATA_UNKNOWN))) != 0 &&
        (e & (EFF_PG_START | EFF_PROMOTE | EFF_INITDB | EFF_CLONE | EFF_REWIND)) != 0)
        complain("a foreign or unseen data directory is used", i, f);
}

/* Single bits that any rule that can still match this group state looks at. */
static uint64_t relevant(uint64_t group)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < core_rule_count; i++) {
        const struct rule *r = &core_rules[i];
        bool possible = (r->all & groups & ~group) == 0 && (r->none & group) == 0;
        bool settled = (r->any & groups) != 0 && (r->any & ~groups) == 0 &&
                       (r->any & group) == 0;
        if (possible && !settled)
            bits |= (r->all | r->any | r->none) & ~groups;
    }
    return bits;
}

static void enumerate(uint64_t group)
{
    uint64_t bits = relevant(group), sub = 0;
    do {
        uint64_t f = group | sub;
        size_t i = match(f);
        if (i == core_rule_count) {
            printf("no rule matches\n");
            exit(1);
        }
        hits[i]++;
        sets++;
        judge(f, i);
        sub = (sub - bits) & bits;
    } while (sub != 0);
}

int main(void)
{
    size_t dead = 0;
    for (size_t i = 0; i < sizeof lease / sizeof lease[0]; i++)
        groups |= lease[i];
    for (size_t i = 0; i < 4; i++)
        groups |= server[i] | data[i];
    groups |= FACT(WRITER_ME) | FACT(WRITER_OTHER) | FACT(WRITER_DISPUTED);
    for (size_t a = 0; a < sizeof lease / sizeof lease[0]; a++)
        for (size_t b = 0; b < 4; b++)
            for (size_t c = 0; c < 4; c++)
                for (size_t d = 0; d < 4; d++)
                    enumerate(lease[a] | server[b] | data[c] | writer[d]);
    for (size_t i = 0; i < core_rule_count; i++) {
        if (hits[i] == 0) {
            printf("dead rule: %s\n", core_rules[i].id);
            dead++;
        }
    }
    printf("%zu rules, %d facts, %llu combinations: %zu dead, %llu unsafe\n", core_rule_count,
           FACT_COUNT, (unsigned long long)sets, dead, (unsigned long long)unsafe);
    return dead == 0 && unsafe == 0 ? 0 : 1;
}
