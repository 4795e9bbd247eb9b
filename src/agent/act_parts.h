/* What the effects on the local server share: act_pg.c, act_sync.c, act_job.c. Each effect is idempotent:
 * it is asked for again every turn until the view shows it. now: BOOTTIME of the turn. */
#ifndef PGHAD_AGENT_ACT_PARTS_H
#define PGHAD_AGENT_ACT_PARTS_H

#include "agent.h"

#define CHECKPOINT_TASK_MS 300000

/* Logs a warning; the same event at most every 5 s. */
void act_trouble(struct agent *a, const char *event, const struct err *e);
/* Writes the generated files and has the server read them if anything differs. */
bool act_apply_conf(struct agent *a, bool *changed);

void act_sync(struct agent *a, const struct ssn *want, int64_t now);
/* Gathers the evidence that what was written is in force. */
void act_sync_prove(struct agent *a, int64_t now);

/* Begins what the verdict wants, or takes note of what has ended. */
void act_job(struct agent *a, const struct verdict *d, int64_t now);

#endif
