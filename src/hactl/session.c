/* One run: parse, connect, dispatch, say what went wrong. */
#include "hactl/session.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/commands.h"
#include "hactl/jget.h"
#include "hactl/render.h"

const char *color_on(const struct session *s, const char *code)
{
    /* Few codes, so static texts: no buffer to manage in every format. */
    static const struct {
        const char *code, *sequence;
    } table[] = {{"1", "\033[1m"},   {"31", "\033[31m"},   {"32", "\033[32m"},  {"33", "\033[33m"},
                 {"36", "\033[36m"}, {"1;31", "\033[1;31m"}, {"1;32", "\033[1;32m"}};

    for (size_t i = 0; s->color && i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_eq(table[i].code, code))
            return table[i].sequence;
    }
    return "";
}

const char *color_off(const struct session *s)
{
    return s->color ? "\033[0m" : "";
}

int session_fail(struct session *s, int code, const char *hint, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fflush(s->out);
    fputs("hactl: ", s->err);
    put_clean(s->err, text);
    fputc('\n', s->err);
    if (hint && *hint) {
        fputs("  ", s->err);
        put_clean(s->err, hint);
        fputc('\n', s->err);
    }
    return code;
}

/* Whom was asked, and what may be wrong with that. */
static int fail_of_server(struct session *s, const char *doing, const struct err *e)
{
    const char *advice =
        e->code == 401 ? "It does not know the account: log in again."
        : e->kind == ERR_DENIED
            ? "The account needs rights on leases, pods and configmaps in the namespace: the Roles "
              "viewer and operator have them."
            : "Is the API server up? Inside a pod --socket asks the agent itself.";
    char whom[512], hint[1024];

    (void)api_whom(s->api, whom, sizeof(whom));
    if (!*whom || !str_format(hint, sizeof(hint), "Asked: %s. %s", whom, advice))
        str_copy(hint, sizeof(hint), advice);
    return session_fail(s, EXIT_UNREACHABLE, hint, "%s: %s", doing, e->msg);
}

int session_fail_err(struct session *s, const char *doing, const struct err *e)
{
    switch (e->kind) {
    case ERR_TRANSIENT:
    case ERR_TIMEOUT:
    case ERR_DENIED:
        return fail_of_server(s, doing, e);
    case ERR_CONFLICT:
        return session_fail(s, EXIT_FAILED, "Somebody else changed it meanwhile; try again.",
                            "%s: %s", doing, e->msg);
    case ERR_NONE:
    case ERR_NOT_FOUND:
    case ERR_INVALID:
    case ERR_CORRUPT:
    case ERR_FATAL:
    case ERR_BUG:
        break;
    }
    return session_fail(s, EXIT_FAILED, NULL, "%s: %s", doing, e->msg);
}

void session_hush(struct session *s, struct hush *h)
{
    *h = (struct hush){.err = s->err};
    must((s->err = open_memstream(&h->text, &h->n)) != NULL);
}

void session_speak(struct session *s, struct hush *h)
{
    must(fclose(s->err) == 0);
    s->err = h->err;
}

bool session_confirm(struct session *s, const char *question)
{
    char line[64];

    if (!s->in_tty) {
        session_fail(s, EXIT_USAGE, "Add --force to go ahead without being asked.",
                     "this needs a confirmation and there is no terminal");
        return false;
    }
    fflush(s->out);
    fprintf(s->err, "%s [y/N] ", question);
    fflush(s->err);
    return fgets(line, sizeof(line), s->in) && (line[0] == 'y' || line[0] == 'Y');
}

void session_set_deadline(struct session *s, int64_t default_ms)
{
    int64_t ms = s->args.timeout_ms ? s->args.timeout_ms : default_ms;

    s->deadline_ms = ms ? clock_boot_ms() + ms : 0;
}

static bool ours(struct json_object *lease)
{
    struct json_object *notes = jget(lease, "metadata", "annotations", NULL);

    if (!json_object_is_type(notes, json_type_object))
        return false;
    const struct json_object_iterator end = json_object_iter_end(notes);
    for (struct json_object_iterator it = json_object_iter_begin(notes);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        if (str_starts(json_object_iter_peek_name(&it), "pghad.io/"))
            return true;
    }
    return false;
}

/* The only cluster of the namespace, or a message that lists them. */
static int find_cluster(struct session *s)
{
    struct json_object *list = NULL;
    char path[256], names[512] = "";
    size_t found = 0, used = 0;
    struct err e;

    if (!str_format(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases",
                    api_namespace(s->api)))
        return session_fail(s, EXIT_USAGE, NULL, "the namespace's name is too long");
    if (!api_call(s->api, "GET", path, NULL, s->deadline_ms, &list, &e))
        return session_fail_err(s, "look for a cluster", &e);
    struct json_object *items = jget(list, "items", NULL);
    size_t n = json_object_is_type(items, json_type_array) ? json_object_array_length(items) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *lease = json_object_array_get_idx(items, i);
        const char *name = jtext(jget(lease, "metadata", "name", NULL));
        if (!ours(lease))
            continue;
        found++;
        str_copy(s->cluster, sizeof(s->cluster), name);
        int w = snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", name);
        if (w > 0 && (size_t)w < sizeof(names) - used)
            used += (size_t)w;
    }
    json_object_put(list);
    if (found == 1)
        return EXIT_DONE;
    if (found == 0)
        return session_fail(s, EXIT_FAILED,
                            "Choose the namespace with -n, or name a cluster with --cluster.",
                            "there is no cluster in namespace %s", api_namespace(s->api));
    return session_fail(s, EXIT_USAGE, "Choose one with --cluster or PGHA_CLUSTER.",
                        "namespace %s has %zu clusters: %s", api_namespace(s->api), found, names);
}

int session_connect(struct session *s)
{
    const char *name = s->args.value[OPT_CLUSTER];
    struct err e;

    if (!s->api && !(s->api = api_new(&s->args, &e)))
        return session_fail(s, e.kind == ERR_INVALID ? EXIT_USAGE : EXIT_UNREACHABLE,
                            e.kind == ERR_NOT_FOUND
                                ? "Give --kubeconfig, set KUBECONFIG, or run in a pod."
                                : NULL,
                            "%s", e.msg);
    if (s->cluster[0] || api_is_socket(s->api))
        return EXIT_DONE;
    if (!name || !*name)
        name = getenv("PGHA_CLUSTER");
    if (!name || !*name)
        return find_cluster(s);
    if (!str_copy(s->cluster, sizeof(s->cluster), name) ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.")] != '\0')
        return session_fail(s, EXIT_USAGE, NULL, "\"%.80s\" is not the name of a cluster", name);
    return EXIT_DONE;
}

static enum output output_of(const char *s)
{
    static const char *const words[] = {"table", "wide", "json", "yaml", "name"};

    for (unsigned i = 0; s && i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_eq(words[i], s))
            return (enum output)i;
    }
    return OUTPUT_TABLE;
}

int hactl_run(int argc, char *const argv[], FILE *in, FILE *out, FILE *err)
{
    struct session s = {.in = in, .out = out, .err = err};
    const char *no_color = getenv("NO_COLOR");
    struct err e;
    int rc;

    s.in_tty = isatty(fileno(in)) == 1;
    s.out_tty = fileno(out) >= 0 && isatty(fileno(out)) == 1;
    if (!args_parse(&s.args, argc, argv, &e))
        return session_fail(&s, EXIT_USAGE, "See hactl help.", "%s", e.msg);
    s.color = s.out_tty && !(no_color && *no_color) && !args_has(&s.args, OPT_NO_COLOR);
    s.output = output_of(s.args.value[OPT_OUTPUT]);
    if (args_has(&s.args, OPT_HELP)) {
        if (s.args.command)
            help_command(out, s.args.command);
        else
            help_overview(out);
        return EXIT_DONE;
    }
    if (!s.args.command) {
        help_overview(err);
        return EXIT_USAGE;
    }
    session_set_deadline(&s, API_REQUEST_MS);
    rc = s.args.command->run(&s);
    fflush(out);
    api_free(s.api);
    return rc;
}
