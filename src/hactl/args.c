/* Parser of the command line over the tables of commands.c. */
#include "hactl/args.h"

#include <string.h>

#include "base/str.h"

#define WORD_MAX 32

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein; words longer than WORD_MAX are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    size_t row[WORD_MAX + 1];

    if (la > WORD_MAX || lb > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t up = row[j];
            row[j] = min3(up + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = up;
        }
    }
    return row[lb];
}

const char *nearest_word(const char *given, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t least = 3;

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(given, words[i]);
        if (d < least && d < strlen(words[i])) {
            least = d;
            best = words[i];
        }
    }
    return best;
}

bool duration_parse(const char *s, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
    char digits[16];
    size_t n = strspn(s, "0123456789");
    int64_t v;

    if (n == 0 || n >= sizeof(digits))
        return false;
    memcpy(digits, s, n);
    digits[n] = '\0';
    if (!str_to_i64(digits, 0, 1000000000, &v))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (str_eq(s + n, units[i].unit)) {
            *ret_ms = v * units[i].ms;
            return true;
        }
    }
    return false;
}

static bool word_allowed(const char *words, const char *s)
{
    size_t n = strlen(s);

    for (const char *w = words; w; w = strchr(w, '|')) {
        w += *w == '|';
        if (n > 0 && strncmp(w, s, n) == 0 && (w[n] == '|' || w[n] == '\0'))
            return true;
    }
    return false;
}

static bool store(struct args *a, enum opt_id id, const char *value, struct err *e)
{
    const struct opt_def *d = opt_def(id);

    if (d->kind == ARG_WORD && !word_allowed(d->words, value))
        return err_set(e, ERR_INVALID, "--%s: \"%.60s\" is not one of %s", d->name, value, d->words);
    if (d->kind == ARG_SECONDS) {
        if (!duration_parse(value, &a->timeout_ms) || a->timeout_ms == 0)
            return err_set(e, ERR_INVALID, "--%s: \"%.60s\" is not a time such as 30s or 2m",
                           d->name, value);
    }
    if (d->repeats) {
        if (a->sets == ARGS_SETS_MAX)
            return err_set(e, ERR_INVALID, "--%s: more than %d times", d->name, ARGS_SETS_MAX);
        a->set[a->sets++] = value;
    }
    a->value[id] = value;
    return true;
}

static bool accepts(const struct command *c, enum opt_id id)
{
    for (size_t i = 0; global_opts[i]; i++) {
        if (global_opts[i] == id)
            return true;
    }
    for (size_t i = 0; c && i < COMMAND_OPTS_MAX && c->opts[i]; i++) {
        if (c->opts[i] == id)
            return true;
    }
    return false;
}

static enum opt_id find_long(const char *name, size_t len)
{
    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++) {
        if (strlen(opt_def(id)->name) == len && strncmp(opt_def(id)->name, name, len) == 0)
            return id;
    }
    return OPT_NONE;
}

/* Letters belong to options, not to commands, so that -r means the same everywhere. */
static enum opt_id find_letter(char c)
{
    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++) {
        if (opt_def(id)->letter == c)
            return id;
    }
    return OPT_NONE;
}

static bool unknown_option(const char *arg, const struct command *c, struct err *e)
{
    const char *words[OPT_COUNT];
    char name[WORD_MAX + 1];
    size_t n = 0, len = strcspn(arg, "=");

    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++) {
        if (accepts(c, id))
            words[n++] = opt_def(id)->name;
    }
    if (str_starts(arg, "--") && len - 2 <= WORD_MAX) {
        memcpy(name, arg + 2, len - 2);
        name[len - 2] = '\0';
        const char *near = nearest_word(name, words, n);
        if (near)
            return err_set(e, ERR_INVALID, "unknown option %.60s; did you mean --%s?", arg, near);
    }
    return err_set(e, ERR_INVALID, "unknown option %.60s", arg);
}

struct cursor {
    int argc;
    char *const *argv;
    int i;
};

static bool take_value(struct args *a, enum opt_id id, const char *inline_value, struct cursor *c,
                       struct err *e)
{
    const struct opt_def *d = opt_def(id);

    if (d->kind == ARG_NONE) {
        if (inline_value)
            return err_set(e, ERR_INVALID, "--%s takes no value", d->name);
        return store(a, id, "", e);
    }
    if (inline_value)
        return store(a, id, inline_value, e);
    if (c->i + 1 >= c->argc)
        return err_set(e, ERR_INVALID, "--%s needs %s", d->name, d->arg);
    return store(a, id, c->argv[++c->i], e);
}

static bool take_long(struct args *a, struct cursor *c, enum opt_id *ret, struct err *e)
{
    const char *arg = c->argv[c->i];
    size_t len = strcspn(arg, "=");
    enum opt_id id = find_long(arg + 2, len - 2);

    if (!id)
        return unknown_option(arg, a->command, e);
    *ret = id;
    return take_value(a, id, arg[len] == '=' ? arg + len + 1 : NULL, c, e);
}

/* "-w", "-nNAME", "-n NAME"; flags may be joined: "-wh". */
static bool take_letters(struct args *a, struct cursor *c, bool seen[OPT_COUNT], struct err *e)
{
    for (const char *p = c->argv[c->i] + 1; *p; p++) {
        enum opt_id id = find_letter(*p);
        if (!id)
            return unknown_option(c->argv[c->i], a->command, e);
        seen[id] = true;
        if (opt_def(id)->kind != ARG_NONE)
            return take_value(a, id, p[1] ? p + 1 : NULL, c, e);
        if (!take_value(a, id, NULL, c, e))
            return false;
    }
    return true;
}

static bool take_operand(struct args *a, const char *arg, struct err *e)
{
    if (!a->command) {
        const char *words[64];
        size_t n = 0;

        a->command = command_find(arg);
        if (a->command)
            return true;
        for (size_t i = 0; command_at(i) && n + 2 < 64; i++) {
            words[n++] = command_at(i)->name;
            if (command_at(i)->alias)
                words[n++] = command_at(i)->alias;
        }
        const char *near = nearest_word(arg, words, n);
        if (near)
            return err_set(e, ERR_INVALID, "unknown command \"%.60s\"; did you mean %s?", arg, near);
        return err_set(e, ERR_INVALID, "unknown command \"%.60s\"; see hactl help", arg);
    }
    if (a->operands == ARGS_OPERANDS_MAX)
        return err_set(e, ERR_INVALID, "too many arguments");
    a->operand[a->operands++] = arg;
    return true;
}

static bool check(const struct args *a, const bool seen[OPT_COUNT], struct err *e)
{
    const struct command *c = a->command;

    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++) {
        if (seen[id] && !accepts(c, id))
            return err_set(e, ERR_INVALID, "--%s does not belong to %s", opt_def(id)->name,
                           c ? c->name : "hactl without a command");
    }
    if (!c || args_has(a, OPT_HELP))
        return true;
    if (a->operands < (size_t)c->min)
        return err_set(e, ERR_INVALID, "%s needs %s", c->name, c->operands);
    if (a->operands > (size_t)c->max)
        return err_set(e, ERR_INVALID, "%s: unexpected argument \"%.60s\"", c->name,
                       a->operand[c->max]);
    return true;
}

bool args_parse(struct args *a, int argc, char *const argv[], struct err *e)
{
    bool seen[OPT_COUNT] = {false};
    struct cursor c = {.argc = argc, .argv = argv, .i = 1};
    bool only_operands = false;

    *a = (struct args){0};
    for (; c.i < argc; c.i++) {
        const char *arg = argv[c.i];
        enum opt_id id = OPT_NONE;

        if (only_operands || arg[0] != '-' || arg[1] == '\0') {
            if (!take_operand(a, arg, e))
                return false;
        } else if (str_eq(arg, "--")) {
            only_operands = true;
        } else if (arg[1] == '-') {
            if (!take_long(a, &c, &id, e))
                return false;
            seen[id] = true;
        } else if (!take_letters(a, &c, seen, e)) {
            return false;
        }
    }
    return check(a, seen, e);
}
