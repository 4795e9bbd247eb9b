/* libcurl's multi interface under the loop.
 *
 * Each channel is a multi handle with a connection pool of its own. libcurl tells through callbacks
 * which sockets and which timer it wants; both are only noted here and declared to the loop anew
 * each turn. Deadlines are ours, on CLOCK_BOOTTIME: libcurl's own timers stand still in suspend. */
#include "http/client.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "client_parts.h"
#include "origin.h"

#define TIMER_STEPS_MAX 8

struct http_client *http_client_new(const char *user_agent)
{
    struct http_client *c;
    struct sigaction now;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    /* OpenSSL writes with write(2): a peer that hangs up would end the process. */
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->user_agent = strdup(user_agent);
    must(c->user_agent);
    return c;
}

static void unlink_call(struct http_call *call)
{
    if (call->prev)
        call->prev->next = call->next;
    else if (call->client->calls == call)
        call->client->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->next = call->prev = NULL;
}

static uint64_t *find_failed(struct channel *ch, uint64_t origin)
{
    for (size_t i = 0; i < CHANNEL_FAILED_MAX; i++)
        if (ch->failed[i] == origin)
            return &ch->failed[i];
    return NULL;
}

static void note_health(struct channel *ch, uint64_t origin, bool good)
{
    uint64_t *slot = find_failed(ch, origin);

    if (good) {
        if (slot)
            *slot = 0;
        return;
    }
    if (slot)
        return;
    slot = find_failed(ch, 0);
    if (!slot)
        slot = &ch->failed[ch->next_failed++ % CHANNEL_FAILED_MAX];
    *slot = origin;
}

/* Takes the call out of libcurl. One that is not over loses its connection thereby. */
static void release_easy(struct http_call *call)
{
    long size = 0;
    curl_off_t wait = 0;

    if (!call->easy)
        return;
    curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &size);
    curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &wait);
    call->result.sent = size > 0;
    call->result.retry_after_s = wait > 0 && wait < 86400 ? (int64_t)wait : 0;
    curl_multi_remove_handle(call->channel->multi, call->easy);
    curl_easy_cleanup(call->easy);
    call->easy = NULL;
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->connect_to);
    call->headers = call->connect_to = NULL;
}

static void finish(struct http_call *call)
{
    call->result.done_ms = clock_boot_ms();
    call->state = HTTP_DONE;
    release_easy(call);
    unlink_call(call);
    call->client->done_outside = true;
    if (call->channel)
        note_health(call->channel, call->origin, call->result.err.kind == ERR_NONE);
}

static enum err_kind kind_of(CURLcode code)
{
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_NOT_BUILT_IN:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return ERR_INVALID;
    case CURLE_WRITE_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_CORRUPT;
    default:
        return ERR_TRANSIENT;
    }
}

static void finish_with(struct http_call *call, CURLcode code)
{
    if (call->too_long)
        err_set(&call->result.err, ERR_CORRUPT, "the answer is longer than %zu bytes",
                call->result.body.max);
    else if (code != CURLE_OK)
        err_set(&call->result.err, kind_of(code), "%s",
                call->error[0] ? call->error : curl_easy_strerror(code));
    finish(call);
}

static void drain(struct channel *ch)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(ch->multi, &left))) {
        char *priv = NULL;
        if (msg->msg != CURLMSG_DONE)
            continue;
        CURLcode code = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &priv);
        finish_with((struct http_call *)(void *)priv, code);
    }
}

/* ---- what libcurl calls ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    struct channel *ch = ctx;
    size_t i = 0;

    (void)easy;
    (void)unused;
    while (i < ch->n_want && ch->want[i].fd != fd)
        i++;
    if (what == CURL_POLL_REMOVE) {
        if (i < ch->n_want)
            ch->want[i] = ch->want[--ch->n_want];
        return 0;
    }
    if (i == ch->n_want) {
        if (i == CHANNEL_SOCKETS_MAX)
            return -1;
        ch->n_want++;
    }
    ch->want[i].fd = fd;
    ch->want[i].events = 0;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        ch->want[i].events |= POLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        ch->want[i].events |= POLLOUT;
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct channel *ch = ctx;

    (void)multi;
    ch->timer_at_ms = timeout_ms < 0 ? -1 : clock_boot_ms() + timeout_ms;
    return 0;
}

/* libcurl asks for the next step of its own by a timer that is due at once. Taking these steps here
 * spares a turn of the whole agent for each. */
static void run_timers(struct channel *ch)
{
    int running;

    for (int i = 0; i < TIMER_STEPS_MAX; i++) {
        if (ch->timer_at_ms < 0 || ch->timer_at_ms > clock_boot_ms())
            return;
        ch->timer_at_ms = -1;
        curl_multi_socket_action(ch->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

/* ---- starting ---- */

static struct channel *get_channel(struct http_client *c, const char *name)
{
    struct channel *ch;

    for (size_t i = 0; i < c->n_channels; i++)
        if (str_eq(c->channels[i]->name, name))
            return c->channels[i];
    if (c->n_channels == HTTP_CHANNELS_MAX)
        return NULL;
    ch = calloc(1, sizeof(*ch));
    must(ch);
    if (!str_copy(ch->name, sizeof(ch->name), name)) {
        free(ch);
        return NULL;
    }
    ch->timer_at_ms = -1;
    ch->multi = curl_multi_init();
    must(ch->multi);
    curl_multi_setopt(ch->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(ch->multi, CURLMOPT_SOCKETDATA, ch);
    curl_multi_setopt(ch->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(ch->multi, CURLMOPT_TIMERDATA, ch);
    curl_multi_setopt(ch->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    c->channels[c->n_channels++] = ch;
    return ch;
}

/* Everything that can be wrong before libcurl is asked. */
static bool check_request(struct http_client *c, const struct http_request *r,
                          struct http_call *call)
{
    struct err *e = &call->result.err;

    if (!r->stream && r->deadline_ms <= 0)
        return err_set(e, ERR_BUG, "a request without a deadline");
    if (r->deadline_ms && r->deadline_ms <= call->result.sent_ms)
        return err_set(e, ERR_INVALID, "the deadline has passed before the request was sent");
    if (!http_origin(r, &call->origin, e))
        return false;
    call->channel = get_channel(c, r->channel);
    return call->channel || err_set(e, ERR_BUG, "no room for channel \"%.40s\"", r->channel);
}

struct http_call *http_start(struct http_client *c, const struct http_request *r)
{
    struct http_call *call = calloc(1, sizeof(*call));

    must(call);
    call->client = c;
    call->deadline_ms = r->deadline_ms;
    buf_init(&call->result.body, r->body_max);
    call->result.sent_ms = clock_boot_ms();
    if (!check_request(c, r, call)) {
        call->channel = NULL;
        finish(call);
        return call;
    }
    call->easy = curl_easy_init();
    must(call->easy);
    client_set_request(call, r);
    client_set_transport(call, r, r->fresh || find_failed(call->channel, call->origin));
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    call->result.sent_ms = clock_boot_ms();
    must(curl_multi_add_handle(call->channel->multi, call->easy) == CURLM_OK);
    run_timers(call->channel);
    drain(call->channel);
    return call;
}

/* ---- the loop's side ---- */

static void prepare(void *ctx, struct loop *l)
{
    struct http_client *c = ctx;

    for (size_t i = 0; i < c->n_channels; i++) {
        struct channel *ch = c->channels[i];
        for (size_t k = 0; k < ch->n_want; k++)
            if (ch->want[k].events)
                loop_want(l, ch->want[k].fd, ch->want[k].events);
        if (ch->timer_at_ms >= 0)
            loop_wake_at(l, ch->timer_at_ms);
    }
    for (struct http_call *call = c->calls; call; call = call->next)
        if (call->deadline_ms)
            loop_wake_at(l, call->deadline_ms);
    if (c->done_outside)
        loop_wake_now(l);
}

static void run_channel(struct channel *ch, struct loop *l)
{
    struct wanted ready[CHANNEL_SOCKETS_MAX];
    size_t n = ch->n_want;
    int running;

    /* A copy: each action changes the list. */
    memcpy(ready, ch->want, n * sizeof(ready[0]));
    for (size_t i = 0; i < n; i++) {
        short got = loop_revents(l, ready[i].fd);
        int mask = 0;
        if (got & (POLLIN | POLLHUP))
            mask |= CURL_CSELECT_IN;
        if (got & POLLOUT)
            mask |= CURL_CSELECT_OUT;
        if (got & (POLLERR | POLLNVAL))
            mask |= CURL_CSELECT_ERR;
        if (mask)
            curl_multi_socket_action(ch->multi, ready[i].fd, mask, &running);
    }
    run_timers(ch);
    drain(ch);
}

static void dispatch(void *ctx, struct loop *l)
{
    struct http_client *c = ctx;
    struct http_call *next;

    for (size_t i = 0; i < c->n_channels; i++)
        run_channel(c->channels[i], l);
    for (struct http_call *call = c->calls; call; call = next) {
        next = call->next;
        if (!call->deadline_ms || loop_now(l) < call->deadline_ms)
            continue;
        err_set(&call->result.err, ERR_TIMEOUT, "no whole answer within %lld ms",
                (long long)(call->deadline_ms - call->result.sent_ms));
        finish(call);
    }
    c->done_outside = false;
}

struct loop_source http_client_source(struct http_client *c)
{
    return (struct loop_source){
        .name = "http-client", .ctx = c, .prepare = prepare, .dispatch = dispatch};
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    while (c->calls) {
        struct http_call *call = c->calls;
        err_set(&call->result.err, ERR_TRANSIENT, "cancelled");
        finish(call);
    }
    for (size_t i = 0; i < c->n_channels; i++) {
        curl_multi_cleanup(c->channels[i]->multi);
        free(c->channels[i]);
    }
    free(c->user_agent);
    free(c);
    curl_global_cleanup();
}

enum http_state http_call_state(const struct http_call *call)
{
    return call->state;
}

const struct http_result *http_call_result(const struct http_call *call)
{
    return &call->result;
}

void http_call_consume(struct http_call *call, size_t n)
{
    buf_consume(&call->result.body, n);
}

void http_call_free(struct http_call *call)
{
    if (!call)
        return;
    if (call->state == HTTP_PENDING) {
        release_easy(call);
        unlink_call(call);
    }
    buf_done(&call->result.body);
    free(call);
}

uint64_t http_client_connects(const struct http_client *c)
{
    return c->connects;
}
