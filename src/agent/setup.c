/* Builds the adapters from the configuration. Blocking is allowed here, and only here. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/proc.h"

static bool copy(char *dst, size_t size, const char *what, const char *src, struct err *e)
{
    if (str_copy(dst, size, src))
        return true;
    return err_set(e, ERR_INVALID, "%s is longer than %zu bytes", what, size - 1);
}

bool agent_identity(struct agent *a, struct err *e)
{
    const struct config *c = &a->cfg;
    if (!copy(a->id.name.s, sizeof a->id.name.s, "the pod's name (POD_NAME)", c->pod.name, e) ||
        !copy(a->id.uid, sizeof a->id.uid, "the pod's uid (POD_UID)", c->pod.uid, e))
        return false;
    if (a->id.name.s[0] == '\0' || a->id.uid[0] == '\0' || c->pod.ip[0] == '\0')
        return err_set(e, ERR_INVALID, "POD_NAME, POD_UID and POD_IP must be set: let the pod's "
                                       "manifest pass them with fieldRef");
    char hex[17] = "";
    memcpy(hex, a->page->boot_id, 16);
    if (!str_to_hex64(hex, &a->id.boot))
        return err_set(e, ERR_BUG, "guard gave no boot id");
    const char *dash = strrchr(a->id.name.s, '-');
    int64_t ordinal = 0;
    if (dash == NULL || !str_to_i64(dash + 1, 0, 255, &ordinal))
        return err_set(e, ERR_INVALID, "the pod's name \"%s\" does not end in -<ordinal>: members "
                                       "must be pods of a StatefulSet", a->id.name.s);
    a->ordinal = (uint8_t)ordinal;
    return true;
}

/* It comes with this program, so that the two agree on the fence page. */
static void find_gate(struct pg_env *env)
{
    char dir[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    if (n <= 0)
        return;
    dir[n] = '\0';
    *strrchr(dir, '/') = '\0';
    pg_env_find_gate(env, dir);
}

bool agent_env(struct agent *a, struct err *e)
{
    const struct config *c = &a->cfg;
    struct pg_env *env = &a->env;
    if (!pg_env_set_data_dir(env, c->postgres.data_dir, e) ||
        !copy(env->bin_dir, sizeof env->bin_dir, "postgres.bin_dir", c->postgres.bin_dir, e) ||
        !copy(env->socket_dir, sizeof env->socket_dir, "postgres.socket_dir",
              c->postgres.socket_dir, e) ||
        !copy(env->cluster_name, sizeof env->cluster_name, "cluster.name", c->cluster.name, e) ||
        !copy(env->superuser, sizeof env->superuser, "postgres.superuser", c->postgres.superuser,
              e) ||
        !copy(env->repl_user, sizeof env->repl_user, "postgres.replication_user",
              c->postgres.replication_user, e) ||
        !pg_env_find_binaries(env, e))
        return false;
    env->port = (uint16_t)c->postgres.port;
    if (c->postgres.commit_gate && !a->standalone) /* there nobody holds a lease */
        find_gate(env);
    return fd_mkdirs(env->state_dir, 0700, e) && fd_mkdirs(env->socket_dir, 0775, e);
}

bool agent_secrets(struct agent *a, struct err *e)
{
    const struct config *c = &a->cfg;
    struct pg_env *env = &a->env;
    struct buf secret;
    buf_init(&secret, PG_SECRET_SIZE - 1);
    bool ok = config_replication_password(c, &secret, e);
    if (!ok && a->standalone && e->kind == ERR_NOT_FOUND) /* the role is made, nobody uses it */
        ok = buf_printf(&secret, "%016llx", (unsigned long long)pg_volume_new());
    ok = ok && copy(env->repl_password, sizeof env->repl_password, "the replication password",
                    buf_str(&secret), e);
    if (ok && config_superuser_password(c, &secret, e))
        ok = copy(env->superuser_password, sizeof env->superuser_password,
                  "the superuser's password", buf_str(&secret), e);
    else if (ok && (e->kind != ERR_NOT_FOUND || c->postgres.superuser_password_file[0] != '\0'))
        ok = false; /* a Secret that is named and not there is on its way */
    if (secret.data != NULL)
        explicit_bzero(secret.data, secret.len);
    buf_done(&secret);
    return ok;
}

/* The user's part of the server's configuration, written and reloaded by the next effect. */
bool agent_user_conf(struct agent *a, struct err *e)
{
    const struct config *c = &a->cfg;
    static struct pg_param params[256];
    static char cap[32], trust_line[80];
    static const char *lines[1];
    struct pg_user_conf u = {.listen_addresses = c->postgres.listen, .params = params};
    (void)str_format(cap, sizeof cap, "%lldMB",
                     (long long)(c->replication.max_wal_keep_bytes / (1 << 20)));
    u.wal_cap = cap;
    u.strict_commit = c->replication.strict && c->replication.mode != REPL_ASYNC;
    for (size_t i = 0; i < c->postgres.parameters.n && i < 256; i++)
        params[u.n_params++] = (struct pg_param){c->postgres.parameters.v[i].key,
                                                 c->postgres.parameters.v[i].value};
    u.hba = (const char *const *)c->postgres.hba.v;
    u.n_hba = c->postgres.hba.n;
    if (u.n_hba == 0 && c->bootstrap.host_auth_method[0] != '\0' &&
        str_format(trust_line, sizeof trust_line, "host all all all %s",
                   c->bootstrap.host_auth_method)) {
        lines[0] = trust_line;
        u.hba = lines;
        u.n_hba = 1;
    }
    u.ident = (const char *const *)c->postgres.ident.v;
    u.n_ident = c->postgres.ident.n;
    /* `docker exec` is root where pghad has dropped its rights, and root may become anybody there. */
    static char root_line[PG_NAME_SIZE + 32];
    static const char *ident_lines[1] = {root_line};
    if (a->standalone && u.n_ident == 0 &&
        str_format(root_line, sizeof root_line, "pghad root \"%s\"", c->postgres.superuser)) {
        u.ident = ident_lines;
        u.n_ident = 1;
    }
    if (!pg_conf_try_user(a->conf, &u, e))
        return false;
    a->conf_due = true;
    return true;
}

static bool setup_state(struct agent *a, struct err *e)
{
    if (!pg_state_load(&a->env, &a->state, e)) {
        if (e->kind != ERR_NOT_FOUND)
            return false;
        a->state = (struct pg_state){0};
    }
    if (a->state.volume != 0)
        return true;
    a->state.volume = pg_volume_new();
    return pg_state_save(&a->env, &a->state, e);
}

static bool setup_pg(struct agent *a, struct err *e)
{
    a->engine = pg_engine_new(a->loop);
    a->conf = pg_conf_new(&a->env);
    if (!agent_user_conf(a, e) || !setup_state(a, e))
        return false;
    a->probe = pg_probe_new(a->engine, &a->env);
    a->detach = pg_detach_new(a->engine, &a->env);
    a->misc = pg_task_new(a->engine, &a->env);
    a->checkpoint = pg_task_new(a->engine, &a->env);
    a->job = pg_job_new(a->engine, &a->env);
    a->roles = pg_task_new(a->engine, &a->env);
    a->asker = pg_peer_new(a->engine, &a->env);
    a->login = pg_peer_new(a->engine, &a->env);
    a->hbaprobe = pg_hbaprobe_new(a->engine, &a->env);
    a->collation = pg_collation_new(a->engine, &a->env);
    return true;
}

void agent_show_config(struct agent *a)
{
    struct buf json;
    buf_init(&json, 1 << 20);
    if (config_to_json(&a->cfg, &json))
        http_server_set_config(a->rest, buf_str(&json));
    buf_done(&json);
}

static bool setup_http(struct agent *a, struct err *e)
{
    const struct config *c = &a->cfg;
    if (!peer_tokens_read(&a->tokens, c->api.token_file, e))
        return err_wrap(e, "api.token_file");
    struct peer_server_opts po = {.listen = c->api.peer_listen, .tokens = &a->tokens};
    a->peers_in = peer_server_new(&po, e);
    if (a->peers_in == NULL)
        return err_wrap(e, "api.peer_listen");
    struct http_server_opts so = {.listen = c->api.listen,
                                  .unix_path = c->api.socket[0] != '\0' ? c->api.socket : NULL};
    a->rest = http_server_new(&so, e);
    if (a->rest == NULL)
        return err_wrap(e, "api.listen");
    agent_show_config(a);
    return true;
}

bool agent_base(struct agent *a, struct err *e)
{
    a->started_ms = clock_boot_ms();
    a->loop = loop_new();
    a->recorder = recorder_new();
    a->link = guard_link_new(e);
    if (a->link == NULL)
        return err_wrap(e, "guard's descriptors");
    a->page = guard_link_page(a->link);
    return true;
}

bool agent_setup_standalone(struct agent *a, struct err *e)
{
    if (!agent_env(a, e) || !agent_secrets(a, e) || !setup_pg(a, e))
        return false;
    struct loop_source sources[] = {guard_link_source(a->link), proc_source(),
                                    pg_engine_source(a->engine)};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        loop_add(a->loop, &sources[i]);
    return true;
}

bool agent_setup(struct agent *a, struct err *e)
{
    a->status.n.switchover_write_gap_ms = -1;
    a->status.n.lost_bytes_last_failover = -1;
    /* A server that is writable now was armed by an earlier agent process: its right goes on. */
    a->memo.deadline_ms = page_writable(a->page) ? page_deadline_ms(a->page) : 0;
    config_settings(&a->cfg, &a->set);
    if (!agent_identity(a, e) || !agent_env(a, e) || !agent_secrets(a, e) || !setup_pg(a, e) ||
        !setup_http(a, e))
        return false;
    a->client = http_client_new("pghad/" PGHAD_VERSION);
    if (a->client == NULL)
        return err_set(e, ERR_FATAL, "libcurl could not be initialised");
    a->api = api_new(a->client, a->loop, &a->cfg, &a->id, e);
    if (a->api == NULL)
        return false;
    addresses_load(a);
    log_set_member(a->id.name.s);
    struct loop_source sources[] = {
        guard_link_source(a->link),      proc_source(),           pg_engine_source(a->engine),
        peer_server_source(a->peers_in), http_server_source(a->rest),
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        loop_add(a->loop, &sources[i]);
    return true;
}
