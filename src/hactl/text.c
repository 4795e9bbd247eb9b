/* Small texts for people, and JSON as YAML. */
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "hactl/render.h"

void put_clean(FILE *f, const char *text)
{
    for (; *text; text++)
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text, f);
}

const char *bytes_text(char *dst, size_t size, int64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;

    if (bytes < 0)
        return "-";
    if (bytes == 0)
        return "0";
    while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
        v /= 1024;
        u++;
    }
    return str_format(dst, size, u && v < 10 ? "%.1f %s" : "%.0f %s", v, units[u]) ? dst : "?";
}

const char *lsn_text(char *dst, size_t size, uint64_t lsn)
{
    if (lsn == 0)
        return "-";
    return str_format(dst, size, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn) ? dst : "?";
}

const char *stamp_text(char *dst, size_t size, int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    if (unix_s <= 0 || !gmtime_r(&t, &tm) || strftime(dst, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return "-";
    return dst;
}

const char *role_text(enum ha_role role)
{
    switch (role) {
    case ROLE_PRIMARY:
        return "primary";
    case ROLE_REPLICA:
        return "replica";
    case ROLE_UNKNOWN:
        break;
    }
    return "unknown";
}

static void indent(FILE *f, int depth)
{
    fprintf(f, "%*s", depth * 2, "");
}

static bool is_empty(struct json_object *o)
{
    if (json_object_is_type(o, json_type_object))
        return json_object_object_length(o) == 0;
    if (json_object_is_type(o, json_type_array))
        return json_object_array_length(o) == 0;
    return true;
}

static bool is_block(struct json_object *o)
{
    return (json_object_is_type(o, json_type_object) || json_object_is_type(o, json_type_array)) &&
           !is_empty(o);
}

/* Double-quoted YAML takes JSON's escapes, so JSON's own text of a scalar is always right. */
static void put_scalar(FILE *f, struct json_object *o)
{
    fputs(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
          f);
}

static void put_node(FILE *f, struct json_object *o, int depth, bool in_line);

static void put_map(FILE *f, struct json_object *o, int depth, bool in_line)
{
    const struct json_object_iterator end = json_object_iter_end(o);

    for (struct json_object_iterator it = json_object_iter_begin(o);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        struct json_object *value = json_object_iter_peek_value(&it);
        struct json_object *key = json_object_new_string(json_object_iter_peek_name(&it));
        const char *k = json_object_get_string(key);

        if (!in_line)
            indent(f, depth);
        in_line = false;
        if (k[strspn(k, "abcdefghijklmnopqrstuvwxyz_")] == '\0' && *k)
            fputs(k, f);
        else
            put_scalar(f, key);
        json_object_put(key);
        fputs(is_block(value) ? ":\n" : ": ", f);
        put_node(f, value, depth + 1, false);
    }
}

static void put_node(FILE *f, struct json_object *o, int depth, bool in_line)
{
    if (!is_block(o)) {
        put_scalar(f, o);
        fputc('\n', f);
    } else if (json_object_is_type(o, json_type_object)) {
        put_map(f, o, depth, in_line);
    } else {
        for (size_t i = 0; i < json_object_array_length(o); i++) {
            struct json_object *item = json_object_array_get_idx(o, i);
            indent(f, depth);
            fputs(json_object_is_type(item, json_type_array) && is_block(item) ? "-\n" : "- ", f);
            put_node(f, item, depth + 1, true);
        }
    }
}

void render_yaml(FILE *f, struct json_object *o)
{
    put_node(f, o, 0, false);
}

void render_document(struct session *s, struct json_object *o)
{
    if (s->output == OUTPUT_YAML)
        render_yaml(s->out, o);
    else
        fprintf(s->out, "%s\n",
                json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                      JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}
