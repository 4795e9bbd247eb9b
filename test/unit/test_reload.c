/* A change of the server's files that guard could not pass on is owed to the server, not forgotten. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/agent/act_parts.h"
#include "base/fd.h"

static struct agent a;
static char base_dir[] = "/tmp/pghad-reload.XXXXXX";
static int guard = -1; /* its end of the link */

static int setup(void **st)
{
    (void)st;
    struct fence_page *page;
    char dir[128];
    int pair[2], page_fd;
    if (!mkdtemp(base_dir))
        return -1;
    a.env = (struct pg_env){.major = 15, .port = 5433, .bin_dir = "/nowhere", .superuser = "postgres",
                            .repl_user = "pghad_repl", .cluster_name = "c"};
    snprintf(dir, sizeof dir, "%s/data", base_dir);
    if (!pg_env_set_data_dir(&a.env, dir, NULL) || !fd_mkdirs(a.env.data_dir, 0700, NULL) ||
        !fd_mkdirs(a.env.state_dir, 0700, NULL))
        return -1;
    a.conf = pg_conf_new(&a.env);
    if (!pg_conf_set_ssn(a.conf, &(struct pg_ssn){.kind = PG_SSN_EMPTY}, NULL) ||
        !page_create("0123456789abcdef0123456789abcdef", &page_fd, &page, NULL) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) != 0)
        return -1;
    page_unmap(page);
    a.link = guard_link_open(pair[0], page_fd, NULL);
    guard = pair[1];
    a.server.pid = 4711; /* nobody is asked to signal it but the guard that is played here */
    return a.link ? 0 : -1;
}

static int teardown(void **st)
{
    (void)st;
    guard_link_free(a.link);
    fd_close(&guard);
    pg_conf_free(a.conf);
    return pg_tree_remove(base_dir, NULL) ? 0 : -1;
}

static void give_user(const char *wal_keep, bool strict)
{
    struct pg_user_conf u = {.listen_addresses = "127.0.0.1", .max_senders = 8, .max_slots = 8, .wal_keep = wal_keep,
                             .strict_commit = strict};
    struct err e = {0};
    if (!pg_conf_set_user(a.conf, &u, &e))
        fail_msg("%s", e.msg);
}

/* How many of the messages that wait ask for a reload. */
static int reloads(void)
{
    static struct link_msg m;
    int n = 0;
    while (link_recv(guard, &m) == LINK_IO_OK)
        n += m.kind == LINK_SIGNAL_POSTGRES && m.u.signal.sig == SIGHUP;
    return n;
}

static void fill_the_link(void)
{
    struct err e;
    while (guard_link_request_status(a.link, &e) != 0)
        ;
    assert_int_equal(e.kind, ERR_TRANSIENT);
}

static void conf__changed__one_reload(void **st)
{
    (void)st;
    bool changed;
    give_user("128MB", false);
    assert_true(act_apply_conf(&a, &changed) && changed);
    assert_int_equal(reloads(), 1);
    assert_true(act_apply_conf(&a, &changed) && !changed);
    assert_int_equal(reloads(), 0);
}

static void conf__reload_not_sent__owed_until_it_is(void **st)
{
    (void)st;
    bool changed;
    fill_the_link();
    give_user("256MB", false);
    assert_false(act_apply_conf(&a, &changed));
    assert_true(changed);
    assert_false(act_apply_conf(&a, &changed)); /* the files are as they should be, the server is not */
    assert_false(changed);
    assert_int_equal(reloads(), 0);
    assert_true(act_apply_conf(&a, &changed));
    assert_int_equal(reloads(), 1);
    assert_true(act_apply_conf(&a, &changed));
    assert_int_equal(reloads(), 0);
}

/* What the core may rely on when it lets a strict writer be succeeded early. */
static void conf__reload_not_sent__gate_does_not_count_as_strict(void **st)
{
    (void)st;
    bool changed;
    a.server.in_recovery = TRI_YES;
    fill_the_link();
    give_user("512MB", true);
    assert_true(pg_conf_strict(a.conf));
    assert_false(act_apply_conf(&a, &changed));
    assert_false(a.server.strict);
    assert_int_equal(reloads(), 0);
    assert_true(act_apply_conf(&a, &changed));
    assert_true(a.server.strict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conf__changed__one_reload),
        cmocka_unit_test(conf__reload_not_sent__owed_until_it_is),
        cmocka_unit_test(conf__reload_not_sent__gate_does_not_count_as_strict),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
