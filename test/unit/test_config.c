/* Settings: sources and their order, strictness with line and key, relations, reload, generators. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "config/config.h"
#include "config/option.h"

static char dir[] = "/tmp/test_config.XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    return str_format(path, sizeof(path), "%s/pghad.yaml", dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void write_file(const char *name, const char *text, size_t len)
{
    struct err e;
    assert_true(fd_replace_file(name, text, len, 0600, &e));
}

static char *const pod_env[] = {(char[]){"POD_NAME=pg-1"}, NULL};

static bool load(struct config *c, const char *yaml, const char *cluster, char *const *env,
                 struct err *e)
{
    write_file(path, yaml, strlen(yaml));
    struct config_sources s = {.file = path, .cluster_text = cluster, .env = env ? env : pod_env};
    return config_load(c, &s, e);
}

static void must_load(struct config *c, const char *yaml, const char *cluster, char *const *env)
{
    struct err e = {0};
    if (!load(c, yaml, cluster, env, &e))
        fail_msg("%s", e.msg);
}

/* The message must contain every one of the given pieces. */
static void must_refuse(const char *yaml, const char *cluster, char *const *env, const char *a,
                        const char *b, const char *c3)
{
    struct config c = {0};
    struct err e = {0};
    assert_false(load(&c, yaml, cluster, env, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    const char *parts[] = {a, b, c3};
    for (size_t i = 0; i < 3; i++)
        if (parts[i] && !strstr(e.msg, parts[i]))
            fail_msg("\"%s\" is not in: %s", parts[i], e.msg);
    assert_null(c.cluster.name); /* untouched */
}

static void defaults__empty_file__as_documented(void **state)
{
    (void)state;
    struct config c = {0};
    must_load(&c, "", NULL, NULL);
    assert_string_equal(c.cluster.name, "pg");
    assert_string_equal(c.pod.name, "pg-1");
    assert_string_equal(c.cluster.selector, "app.kubernetes.io/instance=pg");
    assert_int_equal(c.cluster.members, 3);
    assert_int_equal(c.lease.duration_ms, 10000);
    assert_int_equal(c.lease.fence_ms, 7000);
    assert_int_equal(c.lease.kill_ms, 1000);
    assert_int_equal(c.replication.mode, REPL_QUORUM);
    assert_int_equal(c.replication.max_lag_bytes, 16 << 20);
    assert_true(c.lease.failsafe);
    assert_int_equal(c.log.level, LOG_INFO);
    assert_string_equal(c.bootstrap.database, "postgres");
    struct settings s;
    config_settings(&c, &s);
    assert_int_equal(s.lease_ms, 10000);
    assert_int_equal(s.members, 3);
    assert_int_equal(s.mode, REPL_QUORUM);
    config_done(&c);
    config_done(&c);
}

static void defaults__no_file_and_none_named__loads(void **state)
{
    (void)state;
    struct config c = {0};
    struct err e = {0};
    struct config_sources named = {.file = "/nonexistent/x.yaml", .env = pod_env};
    assert_false(config_load(&c, &named, &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
    if (access(CONFIG_FILE, F_OK) != 0) {
        struct config_sources unnamed = {.env = pod_env};
        assert_true(config_load(&c, &unnamed, &e));
        config_done(&c);
    }
}

static void file__all_types__taken(void **state)
{
    (void)state;
    struct config c = {0};
    must_load(&c,
              "cluster:\n  name: db\n  members: 5\n"
              "lease:\n  profile: fast\n  failsafe: off\n  renew: 900 ms\n"
              "postgres:\n"
              "  parameters:\n    work_mem: 16MB\n    jit: off\n    max_connections: 300\n"
              "    pg_stat_statements.max: 1\n    search_path: '\"$user\", public'\n"
              "  hba:\n    - host all all all scram-sha-256\n    - local all all trust\n"
              "replication: {mode: sync, k: 2, max_wal_keep: 1GB, degrade_after: 1min,\n"
              "  leave_after: 1h}\n"
              "log:\n",
              NULL, NULL);
    assert_string_equal(c.cluster.name, "db");
    assert_int_equal(c.cluster.members, 5);
    assert_int_equal(c.lease.duration_ms, 5000);
    assert_int_equal(c.lease.renew_ms, 900);
    assert_false(c.lease.failsafe);
    assert_int_equal(c.postgres.parameters.n, 5);
    assert_string_equal(c.postgres.parameters.v[0].key, "jit");
    assert_string_equal(c.postgres.parameters.v[0].value, "off");
    assert_string_equal(c.postgres.parameters.v[3].value, "\"$user\", public");
    assert_int_equal(c.postgres.hba.n, 2);
    assert_string_equal(c.postgres.hba.v[1], "local all all trust");
    assert_int_equal(c.replication.mode, REPL_SYNC);
    assert_int_equal(c.replication.max_wal_keep_bytes, 1 << 30);
    assert_int_equal(c.replication.degrade_after_ms, 60000);
    assert_int_equal(c.replication.leave_after_ms, 3600000);
    config_done(&c);
}

static void strict__mistakes__name_file_line_key_and_allowed(void **state)
{
    (void)state;
    const struct {
        const char *yaml, *a, *b, *c;
    } t[] = {
        {"postgres:\n  prot: 1\n", "line 2: postgres.prot: unknown key", "port", path},
        {"\npostgress:\n  port: 1\n", "line 2: postgress: unknown section", "postgres", path},
        {"postgres:\n  port: 70000\n", "line 2: postgres.port: \"70000\"", "from 1 to 65535", path},
        {"postgres:\n  port: x\n", "line 2: postgres.port", "whole number", NULL},
        {"postgres:\n  port: 5432.0\n", "postgres.port", "whole number", NULL},
        {"postgres:\n  port: 0x10\n", "postgres.port", "whole number", NULL},
        {"postgres:\n  port: [1]\n", "line 2: postgres.port", "single value", "65535"},
        {"postgres:\n  port:\n", "line 2: postgres.port: has no value", NULL, NULL},
        {"postgres: 1\n", "line 1: postgres: is a section", NULL, NULL},
        {"- a\n", "line 1", "sections", NULL},
        {"postgres:\n  port: 1\n  port: 2\n", "line 3: postgres.port: is given twice", NULL, NULL},
        {"log: {}\nlog: {}\n", "line 2: log: is given twice", NULL, NULL},
        {"postgres:\n  parameters: {a: 1, a: 2}\n", "postgres.parameters.a: is given twice", NULL,
         NULL},
        {"postgres:\n  parameters: {port: 1}\n", "line 2: postgres.parameters: \"port\"",
         "pghad sets itself", NULL},
        {"postgres:\n  parameters:\n    Synchronous_Standby_Names: x\n", "line 3",
         "pghad sets itself", NULL},
        {"postgres:\n  parameters: {a: [1]}\n", "must be text or a number", NULL, NULL},
        {"postgres:\n  parameters: [a]\n", "must be a mapping", NULL, NULL},
        {"postgres:\n  parameters: {a: \"x\\ny\"}\n", "postgres.parameters", "not allowed", NULL},
        {"postgres:\n  hba: x\n", "must be a list", NULL, NULL},
        {"postgres:\n  hba: [[x]]\n", "each entry", NULL, NULL},
        {"postgres:\n  hba: [\"local all all trust\\nhost all all all trust\"]\n", "postgres.hba",
         NULL, NULL},
        {"postgres:\n  data_dir: relative\n", "absolute path", NULL, NULL},
        {"postgres:\n  data_dir: \"/a\\0b\"\n", "postgres.data_dir", NULL, NULL},
        {"postgres:\n  superuser: pg_x\n", "postgres.superuser", "pg_", NULL},
        {"lease:\n  failsafe: maybe\n", "true or false", NULL, NULL},
        {"lease:\n  renew: 5\n", "lease.renew: \"5\"", "with its unit", NULL},
        {"lease:\n  renew: 5parsec\n", "lease.renew", NULL, NULL},
        {"lease:\n  renew: 99999999999999999999s\n", "lease.renew", NULL, NULL},
        {"lease:\n  profile: slow\n", "lease.profile: \"slow\"", "one of fast, default, calm", NULL},
        {"replication:\n  max_lag: 9223372036854775807TB\n", "replication.max_lag", NULL, NULL},
        {"replication:\n  mode: semi\n", "async, sync, quorum", NULL, NULL},
        {"api:\n  listen: 8008\n", "address:port", NULL, NULL},
        {"api:\n  listen: ::8008\n", "address:port", NULL, NULL},
        {"cluster:\n  name: Big\n", "cluster.name", "lower-case", NULL},
        {"a: [\n", "not valid YAML", "line", path},
        {"log: {level: *x}\n", "not valid YAML", NULL, NULL},
        {"log:\n\tlevel: info\n", "line 2", "not valid YAML", NULL},
        {"log: {level: info}\n---\nlog: {}\n", "only one YAML document", "line", NULL},
        {"? [a]\n: b\n", "plain text", NULL, NULL},
        {"<<: {}\n", "unknown section", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
        must_refuse(t[i].yaml, NULL, NULL, t[i].a, t[i].b, t[i].c);
}

static void strict__bytes_that_are_not_text__refused(void **state)
{
    (void)state;
    struct config c = {0};
    struct err e = {0};
    static const char bad[] = "log:\n  level: \xff\xfe\n";
    write_file(path, bad, sizeof(bad) - 1);
    struct config_sources s = {.file = path, .env = pod_env};
    assert_false(config_load(&c, &s, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    size_t n = CONFIG_TEXT_MAX + 10;
    char *big = malloc(n);
    assert_non_null(big);
    memset(big, '#', n);
    write_file(path, big, n);
    assert_false(config_load(&c, &s, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    free(big);
}

static void lease__inequality__refused_with_numbers(void **state)
{
    (void)state;
    must_refuse("lease:\n  fence: 8s\n", NULL, NULL, "8000/0.91 + 1000 + 100 = 9891 ms",
                "10000/1.09 = 9174 ms", "lease.duration");
    must_refuse("lease:\n  duration: 10500ms\n", NULL, NULL, "whole number of seconds", NULL, NULL);
    must_refuse("lease:\n  renew: 6s\n", NULL, NULL, "6000 + 2000 + 500 = 8500 ms", "fence", NULL);
    struct config c = {0};
    /* The bound itself: 6900/0.91 = 7582.4, + 1491 + 100 = 9173.4 < 9174.3; one ms more is not. */
    must_load(&c, "lease: {fence: 6900ms, kill: 1491ms}", NULL, NULL);
    config_done(&c);
    must_refuse("lease: {fence: 6900ms, kill: 1492ms}", NULL, NULL, "less than", NULL, NULL);
    const char *profiles[] = {"fast", "default", "calm"};
    for (size_t i = 0; i < 3; i++) {
        char text[64];
        assert_true(str_format(text, sizeof(text), "lease: {profile: %s}", profiles[i]));
        must_load(&c, text, NULL, NULL);
        config_done(&c);
    }
}

static void relations__impossible__refused(void **state)
{
    (void)state;
    must_refuse("cluster: {members: 2}\nreplication: {strict: true, k: 2}", NULL, NULL,
                "replication.k", "cluster.members", NULL);
    must_refuse("replication: {degrade_after: 20s}", NULL, NULL, "leave_after", NULL, NULL);
    must_refuse("replication: {strict: true}\nfailover: {early_after: 999ms}", NULL, NULL, "late are no silence", NULL,
                NULL);
    must_refuse("failover: {early_after: 2s}", NULL, NULL, "strict replication", NULL, NULL);
    must_refuse("replication: {strict: true, mode: async}\nfailover: {early_after: 2s}", NULL, NULL,
                "strict", NULL, NULL);
    must_refuse("postgres: {replication_user: postgres}", NULL, NULL, "must differ", NULL, NULL);
    must_refuse("postgres: {parameters: {wal_level: minimal}}", NULL, NULL, "wal_level", NULL, NULL);
    char *no_pod[] = {NULL};
    must_refuse("", NULL, no_pod, "pod.name", "POD_NAME", NULL);
    char *odd_pod[] = {(char[]){"POD_NAME=web"}, NULL};
    must_refuse("", NULL, odd_pod, "ordinal", NULL, NULL);
}

static void sources__order__later_wins(void **state)
{
    (void)state;
    struct config c = {0};
    char *env[] = {(char[]){"POD_NAME=pg-0"},
                   (char[]){"PGDATA=/from/image"},
                   (char[]){"POSTGRES_USER=admin"},
                   (char[]){"PGHA_LOG_LEVEL=error"},
                   (char[]){"PGHA_POSTGRES_PARAMETERS={work_mem: 3MB}"},
                   (char[]){"PGHA_POSTGRES_HBA=[local all all peer]"},
                   NULL};
    must_load(&c,
              "postgres:\n  data_dir: /from/file\n  parameters: {work_mem: 1MB, a: 1, b: 1}\n"
              "  hba: [x, y]\nreplication: {k: 1}\nlog: {level: warning}\n",
              "postgres: {parameters: {a: 2, b: null, c: ''}}\nreplication: {k: 2}\n"
              "log: {level: debug}\n",
              env);
    assert_string_equal(c.postgres.data_dir, "/from/file");
    assert_string_equal(c.postgres.superuser, "admin");
    assert_string_equal(c.bootstrap.database, "admin");
    assert_int_equal(c.replication.k, 2);
    assert_int_equal(c.log.level, LOG_ERROR);
    assert_int_equal(c.postgres.parameters.n, 3);
    assert_string_equal(c.postgres.parameters.v[0].value, "2");
    assert_string_equal(c.postgres.parameters.v[1].key, "c");
    assert_string_equal(c.postgres.parameters.v[2].value, "3MB");
    assert_int_equal(c.postgres.hba.n, 1);
    must_load(&c, "", NULL, env);
    assert_string_equal(c.postgres.data_dir, "/from/image");
    config_done(&c);
}

static void cluster_text__local_key__refused(void **state)
{
    (void)state;
    struct err e = {0};
    must_refuse("", "postgres:\n  port: 1\n", NULL, "cluster settings: line 2: postgres.port",
                "local to a member", NULL);
    must_refuse("", "tags: {nofailover: true}", NULL, "tags.nofailover", "local", NULL);
    must_refuse("", "kube: {token_file: /x}", NULL, "kube.token_file", NULL, NULL);
    assert_true(config_check_cluster_text("lease: {profile: fast}", &e));
    assert_false(config_check_cluster_text("lease: {fence: 9s}", &e));
    assert_non_null(strstr(e.msg, "lease"));
    assert_false(config_check_cluster_text("api: {listen: 'x:1'}", &e));
}

static void cluster_text__secrets__no_option_with_a_password_is_shared(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_count; i++)
        if (strstr(option_table[i].name, "password") || strstr(option_table[i].name, "token")) {
            assert_false(option_table[i].flags & OPT_CLUSTER);
            assert_true(str_ends(option_table[i].name, "_file"));
        }
}

static void environment__mistakes__named(void **state)
{
    (void)state;
    char *unknown[] = {(char[]){"POD_NAME=pg-0"}, (char[]){"PGHA_LOG_LEVL=info"}, NULL};
    must_refuse("", NULL, unknown, "PGHA_LOG_LEVL", "not a setting", NULL);
    char *bad[] = {(char[]){"POD_NAME=pg-0"}, (char[]){"PGHA_POSTGRES_PORT=zero"}, NULL};
    must_refuse("", NULL, bad, "PGHA_POSTGRES_PORT", "postgres.port", "from 1 to 65535");
    char *both[] = {(char[]){"POD_NAME=pg-0"}, (char[]){"POSTGRES_PASSWORD=a"},
                    (char[]){"POSTGRES_PASSWORD_FILE=/b"}, NULL};
    must_refuse("", NULL, both, "POSTGRES_PASSWORD_FILE", "only one", NULL);
    char *list[] = {(char[]){"POD_NAME=pg-0"}, (char[]){"PGHA_POSTGRES_HBA=x"}, NULL};
    must_refuse("", NULL, list, "PGHA_POSTGRES_HBA", "must be a list", NULL);
}

static void environment__service_links__ignored(void **state)
{
    (void)state;
    struct config c = {0};
    char *env[] = {(char[]){"POD_NAME=pg-0"},
                   (char[]){"PGHA_POSTGRES_PORT=tcp://10.96.0.7:5432"},
                   (char[]){"PGHA_POSTGRES_SERVICE_HOST=10.96.0.7"},
                   (char[]){"PGHA_POSTGRES_SERVICE_PORT_PG=5432"},
                   (char[]){"PGHA_POSTGRES_PORT_5432_TCP_ADDR=10.96.0.7"},
                   (char[]){"PGHA_OTHER=1"},
                   NULL};
    must_load(&c, "", NULL, env);
    assert_int_equal(c.postgres.port, 5432);
    config_done(&c);
}

static void environment__image_files__read(void **state)
{
    (void)state;
    struct config c = {0};
    char name[80], user[128], pw[128];
    struct buf b;
    struct err e = {0};
    assert_true(str_format(name, sizeof(name), "%s/secret", dir));
    assert_true(str_format(user, sizeof(user), "POSTGRES_USER_FILE=%s", name));
    assert_true(str_format(pw, sizeof(pw), "POSTGRES_PASSWORD_FILE=%s", name));
    write_file(name, "alice\n", 6);
    char *env[] = {(char[]){"POD_NAME=pg-0"}, user, pw, NULL};
    must_load(&c, "", NULL, env);
    assert_string_equal(c.postgres.superuser, "alice");
    buf_init(&b, 2000);
    assert_true(config_superuser_password(&c, &b, &e));
    assert_string_equal(buf_str(&b), "alice");
    assert_false(config_replication_password(&c, &b, &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
    write_file(name, "two\nlines\n", 10);
    assert_false(config_superuser_password(&c, &b, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    buf_done(&b);
    config_done(&c);
    unlink(name);
}

static void secret__password__never_shown(void **state)
{
    (void)state;
    struct config c = {0};
    struct buf b;
    struct err e = {0};
    char *env[] = {(char[]){"POD_NAME=pg-0"}, (char[]){"POSTGRES_PASSWORD=hunter2"}, NULL};
    must_load(&c, "", NULL, env);
    buf_init(&b, 1 << 20);
    assert_true(config_superuser_password(&c, &b, &e));
    assert_string_equal(buf_str(&b), "hunter2");
    buf_clear(&b);
    assert_true(config_to_json(&c, &b));
    assert_null(strstr(buf_str(&b), "hunter2"));
    assert_non_null(strstr(buf_str(&b), "\"postgres\":{\"data_dir\":\"/var/lib/postgresql/data\""));
    assert_non_null(strstr(buf_str(&b), "\"parameters\":{}"));
    buf_clear(&b);
    assert_true(config_get_text(&c, "lease.fence", &b));
    assert_string_equal(buf_str(&b), "7s");
    assert_false(config_get_text(&c, "lease.nothing", &b));
    buf_done(&b);
    config_done(&c);
}

static void reload__valid__takes_what_may_change(void **state)
{
    (void)state;
    struct config c = {0};
    struct config_changes ch = {0};
    struct err e = {0};
    must_load(&c, "postgres: {port: 5432}\nlog: {level: info}", NULL, NULL);
    static const char next[] = "postgres: {port: 5433, parameters: {a: 1}}\nlog: {level: debug}";
    write_file(path, next, sizeof(next) - 1);
    struct config_sources s = {.file = path, .env = pod_env};
    assert_true(config_reload(&c, &s, &ch, &e));
    assert_int_equal(ch.n, 3);
    assert_string_equal(ch.v[0].name, "postgres.port");
    assert_true(ch.v[0].needs_restart);
    assert_string_equal(ch.v[0].from, "5432");
    assert_string_equal(ch.v[0].to, "5433");
    assert_int_equal(c.postgres.port, 5432);
    assert_string_equal(ch.v[1].name, "postgres.parameters");
    assert_string_equal(ch.v[1].to, "a=1");
    assert_int_equal(c.postgres.parameters.n, 1);
    assert_string_equal(ch.v[2].name, "log.level");
    assert_int_equal(c.log.level, LOG_DEBUG);
    config_changes_done(&ch);

    write_file(path, "log: {level: loud}", 18);
    assert_false(config_reload(&c, &s, &ch, &e));
    assert_non_null(strstr(e.msg, "log.level"));
    assert_int_equal(c.log.level, LOG_DEBUG);
    assert_int_equal(c.postgres.parameters.n, 1);
    config_done(&c);
}

/* Paths are relative to the root of the sources, from where the tests are run. */
static void compare(const char *file, void (*print)(FILE *))
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    print(f);
    assert_int_equal(fclose(f), 0);
    struct err e = {0};
    if (getenv("PGHAD_WRITE_GENERATED"))
        assert_true(fd_replace_file(file, text, len, 0644, &e));
    struct buf b;
    buf_init(&b, 1 << 20);
    if (!fd_read_file(file, &b, &e))
        fail_msg("%s", e.msg);
    if (strcmp(buf_str(&b), text) != 0)
        fail_msg("%s differs from the option table; run make config-docs", file);
    buf_done(&b);
    free(text);
}

static void generated__committed_files__equal_the_table(void **state)
{
    (void)state;
    compare("config/pghad.yaml", config_print_sample);
    compare("docs/reference/configuration.md", config_print_reference);
}

/* Every line of the sample with its comment sign removed is the default: it must load as such. */
static void generated__sample_uncommented__is_the_default(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    config_print_sample(f);
    assert_int_equal(fclose(f), 0);
    struct config plain = {0}, sample = {0};
    char *env[] = {(char[]){"PGHA_POD_NAME=pg-1"}, NULL};
    must_load(&plain, text, NULL, env);
    for (char *p = text; (p = strstr(p, "\n  #")) != NULL; p += 4)
        if (p[4] != ' ') {
            p[3] = ' ';
            memmove(p + 3, p + 4, strlen(p + 4) + 1);
        }
    must_load(&sample, text, NULL, env);
    for (size_t i = 0; i < option_count; i++)
        if (!option_equal(&option_table[i], &plain, &sample))
            fail_msg("%s", option_table[i].name);
    config_done(&plain);
    config_done(&sample);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults__empty_file__as_documented),
        cmocka_unit_test(defaults__no_file_and_none_named__loads),
        cmocka_unit_test(file__all_types__taken),
        cmocka_unit_test(strict__mistakes__name_file_line_key_and_allowed),
        cmocka_unit_test(strict__bytes_that_are_not_text__refused),
        cmocka_unit_test(lease__inequality__refused_with_numbers),
        cmocka_unit_test(relations__impossible__refused),
        cmocka_unit_test(sources__order__later_wins),
        cmocka_unit_test(cluster_text__local_key__refused),
        cmocka_unit_test(cluster_text__secrets__no_option_with_a_password_is_shared),
        cmocka_unit_test(environment__mistakes__named),
        cmocka_unit_test(environment__service_links__ignored),
        cmocka_unit_test(environment__image_files__read),
        cmocka_unit_test(secret__password__never_shown),
        cmocka_unit_test(reload__valid__takes_what_may_change),
        cmocka_unit_test(generated__committed_files__equal_the_table),
        cmocka_unit_test(generated__sample_uncommented__is_the_default),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
