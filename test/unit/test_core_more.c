/* The core in single turns, second part: cases that fuzzing and coverage have shown to be missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"
#include "core/record.h"

#define A 0xaaull
#define B 0xbbull

static struct record two(void)
{
    struct record r = {.epoch = 5, .rev = 3, .w = 1, .writer = A, .writer_epoch = 5, .timeline = 4};
    struct ha_name a = {"pg-0"}, b = {"pg-1"};
    record_add(&r, A, &a)->in_v = true;
    record_add(&r, B, &b)->in_v = true;
    return r;
}

static void ssn__more_confirmations_than_others__unsatisfiable(void **state)
{
    (void)state;
    struct record r = two();
    assert_int_equal(ssn_of_record(&r, A, true, REPL_QUORUM).kind, SSN_SET);
    r.w = 2;
    assert_int_equal(ssn_of_record(&r, A, true, REPL_QUORUM).kind, SSN_UNSATISFIABLE);
    assert_int_equal(ssn_of_record(&r, 0, false, REPL_QUORUM).kind, SSN_SET);
    r.n = 0;
    assert_int_equal(ssn_of_record(&r, A, true, REPL_QUORUM).kind, SSN_UNSATISFIABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ssn__more_confirmations_than_others__unsatisfiable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
