/* kubeconfig by libyaml's document tree: the schema is open, so only what is known is looked at.
 *
 * The first file that defines a cluster, user or context wins as a whole; current-context is the
 * first one set (kubernetes client-go, clientcmd loading rules). */
#include "kubeconfig.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "creds_text.h"

#define FILES_MAX 16
#define TEXT_MAX (1024 * 1024)
#define ARGS_MAX 64

struct file {
    char *name, *dir;
    yaml_document_t doc;
    bool has_doc;
};

struct kubeconfig {
    struct file f[FILES_MAX];
    size_t n;
};

/* A mapping and the file that it is in, for messages and relative paths. */
struct entry {
    struct file *file;
    yaml_node_t *map;
};

struct kubeconfig *kubeconfig_new(void)
{
    struct kubeconfig *k = calloc(1, sizeof(*k));

    must(k);
    return k;
}

void kubeconfig_free(struct kubeconfig *k)
{
    for (size_t i = 0; k && i < k->n; i++) {
        if (k->f[i].has_doc)
            yaml_document_delete(&k->f[i].doc);
        free(k->f[i].name);
        free(k->f[i].dir);
    }
    free(k);
}

static char *copy(const char *s)
{
    char *d = strdup(s);

    must(d);
    return d;
}

/* ---- reading ---- */

bool kubeconfig_add_text(struct kubeconfig *k, const char *text, size_t len, const char *name,
                         const char *dir, struct err *e)
{
    struct file *f = &k->f[k->n];
    yaml_parser_t p;
    bool ok = true;

    if (k->n == FILES_MAX)
        return err_set(e, ERR_INVALID, "more than %d kubeconfig files", FILES_MAX);
    must(yaml_parser_initialize(&p));
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    if (!yaml_parser_load(&p, &f->doc))
        ok = err_set(e, ERR_INVALID, "%s, line %zu: %s", name, p.problem_mark.line + 1,
                     p.problem ? p.problem : "not YAML");
    yaml_parser_delete(&p);
    if (!ok)
        return false;
    *f = (struct file){.name = copy(name), .dir = copy(dir), .doc = f->doc, .has_doc = true};
    k->n++;
    yaml_node_t *root = yaml_document_get_root_node(&f->doc);
    if (root && root->type != YAML_MAPPING_NODE)
        return err_set(e, ERR_INVALID, "%s, line %zu: not a kubeconfig", name,
                       root->start_mark.line + 1);
    return true;
}

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return copy(".");
    char *d = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    must(d);
    return d;
}

bool kubeconfig_add_file(struct kubeconfig *k, const char *path, bool must_exist, struct err *e)
{
    struct err why;
    struct buf b;
    bool ok;

    for (size_t i = 0; i < k->n; i++)
        if (str_eq(k->f[i].name, path))
            return true;
    buf_init(&b, TEXT_MAX);
    ok = fd_read_file(path, &b, &why);
    if (ok) {
        char *dir = dir_of(path);
        ok = kubeconfig_add_text(k, buf_str(&b), b.len, path, dir, e);
        free(dir);
        explicit_bzero(b.data, b.len);
    } else if (why.kind == ERR_NOT_FOUND && !must_exist) {
        ok = true;
    } else if (e) {
        *e = why;
    }
    buf_done(&b);
    return ok;
}

bool kubeconfig_add_list(struct kubeconfig *k, const char *list, struct err *e)
{
    while (*list) {
        size_t len = strcspn(list, ":");
        char *path = strndup(list, len);
        must(path);
        bool ok = len == 0 || kubeconfig_add_file(k, path, false, e);
        free(path);
        if (!ok)
            return false;
        list += len + (list[len] == ':');
    }
    if (k->n == 0)
        return err_set(e, ERR_NOT_FOUND, "no file of KUBECONFIG exists");
    return true;
}

/* ---- looking up ---- */

static const char *scalar(const yaml_node_t *n)
{
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static yaml_node_t *get(struct file *f, const yaml_node_t *map, const char *key)
{
    if (!map || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const char *name = scalar(yaml_document_get_node(&f->doc, p->key));
        if (str_eq(name, key))
            return yaml_document_get_node(&f->doc, p->value);
    }
    return NULL;
}

static bool is_null(const yaml_node_t *n)
{
    const char *s = scalar(n);

    return !n || (s && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                  (*s == '\0' || str_eq(s, "null") || str_eq(s, "~")));
}

/* A text value into *ret (owned); absent, null and empty leave it NULL. */
static bool take(const struct entry *n, const char *key, char **ret, struct err *e)
{
    yaml_node_t *v = get(n->file, n->map, key);

    if (is_null(v))
        return true;
    if (!scalar(v) || strlen(scalar(v)) != v->data.scalar.length)
        return err_set(e, ERR_INVALID, "%s, line %zu: %s is not a text", n->file->name,
                       v->start_mark.line + 1, key);
    if (*scalar(v))
        *ret = copy(scalar(v));
    return true;
}

static bool take_bool(const struct entry *n, const char *key, bool *ret, struct err *e)
{
    yaml_node_t *v = get(n->file, n->map, key);
    const char *s = scalar(v);

    if (is_null(v))
        return true;
    if (!str_eq(s, "true") && !str_eq(s, "false"))
        return err_set(e, ERR_INVALID, "%s, line %zu: %s is neither true nor false", n->file->name,
                       v->start_mark.line + 1, key);
    *ret = str_eq(s, "true");
    return true;
}

/* A path, made absolute from the file's own directory. */
static bool take_path(const struct entry *n, const char *key, char **ret, struct err *e)
{
    struct buf b;

    if (!take(n, key, ret, e))
        return false;
    if (!*ret || **ret == '/')
        return true;
    buf_init(&b, 4096);
    if (!buf_printf(&b, "%s/%s", n->file->dir, *ret)) {
        buf_done(&b);
        return err_set(e, ERR_INVALID, "%s: %s is too long", n->file->name, key);
    }
    free(*ret);
    *ret = copy(buf_str(&b));
    buf_done(&b);
    return true;
}

static bool take_data(const struct entry *n, const char *key, char **ret, struct err *e)
{
    char *text = NULL;
    yaml_node_t *v = get(n->file, n->map, key);
    struct buf b;

    if (!take(n, key, &text, e))
        return false;
    if (!text)
        return true;
    buf_init(&b, TEXT_MAX);
    bool ok = creds_base64(text, &b);
    if (ok)
        *ret = copy(buf_str(&b));
    else
        err_set(e, ERR_INVALID, "%s, line %zu: %s is not base64 of a text", n->file->name,
                v->start_mark.line + 1, key);
    explicit_bzero(text, strlen(text));
    free(text);
    if (b.data)
        explicit_bzero(b.data, b.len);
    buf_done(&b);
    return ok;
}

/* The entry of that name in list, its inner mapping under key. */
static bool find(struct kubeconfig *k, const char *list, const char *key, const char *name,
                 struct entry *ret, struct err *e)
{
    for (size_t i = 0; i < k->n; i++) {
        struct file *f = &k->f[i];
        yaml_node_t *seq = get(f, yaml_document_get_root_node(&f->doc), list);
        if (!seq || seq->type != YAML_SEQUENCE_NODE)
            continue;
        for (yaml_node_item_t *it = seq->data.sequence.items.start;
             it < seq->data.sequence.items.top; it++) {
            yaml_node_t *n = yaml_document_get_node(&f->doc, *it);
            if (!str_eq(scalar(get(f, n, "name")), name))
                continue;
            *ret = (struct entry){f, get(f, n, key)};
            if (ret->map && (ret->map->type == YAML_MAPPING_NODE || is_null(ret->map)))
                return true;
            return err_set(e, ERR_INVALID, "%s, line %zu: no %s in \"%.100s\"", f->name,
                           n->start_mark.line + 1, key, name);
        }
    }
    return err_set(e, ERR_INVALID, "%s \"%.100s\" is not in %s", key, name,
                   k->n == 1 ? k->f[0].name : "any kubeconfig");
}

static bool refuse(const struct entry *n, const char *key, const char *why, struct err *e)
{
    return err_set(e, ERR_INVALID, "%s, line %zu: %s %s", n->file->name,
                   n->map->start_mark.line + 1, key, why);
}

/* ---- clusters and users ---- */

/* The certificate is checked for the name: the name goes into the URL, the host is dialled. */
static bool apply_tls_name(struct kube_config *c, const char *name, const struct file *f,
                           struct err *e)
{
    const char *host = strstr(c->server, "://");
    struct buf b;

    must(host);
    host += 3;
    size_t len = strcspn(host, "/");
    const char *port = memchr(host, ':', len);
    if (host[0] == '[') {
        const char *end = memchr(host, ']', len);
        port = end && end[1] == ':' ? end + 1 : NULL;
    }
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")])
        return err_set(e, ERR_INVALID, "%s: \"%.100s\" is no server name", f->name, name);
    size_t host_len = port ? (size_t)(port - host) : len;
    const char *plain = str_starts(c->server, "https") ? ":443" : ":80";
    buf_init(&b, 4096);
    buf_printf(&b, "%.*s%.*s", (int)host_len, host, port ? (int)(len - host_len) : (int)strlen(plain),
               port ? port : plain);
    c->connect_to = copy(buf_str(&b));
    buf_clear(&b);
    buf_printf(&b, "%.*s%s%s", (int)(host - c->server), c->server, name, host + host_len);
    free(c->server);
    c->server = copy(buf_str(&b));
    buf_done(&b);
    return true;
}

static bool check_proxy(const struct entry *n, const char *url, struct err *e)
{
    static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};

    for (size_t i = 0; url && i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (str_starts(url, schemes[i]) && url[strlen(schemes[i])])
            return true;
    return !url || refuse(n, "proxy-url", "is no http, https or socks5 URL", e);
}

static bool take_cluster(const struct entry *n, struct kube_config *c, struct err *e)
{
    char *name = NULL;
    bool ok = take(n, "server", &c->server, e) &&
              take_data(n, "certificate-authority-data", &c->ca_pem, e) &&
              take_path(n, "certificate-authority", &c->ca_file, e) &&
              take_bool(n, "insecure-skip-tls-verify", &c->insecure, e) &&
              take(n, "proxy-url", &c->proxy, e) && take(n, "tls-server-name", &name, e);

    if (ok && !c->server)
        ok = refuse(n, "server", "is missing in the cluster", e);
    if (ok && !str_starts(c->server, "https://") && !str_starts(c->server, "http://"))
        ok = err_set(e, ERR_INVALID, "%s: server \"%.200s\" is no http or https URL", n->file->name,
                     c->server);
    if (ok && c->insecure && (c->ca_file || c->ca_pem))
        ok = refuse(n, "insecure-skip-tls-verify",
                    "contradicts certificate-authority: only one of them can be meant", e);
    ok = ok && check_proxy(n, c->proxy, e);
    if (ok && name)
        ok = apply_tls_name(c, name, n->file, e);
    free(name);
    return ok;
}

static void add_string(char ***list, size_t *n, char *s)
{
    char **grown = realloc(*list, (*n + 2) * sizeof(**list));

    must(grown);
    grown[(*n)++] = s;
    grown[*n] = NULL;
    *list = grown;
}

static bool take_exec_lists(const struct entry *x, struct kube_exec *r, struct err *e)
{
    yaml_node_t *args = get(x->file, x->map, "args"), *env = get(x->file, x->map, "env");
    size_t n = 0;

    add_string(&r->argv, &n, copy(r->command));
    if (args && args->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *it = args->data.sequence.items.start;
             it < args->data.sequence.items.top && n < ARGS_MAX; it++) {
            const char *s = scalar(yaml_document_get_node(&x->file->doc, *it));
            add_string(&r->argv, &n, copy(s ? s : ""));
        }
    }
    n = 0;
    if (!env || env->type != YAML_SEQUENCE_NODE)
        return true;
    for (yaml_node_item_t *it = env->data.sequence.items.start;
         it < env->data.sequence.items.top && n < ARGS_MAX; it++) {
        yaml_node_t *pair = yaml_document_get_node(&x->file->doc, *it);
        const char *key = scalar(get(x->file, pair, "name"));
        const char *value = scalar(get(x->file, pair, "value"));
        struct buf b;
        if (!key || !*key || strchr(key, '='))
            return err_set(e, ERR_INVALID, "%s, line %zu: env without a name", x->file->name,
                           pair->start_mark.line + 1);
        buf_init(&b, 64 * 1024);
        buf_printf(&b, "%s=%s", key, value ? value : "");
        add_string(&r->env, &n, copy(buf_str(&b)));
        buf_done(&b);
    }
    return true;
}

static bool take_exec(const struct entry *user, struct kube_exec *r, struct err *e)
{
    struct entry x = {user->file, get(user->file, user->map, "exec")};

    if (is_null(x.map))
        return true;
    if (!take(&x, "apiVersion", &r->api_version, e) || !take(&x, "command", &r->command, e) ||
        !take(&x, "installHint", &r->install_hint, e) ||
        !take_bool(&x, "provideClusterInfo", &r->provide_cluster_info, e))
        return false;
    if (str_eq(scalar(get(x.file, x.map, "interactiveMode")), "Always"))
        return refuse(&x, "exec", "wants a terminal (interactiveMode: Always), which it does not get "
                      "here; log in with kubectl first, or use a token", e);
    if (!r->command)
        return err_set(e, ERR_INVALID, "%s, line %zu: exec without a command", x.file->name,
                       x.map->start_mark.line + 1);
    if (!str_eq(r->api_version, "client.authentication.k8s.io/v1") &&
        !str_eq(r->api_version, "client.authentication.k8s.io/v1beta1"))
        return err_set(e, ERR_INVALID, "%s, line %zu: exec of version \"%.60s\" is not known",
                       x.file->name, x.map->start_mark.line + 1,
                       r->api_version ? r->api_version : "");
    /* A path with a slash starts from the file; a bare name is looked up in PATH. */
    if (strchr(r->command, '/')) {
        free(r->command);
        r->command = NULL;
        if (!take_path(&x, "command", &r->command, e))
            return false;
    }
    return take_exec_lists(&x, r, e);
}

/* Certificate and key belong together, however each is given. */
static bool check_user(const struct entry *n, const struct kube_config *c, struct err *e)
{
    bool cert = c->cert_file || c->cert_pem, key = c->key_file || c->key_pem;

    if (cert != key)
        return refuse(n, cert ? "client-key" : "client-certificate",
                      cert ? "is missing beside client-certificate in the user"
                           : "is missing beside client-key in the user", e);
    return true;
}

static bool take_user(const struct entry *n, struct kube_config *c, struct err *e)
{
    /* To leave one of these out would be to act as somebody else. */
    static const char *const not_supported[] = {"auth-provider", "as-groups", "as-uid",
                                                "as-user-extra"};

    for (size_t i = 0; i < sizeof(not_supported) / sizeof(not_supported[0]); i++) {
        yaml_node_t *v = get(n->file, n->map, not_supported[i]);
        if (!is_null(v))
            return err_set(e, ERR_INVALID, "%s, line %zu: %s is not supported%s", n->file->name,
                           v->start_mark.line + 1, not_supported[i],
                           i == 0 ? "; use exec or a token" : "");
    }
    return take_data(n, "client-certificate-data", &c->cert_pem, e) &&
           take_data(n, "client-key-data", &c->key_pem, e) &&
           take_path(n, "client-certificate", &c->cert_file, e) &&
           take_path(n, "client-key", &c->key_file, e) && take(n, "token", &c->token, e) &&
           take_path(n, "tokenFile", &c->token_file, e) && take(n, "username", &c->username, e) &&
           take(n, "password", &c->password, e) && take(n, "as", &c->impersonate, e) &&
           take_exec(n, &c->exec, e) && check_user(n, c, e);
}

/* Header values: what a text file could smuggle in must not become a header line. */
static bool check_header_values(const struct kube_config *c, struct err *e)
{
    const char *const values[] = {c->token, c->impersonate};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        for (const char *s = values[i]; s && *s; s++)
            if ((unsigned char)*s < ' ' || *s == 127)
                return err_set(e, ERR_INVALID, "%s: a token or name with control characters",
                               c->source);
    return true;
}

static const char *current_context(struct kubeconfig *k)
{
    for (size_t i = 0; i < k->n; i++) {
        struct file *f = &k->f[i];
        const char *s = scalar(get(f, yaml_document_get_root_node(&f->doc), "current-context"));
        if (s && *s)
            return s;
    }
    return NULL;
}

static bool resolve(struct kubeconfig *k, const char *context, struct kube_config *c,
                    struct err *e)
{
    struct entry ctx, part;
    char *cluster = NULL, *user = NULL;

    if (!find(k, "contexts", "context", context, &ctx, e))
        return false;
    c->source = copy(ctx.file->name);
    c->context = copy(context);
    bool ok = take(&ctx, "cluster", &cluster, e) && take(&ctx, "user", &user, e) &&
              take(&ctx, "namespace", &c->ns, e);
    if (ok && !cluster)
        ok = refuse(&ctx, "cluster", "is missing in the context", e);
    ok = ok && find(k, "clusters", "cluster", cluster, &part, e) && take_cluster(&part, c, e);
    if (ok && user)
        ok = find(k, "users", "user", user, &part, e) && take_user(&part, c, e);
    free(cluster);
    free(user);
    return ok && check_header_values(c, e);
}

bool kubeconfig_resolve(struct kubeconfig *k, const char *context, struct kube_config *c,
                        struct err *e)
{
    if (!context || !*context)
        context = current_context(k);
    if (!context)
        return err_set(e, ERR_INVALID, "%s: no current-context; choose one with --context",
                       k->n ? k->f[0].name : "kubeconfig");
    return resolve(k, context, c, e) || err_wrap(e, "context \"%.100s\"", context);
}
