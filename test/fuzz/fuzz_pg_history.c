/* Timeline histories: two texts, cut at a byte 1, of the timelines that the first two bytes name. */
#include "fuzz.h"
#include "pg/history.h"

static void check(const struct pg_history *h)
{
    REQUIRE(h->n <= PG_HISTORY_MAX);
    for (uint8_t i = 0; i < h->n; i++) {
        REQUIRE(h->branch[i].timeline < h->timeline);
        REQUIRE(i == 0 || h->branch[i - 1].timeline < h->branch[i].timeline);
        REQUIRE(pg_history_end_of(h, h->branch[i].timeline) == h->branch[i].end);
        uint32_t tl = pg_history_timeline_of(h, h->branch[i].end);
        REQUIRE(tl == 0 ? h->dropped_end != 0 : pg_history_contains(h, tl, h->branch[i].end));
    }
    REQUIRE(pg_history_end_of(h, h->timeline) == UINT64_MAX);
    struct position self = pg_history_fork(h, h);
    REQUIRE(self.timeline == h->timeline && self.lsn == UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct pg_history a, b;
    struct err e = {0};
    uint32_t first = input_byte(&in), second = input_byte(&in);
    char *text = input_text(in.p, in.n), *cut = strchr(text, 1);
    if (cut != NULL)
        *cut++ = '\0';
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    bool has_a = pg_history_parse(&a, first, text, &e);
    bool has_b = pg_history_parse(&b, second, cut != NULL ? cut : "", &e);
    if (has_a)
        check(&a);
    if (has_b)
        check(&b);
    if (has_a && has_b) {
        struct position f = pg_history_fork(&a, &b), g = pg_history_fork(&b, &a);
        REQUIRE(f.timeline == g.timeline && f.lsn == g.lsn);
    }
    free(text);
    return 0;
}
