/* The core in single turns, third part: adoption of data without state, edited Leases, and the ends of
 * tables and lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

/* Member pg-1 of three standbys with data whose Lease and ConfigMap are gone. */
static void adopting(struct scene *s)
{
    healthy(&s->v, &s->m, 1);
    s->v.st = (struct state_view){.known = true};
    s->v.lv = (struct lease_view){.known = true, .changed_ms = NOW - 20000, .got_ms = NOW};
    s->m.count_from_ms = NOW - 20000;
    for (int i = 0; i < 2; i++) {
        struct peer_state *p = &s->v.peer[i].state;
        p->in_recovery = TRI_YES;
        p->position.lsn = 199;
        p->record_epoch = 5;
        p->record_rev = 3;
    }
}

/* Without its record the election asks every voter of the highest copy: people must see which one is
 * missed, and that it is of no use to wait for one that came back with another volume. */
static void lost_record__says_whom_the_election_waits_for(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 1);
    s.v.lv.lease = (struct lease){.exists = true, .fresh = true, .duration_s = 10};
    s.v.peer[0].received_ms = 0;
    s.v.peer[1].state.volume = 0xdd;
    rule(&s);
    assert_string_equal(s.d.waits_for, "pg-0 pg-2(replaced)");
    healthy(&s.v, &s.m, 1);
    rule(&s);
    assert_string_equal(s.d.waits_for, "");
}

static void adoption__the_latest_record_goes_first(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
    struct peer_state *p = &s.v.peer[1].state;
    assert_string_equal(rule(&s), "boot-create");
    p->record_rev = 4;
    assert_string_equal(rule(&s), "boot-wait");
    p->record_rev = 2;
    p->position.lsn = 300; /* it knows an older V: what it holds more was confirmed to nobody */
    assert_string_equal(rule(&s), "boot-create");
}

static void adoption__of_one_record_the_later_epoch_then_the_greater_position(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
    struct peer_state *p = &s.v.peer[1].state;
    p->position.lsn = 201;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.self.durable_epoch = 6; /* we have detached for a later one */
    assert_string_equal(rule(&s), "boot-create");
    s.v.self.durable_epoch = 5;
    p->durable_epoch = 6;
    assert_string_equal(rule(&s), "boot-wait");
    p->position.lsn = 199; /* it only promised, and holds less */
    assert_string_equal(rule(&s), "boot-create");
    p->durable_epoch = 5;
    p->position.lsn = 201;
    p->volume = 99; /* no voter of that record */
    assert_string_equal(rule(&s), "boot-create");
}

static void adoption__waits_for_a_position_of_everybody_and_ignores_no_other_cluster(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
    s.v.peer[1].state.position.lsn = 0;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[1].state.position.lsn = 199;
    s.v.peer[1].state.system_id = 10;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[1].state.system_id = 9;
    s.v.peer[1].state.data = DATA_PARTIAL; /* an unfinished copy: the record says that two suffice */
    assert_string_equal(rule(&s), "boot-create");
    s.v.peer[0].state.data = DATA_PARTIAL;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[0].state.data = DATA_FOREIGN;
    assert_string_equal(rule(&s), "boot-wait");
}

static void adoption__only_with_the_reports_that_the_last_record_asks_for(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
    s.v.peer[1].state.data = DATA_EMPTY;
    s.v.self.record.w = 0; /* each acknowledged commit may be on one volume alone */
    assert_string_equal(rule(&s), "boot-wait");
    s.v.set.mode = REPL_ASYNC;
    assert_string_equal(rule(&s), "boot-create");
    s.v.set.mode = REPL_QUORUM;
    s.v.self.record.sealed = A;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.self.record.sealed = B;
    assert_string_equal(rule(&s), "boot-create");
    s.v.self.record.sealed = 0;
    s.v.self.record.w = 1;
    s.v.self.record.m[1].in_v = false;
    assert_string_equal(rule(&s), "boot-wait");
    record_remove(&s.v.self.record, B);
    assert_string_equal(rule(&s), "boot-wait");
}

static void adoption__not_while_a_promise_binds_nor_before_own_wal_is_known(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
    s.m.promise_until_ms = NOW + 1;
    assert_string_equal(rule(&s), "boot-wait");
    s.m.promise_until_ms = NOW;
    assert_string_equal(rule(&s), "boot-create");
    s.v.pg.accounted = TRI_UNKNOWN;
    assert_string_equal(rule(&s), "boot-wait");
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

static void data_of_another_cluster__never_touched(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 1);
    s.v.self.system_id = 10;
    assert_string_equal(rule(&s), "data-bad");
    s.v.self.system_id = 0; /* not read yet */
    assert_string_equal(rule(&s), "follow");
    s.v.self.system_id = 10;
    s.v.st.system_id = 0; /* not written yet */
    assert_string_equal(rule(&s), "follow");
}

static void reread__patience_grows_and_ends_growing(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 1);
    s.v.pg.streaming = false;
    s.v.pg.wal_unread = true;
    s.v.pg.reached_ms = NOW - 5000;
    assert_string_equal(rule(&s), "reread");
    s.m.rereads = 1;
    assert_string_not_equal(rule(&s), "reread");
    s.v.pg.reached_ms = NOW - (5000ll << 12);
    s.m.rereads = 200;
    assert_string_equal(rule(&s), "reread");
    assert_int_equal(s.d.memo.rereads, 201);
    s.v.pg.reached_ms++;
    assert_string_not_equal(rule(&s), "reread");
    s.v.pg.reached_ms--;
    s.m.rereads = 255; /* counted no further */
    assert_string_equal(rule(&s), "reread");
    assert_int_equal(s.d.memo.rereads, 255);
}

static void promise__never_for_longer_than_ten_minutes(void **state)
{
    (void)state;
    struct scene s;
    healthy(&s.v, &s.m, 1);
    s.v.in.promise = true;
    s.v.in.promise_req = (struct peer_request){.ask = PEER_PROMISE, .from = identity_of(0), .epoch = 5,
                                               .promise_ms = 600000};
    rule(&s);
    assert_int_equal(s.d.promise_ms, 600000);
    s.v.in.promise_req.promise_ms = 600001;
    rule(&s);
    assert_int_equal(s.d.promise_ms, 600000);
    assert_int_equal(s.d.memo.promise_until_ms, NOW + 600000);
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

static void names__whole_fields_and_lists(void **state)
{
    (void)state;
    struct ha_name a, b;
    memset(&a, 'x', sizeof a);
    b = a;
    assert_true(name_eq(&a, &b)); /* no NUL within the field */
    b.s[HA_NAME_SIZE - 1] = 'y';
    assert_false(name_eq(&a, &b));
    struct record r = three();
    a = name_of(2);
    assert_ptr_equal(record_find_name(&r, &a), &r.m[2]);
    a = name_of(3);
    assert_null(record_find_name(&r, &a));
    struct ssn s = ssn_of_record(&r, A, true, REPL_QUORUM);
    assert_true(ssn_has(&s, B) && ssn_has(&s, C));
    assert_false(ssn_has(&s, A));
}

static void words__end_where_the_tables_end(void **state)
{
    (void)state;
    assert_string_equal(effect_name(0), "lease-get");
    assert_string_equal(effect_name(28), "alarm");
    assert_string_equal(effect_name(29), "?");
    assert_string_equal(fact_name(FACT_BIT_OVERDUE), "OVERDUE");
    assert_string_equal(fact_name(FACT_COUNT), "?");
    assert_string_not_equal(fact_text(FACT_BIT_OVERDUE), "?");
    assert_string_equal(fact_text(FACT_COUNT), "?");
    static const char *const kinds[] = {"", "create", "renew", "acquire", "takeover", "writer", "adopt",
                                        "release", "?"};
    for (int i = 0; i < 9; i++)
        assert_string_equal(write_kind_name((enum write_kind)i), kinds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adoption__the_latest_record_goes_first),
        cmocka_unit_test(adoption__of_one_record_the_later_epoch_then_the_greater_position),
        cmocka_unit_test(adoption__waits_for_a_position_of_everybody_and_ignores_no_other_cluster),
        cmocka_unit_test(adoption__only_with_the_reports_that_the_last_record_asks_for),
        cmocka_unit_test(adoption__not_while_a_promise_binds_nor_before_own_wal_is_known),
        cmocka_unit_test(no_record_anywhere__nobody_acquires),
        cmocka_unit_test(server_on_another_timeline__ended_at_once),
        cmocka_unit_test(record_stripped_from_the_lease__put_back_above_what_may_have_been_written),
        cmocka_unit_test(switchover__ends_with_its_epoch_or_when_the_checkpoint_takes_too_long),
        cmocka_unit_test(switchover_under_way__the_end_of_the_container_goes_before_it),
        cmocka_unit_test(handed_over_by_release__the_successor_tells_the_result),
        cmocka_unit_test(confirmations__lowered_as_soon_as_the_operator_asks_for_fewer),
        cmocka_unit_test(sealed__asynchronous_replication_lifts_the_seal),
        cmocka_unit_test(crashed__while_paused_or_sealed_or_rolled_back_it_restarts),
        cmocka_unit_test(crashed__without_another_standby_the_end_of_own_wal_decides),
        cmocka_unit_test(data_of_another_cluster__never_touched),
        cmocka_unit_test(reread__patience_grows_and_ends_growing),
        cmocka_unit_test(promise__never_for_longer_than_ten_minutes),
        cmocka_unit_test(full_record__takes_nobody_more),
        cmocka_unit_test(lost_record__says_whom_the_election_waits_for),
        cmocka_unit_test(names__whole_fields_and_lists),
        cmocka_unit_test(words__end_where_the_tables_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
