/* Paths and queries of the REST server: first byte the member asked, then the path, "?" and the
 * parameters, each key=value, separated by "&". */
#include "fuzz.h"
#include "http/render.h"
#include "http/routes.h"
#include "sample_status.h"

static bool add_all(struct route_query *q, char *text)
{
    bool ok = true;
    for (char *p = text; p != NULL && ok;) {
        char *next = strchr(p, '&'), *value;
        if (next != NULL)
            *next++ = '\0';
        value = strchr(p, '=');
        if (value != NULL)
            *value++ = '\0';
        ok = route_query_add(q, p, value);
        p = next;
    }
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct status s;
    static struct route_memory memory;
    struct input in = {data, size};
    uint8_t how = input_byte(&in);
    char *text = input_text(in.p, in.n), *query = strchr(text, '?');
    struct route_query q = {0};
    struct route_time t = {.now_ms = SAMPLE_NOW + how, .stall_ms = 10000};
    if (query != NULL)
        *query++ = '\0';
    (how & 1 ? sample_primary : sample_replica)(&s);
    const struct route *r = route_find(text);
    if (add_all(&q, query) && r != NULL) {
        bool pass = route_passes(r->check, &s, &q, &t, &memory);
        if (r->check == CHECK_PRIMARY && !status_lease_valid(&s, t.now_ms))
            REQUIRE(!pass);
        if (r->check == CHECK_ALWAYS)
            REQUIRE(pass);
    }
    REQUIRE(q.tags_n <= STATUS_TAGS_MAX);
    free(text);
    return 0;
}
