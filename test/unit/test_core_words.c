/* Names, lists and texts that others read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void names__whole_fields_and_lists(void **state)
{
    (void)state;
    struct ha_name a, b;
    memset(&a, 'x', sizeof a);
    b = a;
    assert_true(name_eq(&a, &b)); /* no NUL within the field */
    b.s[HA_NAME_SIZE - 1] = 'y';
    assert_false(name_eq(&a, &b));
    struct record r = three();
    a = name_of(2);
    assert_ptr_equal(record_find_name(&r, &a), &r.m[2]);
    a = name_of(3);
    assert_null(record_find_name(&r, &a));
    struct ssn s = ssn_of_record(&r, A, true, REPL_QUORUM);
    assert_true(ssn_has(&s, B) && ssn_has(&s, C));
    assert_false(ssn_has(&s, A));
}

static void words__end_where_the_tables_end(void **state)
{
    (void)state;
    assert_string_equal(effect_name(0), "lease-get");
    assert_string_equal(effect_name(28), "alarm");
    assert_string_equal(effect_name(29), "?");
    assert_string_equal(fact_name(FACT_BIT_OVERDUE), "OVERDUE");
    assert_string_equal(fact_name(FACT_COUNT), "?");
    assert_string_not_equal(fact_text(FACT_BIT_OVERDUE), "?");
    assert_string_equal(fact_text(FACT_COUNT), "?");
    static const char *const kinds[] = {"", "create", "renew", "acquire", "takeover", "writer", "adopt",
                                        "release", "?"};
    for (int i = 0; i < 9; i++)
        assert_string_equal(write_kind_name((enum write_kind)i), kinds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names__whole_fields_and_lists),
        cmocka_unit_test(words__end_where_the_tables_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
