/* One asynchronous connection, kept up by itself, one query at a time.
 *
 * Never blocks: a deadline that passes closes the connection (PQcancel would block), and the
 * outcome of the query is then unknown. Names are never resolved: hosts are socket directories
 * or numeric addresses. Every session runs with search_path pinned to pg_catalog. */
#ifndef PGHAD_PG_CONN_H
#define PGHAD_PG_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "pg/engine.h"
#include "pg/env.h"

enum pg_conn_state {
    PG_CONN_OFF,        /* not wanted */
    PG_CONN_WAITING,    /* between two tries */
    PG_CONN_CONNECTING,
    PG_CONN_IDLE,       /* a query can be begun */
    PG_CONN_BUSY,
};

enum pg_query_state { PG_QUERY_NONE, PG_QUERY_RUNNING, PG_QUERY_OK, PG_QUERY_FAILED };

/* Strings are copied. */
struct pg_conn_spec {
    const char *socket_dir;  /* local server, or NULL */
    const char *data_dir;    /* its directory: no try while it says there that it refuses; NULL: not asked */
    const char *hostaddr;    /* numeric address, or NULL */
    uint16_t port;
    const char *user;
    const char *dbname;      /* NULL: "postgres" */
    const char *passfile;    /* NULL: none (~/.pgpass is never read) */
    const char *password;    /* NULL: none */
    bool walsender;          /* replication=database: SQL and replication commands */
    int64_t connect_ms;      /* budget of one try; 0: 5000 */
    int64_t retry_ms;        /* pause after a refused try; 0: 20; 10 s is the largest */
    bool once;               /* no second try: PG_CONN_OFF with an error after the first */
};

struct pg_conn;

struct pg_conn *pg_conn_new(struct pg_engine *g, const struct pg_conn_spec *spec);
/* To the local server as superuser, as every module here does it. */
struct pg_conn *pg_conn_local(struct pg_engine *g, const struct pg_env *env, bool once);
void pg_conn_free(struct pg_conn *c); /* NULL accepted */

void pg_conn_open(struct pg_conn *c);  /* wanted: connects at once, and again when it is lost */
void pg_conn_close(struct pg_conn *c); /* not wanted: PQfinish now */
enum pg_conn_state pg_conn_state(const struct pg_conn *c);
int64_t pg_conn_since_ms(const struct pg_conn *c);  /* when this session began, 0 = none */
int pg_conn_server_version(const struct pg_conn *c);/* 150018; 0 = not connected */
/* Why the last try or session ended; kind ERR_NONE = nothing failed yet. SQLSTATE "" when the
 * server said none. */
const struct err *pg_conn_error(const struct pg_conn *c);
const char *pg_conn_error_state(const struct pg_conn *c);

/* Begins a query with text parameters, only in PG_CONN_IDLE. deadline_ms: BOOTTIME, mandatory. */
bool pg_conn_query(struct pg_conn *c, const char *sql, int n, const char *const *params,
                   int64_t deadline_ms, struct err *e);
/* Begins one or more statements by the simple protocol; the result is that of the last with
 * rows. */
bool pg_conn_exec(struct pg_conn *c, const char *sql, int64_t deadline_ms, struct err *e);
enum pg_query_state pg_conn_query_state(const struct pg_conn *c);
int64_t pg_conn_query_sent_ms(const struct pg_conn *c);
const struct err *pg_conn_query_error(const struct pg_conn *c);  /* after PG_QUERY_FAILED */
const char *pg_conn_query_sqlstate(const struct pg_conn *c);
/* Of the last PG_QUERY_OK, valid until the next query begins or the session ends. */
int pg_conn_rows(const struct pg_conn *c);
int pg_conn_columns(const struct pg_conn *c);
const char *pg_conn_value(const struct pg_conn *c, int row, int column); /* NULL for SQL NULL */

/* SCRAM verifier of a password for CREATE/ALTER ROLE, so that the password itself is never sent or
 * logged. Needs a live session. dst is cleared first by the caller's ownership. */
bool pg_conn_scram(struct pg_conn *c, const char *user, const char *password, struct buf *dst,
                   struct err *e);

#endif
