/* Reading JSON that others wrote: a missing or mistyped value is the default, never a crash. */
#ifndef PGHAD_HACTL_JGET_H
#define PGHAD_HACTL_JGET_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Follows keys from o; the last argument is NULL. Borrowed; NULL when a step is missing. */
struct json_object *jget(struct json_object *o, ...) __attribute__((sentinel));
const char *jtext(struct json_object *o); /* "" unless a string */
int64_t jint(struct json_object *o, int64_t otherwise); /* also from a string of digits */
bool jbool(struct json_object *o, bool otherwise);
/* Copies a text; one that does not fit is cut, since it is only shown. Numbers become digits. */
void jcopy(char *dst, size_t size, struct json_object *o);
/* NULL when text is not one JSON value; owned by the caller. */
struct json_object *jparse(const char *text, size_t len);

#endif
