/* The connection of a command line: the Kubernetes API through src/kube, members' REST through the
 * HTTP client. Calls block their caller, not the loop. */
#include "hactl/api.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "http/client.h"
#include "kube/client.h"
#include "loop/loop.h"
#include "loop/proc.h"

#define FETCH_MAX 64
#define FETCH_BODY_MAX (1024 * 1024)
#define FETCH_CHANNELS 16
#define EXEC_MS 60000 /* a credential plugin may ask its user to log in */

struct api {
    struct loop *loop;
    struct http_client *http;
    struct kube *kube; /* NULL with --socket */
    struct kube_config config;
    const char *socket; /* borrowed from argv; NULL = none */
};

static bool connect_kube(struct api *a, const struct args *args, struct err *e)
{
    struct kube_settings s = {
        .kubeconfig = args->value[OPT_KUBECONFIG],
        .context = args->value[OPT_CONTEXT],
        .ns = args->value[OPT_NAMESPACE],
        .may_resolve = true,
        .env = environ,
    };

    if (!kube_config_load(&a->config, &s, e) ||
        !kube_config_run_exec(&a->config, a->loop, environ, clock_boot_ms() + EXEC_MS, e))
        return false;
    const char *ns = a->config.ns;
    if (ns[strspn(ns, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
        return err_set(e, ERR_INVALID, "\"%.80s\" is not the name of a namespace", ns);
    a->kube = kube_new(&a->config, a->http, e);
    if (!a->kube)
        return false;
    struct loop_source source = kube_source(a->kube);
    loop_add(a->loop, &source);
    return true;
}

struct api *api_new(const struct args *args, struct err *e)
{
    struct api *a = calloc(1, sizeof(*a));
    struct loop_source source;

    must(a && (a->loop = loop_new()) && (a->http = http_client_new("hactl/" PGHAD_VERSION)));
    source = proc_source();
    loop_add(a->loop, &source);
    source = http_client_source(a->http);
    loop_add(a->loop, &source);
    a->socket = args->value[OPT_SOCKET];
    if (!a->socket && !connect_kube(a, args, e)) {
        api_free(a);
        return NULL;
    }
    return a;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    kube_free(a->kube);
    http_client_free(a->http);
    kube_config_done(&a->config);
    loop_free(a->loop);
    free(a);
}

const char *api_namespace(const struct api *a)
{
    return a->kube ? kube_namespace(a->kube) : "";
}

bool api_is_socket(const struct api *a)
{
    return a->socket != NULL;
}

const char *api_whom(const struct api *a, char *dst, size_t size)
{
    const struct kube_config *c = &a->config;

    if (a->socket || !str_format(dst, size, "%s, %s%s%s%s", c->server, c->source,
                                 c->context ? ", context \"" : "", c->context ? c->context : "",
                                 c->context ? "\"" : ""))
        return "";
    return dst;
}

static bool ask(struct api *a, const char *method, const char *path, const char *content_type,
                const char *body, int64_t deadline_ms, struct json_object **ret, struct err *e)
{
    int64_t own = clock_boot_ms() + API_REQUEST_MS;
    struct kube_call *c;
    bool ok;

    must(a->kube);
    if (deadline_ms == 0 || own < deadline_ms)
        deadline_ms = own;
    c = kube_request(a->kube, method, path, content_type, body, deadline_ms);
    while (kube_call_outcome(c) == KUBE_PENDING)
        loop_turn(a->loop, 1000);
    const struct kube_reply *r = kube_call_reply(c);
    ok = r->outcome == KUBE_OK;
    if (ok && ret) {
        ok = r->body != NULL;
        if (ok)
            *ret = json_object_get(r->body);
        else
            err_set(e, ERR_CORRUPT, "the API server's answer is no JSON object");
    } else if (!ok) {
        *e = r->err;
    }
    kube_call_free(c);
    return ok;
}

static bool request(struct api *a, const char *method, const char *path, const char *content_type,
                    const char *body, int64_t deadline_ms, struct json_object **ret, struct err *e)
{
    if (ask(a, method, path, content_type, body, deadline_ms, ret, e))
        return true;
    if (e->code != 401 || !a->config.exec.argv)
        return false;
    /* What a plugin gave expires during --watch and wait. */
    struct err again;
    if (!kube_config_run_exec(&a->config, a->loop, environ, clock_boot_ms() + EXEC_MS, &again)) {
        *e = again;
        return false;
    }
    kube_set_credentials(a->kube, &a->config);
    return ask(a, method, path, content_type, body, deadline_ms, ret, e);
}

bool api_call(struct api *a, const char *method, const char *path, const char *body,
              int64_t deadline_ms, struct json_object **ret, struct err *e)
{
    return request(a, method, path, NULL, body, deadline_ms, ret, e);
}

bool api_patch(struct api *a, const char *path, const char *content_type, const char *body,
               int64_t deadline_ms, struct json_object **ret, struct err *e)
{
    return request(a, "PATCH", path, content_type, body, deadline_ms, ret, e);
}

/* An IPv6 address needs brackets in a URL (RFC 3986, 3.2.2). */
static bool fetch_url(char *dst, size_t size, const struct api *a, const struct api_fetch *f)
{
    bool v6 = strchr(f->host, ':') != NULL;

    if (a->socket)
        return str_format(dst, size, "http://localhost%s", f->path);
    return str_format(dst, size, "http://%s%s%s:%lld%s", v6 ? "[" : "", f->host, v6 ? "]" : "",
                      (long long)f->port, f->path);
}

static struct http_call *fetch_start(struct api *a, const struct api_fetch *f, size_t i,
                                     int64_t deadline_ms)
{
    char url[256], channel[24];
    struct http_request r = {
        .channel = channel,
        .method = "GET",
        .url = url,
        .unix_socket = a->socket,
        .deadline_ms = deadline_ms,
        .body_max = FETCH_BODY_MAX,
    };

    if (!fetch_url(url, sizeof(url), a, f) ||
        !str_format(channel, sizeof(channel), "member-%zu", i % FETCH_CHANNELS))
        return NULL;
    return http_start(a->http, &r);
}

/* Health documents come with 200 or 503: both are answers. */
static struct json_object *fetch_document(const struct http_result *r)
{
    struct json_tokener *t;
    struct json_object *o;

    if (r->err.kind != ERR_NONE || (r->status != 200 && r->status != 503) || r->body.len == 0)
        return NULL;
    t = json_tokener_new_ex(32);
    must(t);
    o = json_tokener_parse_ex(t, r->body.data, (int)r->body.len);
    json_tokener_free(t);
    return o;
}

void api_fetch_all(struct api *a, struct api_fetch *f, size_t n, int64_t deadline_ms)
{
    struct http_call *calls[FETCH_MAX] = {NULL};
    bool pending = true;

    if (n > FETCH_MAX)
        n = FETCH_MAX;
    for (size_t i = 0; i < n; i++)
        calls[i] = fetch_start(a, &f[i], i, deadline_ms);
    while (pending) {
        pending = false;
        for (size_t i = 0; i < n; i++)
            pending = pending || (calls[i] && http_call_state(calls[i]) == HTTP_PENDING);
        if (pending)
            loop_turn(a->loop, 1000);
    }
    for (size_t i = 0; i < n; i++) {
        f[i].doc = calls[i] ? fetch_document(http_call_result(calls[i])) : NULL;
        http_call_free(calls[i]);
    }
}

void api_pause(struct api *a, int64_t ms)
{
    int64_t end = clock_boot_ms() + ms, left;

    while ((left = end - clock_boot_ms()) > 0)
        loop_turn(a->loop, left);
}
