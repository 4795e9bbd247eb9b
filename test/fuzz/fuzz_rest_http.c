/* Bytes on a connection to the REST server, through its unix socket. */
#include <sys/un.h>

#include "base/clock.h"
#include "http/server.h"
#include "http_feed.h"
#include "sample_status.h"

static struct loop *loop;
static struct http_server *server;
static char path[108];

static void remove_socket(void)
{
    http_server_free(server);
    loop_free(loop);
    (void)unlink(path);
}

static void start(void)
{
    static struct status s;
    struct err e = {0};
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(path, sizeof(path), "%.60s/pghad-fuzz-%d", tmp != NULL ? tmp : "/tmp", getpid());
    struct http_server_opts o = {.unix_path = path, .connections_max = 16};
    loop = loop_new();
    server = http_server_new(&o, &e);
    REQUIRE(server != NULL);
    struct loop_source src = http_server_source(server);
    loop_add(loop, &src);
    sample_primary(&s);
    s.published_ms = clock_boot_ms();
    s.fence_deadline_ms = clock_boot_ms() + 3600000;
    http_server_publish(server, &s);
    http_server_set_config(server, "{\"lease\":{}}");
    (void)atexit(remove_socket);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (loop == NULL)
        start();
    memcpy(a.sun_path, path, sizeof(a.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    REQUIRE(connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0);
    (void)feed(loop, fd, data, size, NULL);
    return 0;
}
