/* What a failover could lose, counted from a view made by hand: three voters, one confirmation asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hactl/loss.h"

static struct cluster_view view;
static struct loss loss;

static int three(void **state)
{
    (void)state;
    memset(&view, 0, sizeof(view));
    view.n = view.record.n = 3;
    view.has_record = view.any_live = true;
    view.record.w = 1;
    for (unsigned i = 0; i < 3; i++) {
        struct member_view *m = &view.m[i];
        struct record_member *line = &view.record.m[i];
        (void)snprintf(m->name, sizeof(m->name), "pg-%u", i);
        (void)snprintf(line->name.s, sizeof(line->name.s), "pg-%u", i);
        (void)snprintf(m->volume, sizeof(m->volume), "%016x", 0xa0 + i);
        line->volume = 0xa0 + i;
        line->in_v = true;
        line->flushed = (struct position){4, 1000};
        m->source = SOURCE_LIVE;
        m->timeline = 4;
        m->lsn = 1000;
    }
    return 0;
}

static void look(size_t target)
{
    loss_look(&view, &view.m[target], &loss);
}

static void loss__all_report_and_are_equal__nothing(void **state)
{
    (void)state;
    look(1);
    assert_true(loss.known && loss.more == NULL && !loss.older);
    assert_int_equal(loss.voters, 3);
    assert_int_equal(loss.needed, 2);
    assert_int_equal(loss.answer, 3);
    assert_int_equal(loss.bytes, 0);
    assert_string_equal(loss.absent, "");
}

static void loss__silent_replaced_or_rolled_back__no_reports(void **state)
{
    (void)state;
    view.m[0].source = SOURCE_PUBLISHED;
    view.record.m[0].flushed.lsn = 1224;
    (void)snprintf(view.m[2].volume, sizeof(view.m[2].volume), "%016x", 0xffu);
    look(1);
    assert_int_equal(loss.answer, 1);
    assert_string_equal(loss.absent, "pg-0 pg-2(replaced)");
    assert_int_equal(loss.bytes, 224);
    assert_null(loss.more);
    view.record.m[1].flushed.lsn = 1100; /* the target itself has less than it once had */
    look(1);
    assert_int_equal(loss.answer, 0);
    assert_string_equal(loss.absent, "pg-0 pg-1(rolled-back) pg-2(replaced)");
    view.m[1].lsn = 0;
    look(0);
    assert_string_equal(loss.absent, "pg-0 pg-1(no-position) pg-2(replaced)");
}

static void loss__promoted_by_hand__no_report_and_no_target(void **state)
{
    (void)state;
    view.record.timeline = 4;
    view.m[2].timeline = 5;
    view.m[2].lsn = 2000;
    look(1);
    assert_int_equal(loss.answer, 2);
    assert_string_equal(loss.absent, "pg-2(promoted-by-hand)");
    assert_null(loss.more); /* it has more, of no epoch */
    assert_false(loss.by_hand);
    look(2);
    assert_true(loss.by_hand);
    view.record.timeline = 6; /* its number counts as used, and its line is marked */
    view.record.m[2].flushed = (struct position){5, UINT64_MAX};
    look(1);
    assert_string_equal(loss.absent, "pg-2(promoted-by-hand)");
    assert_int_equal(loss.bytes, 0);
    look(2);
    assert_false(loss.by_hand); /* an order may name it */
}

static void loss__target_with_another_volume__a_stranger(void **state)
{
    (void)state;
    look(2);
    assert_false(loss.stranger);
    (void)snprintf(view.m[2].volume, sizeof(view.m[2].volume), "%016x", 0xffu);
    look(2);
    assert_true(loss.stranger);
    view.m[2].source = SOURCE_PUBLISHED; /* what it has now is not known */
    look(2);
    assert_false(loss.stranger);
}

static void loss__a_voter_that_answers_has_more__named(void **state)
{
    (void)state;
    view.m[0].lsn = 1100;
    view.m[2].lsn = 1200;
    look(1);
    assert_ptr_equal(loss.more, &view.m[2]);
    assert_int_equal(loss.bytes, 200);
    view.m[0].timeline = 5;
    look(1);
    assert_ptr_equal(loss.more, &view.m[0]);
    assert_true(loss.older);
    view.record.m[0].in_v = view.record.m[2].in_v = false; /* nobody was promised what they have */
    look(1);
    assert_null(loss.more);
    assert_int_equal(loss.voters, 1);
}

static void loss__nobody_answers_or_no_record__not_known(void **state)
{
    (void)state;
    view.any_live = false;
    look(1);
    assert_false(loss.known);
    view.any_live = true;
    view.has_record = false;
    look(1);
    assert_false(loss.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(loss__all_report_and_are_equal__nothing, three),
        cmocka_unit_test_setup(loss__silent_replaced_or_rolled_back__no_reports, three),
        cmocka_unit_test_setup(loss__promoted_by_hand__no_report_and_no_target, three),
        cmocka_unit_test_setup(loss__target_with_another_volume__a_stranger, three),
        cmocka_unit_test_setup(loss__a_voter_that_answers_has_more__named, three),
        cmocka_unit_test_setup(loss__nobody_answers_or_no_record__not_known, three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
