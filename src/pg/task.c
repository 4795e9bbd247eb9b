/* One statement at a time on a session of its own, begun now and asked about later. */
#include "pg/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "pg/conn.h"

#define SQL_MAX 65536

struct pg_task {
    struct pg_engine *engine;
    const struct pg_env *env;
    struct pg_driver driver;
    struct pg_conn *conn;
    enum pg_task_state state;
    const char *name;
    struct buf sql;
    bool roles;         /* the statement needs a live session to be written */
    unsigned passwords; /* enum pg_roles */
    bool sent;
    int64_t deadline_ms, begun_ms, done_ms;
    int64_t count;
    struct err error;
};

static void end(struct pg_task *t, enum pg_task_state state, int64_t now)
{
    t->state = state;
    t->done_ms = now;
    if (t->sql.data)
        explicit_bzero(t->sql.data, t->sql.len); /* verifiers of passwords */
    buf_clear(&t->sql);
    if (state == PG_TASK_FAILED)
        pg_conn_close(t->conn);
}

/* ---- roles ---- */

/* The functions that pg_rewind calls on its source (PostgreSQL documentation, pg_rewind, Notes). */
static const char *const rewind_functions[] = {
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
};

static bool add_password(struct pg_task *t, const char *user, const char *password, struct err *e)
{
    struct buf v;
    buf_init(&v, 1024);
    bool ok = pg_conn_scram(t->conn, user, password, &v, e);
    if (ok) {
        buf_puts(&t->sql, "ALTER ROLE ");
        pg_sql_ident(&t->sql, user);
        buf_puts(&t->sql, " PASSWORD ");
        pg_sql_quote(&t->sql, buf_str(&v));
        buf_puts(&t->sql, ";");
    }
    buf_done(&v);
    return ok;
}

/* Guarded so that nothing is written where nothing has to change; local commit, because the
 * members' role is what a standby needs before it can acknowledge anything. The whole text is one
 * transaction, and SET LOCAL holds until that has committed: a RESET at its end would come before. */
static bool write_roles(struct pg_task *t, struct err *e)
{
    struct buf *b = &t->sql, user;
    buf_init(&user, 256);
    pg_sql_quote(&user, t->env->repl_user);
    buf_puts(b, "SET LOCAL synchronous_commit = local; SET LOCAL pghad_gate.strict = off; "
                "DO $pghad$ BEGIN IF NOT EXISTS (SELECT 1 FROM "
                "pg_roles WHERE rolname = ");
    buf_puts(b, buf_str(&user));
    buf_puts(b, " AND rolreplication AND rolcanlogin) THEN IF NOT EXISTS (SELECT 1 FROM pg_roles "
                "WHERE rolname = ");
    buf_puts(b, buf_str(&user));
    buf_puts(b, ") THEN CREATE ROLE ");
    pg_sql_ident(b, t->env->repl_user);
    buf_puts(b, "; END IF; ALTER ROLE ");
    pg_sql_ident(b, t->env->repl_user);
    buf_puts(b, " LOGIN REPLICATION; END IF;");
    for (size_t i = 0; i < sizeof(rewind_functions) / sizeof(rewind_functions[0]); i++) {
        buf_puts(b, " IF NOT has_function_privilege(");
        buf_puts(b, buf_str(&user));
        buf_printf(b,
                   ", 'pg_catalog.%s', 'EXECUTE') THEN GRANT EXECUTE ON FUNCTION pg_catalog.%s TO ",
                   rewind_functions[i], rewind_functions[i]);
        pg_sql_ident(b, t->env->repl_user);
        buf_puts(b, "; END IF;");
    }
    buf_puts(b, " END $pghad$;");
    buf_done(&user);
    bool ok = true;
    if ((t->passwords & PG_ROLES_MEMBERS) != 0)
        ok = add_password(t, t->env->repl_user, t->env->repl_password, e);
    if (ok && (t->passwords & PG_ROLES_SUPERUSER) != 0 && t->env->superuser_password[0])
        ok = add_password(t, t->env->superuser, t->env->superuser_password, e);
    buf_puts(b, "SELECT 0");
    return ok && (!b->overflow || err_set(e, ERR_BUG, "roles: the statement is too long"));
}

/* ---- the machine ---- */

static void send_sql(struct pg_task *t, int64_t now)
{
    t->sent = true;
    t->begun_ms = now;
    if ((t->roles && !write_roles(t, &t->error)) ||
        !pg_conn_exec(t->conn, buf_str(&t->sql), t->deadline_ms, &t->error)) {
        err_wrap(&t->error, "%s", t->name);
        end(t, PG_TASK_FAILED, now);
    }
}

static void take(struct pg_task *t, int64_t now)
{
    if (pg_conn_query_state(t->conn) != PG_QUERY_OK) {
        t->error = *pg_conn_query_error(t->conn);
        err_wrap(&t->error, "%s", t->name);
        end(t, PG_TASK_FAILED, now);
        return;
    }
    const char *v = pg_conn_rows(t->conn) > 0 ? pg_conn_value(t->conn, 0, 0) : NULL;
    if (!v || !str_to_i64(v, 0, INT64_MAX, &t->count))
        t->count = 0;
    end(t, PG_TASK_OK, now);
}

static void task_prepare(void *ctx, struct loop *l)
{
    const struct pg_task *t = ctx;
    if (t->state != PG_TASK_RUNNING)
        return;
    loop_wake_at(l, t->deadline_ms);
    if (pg_conn_state(t->conn) == PG_CONN_IDLE)
        loop_wake_now(l);
}

static void task_dispatch(void *ctx, struct loop *l)
{
    struct pg_task *t = ctx;
    int64_t now = loop_now(l);
    if (t->state != PG_TASK_RUNNING)
        return;
    enum pg_conn_state s = pg_conn_state(t->conn);
    if (t->sent && s != PG_CONN_BUSY) {
        take(t, now); /* also a lost session: its error is that of the query */
    } else if (!t->sent && s == PG_CONN_IDLE) {
        send_sql(t, now);
    } else if (!t->sent && now >= t->deadline_ms) {
        const struct err *why = pg_conn_error(t->conn);
        err_set(&t->error, ERR_TIMEOUT, "%s: no session%s%s", t->name, why->kind ? ": " : "",
                why->kind ? why->msg : "");
        end(t, PG_TASK_FAILED, now);
    }
}

static bool begin(struct pg_task *t, const char *name, struct err *e)
{
    if (t->state == PG_TASK_RUNNING)
        return err_set(e, ERR_CONFLICT, "%s: %s is still running", name, t->name);
    buf_clear(&t->sql);
    t->name = name;
    t->roles = false;
    t->passwords = 0;
    t->count = 0;
    t->begun_ms = t->done_ms = 0;
    return true;
}

static bool run(struct pg_task *t, int64_t deadline_ms, struct err *e)
{
    if (t->sql.overflow)
        return err_set(e, ERR_BUG, "%s: the statement is too long", t->name);
    t->deadline_ms = deadline_ms;
    t->sent = false;
    t->state = PG_TASK_RUNNING;
    pg_conn_open(t->conn);
    if (pg_conn_state(t->conn) == PG_CONN_IDLE)
        send_sql(t, loop_now(pg_engine_loop(t->engine)));
    return true;
}

/* ---- what it can do ---- */

bool pg_task_checkpoint(struct pg_task *t, int64_t deadline_ms, struct err *e)
{
    if (!begin(t, "checkpoint", e))
        return false;
    buf_puts(&t->sql, "CHECKPOINT");
    return run(t, deadline_ms, e);
}

bool pg_task_end_clients(struct pg_task *t, int64_t deadline_ms, struct err *e)
{
    if (!begin(t, "ending read-only clients", e))
        return false;
    buf_puts(&t->sql,
             "SELECT count(*) FROM (SELECT CASE WHEN pg_is_in_recovery() THEN"
             " pg_terminate_backend(pid) END AS done FROM pg_stat_activity"
             " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
             " AND NOT (application_name = 'pghad' AND usename = ");
    pg_sql_quote(&t->sql, t->env->superuser);
    buf_puts(&t->sql, " AND client_addr IS NULL)) x WHERE done");
    return run(t, deadline_ms, e);
}

bool pg_task_end_senders(struct pg_task *t, uint64_t keep, int64_t deadline_ms, struct err *e)
{
    char name[PG_MEMBER_SIZE] = "";
    if (!begin(t, "ending walsenders", e))
        return false;
    if (keep)
        pg_member_name(name, keep);
    buf_printf(&t->sql,
               "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) AS done"
               " FROM pg_stat_activity WHERE backend_type = 'walsender'"
               " AND application_name <> '%s') x WHERE done",
               keep ? name : "pghad_none");
    return run(t, deadline_ms, e);
}

/* A slot that walsends or whose member is gone may change between the look and the call: each
 * action has its own block, so that one failure does not undo the others. */
bool pg_task_slots(struct pg_task *t, const struct pg_slot_want *want, size_t n, bool drop,
                   int64_t deadline_ms, struct err *e)
{
    struct buf *b = &t->sql;
    char name[PG_MEMBER_SIZE], lsn[20];
    if (!begin(t, "replication slots", e))
        return false;
    buf_puts(b, "DO $pghad$ BEGIN ");
    for (size_t i = 0; i < n; i++) {
        pg_member_name(name, want[i].volume);
        buf_printf(b,
                   "IF NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = '%s') THEN "
                   "PERFORM pg_create_physical_replication_slot('%s', true); END IF; ",
                   name, name);
        if (!want[i].advance)
            continue;
        pg_lsn_format(lsn, want[i].advance);
        buf_printf(b,
                   "BEGIN PERFORM pg_replication_slot_advance(slot_name, least('%s'::pg_lsn, CASE "
                   "WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE "
                   "pg_current_wal_flush_lsn() END)) FROM pg_replication_slots WHERE slot_name = "
                   "'%s' AND NOT active AND restart_lsn < '%s'::pg_lsn; EXCEPTION WHEN OTHERS THEN "
                   "NULL; END; ",
                   lsn, name, lsn);
    }
    if (drop) {
        buf_puts(b, "BEGIN PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                    "WHERE slot_type = 'physical' AND NOT active AND slot_name ~ "
                    "'^m_[0-9a-f]{16}$' AND slot_name <> ALL (ARRAY['pghad_none'");
        for (size_t i = 0; i < n; i++) {
            pg_member_name(name, want[i].volume);
            buf_printf(b, ", '%s'", name);
        }
        buf_puts(b, "]::name[]); EXCEPTION WHEN OTHERS THEN NULL; END; ");
    }
    /* A failover slot of the time when this was the primary: nobody can read it here, and PostgreSQL stops
     * making copies of all of them while one of that name is in the way. */
    buf_puts(b, "IF pg_is_in_recovery() AND current_setting('server_version_num')::int >= 170000 THEN "
                "BEGIN PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE failover "
                "AND NOT synced AND NOT active; EXCEPTION WHEN OTHERS THEN NULL; END; END IF; ");
    buf_puts(b, "END $pghad$; SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ "
                "'^m_[0-9a-f]{16}$'");
    return run(t, deadline_ms, e);
}

bool pg_task_roles(struct pg_task *t, unsigned passwords, int64_t deadline_ms, struct err *e)
{
    if (!begin(t, "roles", e))
        return false;
    t->roles = true;
    t->passwords = passwords;
    return run(t, deadline_ms, e);
}

/* ---- life ---- */

struct pg_task *pg_task_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_task *t = calloc(1, sizeof(*t));
    must(t != NULL);
    t->engine = g;
    t->env = env;
    t->name = "nothing";
    buf_init(&t->sql, SQL_MAX);
    t->conn = pg_conn_local(g, env, false);
    t->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = t,
                                   .prepare = task_prepare,
                                   .dispatch = task_dispatch};
    pg_engine_add(g, &t->driver);
    return t;
}

void pg_task_free(struct pg_task *t)
{
    if (!t)
        return;
    pg_engine_remove(t->engine, &t->driver);
    pg_conn_free(t->conn);
    buf_done(&t->sql);
    free(t);
}

void pg_task_cancel(struct pg_task *t)
{
    if (t->state == PG_TASK_RUNNING) {
        err_set(&t->error, ERR_TIMEOUT, "%s: given up", t->name);
        end(t, PG_TASK_FAILED, loop_now(pg_engine_loop(t->engine)));
    }
    pg_conn_close(t->conn);
}

enum pg_task_state pg_task_state(const struct pg_task *t)
{
    return t->state;
}

const char *pg_task_name(const struct pg_task *t)
{
    return t->name;
}

int64_t pg_task_begun_ms(const struct pg_task *t)
{
    return t->begun_ms;
}

int64_t pg_task_done_ms(const struct pg_task *t)
{
    return t->done_ms;
}

const struct err *pg_task_error(const struct pg_task *t)
{
    return &t->error;
}

int64_t pg_task_count(const struct pg_task *t)
{
    return t->count;
}
