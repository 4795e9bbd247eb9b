/* Whom the address for writers shall lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static struct view v;
static struct memo m;
static struct verdict d;

static enum endpoint wish(void)
{
    decide(&v, &m, &d);
    return d.endpoint;
}

static void endpoint__serving__mine(void **state)
{
    (void)state;
    healthy(&v, &m, 0);
    assert_int_equal(wish(), ENDPOINT_MINE);
}

static void endpoint__another_serves__kept(void **state)
{
    (void)state;
    healthy(&v, &m, 1);
    v.peer[0].state.in_recovery = TRI_NO;
    assert_int_equal(wish(), ENDPOINT_KEEP);
}

static void endpoint__nobody_serves__not_that_of_a_pod_that_is_gone(void **state)
{
    (void)state;
    healthy(&v, &m, 1);
    v.peer[0].received_ms = 0;
    assert_int_equal(wish(), ENDPOINT_NOT_GONE);
}

static void endpoint__last_one_leaves__not_mine(void **state)
{
    (void)state;
    healthy(&v, &m, 1);
    v.self.terminate = 1;
    assert_int_not_equal(wish(), ENDPOINT_NOT_MINE); /* others are there to see to it */
    v.peer[0].received_ms = v.peer[1].received_ms = 0;
    assert_int_equal(wish(), ENDPOINT_NOT_MINE);
}

static void endpoint__last_one_stays__kept(void **state)
{
    (void)state;
    healthy(&v, &m, 1);
    v.peer[0].received_ms = v.peer[1].received_ms = 0;
    assert_int_equal(wish(), ENDPOINT_NOT_GONE); /* this pod is there */
    healthy(&v, &m, 1);
    v.peer[0].received_ms = v.peer[1].received_ms = 0;
    v.self.data = DATA_BROKEN;
    v.pg.process = PG_DOWN;
    assert_int_equal(wish(), ENDPOINT_NOT_GONE); /* unlabelled, but nobody has told it to end */
    assert_int_equal(d.effects & EFF_UNLABEL, EFF_UNLABEL);
}

static void endpoint__told_to_end_but_serving__kept(void **state)
{
    (void)state;
    healthy(&v, &m, 0);
    v.self.terminate = 1;
    v.peer[0].received_ms = v.peer[1].received_ms = 0;
    assert_int_equal(wish(), ENDPOINT_KEEP); /* the checkpoint before the stop is not done */
    assert_true(d.serving);
}

static void endpoint__maybe_writable_without_label__kept(void **state)
{
    (void)state;
    healthy(&v, &m, 0);
    v.self.data = DATA_BROKEN;
    assert_int_equal(wish(), ENDPOINT_KEEP); /* its clients are still connected */
    assert_int_equal(d.effects & EFF_LABEL_PRIMARY, 0);
}

/* Readers are not led to a server that does not admit them. */
static void label__replica__once_it_admits(void **state)
{
    (void)state;
    healthy(&v, &m, 1);
    decide(&v, &m, &d);
    assert_string_equal(core_rules[d.rule].id, "follow");
    assert_int_equal(d.effects & EFF_LABEL_REPLICA, EFF_LABEL_REPLICA);
    v.pg.open = TRI_NO;
    decide(&v, &m, &d);
    assert_string_equal(core_rules[d.rule].id, "follow");
    assert_int_equal(d.effects & (EFF_OPEN | EFF_LABEL_REPLICA), EFF_OPEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoint__serving__mine),
        cmocka_unit_test(endpoint__another_serves__kept),
        cmocka_unit_test(endpoint__nobody_serves__not_that_of_a_pod_that_is_gone),
        cmocka_unit_test(endpoint__last_one_leaves__not_mine),
        cmocka_unit_test(endpoint__last_one_stays__kept),
        cmocka_unit_test(endpoint__told_to_end_but_serving__kept),
        cmocka_unit_test(endpoint__maybe_writable_without_label__kept),
        cmocka_unit_test(label__replica__once_it_admits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
