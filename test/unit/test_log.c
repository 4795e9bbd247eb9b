/* Lines are read back from a pipe in place of stderr. json-c judges whether they are JSON. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"

static int real_stderr;
static int reader;
static char got[300000];

static int take_stderr(void **state)
{
    (void)state;
    int p[2];
    real_stderr = dup(STDERR_FILENO);
    if (pipe(p) != 0 || dup2(p[1], STDERR_FILENO) < 0 || !fd_set_nonblock(p[0], true))
        return -1;
    close(p[1]);
    reader = p[0];
    log_setup("agent", LOG_INFO);
    log_set_member("");
    return 0;
}

static int give_stderr(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(reader);
    log_setup("agent", LOG_INFO);
    return 0;
}

static const char *lines(void)
{
    size_t len = 0;
    ssize_t n;
    while ((n = read(reader, got + len, sizeof(got) - 1 - len)) > 0)
        len += (size_t)n;
    got[len] = '\0';
    return got;
}

/* The only line there is, parsed; the caller puts it. */
static struct json_object *one(void)
{
    const char *text = lines();
    const char *end = strchr(text, '\n');
    assert_non_null(end);
    assert_string_equal(end + 1, "");
    struct json_object *o = json_tokener_parse(text);
    if (!o)
        fail_msg("not JSON: %s", text);
    return o;
}

static const char *field(struct json_object *o, const char *key)
{
    struct json_object *v;
    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "(none)";
}

static void log_event__fields__one_json_object(void **state)
{
    (void)state;
    log_set_member("db-0");
    log_event(LOG_WARNING, "lease-lost", "by 409", LOG_S("holder", "db-1"), LOG_I("epoch", -7));
    struct json_object *o = one();
    assert_string_equal(field(o, "level"), "warning");
    assert_string_equal(field(o, "source"), "agent");
    assert_string_equal(field(o, "member"), "db-0");
    assert_string_equal(field(o, "event"), "lease-lost");
    assert_string_equal(field(o, "msg"), "by 409");
    assert_string_equal(field(o, "holder"), "db-1");
    assert_string_equal(field(o, "epoch"), "-7");
    assert_int_equal(strlen(field(o, "ts")), 27);
    json_object_put(o);
}

static void log_event__below_level__nothing(void **state)
{
    (void)state;
    log_event(LOG_DEBUG, "a", "b");
    assert_string_equal(lines(), "");
    log_set_level(LOG_ERROR);
    log_event(LOG_WARNING, "a", "b");
    assert_string_equal(lines(), "");
    log_event(LOG_ERROR, "a", "b");
    json_object_put(one());
}

static void log_event__hostile_text__escaped(void **state)
{
    (void)state;
    const char *bad = "q\" b\\ n\n t\t \001 \177 \xff \xc3\xa4 \xc0\xaf \xed\xa0\x80 \xf0\x9f\x98\x80 \xe2\x82";
    log_event(LOG_INFO, "x", bad, LOG_S("k\"ey", "v"));
    assert_null(strchr(lines(), '\001'));
    struct json_object *o = json_tokener_parse(got);
    assert_non_null(o);
    assert_string_equal(field(o, "msg"),
                        "q\" b\\ n\n t\t \001 \177 \xef\xbf\xbd \xc3\xa4 \xef\xbf\xbd\xef\xbf\xbd "
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x98\x80 \xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(field(o, "k\"ey"), "v");
    json_object_put(o);
}

/* Every length around the limit: the line stays JSON, stays within the limit, and says "cut". */
static void log_event__any_length__json_within_8_kib(void **state)
{
    (void)state;
    static char text[9000];
    int cut = 0;
    for (size_t len = 7900; len < 8300; len++) {
        memset(text, 'x', len);
        if (len % 3 == 0)
            text[len - 1] = '\n';
        text[len] = '\0';
        log_event(LOG_INFO, "x", text, LOG_S("after", "y"), LOG_I("n", INT64_MIN));
        struct json_object *o = one();
        assert_true(strlen(got) <= 8192);
        bool is_cut = strcmp(field(o, "cut"), "true") == 0;
        bool whole = strcmp(field(o, "n"), "-9223372036854775808") == 0;
        assert_true(is_cut || whole);
        cut += is_cut;
        json_object_put(o);
    }
    assert_true(cut > 100 && cut < 399);
}

static void log_event__full_pipe__dropped_counted_and_told_later(void **state)
{
    (void)state;
    uint64_t before = log_dropped();
    for (int i = 0; i < 3000; i++)
        log_event(LOG_INFO, "flood", "0123456789012345678901234567890123456789");
    uint64_t dropped = log_dropped() - before;
    assert_true(dropped > 100);
    lines();
    log_event(LOG_INFO, "after", "x");
    struct json_object *o = json_tokener_parse(lines());
    assert_non_null(o);
    assert_string_equal(field(o, "event"), "after");
    char want[32];
    snprintf(want, sizeof(want), "%llu", (unsigned long long)log_dropped());
    assert_string_equal(field(o, "dropped_lines"), want);
    json_object_put(o);
    log_event(LOG_INFO, "again", "x");
    o = one();
    assert_string_equal(field(o, "dropped_lines"), "(none)");
    json_object_put(o);
}

/* Lines over PIPE_BUF may be written in part; what follows must be whole lines again. */
static void log_event__torn_line__next_starts_on_a_line_of_its_own(void **state)
{
    (void)state;
    static char text[7001];
    memset(text, 'y', sizeof(text) - 1);
    for (int i = 0; i < 40; i++)
        log_event(LOG_INFO, "big", text);
    char *first = strdup(lines());
    log_event(LOG_INFO, "small", "z");
    const char *second = lines();
    assert_int_not_equal(strlen(first), 0);
    bool torn = first[strlen(first) - 1] != '\n';
    assert_int_equal(second[0], torn ? '\n' : '{');
    struct json_object *o = json_tokener_parse(second);
    assert_non_null(o);
    json_object_put(o);
    free(first);
}

/* The stream is shared with postgres: its description must stay blocking. */
static void log_setup__pipe__shared_description_untouched(void **state)
{
    (void)state;
    log_event(LOG_INFO, "a", "b");
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

static void log_event__full_socket__does_not_block(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(dup2(pair[1], STDERR_FILENO) >= 0);
    log_setup("agent", LOG_INFO);
    uint64_t before = log_dropped();
    for (int i = 0; i < 5000; i++)
        log_event(LOG_INFO, "flood", "0123456789012345678901234567890123456789");
    assert_true(log_dropped() > before);
    close(pair[0]);
    close(pair[1]);
    log_event(LOG_INFO, "to-nobody", "no SIGPIPE");
}

static void log_record__object__embedded(void **state)
{
    (void)state;
    log_record("postgres", "{\"pid\":5,\"message\":\"a\\nb\"}\n");
    struct json_object *o = one(), *r, *pid;
    assert_true(json_object_object_get_ex(o, "record", &r));
    assert_true(json_object_object_get_ex(r, "pid", &pid));
    assert_int_equal(json_object_get_int(pid), 5);
    json_object_put(o);
}

static void log_record__text_or_too_long__as_string(void **state)
{
    (void)state;
    log_record("postgres", "FATAL: \"x\"");
    struct json_object *o = one();
    assert_string_equal(field(o, "text"), "FATAL: \"x\"");
    json_object_put(o);
    static char big[10000];
    memset(big, 'a', sizeof(big) - 1);
    memcpy(big, "{\"m\":\"", 6);
    memcpy(big + sizeof(big) - 3, "\"}", 2);
    log_record("postgres", big);
    o = one();
    assert_string_equal(field(o, "cut"), "true");
    assert_int_equal(strncmp(field(o, "text"), "{\"m\":\"aaa", 9), 0);
    json_object_put(o);
}

#define T(f) cmocka_unit_test_setup_teardown(f, take_stderr, give_stderr)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(log_event__fields__one_json_object),
        T(log_event__below_level__nothing),
        T(log_event__hostile_text__escaped),
        T(log_event__any_length__json_within_8_kib),
        T(log_event__full_pipe__dropped_counted_and_told_later),
        T(log_event__torn_line__next_starts_on_a_line_of_its_own),
        T(log_setup__pipe__shared_description_untouched),
        T(log_event__full_socket__does_not_block),
        T(log_record__object__embedded),
        T(log_record__text_or_too_long__as_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
