/* JSON patches: pure functions over trees. */
#ifndef DEVKUBE_PATCH_H
#define DEVKUBE_PATCH_H

#include <stdbool.h>

#include "base/err.h"
#include "devkube/jsonx.h"

/* RFC 7386; target is changed in place and must be an object. */
void patch_merge(struct json_object *target, const struct json_object *patch);

/* RFC 6902 add, replace, remove, test. Changes *doc, which may be replaced. On failure *doc is
 * half patched: ERR_INVALID for an unknown operation, ERR_CONFLICT when one fails. */
bool patch_json(struct json_object **doc, const struct json_object *patch, struct err *e);

#endif
