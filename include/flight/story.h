/* A recorded turn in words: what was known, which rule fired, which nearly did, what was done. */
#ifndef PGHAD_FLIGHT_STORY_H
#define PGHAD_FLIGHT_STORY_H

#include <stdio.h>

#include "flight/store.h"

#define FLIGHT_STAMP_SIZE 32

/* "2026-11-21T08:12:03.120Z" */
void flight_stamp(char dst[FLIGHT_STAMP_SIZE], int64_t unix_us);
/* Such a stamp; the fraction and the Z may be missing, a blank may stand for the T. The
 * end of its millisecond. */
bool flight_stamp_parse(const char *text, int64_t *ret_us);

/* One line for each change of the rule (or of the process that recorded). */
void flight_tell_story(FILE *out, const struct flight *f);
/* Everything about one turn. */
void flight_tell_turn(FILE *out, const struct flight_cursor *c);
/* The last turn at or before that time; false: the record begins later (c is its first turn). */
bool flight_seek(struct flight_cursor *c, const struct flight *f, int64_t at_us);

#endif
