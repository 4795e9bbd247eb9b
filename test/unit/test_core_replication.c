/* V, W, the seal and the setting; slots; under which name a standby streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void follow__learns_the_epoch_first(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.self.durable_epoch = 0;
    s.v.self.has_record = false;
    assert_string_equal(rule(&s), "follow");
    assert_int_equal(s.d.store_epoch, 5);
    assert_true(s.d.store_record);
    s.v.self.durable_epoch = 5;
    s.v.self.has_record = true;
    s.v.self.record.rev = 2;
    rule(&s);
    assert_true(s.d.store_record); /* a later one, too */
}

static void standby__never_has_an_empty_setting(void **state)
{
    (void)state;
    struct record r = three();
    assert_int_equal(ssn_of_record(&r, B, false, REPL_QUORUM).n, 2);
    r.w = 0;
    assert_int_equal(ssn_of_record(&r, B, false, REPL_QUORUM).kind, SSN_UNSATISFIABLE);
    assert_int_equal(ssn_of_record(&r, A, true, REPL_QUORUM).kind, SSN_EMPTY);
}

static void admission__waits_for_w_members(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.open = TRI_NO;
    s.v.pg.closed = TRI_YES;
    s.v.pg.promoted_end_lsn = 201;
    assert_string_equal(rule(&s), "admit-wait");
    s.v.pg.sender[0].flushed_lsn = 201;
    assert_string_equal(rule(&s), "admit");
}

static void barrier__needs_force_and_flush(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.set.k = 2;
    s.v.pg.ssn.w = 2;
    s.v.pg.ssn_proof_lsn = 200;
    rule(&s);
    assert_int_equal(s.d.write.want.record.w, 2);
    s.v.pg.ssn_in_force = false; /* a reload is not its effect */
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    s.v.pg.ssn_in_force = true;
    s.v.pg.ssn_proof_lsn = 201;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

static void leave__by_the_barrier(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.n_senders = 1;
    s.m.gone[2].volume = C;
    s.m.gone[2].since_ms = NOW - 15000;
    rule(&s);
    assert_int_equal(s.d.ssn.n, 1);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    s.v.pg.ssn = s.d.ssn;
    s.v.pg.ssn_proof_lsn = 200;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_int_equal(record_votes(&s.d.write.want.record), 2);
    s.v.pg.n_senders = 0; /* the last copies are needed */
    rule(&s);
    assert_int_equal(record_votes(&s.d.write.want.record), 0);
}

static void growth__recorded_first_and_only_when_caught_up(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.record.m[2].in_v = s.v.self.record.m[2].in_v = false;
    s.v.pg.ssn = ssn_of_record(&s.v.lv.lease.record, A, true, REPL_QUORUM);
    rule(&s);
    assert_int_equal(record_votes(&s.d.write.want.record), 3);
    assert_int_equal(s.d.ssn.n, 1);
    s.v.pg.sender[1].caught_up = false;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

/* Its stream has outlived the promotion, and nothing of the new timeline has come yet. */
static void growth__only_with_a_record_of_this_timeline(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.record.m[2].in_v = s.v.self.record.m[2].in_v = false;
    s.v.peer[1].state.position.timeline = 3;
    s.v.pg.promoted_end_lsn = 201;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    s.v.pg.promoted_end_lsn = 200;
    rule(&s);
    assert_int_equal(record_votes(&s.d.write.want.record), 3);
    s.v.pg.promoted_end_lsn = 0; /* the agent was restarted since the promotion */
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

static void seal__recorded_with_w_0(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.n_senders = 0;
    s.m.unsat_since_ms = NOW - 4999;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    s.m.unsat_since_ms = NOW - 5000;
    rule(&s);
    assert_int_equal(s.d.write.want.record.w, 0);
    assert_int_equal(s.d.write.want.record.sealed, A);
    assert_int_equal(s.d.ssn.kind, SSN_SET);
}

static void positions__never_ahead_of_what_was_flushed(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.write_sent_ms = NOW - 2000;
    s.v.pg.sender[0].flushed_lsn = 150;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_int_equal(s.d.write.want.record.m[0].flushed.lsn, 200);
    assert_int_equal(s.d.write.want.record.m[1].flushed.lsn, 150);
}

static void setting__what_is_not_known_equals_nothing(void **state)
{
    (void)state;
    struct ssn a = {.kind = SSN_UNKNOWN}, b = {.kind = SSN_EMPTY};
    assert_false(ssn_eq(&a, &a));
    assert_false(ssn_eq(&a, &b));
    assert_true(ssn_eq(&b, &b));
}

/* Just promoted: W is lowered at once only where nobody can be hoped for. */
static void degrade__hopes_for_who_answers_with_data_or_may_answer(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.pg.open = TRI_NO;
    s.v.pg.closed = TRI_YES;
    s.v.pg.n_senders = 0;
    s.v.pg.promoted_end_lsn = 200;
    s.v.pods_known = true;
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    for (int i = 0; i < 2; i++)
        s.v.peer[i].state.data = DATA_EMPTY;
    (void)rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
    for (int i = 0; i < 2; i++)
        stale(&s.v.peer[i]);
    (void)rule(&s); /* asked, and not silent for long */
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    for (int i = 0; i < 2; i++)
        s.v.peer[i].pod_known = false;
    (void)rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
}

static void leave__not_for_a_volume_that_is_not_known_nor_with_no_confirmation(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.pg.n_senders = 1;
    s.m.gone[2].volume = C;
    s.m.gone[2].since_ms = NOW - 1000;
    s.v.peer[1].state.volume = 0;
    (void)rule(&s);
    assert_true(ssn_has(&s.d.ssn, C));
    s.v.peer[1].state.volume = 99; /* replaced: at once */
    (void)rule(&s);
    assert_false(ssn_has(&s.d.ssn, C));
    s.v.pg.n_senders = 0;
    s.v.lv.lease.record.w = 0;
    s.v.pg.ssn = (struct ssn){.kind = SSN_EMPTY};
    (void)rule(&s); /* its copy may be the only other one */
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

static void confirmations__lowered_as_soon_as_the_operator_asks_for_fewer(void **state)
{
    (void)state;
    struct scene s;
    for (int strict = 0; strict < 2; strict++) {
        healthy(&s.v, &s.m, 0);
        s.v.set.strict = strict != 0;
        s.v.lv.lease.record.w = 2;
        s.v.pg.ssn = ssn_of_record(&s.v.lv.lease.record, A, true, REPL_QUORUM);
        assert_string_equal(rule(&s), "serve");
        assert_int_equal(s.d.write.want.record.w, 1);
        assert_int_equal(s.d.ssn.w, 2); /* recorded first, then set */
    }
}

static void sealed__asynchronous_replication_lifts_the_seal(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 0);
    s.v.set.mode = REPL_ASYNC;
    s.v.lv.lease.record.sealed = A;
    s.v.lv.lease.record.w = 0;
    s.v.pg.ssn = (struct ssn){.kind = SSN_EMPTY};
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_true(s.d.write.want.record.sealed == 0);
    assert_int_equal(s.d.write.want.record.rev, 4);
}

static void full_record__takes_nobody_more(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 0);
    struct record *r = &s.v.lv.lease.record;
    for (uint64_t v = 1; r->n < HA_MEMBERS_MAX; v++) {
        struct ha_name n = {""};
        snprintf(n.s, sizeof n.s, "pg-%d", 2 + (int)v);
        assert_non_null(record_add(r, v, &n));
    }
    struct ha_name more = {"pg-99"};
    assert_null(record_add(r, 999, &more));
    assert_ptr_equal(record_add(r, C, &more), &r->m[2]); /* who is in it takes another name */
    s.v.peer[1].state.volume = 999;
    s.v.pg.sender[1] = (struct walsender){999, true, 200, true};
    s.v.lv.write_sent_ms = NOW - 2000;
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_null(record_find(&s.d.write.want.record, 999));
}

static void last_standby_gone__sealed_only_after_the_record(void **state)
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
static void promoted_while_nobody_could_be_asked__no_seal_before_its_time(void **state)
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

static void slots__settled_only_when_every_member_shows_its_volume(void **state)
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

static void renewal__records_no_position_that_may_split_a_record(void **state)
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

static void raising_w__set_first_and_recorded_when_proved(void **state)
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

static void open_outcome__leaves_the_setting_alone(void **state)
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
static void follow__confirms_only_with_wal_that_is_the_writers(void **state)
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

static void follow__a_lineage_is_proved_once_in_an_epoch(void **state)
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

static void replica__admits_nobody_before_its_wal_is_the_writers(void **state)
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
        cmocka_unit_test(follow__learns_the_epoch_first),
        cmocka_unit_test(standby__never_has_an_empty_setting),
        cmocka_unit_test(admission__waits_for_w_members),
        cmocka_unit_test(barrier__needs_force_and_flush),
        cmocka_unit_test(leave__by_the_barrier),
        cmocka_unit_test(growth__recorded_first_and_only_when_caught_up),
        cmocka_unit_test(growth__only_with_a_record_of_this_timeline),
        cmocka_unit_test(seal__recorded_with_w_0),
        cmocka_unit_test(positions__never_ahead_of_what_was_flushed),
        cmocka_unit_test(setting__what_is_not_known_equals_nothing),
        cmocka_unit_test(degrade__hopes_for_who_answers_with_data_or_may_answer),
        cmocka_unit_test(leave__not_for_a_volume_that_is_not_known_nor_with_no_confirmation),
        cmocka_unit_test(confirmations__lowered_as_soon_as_the_operator_asks_for_fewer),
        cmocka_unit_test(sealed__asynchronous_replication_lifts_the_seal),
        cmocka_unit_test(full_record__takes_nobody_more),
        cmocka_unit_test(last_standby_gone__sealed_only_after_the_record),
        cmocka_unit_test(promoted_while_nobody_could_be_asked__no_seal_before_its_time),
        cmocka_unit_test(slots__settled_only_when_every_member_shows_its_volume),
        cmocka_unit_test(renewal__records_no_position_that_may_split_a_record),
        cmocka_unit_test(raising_w__set_first_and_recorded_when_proved),
        cmocka_unit_test(open_outcome__leaves_the_setting_alone),
        cmocka_unit_test(follow__confirms_only_with_wal_that_is_the_writers),
        cmocka_unit_test(follow__a_lineage_is_proved_once_in_an_epoch),
        cmocka_unit_test(replica__admits_nobody_before_its_wal_is_the_writers),
        cmocka_unit_test(ssn__more_confirmations_than_others__unsatisfiable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
