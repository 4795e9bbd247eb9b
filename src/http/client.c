/* The curl multi engine. Must never block, never start a thread, never follow a proxy variable. */
#include "http/client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define SOCKETS_MAX 96
#define CHANNELS_MAX 48

struct channel {
    char name[HTTP_CHANNEL_SIZE];
    CURL *easy;              /* keeps the connection between calls */
    bool busy, fresh;        /* fresh: the next call must not reuse the connection */
};

struct watched {
    curl_socket_t fd;
    short events;
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    int64_t timer_ms; /* BOOTTIME; -1 = none */
    struct watched sock[SOCKETS_MAX];
    size_t n_sock;
    struct channel channel[CHANNELS_MAX];
    size_t n_channels;
};

struct http_call {
    struct http_client *client;
    struct channel *channel; /* NULL = own handle */
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    char *body;
    struct buf answer;
    enum http_state state;
    struct err err;
    int64_t sent_ms, done_ms, byte_ms, deadline_ms;
    bool stream, too_large;
    char content_type[96];
    int retry_after;
    int status;
};

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *sockp)
{
    (void)easy;
    (void)sockp;
    struct http_client *c = ctx;
    size_t i = 0;
    while (i < c->n_sock && c->sock[i].fd != fd)
        i++;
    if (what == CURL_POLL_REMOVE) {
        if (i < c->n_sock)
            c->sock[i] = c->sock[--c->n_sock];
        return 0;
    }
    if (i == c->n_sock) {
        if (c->n_sock == SOCKETS_MAX)
            return -1;
        c->n_sock++;
    }
    short events = 0;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= POLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= POLLOUT;
    c->sock[i] = (struct watched){fd, events};
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    struct http_client *c = ctx;
    c->timer_ms = timeout_ms < 0 ? -1 : clock_boot_ms() + timeout_ms;
    return 0;
}

struct http_client *http_client_new(struct loop *l)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    struct http_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->loop = l;
    c->timer_ms = -1;
    c->multi = curl_multi_init();
    if (c->multi == NULL) {
        free(c);
        return NULL;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 64L);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n_channels; i++)
        curl_easy_cleanup(c->channel[i].easy);
    curl_multi_cleanup(c->multi);
    free(c);
}

static void finish(struct http_call *k, CURLcode code, int64_t now)
{
    long status = 0;
    const char *type = NULL;
    curl_easy_getinfo(k->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(k->easy, CURLINFO_CONTENT_TYPE, &type);
    (void)str_copy(k->content_type, sizeof k->content_type, type != NULL ? type : "");
    curl_off_t retry = 0;
    curl_easy_getinfo(k->easy, CURLINFO_RETRY_AFTER, &retry);
    k->retry_after = retry > 0 && retry < 3600 ? (int)retry : 0;
    k->status = (int)status;
    k->state = HTTP_DONE;
    k->done_ms = now;
    if (k->too_large)
        (void)err_set(&k->err, ERR_INVALID, "the answer is larger than %zu bytes", k->answer.max);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        (void)err_set(&k->err, ERR_TIMEOUT, "no complete answer before the deadline");
    else if (code != CURLE_OK)
        (void)err_set(&k->err, ERR_TRANSIENT, "%s", curl_easy_strerror(code));
    curl_multi_remove_handle(k->client->multi, k->easy);
    if (k->channel != NULL) {
        k->channel->busy = false;
        k->channel->fresh = code != CURLE_OK;
    }
}

static void client_prepare(void *ctx, struct loop *l)
{
    struct http_client *c = ctx;
    for (size_t i = 0; i < c->n_sock; i++)
        loop_want(l, c->sock[i].fd, c->sock[i].events);
    if (c->timer_ms >= 0)
        loop_wake_at(l, c->timer_ms);
}

static void client_dispatch(void *ctx, struct loop *l)
{
    struct http_client *c = ctx;
    int running;
    struct watched ready[SOCKETS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < c->n_sock; i++) {
        short re = loop_revents(l, c->sock[i].fd);
        if (re != 0)
            ready[n++] = (struct watched){c->sock[i].fd, re};
    }
    for (size_t i = 0; i < n; i++) {
        int mask = ((ready[i].events & (POLLIN | POLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
                   ((ready[i].events & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                   ((ready[i].events & (POLLERR | POLLNVAL)) != 0 ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(c->multi, ready[i].fd, mask, &running);
    }
    int64_t now = clock_boot_ms();
    if (c->timer_ms >= 0 && now >= c->timer_ms) {
        c->timer_ms = -1;
        curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left)) != NULL;) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct http_call *k = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&k);
        if (k != NULL)
            finish(k, code, now);
    }
}

struct loop_source http_client_source(struct http_client *c)
{
    return (struct loop_source){
        .name = "http-client", .ctx = c, .prepare = client_prepare, .dispatch = client_dispatch};
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct http_call *k = ctx;
    k->byte_ms = clock_boot_ms();
    if (!buf_put(&k->answer, data, size * n)) {
        k->too_large = true;
        return 0;
    }
    return size * n;
}

/* libcurl 7.88 does not ask for close-on-exec: API sockets would be inherited by postgres. */
static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)ctx;
    (void)purpose;
    return socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
}

static int on_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    (void)ctx;
    (void)purpose;
    int count = 3;
    unsigned user_timeout = 10000;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    return CURL_SOCKOPT_OK;
}

static struct channel *channel_of(struct http_client *c, const char *name)
{
    for (size_t i = 0; i < c->n_channels; i++)
        if (strcmp(c->channel[i].name, name) == 0)
            return &c->channel[i];
    if (c->n_channels == CHANNELS_MAX)
        return NULL;
    struct channel *ch = &c->channel[c->n_channels];
    *ch = (struct channel){0};
    if (!str_copy(ch->name, sizeof ch->name, name) || (ch->easy = curl_easy_init()) == NULL)
        return NULL;
    c->n_channels++;
    return ch;
}

static void set_blob(CURL *easy, CURLoption opt, const char *pem)
{
    if (pem == NULL)
        return;
    struct curl_blob b = {.len = strlen(pem), .flags = CURL_BLOB_COPY};
    memcpy(&b.data, &pem, sizeof pem);
    curl_easy_setopt(easy, opt, &b);
}

static void set_tls(CURL *easy, const struct http_tls *t)
{
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 60L);
    if (t == NULL)
        return;
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, t->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, t->insecure ? 0L : 2L);
    set_blob(easy, CURLOPT_CAINFO_BLOB, t->ca_pem);
    set_blob(easy, CURLOPT_SSLCERT_BLOB, t->cert_pem);
    set_blob(easy, CURLOPT_SSLKEY_BLOB, t->key_pem);
}

static bool set_headers(struct http_call *k, const struct http_request *r)
{
    static const char *const fixed[] = {"Expect:", "Accept: application/json"};
    for (size_t i = 0; i < 2 + HTTP_HEADERS_MAX; i++) {
        const char *h = i < 2 ? fixed[i] : r->headers[i - 2];
        if (h == NULL)
            break;
        struct curl_slist *next = curl_slist_append(k->headers, h);
        if (next == NULL)
            return false;
        k->headers = next;
    }
    curl_easy_setopt(k->easy, CURLOPT_HTTPHEADER, k->headers);
    return true;
}

static void set_body(struct http_call *k, const struct http_request *r)
{
    curl_easy_setopt(k->easy, CURLOPT_CUSTOMREQUEST, r->method);
    if (strcmp(r->method, "HEAD") == 0)
        curl_easy_setopt(k->easy, CURLOPT_NOBODY, 1L);
    if (r->body == NULL)
        return;
    curl_easy_setopt(k->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
    curl_easy_setopt(k->easy, CURLOPT_COPYPOSTFIELDS, r->body);
}

static void set_transport(struct http_call *k, const struct http_request *r, int64_t now)
{
    CURL *easy = k->easy;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, r->proxy != NULL ? r->proxy : "");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(r->connect_ms > 0 ? r->connect_ms : 1500));
    if (r->deadline_ms > 0)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                         (long)(r->deadline_ms > now ? r->deadline_ms - now : 1));
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 3L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 60L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
    if (r->unix_path != NULL)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, r->unix_path);
    if (k->channel == NULL || k->channel->fresh)
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    if (k->channel == NULL)
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
}

static bool set_address(struct http_call *k, const struct http_request *r)
{
    char to[128];
    if (r->address == NULL)
        return true;
    bool six = strchr(r->address, ':') != NULL;
    if (!str_format(to, sizeof to, six ? "::[%s]:" : "::%s:", r->address))
        return false;
    k->connect_to = curl_slist_append(NULL, to);
    curl_easy_setopt(k->easy, CURLOPT_CONNECT_TO, k->connect_to);
    return k->connect_to != NULL;
}

struct http_call *http_call_start(struct http_client *c, const struct http_request *r,
                                  int64_t now_ms, struct err *e)
{
    struct http_call *k = calloc(1, sizeof *k);
    if (k == NULL)
        return err_set(e, ERR_FATAL, "out of memory"), NULL;
    k->client = c;
    k->stream = r->stream;
    buf_init(&k->answer, r->body_max > 0 ? r->body_max : 1 << 20);
    if (r->channel != NULL && r->channel[0] != '\0') {
        k->channel = channel_of(c, r->channel);
        if (k->channel != NULL && k->channel->busy)
            k->channel = NULL; /* the caller did not wait: a connection of its own */
    }
    k->easy = k->channel != NULL ? k->channel->easy : curl_easy_init();
    if (k->easy == NULL) {
        http_call_free(k);
        return err_set(e, ERR_FATAL, "out of memory"), NULL;
    }
    curl_easy_reset(k->easy);
    set_transport(k, r, now_ms);
    set_tls(k->easy, r->tls);
    set_body(k, r);
    curl_easy_setopt(k->easy, CURLOPT_URL, r->url);
    curl_easy_setopt(k->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(k->easy, CURLOPT_WRITEDATA, k);
    curl_easy_setopt(k->easy, CURLOPT_PRIVATE, k);
    bool ok = set_headers(k, r) && set_address(k, r);
    k->sent_ms = k->byte_ms = clock_boot_ms();
    if (!ok || curl_multi_add_handle(c->multi, k->easy) != CURLM_OK) {
        http_call_free(k);
        return err_set(e, ERR_FATAL, "the request could not be begun"), NULL;
    }
    if (k->channel != NULL)
        k->channel->busy = true;
    k->state = HTTP_PENDING;
    /* Send in this turn: a renewal must not wait for the next poll. */
    int running;
    c->timer_ms = -1;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    return k;
}

void http_call_free(struct http_call *k)
{
    if (k == NULL)
        return;
    if (k->easy != NULL) {
        if (k->state == HTTP_PENDING) {
            curl_multi_remove_handle(k->client->multi, k->easy);
            if (k->channel != NULL) {
                k->channel->busy = false;
                k->channel->fresh = true;
            }
        }
        if (k->channel == NULL)
            curl_easy_cleanup(k->easy);
        else
            curl_easy_reset(k->easy);
    }
    curl_slist_free_all(k->headers);
    curl_slist_free_all(k->connect_to);
    buf_done(&k->answer);
    free(k->body);
    free(k);
}

enum http_state http_call_state(const struct http_call *k)
{
    return k->state;
}

int http_call_status(const struct http_call *k)
{
    if (k->state == HTTP_DONE)
        return k->status;
    long status = 0;
    curl_easy_getinfo(k->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

const struct err *http_call_error(const struct http_call *k)
{
    return &k->err;
}

int64_t http_call_sent_ms(const struct http_call *k)
{
    return k->sent_ms;
}

int64_t http_call_done_ms(const struct http_call *k)
{
    return k->done_ms;
}

int64_t http_call_last_byte_ms(const struct http_call *k)
{
    return k->byte_ms;
}

struct buf *http_call_body(struct http_call *k)
{
    return &k->answer;
}

const char *http_call_content_type(const struct http_call *k)
{
    return k->content_type;
}

int http_call_retry_after(const struct http_call *k)
{
    return k->retry_after;
}
