/* Intents, their results and lines of the history. */
#include "fuzz.h"
#include "kube/intent.h"

static void check_intent(const char *text, size_t size)
{
    struct intent in = {0}, again = {0};
    struct err e = {0};
    struct buf b;
    if (!intent_decode(text, size, &in, &e))
        return;
    buf_init(&b, INTENT_JSON_MAX);
    if (intent_encode(&in, &b)) {
        REQUIRE(intent_decode(buf_str(&b), b.len, &again, &e));
        REQUIRE(memcmp(&in, &again, sizeof(in)) == 0);
    }
    struct intent_result r;
    intent_result_init(&r, &in);
    REQUIRE(!intent_open(&in, &r, in.epoch, in.expires_s)); /* not begun by then: it is dead */
    buf_done(&b);
}

static void check_result(const char *text, size_t size)
{
    struct intent_result r = {0}, again = {0};
    struct err e = {0};
    struct buf b;
    if (!intent_result_decode(text, size, &r, &e))
        return;
    buf_init(&b, INTENT_JSON_MAX);
    if (intent_result_encode(&r, &b)) {
        REQUIRE(intent_result_decode(buf_str(&b), b.len, &again, &e));
        REQUIRE(memcmp(&r, &again, sizeof(r)) == 0);
    }
    buf_done(&b);
}

static void check_history(const char *text, size_t size)
{
    struct history_entry h = {0}, again = {0};
    struct err e = {0};
    struct buf b;
    if (!history_decode(text, size, &h, &e))
        return;
    buf_init(&b, INTENT_JSON_MAX);
    if (history_encode(&h, &b)) {
        REQUIRE(history_decode(buf_str(&b), b.len, &again, &e));
        REQUIRE(memcmp(&h, &again, sizeof(h)) == 0);
    }
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    check_intent(text, size);
    check_result(text, size);
    check_history(text, size);
    free(text);
    return 0;
}
