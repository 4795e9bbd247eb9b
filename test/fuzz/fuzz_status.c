/* The Status object of a failed request: becomes a message, a reason and a kind. */
#include "../../src/kube/internal.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int codes[] = {0, 200, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503, 504};
    struct input in = {data, size};
    struct http_result h = {0};
    struct err e = {0};
    char reason[64];
    h.status = codes[input_below(&in, sizeof(codes) / sizeof(codes[0]))];
    buf_init(&h.body, KUBE_BODY_MAX);
    (void)buf_put(&h.body, in.p, in.n);
    kube_explain(&h, reason, sizeof(reason), &e);
    REQUIRE(memchr(reason, '\0', sizeof(reason)) != NULL);
    for (const char *p = e.msg; *p != '\0'; p++) /* it goes into a line of the log */
        REQUIRE((unsigned char)*p >= ' ');
    buf_done(&h.body);
    return 0;
}
