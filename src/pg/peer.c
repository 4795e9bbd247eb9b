/* Questions to another member's server, over a session that knows SQL and replication commands. */
#include "pg/peer.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "pg/conn.h"

static const char identity_sql[] =
    "SELECT s.system_identifier, c.timeline_id, pg_is_in_recovery(),"
    " CASE WHEN NOT pg_is_in_recovery()"
    "  THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END,"
    " CASE WHEN pg_is_in_recovery()"
    "  THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
    "  ELSE pg_current_wal_flush_lsn() END"
    " FROM pg_control_system() s, pg_control_checkpoint() c";

enum step { STEP_IDENTITY, STEP_HISTORY };

struct pg_peer {
    struct pg_engine *engine;
    const struct pg_env *env;
    struct pg_driver driver;
    struct pg_conn *conn;
    enum pg_peer_state state;
    enum step step;
    bool sent;
    int64_t deadline_ms;
    struct pg_peer_facts facts;
    struct err error;
};

static void end(struct pg_peer *p, enum pg_peer_state state)
{
    p->state = state;
    pg_conn_free(p->conn);
    p->conn = NULL;
}

static void fail(struct pg_peer *p, const struct err *e)
{
    p->error = *e;
    end(p, PG_PEER_FAILED);
}

static bool take_identity(struct pg_peer *p, struct err *e)
{
    struct pg_peer_facts *f = &p->facts;
    const char *v[5];
    int64_t system, checkpoint;
    uint64_t tl;
    for (int i = 0; i < 5; i++)
        v[i] = pg_conn_rows(p->conn) == 1 && pg_conn_columns(p->conn) == 5
                   ? pg_conn_value(p->conn, 0, i)
                   : NULL;
    if (!v[0] || !v[1] || !v[2] || !str_to_i64(v[0], INT64_MIN, INT64_MAX, &system) ||
        !str_to_i64(v[1], 1, UINT32_MAX, &checkpoint) ||
        (v[4] && !pg_lsn_parse(v[4], &f->flushed_lsn)))
        return err_set(e, ERR_CORRUPT, "peer: its answer cannot be read");
    f->system_id = (uint64_t)system;
    f->server_version = (uint32_t)pg_conn_server_version(p->conn);
    f->checkpoint_timeline = (uint32_t)checkpoint;
    f->in_recovery = strcmp(v[2], "t") == 0 ? TRI_YES : TRI_NO;
    f->timeline = f->checkpoint_timeline;
    if (v[3] && str_to_hex64(v[3], &tl))
        f->timeline = (uint32_t)tl;
    return true;
}

static bool take_history(struct pg_peer *p, struct err *e)
{
    const char *text = pg_conn_rows(p->conn) == 1 && pg_conn_columns(p->conn) == 2
                           ? pg_conn_value(p->conn, 0, 1)
                           : NULL;
    if (!text)
        return err_set(e, ERR_CORRUPT, "peer: it sent no history of timeline %u",
                       p->facts.timeline);
    return pg_history_parse(&p->facts.history, p->facts.timeline, text, e);
}

static void send_step(struct pg_peer *p)
{
    char sql[64];
    struct err e;
    must(str_format(sql, sizeof(sql), "TIMELINE_HISTORY %u", p->facts.timeline));
    p->sent = true;
    if (!pg_conn_exec(p->conn, p->step == STEP_IDENTITY ? identity_sql : sql, p->deadline_ms, &e))
        fail(p, &e);
}

static void take_step(struct pg_peer *p)
{
    struct err e;
    p->sent = false;
    if (pg_conn_query_state(p->conn) != PG_QUERY_OK) {
        fail(p, pg_conn_query_error(p->conn));
        return;
    }
    if (p->step == STEP_IDENTITY) {
        p->facts.at_ms = pg_conn_query_sent_ms(p->conn);
        if (!take_identity(p, &e)) {
            fail(p, &e);
            return;
        }
        if (p->facts.timeline > 1) {
            p->step = STEP_HISTORY;
            send_step(p);
            return;
        }
        must(pg_history_parse(&p->facts.history, 1, NULL, NULL));
    } else if (!take_history(p, &e)) {
        fail(p, &e);
        return;
    }
    end(p, PG_PEER_OK);
}

static void peer_prepare(void *ctx, struct loop *l)
{
    const struct pg_peer *p = ctx;
    if (p->state != PG_PEER_RUNNING)
        return;
    loop_wake_at(l, p->deadline_ms);
    if (pg_conn_state(p->conn) == PG_CONN_OFF || pg_conn_state(p->conn) == PG_CONN_IDLE)
        loop_wake_now(l);
}

static void peer_dispatch(void *ctx, struct loop *l)
{
    struct pg_peer *p = ctx;
    if (p->state != PG_PEER_RUNNING)
        return;
    enum pg_conn_state s = pg_conn_state(p->conn);
    struct err e;
    if (s == PG_CONN_OFF) {
        fail(p, pg_conn_error(p->conn));
    } else if (s == PG_CONN_IDLE && !p->sent) {
        send_step(p);
    } else if (s == PG_CONN_IDLE) {
        take_step(p);
    } else if (loop_now(l) >= p->deadline_ms) {
        err_set(&e, ERR_TIMEOUT, "peer: deadline passed");
        fail(p, &e);
    }
}

struct pg_peer *pg_peer_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_peer *p = calloc(1, sizeof(*p));
    must(p != NULL);
    p->engine = g;
    p->env = env;
    p->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = p,
                                   .prepare = peer_prepare,
                                   .dispatch = peer_dispatch};
    pg_engine_add(g, &p->driver);
    return p;
}

void pg_peer_free(struct pg_peer *p)
{
    if (!p)
        return;
    pg_engine_remove(p->engine, &p->driver);
    pg_conn_free(p->conn);
    free(p);
}

void pg_peer_ask(struct pg_peer *p, const char *hostaddr, uint16_t port, uint64_t epoch,
                 int64_t deadline_ms)
{
    char passfile[PG_PATH_SIZE];
    must(pg_passfile_path(passfile, p->env, epoch));
    pg_conn_free(p->conn);
    struct pg_conn_spec spec = {.hostaddr = hostaddr,
                                .port = port,
                                .user = p->env->repl_user,
                                .passfile = passfile,
                                .walsender = true,
                                .once = true};
    p->conn = pg_conn_new(p->engine, &spec);
    p->state = PG_PEER_RUNNING;
    p->step = STEP_IDENTITY;
    p->sent = false;
    p->deadline_ms = deadline_ms;
    p->facts = (struct pg_peer_facts){0};
    pg_conn_open(p->conn);
}

enum pg_peer_state pg_peer_state(const struct pg_peer *p)
{
    return p->state;
}

const struct pg_peer_facts *pg_peer_facts(const struct pg_peer *p)
{
    return &p->facts;
}

const struct err *pg_peer_error(const struct pg_peer *p)
{
    return &p->error;
}

enum tri pg_peer_diverged(const struct pg_peer_facts *f, struct position mine)
{
    if (f->timeline == 0 || mine.timeline == 0 || mine.lsn == 0)
        return TRI_UNKNOWN;
    if (!pg_history_contains(&f->history, mine.timeline, mine.lsn))
        return TRI_YES;
    if (mine.timeline == f->timeline) {
        if (f->flushed_lsn == 0)
            return TRI_UNKNOWN;
        if (mine.lsn > f->flushed_lsn)
            return TRI_YES;
    }
    return TRI_NO;
}
