/* Acquisition, election and promotion: who may, with whose reports, and what stands against it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void core__expired_lease__acquired_only_after_the_whole_count_and_a_read(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.write.want.epoch, 6);
    assert_int_equal(s.d.write.want.record.writer, A); /* the record stays as it was */
    s.v.lv.changed_ms = NOW - 9999;
    assert_string_equal(rule(&s), "follow");
    expired(&s);
    s.v.lv.got_ms = NOW - 200;
    assert_string_not_equal(rule(&s), "acquire");
    assert_true((s.d.effects & EFF_LEASE_GET) != 0);
}

static void core__collations_differ__not_elected_but_the_writer_returns(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.got_ms = NOW;
    s.v.pg.resorted = true;
    assert_true(core_barred(&s.v));
    assert_string_equal(rule(&s), "follow");
    s.v.set.collation_any = true; /* the operator's word */
    assert_false(core_barred(&s.v));
    assert_string_equal(rule(&s), "acquire");
    s.v.set.collation_any = false;
    s.v.lv.lease.record.writer = B;
    assert_string_equal(rule(&s), "acquire");
    s.v.set.nofailover = true; /* a tag is meant for every case */
    assert_string_not_equal(rule(&s), "acquire");
}

static void core__no_acquisition__without_enough_members_answering(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[1].received_ms = 0;
    assert_string_not_equal(rule(&s), "acquire");
}

static void core__election__counts_only_frozen_reports(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    assert_string_equal(rule(&s), "elect-writer");
    assert_int_equal(s.d.write.want.record.writer, B);
    assert_int_equal(s.d.write.want.record.timeline, 5);
    assert_int_equal(record_votes(&s.d.write.want.record), 3); /* promotion keeps V */
    s.v.peer[1].state.frozen_epoch = 5;
    assert_string_equal(rule(&s), "elect-wait");
    s.v.peer[1].state.frozen_epoch = 6;
    s.v.pg.frozen_epoch = 0;
    assert_string_equal(rule(&s), "elect-detach");
}

static void core__election__greater_report_goes_first_and_a_rolled_back_one_is_void(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[1].state.position.lsn = 201;
    assert_string_equal(rule(&s), "elect-yield");
    assert_string_equal(s.d.write.want.release.successor.s, "pg-2");
    assert_int_equal(s.d.deadline_ms, 0); /* forfeit */
    s.v.peer[1].state.position = (struct position){3, 900}; /* older timeline: less, below the record */
    assert_string_equal(rule(&s), "elect-wait");
}

/* B won; C, which must not be primary, has the last acknowledged rows. */
static void core__election__difference_is_streamed_from_a_member_that_must_not_be_primary(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.m.elected_epoch = 6;
    s.m.elected_ms = NOW - 100;
    s.v.pg.position.lsn = 150;
    s.v.peer[1].state.nofailover = true;
    assert_string_equal(rule(&s), "elect-fetch");
    assert_true((s.d.effects & EFF_FOLLOW) != 0 && s.d.write.kind != WRITE_RELEASE);
    assert_true(s.d.upstream == C && s.d.epoch == 6);
    assert_string_equal(s.d.upstream_name.s, "pg-2");
    s.v.pg.frozen_epoch = 0; /* following ends the freeze */
    s.v.pg.follows = C;
    s.v.pg.follows_epoch = 6;
    s.v.pg.position.lsn = 199;
    assert_string_equal(rule(&s), "elect-fetch");
    s.v.pg.position.lsn = 200;
    assert_string_equal(rule(&s), "elect-detach"); /* only a frozen position counts */
    s.v.pg.frozen_epoch = 6;
    s.v.pg.follows = 0;
    assert_string_equal(rule(&s), "elect-writer");
    assert_int_equal(s.d.write.want.record.writer, B);
}

static void core__election__what_cannot_be_streamed_in_time_goes_first_after_all(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.m.elected_epoch = 6;
    s.m.elected_ms = NOW - 15000; /* one and a half lease durations */
    s.v.pg.position.lsn = 150;
    s.v.peer[1].state.nofailover = true;
    assert_string_equal(rule(&s), "elect-fetch");
    s.m.elected_ms--;
    s.v.pg.frozen_epoch = 0;
    s.v.pg.follows = C;
    s.v.pg.follows_epoch = 6;
    assert_string_equal(rule(&s), "elect-detach");
    s.v.pg.frozen_epoch = 6;
    assert_string_equal(rule(&s), "elect-yield");
    assert_string_equal(s.d.write.want.release.successor.s, "pg-2");
    s.m.elected_ms = NOW - 100; /* one that may be primary is not waited for */
    s.v.peer[1].state.nofailover = false;
    assert_string_equal(rule(&s), "elect-yield");
}

/* Rules that the simulator rarely reaches: each needs two mistakes at once, or a hand in the Lease. */
static void core__second_locks__hold_by_themselves(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.pg.maybe_writable = true;
    assert_string_equal(rule(&s), "rogue-armed");
    assert_true((s.d.effects & EFF_FENCE) != 0);
    s.v.pg.maybe_writable = false;
    s.v.lv.lease.record.writer = C; /* edited by hand */
    s.v.lv.lease.record.writer_epoch = 6;
    assert_string_equal(rule(&s), "elect-foreign");
    assert_int_equal(s.d.write.kind, WRITE_RELEASE);
    s.v.lv.lease.record = three();
    s.v.peer[1].state.refused_epoch = 9; /* it did not answer when we acquired */
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.epoch, 10);
}

static void core__promoted_by_hand__ended_and_its_report_is_void(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.pg.in_recovery = TRI_NO;
    assert_string_equal(rule(&s), "rogue");
    s.v.lv.known = false;
    assert_string_equal(rule(&s), "rogue-unarmed");
    healthy(&s.v, &s.m, 0);
    s.v.pg.maybe_writable = false; /* the writer's own, before guard was told */
    assert_string_equal(rule(&s), "rogue-unarmed");
    elected(&s);
    s.v.peer[1].state.position = (struct position){5, 300}; /* the record has allocated 4 */
    assert_string_equal(rule(&s), "elect-wait");
    s.v.peer[1].state.position.timeline = 4;
    assert_string_equal(rule(&s), "elect-yield");
}

/* A human promotes the very candidate in the middle of its election: its new timeline is above all
 * that the others report, and holds less. */
static void core__promoted_by_hand_in_its_own_election__is_not_the_greatest(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[0].received_ms = NOW - 10; /* A answers, too: two valid reports without our own */
    s.v.peer[0].sent_ms = NOW - 20;
    s.v.peer[0].state.frozen_epoch = 6;
    s.v.peer[0].state.durable_epoch = 6;
    s.v.pg.position = (struct position){400, 50};
    assert_string_not_equal(rule(&s), "elect-writer");
}

/* It may have been the only one that confirmed the writer's last commits. */
static void core__follower_promoted_by_hand__others_pass_it_before_it_is_rewound(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.pg.process = PG_DOWN;
    s.v.pg.in_recovery = TRI_UNKNOWN;
    s.v.pg.streaming = false;
    s.v.pg.diverged = TRI_YES;
    s.v.lv.lease.record.m[1].flushed.timeline = s.v.lv.lease.record.timeline;
    s.v.peer[1].state.streams_from = A;
    s.v.pg.position = (struct position){400, s.v.peer[1].state.position.lsn + 1};
    (void)rule(&s);
    assert_true((s.d.effects & EFF_REWIND) == 0);
    s.v.lv.lease.record.m[1].flushed.timeline--; /* no renewal since it began to follow */
    (void)rule(&s);
    assert_true((s.d.effects & EFF_REWIND) == 0);
    s.v.peer[1].state.position.lsn++;
    assert_string_equal(rule(&s), "rejoin-rewind");
}

/* The server came up on an older timeline and sees none of what it confirmed on the newer one. */
static void core__own_wal_unread__neither_elected_nor_promoted(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    assert_string_equal(rule(&s), "elect-writer");
    s.v.pg.wal_unread = true;
    s.v.pg.reached_ms = NOW - 4000; /* it may still be replaying */
    assert_string_equal(rule(&s), "elect-wait");
    s.v.pg.reached_ms = NOW - 5000;
    assert_string_equal(rule(&s), "reread");
    assert_true((s.d.effects & EFF_PG_STOP) != 0);
    s.m = s.d.memo;
    assert_string_equal(rule(&s), "reread"); /* until it is done */
    s.m = s.d.memo;
    s.v.pg.reached_ms = NOW - 39000; /* the next life; it may be copying a database */
    assert_string_equal(rule(&s), "elect-wait");
    s.v.pg.reached_ms = NOW - 40000;
    assert_string_equal(rule(&s), "reread");
    s.v.pg.streaming = true; /* it is on its way */
    assert_string_not_equal(rule(&s), "reread");
}

/* PostgreSQL would refuse the promotion, too. */
static void core__settings_below_the_primarys__restarted_in_turn(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 2); /* B goes first */
    const char *quiet = rule(&s);
    s.v.pg.settings_low = true;
    assert_string_equal(rule(&s), quiet);
    s.m = s.d.memo;
    s.v.now_ms += 4999;
    assert_string_not_equal(rule(&s), "raise-settings");
    s.v.now_ms += 1;
    assert_string_equal(rule(&s), "raise-settings");
    assert_true((s.d.effects & EFF_PG_STOP) != 0);

    elected(&s);
    s.v.pg.settings_low = true;
    assert_string_equal(rule(&s), "raise-settings");
    s.v.pg.in_recovery = TRI_NO;
    assert_string_not_equal(rule(&s), "raise-settings");
}

static void core__promotion__needs_budget_and_preparation(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.lv.lease.record.writer = B;
    s.v.lv.lease.record.writer_epoch = 6;
    s.v.lv.lease.record.timeline = 5;
    s.v.lv.lease.record.epoch = 6;
    s.v.self.record = s.v.lv.lease.record;
    s.v.st.epoch = 6;
    s.v.pg.closed = TRI_YES;
    s.v.pg.open = TRI_NO;
    s.v.pg.ssn = ssn_of_record(&s.v.lv.lease.record, B, false, REPL_QUORUM);
    assert_string_equal(rule(&s), "promote");
    assert_int_equal(s.d.timeline, 5);
    s.v.pg.wal_unread = true;
    assert_string_equal(rule(&s), "promote-replay");
    s.v.pg.wal_unread = false;
    s.v.pg.accounted = TRI_NO; /* started anew since its timeline was allocated: nobody has looked yet */
    assert_string_equal(rule(&s), "promote-wait");
    s.v.pg.accounted = TRI_YES;
    s.v.pg.closed = TRI_UNKNOWN;
    assert_string_equal(rule(&s), "prepare");
    s.v.pg.closed = TRI_YES;
    s.v.lv.write_sent_ms = NOW - 6000; /* exactly the kill time is left */
    assert_string_equal(rule(&s), "promote-wait");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core__expired_lease__acquired_only_after_the_whole_count_and_a_read),
        cmocka_unit_test(core__collations_differ__not_elected_but_the_writer_returns),
        cmocka_unit_test(core__no_acquisition__without_enough_members_answering),
        cmocka_unit_test(core__election__counts_only_frozen_reports),
        cmocka_unit_test(core__election__greater_report_goes_first_and_a_rolled_back_one_is_void),
        cmocka_unit_test(core__election__difference_is_streamed_from_a_member_that_must_not_be_primary),
        cmocka_unit_test(core__election__what_cannot_be_streamed_in_time_goes_first_after_all),
        cmocka_unit_test(core__second_locks__hold_by_themselves),
        cmocka_unit_test(core__promoted_by_hand__ended_and_its_report_is_void),
        cmocka_unit_test(core__promoted_by_hand_in_its_own_election__is_not_the_greatest),
        cmocka_unit_test(core__follower_promoted_by_hand__others_pass_it_before_it_is_rewound),
        cmocka_unit_test(core__own_wal_unread__neither_elected_nor_promoted),
        cmocka_unit_test(core__settings_below_the_primarys__restarted_in_turn),
        cmocka_unit_test(core__promotion__needs_budget_and_preparation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
