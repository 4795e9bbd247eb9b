#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"

static char dir[64];

static const char *in(const char *name)
{
    static char path[4][200];
    static unsigned turn;
    char *p = path[turn++ % 4];
    assert_true(str_format(p, 200, "%s/%s", dir, name));
    return p;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static int make_dir(void **state)
{
    (void)state;
    if (!str_copy(dir, sizeof(dir), "/tmp/pgha-test-fd-XXXXXX"))
        return -1;
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void fd_flags__set_and_cleared(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    assert_true(fd_set_nonblock(p[0], true));
    char c;
    assert_int_equal(read(p[0], &c, 1), -1);
    assert_int_equal(errno, EAGAIN);
    assert_true(fd_set_nonblock(p[0], false));
    assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
    assert_true(fd_set_cloexec(p[0], true));
    assert_int_equal(fcntl(p[0], F_GETFD), FD_CLOEXEC);
    assert_true(fd_set_cloexec(p[0], false));
    assert_int_equal(fcntl(p[0], F_GETFD), 0);
    fd_close(&p[0]);
    assert_int_equal(p[0], -1);
    fd_close(&p[0]);
    fd_close(&p[1]);
    assert_false(fd_set_nonblock(p[1], true));
}

static void fd_replace_file__new_then_again__content_and_mode(void **state)
{
    (void)state;
    struct err e;
    struct buf b;
    buf_init(&b, 100);
    mode_t old = umask(077);
    assert_true(fd_replace_file(in("f"), "one", 3, 0640, &e));
    umask(old);
    assert_true(fd_read_file(in("f"), &b, &e));
    assert_string_equal(buf_str(&b), "one");
    struct stat st;
    assert_int_equal(stat(in("f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_true(fd_replace_file(in("f"), "", 0, 0600, &e));
    assert_true(fd_read_file(in("f"), &b, &e));
    assert_int_equal(b.len, 0);
    assert_int_not_equal(access(in("f.new"), F_OK), 0);
    buf_done(&b);
}

static void fd_swap_file__new_then_again__content_and_mode(void **state)
{
    (void)state;
    struct err e;
    struct buf b;
    struct stat st;
    buf_init(&b, 100);
    assert_true(fd_swap_file(in("s"), "one", 3, 0600, &e));
    assert_int_equal(symlink("/etc/passwd", in("s.new")), 0);
    assert_true(fd_swap_file(in("s"), "two", 3, 0640, &e));
    assert_true(fd_read_file(in("s"), &b, &e));
    assert_string_equal(buf_str(&b), "two");
    assert_int_equal(stat(in("s"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_false(fd_swap_file(in("none/s"), "x", 1, 0600, &e));
    buf_done(&b);
}

static void fd_replace_file__leftover_of_a_crash__replaced(void **state)
{
    (void)state;
    struct err e;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(symlink("/etc/passwd", in("g.new")), 0);
    assert_true(fd_replace_file(in("g"), "x", 1, 0600, &e));
    assert_true(fd_read_file(in("g"), &b, &e));
    assert_string_equal(buf_str(&b), "x");
    buf_done(&b);
}

static void fd_replace_file__impossible__old_content_stays(void **state)
{
    (void)state;
    struct err e;
    assert_false(fd_replace_file(in("no/such/f"), "x", 1, 0600, &e));
    assert_int_equal(e.code, ENOENT);
    assert_int_equal(mkdir(in("d"), 0700), 0);
    assert_false(fd_replace_file(in("d"), "x", 1, 0600, &e));
    assert_int_not_equal(access(in("d.new"), F_OK), 0);
    char longer[5000];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_false(fd_replace_file(longer, "x", 1, 0600, &e));
    assert_int_equal(e.kind, ERR_INVALID);
}

static void fd_read_file__absent_too_large_not_regular(void **state)
{
    (void)state;
    struct err e;
    struct buf b;
    buf_init(&b, 10);
    assert_false(fd_read_file(in("absent"), &b, &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
    assert_true(fd_replace_file(in("ten"), "0123456789", 10, 0600, &e));
    assert_true(fd_read_file(in("ten"), &b, &e));
    assert_int_equal(b.len, 10);
    assert_true(fd_replace_file(in("eleven"), "0123456789a", 11, 0600, &e));
    assert_false(fd_read_file(in("eleven"), &b, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    assert_int_equal(mkfifo(in("fifo"), 0600), 0);
    assert_false(fd_read_file(in("fifo"), &b, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    assert_false(fd_read_file(dir, &b, &e));
    buf_done(&b);
}

static void fd_mkdirs__nested_existing_and_file_in_the_way(void **state)
{
    (void)state;
    struct err e;
    assert_true(fd_mkdirs(in("a/b/c"), 0700, &e));
    assert_true(fd_mkdirs(in("a/b/c"), 0700, &e));
    assert_true(fd_mkdirs(in("a/b/x/"), 0700, &e));
    assert_true(fd_mkdirs("/", 0700, &e));
    assert_true(fd_replace_file(in("a/file"), "", 0, 0600, &e));
    assert_false(fd_mkdirs(in("a/file"), 0700, &e));
    assert_false(fd_mkdirs(in("a/file/y"), 0700, &e));
    assert_false(fd_mkdirs("", 0700, &e));
    assert_true(fd_sync_dir(in("a"), &e));
    assert_false(fd_sync_dir(in("a/file"), &e));
}

static void fd_write_all__reader_gone__error(void **state)
{
    (void)state;
    struct err e;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_false(fd_write_all(fd, "x", 1, &e));
    assert_int_equal(e.code, ENOSPC);
    fd_close(&fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fd_flags__set_and_cleared),
        cmocka_unit_test(fd_replace_file__new_then_again__content_and_mode),
        cmocka_unit_test(fd_swap_file__new_then_again__content_and_mode),
        cmocka_unit_test(fd_replace_file__leftover_of_a_crash__replaced),
        cmocka_unit_test(fd_replace_file__impossible__old_content_stays),
        cmocka_unit_test(fd_read_file__absent_too_large_not_regular),
        cmocka_unit_test(fd_mkdirs__nested_existing_and_file_in_the_way),
        cmocka_unit_test(fd_write_all__reader_gone__error),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
