/* Votes, reports, the writer, promotion, and what stands against it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void writer__its_own_end_is_recorded_for_those_who_follow(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    assert_string_equal(rule(&s), "elect-writer");
    const struct record *r = &s.d.write.want.record;
    assert_int_equal(record_find(r, B)->flushed.lsn, 200);
    assert_int_equal(record_find(r, C)->flushed.lsn, 100);
}

static void ask_vote(struct scene *s, uint64_t epoch)
{
    s->v.in.vote = true;
    s->v.in.vote_req = (struct peer_request){PEER_VOTE, identity_of(2), epoch, 0};
    s->v.pg.follows = 0;
    s->v.pg.streaming = false;
}

static void vote__neither_backwards_nor_for_an_epoch_followed(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    ask_vote(&s, 4);
    assert_string_not_equal(rule(&s), "vote");
    assert_int_equal(s.d.refused_epoch, 5);
    ask_vote(&s, 6);
    assert_string_equal(rule(&s), "vote");
    assert_int_equal(s.d.store_epoch, 6);
    s.v.pg.follows = A;
    s.v.pg.follows_epoch = 6;
    assert_string_not_equal(rule(&s), "vote");
}

static void election__needs_v_less_w_reports(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    struct record *r = &s.v.lv.lease.record;
    assert_int_equal(record_needed(r), 2);
    for (int i = 3; i < 5; i++) {
        struct ha_name n = name_of(i);
        record_add(r, (uint64_t)(0xd0 + i), &n)->in_v = true;
    }
    assert_int_equal(record_needed(r), 4);
    assert_string_equal(rule(&s), "elect-wait");
    r->w = 3;
    assert_string_equal(rule(&s), "elect-writer");
}

static void election__older_lineage_counts_and_is_less(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    for (int i = 0; i < 3; i++)
        s.v.lv.lease.record.m[i].flushed = (struct position){3, 100};
    s.v.peer[1].state.position = (struct position){3, 900};
    assert_string_equal(rule(&s), "elect-writer");
}

static void election__rolled_back_volume_does_not_report(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[1].state.position.lsn = 99;
    assert_string_equal(rule(&s), "elect-wait");
}

static void election__timeline_above_every_one_reported(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.pg.local_timeline = 8;
    assert_string_equal(rule(&s), "elect-writer");
    assert_int_equal(s.d.write.want.record.timeline, 9);
}

/* pg-0 was promoted by hand to a number of its own. Whoever allocates a higher one says that it is void. */
static void election__timeline_made_by_hand_stays_void(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[0].received_ms = s.v.peer[0].sent_ms = NOW;
    s.v.peer[0].state.position = (struct position){400, 90};
    s.v.peer[0].state.frozen_epoch = 6;
    assert_string_equal(rule(&s), "elect-writer");
    assert_int_equal(s.d.write.want.record.timeline, 401);
    struct record after = s.d.write.want.record;
    /* The writer is gone before it promoted; everybody has an epoch and a count more behind him. */
    elected(&s);
    s.v.lv.lease.record = after;
    s.v.lv.lease.record.writer = A;
    s.v.peer[0].received_ms = s.v.peer[0].sent_ms = NOW;
    s.v.peer[0].state.position = (struct position){400, 900};
    s.v.peer[0].state.frozen_epoch = 6;
    s.v.lv.lease.record.writer_epoch = 5;
    assert_string_equal(rule(&s), "elect-writer");
    s.v.peer[1].state.frozen_epoch = 0; /* and what it says is no report */
    assert_string_equal(rule(&s), "elect-wait");
}

static void bypass__not_on_a_timeline_made_by_hand(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[1].state.frozen_epoch = 0;
    s.m.bypass_epoch = 6;
    s.m.bypass_end = (struct position){4, 200};
    s.v.pg.position = (struct position){400, 200};
    assert_string_equal(rule(&s), "elect-wait");
}

static void bypass__needs_all_wal_of_the_releaser(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[1].state.frozen_epoch = 0;
    s.m.bypass_epoch = 6;
    s.m.bypass_end = (struct position){4, 200};
    assert_string_equal(rule(&s), "elect-bypass");
    s.m.bypass_end.lsn = 201;
    assert_string_equal(rule(&s), "elect-wait");
}

static void resume__only_at_the_epoch_of_the_writer(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.lv.lease.record.writer = B; /* of epoch 5: it has won epoch 6 anew and votes like anybody */
    s.v.lv.lease.record.writer_epoch = 5;
    s.v.peer[1].state.frozen_epoch = 0;
    assert_string_equal(rule(&s), "elect-wait");
}

static void resume__needs_all_of_its_recorded_wal(void **state)
{
    (void)state;
    struct scene s;
    ready(&s);
    s.v.lv.lease.record.m[1].flushed = (struct position){4, 201};
    s.v.self.record = s.v.lv.lease.record;
    rule(&s);
    assert_true((s.d.facts & FACT(RESUMABLE)) == 0);
    s.v.pg.position.lsn = 201;
    rule(&s);
    assert_true((s.d.facts & FACT(RESUMABLE)) != 0);
    s.v.pg.accounted = TRI_UNKNOWN;
    rule(&s);
    assert_true((s.d.facts & FACT(RESUMABLE)) == 0);
}

/* For some milliseconds of a promotion PostgreSQL is on the new timeline and still in recovery. */
static void promote__under_way__no_other_timeline_is_allocated(void **state)
{
    (void)state;
    struct scene s;
    ready(&s);
    s.v.pg.maybe_writable = true;
    s.v.lv.write_sent_ms = NOW - s.v.set.renew_ms; /* a renewal is due: what it says is seen here */
    assert_string_equal(rule(&s), "promote");
    s.v.pg.local_timeline = s.v.pg.position.timeline = s.v.lv.lease.record.timeline;
    assert_string_equal(rule(&s), "promote-ending");
    assert_int_equal(s.d.write.want.record.timeline, s.v.lv.lease.record.timeline);
    assert_true((s.d.effects & (EFF_PROMOTE | EFF_OPEN | EFF_LABEL_PRIMARY)) == 0);
    s.v.pg.maybe_writable = false; /* started anew since: that number is used up */
    assert_string_equal(rule(&s), "resume-timeline");
    assert_int_equal(s.d.write.want.record.timeline, s.v.lv.lease.record.timeline + 1);
}

static void promote__only_with_the_setting_proved(void **state)
{
    (void)state;
    struct scene s;
    ready(&s);
    assert_string_equal(rule(&s), "promote");
    assert_true((s.d.effects & EFF_STRIP) != 0); /* nobody else keeps the label */
    s.v.pg.ssn.w = 2;
    assert_string_equal(rule(&s), "prepare");
    assert_true((s.d.effects & EFF_STRIP) != 0);
    s.v.pg.ssn = (struct ssn){.kind = SSN_EMPTY};
    assert_string_equal(rule(&s), "prepare");
}

static void gone__only_by_a_record_that_was_read(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pods_known = true;
    s.v.peer[0].pod_known = false;
    s.v.peer[0].state.volume = 99;
    assert_true(core_is_gone(&s.v, &s.v.peer[0]));
    s.v.lv.lease.has_record = false;
    assert_false(core_is_gone(&s.v, &s.v.peer[0]));
    s.v.lv.known = false;
    assert_false(core_is_gone(&s.v, &s.v.peer[0]));
}

static void report__of_a_member_without_data__does_not_count(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    stale(&s.v.peer[0]);
    s.v.peer[0].state.frozen_epoch = 0;
    assert_true(fact(&s, FACT(SUFFICIENT)));
    s.v.peer[1].state.data = DATA_EMPTY;
    assert_false(fact(&s, FACT(SUFFICIENT)));
}

static void prepared__only_with_the_record_on_the_volume(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    struct record *r = &s.v.lv.lease.record;
    r->writer = B;
    r->writer_epoch = 5;
    r->timeline = 5;
    s.m.named_epoch = 5;
    s.v.self.record = s.v.st.record = *r;
    s.v.pg.closed = TRI_YES;
    s.v.pg.ssn = ssn_of_record(r, B, false, REPL_QUORUM);
    assert_true(fact(&s, FACT(PREPARED)));
    s.v.self.has_record = false;
    assert_false(fact(&s, FACT(PREPARED)));
}

static void fetch__only_from_who_must_not_go_first(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.peer[1].state.position.lsn = 300;
    assert_false(fact(&s, FACT(FETCH)));
    s.v.st.paused = true;
    assert_true(fact(&s, FACT(FETCH)));
    s.v.st.paused = false;
    s.v.peer[1].state.nofailover = true;
    assert_true(fact(&s, FACT(FETCH)));
}

static void election_again__keeps_the_record_of_a_new_cluster(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    struct record *r = &s.v.lv.lease.record;
    r->writer = r->writer_epoch = 0;
    s.v.st = (struct state_view){.known = true};
    s.v.self.has_record = false;
    s.v.peer[0].state.refused_epoch = 6;
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.epoch, 7);
    assert_int_equal(s.d.write.want.record.n, 3);
    r->n = 0;
    s.m.refused_max = 6;
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.record.n, 1);
    s.v.lv.lease.has_record = false;
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.record.n, 1);
    s.v.st.system_id = 9; /* not new: there is nothing to begin a list from */
    assert_string_equal(rule(&s), "elect-again");
    assert_true(s.d.write.want.has_record);
    assert_int_equal(s.d.write.want.record.n, 0);
}

static void server_on_another_timeline__ended_at_once(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 0);
    s.v.pg.local_timeline = 5;
    assert_string_equal(rule(&s), "wrong-timeline");
    assert_true((s.d.effects & EFF_FENCE) != 0 && s.d.alarm);
    s.v.pg.local_timeline = 3;
    assert_string_equal(rule(&s), "wrong-timeline");
    s.v.pg.local_timeline = 0; /* not read yet */
    assert_string_equal(rule(&s), "serve");
}

static void election__counts_only_frozen_reports(void **state)
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

static void election__greater_report_goes_first_and_a_rolled_back_one_is_void(void **state)
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
static void election__difference_is_streamed_from_a_member_that_must_not_be_primary(void **state)
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

static void election__what_cannot_be_streamed_in_time_goes_first_after_all(void **state)
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
static void second_locks__hold_by_themselves(void **state)
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

static void promoted_by_hand__ended_and_its_report_is_void(void **state)
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
static void promoted_by_hand_in_its_own_election__is_not_the_greatest(void **state)
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
static void follower_promoted_by_hand__others_pass_it_before_it_is_rewound(void **state)
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
static void own_wal_unread__neither_elected_nor_promoted(void **state)
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
static void settings_below_the_primarys__restarted_in_turn(void **state)
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

static void promotion__needs_budget_and_preparation(void **state)
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
        cmocka_unit_test(writer__its_own_end_is_recorded_for_those_who_follow),
        cmocka_unit_test(vote__neither_backwards_nor_for_an_epoch_followed),
        cmocka_unit_test(election__needs_v_less_w_reports),
        cmocka_unit_test(election__older_lineage_counts_and_is_less),
        cmocka_unit_test(election__rolled_back_volume_does_not_report),
        cmocka_unit_test(election__timeline_above_every_one_reported),
        cmocka_unit_test(election__timeline_made_by_hand_stays_void),
        cmocka_unit_test(bypass__not_on_a_timeline_made_by_hand),
        cmocka_unit_test(bypass__needs_all_wal_of_the_releaser),
        cmocka_unit_test(resume__only_at_the_epoch_of_the_writer),
        cmocka_unit_test(resume__needs_all_of_its_recorded_wal),
        cmocka_unit_test(promote__under_way__no_other_timeline_is_allocated),
        cmocka_unit_test(promote__only_with_the_setting_proved),
        cmocka_unit_test(gone__only_by_a_record_that_was_read),
        cmocka_unit_test(report__of_a_member_without_data__does_not_count),
        cmocka_unit_test(prepared__only_with_the_record_on_the_volume),
        cmocka_unit_test(fetch__only_from_who_must_not_go_first),
        cmocka_unit_test(election_again__keeps_the_record_of_a_new_cluster),
        cmocka_unit_test(server_on_another_timeline__ended_at_once),
        cmocka_unit_test(election__counts_only_frozen_reports),
        cmocka_unit_test(election__greater_report_goes_first_and_a_rolled_back_one_is_void),
        cmocka_unit_test(election__difference_is_streamed_from_a_member_that_must_not_be_primary),
        cmocka_unit_test(election__what_cannot_be_streamed_in_time_goes_first_after_all),
        cmocka_unit_test(second_locks__hold_by_themselves),
        cmocka_unit_test(promoted_by_hand__ended_and_its_report_is_void),
        cmocka_unit_test(promoted_by_hand_in_its_own_election__is_not_the_greatest),
        cmocka_unit_test(follower_promoted_by_hand__others_pass_it_before_it_is_rewound),
        cmocka_unit_test(own_wal_unread__neither_elected_nor_promoted),
        cmocka_unit_test(settings_below_the_primarys__restarted_in_turn),
        cmocka_unit_test(promotion__needs_budget_and_preparation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
