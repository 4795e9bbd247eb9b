/* Credential plugins of kubeconfig: a child that prints an ExecCredential. For hactl only. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "creds_text.h"
#include "internal.h"
#include "jx.h"
#include "kube/config.h"
#include "kubeconfig.h"
#include "loop/proc.h"

#define OUT_MAX (256 * 1024)
#define CA_MAX (256 * 1024)

static const char *env_value(char *const *env, const char *name)
{
    size_t len = strlen(name);

    for (; env && *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

static bool find_command(const struct kube_exec *x, char *const *env, char *dst, size_t size,
                         struct err *e)
{
    const char *path = env_value(env, "PATH"), *command = x->command;

    if (strchr(command, '/') && !str_copy(dst, size, command))
        return err_set(e, ERR_INVALID, "exec: path too long");
    if (strchr(command, '/') && access(dst, X_OK) == 0)
        return true;
    if (strchr(command, '/'))
        path = NULL;
    while (path && *path) {
        size_t len = strcspn(path, ":");
        if (len && str_format(dst, size, "%.*s/%s", (int)len, path, command) &&
            access(dst, X_OK) == 0)
            return true;
        path += len + (path[len] == ':');
    }
    return err_set(e, ERR_NOT_FOUND,
                   "the credential plugin \"%.100s\" is not installed%s%.300s", command,
                   x->install_hint ? ": " : "", x->install_hint ? x->install_hint : "");
}

/* The CA that the plugin is to trust, when it is asked to speak to the cluster itself. */
static void put_ca(struct json_object *cluster, const struct kube_config *c)
{
    struct buf pem, text;

    buf_init(&pem, CA_MAX);
    buf_init(&text, 2 * CA_MAX);
    bool ok = c->ca_pem ? buf_puts(&pem, c->ca_pem)
                        : c->ca_file && fd_read_file(c->ca_file, &pem, NULL);
    if (ok && creds_to_base64(buf_str(&pem), pem.len, &text))
        jx_set_text(cluster, "certificate-authority-data", buf_str(&text));
    buf_done(&pem);
    buf_done(&text);
}

static char *exec_info(const struct kube_config *c)
{
    struct json_object *o = json_object_new_object(), *spec, *cluster;
    struct buf b;
    char *s;

    must(o);
    buf_init(&b, 1024 * 1024);
    buf_puts(&b, "KUBERNETES_EXEC_INFO=");
    jx_set_text(o, "apiVersion", c->exec.api_version);
    jx_set_text(o, "kind", "ExecCredential");
    spec = jx_object_in(o, "spec");
    must(json_object_object_add(spec, "interactive", json_object_new_boolean(0)) == 0);
    if (c->exec.provide_cluster_info) {
        cluster = jx_object_in(spec, "cluster");
        jx_set_text(cluster, "server", c->server);
        if (c->proxy)
            jx_set_text(cluster, "proxy-url", c->proxy);
        put_ca(cluster, c);
        if (c->insecure)
            must(json_object_object_add(cluster, "insecure-skip-tls-verify",
                                        json_object_new_boolean(1)) == 0);
    }
    jx_print(o, &b);
    json_object_put(o);
    s = strdup(buf_str(&b));
    must(s);
    buf_done(&b);
    return s;
}

/* The environment of the child: ours, theirs, and the description of the request. Only the list is
 * owned. */
static const char **child_env(const struct kube_config *c, char *const *env, const char *info)
{
    size_t n = 0, at = 0;
    const char **list;

    for (char *const *p = env; p && *p; p++)
        n++;
    for (char **p = c->exec.env; p && *p; p++)
        n++;
    list = calloc(n + 2, sizeof(*list));
    must(list);
    /* First match wins in most programs, so theirs come first. */
    for (char **p = c->exec.env; p && *p; p++)
        list[at++] = *p;
    for (char *const *p = env; p && *p; p++)
        list[at++] = *p;
    list[at++] = info;
    return list;
}

static void replace(char **dst, const char *s)
{
    char *d = strdup(s);

    must(d);
    free(*dst);
    *dst = d;
}

bool kube_exec_take(struct kube_config *c, const char *text, size_t len, struct err *e)
{
    struct json_object *o, *status;
    struct buf clean;

    if (!jx_parse(text, len, &o, e))
        return err_wrap(e, "credential plugin");
    status = jx_get(o, "status");
    const char *token = jx_text(jx_get(status, "token"));
    const char *cert = jx_text(jx_get(status, "clientCertificateData"));
    const char *key = jx_text(jx_get(status, "clientKeyData"));
    bool ok = true;
    if (!str_eq(jx_text(jx_get(o, "kind")), "ExecCredential") || (!token && !(cert && key)))
        ok = err_set(e, ERR_INVALID, "the credential plugin gave neither token nor certificate");
    buf_init(&clean, KUBE_TOKEN_MAX);
    if (ok && token) {
        if (kube_token_clean(token, strlen(token), &clean))
            replace(&c->token, buf_str(&clean));
        else
            ok = err_set(e, ERR_INVALID, "the credential plugin gave no valid token");
    }
    if (ok && cert && key) {
        replace(&c->cert_pem, cert);
        replace(&c->key_pem, key);
    }
    buf_done(&clean);
    json_object_put(o);
    return ok;
}

static bool run(struct kube_config *c, struct loop *l, const struct proc_spec *spec,
                struct err *e)
{
    struct proc *p = proc_start(l, spec, e);
    bool ok;

    if (!p)
        return err_wrap(e, "credential plugin");
    while (proc_state(p) == PROC_RUNNING)
        loop_turn(l, 1000);
    if (proc_timed_out(p))
        ok = err_set(e, ERR_TIMEOUT, "the credential plugin %s did not end in time",
                     c->exec.command);
    else if (!proc_ok(p))
        ok = err_set(e, ERR_DENIED, "the credential plugin %s failed: %.200s", c->exec.command,
                     proc_err_tail(p));
    else
        ok = kube_exec_take(c, buf_str(proc_out(p)), proc_out(p)->len, e);
    proc_free(p);
    return ok;
}

bool kube_config_run_exec(struct kube_config *c, struct loop *l, char *const *env,
                          int64_t deadline_ms, struct err *e)
{
    char path[PATH_MAX];
    bool ok;

    if (!c->exec.argv)
        return true;
    if (!find_command(&c->exec, env, path, sizeof(path), e))
        return err_wrap(e, "%s, context \"%s\"", c->source, c->context);
    size_t n = 0;
    while (c->exec.argv[n])
        n++;
    const char **argv = calloc(n + 1, sizeof(*argv));
    must(argv);
    argv[0] = path;
    for (size_t i = 1; i < n; i++)
        argv[i] = c->exec.argv[i];
    char *info = exec_info(c);
    const char **vars = child_env(c, env, info);
    struct proc_spec spec = {
        .argv = argv, .env = vars, .out_max = OUT_MAX, .deadline_ms = deadline_ms};
    ok = run(c, l, &spec, e);
    free(argv);
    free(vars);
    free(info);
    return ok || err_wrap(e, "%s, context \"%s\"", c->source, c->context);
}
