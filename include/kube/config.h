/* How to reach the API server and as whom: in-cluster account, kubeconfig, or explicit settings. */
#ifndef PGHAD_KUBE_CONFIG_H
#define PGHAD_KUBE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KUBE_TOKEN_REREAD_MS 60000 /* the kubelet replaces the file at 80 % of its lifetime */
#define KUBE_SA_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

struct loop;

struct kube_exec { /* credential plugin, client.authentication.k8s.io */
    char *api_version;
    char *command;
    char **argv; /* NULL-terminated, argv[0] = command; NULL when there is no plugin */
    char **env;  /* "NAME=value", NULL-terminated, or NULL */
    char *install_hint; /* for people, when the command is not there */
    bool provide_cluster_info;
};

/* All strings are owned; NULL = not set. */
struct kube_config {
    char *source;     /* where it comes from, for people: the file, ... */
    char *context;    /* of a kubeconfig */
    char *server;     /* "https://host:port[/prefix]", no slash at the end */
    char *ns;         /* never NULL */
    char *connect_to; /* "ip:port" dialled in place of the server's host */
    char *ca_file, *ca_pem;
    char *cert_file, *cert_pem, *key_file, *key_pem;
    char *token, *token_file; /* the file wins and is read again */
    char *username, *password;
    char *impersonate;
    char *proxy;
    bool insecure;
    bool may_resolve; /* host names may be looked up, with the thread that costs */
    struct kube_exec exec;
};

/* What is asked for; NULL or "" = not given. */
struct kube_settings {
    const char *server, *token_file, *ca_file; /* explicit: win over everything when server is given */
    const char *kubeconfig; /* one file that must exist, no merging */
    const char *context;
    const char *ns;         /* wins over the context's and the account's */
    const char *sa_dir;     /* NULL: KUBE_SA_DIR */
    bool in_cluster_first;  /* the agent: the pod's account before $KUBECONFIG and ~/.kube/config */
    bool may_resolve;
    char *const *env;       /* environ, or NULL: no environment */
};

/* Order: explicit server; --kubeconfig; $KUBECONFIG (merged, the first file to define a thing wins);
 * ~/.kube/config; the pod's account. ERR_INVALID names file, line and context, ERR_NOT_FOUND when there is
 * nothing to go by, or a file that is named is not there. c is overwritten on success only. */
bool kube_config_load(struct kube_config *c, const struct kube_settings *s, struct err *e);
void kube_config_done(struct kube_config *c); /* accepts a zeroed one */

/* Parses one kubeconfig text (YAML or JSON). name is for messages, dir what relative paths start
 * from. */
bool kube_config_parse(struct kube_config *c, const char *text, size_t len, const char *name,
                       const char *dir, const char *context, struct err *e);

/* Runs the credential plugin, if there is one, and takes its token or certificate. Blocks, turning
 * the loop (with proc_source in it), until deadline_ms; for hactl. */
bool kube_config_run_exec(struct kube_config *c, struct loop *l, char *const *env,
                          int64_t deadline_ms, struct err *e);

#endif
