/* Who may take the Lease, with what in it, and what a changed Lease may not do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void acquire__counts_the_longer_duration(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.lease.duration_s = 30;
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.changed_ms = NOW - 30000;
    assert_string_equal(rule(&s), "acquire");
}

static void acquire__counts_anew_after_a_gap(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.m.last_turn_ms = NOW - 4001;
    assert_string_not_equal(rule(&s), "acquire");
    assert_int_equal(s.d.memo.count_from_ms, NOW);
    s.m.last_turn_ms = 0; /* a new process has observed nothing */
    assert_string_not_equal(rule(&s), "acquire");
}

/* Put back to a version with a shorter duration, it says less than its writer goes by. */
static void acquire__counts_the_longest_right_that_was_seen(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.set.lease_ms = 5000;
    s.v.lv.lease.duration_s = 20;
    s.v.lv.changed_ms = NOW - 10000;
    assert_string_not_equal(rule(&s), "acquire");
    s.m = s.d.memo;
    s.v.lv.lease.duration_s = 5;
    s.v.lv.changed_ms = NOW - 9000;
    assert_false(fact(&s, FACT(COUNTED)));
    s.v.lv.got_ms = s.v.now_ms = s.v.lv.changed_ms + 19000;
    s.m.last_turn_ms = s.v.now_ms - 10;
    s.v.peer[1].sent_ms = s.v.peer[1].received_ms = s.v.now_ms - 50;
    assert_string_equal(rule(&s), "acquire");
}

static void acquire__clears_the_release(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv.got_ms = NOW;
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(0),
                                            .volume = A, .end = {4, 200}, .successor = name_of(1)};
    assert_string_equal(rule(&s), "acquire");
    assert_false(s.d.write.want.release.valid);
    assert_int_equal(s.d.memo.bypass_epoch, 6);
    s.v.lv.lease.release.volume = C; /* not the recorded writer of that epoch */
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.memo.bypass_epoch, 0);
    s.v.lv.lease.release.volume = A;
    s.v.self.durable_epoch = 6; /* not the epoch just before */
    rule(&s);
    assert_int_equal(s.d.memo.bypass_epoch, 0);
}

/* What was not said of this Lease as it is now, by the writer of its epoch, by-passes nothing. */
static void acquire__by_an_old_release__is_no_bypass(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct scene s;
        expired(&s);
        s.v.lv.got_ms = NOW;
        s.v.lv.changed_ms = NOW - 20000;
        s.v.peer[0].received_ms = NOW - 50;
        s.v.peer[0].state.in_recovery = TRI_YES;
        s.v.lv.lease.holder = (struct identity){0};
        s.v.lv.lease.release = (struct release){.valid = true, .epoch = i == 0 ? 4 : 5, .releaser = name_of(0),
                                                .volume = A, .end = {4, 200}, .successor = name_of(1)};
        if (i == 1)
            s.v.st.epoch = 6; /* put back */
        if (i == 2)
            s.v.lv.lease.record.writer_epoch = s.v.st.record.writer_epoch = s.v.self.record.writer_epoch = 4;
        assert_string_equal(rule(&s), "acquire");
        assert_int_equal(s.d.memo.bypass_epoch, i == 3 ? 6 : 0);
    }
}

/* Nobody was elected since it gave the Lease back, and nobody else answers. */
static void acquire__the_releaser_itself__needs_nobody(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.maybe_writable = false;
    s.v.pg.in_recovery = TRI_YES;
    s.v.n_peers = 0;
    s.v.lv.got_ms = NOW;
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(0),
                                            .volume = A, .end = {4, 200}};
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.memo.bypass_epoch, 6);
    assert_int_equal(s.d.memo.bypass_end.lsn, 200);
    s.v.pg.position.lsn = 199; /* its volume was put back */
    assert_string_not_equal(rule(&s), "acquire");
    s.v.pg.position.lsn = 200;
    s.v.lv.lease.release.end = (struct position){0}; /* given back before the end was known */
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.release.end = (struct position){4, 200};
    s.v.lv.lease.epoch = s.v.lv.lease.record.epoch = 6; /* somebody was elected */
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.epoch = s.v.lv.lease.record.epoch = 5;
    s.v.lv.lease.record.writer = B; /* it never was the writer: its release says nothing of others' WAL */
    assert_string_not_equal(rule(&s), "acquire");
}

/* Another one that comes back after a release that names nobody has reports to wait for. */
static void acquire__after_a_release_that_names_nobody__is_no_bypass(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv.got_ms = NOW;
    s.v.lv.changed_ms = NOW - 5000;
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(0),
                                            .volume = A, .end = {4, 200}};
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.memo.bypass_epoch, 0);
}

static void acquire__only_with_a_vote_that_reaches_its_record(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.changed_ms = NOW - 11000; /* others rank before it */
    s.v.pg.position.lsn = 99;
    assert_string_not_equal(rule(&s), "acquire");
    s.v.pg.position.lsn = 100;
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.record.m[1].in_v = false;
    assert_string_not_equal(rule(&s), "acquire");
}

static void acquire__goes_above_every_epoch_heard_of(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.self.durable_epoch = 7;
    rule(&s);
    assert_int_equal(s.d.write.want.epoch, 8);
    s.v.peer[1].state.durable_epoch = 11;
    rule(&s);
    assert_int_equal(s.d.write.want.epoch, 12);
}

static void acquire__sealed__only_by_the_sealed_volume(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.lease.record.sealed = A;
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.record.sealed = B;
    assert_string_equal(rule(&s), "acquire");
    elected(&s);
    s.v.lv.lease.record.sealed = A;
    assert_string_equal(rule(&s), "elect-wait");
}

static void create__gives_the_lease_to_nobody(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv.lease = (struct lease){0};
    assert_string_equal(rule(&s), "create");
    assert_int_equal(s.d.write.kind, WRITE_CREATE);
    assert_true(s.d.write.want.fresh);
    assert_string_equal(s.d.write.want.holder.name.s, "");
}

static void restored_lease__is_nobodys(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.outcome = OUTCOME_NONE;
    s.v.pg.maybe_writable = false;
    s.v.pg.in_recovery = TRI_YES;
    s.v.st.epoch = 6; /* somebody has acquired since */
    rule(&s);
    assert_true((s.d.facts & FACT(LEASE_EMPTY)) != 0);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

/* A candidate that yielded: the writer of the epoch before has the end, not this release. */
static void returning__releaser_of_an_epoch_without_a_writer__waits(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.lv.lease.record.writer = B;
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(1), .volume = B,
                                            .end = {4, 200}};
    s.v.lv.got_ms = NOW;
    s.v.n_peers = 0;
    assert_string_not_equal(rule(&s), "acquire");
}

static void renewal__of_a_stripped_lease__with_nothing_to_put_back(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.has_record = false;
    s.v.lv.lease.record.n = s.v.self.record.n = 0;
    s.v.pg.n_senders = 0;
    s.m.deadline_ms = NOW + 500;
    s.v.lv.write_sent_ms = NOW - 3000;
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_int_equal(s.d.write.want.record.n, 0);
}

static void no_record_anywhere__nobody_acquires(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 1);
    s.v.lv.lease = (struct lease){.exists = true, .epoch = 5, .duration_s = 10};
    s.v.lv.changed_ms = NOW - 20000;
    s.m.count_from_ms = NOW - 20000;
    s.v.lv.got_ms = NOW;
    assert_string_equal(rule(&s), "acquire"); /* own copy */
    s.v.st.has_record = s.v.self.has_record = false;
    assert_string_equal(rule(&s), "wait");
}

static void record_stripped_from_the_lease__put_back_above_what_may_have_been_written(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.lv.write_sent_ms = NOW - 2000;
    s.v.lv.lease.has_record = false;
    s.v.lv.lease.record = (struct record){0};
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_true(s.d.write.want.has_record && s.d.write.want.record.writer == A);
    assert_int_equal(s.d.write.want.record.rev, 5);
}

/* The state was deleted, and the Lease shows that there was a writer: the pod of its holder, whose volume
 * is empty, initialises nothing beside the data of others. */
static void writer_edited_away__is_not_a_new_cluster(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.st = (struct state_view){.known = true};
    s.v.lv.lease.holder = s.v.self.id;
    s.v.self.data = DATA_EMPTY;
    s.v.self.volume = 99;
    s.v.self.system_id = s.v.self.durable_epoch = 0;
    s.v.self.has_record = false;
    s.v.pg = (struct pg){.process = PG_DOWN};
    s.m.deadline_ms = NOW + 5000;
    s.v.lv.lease.record.writer = 0;
    assert_string_equal(rule(&s), "data-lost-release");
    assert_true((s.d.facts & FACT(CLUSTER_NEW)) == 0);
    s.v.lv.lease.record.writer_epoch = 0; /* the list says that others have data */
    assert_string_equal(rule(&s), "elect-foreign");
    assert_false(s.d.write.want.release.valid);
    struct ha_name own = name_of(1); /* chosen to initialise, and nobody was writer yet */
    s.v.lv.lease.record = (struct record){.epoch = 5, .rev = 1};
    record_add(&s.v.lv.lease.record, 99, &own)->in_v = true;
    assert_string_equal(rule(&s), "boot-initdb");
    s.v.lv.lease.record.m[0].flushed = (struct position){1, 50};
    assert_string_equal(rule(&s), "elect-foreign");
}

/* A member whose name somebody wrote into the Lease gives it back; the writer has not seen that yet. */
static void released_by_another_than_the_writer__is_waited_for(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(2), .volume = C};
    s.v.lv.got_ms = NOW;
    assert_string_not_equal(rule(&s), "acquire");
    assert_true((s.d.facts & FACT(LEASE_EMPTY)) != 0);
    s.v.lv.lease.release.releaser = name_of(0); /* the writer's pod, whose volume was found empty */
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.release.releaser = name_of(2);
    s.v.lv.lease.release.volume = A; /* the writer under another name */
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.release.volume = C;
    s.v.lv.lease.record.writer_epoch = 4; /* nobody became writer in this epoch */
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.record.writer_epoch = 5;
    s.v.lv.lease.record.writer = 0; /* it was edited away */
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.has_record = false;
    assert_true((rule(&s), s.d.facts & FACT(LEASE_RELEASED)) != 0);
}

static void expired_lease__acquired_only_after_the_whole_count_and_a_read(void **state)
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

static void collations_differ__not_elected_but_the_writer_returns(void **state)
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

static void no_acquisition__without_enough_members_answering(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[1].received_ms = 0;
    assert_string_not_equal(rule(&s), "acquire");
}

/* The count ends before the next try of a takeover: that is when the core wants to look again. */
static void retry__does_not_put_off_an_earlier_look(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.holder.boot = 6;
    s.v.pg.in_recovery = TRI_YES;
    s.v.pg.maybe_writable = false;
    s.v.lv.changed_ms = NOW - 10000 + 50;
    s.v.n_peers = 0;
    s.v.lv.outcome = OUTCOME_REFUSED;
    s.v.lv.write_sent_ms = NOW - 20;
    assert_string_equal(rule(&s), "takeover");
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    assert_int_equal(s.d.wake_at_ms, NOW + 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acquire__counts_the_longer_duration),
        cmocka_unit_test(acquire__counts_anew_after_a_gap),
        cmocka_unit_test(acquire__counts_the_longest_right_that_was_seen),
        cmocka_unit_test(acquire__clears_the_release),
        cmocka_unit_test(acquire__by_an_old_release__is_no_bypass),
        cmocka_unit_test(acquire__the_releaser_itself__needs_nobody),
        cmocka_unit_test(acquire__after_a_release_that_names_nobody__is_no_bypass),
        cmocka_unit_test(acquire__only_with_a_vote_that_reaches_its_record),
        cmocka_unit_test(acquire__goes_above_every_epoch_heard_of),
        cmocka_unit_test(acquire__sealed__only_by_the_sealed_volume),
        cmocka_unit_test(create__gives_the_lease_to_nobody),
        cmocka_unit_test(restored_lease__is_nobodys),
        cmocka_unit_test(returning__releaser_of_an_epoch_without_a_writer__waits),
        cmocka_unit_test(renewal__of_a_stripped_lease__with_nothing_to_put_back),
        cmocka_unit_test(no_record_anywhere__nobody_acquires),
        cmocka_unit_test(record_stripped_from_the_lease__put_back_above_what_may_have_been_written),
        cmocka_unit_test(writer_edited_away__is_not_a_new_cluster),
        cmocka_unit_test(released_by_another_than_the_writer__is_waited_for),
        cmocka_unit_test(expired_lease__acquired_only_after_the_whole_count_and_a_read),
        cmocka_unit_test(collations_differ__not_elected_but_the_writer_returns),
        cmocka_unit_test(no_acquisition__without_enough_members_answering),
        cmocka_unit_test(retry__does_not_put_off_an_earlier_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
