/* Recorded turns through this program's core: the same again, or with other settings. */
#ifndef PGHAD_FLIGHT_REPLAY_H
#define PGHAD_FLIGHT_REPLAY_H

#include <stdio.h>

#include "base/err.h"
#include "flight/store.h"

/* Decides every turn anew and compares each field of the verdict. Differences go to out with the
 * name of the field, what was recorded and what came now. Returns the number of turns that differ. */
size_t flight_replay(const struct flight *f, FILE *out);

/* A row of the policy above the one that fired that wanted one fact more, or one less. */
struct flight_near {
    uint32_t rule;
    uint64_t missing; /* facts of which one was wanted */
    uint64_t present; /* the fact that should not have been */
};
/* Rows of which nothing at all held are not near. Returns how many, at most max. */
size_t flight_near(uint64_t facts, uint32_t fired, struct flight_near *ret, size_t max);

/* The settings of a turn with other values; false ends the run with *e. */
struct flight_settings {
    bool (*change)(void *ctx, const struct settings *was, struct settings *now, struct err *e);
    void *ctx;
};

/* A stretch of turns in which another rule would have fired. The world is the recorded one: what
 * another decision would have changed in it is not known, so the first stretch after a quiet time
 * says most. */
struct flight_stretch {
    int64_t from_us, to_us; /* first and last turn, 1970 */
    size_t turns;
    uint32_t recorded, other; /* rules of its first turn */
};
/* Calls fn for each stretch; *turns is the number of turns decided, *differ of those that differ. */
bool flight_what_if(const struct flight *f, const struct flight_settings *set,
                    void (*fn)(void *ctx, const struct flight_stretch *s), void *ctx, size_t *turns,
                    size_t *differ, struct err *e);

#endif
