/* Giving an intent and following it. One operation at a time: the ConfigMap's resourceVersion
 * decides between two operators who order at the same moment. */
#include "hactl/operation.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/jget.h"
#include "hactl/render.h"
#include "kube/intent.h"

#define POLL_MS 100       /* at first; a clone of hours is not asked for ten times a second */
#define LOOK_MS 3000
#define POLL_SLOW_MS 1000
#define POLL_SLOW_AFTER_MS 30000
#define NOT_TAKEN_MS 15000    /* nobody accepted the order: withdraw it */
#define EXPIRY_MARGIN_S 120   /* clocks of people's machines differ; withdrawal is the real end */

static bool past(const struct session *s)
{
    return s->deadline_ms && clock_boot_ms() >= s->deadline_ms;
}

static bool state_path(struct session *s, char *path, size_t size, struct err *e)
{
    return str_format(path, size, "/api/v1/namespaces/%s/configmaps/%s-state",
                      api_namespace(s->api), s->cluster) ||
           err_set(e, ERR_INVALID, "the cluster's name is too long");
}

bool state_read(struct session *s, struct json_object **ret, struct err *e)
{
    char path[256];

    return state_path(s, path, sizeof(path), e) &&
           api_call(s->api, "GET", path, NULL, s->deadline_ms, ret, e);
}

static bool state_write(struct session *s, struct json_object *cm, struct err *e)
{
    char path[256];

    return state_path(s, path, sizeof(path), e) &&
           api_call(s->api, "PUT", path,
                    json_object_to_json_string_ext(cm, JSON_C_TO_STRING_PLAIN), s->deadline_ms,
                    NULL, e);
}

static struct json_object *data_of(struct json_object *cm)
{
    struct json_object *data = jget(cm, "data", NULL);

    if (!data) {
        data = json_object_new_object();
        must(json_object_object_add(cm, "data", data) == 0);
    }
    return data;
}

int state_update(struct session *s, const struct state_change *c)
{
    struct err e = {0};
    bool tried = false;

    for (;;) {
        struct json_object *cm = NULL;
        int rc = EXIT_DONE;

        if (!state_read(s, &cm, &e)) {
            if (e.kind == ERR_NOT_FOUND)
                return session_fail(s, EXIT_FAILED,
                                    "Check --cluster and -n; a new cluster gets it at bootstrap.",
                                    "cluster %s has no state in namespace %s", s->cluster,
                                    api_namespace(s->api));
            if (!tried || past(s))
                return session_fail_err(s, "read the cluster's state", &e);
            api_pause(s->api, POLL_MS);
            continue;
        }
        /* Also after a 409: the transport may have sent the request twice. */
        if (tried && c->landed(data_of(cm), c->arg)) {
            json_object_put(cm);
            return EXIT_DONE;
        }
        rc = c->change(s, data_of(cm), c->arg);
        bool ok = rc != EXIT_DONE || state_write(s, cm, &e);
        json_object_put(cm);
        if (ok)
            return rc;
        tried = true;
        bool again = e.kind == ERR_CONFLICT || e.kind == ERR_TRANSIENT || e.kind == ERR_TIMEOUT;
        if (!again || past(s))
            return session_fail_err(s, "write the cluster's state", &e);
    }
}

static void set_text(struct json_object *data, const char *key, const char *text)
{
    must(json_object_object_add(data, key, json_object_new_string(text)) == 0);
}

static void read_operation(struct json_object *data, struct intent *in, struct intent_result *r)
{
    const char *text = jtext(jget(data, "intent", NULL));

    if (!*text || !intent_decode(text, strlen(text), in, NULL))
        *in = (struct intent){0};
    text = jtext(jget(data, "intent-result", NULL));
    if (!*text || !intent_result_decode(text, strlen(text), r, NULL))
        intent_result_init(r, &(struct intent){0});
}

static bool read_epoch(struct session *s, uint64_t *ret, struct err *e)
{
    struct json_object *lease = NULL;
    char path[256];

    if (!str_format(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s",
                    api_namespace(s->api), s->cluster))
        return err_set(e, ERR_INVALID, "the cluster's name is too long");
    if (!api_call(s->api, "GET", path, NULL, s->deadline_ms, &lease, e))
        return false;
    *ret = (uint64_t)jint(jget(lease, "spec", "leaseTransitions", NULL), 0);
    json_object_put(lease);
    return true;
}

static int refuse_other(struct session *s, const struct intent *old, const struct intent_result *r)
{
    bool begun = r->id == old->id && r->state != INTENT_STATE_NONE;

    return session_fail(s, EXIT_REFUSED, "Wait until it has ended; `hactl list -w` shows it.",
                        "another operation is in progress: %s%s%s, ordered by %s, %s%s%s",
                        intent_kind_name(old->kind), old->target.s[0] ? " of " : "", old->target.s,
                        old->created_by[0] ? old->created_by : "somebody",
                        begun ? intent_state_name(r->state) : "not yet accepted",
                        begun ? " in phase " : "", begun ? intent_phase_name(r->phase) : "");
}

static int put_intent(struct session *s, struct json_object *data, void *arg)
{
    struct intent *in = arg, old;
    struct intent_result r;
    struct buf b;
    struct err e;

    if (!read_epoch(s, &in->epoch, &e))
        return session_fail_err(s, "read the Lease", &e);
    read_operation(data, &old, &r);
    if (intent_open(&old, &r, in->epoch, clock_wall_us() / 1000000))
        return refuse_other(s, &old, &r);
    buf_init(&b, INTENT_JSON_MAX);
    must(intent_encode(in, &b));
    set_text(data, "intent", buf_str(&b));
    buf_done(&b);
    return EXIT_DONE;
}

static bool intent_landed(struct json_object *data, void *arg)
{
    const struct intent *in = arg;
    struct intent found;
    struct intent_result r;

    read_operation(data, &found, &r);
    return found.id == in->id || r.id == in->id;
}

int operation_give(struct session *s, struct intent *in)
{
    const char *user = getenv("USER");
    char host[64] = "";
    struct state_change c = {put_intent, intent_landed, in};

    while (in->id == 0)
        must(getrandom(&in->id, sizeof(in->id), 0) == sizeof(in->id));
    gethostname(host, sizeof(host) - 1);
    if (!str_format(in->created_by, sizeof(in->created_by), "%s@%s",
                    user && *user ? user : "uid", host))
        str_copy(in->created_by, sizeof(in->created_by), "hactl");
    in->created_s = clock_wall_us() / 1000000;
    int64_t left_ms = s->deadline_ms ? s->deadline_ms - clock_boot_ms() : 0;
    in->expires_s = in->created_s + left_ms / 1000 + EXPIRY_MARGIN_S;
    return state_update(s, &c);
}

/* Takes the order back if nobody has begun it; false when somebody has. */
struct withdrawal {
    uint64_t id;
    bool taken;
};

static int withdraw_change(struct session *s, struct json_object *data, void *arg)
{
    struct withdrawal *w = arg;
    struct intent in;
    struct intent_result r;

    (void)s;
    read_operation(data, &in, &r);
    w->taken = r.id == w->id && r.state != INTENT_STATE_NONE;
    if (!w->taken && in.id == w->id)
        json_object_object_del(data, "intent");
    return w->taken ? EXIT_FAILED : EXIT_DONE;
}

static bool withdraw_landed(struct json_object *data, void *arg)
{
    const struct withdrawal *w = arg;
    struct intent in;
    struct intent_result r;

    read_operation(data, &in, &r);
    return in.id != w->id && r.id != w->id;
}

void operation_phases_text(char *dst, size_t size, const struct intent_result *r)
{
    size_t used = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < PHASE_COUNT; i++) {
        if (r->phase_ms[i] < 0)
            continue;
        int n = snprintf(dst + used, size - used, "%s%s %d ms", used ? ", " : "",
                         intent_phase_name((enum intent_phase)i), r->phase_ms[i]);
        if (n < 0 || (size_t)n >= size - used) {
            dst[used] = '\0';
            return;
        }
        used += (size_t)n;
    }
}

static bool people_read(const struct session *s)
{
    return s->output == OUTPUT_TABLE || s->output == OUTPUT_WIDE;
}

static void show_progress(struct session *s, const struct intent_result *was,
                          const struct intent_result *now)
{
    if (!people_read(s) || (was->state == now->state && was->phase == now->phase))
        return;
    if (now->state == INTENT_ACCEPTED && was->state != INTENT_ACCEPTED)
        fputs("accepted\n", s->out);
    if (now->state != INTENT_ACCEPTED && now->state != INTENT_RUNNING)
        return;
    if (was->state != INTENT_STATE_NONE && was->phase != now->phase &&
        was->phase_ms[was->phase] < 0 && now->phase_ms[was->phase] >= 0)
        fprintf(s->out, "  %s: %d ms\n", intent_phase_name(was->phase), now->phase_ms[was->phase]);
    fprintf(s->out, "  %s ...\n", intent_phase_name(now->phase));
    fflush(s->out);
}

static void show_verdict(struct session *s, const struct intent_result *r)
{
    char phases[512];
    struct buf b;

    if (!people_read(s)) {
        buf_init(&b, INTENT_JSON_MAX);
        must(intent_result_encode(r, &b));
        struct json_object *o = jparse(b.data, b.len);
        buf_done(&b);
        render_document(s, o);
    } else if (r->state == INTENT_DONE) {
        fprintf(s->out, "%s%s done%s", color_on(s, "32"), intent_kind_name(r->kind), color_off(s));
        if (r->primary.s[0])
            fprintf(s->out, ": %s is primary", r->primary.s);
        if (r->write_gap_ms >= 0)
            fprintf(s->out, ", no write for %d ms", r->write_gap_ms);
        if (r->total_ms >= 0)
            fprintf(s->out, ", %d ms in all", r->total_ms);
        fputc('\n', s->out);
    }
    if (people_read(s)) {
        operation_phases_text(phases, sizeof(phases), r);
        if (phases[0])
            fprintf(s->out, "  %s\n", phases);
        if (r->state == INTENT_DONE && r->message[0]) {
            fputs("  ", s->out);
            put_clean(s->out, r->message);
            fputc('\n', s->out);
        }
    }
}

static int say_verdict(struct session *s, const struct intent_result *r, enum follow until)
{
    if (until != FOLLOW_QUIET)
        show_verdict(s, r);
    if (r->state == INTENT_DONE)
        return EXIT_DONE;
    if (r->state == INTENT_REFUSED)
        return session_fail(s, EXIT_REFUSED, r->hint, "%s refused, nothing was changed: %s",
                            intent_kind_name(r->kind), r->message);
    return session_fail(s, EXIT_FAILED, r->hint, "%s failed in phase %s: %s%s%s",
                        intent_kind_name(r->kind), intent_phase_name(r->phase), r->message,
                        r->primary.s[0] ? "; primary is " : "", r->primary.s);
}

static int give_up(struct session *s, const struct intent *in, const struct intent_result *r)
{
    struct withdrawal w = {.id = in->id};
    struct state_change c = {withdraw_change, withdraw_landed, &w};
    uint64_t epoch = in->epoch;
    struct err e;
    int rc;

    if (r->state != INTENT_STATE_NONE)
        return session_fail(s, EXIT_FAILED, "It goes on; `hactl list -w` shows it.",
                            "%s has not ended in time, it is in phase %s",
                            intent_kind_name(in->kind), intent_phase_name(r->phase));
    s->deadline_ms = clock_boot_ms() + API_REQUEST_MS;
    rc = state_update(s, &c);
    if (w.taken)
        return -1;
    if (rc != EXIT_DONE)
        return rc;
    if (read_epoch(s, &epoch, &e) && epoch != in->epoch)
        return session_fail(s, EXIT_FAILED, "Look at `hactl list` and order again if still wanted.",
                            "the primary changed meanwhile, so the order is void; it was withdrawn "
                            "and nothing was done");
    return session_fail(s, EXIT_FAILED, "Look at `hactl list` and the log of that member.",
                        "nobody accepted the order: the agent of %s does not answer%s; it was "
                        "withdrawn and nothing was done",
                        in->kind == INTENT_SWITCHOVER || in->kind == INTENT_FAILOVER
                            ? "the primary"
                            : in->target.s,
                        in->kind == INTENT_REINIT
                            ? ", or too few of the others answer it to elect without its vote"
                            : "");
}

/* Each look has a deadline of its own: the last one before the command's end is worth as much as the
 * first. */
static bool look(struct session *s, struct intent *in, struct intent_result *r, struct err *e)
{
    struct json_object *cm = NULL;
    int64_t end = s->deadline_ms;
    bool ok;

    s->deadline_ms = clock_boot_ms() + LOOK_MS;
    ok = state_read(s, &cm, e);
    s->deadline_ms = end;
    if (ok)
        read_operation(jget(cm, "data", NULL), in, r);
    json_object_put(cm);
    return ok;
}

int operation_follow(struct session *s, const struct intent *in, enum follow until,
                     struct intent_result *ret)
{
    int64_t begun_ms = clock_boot_ms(), not_taken_ms = begun_ms + NOT_TAKEN_MS;
    struct intent_result was;

    intent_result_init(&was, in);
    intent_result_init(ret, in);
    for (;;) {
        struct intent found;
        struct intent_result r;
        struct err e;

        if (look(s, &found, &r, &e)) {
            if (r.id == in->id) {
                *ret = r;
                if (until != FOLLOW_QUIET)
                    show_progress(s, &was, &r);
                was = r;
            } else if (found.id != in->id) {
                return session_fail(s, EXIT_FAILED, NULL,
                                    "the order has vanished from the cluster's state: somebody "
                                    "withdrew or replaced it");
            }
        } else if (e.kind != ERR_TRANSIENT && e.kind != ERR_TIMEOUT) {
            return session_fail_err(s, "follow the operation", &e);
        }
        if (intent_state_final(ret->state))
            return say_verdict(s, ret, until);
        if (until == FOLLOW_ACCEPTED && ret->state != INTENT_STATE_NONE) {
            if (people_read(s))
                fprintf(s->out, "It goes on in the background; `hactl list` shows it.\n");
            return EXIT_DONE;
        }
        if (past(s) || (ret->state == INTENT_STATE_NONE && clock_boot_ms() >= not_taken_ms)) {
            int rc = give_up(s, in, ret);
            if (rc >= 0)
                return rc;
            session_set_deadline(s, 60000); /* begun in the last moment: worth following */
        }
        api_pause(s->api, clock_boot_ms() - begun_ms < POLL_SLOW_AFTER_MS ? POLL_MS : POLL_SLOW_MS);
    }
}
