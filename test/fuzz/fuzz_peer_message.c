/* Requests and states of peers, and the token file. */
#include "fuzz.h"
#include "http/peer.h"

static void check_request(const char *text, size_t size)
{
    struct peer_request q = {0}, again = {0};
    struct err e = {0};
    struct buf b;
    if (!peer_request_decode(text, size, &q, &e))
        return;
    buf_init(&b, PEER_BODY_MAX);
    REQUIRE(peer_request_encode(&q, &b));
    REQUIRE(peer_request_decode(buf_str(&b), b.len, &again, &e));
    REQUIRE(memcmp(&q, &again, sizeof(q)) == 0);
    buf_done(&b);
}

static void check_state(const char *text, size_t size)
{
    struct peer_state s = {0}, again = {0};
    struct err e = {0};
    struct buf b;
    if (!peer_state_decode(text, size, &s, &e))
        return;
    buf_init(&b, PEER_BODY_MAX);
    REQUIRE(peer_state_encode(&s, &b));
    REQUIRE(peer_state_decode(buf_str(&b), b.len, &again, &e));
    REQUIRE(memcmp(&s, &again, sizeof(s)) == 0);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peer_tokens t = {0};
    char *text = input_text(data, size);
    check_request(text, size);
    check_state(text, size);
    if (peer_tokens_parse(&t, text, NULL)) {
        REQUIRE(t.n >= 1 && t.n <= PEER_TOKENS_MAX);
        for (size_t i = 0; i < t.n; i++)
            REQUIRE(strlen(t.t[i]) >= PEER_TOKEN_MIN);
    }
    free(text);
    return 0;
}
