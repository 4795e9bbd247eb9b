/* Settings: one option table, several sources, strict.
 *
 * Later sources win: built-in defaults; the environment of the container image (POD_NAME, PGDATA,
 * POSTGRES_USER, ...); the YAML file; the cluster-wide settings (YAML in the ConfigMap, only keys
 * marked cluster-wide); PGHA_SECTION_KEY. Maps are merged key by key (null removes an entry), lists
 * and everything else are replaced as a whole. An unknown key, a wrong type or a value out of range
 * is an error that names source, line, key and what is allowed. */
#ifndef PGHAD_CONFIG_CONFIG_H
#define PGHAD_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/view.h"

#define CONFIG_FILE "/etc/pghad/pghad.yaml"
#define CONFIG_SERVICES_MAX 4
#define CONFIG_TEXT_MAX (256 * 1024) /* bytes of YAML from one source */

/* Error of clocks and scheduling that the lease inequality allows for (DESIGN 3): rate of clocks, and
 * the time from a passed deadline to guard's kill. */
#define CONFIG_RHO_PERCENT 9
#define CONFIG_EPSILON_MS 100

enum config_lease_profile { LEASE_PROFILE_FAST, LEASE_PROFILE_DEFAULT, LEASE_PROFILE_CALM };

enum config_collation_change { COLLATION_CHANGE_REFUSE, COLLATION_CHANGE_ALLOW };

/* All strings are owned by the configuration and never NULL ("" = not set). */
struct config_list {
    char **v;
    size_t n;
};

struct config_pair {
    char *key, *value;
};

/* Sorted by key, keys are unique. */
struct config_map {
    struct config_pair *v;
    size_t n;
};

struct config {
    struct {
        char *name, *uid, *ip;
    } pod;
    struct {
        char *name;
        char *ns; /* option cluster.namespace */
        int64_t members; /* expected number of members */
        char *role_label, *role_primary, *role_replica;
        struct config_list services; /* for writers; at least one */
        char *selector; /* label selector of the pods of this cluster */
    } cluster;
    struct {
        int profile; /* enum config_lease_profile */
        int64_t duration_ms, renew_ms, retry_ms, fence_ms, kill_ms; /* T_L, _, _, T_S, T_K */
        int64_t request_ms; /* total deadline of one request to the API */
        bool failsafe;
    } lease;
    struct {
        char *data_dir, *bin_dir, *listen, *socket_dir;
        int64_t port;
        struct config_map parameters;
        struct config_list hba, ident;
        char *superuser, *superuser_password_file;
        char *superuser_password; /* secret, only from POSTGRES_PASSWORD; never printed */
        char *replication_user, *replication_password_file;
        bool commit_gate;
    } postgres;
    struct {
        int mode; /* enum repl_mode */
        int64_t k;
        bool strict;
        int64_t degrade_after_ms, leave_after_ms;
        int64_t max_lag_bytes;       /* readiness and candidates */
        int64_t max_wal_keep_bytes;  /* cap on WAL kept for slots */
    } replication;
    struct {
        bool nofailover, noloadbalance;
        int64_t priority;
        struct config_map custom;
    } tags;
    struct {
        int crash_policy; /* enum crash_policy */
        int collation_change; /* enum config_collation_change */
        int64_t early_after_ms;     /* of silence of a strict primary; 0 = never before its lease ends */
        int64_t stop_timeout_ms;    /* planned: fast stop until SIGKILL */
        int64_t switchover_max_lag_bytes;
    } failover;
    struct {
        char *database, *initdb_args, *host_auth_method, *init_dir;
    } bootstrap;
    struct {
        char *listen, *peer_listen, *token_file, *socket;
    } api;
    struct {
        char *server, *token_file, *ca_file, *kubeconfig, *context;
    } kube;
    struct {
        int level; /* enum log_level */
    } log;
};

struct config_sources {
    const char *file;         /* NULL: CONFIG_FILE, which may be absent; named files must exist */
    bool no_file;             /* without any: what the environment alone gives */
    const char *cluster_text; /* YAML from the ConfigMap, or NULL */
    char *const *env;         /* environ, or NULL: no environment */
    bool check_only;          /* do not insist on what only a running member has (its name) */
};

/* Builds a whole configuration. On failure *e says what and where (ERR_INVALID; ERR_NOT_FOUND for an
 * absent named file) and c is untouched. c must be zeroed or hold a configuration, which is freed. */
bool config_load(struct config *c, const struct config_sources *s, struct err *e);
void config_done(struct config *c); /* accepts a zeroed one */

/* What the decision core needs of it. */
void config_settings(const struct config *c, struct settings *ret);

/* Checks cluster-wide text alone, as `hactl edit-config` must before it writes. */
bool config_check_cluster_text(const char *text, struct err *e);

struct config_change {
    const char *name;   /* option, static */
    char *from, *to;    /* owned; as text */
    bool needs_restart; /* not in force: the old value is kept until the member restarts */
};
struct config_changes {
    struct config_change *v;
    size_t n;
};
void config_changes_done(struct config_changes *ch);

/* Loads again and takes over what may change while running. On failure everything is kept. *ret is
 * overwritten on success; free it with config_changes_done. */
bool config_reload(struct config *c, const struct config_sources *s, struct config_changes *ret,
                   struct err *e);

/* The superuser's password from POSTGRES_PASSWORD or the file, without the final newline. false with
 * ERR_NOT_FOUND when neither is set. The buffer's memory is the caller's to wipe. */
bool config_superuser_password(const struct config *c, struct buf *ret, struct err *e);
bool config_replication_password(const struct config *c, struct buf *ret, struct err *e);

/* Value of an option as text ("10s", "quorum"), by its name; false when there is no such option. */
bool config_get_text(const struct config *c, const char *name, struct buf *ret);
/* All options as a JSON object of sections; secrets are not among them. */
bool config_to_json(const struct config *c, struct buf *ret);

/* Generators from the option table. */
void config_print_sample(FILE *f);    /* config/pghad.yaml */
void config_print_reference(FILE *f); /* docs/reference/configuration.md */

#endif
