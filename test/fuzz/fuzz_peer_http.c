/* Bytes on a connection to the peer listener. The first byte says whether they are the connection's
 * bytes, or the body of a request with (or without) the right token. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>

#include "http/peer.h"
#include "http_feed.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static struct loop *loop;
static struct peer_server *server;
static const struct peer_state sample = {.id = {.name = {"db-0"}, .uid = "u", .boot = 1},
                                         .volume = 1, .promise_ms = 5000};

static void stop(void)
{
    peer_server_free(server);
    loop_free(loop);
}

static void start(void)
{
    struct peer_tokens t = {0};
    struct err e = {0};
    REQUIRE(peer_tokens_parse(&t, TOKEN "\n", &e));
    struct peer_server_opts o = {.listen = "127.0.0.1:0", .tokens = &t};
    loop = loop_new();
    server = peer_server_new(&o, &e);
    REQUIRE(server != NULL);
    struct loop_source src = peer_server_source(server);
    loop_add(loop, &src);
    peer_server_publish(server, &sample);
    (void)atexit(stop);
}

/* As the agent: what waits is answered. */
static void answer(void)
{
    const struct peer_inbox *in = peer_server_pending(server, 0);
    if (in != NULL)
        REQUIRE(peer_server_answer(server, in->ticket, &sample));
}

static int connected(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(peer_server_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    /* Thousands of connections a second may use up all ports for a moment. */
    for (int tries = 0; connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0; tries++) {
        REQUIRE(errno == EADDRNOTAVAIL && tries < 300);
        (void)poll(NULL, 0, 100);
    }
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (loop == NULL)
        start();
    uint8_t how = input_byte(&in) % 3;
    if (how == 0) {
        (void)feed(loop, connected(), in.p, in.n, answer);
        return 0;
    }
    uint64_t before = peer_server_stats(server).requests;
    char *text = malloc(in.n + 512);
    REQUIRE(text != NULL);
    int head = snprintf(text, 512,
                        "POST /peer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                        how == 1 ? TOKEN : "wrong", in.n);
    REQUIRE(head > 0);
    memcpy(text + head, in.p, in.n);
    (void)feed(loop, connected(), (const uint8_t *)text, (size_t)head + in.n, answer);
    if (how == 2)
        REQUIRE(peer_server_stats(server).requests == before);
    free(text);
    return 0;
}
