/* What goes wrong, what operators do, and the end of both. */
#include "world.h"

const char *const fault_names[F_COUNT] = {
    "crash", "container", "agent-hang", "agent-restart", "node-freeze", "volume-lost", "api-one",
    "api-all", "api-flaps", "watch-lag", "link-one-way", "isolated", "cut-off", "heal",
    "terminate", "rolling", "stop-all", "kill-all", "wal-missing", "lease-deleted",
    "lease-emptied", "lease-bare", "lease-restored", "state-deleted", "switchover",
    "switchover-to", "failover", "restart", "reinit", "intent-late", "vm-pause", "trap",
    "rollback", "damage", "foreign", "promoted", "lag", "tagged-leads",
    "pause", "k", "mode", "tags", "profile", "grow", "settings",
    "lease-edited", "disk-hangs",
};

static void profile(struct settings *s, bool fast)
{
    s->lease_ms = fast ? 5000 : 10000;
    s->renew_ms = fast ? 1000 : 2000;
    s->retry_ms = fast ? 300 : 500;
    s->fence_ms = fast ? 3300 : 7000;
    s->kill_ms = fast ? 500 : 1000;
    s->request_ms = fast ? 1000 : 2000;
}

void settings_default(int n, enum repl_mode mode, uint8_t k, bool strict)
{
    W.set = (struct settings){.mode = mode, .k = k, .strict = strict, .failsafe = true,
                              .degrade_ms = 5000, .leave_ms = 15000, 
                              .stop_ms = 2000, .switchover_lag_bytes = 1000,
                              .members = (uint8_t)n, .crash_policy = CRASH_AUTO};
    profile(&W.set, true);
}

void character(void)
{
    W.gate = chance(50);
    W.lose_puts = chance(15) ? 15 : 1;
    W.late_puts = chance(15) ? 20 : 3;
    W.late_answers = chance(20) ? 30 : 4;
    profile(&W.set, !chance(20));
    if (chance(20))
        W.set.failsafe = false;
    if (chance(20))
        W.set.crash_policy = chance(50) ? CRASH_RESTART : CRASH_FAILOVER;
    if (chance(20))
        W.set.degrade_ms = 1000;
    if (chance(20))
        W.set.leave_ms = 3000;
    for (int i = 0; i < W.n; i++) {
        W.m[i].rate = chance(30) ? 0 : (int)between(-90, 90);
        W.m[i].receives = chance(15) ? 10 : 60;
    }
}

void plain_character(void)
{
    W.lose_puts = W.late_puts = W.late_answers = 0;
    for (int i = 0; i < W.n; i++) {
        W.m[i].rate = 0;
        W.m[i].receives = 60;
    }
}

static void spread_settings(void)
{
    for (int i = 0; i < W.n; i++)
        W.m[i].set_at_ms = W.now + between(0, 3000);
}

static void links(int m, bool up)
{
    for (int i = 0; i < W.n; i++)
        if (i != m)
            W.link[i][m] = W.link[m][i] = up;
}

static bool in_v(uint64_t volume)
{
    const struct record_member *m = record_find(&W.lease.record, volume);
    return m != NULL && m->in_v;
}

/* It will be rewound, and until that is done its vote is gone as well. */
static bool to_be_rewound(const struct member *m)
{
    const struct member *w = by_volume(W.lease.record.writer);
    return w != NULL && w != m && m->data == DATA_OK && !log_prefix(w, m);
}

/* Somebody has edited holder or writer, and no election has mended it yet. */
static bool lease_is_edited(void)
{
    const struct record *r = &W.lease.record;
    const struct member *w = by_volume(r->writer);
    if (!W.lease.has_record)
        return false;
    for (int i = 0; i < W.n; i++) {
        const struct record *copy = &W.m[i].record;
        if (W.m[i].has_record && copy->writer_epoch == W.lease.epoch && copy->writer != 0 &&
            (copy->writer != r->writer || r->writer_epoch != W.lease.epoch))
            return true;
    }
    return r->writer_epoch != 0 && r->writer_epoch == W.lease.epoch &&
           (r->writer == 0 || (w != NULL && !name_empty(&W.lease.holder.name) &&
                               !name_eq(&w->id.name, &W.lease.holder.name)));
}

/* Already so that one more loss would be an operator's case. */
static bool beyond_promises(void)
{
    if (W.state.epoch > W.lease.epoch || lease_is_edited())
        return true; /* the Lease was put back or edited and nobody has mended it yet */
    for (int i = 0; i < W.n; i++)
        if (W.m[i].has_record && record_cmp(&W.m[i].record, &W.lease.record) > 0)
            return true;
    for (uint8_t i = 0; i < W.lease.record.n; i++) {
        const struct record_member *line = &W.lease.record.m[i];
        const struct member *m = by_volume(line->volume);
        /* Gone, rolled back, being rewound, or promoted by hand: it reports nothing that counts. */
        if (line->in_v && (m == NULL || position_cmp(pos_of(m), line->flushed) < 0 ||
                           m->tl > W.lease.record.timeline || to_be_rewound(m)))
            return true;
    }
    return false;
}

/* An order to clone a member anew ends a volume, too: a loss at the same time is the operator's case. */
static bool replacing(void)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].op == OP_CLONE && W.m[i].op_state == OP_RUNNING)
            return true;
    return W.intent.kind == INTENT_REINIT && W.now <= W.intent_until_ms;
}

static bool followed(const struct member *m)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].st.on && W.m[i].st.upstream == m->idx)
            return true;
    return false;
}

/* A permanent loss that the promises cover: V unsealed, W >= 1, and nobody of V is lost already. */
static bool may_lose(const struct member *m)
{
    const struct record *r = &W.lease.record;
    if (W.set.mode == REPL_ASYNC || r->sealed != 0 || r->w == 0 || W.lease.holder.boot == 0 ||
        beyond_promises() || replacing())
        return false;
    for (int i = 0; i < W.n; i++)
        if (W.m[i].put.active || W.m[i].late[0].active || W.m[i].late[1].active ||
            W.m[i].data != DATA_OK || !in_v(W.m[i].volume))
            return false;
    return m->data == DATA_OK;
}

void give_intent(enum intent_kind kind, const struct member *target)
{
    W.intent = (struct intent){.id = random_id() | 2, .kind = kind, .epoch = W.lease.epoch,
                               .force = chance(30)};
    if (target != NULL)
        W.intent.target = target->id.name;
    W.intent_until_ms = W.now + (chance(20) ? between(0, 3000) : 30000);
}

static void api_fault(struct member *m, enum api_mode mode)
{
    m->api = mode;
}

static void fault_process(struct member *m, enum fault_kind k)
{
    switch ((int)k) {
    case F_CRASH:
        if (m->proc == PG_RUNNING) {
            bool writable = m->writable;
            server_gone(m, true);
            m->writable = writable && chance(50); /* children of the postmaster live on */
        }
        break;
    case F_CONTAINER:
        if (m->container)
            container_dies(m, between(200, 20000));
        break;
    case F_AGENT_HANG:
        m->agent_frozen_until = W.now + between(500, 20000);
        break;
    case F_AGENT_RESTART:
        if (alive(m) && !m->kill_by_guard)
            agent_starts(m);
        break;
    case F_NODE_FREEZE:
        if (m->container)
            m->node_frozen_until = W.now + between(500, 20000);
        break;
    case F_VM_PAUSE:
        if (m->container && m->vm_paused_at == 0) {
            m->vm_paused_at = m->local;
            m->node_frozen_until = W.now + between(500, 20000);
        }
        break;
    case F_TRAP:
        W.trap = true;
        break;
    case F_DAMAGE:
        if (may_lose(m)) {
            W.lost_at_ms = W.now;
            m->damaged = true;
            if (m->proc == PG_RUNNING && chance(50))
                server_gone(m, true);
            else if (m->container)
                container_dies(m, between(200, 15000));
        }
        break;
    case F_FOREIGN: /* the wrong volume, or not a data directory any more */
        if (may_lose(m)) {
            W.lost_at_ms = W.now;
            if (m->container)
                container_dies(m, between(200, 15000));
            volume_lost(m);
            m->data = chance(50) ? DATA_FOREIGN : DATA_BROKEN;
        }
        break;
    case F_PROMOTED: /* nobody's upstream: what it writes reaches, and is confirmed by, all who follow it */
        if (may_lose(m) && !followed(m) && m->volume != W.lease.record.writer &&
            m->proc == PG_RUNNING && m->recovery && m->answers && W.by_hand < 8)
            promoted_by_hand(m);
        break;
    case F_SETTINGS:
        m->settings_low = m->proc == PG_RUNNING && m->recovery && m->st.rx;
        break;
    case F_LAG:
        m->lags_until = W.now + between(500, 10000);
        break;
    case F_DISK_HANGS: /* what sleeps on it cannot be ended, and reads on from memory */
        if (m->container && m->data == DATA_OK && m->disk_until <= W.now) {
            m->disk_until = W.now + between(500, 40000);
            m->disk_since = m->local;
        }
        break;
    case F_TAGGED_LEADS: /* the only standby with the last acknowledged writes must not be primary */
        for (int i = 0; i < W.n; i++) {
            struct member *o = &W.m[i];
            o->set.nofailover = o == m;
            if (o->proc != PG_RUNNING || o == m)
                continue;
            if (o->recovery)
                o->lags_until = W.now + between(1000, 6000);
            else
                o->kill_container_at = W.now + between(500, 1500);
        }
        break;
    /* A volume restored below its recorded position is as good as lost. Only where the record is up to
     * date: past a recorded position that is older than what the volume held, its report counts
     * again although it has not caught up (docs/decisions/0008). */
    case F_ROLLBACK: {
        const struct record_member *line = record_find(&W.lease.record, m->volume);
        if (!may_lose(m) || line->flushed.lsn < 12 || m->len + 1 != line->flushed.lsn)
            break;
        if (m->container)
            container_dies(m, between(200, 15000));
        m->len = line->flushed.lsn - (uint64_t)between(2, 10);
        m->tl = m->logtl[m->len - 1];
        TRACE(m, "volume rolled back to %" PRIu64, m->len);
        break;
    }
    case F_VOLUME_LOST:
        if (may_lose(m)) {
            W.lost_at_ms = W.now;
            if (m->container)
                container_dies(m, between(200, 15000));
            volume_lost(m);
        }
        break;
    case F_TERMINATE:
        if (m->container)
            m->terminate_at_ms = W.now + STEP_MS;
        if (chance(10))
            m->terminate = 1;
        break;
    case F_ROLLING:
        for (int i = 0; i < W.n; i++)
            W.m[i].terminate_at_ms = W.now + i * between(200, 8000) + 1;
        break;
    case F_STOP_ALL:
        for (int i = 0; i < W.n; i++)
            W.m[i].terminate_at_ms = W.now + between(1, 300);
        break;
    case F_KILL_ALL:
        for (int i = 0; i < W.n; i++)
            if (W.m[i].container)
                container_dies(&W.m[i], between(200, 20000));
        break;
    case F_WAL_MISSING:
        if (!m->st.on && m->data == DATA_OK && W.set.mode != REPL_ASYNC)
            m->wal_missing = true;
        break;
    }
}

static void fault_network(struct member *m, enum fault_kind k)
{
    enum api_mode how = chance(50) ? API_SILENT : chance(50) ? API_REFUSES : API_ERRORS;
    switch ((int)k) {
    case F_API_ONE:
        api_fault(m, how);
        break;
    case F_API_ALL:
        for (int i = 0; i < W.n; i++)
            api_fault(&W.m[i], how);
        break;
    case F_API_FLAPS:
        W.flap_until_ms = W.now + between(2000, 20000);
        break;
    case F_WATCH_LAG:
        m->watch_from_ms = W.now + between(500, 8000);
        break;
    case F_LINK_ONE_WAY:
        W.link[m->idx][between(0, W.n - 1)] = false;
        W.link[between(0, W.n - 1)][m->idx] = false;
        break;
    case F_ISOLATED:
        links(m->idx, false);
        break;
    case F_CUT_OFF:
        links(m->idx, false);
        api_fault(m, how);
        break;
    case F_HEAL:
        heal();
        break;
    }
}

/* Somebody edits the Lease by hand: another member as holder, or as writer, or both, or no writer. */
static void edit_lease(void)
{
    const struct member *m = &W.m[between(0, W.n - 1)];
    struct lease *l = &W.lease;
    const struct member *w = l->has_record ? by_volume(l->record.writer) : NULL;
    if (w == NULL || !name_eq(&w->id.name, &l->holder.name) || !m->container || !in_v(m->volume))
        return;
    bool holder = chance(50);
    if (!holder)
        l->record.writer = chance(50) ? m->volume : 0;
    if (holder || chance(25))
        l->holder = m->id;
    if (holder && chance(25))
        l->record.writer = m->volume;
    if (chance(10))
        l->record.writer_epoch = 0;
    TRACE(m, "Lease edited: holder %s, writer %016" PRIx64, l->holder.name.s, l->record.writer);
    W.rv++;
}

/* Losing the Lease and a voter for good at once is an operator's case. */
static void fault_objects(enum fault_kind k)
{
    bool lost = k == F_LEASE_DELETED || k == F_LEASE_BARE || k == F_LEASE_RESTORED;
    bool copied = W.state.epoch == W.lease.epoch && W.lease.has_record &&
                  record_cmp(&W.state.record, &W.lease.record) == 0;
    if (beyond_promises() || (lost && (!copied || replacing())))
        return; /* the last record must be somewhere, and its voters must be there */
    switch ((int)k) {
    case F_LEASE_DELETED:
        W.lease = (struct lease){0};
        W.rv++;
        break;
    case F_LEASE_EMPTIED: /* by hand */
        if (W.lease.exists) {
            W.lease.holder = (struct identity){0};
            W.lease.release = (struct release){0};
            W.rv++;
        }
        break;
    case F_LEASE_BARE: /* a tool applies one without fields of ours */
        if (W.lease.exists) {
            W.lease = (struct lease){.exists = true};
            W.rv++;
        }
        break;
    case F_LEASE_RESTORED:
        /* Known to the ConfigMap: else nobody but the writer itself could tell. */
        if (!W.has_old)
            break;
        W.lease = W.old_lease;
        W.restored_rv = ++W.rv;
        break;
    case F_LEASE_EDITED:
        edit_lease();
        break;
    case F_STATE_DELETED:
        W.state = (struct state_view){0};
        break;
    }
}

static void fault_operator(struct member *m, enum fault_kind k)
{
    struct member *other = &W.m[between(0, W.n - 1)];
    switch ((int)k) {
    case F_SWITCHOVER:
        give_intent(INTENT_SWITCHOVER, NULL);
        break;
    case F_SWITCHOVER_TO:
        give_intent(INTENT_SWITCHOVER, other);
        break;
    case F_FAILOVER:
        give_intent(INTENT_FAILOVER, other);
        W.intent.accept_loss = W.intent.id % 8 == 2; /* a quarter: bit 1 is always set */
        break;
    case F_RESTART:
        give_intent(INTENT_RESTART, m);
        break;
    case F_REINIT:
        if (W.lease.has_record)
            give_intent(INTENT_REINIT, other);
        break;
    case F_INTENT_LATE: /* given again after its time */
        W.intent_until_ms = W.now + 10000;
        break;
    case F_PAUSE:
        W.state.paused = !W.state.paused;
        break;
    case F_K:
        W.set.k = (uint8_t)(W.set.k == 1 && W.n > 2 ? 2 : 1);
        spread_settings();
        break;
    case F_MODE:
        if (W.modes && beyond_promises())
            break; /* without confirmations no loss is covered */
        if (W.modes)
            W.set.mode = W.set.mode == REPL_ASYNC ? REPL_QUORUM : REPL_ASYNC;
        else if (W.set.mode != REPL_ASYNC)
            W.set.mode = W.set.mode == REPL_SYNC ? REPL_QUORUM : REPL_SYNC;
        spread_settings();
        break;
    case F_TAGS:
        m->set.nofailover = !m->set.nofailover;
        other->set.priority = (uint8_t)between(0, 3);
        break;
    case F_PROFILE:
        profile(&W.set, W.set.lease_ms != 5000);
        if (chance(50))
            spread_settings();
        else
            m->set_at_ms = W.now + 1;
        break;
    case F_GROW:
        W.set.members = (uint8_t)W.n;
        spread_settings();
        for (int i = 0; i < W.n; i++)
            if (W.m[i].container_at_ms == INT64_MAX)
                W.m[i].container_at_ms = W.now + between(0, 2000);
        break;
    }
}

enum fault_kind fault_draw(void)
{
    return (enum fault_kind)between(0, F_COUNT - 1);
}

void fault(enum fault_kind k)
{
    struct member *m = &W.m[between(0, W.n - 1)];
    if (chance(50))
        for (int i = 0; i < W.n; i++)
            if (W.m[i].proc == PG_RUNNING && !W.m[i].recovery)
                m = &W.m[i];
    tally_fault(k);
    TRACE(m, "FAULT %s", fault_names[k]);
    if (!W.has_old || chance(20)) {
        W.old_lease = W.lease;
        W.has_old = W.lease.exists;
    }
    fault_process(m, k);
    fault_network(m, k);
    fault_objects(k);
    fault_operator(m, k);
    W.state_seq++;
    W.lively_until_ms = W.now + 2500;
    wake_all();
}

void faults_run(void)
{
    if (W.flap_until_ms == 0 || W.now < W.flap_next_ms)
        return;
    W.flap_next_ms = W.now + between(50, 1500);
    bool over = W.now >= W.flap_until_ms;
    if (over)
        W.flap_until_ms = 0;
    for (int i = 0; i < W.n; i++)
        W.m[i].api = over || chance(50) ? API_UP : (enum api_mode)between(0, 3);
    poke_all();
}

void heal(void)
{
    for (int i = 0; i < W.n; i++) {
        struct member *m = &W.m[i];
        m->api = API_UP;
        m->watch_from_ms = 0;
        for (int j = 0; j < W.n; j++)
            W.link[i][j] = true;
        if (m->agent_frozen_until != 0 && !m->kill_by_guard)
            m->agent_frozen_until = 0;
        if (m->node_frozen_until > W.now)
            m->node_frozen_until = W.now;
        if (m->disk_until > W.now) {
            if (m->kill_at_ms == m->disk_until)
                m->kill_at_ms = W.now;
            if (m->agent_frozen_until == m->disk_until)
                m->agent_frozen_until = W.now;
            m->disk_until = W.now;
        }
        if (W.calm && (m->data == DATA_FOREIGN || m->data == DATA_BROKEN))
            m->data = DATA_EMPTY; /* an operator has looked at it and emptied it */
    }
    for (int i = 0, tagged = 0; i < W.n; i++) /* an operator leaves at most one tagged */
        if (W.m[i].set.nofailover && (tagged++ > 0 || beyond_promises()))
            W.m[i].set.nofailover = false;
    W.trap = false;
    W.flap_until_ms = 0;
    W.state.paused = false;
    if (W.calm)
        W.lose_puts = W.late_puts = 0;
    if (W.calm && W.early)
        W.late_answers = 0; /* answers that take as long as the silence asked for are a fault */
    W.state_seq++;
    wake_all();
}
