/* DETACH as a step machine: this member durably stops receiving from epochs older than the given
 * one.
 *
 * Unlink the passfiles of older epochs; write the settings with empty primary_conninfo and
 * restore_command; SIGHUP; a fresh session must show both empty; SIGTERM the walreceiver; done
 * when /proc shows none on two looks after the setting is in force. The caller has made the
 * epoch durable before (pg_state_save). With the server down the files are enough. The machine
 * never gives up by itself: a caller that cannot wait any longer stops the server. */
#ifndef PGHAD_PG_DETACH_H
#define PGHAD_PG_DETACH_H

#include <sys/types.h>

#include "pg/conf.h"
#include "pg/engine.h"

enum pg_detach_state { PG_DETACH_IDLE, PG_DETACH_RUNNING, PG_DETACH_FROZEN };

struct pg_detach;

struct pg_detach *pg_detach_new(struct pg_engine *g, const struct pg_env *env);
void pg_detach_free(struct pg_detach *d);

/* conf is the configuration in force; its primary_conninfo parts are cleared here and the caller
 * keeps that object for later writes (borrowed until the machine has ended). postmaster 0: the
 * caller knows that no server runs. A call for a higher epoch starts anew; for the same epoch
 * while running or frozen with the same postmaster it is a no-op. */
void pg_detach_begin(struct pg_detach *d, uint64_t epoch, struct pg_conf *conf, pid_t postmaster);
/* The postmaster was replaced or ended (0) meanwhile: the proof starts again, or is complete. */
void pg_detach_set_postmaster(struct pg_detach *d, pid_t postmaster);
/* Forget: something else (following a new epoch) makes the proof void. */
void pg_detach_reset(struct pg_detach *d);
enum pg_detach_state pg_detach_state(const struct pg_detach *d);
uint64_t pg_detach_epoch(const struct pg_detach *d);  /* of the present run, 0 = idle */
const char *pg_detach_step(const struct pg_detach *d);/* for people */
const struct err *pg_detach_error(const struct pg_detach *d); /* last trouble, also while running */

#endif
