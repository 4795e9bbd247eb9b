/* A failover that accepts the loss of data: what the order replaces, and all that it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void order(struct scene *s, int target)
{
    s->v.intent = (struct intent){.kind = INTENT_FAILOVER, .id = 77, .accept_loss = true,
                                  .epoch = s->v.lv.lease.epoch, .target = identity_of(target).name};
}

/* pg-1 alone: pg-0 held the Lease and is silent for so long, and so is pg-2. */
static void alone(struct scene *s)
{
    at(s, 1);
    s->v.lv.changed_ms = NOW - 10000;
    s->v.lv.got_ms = NOW;
    s->v.peer[0].received_ms = s->v.peer[1].received_ms = 0;
}

/* It has acquired epoch 6 as the order said. */
static void acquired(struct scene *s)
{
    alone(s);
    order(s, 1);
    assert_string_equal(rule(s), "acquire");
    s->m = s->d.memo;
    s->v.lv.lease = s->d.write.want;
    s->v.self.durable_epoch = 6;
    s->v.lv.write = WRITE_ACQUIRE;
    s->v.lv.outcome = OUTCOME_OK;
    s->v.lv.write_seq = 1;
    s->v.lv.write_sent_ms = NOW - 30;
    s->v.lv.write_done_ms = NOW - 20;
    s->v.lv.write_duration_s = 10;
    s->v.lv.write_holder = true;
    s->v.pg.frozen_epoch = 6;
    s->v.pg.follows = 0;
    s->v.pg.streaming = false;
    s->m.elected_epoch = 6;
    s->m.elected_ms = NOW - 100;
}

static void acquire__too_few_voters__only_by_order(void **state)
{
    (void)state;
    struct scene s;
    alone(&s);
    assert_string_not_equal(rule(&s), "acquire");
    order(&s, 1);
    assert_string_equal(rule(&s), "acquire");
    assert_int_equal(s.d.memo.accepted_epoch, 6);
    s.v.intent.accept_loss = false;
    assert_string_not_equal(rule(&s), "acquire");
    order(&s, 2);
    assert_string_not_equal(rule(&s), "acquire");
    order(&s, 1);
    s.v.intent.epoch--;
    assert_string_not_equal(rule(&s), "acquire");
    order(&s, 1);
    s.v.intent_expired = true;
    assert_string_not_equal(rule(&s), "acquire");
    s.v.intent_expired = false;
    s.v.intent.kind = INTENT_SWITCHOVER;
    assert_string_not_equal(rule(&s), "acquire");
}

static void acquire__by_order__waits_for_the_lease(void **state)
{
    (void)state;
    struct scene s;
    alone(&s);
    order(&s, 1);
    s.v.lv.changed_ms = NOW - 9999;
    assert_string_not_equal(rule(&s), "acquire");
}

static void acquire__by_order__not_where_the_lease_lost_its_record(void **state)
{
    (void)state;
    struct scene s;
    alone(&s);
    order(&s, 1);
    s.v.lv.changed_ms = NOW - 20000;
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.has_record = false; /* deleted and made anew, or stripped */
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.has_record = true;
    s.v.lv.lease.record.rev--; /* put back from a backup */
    assert_string_not_equal(rule(&s), "acquire");
}

static void acquire__by_order__a_voter_that_answers_has_more__not(void **state)
{
    (void)state;
    struct scene s;
    alone(&s);
    order(&s, 1);
    s.v.lv.changed_ms = NOW - 20000; /* its turn has come, whoever ranks before it */
    s.v.peer[1].received_ms = NOW - 20;
    s.v.peer[1].state.position = s.v.pg.position;
    assert_string_equal(rule(&s), "acquire");
    s.v.peer[1].state.position.lsn++;
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.record.m[2].in_v = false; /* what it has more nobody was told of */
    assert_string_equal(rule(&s), "acquire");
}

static void acquire__by_order__with_less_than_recorded_or_without_a_vote(void **state)
{
    (void)state;
    struct scene s;
    alone(&s);
    order(&s, 1);
    s.v.lv.lease.record.m[1].flushed.lsn = s.v.pg.position.lsn + 1;
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.record.m[1].in_v = false;
    assert_string_equal(rule(&s), "acquire");
    s.v.pg.position.timeline = s.v.lv.lease.record.timeline + 1; /* promoted by hand: of no epoch */
    assert_string_not_equal(rule(&s), "acquire");
    alone(&s);
    order(&s, 1);
    s.v.lv.lease.record.m[1].volume = 0x99; /* it is not listed at all */
    assert_string_not_equal(rule(&s), "acquire");
}

static void writer__by_order__what_is_here_is_all_there_is(void **state)
{
    (void)state;
    struct scene s;
    acquired(&s);
    struct record *r = &s.v.lv.lease.record;
    r->m[1].in_v = false;
    r->m[1].flushed.lsn = s.v.pg.position.lsn + 100;
    r->sealed = r->m[0].volume;
    s.v.intent = (struct intent){0}; /* the acquisition was the answer to it */
    assert_string_equal(rule(&s), "elect-writer");
    r = &s.d.write.want.record;
    assert_true(r->m[1].in_v);
    assert_int_equal(position_cmp(r->m[1].flushed, s.v.pg.position), 0);
    assert_int_equal(r->sealed, s.v.self.volume);
    assert_int_equal(r->writer, s.v.self.volume);
    s.m.accepted_epoch = 5;
    assert_string_equal(rule(&s), "elect-wait");
}

static void writer__by_order__waits_a_lease_for_those_who_answer(void **state)
{
    (void)state;
    struct scene s;
    acquired(&s);
    s.v.peer[1].received_ms = NOW - 20; /* not frozen yet */
    s.v.peer[1].state.position = s.v.pg.position;
    s.m.elected_ms = NOW - 9999;
    assert_string_equal(rule(&s), "elect-wait");
    s.m.elected_ms = NOW - 10000;
    assert_string_equal(rule(&s), "elect-writer");
}

static void writer__by_order__is_no_successor(void **state)
{
    (void)state;
    struct scene s;
    acquired(&s);
    s.m.bypass_epoch = 6;
    s.m.bypass_end = s.v.pg.position;
    s.v.lv.lease.record.m[1].in_v = false;
    s.v.peer[1].received_ms = NOW - 20;
    s.v.peer[1].state.frozen_epoch = 6;
    s.v.peer[1].state.position.lsn = s.v.pg.position.lsn + 1;
    assert_string_equal(rule(&s), "elect-yield");
}

static void election_of_another__yields_to_the_target(void **state)
{
    (void)state;
    struct scene s;
    acquired(&s);
    s.m.accepted_epoch = 0;
    order(&s, 2);
    assert_string_equal(rule(&s), "elect-wait"); /* the target does not answer */
    s.v.peer[1].received_ms = NOW - 20;
    assert_string_equal(rule(&s), "elect-overdue");
    assert_int_equal(s.d.write.kind, WRITE_RELEASE);
    assert_string_equal(s.d.write.want.release.successor.s, "pg-2");
    s.v.intent.accept_loss = false;
    assert_string_not_equal(rule(&s), "elect-overdue");
}

static void election_of_the_target__goes_on_by_order(void **state)
{
    (void)state;
    struct scene s;
    acquired(&s);
    s.m.accepted_epoch = 0;
    s.v.intent = (struct intent){0};
    assert_string_equal(rule(&s), "elect-wait");
    order(&s, 1);
    assert_string_equal(rule(&s), "elect-writer");
}

/* A copy that came back in place of a lost volume: the record says nothing of it. */
static void acquire__by_order__not_with_a_volume_that_is_not_listed(void **state)
{
    (void)state;
    struct scene s;
    alone(&s);
    order(&s, 1);
    assert_string_equal(rule(&s), "acquire");
    s.v.self.volume = 0xdd;
    assert_string_not_equal(rule(&s), "acquire");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acquire__too_few_voters__only_by_order),
        cmocka_unit_test(acquire__by_order__waits_for_the_lease),
        cmocka_unit_test(acquire__by_order__not_where_the_lease_lost_its_record),
        cmocka_unit_test(acquire__by_order__a_voter_that_answers_has_more__not),
        cmocka_unit_test(acquire__by_order__with_less_than_recorded_or_without_a_vote),
        cmocka_unit_test(acquire__by_order__not_with_a_volume_that_is_not_listed),
        cmocka_unit_test(writer__by_order__what_is_here_is_all_there_is),
        cmocka_unit_test(writer__by_order__waits_a_lease_for_those_who_answer),
        cmocka_unit_test(writer__by_order__is_no_successor),
        cmocka_unit_test(election_of_another__yields_to_the_target),
        cmocka_unit_test(election_of_the_target__goes_on_by_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
