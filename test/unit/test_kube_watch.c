/* Watches: framing, order of versions, and every way in which a stream ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <json-c/json.h>

#include "../../src/kube/frame.h"
#include "../../src/kube/jx.h"
#include "../../src/kube/watched.h"
#include "base/clock.h"
#include "base/str.h"
#include "fake_http.h"
#include "http/client.h"
#include "kube/watch.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- framing ---- */

static void frame__any_cut__same_values(void **state)
{
    static const char text[] = "\n{\"a\":\"\xc3\xa4}{\"}{\"b\":[1,{}]}\r\n \n{\"c\":\"\\\"}\"}\n";
    static const char *const want[] = {"{\"a\":\"\xc3\xa4}{\"}", "{\"b\":[1,{}]}", "{\"c\":\"\\\"}\"}"};
    size_t len = strlen(text);

    (void)state;
    for (size_t cut = 1; cut <= len; cut++) {
        struct kube_frame f;
        size_t seen = 0;
        kube_frame_init(&f, 1000);
        for (size_t pos = 0; pos < len; pos += cut) {
            size_t left = len - pos < cut ? len - pos : cut, at = 0, used;
            while (at < left) {
                struct json_object *o;
                struct err e;
                assert_true(kube_frame_next(&f, text + pos + at, left - at, &used, &o, &e));
                at += used;
                if (!o)
                    break;
                assert_true(seen < COUNT(want));
                assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
                                    want[seen++]);
                json_object_put(o);
            }
            assert_int_equal(at, left);
        }
        assert_int_equal(seen, COUNT(want));
        kube_frame_done(&f);
    }
}

static void frame__bad_streams__refused(void **state)
{
    static const char *const bad[] = {"x", "[1]", "7 ", "}", "{\"a\":}",
                                      "{\"a\":\"a long text that does not fit any more\"}"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct json_object *o = NULL;
        struct kube_frame f;
        struct err e = {0};
        size_t used;
        kube_frame_init(&f, 32);
        if (kube_frame_next(&f, bad[i], strlen(bad[i]), &used, &o, &e))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(e.kind, ERR_CORRUPT);
        assert_null(o);
        kube_frame_done(&f);
    }
}

/* ---- order of versions ---- */

static struct json_object *lease(const char *rv)
{
    char text[256];

    snprintf(text, sizeof(text),
             "{\"metadata\":{\"name\":\"demo\",\"uid\":\"u\",\"resourceVersion\":\"%s\"},"
             "\"spec\":{\"holderIdentity\":\"h%s\"}}",
             rv, rv);
    return json_tokener_parse(text);
}

static uint64_t rejected;

static struct watched fresh_state(void)
{
    struct watched w = {.kind = WATCHED_LEASE, .rejected = &rejected};

    str_copy(w.name, sizeof(w.name), "demo");
    return w;
}

static enum watched_verdict merge(struct watched *w, const char *rv, int64_t sent, int64_t done)
{
    struct json_object *o = rv ? lease(rv) : NULL;
    enum watched_verdict v = watched_merge(w, o, sent, done, NULL);

    json_object_put(o);
    return v;
}

static enum watched_verdict event(struct watched *w, const char *rv, bool gone, int64_t now)
{
    struct json_object *o = lease(rv);
    enum watched_verdict v = watched_event(w, o, gone, now, NULL);

    json_object_put(o);
    return v;
}

static void versions__read_ahead_of_stream__old_events_dropped(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    assert_int_equal(merge(&w, "5", 100, 101), WATCHED_NEWER);
    w.awaiting = false; /* as after a list */
    assert_int_equal(merge(&w, "9", 200, 210), WATCHED_NEWER);
    assert_int_equal(w.got_ms, 200);
    assert_int_equal(w.changed_ms, 210);
    assert_int_equal(event(&w, "7", false, 211), WATCHED_OLDER);
    assert_string_equal(watched_rv(&w), "9");
    assert_int_equal(event(&w, "9", false, 212), WATCHED_SAME);
    assert_int_equal(w.changed_ms, 210);
    assert_int_equal(event(&w, "11", false, 213), WATCHED_NEWER);
    assert_int_equal(w.got_ms, 0);
    assert_string_equal(watched_rv(&w), "11");
    watched_done(&w);
}

static void versions__stream_ahead_of_read__read_dropped(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    event(&w, "5", false, 100);
    event(&w, "7", false, 150);
    /* Sent before 7 arrived, answered after: it shows 5. */
    assert_int_equal(merge(&w, "5", 140, 160), WATCHED_OLDER);
    assert_string_equal(watched_rv(&w), "7");
    assert_int_equal(w.got_ms, 0);
    /* A version never seen, in a read that overlapped: nobody can tell. */
    assert_int_equal(merge(&w, "6", 140, 160), WATCHED_AMBIGUOUS);
    assert_string_equal(watched_rv(&w), "7");
    /* One that agrees. */
    assert_int_equal(merge(&w, "7", 140, 160), WATCHED_SAME);
    assert_int_equal(w.got_ms, 140);
    /* One sent afterwards is right whatever it says (a store restored from an older copy). */
    assert_int_equal(merge(&w, "5", 170, 180), WATCHED_NEWER);
    assert_string_equal(watched_rv(&w), "5");
    watched_done(&w);
}

static enum watched_verdict list_of(struct watched *w, const char *rv, int64_t sent, int64_t done)
{
    struct json_object *o = json_tokener_parse("{\"kind\":\"LeaseList\",\"items\":[]}");

    json_object_array_add(json_object_object_get(o, "items"), lease(rv));
    enum watched_verdict v = watched_list(w, o, sent, done, NULL);

    json_object_put(o);
    return v;
}

/* A server that has fallen behind: each list is old, and the events that follow it end where we were.
 * The holder of the last version is not alive because of that. */
static void versions__old_list_and_its_events__no_change(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    event(&w, "5", false, 100);
    event(&w, "7", false, 150);
    assert_int_equal(list_of(&w, "5", 400, 410), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 410); /* it may have been put back */
    assert_int_equal(event(&w, "7", false, 411), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 150);
    assert_int_equal(w.taken_ms, 411);
    /* The order of reads goes by when it was taken over. */
    assert_int_equal(merge(&w, "5", 405, 420), WATCHED_OLDER);
    /* A list older than all that was seen. */
    assert_int_equal(list_of(&w, "3", 800, 810), WATCHED_NEWER);
    assert_int_equal(event(&w, "5", false, 811), WATCHED_NEWER);
    assert_int_equal(event(&w, "7", false, 812), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 150);
    assert_int_equal(event(&w, "9", false, 813), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 813);
    watched_done(&w);
}

/* The stream ends among old events: by them the last but one has been known for long, but whoever would act
 * on that reads first, and the holder has its whole time from what the read shows. */
static void versions__old_event_then_a_read_of_the_newer__counts_from_the_read(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    event(&w, "5", false, 100);
    event(&w, "7", false, 150);
    assert_int_equal(list_of(&w, "3", 400, 410), WATCHED_NEWER);
    assert_int_equal(event(&w, "5", false, 411), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 100);
    assert_int_equal(w.got_ms, 0); /* no read has shown it */
    assert_int_equal(merge(&w, "7", 5100, 5110), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 5110);
    assert_int_equal(w.got_ms, 5100);
    watched_done(&w);
}

static enum watched_verdict event_of(struct watched *w, const char *rv, const char *renewed, int64_t now)
{
    struct json_object *o = lease(rv), *spec = json_object_object_get(o, "spec");

    json_object_object_add(spec, "renewTime", json_object_new_string(renewed));
    enum watched_verdict v = watched_event(w, o, false, now, NULL);

    json_object_put(o);
    return v;
}

/* A store restored from a copy counts on from there: the same number, another write. */
static void versions__number_again_with_other_content__new(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    event_of(&w, "5", "2026-01-01T00:00:01.000000Z", 100);
    event_of(&w, "7", "2026-01-01T00:00:02.000000Z", 150);
    assert_int_equal(list_of(&w, "5", 400, 410), WATCHED_NEWER);
    assert_int_equal(event_of(&w, "7", "2026-01-01T00:00:09.000000Z", 420), WATCHED_NEWER);
    assert_int_equal(w.changed_ms, 420);
    watched_done(&w);
}

static void versions__absence__as_a_version(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    assert_int_equal(merge(&w, NULL, 100, 101), WATCHED_NEWER);
    assert_true(w.known && !w.lease.lease.exists);
    assert_int_equal(w.generation, 1);
    w.awaiting = false;
    assert_int_equal(event(&w, "5", false, 110), WATCHED_NEWER);
    assert_int_equal(merge(&w, NULL, 105, 120), WATCHED_AMBIGUOUS);
    assert_int_equal(merge(&w, NULL, 115, 120), WATCHED_NEWER);
    assert_false(w.lease.lease.exists);
    assert_int_equal(event(&w, "5", false, 121), WATCHED_OLDER);
    assert_int_equal(event(&w, "6", true, 122), WATCHED_SAME);
    assert_int_equal(event(&w, "8", false, 123), WATCHED_NEWER);
    assert_true(w.lease.lease.exists);
    assert_int_equal(event(&w, "9", true, 124), WATCHED_NEWER);
    assert_false(w.lease.lease.exists);
    watched_done(&w);
}

static void versions__stream_does_not_catch_up__overdue(void **state)
{
    struct watched w = fresh_state();

    (void)state;
    merge(&w, "5", 100, 101);
    assert_false(watched_overdue(&w, 101 + AWAIT_MS - 1));
    assert_true(watched_overdue(&w, 101 + AWAIT_MS));
    event(&w, "5", false, 110);
    assert_false(watched_overdue(&w, 101 + AWAIT_MS));
    watched_done(&w);
}

static void versions__damaged_or_other_object__state_kept(void **state)
{
    struct watched w = fresh_state();
    struct json_object *o = json_tokener_parse(
        "{\"metadata\":{\"name\":\"other\",\"uid\":\"u\",\"resourceVersion\":\"9\"}}");
    struct err e;

    (void)state;
    rejected = 0;
    event(&w, "5", false, 100);
    assert_int_equal(watched_event(&w, o, false, 101, &e), WATCHED_DAMAGED);
    assert_int_equal(watched_merge(&w, o, 200, 201, &e), WATCHED_DAMAGED);
    assert_int_equal(rejected, 2);
    assert_string_equal(watched_rv(&w), "5");
    json_object_put(o);
    watched_done(&w);
}

#define META(name, rv) "\"metadata\":{\"name\":\"" name "\",\"uid\":\"u\",\"resourceVersion\":\"" rv "\"}"
static const struct {
    enum watched_kind kind;
    const char *name, *list, *object;
} bodies[] = {
    {WATCHED_LEASE, "demo",
     "{\"kind\":\"LeaseList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{" META("demo", "8")
     ",\"spec\":{\"holderIdentity\":\"\",\"leaseTransitions\":3,\"leaseDurationSeconds\":10}}]}",
     "{" META("demo", "9") ",\"spec\":{\"holderIdentity\":\"x\",\"leaseTransitions\":4}}"},
    {WATCHED_CONFIGMAP, "demo",
     "{\"kind\":\"ConfigMapList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{"
     META("demo", "8") ",\"data\":{\"epoch\":\"3\",\"paused\":\"true\"}}]}",
     "{" META("demo", "9") ",\"data\":{\"epoch\":\"4\"}}"},
    {WATCHED_PODS, "",
     "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{" META("pg-0", "8")
     ",\"spec\":{\"nodeName\":\"n\"},\"status\":{\"phase\":\"Running\",\"podIP\":\"10.0.0.1\"}}]}",
     "{" META("pg-0", "9") ",\"status\":{\"phase\":\"Running\",\"podIP\":\"10.0.0.2\"}}"},
};

static enum watched_verdict take(struct watched *w, const char *text, size_t len, bool list)
{
    struct json_object *o = NULL;
    struct err e;
    enum watched_verdict v = WATCHED_DAMAGED;

    if (jx_parse(text, len, &o, &e))
        v = list ? watched_list(w, o, 100, 101, &e) : watched_event(w, o, false, 101, &e);
    json_object_put(o);
    return v;
}

/* Each kind that is read: cut anywhere, any byte replaced, or another kind in its place. */
static void bodies__cut_damaged_or_of_another_kind__state_kept(void **state)
{
    static const char junk[] = "\"{}[],:9x\\";
    (void)state;
    for (size_t k = 0; k < COUNT(bodies); k++) {
        for (int list = 0; list < 2; list++) {
            const char *text = list ? bodies[k].list : bodies[k].object;
            size_t len = strlen(text);
            for (size_t n = 0; n < len; n++) {
                struct watched w = {.kind = bodies[k].kind, .rejected = &rejected};
                assert_true(str_copy(w.name, sizeof(w.name), bodies[k].name));
                assert_int_equal(take(&w, text, n, list), WATCHED_DAMAGED);
                assert_false(w.known);
                for (size_t j = 0; j < sizeof(junk) - 1; j++) {
                    char bad[512];
                    assert_true(str_copy(bad, sizeof(bad), text));
                    bad[n] = junk[j];
                    uint64_t before = w.generation;
                    if (take(&w, bad, len, list) == WATCHED_DAMAGED)
                        assert_int_equal(w.generation, before);
                }
                watched_done(&w);
            }
            struct watched w = {.kind = bodies[k].kind, .rejected = &rejected};
            assert_true(str_copy(w.name, sizeof(w.name), bodies[k].name));
            assert_int_equal(take(&w, text, len, list), WATCHED_NEWER);
            uint64_t before = rejected;
            const char *other = bodies[(k + 1) % COUNT(bodies)].list;
            assert_int_equal(take(&w, other, strlen(other), true), WATCHED_DAMAGED);
            assert_int_equal(rejected, before + 1);
            assert_true(w.known);
            watched_done(&w);
        }
    }
}

/* ---- against a server ---- */

struct fixture {
    struct loop *loop;
    struct http_client *http;
    struct fake_http server;
    struct kube *kube;
    const char *list; /* body of the next list */
    int list_status;
    const char *list_type;
    int watch_status;
    unsigned lists, watches;
    char last_watch[512];
    struct fake_conn *stream;
    struct kube_watch *watch;
};

static void drop(struct fixture *f)
{
    kube_watch_free(f->watch);
    f->watch = NULL;
}

#define LIST(kind, rv, items)                                                                      \
    "{\"kind\":\"" kind "\",\"metadata\":{\"resourceVersion\":\"" rv "\"},\"items\":[" items "]}"
#define ITEM(rv)                                                                                   \
    "{\"metadata\":{\"name\":\"demo\",\"uid\":\"u\",\"resourceVersion\":\"" rv                     \
    "\"},\"spec\":{\"holderIdentity\":\"\",\"leaseTransitions\":" rv "}}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define EXPIRED                                                                                    \
    "{\"kind\":\"Status\",\"metadata\":{},\"message\":\"too old resource version\",\"reason\":"     \
    "\"Expired\",\"code\":410}"

static void on_request(struct fake_http *s, const struct fake_request *r)
{
    struct fixture *f = s->ctx;

    if (strstr(r->line, "watch=true")) {
        f->watches++;
        str_copy(f->last_watch, sizeof(f->last_watch), r->line);
        if (f->watch_status != 200) {
            fake_json(r, f->watch_status, EXPIRED);
            return;
        }
        fake_stream(r);
        f->stream = r->conn;
        return;
    }
    f->lists++;
    fake_reply(r, f->list_status, f->list_type, NULL, f->list);
}

static int setup(void **state)
{
    static struct fixture f;
    struct kube_config c = {0};
    struct err e;

    memset(&f, 0, sizeof(f));
    f.list = LIST("LeaseList", "10", ITEM("7"));
    f.list_status = f.watch_status = 200;
    f.list_type = "application/json";
    f.loop = loop_new();
    f.http = http_client_new("pghad/test");
    fake_http_init(&f.server, on_request, &f);
    struct kube_settings s = {.server = f.server.url, .ns = "db"};
    assert_true(kube_config_load(&c, &s, &e));
    f.kube = kube_new(&c, f.http, &e);
    kube_config_done(&c);
    struct loop_source a = http_client_source(f.http), b = kube_source(f.kube),
                       d = fake_http_source(&f.server);
    loop_add(f.loop, &a);
    loop_add(f.loop, &b);
    loop_add(f.loop, &d);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    drop(f);
    kube_free(f->kube);
    http_client_free(f->http);
    fake_http_done(&f->server);
    loop_free(f->loop);
    return 0;
}

/* Turns the loop until the condition holds; fails after ten seconds. */
#define WAIT(f, cond)                                                                              \
    do {                                                                                           \
        int64_t limit_ = clock_boot_ms() + 10000;                                                  \
        while (!(cond) && clock_boot_ms() < limit_)                                                \
            loop_turn((f)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

static uint64_t epoch_of(struct kube_watch *w)
{
    return kube_watch_get_lease(w)->lease.epoch;
}

static void watch__list_then_events__latest_state(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    assert_false(kube_watch_known(w));
    WAIT(f, kube_watch_connected(w));
    assert_true(kube_watch_known(w) && epoch_of(w) == 7);
    assert_true(kube_watch_got_ms(w) > 0 && kube_watch_changed_ms(w) >= kube_watch_got_ms(w));
    assert_string_equal(f->server.log[0], "GET /apis/coordination.k8s.io/v1/namespaces/db/leases"
                                          "?fieldSelector=metadata.name%3Ddemo");
    assert_non_null(strstr(f->last_watch, "&allowWatchBookmarks=true&resourceVersion=10&"));
    uint64_t generation = kube_watch_generation(w);
    fake_chunk(f->stream, EVENT("MODIFIED", ITEM("11")) EVENT("MODIFIED", ITEM("12")));
    WAIT(f, epoch_of(w) == 12);
    assert_int_equal(kube_watch_generation(w), generation + 2);
    assert_int_equal(kube_watch_got_ms(w), 0);
    fake_chunk(f->stream, EVENT("DELETED", ITEM("13")));
    WAIT(f, !kube_watch_get_lease(w)->lease.exists);
    assert_true(kube_watch_known(w));
    assert_int_equal(f->lists, 1);
    drop(f);
}

static void watch__bytewise__understood(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);
    static const char text[] = EVENT("MODIFIED", ITEM("11"));

    WAIT(f, kube_watch_connected(w));
    for (size_t i = 0; i < strlen(text); i++) {
        fake_chunk_n(f->stream, text + i, 1);
        loop_turn(f->loop, 0);
    }
    WAIT(f, epoch_of(w) == 11);
    drop(f);
}

static void watch__clean_end__resumes_from_last_version(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    WAIT(f, kube_watch_connected(w));
    fake_chunk(f->stream, EVENT("MODIFIED", ITEM("11")));
    fake_chunk(f->stream,
               EVENT("BOOKMARK", "{\"kind\":\"Lease\",\"metadata\":{\"resourceVersion\":\"99\"}}"));
    fake_end(f->stream);
    WAIT(f, f->watches == 2 && kube_watch_connected(w));
    assert_non_null(strstr(f->last_watch, "resourceVersion=99&"));
    assert_int_equal(f->lists, 1);
    assert_int_equal(epoch_of(w), 11);
    drop(f);
}

static void watch__connection_lost__resumes(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    WAIT(f, kube_watch_connected(w));
    fake_chunk(f->stream, EVENT("MODIFIED", ITEM("11")) "{\"type\":\"MODI");
    WAIT(f, epoch_of(w) == 11);
    fake_drop(f->stream);
    WAIT(f, f->watches == 2 && kube_watch_connected(w));
    assert_non_null(strstr(f->last_watch, "resourceVersion=11&"));
    assert_int_equal(f->lists, 1);
    fake_chunk(f->stream, EVENT("MODIFIED", ITEM("12")));
    WAIT(f, epoch_of(w) == 12);
    drop(f);
}

static void watch__error_410__lists_again_at_once(void **state)
{
    struct fixture *f = *state;

    /* Several times: a pause with jitter (0 to 250 ms) is short by chance, a busy machine slow by chance. */
    int at_once = 0;
    for (int i = 0; i < 12; i++) {
        f->list = LIST("LeaseList", "10", ITEM("7"));
        struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);
        WAIT(f, kube_watch_connected(w));
        f->list = LIST("LeaseList", "50", ITEM("49"));
        int64_t begin = clock_boot_ms();
        fake_chunk(f->stream, EVENT("ERROR", EXPIRED));
        WAIT(f, epoch_of(w) == 49);
        at_once += clock_boot_ms() - begin < 20;
        WAIT(f, kube_watch_connected(w));
        assert_non_null(strstr(f->last_watch, "resourceVersion=50&"));
        drop(f);
    }
    assert_true(at_once >= 4);
}

static void watch__http_410_for_ever__paced(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    f->watch_status = 410;
    WAIT(f, f->watches >= 2);
    int64_t until = clock_boot_ms() + 700;
    while (clock_boot_ms() < until)
        loop_turn(f->loop, 50);
    assert_true(f->lists < 20);
    f->watch_status = 200;
    WAIT(f, kube_watch_connected(w));
    drop(f);
}

static void watch__silence__closed_and_listed_on_a_new_connection(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 150);

    WAIT(f, kube_watch_connected(w));
    unsigned before = f->server.accepted;
    int64_t changed = kube_watch_changed_ms(w), got = kube_watch_got_ms(w);
    WAIT(f, f->lists == 2 && kube_watch_connected(w));
    assert_true(f->server.accepted > before);
    assert_int_equal(kube_watch_changed_ms(w), changed); /* the same version is no change */
    assert_true(kube_watch_got_ms(w) > got);
    drop(f);
}

static void watch__bad_answers__survived(void **state)
{
    static const struct {
        int status;
        const char *type, *body;
    } rows[] = {
        {429, "text/plain", "Too many requests, please try again later."},
        {500, "application/json", "{\"message\":\"etcdserver: leader changed\"}"},
        {200, "application/json", "{\"kind\":\"LeaseList\",\"metadata\":"},
        {200, "text/html", "<html>proxy</html>"},
        {200, "application/json", "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"1\"}}"},
        {200, "application/json", "{\"kind\":\"LeaseList\",\"metadata\":{},\"items\":[]}"},
        {200, "application/json",
         "{\"kind\":\"LeaseList\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":5}"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);
        unsigned lists = f->lists;
        f->list_status = rows[i].status;
        f->list_type = rows[i].type;
        f->list = rows[i].body;
        WAIT(f, f->lists > lists && kube_watch_error(w)->kind != ERR_NONE);
        assert_false(kube_watch_known(w));
        f->list_status = 200;
        f->list_type = "application/json";
        f->list = LIST("LeaseList", "10", ITEM("7"));
        WAIT(f, kube_watch_connected(w));
        assert_int_equal(epoch_of(w), 7);
        assert_int_equal(kube_watch_error(w)->kind, ERR_NONE);
        drop(f);
    }
    assert_true(kube_rejected(f->kube) >= 4);
}

static void watch__garbage_in_stream__listed_again(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    WAIT(f, kube_watch_connected(w));
    f->list = LIST("LeaseList", "60", ITEM("59"));
    fake_chunk(f->stream, "<html>");
    WAIT(f, epoch_of(w) == 59);
    /* A damaged object alone does not end the stream. */
    WAIT(f, kube_watch_connected(w));
    unsigned lists = f->lists;
    fake_chunk(f->stream, EVENT("MODIFIED", "{\"metadata\":{\"name\":\"demo\",\"uid\":\"u\","
                                            "\"resourceVersion\":\"61\"},\"spec\":5}")
                              EVENT("MODIFIED", ITEM("62")));
    WAIT(f, epoch_of(w) == 62);
    assert_int_equal(f->lists, lists);
    drop(f);
}

static void watch__absent_then_created(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    f->list = LIST("LeaseList", "10", "");
    WAIT(f, kube_watch_connected(w));
    assert_true(kube_watch_known(w));
    assert_false(kube_watch_get_lease(w)->lease.exists);
    fake_chunk(f->stream, EVENT("ADDED", ITEM("11")));
    WAIT(f, epoch_of(w) == 11);
    drop(f);
}

static void watch__api_away_and_back__listed_or_resumed(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)f->server.port)};
    int one = 1;

    WAIT(f, kube_watch_connected(w));
    close(f->server.fd);
    f->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->server.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(f->server.fd, (struct sockaddr *)&a, sizeof(a)), 0); /* refuses */
    fake_drop(f->stream);
    WAIT(f, kube_watch_error(w)->kind == ERR_TRANSIENT && !kube_watch_connected(w));
    assert_int_equal(epoch_of(w), 7);
    assert_int_equal(listen(f->server.fd, 16), 0);
    WAIT(f, kube_watch_connected(w));
    drop(f);
}

static uint64_t failures(const struct fixture *f)
{
    const struct kube_stat *s = NULL;
    uint64_t n = 0;

    for (size_t i = 0, count = kube_stats(f->kube, &s); i < count; i++)
        n += s[i].code == 0 ? s[i].count : 0;
    return n;
}

static void watch__another_request_got_through__pause_cut_short(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)f->server.port)};
    int one = 1;

    WAIT(f, kube_watch_connected(w));
    close(f->server.fd);
    f->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->server.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(f->server.fd, (struct sockaddr *)&a, sizeof(a)), 0); /* refuses */
    fake_drop(f->stream);
    WAIT(f, failures(f) >= 5); /* the next pause is anything up to two seconds */
    assert_int_equal(listen(f->server.fd, 16), 0);
    struct kube_call *c = kube_lease_get(f->kube, "demo", clock_boot_ms() + 2000);
    WAIT(f, kube_call_outcome(c) != KUBE_PENDING);
    kube_call_free(c);
    int64_t since = clock_boot_ms();
    WAIT(f, kube_watch_connected(w));
    assert_true(clock_boot_ms() - since < 1000);
    drop(f);
}

static void watch__merged_write__one_view(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w = f->watch = kube_watch_lease(f->kube, "demo", 5000);

    WAIT(f, kube_watch_connected(w));
    uint64_t generation = kube_watch_generation(w);
    f->list = ITEM("20"); /* what the PUT is answered with */
    struct kube_call *c = kube_lease_put(f->kube, kube_watch_get_lease(w),
                                         &kube_watch_get_lease(w)->lease, clock_boot_ms() + 5000);
    WAIT(f, kube_call_outcome(c) == KUBE_OK);
    assert_true(kube_watch_merge(w, c));
    kube_call_free(c);
    assert_int_equal(epoch_of(w), 20);
    assert_true(kube_watch_got_ms(w) > 0);
    /* The stream lags: 15 is older, 20 is known, 21 is news. */
    fake_chunk(f->stream, EVENT("MODIFIED", ITEM("15")) EVENT("MODIFIED", ITEM("20"))
                              EVENT("MODIFIED", ITEM("21")));
    WAIT(f, epoch_of(w) == 21);
    assert_int_equal(kube_watch_generation(w), generation + 2);
    drop(f);
}

#define POD(name, uid, rv, role)                                                                   \
    "{\"metadata\":{\"name\":\"" name "\",\"uid\":\"" uid "\",\"resourceVersion\":\"" rv           \
    "\",\"labels\":{\"role\":\"" role "\"}},\"status\":{\"podIP\":\"10.0.0.1\"}}"

static void watch__pods__kept_by_name(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w;

    f->list = LIST("PodList", "5", POD("db-1", "b", "4", "replica") "," POD("db-0", "a", "3", ""));
    w = f->watch = kube_watch_pods(f->kube, "app.kubernetes.io/instance=demo", "role", 60000);
    WAIT(f, kube_watch_connected(w));
    const struct kube_pods *p = kube_watch_get_pods(w);
    assert_int_equal(p->n, 2);
    assert_string_equal(p->p[0].name.s, "db-0");
    fake_chunk(f->stream, EVENT("MODIFIED", POD("db-0", "a", "6", "primary"))
                              EVENT("ADDED", POD("db-2", "c", "7", "replica"))
                                  EVENT("DELETED", POD("db-1", "other", "8", "replica")));
    WAIT(f, p->n == 3);
    assert_string_equal(p->p[0].role, "primary");
    assert_string_equal(p->p[1].uid, "b"); /* the deleted one had another uid */
    fake_chunk(f->stream, EVENT("DELETED", POD("db-1", "b", "9", "replica")));
    WAIT(f, p->n == 2);
    drop(f);
}

static void watch__configmap__values(void **state)
{
    struct fixture *f = *state;
    struct kube_watch *w;

    f->list = LIST("ConfigMapList", "5",
                   "{\"metadata\":{\"name\":\"demo-state\",\"uid\":\"c\",\"resourceVersion\":\"4\"},"
                   "\"data\":{\"paused\":\"true\"}}");
    w = f->watch = kube_watch_configmap(f->kube, "demo-state", 60000);
    WAIT(f, kube_watch_connected(w));
    assert_string_equal(kube_configmap_get_value(kube_watch_get_configmap(w), "paused"), "true");
    drop(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame__any_cut__same_values),
        cmocka_unit_test(frame__bad_streams__refused),
        cmocka_unit_test(versions__read_ahead_of_stream__old_events_dropped),
        cmocka_unit_test(versions__stream_ahead_of_read__read_dropped),
        cmocka_unit_test(versions__old_list_and_its_events__no_change),
        cmocka_unit_test(versions__old_event_then_a_read_of_the_newer__counts_from_the_read),
        cmocka_unit_test(versions__number_again_with_other_content__new),
        cmocka_unit_test(versions__absence__as_a_version),
        cmocka_unit_test(versions__stream_does_not_catch_up__overdue),
        cmocka_unit_test(versions__damaged_or_other_object__state_kept),
        cmocka_unit_test(bodies__cut_damaged_or_of_another_kind__state_kept),
        T(watch__list_then_events__latest_state),
        T(watch__bytewise__understood),
        T(watch__clean_end__resumes_from_last_version),
        T(watch__connection_lost__resumes),
        T(watch__error_410__lists_again_at_once),
        T(watch__http_410_for_ever__paced),
        T(watch__silence__closed_and_listed_on_a_new_connection),
        T(watch__bad_answers__survived),
        T(watch__garbage_in_stream__listed_again),
        T(watch__absent_then_created),
        T(watch__api_away_and_back__listed_or_resumed),
        T(watch__another_request_got_through__pause_cut_short),
        T(watch__merged_write__one_view),
        T(watch__pods__kept_by_name),
        T(watch__configmap__values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
