/* Helpers over json-c. Nothing here knows about Kubernetes. */
#include "devkube/jsonx.h"

#include <string.h>

#include "base/must.h"

#define DEPTH_MAX 64

/* json-c declares its readers without const; counting references and caching texts do not change
 * the value. */
static struct json_object *unconst(const struct json_object *o)
{
    return (struct json_object *)(uintptr_t)o;
}

struct json_object *jx_get(const struct json_object *o, const char *key)
{
    struct json_object *val = NULL;
    if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &val))
        return NULL;
    return val;
}

struct json_object *jx_path(const struct json_object *o, const char *path)
{
    char key[128];
    for (;;) {
        size_t n = strcspn(path, ".");
        must(n < sizeof(key));
        memcpy(key, path, n);
        key[n] = '\0';
        struct json_object *val = jx_get(o, key);
        if (path[n] == '\0' || !val)
            return val;
        o = val;
        path += n + 1;
    }
}

const char *jx_str(const struct json_object *o, const char *path)
{
    return jx_value(jx_path(o, path));
}

const char *jx_str_or(const struct json_object *o, const char *path, const char *otherwise)
{
    const char *s = jx_str(o, path);
    return s ? s : otherwise;
}

int64_t jx_int(const struct json_object *o, const char *path, int64_t otherwise)
{
    struct json_object *val = jx_path(o, path);
    return json_object_is_type(val, json_type_int) ? json_object_get_int64(val) : otherwise;
}

bool jx_bool(const struct json_object *o, const char *path)
{
    struct json_object *val = jx_path(o, path);
    return json_object_is_type(val, json_type_boolean) && json_object_get_boolean(val);
}

void jx_set(struct json_object *o, const char *key, struct json_object *val)
{
    must(json_object_object_add(o, key, val) == 0);
}

void jx_set_str(struct json_object *o, const char *key, const char *s)
{
    if (s)
        jx_set(o, key, json_object_new_string(s));
}

void jx_set_int(struct json_object *o, const char *key, int64_t v)
{
    jx_set(o, key, json_object_new_int64(v));
}

struct json_object *jx_need(struct json_object *o, const char *key)
{
    struct json_object *val = jx_get(o, key);
    if (!json_object_is_type(val, json_type_object)) {
        val = json_object_new_object();
        jx_set(o, key, val);
    }
    return val;
}

struct json_object *jx_copy(const struct json_object *o)
{
    struct json_object *dst = NULL;
    if (!o)
        return NULL;
    must(json_object_deep_copy(unconst(o), &dst, NULL) == 0);
    return dst;
}

void jx_strip_nulls(struct json_object *o)
{
    if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++)
            jx_strip_nulls(json_object_array_get_idx(o, i));
        return;
    }
    for (struct lh_entry *e = jx_head(o), *next; e; e = next) {
        next = e->next;
        if (jx_val(e))
            jx_strip_nulls(jx_val(e));
        else
            json_object_object_del(o, jx_key(e));
    }
}

struct json_object *jx_parse(const char *text, size_t len)
{
    if (len > INT32_MAX)
        return NULL;
    struct json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
    must(tok);
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    struct json_object *o = json_tokener_parse_ex(tok, text, (int)len);
    if (json_tokener_get_error(tok) == json_tokener_continue) {
        /* A bare number ends only at the terminator. */
        json_object_put(o);
        o = json_tokener_parse_ex(tok, "", 1);
    }
    if (json_tokener_get_error(tok) != json_tokener_success) {
        json_object_put(o);
        o = NULL;
    }
    json_tokener_free(tok);
    return o;
}

const char *jx_text(const struct json_object *o)
{
    return json_object_to_json_string_ext(unconst(o), JX_PLAIN);
}

const char *jx_value(const struct json_object *o)
{
    return json_object_is_type(o, json_type_string) ? json_object_get_string(unconst(o)) : NULL;
}

bool jx_equal(const struct json_object *a, const struct json_object *b)
{
    return json_object_equal(unconst(a), unconst(b)) != 0;
}

struct lh_entry *jx_head(const struct json_object *o)
{
    return json_object_is_type(o, json_type_object) ? json_object_get_object(o)->head : NULL;
}

const char *jx_key(const struct lh_entry *e)
{
    return (const char *)e->k;
}

struct json_object *jx_val(const struct lh_entry *e)
{
    /* lh_table keeps values as const void *; the table owns a mutable object. */
    return (struct json_object *)(uintptr_t)e->v;
}
