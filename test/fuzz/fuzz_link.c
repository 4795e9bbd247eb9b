/* Packets between agent and guard: guard is PID 1 and must stand whatever its agent sends. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/link.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int pair[2] = {-1, -1};
    static struct link_msg m;
    if (pair[0] < 0)
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    if (size == 0 || size > 60000)
        return 0;
    REQUIRE(send(pair[0], data, size, MSG_NOSIGNAL) == (ssize_t)size);
    memset(&m, 0xa5, sizeof(m));
    if (link_recv(pair[1], &m) == LINK_IO_OK) {
        const char *argv[LINK_ARGS_MAX + 4];
        REQUIRE(m.version == LINK_VERSION && m.size == link_size(m.kind) && m.size == size);
        if (m.kind == LINK_START_POSTGRES && link_start_argv(&m.u.start, argv)) {
            size_t n = 0;
            while (argv[n] != NULL)
                REQUIRE(strlen(argv[n]) < LINK_ARGS_SIZE && n++ < LINK_ARGS_MAX + 3);
            REQUIRE(n >= 3);
        }
    }
    return 0;
}
