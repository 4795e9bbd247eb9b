/* JSON writer. Numbers are converted by hand: the hot path of the status server goes through here. */
#include "base/jw.h"

#include <string.h>

void jw_init(struct jw *j, struct buf *b)
{
    *j = (struct jw){.b = b};
}

size_t jw_utf8_len(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF)
        return (s[1] & 0xC0) == 0x80 ? 2 : 0;
    if ((s[0] & 0xF0) == 0xE0) {
        if ((s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80)
            return 0;
        if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F))
            return 0;
        return 3;
    }
    if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        if ((s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80 || (s[3] & 0xC0) != 0x80)
            return 0;
        if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
            return 0;
        return 4;
    }
    return 0;
}

static void put_escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char u[] = "\\u00__";
    switch (c) {
    case '"':
        buf_puts(b, "\\\"");
        return;
    case '\\':
        buf_puts(b, "\\\\");
        return;
    case '\n':
        buf_puts(b, "\\n");
        return;
    case '\t':
        buf_puts(b, "\\t");
        return;
    default:
        u[4] = hex[c >> 4];
        u[5] = hex[c & 15];
        buf_puts(b, u);
    }
}

static void put_string(struct buf *b, const char *s)
{
    buf_put(b, "\"", 1);
    while (*s) {
        size_t plain = 0;
        size_t n;
        while ((unsigned char)s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\' &&
               (n = jw_utf8_len(s + plain)) > 0)
            plain += n;
        buf_put(b, s, plain);
        s += plain;
        if (!*s)
            break;
        if ((unsigned char)*s >= 0x80)
            buf_puts(b, "\xEF\xBF\xBD");
        else
            put_escape(b, (unsigned char)*s);
        s++;
    }
    buf_put(b, "\"", 1);
}

static void begin(struct jw *j, const char *key)
{
    if (j->comma)
        buf_put(j->b, ",", 1);
    j->comma = true;
    if (key) {
        put_string(j->b, key);
        buf_put(j->b, ":", 1);
    }
}

static void open_with(struct jw *j, const char *key, const char *c)
{
    begin(j, key);
    buf_put(j->b, c, 1);
    j->comma = false;
}

static void close_with(struct jw *j, const char *c)
{
    buf_put(j->b, c, 1);
    j->comma = true;
}

void jw_object(struct jw *j, const char *key)
{
    open_with(j, key, "{");
}

void jw_object_end(struct jw *j)
{
    close_with(j, "}");
}

void jw_array(struct jw *j, const char *key)
{
    open_with(j, key, "[");
}

void jw_array_end(struct jw *j)
{
    close_with(j, "]");
}

void jw_string(struct jw *j, const char *key, const char *s)
{
    begin(j, key);
    put_string(j->b, s);
}

static void put_number(struct buf *b, uint64_t v, bool minus)
{
    char t[24];
    size_t i = sizeof(t);
    do {
        t[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    if (minus)
        t[--i] = '-';
    buf_put(b, t + i, sizeof(t) - i);
}

void jw_int(struct jw *j, const char *key, int64_t v)
{
    begin(j, key);
    put_number(j->b, v < 0 ? -(uint64_t)v : (uint64_t)v, v < 0);
}

void jw_uint(struct jw *j, const char *key, uint64_t v)
{
    begin(j, key);
    put_number(j->b, v, false);
}

void jw_bool(struct jw *j, const char *key, bool v)
{
    begin(j, key);
    buf_puts(j->b, v ? "true" : "false");
}

void jw_null(struct jw *j, const char *key)
{
    begin(j, key);
    buf_puts(j->b, "null");
}

void jw_raw(struct jw *j, const char *key, const char *json)
{
    begin(j, key);
    buf_puts(j->b, json);
}
