/* First start, restart, repair and hand-over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void core__restart_in_place__has_a_limit_when_others_can_elect(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.set.crash_policy = CRASH_RESTART; /* even then: a server that cannot start is no restart */
    s.v.pg.process = PG_DOWN;
    s.v.pg.maybe_writable = false;
    s.v.pg.in_recovery = TRI_UNKNOWN;
    s.v.pg.position = (struct position){0};
    s.v.pg.accounted = TRI_NO;
    s.v.pg.failed_starts = 4;
    s.m.away_ms = NOW - 60000;
    assert_string_equal(rule(&s), "start-holder");
    s.v.pg.failed_starts = 5;
    assert_string_equal(rule(&s), "restart-overdue");
    assert_int_equal(s.d.write.kind, WRITE_RELEASE);
    assert_int_equal(s.d.deadline_ms, 0);
    s.v.peer[0].received_ms = 0; /* one voter left: nobody else could elect */
    assert_string_equal(rule(&s), "start-holder");
    s.v.peer[0].received_ms = NOW - 50;
    s.v.set.crash_policy = CRASH_AUTO;
    s.v.pg.failed_starts = 0;
    s.m.away_ms = NOW - 20000;
    assert_string_equal(rule(&s), "start-holder");
    s.m.away_ms--;
    assert_string_equal(rule(&s), "restart-overdue");
}

/* C's server cannot be started and its WAL cannot be read. */
static void core__unreadable_wal__cloned_beside_only_while_the_vote_is_spare(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 2);
    s.v.pg.process = PG_DOWN;
    s.v.pg.in_recovery = TRI_UNKNOWN;
    s.v.pg.position = (struct position){0};
    s.v.pg.accounted = TRI_NO;
    s.v.pg.streaming = false;
    s.v.pg.failed_starts = 3;
    assert_string_equal(rule(&s), "start");
    s.v.pg.wal_missing = true;
    assert_string_equal(rule(&s), "rejoin-clone");
    s.v.peer[1].state.position.lsn = 99; /* B was rolled back: our vote is needed to elect anybody */
    assert_string_equal(rule(&s), "start");
    s.m.diverged_ms = NOW - 15000;
    assert_string_equal(rule(&s), "rejoin-clone"); /* beside: the old one is kept */
}

static void core__switchover__refused_with_the_reason(void **state)
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
static void core__handover__not_to_who_leaves(void **state)
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

static void core__foreign_data__never_started(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.pg.process = PG_DOWN;
    s.v.self.system_id = 8;
    assert_string_equal(rule(&s), "data-bad");
    assert_true((s.d.effects & (EFF_PG_START | EFF_CLONE | EFF_REWIND)) == 0);
}

static void core__bootstrap__only_when_every_member_is_empty(void **state)
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
    for (int i = 0; i < 2; i++) {
        s.v.peer[i].state.data = DATA_EMPTY;
        s.v.peer[i].state.system_id = 0;
    }
    s.m.count_from_ms = NOW - 20000;
    assert_string_equal(rule(&s), "boot-create");
    s.v.peer[1].state.data = DATA_OK;
    s.v.peer[1].state.system_id = 9;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[1].state.data = DATA_EMPTY;
    s.v.peer[1].received_ms = 0;
    assert_string_equal(rule(&s), "boot-wait");
}

/* A standby whose container was restarted while the API is away. */
static void core__api_never_reached__the_writer_of_the_own_epoch_is_followed(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv = (struct lease_view){.contact_ms = 0};
    s.v.st = (struct state_view){.known = false};
    s.v.pg.follows = 0;
    s.v.pg.streaming = false;
    assert_string_equal(rule(&s), "follow-blind");
    assert_true(s.d.upstream == A && s.d.epoch == 5);
    assert_string_equal(s.d.upstream_name.s, "pg-0");
    assert_int_equal(s.d.effects & (EFF_OPEN | EFF_LABEL_REPLICA | EFF_PROMOTE), 0);
    assert_int_equal(s.d.store_epoch, 0);
    struct scene w = s;
    w.v.peer[1].state.durable_epoch = 6; /* pg-2 has followed a newer epoch */
    assert_string_equal(rule(&w), "lease-unknown");
    w = s;
    w.v.peer[0].state.in_recovery = TRI_YES; /* the writer is a standby now */
    assert_string_equal(rule(&w), "lease-unknown");
    w = s;
    w.v.peer[0].state.system_id = 10; /* a member of another cluster at that address */
    assert_string_equal(rule(&w), "lease-unknown");
    w = s;
    w.v.peer[0].sent_ms = NOW - 60000; /* no answer of late */
    assert_string_equal(rule(&w), "lease-unknown");
    w = s;
    w.v.self.durable_epoch = 6; /* detached for a newer epoch already */
    assert_string_equal(rule(&w), "lease-unknown");
    w = s;
    w.v.self.volume = A; /* the writer itself: it resumes by the Lease only */
    assert_string_equal(rule(&w), "lease-unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core__restart_in_place__has_a_limit_when_others_can_elect),
        cmocka_unit_test(core__unreadable_wal__cloned_beside_only_while_the_vote_is_spare),
        cmocka_unit_test(core__switchover__refused_with_the_reason),
        cmocka_unit_test(core__handover__not_to_who_leaves),
        cmocka_unit_test(core__foreign_data__never_started),
        cmocka_unit_test(core__bootstrap__only_when_every_member_is_empty),
        cmocka_unit_test(core__api_never_reached__the_writer_of_the_own_epoch_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
