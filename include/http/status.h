/* The snapshot that the agent publishes each turn; every HTTP answer is rendered from it alone.
 *
 * Plain fixed-size data without pointers. Instants are CLOCK_BOOTTIME ms (0 = never), so that what
 * depends on time (is the lease still valid?) is decided at the request and not at the publication.
 * Stamps for people are microseconds since the epoch, UTC. -1 marks an unknown number of bytes. */
#ifndef PGHAD_HTTP_STATUS_H
#define PGHAD_HTTP_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/types.h"

#define STATUS_DECISIONS_MAX 32
#define STATUS_HISTORY_MAX 32 /* as many as the cluster keeps */
#define STATUS_PHASES_MAX 8
#define STATUS_SLOTS_MAX 32
#define STATUS_TAGS_MAX 8
#define STATUS_ALARMS_MAX 8
#define STATUS_API_MAX 64
#define STATUS_CAUSES_MAX 8
#define STATUS_WORD_SIZE 32  /* a word of a closed vocabulary: phase, cause, verb */
#define STATUS_TEXT_SIZE 160 /* a sentence for people */

/* How commits wait for this member. */
enum status_sync {
    STATUS_SYNC_NONE, /* not a standby, or not known */
    STATUS_SYNC_ASYNC,
    STATUS_SYNC_SYNC,
    STATUS_SYNC_QUORUM,
};

struct status_tag {
    char key[STATUS_WORD_SIZE];
    char value[HA_NAME_SIZE];
};

struct status_member {
    struct ha_name name;
    enum ha_role role;
    char state[STATUS_WORD_SIZE]; /* running, streaming, stopped, unreachable, ... */
    char address[48];             /* pod IP, "" = not known */
    uint16_t port;
    uint32_t timeline;
    uint64_t received_lsn, replayed_lsn;
    int64_t receive_lag_bytes, replay_lag_bytes; /* -1 = not known; 0 for the primary */
    bool streaming;
    bool in_v;
    bool pending_restart;
    enum status_sync sync;
    uint64_t volume;
    uint8_t tags_n;
    struct status_tag tags[STATUS_TAGS_MAX];
};

struct status_slot {
    struct ha_name name;
    uint64_t restart_lsn;
    int64_t retained_bytes; /* -1 = not known */
    bool active;
};

struct status_phase {
    char name[STATUS_WORD_SIZE];
    int64_t ms;
};

/* One change of the writer. */
struct status_history {
    int64_t at_us;
    char cause[STATUS_WORD_SIZE]; /* bootstrap, adoption, failover, switchover, restart */
    char reason[STATUS_TEXT_SIZE];
    struct ha_name from, to;      /* from "" = nobody */
    uint64_t epoch;
    uint32_t timeline;
    uint64_t lsn;                 /* where the new timeline begins */
    int64_t lost_bytes;           /* 0 = proved none; -1 = not known */
    int64_t write_gap_ms;         /* at most; -1 = not known */
    uint8_t phases_n;
    struct status_phase phases[STATUS_PHASES_MAX];
};

struct status_decision {
    int64_t at_us;
    struct ha_name rule;
    char reason[STATUS_TEXT_SIZE];
};

struct status_alarm {
    char name[STATUS_WORD_SIZE];
    char text[STATUS_TEXT_SIZE]; /* what is wrong and what to do */
};

/* Durations. The bounds of the buckets are 0.5 ms to 5 s; the last one is infinity. */
#define STATUS_HIST_BUCKETS 14
struct status_hist {
    uint64_t bucket[STATUS_HIST_BUCKETS]; /* not cumulative in memory */
    uint64_t count;
    uint64_t sum_us;
};
void status_hist_add(struct status_hist *h, int64_t us);

struct status_api_count {
    char verb[12];     /* get, create, update, patch, watch, list */
    char resource[16]; /* leases, pods, configmaps, events */
    int code;          /* HTTP status, 0 = no answer */
    uint64_t count;
};

struct status_cause_count {
    char cause[STATUS_WORD_SIZE];
    uint64_t count;
};

struct status_counters {
    struct status_hist loop;        /* length of a turn */
    struct status_hist lease_renew; /* from send to 2xx */
    uint64_t lease_renew_failures;
    uint64_t api_rejected;      /* answers of the API that were damaged, too large or not ours */
    uint64_t peer_unauthorized; /* calls of peers without the token */
    uint64_t peer_rejected;     /* calls of peers that were no request, or too large */
    uint8_t api_n;
    struct status_api_count api[STATUS_API_MAX];
    uint8_t failovers_n;
    struct status_cause_count failovers[STATUS_CAUSES_MAX]; /* promotions of this member by cause */
    uint64_t switchovers;                                   /* completed, this member the new primary */
    uint8_t failover_phases_n;
    struct status_phase failover_phases[STATUS_PHASES_MAX]; /* of the last promotion here */
    int64_t switchover_write_gap_ms;                        /* of the last switchover, -1 = none */
    int64_t lost_bytes_last_failover;                       /* -1 = none or not known */
    uint64_t rewinds_ok, rewinds_failed;
    uint64_t clones_ok, clones_failed;
    uint64_t fences;        /* times guard had to kill */
    uint64_t agent_restarts;
    uint64_t pg_crashes;
    uint64_t config_reloads_ok, config_reloads_failed;
    uint64_t log_dropped;
};

struct status {
    /* who */
    struct ha_name cluster, ns, name;
    struct identity id;
    uint64_t volume;    /* 0 = no data directory */
    uint64_t system_id; /* 0 = no data directory */
    char address[48];
    uint16_t port;

    /* when: instant of the publication, and wall clock for people */
    int64_t published_ms;
    int64_t published_us;
    int64_t started_us;          /* agent */
    int64_t postmaster_start_us; /* 0 = down */

    /* what it does */
    enum ha_role role;
    char state[STATUS_WORD_SIZE]; /* running, starting, stopping, stopped, cloning, initdb, rewinding, ... */
    struct ha_name rule;
    char reason[STATUS_TEXT_SIZE];
    enum data_state data;
    enum pg_process process;
    enum tri in_recovery;
    enum tri commit_gate; /* whether the preload library is active */
    bool paused;
    bool failsafe;        /* the deadline is being extended by promises, not by the API */
    bool pending_restart;
    char pending_restart_reason[STATUS_TEXT_SIZE];
    uint32_t server_version; /* 150004; 0 = not known */

    /* WAL */
    uint32_t timeline;
    uint64_t write_lsn;                  /* primary: current position */
    uint64_t received_lsn, replayed_lsn; /* replica */
    int64_t receive_lag_bytes, replay_lag_bytes; /* -1 = not known */
    int64_t replayed_at_us; /* 1970, replica: commit of the last transaction replayed; 0 = none */
    bool replay_paused;
    bool streaming; /* replica: the walreceiver streams */
    /* replica: was in V since it started, or needs not be there; before that it is not Ready */
    bool joined;
    int64_t ready_max_lag_bytes; /* bound of /readiness when the request names none; -1 = no bound */

    /* lease */
    struct ha_name holder; /* "" = nobody */
    bool is_holder;
    uint64_t epoch;
    int64_t lease_seen_ms;     /* instant the Lease was last known to be as we see it */
    int64_t lease_renewed_ms;  /* holder: send of the last successful renewal */
    int64_t lease_duration_ms; /* T_L in force */
    int64_t fence_deadline_ms; /* holder: the right to write ends here; 0 = none */

    /* replication and the record */
    enum repl_mode mode;
    enum status_sync sync; /* of this member */
    bool strict;
    uint8_t v_size;
    uint8_t w;
    uint64_t sealed; /* volume; 0 = not sealed */
    uint64_t record_epoch, record_rev;
    uint8_t slots_n;
    struct status_slot slots[STATUS_SLOTS_MAX];
    char perishable_slots[STATUS_TEXT_SIZE]; /* names; primary: the next one will not have them */
    bool noloadbalance; /* also among the tags */
    uint8_t tags_n;
    struct status_tag tags[STATUS_TAGS_MAX];

    uint8_t members_n;
    struct status_member members[HA_MEMBERS_MAX];
    uint8_t history_n; /* oldest first */
    struct status_history history[STATUS_HISTORY_MAX];
    uint8_t decisions_n; /* oldest first */
    struct status_decision decisions[STATUS_DECISIONS_MAX];
    uint8_t alarms_n;
    struct status_alarm alarms[STATUS_ALARMS_MAX];
    struct status_counters n;
};

#endif
