/* record and explain from a record, as a person on call gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "hactl/session.h"

#define CHECK(cond) assert_true(cond)

/* A failover as the new primary recorded it; 152 turns. */
static const char incident[] = "test/golden/flight/failover-new-primary.txt";
static char dir[64], path[128];
static char *said, *complained;

static int setup(void **st)
{
    (void)st;
    snprintf(dir, sizeof dir, "/tmp/pghad-hactl-record.XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/copy", dir);
    return setenv("PGHA_STATE_DIR", dir, 1) | unsetenv("POD_NAME");
}

static int teardown(void **st)
{
    static const char *const names[] = {"copy", "kubectl", "flight.1"};
    (void)st;
    free(said);
    free(complained);
    said = complained = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/%s", dir, names[i]);
        unlink(name);
    }
    return rmdir(dir);
}

/* Words are separated by blanks. */
static int hactl(const char *line)
{
    char *copy = strdup(line), *argv[16];
    int argc = 0;
    size_t n;
    free(said);
    free(complained);
    FILE *out = open_memstream(&said, &n), *err = open_memstream(&complained, &n);
    FILE *in = fopen("/dev/null", "r");
    for (char *at = copy, *word; (word = strsep(&at, " ")) != NULL && argc < 16;)
        argv[argc++] = word;
    int rc = hactl_run(argc, argv, in, out, err);
    fclose(out);
    fclose(err);
    fclose(in);
    free(copy);
    return rc;
}

static void expect(const char *where, const char *text)
{
    if (strstr(where, text) == NULL)
        fail_msg("\"%s\" is not in:\n%s", text, where);
}

static int explain(const char *rest)
{
    char line[512];
    snprintf(line, sizeof line, "hactl explain --file %s%s%s", incident, *rest ? " " : "", rest);
    return hactl(line);
}

static void the_story_is_told(void **st)
{
    (void)st;
    assert_int_equal(explain(""), EXIT_DONE);
    expect(said, "2026-11-21T08:14:28.161Z  acquire ");
    expect(said, "promote            epoch 2  elected and prepared");
    expect(said, "the agent started");
    expect(said, "pg-0 has not renewed the Lease for 5.002 s (it lasts 5 s) and last answered 5.134 s ago");
    expect(said, "* pg-2 (this member) takes the Lease: epoch 2");
    expect(said, "* pg-1 has stopped receiving for epoch 2 and reports: WAL up to 0/406ECD0");
    expect(said, "* pg-2 is named as the one writer of epoch 2, on timeline 3");
    assert_int_equal(hactl("hactl explain -f test/golden/flight/bootstrap-and-lost-primary.txt"), EXIT_DONE);
    expect(said, "* the agent started, 16491 ms after the last recorded turn of the one before");
}

static void a_moment_is_explained(void **st)
{
    (void)st;
    assert_int_equal(explain("--at 2026-11-21T08:14:20Z"), EXIT_DONE);
    expect(said, "rule follow (row ");
    expect(said, "Lease      held by pg-0, epoch 1");
    expect(said, "Member     pg-1: last answered ");
    expect(said, "yes  the record names another volume as writer of this epoch (WRITER_OTHER)");
    expect(said, "(MAY_ACQUIRE): acquire");
    /* Two decisions in the millisecond that the story shows for both. */
    assert_int_equal(explain("--at 2026-11-21T08:14:28.161Z"), EXIT_DONE);
    expect(said, "by rule acquire (row ");
    expect(said, "by rule follow (row ");
    assert_int_equal(explain("--at 2001-01-01T00:00:00Z"), EXIT_DONE);
    expect(said, "The record begins later");
    assert_int_equal(explain("--at yesterday"), EXIT_USAGE);
    expect(complained, "\"yesterday\" is neither a time");
}

static void other_settings_are_tried(void **st)
{
    (void)st;
    assert_int_equal(explain("--what-if lease.duration=5s"), EXIT_DONE); /* as it was */
    expect(said, "0 of the 152 recorded turns");
    expect(said, "these are the settings that it had");
    assert_int_equal(explain("--what-if lease.duration=20s"), EXIT_DONE);
    expect(said, "decided:          acquire (");
    expect(said, "would have been:  follow (");
    CHECK(strstr(said, "the settings that it had") == NULL);
    assert_int_equal(explain("--what-if replication.k=1 --what-if lease.profile=calm"), EXIT_DONE);
    expect(said, "would have been:  follow (");
    assert_int_equal(explain("--what-if lease.duration=4s"), EXIT_USAGE);
    expect(complained, "might still write when another takes over");
    assert_int_equal(explain("--what-if postgres.port=1"), EXIT_USAGE);
    expect(complained, "not KEY=VALUE of a setting that decisions depend on");
    assert_int_equal(explain("--what-if lease.duration"), EXIT_USAGE);
}

/* Without --file the record is that of this pod: its state directory. */
static void a_record_is_copied(void **st)
{
    char line[512];
    (void)st;
    assert_int_equal(hactl("hactl record -f /nowhere/x"), EXIT_FAILED);
    expect(complained, "there is no flight record");
    setenv("PGHA_STATE_DIR", incident, 1);
    snprintf(line, sizeof line, "hactl record --file %s", path);
    assert_int_equal(hactl(line), EXIT_DONE);
    expect(said, "152 turns of pg-2");
    snprintf(line, sizeof line, "hactl explain --file %s", path);
    assert_int_equal(hactl(line), EXIT_DONE);
    expect(said, "promote            epoch 2");
    struct buf b;
    buf_init(&b, 1 << 20);
    CHECK(fd_read_file(path, &b, NULL));
    b.data[b.len / 2] ^= 1;
    CHECK(fd_replace_file(path, b.data, b.len, 0600, NULL));
    buf_done(&b);
    assert_int_equal(hactl(line), EXIT_FAILED);
    expect(complained, "/copy: damaged after frame");
}

/* Another pod's comes through kubectl, with the place given and nothing but its output in the file. */
static void a_record_of_another_pod_comes_through_kubectl(void **st)
{
    char kubectl[128], line[512];
    struct buf b;
    int status = 0;
    (void)st;
    snprintf(kubectl, sizeof kubectl, "%s/kubectl", dir);
    CHECK(fd_replace_file(kubectl, "#!/bin/sh\necho \"$@\"\n", 20, 0700, NULL));
    snprintf(line, sizeof line, "hactl -n prod record pg-1 --file %s", path);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PATH", dir, 1);
        _exit(hactl(line));
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    buf_init(&b, 4096);
    CHECK(fd_read_file(path, &b, NULL));
    assert_string_equal(buf_str(&b), "exec --namespace=prod pg-1 -- hactl record --file=-\n");
    buf_done(&b);
    assert_int_equal(hactl("hactl record -f - -- -x"), EXIT_USAGE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_story_is_told),
        T(a_moment_is_explained),
        T(other_settings_are_tried),
        T(a_record_is_copied),
        T(a_record_of_another_pod_comes_through_kubectl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
