/* Intents, results and history: what is written is read back, and nothing else is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kube/intent.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct intent full = {
    .id = 0xfedcba9876543210,
    .kind = INTENT_FAILOVER,
    .epoch = 7,
    .created_s = 1763700000,
    .expires_s = 1763700060,
    .target = {"demo-1"},
    .force = true,
    .created_by = "ann \"the\" dba@desk",
};

/* Encodes again and compares texts: padding bytes of structs mean nothing. */
static void assert_same_text(bool encoded, struct buf *again, const struct buf *first)
{
    assert_true(encoded);
    assert_string_equal(buf_str(again), buf_str(first));
    buf_done(again);
}

static void intent__round_trip__equal(void **state)
{
    struct intent got;
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, INTENT_JSON_MAX);
    assert_true(intent_encode(&full, &b));
    assert_null(strchr(buf_str(&b), '\n'));
    assert_true(intent_decode(b.data, b.len, &got, &e));
    struct buf again;
    buf_init(&again, INTENT_JSON_MAX);
    assert_same_text(intent_encode(&got, &again), &again, &b);
    assert_true(got.id == full.id && got.expires_s == full.expires_s);
    assert_string_equal(got.target.s, "demo-1");
    assert_string_equal(got.created_by, full.created_by);
    assert_non_null(strstr(buf_str(&b), "\"id\":\"fedcba9876543210\""));
    buf_done(&b);
}

static void intent__buffer_too_small__refused(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 40);
    assert_false(intent_encode(&full, &b));
    buf_done(&b);
}

static void intent__kind_out_of_range__not_encoded(void **state)
{
    struct intent in = full;
    struct buf b;

    (void)state;
    in.kind = (enum intent_kind)99;
    buf_init(&b, INTENT_JSON_MAX);
    assert_false(intent_encode(&in, &b));
    buf_done(&b);
}

#define GOOD "\"id\":\"1\",\"kind\":\"switchover\",\"epoch\":3,\"created\":10,\"expires\":20"

static void intent__bad_text__refused_with_key(void **state)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"", "incomplete"},
        {"{" GOOD, "incomplete"},
        {"{" GOOD "} x", "not JSON"},
        {"{" GOOD "}{}", "not JSON"},
        {"[]", "not a JSON object"},
        {"null", "intent"},
        {"{" GOOD ",\"surprise\":1}", "unknown key \"surprise\""},
        {"{\"kind\":\"switchover\",\"epoch\":3,\"created\":10,\"expires\":20}", "id: missing"},
        {"{" GOOD ",\"force\":1}", "force: must be true or false"},
        {"{" GOOD ",\"target\":5}", "target: must be a string"},
        {"{" GOOD ",\"target\":\"a b\"}", "not a member's name"},
        {"{" GOOD ",\"target\":\"a\\u0000b\"}", "contains a NUL"},
        {"{" GOOD ",\"target\":\"a123456789a123456789a123456789a123456789a123456789a123456789abcd"
         "\"}",
         "not a member's name"},
        {"{" GOOD ",\"epoch\":-1}", "epoch: must be between"},
        {"{" GOOD ",\"epoch\":2147483648}", "epoch: must be between"},
        {"{" GOOD ",\"epoch\":99999999999999999999999}", "epoch: must be between"},
        {"{" GOOD ",\"epoch\":1.5}", "epoch: must be an integer"},
        {"{" GOOD ",\"epoch\":\"3\"}", "epoch: must be an integer"},
        {"{" GOOD ",\"kind\":\"reboot\"}", "kind: unknown word"},
        {"{" GOOD ",\"id\":\"0\"}", "id: must not be none"},
        {"{" GOOD ",\"id\":\"xyz\"}", "id: \"xyz\" is not hexadecimal"},
        {"{" GOOD ",\"kind\":\"none\"}", "kind: must not be none"},
        {"{" GOOD ",\"kind\":\"failover\"}", "target: missing for failover"},
        {"{" GOOD ",\"kind\":\"reinit\"}", "target: missing for reinit"},
        {"{" GOOD ",\"by\":[[[[[[1]]]]]]}", "not JSON"},
    };
    struct intent got, untouched;
    struct err e;

    (void)state;
    memset(&got, 0x5a, sizeof(got));
    memset(&untouched, 0x5a, sizeof(untouched));
    for (size_t i = 0; i < COUNT(cases); i++) {
        e = (struct err){0};
        assert_false(intent_decode(cases[i].json, strlen(cases[i].json), &got, &e));
        assert_int_equal(e.kind, ERR_INVALID);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].json, e.msg, cases[i].says);
        assert_memory_equal(&got, &untouched, sizeof(got));
    }
}

static void intent__huge_text__refused(void **state)
{
    char big[INTENT_JSON_MAX + 100];
    struct intent got;
    struct err e;

    (void)state;
    memset(big, ' ', sizeof(big));
    assert_false(intent_decode(big, sizeof(big), &got, &e));
    assert_non_null(strstr(e.msg, "longer than"));
}

static void intent__every_prefix_of_a_good_one__refused(void **state)
{
    static const char good[] = "{" GOOD "}";
    struct intent got;
    struct err e;

    (void)state;
    assert_true(intent_decode(good, strlen(good), &got, &e));
    for (size_t n = 0; n < strlen(good); n++)
        assert_false(intent_decode(good, n, &got, &e));
}

static void result__round_trip__equal(void **state)
{
    struct intent_result r, got;
    struct buf b;
    struct err e;

    (void)state;
    intent_result_init(&r, &full);
    assert_int_equal(r.phase_ms[PHASE_STOP], -1);
    r.state = INTENT_DONE;
    r.phase = PHASE_FIRST_WRITE;
    r.updated_s = 1763700001;
    r.phase_ms[PHASE_PREFLIGHT] = 0;
    r.phase_ms[PHASE_STOP] = 41;
    r.phase_ms[PHASE_FIRST_WRITE] = 7;
    r.total_ms = 300;
    r.write_gap_ms = 120;
    strncat(r.primary.s, "demo-1", 10);
    strncat(r.message, "line\nwith \\ and \"", 100);
    buf_init(&b, INTENT_JSON_MAX);
    assert_true(intent_result_encode(&r, &b));
    assert_true(intent_result_decode(b.data, b.len, &got, &e));
    struct buf again;
    buf_init(&again, INTENT_JSON_MAX);
    assert_same_text(intent_result_encode(&got, &again), &again, &b);
    assert_string_equal(got.message, r.message);
    assert_non_null(
        strstr(buf_str(&b), "\"phases_ms\":{\"preflight\":0,\"stop\":41,\"first-write\":7}"));
    buf_done(&b);
}

static void result__every_word__round_trip(void **state)
{
    struct intent_result r, got;
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, INTENT_JSON_MAX);
    for (unsigned k = INTENT_NONE; k <= INTENT_RELOAD; k++) {
        for (unsigned st = INTENT_STATE_NONE; st <= INTENT_REFUSED; st++) {
            for (unsigned p = 0; p < PHASE_COUNT; p++) {
                intent_result_init(&r, &full);
                r.kind = (enum intent_kind)k;
                r.state = (enum intent_state)st;
                r.phase = (enum intent_phase)p;
                buf_clear(&b);
                assert_true(intent_result_encode(&r, &b));
                assert_true(intent_result_decode(b.data, b.len, &got, &e));
                assert_true(got.kind == r.kind && got.state == r.state && got.phase == r.phase);
            }
        }
    }
    buf_done(&b);
    assert_null(intent_phase_name(PHASE_COUNT));
}

#define RESULT                                                                                     \
    "\"id\":\"1\",\"kind\":\"restart\",\"state\":\"done\",\"phase\":\"start\",\"updated\":1"

static void result__bad_phases__refused(void **state)
{
    static const char *const cases[] = {
        "{" RESULT ",\"phases_ms\":[]}",          "{" RESULT ",\"phases_ms\":{\"jump\":1}}",
        "{" RESULT ",\"phases_ms\":{\"stop\":-1}}", "{" RESULT ",\"phases_ms\":{\"stop\":3e9}}",
        "{" RESULT ",\"total_ms\":-2}",           "{" RESULT ",\"total_ms\":2147483648}",
    };
    struct intent_result got;
    struct err e;

    (void)state;
    assert_true(intent_result_decode("{" RESULT "}", strlen("{" RESULT "}"), &got, &e));
    assert_int_equal(got.total_ms, -1);
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_false(intent_result_decode(cases[i], strlen(cases[i]), &got, &e));
}

static void history__round_trip__equal(void **state)
{
    struct history_entry h = {.time_s = 1763700001,
                              .epoch = 8,
                              .timeline = 4,
                              .lsn = 0x1A000000028,
                              .cause = "failover",
                              .from = {"demo-0"},
                              .to = {"demo-1"},
                              .write_gap_ms = -1,
                              .lost_bytes = 0,
                              .reason = "the Lease was not renewed for 10 s"};
    struct history_entry got;
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, INTENT_JSON_MAX);
    assert_true(history_encode(&h, &b));
    assert_non_null(strstr(buf_str(&b), "\"lsn\":\"1A0/28\""));
    assert_true(history_decode(b.data, b.len, &got, &e));
    struct buf again;
    buf_init(&again, INTENT_JSON_MAX);
    assert_same_text(history_encode(&got, &again), &again, &b);
    assert_true(got.lsn == h.lsn && got.lost_bytes == 0 && got.write_gap_ms == -1);
    buf_done(&b);
}

static void open__by_epoch_expiry_and_state(void **state)
{
    static const struct {
        const char *what;
        bool same_id;
        enum intent_state st;
        uint64_t epoch;
        int64_t now_s;
        bool open;
    } cases[] = {
        {"nobody has seen it", false, INTENT_STATE_NONE, 7, 1763700010, true},
        {"another epoch: a new leader never begins it", false, INTENT_STATE_NONE, 8, 1763700010,
         false},
        {"expired", false, INTENT_STATE_NONE, 7, 1763700060, false},
        {"the result of an older one says nothing", false, INTENT_DONE, 7, 1763700010, true},
        {"accepted", true, INTENT_ACCEPTED, 7, 1763700010, true},
        {"running, and it has changed the epoch itself", true, INTENT_RUNNING, 8, 1763700010, true},
        {"running for ever does not block for ever", true, INTENT_RUNNING, 8, 1763700060, false},
        {"done", true, INTENT_DONE, 7, 1763700010, false},
        {"failed", true, INTENT_FAILED, 7, 1763700010, false},
        {"refused", true, INTENT_REFUSED, 7, 1763700010, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct intent_result r = {.id = cases[i].same_id ? full.id : 1, .state = cases[i].st};
        if (intent_open(&full, &r, cases[i].epoch, cases[i].now_s) != cases[i].open)
            fail_msg("%s", cases[i].what);
    }
    assert_false(intent_open(&(struct intent){0}, &(struct intent_result){0}, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intent__round_trip__equal),
        cmocka_unit_test(intent__buffer_too_small__refused),
        cmocka_unit_test(intent__kind_out_of_range__not_encoded),
        cmocka_unit_test(intent__bad_text__refused_with_key),
        cmocka_unit_test(intent__huge_text__refused),
        cmocka_unit_test(intent__every_prefix_of_a_good_one__refused),
        cmocka_unit_test(result__round_trip__equal),
        cmocka_unit_test(result__every_word__round_trip),
        cmocka_unit_test(result__bad_phases__refused),
        cmocka_unit_test(history__round_trip__equal),
        cmocka_unit_test(open__by_epoch_expiry_and_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
