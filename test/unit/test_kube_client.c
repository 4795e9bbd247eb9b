/* Requests to the API: outcomes, credentials, bodies, Events, counters, round trip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <json-c/json.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "fake_http.h"
#include "http/client.h"
#include "kube/client.h"
#include "kube/endpoint.h"
#include "kube/config.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LEASE(rv)                                                                                  \
    "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":\"demo\"," \
    "\"namespace\":\"db\",\"uid\":\"u-1\",\"resourceVersion\":\"" rv                               \
    "\"},\"spec\":{\"holderIdentity\":\"\",\"leaseTransitions\":3}}"

struct fixture {
    struct loop *loop;
    struct http_client *http;
    struct fake_http server;
    struct kube *kube;
    char dir[64], token_file[96];
    /* what the server does */
    int status;
    const char *type, *extra, *body;
    const char *good_token; /* others get 401 */
    bool hang, reset;
    /* what it saw */
    unsigned served;
    char head[8192], got[65536], line[1024];
};

static void on_request(struct fake_http *s, const struct fake_request *r)
{
    struct fixture *f = s->ctx;
    char want[128];

    f->served++;
    str_copy(f->head, sizeof(f->head), r->head);
    str_copy(f->got, sizeof(f->got), r->body);
    str_copy(f->line, sizeof(f->line), r->line);
    if (f->good_token) {
        str_format(want, sizeof(want), "Authorization: Bearer %s\r\n", f->good_token);
        if (!fake_has(r, want)) {
            fake_json(r, 401, "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":"
                              "\"Unauthorized\",\"reason\":\"Unauthorized\",\"code\":401}");
            return;
        }
    }
    if (f->hang)
        return;
    if (f->reset) {
        r->conn->reset_after = true;
        fake_drop(r->conn);
        return;
    }
    fake_reply(r, f->status, f->type, f->extra, f->body);
}

static void write_token(struct fixture *f, const char *token)
{
    struct err e;

    assert_true(fd_replace_file(f->token_file, token, strlen(token), 0600, &e));
}

static int setup(void **state)
{
    static struct fixture f;
    struct err e;

    memset(&f, 0, sizeof(f));
    str_copy(f.dir, sizeof(f.dir), "/tmp/test_kube_client.XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    assert_true(str_format(f.token_file, sizeof(f.token_file), "%s/token", f.dir));
    write_token(&f, " first \n");
    f.status = 200;
    f.type = "application/json";
    f.body = LEASE("41");
    f.loop = loop_new();
    f.http = http_client_new("pghad/test");
    fake_http_init(&f.server, on_request, &f);
    struct kube_config c = {0};
    struct kube_settings s = {
        .server = f.server.url, .token_file = f.token_file, .ns = "db"};
    assert_true(kube_config_load(&c, &s, &e));
    f.kube = kube_new(&c, f.http, &e);
    assert_non_null(f.kube);
    kube_config_done(&c);
    struct loop_source a = http_client_source(f.http), b = kube_source(f.kube),
                       d = fake_http_source(&f.server);
    loop_add(f.loop, &a);
    loop_add(f.loop, &b);
    loop_add(f.loop, &d);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    kube_free(f->kube);
    http_client_free(f->http);
    fake_http_done(&f->server);
    loop_free(f->loop);
    unlink(f->token_file);
    return rmdir(f->dir);
}

static int64_t in_ms(int64_t ms)
{
    return clock_boot_ms() + ms;
}

static const struct kube_reply *wait_for(struct fixture *f, struct kube_call *c)
{
    int64_t limit = in_ms(10000);

    while (kube_call_outcome(c) == KUBE_PENDING && clock_boot_ms() < limit)
        loop_turn(f->loop, 100);
    assert_int_not_equal(kube_call_outcome(c), KUBE_PENDING);
    return kube_call_reply(c);
}

static uint64_t stat_of(struct fixture *f, const char *verb, const char *resource, int code)
{
    const struct kube_stat *s;
    size_t n = kube_stats(f->kube, &s);

    for (size_t i = 0; i < n; i++)
        if (str_eq(s[i].verb, verb) && str_eq(s[i].resource, resource) && s[i].code == code)
            return s[i].count;
    return 0;
}

static void answer__each_status__its_outcome(void **state)
{
    static const struct {
        int status;
        const char *type, *body;
        enum kube_outcome outcome;
        enum err_kind kind;
    } rows[] = {
        {200, "application/json", LEASE("5"), KUBE_OK, ERR_NONE},
        {201, "application/json", LEASE("5"), KUBE_OK, ERR_NONE},
        {400, "application/json", "{}", KUBE_REFUSED, ERR_INVALID},
        {401, "text/plain", "Unauthorized", KUBE_REFUSED, ERR_DENIED},
        {403, "application/json", "{\"reason\":\"Forbidden\"}", KUBE_REFUSED, ERR_DENIED},
        {404, "text/plain", "404 page not found", KUBE_REFUSED, ERR_NOT_FOUND},
        {405, "application/json", "{}", KUBE_REFUSED, ERR_INVALID},
        {409, "application/json", "{\"reason\":\"Conflict\"}", KUBE_CONFLICT, ERR_CONFLICT},
        {410, "application/json", "{\"reason\":\"Expired\"}", KUBE_REFUSED, ERR_INVALID},
        {415, "application/json", "{}", KUBE_REFUSED, ERR_INVALID},
        {422, "application/json", "{\"reason\":\"Invalid\"}", KUBE_REFUSED, ERR_INVALID},
        {429, "text/plain", "Too many requests, please try again later.", KUBE_REFUSED,
         ERR_TRANSIENT},
        {500, "application/json", "{\"message\":\"etcdserver: request timed out\"}", KUBE_UNKNOWN,
         ERR_TRANSIENT},
        {503, "text/plain", "", KUBE_UNKNOWN, ERR_TRANSIENT},
        {504, "application/json", "not json", KUBE_UNKNOWN, ERR_TRANSIENT},
        {200, "application/json", "{\"kind\":\"Lease\",", KUBE_UNKNOWN, ERR_CORRUPT},
        {200, "application/json", "[1]", KUBE_UNKNOWN, ERR_CORRUPT},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        f->status = rows[i].status;
        f->type = rows[i].type;
        f->body = rows[i].body;
        struct kube_call *c = kube_lease_get(f->kube, "demo", in_ms(5000));
        const struct kube_reply *r = wait_for(f, c);
        if (r->outcome != rows[i].outcome || r->err.kind != rows[i].kind)
            fail_msg("%d %s: outcome %d, %s", rows[i].status, rows[i].body, (int)r->outcome,
                     err_kind_name(r->err.kind));
        assert_int_equal(r->http_status, rows[i].status);
        kube_call_free(c);
    }
    assert_int_equal(kube_rejected(f->kube), 2);
    assert_int_equal(stat_of(f, "get", "leases", 409), 1);
}

static void refusal__status_object__reason_and_message_told(void **state)
{
    struct fixture *f = *state;

    f->status = 409;
    f->body = "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"the object has been\\n"
              "modified\"}";
    struct kube_call *c = kube_lease_get(f->kube, "demo", in_ms(5000));
    const struct kube_reply *r = wait_for(f, c);
    assert_string_equal(r->reason, "Conflict");
    assert_non_null(strstr(r->err.msg, "the object has been modified"));
    assert_int_equal(r->err.code, 409);
    kube_call_free(c);
}

static void transport__timeout_and_reset__unknown(void **state)
{
    struct fixture *f = *state;
    struct kube_lease l = {0};
    struct kube_call *c;
    struct err e;

    assert_true(kube_lease_parse(LEASE("41"), strlen(LEASE("41")), &l, &e));
    f->hang = true;
    c = kube_lease_put(f->kube, &l, &l.lease, in_ms(60));
    const struct kube_reply *r = wait_for(f, c);
    assert_int_equal(r->outcome, KUBE_UNKNOWN);
    assert_int_equal(r->err.kind, ERR_TIMEOUT);
    assert_true(r->sent);
    assert_int_equal(kube_contact_ms(f->kube), 0);
    kube_call_free(c);
    f->hang = false;
    f->reset = true;
    c = kube_lease_put(f->kube, &l, &l.lease, in_ms(5000));
    r = wait_for(f, c);
    assert_int_equal(r->outcome, KUBE_UNKNOWN);
    assert_int_equal(r->err.kind, ERR_TRANSIENT);
    kube_call_free(c);
    assert_int_equal(stat_of(f, "update", "leases", 0), 2);
    kube_lease_done(&l);
}

static void token__rotated__read_again_on_401_and_sent_once_more(void **state)
{
    struct fixture *f = *state;

    f->good_token = "first";
    struct kube_call *c = kube_lease_get(f->kube, "demo", in_ms(5000));
    assert_int_equal(wait_for(f, c)->outcome, KUBE_OK);
    kube_call_free(c);
    assert_int_equal(f->served, 1);
    write_token(f, "second");
    f->good_token = "second";
    c = kube_lease_get(f->kube, "demo", in_ms(5000));
    const struct kube_reply *r = wait_for(f, c);
    assert_int_equal(r->outcome, KUBE_OK);
    assert_int_equal(f->served, 3);
    kube_call_free(c);
    assert_int_equal(stat_of(f, "get", "leases", 401), 1);
    /* A token that stays bad: one repetition, not more. */
    f->good_token = "third";
    f->served = 0;
    c = kube_lease_get(f->kube, "demo", in_ms(5000));
    r = wait_for(f, c);
    assert_int_equal(r->outcome, KUBE_REFUSED);
    assert_int_equal(r->http_status, 401);
    assert_int_equal(f->served, 2);
    kube_call_free(c);
}

static void token__missing_or_with_control_characters__refused_unsent(void **state)
{
    struct fixture *f = *state;
    struct kube_call *c;

    write_token(f, "a\r\nX-Evil: 1");
    c = kube_lease_get(f->kube, "demo", in_ms(5000));
    const struct kube_reply *r = wait_for(f, c);
    assert_int_equal(r->outcome, KUBE_REFUSED);
    assert_false(r->sent);
    assert_int_equal(f->served, 0);
    kube_call_free(c);
    write_token(f, "fine");
    c = kube_lease_get(f->kube, "demo", in_ms(5000));
    assert_int_equal(wait_for(f, c)->outcome, KUBE_OK);
    kube_call_free(c);
}

static void lease__requests__paths_and_bodies(void **state)
{
    struct fixture *f = *state;
    struct kube_lease l = {0};
    struct err e;
    struct kube_call *c = kube_lease_get(f->kube, "demo", in_ms(5000));

    wait_for(f, c);
    assert_string_equal(
        f->line, "GET /apis/coordination.k8s.io/v1/namespaces/db/leases/demo HTTP/1.1");
    assert_true(kube_call_lease(c, &l, &e));
    assert_true(l.lease.exists && l.lease.epoch == 3);
    kube_call_free(c);

    struct lease want = l.lease;
    want.holder = (struct identity){.name = {"db-0"}, .uid = "u", .boot = 5};
    want.duration_s = 10;
    f->body = LEASE("42");
    c = kube_lease_put(f->kube, &l, &want, in_ms(3000));
    int64_t before = clock_boot_ms();
    const struct kube_reply *r = wait_for(f, c);
    assert_true(r->sent_ms <= before + 5 && r->done_ms >= r->sent_ms);
    assert_true(str_starts(
        f->line, "PUT /apis/coordination.k8s.io/v1/namespaces/db/leases/demo?timeout="));
    assert_non_null(strstr(f->head, "Content-Type: application/json"));
    assert_non_null(strstr(f->got, "\"resourceVersion\":\"41\""));
    assert_non_null(strstr(f->got, "db-0_u_0000000000000005"));
    assert_true(kube_call_lease(c, &l, &e));
    assert_string_equal(l.rv, "42");
    kube_call_free(c);

    f->status = 404;
    f->body = "{\"kind\":\"Status\",\"reason\":\"NotFound\"}";
    c = kube_lease_get(f->kube, "demo", in_ms(5000));
    wait_for(f, c);
    assert_true(kube_call_lease(c, &l, &e));
    assert_false(l.lease.exists);
    kube_call_free(c);

    f->status = 201;
    f->body = LEASE("43");
    want = (struct lease){.exists = true, .fresh = true};
    c = kube_lease_create(f->kube, "demo", &want, in_ms(5000));
    r = wait_for(f, c);
    assert_int_equal(r->http_status, 201);
    assert_true(
        str_starts(f->line, "POST /apis/coordination.k8s.io/v1/namespaces/db/leases?timeout="));
    kube_call_free(c);

    /* Another kind under the right path. */
    f->status = 200;
    f->body = "{\"kind\":\"Pod\",\"metadata\":{}}";
    c = kube_lease_get(f->kube, "demo", in_ms(5000));
    wait_for(f, c);
    uint64_t rejected = kube_rejected(f->kube);
    assert_false(kube_call_lease(c, &l, &e));
    assert_int_equal(kube_rejected(f->kube), rejected + 1);
    kube_call_free(c);
    kube_lease_done(&l);
}

static void pods__list_and_patch(void **state)
{
    struct fixture *f = *state;
    struct kube_pods pods = {0};
    struct err e;

    f->body = "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":["
              "{\"metadata\":{\"name\":\"db-1\",\"uid\":\"u1\",\"labels\":{\"role\":\"primary\"},"
              "\"annotations\":{\"pghad.io/status\":\"{}\"}},\"spec\":{\"nodeName\":\"n1\"},"
              "\"status\":{\"podIP\":\"10.0.0.2\",\"phase\":\"Running\",\"conditions\":["
              "{\"type\":\"Ready\",\"status\":\"True\"}]}},"
              "{\"metadata\":{\"name\":\"db-0\",\"uid\":\"u0\",\"deletionTimestamp\":"
              "\"2025-01-01T00:00:00Z\"},\"spec\":{},\"status\":{}},"
              "{\"metadata\":{\"name\":5}}]}";
    struct kube_call *c = kube_pod_list(f->kube, "app.kubernetes.io/instance=demo", in_ms(5000));
    wait_for(f, c);
    assert_string_equal(f->line, "GET /api/v1/namespaces/db/pods?labelSelector="
                                 "app.kubernetes.io%2Finstance%3Ddemo HTTP/1.1");
    assert_true(kube_call_pods(c, "role", &pods, &e));
    kube_call_free(c);
    assert_int_equal(pods.n, 2);
    assert_string_equal(pods.p[0].name.s, "db-0");
    assert_true(pods.p[0].deleting && !pods.p[0].ready);
    assert_string_equal(pods.p[1].role, "primary");
    assert_string_equal(pods.p[1].ip, "10.0.0.2");
    assert_string_equal(pods.p[1].node, "n1");
    assert_true(pods.p[1].ready);
    assert_string_equal(buf_str(&pods.p[1].status), "{}");
    assert_int_equal(kube_rejected(f->kube), 1);
    kube_pods_done(&pods);

    struct kube_change label = {"role", NULL}, note = {ANNOTATION_STATUS, "{\"a\":\"b\"}"};
    struct kube_meta m = {&label, 1, &note, 1};
    f->body = "{}";
    c = kube_pod_patch(f->kube, "db-1", "u1", &m, in_ms(5000));
    assert_int_equal(wait_for(f, c)->outcome, KUBE_OK);
    assert_true(str_starts(f->line, "PATCH /api/v1/namespaces/db/pods/db-1?timeout="));
    assert_non_null(strstr(f->head, "Content-Type: application/merge-patch+json"));
    assert_string_equal(f->got, "{\"metadata\":{\"uid\":\"u1\",\"labels\":{\"role\":null},"
                                "\"annotations\":{\"pghad.io/status\":\"{\\\"a\\\":\\\"b\\\"}\"}}}");
    kube_call_free(c);
}

static void configmap__compare_and_swap(void **state)
{
    struct fixture *f = *state;
    struct kube_configmap m = {0};
    struct kube_change d[] = {{"intent", NULL}, {"paused", "true"}};
    struct err e;

    f->body = "{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"demo-state\",\"uid\":\"c1\","
              "\"resourceVersion\":\"7\",\"managedFields\":[]},\"data\":{\"intent\":\"x\","
              "\"other\":\"y\"}}";
    struct kube_call *c = kube_configmap_get(f->kube, "demo-state", in_ms(5000));
    wait_for(f, c);
    assert_true(kube_call_configmap(c, &m, &e));
    kube_call_free(c);
    assert_string_equal(kube_configmap_get_value(&m, "intent"), "x");
    assert_null(kube_configmap_get_value(&m, "none"));
    c = kube_configmap_put(f->kube, &m, d, 2, in_ms(5000));
    wait_for(f, c);
    assert_non_null(strstr(f->got, "\"resourceVersion\":\"7\""));
    assert_non_null(strstr(f->got, "\"data\":{\"other\":\"y\",\"paused\":\"true\"}"));
    assert_null(strstr(f->got, "managedFields"));
    kube_call_free(c);
    c = kube_configmap_patch(f->kube, "demo-state", "7", d, 2, in_ms(5000));
    wait_for(f, c);
    assert_string_equal(f->got, "{\"metadata\":{\"resourceVersion\":\"7\"},"
                                "\"data\":{\"intent\":null,\"paused\":\"true\"}}");
    kube_call_free(c);
    struct kube_change label = {"app", "demo"};
    c = kube_configmap_create(f->kube, "demo-state", &label, 1, d, 2, in_ms(5000));
    wait_for(f, c);
    assert_non_null(strstr(f->got, "\"labels\":{\"app\":\"demo\"}"));
    assert_non_null(strstr(f->got, "\"data\":{\"paused\":\"true\"}"));
    kube_call_free(c);
    kube_configmap_done(&m);
}

#define SERVICE(selector)                                                                          \
    "{\"kind\":\"Service\",\"metadata\":{\"name\":\"demo-rw\",\"uid\":\"s1\"},\"spec\":{" selector               \
    "\"ports\":[{\"name\":\"postgres\",\"port\":5432,\"targetPort\":\"pg\"},{\"port\":80,\"targetPort\":8080}]}}"
#define SLICE(rv, endpoints)                                                                       \
    "{\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"demo-rw\",\"resourceVersion\":\"" rv                   \
    "\"},\"addressType\":\"IPv4\",\"endpoints\":" endpoints "}"
#define OTHER(name, endpoints) "{\"metadata\":{\"name\":\"" name "\"},\"endpoints\":" endpoints "}"
#define SLICES(items) "{\"kind\":\"EndpointSliceList\",\"items\":[" items "]}"

static bool get_service(struct fixture *f, struct kube_service *s)
{
    struct err e;
    struct kube_call *c = kube_service_get(f->kube, "demo-rw", in_ms(5000));

    wait_for(f, c);
    bool ok = kube_call_service(c, 5433, s, &e);
    kube_call_free(c);
    return ok;
}

static void service__selector_and_ports(void **state)
{
    struct fixture *f = *state;
    struct kube_service s = {0};

    f->body = SERVICE("\"selector\":{\"role\":\"primary\"},");
    assert_true(get_service(f, &s));
    assert_true(s.exists && s.has_selector);
    assert_non_null(strstr(f->line, "/api/v1/namespaces/db/services/demo-rw"));
    f->body = SERVICE("\"selector\":{},");
    assert_true(get_service(f, &s));
    assert_true(s.exists && !s.has_selector);
    f->body = SERVICE("");
    assert_true(get_service(f, &s));
    assert_false(s.has_selector);
    assert_string_equal(json_object_to_json_string_ext(s.ports, JSON_C_TO_STRING_PLAIN),
                        "[{\"name\":\"postgres\",\"protocol\":\"TCP\",\"port\":5433},"
                        "{\"name\":\"\",\"protocol\":\"TCP\",\"port\":8080}]");
    f->body = "{\"kind\":\"Service\",\"metadata\":{\"name\":\"demo-rw\"}}";
    assert_false(get_service(f, &s));
    assert_true(s.exists); /* what was known stays */
    f->status = 404;
    assert_true(get_service(f, &s));
    assert_false(s.exists);
    kube_service_done(&s);
}

static bool get_slice(struct fixture *f, struct kube_slice *s)
{
    struct err e;
    struct kube_call *c = kube_slice_list(f->kube, "demo-rw", in_ms(5000));

    wait_for(f, c);
    bool ok = kube_call_slice(c, "demo-rw", s, &e);
    kube_call_free(c);
    return ok;
}

static void put_slice(struct fixture *f, const struct kube_service *s, const struct kube_slice *last,
                      const struct kube_endpoint *to)
{
    struct kube_call *c = kube_slice_put(f->kube, s, last, to, in_ms(5000));

    wait_for(f, c);
    kube_call_free(c);
}

static void slice__made_and_replaced_by_compare_and_swap(void **state)
{
    struct fixture *f = *state;
    struct kube_service s = {0};
    struct kube_slice last = {0};
    struct kube_endpoint to = {.pod = {"demo-1"}, .uid = "u1", .ip = "10.0.0.7", .node = "n1"};

    f->body = SERVICE("");
    assert_true(get_service(f, &s));
    put_slice(f, &s, &last, &to);
    assert_non_null(strstr(f->line, "POST /apis/discovery.k8s.io/v1/namespaces/db/endpointslices?"));
    assert_null(strstr(f->got, "resourceVersion"));
    assert_non_null(strstr(f->got, "\"labels\":{\"kubernetes.io/service-name\":\"demo-rw\""));
    assert_non_null(strstr(f->got, "\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"name\":\"demo-rw\",\"uid\":\"s1\"}]"));
    assert_non_null(strstr(f->got, "\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"10.0.0.7\"]"));
    assert_non_null(strstr(f->got, "\"name\":\"demo-1\",\"uid\":\"u1\""));
    f->body = SLICE("9", "[{\"addresses\":[\"10.0.0.5\"],\"targetRef\":{\"name\":\"demo-0\",\"uid\":\"u0\"}}]");
    assert_true(get_slice(f, &last));
    assert_int_equal(last.n, 1);
    assert_string_equal(last.to.uid, "u0");
    assert_string_equal(last.to.ip, "10.0.0.5");
    put_slice(f, &s, &last, &(struct kube_endpoint){0});
    assert_non_null(strstr(f->line, "PUT /apis/discovery.k8s.io/v1/namespaces/db/endpointslices/demo-rw?"));
    assert_non_null(strstr(f->got, "\"resourceVersion\":\"9\""));
    assert_non_null(strstr(f->got, "\"endpoints\":[]"));
    strcpy(to.ip, "fd00::7");
    put_slice(f, &s, &(struct kube_slice){0}, &to);
    assert_non_null(strstr(f->got, "\"addressType\":\"IPv6\""));
    kube_service_done(&s);
}

static void slice__absent_empty_or_damaged(void **state)
{
    struct fixture *f = *state;
    struct kube_slice s = {.n = 7};

    f->body = SLICES(SLICE("3", "null"));
    assert_true(get_slice(f, &s));
    assert_non_null(strstr(f->line, "/endpointslices?labelSelector=kubernetes.io/service-name%3Ddemo-rw"));
    assert_true(s.exists && s.n == 0);
    f->body = SLICES(SLICE("4", "[{\"addresses\":[\"10.0.0.5\"]}]")); /* by hand: of no pod */
    assert_true(get_slice(f, &s));
    assert_true(s.n == 1 && s.to.uid[0] == '\0');
    f->body = SLICES("{\"metadata\":{\"name\":\"demo-rw\"}}");
    assert_false(get_slice(f, &s));
    f->body = "{\"kind\":\"PodList\"}";
    assert_false(get_slice(f, &s));
    assert_string_equal(s.rv, "4");
    f->body = SLICES("");
    assert_true(get_slice(f, &s));
    assert_false(s.exists);
}

static void slice__of_somebody_else(void **state)
{
    struct fixture *f = *state;
    struct kube_slice s = {0};

    f->body = SLICES(OTHER("demo-rw-x7", "[]") "," SLICE("4", "[]"));
    assert_true(get_slice(f, &s));
    assert_true(s.exists && s.foreign[0] == '\0'); /* it leads nowhere */
    f->body = SLICES(OTHER("demo-rw-x7", "[{\"addresses\":[\"10.0.0.9\"]}]") "," SLICE("4", "[]"));
    assert_true(get_slice(f, &s));
    assert_string_equal(s.foreign, "demo-rw-x7");
    assert_string_equal(s.rv, "4");
    f->body = SLICES(OTHER("demo-rw-x7", "[{}]"));
    assert_true(get_slice(f, &s));
    assert_true(!s.exists && s.foreign[0]);
    f->body = SLICE("5", "[]"); /* the answer to a write */
    assert_true(get_slice(f, &s));
    assert_string_equal(s.foreign, "demo-rw-x7");
}

static void events__queue__bounded_and_in_order(void **state)
{
    struct fixture *f = *state;
    char note[3000];

    memset(note, 'n', sizeof(note) - 1);
    note[sizeof(note) - 1] = '\0';
    struct kube_event ev = {.kind = "Pod", .api_version = "v1", .name = "db-0", .uid = "u0",
                            .reporter = "db-0", .action = "Promote", .reason = "Promoted",
                            .note = note};
    f->body = "{}";
    for (int i = 0; i < KUBE_EVENTS_MAX + 5; i++)
        kube_event_post(f->kube, &ev);
    assert_int_equal(kube_events_dropped(f->kube), 5);
    int64_t limit = in_ms(5000);
    while (f->served < KUBE_EVENTS_MAX && clock_boot_ms() < limit)
        loop_turn(f->loop, 100);
    assert_int_equal(f->served, KUBE_EVENTS_MAX);
    assert_true(str_starts(f->line, "POST /apis/events.k8s.io/v1/namespaces/db/events?timeout="));
    struct json_object *o = json_tokener_parse(f->got), *v;
    assert_non_null(o);
    assert_true(json_object_object_get_ex(o, "note", &v));
    assert_int_equal(json_object_get_string_len(v), 1000);
    static const char *const required[] = {"eventTime", "reportingController", "reportingInstance",
                                           "action", "reason", "type", "regarding", "metadata"};
    for (size_t i = 0; i < COUNT(required); i++)
        assert_true(json_object_object_get_ex(o, required[i], &v));
    json_object_put(o);
}

static const char forbidden[] = "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":"
                                "\"leases \\\"demo\\\" is forbidden\"}";

static void ask_lease(struct fixture *f, int status, const char *body)
{
    f->status = status;
    f->body = body;
    struct kube_call *c = kube_lease_get(f->kube, "demo", in_ms(5000));
    wait_for(f, c);
    kube_call_free(c);
}

static void rights__refused_until_an_answer_shows_them(void **state)
{
    static const int shows[] = {200, 404, 409}, hides[] = {401, 429, 500, 503};
    struct fixture *f = *state;
    const struct kube_denial *d;

    for (size_t i = 0; i < COUNT(shows); i++) {
        assert_int_equal(kube_denials(f->kube, &d), 0);
        ask_lease(f, 403, forbidden);
        ask_lease(f, 403, forbidden);
        for (size_t k = 0; k < COUNT(hides); k++)
            ask_lease(f, hides[k], "{}");
        assert_int_equal(kube_denials(f->kube, &d), 1);
        assert_string_equal(d->verb, "get");
        assert_string_equal(d->resource, "leases");
        assert_int_equal(d->count, 2);
        assert_true(d->since_ms > 0 && d->since_ms <= d->last_ms);
        assert_non_null(strstr(d->text, "leases \"demo\" is forbidden"));
        ask_lease(f, shows[i], "{}");
    }
    assert_int_equal(kube_denials(f->kube, &d), 0);
}

static void events__forbidden__kept(void **state)
{
    struct fixture *f = *state;
    struct kube_event ev = {.kind = "Pod", .api_version = "v1", .name = "db-0",
                            .reporter = "db-0", .action = "Promote", .reason = "Promoted",
                            .note = ""};
    const struct kube_denial *d;

    f->status = 403;
    f->body = forbidden;
    for (int i = 0; i < KUBE_EVENTS_MAX; i++)
        kube_event_post(f->kube, &ev);
    int64_t limit = in_ms(5000);
    while (kube_denials(f->kube, &d) == 0 && clock_boot_ms() < limit)
        loop_turn(f->loop, 100);
    assert_int_equal(kube_denials(f->kube, &d), 1);
    assert_string_equal(d->verb, "create");
    assert_string_equal(d->resource, "events");
    loop_turn(f->loop, 10);
    assert_int_equal(f->served, 1); /* the others wait for the right, and so does this one */
    assert_int_equal(kube_events_dropped(f->kube), 0);
    kube_event_post(f->kube, &ev);
    assert_int_equal(kube_events_dropped(f->kube), 1);
}

static void access_review__verdict(void **state)
{
    struct fixture *f = *state;
    bool yes = false;
    struct err e;

    f->status = 201;
    f->body = "{\"kind\":\"SelfSubjectAccessReview\",\"status\":{\"allowed\":true}}";
    struct kube_call *c = kube_access_review(f->kube, "update", "coordination.k8s.io", "leases",
                                             "demo", in_ms(5000));
    wait_for(f, c);
    assert_true(kube_call_allowed(c, &yes, &e));
    assert_true(yes);
    assert_non_null(strstr(f->got, "\"resource\":\"leases\""));
    kube_call_free(c);
}

static void request__any__bad_path_refused(void **state)
{
    struct fixture *f = *state;
    struct kube_call *c = kube_request(f->kube, "GET", "no slash", NULL, NULL, in_ms(5000));

    assert_int_equal(kube_call_outcome(c), KUBE_REFUSED);
    kube_call_free(c);
    f->type = "text/plain";
    f->body = "ok";
    c = kube_request(f->kube, "GET", "/readyz", NULL, NULL, in_ms(5000));
    const struct kube_reply *r = wait_for(f, c);
    assert_int_equal(r->outcome, KUBE_OK);
    assert_null(r->body);
    kube_call_free(c);
    c = kube_request(f->kube, "GET", "/readyz", NULL, NULL, in_ms(-1));
    assert_int_equal(kube_call_outcome(c), KUBE_REFUSED);
    kube_call_free(c);
}

static void lease__put_round_trip__measured_on_one_thread(void **state)
{
    struct fixture *f = *state;
    struct kube_lease l = {0};
    struct err e;
    int64_t begin, worst = 0, total = 0;
    unsigned threads = 0;

    assert_true(kube_lease_parse(LEASE("41"), strlen(LEASE("41")), &l, &e));
    for (int i = 0; i < 200; i++) {
        begin = clock_boot_us();
        struct kube_call *c = kube_lease_put(f->kube, &l, &l.lease, in_ms(5000));
        assert_int_equal(wait_for(f, c)->outcome, KUBE_OK);
        kube_call_free(c);
        int64_t took = clock_boot_us() - begin;
        total += took;
        worst = took > worst ? took : worst;
    }
    print_message("lease PUT: mean %lld us, worst %lld us, %llu connection\n",
                  (long long)total / 200, (long long)worst,
                  (unsigned long long)http_client_connects(f->http));
    assert_int_equal(http_client_connects(f->http), 1);
    assert_true(total / 200 < 50000);
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *t; (t = readdir(d));)
        threads += t->d_name[0] != '.';
    closedir(d);
    assert_int_equal(threads, 1);
    kube_lease_done(&l);
}

static void client__server_by_name__refused_unless_it_may_be_looked_up(void **state)
{
    char server[] = "https://api.example:6443", ns[] = "db", source[] = "test";
    struct kube_config c = {.server = server, .ns = ns, .source = source};
    struct err e = {0};
    struct fixture *f = *state;

    assert_null(kube_new(&c, f->http, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    assert_non_null(strstr(e.msg, "api.example"));
    c.may_resolve = true;
    struct kube *k = kube_new(&c, f->http, &e);
    assert_non_null(k);
    kube_free(k);
}


int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(client__server_by_name__refused_unless_it_may_be_looked_up),
        T(answer__each_status__its_outcome),
        T(refusal__status_object__reason_and_message_told),
        T(transport__timeout_and_reset__unknown),
        T(token__rotated__read_again_on_401_and_sent_once_more),
        T(token__missing_or_with_control_characters__refused_unsent),
        T(lease__requests__paths_and_bodies),
        T(pods__list_and_patch),
        T(configmap__compare_and_swap),
        T(service__selector_and_ports),
        T(slice__made_and_replaced_by_compare_and_swap),
        T(slice__absent_empty_or_damaged),
        T(slice__of_somebody_else),
        T(events__queue__bounded_and_in_order),
        T(events__forbidden__kept),
        T(rights__refused_until_an_answer_shows_them),
        T(access_review__verdict),
        T(request__any__bad_path_refused),
        T(lease__put_round_trip__measured_on_one_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
