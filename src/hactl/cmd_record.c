/* record, and explain from a record: what a member saw and decided, also after it died. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "config/config.h"
#include "flight/replay.h"
#include "flight/story.h"
#include "hactl/commands.h"
#include "hactl/session.h"

#define PATH_SIZE 4096
#define RECORD_BYTES (16 * 1024 * 1024)

static const char *env_or(const char *name, const char *other)
{
    const char *s = getenv(name);

    return s && *s ? s : other;
}

/* Where this pod's member keeps its state: guard's rule, from the same environment. */
static bool state_dir(char *dst, size_t size)
{
    const char *data = env_or("PGHA_POSTGRES_DATA_DIR", env_or("PGDATA", "/var/lib/postgresql/data"));
    const char *state = getenv("PGHA_STATE_DIR");
    size_t n = strlen(data);

    if (state && *state)
        return str_copy(dst, size, state);
    while (n > 1 && data[n - 1] == '/')
        n--;
    while (n > 1 && data[n - 1] != '/')
        n--;
    return str_format(dst, size, "%.*spghad", (int)n, data);
}

static int load(struct session *s, struct flight *f, const char *path)
{
    char dir[PATH_SIZE];
    struct err e;

    if (!path && !state_dir(dir, sizeof(dir)))
        return session_fail(s, EXIT_USAGE, NULL, "the path of the data directory is too long");
    if (flight_load(f, path ? path : dir, &e)) {
        if (f->foreign_files > 0)
            fprintf(s->err, "hactl: %u older files are of another build and are left out\n",
                    f->foreign_files);
        return EXIT_DONE;
    }
    return session_fail(s, EXIT_FAILED,
                        path ? NULL : "A record is read in the member's own pod; elsewhere give a "
                                      "copy with --file, or name the member: hactl record POD.",
                        "%s", e.msg);
}

/* ---- record ---- */

/* What is written to standard output there becomes the file here. */
static int record_of(struct session *s, const char *pod, const char *file)
{
    char kubectl[] = "kubectl", exec[] = "exec", dashes[] = "--", hactl[] = "hactl";
    char verb[] = "record", to[] = "--file=-", ns[80], context[280], config[PATH_SIZE], name[80];
    const char *given[] = {s->args.value[OPT_NAMESPACE], s->args.value[OPT_CONTEXT],
                           s->args.value[OPT_KUBECONFIG]};
    char *argv[12] = {kubectl, exec};
    size_t n = 2;

    if (!str_format(name, sizeof(name), "%s", pod) || name[0] == '-' ||
        !str_format(ns, sizeof(ns), "--namespace=%s", given[0] ? given[0] : "") ||
        !str_format(context, sizeof(context), "--context=%s", given[1] ? given[1] : "") ||
        !str_format(config, sizeof(config), "--kubeconfig=%s", given[2] ? given[2] : ""))
        return session_fail(s, EXIT_USAGE, NULL, "an argument is too long, or no name of a pod");
    if (given[0])
        argv[n++] = ns;
    if (given[1])
        argv[n++] = context;
    if (given[2])
        argv[n++] = config;
    argv[n++] = name;
    argv[n++] = dashes;
    argv[n++] = hactl;
    argv[n++] = verb;
    argv[n] = to;
    fflush(s->out);
    if (!str_eq(file, "-")) {
        int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
            return session_fail(s, EXIT_FAILED, NULL, "%s: %s", file, strerror(errno));
    }
    execvp(kubectl, argv);
    return session_fail(s, EXIT_FAILED, "Install kubectl, or run `hactl record` in the pod.",
                        "cannot run kubectl: %s", strerror(errno));
}

static int write_record(struct session *s, const struct flight *f, const char *file)
{
    struct buf b;
    struct err e;
    int rc = EXIT_DONE;

    buf_init(&b, RECORD_BYTES);
    if (!flight_export(f, &b))
        rc = session_fail(s, EXIT_FAILED, NULL, "the record is larger than a record can be");
    else if (str_eq(file, "-") && fwrite(b.data, 1, b.len, s->out) != b.len)
        rc = session_fail(s, EXIT_FAILED, NULL, "cannot write: %s", strerror(errno));
    else if (!str_eq(file, "-") && !fd_replace_file(file, b.data, b.len, 0600, &e))
        rc = session_fail(s, EXIT_FAILED, NULL, "%s", e.msg);
    else if (!str_eq(file, "-"))
        fprintf(s->out, "%s: %zu turns of %s, %zu bytes\n", file, f->turns, f->header.member.s, b.len);
    buf_done(&b);
    return rc;
}

int cmd_record(struct session *s)
{
    static struct flight f;
    const char *pod = s->args.operands ? s->args.operand[0] : NULL;
    const char *file = s->args.value[OPT_FILE];
    char name[HA_NAME_SIZE + 16];
    int rc;

    if (!file && pod && str_format(name, sizeof(name), "%s.flight", pod))
        file = name;
    if (file && str_eq(file, "-") && s->out_tty)
        return session_fail(s, EXIT_USAGE, "Redirect it, or give --file NAME.",
                            "a record is no text for a terminal");
    if (pod && !str_eq(pod, env_or("POD_NAME", "")))
        return file ? record_of(s, pod, file) : EXIT_USAGE;
    if ((rc = load(s, &f, NULL)) != EXIT_DONE)
        return rc;
    if (!file && str_format(name, sizeof(name), "%s.flight", f.header.member.s))
        file = name;
    rc = file ? write_record(s, &f, file) : EXIT_FAILED;
    flight_done(&f);
    return rc;
}

/* ---- explain --what-if ---- */

struct what_if {
    struct session *s;
    char *env[ARGS_SETS_MAX + 24];
    size_t n;
    bool changed; /* some turn has other settings than it had */
};

static void set_env(struct what_if *w, const char *name, const char *value)
{
    char text[512], *at;

    if (!str_format(text, sizeof(text), "PGHA_%s=%s", name, value) || !(at = strdup(text)))
        return;
    for (char *p = at; *p && *p != '='; p++)
        *p = *p == '.' ? '_' : 'a' <= *p && *p <= 'z' ? (char)(*p - 32) : *p;
    w->env[w->n++] = at;
    w->env[w->n] = NULL;
}

static void set_ms(struct what_if *w, const char *name, int64_t ms)
{
    char text[32];

    if (str_format(text, sizeof(text), "%lldms", (long long)ms))
        set_env(w, name, text);
}

static bool gives(const struct session *s, const char *name)
{
    for (size_t i = 0; i < s->args.sets; i++) {
        size_t n = strlen(name);
        if (strncmp(s->args.set[i], name, n) == 0 && s->args.set[i][n] == '=')
            return true;
    }
    return false;
}

/* The recorded settings as the environment of a member, then what is given: the same parser and the
 * same relations between the numbers as for a real one. A profile brings its own numbers. */
static void fill_env(struct what_if *w, const struct settings *was)
{
    static const char *const modes[] = {"async", "sync", "quorum"};
    static const char *const crash[] = {"auto", "restart", "failover"};
    char number[24];

    if (!gives(w->s, "lease.profile")) {
        set_ms(w, "lease.duration", was->lease_ms);
        set_ms(w, "lease.renew", was->renew_ms);
        set_ms(w, "lease.retry", was->retry_ms);
        set_ms(w, "lease.fence", was->fence_ms);
        set_ms(w, "lease.kill", was->kill_ms);
        set_ms(w, "lease.request", was->request_ms);
    }
    set_env(w, "lease.failsafe", was->failsafe ? "true" : "false");
    set_ms(w, "failover.early_after", was->early_ms);
    set_env(w, "replication.mode", was->mode <= REPL_QUORUM ? modes[was->mode] : "");
    set_env(w, "replication.strict", was->strict ? "true" : "false");
    set_ms(w, "replication.degrade_after", was->degrade_ms);
    set_ms(w, "replication.leave_after", was->leave_ms);
    set_ms(w, "failover.stop_timeout", was->stop_ms);
    set_env(w, "failover.crash_policy",
            was->crash_policy <= CRASH_FAILOVER ? crash[was->crash_policy] : "");
    set_env(w, "failover.collation_change", was->collation_any ? "allow" : "refuse");
    set_env(w, "tags.nofailover", was->nofailover ? "true" : "false");
    const struct {
        const char *name;
        unsigned long long v;
    } numbers[] = {{"replication.k", was->k},
                   {"failover.switchover_max_lag", was->switchover_lag_bytes},
                   {"cluster.members", was->members},
                   {"tags.priority", was->priority}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (str_format(number, sizeof(number), "%llu", numbers[i].v) &&
            !gives(w->s, numbers[i].name))
            set_env(w, numbers[i].name, number);
    }
}

static void drop_env(struct what_if *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->env[i]);
    w->n = 0;
}

/* A later line for the same option must win: the earlier one is replaced. */
static bool take_given(struct what_if *w, const char *pair, struct err *e)
{
    static const char *const known[] = {"lease.", "replication.", "failover.", "cluster.members",
                                        "tags.priority", "tags.nofailover"};
    char name[64];
    const char *eq = strchr(pair, '=');
    bool ours = false;

    for (size_t i = 0; eq && i < sizeof(known) / sizeof(known[0]); i++)
        ours = ours || str_starts(pair, known[i]);
    if (!ours || !str_format(name, sizeof(name), "%.*s", (int)(eq - pair), pair))
        return err_set(e, ERR_INVALID, "--what-if %.60s: not KEY=VALUE of a setting that decisions "
                                       "depend on (lease.*, replication.*, failover.*, "
                                       "cluster.members, tags.priority, tags.nofailover)", pair);
    size_t before = w->n;
    set_env(w, name, eq + 1);
    for (size_t i = 0; w->n > before && i < before; i++) {
        size_t n = (size_t)(strchr(w->env[before], '=') - w->env[before]) + 1;
        if (strncmp(w->env[i], w->env[before], n) != 0)
            continue;
        free(w->env[i]);
        w->env[i] = w->env[before];
        w->env[before] = NULL;
        w->n = before;
        break;
    }
    return true;
}

static bool change(void *ctx, const struct settings *was, struct settings *now, struct err *e)
{
    struct what_if *w = ctx;
    struct config c = {0};
    char nothing[32];
    struct config_sources from = {.file = nothing, .env = w->env, .check_only = true};
    /* An empty file, or a configuration of this pod would be read. */
    int fd = memfd_create("settings", MFD_CLOEXEC);
    bool ok = (fd >= 0 && str_format(nothing, sizeof(nothing), "/proc/self/fd/%d", fd)) ||
              err_errno(e, ERR_FATAL, "memfd_create");

    w->n = 0;
    fill_env(w, was);
    for (size_t i = 0; ok && i < w->s->args.sets; i++)
        ok = take_given(w, w->s->args.set[i], e);
    ok = ok && config_load(&c, &from, e);
    if (ok) {
        config_settings(&c, now);
        config_done(&c);
        w->changed = w->changed || memcmp(was, now, sizeof(*now)) != 0;
    }
    drop_env(w);
    fd_close(&fd);
    return ok;
}

static void print_stretch(void *ctx, const struct flight_stretch *x)
{
    struct session *s = ctx;
    const struct rule *was = &core_rules[x->recorded], *now = &core_rules[x->other];
    char from[FLIGHT_STAMP_SIZE], to[FLIGHT_STAMP_SIZE];

    flight_stamp(from, x->from_us);
    flight_stamp(to, x->to_us);
    fprintf(s->out, "%s", from);
    if (x->turns > 1)
        fprintf(s->out, " to %s (%zu turns)", to, x->turns);
    fprintf(s->out, "\n    decided:          %s (%s)\n    would have been:  %s (%s)\n", was->id,
            was->reason, now->id, now->reason);
}

static int explain_what_if(struct session *s, const struct flight *f)
{
    static struct what_if w;
    struct flight_settings set = {change, &w};
    struct err e;
    size_t turns, differ;

    w = (struct what_if){.s = s};
    if (!flight_what_if(f, &set, print_stretch, s, &turns, &differ, &e))
        return session_fail(s, EXIT_USAGE, "The settings are checked as for a real member.", "%s",
                            e.msg);
    fprintf(s->out, "%zu of the %zu recorded turns of %s would have been decided by another rule", differ,
            turns, f->header.member.s);
    fputs(w.changed ? ".\n" : ": these are the settings that it had.\n", s->out);
    if (differ > 0)
        fputs("Each turn is decided with what was known then: what follows the first difference "
              "might not have happened.\n", s->out);
    if (w.changed)
        fputs("Recorded are turns with news, and four a second while the Lease is not renewed.\n",
              s->out);
    return EXIT_DONE;
}

/* ---- explain --at, and the whole story ---- */

/* The millisecond that a story shows may have seen several decisions: all of them. */
static bool tell_decisions_within(FILE *out, const struct flight *f, int64_t from_us, int64_t to_us)
{
    static struct flight_cursor c;
    uint32_t rule = UINT32_MAX;
    bool told = false;

    flight_begin(&c, f);
    while (flight_next(&c) && c.meta.wall_us <= to_us) {
        if (c.meta.wall_us >= from_us && c.turn.verdict.rule != rule) {
            fputs(told ? "\n" : "", out);
            flight_tell_turn(out, &c);
            told = true;
        }
        rule = c.turn.verdict.rule;
    }
    return told;
}

static int explain_at(struct session *s, const struct flight *f, const char *text)
{
    static struct flight_cursor c;
    int64_t at_us, ago_ms;

    if (duration_parse(text, &ago_ms))
        at_us = clock_wall_us() - ago_ms * 1000;
    else if (!flight_stamp_parse(text, &at_us))
        return session_fail(s, EXIT_USAGE, NULL,
                            "--at: \"%.60s\" is neither a time such as 2026-11-21T08:00:00Z (UTC) "
                            "nor how long ago, such as 5m", text);
    else if (tell_decisions_within(s->out, f, at_us - 999, at_us))
        return EXIT_DONE;
    if (!flight_seek(&c, f, at_us))
        fputs("The record begins later than that; its first turn:\n", s->out);
    flight_tell_turn(s->out, &c);
    return EXIT_DONE;
}

bool explain_wants_record(const struct session *s)
{
    return args_has(&s->args, OPT_AT) || args_has(&s->args, OPT_WHAT_IF) ||
           args_has(&s->args, OPT_FILE);
}

int explain_record(struct session *s)
{
    static struct flight f;
    int rc = load(s, &f, s->args.value[OPT_FILE]);

    if (rc != EXIT_DONE)
        return rc;
    if (args_has(&s->args, OPT_WHAT_IF))
        rc = explain_what_if(s, &f);
    else if (args_has(&s->args, OPT_AT))
        rc = explain_at(s, &f, s->args.value[OPT_AT]);
    else
        flight_tell_story(s->out, &f);
    flight_done(&f);
    return rc;
}
