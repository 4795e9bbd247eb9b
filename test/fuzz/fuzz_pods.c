/* A PodList, and the pods of it one by one. */
#include <json-c/json.h>

#include "../../src/kube/internal.h"
#include "../../src/kube/jx.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_object *o = NULL;
    struct err e = {0};
    char *text = input_text(data, size);
    if (jx_parse(text, size, &o, &e)) {
        struct kube_pods pods = {0};
        struct kube_pod pod = {0};
        uint64_t rejected = 0;
        if (kube_pods_decode(o, "pghad.io/role", &pods, &rejected, &e)) {
            REQUIRE(pods.n <= KUBE_PODS_MAX);
            for (uint8_t i = 1; i < pods.n; i++)
                REQUIRE(strcmp(pods.p[i - 1].name.s, pods.p[i].name.s) < 0);
            if (pods.n > 0) {
                char name[HA_NAME_SIZE], uid[HA_UID_SIZE];
                uint8_t n = pods.n;
                memcpy(name, pods.p[0].name.s, sizeof(name));
                memcpy(uid, pods.p[0].uid, sizeof(uid));
                REQUIRE(kube_pods_remove(&pods, name, uid));
                REQUIRE(pods.n == n - 1);
            }
        }
        kube_pods_done(&pods);
        if (kube_pod_decode(o, "pghad.io/role", &pod, &e))
            REQUIRE(pod.status.len <= KUBE_STATUS_MAX);
        buf_done(&pod.status);
        json_object_put(o);
    }
    free(text);
    return 0;
}
