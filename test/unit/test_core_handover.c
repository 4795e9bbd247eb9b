/* Planned hand-over, and what a crashed primary gives away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

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

/* What pg-1 does with the Lease that pg-0 leaves. */
static const char *found_by_the_target(struct scene *s)
{
    assert_string_equal(rule(s), "handover-release");
    struct lease left = s->d.write.want;
    assert_true(left.release.valid);
    at(s, 1);
    s->v.lv.lease = left;
    s->v.lv.changed_ms = s->v.lv.got_ms = NOW;
    s->v.pg.streaming = false;
    return rule(s);
}

/* Its release is of a writer that the record does not name: the others wait for its whole right. */
static void handover__of_an_edited_lease__hurries_nobody(void **state)
{
    (void)state;
    struct scene s;
    stopped_for_handover(&s);
    assert_string_equal(found_by_the_target(&s), "acquire");
    stopped_for_handover(&s);
    s.v.lv.lease.record.writer = C;
    s.m.deadline_ms = NOW + 5000; /* it goes by its own copy of the record while its right is live */
    assert_string_equal(found_by_the_target(&s), "disputed");
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

static void switchover__lag_is_judged_by_the_stream(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.intent = (struct intent){.id = 77, .kind = INTENT_SWITCHOVER, .epoch = 5, .target = name_of(1)};
    s.m.preflight_intent = 77;
    s.m.preflight_ms = NOW - 100;
    s.v.peer[1].pod_known = false; /* who has no pod is not waited for */
    stale(&s.v.peer[1]);
    s.v.pg.position.lsn = 5000;
    (void)rule(&s);
    assert_int_equal(s.d.result.state, INTENT_REFUSED);
    s.v.pg.sender[0].flushed_lsn = 4500;
    (void)rule(&s);
    assert_int_equal(s.d.result.state, INTENT_RUNNING);
    s.v.pg.sender[0].streaming = false;
    (void)rule(&s);
    assert_int_equal(s.d.result.state, INTENT_REFUSED);
    s.v.intent.force = true;
    (void)rule(&s);
    assert_int_equal(s.d.result.state, INTENT_RUNNING);
    s.v.intent.force = false;
    s.v.pg.n_senders = 0;
    (void)rule(&s);
    assert_int_equal(s.d.result.state, INTENT_REFUSED);
}

static void crash__who_has_no_vote_or_is_silent_confirms_nothing(void **state)
{
    (void)state;
    struct scene s;
    down(&s, true);
    s.v.lv.lease.record.m[2].in_v = false;
    s.v.pg.accounted = TRI_NO;
    assert_false(fact(&s, FACT(CRASH_HANDOVER)));
    s.v.lv.lease.record.m[2].in_v = true;
    assert_true(fact(&s, FACT(CRASH_HANDOVER)));
    s.v.lv.lease.record.w = 2;
    stale(&s.v.peer[1]);
    assert_false(fact(&s, FACT(CRASH_HANDOVER)));
    s.v.peer[1].sent_ms = s.v.peer[1].received_ms = NOW;
    s.v.peer[1].state.data = DATA_BROKEN;
    assert_false(fact(&s, FACT(CRASH_HANDOVER)));
    s.v.peer[1].state.volume = 99;
    assert_false(fact(&s, FACT(CRASH_HANDOVER)));
}

/* Time is up; the member that was to take over shows another volume by now. */
static void release__whose_target_has_vanished__names_nobody(void **state)
{
    (void)state;
    struct scene s;
    down(&s, false);
    s.v.self.terminate = 1;
    s.m.handover_intent = 1;
    s.m.handover_epoch = 5;
    s.m.handover_ms = s.m.stop_ms = NOW - 20000;
    s.m.handover_target = 99;
    assert_string_equal(rule(&s), "handover-release");
    assert_string_equal(s.d.write.want.release.successor.s, "");
    s.m.handover_target = B;
    assert_string_equal(rule(&s), "handover-release");
    assert_string_equal(s.d.write.want.release.successor.s, "pg-1");
}

/* The target has confirmed all in the last moment: nothing is rolled back any more. */
static void handover__confirmed_when_its_time_is_up__is_finished(void **state)
{
    (void)state;
    struct scene s;
    stopped_for_handover(&s);
    s.m.handover_ms = s.m.stop_ms = NOW - 20000;
    assert_string_equal(rule(&s), "handover-release");
    stopped_for_handover(&s);
    s.m.handover_ms = s.m.stop_ms = NOW - 20000;
    s.v.peer[0].state.position.lsn = 199;
    assert_string_not_equal(rule(&s), "handover-release");
    assert_int_equal(s.d.result.state, INTENT_FAILED);
}

static void switching_over(struct scene *s, int64_t since_ms)
{
    healthy(&s->v, &s->m, 0);
    s->v.intent = (struct intent){.id = 77, .kind = INTENT_SWITCHOVER, .epoch = 5};
    s->m.handover_intent = 77;
    s->m.handover_target = B;
    s->m.handover_epoch = 5;
    s->m.handover_ms = since_ms;
}

static void switchover__ends_with_its_epoch_or_when_the_checkpoint_takes_too_long(void **state)
{
    (void)state;
    struct scene s;
    switching_over(&s, NOW - 30000);
    assert_string_equal(rule(&s), "handover-prepare");
    assert_int_equal(s.d.result.id, 0);
    s.m.handover_ms--;
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.result.id, 77);
    assert_int_equal(s.d.result.state, INTENT_FAILED);
    assert_int_equal(s.d.memo.dead_intent, 77); /* never begun again */
    switching_over(&s, NOW - 100);
    s.m.handover_epoch = 4;
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.result.state, INTENT_FAILED);
    assert_int_equal(s.d.memo.handover_target, 0);
}

static void switchover_under_way__the_end_of_the_container_goes_before_it(void **state)
{
    (void)state;
    struct scene s;
    switching_over(&s, NOW - 100);
    s.v.self.terminate = 1;
    s.v.peer[1].state.priority = 1; /* the better one, though another was asked for */
    rule(&s);
    assert_int_equal(s.d.memo.dead_intent, 77);
    assert_int_equal(s.d.memo.handover_intent, 1);
    assert_true(s.d.memo.handover_target == C);
    switching_over(&s, NOW - 100);
    s.v.self.terminate = 1;
    s.m.stop_ms = NOW - 50; /* past the point of no return: it is finished */
    rule(&s);
    assert_int_equal(s.d.memo.handover_intent, 77);
    assert_true(s.d.memo.handover_target == B);
}

static void handed_over_by_release__the_successor_tells_the_result(void **state)
{
    (void)state;
    struct scene s;
    switching_over(&s, NOW - 100);
    s.v.pg = (struct pg){.process = PG_DOWN, .accounted = TRI_YES, .position = {4, 200}};
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .volume = A, .releaser = name_of(0)};
    rule(&s);
    assert_int_equal(s.d.memo.handover_intent, 0);
    assert_int_equal(s.d.memo.dead_intent, 77);
    assert_int_equal(s.d.result.id, 0);
}

static void crashed__while_paused_or_sealed_or_rolled_back_it_restarts(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 0);
    s.v.pg = (struct pg){.process = PG_DOWN, .crashed = true, .accounted = TRI_YES, .position = {4, 200},
                         .local_timeline = 4};
    assert_string_equal(rule(&s), "crash-handover");
    s.v.st.paused = true;
    assert_string_equal(rule(&s), "start-holder");
    s.v.st.paused = false;
    s.m.rolled_back = true;
    assert_string_equal(rule(&s), "start-holder");
    s.m.rolled_back = false;
    s.v.set.crash_policy = CRASH_RESTART;
    assert_string_equal(rule(&s), "start-holder");
    s.v.set.crash_policy = CRASH_AUTO;
    s.v.lv.lease.record.sealed = A;
    assert_string_equal(rule(&s), "start-holder");
    s.v.lv.lease.record.sealed = 0;
    s.v.peer[0].state.in_recovery = s.v.peer[1].state.in_recovery = TRI_UNKNOWN;
    assert_string_equal(rule(&s), "start-holder");
}

static void crashed__without_another_standby_the_end_of_own_wal_decides(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 0);
    s.v.pg = (struct pg){.process = PG_DOWN, .crashed = true, .position = {4, 200}, .local_timeline = 4};
    s.m.pg_fault_ms = NOW - 1999;
    s.v.peer[1].state.in_recovery = TRI_UNKNOWN; /* answers, and does not stream */
    assert_string_equal(rule(&s), "crash-proof");
    assert_true((s.d.effects & EFF_WALEND) != 0);
    s.m.pg_fault_ms = NOW - 2000;
    assert_string_equal(rule(&s), "start-holder");
    s.m.pg_fault_ms = NOW - 100;
    s.v.pg.op_failures = 3;
    assert_string_equal(rule(&s), "start-holder");
    s.v.pg.accounted = TRI_YES;
    assert_string_equal(rule(&s), "crash-handover");
    s.v.pg.position.lsn = 201; /* the successor lacks the last byte */
    assert_string_equal(rule(&s), "start-holder");
}

static void switchover__refused_with_the_reason(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.intent = (struct intent){.id = 77, .kind = INTENT_SWITCHOVER, .epoch = 5,
                               .target = name_of(1)};
    s.v.peer[0].state.nofailover = true;
    rule(&s);
    assert_int_equal(s.d.result.id, 0); /* answers must have been asked for since */
    s.v.peer[0].sent_ms = s.v.peer[1].sent_ms = NOW;
    rule(&s);
    assert_int_equal(s.d.result.state, INTENT_REFUSED);
    assert_non_null(strstr(s.d.result.message, "pg-1"));
    assert_non_null(strstr(s.d.result.message, "nofailover"));
    s.m = s.d.memo;
    rule(&s);
    assert_int_equal(s.d.result.id, 0); /* said once */
    forget(&s);
    s.v.peer[0].state.nofailover = false;
    assert_string_equal(rule(&s), "handover-prepare");
    assert_int_equal(s.d.target, B);
    s.v.pg.n_senders = 1; /* it says that it streams, and no walsender here knows of it */
    s.v.pg.sender[0] = s.v.pg.sender[1];
    rule(&s);
    assert_int_equal(s.d.result.state, INTENT_REFUSED);
    assert_non_null(strstr(s.d.result.message, "does not stream"));
}

/* Scaled down by two, the primary among them: who goes as well is no successor. */
static void handover__not_to_who_leaves(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.self.terminate = 1;
    assert_string_equal(rule(&s), "handover-prepare");
    uint64_t first = s.d.target;
    struct peer *p = s.v.peer[0].state.volume == first ? &s.v.peer[0] : &s.v.peer[1];
    p->leaving = true;
    forget(&s);
    assert_string_equal(rule(&s), "handover-prepare");
    assert_true(s.d.target != 0 && s.d.target != first);
    p->leaving = false; /* told a moment too late: chosen again while nothing has stopped */
    forget(&s);
    rule(&s);
    assert_true(s.d.target == first);
    p->leaving = true;
    s.m = s.d.memo;
    assert_string_equal(rule(&s), "handover-prepare");
    assert_true(s.d.target != 0 && s.d.target != first);
    s.v.self.terminate = 0;
    forget(&s);
    s.v.intent = (struct intent){.id = 78, .kind = INTENT_SWITCHOVER, .epoch = 5, .target = p->name};
    rule(&s);
    s.m = s.d.memo;
    s.v.peer[0].sent_ms = s.v.peer[1].sent_ms = NOW;
    rule(&s);
    assert_int_equal(s.d.result.state, INTENT_REFUSED);
    assert_non_null(strstr(s.d.result.message, "being deleted"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handover__waits_for_the_target_to_hold_all),
        cmocka_unit_test(handover__of_an_edited_lease__hurries_nobody),
        cmocka_unit_test(crash__given_away_only_with_all_wal),
        cmocka_unit_test(crashed_server__its_children_end_before_the_release),
        cmocka_unit_test(switchover__lag_is_judged_by_the_stream),
        cmocka_unit_test(crash__who_has_no_vote_or_is_silent_confirms_nothing),
        cmocka_unit_test(handover__confirmed_when_its_time_is_up__is_finished),
        cmocka_unit_test(release__whose_target_has_vanished__names_nobody),
        cmocka_unit_test(switchover__ends_with_its_epoch_or_when_the_checkpoint_takes_too_long),
        cmocka_unit_test(switchover_under_way__the_end_of_the_container_goes_before_it),
        cmocka_unit_test(handed_over_by_release__the_successor_tells_the_result),
        cmocka_unit_test(crashed__while_paused_or_sealed_or_rolled_back_it_restarts),
        cmocka_unit_test(crashed__without_another_standby_the_end_of_own_wal_decides),
        cmocka_unit_test(switchover__refused_with_the_reason),
        cmocka_unit_test(handover__not_to_who_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
