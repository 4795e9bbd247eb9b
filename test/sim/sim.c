/* Simulation of a cluster: the product's core, a model Kubernetes API, a model PostgreSQL, a model
 * network, one seed, virtual time in steps of 5 ms. Each episode injects faults for a while, heals,
 * and demands a primary and full replication.
 *
 *   sim --seeds A-B [--members N] [--trace] [--mode quorum|sync|async] [--strict]
 *
 * Checked after each step: at most one server acknowledges (by first and last acknowledgement of a
 * reign), no acknowledged entry is missing from the log of a server that admits clients, nobody
 * destroys the last copy. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "core/record.h"

#define STEP_MS 5
#define LOG_MAX 6000
#define N_MAX 7

struct msg_put { /* one lease write on its way */
    bool active, applied, lost_reply, lost_request;
    int64_t arrive_ms, reply_ms, sent_ms, deadline_ms;
    struct lease want;
    enum write_kind kind;
    uint64_t rv;
    int code;
};

struct sender { /* walsender on the upstream, kept with the downstream member */
    bool on;
    int upstream;
    int64_t since_ms, setting_at_ms;
    uint64_t start_lsn;
    struct ssn setting;
    uint64_t flushed;
    int64_t applied_setting_seq;
};

struct member {
    int idx;
    bool container;           /* guard lives */
    int64_t container_at_ms;  /* restarts then, when dead */
    int64_t agent_frozen_until;
    bool node_frozen;
    uint64_t boot;
    struct memo memo;
    struct verdict ver;
    int64_t next_turn_ms;
    int64_t agent_started_ms;
    int64_t page_deadline;
    bool fenced;
    /* durable */
    uint64_t volume, durable_epoch;
    bool has_record;
    struct record record;
    enum data_state data;
    uint64_t system_id;
    uint64_t log[LOG_MAX];
    uint32_t logtl[LOG_MAX];
    uint64_t len;
    uint32_t tl;
    /* server */
    enum pg_process proc;
    bool crashed, recovery, writable, admitted, closed, clean;
    bool answers;
    bool was_primary;        /* cleared by starting */
    int64_t proc_at_ms;
    bool accounted;
    uint64_t frozen_epoch, detach_epoch;
    int64_t detach_at_ms;
    uint64_t follows, follows_epoch;
    int64_t reconnect_at_ms;
    struct sender snd;        /* our stream from the upstream */
    struct ssn ssn, ssn_backend;
    int64_t ssn_at_ms, ssn_seq;
    uint64_t proof_lsn;
    uint64_t promoted_end;
    int64_t promote_at_ms, promoted_ms, checkpoint_ms, checkpoint_at_ms;
    enum pg_op op;
    enum op_state op_state;
    int64_t op_at_ms, op_since_ms;
    uint64_t acked_upto;      /* entries below are acknowledged by this reign */
    uint64_t reign_first_lsn;
    enum ha_role label;
    /* api client */
    uint64_t seen_rv;
    bool known;
    struct lease lease;
    bool exists_known;
    int64_t changed_ms, got_ms, contact_ms;
    bool get_pending;
    int64_t get_sent_ms, get_at_ms, get_next_ms;
    struct msg_put put;
    struct msg_put late; /* timed out here, may still be applied there */
    enum write_kind wkind;
    enum write_outcome outcome;
    uint64_t wseq;
    int64_t wsent, wdone;
    int32_t wdur;
    bool wholder;
    /* ConfigMap as seen */
    struct state_view st;
    int64_t st_at_ms;
    /* peers */
    struct peer peer[N_MAX];
    int64_t ask_ms[N_MAX];
    struct inbox in;
    struct intent intent;
    uint8_t terminate;
};

struct world {
    int64_t now;
    uint64_t rng;
    int n;
    struct member m[N_MAX];
    bool lease_exists;
    struct lease lease;
    uint64_t rv;
    bool api_up[N_MAX];
    bool link[N_MAX][N_MAX];
    struct state_view st;
    struct settings set;
    uint64_t next_entry;
    /* ledger */
    uint64_t acked[LOG_MAX];
    uint32_t n_acked;
    int last_acker;
    uint64_t last_ack_epoch;
    uint64_t failovers;
    const char *violation;
    char detail[256];
    bool trace;
    uint64_t rule_hits[128];
};

static struct world W;

static uint64_t rnd(void)
{
    W.rng ^= W.rng << 13;
    W.rng ^= W.rng >> 7;
    W.rng ^= W.rng << 17;
    return W.rng * 0x2545F4914F6CDD1Dull;
}
static int64_t between(int64_t a, int64_t b)
{
    return a + (int64_t)(rnd() % (uint64_t)(b - a + 1));
}
static bool chance(int percent)
{
    return between(0, 99) < percent;
}

#define TRACE(m, ...)                                                                              \
    do {                                                                                           \
        if (W.trace) {                                                                             \
            printf("%7" PRId64 " m%d ", W.now, (m)->idx);                                          \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static void violate(const char *what, const char *fmt, int a, uint64_t b)
{
    if (W.violation != NULL)
        return;
    W.violation = what;
    char f[200];
    snprintf(f, sizeof f, "at %" PRId64 ": %s", W.now, fmt);
    snprintf(W.detail, sizeof W.detail, "%s (m%d, %" PRIu64 ")", f, a, b);
    if (W.trace)
        printf("%7" PRId64 " VIOLATION %s: %s\n", W.now, what, W.detail);
}

static bool alive(const struct member *m)
{
    return m->container && !m->node_frozen;
}
static bool reach(int a, int b)
{
    return a == b || (W.link[a][b] && W.link[b][a] && alive(&W.m[a]) && alive(&W.m[b]));
}
static struct member *by_volume(uint64_t v)
{
    for (int i = 0; v != 0 && i < W.n; i++)
        if (W.m[i].volume == v)
            return &W.m[i];
    return NULL;
}
static struct identity id_of(const struct member *m)
{
    struct identity id = {.boot = m->boot};
    snprintf(id.name.s, sizeof id.name.s, "pg-%d", m->idx);
    snprintf(id.uid, sizeof id.uid, "uid-%d", m->idx);
    return id;
}
static struct position pos_of(const struct member *m)
{
    if (m->data != DATA_OK)
        return (struct position){0};
    return (struct position){m->len > 0 ? m->logtl[m->len - 1] : 1, m->len + 1};
}

/* --- model PostgreSQL ------------------------------------------------------------------------ */
static void server_gone(struct member *m, bool crashed)
{
    m->proc = PG_DOWN;
    m->crashed = crashed;
    m->writable = false;
    m->answers = false;
    m->recovery = true;
    m->accounted = false;
    m->admitted = false;
    m->closed = false;
    m->promote_at_ms = 0;
    m->promoted_ms = 0;
    m->checkpoint_at_ms = 0;
    m->frozen_epoch = 0;
    m->snd.on = false;
    m->follows = 0;
    m->proof_lsn = 0;
    m->ssn_at_ms = 0;
    m->detach_at_ms = 0;
}

static void container_dies(struct member *m, int64_t back_ms)
{
    server_gone(m, false);
    m->container = false;
    m->container_at_ms = W.now + back_ms;
    if (m->op_state == OP_RUNNING && m->op == OP_CLONE)
        m->data = DATA_PARTIAL;
    m->op = OP_NONE;
    m->op_state = OP_IDLE;
    m->put.active = m->put.active && !m->put.applied && m->put.arrive_ms > 0; /* may still apply */
    TRACE(m, "container dies");
}

static void agent_starts(struct member *m)
{
    int64_t dl = m->writable ? m->page_deadline : 0;
    memset(&m->memo, 0, sizeof m->memo);
    m->memo.deadline_ms = dl;
    m->page_deadline = dl;
    m->agent_started_ms = W.now;
    m->next_turn_ms = W.now;
    m->known = false;
    m->changed_ms = m->got_ms = 0;
    m->get_pending = false;
    m->outcome = OUTCOME_NONE;
    m->wkind = WRITE_NONE;
    m->put.active = false;
    m->st.known = false;
    m->intent.kind = INTENT_NONE;
    memset(m->peer, 0, sizeof m->peer);
    memset(&m->in, 0, sizeof m->in);
}

static void container_starts(struct member *m)
{
    m->container = true;
    m->boot = rnd() | 1;
    m->fenced = false;
    m->terminate = 0;
    server_gone(m, false);
    m->label = ROLE_UNKNOWN;
    agent_starts(m);
    TRACE(m, "container starts");
}

static bool prefix(const struct member *up, const struct member *down)
{
    if (down->len > up->len)
        return false;
    return down->len == 0 || up->log[down->len - 1] == down->log[down->len - 1];
}

static uint64_t common(const struct member *a, const struct member *b)
{
    uint64_t n = a->len < b->len ? a->len : b->len;
    while (n > 0 && a->log[n - 1] != b->log[n - 1])
        n--;
    return n;
}

static void stream(struct member *m)
{
    struct sender *s = &m->snd;
    struct member *up = by_volume(m->follows);
    bool can = up != NULL && up != m && m->proc == PG_RUNNING && m->recovery && m->answers &&
               m->frozen_epoch == 0 && m->detach_at_ms == 0 && up->proc == PG_RUNNING &&
               up->answers && reach(m->idx, up->idx) && alive(up) &&
               /* each epoch has its own credentials */
               m->follows_epoch <= up->durable_epoch + 0 && m->follows_epoch == up->durable_epoch;
    if (!can) {
        if (s->on)
            m->reconnect_at_ms = W.now + between(20, 150);
        s->on = false;
        return;
    }
    if (!s->on) {
        if (W.now < m->reconnect_at_ms || !prefix(up, m) || up->recovery)
            return;
        *s = (struct sender){.on = true, .upstream = up->idx, .since_ms = W.now,
                             .start_lsn = up->len + 1, .setting = up->ssn_backend,
                             .flushed = m->len + 1, .applied_setting_seq = up->ssn_seq};
        TRACE(m, "streams from m%d at %" PRIu64, up->idx, m->len);
        return;
    }
    if (s->applied_setting_seq != up->ssn_seq && s->setting_at_ms != 0 && W.now >= s->setting_at_ms) {
        s->setting = up->ssn_backend;
        s->applied_setting_seq = up->ssn_seq;
        s->setting_at_ms = 0;
    } else if (s->applied_setting_seq != up->ssn_seq && s->setting_at_ms == 0) {
        s->setting_at_ms = W.now + between(0, 120);
    }
    if (!chance(60))
        return;
    uint64_t n = (uint64_t)between(1, 8);
    for (; n > 0 && m->len < up->len; n--) {
        m->log[m->len] = up->log[m->len];
        m->logtl[m->len] = up->logtl[m->len];
        m->len++;
    }
    if (m->len > 0 && m->logtl[m->len - 1] > m->tl)
        m->tl = m->logtl[m->len - 1];
    if (chance(80))
        s->flushed = m->len + 1;
}

static void acknowledge(struct member *m, uint64_t upto)
{
    while (m->acked_upto < upto) {
        uint64_t entry = m->log[m->acked_upto++];
        if (m->acked_upto <= m->reign_first_lsn)
            continue; /* not of this reign */
        if (W.n_acked < LOG_MAX)
            W.acked[W.n_acked++] = entry;
        uint64_t epoch = m->durable_epoch;
        if (epoch < W.last_ack_epoch)
            violate("two writers", "acknowledged after a newer epoch did", m->idx, epoch);
        if (W.now >= m->page_deadline + W.set.kill_ms)
            violate("fence", "acknowledged after the deadline and kill time", m->idx, entry);
        W.last_ack_epoch = epoch;
        W.last_acker = m->idx;
    }
}

static void commit_waiters(struct member *m)
{
    if (m->ssn_backend.kind == SSN_EMPTY) {
        acknowledge(m, m->len);
        return;
    }
    for (int w = 0; w < W.n; w++) {
        struct member *d = &W.m[w];
        if (!d->snd.on || d->snd.upstream != m->idx || d->snd.setting.kind != SSN_SET)
            continue;
        const struct ssn *c = &d->snd.setting;
        uint64_t best = 0;
        for (uint64_t lsn = m->len; lsn > m->acked_upto; lsn--) {
            uint8_t n = 0;
            for (int i = 0; i < W.n; i++)
                if (W.m[i].snd.on && W.m[i].snd.upstream == m->idx &&
                    ssn_has(c, W.m[i].volume) && W.m[i].snd.flushed >= lsn + 1)
                    n++;
            if (n >= c->w) {
                best = lsn;
                break;
            }
        }
        if (best > m->acked_upto)
            acknowledge(m, best);
    }
}

static void check_lost(struct member *m, const char *when)
{
    if (W.set.mode == REPL_ASYNC)
        return;
    for (uint32_t i = 0; i < W.n_acked; i++) {
        bool found = false;
        for (uint64_t j = 0; j < m->len && !found; j++)
            found = m->log[j] == W.acked[i];
        if (!found) {
            violate("lost write", when, m->idx, W.acked[i]);
            return;
        }
    }
}

static void run_server(struct member *m)
{
    if (m->proc == PG_STARTING && W.now >= m->proc_at_ms) {
        m->proc = PG_RUNNING;
        m->answers = true;
        m->recovery = true;
        m->accounted = true;
        m->ssn.kind = m->ssn_backend.kind = SSN_UNSATISFIABLE;
        m->ssn_seq++;
        m->crashed = false;
        m->closed = true;
        TRACE(m, "standby up at tl %u len %" PRIu64, m->tl, m->len);
    }
    if (m->proc == PG_STOPPING && W.now >= m->proc_at_ms) {
        server_gone(m, false);
        m->clean = true;
        TRACE(m, "stopped cleanly");
    }
    if (m->proc != PG_RUNNING)
        return;
    if (m->detach_at_ms != 0 && W.now >= m->detach_at_ms) {
        m->detach_at_ms = 0;
        m->snd.on = false;
        m->follows = 0;
        m->frozen_epoch = m->detach_epoch;
        TRACE(m, "frozen for epoch %" PRIu64 " at %" PRIu64, m->frozen_epoch, m->len);
    }
    if (m->ssn_at_ms != 0 && W.now >= m->ssn_at_ms) {
        m->ssn_at_ms = 0;
        m->ssn_backend = m->ssn;
        m->ssn_seq++;
        m->proof_lsn = 0;
    }
    stream(m);
    if (m->promote_at_ms != 0 && W.now >= m->promote_at_ms && m->recovery) {
        m->promote_at_ms = 0;
        m->recovery = false;
        m->tl = m->ver.timeline;
        m->promoted_ms = W.now;
        m->promoted_end = m->len + 1;
        m->reign_first_lsn = m->acked_upto = m->len;
        if (m->len < LOG_MAX) {
            m->logtl[m->len] = m->tl;
            m->log[m->len++] = ++W.next_entry; /* end of recovery record */
        }
        m->promoted_end = m->len + 1;
        m->acked_upto = m->reign_first_lsn = m->len;
        W.failovers++;
        TRACE(m, "promoted to tl %u len %" PRIu64, m->tl, m->len);
    }
    if (m->checkpoint_at_ms != 0 && W.now >= m->checkpoint_at_ms) {
        m->checkpoint_ms = m->checkpoint_at_ms - 30;
        m->checkpoint_at_ms = 0;
    }
    if (m->recovery)
        return;
    if (m->admitted && chance(25) && m->len < LOG_MAX - 2) {
        m->logtl[m->len] = m->tl;
        m->log[m->len++] = ++W.next_entry;
    }
    bool force = true; /* in force: every sender uses it */
    for (int i = 0; i < W.n; i++)
        if (W.m[i].snd.on && W.m[i].snd.upstream == m->idx &&
            W.m[i].snd.applied_setting_seq != m->ssn_seq)
            force = false;
    if (force && m->ssn_at_ms == 0 && m->proof_lsn == 0)
        m->proof_lsn = m->len + 1;
    commit_waiters(m);
}

/* guard: the fence needs neither the agent nor the API */
static void run_guard(struct member *m)
{
    if (m->writable && W.now >= m->page_deadline) {
        TRACE(m, "FENCED by guard");
        server_gone(m, false);
        m->fenced = true;
        m->agent_frozen_until = 0;
        agent_starts(m);
    }
}

/* --- model API ------------------------------------------------------------------------------- */
static void api_apply(struct msg_put *p)
{
    p->applied = true;
    if (p->lost_request)
        return;
    if (p->kind == WRITE_CREATE) {
        if (W.lease_exists) {
            p->code = 409;
            return;
        }
        W.lease_exists = true;
        W.lease = p->want;
        W.rv++;
        p->code = 201;
        return;
    }
    if (!W.lease_exists || W.rv != p->rv) {
        p->code = 409;
        return;
    }
    W.lease = p->want;
    W.rv++;
    p->code = 200;
}

static void adopt_view(struct member *m, int64_t sent)
{
    if (!m->known || m->seen_rv != W.rv || m->lease.exists != W.lease_exists) {
        m->changed_ms = W.now;
        m->lease = W.lease;
        m->lease.exists = W.lease_exists;
        if (!W.lease_exists)
            m->lease = (struct lease){0};
        m->seen_rv = W.rv;
    }
    m->known = true;
    if (sent > m->got_ms)
        m->got_ms = sent;
}

static void run_api_client(struct member *m)
{
    struct msg_put *p = &m->put;
    if (p->active && !p->applied && W.now >= p->arrive_ms)
        api_apply(p);
    if (m->late.active && W.now >= m->late.arrive_ms) {
        api_apply(&m->late);
        m->late.active = false;
    }
    if (!alive(m))
        return;
    if (p->active && m->outcome == OUTCOME_PENDING) {
        if (p->applied && !p->lost_reply && W.now >= p->reply_ms && p->code != 0 &&
            W.api_up[m->idx]) {
            p->active = false;
            m->wdone = W.now;
            m->outcome = p->code < 300 ? OUTCOME_OK : OUTCOME_UNKNOWN;
            if (p->code < 300 && (!m->known || m->seen_rv < W.rv)) {
                /* the reply carries the object as written; a later change is seen by the watch */
                m->lease = p->want;
                m->lease.exists = true;
                m->seen_rv = W.rv;
                m->changed_ms = W.now;
                m->known = true;
                if (memcmp(&W.lease, &p->want, sizeof W.lease) != 0)
                    m->seen_rv = W.rv - 1;
            }
            TRACE(m, "write %d -> %d", (int)p->kind, p->code);
        } else if (W.now >= p->deadline_ms) {
            m->wdone = W.now;
            m->outcome = OUTCOME_UNKNOWN;
            if (!p->applied && !p->lost_request)
                m->late = *p;
            p->active = false;
            TRACE(m, "write %d timed out", (int)p->kind);
        }
    }
    if (m->get_pending && W.now >= m->get_at_ms) {
        m->get_pending = false;
        if (W.api_up[m->idx])
            adopt_view(m, m->get_sent_ms);
    }
    /* watches */
    if (W.api_up[m->idx] && m->known && chance(50) &&
        (m->seen_rv != W.rv || m->lease.exists != W.lease_exists))
        adopt_view(m, 0);
    if (W.api_up[m->idx] && chance(30)) {
        m->st = W.st;
        m->st.known = true;
    }
}

/* --- peers ----------------------------------------------------------------------------------- */
static struct peer_state state_of(const struct member *m)
{
    struct peer_state s = {.id = id_of(m)};
    s.volume = m->volume;
    s.system_id = m->system_id;
    s.data = m->data;
    s.process = m->proc;
    s.in_recovery = m->answers ? (m->recovery ? TRI_YES : TRI_NO) : TRI_UNKNOWN;
    s.position = pos_of(m);
    s.durable_epoch = m->durable_epoch;
    s.frozen_epoch = m->frozen_epoch;
    s.refused_epoch = m->ver.refused_epoch;
    s.lease_epoch = m->lease.epoch;
    return s;
}

static void run_peers(struct member *m)
{
    for (int i = 0; i < W.n; i++) {
        struct member *o = &W.m[i];
        if (o == m)
            continue;
        struct peer *p = &m->peer[i];
        p->name = id_of(o).name;
        p->pod_known = true;
        uint32_t eff = m->ver.effects;
        int64_t every = (eff & (EFF_VOTES | EFF_PEERS)) ? 20 : (eff & EFF_PROMISES) ? 200 : 1000;
        if (W.now - m->ask_ms[i] < every)
            continue;
        m->ask_ms[i] = W.now;
        if (!reach(m->idx, i) || o->agent_frozen_until > W.now || chance(2))
            continue;
        if (eff & EFF_VOTES) {
            if (!o->in.vote || o->in.vote_req.epoch <= m->ver.epoch) {
                o->in.vote = true;
                o->in.vote_req = (struct peer_request){.ask = PEER_VOTE, .from = id_of(m),
                                                       .epoch = m->ver.epoch};
                o->next_turn_ms = W.now;
            }
        }
        if (eff & EFF_PROMISES) {
            o->in.promise = true;
            o->in.promise_req = (struct peer_request){.ask = PEER_PROMISE, .from = id_of(m),
                                                      .epoch = m->lease.epoch,
                                                      .promise_ms = W.set.lease_ms};
            /* answered in o's own turn; modelled as an immediate turn */
            struct view *none = NULL;
            (void)none;
            o->next_turn_ms = W.now;
        }
        p->state = state_of(o);
        p->sent_ms = W.now - between(1, 4);
        p->received_ms = W.now;
    }
}

/* --- the agent ------------------------------------------------------------------------------- */
static void make_view(struct member *m, struct view *v)
{
    memset(v, 0, sizeof *v);
    v->now_ms = W.now;
    v->set = W.set;
    v->self.id = id_of(m);
    v->self.ordinal = (uint8_t)m->idx;
    v->self.volume = m->volume;
    v->self.system_id = m->system_id;
    v->self.data = m->data;
    v->self.durable_epoch = m->durable_epoch;
    v->self.has_record = m->has_record;
    v->self.record = m->record;
    v->self.started_ms = m->agent_started_ms;
    v->self.fenced = m->fenced;
    v->self.server_lock = TRI_YES;
    v->self.terminate = m->terminate;
    struct pg *g = &v->pg;
    g->process = m->proc;
    g->ours = true;
    g->crashed = m->crashed;
    g->clean = m->clean;
    g->answers = m->answers ? TRI_YES : TRI_NO;
    g->in_recovery = m->answers ? (m->recovery ? TRI_YES : TRI_NO) : TRI_UNKNOWN;
    g->maybe_writable = m->writable;
    g->position = pos_of(m);
    g->accounted = m->accounted || (m->op == OP_WALEND && m->op_state == OP_OK) ? TRI_YES : TRI_NO;
    g->local_timeline = m->tl;
    g->frozen_epoch = m->frozen_epoch;
    g->follows = m->follows;
    g->follows_epoch = m->follows_epoch;
    g->streaming = m->snd.on;
    struct member *up = by_volume(m->lease.record.writer);
    if (up != NULL && up != m && m->data == DATA_OK && up->proc == PG_RUNNING && !up->recovery &&
        reach(m->idx, up->idx))
        g->diverged = prefix(up, m) ? TRI_NO : TRI_YES;
    g->ssn = m->ssn_at_ms != 0 ? (struct ssn){.kind = SSN_UNKNOWN} : m->ssn;
    g->ssn_in_force = m->proof_lsn != 0;
    g->ssn_proof_lsn = m->proof_lsn;
    for (int i = 0; i < W.n; i++) {
        struct member *d = &W.m[i];
        if (!d->snd.on || d->snd.upstream != m->idx || !m->answers)
            continue;
        g->sender[g->n_senders++] = (struct walsender){
            .volume = d->volume, .streaming = true, .flushed_lsn = d->snd.flushed,
            .caught_up = d->snd.flushed >= d->snd.start_lsn};
    }
    g->closed = m->closed ? TRI_YES : TRI_NO;
    g->open = m->admitted ? TRI_YES : TRI_NO;
    g->promoted_end_lsn = m->promoted_ms != 0 ? m->promoted_end : 0;
    g->promoted_ms = m->promoted_ms;
    g->checkpoint_ms = m->checkpoint_ms;
    g->op = m->op;
    g->op_state = m->op_state;
    g->op_since_ms = m->op_since_ms;
    struct lease_view *lv = &v->lv;
    lv->known = m->known;
    lv->lease = m->lease;
    lv->changed_ms = m->changed_ms;
    lv->got_ms = m->got_ms;
    lv->get_pending = m->get_pending;
    lv->write = m->wkind;
    lv->outcome = m->outcome;
    lv->write_seq = m->wseq;
    lv->write_sent_ms = m->wsent;
    lv->write_done_ms = m->wdone;
    lv->write_duration_s = m->wdur;
    lv->write_holder = m->wholder;
    v->st = m->st;
    for (int i = 0; i < W.n; i++)
        if (i != m->idx)
            v->peer[v->n_peers++] = m->peer[i];
    v->in = m->in;
    v->label = m->label;
    v->intent = m->intent;
}

static void begin_op(struct member *m, enum pg_op op, int64_t lo, int64_t hi)
{
    if (m->op_state == OP_RUNNING || (m->op == op && m->op_state == OP_OK && op == OP_WALEND))
        return;
    m->op = op;
    m->op_state = OP_RUNNING;
    m->op_since_ms = W.now;
    m->op_at_ms = W.now + between(lo, hi);
    if (op == OP_CLONE) {
        TRACE(m, "clone begins");
    }
}

static void wipe_check(struct member *m, const char *what)
{
    /* nothing acknowledged may exist only here */
    if (W.set.mode == REPL_ASYNC || m->data != DATA_OK)
        return;
    for (uint32_t i = W.n_acked > 200 ? W.n_acked - 200 : 0; i < W.n_acked; i++) {
        bool here = false, elsewhere = false;
        for (uint64_t j = 0; j < m->len && !here; j++)
            here = m->log[j] == W.acked[i];
        for (int o = 0; here && o < W.n && !elsewhere; o++)
            for (uint64_t j = 0; o != m->idx && j < W.m[o].len && !elsewhere; j++)
                elsewhere = W.m[o].log[j] == W.acked[i] && W.m[o].data == DATA_OK;
        if (here && !elsewhere)
            violate("last copy", what, m->idx, W.acked[i]);
    }
}

static void finish_op(struct member *m)
{
    if (m->op_state != OP_RUNNING || W.now < m->op_at_ms)
        return;
    struct member *up = by_volume(m->lease.record.writer);
    bool have = up != NULL && up != m && up->proc == PG_RUNNING && !up->recovery &&
                reach(m->idx, up->idx);
    m->op_state = OP_OK;
    switch (m->op) {
    case OP_INITDB:
        m->data = DATA_OK;
        m->system_id = 777;
        m->tl = 1;
        m->len = 1;
        m->logtl[0] = 1;
        m->log[0] = ++W.next_entry;
        break;
    case OP_CLONE:
        if (!have || up->durable_epoch != m->durable_epoch) {
            m->op_state = OP_FAILED;
            break;
        }
        wipe_check(m, "clone");
        memcpy(m->log, up->log, sizeof m->log);
        memcpy(m->logtl, up->logtl, sizeof m->logtl);
        m->len = up->len;
        m->tl = up->tl;
        m->data = DATA_OK;
        m->system_id = up->system_id;
        m->volume = rnd() | 1;
        break;
    case OP_REWIND:
        if (!have) {
            m->op_state = OP_FAILED;
            break;
        }
        wipe_check(m, "rewind");
        m->len = common(up, m);
        m->tl = m->len > 0 ? m->logtl[m->len - 1] : 1;
        TRACE(m, "rewound to %" PRIu64, m->len);
        break;
    case OP_WALEND:
    case OP_STOP:
    case OP_NONE:
        break;
    }
}

static void act(struct member *m)
{
    const struct verdict *d = &m->ver;
    uint32_t e = d->effects;
    m->page_deadline = d->deadline_ms;
    if (d->store_epoch > m->durable_epoch)
        m->durable_epoch = d->store_epoch;
    if (d->store_record) {
        m->record = m->lease.record;
        m->has_record = true;
    }
    if (d->promise_ms > 0) {
        for (int i = 0; i < W.n; i++) {
            struct member *h = &W.m[i];
            struct identity id = id_of(h);
            if (!identity_eq(&id, &m->in.promise_req.from) || !reach(i, m->idx) || chance(5))
                continue;
            struct peer *p = &h->peer[m->idx];
            p->promise_sent_ms = W.now - between(2, 9);
            p->promise_until_ms = p->promise_sent_ms + d->promise_ms;
            p->promise_epoch = m->in.promise_req.epoch;
        }
    }
    m->in.promise = false;
    if (m->in.vote && (m->frozen_epoch == m->in.vote_req.epoch ||
                       m->in.vote_req.epoch <= m->durable_epoch))
        m->in.vote = false;
    if (e & EFF_FENCE) {
        TRACE(m, "kills its server");
        server_gone(m, m->crashed);
    }
    if ((e & EFF_LEASE_GET) && !m->get_pending && W.now >= m->get_next_ms) {
        m->get_pending = true;
        m->get_sent_ms = W.now;
        m->get_at_ms = W.now + between(2, 20);
        m->get_next_ms = W.now + W.set.retry_ms / 5;
    }
    if ((e & EFF_LEASE_WRITE) && m->outcome != OUTCOME_PENDING && !m->put.active) {
        m->put = (struct msg_put){.active = true, .sent_ms = W.now, .want = d->write.want,
                                  .kind = d->write.kind, .rv = m->seen_rv};
        m->put.arrive_ms = W.now + between(1, 10);
        if (chance(3))
            m->put.arrive_ms = W.now + between(100, 4000);
        m->put.reply_ms = m->put.arrive_ms + between(1, 10);
        m->put.deadline_ms = W.now + W.set.request_ms;
        m->put.lost_request = !W.api_up[m->idx] || chance(1);
        m->put.lost_reply = chance(2);
        m->wkind = d->write.kind;
        m->outcome = OUTCOME_PENDING;
        m->wseq++;
        m->wsent = W.now;
        m->wdur = d->write.want.duration_s;
        struct identity me = id_of(m);
        m->wholder = identity_eq(&d->write.want.holder, &me);
    }
    if ((e & EFF_PG_START) && m->proc == PG_DOWN && m->data == DATA_OK && m->op_state != OP_RUNNING) {
        m->op = OP_NONE;
        m->proc = PG_STARTING;
        m->clean = false;
        m->proc_at_ms = W.now + between(60, 400);
    }
    if ((e & EFF_PG_STOP) && m->proc == PG_RUNNING) {
        if (!m->recovery && m->len < LOG_MAX) {
            m->logtl[m->len] = m->tl;
            m->log[m->len++] = ++W.next_entry; /* shutdown checkpoint */
        }
        m->proc = PG_STOPPING;
        m->admitted = false;
        m->proc_at_ms = W.now + between(40, chance(10) ? 6000 : 150);
    }
    if ((e & EFF_DETACH) && m->proc == PG_RUNNING && m->recovery && m->frozen_epoch != d->epoch &&
        m->detach_at_ms == 0) {
        m->detach_epoch = d->epoch;
        m->frozen_epoch = 0;
        m->detach_at_ms = W.now + between(10, 60);
    }
    if ((e & EFF_FOLLOW) && m->proc == PG_RUNNING && m->recovery && m->durable_epoch == d->epoch &&
        (m->follows != d->upstream || m->follows_epoch != d->epoch)) {
        m->follows = d->upstream;
        m->follows_epoch = d->epoch;
        m->frozen_epoch = 0;
        m->detach_at_ms = 0;
    }
    if (e & EFF_INITDB)
        begin_op(m, OP_INITDB, 300, 900);
    if ((e & EFF_CLONE) && m->proc == PG_DOWN)
        begin_op(m, OP_CLONE, 300, 900);
    if ((e & EFF_REWIND) && m->proc == PG_DOWN)
        begin_op(m, OP_REWIND, 100, 600);
    if ((e & EFF_WALEND) && m->proc == PG_DOWN)
        begin_op(m, OP_WALEND, 20, 80);
    if ((e & EFF_SSN) && m->proc == PG_RUNNING && m->answers && !ssn_eq(&m->ssn, &d->ssn)) {
        m->ssn = d->ssn;
        m->ssn_at_ms = W.now + between(5, 40);
        m->proof_lsn = 0;
    }
    if (e & EFF_CLOSE) {
        m->closed = true;
        m->admitted = false;
    }
    if ((e & EFF_OPEN) && m->proc == PG_RUNNING && !m->admitted) {
        m->admitted = true;
        m->closed = false;
        if (!m->recovery) {
            TRACE(m, "ADMITS clients at %" PRIu64, m->len);
            check_lost(m, "an acknowledged entry is missing at admission");
        }
    }
    if ((e & EFF_PROMOTE) && m->recovery && m->promote_at_ms == 0 && m->proc == PG_RUNNING) {
        m->writable = true;
        m->frozen_epoch = 0;
        m->promote_at_ms = W.now + between(20, 120);
    }
    if ((e & EFF_CHECKPOINT) && m->checkpoint_at_ms == 0)
        m->checkpoint_at_ms = W.now + 30;
    if (e & EFF_LABEL_PRIMARY)
        m->label = ROLE_PRIMARY;
    if (e & EFF_LABEL_REPLICA)
        m->label = ROLE_REPLICA;
    if (e & EFF_UNLABEL)
        m->label = ROLE_UNKNOWN;
    if ((e & EFF_STATE) && W.api_up[m->idx] && m->lease.exists && m->lease.has_record) {
        if (W.st.epoch < m->lease.epoch)
            W.st.epoch = m->lease.epoch;
        if (!W.st.has_record || record_cmp(&m->lease.record, &W.st.record) > 0) {
            W.st.record = m->lease.record;
            W.st.has_record = true;
        }
        if (W.st.system_id == 0)
            W.st.system_id = m->system_id;
    }
    if (e & EFF_EXIT)
        container_dies(m, between(500, 3000));
}

static void run_agent(struct member *m)
{
    static struct view v;
    finish_op(m);
    run_peers(m);
    make_view(m, &v);
    uint32_t before = m->ver.rule;
    struct memo memo = m->memo;
    decide(&v, &memo, &m->ver);
    m->memo = m->ver.memo;
    W.rule_hits[m->ver.rule]++;
    if (W.trace && m->ver.rule != before)
        TRACE(m, "-> %s (epoch %" PRIu64 " tl %u len %" PRIu64 " W %d sealed %d dl %" PRId64 ")",
              core_rules[m->ver.rule].id, m->lease.epoch, m->tl, m->len, m->lease.record.w,
              m->lease.record.sealed != 0, m->page_deadline - W.now);
    act(m);
    m->next_turn_ms = W.now + between(5, 15);
}

static void step(void)
{
    W.now += STEP_MS;
    for (int i = 0; i < W.n; i++) {
        struct member *m = &W.m[i];
        if (!m->container) {
            if (m->put.active && !m->put.applied && W.now >= m->put.arrive_ms) {
                api_apply(&m->put);
                m->put.active = false;
            }
            if (m->late.active && W.now >= m->late.arrive_ms) {
                api_apply(&m->late);
                m->late.active = false;
            }
            if (W.now >= m->container_at_ms)
                container_starts(m);
            continue;
        }
        run_api_client(m);
        if (m->node_frozen)
            continue;
        run_guard(m);
        if (m->agent_frozen_until <= W.now && m->container)
            run_agent(m);
        run_server(m);
    }
}

/* --- faults ---------------------------------------------------------------------------------- */
static void heal(void)
{
    for (int i = 0; i < W.n; i++) {
        W.api_up[i] = true;
        for (int j = 0; j < W.n; j++)
            W.link[i][j] = true;
        W.m[i].agent_frozen_until = 0;
        if (W.m[i].node_frozen)
            TRACE(&W.m[i], "thaws");
        W.m[i].node_frozen = false;
    }
}

static void fault(void)
{
    struct member *m = &W.m[between(0, W.n - 1)];
    if (chance(50))
        for (int i = 0; i < W.n; i++)
            if (W.m[i].proc == PG_RUNNING && !W.m[i].recovery)
                m = &W.m[i];
    int k = (int)between(0, 15);
    TRACE(m, "FAULT %d", k);
    switch (k) {
    case 0:
    case 1:
        if (m->proc == PG_RUNNING)
            server_gone(m, true);
        break;
    case 2:
    case 3:
        if (m->container)
            container_dies(m, between(200, 20000));
        break;
    case 4:
        m->agent_frozen_until = W.now + between(500, 20000);
        break;
    case 5:
        if (m->container)
            agent_starts(m);
        break;
    case 6:
        W.api_up[m->idx] = false;
        break;
    case 7:
        for (int i = 0; i < W.n; i++)
            if (i != m->idx)
                W.link[i][m->idx] = W.link[m->idx][i] = false;
        break;
    case 8:
        W.api_up[m->idx] = false;
        for (int i = 0; i < W.n; i++)
            if (i != m->idx)
                W.link[i][m->idx] = W.link[m->idx][i] = false;
        break;
    case 9:
        for (int i = 0; i < W.n; i++)
            W.api_up[i] = false;
        break;
    case 10:
        heal();
        break;
    case 11:
        m->terminate = m->container ? 1 : 0;
        break;
    case 13: /* somebody deletes the Lease */
        W.lease_exists = false;
        W.rv++;
        break;
    case 14: /* somebody empties it by hand */
        if (W.lease_exists) {
            W.lease.holder = (struct identity){0};
            W.lease.release = (struct release){0};
            W.rv++;
        }
        break;
    case 15: /* a tool re-applies a bare one */
        if (W.lease_exists) {
            W.lease = (struct lease){.exists = true};
            W.rv++;
        }
        break;
    case 12: {
        struct intent in = {.id = rnd() | 2, .kind = INTENT_SWITCHOVER, .epoch = W.lease.epoch};
        for (int i = 0; i < W.n; i++)
            W.m[i].intent = in;
        break;
    }
    }
}

static struct member *primary(void)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].proc == PG_RUNNING && !W.m[i].recovery && W.m[i].admitted)
            return &W.m[i];
    return NULL;
}

static bool whole(void)
{
    struct member *p = primary();
    if (p == NULL || W.lease.record.w != (W.set.k < W.n - 1 ? W.set.k : W.n - 1))
        return W.set.mode == REPL_ASYNC && p != NULL;
    for (int i = 0; i < W.n; i++)
        if (&W.m[i] != p && !(W.m[i].snd.on && W.m[i].snd.upstream == p->idx))
            return false;
    return true;
}

static bool run_until_whole(int64_t ms)
{
    for (int64_t end = W.now + ms; W.now < end && W.violation == NULL;) {
        step();
        if (whole())
            return true;
    }
    return whole();
}

static bool episode(uint64_t seed, int n, enum repl_mode mode, bool strict, bool trace)
{
    uint64_t hits[128];
    memcpy(hits, W.rule_hits, sizeof hits);
    memset(&W, 0, sizeof W);
    memcpy(W.rule_hits, hits, sizeof hits);
    W.rng = seed * 0x9E3779B97F4A7C15ull + 1;
    W.n = n;
    W.now = 100000;
    W.trace = trace;
    W.st.exists = true;
    W.set = (struct settings){.lease_ms = 5000, .renew_ms = 1000, .retry_ms = 300, .fence_ms = 3300,
                              .kill_ms = 500, .request_ms = 1000, .mode = mode, .k = 1,
                              .strict = strict, .failsafe = true, .degrade_ms = 5000,
                              .leave_ms = 15000, .start_ms = 10000, .stop_ms = 2000,
                              .switchover_lag_bytes = 1000, .members = (uint8_t)n};
    for (int i = 0; i < n; i++) {
        W.m[i].idx = i;
        W.m[i].volume = rnd() | 1;
        W.m[i].data = DATA_EMPTY;
        W.m[i].container_at_ms = W.now + between(0, 500);
    }
    heal();
    if (!run_until_whole(60000) && W.violation == NULL)
        violate("liveness", "no whole cluster after bootstrap", 0, 0);
    int faults = (int)between(1, 6);
    for (int f = 0; f < faults && W.violation == NULL; f++) {
        fault();
        for (int64_t end = W.now + between(10, chance(30) ? 15000 : 3000);
             W.now < end && W.violation == NULL;)
            step();
    }
    heal();
    if (W.violation == NULL && !run_until_whole(90000) && W.violation == NULL)
        violate("liveness", "not whole 90 s after healing", 0, 0);
    if (W.violation == NULL)
        check_lost(primary(), "missing at the end");
    if (W.violation != NULL)
        printf("seed %" PRIu64 ": %s %s\n", seed, W.violation, W.detail);
    return W.violation == NULL;
}

int main(int argc, char **argv)
{
    uint64_t from = 1, to = 1000;
    int n = 3;
    bool trace = false, strict = false;
    enum repl_mode mode = REPL_QUORUM;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            sscanf(argv[++i], "%" SCNu64 "-%" SCNu64, &from, &to);
        else if (strcmp(argv[i], "--members") == 0 && i + 1 < argc)
            n = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--mode") == 0 && i + 1 < argc)
            mode = strcmp(argv[++i], "async") == 0 ? REPL_ASYNC : REPL_QUORUM;
        else if (strcmp(argv[i], "--strict") == 0)
            strict = true;
        else if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else {
            fprintf(stderr, "usage: sim --seeds A-B [--members 1-%d] [--mode quorum|async] "
                            "[--strict] [--trace]\n", N_MAX);
            return 2;
        }
    }
    if (n < 1 || n > N_MAX || to < from) {
        fprintf(stderr, "sim: --members is 1 to %d and --seeds A-B needs A <= B\n", N_MAX);
        return 2;
    }
    uint64_t bad = 0, count = 0;
    for (uint64_t s = from; s <= to; s++, count++)
        bad += episode(s, n, mode, strict, trace) ? 0 : 1;
    for (size_t i = 0; i < core_rule_count && count > 1; i++)
        if (W.rule_hits[i] == 0)
            printf("rule never reached: %s\n", core_rules[i].id);
    printf("%" PRIu64 " episodes, %" PRIu64 " failed\n", count, bad);
    return bad == 0 ? 0 : 1;
}
