/* JSON writer onto a bounded buffer: commas and escapes, nothing else. A full buffer shows in
 * buf.overflow; callers check that once at the end. key is NULL inside arrays and at the top. */
#ifndef PGHAD_BASE_JSON_H
#define PGHAD_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct json {
    struct buf *b;
    bool comma; /* the next value follows another one */
};

void json_init(struct json *j, struct buf *b); /* appends to b */
void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);
/* Bytes that are not UTF-8 become U+FFFD, so that the output is always valid. */
void json_string(struct json *j, const char *key, const char *s);
void json_int(struct json *j, const char *key, int64_t v);
void json_uint(struct json *j, const char *key, uint64_t v);
void json_bool(struct json *j, const char *key, bool v);
void json_null(struct json *j, const char *key);
void json_raw(struct json *j, const char *key, const char *json); /* a complete value */

#endif
