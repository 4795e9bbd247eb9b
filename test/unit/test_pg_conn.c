/* A connection to a server that refuses while it starts: a server played here, over a real socket. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/loop.h"
#include "pg/conn.h"

#define PORT 5432

static char dir[64];
static int listener = -1, session = -1;
static unsigned tries;

static void path_in(char *ret, size_t size, const char *name)
{
    assert_true((size_t)snprintf(ret, size, "%s/%s", dir, name) < size);
}

static int setup(void **st)
{
    (void)st;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(dir, "/tmp/pgha-conn-XXXXXX");
    assert_non_null(mkdtemp(dir));
    path_in(at.sun_path, sizeof(at.sun_path), ".s.PGSQL.5432");
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0 && bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
                listen(listener, 8) == 0);
    return 0;
}

static int teardown(void **st)
{
    (void)st;
    static const char *const names[] = {".s.PGSQL.5432", "postmaster.pid"};
    char path[108];
    fd_close(&session);
    fd_close(&listener);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        path_in(path, sizeof(path), names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static void postmaster_says(const char *status)
{
    char path[108], text[128];
    path_in(path, sizeof(path), "postmaster.pid");
    int n = snprintf(text, sizeof(text), "1\n%s\n1795382045\n5432\n/run\n0.0.0.0\n  1234  5\n%s\n", dir, status);
    assert_true(fd_replace_file(path, text, (size_t)n, 0600, NULL));
}

/* PostgreSQL's answer while it recovers (protocol-error-fields): severity, code, message. */
static void refuse(void)
{
    static const char fields[] = "SFATAL\0VFATAL\0C57P03\0Mstarting up\0"; /* and the byte that ends them */
    char answer[5 + sizeof(fields)] = {'E', 0, 0, 0, 4 + sizeof(fields)};
    char startup[1024];
    memcpy(answer + 5, fields, sizeof(fields));
    if (session < 0)
        session = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (session < 0 || read(session, startup, sizeof(startup)) <= 0)
        return;
    tries++;
    assert_int_equal(write(session, answer, sizeof(answer)), sizeof(answer));
    fd_close(&session);
}

static void turns(struct loop *l, int64_t until_ms, unsigned until_tries)
{
    while (clock_boot_ms() < until_ms && tries < until_tries) {
        loop_turn(l, 10);
        refuse();
    }
}

static void connect__the_server_says_that_it_starts__asked_rarely(void **st)
{
    (void)st;
    struct loop *l = loop_new();
    struct pg_engine *g = pg_engine_new(l);
    struct loop_source source = pg_engine_source(g);
    loop_add(l, &source);
    struct pg_conn *c = pg_conn_new(g, &(struct pg_conn_spec){.socket_dir = dir, .data_dir = dir, .port = PORT,
                                                              .user = "pghad", .retry_ms = 10});
    postmaster_says("starting");
    int64_t begun = clock_boot_ms();
    pg_conn_open(c);
    turns(l, begun + 10000, 3);
    assert_int_equal(tries, 3);
    assert_true(clock_boot_ms() - begun >= 1000); /* half a second between two */
    assert_string_equal(pg_conn_error_state(c), "57P03");

    /* Sessions are admitted now, and yet this one is refused: no reason to wait. */
    postmaster_says("ready");
    turns(l, clock_boot_ms() + 10000, 43); /* 40 of the others take 20 s */
    assert_int_equal(tries, 43);
    pg_conn_free(c);
    pg_engine_free(g);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect__the_server_says_that_it_starts__asked_rarely),
    };
    return cmocka_run_group_tests_name("pg_conn", tests, setup, teardown);
}
