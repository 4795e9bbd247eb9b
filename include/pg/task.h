/* Statements on the local server that are begun now and asked about later.
 *
 * A task object runs one thing at a time on a session of its own; the agent keeps one for
 * CHECKPOINT, which may take long, and one for everything else. */
#ifndef PGHAD_PG_TASK_H
#define PGHAD_PG_TASK_H

#include "core/types.h"
#include "pg/engine.h"
#include "pg/env.h"

enum pg_task_state { PG_TASK_IDLE, PG_TASK_RUNNING, PG_TASK_OK, PG_TASK_FAILED };

struct pg_task;

struct pg_task *pg_task_new(struct pg_engine *g, const struct pg_env *env);
void pg_task_free(struct pg_task *t);

enum pg_task_state pg_task_state(const struct pg_task *t);
const char *pg_task_name(const struct pg_task *t);   /* of the present or last thing */
int64_t pg_task_begun_ms(const struct pg_task *t);   /* when its statement was sent, 0 = not yet */
int64_t pg_task_done_ms(const struct pg_task *t);
const struct err *pg_task_error(const struct pg_task *t);
int64_t pg_task_count(const struct pg_task *t);      /* processes ended, members' slots */
void pg_task_cancel(struct pg_task *t); /* closes the session; the outcome is unknown */

/* Each: false with ERR_CONFLICT while another thing runs. deadline_ms: BOOTTIME. */
bool pg_task_checkpoint(struct pg_task *t, int64_t deadline_ms, struct err *e);
/* Ends client backends other than ours, on a server in recovery only (checked in the statement):
 * ending a backend of a primary may make an unreplicated commit visible. */
bool pg_task_end_clients(struct pg_task *t, int64_t deadline_ms, struct err *e);
/* Ends every walsender but those of the volume keep (0: all). */
bool pg_task_end_senders(struct pg_task *t, uint64_t keep, int64_t deadline_ms, struct err *e);
/* Physical slot per volume: creates missing ones (reserving WAL at once), and on a standby advances
 * those that are inactive to `advance` where that is not 0 (no further than replayed). Member slots
 * that are not listed are dropped where drop is set and they are inactive. Slots that are not
 * members' are never touched. */
struct pg_slot_want {
    uint64_t volume;
    uint64_t advance; /* 0 = leave */
};
bool pg_task_slots(struct pg_task *t, const struct pg_slot_want *want, size_t n, bool drop,
                   int64_t deadline_ms, struct err *e);
/* On a primary: makes or corrects the members' role and its rights for pg_rewind. Nothing is written
 * where all is as it should be, except that passwords are compared by no one: those of `passwords`
 * (enum pg_roles) are set, the superuser's only where env has one. */
enum pg_roles { PG_ROLES_MEMBERS = 1, PG_ROLES_SUPERUSER = 2 };
bool pg_task_roles(struct pg_task *t, unsigned passwords, int64_t deadline_ms, struct err *e);

#endif
