/* JSON writer onto a bounded buffer: commas and escapes, nothing else. A full buffer shows in
 * buf.overflow; callers check that once at the end. key is NULL inside arrays and at the top. */
#ifndef PGHAD_BASE_JW_H
#define PGHAD_BASE_JW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct jw {
    struct buf *b;
    bool comma; /* the next value follows another one */
};

void jw_init(struct jw *j, struct buf *b); /* appends to b */
void jw_object(struct jw *j, const char *key);
void jw_object_end(struct jw *j);
void jw_array(struct jw *j, const char *key);
void jw_array_end(struct jw *j);
/* Bytes that are not UTF-8 become U+FFFD, so that the output is always valid. */
void jw_string(struct jw *j, const char *key, const char *s);
void jw_int(struct jw *j, const char *key, int64_t v);
void jw_uint(struct jw *j, const char *key, uint64_t v);
void jw_bool(struct jw *j, const char *key, bool v);
void jw_null(struct jw *j, const char *key);
void jw_raw(struct jw *j, const char *key, const char *json); /* a complete value */

/* Length of the valid UTF-8 sequence that s begins with; 0 when there is none (cut, overlong,
 * surrogate). s must be NUL-terminated. */
size_t jw_utf8_len(const char *text);

#endif
