#include "hactl/jget.h"

#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "base/str.h"

struct json_object *jget(struct json_object *o, ...)
{
    va_list ap;
    const char *key;

    va_start(ap, o);
    while (o && (key = va_arg(ap, const char *))) {
        struct json_object *next = NULL;
        if (!json_object_is_type(o, json_type_object) ||
            !json_object_object_get_ex(o, key, &next))
            next = NULL;
        o = next;
    }
    va_end(ap);
    return o;
}

const char *jtext(struct json_object *o)
{
    return json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";
}

int64_t jint(struct json_object *o, int64_t otherwise)
{
    int64_t v;

    if (json_object_is_type(o, json_type_int))
        return json_object_get_int64(o);
    if (json_object_is_type(o, json_type_string) &&
        str_to_i64(json_object_get_string(o), INT64_MIN, INT64_MAX, &v))
        return v;
    return otherwise;
}

bool jbool(struct json_object *o, bool otherwise)
{
    return json_object_is_type(o, json_type_boolean) ? json_object_get_boolean(o) != 0 : otherwise;
}

void jcopy(char *dst, size_t size, struct json_object *o)
{
    const char *s = json_object_is_type(o, json_type_int) ? json_object_get_string(o) : jtext(o);
    size_t n = strlen(s);

    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80) /* not inside a UTF-8 character */
            n--;
    }
    memcpy(dst, s, n);
    dst[n] = '\0';
}

struct json_object *jparse(const char *text, size_t len)
{
    struct json_tokener *t;
    struct json_object *o;

    if (len > INT_MAX || !(t = json_tokener_new_ex(32)))
        return NULL;
    o = json_tokener_parse_ex(t, text, (int)len);
    if (json_tokener_get_error(t) != json_tokener_success || json_tokener_get_parse_end(t) != len) {
        json_object_put(o);
        o = NULL;
    }
    json_tokener_free(t);
    return o;
}
