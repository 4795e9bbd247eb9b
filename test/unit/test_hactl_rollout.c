/* Rollout: who is next, what is waited for, what is refused, and that it resumes from the cluster alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "hactl/jget.h"
#include "hactl/rollout.h"

static struct cluster_view view;
static struct rollout_set set;
static struct rollout_how how;

static void copy(char *dst, size_t size, const char *s)
{
    assert_true(str_copy(dst, size, s));
}
#define SET(field, s) copy(field, sizeof(field), s)

static void add(int i, enum ha_role role, const char *revision)
{
    struct member_view *m = &view.m[i];
    struct record_member *r = &view.record.m[i];

    *m = (struct member_view){.pod = true, .ready = true, .role = role, .source = SOURCE_PUBLISHED,
                              .timeline = 4, .lag_bytes = 0};
    snprintf(m->name, sizeof(m->name), "pg-%d", i);
    snprintf(m->volume, sizeof(m->volume), "%016x", 0xa0u + (unsigned)i);
    SET(m->state, role == ROLE_PRIMARY ? "running" : "streaming");
    SET(m->set, "pg");
    SET(m->revision, revision);
    snprintf(m->uid, sizeof(m->uid), "uid-%d", i);
    *r = (struct record_member){.volume = 0xa0u + (unsigned)i, .in_v = true};
    copy(r->name.s, sizeof(r->name.s), m->name);
    view.n = (size_t)i + 1;
    view.record.n = (uint8_t)(i + 1);
}

/* Three healthy members of revision "old", pg-2 primary, a template of revision "new". */
static int make(void **state)
{
    (void)state;
    view = (struct cluster_view){.has_lease = true, .has_record = true, .has_state = true};
    SET(view.holder, "pg-2");
    view.record.w = 1;
    for (int i = 0; i < 3; i++)
        add(i, i == 2 ? ROLE_PRIMARY : ROLE_REPLICA, "old");
    set = (struct rollout_set){.replicas = 3, .generation = 7, .observed = 7, .on_delete = true};
    SET(set.name, "pg");
    SET(set.revision, "new");
    how = (struct rollout_how){.w = 1};
    return 0;
}

static struct rollout_step next(void)
{
    struct rollout_step s;

    rollout_next(&set, &view, &how, &s);
    return s;
}

#define assert_step(want, i)                                                                       \
    do {                                                                                           \
        struct rollout_step s_ = next();                                                           \
        int i_ = (i);                                                                              \
        assert_int_equal(s_.act, want);                                                            \
        if (i_ >= 0)                                                                               \
            assert_string_equal(s_.m ? s_.m->name : "nobody", view.m[i_].name);                    \
        else                                                                                       \
            assert_null(s_.m);                                                                     \
    } while (0)

static void updated(int i)
{
    SET(view.m[i].revision, "new");
}

static void whole_order__by_role_not_by_number(void **state)
{
    (void)state;
    assert_step(ROLLOUT_REPLACE, 1);
    updated(1);
    assert_step(ROLLOUT_REPLACE, 0);
    updated(0);
    view.m[0].lag_bytes = 10;
    assert_step(ROLLOUT_SWITCH, 1); /* the one with less lag */
    SET(view.holder, "pg-1");
    view.m[1].role = ROLE_PRIMARY;
    view.m[2].role = ROLE_REPLICA;
    SET(view.m[2].state, "streaming");
    assert_step(ROLLOUT_REPLACE, 2);
    updated(2);
    assert_step(ROLLOUT_COMPLETE, -1);
}

static void resume__needs_nothing_but_the_cluster(void **state)
{
    (void)state;
    updated(1); /* done by a run that was interrupted, or by hand */
    assert_int_equal(rollout_pending(&set, &view), 2);
    assert_step(ROLLOUT_REPLACE, 0);
    updated(0);
    updated(2);
    assert_step(ROLLOUT_COMPLETE, -1);
}

static void restart__is_open_until_every_pod_has_the_stamp(void **state)
{
    (void)state;
    assert_false(rollout_restart_open(&set, &view));
    SET(set.stamp, "t1");
    assert_true(rollout_restart_open(&set, &view));
    for (int i = 0; i < 3; i++) {
        SET(view.m[i].stamp, "t1");
        updated(i);
    }
    assert_false(rollout_restart_open(&set, &view));
    /* Pods of an older template that had the same stamp: another change, the restart is over. */
    SET(view.m[0].revision, "old");
    assert_false(rollout_restart_open(&set, &view));
}

static void one_away__nobody_else_is_touched(void **state)
{
    (void)state;
    updated(1);
    struct member_view good = view.m[1];

    view.m[1].terminating = true;
    assert_step(ROLLOUT_WAIT, 1);
    view.m[1] = good;
    view.m[1].source = SOURCE_NONE;
    assert_step(ROLLOUT_WAIT, 1);
    view.m[1] = good;
    SET(view.m[1].state, "starting");
    assert_step(ROLLOUT_WAIT, 1);
    view.m[1] = good;
    view.m[1].ready = false;
    assert_step(ROLLOUT_WAIT, 1);
    view.m[1] = good;
    view.m[1].timeline = 3;
    assert_step(ROLLOUT_WAIT, 1);
    view.m[1] = good;
    SET(view.m[1].waiting, "ImagePullBackOff");
    assert_step(ROLLOUT_WAIT, 1);
    view.m[1] = good;
    assert_step(ROLLOUT_REPLACE, 0);
}

static void a_pod_that_is_not_there__is_waited_for(void **state)
{
    (void)state;
    updated(1);
    view.m[1].pod = false; /* a row of the record alone */
    assert_step(ROLLOUT_WAIT, -1);
    set.replicas = 2; /* pg-2 is to go, pg-1 is not yet there */
    assert_step(ROLLOUT_WAIT, 2);
    view.m[1].pod = true;
    assert_step(ROLLOUT_WAIT, 2);
}

static void scaled_away__its_row_is_not_waited_for(void **state)
{
    (void)state;
    add(3, ROLE_REPLICA, "old");
    view.m[3].pod = false;
    assert_step(ROLLOUT_REPLACE, 1);
}

static void vote__is_of_the_volume(void **state)
{
    (void)state;
    updated(1);
    SET(view.m[1].volume, "00000000000000ff"); /* its volume was lost: the old one's vote is not its own */
    assert_step(ROLLOUT_WAIT, 1);
    view.record.m[1].volume = 0xff;
    assert_step(ROLLOUT_REPLACE, 0);
    view.record.m[1].in_v = false;
    assert_step(ROLLOUT_WAIT, 1);
    SET(view.m[1].follows, "pg-0"); /* cascading: never has one */
    assert_step(ROLLOUT_REPLACE, 0);
}

static void copies__must_be_what_they_were(void **state)
{
    (void)state;
    updated(1);
    view.record.w = 0;
    view.record.sealed = 0xa2;
    assert_step(ROLLOUT_WAIT, -1);
    view.record.sealed = 0;
    assert_step(ROLLOUT_WAIT, -1);
    view.record.w = 1;
    assert_step(ROLLOUT_REPLACE, 0);
    how.w = 2;
    assert_step(ROLLOUT_WAIT, -1);
}

static void controller_behind__revision_is_not_believed(void **state)
{
    (void)state;
    set.observed = 6;
    assert_step(ROLLOUT_WAIT, -1);
    set.observed = 7;
    SET(set.revision, "");
    assert_step(ROLLOUT_WAIT, -1);
}

static void no_primary_or_other_operation__nothing_is_touched(void **state)
{
    (void)state;
    view.intent_is_open = true;
    assert_step(ROLLOUT_WAIT, -1);
    view.intent_is_open = false;
    view.paused = true;
    assert_step(ROLLOUT_WAIT, -1);
    view.paused = false;
    SET(view.holder, "");
    assert_step(ROLLOUT_WAIT, -1);
    SET(view.m[0].waiting, "ImagePullBackOff"); /* not even what is broken */
    assert_step(ROLLOUT_WAIT, -1);
}

static void broken_pod_of_an_older_template__goes_first(void **state)
{
    (void)state;
    SET(view.m[0].waiting, "ImagePullBackOff");
    view.m[0].source = SOURCE_NONE;
    assert_step(ROLLOUT_REPLACE, 0);
    updated(0);
    assert_step(ROLLOUT_WAIT, 0);
    /* Unwell but running: only when asked for, and one at a time. */
    assert_int_equal(make(NULL), 0);
    SET(view.m[0].state, "starting");
    assert_step(ROLLOUT_WAIT, 0);
    how.unwell_first = true;
    assert_step(ROLLOUT_REPLACE, 0);
    updated(0);
    SET(view.m[1].state, "starting");
    assert_step(ROLLOUT_WAIT, 0);
}

static void successor__only_who_may_and_is_done(void **state)
{
    (void)state;
    updated(0);
    updated(1);
    SET(view.m[0].tags, "nofailover=true");
    view.m[1].lag_bytes = 4096;
    assert_step(ROLLOUT_SWITCH, 1);
    SET(view.m[1].follows, "pg-0");
    assert_step(ROLLOUT_STUCK, 2);
    how.in_place = true;
    assert_step(ROLLOUT_REPLACE, 2);
}

static void single_member(void **state)
{
    struct rollout_text t;

    (void)state;
    view = (struct cluster_view){.has_lease = true, .has_record = true};
    SET(view.holder, "pg-0");
    add(0, ROLE_PRIMARY, "old");
    view.record.sealed = 0xa0;
    set.replicas = 1;
    how.w = 0;
    assert_false(rollout_allowed(&set, &view, false, true, &t));
    assert_non_null(strstr(t.hint, "--force"));
    assert_true(rollout_allowed(&set, &view, true, true, &t));
    assert_step(ROLLOUT_STUCK, 0);
    how.in_place = true;
    assert_step(ROLLOUT_REPLACE, 0);
}

static void refusals(void **state)
{
    struct rollout_text t;

    (void)state;
    assert_true(rollout_allowed(&set, &view, false, true, &t));
    view.paused = true;
    assert_false(rollout_allowed(&set, &view, true, true, &t));
    assert_string_equal(t.hint, "hactl resume");
    view.paused = false;
    view.intent_is_open = true;
    assert_false(rollout_allowed(&set, &view, true, true, &t));
    view.intent_is_open = false;
    set.deleting = true;
    assert_false(rollout_allowed(&set, &view, true, true, &t));
    set.deleting = false;
    SET(view.holder, "");
    assert_false(rollout_allowed(&set, &view, true, true, &t));
    SET(view.holder, "pg-2");
    SET(view.m[0].state, "starting");
    assert_false(rollout_allowed(&set, &view, false, true, &t));
    assert_non_null(strstr(t.why, "pg-0 does not stream"));
    assert_true(rollout_allowed(&set, &view, true, true, &t));
    updated(0); /* the one that an earlier run waits for: goes on waiting */
    assert_true(rollout_allowed(&set, &view, false, false, &t));
    assert_false(rollout_allowed(&set, &view, false, true, &t));
    SET(view.m[0].waiting, "ImagePullBackOff"); /* does not run: may be replaced */
    assert_true(rollout_allowed(&set, &view, false, true, &t));
}

#define STS(strategy, notes)                                                                       \
    "{\"metadata\":{\"name\":\"pg\",\"generation\":3," notes "},\"spec\":{\"replicas\":3,"         \
    "\"updateStrategy\":" strategy ",\"template\":{\"metadata\":{\"annotations\":{"                \
    "\"pghad.io/restarted-at\":\"t0\"}},\"spec\":{\"containers\":[{\"name\":\"log\",\"image\":"    \
    "\"l\"},{\"name\":\"postgres\",\"image\":\"pghad:1\"}]}}},\"status\":{\"observedGeneration\":2," \
    "\"updateRevision\":\"pg-5\"}}"

static void take(const char *text, const char *container, bool good)
{
    struct json_object *o = jparse(text, strlen(text));
    struct err e;

    assert_non_null(o);
    assert_int_equal(rollout_take_set(&set, o, container, &e), good);
    json_object_put(o);
}

static void statefulset__read(void **state)
{
    (void)state;
    take(STS("{\"type\":\"OnDelete\"}", "\"x\":1"), NULL, true);
    assert_true(set.on_delete);
    assert_string_equal(set.container, "postgres");
    assert_string_equal(set.image, "pghad:1");
    assert_string_equal(set.revision, "pg-5");
    assert_string_equal(set.stamp, "t0");
    assert_int_equal(set.observed, 2);
    take(STS("{}", "\"x\":1"), "log", true);
    assert_false(set.on_delete);
    assert_string_equal(set.image, "l");
    take(STS("{}", "\"x\":1"), "web", false);
    take("{}", NULL, false);
    take("[1]", NULL, false);
}

static void assert_patch(struct json_object *o, const char *want)
{
    assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE),
                        want);
    json_object_put(o);
}

static void patches(void **state)
{
    (void)state;
    take(STS("{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"partition\":0}}",
             "\"annotations\":{\"pghad.io/rollout-strategy\":"
             "\"{\\\"type\\\":\\\"RollingUpdate\\\",\\\"rollingUpdate\\\":{\\\"partition\\\":0}}\"}"),
         NULL, true);
    assert_patch(rollout_strategy_patch(&set),
                 "{\"metadata\":{\"annotations\":{\"pghad.io/rollout-strategy\":"
                 "\"{\\\"type\\\":\\\"RollingUpdate\\\",\\\"rollingUpdate\\\":{\\\"partition\\\":0}}\"}},"
                 "\"spec\":{\"updateStrategy\":{\"type\":\"OnDelete\",\"rollingUpdate\":null}}}");
    assert_patch(rollout_restore_patch(&set),
                 "{\"metadata\":{\"annotations\":{\"pghad.io/rollout-strategy\":null}},\"spec\":{"
                 "\"updateStrategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"partition\":0}}}}");
    SET(set.put_aside, "nonsense"); /* somebody edited it: only forgotten */
    assert_patch(rollout_restore_patch(&set),
                 "{\"metadata\":{\"annotations\":{\"pghad.io/rollout-strategy\":null}}}");
    assert_patch(rollout_template_patch(&set, "pghad:2", NULL),
                 "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"postgres\","
                 "\"image\":\"pghad:2\"}]}}}}");
    assert_patch(rollout_template_patch(&set, NULL, "t1"),
                 "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{"
                 "\"pghad.io/restarted-at\":\"t1\"}}}}}");
}

#define POD                                                                                        \
    "{\"items\":[{\"metadata\":{\"name\":\"pg-0\",\"uid\":\"u\",\"labels\":{"                      \
    "\"controller-revision-hash\":\"pg-5\"},\"annotations\":{\"pghad.io/restarted-at\":\"t0\"},"   \
    "\"ownerReferences\":[{\"kind\":\"Node\",\"name\":\"n\"},{\"kind\":\"StatefulSet\",\"name\":"  \
    "\"pg\",\"controller\":true}]},\"spec\":{\"containers\":[{\"name\":\"x\",\"image\":\"i\"}]},"  \
    "\"status\":{%s}}]}"

static void take_pod(const char *status)
{
    char text[1024];

    assert_true(str_format(text, sizeof(text), POD, status));
    struct json_object *o = jparse(text, strlen(text));
    assert_non_null(o);
    view = (struct cluster_view){0};
    cluster_take_pods(&view, o);
    json_object_put(o);
}

static void pods__read(void **state)
{
    (void)state;
    take_pod("");
    assert_string_equal(view.m[0].uid, "u");
    assert_string_equal(view.m[0].set, "pg");
    assert_string_equal(view.m[0].revision, "pg-5");
    assert_string_equal(view.m[0].stamp, "t0");
    assert_string_equal(view.m[0].image, "i");
    assert_string_equal(view.m[0].waiting, "");
    assert_string_equal(rollout_set_name(&view), "pg");
    take_pod("\"containerStatuses\":[{\"state\":{\"waiting\":{\"reason\":\"ContainerCreating\"}}},"
             "{\"state\":{\"waiting\":{\"reason\":\"ErrImagePull\",\"message\":\"no\"}}}]");
    assert_string_equal(view.m[0].waiting, "ErrImagePull");
    assert_true(rollout_cannot_run(&view.m[0]));
    take_pod("\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":"
             "\"Unschedulable\",\"message\":\"0/3\"}]");
    assert_string_equal(view.m[0].waiting, "Unschedulable");
    assert_string_equal(view.m[0].waiting_text, "0/3");
    assert_false(rollout_cannot_run(&view.m[0])); /* a node may come */
}

#define TEST(f) cmocka_unit_test_setup(f, make)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whole_order__by_role_not_by_number),
        TEST(resume__needs_nothing_but_the_cluster),
        TEST(restart__is_open_until_every_pod_has_the_stamp),
        TEST(one_away__nobody_else_is_touched),
        TEST(a_pod_that_is_not_there__is_waited_for),
        TEST(scaled_away__its_row_is_not_waited_for),
        TEST(vote__is_of_the_volume),
        TEST(copies__must_be_what_they_were),
        TEST(controller_behind__revision_is_not_believed),
        TEST(no_primary_or_other_operation__nothing_is_touched),
        TEST(broken_pod_of_an_older_template__goes_first),
        TEST(successor__only_who_may_and_is_done),
        TEST(single_member),
        TEST(refusals),
        TEST(statefulset__read),
        TEST(patches),
        TEST(pods__read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
