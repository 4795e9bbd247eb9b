/* May the members' account do what the members do? */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

#define LEASES "coordination.k8s.io", "leases"
#define SLICES "discovery.k8s.io", "endpointslices"
#define NOT_LED "a Service for writers without a selector leads nowhere"

const struct doctor_need doctor_needs[DOCTOR_NEEDS] = {
    {"get", LEASES, NEED_LEASE, NULL},
    {"list", LEASES, NEED_LEASE, NULL},
    {"watch", LEASES, NEED_LEASE, NULL},
    {"update", LEASES, NEED_LEASE, NULL},
    {"create", LEASES, NEED_ANY, NULL},
    {"list", "", "pods", NEED_ANY, NULL},
    {"watch", "", "pods", NEED_ANY, NULL},
    {"patch", "", "pods", NEED_ANY, NULL},
    {"get", "", "configmaps", NEED_STATE, NULL},
    {"list", "", "configmaps", NEED_STATE, NULL},
    {"watch", "", "configmaps", NEED_STATE, NULL},
    {"update", "", "configmaps", NEED_STATE, NULL},
    {"patch", "", "configmaps", NEED_STATE, NULL},
    {"create", "", "configmaps", NEED_ANY, NULL},
    {"get", "", "services", NEED_SERVICE, NOT_LED},
    {"list", SLICES, NEED_ANY, NOT_LED},
    {"update", SLICES, NEED_SERVICE, NOT_LED},
    {"create", SLICES, NEED_ANY, NOT_LED},
    {"create", "events.k8s.io", "events", NEED_ANY, "what happens is not told in Events"},
};

const char *doctor_account(const struct doctor_facts *f)
{
    const char *name = "";

    if (f->own)
        name = jtext(jget(doctor_pod_spec(f->own), "serviceAccountName", NULL));
    return *name ? name : "default";
}

void doctor_need_name(const struct doctor_facts *f, const struct doctor_need *n, char *dst,
                      size_t size)
{
    static const char *const suffixes[] = {"", "", "-state", "-rw"};
    const struct config_list *services = f->own && f->own->cfg_ok ? &f->own->cfg.cluster.services : NULL;
    bool ok;

    if (n->name == NEED_SERVICE && services && services->n > 0)
        ok = str_copy(dst, size, services->v[0]);
    else
        ok = n->name != NEED_ANY && str_format(dst, size, "%s%s", f->cluster, suffixes[n->name]);
    if (!ok)
        dst[0] = '\0';
}

static bool holds(struct json_object *list, const char *word)
{
    for (size_t i = 0; i < doctor_length(list); i++) {
        const char *s = jtext(json_object_array_get_idx(list, i));
        if (str_eq(s, word) || str_eq(s, "*"))
            return true;
    }
    return false;
}

/* resourceNames knows no "*": an empty list means every name. */
static bool rule_names(struct json_object *list, const char *name)
{
    if (doctor_length(list) == 0)
        return true;
    for (size_t i = 0; *name && i < doctor_length(list); i++) {
        if (str_eq(jtext(json_object_array_get_idx(list, i)), name))
            return true;
    }
    return false;
}

static bool rules_allow(struct json_object *rules, const struct doctor_need *n, const char *name)
{
    for (size_t i = 0; i < doctor_length(rules); i++) {
        struct json_object *rule = json_object_array_get_idx(rules, i);
        if (holds(jget(rule, "verbs", NULL), n->verb) &&
            holds(jget(rule, "apiGroups", NULL), n->group) &&
            holds(jget(rule, "resources", NULL), n->resource) &&
            rule_names(jget(rule, "resourceNames", NULL), name))
            return true;
    }
    return false;
}

bool doctor_binds_account(const struct doctor_facts *f, struct json_object *binding)
{
    struct json_object *subjects = jget(binding, "subjects", NULL);
    char user[160], group[96];

    if (!str_format(user, sizeof(user), "system:serviceaccount:%s:%s", f->ns, doctor_account(f)) ||
        !str_format(group, sizeof(group), "system:serviceaccounts:%s", f->ns))
        return false;
    for (size_t i = 0; i < doctor_length(subjects); i++) {
        struct json_object *s = json_object_array_get_idx(subjects, i);
        const char *kind = jtext(jget(s, "kind", NULL)), *name = jtext(jget(s, "name", NULL));
        if (str_eq(kind, "ServiceAccount") && str_eq(name, doctor_account(f)) &&
            str_eq(jtext(jget(s, "namespace", NULL)), f->ns))
            return true;
        if (str_eq(kind, "User") && str_eq(name, user))
            return true;
        if (str_eq(kind, "Group") &&
            (str_eq(name, group) || str_eq(name, "system:serviceaccounts") ||
             str_eq(name, "system:authenticated")))
            return true;
    }
    return false;
}

/* Rules of the Role or ClusterRole that a binding names; *seen = false when it was not read. */
static struct json_object *bound_rules(const struct doctor_facts *f, struct json_object *binding,
                                       bool *seen)
{
    const char *name = jtext(jget(binding, "roleRef", "name", NULL));

    if (str_eq(jtext(jget(binding, "roleRef", "kind", NULL)), "ClusterRole")) {
        struct json_object *role = jget(f->cluster_roles, name, NULL);
        *seen = *seen && role;
        return jget(role, "rules", NULL);
    }
    for (size_t i = 0; i < doctor_items(f->roles.o); i++) {
        struct json_object *role = doctor_item(f->roles.o, i);
        if (str_eq(jtext(jget(role, "metadata", "name", NULL)), name))
            return jget(role, "rules", NULL);
    }
    return NULL;
}

static void add_bindings(struct doctor_facts *f, struct json_object *list, bool *seen)
{
    for (size_t i = 0; i < doctor_items(list); i++) {
        struct json_object *b = doctor_item(list, i);
        if (!doctor_binds_account(f, b))
            continue;
        struct json_object *rules = bound_rules(f, b, seen);
        for (size_t k = 0; k < DOCTOR_NEEDS; k++) {
            char name[80];
            doctor_need_name(f, &doctor_needs[k], name, sizeof(name));
            if (rules_allow(rules, &doctor_needs[k], name))
                f->allowed[k] = TRI_YES;
        }
    }
}

void doctor_access_from_roles(struct doctor_facts *f)
{
    bool seen = f->cluster_bindings.read == DOCTOR_READ;

    if (!f->own || f->bindings.read != DOCTOR_READ || f->roles.read != DOCTOR_READ)
        return;
    for (size_t k = 0; k < DOCTOR_NEEDS; k++)
        f->allowed[k] = TRI_NO;
    add_bindings(f, f->bindings.o, &seen);
    add_bindings(f, f->cluster_bindings.o, &seen);
    f->how = seen ? HOW_ROLES : HOW_SOME_ROLES;
}

static void say_missing(const struct doctor_facts *f, size_t k, struct doctor_report *r)
{
    const struct doctor_need *n = &doctor_needs[k];
    bool sure = f->how != HOW_SOME_ROLES;
    struct doctor_row *row;
    char name[80];

    doctor_need_name(f, n, name, sizeof(name));
    row = doctor_add(r, sure && !n->without ? DOCTOR_ERROR : DOCTOR_WARNING, "access",
                     "%s may not %s %s%s%s%s", doctor_account(f), n->verb, n->resource,
                     *name ? "/" : "", name,
                     sure ? "" : " by what can be read of the Roles");
    doctor_why(row, n->without ? n->without : "members cannot hold the lock, tell their role or take orders");
    doctor_remedy(row, "Role: apiGroups [\"%s\"], resources [%s], verbs [%s]%s%s%s", n->group,
                  n->resource, n->verb, *name ? ", resourceNames [" : "", name, *name ? "]" : "");
}

void doctor_access(const struct doctor_facts *f, struct doctor_report *r)
{
    struct doctor_row *row;
    bool good = true;

    if (!f->own)
        return;
    if (f->how == HOW_NONE) {
        row = doctor_add(r, DOCTOR_UNKNOWN, "access", "your account may not ask what %s may",
                         doctor_account(f));
        doctor_remedy(row, "kubectl auth can-i --list -n %s --as system:serviceaccount:%s:%s",
                      f->ns, f->ns, doctor_account(f));
        return;
    }
    for (size_t k = 0; k < DOCTOR_NEEDS; k++) {
        if (f->allowed[k] == TRI_YES)
            continue;
        good = false;
        if (f->allowed[k] == TRI_NO)
            say_missing(f, k, r);
        else
            doctor_add(r, DOCTOR_UNKNOWN, "access", "no answer whether %s may %s %s",
                       doctor_account(f), doctor_needs[k].verb, doctor_needs[k].resource);
    }
    if (good)
        doctor_add(r, DOCTOR_OK, "access", "%s may do what the members do", doctor_account(f));
}
