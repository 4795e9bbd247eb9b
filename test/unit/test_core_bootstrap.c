/* The first start of a cluster, and data without state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static void bootstrap__never_over_data(void **state)
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
    s.m.count_from_ms = NOW - 20000;
    for (int i = 0; i < 2; i++) {
        s.v.peer[i].state.data = DATA_EMPTY;
        s.v.peer[i].state.system_id = 0;
    }
    assert_string_equal(rule(&s), "boot-create");
    s.v.peer[1].received_ms = 0;
    assert_string_equal(rule(&s), "boot-wait"); /* not everybody has answered */
    s.v.peer[1].received_ms = NOW - 50;
    s.v.self.ordinal = 1;
    assert_string_equal(rule(&s), "boot-wait");
}

/* Nobody has data, so nobody writes: the Lease that was just created is taken at once. With data anywhere a right
 * that an older Lease gave may be alive. */
static void bootstrap__all_empty__waits_for_no_right(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 0);
    s.v.pg = (struct pg){.process = PG_DOWN};
    s.v.self = (struct self){.id = identity_of(0), .volume = A, .data = DATA_EMPTY, .server_lock = TRI_YES};
    s.v.st = (struct state_view){.known = true};
    s.v.lv = (struct lease_view){.known = true, .changed_ms = NOW - 20, .got_ms = NOW};
    s.v.lv.lease = (struct lease){.exists = true, .fresh = true, .duration_s = 10};
    for (int i = 0; i < 2; i++) {
        s.v.peer[i].state.data = DATA_EMPTY;
        s.v.peer[i].state.system_id = s.v.peer[i].state.durable_epoch = 0;
        s.v.peer[i].state.position = (struct position){0};
    }
    assert_string_equal(rule(&s), "boot-acquire-empty");
    assert_int_equal(s.d.write.want.epoch, 1);
    s.v.peer[1].state.data = DATA_OK;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[1].state.data = DATA_PARTIAL; /* of a copy whose source may live */
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[1].state.data = DATA_EMPTY;
    s.v.peer[1].sent_ms = NOW - 5000;
    assert_string_equal(rule(&s), "boot-wait");
    s.v.peer[1].sent_ms = NOW - 50;
    s.v.lv.lease.holder = identity_of(1); /* somebody else was faster */
    assert_string_equal(rule(&s), "boot-wait");
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

/* A server that does not start has no position: whether the others suffice the last record says. */
static void adoption__without_a_position_of_everybody__needs_a_record(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
    s.v.peer[1].state.position.lsn = 0;
    assert_string_equal(rule(&s), "boot-create");
    s.v.peer[0].state.position.lsn = 0;
    assert_string_equal(rule(&s), "boot-wait");
    adopting(&s);
    s.v.self.has_record = false;
    for (int i = 0; i < 2; i++)
        s.v.peer[i].state.record_epoch = s.v.peer[i].state.record_rev = 0;
    assert_string_equal(rule(&s), "boot-create");
    s.v.peer[1].state.position.lsn = 0;
    assert_string_equal(rule(&s), "boot-wait");
}

static void adoption__ignores_no_other_cluster(void **state)
{
    (void)state;
    struct scene s;
    adopting(&s);
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

static void foreign_data__never_started(void **state)
{
    (void)state;
    struct scene s;
    at(&s, 1);
    s.v.pg.process = PG_DOWN;
    s.v.self.system_id = 8;
    assert_string_equal(rule(&s), "data-bad");
    assert_true((s.d.effects & (EFF_PG_START | EFF_CLONE | EFF_REWIND)) == 0);
}

static void bootstrap__only_when_every_member_is_empty(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstrap__never_over_data),
        cmocka_unit_test(bootstrap__all_empty__waits_for_no_right),
        cmocka_unit_test(boot__what_was_begun_here_goes_on),
        cmocka_unit_test(boot__unfinished_copies_answer_only_where_there_is_a_record),
        cmocka_unit_test(boot__a_peer_without_a_vote_goes_not_before),
        cmocka_unit_test(boot__empty_with_a_newer_record__waits),
        cmocka_unit_test(boot__acquired_from_who_was_chosen_before),
        cmocka_unit_test(writer__of_the_first_timeline__voids_nobody),
        cmocka_unit_test(adoption__the_latest_record_goes_first),
        cmocka_unit_test(adoption__of_one_record_the_later_epoch_then_the_greater_position),
        cmocka_unit_test(adoption__without_a_position_of_everybody__needs_a_record),
        cmocka_unit_test(adoption__ignores_no_other_cluster),
        cmocka_unit_test(adoption__only_with_the_reports_that_the_last_record_asks_for),
        cmocka_unit_test(adoption__not_while_a_promise_binds_nor_before_own_wal_is_known),
        cmocka_unit_test(data_of_another_cluster__never_touched),
        cmocka_unit_test(foreign_data__never_started),
        cmocka_unit_test(bootstrap__only_when_every_member_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
