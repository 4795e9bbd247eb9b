/* A healthy cluster of three as one member's core sees it: where the unit cases of the core begin. */
#ifndef TEST_LIB_HEALTHY_H
#define TEST_LIB_HEALTHY_H

#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "core/record.h"

#define NOW 1000000
#define A 0xaaull
#define B 0xbbull
#define C 0xccull

static inline struct ha_name name_of(int i)
{
    struct ha_name n = {""};
    snprintf(n.s, sizeof n.s, "pg-%d", i);
    return n;
}

static inline struct identity identity_of(int i)
{
    struct identity id = {.name = name_of(i), .boot = 7};
    snprintf(id.uid, sizeof id.uid, "uid-%d", i);
    return id;
}

static inline struct record three(void)
{
    struct record r = {.epoch = 5, .rev = 3, .w = 1, .writer = A, .writer_epoch = 5, .timeline = 4};
    const uint64_t v[] = {A, B, C};
    for (int i = 0; i < 3; i++) {
        struct ha_name n = name_of(i);
        struct record_member *m = record_add(&r, v[i], &n);
        m->in_v = true;
        m->flushed = (struct position){4, 100};
    }
    return r;
}

struct scene { /* one member's turn */
    struct view v;
    struct memo m;
    struct verdict d;
};

/* Member i of three whose primary pg-0 serves in epoch 5; its last renewal was sent 500 ms ago. */
static inline void healthy(struct view *v, struct memo *m, int i)
{
    static const uint64_t volumes[] = {A, B, C};
    memset(v, 0, sizeof *v);
    memset(m, 0, sizeof *m);
    v->now_ms = NOW;
    m->last_turn_ms = NOW - 10;
    v->set = (struct settings){.lease_ms = 10000, .renew_ms = 2000, .retry_ms = 500,
                               .fence_ms = 7000, .kill_ms = 1000, .request_ms = 2000,
                               .mode = REPL_QUORUM, .k = 1, .failsafe = true, .degrade_ms = 5000,
                               .leave_ms = 15000, .stop_ms = 2000,
                               .switchover_lag_bytes = 1000, .members = 3};
    v->self = (struct self){.id = identity_of(i), .ordinal = (uint8_t)i, .volume = volumes[i],
                            .system_id = 9, .data = DATA_OK, .durable_epoch = 5,
                            .has_record = true, .record = three(), .server_lock = TRI_YES};
    v->lv = (struct lease_view){.known = true, .changed_ms = NOW - 500, .got_ms = NOW - 400,
                                .contact_ms = NOW - 400};
    v->lv.lease = (struct lease){.exists = true, .epoch = 5, .duration_s = 10,
                                 .holder = identity_of(0), .record = three(), .has_record = true};
    v->st = (struct state_view){.known = true, .exists = true, .system_id = 9, .epoch = 5,
                                .has_record = true, .record = three()};
    v->pg = (struct pg){.process = PG_RUNNING, .ours = true, .answers = TRI_YES,
                        .in_recovery = i == 0 ? TRI_NO : TRI_YES, .position = {4, 200},
                        .accounted = TRI_YES, .local_timeline = 4, .open = TRI_YES,
                        .closed = TRI_NO};
    if (i == 0) {
        v->pg.maybe_writable = true;
        v->lv.write = WRITE_RENEW;
        v->lv.outcome = OUTCOME_OK;
        v->lv.write_seq = 1;
        v->lv.write_sent_ms = NOW - 500;
        v->lv.write_done_ms = NOW - 495;
        v->lv.write_duration_s = 10;
        v->lv.write_holder = true;
        v->pg.ssn = ssn_of_record(&v->lv.lease.record, A, true, REPL_QUORUM);
        v->pg.ssn_in_force = true;
        v->pg.sender[v->pg.n_senders++] = (struct walsender){B, true, 200, true};
        v->pg.sender[v->pg.n_senders++] = (struct walsender){C, true, 200, true};
    } else {
        v->pg.follows = A;
        v->pg.follows_epoch = 5;
        v->pg.streaming = true;
    }
    for (int j = 0; j < 3; j++) {
        if (j == i)
            continue;
        struct peer *p = &v->peer[v->n_peers++];
        p->name = name_of(j);
        p->pod_known = true;
        p->sent_ms = p->received_ms = NOW - 50;
        p->state = (struct peer_state){.id = identity_of(j), .volume = volumes[j], .system_id = 9,
                                       .data = DATA_OK, .process = PG_RUNNING,
                                       .in_recovery = j == 0 ? TRI_NO : TRI_YES,
                                       .position = {4, 200}, .durable_epoch = 5,
                                       .streams_from = j == 0 ? 0 : A};
    }
}

static inline void at(struct scene *s, int i)
{
    memset(&s->d, 0, sizeof s->d);
    healthy(&s->v, &s->m, i);
}

/* Takes the turn; the rule that fired. */
static inline const char *rule(struct scene *s)
{
    decide(&s->v, &s->m, &s->d);
    return core_rules[s->d.rule].id;
}

/* A new agent: nothing is remembered. */
static inline void forget(struct scene *s)
{
    memset(&s->m, 0, sizeof s->m);
    s->m.last_turn_ms = NOW - 10;
}

/* pg-0 is silent and its Lease as old as the count asks; pg-1 has read it since. */
static inline void expired(struct scene *s)
{
    at(s, 1);
    s->v.lv.changed_ms = NOW - 10000;
    s->v.lv.got_ms = NOW;
    s->v.peer[0].received_ms = 0;
}

/* pg-1 has acquired epoch 6, is frozen for it, and pg-2 has reported; pg-0 is silent. */
static inline void elected(struct scene *s)
{
    at(s, 1);
    struct view *v = &s->v;
    v->lv.lease.holder = identity_of(1);
    v->lv.lease.epoch = 6;
    v->self.durable_epoch = 6;
    s->m.acquired_epoch = 6;
    v->lv.write = WRITE_ACQUIRE;
    v->lv.outcome = OUTCOME_OK;
    v->lv.write_seq = 1;
    v->lv.write_sent_ms = NOW - 30;
    v->lv.write_done_ms = NOW - 20;
    v->lv.write_duration_s = 10;
    v->lv.write_holder = true;
    v->pg.frozen_epoch = 6;
    v->pg.follows = 0;
    v->pg.streaming = false;
    v->peer[0].received_ms = 0;
    v->peer[1].state.frozen_epoch = 6;
    v->peer[1].state.durable_epoch = 6;
}

/* The writer of epoch 6, pg-1, is ready to promote to timeline 5. */
static inline void ready(struct scene *s)
{
    elected(s);
    struct view *v = &s->v;
    v->lv.lease.record.writer = B;
    v->lv.lease.record.writer_epoch = 6;
    v->lv.lease.record.timeline = 5;
    v->lv.lease.record.epoch = 6;
    v->self.record = v->lv.lease.record;
    v->st.epoch = 6;
    v->pg.closed = TRI_YES;
    v->pg.open = TRI_NO;
    v->pg.ssn = ssn_of_record(&v->lv.lease.record, B, false, REPL_QUORUM);
}

/* Takes the turn; whether it saw the fact f. */
static inline bool fact(struct scene *s, uint64_t f)
{
    (void)rule(s);
    return (s->d.facts & f) != 0;
}

/* pg-1 holds the Lease of epoch 5, which has no writer yet, and is frozen. */
static inline void electing(struct scene *s)
{
    at(s, 1);
    s->v.lv.lease.holder = s->v.self.id;
    s->v.lv.lease.record.writer_epoch = s->v.st.record.writer_epoch = s->v.self.record.writer_epoch = 4;
    s->v.pg.frozen_epoch = 5;
    s->m.deadline_ms = NOW + 5000;
    s->m.acquired_epoch = 5;
    s->m.elected_epoch = 5;
    s->m.elected_ms = NOW - 100;
    for (int i = 0; i < 2; i++)
        s->v.peer[i].state.frozen_epoch = 5;
}

/* It has not answered for 20 s. */
static inline void stale(struct peer *p)
{
    p->sent_ms = p->received_ms = NOW - 20000;
}

/* The writer of epoch 5 whose server is down. */
static inline void down(struct scene *s, bool crashed)
{
    at(s, 0);
    s->v.pg = (struct pg){.process = PG_DOWN, .crashed = crashed, .position = {4, 200}, .accounted = TRI_YES,
                          .local_timeline = 4};
    s->m.deadline_ms = NOW + 5000;
    s->m.proven = true;
    s->m.right_seq = 1;
}

#endif
