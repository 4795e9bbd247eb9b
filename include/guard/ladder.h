/* How guard stops everything when it was asked to: a total table, state by event. Pure.
 *
 * The agent does the orderly part (hand-over, release of the lease). Guard acts by itself only when
 * there is no agent left to do it, or when its time is up. */
#ifndef PGHAD_GUARD_LADDER_H
#define PGHAD_GUARD_LADDER_H

enum ladder_state {
    LADDER_RUN,  /* nobody asked to stop */
    LADDER_ASKED, /* the agent knows and hands over */
    LADDER_FAST, /* no agent: fast stop of a server that is not writable */
    LADDER_OVER, /* everything is being killed */
    LADDER_STATES,
};

enum ladder_event {
    LADDER_TERM,              /* SIGTERM or SIGINT */
    LADDER_EXIT,              /* the agent says that it has finished */
    LADDER_AGENT_GONE,        /* agent ended, postgres cannot be writable */
    LADDER_AGENT_GONE_WRITER, /* agent ended, postgres may be writable */
    LADDER_LATE,              /* the time of this state is up, postgres cannot be writable */
    LADDER_LATE_WRITER,       /* the same, postgres may be writable */
    LADDER_EMPTY,             /* no server process is left */
    LADDER_EVENTS,
};

enum ladder_action {
    LADDER_NOTHING,
    LADDER_RESTART_AGENT, /* with back-off */
    LADDER_TELL_AGENT,    /* and start the grace period when this is the first time */
    LADDER_FAST_STOP,     /* SIGINT to the postmaster, start the time of the fast stop */
    LADDER_END,           /* kill everything, reap, exit */
};

struct ladder_step {
    enum ladder_state next;
    enum ladder_action action;
};

struct ladder_step ladder_step(enum ladder_state state, enum ladder_event event);
const char *ladder_state_name(enum ladder_state state);

#endif
