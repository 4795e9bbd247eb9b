/* Versions of the databases' collations, recorded and real. */
#include "pg/collation.h"

#include <stdlib.h>

#include "base/must.h"
#include "base/str.h"
#include "pg/conn.h"

static const char sql[] =
    "SELECT datname, datcollversion, coalesce(pg_database_collation_actual_version(oid), 'none'),"
    " count(*) OVER () FROM pg_database WHERE datallowconn AND datcollversion IS NOT NULL AND"
    " datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) ORDER BY 1 LIMIT 1";

struct pg_collation {
    struct pg_engine *engine;
    struct pg_driver driver;
    const struct pg_env *env;
    struct pg_conn *conn; /* while it is being asked */
    bool sent;
    int64_t deadline_ms;
    enum tri differs;
    char text[PG_COLLATION_TEXT_SIZE];
};

static void end(struct pg_collation *c)
{
    pg_conn_free(c->conn);
    c->conn = NULL;
}

static void take(struct pg_collation *c)
{
    if (pg_conn_query_state(c->conn) != PG_QUERY_OK)
        return;
    c->differs = pg_conn_rows(c->conn) > 0 ? TRI_YES : TRI_NO;
    c->text[0] = '\0';
    if (c->differs == TRI_NO)
        return;
    const char *more = pg_conn_value(c->conn, 0, 3);
    (void)str_format(c->text, sizeof(c->text), "database %.40s%s: made with version %.20s, here is %.20s",
                     pg_conn_value(c->conn, 0, 0), str_eq(more, "1") ? "" : " (and others)",
                     pg_conn_value(c->conn, 0, 1), pg_conn_value(c->conn, 0, 2));
}

static void collation_prepare(void *ctx, struct loop *l)
{
    const struct pg_collation *c = ctx;
    if (!c->conn)
        return;
    loop_wake_at(l, c->deadline_ms);
    if (pg_conn_state(c->conn) == PG_CONN_IDLE || pg_conn_state(c->conn) == PG_CONN_OFF)
        loop_wake_now(l);
}

static void collation_dispatch(void *ctx, struct loop *l)
{
    struct pg_collation *c = ctx;
    if (!c->conn)
        return;
    enum pg_conn_state s = pg_conn_state(c->conn);
    bool asked = c->sent;
    if (!asked && s == PG_CONN_IDLE)
        c->sent = pg_conn_query(c->conn, sql, 0, NULL, c->deadline_ms, NULL);
    else if (asked && s != PG_CONN_BUSY)
        take(c);
    if ((asked && s != PG_CONN_BUSY) || s == PG_CONN_OFF || loop_now(l) >= c->deadline_ms)
        end(c);
}

struct pg_collation *pg_collation_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_collation *c = calloc(1, sizeof(*c));
    must(c != NULL);
    c->engine = g;
    c->env = env;
    c->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = c,
                                   .prepare = collation_prepare,
                                   .dispatch = collation_dispatch};
    pg_engine_add(g, &c->driver);
    return c;
}

void pg_collation_free(struct pg_collation *c)
{
    if (!c)
        return;
    pg_engine_remove(c->engine, &c->driver);
    end(c);
    free(c);
}

void pg_collation_ask(struct pg_collation *c, int64_t deadline_ms)
{
    if (c->conn)
        return;
    c->sent = false;
    c->deadline_ms = deadline_ms;
    c->conn = pg_conn_local(c->engine, c->env, true);
    pg_conn_open(c->conn);
}

bool pg_collation_asking(const struct pg_collation *c)
{
    return c->conn != NULL;
}

void pg_collation_forget(struct pg_collation *c)
{
    end(c);
    c->differs = TRI_UNKNOWN;
    c->text[0] = '\0';
}

enum tri pg_collation_differs(const struct pg_collation *c)
{
    return c->differs;
}

const char *pg_collation_text(const struct pg_collation *c)
{
    return c->text;
}
