/* What a former primary does after it has given its right back: when its server starts again, and what lets
 * it repair its directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

/* pg-0 has crashed and named pg-1, 50 ms ago; both others were standbys when they answered last. */
static void handed_over(struct scene *s)
{
    at(s, 0);
    s->v.pg = (struct pg){.process = PG_DOWN, .ours = true, .crashed = true, .position = {4, 200},
                          .local_timeline = 4};
    s->v.lv.write = WRITE_RELEASE;
    s->v.lv.write_sent_ms = NOW - 50;
    s->v.lv.write_done_ms = NOW - 45;
    s->v.lv.lease.holder = (struct identity){0};
    s->v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(0),
                                             .volume = A, .successor = name_of(1)};
    s->m.forfeit_ms = NOW - 50;
}

static bool starts(struct scene *s)
{
    assert_string_equal(rule(s), "start");
    return (s->d.effects & EFF_PG_START) != 0;
}

static void handed_over__starts_when_the_successor_has_left_recovery(void **state)
{
    (void)state;
    struct scene s;
    handed_over(&s);
    assert_false(starts(&s));
    assert_true((s.d.effects & EFF_PEERS) != 0);
    s.v.lv.lease.holder = identity_of(1);
    s.v.lv.lease.release = (struct release){0};
    s.v.lv.lease.epoch = 6;
    assert_false(starts(&s));
    s.v.peer[0].state.in_recovery = TRI_NO;
    assert_true(starts(&s));
}

/* The same in a cluster of n; all others are standbys that answer. */
static void handed_over_among(struct scene *s, int n)
{
    handed_over(s);
    for (int i = 3; i < n; i++) {
        struct ha_name name = name_of(i);
        record_add(&s->v.lv.lease.record, 0xd0 + (uint64_t)i, &name)->in_v = true;
        s->v.peer[i - 1] = s->v.peer[1];
        s->v.peer[i - 1].name = name;
        s->v.peer[i - 1].state.id = identity_of(i);
        s->v.peer[i - 1].state.volume = 0xd0 + (uint64_t)i;
        s->v.n_peers++;
    }
}

/* At W = 2 the other four of six could still elect and confirm: there is no reason to wait all the same. */
static void handed_over_to_many__starts_with_the_promotion_all_the_same(void **state)
{
    (void)state;
    struct scene s;
    handed_over_among(&s, 6);
    s.v.lv.lease.record.w = 2;
    assert_false(starts(&s));
    s.v.peer[0].state.in_recovery = TRI_NO;
    assert_true(starts(&s));
}

/* Four of five elect at W = 1: where three others answer, this one must report, too. */
static void handed_over__starts_at_once_where_it_is_needed_to_elect(void **state)
{
    (void)state;
    struct scene s;
    handed_over_among(&s, 5);
    assert_int_equal(record_needed(&s.v.lv.lease.record), 4);
    assert_false(starts(&s));
    s.v.peer[3].received_ms = 0;
    assert_true(starts(&s));
}

static void handed_over__waits_for_no_longer_than_a_promotion_may_take(void **state)
{
    (void)state;
    struct scene s;
    handed_over(&s);
    s.m.forfeit_ms = NOW - 599;
    assert_false(starts(&s));
    assert_int_equal(s.d.wake_at_ms, NOW + 1);
    s.m.forfeit_ms = NOW - 600;
    assert_true(starts(&s));
    s.m.forfeit_ms = 0; /* an agent that begins knows of no release */
    assert_true(starts(&s));
}

/* Without this server the new primary could have no commit confirmed. */
static void handed_over__starts_at_once_where_it_is_needed_to_confirm(void **state)
{
    (void)state;
    struct scene s;
    handed_over(&s);
    s.v.peer[1].sent_ms = NOW - 1501;
    assert_true(starts(&s));
    handed_over(&s);
    s.v.peer[1].received_ms = 0;
    assert_true(starts(&s));
    handed_over(&s);
    s.v.peer[1].state.in_recovery = TRI_UNKNOWN;
    assert_true(starts(&s));
    handed_over(&s);
    s.v.peer[1].state.data = DATA_PARTIAL;
    assert_true(starts(&s));
    handed_over(&s);
    s.v.lv.lease.record.m[2].in_v = false;
    assert_true(starts(&s));
    handed_over(&s);
    s.v.lv.lease.record.w = 2;
    assert_true(starts(&s));
    s.v.lv.lease.record.w = 1;
    assert_false(starts(&s));
}

static void holder__starts_at_once(void **state)
{
    (void)state;
    struct scene s;
    handed_over(&s);
    s.v.lv.lease.holder = identity_of(0);
    s.v.lv.lease.release = (struct release){0};
    s.v.set.crash_policy = CRASH_RESTART;
    assert_string_equal(rule(&s), "start-holder");
    assert_true((s.d.effects & EFF_PG_START) != 0);
}

/* Promoted as pg-0 on timeline 5, of which the record shows nobody yet; both others have it. */
static void promoted(struct scene *s, int64_t ago_ms)
{
    at(s, 0);
    s->v.lv.lease.record.timeline = 5;
    s->v.self.record.timeline = 5;
    s->v.st.record.timeline = 5;
    s->v.pg.local_timeline = 5;
    s->v.pg.position = (struct position){5, 300};
    s->v.pg.promoted_end_lsn = 250;
    s->v.pg.promoted_ms = NOW - ago_ms;
    s->v.pg.sender[0].flushed_lsn = 300;
    s->v.pg.sender[1].flushed_lsn = 300;
    s->m.proven = true;
    s->m.deadline_ms = NOW + 5000;
    s->m.right_seq = 1;
}

static void promotion__shown_in_the_record__before_the_next_renewal(void **state)
{
    (void)state;
    struct scene s;
    promoted(&s, 399);
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    assert_int_equal(s.d.wake_at_ms, NOW + 1);
    promoted(&s, 400);
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_int_equal(s.d.write.want.record.m[1].flushed.timeline, 5);
    promoted(&s, 400);
    s.v.pg.sender[0].flushed_lsn = s.v.pg.sender[1].flushed_lsn = 249; /* of an older timeline */
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

static void promotion__shown_once(void **state)
{
    (void)state;
    struct scene s;
    promoted(&s, 400);
    s.v.lv.lease.record.m[2].flushed = (struct position){5, 260};
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    promoted(&s, 400);
    s.v.lv.lease.record.m[2].flushed = (struct position){5, 260};
    s.v.lv.lease.record.m[2].in_v = false; /* it confirms nothing */
    s.v.pg.ssn = ssn_of_record(&s.v.lv.lease.record, A, true, REPL_QUORUM);
    s.v.pg.sender[1].streaming = false;
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    promoted(&s, 400);
    s.v.pg.promoted_ms = 0; /* an agent that took over a running primary */
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

static void promotion__that_no_standby_confirms__is_shown_by_renewals(void **state)
{
    (void)state;
    struct scene s;
    promoted(&s, 400);
    s.v.set.mode = REPL_ASYNC;
    s.v.set.k = 0;
    s.v.lv.lease.record.w = 0;
    s.v.pg.ssn = ssn_of_record(&s.v.lv.lease.record, A, true, REPL_ASYNC);
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

/* At rest members are asked about once in a second: a repair waits for answers that are younger. */
static void diverged__asks_the_others_until_it_may_be_repaired(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 2);
    s.v.pg.streaming = false;
    s.v.pg.diverged = TRI_YES;
    s.v.pg.position = (struct position){4, 300};
    assert_string_equal(rule(&s), "follow");
    assert_true((s.d.effects & EFF_PEERS) != 0);
    s.v.pg.diverged = TRI_NO;
    (void)rule(&s);
    assert_true((s.d.effects & EFF_PEERS) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handed_over__starts_when_the_successor_has_left_recovery),
        cmocka_unit_test(handed_over_to_many__starts_with_the_promotion_all_the_same),
        cmocka_unit_test(handed_over__starts_at_once_where_it_is_needed_to_elect),
        cmocka_unit_test(handed_over__waits_for_no_longer_than_a_promotion_may_take),
        cmocka_unit_test(handed_over__starts_at_once_where_it_is_needed_to_confirm),
        cmocka_unit_test(holder__starts_at_once),
        cmocka_unit_test(promotion__shown_in_the_record__before_the_next_renewal),
        cmocka_unit_test(promotion__shown_once),
        cmocka_unit_test(promotion__that_no_standby_confirms__is_shown_by_renewals),
        cmocka_unit_test(diverged__asks_the_others_until_it_may_be_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
