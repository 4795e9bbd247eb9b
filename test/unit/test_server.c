/* The REST server over real sockets: methods, codes, keep-alive, garbage, slow and many clients. */
#include "http_raw.h"

#include <json-c/json.h>

#include "http/server.h"
#include "sample_status.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ADDRESS_SANITIZER
#endif
#endif

struct fixture {
    struct loop *loop;
    struct http_server *server;
    uint16_t port;
};

static struct raw answer; /* large */

static void publish(struct fixture *f, void (*fill)(struct status *), int64_t age_ms)
{
    static struct status s;
    fill(&s);
    int64_t shift = clock_boot_ms() - SAMPLE_NOW;
    s.published_ms = SAMPLE_NOW + shift - age_ms;
    s.lease_seen_ms += shift;
    if (s.fence_deadline_ms)
        s.fence_deadline_ms += shift + 60000;
    http_server_publish(f->server, &s);
}

static void start(struct fixture *f, const struct http_server_opts *o)
{
    struct err e;
    f->loop = loop_new();
    f->server = http_server_new(o, &e);
    if (!f->server)
        fail_msg("%s", e.msg);
    f->port = http_server_port(f->server);
    struct loop_source s = http_server_source(f->server);
    loop_add(f->loop, &s);
    publish(f, sample_primary, 0);
}

static void stop(struct fixture *f)
{
    http_server_free(f->server);
    loop_free(f->loop);
}

static const struct http_server_opts plain = {.listen = "127.0.0.1:0"};

static int request(struct fixture *f, const char *text)
{
    return raw_request(f->loop, &answer, f->port, text);
}

static int get(struct fixture *f, const char *path)
{
    return raw_get(f->loop, &answer, f->port, path);
}

static void parses(const char *body)
{
    struct json_object *o = json_tokener_parse(body);
    if (!o)
        fail_msg("not JSON: %.200s", body);
    json_object_put(o);
}

static void methods__get_head_options__alike(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    assert_int_equal(request(&f, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    parses(raw_body(&answer));
    assert_non_null(strstr(answer.data, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(answer.data, "Cache-Control: no-store\r\n"));
    assert_int_equal(request(&f, "OPTIONS /primary HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_int_equal(request(&f, "OPTIONS /primary HTTP/1.0\r\n\r\n"), 200);
    assert_int_equal(request(&f, "HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(raw_body(&answer), "");
    assert_int_equal(request(&f, "HEAD /replica HTTP/1.1\r\nHost: x\r\n\r\n"), 503);
    assert_int_equal(request(&f, "OPTIONS /replica HTTP/1.1\r\nHost: x\r\n\r\n"), 503);
    assert_int_equal(get(&f, "/replica"), 503);
    parses(raw_body(&answer));
    stop(&f);
}

static bool has_ipv6(void)
{
    char text[4096] = "";
    FILE *f = fopen("/proc/net/if_inet6", "re");
    if (f) {
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        fclose(f);
    }
    return strstr(text, "00000000000000000000000000000001") != NULL;
}

static void no_address__answers_on_both_families(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = ":0"};
    start(&f, &o);
    assert_int_equal(get(&f, "/primary"), 200);
    if (has_ipv6()) { /* containers often have none, and then the other half is the test */
        answer = (struct raw){.fd = raw_connect_v6(f.port)};
        raw_send(&answer, "GET /primary HTTP/1.1\r\nHost: [::1]:8008\r\n\r\n");
        raw_wait(f.loop, &answer, true);
        assert_int_equal(raw_status(&answer), 200);
        raw_close(&answer);
    }
    stop(&f);
}

static void methods__others__405_with_allow(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    static const char *const texts[] = {
        "POST /primary HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "PUT /config HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        "DELETE /status HTTP/1.1\r\nHost: x\r\n\r\n",
        "PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "FROB /status HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(request(&f, texts[i]), 405);
        assert_non_null(strstr(answer.data, "Allow: GET, HEAD, OPTIONS\r\n"));
    }
    assert_int_equal(request(&f, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
                     404);
    stop(&f);
}

static void paths__documents_and_unknown__codes(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    static const char *const json[] = {"/status", "/patroni",   "/cluster",
                                       "/history", "/explain", "/status?x=y"};
    for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++) {
        assert_int_equal(get(&f, json[i]), 200);
        parses(raw_body(&answer));
    }
    static const char *const none[] = {"/nothing", "/primary/x", "/%00", "/..",
                                       "/favicon.ico", "/status%00"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(get(&f, none[i]), 404);
    assert_int_equal(get(&f, "/%73tatus"), 200);
    assert_int_equal(get(&f, "/config"), 503);
    http_server_set_config(f.server, "{\"a\":1}");
    assert_int_equal(get(&f, "/config"), 200);
    assert_string_equal(raw_body(&answer), "{\"a\":1}");
    stop(&f);
}

static void query__parameters__reach_the_check(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    publish(&f, sample_replica, 0);
    assert_int_equal(get(&f, "/replica?lag=1MB"), 200);
    assert_int_equal(get(&f, "/replica?lag=1"), 503);
    assert_int_equal(get(&f, "/replica?lag=1&mode=write"), 200);
    assert_int_equal(get(&f, "/replica?lag=many"), 400);
    parses(raw_body(&answer));
    assert_int_equal(get(&f, "/replica?tag_zone=a"), 503);
    assert_int_equal(get(&f, "/status?lag=many"), 200);
    stop(&f);
}

static void metrics__accept__chooses_the_format(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    assert_int_equal(get(&f, "/metrics"), 200);
    assert_non_null(strstr(answer.data, "Content-Type: text/plain; version=0.0.4"));
    assert_null(strstr(answer.data, "# EOF"));
    assert_int_equal(request(&f, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: "
                                 "application/openmetrics-text;version=1.0.0;q=0.5,*/*\r\n\r\n"),
                     200);
    assert_non_null(strstr(answer.data, "Content-Type: application/openmetrics-text; version=1.0"));
    assert_non_null(strstr(answer.data, "# EOF\n"));
    stop(&f);
}

static void snapshot__before_the_first__503(void **state)
{
    (void)state;
    struct err e;
    struct fixture f = {.loop = loop_new(), .server = http_server_new(&plain, &e)};
    struct loop_source s = http_server_source(f.server);
    loop_add(f.loop, &s);
    f.port = http_server_port(f.server);
    assert_int_equal(get(&f, "/startup"), 503);
    assert_int_equal(get(&f, "/status"), 503);
    assert_int_equal(get(&f, "/metrics"), 503);
    publish(&f, sample_replica, 0);
    assert_int_equal(get(&f, "/startup"), 200);
    stop(&f);
}

static void liveness__old_snapshot__fails_and_shows_its_age(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    assert_int_equal(get(&f, "/liveness"), 200);
    publish(&f, sample_primary, 60000);
    assert_int_equal(get(&f, "/liveness"), 503);
    const char *age = strstr(raw_body(&answer), "\"age_ms\":");
    assert_non_null(age);
    assert_true(strtol(age + 9, NULL, 10) >= 60000);
    stop(&f);
}

static void keepalive__many_requests__one_connection(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    raw_open(&answer, f.port);
    for (int i = 0; i < 100; i++) {
        answer.len = 0;
        answer.data[0] = '\0';
        raw_send(&answer, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n");
        raw_wait(f.loop, &answer, true);
        assert_false(answer.closed);
        assert_int_equal(raw_status(&answer), 200);
    }
    assert_int_equal(http_server_stats(f.server).connections, 1);
    assert_int_equal(http_server_stats(f.server).requests, 100);
    raw_close(&answer);
    stop(&f);
}

/* Two requests in one segment: both are answered, in order. */
static void keepalive__pipelined__all_answered(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    raw_open(&answer, f.port);
    raw_send(&answer, "HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n"
                      "HEAD /replica HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (!answer.closed && clock_boot_ms() < until) {
        raw_take(&answer);
        loop_turn(f.loop, 5);
    }
    assert_true(answer.closed);
    assert_int_equal(raw_status(&answer), 200);
    assert_non_null(strstr(answer.data, "HTTP/1.1 503"));
    raw_close(&answer);
    stop(&f);
}

static void garbage__each_kind__refused_and_server_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0", .request_ms = 300, .idle_ms = 300};
    start(&f, &o);
    static char big[40000], many[40000], uri[20000], noise[4096];
    size_t n = (size_t)snprintf(big, sizeof(big), "GET /primary HTTP/1.1\r\nHost: x\r\nX: ");
    memset(big + n, 'a', sizeof(big) - n - 5);
    memcpy(big + sizeof(big) - 5, "\r\n\r\n", sizeof("\r\n\r\n"));
    n = (size_t)snprintf(many, sizeof(many), "GET /primary HTTP/1.1\r\nHost: x\r\n");
    while (n < sizeof(many) - 20)
        n += (size_t)snprintf(many + n, sizeof(many) - n, "X%zu: y\r\n", n);
    memcpy(many + n, "\r\n", sizeof("\r\n"));
    n = (size_t)snprintf(uri, sizeof(uri), "GET /");
    memset(uri + n, 'a', sizeof(uri) - n - 40);
    memcpy(uri + sizeof(uri) - 40, " HTTP/1.1\r\nHost: x\r\n\r\n", sizeof(" HTTP/1.1\r\nHost: x\r\n\r\n"));
    unsigned seed = 7;
    for (size_t i = 0; i < sizeof(noise) - 1; i++) {
        seed = seed * 1103515245 + 12345;
        noise[i] = (char)((seed >> 16) % 255 + 1);
    }
    const char *const texts[] = {
        big, many, uri, noise, "\r\n\r\n\r\n", "GET\r\n\r\n", "GET /primary\r\n\r\n",
        "GET /primary HTTP/9.9\r\n\r\n", "GET /primary HTTP/1.1\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET /primary HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello tls",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        raw_open(&answer, f.port);
        struct err e;
        /* The server may close before everything is sent. */
        (void)fd_write_all(answer.fd, texts[i], strlen(texts[i]), &e);
        (void)shutdown(answer.fd, SHUT_WR);
        int64_t until = clock_boot_ms() + RAW_WAIT_MS;
        while (!answer.closed && clock_boot_ms() < until) {
            raw_take(&answer);
            loop_turn(f.loop, 5);
        }
        if (!answer.closed)
            fail_msg("garbage %zu was not answered by a close", i);
        int code = raw_status(&answer);
        if (i < 3 && (code < 400 || code > 499))
            fail_msg("garbage %zu: status %d", i, code);
        raw_close(&answer);
        assert_int_equal(get(&f, "/primary"), 200);
    }
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (http_server_stats(f.server).connections > 0 && clock_boot_ms() < until)
        loop_turn(f.loop, 5);
    assert_int_equal(http_server_stats(f.server).connections, 0);
    stop(&f);
}

static void turn_until_closed(struct fixture *f, int fd, int64_t within_ms)
{
    char c;
    int64_t until = clock_boot_ms() + within_ms;
    while (clock_boot_ms() < until) {
        ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return;
        loop_turn(f->loop, 20);
    }
    fail_msg("still open after %lld ms", (long long)within_ms);
}

/* A byte every few milliseconds resets no clock: the whole request must be there in time. */
static void slow__dripping_client__closed_at_the_deadline(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0", .request_ms = 150, .idle_ms = 300};
    start(&f, &o);
    int fd = raw_connect(f.port);
    int64_t begun = clock_boot_ms(), last = 0;
    bool open = true;
    while (open && clock_boot_ms() < begun + RAW_WAIT_MS) {
        if (clock_boot_ms() - last > 10) {
            open = send(fd, "G", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 || errno == EAGAIN;
            last = clock_boot_ms();
        }
        char c;
        ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            open = false;
        loop_turn(f.loop, 5);
    }
    assert_false(open);
    assert_true(clock_boot_ms() - begun >= 100);
    assert_int_equal(http_server_stats(f.server).dropped, 1);
    fd_close(&fd);
    stop(&f);
}

static void slow__idle_after_a_request__closed_later(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0", .request_ms = 100, .idle_ms = 400};
    start(&f, &o);
    raw_open(&answer, f.port);
    raw_send(&answer, "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_wait(f.loop, &answer, true);
    int64_t begun = clock_boot_ms();
    turn_until_closed(&f, answer.fd, RAW_WAIT_MS);
    assert_true(clock_boot_ms() - begun >= 300);
    raw_close(&answer);
    stop(&f);
}

/* Half of the places at most for one address: the other clients are served at once. */
static void slow__many_silent_clients__others_are_served(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0", .connections_max = 16};
    int fd[40];
    start(&f, &o);
    for (int i = 0; i < 40; i++) {
        struct sockaddr_in me = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000002)};
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons(f.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const void *a = &me, *b = &to;
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd[i], a, sizeof(me)), 0);
        assert_int_equal(connect(fd[i], b, sizeof(to)), 0);
        assert_int_equal(send(fd[i], "GET /pri", 8, MSG_NOSIGNAL), 8);
        loop_turn(f.loop, 0);
    }
    int64_t begun = clock_boot_ms();
    assert_int_equal(get(&f, "/primary"), 200);
    assert_true(clock_boot_ms() - begun < 3000);
    /* Eight of them, and ours as long as its end has not been seen. */
    assert_true(http_server_stats(f.server).connections <= 9);
    for (int i = 0; i < 40; i++)
        fd_close(&fd[i]);
    stop(&f);
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* 512 connections from 64 addresses, each with as much of a request as the server takes: places and
 * memory are bounded, and who comes with a whole request is served. */
static void slow__512_connections__bounded_memory(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0"};
    static int fd[512];
    static char part[6000];
    start(&f, &o);
    assert_int_equal(get(&f, "/primary"), 200);
    memset(part, 'x', sizeof(part) - 1);
    memcpy(part, "GET /primary HTTP/1.1\r\nX: ", 26);
    long before = resident_kb();
    for (int i = 0; i < 512; i++) {
        struct sockaddr_in me = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x7F000100 + (uint32_t)i % 64)};
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons(f.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const void *a = &me, *b = &to;
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(fd[i], a, sizeof(me)), 0);
        (void)connect(fd[i], b, sizeof(to)); /* beyond the backlog it stays under way */
        (void)send(fd[i], part, sizeof(part) - 1, MSG_NOSIGNAL);
        loop_turn(f.loop, 0);
        assert_true(http_server_stats(f.server).connections <= 256);
    }
    int64_t begun = clock_boot_ms();
    assert_int_equal(get(&f, "/primary"), 200);
    assert_true(clock_boot_ms() - begun < 10000);
    assert_true(http_server_stats(f.server).connections <= 256);
#ifndef WITH_ADDRESS_SANITIZER /* which keeps what was freed, with a margin */
    assert_true(resident_kb() - before < 256 * 16); /* 8 KiB of request each, and as much again */
#else
    (void)before;
#endif
    for (int i = 0; i < 512; i++)
        fd_close(&fd[i]);
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (http_server_stats(f.server).connections > 0 && clock_boot_ms() < until)
        loop_turn(f.loop, 5);
    assert_int_equal(http_server_stats(f.server).connections, 0);
    stop(&f);
}

/* All places taken from many addresses: the one that has been useless longest gives way. */
static void slow__every_place_taken__room_is_made(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0", .connections_max = 4};
    int fd[4];
    start(&f, &o);
    for (int i = 0; i < 4; i++) {
        struct sockaddr_in me = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x7F000010 + (uint32_t)i)};
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons(f.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const void *a = &me, *b = &to;
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd[i], a, sizeof(me)), 0);
        assert_int_equal(connect(fd[i], b, sizeof(to)), 0);
        loop_turn(f.loop, 0);
    }
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (http_server_stats(f.server).connections < 4 && clock_boot_ms() < until)
        loop_turn(f.loop, 5);
    int64_t begun = clock_boot_ms();
    assert_int_equal(get(&f, "/primary"), 200);
    assert_true(clock_boot_ms() - begun < 3000); /* far below the 5 s of their deadlines */
    for (int i = 0; i < 4; i++)
        fd_close(&fd[i]);
    stop(&f);
}

/* A client that never reads a long answer costs one place until its deadline, and no turn of the loop. */
static void slow__reader__does_not_hold_up_others(void **state)
{
    (void)state;
    struct fixture f;
    struct http_server_opts o = {.listen = "127.0.0.1:0", .request_ms = 300};
    start(&f, &o);
    publish(&f, sample_full, 0);
    int fd = raw_connect(f.port);
    static const char one[] = "GET /cluster HTTP/1.1\r\nHost: x\r\n\r\n";
    for (int i = 0; i < 2000; i++)
        if (send(fd, one, sizeof(one) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
    for (int i = 0; i < 5; i++) {
        int64_t begun = clock_boot_ms();
        assert_int_equal(get(&f, "/status"), 200);
        assert_true(clock_boot_ms() - begun < 3000);
    }
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (http_server_stats(f.server).dropped == 0 && clock_boot_ms() < until)
        loop_turn(f.loop, 20);
    assert_int_equal(http_server_stats(f.server).dropped, 1);
    fd_close(&fd);
    stop(&f);
}

static void publication__while_a_response_is_sent__safe(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, &plain);
    raw_open(&answer, f.port);
    raw_send(&answer, "GET /cluster HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    for (int i = 0; !answer.closed && clock_boot_ms() < until; i++) {
        publish(&f, i % 2 ? sample_full : sample_replica, 0);
        raw_take(&answer);
        loop_turn(f.loop, 1);
    }
    assert_int_equal(raw_status(&answer), 200);
    parses(raw_body(&answer));
    raw_close(&answer);
    stop(&f);
}

static void unix_socket__same_paths(void **state)
{
    (void)state;
    struct fixture f;
    char dir[] = "/tmp/test_server.XXXXXX";
    char path[64];
    assert_non_null(mkdtemp(dir));
    assert_true(str_format(path, sizeof(path), "%s/run/api.sock", dir));
    struct http_server_opts o = {.unix_path = path};
    start(&f, &o);
    assert_int_equal(f.port, 0);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    assert_true(str_copy(sa.sun_path, sizeof(sa.sun_path), path));
    const void *p = &sa;
    answer = (struct raw){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(connect(answer.fd, p, sizeof(sa)), 0);
    raw_send(&answer, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_wait(f.loop, &answer, true);
    assert_int_equal(raw_status(&answer), 200);
    raw_close(&answer);
    /* A predecessor's socket is replaced; the server removes its own at the end. */
    struct err e;
    struct http_server *again = http_server_new(&o, &e);
    assert_non_null(again);
    http_server_free(again);
    stop(&f);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(fd_replace_file(path, "x", 1, 0600, &e));
    assert_null(http_server_new(&o, &e));
    assert_non_null(strstr(e.msg, "not a socket"));
    unlink(path);
    assert_true(str_format(path, sizeof(path), "%s/run", dir));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void listen__bad_or_taken__error(void **state)
{
    (void)state;
    struct err e = {0};
    static const char *const bad[] = {"8008", "x:1", "127.0.0.1:70000", "127.0.0.1:", ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_server_opts o = {.listen = bad[i]};
        assert_null(http_server_new(&o, &e));
        assert_int_equal(e.kind, ERR_INVALID);
    }
    struct fixture f;
    char taken[32];
    start(&f, &plain);
    assert_true(str_format(taken, sizeof(taken), "127.0.0.1:%u", f.port));
    struct http_server_opts o = {.listen = taken};
    assert_null(http_server_new(&o, &e));
    assert_int_equal(e.kind, ERR_FATAL);
    assert_int_equal(e.code, EADDRINUSE);
    stop(&f);
}

int main(int argc, char **argv)
{
    /* --serve: answer until killed, to be measured from outside. */
    if (argc > 1 && strcmp(argv[1], "--serve") == 0) {
        struct fixture f;
        start(&f, &plain);
        printf("%u\n", f.port);
        fflush(stdout);
        for (;;) {
            loop_turn(f.loop, 100);
            publish(&f, sample_primary, 0);
        }
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods__get_head_options__alike),
        cmocka_unit_test(no_address__answers_on_both_families),
        cmocka_unit_test(methods__others__405_with_allow),
        cmocka_unit_test(paths__documents_and_unknown__codes),
        cmocka_unit_test(query__parameters__reach_the_check),
        cmocka_unit_test(metrics__accept__chooses_the_format),
        cmocka_unit_test(snapshot__before_the_first__503),
        cmocka_unit_test(liveness__old_snapshot__fails_and_shows_its_age),
        cmocka_unit_test(keepalive__many_requests__one_connection),
        cmocka_unit_test(keepalive__pipelined__all_answered),
        cmocka_unit_test(garbage__each_kind__refused_and_server_goes_on),
        cmocka_unit_test(slow__dripping_client__closed_at_the_deadline),
        cmocka_unit_test(slow__idle_after_a_request__closed_later),
        cmocka_unit_test(slow__many_silent_clients__others_are_served),
        cmocka_unit_test(slow__512_connections__bounded_memory),
        cmocka_unit_test(slow__every_place_taken__room_is_made),
        cmocka_unit_test(slow__reader__does_not_hold_up_others),
        cmocka_unit_test(publication__while_a_response_is_sent__safe),
        cmocka_unit_test(unix_socket__same_paths),
        cmocka_unit_test(listen__bad_or_taken__error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
