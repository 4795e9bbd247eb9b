/* What PGDATA is, and the markers that keep a cut operation from looking like a data directory. */
#ifndef PGHAD_PG_DATADIR_H
#define PGHAD_PG_DATADIR_H

#include "core/types.h"
#include "pg/env.h"

enum pg_marker { PG_MARK_INITDB, PG_MARK_CLONE, PG_MARK_REWIND, PG_MARKERS };

struct pg_datadir {
    enum data_state state;
    uint32_t major;       /* PG_VERSION, 0 = none */
    uint64_t system_id;   /* global/pg_control, 0 = none */
    bool marker[PG_MARKERS];
    bool standby_signal;
    bool clean;           /* pg_control says shut down (as primary or in recovery) */
    uint32_t timeline;    /* highest timeline that pg_wal has WAL or a history of, 0 = none */
    char why[256];        /* in words, for states other than OK and EMPTY */
};

/* Looks at files only; the server may run. expected_system_id 0: any. Never changes anything.
 * false: the file system refused, the state is DATA_UNKNOWN. */
bool pg_datadir_look(const struct pg_env *env, uint64_t expected_system_id, struct pg_datadir *d,
                     struct err *e);

/* Markers are files in the state directory, synced before the operation begins and after it
 * ended. */
bool pg_marker_set(const struct pg_env *env, enum pg_marker m, const char *note, struct err *e);
bool pg_marker_clear(const struct pg_env *env, enum pg_marker m, struct err *e);
const char *pg_marker_name(enum pg_marker m);

/* Modes that PostgreSQL insists on: kubelet makes everything group-writable when it gives a volume to
 * the pod's fsGroup. Before every start. */
bool pg_datadir_private(const struct pg_env *env, struct err *e);

/* standby.signal, and no recovery.signal: before every start (the one way to become writable). */
bool pg_standby_signal(const struct pg_env *env, struct err *e);
/* Removes postmaster.pid. Only when no server can be alive (guard has the server lock): in a new
 * container its number may be that of an unrelated process, and a start would be refused. */
bool pg_postmaster_pid_forget(const struct pg_env *env, struct err *e);
/* The postmaster's own word in postmaster.pid, line 8 since PostgreSQL 10 (as pg_ctl reads it): it starts or
 * stops, and refuses sessions. false also if nothing can be read. */
bool pg_postmaster_refuses(const char *data_dir);
/* Removes a tree; a missing one is fine. Blocking: for small trees only (jobs use a child). */
bool pg_tree_remove(const char *path, struct err *e);

#endif
