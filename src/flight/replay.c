/* decide() over recorded turns. */
#include "flight/replay.h"

#include <string.h>

#include "base/must.h"
#include "flight/text.h"

#define VERDICT_OFFSET offsetof(struct flight_turn, verdict)

static size_t print_differences(FILE *out, const struct flight_leaves *leaves,
                                const struct flight_turn *was, const struct flight_turn *now)
{
    size_t n = 0;
    struct buf b;
    buf_init(&b, 4096);
    for (size_t i = 0; i < leaves->n; i++) {
        const struct leaf *l = &leaves->v[i];
        if (l->offset < VERDICT_OFFSET ||
            memcmp((const char *)was + l->offset, (const char *)now + l->offset, l->size) == 0)
            continue;
        buf_clear(&b);
        bool ok = buf_puts(&b, "recorded \"") && flight_value_put(&b, l, was) &&
                  buf_puts(&b, "\", now \"") && flight_value_put(&b, l, now) && buf_puts(&b, "\"");
        fprintf(out, "    %s: %s\n", l->path, ok ? buf_str(&b) : "?");
        n++;
    }
    buf_done(&b);
    return n;
}

size_t flight_replay(const struct flight *f, FILE *out)
{
    struct flight_leaves leaves;
    struct flight_spans spans;
    struct flight_cursor c;
    size_t differ = 0, at = 0;
    flight_leaves_init(&leaves);
    flight_spans_init(&spans);
    flight_begin(&c, f);
    while (flight_next(&c)) {
        struct flight_turn now = {.view = c.turn.view, .memo = c.turn.memo};
        decide(&now.view, &now.memo, &now.verdict);
        flight_clean(&spans, &now);
        at++;
        if (memcmp(&now.verdict, &c.turn.verdict, sizeof now.verdict) == 0)
            continue;
        differ++;
        fprintf(out, "turn %zu (number %llu of run %llx) differs:\n", at,
                (unsigned long long)c.meta.seq, (unsigned long long)c.meta.run);
        size_t fields = print_differences(out, &leaves, &c.turn, &now);
        must(fields > 0);
    }
    flight_spans_done(&spans);
    flight_leaves_done(&leaves);
    return differ;
}

static bool one_bit(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

size_t flight_near(uint64_t facts, uint32_t fired, struct flight_near *ret, size_t max)
{
    size_t n = 0;
    for (uint32_t i = 0; i < fired && i < core_rule_count && n < max; i++) {
        const struct rule *r = &core_rules[i];
        uint64_t missing = r->all & ~facts, present = r->none & facts;
        bool no_any = r->any != 0 && (r->any & facts) == 0;
        bool something = (r->all & facts) != 0 || (r->any & facts) != 0 || r->none != 0;
        int wrong = (one_bit(missing) ? 1 : missing != 0 ? 2 : 0) +
                    (one_bit(present) ? 1 : present != 0 ? 2 : 0) + (no_any ? 1 : 0);
        if (wrong != 1 || !something)
            continue;
        ret[n++] = (struct flight_near){
            .rule = i, .missing = no_any ? r->any : missing, .present = present};
    }
    return n;
}

/* The Lease carries the duration of its holder, and the deadline was counted with the old fence. */
static void with_settings(struct flight_turn *t, const struct settings *now)
{
    struct settings was = t->view.set;
    struct lease_view *lv = &t->view.lv;
    int32_t was_s = (int32_t)(was.lease_ms / 1000), now_s = (int32_t)(now->lease_ms / 1000);
    t->view.set = *now;
    if (lv->lease.duration_s == was_s)
        lv->lease.duration_s = now_s;
    if (lv->write_duration_s == was_s)
        lv->write_duration_s = now_s;
    if (t->memo.deadline_ms != 0)
        t->memo.deadline_ms += now->fence_ms - was.fence_ms;
}

struct comparison {
    struct flight_stretch s;
    bool open;
    void (*fn)(void *ctx, const struct flight_stretch *s);
    void *ctx;
};

static void compare(struct comparison *k, const struct flight_meta *m, uint32_t recorded,
                    uint32_t other)
{
    bool same_stretch = k->open && recorded == k->s.recorded && other == k->s.other;
    if (k->open && !same_stretch) {
        k->fn(k->ctx, &k->s);
        k->open = false;
    }
    if (recorded == other)
        return;
    if (!k->open)
        k->s = (struct flight_stretch){
            .from_us = m->wall_us, .recorded = recorded, .other = other};
    k->open = true;
    k->s.to_us = m->wall_us;
    k->s.turns++;
}

bool flight_what_if(const struct flight *f, const struct flight_settings *set,
                    void (*fn)(void *ctx, const struct flight_stretch *s), void *ctx, size_t *turns,
                    size_t *differ, struct err *e)
{
    struct comparison k = {.fn = fn, .ctx = ctx};
    struct settings was = {0}, now = {0};
    struct flight_cursor c;
    struct verdict d;
    *turns = *differ = 0;
    flight_begin(&c, f);
    while (flight_next(&c)) {
        if (*turns == 0 || memcmp(&was, &c.turn.view.set, sizeof was) != 0) {
            was = c.turn.view.set;
            if (!set->change(set->ctx, &was, &now, e))
                return false;
        }
        struct flight_turn t = c.turn;
        with_settings(&t, &now);
        decide(&t.view, &t.memo, &d);
        ++*turns;
        *differ += d.rule != c.turn.verdict.rule;
        compare(&k, &c.meta, c.turn.verdict.rule, d.rule);
    }
    if (k.open)
        fn(ctx, &k.s);
    return true;
}
