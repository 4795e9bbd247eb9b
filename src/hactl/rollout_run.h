/* One run of rollout: cmd_rollout.c does and follows, rollout_tell.c tells. What is next is policy and
 * stands in rollout.c. */
#ifndef PGHAD_HACTL_ROLLOUT_RUN_H
#define PGHAD_HACTL_ROLLOUT_RUN_H

#include <json-c/json.h>

#include "hactl/cluster.h"
#include "hactl/rollout.h"
#include "hactl/session.h"

struct rollout {
    struct session *s;
    const char *image; /* NULL = as it is */
    bool restart, force, people;
    struct rollout_set set;
    struct cluster_view v;
    struct rollout_step step;
    char old_image[256]; /* what the pods that are not replaced run */
    struct rollout_how how;
    int64_t begun_ms, stage_ms; /* of the whole; of what is waited for now */
    int64_t cannot_run_ms;      /* seen since */
    int64_t refused_ms;         /* the switchover, for the first time; 0 = not */
    char current[HA_NAME_SIZE]; /* the member that is being replaced, "" = none */
    struct json_object *steps;  /* done, for -o json */
    int replaced;
    int32_t write_gap_ms; /* sum of the switchovers; -1 = not measured */
    char said[720];
};

/* "12.3 s" in dst, which is returned. */
const char *rollout_seconds(char *dst, size_t size, int64_t ms);
/* Names of the pods with the old template, all of the set with all, in the order of replacement. */
void rollout_pending_text(const struct rollout *r, bool all, char *dst, size_t size);
/* Before anything is changed: the set, the images, the order. */
void rollout_say_plan(struct rollout *r, bool all, bool dry);
/* Adds to the steps done; the object stays theirs. */
struct json_object *rollout_add_step(struct rollout *r, const char *action, const char *member,
                                     int64_t ms);
/* The document of -o json and yaml; nothing for people. */
void rollout_show(struct rollout *r, const char *state, bool all, const char *message);
/* What holds now and what to do, whatever ended it. Returns code. */
int rollout_stop(struct rollout *r, const char *state, int code, const char *why);

#endif
