/* Documents: valid, complete, stable field names; metrics as promtool and OpenMetrics want them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/fd.h"
#include "base/jw.h"
#include "http/render.h"
#include "sample_status.h"

typedef bool (*render_fn)(const struct status *, int64_t, struct buf *);

static struct json_object *parse(const char *text, size_t len)
{
    struct json_tokener *tok = json_tokener_new();
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(tok, text, (int)len);
    if (json_tokener_get_error(tok) != json_tokener_success)
        fail_msg("%s in %.300s", json_tokener_error_desc(json_tokener_get_error(tok)), text);
    json_tokener_free(tok);
    return o;
}

static struct json_object *document(render_fn f, const struct status *s)
{
    struct buf b;
    buf_init(&b, RENDER_MAX);
    assert_true(f(s, SAMPLE_NOW, &b));
    assert_int_equal(b.data[b.len - 1], '\n');
    struct json_object *o = parse(buf_str(&b), b.len);
    buf_done(&b);
    return o;
}

static struct json_object *field(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(o, key, &v))
        fail_msg("no field %s", key);
    return v;
}

static const char *text(struct json_object *o, const char *key)
{
    return json_object_get_string(field(o, key));
}

static void json__writer__escapes_and_separates(void **state)
{
    (void)state;
    struct buf b;
    struct jw j;
    buf_init(&b, 1000);
    jw_init(&j, &b);
    jw_object(&j, NULL);
    jw_string(&j, "a\"", "\x01\n\t\\\"/\xc3\xa9\xff\xed\xa0\x80\xc0\x80\xf0\x9f\x98\x80\xe2\x82");
    jw_int(&j, "min", INT64_MIN);
    jw_uint(&j, "max", UINT64_MAX);
    jw_array(&j, "l");
    jw_bool(&j, NULL, true);
    jw_null(&j, NULL);
    jw_object(&j, NULL);
    jw_object_end(&j);
    jw_array_end(&j);
    jw_raw(&j, "r", "[1]");
    jw_object_end(&j);
#define BAD "\xEF\xBF\xBD"
    assert_string_equal(buf_str(&b),
                        "{\"a\\\"\":\"\\u0001\\n\\t\\\\\\\"/\xc3\xa9" BAD BAD BAD BAD BAD BAD
                        "\xf0\x9f\x98\x80" BAD BAD "\",\"min\":-9223372036854775808,"
                        "\"max\":18446744073709551615,\"l\":[true,null,{}],\"r\":[1]}");
    buf_done(&b);
}

static void status__primary__fields(void **state)
{
    (void)state;
    static struct status s;
    sample_primary(&s);
    struct json_object *o = document(render_status, &s);
    assert_string_equal(text(o, "role"), "primary");
    assert_string_equal(text(o, "state"), "running");
    assert_string_equal(text(o, "rule"), "serve");
    assert_int_equal(json_object_get_int64(field(o, "age_ms")), 20);
    assert_string_equal(text(o, "time"), "2025-11-21T04:40:00.123456Z");
    assert_string_equal(text(field(o, "xlog"), "location"), "1/6B374D48");
    assert_string_equal(text(o, "lsn"), "1/6B374D48");
    assert_string_equal(text(o, "volume"), "0000000000abcdef");
    assert_string_equal(text(o, "database_system_identifier"), "7412345678901234567");
    assert_int_equal(json_object_get_int64(field(o, "server_version")), 150004);
    struct json_object *l = field(o, "lease");
    assert_true(json_object_get_boolean(field(l, "valid")));
    assert_int_equal(json_object_get_int64(field(l, "fence_in_ms")), 6300);
    assert_int_equal(json_object_get_int64(field(l, "epoch")), 4);
    assert_int_equal(json_object_get_int64(field(l, "age_ms")), 700);
    assert_true(json_object_is_type(field(o, "sealed"), json_type_boolean));
    assert_false(json_object_get_boolean(field(o, "sealed")));
    json_object_put(o);
    s.sealed = 5;
    o = document(render_status, &s);
    assert_string_equal(text(o, "sealed"), "0000000000000005");
    json_object_put(o);
}

static void status__unknown__is_null_not_zero(void **state)
{
    (void)state;
    static struct status s;
    sample_replica(&s);
    s.receive_lag_bytes = s.replay_lag_bytes = -1;
    s.volume = s.system_id = 0;
    s.holder.s[0] = '\0';
    s.replayed_lsn = 0;
    struct json_object *o = document(render_status, &s);
    assert_null(field(o, "receive_lag"));
    assert_null(field(o, "volume"));
    assert_null(field(o, "database_system_identifier"));
    assert_null(field(field(o, "lease"), "holder"));
    assert_null(field(field(o, "lease"), "fence_in_ms"));
    assert_null(field(field(o, "xlog"), "replayed_location"));
    assert_null(field(o, "postmaster_start_time"));
    assert_true(json_object_get_boolean(field(o, "cluster_unlocked")));
    assert_string_equal(text(o, "sync"), "quorum");
    assert_true(json_object_get_boolean(field(o, "quorum_standby")));
    json_object_put(o);
}

static void documents__everything_full__valid_and_complete(void **state)
{
    (void)state;
    static struct status s;
    sample_full(&s);
    struct json_object *o = document(render_status, &s);
    assert_int_equal(json_object_array_length(field(o, "slots")), STATUS_SLOTS_MAX);
    assert_int_equal(json_object_array_length(field(o, "alarms")), STATUS_ALARMS_MAX);
    json_object_put(o);
    o = document(render_cluster, &s);
    struct json_object *m = field(o, "members");
    assert_int_equal(json_object_array_length(m), HA_MEMBERS_MAX);
    assert_string_equal(text(json_object_array_get_idx(m, 0), "lsn"), "FFFFFFFF/FFFFFFFF");
    assert_string_equal(text(o, "scope"), "pg");
    json_object_put(o);
    o = document(render_history, &s);
    struct json_object *h = field(o, "history");
    assert_int_equal(json_object_array_length(h), STATUS_HISTORY_MAX);
    assert_null(field(json_object_array_get_idx(h, 0), "lost_bytes"));
    assert_int_equal(
        json_object_get_int64(field(json_object_array_get_idx(h, 0), "write_gap_ms")), 320);
    json_object_put(o);
    o = document(render_explain, &s);
    assert_int_equal(json_object_array_length(field(o, "decisions")), STATUS_DECISIONS_MAX);
    json_object_put(o);
}

static void documents__empty_snapshot__valid(void **state)
{
    (void)state;
    static struct status s;
    static const render_fn all[] = {render_status, render_cluster, render_history, render_explain};
    for (size_t i = 0; i < 4; i++)
        json_object_put(document(all[i], &s));
    struct buf b;
    buf_init(&b, 10);
    sample_full(&s);
    assert_false(render_status(&s, SAMPLE_NOW, &b));
    buf_done(&b);
}

static void hist__value__falls_into_its_bucket(void **state)
{
    (void)state;
    struct status_hist h = {0};
    status_hist_add(&h, 500);
    status_hist_add(&h, 501);
    status_hist_add(&h, 5000000);
    status_hist_add(&h, 5000001);
    status_hist_add(&h, -3);
    assert_int_equal(h.bucket[0], 2);
    assert_int_equal(h.bucket[1], 1);
    assert_int_equal(h.bucket[STATUS_HIST_BUCKETS - 2], 1);
    assert_int_equal(h.bucket[STATUS_HIST_BUCKETS - 1], 1);
    assert_int_equal(h.count, 5);
    assert_int_equal(h.sum_us, 10001002);
}

static void render_text(const struct status *s, bool openmetrics, struct buf *b)
{
    struct http_server_stats h = {.by_class = {[2] = 7}};
    buf_init(b, RENDER_MAX);
    assert_true(render_metrics(s, &h, SAMPLE_NOW, openmetrics, b));
}

static void metrics__values__as_published(void **state)
{
    (void)state;
    static struct status s;
    struct buf b;
    sample_primary(&s);
    status_hist_add(&s.n.loop, 700);
    status_hist_add(&s.n.loop, 9000000);
    render_text(&s, false, &b);
    static const char *const lines[] = {
        "\npgha_role{role=\"primary\"} 1\n",
        "\npgha_role{role=\"replica\"} 0\n",
        "\npgha_lease_age_seconds 0.700\n",
        "\npgha_fence_deadline_seconds 6.300\n",
        "\npgha_loop_seconds_bucket{le=\"0.0005\"} 0\n",
        "\npgha_loop_seconds_bucket{le=\"0.001\"} 1\n",
        "\npgha_loop_seconds_bucket{le=\"+Inf\"} 2\n",
        "\npgha_loop_seconds_sum 9.000700\n",
        "\npgha_wal_lsn_bytes{kind=\"write\"} 6093753672\n",
        "\npgha_http_requests_total{code=\"2xx\"} 7\n",
        "\n# TYPE pgha_fences_total counter\n",
        "\npgha_rule_info{rule=\"serve\"} 1\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (!strstr(buf_str(&b), lines[i]))
            fail_msg("no line %s", lines[i]);
    assert_null(strstr(buf_str(&b), "pgha_wal_lsn_bytes{kind=\"replay\"}"));
    assert_null(strstr(buf_str(&b), "# EOF"));
    buf_done(&b);
    s.fence_deadline_ms = SAMPLE_NOW - 1500;
    render_text(&s, false, &b);
    assert_non_null(strstr(buf_str(&b), "\npgha_fence_deadline_seconds -1.500\n"));
    assert_non_null(strstr(buf_str(&b), "\npgha_lease_held 0\n"));
    buf_done(&b);
}

/* Runs promtool with the text on its stdin; its exit status, -1 when it is not installed. */
static int promtool(const struct buf *b)
{
    int p[2];
    struct err e;
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(p[0], 0);
        dup2(2, 1);
        close(p[0]);
        close(p[1]);
        execlp("promtool", "promtool", "check", "metrics", (char *)NULL);
        _exit(127);
    }
    close(p[0]);
    (void)fd_write_all(p[1], buf_str(b), b->len, &e);
    close(p[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

static void metrics__promtool__has_nothing_to_say(void **state)
{
    (void)state;
    static struct status s;
    void (*const fill[])(struct status *) = {sample_common, sample_primary, sample_replica,
                                             sample_full};
    for (size_t i = 0; i < 4; i++) {
        struct buf b;
        fill[i](&s);
        render_text(&s, false, &b);
        int rc = promtool(&b);
        buf_done(&b);
        if (rc < 0) {
            print_message("promtool (Debian package prometheus) is not installed\n");
            skip();
        }
        if (rc != 0)
            fail_msg("promtool: %d for snapshot %zu", rc, i);
    }
}

/* The rules of the OpenMetrics text format that we could break: one block per family, samples of a
 * counter end in _total while its family does not, the end mark is last and nothing is repeated. */
static void check_openmetrics(char *t)
{
    char family[128] = "", type[32] = "", seen[200][64];
    size_t families = 0;
    bool eof = false;
    for (char *line = strtok_r(t, "\n", &t); line; line = strtok_r(NULL, "\n", &t)) {
        char name[128], rest[32];
        assert_false(eof);
        if (strcmp(line, "# EOF") == 0) {
            eof = true;
        } else if (sscanf(line, "# TYPE %127s %31s", name, type) == 2) {
            assert_string_equal(name, family);
            assert_null(strstr(name, "_total"));
        } else if (sscanf(line, "# HELP %127s %31s", family, rest) == 2) {
            for (size_t i = 0; i < families; i++)
                assert_string_not_equal(seen[i], family);
            assert_true(families < 200 && str_copy(seen[families], 64, family));
            families++;
        } else {
            size_t n = strcspn(line, "{ ");
            size_t f = strlen(family);
            assert_true(n >= f && strncmp(line, family, f) == 0);
            if (strcmp(type, "counter") == 0)
                assert_int_equal(strncmp(line + f, "_total", 6), 0);
            else if (strcmp(type, "gauge") == 0)
                assert_int_equal(n, f);
        }
    }
    assert_true(eof && families > 30);
}

static void metrics__openmetrics__well_formed(void **state)
{
    (void)state;
    static struct status s;
    void (*const fill[])(struct status *) = {sample_common, sample_primary, sample_full};
    for (size_t i = 0; i < 3; i++) {
        struct buf b;
        fill[i](&s);
        render_text(&s, true, &b);
        check_openmetrics(b.data);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json__writer__escapes_and_separates),
        cmocka_unit_test(status__primary__fields),
        cmocka_unit_test(status__unknown__is_null_not_zero),
        cmocka_unit_test(documents__everything_full__valid_and_complete),
        cmocka_unit_test(documents__empty_snapshot__valid),
        cmocka_unit_test(hist__value__falls_into_its_bucket),
        cmocka_unit_test(metrics__values__as_published),
        cmocka_unit_test(metrics__promtool__has_nothing_to_say),
        cmocka_unit_test(metrics__openmetrics__well_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
