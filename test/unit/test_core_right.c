/* The right to write: deadline, promises, what ends it, what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void core__healthy_primary__serves_until_send_plus_fence(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.deadline_ms, NOW - 500 + 7000); /* from the send, not from the reply */
    assert_true(s.d.serving);
}

static void core__deadline_passed__fences_although_holder(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.write_sent_ms = NOW - 7000;
    assert_string_equal(rule(&s), "lapsed");
    assert_true((s.d.effects & EFF_FENCE) != 0);
    s.v.lv.write_sent_ms = NOW - 6999;
    assert_string_equal(rule(&s), "serve");
}

static void core__reading_oneself_as_holder__gives_no_right(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.outcome = OUTCOME_NONE;
    assert_string_equal(rule(&s), "lapsed");
}

static void core__other_holder_seen__fences_at_once(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.holder = identity_of(1);
    s.v.lv.lease.epoch = 6;
    assert_string_equal(rule(&s), "deposed");
    assert_int_equal(s.d.deadline_ms, 0);
}

static void core__lease_emptied_or_gone__live_holder_goes_on(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.lv.lease = (struct lease){.exists = true};
    assert_string_equal(rule(&s), "adopt");
    assert_int_equal(s.d.write.kind, WRITE_ADOPT);
    assert_int_equal(s.d.write.want.epoch, 5);
    assert_int_equal(s.d.write.want.record.writer, A);
    s.v.lv.lease = (struct lease){0};
    assert_string_equal(rule(&s), "recreate");
    assert_int_equal(s.d.write.kind, WRITE_CREATE);
}

/* Its clocks were stopped by the hypervisor: to itself its right is live. */
static void core__newer_acquisition_in_the_config_map__ends_a_right_that_seems_live(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.lv.lease = (struct lease){.exists = true}; /* stripped by a tool: adopted while nothing is newer */
    assert_string_equal(rule(&s), "adopt");
    s.v.st.epoch = 6;
    assert_string_equal(rule(&s), "deposed");
    s.v.lv.lease.exists = false;
    assert_string_equal(rule(&s), "deposed");
    assert_int_equal(s.d.deadline_ms, 0);
}

static void core__write_sent_before_a_forfeit__restores_nothing(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.forfeit_ms = NOW - 400;
    assert_string_equal(rule(&s), "lapsed");
    s.m.forfeit_ms = NOW - 600;
    assert_string_equal(rule(&s), "serve");
}

static void api_away(struct view *v, struct memo *m)
{
    v->lv.outcome = OUTCOME_UNKNOWN;
    v->lv.write_seq = 2;
    v->lv.write_sent_ms = NOW - 2500;
    v->lv.write_done_ms = NOW - 500;
    v->lv.got_ms = NOW - 4000;
    m->proven = true;
    m->right_seq = 1;
    m->deadline_ms = NOW + 3000;
}

static void promise(struct view *v, int i)
{
    v->peer[i].promise_sent_ms = NOW - 20 - i;
    v->peer[i].promise_until_ms = v->peer[i].promise_sent_ms + 10000;
    v->peer[i].promise_epoch = 5;
}

static void core__api_away__every_promise_extends_and_one_missing_does_not(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    api_away(&s.v, &s.m);
    promise(&s.v, 0);
    rule(&s);
    assert_true(s.d.failsafe);
    assert_int_equal(s.d.deadline_ms, NOW + 3000);
    promise(&s.v, 1);
    rule(&s);
    assert_int_equal(s.d.deadline_ms, NOW - 21 + 7000); /* the first request of the round */
    /* Asked for under a profile of 5 s: it carries the share of 5 s, whatever the profile is now. */
    s.v.peer[0].promise_until_ms = s.v.peer[0].promise_sent_ms + 5000;
    rule(&s);
    assert_int_equal(s.d.deadline_ms, NOW - 20 + 3500);
}

static void core__lapse_is_final__promises_come_too_late(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    api_away(&s.v, &s.m);
    s.m.deadline_ms = NOW;
    promise(&s.v, 0);
    promise(&s.v, 1);
    assert_string_equal(rule(&s), "lapsed");
}

static void core__promise__given_to_the_holder_and_binding(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.in.promise = true;
    s.v.in.promise_req = (struct peer_request){PEER_PROMISE, identity_of(0), 5, 10000};
    rule(&s);
    assert_int_equal(s.d.promise_ms, 10000);
    /* a candidate of a newer epoch gets no report while the promise binds */
    s.v.in.promise = false;
    s.v.in.vote = true;
    s.v.in.vote_req = (struct peer_request){PEER_VOTE, identity_of(2), 6, 0};
    s.m = s.d.memo;
    assert_string_equal(rule(&s), "follow");
    s.v.now_ms = s.m.promise_until_ms + 1;
    s.m.last_turn_ms = s.v.now_ms - 10;
    assert_string_equal(rule(&s), "vote");
    /* nor does anybody else get one */
    s.v.in.promise = true;
    s.v.in.promise_req.from = identity_of(2);
    rule(&s);
    assert_int_equal(s.d.promise_ms, 0);
}

static void core__promise__voided_for_good_by_a_release(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.m.promise_epoch = 5;
    s.m.promise_until_ms = NOW + 9000;
    s.m.promised_to = name_of(0);
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .successor = name_of(1),
                                          .releaser = name_of(2)};
    s.v.lv.got_ms = NOW;
    assert_string_not_equal(rule(&s), "acquire"); /* somebody else's */
    assert_int_equal(s.d.memo.promise_until_ms, NOW + 9000);
    s.v.lv.lease.release.releaser = name_of(0);
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.holder = identity_of(1);
    s.v.lv.lease.release = (struct release){0};
    s.v.lv.lease.epoch = 6;
    s.m = s.d.memo;
    assert_string_equal(rule(&s), "elect-detach");
}

/* The state was deleted, and the Lease shows that there was a writer: the pod of its holder, whose volume
 * is empty, initialises nothing beside the data of others. */
static void core__writer_edited_away__is_not_a_new_cluster(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.st = (struct state_view){.known = true};
    s.v.lv.lease.holder = s.v.self.id;
    s.v.self.data = DATA_EMPTY;
    s.v.self.volume = 99;
    s.v.self.system_id = s.v.self.durable_epoch = 0;
    s.v.self.has_record = false;
    s.v.pg = (struct pg){.process = PG_DOWN};
    s.m.deadline_ms = NOW + 5000;
    s.v.lv.lease.record.writer = 0;
    assert_string_equal(rule(&s), "data-lost-release");
    assert_true((s.d.facts & FACT(CLUSTER_NEW)) == 0);
    s.v.lv.lease.record.writer_epoch = 0; /* chosen to initialise, and nobody was writer yet */
    assert_string_equal(rule(&s), "boot-initdb");
}

/* A member whose name somebody wrote into the Lease gives it back; the writer has not seen that yet. */
static void core__released_by_another_than_the_writer__is_waited_for(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(2), .volume = C};
    s.v.lv.got_ms = NOW;
    assert_string_not_equal(rule(&s), "acquire");
    assert_true((s.d.facts & FACT(LEASE_EMPTY)) != 0);
    s.v.lv.lease.release.releaser = name_of(0); /* the writer's pod, whose volume was found empty */
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.release.releaser = name_of(2);
    s.v.lv.lease.release.volume = A; /* the writer under another name */
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.release.volume = C;
    s.v.lv.lease.record.writer_epoch = 4; /* nobody became writer in this epoch */
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.lease.record.writer_epoch = 5;
    s.v.lv.lease.record.writer = 0; /* it was edited away */
    assert_string_not_equal(rule(&s), "acquire");
    s.v.lv.lease.has_record = false;
    assert_true((rule(&s), s.d.facts & FACT(LEASE_RELEASED)) != 0);
}

static void core__promise__refused_while_an_acquisition_may_apply(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.in.promise = true;
    s.v.in.promise_req = (struct peer_request){PEER_PROMISE, identity_of(0), 5, 10000};
    s.v.lv.write = WRITE_ACQUIRE;
    s.v.lv.outcome = OUTCOME_PENDING;
    rule(&s);
    assert_int_equal(s.d.promise_ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core__healthy_primary__serves_until_send_plus_fence),
        cmocka_unit_test(core__deadline_passed__fences_although_holder),
        cmocka_unit_test(core__reading_oneself_as_holder__gives_no_right),
        cmocka_unit_test(core__other_holder_seen__fences_at_once),
        cmocka_unit_test(core__lease_emptied_or_gone__live_holder_goes_on),
        cmocka_unit_test(core__newer_acquisition_in_the_config_map__ends_a_right_that_seems_live),
        cmocka_unit_test(core__write_sent_before_a_forfeit__restores_nothing),
        cmocka_unit_test(core__api_away__every_promise_extends_and_one_missing_does_not),
        cmocka_unit_test(core__lapse_is_final__promises_come_too_late),
        cmocka_unit_test(core__promise__given_to_the_holder_and_binding),
        cmocka_unit_test(core__promise__voided_for_good_by_a_release),
        cmocka_unit_test(core__writer_edited_away__is_not_a_new_cluster),
        cmocka_unit_test(core__released_by_another_than_the_writer__is_waited_for),
        cmocka_unit_test(core__promise__refused_while_an_acquisition_may_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
