/* Events: best effort, one under way at a time, a short queue behind it. */
#include <string.h>

#include "base/clock.h"
#include "base/jw.h"
#include "base/str.h"
#include "internal.h"

#define NOTE_MAX 1000 /* the server takes 1024 bytes; a broken character becomes longer */
#define WORD_MAX 128

/* Copies at most max bytes, never half a character. */
static void cut(char *dst, size_t max, const char *src)
{
    size_t n = strlen(src);

    if (n > max) {
        n = max;
        while (n && ((unsigned char)src[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(dst, src, n);
    dst[n] = '\0';
}

static void put_text(struct jw *j, const char *key, const char *s, size_t max)
{
    char text[NOTE_MAX + 1];

    cut(text, max, s ? s : "");
    jw_string(j, key, text);
}

static void build(struct kube *k, const struct kube_event *ev, struct buf *b)
{
    char name[300], stamp[40] = "";
    struct jw j;

    str_microtime(stamp, sizeof(stamp), clock_wall_us());
    str_format(name, sizeof(name), "%.200s.%llx%llx", ev->name,
               (unsigned long long)clock_wall_us() * 1000, (unsigned long long)k->event_seq++);
    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_string(&j, "apiVersion", "events.k8s.io/v1");
    jw_string(&j, "kind", "Event");
    jw_object(&j, "metadata");
    jw_string(&j, "name", name);
    jw_string(&j, "namespace", k->cfg.ns);
    jw_object_end(&j);
    jw_string(&j, "eventTime", stamp);
    jw_string(&j, "reportingController", "pghad.io/agent");
    put_text(&j, "reportingInstance", ev->reporter, WORD_MAX);
    put_text(&j, "action", ev->action, WORD_MAX);
    put_text(&j, "reason", ev->reason, WORD_MAX);
    jw_string(&j, "type", ev->warning ? "Warning" : "Normal");
    put_text(&j, "note", ev->note, NOTE_MAX);
    jw_object(&j, "regarding");
    jw_string(&j, "apiVersion", ev->api_version);
    jw_string(&j, "kind", ev->kind);
    jw_string(&j, "namespace", k->cfg.ns);
    jw_string(&j, "name", ev->name);
    if (ev->uid)
        jw_string(&j, "uid", ev->uid);
    jw_object_end(&j);
    jw_object_end(&j);
}

static void send_first(struct kube *k)
{
    struct buf path;

    if (k->event_call || k->event_count == 0 || clock_boot_ms() < k->event_next_ms)
        return;
    buf_init(&path, 1024);
    kube_path(&path, k, "events.k8s.io", "events", NULL);
    k->event_call = kube_begin(k, "kube-event", "POST", buf_str(&path), NULL,
                               buf_str(&k->events[k->event_first]),
                               clock_boot_ms() + EVENT_REQUEST_MS);
    buf_done(&path);
}

void kube_event_post(struct kube *k, const struct kube_event *ev)
{
    struct buf *b = &k->events[(k->event_first + k->event_count) % KUBE_EVENTS_MAX];

    if (k->event_count == KUBE_EVENTS_MAX) {
        k->events_dropped++;
        return;
    }
    buf_clear(b);
    build(k, ev, b);
    if (b->overflow) {
        k->events_dropped++;
        return;
    }
    k->event_count++;
    send_first(k);
}

/* The first one is done with: sent, or lost. */
static void forget_first(struct kube *k)
{
    buf_done(&k->events[k->event_first]);
    k->event_first = (k->event_first + 1) % KUBE_EVENTS_MAX;
    k->event_count--;
}

void kube_events_step(struct kube *k, int64_t now_ms)
{
    while (k->event_call && kube_call_outcome(k->event_call) != KUBE_PENDING) {
        const struct kube_reply *r = kube_call_reply(k->event_call);
        bool forbidden = r->http_status == 403;
        k->event_next_ms = forbidden ? now_ms + KUBE_EVENT_RETRY_MS : 0;
        if (r->outcome != KUBE_OK && !forbidden)
            k->events_dropped++;
        kube_call_free(k->event_call);
        k->event_call = NULL;
        if (!forbidden)
            forget_first(k);
        send_first(k);
    }
    send_first(k);
}

void kube_events_prepare(struct kube *k, struct loop *l)
{
    if (k->event_count > 0 && !k->event_call)
        loop_wake_at(l, k->event_next_ms);
}

void kube_events_done(struct kube *k)
{
    kube_call_free(k->event_call);
    k->event_call = NULL;
    for (size_t i = 0; i < KUBE_EVENTS_MAX; i++)
        buf_done(&k->events[i]);
}
