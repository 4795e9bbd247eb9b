/* Checks of the probes: what kubelet may kill, and when. */
#include <string.h>

#include "base/str.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

#define PERIOD_DEFAULT_S 10 /* defaults of Kubernetes */
#define FAILURES_DEFAULT 3
#define STARTUP_MIN_MS 60000 /* less and a late Secret or a starved node restarts the container */

static const char check[] = "probes";

/* The path that the probe asks of the supervisor, "" = it asks something else. */
static const char *rest_path(const struct doctor_set *s, struct json_object *probe)
{
    struct json_object *get = jget(probe, "httpGet", NULL);

    if (!get || doctor_port(s, jget(get, "port", NULL)) != doctor_rest_port(s))
        return "";
    return jtext(jget(get, "path", NULL));
}

static bool path_is(const char *path, const char *want)
{
    size_t n = strcspn(path, "?");

    while (n > 1 && path[n - 1] == '/')
        n--;
    return strlen(want) == n && memcmp(path, want, n) == 0;
}

static const char *kind_of(struct json_object *probe)
{
    if (jget(probe, "exec", NULL))
        return "runs a command";
    if (jget(probe, "tcpSocket", NULL))
        return "opens a TCP connection";
    if (jget(probe, "grpc", NULL))
        return "calls gRPC";
    return "asks another path or port";
}

/* How long failures last until kubelet acts. */
static int64_t patience_ms(struct json_object *probe)
{
    int64_t period_s = jint(jget(probe, "periodSeconds", NULL), PERIOD_DEFAULT_S);
    int64_t failures = jint(jget(probe, "failureThreshold", NULL), FAILURES_DEFAULT);

    if (period_s < 0 || failures < 0 || period_s > 1000000 || failures > 1000000)
        return 0;
    return period_s * failures * 1000;
}

static bool judge_liveness(const struct doctor_set *s, struct json_object *p,
                           struct doctor_report *r)
{
    struct doctor_row *row;

    if (!p) {
        row = doctor_add(r, DOCTOR_WARNING, check, "no liveness probe");
        doctor_why(row, "an agent that hangs is not restarted");
        doctor_remedy(row, "livenessProbe.httpGet: {path: /liveness, port: %lld}",
                      (long long)doctor_rest_port(s));
        return false;
    }
    if (!path_is(rest_path(s, p), "/liveness")) {
        row = doctor_add(r, DOCTOR_ERROR, check, "the liveness probe %s", kind_of(p));
        doctor_why(row, "it fails during recovery, a stop or a vote and kills a healthy database");
        doctor_remedy(row, "livenessProbe.httpGet: {path: /liveness, port: %lld}",
                      (long long)doctor_rest_port(s));
        return false;
    }
    int64_t lease_ms = s->cfg_ok ? s->cfg.lease.duration_ms : 0;
    if (patience_ms(p) <= lease_ms) {
        row = doctor_add(r, DOCTOR_ERROR, check,
                         "liveness gives up after %lld s, the lease lasts %lld s",
                         (long long)(patience_ms(p) / 1000), (long long)(lease_ms / 1000));
        doctor_why(row, "a starved node restarts its databases before the fence had to act");
        doctor_remedy(row, "livenessProbe: periodSeconds x failureThreshold of 60 or more");
        return false;
    }
    return true;
}

static bool judge_startup(const struct doctor_set *s, struct json_object *p,
                          struct doctor_report *r)
{
    struct doctor_row *row;
    const char *path = rest_path(s, p);

    if (!p) {
        row = doctor_add(r, DOCTOR_WARNING, check, "no startup probe");
        doctor_why(row, "liveness counts from the first second, also while a Secret is awaited");
        doctor_remedy(row, "startupProbe.httpGet: {path: /startup, port: %lld}, "
                           "failureThreshold: 300, periodSeconds: 1",
                      (long long)doctor_rest_port(s));
        return false;
    }
    if (!path_is(path, "/startup") && !path_is(path, "/liveness") && !path_is(path, "/status")) {
        row = doctor_add(r, DOCTOR_ERROR, check, "the startup probe %s and gives up after %lld s",
                         *path ? "asks whether the database serves" : kind_of(p),
                         (long long)(patience_ms(p) / 1000));
        doctor_why(row, "a recovery or a copy that takes longer is killed and never ends");
        doctor_remedy(row, "startupProbe.httpGet: {path: /startup, port: %lld}",
                      (long long)doctor_rest_port(s));
        return false;
    }
    if (patience_ms(p) < STARTUP_MIN_MS) {
        row = doctor_add(r, DOCTOR_WARNING, check, "startup gives up after %lld s",
                         (long long)(patience_ms(p) / 1000));
        doctor_why(row, "a restarted container only adds kubelet's growing pauses");
        doctor_remedy(row, "startupProbe: periodSeconds x failureThreshold of 60 or more");
        return false;
    }
    return true;
}

static bool judge_readiness(const struct doctor_set *s, struct json_object *p,
                            struct doctor_report *r)
{
    struct doctor_row *row;

    if (path_is(rest_path(s, p), "/readiness"))
        return true;
    row = doctor_add(r, DOCTOR_WARNING, check,
                     p ? "the readiness probe does not ask /readiness" : "no readiness probe");
    doctor_why(row, "Services may send clients to a replica that lags or does not stream");
    doctor_remedy(row, "readinessProbe.httpGet: {path: /readiness, port: %lld}",
                  (long long)doctor_rest_port(s));
    return false;
}

void doctor_probes(const struct doctor_facts *f, struct doctor_report *r)
{
    struct json_object *c;
    bool good;

    if (!f->own)
        return;
    c = doctor_container(f->own);
    good = judge_liveness(f->own, jget(c, "livenessProbe", NULL), r);
    good = judge_startup(f->own, jget(c, "startupProbe", NULL), r) && good;
    good = judge_readiness(f->own, jget(c, "readinessProbe", NULL), r) && good;
    if (good)
        doctor_add(r, DOCTOR_OK, check, "none of them can kill a healthy database");
}
