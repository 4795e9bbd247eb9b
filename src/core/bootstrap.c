/* The first start of a cluster, and the adoption of data whose cluster state was lost. */
#include "internal.h"

static bool boot_before(const struct turn *t, const struct peer *p, const struct record *copy)
{
    const struct peer_state *s = &p->state;
    const struct record_member *line = copy != NULL ? record_find(copy, s->volume) : NULL;
    struct version theirs = {s->record_epoch, s->record_rev}, ours = {0, 0};
    if (copy != NULL)
        ours = (struct version){copy->epoch, copy->rev};
    if (s->data != DATA_OK)
        return false;
    int newer = version_cmp(theirs, ours);
    if (newer != 0)
        return newer > 0; /* it knows the later V; its election finds the greatest */
    if (copy != NULL && (line == NULL || !line->in_v))
        return false;
    if (t->v->self.data != DATA_OK)
        return true;
    if (s->durable_epoch != t->v->self.durable_epoch)
        return s->durable_epoch > t->v->self.durable_epoch &&
               position_cmp(s->position, t->v->pg.position) >= 0;
    return ranks_before(t, p);
}

/* The last record is lost in the API, not on the volumes: its rule of sufficient reports holds. */
static bool adoption_sufficient(const struct turn *t, const struct record *copy)
{
    if (replicates_async(t, copy))
        return true; /* no quorum to meet: the greatest report of all expected members goes first */
    const struct record_member *me = record_find(copy, t->v->self.volume);
    if ((copy->sealed != 0 && copy->sealed != t->v->self.volume) || me == NULL || !me->in_v)
        return false;
    uint8_t reports = 0;
    for (uint8_t i = 0; i < copy->n; i++) {
        const struct peer *p = peer_of_volume(t, copy->m[i].volume);
        bool own = copy->m[i].volume == t->v->self.volume;
        if (copy->m[i].in_v && (own || (p != NULL && peer_fresh(t, p) && p->state.data == DATA_OK &&
                                        p->state.position.lsn > 0)))
            reports++;
    }
    return copy->sealed != 0 || reports >= record_needed(copy);
}

/* Every expected member answers; with data anywhere it is an adoption and the greatest goes first,
 * with none the first ordinal initialises. */
bool bootstrap_ready(const struct turn *t)
{
    const struct view *v = t->v;
    uint8_t answer = 1;
    bool data = v->self.data == DATA_OK;
    /* Chosen before and interrupted: what is there was never used. */
    bool chosen = v->self.data == DATA_PARTIAL && t->rec->n == 1 &&
                  t->rec->writer == 0 && /* ONE_WAY: a cluster that had a writer is not new */
                  t->me != NULL;
    if ((v->self.data != DATA_OK && v->self.data != DATA_EMPTY && !chosen) || promise_binds(t))
        return false;
    if (data && (v->pg.accounted != TRI_YES || v->pg.in_recovery != TRI_YES))
        return false;
    const struct record *copy = v->self.has_record ? &v->self.record : NULL;
    for (uint8_t i = 0; i < v->n_peers; i++) {
        const struct peer *p = &v->peer[i];
        /* An unfinished copy reports nothing; whether the others suffice the last record says. */
        bool answers = p->state.data == DATA_OK || p->state.data == DATA_EMPTY ||
                       (p->state.data == DATA_PARTIAL && data && copy != NULL);
        if (!peer_fresh(t, p) || !answers)
            continue;
        /* A server that does not start reports nothing either. */
        bool mute = p->state.data == DATA_OK && p->state.position.lsn == 0 && copy == NULL;
        if (mute || (p->state.data == DATA_OK && data && p->state.system_id != v->self.system_id))
            return false;
        if (boot_before(t, p, copy) || p->state.in_recovery == TRI_NO)
            return false; /* it has more, or is a primary that lives and makes the state anew */
        data = data || p->state.data == DATA_OK;
        answer++;
    }
    if (copy != NULL && !adoption_sufficient(t, copy))
        return false;
    if (!data && v->self.ordinal != 0)
        return false;
    return answer >= v->set.members;
}
