/* Cuts a byte stream into JSON values, wherever its chunks end. Pure. */
#ifndef PGHAD_SRC_KUBE_FRAME_H
#define PGHAD_SRC_KUBE_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct json_object;
struct json_tokener;

struct kube_frame {
    struct json_tokener *tok;
    size_t fed; /* bytes of the value that has begun */
    size_t max; /* bytes of one value */
};

void kube_frame_init(struct kube_frame *f, size_t max);
void kube_frame_done(struct kube_frame *f); /* accepts a zeroed one */

/* Takes bytes from data, *used of them. *ret is the next whole value (owned by the caller), or NULL
 * when all bytes are used up without one. false: not JSON, not an object, or too long; then the
 * stream is of no use any more. */
bool kube_frame_next(struct kube_frame *f, const char *data, size_t len, size_t *used,
                     struct json_object **ret, struct err *e);

#endif
