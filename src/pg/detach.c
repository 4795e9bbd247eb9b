/* DETACH: after FROZEN no WAL of an older epoch can reach this data directory any more. */
#include "pg/detach.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "pg/conn.h"
#include "pg/proctree.h"

#define LOOK_EVERY_MS 3
#define RELOAD_EVERY_MS 500
#define QUERY_MS 1000
#define LOOKS 2
#define DENIALS_MAX 10

static const char show_sql[] = "SELECT current_setting('primary_conninfo') = ''"
                               " AND current_setting('restore_command') = ''";
enum step { STEP_FILES, STEP_SETTING, STEP_RECEIVER };

struct pg_detach {
    struct pg_engine *engine;
    const struct pg_env *env;
    struct pg_driver driver;
    struct pg_conn *conn; /* a new session for each question: it shows what is in force */
    struct pg_conf *conf;
    enum pg_detach_state state;
    enum step step;
    uint64_t epoch;
    pid_t postmaster;
    bool asked;
    unsigned looks;
    unsigned denials;    /* fresh sessions that showed the old value */
    int64_t next_ms;
    int64_t reload_ms;
    struct err error;
};

/* ---- steps ---- */

static bool write_files(struct pg_detach *d, struct err *e)
{
    /* First the passwords: from here on no receiver can log in with settings of an older epoch. */
    if (!pg_passfile_drop(d->env, d->epoch, e))
        return false;
    pg_conf_set_upstream(d->conf, NULL);
    return pg_conf_write(d->conf, NULL, e);
}

static void step_files(struct pg_detach *d, int64_t now)
{
    if (!write_files(d, &d->error)) {
        d->next_ms = now + RELOAD_EVERY_MS; /* e.g. disk full: heals or the caller gives up */
        return;
    }
    if (d->postmaster == 0) {
        d->state = PG_DETACH_FROZEN;
        return;
    }
    d->step = STEP_SETTING;
    d->reload_ms = 0;
    d->asked = false;
    d->denials = 0;
    d->next_ms = now;
}

/* A fresh session did not show it (yet): the postmaster may not have read the file. */
static void setting_denied(struct pg_detach *d, int64_t now)
{
    d->next_ms = now + LOOK_EVERY_MS;
    if (++d->denials % DENIALS_MAX != 0)
        return;
    /* Then it comes from the user's ALTER SYSTEM, whose file is read after ours. */
    pg_conf_strip_auto(d->conf, &d->error);
    d->reload_ms = now;
}

static void take_setting(struct pg_detach *d, int64_t now)
{
    if (pg_conn_query_state(d->conn) != PG_QUERY_OK) {
        d->error = *pg_conn_query_error(d->conn);
        d->next_ms = now + LOOK_EVERY_MS;
    } else {
        const char *v = pg_conn_rows(d->conn) == 1 ? pg_conn_value(d->conn, 0, 0) : NULL;
        if (v && strcmp(v, "t") == 0) {
            d->step = STEP_RECEIVER;
            d->looks = 0;
            d->next_ms = now;
        } else {
            setting_denied(d, now);
        }
    }
    pg_conn_close(d->conn);
}

static void step_setting(struct pg_detach *d, int64_t now)
{
    if (now >= d->reload_ms) {
        pg_conf_reload(d->postmaster, &d->error);
        d->reload_ms = now + RELOAD_EVERY_MS;
    }
    switch (pg_conn_state(d->conn)) {
    case PG_CONN_OFF:
        if (d->asked)
            d->error = *pg_conn_error(d->conn); /* refused while starting up: try again */
        d->asked = false;
        if (now >= d->next_ms) {
            pg_conn_open(d->conn);
            d->asked = true;
            d->next_ms = now + LOOK_EVERY_MS;
        }
        return;
    case PG_CONN_IDLE:
        if (pg_conn_query_state(d->conn) == PG_QUERY_RUNNING)
            return;
        if (d->asked) {
            d->asked = false;
            if (!pg_conn_exec(d->conn, show_sql, now + QUERY_MS, &d->error))
                pg_conn_close(d->conn);
        } else {
            take_setting(d, now);
        }
        return;
    case PG_CONN_WAITING:
    case PG_CONN_CONNECTING:
    case PG_CONN_BUSY:
        return;
    }
}

static void step_receiver(struct pg_detach *d, int64_t now)
{
    struct pg_proctree t;
    if (now < d->next_ms)
        return;
    d->next_ms = now + LOOK_EVERY_MS;
    if (!pg_proctree_read(&t, d->postmaster, d->env->cluster_name, &d->error))
        return;
    enum tri has = pg_proctree_has_walreceiver(&t);
    if (has == TRI_YES)
        pg_proctree_end_walreceiver(&t, &d->error);
    d->looks = has == TRI_NO ? d->looks + 1 : 0;
    if (d->looks >= LOOKS)
        d->state = PG_DETACH_FROZEN;
}

/* ---- the driver ---- */

static void detach_prepare(void *ctx, struct loop *l)
{
    const struct pg_detach *d = ctx;
    if (d->state != PG_DETACH_RUNNING)
        return;
    if (d->step == STEP_SETTING) {
        loop_wake_at(l, d->reload_ms);
        enum pg_conn_state s = pg_conn_state(d->conn);
        if (s == PG_CONN_IDLE)
            loop_wake_now(l);
        else if (s != PG_CONN_OFF)
            return;
    }
    loop_wake_at(l, d->next_ms);
}

static void detach_dispatch(void *ctx, struct loop *l)
{
    struct pg_detach *d = ctx;
    int64_t now = loop_now(l);
    if (d->state != PG_DETACH_RUNNING)
        return;
    if (d->step == STEP_FILES && now >= d->next_ms)
        step_files(d, now);
    if (d->state == PG_DETACH_RUNNING && d->step == STEP_SETTING)
        step_setting(d, now);
    if (d->state == PG_DETACH_RUNNING && d->step == STEP_RECEIVER)
        step_receiver(d, now);
}

/* ---- life ---- */

struct pg_detach *pg_detach_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_detach *d = calloc(1, sizeof(*d));
    must(d != NULL);
    d->engine = g;
    d->env = env;
    d->conn = pg_conn_local(g, env, true);
    d->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = d,
                                   .prepare = detach_prepare,
                                   .dispatch = detach_dispatch};
    pg_engine_add(g, &d->driver);
    return d;
}

void pg_detach_free(struct pg_detach *d)
{
    if (!d)
        return;
    pg_engine_remove(d->engine, &d->driver);
    pg_conn_free(d->conn);
    free(d);
}

static void restart(struct pg_detach *d)
{
    d->state = PG_DETACH_RUNNING;
    d->step = STEP_FILES;
    d->next_ms = 0;
    d->error = (struct err){0};
    pg_conn_close(d->conn);
    /* The files at once: the sooner the old epoch cannot log in, the better. */
    step_files(d, loop_now(pg_engine_loop(d->engine)));
}

void pg_detach_begin(struct pg_detach *d, uint64_t epoch, struct pg_conf *conf, pid_t postmaster)
{
    if (d->state != PG_DETACH_IDLE && d->epoch == epoch && d->postmaster == postmaster)
        return;
    if (d->state != PG_DETACH_IDLE && d->epoch > epoch)
        return;
    d->epoch = epoch;
    d->conf = conf;
    d->postmaster = postmaster;
    restart(d);
}

void pg_detach_set_postmaster(struct pg_detach *d, pid_t postmaster)
{
    if (d->state == PG_DETACH_IDLE || d->postmaster == postmaster)
        return;
    d->postmaster = postmaster;
    /* A server that was started from the detached settings has no receiver to end, but the proof is
     * asked for all the same. */
    restart(d);
}

void pg_detach_reset(struct pg_detach *d)
{
    pg_conn_close(d->conn);
    d->state = PG_DETACH_IDLE;
    d->epoch = 0;
    d->conf = NULL;
}

enum pg_detach_state pg_detach_state(const struct pg_detach *d)
{
    return d->state;
}

uint64_t pg_detach_epoch(const struct pg_detach *d)
{
    return d->epoch;
}

const char *pg_detach_step(const struct pg_detach *d)
{
    static const char *const names[] = {
        [STEP_FILES] = "writing the detached settings",
        [STEP_SETTING] = "waiting until the settings are in force",
        [STEP_RECEIVER] = "waiting until the walreceiver has ended",
    };
    switch (d->state) {
    case PG_DETACH_IDLE:
        return "idle";
    case PG_DETACH_FROZEN:
        return "frozen";
    case PG_DETACH_RUNNING:
        return names[d->step];
    }
    return "?";
}

const struct err *pg_detach_error(const struct pg_detach *d)
{
    return &d->error;
}
