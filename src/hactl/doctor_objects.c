/* Checks of what stands around the StatefulSet: budgets, autoscalers, nodes. */
#include <string.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

/* --- PodDisruptionBudget --- */

/* An amount or a share of replicas; shares are rounded up, as the disruption controller does.
 * -1 = not given or nonsense. */
static int64_t amount(struct json_object *o, int64_t replicas)
{
    char digits[8];
    int64_t n;

    if (json_object_is_type(o, json_type_int))
        return jint(o, -1);
    const char *text = jtext(o);
    size_t len = strlen(text);
    if (len < 2 || len >= sizeof(digits) || text[len - 1] != '%')
        return -1;
    memcpy(digits, text, len - 1);
    digits[len - 1] = '\0';
    return str_to_i64(digits, 0, 1000, &n) ? (replicas * n + 99) / 100 : -1;
}

static void judge_budget(struct json_object *pdb, int64_t replicas, struct doctor_report *r)
{
    static const char check[] = "disruption-budget";
    const char *name = jtext(jget(pdb, "metadata", "name", NULL));
    int64_t min = amount(jget(pdb, "spec", "minAvailable", NULL), replicas);
    int64_t max = amount(jget(pdb, "spec", "maxUnavailable", NULL), replicas);
    int64_t may = max >= 0 ? max : min >= 0 ? replicas - min : 0;
    struct doctor_row *row;

    if (may <= 0 && replicas > 0) {
        row = doctor_add(r, DOCTOR_ERROR, check, "%s forbids every eviction of %lld replica%s",
                         name, (long long)replicas, replicas == 1 ? "" : "s");
        doctor_why(row, "a drain of the node waits for ever");
        doctor_remedy(row, "spec.maxUnavailable: 1 instead of minAvailable");
    } else if (may > 1 && 2 * (replicas - may) <= replicas) {
        row = doctor_add(r, DOCTOR_WARNING, check,
                         "%s allows %lld of %lld members to be evicted at once", name,
                         (long long)may, (long long)replicas);
        doctor_why(row, "the rest is no majority: writes stop or nobody can be elected");
        doctor_remedy(row, "spec.maxUnavailable: 1");
    } else {
        doctor_add(r, DOCTOR_OK, check, "%s allows %lld of %lld members to be evicted", name,
                   (long long)may, (long long)replicas);
    }
}

void doctor_budget(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "disruption-budget";
    struct json_object *found = NULL;
    struct doctor_row *row;
    size_t n = 0;

    if (!f->own || !doctor_readable(f, r, check, &f->pdbs, "poddisruptionbudgets.policy"))
        return;
    int64_t replicas = jint(jget(f->own->o, "spec", "replicas", NULL), 1);
    for (size_t i = 0; i < doctor_items(f->pdbs.o); i++) {
        struct json_object *pdb = doctor_item(f->pdbs.o, i);
        if (doctor_selects(jget(pdb, "spec", "selector", "matchLabels", NULL),
                           doctor_template_labels(f->own))) {
            found = pdb;
            n++;
        }
    }
    if (n > 1) {
        row = doctor_add(r, DOCTOR_ERROR, check, "%zu budgets select the same pods", n);
        doctor_why(row, "the eviction of such a pod is always refused");
        doctor_remedy(row, "kubectl delete pdb -n %s: all but one", f->ns);
    } else if (n == 1) {
        judge_budget(found, replicas, r);
    } else if (replicas > 1) {
        row = doctor_add(r, DOCTOR_WARNING, check, "no PodDisruptionBudget selects the members");
        doctor_why(row, "a drain may take all members at once");
        doctor_remedy(row, "add k8s/base/poddisruptionbudget.yaml with spec.maxUnavailable: 1");
    } else {
        doctor_add(r, DOCTOR_OK, check, "none, and one replica needs none");
    }
}

/* --- autoscaler --- */

void doctor_autoscaler(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "autoscaler";
    struct doctor_row *row;

    if (!f->own ||
        !doctor_readable(f, r, check, &f->autoscalers, "horizontalpodautoscalers.autoscaling"))
        return;
    for (size_t i = 0; i < doctor_items(f->autoscalers.o); i++) {
        struct json_object *hpa = doctor_item(f->autoscalers.o, i);
        struct json_object *target = jget(hpa, "spec", "scaleTargetRef", NULL);
        const char *name = jtext(jget(hpa, "metadata", "name", NULL));
        if (!str_eq(jtext(jget(target, "kind", NULL)), "StatefulSet") ||
            !str_eq(jtext(jget(target, "name", NULL)), f->own->name))
            continue;
        row = doctor_add(r, DOCTOR_ERROR, check, "%s scales %s", name, f->own->name);
        doctor_why(row, "members come and go with the load, the primary among them");
        doctor_remedy(row, "kubectl delete hpa %s -n %s", name, f->ns);
        return;
    }
    doctor_add(r, DOCTOR_OK, check, "none scales %s", f->own->name);
}

/* --- nodes and zones --- */

static const char *zone_of(struct json_object *nodes, const char *node)
{
    return jtext(
        jget(doctor_named(nodes, node), "metadata", "labels", "topology.kubernetes.io/zone", NULL));
}

struct spread {
    size_t pods, nodes_seen, zones_seen; /* seen: at most 2, which is as good as many */
    const char *node, *zone;             /* the first */
    bool zone_missing;
};

static struct spread spread_of(const struct doctor_facts *f)
{
    struct spread s = {0};

    for (size_t i = 0; i < doctor_items(f->pods.o); i++) {
        const char *node = jtext(jget(doctor_item(f->pods.o, i), "spec", "nodeName", NULL));
        const char *zone = zone_of(f->nodes.o, node);
        if (!*node)
            continue;
        if (s.pods++ == 0) {
            s.node = node;
            s.zone = zone;
            s.nodes_seen = s.zones_seen = 1;
        }
        s.zone_missing = s.zone_missing || !*zone;
        if (!str_eq(node, s.node))
            s.nodes_seen = 2;
        if (!str_eq(zone, s.zone))
            s.zones_seen = 2;
    }
    return s;
}

void doctor_placement(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char check[] = "placement";
    struct doctor_row *row;

    if (!doctor_readable(f, r, check, &f->pods, "pods"))
        return;
    struct spread s = spread_of(f);
    if (s.pods < 2) {
        row = doctor_add(r, s.pods == 1 ? DOCTOR_OK : DOCTOR_UNKNOWN, check,
                         s.pods == 1 ? "one member" : "no member is on a node");
        if (s.pods == 0)
            doctor_remedy(row, "kubectl get pods -n %s -l app.kubernetes.io/instance=%s", f->ns,
                          f->cluster);
    } else if (s.nodes_seen == 1) {
        row = doctor_add(r, DOCTOR_WARNING, check, "all %zu members are on node %s", s.pods,
                         s.node);
        doctor_why(row, "the end of one node is the end of the database");
        doctor_remedy(row, "podAntiAffinity on kubernetes.io/hostname "
                           "(k8s/components/anti-affinity)");
    } else if (!doctor_readable(f, r, check, &f->nodes, "nodes")) {
        return;
    } else if (s.zone_missing) {
        row = doctor_add(r, DOCTOR_UNKNOWN, check, "several nodes; they do not tell their zone");
        doctor_remedy(row, "kubectl get nodes -L topology.kubernetes.io/zone");
    } else if (s.zones_seen == 1) {
        row = doctor_add(r, DOCTOR_WARNING, check, "all %zu members are in zone %s", s.pods,
                         s.zone);
        doctor_why(row, "the end of one zone is the end of the database");
        doctor_remedy(row, "topologySpreadConstraints on topology.kubernetes.io/zone");
    } else {
        doctor_add(r, DOCTOR_OK, check, "several nodes and zones");
    }
}
