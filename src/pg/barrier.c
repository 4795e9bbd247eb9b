/* Evidence of effect of a new synchronous_standby_names. Pure: it is fed looks and times. */
#include "pg/barrier.h"

#include <string.h>

#include "base/str.h"

void pg_barrier_begin(struct pg_barrier *b, const char *want, bool from_empty, int64_t now_ms)
{
    *b = (struct pg_barrier){.from_ms = now_ms, .need_checkpoint = from_empty && want[0]};
    str_copy(b->want, sizeof(b->want), want);
}

/* The fresh session showed the value: whoever serves now and is older has to prove itself. */
static void arm(struct pg_barrier *b, const struct pg_facts *f)
{
    b->armed = true;
    b->armed_ms = f->fresh_ms;
    b->cut = f->senders_cut;
    b->n = f->n_senders;
    for (unsigned i = 0; i < b->n; i++) {
        b->old[i].pid = f->sender[i].pid;
        b->old[i].start_us = f->sender[i].start_us;
        b->old[i].reply_us = f->sender[i].reply_us;
        b->old[i].changes = 0;
    }
}

void pg_barrier_feed(struct pg_barrier *b, const struct pg_facts *f)
{
    if (!f->valid || f->at_ms <= b->from_ms)
        return;
    if (!b->armed) {
        /* The look at the walsenders must be later than the fresh session, else one that was forked
         * before the reload could be missing from it. */
        if (f->fresh_ms > b->from_ms && f->at_ms >= f->fresh_ms &&
            strcmp(f->fresh_ssn, b->want) == 0)
            arm(b, f);
        return;
    }
    for (unsigned i = 0; i < b->n;) {
        const struct pg_sender *now = NULL;
        for (unsigned j = 0; j < f->n_senders; j++)
            if (f->sender[j].pid == b->old[i].pid && f->sender[j].start_us == b->old[i].start_us)
                now = &f->sender[j];
        if (now && now->reply_us != b->old[i].reply_us) {
            b->old[i].reply_us = now->reply_us;
            b->old[i].changes++;
        }
        if ((now || f->senders_cut) && b->old[i].changes < 2)
            i++;
        else
            b->old[i] = b->old[--b->n];
    }
}

bool pg_barrier_in_force(const struct pg_barrier *b, int64_t checkpoint_ms)
{
    return b->armed && b->n == 0 && !b->cut &&
           (!b->need_checkpoint || checkpoint_ms >= b->armed_ms);
}

int64_t pg_barrier_checkpoint_after(const struct pg_barrier *b)
{
    return b->armed && b->need_checkpoint ? b->armed_ms : 0;
}
