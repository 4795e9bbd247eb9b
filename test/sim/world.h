/* The simulated cluster: members, model PostgreSQL, model API, model network, ledger of what clients
 * were told. Everything follows from one seed.
 *
 * `W.now` is true time in ms. A member knows only its own clock, which runs up to 9 % fast or slow;
 * whatever the core sees is in that clock, what the model does by itself is in true time. */
#ifndef PGHAD_TEST_SIM_WORLD_H
#define PGHAD_TEST_SIM_WORLD_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "core/record.h"

#define STEP_MS 5
#define LOG_MAX 2500
#define ENTRY_MAX 8000
#define N_MAX 7
#define LATE_MAX 4
#define OWNED_MAX 512
#define RULES_MAX 128

struct put { /* one lease write on its way */
    bool active, applied, lost_reply, lost_request;
    bool accepted; /* by an order that accepts the loss of data */
    int64_t arrive_ms, reply_ms, deadline_ms;
    struct lease want;
    enum write_kind kind;
    uint64_t rv;
    int code;
};

/* The stream of one standby: a sender at the upstream, a receiver here. Either may outlive the other. */
struct stream {
    bool on;       /* the upstream has a walsender */
    bool rx;       /* the standby has a walreceiver */
    int upstream;
    uint64_t volume;
    int64_t setting_at_ms, quiet_since_ms;
    uint64_t start_lsn;
    struct ssn setting;   /* as this walsender applies it */
    uint64_t setting_seq;
    uint64_t reported;    /* sent by the receiver */
    uint64_t flushed;     /* arrived at the walsender */
    int64_t breaks_at_ms; /* the receiver notices a cut link */
    bool provisional;     /* its name is in nobody's set */
    bool other;           /* of a timeline that the upstream has left: brings nothing, reports its own end */
    int64_t ends_at_ms;   /* then the receiver learns it, and begins again */
};

struct ask { /* a call to a peer; what is looked at in every step is kept together */
    bool active, arrived, answered;
    enum peer_ask kind;
    int64_t arrive_ms, arrived_ms, reply_ms, give_up_ms;
};

struct talk { /* its content, kept with the asker */
    int64_t sent_local;
    struct peer_request req;
    struct peer_state reply;
};

enum fault_kind {
    F_CRASH, F_CONTAINER, F_AGENT_HANG, F_AGENT_RESTART, F_NODE_FREEZE, F_VOLUME_LOST,
    F_API_ONE, F_API_ALL, F_API_FLAPS, F_WATCH_LAG, F_LINK_ONE_WAY, F_ISOLATED, F_CUT_OFF,
    F_HEAL, F_TERMINATE, F_ROLLING, F_STOP_ALL, F_KILL_ALL, F_WAL_MISSING,
    F_LEASE_DELETED, F_LEASE_EMPTIED, F_LEASE_BARE, F_LEASE_RESTORED, F_STATE_DELETED,
    F_SWITCHOVER, F_SWITCHOVER_TO, F_FAILOVER, F_RESTART, F_REINIT, F_INTENT_LATE,
    F_VM_PAUSE, F_TRAP, F_ROLLBACK, F_DAMAGE, F_FOREIGN, F_PROMOTED, F_LAG, F_TAGGED_LEADS,
    F_PAUSE, F_K, F_MODE, F_TAGS, F_PROFILE, F_GROW, F_SETTINGS, F_LEASE_EDITED, F_DISK_HANGS,
    F_COUNT,
};

/* What is still asked of a verdict after its turn. */
struct decided {
    uint32_t rule, effects;
    uint64_t facts, epoch, refused_epoch;
    int64_t promise_ms, wake_at_ms, writer_silent_ms;
    bool serving, waits; /* waits_for names somebody */
    struct memo memo;
};

enum api_mode { API_UP, API_SILENT, API_REFUSES, API_ERRORS };

struct member {
    int idx;
    int64_t api_due_ms, server_due_ms, peers_due_ms; /* nothing happens to these parts before then */
    bool poked;
    uint64_t looked;         /* what its agent would be woken by, as it was at its last step */
    int64_t clock0, local;   /* own clock now */
    int rate;                /* per mille */
    int receives;            /* percent of steps in which a stream moves */
    bool container;          /* guard lives */
    int64_t container_at_ms; /* starts then, when dead; INT64_MAX = not yet part of the cluster */
    int64_t agent_frozen_until, node_frozen_until, thawed_ms;
    int64_t vm_paused_at;    /* own clock when the hypervisor stopped it, 0 = not */
    int64_t zombie_until;    /* its clock lags: it may believe in a right that has ended */
    uint64_t zombie_len;     /* its WAL when the pause began: what lies before may be told late */
    int64_t agent_restart_at_ms;
    bool loose;              /* its commit gate lets a session commit without standbys */
    int64_t lags_until;      /* its stream stands still */
    int64_t disk_until, disk_since; /* its volume takes no write; since when, by its own clock */
    int64_t kill_container_at;
    int64_t terminate_at_ms, grace_until_ms;
    unsigned uid;
    uint64_t boot;
    struct identity id;
    struct settings set;
    int64_t set_at_ms;       /* takes the cluster's settings then */
    struct view view;        /* kept between turns: its records change rarely and are large */
    bool new_lease, new_state, new_record;
    struct decided ver;
    int64_t next_turn_ms, agent_started;
    int64_t busy_until_ms;   /* its thread is in a long turn */
    int quiet;               /* turns in a row that came to the same */
    int64_t page_deadline, lapsed; /* when the page was first seen past its deadline, 0 = live */
    bool fenced;
    int64_t kill_at_ms;
    bool kill_by_guard;
    bool leftovers;          /* children outlived a stop and hold the volume lock */
    bool wal_missing;
    int64_t seen_at_ms;      /* its agent has looked at the data directory then */
    bool damaged;            /* its WAL cannot be read: no start succeeds */
    uint8_t failed_starts;
    bool lost;               /* no container before heal() */
    /* durable */
    uint64_t volume, durable_epoch;
    bool has_record;
    struct record record;
    enum data_state data;
    uint64_t system_id;
    uint64_t len; /* of its log */
    uint64_t unread; /* last entries that the server does not see in this life */
    int unread_lives;
    bool settings_low; /* replay stands still in this life: the primary's settings need more */
    uint32_t tl;
    /* server */
    enum pg_process proc;
    bool crashed, recovery, writable, clean, answers, accounted;
    bool admitted, closed, gate_wanted_open;
    int64_t gate_at_ms, proc_at_ms, accounted_at_ms;
    uint64_t frozen_epoch, detach_epoch;
    int64_t detach_at_ms;
    uint64_t follows, follows_epoch;
    bool provisional;
    int64_t reconnect_at_ms;
    struct stream st;
    struct ssn ssn, ssn_backend;
    int64_t ssn_at_ms;
    uint64_t ssn_seq, proof_lsn;
    int64_t append_at_ms;
    uint64_t promoted_end;
    int64_t up_local; /* this life began to answer */
    int64_t promote_at_ms, promoted_local, checkpoint_local, checkpoint_begun, checkpoint_at_ms;
    uint32_t promote_tl;
    uint64_t promote_epoch, reign_epoch;
    enum pg_op op;
    enum op_state op_state;
    uint8_t op_failures;
    int64_t op_at_ms, op_since;
    uint64_t acked_upto;
    enum ha_role label;
    /* API client */
    enum api_mode api;
    int64_t watch_from_ms;
    bool known;
    uint64_t seen_rv, seen_state;
    struct lease lease;
    int64_t changed, got, contact;
    bool get_pending, get_served;
    struct lease get_lease;
    uint64_t get_rv;
    int64_t get_sent, get_serve_ms, get_at_ms, get_next_ms;
    struct put put;
    int n_late;              /* writes in late that are on their way */
    struct put late[LATE_MAX];
    enum write_kind wkind;
    enum write_outcome outcome;
    uint64_t wseq;
    int64_t wsent, wdone;
    int32_t wdur;
    bool wholder;
    struct state_view state;
    struct intent intent;
    /* peers: what they said lies in the view */
    struct talk talk[N_MAX];
    int64_t ask_ms[N_MAX];
    struct peer_request vote, dup;
    bool has_vote, has_dup;
    int64_t vote_local, dup_at_ms;
    int promise_from;
    uint8_t terminate;
    uint32_t log[LOG_MAX], logtl[LOG_MAX];
};

struct world {
    int64_t now;
    uint64_t rng;
    int n;
    int64_t due_ms[N_MAX];    /* nothing can happen to a member before then */
    struct ask ask[N_MAX][N_MAX]; /* who asks, who is asked */
    /* Which of them are of interest, a bit for each other member: those on their way to this one; those that
     * it has yet to answer; its own that are open. */
    uint8_t coming[N_MAX], waiting[N_MAX], asked[N_MAX];
    struct member m[N_MAX];
    struct lease lease;
    uint64_t rv, state_seq;   /* versions of the Lease; of ConfigMap and intent */
    struct lease old_lease;   /* for a restore */
    uint64_t restored_rv;     /* of the last restore, 0 = none */
    bool has_old;
    bool link[N_MAX][N_MAX];  /* directed */
    struct state_view state;
    struct settings set;      /* of the cluster */
    bool dense;               /* every member at every step: agents turn all the time */
    int64_t lively_until_ms, lively_from_ms; /* clients write much: around each fault, after a promotion */
    bool gate;                /* the commit gate is loaded */
    int lose_puts, late_puts; /* percent of lease writes */
    int late_answers;         /* percent of peers' answers */
    bool trap;                /* the next change of the record is applied and the reply lost */
    bool calm;                /* the last faults are over */
    bool early; /* a strict writer may be succeeded inside its lease */
    bool modes;               /* asynchronous replication comes and goes */
    int64_t flap_until_ms, flap_next_ms;
    struct intent intent;
    int64_t intent_until_ms;
    uint32_t next_entry;
    /* ledger: what clients were told or could read */
    bool kept[ENTRY_MAX];
    uint64_t kept_epoch[ENTRY_MAX]; /* of the writer that told it first */
    uint64_t acks;
    int last_acker;
    uint64_t given_up_epoch; /* what writers of older epochs had acknowledged may be lost */
    uint64_t last_ack_epoch;
    uint64_t timeline_owner[OWNED_MAX];
    uint64_t promotions, initdbs;
    int64_t lost_at_ms;       /* the last copy that was lost */
    uint32_t by_hand;         /* promotions by hand */
    const char *violation;
    char detail[256];
    bool trace;
    uint64_t turns;
};

extern struct world W;

#define TRACE(m, ...)                                                                              \
    do {                                                                                           \
        if (W.trace) {                                                                             \
            printf("%7" PRId64 " m%d ", W.now, (m)->idx);                                          \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static inline uint64_t rnd(void)
{
    W.rng ^= W.rng << 13;
    W.rng ^= W.rng >> 7;
    W.rng ^= W.rng << 17;
    return W.rng * 0x2545F4914F6CDD1Dull;
}

/* Of less than 2^32 values. */
static inline int64_t between(int64_t a, int64_t b)
{
    return a + (int64_t)((rnd() >> 32) * (uint64_t)(b - a + 1) >> 32);
}

static inline bool chance(int percent)
{
    return between(0, 99) < percent;
}

static inline bool chance_in(int n) /* one in n */
{
    return between(1, n) == 1;
}

static inline uint64_t random_id(void)
{
    return rnd() | 1;
}

static inline void soonest(int64_t *due, int64_t at)
{
    if (at < *due)
        *due = at;
}

static inline void not_before(int64_t *due, int64_t least)
{
    if (*due < least)
        *due = least;
}

static inline void soonest_if_set(int64_t *due, int64_t at)
{
    if (at != 0)
        soonest(due, at);
}

static inline bool alive(const struct member *m)
{
    return m->container && m->node_frozen_until <= W.now;
}

static inline bool linked(int a, int b) /* both ways, both alive */
{
    return W.link[a][b] && W.link[b][a] && alive(&W.m[a]) && alive(&W.m[b]);
}

/* What this member knows of another one. Who is not yet part of the cluster has the highest index. */
static inline struct peer *peer_at(struct member *m, int i)
{
    return &m->view.peer[i < m->idx ? i : i - 1];
}

/* episode.c */
__attribute__((format(printf, 2, 3))) void violate(const char *what, const char *fmt, ...);

/* operator.c */
const struct record *last_record(void); /* of Lease, ConfigMap and members' volumes; NULL = there is none */

/* model_agent.c: containers, agents, the verdict carried out */
struct member *by_volume(uint64_t v);
void identify(struct member *m);
void container_dies(struct member *m, int64_t back_ms);
void volume_lost(struct member *m);
void promoted_by_hand(struct member *m);
void agent_starts(struct member *m);
void container_starts(struct member *m);
void guard_run(struct member *m);
bool agent_run(struct member *m, bool peers); /* true: it has decided */
void agent_event(struct member *m); /* something has come that its thread waits for */

/* steps.c: who is touched when */
void world_step(int64_t end); /* to the next event, or to end */
int64_t true_time(const struct member *m, int64_t local);
void poke(struct member *m); /* something may happen to it now */
void poke_server(struct member *m); /* to its server alone */
void poke_all(void);
void wake_all(void);

/* model_pg.c */
struct position pos_of(const struct member *m);
void server_gone(struct member *m, bool crashed);
void server_start(struct member *m);
void server_stop(struct member *m);
void server_run(struct member *m);
int64_t server_due(const struct member *m);
void stream_upstream_gone(const struct member *up);
bool log_prefix(const struct member *up, const struct member *down);
void op_begin(struct member *m, enum pg_op op, int64_t lo, int64_t hi);
void op_run(struct member *m);
/* Holds m all that was told in epochs up to this one? */
void check_kept(const struct member *m, uint64_t epoch, const char *when);

/* model_api.c */
void api_client_reset(struct member *m);
bool api_make_late(struct member *m, const struct put *p); /* false: there are too many */
void api_late_writes(struct member *m);
void api_client_run(struct member *m);
void api_get(struct member *m);
void api_write(struct member *m, const struct lease_write *w);
void api_save_state(struct member *m);

/* model_peers.c */
void peers_forget(struct member *m);   /* its agent is new: it has asked nobody */
void peers_collect(struct member *m);  /* asker: replies that have arrived */
void peers_arrive(struct member *m);   /* answerer: requests that have arrived */
void peers_inbox(struct member *m);    /* what is asked now */
void peers_answer(struct member *m, bool turn);
int64_t peers_due(const struct member *m);
void peers_ask(struct member *m);

/* tally.c */
void tally_turn(const struct decided *before, const struct verdict *d);
void tally_fault(enum fault_kind k);

/* operator.c */
bool loss_was_accepted(const struct member *m, uint64_t epoch); /* by an order for it, in force or begun */
void give_up_what_lacks(const struct member *m); /* nothing is promised any more about what m does not hold */

/* faults.c */
void give_intent(enum intent_kind kind, const struct member *target);
void character(void); /* what is special in this episode */
void settings_default(int n, enum repl_mode mode, uint8_t k, bool strict);
void plain_character(void);
extern const char *const fault_names[F_COUNT];
enum fault_kind fault_draw(void);
void fault(enum fault_kind k);
void faults_run(void); /* those that go on for a while */
void heal(void);

#endif
