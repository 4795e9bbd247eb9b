/* Looks at the local server again and again, over one open session, and now and then over a
 * fresh one (a session that is open keeps its own copy of the settings). */
#include "pg/probe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "pg/conn.h"
#include "fresh_private.h"

#define LOOK_DEADLINE_MS 3000
#define FULL_EVERY_MS 1000
#define STALE_MS 1000

#define EPOCH_US(x) "coalesce((extract(epoch from " x ") * 1000000)::int8, 0)"

/* In this order: the columns of enum column. Replay functions fail once recovery has ended, also in
 * the middle of this statement; it is then asked again. */
#define LIGHT                                                                                      \
    "SELECT pg_is_in_recovery(),"                                                                  \
    " CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END,"                            \
    " CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() END,"                      \
    " CASE WHEN NOT pg_is_in_recovery()"                                                           \
    "  THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END,"                       \
    " pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(),"                                        \
    " CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END,"                           \
    " w.status, w.received_tli, w.slot_name,"                                                      \
    " substring(w.conninfo from 'hostaddr=([^ ]*)'),"                                              \
    " c.timeline_id, r.min_recovery_end_timeline, s.system_identifier,"                            \
    " " EPOCH_US("pg_postmaster_start_time()") ","                                                 \
    " (SELECT string_agg(concat_ws(E'\\t', pid, application_name,"                                 \
    "   translate(coalesce(usename, ''), E'\\t\\n', '__'), coalesce(state, ''),"                   \
    "   coalesce(sync_state, ''), coalesce(write_lsn::text, ''), coalesce(flush_lsn::text, ''),"   \
    "   coalesce(replay_lsn::text, ''), " EPOCH_US("reply_time") ","                               \
    "   " EPOCH_US("backend_start") "), E'\\n') FROM pg_stat_replication)"

#define FULL                                                                                       \
    ", (SELECT string_agg(concat_ws(E'\\t', slot_name, slot_type = 'physical', active,"            \
    "   coalesce(restart_lsn::text, ''), coalesce(wal_status = 'lost', false),"                    \
    "   CASE WHEN slot_type = 'logical' AND NOT temporary THEN"                                    \
    "   coalesce(to_jsonb(s) ->> 'failover', 'false') = 'false' ELSE false END), E'\\n')"          \
    "  FROM pg_replication_slots s),"                                                              \
    " (SELECT string_agg(name, E'\\n') FROM pg_settings WHERE pending_restart),"                   \
    " concat_ws(' ', current_setting('max_connections'),"                                          \
    "   current_setting('max_worker_processes'), current_setting('max_wal_senders'),"              \
    "   current_setting('max_prepared_transactions'), current_setting('max_locks_per_transaction')),"\
    " coalesce((extract(epoch from (clock_timestamp() - min(a.xact_start)"                         \
    "   FILTER (WHERE a.backend_type = 'client backend'))) * 1000)::int8, 0),"                     \
    " count(*) FILTER (WHERE a.backend_type = 'client backend' AND a.application_name <> 'pghad'),"\
    " max(a.pid) FILTER (WHERE a.backend_type = 'checkpointer'),"                                  \
    " max(a.pid) FILTER (WHERE a.backend_type = 'startup'),"                                       \
    " coalesce(current_setting('pghad_gate.active', true), 'off') = 'on',"                         \
    " coalesce(current_setting('pghad_gate.strict', true), 'off') = 'on',"                         \
    " (SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database),"                         \
    " " EPOCH_US("pg_last_xact_replay_timestamp()")

#define FROM                                                                                       \
    " FROM pg_control_checkpoint() c CROSS JOIN pg_control_recovery() r"                           \
    " CROSS JOIN pg_control_system() s LEFT JOIN pg_stat_wal_receiver w ON true"

/* Planned once in each session: to parse and plan a look costs the server some five times what it
 * costs to take it, and in a failover there is one every few milliseconds. */
static const char prepare_sql[] =
    "DEALLOCATE ALL;"
    "PREPARE light AS " LIGHT FROM ";"
    "PREPARE whole AS " LIGHT FULL FROM " CROSS JOIN pg_stat_activity a"
    " GROUP BY 8, 9, 10, 11, 12, 13, 14";
static const char light_sql[] = "EXECUTE light";
static const char full_sql[] = "EXECUTE whole";

enum column {
    C_RECOVERY,
    C_WRITE,
    C_FLUSH,
    C_TIMELINE,
    C_RECEIVED,
    C_REPLAYED,
    C_PAUSED,
    C_RECV_STATUS,
    C_RECV_TIMELINE,
    C_RECV_SLOT,
    C_RECV_HOST,
    C_CHECKPOINT_TIMELINE,
    C_MIN_TIMELINE,
    C_SYSTEM,
    C_START,
    C_SENDERS,
    C_LIGHT_END,
    C_SLOTS = C_LIGHT_END,
    C_PENDING,
    C_NEEDS,
    C_XACT,
    C_CLIENTS,
    C_CHECKPOINTER,
    C_STARTUP,
    C_GATE,
    C_GATE_STRICT,
    C_DAMAGED,
    C_REPLAYED_AT,
};

struct pg_probe {
    struct pg_engine *engine;
    const struct pg_env *env;
    struct pg_driver driver;
    struct pg_conn *conn;
    struct pg_fresh fresh;
    bool wanted;
    int64_t interval_ms;
    int64_t next_ms;        /* next look; 0 = at once */
    int64_t next_full_ms;
    bool preparing, looking, looking_full;
    int64_t prepared_ms; /* the session that has the statements, by when it began; 0 = none */

    struct pg_facts facts;
    struct pg_history history, received_history; /* timeline 0 = not read */
    struct err error;
};

/* ---- parsing one look ---- */

static bool read_lsn(struct pg_conn *c, int column, uint64_t *ret)
{
    const char *s = pg_conn_value(c, 0, column);
    *ret = 0;
    return !s || pg_lsn_parse(s, ret);
}

static bool read_int(struct pg_conn *c, int column, int64_t *ret)
{
    const char *s = pg_conn_value(c, 0, column);
    *ret = 0;
    return !s || str_to_i64(s, INT64_MIN, INT64_MAX, ret);
}

static bool read_u32(struct pg_conn *c, int column, uint32_t *ret)
{
    int64_t v;
    if (!read_int(c, column, &v) || v < 0 || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

/* NULL gives "". */
static bool read_text(struct pg_conn *c, int column, char *dst, size_t size)
{
    const char *s = pg_conn_value(c, 0, column);
    return str_copy(dst, size, s ? s : "");
}

static bool is_true(struct pg_conn *c, int column)
{
    const char *s = pg_conn_value(c, 0, column);
    return s && strcmp(s, "t") == 0;
}

/* "postgres: name: startup recovering 00000002000000000000003A": the timeline of the segment that
 * replay reads. No SQL function tells it. */
static uint32_t startup_timeline(int32_t pid)
{
    char path[64], text[256];
    uint64_t tl;
    if (pid <= 0 || !str_format(path, sizeof(path), "/proc/%d/cmdline", pid))
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    fd_close(&fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *p = strstr(text, "startup recovering ");
    if (!p)
        return 0;
    p += strlen("startup recovering ");
    char hex[9] = "";
    if (strspn(p, "0123456789ABCDEF") != 24)
        return 0;
    memcpy(hex, p, 8);
    return str_to_hex64(hex, &tl) ? (uint32_t)tl : 0;
}

static uint32_t max_tl(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Timeline of the last record before lsn in the history of tl; 0 = not known: such a position
 * cannot be ordered. */
static uint32_t timeline_at(struct pg_probe *p, struct pg_history *cache, uint32_t tl, uint64_t lsn)
{
    char dir[PG_PATH_SIZE];
    if (tl == 0)
        return 0;
    if (cache->timeline != tl && (!pg_path(dir, p->env->data_dir, "pg_wal") ||
                                  !pg_history_read(cache, dir, tl, NULL))) {
        cache->timeline = 0;
        return 0;
    }
    return pg_history_timeline_of(cache, lsn);
}

/* Received and replayed WAL each by its own timeline: a receiver that has just switched names
 * the new one although it has flushed none of its records, and what it had received before may
 * lie on a timeline that replay has left. Nor does what was replayed lie on a timeline that replay
 * refused because it forks off before it. */
static void set_position(struct pg_probe *p, struct pg_facts *f)
{
    if (f->in_recovery == TRI_NO) {
        f->position = (struct position){.timeline = f->timeline, .lsn = f->flush_lsn};
        return;
    }
    uint32_t received_tl = f->received_timeline ? f->received_timeline : f->timeline;
    struct position got = {.lsn = f->received_lsn}, done = {.lsn = f->replayed_lsn};
    if (got.lsn)
        got.timeline = timeline_at(p, &p->received_history, received_tl, got.lsn);
    uint32_t done_tl = f->replay_timeline ? f->replay_timeline : f->timeline;
    if (done.lsn)
        done.timeline = timeline_at(p, &p->history, done_tl, done.lsn);
    bool got_wins = got.timeline > done.timeline ||
                    (got.timeline == done.timeline && got.lsn > done.lsn);
    f->position = got_wins ? got : done;
}

static bool read_standby(struct pg_conn *c, const struct pg_facts *old, struct pg_facts *f)
{
    char status[32];
    uint32_t min_tl;
    if (!read_lsn(c, C_RECEIVED, &f->received_lsn) || !read_lsn(c, C_REPLAYED, &f->replayed_lsn) ||
        !read_text(c, C_RECV_STATUS, status, sizeof(status)) ||
        !read_u32(c, C_RECV_TIMELINE, &f->received_timeline) ||
        !read_text(c, C_RECV_SLOT, f->receiver_slot, sizeof(f->receiver_slot)) ||
        !read_text(c, C_RECV_HOST, f->receiver_host, sizeof(f->receiver_host)) ||
        !read_u32(c, C_MIN_TIMELINE, &min_tl))
        return false;
    f->replay_paused = is_true(c, C_PAUSED);
    f->receiver = status[0] != '\0';
    f->receiver_streaming = strcmp(status, "streaming") == 0;
    /* A receiver that has gone leaves its position but not its timeline. */
    bool same_run = old->start_us == f->start_us;
    uint32_t replaying = startup_timeline(f->startup_pid);
    if (f->received_timeline == 0 && same_run && f->received_lsn != 0)
        f->received_timeline = old->received_timeline;
    f->timeline = max_tl(max_tl(f->checkpoint_timeline, min_tl),
                         max_tl(f->received_timeline, replaying));
    f->replay_timeline =
        replaying ? max_tl(replaying, max_tl(f->checkpoint_timeline, min_tl)) : 0;
    if (same_run && old->in_recovery == TRI_YES)
        f->timeline = max_tl(f->timeline, old->timeline);
    return true;
}

static bool read_primary(struct pg_conn *c, struct pg_facts *f)
{
    const char *tl = pg_conn_value(c, 0, C_TIMELINE);
    uint64_t v;
    if (!read_lsn(c, C_WRITE, &f->write_lsn) || !read_lsn(c, C_FLUSH, &f->flush_lsn) || !tl ||
        !str_to_hex64(tl, &v))
        return false;
    f->timeline = (uint32_t)v;
    return true;
}

static bool read_needs(struct pg_conn *c, struct pg_facts *f)
{
    const char *s = pg_conn_value(c, 0, C_NEEDS);
    for (int i = 0; i < PG_NEEDS; i++) {
        char *end = NULL;
        unsigned long v = s ? strtoul(s, &end, 10) : 0;
        if (!s || end == s || v > UINT32_MAX)
            return false;
        f->needs[i] = (uint32_t)v;
        s = end;
    }
    return true;
}

static bool read_full(struct pg_conn *c, struct pg_facts *f)
{
    int64_t clients, checkpointer, startup;
    if (!pg_facts_parse_slots(f, pg_conn_value(c, 0, C_SLOTS), NULL) ||
        !read_needs(c, f) || !read_int(c, C_XACT, &f->longest_xact_ms) || !read_int(c, C_CLIENTS, &clients) ||
        !read_int(c, C_CHECKPOINTER, &checkpointer) || !read_int(c, C_STARTUP, &startup) ||
        !read_int(c, C_DAMAGED, &f->damaged) || !read_int(c, C_REPLAYED_AT, &f->replayed_at_us))
        return false;
    f->clients = (uint32_t)clients;
    f->checkpointer_pid = (int32_t)checkpointer;
    f->startup_pid = (int32_t)startup;
    f->gate = is_true(c, C_GATE);
    f->gate_strict = is_true(c, C_GATE_STRICT);
    f->n_pending = 0;
    const char *s = pg_conn_value(c, 0, C_PENDING);
    while (s && *s && f->n_pending < PG_PENDING_MAX) {
        size_t n = strcspn(s, "\n");
        if (n < PG_NAME_SIZE) {
            memcpy(f->pending_restart[f->n_pending], s, n);
            f->pending_restart[f->n_pending++][n] = '\0';
        }
        s += n + (s[n] == '\n');
    }
    f->full_ms = f->at_ms;
    return true;
}

static bool read_look(struct pg_probe *p, struct pg_facts *f)
{
    struct pg_conn *c = p->conn;
    int64_t system, start;
    if (pg_conn_rows(c) != 1 || !read_int(c, C_SYSTEM, &system) || !read_int(c, C_START, &start) ||
        !read_u32(c, C_CHECKPOINT_TIMELINE, &f->checkpoint_timeline))
        return false;
    f->start_us = start;
    f->system_id = (uint64_t)system;
    f->server_version = (uint32_t)pg_conn_server_version(c);
    f->in_recovery = is_true(c, C_RECOVERY) ? TRI_YES : TRI_NO;
    f->write_lsn = f->flush_lsn = f->received_lsn = f->replayed_lsn = 0;
    f->receiver = f->receiver_streaming = f->replay_paused = false;
    f->received_timeline = 0;
    f->receiver_host[0] = f->receiver_slot[0] = '\0';
    if (p->looking_full && !read_full(c, f))
        return false;
    if (f->in_recovery == TRI_YES ? !read_standby(c, &p->facts, f) : !read_primary(c, f))
        return false;
    set_position(p, f);
    return pg_facts_parse_senders(f, pg_conn_value(c, 0, C_SENDERS), NULL);
}

/* ---- the open session ---- */

static void take_look(struct pg_probe *p, int64_t now)
{
    p->looking = false;
    if (pg_conn_query_state(p->conn) == PG_QUERY_FAILED) {
        p->error = *pg_conn_query_error(p->conn);
        p->next_ms = now; /* recovery may have ended in the middle of it */
        if (strcmp(pg_conn_query_sqlstate(p->conn), "55000") != 0) {
            p->next_ms += p->interval_ms;
            p->prepared_ms = 0; /* whatever it was: the statements may be gone */
        }
        return;
    }
    struct pg_facts f = p->facts;
    f.at_ms = pg_conn_query_sent_ms(p->conn);
    f.received_ms = now;
    f.valid = true;
    if (!read_look(p, &f)) {
        err_set(&p->error, ERR_CORRUPT, "probe: the answer cannot be read");
        return;
    }
    if (p->looking_full)
        p->next_full_ms = now + FULL_EVERY_MS;
    p->facts = f;
}

static void begin_look(struct pg_probe *p, int64_t now)
{
    p->next_ms = now + p->interval_ms;
    if (p->prepared_ms != pg_conn_since_ms(p->conn)) {
        p->preparing = pg_conn_exec(p->conn, prepare_sql, now + LOOK_DEADLINE_MS, &p->error);
        return;
    }
    p->looking_full = now >= p->next_full_ms;
    p->looking = pg_conn_exec(p->conn, p->looking_full ? full_sql : light_sql,
                              now + LOOK_DEADLINE_MS, &p->error);
}

static void end_preparing(struct pg_probe *p, int64_t now)
{
    p->preparing = false;
    if (pg_conn_query_state(p->conn) == PG_QUERY_OK) {
        p->prepared_ms = pg_conn_since_ms(p->conn);
        p->next_ms = now;
    } else {
        p->error = *pg_conn_query_error(p->conn);
    }
}

static void forget(struct pg_probe *p)
{
    struct pg_facts *f = &p->facts;
    /* Kept: what identifies the server run, so that a reconnect does not lose the timeline that its
     * walreceiver had reached. */
    f->valid = false;
    f->in_recovery = TRI_UNKNOWN;
    f->n_senders = 0;
    f->receiver = f->receiver_streaming = false;
    p->next_full_ms = 0;
    p->next_ms = 0;
}

/* ---- the driver ---- */

static void probe_prepare(void *ctx, struct loop *l)
{
    struct pg_probe *p = ctx;
    if (!p->wanted || pg_conn_state(p->conn) < PG_CONN_IDLE)
        return;
    if (!p->looking && !p->preparing)
        loop_wake_at(l, p->next_ms);
    pg_fresh_prepare(&p->fresh, l);
}

static void probe_dispatch(void *ctx, struct loop *l)
{
    struct pg_probe *p = ctx;
    int64_t now = loop_now(l);
    if (!p->wanted)
        return;
    enum pg_conn_state s = pg_conn_state(p->conn);
    if (p->preparing && s != PG_CONN_BUSY)
        end_preparing(p, now);
    if (p->looking && s != PG_CONN_BUSY)
        take_look(p, now);
    if (s < PG_CONN_IDLE) {
        if (p->facts.valid)
            forget(p);
        return;
    }
    if (s == PG_CONN_IDLE && now >= p->next_ms)
        begin_look(p, now);
    pg_fresh_step(&p->fresh, &p->facts, now);
}

/* ---- life ---- */

struct pg_probe *pg_probe_new(struct pg_engine *g, const struct pg_env *env)
{
    struct pg_probe *p = calloc(1, sizeof(*p));
    must(p != NULL);
    p->engine = g;
    p->env = env;
    p->interval_ms = 1000;
    p->conn = pg_conn_local(g, env, false);
    p->fresh.conn = pg_conn_local(g, env, true);
    p->driver = (struct pg_driver){.kind = PG_DRIVER_MACHINE,
                                   .ctx = p,
                                   .prepare = probe_prepare,
                                   .dispatch = probe_dispatch};
    pg_engine_add(g, &p->driver);
    return p;
}

void pg_probe_free(struct pg_probe *p)
{
    if (!p)
        return;
    pg_engine_remove(p->engine, &p->driver);
    pg_conn_free(p->conn);
    pg_conn_free(p->fresh.conn);
    free(p);
}

void pg_probe_want(struct pg_probe *p, bool up)
{
    if (up == p->wanted)
        return;
    p->wanted = up;
    if (up) {
        pg_conn_open(p->conn);
        return;
    }
    pg_conn_close(p->conn);
    pg_fresh_stop(&p->fresh);
    p->preparing = p->looking = false;
    p->facts.fresh_ms = 0;
    forget(p);
}

void pg_probe_set_interval(struct pg_probe *p, int64_t interval_ms)
{
    int64_t last = p->next_ms - p->interval_ms;
    if (interval_ms == p->interval_ms)
        return;
    p->interval_ms = interval_ms;
    p->next_ms = last + interval_ms;
}

void pg_probe_kick(struct pg_probe *p)
{
    p->next_ms = 0;
}

void pg_probe_kick_settings(struct pg_probe *p, int64_t after_ms)
{
    pg_fresh_ask(&p->fresh, after_ms);
}

const struct pg_facts *pg_probe_facts(const struct pg_probe *p)
{
    return &p->facts;
}

enum tri pg_probe_answers(const struct pg_probe *p, int64_t now_ms)
{
    if (!p->wanted)
        return TRI_UNKNOWN;
    enum pg_conn_state s = pg_conn_state(p->conn);
    if (s >= PG_CONN_IDLE && p->facts.valid &&
        now_ms - p->facts.received_ms <= 2 * p->interval_ms + STALE_MS)
        return TRI_YES;
    const struct err *e = pg_conn_error(p->conn);
    if (s < PG_CONN_IDLE && (pg_conn_error_state(p->conn)[0] || strstr(e->msg, "refused") ||
                             strstr(e->msg, "No such file")))
        return TRI_NO;
    return TRI_UNKNOWN;
}

const struct err *pg_probe_error(const struct pg_probe *p)
{
    return pg_conn_state(p->conn) < PG_CONN_IDLE ? pg_conn_error(p->conn) : &p->error;
}

bool pg_probe_starting(const struct pg_probe *p)
{
    return pg_conn_state(p->conn) < PG_CONN_IDLE &&
           strcmp(pg_conn_error_state(p->conn), "57P03") == 0;
}
