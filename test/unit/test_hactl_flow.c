/* Whole commands against a small API server in a child process, which also plays the members'
 * agents: it answers intents according to a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fake_api.h"
#include "hactl/jget.h"
#include "kube/intent.h"
#include "kube/record.h"

enum script {
    PLAIN,          /* intents are carried out */
    REFUSES,        /* the primary refuses */
    FAILS,          /* fails half-way */
    SILENT,         /* nobody takes the order */
    OTHER_OPEN,     /* an operation of somebody else is under way */
    CONFLICT_ONCE,  /* the first PUT loses a race */
    DROP_ONCE,      /* the first PUT is applied, its answer is lost */
    FORBIDDEN,      /* 403 to everything */
    NO_PRIMARY,     /* the Lease is held by nobody */
    SEALED,         /* the primary writes alone */
    DATA_BAD,       /* pg-2 is on a directory of another cluster */
    HOLDER_DIED,    /* its last report says primary; its pod is not ready */
};

/* --- the server, in the child --- */

static struct {
    enum script script;
    struct json_object *cm;
    int version;
    bool tripped; /* conflict or drop has happened */
    char role[3][16];
    int returning; /* so many looks at pg-0 find a former primary that does not stream yet */
} srv;

static void set_data(const char *key, const char *text)
{
    json_object_object_add(jget(srv.cm, "data", NULL), key, json_object_new_string(text));
}

static void bump(void)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", ++srv.version);
    json_object_object_add(jget(srv.cm, "metadata", NULL), "resourceVersion",
                           json_object_new_string(text));
}

static void put_result(const struct intent_result *r)
{
    struct buf b;

    buf_init(&b, INTENT_JSON_MAX);
    intent_result_encode(r, &b);
    set_data("intent-result", buf_str(&b));
    buf_done(&b);
    bump();
}

static void switch_roles(const char *to)
{
    srv.returning = strcmp(srv.role[0], "primary") == 0 ? 2 : 0;
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "pg-%d", i);
        snprintf(srv.role[i], sizeof(srv.role[i]), "%s",
                 strcmp(name, to) == 0 ? "primary" : "replica");
    }
}

/* One step of the agents for each look at the ConfigMap. */
static void agents_step(void)
{
    const char *text = jtext(jget(srv.cm, "data", "intent", NULL));
    const char *result = jtext(jget(srv.cm, "data", "intent-result", NULL));
    struct intent in;
    struct intent_result r = {0};

    if (srv.script == SILENT || srv.script == OTHER_OPEN ||
        !intent_decode(text, strlen(text), &in, NULL))
        return;
    if (!intent_result_decode(result, strlen(result), &r, NULL) || r.id != in.id)
        intent_result_init(&r, &in);
    if (intent_state_final(r.state))
        return;
    if (r.state == INTENT_STATE_NONE) {
        r.state = INTENT_ACCEPTED;
        if (srv.script == REFUSES) {
            r.state = INTENT_REFUSED;
            snprintf(r.message, sizeof(r.message), "pg-1 is 3 GB behind");
            snprintf(r.hint, sizeof(r.hint), "Wait, or use --force.");
        }
    } else if (r.state == INTENT_ACCEPTED) {
        r.state = INTENT_RUNNING;
        r.phase = PHASE_STOP;
        r.phase_ms[PHASE_PREFLIGHT] = 2;
    } else if (srv.script == FAILS) {
        r.state = INTENT_FAILED;
        snprintf(r.message, sizeof(r.message), "pg-1 did not confirm, pg-0 serves again");
        snprintf(r.primary.s, sizeof(r.primary.s), "pg-0");
    } else {
        const char *to = in.target.s[0] ? in.target.s : "pg-1";
        r.state = INTENT_DONE;
        r.phase = PHASE_FIRST_WRITE;
        r.phase_ms[PHASE_STOP] = 40;
        r.phase_ms[PHASE_FIRST_WRITE] = 9;
        r.total_ms = 180;
        if (in.kind == INTENT_SWITCHOVER || in.kind == INTENT_FAILOVER) {
            r.write_gap_ms = 120;
            snprintf(r.primary.s, sizeof(r.primary.s), "%s", to);
            switch_roles(to);
        }
    }
    put_result(&r);
}

static void answer_lease(int fd, bool list)
{
    int holder = strcmp(srv.role[1], "primary") == 0 ? 1 : strcmp(srv.role[2], "primary") == 0 ? 2 : 0;
    char text[256];
    struct json_object *lease, *all = json_object_new_object(), *items = json_object_new_array();

    snprintf(text, sizeof(text),
             "{\"kind\":\"Lease\",\"metadata\":{\"name\":\"pg\",\"annotations\":{}},\"spec\":{"
             "\"holderIdentity\":\"pg-%d_u_b\",\"leaseTransitions\":%d}}",
             holder, holder == 0 ? 4 : 5);
    lease = jparse(text, strlen(text));
    if (srv.script == NO_PRIMARY)
        json_object_object_add(jget(lease, "spec", NULL), "holderIdentity",
                               json_object_new_string(""));
    json_object_object_add(jget(lease, "metadata", "annotations", NULL), "pghad.io/record",
                           fake_record(holder, srv.script == SEALED));
    json_object_array_add(items, json_object_get(lease));
    json_object_object_add(all, "items", items);
    answer(fd, 200, json_object_to_json_string(list ? all : lease));
    json_object_put(lease);
    json_object_put(all);
}

/* Members that sleep learn of nothing. */
static bool known_pause(void)
{
    return srv.script != SILENT && strcmp(jtext(jget(srv.cm, "data", "paused", NULL)), "true") == 0;
}

static void answer_pods(int fd)
{
    char body[4096] = "{\"items\":[";

    for (int i = 0; i < 3; i++) {
        size_t used = strlen(body);
        bool primary = strcmp(srv.role[i], "primary") == 0;
        snprintf(body + used, sizeof(body) - used,
                 "%s{\"metadata\":{\"name\":\"pg-%d\",\"annotations\":{\"pghad.io/status\":"
                 "\"{\\\"role\\\":\\\"%s\\\",\\\"state\\\":\\\"%s\\\",\\\"timeline\\\":3,"
                 "\\\"lag\\\":0,\\\"rule\\\":\\\"%s\\\",\\\"pause\\\":%s,\\\"rest_port\\\":%d}\"}},\"status\":{\"podIP\":\"127.0.0.1\","
                 "\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\"}]}}",
                 i ? "," : "", i, srv.role[i], primary ? "running" : "streaming",
                 i == 2 && srv.script == DATA_BAD ? "data-bad" : "",
                 known_pause() ? "true" : "false",
                 primary && srv.script == HOLDER_DIED ? 1 : fake.port, /* nobody listens on 1 */
                 primary && srv.script == HOLDER_DIED ? "False" : "True");
    }
    strncat(body, "]}", sizeof(body) - strlen(body) - 1);
    answer(fd, 200, body);
}

/* False: close without an answer. */
static bool put_configmap(int fd, const char *body)
{
    struct json_object *o = jparse(body, strlen(body));

    if (srv.script == CONFLICT_ONCE && !srv.tripped) {
        srv.tripped = true;
        bump(); /* somebody else wrote */
    }
    if (!o || strcmp(jtext(jget(o, "metadata", "resourceVersion", NULL)),
                     jtext(jget(srv.cm, "metadata", "resourceVersion", NULL))) != 0) {
        json_object_put(o);
        answer_status(fd, 409, "Conflict", "the object has been modified");
        return true;
    }
    json_object_put(srv.cm);
    srv.cm = o;
    bump();
    if (srv.script == DROP_ONCE && !srv.tripped) {
        srv.tripped = true;
        return false;
    }
    answer(fd, 200, json_object_to_json_string(srv.cm));
    return true;
}

static bool serve(int fd, const char *method, const char *path, const char *body)
{
    char text[512];

    if (srv.script == FORBIDDEN) {
        answer_status(fd, 403, "Forbidden", "configmaps is forbidden");
    } else if (strstr(path, "/configmaps/pg-state")) {
        if (strcmp(method, "PUT") == 0)
            return put_configmap(fd, body);
        agents_step();
        answer(fd, 200, json_object_to_json_string(srv.cm));
    } else if (strstr(path, "/leases/pg")) {
        answer_lease(fd, false);
    } else if (strstr(path, "/leases?") || strcmp(strrchr(path, '/'), "/leases") == 0) {
        answer_lease(fd, true);
    } else if (strstr(path, "/pods?labelSelector=app.kubernetes.io%2Finstance%3Dpg")) {
        answer_pods(fd);
    } else if (strstr(path, "/pods?")) {
        answer(fd, 200, "{\"items\":[]}");
    } else if (strcmp(path, "/status") == 0) {
        /* All pods have one address here: the name in the answer tells whose it is. */
        bool primary = strcmp(srv.role[0], "primary") == 0;
        bool back = primary || srv.returning == 0;
        srv.returning -= back ? 0 : 1;
        snprintf(text, sizeof(text),
                 "{\"name\":\"pg-0\",\"role\":\"%s\",\"state\":\"%s\",\"timeline\":3,"
                 "\"port\":5440,\"lsn\":\"0/5000000\",\"rule\":\"serve\",\"reason\":\"why\","
                 "\"pause\":%s}",
                 srv.role[0], primary ? "running" : back ? "streaming" : "starting",
                 known_pause() ? "true" : "false");
        answer(fd, 200, text);
    } else if (strcmp(path, "/cluster") == 0) {
        answer(fd, 200,
               "{\"scope\":\"pg\",\"leader\":\"pg-0\",\"epoch\":4,\"members\":[{\"name\":\"pg-0\","
               "\"role\":\"primary\",\"state\":\"running\",\"host\":\"127.0.0.1\"}]}");
    } else if (strcmp(path, "/config") == 0) {
        answer(fd, 200,
               "{\"postgres\":{\"superuser\":\"owner\"},\"bootstrap\":{\"database\":\"shop\"}}");
    } else if (strcmp(path, "/history") == 0) {
        answer(fd, 200,
               "{\"age_ms\":1,\"history\":[{\"time\":\"2025-11-21T04:40:00.000000Z\","
               "\"cause\":\"failover\",\"reason\":\"it died\",\"from\":\"pg-2\",\"to\":\"pg-0\","
               "\"epoch\":4,\"timeline\":3,\"lsn\":\"0/3000000\",\"lost_bytes\":0,"
               "\"write_gap_ms\":310,\"phases_ms\":{\"detect\":210,\"promote\":100}}]}");
    } else if (strcmp(path, "/explain") == 0) {
        answer(fd, 200,
               "{\"decisions\":[{\"time\":\"2026-01-02T03:04:05Z\",\"rule\":\"serve\","
               "\"reason\":\"all is well\"}]}");
    } else {
        answer_status(fd, 404, "NotFound", "not found");
    }
    return true;
}

static void play(int script)
{
    static const char state[] =
        "{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"pg-state\",\"resourceVersion\":\"1\"},"
        "\"data\":{\"system-id\":\"7300000000000000001\",\"config\":\"replication:\\n  k: 1\\n\","
        "\"history\":\"{\\\"time\\\":1763700000,\\\"epoch\\\":4,\\\"timeline\\\":3,\\\"lsn\\\":"
        "\\\"0/3000000\\\",\\\"cause\\\":\\\"failover\\\",\\\"from\\\":\\\"pg-2\\\",\\\"to\\\":"
        "\\\"pg-0\\\",\\\"write_gap_ms\\\":310,\\\"lost_bytes\\\":0,\\\"phases_ms\\\":{"
        "\\\"detect\\\":210,\\\"promote\\\":100},\\\"reason\\\":\\\"it died\\\"}\\nnot json\\n\"}}";

    srv.script = (enum script)script;
    srv.version = 1;
    srv.cm = jparse(state, strlen(state));
    switch_roles("pg-0");
    if (script == OTHER_OPEN) {
        struct intent other = {.id = 5, .kind = INTENT_REINIT, .epoch = 4, .target = {"pg-2"},
                               .expires_s = time(NULL) + 600, .created_by = "bob@desk"};
        struct buf b;
        buf_init(&b, INTENT_JSON_MAX);
        intent_encode(&other, &b);
        set_data("intent", buf_str(&b));
        buf_done(&b);
    }
}

/* --- the tests --- */

static void start(enum script script)
{
    fake_start(play, (int)script, serve);
}

static int stop(void **state)
{
    char edited[96];

    (void)state;
    snprintf(edited, sizeof(edited), "%s/apply.yaml", fake.dir);
    unlink(edited);
    fake_stop();
    return 0;
}

static void list__finds_the_only_cluster(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("list", EXIT_DONE);
    SAYS(out, "Cluster pg (system 7300000000000000001), epoch 4, primary pg-0\n");
    /* Only pg-0 answers: of the others there is what they published. */
    SAYS(out, "pg-0    primary  running                    3   0/5000000  -    -     -\n");
    SAYS(out, "pg-1    replica  no answer, last streaming  3   -          ~0   -     -\n");
    SAYS(out, "pg-2    replica  no answer, last streaming  3");
    EXPECT("list -o json", EXIT_DONE);
    SAYS(out, "\"primary\": \"pg-0\"");
    EXPECT("list -o name", EXIT_DONE);
    assert_string_equal(out, "pg-0\npg-1\npg-2\n");
    EXPECT("list -c nosuch", EXIT_FAILED);
    SAYS(err, "there is no cluster nosuch in namespace db\n  Check --cluster and -n.");
}

static void list__no_primary__degraded(void **state)
{
    (void)state;
    start(NO_PRIMARY);
    EXPECT("list", EXIT_DEGRADED);
    SAYS(out, "nobody holds the Lease");
    EXPECT("switchover --force", EXIT_REFUSED);
    SAYS(err, "there is no primary to switch over from");
    SAYS(err, "hactl failover --to POD");
    EXPECT("wait --for primary --timeout 2s", EXIT_FAILED);
    SAYS(err, "there is no writable primary");
}

/* A server by name, as managed clusters give it. The client answers for *.localhost by itself (RFC 6761),
 * so neither /etc/hosts nor a name server has a part in this. */
static void list__server_is_a_name__looked_up(void **state)
{
    FILE *f;

    (void)state;
    start(PLAIN);
    assert_non_null(f = fopen(fake.kubeconfig, "w"));
    fprintf(f,
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            "clusters:\n- name: k\n  cluster:\n    server: http://api.localhost:%d\n"
            "contexts:\n- name: c\n  context:\n    cluster: k\n    namespace: db\n",
            fake.port);
    fclose(f);
    EXPECT("list", EXIT_DONE);
    SAYS(out, "primary pg-0");
}

static void list__forbidden__unreachable_with_remedy(void **state)
{
    (void)state;
    start(FORBIDDEN);
    EXPECT("list -c pg", EXIT_UNREACHABLE);
    SAYS(err, "is forbidden");
    SAYS(err, "needs rights on leases, pods and configmaps");
    assert_null(strstr(err, "secret-token"));
}

static void list__nobody_listens__unreachable(void **state)
{
    (void)state;
    start(PLAIN);
    kill(fake.pid, SIGKILL);
    waitpid(fake.pid, NULL, 0);
    fake.pid = 0;
    EXPECT("list -c pg --timeout 2s", EXIT_UNREACHABLE);
    SAYS(err, "Is the API server up?");
}

static void switchover__done__verdict_and_topology(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("switchover --to pg-1 --force", EXIT_DONE);
    SAYS(out, "primary pg-0\n");
    SAYS(out, "accepted\n");
    SAYS(out, "  stop ...\n");
    SAYS(out, "switchover done: pg-1 is primary, no write for 120 ms, 180 ms in all\n");
    SAYS(out, "  preflight 2 ms, stop 40 ms, first-write 9 ms\n");
    SAYS(out, "primary pg-1\n");
    assert_null(strstr(out, "degraded")); /* the former primary was waited for */
    assert_null(strstr(out, "starting"));
    EXPECT("switchover --to pg-1 --force", EXIT_DONE);
    SAYS(out, "pg-1 is the primary already");
}

static void switchover__json__only_the_result(void **state)
{
    struct json_object *o;

    (void)state;
    start(PLAIN);
    EXPECT("switchover --force -o json", EXIT_DONE);
    o = jparse(out, strlen(out) - 1);
    assert_string_equal(jtext(jget(o, "state", NULL)), "done");
    assert_int_equal(jint(jget(o, "phases_ms", "stop", NULL), -1), 40);
    json_object_put(o);
}

static void switchover__refused__reason_and_hint(void **state)
{
    (void)state;
    start(REFUSES);
    EXPECT("switchover --to pg-1 --force", EXIT_REFUSED);
    SAYS(err, "switchover refused, nothing was changed: pg-1 is 3 GB behind\n  Wait, or use");
}

static void switchover__failed__says_what_holds(void **state)
{
    (void)state;
    start(FAILS);
    EXPECT("switchover --to pg-1 --force", EXIT_FAILED);
    SAYS(err, "switchover failed in phase stop: pg-1 did not confirm, pg-0 serves again; primary "
              "is pg-0");
}

static void switchover__nobody_takes_it__withdrawn(void **state)
{
    (void)state;
    start(SILENT);
    EXPECT("switchover --to pg-1 --force --timeout 2s", EXIT_FAILED);
    SAYS(err, "nobody accepted the order");
    SAYS(err, "withdrawn");
    /* gone: a second order is not blocked by the first */
    EXPECT("reload --timeout 1s", EXIT_FAILED);
    assert_null(strstr(err, "another operation is in progress"));
}

static void switchover__other_under_way__refused(void **state)
{
    (void)state;
    start(OTHER_OPEN);
    EXPECT("switchover --to pg-1 --force", EXIT_REFUSED);
    SAYS(err, "another operation is in progress");
    EXPECT("restart pg-1", EXIT_REFUSED);
    SAYS(err, "another operation is in progress: reinit of pg-2, ordered by bob@desk, not yet");
    EXPECT("list", EXIT_DONE);
    SAYS(out, "in progress: reinit of pg-2, not yet accepted");
}

static void switchover__lost_race_and_lost_answer__given_once(void **state)
{
    (void)state;
    start(CONFLICT_ONCE);
    EXPECT("switchover --to pg-2 --force", EXIT_DONE);
    SAYS(out, "pg-2 is primary");
    stop(NULL);
    start(DROP_ONCE);
    EXPECT("switchover --to pg-2 --force", EXIT_DONE);
    SAYS(out, "pg-2 is primary");
}

static void switchover__dry_run_and_mistakes__order_nothing(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("switchover --to pg-1 --dry-run", EXIT_DONE);
    SAYS(out, "dry run: switchover from pg-0 to pg-1");
    EXPECT("switchover --to pg-9 --force", EXIT_USAGE);
    SAYS(err, "has no member pg-9; did you mean pg-");
    SAYS(err, "members: pg-0 (primary), pg-1 (replica), pg-2 (replica)");
    EXPECT("switchover --to pg-1", EXIT_USAGE);
    SAYS(err, "needs a confirmation and there is no terminal");
    EXPECT("failover --force", EXIT_USAGE);
    EXPECT("reinit pg-0 --force", EXIT_REFUSED);
    SAYS(err, "pg-0 is the primary");
    EXPECT("list", EXIT_DONE);
    SAYS(out, "primary pg-0");
    assert_null(strstr(out, "in progress"));
}

static void operations__on_members(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("restart pg-2 --wait", EXIT_DONE);
    SAYS(out, "restart done");
    EXPECT("restart --force", EXIT_DONE);
    assert_true(strstr(out, "pg-1 (replica)") < strstr(out, "pg-0 (primary)"));
    assert_true(strstr(out, "pg-2 (replica)") < strstr(out, "pg-0 (primary)"));
    EXPECT("reinit pg-2 --force", EXIT_DONE);
    SAYS(out, "goes on in the background");
    EXPECT("reload", EXIT_DONE);
    SAYS(out, "pg-0\n");
    SAYS(out, "pg-2\n");
    EXPECT("reload pg-1 --wait", EXIT_DONE);
    SAYS(out, "pg-1\n");
    SAYS(out, "reload done");
    assert_null(strstr(out, "pg-2"));
}

static void pause__set_shown_and_ended(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("pause", EXIT_DONE);
    EXPECT("list", EXIT_DONE);
    SAYS(out, "paused: no automatic failover");
    EXPECT("pause", EXIT_DONE);
    SAYS(out, "paused already");
    EXPECT("resume", EXIT_DONE);
    EXPECT("list", EXIT_DONE);
    assert_null(strstr(out, "paused"));
    EXPECT("pause --wait", EXIT_DONE);
    SAYS(out, "cluster pg is paused");
    SAYS(out, "every member knows it\n");
    EXPECT("resume --wait --timeout 5s", EXIT_DONE);
    SAYS(out, "every member knows it\n");
    stop(NULL);
    start(SILENT);
    EXPECT("pause --wait --timeout 2s", EXIT_FAILED);
    SAYS(err, "not yet known to pg-0, pg-1, pg-2");
}

static void settings__shown_changed_checked(void **state)
{
    char path[96], line[160];
    FILE *f;

    (void)state;
    start(PLAIN);
    EXPECT("show-config", EXIT_DONE);
    assert_string_equal(out, "replication:\n  k: 1\n");
    EXPECT("edit-config -s replication.k=2 --force", EXIT_DONE);
    SAYS(out, " replication:\n-  k: 1\n+  k: 2\n");
    EXPECT("show-config", EXIT_DONE);
    assert_string_equal(out, "replication:\n  k: 2\n");
    EXPECT("edit-config -s replication.k=2 --force", EXIT_DONE);
    SAYS(out, "no change");
    EXPECT("edit-config -s replication.k=many --force", EXIT_USAGE);
    SAYS(err, "k");
    EXPECT("edit-config -s replication.kk=2 --force", EXIT_USAGE);
    SAYS(err, "kk");
    EXPECT("edit-config -s replication.k --force", EXIT_USAGE);
    SAYS(err, "must be KEY=VALUE");
    EXPECT("edit-config -s replication.k=3", EXIT_USAGE);
    snprintf(path, sizeof(path), "%s/apply.yaml", fake.dir);
    assert_non_null(f = fopen(path, "w"));
    fputs("replication:\n  mode: sync\n", f);
    fclose(f);
    snprintf(line, sizeof(line), "edit-config --apply %s --dry-run", path);
    EXPECT(line, EXIT_DONE);
    SAYS(out, "+  mode: sync");
    EXPECT("show-config", EXIT_DONE);
    assert_string_equal(out, "replication:\n  k: 2\n");
    snprintf(line, sizeof(line), "config check %s --cluster-wide", path);
    EXPECT(line, EXIT_DONE);
}

static void config_check__server_judges_parameters(void **state)
{
    char path[96], line[160];
    FILE *f;

    (void)state;
    start(PLAIN);
    snprintf(path, sizeof(path), "%s/apply.yaml", fake.dir);
    assert_non_null(f = fopen(path, "w"));
    fputs("postgres:\n  parameters:\n    # memory\n    work_mem: lots\n    foo_bar: 1\n"
          "    max_connections: 700000000\n    log_line_prefix: \"it's %m \\\\ \"\n", f);
    fclose(f);
    snprintf(line, sizeof(line), "config check %s", path);
    EXPECT(line, EXIT_USAGE);
    SAYS(err, "apply.yaml: line 4: postgres.parameters.work_mem: invalid value for parameter");
    SAYS(err, "apply.yaml: line 5: postgres.parameters.foo_bar: unrecognized configuration parameter");
    SAYS(err, "apply.yaml: line 6: postgres.parameters.max_connections: 700000000 is outside");
    assert_null(strstr(err, "log_line_prefix"));
    assert_null(strstr(err, "/tmp/hactl-check"));
    snprintf(line, sizeof(line), "config check --cluster-wide %s", path);
    EXPECT(line, EXIT_USAGE);
    SAYS(err, "line 5: postgres.parameters.foo_bar: unrecognized");
    assert_non_null(f = fopen(path, "w"));
    fputs("postgres:\n  parameters:\n    work_mem: 8MB\n    log_line_prefix: \"it's %m\"\n", f);
    fclose(f);
    snprintf(line, sizeof(line), "config check %s", path);
    EXPECT(line, EXIT_DONE);
    assert_string_equal(err, "");
    assert_non_null(f = fopen(path, "w"));
    fputs("postgres:\n  bin_dir: /nonexistent\n  parameters:\n    foo_bar: 1\n", f);
    fclose(f);
    EXPECT(line, EXIT_DONE);
    SAYS(err, "was not checked: there is no server in /nonexistent");
    SAYS(out, "apply.yaml: valid");
}

static void settings__edited_in_an_editor(void **state)
{
    char editor[160], path[96];

    (void)state;
    start(PLAIN);
    /* a value with a blank and an option: the shell takes EDITOR apart, not the file's name */
    snprintf(editor, sizeof(editor), "sed -i s/1/2/");
    setenv("EDITOR", editor, 1);
    unsetenv("VISUAL");
    setenv("TMPDIR", fake.dir, 1);
    EXPECT("edit-config --force", EXIT_DONE);
    SAYS(out, "-  k: 1\n+  k: 2\n");
    setenv("EDITOR", "false", 1);
    EXPECT("edit-config --force", EXIT_FAILED);
    SAYS(err, "the editor (false) failed, nothing was changed");
    setenv("EDITOR", "sed -i s/k:/kk:/", 1);
    EXPECT("edit-config --force", EXIT_USAGE);
    SAYS(err, "kk");
    SAYS(err, "nothing was changed; your text is in ");
    assert_int_equal(sscanf(strstr(err, "your text is in ") + 16, "%95s", path), 1);
    assert_int_equal(unlink(path), 0);
    EXPECT("show-config", EXIT_DONE);
    assert_string_equal(out, "replication:\n  k: 2\n");
    unsetenv("TMPDIR");
    unsetenv("EDITOR");
}

#define HISTORY_JSON                                                                               \
    "[\n  {\n"                                                                                       \
    "    \"time\": \"2025-11-21T04:40:00.000000Z\",\n    \"cause\": \"failover\",\n"                  \
    "    \"reason\": \"it died\",\n    \"from\": \"pg-2\",\n    \"to\": \"pg-0\",\n"                   \
    "    \"epoch\": 4,\n    \"timeline\": 3,\n    \"lsn\": \"0/3000000\",\n"                           \
    "    \"lost_bytes\": 0,\n    \"write_gap_ms\": 310,\n    \"phases_ms\": {\n"                       \
    "      \"detect\": 210,\n      \"promote\": 100\n    }\n  }\n]\n"

static void history__table_and_unreadable_lines(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("history", EXIT_FAILED);
    assert_string_equal(out, "TIME                  CAUSE     FROM  TO    TL  GAP     LOST  REASON\n"
                             "2025-11-21T04:40:00Z  failover  pg-2  pg-0  3   310 ms  0     it died\n");
    SAYS(err, "1 lines of the history could not be read");
    EXPECT("history -o wide", EXIT_FAILED);
    SAYS(out, "  it died  4      0/3000000  detect 210, promote 100\n");
    EXPECT("history -o json", EXIT_FAILED);
    assert_string_equal(out, HISTORY_JSON);
}

/* The agent's own answer gives the same forms. */
static void history__by_socket__same_output(void **state)
{
    char line[160];

    (void)state;
    start(PLAIN);
    snprintf(line, sizeof(line), "history --socket %s", fake.socket);
    EXPECT(line, EXIT_DONE);
    assert_string_equal(out, "TIME                  CAUSE     FROM  TO    TL  GAP     LOST  REASON\n"
                             "2025-11-21T04:40:00Z  failover  pg-2  pg-0  3   310 ms  0     it died\n");
    snprintf(line, sizeof(line), "history -o json --socket %s", fake.socket);
    EXPECT(line, EXIT_DONE);
    assert_string_equal(out, HISTORY_JSON);
}

static void dsn__all_members_by_role(void **state)
{
    (void)state;
    start(PLAIN);
    unsetenv("PGUSER");
    unsetenv("PGDATABASE");
    EXPECT("dsn -U ann@home -d a/b?c=d", EXIT_DONE);
    assert_string_equal(out, "postgresql://ann%40home@127.0.0.1:5440,127.0.0.1:5432,127.0.0.1:5432/"
                             "a%2Fb%3Fc%3Dd?target_session_attrs=read-write&connect_timeout=5\n");
    EXPECT("dsn --replica --dns", EXIT_DONE); /* login as the primary's settings name it */
    SAYS(out, "postgresql://owner@pg-0.pg-pods.db.svc:5440,pg-1.pg-pods.db.svc:5432,");
    SAYS(out, "/shop?target_session_attrs=prefer-standby&");
    EXPECT("dsn -r any --db x -o json", EXIT_DONE);
    SAYS(out, "/x?target_session_attrs=any&");
    setenv("PGUSER", "env", 1);
    EXPECT("dsn", EXIT_DONE);
    SAYS(out, "postgresql://env@127.0.0.1:5440,");
    SAYS(out, "/shop?target_session_attrs=read-write&");
    unsetenv("PGUSER");
}

static void explain__rules_and_decisions(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("explain", EXIT_DONE);
    SAYS(out, "pg-0    primary  serve  why\n");
    SAYS(out, "Last decisions of pg-0:\n");
    SAYS(out, "2026-01-02T03:04:05Z  serve  all is well\n");
    EXPECT("explain -o json", EXIT_DONE);
    SAYS(out, "\"decisions_of\": \"pg-0\"");
    EXPECT("explain pg-7", EXIT_USAGE);
}

static void socket__reads_without_the_api(void **state)
{
    char line[160];

    (void)state;
    start(FORBIDDEN);
    snprintf(line, sizeof(line), "list --socket %s", fake.socket);
    EXPECT(line, EXIT_UNREACHABLE); /* this one's socket forbids as well */
    stop(NULL);
    start(PLAIN);
    snprintf(line, sizeof(line), "list --socket %s", fake.socket);
    EXPECT(line, EXIT_DONE);
    SAYS(out, "Cluster pg, epoch 4, primary pg-0\n");
    snprintf(line, sizeof(line), "switchover --force --socket %s", fake.socket);
    EXPECT(line, EXIT_USAGE);
    snprintf(line, sizeof(line), "pause --socket %s", fake.socket);
    EXPECT(line, EXIT_USAGE);
    snprintf(line, sizeof(line), "explain --socket %s", fake.socket);
    EXPECT(line, EXIT_DONE);
    SAYS(out, "all is well");
    EXPECT("list --socket /nonexistent/agent.sock", EXIT_UNREACHABLE);
    SAYS(err, "Is the agent up");
}

static void reinit__directory_is_not_the_cluster_s__refused(void **state)
{
    (void)state;
    start(DATA_BAD);
    EXPECT("reinit pg-2 --force", EXIT_REFUSED);
    SAYS(err, "the directory of pg-2 is not of this cluster or damaged");
}

static void wait__reached(void **state)
{
    (void)state;
    start(PLAIN);
    EXPECT("wait --for replica --timeout 5s", EXIT_DONE);
    assert_string_equal(out, "replica: primary is pg-0\n");
    EXPECT("wait --for synced --timeout 5s", EXIT_DONE);
    stop(NULL);
    start(HOLDER_DIED);
    EXPECT("wait --for primary --timeout 2s", EXIT_FAILED);
    SAYS(err, "its pod is not ready");
    stop(NULL);
    start(SEALED);
    EXPECT("wait --for synced --timeout 2s", EXIT_FAILED);
    SAYS(err, "the primary is sealed: it writes alone");
    EXPECT("list", EXIT_DEGRADED);
    SAYS(out, "degraded: sealed: the primary writes alone");
    EXPECT("list -o yaml", EXIT_DEGRADED);
    SAYS(out, "sealed: true\n");
}

static int cleanup(void **state)
{
    (void)state;
    hactl_forget();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(list__finds_the_only_cluster, stop),
        cmocka_unit_test_teardown(list__no_primary__degraded, stop),
        cmocka_unit_test_teardown(list__server_is_a_name__looked_up, stop),
        cmocka_unit_test_teardown(list__forbidden__unreachable_with_remedy, stop),
        cmocka_unit_test_teardown(list__nobody_listens__unreachable, stop),
        cmocka_unit_test_teardown(switchover__done__verdict_and_topology, stop),
        cmocka_unit_test_teardown(switchover__json__only_the_result, stop),
        cmocka_unit_test_teardown(switchover__refused__reason_and_hint, stop),
        cmocka_unit_test_teardown(switchover__failed__says_what_holds, stop),
        cmocka_unit_test_teardown(switchover__nobody_takes_it__withdrawn, stop),
        cmocka_unit_test_teardown(switchover__other_under_way__refused, stop),
        cmocka_unit_test_teardown(switchover__lost_race_and_lost_answer__given_once, stop),
        cmocka_unit_test_teardown(switchover__dry_run_and_mistakes__order_nothing, stop),
        cmocka_unit_test_teardown(operations__on_members, stop),
        cmocka_unit_test_teardown(pause__set_shown_and_ended, stop),
        cmocka_unit_test_teardown(settings__shown_changed_checked, stop),
        cmocka_unit_test_teardown(config_check__server_judges_parameters, stop),
        cmocka_unit_test_teardown(settings__edited_in_an_editor, stop),
        cmocka_unit_test_teardown(history__table_and_unreadable_lines, stop),
        cmocka_unit_test_teardown(history__by_socket__same_output, stop),
        cmocka_unit_test_teardown(dsn__all_members_by_role, stop),
        cmocka_unit_test_teardown(explain__rules_and_decisions, stop),
        cmocka_unit_test_teardown(socket__reads_without_the_api, stop),
        cmocka_unit_test_teardown(reinit__directory_is_not_the_cluster_s__refused, stop),
        cmocka_unit_test_teardown(wait__reached, stop),
    };

    unsetenv("PGHA_CLUSTER");
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
