/* Corners of conditions that other cases pass by: each is reached here once and by itself, through one
 * member's eyes of the healthy three. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static bool fact(struct scene *s, uint64_t f)
{
    (void)rule(s);
    return (s->d.facts & f) != 0;
}

/* pg-1 holds the Lease of epoch 5, which has no writer yet, and is frozen. */
static void electing(struct scene *s)
{
    at(s, 1);
    s->v.lv.lease.holder = s->v.self.id;
    s->v.lv.lease.record.writer_epoch = s->v.st.record.writer_epoch = s->v.self.record.writer_epoch = 4;
    s->v.pg.frozen_epoch = 5;
    s->m.deadline_ms = NOW + 5000;
    s->m.elected_epoch = 5;
    s->m.elected_ms = NOW - 100;
    for (int i = 0; i < 2; i++)
        s->v.peer[i].state.frozen_epoch = 5;
}

static void stale(struct peer *p)
{
    p->sent_ms = p->received_ms = NOW - 20000;
}

/* The writer of epoch 5 whose server is down. */
static void down(struct scene *s, bool crashed)
{
    at(s, 0);
    s->v.pg = (struct pg){.process = PG_DOWN, .crashed = crashed, .position = {4, 200}, .accounted = TRI_YES,
                          .local_timeline = 4};
    s->m.deadline_ms = NOW + 5000;
    s->m.proven = true;
    s->m.right_seq = 1;
}

static void gone__only_by_a_record_that_was_read(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pods_known = true;
    s.v.peer[0].pod_known = false;
    s.v.peer[0].state.volume = 99;
    assert_true(core_is_gone(&s.v, &s.v.peer[0]));
    s.v.lv.lease.has_record = false;
    assert_false(core_is_gone(&s.v, &s.v.peer[0]));
    s.v.lv.known = false;
    assert_false(core_is_gone(&s.v, &s.v.peer[0]));
}

static void waits_for__is_cut_where_it_is_full(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.n_peers = 0;
    for (uint8_t i = 0; i < 4; i++) {
        struct ha_name n = {""};
        memset(n.s, 'a' + i, sizeof n.s - 1);
        (void)record_add(&s.v.lv.lease.record, 100u + i, &n);
    }
    for (uint8_t i = 0; i < s.v.lv.lease.record.n; i++)
        s.v.lv.lease.record.m[i].in_v = i > 2;
    (void)rule(&s);
    assert_int_equal(strlen(s.d.waits_for), sizeof s.d.waits_for - 1);
}

static void waits_for__a_volume_shown_twice__is_not_replaced(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.peer[0].name = name_of(7);
    s.v.peer[0].state.volume = C;
    stale(&s.v.peer[0]);
    (void)rule(&s);
    assert_null(strstr(s.d.waits_for, "pg-2(replaced)"));
}

static void report__of_a_member_without_data__does_not_count(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    stale(&s.v.peer[0]);
    s.v.peer[0].state.frozen_epoch = 0;
    assert_true(fact(&s, FACT(SUFFICIENT)));
    s.v.peer[1].state.data = DATA_EMPTY;
    assert_false(fact(&s, FACT(SUFFICIENT)));
}

/* A candidate that yielded: the writer of the epoch before has the end, not this release. */
static void returning__releaser_of_an_epoch_without_a_writer__waits(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.lv.lease.record.writer = B;
    s.v.lv.lease.holder = (struct identity){0};
    s.v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(1), .volume = B,
                                            .end = {4, 200}};
    s.v.lv.got_ms = NOW;
    s.v.n_peers = 0;
    assert_string_not_equal(rule(&s), "acquire");
}

/* The state was lost: pg-0, alone in a list that never had a writer. */
static void new_cluster(struct scene *s, enum data_state data)
{
    at(s, 0);
    s->v.st = (struct state_view){.known = true};
    s->v.pg = (struct pg){.process = data == DATA_OK ? PG_RUNNING : PG_DOWN, .in_recovery = TRI_YES,
                          .position = {4, 200}, .accounted = TRI_YES, .local_timeline = 4};
    s->v.self.data = data;
    s->v.self.durable_epoch = 0;
    s->v.self.has_record = false;
    s->v.lv.lease = (struct lease){.exists = true, .epoch = 5, .duration_s = 10, .has_record = true};
    (void)record_add(&s->v.lv.lease.record, A, &s->v.self.id.name);
    s->v.set.members = 1;
    for (int i = 0; i < 2; i++) {
        s->v.peer[i].state.data = DATA_EMPTY;
        s->v.peer[i].state.in_recovery = TRI_UNKNOWN;
    }
}

static void boot__what_was_begun_here_goes_on(void **state)
{
    (void)state;
    struct scene s;
    new_cluster(&s, DATA_PARTIAL);
    assert_true(fact(&s, FACT(BOOT_READY)));
    (void)record_add(&s.v.lv.lease.record, B, &s.v.peer[0].name);
    assert_false(fact(&s, FACT(BOOT_READY)));
    record_remove(&s.v.lv.lease.record, A); /* begun by another one */
    assert_false(fact(&s, FACT(BOOT_READY)));
    new_cluster(&s, DATA_BROKEN);
    assert_false(fact(&s, FACT(BOOT_READY)));
    new_cluster(&s, DATA_OK);
    s.v.pg.in_recovery = TRI_NO;
    assert_false(fact(&s, FACT(BOOT_READY)));
}

static void boot__unfinished_copies_answer_only_where_there_is_a_record(void **state)
{
    (void)state;
    struct scene s;
    new_cluster(&s, DATA_OK);
    s.v.set.members = 2;
    s.v.n_peers = 1;
    s.v.lv.lease = (struct lease){0};
    s.v.peer[0].state.data = DATA_PARTIAL;
    assert_false(fact(&s, FACT(BOOT_READY)));
    s.v.self.has_record = true;
    s.v.self.record.m[1].in_v = s.v.self.record.m[2].in_v = false;
    assert_true(fact(&s, FACT(BOOT_READY)));
}

static void boot__a_peer_without_a_vote_goes_not_before(void **state)
{
    (void)state;
    struct scene s;
    new_cluster(&s, DATA_OK);
    s.v.lv.lease = (struct lease){0};
    s.v.n_peers = 1;
    s.v.self.has_record = true;
    s.v.self.record.w = 2;
    s.v.self.record.m[1].in_v = false;
    s.v.peer[0].state.data = DATA_OK;
    s.v.peer[0].state.position.lsn = 300;
    s.v.peer[0].state.record_epoch = 5;
    s.v.peer[0].state.record_rev = 3;
    s.v.peer[0].state.in_recovery = TRI_YES;
    assert_true(fact(&s, FACT(BOOT_READY)));
    s.v.self.record.m[1].in_v = true;
    assert_false(fact(&s, FACT(BOOT_READY)));
}

/* It lost its data and kept its record, which is newer than that of who has data. */
static void boot__empty_with_a_newer_record__waits(void **state)
{
    (void)state;
    struct scene s;
    new_cluster(&s, DATA_EMPTY);
    s.v.lv.lease = (struct lease){0};
    s.v.n_peers = 1;
    s.v.self.has_record = true;
    s.v.self.record.m[0].in_v = false;
    s.v.peer[0].state.data = DATA_OK;
    s.v.peer[0].state.record_epoch = 4;
    s.v.peer[0].state.in_recovery = TRI_YES;
    assert_false(fact(&s, FACT(BOOT_READY)));
}

/* Whoever was to initialise is gone; what it had begun to list is not taken over. */
static void boot__acquired_from_who_was_chosen_before(void **state)
{
    (void)state;
    struct scene s;
    new_cluster(&s, DATA_OK);
    record_remove(&s.v.lv.lease.record, A);
    (void)record_add(&s.v.lv.lease.record, 99, &s.v.peer[0].name);
    s.v.lv.changed_ms = NOW - 20000;
    assert_string_equal(rule(&s), "boot-acquire");
    assert_int_equal(s.d.write.want.record.n, 1);
    assert_int_equal(s.d.write.want.record.m[0].volume, A);
}

static void prepared__only_with_the_record_on_the_volume(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    struct record *r = &s.v.lv.lease.record;
    r->writer = B;
    r->writer_epoch = 5;
    r->timeline = 5;
    s.m.named_epoch = 5;
    s.v.self.record = s.v.st.record = *r;
    s.v.pg.closed = TRI_YES;
    s.v.pg.ssn = ssn_of_record(r, B, false, REPL_QUORUM);
    assert_true(fact(&s, FACT(PREPARED)));
    s.v.self.has_record = false;
    assert_false(fact(&s, FACT(PREPARED)));
}

static void fetch__only_from_who_must_not_go_first(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.peer[1].state.position.lsn = 300;
    assert_false(fact(&s, FACT(FETCH)));
    s.v.st.paused = true;
    assert_true(fact(&s, FACT(FETCH)));
    s.v.st.paused = false;
    s.v.peer[1].state.nofailover = true;
    assert_true(fact(&s, FACT(FETCH)));
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

static void renewal__of_a_stripped_lease__with_nothing_to_put_back(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.lv.lease.has_record = false;
    s.v.lv.lease.record.n = s.v.self.record.n = 0;
    s.v.pg.n_senders = 0;
    s.m.deadline_ms = NOW + 500;
    s.v.lv.write_sent_ms = NOW - 3000;
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_RENEW);
    assert_int_equal(s.d.write.want.record.n, 0);
}

static void election_again__keeps_the_record_of_a_new_cluster(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    struct record *r = &s.v.lv.lease.record;
    r->writer = r->writer_epoch = 0;
    s.v.st = (struct state_view){.known = true};
    s.v.self.has_record = false;
    s.v.peer[0].state.refused_epoch = 6;
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.epoch, 7);
    assert_int_equal(s.d.write.want.record.n, 3);
    r->n = 0;
    s.m.refused_max = 6;
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.record.n, 1);
    s.v.lv.lease.has_record = false;
    assert_string_equal(rule(&s), "elect-again");
    assert_int_equal(s.d.write.want.record.n, 1);
    s.v.st.system_id = 9; /* not new: there is nothing to begin a list from */
    assert_string_equal(rule(&s), "elect-again");
    assert_true(s.d.write.want.has_record);
    assert_int_equal(s.d.write.want.record.n, 0);
}

static void writer__of_the_first_timeline__voids_nobody(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.lv.lease.record.timeline = 0;
    assert_string_equal(rule(&s), "elect-writer");
    assert_int_equal(s.d.write.want.record.timeline, 5);
    assert_int_equal(s.d.write.want.record.m[0].flushed.lsn, 100);
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

/* The count ends before the next try of a takeover: that is when the core wants to look again. */
static void retry__does_not_put_off_an_earlier_look(void **state)
{
    (void)state;
    struct scene s;
    electing(&s);
    s.v.lv.lease.holder.boot = 6;
    s.v.lv.changed_ms = NOW - 10000 + 50;
    s.v.n_peers = 0;
    s.v.lv.outcome = OUTCOME_REFUSED;
    s.v.lv.write_sent_ms = NOW - 20;
    assert_string_equal(rule(&s), "takeover-elected");
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    assert_int_equal(s.d.wake_at_ms, NOW + 50);
}

static void setting__what_is_not_known_equals_nothing(void **state)
{
    (void)state;
    struct ssn a = {.kind = SSN_UNKNOWN}, b = {.kind = SSN_EMPTY};
    assert_false(ssn_eq(&a, &a));
    assert_false(ssn_eq(&a, &b));
    assert_true(ssn_eq(&b, &b));
}

/* Just promoted: W is lowered at once only where nobody can be hoped for. */
static void degrade__hopes_for_who_answers_with_data_or_may_answer(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.pg.open = TRI_NO;
    s.v.pg.closed = TRI_YES;
    s.v.pg.n_senders = 0;
    s.v.pg.promoted_end_lsn = 200;
    s.v.pods_known = true;
    (void)rule(&s);
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    for (int i = 0; i < 2; i++)
        s.v.peer[i].state.data = DATA_EMPTY;
    (void)rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
    for (int i = 0; i < 2; i++)
        stale(&s.v.peer[i]);
    (void)rule(&s); /* asked, and not silent for long */
    assert_int_equal(s.d.write.kind, WRITE_NONE);
    for (int i = 0; i < 2; i++)
        s.v.peer[i].pod_known = false;
    (void)rule(&s);
    assert_int_equal(s.d.write.want.record.sealed, A);
}

static void leave__not_for_a_volume_that_is_not_known_nor_with_no_confirmation(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.m.deadline_ms = NOW + 5000;
    s.v.pg.n_senders = 1;
    s.m.gone[2].volume = C;
    s.m.gone[2].since_ms = NOW - 1000;
    s.v.peer[1].state.volume = 0;
    (void)rule(&s);
    assert_true(ssn_has(&s.d.ssn, C));
    s.v.peer[1].state.volume = 99; /* replaced: at once */
    (void)rule(&s);
    assert_false(ssn_has(&s.d.ssn, C));
    s.v.pg.n_senders = 0;
    s.v.lv.lease.record.w = 0;
    s.v.pg.ssn = (struct ssn){.kind = SSN_EMPTY};
    (void)rule(&s); /* its copy may be the only other one */
    assert_int_equal(s.d.write.kind, WRITE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gone__only_by_a_record_that_was_read),
        cmocka_unit_test(waits_for__is_cut_where_it_is_full),
        cmocka_unit_test(waits_for__a_volume_shown_twice__is_not_replaced),
        cmocka_unit_test(report__of_a_member_without_data__does_not_count),
        cmocka_unit_test(returning__releaser_of_an_epoch_without_a_writer__waits),
        cmocka_unit_test(boot__what_was_begun_here_goes_on),
        cmocka_unit_test(boot__unfinished_copies_answer_only_where_there_is_a_record),
        cmocka_unit_test(boot__a_peer_without_a_vote_goes_not_before),
        cmocka_unit_test(boot__empty_with_a_newer_record__waits),
        cmocka_unit_test(boot__acquired_from_who_was_chosen_before),
        cmocka_unit_test(prepared__only_with_the_record_on_the_volume),
        cmocka_unit_test(fetch__only_from_who_must_not_go_first),
        cmocka_unit_test(stuck__not_while_alone_or_without_the_api),
        cmocka_unit_test(storage_hangs__not_without_the_api),
        cmocka_unit_test(blind__only_the_same_cluster_is_followed),
        cmocka_unit_test(switchover__lag_is_judged_by_the_stream),
        cmocka_unit_test(crash__who_has_no_vote_or_is_silent_confirms_nothing),
        cmocka_unit_test(renewal__of_a_stripped_lease__with_nothing_to_put_back),
        cmocka_unit_test(election_again__keeps_the_record_of_a_new_cluster),
        cmocka_unit_test(writer__of_the_first_timeline__voids_nobody),
        cmocka_unit_test(release__whose_target_has_vanished__names_nobody),
        cmocka_unit_test(retry__does_not_put_off_an_earlier_look),
        cmocka_unit_test(setting__what_is_not_known_equals_nothing),
        cmocka_unit_test(degrade__hopes_for_who_answers_with_data_or_may_answer),
        cmocka_unit_test(leave__not_for_a_volume_that_is_not_known_nor_with_no_confirmation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
