/* The agent leads a Service for writers: against an API server that keeps one EndpointSlice. */
#include <stdio.h>
#include <string.h>

#include "api_rig.h"

#define MINUTE 60000

enum race { NO_RACE, CHANGED, DELETED };

struct fixture {
    struct api_rig rig;
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
    bool mutate;    /* a webhook leads nobody there, whatever is written */
    bool hold;      /* the answer to a write */
    struct fake_conn *held;
    /* what it saw */
    unsigned looks, writes, events;
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
    str_copy(f->uid, sizeof f->uid, strstr(body, OWN) && !f->mutate ? OWN : "");
}

static void write_slice(struct fixture *f, const struct fake_request *r, bool create)
{
    char version[48], body[640];
    size_t used = strlen(f->rig.wrote);

    f->writes++;
    (void)str_format(f->rig.wrote + used, sizeof f->rig.wrote - used, "%s %s ", create ? "POST" : "PUT",
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

    f = (struct fixture){.rv = 5};
    rig_init(&f.rig, on_request, &f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    return rig_done(&((struct fixture *)*state)->rig);
}

static void after(struct fixture *f, int64_t ms)
{
    unsigned looks = f->looks;

    rig_finish(&f->rig);
    f->rig.ahead_ms += ms;
    UNTIL(&f->rig, f->looks > looks);
    rig_finish(&f->rig);
}

static void want(struct fixture *f, enum endpoint e)
{
    UNTIL(&f->rig, api_pods_known(f->rig.api));
    api_set_endpoint(f->rig.api, e, rig_now(&f->rig));
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
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    after(f, MINUTE);
    assert_string_equal(f->rig.wrote, "POST own ");
    lead_to(f, OTHER); /* by hand, or by whoever was slow */
    f->rv++;
    after(f, MINUTE);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    assert_string_equal(f->rig.wrote, "POST own PUT own ");
}

static void replaced__only_the_version_that_was_read(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    f->race = CHANGED;
    f->races = 1;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    assert_string_equal(f->rig.wrote, "PUT own PUT own ");
    assert_int_equal(f->looks, 2); /* read anew in between */
}

static void created_by_another_meanwhile__read_and_replaced(void **state)
{
    struct fixture *f = *state;

    f->race = CHANGED;
    f->races = 1;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    assert_string_equal(f->rig.wrote, "POST own PUT own ");
}

static void deleted_meanwhile__made_again(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    f->race = DELETED;
    f->races = 1;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    assert_string_equal(f->rig.wrote, "PUT own POST own ");
}

static void always_lost__pauses(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    f->race = CHANGED;
    f->races = 1000;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, f->writes >= 4);
    rig_finish(&f->rig);
    assert_int_equal(f->writes, 4);
    f->race = NO_RACE;
    after(f, 10000);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    assert_int_equal(f->writes, 5);
}

static void changed_by_a_webhook__pauses(void **state)
{
    struct fixture *f = *state;

    f->mutate = true;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, f->writes >= 4);
    rig_finish(&f->rig);
    assert_int_equal(f->writes, 4);
    f->mutate = false;
    after(f, 10000);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    assert_int_equal(f->writes, 5);
}

static void deposed_while_the_write_is_under_way__takes_itself_out(void **state)
{
    struct fixture *f = *state;
    char body[640];

    f->hold = true;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, f->held != NULL);
    f->hold = false;
    api_set_endpoint(f->rig.api, ENDPOINT_NOT_MINE, rig_now(&f->rig));
    struct fake_request late = {.conn = f->held};
    slice(f, body, sizeof body);
    fake_json(&late, 201, body);
    f->held->busy = false;
    UNTIL(&f->rig, f->uid[0] == '\0');
    assert_string_equal(f->rig.wrote, "POST own PUT nobody ");
}

static void deposed__a_successors_slice_is_left_alone(void **state)
{
    struct fixture *f = *state;

    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
    rig_finish(&f->rig);
    lead_to(f, OTHER);
    f->rv++;
    api_set_endpoint(f->rig.api, ENDPOINT_NOT_MINE, rig_now(&f->rig));
    after(f, 0);
    assert_string_equal(f->rig.wrote, "POST own ");
    assert_string_equal(f->uid, OTHER);
}

static void pod_is_gone__leads_nowhere_once_it_stays_so(void **state)
{
    struct fixture *f = *state;

    lead_to(f, OTHER);
    want(f, ENDPOINT_NOT_GONE);
    rig_finish(&f->rig);
    assert_int_equal(f->looks, 0); /* an election is likely */
    after(f, 10000);
    UNTIL(&f->rig, f->uid[0] == '\0');
    assert_string_equal(f->rig.wrote, "PUT nobody ");
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
    UNTIL(&f->rig, str_eq(f->uid, OWN));
}

static void forbidden__tried_again_after_a_pause(void **state)
{
    struct fixture *f = *state;

    f->refuse = 403;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, f->writes == 1);
    rig_finish(&f->rig);
    assert_int_equal(f->writes, 1);
    f->refuse = 0; /* the Role was mended */
    after(f, 10000);
    UNTIL(&f->rig, str_eq(f->uid, OWN));
}

static void slice_of_somebody_else__named_once(void **state)
{
    struct fixture *f = *state;

    f->foreign = true;
    want(f, ENDPOINT_MINE);
    UNTIL(&f->rig, str_eq(f->uid, OWN) && f->events == 1);
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
        T(changed_by_a_webhook__pauses),
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
