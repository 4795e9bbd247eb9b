/* Calls to peers over the HTTP client. One call per channel; a new one cancels the old, whose answer
 * would describe a question that is no longer asked. */
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "http/client.h"
#include "http/peer.h"

struct peer_channel {
    struct http_client *client; /* borrowed */
    struct http_call *call;     /* owned; NULL unless RUNNING */
    enum peer_call state;
    struct peer_result result;
};

struct peer_channel *peer_channel_new(struct http_client *c)
{
    struct peer_channel *p = calloc(1, sizeof(*p));
    must(p != NULL);
    p->client = c;
    return p;
}

void peer_call_cancel(struct peer_channel *p)
{
    http_call_free(p->call);
    p->call = NULL;
    p->state = PEER_CALL_IDLE;
}

void peer_channel_free(struct peer_channel *p)
{
    if (!p)
        return;
    peer_call_cancel(p);
    free(p);
}

static bool failed(struct peer_channel *p, int64_t now_ms)
{
    p->result.done_ms = now_ms;
    p->state = PEER_CALL_FAILED;
    return false;
}

static void start(struct peer_channel *p, const char *url, const char *auth,
                  const struct buf *body, int64_t deadline_ms)
{
    /* "Expect:" without a value keeps libcurl from waiting for a 100. */
    const char *const headers[] = {auth, "Content-Type: application/json", "Expect:", NULL};
    char channel[32];
    bool fits = str_format(channel, sizeof(channel), "peer-%llx", (unsigned long long)(uintptr_t)p);
    must(fits);
    struct http_request r = {
        .channel = channel,
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = buf_str(body),
        .body_len = body->len,
        .deadline_ms = deadline_ms,
        .body_max = PEER_BODY_MAX,
    };
    p->call = http_start(p->client, &r);
    p->state = PEER_CALL_RUNNING;
}

bool peer_call_start(struct peer_channel *p, const char *ip, uint16_t port,
                     const struct peer_tokens *tokens, const struct peer_request *req,
                     int64_t now_ms, int64_t deadline_ms)
{
    char url[96], auth[PEER_TOKEN_MAX + 32];
    bool v6 = strchr(ip, ':') != NULL;
    peer_call_cancel(p);
    p->result = (struct peer_result){.req = *req, .sent_ms = now_ms};
    if (tokens->n == 0 || deadline_ms <= now_ms ||
        !str_format(url, sizeof(url), "http://%s%s%s:%u/peer", v6 ? "[" : "", ip, v6 ? "]" : "",
                    port) ||
        !str_format(auth, sizeof(auth), "Authorization: Bearer %s", tokens->t[0])) {
        err_set(&p->result.err, ERR_INVALID, "no token, no time or no address to call %.60s", ip);
        return failed(p, now_ms);
    }
    struct buf body;
    buf_init(&body, PEER_BODY_MAX);
    bool ok = peer_request_encode(req, &body);
    must(ok);
    start(p, url, auth, &body, deadline_ms);
    buf_done(&body);
    explicit_bzero(auth, sizeof(auth));
    return true;
}

static enum peer_call conclude(struct peer_channel *p, const struct http_result *h)
{
    struct peer_result *r = &p->result;
    r->sent_ms = h->sent_ms;
    r->done_ms = h->done_ms;
    if (h->err.kind != ERR_NONE) {
        r->err = h->err;
        return PEER_CALL_FAILED;
    }
    if (h->status != 200) {
        err_set(&r->err, h->status == 401 ? ERR_DENIED : h->status >= 500 ? ERR_TRANSIENT : ERR_INVALID,
                "peer answered %d", h->status);
        r->err.code = h->status;
        return PEER_CALL_FAILED;
    }
    return peer_state_decode(buf_str(&h->body), h->body.len, &r->state, &r->err) ? PEER_CALL_DONE
                                                                                 : PEER_CALL_FAILED;
}

enum peer_call peer_call_poll(struct peer_channel *p, int64_t now_ms,
                              const struct peer_result **ret)
{
    (void)now_ms;
    if (p->state == PEER_CALL_RUNNING && http_call_state(p->call) == HTTP_DONE) {
        p->state = conclude(p, http_call_result(p->call));
        http_call_free(p->call);
        p->call = NULL;
    }
    if (ret && (p->state == PEER_CALL_DONE || p->state == PEER_CALL_FAILED))
        *ret = &p->result;
    return p->state;
}
