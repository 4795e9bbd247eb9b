/* The right to write: deadline, promises, what ends it, what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/page.h"
#include "healthy.h"

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

static void storage_hangs__not_without_the_api(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m = (struct memo){.deadline_ms = NOW + 5000, .proven = true, .right_seq = 1, .last_turn_ms = NOW - 10};
    s.v.pg.storage_since_ms = NOW - 30000;
    assert_true(fact(&s, FACT(STORAGE_HANGS)));
    s.v.lv.outcome = OUTCOME_UNKNOWN;
    s.v.lv.got_ms = NOW;
    s.m.deadline_ms = NOW + 1000;
    assert_false(fact(&s, FACT(STORAGE_HANGS)));
    assert_true(s.d.failsafe);
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

static void healthy_primary__serves_until_send_plus_fence(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    assert_string_equal(rule(&s), "serve");
    assert_int_equal(s.d.deadline_ms, NOW - 500 + 7000); /* from the send, not from the reply */
    assert_true(s.d.serving);
}

static void deadline_passed__fences_although_holder(void **state)
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

static void reading_oneself_as_holder__gives_no_right(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.outcome = OUTCOME_NONE;
    assert_string_equal(rule(&s), "lapsed");
}

static void other_holder_seen__fences_at_once(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.holder = identity_of(1);
    s.v.lv.lease.epoch = 6;
    assert_string_equal(rule(&s), "deposed");
    assert_int_equal(s.d.deadline_ms, 0);
}

static void lease_emptied_or_gone__live_holder_goes_on(void **state)
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
static void newer_acquisition_in_the_config_map__ends_a_right_that_seems_live(void **state)
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

static void write_sent_before_a_forfeit__restores_nothing(void **state)
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

static void api_away__every_promise_extends_and_one_missing_does_not(void **state)
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

static void lapse_is_final__promises_come_too_late(void **state)
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

static void promise__given_to_the_holder_and_binding(void **state)
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

static void promise__voided_for_good_by_a_release(void **state)
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

static void promise__refused_while_an_acquisition_may_apply(void **state)
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
        cmocka_unit_test(page__overdue_at_the_deadline_itself),
        cmocka_unit_test(page__extended_only_while_live_and_never_shortened),
        cmocka_unit_test(storage_hangs__not_without_the_api),
        cmocka_unit_test(promise__never_for_longer_than_ten_minutes),
        cmocka_unit_test(healthy_primary__serves_until_send_plus_fence),
        cmocka_unit_test(deadline_passed__fences_although_holder),
        cmocka_unit_test(reading_oneself_as_holder__gives_no_right),
        cmocka_unit_test(other_holder_seen__fences_at_once),
        cmocka_unit_test(lease_emptied_or_gone__live_holder_goes_on),
        cmocka_unit_test(newer_acquisition_in_the_config_map__ends_a_right_that_seems_live),
        cmocka_unit_test(write_sent_before_a_forfeit__restores_nothing),
        cmocka_unit_test(api_away__every_promise_extends_and_one_missing_does_not),
        cmocka_unit_test(lapse_is_final__promises_come_too_late),
        cmocka_unit_test(promise__given_to_the_holder_and_binding),
        cmocka_unit_test(promise__voided_for_good_by_a_release),
        cmocka_unit_test(promise__refused_while_an_acquisition_may_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
