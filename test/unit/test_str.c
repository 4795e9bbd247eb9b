#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/str.h"

static void str_copy__room__exact_or_refused(void **state)
{
    (void)state;
    char d[4] = "zzz";
    assert_true(str_copy(d, sizeof(d), "abc"));
    assert_string_equal(d, "abc");
    assert_false(str_copy(d, sizeof(d), "abcd"));
    assert_string_equal(d, "");
    assert_false(str_copy(d, 0, ""));
    assert_true(str_copy(d, 1, ""));
    char s[8] = "abcdef";
    assert_true(str_copy(s, sizeof(s), s + 2));
    assert_string_equal(s, "cdef");
}

static void str_format__room__exact_or_refused(void **state)
{
    (void)state;
    char d[4];
    assert_true(str_format(d, sizeof(d), "%d", 123));
    assert_string_equal(d, "123");
    assert_false(str_format(d, sizeof(d), "%d", 1234));
    assert_string_equal(d, "");
}

static void str_compare__prefix_suffix_null(void **state)
{
    (void)state;
    assert_true(str_eq("a", "a"));
    assert_false(str_eq("a", "b"));
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_true(str_starts("abc", "ab"));
    assert_true(str_starts("abc", ""));
    assert_false(str_starts("ab", "abc"));
    assert_true(str_ends("abc", "bc"));
    assert_true(str_ends("abc", ""));
    assert_false(str_ends("bc", "abc"));
    assert_false(str_ends("abd", "bc"));
}

static void str_to_i64__table(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        int64_t min, max;
        bool ok;
        int64_t value;
    } cases[] = {
        {"0", 0, 10, true, 0},
        {"-0", -1, 10, true, 0},
        {"10", 0, 10, true, 10},
        {"11", 0, 10, false, 0},
        {"-1", 0, 10, false, 0},
        {"007", 0, 10, true, 7},
        {"9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX},
        {"9223372036854775808", INT64_MIN, INT64_MAX, false, 0},
        {"-9223372036854775808", INT64_MIN, INT64_MAX, true, INT64_MIN},
        {"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0},
        {"99999999999999999999", INT64_MIN, INT64_MAX, false, 0},
        {"", 0, 10, false, 0},
        {"-", -5, 10, false, 0},
        {"+1", 0, 10, false, 0},
        {" 1", 0, 10, false, 0},
        {"1 ", 0, 10, false, 0},
        {"1a", 0, 10, false, 0},
        {"0x1", 0, 10, false, 0},
        {"--1", -5, 10, false, 0},
        {NULL, 0, 10, false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t v = 4711;
        bool ok = str_to_i64(cases[i].s, cases[i].min, cases[i].max, &v);
        if (ok != cases[i].ok || v != (cases[i].ok ? cases[i].value : 4711))
            fail_msg("case %zu: \"%s\"", i, cases[i].s ? cases[i].s : "NULL");
    }
}

static void str_to_hex64__table(void **state)
{
    (void)state;
    uint64_t v = 9;
    assert_true(str_to_hex64("0", &v));
    assert_int_equal(v, 0);
    assert_true(str_to_hex64("aBcDeF0123456789", &v));
    assert_true(v == UINT64_C(0xabcdef0123456789));
    assert_true(str_to_hex64("ffffffffffffffff", &v));
    assert_true(v == UINT64_MAX);
    v = 9;
    static const char *const bad[] = {"", "00000000000000001", "g", "0x1", " 1", "-1", "1/", NULL};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(str_to_hex64(bad[i], &v));
    assert_int_equal(v, 9);
}

static void str_microtime__known_instants(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(951782399) * 1000000 + 5, "2000-02-28T23:59:59.000005Z"},
        {INT64_C(951782400) * 1000000, "2000-02-29T00:00:00.000000Z"},
        {INT64_C(1709251199) * 1000000 + 999999, "2024-02-29T23:59:59.999999Z"},
        {INT64_C(4107542400) * 1000000, "2100-03-01T00:00:00.000000Z"},
        {INT64_C(253402300799) * 1000000, "9999-12-31T23:59:59.000000Z"},
    };
    char d[40];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(str_microtime(d, sizeof(d), cases[i].us));
        assert_string_equal(d, cases[i].text);
    }
    assert_false(str_microtime(d, sizeof(d), INT64_C(253402300800) * 1000000));
    assert_string_equal(d, "");
    assert_false(str_microtime(d, 27, 0));
    assert_true(str_microtime(d, 28, 0));
}

static void str_microtime__every_day_of_three_centuries__as_libc(void **state)
{
    (void)state;
    for (int64_t day = -36525; day < 73050; day++) {
        time_t t = (time_t)(day * 86400 + 3661);
        struct tm tm;
        char want[40], got[40];
        assert_non_null(gmtime_r(&t, &tm));
        strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000042Z", &tm);
        assert_true(str_microtime(got, sizeof(got), (int64_t)t * 1000000 + 42));
        assert_string_equal(got, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_copy__room__exact_or_refused),
        cmocka_unit_test(str_format__room__exact_or_refused),
        cmocka_unit_test(str_compare__prefix_suffix_null),
        cmocka_unit_test(str_to_i64__table),
        cmocka_unit_test(str_to_hex64__table),
        cmocka_unit_test(str_microtime__known_instants),
        cmocka_unit_test(str_microtime__every_day_of_three_centuries__as_libc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
