/* The agent's side of the Kubernetes API, as pod demo-0, against a fake_http server in the same loop. */
#ifndef PGHAD_TEST_API_RIG_H
#define PGHAD_TEST_API_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/api.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "fake_http.h"
#include "http/client.h"

#define OWN "u-own" /* uid of demo-0 */
#define OTHER "u-other" /* of demo-1 */
#define UNTIL_MS 10000 /* a wait that takes so long has failed */

struct api_rig {
    struct loop *loop;
    struct http_client *http;
    struct fake_http server;
    struct api *api;
    struct config cfg;
    char *service;
    char dir[64], token_file[96];
    int64_t ahead_ms; /* of the clock that the agent is given */
    char wrote[512];  /* the handler tells what it was given to write, in order */
};

static inline void rig_init(struct api_rig *g, void (*handler)(struct fake_http *, const struct fake_request *), void *ctx)
{
    static char name[] = "demo", ns[] = "db", service[] = "demo-rw", selector[] = "app=demo", label[] = "role",
                primary[] = "primary", replica[] = "replica";
    struct identity id = {.name = {"demo-0"}, .uid = OWN, .boot = 1};
    struct err e = {0};

    *g = (struct api_rig){.service = service};
    str_copy(g->dir, sizeof g->dir, "/tmp/api_rig.XXXXXX");
    assert_non_null(mkdtemp(g->dir));
    assert_true(str_format(g->token_file, sizeof g->token_file, "%s/token", g->dir));
    assert_true(fd_replace_file(g->token_file, "t", 1, 0600, &e));
    fake_http_init(&g->server, handler, ctx);
    g->cfg.cluster.name = name;
    g->cfg.cluster.ns = ns;
    g->cfg.cluster.selector = selector;
    g->cfg.cluster.role_label = label;
    g->cfg.cluster.role_primary = primary;
    g->cfg.cluster.role_replica = replica;
    g->cfg.cluster.services = (struct config_list){.v = &g->service, .n = 1};
    g->cfg.lease.renew_ms = 2000;
    g->cfg.postgres.port = 5432;
    g->cfg.kube.server = g->server.url;
    g->cfg.kube.token_file = g->token_file;
    g->loop = loop_new();
    g->http = http_client_new("pghad/test");
    struct loop_source s = fake_http_source(&g->server);
    g->api = api_new(g->http, g->loop, &g->cfg, &id, &e);
    if (g->api == NULL)
        fail_msg("%s", e.msg);
    loop_add(g->loop, &s);
}

static inline int rig_done(struct api_rig *g)
{
    api_free(g->api);
    http_client_free(g->http);
    fake_http_done(&g->server);
    loop_free(g->loop);
    unlink(g->token_file);
    return rmdir(g->dir);
}

static inline int64_t rig_now(const struct api_rig *g)
{
    return clock_boot_ms() + g->ahead_ms;
}

static inline void rig_turn(struct api_rig *g)
{
    loop_turn(g->loop, 20);
    api_poll(g->api, rig_now(g));
}

#define UNTIL(g, what)                                              \
    do {                                                            \
        int64_t limit = clock_boot_ms() + UNTIL_MS;                 \
        while (!(what) && clock_boot_ms() < limit)                  \
            rig_turn(g);                                            \
        if (!(what))                                                \
            fail_msg("never: %s; written: %s", #what, (g)->wrote);  \
    } while (0)

/* Server and agent share the loop: an answer is taken two turns after its request has come. */
static inline void rig_finish(struct api_rig *g)
{
    for (int i = 0; i < 10; i++)
        rig_turn(g);
}

#endif
