/* Checks of the Services, and of where those lead that the members lead themselves. */
#include <string.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

struct json_object *doctor_named(struct json_object *list, const char *name)
{
    for (size_t i = 0; i < doctor_items(list); i++) {
        struct json_object *o = doctor_item(list, i);
        if (str_eq(jtext(jget(o, "metadata", "name", NULL)), name))
            return o;
    }
    return NULL;
}

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

/* The members themselves lead the Service for writers, where it has no selector. */
static bool is_led(const struct doctor_set *s, struct json_object *svc, const char *name)
{
    struct json_object *selector = jget(svc, "spec", "selector", NULL);
    bool none = !selector || json_object_object_length(selector) == 0;

    for (size_t i = 0; none && s->cfg_ok && i < s->cfg.cluster.services.n; i++)
        if (str_eq(name, s->cfg.cluster.services.v[i]))
            return true;
    return false;
}

static bool judge_service(const struct doctor_facts *f, struct json_object *svc, const char *name,
                          const struct service_rule *rule, struct doctor_report *r)
{
    const struct doctor_set *s = f->own;
    const char *label = s->cfg_ok ? s->cfg.cluster.role_label : "role";
    struct json_object *selector = jget(svc, "spec", "selector", NULL);
    struct json_object *role = jget(selector, label, NULL);
    struct doctor_row *row;
    bool led = is_led(s, svc, name);

    if (!led && !selects_members(s, selector, label)) {
        row = doctor_add(r, DOCTOR_ERROR, "services", "%s does not select the pods of %s", name,
                         s->name);
        doctor_why(row, "clients find nobody, or somebody else");
        doctor_remedy(row, "spec.selector: the labels of spec.template.metadata.labels%s%s%s%s",
                      *rule->role ? " and " : "", *rule->role ? label : "", *rule->role ? ": " : "",
                      rule->role);
        return false;
    }
    if (!led && !str_eq(jtext(role), rule->role)) {
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
    struct json_object *svc = doctor_named(f->services.o, name);
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

static bool judge_named(const struct doctor_facts *f, const char *name, const struct service_rule *rule,
                        struct doctor_report *r)
{
    struct json_object *svc = doctor_named(f->services.o, name);
    struct doctor_row *row;

    if (!svc) {
        row = doctor_add(r, DOCTOR_WARNING, "services", "Service %s does not exist", name);
        doctor_why(row, "clients have no stable name for this role");
        doctor_remedy(row, "add it as in k8s/base/services.yaml");
        return false;
    }
    bool good = judge_service(f, svc, name, rule, r);
    if (!str_eq(rule->suffix, "-rw") || is_led(f->own, svc, name) ||
        jbool(jget(svc, "spec", "publishNotReadyAddresses", NULL), false))
        return good;
    row = doctor_add(r, DOCTOR_WARNING, "services", "%s waits for readiness", name);
    doctor_why(row, "kubelet's next probe adds seconds to every change of the primary");
    doctor_remedy(row, "spec.publishNotReadyAddresses: true; the role label alone decides");
    return false;
}

void doctor_services(const struct doctor_facts *f, struct doctor_report *r)
{
    const struct doctor_set *s = f->own;
    bool good = true;
    char name[80];

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
        if (!str_format(name, sizeof(name), "%s%s", f->cluster, rules[i].suffix))
            return;
        good = judge_named(f, name, &rules[i], r) && good;
    }
    (void)str_format(name, sizeof(name), "%s-rw", f->cluster);
    for (size_t i = 0; s->cfg_ok && i < s->cfg.cluster.services.n; i++) {
        const char *further = s->cfg.cluster.services.v[i];
        if (!str_eq(further, name))
            good = judge_named(f, further, &rules[0], r) && good;
    }
    good = judge_headless(f, r) && good;
    if (good)
        doctor_add(r, DOCTOR_OK, "services", "%s-rw, -ro, -r and %s lead to the right members",
                   f->cluster, jtext(jget(s->o, "spec", "serviceName", NULL)));
}

/* --- EndpointSlices --- */

static bool is_of(struct json_object *slice, const char *service)
{
    return str_eq(jtext(jget(slice, "metadata", "labels", "kubernetes.io/service-name", NULL)), service);
}

/* Any but the one that the members write; led: they do. */
static bool name_foreign(const struct doctor_facts *f, const char *service, bool led, struct doctor_report *r)
{
    static const char controller[] = "endpointslice-controller.k8s.io";

    for (size_t i = 0; i < doctor_items(f->slices.o); i++) {
        struct json_object *slice = doctor_item(f->slices.o, i);
        const char *name = jtext(jget(slice, "metadata", "name", NULL));
        const char *manager = jtext(jget(slice, "metadata", "labels", "endpointslice.kubernetes.io/managed-by", NULL));
        bool right = led ? str_eq(name, service) : str_eq(manager, controller);
        if (right || !is_of(slice, service) || doctor_length(jget(slice, "endpoints", NULL)) == 0)
            continue;
        struct doctor_row *row = doctor_add(r, DOCTOR_ERROR, "slices",
                                            "the EndpointSlice %s leads %s as well", name, service);
        doctor_why(row, "a part of the clients is led by nobody; left from a change of the Service's selector");
        doctor_remedy(row, "kubectl -n %s delete --ignore-not-found endpoints/%s endpointslices/%s", f->ns, service,
                      name);
        return true;
    }
    return false;
}

static const char *primary_of(const struct doctor_facts *f)
{
    const char *label = f->own->cfg.cluster.role_label, *role = f->own->cfg.cluster.role_primary;

    for (size_t i = 0; i < doctor_items(f->pods.o); i++) {
        struct json_object *pod = doctor_item(f->pods.o, i);
        if (str_eq(jtext(jget(pod, "metadata", "labels", label, NULL)), role))
            return jtext(jget(pod, "metadata", "name", NULL));
    }
    return "";
}

static bool judge_slice(const struct doctor_facts *f, const char *service, struct doctor_report *r)
{
    struct json_object *slice = doctor_named(f->slices.o, service);
    struct json_object *list = jget(slice, "endpoints", NULL);
    struct json_object *to = doctor_length(list) > 0 ? json_object_array_get_idx(list, 0) : NULL;
    const char *name = jtext(jget(to, "targetRef", "name", NULL)), *primary = primary_of(f);

    if (name_foreign(f, service, true, r))
        return false;
    if (!*primary || str_eq(name, primary))
        return true; /* without a primary there is nowhere to lead to */
    struct doctor_row *row = doctor_add(r, DOCTOR_WARNING, "slices", "%s leads %s%s, the primary is %s", service,
                                        to ? "to " : "nowhere", *name ? name : to ? "no pod" : "", primary);
    doctor_why(row, "clients that write find nobody");
    doctor_remedy(row, "log event endpoint-failed of %s; Role: endpointslices list, create, and update and "
                       "services get with resourceNames [%s]", primary, service);
    return false;
}

void doctor_slices(const struct doctor_facts *f, struct doctor_report *r)
{
    const struct doctor_set *s = f->own;
    const char *led = "";
    bool good = true;

    for (size_t i = 0; s && s->cfg_ok && i < s->cfg.cluster.services.n; i++) {
        const char *name = s->cfg.cluster.services.v[i];
        struct json_object *svc = doctor_named(f->services.o, name);
        if (!svc)
            continue;
        if (!doctor_readable(f, r, "slices", &f->slices, "endpointslices"))
            return;
        if (is_led(s, svc, name)) {
            good = judge_slice(f, name, r) && good;
            led = name;
        } else {
            good = !name_foreign(f, name, false, r) && good;
        }
    }
    if (good && *led)
        doctor_add(r, DOCTOR_OK, "slices", "%s leads to the primary alone", led);
}
