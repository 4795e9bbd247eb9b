/* The agent leads a Service for writers: against an API server that keeps one EndpointSlice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/api.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "fake_http.h"
#include "http/client.h"

#define OWN "u-own"
#define OTHER "u-other"
#define MINUTE 60000
#define UNTIL_MS 10000 /* a wait that takes so long has failed */

enum race { NO_RACE, CHANGED, DELETED };

struct fixture {
    struct loop *loop;
    struct http_client *http;
    struct fake_http server;
    struct api *api;
    struct config cfg;
    char *service;
    char dir[64], token_file[96];
    int64_t ahead_ms; /* of the clock that the agent is given */
    /* the server's slice */
    bool exists;
    unsigned rv;
    char uid[HA_UID_SIZE]; /* of the pod that it leads to, "" = nobody */
    /* what the server does */
    bool selector;  /* of the Service */
    bool foreign;   /* a slice of somebody else leads there, too */
    bool other_pod; /* exists */
    int refuse;     /* each write, with this status */
    enum race race; /* by another member, just before a write arrives */
    unsigned races; /* so often */
    bool hold;      /* the answer to a write */
    struct fake_conn *held;
    /* what it saw */
    unsigned looks, writes, events;
    char wrote[512]; /* "POST own PUT nobody " */
};

static void pods(struct fixture *f, char *ret, size_t size)
{
    static const char pod[] = "%s{\"metadata\":{\"name\":\"%s\",\"uid\":\"%s\",\"resourceVersion\":\"7\"},"
                              "\"spec\":{\"nodeName\":\"n\"},\"status\":{\"phase\":\"Running\",\"podIP\":\"%s\"}}";
    char own[256], other[256] = "";

    assert_true(str_format(own, sizeof own, pod, "", "demo-0", OWN, "10.0.0.1"));
    if (f->other_pod)
        assert_true(str_format(other, sizeof other, pod, ",", "demo-1", OTHER, "10.0.0.2"));
    assert_true(str_format(ret, size, "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[%s%s]}",
                           own, other));
}

static void slice(const struct fixture *f, char *ret, size_t size)
{
    char to[160] = "";

    if (f->uid[0])
        assert_true(str_format(to, sizeof to, "{\"addresses\":[\"10.0.0.%d\"],\"targetRef\":{\"name\":\"demo-%d\",\"uid\":\"%s\"}}",
                               str_eq(f->uid, OWN) ? 1 : 2, str_eq(f->uid, OWN) ? 0 : 1, f->uid));
    assert_true(str_format(ret, size, "{\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"demo-rw\",\"resourceVersion\":\"%u\","
                           "\"ownerReferences\":[{\"uid\":\"s-1\"}]},\"addressType\":\"IPv4\",\"endpoints\":[%s],"
                           "\"ports\":[{\"name\":\"postgres\",\"protocol\":\"TCP\",\"port\":5432}]}", f->rv, to));
}

static void list_slices(struct fixture *f, const struct fake_request *r)
{
    char own[640] = "", body[1024];

    f->looks++;
    if (f->exists)
        slice(f, own, sizeof own);
    assert_true(str_format(body, sizeof body, "{\"kind\":\"EndpointSliceList\",\"items\":[%s%s%s]}", own,
                           f->exists && f->foreign ? "," : "",
                           f->foreign ? "{\"metadata\":{\"name\":\"demo-rw-x7\"},\"endpoints\":[{}]}" : ""));
    fake_json(r, 200, body);
}

static void raced(struct fixture *f)
{
    if (f->race == NO_RACE || f->races == 0)
        return;
    f->races--;
    f->exists = f->race == CHANGED;
    f->rv += 10;
    str_copy(f->uid, sizeof f->uid, OTHER);
}

static void store(struct fixture *f, const char *body)
{
    f->exists = true;
    f->rv++;
    str_copy(f->uid, sizeof f->uid, strstr(body, OWN) ? OWN : "");
}

static void write_slice(struct fixture *f, const struct fake_request *r, bool create)
{
    char version[48], body[640];
    size_t used = strlen(f->wrote);

    f->writes++;
    (void)str_format(f->wrote + used, sizeof f->wrote - used, "%s %s ", create ? "POST" : "PUT",
                     strstr(r->body, OWN) ? "own" : "nobody");
    raced(f);
    assert_true(str_format(version, sizeof version, "\"resourceVersion\":\"%u\"", f->rv));
    if (f->refuse) {
        fake_json(r, f->refuse, "{\"kind\":\"Status\"}");
    } else if (!create && !f->exists) {
        fake_json(r, 404, "{\"kind\":\"Status\",\"reason\":\"NotFound\"}");
    } else if (create ? f->exists : strstr(r->body, version) == NULL) {
        fake_json(r, 409, "{\"kind\":\"Status\",\"reason\":\"Conflict\"}");
    } else if (f->hold) {
        store(f, r->body);
        r->conn->busy = true;
        f->held = r->conn;
    } else {
        store(f, r->body);
        slice(f, body, sizeof body);
        fake_json(r, create ? 201 : 200, body);
    }
}

static void on_request(struct fake_http *s, const struct fake_request *r)
{
    struct fixture *f = s->ctx;
    char body[1024];

    if (strstr(r->line, "watch=")) {
        fake_stream(r);
    } else if (strstr(r->line, "/events")) {
        f->events += strstr(r->body, "EndpointForeign") != NULL;
        fake_json(r, 201, "{\"kind\":\"Event\"}");
    } else if (strstr(r->line, "/pods")) {
        pods(f, body, sizeof body);
        fake_json(r, 200, body);
    } else if (strstr(r->line, "/services/demo-rw")) {
        assert_true(str_format(body, sizeof body, "{\"kind\":\"Service\",\"metadata\":{\"name\":\"demo-rw\",\"uid\":\"s-1\"},"
                               "\"spec\":{%s\"ports\":[{\"name\":\"postgres\",\"port\":5432}]}}",
                               f->selector ? "\"selector\":{\"role\":\"primary\"}," : ""));
        fake_json(r, 200, body);
    } else if (strncmp(r->line, "GET", 3) == 0 && strstr(r->line, "/endpointslices")) {
        list_slices(f, r);
    } else if (strstr(r->line, "/endpointslices")) {
        write_slice(f, r, strncmp(r->line, "POST", 4) == 0);
    } else {
        r->conn->busy = true; /* Lease and ConfigMap: no answer */
    }
}

static int setup(void **state)
{
    static struct fixture f;
    static char name[] = "demo", ns[] = "db", service[] = "demo-rw", selector[] = "app=demo", label[] = "role",
                primary[] = "primary", replica[] = "replica";
    struct identity id = {.name = {"demo-0"}, .uid = OWN, .boot = 1};
    struct err e = {0};

    memset(&f, 0, sizeof f);
    str_copy(f.dir, sizeof f.dir, "/tmp/test_api_endpoint.XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    assert_true(str_format(f.token_file, sizeof f.token_file, "%s/token", f.dir));
    assert_true(fd_replace_file(f.token_file, "t", 1, 0600, &e));
    fake_http_init(&f.server, on_request, &f);
    f.rv = 5;
    f.service = service;
    f.cfg.cluster.name = name;
    f.cfg.cluster.ns = ns;
    f.cfg.cluster.selector = selector;
    f.cfg.cluster.role_label = label;
    f.cfg.cluster.role_primary = primary;
    f.cfg.cluster.role_replica = replica;
    f.cfg.cluster.services = (struct config_list){.v = &f.service, .n = 1};
    f.cfg.lease.renew_ms = 2000;
    f.cfg.postgres.port = 5432;
    f.cfg.kube.server = f.server.url;
    f.cfg.kube.token_file = f.token_file;
    f.loop = loop_new();
    f.http = http_client_new("pghad/test");
    struct loop_source s = fake_http_source(&f.server);
    f.api = api_new(f.http, f.loop, &f.cfg, &id, &e);
    if (f.api == NULL)
        fail_msg("%s", e.msg);
    loop_add(f.loop, &s);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    api_free(f->api);
    http_client_free(f->http);
    fake_http_done(&f->server);
    loop_free(f->loop);
    unlink(f->token_file);
    return rmdir(f->dir);
}

static int64_t now(const struct fixture *f)
{
    return clock_boot_ms() + f->ahead_ms;
}

static void turn(struct fixture *f)
{
    loop_turn(f->loop, 20);
    api_poll(f->api, now(f));
}

#define UNTIL(f, what)                                              \
    do {                                                            \
        int64_t limit = clock_boot_ms() + UNTIL_MS;                 \
        while (!(what) && clock_boot_ms() < limit)                  \
            turn(f);                                                \
        if (!(what))                                                \
            fail_msg("never: %s; written: %s", #what, (f)->wrote);  \
    } while (0)

/* Server and agent share the loop: an answer is taken two turns after its request has come. */
static void finish(struct fixture *f)
{
    for (int i = 0; i < 10; i++)
        turn(f);
}

static void after(struct fixture *f, int64_t ms)
{
    unsigned looks = f->looks;

    finish(f);
    f->ahead_ms += ms;
    UNTIL(f, f->looks > looks);
    finish(f);
}

static void want(struct fixture *f, enum endpoint e)
{
    UNTIL(f, api_pods_known(f->api));
    api_set_endpoint(f->api, e, now(f));
}

static void lead_to(struct fixture *f, const char *uid)
{
    f->exists = true;
    str_copy(f->uid, sizeof f->uid, uid);
}

static void primary__leads_to_itself_and_looks_again_each_minute(void **state)
{
    struct fixture *f = *state;

    want(f, ENDPOINT_MINE);
    UNTIL(f, str_eq(f->uid, OWN));
    after(f, MINUTE);
    assert_string_equal(f->wrote, "POST own ");
    lead_to(f, OTHER); /* by hand, or by whoever was slow */
    f->rv++;
    after(f, MINUTE);
    UNTIL(f, str_eq(f->uid, OWN));
    assert_string_equal(f->wrote, "POST own PUT own ");
}

static void replaced__only_the_version_that_was_read(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    f->race = CHANGED;
    f->races = 1;
    want(f, ENDPOINT_MINE);
    UNTIL(f, str_eq(f->uid, OWN));
    assert_string_equal(f->wrote, "PUT own PUT own ");
    assert_int_equal(f->looks, 2); /* read anew in between */
}

static void created_by_another_meanwhile__read_and_replaced(void **state)
{
    struct fixture *f = *state;

    f->race = CHANGED;
    f->races = 1;
    want(f, ENDPOINT_MINE);
    UNTIL(f, str_eq(f->uid, OWN));
    assert_string_equal(f->wrote, "POST own PUT own ");
}

static void deleted_meanwhile__made_again(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    f->race = DELETED;
    f->races = 1;
    want(f, ENDPOINT_MINE);
    UNTIL(f, str_eq(f->uid, OWN));
    assert_string_equal(f->wrote, "PUT own POST own ");
}

static void always_lost__pauses(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    f->race = CHANGED;
    f->races = 1000;
    want(f, ENDPOINT_MINE);
    UNTIL(f, f->writes >= 4);
    finish(f);
    assert_int_equal(f->writes, 4);
    f->race = NO_RACE;
    after(f, 10000);
    UNTIL(f, str_eq(f->uid, OWN));
    assert_int_equal(f->writes, 5);
}

static void deposed_while_the_write_is_under_way__takes_itself_out(void **state)
{
    struct fixture *f = *state;
    char body[640];

    f->hold = true;
    want(f, ENDPOINT_MINE);
    UNTIL(f, f->held != NULL);
    f->hold = false;
    api_set_endpoint(f->api, ENDPOINT_NOT_MINE, now(f));
    struct fake_request late = {.conn = f->held};
    slice(f, body, sizeof body);
    fake_json(&late, 201, body);
    f->held->busy = false;
    UNTIL(f, f->uid[0] == '\0');
    assert_string_equal(f->wrote, "POST own PUT nobody ");
}

static void deposed__a_successors_slice_is_left_alone(void **state)
{
    struct fixture *f = *state;

    want(f, ENDPOINT_MINE);
    UNTIL(f, str_eq(f->uid, OWN));
    finish(f);
    lead_to(f, OTHER);
    f->rv++;
    api_set_endpoint(f->api, ENDPOINT_NOT_MINE, now(f));
    after(f, 0);
    assert_string_equal(f->wrote, "POST own ");
    assert_string_equal(f->uid, OTHER);
}

static void pod_is_gone__leads_nowhere_once_it_stays_so(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    want(f, ENDPOINT_NOT_GONE);
    finish(f);
    assert_int_equal(f->looks, 0); /* an election is likely */
    after(f, 10000);
    UNTIL(f, f->uid[0] == '\0');
    assert_string_equal(f->wrote, "PUT nobody ");
}

static void pod_is_there__stays(void **state)
{
    struct fixture *f = *state;

    f->other_pod = true;
    lead_to(f, OTHER);
    want(f, ENDPOINT_NOT_GONE);
    after(f, 10000);
    after(f, 10000);
    assert_int_equal(f->writes, 0);
}

static void service_with_selector__never_written(void **state)
{
    struct fixture *f = *state;

    f->selector = true;
    want(f, ENDPOINT_MINE);
    after(f, 0);
    assert_int_equal(f->writes, 0);
    f->selector = false; /* kubectl apply of the new manifests */
    after(f, MINUTE);
    UNTIL(f, str_eq(f->uid, OWN));
}

static void forbidden__tried_again_after_a_pause(void **state)
{
    struct fixture *f = *state;

    f->refuse = 403;
    want(f, ENDPOINT_MINE);
    UNTIL(f, f->writes == 1);
    finish(f);
    assert_int_equal(f->writes, 1);
    f->refuse = 0; /* the Role was mended */
    after(f, 10000);
    UNTIL(f, str_eq(f->uid, OWN));
}

static void slice_of_somebody_else__named_once(void **state)
{
    struct fixture *f = *state;

    f->foreign = true;
    want(f, ENDPOINT_MINE);
    UNTIL(f, str_eq(f->uid, OWN) && f->events == 1);
    after(f, MINUTE);
    assert_int_equal(f->events, 1);
    assert_int_equal(f->writes, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(primary__leads_to_itself_and_looks_again_each_minute),
        T(replaced__only_the_version_that_was_read),
        T(created_by_another_meanwhile__read_and_replaced),
        T(deleted_meanwhile__made_again),
        T(always_lost__pauses),
        T(deposed_while_the_write_is_under_way__takes_itself_out),
        T(deposed__a_successors_slice_is_left_alone),
        T(pod_is_gone__leads_nowhere_once_it_stays_so),
        T(pod_is_there__stays),
        T(service_with_selector__never_written),
        T(forbidden__tried_again_after_a_pause),
        T(slice_of_somebody_else__named_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
