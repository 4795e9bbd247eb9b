/* Where this member's PostgreSQL lives, and the names that everybody must spell alike.
 *
 * Filled once at the start of the agent, borrowed by every other object of this area. */
#ifndef PGHAD_PG_ENV_H
#define PGHAD_PG_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define PG_PATH_SIZE 512
#define PG_NAME_SIZE 64     /* NAMEDATALEN: 63 bytes and the NUL */
#define PG_SECRET_SIZE 512
#define PG_MEMBER_SIZE 24   /* "m_" and 16 hexadecimal digits */
#define PG_PROVISIONAL 'p'  /* instead of the m: a receiver whose WAL may be of another history */

struct pg_env {
    char bin_dir[PG_PATH_SIZE];
    char data_dir[PG_PATH_SIZE];   /* PGDATA; absolute, without a final slash */
    char state_dir[PG_PATH_SIZE];  /* dirname(PGDATA)/pghad: same volume, outside PGDATA */
    char gate[PG_PATH_SIZE];       /* the commit gate's library, "" = none */
    char socket_dir[PG_PATH_SIZE]; /* where the agent and local clients reach the server */
    char cluster_name[PG_NAME_SIZE];
    char superuser[PG_NAME_SIZE];  /* the agent's socket role */
    char repl_user[PG_NAME_SIZE];  /* the members' role: replication and pg_rewind */
    char repl_password[PG_SECRET_SIZE];
    char superuser_password[PG_SECRET_SIZE]; /* "" = none */
    uint16_t port;
    uint32_t major; /* of the binaries */
};

/* Sets data_dir, and state_dir beside it. ERR_INVALID for a relative path or one without a
 * parent. */
bool pg_env_set_data_dir(struct pg_env *env, const char *data_dir, struct err *e);
/* Finds the major version of the binaries: `postgres` must be in bin_dir or, where bin_dir is
 * "", in /usr/lib/postgresql/<major>/bin (the newest that we run). Blocks for one `postgres
 * --version`. */
bool pg_env_find_binaries(struct pg_env *env, struct err *e);
/* Sets gate to the library in dir that was made for the version of the binaries, or to "" when there
 * is none. After pg_env_find_binaries. */
void pg_env_find_gate(struct pg_env *env, const char *dir);
/* dir/name into dst of PG_PATH_SIZE bytes; false when it does not fit. */
bool pg_path(char *dst, const char *dir, const char *name);

/* `m_<volume>`: application_name, slot name and entry of synchronous_standby_names. */
void pg_member_name(char dst[PG_MEMBER_SIZE], uint64_t volume);
/* The reverse; 0 when the name is not one of ours. */
uint64_t pg_member_volume(const char *name);
/* Random, never 0. */
uint64_t pg_volume_new(void);

/* A password: from the file where path is not NULL or "" (one final newline is cut), else value.
 * ERR_NOT_FOUND where there is neither. Never in messages. */
bool pg_secret_load(char dst[PG_SECRET_SIZE], const char *value, const char *path, struct err *e);

/* <state_dir>/passfile.<epoch>: each epoch has its own, so that a receiver started from the
 * settings of an older epoch cannot log in any more once its file is gone. */
bool pg_passfile_path(char dst[PG_PATH_SIZE], const struct pg_env *env, uint64_t epoch);
bool pg_passfile_write(const struct pg_env *env, uint64_t epoch, struct err *e);
/* Unlinks the files of every epoch below keep_from. Not synced: one that a crash of the machine brings
 * back is named by no settings, since every start begins without an upstream. */
bool pg_passfile_drop(const struct pg_env *env, uint64_t keep_from, struct err *e);

/* Appends key='value' of a libpq connection string, value quoted; a blank before it if needed. */
void pg_conninfo_add(struct buf *b, const char *key, const char *value);
/* Appends 'value' as a literal of postgresql.conf (quotes doubled, backslashes too). */
void pg_conf_quote(struct buf *b, const char *value);
/* Appends 'value' as an SQL literal (an E'' literal where it has backslashes). */
void pg_sql_quote(struct buf *b, const char *value);
/* Appends "name" as an SQL identifier. */
void pg_sql_ident(struct buf *b, const char *name);

/* "%X/%X" */
void pg_lsn_format(char dst[20], uint64_t lsn);
/* Whole string, strict. */
bool pg_lsn_parse(const char *s, uint64_t *ret);

#endif
