/* V, W, the seal and the setting; slots; under which name a standby streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void core__last_standby_gone__sealed_only_after_the_record(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.n_senders = 0;
    s.m.unsat_since_ms = NOW - 5000;
    rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
    assert_int_equal(s.d.ssn.kind, SSN_SET); /* emptied only when the record shows the seal */
    s.v.set.strict = true;
    rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, 0);
}

/* An agent that has just started knows nobody's address: that is no reason to give up the copies. */
static void core__promoted_while_nobody_could_be_asked__no_seal_before_its_time(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.n_senders = s.v.n_peers = 0;
    s.v.pg.open = TRI_NO;
    s.v.pg.closed = TRI_YES;
    s.v.pg.promoted_ms = NOW - 10;
    s.v.pg.promoted_end_lsn = 200;
    rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, 0);
    s.m = s.d.memo;
    s.v.pods_known = true; /* and there is no other pod */
    rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
    s.v.n_peers = 2;
    for (int i = 0; i < 2; i++)
        s.v.peer[i].received_ms = s.v.peer[i].sent_ms = 0;
    rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, 0); /* not asked yet */
    for (int i = 0; i < 2; i++)
        s.v.peer[i].silent_since_ms = NOW - s.v.set.retry_ms;
    rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
}

static void core__slots__settled_only_when_every_member_shows_its_volume(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.set.members = 3;
    rule(&s);
    assert_true(s.d.slots_settled);
    s.v.peer[1].state.data = DATA_PARTIAL;
    rule(&s);
    assert_false(s.d.slots_settled);
    s.v.peer[1].state.data = DATA_OK;
    s.v.peer[1].state.volume = 77; /* copied anew, not listed yet */
    rule(&s);
    assert_false(s.d.slots_settled);
    s.v.peer[1].state.volume = C;
    s.v.peer[0].sent_ms = NOW - 60000;
    rule(&s);
    assert_false(s.d.slots_settled);
    s.v.set.members = 2; /* it was taken away: fewer are expected, its pod is deleted */
    s.v.pods_known = true;
    s.v.peer[0].pod_known = false;
    rule(&s);
    assert_false(s.d.slots_settled); /* its volume is listed: it may come back */
    assert_false(core_is_gone(&s.v, &s.v.peer[0]));
    s.v.lv.lease.record.m[1] = s.v.lv.lease.record.m[2];
    s.v.lv.lease.record.n = 2;
    s.v.pods_known = false;
    rule(&s);
    assert_false(s.d.slots_settled);
    s.v.pods_known = true;
    rule(&s);
    assert_true(s.d.slots_settled);
    healthy(&s.v, &s.m, 0);
    s.v.set.members = 4;
    rule(&s);
    assert_false(s.d.slots_settled);
}

static void core__renewal__records_no_position_that_may_split_a_record(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.write_sent_ms = NOW - 2000;
    s.v.lv.write_done_ms = NOW - 1990;
    s.v.pg.position.lsn = 0x50012A8;
    s.v.pg.sender[0].flushed_lsn = 0x5002000; /* a page was sent, not a record */
    s.v.pg.sender[1].flushed_lsn = 0x50012A8;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    const struct record *r = &s.d.write.want.record;
    assert_int_equal(record_find(r, A)->flushed.lsn, 0x50012A8);
    assert_int_equal(record_find(r, B)->flushed.lsn, record_find(&s.v.lv.lease.record, B)->flushed.lsn);
    assert_int_equal(record_find(r, C)->flushed.lsn, 0x50012A8);
}

static void core__raising_w__set_first_and_recorded_when_proved(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.set.k = 2;
    rule(&s);
    assert_int_equal(s.d.ssn.w, 2);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    s.v.pg.ssn = s.d.ssn;
    s.v.pg.ssn_in_force = true;
    s.v.pg.ssn_proof_lsn = 201;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE); /* nobody has flushed 201 yet */
    s.v.pg.ssn_proof_lsn = 200;
    rule(&s);
    assert_int_equal(s.d.write.want.record.w, 2);
}

static void core__open_outcome__leaves_the_setting_alone(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.record.w = s.v.self.record.w = 0;
    s.v.pg.ssn.w = 1; /* set first, recorded by a write whose reply was lost */
    s.v.set.k = 0;
    s.m.has_pending = true;
    s.m.proven = true;
    s.m.deadline_ms = NOW + 5000;
    s.m.right_seq = 1;
    s.v.lv.outcome = OUTCOME_UNKNOWN;
    s.v.lv.got_ms = NOW - 100;
    rule(&s);
    assert_true(ssn_eq(&s.d.ssn, &s.v.pg.ssn));
}

/* PostgreSQL counts what a receiver has flushed, also on a timeline that the primary has left. */
static void core__follow__confirms_only_with_wal_that_is_the_writers(void **state)
{
    (void)state;
    struct scene s, w;
    at(&s, 1);
    s.v.pg.receiver_timeline = 0;
    assert_string_equal(rule(&s), "follow");
    assert_false(s.d.provisional); /* its WAL ends on the timeline that only this writer has */
    w = s;
    w.v.pg.accounted = TRI_NO; /* nobody has looked what lies behind */
    rule(&w);
    assert_true(w.d.provisional);
    assert_true((w.d.effects & EFF_FOLLOW) != 0);
    w.v.pg.receiver_timeline = 3;
    rule(&w);
    assert_true(w.d.provisional);
    w.v.pg.receiver_timeline = 4; /* PostgreSQL itself has found the way there */
    rule(&w);
    assert_false(w.d.provisional);

    s.v.pg.position = (struct position){3, 200};
    s.v.lv.lease.record.m[0].flushed = (struct position){3, 200};
    rule(&s);
    assert_false(s.d.provisional); /* the writer was elected with as much */
    s.v.pg.position.lsn = 201;
    rule(&s);
    assert_true(s.d.provisional);
    s.v.pg.position.lsn = 100;
    s.v.lv.lease.record.m[0].flushed.timeline = 4;
    rule(&s);
    assert_true(s.d.provisional);
    s.v.pg.history_holds = true;
    rule(&s);
    assert_false(s.d.provisional);
}

static void core__follow__a_lineage_is_proved_once_in_an_epoch(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    rule(&s);
    s.m = s.d.memo;
    s.v.pg.accounted = TRI_NO;
    rule(&s);
    assert_false(s.d.provisional);
    s.m.lineage_epoch = 4;
    rule(&s);
    assert_true(s.d.provisional);
    s.m.lineage_epoch = 5;
    s.v.peer[1].state.streams_from = 0; /* too few others have it for a repair now */
    s.v.pg.diverged = TRI_YES;
    assert_string_equal(rule(&s), "follow");
    assert_true(s.d.provisional);
    assert_int_equal(s.d.memo.lineage_epoch, 0);
    s.v.pg.diverged = TRI_UNKNOWN;
    rule(&s);
    assert_false(s.d.provisional);
    s.v.pg.local_timeline = 5; /* somebody has promoted it by hand since */
    rule(&s);
    assert_true(s.d.provisional);
}

static void core__replica__admits_nobody_before_its_wal_is_the_writers(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.pg.open = TRI_NO;
    rule(&s);
    assert_true((s.d.effects & EFF_OPEN) != 0);
    s.v.pg.accounted = TRI_NO;
    rule(&s);
    assert_true((s.d.effects & EFF_OPEN) == 0);
}

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
        cmocka_unit_test(core__last_standby_gone__sealed_only_after_the_record),
        cmocka_unit_test(core__promoted_while_nobody_could_be_asked__no_seal_before_its_time),
        cmocka_unit_test(core__slots__settled_only_when_every_member_shows_its_volume),
        cmocka_unit_test(core__renewal__records_no_position_that_may_split_a_record),
        cmocka_unit_test(core__raising_w__set_first_and_recorded_when_proved),
        cmocka_unit_test(core__open_outcome__leaves_the_setting_alone),
        cmocka_unit_test(core__follow__confirms_only_with_wal_that_is_the_writers),
        cmocka_unit_test(core__follow__a_lineage_is_proved_once_in_an_epoch),
        cmocka_unit_test(core__replica__admits_nobody_before_its_wal_is_the_writers),
        cmocka_unit_test(ssn__more_confirmations_than_others__unsatisfiable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
