/* One connection to a server of our loop: sends bytes, half-closes, turns until the server is done. */
#ifndef PGHAD_TEST_HTTP_FEED_H
#define PGHAD_TEST_HTTP_FEED_H

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "loop/loop.h"

#define FEED_TURNS 60

/* fd is a connected socket; it is closed. each is called after each turn. Returns the
 * bytes of the answer. */
static inline size_t feed(struct loop *l, int fd, const uint8_t *data, size_t size,
                          void (*each)(void))
{
    const struct linger reset = {.l_onoff = 1};
    char answer[4096];
    size_t sent = 0, got = 0;
    bool half = false;
    for (int i = 0; i < FEED_TURNS; i++) {
        if (sent < size) {
            ssize_t n = send(fd, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent = n > 0 ? sent + (size_t)n : sent;
        } else if (!half) {
            half = true;
            (void)shutdown(fd, SHUT_WR);
        }
        loop_turn(l, 0);
        if (each != NULL)
            each();
        ssize_t n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    loop_turn(l, 0);
    loop_turn(l, 0);
    return got;
}

#endif
