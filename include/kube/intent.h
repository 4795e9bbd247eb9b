/* JSON of operator intents, their results and the history, as kept in the ConfigMap.
 *
 * Decoding is strict: unknown keys, wrong types, values out of range and texts that do not fit are
 * errors, since a half-understood order is worse than none. Encoding is compact, on one line. */
#ifndef PGHAD_KUBE_INTENT_H
#define PGHAD_KUBE_INTENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/intent.h"

#define INTENT_JSON_MAX 4096  /* bytes of one intent, result or history line */
#define HISTORY_LINES_MAX 100 /* entries kept in the ConfigMap, oldest dropped */

/* Words as in JSON, CLI and logs; NULL for a value outside the enum. */
const char *intent_kind_name(enum intent_kind kind);   /* "switchover", …; NONE: "none" */
const char *intent_state_name(enum intent_state state); /* "accepted", …; NONE: "none" */
const char *intent_phase_name(enum intent_phase phase); /* "preflight", … "first-write" */
bool intent_state_final(enum intent_state state);      /* done, failed or refused */

/* An empty result: every duration -1. */
void intent_result_init(struct intent_result *r, const struct intent *in);

/* Append to b (INTENT_JSON_MAX is enough); false when it does not fit. */
bool intent_encode(const struct intent *in, struct buf *b);
bool intent_result_encode(const struct intent_result *r, struct buf *b);
/* *ret is written on success only. ERR_INVALID names the key. */
bool intent_decode(const char *json, size_t len, struct intent *ret, struct err *e);
bool intent_result_decode(const char *json, size_t len, struct intent_result *ret, struct err *e);

/* May the intent still be begun or is it under way, so that a new one must wait? lease_epoch is
 * the Lease's now. One that was accepted stays open through the change of epoch that it causes,
 * until its expiry. */
bool intent_open(const struct intent *in, const struct intent_result *r, uint64_t lease_epoch,
                 int64_t now_s);

/* One change of the primary: a line of `history`. */
struct history_entry {
    int64_t time_s; /* 1970 */
    uint64_t epoch;
    uint32_t timeline;
    uint64_t lsn;       /* where the new timeline begins, 0 = unknown */
    char cause[64];     /* "bootstrap", "switchover", "failover", "restart", … */
    struct ha_name from; /* "" = nobody */
    struct ha_name to;
    int32_t write_gap_ms; /* nobody could write for at most this long; -1 = unknown */
    int64_t lost_bytes;   /* acknowledged WAL that the new primary lacks: 0 = proved none, -1 = unknown */
    int32_t phase_ms[PHASE_COUNT]; /* -1 = not known or not part of this change */
    char reason[INTENT_TEXT_SIZE]; /* in words */
};

void history_entry_init(struct history_entry *h); /* empty: every duration and loss unknown */

bool history_encode(const struct history_entry *h, struct buf *b); /* without the line end */
bool history_decode(const char *json, size_t len, struct history_entry *ret, struct err *e);

#endif
