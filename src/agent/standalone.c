/* The image without Kubernetes: one plain server, as the official image runs it.
 *
 * No Lease, no fence, no replication, no role: the server is started as it is and ended on SIGTERM.
 * There is nobody to ask who may write, so a volume that ever belonged to a cluster is refused: it may
 * be one of several copies. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"
#include "base/str.h"

#define LOOK_MS 500
#define SHORT_LIFE_MS 10000 /* a server that ends sooner did not start properly */
#define SHORT_LIVES 3

bool standalone_wanted(void)
{
    static const char *const signs[] = {"KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_UID"};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (getenv(signs[i]) != NULL)
            return false;
    return access("/var/run/secrets/kubernetes.io", F_OK) != 0;
}

bool standalone_possible(const struct config *c)
{
    return c->pod.name[0] == '\0' && c->cluster.name[0] == '\0' && c->kube.server[0] == '\0' &&
           c->kube.kubeconfig[0] == '\0';
}

static void leave(struct agent *a, int code)
{
    struct err e = {0};
    if (!a->exiting && guard_link_exit(a->link, code, &e) != 0)
        a->exiting = true;
}

static void refuse(struct agent *a, const char *why, const char *hint)
{
    if (!a->exiting)
        log_event(LOG_ERROR, "standalone-refused", why, LOG_S("hint", hint));
    leave(a, 1);
}

static bool may_initialise(const struct agent *a)
{
    return a->env.superuser_password[0] != '\0' ||
           str_eq(a->cfg.bootstrap.host_auth_method, "trust");
}

/* True when PGDATA may be started; begins its initialisation where there is none. */
static bool data_ready(struct agent *a)
{
    struct err e = {0};
    if (a->state.epoch > 0 || a->state.has_record) {
        refuse(a, "this volume belongs to a cluster: other copies of the database may be newer",
               "Start it as a member of its cluster. To cut a copy off for good, remove "
               "member.state from the directory pghad beside PGDATA.");
        return false;
    }
    if (!pg_datadir_look(&a->env, a->state.system_id, &a->dir, &e)) {
        refuse(a, e.msg, "PGDATA must be readable by the user of the container");
        return false;
    }
    bool cut = a->dir.state == DATA_PARTIAL && a->dir.marker[PG_MARK_INITDB] &&
               !a->dir.marker[PG_MARK_CLONE] && !a->dir.marker[PG_MARK_REWIND];
    if (a->dir.state == DATA_OK && !a->dir.standby_signal)
        return true;
    if (a->dir.state == DATA_OK)
        refuse(a, "PGDATA is that of a standby", "Nothing decides here whether it may be promoted.");
    else if (a->dir.state != DATA_EMPTY && !cut)
        refuse(a, a->dir.why, "PGDATA is left as it is");
    else if (!may_initialise(a))
        refuse(a, "the database is not initialised and there is no password for its superuser",
               "Set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE; or, to let everybody in without "
               "one, POSTGRES_HOST_AUTH_METHOD=trust.");
    else if (!agent_begin_initdb(a, &e))
        refuse(a, e.msg, "PGDATA is left as it is");
    return false;
}

/* Open to clients, and commits wait for nobody. */
static bool set_alone(struct agent *a, struct err *e)
{
    struct pg_ssn none = {.kind = PG_SSN_EMPTY};
    pg_conf_set_upstream(a->conf, NULL);
    pg_conf_set_closed(a->conf, false);
    return pg_conf_set_ssn(a->conf, &none, e);
}

static void start(struct agent *a, int64_t now)
{
    struct server *s = &a->server;
    struct err e = {0};
    bool changed;
    if (!set_alone(a, &e) || !pg_datadir_private(&a->env, &e) ||
        !pg_conf_clean_auto(a->conf, &e) || !pg_conf_write(a->conf, &changed, &e)) {
        refuse(a, e.msg, "the server cannot be prepared");
        return;
    }
    const char *const *argv = pg_conf_argv(a->conf);
    if (guard_link_start(a->link, argv[0], a->env.data_dir, argv + 3, &e) != 0)
        s->start_sent_ms = now;
}

static void take_job(struct agent *a)
{
    enum pg_job_state st = pg_job_state(a->job);
    struct err why = {0};
    if (st == PG_JOB_FAILED) {
        why = *pg_job_error(a->job);
        pg_job_clear(a->job);
        refuse(a, why.msg, "the initialisation failed; the next start tries it again");
    } else if (st == PG_JOB_OK) {
        pg_job_clear(a->job);
        log_event(LOG_INFO, "initialised", "the database is made");
    }
}

static void see_server(struct agent *a, const struct link_status *g, int64_t now)
{
    struct server *s = &a->server;
    if (s->pid == 0 && g->postgres_pid != 0) {
        *s = (struct server){.pid = g->postgres_pid, .seen = true, .start_sent_ms = now,
                             .failed_starts = s->failed_starts};
        return;
    }
    if (s->pid == 0 || g->postgres_pid == s->pid)
        return;
    bool clean = WIFEXITED(g->last_exit) && WEXITSTATUS(g->last_exit) == 0;
    bool young = now - s->start_sent_ms < SHORT_LIFE_MS;
    s->failed_starts = clean || !young ? 0 : s->failed_starts + 1;
    s->pid = 0;
    s->start_sent_ms = 0;
    s->next_start_ms = now + 200 * (int64_t)s->failed_starts;
    /* Somebody stopped it from inside: as in the official image the container ends with it. */
    if (clean && !s->end_requested)
        leave(a, 0);
    s->end_requested = false;
    if (s->failed_starts >= SHORT_LIVES)
        refuse(a, "the server does not start", "Its own messages, before this one, say why.");
}

static void end(struct agent *a, const struct link_status *g)
{
    struct err e = {0};
    if (g->postgres_pid == 0)
        leave(a, 0);
    else if (!a->server.end_requested)
        a->server.end_requested = guard_link_signal(a->link, SIGINT, &e) != 0;
}

static void apply(struct agent *a)
{
    struct err e = {0};
    bool changed;
    a->conf_due = false;
    if (!set_alone(a, &e) || !pg_conf_write(a->conf, &changed, &e))
        log_event(LOG_ERROR, "configuration-unwritten", e.msg);
    else if (changed)
        (void)guard_link_signal(a->link, SIGHUP, &e);
}

void standalone_reload(struct agent *a)
{
    struct config_changes ch = {0};
    struct err e = {0};
    if (!config_reload(&a->cfg, &a->sources, &ch, &e) || !agent_user_conf(a, &e))
        log_event(LOG_ERROR, "config-refused", e.msg, LOG_S("hint", "the old settings stay"));
    config_changes_done(&ch);
}

void standalone_turn(struct agent *a)
{
    int64_t now = loop_now(a->loop);
    const struct link_status *g = guard_link_status(a->link);
    struct server *s = &a->server;
    page_beat(a->page, now);
    loop_wake_at(a->loop, now + LOOK_MS);
    if (g == NULL)
        return;
    see_server(a, g, now);
    take_job(a);
    if (a->exiting)
        return;
    if (g->terminate > 0) {
        end(a, g);
        return;
    }
    if (g->postgres_pid != 0) {
        if (a->conf_due)
            apply(a);
        return;
    }
    bool waiting = now < s->next_start_ms || now - s->start_sent_ms < 1000 ||
                   g->server_lock != LINK_LOCK_FREE;
    if (!waiting && pg_job_state(a->job) == PG_JOB_IDLE && data_ready(a))
        start(a, now);
}
