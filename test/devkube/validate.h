/* What the real server refuses in the objects the product writes: types (400) and values (422). */
#ifndef DEVKUBE_VALIDATE_H
#define DEVKUBE_VALIDATE_H

#include "base/err.h"
#include "devkube/reply.h"

/* Type errors that decoding into the server's structs would meet, in its words.
 * Removes nulls, empty label maps, managedFields, and what a Lease's spec does not know. */
bool validate_decode(const struct resource *res, struct json_object *o, struct err *e);
/* Value errors; false: rp holds the 422. */
bool validate_object(const struct resource *res, const char *name, const struct json_object *o,
                     struct reply *rp);

#endif
