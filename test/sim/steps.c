/* Virtual time: which member is touched when. Between the events that can happen to anybody the clock
 * jumps; in a dense episode nothing is left out, and every agent turns all the time. */
#include "world.h"

#define IDLE_MS 2000 /* a member is looked at this often at least */

int64_t true_time(const struct member *m, int64_t local)
{
    return (local - m->clock0) * 1000 / (1000 + m->rate) + 1;
}

void poke(struct member *m)
{
    soonest(&W.due_ms[m->idx], W.now);
    m->poked = true;
}

void poke_server(struct member *m)
{
    soonest(&W.due_ms[m->idx], W.now);
    soonest(&m->server_due_ms, W.now);
}

void poke_all(void)
{
    for (int i = 0; i < W.n; i++)
        poke(&W.m[i]);
}

void wake_all(void)
{
    poke_all();
    for (int i = 0; i < W.n; i++)
        if (W.m[i].container)
            agent_event(&W.m[i]);
}

static int64_t api_due(const struct member *m)
{
    int64_t d = INT64_MAX;
    const struct put *p = &m->put;
    if (p->active) {
        soonest(&d, p->deadline_ms);
        if (p->applied && !p->lost_reply && !p->lost_request && m->api != API_SILENT)
            soonest(&d, p->reply_ms);
    }
    if (m->get_pending) {
        soonest(&d, m->get_at_ms);
        if (!m->get_served && m->api == API_UP)
            soonest(&d, m->get_serve_ms);
    }
    bool news = (m->known && m->seen_rv < W.rv) || m->seen_state != W.state_seq;
    if (m->api == API_UP && news)
        soonest(&d, m->watch_from_ms);
    return d;
}

static int64_t agent_due(const struct member *m)
{
    int64_t d = m->next_turn_ms;
    soonest(&d, m->peers_due_ms);
    soonest_if_set(&d, m->set_at_ms);
    if (m->op_state == OP_RUNNING)
        soonest(&d, m->op_at_ms > m->disk_until ? m->op_at_ms : m->disk_until);
    return d > m->agent_frozen_until ? d : m->agent_frozen_until;
}

static int64_t member_due(const struct member *m)
{
    int64_t d = W.now + (W.dense ? STEP_MS : IDLE_MS);
    for (int i = 0; i < LATE_MAX && m->n_late > 0; i++)
        if (m->late[i].active)
            soonest(&d, m->late[i].arrive_ms);
    if (m->put.active && !m->put.applied)
        soonest(&d, m->put.arrive_ms);
    if (!m->container) {
        soonest(&d, m->container_at_ms);
        return d;
    }
    soonest_if_set(&d, m->kill_container_at);
    if (m->node_frozen_until > W.now) {
        soonest(&d, m->node_frozen_until);
        return d;
    }
    soonest_if_set(&d, m->terminate_at_ms);
    soonest_if_set(&d, m->agent_restart_at_ms);
    soonest_if_set(&d, m->grace_until_ms);
    if (m->thawed_ms != 0 && W.now - m->thawed_ms < 15)
        soonest(&d, W.now);
    if (m->writable && !m->kill_by_guard)
        soonest(&d, true_time(m, m->page_deadline));
    soonest(&d, m->api_due_ms);
    soonest(&d, m->server_due_ms);
    soonest(&d, agent_due(m));
    return d;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x9E3779B97F4A7C15ull;
}

/* What wakes an agent: its looks at the server come to something else. Positions that only move do not. */
static uint64_t looked(const struct member *m)
{
    uint64_t bits = (uint64_t)m->proc | (uint64_t)m->op << 2 | (uint64_t)m->op_state << 5 |
                    (uint64_t)m->data << 7 | (uint64_t)m->label << 10 | (uint64_t)m->terminate << 12 |
                    (uint64_t)m->failed_starts << 20;
    int at = 28;
#define BIT(b) bits |= (uint64_t)((b) ? 1 : 0) << at++
    BIT(m->crashed), BIT(m->clean), BIT(m->answers), BIT(m->recovery), BIT(m->writable);
    BIT(m->accounted), BIT(m->admitted), BIT(m->closed), BIT(m->leftovers), BIT(m->wal_missing);
    BIT(m->damaged), BIT(m->fenced), BIT(m->unread > 0), BIT(m->kill_at_ms != 0);
    BIT(m->ssn_at_ms != 0), BIT(m->gate_at_ms != 0), BIT(m->st.on && m->st.rx), BIT(m->st.other);
    BIT(m->provisional), BIT(W.now < m->seen_at_ms), BIT(m->settings_low);
#undef BIT
    uint64_t h = mix(bits, m->frozen_epoch);
    h = mix(h, m->follows + m->follows_epoch);
    h = mix(h, m->ssn_seq + (m->proof_lsn << 20));
    h = mix(h, (uint64_t)(m->checkpoint_local + m->promoted_local + m->up_local));
    h = mix(h, m->volume + m->tl);
    for (int i = 0; i < W.n; i++) {
        const struct stream *s = &W.m[i].st;
        if (!s->on || s->upstream != m->idx)
            continue;
        bool waits = !m->admitted || m->proc == PG_STOPPING;
        h = mix(h, s->volume + (s->flushed >= s->start_lsn ? 1 : 0) +
                       (s->flushed >= m->proof_lsn ? 2 : 0) + (waits ? s->flushed << 4 : 0));
    }
    return h;
}

/* Only those parts to which something can happen; mostly it is a question of a peer. */
static void run_parts(struct member *m)
{
    bool thawed = m->thawed_ms != 0 && W.now - m->thawed_ms < 15;
    bool all = m->poked || W.dense || thawed;
    bool server = all || W.now >= m->server_due_ms, api = all || W.now >= m->api_due_ms;
    bool peers = server || W.now >= m->peers_due_ms;
    bool late_guard = thawed && chance(60);
    bool server_first = server && chance(50);
    m->poked = false;
    if (server_first)
        server_run(m);
    if (!late_guard)
        guard_run(m);
    if (m->container && api)
        api_client_run(m);
    uint64_t now = server ? looked(m) : m->looked;
    if (m->looked != now && m->container)
        agent_event(m);
    m->looked = now;
    bool turned = m->container && m->agent_frozen_until <= W.now && agent_run(m, peers);
    if (m->container && (server || turned) && !server_first)
        server_run(m);
    if (server || turned)
        m->server_due_ms = server_due(m);
    if (api || turned)
        m->api_due_ms = api_due(m);
    if (peers || turned)
        m->peers_due_ms = peers_due(m);
}

static void member_step(struct member *m)
{
    m->local = m->clock0 + W.now * (1000 + m->rate) / 1000;
    if (m->local < m->page_deadline)
        m->lapsed = 0;
    else if (m->lapsed == 0)
        m->lapsed = m->local - m->page_deadline < 30000 && m->page_deadline > 0 ? m->page_deadline
                                                                              : m->local;
    api_late_writes(m);
    if (!m->container) {
        if (W.now >= m->container_at_ms && !m->lost)
            container_starts(m);
        stream_upstream_gone(m);
        return;
    }
    if (m->kill_container_at != 0 && W.now >= m->kill_container_at)
        container_dies(m, between(200, 20000));
    if (!m->container || m->node_frozen_until > W.now)
        return;
    if (m->node_frozen_until != 0) {
        TRACE(m, "thaws");
        m->node_frozen_until = 0;
        m->thawed_ms = W.now;
        wake_all();
        if (m->vm_paused_at != 0) {
            m->clock0 -= m->local - m->vm_paused_at;
            m->local = m->vm_paused_at;
            m->zombie_until = W.now + 2 * m->set.lease_ms;
            m->zombie_len = m->len;
            m->vm_paused_at = 0;
        }
    }
    if (m->terminate_at_ms != 0 && W.now >= m->terminate_at_ms) {
        TRACE(m, "SIGTERM");
        m->terminate_at_ms = 0;
        m->terminate++;
        agent_event(m);
        m->grace_until_ms = W.now + 60000;
    }
    if (m->agent_restart_at_ms != 0 && W.now >= m->agent_restart_at_ms && !m->kill_by_guard) {
        m->agent_restart_at_ms = 0;
        agent_starts(m);
    }
    run_parts(m);
}

void world_step(int64_t end)
{
    int64_t at = W.flap_until_ms != 0 ? W.flap_next_ms : INT64_MAX;
    for (int i = 0; i < W.n; i++)
        soonest(&at, W.due_ms[i]);
    soonest(&at, end);
    W.now += at <= W.now ? STEP_MS : (at - W.now + STEP_MS - 1) / STEP_MS * STEP_MS;
    faults_run();
    if (W.modes && W.lease.has_record && W.lease.record.w == 0 && W.lease.record.sealed == 0)
        memset(W.kept, 0, W.next_entry + 1);
    for (int i = 0, next = (int)between(0, W.n - 1); i < W.n; i++) {
        int idx = next;
        next = idx + 1 < W.n ? idx + 1 : 0;
        if (W.due_ms[idx] > W.now)
            continue;
        W.due_ms[idx] = INT64_MAX;
        member_step(&W.m[idx]);
        soonest(&W.due_ms[idx], member_due(&W.m[idx]));
    }
}
