/* history, explain, dsn, psql, version, help, completion. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/cluster.h"
#include "hactl/commands.h"
#include "hactl/jget.h"
#include "hactl/operation.h"
#include "hactl/render.h"
#include "hactl/session.h"
#include "hactl/socket.h"
#include "kube/intent.h"

#define EXPLAIN_MS 2000
#define LOGIN_MS 300
#define DSN_MAX 4096

static int gather(struct session *s, struct cluster_view *v, bool live)
{
    int rc = session_connect(s);

    if (rc != EXIT_DONE)
        return rc;
    return api_is_socket(s->api) ? socket_gather(s, v) : cluster_gather(s, v, live);
}

static bool as_document(const struct session *s)
{
    return s->output == OUTPUT_JSON || s->output == OUTPUT_YAML;
}

/* --- history --- */

static const char *ms_text(char *dst, size_t size, struct json_object *ms)
{
    if (!json_object_is_type(ms, json_type_int))
        return "-";
    return str_format(dst, size, "%lld ms", (long long)jint(ms, 0)) ? dst : "?";
}

/* The form of REST's /history, so that both ways of asking give one document. */
static struct json_object *change_json(const struct history_entry *h)
{
    struct json_object *o = json_object_new_object(), *phases = json_object_new_object();
    char time[40], lsn[32];

    json_object_object_add(o, "time", str_microtime(time, sizeof(time), h->time_s * 1000000)
                                          ? json_object_new_string(time)
                                          : NULL);
    json_object_object_add(o, "cause", json_object_new_string(h->cause));
    json_object_object_add(o, "reason", json_object_new_string(h->reason));
    json_object_object_add(o, "from", h->from.s[0] ? json_object_new_string(h->from.s) : NULL);
    json_object_object_add(o, "to", json_object_new_string(h->to.s));
    json_object_object_add(o, "epoch", json_object_new_int64((int64_t)h->epoch));
    json_object_object_add(o, "timeline", json_object_new_int64(h->timeline));
    json_object_object_add(
        o, "lsn", h->lsn ? json_object_new_string(lsn_text(lsn, sizeof(lsn), h->lsn)) : NULL);
    json_object_object_add(o, "lost_bytes",
                           h->lost_bytes >= 0 ? json_object_new_int64(h->lost_bytes) : NULL);
    json_object_object_add(o, "write_gap_ms",
                           h->write_gap_ms >= 0 ? json_object_new_int(h->write_gap_ms) : NULL);
    for (size_t i = 0; i < PHASE_COUNT; i++) {
        if (h->phase_ms[i] >= 0)
            json_object_object_add(phases, intent_phase_name((enum intent_phase)i),
                                   json_object_new_int(h->phase_ms[i]));
    }
    json_object_object_add(o, "phases_ms", phases);
    return o;
}

static void phases_cell(char *dst, size_t size, struct json_object *phases)
{
    size_t used = 0;

    dst[0] = '\0';
    if (!json_object_is_type(phases, json_type_object))
        return;
    const struct json_object_iterator end = json_object_iter_end(phases);
    for (struct json_object_iterator it = json_object_iter_begin(phases);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        int n = snprintf(dst + used, size - used, "%s%s %lld", used ? ", " : "",
                         json_object_iter_peek_name(&it),
                         (long long)jint(json_object_iter_peek_value(&it), 0));
        if (n < 0 || (size_t)n >= size - used) {
            dst[used] = '\0';
            return;
        }
        used += (size_t)n;
    }
}

static void history_row(struct table *t, struct json_object *o)
{
    char time[40], epoch[24], tl[24], gap[32], lost[32], phases[256];
    struct json_object *bytes = jget(o, "lost_bytes", NULL);
    size_t len;

    jcopy(time, sizeof(time), jget(o, "time", NULL));
    if ((len = strcspn(time, ".")) + 1 < sizeof(time) && time[len] == '.')
        memcpy(time + len, "Z", 2);
    phases_cell(phases, sizeof(phases), jget(o, "phases_ms", NULL));
    jcopy(epoch, sizeof(epoch), jget(o, "epoch", NULL));
    jcopy(tl, sizeof(tl), jget(o, "timeline", NULL));
    const char *cells[] = {
        time,
        jtext(jget(o, "cause", NULL)),
        jtext(jget(o, "from", NULL)),
        jtext(jget(o, "to", NULL)),
        tl,
        ms_text(gap, sizeof(gap), jget(o, "write_gap_ms", NULL)),
        bytes_text(lost, sizeof(lost), jint(bytes, -1)),
        jtext(jget(o, "reason", NULL)),
        epoch,
        jtext(jget(o, "lsn", NULL)),
        phases,
    };

    table_row(t, cells, -1, NULL);
}

static const char *const history_columns[] = {"TIME", "CAUSE",  "FROM",  "TO",  "TL",       "GAP",
                                              "LOST", "REASON", "EPOCH", "LSN", "PHASES MS"};

/* Puts list. */
static void show_history(struct session *s, struct json_object *list)
{
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

    if (as_document(s)) {
        render_document(s, list);
        return;
    }
    struct table *t = table_new(s, history_columns, s->output == OUTPUT_WIDE ? 11 : 8, false);
    for (size_t i = 0; i < n; i++)
        history_row(t, json_object_array_get_idx(list, i));
    table_print(t);
    json_object_put(list);
}

/* Lines that cannot be read (of a newer version) are counted and passed over. */
static struct json_object *decode_history(const char *text, size_t *bad)
{
    struct json_object *list = json_object_new_array();

    while (*text) {
        size_t len = strcspn(text, "\n");
        struct history_entry h;

        if (len > 0 && history_decode(text, len, &h, NULL))
            json_object_array_add(list, change_json(&h));
        else
            *bad += len > 0;
        text += len + (text[len] == '\n');
    }
    return list;
}

int cmd_history(struct session *s)
{
    struct json_object *cm = NULL, *doc;
    struct err e;
    size_t bad = 0;
    int rc = session_connect(s);

    if (rc != EXIT_DONE)
        return rc;
    if (api_is_socket(s->api)) {
        if (!(doc = socket_document(s, "/history")))
            return EXIT_UNREACHABLE;
        show_history(s, json_object_get(jget(doc, "history", NULL)));
        json_object_put(doc);
        return EXIT_DONE;
    }
    if (!state_read(s, &cm, &e)) {
        if (e.kind == ERR_NOT_FOUND)
            return session_fail(s, EXIT_FAILED, "Check --cluster and -n.",
                                "cluster %s has no state in namespace %s", s->cluster,
                                api_namespace(s->api));
        return session_fail_err(s, "read the cluster's state", &e);
    }
    show_history(s, decode_history(jtext(jget(cm, "data", "history", NULL)), &bad));
    json_object_put(cm);
    if (bad > 0)
        return session_fail(s, EXIT_FAILED, "A newer hactl may read them.",
                            "%zu lines of the history could not be read", bad);
    return EXIT_DONE;
}

/* --- explain --- */

static struct json_object *ask_decisions(struct session *s, const struct member_view *m)
{
    struct api_fetch f = {.path = "/explain"};

    if (api_is_socket(s->api)) {
        api_fetch_all(s->api, &f, 1, clock_boot_ms() + EXPLAIN_MS);
        return f.doc;
    }
    if (!m || !m->address[0])
        return NULL;
    str_copy(f.host, sizeof(f.host), m->address);
    f.port = m->rest_port;
    api_fetch_all(s->api, &f, 1, clock_boot_ms() + EXPLAIN_MS);
    return f.doc;
}

static void show_decisions(struct session *s, struct json_object *doc)
{
    static const char *const columns[] = {"TIME", "RULE", "REASON"};
    struct json_object *list = jget(doc, "decisions", NULL);
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    struct table *t = table_new(s, columns, 3, false);

    for (size_t i = 0; i < n; i++) {
        struct json_object *d = json_object_array_get_idx(list, i);
        const char *time = jtext(jget(d, "time", NULL));
        const char *cells[] = {*time ? time : jtext(jget(d, "at", NULL)),
                               jtext(jget(d, "rule", NULL)), jtext(jget(d, "reason", NULL))};
        table_row(t, cells, -1, NULL);
    }
    table_print(t);
}

static struct json_object *explain_json(const struct cluster_view *v, struct json_object *decisions,
                                        const char *of)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "name", json_object_new_string(m->name));
        json_object_object_add(row, "rule", m->rule[0] ? json_object_new_string(m->rule) : NULL);
        json_object_object_add(row, "reason",
                               m->reason[0] ? json_object_new_string(m->reason) : NULL);
        json_object_array_add(list, row);
    }
    json_object_object_add(o, "members", list);
    json_object_object_add(o, "decisions_of", of ? json_object_new_string(of) : NULL);
    json_object_object_add(o, "decisions", json_object_get(jget(decisions, "decisions", NULL)));
    return o;
}

int cmd_explain(struct session *s)
{
    static const char *const columns[] = {"MEMBER", "ROLE", "RULE", "REASON"};
    const struct member_view *m;
    struct cluster_view v;
    int rc;

    if (explain_wants_record(s))
        return explain_record(s);
    if ((rc = gather(s, &v, true)) != EXIT_DONE)
        return rc;
    m = s->args.operands ? cluster_need_member(s, &v, s->args.operand[0]) : cluster_primary(&v);
    if (s->args.operands && !m)
        return EXIT_USAGE;
    struct json_object *doc = ask_decisions(s, m);
    if (as_document(s)) {
        render_document(s, explain_json(&v, doc, doc && m ? m->name : NULL));
        json_object_put(doc);
        return EXIT_DONE;
    }
    struct table *t = table_new(s, columns, 4, false);
    for (size_t i = 0; i < v.n; i++) {
        const char *cells[] = {v.m[i].name, role_text(v.m[i].role), v.m[i].rule, v.m[i].reason};
        table_row(t, cells, -1, NULL);
    }
    table_print(t);
    for (size_t i = 0; i < v.alarms_n; i++) {
        fprintf(s->out, "%sdegraded%s: ", color_on(s, "31"), color_off(s));
        put_clean(s->out, v.alarms[i]);
        fputc('\n', s->out);
    }
    if (doc) {
        fprintf(s->out, "\nLast decisions of %s:\n", m ? m->name : "this member");
        show_decisions(s, doc);
    } else if (m) {
        fprintf(s->out,
                "\n%s cannot be asked from here for its last decisions; in its pod:\n"
                "  kubectl exec -n %s %s -- hactl explain %s\n",
                m->name, v.ns, m->name, m->name);
    }
    json_object_put(doc);
    return EXIT_DONE;
}

/* --- dsn, psql --- */

static bool role_wanted(const struct session *s, const char *role)
{
    const char *r = s->args.value[OPT_ROLE];

    return str_eq(r ? r : "primary", role);
}

/* RFC 3986, 2.3: everything else is escaped, so no name can end its part of the URI. */
static void put_escaped(struct buf *b, const char *s)
{
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                     (*s >= '0' && *s <= '9') || strchr("-._~", *s);
        if (plain)
            buf_put(b, s, 1);
        else
            buf_printf(b, "%%%02X", (unsigned char)*s);
    }
}

static size_t put_hosts(struct session *s, const struct cluster_view *v, struct buf *b)
{
    bool dns = args_has(&s->args, OPT_DNS);
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++) {
        const struct member_view *m = &v->m[i];
        bool v6 = strchr(m->address, ':') != NULL;
        if (!m->address[0] || m->terminating)
            continue;
        if (dns)
            buf_printf(b, "%s%s.%s-pods.%s.svc", n ? "," : "", m->name, v->name, v->ns);
        else
            buf_printf(b, "%s%s%s%s", n ? "," : "", v6 ? "[" : "", m->address, v6 ? "]" : "");
        buf_printf(b, ":%lld", (long long)m->port);
        n++;
    }
    return n;
}

struct login {
    char user[128], db[128];
};

/* What was asked for, else what libpq itself would take from the environment, else what the cluster was
 * made with, else postgres. */
static void find_login(struct session *s, const struct cluster_view *v, struct login *l)
{
    const char *user = s->args.value[OPT_USER], *db = s->args.value[OPT_DBNAME];
    const struct member_view *p = cluster_primary(v);
    struct api_fetch f = {.path = "/config"};

    user = user ? user : getenv("PGUSER");
    db = db ? db : getenv("PGDATABASE");
    if (!(user && db) && (api_is_socket(s->api) || (p && p->source == SOURCE_LIVE))) {
        if (p)
            str_copy(f.host, sizeof(f.host), p->address);
        f.port = p ? p->rest_port : 0;
        api_fetch_all(s->api, &f, 1, clock_boot_ms() + LOGIN_MS);
    }
    jcopy(l->user, sizeof(l->user), jget(f.doc, "postgres", "superuser", NULL));
    jcopy(l->db, sizeof(l->db), jget(f.doc, "bootstrap", "database", NULL));
    json_object_put(f.doc);
    if (user || !l->user[0])
        str_copy(l->user, sizeof(l->user), user ? user : "postgres");
    /* As the official image: the database is called like its user unless it was named. */
    if (db || !l->db[0])
        str_copy(l->db, sizeof(l->db), db ? db : "postgres");
}

static int make_dsn(struct session *s, struct buf *b)
{
    struct cluster_view v;
    struct login l;
    size_t n;
    int rc = gather(s, &v, true); /* the port is theirs to tell */

    if (rc != EXIT_DONE)
        return rc;
    find_login(s, &v, &l);
    buf_puts(b, "postgresql://");
    put_escaped(b, l.user);
    buf_puts(b, "@");
    n = put_hosts(s, &v, b);
    buf_puts(b, "/");
    put_escaped(b, l.db);
    /* A member that is away must not cost the whole connection attempt. */
    buf_printf(b, "?target_session_attrs=%s&connect_timeout=5",
               args_has(&s->args, OPT_REPLICA) || role_wanted(s, "replica") ? "prefer-standby"
               : role_wanted(s, "primary")                                  ? "read-write"
                                                                            : "any");
    if (n == 0)
        return session_fail(s, EXIT_FAILED, "See `hactl list`.",
                            "no member of %s has an address yet", v.name);
    return b->overflow ? session_fail(s, EXIT_FAILED, NULL, "the connection string is too long")
                       : EXIT_DONE;
}

int cmd_dsn(struct session *s)
{
    struct buf b;
    int rc;

    buf_init(&b, DSN_MAX);
    rc = make_dsn(s, &b);
    if (rc == EXIT_DONE && as_document(s)) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "dsn", json_object_new_string(buf_str(&b)));
        render_document(s, o);
    } else if (rc == EXIT_DONE) {
        fprintf(s->out, "%s\n", buf_str(&b));
    }
    buf_done(&b);
    return rc;
}

int cmd_psql(struct session *s)
{
    char program[] = "psql", flag[] = "--dbname";
    char *argv[ARGS_OPERANDS_MAX + 4] = {program, flag};
    struct buf b;
    int rc;

    buf_init(&b, DSN_MAX);
    rc = make_dsn(s, &b);
    if (rc == EXIT_DONE) {
        argv[2] = b.data;
        for (size_t i = 0; i < s->args.operands; i++) {
            argv[3 + i] = strdup(s->args.operand[i]);
            must(argv[3 + i]);
        }
        fflush(s->out);
        signal(SIGPIPE, SIG_DFL); /* ignored for the HTTP client, and that would be inherited */
        execvp(program, argv);
        rc = session_fail(s, EXIT_FAILED, "Install it (postgresql-client), or use `hactl dsn`.",
                          "cannot run psql: %s", strerror(errno));
        for (size_t i = 0; i < s->args.operands; i++)
            free(argv[3 + i]);
    }
    buf_done(&b);
    return rc;
}

/* --- about hactl itself --- */

int cmd_version(struct session *s)
{
    static const char *const columns[] = {"MEMBER", "ROLE", "PGHAD", "POSTGRESQL"};
    struct cluster_view v;
    struct session quiet = *s;
    int rc;

    if (as_document(s)) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "hactl", json_object_new_string(PGHAD_VERSION));
        render_document(s, o);
        return EXIT_DONE;
    }
    fprintf(s->out, "hactl %s\n", PGHAD_VERSION);
    /* The members are an extra: without a cluster this command still answers. */
    if (!(quiet.err = fopen("/dev/null", "w")))
        return EXIT_DONE;
    quiet.deadline_ms = clock_boot_ms() + EXPLAIN_MS;
    rc = gather(&quiet, &v, true);
    fclose(quiet.err);
    s->api = quiet.api;
    if (rc != EXIT_DONE)
        return EXIT_DONE;
    struct table *t = table_new(s, columns, 4, false);
    for (size_t i = 0; i < v.n; i++) {
        const char *cells[] = {v.m[i].name, role_text(v.m[i].role), v.m[i].daemon,
                               v.m[i].version};
        table_row(t, cells, -1, NULL);
    }
    table_print(t);
    return EXIT_DONE;
}

int cmd_help(struct session *s)
{
    const struct command *c;

    if (s->output == OUTPUT_NAME) {
        for (size_t i = 0; (c = command_at(i)); i++)
            fprintf(s->out, "%s\n", c->name);
        return EXIT_DONE;
    }
    if (s->args.operands == 0) {
        help_overview(s->out);
        return EXIT_DONE;
    }
    if (str_eq(s->args.operand[0], "reference")) { /* the source of docs/reference/hactl.md */
        help_reference(s->out);
        return EXIT_DONE;
    }
    if (!(c = command_find(s->args.operand[0])))
        return session_fail(s, EXIT_USAGE, "See hactl help.", "unknown command \"%.60s\"",
                            s->args.operand[0]);
    help_command(s->out, c);
    return EXIT_DONE;
}

int cmd_completion(struct session *s)
{
    if (help_completion(s->out, s->args.operand[0]))
        return EXIT_DONE;
    return session_fail(s, EXIT_USAGE, NULL, "completion: \"%.60s\" is not one of bash, zsh, fish",
                        s->args.operand[0]);
}
