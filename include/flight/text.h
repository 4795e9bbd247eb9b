/* The text form of a flight record: one line per field that changed since the turn before, fields,
 * rules, facts and effects by name. It outlives changes of the structures, it can be read and cut by
 * hand, and it is what regression cases are kept as (test/golden). */
#ifndef PGHAD_FLIGHT_TEXT_H
#define PGHAD_FLIGHT_TEXT_H

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "flight/layout.h"

struct flight;

/* All fields, by offset. */
struct flight_leaves {
    struct leaf *v;
    size_t n;
};
void flight_leaves_init(struct flight_leaves *l);
void flight_leaves_done(struct flight_leaves *l);

/* A value as the text form has it. */
bool flight_value_put(struct buf *b, const struct leaf *l, const struct flight_turn *t);
/* False: no such word, or out of range. */
bool flight_value_get(const struct leaf *l, struct flight_turn *t, const char *text);
/* Texts end, counts are within their arrays, booleans are 0 or 1, times are no nonsense: decide() may
 * be given it. */
bool flight_sane(const struct flight_leaves *leaves, const struct flight_turn *t);

bool flight_is_text(const void *data, size_t len);
/* anew: with the verdicts of this program in place of the recorded ones. */
bool flight_to_text(const struct flight *f, bool anew, FILE *out);
/* f: zeroed but for its buffer. The error names the line. */
bool flight_from_text(struct flight *f, const char *text, size_t len, struct err *e);

#endif
