/* Values come from small pools, so that those that matter to each other often meet. */
#include "decide_view.h"

#include "core/record.h"

#define NOW 100000000
#define VOLUMES 5

static const uint64_t volumes[VOLUMES] = {0, 0xaa, 0xbb, 0xcc, 0xdd};

static struct ha_name name_of(unsigned i)
{
    struct ha_name n = {""};
    if (i < 4)
        (void)snprintf(n.s, sizeof(n.s), "db-%u", i);
    return n;
}

static struct identity identity_of(unsigned i, uint64_t boot)
{
    struct identity id = {.name = name_of(i), .boot = boot};
    if (i < 4)
        (void)snprintf(id.uid, sizeof(id.uid), "uid-%u", i);
    return id;
}

static struct record three(void)
{
    struct record r = {.epoch = 5, .rev = 3, .w = 1, .writer = 0xaa, .writer_epoch = 5,
                       .timeline = 4};
    for (unsigned i = 0; i < 3; i++) {
        struct ha_name n = name_of(i);
        struct record_member *m = record_add(&r, volumes[i + 1], &n);
        m->in_v = true;
        m->flushed = (struct position){4, 100};
    }
    return r;
}

static void base_lease(struct view *v, bool holder)
{
    v->lv = (struct lease_view){.known = true, .changed_ms = NOW - 500, .got_ms = NOW - 400,
                                .contact_ms = NOW - 400};
    v->lv.lease = (struct lease){.exists = true, .epoch = 5, .duration_s = 10,
                                 .holder = identity_of(0, 7), .record = three(),
                                 .has_record = true};
    v->st = (struct state_view){.known = true, .exists = true, .system_id = 9, .epoch = 5,
                                .has_record = true, .record = three()};
    if (!holder)
        return;
    v->lv.write = WRITE_RENEW;
    v->lv.outcome = OUTCOME_OK;
    v->lv.write_seq = 1;
    v->lv.write_sent_ms = NOW - 500;
    v->lv.write_done_ms = NOW - 495;
    v->lv.write_duration_s = 10;
    v->lv.write_holder = true;
}

static void base_server(struct view *v, bool primary)
{
    v->pg = (struct pg){.process = PG_RUNNING, .ours = true, .answers = TRI_YES,
                        .in_recovery = primary ? TRI_NO : TRI_YES, .position = {4, 200},
                        .accounted = TRI_YES, .local_timeline = 4, .open = TRI_YES,
                        .closed = TRI_NO};
    if (!primary) {
        v->pg.follows = 0xaa;
        v->pg.follows_epoch = 5;
        v->pg.streaming = true;
        return;
    }
    v->pg.maybe_writable = true;
    v->pg.ssn = ssn_of_record(&v->lv.lease.record, 0xaa, true, REPL_QUORUM);
    v->pg.ssn_in_force = true;
    v->pg.sender[v->pg.n_senders++] = (struct walsender){0xbb, true, 200, true};
    v->pg.sender[v->pg.n_senders++] = (struct walsender){0xcc, true, 200, true};
}

static void base_peers(struct view *v, unsigned self)
{
    for (unsigned j = 0; j < 3; j++) {
        if (j == self)
            continue;
        struct peer *p = &v->peer[v->n_peers++];
        p->name = name_of(j);
        p->pod_known = true;
        p->sent_ms = p->received_ms = NOW - 50;
        p->state = (struct peer_state){.id = identity_of(j, 7), .volume = volumes[j + 1],
                                       .system_id = 9, .data = DATA_OK, .process = PG_RUNNING,
                                       .in_recovery = j == 0 ? TRI_NO : TRI_YES,
                                       .position = {4, 200}, .durable_epoch = 5};
    }
}

void view_base(struct view *v, struct memo *m, unsigned i)
{
    memset(v, 0, sizeof(*v));
    memset(m, 0, sizeof(*m));
    v->now_ms = NOW;
    v->set = (struct settings){.lease_ms = 10000, .renew_ms = 2000, .retry_ms = 500,
                               .fence_ms = 7000, .kill_ms = 1000, .request_ms = 2000,
                               .mode = REPL_QUORUM, .k = 1, .failsafe = true, .degrade_ms = 5000,
                               .leave_ms = 15000, .stop_ms = 2000, .switchover_lag_bytes = 1000,
                               .members = 3};
    v->self = (struct self){.id = identity_of(i % 3, 7), .ordinal = (uint8_t)(i % 3),
                            .volume = volumes[i % 3 + 1], .server_lock = TRI_YES};
    if (i == 3)
        return;
    m->last_turn_ms = NOW - 10;
    v->self.system_id = 9;
    v->self.data = DATA_OK;
    v->self.durable_epoch = 5;
    v->self.has_record = true;
    v->self.record = three();
    base_lease(v, i == 0);
    base_server(v, i == 0);
    base_peers(v, i);
}

/* ---- values ---- */

static uint64_t any_volume(struct input *in)
{
    return volumes[input_below(in, VOLUMES)];
}

static struct ha_name any_name(struct input *in)
{
    return name_of(input_below(in, 5));
}

static struct identity any_identity(struct input *in)
{
    uint8_t b = input_byte(in);
    return identity_of(b % 5u, b % 5u == 4 ? 0 : 7 + (b >> 7));
}

static uint64_t any_epoch(struct input *in)
{
    uint8_t b = input_byte(in);
    return b == 255 ? INT64_MAX - 1 : b == 254 ? INT32_MAX : b % 9u;
}

static uint32_t any_timeline(struct input *in)
{
    uint8_t b = input_byte(in);
    return b == 255 ? TIMELINE_MAX : b == 254 ? TIMELINE_MAX - 1 : b % 8u;
}

static uint64_t any_lsn(struct input *in)
{
    uint8_t b = input_byte(in);
    return b == 255 ? UINT64_MAX : b % 8u * 100u;
}

static struct position any_position(struct input *in)
{
    return (struct position){any_timeline(in), any_lsn(in)};
}

static enum tri any_tri(struct input *in)
{
    return (enum tri)input_below(in, 3);
}

/* An instant of the past, 0 = never. */
static int64_t any_past(struct input *in, const struct view *v)
{
    static const int64_t ago[] = {0, 1, 10, 400, 500, 1400, 1500, 1501, 2000, 4001, 5000, 6999,
                                  7000, 9999, 10000, 20001, 60000, 3600000};
    unsigned i = input_below(in, 1 + sizeof(ago) / sizeof(ago[0]));
    return i == 0 || ago[i - 1] > v->now_ms ? 0 : v->now_ms - ago[i - 1];
}

static int64_t any_future(struct input *in, const struct view *v)
{
    static const int64_t to[] = {-5000, -1, 0, 1, 500, 999, 1000, 1001, 5000, 7000, 600000};
    return v->now_ms + to[input_below(in, sizeof(to) / sizeof(to[0]))];
}

static void any_settings(struct settings *s, struct input *in)
{
    switch (input_below(in, 11)) {
    case 0:
        s->lease_ms = 5000, s->renew_ms = 1000, s->retry_ms = 250, s->fence_ms = 3000;
        s->kill_ms = 500, s->request_ms = 1000;
        break;
    case 1:
        s->lease_ms = 300000, s->renew_ms = 60000, s->retry_ms = 10000, s->fence_ms = 200000;
        s->kill_ms = 20000, s->request_ms = 20000;
        break;
    case 2: s->mode = (enum repl_mode)input_below(in, 3); break;
    case 3: s->k = (uint8_t)input_below(in, HA_MEMBERS_MAX); break;
    case 4: s->strict = input_flag(in); break;
    case 5: s->failsafe = input_flag(in); break;
    case 6: s->crash_policy = (enum crash_policy)input_below(in, 3); break;
    case 7: s->members = (uint8_t)(1 + input_below(in, HA_MEMBERS_MAX)); break;
    case 8: s->nofailover = input_flag(in); break;
    case 9: s->early_ms = input_below(in, 3) * 1500; break;
    default: s->degrade_ms = input_below(in, 2) * 5000; break;
    }
}

static void any_record(struct record *r, struct input *in)
{
    struct record_member *m = &r->m[input_below(in, HA_MEMBERS_MAX)];
    switch (input_below(in, 17)) {
    case 0: r->epoch = any_epoch(in); break;
    case 1: r->rev = any_epoch(in); break;
    case 2: r->w = (uint8_t)input_below(in, HA_MEMBERS_MAX + 1); break;
    case 3: r->has_next = input_flag(in); break;
    case 4: r->next_w = (uint8_t)input_below(in, HA_MEMBERS_MAX + 1); break;
    case 5: r->sealed = any_volume(in); break;
    case 6: r->writer = any_volume(in); break;
    case 7: r->writer_epoch = any_epoch(in); break;
    case 8: r->timeline = any_timeline(in); break;
    case 9: r->n = (uint8_t)input_below(in, HA_MEMBERS_MAX + 1); break;
    case 10: m->volume = any_volume(in); break;
    case 11: m->name = any_name(in); break;
    case 12: m->in_v = input_flag(in); break;
    case 13: m->in_next = input_flag(in); break;
    case 14: m->flushed = any_position(in); break;
    case 15: r->strict = input_flag(in); break;
    default: *r = three(); break;
    }
}

static void any_ssn(struct ssn *s, struct input *in)
{
    s->kind = (enum ssn_kind)input_below(in, 4);
    s->mode = (enum repl_mode)(1 + input_below(in, 2));
    s->n = (uint8_t)(1 + input_below(in, 3));
    s->w = (uint8_t)(1 + input_below(in, s->n));
    for (uint8_t i = 0; i < s->n; i++)
        s->volume[i] = any_volume(in);
}

/* ---- parts of the view ---- */

static void change_self(struct view *v, struct input *in)
{
    struct self *s = &v->self;
    switch (input_below(in, 11)) {
    case 0: s->id = any_identity(in); break;
    case 1: s->volume = any_volume(in); break;
    case 2: s->system_id = input_below(in, 3) * 9; break;
    case 3: s->data = (enum data_state)input_below(in, 6); break;
    case 4: s->durable_epoch = any_epoch(in); break;
    case 5: s->has_record = input_flag(in); break;
    case 6: any_record(&s->record, in); break;
    case 7: s->started_ms = any_past(in, v); break;
    case 8: s->fenced = input_flag(in); break;
    case 9: s->server_lock = any_tri(in); break;
    default: s->terminate = (uint8_t)input_below(in, 3); break;
    }
}

static void change_server(struct view *v, struct input *in)
{
    struct pg *p = &v->pg;
    struct walsender *w = &p->sender[input_below(in, HA_MEMBERS_MAX)];
    switch (input_below(in, 41)) {
    case 0: p->process = (enum pg_process)input_below(in, 4); break;
    case 1: p->ours = input_flag(in); break;
    case 2: p->crashed = input_flag(in); break;
    case 3: p->clean = input_flag(in); break;
    case 4: p->answers = any_tri(in); break;
    case 5: p->in_recovery = any_tri(in); break;
    case 6: p->maybe_writable = input_flag(in); break;
    case 7: p->looked_ms = any_past(in, v); break;
    case 8: p->position = any_position(in); break;
    case 9: p->accounted = any_tri(in); break;
    case 10: p->local_timeline = any_timeline(in); break;
    case 11: p->frozen_epoch = any_epoch(in); break;
    case 12: p->follows = any_volume(in); break;
    case 13: p->follows_epoch = any_epoch(in); break;
    case 14: p->streaming = input_flag(in); break;
    case 15: p->not_streaming_since_ms = any_past(in, v); break;
    case 16: p->diverged = any_tri(in); break;
    case 17: p->wal_missing = input_flag(in); break;
    case 18: any_ssn(&p->ssn, in); break;
    case 19: p->ssn = ssn_of_record(&v->lv.lease.record, v->self.volume, false, v->set.mode); break;
    case 20: p->ssn_in_force = input_flag(in); break;
    case 21: p->ssn_proof_lsn = any_lsn(in); break;
    case 22: p->n_senders = (uint8_t)input_below(in, HA_MEMBERS_MAX + 1); break;
    case 23: w->volume = any_volume(in); break;
    case 24: w->streaming = input_flag(in); break;
    case 25: w->flushed_lsn = any_lsn(in); break;
    case 26: w->caught_up = input_flag(in); break;
    case 27: p->closed = any_tri(in); break;
    case 28: p->open = any_tri(in); break;
    case 29: p->promoted_end_lsn = any_lsn(in); break;
    case 30: p->promoted_ms = any_past(in, v); break;
    case 31: p->checkpoint_ms = any_past(in, v); break;
    case 32: p->op = (enum pg_op)input_below(in, 6); break;
    case 33: p->op_state = (enum op_state)input_below(in, 4); break;
    case 34: p->op_failures = input_byte(in); break;
    case 35: p->op_since_ms = any_past(in, v); break;
    case 36: p->stop_since_ms = any_past(in, v); p->storage_since_ms = any_past(in, v); break;
    case 37: base_server(v, true); break;
    case 38: base_server(v, false); break;
    case 39: p->strict = any_tri(in); p->strict_now = input_flag(in); break;
    default: *p = (struct pg){.position = p->position, .local_timeline = p->local_timeline}; break;
    }
}

static void change_release(struct release *r, struct input *in)
{
    r->valid = input_flag(in);
    r->epoch = any_epoch(in);
    r->releaser = any_name(in);
    r->volume = any_volume(in);
    r->end = any_position(in);
    r->successor = any_name(in);
}

static void change_lease(struct view *v, struct input *in)
{
    struct lease_view *l = &v->lv;
    switch (input_below(in, 24)) {
    case 0: l->known = input_flag(in); break;
    case 1: l->lease.exists = input_flag(in); break;
    case 2: l->lease.fresh = input_flag(in); break;
    case 3: l->lease.epoch = any_epoch(in); break;
    case 4: l->lease.duration_s = (int32_t)(input_byte(in) * 10); break;
    case 5: l->lease.duration_s = INT32_MAX; break;
    case 6: l->lease.holder = any_identity(in); break;
    case 7: l->lease.holder = v->self.id; break;
    case 8: change_release(&l->lease.release, in); break;
    case 9: any_record(&l->lease.record, in); break;
    case 10: l->lease.has_record = input_flag(in); break;
    case 11: l->changed_ms = any_past(in, v); break;
    case 12: l->got_ms = any_past(in, v); break;
    case 13: l->contact_ms = any_past(in, v); break;
    case 14: l->get_pending = input_flag(in); break;
    case 15: l->write = (enum write_kind)input_below(in, 8); break;
    case 16: l->outcome = (enum write_outcome)input_below(in, 5); break;
    case 17: l->write_seq++; break;
    case 18: l->write_sent_ms = any_past(in, v); break;
    case 19: l->write_done_ms = any_past(in, v); break;
    case 20: l->write_duration_s = (int32_t)(input_byte(in) * 10); break;
    case 21: l->write_holder = input_flag(in); break;
    case 22: base_lease(v, input_flag(in)); break;
    default: /* a renewal that has succeeded just now */
        l->write = WRITE_RENEW;
        l->outcome = OUTCOME_OK;
        l->write_seq++;
        l->write_sent_ms = l->write_done_ms = l->got_ms = v->now_ms;
        l->write_duration_s = (int32_t)(v->set.lease_ms / 1000);
        l->write_holder = true;
        break;
    }
}

static void change_state(struct view *v, struct input *in)
{
    struct state_view *s = &v->st;
    switch (input_below(in, 7)) {
    case 0: s->known = input_flag(in); break;
    case 1: s->exists = input_flag(in); break;
    case 2: s->system_id = input_below(in, 3) * 9; break;
    case 3: s->epoch = any_epoch(in); break;
    case 4: s->has_record = input_flag(in); break;
    case 5: any_record(&s->record, in); break;
    default: s->paused = input_flag(in); break;
    }
}

static void change_peer(struct view *v, struct input *in)
{
    struct peer *p = &v->peer[input_below(in, HA_MEMBERS_MAX - 1)];
    struct peer_state *s = &p->state;
    switch (input_below(in, 28)) {
    case 0: v->n_peers = (uint8_t)input_below(in, HA_MEMBERS_MAX); break;
    case 1: p->name = any_name(in); break;
    case 2: p->pod_known = input_flag(in); break;
    case 3: p->received_ms = any_past(in, v); break;
    case 4: p->sent_ms = any_past(in, v); break;
    case 5: p->sent_ms = p->received_ms = v->now_ms; break;
    case 6: p->promise_sent_ms = any_past(in, v); break;
    case 7: p->promise_until_ms = any_future(in, v); break;
    case 8: p->promise_epoch = any_epoch(in); break;
    case 9: s->id = any_identity(in); break;
    case 10: s->volume = any_volume(in); break;
    case 11: s->system_id = input_below(in, 3) * 9; break;
    case 12: s->data = (enum data_state)input_below(in, 6); break;
    case 13: s->process = (enum pg_process)input_below(in, 4); break;
    case 14: s->in_recovery = any_tri(in); break;
    case 15: s->position = any_position(in); break;
    case 16: s->durable_epoch = any_epoch(in); break;
    case 17: s->frozen_epoch = any_epoch(in); break;
    case 18: s->refused_epoch = any_epoch(in); break;
    case 19: s->promised_epoch = any_epoch(in); break;
    case 20: s->record_epoch = any_epoch(in); break;
    case 21: s->record_rev = any_epoch(in); break;
    case 22: s->lease_epoch = any_epoch(in); break;
    case 23: s->streams_from = any_volume(in); break;
    case 24: s->nofailover = input_flag(in); break;
    case 25: s->writer_silent_ms = input_below(in, 4) * 1000; break;
    case 26: p->silent_since_ms = any_past(in, v); break;
    default: s->priority = input_byte(in); break;
    }
}

static void change_inbox(struct view *v, struct input *in)
{
    struct peer_request q = {.from = any_identity(in), .epoch = any_epoch(in)};
    if (input_flag(in)) {
        v->in.vote = input_flag(in);
        v->in.vote_req = q;
        v->in.vote_req.ask = PEER_VOTE;
    } else {
        v->in.promise = input_flag(in);
        v->in.promise_req = q;
        v->in.promise_req.ask = PEER_PROMISE;
        v->in.promise_req.promise_ms = input_byte(in) * 20000;
    }
}

static void change_intent(struct view *v, struct input *in)
{
    v->intent.kind = (enum intent_kind)input_below(in, 6);
    v->intent.id = v->intent.kind == INTENT_NONE ? 0 : input_byte(in);
    v->intent.epoch = any_epoch(in);
    v->intent.target = any_name(in);
    v->intent.force = input_flag(in);
    v->intent.accept_loss = input_flag(in);
    (void)input_flag(in); /* keeps the corpus meaning what it meant */
    v->intent_expired = input_flag(in);
}

static void change_memo(struct view *v, struct memo *m, struct input *in)
{
    switch (input_below(in, 17)) {
    case 0: m->deadline_ms = any_future(in, v); break;
    case 1: m->forfeit_ms = any_past(in, v); break;
    case 2: m->proven = input_flag(in); break;
    case 3: m->last_turn_ms = any_past(in, v); break;
    case 4: m->count_from_ms = any_past(in, v); break;
    case 5: m->promise_epoch = any_epoch(in); break;
    case 6: m->promise_until_ms = any_future(in, v); break;
    case 7: m->promised_to = any_name(in); break;
    case 8: m->acquired_epoch = any_epoch(in); m->named_epoch = any_epoch(in); break;
    case 9:
        m->bypass_epoch = any_epoch(in);
        m->bypass_end = any_position(in);
        m->accepted_epoch = any_epoch(in);
        break;
    case 10: m->refused_max = any_epoch(in); break;
    case 11: m->unsat_since_ms = any_past(in, v); break;
    case 12:
        m->handover_intent = input_below(in, 3);
        m->handover_target = any_volume(in);
        m->handover_epoch = any_epoch(in);
        m->handover_ms = any_past(in, v);
        m->stop_ms = any_past(in, v);
        break;
    case 13: m->rolled_back = input_flag(in); break;
    case 14: m->diverged_ms = any_past(in, v); break;
    case 15: m->loose_told = input_flag(in); break;
    default:
        m->has_pending = input_flag(in);
        any_record(&m->pending, in);
        m->held_epoch = any_epoch(in);
        m->counted_ms = any_future(in, v);
        break;
    }
}

void view_change(struct view *v, struct memo *m, struct input *in)
{
    switch (input_below(in, 12)) {
    case 0: v->now_ms += (int64_t)input_byte(in) * input_byte(in); break;
    case 1: any_settings(&v->set, in); break;
    case 2: change_self(v, in); break;
    case 3: change_server(v, in); break;
    case 4: change_lease(v, in); break;
    case 5: change_state(v, in); break;
    case 6: change_peer(v, in); break;
    case 7: change_inbox(v, in); break;
    case 8: change_intent(v, in); break;
    case 9: change_memo(v, m, in); break;
    case 10: v->label = (enum ha_role)input_below(in, 3); break;
    default: any_record(&v->lv.lease.record, in); break;
    }
}
