/* Turns as lines of text and back. */
#include "flight/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "flight/store.h"

static const char first_line[] = "pghad-flight 1\n";

#define VALUE_MAX 2048
#define TIME_MAX_MS (INT64_C(1) << 56) /* sums of a few such do not overflow */

/* ---- the table of fields ---- */

static void add_leaf(void *ctx, const struct leaf *l)
{
    struct flight_leaves *t = ctx;
    if ((t->n & (t->n - 1)) == 0) {
        t->v = realloc(t->v, (t->n == 0 ? 1 : t->n * 2) * sizeof *t->v);
        must(t->v != NULL);
    }
    t->v[t->n++] = *l;
}

void flight_leaves_init(struct flight_leaves *l)
{
    *l = (struct flight_leaves){0};
    flight_walk(add_leaf, l);
}

void flight_leaves_done(struct flight_leaves *l)
{
    free(l->v);
    *l = (struct flight_leaves){0};
}

static const struct leaf *find(const struct flight_leaves *t, const char *path)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->v[i].path, path) == 0)
            return &t->v[i];
    return NULL;
}

/* ---- values ---- */

enum word_kind { WORD_NONE, WORD_RULE, WORD_FACTS, WORD_EFFECTS };

/* Numbers that change when the policy gains a row or a fact are written by name. */
static enum word_kind words_of(const struct leaf *l)
{
    if (str_eq(l->path, "verdict.rule") || str_ends(l->path, "last_rule"))
        return WORD_RULE;
    if (str_eq(l->path, "verdict.facts"))
        return WORD_FACTS;
    return str_eq(l->path, "verdict.effects") ? WORD_EFFECTS : WORD_NONE;
}

static uint64_t load(const struct leaf *l, const struct flight_turn *t)
{
    const char *p = (const char *)t + l->offset;
    union {
        uint8_t u8;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
    } v = {0};
    memcpy(&v, p, l->size);
    if (l->size == 8)
        return v.u64;
    if (l->size == 4)
        return l->kind == LEAF_INT ? (uint64_t)(int64_t)v.i32 : v.u32;
    return v.u8;
}

static bool put_words(struct buf *b, uint64_t bits, enum word_kind kind)
{
    bool first = true, ok = true;
    for (unsigned i = 0; i < 64; i++) {
        if ((bits >> i & 1) == 0)
            continue;
        ok = buf_printf(b, "%s%s", first ? "" : ",",
                        kind == WORD_FACTS ? fact_name((enum fact_bit)i) : effect_name(i)) && ok;
        first = false;
    }
    return ok;
}

/* Everything but plain ASCII as \xNN: a line stays a line, and a terminal is not obeyed. */
static bool put_escaped(struct buf *b, const char *s, size_t size)
{
    bool ok = true;
    for (size_t i = 0; i < size && s[i] != '\0'; i++) {
        unsigned char c = (unsigned char)s[i];
        ok = (c >= 0x20 && c < 0x7f && c != '\\' ? buf_put(b, &s[i], 1)
                                                 : buf_printf(b, "\\x%02x", c)) && ok;
    }
    return ok;
}

bool flight_value_put(struct buf *b, const struct leaf *l, const struct flight_turn *t)
{
    if (l->kind == LEAF_TEXT)
        return put_escaped(b, (const char *)t + l->offset, l->size);
    uint64_t v = load(l, t);
    enum word_kind words = words_of(l);
    if (words == WORD_RULE && v < core_rule_count)
        return buf_puts(b, core_rules[v].id);
    if (words == WORD_FACTS || words == WORD_EFFECTS)
        return put_words(b, v, words);
    return l->kind == LEAF_INT ? buf_printf(b, "%lld", (long long)v)
                               : buf_printf(b, "%llu", (unsigned long long)v);
}

static bool get_rule(const char *text, uint64_t *ret)
{
    for (size_t i = 0; i < core_rule_count; i++) {
        if (str_eq(core_rules[i].id, text)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool get_word(const char *word, size_t len, enum word_kind kind, uint64_t *bits)
{
    unsigned n = kind == WORD_FACTS ? (unsigned)FACT_COUNT : 32;
    for (unsigned i = 0; i < n; i++) {
        const char *name = kind == WORD_FACTS ? fact_name((enum fact_bit)i) : effect_name(i);
        if (strlen(name) == len && memcmp(name, word, len) == 0 && name[0] != '?') {
            *bits |= 1ull << i;
            return true;
        }
    }
    return false;
}

static bool get_words(const char *text, enum word_kind kind, uint64_t *ret)
{
    *ret = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        if (!get_word(text, n, kind, ret))
            return false;
        text += n + (text[n] == ',');
    }
    return true;
}

static bool get_number(const struct leaf *l, const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    if (l->kind == LEAF_INT) {
        int64_t i;
        int64_t max = l->size == 4 ? INT32_MAX : INT64_MAX;
        if (!str_to_i64(text, -max - 1, max, &i))
            return false;
        *ret = (uint64_t)i;
        return true;
    }
    uint64_t max = l->kind == LEAF_BOOL ? 1 : l->size == 8 ? UINT64_MAX : l->size == 4 ? UINT32_MAX : 255;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return false;
    }
    *ret = v;
    return v <= max;
}

static bool get_escaped(char *dst, size_t size, const char *text)
{
    size_t n = 0;
    memset(dst, 0, size);
    while (*text != '\0' && n + 1 < size) {
        uint64_t c = (unsigned char)*text++;
        if (c == '\\') {
            char hex[3] = "";
            if (text[0] != 'x' || text[1] == '\0' || text[2] == '\0')
                return false;
            memcpy(hex, text + 1, 2);
            if (!str_to_hex64(hex, &c) || c == 0)
                return false;
            text += 3;
        }
        dst[n++] = (char)(unsigned char)c;
    }
    return *text == '\0';
}

bool flight_value_get(const struct leaf *l, struct flight_turn *t, const char *text)
{
    char *p = (char *)t + l->offset;
    uint64_t v;
    if (l->kind == LEAF_TEXT)
        return get_escaped(p, l->size, text);
    enum word_kind words = words_of(l);
    bool ok = words == WORD_NONE   ? get_number(l, text, &v)
              : words == WORD_RULE ? get_rule(text, &v)
                                   : get_words(text, words, &v);
    if (!ok)
        return false;
    uint32_t v32 = (uint32_t)v;
    uint8_t v8 = (uint8_t)v;
    memcpy(p, l->size == 8 ? (const void *)&v : l->size == 4 ? (const void *)&v32 : &v8, l->size);
    return true;
}

bool flight_sane(const struct flight_leaves *leaves, const struct flight_turn *t)
{
    if (t->verdict.rule >= core_rule_count)
        return false;
    for (size_t i = 0; i < leaves->n; i++) {
        const struct leaf *l = &leaves->v[i];
        const unsigned char *p = (const unsigned char *)t + l->offset;
        if (l->kind == LEAF_TEXT) {
            if (p[l->size - 1] != '\0')
                return false;
            continue;
        }
        if (l->kind == LEAF_BOOL && *p > 1)
            return false;
        bool count = l->size == 1 && (str_ends(l->path, ".n") || str_ends(l->path, ".n_peers") ||
                                      str_ends(l->path, ".n_senders"));
        if (count && *p > HA_MEMBERS_MAX)
            return false;
        int64_t v = (int64_t)load(l, t);
        bool given = l->offset < offsetof(struct flight_turn, verdict);
        if (given && l->kind == LEAF_INT && (v > TIME_MAX_MS || v < -TIME_MAX_MS))
            return false;
    }
    return true;
}

/* ---- whole records ---- */

bool flight_is_text(const void *data, size_t len)
{
    return len >= sizeof first_line - 1 && memcmp(data, first_line, sizeof first_line - 1) == 0;
}

static void put_turn(FILE *out, const struct flight_cursor *c, const struct flight_turn *prev,
                     const struct flight_leaves *leaves)
{
    struct buf b;
    buf_init(&b, VALUE_MAX);
    fprintf(out, "turn %llx %llu %lld%s", (unsigned long long)c->meta.run,
            (unsigned long long)c->meta.seq, (long long)c->meta.wall_us,
            c->meta.held ? " held" : "");
    if (c->meta.lost > 0)
        fprintf(out, " lost=%u", c->meta.lost);
    fputc('\n', out);
    for (size_t i = 0; i < leaves->n; i++) {
        const struct leaf *l = &leaves->v[i];
        if (memcmp((const char *)&c->turn + l->offset, (const char *)prev + l->offset, l->size) == 0)
            continue;
        buf_clear(&b);
        if (flight_value_put(&b, l, &c->turn))
            fprintf(out, "%s=%s\n", l->path, buf_str(&b));
    }
    buf_done(&b);
}

bool flight_to_text(const struct flight *f, bool anew, FILE *out)
{
    struct flight_leaves leaves;
    struct flight_cursor c;
    struct flight_turn prev = {0};
    flight_leaves_init(&leaves);
    fputs(first_line, out);
    fprintf(out, "member %s\nbuild %s\n", f->header.member.s, f->header.build);
    flight_begin(&c, f);
    while (flight_next(&c)) {
        struct flight_cursor shown = c;
        if (anew)
            decide(&shown.turn.view, &shown.turn.memo, &shown.turn.verdict);
        put_turn(out, &shown, &prev, &leaves);
        prev = shown.turn;
    }
    flight_leaves_done(&leaves);
    return fflush(out) == 0 && ferror(out) == 0;
}

struct reader {
    struct flight *f;
    struct flight_leaves leaves;
    struct flight_turn turn, prev;
    struct flight_meta meta;
    bool begun;
};

static bool end_turn(struct reader *r, struct err *e)
{
    if (!r->begun)
        return true;
    if (!flight_sane(&r->leaves, &r->turn))
        return err_set(e, ERR_CORRUPT, "this turn makes no sense");
    r->meta.key = r->f->turns == 0;
    if (!flight_encode(&r->f->frames, &r->turn, r->f->turns == 0 ? NULL : &r->prev, &r->meta))
        return err_set(e, ERR_INVALID, "larger than a flight record can be");
    r->f->turns++;
    r->prev = r->turn;
    return true;
}

static bool hex_or_number(const char *word, int base, uint64_t *ret)
{
    int64_t i;
    if (base == 16)
        return str_to_hex64(word, ret);
    bool ok = str_to_i64(word, 0, INT64_MAX, &i);
    *ret = (uint64_t)i;
    return ok;
}

/* Cuts the next word off; NULL at the end. */
static const char *next_word(char **at)
{
    char *word = *at;
    if (*word == '\0')
        return NULL;
    char *end = word + strcspn(word, " ");
    *at = end + (*end == ' ');
    *end = '\0';
    return word;
}

static bool begin_turn(struct reader *r, char *words, struct err *e)
{
    const char *w;
    uint64_t v[3] = {0}, lost = 0;
    bool ok = true;
    r->meta = (struct flight_meta){0};
    for (int i = 0; ok && i < 3; i++) {
        w = next_word(&words);
        ok = w != NULL && hex_or_number(w, i == 0 ? 16 : 10, &v[i]);
    }
    while (ok && (w = next_word(&words)) != NULL) {
        if (str_eq(w, "held"))
            r->meta.held = true;
        else
            ok = str_starts(w, "lost=") && hex_or_number(w + 5, 10, &lost) && lost <= UINT32_MAX;
    }
    r->meta.run = v[0];
    r->meta.seq = v[1];
    r->meta.wall_us = (int64_t)v[2];
    r->meta.lost = (uint32_t)lost;
    r->begun = true;
    return ok || err_set(e, ERR_CORRUPT, "not a turn's line: turn RUN NUMBER TIME [held] [lost=N]");
}

static bool take_line(struct reader *r, char *line, struct err *e)
{
    if (line[0] == '\0' || line[0] == '#')
        return true;
    if (str_starts(line, "turn "))
        return end_turn(r, e) && begin_turn(r, line + 5, e);
    if (!r->begun && str_starts(line, "member "))
        return str_copy(r->f->header.member.s, HA_NAME_SIZE, line + 7) ||
               err_set(e, ERR_CORRUPT, "the member's name is too long");
    if (!r->begun && str_starts(line, "build "))
        return str_copy(r->f->header.build, FLIGHT_BUILD_SIZE, line + 6) ||
               err_set(e, ERR_CORRUPT, "the build's name is too long");
    char *eq = strchr(line, '=');
    if (!r->begun || eq == NULL)
        return err_set(e, ERR_CORRUPT, "neither a turn nor a field");
    *eq = '\0';
    const struct leaf *l = find(&r->leaves, line);
    if (l == NULL)
        return err_set(e, ERR_INVALID, "there is no field %.60s in this build", line);
    return flight_value_get(l, &r->turn, eq + 1) ||
           err_set(e, ERR_INVALID, "%.60s: \"%.60s\" is no value of it", line, eq + 1);
}

bool flight_from_text(struct flight *f, const char *text, size_t len, struct err *e)
{
    struct reader *r = calloc(1, sizeof *r);
    char *copy = malloc(len + 1);
    must(r != NULL && copy != NULL);
    memcpy(copy, text, len);
    copy[len] = '\0';
    flight_header_init(&f->header, &(struct ha_name){0}, 1);
    f->from_text = true;
    r->f = f;
    flight_leaves_init(&r->leaves);
    size_t n = 1;
    bool ok = strlen(copy) == len || err_set(e, ERR_CORRUPT, "there is a zero byte in the text");
    char *line = copy + sizeof first_line - 1;
    while (ok && line < copy + len) {
        char *end = line + strcspn(line, "\n");
        *end = '\0';
        n++;
        ok = take_line(r, line, e);
        line = end + 1;
    }
    ok = ok && end_turn(r, e);
    if (!ok)
        err_wrap(e, "line %zu", n);
    flight_leaves_done(&r->leaves);
    free(copy);
    free(r);
    return ok;
}
