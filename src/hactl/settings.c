/* Changing one key of block-style YAML line by line. The result is checked by the caller through
 * the option table, so this only has to be right about indentation, not about YAML as a whole. */
#include "hactl/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

#define LINES_MAX 20000
#define PARTS 3 /* section, key, entry of a map; entries may contain dots (pg_stat_statements.max) */

struct line {
    const char *s; /* borrowed */
    size_t len;    /* without the line end */
};

struct text {
    struct line *line; /* owned */
    size_t n;
};

struct span {
    size_t from, to;
};

static bool split(const char *s, struct text *t, struct err *e)
{
    t->line = calloc(LINES_MAX, sizeof(*t->line));
    t->n = 0;
    must(t->line);
    while (*s) {
        size_t len = strcspn(s, "\n");
        if (t->n == LINES_MAX) {
            free(t->line);
            return err_set(e, ERR_INVALID, "more than %d lines", LINES_MAX);
        }
        t->line[t->n++] = (struct line){s, len};
        s += len + (s[len] == '\n');
    }
    return true;
}

static size_t indent_of(const struct line *l)
{
    size_t i = 0;

    while (i < l->len && l->s[i] == ' ')
        i++;
    return i;
}

/* Blank lines, comments and document marks carry no structure. */
static bool is_empty(const struct line *l)
{
    size_t i = indent_of(l);

    return i == l->len || l->s[i] == '#' || l->s[i] == '\r' ||
           (l->len >= 3 && (!strncmp(l->s, "---", 3) || !strncmp(l->s, "...", 3)));
}

/* The text after "key:" when the line has that key, else NULL. */
static const char *value_of(const struct line *l, const char *key)
{
    const char *p = l->s + indent_of(l), *end = l->s + l->len;
    size_t n = strlen(key);
    char quote = p < end && (*p == '"' || *p == '\'') ? *p : '\0';

    p += quote != '\0';
    if ((size_t)(end - p) < n || strncmp(p, key, n) != 0)
        return NULL;
    p += n;
    if (quote && (p == end || *p++ != quote))
        return NULL;
    if (p == end || *p != ':' || (p + 1 < end && p[1] != ' '))
        return NULL;
    return p + 1;
}

/* Lines that belong to the key at line i, the first one after it included. */
static struct span block_of(const struct text *t, size_t i, size_t end)
{
    size_t indent = indent_of(&t->line[i]), last = i + 1;

    for (size_t j = i + 1; j < end; j++) {
        const struct line *l = &t->line[j];
        if (is_empty(l))
            continue;
        size_t in = indent_of(l);
        if (in < indent || (in == indent && l->s[in] != '-')) /* a list may stand below its key */
            break;
        last = j + 1;
    }
    return (struct span){i + 1, last};
}

static bool find_key(const struct text *t, struct span in, const char *key, size_t *ret)
{
    size_t indent = 0;
    bool have = false;

    for (size_t i = in.from; i < in.to; i++) {
        if (is_empty(&t->line[i]))
            continue;
        if (!have) {
            indent = indent_of(&t->line[i]);
            have = true;
        }
        if (indent_of(&t->line[i]) == indent && value_of(&t->line[i], key)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool split_path(const char *path, char parts[PARTS][128], size_t *n, struct err *e)
{
    for (*n = 0; *n < PARTS; path++) {
        size_t len = *n + 1 < PARTS ? strcspn(path, ".") : strlen(path);
        if (len == 0 || len >= 128 || path[strcspn(path, " :#\n\"'")] != '\0')
            break;
        memcpy(parts[*n], path, len);
        parts[(*n)++][len] = '\0';
        path += len;
        if (*path == '\0')
            return *n >= 2 || err_set(e, ERR_INVALID, "\"%s\": a key is section.name", parts[0]);
    }
    return err_set(e, ERR_INVALID, "\"%.80s\" is not a key such as replication.mode", path);
}

static void put_lines(struct buf *b, const struct text *t, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        buf_put(b, t->line[i].s, t->line[i].len);
        buf_puts(b, "\n");
    }
}

/* Plain where YAML would read it as meant, else quoted; lists, maps and quotes are the user's own. */
static void put_value(struct buf *b, const char *v)
{
    if (!strchr("&*!|>%@`#?-", v[0]) && !strstr(v, ": ") && !strstr(v, " #") && !str_ends(v, ":") &&
        v[0] != ' ' && !str_ends(v, " ")) {
        buf_puts(b, v);
        return;
    }
    if (v[0] == '-' && v[1] != ' ' && v[1] != '\0' && !strstr(v, ": ") && !strstr(v, " #")) {
        buf_puts(b, v); /* a negative number */
        return;
    }
    buf_puts(b, "'");
    for (; *v; v++) {
        if (*v == '\'')
            buf_puts(b, "'");
        buf_put(b, v, 1);
    }
    buf_puts(b, "'");
}

static void put_key(struct buf *b, size_t indent, const char *key)
{
    for (size_t i = 0; i < indent; i++)
        buf_puts(b, " ");
    buf_puts(b, key);
    buf_puts(b, ":");
}

/* Is there nothing but a comment (or an empty map) after "key:"? */
static bool opens_block(const struct line *l, const char *key)
{
    const char *v = value_of(l, key), *end = l->s + l->len;

    while (v < end && *v == ' ')
        v++;
    return v == end || *v == '#' || *v == '\r';
}

static size_t child_indent(const struct text *t, struct span block, size_t otherwise)
{
    for (size_t i = block.from; i < block.to; i++) {
        if (!is_empty(&t->line[i]))
            return indent_of(&t->line[i]);
    }
    return otherwise;
}

static bool only_child(const struct text *t, struct span parent, size_t at, struct span own)
{
    for (size_t i = parent.from; i < parent.to; i++) {
        if ((i < at || i >= own.to) && !is_empty(&t->line[i]))
            return false;
    }
    return true;
}

static bool edit(const struct text *t, char parts[PARTS][128], size_t n, const char *value,
                 struct buf *b, struct err *e)
{
    struct span in = {0, t->n}, above[PARTS];
    size_t indent = 0, at[PARTS] = {0}, depth = 0;

    while (depth < n) {
        above[depth] = in;
        indent = child_indent(t, in, depth ? indent_of(&t->line[at[depth - 1]]) + 2 : 0);
        if (!find_key(t, in, parts[depth], &at[depth]))
            break;
        in = block_of(t, at[depth], in.to);
        depth++;
        if (depth < n && !opens_block(&t->line[at[depth - 1]], parts[depth - 1]))
            return err_set(e, ERR_INVALID, "line %zu: %s is not in block style; use the editor",
                           at[depth - 1] + 1, parts[depth - 1]);
    }
    if (*value == '\0') {
        if (depth < n)
            return err_set(e, ERR_NOT_FOUND, "%s is not set here", parts[n - 1]);
        size_t top = n - 1;
        struct span own = in;
        while (top > 0 && only_child(t, above[top], at[top], own)) {
            own = block_of(t, at[top - 1], above[top - 1].to);
            top--;
        }
        put_lines(b, t, 0, at[top]);
        put_lines(b, t, own.to, t->n);
        return true;
    }
    if (depth == n) {
        put_lines(b, t, 0, at[n - 1]);
        put_key(b, indent, parts[n - 1]);
        buf_puts(b, " ");
        put_value(b, value);
        buf_puts(b, "\n");
        put_lines(b, t, in.to, t->n);
        return true;
    }
    put_lines(b, t, 0, in.to);
    for (; depth < n; depth++, indent += 2) {
        put_key(b, indent, parts[depth]);
        if (depth + 1 == n) {
            buf_puts(b, " ");
            put_value(b, value);
        }
        buf_puts(b, "\n");
    }
    put_lines(b, t, in.to, t->n);
    return true;
}

bool settings_set(const char *text, const char *path, const char *value, struct buf *ret,
                  struct err *e)
{
    char parts[PARTS][128];
    struct text t;
    size_t n;
    bool ok;

    if (strchr(value, '\n'))
        return err_set(e, ERR_INVALID, "%s: a value has one line", path);
    if (!split_path(path, parts, &n, e) || !split(text, &t, e))
        return false;
    buf_clear(ret);
    ok = edit(&t, parts, n, value, ret, e);
    free(t.line);
    if (ok && ret->overflow)
        return err_set(e, ERR_INVALID, "the settings would be larger than %zu bytes", ret->max);
    return ok;
}

size_t settings_line(const char *text, const char *path)
{
    char parts[PARTS][128];
    struct span in;
    struct text t;
    size_t n, at = 0, depth = 0;

    if (!split_path(path, parts, &n, NULL) || !split(text, &t, NULL))
        return 0;
    in = (struct span){0, t.n};
    while (depth < n && find_key(&t, in, parts[depth], &at)) {
        in = block_of(&t, at, in.to);
        depth++;
    }
    free(t.line);
    return depth == n ? at + 1 : 0;
}

/* --- differences --- */

#define TABLE_MAX 4000000 /* cells; larger differences are shown as one replacement */
#define CONTEXT 3

enum mark { SAME, GONE, NEW };

struct change {
    enum mark mark;
    const struct line *l;
};

static bool same(const struct line *a, const struct line *b)
{
    return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

/* Longest common subsequence of the middles, after equal heads and tails were set aside. */
static size_t compare(const struct text *a, const struct text *b, struct change *out)
{
    size_t head = 0, tail = 0, n = 0, la, lb;
    uint16_t *best = NULL;

    while (head < a->n && head < b->n && same(&a->line[head], &b->line[head]))
        head++;
    while (tail < a->n - head && tail < b->n - head &&
           same(&a->line[a->n - 1 - tail], &b->line[b->n - 1 - tail]))
        tail++;
    la = a->n - head - tail;
    lb = b->n - head - tail;
    for (size_t i = 0; i < head; i++)
        out[n++] = (struct change){SAME, &a->line[i]};
    if ((la + 1) * (lb + 1) <= TABLE_MAX && la < UINT16_MAX && lb < UINT16_MAX)
        best = calloc((la + 1) * (lb + 1), sizeof(*best));
#define CELL(i, j) best[(i) * (lb + 1) + (j)]
    for (size_t i = la; best && i-- > 0;) {
        for (size_t j = lb; j-- > 0;) {
            if (same(&a->line[head + i], &b->line[head + j]))
                CELL(i, j) = (uint16_t)(CELL(i + 1, j + 1) + 1);
            else
                CELL(i, j) = CELL(i + 1, j) >= CELL(i, j + 1) ? CELL(i + 1, j) : CELL(i, j + 1);
        }
    }
    for (size_t i = 0, j = 0; i < la || j < lb;) {
        if (best && i < la && j < lb && same(&a->line[head + i], &b->line[head + j])) {
            out[n++] = (struct change){SAME, &a->line[head + i]};
            i++;
            j++;
        } else if (i < la && (!best || j == lb || CELL(i + 1, j) >= CELL(i, j + 1))) {
            out[n++] = (struct change){GONE, &a->line[head + i++]};
        } else {
            out[n++] = (struct change){NEW, &b->line[head + j++]};
        }
    }
#undef CELL
    free(best);
    for (size_t i = a->n - tail; i < a->n; i++)
        out[n++] = (struct change){SAME, &a->line[i]};
    return n;
}

static void print_changes(struct session *s, const struct change *c, size_t n)
{
    bool gap = false;

    for (size_t i = 0; i < n; i++) {
        bool near = c[i].mark != SAME;
        for (size_t j = i > CONTEXT ? i - CONTEXT : 0; !near && j < n && j <= i + CONTEXT; j++)
            near = c[j].mark != SAME;
        if (!near) {
            gap = true;
            continue;
        }
        if (gap)
            fprintf(s->out, "%s@@%s\n", color_on(s, "36"), color_off(s));
        gap = false;
        fprintf(s->out, "%s%c%.*s%s\n",
                c[i].mark == SAME ? "" : color_on(s, c[i].mark == NEW ? "32" : "31"),
                c[i].mark == SAME ? ' ' : c[i].mark == NEW ? '+' : '-', (int)c[i].l->len, c[i].l->s,
                c[i].mark == SAME ? "" : color_off(s));
    }
}

bool settings_diff(struct session *s, const char *before, const char *after)
{
    struct text a, b;
    struct change *c;
    bool differs = false;
    size_t n;

    if (!split(before, &a, NULL))
        return false;
    if (!split(after, &b, NULL)) {
        free(a.line);
        return false;
    }
    c = calloc(a.n + b.n + 1, sizeof(*c));
    must(c);
    n = compare(&a, &b, c);
    for (size_t i = 0; i < n; i++)
        differs = differs || c[i].mark != SAME;
    if (differs)
        print_changes(s, c, n);
    free(c);
    free(a.line);
    free(b.line);
    return differs;
}
