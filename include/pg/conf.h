/* Generated configuration, apart from the user's.
 *
 * PGDATA keeps the postgresql.conf of initdb untouched. The server is started with `-D
 * <data_dir> -c config_file=<state_dir>/pghad.conf`; that file sets defaults, includes PGDATA's
 * postgresql.conf and the user's file, lists the user's parameters, then sets what we own: the
 * later one wins. The commit gate is the one thing that is added to a setting of the user's, to
 * shared_preload_libraries, wherever that is set. hba_file and ident_file are generated beside it.
 * Settings that we own are removed from postgresql.auto.conf before a start, because that file is
 * read last of all. */
#ifndef PGHAD_PG_CONF_H
#define PGHAD_PG_CONF_H

#include <sys/types.h>

#include "core/types.h"
#include "pg/control.h"
#include "pg/engine.h"
#include "pg/env.h"

enum pg_ssn_kind { PG_SSN_EMPTY, PG_SSN_UNSATISFIABLE, PG_SSN_SET, PG_SSN_OTHER };

/* synchronous_standby_names as data. */
struct pg_ssn {
    enum pg_ssn_kind kind;
    enum repl_mode mode; /* REPL_QUORUM: ANY, REPL_SYNC: FIRST */
    uint8_t w;           /* 1 .. n */
    uint8_t n;
    uint64_t volume[HA_MEMBERS_MAX];
};

/* `ANY k ("m_...", ...)`, `ANY 1 (pghad_none)` or "". ERR_INVALID: w of 0 or above n, no or equal
 * volumes; a name is never longer than 63 bytes. */
bool pg_ssn_render(struct buf *b, const struct pg_ssn *s, struct err *e);
/* The reverse, of what SHOW gives; anything that we did not write is PG_SSN_OTHER. */
void pg_ssn_parse(struct pg_ssn *s, const char *text);

/* Name and value, both borrowed. */
struct pg_param {
    const char *name, *value;
};

/* What does not change between two reloads of the agent's own settings. Strings are copied. */
struct pg_user_conf {
    const struct pg_param *params; /* the user's parameters */
    size_t n_params;
    const char *const *hba;        /* the user's pg_hba lines, in order */
    size_t n_hba;
    const char *const *ident;
    size_t n_ident;
    const char *include;           /* the user's file, NULL or a path: include_if_exists */
    const char *listen_addresses;  /* NULL: "*" */
    uint32_t max_senders;          /* 0: 16 */
    uint32_t max_slots;            /* 0: 32 */
    const char *wal_cap;           /* max_slot_wal_keep_size, NULL: "10GB" */
    const char *wal_keep;          /* wal_keep_size, NULL: "256MB" */
    bool feedback;                 /* hot_standby_feedback */
    const char *restore_command;   /* NULL: none; in force only while following */
    bool strict_commit;            /* the gate refuses commits that do not wait for standbys */
    bool log_json;                 /* jsonlog by a collector in the state dir; false: stderr */
};

struct pg_upstream {
    char hostaddr[64];  /* "" = none: primary_conninfo and restore_command are empty */
    char host[256];     /* name, for verify-full; "" = none */
    uint16_t port;
    uint64_t volume;    /* own volume id: application_name and slot */
    uint64_t epoch;     /* passfile */
    char sslmode[16];   /* "" = prefer */
    bool slot;          /* use primary_slot_name */
    bool provisional;   /* application_name is no member's: what it flushes confirms nothing */
};

struct pg_conf;

/* env is borrowed. Begins closed, without upstream, with a setting that nobody satisfies and no
 * user parameters. The agent's socket role is known by peer where its OS user has a passwd entry. Where it
 * has none peer cannot work, and a password may change while the agent is away: the socket then is for
 * that OS user alone (mode 0700), who is trusted. */
struct pg_conf *pg_conf_new(const struct pg_env *env);
void pg_conf_free(struct pg_conf *c);
/* ERR_INVALID, naming the parameter, for one that we own or a name or line that cannot be written
 * (control characters) or has not the form of a line of pg_hba.conf; nothing changes then. */
bool pg_conf_set_user(struct pg_conf *c, const struct pg_user_conf *u, struct err *e);
/* The same, and asks the server's program whether it accepts the settings: a running server would ignore
 * all of a file with one bad name, a stopped one would not start. Blocks for some 30 ms, 2 s at most. */
bool pg_conf_try_user(struct pg_conf *c, const struct pg_user_conf *u, struct err *e);
bool pg_conf_set_ssn(struct pg_conf *c, const struct pg_ssn *s, struct err *e);
void pg_conf_set_upstream(struct pg_conf *c, const struct pg_upstream *u); /* NULL: none */
/* A server in recovery refuses to start with lower values than the directory has seen
 * (max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions,
 * max_locks_per_transaction), and we start in recovery only: lower values of the user are raised
 * to those of pg_control. pg_conf_clean_auto sets the floor from the data directory. */
void pg_conf_set_floor(struct pg_conf *c, const struct pg_control *control);
bool pg_conf_read_floor(struct pg_conf *c, struct err *e); /* the same of this directory: runs pg_controldata */
/* Names of the user's parameters that were raised by the floor, NULL-terminated; borrowed. */
const char *const *pg_conf_raised(struct pg_conf *c);
void pg_conf_set_closed(struct pg_conf *c, bool closed);
bool pg_conf_closed(const struct pg_conf *c);
/* Strict commits although the user's settings no longer ask for them: others rely on them until they are told. */
void pg_conf_keep_strict(struct pg_conf *c, bool keep);
bool pg_conf_strict(const struct pg_conf *c); /* as the next pg_conf_write has it */
const struct pg_upstream *pg_conf_upstream(const struct pg_conf *c); /* hostaddr "" = none */
const struct pg_ssn *pg_conf_ssn(const struct pg_conf *c);

/* Is this a parameter that only we set? */
bool pg_conf_owned(const char *name);

/* Renders without writing. */
bool pg_conf_render(const struct pg_conf *c, struct buf *b, struct err *e);
bool pg_conf_render_hba(const struct pg_conf *c, struct buf *b, struct err *e);
bool pg_conf_render_ident(const struct pg_conf *c, struct buf *b, struct err *e);
/* ERR_TRANSIENT while it is not known which libraries the user preloads, for the gate joins them.
 * Writes the three files, each only if its content differs, atomically. Not synced: no server starts
 * without this call before, and what a crash of the machine may have left then differs. changed may be
 * NULL; it says that a reload is needed. Also writes the passfile of the upstream's epoch. */
bool pg_conf_write(struct pg_conf *c, bool *changed, struct err *e);
/* Before a start, and before pg_conf_write: removes the settings that we own from
 * postgresql.auto.conf, takes the floor from pg_control (runs pg_controldata, some ms) and, where there
 * is a commit gate, asks the server's program which libraries it is to preload (some 30 ms). */
bool pg_conf_clean_auto(struct pg_conf *c, struct err *e);
/* Only the former. */
bool pg_conf_strip_auto(const struct pg_conf *c, struct err *e);
/* SIGHUP to the postmaster; effect must be verified (facts.fresh_*, pg_hbaprobe). */
bool pg_conf_reload(pid_t postmaster, struct err *e);

/* Command line of the server, for guard: argv[0] is the path. Strings live in the pg_conf. */
const char *const *pg_conf_argv(struct pg_conf *c);

/* Is the server closed for clients? A TCP connection to an own address by a role that is not ours
 * must be refused by hba. */
struct pg_hbaprobe;
struct pg_hbaprobe *pg_hbaprobe_new(struct pg_engine *g, const struct pg_env *env);
void pg_hbaprobe_free(struct pg_hbaprobe *p);
/* hostaddr: the pod's own address (clients' way), numeric. A running probe is replaced. */
void pg_hbaprobe_begin(struct pg_hbaprobe *p, const char *hostaddr, int64_t deadline_ms);
bool pg_hbaprobe_done(const struct pg_hbaprobe *p);
/* TRI_YES: refused by hba. TRI_NO: it got past hba. Unknown: no answer, or not done. */
enum tri pg_hbaprobe_closed(const struct pg_hbaprobe *p);
int64_t pg_hbaprobe_at_ms(const struct pg_hbaprobe *p); /* when the result's connection was begun */

#endif
