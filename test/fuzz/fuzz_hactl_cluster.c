/* What hactl reads of a cluster: an object with the parts lease, state, pods, status, cluster, each as
 * the API server or a member would send it. */
#include <json-c/json.h>

#include "fuzz.h"
#include "hactl/cluster.h"
#include "hactl/jget.h"

static void check(const struct cluster_view *v)
{
    REQUIRE(v->n <= CLUSTER_MEMBERS_MAX && v->alarms_n <= CLUSTER_ALARMS_MAX);
    for (size_t i = 0; i < v->n; i++) {
        REQUIRE(v->m[i].name[0] != '\0');
        REQUIRE(cluster_find(v, v->m[i].name) != NULL);
        (void)member_streams(&v->m[i]);
    }
    (void)cluster_primary(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cluster_view v, agent;
    char *text = input_text(data, size);
    struct json_object *o = jparse(text, size);
    struct err e = {0};
    if (json_object_is_type(o, json_type_object)) {
        memset(&v, 0, sizeof(v));
        v.now_s = 1700000000;
        (void)cluster_take_lease(&v, jget(o, "lease", NULL), &e);
        cluster_take_state(&v, jget(o, "state", NULL));
        cluster_take_pods(&v, jget(o, "pods", NULL));
        if (v.n > 0)
            cluster_take_status(&v.m[0], jget(o, "status", NULL));
        cluster_conclude(&v);
        check(&v);
        memset(&agent, 0, sizeof(agent));
        cluster_take_agent(&agent, jget(o, "status", NULL), jget(o, "cluster", NULL));
        cluster_conclude(&agent);
        check(&agent);
    }
    json_object_put(o);
    free(text);
    return 0;
}
