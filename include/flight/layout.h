/* One turn as the flight recorder sees it, and the description of its every field.
 *
 * The description (src/flight/fields.c) gives names to bytes: for the text form of a record, for
 * differences, for the layout's hash, and to leave out padding. A field that it lacks would be lost
 * in a record; test_flight proves that it lacks none. */
#ifndef PGHAD_FLIGHT_LAYOUT_H
#define PGHAD_FLIGHT_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"

struct flight_turn {
    struct view view;
    struct memo memo; /* as decide() got it; the one it made is verdict.memo */
    struct verdict verdict;
};

enum leaf_kind { LEAF_BOOL, LEAF_INT, LEAF_UINT, LEAF_TEXT };

/* What a field is for the question whether a turn differs from the one before. */
enum leaf_class {
    LEAF_LOUD,    /* every change counts */
    LEAF_AGE,     /* a time or a WAL position: only 0 against not 0 counts */
    LEAF_SILENT,  /* follows from others or changes all the time */
};

#define LEAF_PATH_SIZE 64

struct leaf {
    char path[LEAF_PATH_SIZE]; /* "view.lv.lease.epoch", "view.peer.2.name" */
    uint32_t offset;           /* in struct flight_turn */
    uint16_t size;             /* bytes */
    uint8_t kind;              /* enum leaf_kind */
    uint8_t class;             /* enum leaf_class */
};

/* Calls fn for each field in order of its offset. */
void flight_walk(void (*fn)(void *ctx, const struct leaf *l), void *ctx);
/* Equal if and only if a turn's bytes mean the same. */
uint64_t flight_layout_hash(void);
/* Of the rule table: two programs with the same one may still differ in what derives the facts. */
uint64_t flight_policy_hash(void);

struct span {
    uint32_t offset, size;
};

/* Fields of one class that follow each other without padding, as one. */
struct flight_spans {
    struct span *copy; /* all fields */
    size_t n_copy;
    struct span *loud, *age;
    size_t n_loud, n_age;
};
void flight_spans_init(struct flight_spans *s);
void flight_spans_done(struct flight_spans *s);

/* Zeroes all padding. */
void flight_clean(const struct flight_spans *s, struct flight_turn *t);
/* What is left of a turn when ages, positions and the pulse of renewals are taken away: two turns
 * with the same essence tell a reader the same. dst must not be src. */
void flight_essence(const struct flight_spans *s, struct flight_turn *dst,
                    const struct flight_turn *src);

#endif
