/* A Service, an EndpointSlice or a list of them, and what the agent takes from each. */
#include <json-c/json.h>

#include "../../src/kube/internal.h"
#include "../../src/kube/jx.h"
#include "base/str.h"
#include "fuzz.h"
#include "kube/endpoint.h"

static bool ends_within(const char *s, size_t size)
{
    return memchr(s, '\0', size) != NULL;
}

static void service(struct json_object *o)
{
    struct kube_service s = {0};
    struct err e = {0};
    if (kube_service_decode(o, 5432, &s, &e)) {
        struct json_object *was = jx_get(jx_get(o, "spec"), "ports");
        size_t n = json_object_array_length(s.ports);
        REQUIRE(s.exists);
        REQUIRE(n == 0 || n == json_object_array_length(was));
        for (size_t i = 0; i < n; i++) {
            int64_t port = 0;
            REQUIRE(jx_take_int(json_object_array_get_idx(s.ports, i), "port", true, 1, 65535, &port, &e));
        }
    } else {
        REQUIRE(e.kind != ERR_NONE && !s.exists && s.ports == NULL);
    }
    kube_service_done(&s);
}

static void slice(struct json_object *o)
{
    struct kube_slice s = {.n = 7}, first;
    struct err e = {0};
    if (!kube_slice_decode(o, "pg-rw", &s, &e)) {
        REQUIRE(e.kind != ERR_NONE && s.n == 7);
        return;
    }
    REQUIRE(ends_within(s.rv, sizeof(s.rv)) && ends_within(s.family, sizeof(s.family)));
    REQUIRE(ends_within(s.foreign, sizeof(s.foreign)) && !str_eq(s.foreign, "pg-rw"));
    REQUIRE(ends_within(s.to.ip, sizeof(s.to.ip)) && ends_within(s.to.node, sizeof(s.to.node)));
    REQUIRE(ends_within(s.to.pod.s, sizeof(s.to.pod.s)) && ends_within(s.to.uid, sizeof(s.to.uid)));
    REQUIRE(s.exists || s.n == 0);
    REQUIRE(s.n > 0 || s.to.ip[0] == '\0');
    first = s;
    REQUIRE(kube_slice_decode(o, "pg-rw", &s, &e) && memcmp(&first, &s, sizeof(s)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_object *o = NULL;
    struct err e = {0};
    char *text = input_text(data, size);
    if (jx_parse(text, size, &o, &e)) {
        service(o);
        slice(o);
        json_object_put(o);
    }
    free(text);
    return 0;
}
