/* The decision core: decide(view, memo) -> verdict.
 *
 * Pure: no system call, clock, allocation or static state; the build checks it. All policy of
 * election, failover, switchover and replication is here, and nowhere else. */
#ifndef PGHAD_CORE_CORE_H
#define PGHAD_CORE_CORE_H

#include "core/view.h"

/* What the adapters are to do or keep so. Each is idempotent and reports only through the next view. */
enum effect {
    EFF_LEASE_GET = 1u << 0,      /* linearizable read now */
    EFF_LEASE_WRITE = 1u << 1,    /* verdict.write: at most one in flight */
    EFF_FENCE = 1u << 2,          /* deadline passed, SIGKILL all but the agent */
    EFF_PROMISES = 1u << 3,       /* ask every listed member for a promise */
    EFF_VOTES = 1u << 4,          /* ask every member of V to detach and report for verdict.epoch */
    EFF_PEERS = 1u << 5,          /* ask peers for their state, fast */
    EFF_PG_START = 1u << 6,       /* start as a standby (standby.signal), never otherwise */
    EFF_PG_STOP = 1u << 7,        /* fast stop */
    EFF_DETACH = 1u << 8,         /* for verdict.epoch, which is made durable first */
    EFF_FOLLOW = 1u << 9,         /* stream from verdict.upstream with verdict.epoch; a member that is
                                   * not the recorded writer has no slot for us */
    EFF_INITDB = 1u << 10,
    EFF_CLONE = 1u << 11,
    EFF_REWIND = 1u << 12,
    EFF_WALEND = 1u << 13,        /* find the end of local WAL of a stopped server */
    EFF_SSN = 1u << 14,           /* verdict.ssn: write, reload, verify, gather the proof of effect */
    EFF_CLOSE = 1u << 15,         /* hba refuses clients */
    EFF_OPEN = 1u << 16,          /* hba admits clients */
    EFF_STRIP = 1u << 17,         /* remove role=primary from other pods; a refusal is an alarm only */
    EFF_LABEL_PRIMARY = 1u << 18,
    EFF_LABEL_REPLICA = 1u << 19,
    EFF_UNLABEL = 1u << 20,
    EFF_END_CLIENTS = 1u << 21,   /* end own read-only clients before a promotion */
    EFF_PROMOTE = 1u << 22,       /* to verdict.timeline, wake-up repeated */
    EFF_CHECKPOINT = 1u << 23,
    EFF_DROP_SENDERS = 1u << 24,  /* end walsenders other than verdict.target's */
    EFF_STATE = 1u << 25,         /* bring epoch, record and system id into the ConfigMap */
    EFF_SLOTS = 1u << 26,         /* one slot per member, advanced */
    EFF_EXIT = 1u << 27,          /* orderly end of the container */
    EFF_ALARM = 1u << 28,         /* Event and status: a human should look */
};

/* Facts: one bit each. Groups in which exactly one bit is set are marked. */
#define FACTS(X)                                                                                   \
    /* what the Lease says of us: exactly one */                                                   \
    X(LEASE_UNKNOWN, "the Lease was never read")                                                   \
    X(LEASE_ABSENT, "there is no Lease")                                                           \
    X(LEASE_MINE, "this incarnation holds the Lease")                                              \
    X(LEASE_MY_POD, "an earlier incarnation of this pod holds the Lease")                          \
    X(LEASE_OTHER, "another member holds the Lease")                                               \
    X(LEASE_RELEASED, "the last holder released the Lease")                                        \
    X(LEASE_EMPTY, "nobody holds the Lease and no release explains it")                            \
    /* the local server: exactly one */                                                            \
    X(PG_DOWN, "no server process")                                                                \
    X(PG_MOVING, "the server starts or stops, or does not answer")                                 \
    X(PG_STANDBY, "the server is in recovery")                                                     \
    X(PG_PRIMARY, "the server is not in recovery")                                                 \
    /* the data directory: exactly one */                                                          \
    X(DATA_GOOD, "the data directory belongs to this cluster")                                     \
    X(DATA_NONE, "the data directory is empty or an unfinished copy")                              \
    X(DATA_BAD, "the data directory is foreign or damaged")                                        \
    X(DATA_UNKNOWN, "the data directory was not looked at")                                        \
    /* the writer of the present epoch: at most one */                                             \
    X(WRITER_ME, "the record names this volume as writer of this epoch")                           \
    X(WRITER_OTHER, "the record names another volume as writer of this epoch")                     \
    X(WRITER_DISPUTED, "the Lease names a writer or a holder that was not made so in this epoch")  \
    /* single bits */                                                                              \
    X(RIGHT, "the right to write is live")                                                         \
    X(BUDGET, "enough of it is left to begin a promotion")                                         \
    X(WRITABLE, "postgres may be writable")                                                        \
    X(DEPOSED, "the Lease has moved on: another holder or a newer epoch")                          \
    X(COUNTED, "the Lease has not changed for its whole duration by our own count")                \
    X(BUSY, "a lease write is pending or its outcome unknown")                                     \
    X(NEW_TIMELINE, "the allocated timeline was not used by this data directory yet")              \
    X(FROZEN, "detached for this epoch, position final")                                           \
    X(SUFFICIENT, "sufficient reports are in")                                                     \
    X(GREATEST, "no sufficient report is greater than our own")                                    \
    X(FETCH, "what a member that must not be primary holds more can be streamed from it")           \
    X(REFUSED, "a member has a durable epoch that is not older than ours")                         \
    X(BYPASS, "all that was ever acknowledged is here: by a release, or as the last writer itself") \
    X(MAY_ACQUIRE, "every condition of an acquisition holds")                                      \
    X(EARLY, "a strict writer is silent to as many voters as can elect")                           \
    X(BLIND_WRITER, "no Lease was read, and the writer of our durable epoch answers as primary")   \
    X(VOTE, "a vote for a newer epoch is asked for and may be given")                              \
    X(CLUSTER_NEW, "the cluster has no state: bootstrap or adoption")                              \
    X(BOOT_READY, "bootstrap or adoption may create or take the Lease")                            \
    X(RESUMABLE, "own WAL reaches the recorded position and too few others could elect")           \
    X(WRONG_TIMELINE, "the promotion took another timeline than the allocated one")                \
    X(PREPARED, "setting, hba and state are in place for a promotion")                             \
    X(ADMISSIBLE, "enough members hold the end of local WAL")                                      \
    X(ADMITTED, "clients are admitted")                                                            \
    X(TERMINATE, "SIGTERM was received")                                                           \
    X(HANDOVER, "a planned hand-over is under way")                                                \
    X(STOPPING, "the hand-over has passed the point of no return")                                 \
    X(HANDED_SAFE, "the target holds the whole WAL, or nobody has to")                             \
    X(CRASH_HANDOVER, "a crashed primary should be replaced rather than restarted")                \
    X(CRASH_PENDING, "what to do after the crash depends on the end of its WAL")                   \
    X(LISTED, "the last known record lists this member")                                           \
    X(WAL_UNREAD, "the server has not read all of own WAL yet")                                    \
    X(WAL_HIDDEN, "the server has come to a stop before the end of own WAL")                       \
    X(SETTINGS_LOW, "replay stands still until a start with what the primary's settings need")     \
    X(ACCOUNTED, "all local WAL is in our position")                                               \
    X(LEFTOVERS, "processes of an older server hold the volume lock")                              \
    X(DIVERGED, "own WAL is not part of the writer's history, or the writer lacks what we need")   \
    X(LAST_COPY_SAFE, "others hold what this directory holds")                                     \
    X(CLONE_NEEDED, "rewinding cannot or must not be used")                                        \
    X(REPAIRABLE, "the repair that fits may be done now")                                          \
    X(RESTART, "the operator asked to restart this server")                                        \
    X(REINIT, "the operator asked to clone this member anew")                                      \
    X(STUCK, "the writer's server does not come back although others could elect")                 \
    X(STORAGE_HANGS, "the writer's volume does not take writes although others could elect")       \
    X(OVERDUE, "the stop or the election took longer than it may")

enum fact_bit {
#define X(name, text) FACT_BIT_##name,
    FACTS(X)
#undef X
    FACT_COUNT
};
#define FACT(name) (1ull << FACT_BIT_##name)

/* Whom the address for writers shall lead to; written with a compare-and-swap, so that at most one member
 * is named at any time. */
enum endpoint {
    ENDPOINT_KEEP,     /* whoever it is */
    ENDPOINT_MINE,     /* this member */
    ENDPOINT_NOT_MINE, /* nobody, where it is still this member */
    ENDPOINT_NOT_GONE, /* nobody, where it is a pod that does not exist any more: its address may be reused */
};

enum label { LABEL_NONE, LABEL_PRIMARY, LABEL_REPLICA };

/* One row of the policy: first match wins. */
struct rule {
    const char *id;    /* stable; in logs, metrics, Events, documentation */
    uint64_t all;      /* facts that must hold */
    uint64_t any;      /* at least one of these must hold; 0 = no condition */
    uint64_t none;     /* facts that must not hold */
    uint32_t effects;
    enum write_kind write; /* lease write wanted, with EFF_LEASE_WRITE when due */
    const char *reason;
};

extern const struct rule core_rules[];
extern const size_t core_rule_count;

/* What is remembered between turns. Zeroed at the start of the agent. */
struct memo {
    int64_t deadline_ms;      /* right to write ends; 0 = none */
    int64_t forfeit_ms;       /* a release or hand-over was prepared then */
    uint64_t right_seq;       /* write_seq last accounted for */
    bool proven;              /* this process has had a 2xx of its own */
    int64_t last_turn_ms;
    int64_t count_from_ms;    /* own observation has no gap since */
    int64_t counted_ms;       /* no Lease seen so far gives anybody a right beyond this; 0 = none seen */
    uint64_t promise_epoch;   /* promise given */
    int64_t promise_until_ms;
    struct ha_name promised_to;
    uint64_t acquired_epoch;  /* by this agent process: a fence before it no longer matters */
    uint64_t held_epoch;      /* so acquired, and seen in the Lease */
    uint64_t named_epoch;     /* this agent process has asked to be named as writer of it */
    uint64_t bypass_epoch;    /* acquired as preceding epoch's writer or its named successor */
    struct position bypass_end;
    uint64_t accepted_epoch;  /* acquired as the target of a failover that accepts the loss of data */
    uint64_t refused_max;     /* highest durable epoch that refused our vote */
    int64_t elected_ms;       /* this election began */
    uint64_t elected_epoch;
    int64_t unsat_since_ms;   /* too few standbys stream since */
    struct { uint64_t volume; int64_t since_ms; } gone[HA_MEMBERS_MAX];
    uint64_t handover_intent; /* id of the intent in execution; 1 for SIGTERM */
    uint64_t handover_target; /* volume */
    uint64_t handover_epoch;
    int64_t handover_ms;      /* begun */
    int64_t stop_ms;          /* point of no return */
    bool rolled_back;         /* hand-over failed after the stop: resume by promotion */
    uint64_t preflight_intent; /* request being judged */
    int64_t preflight_ms;      /* answers must have been asked for since then */
    uint64_t dead_intent;     /* finished or refused: never begun again */
    uint64_t restart_intent; /* the stop that RESTART asks for was begun */
    uint64_t reinit_intent, reinit_volume; /* the volume that REINIT is to replace */
    int64_t reinit_ms;        /* that request was first seen */
    int64_t diverged_ms;      /* own WAL was first found diverged */
    uint64_t lineage_epoch;   /* own WAL was found to be part of this epoch's writer's history */
    int64_t pg_fault_ms;      /* crash seen */
    uint8_t rereads;          /* starts that were to make the server read its own WAL, in vain so far */
    int64_t reread_at_ms;     /* reached_ms of the server that the last of them was for */
    int64_t settings_low_ms;  /* replay was first seen to stand still for the settings */
    int64_t away_ms;          /* the writer's server is neither primary nor standby since then */
    struct record pending;    /* record in the last lease write whose outcome is open */
    bool has_pending;
    bool loose_told;          /* nobody can believe that this writer's commit gate is strict */
    int64_t failsafe_since_ms;
    uint32_t last_rule;
};

struct lease_write {
    enum write_kind kind;
    struct lease want; /* exists = true; unknown fields are carried through by the adapter */
};

struct verdict {
    uint32_t rule;      /* index into core_rules */
    uint64_t facts;
    uint32_t effects;
    struct lease_write write;
    int64_t deadline_ms;   /* for the fence page: written before anything else is done */
    uint64_t epoch;        /* of DETACH, FOLLOW, VOTES */
    uint64_t store_epoch;  /* durable epoch to have before any other effect; 0 = as is */
    bool store_record;     /* durable copy := lease record, before any other effect */
    uint64_t upstream;     /* volume to follow */
    bool provisional;      /* follow it under a name that confirms nothing */
    struct ha_name upstream_name;
    struct ssn ssn;
    uint32_t timeline;
    uint64_t target;       /* volume */
    int64_t promise_ms;    /* answer to in.promise: > 0 granted for this long, 0 refused */
    uint64_t refused_epoch;/* answer to in.vote: durable epoch that forbids it, 0 = none */
    enum endpoint endpoint;
    bool serving;          /* primary whose right is live and that admits clients */
    bool failsafe;         /* the right lives by promises */
    bool strict;           /* the commit gate is to be strict: asked for, or still recorded */
    int64_t writer_silent_ms; /* for peer_state: the recorded writer has not answered for so long */
    bool alarm;
    bool slots_settled;    /* every expected member shows its volume: a member's slot of any other
                            * volume is nobody's */
    struct intent_result result; /* id 0 = nothing to say */
    char waits_for[128];   /* for people: whose report does not come or is void, and why; cut where full */
    int64_t wake_at_ms;    /* decide again at the latest then */
    struct memo memo;
};

void decide(const struct view *v, const struct memo *m, struct verdict *out);

/* A member that was taken away for good: its pod is deleted and its volume has left the record. It holds
 * up nothing, and its slot is nobody's. */
bool core_is_gone(const struct view *v, const struct peer *p);

/* Not to be chosen by an election among several: tagged so, or its libraries sort otherwise than those that
 * built the indexes, which its writes would damage. The writer itself returns all the same. */
bool core_barred(const struct view *v);

const char *fact_name(enum fact_bit bit);
const char *fact_text(enum fact_bit bit);
const char *effect_name(unsigned bit); /* "?" where there is none */
const char *write_kind_name(enum write_kind k); /* "" for WRITE_NONE */

#endif
