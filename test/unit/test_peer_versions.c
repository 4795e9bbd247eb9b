/* The peer protocol between releases: what a released member sends is understood, what it reads is sent,
 * and what comes from a later one is understood as far as we know it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "http/peer.h"

/* Messages exactly as each version has sent them. Never edited: a line is added with each version, and
 * one is taken away when no member of that release can be left. */
struct released {
    int version;
    const char *request, *state;
};

static const struct released released[] = {
    {1,
     "{\"v\":1,\"ask\":\"vote\",\"name\":\"pg-1\",\"uid\":\"11111111-2222-3333-4444-555555555555\","
     "\"boot\":\"00000000000000b1\",\"epoch\":7,\"promise_ms\":5000}",
     "{\"v\":1,\"name\":\"pg-0\",\"uid\":\"u\",\"boot\":\"0000000000000001\",\"volume\":"
     "\"fedcba9876543210\",\"system_id\":\"66de8c5b5a7f1e13\",\"data\":\"ok\",\"process\":\"running\","
     "\"in_recovery\":\"yes\",\"timeline\":4,\"lsn\":84157040,\"durable_epoch\":9,\"frozen_epoch\":8,"
     "\"refused_epoch\":7,\"promised_epoch\":6,\"promise_ms\":10000,\"record_epoch\":5,"
     "\"record_rev\":4,\"lease_epoch\":3,\"streams_from\":\"0000000000000002\",\"nofailover\":true,"
     "\"paused\":true,\"priority\":255,\"written_ago_ms\":123456789,\"write_end\":\"crash\",\"rule\":"
     "\"follow\"}"},
    {2,
     "{\"v\":2,\"ask\":\"vote\",\"name\":\"pg-1\",\"uid\":\"11111111-2222-3333-4444-555555555555\","
     "\"boot\":\"00000000000000b1\",\"epoch\":7,\"promise_ms\":5000}",
     "{\"v\":2,\"name\":\"pg-0\",\"uid\":\"u\",\"boot\":\"0000000000000001\",\"volume\":"
     "\"fedcba9876543210\",\"system_id\":\"66de8c5b5a7f1e13\",\"data\":\"ok\",\"process\":\"running\","
     "\"in_recovery\":\"yes\",\"timeline\":4,\"lsn\":84157040,\"durable_epoch\":9,\"frozen_epoch\":8,"
     "\"refused_epoch\":7,\"promised_epoch\":6,\"promise_ms\":10000,\"record_epoch\":5,"
     "\"record_rev\":4,\"lease_epoch\":3,\"streams_from\":\"0000000000000002\",\"nofailover\":true,"
     "\"paused\":true,\"priority\":255,\"written_ago_ms\":123456789,\"write_end\":\"crash\","
     "\"writer_silent_ms\":1499,\"rule\":\"follow\"}"},
};
#define COUNT (sizeof(released) / sizeof(released[0]))

static const struct peer_request request = {
    .ask = PEER_VOTE,
    .from = {.name = {"pg-1"}, .uid = "11111111-2222-3333-4444-555555555555", .boot = 0xb1},
    .epoch = 7,
    .promise_ms = 5000,
};

static const struct peer_state full = {
    .id = {.name = {"pg-0"}, .uid = "u", .boot = 1},
    .volume = 0xfedcba9876543210,
    .system_id = 0x66de8c5b5a7f1e13,
    .data = DATA_OK,
    .process = PG_RUNNING,
    .in_recovery = TRI_YES,
    .position = {.timeline = 4, .lsn = 84157040},
    .durable_epoch = 9,
    .frozen_epoch = 8,
    .refused_epoch = 7,
    .promised_epoch = 6,
    .promise_ms = 10000,
    .record_epoch = 5,
    .record_rev = 4,
    .lease_epoch = 3,
    .streams_from = 2,
    .nofailover = true,
    .paused = true,
    .priority = 255,
    .written_ago_ms = 123456789,
    .write_end = WRITE_END_CRASH,
    .writer_silent_ms = 1499,
    .rule = {"follow"},
};

static struct json_object *parse(const char *text)
{
    struct json_object *o = json_tokener_parse(text);

    assert_non_null(o);
    return o;
}

/* Every field of the released message but its version is there with the same value. */
static void assert_says_all(const char *now, const char *then)
{
    struct json_object *a = parse(now), *b = parse(then), *have;

    struct json_object_iterator end = json_object_iter_end(b);
    for (struct json_object_iterator it = json_object_iter_begin(b); !json_object_iter_equal(&it, &end);
         json_object_iter_next(&it)) {
        const char *key = json_object_iter_peek_name(&it);
        if (strcmp(key, "v") == 0)
            continue;
        if (!json_object_object_get_ex(a, key, &have) || !json_object_equal(have, json_object_iter_peek_value(&it)))
            fail_msg("a released member misses %s", key);
    }
    json_object_put(a);
    json_object_put(b);
}

static void released_member__is_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        struct peer_request q;
        struct peer_state s;
        struct err e = {0};
        if (!peer_request_decode(released[i].request, strlen(released[i].request), &q, &e) ||
            !peer_state_decode(released[i].state, strlen(released[i].state), &s, &e))
            fail_msg("version %d: %s", released[i].version, e.msg);
        assert_int_equal(q.ask, PEER_VOTE);
        assert_int_equal(q.epoch, 7);
        assert_int_equal(s.frozen_epoch, 8);
        assert_int_equal(s.position.lsn, 84157040);
        assert_true(s.paused && s.nofailover);
    }
}

static void released_member__understands(void **state)
{
    struct buf q, s;

    (void)state;
    buf_init(&q, PEER_BODY_MAX);
    buf_init(&s, PEER_BODY_MAX);
    assert_true(peer_request_encode(&request, &q) && peer_state_encode(&full, &s));
    for (size_t i = 0; i < COUNT; i++) {
        assert_says_all(buf_str(&q), released[i].request);
        assert_says_all(buf_str(&s), released[i].state);
    }
    buf_done(&q);
    buf_done(&s);
}

/* As a release to come may send it: a higher number, more fields. */
static void later_member__is_understood(void **state)
{
    struct peer_request q;
    struct peer_state s;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct json_object *o = parse(i == 0 ? released[COUNT - 1].request : released[COUNT - 1].state);
        json_object_object_add(o, "v", json_object_new_int(3));
        json_object_object_add(o, "later", json_object_new_array());
        const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        bool ok = i == 0 ? peer_request_decode(text, strlen(text), &q, &e)
                         : peer_state_decode(text, strlen(text), &s, &e);
        if (!ok)
            fail_msg("%s", e.msg);
        json_object_put(o);
    }
    assert_int_equal(q.epoch, 7);
    assert_int_equal(s.durable_epoch, 9);
}

/* The way in which a release can refuse to be understood: a field that others need is left out. */
static void later_member_without_a_field__is_refused(void **state)
{
    struct json_object *o = parse(released[COUNT - 1].state);
    struct peer_state s;
    struct err e = {0};

    (void)state;
    json_object_object_add(o, "v", json_object_new_int(3));
    json_object_object_del(o, "frozen_epoch");
    const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    assert_false(peer_state_decode(text, strlen(text), &s, &e));
    assert_non_null(strstr(e.msg, "frozen_epoch"));
    json_object_put(o);
}

/* The newest version is in the table, or the next release forgets to understand this one. */
static void present_version__is_in_the_table(void **state)
{
    struct buf b;
    struct json_object *o, *v;

    (void)state;
    buf_init(&b, PEER_BODY_MAX);
    assert_true(peer_state_encode(&full, &b));
    o = parse(buf_str(&b));
    assert_true(json_object_object_get_ex(o, "v", &v));
    assert_int_equal(json_object_get_int(v), released[COUNT - 1].version);
    assert_string_equal(buf_str(&b), released[COUNT - 1].state);
    json_object_put(o);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_member__is_understood),
        cmocka_unit_test(released_member__understands),
        cmocka_unit_test(later_member__is_understood),
        cmocka_unit_test(later_member_without_a_field__is_refused),
        cmocka_unit_test(present_version__is_in_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
