/* The life of one request: read, match faults, wait, commit, wait, answer. A waiting request is
 * suspended, so that one thread serves everybody else meanwhile. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "devkube/control.h"
#include "devkube/server_internal.h"
#include "devkube/watch.h"

#define REQUEST_MAX ((size_t)3 << 20) /* the limit of kube-apiserver */
#define STREAM_MAX ((size_t)256 << 20)
#define BLOCK_BYTES ((size_t)16 << 10)
#define TIMEOUT_MAX_MS 60000
#define GONE_MAX 512

enum phase { PHASE_READ, PHASE_COMMIT, PHASE_CONCLUDE, PHASE_SEND, PHASE_HANG };

struct exchange {
    struct conn *cn;
    struct MHD_Connection *mc;
    struct api_request rq;
    char *path;
    char *user;
    char *ns;
    char method[16];
    struct buf body;
    bool too_large;
    bool refused;   /* 401: nothing is routed */
    bool timed_out; /* ?timeout= passes before the commit */
    bool cut;       /* the only part of a truncated stream is under way */
    enum phase phase;
    struct fault_effects fx;
    struct reply rp;
    struct buf stream; /* events of a watch, rendered but not sent */
    bool suspended;
    int64_t wake_at_ms;
    struct exchange *prev, *next;
};

static const char *query_arg(void *ctx, const char *key)
{
    const struct exchange *ex = ctx;
    return MHD_lookup_connection_value(ex->mc, MHD_GET_ARGUMENT_KIND, key);
}

static struct exchange *exchange_new(struct conn *cn, struct MHD_Connection *mc, const char *url,
                                     const char *method)
{
    struct exchange *ex = calloc(1, sizeof(*ex));
    must(ex);
    ex->cn = cn;
    ex->mc = mc;
    ex->path = strdup(url);
    must(ex->path);
    if (!str_copy(ex->method, sizeof(ex->method), method))
        must(str_copy(ex->method, sizeof(ex->method), "OTHER"));
    buf_init(&ex->body, REQUEST_MAX);
    buf_init(&ex->stream, STREAM_MAX);
    reply_init(&ex->rp);
    cn->ex = ex;
    return ex;
}

static void exchange_free(struct exchange *ex)
{
    ex->cn->ex = NULL;
    watch_free(ex->rp.watch);
    reply_done(&ex->rp);
    buf_done(&ex->body);
    buf_done(&ex->stream);
    store_unref(ex->fx.stale);
    free(ex->user);
    free(ex->ns);
    free(ex->path);
    free(ex);
}

static void exchange_suspend(struct exchange *ex, int64_t wake_at_ms)
{
    struct server *sv = ex->cn->sv;
    ex->suspended = true;
    ex->wake_at_ms = wake_at_ms;
    ex->prev = NULL;
    ex->next = sv->suspended;
    if (ex->next)
        ex->next->prev = ex;
    sv->suspended = ex;
    MHD_suspend_connection(ex->mc);
}

void exchange_resume(struct exchange *ex)
{
    if (!ex->suspended)
        return;
    ex->suspended = false;
    if (ex->prev)
        ex->prev->next = ex->next;
    else
        ex->cn->sv->suspended = ex->next;
    if (ex->next)
        ex->next->prev = ex->prev;
    MHD_resume_connection(ex->mc);
    /* libmicrohttpd 0.9.75 takes a resumed connection back in its next turn and serves it in the
     * one after, and reports no timeout for either. */
    ex->cn->sv->turns_due = 2;
}

void exchange_wake_watches(struct server *sv, const struct resource *res)
{
    for (struct exchange *ex = sv->suspended, *next; ex; ex = next) {
        next = ex->next;
        if (ex->phase == PHASE_SEND && ex->rp.watch &&
            (!res || watch_resource(ex->rp.watch) == res))
            exchange_resume(ex);
    }
}

int64_t exchange_count_watches(const struct server *sv)
{
    int64_t n = 0;
    for (const struct conn *c = sv->conns; c; c = c->next)
        n += c->ex && c->ex->rp.watch;
    return n;
}

void exchange_drop_gone(struct server *sv)
{
    struct pollfd fds[GONE_MAX];
    struct exchange *who[GONE_MAX];
    nfds_t n = 0;
    for (struct exchange *ex = sv->suspended; ex && n < GONE_MAX; ex = ex->next) {
        /* Such a request is to commit although nobody waits for it any more. */
        if (ex->phase == PHASE_COMMIT && ex->fx.ignore_timeout)
            continue;
        who[n] = ex;
        fds[n++] = (struct pollfd){.fd = ex->cn->fd, .events = POLLRDHUP};
    }
    if (poll(fds, n, 0) <= 0)
        return;
    for (nfds_t i = 0; i < n; i++) {
        if (!fds[i].revents)
            continue;
        who[i]->cn->dead = true;
        exchange_resume(who[i]);
    }
}

static struct fault_key fault_key(const struct exchange *ex)
{
    return (struct fault_key){.source = ex->cn->source,
                              .user = ex->user,
                              .verb = ex->rq.verb,
                              .resource = ex->rq.resource,
                              .ns = ex->rq.ns,
                              .name = ex->rq.target};
}

static void count(const struct exchange *ex, unsigned code)
{
    journal_count(ex->cn->sv->journal, ex->user, ex->rq.verb, ex->rq.resource, code);
}

/* Go's duration, as far as clients write it: 500ms, 3s, 1m. */
static int64_t timeout_ms(const struct api_request *rq)
{
    const char *arg = api_arg(rq, "timeout");
    if (!arg)
        return TIMEOUT_MAX_MS;
    char *end;
    double v = strtod(arg, &end);
    double unit = str_eq(end, "ms") ? 1 : str_eq(end, "s") ? 1e3 : str_eq(end, "m") ? 6e4 : 0;
    double ms = v * unit;
    return ms > 0 && ms < TIMEOUT_MAX_MS ? (int64_t)ms : TIMEOUT_MAX_MS;
}

static enum MHD_Result drop(struct exchange *ex)
{
    count(ex, 0);
    conn_reset(ex->cn);
    return MHD_NO;
}

static enum MHD_Result hang(struct exchange *ex)
{
    count(ex, 0);
    ex->phase = PHASE_HANG;
    exchange_suspend(ex, INT64_MAX);
    return MHD_YES;
}

/* --- answering --- */

static ssize_t read_huge(const struct exchange *ex, uint64_t pos, char *dst, size_t max)
{
    static const char head[] = "{\"padding\":\"";
    uint64_t total = (uint64_t)ex->fx.huge << 20;
    if (pos >= total)
        return MHD_CONTENT_READER_END_OF_STREAM;
    size_t n = max < total - pos ? max : (size_t)(total - pos);
    memset(dst, 'x', n);
    for (size_t i = 0; i < n && pos + i < sizeof(head) - 1; i++)
        dst[i] = head[pos + i];
    if (pos + n == total)
        dst[n - 1] = '}';
    if (pos < total - 1 && pos + n >= total - 1)
        dst[total - 2 - pos] = '"';
    return (ssize_t)n;
}

/* Puts the next event into the stream; false: *ret is what the reader has to return. */
static bool refill(struct exchange *ex, ssize_t *ret)
{
    struct server *sv = ex->cn->sv;
    struct fault_key key = fault_key(ex);
    struct watch *w = ex->rp.watch;
    *ret = 0;
    if (faults_frozen(sv->faults, &key)) {
        exchange_suspend(ex, INT64_MAX);
        return false;
    }
    if (faults_expire(sv->faults, &key))
        watch_expire(w);
    switch (watch_next(w, clock_boot_ms(), &ex->stream)) {
    case WATCH_DATA:
        return true;
    case WATCH_IDLE:
        exchange_suspend(ex, watch_wake_at(w));
        return false;
    case WATCH_END:
        break;
    }
    *ret = MHD_CONTENT_READER_END_OF_STREAM;
    return false;
}

static ssize_t read_watch(struct exchange *ex, char *dst, size_t max)
{
    ssize_t ret;
    if (ex->stream.len == 0) {
        if (ex->cut)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (!refill(ex, &ret))
            return ret;
        if (ex->fx.truncate) {
            ex->stream.len /= 2;
            ex->cut = true;
        }
    }
    size_t n = ex->fx.chunk1 ? 1 : max < ex->stream.len ? max : ex->stream.len;
    memcpy(dst, ex->stream.data, n);
    buf_consume(&ex->stream, n);
    return (ssize_t)n;
}

static ssize_t read_body(void *cls, uint64_t pos, char *dst, size_t max)
{
    struct exchange *ex = cls;
    const struct buf *body = &ex->rp.body;
    if (ex->cn->dead)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (ex->fx.huge)
        return read_huge(ex, pos, dst, max);
    if (ex->rp.watch)
        return read_watch(ex, dst, max);
    size_t end = ex->fx.truncate ? body->len / 2 : body->len;
    if (pos >= end)
        return ex->fx.truncate ? MHD_CONTENT_READER_END_WITH_ERROR
                               : MHD_CONTENT_READER_END_OF_STREAM;
    size_t n = max < end - pos ? max : end - (size_t)pos;
    if (ex->fx.chunk1)
        n = 1;
    memcpy(dst, body->data + pos, n);
    return (ssize_t)n;
}

static struct MHD_Response *response_new(struct exchange *ex)
{
    struct reply *rp = &ex->rp;
    if (ex->fx.huge)
        return MHD_create_response_from_callback((uint64_t)ex->fx.huge << 20, BLOCK_BYTES,
                                                 read_body, ex, NULL);
    if (rp->watch || ex->fx.chunk1)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_body, ex,
                                                 NULL);
    if (ex->fx.truncate)
        return MHD_create_response_from_callback(rp->body.len, BLOCK_BYTES, read_body, ex, NULL);
    return MHD_create_response_from_buffer(rp->body.len, rp->body.data, MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result send_reply(struct exchange *ex)
{
    char seconds[16];
    struct reply *rp = &ex->rp;
    struct MHD_Response *r = response_new(ex);
    must(r);
    ex->phase = PHASE_SEND;
    MHD_add_response_header(r, "Content-Type", rp->type);
    MHD_add_response_header(r, "Cache-Control", "no-cache, private");
    if (rp->retry_after_s > 0) {
        must(str_format(seconds, sizeof(seconds), "%d", rp->retry_after_s));
        MHD_add_response_header(r, "Retry-After", seconds);
    }
    enum MHD_Result ret = MHD_queue_response(ex->mc, rp->status, r);
    MHD_destroy_response(r);
    return ret;
}

/* --- the phases --- */

static void spoil_body(struct exchange *ex)
{
    struct reply *rp = &ex->rp;
    if (!ex->fx.garbage && !ex->fx.huge)
        return;
    watch_free(rp->watch);
    rp->watch = NULL;
    reply_text(rp, 200, "<html><body>not what you expected</body></html>");
    rp->type = "application/json";
}

/* The step that changes the store. It needs no client any more. */
static void commit(struct exchange *ex)
{
    struct server *sv = ex->cn->sv;
    struct fault_effects *fx = &ex->fx;
    struct reply *rp = &ex->rp;
    ex->phase = PHASE_CONCLUDE;
    if (ex->timed_out)
        reply_timeout(rp);
    else if (fx->status && !fx->commit)
        faults_answer(fx, &ex->rq, rp);
    else
        api_handle(&sv->api, &ex->rq, fx->stale ? fx->stale : sv->api.st, rp);
    if (fx->status && fx->commit)
        faults_answer(fx, &ex->rq, rp);
    spoil_body(ex);
}

static enum MHD_Result conclude(struct exchange *ex)
{
    if (ex->fx.drop_after)
        return drop(ex);
    if (ex->fx.half_open)
        return hang(ex);
    count(ex, ex->rp.status);
    if (ex->fx.delay_after_ms <= 0)
        return send_reply(ex);
    ex->phase = PHASE_SEND;
    exchange_suspend(ex, clock_boot_ms() + ex->fx.delay_after_ms);
    return MHD_YES;
}

static enum MHD_Result commit_now(struct exchange *ex)
{
    commit(ex);
    return conclude(ex);
}

static enum MHD_Result begin_faults(struct exchange *ex)
{
    struct server *sv = ex->cn->sv;
    struct fault_effects *fx = &ex->fx;
    struct fault_key key = fault_key(ex);
    ex->phase = PHASE_COMMIT;
    if (!faults_fire(sv->faults, &key, fx))
        return commit_now(ex);
    if (fx->refuse || fx->drop_before)
        return drop(ex);
    if (fx->half_open && !fx->commit)
        return hang(ex);
    int64_t delay_ms = fx->delay_before_ms;
    int64_t limit_ms = timeout_ms(&ex->rq);
    if (delay_ms > limit_ms && !fx->ignore_timeout && !str_eq(ex->rq.verb, "watch")) {
        delay_ms = limit_ms;
        ex->timed_out = true;
    }
    if (delay_ms <= 0)
        return commit_now(ex);
    exchange_suspend(ex, clock_boot_ms() + delay_ms);
    return MHD_YES;
}

static void prepare_request(struct exchange *ex)
{
    const char *user = "";
    const char *ns = "";
    const char *auth = MHD_lookup_connection_value(ex->mc, MHD_HEADER_KIND, "Authorization");
    ex->refused = !users_find(ex->cn->sv->opt.users, auth, &user, &ns);
    ex->user = strdup(user);
    ex->ns = strdup(ns);
    must(ex->user && ex->ns);
    ex->rq = (struct api_request){
        .method = ex->method,
        .path = ex->path,
        .content_type = MHD_lookup_connection_value(ex->mc, MHD_HEADER_KIND, "Content-Type"),
        .user = ex->user,
        .user_ns = ex->ns,
        .body = buf_str(&ex->body),
        .body_len = ex->body.len,
        .arg = query_arg,
        .arg_ctx = ex,
    };
    api_route(&ex->rq);
}

static enum MHD_Result begin(struct exchange *ex)
{
    prepare_request(ex);
    if (control_is_path(ex->path)) {
        control_handle(ex->cn->sv, &ex->rq, &ex->rp);
        return send_reply(ex);
    }
    if (ex->refused) {
        reply_unauthorized(&ex->rp);
    } else if (ex->too_large) {
        reply_status(&ex->rp, 413, "RequestEntityTooLarge", json_object_new_object(),
                     "Request entity too large: limit is %zu", REQUEST_MAX);
    } else {
        return begin_faults(ex);
    }
    count(ex, ex->rp.status);
    return send_reply(ex);
}

int64_t exchange_wake_due(struct server *sv, int64_t now_ms)
{
    int64_t next_at = INT64_MAX;
    for (struct exchange *ex = sv->suspended, *next; ex; ex = next) {
        next = ex->next;
        if (ex->wake_at_ms > now_ms) {
            next_at = ex->wake_at_ms < next_at ? ex->wake_at_ms : next_at;
            continue;
        }
        /* Committed here, since libmicrohttpd would not come back to us for a client that has
         * closed. The commit wakes watches and so changes the list. */
        bool commits = ex->phase == PHASE_COMMIT && !ex->cn->dead;
        exchange_resume(ex);
        if (commits) {
            commit(ex);
            next = sv->suspended;
        }
    }
    return next_at;
}

static enum MHD_Result proceed(struct exchange *ex)
{
    switch (ex->phase) {
    case PHASE_READ:
        return begin(ex);
    case PHASE_CONCLUDE:
        return conclude(ex);
    case PHASE_SEND:
        return send_reply(ex);
    case PHASE_COMMIT: /* woken early: only when the client has gone */
    case PHASE_HANG:
        break;
    }
    return MHD_NO;
}

enum MHD_Result exchange_on_request(void *cls, struct MHD_Connection *mc, const char *url,
                                    const char *method, const char *version, const char *data,
                                    size_t *data_size, void **req)
{
    struct server *sv = cls;
    (void)version;
    struct exchange *ex = *req;
    if (!ex) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        *req = exchange_new(info->socket_context, mc, url, method);
        return MHD_YES;
    }
    if (*data_size > 0) {
        ex->too_large = !buf_put(&ex->body, data, *data_size) || ex->too_large;
        *data_size = 0;
        return MHD_YES;
    }
    if (ex->cn->dead)
        return MHD_NO;
    sv->active = ex->cn;
    enum MHD_Result ret = proceed(ex);
    sv->active = NULL;
    return ret;
}

void exchange_on_done(void *cls, struct MHD_Connection *mc, void **req,
                      enum MHD_RequestTerminationCode why)
{
    (void)cls;
    (void)mc;
    (void)why;
    if (*req)
        exchange_free(*req);
    *req = NULL;
}
