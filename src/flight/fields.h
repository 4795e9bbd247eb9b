/* The description's own form, between fields.c and layout.c only. */
#ifndef PGHAD_FLIGHT_FIELDS_H
#define PGHAD_FLIGHT_FIELDS_H

#include "flight/layout.h"

struct field {
    const char *name;
    uint32_t offset; /* in its structure */
    uint16_t size;   /* of one element */
    uint16_t count;
    enum leaf_kind kind;
    const struct field *sub; /* NULL: a leaf */
    size_t n_sub;
};

/* The fields of struct flight_turn. */
const struct field *flight_fields(size_t *n);

#endif
