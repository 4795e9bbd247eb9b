/* The file of the members' addresses: what is not as written is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "agent/addresses.h"
#include "base/str.h"

static void text__round_trip__same(void **state)
{
    (void)state;
    struct addresses x = {.n = 2}, y;
    struct buf b;
    buf_init(&b, 8192);
    assert_true(str_copy(x.v[0].name.s, sizeof x.v[0].name.s, "pg-0"));
    assert_true(str_copy(x.v[0].ip, sizeof x.v[0].ip, "10.1.2.3"));
    assert_true(str_copy(x.v[1].name.s, sizeof x.v[1].name.s, "pg-1"));
    assert_true(str_copy(x.v[1].ip, sizeof x.v[1].ip, "fd00::1"));
    assert_true(addresses_format(&x, &b));
    assert_string_equal(buf_str(&b), "pghad-addresses 1\npg-0 10.1.2.3\npg-1 fd00::1\n");
    assert_true(addresses_parse(buf_str(&b), &y));
    assert_int_equal(y.n, 2);
    assert_string_equal(y.v[1].name.s, "pg-1");
    assert_string_equal(y.v[1].ip, "fd00::1");
    buf_done(&b);
}

static void text__every_truncation__refused_or_shorter(void **state)
{
    (void)state;
    static const char whole[] = "pghad-addresses 1\npg-0 10.1.2.3\npg-1 10.1.2.4\n";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char cut[sizeof whole];
        struct addresses y;
        memcpy(cut, whole, n);
        cut[n] = '\0';
        bool line_end = n >= strlen("pghad-addresses 1\n") && whole[n - 1] == '\n';
        assert_int_equal(addresses_parse(cut, &y), line_end);
    }
}

static void text__damaged__refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "pghad-addresses 2\n", "pghad-addresses 1\npg-0\n", "pghad-addresses 1\n 10.0.0.1\n",
        "pghad-addresses 1\npg-0 localhost\n", "pghad-addresses 1\npg-0 10.0.0.1 \n",
        "pghad-addresses 1\npg-0 10.0.0.1:80\n", "pghad-addresses 1\n\n",
        "pghad-addresses 1\npg-0 10.0.0.1/peer?\n",
    };
    struct addresses y;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(addresses_parse(bad[i], &y));
    struct buf many;
    buf_init(&many, 2048);
    buf_puts(&many, "pghad-addresses 1\n");
    for (int i = 0; i <= HA_MEMBERS_MAX; i++) {
        assert_int_equal(addresses_parse(buf_str(&many), &y), true);
        buf_puts(&many, "pg-0 10.0.0.1\n");
    }
    assert_false(addresses_parse(buf_str(&many), &y));
    buf_done(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text__round_trip__same),
        cmocka_unit_test(text__every_truncation__refused_or_shorter),
        cmocka_unit_test(text__damaged__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
