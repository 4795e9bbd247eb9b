/* A rollout, pure part: which member is next, what forbids it, when it is complete. It is decided
 * anew from the cluster each time, from the revision of each pod against the StatefulSet's newest;
 * nothing is stored, so one that was interrupted goes on where it was. */
#ifndef PGHAD_HACTL_ROLLOUT_H
#define PGHAD_HACTL_ROLLOUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "hactl/cluster.h"

/* On the StatefulSet while a rollout goes by role: the updateStrategy that is put back at its end. */
#define ANNOTATION_STRATEGY "pghad.io/rollout-strategy"

struct rollout_set {
    char name[64];
    bool deleting;
    bool on_delete;         /* a new template reaches a pod when it is deleted, and not before */
    char strategy[256];     /* updateStrategy as JSON */
    char put_aside[256];    /* ANNOTATION_STRATEGY, "" = none */
    int64_t replicas;
    int64_t generation, observed; /* of the object; the last one that the controller has seen */
    char revision[72];      /* newest, "" = not known yet */
    char container[64];
    char image[256];
    char stamp[40];         /* ANNOTATION_STAMP in the template, "" = none */
};

/* From the object of the API server. container: NULL = found as cluster_container does. INVALID when
 * there is no such container. */
bool rollout_take_set(struct rollout_set *set, struct json_object *o, const char *container,
                      struct err *e);
/* The StatefulSet of the cluster's pods, that of the holder first; "" = no pod has one. */
const char *rollout_set_name(const struct cluster_view *v);

/* The merge patch that stops the controller from going by number, and the one that puts its strategy
 * back; owned by the caller. */
struct json_object *rollout_strategy_patch(const struct rollout_set *set);
struct json_object *rollout_restore_patch(const struct rollout_set *set);
/* The strategic merge patch with another image, or with another stamp (the other one is NULL). */
struct json_object *rollout_template_patch(const struct rollout_set *set, const char *image,
                                           const char *stamp);

struct rollout_text {
    char why[320];
    char hint[320];
};

/* A running pod that was not made from the newest template. */
bool rollout_outdated(const struct rollout_set *set, const struct member_view *m);
/* The set's pods that are still to be replaced. */
size_t rollout_pending(const struct rollout_set *set, const struct cluster_view *v);
/* A restart was ordered and has not reached every pod: the same order again goes on with it. */
bool rollout_restart_open(const struct rollout_set *set, const struct cluster_view *v);
/* Not streaming, not voting, not ready, ...: why in dst; false when all is well. */
bool rollout_unwell(const struct cluster_view *v, const struct member_view *m, char *dst, size_t size);
/* A member whose pod runs and is to be replaced, but which is unwell; NULL = none. new_template: the
 * template is about to change, so that every pod is to be replaced. */
const struct member_view *rollout_unwell_one(const struct rollout_set *set,
                                             const struct cluster_view *v, bool new_template,
                                             char *why, size_t size);
/* False: refused, nothing may be changed. force skips soft refusals. */
bool rollout_allowed(const struct rollout_set *set, const struct cluster_view *v, bool force,
                     bool new_template, struct rollout_text *ret);

enum rollout_act {
    ROLLOUT_COMPLETE,
    ROLLOUT_WAIT,    /* for m (NULL: for the cluster); text.why says for what */
    ROLLOUT_REPLACE, /* delete the pod of m */
    ROLLOUT_SWITCH,  /* make m primary */
    ROLLOUT_STUCK,   /* nothing that may be done leads on */
};

struct rollout_step {
    enum rollout_act act;
    const struct member_view *m; /* of the view, NULL = none */
    struct rollout_text text;
};

struct rollout_how {
    uint8_t w;         /* copies that a commit had at the beginning: they are waited for */
    bool unwell_first; /* also what runs but is unwell is replaced, before all others */
    bool in_place;     /* a primary that nobody can take over from is replaced all the same */
};

void rollout_next(const struct rollout_set *set, const struct cluster_view *v,
                  const struct rollout_how *how, struct rollout_step *ret);

/* kubelet has given up on starting it, as far as it ever does: a wrong image, a crash at each start. */
bool rollout_cannot_run(const struct member_view *m);

#endif
