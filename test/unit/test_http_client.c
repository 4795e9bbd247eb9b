/* The HTTP client against good, slow, broken and hostile servers; one thread throughout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/str.h"
#include "fake_http.h"
#include "http/client.h"

struct fixture {
    struct loop *loop;
    struct http_client *client;
    struct fake_http server;
    const char *behave;
    struct fake_conn *stream;
    char seen_head[4096], seen_body[4096], seen_line[256];
    unsigned served;
};

static void on_request(struct fake_http *s, const struct fake_request *r)
{
    struct fixture *f = s->ctx;
    const char *b = f->behave;

    f->served++;
    str_copy(f->seen_head, sizeof(f->seen_head), r->head);
    str_copy(f->seen_body, sizeof(f->seen_body), r->body);
    str_copy(f->seen_line, sizeof(f->seen_line), r->line);
    if (str_eq(b, "ok")) {
        fake_json(r, 200, "{\"a\":1}");
    } else if (str_eq(b, "bytewise")) {
        r->conn->bytewise = true;
        fake_json(r, 200, "{\"a\":1}");
    } else if (str_eq(b, "retry-after")) {
        fake_reply(r, 429, "text/plain", "Retry-After: 3\r\n", "Too many requests");
    } else if (str_eq(b, "truncated")) {
        fake_raw(r, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        r->conn->close_after = true;
    } else if (str_eq(b, "reset")) {
        r->conn->reset_after = true;
        fake_drop(r->conn);
    } else if (str_eq(b, "garbage")) {
        fake_raw(r, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
        r->conn->close_after = true;
    } else if (str_eq(b, "long-header")) {
        fake_raw(r, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 2000; i++)
            fake_raw(r, "X-Fill: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        fake_raw(r, "Content-Length: 0\r\n\r\n");
    } else if (str_eq(b, "big")) {
        char big[4097];
        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        fake_json(r, 200, big);
    } else if (str_eq(b, "close-idle")) {
        fake_json(r, 200, "{}");
        r->conn->close_after = true;
    } else if (str_eq(b, "stream")) {
        fake_stream(r);
        f->stream = r->conn;
    } else {
        assert_string_equal(b, "silent");
    }
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    f.loop = loop_new();
    f.client = http_client_new("pghad/test");
    fake_http_init(&f.server, on_request, &f);
    struct loop_source a = http_client_source(f.client), b = fake_http_source(&f.server);
    loop_add(f.loop, &a);
    loop_add(f.loop, &b);
    f.behave = "ok";
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    http_client_free(f->client);
    fake_http_done(&f->server);
    loop_free(f->loop);
    return 0;
}

static struct http_request request_of(struct fixture *f)
{
    return (struct http_request){.channel = "lease",
                                 .method = "GET",
                                 .url = f->server.url,
                                 .deadline_ms = clock_boot_ms() + 5000,
                                 .body_max = 4096};
}

/* A call that is over when it is begun has no descriptor and no timer that would end the poll. */
static void http_start__over_at_once__the_next_turn_does_not_wait(void **state)
{
    struct fixture *f = *state;
    loop_turn(f->loop, 0);
    struct http_request r = request_of(f);
    r.url = "nothing://x";
    struct http_call *call = http_start(f->client, &r);
    assert_int_equal(http_call_state(call), HTTP_DONE);
    int64_t start = clock_boot_ms();
    loop_turn(f->loop, 20000);
    assert_true(clock_boot_ms() - start < 10000);
    start = clock_boot_ms();
    loop_turn(f->loop, 30);
    assert_true(clock_boot_ms() - start >= 29);
    http_call_free(call);
}

static const struct http_result *wait_done(struct fixture *f, struct http_call *c)
{
    int64_t limit = clock_boot_ms() + 10000;

    while (http_call_state(c) == HTTP_PENDING && clock_boot_ms() < limit)
        loop_turn(f->loop, 100);
    assert_int_equal(http_call_state(c), HTTP_DONE);
    return http_call_result(c);
}

static unsigned count_dir(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void get__whole_answer__everything_told(void **state)
{
    struct fixture *f = *state;
    const char *headers[] = {"Accept: application/json", "Authorization: Bearer abc", NULL};
    struct http_request r = request_of(f);
    int64_t before = clock_boot_ms();

    r.headers = headers;
    struct http_call *c = http_start(f->client, &r);
    const struct http_result *h = wait_done(f, c);
    assert_int_equal(h->err.kind, ERR_NONE);
    assert_int_equal(h->status, 200);
    assert_string_equal(buf_str(&h->body), "{\"a\":1}");
    assert_string_equal(h->content_type, "application/json");
    assert_true(h->sent && h->sent_ms >= before && h->done_ms >= h->sent_ms);
    assert_non_null(strstr(f->seen_head, "Authorization: Bearer abc"));
    assert_non_null(strstr(f->seen_head, "User-Agent: pghad/test"));
    assert_null(strcasestr(f->seen_head, "Accept-Encoding"));
    assert_null(strcasestr(f->seen_head, "Expect"));
    http_call_free(c);
}

static void put__body__sent_whole_without_expect(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    r.method = "PUT";
    r.body = "{\"b\":2}";
    r.body_len = strlen(r.body);
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    assert_string_equal(f->seen_body, "{\"b\":2}");
    assert_true(str_starts(f->seen_line, "PUT / HTTP/1.1"));
    assert_null(strcasestr(f->seen_head, "\nExpect"));
    http_call_free(c);
}

static void calls__same_channel__connection_kept(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++) {
        struct http_request r = request_of(f);
        struct http_call *c = http_start(f->client, &r);
        assert_int_equal(wait_done(f, c)->status, 200);
        http_call_free(c);
    }
    assert_int_equal(http_client_connects(f->client), 1);
    assert_int_equal(f->server.accepted, 1);
}

static void calls__other_channel__connection_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    f->behave = "silent";
    struct http_call *stuck = http_start(f->client, &r);
    while (f->served == 0)
        loop_turn(f->loop, 100);
    f->behave = "ok";
    r.channel = "misc";
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    assert_int_equal(http_call_state(stuck), HTTP_PENDING);
    assert_int_equal(f->server.accepted, 2);
    http_call_free(c);
    http_call_free(stuck);
    /* Idle ones are not shared either. */
    f->behave = "ok";
    for (int i = 0; i < 4; i++) {
        r = request_of(f);
        r.channel = i % 2 ? "third" : "fourth";
        c = http_start(f->client, &r);
        assert_int_equal(wait_done(f, c)->status, 200);
        http_call_free(c);
    }
    assert_int_equal(f->server.accepted, 4);
}

/* Two idle connections, both half open: after the first has cost a deadline the second is not tried. */
static void call__after_failure__idle_connections_not_trusted(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    struct http_call *c[2];

    for (int i = 0; i < 2; i++)
        c[i] = http_start(f->client, &r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wait_done(f, c[i])->status, 200);
        http_call_free(c[i]);
    }
    assert_int_equal(f->server.accepted, 2);
    f->behave = "silent";
    r.deadline_ms = clock_boot_ms() + 50;
    c[0] = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c[0])->err.kind, ERR_TIMEOUT);
    http_call_free(c[0]);
    assert_int_equal(f->server.accepted, 2);
    f->behave = "ok";
    r = request_of(f);
    c[0] = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c[0])->status, 200);
    http_call_free(c[0]);
    assert_int_equal(f->server.accepted, 3);
}

static void put__large_body__not_announced(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    size_t len = 1536 * 1024; /* libcurl asks first above 1 MiB, and then waits a second */
    char *body = malloc(len);

    assert_non_null(body);
    memset(body, 'x', len);
    r.method = "PUT";
    r.body = body;
    r.body_len = len;
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    assert_null(strcasestr(f->seen_head, "Expect"));
    http_call_free(c);
    free(body);
}

static void call__deadline__timeout_and_fresh_connection(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    f->behave = "silent";
    /* Long enough that a busy machine sends the request before the deadline. */
    r.deadline_ms = clock_boot_ms() + 500;
    struct http_call *c = http_start(f->client, &r);
    const struct http_result *h = wait_done(f, c);
    assert_int_equal(h->err.kind, ERR_TIMEOUT);
    assert_true(h->sent);
    assert_int_equal(h->status, 0);
    assert_true(h->done_ms >= r.deadline_ms);
    http_call_free(c);
    f->behave = "ok";
    r = request_of(f);
    c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    assert_int_equal(f->server.accepted, 2);
    http_call_free(c);
}

static void call__nobody_listens__transient_and_not_sent(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    char url[64];

    /* A port that was ours a moment ago. */
    struct fake_http gone;
    fake_http_init(&gone, on_request, f);
    str_format(url, sizeof(url), "%s", gone.url);
    fake_http_done(&gone);
    r.url = url;
    struct http_call *c = http_start(f->client, &r);
    const struct http_result *h = wait_done(f, c);
    assert_int_equal(h->err.kind, ERR_TRANSIENT);
    assert_false(h->sent);
    assert_true(h->err.msg[0] != '\0');
    http_call_free(c);
}

static void call__bad_answers__classified(void **state)
{
    static const struct {
        const char *behave;
        enum err_kind kind;
    } rows[] = {
        {"truncated", ERR_TRANSIENT}, {"reset", ERR_TRANSIENT}, {"garbage", ERR_CORRUPT},
        {"long-header", ERR_CORRUPT}, {"big", ERR_NONE},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_request r = request_of(f);
        f->behave = rows[i].behave;
        struct http_call *c = http_start(f->client, &r);
        const struct http_result *h = wait_done(f, c);
        if (h->err.kind != rows[i].kind)
            fail_msg("%s: %s (%s)", rows[i].behave, err_kind_name(h->err.kind), h->err.msg);
        assert_true(h->sent);
        http_call_free(c);
    }
}

static void call__longer_than_allowed__corrupt(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    f->behave = "big";
    r.body_max = 100;
    struct http_call *c = http_start(f->client, &r);
    const struct http_result *h = wait_done(f, c);
    assert_int_equal(h->err.kind, ERR_CORRUPT);
    assert_true(h->body.len <= 100);
    http_call_free(c);
}

static void call__bytewise_and_retry_after__understood(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    f->behave = "bytewise";
    struct http_call *c = http_start(f->client, &r);
    assert_string_equal(buf_str(&wait_done(f, c)->body), "{\"a\":1}");
    http_call_free(c);
    f->behave = "retry-after";
    r.fresh = true;
    c = http_start(f->client, &r);
    const struct http_result *h = wait_done(f, c);
    assert_int_equal(h->status, 429);
    assert_int_equal(h->retry_after_s, 3);
    assert_string_equal(h->content_type, "text/plain");
    http_call_free(c);
}

static void call__idle_connection_closed_by_server__works(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        struct http_request r = request_of(f);
        f->behave = "close-idle";
        struct http_call *c = http_start(f->client, &r);
        assert_int_equal(wait_done(f, c)->status, 200);
        http_call_free(c);
        loop_turn(f->loop, 10);
    }
}

static void stream__chunks__consumed_while_open(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    f->behave = "stream";
    r.stream = true;
    r.deadline_ms = 0;
    struct http_call *c = http_start(f->client, &r);
    int64_t limit = clock_boot_ms() + 5000;
    while (http_call_result(c)->status == 0 && clock_boot_ms() < limit)
        loop_turn(f->loop, 100);
    assert_int_equal(http_call_result(c)->status, 200); /* told before any body */
    for (int i = 0; i < 3; i++) {
        char text[1500];
        memset(text, 'a' + i, sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        fake_chunk(f->stream, text);
        while (http_call_result(c)->body.len < sizeof(text) - 1 && clock_boot_ms() < limit)
            loop_turn(f->loop, 100);
        assert_string_equal(buf_str(&http_call_result(c)->body), text);
        http_call_consume(c, sizeof(text) - 1); /* 3 * 1499 > body_max would not fit otherwise */
    }
    fake_end(f->stream);
    assert_int_equal(wait_done(f, c)->err.kind, ERR_NONE);
    http_call_free(c);
}

static void start__what_cannot_be_begun__done_at_once(void **state)
{
    static const char *const urls[] = {"ftp://127.0.0.1/", "https://api.example/", "nonsense", "",
                                       "http://127.0.0.1:99999/"};
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    struct http_call *c;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        r.url = urls[i];
        c = http_start(f->client, &r);
        assert_int_equal(http_call_state(c), HTTP_DONE);
        assert_int_equal(http_call_result(c)->err.kind, ERR_INVALID);
        assert_false(http_call_result(c)->sent);
        http_call_free(c);
    }
    r = request_of(f);
    r.deadline_ms = clock_boot_ms() - 1;
    c = http_start(f->client, &r);
    assert_int_equal(http_call_state(c), HTTP_DONE);
    http_call_free(c);
    r.deadline_ms = 0;
    c = http_start(f->client, &r);
    assert_int_equal(http_call_result(c)->err.kind, ERR_BUG);
    http_call_free(c);
    assert_int_equal(f->served, 0);
}

static void start__name_with_connect_to__dialled_there(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    char to[64];

    str_format(to, sizeof(to), "127.0.0.1:%u", f->server.port);
    r.url = "http://kubernetes.default.svc/x";
    r.connect_to = to;
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    assert_non_null(strstr(f->seen_head, "Host: kubernetes.default.svc"));
    http_call_free(c);
}

static void start__proxy_in_environment__not_obeyed(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    setenv("http_proxy", "http://127.0.0.1:1", 1);
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    unsetenv("http_proxy");
    http_call_free(c);
}

static void start__proxy_of_environment__asked_but_for_loopback(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    char proxy[64];

    str_format(proxy, sizeof(proxy), "http://127.0.0.1:%u", f->server.port);
    setenv("http_proxy", proxy, 1);
    r.proxy_of_env = true;
    r.url = "http://192.0.2.1/x";
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    assert_non_null(strstr(f->seen_line, "GET http://192.0.2.1/x "));
    http_call_free(c);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    r = request_of(f);
    r.proxy_of_env = true;
    c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    http_call_free(c);
    r.proxy_of_env = false;
    r.url = "http://192.0.2.1/x";
    r.proxy = proxy;
    setenv("no_proxy", "192.0.2.1", 1);
    c = http_start(f->client, &r); /* named: the environment cannot take it away */
    assert_int_equal(wait_done(f, c)->status, 200);
    http_call_free(c);
    unsetenv("no_proxy");
    unsetenv("http_proxy");
}

static void start__unix_socket__used(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/test_http_client.XXXXXX";

    assert_non_null(mkdtemp(dir));
    assert_true(str_format(a.sun_path, sizeof(a.sun_path), "%s/s", dir));
    close(f->server.fd);
    f->server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->server.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->server.fd, 4), 0);
    r.url = "http://localhost/status";
    r.unix_socket = a.sun_path;
    struct http_call *c = http_start(f->client, &r);
    assert_int_equal(wait_done(f, c)->status, 200);
    http_call_free(c);
    unlink(a.sun_path);
    rmdir(dir);
}

static void sockets__close_on_exec_and_one_thread(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);

    f->behave = "silent";
    struct http_call *c = http_start(f->client, &r);
    while (f->served == 0)
        loop_turn(f->loop, 100);
    unsigned internet = 0;
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0 || ss.ss_family != AF_INET)
            continue;
        internet++;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    assert_int_equal(internet, 3); /* listener, and both ends of the connection */
    assert_int_equal(count_dir("/proc/self/task"), 1);
    http_call_free(c);
}

static void free__pending_calls__no_leak(void **state)
{
    struct fixture *f = *state;
    struct http_request r = request_of(f);
    struct http_call *c[3];

    f->behave = "silent";
    for (int i = 0; i < 3; i++)
        c[i] = http_start(f->client, &r);
    loop_turn(f->loop, 10);
    http_call_free(c[1]);
    http_client_free(f->client);
    f->client = NULL;
    assert_int_equal(http_call_state(c[0]), HTTP_DONE);
    http_call_free(c[0]);
    http_call_free(c[2]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(get__whole_answer__everything_told),
        T(http_start__over_at_once__the_next_turn_does_not_wait),
        T(put__body__sent_whole_without_expect),
        T(calls__same_channel__connection_kept),
        T(calls__other_channel__connection_of_its_own),
        T(call__after_failure__idle_connections_not_trusted),
        T(put__large_body__not_announced),
        T(call__deadline__timeout_and_fresh_connection),
        T(call__nobody_listens__transient_and_not_sent),
        T(call__bad_answers__classified),
        T(call__longer_than_allowed__corrupt),
        T(call__bytewise_and_retry_after__understood),
        T(call__idle_connection_closed_by_server__works),
        T(stream__chunks__consumed_while_open),
        T(start__what_cannot_be_begun__done_at_once),
        T(start__name_with_connect_to__dialled_there),
        T(start__proxy_in_environment__not_obeyed),
        T(start__proxy_of_environment__asked_but_for_loopback),
        T(start__unix_socket__used),
        T(sockets__close_on_exec_and_one_thread),
        T(free__pending_calls__no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
