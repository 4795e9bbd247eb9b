/* One request to the API: credentials, deadline, repetition after a 401, class of the outcome. */
#include "kube/client.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "internal.h"
#include "jx.h"

struct kube_call {
    struct kube *kube;
    struct kube_call *next, *prev; /* while pending */
    struct http_call *http;        /* while pending */
    char channel[32];
    char method[16];
    char *path, *content_type, *body; /* owned */
    int64_t deadline_ms;
    bool repeated; /* after a 401 */
    struct kube_reply reply;
};

static char *dup_or_null(const char *s)
{
    char *d;

    if (!s)
        return NULL;
    d = strdup(s);
    must(d);
    return d;
}

/* ---- sending ---- */

static bool is_write(const char *method)
{
    return !str_eq(method, "GET") && !str_eq(method, "HEAD") && !str_eq(method, "OPTIONS");
}

static void build_url(const struct kube *k, const struct kube_sending *s, struct buf *url)
{
    buf_printf(url, "%s%s", k->cfg.server, s->path);
    if (!is_write(s->method))
        return;
    /* The server drops a stalled write then, so that it cannot be applied much later. */
    int64_t left = s->deadline_ms - clock_boot_ms();
    buf_printf(url, "%ctimeout=%lldms", strchr(s->path, '?') ? '&' : '?',
               (long long)(left > 1 ? left : 1));
}

struct http_call *kube_send(struct kube *k, const struct kube_sending *s)
{
    struct buf url, auth, as;
    char type[96];
    const char *headers[5];
    size_t n = 0;

    buf_init(&url, 8192);
    buf_init(&auth, KUBE_TOKEN_MAX + 64);
    buf_init(&as, 1024);
    build_url(k, s, &url);
    headers[n++] = "Accept: application/json";
    if (k->token && buf_printf(&auth, "Authorization: Bearer %s", k->token))
        headers[n++] = buf_str(&auth);
    if (k->cfg.impersonate && buf_printf(&as, "Impersonate-User: %s", k->cfg.impersonate))
        headers[n++] = buf_str(&as);
    if (s->body && str_format(type, sizeof(type), "Content-Type: %s", s->content_type))
        headers[n++] = type;
    headers[n] = NULL;
    struct http_call *call = http_start(
        k->http, &(struct http_request){.channel = s->channel,
                                        .method = s->method,
                                        .url = buf_str(&url),
                                        .connect_to = k->cfg.connect_to,
                                        .proxy = k->cfg.proxy,
                                        .proxy_of_env = k->cfg.may_resolve,
                                        .may_resolve = k->cfg.may_resolve,
                                        .headers = headers,
                                        .user_password = k->user_password,
                                        .body = s->body,
                                        .body_len = s->body ? strlen(s->body) : 0,
                                        .deadline_ms = s->deadline_ms,
                                        .body_max = KUBE_BODY_MAX,
                                        .stream = s->stream,
                                        .fresh = s->fresh,
                                        .tls = &k->tls});
    if (auth.data)
        explicit_bzero(auth.data, auth.len);
    buf_done(&url);
    buf_done(&auth);
    buf_done(&as);
    return call;
}

static void send_call(struct kube_call *c, bool fresh)
{
    struct kube_sending s = {.channel = c->channel,
                             .method = c->method,
                             .path = c->path,
                             .content_type = c->content_type,
                             .body = c->body,
                             .deadline_ms = c->deadline_ms,
                             .fresh = fresh};

    c->http = kube_send(c->kube, &s);
}

static void unlink_call(struct kube_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else if (c->kube->calls == c)
        c->kube->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->next = c->prev = NULL;
}

struct kube_call *kube_not_begun(struct kube *k, const struct err *why)
{
    struct kube_call *c = calloc(1, sizeof(*c));

    must(c);
    c->kube = k;
    c->reply.outcome = KUBE_REFUSED;
    c->reply.err = *why;
    c->reply.sent_ms = c->reply.done_ms = clock_boot_ms();
    return c;
}

struct kube_call *kube_begin(struct kube *k, const char *channel, const char *method,
                             const char *path, const char *content_type, const char *body,
                             int64_t deadline_ms)
{
    struct err e = {0};
    struct kube_call *c;

    if (!kube_creds_refresh(k, false, &e))
        return kube_not_begun(k, &e);
    c = calloc(1, sizeof(*c));
    must(c);
    c->kube = k;
    must(str_copy(c->channel, sizeof(c->channel), channel));
    must(str_copy(c->method, sizeof(c->method), method));
    c->path = dup_or_null(path);
    if (!content_type)
        content_type = str_eq(method, "PATCH") ? "application/merge-patch+json"
                                               : "application/json";
    c->content_type = dup_or_null(content_type);
    c->body = dup_or_null(body);
    c->deadline_ms = deadline_ms;
    send_call(c, false);
    c->next = k->calls;
    if (k->calls)
        k->calls->prev = c;
    k->calls = c;
    return c;
}

/* ---- judging ---- */

enum err_kind kube_kind_of_status(int status)
{
    switch (status) {
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 408:
    case 429:
        return ERR_TRANSIENT;
    default:
        return status >= 500 ? ERR_TRANSIENT : ERR_INVALID;
    }
}

bool kube_is_contact(int status)
{
    /* 401, 403 and 429 come from a server that cannot judge yet as well as from one that can. */
    return status >= 200 && status < 500 && status != 401 && status != 403 && status != 429 &&
           status != 408;
}

static void clean_copy(char *dst, size_t size, const char *src)
{
    size_t n = 0;

    for (; *src && n + 1 < size; src++)
        dst[n++] = (unsigned char)*src < ' ' || *src == 127 ? ' ' : *src;
    while (n && dst[n - 1] == ' ')
        n--;
    dst[n] = '\0';
}

void kube_explain(const struct http_result *h, char *reason, size_t reason_size, struct err *e)
{
    char text[300] = "";
    struct json_object *o = NULL;

    reason[0] = '\0';
    /* Overload answers are plain text: whatever is not a Status is shown as it is. */
    if (jx_parse(buf_str(&h->body), h->body.len, &o, NULL)) {
        const char *m = jx_text(jx_get(o, "message")), *r = jx_text(jx_get(o, "reason"));
        clean_copy(text, sizeof(text), m ? m : "");
        clean_copy(reason, reason_size, r ? r : "");
        json_object_put(o);
    } else {
        clean_copy(text, sizeof(text), buf_str(&h->body));
    }
    err_set(e, kube_kind_of_status(h->status), "HTTP %d%s%s", h->status, text[0] ? ": " : "", text);
    e->code = h->status;
}

static bool starts_nocase(const char *s, const char *prefix)
{
    return strncasecmp(s, prefix, strlen(prefix)) == 0;
}

static void judge_answer(struct kube_call *c, const struct http_result *h)
{
    struct kube_reply *r = &c->reply;

    if (h->status >= 200 && h->status < 300) {
        if (h->body.len == 0 || !starts_nocase(h->content_type, "application/json")) {
            r->outcome = KUBE_OK;
        } else if (jx_parse(buf_str(&h->body), h->body.len, &r->body, &r->err)) {
            r->outcome = KUBE_OK;
        } else {
            c->kube->rejected++;
            r->outcome = KUBE_UNKNOWN;
            r->err.code = h->status;
        }
        return;
    }
    kube_explain(h, r->reason, sizeof(r->reason), &r->err);
    if (h->status == 409)
        r->outcome = KUBE_CONFLICT;
    else if (h->status >= 500 || h->status == 408)
        r->outcome = KUBE_UNKNOWN;
    else
        r->outcome = KUBE_REFUSED;
}

static void finish(struct kube_call *c, const struct http_result *h)
{
    struct kube_reply *r = &c->reply;

    r->http_status = h->status;
    r->sent_ms = h->sent_ms;
    r->done_ms = h->done_ms;
    r->sent = h->sent;
    r->retry_after_s = h->retry_after_s;
    if (h->err.kind == ERR_NONE)
        judge_answer(c, h);
    kube_count(c->kube, c->method, c->path, h->status, r->err.msg);
    if (h->err.kind == ERR_NONE) {
        if (kube_is_contact(h->status) && r->outcome != KUBE_UNKNOWN &&
            c->kube->contact_ms < h->done_ms)
            c->kube->contact_ms = h->done_ms;
    } else {
        r->err = h->err;
        r->err.code = h->status;
        bool begun = h->err.kind != ERR_INVALID && h->err.kind != ERR_BUG;
        r->outcome = begun ? KUBE_UNKNOWN : KUBE_REFUSED;
        if (h->err.kind == ERR_CORRUPT)
            c->kube->rejected++;
    }
    unlink_call(c);
    http_call_free(c->http);
    c->http = NULL;
}

static void step(struct kube_call *c)
{
    if (!c->http || http_call_state(c->http) == HTTP_PENDING)
        return;
    const struct http_result *h = http_call_result(c->http);
    if (h->status == 401 && h->err.kind == ERR_NONE && !c->repeated &&
        clock_boot_ms() < c->deadline_ms) {
        c->repeated = true;
        kube_count(c->kube, c->method, c->path, 401, NULL);
        http_call_free(c->http);
        kube_creds_refresh(c->kube, true, NULL);
        send_call(c, true);
        return;
    }
    finish(c, h);
}

enum kube_outcome kube_call_outcome(struct kube_call *c)
{
    step(c);
    return c->reply.outcome;
}

const struct kube_reply *kube_call_reply(struct kube_call *c)
{
    step(c);
    return &c->reply;
}

void kube_call_free(struct kube_call *c)
{
    if (!c)
        return;
    if (c->http) {
        unlink_call(c);
        http_call_free(c->http);
    }
    json_object_put(c->reply.body);
    free(c->path);
    free(c->content_type);
    free(c->body);
    free(c);
}

bool kube_call_is_get(const struct kube_call *c)
{
    return str_eq(c->method, "GET");
}

struct kube *kube_call_kube(const struct kube_call *c)
{
    return c->kube;
}

struct kube_call *kube_request(struct kube *k, const char *method, const char *path,
                               const char *content_type, const char *body, int64_t deadline_ms)
{
    struct err e;

    if (path[0] != '/' || strpbrk(path, " \r\n") || strlen(path) > 4096 || strlen(method) > 10) {
        err_set(&e, ERR_INVALID, "\"%.100s\" is not a path of the API", path);
        return kube_not_begun(k, &e);
    }
    return kube_begin(k, "kube", method, path, content_type, body, deadline_ms);
}

/* ---- the whole ---- */

static void copy_config(struct kube_config *dst, const struct kube_config *src)
{
    *dst = (struct kube_config){
        .source = dup_or_null(src->source),
        .context = dup_or_null(src->context),
        .server = dup_or_null(src->server),
        .ns = dup_or_null(src->ns),
        .connect_to = dup_or_null(src->connect_to),
        .ca_file = dup_or_null(src->ca_file),
        .ca_pem = dup_or_null(src->ca_pem),
        .cert_file = dup_or_null(src->cert_file),
        .cert_pem = dup_or_null(src->cert_pem),
        .key_file = dup_or_null(src->key_file),
        .key_pem = dup_or_null(src->key_pem),
        .token = dup_or_null(src->token),
        .token_file = dup_or_null(src->token_file),
        .username = dup_or_null(src->username),
        .password = dup_or_null(src->password),
        .impersonate = dup_or_null(src->impersonate),
        .proxy = dup_or_null(src->proxy),
        .insecure = src->insecure,
        .may_resolve = src->may_resolve,
    };
}

struct kube *kube_new(const struct kube_config *config, struct http_client *http, struct err *e)
{
    struct kube *k;

    if (!config->server || !config->ns) {
        err_set(e, ERR_BUG, "no API server configured");
        return NULL;
    }
    struct err why;
    if (!http_url_check(config->server, config->connect_to, config->may_resolve, &why)) {
        err_set(e, ERR_INVALID, "API server (%.100s): %.300s", config->source ? config->source : "",
                why.msg);
        return NULL;
    }
    k = calloc(1, sizeof(*k));
    must(k);
    k->http = http;
    copy_config(&k->cfg, config);
    k->tls = (struct http_tls){.ca_file = k->cfg.ca_file,
                               .ca_pem = k->cfg.ca_pem,
                               .cert_file = k->cfg.cert_file,
                               .cert_pem = k->cfg.cert_pem,
                               .key_file = k->cfg.key_file,
                               .key_pem = k->cfg.key_pem,
                               .insecure = k->cfg.insecure};
    if (!k->cfg.token_file)
        k->token = dup_or_null(k->cfg.token);
    if (k->cfg.username) {
        struct buf b;
        buf_init(&b, 4096);
        buf_printf(&b, "%s:%s", k->cfg.username, k->cfg.password ? k->cfg.password : "");
        k->user_password = dup_or_null(buf_str(&b));
        buf_done(&b);
    }
    for (size_t i = 0; i < KUBE_EVENTS_MAX; i++)
        buf_init(&k->events[i], 8192);
    return k;
}

void kube_free(struct kube *k)
{
    if (!k)
        return;
    kube_events_done(k);
    must(!k->calls && !k->watches);
    free(k->token);
    free(k->user_password);
    kube_config_done(&k->cfg);
    free(k);
}

void kube_set_credentials(struct kube *k, const struct kube_config *config)
{
    must(!k->calls && !k->watches);
    free(k->token);
    free(k->cfg.cert_pem);
    if (k->cfg.key_pem)
        explicit_bzero(k->cfg.key_pem, strlen(k->cfg.key_pem));
    free(k->cfg.key_pem);
    k->token = dup_or_null(config->token);
    k->cfg.cert_pem = dup_or_null(config->cert_pem);
    k->cfg.key_pem = dup_or_null(config->key_pem);
    k->tls.cert_pem = k->cfg.cert_pem;
    k->tls.key_pem = k->cfg.key_pem;
}

const char *kube_namespace(const struct kube *k)
{
    return k->cfg.ns;
}

int64_t kube_contact_ms(const struct kube *k)
{
    return k->contact_ms;
}

size_t kube_stats(const struct kube *k, const struct kube_stat **ret)
{
    *ret = k->stats;
    return k->n_stats;
}

size_t kube_denials(const struct kube *k, const struct kube_denial **ret)
{
    *ret = k->denials;
    return k->n_denials;
}

uint64_t kube_rejected(const struct kube *k)
{
    return k->rejected;
}

uint64_t kube_events_dropped(const struct kube *k)
{
    return k->events_dropped;
}

static void prepare(void *ctx, struct loop *l)
{
    kube_watches_prepare(ctx, l);
    kube_events_prepare(ctx, l);
}

static void dispatch(void *ctx, struct loop *l)
{
    struct kube *k = ctx;
    struct kube_call *next;

    for (struct kube_call *c = k->calls; c; c = next) {
        next = c->next;
        step(c);
    }
    kube_events_step(k, loop_now(l));
    kube_watches_step(k, loop_now(l));
}

struct loop_source kube_source(struct kube *k)
{
    return (struct loop_source){
        .name = "kube", .ctx = k, .prepare = prepare, .dispatch = dispatch};
}
