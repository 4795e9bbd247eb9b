/* The command line: parsing, and help, completion and reference page from the same tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_api.h"
#include "hactl/args.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WORDS_MAX 12

static bool parse(struct args *a, const char *line, struct err *e)
{
    static char copy[512];
    static char program[] = "hactl";
    char *argv[WORDS_MAX + 1] = {program};
    int argc = 1;

    assert_true(strlen(line) < sizeof(copy));
    memcpy(copy, line, strlen(line) + 1);
    for (char *p = copy; *p && argc < WORDS_MAX;) {
        argv[argc++] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = '\0';
    }
    return args_parse(a, argc, argv, e);
}

static void good_lines__parsed(void **state)
{
    static const struct {
        const char *line, *command;
        enum opt_id opt;
        const char *value; /* NULL: not given */
        size_t operands;
    } cases[] = {
        {"list", "list", OPT_WATCH, NULL, 0},
        {"status -w", "list", OPT_WATCH, "", 0},
        {"-n db list", "list", OPT_NAMESPACE, "db", 0},
        {"list -ndb", "list", OPT_NAMESPACE, "db", 0},
        {"list --namespace=db", "list", OPT_NAMESPACE, "db", 0},
        {"list --namespace db", "list", OPT_NAMESPACE, "db", 0},
        {"list --namespace=", "list", OPT_NAMESPACE, "", 0},
        {"-c pg -o json list", "list", OPT_OUTPUT, "json", 0},
        {"--to pg-1 switchover --force", "switchover", OPT_TO, "pg-1", 0},
        {"promote --to pg-1", "failover", OPT_TO, "pg-1", 0},
        {"restart pg-1 --wait", "restart", OPT_WAIT, "", 1},
        {"config check file", "config", OPT_CLUSTER_WIDE, NULL, 2},
        {"edit-config -s a.b=c -s d.e=", "edit-config", OPT_SET, "d.e=", 0},
        {"edit-config --apply -", "edit-config", OPT_APPLY, "-", 0},
        {"psql -r replica -- -c x --force", "psql", OPT_ROLE, "replica", 3},
        {"wait --for synced --timeout 2m", "wait", OPT_FOR, "synced", 0},
        {"reinit -h", "reinit", OPT_HELP, "", 0},
        {"list -wh", "list", OPT_HELP, "", 0},
    };
    struct args a;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        e = (struct err){0};
        if (!parse(&a, cases[i].line, &e))
            fail_msg("%s: %s", cases[i].line, e.msg);
        assert_string_equal(a.command->name, cases[i].command);
        assert_int_equal(a.operands, cases[i].operands);
        if (cases[i].value)
            assert_string_equal(a.value[cases[i].opt], cases[i].value);
        else
            assert_null(a.value[cases[i].opt]);
    }
    assert_true(parse(&a, "edit-config -s a.b=c -s d.e=", &e));
    assert_int_equal(a.sets, 2);
    assert_string_equal(a.set[0], "a.b=c");
}

static void bad_lines__say_what_is_allowed(void **state)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"lst", "did you mean list?"},
        {"swichover", "did you mean switchover?"},
        {"frobnicate", "unknown command \"frobnicate\"; see hactl help"},
        {"list --watsh", "did you mean --watch?"},
        {"list --xyzzy", "unknown option --xyzzy"},
        {"list -q", "unknown option -q"},
        {"list -o xml", "not one of table|wide|json|yaml|name"},
        {"list -o tab", "not one of table"},
        {"list -o", "--output needs FORMAT"},
        {"list --force", "--force does not belong to list"},
        {"list extra", "unexpected argument \"extra\""},
        {"reinit", "reinit needs POD"},
        {"list --watch=yes", "--watch takes no value"},
        {"wait --timeout soon", "not a time such as 30s"},
        {"wait --timeout 0", "not a time"},
        {"wait --timeout 5d", "not a time"},
        {"--force", "does not belong to hactl without a command"},
    };
    struct args a;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        e = (struct err){0};
        if (parse(&a, cases[i].line, &e))
            fail_msg("%s: accepted", cases[i].line);
        assert_int_equal(e.kind, ERR_INVALID);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].line, e.msg, cases[i].says);
    }
}

static void durations__units(void **state)
{
    int64_t ms;

    (void)state;
    assert_true(duration_parse("30", &ms) && ms == 30000);
    assert_true(duration_parse("250ms", &ms) && ms == 250);
    assert_true(duration_parse("2m", &ms) && ms == 120000);
    assert_true(duration_parse("1h", &ms) && ms == 3600000);
    assert_false(duration_parse("", &ms));
    assert_false(duration_parse("-1", &ms));
    assert_false(duration_parse("1.5s", &ms));
    assert_false(duration_parse("99999999999999999999", &ms));
}

static void tables__complete_and_consistent(void **state)
{
    const struct command *c;
    bool used[OPT_COUNT] = {false};

    (void)state;
    for (size_t i = 0; global_opts[i]; i++)
        used[global_opts[i]] = true;
    for (size_t i = 0; (c = command_at(i)); i++) {
        assert_non_null(c->help);
        assert_non_null(c->text);
        assert_non_null(c->run);
        assert_ptr_equal(command_find(c->name), c);
        for (size_t j = 0; j < COMMAND_OPTS_MAX && c->opts[j]; j++)
            used[c->opts[j]] = true;
    }
    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++) {
        const struct opt_def *d = opt_def(id);
        assert_non_null(d->name);
        assert_non_null(d->help);
        assert_true(used[id]);
        assert_int_equal(d->kind == ARG_NONE, d->arg == NULL);
        assert_int_equal(d->kind == ARG_WORD, d->words != NULL);
        for (enum opt_id o = OPT_NONE + 1; o < id; o++)
            assert_true(d->letter == 0 || opt_def(o)->letter != d->letter);
    }
}

static void help__names_every_command_and_option(void **state)
{
    const struct command *c;

    (void)state;
    assert_int_equal(hactl_line(NULL, "help reference"), EXIT_DONE);
    for (size_t i = 0; (c = command_at(i)); i++) {
        char heading[64];
        snprintf(heading, sizeof(heading), "### %s\n", c->name);
        assert_non_null(strstr(out, heading));
    }
    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++)
        assert_non_null(strstr(out, opt_def(id)->name));
    assert_int_equal(hactl_line(NULL, "help switchover"), EXIT_DONE);
    assert_non_null(strstr(out, "Usage: hactl switchover [OPTIONS]"));
    assert_non_null(strstr(out, "--dry-run"));
    assert_int_equal(hactl_line(NULL, "help swtch"), EXIT_USAGE);
}

static void completion__three_shells_others_refused(void **state)
{
    static const char *const lines[] = {"completion bash", "completion zsh", "completion fish"};
    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_int_equal(hactl_line(NULL, lines[i]), EXIT_DONE);
        assert_non_null(strstr(out, "switchover"));
        assert_non_null(strstr(out, "dry-run"));
    }
    assert_int_equal(hactl_line(NULL, "completion tcsh"), EXIT_USAGE);
}

static void no_command__usage_on_stderr(void **state)
{
    (void)state;
    assert_int_equal(hactl_line(NULL, ""), EXIT_USAGE);
    assert_string_equal(out, "");
    assert_non_null(strstr(err, "Usage: hactl"));
}

static int forget(void **state)
{
    (void)state;
    hactl_forget();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines__parsed),
        cmocka_unit_test(bad_lines__say_what_is_allowed),
        cmocka_unit_test(durations__units),
        cmocka_unit_test(tables__complete_and_consistent),
        cmocka_unit_test(help__names_every_command_and_option),
        cmocka_unit_test(completion__three_shells_others_refused),
        cmocka_unit_test(no_command__usage_on_stderr),
    };

    return cmocka_run_group_tests(tests, NULL, forget);
}
