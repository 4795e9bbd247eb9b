/* Record, release and identity: what is accepted is written and read back the same. */
#include "fuzz.h"
#include "kube/record.h"
#include "pg/state.h"

/* Every member keeps a copy in its own file: whatever the Lease said must be readable there. */
static void check_durable(const struct record *r)
{
    struct pg_state s = {.epoch = 1, .volume = 2, .has_record = true, .record = *r}, again = {0};
    struct err e = {0};
    struct buf b;
    buf_init(&b, 65536);
    REQUIRE(pg_state_format(&b, &s, &e));
    REQUIRE(pg_state_parse(&again, buf_str(&b), &e));
    REQUIRE(memcmp(&again.record, r, sizeof(*r)) == 0);
    buf_done(&b);
}

static void check_record(const char *text, size_t size)
{
    struct record r = {0}, again;
    struct err e = {0};
    struct buf b;
    if (!record_decode(text, size, &r, &e))
        return;
    buf_init(&b, RECORD_JSON_MAX * 2);
    REQUIRE(record_encode(&r, &b));
    if (b.len <= RECORD_JSON_MAX) {
        REQUIRE(record_decode(buf_str(&b), b.len, &again, &e));
        REQUIRE(memcmp(&r, &again, sizeof(r)) == 0);
    }
    buf_done(&b);
    check_durable(&r);
}

static void check_release(const char *text, size_t size)
{
    struct release r = {0}, again;
    struct err e = {0};
    struct buf b;
    if (!release_decode(text, size, &r, &e))
        return;
    buf_init(&b, RELEASE_JSON_MAX * 2);
    REQUIRE(release_encode(&r, &b));
    if (b.len <= RELEASE_JSON_MAX) {
        REQUIRE(release_decode(buf_str(&b), b.len, &again, &e));
        REQUIRE(memcmp(&r, &again, sizeof(r)) == 0);
    }
    buf_done(&b);
}

static void check_identity(const char *text)
{
    struct identity id, again;
    char out[IDENTITY_TEXT_SIZE];
    identity_parse(text, &id);
    if (strcmp(id.uid, "?") == 0)
        return;
    REQUIRE(identity_format(&id, out, sizeof(out)));
    identity_parse(out, &again);
    REQUIRE(memcmp(&id, &again, sizeof(id)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    check_record(text, size);
    check_release(text, size);
    check_identity(text);
    free(text);
    return 0;
}
