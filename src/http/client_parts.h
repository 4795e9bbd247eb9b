/* What the two halves of the HTTP client share: client.c drives libcurl, client_request.c tells it what a
 * request wants. */
#ifndef PGHAD_HTTP_CLIENT_PARTS_H
#define PGHAD_HTTP_CLIENT_PARTS_H

#include <curl/curl.h>

#include "http/client.h"

#define CHANNEL_SOCKETS_MAX 64
#define CHANNEL_FAILED_MAX 16

struct wanted {
    int fd;
    short events;
};

struct channel {
    char name[32];
    CURLM *multi;
    int64_t timer_at_ms; /* -1 = none */
    struct wanted want[CHANNEL_SOCKETS_MAX];
    size_t n_want;
    uint64_t failed[CHANNEL_FAILED_MAX]; /* origins whose last call failed; 0 = free slot */
    unsigned next_failed;
};

struct http_client {
    char *user_agent;
    struct channel *channels[HTTP_CHANNELS_MAX];
    size_t n_channels;
    struct http_call *calls; /* pending ones */
    uint64_t connects;
    bool done_outside; /* a call was over before it came to a poll: nothing else wakes for it */
};

struct http_call {
    struct http_client *client; /* not to be used once DONE */
    struct channel *channel;
    struct http_call *next, *prev; /* while pending */
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    uint64_t origin;
    int64_t deadline_ms;
    bool too_long;
    size_t header_bytes;
    enum http_state state;
    struct http_result result;
    char error[CURL_ERROR_SIZE];
};

/* Method, URL, headers, body, and where the answer goes. */
void client_set_request(struct http_call *call, const struct http_request *r);
/* Connection and TLS. fresh: no connection of before is used. */
void client_set_transport(struct http_call *call, const struct http_request *r, bool fresh);

#endif
