/* The fence page, the messages, and both ends of the link without guard. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/link.h"
#include "base/page.h"
#include "loop/guardlink.h"

static struct fence_page *page;
static int page_fd;

static int make_page(void **state)
{
    (void)state;
    struct err e;
    return page_create("0123456789abcdef0123456789abcdef", &page_fd, &page, &e) ? 0 : -1;
}

static int drop_page(void **state)
{
    (void)state;
    page_unmap(page);
    fd_close(&page_fd);
    return 0;
}

static void page__new__no_right_and_nothing_writable(void **state)
{
    (void)state;
    assert_int_equal(page_deadline_ms(page), 0);
    assert_false(page_writable(page));
    assert_int_equal(page_fenced(page), 0);
    assert_false(page_overdue(page, clock_boot_ms()));
    assert_string_equal(page->boot_id, "0123456789abcdef0123456789abcdef");
}

static void page__two_mappings__one_page(void **state)
{
    (void)state;
    struct err e;
    struct fence_page *other;
    assert_true(page_map(page_fd, &other, &e));
    page_grant(other, 12345);
    page_set_writable(other);
    page_beat(other, 99);
    assert_int_equal(page_deadline_ms(page), 12345);
    assert_int_equal(page_beat_ms(page), 99);
    assert_true(page_overdue(page, 12345));
    assert_false(page_overdue(page, 12344));
    assert_int_equal(page_count_fence(page), 1);
    assert_int_equal(page_fenced(other), 1);
    page_clear_writable(page);
    assert_false(page_overdue(other, 99999));
    page_unmap(other);
    page_unmap(NULL);
}

static void page__size_sealed__nobody_can_truncate(void **state)
{
    (void)state;
    assert_int_equal(ftruncate(page_fd, 0), -1);
    assert_int_equal(ftruncate(page_fd, 2 * PAGE_BYTES), -1);
}

static void page_map__wrong_file_or_version__refused(void **state)
{
    (void)state;
    struct err e;
    struct fence_page *p;
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_false(page_map(fd, &p, &e));
    assert_int_equal(ftruncate(fd, PAGE_BYTES), 0);
    assert_false(page_map(fd, &p, &e));
    page->version++;
    assert_false(page_map(page_fd, &p, &e));
    page->version--;
    assert_true(page_map(page_fd, &p, &e));
    page_unmap(p);
    assert_false(page_map(-1, &p, &e));
    fd_close(&fd);
}

static void page_extend__lapse__is_final(void **state)
{
    (void)state;
    int64_t now = clock_boot_ms();
    assert_false(page_extend(page, now + 60000));
    assert_int_equal(page_deadline_ms(page), 0);
    page_grant(page, now + 30000);
    assert_true(page_extend(page, now + 60000));
    assert_int_equal(page_deadline_ms(page), now + 60000);
    assert_true(page_extend(page, now + 40000));
    assert_int_equal(page_deadline_ms(page), now + 60000);
    page_grant(page, now);
    assert_false(page_extend(page, now + 60000));
    assert_int_equal(page_deadline_ms(page), now);
    page_grant(page, now + 60000);
    page_forfeit(page);
    assert_false(page_extend(page, now + 60000));
    page_grant(page, now + 60000);
    assert_true(page_extend(page, now + 61000));
}

static void link_size__every_kind__as_sent(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {LINK_START_POSTGRES, LINK_SIGNAL_POSTGRES, LINK_KILL_SERVERS,
                                     LINK_STATUS_REQUEST, LINK_WATCH, LINK_EXIT, LINK_STATUS};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    static struct link_msg out, in;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        link_init(&out, (enum link_kind)kinds[i], (uint32_t)i + 1);
        assert_int_equal(link_send(pair[0], &out), LINK_IO_OK);
        assert_int_equal(link_recv(pair[1], &in), LINK_IO_OK);
        assert_memory_equal(&in, &out, out.size);
    }
    assert_int_equal(link_size(0), 0);
    assert_int_equal(link_size(63), 0);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_AGAIN);
    close(pair[0]);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_CLOSED);
    assert_int_equal(link_send(pair[1], &out), LINK_IO_CLOSED);
    close(pair[1]);
}

static void link_recv__malformed__bad(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    static struct link_msg m, in;
    static char big[2 * sizeof(struct link_msg)];
    assert_int_equal(send(pair[0], "x", 1, 0), 1);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_BAD);
    link_init(&m, LINK_EXIT, 1);
    m.version++;
    assert_int_equal(link_send(pair[0], &m), LINK_IO_OK);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_BAD);
    link_init(&m, LINK_EXIT, 1);
    m.kind = LINK_START_POSTGRES;
    assert_int_equal(link_send(pair[0], &m), LINK_IO_OK);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_BAD);
    link_init(&m, LINK_EXIT, 1);
    assert_true(send(pair[0], &m, m.size - 1, 0) > 0);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_BAD);
    memcpy(big, &m, m.size);
    assert_true(send(pair[0], big, sizeof(big), 0) > 0);
    assert_int_equal(link_recv(pair[1], &in), LINK_IO_BAD);
    close(pair[0]);
    close(pair[1]);
}

static void link_start__arguments__there_and_back(void **state)
{
    (void)state;
    struct err e;
    static struct link_start s;
    const char *argv[LINK_ARGS_MAX + 4];
    const char *const extra[] = {"-c", "a=", "", "last one", NULL};
    assert_true(link_fill_start(&s, "/bin/postgres", "/data", extra, &e));
    assert_true(link_start_argv(&s, argv));
    static const char *const want[] = {"/bin/postgres", "-D", "/data", "-c", "a=", "", "last one"};
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(argv[i], want[i]);
    assert_null(argv[7]);
    assert_true(link_fill_start(&s, "/bin/postgres", "/data", NULL, &e));
    assert_true(link_start_argv(&s, argv));
    assert_null(argv[3]);
}

static void link_start__too_much_or_malformed__refused(void **state)
{
    (void)state;
    struct err e;
    static struct link_start s;
    const char *argv[LINK_ARGS_MAX + 4];
    static char longer[5000];
    memset(longer, 'l', sizeof(longer) - 1);
    longer[0] = '/';
    assert_false(link_fill_start(&s, longer, "/d", NULL, &e));
    assert_false(link_fill_start(&s, "/b", longer, NULL, &e));
    assert_false(link_fill_start(&s, "/b", "/d", (const char *const[]){longer, NULL}, &e));
    const char *many[LINK_ARGS_MAX + 2];
    for (int i = 0; i <= LINK_ARGS_MAX; i++)
        many[i] = "x";
    many[LINK_ARGS_MAX + 1] = NULL;
    assert_false(link_fill_start(&s, "/b", "/d", many, &e));
    many[LINK_ARGS_MAX] = NULL;
    assert_true(link_fill_start(&s, "/b", "/d", many, &e));
    assert_true(link_start_argv(&s, argv));
    s.nargs = LINK_ARGS_MAX + 1;
    assert_false(link_start_argv(&s, argv));
    assert_true(link_fill_start(&s, "/b", "/d", NULL, &e));
    s.nargs = 2;
    memset(s.args, 'y', sizeof(s.args));
    assert_false(link_start_argv(&s, argv));
    s.nargs = 0;
    assert_true(link_start_argv(&s, argv));
    memset(s.data_dir, '/', sizeof(s.data_dir));
    assert_false(link_start_argv(&s, argv));
    assert_true(link_fill_start(&s, "relative", "/d", NULL, &e));
    assert_false(link_start_argv(&s, argv));
}

static void link_names__all__known(void **state)
{
    (void)state;
    for (uint32_t i = LINK_OK; i <= LINK_FAILED; i++)
        assert_string_not_equal(link_result_name(i), "?");
    assert_string_equal(link_result_name(99), "?");
    assert_string_equal(link_lock_name(LINK_LOCK_FREE), "free");
    assert_string_equal(link_lock_name(99), "?");
}

static void guard_link__requests_and_status__both_ways(void **state)
{
    (void)state;
    struct err e;
    int pair[2];
    static struct link_msg m;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    struct guard_link *g = guard_link_open(pair[1], dup(page_fd), &e);
    assert_non_null(g);
    assert_int_equal(fcntl(pair[1], F_GETFD), FD_CLOEXEC);
    assert_null(guard_link_status(g));
    assert_int_equal(link_recv(pair[0], &m), LINK_IO_OK);
    assert_int_equal(m.kind, LINK_STATUS_REQUEST);

    assert_true(guard_link_arm(g, &e));
    assert_true(page_writable(page));
    assert_int_equal(link_recv(pair[0], &m), LINK_IO_OK);
    assert_int_equal(m.kind, LINK_WATCH);
    uint32_t seq = guard_link_signal(g, SIGHUP, &e);
    assert_int_equal(link_recv(pair[0], &m), LINK_IO_OK);
    assert_true(seq > 0 && m.seq == seq && m.u.signal.sig == SIGHUP);
    assert_true(guard_link_kill_servers(g, 250, &e) > seq);
    assert_int_equal(link_recv(pair[0], &m), LINK_IO_OK);
    assert_int_equal(m.u.kill.term_ms, 250);
    assert_true(guard_link_exit(g, 7, &e) > 0);
    assert_int_equal(link_recv(pair[0], &m), LINK_IO_OK);
    assert_int_equal(m.u.exit.code, 7);
    assert_int_equal(guard_link_start(g, "/b", "/d", (const char *const[]){"a", NULL}, &e), seq + 3);
    assert_int_equal(link_recv(pair[0], &m), LINK_IO_OK);
    assert_string_equal(m.u.start.args, "a");

    struct loop *l = loop_new();
    struct loop_source s = guard_link_source(g);
    loop_add(l, &s);
    for (int i = 1; i <= 3; i++) {
        link_init(&m, LINK_STATUS, 0);
        m.u.status.postgres_pid = i;
        assert_int_equal(link_send(pair[0], &m), LINK_IO_OK);
    }
    loop_turn(l, 10000);
    assert_int_equal(guard_link_status(g)->postgres_pid, 3);
    assert_false(guard_link_lost(g));
    close(pair[0]);
    loop_turn(l, 10000);
    assert_true(guard_link_lost(g));
    assert_int_equal(guard_link_exit(g, 0, &e), 0);
    assert_int_equal(e.kind, ERR_FATAL);
    assert_false(guard_link_arm(g, &e));
    loop_free(l);
    guard_link_free(g);
    guard_link_free(NULL);
}

struct guard_end {
    int fd;
    bool acts;
};

/* The server has ended: guard says so, and clears the mark. */
static void guard_acts(void *ctx, struct loop *l)
{
    struct guard_end *end = ctx;
    static struct link_msg m;
    (void)l;
    if (!end->acts)
        return;
    end->acts = false;
    link_init(&m, LINK_STATUS, 0);
    assert_int_equal(link_send(end->fd, &m), LINK_IO_OK);
    page_clear_writable(page);
}

/* What a turn sees of the mark and of the server is never a primary that guard does not watch. */
static void guard_link__end_of_a_server_within_a_turn__seen_whole(void **state)
{
    (void)state;
    for (int before = 0; before < 2; before++) { /* before the link has its part of the turn, or after */
        int pair[2];
        static struct link_msg m;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        struct guard_link *g = guard_link_open(pair[1], dup(page_fd), NULL);
        struct guard_end end = {.fd = pair[0]};
        struct loop *l = loop_new();
        struct loop_source link = guard_link_source(g);
        struct loop_source other = {.name = "guard's end", .ctx = &end, .dispatch = guard_acts};
        loop_add(l, before ? &other : &link);
        loop_add(l, before ? &link : &other);
        assert_true(guard_link_arm(g, NULL));
        link_init(&m, LINK_STATUS, 0);
        m.u.status.postgres_pid = 5;
        assert_int_equal(link_send(pair[0], &m), LINK_IO_OK);
        loop_turn(l, 10000);
        assert_true(guard_link_writable(g) && guard_link_status(g)->postgres_pid == 5);
        end.acts = true;
        loop_turn(l, 0);
        assert_int_equal(guard_link_writable(g), !before);
        assert_int_equal(guard_link_status(g)->postgres_pid, before ? 0 : 5);
        loop_turn(l, 0);
        assert_false(guard_link_writable(g));
        assert_int_equal(guard_link_status(g)->postgres_pid, 0);
        loop_free(l);
        guard_link_free(g);
        close(pair[0]);
    }
}

static void guard_link__guard_does_not_read__refused_without_blocking(void **state)
{
    (void)state;
    struct err e = {0};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    struct guard_link *g = guard_link_open(pair[1], dup(page_fd), &e);
    int sent = 0;
    while (guard_link_arm(g, &e))
        assert_true(++sent < 100000);
    assert_int_equal(e.kind, ERR_TRANSIENT);
    assert_false(guard_link_lost(g));
    guard_link_free(g);
    close(pair[0]);
}

static void guard_link_new__outside_guard__says_so(void **state)
{
    (void)state;
    struct err e;
    assert_null(guard_link_new(&e));
    assert_int_equal(e.kind, ERR_INVALID);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_page, drop_page)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(page__new__no_right_and_nothing_writable),
        T(page__two_mappings__one_page),
        T(page__size_sealed__nobody_can_truncate),
        T(page_map__wrong_file_or_version__refused),
        T(page_extend__lapse__is_final),
        T(link_size__every_kind__as_sent),
        T(link_recv__malformed__bad),
        T(link_start__arguments__there_and_back),
        T(link_start__too_much_or_malformed__refused),
        T(link_names__all__known),
        T(guard_link__requests_and_status__both_ways),
        T(guard_link__end_of_a_server_within_a_turn__seen_whole),
        T(guard_link__guard_does_not_read__refused_without_blocking),
        T(guard_link_new__outside_guard__says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
