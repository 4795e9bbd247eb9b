/* The stop table. A writer is never stopped by signal here: a fast stop turns commits that wait for
 * a standby into visible ones, so without an agent a writer is killed and recovers at its restart. */
#include "guard/ladder.h"

#include "base/must.h"

#define STEP(n, a) {.next = LADDER_##n, .action = LADDER_##a}

static const struct ladder_step table[LADDER_STATES][LADDER_EVENTS] = {
    [LADDER_RUN] =
        {
            [LADDER_TERM] = STEP(ASKED, TELL_AGENT),
            [LADDER_EXIT] = STEP(OVER, END),
            [LADDER_AGENT_GONE] = STEP(RUN, RESTART_AGENT),
            [LADDER_AGENT_GONE_WRITER] = STEP(RUN, RESTART_AGENT),
            [LADDER_LATE] = STEP(RUN, NOTHING),
            [LADDER_LATE_WRITER] = STEP(RUN, NOTHING),
            [LADDER_EMPTY] = STEP(RUN, NOTHING),
        },
    [LADDER_ASKED] =
        {
            [LADDER_TERM] = STEP(ASKED, TELL_AGENT),
            [LADDER_EXIT] = STEP(OVER, END),
            [LADDER_AGENT_GONE] = STEP(FAST, FAST_STOP),
            [LADDER_AGENT_GONE_WRITER] = STEP(OVER, END),
            [LADDER_LATE] = STEP(FAST, FAST_STOP),
            [LADDER_LATE_WRITER] = STEP(OVER, END),
            /* The agent still has to release the lease. */
            [LADDER_EMPTY] = STEP(ASKED, NOTHING),
        },
    [LADDER_FAST] =
        {
            [LADDER_TERM] = STEP(FAST, NOTHING),
            [LADDER_EXIT] = STEP(OVER, END),
            [LADDER_AGENT_GONE] = STEP(FAST, NOTHING),
            [LADDER_AGENT_GONE_WRITER] = STEP(OVER, END),
            [LADDER_LATE] = STEP(OVER, END),
            [LADDER_LATE_WRITER] = STEP(OVER, END),
            [LADDER_EMPTY] = STEP(OVER, END),
        },
    [LADDER_OVER] =
        {
            [LADDER_TERM] = STEP(OVER, END),
            [LADDER_EXIT] = STEP(OVER, END),
            [LADDER_AGENT_GONE] = STEP(OVER, END),
            [LADDER_AGENT_GONE_WRITER] = STEP(OVER, END),
            [LADDER_LATE] = STEP(OVER, END),
            [LADDER_LATE_WRITER] = STEP(OVER, END),
            [LADDER_EMPTY] = STEP(OVER, END),
        },
};

struct ladder_step ladder_step(enum ladder_state state, enum ladder_event event)
{
    must((unsigned)state < LADDER_STATES && (unsigned)event < LADDER_EVENTS);
    return table[state][event];
}

const char *ladder_state_name(enum ladder_state state)
{
    static const char *const names[LADDER_STATES] = {
        [LADDER_RUN] = "run",
        [LADDER_ASKED] = "asked",
        [LADDER_FAST] = "fast",
        [LADDER_OVER] = "over",
    };
    must((unsigned)state < LADDER_STATES);
    return names[state];
}
