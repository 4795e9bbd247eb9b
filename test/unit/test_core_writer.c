/* One writer in an epoch: what the core makes of a Lease in which somebody has edited holder or writer.
 * pg-0 is the writer of epoch 5; each case edits the Lease and looks through one member's eyes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void edited(struct scene *s, int i, uint64_t writer)
{
    at(s, i);
    s->v.lv.lease.record.writer = writer;
}

static void live_writer__serves_on_and_puts_its_record_back(void **state)
{
    (void)state;
    static const uint64_t by_hand[] = {B, 0};
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        edited(&s, 0, by_hand[i]);
        s.v.lv.lease.record.rev = 8;
        s.m.deadline_ms = NOW + 5000;
        assert_string_equal(rule(&s), "serve");
        assert_true(s.d.serving);
        assert_true(s.d.alarm);
        assert_int_equal(s.d.write.kind, WRITE_RENEW);
        assert_int_equal(s.d.write.want.record.writer, A);
        assert_int_equal(s.d.write.want.record.writer_epoch, 5);
        assert_int_equal(s.d.write.want.record.rev, 10); /* above what others may have seen */
        assert_false(s.d.store_record);
    }
}

static void live_writer__lease_emptied_too__puts_both_back(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 0, C);
    s.v.lv.lease.holder = (struct identity){0};
    s.m.deadline_ms = NOW + 5000;
    assert_string_equal(rule(&s), "adopt");
    assert_int_equal(s.d.write.want.record.writer, A);
    assert_int_equal(s.d.write.want.record.rev, 5);
}

/* A change of the record that is due at the same moment must not fall below the edited one. */
static void live_writer__a_change_that_is_due_outranks_the_edit(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 0, B);
    s.v.lv.lease.record.rev = 8;
    s.v.set.k = 2;
    s.v.pg.ssn.w = 2;
    s.v.pg.ssn_proof_lsn = 150;
    s.m.deadline_ms = NOW + 5000;
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.write.want.record.w, 2);
    assert_int_equal(s.d.write.want.record.writer, A);
    assert_true(s.d.write.want.record.rev >= 10);
}

static void writer_without_a_right__gives_the_lease_back(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 0, B);
    s.v.lv.outcome = OUTCOME_UNKNOWN;
    s.v.lv.got_ms = NOW;
    assert_string_equal(rule(&s), "lapsed");
    s.v.pg.maybe_writable = false;
    s.v.pg.in_recovery = TRI_YES;
    s.v.lv.write_done_ms = NOW - 1000;
    s.v.lv.write_sent_ms = NOW - 2000;
    assert_string_equal(rule(&s), "elect-foreign");
    assert_int_equal(s.d.write.kind, WRITE_RELEASE);
    assert_false(s.d.write.want.release.valid); /* nobody is spared the wait for another's right */
}

/* It has never asked for it, so somebody else has: it neither takes over nor stores it, not even the epoch. */
static void named_by_hand__does_nothing(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 1, B);
    s.v.self.durable_epoch = 4; /* it slept while epoch 5 began, and has no copy of its record */
    s.v.self.record.epoch = s.v.self.record.writer_epoch = 4;
    s.v.self.record.writer = B;
    s.v.st.has_record = false;
    assert_string_equal(rule(&s), "disputed");
    assert_false(s.d.store_record);
    assert_int_equal(s.d.store_epoch, 0);
    assert_true(s.d.alarm);
    s.v.lv.lease.holder = identity_of(1); /* holder and writer: to itself an election that it has won */
    assert_string_equal(rule(&s), "elect-foreign");
    assert_false(s.d.write.want.release.valid);
    assert_int_equal(s.d.store_epoch, 0);
    s.m.named_epoch = 5;
    assert_true((decide(&s.v, &s.m, &s.d), s.d.facts & FACT(WRITER_ME)) != 0);
    s.m.named_epoch = 4;
    s.v.self.record.writer_epoch = 5; /* it had seen itself named before its agent was restarted */
    assert_true((decide(&s.v, &s.m, &s.d), s.d.facts & FACT(WRITER_ME)) != 0);
}

/* It slept as writer of epoch 4, and is holder of 5 by hand; nothing that it knows tells of a writer of 5. */
static void holder_by_hand__takes_no_epoch_while_writable(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 0, A);
    s.v.self.durable_epoch = 4;
    s.v.self.has_record = s.v.st.has_record = false;
    s.v.lv.lease.record.writer_epoch = 0;
    assert_string_equal(rule(&s), "deposed");
    assert_int_equal(s.d.store_epoch, 0);
    s.v.pg.maybe_writable = false;
    s.v.pg.in_recovery = TRI_YES;
    (void)rule(&s);
    assert_int_equal(s.d.store_epoch, 5);
}

/* Its hypervisor stopped it as writer of epoch 4, so by its clock the right is live; then somebody wrote it
 * into the Lease of epoch 5, as holder and as writer. */
static void writer_of_an_older_epoch__named_by_hand__is_over(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 0, A);
    s.v.self.durable_epoch = s.v.self.record.epoch = s.v.self.record.writer_epoch = 4;
    s.v.st.has_record = false;
    s.m.named_epoch = 0;
    s.m.deadline_ms = NOW + 5000;
    assert_string_equal(rule(&s), "deposed");
    assert_int_equal(s.d.deadline_ms, 0);
    assert_true((s.d.effects & (EFF_FENCE | EFF_LEASE_WRITE)) == EFF_FENCE);
    s.v.pg.maybe_writable = false; /* nor does what is left of the right make it the writer of 5 */
    s.v.pg.in_recovery = TRI_YES;
    assert_string_equal(rule(&s), "elect-foreign");
    assert_int_equal(s.d.store_epoch, 0);
}

static void follower__the_writer_it_has_seen__stands_against_the_same_version(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 1, C);
    assert_string_equal(rule(&s), "disputed");
    assert_true((s.d.effects & (EFF_FOLLOW | EFF_DETACH | EFF_REWIND | EFF_CLONE)) == 0);
    s.v.self.has_record = false; /* the ConfigMap has the other one */
    assert_string_equal(rule(&s), "disputed");
    s.v.self.has_record = true;
    s.v.self.record.writer = C; /* seen edited first, and then put right by the writer */
    s.v.st.record.writer = C;
    s.v.lv.lease.record.writer = A;
    assert_string_equal(rule(&s), "disputed");
    s.v.lv.lease.record.rev += 2;
    assert_string_equal(rule(&s), "follow");
    assert_true(s.d.store_record);
    s.v.lv.lease.record.writer_epoch = 0; /* no version lets an epoch lose its writer */
    assert_string_equal(rule(&s), "disputed");
}

/* A peer knows of a newer record already, and this member's own copy is an older one. */
static void named_by_hand__in_an_old_lease__is_not_stored_either(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 1, B);
    s.v.self.record.rev = 2;
    s.v.peer[0].state.record_epoch = 5;
    s.v.peer[0].state.record_rev = 9;
    (void)rule(&s);
    assert_true((s.d.facts & FACT(LEASE_EMPTY)) != 0);
    assert_false(s.d.store_record);
}

static void disputed__ends_with_the_next_election(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 1, C);
    s.v.lv.changed_ms = NOW - 10000;
    s.v.lv.got_ms = NOW;
    s.v.peer[0].received_ms = 0;
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.write.want.epoch, 6);
    s.v.lv.lease = s.d.write.want;
    s.m = s.d.memo;
    assert_true((rule(&s), s.d.facts & FACT(WRITER_DISPUTED)) == 0);
}

/* Named as holder of an epoch whose writer was edited away, as a process that died in its election is, too: it
 * has not acquired that epoch, and nobody may take its word that nobody writes. */
static void holder_that_did_not_acquire__gives_it_back_and_all_count(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    assert_string_equal(rule(&s), "elect-writer");
    s.m = s.d.memo; /* an acquisition of the next epoch that fails changes nothing */
    s.m.acquired_epoch = 6;
    assert_string_equal(rule(&s), "elect-writer");
    forget(&s);
    assert_string_equal(rule(&s), "elect-foreign");
    assert_int_equal(s.d.write.kind, WRITE_RELEASE);
    assert_false(s.d.write.want.release.valid);
    struct lease given = s.d.write.want;
    at(&s, 2);
    s.v.lv.lease = given;
    assert_true((rule(&s), s.d.facts & FACT(LEASE_RELEASED)) == 0);
}

/* What an agent remembers of a Lease that it has not read is nothing to go by after its start. */
static void lease_not_read__is_not_stored(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.self.has_record = false;
    assert_true((rule(&s), s.d.store_record));
    s.v.lv.known = false;
    assert_false((rule(&s), s.d.store_record));
}

/* Edited in the epoch before, and the ConfigMap is gone: still not a new cluster. */
static void writer_edited_away__is_no_new_cluster(void **state)
{
    (void)state;
    struct scene s;
    edited(&s, 1, 0);
    s.v.lv.lease.epoch = 6;
    s.v.self.has_record = false;
    s.v.st = (struct state_view){.known = true};
    assert_true((rule(&s), s.d.facts & (FACT(CLUSTER_NEW) | FACT(WRITER_DISPUTED))) == 0);
    s.v.lv.lease.record.writer_epoch = 0;
    assert_true((rule(&s), s.d.facts & FACT(CLUSTER_NEW)) != 0);
}

/* Both sides of each condition under which a primary whose volume hangs gives its right up. */
static void volume_hangs__given_up_only_when_a_standby_can_be_elected(void **state)
{
    (void)state;
    struct scene s;
    memset(&s.d, 0, sizeof s.d);
    healthy(&s.v, &s.m, 0);
    s.v.pg.storage_since_ms = NOW - 20000;
    s.v.lv.write_sent_ms = NOW - 3000; /* the next renewal is due */
    assert_string_equal(rule(&s), "storage-hangs");
    assert_true((s.d.effects & EFF_FENCE) != 0);
    assert_int_equal(s.d.write.kind, WRITE_NONE); /* neither renewed nor released */
    assert_int_equal(s.d.deadline_ms, 0);
    assert_false(s.d.serving);
    s.m = s.d.memo;
    s.v.lv.write_seq++; /* a renewal that was on its way has succeeded */
    s.v.lv.write_sent_ms = NOW;
    s.v.pg.storage_since_ms = 0;
    assert_string_equal(rule(&s), "lapsed");

    healthy(&s.v, &s.m, 0);
    s.v.pg.storage_since_ms = NOW - 19999;
    assert_string_equal(rule(&s), "serve");
    s.v.pg.storage_since_ms = NOW - 20000;
    s.v.peer[0].state.nofailover = s.v.peer[1].state.nofailover = true;
    assert_string_equal(rule(&s), "serve");
    s.v.peer[0].state.nofailover = false;
    assert_string_equal(rule(&s), "storage-hangs");
    s.v.peer[1].received_ms = 0; /* two reports are needed */
    assert_string_equal(rule(&s), "serve");
    s.v.pg.position.lsn = 99; /* our own would count no more, and theirs all the same */
    assert_string_equal(rule(&s), "serve");
    s.v.peer[1].received_ms = NOW - 50;
    assert_string_equal(rule(&s), "storage-hangs");
    s.v.pg.position.lsn = 200;
    s.v.peer[1].received_ms = 0;
    s.v.peer[1].received_ms = NOW - 50;
    s.v.set.crash_policy = CRASH_RESTART;
    assert_string_equal(rule(&s), "serve");
    s.v.set.crash_policy = CRASH_AUTO;
    s.v.st.paused = true;
    assert_string_equal(rule(&s), "serve");
    s.v.st.paused = false;
    s.v.set.mode = REPL_ASYNC;
    s.v.lv.lease.record.w = s.v.self.record.w = s.v.st.record.w = 0;
    assert_string_equal(rule(&s), "serve");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_writer__serves_on_and_puts_its_record_back),
        cmocka_unit_test(live_writer__lease_emptied_too__puts_both_back),
        cmocka_unit_test(live_writer__a_change_that_is_due_outranks_the_edit),
        cmocka_unit_test(writer_without_a_right__gives_the_lease_back),
        cmocka_unit_test(named_by_hand__does_nothing),
        cmocka_unit_test(holder_by_hand__takes_no_epoch_while_writable),
        cmocka_unit_test(writer_of_an_older_epoch__named_by_hand__is_over),
        cmocka_unit_test(follower__the_writer_it_has_seen__stands_against_the_same_version),
        cmocka_unit_test(named_by_hand__in_an_old_lease__is_not_stored_either),
        cmocka_unit_test(disputed__ends_with_the_next_election),
        cmocka_unit_test(holder_that_did_not_acquire__gives_it_back_and_all_count),
        cmocka_unit_test(lease_not_read__is_not_stored),
        cmocka_unit_test(writer_edited_away__is_no_new_cluster),
        cmocka_unit_test(volume_hangs__given_up_only_when_a_standby_can_be_elected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
