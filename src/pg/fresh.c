/* A session of its own for each look at the settings. */
#include "fresh_private.h"

#include "base/str.h"

#define EVERY_MS 30000
#define DEADLINE_MS 2000
#define RETRY_MS 20
#define PAUSE_MS 5

static const char fresh_sql[] = "SELECT current_setting('synchronous_standby_names'),"
                                " current_setting('primary_conninfo'),"
                                " current_setting('restore_command')";

static void end(struct pg_fresh *f, int64_t next_ms)
{
    f->running = false;
    f->next_ms = next_ms;
    pg_conn_close(f->conn);
}

static void begin(struct pg_fresh *f, int64_t now)
{
    f->running = true;
    f->sent = f->asked = false;
    f->begun_ms = now;
    pg_conn_open(f->conn);
}

/* A value that does not fit is not ours and must not look like one that is. */
static void take_value(struct pg_fresh *f, int column, char *dst, size_t size)
{
    const char *value = pg_conn_value(f->conn, 0, column);
    if (!str_copy(dst, size, value ? value : ""))
        str_copy(dst, size, "?");
}

static void take(struct pg_fresh *f, struct pg_facts *facts, int64_t now)
{
    take_value(f, 0, facts->fresh_ssn, sizeof(facts->fresh_ssn));
    take_value(f, 1, facts->fresh_conninfo, sizeof(facts->fresh_conninfo));
    take_value(f, 2, facts->fresh_restore, sizeof(facts->fresh_restore));
    facts->fresh_ms = f->begun_ms;
    end(f, now + EVERY_MS);
}

/* Asked for: soon, but never as a busy loop. */
static int64_t due(const struct pg_fresh *f)
{
    int64_t soon = f->begun_ms + PAUSE_MS;
    if (!f->asked)
        return f->next_ms;
    return soon > f->after_ms ? soon : f->after_ms + 1; /* later, not in the same ms */
}

void pg_fresh_step(struct pg_fresh *f, struct pg_facts *facts, int64_t now)
{
    if (!f->running) {
        if (now >= due(f))
            begin(f, now);
        return;
    }
    enum pg_conn_state s = pg_conn_state(f->conn);
    if (s == PG_CONN_IDLE && !f->sent) {
        f->sent = true;
        if (!pg_conn_query(f->conn, fresh_sql, 0, NULL, now + DEADLINE_MS, NULL))
            end(f, now + RETRY_MS);
    } else if (s == PG_CONN_IDLE && pg_conn_query_state(f->conn) == PG_QUERY_OK) {
        take(f, facts, now);
    } else if (s == PG_CONN_IDLE || s == PG_CONN_OFF) {
        end(f, now + RETRY_MS);
    }
}

void pg_fresh_prepare(const struct pg_fresh *f, struct loop *l)
{
    if (!f->running)
        loop_wake_at(l, due(f));
    else if (pg_conn_state(f->conn) == PG_CONN_IDLE || pg_conn_state(f->conn) == PG_CONN_OFF)
        loop_wake_now(l);
}

void pg_fresh_ask(struct pg_fresh *f, int64_t after_ms)
{
    /* A session that is being made may be older than what the caller has just changed. */
    if (f->running && f->begun_ms > after_ms)
        return;
    if (f->running)
        end(f, 0);
    f->asked = true;
    f->after_ms = after_ms;
}

void pg_fresh_stop(struct pg_fresh *f)
{
    end(f, 0);
}
