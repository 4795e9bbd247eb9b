/* One libpq connection as a state machine. PQfinish is the only way a query ends early. */
#include "pg/conn.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "pg/datadir.h"

#define CONNECT_MS 5000
#define RETRY_MS 20
#define RETRY_MAX_MS 10000
#define REFUSED_MS 500 /* then the server is asked all the same, whatever its file says */
#define RETRY_DENIED_MS 250 /* a refusal for a reason does not heal within milliseconds */
#define KEYWORDS_MAX 20
#define NO_PASSFILE "/dev/null/none" /* cannot exist; without one libpq reads ~/.pgpass */

/* The user's settings must not reach our sessions: a timeout, a read-only default or a search
 * path of theirs would change what our statements mean. lc_messages and the log settings need
 * superuser. */
#define OPTIONS_ALL                                                                                \
    "-csearch_path=pg_catalog -cstatement_timeout=0 -clock_timeout=0 "                             \
    "-cidle_in_transaction_session_timeout=0 -cidle_session_timeout=0 "                            \
    "-cdefault_transaction_read_only=off -cdefault_transaction_isolation=read\\ committed "        \
    "-cdefault_transaction_deferrable=off -cclient_min_messages=error -cdatestyle=ISO "            \
    "-cbytea_output=hex"
#define OPTIONS_SUPERUSER " -clc_messages=C -clog_statement=none -clog_min_duration_statement=-1"

struct pg_conn {
    struct pg_engine *engine;
    struct pg_driver driver;
    char *host, *data_dir, *hostaddr, *user, *dbname, *passfile, *password;
    char port[8];
    bool local, walsender, once;
    int64_t connect_ms, retry_ms;

    enum pg_conn_state state;
    bool wanted;
    PGconn *pq;
    PostgresPollingStatusType poll;
    int64_t try_ms;      /* WAITING: when to try again */
    int64_t lost_ms;     /* when the last try or session ended */
    int64_t deadline_ms; /* CONNECTING, BUSY */
    int64_t since_ms;
    struct err error;
    char error_state[6];

    enum pg_query_state query;
    int64_t sent_ms;
    bool flushing;
    bool query_bad;
    PGresult *result;
    struct err query_error;
    char query_sqlstate[6];
};

static char *copy(const char *s)
{
    if (!s)
        return NULL;
    char *d = strdup(s);
    must(d != NULL);
    return d;
}

static int64_t at_least(int64_t v, int64_t otherwise)
{
    return v > 0 ? v : otherwise;
}

/* ---- errors ---- */

/* libpq gives no SQLSTATE for a failed connection; with verbose errors it is in the text, after the
 * severity: "FATAL:  57P03: the database system is starting up". */
static void find_sqlstate(char dst[6], const char *text)
{
    dst[0] = '\0';
    for (const char *p = strstr(text, ":  "); p; p = strstr(p + 1, ":  ")) {
        size_t n = strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (n == 5 && p[8] == ':') {
            memcpy(dst, p + 3, 5);
            dst[5] = '\0';
            return;
        }
    }
}

/* First line only: the rest is source locations and hints. */
static void set_error(struct err *e, enum err_kind kind, const char *what, const char *text)
{
    int n = (int)strcspn(text, "\n");
    err_set(e, kind, "%s: %.*s", what, n, text);
}

static enum err_kind kind_of(const char *sqlstate)
{
    if (str_starts(sqlstate, "28") || strcmp(sqlstate, "42501") == 0)
        return ERR_DENIED;
    return ERR_TRANSIENT;
}

static void close_pq(struct pg_conn *c)
{
    PQclear(c->result);
    c->result = NULL;
    if (c->pq)
        PQfinish(c->pq);
    c->pq = NULL;
    c->since_ms = 0;
    c->flushing = false;
}

/* The session or the try ended. A query that was running has failed, its outcome unknown. */
static void lose(struct pg_conn *c, enum err_kind kind, const char *what)
{
    bool established = c->state == PG_CONN_IDLE || c->state == PG_CONN_BUSY;
    const char *text = c->pq ? PQerrorMessage(c->pq) : "out of memory";
    c->error_state[0] = '\0';
    if (kind == ERR_TIMEOUT) {
        err_set(&c->error, ERR_TIMEOUT, "%s: deadline passed", what);
    } else {
        find_sqlstate(c->error_state, text);
        set_error(&c->error, kind_of(c->error_state), what, text);
    }
    if (c->query == PG_QUERY_RUNNING) {
        c->query = PG_QUERY_FAILED;
        if (!c->query_bad)
            c->query_error = c->error;
    }
    close_pq(c);
    if (c->once || !c->wanted) {
        c->wanted = false;
        c->state = PG_CONN_OFF;
        return;
    }
    c->state = PG_CONN_WAITING;
    c->lost_ms = clock_boot_ms();
    /* An established session that broke is tried again at once: the server may already be back. */
    int64_t pause = established ? 0 : c->retry_ms;
    if (c->error.kind == ERR_DENIED && pause < RETRY_DENIED_MS)
        pause = RETRY_DENIED_MS;
    c->try_ms = clock_boot_ms() + pause;
}

/* ---- connecting ---- */

struct keywords {
    const char *key[KEYWORDS_MAX], *value[KEYWORDS_MAX];
    int n;
};

static void add(struct keywords *k, const char *key, const char *value)
{
    if (!value)
        return;
    must(k->n < KEYWORDS_MAX - 1);
    k->key[k->n] = key;
    k->value[k->n] = value;
    k->key[++k->n] = NULL;
    k->value[k->n] = NULL;
}

static void ignore_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

static void start(struct pg_conn *c)
{
    struct keywords k = {.n = 0};
    add(&k, "host", c->host);
    add(&k, "hostaddr", c->hostaddr);
    add(&k, "port", c->port);
    add(&k, "user", c->user);
    add(&k, "dbname", c->dbname);
    add(&k, "password", c->password);
    add(&k, "passfile", c->passfile ? c->passfile : NO_PASSFILE);
    add(&k, "application_name", "pghad");
    add(&k, "fallback_application_name", "pghad");
    add(&k, "client_encoding", "UTF8");
    add(&k, "gssencmode", "disable");
    add(&k, "options", c->local ? OPTIONS_ALL OPTIONS_SUPERUSER : OPTIONS_ALL);
    add(&k, "sslmode", c->local ? "disable" : NULL);
    add(&k, "replication", c->walsender ? "database" : NULL);
    add(&k, "target_session_attrs", "any");
    c->pq = PQconnectStartParams(k.key, k.value, 0);
    c->state = PG_CONN_CONNECTING;
    c->poll = PGRES_POLLING_WRITING;
    c->deadline_ms = clock_boot_ms() + c->connect_ms;
    if (!c->pq || PQstatus(c->pq) == CONNECTION_BAD) {
        lose(c, ERR_TRANSIENT, "connect");
        return;
    }
    PQsetErrorVerbosity(c->pq, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(c->pq, ignore_notice, NULL);
}

/* Each try costs the server a process, some 3 ms, while it recovers. */
static bool in_vain(const struct pg_conn *c, int64_t now)
{
    return c->data_dir != NULL && strcmp(c->error_state, "57P03") == 0 && now - c->lost_ms < REFUSED_MS &&
           pg_postmaster_refuses(c->data_dir);
}

static void advance_connect(struct pg_conn *c, struct loop *l)
{
    if (loop_revents(l, PQsocket(c->pq)) == 0)
        return;
    c->poll = PQconnectPoll(c->pq);
    if (c->poll == PGRES_POLLING_FAILED) {
        lose(c, ERR_TRANSIENT, "connect");
    } else if (c->poll == PGRES_POLLING_OK) {
        c->state = PG_CONN_IDLE;
        c->since_ms = loop_now(l);
        must(PQsetnonblocking(c->pq, 1) == 0);
        PQsetErrorVerbosity(c->pq, PQERRORS_DEFAULT);
    }
}

/* ---- queries ---- */

/* Keeps the last result with rows; the first error stays. */
static void take(struct pg_conn *c, PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    if (status == PGRES_TUPLES_OK) {
        PQclear(c->result);
        c->result = res;
        return;
    }
    if (status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) {
        if (!c->result) {
            c->result = res;
            return;
        }
    } else if (!c->query_bad) {
        const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
        str_copy(c->query_sqlstate, sizeof(c->query_sqlstate), state ? state : "");
        set_error(&c->query_error, kind_of(c->query_sqlstate), "query",
                  text ? text : PQresultErrorMessage(res));
        c->query_bad = true;
    }
    PQclear(res);
}

static void finish(struct pg_conn *c)
{
    c->state = PG_CONN_IDLE;
    c->query = c->query_bad ? PG_QUERY_FAILED : PG_QUERY_OK;
}

static void advance_query(struct pg_conn *c, struct loop *l)
{
    short ready = loop_revents(l, PQsocket(c->pq));
    if (c->flushing && (ready & (POLLOUT | POLLIN))) {
        int rc = PQflush(c->pq);
        if (rc < 0) {
            lose(c, ERR_TRANSIENT, "session lost");
            return;
        }
        c->flushing = rc > 0;
    }
    if ((ready & ~POLLOUT) == 0)
        return;
    bool alive = PQconsumeInput(c->pq) == 1;
    while (!PQisBusy(c->pq)) {
        PGresult *res = PQgetResult(c->pq);
        if (!res) {
            if (alive && PQstatus(c->pq) != CONNECTION_BAD)
                finish(c);
            break;
        }
        bool copy_state = PQresultStatus(res) == PGRES_COPY_IN ||
                          PQresultStatus(res) == PGRES_COPY_OUT ||
                          PQresultStatus(res) == PGRES_COPY_BOTH;
        take(c, res);
        if (copy_state) {
            alive = false; /* never asked for: the session cannot be used further */
            break;
        }
    }
    if (!alive || PQstatus(c->pq) == CONNECTION_BAD)
        lose(c, ERR_TRANSIENT, "session lost");
}

static void watch_idle(struct pg_conn *c, struct loop *l)
{
    if (loop_revents(l, PQsocket(c->pq)) == 0)
        return;
    bool alive = PQconsumeInput(c->pq) == 1;
    while (alive && !PQisBusy(c->pq)) {
        PGresult *res = PQgetResult(c->pq); /* the server's farewell, if it sent one */
        if (!res)
            break;
        PQclear(res);
    }
    if (!alive || PQstatus(c->pq) == CONNECTION_BAD)
        lose(c, ERR_TRANSIENT, "session lost");
}

static bool begun(struct pg_conn *c, int sent, int64_t deadline_ms, struct err *e)
{
    if (!sent) {
        set_error(e, ERR_TRANSIENT, "query", PQerrorMessage(c->pq));
        lose(c, ERR_TRANSIENT, "session lost");
        return false;
    }
    c->flushing = PQflush(c->pq) != 0; /* a failure shows when the socket is read */
    c->query = PG_QUERY_RUNNING;
    c->state = PG_CONN_BUSY;
    c->deadline_ms = deadline_ms;
    c->sent_ms = clock_boot_ms();
    return true;
}

static bool may_begin(struct pg_conn *c, int64_t deadline_ms, struct err *e)
{
    must(deadline_ms > 0);
    if (c->state != PG_CONN_IDLE)
        return err_set(e, ERR_TRANSIENT, "query: the session is not ready");
    PQclear(c->result);
    c->result = NULL;
    c->query_bad = false;
    c->query_sqlstate[0] = '\0';
    return true;
}

bool pg_conn_query(struct pg_conn *c, const char *sql, int n, const char *const *params,
                   int64_t deadline_ms, struct err *e)
{
    return may_begin(c, deadline_ms, e) &&
           begun(c, PQsendQueryParams(c->pq, sql, n, NULL, params, NULL, NULL, 0), deadline_ms, e);
}

bool pg_conn_exec(struct pg_conn *c, const char *sql, int64_t deadline_ms, struct err *e)
{
    return may_begin(c, deadline_ms, e) && begun(c, PQsendQuery(c->pq, sql), deadline_ms, e);
}

/* ---- the driver ---- */

static void conn_prepare(void *ctx, struct loop *l)
{
    struct pg_conn *c = ctx;
    switch (c->state) {
    case PG_CONN_OFF:
        return;
    case PG_CONN_WAITING:
        loop_wake_at(l, c->try_ms);
        return;
    case PG_CONN_CONNECTING:
        loop_wake_at(l, c->deadline_ms);
        loop_want(l, PQsocket(c->pq), c->poll == PGRES_POLLING_READING ? POLLIN : POLLOUT);
        return;
    case PG_CONN_IDLE:
        loop_want(l, PQsocket(c->pq), POLLIN);
        return;
    case PG_CONN_BUSY:
        loop_wake_at(l, c->deadline_ms);
        loop_want(l, PQsocket(c->pq), c->flushing ? POLLIN | POLLOUT : POLLIN);
        return;
    }
}

static void conn_dispatch(void *ctx, struct loop *l)
{
    struct pg_conn *c = ctx;
    if (c->state == PG_CONN_WAITING) {
        if (loop_now(l) >= c->try_ms && in_vain(c, loop_now(l)))
            c->try_ms = loop_now(l) + c->retry_ms;
        else if (loop_now(l) >= c->try_ms)
            start(c);
    } else if (c->state == PG_CONN_CONNECTING) {
        advance_connect(c, l);
        if (c->state == PG_CONN_CONNECTING && loop_now(l) >= c->deadline_ms)
            lose(c, ERR_TIMEOUT, "connect");
    } else if (c->state == PG_CONN_BUSY) {
        advance_query(c, l);
        if (c->state == PG_CONN_BUSY && loop_now(l) >= c->deadline_ms)
            lose(c, ERR_TIMEOUT, "query");
    } else if (c->state == PG_CONN_IDLE) {
        watch_idle(c, l);
    }
}

/* ---- life ---- */

struct pg_conn *pg_conn_new(struct pg_engine *g, const struct pg_conn_spec *spec)
{
    struct pg_conn *c = calloc(1, sizeof(*c));
    must(c != NULL);
    c->engine = g;
    c->host = copy(spec->socket_dir);
    c->data_dir = copy(spec->data_dir);
    c->hostaddr = copy(spec->hostaddr);
    c->user = copy(spec->user);
    c->dbname = copy(spec->dbname ? spec->dbname : "postgres");
    c->passfile = copy(spec->passfile);
    c->password = copy(spec->password);
    must(str_format(c->port, sizeof(c->port), "%u", spec->port));
    c->local = spec->socket_dir != NULL;
    c->walsender = spec->walsender;
    c->once = spec->once;
    c->connect_ms = at_least(spec->connect_ms, CONNECT_MS);
    c->retry_ms = at_least(spec->retry_ms, RETRY_MS);
    if (c->retry_ms > RETRY_MAX_MS)
        c->retry_ms = RETRY_MAX_MS;
    c->driver = (struct pg_driver){
        .kind = PG_DRIVER_CONN, .ctx = c, .prepare = conn_prepare, .dispatch = conn_dispatch};
    pg_engine_add(g, &c->driver);
    return c;
}

struct pg_conn *pg_conn_local(struct pg_engine *g, const struct pg_env *env, bool once)
{
    struct pg_conn_spec spec = {
        .socket_dir = env->socket_dir,
        .data_dir = env->data_dir,
        .port = env->port,
        .user = env->superuser,
        .password = env->superuser_password[0] ? env->superuser_password : NULL,
        .retry_ms = 10,
        .once = once,
    };
    return pg_conn_new(g, &spec);
}

void pg_conn_free(struct pg_conn *c)
{
    if (!c)
        return;
    pg_engine_remove(c->engine, &c->driver);
    close_pq(c);
    if (c->password)
        explicit_bzero(c->password, strlen(c->password));
    free(c->host);
    free(c->data_dir);
    free(c->hostaddr);
    free(c->user);
    free(c->dbname);
    free(c->passfile);
    free(c->password);
    free(c);
}

void pg_conn_open(struct pg_conn *c)
{
    c->wanted = true;
    if (c->state == PG_CONN_OFF)
        start(c);
}

void pg_conn_close(struct pg_conn *c)
{
    c->wanted = false;
    close_pq(c);
    c->state = PG_CONN_OFF;
    if (c->query == PG_QUERY_RUNNING) {
        c->query = PG_QUERY_FAILED;
        err_set(&c->query_error, ERR_TRANSIENT, "query: the session was closed");
    }
}

/* ---- getters ---- */

enum pg_conn_state pg_conn_state(const struct pg_conn *c)
{
    return c->state;
}

int64_t pg_conn_since_ms(const struct pg_conn *c)
{
    return c->since_ms;
}

int pg_conn_server_version(const struct pg_conn *c)
{
    return c->pq && c->since_ms ? PQserverVersion(c->pq) : 0;
}

const struct err *pg_conn_error(const struct pg_conn *c)
{
    return &c->error;
}

const char *pg_conn_error_state(const struct pg_conn *c)
{
    return c->error_state;
}

enum pg_query_state pg_conn_query_state(const struct pg_conn *c)
{
    return c->query;
}

int64_t pg_conn_query_sent_ms(const struct pg_conn *c)
{
    return c->sent_ms;
}

const struct err *pg_conn_query_error(const struct pg_conn *c)
{
    return &c->query_error;
}

const char *pg_conn_query_sqlstate(const struct pg_conn *c)
{
    return c->query_sqlstate;
}

int pg_conn_rows(const struct pg_conn *c)
{
    return c->result ? PQntuples(c->result) : 0;
}

int pg_conn_columns(const struct pg_conn *c)
{
    return c->result ? PQnfields(c->result) : 0;
}

const char *pg_conn_value(const struct pg_conn *c, int row, int column)
{
    must(row >= 0 && row < pg_conn_rows(c) && column >= 0 && column < pg_conn_columns(c));
    return PQgetisnull(c->result, row, column) ? NULL : PQgetvalue(c->result, row, column);
}

bool pg_conn_scram(struct pg_conn *c, const char *user, const char *password, struct buf *dst,
                   struct err *e)
{
    if (!c->pq || !c->since_ms)
        return err_set(e, ERR_TRANSIENT, "scram verifier: the session is not ready");
    char *v = PQencryptPasswordConn(c->pq, password, user, "scram-sha-256");
    if (!v)
        return err_set(e, ERR_INVALID, "scram verifier: %s", PQerrorMessage(c->pq));
    bool ok = buf_puts(dst, v);
    PQfreemem(v);
    return ok || err_set(e, ERR_BUG, "scram verifier: the buffer is too small");
}
