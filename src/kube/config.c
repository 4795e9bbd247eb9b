/* Where the API server is: explicit settings, kubeconfig files, or the account of the pod. */
#include "kube/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "kubeconfig.h"

#define NS_MAX 256

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static void wipe(char **s)
{
    if (*s)
        explicit_bzero(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

void kube_config_done(struct kube_config *c)
{
    free(c->source);
    free(c->context);
    free(c->server);
    free(c->ns);
    free(c->connect_to);
    free(c->ca_file);
    free(c->ca_pem);
    free(c->cert_file);
    free(c->cert_pem);
    free(c->key_file);
    wipe(&c->key_pem);
    wipe(&c->token);
    free(c->token_file);
    free(c->username);
    wipe(&c->password);
    free(c->impersonate);
    free(c->proxy);
    free(c->exec.api_version);
    free(c->exec.command);
    free(c->exec.install_hint);
    free_list(c->exec.argv);
    free_list(c->exec.env);
    *c = (struct kube_config){0};
}

static bool given(const char *s)
{
    return s && *s;
}

static char *copy(const char *s)
{
    char *d;

    if (!given(s))
        return NULL;
    d = strdup(s);
    must(d);
    return d;
}

static const char *get_env(const struct kube_settings *s, const char *name)
{
    size_t len = strlen(name);

    for (char *const *p = s->env; p && *p; p++)
        if (strncmp(*p, name, len) == 0 && (*p)[len] == '=')
            return *p + len + 1;
    return NULL;
}

static char *join(const char *dir, const char *name)
{
    struct buf b;
    char *s;

    buf_init(&b, 4096);
    buf_printf(&b, "%s/%s", dir, name);
    s = copy(buf_str(&b));
    buf_done(&b);
    return s;
}

/* The namespace of the account, or NULL. */
static char *read_namespace(const char *dir)
{
    char *path = join(dir, "namespace"), *ns = NULL;
    struct buf b;

    buf_init(&b, NS_MAX);
    if (path && fd_read_file(path, &b, NULL)) {
        while (b.len && strchr(" \t\r\n", b.data[b.len - 1]))
            b.data[--b.len] = '\0';
        ns = copy(buf_str(&b));
    }
    buf_done(&b);
    free(path);
    return ns;
}

static bool check_server(struct kube_config *c, struct err *e)
{
    size_t len = strlen(c->server);

    while (len && c->server[len - 1] == '/')
        c->server[--len] = '\0';
    if (!str_starts(c->server, "https://") && !str_starts(c->server, "http://"))
        return err_set(e, ERR_INVALID, "%s: server \"%.200s\" is no http or https URL", c->source,
                       c->server);
    return true;
}

static bool explicit_config(struct kube_config *c, const struct kube_settings *s, struct err *e)
{
    c->source = copy("settings");
    c->server = copy(s->server);
    c->token_file = copy(s->token_file);
    c->ca_file = copy(s->ca_file);
    return check_server(c, e);
}

static bool in_cluster(const struct kube_settings *s)
{
    return given(get_env(s, "KUBERNETES_SERVICE_HOST")) &&
           given(get_env(s, "KUBERNETES_SERVICE_PORT"));
}

static bool cluster_config(struct kube_config *c, const struct kube_settings *s, struct err *e)
{
    const char *dir = given(s->sa_dir) ? s->sa_dir : KUBE_SA_DIR;
    const char *host = get_env(s, "KUBERNETES_SERVICE_HOST");
    const char *port = get_env(s, "KUBERNETES_SERVICE_PORT");
    bool v6 = strchr(host, ':') && host[0] != '[';
    struct buf url;

    buf_init(&url, 1024);
    buf_printf(&url, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    c->source = copy("the pod's account");
    c->server = copy(buf_str(&url));
    buf_done(&url);
    c->token_file = given(s->token_file) ? copy(s->token_file) : join(dir, "token");
    c->ca_file = given(s->ca_file) ? copy(s->ca_file) : join(dir, "ca.crt");
    c->ns = given(get_env(s, "POD_NAMESPACE")) ? copy(get_env(s, "POD_NAMESPACE"))
                                               : read_namespace(dir);
    if (!c->token_file || !c->ca_file)
        return err_set(e, ERR_INVALID, "the path of the account's directory is too long");
    if (access(c->token_file, R_OK) != 0)
        return err_errno(e, ERR_NOT_FOUND, "%s (automountServiceAccountToken?)", c->token_file);
    return check_server(c, e);
}

/* ~/.kube/config when it exists, else NULL. */
static char *home_file(const struct kube_settings *s)
{
    const char *home = get_env(s, "HOME");
    char *path = given(home) ? join(home, ".kube/config") : NULL;

    if (path && access(path, F_OK) != 0) {
        free(path);
        path = NULL;
    }
    return path;
}

/* What fails later does not know the field any more. */
static bool check_files(const struct kube_config *c, struct err *e)
{
    const struct {
        const char *field, *path;
    } files[] = {
        {"certificate-authority", c->ca_pem ? NULL : c->ca_file},
        {"client-certificate", c->cert_pem ? NULL : c->cert_file},
        {"client-key", c->key_pem ? NULL : c->key_file},
        {"tokenFile", c->token_file},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (files[i].path && access(files[i].path, R_OK) != 0)
            return err_errno(e, ERR_NOT_FOUND, "%s, context \"%s\": %s %.200s", c->source,
                             c->context, files[i].field, files[i].path);
    return true;
}

static bool file_config(struct kube_config *c, const struct kube_settings *s, const char *list,
                        bool one, struct err *e)
{
    struct kubeconfig *k = kubeconfig_new();
    bool ok = one ? kubeconfig_add_file(k, list, true, e) : kubeconfig_add_list(k, list, e);

    ok = ok && kubeconfig_resolve(k, s->context, c, e) && check_server(c, e) &&
         check_files(c, e);
    kubeconfig_free(k);
    return ok;
}

static bool choose(struct kube_config *c, const struct kube_settings *s, struct err *e)
{
    const char *list = get_env(s, "KUBECONFIG");
    char *home;
    bool ok;

    if (given(s->server))
        return explicit_config(c, s, e);
    if (given(s->kubeconfig))
        return file_config(c, s, s->kubeconfig, true, e);
    if (s->in_cluster_first && in_cluster(s))
        return cluster_config(c, s, e);
    if (given(list))
        return file_config(c, s, list, false, e);
    home = home_file(s);
    if (home) {
        ok = file_config(c, s, home, true, e);
        free(home);
        return ok;
    }
    if (in_cluster(s))
        return cluster_config(c, s, e);
    return err_set(e, ERR_NOT_FOUND,
                   "no API server: neither a kubeconfig nor the environment of a pod");
}

bool kube_config_load(struct kube_config *c, const struct kube_settings *s, struct err *e)
{
    struct kube_config n = {.may_resolve = s->may_resolve};

    if (!choose(&n, s, e)) {
        kube_config_done(&n);
        return false;
    }
    if (given(s->ns)) {
        free(n.ns);
        n.ns = copy(s->ns);
    }
    if (!n.ns && given(get_env(s, "POD_NAMESPACE")))
        n.ns = copy(get_env(s, "POD_NAMESPACE"));
    if (!n.ns)
        n.ns = copy("default");
    *c = n;
    return true;
}

bool kube_config_parse(struct kube_config *c, const char *text, size_t len, const char *name,
                       const char *dir, const char *context, struct err *e)
{
    struct kubeconfig *k = kubeconfig_new();
    struct kube_config n = {0};
    bool ok = kubeconfig_add_text(k, text, len, name, dir, e) &&
              kubeconfig_resolve(k, context, &n, e) && check_server(&n, e);

    kubeconfig_free(k);
    if (!ok) {
        kube_config_done(&n);
        return false;
    }
    if (!n.ns)
        n.ns = copy("default");
    *c = n;
    return true;
}
