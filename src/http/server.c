/* REST server: from a request to a rendered document. A document is rendered at most once per
 * publication and millisecond, and only if somebody asks for it; requests share the rendering. */
#include "http/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "http/render.h"
#include "http/routes.h"
#include "listener.h"

#define LISTENERS 2
#define OPENMETRICS ROUTE_DOCS /* the second form of DOC_METRICS */
#define DOCS (ROUTE_DOCS + 1)

struct doc {
    struct MHD_Response *response; /* owned reference */
    uint64_t publication;
    int64_t at_ms;
};

struct http_server {
    struct listener *listener[LISTENERS]; /* TCP, unix; NULL = none */
    bool published;
    struct status status;
    uint64_t publication;
    char *config; /* body of /config, NULL = not set */
    int64_t now_ms;
    int64_t stall_ms;
    struct route_memory memory;
    struct doc doc[DOCS];
    struct MHD_Response *not_found, *bad_method, *bad_query, *not_yet;
    struct http_server_stats stats;
};

static void add_headers(struct MHD_Response *r, const char *type)
{
    bool ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
              MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES;
    must(ok);
}

static struct MHD_Response *fixed(const char *text)
{
    union {
        const char *in;
        void *out;
    } body = {.in = text};
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), body.out, MHD_RESPMEM_MUST_COPY);
    must(r != NULL);
    add_headers(r, "application/json");
    return r;
}

static const char *type_of(size_t doc)
{
    if (doc == OPENMETRICS)
        return "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if (doc == DOC_METRICS)
        return "text/plain; version=0.0.4; charset=utf-8";
    return "application/json";
}

struct http_server_stats http_server_stats(const struct http_server *s)
{
    struct http_server_stats st = s->stats;
    for (size_t i = 0; i < LISTENERS; i++)
        if (s->listener[i]) {
            st.connections += listener_open(s->listener[i]);
            st.dropped += listener_dropped(s->listener[i]);
        }
    return st;
}

static bool render(struct http_server *s, size_t doc, struct buf *b)
{
    struct http_server_stats st = http_server_stats(s);
    switch (doc) {
    case DOC_STATUS:
        return render_status(&s->status, s->now_ms, b);
    case DOC_CLUSTER:
        return render_cluster(&s->status, s->now_ms, b);
    case DOC_HISTORY:
        return render_history(&s->status, s->now_ms, b);
    case DOC_EXPLAIN:
        return render_explain(&s->status, s->now_ms, b);
    case DOC_CONFIG:
        return buf_puts(b, s->config);
    case DOC_METRICS:
    case OPENMETRICS:
        return render_metrics(&s->status, &st, s->now_ms, doc == OPENMETRICS, b);
    default:
        return false;
    }
}

static struct MHD_Response *document(struct http_server *s, size_t doc)
{
    struct doc *d = &s->doc[doc];
    if (d->response && d->publication == s->publication && d->at_ms == s->now_ms)
        return d->response;
    struct buf b;
    buf_init(&b, RENDER_MAX);
    bool ok = render(s, doc, &b);
    must(ok && b.data != NULL);
    if (d->response)
        MHD_destroy_response(d->response); /* lives on where it is still being sent */
    d->response = MHD_create_response_from_buffer(b.len, b.data, MHD_RESPMEM_MUST_FREE);
    must(d->response != NULL);
    add_headers(d->response, type_of(doc));
    d->publication = s->publication;
    d->at_ms = s->now_ms;
    return d->response;
}

static enum MHD_Result answer(struct http_server *s, struct MHD_Connection *c, unsigned code,
                              struct MHD_Response *r)
{
    s->stats.requests++;
    s->stats.by_class[code / 100]++;
    return MHD_queue_response(c, code, r);
}

struct query_reader {
    struct route_query q;
    bool bad;
};

static enum MHD_Result on_argument(void *cls, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    struct query_reader *r = cls;
    (void)kind;
    if (!route_query_add(&r->q, key, value))
        r->bad = true;
    return MHD_YES;
}

static bool wants_openmetrics(struct MHD_Connection *c)
{
    const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    return accept && strstr(accept, "application/openmetrics-text");
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **req_cls)
{
    struct http_server *s = cls;
    struct query_reader r = {.bad = false};
    (void)version, (void)upload;
    const struct route *route = route_find(url);
    bool reads = strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
                 strcmp(method, MHD_HTTP_METHOD_HEAD) == 0 ||
                 strcmp(method, MHD_HTTP_METHOD_OPTIONS) == 0;
    if (route && !reads)
        return answer(s, c, MHD_HTTP_METHOD_NOT_ALLOWED, s->bad_method);
    /* An answer in the first call ends the connection in this library: right for a body that nobody
     * wants, wrong for a probe that keeps its connection. */
    if (reads && *req_cls == NULL) {
        *req_cls = s;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    if (!route)
        return answer(s, c, MHD_HTTP_NOT_FOUND, s->not_found);
    if (route->check != CHECK_ALWAYS) {
        (void)MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, on_argument, &r);
        if (r.bad)
            return answer(s, c, MHD_HTTP_BAD_REQUEST, s->bad_query);
    }
    if (!s->published || (route->doc == DOC_CONFIG && !s->config))
        return answer(s, c, MHD_HTTP_SERVICE_UNAVAILABLE, s->not_yet);
    size_t doc = route->doc;
    if (doc == DOC_METRICS && wants_openmetrics(c))
        doc = OPENMETRICS;
    struct route_time t = {.now_ms = s->now_ms, .stall_ms = s->stall_ms};
    bool pass = route_passes(route->check, &s->status, &r.q, &t, &s->memory);
    return answer(s, c, pass ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, document(s, doc));
}

static bool open_listener(struct http_server *s, size_t i, const struct http_server_opts *o,
                          const char *listen, const char *unix_path, struct err *e)
{
    struct listener_opts lo = {
        .listen = listen,
        .unix_path = unix_path,
        .connections_max = o->connections_max ? o->connections_max : 256,
        .request_ms = o->request_ms ? o->request_ms : 5000,
        .idle_ms = o->idle_ms ? o->idle_ms : 60000,
        .handle = handle,
        .ctx = s,
    };
    s->listener[i] = listener_new(&lo, e);
    return s->listener[i] != NULL;
}

struct http_server *http_server_new(const struct http_server_opts *o, struct err *e)
{
    struct http_server *s = calloc(1, sizeof(*s));
    must(s != NULL);
    s->stall_ms = o->stall_ms ? o->stall_ms : 10000;
    s->not_found = fixed("{\"error\":\"no such path\"}\n");
    s->bad_method = fixed("{\"error\":\"only GET, HEAD and OPTIONS\"}\n");
    bool ok = MHD_add_response_header(s->bad_method, MHD_HTTP_HEADER_ALLOW,
                                      "GET, HEAD, OPTIONS") == MHD_YES;
    must(ok);
    s->bad_query = fixed("{\"error\":\"lag is bytes or has kB, MB, GB, TB; mode is apply or write; "
                         "replication_state and tag_NAME need a value\"}\n");
    s->not_yet = fixed("{\"error\":\"nothing is known yet\"}\n");
    if ((o->listen && !open_listener(s, 0, o, o->listen, NULL, e)) ||
        (o->unix_path && !open_listener(s, 1, o, NULL, o->unix_path, e))) {
        http_server_free(s);
        return NULL;
    }
    return s;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < LISTENERS; i++)
        listener_free(s->listener[i]);
    for (size_t i = 0; i < DOCS; i++)
        if (s->doc[i].response)
            MHD_destroy_response(s->doc[i].response);
    MHD_destroy_response(s->not_found);
    MHD_destroy_response(s->bad_method);
    MHD_destroy_response(s->bad_query);
    MHD_destroy_response(s->not_yet);
    free(s->config);
    free(s);
}

static void prepare(void *ctx, struct loop *l)
{
    struct http_server *s = ctx;
    for (size_t i = 0; i < LISTENERS; i++)
        if (s->listener[i])
            listener_prepare(s->listener[i], l);
}

static void dispatch(void *ctx, struct loop *l)
{
    struct http_server *s = ctx;
    s->now_ms = loop_now(l);
    for (size_t i = 0; i < LISTENERS; i++)
        if (s->listener[i])
            listener_dispatch(s->listener[i], l);
}

struct loop_source http_server_source(struct http_server *s)
{
    return (struct loop_source){
        .name = "rest", .ctx = s, .prepare = prepare, .dispatch = dispatch};
}

void http_server_publish(struct http_server *s, const struct status *st)
{
    s->status = *st;
    s->published = true;
    s->publication++;
}

void http_server_set_config(struct http_server *s, const char *json)
{
    char *copy = strdup(json);
    must(copy != NULL);
    free(s->config);
    s->config = copy;
    s->publication++;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->listener[0] ? listener_port(s->listener[0]) : 0;
}
