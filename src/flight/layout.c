/* Walks the description; derives spans, the hash and the essence of a turn from it. */
#include "flight/layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "fields.h"

#define FNV_BASIS 14695981039346656037ull
#define FNV_PRIME 1099511628211ull

struct walk {
    void (*fn)(void *ctx, const struct leaf *l);
    void *ctx;
};

/* The units are in the names. Settings are durations, and each change of one counts. */
static enum leaf_class class_of(const char *path)
{
    static const char *const silent[] = {
        "view.lv.get_pending", "view.lv.write_seq",   "memo.right_seq", "memo.last_rule",
        "memo.has_pending",    "view.pg.looked_ms",   "view.now_ms",    "memo.last_turn_ms",
        "verdict.wake_at_ms",  "view.lv.write_done_ms",
    };
    if (str_starts(path, "view.set."))
        return LEAF_LOUD;
    /* What the next memo is shows in the next turn; the open write shows in the Lease. */
    if (str_starts(path, "verdict.memo.") || str_starts(path, "memo.pending.") ||
        str_starts(path, "verdict.write.want."))
        return LEAF_SILENT;
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++)
        if (str_eq(path, silent[i]))
            return LEAF_SILENT;
    if (str_ends(path, "_ms") || str_ends(path, "lsn"))
        return LEAF_AGE;
    return LEAF_LOUD;
}

static void walk_fields(const struct walk *w, const char *path, uint32_t base,
                        const struct field *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (uint16_t k = 0; k < f[i].count; k++) {
            struct leaf l = {.offset = base + f[i].offset + (uint32_t)k * f[i].size,
                             .size = f[i].size,
                             .kind = (uint8_t)f[i].kind};
            const char *dot = path[0] != '\0' ? "." : "";
            must(f[i].count > 1 ? str_format(l.path, sizeof l.path, "%s%s%s.%u", path, dot,
                                             f[i].name, (unsigned)k)
                                : str_format(l.path, sizeof l.path, "%s%s%s", path, dot, f[i].name));
            if (f[i].sub != NULL) {
                walk_fields(w, l.path, l.offset, f[i].sub, f[i].n_sub);
                continue;
            }
            l.class = (uint8_t)class_of(l.path);
            w->fn(w->ctx, &l);
        }
    }
}

void flight_walk(void (*fn)(void *ctx, const struct leaf *l), void *ctx)
{
    struct walk w = {fn, ctx};
    size_t n;
    const struct field *f = flight_fields(&n);
    walk_fields(&w, "", 0, f, n);
}

static uint64_t fnv(uint64_t h, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * FNV_PRIME;
    return h;
}

static void hash_leaf(void *ctx, const struct leaf *l)
{
    uint64_t *h = ctx;
    *h = fnv(*h, l->path, strlen(l->path) + 1);
    *h = fnv(*h, &l->offset, sizeof l->offset);
    *h = fnv(*h, &l->size, sizeof l->size);
    *h = fnv(*h, &l->kind, sizeof l->kind);
}

/* The words of rules and facts belong to it: their numbers are in every turn. */
uint64_t flight_layout_hash(void)
{
    uint64_t h = FNV_BASIS;
    size_t size = sizeof(struct flight_turn);
    h = fnv(h, &size, sizeof size);
    flight_walk(hash_leaf, &h);
    for (size_t i = 0; i < core_rule_count; i++)
        h = fnv(h, core_rules[i].id, strlen(core_rules[i].id) + 1);
    for (unsigned i = 0; i < FACT_COUNT; i++)
        h = fnv(h, fact_name((enum fact_bit)i), strlen(fact_name((enum fact_bit)i)) + 1);
    return h;
}

uint64_t flight_policy_hash(void)
{
    uint64_t h = FNV_BASIS;
    for (size_t i = 0; i < core_rule_count; i++) {
        const struct rule *r = &core_rules[i];
        h = fnv(h, r->id, strlen(r->id) + 1);
        h = fnv(h, &r->all, sizeof r->all);
        h = fnv(h, &r->any, sizeof r->any);
        h = fnv(h, &r->none, sizeof r->none);
        h = fnv(h, &r->effects, sizeof r->effects);
        h = fnv(h, &r->write, sizeof r->write);
    }
    return h;
}

/* Grown by one; a span that continues the last one becomes part of it. */
static void add_span(struct span **v, size_t *n, const struct leaf *l, bool join)
{
    struct span *last = *n > 0 ? &(*v)[*n - 1] : NULL;
    if (join && last != NULL && last->offset + last->size == l->offset) {
        last->size += l->size;
        return;
    }
    if ((*n & (*n - 1)) == 0) { /* a power of two: full */
        *v = realloc(*v, (*n == 0 ? 1 : *n * 2) * sizeof **v);
        must(*v != NULL);
    }
    (*v)[(*n)++] = (struct span){l->offset, l->size};
}

static void span_leaf(void *ctx, const struct leaf *l)
{
    struct flight_spans *s = ctx;
    add_span(&s->copy, &s->n_copy, l, true);
    if (l->class == LEAF_LOUD)
        add_span(&s->loud, &s->n_loud, l, true);
    else if (l->class == LEAF_AGE)
        add_span(&s->age, &s->n_age, l, false);
}

void flight_spans_init(struct flight_spans *s)
{
    *s = (struct flight_spans){0};
    flight_walk(span_leaf, s);
}

void flight_spans_done(struct flight_spans *s)
{
    free(s->copy);
    free(s->loud);
    free(s->age);
    *s = (struct flight_spans){0};
}

static void copy_spans(const struct span *v, size_t n, void *dst, const void *src)
{
    for (size_t i = 0; i < n; i++)
        memcpy((char *)dst + v[i].offset, (const char *)src + v[i].offset, v[i].size);
}

void flight_clean(const struct flight_spans *s, struct flight_turn *t)
{
    uint32_t at = 0;
    for (size_t i = 0; i < s->n_copy; i++) {
        memset((char *)t + at, 0, s->copy[i].offset - at);
        at = s->copy[i].offset + s->copy[i].size;
    }
    memset((char *)t + at, 0, sizeof *t - at);
}

#define QUESTION_MS 1000

/* Each second members ask one another, and a primary its volume: a question that is out is no silence yet. */
static void without_questions(struct flight_turn *t, const struct flight_turn *src)
{
    const struct view *v = &src->view;
    if (v->now_ms - v->pg.storage_since_ms < QUESTION_MS)
        t->view.pg.storage_since_ms = 0;
    if (src->verdict.writer_silent_ms < QUESTION_MS)
        t->verdict.writer_silent_ms = 0;
    for (size_t i = 0; i < HA_MEMBERS_MAX; i++) {
        if (v->now_ms - v->peer[i].silent_since_ms < QUESTION_MS)
            t->view.peer[i].silent_since_ms = 0;
        if (v->peer[i].state.writer_silent_ms < QUESTION_MS)
            t->view.peer[i].state.writer_silent_ms = 0;
    }
}

/* A holder renews every second or two: begun and done are the same to a reader. */
static void without_pulse(struct flight_turn *t, const struct flight_turn *src)
{
    struct lease_view *lv = &t->view.lv;
    without_questions(t, src);
    if (lv->write == WRITE_RENEW && lv->outcome == OUTCOME_PENDING)
        lv->outcome = OUTCOME_OK;
    t->verdict.facts &= ~FACT(BUSY);
    t->verdict.effects &= ~(uint32_t)(EFF_LEASE_GET | EFF_PEERS);
    if (t->verdict.write.kind == WRITE_RENEW || t->verdict.write.kind == WRITE_NONE) {
        t->verdict.write.kind = WRITE_NONE;
        t->verdict.effects &= ~(uint32_t)EFF_LEASE_WRITE;
    }
}

void flight_essence(const struct flight_spans *s, struct flight_turn *dst,
                    const struct flight_turn *src)
{
    memset(dst, 0, sizeof *dst);
    copy_spans(s->loud, s->n_loud, dst, src);
    for (size_t i = 0; i < s->n_age; i++) {
        const char *from = (const char *)src + s->age[i].offset;
        bool set = false;
        for (uint32_t k = 0; k < s->age[i].size; k++)
            set = set || from[k] != 0;
        ((char *)dst)[s->age[i].offset] = (char)set;
    }
    without_pulse(dst, src);
}
