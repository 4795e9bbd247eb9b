/* The cluster as one agent sees it. It knows less than the API (no ConfigMap, no pods), so what it
 * does not say stays unknown. */
#include "hactl/socket.h"

#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/jget.h"

#define SOCKET_MS 3000

static int no_answer(struct session *s, const char *path)
{
    return session_fail(s, EXIT_UNREACHABLE,
                        "Is the agent up, and is this its socket (setting api.socket)?",
                        "no answer to %s on socket %s", path, s->args.value[OPT_SOCKET]);
}

struct json_object *socket_document(struct session *s, const char *path)
{
    struct api_fetch f = {.path = path};

    api_fetch_all(s->api, &f, 1, clock_boot_ms() + SOCKET_MS);
    if (!f.doc)
        no_answer(s, path);
    return f.doc;
}

int socket_gather(struct session *s, struct cluster_view *v)
{
    struct api_fetch f[2] = {{.path = "/status"}, {.path = "/cluster"}};

    api_fetch_all(s->api, f, 2, clock_boot_ms() + SOCKET_MS);
    if (f[0].doc && f[1].doc) {
        *v = (struct cluster_view){.now_s = clock_wall_us() / 1000000};
        cluster_take_agent(v, f[0].doc, f[1].doc);
        cluster_conclude(v);
    }
    bool ok = f[0].doc && f[1].doc;
    json_object_put(f[0].doc);
    json_object_put(f[1].doc);
    return ok ? EXIT_DONE : no_answer(s, "/cluster");
}
