/* Whom the address for writers leads to.
 *
 * It is taken over by the next primary in one write, never emptied in between: clients that come meanwhile
 * are refused by a server that is down or closed, and kube-proxy, which takes one change at once and the
 * next a second later, has only one to take. */
#include "internal.h"

static bool somebody_answers(const struct turn *t, bool primary)
{
    for (uint8_t i = 0; i < t->v->n_peers; i++) {
        const struct peer *p = &t->v->peer[i];
        if (peer_fresh(t, p) && (!primary || p->state.in_recovery == TRI_NO))
            return true;
    }
    return false;
}

enum endpoint endpoint_wanted(const struct turn *t)
{
    if ((t->out->effects & EFF_LABEL_PRIMARY) != 0)
        return ENDPOINT_MINE;
    bool leaving = t->v->self.terminate > 0 && (t->out->effects & (EFF_UNLABEL | EFF_EXIT)) != 0;
    if (leaving && !somebody_answers(t, false))
        return ENDPOINT_NOT_MINE; /* nobody is left to take it over, or to see that this pod is gone */
    bool serves = t->v->pg.maybe_writable || somebody_answers(t, true);
    return serves ? ENDPOINT_KEEP : ENDPOINT_NOT_GONE;
}
