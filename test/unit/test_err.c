#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

static void err_set__null__returns_false(void **state)
{
    (void)state;
    assert_false(err_set(NULL, ERR_FATAL, "x"));
    assert_false(err_errno(NULL, ERR_FATAL, "x"));
    assert_false(err_wrap(NULL, "x"));
}

static void err_set__fields__filled_and_code_zero(void **state)
{
    (void)state;
    struct err e = {.code = 5};
    assert_false(err_set(&e, ERR_CONFLICT, "lease %s is at %d", "a", 7));
    assert_int_equal(e.kind, ERR_CONFLICT);
    assert_int_equal(e.code, 0);
    assert_string_equal(e.msg, "lease a is at 7");
}

static void err_errno__text_and_number__kept_with_errno_unchanged(void **state)
{
    (void)state;
    struct err e;
    errno = ENOSPC;
    assert_false(err_errno(&e, ERR_TRANSIENT, "write %s", "f"));
    assert_int_equal(e.code, ENOSPC);
    assert_string_equal(e.msg, "write f: No space left on device");
    assert_int_equal(errno, ENOSPC);
}

static void err_wrap__nested__kind_kept_and_context_in_front(void **state)
{
    (void)state;
    struct err e;
    errno = EACCES;
    err_errno(&e, ERR_DENIED, "open");
    assert_false(err_wrap(&e, "renew %s", "lease"));
    assert_false(err_wrap(&e, "turn"));
    assert_int_equal(e.kind, ERR_DENIED);
    assert_int_equal(e.code, EACCES);
    assert_string_equal(e.msg, "turn: renew lease: open: Permission denied");
}

static void err_set__own_message_as_argument__safe(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_INVALID, "inner");
    err_set(&e, ERR_FATAL, "again: %s", e.msg);
    assert_string_equal(e.msg, "again: inner");
}

static void err_set__longer_than_room__cut_and_terminated(void **state)
{
    (void)state;
    struct err e;
    char big[2000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_set(&e, ERR_INVALID, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    err_wrap(&e, "ctx");
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    assert_int_equal(strncmp(e.msg, "ctx: xxx", 8), 0);
    errno = EIO;
    err_errno(&e, ERR_TRANSIENT, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void err_kind_name__every_kind__distinct(void **state)
{
    (void)state;
    for (int a = ERR_NONE; a <= ERR_BUG; a++) {
        assert_string_not_equal(err_kind_name((enum err_kind)a), "unknown");
        for (int b = ERR_NONE; b < a; b++)
            assert_string_not_equal(err_kind_name((enum err_kind)a),
                                    err_kind_name((enum err_kind)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set__null__returns_false),
        cmocka_unit_test(err_set__fields__filled_and_code_zero),
        cmocka_unit_test(err_errno__text_and_number__kept_with_errno_unchanged),
        cmocka_unit_test(err_wrap__nested__kind_kept_and_context_in_front),
        cmocka_unit_test(err_set__own_message_as_argument__safe),
        cmocka_unit_test(err_set__longer_than_room__cut_and_terminated),
        cmocka_unit_test(err_kind_name__every_kind__distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
