/* Values of options by type: parse, print, copy, compare. No knowledge of any single option. */
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "config/option.h"

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first: printing takes the first one that divides. */
static const struct unit durations[] = {{"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {{"TB", INT64_C(1) << 40},
                                    {"GB", INT64_C(1) << 30},
                                    {"MB", INT64_C(1) << 20},
                                    {"kB", INT64_C(1) << 10},
                                    {"B", 1}};
#define UNITS(t) ((t) == OPT_DURATION ? durations : sizes)
#define UNITS_N(t) ((t) == OPT_DURATION ? 4u : 5u)

static void *at(const struct option *o, struct config *c)
{
    return (char *)c + o->offset;
}

static const void *at_const(const struct option *o, const struct config *c)
{
    return (const char *)c + o->offset;
}

static char *dup_or_die(const char *s)
{
    char *d = strdup(s);
    must(d != NULL);
    return d;
}

static void set_string(char **dst, const char *s)
{
    char *d = dup_or_die(s);
    free(*dst);
    *dst = d;
}

static void list_free(struct config_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct config_list){0};
}

static void map_free(struct config_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->v[i].key);
        free(m->v[i].value);
    }
    free(m->v);
    *m = (struct config_map){0};
}

void option_free(const struct option *o, struct config *c)
{
    switch (o->type) {
    case OPT_STRING:
    case OPT_PATH:
        free(*(char **)at(o, c));
        *(char **)at(o, c) = NULL;
        break;
    case OPT_LIST:
        list_free(at(o, c));
        break;
    case OPT_MAP:
        map_free(at(o, c));
        break;
    case OPT_BOOL:
    case OPT_INT:
    case OPT_DURATION:
    case OPT_BYTES:
    case OPT_ENUM:
        break;
    }
}

void option_init(const struct option *o, struct config *c)
{
    struct err e;
    if (o->type == OPT_LIST || o->type == OPT_MAP || (o->flags & OPT_PROFILE))
        return; /* empty; profile numbers are 0 until config_finish */
    bool default_allowed = option_parse(o, c, o->def, &e);
    must(default_allowed);
}

static void list_add(struct config_list *l, const char *value)
{
    char **v = realloc(l->v, (l->n + 1) * sizeof(*v));
    must(v != NULL);
    l->v = v;
    l->v[l->n++] = dup_or_die(value);
}

static void map_put(struct config_map *m, const char *key, const char *value)
{
    size_t i = 0;
    while (i < m->n && strcmp(m->v[i].key, key) < 0)
        i++;
    bool found = i < m->n && strcmp(m->v[i].key, key) == 0;
    if (!value) {
        if (!found)
            return;
        free(m->v[i].key);
        free(m->v[i].value);
        memmove(&m->v[i], &m->v[i + 1], (m->n - i - 1) * sizeof(*m->v));
        m->n--;
        return;
    }
    if (found) {
        set_string(&m->v[i].value, value);
        return;
    }
    struct config_pair *v = realloc(m->v, (m->n + 1) * sizeof(*v));
    must(v != NULL);
    m->v = v;
    memmove(&v[i + 1], &v[i], (m->n - i) * sizeof(*v));
    v[i] = (struct config_pair){dup_or_die(key), dup_or_die(value)};
    m->n++;
}

void option_copy(const struct option *o, struct config *to, const struct config *from)
{
    const void *src = at_const(o, from);
    switch (o->type) {
    case OPT_BOOL:
        *(bool *)at(o, to) = *(const bool *)src;
        break;
    case OPT_ENUM:
        *(int *)at(o, to) = *(const int *)src;
        break;
    case OPT_INT:
    case OPT_DURATION:
    case OPT_BYTES:
        *(int64_t *)at(o, to) = *(const int64_t *)src;
        break;
    case OPT_STRING:
    case OPT_PATH:
        set_string(at(o, to), *(char *const *)src);
        break;
    case OPT_LIST: {
        const struct config_list *l = src;
        list_free(at(o, to));
        for (size_t i = 0; i < l->n; i++)
            list_add(at(o, to), l->v[i]);
        break;
    }
    case OPT_MAP: {
        const struct config_map *m = src;
        map_free(at(o, to));
        for (size_t i = 0; i < m->n; i++)
            map_put(at(o, to), m->v[i].key, m->v[i].value);
        break;
    }
    }
}

bool option_equal(const struct option *o, const struct config *a, const struct config *b)
{
    struct buf x, y;
    buf_init(&x, CONFIG_TEXT_MAX * 4);
    buf_init(&y, CONFIG_TEXT_MAX * 4);
    option_print(o, a, &x);
    option_print(o, b, &y);
    bool same = strcmp(buf_str(&x), buf_str(&y)) == 0;
    buf_done(&x);
    buf_done(&y);
    return same;
}

/* "16MB", "500 ms"; a duration needs its unit, since a bare number is read as seconds by one person and
 * as milliseconds by the next. */
static bool parse_units(enum option_type type, const char *text, int64_t *ret)
{
    char digits[24];
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n >= sizeof(digits))
        return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    int64_t v;
    if (!str_to_i64(digits, 0, INT64_MAX, &v))
        return false;
    const char *unit = text + n + (text[n] == ' ' ? 1 : 0);
    if (type == OPT_BYTES && text[n] == '\0')
        unit = "B";
    for (size_t i = 0; i < UNITS_N(type); i++)
        if (strcmp(UNITS(type)[i].name, unit) == 0)
            return !__builtin_mul_overflow(v, UNITS(type)[i].factor, ret);
    return false;
}

static void print_units(enum option_type type, int64_t v, struct buf *b)
{
    size_t i = 0;
    while (i + 1 < UNITS_N(type) && (v == 0 || v % UNITS(type)[i].factor != 0))
        i++;
    if (v == 0)
        i = type == OPT_DURATION ? 2 : 4;
    bool bare = type == OPT_BYTES && i == 4;
    buf_printf(b, "%lld%s", (long long)(v / UNITS(type)[i].factor), bare ? "" : UNITS(type)[i].name);
}

static void print_words(const struct option *o, struct buf *b)
{
    for (size_t i = 0; o->words[i]; i++)
        buf_printf(b, "%s%s", i ? ", " : "", o->words[i]);
}

void option_allowed(const struct option *o, struct buf *b)
{
    switch (o->type) {
    case OPT_BOOL:
        buf_puts(b, "true or false");
        return;
    case OPT_INT:
        buf_printf(b, "a whole number from %lld to %lld", (long long)o->min, (long long)o->max);
        return;
    case OPT_DURATION:
    case OPT_BYTES:
        buf_puts(b, o->type == OPT_DURATION ? "a duration with its unit (ms, s, min, h) from "
                                            : "a size (bytes, or with kB, MB, GB, TB) from ");
        print_units(o->type, o->min, b);
        buf_puts(b, " to ");
        print_units(o->type, o->max, b);
        return;
    case OPT_ENUM:
        buf_puts(b, "one of ");
        print_words(o, b);
        return;
    case OPT_PATH:
        buf_printf(b, "an absolute path of at most %lld bytes%s", (long long)o->max,
                   o->min ? "" : ", or nothing");
        return;
    case OPT_STRING:
        buf_printf(b, "%s, %s%lld bytes", o->shape ? o->shape : "text", o->min ? "1 to " : "at most ",
                   (long long)o->max);
        return;
    case OPT_LIST:
        buf_printf(b, "a list of at most %lld %s", (long long)o->max, o->shape);
        return;
    case OPT_MAP:
        buf_printf(b, "at most %lld pairs; %s", (long long)o->max, o->shape);
        return;
    }
}

static bool refuse(const struct option *o, const char *text, struct err *e)
{
    struct buf b;
    buf_init(&b, 300);
    option_allowed(o, &b);
    err_set(e, ERR_INVALID, "\"%.80s\" is not allowed; allowed: %s", text, buf_str(&b));
    buf_done(&b);
    return false;
}

/* One line of text: what goes into generated files must not be able to add lines of its own. */
static bool is_one_line(const char *s)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7F)
            return false;
    return true;
}

static bool parse_string(const struct option *o, struct config *c, const char *text, struct err *e)
{
    size_t n = strlen(text);
    if ((int64_t)n < o->min || (int64_t)n > o->max || !is_one_line(text))
        return refuse(o, text, e);
    if (o->type == OPT_PATH && n > 0 && text[0] != '/')
        return refuse(o, text, e);
    if (o->check && !o->check(NULL, text))
        return refuse(o, text, e);
    set_string(at(o, c), text);
    return true;
}

static bool parse_bool(const char *text, bool *ret)
{
    static const char *const words[][2] = {{"false", "true"}, {"off", "on"}, {"no", "yes"}};
    for (size_t i = 0; i < 3; i++)
        for (size_t v = 0; v < 2; v++)
            if (strcmp(words[i][v], text) == 0) {
                *ret = v == 1;
                return true;
            }
    return false;
}

bool option_parse(const struct option *o, struct config *c, const char *text, struct err *e)
{
    int64_t v;
    switch (o->type) {
    case OPT_BOOL:
        return parse_bool(text, at(o, c)) || refuse(o, text, e);
    case OPT_INT:
        if (!str_to_i64(text, o->min, o->max, &v))
            return refuse(o, text, e);
        *(int64_t *)at(o, c) = v;
        return true;
    case OPT_DURATION:
    case OPT_BYTES:
        if (!parse_units(o->type, text, &v) || v < o->min || v > o->max)
            return refuse(o, text, e);
        *(int64_t *)at(o, c) = v;
        return true;
    case OPT_ENUM:
        for (int i = 0; o->words[i]; i++)
            if (strcmp(o->words[i], text) == 0) {
                *(int *)at(o, c) = i;
                return true;
            }
        return refuse(o, text, e);
    case OPT_STRING:
    case OPT_PATH:
        return parse_string(o, c, text, e);
    case OPT_LIST:
    case OPT_MAP:
        return refuse(o, text, e);
    }
    return err_set(e, ERR_BUG, "option %s has no type", o->name);
}

void option_list_clear(const struct option *o, struct config *c)
{
    list_free(at(o, c));
}

bool option_list_add(const struct option *o, struct config *c, const char *value, struct err *e)
{
    struct config_list *l = at(o, c);
    if ((int64_t)l->n >= o->max || !is_one_line(value) || (o->check && !o->check(NULL, value)))
        return refuse(o, value, e);
    list_add(l, value);
    return true;
}

bool option_map_set(const struct option *o, struct config *c, const char *key, const char *value,
                    struct err *e)
{
    struct config_map *m = at(o, c);
    if (!is_one_line(key) || (o->check && !o->check(key, value ? value : "")))
        return refuse(o, key, e);
    if (value && !is_one_line(value))
        return refuse(o, value, e);
    if (value && (int64_t)m->n >= o->max)
        return refuse(o, key, e);
    map_put(m, key, value);
    return true;
}

void option_print(const struct option *o, const struct config *c, struct buf *b)
{
    const void *p = at_const(o, c);
    switch (o->type) {
    case OPT_BOOL:
        buf_puts(b, *(const bool *)p ? "true" : "false");
        break;
    case OPT_INT:
        buf_printf(b, "%lld", (long long)*(const int64_t *)p);
        break;
    case OPT_DURATION:
    case OPT_BYTES:
        print_units(o->type, *(const int64_t *)p, b);
        break;
    case OPT_ENUM:
        buf_puts(b, o->words[*(const int *)p]);
        break;
    case OPT_STRING:
    case OPT_PATH:
        buf_puts(b, *(char *const *)p);
        break;
    case OPT_LIST: {
        const struct config_list *l = p;
        for (size_t i = 0; i < l->n; i++)
            buf_printf(b, "%s%s", i ? "\n" : "", l->v[i]);
        break;
    }
    case OPT_MAP: {
        const struct config_map *m = p;
        for (size_t i = 0; i < m->n; i++)
            buf_printf(b, "%s%s=%s", i ? "\n" : "", m->v[i].key, m->v[i].value);
        break;
    }
    }
}
