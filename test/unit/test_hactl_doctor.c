/* The checks of doctor: objects of a healthy cluster give only "ok"; each mistake is one row with its
 * remedy. Then the whole command against a server that answers from a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <json-c/json_pointer.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_api.h"
#include "hactl/doctor.h"
#include "hactl/jget.h"

#define LABELS "{'app.kubernetes.io/name':'pghad','app.kubernetes.io/instance':'pg'}"
#define LABELS_ROLE(role)                                                                          \
    "{'app.kubernetes.io/name':'pghad','app.kubernetes.io/instance':'pg','role':'" role "'}"
#define PORTS "'ports':[{'port':5432,'targetPort':5432}]"

static const char sets_text[] =
    "{'items':[{'metadata':{'name':'pg'},'spec':{'replicas':3,'serviceName':'pg-pods',"
    "'podManagementPolicy':'Parallel','template':{'metadata':{'labels':" LABELS "},'spec':{"
    "'serviceAccountName':'pg','terminationGracePeriodSeconds':120,'containers':[{"
    "'name':'postgres','image':'registry.example:5000/pghad:0.1.0','env':[],"
    "'ports':[{'name':'postgres','containerPort':5432},{'name':'rest','containerPort':8008}],"
    "'startupProbe':{'httpGet':{'path':'/startup','port':'rest'},'periodSeconds':1,"
    "'failureThreshold':300},"
    "'livenessProbe':{'httpGet':{'path':'/liveness','port':'rest'},'periodSeconds':10,"
    "'failureThreshold':6},"
    "'readinessProbe':{'httpGet':{'path':'/readiness','port':8008},'periodSeconds':2},"
    "'volumeMounts':[{'name':'config','mountPath':'/etc/pghad'}]}],"
    "'volumes':[{'name':'config','projected':{'sources':[{'configMap':{'name':'pg-config'}},"
    "{'secret':{'name':'pg-secrets','items':[{'key':'superuser-password','path':'x'}]}}]}}]"
    "}}}}]}";
static const char services_text[] =
    "{'items':[{'metadata':{'name':'pg-rw'},'spec':{'publishNotReadyAddresses':true,"
    "'selector':" LABELS_ROLE("primary") "," PORTS "}},"
    "{'metadata':{'name':'pg-ro'},'spec':{'selector':" LABELS_ROLE("replica") "," PORTS "}},"
    "{'metadata':{'name':'pg-r'},'spec':{'selector':" LABELS "," PORTS "}},"
    "{'metadata':{'name':'pg-pods'},'spec':{'clusterIP':'None','publishNotReadyAddresses':true,"
    "'selector':" LABELS "," PORTS "}}]}";
static const char slices_text[] =
    "{'items':[{'metadata':{'name':'pg-rw-a1','labels':{'kubernetes.io/service-name':'pg-rw',"
    "'endpointslice.kubernetes.io/managed-by':'endpointslice-controller.k8s.io'}},"
    "'endpoints':[{'targetRef':{'name':'pg-1'}}]},"
    "{'metadata':{'name':'pg-rw-x7','labels':{'kubernetes.io/service-name':'pg-rw'}},'endpoints':[]}]}";
static const char pdbs_text[] =
    "{'items':[{'metadata':{'name':'pg'},'spec':{'maxUnavailable':1,'selector':{"
    "'matchLabels':" LABELS "}}}]}";
static const char pods_text[] =
    "{'items':[{'metadata':{'name':'pg-0'},'spec':{'nodeName':'n1'}},"
    "{'metadata':{'name':'pg-1'},'spec':{'nodeName':'n2'}}]}";
static const char nodes_text[] =
    "{'items':[{'metadata':{'name':'n1','labels':{'topology.kubernetes.io/zone':'a'}}},"
    "{'metadata':{'name':'n2','labels':{'topology.kubernetes.io/zone':'b'}}}]}";
static const char file_text[] = "{'data':{'pghad.yaml':'cluster:\\n  members: 3\\n'}}";
static const char state_text[] = "{'data':{'config':''}}";
static const char roles_text[] =
    "{'items':[{'metadata':{'name':'pg'},'rules':["
    "{'apiGroups':['coordination.k8s.io'],'resources':['leases'],'resourceNames':['pg'],"
    "'verbs':['get','list','watch','update']},"
    "{'apiGroups':['coordination.k8s.io'],'resources':['leases'],'verbs':['create']},"
    "{'apiGroups':[''],'resources':['pods'],'verbs':['get','list','watch','patch']},"
    "{'apiGroups':[''],'resources':['configmaps'],'resourceNames':['pg-state'],"
    "'verbs':['get','list','watch','update','patch']},"
    "{'apiGroups':[''],'resources':['configmaps'],'verbs':['create']},"
    "{'apiGroups':[''],'resources':['services'],'resourceNames':['pg-rw'],'verbs':['get']},"
    "{'apiGroups':['discovery.k8s.io'],'resources':['endpointslices'],'resourceNames':['pg-rw'],"
    "'verbs':['update']},"
    "{'apiGroups':['discovery.k8s.io'],'resources':['endpointslices'],'verbs':['list','create']},"
    "{'apiGroups':['events.k8s.io'],'resources':['events'],'verbs':['create']}]}]}";
static const char bindings_text[] =
    "{'items':[{'roleRef':{'kind':'Role','name':'pg'},'subjects':[{'kind':'ServiceAccount',"
    "'name':'pg','namespace':'db'}]}]}";

/* JSON with single quotes, which read better in C. */
static struct json_object *parse(const char *text)
{
    char *copy = strdup(text);
    struct json_object *o;

    assert_non_null(copy);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    o = json_tokener_parse(copy);
    if (!o)
        fail_msg("no JSON: %s", text);
    free(copy);
    return o;
}

static struct doctor_object read_as(const char *text)
{
    return (struct doctor_object){DOCTOR_READ, parse(text)};
}

static struct doctor_facts facts;
static struct doctor_report report;

static void settle(void)
{
    doctor_find_sets(&facts);
    for (size_t i = 0; i < facts.sets; i++) {
        facts.set[i].file = read_as(file_text);
        doctor_take_settings(&facts, &facts.set[i]);
    }
    doctor_choose_own(&facts);
}

/* A healthy cluster; a mistake is made before settle(), or after it where nothing follows from it. */
static int begin(void **state)
{
    (void)state;
    facts = (struct doctor_facts){.cluster = "pg", .ns = "db"};
    report.n = 0;
    facts.state = read_as(state_text);
    facts.statefulsets = read_as(sets_text);
    facts.services = read_as(services_text);
    facts.slices = read_as(slices_text);
    facts.pdbs = read_as(pdbs_text);
    facts.autoscalers = read_as("{'items':[]}");
    facts.pods = read_as(pods_text);
    facts.nodes = read_as(nodes_text);
    facts.roles = read_as(roles_text);
    facts.bindings = read_as(bindings_text);
    facts.cluster_bindings = read_as("{'items':[]}");
    facts.cluster_roles = parse("{}");
    facts.secrets = parse("{'pg-secrets':['superuser-password']}");
    return 0;
}

static int end(void **state)
{
    (void)state;
    doctor_facts_done(&facts);
    return 0;
}

static void put(struct doctor_object *o, const char *pointer, const char *value)
{
    assert_int_equal(json_pointer_set(&o->o, pointer, parse(value)), 0);
}

static void drop(struct doctor_object *o, const char *pointer, const char *key)
{
    struct json_object *parent = NULL;

    assert_int_equal(json_pointer_get(o->o, pointer, &parent), 0);
    json_object_object_del(parent, key);
}

#define TEMPLATE "/items/0/spec/template"
#define CONTAINER TEMPLATE "/spec/containers/0"
#define SET(pointer, value) put(&facts.statefulsets, pointer, value)

/* Exactly one row, of that status, whose texts hold these; a warning or error has why and remedy. */
static void expect(doctor_check *check, enum doctor_status status, const char *what, const char *remedy)
{
    report.n = 0;
    check(&facts, &report);
    if (report.n != 1)
        fail_msg("%zu rows, first: %s, second: %s", report.n, report.row[0].what, report.row[1].what);
    const struct doctor_row *row = &report.row[0];
    if (row->status != status || !strstr(row->what, what) || !strstr(row->remedy, remedy))
        fail_msg("%s %s: %s | %s | %s", doctor_status_text(row->status), row->check, row->what,
                 row->why, row->remedy);
    if (status == DOCTOR_WARNING || status == DOCTOR_ERROR)
        assert_true(row->why[0] && row->remedy[0]);
}

static void healthy__all_ok(void **state)
{
    (void)state;
    settle();
    doctor_access_from_roles(&facts);
    facts.samples = 3;
    facts.clocks = 2;
    doctor_run(&facts, &report);
    assert_int_equal(report.n, 15);
    for (size_t i = 0; i < report.n; i++) {
        if (report.row[i].status != DOCTOR_OK)
            fail_msg("%s: %s", report.row[i].check, report.row[i].what);
    }
}

static void statefulset__shape(void **state)
{
    (void)state;
    settle();
    expect(doctor_statefulset, DOCTOR_OK, "pg, 3 replicas", "");
    SET("/items/0/spec/podManagementPolicy", "'OrderedReady'");
    expect(doctor_statefulset, DOCTOR_ERROR, "one after the other", "podManagementPolicy: Parallel");
    SET("/items/0/spec/podManagementPolicy", "'Parallel'");
    SET(TEMPLATE "/spec/shareProcessNamespace", "true");
    expect(doctor_statefulset, DOCTOR_ERROR, "share one PID namespace", "shareProcessNamespace: false");
    facts.own = NULL;
    expect(doctor_statefulset, DOCTOR_ERROR, "no StatefulSet takes the Lease pg", "--cluster");
    facts.statefulsets.read = DOCTOR_DENIED;
    expect(doctor_statefulset, DOCTOR_UNKNOWN, "may not read statefulsets", "kubectl auth can-i list");
}

static void settings__valid_equal_to_replicas(void **state)
{
    (void)state;
    SET("/items/0/spec/replicas", "5");
    settle();
    expect(doctor_settings, DOCTOR_WARNING, "cluster.members is 3, the StatefulSet has 5",
           "cluster.members");
    SET("/items/0/spec/replicas", "3");
    expect(doctor_settings, DOCTOR_OK, "valid", "");
    facts.set[0].file.read = DOCTOR_DENIED;
    expect(doctor_settings, DOCTOR_UNKNOWN, "may not read configmaps", "kubectl auth");
    facts.set[0].file.read = DOCTOR_ABSENT;
    expect(doctor_settings, DOCTOR_ERROR, "ConfigMap pg-config does not exist", "pghad.yaml");
    facts.set[0].file.read = DOCTOR_READ;
    put(&facts.set[0].file, "/data/pghad.yaml", "'lease:\\n  profil: fast\\n'");
    doctor_take_settings(&facts, &facts.set[0]);
    expect(doctor_settings, DOCTOR_ERROR, "pghad.yaml", "hactl config check");
    assert_null(strstr(report.row[0].what, "/proc/"));
    assert_non_null(strstr(report.row[0].what, "profil"));
}

static void settings__cluster_wide_ones_and_variables_count(void **state)
{
    (void)state;
    put(&facts.state, "/data/config", "'failover:\\n  stop_timeout: 3min\\n'");
    SET(CONTAINER "/env", "[{'name':'PGHA_LEASE_PROFILE','value':'calm'},"
                          "{'name':'POSTGRES_USER_FILE','value':'/nonexistent'}]");
    settle();
    if (!facts.own->cfg_ok)
        fail_msg("%s", facts.own->fault.msg);
    assert_int_equal(facts.own->cfg.failover.stop_timeout_ms, 180000);
    assert_int_equal(facts.own->cfg.lease.request_ms, 5000);
    expect(doctor_grace, DOCTOR_ERROR, "pods get 120 s to end, failover.stop_timeout is 180000 ms",
           "terminationGracePeriodSeconds: 200");
}

static void lease__one_set_each(void **state)
{
    struct json_object *second;

    (void)state;
    second = parse("{'metadata':{'name':'other'},'spec':{'template':{'spec':{'containers':[{"
                   "'name':'postgres','image':'pghad:1','env':[{'name':'PGHA_CLUSTER_NAME',"
                   "'value':'pg'}]}]}}}}");
    json_object_array_add(jget(facts.statefulsets.o, "items", NULL), second);
    settle();
    assert_int_equal(facts.sets, 2);
    assert_string_equal(facts.own->name, "pg");
    expect(doctor_one_lease, DOCTOR_ERROR, "2 StatefulSets take the Lease pg: pg, other",
           "PGHA_CLUSTER_NAME");
    assert_int_equal(json_pointer_set(&second, "/spec/template/spec/containers/0/env/0/value",
                                      json_object_new_string("other")), 0);
    doctor_take_settings(&facts, &facts.set[1]);
    assert_string_equal(facts.set[1].lease, "other");
    expect(doctor_one_lease, DOCTOR_OK, "one StatefulSet", "");
}

static void image__version_named(void **state)
{
    static const struct {
        const char *image, *what;
    } bad[] = {
        {"'pghad'", "has no tag"},
        {"'pghad:latest'", "has the tag latest"},
        {"'registry.example:5000/pghad'", "has no tag"},
    };

    (void)state;
    settle();
    expect(doctor_image, DOCTOR_OK, "pghad:0.1.0", "");
    for (size_t i = 0; i < 3; i++) {
        SET(CONTAINER "/image", bad[i].image);
        expect(doctor_image, DOCTOR_WARNING, bad[i].what, "containers[0].image");
    }
    SET(CONTAINER "/image", "'pghad@sha256:00'");
    expect(doctor_image, DOCTOR_OK, "sha256", "");
    SET(TEMPLATE "/spec/containers", "[]");
    expect(doctor_image, DOCTOR_ERROR, "has no container", "apply the StatefulSet");
}

static void grace__longer_than_every_stop(void **state)
{
    (void)state;
    settle();
    expect(doctor_grace, DOCTOR_OK, "120 s", "");
    drop(&facts.statefulsets, TEMPLATE "/spec", "terminationGracePeriodSeconds");
    expect(doctor_grace, DOCTOR_WARNING, "pods get 30 s to end, the supervisor takes up to 100000 ms",
           "terminationGracePeriodSeconds: 120");
    SET(CONTAINER "/env", "[{'name':'PGHA_GRACE_MS','value':'20000'}]");
    expect(doctor_grace, DOCTOR_OK, "30 s", "");
    SET(TEMPLATE "/spec/terminationGracePeriodSeconds", "1");
    expect(doctor_grace, DOCTOR_ERROR, "pods get 1 s to end, failover.stop_timeout is 2000 ms",
           "terminationGracePeriodSeconds: 40");
}

static void probes__liveness(void **state)
{
    (void)state;
    settle();
    expect(doctor_probes, DOCTOR_OK, "none of them can kill", "");
    SET(CONTAINER "/livenessProbe/httpGet/path", "'/readiness'");
    expect(doctor_probes, DOCTOR_ERROR, "liveness probe asks another path or port", "path: /liveness");
    SET(CONTAINER "/livenessProbe/httpGet/path", "'/liveness'");
    SET(CONTAINER "/livenessProbe/httpGet/port", "'postgres'");
    expect(doctor_probes, DOCTOR_ERROR, "liveness probe asks another path or port", "port: 8008");
    SET(CONTAINER "/livenessProbe", "{'exec':{'command':['pg_isready']},'failureThreshold':100}");
    expect(doctor_probes, DOCTOR_ERROR, "liveness probe runs a command", "path: /liveness");
    SET(CONTAINER "/livenessProbe", "{'tcpSocket':{'port':5432}}");
    expect(doctor_probes, DOCTOR_ERROR, "liveness probe opens a TCP", "path: /liveness");
    SET(CONTAINER "/livenessProbe",
        "{'httpGet':{'path':'/liveness','port':'rest'},'periodSeconds':2,'failureThreshold':3}");
    expect(doctor_probes, DOCTOR_ERROR, "gives up after 6 s, the lease lasts 10 s", "60 or more");
    drop(&facts.statefulsets, CONTAINER, "livenessProbe");
    expect(doctor_probes, DOCTOR_WARNING, "no liveness probe", "path: /liveness");
}

static void probes__startup_and_readiness(void **state)
{
    (void)state;
    settle();
    SET(CONTAINER "/startupProbe/failureThreshold", "10");
    expect(doctor_probes, DOCTOR_WARNING, "startup gives up after 10 s", "60 or more");
    SET(CONTAINER "/startupProbe",
        "{'httpGet':{'path':'/readiness','port':'rest'},'periodSeconds':5,'failureThreshold':30}");
    expect(doctor_probes, DOCTOR_ERROR, "asks whether the database serves and gives up after 150 s",
           "path: /startup");
    SET(CONTAINER "/startupProbe", "{'exec':{'command':['pg_isready']}}");
    expect(doctor_probes, DOCTOR_ERROR, "startup probe runs a command and gives up after 30 s",
           "path: /startup");
    drop(&facts.statefulsets, CONTAINER, "startupProbe");
    expect(doctor_probes, DOCTOR_WARNING, "no startup probe", "path: /startup");
    SET(CONTAINER "/startupProbe",
        "{'httpGet':{'path':'/startup','port':8008},'failureThreshold':60}");
    SET(CONTAINER "/readinessProbe", "{'tcpSocket':{'port':5432}}");
    expect(doctor_probes, DOCTOR_WARNING, "does not ask /readiness", "path: /readiness");
    drop(&facts.statefulsets, CONTAINER, "readinessProbe");
    expect(doctor_probes, DOCTOR_WARNING, "no readiness probe", "path: /readiness");
}

static void probes__another_rest_port(void **state)
{
    (void)state;
    SET(CONTAINER "/env", "[{'name':'PGHA_API_LISTEN','value':'0.0.0.0:9008'}]");
    settle();
    assert_int_equal(doctor_rest_port(facts.own), 9008);
    SET(CONTAINER "/ports/1/containerPort", "9008");
    SET(CONTAINER "/readinessProbe/httpGet/port", "9008");
    expect(doctor_probes, DOCTOR_OK, "", "");
}

static void secrets__exist_with_keys(void **state)
{
    struct doctor_object s;

    (void)state;
    settle();
    expect(doctor_secrets, DOCTOR_OK, "all exist", "");
    s = (struct doctor_object){DOCTOR_READ, facts.secrets};
    put(&s, "/pg-secrets", "['other']");
    expect(doctor_secrets, DOCTOR_ERROR, "Secret pg-secrets lacks the key superuser-password",
           "kubectl edit secret pg-secrets -n db");
    put(&s, "/pg-secrets", "false");
    expect(doctor_secrets, DOCTOR_UNKNOWN, "may not read the Secret pg-secrets",
           "kubectl get secret pg-secrets -n db");
    json_object_object_add(facts.secrets, "pg-secrets", NULL);
    expect(doctor_secrets, DOCTOR_ERROR, "Secret pg-secrets does not exist",
           "kubectl create secret generic pg-secrets -n db");
    put(&s, "/pg-secrets", "['superuser-password']");
    SET(CONTAINER "/env",
        "[{'name':'A','valueFrom':{'secretKeyRef':{'name':'pg-secrets','key':'missing'}}},"
        "{'name':'B','valueFrom':{'secretKeyRef':{'name':'none','key':'x','optional':true}}}]");
    expect(doctor_secrets, DOCTOR_ERROR, "lacks the key missing", "kubectl edit secret");
}

static void services__select_by_role(void **state)
{
    struct doctor_object *s = &facts.services;

    (void)state;
    settle();
    expect(doctor_services, DOCTOR_OK, "pg-rw, -ro, -r and pg-pods", "");
    put(s, "/items/0/spec/selector/role", "'master'");
    expect(doctor_services, DOCTOR_ERROR, "pg-rw selects role=master", "role: primary");
    drop(s, "/items/0/spec/selector", "role");
    expect(doctor_services, DOCTOR_ERROR, "pg-rw selects role=(any)", "role: primary");
    put(s, "/items/0/spec/selector/role", "'primary'");
    put(s, "/items/0/spec/selector/tier", "'db'");
    expect(doctor_services, DOCTOR_ERROR, "pg-rw does not select the pods of pg", "spec.selector");
    drop(s, "/items/0/spec/selector", "tier");
    drop(s, "/items/0/spec", "publishNotReadyAddresses");
    expect(doctor_services, DOCTOR_WARNING, "pg-rw waits for readiness", "publishNotReadyAddresses");
    drop(s, "/items/0/spec", "selector"); /* its members lead it */
    expect(doctor_services, DOCTOR_OK, "pg-rw, -ro, -r and pg-pods", "");
    put(s, "/items/0/spec/publishNotReadyAddresses", "true");
    put(s, "/items/1/spec/selector/role", "'primary'");
    expect(doctor_services, DOCTOR_ERROR, "pg-ro selects role=primary", "role: replica");
    put(s, "/items/1/spec/selector/role", "'replica'");
    put(s, "/items/2/spec/selector/role", "'replica'");
    expect(doctor_services, DOCTOR_ERROR, "pg-r selects role=replica", "without role");
    drop(s, "/items/2/spec/selector", "role");
    put(s, "/items/2/spec/ports/0/targetPort", "6432");
    expect(doctor_services, DOCTOR_ERROR, "no port of pg-r leads to PostgreSQL's", "targetPort: 5432");
    put(s, "/items/2/spec/ports/0/targetPort", "'postgres'");
    drop(s, "/items/3/spec", "publishNotReadyAddresses");
    expect(doctor_services, DOCTOR_ERROR, "pg-pods is not headless", "publishNotReadyAddresses: true");
    put(s, "/items/3/spec/publishNotReadyAddresses", "true");
    put(s, "/items/3/spec/selector/role", "'primary'");
    expect(doctor_services, DOCTOR_ERROR, "pg-pods is not headless", "without a role");
    drop(s, "/items/3/spec/selector", "role");
    put(s, "/items/3/metadata/name", "'renamed'");
    expect(doctor_services, DOCTOR_WARNING, "spec.serviceName \"pg-pods\" does not exist", "headless");
    put(s, "/items/3/metadata/name", "'pg-pods'");
    put(s, "/items/1/metadata/name", "'renamed'");
    expect(doctor_services, DOCTOR_WARNING, "Service pg-ro does not exist", "services.yaml");
}

static void services__further_ones_for_writers(void **state)
{
    (void)state;
    doctor_find_sets(&facts);
    facts.set[0].file = read_as("{'data':{'pghad.yaml':'cluster:\\n  services: [pg-rw, pg-ro, shop]\\n'}}");
    doctor_take_settings(&facts, &facts.set[0]);
    doctor_choose_own(&facts);
    report.n = 0;
    doctor_services(&facts, &report);
    assert_int_equal(report.n, 3);
    assert_string_equal(report.row[0].what, "pg-ro selects role=replica");
    assert_string_equal(report.row[1].what, "pg-ro waits for readiness");
    assert_string_equal(report.row[2].what, "Service shop does not exist");
}

static void slices__lead_to_the_primary_alone(void **state)
{
    struct doctor_object *s = &facts.slices;

    (void)state;
    settle();
    report.n = 0;
    doctor_slices(&facts, &report);
    assert_int_equal(report.n, 0); /* with a selector it is not theirs */
    put(s, "/items/0/metadata/name", "'pg-rw'");
    drop(s, "/items/0/metadata/labels", "endpointslice.kubernetes.io/managed-by");
    expect(doctor_slices, DOCTOR_ERROR, "the EndpointSlice pg-rw leads pg-rw as well", "endpointslices/pg-rw");
    drop(&facts.services, "/items/0/spec", "selector");
    expect(doctor_slices, DOCTOR_OK, "pg-rw leads to the primary alone", "");
    put(&facts.pods, "/items/1/metadata/labels", "{'role':'primary'}");
    expect(doctor_slices, DOCTOR_OK, "pg-rw leads to the primary alone", "");
    put(s, "/items/0/endpoints/0/targetRef/name", "'pg-0'");
    expect(doctor_slices, DOCTOR_WARNING, "pg-rw leads to pg-0, the primary is pg-1", "endpoint-failed of pg-1");
    put(s, "/items/0/endpoints", "[]");
    expect(doctor_slices, DOCTOR_WARNING, "pg-rw leads nowhere, the primary is pg-1", "resourceNames [pg-rw]");
    put(s, "/items/1/endpoints", "[{'addresses':['10.0.0.9']}]");
    expect(doctor_slices, DOCTOR_ERROR, "the EndpointSlice pg-rw-x7 leads pg-rw as well",
           "endpoints/pg-rw endpointslices/pg-rw-x7");
    json_object_put(s->o);
    *s = (struct doctor_object){.read = DOCTOR_DENIED};
    expect(doctor_slices, DOCTOR_UNKNOWN, "your account may not read endpointslices", "can-i list");
}

static void services__role_label_of_the_settings(void **state)
{
    (void)state;
    SET(CONTAINER "/env", "[{'name':'PGHA_CLUSTER_ROLE_PRIMARY','value':'master'}]");
    settle();
    expect(doctor_services, DOCTOR_ERROR, "pg-rw selects role=primary", "role: master");
    put(&facts.services, "/items/0/spec/selector/role", "'master'");
    expect(doctor_services, DOCTOR_OK, "", "");
}

static void budget__lets_drain(void **state)
{
    struct doctor_object *p = &facts.pdbs;

    (void)state;
    settle();
    expect(doctor_budget, DOCTOR_OK, "pg allows 1 of 3", "");
    put(p, "/items/0/spec/maxUnavailable", "2");
    expect(doctor_budget, DOCTOR_WARNING, "2 of 3 members", "maxUnavailable: 1");
    put(p, "/items/0/spec/maxUnavailable", "0");
    expect(doctor_budget, DOCTOR_ERROR, "forbids every eviction of 3 replicas", "maxUnavailable: 1");
    drop(p, "/items/0/spec", "maxUnavailable");
    put(p, "/items/0/spec/minAvailable", "'50%'");
    expect(doctor_budget, DOCTOR_OK, "1 of 3", ""); /* rounded up: two must stay */
    put(p, "/items/0/spec/minAvailable", "'67%'");
    expect(doctor_budget, DOCTOR_ERROR, "forbids every eviction", "maxUnavailable: 1");
    put(p, "/items/0/spec/minAvailable", "1");
    SET("/items/0/spec/replicas", "1");
    expect(doctor_budget, DOCTOR_ERROR, "forbids every eviction of 1 replica", "maxUnavailable: 1");
    SET("/items/0/spec/replicas", "2");
    expect(doctor_budget, DOCTOR_OK, "1 of 2", "");
    json_object_array_add(jget(p->o, "items", NULL), json_object_get(doctor_item(p->o, 0)));
    expect(doctor_budget, DOCTOR_ERROR, "2 budgets select the same pods", "all but one");
    put(p, "/items", "[]");
    expect(doctor_budget, DOCTOR_WARNING, "no PodDisruptionBudget", "maxUnavailable: 1");
    SET("/items/0/spec/replicas", "1");
    expect(doctor_budget, DOCTOR_OK, "one replica needs none", "");
    p->read = DOCTOR_DENIED;
    expect(doctor_budget, DOCTOR_UNKNOWN, "poddisruptionbudgets", "kubectl auth can-i");
}

static void autoscaler__none(void **state)
{
    (void)state;
    settle();
    expect(doctor_autoscaler, DOCTOR_OK, "none scales pg", "");
    put(&facts.autoscalers, "/items",
        "[{'metadata':{'name':'web'},'spec':{'scaleTargetRef':{'kind':'Deployment','name':'pg'}}}]");
    expect(doctor_autoscaler, DOCTOR_OK, "none scales pg", "");
    put(&facts.autoscalers, "/items",
        "[{'metadata':{'name':'auto'},'spec':{'scaleTargetRef':{'kind':'StatefulSet','name':'pg'}}}]");
    expect(doctor_autoscaler, DOCTOR_ERROR, "auto scales pg", "kubectl delete hpa auto -n db");
}

static void placement__several_nodes_and_zones(void **state)
{
    (void)state;
    settle();
    expect(doctor_placement, DOCTOR_OK, "several nodes and zones", "");
    put(&facts.nodes, "/items/1/metadata/labels", "{'topology.kubernetes.io/zone':'a'}");
    expect(doctor_placement, DOCTOR_WARNING, "all 2 members are in zone a", "topologySpread");
    put(&facts.nodes, "/items/1/metadata/labels", "{}");
    expect(doctor_placement, DOCTOR_UNKNOWN, "do not tell their zone", "kubectl get nodes");
    facts.nodes.read = DOCTOR_DENIED;
    expect(doctor_placement, DOCTOR_UNKNOWN, "may not read nodes", "kubectl auth can-i");
    put(&facts.pods, "/items/1/spec/nodeName", "'n1'");
    expect(doctor_placement, DOCTOR_WARNING, "all 2 members are on node n1", "podAntiAffinity");
    put(&facts.pods, "/items", "[]");
    expect(doctor_placement, DOCTOR_UNKNOWN, "no member is on a node", "kubectl get pods");
}

static void mesh__not_in_the_pods(void **state)
{
    (void)state;
    settle();
    put(&facts.pods, "/items/1/spec/initContainers", "[{'name':'x'},{'name':'istio-proxy'}]");
    expect(doctor_mesh, DOCTOR_WARNING, "pod pg-1 has a container istio-proxy", "inject");
}

static void access__from_roles(void **state)
{
    (void)state;
    settle();
    expect(doctor_access, DOCTOR_UNKNOWN, "may not ask what pg may", "kubectl auth can-i --list -n db");
    doctor_access_from_roles(&facts);
    expect(doctor_access, DOCTOR_OK, "pg may do what", "");
    put(&facts.roles, "/items/0/rules/0/verbs", "['get','list','watch']");
    doctor_access_from_roles(&facts);
    expect(doctor_access, DOCTOR_ERROR, "pg may not update leases/pg",
           "verbs [update], resourceNames [pg]");
    facts.cluster_bindings.read = DOCTOR_DENIED;
    doctor_access_from_roles(&facts);
    expect(doctor_access, DOCTOR_WARNING, "by what can be read", "verbs [update]");
    facts.cluster_bindings.read = DOCTOR_READ;
    put(&facts.roles, "/items/0/rules/0", "{'apiGroups':['*'],'resources':['*'],'verbs':['*']}");
    put(&facts.roles, "/items/0/rules/0/resourceNames", "['another']");
    doctor_access_from_roles(&facts);
    report.n = 0;
    doctor_access(&facts, &report);
    assert_int_equal(doctor_count(&report, DOCTOR_ERROR), 4); /* the verbs on the Lease itself */
    assert_int_equal(report.n, 4);
}

static void access__bindings_that_count(void **state)
{
    (void)state;
    settle();
    put(&facts.bindings, "/items/0/subjects/0/namespace", "'elsewhere'");
    doctor_access_from_roles(&facts);
    report.n = 0;
    doctor_access(&facts, &report);
    assert_int_equal(doctor_count(&report, DOCTOR_ERROR), DOCTOR_NEEDS - 5);
    assert_int_equal(doctor_count(&report, DOCTOR_WARNING), 5); /* Services without selector, Events */
    put(&facts.bindings, "/items/0/subjects", "[{'kind':'Group','name':'system:serviceaccounts:db'}]");
    doctor_access_from_roles(&facts);
    expect(doctor_access, DOCTOR_OK, "", "");
    put(&facts.bindings, "/items", "[]");
    put(&facts.cluster_bindings, "/items",
        "[{'roleRef':{'kind':'ClusterRole','name':'all'},'subjects':[{'kind':'User',"
        "'name':'system:serviceaccount:db:pg'}]}]");
    doctor_access_from_roles(&facts);
    assert_int_equal(facts.how, HOW_SOME_ROLES); /* the ClusterRole was not read */
    json_object_object_add(
        facts.cluster_roles, "all",
        parse("{'rules':[{'apiGroups':['*'],'resources':['*'],'verbs':['*']}]}"));
    doctor_access_from_roles(&facts);
    expect(doctor_access, DOCTOR_OK, "", "");
}

static void latency__against_the_profile(void **state)
{
    static const int64_t slow_us[] = {600000, 700000, 800000};

    (void)state;
    settle();
    expect(doctor_latency, DOCTOR_UNKNOWN, "could not be read", "kubectl get lease pg -n db");
    facts.samples = 3;
    facts.latency_us[1] = 12345;
    expect(doctor_latency, DOCTOR_OK, "p50 0.0 ms, max 12.3 ms; lease.request is 2000 ms (default)", "");
    facts.latency_us[1] = 2100000;
    expect(doctor_latency, DOCTOR_WARNING, "max 2100.0 ms", "calm");
    memcpy(facts.latency_us, slow_us, sizeof(slow_us));
    expect(doctor_latency, DOCTOR_WARNING, "p50 700.0 ms", "calm");
    facts.latency_us[0] = facts.latency_us[1] = facts.latency_us[2] = 1000;
    facts.lost = 1;
    expect(doctor_latency, DOCTOR_WARNING, "1 of 4 lost", "calm");
}

static void clocks__read_and_compared(void **state)
{
    struct doctor_clock c = {0};
    struct json_object *o =
        parse("{'name':'pg-0','time':'2026-01-02T03:04:05.250000Z','age_ms':50}");
    int64_t at_us = 1767323045300000; /* date -u -d 2026-01-02T03:04:05.3 +%s */

    (void)state;
    settle();
    assert_true(doctor_clock_read(o, at_us - 4000, at_us + 4000, &c));
    assert_string_equal(c.name, "pg-0");
    assert_int_equal(c.offset_ms, 0);
    assert_int_equal(c.uncertainty_ms, 5);
    assert_true(doctor_clock_read(o, at_us - 2000000, at_us - 2000000, &c));
    assert_int_equal(c.offset_ms, 2000);
    json_object_object_add(o, "time", json_object_new_string("2026-01-02T03:04:05Z"));
    assert_false(doctor_clock_read(o, 0, 0, &c));
    json_object_put(o);
    expect(doctor_clocks, DOCTOR_UNKNOWN, "0 of 2 members answered", "REST port 8008");
    facts.clocks = 2;
    facts.clock[0] = (struct doctor_clock){"pg-0", -900, 3};
    facts.clock[1] = (struct doctor_clock){"pg-1", 90, 3};
    expect(doctor_clocks, DOCTOR_OK, "at most 990 ms apart, give or take 6 ms", "");
    facts.clock[1].offset_ms = 700;
    expect(doctor_clocks, DOCTOR_WARNING, "pg-1 is 1600 ms ahead of pg-0", "chronyc");
    facts.clock[1].uncertainty_ms = 700; /* a slow answer proves nothing */
    expect(doctor_clocks, DOCTOR_OK, "apart", "");
}

/* Whatever stands where an object should be: rows, not crashes. */
static void nonsense__no_crash(void **state)
{
    static const char *const values[] = {"[]", "{}", "3", "'x'", "[[]]", "[{}]", "{'items':[3]}",
                                         "{'items':[{'metadata':{'name':'pg'},'spec':7}]}"};
    struct doctor_object *all[] = {&facts.state, &facts.services, &facts.pdbs, &facts.pods,
                                   &facts.nodes, &facts.autoscalers, &facts.bindings, &facts.roles,
                                   &facts.cluster_bindings};

    (void)state;
    for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
            end(NULL);
            begin(NULL);
            json_object_put(all[i]->o);
            all[i]->o = parse(values[v]);
            settle();
            doctor_access_from_roles(&facts);
            report.n = 0;
            doctor_run(&facts, &report);
            assert_true(report.n > 0);
        }
        end(NULL);
        begin(NULL);
        json_object_put(facts.statefulsets.o);
        facts.statefulsets.o = parse(values[v]);
        settle();
        doctor_access_from_roles(&facts);
        report.n = 0;
        doctor_run(&facts, &report);
        assert_true(report.n > 0);
    }
}

/* --- the whole command --- */

enum script {
    HEALTHY,
    NO_REVIEWS,  /* reviews of access are forbidden, Roles may be read */
    VIEWER,      /* only pods, leases and the state */
    NO_RIGHT,    /* the account lacks "update" of the Lease */
    BAD_BUDGET,
};

static int *changes; /* requests that are no read; shared with the server */
static enum script playing;

/* Single quotes stand for double ones. */
static void answer_text(int fd, int status, const char *body)
{
    char text[4096];

    if (strlen(body) >= sizeof(text))
        _exit(1);
    memcpy(text, body, strlen(body) + 1);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    answer(fd, status, text);
}

static void answer_review(int fd, const char *body)
{
    bool no = playing == NO_RIGHT && strstr(body, "\"update\"") && strstr(body, "\"leases\"");

    if (playing == NO_REVIEWS || playing == VIEWER)
        answer_text(fd, 403, "{'kind':'Status','code':403,'reason':'Forbidden','message':'forbidden'}");
    else
        answer_text(fd, 201, no ? "{'status':{'allowed':false}}" : "{'status':{'allowed':true}}");
}

static bool serve(int fd, const char *method, const char *path, const char *body)
{
    static const struct {
        const char *path, *body;
        bool viewer;
    } table[] = {
        {"/apis/coordination.k8s.io/v1/namespaces/db/leases",
         "{'items':[{'metadata':{'name':'pg','annotations':{'pghad.io/record':''}}}]}", true},
        {"/apis/coordination.k8s.io/v1/namespaces/db/leases/pg", "{'metadata':{'name':'pg'}}", true},
        {"/api/v1/namespaces/db/configmaps/pg-state", state_text, true},
        {"/api/v1/namespaces/db/configmaps/pg-config", file_text, false},
        {"/apis/apps/v1/namespaces/db/statefulsets", sets_text, false},
        {"/api/v1/namespaces/db/services", services_text, false},
        {"/apis/discovery.k8s.io/v1/namespaces/db/endpointslices", slices_text, false},
        {"/apis/autoscaling/v2/namespaces/db/horizontalpodautoscalers", "{'items':[]}", false},
        {"/api/v1/namespaces/db/pods?labelSelector=app.kubernetes.io%2Finstance%3Dpg", pods_text, true},
        {"/api/v1/nodes", nodes_text, false},
        {"/api/v1/namespaces/db/secrets/pg-secrets",
         "{'data':{'superuser-password':'dG9wLXNlY3JldA=='}}", false},
        {"/apis/rbac.authorization.k8s.io/v1/namespaces/db/rolebindings", bindings_text, false},
        {"/apis/rbac.authorization.k8s.io/v1/namespaces/db/roles", roles_text, false},
        {"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "{'items':[]}", false},
    };

    if (strstr(path, "/localsubjectaccessreviews")) {
        answer_review(fd, body);
        return true;
    }
    if (strcmp(method, "GET") != 0)
        ++*changes;
    if (playing == VIEWER && strstr(path, "/poddisruptionbudgets")) {
        answer_text(fd, 403, "{'kind':'Status','code':403}");
        return true;
    }
    if (strstr(path, "/poddisruptionbudgets")) {
        answer_text(fd, 200, playing == BAD_BUDGET ? "{'items':[{'metadata':{'name':'pg'},'spec':{"
                                               "'minAvailable':3,'selector':{'matchLabels':" LABELS
                                               "}}}]}"
                                             : pdbs_text);
        return true;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].path, path) != 0)
            continue;
        if (playing == VIEWER && !table[i].viewer)
            answer_text(fd, 403, "{'kind':'Status','code':403,'reason':'Forbidden','message':'forbidden'}");
        else
            answer_text(fd, 200, table[i].body);
        return true;
    }
    answer_text(fd, 404, "{'kind':'Status','code':404,'reason':'NotFound','message':'not found'}");
    return true;
}

static void start(enum script script)
{
    changes = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(changes != MAP_FAILED);
    playing = script;
    fake_start(NULL, 0, serve);
}

static int stop(void **state)
{
    (void)state;
    fake_stop();
    munmap(changes, sizeof(int));
    hactl_forget();
    return 0;
}

static void command__healthy__reads_only(void **state)
{
    (void)state;
    start(HEALTHY);
    EXPECT("doctor -o table", EXIT_DONE);
    SAYS(out, "STATUS   CHECK              WHAT");
    SAYS(out, "ok       access             pg may do what the members do");
    SAYS(out, "ok       secrets            all exist with the keys asked for");
    SAYS(out, "0 errors, 0 warnings, 1 unknown\n"); /* no member's REST is there to give a time */
    assert_null(strstr(out, "dG9wLXNlY3JldA"));
    assert_int_equal(*changes, 0);
    EXPECT("doctor -o name", EXIT_DONE);
    assert_string_equal(out, "");
    assert_int_equal(hactl_line(fake.kubeconfig, "doctor -o table --socket=/nonexistent"), EXIT_USAGE);
}

static void command__json__stable_keys(void **state)
{
    static const char *const keys[] = {"status", "check", "what", "why", "remedy"};
    struct json_object *o, *rows;

    (void)state;
    start(BAD_BUDGET);
    EXPECT("doctor -o json", EXIT_DEGRADED);
    assert_non_null(o = jparse(out, strlen(out) - 1));
    assert_string_equal(jtext(jget(o, "cluster", NULL)), "pg");
    assert_string_equal(jtext(jget(o, "namespace", NULL)), "db");
    assert_int_equal(jint(jget(o, "errors", NULL), -1), 1);
    assert_int_equal(jint(jget(o, "warnings", NULL), -1), 0);
    assert_int_equal(jint(jget(o, "unknown", NULL), -1), 1);
    rows = jget(o, "checks", NULL);
    assert_true(doctor_length(rows) > 10);
    for (size_t i = 0; i < doctor_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        for (size_t k = 0; k < 5; k++)
            assert_true(json_object_is_type(jget(row, keys[k], NULL), json_type_string));
    }
    json_object_put(o);
    EXPECT("doctor -o name", EXIT_DEGRADED);
    assert_string_equal(out, "disruption-budget\n");
}

static void command__access__reviews_or_roles(void **state)
{
    (void)state;
    start(NO_RIGHT);
    EXPECT("doctor -o table", EXIT_DEGRADED);
    SAYS(out, "pg may not update leases/pg");
    SAYS(out, "verbs [update], resourceNames [pg]");
    stop(NULL);
    start(NO_REVIEWS);
    EXPECT("doctor -o table", EXIT_DONE);
    SAYS(out, "pg may do what the members do");
    assert_int_equal(*changes, 0);
}

static void command__no_rights__unreachable(void **state)
{
    (void)state;
    start(VIEWER);
    EXPECT("doctor -o table", EXIT_UNREACHABLE);
    SAYS(err, "your account may not list statefulsets");
    assert_int_equal(*changes, 0);
}

int main(void)
{
#define CHECK(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        CHECK(healthy__all_ok),
        CHECK(statefulset__shape),
        CHECK(settings__valid_equal_to_replicas),
        CHECK(settings__cluster_wide_ones_and_variables_count),
        CHECK(lease__one_set_each),
        CHECK(image__version_named),
        CHECK(grace__longer_than_every_stop),
        CHECK(probes__liveness),
        CHECK(probes__startup_and_readiness),
        CHECK(probes__another_rest_port),
        CHECK(secrets__exist_with_keys),
        CHECK(services__select_by_role),
        CHECK(services__further_ones_for_writers),
        CHECK(slices__lead_to_the_primary_alone),
        CHECK(services__role_label_of_the_settings),
        CHECK(budget__lets_drain),
        CHECK(autoscaler__none),
        CHECK(placement__several_nodes_and_zones),
        CHECK(mesh__not_in_the_pods),
        CHECK(access__from_roles),
        CHECK(access__bindings_that_count),
        CHECK(latency__against_the_profile),
        CHECK(clocks__read_and_compared),
        CHECK(nonsense__no_crash),
        cmocka_unit_test_teardown(command__healthy__reads_only, stop),
        cmocka_unit_test_teardown(command__json__stable_keys, stop),
        cmocka_unit_test_teardown(command__access__reviews_or_roles, stop),
        cmocka_unit_test_teardown(command__no_rights__unreachable, stop),
    };

    unsetenv("PGHA_CLUSTER");
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
