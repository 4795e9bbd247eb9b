/* The option table and the defaults of every setting. Order is the order of the sample file. */
#include "config/option.h"

#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/str.h"

#define AT(field) offsetof(struct config, field)
#define RELOAD OPT_RELOAD
#define SHARED (OPT_RELOAD | OPT_CLUSTER)
#define NUMBERS (OPT_RELOAD | OPT_CLUSTER | OPT_PROFILE)

#define KIB INT64_C(1024)
#define MIB (KIB * 1024)
#define TIB (MIB * 1024 * 1024)

static const char *const profile_words[] = {
    [LEASE_PROFILE_FAST] = "fast", [LEASE_PROFILE_DEFAULT] = "default",
    [LEASE_PROFILE_CALM] = "calm", NULL};
static const char *const mode_words[] = {
    [REPL_ASYNC] = "async", [REPL_SYNC] = "sync", [REPL_QUORUM] = "quorum", NULL};
static const char *const collation_words[] = {
    [COLLATION_CHANGE_REFUSE] = "refuse", [COLLATION_CHANGE_ALLOW] = "allow", NULL};
static const char *const crash_words[] = {
    [CRASH_AUTO] = "auto", [CRASH_RESTART] = "restart", [CRASH_FAILOVER] = "failover", NULL};
static const char *const level_words[] = {[LOG_DEBUG] = "debug", [LOG_INFO] = "info",
                                          [LOG_WARNING] = "warning", [LOG_ERROR] = "error", NULL};

static bool all_of(const char *s, const char *extra, bool upper)
{
    for (; *s; s++) {
        bool ok = (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') ||
                  (upper && *s >= 'A' && *s <= 'Z') || strchr(extra, *s);
        if (!ok)
            return false;
    }
    return true;
}

/* RFC 1123 label, the form of pod, Lease and namespace names. */
static bool is_label(const char *key, const char *v)
{
    (void)key;
    size_t n = strlen(v);
    return n == 0 || (n <= 63 && all_of(v, "-", false) && v[0] != '-' && v[n - 1] != '-');
}

static bool is_service(const char *key, const char *v)
{
    return v[0] != '\0' && is_label(key, v);
}

static bool is_label_part(const char *v)
{
    size_t n = strlen(v);
    return n > 0 && n <= 63 && all_of(v, "-_.", true) && !strchr("-_.", v[0]) &&
           !strchr("-_.", v[n - 1]);
}

/* Kubernetes label key: [prefix/]name. */
static bool is_label_key(const char *key, const char *v)
{
    (void)key;
    const char *slash = strchr(v, '/');
    if (!slash)
        return is_label_part(v);
    char prefix[254];
    size_t n = (size_t)(slash - v);
    if (n == 0 || n >= sizeof(prefix))
        return false;
    memcpy(prefix, v, n);
    prefix[n] = '\0';
    return all_of(prefix, "-.", false) && is_label_part(slash + 1);
}

static bool is_label_value(const char *key, const char *v)
{
    (void)key;
    return is_label_part(v);
}

/* PostgreSQL cuts names at 63 bytes (NAMEDATALEN). */
static bool is_role(const char *key, const char *v)
{
    (void)key;
    return v[0] != '\0' && strlen(v) <= 63 && !str_starts(v, "pg_");
}

/* address:port, the address may be empty or an IPv6 one in brackets. */
static bool is_endpoint(const char *key, const char *v)
{
    (void)key;
    const char *colon = strrchr(v, ':');
    int64_t port;
    if (!colon || !str_to_i64(colon + 1, 0, 65535, &port))
        return false;
    size_t n = (size_t)(colon - v);
    if (v[0] == '[')
        return n >= 4 && v[n - 1] == ']';
    return !memchr(v, ':', n);
}

static bool is_url(const char *key, const char *v)
{
    (void)key;
    return v[0] == '\0' || str_starts(v, "https://") || str_starts(v, "http://");
}

/* What pghad itself decides; a second opinion in the parameters would break a promise. */
static const char *const owned_parameters[] = {
    "config_file", "data_directory", "external_pid_file", "hba_file", "hot_standby", "ident_file",
    "listen_addresses", "port", "primary_conninfo", "primary_slot_name", "promote_trigger_file",
    "recovery_target", "recovery_target_action", "recovery_target_inclusive", "recovery_target_lsn",
    "recovery_target_name", "recovery_target_time", "recovery_target_timeline",
    "recovery_target_xid", "restart_after_crash", "synchronous_standby_names",
    "unix_socket_directories", NULL};

static bool is_parameter(const char *key, const char *v)
{
    (void)v;
    if (!key[0] || strlen(key) > 63 || !all_of(key, "_.", true) || (key[0] >= '0' && key[0] <= '9'))
        return false;
    for (size_t i = 0; owned_parameters[i]; i++)
        if (strcasecmp(owned_parameters[i], key) == 0)
            return false;
    return true;
}

static bool is_tag(const char *key, const char *v)
{
    return key[0] && strlen(key) <= 31 && all_of(key, "-_", true) && strlen(v) <= 63;
}

static bool is_not_empty(const char *key, const char *v)
{
    (void)key;
    return v[strspn(v, " \t")] != '\0';
}

const struct option option_table[] = {
    {"cluster.name", OPT_STRING, 0, AT(cluster.name), 0, 52, "", NULL, NULL,
     "lower-case letters, digits and '-'", is_label,
     "Name of the cluster: the Lease, and the prefix of the other objects. Empty: the name of the "
     "pod without its ordinal."},
    {"cluster.namespace", OPT_STRING, 0, AT(cluster.ns), 0, 63, "", NULL, "POD_NAMESPACE",
     "lower-case letters, digits and '-'", is_label,
     "Namespace of all objects. Empty: that of the service account."},
    {"cluster.members", OPT_INT, SHARED, AT(cluster.members), 1, HA_MEMBERS_MAX, "3", NULL, NULL,
     NULL, NULL,
     "Number of members expected. The first initialisation waits until each of them has answered "
     "that its volume is empty."},
    {"cluster.role_label", OPT_STRING, 0, AT(cluster.role_label), 1, 317, "role", NULL, NULL,
     "a Kubernetes label key", is_label_key, "Pod label that Services select on."},
    {"cluster.role_primary", OPT_STRING, 0, AT(cluster.role_primary), 1, 63, "primary", NULL, NULL,
     "a Kubernetes label value", is_label_value, "Value of the role label on the primary."},
    {"cluster.role_replica", OPT_STRING, 0, AT(cluster.role_replica), 1, 63, "replica", NULL, NULL,
     "a Kubernetes label value", is_label_value, "Value of the role label on replicas."},
    {"cluster.services", OPT_LIST, 0, AT(cluster.services), 0, CONFIG_SERVICES_MAX, "[]", NULL, NULL,
     "names of Services", is_service,
     "Services that clients write through. Where one has no selector, the primary keeps its "
     "EndpointSlice. Empty: <cluster.name>-rw."},
    {"cluster.selector", OPT_STRING, 0, AT(cluster.selector), 0, 512, "", NULL, NULL,
     "a Kubernetes label selector", NULL,
     "Which pods belong to the cluster. Empty: app.kubernetes.io/instance=<cluster.name>."},

    {"pod.name", OPT_STRING, 0, AT(pod.name), 0, 63, "", NULL, "POD_NAME",
     "lower-case letters, digits and '-', ending in -<ordinal>", is_label,
     "Name of this member; set from the downward API."},
    {"pod.uid", OPT_STRING, 0, AT(pod.uid), 0, HA_UID_SIZE - 1, "", NULL, "POD_UID", NULL, NULL,
     "Uid of this pod; set from the downward API."},
    {"pod.ip", OPT_STRING, 0, AT(pod.ip), 0, 45, "", NULL, "POD_IP", NULL, NULL,
     "Address at which other members reach this one; set from the downward API."},

    {"lease.profile", OPT_ENUM, SHARED, AT(lease.profile), 0, 0, "default", profile_words, NULL,
     NULL, NULL,
     "Set of the numbers below. fast: shortest takeover, wants a quick API server. calm: rides out "
     "long API outages."},
    {"lease.duration", OPT_DURATION, NUMBERS, AT(lease.duration_ms), 2000, 300000, NULL, NULL, NULL,
     NULL, NULL, "How long others wait for a silent holder (T_L); whole seconds."},
    {"lease.renew", OPT_DURATION, NUMBERS, AT(lease.renew_ms), 100, 60000, NULL, NULL, NULL, NULL,
     NULL, "Time from one renewal to the next."},
    {"lease.retry", OPT_DURATION, NUMBERS, AT(lease.retry_ms), 50, 60000, NULL, NULL, NULL, NULL,
     NULL, "Pause before a failed request is tried again."},
    {"lease.request", OPT_DURATION, NUMBERS, AT(lease.request_ms), 100, 60000, NULL, NULL, NULL,
     NULL, NULL, "Total deadline of one request to the API server."},
    {"lease.fence", OPT_DURATION, NUMBERS, AT(lease.fence_ms), 500, 300000, NULL, NULL, NULL, NULL,
     NULL,
     "Time after the sending of the last successful renewal at which the holder kills its own "
     "PostgreSQL (T_S)."},
    {"lease.kill", OPT_DURATION, NUMBERS, AT(lease.kill_ms), 100, 60000, NULL, NULL, NULL, NULL,
     NULL, "Time that this killing may take (T_K)."},
    {"lease.failsafe", OPT_BOOL, SHARED, AT(lease.failsafe), 0, 0, "true", NULL, NULL, NULL, NULL,
     "Keep serving while the API server is away and every listed member promises not to take over."},

    {"postgres.data_dir", OPT_PATH, 0, AT(postgres.data_dir), 1, 1023, "/var/lib/postgresql/data",
     NULL, "PGDATA", NULL, NULL, "Data directory."},
    {"postgres.bin_dir", OPT_PATH, 0, AT(postgres.bin_dir), 0, 1023, "", NULL, NULL, NULL, NULL,
     "Directory of postgres, initdb, pg_rewind. Empty: found by the major version of the data "
     "directory."},
    {"postgres.commit_gate", OPT_BOOL, 0, AT(postgres.commit_gate), 0, 0, "true", NULL, NULL, NULL,
     NULL, "Preload the commit gate, where its library lies beside pghad-agent."},
    {"postgres.port", OPT_INT, 0, AT(postgres.port), 1, 65535, "5432", NULL, "PGPORT", NULL, NULL,
     "Port of PostgreSQL; the same on all members."},
    {"postgres.listen", OPT_STRING, 0, AT(postgres.listen), 1, 255, "*", NULL, NULL, NULL, NULL,
     "Addresses PostgreSQL listens on (listen_addresses)."},
    {"postgres.socket_dir", OPT_PATH, 0, AT(postgres.socket_dir), 1, 90, "/var/run/postgresql",
     NULL, NULL, NULL, NULL, "Directory of PostgreSQL's unix socket."},
    {"postgres.parameters", OPT_MAP, SHARED, AT(postgres.parameters), 0, 256, "{}", NULL, NULL,
     "names of PostgreSQL parameters, except those pghad sets itself", is_parameter,
     "PostgreSQL parameters. Merged name by name with the cluster-wide settings; null removes one."},
    {"postgres.hba", OPT_LIST, SHARED, AT(postgres.hba), 0, 512, "[]", NULL, NULL,
     "lines of pg_hba.conf", is_not_empty,
     "Lines of pg_hba.conf after the ones pghad needs. Empty: scram-sha-256 for everybody, or the "
     "method of bootstrap.host_auth_method."},
    {"postgres.ident", OPT_LIST, SHARED, AT(postgres.ident), 0, 512, "[]", NULL, NULL,
     "lines of pg_ident.conf", is_not_empty, "Lines of pg_ident.conf."},
    {"postgres.superuser", OPT_STRING, OPT_ENV_FILE, AT(postgres.superuser), 1, 63, "postgres",
     NULL, "POSTGRES_USER", "a role name that does not start with pg_", is_role,
     "Superuser created by initdb."},
    {"postgres.superuser_password_file", OPT_PATH, RELOAD, AT(postgres.superuser_password_file), 0,
     1023, "", NULL, "POSTGRES_PASSWORD_FILE", NULL, NULL,
     "File with the superuser's password. POSTGRES_PASSWORD is honoured when no file is named."},
    {"postgres.replication_user", OPT_STRING, 0, AT(postgres.replication_user), 1, 63, "replicator",
     NULL, NULL, "a role name that does not start with pg_", is_role,
     "Role of replication, base backups and pg_rewind."},
    {"postgres.replication_password_file", OPT_PATH, RELOAD, AT(postgres.replication_password_file),
     0, 1023, "", NULL, NULL, NULL, NULL, "File with the password of the replication role."},

    {"replication.mode", OPT_ENUM, SHARED, AT(replication.mode), 0, 0, "quorum", mode_words, NULL,
     NULL, NULL,
     "async: commits do not wait, loss is bounded by max_lag. sync: FIRST k standbys. quorum: ANY k "
     "standbys."},
    {"replication.k", OPT_INT, SHARED, AT(replication.k), 1, HA_MEMBERS_MAX - 1, "1", NULL, NULL,
     NULL, NULL, "Standbys that must have a commit before it is acknowledged (sync and quorum)."},
    {"replication.strict", OPT_BOOL, SHARED, AT(replication.strict), 0, 0, "false", NULL, NULL,
     NULL, NULL, "Never acknowledge with fewer than k standbys: writes wait instead."},
    {"replication.degrade_after", OPT_DURATION, SHARED, AT(replication.degrade_after_ms), 0,
     86400000, "5s", NULL, NULL, NULL, NULL,
     "Not strict: commits have waited this long for missing standbys until fewer are asked for."},
    {"replication.leave_after", OPT_DURATION, SHARED, AT(replication.leave_after_ms), 1000,
     86400000, "15s", NULL, NULL, NULL, NULL,
     "A standby that has not streamed for this long leaves the vote set."},
    {"replication.max_lag", OPT_BYTES, SHARED, AT(replication.max_lag_bytes), 0, TIB, "16MB", NULL,
     NULL, NULL, NULL, "A replica further behind is not Ready."},
    {"replication.max_wal_keep", OPT_BYTES, SHARED, AT(replication.max_wal_keep_bytes), 16 * MIB,
     64 * TIB, "16GB", NULL, NULL, NULL, NULL,
     "Most WAL kept for members that are away (max_slot_wal_keep_size)."},

    {"tags.nofailover", OPT_BOOL, RELOAD, AT(tags.nofailover), 0, 0, "false", NULL, NULL, NULL,
     NULL, "This member never becomes primary."},
    {"tags.priority", OPT_INT, RELOAD, AT(tags.priority), 0, 255, "100", NULL, NULL, NULL, NULL,
     "Among members with the same position the greatest becomes primary."},
    {"tags.noloadbalance", OPT_BOOL, RELOAD, AT(tags.noloadbalance), 0, 0, "false", NULL, NULL,
     NULL, NULL, "/replica answers 503 on this member."},
    {"tags.custom", OPT_MAP, RELOAD, AT(tags.custom), 0, 8, "{}", NULL, NULL,
     "up to 31 letters, digits, '-' and '_'; values up to 63 bytes", is_tag,
     "Further tags, for /replica?tag_NAME=VALUE."},

    {"failover.crash_policy", OPT_ENUM, SHARED, AT(failover.crash_policy), 0, 0, "auto",
     crash_words, NULL, NULL, NULL,
     "When PostgreSQL on the primary has crashed. auto: hand over if a standby has every "
     "acknowledged commit, otherwise restart in place."},
    {"failover.collation_change", OPT_ENUM, SHARED, AT(failover.collation_change), 0, 0, "refuse",
     collation_words, NULL, NULL, NULL,
     "A member whose libraries sort otherwise than those that built a database's indexes (a new glibc or "
     "ICU in the image). refuse: no election chooses it. allow: its indexes were looked after."},
    {"failover.early_after", OPT_DURATION, SHARED, AT(failover.early_after_ms), 0, 600000, "0s",
     NULL, NULL, NULL, NULL,
     "Strict replication: a primary that has been silent for so long to all who are needed for an "
     "election is succeeded before its lease has run out; until then it may show old rows to readers. "
     "At least 1s; 0: never."},
    {"failover.stop_timeout", OPT_DURATION, SHARED, AT(failover.stop_timeout_ms), 100, 600000, "2s",
     NULL, NULL, NULL, NULL, "Planned stop: what has not ended within this is killed."},
    {"failover.switchover_max_lag", OPT_BYTES, SHARED, AT(failover.switchover_max_lag_bytes), 0,
     TIB, "16MB", NULL, NULL, NULL, NULL,
     "A switchover to a replica further behind is refused."},

    {"bootstrap.database", OPT_STRING, OPT_ENV_FILE, AT(bootstrap.database), 0, 63, "", NULL,
     "POSTGRES_DB", NULL, NULL,
     "Database created at the first start. Empty: one with the name of the superuser."},
    {"bootstrap.initdb_args", OPT_STRING, OPT_ENV_FILE, AT(bootstrap.initdb_args), 0, 4095, "",
     NULL, "POSTGRES_INITDB_ARGS", NULL, NULL, "Further arguments of initdb, separated by blanks."},
    {"bootstrap.host_auth_method", OPT_STRING, 0, AT(bootstrap.host_auth_method), 0, 31, "", NULL,
     "POSTGRES_HOST_AUTH_METHOD", NULL, NULL,
     "Method of the last hba line when postgres.hba is empty. Empty: scram-sha-256."},
    {"bootstrap.init_dir", OPT_PATH, 0, AT(bootstrap.init_dir), 0, 1023,
     "/docker-entrypoint-initdb.d", NULL, NULL, NULL, NULL,
     "Directory of *.sql, *.sql.gz and *.sh run once at the first initialisation."},

    {"api.listen", OPT_STRING, 0, AT(api.listen), 2, 63, ":8008", NULL, NULL,
     "address:port", is_endpoint, "REST: probes, status, metrics; read only. Without an address: on every one, IPv4 and IPv6."},
    {"api.peer_listen", OPT_STRING, 0, AT(api.peer_listen), 2, 63, ":8009", NULL, NULL,
     "address:port", is_endpoint, "Calls among members."},
    {"api.token_file", OPT_PATH, RELOAD, AT(api.token_file), 0, 1023, "", NULL, NULL, NULL, NULL,
     "File with the token of the calls among members, one per line; the first is sent, all are "
     "accepted."},
    {"api.socket", OPT_PATH, 0, AT(api.socket), 0, 107, "/run/pghad/api.sock", NULL, NULL, NULL,
     NULL, "Unix socket for hactl inside the pod. Empty: none."},

    {"kube.server", OPT_STRING, 0, AT(kube.server), 0, 255, "", NULL, NULL, "an http(s) URL",
     is_url, "API server. Empty: that of the pod's environment, or of kube.kubeconfig."},
    {"kube.token_file", OPT_PATH, 0, AT(kube.token_file), 0, 1023, "", NULL, NULL, NULL, NULL,
     "Bearer token, read again when it is replaced. Empty: that of the service account."},
    {"kube.ca_file", OPT_PATH, 0, AT(kube.ca_file), 0, 1023, "", NULL, NULL, NULL, NULL,
     "Certificate authority of the API server. Empty: that of the service account."},
    {"kube.kubeconfig", OPT_PATH, 0, AT(kube.kubeconfig), 0, 1023, "", NULL, NULL, NULL, NULL,
     "kubeconfig to use outside a pod."},
    {"kube.context", OPT_STRING, 0, AT(kube.context), 0, 255, "", NULL, NULL, NULL, NULL,
     "Context in the kubeconfig. Empty: its current one."},

    {"log.level", OPT_ENUM, SHARED, AT(log.level), 0, 0, "info", level_words, NULL, NULL, NULL,
     "Least level written."},
};

const size_t option_count = sizeof(option_table) / sizeof(option_table[0]);

const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < option_count; i++)
        if (strcmp(option_table[i].name, name) == 0)
            return &option_table[i];
    return NULL;
}

bool option_section_exists(const char *section)
{
    size_t n = strlen(section);
    for (size_t i = 0; i < option_count; i++)
        if (strncmp(option_table[i].name, section, n) == 0 && option_table[i].name[n] == '.')
            return true;
    return false;
}
