/* Snapshots for tests of routes, documents and the server. */
#ifndef PGHAD_TEST_SAMPLE_STATUS_H
#define PGHAD_TEST_SAMPLE_STATUS_H

#include <string.h>

#include "base/str.h"
#include "http/status.h"

#define SAMPLE_NOW 1000000

static inline void sample_common(struct status *s)
{
    memset(s, 0, sizeof(*s));
    (void)str_copy(s->cluster.s, sizeof(s->cluster.s), "pg");
    (void)str_copy(s->ns.s, sizeof(s->ns.s), "db");
    (void)str_copy(s->name.s, sizeof(s->name.s), "pg-0");
    (void)str_copy(s->holder.s, sizeof(s->holder.s), "pg-0");
    (void)str_copy(s->rule.s, sizeof(s->rule.s), "serve");
    (void)str_copy(s->reason, sizeof(s->reason), "holder, writable");
    (void)str_copy(s->state, sizeof(s->state), "running");
    s->volume = 0xabcdef;
    s->system_id = UINT64_C(7412345678901234567);
    s->published_ms = SAMPLE_NOW - 20;
    s->published_us = INT64_C(1763700000123456);
    s->data = DATA_OK;
    s->process = PG_RUNNING;
    s->server_version = 150004;
    s->timeline = 3;
    s->epoch = 4;
    s->lease_seen_ms = SAMPLE_NOW - 500;
    s->lease_duration_ms = 10000;
    s->mode = REPL_QUORUM;
    s->ready_max_lag_bytes = 16 << 20;
    s->v_size = 3;
    s->w = 1;
}

static inline void sample_primary(struct status *s)
{
    sample_common(s);
    s->role = ROLE_PRIMARY;
    s->in_recovery = TRI_NO;
    s->is_holder = true;
    s->lease_renewed_ms = SAMPLE_NOW - 700;
    s->fence_deadline_ms = SAMPLE_NOW + 6300;
    s->write_lsn = UINT64_C(0x16B374D48);
}

static inline void sample_replica(struct status *s)
{
    sample_common(s);
    (void)str_copy(s->name.s, sizeof(s->name.s), "pg-1");
    (void)str_copy(s->state, sizeof(s->state), "streaming");
    s->role = ROLE_REPLICA;
    s->in_recovery = TRI_YES;
    s->streaming = true;
    s->joined = true;
    s->sync = STATUS_SYNC_QUORUM;
    s->received_lsn = UINT64_C(0x16B374D48);
    s->replayed_lsn = UINT64_C(0x16B374000);
    s->replay_lag_bytes = 0xD48;
}

/* Every array full and every text as long as it may be, with bytes that need escaping. */
static inline void sample_full(struct status *s)
{
    sample_replica(s);
    static const char hard[] = "a\"b\\c\nd\te\x01\xff\xe2\x82\xac<";
#define FILL(field)                                                                                \
    do {                                                                                           \
        for (size_t i_ = 0; i_ < sizeof(field) - 1; i_++)                                          \
            (field)[i_] = hard[i_ % (sizeof(hard) - 1)];                                           \
        (field)[sizeof(field) - 1] = '\0';                                                         \
    } while (0)
    FILL(s->reason);
    FILL(s->rule.s);
    FILL(s->pending_restart_reason);
    s->pending_restart = true;
    s->members_n = HA_MEMBERS_MAX;
    s->history_n = STATUS_HISTORY_MAX;
    s->decisions_n = STATUS_DECISIONS_MAX;
    s->alarms_n = STATUS_ALARMS_MAX;
    s->slots_n = STATUS_SLOTS_MAX;
    s->tags_n = STATUS_TAGS_MAX;
    for (uint8_t i = 0; i < HA_MEMBERS_MAX; i++) {
        struct status_member *m = &s->members[i];
        FILL(m->name.s);
        FILL(m->state);
        FILL(m->address);
        m->received_lsn = m->replayed_lsn = UINT64_MAX;
        m->receive_lag_bytes = m->replay_lag_bytes = INT64_MAX;
        m->volume = UINT64_MAX;
        m->tags_n = STATUS_TAGS_MAX;
        for (uint8_t t = 0; t < STATUS_TAGS_MAX; t++) {
            FILL(m->tags[t].key);
            FILL(m->tags[t].value);
        }
    }
    for (uint8_t i = 0; i < STATUS_HISTORY_MAX; i++) {
        struct status_history *h = &s->history[i];
        *h = (struct status_history){.at_us = s->published_us, .epoch = i, .lsn = 1,
                                     .lost_bytes = -1, .write_gap_ms = 320,
                                     .phases_n = STATUS_PHASES_MAX};
        FILL(h->cause);
        for (uint8_t p = 0; p < STATUS_PHASES_MAX; p++)
            FILL(h->phases[p].name);
    }
    for (uint8_t i = 0; i < STATUS_DECISIONS_MAX; i++) {
        s->decisions[i].at_us = s->published_us;
        FILL(s->decisions[i].reason);
    }
    for (uint8_t i = 0; i < STATUS_SLOTS_MAX; i++) {
        (void)str_format(s->slots[i].name.s, sizeof(s->slots[i].name.s), "slot_%d", i);
        s->slots[i].retained_bytes = 1024;
    }
    for (uint8_t i = 0; i < STATUS_ALARMS_MAX; i++) {
        (void)str_format(s->alarms[i].name, sizeof(s->alarms[i].name), "alarm-%d", i);
        FILL(s->alarms[i].text);
    }
    for (uint8_t i = 0; i < STATUS_TAGS_MAX; i++)
        (void)str_format(s->tags[i].key, sizeof(s->tags[i].key), "tag%d", i);
    s->n.api_n = STATUS_API_MAX;
    for (uint8_t i = 0; i < STATUS_API_MAX; i++) {
        struct status_api_count *a = &s->n.api[i];
        (void)str_copy(a->verb, sizeof(a->verb), "update");
        (void)str_copy(a->resource, sizeof(a->resource), "leases");
        a->code = 200 + i;
        a->count = i;
    }
    s->n.failovers_n = 2;
    (void)str_copy(s->n.failovers[0].cause, STATUS_WORD_SIZE, "failover");
    (void)str_copy(s->n.failovers[1].cause, STATUS_WORD_SIZE, "switchover");
    s->n.failover_phases_n = 2;
    (void)str_copy(s->n.failover_phases[0].name, STATUS_WORD_SIZE, "detect");
    (void)str_copy(s->n.failover_phases[1].name, STATUS_WORD_SIZE, "promote");
    s->n.failover_phases[1].ms = 1234;
    s->n.switchovers = 1;
    s->n.switchover_write_gap_ms = 340;
    status_hist_add(&s->n.loop, 300);
    status_hist_add(&s->n.loop, 3000000);
    status_hist_add(&s->n.lease_renew, 99000000);
#undef FILL
}

#endif
