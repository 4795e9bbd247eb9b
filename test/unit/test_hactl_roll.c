/* The whole rollout command against a small API server in a child process, which also plays the
 * StatefulSet controller, kubelet and the agents: a deleted pod is away for one look and comes back from
 * the newest template; an order is done when it is next looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <unistd.h>

#include "fake_api.h"
#include "hactl/jget.h"
#include "kube/intent.h"

enum script {
    GOES_WELL,
    PAUSED,
    UNWELL,       /* pg-1 does not stream */
    NO_RIGHT,     /* 403 to the change of the StatefulSet */
    NOT_ADMITTED, /* 422 to it */
    NO_SET,       /* nobody owns the pods */
    NEVER_BACK,   /* a new pod never gets ready */
    STANDBY_GOES, /* the switchover is refused */
    ON_DELETE,    /* the template changes pods by hand only, already */
    INTERRUPTED,  /* Ctrl-C when the first pod is deleted */
};

static struct {
    enum script script;
    struct json_object *cm, *set;
    int revision, version;
    int holder;
    struct {
        int revision, made; /* template that it was made from; how often it was made */
        bool away;
    } pod[3];
} srv;

static void play(int script)
{
    static const char state[] =
        "{\"metadata\":{\"name\":\"pg-state\",\"resourceVersion\":\"1\"},"
        "\"data\":{\"system-id\":\"7300000000000000001\"}}";
    static const char set[] =
        "{\"metadata\":{\"name\":\"pg\",\"generation\":1,\"annotations\":{}},"
        "\"spec\":{\"replicas\":3,\"updateStrategy\":{\"type\":\"RollingUpdate\"},\"template\":{"
        "\"metadata\":{\"annotations\":{}},\"spec\":{\"containers\":[{\"name\":\"postgres\","
        "\"image\":\"pghad:1\"}]}}},\"status\":{\"observedGeneration\":1,\"updateRevision\":\"rev-0\"}}";

    srv.script = (enum script)script;
    srv.cm = jparse(state, strlen(state));
    srv.set = jparse(set, strlen(set));
    srv.holder = 2;
    if (srv.script == PAUSED)
        json_object_object_add(jget(srv.cm, "data", NULL), "paused", json_object_new_string("true"));
    if (srv.script == ON_DELETE)
        json_object_object_add(jget(srv.set, "spec", "updateStrategy", NULL), "type",
                               json_object_new_string("OnDelete"));
}

/* --- the StatefulSet and its pods --- */

static void add_new_template(struct json_object *template)
{
    struct json_object *stamp = jget(template, "metadata", "annotations", NULL);
    struct json_object *containers = jget(template, "spec", "containers", NULL);
    char text[16];

    if (stamp)
        json_object_object_add(jget(srv.set, "spec", "template", "metadata", NULL), "annotations",
                               json_object_get(stamp));
    if (containers)
        json_object_object_add(jget(srv.set, "spec", "template", "spec", NULL), "containers",
                               json_object_get(containers));
    snprintf(text, sizeof(text), "rev-%d", ++srv.revision);
    json_object_object_add(jget(srv.set, "status", NULL), "updateRevision",
                           json_object_new_string(text));
}

static void patch_set(int fd, const char *path, const char *body)
{
    struct json_object *patch, *strategy, *template;

    if (srv.script == NO_RIGHT) {
        answer_status(fd, 403, "Forbidden", "statefulsets is forbidden");
        return;
    }
    if (srv.script == NOT_ADMITTED && strstr(body, "containers")) {
        answer_status(fd, 422, "Invalid", "this registry is not allowed");
        return;
    }
    patch = strstr(path, "dryRun=All") ? NULL : jparse(body, strlen(body));
    if ((strategy = jget(patch, "spec", "updateStrategy", NULL))) {
        json_object_object_add(jget(srv.set, "spec", NULL), "updateStrategy", json_object_get(strategy));
        json_object_object_add(jget(srv.set, "metadata", NULL), "annotations",
                               json_object_get(jget(patch, "metadata", "annotations", NULL)));
    }
    if ((template = jget(patch, "spec", "template", NULL)))
        add_new_template(template);
    json_object_put(patch);
    answer(fd, 200, json_object_to_json_string(srv.set));
}

static void delete_pod(int fd, int i, const char *body)
{
    char uid[32];

    snprintf(uid, sizeof(uid), "\"uid-%d-%d\"", i, srv.pod[i].made);
    if (!strstr(body, uid)) {
        answer_status(fd, 409, "Conflict", "the uid of the precondition is another one");
        return;
    }
    if (!strstr(body, "dryRun")) {
        srv.pod[i].made++;
        srv.pod[i].revision = srv.revision;
        srv.pod[i].away = true;
        if (srv.script == INTERRUPTED)
            kill(getppid(), SIGINT);
    }
    answer(fd, 200, "{}");
}

static void answer_pods(int fd)
{
    char body[8192] = "{\"items\":[";

    for (int i = 0; i < 3; i++) {
        size_t used = strlen(body);
        bool primary = i == srv.holder;
        bool well = !srv.pod[i].away && !(srv.script == UNWELL && i == 1);
        snprintf(body + used, sizeof(body) - used,
                 "%s{\"metadata\":{\"name\":\"pg-%d\",\"uid\":\"uid-%d-%d\",\"labels\":{"
                 "\"controller-revision-hash\":\"rev-%d\"},%s\"annotations\":{\"pghad.io/status\":"
                 "\"{\\\"role\\\":\\\"%s\\\",\\\"state\\\":\\\"%s\\\",\\\"timeline\\\":3,\\\"lag\\\":0,"
                 "\\\"rest_port\\\":1}\"}},\"spec\":{\"containers\":[{\"name\":\"postgres\","
                 "\"image\":\"pghad:%d\"}]},\"status\":{\"podIP\":\"127.0.0.1\",\"conditions\":[{"
                 "\"type\":\"Ready\",\"status\":\"%s\"}]}}",
                 i ? "," : "", i, i, srv.pod[i].made, srv.pod[i].revision,
                 srv.script == NO_SET ? ""
                                      : "\"ownerReferences\":[{\"kind\":\"StatefulSet\",\"name\":\"pg\","
                                        "\"controller\":true}],",
                 primary ? "primary" : "replica", primary ? "running" : well ? "streaming" : "starting",
                 srv.pod[i].revision + 1, well ? "True" : "False");
        if (srv.script != NEVER_BACK)
            srv.pod[i].away = false;
    }
    strncat(body, "]}", sizeof(body) - strlen(body) - 1);
    answer(fd, 200, body);
}

/* --- Lease and ConfigMap --- */

static void answer_lease(int fd, bool list)
{
    struct json_object *lease, *all = json_object_new_object(), *items = json_object_new_array();
    char text[256];

    snprintf(text, sizeof(text),
             "{\"metadata\":{\"name\":\"pg\",\"annotations\":{}},\"spec\":{"
             "\"holderIdentity\":\"pg-%d_u_b\",\"leaseTransitions\":%d}}",
             srv.holder, srv.holder == 2 ? 4 : 5);
    lease = jparse(text, strlen(text));
    json_object_object_add(jget(lease, "metadata", "annotations", NULL), "pghad.io/record",
                           fake_record(srv.holder, false));
    json_object_array_add(items, json_object_get(lease));
    json_object_object_add(all, "items", items);
    answer(fd, 200, json_object_to_json_string(list ? all : lease));
    json_object_put(lease);
    json_object_put(all);
}

static void do_what_is_ordered(void)
{
    const char *text = jtext(jget(srv.cm, "data", "intent", NULL));
    const char *result = jtext(jget(srv.cm, "data", "intent-result", NULL));
    struct intent_result r = {0};
    struct intent in;
    struct buf b;

    if (!intent_decode(text, strlen(text), &in, NULL) ||
        (intent_result_decode(result, strlen(result), &r, NULL) && r.id == in.id))
        return;
    intent_result_init(&r, &in);
    r.state = srv.script == STANDBY_GOES ? INTENT_REFUSED : INTENT_DONE;
    if (r.state == INTENT_DONE) {
        r.write_gap_ms = 120;
        snprintf(r.primary.s, sizeof(r.primary.s), "%.20s", in.target.s);
        srv.holder = in.target.s[3] - '0';
    } else {
        snprintf(r.message, sizeof(r.message), "pg-1 is 3 GB behind");
    }
    buf_init(&b, INTENT_JSON_MAX);
    intent_result_encode(&r, &b);
    json_object_object_add(jget(srv.cm, "data", NULL), "intent-result",
                           json_object_new_string(buf_str(&b)));
    buf_done(&b);
}

static void answer_state(int fd, const char *method, const char *body)
{
    char text[16];

    if (strcmp(method, "PUT") == 0) {
        json_object_put(srv.cm);
        srv.cm = jparse(body, strlen(body));
        snprintf(text, sizeof(text), "%d", ++srv.version + 1);
        json_object_object_add(jget(srv.cm, "metadata", NULL), "resourceVersion",
                               json_object_new_string(text));
    } else {
        do_what_is_ordered();
    }
    answer(fd, 200, json_object_to_json_string(srv.cm));
}

static bool serve(int fd, const char *method, const char *path, const char *body)
{
    if (strstr(path, "/statefulsets/pg")) {
        if (strcmp(method, "PATCH") == 0)
            patch_set(fd, path, body);
        else
            answer(fd, 200, json_object_to_json_string(srv.set));
    } else if (strcmp(method, "DELETE") == 0) {
        delete_pod(fd, strstr(path, "/pods/pg-")[9] - '0', body);
    } else if (strstr(path, "/configmaps/pg-state")) {
        answer_state(fd, method, body);
    } else if (strstr(path, "/leases")) {
        answer_lease(fd, !strstr(path, "/leases/pg"));
    } else if (strstr(path, "/pods?")) {
        answer_pods(fd);
    } else {
        answer_status(fd, 404, "NotFound", "not found");
    }
    return true;
}

/* --- the tests --- */

static void start(enum script script)
{
    fake_start(play, (int)script, serve);
}

static int stop(void **state)
{
    (void)state;
    fake_stop();
    hactl_forget();
    return 0;
}

static void plan__told__and_nothing_is_changed(void **state)
{
    (void)state;
    start(GOES_WELL);
    EXPECT("rollout --image pghad:2 --dry-run", EXIT_DONE);
    SAYS(out, "StatefulSet pg (RollingUpdate, OnDelete until the end): pghad:1 -> pghad:2\n");
    SAYS(out, "dry run, nothing was changed; in this order: pg-1, pg-0, pg-2 (primary)\n");
    EXPECT("rollout --image pghad:2 --dry-run -o json", EXIT_DONE);
    SAYS(out, "\"state\": \"planned\"");
    EXPECT("rollout", EXIT_DONE); /* the template is the old one, and every pod is made from it */
    SAYS(out, "nothing to do: pg-1, pg-0, pg-2 (primary) run revision rev-0\n");
}

static void image__replicas_then_switchover_then_the_old_primary(void **state)
{
    const char *where;

    (void)state;
    start(GOES_WELL);
    EXPECT("rollout --image pghad:2 --force --timeout 60s", EXIT_DONE);
    SAYS(out, "in this order: pg-1, pg-0, pg-2 (primary)\n");
    where = out;
    static const char *const order[] = {
        "pg-1 (replica): replaced\n", "pg-1 streams and votes again after ",
        "pg-0 (replica): replaced\n", "switchover from pg-2 to pg-0\n",
        "pg-0 is primary, no write for 120 ms\n", "pg-2 (replica): replaced\n",
        "rollout done: 3 members in ",
    };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        SAYS(where, order[i]);
        where = strstr(where, order[i]);
    }
    SAYS(where, ", no write for 120 ms\n");
    EXPECT("rollout --image pghad:2 --force --timeout 60s", EXIT_DONE);
    SAYS(out, "nothing to do");
}

static void restart__document_with_every_step(void **state)
{
    (void)state;
    start(ON_DELETE);
    EXPECT("rollout restart --force -o json --timeout 60s", EXIT_DONE);
    SAYS(out, "\"state\": \"done\"");
    SAYS(out, "\"action\": \"switchover\"");
    SAYS(out, "\"write_gap_ms\": 120");
    SAYS(out, "\"pending\": [\n  ]");
}

static void not_begun__every_reason_is_told(void **state)
{
    static const struct {
        enum script script;
        const char *line;
        int code;
        const char *said;
    } rows[] = {
        {PAUSED, "rollout restart --force --timeout 60s", EXIT_REFUSED, "the cluster is paused"},
        {UNWELL, "rollout restart --timeout 1s", EXIT_REFUSED, "pg-1 does not stream"},
        {NO_RIGHT, "rollout --image pghad:2 --force", EXIT_UNREACHABLE, "the Role of operators has them"},
        {NOT_ADMITTED, "rollout --image pghad:2 --force", EXIT_REFUSED, "this registry is not allowed"},
        {NO_SET, "rollout restart --force", EXIT_FAILED, "belongs to a StatefulSet"},
        {GOES_WELL, "rollout restart", EXIT_USAGE, "--force"},
        {GOES_WELL, "rollout again", EXIT_USAGE, "\"again\" is not restart"},
        {GOES_WELL, "rollout restart --image pghad:2", EXIT_USAGE, "either restart or --image"},
        {GOES_WELL, "rollout restart --container nobody", EXIT_USAGE, "has no container nobody"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start(rows[i].script);
        EXPECT(rows[i].line, rows[i].code);
        SAYS(err, rows[i].said);
        stop(NULL);
    }
}

static void stopped__what_holds_and_how_to_go_on(void **state)
{
    (void)state;
    start(NEVER_BACK);
    EXPECT("rollout --image pghad:2 --force --timeout 1s", EXIT_FAILED);
    SAYS(out, "  waiting: pg-1 does not stream (starting)\n");
    SAYS(err, "rollout stopped: pg-1 does not stream (starting), for 1.");
    SAYS(err, "pg-1 has the new template. Not touched: pg-0, pg-2 (primary). ");
    SAYS(err, "The StatefulSet stays OnDelete until the rollout is complete. ");
    SAYS(err, "Back: hactl rollout --image pghad:1");
    stop(NULL);
    start(STANDBY_GOES);
    EXPECT("rollout restart --force --timeout 60s", EXIT_REFUSED);
    SAYS(err, "rollout stopped: the switchover was not done");
    SAYS(err, "Not touched: pg-2 (primary). ");
}

/* The last one: that there was a signal is remembered. */
static void interrupted__says_so_and_resumes(void **state)
{
    (void)state;
    start(INTERRUPTED);
    EXPECT("rollout restart --force", EXIT_FAILED);
    SAYS(err, "rollout interrupted: the member that is being replaced comes back by itself");
    SAYS(err, "The same command goes on from here.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(plan__told__and_nothing_is_changed, stop),
        cmocka_unit_test_teardown(image__replicas_then_switchover_then_the_old_primary, stop),
        cmocka_unit_test_teardown(restart__document_with_every_step, stop),
        cmocka_unit_test_teardown(not_begun__every_reason_is_told, stop),
        cmocka_unit_test_teardown(stopped__what_holds_and_how_to_go_on, stop),
        cmocka_unit_test_teardown(interrupted__says_so_and_resumes, stop),
    };

    unsetenv("PGHA_CLUSTER");
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
