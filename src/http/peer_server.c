/* Peer listener: checks the token, decodes, answers STATE at once and holds VOTE and PROMISE until the
 * agent has acted or PEER_ANSWER_MS have passed.
 *
 * A promise is given by the agent's own answer only: the published state is always sent without one,
 * because an asker may extend its right by what it reads here. */
#include "http/peer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "listener.h"

#define AUTH_PREFIX "Bearer "

/* One request on a connection. */
struct exchange {
    struct peer_server *server;
    struct MHD_Connection *connection;
    bool has_reply; /* reply is meant, send it */
    bool waiting;   /* suspended, in server->waiting */
    unsigned code;
    struct peer_inbox in;
    struct buf body;
    struct buf reply;
};

struct peer_server {
    struct listener *listener;
    struct peer_tokens tokens;
    bool published;
    struct peer_state state;
    int64_t state_ms; /* when it was published */
    int64_t now_ms;
    uint64_t next_ticket;
    struct exchange *waiting[PEER_PENDING_MAX]; /* oldest first */
    size_t waiting_n;
    struct peer_inbox last[PEER_PENDING_MAX];
    size_t last_n;
    struct peer_server_stats stats;
};

/* Time depends on the lengths only. */
static bool equal_secret(const char *a, const char *b)
{
    size_t n = strlen(a);
    volatile unsigned char diff = 0;
    if (strlen(b) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        diff = (unsigned char)(diff | (unsigned char)(a[i] ^ b[i]));
    return diff == 0;
}

static bool authorized(const struct peer_server *s, struct MHD_Connection *c)
{
    const char *h =
        MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    bool ok = false;
    if (!h || !str_starts(h, AUTH_PREFIX))
        return false;
    for (size_t i = 0; i < s->tokens.n; i++)
        ok |= equal_secret(s->tokens.t[i], h + strlen(AUTH_PREFIX));
    return ok;
}

static enum MHD_Result respond(struct MHD_Connection *c, unsigned code, const struct buf *body,
                               const char *header, const char *value)
{
    union {
        const char *in;
        void *out;
    } text = {.in = body ? buf_str(body) : ""};
    struct MHD_Response *r = MHD_create_response_from_buffer(body ? body->len : 0, text.out,
                                                             MHD_RESPMEM_MUST_COPY);
    must(r != NULL);
    if (body)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    if (header)
        (void)MHD_add_response_header(r, header, value);
    enum MHD_Result ok = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return ok;
}

static void set_reply(struct exchange *x, const struct peer_state *st)
{
    buf_clear(&x->reply);
    bool ok = peer_state_encode(st, &x->reply);
    must(ok);
    x->code = MHD_HTTP_OK;
    x->has_reply = true;
}

static void set_published(struct exchange *x)
{
    struct peer_state st = x->server->state;
    st.promise_ms = 0;
    if (st.written_ago_ms > 0) /* true when it was published, and the answer may come later */
        st.written_ago_ms += clock_boot_ms() - x->server->state_ms;
    if (x->server->published) {
        set_reply(x, &st);
    } else {
        x->code = MHD_HTTP_SERVICE_UNAVAILABLE;
        x->has_reply = true;
    }
}

static void remove_waiting(struct exchange *x)
{
    struct peer_server *s = x->server;
    size_t i = 0;
    while (i < s->waiting_n && s->waiting[i] != x)
        i++;
    if (i == s->waiting_n)
        return;
    memmove(&s->waiting[i], &s->waiting[i + 1], (s->waiting_n - i - 1) * sizeof(s->waiting[0]));
    s->waiting_n--;
    x->waiting = false;
}

static void resume(struct exchange *x)
{
    remove_waiting(x);
    MHD_resume_connection(x->connection);
    listener_kick(x->server->listener);
}

static void remember(struct peer_server *s, struct peer_inbox *in)
{
    size_t at = 0;
    in->gap_ms = PEER_NO_GAP;
    for (size_t i = 0; i < s->last_n; i++) {
        if (strcmp(s->last[i].req.from.name.s, in->req.from.name.s) == 0) {
            in->gap_ms = in->received_ms - s->last[i].received_ms;
            s->last[i] = *in;
            return;
        }
        if (s->last[i].received_ms < s->last[at].received_ms)
            at = i;
    }
    if (s->last_n < PEER_PENDING_MAX)
        at = s->last_n++;
    s->last[at] = *in;
}

static void wait_for_agent(struct exchange *x)
{
    struct peer_server *s = x->server;
    for (size_t i = 0; i < s->waiting_n; i++)
        if (strcmp(s->waiting[i]->in.req.from.name.s, x->in.req.from.name.s) == 0) {
            set_published(s->waiting[i]);
            resume(s->waiting[i]);
            break;
        }
    if (s->waiting_n == PEER_PENDING_MAX) {
        set_published(s->waiting[0]);
        resume(s->waiting[0]);
    }
    s->waiting[s->waiting_n++] = x;
    x->waiting = true;
    MHD_suspend_connection(x->connection);
}

static enum MHD_Result take_request(struct exchange *x)
{
    struct peer_server *s = x->server;
    struct err e = {0};
    if (!peer_request_decode(buf_str(&x->body), x->body.len, &x->in.req, &e)) {
        s->stats.rejected++;
        return respond(x->connection, MHD_HTTP_BAD_REQUEST, NULL, NULL, NULL);
    }
    s->stats.requests++;
    x->in.ticket = ++s->next_ticket;
    x->in.received_ms = s->now_ms;
    remember(s, &x->in);
    if (x->in.req.ask == PEER_STATE || !s->published) {
        set_published(x);
        return respond(x->connection, x->code, &x->reply, NULL, NULL);
    }
    wait_for_agent(x);
    return MHD_YES;
}

/* The library takes an answer before the body or after it, not in between. */
static bool declared_too_large(struct MHD_Connection *c)
{
    const char *n = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t v;
    return n && !str_to_i64(n, 0, PEER_BODY_MAX, &v);
}

static struct exchange *begin(struct peer_server *s, struct MHD_Connection *c)
{
    struct exchange *x = calloc(1, sizeof(*x));
    must(x != NULL);
    x->server = s;
    x->connection = c;
    buf_init(&x->body, PEER_BODY_MAX);
    buf_init(&x->reply, PEER_BODY_MAX);
    return x;
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **req_cls)
{
    struct peer_server *s = cls;
    struct exchange *x = *req_cls;
    (void)version;
    if (!x) {
        if (!authorized(s, c)) {
            s->stats.unauthorized++;
            return respond(c, MHD_HTTP_UNAUTHORIZED, NULL, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                           "Bearer");
        }
        if (strcmp(url, "/peer") != 0)
            return respond(c, MHD_HTTP_NOT_FOUND, NULL, NULL, NULL);
        if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
            return respond(c, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, MHD_HTTP_HEADER_ALLOW, "POST");
        if (declared_too_large(c)) {
            s->stats.rejected++;
            return respond(c, MHD_HTTP_BAD_REQUEST, NULL, NULL, NULL);
        }
        *req_cls = begin(s, c);
        return MHD_YES;
    }
    if (*upload_size > 0) {
        if (!buf_put(&x->body, upload, *upload_size)) {
            s->stats.rejected++;
            return MHD_NO; /* closes the connection */
        }
        *upload_size = 0;
        return MHD_YES;
    }
    if (x->has_reply)
        return respond(c, x->code, &x->reply, NULL, NULL);
    return take_request(x);
}

static void completed(void *cls, struct MHD_Connection *c, void **req_cls,
                      enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *req_cls;
    (void)cls, (void)c, (void)code;
    if (!x)
        return;
    remove_waiting(x);
    buf_done(&x->body);
    buf_done(&x->reply);
    free(x);
    *req_cls = NULL;
}

struct peer_server *peer_server_new(const struct peer_server_opts *o, struct err *e)
{
    struct peer_server *s = calloc(1, sizeof(*s));
    must(s != NULL);
    s->tokens = *o->tokens;
    struct listener_opts lo = {
        .listen = o->listen,
        .connections_max = o->connections_max ? o->connections_max : 64,
        .request_ms = 5000,
        .idle_ms = 60000,
        .handle = handle,
        .completed = completed,
        .ctx = s,
    };
    s->listener = listener_new(&lo, e);
    if (!s->listener) {
        peer_server_free(s);
        return NULL;
    }
    return s;
}

void peer_server_free(struct peer_server *s)
{
    if (!s)
        return;
    while (s->waiting_n > 0) {
        set_published(s->waiting[0]);
        resume(s->waiting[0]);
    }
    listener_free(s->listener);
    explicit_bzero(&s->tokens, sizeof(s->tokens));
    free(s);
}

static void prepare(void *ctx, struct loop *l)
{
    struct peer_server *s = ctx;
    if (s->waiting_n > 0)
        loop_wake_at(l, s->waiting[0]->in.received_ms + PEER_ANSWER_MS);
    listener_prepare(s->listener, l);
}

static void dispatch(void *ctx, struct loop *l)
{
    struct peer_server *s = ctx;
    s->now_ms = loop_now(l);
    while (s->waiting_n > 0 && s->now_ms - s->waiting[0]->in.received_ms >= PEER_ANSWER_MS) {
        s->stats.timed_out++;
        set_published(s->waiting[0]);
        resume(s->waiting[0]);
    }
    listener_dispatch(s->listener, l);
}

struct loop_source peer_server_source(struct peer_server *s)
{
    return (struct loop_source){
        .name = "peer-server", .ctx = s, .prepare = prepare, .dispatch = dispatch};
}

uint16_t peer_server_port(const struct peer_server *s)
{
    return listener_port(s->listener);
}

void peer_server_set_tokens(struct peer_server *s, const struct peer_tokens *t)
{
    s->tokens = *t;
}

void peer_server_publish(struct peer_server *s, const struct peer_state *st)
{
    s->state = *st;
    s->state_ms = clock_boot_ms();
    s->published = true;
}

const struct peer_inbox *peer_server_pending(const struct peer_server *s, size_t i)
{
    return i < s->waiting_n ? &s->waiting[i]->in : NULL;
}

bool peer_server_answer(struct peer_server *s, uint64_t ticket, const struct peer_state *st)
{
    for (size_t i = 0; i < s->waiting_n; i++)
        if (s->waiting[i]->in.ticket == ticket) {
            struct exchange *x = s->waiting[i];
            set_reply(x, st);
            resume(x);
            return true;
        }
    return false;
}

const struct peer_inbox *peer_server_last(const struct peer_server *s, size_t i)
{
    return i < s->last_n ? &s->last[i] : NULL;
}

struct peer_server_stats peer_server_stats(const struct peer_server *s)
{
    return s->stats;
}
