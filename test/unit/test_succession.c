/* What the history says of a change of the primary: gap, loss, cause, phases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/succession.h"

#define OLD_VOLUME 0xa0
#define OWN_VOLUME 0xa1
#define BOUND_MS 5 /* what the bookkeeping may add on purpose */

struct fixture {
    struct succession s;
    struct succession_look l;
    struct identity self, other;
    struct lease lease;
    struct intent intent;
    struct intent_result result, begun;
    struct history_entry last, got;
    int64_t now;
};

static void name(struct ha_name *n, const char *s)
{
    memset(n, 0, sizeof(*n));
    strncpy(n->s, s, sizeof(n->s) - 1);
}

/* pg-0 writes in epoch 4, we are pg-1, the history ends with pg-0's own promotion. */
static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    name(&f->self.name, "pg-1");
    f->self.boot = 11;
    name(&f->other.name, "pg-0");
    f->other.boot = 10;
    f->lease = (struct lease){.exists = true, .epoch = 4, .holder = f->other};
    f->lease.record = (struct record){.epoch = 4, .w = 1, .writer = OLD_VOLUME, .writer_epoch = 4,
                                      .timeline = 5, .n = 2};
    f->lease.record.m[0] = (struct record_member){.volume = OLD_VOLUME, .name = f->other.name};
    f->lease.record.m[1] = (struct record_member){.volume = OWN_VOLUME, .name = f->self.name};
    history_entry_init(&f->last);
    f->last.epoch = 4;
    f->last.timeline = 5;
    name(&f->last.to, "pg-0");
    intent_result_init(&f->result, &f->intent);
    intent_result_init(&f->begun, &f->intent);
    f->l = (struct succession_look){.self = &f->self, .volume = OWN_VOLUME, .lease = &f->lease,
                                    .intent = &f->intent, .result = &f->result,
                                    .begun = &f->begun, .last = &f->last, .history_known = true,
                                    .wall_s = 1763700000};
    f->now = 100000;
}

static bool turn(struct fixture *f, int64_t ms)
{
    f->now += ms;
    f->l.now_ms = f->now;
    return succession_turn(&f->s, &f->l, &f->got);
}

/* Received now. */
static void hear(struct fixture *f, int64_t sent_ms, int64_t ago_ms, enum write_end end)
{
    struct peer_state st = {.volume = OLD_VOLUME, .written_ago_ms = ago_ms, .write_end = end,
                            .process = ago_ms > 1 ? PG_DOWN : PG_RUNNING, .in_recovery = TRI_NO};
    st.id = f->other;
    succession_heard(&f->s, &st, sent_ms, f->now);
}

/* The Lease in hand now; armed, promoted and admitted 30, 70 and 100 ms later. */
static bool take_over(struct fixture *f)
{
    f->lease.holder = f->self;
    f->lease.epoch++;
    assert_false(turn(f, 0));
    f->lease.record.writer = OWN_VOLUME;
    f->lease.record.writer_epoch = f->lease.epoch;
    f->lease.record.timeline++;
    f->l.armed = true;
    assert_false(turn(f, 30));
    f->l.promoted_ms = f->now + 40;
    f->l.promoted_end_lsn = 0x3000060;
    assert_false(turn(f, 40));
    f->l.serving = true;
    return turn(f, 30);
}

static void crash__supervisor_lives__gap_counts_from_the_crash(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.l.lease_changed_ms = f.now;
    turn(&f, 0);
    hear(&f, f.now, 1, WRITE_END_OTHER);
    turn(&f, 1000); /* the server dies 400 ms before this; the next answer says so */
    hear(&f, f.now, 400, WRITE_END_CRASH);
    assert_true(take_over(&f));
    assert_string_equal(f.got.cause, "failover");
    assert_string_equal(f.got.reason, "the server of pg-0 crashed");
    assert_string_equal(f.got.from.s, "pg-0");
    assert_string_equal(f.got.to.s, "pg-1");
    assert_int_equal(f.got.epoch, 5);
    assert_int_equal(f.got.timeline, 6);
    assert_int_equal(f.got.lsn, 0x3000060);
    assert_in_range(f.got.write_gap_ms, 500, 500 + BOUND_MS);
    assert_int_equal(f.s.write_gap_ms, f.got.write_gap_ms);
    assert_int_equal(f.got.lost_bytes, 0);
    assert_in_range(f.got.phase_ms[PHASE_DETECT], 400, 400 + BOUND_MS);
    assert_int_equal(f.got.phase_ms[PHASE_ACQUIRE], 30);
    assert_int_equal(f.got.phase_ms[PHASE_PROMOTE], 40);
    assert_int_equal(f.got.phase_ms[PHASE_FIRST_WRITE], 30);
    assert_int_equal(f.got.phase_ms[PHASE_STOP], -1);
    assert_false(turn(&f, 10)); /* told once */
}

static void crash__released_before_the_answer_came__its_word_is_waited_for(void **state)
{
    struct fixture f;
    int64_t admitted;

    (void)state;
    begin(&f);
    f.l.lease_changed_ms = f.now;
    turn(&f, 0);
    hear(&f, f.now, 1, WRITE_END_OTHER);
    f.lease.holder = (struct identity){0};
    f.lease.release = (struct release){.valid = true, .epoch = 4, .releaser = f.other.name,
                                       .volume = OLD_VOLUME};
    turn(&f, 50);
    assert_false(take_over(&f));
    admitted = f.now;
    f.lease.release = (struct release){0};
    assert_false(turn(&f, 10));
    hear(&f, f.now, 140, WRITE_END_CRASH);
    assert_true(turn(&f, 0));
    assert_string_equal(f.got.cause, "failover");
    assert_string_equal(f.got.reason, "the server of pg-0 crashed");
    assert_string_equal(f.got.from.s, "pg-0");
    assert_int_equal(f.got.write_gap_ms, admitted - (f.now - 140));
    assert_false(turn(&f, 10));

    begin(&f); /* an answer that was long on its way makes the gap too long: a prompt one follows */
    f.l.lease_changed_ms = f.now;
    turn(&f, 0);
    f.lease.holder = (struct identity){0};
    f.lease.release = (struct release){.valid = true, .epoch = 4, .releaser = f.other.name,
                                       .volume = OLD_VOLUME};
    turn(&f, 50);
    assert_false(take_over(&f));
    admitted = f.now;
    assert_false(turn(&f, 300));
    hear(&f, f.now - 366, 440, WRITE_END_CRASH);
    assert_false(turn(&f, 400));
    hear(&f, f.now - 3, 840, WRITE_END_CRASH);
    assert_true(turn(&f, 0));
    assert_int_equal(f.got.write_gap_ms, admitted - (f.now - 3 - 840));
    assert_string_equal(f.got.reason, "the server of pg-0 crashed");

    begin(&f); /* none does: after a while what is known is told, and it is not too short */
    f.l.lease_changed_ms = f.now;
    turn(&f, 0);
    f.lease.holder = (struct identity){0};
    f.lease.release = (struct release){.valid = true, .epoch = 4, .releaser = f.other.name,
                                       .volume = OLD_VOLUME};
    turn(&f, 50);
    assert_false(take_over(&f));
    admitted = f.now;
    assert_false(turn(&f, 300));
    hear(&f, f.now - 366, 440, WRITE_END_CRASH);
    assert_false(turn(&f, 1699));
    assert_true(turn(&f, 1));
    assert_int_equal(f.got.write_gap_ms, admitted - (f.now - 1700 - 366 - 440));

    begin(&f); /* nothing comes: what is known is told all the same */
    f.l.lease_changed_ms = f.now;
    turn(&f, 0);
    f.lease.holder = (struct identity){0};
    f.lease.release = (struct release){.valid = true, .epoch = 4, .releaser = f.other.name,
                                       .volume = OLD_VOLUME};
    turn(&f, 50);
    assert_false(take_over(&f));
    assert_false(turn(&f, 1999));
    assert_true(turn(&f, 1));
    assert_string_equal(f.got.reason, "pg-0 gave the Lease back");
}

static void node_lost__last_answer_bounds_the_gap(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.l.lease_changed_ms = f.now;
    turn(&f, 0);
    hear(&f, f.now, 1, WRITE_END_OTHER);
    turn(&f, 6000); /* silence; the Lease is counted out */
    assert_true(take_over(&f));
    assert_string_equal(f.got.cause, "failover");
    assert_string_equal(f.got.reason, "pg-0 did not renew the Lease for 6000 ms");
    assert_in_range(f.got.write_gap_ms, 6100, 6100 + BOUND_MS);
}

static void node_lost__stale_or_no_answer__gap_left_out(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f); /* peers cut off for a minute while the Lease was renewed all the time */
    turn(&f, 0);
    hear(&f, f.now, 1, WRITE_END_OTHER);
    turn(&f, 60000);
    f.l.lease_changed_ms = f.now;
    turn(&f, 6000);
    assert_true(take_over(&f));
    assert_int_equal(f.got.write_gap_ms, -1);
    assert_int_equal(f.got.phase_ms[PHASE_DETECT], -1);

    begin(&f); /* never heard of it */
    turn(&f, 0);
    assert_true(take_over(&f));
    assert_int_equal(f.got.write_gap_ms, -1);
    assert_string_equal(f.got.from.s, "pg-0"); /* the record knows its name */
}

static void switchover__phases_of_both_sides(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.intent = (struct intent){.id = 7, .kind = INTENT_SWITCHOVER, .epoch = 4};
    strncpy(f.intent.created_by, "ann@desk", sizeof(f.intent.created_by) - 1);
    f.begun.id = f.result.id = 7;
    f.begun.phase_ms[PHASE_CHECKPOINT] = 12;
    f.begun.phase_ms[PHASE_STOP] = 50;
    f.begun.phase_ms[PHASE_RELEASE] = 9;
    f.result.state = INTENT_RUNNING;
    turn(&f, 0);
    hear(&f, f.now, 60, WRITE_END_PLANNED);
    assert_true(take_over(&f));
    assert_string_equal(f.got.cause, "switchover");
    assert_string_equal(f.got.reason, "ordered by ann@desk");
    assert_in_range(f.got.write_gap_ms, 160, 160 + BOUND_MS);
    assert_int_equal(f.got.phase_ms[PHASE_STOP], 50);
    assert_int_equal(f.got.phase_ms[PHASE_RELEASE], 9);
    assert_int_equal(f.got.phase_ms[PHASE_DETECT], -1);
    assert_int_equal(f.got.phase_ms[PHASE_FIRST_WRITE], 30);
}

/* SIGTERM is a switchover nobody ordered; an order of an earlier epoch has nothing to do with it. */
static void sigterm__old_order_is_not_its_cause(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.intent = (struct intent){.id = 7, .kind = INTENT_SWITCHOVER, .epoch = 3};
    f.begun.id = f.result.id = 7;
    f.begun.phase_ms[PHASE_STOP] = 50;
    f.result.state = INTENT_RUNNING;
    turn(&f, 0);
    hear(&f, f.now, 80, WRITE_END_PLANNED);
    assert_true(take_over(&f));
    assert_string_equal(f.got.cause, "switchover");
    assert_string_equal(f.got.reason, "pg-0 was asked to end");
    assert_int_equal(f.got.phase_ms[PHASE_STOP], -1);
    assert_in_range(f.got.phase_ms[PHASE_DETECT], 80, 80 + BOUND_MS);
}

static void loss__zero_only_when_proved(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.lease.record.w = 0;
    turn(&f, 0);
    assert_true(take_over(&f));
    assert_int_equal(f.got.lost_bytes, -1);

    begin(&f); /* asynchronous, but the releaser's whole WAL is here */
    f.lease.record.w = 0;
    f.l.bypass_epoch = 5;
    turn(&f, 0);
    assert_true(take_over(&f));
    assert_int_equal(f.got.lost_bytes, 0);

    begin(&f); /* this volume alone held what was acknowledged */
    f.lease.record.w = 0;
    f.lease.record.sealed = OWN_VOLUME;
    turn(&f, 0);
    assert_true(take_over(&f));
    assert_int_equal(f.got.lost_bytes, 0);
}

static void restart_in_place__one_clock(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    turn(&f, 0);
    assert_true(take_over(&f));
    f.last = f.got;
    turn(&f, 400);
    f.l.serving = false;
    f.l.crashed = true;
    f.l.armed = false;
    turn(&f, 300); /* noticed now, although the last turn that served is older */
    f.l.crashed = false;
    turn(&f, 100);
    f.lease.record.timeline++;
    f.l.armed = true;
    turn(&f, 50);
    f.l.promoted_ms = f.now + 20;
    turn(&f, 20);
    f.l.serving = true;
    assert_true(turn(&f, 10));
    assert_string_equal(f.got.cause, "restart");
    assert_string_equal(f.got.reason, "the server crashed and was started again");
    assert_string_equal(f.got.from.s, "pg-1");
    assert_string_equal(f.got.to.s, "pg-1");
    assert_int_equal(f.got.write_gap_ms, 180);
    assert_int_equal(f.got.phase_ms[PHASE_START], 150);
    assert_int_equal(f.got.phase_ms[PHASE_ACQUIRE], -1);
    assert_int_equal(f.got.lost_bytes, 0);
    f.last = f.got;
    f.l.serving = false; /* a flicker of the right is no change */
    turn(&f, 10);
    f.l.serving = true;
    assert_false(turn(&f, 10));
}

/* After a stall nobody knows when in it the server died: the last turn that served is the bound. */
static void restart_after_a_stall__counts_from_the_last_good_turn(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    turn(&f, 0);
    assert_true(take_over(&f));
    f.last = f.got;
    f.l.serving = false;
    f.l.crashed = true;
    turn(&f, 30000);
    f.lease.record.timeline++;
    f.l.serving = true;
    assert_true(turn(&f, 100));
    assert_int_equal(f.got.write_gap_ms, 30100);
}

static void new_process__of_the_writer__unknown_gap_and_no_double_entry(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f); /* only the agent was restarted: same epoch, same timeline */
    f.lease.holder = f.self;
    f.lease.record.writer = OWN_VOLUME;
    name(&f.last.to, "pg-1");
    f.l.serving = true;
    f.l.history_known = false;
    assert_false(turn(&f, 0));
    f.l.history_known = true;
    assert_false(turn(&f, 10));

    begin(&f); /* the container came back and resumed: same epoch, new timeline */
    f.lease.holder = f.self;
    f.lease.record.writer = OWN_VOLUME;
    f.lease.record.timeline = 6;
    name(&f.last.to, "pg-1");
    turn(&f, 0);
    hear(&f, f.now, 11000, WRITE_END_OTHER); /* an earlier writer is not the last one */
    f.l.serving = true;
    assert_true(turn(&f, 10));
    assert_string_equal(f.got.cause, "restart");
    assert_string_equal(f.got.from.s, "pg-1");
    assert_int_equal(f.got.write_gap_ms, -1);
}

static void first_entry__bootstrap_or_adoption(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.l.last = NULL;
    f.l.initialising = true;
    turn(&f, 0);
    f.l.initialising = false;
    assert_true(take_over(&f));
    assert_string_equal(f.got.cause, "bootstrap");
    assert_string_equal(f.got.from.s, "");
    assert_int_equal(f.got.write_gap_ms, -1);
    assert_int_equal(f.got.lost_bytes, -1);

    begin(&f);
    f.l.last = NULL;
    turn(&f, 0);
    assert_true(take_over(&f));
    assert_string_equal(f.got.cause, "adoption");
}

static void own_answer__says_how_long_ago(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    turn(&f, 0);
    assert_int_equal(succession_written_ago(&f.s, f.now), 0); /* never wrote */
    assert_true(take_over(&f));
    assert_int_equal(succession_written_ago(&f.s, f.now), 1);
    turn(&f, 100);
    f.l.stopping = true; /* the stop is ordered in this turn: until now it could write */
    turn(&f, 200);
    assert_int_equal(succession_written_ago(&f.s, f.now), 1);
    turn(&f, 50); /* still admitted on paper */
    assert_int_equal(succession_written_ago(&f.s, f.now), 51);
    assert_int_equal(f.s.end, WRITE_END_PLANNED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash__supervisor_lives__gap_counts_from_the_crash),
        cmocka_unit_test(crash__released_before_the_answer_came__its_word_is_waited_for),
        cmocka_unit_test(node_lost__last_answer_bounds_the_gap),
        cmocka_unit_test(node_lost__stale_or_no_answer__gap_left_out),
        cmocka_unit_test(switchover__phases_of_both_sides),
        cmocka_unit_test(sigterm__old_order_is_not_its_cause),
        cmocka_unit_test(loss__zero_only_when_proved),
        cmocka_unit_test(restart_in_place__one_clock),
        cmocka_unit_test(restart_after_a_stall__counts_from_the_last_good_turn),
        cmocka_unit_test(new_process__of_the_writer__unknown_gap_and_no_double_entry),
        cmocka_unit_test(first_entry__bootstrap_or_adoption),
        cmocka_unit_test(own_answer__says_how_long_ago),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
