/* What a failover to one member could lose, as far as it can be seen from here. The members decide again. */
#ifndef PGHAD_HACTL_LOSS_H
#define PGHAD_HACTL_LOSS_H

#include "hactl/cluster.h"

struct loss {
    bool known;      /* members answer from here and the record can be read; else nothing below is set */
    uint8_t voters;
    uint8_t needed;  /* so many of them have to report to prove that nothing is lost */
    uint8_t answer;  /* with the volume that has the vote and all that the record says it has */
    bool stranger;   /* the target answers with a volume that the record does not know: it cannot be elected */
    bool by_hand;    /* the target was promoted by hand: what it has is of no epoch, and it cannot be elected */
    char absent[256]; /* the others, as "pg-0 pg-1(replaced)", cut where they are too many */
    uint64_t bytes;  /* of WAL that the record or a voter shows and the target lacks; 0 = none known */
    bool older;      /* the target is on an older timeline than that, so bytes say too little */
    const struct member_view *more; /* a voter that answers and has that WAL; NULL = none. Into the view */
};

void loss_look(const struct cluster_view *v, const struct member_view *target, struct loss *ret);

#endif
