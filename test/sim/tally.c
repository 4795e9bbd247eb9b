/* What many episodes have covered: counted, kept in a file, told. */
#include <inttypes.h>
#include <stdlib.h>

#include "plan.h"

#define RANGES_MAX 4096
#define CONFIG_SIZE 64

struct range { /* seeds that are in the tally */
    char config[CONFIG_SIZE];
    uint64_t from, to;
};

struct tally T;
static struct range ranges[RANGES_MAX];
static size_t n_ranges;

void tally_turn(const struct decided *before, const struct verdict *d)
{
    T.rule[d->rule]++;
    if (before->facts == d->facts && before->rule == d->rule)
        return;
    uint64_t cell = (d->facts * 0x9E3779B97F4A7C15ull) >> (64 - 18);
    T.seen[cell / 8] |= (uint8_t)(1u << cell % 8);
}

void tally_fault(enum fault_kind k)
{
    T.fault[k]++;
    T.faults++;
    for (int i = 0; i < W.n; i++)
        if (W.m[i].container)
            T.pair[W.m[i].ver.rule][k]++;
}

void tally_episode(const struct plan *p)
{
    T.episodes++;
    T.failed += W.violation != NULL ? 1 : 0;
    T.virtual_ms += (uint64_t)W.now - 100000;
    T.turns += W.turns;
    T.promotions += W.promotions;
    T.acks += W.acks;
    T.members[p->members]++;
    T.mode[p->mode]++;
}

void tally_failure(uint64_t seed, const char *config)
{
    size_t used = strlen(T.failures);
    snprintf(T.failures + used, sizeof T.failures - used, "%s seed %" PRIu64 ": %s %s\n", config, seed,
             W.violation, W.detail);
}

static void add(uint64_t *into, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        into[i] += from[i];
}

void tally_add(struct tally *into, const struct tally *t)
{
    _Static_assert(offsetof(struct tally, seen) % sizeof(uint64_t) == 0, "counters come first");
    add((uint64_t *)(void *)into, (const uint64_t *)(const void *)t, offsetof(struct tally, seen) / sizeof(uint64_t));
    for (size_t i = 0; i < sizeof t->seen; i++)
        into->seen[i] |= t->seen[i];
    size_t used = strlen(into->failures);
    snprintf(into->failures + used, sizeof into->failures - used, "%s", t->failures);
}

bool tally_has(const char *config, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < n_ranges; i++)
        if (strcmp(ranges[i].config, config) == 0 && ranges[i].from <= from && to <= ranges[i].to)
            return true;
    return false;
}

/* Ranges that touch become one. */
void tally_done(const char *config, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < n_ranges;) {
        struct range *r = &ranges[i];
        if (strcmp(r->config, config) != 0 || r->to + 1 < from || to + 1 < r->from) {
            i++;
            continue;
        }
        from = r->from < from ? r->from : from;
        to = r->to > to ? r->to : to;
        *r = ranges[--n_ranges];
    }
    if (n_ranges == RANGES_MAX)
        return; /* examined again after a restart */
    struct range *r = &ranges[n_ranges++];
    snprintf(r->config, sizeof r->config, "%s", config);
    r->from = from;
    r->to = to;
}

/* A failure of the model or of the judge stays in the list after that was mended, and no longer counts. */
void tally_again(struct tally *t, const char *config, bool (*passes)(uint64_t seed, void *ctx), void *ctx)
{
    static char old[FAILURES_SIZE];
    memcpy(old, t->failures, sizeof old);
    t->failures[0] = '\0';
    for (const char *l = old; *l != '\0';) {
        int n = (int)strcspn(l, "\n"), skip = 0;
        size_t used = strlen(t->failures);
        uint64_t seed;
        char of[64];
        bool open = sscanf(l, "%63s seed %" SCNu64 "%n", of, &seed, &skip) == 2 && l[skip] == ':';
        bool mended = open && strcmp(of, config) == 0 && passes(seed, ctx);
        snprintf(t->failures + used, sizeof t->failures - used, "%.*s%s%.*s\n", mended ? skip : n, l,
                 mended ? ", mended" : "", mended ? n - skip : 0, l + skip);
        t->failed -= mended ? 1 : 0;
        l += n + (l[n] == '\n' ? 1 : 0);
    }
}

/* --- the file --------------------------------------------------------------------------------- */

static const char *const plain_names[] = {"episodes", "failed",     "virtual_ms", "turns",
                                          "promotions", "acks",     "faults"};
#define PLAIN (sizeof plain_names / sizeof plain_names[0])

static int rule_of(const char *id)
{
    for (size_t i = 0; i < core_rule_count; i++)
        if (strcmp(core_rules[i].id, id) == 0)
            return (int)i;
    return -1;
}

static int fault_of(const char *name)
{
    for (int i = 0; i < F_COUNT; i++)
        if (strcmp(fault_names[i], name) == 0)
            return i;
    return -1;
}

static bool load_line(struct tally *t, char *line)
{
    char key[32], a[64], b[64];
    uint64_t n, to;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%31s", key) != 1)
        return true;
    if (strcmp(key, "failure") == 0) {
        size_t used = strlen(t->failures);
        snprintf(t->failures + used, sizeof t->failures - used, "%s\n", line + 8);
        return true;
    }
    if (strcmp(key, "core") == 0)
        return sscanf(line, "core %15s", t->core) == 1;
    if (strcmp(key, "seen") == 0) {
        unsigned byte;
        for (size_t i = 0; i < sizeof t->seen && sscanf(line + 5 + 2 * i, "%2x", &byte) == 1; i++)
            t->seen[i] = (uint8_t)byte;
        return true;
    }
    if (strcmp(key, "done") == 0) {
        if (sscanf(line, "done %63s %" SCNu64 "-%" SCNu64, a, &n, &to) != 3)
            return false;
        tally_done(a, n, to);
        return true;
    }
    if (sscanf(line, "pair %63s %63s %" SCNu64, a, b, &n) == 3) {
        if (rule_of(a) >= 0 && fault_of(b) >= 0)
            t->pair[rule_of(a)][fault_of(b)] = n;
        return true;
    }
    if (sscanf(line, "%*s %63s %" SCNu64, a, &n) == 2) {
        if (strcmp(key, "rule") == 0 && rule_of(a) >= 0)
            t->rule[rule_of(a)] = n;
        else if (strcmp(key, "fault") == 0 && fault_of(a) >= 0)
            t->fault[fault_of(a)] = n;
        else if (strcmp(key, "members") == 0 && strtoul(a, NULL, 10) <= N_MAX)
            t->members[strtoul(a, NULL, 10)] = n;
        else if (strcmp(key, "mode") == 0 && strtoul(a, NULL, 10) < 3)
            t->mode[strtoul(a, NULL, 10)] = n;
        return true;
    }
    for (size_t i = 0; i < PLAIN; i++)
        if (strcmp(key, plain_names[i]) == 0 && sscanf(line, "%*s %" SCNu64, &n) == 1) {
            (&t->episodes)[i] = n;
            return true;
        }
    return false;
}

/* A file that is not there is an empty tally; one that is not a tally is refused. */
bool tally_load(const char *path, struct tally *t)
{
    *t = (struct tally){0};
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return true;
    static char line[CELLS / 4 + 64];
    bool good = fgets(line, sizeof line, f) != NULL && strcmp(line, "pghad-sim-tally 1\n") == 0;
    while (good && fgets(line, sizeof line, f) != NULL)
        good = load_line(t, line);
    fclose(f);
    if (!good)
        fprintf(stderr, "%s is not a tally of this simulator: %.60s\n", path, line);
    return good;
}

static void put(FILE *f, const struct tally *t)
{
    fprintf(f, "pghad-sim-tally 1\ncore %s\n", CORE_ID);
    for (size_t i = 0; i < PLAIN; i++)
        fprintf(f, "%s %" PRIu64 "\n", plain_names[i], (&t->episodes)[i]);
    for (int i = 0; i <= N_MAX; i++)
        fprintf(f, "members %d %" PRIu64 "\n", i, t->members[i]);
    for (int i = 0; i < 3; i++)
        fprintf(f, "mode %d %" PRIu64 "\n", i, t->mode[i]);
    for (int i = 0; i < F_COUNT; i++)
        fprintf(f, "fault %s %" PRIu64 "\n", fault_names[i], t->fault[i]);
    for (size_t i = 0; i < core_rule_count; i++)
        fprintf(f, "rule %s %" PRIu64 "\n", core_rules[i].id, t->rule[i]);
    for (size_t i = 0; i < core_rule_count; i++)
        for (int k = 0; k < F_COUNT; k++)
            if (t->pair[i][k] != 0)
                fprintf(f, "pair %s %s %" PRIu64 "\n", core_rules[i].id, fault_names[k], t->pair[i][k]);
    for (size_t i = 0; i < n_ranges; i++)
        fprintf(f, "done %s %" PRIu64 "-%" PRIu64 "\n", ranges[i].config, ranges[i].from, ranges[i].to);
    for (const char *l = t->failures; *l != '\0';) {
        int n = (int)strcspn(l, "\n");
        fprintf(f, "failure %.*s\n", n, l);
        l += n + (l[n] == '\n' ? 1 : 0);
    }
    fprintf(f, "seen ");
    for (size_t i = 0; i < sizeof t->seen; i++)
        fprintf(f, "%02x", t->seen[i]);
    fprintf(f, "\n");
}

bool tally_save(const char *path, const struct tally *t)
{
    char next[4096];
    snprintf(next, sizeof next, "%s.next", path);
    FILE *f = fopen(next, "w");
    if (f == NULL) {
        perror(next);
        return false;
    }
    put(f, t);
    bool good = ferror(f) == 0;
    good = fclose(f) == 0 && good;
    if (!good || rename(next, path) != 0) {
        perror(path);
        return false;
    }
    return true;
}

bool tally_of_this_core(const struct tally *t)
{
    return t->episodes == 0 || strcmp(t->core, CORE_ID) == 0;
}

/* --- the report ------------------------------------------------------------------------------- */

static void report_faults(const struct tally *t)
{
    printf("faults by kind:\n");
    for (int i = 0; i < F_COUNT; i++)
        printf("%16s %12" PRIu64 "%s", fault_names[i], t->fault[i],
               i % 3 == 2 || i + 1 == F_COUNT ? "\n" : "");
}

static void report_rules(const struct tally *t)
{
    size_t reached = 0, pairs = 0;
    printf("rules (turns, kinds of fault that came in it):\n");
    for (size_t i = 0; i < core_rule_count; i++) {
        int kinds = 0;
        for (int k = 0; k < F_COUNT; k++)
            kinds += t->pair[i][k] != 0 ? 1 : 0;
        pairs += (size_t)kinds;
        reached += t->rule[i] != 0 ? 1 : 0;
        printf("%24s %14" PRIu64 " %3d\n", core_rules[i].id, t->rule[i], kinds);
    }
    printf("%zu of %zu rules reached; never: ", reached, core_rule_count);
    for (size_t i = 0; i < core_rule_count; i++)
        if (t->rule[i] == 0)
            printf("%s ", core_rules[i].id);
    printf("%s\n%zu of %zu pairs of rule and fault\n", reached == core_rule_count ? "none" : "", pairs,
           core_rule_count * F_COUNT);
}

void tally_report(const struct tally *t)
{
    static const char *const modes[] = {"async", "sync", "quorum"};
    uint64_t cells = 0;
    for (size_t i = 0; i < sizeof t->seen; i++)
        for (unsigned b = t->seen[i]; b != 0; b &= b - 1)
            cells++;
    report_faults(t);
    report_rules(t);
    printf("at least %" PRIu64 " different sets of facts\nmembers:", cells);
    for (int i = 1; i <= N_MAX; i++)
        printf(" %d in %" PRIu64, i, t->members[i]);
    printf("\nmode:");
    for (int i = 0; i < 3; i++)
        printf(" %s %" PRIu64, modes[i], t->mode[i]);
    printf("\n%" PRIu64 " decisions, %" PRIu64 " promotions, %" PRIu64 " acknowledged commits\n", t->turns,
           t->promotions, t->acks);
    printf("core %s%s\n", t->core[0] != '\0' ? t->core : "not told",
           tally_of_this_core(t) ? "" : ": another one than this tree's " CORE_ID);
    printf("%s", t->failures);
    printf("%" PRIu64 " episodes, %.1f virtual hours, %" PRIu64 " faults, %" PRIu64 " failed\n", t->episodes,
           (double)t->virtual_ms / 3600000.0, t->faults, t->failed);
}
