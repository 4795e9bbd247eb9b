/* Shared between the files of the core only. */
#ifndef PGHAD_CORE_INTERNAL_H
#define PGHAD_CORE_INTERNAL_H

#include "core/core.h"
#include "core/record.h"

/* A peer's answer older than this says nothing about now. */
#define FRESH_MS 1500
/* A server that replays without a break moves on long before. */
#define REREAD_MS 5000
/* A restart of a standby, until it streams again, with room. */
#define SETTINGS_TURN_MS 5000
/* A promotion is over long before; nobody's server is kept from starting for longer. */
#define START_WAITS_MS 600
/* From a promotion until the record shows who holds it, if no renewal comes before. */
#define SHOW_PROMOTION_MS 400
/* Between the ranks of candidates: longer than a GET and a PUT usually take. */
#define STAGGER_MS 120

/* One turn in work: the view, the memo being rewritten, and what several facts share. */
struct turn {
    const struct view *v;
    struct memo *m;
    struct verdict *out;
    const struct lease *lease;
    const struct record *rec;   /* the Lease's record */
    const struct record_member *me; /* our line in it, or NULL */
    int64_t now;
    int64_t lease_ms;           /* larger of own and the Lease's duration */
    bool mine;                  /* this incarnation holds the Lease */
    bool writer_me;
    bool stale;                 /* the Lease is older than a copy of the record: it was restored */
    bool behind;                /* a peer has the record of a later epoch than the Lease and every copy here */
    bool superseded;            /* the ConfigMap knows an acquisition after the last one that we know */
    bool disputed;              /* the Lease names a writer that was not made writer in its epoch */
    bool need_get;              /* a linearizable read is all that is missing */
};

/* The next turn is due by then at the latest; a time that is over asks for nothing. */
static inline void wake(struct turn *t, int64_t at)
{
    if (at > t->now && at < t->out->wake_at_ms)
        t->out->wake_at_ms = at;
}

/* right.c: what write results and promises do to the deadline. Must run before any fact. */
void right_account(struct turn *t);
bool right_is_live(const struct turn *t);
void right_answer_promise(struct turn *t);
bool promise_binds(const struct turn *t);

/* election.c */
struct tally {
    uint8_t needed;      /* R */
    uint8_t answering;   /* valid reports or, before detaching, members of V that answer; self included */
    uint8_t reports;
    bool own;            /* one of both is our own */
    bool sufficient;
    bool greatest;
    uint64_t best;       /* volume of the greatest other report, 0 = ours is greatest */
    uint32_t timeline;   /* greatest timeline reported */
    uint64_t refused;    /* highest durable epoch that refuses ours */
};
struct tally election_tally(const struct turn *t, const struct record *rec, uint64_t epoch);
/* An operator has ordered this member to go on with its own copy although too few report: the order is
 * for this epoch, or the Lease was acquired by it. It replaces reports, never the wait for the Lease. */
bool loss_accepted(const struct turn *t);
/* The answering member that such an order names, NULL without one. */
const struct peer *loss_accepted_for(const struct turn *t);
/* Asked for and in force: while the record still asks for confirmations, its rules hold. */
bool replicates_async(const struct turn *t, const struct record *rec);
bool election_may_acquire(struct turn *t);
/* Whether p goes first among those that are equally entitled. */
bool ranks_before(const struct turn *t, const struct peer *p);
/* Own copy has a vote under rec, or an operator accepted that it is all there is. */
bool own_copy_counts(const struct turn *t, const struct record *rec);
bool a_voter_holds_more(const struct turn *t, const struct record *rec);
const struct record *highest_copy(const struct turn *t);
bool peer_fresh(const struct turn *t, const struct peer *p);
bool report_counts(const struct turn *t, const struct record *rec, const struct peer *p,
                   const struct record_member *line);
const struct peer *peer_of_volume(const struct turn *t, uint64_t volume);
const struct peer *peer_of_name(const struct turn *t, const struct ha_name *name);
uint64_t best_standby(const struct turn *t, const struct ha_name *named, const char **why);

/* The record knows of this timeline. */
bool allocated(const struct record *rec, struct position p);

/* missing.c. Cut where dst is full. */
void name_missing(const struct turn *t, char *dst, size_t size);

/* claim.c. Every right that the Lease has ever given, by our own count: claim_count() keeps the latest end. */
void claim_count(struct turn *t);
bool claim_counted(const struct turn *t);
/* Its Lease has not run out, but nothing that the silent writer does can be acknowledged any more. */
bool claim_early(const struct turn *t);
int64_t writer_silent(const struct turn *t);
/* The last holder's own release, which ends the wait for its right. */
bool lease_released(const struct turn *t);
/* From when an acquisition may begin; *successor: the release names this member. 0 = not now. */
int64_t claim_open_since(struct turn *t, bool *successor);
/* The writer that gave the Lease back has come back before anybody was elected. */
bool returning_writer(const struct turn *t);
/* The writer that the record names last answers, and its WAL counts. */
bool last_writer_there(const struct turn *t);
/* This member is that writer, and too few others can ever report: an election has nothing to ask them. */
bool last_writer_alone(const struct turn *t, const struct record *rec);

/* bootstrap.c: the Lease of a cluster without state may be created or taken. */
bool bootstrap_ready(const struct turn *t);

/* replication.c: V, W and the seal */
enum change_kind { CHANGE_NONE, CHANGE_RECORD, CHANGE_SETTING };
struct change {
    enum change_kind kind; /* RECORD: write it now. SETTING: set first, record when proved */
    struct record record;  /* what the record will be; not set for NONE */
    struct ssn ssn;        /* what the setting is to be now */
    bool proved;           /* SETTING: in force and flushed by W members of the new setting */
};
void replication_track(struct turn *t);
struct change replication_plan(const struct turn *t);
bool replication_admissible(const struct turn *t);
/* What a record that makes this member the writer says of its commit gate. */
bool strict_from_now(const struct turn *t);
/* Asked for, or still recorded anywhere: others may rely on it. */
bool strict_kept(struct turn *t);
uint8_t senders_flushed(const struct turn *t, const struct record *rec, uint64_t lsn);
/* What may be recorded of a flushed position. PostgreSQL flushes and sends whole pages (1 to 64 kB), so
 * a position on a page boundary may lie within a record. After a crash the end of valid WAL is the end
 * of the last whole record: recorded as it is, it would void the report of a member that lost nothing.
 * The start of this writer's own WAL then stands for it. */
uint64_t whole_records(const struct turn *t, uint64_t lsn);
/* Whether all of own WAL is known to be part of the history of rec's writer, in this epoch. */
bool lineage_proved(struct turn *t, const struct record *rec, uint64_t epoch);

/* handover.c */
void handover_track(struct turn *t);
bool handover_safe(const struct turn *t);
bool crash_handover(const struct turn *t, bool *pending);
/* This member gave its right back a moment ago, and its server would start only to be in the way. */
bool start_waits(struct turn *t);

/* endpoint.c: from the effects in *out */
enum endpoint endpoint_wanted(const struct turn *t);

/* lease.c: the content of lease writes and when they are due */
void lease_plan(struct turn *t, enum write_kind kind);
bool lease_busy(const struct turn *t);

/* facts.c */
const struct record_member *blind_writer(const struct turn *t); /* NULL: none to follow */
uint64_t facts_of(struct turn *t);

#endif
