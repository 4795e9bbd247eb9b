/* One thread, one poll(): sources declare descriptors and deadlines anew each turn.
 *
 * A turn is: prepare of every source (declare), poll, dispatch of every source (act on what is
 * ready), then the owner's turn function. There are no registrations that could go stale. `now`
 * is read once after poll and is the same for everyone in the turn. */
#ifndef PGHAD_LOOP_LOOP_H
#define PGHAD_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#define LOOP_SOURCES_MAX 16
#define LOOP_FDS_MAX 512

struct loop;

struct loop_source {
    const char *name;
    void *ctx;
    /* Declare with loop_want and loop_wake_at. Must not block. */
    void (*prepare)(void *ctx, struct loop *l);
    /* Act on loop_revents and loop_now. Must not block. */
    void (*dispatch)(void *ctx, struct loop *l);
};

struct loop *loop_new(void); /* owned by the caller; NULL only when out of memory */
void loop_free(struct loop *l);
/* Copied; at start only. Sources are dispatched in this order: one that reads what another has received
 * comes after it. */
void loop_add(struct loop *l, const struct loop_source *s);

int64_t loop_now(const struct loop *l); /* CLOCK_BOOTTIME ms, fixed during a turn */
void loop_want(struct loop *l, int fd, short events);
short loop_revents(const struct loop *l, int fd); /* 0 when not declared or not ready */
/* For the next poll, whether asked by prepare, by dispatch or by the owner between two turns. */
void loop_wake_at(struct loop *l, int64_t at_ms);  /* the earliest one wins */
void loop_wake_now(struct loop *l);                /* poll does not wait */

/* One turn: returns after at most max_wait_ms. */
void loop_turn(struct loop *l, int64_t max_wait_ms);

/* Longest turn (dispatch included) since the last call, ms; a stalled loop is an event. */
int64_t loop_longest_turn_ms(struct loop *l);

#endif
