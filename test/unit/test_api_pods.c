/* The agent's label, annotation and what it takes off other pods: against an API server that keeps three pods. */
#include <stdio.h>
#include <string.h>

#include "api_rig.h"

#define MINUTE 60000
#define PODS 3

struct fixture {
    struct api_rig rig;
    /* the server's */
    const char *role[PODS]; /* label of demo-0 and so on, "" = none */
    unsigned rv;
    int refuse;      /* each patch, with this status */
    bool hold_slice; /* no answer to a write of the Service's slice */
    struct fake_conn *watch; /* of the pods */
    /* what it saw */
    unsigned patches;
};

static const char *const uid_of[PODS] = {OWN, OTHER, "u-third"};

static void pod(const struct fixture *f, size_t i, char *ret, size_t size)
{
    char label[64] = "";

    if (f->role[i][0])
        assert_true(str_format(label, sizeof label, ",\"labels\":{\"role\":\"%s\"}", f->role[i]));
    assert_true(str_format(ret, size, "{\"metadata\":{\"name\":\"demo-%zu\",\"uid\":\"%s\",\"resourceVersion\":\"%u\"%s},"
                           "\"spec\":{\"nodeName\":\"n\"},\"status\":{\"phase\":\"Running\",\"podIP\":\"10.0.0.%zu\"}}",
                           i, uid_of[i], f->rv, label, i + 1));
}

static void list_pods(const struct fixture *f, const struct fake_request *r)
{
    char body[2048], p[PODS][512];

    for (size_t i = 0; i < PODS; i++)
        pod(f, i, p[i], sizeof p[i]);
    assert_true(str_format(body, sizeof body, "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"%u\"},"
                           "\"items\":[%s,%s,%s]}", f->rv, p[0], p[1], p[2]));
    fake_json(r, 200, body);
}

/* The watch shows pod i as it is now. */
static void show(struct fixture *f, size_t i)
{
    char event[640], p[512];

    UNTIL(&f->rig, f->watch != NULL);
    pod(f, i, p, sizeof p);
    assert_true(str_format(event, sizeof event, "{\"type\":\"MODIFIED\",\"object\":%s}\n", p));
    fake_chunk(f->watch, event);
    rig_finish(&f->rig);
}

/* The text after key in a patch, up to the next quote; "-" for null, "" where the patch has no such key. */
static const char *text_of(const char *body, const char *key, char ret[32])
{
    const char *at = strstr(body, key);

    ret[0] = '\0';
    if (at == NULL)
        return ret;
    at += strlen(key);
    if (*at != '"')
        return strcpy(ret, "-");
    assert_true(str_format(ret, 32, "%.*s", (int)strcspn(at + 1, "\""), at + 1));
    return ret;
}

/* What is to be written of a pod: "demo-1=- " where its label is taken off, "demo-0=primary/text " with an annotation. */
static void patch_pod(struct fixture *f, const struct fake_request *r)
{
    char role[32], note[32], uid[32], body[512];
    size_t i = (size_t)(strstr(r->line, "/pods/demo-")[11] - '0'), used = strlen(f->rig.wrote);

    assert_true(i < PODS);
    f->patches++;
    (void)text_of(r->body, "\"role\":", role);
    (void)text_of(r->body, "\"pghad.io\\/status\":", note);
    if (note[0] == '\0')
        (void)text_of(r->body, "\"pghad.io/status\":", note);
    (void)str_format(f->rig.wrote + used, sizeof f->rig.wrote - used, "demo-%zu=%s%s%s ", i, role, note[0] ? "/" : "", note);
    if (f->refuse) {
        fake_json(r, f->refuse, "{\"kind\":\"Status\"}");
        return;
    }
    assert_string_equal(text_of(r->body, "\"uid\":", uid), uid_of[i]); /* else a new pod of that name would be meant */
    f->rv++;
    f->role[i] = str_eq(role, "primary") ? "primary" : str_eq(role, "replica") ? "replica" : "";
    pod(f, i, body, sizeof body);
    fake_json(r, 200, body);
}

static void on_request(struct fake_http *s, const struct fake_request *r)
{
    struct fixture *f = s->ctx;

    if (strstr(r->line, "/pods?") && strstr(r->line, "watch=")) {
        fake_stream(r);
        f->watch = r->conn;
    } else if (strncmp(r->line, "PATCH", 5) == 0) {
        patch_pod(f, r);
    } else if (strstr(r->line, "/pods")) {
        list_pods(f, r);
    } else if (strstr(r->line, "/services/demo-rw")) {
        fake_json(r, 200, "{\"kind\":\"Service\",\"metadata\":{\"name\":\"demo-rw\",\"uid\":\"s-1\"},"
                          "\"spec\":{\"ports\":[{\"name\":\"postgres\",\"port\":5432}]}}");
    } else if (strncmp(r->line, "GET", 3) == 0 && strstr(r->line, "/endpointslices")) {
        fake_json(r, 200, "{\"kind\":\"EndpointSliceList\",\"items\":[]}");
    } else if (strstr(r->line, "/endpointslices") && !f->hold_slice) {
        fake_json(r, 201, "{\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"demo-rw\",\"resourceVersion\":\"1\","
                          "\"ownerReferences\":[{\"uid\":\"s-1\"}]},\"addressType\":\"IPv4\","
                          "\"endpoints\":[{\"addresses\":[\"10.0.0.1\"],\"targetRef\":{\"name\":\"demo-0\",\"uid\":\"" OWN "\"}}],"
                          "\"ports\":[{\"name\":\"postgres\",\"protocol\":\"TCP\",\"port\":5432}]}");
    } else {
        r->conn->busy = true; /* no answer */
    }
}

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.role = {"", "", ""}, .rv = 5};
    rig_init(&f.rig, on_request, &f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    return rig_done(&((struct fixture *)*state)->rig);
}

static void later(struct fixture *f, int64_t ms)
{
    rig_finish(&f->rig);
    f->rig.ahead_ms += ms;
    rig_finish(&f->rig);
}

static void want(struct fixture *f, enum ha_role role)
{
    UNTIL(&f->rig, api_pods_known(f->rig.api));
    api_set_label(f->rig.api, role, rig_now(&f->rig));
}

static void become_primary(struct fixture *f)
{
    want(f, ROLE_PRIMARY);
    UNTIL(&f->rig, api_label(f->rig.api) == ROLE_PRIMARY);
    assert_string_equal(f->rig.wrote, "demo-0=primary ");
}

static void replica__says_so_a_second_later(void **state)
{
    struct fixture *f = *state;

    want(f, ROLE_REPLICA);
    later(f, 0);
    assert_string_equal(f->rig.wrote, ""); /* the Service for readers changes after that for writers */
    later(f, 1000);
    assert_string_equal(f->rig.wrote, "demo-0=replica ");
    assert_int_equal(api_label(f->rig.api), ROLE_REPLICA);
}

static void primary__says_so_once_the_service_leads_there(void **state)
{
    struct fixture *f = *state;

    want(f, ROLE_PRIMARY);
    api_set_endpoint(f->rig.api, ENDPOINT_MINE, rig_now(&f->rig));
    UNTIL(&f->rig, f->patches == 1); /* without waiting for its 300 ms */
    assert_string_equal(f->rig.wrote, "demo-0=primary ");
}

static void service_that_does_not_answer__waited_for_no_longer_than_that(void **state)
{
    struct fixture *f = *state;

    f->hold_slice = true;
    UNTIL(&f->rig, api_pods_known(f->rig.api));
    int64_t t = rig_now(&f->rig);
    api_set_endpoint(f->rig.api, ENDPOINT_MINE, t);
    api_set_label(f->rig.api, ROLE_PRIMARY, t);
    for (int i = 0; i < 10; i++) { /* no time passes for the agent */
        loop_turn(f->rig.loop, 20);
        api_poll(f->rig.api, t);
    }
    assert_string_equal(f->rig.wrote, "");
    f->rig.ahead_ms += 300;
    UNTIL(&f->rig, f->patches == 1);
}

static void deposed__takes_its_label_off_at_once(void **state)
{
    struct fixture *f = *state;

    f->role[0] = "primary"; /* of a life before */
    want(f, ROLE_UNKNOWN);
    UNTIL(&f->rig, f->patches == 1);
    assert_string_equal(f->rig.wrote, "demo-0=- ");
    later(f, MINUTE);
    assert_int_equal(f->patches, 1);
}

static void label_that_is_right__not_written(void **state)
{
    struct fixture *f = *state;

    f->role[0] = "primary";
    want(f, ROLE_PRIMARY);
    later(f, MINUTE);
    assert_int_equal(f->patches, 0);
    assert_int_equal(api_label(f->rig.api), ROLE_PRIMARY);
}

static void watch_that_stands_still__written_once(void **state)
{
    struct fixture *f = *state;

    become_primary(f);
    for (int i = 0; i < 5; i++)
        later(f, MINUTE);
    assert_int_equal(f->patches, 1);
}

static void older_news__not_believed(void **state)
{
    struct fixture *f = *state;

    become_primary(f);
    f->role[0] = "";
    show(f, 0); /* what our change has replaced */
    assert_int_equal(f->patches, 1);
    f->role[0] = "primary";
    f->rv++;
    show(f, 0);
    later(f, MINUTE);
    assert_int_equal(f->patches, 1);
}

static void changed_by_hand__written_again(void **state)
{
    struct fixture *f = *state;

    become_primary(f);
    later(f, 1000);
    f->role[0] = "replica";
    f->rv++;
    show(f, 0);
    UNTIL(&f->rig, f->patches == 2);
    assert_string_equal(f->rig.wrote, "demo-0=primary demo-0=primary ");
}

static void changed_by_hand_right_after_ours__written_again_a_second_later(void **state)
{
    struct fixture *f = *state;

    become_primary(f);
    f->role[0] = "";
    f->rv++;
    show(f, 0);
    assert_int_equal(f->patches, 1);
    later(f, 1000);
    assert_string_equal(f->rig.wrote, "demo-0=primary demo-0=primary ");
}

static void refused__again_after_a_second(void **state)
{
    struct fixture *f = *state;

    f->refuse = 500;
    want(f, ROLE_PRIMARY);
    UNTIL(&f->rig, f->patches == 1);
    rig_finish(&f->rig);
    assert_int_equal(f->patches, 1);
    assert_int_equal(api_label(f->rig.api), ROLE_UNKNOWN);
    f->refuse = 0;
    later(f, 1000);
    assert_string_equal(f->rig.wrote, "demo-0=primary demo-0=primary ");
    assert_int_equal(api_label(f->rig.api), ROLE_PRIMARY);
}

static void annotation__one_write_for_changes_that_follow_each_other(void **state)
{
    struct fixture *f = *state;

    become_primary(f);
    api_set_annotation(f->rig.api, "one", rig_now(&f->rig));
    later(f, 0);
    api_set_annotation(f->rig.api, "two", rig_now(&f->rig));
    later(f, 500);
    UNTIL(&f->rig, f->patches == 2);
    assert_string_equal(f->rig.wrote, "demo-0=primary demo-0=primary/two ");
    api_set_annotation(f->rig.api, "three", rig_now(&f->rig));
    later(f, 500); /* settled, but no more than one in two seconds */
    assert_int_equal(f->patches, 2);
    later(f, 2000);
    assert_string_equal(f->rig.wrote, "demo-0=primary demo-0=primary/two demo-0=primary/three ");
    later(f, MINUTE);
    assert_int_equal(f->patches, 3);
}

static void annotation_that_was_refused__again(void **state)
{
    struct fixture *f = *state;

    become_primary(f);
    f->refuse = 500;
    api_set_annotation(f->rig.api, "one", rig_now(&f->rig));
    later(f, 500);
    UNTIL(&f->rig, f->patches == 2);
    f->refuse = 0;
    later(f, 2000);
    UNTIL(&f->rig, f->patches == 3);
    assert_string_equal(f->rig.wrote, "demo-0=primary demo-0=primary/one demo-0=primary/one ");
}

static void label_of_a_primary__taken_off_all_others(void **state)
{
    struct fixture *f = *state;

    f->role[0] = f->role[1] = "primary";
    f->role[2] = "replica";
    want(f, ROLE_PRIMARY);
    api_strip(f->rig.api, rig_now(&f->rig));
    UNTIL(&f->rig, f->patches == 1);
    assert_string_equal(f->rig.wrote, "demo-1=- ");
    rig_finish(&f->rig);
    api_strip(f->rig.api, rig_now(&f->rig)); /* the watch has not shown it yet */
    rig_finish(&f->rig);
    assert_int_equal(f->patches, 1);
    show(f, 1);
    f->rig.ahead_ms += 1000;
    api_strip(f->rig.api, rig_now(&f->rig));
    rig_finish(&f->rig);
    assert_int_equal(f->patches, 1);
}

static void label_that_could_not_be_taken_off__tried_each_second(void **state)
{
    struct fixture *f = *state;

    f->role[1] = "primary";
    f->refuse = 409;
    want(f, ROLE_UNKNOWN);
    api_strip(f->rig.api, rig_now(&f->rig));
    UNTIL(&f->rig, f->patches == 1);
    rig_finish(&f->rig);
    api_strip(f->rig.api, rig_now(&f->rig));
    rig_finish(&f->rig);
    assert_int_equal(f->patches, 1);
    f->refuse = 0;
    f->rig.ahead_ms += 1000;
    api_strip(f->rig.api, rig_now(&f->rig));
    UNTIL(&f->rig, f->patches == 2);
    assert_string_equal(f->rig.wrote, "demo-1=- demo-1=- ");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(replica__says_so_a_second_later),
        T(primary__says_so_once_the_service_leads_there),
        T(service_that_does_not_answer__waited_for_no_longer_than_that),
        T(deposed__takes_its_label_off_at_once),
        T(label_that_is_right__not_written),
        T(watch_that_stands_still__written_once),
        T(older_news__not_believed),
        T(changed_by_hand__written_again),
        T(changed_by_hand_right_after_ours__written_again_a_second_later),
        T(refused__again_after_a_second),
        T(annotation__one_write_for_changes_that_follow_each_other),
        T(annotation_that_was_refused__again),
        T(label_of_a_primary__taken_off_all_others),
        T(label_that_could_not_be_taken_off__tried_each_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
