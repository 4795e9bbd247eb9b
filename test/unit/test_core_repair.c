/* Starts, rewinds, copies: what is done to a directory, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

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

/* It was promoted by hand just after it had got its vote, and has not heard of that: what it confirmed may be
 * with the writer alone. */
static void rewind__promoted_by_hand_and_not_listed_yet__only_while_others_hold_all(void **state)
{
    (void)state;
    struct scene s;
    diverged(&s);
    s.v.self.volume = 0xdd;
    assert_string_equal(rule(&s), "rejoin-rewind"); /* of no epoch that anybody waits for */
    s.v.pg.position = (struct position){5, 200};
    s.v.peer[1].state.position.lsn = 200;
    assert_string_equal(rule(&s), "rejoin-rewind");
    s.v.peer[1].state.position.lsn = 199;
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

static void stuck__not_while_alone_or_without_the_api(void **state)
{
    (void)state;
    struct scene s;
    down(&s, false);
    s.m.away_ms = NOW - 30000;
    assert_true(fact(&s, FACT(STUCK)));
    s.v.lv.lease.record.sealed = A;
    assert_false(fact(&s, FACT(STUCK)));
    s.v.lv.lease.record.sealed = 0;
    s.v.lv.outcome = OUTCOME_UNKNOWN;
    s.v.lv.got_ms = NOW;
    s.m.deadline_ms = NOW + 1000;
    assert_false(fact(&s, FACT(STUCK)));
    assert_true(s.d.failsafe);
}

static void blind__only_the_same_cluster_is_followed(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv = (struct lease_view){0};
    assert_true(fact(&s, FACT(BLIND_WRITER)));
    s.v.peer[0].state.system_id = 8;
    assert_false(fact(&s, FACT(BLIND_WRITER)));
    s.v.peer[0].state.system_id = 9;
    s.v.peer[0].state.durable_epoch = 4; /* not the epoch that was followed */
    assert_false(fact(&s, FACT(BLIND_WRITER)));
    s.v.self.durable_epoch = s.v.self.record.writer_epoch = 0;
    s.v.peer[0].state.durable_epoch = s.v.peer[1].state.durable_epoch = 0;
    assert_string_equal(rule(&s), "follow-blind"); /* no epoch: nothing proves that own WAL is the writer's */
    assert_true(s.d.provisional);
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

static void restart_in_place__has_a_limit_when_others_can_elect(void **state)
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
static void unreadable_wal__cloned_beside_only_while_the_vote_is_spare(void **state)
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

/* A standby whose container was restarted while the API is away. */
static void api_never_reached__the_writer_of_the_own_epoch_is_followed(void **state)
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
        cmocka_unit_test(rewind__only_while_others_hold_the_promotion),
        cmocka_unit_test(rewind__promoted_by_hand_and_not_listed_yet__only_while_others_hold_all),
        cmocka_unit_test(rewind__only_of_a_vote_to_spare),
        cmocka_unit_test(clone__only_of_a_vote_to_spare),
        cmocka_unit_test(clone__answers_are_asked_for_until_the_vote_is_spare),
        cmocka_unit_test(stuck__not_while_alone_or_without_the_api),
        cmocka_unit_test(blind__only_the_same_cluster_is_followed),
        cmocka_unit_test(reread__patience_grows_and_ends_growing),
        cmocka_unit_test(restart_in_place__has_a_limit_when_others_can_elect),
        cmocka_unit_test(unreadable_wal__cloned_beside_only_while_the_vote_is_spare),
        cmocka_unit_test(api_never_reached__the_writer_of_the_own_epoch_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
