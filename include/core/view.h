/* Everything decide() may look at: one snapshot per turn, plain data, no pointers.
 *
 * Adapters fill it; nothing in it is an opinion. Times are CLOCK_BOOTTIME ms of this member unless
 * the name says otherwise; 0 = never. A value we do not have is unknown, never false. */
#ifndef PGHAD_CORE_VIEW_H
#define PGHAD_CORE_VIEW_H

#include "core/intent.h"
#include "core/types.h"

enum crash_policy { CRASH_AUTO, CRASH_RESTART, CRASH_FAILOVER };

struct settings {
    int64_t lease_ms;   /* T_L */
    int64_t renew_ms;   /* a renewal is due this long after the last one was sent */
    int64_t retry_ms;   /* next try after a failure */
    int64_t fence_ms;   /* T_S: right to write, counted from the send of a renewal */
    int64_t kill_ms;    /* T_K: time the fence may take */
    int64_t request_ms; /* total deadline of one lease request */
    enum repl_mode mode;
    uint8_t k;
    bool strict;
    bool failsafe;
    int64_t early_ms;   /* a strict writer that is silent for so long is succeeded before its Lease ends; 0 = never */
    int64_t degrade_ms; /* non-strict: W is lowered after this long without enough standbys */
    int64_t leave_ms;   /* a member of V that has not streamed for this long leaves V */
    int64_t stop_ms;    /* planned stop: not done within this long means SIGKILL */
    enum crash_policy crash_policy;
    uint64_t switchover_lag_bytes;
    uint8_t members; /* expected count */
    uint8_t priority; /* higher is preferred among equals */
    bool nofailover;
    bool collation_any; /* a member whose libraries sort otherwise may be elected, too */
};

struct self {
    struct identity id;
    uint8_t ordinal;
    uint64_t volume;
    uint64_t system_id; /* of the data directory, 0 = none */
    enum data_state data;
    uint64_t durable_epoch;      /* kept outside PGDATA, fsynced */
    bool has_record;
    struct record record;        /* durable copy */
    int64_t started_ms;          /* start of this agent process */
    bool fenced;                 /* guard has fenced since this agent's predecessor armed it */
    enum tri server_lock;        /* TRI_YES: free or held by our own server; TRI_NO: leftovers hold it */
    uint8_t terminate;           /* SIGTERMs seen */
};

enum ssn_kind { SSN_UNKNOWN, SSN_EMPTY, SSN_UNSATISFIABLE, SSN_SET };

/* synchronous_standby_names, without the writer itself. */
struct ssn {
    enum ssn_kind kind;
    enum repl_mode mode; /* REPL_QUORUM: ANY w, REPL_SYNC: FIRST w */
    uint8_t w;
    uint8_t n;
    uint64_t volume[HA_MEMBERS_MAX]; /* ascending for ANY, by preference for FIRST */
};

struct walsender {
    uint64_t volume;
    bool streaming;   /* pg_stat_replication.state = streaming */
    uint64_t flushed_lsn;
    bool caught_up;   /* has flushed the position read after it began streaming */
};

/* The one exclusive operation on the local data directory. */
enum pg_op { OP_NONE, OP_INITDB, OP_CLONE, OP_REWIND, OP_WALEND, OP_STOP };
enum op_state { OP_IDLE, OP_RUNNING, OP_OK, OP_FAILED };

struct pg {
    enum pg_process process;
    bool ours;             /* started by this guard; its exit status is known */
    bool crashed;          /* it ended without having been asked to, and was not started since */
    uint8_t failed_starts; /* in a row: it ended before a session worked */
    bool clean;            /* its last end was a clean shutdown, checkpoint written */
    enum tri answers;      /* a session works */
    enum tri in_recovery;
    bool maybe_writable;   /* the flag that guard sees: set before promoting, cleared when reaped */
    int64_t looked_ms;         /* when the look that gave all this was asked for */
    struct position position;  /* max(received, replayed, end of valid WAL on disk) */
    enum tri accounted;    /* all local WAL is in position */
    bool wal_unread;       /* the server has not received or replayed all of position: it lies on disk */
    int64_t reached_ms;    /* what it has received or replayed last moved then, 0 = not yet */
    bool resorted;         /* its libraries sort otherwise than those that built the indexes */
    bool settings_low;     /* replay stands still: the primary's settings need more than this life has */
    uint32_t local_timeline; /* highest timeline in this data directory */
    uint64_t frozen_epoch; /* detached for this epoch, no walreceiver, position final; 0 = not */
    uint64_t follows;      /* volume in primary_conninfo, 0 = none */
    uint64_t follows_epoch;/* its passfile's epoch */
    bool streaming;        /* a walreceiver streams */
    int64_t not_streaming_since_ms; /* 0 = streams or does not try */
    uint32_t receiver_timeline; /* that a walreceiver streams, 0 = none or not known */
    enum tri diverged;     /* own WAL is not part of the followed writer's history */
    bool history_holds;    /* the writer of this epoch was asked: its history holds all of own WAL */
    bool wal_missing;      /* the writer no longer has what we need, or own WAL cannot be read any more */
    struct ssn ssn;        /* as a fresh session sees it */
    enum tri strict;       /* this server has had a strict commit gate ever since it was started */
    bool strict_now;       /* its commit gate is set to strict, or nobody has looked yet */
    bool ssn_in_force;     /* every walsender uses it (evidence, not the reload) */
    uint64_t ssn_proof_lsn;/* primary's position read after that, 0 = not yet */
    uint8_t n_senders;
    struct walsender sender[HA_MEMBERS_MAX];
    enum tri closed;       /* hba refuses clients, proved by a refused probe */
    enum tri open;         /* clients are admitted */
    uint64_t promoted_end_lsn; /* end of WAL just after recovery ended, 0 = not known */
    int64_t promoted_ms;   /* when this process saw recovery end, 0 = not since its start */
    int64_t checkpoint_ms; /* when the last CHECKPOINT that has completed began */
    enum pg_op op;
    enum op_state op_state;
    uint8_t op_failures;   /* of this kind in a row */
    int64_t op_since_ms;
    int64_t stop_since_ms;
    int64_t storage_since_ms; /* a write to the volume that was begun then has not come back, 0 = none */
};

enum write_kind {
    WRITE_NONE,
    WRITE_CREATE,   /* POST: nobody holds it, mark fresh; gives no right */
    WRITE_RENEW,    /* holder unchanged, perhaps with a new record */
    WRITE_ACQUIRE,  /* holder and epoch only */
    WRITE_TAKEOVER, /* same pod, new incarnation: boot id and timeline only */
    WRITE_WRITER,   /* second compare-and-swap: writer and timeline */
    WRITE_ADOPT,    /* live holder puts its name back on an emptied or re-created Lease */
    WRITE_RELEASE,
};

enum write_outcome { OUTCOME_NONE, OUTCOME_PENDING, OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_UNKNOWN };

struct lease_view {
    bool known;          /* read at least once, present or absent */
    struct lease lease;  /* as last received; exists = false after a 404 */
    int64_t changed_ms;  /* when its last change (or its absence) was received for the first time */
    int64_t got_ms;      /* when the last linearizable read that agrees with it was SENT */
    int64_t contact_ms;  /* last time the API answered anything we understood */
    bool get_pending;
    enum write_kind write;       /* the last one begun */
    enum write_outcome outcome;
    uint64_t write_seq;          /* raised with each write begun */
    int64_t write_sent_ms;
    int64_t write_done_ms;
    int32_t write_duration_s;    /* leaseDurationSeconds in that write */
    bool write_holder;           /* that write names this incarnation as holder */
};

struct state_view { /* ConfigMap <cluster>-state */
    bool known;
    bool exists;
    uint64_t system_id; /* 0 = cluster not initialised */
    uint64_t epoch;
    bool has_record;
    struct record record;
    bool paused;
};

struct peer {
    struct ha_name name;
    bool pod_known;       /* a pod of that name exists */
    bool leaving;         /* and is being deleted: its server stops, whoever needs it */
    struct peer_state state;
    int64_t received_ms;  /* when state arrived, 0 = never */
    int64_t sent_ms;      /* when the request that it answers was sent */
    int64_t silent_since_ms; /* send of the first request since then without an answer, 0 = none */
    int64_t promise_sent_ms; /* send of the request that was answered with a promise, 0 = none */
    int64_t promise_until_ms;/* promise_sent_ms + promised duration */
    uint64_t promise_epoch;
};

struct inbox {
    bool vote;                    /* a vote is asked for */
    struct peer_request vote_req; /* the one with the highest epoch */
    bool promise;
    struct peer_request promise_req;
};

struct view {
    int64_t now_ms;
    struct settings set;
    struct self self;
    struct pg pg;
    struct lease_view lv;
    struct state_view st;
    bool pods_known; /* the pods of the cluster were listed at least once: who is not there is gone */
    uint8_t n_peers;
    struct peer peer[HA_MEMBERS_MAX]; /* without self */
    struct inbox in;
    enum ha_role label;    /* role label of our own pod as last confirmed; ROLE_UNKNOWN = none */
    struct intent intent;  /* kind INTENT_NONE when there is none for now */
    bool intent_expired;
};

#endif
