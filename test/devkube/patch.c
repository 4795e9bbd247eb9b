/* RFC 7386 merge patch and the operations of RFC 6902 that clients of this API use. */
#include "devkube/patch.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

void patch_merge(struct json_object *target, const struct json_object *patch)
{
    for (struct lh_entry *e = jx_head(patch); e; e = e->next) {
        const char *key = jx_key(e);
        struct json_object *val = jx_val(e);
        if (!val)
            json_object_object_del(target, key);
        else if (json_object_is_type(val, json_type_object))
            patch_merge(jx_need(target, key), val);
        else
            jx_set(target, key, jx_copy(val));
    }
}

/* One step of a JSON pointer ("~1" is "/", "~0" is "~"); *p moves to the next slash or the end. */
static bool pointer_step(const char **p, char *key, size_t size)
{
    size_t n = 0;
    const char *s = *p + 1;
    for (; *s && *s != '/'; s++) {
        if (n + 1 >= size)
            return false;
        if (s[0] == '~' && (s[1] == '0' || s[1] == '1'))
            key[n++] = *++s == '0' ? '~' : '/';
        else
            key[n++] = *s;
    }
    key[n] = '\0';
    *p = s;
    return true;
}

static bool array_index(struct json_object *array, const char *key, bool insert, size_t *ret)
{
    int64_t i;
    size_t n = json_object_array_length(array);
    if (insert && str_eq(key, "-")) {
        *ret = n;
        return true;
    }
    if (!str_to_i64(key, 0, INT32_MAX, &i) || (size_t)i >= n + (insert ? 1 : 0))
        return false;
    *ret = (size_t)i;
    return true;
}

static bool child(struct json_object *o, const char *key, struct json_object **ret)
{
    size_t i;
    if (json_object_is_type(o, json_type_array)) {
        if (!array_index(o, key, false, &i))
            return false;
        *ret = json_object_array_get_idx(o, i);
        return true;
    }
    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, ret);
}

/* Inserts before index i; json-c 0.16 can only append or overwrite. */
static void array_insert(struct json_object *array, size_t i, struct json_object *val)
{
    size_t n = json_object_array_length(array);
    must(json_object_array_add(array, val) == 0);
    for (size_t k = n; k > i; k--) {
        struct json_object *before = json_object_get(json_object_array_get_idx(array, k - 1));
        struct json_object *here = json_object_get(json_object_array_get_idx(array, k));
        must(json_object_array_put_idx(array, k, before) == 0);
        must(json_object_array_put_idx(array, k - 1, here) == 0);
    }
}

/* The server's library lets "replace" create a member of an object. */
static bool apply_add(struct json_object *parent, const char *key, const struct json_object *val,
                      bool replace)
{
    size_t i;
    if (json_object_is_type(parent, json_type_object)) {
        jx_set(parent, key, jx_copy(val));
        return true;
    }
    if (!json_object_is_type(parent, json_type_array) || !array_index(parent, key, !replace, &i))
        return false;
    if (replace)
        must(json_object_array_put_idx(parent, i, jx_copy(val)) == 0);
    else
        array_insert(parent, i, jx_copy(val));
    return true;
}

static bool apply_remove(struct json_object *parent, const char *key)
{
    size_t i;
    struct json_object *old;
    if (!child(parent, key, &old))
        return false;
    if (json_object_is_type(parent, json_type_object)) {
        json_object_object_del(parent, key);
        return true;
    }
    return array_index(parent, key, false, &i) && json_object_array_del_idx(parent, i, 1) == 0;
}

static bool apply_whole(struct json_object **doc, const char *op, struct json_object *val)
{
    if (str_eq(op, "test"))
        return jx_equal(*doc, val);
    if (str_eq(op, "remove"))
        return false;
    json_object_put(*doc);
    *doc = jx_copy(val);
    return true;
}

static bool apply(struct json_object **doc, const char *op, const char *path,
                  struct json_object *val)
{
    char key[256] = "";
    struct json_object *at = *doc;
    struct json_object *found;
    if (*path == '\0')
        return apply_whole(doc, op, val);
    if (*path != '/' || !pointer_step(&path, key, sizeof(key)))
        return false;
    while (*path) {
        if (!child(at, key, &at) || !pointer_step(&path, key, sizeof(key)))
            return false;
    }
    if (str_eq(op, "remove"))
        return apply_remove(at, key);
    if (str_eq(op, "test"))
        return child(at, key, &found) ? jx_equal(found, val) : val == NULL;
    return apply_add(at, key, val, str_eq(op, "replace"));
}

bool patch_json(struct json_object **doc, const struct json_object *patch, struct err *e)
{
    static const char *const known[] = {"add", "replace", "remove", "test"};
    if (!json_object_is_type(patch, json_type_array))
        return err_set(e, ERR_INVALID, "a JSON patch is an array");
    for (size_t i = 0; i < json_object_array_length(patch); i++) {
        const struct json_object *step = json_object_array_get_idx(patch, i);
        const char *op = jx_str_or(step, "op", "");
        const char *path = jx_str(step, "path");
        bool served = false;
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
            served = served || str_eq(op, known[k]);
        if (!served || !path)
            return err_set(e, ERR_INVALID, "operation %zu: \"%.32s\" is not served", i, op);
        if (!apply(doc, op, path, jx_get(step, "value")))
            return err_set(e, ERR_CONFLICT, "operation %zu (%s %.100s) failed", i, op, path);
    }
    return true;
}
