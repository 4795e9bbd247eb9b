/* What one look at the local server showed. Plain data; the time is that of the question. */
#ifndef PGHAD_PG_FACTS_H
#define PGHAD_PG_FACTS_H

#include "core/types.h"
#include "pg/control.h"
#include "pg/env.h"
#include "pg/history.h"

#define PG_SENDERS_MAX 32
#define PG_SLOTS_MAX 48
#define PG_PENDING_MAX 16
#define PG_SSN_SIZE 1024

struct pg_sender {
    int32_t pid;
    uint64_t volume;      /* by application_name, 0 = not a member */
    char application_name[PG_NAME_SIZE];
    char user[PG_NAME_SIZE];
    char state[16];       /* streaming, catchup, startup, backup, stopping */
    char sync_state[16];  /* async, potential, sync, quorum */
    uint64_t write_lsn, flush_lsn, replay_lsn; /* 0 = unknown */
    int64_t reply_us;     /* reply_time, microseconds since the epoch; compared for change only */
    int64_t start_us;     /* backend_start; pid and this identify a walsender */
    bool streaming;
};

struct pg_slot {
    char name[PG_NAME_SIZE];
    uint64_t volume;      /* 0 = not a member's: never touched by us */
    bool active;
    bool physical;
    uint64_t restart_lsn; /* 0 = reserves nothing */
    bool lost;            /* wal_status = lost */
    bool perishable;      /* logical, and no standby keeps a copy: a failover loses it */
};

struct pg_facts {
    bool valid;             /* a look has succeeded since the session was opened */
    int64_t at_ms;          /* BOOTTIME when the question was sent */
    int64_t received_ms;    /* when the answer was here */
    enum tri in_recovery;
    uint32_t server_version;/* 150018 */
    uint64_t system_id;
    int64_t start_us;       /* postmaster start, microseconds since the epoch; compared only */
    int32_t checkpointer_pid;
    int32_t startup_pid;

    /* Primary: insert position's timeline. Standby: highest timeline that replay or a receiver of
     * this server run has reached. */
    uint32_t timeline;
    uint32_t checkpoint_timeline; /* pg_control: pg_rewind sources need it to equal timeline */
    uint64_t write_lsn;     /* primary only */
    uint64_t flush_lsn;     /* primary only */
    uint64_t received_lsn;  /* standby: flushed by walreceivers of this server run, 0 = none */
    uint32_t received_timeline; /* as the walreceiver names it; remembered after it has gone */
    uint64_t replayed_lsn;
    int64_t replayed_at_us; /* 1970: commit of the last transaction replayed, 0 = none since the start */
    uint32_t replay_timeline; /* that replay reads; 0 = the startup process does not tell */
    bool replay_paused;
    /* The greater of received and replayed, primary: flushed; the timeline is that of the last
     * record before it by the timeline history (a receiver that has just switched names the new
     * timeline although it has flushed none of its records). timeline 0: not known, cannot be
     * ordered. */
    struct position position;

    bool receiver;          /* a row of pg_stat_wal_receiver; absence proves nothing */
    bool receiver_streaming;
    char receiver_host[256]; /* hostaddr of its connection, "" = none */
    char receiver_slot[PG_NAME_SIZE];

    uint8_t n_senders;
    bool senders_cut;       /* more than fit */
    struct pg_sender sender[PG_SENDERS_MAX];

    /* The rest is asked for once a second at most, and keeps its own time. */
    int64_t full_ms;
    uint8_t n_slots;
    bool slots_cut;
    struct pg_slot slot[PG_SLOTS_MAX];
    uint8_t n_pending;
    char pending_restart[PG_PENDING_MAX][PG_NAME_SIZE];
    /* In force, in the order of pg_control_needs(). */
    uint32_t needs[PG_NEEDS];
    int64_t longest_xact_ms; /* age of the oldest open transaction of a client */
    bool gate;              /* the commit gate is active */
    bool gate_strict;       /* as the server is set: it refuses commits that wait for no standby */
    int64_t damaged;        /* reads of pages whose checksum was wrong, since the statistics began */
    uint32_t clients;       /* client backends other than ours */

    /* As a session begun at fresh_ms sees them. */
    int64_t fresh_ms;       /* 0 = never looked */
    char fresh_ssn[PG_SSN_SIZE];        /* synchronous_standby_names */
    char fresh_conninfo[PG_SSN_SIZE];   /* primary_conninfo */
    char fresh_restore[256];            /* restore_command */
};

/* The row of a member's walsender; NULL when absent. Of several the one with the least
 * flush_lsn. */
const struct pg_sender *pg_facts_sender(const struct pg_facts *f, uint64_t volume);
/* How many of the n volumes stream and have flushed lsn. Duplicates of a volume count once. */
unsigned pg_facts_flushed(const struct pg_facts *f, uint64_t lsn, const uint64_t *volumes,
                          size_t n);
const struct pg_slot *pg_facts_slot(const struct pg_facts *f, uint64_t volume);

/* Separated text of the probe's aggregates: rows by \n, fields by \t. Strict: ERR_CORRUPT. */
bool pg_facts_parse_senders(struct pg_facts *f, const char *text, struct err *e);
bool pg_facts_parse_slots(struct pg_facts *f, const char *text, struct err *e);

#endif
