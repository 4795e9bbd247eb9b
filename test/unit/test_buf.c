#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

static void buf__appends__concatenated_and_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_string_equal(buf_str(&b), "");
    assert_true(buf_puts(&b, "ab"));
    assert_true(buf_put(&b, "c\0d", 3));
    assert_true(buf_printf(&b, "%03d", 7));
    assert_int_equal(b.len, 8);
    assert_memory_equal(b.data, "abc\0d007", 9);
    buf_done(&b);
    assert_null(b.data);
    buf_done(&b);
}

static void buf__exactly_max__fits(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_true(buf_puts(&b, "12345"));
    assert_false(b.overflow);
    assert_true(buf_put(&b, "", 0));
    assert_false(buf_puts(&b, "6"));
    assert_true(b.overflow);
    assert_string_equal(buf_str(&b), "12345");
    buf_done(&b);
}

static void buf__too_much__nothing_is_appended(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    assert_true(buf_puts(&b, "123"));
    assert_false(buf_printf(&b, "%s", "456789"));
    assert_true(b.overflow);
    assert_string_equal(buf_str(&b), "123");
    buf_clear(&b);
    assert_false(b.overflow);
    assert_string_equal(buf_str(&b), "");
    assert_true(buf_puts(&b, "12345678"));
    buf_done(&b);
}

static void buf__max_zero__only_nothing_fits(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_true(buf_puts(&b, ""));
    assert_false(buf_puts(&b, "x"));
    buf_done(&b);
}

static void buf__grows_in_steps__content_kept(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10000);
    for (int i = 0; i < 10000; i++)
        assert_true(buf_put(&b, &"0123456789"[i % 10], 1));
    assert_int_equal(b.len, 10000);
    assert_int_equal(b.data[9999], '9');
    assert_int_equal(b.data[10000], 0);
    buf_done(&b);
}

static void buf_consume__part_all_and_more__rest_stays(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_consume(&b, 3);
    buf_puts(&b, "abcdef");
    buf_consume(&b, 2);
    assert_string_equal(buf_str(&b), "cdef");
    buf_consume(&b, 100);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_str(&b), "");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf__appends__concatenated_and_terminated),
        cmocka_unit_test(buf__exactly_max__fits),
        cmocka_unit_test(buf__too_much__nothing_is_appended),
        cmocka_unit_test(buf__max_zero__only_nothing_fits),
        cmocka_unit_test(buf__grows_in_steps__content_kept),
        cmocka_unit_test(buf_consume__part_all_and_more__rest_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
