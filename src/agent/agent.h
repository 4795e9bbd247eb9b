/* The agent's own state, shared between the files of this area only.
 *
 * The turn: observe (adapters -> view), decide (pure), act (verdict -> adapters), publish. Nothing
 * here decides; when a condition looks like policy it belongs into the core. */
#ifndef PGHAD_AGENT_AGENT_H
#define PGHAD_AGENT_AGENT_H

#include "agent/addresses.h"
#include "agent/api.h"
#include "agent/succession.h"
#include "base/page.h"
#include "config/config.h"
#include "core/core.h"
#include "core/record.h"
#include "http/client.h"
#include "http/peer.h"
#include "http/server.h"
#include "loop/guardlink.h"
#include "loop/loop.h"
#include "pg/barrier.h"
#include "pg/collation.h"
#include "pg/conf.h"
#include "pg/datadir.h"
#include "pg/detach.h"
#include "pg/job.h"
#include "pg/peer.h"
#include "pg/probe.h"
#include "pg/state.h"
#include "pg/task.h"

/* One life of the local server, from its start to its end. */
struct server {
    pid_t pid;             /* 0 = down */
    uint32_t starts;       /* guard's count when this life began */
    bool seen;             /* this agent saw this life */
    bool inherited;        /* an earlier agent started it: its settings are not known at first */
    bool answered;         /* a session has worked in this life */
    enum tri in_recovery;  /* last known in this life */
    uint32_t timeline;     /* last known in this life, 0 = not yet */
    bool end_requested;    /* stop or kill asked for in this life */
    bool crashed, clean;   /* how the last life ended */
    int64_t stop_since_ms;
    int64_t next_start_ms; /* back-off after a start that failed */
    int64_t start_sent_ms;
    unsigned failed_starts;
    bool floors_read;      /* which parameters its data directory does not let go below a value */
    bool unread;           /* the server has yet to be told that its files have changed */
    bool strict;           /* the commit gate was strict in this life since before it admitted anybody */
    bool armed;            /* guard knows that it may become writable */
    int64_t promoted_ms;
    uint64_t promoted_end_lsn;
    int64_t promote_next_ms; /* next wake-up */
    int64_t reached_ms;    /* last moved then in this life */
    struct position last;  /* last position known, kept while down */
    struct position walend;/* end of local WAL of this life or of the time since it ended */
    bool walend_known;
    bool hidden;           /* the last life ended before it had read all of it */
    bool walend_wanted;
    /* While the end cannot be found: pg_control's lower bound, and what the failures say. */
    struct position floor;
    unsigned walend_failures;
    int64_t needs_ms;      /* pg_control was last read in this life for what a standby must have */
    uint32_t needs[PG_NEEDS];
    bool wal_unreadable;   /* no valid record where recovery has to begin: no start can succeed */
};

/* The setting of synchronous_standby_names and the proof of its effect. */
struct sync_setting {
    struct ssn want;
    int64_t written_ms;
    struct pg_barrier barrier;
    bool in_force;
    int64_t in_force_ms;
    uint64_t proof_lsn;
    int64_t checkpoint_asked_ms;
    int64_t overruled_ms; /* a value set by hand was last taken away */
};

struct gate { /* hba: closed or open, and the proof */
    bool closed;
    bool written;
    int64_t written_ms;
    enum tri proved_closed;
    int64_t next_probe_ms;
};

struct follow {
    uint64_t volume, epoch;
    char address[48];
    int64_t since_ms;          /* upstream set */
    int64_t not_streaming_ms;  /* 0 = streams */
    int64_t asked_ms, again_ms;  /* question under way; not before */
    enum tri diverged;
    uint64_t judged_epoch;     /* epoch of the judgement */
    struct pg_history history; /* the writer's, when it was asked */
    bool has_history;
    bool wal_missing;
    bool provisional;          /* under a name that confirms nothing */
    bool history_holds;        /* the judgement was about all of own WAL, and good */
    struct position received;  /* the furthest that it has received or replayed from here */
};

struct spare { /* the WAL segment made in advance, see spare.c */
    pid_t maker;     /* 0 = none under way */
    bool there;      /* as last looked */
    int64_t next_ms;
};

struct stream_base { /* when a walsender's volume counts as caught up */
    uint64_t volume;
    int64_t start_us;
    uint64_t lsn;
};

struct member { /* another member, by pod */
    struct peer peer;
    char ip[48];
    int64_t ip_since_ms; /* when the API told another address than before, 0 = never */
    bool hinted; /* the address is from disk, the API has not spoken yet */
    struct peer_channel *channel;
    int64_t asked_ms;
    enum peer_ask asked;
    int64_t its_ask_ms;     /* when it last asked us */
    int64_t chase_until_ms; /* the holder asks in quick succession: something is under way there */
};

struct passwords { /* see passwords.c */
    char members[PG_SECRET_SIZE]; /* as in the file now */
    char older[PG_SECRET_SIZE];   /* before its last change in this life of the agent, "" = none */
    int64_t changed_ms;           /* that change, 0 = none */
    int64_t look_ms, tried_ms;
    int64_t since_ms;             /* primary since then, 0 = not */
    int64_t again_ms;             /* the roles are not looked at before */
    bool members_done, superuser_done; /* the server has what the files say */
    bool asking;
    unsigned setting;             /* enum pg_roles of the task under way */
};

struct events_seen { /* last published, so that an event is emitted on change only */
    uint32_t rule;
    enum ha_role role;
    bool sealed, failsafe, fails;
    int64_t rule_since_ms;
};

struct storage { /* storage.c */
    pid_t probe; /* 0 = none is under way */
    int64_t since_ms, next_ms;
    bool told;
};

struct agent {
    struct loop *loop;
    struct guard_link *link;
    struct fence_page *page;
    struct config cfg;
    struct config_sources sources;
    struct settings set;
    struct identity id;
    uint8_t ordinal;
    int64_t started_ms;

    struct pg_env env;
    struct pg_engine *engine;
    struct pg_conf *conf;
    bool conf_due; /* the user's part changed: write and reload */
    struct pg_probe *probe;
    struct pg_detach *detach;
    struct pg_task *misc, *checkpoint, *roles;
    struct pg_job *job;
    struct pg_peer *asker, *login;
    struct passwords passwords;
    struct pg_hbaprobe *hbaprobe;
    struct pg_collation *collation;
    int64_t collation_next_ms;
    bool collation_told;
    struct pg_state state;
    bool state_unwritten; /* the last attempt failed, and it was told */
    struct pg_datadir dir;
    uint64_t chosen_volume; /* the record names it as the one that initialises */
    int64_t dir_looked_ms;
    enum pg_op op;
    uint64_t source_epoch; /* of the writer that a clone or rewind takes from */
    uint8_t op_failures;
    int64_t op_next_ms;
    int64_t checkpoint_ms; /* begin of the last completed one */
    int64_t slots_ms;
    uint64_t slots_set; /* what the last task was for: the volumes, summed, and whether others are dropped */
    int64_t volume_old_ms; /* since when less is here than the record says, 0 = it is not so */
    bool clients_ended;
    bool senders_ended;

    struct server server;
    struct sync_setting sync;
    struct gate gate;
    struct follow follow;
    struct spare spare;
    struct stream_base base[HA_MEMBERS_MAX];

    struct http_client *client;
    struct http_server *rest;
    struct peer_server *peers_in;
    struct peer_tokens tokens;
    struct member member[HA_MEMBERS_MAX];
    uint8_t n_members;
    int64_t hot_until_ms; /* somebody waits for our position: look often */

    struct api *api;
    enum ha_role label;   /* as last confirmed */

    struct view view;
    struct memo memo;
    struct verdict verdict;
    uint64_t vote_ticket, promise_ticket;
    struct events_seen seen;
    char rights_missing[128]; /* "update leases, patch pods": told as forbidden; "" = none */
    unsigned rights_missing_n;
    struct status status;
    struct succession succession;
    char annotated[API_ANNOTATION_MAX]; /* what of the published status counts as a change */
    uint64_t reloaded_intent;
    struct intent_result result; /* of the operation in hand */
    enum intent_phase op_phase;
    int64_t op_phase_since_ms;   /* 0 = none under way */
    uint64_t settings_generation;
    struct recorder *recorder;
    struct storage storage;
    bool exiting;
    bool standalone; /* no Kubernetes: see standalone.c */
    bool reload_wanted;
    char refused[STATUS_TEXT_SIZE]; /* why the last settings given are not in force, "" = they are */
    char unprepared[STATUS_TEXT_SIZE]; /* why the server cannot even be started, "" = it can */
    uint64_t file_seen;             /* stamp of the settings file when it was read last */
    int64_t file_next_ms;
    int64_t last_now_ms;
    int64_t trim_next_ms;
    struct addresses addresses; /* as on disk */
    int64_t addresses_next_ms;
};

/* setup.c. Loop and guard first, then the rest. */
bool agent_base(struct agent *a, struct err *e);
bool agent_identity(struct agent *a, struct err *e);
bool agent_env(struct agent *a, struct err *e);     /* paths, directories, version of the binaries */
bool agent_secrets(struct agent *a, struct err *e); /* the passwords */
bool agent_setup(struct agent *a, struct err *e);
bool agent_setup_standalone(struct agent *a, struct err *e);
bool agent_user_conf(struct agent *a, struct err *e);
void agent_show_config(struct agent *a);

/* observe.c */
void observe(struct agent *a, int64_t now);
void observe_server(struct agent *a, int64_t now);

/* members.c. The finders: NULL, there is none; member_slot() makes one, NULL: no room. */
struct member *member_of_volume(struct agent *a, uint64_t volume);
struct member *member_of_name(struct agent *a, const struct ha_name *name);
struct member *member_slot(struct agent *a, const struct ha_name *name);
void observe_members(struct agent *a, int64_t now);

/* act.c, act_pg.c, act_job.c; act_parts.h is theirs */
void act(struct agent *a, int64_t now);
void act_pg(struct agent *a, int64_t now);
bool settings_known(const struct agent *a); /* what its files say is this agent's word */
void act_peers(struct agent *a, int64_t now);
bool agent_begin_initdb(struct agent *a, struct err *e);
int64_t peers_rest_ms(const struct agent *a); /* pace of questions among members at rest */

static inline const struct rule *rule_of(const struct agent *a)
{
    return &core_rules[a->verdict.rule];
}

/* alarms.c */
void fill_alarms(struct agent *a, struct status *s, int64_t now);
const char *why_not_started(const struct agent *a); /* NULL: its server starts, or was not tried often enough */

/* changes.c */
/* Before act(): its answers to peers say how the writes here have ended, from the turn of the end on. */
void succession_note(struct agent *a, int64_t now);
void fill_changes(const struct agent *a, struct status *s);
void tell_changes(struct agent *a, int64_t now); /* of a->status, once each */

/* publish.c */
void publish(struct agent *a, int64_t now);
void publish_annotation(struct agent *a, int64_t now); /* of a->status, on change */
void fill_peer_state(const struct agent *a, struct peer_state *s);

/* recorder.c: the flight recorder. Note after decide() and before act(): act() replaces the memo. */
struct recorder;
struct recorder *recorder_new(void);
void recorder_note(struct agent *a, int64_t now, bool held);
void recorder_flush(struct agent *a, int64_t now);

/* storage.c: since when a write to the volume has not come back, 0 = none is open. */
int64_t storage_look(struct agent *a, int64_t now);

/* operations.c */
void operations(struct agent *a, int64_t now);
void rights_turn(struct agent *a, int64_t now); /* tells what is forbidden */

/* volume.c: what is wrong with the volume, as a sentence about this member; false: nothing. */
bool volume_is_a_copy(const struct agent *a, int64_t now, char *text, size_t size);
bool volume_is_old(struct agent *a, int64_t now, char *text, size_t size);
/* waiting.c: the start failed with why. Stays until what is wrong is mended and gives the exit code with
 * which guard starts the agent anew. */
int waiting_room(struct agent *a, const char *file, const struct err *why);

/* standalone.c */
bool standalone_wanted(void); /* nothing in the environment speaks of Kubernetes */
bool standalone_possible(const struct config *c); /* nor do the settings */
void standalone_reload(struct agent *a);
void standalone_turn(struct agent *a);

/* addresses.c */
void addresses_load(struct agent *a);
void addresses_keep(struct agent *a, int64_t now); /* once the API has told the pods; on change */

/* passwords.c */
void passwords_turn(struct agent *a, int64_t now);

/* collations.c */
void collations_turn(struct agent *a, int64_t now);

/* spare.c: a new writer is about to be followed: its timeline's first segment. */
void spare_turn(struct agent *a, int64_t now);
void spare_use(struct agent *a);

/* trim.c */
void agent_trim(struct agent *a, int64_t now); /* once a turn; does something once a minute at rest */

/* agent.c */
/* Reads file, environment, cluster-wide settings and token again. False with the first fault; what is
 * faulty keeps its old value. */
bool agent_reload(struct agent *a, struct err *e);
void agent_turn(struct agent *a);
void pg_ssn_of(const struct ssn *s, struct pg_ssn *ret);
void ssn_from(const struct pg_ssn *p, struct ssn *ret);

#endif
