/* Model PostgreSQL: a log of numbered entries, streams, synchronous commit, promotion, operations on
 * the data directory; and the ledger of what clients were told. */
#include "world.h"

struct position pos_of(const struct member *m)
{
    if (m->data != DATA_OK || m->damaged)
        return (struct position){0};
    return (struct position){m->len > 0 ? m->logtl[m->len - 1] : 1, m->len + 1};
}

void server_gone(struct member *m, bool crashed)
{
    m->proc = PG_DOWN;
    m->crashed = crashed;
    m->writable = m->answers = m->accounted = m->admitted = m->closed = false;
    m->recovery = true;
    m->promote_at_ms = m->promoted_local = m->checkpoint_at_ms = m->gate_at_ms = 0;
    m->frozen_epoch = 0;
    m->settings_low = false;
    m->st.rx = false;
    m->follows = 0;
    m->proof_lsn = 0;
    m->ssn_at_ms = m->detach_at_ms = m->accounted_at_ms = 0;
    if (m->op == OP_WALEND)
        m->op = OP_NONE;
    stream_upstream_gone(m);
}

void stream_upstream_gone(const struct member *up)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].st.on && W.m[i].st.upstream == up->idx) {
            W.m[i].st.on = false;
            poke_server(&W.m[i]);
        }
}

static void poke_streams(const struct member *up)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].st.on && W.m[i].st.upstream == up->idx)
            poke_server(&W.m[i]);
}

void server_start(struct member *m)
{
    if (m->proc != PG_DOWN || m->data != DATA_OK || m->op_state == OP_RUNNING)
        return;
    m->op = OP_NONE;
    m->op_state = OP_IDLE;
    m->proc = PG_STARTING;
    m->clean = m->crashed = false;
    m->proc_at_ms = W.now + (chance(5) ? between(1000, 8000) : between(60, 400));
}

static void append(struct member *m)
{
    if (m->len >= LOG_MAX || W.next_entry + 1 >= ENTRY_MAX)
        return;
    m->logtl[m->len] = m->tl;
    m->log[m->len++] = ++W.next_entry;
    poke_streams(m);
}

void server_stop(struct member *m)
{
    if (m->proc != PG_RUNNING)
        return;
    if (!m->recovery)
        append(m); /* shutdown checkpoint */
    m->proc = PG_STOPPING;
    m->admitted = false;
    m->gate_at_ms = 0;
    m->proc_at_ms = W.now + (chance(10) ? between(150, 6000) : between(20, 150));
}

bool log_prefix(const struct member *up, const struct member *down)
{
    if (down->len > up->len)
        return false;
    return down->len == 0 || up->log[down->len - 1] == down->log[down->len - 1];
}

static bool can_receive(const struct member *m, const struct member *up)
{
    return m->proc == PG_RUNNING && m->recovery && m->answers && m->frozen_epoch == 0 &&
           m->follows == up->volume;
}

static void connect_stream(struct member *m, struct member *up)
{
    if (W.now < m->reconnect_at_ms || m->st.on || !can_receive(m, up) || !linked(m->idx, up->idx) ||
        (up->proc != PG_RUNNING && up->proc != PG_STOPPING) || !up->answers ||
        m->follows_epoch != up->durable_epoch) /* each epoch has its own credentials */
        return;
    bool other = !log_prefix(up, m);
    if (other && chance(50)) { /* not in the segment of the fork: refused */
        m->reconnect_at_ms = W.now + between(20, 150);
        return;
    }
    m->st = (struct stream){.on = true, .rx = true, .upstream = up->idx, .volume = m->volume,
                            .start_lsn = up->len + 1, .setting = up->ssn_backend,
                            .setting_seq = up->ssn_seq, .provisional = m->provisional,
                            .other = other, .reported = other ? m->len + 1 : 0,
                            .ends_at_ms = W.now + between(20, 300)};
    poke_server(up);
    TRACE(m, "streams from m%d at %" PRIu64, up->idx, m->len);
}

/* The walsender's half: it lives until it hears of the end or for 5 s of silence. */
static void sender_run(struct member *m, struct member *up)
{
    struct stream *s = &m->st;
    if (!alive(up))
        return; /* frozen: nothing happens, what has arrived waits in the socket */
    if (s->setting_seq != up->ssn_seq && s->setting_at_ms == 0)
        s->setting_at_ms = W.now + (chance(4) ? between(1000, 8000) : between(0, 120));
    if (s->setting_at_ms != 0 && W.now >= s->setting_at_ms) {
        s->setting = up->ssn_backend;
        s->setting_seq = up->ssn_seq;
        s->setting_at_ms = 0;
        poke_server(up);
    }
    if (s->flushed != s->reported && chance(80)) {
        s->flushed = s->reported;
        poke_server(up);
    }
    bool heard = linked(m->idx, up->idx);
    if (!s->rx && heard && chance(40))
        s->on = false;
    if (heard && s->rx)
        s->quiet_since_ms = 0;
    else if (s->quiet_since_ms == 0)
        s->quiet_since_ms = W.now;
    else if (W.now - s->quiet_since_ms > 5000)
        s->on = false;
    if (!s->on && s->rx && heard)
        s->rx = false;
    if (!s->on)
        poke_server(up);
}

static void receiver_run(struct member *m, const struct member *up)
{
    struct stream *s = &m->st;
    if (!can_receive(m, up) || m->follows_epoch != m->durable_epoch || !s->on) {
        s->rx = false;
        m->reconnect_at_ms = W.now + between(20, 150);
        return;
    }
    if (!linked(m->idx, up->idx)) {
        if (s->breaks_at_ms == 0)
            s->breaks_at_ms = W.now + between(0, 10000);
        if (W.now >= s->breaks_at_ms) {
            s->rx = false;
            m->reconnect_at_ms = W.now + between(20, 150);
        }
        return;
    }
    s->breaks_at_ms = 0;
    if (s->other) {
        if (W.now >= s->ends_at_ms) {
            s->rx = false;
            m->reconnect_at_ms = W.now + between(20, 150);
        }
        return;
    }
    if (!chance(m->receives) || W.now < m->lags_until || W.now < m->disk_until)
        return;
    m->unread = 0;
    for (int64_t n = between(1, 8); n > 0 && m->len < up->len; n--) {
        m->log[m->len] = up->log[m->len];
        m->logtl[m->len] = up->logtl[m->len];
        m->len++;
    }
    if (m->len > 0 && m->logtl[m->len - 1] > m->tl)
        m->tl = m->logtl[m->len - 1];
    if (chance(80))
        s->reported = m->len + 1;
}

static void stream_run(struct member *m)
{
    struct stream *s = &m->st;
    if (s->on)
        sender_run(m, &W.m[s->upstream]);
    if (s->rx && alive(m))
        receiver_run(m, &W.m[s->upstream]);
    struct member *up = by_volume(m->follows);
    if (!s->on && !s->rx && up != NULL && up != m && alive(m))
        connect_stream(m, up);
}

/* --- acknowledgements ----------------------------------------------------------------------- */

/* It may not be lost from now on; first told in that epoch. */
static void promise(uint32_t entry, uint64_t epoch)
{
    if (!W.kept[entry])
        W.kept_epoch[entry] = epoch;
    W.kept[entry] = true;
}

/* Where replication is made asynchronous for a while, what was told in that while may be lost. */
static void keep(const struct member *m, uint32_t entry)
{
    if (m->reign_epoch < W.given_up_epoch)
        return; /* told late what an operator has given up since */
    const struct record *r = &W.lease.record;
    bool asks = r->writer == m->volume || m->ssn_backend.kind == SSN_SET; /* or a later writer does, in a pause */
    bool promised = (r->w > 0 && asks) || r->sealed == m->volume;
    if (!W.modes || (promised && m->set.mode != REPL_ASYNC))
        promise(entry, m->reign_epoch);
}

static bool in_log(const struct member *m, uint32_t entry)
{
    for (uint64_t i = m->len; i > 0; i--)
        if (m->log[i - 1] == entry)
            return true;
    return false;
}

static void acknowledge(struct member *m, uint64_t upto)
{
    bool thawed = !W.gate && m->thawed_ms != 0 && W.now - m->thawed_ms < m->set.kill_ms;
    for (; m->acked_upto < upto; m->acked_upto++) {
        uint32_t entry = m->log[m->acked_upto];
        keep(m, entry);
        W.acks++;
        if (thawed) /* a pause of the whole member without the gate: told late, and still not lost */
            continue;
        /* After a pause that no clock showed a right may be believed in that has ended. What was
         * written before may be told late; new commits find no quorum, but need none in async. */
        if (m->zombie_until > W.now && (m->acked_upto < m->zombie_len || W.modes || W.set.mode == REPL_ASYNC))
            continue;
        /* What standbys confirmed before they turned to another may be told late. */
        if (W.early && m->reign_epoch < W.last_ack_epoch && in_log(&W.m[W.last_acker], entry))
            continue;
        if (m->reign_epoch < W.last_ack_epoch ||
            (m->reign_epoch == W.last_ack_epoch && W.last_acker != m->idx))
            violate("two writers", "m%d acknowledges in epoch %" PRIu64 " after m%d did in %" PRIu64,
                    m->idx, m->reign_epoch, W.last_acker, W.last_ack_epoch);
        int64_t grace = W.gate ? 0 : m->set.kill_ms;
        if (m->lapsed != 0 && m->local >= m->lapsed + grace)
            violate("fence", "m%d acknowledges %" PRId64 " ms after its deadline", m->idx,
                    m->local - m->lapsed);
        W.last_ack_epoch = m->reign_epoch;
        W.last_acker = m->idx;
    }
}

/* Does this walsender's setting release a commit at lsn? */
static bool satisfied(const struct member *m, const struct ssn *c, uint64_t lsn)
{
    uint8_t n = 0, connected = 0;
    for (uint8_t v = 0; v < c->n; v++) {
        for (int i = 0; i < W.n; i++) {
            const struct stream *s = &W.m[i].st;
            if (!s->on || s->upstream != m->idx || s->provisional || s->volume != c->volume[v])
                continue;
            connected++;
            bool counts = c->mode != REPL_SYNC || connected <= c->w;
            if (counts && s->flushed >= lsn + 1)
                n++;
        }
    }
    return n >= c->w;
}

static void release_waiters(struct member *m)
{
    if (W.gate && m->local >= m->page_deadline)
        return;
    /* A session that does not wait for standbys, where the gate lets it. A server that was promoted by hand
     * is of no epoch, and what such sessions commit there is lost as they asked for. */
    if (W.early && (m->loose || !W.gate) && m->reign_epoch > 0 && m->len > m->acked_upto && m->reign_epoch < W.last_ack_epoch &&
        m->local < m->page_deadline && m->zombie_until <= W.now)
        violate("two writers", "m%d may acknowledge by itself in epoch %" PRIu64 " after m%d did in %" PRIu64,
                m->idx, m->reign_epoch, W.last_acker, W.last_ack_epoch);
    if (m->ssn_backend.kind == SSN_EMPTY) {
        acknowledge(m, m->len);
        return;
    }
    for (int w = 0; w < W.n; w++) {
        const struct stream *s = &W.m[w].st;
        if (!s->on || s->upstream != m->idx || s->setting.kind != SSN_SET)
            continue;
        uint64_t lsn = m->len;
        while (lsn > m->acked_upto && !satisfied(m, &s->setting, lsn))
            lsn--;
        if (lsn > m->acked_upto)
            acknowledge(m, lsn);
    }
}

void check_kept(const struct member *m, uint64_t epoch, const char *when)
{
    static bool here[ENTRY_MAX];
    if (W.set.mode == REPL_ASYNC && !W.modes)
        return;
    memset(here, 0, W.next_entry + 1);
    for (uint64_t i = 0; i < m->len; i++)
        here[m->log[i]] = true;
    for (uint32_t e = 1; e <= W.next_entry; e++)
        if (W.kept[e] && !here[e] && W.kept_epoch[e] <= epoch) {
            violate("lost write", "entry %u %s m%d", e, when, m->idx);
            return;
        }
}

/* --- the server's life ---------------------------------------------------------------------- */

/* A walsender that served a standby takes part in releasing commits only after it has found recovery ended,
 * which is a round after a reload that came before (decision 0081): none of them uses an older setting. */
static void streams_after_promotion(const struct member *m)
{
    for (int i = 0; i < W.n; i++) {
        struct stream *s = &W.m[i].st;
        if (!s->on || s->upstream != m->idx)
            continue;
        s->setting = m->ssn_backend;
        s->setting_seq = m->ssn_seq;
        s->setting_at_ms = 0;
    }
}

static void promoted(struct member *m)
{
    if (m->settings_low) { /* recovery ends with an error where it was paused */
        server_gone(m, true);
        return;
    }
    m->promote_at_ms = 0;
    m->recovery = false;
    streams_after_promotion(m);
    m->len -= m->unread; /* what recovery has not read is not part of the new timeline */
    m->unread = 0;
    m->st.rx = false;
    m->tl = m->promote_tl;
    m->reign_epoch = m->promote_epoch;
    append(m); /* end of recovery */
    m->promoted_local = m->local;
    m->promoted_end = m->len + 1;
    m->acked_upto = m->len;
    W.promotions++;
    W.lively_until_ms = W.now + 2000;
    TRACE(m, "promoted to tl %u len %" PRIu64 " epoch %" PRIu64, m->tl, m->len, m->reign_epoch);
    if (m->tl < OWNED_MAX) {
        if (W.timeline_owner[m->tl] != 0)
            violate("timeline", "m%d uses %u again", m->idx, m->tl);
        W.timeline_owner[m->tl] = m->volume;
    }
    if (m->admitted)
        violate("admission", "m%d promotes with clients admitted", m->idx);
}

static void gate_run(struct member *m)
{
    if (m->gate_at_ms == 0 || W.now < m->gate_at_ms)
        return;
    m->gate_at_ms = 0;
    m->closed = !m->gate_wanted_open;
    if (m->admitted == m->gate_wanted_open)
        return;
    m->admitted = m->gate_wanted_open;
    if (!m->admitted || m->recovery)
        return;
    TRACE(m, "ADMITS clients at %" PRIu64, m->len);
    if (m->zombie_until > W.now)
        return; /* it goes on with what it had begun before a pause that no clock showed */
    /* A member that thaws past its deadline may still carry out what it had begun until its guard
     * runs: nothing is acknowledged then (checked elsewhere), and nobody new was let in by a right. */
    if (m->local < m->page_deadline) /* one that was succeeded inside its lease shows readers what it has */
        check_kept(m, W.early ? m->reign_epoch : UINT64_MAX, "missing at admission of");
    for (uint64_t i = 0; i < m->acked_upto; i++)
        keep(m, m->log[i]); /* can be read from now on */
}

static void settle(struct member *m)
{
    if (m->accounted_at_ms != 0 && W.now >= m->accounted_at_ms) {
        m->accounted = true;
        m->accounted_at_ms = 0;
    }
    if (m->detach_at_ms != 0 && W.now >= m->detach_at_ms) {
        m->detach_at_ms = 0;
        m->st.rx = false;
        m->follows = 0;
        m->frozen_epoch = m->detach_epoch;
        TRACE(m, "frozen for epoch %" PRIu64 " at %u/%" PRIu64, m->frozen_epoch,
              pos_of(m).timeline, m->len);
    }
    if (m->ssn_at_ms != 0 && W.now >= m->ssn_at_ms) {
        m->ssn_at_ms = 0;
        m->ssn_backend = m->ssn;
        m->ssn_seq++;
        m->proof_lsn = 0;
        poke_streams(m);
    }
    if (m->promote_at_ms != 0 && W.now >= m->promote_at_ms && m->recovery)
        promoted(m);
    if (m->checkpoint_at_ms != 0 && W.now >= m->checkpoint_at_ms) {
        m->checkpoint_local = m->checkpoint_begun;
        m->checkpoint_at_ms = 0;
    }
    gate_run(m);
}

static bool writes_more(const struct member *m)
{
    return m->admitted && m->len < LOG_MAX - 20;
}

/* Every walsender uses the setting. */
static bool in_force(const struct member *m)
{
    for (int i = 0; i < W.n; i++)
        if (W.m[i].st.on && W.m[i].st.upstream == m->idx && W.m[i].st.setting_seq != m->ssn_seq)
            return false;
    return m->ssn_at_ms == 0;
}

static void primary_run(struct member *m)
{
    if (m->reign_epoch == 0 && m->len > 0 && m->logtl[m->len - 1] != m->tl)
        append(m); /* end of recovery of a promotion by hand */
    if (writes_more(m) && W.now >= m->append_at_ms) {
        append(m);
        bool lively = W.now < W.lively_until_ms || W.now >= W.lively_from_ms;
        m->append_at_ms = W.now + (lively ? between(1, 120) : between(100, 1500));
        if (!lively)
            soonest(&m->append_at_ms, W.lively_from_ms);
    }
    if (m->proof_lsn == 0 && in_force(m) && chance(30))
        m->proof_lsn = m->len + 1;
    release_waiters(m);
}

void server_run(struct member *m)
{
    stream_run(m);
    if (!alive(m))
        return;
    if (W.now < m->disk_until) { /* SIGKILL has to wait as well; nothing is written or told meanwhile */
        if (m->kill_at_ms != 0)
            not_before(&m->kill_at_ms, m->disk_until);
        if (m->kill_by_guard)
            not_before(&m->agent_frozen_until, m->disk_until);
        return;
    }
    if (m->kill_at_ms != 0 && W.now >= m->kill_at_ms) {
        TRACE(m, "%s", m->kill_by_guard ? "FENCED by guard" : "server killed");
        bool guard = m->kill_by_guard;
        server_gone(m, m->crashed);
        m->kill_at_ms = 0;
        m->kill_by_guard = false;
        if (guard) {
            m->fenced = true;
            m->agent_frozen_until = 0;
            agent_starts(m);
        }
    }
    if (m->proc == PG_STARTING && W.now >= m->proc_at_ms && m->damaged) {
        server_gone(m, false);
        m->failed_starts = (uint8_t)(m->failed_starts < 200 ? m->failed_starts + 1 : 200);
    }
    if (m->proc == PG_STARTING && W.now >= m->proc_at_ms) {
        m->failed_starts = 0;
        m->proc = PG_RUNNING;
        m->answers = m->recovery = m->closed = true;
        m->accounted_at_ms = W.now + between(5, 200);
        /* What one start has not read the next one or, among other faults, the one after it does
         * (decision 0016): the core waits 40 s before it tries once more. */
        m->unread = m->unread_lives < (W.calm ? 1 : 2) && chance(3) && m->len > 8 ? (uint64_t)between(1, 8) : 0;
        m->unread_lives = m->unread > 0 ? m->unread_lives + 1 : 0;
        m->up_local = m->local;
        m->ssn.kind = m->ssn_backend.kind = SSN_UNSATISFIABLE;
        m->ssn_seq++;
        TRACE(m, "standby up at tl %u len %" PRIu64, m->tl, m->len);
    }
    if (m->proc == PG_STOPPING && W.now >= m->proc_at_ms) {
        server_gone(m, false);
        m->clean = true;
        TRACE(m, "stopped cleanly");
    }
    if (m->proc == PG_RUNNING)
        settle(m);
    if ((m->proc == PG_RUNNING || m->proc == PG_STOPPING) && !m->recovery)
        primary_run(m);
}

static int64_t stream_due(const struct member *m)
{
    const struct stream *s = &m->st;
    const struct member *up = &W.m[s->upstream];
    int64_t d = INT64_MAX;
    if (s->on && alive(up)) {
        bool heard = linked(m->idx, up->idx);
        if (s->setting_seq != up->ssn_seq)
            soonest(&d, s->setting_at_ms);
        if (s->flushed != s->reported || (heard && (!s->rx || s->quiet_since_ms != 0)))
            soonest(&d, W.now);
        if (!heard || !s->rx)
            soonest(&d, s->quiet_since_ms == 0 ? W.now : s->quiet_since_ms + 5001);
    }
    if (s->rx) {
        if (!can_receive(m, up) || m->follows_epoch != m->durable_epoch || !s->on)
            soonest(&d, W.now);
        else if (!linked(m->idx, up->idx))
            soonest(&d, s->breaks_at_ms);
        else if (s->other)
            soonest(&d, s->ends_at_ms);
        else if (m->len < up->len || s->reported != m->len + 1)
            soonest(&d, m->lags_until > m->disk_until ? m->lags_until : m->disk_until);
    }
    if (!s->on && !s->rx && m->follows != 0 && m->frozen_epoch == 0)
        soonest(&d, m->reconnect_at_ms > W.now ? m->reconnect_at_ms : W.now + 30);
    return d;
}

/* When something can happen to the server next; a time that has passed means the next step. */
int64_t server_due(const struct member *m)
{
    int64_t d = stream_due(m);
    if (W.now < m->disk_until)
        return d < m->disk_until ? d : m->disk_until;
    soonest_if_set(&d, m->kill_at_ms);
    if (m->proc == PG_STARTING || m->proc == PG_STOPPING)
        soonest(&d, m->proc_at_ms);
    if (m->proc == PG_RUNNING) {
        soonest_if_set(&d, m->accounted_at_ms);
        soonest_if_set(&d, m->detach_at_ms);
        soonest_if_set(&d, m->ssn_at_ms);
        soonest_if_set(&d, m->gate_at_ms);
        soonest_if_set(&d, m->checkpoint_at_ms);
        if (m->recovery)
            soonest_if_set(&d, m->promote_at_ms);
    }
    if ((m->proc != PG_RUNNING && m->proc != PG_STOPPING) || m->recovery)
        return d;
    if (writes_more(m))
        soonest(&d, m->append_at_ms);
    if (m->proof_lsn == 0 && in_force(m))
        soonest(&d, W.now);
    return d;
}

/* --- operations on the data directory --------------------------------------------------------- */

/* Rewinding makes this copy useless from its first moment: W + 1 others must hold all of it. One that
 * was lost since they last answered is the loss that W of them outlive.
 *
 * W is that of the highest copy of the record, not of the Lease, which may have been put back or be gone:
 * a W that was lowered stays lowered, since the sets of reports that may elect are those of the highest
 * copy (a Lease below it elects nobody, and the next acquisition brings the copy back). Nothing is missed
 * by it either: a W that was raised counts for what is acknowledged once it is recorded and known to its
 * writer, who keeps a copy of it. */
static void check_last_copy(const struct member *m)
{
    static uint8_t copies[ENTRY_MAX];
    const struct record *r = last_record();
    const struct record_member *line = r == NULL ? NULL : record_find(r, m->volume);
    if (W.set.mode == REPL_ASYNC || line == NULL || !line->in_v)
        return; /* what has no vote was never counted on */
    memset(copies, 0, W.next_entry + 1);
    for (int o = 0; o < W.n; o++)
        for (uint64_t j = 0; o != m->idx && pos_of(&W.m[o]).lsn > 0 && j < W.m[o].len; j++)
            copies[W.m[o].log[j]]++;
    int needed = r->w + (W.now - W.lost_at_ms > 2000 ? 1 : 0);
    for (uint64_t j = 0; j < m->len; j++)
        if (W.kept[m->log[j]] && copies[m->log[j]] < needed) {
            violate("last copy", "m%d rewinds, entry %u is on %d others", m->idx, m->log[j],
                    copies[m->log[j]]);
            return;
        }
}

void op_begin(struct member *m, enum pg_op op, int64_t lo, int64_t hi)
{
    if (m->proc != PG_DOWN || m->op_state == OP_RUNNING ||
        (m->op == op && m->op_state == OP_OK && op == OP_WALEND))
        return;
    if (op != m->op)
        m->op_failures = 0;
    m->op = op;
    m->op_state = OP_RUNNING;
    m->op_since = m->local;
    m->op_at_ms = W.now + between(lo, hi);
    if (op == OP_REWIND) {
        check_last_copy(m);
        m->data = DATA_PARTIAL;
    }
    TRACE(m, "operation %d begins", (int)op);
}

static void finish_initdb(struct member *m)
{
    if (W.initdbs++ > 0)
        for (int i = 0; i < W.n; i++)
            if (W.m[i].data == DATA_OK)
                violate("bootstrap", "m%d initialises although m%d has data", m->idx, i);
    m->data = DATA_OK;
    m->system_id = random_id();
    m->tl = 1;
    m->len = 0;
    append(m);
}

static bool finish_clone(struct member *m, const struct member *up)
{
    if (up->durable_epoch != m->durable_epoch)
        return false;
    if (m->data == DATA_OK && W.set.mode != REPL_ASYNC)
        for (uint64_t i = 0; i < m->len; i++)
            if (W.kept[m->log[i]] && (i >= up->len || up->log[i] != m->log[i]))
                violate("last copy", "m%d replaces its directory, m%d lacks entry %u", m->idx,
                        up->idx, m->log[i]);
    memcpy(m->log, up->log, up->len * sizeof m->log[0]);
    memcpy(m->logtl, up->logtl, up->len * sizeof m->logtl[0]);
    m->len = up->len;
    m->tl = up->tl;
    m->data = DATA_OK;
    m->wal_missing = m->damaged = false;
    m->failed_starts = 0;
    m->system_id = up->system_id;
    m->volume = random_id();
    return true;
}

static void finish_rewind(struct member *m, const struct member *up)
{
    uint64_t n = up->len < m->len ? up->len : m->len;
    while (n > 0 && up->log[n - 1] != m->log[n - 1])
        n--;
    m->len = n;
    m->tl = n > 0 ? m->logtl[n - 1] : 1;
    m->data = DATA_OK;
    TRACE(m, "rewound to %" PRIu64, m->len);
}

void op_run(struct member *m)
{
    if (m->op_state != OP_RUNNING || W.now < m->op_at_ms || W.now < m->disk_until)
        return;
    struct member *up = by_volume(m->lease.record.writer);
    bool have = up != NULL && up != m && up->proc == PG_RUNNING && !up->recovery &&
                linked(m->idx, up->idx) && !chance(5);
    bool ok = true;
    if (m->op == OP_WALEND)
        ok = !m->damaged;
    else if (m->op == OP_INITDB)
        finish_initdb(m);
    else if (m->op == OP_CLONE)
        ok = have && finish_clone(m, up);
    else if (m->op == OP_REWIND && have)
        finish_rewind(m, up);
    else if (m->op == OP_REWIND) {
        ok = false;
        if (chance(50))
            m->data = DATA_OK; /* failed before it touched anything */
    }
    m->op_state = ok ? OP_OK : OP_FAILED;
    m->op_failures = ok ? 0 : (uint8_t)(m->op_failures < 200 ? m->op_failures + 1 : 200);
}
