/* People are told whose report an election waits for, and why one that answers is of no use to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static const char *missing(struct scene *s)
{
    (void)rule(s);
    return s->d.waits_for;
}

static void nobody__where_all_report(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    assert_string_equal(missing(&s), "");
    s.v.lv.lease.record.m[2].in_v = false; /* has nothing to report for */
    stale(&s.v.peer[1]);
    assert_string_equal(missing(&s), "");
}

static void silent__named(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    stale(&s.v.peer[1]);
    assert_string_equal(missing(&s), "pg-2");
    s.v.peer[0].received_ms = 0;
    assert_string_equal(missing(&s), "pg-0 pg-2");
}

/* The candidate has asked for longer than an answer counts. */
static void asking(struct scene *s)
{
    electing(s);
    s->m.elected_ms = NOW - 2000;
}

static void answers_in_vain__named_with_the_reason(void **state)
{
    (void)state;
    struct scene s;
    asking(&s);
    struct peer_state *p = &s.v.peer[1].state;
    p->position.timeline = s.v.lv.lease.record.timeline + 1;
    assert_string_equal(missing(&s), "pg-2(promoted-by-hand)");
    s.v.lv.lease.record.timeline = 0; /* nothing was allocated yet */
    assert_string_equal(missing(&s), "");
    s.v.lv.lease.record.m[2].flushed = (struct position){p->position.timeline, UINT64_MAX};
    assert_string_equal(missing(&s), "pg-2(promoted-by-hand)");
    asking(&s);
    s.v.lv.lease.record.m[2].flushed.lsn = p->position.lsn + 1;
    assert_string_equal(missing(&s), "pg-2(rolled-back)");
    p->position = (struct position){0};
    assert_string_equal(missing(&s), "pg-2(no-position)");
    p->data = DATA_BROKEN;
    assert_string_equal(missing(&s), "pg-2(unusable)");
}

/* The writer has recorded what they confirmed after their last answers. */
static void younger_record__is_not_held_against_answers(void **state)
{
    (void)state;
    struct scene s;
    for (int i = 0; i < 2; i++) {
        at(&s, i);
        s.v.lv.lease.record.m[2].flushed.lsn = s.v.peer[1].state.position.lsn + 1;
        assert_string_equal(missing(&s), "");
    }
    electing(&s);
    s.v.lv.lease.record.m[2].flushed.lsn = s.v.peer[1].state.position.lsn + 1;
    assert_string_equal(missing(&s), "");
    expired(&s);
    s.v.lv.lease.record.m[2].flushed.lsn = s.v.peer[1].state.position.lsn + 1;
    assert_string_equal(missing(&s), "pg-0 pg-2(rolled-back)");
}

/* All were promoted by hand, one after the other: nobody else is there to say so. */
static void own_copy__named_like_any(void **state)
{
    (void)state;
    struct scene s;
    asking(&s);
    uint32_t by_hand = s.v.lv.lease.record.timeline + 1;
    s.v.pg.position.timeline = s.v.pg.local_timeline = by_hand;
    s.v.peer[0].state.position.timeline = s.v.peer[1].state.position.timeline = by_hand;
    assert_string_equal(missing(&s), "pg-0(promoted-by-hand) pg-1(promoted-by-hand) pg-2(promoted-by-hand)");
    s.v.pg.position = (struct position){0};
    assert_string_equal(missing(&s), "pg-0(promoted-by-hand) pg-2(promoted-by-hand)");
}

/* Without its record the election asks every voter of the highest copy: people must see which one is
 * missed, and that it is of no use to wait for one that came back with another volume. */
static void lost_record__asks_all_of_the_highest_copy(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 1);
    s.v.lv.lease = (struct lease){.exists = true, .fresh = true, .duration_s = 10};
    s.v.peer[0].received_ms = 0;
    s.v.peer[1].state.volume = 0xdd;
    rule(&s);
    assert_string_equal(s.d.waits_for, "pg-0 pg-2(replaced)");
    healthy(&s.v, &s.m, 1);
    rule(&s);
    assert_string_equal(s.d.waits_for, "");
}

static void cut_where_it_is_full(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.n_peers = 0;
    for (uint8_t i = 0; i < 4; i++) {
        struct ha_name n = {""};
        memset(n.s, 'a' + i, sizeof n.s - 1);
        (void)record_add(&s.v.lv.lease.record, 100u + i, &n);
    }
    for (uint8_t i = 0; i < s.v.lv.lease.record.n; i++)
        s.v.lv.lease.record.m[i].in_v = i > 2;
    (void)rule(&s);
    assert_int_equal(strlen(s.d.waits_for), sizeof s.d.waits_for - 1);
}

static void volume_shown_twice__not_replaced(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.peer[0].name = name_of(7);
    s.v.peer[0].state.volume = C;
    stale(&s.v.peer[0]);
    (void)rule(&s);
    assert_null(strstr(s.d.waits_for, "pg-2(replaced)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody__where_all_report),
        cmocka_unit_test(silent__named),
        cmocka_unit_test(answers_in_vain__named_with_the_reason),
        cmocka_unit_test(younger_record__is_not_held_against_answers),
        cmocka_unit_test(own_copy__named_like_any),
        cmocka_unit_test(lost_record__asks_all_of_the_highest_copy),
        cmocka_unit_test(cut_where_it_is_full),
        cmocka_unit_test(volume_shown_twice__not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
