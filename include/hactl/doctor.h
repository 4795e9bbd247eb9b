/* Preflight checks of a cluster. Pure: each check judges objects as the API server gave them and
 * adds rows to a report; only cmd_doctor.c makes requests, and those only read.
 *
 * An object that is missing, of another type or nonsense is a row, never a crash: what is judged
 * here was written by people. */
#ifndef PGHAD_HACTL_DOCTOR_H
#define PGHAD_HACTL_DOCTOR_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "core/types.h"

enum doctor_status { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_ERROR, DOCTOR_UNKNOWN };

#define DOCTOR_ROWS_MAX 96
#define DOCTOR_SETS_MAX 8     /* StatefulSets of pghad in one namespace that are looked at */
#define DOCTOR_SAMPLES_MAX 16 /* latency */
#define DOCTOR_CLOCKS_MAX 16  /* members */

struct doctor_row {
    enum doctor_status status;
    const char *check; /* stable name, static */
    char what[240], why[240], remedy[280]; /* cut where too long: they are only shown */
};

struct doctor_report {
    size_t n;
    struct doctor_row row[DOCTOR_ROWS_MAX];
};

enum doctor_read {
    DOCTOR_NOT_ASKED,
    DOCTOR_READ,
    DOCTOR_ABSENT, /* 404 */
    DOCTOR_DENIED, /* the account of hactl may not read it */
    DOCTOR_FAILED,
};

/* One answer of the API server. */
struct doctor_object {
    enum doctor_read read;
    struct json_object *o; /* owned by the facts; NULL unless DOCTOR_READ */
};

/* A StatefulSet that runs pghad. */
struct doctor_set {
    struct json_object *o; /* borrowed from the list */
    const char *name;      /* borrowed from o */
    struct doctor_object file; /* the ConfigMap with pghad.yaml; NOT_ASKED = none is mounted */
    struct config cfg;     /* in force as far as it can be told; defaults where it cannot */
    bool cfg_ok;
    struct err fault;      /* when not cfg_ok */
    char lease[64];        /* name of the Lease that its members take */
};

/* What the members' account must be allowed: the rules of k8s/base/rbac.yaml. */
struct doctor_need {
    const char *verb, *group, *resource;
    enum { NEED_ANY, NEED_LEASE, NEED_STATE, NEED_SERVICE } name; /* none, the cluster's, its -state, first for writers */
    const char *without; /* what follows, where the database runs without it; else NULL */
};
#define DOCTOR_NEEDS 19
extern const struct doctor_need doctor_needs[DOCTOR_NEEDS];

enum doctor_how { HOW_NONE, HOW_REVIEW, HOW_ROLES, HOW_SOME_ROLES };

struct doctor_clock {
    char name[HA_NAME_SIZE];
    int64_t offset_ms;      /* the member's clock minus this one */
    int64_t uncertainty_ms; /* half of the round trip */
};

struct doctor_facts {
    char cluster[64], ns[64];
    struct doctor_object state, statefulsets, services, slices, pdbs, autoscalers, pods, nodes;
    struct doctor_object bindings, roles, cluster_bindings;
    struct json_object *cluster_roles; /* owned; name -> object, those that bindings name */
    struct json_object *secrets; /* owned; name -> array of keys, null = absent, false = denied */
    struct doctor_set set[DOCTOR_SETS_MAX];
    size_t sets;
    const struct doctor_set *own; /* of this cluster; NULL = none */
    enum tri allowed[DOCTOR_NEEDS];
    enum doctor_how how; /* where allowed comes from */
    int64_t latency_us[DOCTOR_SAMPLES_MAX]; /* of reads of the Lease from here */
    size_t samples, lost;                   /* answered; without answer */
    struct doctor_clock clock[DOCTOR_CLOCKS_MAX];
    size_t clocks;
};

void doctor_facts_done(struct doctor_facts *f);

/* Takes the StatefulSets of pghad out of the list: by label, image, variables or mounted settings,
 * or because one has the name of the cluster. */
void doctor_find_sets(struct doctor_facts *f);
/* Name of the ConfigMap that the set mounts with pghad.yaml; "" = none. Borrowed. */
const char *doctor_settings_name(const struct doctor_set *s);
/* Settings from set->file, the state ConfigMap and the variables of the pod template. */
void doctor_take_settings(struct doctor_facts *f, struct doctor_set *s);
/* After all settings: f->own. */
void doctor_choose_own(struct doctor_facts *f);

/* ServiceAccount of the members; "default" when the template names none. Borrowed. */
const char *doctor_account(const struct doctor_facts *f);
/* Resource name of a need in dst, "" = none. */
void doctor_need_name(const struct doctor_facts *f, const struct doctor_need *n, char *dst,
                      size_t size);
/* A RoleBinding or ClusterRoleBinding names the members' account or a group that it is in. */
bool doctor_binds_account(const struct doctor_facts *f, struct json_object *binding);
/* From Role and ClusterRole objects to f->allowed and f->how. */
void doctor_access_from_roles(struct doctor_facts *f);
/* The Secrets that the own set cannot start without: calls take() for each, key "" = the whole. */
void doctor_each_secret(const struct doctor_facts *f,
                        void (*take)(void *arg, const char *name, const char *key), void *arg);
/* A member's clock from its /status document, asked at sent_us and answered at done_us of ours.
 * False when the document gives no time. */
bool doctor_clock_read(struct json_object *status, int64_t sent_us, int64_t done_us,
                       struct doctor_clock *ret);

typedef void doctor_check(const struct doctor_facts *f, struct doctor_report *r);
doctor_check doctor_statefulset, doctor_settings, doctor_access, doctor_services, doctor_slices, doctor_probes,
    doctor_grace, doctor_budget, doctor_image, doctor_one_lease, doctor_autoscaler,
    doctor_placement, doctor_secrets, doctor_latency, doctor_clocks, doctor_mesh;
/* All of them, in the order in which people should mend. */
void doctor_run(const struct doctor_facts *f, struct doctor_report *r);

size_t doctor_count(const struct doctor_report *r, enum doctor_status s);
const char *doctor_status_text(enum doctor_status s);

/* --- for the checks --- */

/* Of a list, by metadata.name; NULL = none. Borrowed. */
struct json_object *doctor_named(struct json_object *list, const char *name);
/* The row to be filled; the last one is used again when the report is full. */
struct doctor_row *doctor_add(struct doctor_report *r, enum doctor_status s, const char *check,
                              const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void doctor_why(struct doctor_row *row, const char *text);
void doctor_remedy(struct doctor_row *row, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* False after a row that says why the objects could not be read; resource as in kubectl. */
bool doctor_readable(const struct doctor_facts *f, struct doctor_report *r, const char *check,
                     const struct doctor_object *o, const char *resource);
size_t doctor_items(struct json_object *list); /* of .items; 0 for anything else */
struct json_object *doctor_item(struct json_object *list, size_t i);
size_t doctor_length(struct json_object *a); /* 0 unless an array */
/* Every pair of selector stands in labels; an empty or missing selector selects nothing. */
bool doctor_selects(struct json_object *selector, struct json_object *labels);
/* The pod template's spec, and the container that runs pghad (the first unless another is named in
 * kubectl's annotation or is called postgres). */
struct json_object *doctor_pod_spec(const struct doctor_set *s);
struct json_object *doctor_container(const struct doctor_set *s);
struct json_object *doctor_template_labels(const struct doctor_set *s);
/* Literal value of a variable of that container; "" = none. */
const char *doctor_env(const struct doctor_set *s, const char *name);
/* A port by number or by the name that the container gives it; 0 = no such. */
int64_t doctor_port(const struct doctor_set *s, struct json_object *port);
int64_t doctor_rest_port(const struct doctor_set *s);

#endif
