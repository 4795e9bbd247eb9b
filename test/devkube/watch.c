/* Watch semantics: initial state, selector transitions, bookmarks, expiry, timeout. */
#include "devkube/watch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "devkube/reply.h"

/* The real server picks 30 to 60 minutes; the least is the hardest on clients. */
#define TIMEOUT_DEFAULT_S 1800
/* A last bookmark comes this long before a timeout. */
#define LAST_BOOKMARK_MS 2000

struct watch {
    struct store *st;
    const struct resource *res;
    char *ns; /* NULL: all */
    struct selector *sel;
    uint64_t cursor;
    struct buf initial; /* current objects as ADDED events */
    int64_t asked_rv;
    bool bookmarks;
    bool last_bookmark_done;
    bool expired;
    bool ended;
    int64_t bookmark_ms;
    int64_t bookmark_at_ms;
    int64_t end_at_ms;
};

#define INITIAL_MAX ((size_t)256 << 20)

static void put_event(struct buf *out, const struct resource *res, const char *type,
                      const struct json_object *o)
{
    must(buf_printf(out, "{\"type\":\"%s\",\"object\":", type));
    put_object(out, res, "", jx_text(o));
    must(buf_puts(out, "}\n"));
}

/* The cursor is taken with the objects, so nothing is lost or doubled between them. */
static void put_initial(struct watch *w)
{
    size_t pos = 0;
    const struct object *o;
    while ((o = store_next(w->st, w->res, w->ns, &pos))) {
        if (selector_match(w->sel, o->json))
            put_event(&w->initial, w->res, "ADDED", o->json);
    }
}

struct watch *watch_new(struct store *st, const struct resource *res, const char *ns,
                        struct selector *sel, int64_t rv, const struct watch_options *opt)
{
    struct watch *w = calloc(1, sizeof(*w));
    must(w);
    int64_t now = clock_boot_ms();
    w->st = store_ref(st);
    w->res = res;
    w->sel = sel;
    w->asked_rv = rv;
    if (*ns)
        must(w->ns = strdup(ns));
    w->bookmarks = opt->bookmarks;
    w->bookmark_ms = opt->bookmark_ms;
    w->bookmark_at_ms = now + opt->bookmark_ms;
    w->end_at_ms = now + 1000 * (opt->timeout_s > 0 ? opt->timeout_s : TIMEOUT_DEFAULT_S);
    buf_init(&w->initial, INITIAL_MAX);
    int64_t oldest;
    if (rv > 0) {
        w->cursor = store_cursor_after(st, res, rv);
        w->expired = store_expired(st, res, rv, &oldest);
    } else {
        w->cursor = store_end(st, res);
        put_initial(w);
    }
    return w;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    store_unref(w->st);
    selector_free(w->sel);
    buf_done(&w->initial);
    free(w->ns);
    free(w);
}

/* False when this watch does not see the change. An object that stops matching is DELETED for
 * this watch, with its new state, and one that starts matching is ADDED. */
static bool put_change(const struct watch *w, const struct change *c, struct buf *out)
{
    /* A future resourceVersion is legal: what came before it is not sent. */
    if (c->rv <= w->asked_rv || (w->ns && !str_eq(w->ns, jx_str(c->json, "metadata.namespace"))))
        return false;
    bool was = c->prev && selector_match(w->sel, c->prev);
    bool is = c->type != CHANGE_DELETED && selector_match(w->sel, c->json);
    if (!was && !is)
        return false;
    enum change_type seen = !is ? CHANGE_DELETED : was ? CHANGE_MODIFIED : CHANGE_ADDED;
    put_event(out, w->res, store_change_name(seen), c->json);
    return true;
}

static void put_expired(struct watch *w, struct buf *out)
{
    int64_t oldest;
    store_expired(w->st, w->res, 0, &oldest);
    int64_t asked = w->asked_rv > 0 ? w->asked_rv : 0;
    struct json_object *status =
        status_expired(asked, oldest > asked ? oldest : store_rv(w->st));
    must(buf_printf(out, "{\"type\":\"ERROR\",\"object\":%s}\n", jx_text(status)));
    json_object_put(status);
    w->ended = true;
}

static void put_bookmark(struct watch *w, int64_t now_ms, struct buf *out)
{
    char text[96];
    must(str_format(text, sizeof(text), "{\"metadata\":{\"resourceVersion\":\"%" PRId64 "\"}%s}",
                    store_rv(w->st), str_eq(w->res->kind, "Lease") ? ",\"spec\":{}" : ""));
    must(buf_puts(out, "{\"type\":\"BOOKMARK\",\"object\":"));
    put_object(out, w->res, "", text);
    must(buf_puts(out, "}\n"));
    w->last_bookmark_done = now_ms >= w->end_at_ms - LAST_BOOKMARK_MS;
    w->bookmark_at_ms = now_ms + w->bookmark_ms;
}

static int64_t bookmark_at(const struct watch *w)
{
    int64_t last = w->end_at_ms - LAST_BOOKMARK_MS;
    if (!w->bookmarks)
        return INT64_MAX;
    return !w->last_bookmark_done && last < w->bookmark_at_ms ? last : w->bookmark_at_ms;
}

enum watch_step watch_next(struct watch *w, int64_t now_ms, struct buf *out)
{
    if (w->ended)
        return WATCH_END;
    if (w->initial.len > 0) {
        must(buf_put(out, w->initial.data, w->initial.len));
        buf_done(&w->initial);
        buf_init(&w->initial, INITIAL_MAX);
        return WATCH_DATA;
    }
    if (w->expired) {
        put_expired(w, out);
        return WATCH_DATA;
    }
    bool lost = false;
    const struct change *c;
    while ((c = store_change(w->st, w->res, w->cursor, &lost))) {
        w->cursor++;
        if (put_change(w, c, out))
            return WATCH_DATA;
    }
    /* Too slow for the history, or out of time: the real server ends the stream. */
    if (lost || now_ms >= w->end_at_ms)
        return WATCH_END;
    if (now_ms >= bookmark_at(w)) {
        put_bookmark(w, now_ms, out);
        return WATCH_DATA;
    }
    return WATCH_IDLE;
}

int64_t watch_wake_at(const struct watch *w)
{
    int64_t at = bookmark_at(w);
    return at < w->end_at_ms ? at : w->end_at_ms;
}

void watch_expire(struct watch *w)
{
    w->expired = true;
}

const struct resource *watch_resource(const struct watch *w)
{
    return w->res;
}
