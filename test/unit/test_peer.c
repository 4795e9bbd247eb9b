/* The peer protocol: codecs against damage, the token, waiting for the agent, calls end to end. */
#include "http_raw.h"

#include "http/client.h"
#include "http/peer.h"

#define TOKEN "0123456789abcdef-token"
#define OLD_TOKEN "fedcba9876543210-old"

static const struct peer_request vote = {
    .ask = PEER_VOTE,
    .from = {.name = {"pg-1"}, .uid = "11111111-2222-3333-4444-555555555555", .boot = UINT64_MAX},
    .epoch = 7,
};

static const struct peer_state full = {
    .id = {.name = {"pg-0"}, .uid = "u", .boot = 1},
    .volume = 0xfedcba9876543210,
    .system_id = 7412345678901234567,
    .data = DATA_OK,
    .process = PG_RUNNING,
    .in_recovery = TRI_YES,
    .position = {.timeline = TIMELINE_MAX, .lsn = UINT64_C(0x7ffffffffffffffe)},
    .durable_epoch = 9,
    .frozen_epoch = 8,
    .refused_epoch = 7,
    .promised_epoch = 6,
    .promise_ms = 10000,
    .record_epoch = 5,
    .record_rev = 4,
    .lease_epoch = 3,
    .streams_from = 2,
    .nofailover = true,
    .paused = true,
    .priority = 255,
    .written_ago_ms = 123456789,
    .write_end = WRITE_END_CRASH,
    .rule = {"follow"},
};

static void encode_state(const struct peer_state *s, struct buf *b)
{
    buf_init(b, PEER_BODY_MAX);
    assert_true(peer_state_encode(s, b));
}

/* Padding of structs means nothing: two states are the same if their texts are. */
static void assert_same_state(const struct peer_state *a, const struct peer_state *b)
{
    struct buf x, y;
    encode_state(a, &x);
    encode_state(b, &y);
    assert_string_equal(buf_str(&x), buf_str(&y));
    buf_done(&x);
    buf_done(&y);
}

static void codec__round_trip__same(void **state)
{
    (void)state;
    struct buf b;
    struct err e = {0};
    struct peer_state s = {0};
    struct peer_request q = {0};
    encode_state(&full, &b);
    if (!peer_state_decode(buf_str(&b), b.len, &s, &e))
        fail_msg("%s", e.msg);
    assert_same_state(&s, &full);
    assert_true(s.position.lsn == full.position.lsn && s.volume == full.volume);
    assert_int_equal(s.in_recovery, TRI_YES);
    buf_clear(&b);
    assert_true(peer_request_encode(&vote, &b));
    assert_true(peer_request_decode(buf_str(&b), b.len, &q, &e));
    assert_int_equal(q.ask, PEER_VOTE);
    assert_int_equal(q.epoch, 7);
    assert_true(q.from.boot == UINT64_MAX);
    assert_string_equal(q.from.uid, vote.from.uid);
    buf_done(&b);
}

static void replace(struct buf *b, const char *from, const char *to)
{
    char *at = b->data ? strstr(b->data, from) : NULL;
    if (!at)
        fail_msg("no %s in %s", from, buf_str(b));
    struct buf n;
    buf_init(&n, PEER_BODY_MAX);
    assert_true(buf_put(&n, b->data, (size_t)(at - b->data)));
    assert_true(buf_puts(&n, to) && buf_puts(&n, at + strlen(from)));
    buf_done(b);
    *b = n;
}

static void codec__mistakes__refused(void **state)
{
    (void)state;
    static const char *const edits[][2] = {
        {"\"v\":2", "\"v\":0"},
        {"\"v\":2", "\"v\":\"1\""},
        {"\"v\":2,", ""},
        {"\"name\":\"pg-0\"", "\"name\":\"\""},
        {"\"name\":\"pg-0\"", "\"name\":7"},
        {"\"name\":\"pg-0\"", "\"name\":\"a b\""},
        {"\"name\":\"pg-0\"", "\"name\":\"a\\u0000b\""},
        {"\"name\":\"pg-0\"",
         "\"name\":\"0123456789012345678901234567890123456789012345678901234567890123\""},
        {"\"boot\":\"0000000000000001\"", "\"boot\":\"1\""},
        {"\"boot\":\"0000000000000001\"", "\"boot\":\"000000000000000g\""},
        {"\"data\":\"ok\"", "\"data\":\"OK\""},
        {"\"data\":\"ok\"", "\"data\":null"},
        {"\"in_recovery\":\"yes\"", "\"in_recovery\":true"},
        {"\"timeline\":2147483647", "\"timeline\":2147483648"},
        {"\"lsn\":9223372036854775806", "\"lsn\":9223372036854775807"},
        {"\"lsn\":9223372036854775806", "\"lsn\":99999999999999999999999"},
        {"\"lsn\":9223372036854775806", "\"lsn\":-1"},
        {"\"lsn\":9223372036854775806", "\"lsn\":1.5"},
        {"\"lsn\":9223372036854775806", "\"lsn\":1e3"},
        {"\"promise_ms\":10000", "\"promise_ms\":3600001"},
        {"\"promise_ms\":10000", "\"promise_ms\":-1"},
        {"\"priority\":255", "\"priority\":256"},
        {"\"paused\":true", "\"paused\":1"},
        {"\"durable_epoch\":9,", ""},
        {"\"rule\":\"follow\"}", "\"rule\":\"follow\"}}"},
        {"\"rule\":\"follow\"}", "\"rule\":\"follow\"} {}"},
        {"\"rule\":\"follow\"}", "\"rule\":\"follow\""},
        {"{\"v\"", "[{\"v\""},
    };
    for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
        struct buf b;
        struct err e = {0};
        struct peer_state s = {.durable_epoch = 77};
        encode_state(&full, &b);
        replace(&b, edits[i][0], edits[i][1]);
        if (peer_state_decode(buf_str(&b), b.len, &s, &e))
            fail_msg("taken: %s", edits[i][1]);
        assert_int_equal(e.kind, ERR_INVALID);
        assert_int_equal(s.durable_epoch, 77);
        buf_done(&b);
    }
}

static void codec__unknown_field__ignored(void **state)
{
    (void)state;
    struct buf b;
    struct err e = {0};
    struct peer_state s = {0};
    encode_state(&full, &b);
    replace(&b, "{\"v\":2", "{\"later\":{\"a\":[1]},\"v\":1");
    assert_true(peer_state_decode(buf_str(&b), b.len, &s, &e));
    assert_same_state(&s, &full);
    buf_done(&b);
}

/* Cut everywhere, and with damaged bytes: refused or still a whole message, never a crash. */
static void codec__cut_and_damaged__safe(void **state)
{
    (void)state;
    struct buf b;
    struct err e = {0};
    struct peer_state s;
    struct peer_request q;
    unsigned seed = 3;
    encode_state(&full, &b);
    for (size_t i = 0; i < b.len; i++) {
        char *copy = malloc(i + 1); /* exact size, so that a sanitizer sees a read past the end */
        assert_non_null(copy);
        memcpy(copy, b.data, i);
        assert_false(peer_state_decode(copy, i, &s, &e));
        assert_false(peer_request_decode(copy, i, &q, &e));
        free(copy);
    }
    for (int round = 0; round < 5000; round++) {
        char text[PEER_BODY_MAX];
        memcpy(text, b.data, b.len);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1103515245 + 12345;
            text[(seed >> 8) % b.len] = (char)(seed >> 24);
        }
        struct buf again;
        if (peer_state_decode(text, b.len, &s, &e)) {
            encode_state(&s, &again);
            struct peer_state t;
            assert_true(peer_state_decode(buf_str(&again), again.len, &t, &e));
            assert_same_state(&s, &t);
            buf_done(&again);
        }
    }
    static char deep[PEER_BODY_MAX];
    memset(deep, '[', sizeof(deep));
    assert_false(peer_state_decode(deep, sizeof(deep), &s, &e));
    memset(deep, ' ', sizeof(deep));
    assert_false(peer_request_decode(deep, sizeof(deep), &q, &e));
    buf_done(&b);
}

static void tokens__file__one_per_line(void **state)
{
    (void)state;
    struct peer_tokens t = {0};
    struct err e = {0};
    assert_true(peer_tokens_parse(&t, "\n" TOKEN "\r\n\n" OLD_TOKEN, &e));
    assert_int_equal(t.n, 2);
    assert_string_equal(t.t[0], TOKEN);
    assert_string_equal(t.t[1], OLD_TOKEN);
    static const char *const bad[] = {
        "", "\n\n", "short", TOKEN " x\n",
        TOKEN "1\n" TOKEN "2\n" TOKEN "3\n" TOKEN "4\n" TOKEN "5\n", ("\x80" TOKEN),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (peer_tokens_parse(&t, bad[i], &e))
            fail_msg("taken: %zu", i);
        assert_null(strstr(e.msg, "token-")); /* never the secret itself */
        assert_int_equal(t.n, 2);
    }
    assert_false(peer_tokens_read(&t, "/nonexistent/token", &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
}

struct fixture {
    struct loop *loop;
    struct peer_server *server;
    struct http_client *client;
    struct peer_channel *channel;
    struct peer_tokens tokens;
    uint16_t port;
};

static void start(struct fixture *f)
{
    struct err e = {0};
    *f = (struct fixture){.loop = loop_new()};
    assert_true(peer_tokens_parse(&f->tokens, TOKEN "\n" OLD_TOKEN "\n", &e));
    struct peer_server_opts o = {.listen = "127.0.0.1:0", .tokens = &f->tokens};
    f->server = peer_server_new(&o, &e);
    if (!f->server)
        fail_msg("%s", e.msg);
    f->port = peer_server_port(f->server);
    f->client = http_client_new("test");
    f->channel = peer_channel_new(f->client);
    struct loop_source c = http_client_source(f->client), s = peer_server_source(f->server);
    loop_add(f->loop, &c);
    loop_add(f->loop, &s);
    peer_server_publish(f->server, &full);
}

static void stop(struct fixture *f)
{
    peer_channel_free(f->channel);
    http_client_free(f->client);
    peer_server_free(f->server);
    loop_free(f->loop);
}

static void call(struct fixture *f, enum peer_ask ask, int64_t ms)
{
    struct peer_request q = vote;
    q.ask = ask;
    q.promise_ms = ask == PEER_PROMISE ? 10000 : 0;
    int64_t now = clock_boot_ms();
    assert_true(
        peer_call_start(f->channel, "127.0.0.1", f->port, &f->tokens, &q, now, now + ms));
}

static enum peer_call turn_until_done(struct fixture *f, const struct peer_result **r)
{
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    enum peer_call c = PEER_CALL_RUNNING;
    while (c == PEER_CALL_RUNNING && clock_boot_ms() < until) {
        loop_turn(f->loop, 20);
        c = peer_call_poll(f->channel, clock_boot_ms(), r);
    }
    return c;
}

static const struct peer_inbox *turn_until_pending(struct fixture *f)
{
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (!peer_server_pending(f->server, 0) && clock_boot_ms() < until)
        loop_turn(f->loop, 20);
    const struct peer_inbox *p = peer_server_pending(f->server, 0);
    assert_non_null(p);
    return p;
}

static void call__state__answered_at_once_without_promise(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    start(&f);
    for (int i = 0; i < 5; i++) {
        int64_t begun = clock_boot_ms();
        call(&f, PEER_STATE, 1000);
        assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
        assert_true(r->sent_ms >= begun && r->done_ms >= r->sent_ms);
        assert_int_equal(peer_server_stats(f.server).timed_out, 0);
        assert_int_equal(r->state.promise_ms, 0);
        assert_int_equal(r->state.durable_epoch, 9);
        assert_int_equal(r->req.ask, PEER_STATE);
    }
    assert_int_equal(http_client_connects(f.client), 1); /* kept alive */
    assert_null(peer_server_pending(f.server, 0));
    const struct peer_inbox *last = peer_server_last(f.server, 0);
    assert_string_equal(last->req.from.name.s, "pg-1");
    assert_null(peer_server_last(f.server, 1));
    stop(&f);
}

static void call__before_publication__fails(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    struct err e;
    start(&f);
    struct peer_server_opts o = {.listen = "127.0.0.1:0", .tokens = &f.tokens};
    struct peer_server *fresh = peer_server_new(&o, &e);
    struct loop_source s = peer_server_source(fresh);
    loop_add(f.loop, &s);
    f.port = peer_server_port(fresh);
    for (enum peer_ask ask = PEER_STATE; ask <= PEER_PROMISE; ask++) {
        call(&f, ask, 1000);
        assert_int_equal(turn_until_done(&f, &r), PEER_CALL_FAILED);
        assert_int_equal(r->err.code, 503);
        assert_int_equal(r->err.kind, ERR_TRANSIENT);
    }
    peer_channel_free(f.channel);
    f.channel = NULL;
    peer_server_free(fresh);
    stop(&f);
}

static void call__promise__waits_for_the_agent(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    start(&f);
    call(&f, PEER_PROMISE, 1000);
    const struct peer_inbox *p = turn_until_pending(&f);
    assert_int_equal(p->req.ask, PEER_PROMISE);
    assert_int_equal(p->req.promise_ms, 10000);
    assert_int_equal(p->req.epoch, 7);
    assert_true(p->gap_ms == PEER_NO_GAP);
    uint64_t ticket = p->ticket;
    struct peer_state s = full;
    s.promise_ms = 4321;
    s.promised_epoch = 7;
    assert_false(peer_server_answer(f.server, ticket + 1, &s));
    assert_true(peer_server_answer(f.server, ticket, &s));
    assert_false(peer_server_answer(f.server, ticket, &s));
    assert_null(peer_server_pending(f.server, 0));
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
    assert_int_equal(r->state.promise_ms, 4321);
    assert_int_equal(r->state.promised_epoch, 7);
    assert_int_equal(peer_server_stats(f.server).timed_out, 0);
    stop(&f);
}

/* The published state of this test has promise_ms = 10000 on purpose: it must not get out. */
static void call__agent_does_not_answer__published_state_without_promise(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    for (enum peer_ask ask = PEER_VOTE; ask <= PEER_PROMISE; ask++) {
        start(&f);
        int64_t begun = clock_boot_ms();
        call(&f, ask, 2000);
        assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
        int64_t took = clock_boot_ms() - begun;
        assert_true(took >= PEER_ANSWER_MS && took < PEER_ANSWER_MS + 1500);
        assert_int_equal(r->state.promise_ms, 0);
        assert_int_equal(peer_server_stats(f.server).timed_out, 1);
        stop(&f);
    }
}

static void call__same_asker_again__older_is_answered(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    start(&f);
    struct peer_channel *second = peer_channel_new(f.client);
    call(&f, PEER_VOTE, 2000);
    uint64_t first = turn_until_pending(&f)->ticket;
    int64_t now = clock_boot_ms();
    struct peer_request q = vote;
    q.epoch = 8;
    assert_true(peer_call_start(second, "127.0.0.1", f.port, &f.tokens, &q, now, now + 2000));
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
    assert_int_equal(peer_server_stats(f.server).timed_out, 0);
    const struct peer_inbox *p = turn_until_pending(&f);
    assert_true(p->ticket != first);
    assert_int_equal(p->req.epoch, 8);
    assert_null(peer_server_pending(f.server, 1));
    assert_false(peer_server_answer(f.server, first, &full));
    assert_int_equal(peer_server_last(f.server, 0)->req.epoch, 8);
    int64_t gap = peer_server_last(f.server, 0)->gap_ms; /* between the two questions */
    assert_true(gap >= 0 && gap < 2000);
    assert_int_equal(p->gap_ms, gap);
    peer_channel_free(second);
    stop(&f); /* with a request waiting */
}

static void call__new_call__cancels_the_old(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    start(&f);
    call(&f, PEER_VOTE, 2000);
    (void)turn_until_pending(&f);
    call(&f, PEER_STATE, 1000);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
    assert_int_equal(r->req.ask, PEER_STATE);
    peer_call_cancel(f.channel);
    assert_int_equal(peer_call_poll(f.channel, clock_boot_ms(), &r), PEER_CALL_IDLE);
    /* The agent answers the vote of a caller that has hung up: nothing happens. */
    const struct peer_inbox *p = peer_server_pending(f.server, 0);
    if (p)
        assert_true(peer_server_answer(f.server, p->ticket, &full));
    for (int i = 0; i < 5; i++)
        loop_turn(f.loop, 5);
    call(&f, PEER_STATE, 1000);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
    stop(&f);
}

static void token__wrong_then_old__refused_then_taken(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    struct err e;
    start(&f);
    assert_true(peer_tokens_parse(&f.tokens, "0123456789abcdef-wrong", &e));
    call(&f, PEER_PROMISE, 1000);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_FAILED);
    assert_int_equal(r->err.kind, ERR_DENIED);
    assert_int_equal(peer_server_stats(f.server).unauthorized, 1);
    assert_null(peer_server_pending(f.server, 0));
    assert_null(peer_server_last(f.server, 0));
    assert_true(peer_tokens_parse(&f.tokens, OLD_TOKEN, &e));
    call(&f, PEER_STATE, 1000);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_DONE);
    struct peer_tokens only_new;
    assert_true(peer_tokens_parse(&only_new, TOKEN, &e));
    peer_server_set_tokens(f.server, &only_new);
    call(&f, PEER_STATE, 1000);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_FAILED);
    stop(&f);
}

static void call__nobody_there__fails_in_time(void **state)
{
    (void)state;
    struct fixture f;
    const struct peer_result *r = NULL;
    start(&f);
    /* A listener that never accepts: connected, and then silence. */
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    void *p = &sa;
    assert_int_equal(bind(silent, p, len), 0);
    assert_int_equal(getsockname(silent, p, &len), 0);
    uint16_t open_port = f.port;
    f.port = ntohs(sa.sin_port);
    call(&f, PEER_STATE, 1000);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_FAILED);
    assert_int_equal(r->err.kind, ERR_TRANSIENT);
    assert_int_equal(listen(silent, 1), 0);
    int64_t begun = clock_boot_ms();
    call(&f, PEER_STATE, 150);
    assert_int_equal(turn_until_done(&f, &r), PEER_CALL_FAILED);
    assert_int_equal(r->err.kind, ERR_TIMEOUT);
    assert_true(clock_boot_ms() - begun < 3000);
    struct peer_tokens none = {0};
    struct peer_request q = vote;
    assert_false(peer_call_start(f.channel, "127.0.0.1", open_port, &none, &q, begun, begun + 100));
    assert_int_equal(peer_call_poll(f.channel, begun, &r), PEER_CALL_FAILED);
    fd_close(&silent);
    stop(&f);
}

static struct raw answer;

static int raw_post(struct fixture *f, const char *path, const char *auth, const char *body)
{
    static char text[16384];
    assert_true(str_format(text, sizeof(text),
                           "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", path,
                           auth, strlen(body), body));
    return raw_request(f->loop, &answer, f->port, text);
}

static void raw__bad_requests__refused_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct buf b;
    static char big[PEER_BODY_MAX + 2];
    static const char auth[] = "Authorization: Bearer " TOKEN "\r\n";
    start(&f);
    buf_init(&b, PEER_BODY_MAX);
    assert_true(peer_request_encode(&vote, &b));
    static const char *const bad_auth[] = {
        "", "Authorization: Bearer\r\n", "Authorization: Bearer \r\n",
        "Authorization: Bearer " TOKEN "x\r\n", "Authorization: Basic " TOKEN "\r\n",
        "Authorization: " TOKEN "\r\n", "Authorization: bearer" TOKEN "\r\n",
    };
    for (size_t i = 0; i < sizeof(bad_auth) / sizeof(bad_auth[0]); i++) {
        assert_int_equal(raw_post(&f, "/peer", bad_auth[i], buf_str(&b)), 401);
        assert_non_null(strstr(answer.data, "WWW-Authenticate: Bearer"));
        assert_string_equal(raw_body(&answer), "");
    }
    assert_int_equal(peer_server_stats(f.server).unauthorized,
                     sizeof(bad_auth) / sizeof(bad_auth[0]));
    /* Not even the existence of a path is told without the token. */
    assert_int_equal(raw_post(&f, "/nothing", "", "x"), 401);
    assert_int_equal(raw_post(&f, "/nothing", auth, "x"), 404);
    assert_int_equal(raw_request(f.loop, &answer, f.port,
                                 "GET /peer HTTP/1.1\r\nHost: x\r\n"
                                 "Authorization: Bearer " TOKEN "\r\n\r\n"),
                     405);
    assert_int_equal(raw_post(&f, "/peer", auth, ""), 400);
    assert_int_equal(raw_post(&f, "/peer", auth, "{}"), 400);
    assert_int_equal(raw_post(&f, "/peer", auth, "not json"), 400);
    memset(big, ' ', sizeof(big) - 1);
    assert_int_equal(raw_post(&f, "/peer", auth, big), 400);
    assert_int_equal(peer_server_stats(f.server).rejected, 4);
    /* Chunks that add up to too much end the connection. */
    raw_open(&answer, f.port);
    raw_send(&answer, "POST /peer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                      "Authorization: Bearer " TOKEN "\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        struct err e;
        char chunk[2200];
        assert_true(str_format(chunk, sizeof(chunk), "800\r\n%.2048s\r\n", big));
        (void)fd_write_all(answer.fd, chunk, strlen(chunk), &e);
    }
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (!answer.closed && clock_boot_ms() < until) {
        raw_take(&answer);
        loop_turn(f.loop, 5);
    }
    assert_true(answer.closed);
    raw_close(&answer);
    assert_int_equal(peer_server_stats(f.server).rejected, 5);
    assert_null(peer_server_pending(f.server, 0));
    buf_done(&b);
    stop(&f);
}

/* More askers than places: the oldest is answered, the newest waits, and the inbox stays bounded. */
static void raw__many_askers__bounded(void **state)
{
    (void)state;
    struct fixture f;
    int fd[PEER_PENDING_MAX + 8];
    size_t n = sizeof(fd) / sizeof(fd[0]);
    start(&f);
    for (size_t i = 0; i < n; i++) {
        struct peer_request q = vote;
        struct buf b, t;
        struct err e;
        buf_init(&b, PEER_BODY_MAX);
        buf_init(&t, PEER_BODY_MAX);
        assert_true(str_format(q.from.name.s, sizeof(q.from.name.s), "asker-%zu", i));
        assert_true(peer_request_encode(&q, &b));
        assert_true(buf_printf(&t,
                               "POST /peer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " TOKEN
                               "\r\nContent-Length: %zu\r\n\r\n%s",
                               b.len, buf_str(&b)));
        fd[i] = raw_connect(f.port);
        assert_true(fd_write_all(fd[i], t.data, t.len, &e));
        buf_done(&b);
        buf_done(&t);
    }
    int64_t until = clock_boot_ms() + RAW_WAIT_MS;
    while (peer_server_stats(f.server).requests < 32 && clock_boot_ms() < until)
        loop_turn(f.loop, 5);
    assert_true(peer_server_stats(f.server).requests >= 32); /* one address has half of 64 places */
    assert_null(peer_server_pending(f.server, PEER_PENDING_MAX));
    assert_null(peer_server_last(f.server, PEER_PENDING_MAX));
    for (size_t i = 0; i < n; i++)
        fd_close(&fd[i]);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codec__round_trip__same),
        cmocka_unit_test(codec__mistakes__refused),
        cmocka_unit_test(codec__unknown_field__ignored),
        cmocka_unit_test(codec__cut_and_damaged__safe),
        cmocka_unit_test(tokens__file__one_per_line),
        cmocka_unit_test(call__state__answered_at_once_without_promise),
        cmocka_unit_test(call__before_publication__fails),
        cmocka_unit_test(call__promise__waits_for_the_agent),
        cmocka_unit_test(call__agent_does_not_answer__published_state_without_promise),
        cmocka_unit_test(call__same_asker_again__older_is_answered),
        cmocka_unit_test(call__new_call__cancels_the_old),
        cmocka_unit_test(token__wrong_then_old__refused_then_taken),
        cmocka_unit_test(call__nobody_there__fails_in_time),
        cmocka_unit_test(raw__bad_requests__refused_and_counted),
        cmocka_unit_test(raw__many_askers__bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
