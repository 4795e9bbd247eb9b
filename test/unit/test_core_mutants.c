/* Boundaries that only a deliberate defect showed to be untested (test/mutants): one turn of the core
 * for each, both sides of the edge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/page.h"
#include "healthy.h"

/* The writer of epoch 6, pg-1, is ready to promote to timeline 5. */
static void ready(struct scene *s)
{
    elected(s);
    struct view *v = &s->v;
    v->lv.lease.record.writer = B;
    v->lv.lease.record.writer_epoch = 6;
    v->lv.lease.record.timeline = 5;
    v->lv.lease.record.epoch = 6;
    v->self.record = v->lv.lease.record;
    v->st.epoch = 6;
    v->pg.closed = TRI_YES;
    v->pg.open = TRI_NO;
    v->pg.ssn = ssn_of_record(&v->lv.lease.record, B, false, REPL_QUORUM);
}

static void away(struct scene *s)
{
    at(s, 0);
    s->v.lv.outcome = OUTCOME_UNKNOWN;
    s->v.lv.write_seq = 2;
    s->v.lv.write_sent_ms = NOW - 2500;
    s->v.lv.write_done_ms = NOW - 500;
    s->v.lv.got_ms = NOW - 4000;
    s->m.proven = true;
    s->m.right_seq = 1;
    s->m.deadline_ms = NOW + 3000;
    for (int i = 0; i < 2; i++) {
        s->v.peer[i].promise_sent_ms = NOW - 20 - i;
        s->v.peer[i].promise_until_ms = s->v.peer[i].promise_sent_ms + 10000;
        s->v.peer[i].promise_epoch = 5;
    }
}

/* --- the right ------------------------------------------------------------------------------- */

static void right__ends_at_the_deadline(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.outcome = OUTCOME_NONE;
    s.m.deadline_ms = NOW + 1;
    assert_string_equal(rule(&s), "serve");
    s.m.deadline_ms = NOW;
    assert_string_equal(rule(&s), "lapsed");
}

static void right__scaled_to_a_shorter_lease(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.write_duration_s = 5;
    rule(&s);
    assert_int_equal(s.d.deadline_ms, NOW - 500 + 3500);
}

static void right__bound_before_a_shorter_lease_is_written(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.duration_s = 30;
    s.v.lv.outcome = OUTCOME_NONE;
    s.v.lv.write_sent_ms = NOW - 2000;
    s.m.proven = true;
    s.m.deadline_ms = NOW + 20000;
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.write.want.duration_s, 10);
    assert_int_equal(s.d.deadline_ms, NOW + 7000);
}

static void right__not_from_a_write_that_a_read_confirms(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.outcome = OUTCOME_UNKNOWN;
    s.v.lv.got_ms = NOW - 100;
    assert_string_equal(rule(&s), "lapsed");
}

static void right__of_an_older_epoch_ends_with_an_acquisition(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    s.m.deadline_ms = NOW + 3000;
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.memo.deadline_ms, 0);
}

static void right__not_from_a_success_after_a_promise(void **state)
{
    (void)state;
    struct scene s;
    ready(&s);
    s.m.promised_to = name_of(0);
    s.m.promise_epoch = 6;
    s.m.promise_until_ms = NOW + 5000;
    rule(&s);
    assert_int_equal(s.d.deadline_ms, 0);
    assert_true((s.d.effects & EFF_PROMOTE) == 0);
}

static void right__prepared_for_release__is_forfeit(void **state)
{
    (void)state;
    struct scene s;
    elected(&s);
    s.v.peer[1].state.position.lsn = 201;
    assert_string_equal(rule(&s), "elect-yield");
    assert_int_equal(s.d.write.kind, WRITE_RELEASE);
    assert_int_equal(s.d.memo.deadline_ms, 0);
    assert_int_equal(s.d.memo.forfeit_ms, NOW);
}

static void right__newer_incarnation_of_the_pod_is_another_holder(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.holder.boot = 8;
    assert_string_equal(rule(&s), "deposed");
}

/* --- failsafe -------------------------------------------------------------------------------- */

static void failsafe__asks_the_list_of_an_open_write_too(void **state)
{
    (void)state;
    struct scene s;
    away(&s);
    rule(&s);
    assert_int_equal(s.d.deadline_ms, NOW - 21 + 7000);
    s.m.has_pending = true;
    s.m.pending = three();
    struct ha_name n = name_of(3);
    assert_non_null(record_add(&s.m.pending, 0xddull, &n));
    rule(&s);
    assert_int_equal(s.d.deadline_ms, NOW + 3000);
}

static void failsafe__needs_a_success_of_this_process(void **state)
{
    (void)state;
    struct scene s;
    away(&s);
    s.m.proven = false;
    rule(&s);
    assert_false(s.d.failsafe);
    assert_int_equal(s.d.deadline_ms, NOW + 3000);
}

static void failsafe__promise_of_another_epoch_counts_for_nothing(void **state)
{
    (void)state;
    struct scene s;
    away(&s);
    s.v.peer[1].promise_epoch = 4;
    rule(&s);
    assert_int_equal(s.d.deadline_ms, NOW + 3000);
}

static void ask_promise(struct scene *s, int from, uint64_t epoch, int64_t ms)
{
    s->v.in.promise = true;
    s->v.in.promise_req = (struct peer_request){PEER_PROMISE, identity_of(from), epoch, ms};
}

static void promise__not_while_another_binds(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    ask_promise(&s, 0, 5, 10000);
    s.m.promised_to = name_of(2);
    s.m.promise_until_ms = NOW + 1;
    rule(&s);
    assert_int_equal(s.d.promise_ms, 0);
    s.m.promise_until_ms = NOW;
    rule(&s);
    assert_int_equal(s.d.promise_ms, 10000);
}

static void promise__only_to_the_holder(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    ask_promise(&s, 2, 5, 10000);
    rule(&s);
    assert_int_equal(s.d.promise_ms, 0);
}

static void promise__never_shorter_than_the_lease(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    ask_promise(&s, 0, 5, 1);
    s.v.lv.lease.duration_s = 30;
    rule(&s);
    assert_int_equal(s.d.promise_ms, 30000);
}

static void promise__bars_acquisition(void **state)
{
    (void)state;
    struct scene s;
    expired(&s);
    assert_string_equal(rule(&s), "acquire");
    s.m.promised_to = name_of(0);
    s.m.promise_epoch = 5;
    s.m.promise_until_ms = NOW + 1;
    assert_string_not_equal(rule(&s), "acquire");
}

/* --- who may acquire --------------------------------------------------------------------------- */

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

/* --- votes, reports, promotion ------------------------------------------------------------------ */

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

static void bootstrap__never_over_data(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg = (struct pg){.process = PG_DOWN};
    s.v.self.data = DATA_EMPTY;
    s.v.self.system_id = 0;
    s.v.self.has_record = false;
    s.v.self.durable_epoch = 0;
    s.v.st = (struct state_view){.known = true};
    s.v.lv = (struct lease_view){.known = true, .changed_ms = NOW - 20000, .got_ms = NOW};
    s.m.count_from_ms = NOW - 20000;
    for (int i = 0; i < 2; i++) {
        s.v.peer[i].state.data = DATA_EMPTY;
        s.v.peer[i].state.system_id = 0;
    }
    assert_string_equal(rule(&s), "boot-create");
    s.v.peer[1].received_ms = 0;
    assert_string_equal(rule(&s), "boot-wait"); /* not everybody has answered */
    s.v.peer[1].received_ms = NOW - 50;
    s.v.self.ordinal = 1;
    assert_string_equal(rule(&s), "boot-wait");
}

/* --- record, repair, hand-over ------------------------------------------------------------------ */

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

/* pg-2's own WAL has diverged from pg-0's. */
static void diverged(struct scene *s)
{
    at(s, 2);
    s->v.pg.streaming = false;
    s->v.pg.diverged = TRI_YES;
    s->v.pg.process = PG_DOWN;
}

static void rewind__only_while_others_hold_the_promotion(void **state)
{
    (void)state;
    struct scene s;
    diverged(&s);
    assert_string_equal(rule(&s), "rejoin-rewind"); /* pg-1 streams and is on timeline 4 */
    s.v.lv.lease.record.m[1].flushed.timeline = 3;
    assert_string_not_equal(rule(&s), "rejoin-rewind");
    s.v.lv.lease.record.m[1].flushed.timeline = 4;
    s.v.peer[1].state.streams_from = 0;
    assert_string_not_equal(rule(&s), "rejoin-rewind");
}

/* Five voters, one confirmation: four reports elect. One of the others is away, so the diverged one's
 * report may be the fourth; when it has waited long the writer has let both of them go. */
static void rewind__only_of_a_vote_to_spare(void **state)
{
    (void)state;
    struct scene s;
    diverged(&s);
    struct record *r = &s.v.lv.lease.record;
    for (int i = 3; i < 5; i++) {
        struct ha_name n = name_of(i);
        *record_add(r, 0xd0u + (unsigned)i, &n) = (struct record_member){
            .volume = 0xd0u + (unsigned)i, .name = n, .in_v = true, .flushed = {4, 100}};
        struct peer *p = &s.v.peer[s.v.n_peers++];
        *p = s.v.peer[1];
        p->name = n;
        p->state.volume = 0xd0u + (unsigned)i;
    }
    assert_string_equal(rule(&s), "rejoin-rewind");
    s.v.peer[3].received_ms = 0;
    assert_string_not_equal(rule(&s), "rejoin-rewind");
    s.m.diverged_ms = NOW - 15000;
    assert_string_equal(rule(&s), "rejoin-rewind");
}

static void clone__only_of_a_vote_to_spare(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 2);
    s.v.pg.process = PG_DOWN;
    s.v.intent = (struct intent){.id = 7, .kind = INTENT_REINIT, .epoch = 5, .target = name_of(2)};
    s.m.reinit_intent = 7; /* asked for before the others answered */
    s.m.reinit_volume = C;
    s.m.reinit_ms = NOW - 100;
    assert_string_equal(rule(&s), "reinit-clone");
    s.v.peer[1].received_ms = 0;
    s.v.lv.lease.record.w = 0;
    assert_string_not_equal(rule(&s), "reinit-clone");
}

/* Under load the last answer may be older than the record each time one looks. */
static void clone__answers_are_asked_for_until_the_vote_is_spare(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 2);
    assert_string_equal(rule(&s), "follow");
    assert_false(s.d.effects & EFF_PEERS);
    s.v.intent = (struct intent){.id = 7, .kind = INTENT_REINIT, .epoch = 5, .target = name_of(2)};
    s.m.reinit_intent = 7;
    s.m.reinit_volume = C;
    s.m.reinit_ms = NOW - 100;
    s.v.peer[1].state.position.lsn = 1;
    assert_string_equal(rule(&s), "follow");
    assert_true(s.d.effects & EFF_PEERS);
    s.v.intent_expired = true;
    assert_string_equal(rule(&s), "follow");
    assert_false(s.d.effects & EFF_PEERS);
}

static void stopped_for_handover(struct scene *s)
{
    at(s, 0);
    s->v.pg.process = PG_DOWN;
    s->v.pg.in_recovery = TRI_UNKNOWN;
    s->v.pg.maybe_writable = false;
    s->v.pg.n_senders = 0;
    s->m.handover_intent = 77;
    s->m.handover_target = B;
    s->m.handover_epoch = 5;
    s->m.handover_ms = NOW - 500;
    s->m.stop_ms = NOW - 100;
}

static void handover__waits_for_the_target_to_hold_all(void **state)
{
    (void)state;
    struct scene s;
    stopped_for_handover(&s);
    assert_string_equal(rule(&s), "handover-release");
    assert_string_equal(s.d.write.want.release.successor.s, "pg-1");
    s.v.peer[0].state.position.lsn = 199;
    assert_string_equal(rule(&s), "handover-proof");
}

static void crash__given_away_only_with_all_wal(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.process = PG_DOWN;
    s.v.pg.in_recovery = TRI_UNKNOWN;
    s.v.pg.maybe_writable = false;
    s.v.pg.crashed = true;
    s.v.pg.n_senders = 0;
    s.v.lv.lease.record.w = 2; /* one standby besides the successor is not enough for two */
    s.v.self.record.w = 2;
    assert_string_equal(rule(&s), "crash-handover");
    s.v.peer[0].state.position.lsn = s.v.peer[1].state.position.lsn = 199;
    assert_string_equal(rule(&s), "start-holder");
}

static void crashed_server__its_children_end_before_the_release(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg.process = PG_DOWN;
    s.v.pg.in_recovery = TRI_UNKNOWN;
    s.v.pg.crashed = true;
    assert_string_equal(rule(&s), "down-armed");
    s.v.pg.maybe_writable = false;
    s.v.self.server_lock = TRI_NO; /* a child of it holds the volume */
    assert_string_equal(rule(&s), "leftovers");
    assert_true((s.d.effects & EFF_FENCE) != 0);
}

/* --- the fence page ------------------------------------------------------------------------------ */

static void page__overdue_at_the_deadline_itself(void **state)
{
    (void)state;
    static struct fence_page p;
    memset(&p, 0, sizeof p);
    page_grant(&p, 500);
    assert_false(page_overdue(&p, 500)); /* nothing is writable */
    page_set_writable(&p);
    assert_false(page_overdue(&p, 499));
    assert_true(page_overdue(&p, 500));
}

static void page__extended_only_while_live_and_never_shortened(void **state)
{
    (void)state;
    static struct fence_page p;
    memset(&p, 0, sizeof p);
    int64_t now = clock_boot_ms();
    assert_false(page_extend(&p, now + 60000)); /* no right at all */
    page_grant(&p, now + 30000);
    assert_true(page_extend(&p, now + 60000));
    assert_int_equal(page_deadline_ms(&p), now + 60000);
    assert_true(page_extend(&p, now + 40000));
    assert_int_equal(page_deadline_ms(&p), now + 60000);
    page_grant(&p, now > 1 ? now - 1 : 1);
    assert_false(page_extend(&p, now + 60000)); /* a lapse is final */
    assert_true(page_deadline_ms(&p) < now + 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right__ends_at_the_deadline),
        cmocka_unit_test(right__scaled_to_a_shorter_lease),
        cmocka_unit_test(right__bound_before_a_shorter_lease_is_written),
        cmocka_unit_test(right__not_from_a_write_that_a_read_confirms),
        cmocka_unit_test(right__of_an_older_epoch_ends_with_an_acquisition),
        cmocka_unit_test(right__not_from_a_success_after_a_promise),
        cmocka_unit_test(right__prepared_for_release__is_forfeit),
        cmocka_unit_test(right__newer_incarnation_of_the_pod_is_another_holder),
        cmocka_unit_test(failsafe__asks_the_list_of_an_open_write_too),
        cmocka_unit_test(failsafe__needs_a_success_of_this_process),
        cmocka_unit_test(failsafe__promise_of_another_epoch_counts_for_nothing),
        cmocka_unit_test(promise__not_while_another_binds),
        cmocka_unit_test(promise__only_to_the_holder),
        cmocka_unit_test(promise__never_shorter_than_the_lease),
        cmocka_unit_test(promise__bars_acquisition),
        cmocka_unit_test(acquire__counts_the_longer_duration),
        cmocka_unit_test(acquire__counts_anew_after_a_gap),
        cmocka_unit_test(acquire__clears_the_release),
        cmocka_unit_test(acquire__the_releaser_itself__needs_nobody),
        cmocka_unit_test(acquire__after_a_release_that_names_nobody__is_no_bypass),
        cmocka_unit_test(acquire__only_with_a_vote_that_reaches_its_record),
        cmocka_unit_test(acquire__goes_above_every_epoch_heard_of),
        cmocka_unit_test(acquire__sealed__only_by_the_sealed_volume),
        cmocka_unit_test(writer__its_own_end_is_recorded_for_those_who_follow),
        cmocka_unit_test(create__gives_the_lease_to_nobody),
        cmocka_unit_test(restored_lease__is_nobodys),
        cmocka_unit_test(vote__neither_backwards_nor_for_an_epoch_followed),
        cmocka_unit_test(follow__learns_the_epoch_first),
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
        cmocka_unit_test(standby__never_has_an_empty_setting),
        cmocka_unit_test(admission__waits_for_w_members),
        cmocka_unit_test(bootstrap__never_over_data),
        cmocka_unit_test(barrier__needs_force_and_flush),
        cmocka_unit_test(leave__by_the_barrier),
        cmocka_unit_test(growth__recorded_first_and_only_when_caught_up),
        cmocka_unit_test(growth__only_with_a_record_of_this_timeline),
        cmocka_unit_test(seal__recorded_with_w_0),
        cmocka_unit_test(positions__never_ahead_of_what_was_flushed),
        cmocka_unit_test(rewind__only_while_others_hold_the_promotion),
        cmocka_unit_test(rewind__only_of_a_vote_to_spare),
        cmocka_unit_test(clone__only_of_a_vote_to_spare),
        cmocka_unit_test(clone__answers_are_asked_for_until_the_vote_is_spare),
        cmocka_unit_test(handover__waits_for_the_target_to_hold_all),
        cmocka_unit_test(crash__given_away_only_with_all_wal),
        cmocka_unit_test(crashed_server__its_children_end_before_the_release),
        cmocka_unit_test(page__overdue_at_the_deadline_itself),
        cmocka_unit_test(page__extended_only_while_live_and_never_shortened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
