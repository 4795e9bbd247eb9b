/* synchronous_standby_names, as SHOW gives it. What we take for ours is written the same again. */
#include "fuzz.h"
#include "pg/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pg_ssn s, again;
    struct err e = {0};
    struct buf b;
    char *text = input_text(data, size);
    memset(&s, 0, sizeof(s));
    memset(&again, 0, sizeof(again));
    pg_ssn_parse(&s, text);
    if (s.kind == PG_SSN_SET) {
        REQUIRE(s.n >= 1 && s.n <= HA_MEMBERS_MAX && s.w >= 1 && s.w <= s.n);
        buf_init(&b, 4096);
        REQUIRE(pg_ssn_render(&b, &s, &e));
        pg_ssn_parse(&again, buf_str(&b));
        REQUIRE(again.kind == s.kind && again.mode == s.mode && again.w == s.w && again.n == s.n);
        REQUIRE(memcmp(again.volume, s.volume, sizeof(s.volume[0]) * s.n) == 0);
        buf_done(&b);
    }
    free(text);
    return 0;
}
