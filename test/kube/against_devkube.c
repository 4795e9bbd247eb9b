/* The Kubernetes client against devkube over TLS: real compare-and-swap, real watches, a CA of our
 * own, the API going away. DEVKUBE names the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "http/client.h"
#include "kube/config.h"
#include "kube/watch.h"

#define WAIT(l, cond)                                                                              \
    do {                                                                                           \
        int64_t limit_ = clock_boot_ms() + 10000;                                                  \
        while (!(cond) && clock_boot_ms() < limit_)                                                \
            loop_turn((l), 20);                                                                    \
        assert_true(cond);                                                                         \
    } while (0)

static char dir[64], path[8][128], server[64];
static pid_t pid;
static struct loop *loop;
static struct http_client *http;
static struct kube *kube;
static struct kube_watch *watch;

static const char *in_dir(const char *name)
{
    static unsigned next;
    char *p = path[next++ % 8];

    assert_true(str_format(p, sizeof(path[0]), "%s/%s", dir, name));
    return p;
}

static pid_t spawn(const char *const *argv)
{
    union {
        const char *const *in;
        char *const *out;
    } a = {.in = argv};
    pid_t child = fork();

    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test is interrupted */
        execvp(argv[0], a.out);
        _exit(127);
    }
    assert_true(child > 0);
    return child;
}

static void run(const char *const *argv)
{
    int status;

    assert_int_equal(waitpid(spawn(argv), &status, 0) > 0, 1);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void make_certificate(void)
{
    const char *const argv[] = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=t",
                               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", in_dir("key"),
                               "-out", in_dir("crt"), "-batch", NULL};

    run(argv);
}

static void start_server(void)
{
    struct buf port;
    struct err e;
    const char *const argv[] = {getenv("DEVKUBE"), "--listen", "127.0.0.1:0", "--port-file",
                                in_dir("port"), "--tls-cert", in_dir("crt"), "--tls-key",
                                in_dir("key"), NULL};
    int64_t limit = clock_boot_ms() + 10000;

    pid = spawn(argv);
    buf_init(&port, 32);
    while (!fd_read_file(in_dir("port"), &port, &e) || port.len < 2) {
        assert_true(clock_boot_ms() < limit);
        loop_turn(loop, 5);
    }
    assert_true(str_format(server, sizeof(server), "https://127.0.0.1:%d", atoi(buf_str(&port))));
    buf_done(&port);
}

static int setup(void **state)
{
    struct kube_config c = {0};
    struct err e;

    (void)state;
    str_copy(dir, sizeof(dir), "/tmp/against_devkube.XXXXXX");
    if (!getenv("DEVKUBE") || !mkdtemp(dir))
        return -1;
    loop = loop_new();
    make_certificate();
    start_server();
    assert_true(fd_replace_file(in_dir("token"), "db-0", 4, 0600, &e));
    struct kube_settings s = {.server = server, .token_file = in_dir("token"),
                              .ca_file = in_dir("crt"), .ns = "default"};
    http = http_client_new("pghad/test");
    assert_true(kube_config_load(&c, &s, &e));
    kube = kube_new(&c, http, &e);
    kube_config_done(&c);
    struct loop_source a = http_client_source(http), b = kube_source(kube);
    loop_add(loop, &a);
    loop_add(loop, &b);
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"key", "crt", "port", "token"};

    (void)state;
    kube_watch_free(watch);
    kube_free(kube);
    http_client_free(http);
    loop_free(loop);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (size_t i = 0; i < 4; i++)
        unlink(in_dir(names[i]));
    return rmdir(dir);
}

static enum kube_outcome finish(struct kube_call *c, int *status)
{
    int64_t limit = clock_boot_ms() + 10000;

    while (kube_call_outcome(c) == KUBE_PENDING && clock_boot_ms() < limit)
        loop_turn(loop, 100);
    enum kube_outcome o = kube_call_outcome(c);
    if (o != KUBE_OK && o != KUBE_CONFLICT)
        print_message("%s\n", kube_call_reply(c)->err.msg);
    *status = kube_call_reply(c)->http_status;
    return o;
}

static int64_t soon(void)
{
    return clock_boot_ms() + 3000;
}

static void lease__life__as_the_protocol_needs_it(void **state)
{
    struct lease want = {.exists = true, .fresh = true};
    struct kube_lease first = {0};
    struct kube_call *c;
    struct err e;
    int status;

    (void)state;
    watch = kube_watch_lease(kube, "demo", 3000);
    WAIT(loop, kube_watch_connected(watch));
    assert_true(kube_watch_known(watch) && !kube_watch_get_lease(watch)->lease.exists);

    c = kube_lease_create(kube, "demo", &want, soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    assert_int_equal(status, 201);
    assert_true(kube_call_lease(c, &first, &e));
    kube_call_free(c);
    WAIT(loop, kube_watch_get_lease(watch)->lease.fresh);
    c = kube_lease_create(kube, "demo", &want, soon());
    assert_int_equal(finish(c, &status), KUBE_CONFLICT);
    kube_call_free(c);

    want = first.lease;
    want.fresh = false;
    want.epoch = 1;
    want.duration_s = 10;
    want.holder = (struct identity){.name = {"db-0"}, .uid = "u0", .boot = 7};
    want.has_record = true;
    want.record = (struct record){.epoch = 1, .rev = 1, .timeline = 1, .n = 1};
    want.record.m[0] = (struct record_member){.volume = 5, .name = {"db-0"}, .in_v = true};
    c = kube_lease_put(kube, &first, &want, soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    assert_true(kube_watch_merge(watch, c));
    kube_call_free(c);
    const struct lease *now = &kube_watch_get_lease(watch)->lease;
    assert_true(now->epoch == 1 && now->has_record && now->record.m[0].volume == 5);
    assert_true(kube_watch_got_ms(watch) > 0);
    /* The same compare-and-swap again has lost. */
    c = kube_lease_put(kube, &first, &want, soon());
    assert_int_equal(finish(c, &status), KUBE_CONFLICT);
    assert_int_equal(status, 409);
    kube_call_free(c);
    kube_lease_done(&first);
}

static void lease__renewals__round_trip_measured(void **state)
{
    int64_t total = 0, worst = 0;
    unsigned threads = 0;
    int status;

    (void)state;
    uint64_t connects = http_client_connects(http);
    for (int i = 0; i < 200; i++) {
        int64_t begin = clock_boot_us();
        struct kube_call *c = kube_lease_put(kube, kube_watch_get_lease(watch),
                                             &kube_watch_get_lease(watch)->lease, soon());
        assert_int_equal(finish(c, &status), KUBE_OK);
        assert_true(kube_watch_merge(watch, c));
        kube_call_free(c);
        int64_t took = clock_boot_us() - begin;
        total += took;
        worst = took > worst ? took : worst;
    }
    print_message("lease PUT over TLS: mean %lld us, worst %lld us\n", (long long)total / 200,
                  (long long)worst);
    assert_true(http_client_connects(http) - connects <= 1);
    assert_true(kube_watch_connected(watch));
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *t; (t = readdir(d));)
        threads += t->d_name[0] != '.';
    closedir(d);
    assert_int_equal(threads, 1);
}

static void lease__steady_state__no_polling(void **state)
{
    const struct kube_stat *s;
    uint64_t before = 0, after = 0;
    int64_t until = clock_boot_ms() + 1500;

    (void)state;
    for (size_t i = 0, n = kube_stats(kube, &s); i < n; i++)
        before += s[i].count;
    while (clock_boot_ms() < until)
        loop_turn(loop, 100);
    for (size_t i = 0, n = kube_stats(kube, &s); i < n; i++)
        after += s[i].count;
    assert_int_equal(before, after);
}

static void pods_and_configmap__patched_under_preconditions(void **state)
{
    static const char pod[] = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"db-0\","
                              "\"labels\":{\"app.kubernetes.io/instance\":\"demo\"}},\"spec\":"
                              "{\"containers\":[{\"name\":\"a\",\"image\":\"b\"}]}}";
    struct kube_configmap m = {0};
    struct kube_pods pods = {0};
    struct kube_change label = {"role", "primary"}, data = {"paused", "true"};
    struct kube_meta meta = {&label, 1, NULL, 0};
    struct kube_call *c;
    struct err e;
    int status;

    (void)state;
    c = kube_request(kube, "POST", "/api/v1/namespaces/default/pods", NULL, pod, soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    kube_call_free(c);
    struct kube_watch *w =
        kube_watch_pods(kube, "app.kubernetes.io/instance=demo", "role", 60000);
    WAIT(loop, kube_watch_connected(w) && kube_watch_get_pods(w)->n == 1);
    c = kube_pod_patch(kube, "db-0", "another-uid", &meta, soon());
    assert_int_not_equal(finish(c, &status), KUBE_OK);
    assert_true(status == 409 || status == 422);
    kube_call_free(c);
    c = kube_pod_patch(kube, "db-0", kube_watch_get_pods(w)->p[0].uid, &meta, soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    kube_call_free(c);
    WAIT(loop, str_eq(kube_watch_get_pods(w)->p[0].role, "primary"));
    c = kube_pod_list(kube, "app.kubernetes.io/instance=demo", soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    assert_true(kube_call_pods(c, "role", &pods, &e));
    assert_int_equal(pods.n, 1);
    kube_pods_done(&pods);
    kube_call_free(c);
    kube_watch_free(w);

    c = kube_configmap_create(kube, "demo-state", &label, 1, &data, 1, soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    assert_true(kube_call_configmap(c, &m, &e));
    kube_call_free(c);
    data.value = NULL;
    c = kube_configmap_patch(kube, "demo-state", m.rv, &data, 1, soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    kube_call_free(c);
    data.value = "false";
    c = kube_configmap_patch(kube, "demo-state", m.rv, &data, 1, soon());
    assert_int_equal(finish(c, &status), KUBE_CONFLICT);
    kube_call_free(c);
    c = kube_configmap_put(kube, &m, &data, 1, soon());
    assert_int_equal(finish(c, &status), KUBE_CONFLICT);
    kube_call_free(c);
    kube_configmap_done(&m);
    kube_event_post(kube, &(struct kube_event){.kind = "Pod", .api_version = "v1", .name = "db-0",
                                               .reporter = "db-0", .action = "Promote",
                                               .reason = "Promoted", .note = "n"});
    const struct kube_stat *s;
    bool posted = false;
    int64_t limit = clock_boot_ms() + 5000;
    while (!posted && clock_boot_ms() < limit) {
        loop_turn(loop, 50);
        for (size_t i = 0, n = kube_stats(kube, &s); i < n; i++)
            posted |= str_eq(s[i].resource, "events") && s[i].code == 201;
    }
    assert_true(posted);
    bool yes = false;
    c = kube_access_review(kube, "update", "coordination.k8s.io", "leases", "demo", soon());
    assert_int_equal(finish(c, &status), KUBE_OK);
    assert_true(kube_call_allowed(c, &yes, &e) && yes);
    kube_call_free(c);
}

static void tls__other_ca__refused_unsent(void **state)
{
    struct kube_config c = {0};
    struct err e;
    struct kube_settings s = {.server = server, .ns = "default"}; /* the system's CAs */

    (void)state;
    assert_true(kube_config_load(&c, &s, &e));
    struct kube *other = kube_new(&c, http, &e);
    kube_config_done(&c);
    struct kube_call *call = kube_lease_get(other, "demo", soon());
    int64_t limit = clock_boot_ms() + 5000;
    while (kube_call_outcome(call) == KUBE_PENDING && clock_boot_ms() < limit)
        loop_turn(loop, 50);
    assert_int_equal(kube_call_reply(call)->err.kind, ERR_TRANSIENT);
    assert_false(kube_call_reply(call)->sent);
    kube_call_free(call);
    kube_free(other);
}

static void server__killed__noticed_and_outcome_unknown(void **state)
{
    int status;

    (void)state;
    kill(pid, SIGSTOP);
    struct kube_call *c = kube_lease_put(kube, kube_watch_get_lease(watch),
                                         &kube_watch_get_lease(watch)->lease,
                                         clock_boot_ms() + 300);
    assert_int_equal(finish(c, &status), KUBE_UNKNOWN);
    assert_int_equal(kube_call_reply(c)->err.kind, ERR_TIMEOUT);
    kube_call_free(c);
    kube_watch_set_idle(watch, 300);
    WAIT(loop, !kube_watch_connected(watch));
    kill(pid, SIGCONT);
    WAIT(loop, kube_watch_connected(watch));
    kill(pid, SIGKILL);
    WAIT(loop, kube_watch_error(watch)->kind == ERR_TRANSIENT);
    c = kube_lease_get(kube, "demo", soon());
    assert_int_equal(finish(c, &status), KUBE_UNKNOWN);
    assert_false(kube_call_reply(c)->sent);
    kube_call_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lease__life__as_the_protocol_needs_it),
        cmocka_unit_test(lease__renewals__round_trip_measured),
        cmocka_unit_test(lease__steady_state__no_polling),
        cmocka_unit_test(pods_and_configmap__patched_under_preconditions),
        cmocka_unit_test(tls__other_ca__refused_unsent),
        cmocka_unit_test(server__killed__noticed_and_outcome_unknown),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
