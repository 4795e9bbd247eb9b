/* Record, release, identity and Lease objects: round trips, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <json-c/json.h>

#include "kube/lease.h"
#include "kube/record.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct record sample_record(void)
{
    struct record r = {.epoch = 7,
                       .rev = 12,
                       .w = 1,
                       .has_next = true,
                       .next_w = 2,
                       .sealed = 0xabcdef,
                       .writer = 0xfedcba9876543210,
                       .writer_epoch = 6,
                       .timeline = 4,
                       .n = 2};

    r.m[0] = (struct record_member){.volume = 0xfedcba9876543210,
                                    .name = {"db-0"},
                                    .in_v = true,
                                    .in_next = true,
                                    .flushed = {4, 0x1A0000028}};
    r.m[1] = (struct record_member){.volume = 0x11, .name = {"db-1"}, .in_v = true};
    return r;
}

static void record__full__round_trip(void **state)
{
    struct record r = sample_record(), got;
    struct buf a, b;
    struct err e;

    (void)state;
    buf_init(&a, RECORD_JSON_MAX);
    buf_init(&b, RECORD_JSON_MAX);
    assert_true(record_encode(&r, &a));
    assert_true(record_decode(buf_str(&a), a.len, &got, &e));
    assert_true(got.epoch == 7 && got.rev == 12 && got.w == 1 && got.has_next && got.next_w == 2);
    assert_true(got.sealed == 0xabcdef && got.writer == 0xfedcba9876543210);
    assert_true(got.writer_epoch == 6 && got.timeline == 4 && got.n == 2);
    assert_string_equal(got.m[0].name.s, "db-0");
    assert_true(got.m[0].in_v && got.m[0].in_next && got.m[0].flushed.timeline == 4 &&
                got.m[0].flushed.lsn == 0x1A0000028);
    assert_true(got.m[1].volume == 0x11 && got.m[1].in_v && !got.m[1].in_next &&
                got.m[1].flushed.lsn == 0);
    assert_true(record_encode(&got, &b));
    assert_string_equal(buf_str(&a), buf_str(&b));
    buf_done(&a);
    buf_done(&b);
}

static void record__most_members_with_longest_names__fits(void **state)
{
    struct record r = {.n = HA_MEMBERS_MAX, .epoch = INT64_MAX - 1, .rev = INT64_MAX - 1}, got;
    struct buf b;
    struct err e;

    (void)state;
    for (size_t i = 0; i < HA_MEMBERS_MAX; i++) {
        r.m[i] = (struct record_member){.volume = i + 1,
                                        .in_v = true,
                                        .in_next = true,
                                        .flushed = {TIMELINE_MAX, UINT64_MAX}};
        memset(r.m[i].name.s, 'a', HA_NAME_SIZE - 1);
    }
    buf_init(&b, RECORD_JSON_MAX);
    assert_true(record_encode(&r, &b));
    assert_true(record_decode(buf_str(&b), b.len, &got, &e));
    assert_true(got.n == HA_MEMBERS_MAX && got.m[15].flushed.lsn == UINT64_MAX);
    buf_done(&b);
}

static void record__bad_texts__refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        "not json",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":{}}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[1]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[]} x",
        "{\"epoch\":\"1\",\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[]}",
        "{\"epoch\":1.0,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[]}",
        "{\"epoch\":-1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[]}",
        "{\"epoch\":99999999999999999999,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":17,\"timeline\":1,\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":4294967296,\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":2147483648,\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"sealed\":5,\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"sealed\":\"5\",\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"sealed\":\"000000000000000g\",\"members\":[]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[{\"name\":\"a\"}]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":"
        "[{\"volume\":\"0000000000000001\",\"name\":\"a\",\"lsn\":\"5\"}]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":"
        "[{\"volume\":\"0000000000000001\",\"name\":\"a\",\"lsn\":\"123456789/0\"}]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":"
        "[{\"volume\":\"0000000000000001\",\"name\":\"a\\u0000b\"}]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":"
        "[{\"volume\":\"0000000000000001\",\"name\":\"a\",\"v\":1}]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":"
        "[{\"volume\":\"0000000000000001\",\"name\":\"a\"},"
        "{\"volume\":\"0000000000000001\",\"name\":\"b\"}]}",
        "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[{\"volume\":"
        "\"0000000000000001\",\"name\":"
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}]}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct record got = {.epoch = 99};
        struct err e = {0};
        if (record_decode(bad[i], strlen(bad[i]), &got, &e))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(e.kind, ERR_CORRUPT);
        assert_int_equal(got.epoch, 99);
    }
}

static void record__too_many_members__refused(void **state)
{
    struct buf b;
    struct record got;
    struct err e;

    (void)state;
    buf_init(&b, RECORD_JSON_MAX);
    buf_puts(&b, "{\"epoch\":1,\"rev\":1,\"w\":0,\"timeline\":1,\"members\":[");
    for (int i = 0; i <= HA_MEMBERS_MAX; i++)
        buf_printf(&b, "%s{\"volume\":\"%016x\",\"name\":\"m\"}", i ? "," : "", (unsigned)i + 1);
    buf_puts(&b, "]}");
    assert_false(record_decode(buf_str(&b), b.len, &got, &e));
    assert_non_null(strstr(e.msg, "more than"));
    buf_done(&b);
}

static void record__every_truncation__refused(void **state)
{
    struct record r = sample_record(), got;
    struct buf b;

    (void)state;
    buf_init(&b, RECORD_JSON_MAX);
    assert_true(record_encode(&r, &b));
    for (size_t n = 0; n < b.len; n++)
        assert_false(record_decode(buf_str(&b), n, &got, NULL));
    buf_done(&b);
}

static void record__unknown_keys__ignored(void **state)
{
    static const char text[] = "{\"epoch\":1,\"rev\":2,\"w\":0,\"timeline\":1,\"new\":{\"a\":[1]},"
                               "\"members\":[]}";
    struct record got;

    (void)state;
    assert_true(record_decode(text, strlen(text), &got, NULL));
    assert_int_equal(got.rev, 2);
}

static void release__round_trip_and_refusals(void **state)
{
    struct release r = {.valid = true,
                        .epoch = 3,
                        .releaser = {"db-0"},
                        .volume = 0x77,
                        .end = {2, 0x5000060},
                        .successor = {"db-1"}},
                   got;
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, RELEASE_JSON_MAX);
    assert_true(release_encode(&r, &b));
    assert_true(release_decode(buf_str(&b), b.len, &got, &e));
    assert_true(got.valid && got.epoch == 3 && got.volume == 0x77 && got.end.timeline == 2 &&
                got.end.lsn == 0x5000060);
    assert_string_equal(got.successor.s, "db-1");
    assert_string_equal(got.releaser.s, "db-0");
    for (size_t n = 0; n < b.len; n++)
        assert_false(release_decode(buf_str(&b), n, &got, NULL));
    assert_false(release_decode("{}", 2, &got, &e));
    buf_clear(&b);
    r.releaser = (struct ha_name){"db 0"}; /* could not be read again everywhere */
    assert_true(release_encode(&r, &b));
    assert_false(release_decode(buf_str(&b), b.len, &got, &e));
    assert_non_null(strstr(e.msg, "releaser: not that of a pod"));
    buf_done(&b);
}

static void identity__texts__as_meant(void **state)
{
    static const struct {
        const char *text, *name, *uid;
        uint64_t boot;
    } rows[] = {
        {"", "", "", 0},
        {"db-0_6f0c_00000000000000ff", "db-0", "6f0c", 0xff},
        {"db-0_6f0c", "db-0_6f0c", "?", 0},
        {"db-0_6f0c_ff", "db-0_6f0c_ff", "?", 0},
        {"db-0_?_00000000000000ff", "db-0_?_00000000000000ff", "?", 0},
        {"_6f0c_00000000000000ff", "_6f0c_00000000000000ff", "?", 0},
        {"a_b_c_00000000000000ff", "a_b_c_00000000000000ff", "?", 0},
        {"somebody else", "somebody else", "?", 0},
    };
    char text[IDENTITY_TEXT_SIZE], huge[2000];
    struct identity id;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        identity_parse(rows[i].text, &id);
        assert_string_equal(id.name.s, rows[i].name);
        assert_string_equal(id.uid, rows[i].uid);
        assert_true(id.boot == rows[i].boot);
        if (id.uid[0] != '?') {
            assert_true(identity_format(&id, text, sizeof(text)));
            assert_string_equal(text, rows[i].text);
        }
    }
    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    identity_parse(huge, &id);
    assert_string_equal(id.uid, "?");
    assert_int_equal(strlen(id.name.s), HA_NAME_SIZE - 1);
}

/* ---- Lease ---- */

#define META "\"metadata\":{\"name\":\"demo\",\"namespace\":\"db\",\"uid\":\"u-1\",\"resourceVersion\":\"41\""
#define FOREIGN                                                                                    \
    "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\"," META                           \
    ",\"creationTimestamp\":null,\"labels\":{\"team\":\"x\"},\"annotations\":{\"other\":\"kept\"}," \
    "\"managedFields\":[{\"manager\":\"m\"}],\"finalizers\":[\"f\"]}," \
    "\"spec\":{\"holderIdentity\":\"db-0_6f0c_00000000000000ff\",\"leaseDurationSeconds\":10,"      \
    "\"leaseTransitions\":7,\"renewTime\":\"2025-11-21T00:00:00.000000Z\",\"strategy\":\"S\"}}"

static struct json_object *parse(const char *s)
{
    struct json_object *o = json_tokener_parse(s);

    assert_non_null(o);
    return o;
}

static const char *at(struct json_object *o, const char *a, const char *b, const char *c)
{
    const char *keys[] = {a, b, c};

    for (size_t i = 0; i < 3 && keys[i]; i++)
        if (!json_object_object_get_ex(o, keys[i], &o))
            return NULL;
    return json_object_get_string(o);
}

static void lease__without_record__valid(void **state)
{
    struct kube_lease l = {0};
    struct err e;

    (void)state;
    assert_true(kube_lease_parse(FOREIGN, strlen(FOREIGN), &l, &e));
    assert_true(l.lease.exists && !l.lease.has_record && !l.lease.fresh && !l.lease.release.valid);
    assert_true(l.lease.epoch == 7 && l.lease.duration_s == 10);
    assert_string_equal(l.lease.holder.name.s, "db-0");
    assert_true(l.lease.holder.boot == 0xff);
    assert_string_equal(l.rv, "41");
    assert_string_equal(l.uid, "u-1");
    kube_lease_done(&l);
}

static void lease__put__carries_the_rest_through(void **state)
{
    struct kube_lease l = {0}, again = {0};
    struct lease want;
    struct buf b;
    struct err e;

    (void)state;
    assert_true(kube_lease_parse(FOREIGN, strlen(FOREIGN), &l, &e));
    want = l.lease;
    want.has_record = true;
    want.record = sample_record();
    want.release = (struct release){.valid = true, .epoch = 7, .releaser = {"db-0"}};
    want.holder = (struct identity){0};
    buf_init(&b, KUBE_LEASE_MAX);
    assert_true(kube_lease_build(&l, &want, 1763683200000000, &b, &e));
    struct json_object *o = parse(buf_str(&b));
    assert_string_equal(at(o, "metadata", "uid", NULL), "u-1");
    assert_string_equal(at(o, "metadata", "resourceVersion", NULL), "41");
    assert_string_equal(at(o, "metadata", "labels", "team"), "x");
    assert_string_equal(at(o, "metadata", "annotations", "other"), "kept");
    assert_non_null(at(o, "metadata", "finalizers", NULL));
    assert_null(at(o, "metadata", "managedFields", NULL));
    assert_string_equal(at(o, "spec", "strategy", NULL), "S");
    assert_string_equal(at(o, "spec", "holderIdentity", NULL), "");
    /* The same instant as the last time: it must differ all the same. */
    assert_string_equal(at(o, "spec", "renewTime", NULL), "2025-11-21T00:00:00.000001Z");
    assert_null(at(o, "spec", "acquireTime", NULL));
    assert_true(kube_lease_decode(o, &again, &e));
    assert_true(again.lease.has_record && again.lease.record.rev == 12);
    assert_true(again.lease.release.valid && again.lease.holder.name.s[0] == '\0');
    json_object_put(o);
    buf_done(&b);
    kube_lease_done(&l);
    kube_lease_done(&again);
}

static void lease__acquisition__clears_release_and_sets_acquire_time(void **state)
{
    struct kube_lease l = {0};
    struct lease want = {.exists = true, .fresh = true};
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, KUBE_LEASE_MAX);
    assert_true(kube_lease_build_new("db", "demo", &want, 1763683200000000, &b, &e));
    struct json_object *o = parse(buf_str(&b));
    assert_string_equal(at(o, "metadata", "annotations", ANNOTATION_FRESH), "true");
    assert_string_equal(at(o, "spec", "holderIdentity", NULL), "");
    assert_null(at(o, "spec", "leaseDurationSeconds", NULL));
    assert_null(at(o, "metadata", "resourceVersion", NULL));
    json_object *meta;
    json_object_object_get_ex(o, "metadata", &meta);
    json_object_object_add(meta, "uid", json_object_new_string("u"));
    json_object_object_add(meta, "resourceVersion", json_object_new_string("1"));
    assert_true(kube_lease_decode(o, &l, &e));
    assert_true(l.lease.fresh);
    json_object_put(o);

    want = l.lease;
    want.fresh = false;
    want.epoch = 1;
    want.duration_s = 10;
    want.holder = (struct identity){.name = {"db-0"}, .uid = "u0", .boot = 1};
    buf_clear(&b);
    assert_true(kube_lease_build(&l, &want, 1763683201000000, &b, &e));
    o = parse(buf_str(&b));
    assert_string_equal(at(o, "spec", "holderIdentity", NULL), "db-0_u0_0000000000000001");
    assert_string_equal(at(o, "spec", "acquireTime", NULL), "2025-11-21T00:00:01.000000Z");
    assert_string_equal(at(o, "spec", "leaseTransitions", NULL), "1");
    assert_null(at(o, "metadata", "annotations", ANNOTATION_FRESH));
    json_object_put(o);
    buf_done(&b);
    kube_lease_done(&l);
}

static void lease__unchanged_record__text_kept(void **state)
{
    static const char text[] =
        "{" META ",\"annotations\":{\"pghad.io/record\":\"{\\\"epoch\\\":1,\\\"rev\\\":2,\\\"w\\\":0,"
        "\\\"timeline\\\":1,\\\"later\\\":5,\\\"members\\\":[]}\"}},\"spec\":{}}";
    struct kube_lease l = {0};
    struct buf b;
    struct err e;

    (void)state;
    assert_true(kube_lease_parse(text, strlen(text), &l, &e));
    assert_true(l.lease.has_record);
    buf_init(&b, KUBE_LEASE_MAX);
    assert_true(kube_lease_build(&l, &l.lease, 1763683201000000, &b, &e));
    assert_non_null(strstr(buf_str(&b), "later"));
    struct lease want = l.lease;
    want.record.rev++;
    buf_clear(&b);
    assert_true(kube_lease_build(&l, &want, 1763683201000000, &b, &e));
    assert_null(strstr(buf_str(&b), "later"));
    want.has_record = false;
    buf_clear(&b);
    assert_true(kube_lease_build(&l, &want, 1763683201000000, &b, &e));
    assert_null(strstr(buf_str(&b), ANNOTATION_RECORD));
    buf_done(&b);
    kube_lease_done(&l);
}

static void lease__damaged_record__holder_still_seen(void **state)
{
    static const char *const damaged[] = {"garbage", "{}", ""};
    char text[1024];

    (void)state;
    for (size_t i = 0; i < COUNT(damaged); i++) {
        struct kube_lease l = {0};
        struct err e;
        snprintf(text, sizeof(text),
                 "{" META ",\"annotations\":{\"pghad.io/record\":\"%s\"}},\"spec\":"
                 "{\"holderIdentity\":\"h\",\"leaseTransitions\":3}}",
                 damaged[i]);
        assert_true(kube_lease_parse(text, strlen(text), &l, &e));
        assert_true(!l.lease.has_record && l.damage.kind == ERR_CORRUPT);
        assert_true(l.lease.epoch == 3);
        assert_string_equal(l.lease.holder.uid, "?");
        kube_lease_done(&l);
    }
}

static void lease__bad_objects__refused_and_nothing_changed(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "upstream connect error",
        "{\"kind\":\"Status\",\"metadata\":{},\"code\":404}",
        "{\"kind\":\"LeaseList\"," META "},\"items\":[]}",
        "{\"kind\":5," META "}}",
        "{\"metadata\":[]}",
        "{\"metadata\":{\"name\":\"demo\",\"uid\":\"u\"}}",
        "{\"metadata\":{\"name\":\"demo\",\"uid\":\"u\",\"resourceVersion\":41}}",
        "{\"metadata\":{\"name\":\"demo\",\"uid\":\"\",\"resourceVersion\":\"41\"}}",
        "{" META "},\"spec\":[]}",
        "{" META ",\"annotations\":5},\"spec\":{}}",
        "{" META "},\"spec\":{\"holderIdentity\":5}}",
        "{" META "},\"spec\":{\"leaseDurationSeconds\":0}}",
        "{" META "},\"spec\":{\"leaseDurationSeconds\":\"10\"}}",
        "{" META "},\"spec\":{\"leaseTransitions\":-1}}",
        "{" META "},\"spec\":{\"leaseTransitions\":2147483648}}",
        "{" META "},\"spec\":{}} {}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct kube_lease l = {0};
        struct err e = {0};
        if (kube_lease_parse(bad[i], strlen(bad[i]), &l, &e))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(e.kind, ERR_CORRUPT);
        assert_null(l.raw);
    }
}

static void lease__huge__refused(void **state)
{
    struct kube_lease l = {0};
    struct err e;
    size_t len = KUBE_LEASE_MAX + 1;
    char *text = malloc(len);

    (void)state;
    memset(text, '[', len);
    assert_false(kube_lease_parse(text, len, &l, &e));
    assert_false(kube_lease_parse(text, 5000, &l, &e)); /* nested too deeply */
    assert_int_equal(e.kind, ERR_CORRUPT);
    free(text);
}

static void lease__put_that_cannot_be__refused(void **state)
{
    struct kube_lease none = {0}, l = {0};
    struct lease want;
    struct buf b;
    struct err e;

    (void)state;
    buf_init(&b, KUBE_LEASE_MAX);
    want = (struct lease){.exists = true};
    assert_false(kube_lease_build(&none, &want, 1, &b, &e));
    assert_true(kube_lease_parse(FOREIGN, strlen(FOREIGN), &l, &e));
    want = l.lease;
    want.epoch = (uint64_t)INT32_MAX + 1;
    assert_false(kube_lease_build(&l, &want, 1, &b, &e));
    want = l.lease;
    want.holder = (struct identity){.name = {"x"}, .uid = "?"};
    assert_false(kube_lease_build(&l, &want, 1, &b, &e));
    buf_done(&b);
    kube_lease_done(&l);
}

static void lease__foreign_holder__text_carried_through(void **state)
{
    static const char text[] = "{" META "},\"spec\":{\"holderIdentity\":\"some body\"}}";
    struct kube_lease l = {0};
    struct buf b;
    struct err e;

    (void)state;
    assert_true(kube_lease_parse(text, strlen(text), &l, &e));
    buf_init(&b, KUBE_LEASE_MAX);
    assert_true(kube_lease_build(&l, &l.lease, 1763683201000000, &b, &e));
    assert_non_null(strstr(buf_str(&b), "\"some body\""));
    buf_done(&b);
    kube_lease_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record__full__round_trip),
        cmocka_unit_test(record__most_members_with_longest_names__fits),
        cmocka_unit_test(record__bad_texts__refused),
        cmocka_unit_test(record__too_many_members__refused),
        cmocka_unit_test(record__every_truncation__refused),
        cmocka_unit_test(record__unknown_keys__ignored),
        cmocka_unit_test(release__round_trip_and_refusals),
        cmocka_unit_test(identity__texts__as_meant),
        cmocka_unit_test(lease__without_record__valid),
        cmocka_unit_test(lease__put__carries_the_rest_through),
        cmocka_unit_test(lease__acquisition__clears_release_and_sets_acquire_time),
        cmocka_unit_test(lease__unchanged_record__text_kept),
        cmocka_unit_test(lease__damaged_record__holder_still_seen),
        cmocka_unit_test(lease__bad_objects__refused_and_nothing_changed),
        cmocka_unit_test(lease__huge__refused),
        cmocka_unit_test(lease__put_that_cannot_be__refused),
        cmocka_unit_test(lease__foreign_holder__text_carried_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
