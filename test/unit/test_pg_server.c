/* The PostgreSQL area against real servers: the life of a small cluster, one step per test, in
 * order. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "pg/barrier.h"
#include "pg/history.h"
#include "pg/peer.h"
#include "pg/proctree.h"
#include "pg/version.h"
#include "pgnode.h"

#define CHECK(cond) assert_true(cond)
#define HOST "127.0.0.1"

static struct node a, b;
static int begun_steps, passed;

/* A step needs the ones before it. */
static int step_setup(void **st)
{
    (void)st;
    return passed == begun_steps++ ? 0 : -1;
}

static int setup(void **st)
{
    (void)st;
    loop = loop_new();
    struct loop_source p = proc_source();
    loop_add(loop, &p);
    engine = pg_engine_new(loop);
    struct loop_source g = pg_engine_source(engine);
    loop_add(loop, &g);
    node_init(&a, "a");
    node_init(&b, "b");
    return 0;
}

static int teardown(void **st)
{
    (void)st;
    node_done(&a);
    node_done(&b);
    pg_engine_free(engine);
    loop_free(loop);
    return 0;
}

static bool exists(const char *dir, const char *name)
{
    char path[PG_PATH_SIZE];
    return pg_path(path, dir, name) && access(path, F_OK) == 0;
}

static void write_script(const char *dir, const char *name, const char *text)
{
    char path[PG_PATH_SIZE];
    CHECK(fd_mkdirs(dir, 0700, NULL) && pg_path(path, dir, name));
    CHECK(fd_replace_file(path, text, strlen(text), 0600, NULL));
}

static void initdb__failing_script__named_and_partial(void **st)
{
    (void)st;
    char dir[PG_PATH_SIZE];
    struct pg_datadir d;
    struct err e;
    CHECK(pg_path(dir, base_dir, "bad"));
    write_script(dir, "1.sql", "SELECT 1/0;\n");
    struct pg_initdb_spec s = {.database = "app", .init_scripts = dir, .state = &a.state,
                               .conf = a.conf,
                               .initdb_args = "--no-sync --auth-local 'trust'"};
    CHECK(pg_job_begin_initdb(a.job, &s, &e));
    CHECK(!pg_job_begin_initdb(a.job, &s, &e) && e.kind == ERR_CONFLICT);
    WAIT(60000, pg_job_state(a.job) != PG_JOB_RUNNING);
    CHECK(pg_job_state(a.job) == PG_JOB_FAILED && strstr(pg_job_error(a.job)->msg, "1.sql"));
    CHECK(pg_datadir_look(&a.env, 0, &d, &e) && d.state == DATA_PARTIAL);
    CHECK(d.marker[PG_MARK_INITDB]);
    CHECK(!exists(a.env.data_dir, "PG_VERSION") && !exists(a.env.state_dir, "member.state"));
    CHECK(!exists(a.env.state_dir, "initdb.pw"));
    passed++;
}

static void initdb__scripts_roles_checksums(void **st)
{
    (void)st;
    char dir[PG_PATH_SIZE];
    struct pg_datadir d;
    struct pg_state back;
    struct err e = {0};
    CHECK(pg_path(dir, base_dir, "init"));
    write_script(dir, "1-table.sql", "CREATE TABLE t (i int);\n");
    write_script(dir, "2-row.sh", "psql -v ON_ERROR_STOP=1 --username \"$POSTGRES_USER\" "
                                  "--dbname \"$POSTGRES_DB\" -c 'INSERT INTO t VALUES (42)'\n");
    write_script(dir, "readme.txt", "nothing\n");
    struct pg_initdb_spec s = {.database = "app", .init_scripts = dir, .checksums = true,
                               .conf = a.conf,
                               .state = &a.state, .initdb_args = "--no-sync"};
    a.state.epoch = 1;
    node_job_ok(&a, pg_job_begin_initdb(a.job, &s, &e), &e);
    CHECK(pg_datadir_look(&a.env, 0, &d, &e) && d.state == DATA_OK && d.clean);
    CHECK(a.state.system_id == d.system_id && a.state.volume != 0 && a.state.epoch == 1);
    CHECK(pg_state_load(&a.env, &back, &e) && back.volume == a.state.volume);
    CHECK(pg_job_control(a.job)->checksums && pg_job_control(a.job)->system_id == d.system_id);
    struct pg_initdb_spec again = {.state = &a.state};
    CHECK(!pg_job_begin_initdb(a.job, &again, &e) && e.kind == ERR_CONFLICT);
    passed++;
}

/* As the user's ALTER SYSTEM leaves it. 17 and later refuse the command itself. */
static void alter_system(struct node *n, const char *setting)
{
    struct err e;
    char path[PG_PATH_SIZE], sql[256];
    if (pg_version_find(n->env.major)->allow_alter_system) {
        snprintf(sql, sizeof(sql), "ALTER SYSTEM SET %s", setting);
        WAIT(10000, pg_conn_state(n->sql) == PG_CONN_IDLE);
        CHECK(pg_conn_exec(n->sql, sql, clock_boot_ms() + 60000, &e));
        WAIT(61000, pg_conn_query_state(n->sql) != PG_QUERY_RUNNING);
        CHECK(strstr(pg_conn_query_error(n->sql)->msg, "ALTER SYSTEM is not allowed"));
    }
    CHECK(pg_path(path, n->env.data_dir, "postgresql.auto.conf"));
    FILE *f = fopen(path, "ae");
    CHECK(f && fprintf(f, "%s\n", setting) > 0 && fclose(f) == 0);
}

static enum tri hba_closed(struct node *n)
{
    struct pg_hbaprobe *p = pg_hbaprobe_new(engine, &n->env);
    pg_hbaprobe_begin(p, HOST, clock_boot_ms() + 60000);
    WAIT(61000, pg_hbaprobe_done(p));
    enum tri r = pg_hbaprobe_closed(p);
    pg_hbaprobe_free(p);
    return r;
}

static void start__standby_closed__promoted_to_allocated_timeline(void **st)
{
    (void)st;
    struct err e;
    CHECK(pg_probe_answers(a.probe, clock_boot_ms()) == TRI_UNKNOWN);
    CHECK(hba_closed(&a) == TRI_UNKNOWN); /* nobody listens: no proof of anything */
    node_start(&a);
    const struct pg_facts *f = pg_probe_facts(a.probe);
    CHECK(f->in_recovery == TRI_YES && f->system_id == a.state.system_id && f->timeline == 1);
    CHECK(f->position.timeline == 1 && f->position.lsn == f->replayed_lsn && f->replayed_lsn != 0);
    CHECK(f->server_version / 10000 == a.env.major);
    CHECK(pg_probe_answers(a.probe, clock_boot_ms()) == TRI_YES);
    node_promote(&a, 5);
    CHECK(f->position.timeline == 5 && f->flush_lsn != 0);
    CHECK(exists(a.env.data_dir, "pg_wal/00000005.history"));
    CHECK(exists(a.env.data_dir, "pg_wal/00000003.history")); /* for standbys of timeline 2 */
    CHECK(hba_closed(&a) == TRI_YES);
    pg_conf_set_closed(a.conf, false);
    bool changed;
    CHECK(pg_conf_write(a.conf, &changed, &e) && changed && pg_conf_reload(a.pid, &e));
    WAIT(5000, hba_closed(&a) == TRI_NO);
    CHECK(strcmp(node_sql(&a, "SELECT current_setting('search_path')"), "pg_catalog") == 0);
    CHECK(strcmp(node_sql(&a, "SELECT rolreplication FROM pg_roles WHERE rolname = 'pghad_repl'"),
                 "t") == 0);
    node_sql(&a, "CREATE TABLE public.w (i int)");
    passed++;
}

/* The statements are prepared once in a session; whatever makes one fail, a later look is right again. */
static void look__fails_for_a_while__taken_again(void **st)
{
    (void)st;
    const struct pg_facts *f = pg_probe_facts(a.probe);
    node_sql(&a, "ALTER FUNCTION pg_catalog.pg_is_wal_replay_paused() RENAME TO hidden");
    WAIT(5000, strstr(pg_probe_error(a.probe)->msg, "pg_is_wal_replay_paused"));
    int64_t last = f->at_ms;
    CHECK(f->valid && f->in_recovery == TRI_NO); /* what is known stays, and ages */
    node_sql(&a, "ALTER FUNCTION pg_catalog.hidden() RENAME TO pg_is_wal_replay_paused");
    WAIT(5000, f->at_ms > last);
    passed++;
}

static void tasks__checkpoint_slots_roles(void **st)
{
    (void)st;
    int64_t until = clock_boot_ms() + 60000;
    const struct pg_facts *f = pg_probe_facts(a.probe);
    node_task_ok(&a, pg_task_checkpoint(a.task, until, NULL));
    CHECK(pg_task_begun_ms(a.task) > 0);
    WAIT(3000, f->checkpoint_timeline == 5);
    struct pg_slot_want want[] = {{.volume = 0xaa}, {.volume = 0xbb}};
    node_task_ok(&a, pg_task_slots(a.task, want, 2, false, until, NULL));
    WAIT(3000, pg_facts_slot(f, 0xaa) && pg_facts_slot(f, 0xbb));
    CHECK(pg_facts_slot(f, 0xaa)->restart_lsn != 0);
    node_sql(&a, "SELECT pg_create_physical_replication_slot('theirs', true)");
    uint64_t lsn = node_lsn(&a, "pg_current_wal_flush_lsn()");
    want[0].advance = lsn;
    node_task_ok(&a, pg_task_slots(a.task, want, 1, true, until, NULL));
    WAIT(3000, !pg_facts_slot(f, 0xbb));
    WAIT(3000, pg_facts_slot(f, 0xaa)->restart_lsn >= lsn);
    CHECK(strcmp(node_sql(&a, "SELECT count(*) FROM pg_replication_slots"), "2") == 0);
    node_task_ok(&a, pg_task_slots(a.task, NULL, 0, true, until, NULL));
    node_sql(&a, "SELECT pg_drop_replication_slot('theirs')");
    node_sql(&a, "ALTER ROLE pghad_repl NOREPLICATION PASSWORD NULL");
    /* Nobody confirms: the members' role is what the first standby needs before it can. */
    alter_system(&a, "synchronous_standby_names = 'nobody'");
    node_sql(&a, "SELECT pg_reload_conf()");
    WAIT(3000, strcmp(node_sql(&a, "SHOW synchronous_standby_names"), "nobody") == 0);
    node_task_ok(&a, pg_task_roles(a.task, PG_ROLES_MEMBERS | PG_ROLES_SUPERUSER, until, NULL));
    CHECK(pg_conf_strip_auto(a.conf, NULL));
    node_sql(&a, "SELECT pg_reload_conf()");
    WAIT(3000, strcmp(node_sql(&a, "SHOW synchronous_standby_names"), "") == 0);
    CHECK(strcmp(node_sql(&a, "SELECT rolreplication AND rolpassword LIKE 'SCRAM%' FROM pg_authid"
                              " WHERE rolname = 'pghad_repl'"),
                 "t") == 0);
    CHECK(!pg_task_checkpoint(a.task, until, NULL) || !pg_task_checkpoint(a.task, until, NULL));
    WAIT(61000, pg_task_state(a.task) == PG_TASK_OK);
    passed++;
}

static void clone__foreign_source_refused__then_copied(void **st)
{
    (void)st;
    struct err e = {0};
    struct pg_datadir d;
    struct pg_source from = {.hostaddr = HOST, .port = a.env.port, .epoch = 1};
    struct pg_clone_spec s = {.from = from, .state = &b.state, .system_id = a.state.system_id + 1};
    CHECK(pg_job_begin_clone(b.job, &s, &e));
    WAIT(20000, pg_job_state(b.job) != PG_JOB_RUNNING);
    CHECK(pg_job_state(b.job) == PG_JOB_FAILED && strstr(pg_job_error(b.job)->msg, "identifier"));
    s.system_id = a.state.system_id;
    s.slot = true;
    b.env.major++; /* as if the binaries here were of another version */
    CHECK(pg_job_begin_clone(b.job, &s, &e));
    WAIT(20000, pg_job_state(b.job) != PG_JOB_RUNNING);
    CHECK(pg_job_state(b.job) == PG_JOB_FAILED && strstr(pg_job_error(b.job)->msg, "it is PostgreSQL"));
    b.env.major--;
    node_job_ok(&b, pg_job_begin_clone(b.job, &s, &e), &e);
    CHECK(pg_datadir_look(&b.env, a.state.system_id, &d, &e) && d.state == DATA_OK);
    CHECK(d.standby_signal && !d.marker[PG_MARK_CLONE] && !exists(b.env.data_dir, "../data.new"));
    CHECK(b.state.volume == pg_job_volume(b.job) && b.state.volume != a.state.volume);
    CHECK(b.state.system_id == a.state.system_id);
    CHECK(!pg_job_begin_clone(b.job, &s, &e) && e.kind == ERR_CONFLICT); /* not empty any more */
    WAIT(3000, pg_facts_slot(pg_probe_facts(a.probe), b.state.volume));
    passed++;
}

static struct pg_upstream upstream(const struct node *to, const struct node *self, uint64_t epoch)
{
    struct pg_upstream u = {.port = to->env.port, .volume = self->state.volume, .epoch = epoch,
                            .slot = true};
    snprintf(u.hostaddr, sizeof(u.hostaddr), HOST);
    return u;
}

static void follow__streams_under_its_volume_id(void **st)
{
    (void)st;
    struct pg_upstream u = upstream(&a, &b, 1);
    const struct pg_facts *fa = pg_probe_facts(a.probe), *fb = pg_probe_facts(b.probe);
    pg_conf_set_upstream(b.conf, &u);
    pg_conf_set_closed(b.conf, false);
    node_start(&b);
    WAIT(10000, fb->receiver_streaming);
    WAIT(10000, pg_facts_sender(fa, b.state.volume) &&
                    pg_facts_sender(fa, b.state.volume)->streaming);
    assert_string_equal(fb->receiver_host, HOST);
    CHECK(pg_member_volume(fb->receiver_slot) == b.state.volume);
    node_sql(&a, "INSERT INTO public.w VALUES (1)");
    uint64_t lsn = node_lsn(&a, "pg_current_wal_flush_lsn()");
    WAIT(5000, pg_facts_flushed(fa, lsn, &b.state.volume, 1) == 1);
    WAIT(5000, fb->position.lsn >= lsn);
    assert_int_equal(fb->position.timeline, 5);
    assert_int_equal(fb->received_timeline, 5);
    passed++;
}

static void sync__barrier_comes_into_force(void **st)
{
    (void)st;
    struct pg_ssn s = {.kind = PG_SSN_SET, .mode = REPL_QUORUM, .w = 1, .n = 1,
                       .volume = {b.state.volume}};
    struct pg_barrier bar;
    struct buf text;
    const struct pg_facts *f = pg_probe_facts(a.probe);
    buf_init(&text, 4096);
    CHECK(pg_ssn_render(&text, &s, NULL) && pg_conf_set_ssn(a.conf, &s, NULL));
    CHECK(pg_conf_write(a.conf, NULL, NULL) && pg_conf_reload(a.pid, NULL));
    pg_barrier_begin(&bar, buf_str(&text), true, clock_boot_ms());
    int64_t until = clock_boot_ms() + 60000, checkpoint_ms = 0;
    bool begun = false;
    while (!pg_barrier_in_force(&bar, checkpoint_ms)) {
        CHECK(clock_boot_ms() < until);
        if (!bar.armed && f->fresh_ms <= bar.from_ms)
            pg_probe_kick_settings(a.probe, bar.from_ms);
        else if (!bar.armed && strcmp(f->fresh_ssn, bar.want) != 0)
            pg_probe_kick_settings(a.probe, f->fresh_ms);
        if (pg_barrier_checkpoint_after(&bar) && !begun)
            begun = pg_task_checkpoint(a.task, until, NULL);
        if (begun && pg_task_state(a.task) == PG_TASK_OK)
            checkpoint_ms = pg_task_begun_ms(a.task);
        loop_turn(loop, 10);
        pg_barrier_feed(&bar, f);
    }
    buf_done(&text);
    WAIT(3000, strcmp(pg_facts_sender(f, b.state.volume)->sync_state, "quorum") == 0);
    node_sql(&a, "INSERT INTO public.w VALUES (2)");
    passed++;
}

static void peer__knows_timeline_and_history(void **st)
{
    (void)st;
    struct pg_peer *p = pg_peer_new(engine, &b.env);
    pg_peer_ask(p, HOST, a.env.port, 1, clock_boot_ms() + 60000);
    WAIT(61000, pg_peer_state(p) != PG_PEER_RUNNING);
    if (pg_peer_state(p) != PG_PEER_OK)
        fail_msg("%s", pg_peer_error(p)->msg);
    const struct pg_peer_facts *f = pg_peer_facts(p);
    CHECK(f->timeline == 5 && f->in_recovery == TRI_NO && f->system_id == a.state.system_id);
    CHECK(f->history.n == 1 && f->history.branch[0].timeline == 1);
    CHECK(pg_peer_diverged(f, pg_probe_facts(b.probe)->position) == TRI_NO);
    struct position beyond = {.timeline = 1, .lsn = f->history.branch[0].end + 1};
    CHECK(pg_peer_diverged(f, beyond) == TRI_YES);
    CHECK(pg_passfile_drop(&b.env, 2, NULL)); /* without the password nobody is let in */
    pg_peer_ask(p, HOST, a.env.port, 1, clock_boot_ms() + 60000);
    WAIT(61000, pg_peer_state(p) != PG_PEER_RUNNING);
    CHECK(pg_peer_state(p) == PG_PEER_FAILED && strstr(pg_peer_error(p)->msg, "password"));
    pg_peer_free(p);
    passed++;
}

static void detach__frozen__nothing_arrives_any_more(void **st)
{
    (void)st;
    struct pg_proctree t;
    const struct pg_facts *f = pg_probe_facts(b.probe);
    CHECK(pg_conf_set_ssn(a.conf, &(struct pg_ssn){0}, NULL) && pg_conf_write(a.conf, NULL, NULL));
    CHECK(pg_conf_reload(a.pid, NULL));
    WAIT(3000, pg_proctree_read(&t, b.pid, "demo", NULL) &&
                   pg_proctree_has_walreceiver(&t) == TRI_YES);
    CHECK(t.alive && t.startup > 1 && t.checkpointer > 1);
    alter_system(&b, "primary_conninfo = 'host=127.0.0.1'"); /* read after our file */
    pg_detach_begin(b.detach, 2, b.conf, b.pid);
    CHECK(pg_detach_state(b.detach) == PG_DETACH_RUNNING && !exists(b.env.state_dir, "passfile.1"));
    WAIT(10000, pg_detach_state(b.detach) == PG_DETACH_FROZEN);
    CHECK(pg_detach_epoch(b.detach) == 2);
    /* A process that was just forked is unknown for a moment, and a receiver asked for with the old
     * settings comes without a password: neither is a stream. */
    WAIT(5000, pg_proctree_read(&t, b.pid, "demo", NULL) &&
                   pg_proctree_has_walreceiver(&t) == TRI_NO);
    pg_detach_begin(b.detach, 2, b.conf, b.pid);
    CHECK(pg_detach_state(b.detach) == PG_DETACH_FROZEN); /* idempotent */
    uint64_t before = node_lsn(&b, "pg_last_wal_receive_lsn()");
    WAIT(5000, strcmp(node_sql(&a, "SHOW synchronous_standby_names"), "") == 0);
    node_sql(&a, "INSERT INTO public.w VALUES (3)");
    WAIT(5000, pg_facts_sender(pg_probe_facts(a.probe), b.state.volume) == NULL);
    CHECK(node_lsn(&b, "pg_last_wal_receive_lsn()") == before);
    int64_t asked = clock_boot_ms();
    pg_probe_kick_settings(b.probe, asked);
    WAIT(3000, f->fresh_ms > asked);
    assert_string_equal(f->fresh_conninfo, "");
    CHECK(!f->receiver && f->position.timeline == 5 && f->received_timeline == 5);
    passed++;
}

static void walend__running_frozen_standby__its_position(void **st)
{
    (void)st;
    struct err e = {0};
    struct position p = pg_probe_facts(b.probe)->position;
    struct position from = {.timeline = p.timeline, .lsn = pg_probe_facts(b.probe)->replayed_lsn};
    node_job_ok(&b, pg_job_begin_walend(b.job, from, false, 0, &e), &e);
    CHECK(pg_job_walend(b.job).timeline == 5 && pg_job_walend(b.job).lsn >= from.lsn);
    CHECK(pg_job_walend(b.job).lsn <= p.lsn); /* received may end within a record */
    passed++;
}

static void clients__ended_only_in_recovery(void **st)
{
    (void)st;
    struct pg_conn_spec spec = {.hostaddr = HOST, .port = b.env.port, .user = b.env.superuser,
                                .password = b.env.superuser_password, .once = true};
    struct pg_conn *cb = pg_conn_new(engine, &spec);
    spec.port = a.env.port;
    struct pg_conn *ca = pg_conn_new(engine, &spec);
    pg_conn_open(ca);
    pg_conn_open(cb);
    WAIT(5000, pg_conn_state(ca) == PG_CONN_IDLE && pg_conn_state(cb) == PG_CONN_IDLE);
    node_task_ok(&a, pg_task_end_clients(a.task, clock_boot_ms() + 60000, NULL));
    CHECK(pg_task_count(a.task) == 0 && pg_conn_state(ca) == PG_CONN_IDLE);
    node_task_ok(&b, pg_task_end_clients(b.task, clock_boot_ms() + 60000, NULL));
    CHECK(pg_task_count(b.task) == 1);
    WAIT(3000, pg_conn_state(cb) == PG_CONN_OFF);
    pg_conn_free(ca);
    pg_conn_free(cb);
    passed++;
}

static void query__deadline_or_lost_session__fails_and_heals(void **st)
{
    (void)st;
    struct err e;
    WAIT(3000, pg_conn_state(a.sql) == PG_CONN_IDLE);
    CHECK(pg_conn_exec(a.sql, "SELECT pg_sleep(60)", clock_boot_ms() + 100, &e));
    CHECK(!pg_conn_exec(a.sql, "SELECT 1", clock_boot_ms() + 100, &e)); /* busy */
    WAIT(3000, pg_conn_query_state(a.sql) == PG_QUERY_FAILED);
    CHECK(pg_conn_query_error(a.sql)->kind == ERR_TIMEOUT);
    assert_string_equal(node_sql(&a, "SELECT 7"), "7");
    WAIT(3000, pg_conn_state(a.sql) == PG_CONN_IDLE);
    CHECK(pg_conn_exec(a.sql, "SELECT pg_terminate_backend(pg_backend_pid())",
                       clock_boot_ms() + 3000, &e));
    WAIT(3000, pg_conn_query_state(a.sql) == PG_QUERY_FAILED);
    assert_string_equal(node_sql(&a, "SELECT 8"), "8");
    CHECK(pg_conn_exec(a.sql, "SELECT 1/0", clock_boot_ms() + 3000, &e));
    WAIT(3000, pg_conn_query_state(a.sql) == PG_QUERY_FAILED);
    assert_string_equal(pg_conn_query_sqlstate(a.sql), "22012");
    CHECK(pg_conn_state(a.sql) == PG_CONN_IDLE);
    passed++;
}

static struct position a_end;

/* Segments as PostgreSQL makes them in advance: all zero. */
static void empty_segments(const struct node *n, bool make)
{
    for (unsigned i = 0; i < 8; i++) {
        char name[64], path[PG_PATH_SIZE];
        snprintf(name, sizeof name, "pg_wal/0000000500000000000000%02X", 0xA0 + i);
        CHECK(pg_path(path, n->env.data_dir, name));
        int fd = make ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
        CHECK(make ? fd >= 0 && ftruncate(fd, 16 * 1024 * 1024) == 0 : unlink(path) == 0);
        fd_close(&fd);
    }
}

static void walend__crashed_primary__all_its_wal(void **st)
{
    (void)st;
    struct err e = {0};
    node_sql(&a, "INSERT INTO public.w SELECT generate_series(100, 5000)");
    uint64_t flushed = node_lsn(&a, "pg_current_wal_flush_lsn()");
    node_stop(&a, SIGQUIT);
    empty_segments(&a, true);
    int64_t began = clock_boot_ms();
    node_job_ok(&a, pg_job_begin_walend(a.job, (struct position){0}, false, 0, &e), &e);
    CHECK(pg_job_walend(a.job).timeline == 5 && pg_job_walend(a.job).lsn >= flushed);
    CHECK(clock_boot_ms() - began < 4000); /* pg_waldump did not wait for a file to appear */
    empty_segments(&a, false);
    node_job_ok(&a, pg_job_begin_walend(a.job, (struct position){0}, false, 0, &e), &e);
    a_end = pg_job_walend(a.job);
    CHECK(a_end.timeline == 5 && a_end.lsn >= flushed);
    CHECK(pg_job_control(a.job)->state == PG_CONTROL_PRODUCTION);
    passed++;
}

static void promote__other_member__history_shows_divergence(void **st)
{
    (void)st;
    /* A stopped checkpointer keeps pg_control on the old timeline. */
    WAIT(3000, pg_probe_facts(b.probe)->checkpointer_pid > 1);
    pid_t checkpointer = (pid_t)pg_probe_facts(b.probe)->checkpointer_pid;
    CHECK(kill(checkpointer, SIGSTOP) == 0);
    node_promote(&b, 9);
    struct pg_peer *p = pg_peer_new(engine, &a.env);
    CHECK(pg_passfile_write(&a.env, 2, NULL));
    node_sql(&b, "INSERT INTO public.w VALUES (9)");
    struct pg_history h;
    char wal[PG_PATH_SIZE];
    struct err e;
    CHECK(pg_path(wal, b.env.data_dir, "pg_wal") && pg_history_read(&h, wal, 9, NULL));
    /* Before its checkpoint the new writer is no source for a rewind. */
    struct pg_rewind_spec s = {.from = {.hostaddr = HOST, .port = b.env.port, .epoch = 2},
                               .history = &h, .system_id = a.state.system_id};
    CHECK(pg_probe_facts(b.probe)->checkpoint_timeline == 5);
    CHECK(pg_job_begin_rewind(a.job, &s, &e));
    WAIT(61000, pg_job_state(a.job) != PG_JOB_RUNNING);
    CHECK(pg_job_state(a.job) == PG_JOB_FAILED && strstr(pg_job_error(a.job)->msg, "checkpoint"));
    CHECK(kill(checkpointer, SIGCONT) == 0);
    node_task_ok(&b, pg_task_checkpoint(b.task, clock_boot_ms() + 60000, NULL));
    pg_peer_ask(p, HOST, b.env.port, 2, clock_boot_ms() + 60000);
    WAIT(61000, pg_peer_state(p) != PG_PEER_RUNNING);
    CHECK(pg_peer_state(p) == PG_PEER_OK && pg_peer_facts(p)->checkpoint_timeline == 9);
    CHECK(pg_peer_diverged(pg_peer_facts(p), a_end) == TRI_YES);
    pg_peer_free(p);
    passed++;
}

static void a_follows_b(void)
{
    struct pg_slot_want want = {.volume = a.state.volume};
    node_task_ok(&b, pg_task_slots(b.task, &want, 1, false, clock_boot_ms() + 60000, NULL));
    struct pg_upstream u = upstream(&b, &a, 2);
    pg_conf_set_upstream(a.conf, &u);
    node_start(&a);
}

static void rewind__diverged_primary__set_aside_and_following(void **st)
{
    (void)st;
    struct pg_history h;
    char wal[PG_PATH_SIZE];
    struct err e = {0};
    struct pg_datadir d;
    CHECK(pg_path(wal, b.env.data_dir, "pg_wal") && pg_history_read(&h, wal, 9, NULL));
    struct pg_rewind_spec s = {.from = {.hostaddr = HOST, .port = b.env.port, .epoch = 2},
                               .history = &h, .system_id = a.state.system_id};
    bool can = exists(a.env.bin_dir, "pg_rewind"); /* not every installation has it */
    CHECK(pg_job_begin_rewind(a.job, &s, &e));
    WAIT(120000, pg_job_state(a.job) != PG_JOB_RUNNING);
    if (pg_job_state(a.job) != (can ? PG_JOB_OK : PG_JOB_FAILED))
        fail_msg("%s", pg_job_error(a.job)->msg);
    CHECK(exists(pg_job_set_aside(a.job), "receipt"));
    char segment[64];
    snprintf(segment, sizeof(segment), "00000005%08X%08X", (unsigned)(a_end.lsn >> 32),
             (unsigned)((a_end.lsn & 0xffffffff) / (16 * 1024 * 1024)));
    CHECK(exists(pg_job_set_aside(a.job), segment));
    if (!can) {
        struct pg_clone_spec copy = {.from = s.from, .replace = PG_REPLACE_KEEP, .state = &a.state,
                                     .system_id = s.system_id};
        CHECK(strstr(pg_job_error(a.job)->msg, "pg_rewind"));
        node_job_ok(&a, pg_job_begin_clone(a.job, &copy, &e), &e);
    }
    CHECK(pg_datadir_look(&a.env, a.state.system_id, &d, &e) && d.state == DATA_OK);
    CHECK(d.standby_signal);
    a_follows_b();
    const struct pg_facts *f = pg_probe_facts(a.probe);
    WAIT(10000, f->receiver_streaming && f->position.timeline == 9);
    uint64_t lsn = node_lsn(&b, "pg_current_wal_flush_lsn()");
    WAIT(10000, f->replayed_lsn >= lsn);
    assert_string_equal(node_sql(&a, "SELECT max(i) FROM public.w"), "9");
    passed++;
}

static void follow__timelines_left_out__streams_on(void **st)
{
    (void)st;
    const struct pg_facts *f = pg_probe_facts(a.probe);
    /* A stopped checkpointer keeps the pg_control of a on the old timeline. */
    WAIT(3000, f->checkpointer_pid > 1);
    CHECK(kill((pid_t)f->checkpointer_pid, SIGSTOP) == 0);
    node_stop(&b, SIGINT);
    node_start(&b);
    node_promote(&b, 12); /* 10 and 11 were allocated to candidates that never promoted */
    node_sql(&b, "INSERT INTO public.w VALUES (12)");
    uint64_t lsn = node_lsn(&b, "pg_current_wal_flush_lsn()");
    WAIT(10000, f->receiver_streaming && f->position.timeline == 12 && f->replayed_lsn >= lsn);
    passed++;
}

static void walend__stopped_standby__highest_timeline(void **st)
{
    (void)st;
    struct err e = {0};
    uint64_t lsn = pg_probe_facts(a.probe)->replayed_lsn;
    node_task_ok(&b, pg_task_end_senders(b.task, 0, clock_boot_ms() + 60000, NULL));
    CHECK(pg_task_count(b.task) == 1);
    CHECK(kill((pid_t)pg_probe_facts(a.probe)->checkpointer_pid, SIGKILL) == 0);
    node_stop(&a, SIGQUIT);
    node_job_ok(&a, pg_job_begin_walend(a.job, (struct position){0}, false, 0, &e), &e);
    CHECK(pg_job_walend(a.job).timeline == 12 && pg_job_walend(a.job).lsn >= lsn);
    passed++;
}

/* pg_control of a standby may name an older timeline than the last record that it has confirmed;
 * recovery looks for the newer one number by number, and two were never used. */
static void start__killed_standby_behind_unused_timelines__sees_its_own_wal(void **st)
{
    (void)st;
    pg_conf_set_upstream(a.conf, NULL);
    node_start(&a);
    const struct pg_facts *f = pg_probe_facts(a.probe);
    CHECK(f->checkpoint_timeline < 12);
    WAIT(10000, f->position.timeline == 12);
    assert_string_equal(node_sql(&a, "SELECT max(i) FROM public.w WHERE i < 100"), "12");
    node_stop(&a, SIGQUIT);
    passed++;
}

/* A walreceiver that was killed while it copied the segment of a new timeline: its file hides the whole
 * one of the older timeline. */
static void walend__cut_copy_of_a_newer_segment__uncovered(void **st)
{
    (void)st;
    struct err e = {0};
    node_stop(&b, SIGINT);
    node_start(&b);
    node_promote(&b, 16);
    node_sql(&b, "INSERT INTO public.w VALUES (16)");
    uint64_t lsn = node_lsn(&b, "pg_current_wal_flush_lsn()");
    node_stop(&b, SIGQUIT);
    char from[PG_PATH_SIZE], to[PG_PATH_SIZE], name[64], script[1024];
    snprintf(name, sizeof name, "%08X%08X", (unsigned)(lsn >> 32),
             (unsigned)((lsn & 0xffffffff) / (16 * 1024 * 1024)));
    snprintf(script, sizeof script,
             "cd '%s/pg_wal' && cp 00000010.history 00000011.history && "
             "printf '16\\t%X/%08X\\tno recovery target specified\\n' >> 00000011.history && "
             "truncate -s 16777216 00000011%s", b.env.data_dir, (unsigned)(lsn >> 32), (unsigned)lsn, name);
    CHECK(system(script) == 0); /* made in advance and never written to */
    node_job_ok(&b, pg_job_begin_walend(b.job, (struct position){0}, false, 0, &e), &e);
    CHECK(pg_job_walend(b.job).timeline == 16 && pg_job_walend(b.job).lsn >= lsn);
    snprintf(script, sizeof script,
             "cd '%s/pg_wal' && head -c 8192 00000010%s > 00000011%s && truncate -s 16777216 00000011%s",
             b.env.data_dir, name, name, name);
    CHECK(system(script) == 0);
    node_job_ok(&b, pg_job_begin_walend(b.job, (struct position){0}, false, 0, &e), &e);
    CHECK(pg_job_walend(b.job).timeline == 16 && pg_job_walend(b.job).lsn >= lsn);
    node_job_ok(&b, pg_job_begin_walend(b.job, (struct position){0}, true, 0, &e), &e);
    snprintf(to, sizeof to, "uncovered/00000011%s", name);
    snprintf(from, sizeof from, "pg_wal/00000011%s", name);
    CHECK(exists(b.env.state_dir, to) && !exists(b.env.data_dir, from));
    node_start(&b);
    WAIT(10000, pg_probe_facts(b.probe)->replayed_lsn >= lsn);
    assert_string_equal(node_sql(&b, "SELECT max(i) FROM public.w WHERE i < 100"), "16");
    passed++;
}

static void clone__keeping_the_old_one(void **st)
{
    (void)st;
    struct err e = {0};
    uint64_t before = a.state.volume;
    struct pg_clone_spec s = {.from = {.hostaddr = HOST, .port = b.env.port, .epoch = 2},
                              .replace = PG_REPLACE_KEEP, .state = &a.state,
                              .system_id = a.state.system_id};
    node_job_ok(&a, pg_job_begin_clone(a.job, &s, &e), &e);
    CHECK(a.state.volume != before && exists(a.env.data_dir, "../data.old/PG_VERSION"));
    s.replace = PG_REPLACE_REMOVE;
    s.slot = true;
    CHECK(pg_job_begin_clone(a.job, &s, &e));
    uint64_t cut = pg_job_volume(a.job);
    const struct pg_facts *f = pg_probe_facts(b.probe);
    char sql[128], name[PG_MEMBER_SIZE];
    pg_member_name(name, cut);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '%s'",
             name);
    WAIT(10000, strcmp(node_sql(&b, sql), "1") == 0);
    pg_job_cancel(a.job);
    WAIT(10000, pg_job_state(a.job) == PG_JOB_FAILED);
    struct pg_datadir d;
    CHECK(pg_datadir_look(&a.env, 0, &d, &e) && d.state == DATA_OK); /* a cut one harms nothing */
    node_job_ok(&a, pg_job_begin_clone(a.job, &s, &e), &e);
    WAIT(3000, pg_facts_slot(f, a.state.volume));
    CHECK(!pg_facts_slot(f, cut)); /* what the cut one had made */
    CHECK(!exists(a.env.data_dir, "../data.drop") && exists(a.env.data_dir, "PG_VERSION"));
    passed++;
}

/* Promoted by hand, killed before its checkpoint, started once more as a standby and stopped in order: the
 * last checkpoint in pg_control is of the timeline before, on which the writer went on further. */
static void rewind__own_timeline_without_a_checkpoint__refused(void **st)
{
    (void)st;
    struct err e = {0};
    node_promote(&b, 18);
    node_task_ok(&b, pg_task_checkpoint(b.task, clock_boot_ms() + 60000, NULL));
    a_follows_b();
    const struct pg_facts *f = pg_probe_facts(a.probe);
    WAIT(10000, f->receiver_streaming && f->position.timeline == 18 && f->checkpointer_pid > 1);
    pid_t checkpointer = (pid_t)f->checkpointer_pid;
    CHECK(kill(checkpointer, SIGSTOP) == 0);
    node_promote(&a, 19);
    node_sql(&a, "INSERT INTO public.w VALUES (19)");
    proc_kill(a.server, SIGQUIT);
    CHECK(kill(checkpointer, SIGKILL) == 0);
    node_stop(&a, SIGQUIT);
    pg_conf_set_upstream(a.conf, NULL);
    node_start(&a);
    WAIT(10000, f->position.timeline == 19);
    node_stop(&a, SIGINT);

    node_sql(&b, "INSERT INTO public.w SELECT generate_series(100, 5000)");
    node_stop(&b, SIGINT);
    node_start(&b);
    node_promote(&b, 21);
    node_task_ok(&b, pg_task_checkpoint(b.task, clock_boot_ms() + 60000, NULL));
    char script[2 * PG_PATH_SIZE + 64], wal[PG_PATH_SIZE];
    snprintf(script, sizeof script, "cp '%s/pg_wal/00000015.history' '%s/pg_wal/'", b.env.data_dir,
             a.env.data_dir); /* a walreceiver fetches it before it sees that it cannot follow */
    CHECK(system(script) == 0);
    struct pg_history h;
    CHECK(pg_path(wal, b.env.data_dir, "pg_wal") && pg_history_read(&h, wal, 21, NULL));
    struct pg_rewind_spec s = {.from = {.hostaddr = HOST, .port = b.env.port, .epoch = 2},
                               .history = &h, .system_id = a.state.system_id};
    for (int tries = 0; tries == 0 || (tries < 5 && pg_job_error(a.job)->kind == ERR_TIMEOUT); tries++) {
        CHECK(pg_job_begin_rewind(a.job, &s, &e)); /* it gives its source five seconds to answer */
        WAIT(120000, pg_job_state(a.job) != PG_JOB_RUNNING);
        CHECK(pg_job_state(a.job) == PG_JOB_FAILED);
    }
    if (!strstr(pg_job_error(a.job)->msg, "own WAL is of timeline 19"))
        fail_msg("%s", pg_job_error(a.job)->msg);
    CHECK(pg_job_error(a.job)->kind == ERR_INVALID);
    passed++;
}

static void stop__probe_says_gone(void **st)
{
    (void)st;
    pg_detach_reset(b.detach);
    node_stop(&b, SIGINT);
    CHECK(!pg_probe_facts(b.probe)->valid && pg_probe_facts(b.probe)->in_recovery == TRI_UNKNOWN);
    pg_probe_want(b.probe, true);
    WAIT(3000, pg_probe_answers(b.probe, clock_boot_ms()) == TRI_NO);
    pg_probe_want(b.probe, false);
    pg_detach_begin(b.detach, 3, b.conf, 0); /* nothing runs: the files are the proof */
    CHECK(pg_detach_state(b.detach) == PG_DETACH_FROZEN);
    passed++;
}

static void walend__unreadable__fails_and_never_understates(void **st)
{
    (void)st;
    struct err e = {0};
    node_job_ok(&b, pg_job_begin_walend(b.job, (struct position){0}, false, 0, &e), &e);
    struct position end = pg_job_walend(b.job);
    char name[64], path[PG_PATH_SIZE];
    snprintf(name, sizeof name, "pg_wal/%08X%08X%08X", end.timeline, (unsigned)(end.lsn >> 32),
             (unsigned)((end.lsn & 0xffffffff) / (16 * 1024 * 1024)));
    CHECK(pg_path(path, b.env.data_dir, name));
    CHECK(truncate(path, 0) == 0 && truncate(path, 16 * 1024 * 1024) == 0);
    struct position replayed = {.timeline = end.timeline, .lsn = end.lsn - 8};
    CHECK(pg_job_begin_walend(b.job, replayed, false, 0, &e));
    WAIT(61000, pg_job_state(b.job) != PG_JOB_RUNNING);
    CHECK(pg_job_state(b.job) == PG_JOB_FAILED);
    passed++;
}

int main(void)
{
    become_postgres();
    snprintf(base_dir, sizeof(base_dir), "/tmp/pghad-pg.XXXXXX");
    if (chdir("/") != 0 || !mkdtemp(base_dir))
        return 1;
    start_janitor();
#define STEP(f) cmocka_unit_test_setup(f, step_setup)
    const struct CMUnitTest tests[] = {
        STEP(initdb__failing_script__named_and_partial),
        STEP(initdb__scripts_roles_checksums),
        STEP(start__standby_closed__promoted_to_allocated_timeline),
        STEP(look__fails_for_a_while__taken_again),
        STEP(tasks__checkpoint_slots_roles),
        STEP(clone__foreign_source_refused__then_copied),
        STEP(follow__streams_under_its_volume_id),
        STEP(sync__barrier_comes_into_force),
        STEP(peer__knows_timeline_and_history),
        STEP(detach__frozen__nothing_arrives_any_more),
        STEP(walend__running_frozen_standby__its_position),
        STEP(clients__ended_only_in_recovery),
        STEP(query__deadline_or_lost_session__fails_and_heals),
        STEP(walend__crashed_primary__all_its_wal),
        STEP(promote__other_member__history_shows_divergence),
        STEP(rewind__diverged_primary__set_aside_and_following),
        STEP(follow__timelines_left_out__streams_on),
        STEP(walend__stopped_standby__highest_timeline),
        STEP(start__killed_standby_behind_unused_timelines__sees_its_own_wal),
        STEP(walend__cut_copy_of_a_newer_segment__uncovered),
        STEP(clone__keeping_the_old_one),
        STEP(rewind__own_timeline_without_a_checkpoint__refused),
        STEP(stop__probe_says_gone),
        STEP(walend__unreadable__fails_and_never_understates),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
