/* Publishes what this member is: REST snapshot, peer state, pod annotation. */
#include <string.h>

#include "agent.h"
#include "base/clock.h"
#include "base/jw.h"
#include "base/log.h"
#include "base/str.h"
#include "http/render.h"

void fill_peer_state(const struct agent *a, struct peer_state *s)
{
    const struct view *v = &a->view;
    *s = (struct peer_state){
        .id = a->id,
        .volume = a->state.volume,
        .system_id = v->self.system_id,
        .data = v->self.data,
        .process = v->pg.process,
        .in_recovery = v->pg.in_recovery,
        .position = v->pg.position,
        .durable_epoch = a->state.epoch,
        .frozen_epoch = v->pg.accounted == TRI_YES ? v->pg.frozen_epoch : 0,
        .refused_epoch = a->verdict.refused_epoch,
        .promised_epoch = a->memo.promise_until_ms > v->now_ms ? a->memo.promise_epoch : 0,
        .record_epoch = a->state.has_record ? a->state.record.epoch : 0,
        .record_rev = a->state.has_record ? a->state.record.rev : 0,
        .lease_epoch = v->lv.lease.epoch,
        .streams_from = v->pg.streaming ? v->pg.follows : 0,
        .nofailover = core_barred(v),
        .paused = v->st.paused,
        .priority = a->set.priority,
        .write_end = a->succession.end,
        .writer_silent_ms = a->verdict.writer_silent_ms,
        .written_ago_ms = succession_written_ago(&a->succession, v->now_ms),
    };
    (void)str_copy(s->rule.s, sizeof s->rule.s, rule_of(a)->id);
}

static const char *state_word(const struct agent *a)
{
    const struct view *v = &a->view;
    if (pg_job_state(a->job) == PG_JOB_RUNNING) {
        enum pg_job_kind k = pg_job_kind(a->job);
        if (k == PG_JOB_INITDB)
            return "initdb";
        if (k == PG_JOB_CLONE)
            return "cloning";
        if (k == PG_JOB_REWIND)
            return "rewinding";
    }
    switch (v->pg.process) {
    case PG_DOWN:
        return v->pg.crashed ? "crashed" : "stopped";
    case PG_STARTING:
        return "starting";
    case PG_STOPPING:
        return "stopping";
    case PG_RUNNING:
        break;
    }
    return v->pg.streaming ? "streaming" : "running";
}

static enum ha_role role_of(const struct agent *a)
{
    if (a->verdict.serving)
        return ROLE_PRIMARY;
    return a->view.pg.process == PG_RUNNING && a->view.pg.in_recovery == TRI_YES ? ROLE_REPLICA
                                                                                 : ROLE_UNKNOWN;
}

static enum status_sync sync_of(const struct agent *a, uint64_t volume)
{
    const struct record *r = &a->view.lv.lease.record;
    const struct record_member *m = record_find(r, volume);
    if (volume == r->writer)
        return STATUS_SYNC_NONE;
    if (m == NULL || !m->in_v || r->w == 0)
        return STATUS_SYNC_ASYNC;
    return a->set.mode == REPL_SYNC ? STATUS_SYNC_SYNC : STATUS_SYNC_QUORUM;
}

static int64_t lag(uint64_t ahead, uint64_t behind)
{
    if (ahead == 0 || behind == 0)
        return -1;
    return ahead > behind ? (int64_t)(ahead - behind) : 0;
}

static uint64_t writer_lsn(const struct agent *a)
{
    const struct record *r = &a->view.lv.lease.record;
    if (a->view.pg.in_recovery == TRI_NO)
        return a->view.pg.position.lsn;
    for (uint8_t i = 0; i < a->n_members; i++)
        if (a->member[i].peer.state.volume == r->writer && r->writer != 0)
            return a->member[i].peer.state.position.lsn;
    const struct record_member *w = record_find(r, r->writer);
    return w != NULL ? w->flushed.lsn : 0;
}

static void fill_member(const struct agent *a, struct status_member *m,
                        const struct peer_state *s, const char *ip, bool fresh)
{
    *m = (struct status_member){.name = s->id.name, .port = a->env.port, .volume = s->volume};
    (void)str_copy(m->address, sizeof m->address, ip);
    const struct record *r = &a->view.lv.lease.record;
    const struct record_member *line = record_find(r, s->volume);
    m->in_v = line != NULL && line->in_v;
    m->sync = sync_of(a, s->volume);
    if (!fresh) {
        (void)str_copy(m->state, sizeof m->state, "unreachable");
        m->receive_lag_bytes = m->replay_lag_bytes = -1;
        return;
    }
    m->timeline = s->position.timeline;
    m->received_lsn = m->replayed_lsn = s->position.lsn;
    m->streaming = s->streams_from != 0;
    m->role = s->in_recovery == TRI_NO   ? ROLE_PRIMARY
              : s->in_recovery == TRI_YES ? ROLE_REPLICA
                                          : ROLE_UNKNOWN;
    const char *word = m->streaming                  ? "streaming"
                       : s->process == PG_RUNNING    ? "running"
                       : s->process == PG_STARTING   ? "starting"
                       : s->process == PG_STOPPING   ? "stopping"
                       : s->data == DATA_EMPTY ||
                               s->data == DATA_PARTIAL ? "empty"
                                                       : "stopped";
    (void)str_copy(m->state, sizeof m->state, word);
    m->receive_lag_bytes = m->replay_lag_bytes =
        m->role == ROLE_PRIMARY ? 0 : lag(writer_lsn(a), s->position.lsn);
}

static void fill_members(struct agent *a, struct status *s, int64_t now)
{
    struct peer_state own;
    fill_peer_state(a, &own);
    s->members_n = 0;
    fill_member(a, &s->members[s->members_n++], &own, a->cfg.pod.ip, true);
    for (uint8_t i = 0; i < a->n_members && s->members_n < HA_MEMBERS_MAX; i++) {
        const struct member *m = &a->member[i];
        if (!m->peer.pod_known && m->peer.received_ms == 0)
            continue;
        struct peer_state st = m->peer.state;
        st.id.name = m->peer.name;
        bool fresh = m->peer.received_ms > 0 && now - m->peer.received_ms < 5000;
        fill_member(a, &s->members[s->members_n++], &st, m->ip, fresh);
    }
}

static void fill_identity(struct agent *a, struct status *s)
{
    (void)str_copy(s->cluster.s, sizeof s->cluster.s, a->cfg.cluster.name);
    (void)str_copy(s->ns.s, sizeof s->ns.s, a->cfg.cluster.ns);
    s->name = a->id.name;
    s->id = a->id;
    s->volume = a->state.volume;
    s->system_id = a->view.self.system_id;
    (void)str_copy(s->address, sizeof s->address, a->cfg.pod.ip);
    s->port = a->env.port;
    if (s->started_us == 0)
        s->started_us = clock_wall_us();
}

/* As many names as there is room for, and how many more there are. */
static void fill_perishable(struct status *s, const struct pg_facts *f)
{
    char *to = s->perishable_slots;
    size_t n = 0, rest = 0;
    *to = '\0';
    for (uint8_t i = 0; f->valid && f->in_recovery == TRI_NO && i < f->n_slots; i++) {
        const struct pg_slot *x = &f->slot[i];
        if (!x->perishable)
            continue;
        if (n + strlen(x->name) + 24 > sizeof s->perishable_slots)
            rest++;
        else if (str_format(to + n, sizeof s->perishable_slots - n, "%s%s", n > 0 ? ", " : "", x->name))
            n += strlen(to + n);
    }
    if (rest > 0)
        (void)str_format(to + n, sizeof s->perishable_slots - n, " and %zu more", rest);
}

static void fill_wal(struct agent *a, struct status *s)
{
    const struct pg_facts *f = pg_probe_facts(a->probe);
    const struct view *v = &a->view;
    s->server_version = f->valid ? f->server_version : 0;
    s->postmaster_start_us = f->valid ? f->start_us : 0;
    s->timeline = v->pg.local_timeline;
    s->write_lsn = v->pg.in_recovery == TRI_NO ? f->write_lsn : 0;
    s->received_lsn = v->pg.in_recovery == TRI_YES ? v->pg.position.lsn : 0;
    s->replayed_lsn = v->pg.in_recovery == TRI_YES ? f->replayed_lsn : 0;
    s->receive_lag_bytes = v->pg.in_recovery == TRI_NO ? 0 : lag(writer_lsn(a), s->received_lsn);
    s->replay_lag_bytes = v->pg.in_recovery == TRI_NO ? 0 : lag(writer_lsn(a), s->replayed_lsn);
    s->replayed_at_us = v->pg.in_recovery == TRI_YES && f->valid ? f->replayed_at_us : 0;
    s->replay_paused = f->valid && f->replay_paused;
    s->streaming = v->pg.streaming;
    s->slots_n = 0;
    for (uint8_t i = 0; f->valid && i < f->n_slots && s->slots_n < STATUS_SLOTS_MAX; i++) {
        struct status_slot *x = &s->slots[s->slots_n++];
        (void)str_copy(x->name.s, sizeof x->name.s, f->slot[i].name);
        x->restart_lsn = f->slot[i].restart_lsn;
        x->active = f->slot[i].active;
        x->retained_bytes = lag(v->pg.position.lsn, f->slot[i].restart_lsn);
    }
    fill_perishable(s, f);
    s->pending_restart = f->valid && f->n_pending > 0;
    if (s->pending_restart)
        (void)str_format(s->pending_restart_reason, sizeof s->pending_restart_reason,
                         "%.60s and %d more", f->pending_restart[0], f->n_pending - 1);
}

static void fill_lease(struct agent *a, struct status *s)
{
    const struct view *v = &a->view;
    const struct record *r = &v->lv.lease.record;
    s->holder = v->lv.lease.holder.name;
    s->is_holder = identity_eq(&v->lv.lease.holder, &a->id);
    s->epoch = v->lv.lease.epoch;
    s->lease_seen_ms = v->lv.got_ms > v->lv.changed_ms ? v->lv.got_ms : v->lv.changed_ms;
    if (v->lv.outcome == OUTCOME_OK && v->lv.write_holder)
        s->lease_renewed_ms = v->lv.write_sent_ms;
    s->lease_duration_ms = (int64_t)v->lv.lease.duration_s * 1000;
    s->fence_deadline_ms = a->memo.deadline_ms;
    s->mode = a->set.mode;
    s->sync = sync_of(a, a->state.volume);
    s->strict = a->set.strict;
    s->v_size = record_votes(r);
    s->w = r->w;
    s->sealed = r->sealed;
    s->record_epoch = r->epoch;
    s->record_rev = r->rev;
    const struct record_member *line = record_find(r, a->state.volume);
    if (line != NULL && line->in_v && v->pg.streaming)
        s->joined = true;
    if (v->pg.process == PG_DOWN)
        s->joined = false;
}

static void fill_decision(struct agent *a, struct status *s)
{
    const struct rule *r = rule_of(a);
    if (strcmp(s->rule.s, r->id) == 0)
        return;
    (void)str_copy(s->rule.s, sizeof s->rule.s, r->id);
    (void)str_copy(s->reason, sizeof s->reason, r->reason);
    if (s->decisions_n == STATUS_DECISIONS_MAX) {
        memmove(&s->decisions[0], &s->decisions[1],
                sizeof s->decisions[0] * (STATUS_DECISIONS_MAX - 1));
        s->decisions_n--;
    }
    struct status_decision *d = &s->decisions[s->decisions_n++];
    d->at_us = clock_wall_us();
    d->rule = s->rule;
    (void)str_copy(d->reason, sizeof d->reason, r->reason);
}

static void add_tag(struct status *s, const char *key, const char *value)
{
    if (value[0] == '\0' || s->tags_n >= STATUS_TAGS_MAX)
        return;
    struct status_tag *t = &s->tags[s->tags_n];
    if (str_copy(t->key, sizeof t->key, key) && str_copy(t->value, sizeof t->value, value))
        s->tags_n++;
}

static void fill_tags(struct agent *a, struct status *s)
{
    s->tags_n = 0;
    s->noloadbalance = a->cfg.tags.noloadbalance;
    char priority[16];
    (void)str_format(priority, sizeof priority, "%d", (int)a->cfg.tags.priority);
    add_tag(s, "nofailover", a->cfg.tags.nofailover ? "true" : "");
    add_tag(s, "noloadbalance", a->cfg.tags.noloadbalance ? "true" : "");
    add_tag(s, "priority", a->cfg.tags.priority != 100 ? priority : "");
    for (size_t i = 0; i < a->cfg.tags.custom.n; i++)
        add_tag(s, a->cfg.tags.custom.v[i].key, a->cfg.tags.custom.v[i].value);
}

/* What of the status is a change worth a request; positions and lag are not. */
static void annotation_stable(const struct status *s, struct jw *j)
{
    char volume[20];
    (void)str_format(volume, sizeof volume, "%016llx", (unsigned long long)s->volume);
    jw_string(j, "role", role_name(s->role));
    jw_string(j, "state", s->state);
    jw_uint(j, "timeline", s->timeline);
    jw_string(j, "sync", sync_name(s->sync));
    jw_string(j, "rule", s->rule.s);
    jw_uint(j, "epoch", s->epoch);
    jw_string(j, "volume", volume);
    jw_uint(j, "port", s->port);
    jw_uint(j, "server_version", s->server_version);
    jw_string(j, "version", PGHAD_VERSION);
    if (s->pending_restart)
        jw_bool(j, "pending_restart", true);
    if (s->paused)
        jw_bool(j, "pause", true);
    if (s->perishable_slots[0] != '\0')
        jw_string(j, "perishable_slots", s->perishable_slots);
    jw_object(j, "tags");
    for (uint8_t i = 0; i < s->tags_n; i++)
        jw_string(j, s->tags[i].key, s->tags[i].value);
    jw_object_end(j);
}

void publish_annotation(struct agent *a, int64_t now)
{
    const struct status *s = &a->status;
    struct buf key, json;
    struct jw j;
    buf_init(&key, API_ANNOTATION_MAX - 1);
    buf_init(&json, API_ANNOTATION_MAX - 1);
    jw_init(&j, &key);
    jw_object(&j, NULL);
    annotation_stable(s, &j);
    jw_object_end(&j);
    if (!key.overflow && strcmp(buf_str(&key), a->annotated) != 0) {
        uint64_t lsn = s->write_lsn != 0 ? s->write_lsn : s->received_lsn;
        char text[24];
        jw_init(&j, &json);
        jw_object(&j, NULL);
        annotation_stable(s, &j);
        if (str_format(text, sizeof text, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn))
            jw_string(&j, "lsn", text);
        if (s->receive_lag_bytes >= 0)
            jw_int(&j, "lag", s->receive_lag_bytes);
        jw_int(&j, "at", s->published_us / 1000000);
        jw_object_end(&j);
        if (!json.overflow) {
            (void)str_copy(a->annotated, sizeof a->annotated, buf_str(&key));
            api_set_annotation(a->api, buf_str(&json), now);
        }
    }
    buf_done(&key);
    buf_done(&json);
}

void publish(struct agent *a, int64_t now)
{
    struct status *s = &a->status;
    fill_identity(a, s);
    s->published_ms = now;
    s->published_us = clock_wall_us();
    s->role = role_of(a);
    (void)str_copy(s->state, sizeof s->state, state_word(a));
    s->data = a->view.self.data;
    s->process = a->view.pg.process;
    s->in_recovery = a->view.pg.in_recovery;
    const struct pg_facts *f = pg_probe_facts(a->probe);
    s->commit_gate = !f->valid || f->full_ms == 0 ? TRI_UNKNOWN : f->gate ? TRI_YES : TRI_NO;
    s->paused = a->view.st.paused;
    s->failsafe = a->memo.failsafe_since_ms != 0; /* each promise ends the need for the next a while */
    s->ready_max_lag_bytes = a->cfg.replication.max_lag_bytes;
    rights_turn(a, now);
    fill_decision(a, s);
    fill_wal(a, s);
    fill_lease(a, s);
    fill_members(a, s, now);
    fill_alarms(a, s, now);
    fill_tags(a, s);
    fill_changes(a, s);
    api_counters(a->api, &s->n);
    const struct link_status *g = guard_link_status(a->link);
    s->n.fences = g != NULL ? g->fenced : 0;
    s->n.agent_restarts = g != NULL && g->agent_starts > 0 ? g->agent_starts - 1 : 0;
    s->n.log_dropped = log_dropped();
    tell_changes(a, now);
    publish_annotation(a, now);
    operations(a, now);
    http_server_publish(a->rest, s);
}
