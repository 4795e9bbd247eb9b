/* One open watch: a cursor into the history of a resource, rendered on demand. */
#ifndef DEVKUBE_WATCH_H
#define DEVKUBE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "devkube/selector.h"
#include "devkube/store.h"

struct watch;

struct watch_options {
    bool bookmarks;
    int64_t bookmark_ms;
    int64_t timeout_s; /* 0: the server chooses */
};

enum watch_step {
    WATCH_DATA, /* out has text */
    WATCH_IDLE, /* nothing before watch_wake_at or the next change */
    WATCH_END,  /* clean end of the stream */
};

/* Takes sel, refers to st. ns "" watches all namespaces. rv -1 or 0: the current objects come
 * first as ADDED; otherwise changes after rv, or the ERROR event of an expired rv. */
struct watch *watch_new(struct store *st, const struct resource *res, const char *ns,
                        struct selector *sel, int64_t rv, const struct watch_options *opt);
void watch_free(struct watch *w);
/* Appends the next event, if any, to out. */
enum watch_step watch_next(struct watch *w, int64_t now_ms, struct buf *out);
int64_t watch_wake_at(const struct watch *w); /* CLOCK_BOOTTIME ms */
/* The next step is the ERROR event of a lost history, then the end. */
void watch_expire(struct watch *w);
const struct resource *watch_resource(const struct watch *w);

#endif
