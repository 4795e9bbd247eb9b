/* Strict reading of JSON objects; shared by the files of this area only. */
#ifndef PGHAD_SRC_KUBE_JX_H
#define PGHAD_SRC_KUBE_JX_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/types.h"

#define JX_DEPTH 64 /* a pod with managedFields inside a watch event needs more than json-c's 32 */

/* Exactly one JSON object and nothing after it; *ret is owned by the caller. */
bool jx_parse(const char *text, size_t len, struct json_object **ret, struct err *e);

/* Member of an object; NULL when o is no object, the key is absent or its value null. */
struct json_object *jx_get(struct json_object *o, const char *key);
/* Through nested objects; keys end with NULL. */
struct json_object *jx_path(struct json_object *o, ...) __attribute__((sentinel));
/* Text of a string without NUL bytes inside, or NULL. Borrowed. */
const char *jx_text(struct json_object *o);

/* Member of an object into a field. Absent or null: false when required, otherwise the field is left
 * alone. Anything else than a fitting value of the right type is ERR_CORRUPT. */
bool jx_take_str(struct json_object *o, const char *key, bool required, char *dst, size_t size,
                 struct err *e);
bool jx_take_name(struct json_object *o, const char *key, bool required, struct ha_name *dst,
                  struct err *e);
bool jx_take_int(struct json_object *o, const char *key, bool required, int64_t min, int64_t max,
                 int64_t *dst, struct err *e);
bool jx_take_bool(struct json_object *o, const char *key, bool required, bool *dst, struct err *e);
bool jx_take_hex(struct json_object *o, const char *key, bool required, uint64_t *dst,
                 struct err *e); /* exactly 16 digits */
bool jx_take_lsn(struct json_object *o, const char *key, bool required, uint64_t *dst,
                 struct err *e); /* "X/X" */

/* The member as an object, created when it is absent or something else. */
struct json_object *jx_object_in(struct json_object *o, const char *key);
void jx_set_text(struct json_object *o, const char *key, const char *value);
void jx_set_int(struct json_object *o, const char *key, int64_t value);
/* Appends it, compact. */
bool jx_print(struct json_object *o, struct buf *b);
struct json_object *jx_copy(struct json_object *o); /* deep; owned by the caller */

#endif
