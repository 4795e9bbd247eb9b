/* The agent's writes of the ConfigMap: against an API server that keeps one. */
#include <stdio.h>
#include <string.h>

#include "api_rig.h"
#include "core/record.h"

#define SYSTEM_ID 0x1234u

struct fixture {
    struct api_rig rig;
    /* the server's */
    bool exists;
    unsigned rv;
    char epoch[16], system_id[32], record[2048]; /* JSON strings with their quotes, "" = no such key */
    int refuse;          /* each write, with this status */
    bool mutate;         /* a webhook drops each epoch that is written */
    unsigned changed_by_others; /* so often, just before a write arrives */
    /* what it saw */
    unsigned writes;
};

/* The JSON string behind key, or "" where there is none. */
static void take(const char *body, const char *key, char *ret, size_t size)
{
    const char *at = strstr(body, key), *end;

    if (at == NULL)
        return;
    at += strlen(key);
    assert_int_equal(*at, '"');
    for (end = at + 1; *end != '"'; end++)
        end += *end == '\\';
    assert_true(str_format(ret, size, "%.*s", (int)(end - at + 1), at));
}

static void object(const struct fixture *f, char *ret, size_t size)
{
    char data[2200];

    assert_true(str_format(data, sizeof data, "%s%s%s%s%s%s", f->epoch[0] ? "\"epoch\":" : "", f->epoch,
                           f->record[0] ? ",\"record\":" : "", f->record,
                           f->system_id[0] ? ",\"system-id\":" : "", f->system_id));
    assert_true(str_format(ret, size, "{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"demo-state\",\"uid\":\"c-1\","
                           "\"resourceVersion\":\"%u\"},\"data\":{%s}}", f->rv, data[0] == ',' ? data + 1 : data));
}

static void store(struct fixture *f, const char *body)
{
    f->exists = true;
    f->rv++;
    if (!f->mutate)
        take(body, "\"epoch\":", f->epoch, sizeof f->epoch);
    take(body, "\"record\":", f->record, sizeof f->record);
    take(body, "\"system-id\":", f->system_id, sizeof f->system_id);
}

static void write_map(struct fixture *f, const struct fake_request *r, bool create)
{
    char version[48], body[2600];
    size_t used = strlen(f->rig.wrote);

    f->writes++;
    if (f->changed_by_others > 0) {
        f->changed_by_others--;
        f->exists = true;
        f->rv += 10;
    }
    (void)str_format(f->rig.wrote + used, sizeof f->rig.wrote - used, "%s ", create ? "POST" : "PATCH");
    assert_true(str_format(version, sizeof version, "\"resourceVersion\":\"%u\"", f->rv));
    if (f->refuse) {
        fake_json(r, f->refuse, "{\"kind\":\"Status\"}");
    } else if (create ? f->exists : strstr(r->body, version) == NULL) {
        fake_json(r, 409, "{\"kind\":\"Status\",\"reason\":\"Conflict\"}");
    } else {
        store(f, r->body);
        object(f, body, sizeof body);
        fake_json(r, create ? 201 : 200, body);
    }
}

static void list(const struct fixture *f, const struct fake_request *r)
{
    char one[2600] = "", body[2800];

    if (f->exists)
        object(f, one, sizeof one);
    assert_true(str_format(body, sizeof body, "{\"kind\":\"ConfigMapList\",\"metadata\":{\"resourceVersion\":\"%u\"},"
                           "\"items\":[%s]}", f->rv, one));
    fake_json(r, 200, body);
}

static void on_request(struct fake_http *s, const struct fake_request *r)
{
    struct fixture *f = s->ctx;

    if (strstr(r->line, "watch=")) {
        fake_stream(r);
    } else if (strstr(r->line, "/configmaps") == NULL) {
        r->conn->busy = true; /* Lease and pods: no answer */
    } else if (strncmp(r->line, "GET", 3) == 0) {
        list(f, r);
    } else {
        write_map(f, r, strncmp(r->line, "POST", 4) == 0);
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

static struct state_view seen(const struct fixture *f)
{
    struct state_view st;

    api_observe_state(f->rig.api, &st);
    return st;
}

/* A turn in which the agent wants this, as it does in each of its own. */
static void ask(struct fixture *f, uint64_t epoch)
{
    struct record r = {.epoch = epoch, .rev = 1};

    rig_turn(&f->rig);
    api_sync_state(f->rig.api, epoch, &r, SYSTEM_ID, rig_now(&f->rig));
}

static void want(struct fixture *f, uint64_t epoch)
{
    for (int i = 0; i < 20; i++)
        ask(f, epoch);
}

static void get(struct fixture *f, uint64_t epoch)
{
    UNTIL(&f->rig, (ask(f, epoch), seen(f).epoch == epoch));
}

static void first_of_all__made(void **state)
{
    struct fixture *f = *state;

    get(f, 1);
    assert_string_equal(f->rig.wrote, "POST ");
    assert_int_equal(seen(f).epoch, 1);
    assert_true(seen(f).has_record);
    assert_int_equal(seen(f).system_id, SYSTEM_ID);
}

static void each_step__written_once(void **state)
{
    struct fixture *f = *state;

    get(f, 1);
    get(f, 2);
    want(f, 2);
    want(f, 1); /* nothing goes back */
    assert_string_equal(f->rig.wrote, "POST PATCH ");
    assert_string_equal(f->epoch, "\"2\"");
    assert_int_equal(seen(f).record.epoch, 2);
}

static void changed_by_another_meanwhile__read_and_written_again(void **state)
{
    struct fixture *f = *state;

    get(f, 1);
    f->changed_by_others = 1;
    get(f, 2);
    assert_string_equal(f->rig.wrote, "POST PATCH PATCH ");
}

static void made_by_another_meanwhile__read_and_written_again(void **state)
{
    struct fixture *f = *state;

    f->changed_by_others = 1;
    get(f, 1);
    assert_string_equal(f->rig.wrote, "POST PATCH ");
}

static void refused__again_after_half_a_second(void **state)
{
    struct fixture *f = *state;
    int64_t began = clock_boot_ms();

    f->refuse = 403;
    want(f, 1);
    assert_in_range(f->writes, 1, 1 + (uint64_t)(clock_boot_ms() - began) / 500);
    f->refuse = 0;
    f->rig.ahead_ms += 500;
    get(f, 1);
}

static void changed_by_a_webhook__asked_no_more_than_twice_a_second(void **state)
{
    struct fixture *f = *state;
    int64_t began = clock_boot_ms();

    f->mutate = true;
    want(f, 1);
    assert_in_range(f->writes, 1, 1 + (uint64_t)(clock_boot_ms() - began) / 500);
    f->mutate = false;
    f->rig.ahead_ms += 500;
    get(f, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(first_of_all__made),
        T(each_step__written_once),
        T(changed_by_another_meanwhile__read_and_written_again),
        T(made_by_another_meanwhile__read_and_written_again),
        T(refused__again_after_half_a_second),
        T(changed_by_a_webhook__asked_no_more_than_twice_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
