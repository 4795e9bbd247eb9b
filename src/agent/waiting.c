/* Settings, secrets or the machine are not as they must be: nothing is touched, everybody is told, and
 * the agent starts anew as soon as what was wrong is mended, without a restart of the pod.
 *
 * Kubelet replaces a mounted ConfigMap or Secret within a minute or two. Until then the REST server
 * answers, so that no probe ends the container, and SIGTERM ends it at once. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define LOOK_MS 1000
#define OTHER_MS 5000 /* nothing of what is looked at is wrong: the whole start is tried again */

extern char **environ;

struct wrong {
    const char *event; /* reason of the Event, name of the alarm's kind */
    struct err e;
};

/* What is read from files and environment, as the start reads it; nothing of PGDATA. */
static bool inputs_are_good(const struct agent *a, const char *file, struct wrong *w)
{
    static struct agent t;
    struct err *e = &w->e;
    t = (struct agent){.page = a->page};
    t.sources = (struct config_sources){.file = file, .env = environ};
    w->event = "ConfigRefused";
    bool ok = config_load(&t.cfg, &t.sources, e) && agent_identity(&t, e) && agent_env(&t, e);
    if (ok) {
        w->event = "WaitingForSecret";
        ok = agent_secrets(&t, e) && (peer_tokens_read(&t.tokens, t.cfg.api.token_file, e) ||
                                      err_wrap(e, "api.token_file"));
    }
    if (ok) {
        w->event = "ConfigRefused";
        t.conf = pg_conf_new(&t.env);
        ok = agent_user_conf(&t, e);
        pg_conf_free(t.conf);
    }
    explicit_bzero(&t.env, sizeof t.env);
    explicit_bzero(&t.tokens, sizeof t.tokens);
    config_done(&t.cfg);
    return ok;
}

/* Where to answer and whom to tell, although the file or some variable is wrong. */
static void fallback_config(struct agent *a)
{
    static const char *const kept[] = {"POD_", "KUBERNETES_", "PGHA_KUBE_", "PGHA_API_",
                                       "PGHA_CLUSTER_"};
    static char *env[256];
    struct config_sources s = {.no_file = true, .env = environ, .check_only = true};
    struct err e;
    if (config_load(&a->cfg, &s, &e))
        return;
    size_t n = 0;
    for (char **v = environ; *v != NULL && n < 255; v++) {
        size_t i = 0;
        while (i < sizeof kept / sizeof kept[0] && !str_starts(*v, kept[i]))
            i++;
        if (i < sizeof kept / sizeof kept[0])
            env[n++] = *v;
    }
    s.env = env;
    if (config_load(&a->cfg, &s, &e))
        return;
    s.env = NULL;
    if (!config_load(&a->cfg, &s, &e))
        log_event(LOG_ERROR, "config-invalid", e.msg);
}

/* What can be had of the REST server and the Kubernetes API; each may be missing. */
static void open_doors(struct agent *a)
{
    struct err e = {0};
    const char *name = getenv("POD_NAME"), *uid = getenv("POD_UID");
    fallback_config(a);
    (void)str_copy(a->id.name.s, sizeof a->id.name.s, name != NULL ? name : "");
    (void)str_copy(a->id.uid, sizeof a->id.uid, uid != NULL ? uid : "");
    log_set_member(a->id.name.s);
    struct http_server_opts so = {.listen = a->cfg.api.listen};
    if (a->rest == NULL)
        a->rest = http_server_new(&so, &e);
    if (a->rest == NULL) {
        log_event(LOG_ERROR, "rest-unavailable", e.msg);
    } else {
        struct loop_source src = http_server_source(a->rest);
        loop_add(a->loop, &src);
    }
    if (a->client == NULL)
        a->client = http_client_new("pghad/" PGHAD_VERSION);
    if (a->client == NULL || a->cfg.cluster.name[0] == '\0')
        return;
    a->api = api_new(a->client, a->loop, &a->cfg, &a->id, &e);
    if (a->api == NULL)
        log_event(LOG_ERROR, "api-unavailable", e.msg);
}

static void tell(struct agent *a, const struct wrong *w, bool anew, int64_t now)
{
    struct status *s = &a->status;
    if (anew) {
        log_event(LOG_ERROR, "waiting", w->e.msg, LOG_S("reason", w->event),
                  LOG_S("hint", "nothing is touched; the agent goes on by itself once it is mended"));
        if (a->api != NULL)
            api_event(a->api, true, w->event, w->e.msg, now);
    }
    (void)str_copy(s->cluster.s, sizeof s->cluster.s, a->cfg.cluster.name);
    (void)str_copy(s->ns.s, sizeof s->ns.s, a->cfg.cluster.ns);
    s->name = a->id.name;
    s->id = a->id;
    (void)str_copy(s->address, sizeof s->address, a->cfg.pod.ip);
    if (s->started_us == 0)
        s->started_us = clock_wall_us();
    s->published_ms = now;
    s->published_us = clock_wall_us();
    (void)str_copy(s->state, sizeof s->state, "waiting");
    (void)str_format(s->reason, sizeof s->reason, "%.150s", w->e.msg);
    s->n.switchover_write_gap_ms = s->n.lost_bytes_last_failover = -1;
    s->alarms_n = 1;
    (void)str_copy(s->alarms[0].name, sizeof s->alarms[0].name,
                   str_eq(w->event, "ConfigRefused") ? "config-refused" : "waiting-for-secret");
    (void)str_format(s->alarms[0].text, sizeof s->alarms[0].text, "%.150s", w->e.msg);
    if (a->rest != NULL)
        http_server_publish(a->rest, s);
    if (a->api == NULL)
        return;
    api_set_label(a->api, ROLE_UNKNOWN, now);
    publish_annotation(a, now);
    api_poll(a->api, now);
}

static void leave(struct agent *a, const struct link_status *g)
{
    struct err e;
    if (g->postgres_pid == 0 && !a->exiting)
        a->exiting = guard_link_exit(a->link, 0, &e) != 0;
    else if (g->postgres_pid != 0 && !a->server.end_requested)
        a->server.end_requested = guard_link_signal(a->link, SIGINT, &e) != 0;
}

int waiting_room(struct agent *a, const char *file, const struct err *why)
{
    struct wrong w = {.event = "StartFailed", .e = *why}, next = {0};
    int64_t look_ms = 0, other_ms = clock_boot_ms() + OTHER_MS;
    if (a->link == NULL)
        return 1; /* nobody to stay for */
    if (!inputs_are_good(a, file, &next))
        w = next;
    if (a->loop == NULL)
        a->loop = loop_new();
    struct loop_source src = guard_link_source(a->link);
    loop_add(a->loop, &src);
    open_doors(a);
    for (bool anew = true; !guard_link_lost(a->link);) {
        loop_turn(a->loop, LOOK_MS);
        int64_t now = loop_now(a->loop);
        const struct link_status *g = guard_link_status(a->link);
        page_beat(a->page, now);
        if (g != NULL && g->terminate > 0)
            leave(a, g);
        if (now >= look_ms) {
            look_ms = now + LOOK_MS;
            bool good = inputs_are_good(a, file, &next);
            if (good && (now >= other_ms || !str_eq(w.event, "StartFailed"))) {
                log_event(LOG_INFO, "mended", "the agent starts anew");
                return 0;
            }
            if (!good && strcmp(next.e.msg, w.e.msg) != 0) {
                w = next;
                anew = true;
            }
        }
        tell(a, &w, anew, now);
        anew = false;
    }
    return 1;
}
