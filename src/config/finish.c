/* What follows from several options together: profile numbers, derived names, and the relations that
 * make the promises true. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/must.h"
#include "base/str.h"
#include "config/option.h"

struct profile {
    int64_t duration_ms, renew_ms, retry_ms, request_ms, fence_ms, kill_ms;
};

static const struct profile profiles[] = {
    [LEASE_PROFILE_FAST] = {5000, 1000, 300, 1000, 3300, 500},
    [LEASE_PROFILE_DEFAULT] = {10000, 2000, 500, 2000, 7000, 1000},
    [LEASE_PROFILE_CALM] = {30000, 5000, 1000, 5000, 22000, 2000},
};

static void fill(int64_t *v, int64_t from_profile)
{
    if (*v == 0)
        *v = from_profile;
}

static void fill_profile(struct config *c)
{
    const struct profile *p = &profiles[c->lease.profile];
    fill(&c->lease.duration_ms, p->duration_ms);
    fill(&c->lease.renew_ms, p->renew_ms);
    fill(&c->lease.retry_ms, p->retry_ms);
    fill(&c->lease.request_ms, p->request_ms);
    fill(&c->lease.fence_ms, p->fence_ms);
    fill(&c->lease.kill_ms, p->kill_ms);
}

static void set(char **dst, const char *s)
{
    char *d = strdup(s);
    must(d != NULL);
    free(*dst);
    *dst = d;
}

/* The StatefulSet's ordinal at the end of a pod name; NULL when there is none. */
static const char *ordinal_of(const char *pod)
{
    const char *dash = strrchr(pod, '-');
    int64_t n;
    return dash && dash != pod && str_to_i64(dash + 1, 0, 9999, &n) ? dash : NULL;
}

static bool derive_names(struct config *c, bool check_only, struct err *e)
{
    const char *dash = ordinal_of(c->pod.name);
    if (c->pod.name[0] && !dash)
        return err_set(e, ERR_INVALID, "pod.name: \"%s\" does not end in -<ordinal>; members are "
                                       "pods of a StatefulSet", c->pod.name);
    if (!c->pod.name[0] && !check_only)
        return err_set(e, ERR_INVALID, "pod.name: not set; set POD_NAME from the downward API "
                                       "(metadata.name)");
    if (!c->cluster.name[0] && dash) {
        char name[HA_NAME_SIZE];
        size_t n = (size_t)(dash - c->pod.name);
        must(n < sizeof(name));
        memcpy(name, c->pod.name, n);
        name[n] = '\0';
        const struct option *o = option_find("cluster.name");
        if (!option_parse(o, c, name, e))
            return err_wrap(e, "cluster.name (from the name of the pod)");
    }
    if (c->cluster.services.n == 0 && c->cluster.name[0]) {
        char service[HA_NAME_SIZE + 4];
        must(str_format(service, sizeof(service), "%s-rw", c->cluster.name));
        if (!option_list_add(option_find("cluster.services"), c, service, e))
            return err_wrap(e, "cluster.services (from cluster.name)");
    }
    if (!c->cluster.selector[0] && c->cluster.name[0]) {
        char selector[128];
        must(str_format(selector, sizeof(selector), "app.kubernetes.io/instance=%s",
                        c->cluster.name));
        set(&c->cluster.selector, selector);
    }
    if (!c->bootstrap.database[0])
        set(&c->bootstrap.database, c->postgres.superuser);
    return true;
}

/* T_S/(1-rho) + T_K + epsilon < T_L/(1+rho): whoever holds the lease has stopped, by the slowest clock,
 * before anybody takes over by the fastest (DESIGN 3). In thousandths of a ms to keep it exact enough. */
static bool check_lease(const struct config *c, struct err *e)
{
    const int64_t rho = CONFIG_RHO_PERCENT;
    int64_t left_us = (c->lease.fence_ms * 1000 * 100 + (100 - rho) - 1) / (100 - rho) +
                      (c->lease.kill_ms + CONFIG_EPSILON_MS) * 1000;
    int64_t right_us = c->lease.duration_ms * 1000 * 100 / (100 + rho);
    if (left_us >= right_us)
        return err_set(
            e, ERR_INVALID,
            "lease: the holder might still write when another takes over: fence/(1-0.0%lld) + kill + "
            "%d ms = %lld/0.%lld + %lld + %d = %lld ms must be less than duration/(1+0.0%lld) = "
            "%lld/1.0%lld = %lld ms; lower lease.fence or lease.kill, or raise lease.duration",
            (long long)rho, CONFIG_EPSILON_MS, (long long)c->lease.fence_ms, (long long)(100 - rho),
            (long long)c->lease.kill_ms, CONFIG_EPSILON_MS, (long long)(left_us / 1000),
            (long long)rho, (long long)c->lease.duration_ms, (long long)rho,
            (long long)(right_us / 1000));
    if (c->lease.duration_ms % 1000 != 0)
        return err_set(e, ERR_INVALID, "lease.duration: %lld ms is not a whole number of seconds, "
                                       "which is all that a Lease can express",
                       (long long)c->lease.duration_ms);
    /* One renewal may time out and be tried again without a fence. */
    int64_t need = c->lease.renew_ms + c->lease.request_ms + c->lease.retry_ms;
    if (need >= c->lease.fence_ms)
        return err_set(e, ERR_INVALID,
                       "lease: one lost request would end in a fence: renew + request + retry = "
                       "%lld + %lld + %lld = %lld ms must be less than fence = %lld ms",
                       (long long)c->lease.renew_ms, (long long)c->lease.request_ms,
                       (long long)c->lease.retry_ms, (long long)need, (long long)c->lease.fence_ms);
    return true;
}

#define EARLY_LEAST_MS 1000

static bool check_rest(const struct config *c, struct err *e)
{
    if (c->replication.mode != REPL_ASYNC && c->replication.strict &&
        c->replication.k >= c->cluster.members)
        return err_set(e, ERR_INVALID,
                       "replication.k: strict with k = %lld needs more than %lld members, "
                       "cluster.members is %lld: no write could ever be acknowledged",
                       (long long)c->replication.k, (long long)c->replication.k,
                       (long long)c->cluster.members);
    if (c->failover.early_after_ms > 0 && c->failover.early_after_ms < EARLY_LEAST_MS)
        return err_set(e, ERR_INVALID,
                       "failover.early_after: %lld ms: an answer or two that are late are no silence; "
                       "give at least %d ms, or 0s for never",
                       (long long)c->failover.early_after_ms, EARLY_LEAST_MS);
    if (c->failover.early_after_ms > 0 &&
        (c->replication.mode == REPL_ASYNC || !c->replication.strict))
        return err_set(e, ERR_INVALID,
                       "failover.early_after: only in strict replication (replication.mode sync or quorum, "
                       "replication.strict true) can a silent primary have nothing acknowledged any more");
    if (c->replication.leave_after_ms <= c->replication.degrade_after_ms)
        return err_set(e, ERR_INVALID,
                       "replication.leave_after (%lld ms) must be greater than "
                       "replication.degrade_after (%lld ms)",
                       (long long)c->replication.leave_after_ms,
                       (long long)c->replication.degrade_after_ms);
    if (strcmp(c->postgres.superuser, c->postgres.replication_user) == 0)
        return err_set(e, ERR_INVALID, "postgres.replication_user: must differ from "
                                       "postgres.superuser (\"%s\")", c->postgres.superuser);
    for (size_t i = 0; i < c->postgres.parameters.n; i++) {
        const struct config_pair *p = &c->postgres.parameters.v[i];
        if (strcasecmp(p->key, "wal_level") == 0 && strcmp(p->value, "replica") != 0 &&
            strcmp(p->value, "logical") != 0)
            return err_set(e, ERR_INVALID, "postgres.parameters: wal_level \"%.40s\": standbys need "
                                           "replica or logical", p->value);
    }
    return true;
}

bool config_finish(struct config *c, bool check_only, struct err *e)
{
    fill_profile(c);
    return derive_names(c, check_only, e) && check_lease(c, e) && check_rest(c, e);
}

void config_settings(const struct config *c, struct settings *ret)
{
    *ret = (struct settings){
        .lease_ms = c->lease.duration_ms,
        .renew_ms = c->lease.renew_ms,
        .retry_ms = c->lease.retry_ms,
        .fence_ms = c->lease.fence_ms,
        .kill_ms = c->lease.kill_ms,
        .request_ms = c->lease.request_ms,
        .mode = (enum repl_mode)c->replication.mode,
        .k = (uint8_t)c->replication.k,
        .strict = c->replication.strict,
        .failsafe = c->lease.failsafe,
        .early_ms = c->failover.early_after_ms,
        .degrade_ms = c->replication.degrade_after_ms,
        .leave_ms = c->replication.leave_after_ms,
        .stop_ms = c->failover.stop_timeout_ms,
        .crash_policy = (enum crash_policy)c->failover.crash_policy,
        .switchover_lag_bytes = (uint64_t)c->failover.switchover_max_lag_bytes,
        .members = (uint8_t)c->cluster.members,
        .priority = (uint8_t)c->tags.priority,
        .nofailover = c->tags.nofailover,
        .collation_any = c->failover.collation_change == COLLATION_CHANGE_ALLOW,
    };
}
