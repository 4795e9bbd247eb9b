/* The nouns of the protocol: plain fixed-size data without pointers, shared by core and adapters.
 *
 * Units: LSNs are byte positions (uint64_t, 0 = unknown), timelines start at 1 (0 = unknown),
 * epochs are `leaseTransitions` of the Lease (0 = never held), times are CLOCK_BOOTTIME ms. */
#ifndef PGHAD_CORE_TYPES_H
#define PGHAD_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HA_MEMBERS_MAX 16
#define HA_NAME_SIZE 64 /* pod name (a DNS label, at most 63 bytes) and its NUL */
#define HA_UID_SIZE 40  /* a Kubernetes uid (36 bytes) and its NUL */

/* Three values: ignorance is never read as false. The zero value is unknown. */
enum tri { TRI_UNKNOWN, TRI_NO, TRI_YES };

enum repl_mode { REPL_ASYNC, REPL_SYNC, REPL_QUORUM };

struct ha_name {
    char s[HA_NAME_SIZE]; /* NUL-terminated, rest zeroed; "" = nobody */
};

/* The highest number that is believed: whoever reads one from outside refuses a larger one as nonsense, since
 * the next ones are counted from it. */
#define TIMELINE_MAX 0x7fffffffu

/* Where a member's WAL ends. Order is lexicographic: timeline of the last flushed record first. */
struct position {
    uint32_t timeline;
    uint64_t lsn;
};

/* `<pod>_<pod uid>_<boot id>`: boot is random for each start of guard. */
struct identity {
    struct ha_name name;
    char uid[HA_UID_SIZE];
    uint64_t boot;
};

/* One line of the member list. The vote belongs to the volume, not to the name. */
struct record_member {
    uint64_t volume; /* random id of the data directory; 0 = not known yet */
    struct ha_name name;
    bool in_v;               /* member of the vote set V */
    bool in_next;            /* member of the V under way */
    struct position flushed; /* last known flushed position; a report below it does not count */
};

/* The record: who acknowledges, who may vote, who may write. In the Lease, and copied durably by
 * every member and into the ConfigMap. Order of two records is (epoch, rev). */
struct record {
    uint64_t epoch; /* of the acquisition under which rev was last raised */
    uint64_t rev;
    uint8_t w;      /* standby acknowledgements per commit in force: W + 1 copies */
    bool has_next;  /* a change is under way: in_next and next_w are meant */
    uint8_t next_w;
    uint64_t sealed; /* volume that writes alone; 0 = not sealed */
    uint64_t writer; /* volume that may become writable; 0 = none yet */
    uint64_t writer_epoch;
    uint32_t timeline; /* last timeline number allocated; never used twice */
    bool strict;       /* the commit gate lets no session of the writer commit without w confirmations */
    uint8_t n;
    struct record_member m[HA_MEMBERS_MAX];
};

/* Left by a holder that gave the lease up on purpose, after its last postgres was reaped (or, for a
 * holder that was never writer in its epoch, with a standby running). */
struct release {
    bool valid;
    uint64_t epoch;
    struct ha_name releaser;
    uint64_t volume;
    struct position end;      /* end of the releaser's WAL */
    struct ha_name successor; /* "" = anybody */
};

/* The Lease as read from or written to the API. */
struct lease {
    bool exists;
    bool fresh; /* created by us with nobody as holder; has given no right yet */
    uint64_t epoch;
    int32_t duration_s; /* 0 = absent */
    struct identity holder; /* name "" = nobody; a holder we cannot parse has uid "?" and the text cut into name */
    struct release release;
    struct record record;
    bool has_record;
};

/* Roles shown to people; the words are those of labels, REST, metrics and hactl. */
enum ha_role { ROLE_UNKNOWN, ROLE_PRIMARY, ROLE_REPLICA };

/* What a data directory is. */
enum data_state {
    DATA_UNKNOWN,
    DATA_EMPTY,    /* absent or empty: nothing to lose */
    DATA_OK,       /* PG_VERSION and pg_control of a major version that we run */
    DATA_PARTIAL,  /* our own marker says that a clone, initdb or rewind did not finish */
    DATA_FOREIGN,  /* another system identifier, another major version: never touched */
    DATA_BROKEN,   /* something is there that is not a data directory */
};

enum pg_process { PG_DOWN, PG_STARTING, PG_RUNNING, PG_STOPPING };

/* How a member's last time as writer ended. */
enum write_end { WRITE_END_OTHER, WRITE_END_PLANNED, WRITE_END_CRASH };

/* Everything a member tells a peer, in one reply, whatever it was asked. */
struct peer_state {
    struct identity id;
    uint64_t volume;
    uint64_t system_id;       /* 0 = no data directory */
    enum data_state data;
    enum pg_process process;
    enum tri in_recovery;
    struct position position; /* max(received, replayed, end of valid WAL), with its timeline */
    uint64_t durable_epoch;   /* highest epoch this member has detached for or followed */
    uint64_t frozen_epoch;    /* position is a report for this epoch: detached and accounted; 0 = not frozen */
    uint64_t refused_epoch;   /* durable epoch that made us refuse the asker's vote; 0 = none */
    uint64_t promised_epoch;  /* lease epoch this member has promised not to disturb; 0 = none */
    int64_t promise_ms;       /* how long the promise just given holds, from now; 0 = refused */
    uint64_t record_epoch, record_rev; /* of the durable copy of the record */
    uint64_t lease_epoch;     /* highest epoch seen in the Lease; above the asker's own: step down */
    uint64_t streams_from;    /* volume it streams from, 0 = none */
    bool nofailover;
    bool paused;
    uint8_t priority;
    int64_t written_ago_ms;   /* it could last acknowledge a write so long ago, at least 1; 0 = unknown */
    enum write_end write_end;
    int64_t writer_silent_ms; /* the recorded writer has not answered it for so long; 0 = it answers, or is not known */
    struct ha_name rule;      /* id of the rule in force, for people */
};

/* What one member asks of another. */
enum peer_ask { PEER_STATE, PEER_VOTE, PEER_PROMISE };

struct peer_request {
    enum peer_ask ask;
    struct identity from;
    uint64_t epoch;      /* VOTE: detach for this epoch. PROMISE: the holder's epoch */
    int64_t promise_ms;  /* PROMISE: asked duration, T_P */
};

#endif
