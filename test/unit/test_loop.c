#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "loop/loop.h"

struct probe {
    int fd;
    short want;
    short seen;
    int64_t wake_at;
    bool wake_now;
    int prepared, dispatched;
    int64_t now;
};

static void prepare(void *ctx, struct loop *l)
{
    struct probe *p = ctx;
    p->prepared++;
    if (p->fd >= 0)
        loop_want(l, p->fd, p->want);
    if (p->wake_at)
        loop_wake_at(l, p->wake_at);
    if (p->wake_now)
        loop_wake_now(l);
}

static void dispatch(void *ctx, struct loop *l)
{
    struct probe *p = ctx;
    p->dispatched++;
    p->seen = p->fd >= 0 ? loop_revents(l, p->fd) : 0;
    p->now = loop_now(l);
}

static struct loop *loop_with(struct probe *a, struct probe *b)
{
    struct loop *l = loop_new();
    assert_non_null(l);
    loop_add(l, &(struct loop_source){.name = "a", .ctx = a, .prepare = prepare, .dispatch = dispatch});
    if (b)
        loop_add(l, &(struct loop_source){.name = "b", .ctx = b, .prepare = prepare, .dispatch = dispatch});
    return l;
}

static void loop_turn__nothing_to_do__returns_after_the_wait(void **state)
{
    (void)state;
    struct probe a = {.fd = -1};
    struct loop *l = loop_with(&a, NULL);
    int64_t start = clock_boot_ms();
    loop_turn(l, 30);
    assert_true(clock_boot_ms() - start >= 29);
    assert_int_equal(a.prepared, 1);
    assert_int_equal(a.dispatched, 1);
    loop_turn(l, 0);
    loop_turn(l, -5);
    assert_int_equal(a.dispatched, 3);
    loop_free(l);
    loop_free(NULL);
}

static void loop_turn__ready_descriptor__seen_by_its_source(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    struct probe a = {.fd = p[0], .want = POLLIN}, b = {.fd = p[1], .want = POLLOUT};
    struct loop *l = loop_with(&a, &b);
    loop_turn(l, 10000);
    assert_int_equal(a.seen, 0);
    assert_int_equal(b.seen, POLLOUT);
    assert_int_equal(write(p[1], "x", 1), 1);
    loop_turn(l, 10000);
    assert_int_equal(a.seen, POLLIN);
    b.fd = -1;
    close(p[1]);
    char c;
    assert_int_equal(read(p[0], &c, 1), 1);
    loop_turn(l, 10000);
    assert_int_equal(a.seen, POLLHUP);
    close(p[0]);
    loop_free(l);
}

static void loop_want__same_descriptor_twice__events_joined(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    struct probe a = {.fd = p[1], .want = POLLIN}, b = {.fd = p[1], .want = POLLOUT};
    struct loop *l = loop_with(&a, &b);
    loop_turn(l, 10000);
    assert_int_equal(a.seen & POLLOUT, POLLOUT);
    close(p[0]);
    close(p[1]);
    loop_free(l);
}

static void loop_wake_at__earliest__wins(void **state)
{
    (void)state;
    int64_t start = clock_boot_ms();
    struct probe a = {.fd = -1, .wake_at = start + 40}, b = {.fd = -1, .wake_at = start + 20000};
    struct loop *l = loop_with(&a, &b);
    loop_turn(l, 10000);
    int64_t took = clock_boot_ms() - start;
    assert_true(took >= 39 && took < 5000);
    assert_true(a.now == b.now && a.now == loop_now(l) && a.now >= start + 40);
    a.wake_at = start; /* already passed */
    start = clock_boot_ms();
    loop_turn(l, 10000);
    assert_true(clock_boot_ms() - start < 5000);
    loop_free(l);
}

static void loop_wake_at__asked_between_turns__holds_for_the_next_one_only(void **state)
{
    (void)state;
    struct probe a = {.fd = -1};
    struct loop *l = loop_with(&a, NULL);
    loop_turn(l, 0);
    int64_t start = clock_boot_ms();
    loop_wake_at(l, start + 20);
    loop_turn(l, 20000);
    assert_true(clock_boot_ms() - start < 10000);
    start = clock_boot_ms();
    loop_turn(l, 30);
    assert_true(clock_boot_ms() - start >= 29);
    loop_free(l);
}

static void loop_wake_now__poll__does_not_wait(void **state)
{
    (void)state;
    struct probe a = {.fd = -1, .wake_now = true};
    struct loop *l = loop_with(&a, NULL);
    int64_t start = clock_boot_ms();
    loop_turn(l, 10000);
    assert_true(clock_boot_ms() - start < 5000);
    loop_free(l);
}

static void loop_revents__not_declared__zero(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    loop_turn(l, 0);
    assert_int_equal(loop_revents(l, 0), 0);
    assert_int_equal(loop_revents(l, 12345), 0);
    loop_free(l);
}

static void slow_dispatch(void *ctx, struct loop *l)
{
    (void)ctx;
    (void)l;
    poll(NULL, 0, 60);
}

static void loop_longest_turn__slow_source__measured_and_reset(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    loop_add(l, &(struct loop_source){.name = "slow", .dispatch = slow_dispatch});
    loop_turn(l, 0);
    assert_int_equal(loop_longest_turn_ms(l), 0);
    loop_turn(l, 0);
    assert_true(loop_longest_turn_ms(l) >= 59);
    assert_int_equal(loop_longest_turn_ms(l), 0);
    loop_free(l);
}

static void loop_want__every_source__served(void **state)
{
    (void)state;
    static int fds[LOOP_SOURCES_MAX];
    struct loop *l = loop_new();
    int p[2];
    assert_int_equal(pipe(p), 0);
    static struct probe many[LOOP_SOURCES_MAX];
    for (int i = 0; i < LOOP_SOURCES_MAX; i++) {
        fds[i] = dup(p[1]);
        many[i] = (struct probe){.fd = fds[i], .want = POLLOUT};
        loop_add(l, &(struct loop_source){.name = "m", .ctx = &many[i], .prepare = prepare, .dispatch = dispatch});
    }
    loop_turn(l, 10000);
    for (int i = 0; i < LOOP_SOURCES_MAX; i++) {
        assert_int_equal(many[i].seen, POLLOUT);
        close(fds[i]);
    }
    close(p[0]);
    close(p[1]);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loop_turn__nothing_to_do__returns_after_the_wait),
        cmocka_unit_test(loop_turn__ready_descriptor__seen_by_its_source),
        cmocka_unit_test(loop_want__same_descriptor_twice__events_joined),
        cmocka_unit_test(loop_wake_at__earliest__wins),
        cmocka_unit_test(loop_wake_at__asked_between_turns__holds_for_the_next_one_only),
        cmocka_unit_test(loop_wake_now__poll__does_not_wait),
        cmocka_unit_test(loop_revents__not_declared__zero),
        cmocka_unit_test(loop_longest_turn__slow_source__measured_and_reset),
        cmocka_unit_test(loop_want__every_source__served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
