/* A strict writer that is silent is succeeded inside its lease: what must be known for it, and who says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

/* Copies of the record in Lease, ConfigMap and on disk, as after a renewal that all have seen. */
static void recorded(struct scene *s, bool strict)
{
    s->v.lv.lease.record.strict = strict;
    s->v.st.record.strict = strict;
    s->v.self.record.strict = strict;
}

/* pg-1, to which pg-0 has been silent for 2 s, as it has to pg-2; its Lease was renewed half a second ago. */
static void silent(struct scene *s)
{
    at(s, 1);
    s->v.set.strict = true;
    s->v.set.early_ms = 1500;
    recorded(s, true);
    s->v.peer[0].silent_since_ms = NOW - 2000;
    s->v.peer[0].sent_ms = s->v.peer[0].received_ms = NOW - 2100;
    s->v.peer[1].state.lease_epoch = 5;
    s->v.peer[1].state.writer_silent_ms = 1800;
}

static void silent__to_all_who_elect__acquired_inside_the_lease(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW - 1000;
    assert_string_equal(rule(&s), "follow");
    s.v.lv.got_ms = NOW - 3000;
    assert_string_equal(rule(&s), "follow");
    assert_true(s.d.effects & EFF_LEASE_GET);
    s.v.lv.got_ms = NOW;
    assert_string_equal(rule(&s), "acquire-early");
    assert_int_equal(s.d.write.kind, WRITE_ACQUIRE);
    assert_int_equal(s.d.write.want.epoch, 6);
    assert_int_equal(s.d.write.want.record.writer, A);
}

/* Nothing is early about it, and a Lease that was put back says nothing of its writer's gate. */
static void silent__counted_or_restored__an_ordinary_acquisition(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.peer[0].silent_since_ms = NOW - 1600;
    s.v.lv.changed_ms = NOW - 11000;
    s.v.lv.got_ms = NOW;
    assert_string_equal(rule(&s), "acquire");
    s.v.lv.changed_ms = NOW - 500;
    assert_string_equal(rule(&s), "acquire-early");
    s.v.st.epoch = 6;
    assert_string_not_equal(rule(&s), "acquire-early");
}

static void silent__before_its_time__waited_for(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[0].silent_since_ms = NOW - 1499;
    assert_string_equal(rule(&s), "follow");
    assert_int_equal(s.d.writer_silent_ms, 1499);
    assert_true(s.d.effects & EFF_PEERS);
}

static void silent__another_voter_hears_it__waited_for(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[1].state.writer_silent_ms = 1499;
    assert_string_equal(rule(&s), "follow");
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.lv.lease.record.w = s.v.st.record.w = s.v.self.record.w = 2;
    assert_string_equal(rule(&s), "acquire-early"); /* one vote is enough */
    s.v.peer[1].state.writer_silent_ms = 1499;
    assert_string_equal(rule(&s), "follow");
}

static void silent__another_voter_does_not_answer__waited_for(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[1].sent_ms = NOW - 5000;
    assert_string_equal(rule(&s), "follow");
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.peer[1].state.lease_epoch = 4; /* its silence is of an older writer */
    assert_string_equal(rule(&s), "follow");
}

static void silent__not_strict_or_not_asked_for__waited_for(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    recorded(&s, false);
    assert_string_equal(rule(&s), "follow");
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.set.early_ms = 0;
    assert_string_equal(rule(&s), "follow");
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.set.mode = REPL_ASYNC;
    assert_string_equal(rule(&s), "follow");
}

static void silent__no_confirmation_is_needed__waited_for(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.lv.lease.record.w = s.v.st.record.w = s.v.self.record.w = 0;
    assert_string_equal(rule(&s), "follow");
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.lv.lease.record.sealed = s.v.st.record.sealed = s.v.self.record.sealed = A;
    assert_string_equal(rule(&s), "follow");
}

static void silent__promised__waited_for(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.m.promise_until_ms = NOW + 1;
    s.m.promise_epoch = 5;
    s.m.promised_to = name_of(0);
    assert_string_equal(rule(&s), "follow");
}

/* The candidate of epoch 6 has not become writer: the strict writer is that of epoch 5. */
static void silent__a_candidate__its_whole_lease(void **state)
{
    (void)state;
    struct scene s;
    silent(&s);
    s.v.lv.got_ms = NOW;
    s.v.lv.lease.epoch = 6;
    s.v.peer[1].state.lease_epoch = 6;
    assert_string_not_equal(rule(&s), "acquire-early");
}

/* pg-0 serves, and its gate is as given. */
static void serving(struct scene *s, enum tri gate, bool strict)
{
    at(s, 0);
    s->m.proven = true;
    s->m.deadline_ms = NOW + 6500;
    s->m.right_seq = 1;
    s->v.set.strict = true;
    s->v.set.early_ms = 1500;
    s->v.pg.strict = gate;
    s->v.pg.strict_now = gate != TRI_NO;
    recorded(s, strict);
}

static void record__a_gate_that_was_always_strict__said(void **state)
{
    (void)state;
    struct scene s;
    serving(&s, TRI_YES, false);
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_true(s.d.write.want.record.strict);
    serving(&s, TRI_NO, false);
    rule(&s);
    assert_false(s.d.write.want.record.strict);
    serving(&s, TRI_UNKNOWN, true); /* an agent that found its server running */
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

/* The first record that names a writer says what its gate is now. */
static void record__elected__says_what_its_gate_is(void **state)
{
    (void)state;
    for (int gate = TRI_UNKNOWN; gate <= TRI_YES; gate++) {
        struct scene s;
        at(&s, 1);
        s.v.set.strict = true;
        s.v.set.early_ms = 1500;
        recorded(&s, true);
        s.v.lv.lease.holder = s.v.self.id;
        s.v.lv.lease.epoch = s.v.self.durable_epoch = s.v.pg.frozen_epoch = s.m.acquired_epoch = 6;
        s.v.lv.write = WRITE_ACQUIRE;
        s.v.lv.outcome = OUTCOME_OK;
        s.v.lv.write_seq = 1;
        s.v.lv.write_sent_ms = NOW - 30;
        s.v.lv.write_duration_s = 10;
        s.v.lv.write_holder = true;
        s.v.pg.streaming = false;
        s.v.pg.strict = (enum tri)gate;
        s.v.peer[0].received_ms = 0;
        s.v.peer[1].state.frozen_epoch = s.v.peer[1].state.durable_epoch = 6;
        assert_string_equal(rule(&s), "elect-writer");
        assert_int_equal(s.d.write.want.record.strict, gate == TRI_YES);
    }
}

static void record__no_longer_strict__said_before_the_gate_is_loosened(void **state)
{
    (void)state;
    struct scene s;
    serving(&s, TRI_YES, true);
    s.v.set.strict = false;
    rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_false(s.d.write.want.record.strict);
    assert_true(s.d.strict);
    s.m = s.d.memo;
    s.v.lv.outcome = OUTCOME_UNKNOWN; /* the write may not have been applied */
    s.v.lv.write_sent_ms = NOW - 1;
    s.v.lv.write_done_ms = NOW;
    rule(&s);
    assert_true(s.d.strict);
    serving(&s, TRI_YES, false);
    s.v.set.strict = false;
    rule(&s);
    assert_false(s.d.strict);
}

/* A new agent of a cluster that is not strict. */
static void started_anew(struct scene *s, bool strict_now)
{
    serving(s, TRI_UNKNOWN, false);
    s->v.set.strict = false;
    s->v.pg.strict_now = strict_now;
    s->m.proven = false;
    s->m.right_seq = s->v.lv.write_seq;
}

/* A write of the agent before it, which says that the gate is strict, may still be applied. */
static void record__new_agent__the_gate_stays_strict_until_its_own_write(void **state)
{
    (void)state;
    struct scene s;
    started_anew(&s, true);
    rule(&s);
    assert_true(s.d.strict);
    s.m = s.d.memo;
    s.m.proven = true;
    rule(&s);
    assert_false(s.d.strict);
}

static void record__new_agent__a_loose_gate_stays_loose(void **state)
{
    (void)state;
    struct scene s;
    started_anew(&s, false);
    rule(&s);
    assert_false(s.d.strict);
    recorded(&s, true); /* whatever the reason: it is believed */
    rule(&s);
    assert_true(s.d.strict);
}

static void record__deposed__the_gate_stays_strict(void **state)
{
    (void)state;
    struct scene s;
    serving(&s, TRI_YES, true);
    rule(&s);
    s.m = s.d.memo;
    s.v.set.strict = false;
    recorded(&s, false);
    s.v.lv.lease.holder = s.v.peer[0].state.id;
    s.v.lv.lease.epoch++;
    rule(&s);
    assert_true(s.d.effects & EFF_FENCE);
    assert_true(s.d.strict);
    s.m = s.d.memo;
    s.v.pg.maybe_writable = false;
    rule(&s);
    assert_false(s.d.strict);
}

/* The Lease was emptied under it, and may be put back as it was. */
static void record__the_lease_lost_it__the_gate_stays_strict(void **state)
{
    (void)state;
    struct scene s;
    serving(&s, TRI_YES, true);
    rule(&s);
    s.m = s.d.memo;
    s.v.set.strict = false;
    s.v.lv.lease.has_record = false;
    s.v.self.record.strict = false;
    rule(&s);
    assert_true(s.d.strict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent__to_all_who_elect__acquired_inside_the_lease),
        cmocka_unit_test(silent__counted_or_restored__an_ordinary_acquisition),
        cmocka_unit_test(silent__before_its_time__waited_for),
        cmocka_unit_test(silent__another_voter_hears_it__waited_for),
        cmocka_unit_test(silent__another_voter_does_not_answer__waited_for),
        cmocka_unit_test(silent__not_strict_or_not_asked_for__waited_for),
        cmocka_unit_test(silent__no_confirmation_is_needed__waited_for),
        cmocka_unit_test(silent__promised__waited_for),
        cmocka_unit_test(silent__a_candidate__its_whole_lease),
        cmocka_unit_test(record__a_gate_that_was_always_strict__said),
        cmocka_unit_test(record__elected__says_what_its_gate_is),
        cmocka_unit_test(record__no_longer_strict__said_before_the_gate_is_loosened),
        cmocka_unit_test(record__new_agent__the_gate_stays_strict_until_its_own_write),
        cmocka_unit_test(record__new_agent__a_loose_gate_stays_loose),
        cmocka_unit_test(record__deposed__the_gate_stays_strict),
        cmocka_unit_test(record__the_lease_lost_it__the_gate_stays_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
