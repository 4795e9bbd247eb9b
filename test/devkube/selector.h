/* Label and field selectors of list and watch. */
#ifndef DEVKUBE_SELECTOR_H
#define DEVKUBE_SELECTOR_H

#include <stdbool.h>

#include "base/err.h"
#include "devkube/store.h"

struct selector;

/* labels and fields may be NULL. NULL with ERR_INVALID when either cannot be understood, or when
 * a field cannot be selected for this resource; otherwise owned by the caller. */
struct selector *selector_new(const struct resource *res, const char *labels, const char *fields,
                              struct err *e);
void selector_free(struct selector *s);
bool selector_match(const struct selector *s, const struct json_object *o);
/* The value demanded for metadata.name, or NULL: such requests are authorised by that name. */
const char *selector_name(const struct selector *s);

#endif
