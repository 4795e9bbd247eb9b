/* List, then watch from the list's version, for ever.
 *
 * A stream ends in many ways, and each has its own next step: clean end: go on from the last version;
 * 410: list again at once; silence: close, list on a new connection; anything broken: list again after
 * a pause. */
#include "kube/watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "frame.h"
#include "internal.h"
#include "jx.h"
#include "watched.h"

#define LIST_MS 5000      /* deadline of a list */
#define OPEN_MS 5000      /* until the headers of a stream */
#define PAUSE_MIN_MS 250
#define PAUSE_MAX_MS 5000
#define PAUSE_LOST_MS 2000 /* after no answer at all: costs the server nothing, and whoever hears late of
                            * a released Lease leaves the cluster without a primary so long */
#define RETRY_AFTER_MAX_S 30 /* the API's own overload answers go up to 32 */
#define HEALTHY_MS 10000  /* a stream that lived so long resets the pause */
#define AT_ONCE_GAP_MS 1000 /* between two lists without a pause */
#define SESSION_MIN_S 300 /* streams end after 5 to 10 minutes, not all at the same time */
#define SESSION_SPREAD_S 300

enum phase { PHASE_PAUSE, PHASE_LIST, PHASE_STREAM };

struct kube_watch {
    struct kube *kube;
    struct kube_watch *next;
    struct watched seen;
    char channel[32];
    struct buf base; /* path with selectors */
    int64_t idle_ms;
    enum phase phase;
    bool resume;   /* after the pause: stream from rv instead of a list */
    bool fresh;    /* next connection is a new one */
    bool refresh;  /* list again as soon as possible */
    bool unauthorized; /* the last answer was a 401 */
    bool lost;         /* the pause follows a failure without an answer */
    char rv[KUBE_RV_SIZE];
    int64_t pause_until_ms, pause_ms;
    int64_t paused_ms; /* when the pause began */
    int64_t at_once_ms; /* last list without a pause */
    int64_t begun_ms;   /* of the call under way */
    int64_t byte_ms;    /* last byte received */
    int64_t contact_ms;
    bool connected;
    struct http_call *http;
    struct kube_frame frame;
    struct err err;
};

static uint32_t random_below(uint32_t n)
{
    uint32_t r = 0;

    must(getrandom(&r, sizeof(r), 0) == (ssize_t)sizeof(r));
    return n ? r % n : 0;
}

static void drop_call(struct kube_watch *w)
{
    http_call_free(w->http);
    w->http = NULL;
    w->connected = false;
    kube_frame_done(&w->frame);
}

/* Full jitter: many clients must not come back together. */
static void pause_then(struct kube_watch *w, bool resume, int64_t now, int64_t at_least_ms)
{
    drop_call(w);
    int64_t wait = (int64_t)random_below((uint32_t)w->pause_ms + 1);

    if (wait < at_least_ms)
        wait = at_least_ms;
    w->pause_ms = w->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : w->pause_ms * 2;
    w->paused_ms = now;
    w->pause_until_ms = now + wait;
    w->phase = PHASE_PAUSE;
    w->resume = resume;
    w->lost = false;
}

static void list_at_once(struct kube_watch *w, int64_t now)
{
    if (w->at_once_ms && now - w->at_once_ms < AT_ONCE_GAP_MS) {
        pause_then(w, false, now, 0);
        return;
    }
    drop_call(w);
    w->at_once_ms = now;
    w->pause_until_ms = now;
    w->phase = PHASE_PAUSE;
    w->resume = false;
}

static void begin(struct kube_watch *w, bool stream, int64_t now)
{
    struct kube_sending s = {.channel = w->channel, .method = "GET", .fresh = w->fresh};
    struct buf path;

    if (!kube_creds_refresh(w->kube, w->unauthorized, &w->err)) {
        pause_then(w, w->resume, now, 1000);
        return;
    }
    buf_init(&path, 8192);
    buf_puts(&path, buf_str(&w->base));
    if (stream) {
        buf_puts(&path, "&watch=true&allowWatchBookmarks=true&resourceVersion=");
        kube_escape(&path, w->rv);
        buf_printf(&path, "&timeoutSeconds=%u", SESSION_MIN_S + random_below(SESSION_SPREAD_S));
        s.stream = true;
        kube_frame_init(&w->frame, KUBE_BODY_MAX);
    } else {
        s.deadline_ms = clock_boot_ms() + LIST_MS;
        w->refresh = false;
    }
    s.path = buf_str(&path);
    w->http = kube_send(w->kube, &s);
    buf_done(&path);
    w->fresh = false;
    w->begun_ms = w->byte_ms = clock_boot_ms();
    w->phase = stream ? PHASE_STREAM : PHASE_LIST;
}

static void count(struct kube_watch *w, int status)
{
    struct buf path;

    buf_init(&path, 8192);
    buf_puts(&path, buf_str(&w->base));
    if (w->phase == PHASE_STREAM)
        buf_puts(&path, "&watch=true");
    kube_count(w->kube, "GET", buf_str(&path), status, w->err.msg);
    buf_done(&path);
}

static void note_contact(struct kube_watch *w, int64_t now)
{
    w->contact_ms = now;
    if (w->kube->contact_ms < now)
        w->kube->contact_ms = now;
}

/* ---- answers that are not 200 ---- */

static void handle_refusal(struct kube_watch *w, const struct http_result *h, int64_t now)
{
    char reason[64];

    kube_explain(h, reason, sizeof(reason), &w->err);
    count(w, h->status);
    if (kube_is_contact(h->status))
        note_contact(w, now);
    bool first_401 = h->status == 401 && !w->unauthorized;
    w->unauthorized = h->status == 401;
    w->fresh = true;
    int64_t wait = h->retry_after_s < RETRY_AFTER_MAX_S ? h->retry_after_s * 1000
                                                        : RETRY_AFTER_MAX_S * 1000;
    if (h->status == 410)
        list_at_once(w, now);
    else if (first_401)
        list_at_once(w, now); /* with the token read again */
    else
        pause_then(w, false, now, wait);
}

static void handle_broken(struct kube_watch *w, const struct http_result *h, int64_t now)
{
    bool damaged = h->err.kind == ERR_CORRUPT; /* h goes with the call that pause_then() ends */
    bool resume = w->phase == PHASE_STREAM && !damaged;

    w->err = h->err;
    if (damaged)
        w->kube->rejected++;
    else if (w->pause_ms > PAUSE_LOST_MS)
        w->pause_ms = PAUSE_LOST_MS;
    count(w, 0);
    pause_then(w, resume, now, 0);
    w->lost = !damaged;
}

/* ---- list ---- */

static bool take_rv(struct kube_watch *w, struct json_object *o, struct err *e)
{
    struct json_object *meta = jx_get(o, "metadata");
    char rv[KUBE_RV_SIZE] = "";

    if (!jx_take_str(meta, "resourceVersion", true, rv, sizeof(rv), e))
        return false;
    if (!rv[0])
        return err_set(e, ERR_CORRUPT, "no resourceVersion");
    return str_copy(w->rv, sizeof(w->rv), rv);
}

static void handle_list(struct kube_watch *w, const struct http_result *h, int64_t now)
{
    enum watched_verdict verdict = WATCHED_DAMAGED;
    struct json_object *o = NULL;

    count(w, h->status);
    if (!jx_parse(buf_str(&h->body), h->body.len, &o, &w->err) || !take_rv(w, o, &w->err))
        w->kube->rejected++;
    else
        verdict = watched_list(&w->seen, o, h->sent_ms, h->done_ms, &w->err);
    json_object_put(o);
    if (verdict == WATCHED_DAMAGED) {
        pause_then(w, false, now, 0);
        return;
    }
    note_contact(w, now);
    w->unauthorized = false;
    w->err = (struct err){0};
    drop_call(w);
    if (verdict == WATCHED_AMBIGUOUS || w->refresh)
        begin(w, false, now);
    else
        begin(w, true, now);
}

static void step_list(struct kube_watch *w, int64_t now)
{
    const struct http_result *h = http_call_result(w->http);

    if (http_call_state(w->http) == HTTP_PENDING)
        return;
    if (h->err.kind != ERR_NONE)
        handle_broken(w, h, now);
    else if (h->status != 200)
        handle_refusal(w, h, now);
    else
        handle_list(w, h, now);
}

/* ---- stream ---- */

/* False when the stream must not be read on; the next step has then been chosen. */
static bool handle_error_event(struct kube_watch *w, struct json_object *status, int64_t now)
{
    const char *text = jx_text(jx_get(status, "message"));
    int64_t code = 0;

    jx_take_int(status, "code", false, 0, 999, &code, NULL);
    err_set(&w->err, kube_kind_of_status((int)code), "watch: %.200s", text ? text : "error");
    w->err.code = (int)code;
    if (code == 410)
        list_at_once(w, now);
    else
        pause_then(w, false, now, 0);
    return false;
}

static bool handle_event(struct kube_watch *w, struct json_object *event, int64_t now)
{
    const char *type = jx_text(jx_get(event, "type"));
    struct json_object *o = jx_get(event, "object");
    enum watched_verdict verdict = WATCHED_SAME;

    if (str_eq(type, "ERROR"))
        return handle_error_event(w, o, now);
    bool gone = str_eq(type, "DELETED");
    if (!gone && !str_eq(type, "ADDED") && !str_eq(type, "MODIFIED") && !str_eq(type, "BOOKMARK")) {
        err_set(&w->err, ERR_CORRUPT, "an event of no known type");
        verdict = WATCHED_DAMAGED;
        w->kube->rejected++;
    } else if (!take_rv(w, o, &w->err)) {
        verdict = WATCHED_DAMAGED;
        w->kube->rejected++;
    } else if (!str_eq(type, "BOOKMARK")) {
        verdict = watched_event(&w->seen, o, gone, clock_boot_ms(), &w->err);
    }
    /* One damaged object is no reason to stop listening: the next event may be whole. Without its
     * version there is nowhere to resume. */
    if (verdict == WATCHED_DAMAGED && w->err.kind == ERR_CORRUPT && !o) {
        pause_then(w, false, now, 0);
        return false;
    }
    note_contact(w, now);
    return true;
}

/* Reads every whole event; false when the stream is over for us. */
static bool read_events(struct kube_watch *w, int64_t now)
{
    const struct buf *body = &http_call_result(w->http)->body;
    struct json_object *event;
    size_t used, done = 0;

    if (body->len > 0)
        w->byte_ms = now;
    while (done < body->len) {
        struct err e;
        if (!kube_frame_next(&w->frame, body->data + done, body->len - done, &used, &event, &e)) {
            w->err = e;
            w->kube->rejected++;
            pause_then(w, false, now, 0);
            return false;
        }
        done += used;
        if (!event)
            break;
        bool go_on = handle_event(w, event, now);
        json_object_put(event);
        if (!go_on)
            return false;
    }
    http_call_consume(w->http, body->len);
    return true;
}

static void handle_end(struct kube_watch *w, const struct http_result *h, int64_t now)
{
    if (h->err.kind != ERR_NONE) {
        handle_broken(w, h, now);
        return;
    }
    if (now - w->begun_ms < AT_ONCE_GAP_MS) {
        pause_then(w, true, now, 0);
        return;
    }
    drop_call(w);
    begin(w, true, now);
}

static void step_stream(struct kube_watch *w, int64_t now)
{
    const struct http_result *h = http_call_result(w->http);
    bool over = http_call_state(w->http) == HTTP_DONE;

    if (h->status == 200 && !w->connected) {
        w->connected = true;
        w->unauthorized = false;
        w->byte_ms = now;
        w->err = (struct err){0};
        count(w, 200);
        note_contact(w, now);
    }
    if (w->connected) {
        if (!read_events(w, now))
            return;
        if (now - w->begun_ms >= HEALTHY_MS)
            w->pause_ms = PAUSE_MIN_MS;
        if (w->refresh || watched_overdue(&w->seen, now)) {
            list_at_once(w, now);
            return;
        }
    } else if (over && h->err.kind == ERR_NONE) {
        handle_refusal(w, h, now);
        return;
    }
    if (over) {
        handle_end(w, h, now);
        return;
    }
    if (now - w->byte_ms >= (w->connected ? w->idle_ms : OPEN_MS)) {
        err_set(&w->err, ERR_TIMEOUT, "the watch has been silent for %lld ms",
                (long long)(now - w->byte_ms));
        w->fresh = true; /* the connection may be half open */
        list_at_once(w, now);
    }
}

/* ---- driven by the source of kube ---- */

/* After an outage nobody sits out a pause that grew during it: another request got through. */
static void shorten_pause(struct kube_watch *w, int64_t now)
{
    if (!w->lost || w->kube->contact_ms < w->paused_ms)
        return;
    w->lost = false;
    w->pause_ms = PAUSE_MIN_MS;
    int64_t soon = now + random_below(PAUSE_MIN_MS);
    if (w->pause_until_ms > soon)
        w->pause_until_ms = soon;
}

static void step(struct kube_watch *w, int64_t now)
{
    if (w->phase == PHASE_LIST)
        step_list(w, now);
    else if (w->phase == PHASE_STREAM)
        step_stream(w, now);
    if (w->phase == PHASE_PAUSE && now >= w->pause_until_ms)
        begin(w, w->resume && !w->refresh, now);
}

void kube_watches_step(struct kube *k, int64_t now_ms)
{
    for (struct kube_watch *w = k->watches; w; w = w->next)
        step(w, now_ms);
}

void kube_watches_prepare(struct kube *k, struct loop *l)
{
    for (struct kube_watch *w = k->watches; w; w = w->next) {
        if (w->phase == PHASE_PAUSE) {
            shorten_pause(w, clock_boot_ms());
            loop_wake_at(l, w->pause_until_ms);
        } else if (http_call_state(w->http) == HTTP_DONE)
            loop_wake_now(l); /* ended while it was begun */
        else if (w->phase == PHASE_STREAM)
            loop_wake_at(l, w->byte_ms + (w->connected ? w->idle_ms : OPEN_MS));
        if (w->phase == PHASE_STREAM && w->seen.awaiting)
            loop_wake_at(l, w->seen.await_until_ms);
        if (w->phase == PHASE_STREAM && w->refresh)
            loop_wake_now(l);
    }
}

/* ---- the public side ---- */

static struct kube_watch *watch_new(struct kube *k, enum watched_kind kind, const char *group,
                                    const char *plural, const char *selector_key,
                                    const char *selector, int64_t idle_ms)
{
    struct kube_watch *w = calloc(1, sizeof(*w));

    must(w);
    w->kube = k;
    w->seen.kind = kind;
    w->seen.rejected = &k->rejected;
    must(str_format(w->channel, sizeof(w->channel), "watch-%s", plural));
    buf_init(&w->base, 8192);
    kube_path(&w->base, k, group, plural, NULL);
    buf_printf(&w->base, "?%s=", selector_key);
    kube_escape(&w->base, selector);
    w->idle_ms = idle_ms;
    w->pause_ms = PAUSE_MIN_MS;
    w->phase = PHASE_PAUSE; /* until now */
    w->next = k->watches;
    k->watches = w;
    return w;
}

static struct kube_watch *watch_named(struct kube *k, enum watched_kind kind, const char *group,
                                      const char *plural, const char *name, int64_t idle_ms)
{
    char selector[300];
    struct kube_watch *w;

    /* The account may watch this one object only; by its name the request is authorised as such. */
    must(str_format(selector, sizeof(selector), "metadata.name=%s", name));
    w = watch_new(k, kind, group, plural, "fieldSelector", selector, idle_ms);
    must(str_copy(w->seen.name, sizeof(w->seen.name), name));
    return w;
}

struct kube_watch *kube_watch_lease(struct kube *k, const char *name, int64_t idle_ms)
{
    return watch_named(k, WATCHED_LEASE, "coordination.k8s.io", "leases", name, idle_ms);
}

struct kube_watch *kube_watch_configmap(struct kube *k, const char *name, int64_t idle_ms)
{
    return watch_named(k, WATCHED_CONFIGMAP, "", "configmaps", name, idle_ms);
}

struct kube_watch *kube_watch_pods(struct kube *k, const char *selector, const char *role_label,
                                   int64_t idle_ms)
{
    struct kube_watch *w =
        watch_new(k, WATCHED_PODS, "", "pods", "labelSelector", selector, idle_ms);

    must(str_copy(w->seen.role_label, sizeof(w->seen.role_label), role_label));
    return w;
}

void kube_watch_free(struct kube_watch *w)
{
    if (!w)
        return;
    for (struct kube_watch **at = &w->kube->watches; *at; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    drop_call(w);
    watched_done(&w->seen);
    buf_done(&w->base);
    free(w);
}

void kube_watch_set_idle(struct kube_watch *w, int64_t idle_ms)
{
    w->idle_ms = idle_ms;
}

bool kube_watch_known(const struct kube_watch *w)
{
    return w->seen.known;
}

bool kube_watch_connected(const struct kube_watch *w)
{
    return w->connected;
}

uint64_t kube_watch_generation(const struct kube_watch *w)
{
    return w->seen.generation;
}

int64_t kube_watch_taken_ms(const struct kube_watch *w)
{
    return w->seen.taken_ms;
}

int64_t kube_watch_changed_ms(const struct kube_watch *w)
{
    return w->seen.changed_ms;
}

int64_t kube_watch_contact_ms(const struct kube_watch *w)
{
    return w->contact_ms;
}

int64_t kube_watch_got_ms(const struct kube_watch *w)
{
    return w->seen.got_ms;
}

const struct err *kube_watch_error(const struct kube_watch *w)
{
    return &w->err;
}

const struct kube_lease *kube_watch_get_lease(const struct kube_watch *w)
{
    must(w->seen.kind == WATCHED_LEASE);
    return &w->seen.lease;
}

const struct kube_configmap *kube_watch_get_configmap(const struct kube_watch *w)
{
    must(w->seen.kind == WATCHED_CONFIGMAP);
    return &w->seen.configmap;
}

const struct kube_pods *kube_watch_get_pods(const struct kube_watch *w)
{
    must(w->seen.kind == WATCHED_PODS);
    return &w->seen.pods;
}

bool kube_watch_merge(struct kube_watch *w, struct kube_call *c)
{
    const struct kube_reply *r = kube_call_reply(c);
    bool gone = r->http_status == 404 && r->outcome == KUBE_REFUSED && kube_call_is_get(c);

    if (w->seen.kind == WATCHED_PODS || (!gone && (r->outcome != KUBE_OK || !r->body)))
        return false;
    switch (watched_merge(&w->seen, gone ? NULL : r->body, r->sent_ms, r->done_ms, &w->err)) {
    case WATCHED_DAMAGED:
        return false;
    case WATCHED_AMBIGUOUS:
        w->refresh = true;
        return true;
    case WATCHED_SAME:
    case WATCHED_NEWER:
    case WATCHED_OLDER:
        break;
    }
    return true;
}

void kube_watch_refresh(struct kube_watch *w)
{
    w->refresh = true;
}
