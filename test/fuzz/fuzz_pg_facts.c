/* Rows of walsenders and slots as the probe reads them, and titles of processes. */
#include "fuzz.h"
#include "pg/facts.h"
#include "pg/proctree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pg_facts f;
    struct input in = {data, size};
    struct err e = {0};
    uint8_t how = input_byte(&in);
    char *text = input_text(in.p, in.n);
    memset(&f, 0, sizeof(f));
    if (how % 3 == 0 && pg_facts_parse_senders(&f, text, &e)) {
        uint64_t volumes[] = {1, 2};
        REQUIRE(f.n_senders <= PG_SENDERS_MAX);
        for (uint8_t i = 0; i < f.n_senders; i++) {
            const struct pg_sender *s = &f.sender[i];
            if (s->volume == 0)
                continue;
            const struct pg_sender *found = pg_facts_sender(&f, s->volume);
            REQUIRE(found != NULL && found->volume == s->volume);
            REQUIRE(found->flush_lsn <= s->flush_lsn);
        }
        REQUIRE(pg_facts_flushed(&f, 0, volumes, 2) <= 2);
    } else if (how % 3 == 1 && pg_facts_parse_slots(&f, text, &e)) {
        REQUIRE(f.n_slots <= PG_SLOTS_MAX);
        for (uint8_t i = 0; i < f.n_slots; i++)
            REQUIRE(f.slot[i].volume == 0 || pg_facts_slot(&f, f.slot[i].volume) != NULL);
    } else {
        char *cluster = strchr(text, '\n');
        if (cluster != NULL)
            *cluster++ = '\0';
        REQUIRE(pg_proctree_kind(text, cluster != NULL ? cluster : "") < PG_CHILD_KINDS);
    }
    free(text);
    return 0;
}
