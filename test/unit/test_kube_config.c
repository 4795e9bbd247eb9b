/* Where the API server is found: settings, kubeconfig files, the pod's account, credential plugins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/kube/creds_text.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "kube/config.h"
#include "loop/proc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char kind_config[] =
    "apiVersion: v1\n"
    "kind: Config\n"
    "preferences: {}\n"
    "current-context: prod\n"
    "clusters:\n"
    "- name: prod-cluster\n"
    "  cluster:\n"
    "    server: https://10.0.0.1:6443/prefix/\n"
    "    certificate-authority-data: Q0EgUEVN\n"
    "    extensions: [{name: x, extension: {a: 1}}]\n"
    "- name: named\n"
    "  cluster: {server: 'https://10.0.0.9:6443', tls-server-name: api.internal,\n"
    "            certificate-authority: ca.pem, proxy-url: 'http://10.9.9.9:3128'}\n"
    "users:\n"
    "- name: admin\n"
    "  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}\n"
    "- name: robot\n"
    "  user:\n"
    "    token: abc\n"
    "    as: deputy\n"
    "- name: filed\n"
    "  user: {tokenFile: tok/en, client-certificate: /abs/cert, client-key: rel/key}\n"
    "- name: plugged\n"
    "  user:\n"
    "    exec:\n"
    "      apiVersion: client.authentication.k8s.io/v1\n"
    "      command: ./plugin\n"
    "      args: [one, two]\n"
    "      env: [{name: A, value: b}]\n"
    "contexts:\n"
    "- name: prod\n"
    "  context: {cluster: prod-cluster, user: admin, namespace: db}\n"
    "- name: robot\n"
    "  context: {cluster: named, user: robot}\n"
    "- name: filed\n"
    "  context: {cluster: prod-cluster, user: filed}\n"
    "- name: plugged\n"
    "  context: {cluster: prod-cluster, user: plugged}\n"
    "- name: broken\n"
    "  context: {cluster: nowhere, user: admin}\n";

static void parse__contexts__everything_taken(void **state)
{
    struct kube_config c = {0};
    struct err e;

    (void)state;
    assert_true(kube_config_parse(&c, kind_config, strlen(kind_config), "f", "/d", NULL, &e));
    assert_string_equal(c.server, "https://10.0.0.1:6443/prefix");
    assert_string_equal(c.ca_pem, "CA PEM");
    assert_string_equal(c.cert_pem, "CERT");
    assert_string_equal(c.key_pem, "KEY");
    assert_string_equal(c.ns, "db");
    kube_config_done(&c);

    assert_true(kube_config_parse(&c, kind_config, strlen(kind_config), "f", "/d", "robot", &e));
    assert_string_equal(c.server, "https://api.internal:6443");
    assert_string_equal(c.connect_to, "10.0.0.9:6443");
    assert_string_equal(c.ca_file, "/d/ca.pem");
    assert_string_equal(c.proxy, "http://10.9.9.9:3128");
    assert_string_equal(c.token, "abc");
    assert_string_equal(c.impersonate, "deputy");
    assert_string_equal(c.ns, "default");
    kube_config_done(&c);

    assert_true(kube_config_parse(&c, kind_config, strlen(kind_config), "f", "/d", "filed", &e));
    assert_string_equal(c.token_file, "/d/tok/en");
    assert_string_equal(c.cert_file, "/abs/cert");
    assert_string_equal(c.key_file, "/d/rel/key");
    kube_config_done(&c);

    assert_true(kube_config_parse(&c, kind_config, strlen(kind_config), "f", "/d", "plugged", &e));
    assert_string_equal(c.exec.command, "/d/./plugin");
    assert_string_equal(c.exec.argv[2], "two");
    assert_null(c.exec.argv[3]);
    assert_string_equal(c.exec.env[0], "A=b");
    kube_config_done(&c);
}

static void parse__json__is_yaml_too(void **state)
{
    static const char json[] =
        "{\"current-context\":\"a\",\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":"
        "\"http://127.0.0.1:8001\"}}],\"contexts\":[{\"name\":\"a\",\"context\":{\"cluster\":\"c\","
        "\"user\":\"\"}}],\"users\":null}";
    struct kube_config c = {0};
    struct err e;

    (void)state;
    assert_true(kube_config_parse(&c, json, strlen(json), "f", "/", NULL, &e));
    assert_string_equal(c.server, "http://127.0.0.1:8001");
    kube_config_done(&c);
}

static void parse__bad_files__refused_with_the_place(void **state)
{
#define FILE_OF(cluster, user)                                                                     \
    "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"                  \
    "clusters: [{name: c, cluster: " cluster "}]\nusers: [{name: u, user: " user "}]\n"
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "current-context"},
        {"a: [", "f, line"},
        {"- a\n- b\n", "line 1: not a kubeconfig"},
        {"current-context: gone\n", "\"gone\" is not in f"},
        {"current-context: a\ncontexts: [{name: a}]\n", "no context in \"a\""},
        {"current-context: a\ncontexts: [{name: a, context: {user: u}}]\n", "context \"a\": f, line 2: cluster is missing"},
        {FILE_OF("{}", "{}"), "f, line 3: server is missing in the cluster"},
        {FILE_OF("{server: 10.0.0.1}", "{}"), "no http or https URL"},
        {FILE_OF("{server: [1]}", "{}"), "server is not a text"},
        {FILE_OF("{server: 'https://1.1.1.1', insecure-skip-tls-verify: yes}", "{}"),
         "neither true nor false"},
        {FILE_OF("{server: 'https://1.1.1.1', certificate-authority-data: '*'}", "{}"),
         "not base64"},
        {FILE_OF("{server: 'https://1.1.1.1', tls-server-name: 'a b'}", "{}"), "no server name"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{auth-provider: {name: gcp}}"), "auth-provider"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{token: \"a\\r\\nX: y\"}"), "control characters"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{exec: {command: x, apiVersion: v9}}"),
         "not known"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{exec: {args: [a]}}"), "without a command"},
        {FILE_OF("{server: 'https://1.1.1.1', insecure-skip-tls-verify: true,"
                 " certificate-authority-data: Q0E=}", "{}"),
         "context \"a\": f, line 3: insecure-skip-tls-verify contradicts"},
        {FILE_OF("{server: 'https://1.1.1.1', proxy-url: 'ftp://p'}", "{}"), "proxy-url is no http"},
        {FILE_OF("{server: 'https://1.1.1.1', proxy-url: 'http://'}", "{}"), "proxy-url is no http"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{client-certificate: /c}"),
         "context \"a\": f, line 4: client-key is missing"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{client-key-data: S0VZ}"),
         "line 4: client-certificate is missing"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{token: t, as: a, as-groups: [b]}"),
         "as-groups is not supported"},
        {FILE_OF("{server: 'https://1.1.1.1'}", "{exec: {command: x, interactiveMode: Always}}"),
         "wants a terminal"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kube_config c = {0};
        struct err e = {0};
        if (kube_config_parse(&c, rows[i].text, strlen(rows[i].text), "f", "/", NULL, &e))
            fail_msg("taken: %s", rows[i].text);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("%s\nsays: %s", rows[i].text, e.msg);
        assert_int_equal(e.kind, ERR_INVALID);
        assert_null(c.server);
    }
}

static void base64__table(void **state)
{
    static const struct {
        const char *text, *want; /* NULL = refused */
    } rows[] = {
        {"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {"YW\nJj\n", "abc"}, {"YWJjZA==", "abcd"},
        {"", NULL},    {"Y", NULL},    {"YQ", NULL},    {"YQ=", NULL},       {"YQ===", NULL},
        {"Y=Q=", NULL}, {"AA==", NULL}, {"Y*Jj", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf b;
        buf_init(&b, 100);
        bool ok = creds_base64(rows[i].text, &b);
        if (ok != (rows[i].want != NULL))
            fail_msg("\"%s\"", rows[i].text);
        if (ok)
            assert_string_equal(buf_str(&b), rows[i].want);
        buf_clear(&b);
        if (ok && !strchr(rows[i].text, '\n')) {
            assert_true(creds_to_base64(rows[i].want, strlen(rows[i].want), &b));
            assert_string_equal(buf_str(&b), rows[i].text);
        }
        buf_done(&b);
    }
}

/* ---- files ---- */

static char dir[64];

static const char *in_dir(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *p = paths[next++ % COUNT(paths)];

    assert_true(str_format(p, sizeof(paths[0]), "%s/%s", dir, name));
    return p;
}

static void put(const char *name, const char *text)
{
    struct err e;

    assert_true(fd_replace_file(in_dir(name), text, strlen(text), 0700, &e));
}

static int setup(void **state)
{
    (void)state;
    str_copy(dir, sizeof(dir), "/tmp/test_kube_config.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"one", "two", "token", "ca.crt", "namespace", "plugin",
                                        ".kube/config"};

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        unlink(in_dir(names[i]));
    rmdir(in_dir(".kube"));
    return rmdir(dir);
}

#define SERVER(n, at)                                                                              \
    "clusters: [{name: " n ", cluster: {server: 'https://" at "'}}]\n"                             \
    "contexts: [{name: " n ", context: {cluster: " n "}}]\n"

static void load__list_of_files__first_definition_wins(void **state)
{
    char list[256];
    char *env[2] = {list, NULL};
    struct kube_settings s = {.env = env};
    struct kube_config c = {0};
    struct err e;

    (void)state;
    put("one", SERVER("a", "1.1.1.1"));
    put("two", "current-context: b\nclusters: [{name: a, cluster: {server: 'https://9.9.9.9'}},"
               "{name: b, cluster: {server: 'https://2.2.2.2'}}]\n"
               "contexts: [{name: b, context: {cluster: b, namespace: x}}]\n");
    assert_true(str_format(list, sizeof(list), "KUBECONFIG=%s:%s::%s:%s", in_dir("one"),
                           in_dir("none"), in_dir("two"), in_dir("one")));
    assert_true(kube_config_load(&c, &s, &e));
    assert_string_equal(c.server, "https://2.2.2.2"); /* the first current-context set */
    assert_string_equal(c.ns, "x");
    kube_config_done(&c);
    s.context = "a";
    s.ns = "flag";
    assert_true(kube_config_load(&c, &s, &e));
    assert_string_equal(c.server, "https://1.1.1.1");
    assert_string_equal(c.ns, "flag");
    kube_config_done(&c);
    /* A named file must exist, and KUBECONFIG does not matter then. */
    s.kubeconfig = in_dir("none");
    assert_false(kube_config_load(&c, &s, &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void load__pod__account_and_order(void **state)
{
    char home[128];
    char host[] = "KUBERNETES_SERVICE_HOST=fd00::1", port[] = "KUBERNETES_SERVICE_PORT=443";
    char *env[4] = {host, port, home, NULL};
    struct kube_settings s = {.env = env, .sa_dir = dir};
    struct kube_config c = {0};
    struct err e;

    (void)state;
    assert_true(str_format(home, sizeof(home), "HOME=%s", dir));
    assert_false(kube_config_load(&c, &s, &e)); /* no token */
    assert_non_null(strstr(e.msg, "automountServiceAccountToken"));
    put("token", "t");
    put("namespace", "db\n");
    assert_true(kube_config_load(&c, &s, &e));
    assert_string_equal(c.server, "https://[fd00::1]:443");
    assert_string_equal(c.token_file, in_dir("token"));
    assert_string_equal(c.ca_file, in_dir("ca.crt"));
    assert_string_equal(c.ns, "db");
    kube_config_done(&c);
    /* A person's kubeconfig comes first, for the agent the account does. */
    assert_int_equal(mkdir(in_dir(".kube"), 0700), 0);
    put(".kube/config", "current-context: a\n" SERVER("a", "1.1.1.1"));
    assert_true(kube_config_load(&c, &s, &e));
    assert_string_equal(c.server, "https://1.1.1.1");
    kube_config_done(&c);
    s.in_cluster_first = true;
    assert_true(kube_config_load(&c, &s, &e));
    assert_string_equal(c.server, "https://[fd00::1]:443");
    kube_config_done(&c);
    s.server = "https://10.1.1.1:6443/";
    assert_true(kube_config_load(&c, &s, &e));
    assert_string_equal(c.server, "https://10.1.1.1:6443");
    kube_config_done(&c);
    s = (struct kube_settings){0};
    assert_false(kube_config_load(&c, &s, &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void load__named_files__must_be_there(void **state)
{
    static const char *const fields[] = {"certificate-authority: gone", "tokenFile: gone",
                                         "client-certificate: gone, client-key: ca.crt",
                                         "client-certificate: ca.crt, client-key: gone"};
    struct kube_settings s = {.kubeconfig = in_dir("one")};
    struct kube_config c = {0};
    char text[512], want[192];
    struct err e;

    (void)state;
    put("ca.crt", "PEM");
    for (size_t i = 0; i < COUNT(fields); i++) {
        bool ca = i == 0;
        str_format(text, sizeof(text),
                   "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"
                   "clusters: [{name: c, cluster: {server: 'https://1.1.1.1', %s}}]\n"
                   "users: [{name: u, user: {%s}}]\n",
                   ca ? fields[i] : "", ca ? "" : fields[i]);
        put("one", text);
        assert_false(kube_config_load(&c, &s, &e));
        assert_int_equal(e.kind, ERR_NOT_FOUND);
        assert_true(str_format(want, sizeof(want), "%s, context \"a\": ", in_dir("one")));
        assert_true(str_starts(e.msg, want));
        assert_true(str_format(want, sizeof(want), "%s: No such file", in_dir("gone")));
        assert_non_null(strstr(e.msg, want));
    }
}

static bool run_plugin(const char *script, struct kube_config *c, struct err *e)
{
    char path[] = "PATH=/usr/bin:/bin", *env[] = {path, NULL};
    struct loop *l = loop_new();
    struct loop_source src = proc_source();
    char text[512];
    bool ok;

    put("plugin", script);
    loop_add(l, &src);
    str_format(text, sizeof(text),
               "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"
               "clusters: [{name: c, cluster: {server: 'https://1.1.1.1',"
               " certificate-authority-data: Q0EgUEVN}}]\n"
               "users: [{name: u, user: {exec: {command: ./plugin, args: [tok], apiVersion: "
               "client.authentication.k8s.io/v1, provideClusterInfo: true}}}]\n");
    assert_true(kube_config_parse(c, text, strlen(text), "f", dir, NULL, e));
    ok = kube_config_run_exec(c, l, env, clock_boot_ms() + 5000, e);
    loop_free(l);
    return ok;
}

static void exec__plugin__token_taken_or_reason_told(void **state)
{
    struct kube_config c = {0};
    struct err e;

    (void)state;
    assert_true(run_plugin("#!/bin/sh\ncase \"$KUBERNETES_EXEC_INFO\" in *https://1.1.1.1*Q0EgUEVN*)\n"
                           "echo '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"'$1-en'\"}}'\n"
                           ";; esac\n",
                           &c, &e));
    assert_string_equal(c.token, "tok-en");
    kube_config_done(&c);
    assert_false(run_plugin("#!/bin/sh\necho no luck >&2; exit 3\n", &c, &e));
    assert_non_null(strstr(e.msg, "no luck"));
    kube_config_done(&c);
    assert_false(run_plugin("#!/bin/sh\necho '{}'\n", &c, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    kube_config_done(&c);
    assert_true(str_starts(e.msg, "f, context \"a\": "));
    assert_false(run_plugin("#!/bin/sh\necho garbage\n", &c, &e));
    kube_config_done(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse__contexts__everything_taken),
        cmocka_unit_test(parse__json__is_yaml_too),
        cmocka_unit_test(parse__bad_files__refused_with_the_place),
        cmocka_unit_test(base64__table),
        T(load__list_of_files__first_definition_wins),
        T(load__pod__account_and_order),
        T(load__named_files__must_be_there),
        T(exec__plugin__token_taken_or_reason_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
