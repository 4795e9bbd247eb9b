/* What an operator asked for, and how it went. Plain fixed-size data without pointers.
 *
 * An intent lies in the ConfigMap (`intent`), its result beside it (`intent-result`). One intent
 * at a time: who gives a new one first looks whether the old one is still open (kube/intent.h).
 * Members only write results; an intent stays until hactl withdraws or replaces it.
 *
 * Who acts and writes the result: SWITCHOVER, FAILOVER: the holder of the Lease (FAILOVER without a
 * holder that answers: the target); RESTART, REINIT, RELOAD: the member named. A RELOAD of all is done by
 * every member and reported by the holder. After a switch
 * the new primary completes the result that the old one left in state RUNNING, by its id.
 *
 * An intent is for one epoch: a leader of another epoch never begins it. Stamps are wall clock
 * (seconds since 1970) because people give them; they only ever end an intent early. */
#ifndef PGHAD_CORE_INTENT_H
#define PGHAD_CORE_INTENT_H

#include "core/types.h"

#define INTENT_BY_SIZE 64
#define INTENT_TEXT_SIZE 256

enum intent_kind {
    INTENT_NONE,
    INTENT_SWITCHOVER, /* target "" = the best standby */
    INTENT_FAILOVER,   /* target is mandatory */
    INTENT_RESTART,    /* postgres of the target; the primary by promise 5 */
    INTENT_REINIT,     /* new clone of the target; refused for the holder */
    INTENT_RELOAD,     /* settings read again; target "" = every member */
};

struct intent {
    uint64_t id; /* random; 0 = none */
    enum intent_kind kind;
    uint64_t epoch;       /* of the Lease when it was given */
    int64_t created_s;    /* 1970 */
    int64_t expires_s;    /* 1970; not begun by then: it is dead */
    struct ha_name target; /* member, "" = any */
    bool force;            /* skip soft refusals (lag, long transactions), never a promise */
    bool accept_loss;      /* FAILOVER: the target's own copy is enough; what only silent voters hold is given up */
    char created_by[INTENT_BY_SIZE]; /* for people */
};

enum intent_state {
    INTENT_STATE_NONE,
    INTENT_ACCEPTED, /* seen, checks under way: may still be refused */
    INTENT_RUNNING,  /* something has been changed */
    INTENT_DONE,
    INTENT_FAILED,  /* begun and not reached; the message says what holds now */
    INTENT_REFUSED, /* nothing was changed; the message is the reason */
};

enum intent_phase {
    PHASE_PREFLIGHT,   /* checks of the request */
    PHASE_CHECKPOINT,  /* CHECKPOINT while serving */
    PHASE_STOP,        /* writes end, until the target has flushed the shutdown record */
    PHASE_RELEASE,     /* the last process reaped, Lease released */
    PHASE_DETECT,      /* history only: end of writes until the Lease is in the new primary's hand */
    PHASE_ACQUIRE,     /* Lease taken, second compare-and-swap done */
    PHASE_PROMOTE,     /* until pg_is_in_recovery() = false */
    PHASE_FIRST_WRITE, /* clients admitted, first write of our own acknowledged */
    PHASE_START,       /* RESTART: postgres serves again */
    PHASE_CLONE,       /* REINIT: copy of the data directory */
    PHASE_STREAM,      /* REINIT: until it streams */
    PHASE_COUNT,
};

struct intent_result {
    uint64_t id; /* of the intent; 0 = no result */
    enum intent_kind kind;
    enum intent_state state;
    enum intent_phase phase;       /* the one under way, or the last one */
    int64_t updated_s;             /* 1970 */
    int32_t phase_ms[PHASE_COUNT]; /* -1 = not reached or not part of this operation */
    int32_t total_ms;              /* -1 = unknown */
    int32_t write_gap_ms;          /* nobody could write for at most this long; -1 = unknown */
    struct ha_name primary;        /* who is primary now, "" = nobody or unknown */
    char message[INTENT_TEXT_SIZE]; /* what happened and why */
    char hint[INTENT_TEXT_SIZE];    /* what to do, may be "" */
};

#endif
