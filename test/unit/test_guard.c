/* Guard's pure parts: the stop table, the reading of /proc, the policy of the sweep, the locks. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "guard/ladder.h"
#include "guard/locks.h"
#include "guard/sweep.h"

/* ---- stop table: every cell ---- */

static void ladder__every_cell__consistent(void **state)
{
    (void)state;
    for (int s = 0; s < LADDER_STATES; s++) {
        for (int ev = 0; ev < LADDER_EVENTS; ev++) {
            struct ladder_step step = ladder_step((enum ladder_state)s, (enum ladder_event)ev);
            bool writer = ev == LADDER_AGENT_GONE_WRITER || ev == LADDER_LATE_WRITER;
            assert_in_range(step.next, 0, LADDER_STATES - 1);
            /* It never goes back, and it is over exactly when everything is being ended. */
            assert_true((int)step.next >= s);
            assert_int_equal(step.next == LADDER_OVER, step.action == LADDER_END);
            /* A writer is never stopped by signal. */
            assert_false(writer && step.action == LADDER_FAST_STOP);
            /* The agent's own word ends it from everywhere. */
            if (ev == LADDER_EXIT)
                assert_int_equal(step.action, LADDER_END);
            /* Only a request or the agent leads out of normal service. */
            if (s == LADDER_RUN && ev != LADDER_TERM && ev != LADDER_EXIT)
                assert_int_equal(step.next, LADDER_RUN);
            /* The agent is restarted in normal service only. */
            assert_int_equal(step.action == LADDER_RESTART_AGENT,
                             s == LADDER_RUN &&
                                 (ev == LADDER_AGENT_GONE || ev == LADDER_AGENT_GONE_WRITER));
            assert_int_equal(step.next == LADDER_FAST && s != LADDER_FAST,
                             step.action == LADDER_FAST_STOP);
        }
    }
}

static void ladder__asked_twice__counted_not_hurried(void **state)
{
    (void)state;
    struct ladder_step a = ladder_step(LADDER_RUN, LADDER_TERM);
    struct ladder_step b = ladder_step(a.next, LADDER_TERM);
    assert_int_equal(b.next, LADDER_ASKED);
    assert_int_equal(b.action, LADDER_TELL_AGENT);
    /* The server's end alone is no end: the agent has a lease to release. */
    assert_int_equal(ladder_step(b.next, LADDER_EMPTY).action, LADDER_NOTHING);
}

static void ladder__late__ends_in_two_steps_at_most(void **state)
{
    (void)state;
    struct ladder_step s = ladder_step(LADDER_ASKED, LADDER_LATE);
    assert_int_equal(s.action, LADDER_FAST_STOP);
    assert_int_equal(ladder_step(s.next, LADDER_LATE).action, LADDER_END);
    assert_int_equal(ladder_step(s.next, LADDER_EMPTY).action, LADDER_END);
    for (int i = 0; i < LADDER_STATES; i++)
        assert_string_not_equal(ladder_state_name((enum ladder_state)i), "");
}

/* ---- /proc ---- */

static void sweep_parse_stat__good__fields(void **state)
{
    (void)state;
    struct sweep_proc p;
    assert_true(sweep_parse_stat("123 (postgres) S 45 123 123 0 -1 4194560 1", &p));
    assert_int_equal(p.pid, 123);
    assert_int_equal(p.ppid, 45);
    assert_int_equal(p.state, 'S');
    assert_string_equal(p.comm, "postgres");
    assert_true(sweep_parse_stat("7 (a) b) (c) R 1 7 7", &p));
    assert_string_equal(p.comm, "a) b) (c");
    assert_int_equal(p.ppid, 1);
    assert_true(sweep_parse_stat("7 () Z 0 7", &p));
    assert_string_equal(p.comm, "");
    assert_int_equal(p.ppid, 0);
}

static void sweep_parse_stat__malformed__refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "1", "1 (a", "1 a) S 1 ", "(a) S 1 2", "x (a) S 1 2", "1 (a)", "1 (a) ", "1 (a) S",
        "1 (a) S ", "1 (a) S 1", "1 (a) S x 2", "0 (a) S 1 2", "1 (a) SS 1 2", "-4 (a) S 1 2",
        "99999999999999999999999999 (a) S 1 2", "1 (a) S 99999999999999999999999999999 2",
    };
    struct sweep_proc p;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (sweep_parse_stat(bad[i], &p))
            fail_msg("accepted: \"%s\"", bad[i]);
}

static void sweep_parse_stat__own_entry__right(void **state)
{
    (void)state;
    char text[512];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    fd_close(&fd);
    struct sweep_proc p;
    assert_true(sweep_parse_stat(text, &p));
    assert_int_equal(p.pid, getpid());
    assert_int_equal(p.ppid, getppid());
}

static void sweep_wants__policy(void **state)
{
    (void)state;
    struct sweep_proc pg = {.pid = 9, .ppid = 1, .state = 'S', .comm = "postgres"};
    struct sweep_proc sh = {.pid = 9, .ppid = 1, .state = 'S', .comm = "sh"};
    assert_true(sweep_wants(&pg, SWEEP_OF_GUARD, false));
    assert_true(sweep_wants(&sh, SWEEP_OF_GUARD, false));
    assert_false(sweep_wants(&pg, SWEEP_OF_AGENT, true));
    assert_false(sweep_wants(&sh, SWEEP_FROM_OUTSIDE, false));
    assert_true(sweep_wants(&sh, SWEEP_FROM_OUTSIDE, true));
    assert_true(sweep_wants(&pg, SWEEP_FROM_OUTSIDE, false));
    pg.state = 'Z';
    assert_false(sweep_wants(&pg, SWEEP_OF_GUARD, true));
    sh.pid = 1;
    assert_false(sweep_wants(&sh, SWEEP_OF_GUARD, true));
}

/* ---- locks ---- */

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    return str_copy(dir, sizeof(dir), "/tmp/pgha-test-lock-XXXXXX") && mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"s/guard.lock", "s/server.lock", "s", ""};
    char path[128];
    for (size_t i = 0; i < 4; i++)
        if (str_format(path, sizeof(path), "%s/%s", dir, names[i]))
            remove(path);
    return access(dir, F_OK) != 0 ? 0 : -1;
}

static void locks_for(struct locks *l)
{
    struct err e;
    char state_dir[100];
    assert_true(str_format(state_dir, sizeof(state_dir), "%s/s", dir));
    assert_true(locks_init(l, state_dir, &e));
}

static int probe(const char *path)
{
    pid_t pid = fork();
    if (pid == 0)
        locks_probe(path);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void locks_guard__second_holder__busy_until_the_first_is_gone(void **state)
{
    (void)state;
    static struct locks a, b;
    struct err e;
    locks_for(&a);
    locks_for(&b);
    assert_int_equal(locks_try_guard(&a, &e), LOCKS_GOT);
    assert_int_equal(locks_try_guard(&b, &e), LOCKS_BUSY);
    assert_int_equal(locks_try_guard(&a, &e), LOCKS_GOT);
    assert_int_equal(fcntl(a.guard_fd, F_GETFD), FD_CLOEXEC);
    fd_close(&a.guard_fd);
    assert_int_equal(locks_try_guard(&b, &e), LOCKS_GOT);
    fd_close(&b.guard_fd);
}

static void locks_server__inherited__held_until_the_last_heir_ends(void **state)
{
    (void)state;
    static struct locks l;
    locks_for(&l);
    assert_int_equal(probe(l.server_path), LOCKS_PROBE_FREE);
    int fd = locks_take_inherited(l.server_path);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), 0); /* survives exec */
    assert_int_equal(locks_take_inherited(l.server_path), -1);
    int hold[2];
    assert_int_equal(pipe(hold), 0);
    pid_t heir = fork();
    if (heir == 0) {
        char c;
        close(hold[1]);
        _exit(read(hold[0], &c, 1) == 0 ? 0 : 1);
    }
    fd_close(&fd);
    assert_int_equal(probe(l.server_path), LOCKS_PROBE_HELD);
    close(hold[1]);
    int status;
    assert_int_equal(waitpid(heir, &status, 0), heir);
    close(hold[0]);
    assert_int_equal(probe(l.server_path), LOCKS_PROBE_FREE);
}

static void locks__no_directory__error_not_free(void **state)
{
    (void)state;
    assert_int_equal(probe("/no/such/dir/server.lock"), LOCKS_PROBE_ERROR);
    assert_int_equal(locks_take_inherited("/no/such/dir/server.lock"), -2);
    static struct locks l;
    struct err e;
    static char longer[5000];
    memset(longer, 'x', sizeof(longer) - 1);
    assert_false(locks_init(&l, longer, &e));
    assert_false(locks_init(&l, "/dev/null/x", &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ladder__every_cell__consistent),
        cmocka_unit_test(ladder__asked_twice__counted_not_hurried),
        cmocka_unit_test(ladder__late__ends_in_two_steps_at_most),
        cmocka_unit_test(sweep_parse_stat__good__fields),
        cmocka_unit_test(sweep_parse_stat__malformed__refused),
        cmocka_unit_test(sweep_parse_stat__own_entry__right),
        cmocka_unit_test(sweep_wants__policy),
        cmocka_unit_test_setup_teardown(
            locks_guard__second_holder__busy_until_the_first_is_gone, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(
            locks_server__inherited__held_until_the_last_heir_ends, make_dir, drop_dir),
        cmocka_unit_test(locks__no_directory__error_not_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
