/* The state ConfigMap, and every value in it as the agent reads it. */
#include <json-c/json.h>

#include "../../src/kube/internal.h"
#include "../../src/kube/jx.h"
#include "base/str.h"
#include "config/config.h"
#include "fuzz.h"
#include "kube/intent.h"
#include "kube/record.h"

static void read_values(const struct kube_configmap *m)
{
    struct err e = {0};
    struct record r;
    struct intent in;
    struct intent_result res;
    uint64_t id;
    int64_t epoch;
    const char *s = kube_configmap_get_value(m, "system-id");
    if (s != NULL)
        (void)str_to_hex64(s, &id);
    s = kube_configmap_get_value(m, "epoch");
    if (s != NULL)
        (void)str_to_i64(s, 0, INT32_MAX, &epoch);
    s = kube_configmap_get_value(m, "record");
    if (s != NULL && record_decode(s, strlen(s), &r, &e))
        REQUIRE(r.n <= HA_MEMBERS_MAX);
    s = kube_configmap_get_value(m, "intent");
    if (s != NULL && intent_decode(s, strlen(s), &in, &e))
        REQUIRE(intent_kind_name(in.kind) != NULL);
    s = kube_configmap_get_value(m, "intent-result");
    if (s != NULL && intent_result_decode(s, strlen(s), &res, &e))
        REQUIRE(intent_state_name(res.state) != NULL);
    s = kube_configmap_get_value(m, "config");
    if (s != NULL)
        (void)config_check_cluster_text(s, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_object *o = NULL;
    struct err e = {0};
    char *text = input_text(data, size);
    if (jx_parse(text, size, &o, &e)) {
        struct kube_configmap m = {0}, copy = {0};
        if (kube_configmap_decode(o, &m, &e)) {
            read_values(&m);
            kube_configmap_copy(&copy, &m);
            REQUIRE(strcmp(copy.rv, m.rv) == 0);
        }
        kube_configmap_done(&m);
        kube_configmap_done(&copy);
        json_object_put(o);
    }
    free(text);
    return 0;
}
