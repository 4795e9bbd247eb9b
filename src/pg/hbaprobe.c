/* Proof that hba refuses clients: a connection the way clients come, by a role that is not ours. */
#include "pg/conf.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "pg/conn.h"

/* Need not exist: the first matching hba line is chosen before the role is looked up for login. */
#define NOBODY "pghad_nobody"

struct pg_hbaprobe {
    struct pg_engine *engine;
    const struct pg_env *env;
    struct pg_driver driver;
    struct pg_conn *conn;
    int64_t deadline_ms;
    int64_t at_ms;
    bool done;
    enum tri closed;
};

static void finish(struct pg_hbaprobe *p, enum tri closed)
{
    p->closed = closed;
    p->done = true;
    pg_conn_free(p->conn);
    p->conn = NULL;
}

static void probe_prepare(void *ctx, struct loop *l)
{
    const struct pg_hbaprobe *p = ctx;
    if (p->conn && pg_conn_state(p->conn) == PG_CONN_OFF)
        loop_wake_now(l);
    else if (p->conn)
        loop_wake_at(l, p->deadline_ms);
}

static void probe_dispatch(void *ctx, struct loop *l)
{
    struct pg_hbaprobe *p = ctx;
    if (!p->conn)
        return;
    if (pg_conn_state(p->conn) == PG_CONN_IDLE) {
        finish(p, TRI_NO);
    } else if (pg_conn_state(p->conn) == PG_CONN_OFF) {
        const char *state = pg_conn_error_state(p->conn);
        const struct err *e = pg_conn_error(p->conn);
        /* 28000 is also "role may not log in"; only hba's own refusals name the file, in every
         * language of the server's messages. */
        if (strcmp(state, "28000") == 0 && strstr(e->msg, "pg_hba.conf"))
            finish(p, TRI_YES);
        else if (strcmp(state, "28P01") == 0 || strcmp(state, "28000") == 0 ||
                 strstr(e->msg, "no password supplied"))
            finish(p, TRI_NO);
        else
            finish(p, TRI_UNKNOWN);
    } else if (loop_now(l) >= p->deadline_ms) {
        finish(p, TRI_UNKNOWN);
    }
}

struct pg_hbaprobe *pg_hbaprobe_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_hbaprobe *p = calloc(1, sizeof(*p));
    must(p != NULL);
    p->engine = g;
    p->env = env;
    p->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = p,
                                   .prepare = probe_prepare,
                                   .dispatch = probe_dispatch};
    pg_engine_add(g, &p->driver);
    return p;
}

void pg_hbaprobe_free(struct pg_hbaprobe *p)
{
    if (!p)
        return;
    pg_engine_remove(p->engine, &p->driver);
    pg_conn_free(p->conn);
    free(p);
}

void pg_hbaprobe_begin(struct pg_hbaprobe *p, const char *hostaddr, int64_t deadline_ms)
{
    pg_conn_free(p->conn);
    struct pg_conn_spec spec = {
        .hostaddr = hostaddr, .port = p->env->port, .user = NOBODY, .once = true};
    p->conn = pg_conn_new(p->engine, &spec);
    p->done = false;
    p->closed = TRI_UNKNOWN;
    p->deadline_ms = deadline_ms;
    p->at_ms = loop_now(pg_engine_loop(p->engine));
    pg_conn_open(p->conn);
}

bool pg_hbaprobe_done(const struct pg_hbaprobe *p)
{
    return p->done;
}

enum tri pg_hbaprobe_closed(const struct pg_hbaprobe *p)
{
    return p->done ? p->closed : TRI_UNKNOWN;
}

int64_t pg_hbaprobe_at_ms(const struct pg_hbaprobe *p)
{
    return p->at_ms;
}
