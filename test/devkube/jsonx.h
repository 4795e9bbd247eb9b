/* Small helpers over json-c: lookups that accept NULL and wrong types, so that callers stay flat.
 *
 * Strings and objects returned are borrowed from the object asked. */
#ifndef DEVKUBE_JSONX_H
#define DEVKUBE_JSONX_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JX_PLAIN (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

struct json_object *jx_get(const struct json_object *o, const char *key);
/* Walks the keys of a dotted path, "metadata.name"; for keys that contain dots use jx_get. */
struct json_object *jx_path(const struct json_object *o, const char *path);
const char *jx_str(const struct json_object *o, const char *path); /* NULL unless a string */
const char *jx_str_or(const struct json_object *o, const char *path, const char *otherwise);
int64_t jx_int(const struct json_object *o, const char *path, int64_t otherwise);
bool jx_bool(const struct json_object *o, const char *path);

void jx_set(struct json_object *o, const char *key, struct json_object *val); /* takes val */
void jx_set_str(struct json_object *o, const char *key, const char *s);       /* NULL: no key */
void jx_set_int(struct json_object *o, const char *key, int64_t v);
/* The member object of that name, created when absent or of another type. */
struct json_object *jx_need(struct json_object *o, const char *key);

struct json_object *jx_copy(const struct json_object *o); /* deep; owned by the caller */
/* Removes members that are null, at every depth, as decoding into Go structs does. */
void jx_strip_nulls(struct json_object *o);
/* The whole text as one JSON value, nothing after it but blanks; NULL when it is not. */
struct json_object *jx_parse(const char *text, size_t len);
const char *jx_text(const struct json_object *o);
const char *jx_value(const struct json_object *o); /* of a string; NULL for any other type */
bool jx_equal(const struct json_object *a, const struct json_object *b);

/* Iteration that allows no insertion, and removal of the entry only after stepping. */
struct lh_entry *jx_head(const struct json_object *o);
const char *jx_key(const struct lh_entry *e);
struct json_object *jx_val(const struct lh_entry *e);

#endif
