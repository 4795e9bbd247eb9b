/* json-c with types checked: json_object_get_* convert silently, which is not what a protocol wants. */
#include "jx.h"

#include <stdarg.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

bool jx_parse(const char *text, size_t len, struct json_object **ret, struct err *e)
{
    struct json_tokener *tok;
    struct json_object *o;
    enum json_tokener_error why;
    size_t used;

    if (len > INT32_MAX / 2)
        return err_set(e, ERR_CORRUPT, "JSON of %zu bytes", len);
    tok = json_tokener_new_ex(JX_DEPTH);
    must(tok);
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    o = json_tokener_parse_ex(tok, text, (int)len);
    why = json_tokener_get_error(tok);
    used = json_tokener_get_parse_end(tok);
    json_tokener_free(tok);
    if (why != json_tokener_success) {
        json_object_put(o);
        return err_set(e, ERR_CORRUPT, "not JSON at byte %zu: %s", used,
                       why == json_tokener_continue ? "it ends early"
                                                    : json_tokener_error_desc(why));
    }
    if (!json_object_is_type(o, json_type_object) || used < len) {
        json_object_put(o);
        return err_set(e, ERR_CORRUPT, "not one JSON object");
    }
    *ret = o;
    return true;
}

struct json_object *jx_get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    if (!json_object_is_type(o, json_type_object))
        return NULL;
    json_object_object_get_ex(o, key, &v);
    return v;
}

struct json_object *jx_path(struct json_object *o, ...)
{
    va_list ap;
    const char *key;

    va_start(ap, o);
    while (o && (key = va_arg(ap, const char *)))
        o = jx_get(o, key);
    va_end(ap);
    return o;
}

const char *jx_text(struct json_object *o)
{
    const char *s;

    if (!json_object_is_type(o, json_type_string))
        return NULL;
    s = json_object_get_string(o);
    return strlen(s) == (size_t)json_object_get_string_len(o) ? s : NULL;
}

/* False when the caller has to stop, with *v or the error set; true with *v NULL: nothing to do. */
static bool find(struct json_object *o, const char *key, bool required, struct json_object **v,
                 struct err *e)
{
    *v = jx_get(o, key);
    if (!*v && required)
        return err_set(e, ERR_CORRUPT, "%s: missing", key);
    return true;
}

bool jx_take_str(struct json_object *o, const char *key, bool required, char *dst, size_t size,
                 struct err *e)
{
    struct json_object *v;
    const char *s;

    if (!find(o, key, required, &v, e))
        return false;
    if (!v)
        return true;
    s = jx_text(v);
    if (!s)
        return err_set(e, ERR_CORRUPT, "%s: not a text", key);
    if (strlen(s) >= size)
        return err_set(e, ERR_CORRUPT, "%s: longer than %zu bytes", key, size - 1);
    memset(dst, 0, size);
    memcpy(dst, s, strlen(s));
    return true;
}

bool jx_take_name(struct json_object *o, const char *key, bool required, struct ha_name *dst,
                  struct err *e)
{
    return jx_take_str(o, key, required, dst->s, sizeof(dst->s), e);
}

bool jx_take_int(struct json_object *o, const char *key, bool required, int64_t min, int64_t max,
                 int64_t *dst, struct err *e)
{
    struct json_object *v;
    int64_t n;

    if (!find(o, key, required, &v, e))
        return false;
    if (!v)
        return true;
    if (!json_object_is_type(v, json_type_int))
        return err_set(e, ERR_CORRUPT, "%s: not a whole number", key);
    n = json_object_get_int64(v);
    if (n < min || n > max)
        return err_set(e, ERR_CORRUPT, "%s: out of range", key);
    *dst = n;
    return true;
}

bool jx_take_bool(struct json_object *o, const char *key, bool required, bool *dst, struct err *e)
{
    struct json_object *v;

    if (!find(o, key, required, &v, e))
        return false;
    if (!v)
        return true;
    if (!json_object_is_type(v, json_type_boolean))
        return err_set(e, ERR_CORRUPT, "%s: neither true nor false", key);
    *dst = json_object_get_boolean(v);
    return true;
}

bool jx_take_hex(struct json_object *o, const char *key, bool required, uint64_t *dst,
                 struct err *e)
{
    char s[17] = "";
    uint64_t n;

    if (!jx_take_str(o, key, required, s, sizeof(s), e))
        return false;
    if (!jx_get(o, key))
        return true;
    if (strlen(s) != 16 || !str_to_hex64(s, &n))
        return err_set(e, ERR_CORRUPT, "%s: not 16 hexadecimal digits", key);
    *dst = n;
    return true;
}

bool jx_take_lsn(struct json_object *o, const char *key, bool required, uint64_t *dst,
                 struct err *e)
{
    char s[18] = "";
    char *slash;
    uint64_t high, low;

    if (!jx_take_str(o, key, required, s, sizeof(s), e))
        return false;
    if (!jx_get(o, key))
        return true;
    slash = strchr(s, '/');
    if (!slash)
        return err_set(e, ERR_CORRUPT, "%s: not an LSN", key);
    *slash = '\0';
    if (!str_to_hex64(s, &high) || !str_to_hex64(slash + 1, &low) || high > UINT32_MAX ||
        low > UINT32_MAX)
        return err_set(e, ERR_CORRUPT, "%s: not an LSN", key);
    *dst = high << 32 | low;
    return true;
}

struct json_object *jx_object_in(struct json_object *o, const char *key)
{
    struct json_object *v = jx_get(o, key);

    if (json_object_is_type(v, json_type_object))
        return v;
    v = json_object_new_object();
    must(v);
    must(json_object_object_add(o, key, v) == 0);
    return v;
}

void jx_set_text(struct json_object *o, const char *key, const char *value)
{
    struct json_object *v = json_object_new_string(value);

    must(v);
    must(json_object_object_add(o, key, v) == 0);
}

void jx_set_int(struct json_object *o, const char *key, int64_t value)
{
    struct json_object *v = json_object_new_int64(value);

    must(v);
    must(json_object_object_add(o, key, v) == 0);
}

bool jx_print(struct json_object *o, struct buf *b)
{
    const char *s =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

    must(s);
    return buf_puts(b, s);
}

struct json_object *jx_copy(struct json_object *o)
{
    struct json_object *c = NULL;

    must(json_object_deep_copy(o, &c, NULL) == 0);
    return c;
}
