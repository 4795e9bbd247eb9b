/* Checks of what stands around the StatefulSet: Services, budgets, autoscalers, nodes. */
#include <string.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

static struct json_object *find_named(struct json_object *list, const char *name)
{
    for (size_t i = 0; i < doctor_items(list); i++) {
        struct json_object *o = doctor_item(list, i);
        if (str_eq(jtext(jget(o, "metadata", "name", NULL)), name))
            return o;
    }
    return NULL;
}

/* --- Services --- */

/* The selector without the role label selects the pods of the template. */
static bool selects_members(const struct doctor_set *s, struct json_object *selector,
                            const char *role_label)
{
    size_t n = 0;

    if (!json_object_is_type(selector, json_type_object))
        return false;
    const struct json_object_iterator end = json_object_iter_end(selector);
    for (struct json_object_iterator it = json_object_iter_begin(selector);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        const char *key = json_object_iter_peek_name(&it);
        struct json_object *have = jget(doctor_template_labels(s), key, NULL);
        if (str_eq(key, role_label))
            continue;
        if (!have || !str_eq(jtext(have), jtext(json_object_iter_peek_value(&it))))
            return false;
        n++;
    }
    return n > 0;
}

static bool leads_to_postgres(const struct doctor_set *s, struct json_object *svc)
{
    struct json_object *ports = jget(svc, "spec", "ports", NULL);
    int64_t want = s->cfg_ok ? s->cfg.postgres.port : 5432;

    for (size_t i = 0; i < doctor_length(ports); i++) {
        struct json_object *p = json_object_array_get_idx(ports, i);
        struct json_object *target = jget(p, "targetPort", NULL);
        if (doctor_port(s, target ? target : jget(p, "port", NULL)) == want)
            return true;
    }
    return false;
}

struct service_rule {
    const char *suffix;
    const char *role; /* "" = any */
    const char *why;
};

static bool judge_service(const struct doctor_facts *f, struct json_object *svc, const char *name,
                          const struct service_rule *rule, struct doctor_report *r)
{
    const struct doctor_set *s = f->own;
    const char *label = s->cfg_ok ? s->cfg.cluster.role_label : "role";
    struct json_object *selector = jget(svc, "spec", "selector", NULL);
    struct json_object *role = jget(selector, label, NULL);
    struct doctor_row *row;

    if (!selects_members(s, selector, label)) {
        row = doctor_add(r, DOCTOR_ERROR, "services", "%s does not select the pods of %s", name,
                         s->name);
        doctor_why(row, "clients find nobody, or somebody else");
        doctor_remedy(row, "spec.selector: the labels of spec.template.metadata.labels%s%s%s%s",
                      *rule->role ? " and " : "", *rule->role ? label : "", *rule->role ? ": " : "",
                      rule->role);
        return false;
    }
    if (!str_eq(jtext(role), rule->role)) {
        row = doctor_add(r, DOCTOR_ERROR, "services", "%s selects %s=%s", name, label,
                         role ? jtext(role) : "(any)");
        doctor_why(row, rule->why);
        if (*rule->role)
            doctor_remedy(row, "spec.selector of %s: %s: %s", name, label, rule->role);
        else
            doctor_remedy(row, "spec.selector of %s: without %s", name, label);
        return false;
    }
    if (!leads_to_postgres(s, svc)) {
        row = doctor_add(r, DOCTOR_ERROR, "services", "no port of %s leads to PostgreSQL's", name);
        doctor_why(row, "connections are refused");
        doctor_remedy(row, "spec.ports: {port: 5432, targetPort: %lld}",
                      (long long)(s->cfg_ok ? s->cfg.postgres.port : 5432));
        return false;
    }
    return true;
}

static bool judge_headless(const struct doctor_facts *f, struct doctor_report *r)
{
    const char *name = jtext(jget(f->own->o, "spec", "serviceName", NULL));
    struct json_object *svc = find_named(f->services.o, name);
    struct doctor_row *row;

    if (!svc) {
        row = doctor_add(r, DOCTOR_WARNING, "services", "spec.serviceName \"%s\" does not exist",
                         name);
        doctor_why(row, "pods have no names in the DNS");
        doctor_remedy(row, "add a headless Service of that name (clusterIP: None)");
        return false;
    }
    if (!str_eq(jtext(jget(svc, "spec", "clusterIP", NULL)), "None") ||
        !jbool(jget(svc, "spec", "publishNotReadyAddresses", NULL), false) ||
        !selects_members(f->own, jget(svc, "spec", "selector", NULL), "")) {
        row = doctor_add(r, DOCTOR_ERROR, "services",
                         "%s is not headless with unready addresses of all members", name);
        doctor_why(row, "a replica clones from members that are not ready yet");
        doctor_remedy(row, "clusterIP: None, publishNotReadyAddresses: true, selector without a "
                           "role");
        return false;
    }
    return true;
}

void doctor_services(const struct doctor_facts *f, struct doctor_report *r)
{
    const struct doctor_set *s = f->own;
    struct doctor_row *row;
    bool good = true;

    if (!s || !doctor_readable(f, r, "services", &f->services, "services"))
        return;
    const struct service_rule rules[] = {
        {"-rw", s->cfg_ok ? s->cfg.cluster.role_primary : "primary",
         "writes go to a replica and fail, or to several members"},
        {"-ro", s->cfg_ok ? s->cfg.cluster.role_replica : "replica",
         "reads go to the primary, or nowhere"},
        {"-r", "", "reads miss a part of the members"},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        char name[80];
        if (!str_format(name, sizeof(name), "%s%s", f->cluster, rules[i].suffix))
            return;
        struct json_object *svc = find_named(f->services.o, name);
        if (!svc) {
            row = doctor_add(r, DOCTOR_WARNING, "services", "Service %s does not exist", name);
            doctor_why(row, "clients have no stable name for this role");
            doctor_remedy(row, "add it as in k8s/base/services.yaml");
            good = false;
            continue;
        }
        good = judge_service(f, svc, name, &rules[i], r) && good;
        if (i == 0 && !jbool(jget(svc, "spec", "publishNotReadyAddresses", NULL), false)) {
            row = doctor_add(r, DOCTOR_WARNING, "services", "%s waits for readiness", name);
            doctor_why(row, "kubelet's next probe adds seconds to every change of the primary");
            doctor_remedy(row, "spec.publishNotReadyAddresses: true; the role label alone decides");
            good = false;
        }
    }
    good = judge_headless(f, r) && good;
    if (good)
        doctor_add(r, DOCTOR_OK, "services", "%s-rw, -ro, -r and %s select the right members",
                   f->cluster, jtext(jget(s->o, "spec", "serviceName", NULL)));
}

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
        jget(find_named(nodes, node), "metadata", "labels", "topology.kubernetes.io/zone", NULL));
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
