/* A volume that is not what it claims to be: the copy of another member's, or an older state of its own. The
 * core counts neither for more than it is; people are told which claim it is about. */
#include "agent.h"
#include "base/str.h"
#include "core/record.h"

#define PEER_FRESH_MS 5000
#define OLD_AFTER_MS 2000 /* a receiver that begins on a new timeline goes back to the start of its segment */

/* A member of another name answers for the volume that we are on. */
static const struct peer *twin(const struct agent *a, int64_t now)
{
    for (uint8_t i = 0; i < a->n_members; i++) {
        const struct peer *p = &a->member[i].peer;
        if (p->received_ms > 0 && now - p->received_ms < PEER_FRESH_MS && a->state.volume != 0 &&
            p->state.volume == a->state.volume && !name_eq(&p->name, &a->id.name))
            return p;
    }
    return NULL;
}

/* The position in the record when it is above all that is here: this volume had flushed it once. Only a look
 * at the server that is younger than the record can say so. */
static const struct position *lost_position(const struct agent *a)
{
    const struct view *v = &a->view;
    const struct record_member *line = record_find(&v->lv.lease.record, a->state.volume);
    const struct pg_facts *f = pg_probe_facts(a->probe);
    if (line == NULL || line->flushed.lsn == UINT64_MAX || v->pg.accounted != TRI_YES || !f->valid ||
        f->at_ms <= v->lv.changed_ms || position_cmp(v->pg.position, line->flushed) >= 0)
        return NULL;
    return &line->flushed;
}

bool volume_is_a_copy(const struct agent *a, int64_t now, char *text, size_t size)
{
    const struct peer *p = twin(a, now);
    return p != NULL && str_format(text, size, "its volume is a copy of that of %s, or the other way round: "
                                   "one of the two claims is to be deleted", p->name.s);
}

bool volume_is_old(struct agent *a, int64_t now, char *text, size_t size)
{
    const struct position *lost = lost_position(a);
    const struct position have = a->view.pg.position;
    if (lost == NULL)
        a->volume_old_ms = 0;
    else if (a->volume_old_ms == 0)
        a->volume_old_ms = now;
    return lost != NULL && now - a->volume_old_ms >= OLD_AFTER_MS &&
           str_format(text, size, "its volume was put back to an older state: it had timeline %u up to %X/%08X, "
                      "here is timeline %u up to %X/%08X", lost->timeline, (unsigned)(lost->lsn >> 32),
                      (unsigned)lost->lsn, have.timeline, (unsigned)(have.lsn >> 32), (unsigned)have.lsn);
}
