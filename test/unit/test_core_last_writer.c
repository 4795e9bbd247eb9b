/* The writer that the record names last has every acknowledged commit: it returns where too few others can
 * ever report, and only where nobody is silent who might know of a later writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

/* pg-0, the writer of epoch 5, was away until its Lease ran out, and its pod is another one; both others have
 * been cloned anew since, so that the volumes of the record are gone. */
static void left_alone(struct scene *s)
{
    at(s, 0);
    s->v.self.id.uid[0] = 'x';
    s->v.pg.in_recovery = TRI_YES;
    s->v.pg.maybe_writable = false;
    s->v.pg.n_senders = 0;
    s->v.lv.outcome = OUTCOME_NONE;
    s->v.lv.changed_ms = NOW - 11000;
    s->v.lv.got_ms = NOW;
    s->v.peer[0].state.volume = 0xb0;
    s->v.peer[1].state.volume = 0xc0;
}

static void acquires__where_nobody_else_can_report(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.write.want.epoch, 6);
    assert_int_equal(s.d.write.want.record.writer, A);
    s.v.lv.changed_ms = NOW - 9000;
    assert_string_equal(rule(&s), "wait-writer");
}

static void waits__for_each_voter_that_is_silent(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct scene s;
        left_alone(&s);
        s.v.peer[i].received_ms = 0;
        assert_string_equal(rule(&s), "wait");
    }
}

/* It has no vote, but may have had one in a later record. */
static void waits__for_a_silent_member_without_a_vote(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    s.v.peer[2] = s.v.peer[1];
    s.v.peer[2].name = name_of(3);
    s.v.peer[2].state.volume = 0xdd;
    s.v.n_peers = 3;
    assert_string_equal(rule(&s), "acquire");
    s.v.peer[2].sent_ms = NOW - 5000;
    assert_string_equal(rule(&s), "wait");
    s.v.peer[2].pod_known = false; /* taken away */
    assert_string_equal(rule(&s), "acquire");
}

static void waits__where_a_later_epoch_is_known(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    s.v.peer[1].state.durable_epoch = 6;
    assert_string_equal(rule(&s), "wait");
}

static void waits__where_the_lease_or_the_list_says_little(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    s.v.st.epoch = 6; /* the Lease was put back */
    assert_string_equal(rule(&s), "wait");
    left_alone(&s);
    s.v.peer[1].received_ms = 0;
    s.v.peer[1].pod_known = false; /* a voter whose pod was taken away */
    assert_string_equal(rule(&s), "wait");
    s.v.n_peers = 1; /* a voter whom nobody knows */
    assert_string_equal(rule(&s), "wait");
}

static void waits__where_its_own_copy_does_not_count(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    s.v.pg.position.lsn = 99; /* rolled back */
    assert_string_equal(rule(&s), "wait");
    s.v.pg.position = (struct position){5, 200}; /* promoted by hand */
    assert_string_equal(rule(&s), "wait");
}

/* Rolled back to a moment after the last renewal: the record does not show that, the voter does. */
static void waits__where_a_voter_holds_more(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    s.v.peer[0].state.volume = B;
    s.v.lv.lease.record.w = s.v.st.record.w = s.v.self.record.w = 0;
    assert_string_equal(rule(&s), "acquire");
    s.v.peer[0].state.position.lsn = 201;
    assert_string_equal(rule(&s), "wait");
    s.v.peer[0].state.position = (struct position){5, 100}; /* by hand: it counts nothing */
    assert_string_equal(rule(&s), "acquire");
}

static void another_member__cannot(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[0].received_ms = NOW - 50;
    s.v.peer[0].state.volume = 0xa0;
    s.v.peer[1].state.volume = 0xc0;
    assert_string_not_equal(rule(&s), "acquire");
}

/* Elected in epoch 6, it needs no reports; where enough could come, it waits for them. */
static void elected__is_writer_without_reports(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    rule(&s);
    s.v.lv.lease = s.d.write.want;
    s.m = s.d.memo;
    s.v.self.durable_epoch = s.v.pg.frozen_epoch = 6;
    s.v.pg.follows = 0;
    s.m.deadline_ms = NOW + 5000;
    assert_string_equal(rule(&s), "elect-bypass");
    assert_int_equal(s.d.write.want.record.writer, A);
    assert_int_equal(s.d.write.want.record.timeline, 5);
    s.v.pg.position.lsn = 99; /* its volume was rolled back meanwhile */
    assert_string_equal(rule(&s), "elect-wait");
    s.v.pg.position.lsn = 200;
    s.v.peer[0].state.volume = B;
    assert_string_equal(rule(&s), "elect-wait");
    s.v.peer[0].received_ms = 0;
    assert_string_equal(rule(&s), "elect-wait");
}

/* Its older volume is in the record as well: that is no silent voter. */
static void older_volume_of_its_own__is_not_waited_for(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    struct ha_name own = name_of(0);
    struct record *r = &s.v.lv.lease.record;
    record_add(r, 0xa0, &own)->in_v = true;
    s.v.st.record = s.v.self.record = *r;
    assert_string_equal(rule(&s), "acquire");
}

/* pg-1 could not be elected: pg-0 is next, and needs no reports. */
static void overdue_election__gives_way_to_it(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    struct peer *w = &s.v.peer[0];
    w->state.in_recovery = TRI_YES;
    w->state.frozen_epoch = 0;
    s.v.peer[1].state.frozen_epoch = 0;
    s.v.lv.lease.record.w = s.v.st.record.w = s.v.self.record.w = 0;
    s.m.elected_ms = NOW - 21000;
    assert_string_equal(rule(&s), "elect-overdue");
    assert_string_equal(s.d.write.want.release.successor.s, "pg-0");
    w->state.position.timeline = 5; /* promoted by hand: it counts no more than others */
    assert_string_equal(rule(&s), "elect-overdue");
    assert_string_equal(s.d.write.want.release.successor.s, "");
}

/* One of the three is away for good, and pg-0 may not go on by itself: an operator may order that. */
static void order_to_fail_over_to_it__is_taken(void **state)
{
    (void)state;
    struct scene s;
    left_alone(&s);
    s.v.peer[1].received_ms = 0;
    s.v.intent = (struct intent){.id = 77, .kind = INTENT_FAILOVER, .epoch = 5, .accept_loss = true,
                                 .target = name_of(0)};
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.holder = s.v.self.id; /* while it is writer there is nothing to order */
    assert_string_not_equal(rule(&s), "acquire");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acquires__where_nobody_else_can_report),
        cmocka_unit_test(waits__for_each_voter_that_is_silent),
        cmocka_unit_test(waits__for_a_silent_member_without_a_vote),
        cmocka_unit_test(waits__where_a_later_epoch_is_known),
        cmocka_unit_test(waits__where_the_lease_or_the_list_says_little),
        cmocka_unit_test(waits__where_its_own_copy_does_not_count),
        cmocka_unit_test(waits__where_a_voter_holds_more),
        cmocka_unit_test(another_member__cannot),
        cmocka_unit_test(elected__is_writer_without_reports),
        cmocka_unit_test(older_volume_of_its_own__is_not_waited_for),
        cmocka_unit_test(overdue_election__gives_way_to_it),
        cmocka_unit_test(order_to_fail_over_to_it__is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
