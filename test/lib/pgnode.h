/* Real PostgreSQL servers for tests of the PostgreSQL area: directories, ports, waiting, cleaning
 * up.
 *
 * Servers are children that die with the test; a janitor process removes the directory even when
 * the test is killed. Everything runs as user postgres when the test is root. */
#ifndef PGHAD_TEST_PGNODE_H
#define PGHAD_TEST_PGNODE_H

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/proc.h"
#include "pg/conf.h"
#include "pg/conn.h"
#include "pg/datadir.h"
#include "pg/detach.h"
#include "pg/engine.h"
#include "pg/job.h"
#include "pg/probe.h"
#include "pg/promote.h"
#include "pg/state.h"
#include "pg/task.h"

struct node {
    struct pg_env env;
    struct pg_state state;
    struct pg_conf *conf;
    struct pg_probe *probe;
    struct pg_task *task;
    struct pg_job *job;
    struct pg_detach *detach;
    struct pg_conn *sql;
    struct proc *server;
    pid_t pid;
};

static struct loop *loop;
static struct pg_engine *engine;
static char base_dir[64];

#define TURN_MAX_MS 200

/* Turns the loop once; how long that took, in ms. A machine that stood still meanwhile counts as TURN_MAX_MS:
 * its pause is nobody's time to do anything in. */
static inline int64_t turn_ms(int timeout_ms)
{
    int64_t before = clock_boot_ms();
    loop_turn(loop, timeout_ms);
    int64_t took = clock_boot_ms() - before;
    return took < TURN_MAX_MS ? took : TURN_MAX_MS;
}

/* Turns the loop until cond, at most ms. */
#define WAIT(ms, cond)                                                                             \
    do {                                                                                           \
        int64_t waited_ = 0;                                                                       \
        while (!(cond)) {                                                                          \
            if (waited_ > (ms))                                                                    \
                fail_msg("not within %d ms: %s", (int)(ms), #cond);                                \
            waited_ += turn_ms(20);                                                                \
        }                                                                                          \
    } while (0)

static inline void become_postgres(void)
{
    if (geteuid() != 0)
        return;
    const struct passwd *pw = getpwnam("postgres");
    if (!pw || initgroups("postgres", pw->pw_gid) || setgid(pw->pw_gid) || setuid(pw->pw_uid)) {
        fprintf(stderr, "cannot become user postgres\n");
        exit(1);
    }
    prctl(PR_SET_DUMPABLE, 1); /* the leak sanitizer traces its own process */
}

/* Outlives the test, whatever ends it: the write end closes then, and the directory goes. */
static inline void start_janitor(void)
{
    int p[2];
    if (pipe(p) != 0)
        exit(1);
    fd_set_cloexec(p[1], true);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        setsid();
        close(p[1]);
        signal(SIGINT, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
        while (read(p[0], &c, 1) > 0)
            ;
        execl("/bin/rm", "rm", "-rf", base_dir, (char *)NULL);
        _exit(1);
    }
    close(p[0]);
}

static inline uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || getsockname(fd, (struct sockaddr *)&a, &len))
        exit(1);
    close(fd);
    return ntohs(a.sin_port);
}

static inline void node_init(struct node *n, const char *name)
{
    char dir[PG_PATH_SIZE];
    struct err e = {0};
    *n = (struct node){0};
    snprintf(dir, sizeof(dir), "%s/%s/data", base_dir, name);
    const char *bin = getenv("PG_BIN"); /* another version than the newest of the system */
    snprintf(n->env.bin_dir, sizeof(n->env.bin_dir), "%s", bin ? bin : "");
    if (!pg_env_set_data_dir(&n->env, dir, &e) || !pg_env_find_binaries(&n->env, &e))
        fail_msg("%s", e.msg);
    snprintf(n->env.socket_dir, sizeof(n->env.socket_dir), "%s/%s/sock", base_dir, name);
    assert_true(fd_mkdirs(n->env.socket_dir, 0700, NULL));
    snprintf(n->env.cluster_name, sizeof(n->env.cluster_name), "demo");
    snprintf(n->env.superuser, sizeof(n->env.superuser), "boss");
    snprintf(n->env.superuser_password, sizeof(n->env.superuser_password), "boss's \\secret");
    snprintf(n->env.repl_user, sizeof(n->env.repl_user), "pghad_repl");
    snprintf(n->env.repl_password, sizeof(n->env.repl_password), "re:pl\\pw'");
    n->env.port = free_port();
    n->conf = pg_conf_new(&n->env);
    static const struct pg_param quick[] = {{"shared_buffers", "16MB"}, {"max_connections", "30"}};
    struct pg_user_conf u = {.params = quick, .n_params = 2, .listen_addresses = "127.0.0.1",
                             .max_senders = 8, .max_slots = 8, .wal_keep = "128MB"};
    assert_true(pg_conf_set_user(n->conf, &u, NULL));
    assert_true(pg_conf_set_ssn(n->conf, &(struct pg_ssn){.kind = PG_SSN_EMPTY}, NULL));
    n->probe = pg_probe_new(engine, &n->env);
    n->task = pg_task_new(engine, &n->env);
    n->job = pg_job_new(engine, &n->env);
    n->detach = pg_detach_new(engine, &n->env);
    n->sql = pg_conn_local(engine, &n->env, false);
}

static inline void node_done(struct node *n)
{
    pg_conn_free(n->sql);
    pg_detach_free(n->detach);
    pg_job_free(n->job);
    pg_task_free(n->task);
    pg_probe_free(n->probe);
    pg_conf_free(n->conf);
    proc_free(n->server);
}

static inline pid_t node_postmaster(const struct node *n)
{
    char path[PG_PATH_SIZE];
    struct buf b;
    buf_init(&b, 4096);
    pid_t pid = 0;
    if (pg_path(path, n->env.data_dir, "postmaster.pid") && fd_read_file(path, &b, NULL))
        pid = (pid_t)strtol(buf_str(&b), NULL, 10);
    buf_done(&b);
    return pid;
}

/* As guard starts it: always with standby.signal. */
static inline void node_start(struct node *n)
{
    struct err e = {0};
    if (!pg_standby_signal(&n->env, &e) || !pg_promote_forget(&n->env, &e) ||
        !pg_placeholders_settle(&n->env, &e) || !pg_postmaster_pid_forget(&n->env, &e) || !pg_conf_clean_auto(n->conf, &e) ||
        !pg_conf_write(n->conf, NULL, &e))
        fail_msg("%s", e.msg);
    struct proc_spec spec = {.argv = pg_conf_argv(n->conf), .out_max = 1 << 20};
    n->server = proc_start(loop, &spec, &e);
    if (!n->server)
        fail_msg("%s", e.msg);
    pg_probe_set_interval(n->probe, 10);
    pg_probe_want(n->probe, true);
    pg_conn_open(n->sql);
    WAIT(20000, pg_probe_facts(n->probe)->valid || proc_state(n->server) == PROC_DONE);
    if (proc_state(n->server) == PROC_DONE)
        fail_msg("server ended: %s", proc_err_tail(n->server));
    n->pid = node_postmaster(n);
    assert_true(n->pid > 1);
}

static inline void node_stop(struct node *n, int sig)
{
    pg_probe_want(n->probe, false);
    pg_task_cancel(n->task);
    pg_conn_close(n->sql);
    proc_kill(n->server, sig);
    WAIT(20000, proc_state(n->server) == PROC_DONE);
    proc_free(n->server);
    n->server = NULL;
    n->pid = 0;
}

/* Runs SQL to its end; the first column of the first row, or "". */
static inline const char *node_sql(struct node *n, const char *sql)
{
    struct err e;
    WAIT(10000, pg_conn_state(n->sql) == PG_CONN_IDLE);
    if (!pg_conn_exec(n->sql, sql, clock_boot_ms() + 60000, &e))
        fail_msg("%s: %s", sql, e.msg);
    WAIT(61000, pg_conn_query_state(n->sql) != PG_QUERY_RUNNING);
    if (pg_conn_query_state(n->sql) != PG_QUERY_OK)
        fail_msg("%s: %s", sql, pg_conn_query_error(n->sql)->msg);
    const char *v = pg_conn_rows(n->sql) ? pg_conn_value(n->sql, 0, 0) : NULL;
    return v ? v : "";
}

static inline uint64_t node_lsn(struct node *n, const char *expr)
{
    char sql[128];
    uint64_t v = 0;
    snprintf(sql, sizeof(sql), "SELECT %s", expr);
    assert_true(pg_lsn_parse(node_sql(n, sql), &v));
    return v;
}

static inline void node_task_ok(struct node *n, bool begun)
{
    assert_true(begun);
    WAIT(30000, pg_task_state(n->task) != PG_TASK_RUNNING);
    if (pg_task_state(n->task) != PG_TASK_OK)
        fail_msg("%s", pg_task_error(n->task)->msg);
}

static inline void node_job_ok(struct node *n, bool begun, const struct err *e)
{
    if (!begun)
        fail_msg("%s", e->msg);
    WAIT(120000, pg_job_state(n->job) != PG_JOB_RUNNING);
    if (pg_job_state(n->job) != PG_JOB_OK)
        fail_msg("%s", pg_job_error(n->job)->msg);
}

/* Promotes to the given timeline as the agent does it. */
static inline void node_promote(struct node *n, uint32_t timeline)
{
    struct err e = {0};
    uint32_t now = pg_probe_facts(n->probe)->timeline;
    if (!pg_placeholders_write(&n->env, now, timeline, &e))
        fail_msg("%s", e.msg);
    int64_t next = 0, waited = 0;
    while (pg_probe_facts(n->probe)->in_recovery != TRI_NO) {
        if (waited > 20000)
            fail_msg("not promoted");
        if (clock_boot_ms() >= next) {
            assert_true(pg_promote_request(&n->env, n->pid, NULL));
            next = clock_boot_ms() + 20;
        }
        waited += turn_ms(5);
    }
    assert_int_equal(pg_probe_facts(n->probe)->timeline, timeline);
}

#endif
