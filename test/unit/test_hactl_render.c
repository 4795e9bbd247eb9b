/* From objects of the API server to what people and scripts read; golden texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hactl/cluster.h"
#include "hactl/jget.h"
#include "hactl/render.h"

#define NOW 1763700100
#define LEASE                                                                                      \
    "{\"spec\":{\"holderIdentity\":\"pg-1_0f8d_1a2b\",\"leaseTransitions\":5}}"
#define POD(name, ip, ready, extra, annotation)                                                    \
    "{\"metadata\":{\"name\":\"" name "\"," extra "\"annotations\":{\"pghad.io/status\":\""       \
    annotation "\"}},\"spec\":{\"nodeName\":\"n1\"},\"status\":{\"podIP\":\"" ip                  \
    "\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"" ready "\"}]}}"

#define PRIMARY                                                                                    \
    POD("pg-1", "10.0.0.2", "True", "\"labels\":{\"role\":\"primary\"},",                         \
        "{\\\"role\\\":\\\"primary\\\",\\\"state\\\":\\\"running\\\",\\\"timeline\\\":3,"         \
        "\\\"lsn\\\":\\\"0/5000000\\\",\\\"rule\\\":\\\"serve\\\",\\\"server_version\\\":150018,"        \
        "\\\"volume\\\":\\\"00000000000000b2\\\",\\\"at\\\":1763700000}")
#define REPLICA(name, ip, more)                                                                    \
    POD(name, ip, "True", "",                                                                      \
        "{\\\"role\\\":\\\"replica\\\",\\\"state\\\":\\\"streaming\\\",\\\"timeline\\\":3,"       \
        "\\\"lsn\\\":\\\"0/4F00000\\\",\\\"lag\\\":1048576,\\\"sync\\\":\\\"quorum\\\","          \
        "\\\"rule\\\":\\\"follow\\\"" more "}")
#define LIST(a, b, c) "{\"items\":[" a "," b "," c "]}"

static struct cluster_view view;

static struct cluster_view *make(const char *lease, const char *pods)
{
    struct json_object *o;
    struct err e;

    view = (struct cluster_view){.name = "pg", .ns = "db", .now_s = NOW};
    o = jparse(lease, strlen(lease));
    assert_non_null(o);
    assert_true(cluster_take_lease(&view, o, &e));
    json_object_put(o);
    o = jparse(pods, strlen(pods));
    assert_non_null(o);
    cluster_take_pods(&view, o);
    json_object_put(o);
    cluster_conclude(&view);
    return &view;
}

static struct cluster_view *healthy(void)
{
    return make(LEASE, LIST(REPLICA("pg-10", "10.0.0.3", ""), PRIMARY,
                            REPLICA("pg-2", "10.0.0.1", ",\\\"tags\\\":{\\\"priority\\\":5}")));
}

static char *render(void (*f)(struct session *, const struct cluster_view *), enum output output,
                    const struct cluster_view *v)
{
    struct session s = {.output = output};
    char *out;
    size_t n;

    s.out = open_memstream(&out, &n);
    f(&s, v);
    fclose(s.out);
    return out;
}

static void table__healthy(void **state)
{
    struct cluster_view *v = healthy();
    char *out = render(render_cluster, OUTPUT_TABLE, v);

    (void)state;
    assert_int_equal(v->alarms_n, 0);
    assert_string_equal(
        out, "Cluster pg, epoch 5, primary pg-1\n"
             "MEMBER  ROLE     STATE      TL  LSN        LAG      SYNC    TAGS\n"
             "pg-1    primary  running    3   0/5000000  -        -       -\n"
             "pg-2    replica  streaming  3   0/4F00000  ~1.0 MB  quorum  priority=5\n"
             "pg-10   replica  streaming  3   0/4F00000  ~1.0 MB  quorum  -\n"
             "~ as last published, not measured now\n");
    free(out);
}

static void wide__adds_columns(void **state)
{
    char *out = render(render_cluster, OUTPUT_WIDE, healthy());

    (void)state;
    assert_non_null(strstr(out, "ADDRESS        NODE  RULE    VERSION  VOLUME            STATUS AGE"));
    assert_non_null(strstr(out, "10.0.0.2:5432  n1    serve   15.18    00000000000000b2  100s"));
    assert_non_null(strstr(out, "10.0.0.3:5432  n1    follow  -        -                 unknown"));
    free(out);
}

static void names__one_per_line(void **state)
{
    char *out = render(render_cluster, OUTPUT_NAME, healthy());

    (void)state;
    assert_string_equal(out, "pg-1\npg-2\npg-10\n");
    free(out);
}

static void topology__cascade_and_ring(void **state)
{
    struct cluster_view *v = healthy();
    char *out;

    (void)state;
    strncat(v->m[2].follows, "pg-2", 10);
    out = render(render_topology, OUTPUT_TABLE, v);
    assert_non_null(strstr(out, "\npg-1 "));
    assert_non_null(strstr(out, "pg-2 "));
    assert_true(strstr(out, "pg-2 ") < strstr(out, "pg-10"));
    free(out);
    strncat(v->m[1].follows, "pg-10", 10); /* two that name each other must not hang or vanish */
    out = render(render_topology, OUTPUT_TABLE, v);
    assert_non_null(strstr(out, "pg-2 "));
    assert_non_null(strstr(out, "pg-10 "));
    free(out);
}

static void json__stable_keys(void **state)
{
    static const char *const keys[] = {"cluster",       "namespace", "system_id", "epoch",
                                       "primary",       "timeline",  "required_acks", "sealed",
                                       "paused",        "operation", "degraded",  "alarms",
                                       "members"};
    static const char *const member_keys[] = {
        "name",    "role", "state", "timeline", "lsn",     "lag_bytes", "sync",
        "votes",   "ready", "terminating", "pending_restart", "address", "port", "node",
        "rule",    "reason", "version", "pghad_version", "volume", "tags", "perishable_slots",
        "source",  "age_seconds"};
    char *out = render(render_cluster, OUTPUT_JSON, healthy());
    struct json_object *o = jparse(out, strlen(out) - 1), *m;

    (void)state;
    assert_non_null(o);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_true(json_object_object_get_ex(o, keys[i], NULL));
    assert_int_equal(json_object_object_length(o), sizeof(keys) / sizeof(keys[0]));
    assert_string_equal(jtext(jget(o, "primary", NULL)), "pg-1");
    m = json_object_array_get_idx(jget(o, "members", NULL), 1);
    for (size_t i = 0; i < sizeof(member_keys) / sizeof(member_keys[0]); i++)
        assert_true(json_object_object_get_ex(m, member_keys[i], NULL));
    assert_int_equal(json_object_object_length(m), sizeof(member_keys) / sizeof(member_keys[0]));
    assert_int_equal(jint(jget(m, "lag_bytes", NULL), -1), 1048576);
    assert_string_equal(jtext(jget(m, "source", NULL)), "published");
    json_object_put(o);
    free(out);
}

static void yaml__nested_and_quoted(void **state)
{
    static const char doc[] = "{\"a\":1,\"b\":[{\"c\":\"x: y\",\"d\":null},2,[]],\"e\":{},"
                              "\"f\":{\"g h\":true},\"i\":[[1,2]]}";
    struct json_object *o = jparse(doc, strlen(doc));
    char *out;
    size_t n;
    FILE *f = open_memstream(&out, &n);

    (void)state;
    render_yaml(f, o);
    fclose(f);
    assert_string_equal(out, "a: 1\nb:\n  - c: \"x: y\"\n    d: null\n  - 2\n  - []\ne: {}\n"
                             "f:\n  \"g h\": true\ni:\n  -\n    - 1\n    - 2\n");
    json_object_put(o);
    free(out);
}

static void degraded__said_in_words(void **state)
{
    static const struct {
        const char *what, *lease, *pods, *says;
    } cases[] = {
        {"nobody holds it", "{\"spec\":{\"holderIdentity\":\"\",\"leaseTransitions\":5}}",
         LIST(REPLICA("pg-0", "10.0.0.1", ""), PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "nobody holds the Lease"},
        {"holder not writable", "{\"spec\":{\"holderIdentity\":\"pg-2_a_b\"}}",
         LIST(REPLICA("pg-0", "10.0.0.1", ""), PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "no primary: pg-2 holds the Lease but is not writable"},
        {"two say primary", "{\"spec\":{\"holderIdentity\":\"pg-2_a_b\"}}",
         LIST(REPLICA("pg-0", "10.0.0.1", ""), PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "pg-1 calls itself primary but does not hold the Lease"},
        {"silent pod", LEASE,
         LIST(POD("pg-0", "", "False", "", ""), PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "pg-0 has not reported yet"},
        {"garbage in the annotation", LEASE,
         LIST(POD("pg-0", "", "False", "", "{{{"), PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "pg-0 has not reported yet"},
        {"replica stopped", LEASE,
         LIST(POD("pg-0", "10.0.0.1", "False", "",
                  "{\\\"role\\\":\\\"replica\\\",\\\"state\\\":\\\"rewinding\\\"}"),
              PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "pg-0 does not stream (rewinding)"},
        {"replica died while it streamed", LEASE,
         LIST(POD("pg-0", "10.0.0.1", "False", "",
                  "{\\\"role\\\":\\\"replica\\\",\\\"state\\\":\\\"streaming\\\"}"),
              PRIMARY, REPLICA("pg-2", "10.0.0.3", "")),
         "pg-0 is not Ready and does not answer"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cluster_view *v = make(cases[i].lease, cases[i].pods);
        bool found = false;
        for (size_t j = 0; j < v->alarms_n; j++)
            found = found || strstr(v->alarms[j], cases[i].says);
        if (!found)
            fail_msg("%s: not said; first alarm: %s", cases[i].what,
                     v->alarms_n ? v->alarms[0] : "none");
    }
}

static void live_status__overrides_and_measures(void **state)
{
    static const char primary[] =
        "{\"role\":\"primary\",\"state\":\"running\",\"xlog\":{\"location\":\"0/6000000\"}}";
    static const char replica[] = "{\"role\":\"replica\",\"state\":\"streaming\","
                                  "\"xlog\":{\"received_location\":\"0/5FFF000\"}}";
    struct cluster_view *v = healthy();
    struct json_object *o;

    (void)state;
    o = jparse(primary, strlen(primary));
    cluster_take_status(&v->m[0], o);
    json_object_put(o);
    o = jparse(replica, strlen(replica));
    cluster_take_status(&v->m[1], o);
    json_object_put(o);
    cluster_conclude(v);
    assert_int_equal(v->m[1].lag_bytes, 0x1000);
    assert_int_equal(v->m[2].lag_bytes, 1048576); /* not reached: as published */
    assert_int_equal(v->m[1].source, SOURCE_LIVE);
    assert_int_equal(v->m[2].source, SOURCE_PUBLISHED);
}

/* Where others can be reached, what a silent one published last is told as such. */
static void silent_former_primary__not_taken_for_one(void **state)
{
    static const char live[] = "{\"role\":\"primary\",\"state\":\"running\"}";
    struct cluster_view *v =
        make("{\"spec\":{\"holderIdentity\":\"pg-2_a_b\"}}",
             LIST(REPLICA("pg-0", "10.0.0.1", ""), PRIMARY, REPLICA("pg-2", "10.0.0.3", "")));
    struct json_object *o = jparse(live, strlen(live));
    char *out;

    (void)state;
    assert_string_equal(v->m[2].name, "pg-2");
    cluster_take_status(&v->m[2], o);
    json_object_put(o);
    out = render(render_cluster, OUTPUT_TABLE, (cluster_conclude(v), v));
    assert_non_null(strstr(out, "degraded: pg-1 does not answer; it was primary when"));
    assert_non_null(strstr(out, "no answer, last running"));
    assert_null(strstr(out, "calls itself primary"));
    free(out);
}

static void agent_documents__same_picture(void **state)
{
    static const char status[] =
        "{\"name\":\"pg-1\",\"role\":\"primary\",\"state\":\"running\",\"namespace\":\"db\","
        "\"lsn\":\"0/6000000\",\"sync\":\"none\",\"port\":5433,\"pghad\":{\"version\":\"0.1.0\"},"
        "\"alarms\":[{\"name\":\"disk\",\"text\":\"2 % free\"}]}";
    static const char cluster[] =
        "{\"scope\":\"pg\",\"leader\":\"pg-1\",\"epoch\":5,\"pause\":true,\"members\":["
        "{\"name\":\"pg-1\",\"role\":\"primary\",\"state\":\"running\",\"host\":\"10.0.0.2\","
        "\"port\":5433,\"timeline\":3,\"lag\":0},"
        "{\"name\":\"pg-0\",\"role\":\"replica\",\"state\":\"streaming\",\"host\":\"10.0.0.1\","
        "\"timeline\":3,\"sync\":\"quorum\",\"in_vote_set\":true,\"receive_lag\":4096}]}";
    struct json_object *s = jparse(status, strlen(status)), *c = jparse(cluster, strlen(cluster));

    (void)state;
    view = (struct cluster_view){.now_s = NOW};
    cluster_take_agent(&view, s, c);
    cluster_conclude(&view);
    json_object_put(s);
    json_object_put(c);
    assert_string_equal(view.name, "pg");
    assert_int_equal(view.epoch, 5);
    assert_true(view.paused);
    assert_ptr_equal(cluster_primary(&view), &view.m[1]);
    assert_string_equal(view.m[1].daemon, "0.1.0");
    assert_int_equal(view.m[1].port, 5433);
    assert_int_equal(view.m[0].lag_bytes, 4096);
    assert_true(view.m[0].in_v);
    assert_int_equal(view.alarms_n, 1);
    assert_string_equal(view.alarms[0], "pg-1: 2 % free");
}

static void hostile_objects__no_harm(void **state)
{
    static const char *const docs[] = {
        "{}",
        "[]",
        "null",
        "{\"items\":5}",
        "{\"items\":[1,null,{},{\"metadata\":5},{\"metadata\":{\"name\":[]}}]}",
        "{\"items\":[{\"metadata\":{\"name\":\"p\",\"annotations\":{\"pghad.io/status\":\"[1]\"},"
        "\"labels\":[]},\"status\":{\"conditions\":[5,{\"type\":3}],\"podIP\":7}}]}",
        "{\"items\":[{\"metadata\":{\"name\":\"p\",\"annotations\":{\"pghad.io/status\":"
        "\"{\\\"role\\\":5,\\\"lsn\\\":\\\"zz/\\\",\\\"timeline\\\":\\\"x\\\",\\\"tags\\\":[1],"
        "\\\"lag\\\":-9}\"}}}]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++) {
        struct cluster_view *v = &view;
        struct json_object *o = jparse(docs[i], strlen(docs[i]));
        char *out;
        *v = (struct cluster_view){.name = "pg", .now_s = NOW};
        cluster_take_pods(v, o);
        cluster_take_state(v, o);
        if (!json_object_is_type(o, json_type_object))
            assert_false(cluster_take_lease(v, o, NULL));
        json_object_put(o);
        cluster_conclude(v);
        assert_true(v->alarms_n > 0);
        out = render(render_cluster, OUTPUT_TABLE, v);
        free(out);
        out = render(render_topology, OUTPUT_YAML, v);
        free(out);
    }
}

static void clean__control_characters_are_blanks(void **state)
{
    char *out;
    size_t n;
    FILE *f = open_memstream(&out, &n);

    (void)state;
    put_clean(f, "a\033[31mb\nc\x7f");
    fclose(f);
    assert_string_equal(out, "a [31mb c ");
    free(out);
}

static void lsn__text_both_ways(void **state)
{
    char b[32];

    (void)state;
    assert_true(cluster_lsn("1A/28") == 0x1A00000028);
    assert_true(cluster_lsn("FFFFFFFF/FFFFFFFF") == UINT64_MAX);
    assert_true(cluster_lsn("1") == 0 && cluster_lsn("") == 0 && cluster_lsn("1/123456789") == 0);
    assert_string_equal(lsn_text(b, sizeof(b), 0x1A00000028), "1A/28");
    assert_string_equal(bytes_text(b, sizeof(b), 1536), "1.5 kB");
    assert_string_equal(bytes_text(b, sizeof(b), -1), "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__healthy),
        cmocka_unit_test(wide__adds_columns),
        cmocka_unit_test(names__one_per_line),
        cmocka_unit_test(topology__cascade_and_ring),
        cmocka_unit_test(json__stable_keys),
        cmocka_unit_test(yaml__nested_and_quoted),
        cmocka_unit_test(degraded__said_in_words),
        cmocka_unit_test(live_status__overrides_and_measures),
        cmocka_unit_test(silent_former_primary__not_taken_for_one),
        cmocka_unit_test(agent_documents__same_picture),
        cmocka_unit_test(hostile_objects__no_harm),
        cmocka_unit_test(clean__control_characters_are_blanks),
        cmocka_unit_test(lsn__text_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
