/* Keys set in YAML text in place, and the differences shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hactl/settings.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define TEXT                                                                                       \
    "# ours\n"                                                                                     \
    "replication:\n"                                                                               \
    "  mode: quorum   # agreed in March\n"                                                         \
    "  k: 1\n"                                                                                     \
    "\n"                                                                                           \
    "postgres:\n"                                                                                  \
    "  parameters:\n"                                                                              \
    "    work_mem: 8MB\n"                                                                          \
    "    'pg_stat_statements.max': 5000\n"                                                         \
    "  hba:\n"                                                                                     \
    "  - host all all all scram-sha-256\n"

static void set__in_place__rest_untouched(void **state)
{
    static const struct {
        const char *what, *text, *path, *value, *want;
    } cases[] = {
        {"replaces a value", "a:\n  b: 1\n  c: 2\n", "a.b", "9", "a:\n  b: 9\n  c: 2\n"},
        {"adds to a section", "a:\n    b: 1\n# end\n", "a.c", "2", "a:\n    b: 1\n    c: 2\n# end\n"},
        {"adds a section", "a:\n  b: 1\n", "x.y", "z", "a:\n  b: 1\nx:\n  y: z\n"},
        {"into nothing", "", "x.y", "z", "x:\n  y: z\n"},
        {"into comments", "# c\n", "x.y", "z", "# c\nx:\n  y: z\n"},
        {"into an open section", "x:\n", "x.y", "z", "x:\n  y: z\n"},
        {"adds a map", "postgres:\n  listen: x\n", "postgres.parameters.work_mem", "8MB",
         "postgres:\n  listen: x\n  parameters:\n    work_mem: 8MB\n"},
        {"entry with dots", TEXT, "postgres.parameters.pg_stat_statements.max", "10",
         NULL},
        {"replaces a list as a whole", "p:\n  hba:\n  - x\n  - y\n  z: 1\n", "p.hba", "[q]",
         "p:\n  hba: [q]\n  z: 1\n"},
        {"quotes what YAML would misread", "a:\n", "a.b", "x: y", "a:\n  b: 'x: y'\n"},
        {"quotes an asterisk", "a:\n", "a.b", "*", "a:\n  b: '*'\n"},
        {"leaves a negative number", "a:\n", "a.b", "-1", "a:\n  b: -1\n"},
        {"removes a key", "a:\n  b: 1\n  c: 2\n", "a.b", "", "a:\n  c: 2\n"},
        {"removes the section with its last key", "x:\n  y: 1\na:\n  b: 1\n", "a.b", "",
         "x:\n  y: 1\n"},
        {"same name in another section", "x:\n  b: 1\na:\n  b: 2\n", "a.b", "3",
         "x:\n  b: 1\na:\n  b: 3\n"},
        {"a key that begins alike", "a:\n  bc: 1\n", "a.b", "3", "a:\n  bc: 1\n  b: 3\n"},
    };
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, 4096);
    for (size_t i = 0; i < COUNT(cases); i++) {
        e = (struct err){0};
        if (!settings_set(cases[i].text, cases[i].path, cases[i].value, &b, &e))
            fail_msg("%s: %s", cases[i].what, e.msg);
        if (cases[i].want && strcmp(buf_str(&b), cases[i].want) != 0)
            fail_msg("%s: got\n%s", cases[i].what, buf_str(&b));
        if (!cases[i].want) {
            assert_non_null(strstr(buf_str(&b), "    pg_stat_statements.max: 10\n  hba:"));
            assert_non_null(strstr(buf_str(&b), "mode: quorum   # agreed in March\n"));
        }
    }
    buf_done(&b);
}

static void set__what_cannot_be_done__said(void **state)
{
    static const struct {
        const char *text, *path, *value, *says;
    } cases[] = {
        {"a: {b: 1}\n", "a.b", "2", "line 1: a is not in block style"},
        {"a:\n  b: 1\n", "a.c", "", "c is not set here"},
        {"", "a", "1", "a key is section.name"},
        {"", "a..b", "1", "not a key"},
        {"", "", "1", "not a key"},
        {"", "a.b c", "1", "not a key"},
        {"", "a.b", "x\ny", "one line"},
    };
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, 4096);
    for (size_t i = 0; i < COUNT(cases); i++) {
        e = (struct err){0};
        if (settings_set(cases[i].text, cases[i].path, cases[i].value, &b, &e))
            fail_msg("%s: accepted", cases[i].path);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].path, e.msg, cases[i].says);
    }
    buf_done(&b);
}

static char *diff(const char *a, const char *b, bool color, bool *differs)
{
    struct session s = {.color = color};
    char *out;
    size_t n;

    s.out = open_memstream(&out, &n);
    *differs = settings_diff(&s, a, b);
    fclose(s.out);
    return out;
}

static void diff__lines_with_context(void **state)
{
    static const struct {
        const char *a, *b, *want;
    } cases[] = {
        {"", "", ""},
        {"a\nb\n", "a\nb\n", ""},
        {"", "a\n", "+a\n"},
        {"a\n", "", "-a\n"},
        {"a\nb\nc\n", "a\nx\nc\n", " a\n-b\n+x\n c\n"},
        {"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\nx\n",
         "@@\n 6\n 7\n 8\n-9\n+x\n"},
        {"1\n2\n3\n4\n5\n6\n7\n8\n9\nq\n", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\nq\nr\n",
         "+0\n 1\n 2\n 3\n@@\n 8\n 9\n q\n+r\n"},
        {"a\nb\nc\nd\n", "b\nc\nx\nd\n", "-a\n b\n c\n+x\n d\n"},
    };
    bool differs;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *out = diff(cases[i].a, cases[i].b, false, &differs);
        assert_string_equal(out, cases[i].want);
        assert_int_equal(differs, strcmp(cases[i].a, cases[i].b) != 0);
        free(out);
    }
    char *out = diff("a\n", "b\n", true, &differs);
    assert_string_equal(out, "\033[31m-a\033[0m\n\033[32m+b\033[0m\n");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set__in_place__rest_untouched),
        cmocka_unit_test(set__what_cannot_be_done__said),
        cmocka_unit_test(diff__lines_with_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
