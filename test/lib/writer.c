/* ha-writer: the open-loop writer of the tests.
 *
 *     ha-writer --log FILE [--every MS] [--op-timeout MS] HOST:PORT [HOST:PORT ...]
 *
 * One row is due every MS milliseconds, whatever became of those before. It goes to every server
 * that says it is not in recovery, each attempt with an id of its own: two servers that both accept
 * writes are caught, not hidden by a client that had chosen one. All servers are kept connected at
 * once and without blocking, so the longest silence between two acknowledgements is the service's
 * and not that of a client library trying addresses in turn. Given a single address (a Service's
 * front) it measures that path in the same way, but leaves a server that is in recovery: another
 * connection may lead elsewhere, this one does not.
 *
 * The log has one JSON object per line, instants in CLOCK_BOOTTIME us: i = sent, a = answered,
 * m = index of the address, s and tl = the server's own address and timeline.
 *   ack      the server confirmed the commit
 *   fail     certainly not committed
 *   unknown  may be committed: connection lost, no answer in time, the end of a wait for synchronous
 *            replication with a warning, or still open at the end
 *   note     why an address does not accept connections, when the reason changes
 * Connection settings but for the address come from PGUSER, PGDATABASE, PGPASSWORD. SIGTERM ends it
 * with a summary on stdout. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define TARGETS_MAX 16
#define SESSIONS 4            /* per target: a stuck commit must not hide that the server works */
#define HANDSHAKE_US 300000   /* TCP connect of a host on the same bridge */
#define LOGIN_US 2000000      /* until the server answers a first query */
#define RETRY_US 10000        /* between two attempts to connect */
#define RECHECK_US 20000      /* between two questions to a standby whether it still is one */
#define STUCK_US 100000       /* a commit that takes longer gets company by another session */
#define DRAIN_US 1000000

#define TABLE_SQL                                                                                  \
    "CREATE TABLE IF NOT EXISTS ha_log (id bigint PRIMARY KEY, "                                   \
    "at timestamptz NOT NULL DEFAULT clock_timestamp())"
#define INSERT_SQL                                                                                 \
    "INSERT INTO ha_log (id) VALUES ($1) RETURNING coalesce(host(inet_server_addr()), ''), "       \
    "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
#define CHECK_SQL "SELECT pg_is_in_recovery()"

enum session_state {
    SESSION_NONE,
    SESSION_CONNECTING,
    SESSION_CHECKING, /* asked whether it is in recovery */
    SESSION_STANDBY,
    SESSION_READY,
    SESSION_CREATING,
    SESSION_BUSY, /* a row is on its way */
};

struct session {
    enum session_state state;
    PGconn *conn;
    PostgresPollingStatusType want; /* while connecting */
    int64_t since_us;               /* of the state; BUSY: the row was sent */
    int64_t id;                     /* BUSY */
    bool doubtful;                  /* BUSY: a warning says that a wait was cut short */
    bool inserted;                  /* BUSY: the row has come back; it is committed only after that */
    char server[64], timeline[16];  /* what it said */
};

struct target {
    char host[64];
    char port[8];
    int64_t next_try_us;
    char note[160];
    struct session session[SESSIONS];
};

struct writer {
    FILE *log;
    int64_t every_us, op_timeout_us;
    int64_t next_id;
    size_t targets_n;
    struct target target[TARGETS_MAX];
    uint64_t acked, failed, unknown, unsent;
    int64_t last_ack_us, longest_gap_us;
};

static volatile sig_atomic_t stop_requested;

static void on_term(int sig)
{
    (void)sig;
    stop_requested = 1;
}

static void on_notice(void *arg, const PGresult *r)
{
    struct session *s = arg;
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (state != NULL && strcmp(state, "01000") == 0)
        s->doubtful = true;
}

static void log_note(struct writer *w, struct target *t, const char *text)
{
    char note[sizeof(t->note)];
    size_t n = 0;
    for (; *text != '\0' && n < sizeof(note) - 1; text++)
        note[n++] = (*text == '"' || *text == '\\' || (unsigned char)*text < ' ') ? ' ' : *text;
    note[n] = '\0';
    if (strcmp(note, t->note) == 0)
        return;
    memcpy(t->note, note, n + 1);
    fprintf(w->log, "{\"op\":\"note\",\"m\":%zu,\"a\":%" PRId64 ",\"msg\":\"%s\"}\n",
            (size_t)(t - w->target), clock_boot_us(), note);
}

/* Writes down what became of the row of a busy session. */
static void log_outcome(struct writer *w, const struct target *t, const struct session *s,
                        const char *op, const char *server, const char *timeline,
                        const char *state) {
    fprintf(w->log,
            "{\"op\":\"%s\",\"id\":%" PRId64 ",\"m\":%zu,\"i\":%" PRId64 ",\"a\":%" PRId64
            ",\"s\":\"%s\",\"tl\":%lu,\"state\":\"%s\"}\n",
            op, s->id, (size_t)(t - w->target), s->since_us, clock_boot_us(), server,
            strtoul(timeline, NULL, 16), state);
}

static void row_unknown(struct writer *w, struct target *t, struct session *s, const char *why)
{
    w->unknown++;
    log_outcome(w, t, s, "unknown", "", "", why);
}

static void session_enter(struct session *s, enum session_state state)
{
    s->state = state;
    s->since_us = clock_boot_us();
}

static void session_close(struct writer *w, struct target *t, struct session *s, const char *why)
{
    if (s->state == SESSION_BUSY)
        row_unknown(w, t, s, why);
    if (s->conn != NULL)
        PQfinish(s->conn);
    *s = (struct session){.state = SESSION_NONE};
    t->next_try_us = clock_boot_us() + RETRY_US;
}

static void session_open(struct writer *w, struct target *t, struct session *s)
{
    const char *const keys[] = {"hostaddr", "port", "sslmode", "gssencmode", "application_name",
                                "tcp_user_timeout", NULL};
    const char *const values[] = {t->host, t->port, "disable", "disable", "ha-writer", "2000",
                                  NULL};
    s->conn = PQconnectStartParams(keys, values, 0);
    session_enter(s, SESSION_CONNECTING);
    s->want = PGRES_POLLING_WRITING;
    if (s->conn == NULL || PQstatus(s->conn) == CONNECTION_BAD) {
        if (s->conn != NULL)
            log_note(w, t, PQerrorMessage(s->conn));
        session_close(w, t, s, "");
        return;
    }
    PQsetNoticeReceiver(s->conn, on_notice, s);
}

static void session_ask(struct writer *w, struct target *t, struct session *s, const char *sql,
                        enum session_state state) {
    session_enter(s, state);
    if (!PQsendQuery(s->conn, sql))
        session_close(w, t, s, "send");
}

/* Whether the server has said that it is ready for the next query. */
static bool session_idle(const struct session *s)
{
    return PQtransactionStatus(s->conn) == PQTRANS_IDLE;
}

static void session_connect(struct writer *w, struct target *t, struct session *s)
{
    s->want = PQconnectPoll(s->conn);
    if (s->want == PGRES_POLLING_OK) {
        PQsetnonblocking(s->conn, 1);
        session_ask(w, t, s, CHECK_SQL, SESSION_CHECKING);
    } else if (s->want == PGRES_POLLING_FAILED) {
        log_note(w, t, PQerrorMessage(s->conn));
        session_close(w, t, s, "");
    }
}

static void row_send(struct writer *w, struct target *t, struct session *s)
{
    char id[24];
    s->id = w->next_id++;
    s->doubtful = false;
    s->inserted = false;
    snprintf(id, sizeof(id), "%" PRId64, s->id);
    const char *const values[] = {id};
    session_enter(s, SESSION_BUSY);
    if (!PQsendQueryParams(s->conn, INSERT_SQL, 1, NULL, values, NULL, NULL, 0))
        session_close(w, t, s, "send");
}

/* The server is ready for the next query, so the row's transaction is over. Not before: with the extended
 * protocol CommandComplete is sent first, and then the commit waits for its standbys. */
static void row_committed(struct writer *w, struct target *t, struct session *s)
{
    if (s->doubtful) {
        row_unknown(w, t, s, "01000");
        return;
    }
    int64_t now = clock_boot_us();
    if (w->acked > 0 && now - w->last_ack_us > w->longest_gap_us)
        w->longest_gap_us = now - w->last_ack_us;
    w->last_ack_us = now;
    w->acked++;
    log_outcome(w, t, s, "ack", s->server, s->timeline, "");
}

/* The answer to a row. A FATAL says nothing about a commit that may have been waiting for its
 * standby; only an ERROR means that the transaction was rolled back. */
static void row_answered(struct writer *w, struct target *t, struct session *s, PGresult *r)
{
    if (PQresultStatus(r) == PGRES_TUPLES_OK) {
        s->inserted = true;
        snprintf(s->server, sizeof(s->server), "%s", PQgetvalue(r, 0, 0));
        snprintf(s->timeline, sizeof(s->timeline), "%s", PQgetvalue(r, 0, 1));
        return;
    }
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (severity == NULL || state == NULL || strcmp(severity, "ERROR") != 0) {
        log_note(w, t, PQresultErrorMessage(r));
        session_close(w, t, s, state != NULL ? state : "lost");
        return;
    }
    w->failed++;
    log_outcome(w, t, s, "fail", "", "", state);
    if (strcmp(state, "42P01") == 0)
        session_enter(s, SESSION_CREATING);
    else
        session_enter(s, SESSION_STANDBY); /* asks again before the next row */
}

static void session_result(struct writer *w, struct target *t, struct session *s, PGresult *r)
{
    switch (s->state) {
    case SESSION_BUSY:
        row_answered(w, t, s, r);
        break;
    case SESSION_CREATING: /* a race over the table is as good as its creation */
        session_enter(s, SESSION_READY);
        break;
    case SESSION_CHECKING:
        if (PQresultStatus(r) != PGRES_TUPLES_OK) {
            log_note(w, t, PQresultErrorMessage(r));
            session_close(w, t, s, "");
        } else if (PQgetvalue(r, 0, 0)[0] == 'f') {
            session_enter(s, SESSION_READY);
        } else if (w->targets_n == 1) {
            log_note(w, t, "in recovery");
            session_close(w, t, s, "");
        } else {
            session_enter(s, SESSION_STANDBY);
        }
        break;
    case SESSION_NONE:
    case SESSION_CONNECTING:
    case SESSION_STANDBY:
    case SESSION_READY:
        break;
    }
}

static void session_readable(struct writer *w, struct target *t, struct session *s)
{
    if (!PQconsumeInput(s->conn)) {
        log_note(w, t, PQerrorMessage(s->conn));
        session_close(w, t, s, "lost");
        return;
    }
    while (s->conn != NULL && !PQisBusy(s->conn)) {
        PGresult *r = PQgetResult(s->conn);
        if (r == NULL)
            break;
        session_result(w, t, s, r);
        PQclear(r);
    }
    if (s->state == SESSION_BUSY && s->inserted && session_idle(s)) {
        row_committed(w, t, s);
        session_enter(s, SESSION_READY);
    }
    /* The table is created only after the failed insert's last result has been taken. */
    if (s->state == SESSION_CREATING && session_idle(s))
        session_ask(w, t, s, TABLE_SQL, SESSION_CREATING);
    if (s->conn != NULL && PQstatus(s->conn) == CONNECTION_BAD)
        session_close(w, t, s, "lost");
}

static void session_expire(struct writer *w, struct target *t, struct session *s, int64_t now)
{
    int64_t age = now - s->since_us;
    switch (s->state) {
    case SESSION_CONNECTING:
        if (age > LOGIN_US || (age > HANDSHAKE_US && PQstatus(s->conn) == CONNECTION_STARTED)) {
            log_note(w, t, "no answer to connect");
            session_close(w, t, s, "");
        }
        break;
    case SESSION_CHECKING:
    case SESSION_CREATING:
        if (age > (s->state == SESSION_CHECKING ? LOGIN_US : w->op_timeout_us))
            session_close(w, t, s, "");
        break;
    case SESSION_STANDBY:
        if (age > RECHECK_US && session_idle(s))
            session_ask(w, t, s, CHECK_SQL, SESSION_CHECKING);
        break;
    case SESSION_BUSY:
        if (age > w->op_timeout_us)
            session_close(w, t, s, "timeout");
        break;
    case SESSION_NONE:
    case SESSION_READY:
        break;
    }
}

/* Keeps one usable session per target, beside those that wait for a commit. */
static void target_maintain(struct writer *w, struct target *t, int64_t now)
{
    bool usable = false;
    struct session *spare = NULL;
    for (size_t i = 0; i < SESSIONS; i++) {
        struct session *s = &t->session[i];
        session_expire(w, t, s, now);
        if (s->state == SESSION_NONE)
            spare = s;
        else if (s->state != SESSION_BUSY || now - s->since_us < STUCK_US)
            usable = true;
    }
    if (!usable && spare != NULL && now >= t->next_try_us)
        session_open(w, t, spare);
}

static bool target_write(struct writer *w, struct target *t)
{
    for (size_t i = 0; i < SESSIONS; i++) {
        if (t->session[i].state == SESSION_READY && session_idle(&t->session[i])) {
            row_send(w, t, &t->session[i]);
            return true;
        }
    }
    return false;
}

static void write_due(struct writer *w)
{
    bool sent = false;
    for (size_t i = 0; i < w->targets_n; i++)
        sent |= target_write(w, &w->target[i]);
    if (!sent)
        w->unsent++;
}

/* One wait for all sockets, at most timeout_us, then whatever they have to say. All that was
 * readable is taken before anything new is sent: an answer of the past never looks late. */
static void exchange(struct writer *w, int64_t timeout_us)
{
    struct pollfd fd[TARGETS_MAX * SESSIONS];
    struct session *of[TARGETS_MAX * SESSIONS];
    struct target *in[TARGETS_MAX * SESSIONS];
    nfds_t n = 0;
    for (size_t i = 0; i < w->targets_n; i++) {
        for (size_t j = 0; j < SESSIONS; j++) {
            struct session *s = &w->target[i].session[j];
            if (s->state == SESSION_NONE)
                continue;
            short events = POLLIN;
            if (s->state == SESSION_CONNECTING)
                events = s->want == PGRES_POLLING_WRITING ? POLLOUT : POLLIN;
            else if (PQflush(s->conn) == 1)
                events |= POLLOUT;
            fd[n] = (struct pollfd){.fd = PQsocket(s->conn), .events = events};
            of[n] = s;
            in[n++] = &w->target[i];
        }
    }
    struct timespec ts = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    if (ppoll(fd, n, &ts, NULL) <= 0)
        return;
    for (nfds_t i = 0; i < n; i++) {
        if (fd[i].revents == 0 || of[i]->state == SESSION_NONE)
            continue;
        if (of[i]->state == SESSION_CONNECTING)
            session_connect(w, in[i], of[i]);
        else if (fd[i].revents & (POLLIN | POLLERR | POLLHUP))
            session_readable(w, in[i], of[i]);
    }
}

static bool any_busy(const struct writer *w)
{
    for (size_t i = 0; i < w->targets_n; i++)
        for (size_t j = 0; j < SESSIONS; j++)
            if (w->target[i].session[j].state == SESSION_BUSY)
                return true;
    return false;
}

static void run(struct writer *w)
{
    int64_t due = clock_boot_us();
    while (!stop_requested) {
        int64_t now = clock_boot_us();
        for (size_t i = 0; i < w->targets_n; i++)
            target_maintain(w, &w->target[i], now);
        if (now >= due) {
            write_due(w);
            due += w->every_us;
            if (due < now - 1000000)
                due = now; /* we were stopped ourselves: no burst of old rows */
        }
        int64_t left = due - clock_boot_us();
        exchange(w, left < 0 ? 0 : left < RETRY_US ? left : RETRY_US);
    }
    int64_t end = clock_boot_us() + DRAIN_US;
    while (any_busy(w) && clock_boot_us() < end)
        exchange(w, RETRY_US);
    for (size_t i = 0; i < w->targets_n; i++)
        for (size_t j = 0; j < SESSIONS; j++)
            session_close(w, &w->target[i], &w->target[i].session[j], "open");
}

static bool add_target(struct writer *w, const char *arg)
{
    const char *colon = strrchr(arg, ':');
    if (colon == NULL || w->targets_n == TARGETS_MAX)
        return false;
    struct target *t = &w->target[w->targets_n++];
    int a = snprintf(t->host, sizeof(t->host), "%.*s", (int)(colon - arg), arg);
    int b = snprintf(t->port, sizeof(t->port), "%s", colon + 1);
    return a < (int)sizeof(t->host) && b < (int)sizeof(t->port);
}

static int usage(void)
{
    fputs("usage: ha-writer --log FILE [--every MS] [--op-timeout MS] HOST:PORT...\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static struct writer w = {.every_us = 5000, .op_timeout_us = 10000000};
    static const struct option options[] = {{"log", required_argument, NULL, 'l'},
                                            {"every", required_argument, NULL, 'e'},
                                            {"op-timeout", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'l')
            path = optarg;
        else if (c == 'e')
            w.every_us = strtol(optarg, NULL, 10) * 1000;
        else if (c == 't')
            w.op_timeout_us = strtol(optarg, NULL, 10) * 1000;
        else
            return usage();
    }
    while (optind < argc)
        if (!add_target(&w, argv[optind++]))
            return usage();
    if (path == NULL || w.targets_n == 0 || w.every_us <= 0 || w.op_timeout_us <= 0)
        return usage();
    w.log = fopen(path, "ae");
    if (w.log == NULL) {
        fprintf(stderr, "ha-writer: %s: %s\n", path, strerror(errno));
        return 1;
    }
    setvbuf(w.log, NULL, _IOLBF, 1 << 16);
    struct sigaction sa = {.sa_handler = on_term};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Ids of two writers of one boot do not meet: they start from the clock. */
    w.next_id = clock_boot_us();
    run(&w);
    printf("{\"acked\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"unknown\":%" PRIu64
           ",\"unsent\":%" PRIu64 ",\"longest_gap_us\":%" PRId64 "}\n",
           w.acked, w.failed, w.unknown, w.unsent, w.longest_gap_us);
    return fclose(w.log) == 0 ? 0 : 1;
}
