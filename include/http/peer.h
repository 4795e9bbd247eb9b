/* The peer protocol: one POST /peer with a request, answered with the whole state of the member.
 *
 * Every message carries `Authorization: Bearer <cluster token>`; without it the answer is 401 and
 * nothing is read. Both codecs are strict and bounded: a missing field, a wrong type or a number out
 * of range rejects the message. A newer version is accepted and unknown fields are ignored, so that
 * members of one release and of the next can be mixed (docs/decisions/0022).
 *
 * STATE is answered at once from the published state. VOTE and PROMISE wait until the agent has
 * acted: it finds them with peer_server_pending and answers with peer_server_answer. After
 * PEER_ANSWER_MS they are answered with the published state, in which no promise is ever given. */
#ifndef PGHAD_HTTP_PEER_H
#define PGHAD_HTTP_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/types.h"
#include "loop/loop.h"

#define PEER_BODY_MAX 4096
#define PEER_ANSWER_MS 200
#define PEER_PENDING_MAX 32
#define PEER_TOKENS_MAX 4
#define PEER_TOKEN_MIN 16 /* bytes; shorter tokens are refused */
#define PEER_TOKEN_MAX 256

/* The token file: one token per line, 1 to 4 lines. The first is sent, each is accepted, so that a
 * token can be replaced without a moment at which members refuse each other. */
struct peer_tokens {
    size_t n;
    char t[PEER_TOKENS_MAX][PEER_TOKEN_MAX + 1];
};
bool peer_tokens_parse(struct peer_tokens *t, const char *text, struct err *e);
bool peer_tokens_read(struct peer_tokens *t, const char *path, struct err *e);

/* Codecs. Encoders append to b, false when it does not fit. Decoders write *ret only on success. */
bool peer_request_encode(const struct peer_request *r, struct buf *b);
bool peer_request_decode(const char *text, size_t len, struct peer_request *ret, struct err *e);
bool peer_state_encode(const struct peer_state *s, struct buf *b);
bool peer_state_decode(const char *text, size_t len, struct peer_state *ret, struct err *e);

/* Server side. */
struct peer_server;

struct peer_server_opts {
    const char *listen;               /* ":8009", "10.0.0.1:8009", port 0 = any */
    const struct peer_tokens *tokens; /* copied */
    unsigned connections_max;         /* 0 = 64 */
};

struct peer_server *peer_server_new(const struct peer_server_opts *o, struct err *e);
void peer_server_free(struct peer_server *s); /* NULL accepted */
struct loop_source peer_server_source(struct peer_server *s);
uint16_t peer_server_port(const struct peer_server *s);
void peer_server_set_tokens(struct peer_server *s, const struct peer_tokens *t);

/* The answer to STATE, and to everything after PEER_ANSWER_MS. Copied; promise_ms is sent as 0.
 * Before the first publication requests are answered 503. */
void peer_server_publish(struct peer_server *s, const struct peer_state *st);

struct peer_inbox {
    uint64_t ticket; /* names a waiting request in peer_server_answer */
    struct peer_request req;
    int64_t received_ms;
    int64_t gap_ms; /* since this asker's request before, PEER_NO_GAP for its first */
};
#define PEER_NO_GAP INT64_MAX

/* Requests that wait for the agent, oldest first; i from 0 until NULL. Valid until the next answer
 * or turn. At most one per asker: a newer one answers the older with the published state. */
const struct peer_inbox *peer_server_pending(const struct peer_server *s, size_t i);
/* False when the request is gone: answered by time, or its asker hung up. */
bool peer_server_answer(struct peer_server *s, uint64_t ticket, const struct peer_state *st);
/* The last request of each asker, of any kind, answered or not; i from 0 until NULL. */
const struct peer_inbox *peer_server_last(const struct peer_server *s, size_t i);

struct peer_server_stats {
    uint64_t requests, unauthorized, rejected, timed_out;
};
struct peer_server_stats peer_server_stats(const struct peer_server *s);

/* Client side: one channel per peer, one call at a time, the connection kept alive. */
struct peer_channel;
struct http_client;

enum peer_call { PEER_CALL_IDLE, PEER_CALL_RUNNING, PEER_CALL_DONE, PEER_CALL_FAILED };

struct peer_result {
    struct peer_request req; /* what was asked */
    struct peer_state state; /* valid after DONE */
    int64_t sent_ms;         /* instant before the request was handed over for sending */
    int64_t done_ms;         /* instant the answer or the failure was seen */
    struct err err;          /* after FAILED */
};

struct peer_channel *peer_channel_new(struct http_client *c); /* c is borrowed */
void peer_channel_free(struct peer_channel *p);               /* NULL accepted; cancels */
/* Starts a call to ip:port; a call under way is cancelled first. deadline_ms is BOOTTIME. False (and
 * FAILED) when it cannot be started. */
bool peer_call_start(struct peer_channel *p, const char *ip, uint16_t port,
                     const struct peer_tokens *tokens, const struct peer_request *req,
                     int64_t now_ms, int64_t deadline_ms);
/* Polls; after DONE or FAILED *ret (if not NULL) points to the result, valid until the next start. */
enum peer_call peer_call_poll(struct peer_channel *p, int64_t now_ms,
                              const struct peer_result **ret);
void peer_call_cancel(struct peer_channel *p); /* back to IDLE */

#endif
