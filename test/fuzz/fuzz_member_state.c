/* The durable state of a member: a damaged file is refused, an accepted one is written back alike.
 * Each text is tried as it is, and with the sum that belongs to it. */
#include <inttypes.h>

#include "fuzz.h"
#include "pg/state.h"

static void check(const char *text)
{
    struct pg_state s = {0}, again = {0};
    struct err e = {0};
    if (pg_state_parse(&s, text, &e)) {
        struct buf b;
        buf_init(&b, 65536);
        REQUIRE(pg_state_format(&b, &s, &e));
        REQUIRE(pg_state_parse(&again, buf_str(&b), &e));
        REQUIRE(s.epoch == again.epoch && s.volume == again.volume);
        REQUIRE(s.system_id == again.system_id && s.has_record == again.has_record);
        if (s.has_record)
            REQUIRE(memcmp(&s.record, &again.record, sizeof(s.record)) == 0);
        buf_done(&b);
    } else {
        REQUIRE(e.kind != ERR_NONE);
    }
}

/* FNV-1a, as written in the file. */
static uint64_t sum_of(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size), *sum = strstr(text, "sum=");
    check(text);
    if (sum != NULL)
        *sum = '\0';
    char *whole = malloc(strlen(text) + 32);
    REQUIRE(whole != NULL);
    (void)snprintf(whole, strlen(text) + 32, "%ssum=%016" PRIx64 "\n", text, sum_of(text));
    check(whole);
    free(whole);
    free(text);
    return 0;
}
