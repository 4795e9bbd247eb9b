/* Files of the PostgreSQL area: state, markers, passfiles, configuration, placeholders. No
 * server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "pg/conf.h"
#include "pg/datadir.h"
#include "pg/history.h"
#include "pg/promote.h"
#include "pg/spare.h"
#include "pg/state.h"
#include "../../src/pg/conf_private.h"

#define CHECK(cond) assert_true(cond)

static char base[64];
static struct pg_env env;

static int setup(void **st)
{
    (void)st;
    snprintf(base, sizeof(base), "/tmp/pghad-files.XXXXXX");
    env = (struct pg_env){.major = 15, .port = 5433};
    if (!mkdtemp(base))
        return -1;
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/data", base);
    snprintf(env.bin_dir, sizeof(env.bin_dir), "/usr/lib/postgresql/15/bin");
    snprintf(env.socket_dir, sizeof(env.socket_dir), "%s/sock", base);
    snprintf(env.superuser, sizeof(env.superuser), "postgres");
    snprintf(env.repl_user, sizeof(env.repl_user), "pghad_repl");
    snprintf(env.repl_password, sizeof(env.repl_password), "se:cr\\et");
    snprintf(env.cluster_name, sizeof(env.cluster_name), "c");
    return pg_env_set_data_dir(&env, dir, NULL) && fd_mkdirs(env.state_dir, 0700, NULL) ? 0 : -1;
}

static int teardown(void **st)
{
    (void)st;
    return pg_tree_remove(base, NULL) ? 0 : -1;
}

static void put(const char *dir, const char *name, const void *data, size_t len)
{
    char path[PG_PATH_SIZE];
    CHECK(fd_mkdirs(dir, 0700, NULL) && pg_path(path, dir, name));
    CHECK(fd_replace_file(path, data, len, 0600, NULL));
}

static bool there(const char *dir, const char *name)
{
    char path[PG_PATH_SIZE];
    return pg_path(path, dir, name) && access(path, F_OK) == 0;
}

static void text_of(const char *dir, const char *name, struct buf *b)
{
    char path[PG_PATH_SIZE];
    CHECK(pg_path(path, dir, name) && fd_read_file(path, b, NULL));
}

static void state__absent_saved_damaged(void **st)
{
    (void)st;
    struct err e;
    struct pg_state s = {.epoch = 3, .volume = 5, .system_id = 7}, back;
    CHECK(!pg_state_load(&env, &back, &e) && e.kind == ERR_NOT_FOUND);
    CHECK(pg_state_save(&env, &s, &e) && pg_state_load(&env, &back, &e));
    CHECK(back.epoch == 3 && back.volume == 5 && back.system_id == 7 && !back.has_record);
    put(env.state_dir, "member.state", "", 0);
    CHECK(!pg_state_load(&env, &back, &e) && e.kind == ERR_CORRUPT);
    CHECK(strstr(e.msg, "member.state") != NULL);
    put(env.state_dir, "member.state", "a\0b", 3);
    CHECK(!pg_state_load(&env, &back, &e) && e.kind == ERR_CORRUPT);
}

static void make_control(uint64_t system_id, uint32_t state)
{
    char dir[PG_PATH_SIZE], control[8192] = "";
    memcpy(control, &system_id, 8);
    memcpy(control + 16, &state, 4);
    CHECK(pg_path(dir, env.data_dir, "global"));
    put(dir, "pg_control", control, sizeof(control));
}

static void datadir__each_state(void **st)
{
    (void)st;
    struct pg_datadir d;
    CHECK(pg_datadir_look(&env, 0, &d, NULL) && d.state == DATA_EMPTY);
    CHECK(fd_mkdirs(env.data_dir, 0700, NULL));
    CHECK(pg_datadir_look(&env, 0, &d, NULL) && d.state == DATA_EMPTY);
    put(env.data_dir, "something", "x", 1);
    CHECK(pg_datadir_look(&env, 0, &d, NULL) && d.state == DATA_BROKEN);
    put(env.data_dir, "PG_VERSION", "15\n", 3);
    CHECK(pg_datadir_look(&env, 0, &d, NULL) && d.state == DATA_BROKEN);
    make_control(42, 1);
    CHECK(pg_datadir_look(&env, 0, &d, NULL) && d.state == DATA_OK && d.clean && d.system_id == 42);
    CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.state == DATA_OK);
    CHECK(pg_datadir_look(&env, 43, &d, NULL) && d.state == DATA_FOREIGN && strstr(d.why, "43"));
    make_control(42, 6);
    CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.state == DATA_OK && !d.clean);
    put(env.data_dir, "PG_VERSION", "14\n", 3);
    CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.state == DATA_FOREIGN && strstr(d.why, "14"));
    put(env.data_dir, "PG_VERSION", "15\n", 3);
    for (int m = 0; m < PG_MARKERS; m++) {
        CHECK(pg_marker_set(&env, (enum pg_marker)m, "test", NULL));
        CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.state == DATA_PARTIAL && d.marker[m]);
        put(env.data_dir, "PG_VERSION", "14\n", 3); /* what another version began is not ours to end */
        CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.state == DATA_FOREIGN && strstr(d.why, "14"));
        put(env.data_dir, "PG_VERSION", "15\n", 3);
        CHECK(pg_marker_clear(&env, (enum pg_marker)m, NULL));
        CHECK(pg_marker_clear(&env, (enum pg_marker)m, NULL));
    }
    CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.state == DATA_OK && !d.standby_signal);
    put(env.data_dir, "recovery.signal", "", 0);
    CHECK(pg_standby_signal(&env, NULL) && !there(env.data_dir, "recovery.signal"));
    CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.standby_signal && d.timeline == 0);
    char wal[PG_PATH_SIZE];
    CHECK(pg_path(wal, env.data_dir, "pg_wal"));
    put(wal, "000000030000000000000001", "", 0);
    put(wal, "0000000A.history", "1\t0/1\tx\n", 8);
    put(wal, "00000010.history.tmp", "", 0);
    CHECK(pg_datadir_look(&env, 42, &d, NULL) && d.timeline == 10);
}

/* As PostgreSQL 15 writes it, with its padding. */
static void postmaster__starts_or_stops__refuses(void **st)
{
    (void)st;
    static const struct {
        const char *text;
        bool refuses;
    } rows[] = {
        {"1\n/data\n1795382045\n5432\n/run\n0.0.0.0\n  1234  5\nstarting\n", true},
        {"1\n/data\n1795382045\n5432\n/run\n0.0.0.0\n  1234  5\nstopping\n", true},
        {"1\n/data\n1795382045\n5432\n/run\n0.0.0.0\n  1234  5\nstandby \n", false},
        {"1\n/data\n1795382045\n5432\n/run\n0.0.0.0\n  1234  5\nready   \n", false},
        {"1\n/starting\n1795382045\n5432\n", false},
        {"starting", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put(env.data_dir, "postmaster.pid", rows[i].text, strlen(rows[i].text));
        CHECK(pg_postmaster_refuses(env.data_dir) == rows[i].refuses);
    }
    CHECK(pg_postmaster_pid_forget(&env, NULL) && !pg_postmaster_refuses(env.data_dir));
}

static void passfile__per_epoch__old_ones_go(void **st)
{
    (void)st;
    struct buf b;
    struct stat s;
    char path[PG_PATH_SIZE];
    buf_init(&b, 4096);
    for (uint64_t epoch = 8; epoch <= 11; epoch++)
        CHECK(pg_passfile_write(&env, epoch, NULL));
    text_of(env.state_dir, "passfile.9", &b);
    assert_string_equal(buf_str(&b), "*:*:*:pghad_repl:se\\:cr\\\\et\n");
    CHECK(pg_passfile_path(path, &env, 9) && stat(path, &s) == 0 && (s.st_mode & 077) == 0);
    CHECK(pg_passfile_drop(&env, 10, NULL));
    CHECK(!there(env.state_dir, "passfile.8") && !there(env.state_dir, "passfile.9"));
    CHECK(there(env.state_dir, "passfile.10") && there(env.state_dir, "passfile.11"));
    buf_done(&b);
}

/* What kubelet does to a volume for an fsGroup: everything becomes writable for the group. */
static void modes__widened_by_fsgroup__narrowed_again(void **st)
{
    (void)st;
    static const mode_t modes[][2] = {
        {0700, 0700}, {02700, 02700}, {0750, 0750}, {0770, 0700}, {02770, 0700}, {0755, 0750}};
    struct stat s;
    char path[PG_PATH_SIZE];
    CHECK(fd_mkdirs(env.data_dir, 0700, NULL));
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        CHECK(chmod(env.data_dir, modes[i][0]) == 0 && pg_datadir_private(&env, NULL));
        CHECK(stat(env.data_dir, &s) == 0 && (s.st_mode & 07777) == modes[i][1]);
    }
    CHECK(pg_passfile_write(&env, 5, NULL) && pg_passfile_path(path, &env, 5));
    CHECK(chmod(path, 0660) == 0 && pg_passfile_write(&env, 5, NULL));
    CHECK(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
}

static void secret__file_value_neither(void **st)
{
    (void)st;
    char dst[PG_SECRET_SIZE], path[PG_PATH_SIZE];
    struct err e;
    CHECK(pg_secret_load(dst, "v", NULL, NULL) && strcmp(dst, "v") == 0);
    CHECK(!pg_secret_load(dst, "", "", &e) && e.kind == ERR_NOT_FOUND);
    put(base, "pw", "from file\n", 10);
    CHECK(pg_path(path, base, "pw") && pg_secret_load(dst, "v", path, NULL));
    assert_string_equal(dst, "from file");
    put(base, "pw", "two\nlines\n", 10);
    CHECK(!pg_secret_load(dst, "v", path, &e) && !strstr(e.msg, "two"));
    put(base, "pw", "\n", 1);
    CHECK(!pg_secret_load(dst, "v", path, &e));
    CHECK(!pg_secret_load(dst, "v", "/nonexistent/x", &e) && e.kind == ERR_NOT_FOUND);
}

static const char *line_at(const char *text, const char *line)
{
    const char *p = strstr(text, line);
    if (!p)
        fail_msg("missing: %s", line);
    return p;
}

static void conf__upstream_set_and_cleared(void **st)
{
    (void)st;
    struct pg_conf *c = pg_conf_new(&env);
    struct buf b;
    bool changed;
    buf_init(&b, 65536);
    CHECK(pg_conf_closed(c) && pg_conf_write(c, &changed, NULL) && changed);
    CHECK(pg_conf_write(c, &changed, NULL) && !changed);
    text_of(env.state_dir, "pghad.conf", &b);
    line_at(buf_str(&b), "primary_conninfo = ''\n");
    line_at(buf_str(&b), "restore_command = ''\n");
    line_at(buf_str(&b), "synchronous_standby_names = 'ANY 1 (pghad_none)'\n"); /* nobody said otherwise */
    struct pg_upstream u = {.hostaddr = "10.0.0.2", .host = "pg-1.pods", .port = 5432,
                            .volume = 0xab, .epoch = 4, .slot = true};
    pg_conf_set_upstream(c, &u);
    CHECK(pg_conf_write(c, &changed, NULL) && changed && there(env.state_dir, "passfile.4"));
    text_of(env.state_dir, "pghad.conf", &b);
    line_at(buf_str(&b), "hostaddr=''10.0.0.2'' host=''pg-1.pods'' port=''5432''");
    line_at(buf_str(&b), "application_name=''m_00000000000000ab''");
    line_at(buf_str(&b), "passfile.4''");
    line_at(buf_str(&b), "primary_slot_name = 'm_00000000000000ab'\n");
    CHECK(!strstr(buf_str(&b), "se:cr"));
    pg_conf_set_upstream(c, NULL);
    CHECK(pg_conf_write(c, &changed, NULL) && changed);
    text_of(env.state_dir, "pghad.conf", &b);
    line_at(buf_str(&b), "primary_conninfo = ''\n");
    buf_done(&b);
    pg_conf_free(c);
}

static void conf__logical__failover_slots_where_the_version_has_them(void **st)
{
    (void)st;
    static const struct pg_param logical[] = {{"wal_level", "logical"}};
    struct pg_user_conf u = {.params = logical, .n_params = 1};
    struct pg_ssn ssn = {.kind = PG_SSN_SET, .mode = REPL_QUORUM, .w = 1, .n = 2, .volume = {0xaa, 0xbb}};
    struct err e;
    for (uint32_t major = 16; major <= 17; major++) {
        struct pg_env other = env;
        struct buf b;
        other.major = major;
        struct pg_conf *c = pg_conf_new(&other);
        buf_init(&b, 65536);
        CHECK(pg_conf_set_ssn(c, &ssn, &e));
        CHECK(pg_conf_render(c, &b, &e) && !strstr(buf_str(&b), "slots = 'on'")); /* not logical */
        buf_clear(&b);
        CHECK(pg_conf_set_user(c, &u, &e) && pg_conf_render(c, &b, &e));
        CHECK((strstr(buf_str(&b), "sync_replication_slots") != NULL) == (major >= 17));
        if (major >= 17) {
            line_at(buf_str(&b), "sync_replication_slots = 'on'\n");
            line_at(buf_str(&b), "hot_standby_feedback = 'on'\n");
            line_at(buf_str(&b),
                    "synchronized_standby_slots = 'm_00000000000000aa, m_00000000000000bb'\n");
            ssn.kind = PG_SSN_UNSATISFIABLE;
            buf_clear(&b);
            CHECK(pg_conf_set_ssn(c, &ssn, &e) && pg_conf_render(c, &b, &e));
            line_at(buf_str(&b), "synchronized_standby_slots = 'pghad_none'\n");
        }
        buf_done(&b);
        pg_conf_free(c);
    }
}

static void conf__user_part__before_ours_and_checked(void **st)
{
    (void)st;
    struct pg_conf *c = pg_conf_new(&env);
    struct err e;
    struct buf b;
    buf_init(&b, 65536);
    static const struct pg_param good[] = {{"work_mem", "64MB"}, {"my.thing", "it's"},
                                           {"wal_level", "logical"}};
    static const char *const hba[] = {"host app app 10.0.0.0/8 scram-sha-256"};
    struct pg_user_conf u = {.params = good, .n_params = 3, .hba = hba, .n_hba = 1,
                             .include = "/etc/pg/extra.conf", .feedback = true};
    CHECK(pg_conf_set_user(c, &u, &e) && pg_conf_render(c, &b, &e));
    const char *text = buf_str(&b);
    CHECK(line_at(text, "include_if_exists = '/etc/pg/extra.conf'") <
          line_at(text, "work_mem = '64MB'\n"));
    CHECK(line_at(text, "my.thing = 'it''s'\n") < line_at(text, "wal_level = 'logical'\n"));
    line_at(text, "hot_standby_feedback = 'on'\n");
    line_at(text, "restart_after_crash = 'off'\n");
    static const struct pg_param bad[][1] = {{{"Synchronous_Standby_Names", "*"}},
                                             {{"wal_level", "minimal"}},
                                             {{"a b", "1"}},
                                             {{"work_mem", "1\nfsync = off"}},
                                             {{"", "1"}}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pg_user_conf w = {.params = bad[i], .n_params = 1};
        CHECK(!pg_conf_set_user(c, &w, &e) && e.kind == ERR_INVALID);
        CHECK(strstr(e.msg, bad[i][0].name) != NULL);
    }
    static const char *const evil[] = {"host all all all trust\nhost all"};
    struct pg_user_conf w = {.hba = evil, .n_hba = 1};
    CHECK(!pg_conf_set_user(c, &w, &e));
    buf_clear(&b);
    CHECK(pg_conf_render(c, &b, &e) && strstr(buf_str(&b), "work_mem")); /* unchanged */
    buf_done(&b);
    pg_conf_free(c);
}

static void hba__closed__rejects_before_the_users_lines(void **st)
{
    (void)st;
    struct pg_conf *c = pg_conf_new(&env);
    struct buf b;
    buf_init(&b, 65536);
    static const char *const hba[] = {"host all all all trust"};
    CHECK(pg_conf_set_user(c, &(struct pg_user_conf){.hba = hba, .n_hba = 1}, NULL));
    CHECK(pg_conf_render_hba(c, &b, NULL));
    const char *t = buf_str(&b);
    CHECK(line_at(t, "host replication \"pghad_repl\" all scram-sha-256\n") <
          line_at(t, "host all all all reject\n"));
    CHECK(line_at(t, "local all \"postgres\" ") < line_at(t, "local all all reject\n"));
    CHECK(line_at(t, "host all all all reject\n") < line_at(t, "host all all all trust\n"));
    pg_conf_set_closed(c, false);
    buf_clear(&b);
    CHECK(pg_conf_render_hba(c, &b, NULL) && !strstr(buf_str(&b), "reject"));
    line_at(buf_str(&b), "host all all all scram-sha-256\n");
    buf_done(&b);
    pg_conf_free(c);
}

static void conf__floor__raises_lower_wishes(void **st)
{
    (void)st;
    struct pg_conf *c = pg_conf_new(&env);
    struct buf b;
    struct err e;
    buf_init(&b, 65536);
    static const struct pg_param p[] = {{"max_connections", "50"},
                                        {"MAX_LOCKS_per_transaction", "99"}};
    static const struct pg_param bad[] = {{"max_connections", "many"}};
    CHECK(!pg_conf_set_user(c, &(struct pg_user_conf){.params = bad, .n_params = 1}, &e));
    CHECK(pg_conf_set_user(c, &(struct pg_user_conf){.params = p, .n_params = 2}, &e));
    CHECK(pg_conf_render(c, &b, &e) && pg_conf_raised(c)[0] == NULL);
    line_at(buf_str(&b), "\nmax_connections = 50\n");
    struct pg_control floor = {.max_connections = 100, .max_wal_senders = 20,
                               .max_locks_per_xact = 64, .max_worker_processes = 8};
    pg_conf_set_floor(c, &floor);
    buf_clear(&b);
    CHECK(pg_conf_render(c, &b, &e));
    line_at(buf_str(&b), "\nmax_connections = 100\n");
    line_at(buf_str(&b), "\nmax_wal_senders = 20\n");
    line_at(buf_str(&b), "\nmax_locks_per_transaction = 99\n");
    line_at(buf_str(&b), "\nmax_worker_processes = 8\n");
    CHECK(!strstr(buf_str(&b), "max_prepared"));
    assert_string_equal(pg_conf_raised(c)[0], "max_connections");
    CHECK(pg_conf_raised(c)[1] == NULL);
    buf_done(&b);
    pg_conf_free(c);
}

/* A program in place of postgres, which answers as the script says. */
static void pretend(const char *script)
{
    char path[PG_PATH_SIZE];
    snprintf(env.bin_dir, sizeof(env.bin_dir), "%s/bin", base);
    put(env.bin_dir, "postgres", script, strlen(script));
    CHECK(pg_path(path, env.bin_dir, "postgres") && chmod(path, 0700) == 0);
}

static void expect_conf(const char *line)
{
    struct buf b;
    buf_init(&b, 65536);
    text_of(env.state_dir, "pghad.conf", &b);
    CHECK(strstr(buf_str(&b), line));
    buf_done(&b);
}

static void gate__absent__nothing_is_preloaded(void **st)
{
    (void)st;
    struct buf b;
    buf_init(&b, 65536);
    pg_env_find_gate(&env, base);
    CHECK(env.gate[0] == '\0');
    put(base, "pghad_gate-16.so", "", 0);
    pg_env_find_gate(&env, base);
    CHECK(env.gate[0] == '\0'); /* made for another version */
    pretend("#!/bin/sh\nexit 1\n");
    struct pg_conf *c = pg_conf_new(&env);
    CHECK(pg_conf_write(c, NULL, NULL) && pg_conf_render(c, &b, NULL));
    CHECK(!strstr(buf_str(&b), "shared_preload_libraries") && !strstr(buf_str(&b), "pghad_gate"));
    buf_done(&b);
    pg_conf_free(c);
}

static void gate__joins_what_the_user_preloads(void **st)
{
    (void)st;
    char want[PG_PATH_SIZE + 80];
    put(base, "pghad_gate-15.so", "", 0);
    pg_env_find_gate(&env, base);
    CHECK(env.gate[0] != '\0');
    /* The question must not name the gate, or it would be added to itself. */
    pretend("#!/bin/sh\n"
            "grep -q pghad_gate \"${4#config_file=}\" && exit 1\n"
            "echo 'LOG:  something to complain about' >&2\n"
            "echo 'pg_stat_statements, \"auto_explain\"'\n");
    struct pg_conf *c = pg_conf_new(&env);
    CHECK(pg_conf_set_user(c, &(struct pg_user_conf){.strict_commit = true}, NULL));
    CHECK(pg_conf_write(c, NULL, NULL));
    snprintf(want, sizeof(want), "\nshared_preload_libraries = 'pg_stat_statements, \"auto_explain\", "
                                 "\"%s\"'\n", env.gate);
    expect_conf(want);
    expect_conf("\npghad_gate.strict = 'on'\n");

    pretend("#!/bin/sh\necho\n"); /* the user has nothing any more */
    CHECK(pg_conf_try_user(c, &(struct pg_user_conf){0}, NULL) && pg_conf_write(c, NULL, NULL));
    snprintf(want, sizeof(want), "\nshared_preload_libraries = '\"%s\"'\n", env.gate);
    expect_conf(want);
    expect_conf("\npghad_gate.strict = 'off'\n");
    for (const char *const *a = pg_conf_argv(c); *a; a++)
        CHECK(!strstr(*a, "shared_preload_libraries")); /* would hide that a restart is pending */
    pg_conf_free(c);
}

static void gate__libraries_of_the_user_unknown__nothing_is_written(void **st)
{
    (void)st;
    struct err e;
    put(base, "pghad_gate-15.so", "", 0);
    pg_env_find_gate(&env, base);
    pretend("#!/bin/sh\nkill -9 $$\n"); /* no answer, as when it does not come in time */
    struct pg_conf *c = pg_conf_new(&env);
    CHECK(!pg_conf_write(c, NULL, &e) && e.kind == ERR_TRANSIENT);
    CHECK(!there(env.state_dir, "pghad.conf"));
    pretend("#!/bin/sh\necho\n"); /* it would answer now, but is not asked again at once: it may hang */
    CHECK(!pg_conf_write(c, NULL, &e) && e.kind == ERR_TRANSIENT);
    CHECK(!there(env.state_dir, "pghad.conf"));
    c->preload_next_ms = clock_boot_ms(); /* the pause is over */
    CHECK(pg_conf_write(c, NULL, &e) && there(env.state_dir, "pghad.conf"));
    pg_conf_free(c);
}

static void auto_conf__only_owned_lines_go(void **st)
{
    (void)st;
    struct pg_conf *c = pg_conf_new(&env);
    struct buf b;
    buf_init(&b, 65536);
    CHECK(pg_conf_strip_auto(c, NULL)); /* absent is fine */
    static const char text[] = "# Do not edit\nwork_mem = '1MB'\nprimary_conninfo = 'host=x'\n"
                               "synchronous_standby_names = '*'\nmy_port = '1'\n";
    put(env.data_dir, "postgresql.auto.conf", text, sizeof(text) - 1);
    CHECK(pg_conf_strip_auto(c, NULL));
    text_of(env.data_dir, "postgresql.auto.conf", &b);
    assert_string_equal(buf_str(&b), "# Do not edit\nwork_mem = '1MB'\nmy_port = '1'\n");
    buf_done(&b);
    pg_conf_free(c);
}

static void placeholders__fill_the_gap_and_go(void **st)
{
    (void)st;
    char wal[PG_PATH_SIZE];
    struct err e;
    struct pg_history h;
    CHECK(pg_path(wal, env.data_dir, "pg_wal"));
    put(wal, "00000003.history", "1\t0/300\treal\n", 13);
    CHECK(pg_placeholders_write(&env, 1, 5, &e));
    CHECK(there(wal, "00000002.history") && there(wal, "00000004.history"));
    CHECK(!there(wal, "00000005.history"));
    CHECK(pg_history_read(&h, wal, 2, NULL) && h.placeholder);
    CHECK(pg_history_read(&h, wal, 3, NULL) && !h.placeholder && h.branch[0].end == 0x300);
    CHECK(pg_placeholders_write(&env, 1, 4, &e)); /* a lower number: those above it go */
    CHECK(there(wal, "00000002.history") && !there(wal, "00000004.history"));
    CHECK(!pg_placeholders_write(&env, 1, 3, &e) && e.kind == ERR_INVALID);
    CHECK(!pg_placeholders_write(&env, 5, 5, &e));
    CHECK(pg_placeholders_write(&env, 1, 6, &e) && there(wal, "00000005.history"));
    CHECK(pg_placeholders_settle(&env, &e) && pg_placeholders_settle(&env, &e));
    CHECK(there(wal, "00000002.history") && there(wal, "00000003.history"));
    CHECK(!there(wal, "00000004.history") && !there(wal, "00000005.history"));
}

/* A number that was allocated and never used, and a real history behind it. */
static void placeholders__a_gap_before_a_start_is_filled(void **st)
{
    (void)st;
    char wal[PG_PATH_SIZE];
    struct err e;
    CHECK(pg_path(wal, env.data_dir, "pg_wal"));
    put(wal, "00000003.history", "1\t0/300\treal\n", 13);
    CHECK(pg_placeholders_settle(&env, &e) && there(wal, "00000002.history"));
}

static void promote__file__forgotten(void **st)
{
    (void)st;
    struct err e;
    put(env.data_dir, "promote", "", 0);
    CHECK(pg_promote_forget(&env, &e) && !there(env.data_dir, "promote"));
    CHECK(pg_promote_forget(&env, &e));
    CHECK(!pg_promote_request(&env, 0, &e) && e.kind == ERR_BUG);
}

static void binaries__found_or_named(void **st)
{
    (void)st;
    struct err e;
    struct pg_env x = {0};
    CHECK(pg_env_find_binaries(&x, &e) && x.major >= 15 && x.bin_dir[0] == '/');
    snprintf(x.bin_dir, sizeof(x.bin_dir), "/bin");
    CHECK(!pg_env_find_binaries(&x, &e));
}

static bool takes_hba(struct pg_conf *c, const char *line, struct err *e)
{
    const char *const hba[] = {line};
    return pg_conf_set_user(c, &(struct pg_user_conf){.hba = hba, .n_hba = 1}, e);
}

/* A bad line would keep PostgreSQL from reading any other of the file. */
static void conf__hba__form_is_looked_at(void **st)
{
    (void)st;
    static const char *const good[] = {
        "", "# nothing", "local all all peer map=x", "host all all 10.0.0.0/8 md5 # some",
        "host all all 10.0.0.0 255.0.0.0 md5", "hostssl \"my db\", b \"a b\",c all cert clientcert=1",
        "host all all ::1/128 trust", "host all all .example.com scram-sha-256",
        "host all all db.cafe reject", "host all all samenet ldap ldapserver=\"x y\"",
        "include_if_exists /x",
    };
    static const char *const bad[] = {
        "hosts all all all md5", "host all all all", "host all all all md6", "local all all",
        "host all all 10.0.0.0/33 md5", "host all all 10.0.0/8 md5", "host all all ::1/129 md5",
        "host all all all md5 strict", "host all all 10.0.0.0 255.0.0.0",
    };
    struct pg_conf *c = pg_conf_new(&env);
    struct err e;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!takes_hba(c, good[i], &e))
            fail_msg("%s: %s", good[i], e.msg);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (takes_hba(c, bad[i], &e) || e.kind != ERR_INVALID || !strstr(e.msg, "hba line 1"))
            fail_msg("taken: %s", bad[i]);
    pg_conf_free(c);
}

static bool takes(struct pg_conf *c, const char *name, const char *value, struct err *e)
{
    const struct pg_param p[] = {{name, value}};
    return pg_conf_try_user(c, &(struct pg_user_conf){.params = p, .n_params = 1}, e);
}

/* As a platform that chooses the uid does it; only root can become somebody. */
static void account__none__socket_for_that_uid_alone_and_foreign_data_explained(void **st)
{
    (void)st;
    if (geteuid() != 0)
        skip();
    CHECK(fd_mkdirs(env.data_dir, 0700, NULL) && chmod(base, 0755) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        struct buf b, h;
        if (setgid(54321) != 0 || setuid(54321) != 0)
            _exit(2);
        buf_init(&b, 65536);
        buf_init(&h, 65536);
        struct pg_conf *c = pg_conf_new(&env);
        if (!pg_conf_render(c, &b, NULL) || !pg_conf_render_hba(c, &h, NULL))
            _exit(3);
        if (!strstr(buf_str(&b), "unix_socket_permissions = '0700'") ||
            !strstr(buf_str(&h), "local all \"postgres\" trust"))
            _exit(4);
        if (pg_datadir_private(&env, &e) || !strstr(e.msg, "belongs to uid 0") ||
            !strstr(e.msg, "runAsUser to 0"))
            _exit(5);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

static void conf__parameters__postgresql_is_asked(void **st)
{
    (void)st;
    struct pg_conf *c = pg_conf_new(&env);
    struct err e = {0};
    CHECK(takes(c, "work_mem", "5MB", &e));
    CHECK(takes(c, "some.extension", "x", &e)); /* known to nobody before it is loaded */
    CHECK(!takes(c, "work_mem", "5XB", &e) && e.kind == ERR_INVALID && strstr(e.msg, "work_mem"));
    CHECK(!strstr(e.msg, base));
    CHECK(!takes(c, "wrok_mem", "5MB", &e) && strstr(e.msg, "wrok_mem"));
    CHECK(!takes(c, "max_connections", "900000", &e) && strstr(e.msg, "max_connections"));
    struct buf b;
    buf_init(&b, 65536); /* what was accepted last stays */
    CHECK(pg_conf_render(c, &b, &e) && strstr(buf_str(&b), "some.extension") &&
          !strstr(buf_str(&b), "5MB"));
    buf_done(&b);
    pg_conf_free(c);
}

#define SEGMENT_BYTES (1u << 20)

static void put_segment_at(const char *wal, const char *name, size_t at, unsigned char byte)
{
    unsigned char *page = calloc(1, SEGMENT_BYTES);
    CHECK(page != NULL);
    page[at] = byte;
    put(wal, name, page, SEGMENT_BYTES);
    free(page);
}

static void put_segment(const char *wal, const char *name, unsigned char first)
{
    put_segment_at(wal, name, 0, first);
}

static void spare__made_once_and_given_the_name_of_the_fork(void **st)
{
    (void)st;
    struct err e;
    struct stat s;
    char wal[PG_PATH_SIZE], path[PG_PATH_SIZE];
    CHECK(pg_path(wal, env.data_dir, "pg_wal") && fd_mkdirs(wal, 0700, &e));
    CHECK(!pg_spare_make(&env, &e) && e.kind == ERR_INVALID); /* of what size? */
    CHECK(!pg_spare_use(&env, 6, 0x500000, &e) && e.kind == ERR_NOT_FOUND);
    put_segment(wal, "000000050000000000000005", 0xd1);
    CHECK(!pg_spare_there(&env) && pg_spare_make(&env, &e) && pg_spare_there(&env));
    CHECK(!there(wal, "xlogtemp.pghad.new"));
    CHECK(pg_path(path, wal, "xlogtemp.pghad") && stat(path, &s) == 0);
    CHECK(s.st_size == SEGMENT_BYTES && (s.st_mode & 07777) == 0600);
    CHECK(s.st_blocks * 512 >= SEGMENT_BYTES); /* not sparse: a flush has no room left to find */
    CHECK(!pg_segment_begun(path));
    CHECK(pg_spare_use(&env, 6, UINT64_C(0x1005abcd8), &e));
    CHECK(there(wal, "000000060000000100000005") && !pg_spare_there(&env));
    CHECK(pg_path(path, wal, "000000060000000100000005") && stat(path, &s) == 0);
    CHECK(s.st_size == SEGMENT_BYTES && s.st_nlink == 1);
}

static void spare__never_replaces_what_is_there(void **st)
{
    (void)st;
    struct err e;
    char wal[PG_PATH_SIZE], path[PG_PATH_SIZE];
    CHECK(pg_path(wal, env.data_dir, "pg_wal"));
    put_segment(wal, "000000050000000000000005", 0xd1);
    put_segment(wal, "000000060000000000000005", 0xd1);
    CHECK(pg_spare_make(&env, &e));
    CHECK(!pg_spare_use(&env, 6, 0x500000, &e) && e.kind == ERR_CONFLICT);
    CHECK(pg_path(path, wal, "000000060000000000000005") && pg_segment_begun(path));
    CHECK(pg_spare_there(&env) && pg_spare_drop(&env, &e) && !pg_spare_there(&env));
    CHECK(pg_spare_drop(&env, &e));
}

static void spare__a_segment_never_written_to_hides_nothing_at_a_start(void **st)
{
    (void)st;
    struct err e;
    char wal[PG_PATH_SIZE];
    CHECK(!pg_spare_settle(&env, &e));
    CHECK(pg_path(wal, env.data_dir, "pg_wal"));
    put_segment(wal, "000000050000000000000005", 0xd1);
    put_segment(wal, "000000060000000000000005", 0);
    put_segment(wal, "000000050000000000000006", 0); /* made in advance by the server */
    put_segment(wal, "000000050000000000000007", 0xd1);
    put_segment(wal, "000000060000000000000007", 0xd1);
    put_segment(wal, "000000050000000000000008", 0xd1);
    put_segment_at(wal, "000000060000000000000008", SEGMENT_BYTES - 1, 1); /* damaged, not untouched */
    CHECK(pg_spare_settle(&env, &e));
    CHECK(there(wal, "000000060000000000000008"));
    CHECK(!there(wal, "000000060000000000000005") && there(wal, "000000050000000000000005"));
    CHECK(there(wal, "000000050000000000000006"));
    CHECK(there(wal, "000000050000000000000007") && there(wal, "000000060000000000000007"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(conf__hba__form_is_looked_at),
        T(account__none__socket_for_that_uid_alone_and_foreign_data_explained),
        T(conf__parameters__postgresql_is_asked),
        T(state__absent_saved_damaged),
        T(datadir__each_state),
        T(spare__made_once_and_given_the_name_of_the_fork),
        T(spare__never_replaces_what_is_there),
        T(spare__a_segment_never_written_to_hides_nothing_at_a_start),
        T(postmaster__starts_or_stops__refuses),
        T(passfile__per_epoch__old_ones_go),
        T(modes__widened_by_fsgroup__narrowed_again),
        T(secret__file_value_neither),
        T(conf__upstream_set_and_cleared),
        T(conf__logical__failover_slots_where_the_version_has_them),
        T(conf__user_part__before_ours_and_checked),
        T(hba__closed__rejects_before_the_users_lines),
        T(conf__floor__raises_lower_wishes),
        T(gate__absent__nothing_is_preloaded),
        T(gate__joins_what_the_user_preloads),
        T(gate__libraries_of_the_user_unknown__nothing_is_written),
        T(auto_conf__only_owned_lines_go),
        T(placeholders__fill_the_gap_and_go),
        T(placeholders__a_gap_before_a_start_is_filled),
        T(promote__file__forgotten),
        T(binaries__found_or_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
