/* What is recorded of a change of the primary: from whom to whom, why, how long nobody could write.
 *
 * Pure bookkeeping: fed with what each turn shows, it yields one history entry per admission on a new
 * timeline. Every duration is taken on this member's own CLOCK_BOOTTIME. The end of writes on another
 * member comes from its answers: it says how long ago it could last acknowledge a write (a duration, which
 * needs no common clock), and that is counted back from the moment our question was SENT. So the end is
 * not placed too late, and the write gap is an upper bound: it exceeds the real gap by about a round trip
 * when the old primary's supervisor lived on, and by the interval of the questions (a second at rest) when
 * it vanished. Where the Lease was given back, a prompter answer is waited for, for a short while. A crash
 * counts from the turn that noticed it. Without any answer the gap is unknown. */
#ifndef PGHAD_AGENT_SUCCESSION_H
#define PGHAD_AGENT_SUCCESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/intent.h"
#include "core/types.h"
#include "kube/intent.h"

struct succession_source { /* one other member */
    struct ha_name name;
    uint64_t volume;
    int64_t written_ms;   /* it could still write then; never later than the truth; 0 = never heard */
    int64_t until_ms;     /* by its last answer: never earlier than the truth */
    bool ended;           /* it could not any more when it last answered */
    enum write_end end;
};

struct succession {
    int64_t written_ms;   /* this member could acknowledge a write in a turn then; 0 = never */
    int64_t turn_ms;
    bool serving, open, initialised; /* open: served and nothing was to end it */
    enum write_end end;              /* of this member's last time as writer */
    struct succession_source other[HA_MEMBERS_MAX];
    uint8_t n;
    /* the way to the Lease */
    uint64_t writer;      /* volume that could write before us, 0 = not known */
    struct ha_name writer_name;
    struct ha_name holder_before;
    int64_t renewed_ms;   /* last change of the Lease while somebody else held it */
    struct release release;
    bool held;
    int64_t held_ms, armed_ms; /* Lease in hand; promotion armed */
    uint8_t w;            /* acknowledgements that commits waited for before us */
    uint64_t sealed;
    /* the last admission here */
    bool due;             /* not yet compared with the cluster's history */
    bool word_due;        /* the predecessor gave the Lease back and will say when and how its writes ended */
    uint64_t predecessor; /* volume */
    int64_t admitted_ms;
    int64_t write_gap_ms; /* -1 = unknown */
    struct history_entry entry;
};

/* What one turn shows. */
struct succession_look {
    int64_t now_ms, wall_s;
    const struct identity *self;
    uint64_t volume;
    bool serving;   /* clients are admitted and the right is live */
    bool stopping;  /* a stop is ordered in this turn */
    bool killing;   /* a kill */
    bool crashed, initialising;
    bool armed;     /* the server may become writable */
    int64_t promoted_ms;
    uint64_t promoted_end_lsn;
    const struct lease *lease;
    int64_t lease_changed_ms;
    uint64_t bypass_epoch;     /* of the memo */
    const struct intent *intent;         /* kind NONE = none */
    const struct intent_result *result;  /* of the operation in hand; id 0 = none */
    const struct intent_result *begun;   /* as the old primary left it */
    bool history_known;
    const struct history_entry *last;    /* latest entry of the cluster's history, NULL = none */
};

/* An answer of another member, received at done_ms, to a question sent at sent_ms. */
void succession_heard(struct succession *s, const struct peer_state *st, int64_t sent_ms, int64_t done_ms);
/* Once a turn; true when *ret is a new entry of the history. */
bool succession_turn(struct succession *s, const struct succession_look *l,
                     struct history_entry *ret);
/* For our own answers: at least 1; 0 = never since this agent started. */
int64_t succession_written_ago(const struct succession *s, int64_t now_ms);

#endif
