/* kubeconfig files (v1 Config): several of them seen as one. For this area only. */
#ifndef PGHAD_SRC_KUBE_KUBECONFIG_H
#define PGHAD_SRC_KUBE_KUBECONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "kube/config.h"

struct kubeconfig;

struct kubeconfig *kubeconfig_new(void);
void kubeconfig_free(struct kubeconfig *k); /* NULL accepted */
/* name is for messages; relative paths in the text start from dir. */
bool kubeconfig_add_text(struct kubeconfig *k, const char *text, size_t len, const char *name,
                         const char *dir, struct err *e);
bool kubeconfig_add_file(struct kubeconfig *k, const char *path, bool must_exist, struct err *e);
/* Colon-separated; duplicates and missing files are skipped. */
bool kubeconfig_add_list(struct kubeconfig *k, const char *list, struct err *e);
/* The cluster and user of the context (NULL or "" = current-context), into a zeroed *c. ns stays NULL
 * when the context has none. */
bool kubeconfig_resolve(struct kubeconfig *k, const char *context, struct kube_config *c,
                        struct err *e);

/* What a credential plugin printed (ExecCredential, client.authentication.k8s.io): token or certificate and key
 * into *c, in place of what was there. INVALID when it gives neither; *c is then as it was. */
bool kube_exec_take(struct kube_config *c, const char *text, size_t len, struct err *e);

#endif
