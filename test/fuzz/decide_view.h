/* Views for fuzz_decide: a sound one to begin with, and single fields changed within their ranges. */
#ifndef PGHAD_TEST_DECIDE_VIEW_H
#define PGHAD_TEST_DECIDE_VIEW_H

#include "core/core.h"
#include "fuzz.h"

/* Member i (0 to 2) of a healthy cluster of three whose primary is db-0; i = 3: a member that has
 * just started and knows nothing. */
void view_base(struct view *v, struct memo *m, unsigned i);
/* Changes one field of the view, or of the memo, as the input says. */
void view_change(struct view *v, struct memo *m, struct input *in);
/* One turn, held against the promises: aborts where one is broken. The memo becomes the verdict's. */
void decide_checked(const struct view *v, struct memo *m, struct verdict *ret);

#endif
