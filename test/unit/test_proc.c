#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "loop/proc.h"

#define PATIENCE_MS 20000

static struct loop *loop;

static int make_loop(void **state)
{
    (void)state;
    struct loop_source s = proc_source();
    loop = loop_new();
    loop_add(loop, &s);
    return 0;
}

static int drop_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static struct proc *run(const struct proc_spec *spec)
{
    struct err e;
    struct proc *p = proc_start(loop, spec, &e);
    if (!p)
        fail_msg("%s", e.msg);
    int64_t end = clock_boot_ms() + PATIENCE_MS;
    while (proc_state(p) != PROC_DONE) {
        assert_true(clock_boot_ms() < end);
        loop_turn(loop, 100);
    }
    return p;
}

#define SH(text) ((const char *const[]){"/bin/sh", "-c", (text), NULL})

static void proc__stdout_and_status__captured(void **state)
{
    (void)state;
    struct proc *p = run(&(struct proc_spec){.argv = SH("echo out; echo err >&2; exit 3"), .out_max = 100});
    assert_string_equal(buf_str(proc_out(p)), "out\n");
    assert_string_equal(proc_err_tail(p), "err\n");
    assert_true(WIFEXITED(proc_status(p)) && WEXITSTATUS(proc_status(p)) == 3);
    assert_false(proc_ok(p));
    assert_false(proc_timed_out(p));
    proc_free(p);
}

static void proc__merged_stderr__in_order(void **state)
{
    (void)state;
    struct proc *p = run(&(struct proc_spec){
        .argv = SH("echo a; echo b >&2; echo c"), .out_max = 100, .merge_stderr = true});
    assert_string_equal(buf_str(proc_out(p)), "a\nb\nc\n");
    assert_true(proc_ok(p));
    proc_free(p);
}

static void proc__input__given_whole_then_end_of_file(void **state)
{
    (void)state;
    static char big[300001];
    memset(big, 'i', sizeof(big) - 1);
    struct proc *p = run(&(struct proc_spec){.argv = SH("cat"), .input = big, .out_max = 400000});
    assert_true(proc_ok(p));
    assert_int_equal(proc_out(p)->len, 300000);
    assert_string_equal(buf_str(proc_out(p)), big);
    proc_free(p);
    /* A child that does not read it must not hurt. */
    p = run(&(struct proc_spec){.argv = SH("exit 0"), .input = big, .out_max = 10});
    assert_true(proc_ok(p));
    proc_free(p);
    p = run(&(struct proc_spec){.argv = SH("cat; echo end"), .out_max = 10});
    assert_string_equal(buf_str(proc_out(p)), "end\n");
    proc_free(p);
}

static void proc__output_beyond_limit__kept_part_and_not_ok(void **state)
{
    (void)state;
    struct proc *p = run(&(struct proc_spec){
        .argv = SH("i=0; while [ $i -lt 30000 ]; do echo 1234567; i=$((i+1)); done"), .out_max = 1001});
    assert_int_equal(proc_out(p)->len, 1001);
    assert_true(WIFEXITED(proc_status(p)) && WEXITSTATUS(proc_status(p)) == 0);
    assert_false(proc_ok(p));
    proc_free(p);
}

static void proc__long_stderr__last_4_kib_kept(void **state)
{
    (void)state;
    struct proc *p = run(&(struct proc_spec){
        .argv = SH("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done"), .out_max = 10});
    const char *tail = proc_err_tail(p);
    assert_true(strlen(tail) <= 4096 && strlen(tail) > 4000);
    assert_true(str_ends(tail, "line 2999\n"));
    proc_free(p);
}

static void proc__telling_line__the_error_not_what_comes_after(void **state)
{
    (void)state;
    static const struct {
        const char *script, *line;
    } rows[] = {
        {"", ""},
        {"echo >&2", ""},
        {"printf 'one\\ntwo\\n\\n' >&2", "two"},
        {"printf 'no newline' >&2", "no newline"},
        {"printf 'FATAL:  no space left\\nHINT: more\\ninitdb: removing data directory\\n' >&2",
         "FATAL:  no space left"},
        {"printf 'pg_x: starts\\npg_x: error: first\\npg_x: error: second\\n' >&2", "pg_x: error: first"},
        {"printf 'psql:1.sql:1: ERROR:  division by zero' >&2", "psql:1.sql:1: ERROR:  division by ze"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char line[37];
        struct proc *p = run(&(struct proc_spec){.argv = SH(rows[i].script), .out_max = 10});
        proc_telling_line(p, line, sizeof(line));
        assert_string_equal(line, rows[i].line);
        proc_free(p);
    }
}

static void proc__deadline__group_killed(void **state)
{
    (void)state;
    int64_t start = clock_boot_ms();
    struct proc *p = run(&(struct proc_spec){
        .argv = SH("trap '' TERM; sleep 60 & echo $!; wait"), .out_max = 100, .deadline_ms = start + 300});
    assert_true(clock_boot_ms() - start < 10000);
    assert_true(proc_timed_out(p));
    assert_false(proc_ok(p));
    assert_true(WIFSIGNALED(proc_status(p)) && WTERMSIG(proc_status(p)) == SIGKILL);
    /* The grandchild was in the group. */
    int sleeper = atoi(buf_str(proc_out(p)));
    assert_true(sleeper > 1);
    int64_t end = clock_boot_ms() + PATIENCE_MS;
    for (;;) {
        char path[64], text[256] = "";
        snprintf(path, sizeof(path), "/proc/%d/stat", sleeper);
        FILE *f = fopen(path, "r");
        bool alive = f && fgets(text, sizeof(text), f) && !strstr(text, ") Z");
        if (f)
            fclose(f);
        if (!alive)
            break;
        assert_true(clock_boot_ms() < end);
        loop_turn(loop, 10);
    }
    proc_free(p);
}

static void proc__grandchild_keeps_the_pipe__done_all_the_same(void **state)
{
    (void)state;
    int64_t start = clock_boot_ms();
    struct proc *p = run(&(struct proc_spec){.argv = SH("sleep 30 & echo $!"), .out_max = 100});
    assert_true(clock_boot_ms() - start < 10000);
    assert_true(proc_ok(p));
    int sleeper = atoi(buf_str(proc_out(p)));
    assert_true(sleeper > 1);
    kill(sleeper, SIGKILL);
    proc_free(p);
}

static void proc__no_such_program__exit_127_with_reason(void **state)
{
    (void)state;
    struct proc *p = run(&(struct proc_spec){
        .argv = (const char *const[]){"/no/such/program", NULL}, .out_max = 10});
    assert_true(WIFEXITED(proc_status(p)) && WEXITSTATUS(proc_status(p)) == 127);
    assert_string_equal(proc_err_tail(p), "/no/such/program: No such file or directory\n");
    proc_free(p);
}

static void proc__environment__given_or_inherited(void **state)
{
    (void)state;
    setenv("PGHA_TEST_MARK", "inherited", 1);
    struct proc *p = run(&(struct proc_spec){.argv = SH("echo $PGHA_TEST_MARK"), .out_max = 100});
    assert_string_equal(buf_str(proc_out(p)), "inherited\n");
    proc_free(p);
    p = run(&(struct proc_spec){.argv = SH("echo $PGHA_TEST_MARK$OWN"),
                                .env = (const char *const[]){"OWN=1", NULL},
                                .out_max = 100});
    assert_string_equal(buf_str(proc_out(p)), "1\n");
    proc_free(p);
}

static void proc__child_state__clean_mask_dispositions_descriptors_and_group(void **state)
{
    (void)state;
    int leak = open("/dev/null", O_RDONLY); /* not close-on-exec on purpose */
    assert_true(leak >= 3);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    signal(SIGPIPE, SIG_IGN);
    struct proc *p = run(&(struct proc_spec){
        /* Signals 32 and 33 are the C library's: a parent that used posix_spawn (make) hands them, or
         * one of them, down ignored, and signal() does not touch them. */
        .argv = SH("grep -E 'Sig(Blk|Ign)' /proc/self/status | sed -E 's/0{7}[01][08]0{7}/0000000000000000/'; "
                   "ls /proc/$$/fd; "
                   "read a b c d pgrp rest < /proc/$$/stat; [ $pgrp = $$ ] && echo leader"),
        .out_max = 1000});
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(leak);
    assert_string_equal(buf_str(proc_out(p)), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
                                              "0\n1\n2\nleader\n");
    proc_free(p);
}

/* The test adopts what its child leaves behind, so that it can see how that ends. */
static void proc__parent_dies__child_is_killed(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct err e;
        struct proc *p = proc_start(
            loop, &(struct proc_spec){.argv = SH("echo up; exec sleep 60"), .out_max = 100}, &e);
        while (p && proc_out(p)->len == 0)
            loop_turn(loop, 100); /* the shell runs, so its request for the signal has been made */
        _exit(p ? 0 : 1);
    }
    int status;
    int64_t start = clock_boot_ms();
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(status, 0);
    assert_true(waitpid(-1, &status, 0) > 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(clock_boot_ms() - start < PATIENCE_MS);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void proc_free__running_child__killed_and_reaped(void **state)
{
    (void)state;
    struct err e;
    struct proc *p = proc_start(loop, &(struct proc_spec){.argv = SH("echo $$; sleep 60"), .out_max = 100}, &e);
    assert_non_null(p);
    int64_t end = clock_boot_ms() + PATIENCE_MS;
    while (proc_out(p)->len == 0) {
        assert_true(clock_boot_ms() < end);
        loop_turn(loop, 100);
    }
    assert_int_equal(proc_state(p), PROC_RUNNING);
    pid_t pid = (pid_t)atoi(buf_str(proc_out(p)));
    proc_free(p);
    while (kill(pid, 0) == 0) { /* a zombie would still answer */
        assert_true(clock_boot_ms() < end);
        loop_turn(loop, 10);
    }
    assert_int_equal(errno, ESRCH);
    loop_turn(loop, 0);
    proc_free(NULL);
    assert_int_equal(proc_state(NULL), PROC_IDLE);
}

static void proc__foreign_children__left_alone(void **state)
{
    (void)state;
    pid_t other = fork();
    if (other == 0)
        _exit(42);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)other, &info, WEXITED | WNOWAIT), 0);
    struct proc *p = run(&(struct proc_spec){.argv = SH("exit 0"), .out_max = 10});
    assert_true(proc_ok(p));
    proc_free(p);
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void proc__many_at_once__each_its_own(void **state)
{
    (void)state;
    struct err e;
    struct proc *p[20];
    char script[20][32];
    for (int i = 0; i < 20; i++) {
        assert_true(str_format(script[i], sizeof(script[i]), "echo n%d; exit %d", i, i));
        p[i] = proc_start(loop, &(struct proc_spec){.argv = SH(script[i]), .out_max = 100}, &e);
        assert_non_null(p[i]);
    }
    int64_t end = clock_boot_ms() + PATIENCE_MS;
    for (int i = 0; i < 20; i++) {
        while (proc_state(p[i]) != PROC_DONE) {
            assert_true(clock_boot_ms() < end);
            loop_turn(loop, 100);
        }
        char want[16];
        assert_true(str_format(want, sizeof(want), "n%d\n", i));
        assert_string_equal(buf_str(proc_out(p[i])), want);
        assert_int_equal(WEXITSTATUS(proc_status(p[i])), i);
    }
    for (int i = 19; i >= 0; i -= 2)
        proc_free(p[i]);
    for (int i = 0; i < 20; i += 2)
        proc_free(p[i]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_loop, drop_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(proc__stdout_and_status__captured),
        T(proc__merged_stderr__in_order),
        T(proc__input__given_whole_then_end_of_file),
        T(proc__output_beyond_limit__kept_part_and_not_ok),
        T(proc__long_stderr__last_4_kib_kept),
        T(proc__telling_line__the_error_not_what_comes_after),
        T(proc__deadline__group_killed),
        T(proc__grandchild_keeps_the_pipe__done_all_the_same),
        T(proc__no_such_program__exit_127_with_reason),
        T(proc__environment__given_or_inherited),
        T(proc__child_state__clean_mask_dispositions_descriptors_and_group),
        T(proc__parent_dies__child_is_killed),
        T(proc_free__running_child__killed_and_reaped),
        T(proc__foreign_children__left_alone),
        T(proc__many_at_once__each_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
