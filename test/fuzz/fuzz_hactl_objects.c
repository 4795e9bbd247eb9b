/* What doctor and rollout read of a namespace: an object with the lists and objects as the API server would
 * send them (statefulsets, services, pdbs, ...), the settings (file), a member's /status and one
 * StatefulSet (set). Whatever stands where an object should be is a row, never a crash. */
#include <json-c/json.h>

#include "fuzz.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"
#include "hactl/rollout.h"

static struct doctor_object part(struct json_object *o, const char *key)
{
    struct json_object *p = jget(o, key, NULL);
    return (struct doctor_object){.read = p ? DOCTOR_READ : DOCTOR_ABSENT, .o = json_object_get(p)};
}

static void take(void *arg, const char *name, const char *key)
{
    size_t *n = arg;
    REQUIRE(name != NULL && key != NULL);
    ++*n;
}

static void doctor(struct json_object *o)
{
    static struct doctor_facts f;
    static struct doctor_report r;
    size_t secrets = 0;
    f = (struct doctor_facts){.cluster = "pg", .ns = "db",
        .state = part(o, "state"), .statefulsets = part(o, "statefulsets"),
        .services = part(o, "services"), .pdbs = part(o, "pdbs"),
        .autoscalers = part(o, "autoscalers"), .pods = part(o, "pods"), .nodes = part(o, "nodes"),
        .bindings = part(o, "bindings"), .roles = part(o, "roles"),
        .cluster_bindings = part(o, "cluster_bindings"),
        .cluster_roles = json_object_get(jget(o, "cluster_roles", NULL)),
        .secrets = json_object_new_object()};
    r.n = 0;
    doctor_find_sets(&f);
    REQUIRE(f.sets <= DOCTOR_SETS_MAX);
    for (size_t i = 0; i < f.sets; i++) {
        if (doctor_settings_name(&f.set[i])[0] != '\0')
            f.set[i].file = part(o, "file");
        doctor_take_settings(&f, &f.set[i]);
    }
    doctor_choose_own(&f);
    doctor_access_from_roles(&f);
    doctor_each_secret(&f, take, &secrets);
    if (doctor_clock_read(jget(o, "status", NULL), 1700000000000000, 1700000000004000, &f.clock[0]))
        f.clocks = 1;
    doctor_run(&f, &r);
    REQUIRE(r.n > 0 && r.n <= DOCTOR_ROWS_MAX);
    for (size_t i = 0; i < r.n; i++)
        REQUIRE(r.row[i].status <= DOCTOR_UNKNOWN && r.row[i].what[0] != '\0');
    doctor_facts_done(&f);
}

static void rollout(struct json_object *o)
{
    static struct cluster_view v;
    static struct rollout_set set;
    struct rollout_how how = {.w = 1, .unwell_first = true};
    struct rollout_text text;
    struct rollout_step step;
    struct err e = {0};
    memset(&v, 0, sizeof(v));
    cluster_take_state(&v, jget(o, "state", NULL));
    cluster_take_pods(&v, jget(o, "pods", NULL));
    cluster_conclude(&v);
    if (!rollout_take_set(&set, jget(o, "set", NULL), NULL, &e)) {
        REQUIRE(e.kind == ERR_INVALID);
        return;
    }
    json_object_put(rollout_strategy_patch(&set));
    json_object_put(rollout_restore_patch(&set));
    json_object_put(rollout_template_patch(&set, "image:2", NULL));
    memset(&text, 0, sizeof(text));
    bool allowed = rollout_allowed(&set, &v, false, true, &text);
    REQUIRE(allowed || text.why[0] != '\0');
    rollout_next(&set, &v, &how, &step);
    REQUIRE(step.act != ROLLOUT_REPLACE || (step.m != NULL && rollout_outdated(&set, step.m)));
    REQUIRE(step.act != ROLLOUT_SWITCH || (step.m != NULL && !rollout_outdated(&set, step.m)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    struct json_object *o = jparse(text, size);
    if (json_object_is_type(o, json_type_object)) {
        doctor(o);
        rollout(o);
    }
    json_object_put(o);
    free(text);
    return 0;
}
