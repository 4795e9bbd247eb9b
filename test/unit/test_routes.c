/* Health checks: each condition of each path from both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/routes.h"
#include "sample_status.h"

#define STALL 10000

/* Asks path with query parameters key, value, ..., NULL. */
static bool ask(const struct status *s, const char *path, int64_t now, const char *const *kv)
{
    struct route_query q = {0};
    struct route_memory m = {0};
    struct route_time t = {.now_ms = now, .stall_ms = STALL};
    const struct route *r = route_find(path);
    if (!r)
        fail_msg("no route %s", path);
    for (; kv && kv[0]; kv += 2)
        if (!route_query_add(&q, kv[0], kv[1]))
            fail_msg("%s=%s not understood", kv[0], kv[1]);
    return route_passes(r->check, s, &q, &t, &m);
}

static bool says(const struct status *s, const char *path)
{
    return ask(s, path, SAMPLE_NOW, NULL);
}

#define WITH(...) ((const char *const[]){__VA_ARGS__, NULL})

static void find__paths__exact_but_for_a_final_slash(void **state)
{
    (void)state;
    assert_non_null(route_find("/primary"));
    assert_ptr_equal(route_find("/primary/"), route_find("/primary"));
    assert_ptr_equal(route_find("///"), route_find("/"));
    const char *none[] = {"", "primary", "/primar", "/primaryx", "/xxreplicaxx", "/Primary",
                          "/primary/x", "//primary", "/.", "/%70rimary"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        if (route_find(none[i]))
            fail_msg("%s", none[i]);
}

static void table__healthy_members__each_path(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool primary, replica;
    } t[] = {
        {"/", true, false},
        {"/primary", true, false},
        {"/read-write", true, false},
        {"/master", true, false},
        {"/leader", true, false},
        {"/standby-leader", false, false},
        {"/replica", false, true},
        {"/read-only", true, true},
        {"/sync", false, false},
        {"/quorum", false, true},
        {"/async", false, false},
        {"/read-only-sync", true, false},
        {"/read-only-quorum", true, true},
        {"/health", true, true},
        {"/liveness", true, true},
        {"/readiness", true, true},
        {"/startup", true, true},
        {"/status", true, true},
        {"/patroni", true, true},
    };
    static struct status p, r;
    sample_primary(&p);
    sample_replica(&r);
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        if (says(&p, t[i].path) != t[i].primary)
            fail_msg("primary %s", t[i].path);
        if (says(&r, t[i].path) != t[i].replica)
            fail_msg("replica %s", t[i].path);
    }
}

static void primary__each_condition__needed(void **state)
{
    (void)state;
    static struct status s;
    sample_primary(&s);
    assert_true(ask(&s, "/primary", s.fence_deadline_ms - 1, NULL));
    assert_false(ask(&s, "/primary", s.fence_deadline_ms, NULL));
    assert_false(ask(&s, "/leader", s.fence_deadline_ms, NULL));
    assert_false(ask(&s, "/readiness", s.fence_deadline_ms, NULL));
    s.is_holder = false;
    assert_false(says(&s, "/primary"));
    sample_primary(&s);
    s.in_recovery = TRI_YES;
    assert_false(says(&s, "/primary"));
    assert_true(says(&s, "/leader"));
    s.in_recovery = TRI_UNKNOWN;
    assert_false(says(&s, "/primary"));
    assert_false(says(&s, "/readiness"));
    assert_false(says(&s, "/replica"));
    sample_primary(&s);
    s.process = PG_STOPPING;
    assert_false(says(&s, "/primary"));
    assert_false(says(&s, "/health"));
    sample_primary(&s);
    s.role = ROLE_UNKNOWN; /* promoted, clients not yet admitted */
    assert_false(says(&s, "/primary"));
    assert_false(says(&s, "/readiness"));
    assert_true(says(&s, "/liveness"));
}

static void replica__lag__bound_included(void **state)
{
    (void)state;
    static struct status s;
    sample_replica(&s);
    s.replay_lag_bytes = 2048;
    s.receive_lag_bytes = 0;
    assert_true(ask(&s, "/replica", SAMPLE_NOW, WITH("lag", "2048")));
    assert_true(ask(&s, "/replica", SAMPLE_NOW, WITH("lag", "2kB")));
    assert_false(ask(&s, "/replica", SAMPLE_NOW, WITH("lag", "2047")));
    assert_true(ask(&s, "/read-only", SAMPLE_NOW, WITH("lag", "1MB")));
    assert_false(ask(&s, "/async", SAMPLE_NOW, WITH("lag", "1")));
    assert_true(ask(&s, "/replica", SAMPLE_NOW, WITH("lag", "0", "mode", "write")));
    s.replay_lag_bytes = -1;
    assert_false(ask(&s, "/replica", SAMPLE_NOW, WITH("lag", "1TB")));
    assert_true(says(&s, "/replica"));
}

static void replica__tags_and_state__must_match(void **state)
{
    (void)state;
    static struct status s;
    sample_replica(&s);
    s.tags_n = 1;
    (void)str_copy(s.tags[0].key, sizeof(s.tags[0].key), "zone");
    (void)str_copy(s.tags[0].value, sizeof(s.tags[0].value), "a");
    assert_true(ask(&s, "/replica", SAMPLE_NOW, WITH("tag_zone", "a")));
    assert_false(ask(&s, "/replica", SAMPLE_NOW, WITH("tag_zone", "b")));
    assert_false(ask(&s, "/replica", SAMPLE_NOW, WITH("tag_none", "a")));
    assert_false(ask(&s, "/replica", SAMPLE_NOW,
                     WITH("tag_averyveryveryveryveryveryverylongkey", "a")));
    assert_true(ask(&s, "/replica", SAMPLE_NOW, WITH("replication_state", "streaming")));
    s.streaming = false;
    assert_false(ask(&s, "/replica", SAMPLE_NOW, WITH("replication_state", "streaming")));
    assert_false(ask(&s, "/replica", SAMPLE_NOW, WITH("replication_state", "dreaming")));
    assert_true(says(&s, "/replica"));
    s.noloadbalance = true;
    assert_false(says(&s, "/replica"));
    assert_false(says(&s, "/quorum"));
    assert_true(says(&s, "/health"));
}

static void sync__view_of_the_lease__not_older_than_its_duration(void **state)
{
    (void)state;
    static struct status s;
    sample_replica(&s);
    int64_t last = s.lease_seen_ms + s.lease_duration_ms;
    assert_true(ask(&s, "/quorum", last, NULL));
    assert_false(ask(&s, "/quorum", last + 1, NULL));
    s.sync = STATUS_SYNC_SYNC;
    assert_true(says(&s, "/sync"));
    assert_true(says(&s, "/read-only-sync"));
    assert_false(says(&s, "/quorum"));
    s.sync = STATUS_SYNC_ASYNC;
    assert_true(says(&s, "/async"));
    assert_true(says(&s, "/asynchronous"));
    s.lease_seen_ms = 0;
    assert_false(says(&s, "/async"));
    assert_true(says(&s, "/replica"));
}

static void readiness__replica__streams_has_joined_and_is_near(void **state)
{
    (void)state;
    static struct status s;
    sample_replica(&s);
    s.streaming = false;
    assert_false(says(&s, "/readiness"));
    sample_replica(&s);
    s.joined = false;
    assert_false(says(&s, "/readiness"));
    sample_replica(&s);
    s.replay_lag_bytes = -1;
    assert_false(says(&s, "/readiness"));
    s.ready_max_lag_bytes = -1;
    assert_true(says(&s, "/readiness"));
    sample_replica(&s);
    s.replay_lag_bytes = s.ready_max_lag_bytes + 1;
    assert_false(says(&s, "/readiness"));
    assert_true(ask(&s, "/readiness", SAMPLE_NOW, WITH("lag", "1GB")));
    assert_true(ask(&s, "/readiness", SAMPLE_NOW, WITH("mode", "write")));
}

static void readiness__lag__has_hysteresis(void **state)
{
    (void)state;
    static struct status s;
    struct route_memory m = {0};
    struct route_query q = {.has_lag = true, .lag_bytes = 1000};
    struct route_time t = {.now_ms = SAMPLE_NOW, .stall_ms = STALL};
    sample_replica(&s);
    static const struct {
        int64_t lag;
        bool ready;
    } steps[] = {{1000, true}, {1500, true},  {1501, false}, {1000, false},
                 {501, false}, {500, true},   {1499, true},  {9000, false}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        s.replay_lag_bytes = steps[i].lag;
        if (route_passes(CHECK_READINESS, &s, &q, &t, &m) != steps[i].ready)
            fail_msg("step %zu", i);
    }
    /* Another bound has a memory of its own; many bounds push out old ones without harm. */
    q.lag_bytes = 10000;
    assert_true(route_passes(CHECK_READINESS, &s, &q, &t, &m));
    for (int i = 0; i < 100; i++) {
        q.lag_bytes = 20000 + i;
        assert_true(route_passes(CHECK_READINESS, &s, &q, &t, &m));
    }
}

static void liveness__only_stall_and_overdue_fence__fail(void **state)
{
    (void)state;
    static struct status s;
    sample_primary(&s);
    s.fence_deadline_ms = 0;
    assert_true(ask(&s, "/liveness", s.published_ms + STALL, NULL));
    assert_false(ask(&s, "/liveness", s.published_ms + STALL + 1, NULL));
    sample_primary(&s);
    s.fence_deadline_ms = SAMPLE_NOW;
    assert_false(says(&s, "/liveness"));
    s.fence_deadline_ms = SAMPLE_NOW + 1;
    assert_true(says(&s, "/liveness"));
    s.fence_deadline_ms = SAMPLE_NOW;
    s.process = PG_DOWN;
    assert_true(says(&s, "/liveness"));
    s.process = PG_RUNNING;
    s.in_recovery = TRI_YES;
    assert_true(says(&s, "/liveness"));
    /* No API, no SQL, no peers: alive. */
    sample_common(&s);
    s.process = PG_DOWN;
    s.lease_seen_ms = 0;
    assert_true(says(&s, "/liveness"));
    assert_false(says(&s, "/readiness"));
}

static void query__values_not_understood__refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"lag", "x"},   {"lag", ""},     {"lag", NULL},    {"lag", "-1"},
        {"lag", "1XB"}, {"lag", "1 MB"}, {"lag", "99999999999999999999"},
        {"lag", "9223372036854775807TB"}, {"mode", "read"}, {"mode", NULL},
        {"replication_state", NULL}, {"tag_a", NULL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct route_query q = {0};
        if (route_query_add(&q, bad[i][0], bad[i][1]))
            fail_msg("%s=%s", bad[i][0], bad[i][1] ? bad[i][1] : "(none)");
    }
    struct route_query q = {0};
    assert_true(route_query_add(&q, "cachebuster", NULL));
    for (int i = 0; i < STATUS_TAGS_MAX; i++)
        assert_true(route_query_add(&q, "tag_a", "b"));
    assert_false(route_query_add(&q, "tag_a", "b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find__paths__exact_but_for_a_final_slash),
        cmocka_unit_test(table__healthy_members__each_path),
        cmocka_unit_test(primary__each_condition__needed),
        cmocka_unit_test(replica__lag__bound_included),
        cmocka_unit_test(replica__tags_and_state__must_match),
        cmocka_unit_test(sync__view_of_the_lease__not_older_than_its_duration),
        cmocka_unit_test(readiness__replica__streams_has_joined_and_is_near),
        cmocka_unit_test(readiness__lag__has_hysteresis),
        cmocka_unit_test(liveness__only_stall_and_overdue_fence__fail),
        cmocka_unit_test(query__values_not_understood__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
