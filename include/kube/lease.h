/* The Lease object: JSON of the API to and from struct lease.
 *
 * The object as last read is kept whole, so that a PUT carries uid, resourceVersion and every field
 * that is not ours (Kubernetes API conventions: PUT replaces the object). Ours are spec and the
 * annotations pghad.io/record, pghad.io/release, pghad.io/fresh. */
#ifndef PGHAD_KUBE_LEASE_H
#define PGHAD_KUBE_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/types.h"

#define KUBE_RV_SIZE 64
#define KUBE_LEASE_MAX (256 * 1024) /* bytes of a Lease object */
#define ANNOTATION_RECORD "pghad.io/record"
#define ANNOTATION_RELEASE "pghad.io/release"
#define ANNOTATION_FRESH "pghad.io/fresh"

struct json_object;

/* Zeroed = nothing read yet (and lease.exists false). */
struct kube_lease {
    struct lease lease;
    char name[HA_NAME_SIZE * 4];
    char rv[KUBE_RV_SIZE];   /* resourceVersion: compare for equality only */
    char uid[HA_UID_SIZE];   /* of the object */
    /* A record or release that could not be read counts as absent; why is told here (kind NONE: all
     * well). Holder and epoch must not become invisible because of it. */
    struct err damage;
    struct json_object *raw; /* owned; NULL when it does not exist */
};

void kube_lease_done(struct kube_lease *l); /* accepts a zeroed one; zeroes */
void kube_lease_copy(struct kube_lease *dst, const struct kube_lease *src);

/* Takes a reference to obj on success; *ret is replaced on success only. ERR_CORRUPT: not a Lease,
 * or one with parts of wrong types. A Lease without a record is valid. */
bool kube_lease_decode(struct json_object *obj, struct kube_lease *ret, struct err *e);
bool kube_lease_parse(const char *text, size_t len, struct kube_lease *ret, struct err *e);

/* Appends the body of a PUT that changes *last into *want. acquireTime changes with the epoch or the
 * holder; renewTime is wall_us, raised where needed so that it differs from the last one (a PUT
 * without any change is not a write). */
bool kube_lease_build(const struct kube_lease *last, const struct lease *want, int64_t wall_us,
                      struct buf *b, struct err *e);
/* Appends the body of a POST. */
bool kube_lease_build_new(const char *ns, const char *name, const struct lease *want,
                          int64_t wall_us, struct buf *b, struct err *e);

#endif
