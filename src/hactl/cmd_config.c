/* show-config, edit-config, config check. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "config/config.h"
#include "hactl/api.h"
#include "hactl/commands.h"
#include "hactl/jget.h"
#include "hactl/operation.h"
#include "hactl/pgcheck.h"
#include "hactl/render.h"
#include "hactl/session.h"
#include "hactl/settings.h"
#include "hactl/socket.h"

#define EDIT_MS 60000

extern char **environ;

static int read_config(struct session *s, struct buf *b)
{
    struct json_object *cm = NULL;
    struct err e;
    int rc = session_connect(s);

    if (rc != EXIT_DONE)
        return rc;
    if (!state_read(s, &cm, &e)) {
        if (e.kind == ERR_NOT_FOUND)
            return session_fail(s, EXIT_FAILED, "Check --cluster and -n.",
                                "cluster %s has no state in namespace %s", s->cluster,
                                api_namespace(s->api));
        return session_fail_err(s, "read the cluster's state", &e);
    }
    bool fits = buf_puts(b, jtext(jget(cm, "data", "config", NULL)));
    json_object_put(cm);
    return fits ? EXIT_DONE
                : session_fail(s, EXIT_FAILED, NULL, "the settings are larger than %d bytes",
                               CONFIG_TEXT_MAX);
}

int cmd_show_config(struct session *s)
{
    struct buf b;
    int rc;

    if (args_has(&s->args, OPT_SOCKET)) { /* the agent knows the settings in force */
        if ((rc = session_connect(s)) != EXIT_DONE)
            return rc;
        struct json_object *o = socket_document(s, "/config");
        if (!o)
            return EXIT_UNREACHABLE;
        render_document(s, o);
        return EXIT_DONE;
    }
    buf_init(&b, CONFIG_TEXT_MAX);
    rc = read_config(s, &b);
    if (rc == EXIT_DONE && (s->output == OUTPUT_JSON || s->output == OUTPUT_YAML)) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "cluster", json_object_new_string(s->cluster));
        json_object_object_add(o, "config", json_object_new_string(buf_str(&b)));
        render_document(s, o);
    } else if (rc == EXIT_DONE) {
        fputs(b.len ? buf_str(&b) : "# no cluster-wide settings\n", s->out);
        if (b.len && !str_ends(buf_str(&b), "\n"))
            fputc('\n', s->out);
    }
    buf_done(&b);
    return rc;
}

/* As system(3): Ctrl-C belongs to the editor while it runs, and it must not inherit our ignored
 * signals. Returns its wait status, or -1 with errno. */
static int spawn_and_wait(char *const argv[])
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
    posix_spawnattr_t attr;
    sigset_t defaults;
    int status = -1, rc;
    pid_t pid;

    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGQUIT);
    sigaddset(&defaults, SIGPIPE);
    must(posix_spawnattr_init(&attr) == 0);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    sigaction(SIGINT, &ignore, &interrupt);
    sigaction(SIGQUIT, &ignore, &quit);
    rc = posix_spawn(&pid, "/bin/sh", NULL, &attr, argv, environ);
    while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGQUIT, &quit, NULL);
    posix_spawnattr_destroy(&attr);
    if (rc != 0)
        errno = rc;
    return status;
}

/* Through the shell, because $EDITOR may carry options; the file is an argument of its own. */
static int run_editor(struct session *s, const char *file)
{
    const char *editor = getenv("VISUAL");
    char command[512];
    int status;

    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        editor = "vi";
    if (!str_format(command, sizeof(command), "%s \"$1\"", editor))
        return session_fail(s, EXIT_USAGE, NULL, "EDITOR is too long");
    char sh[] = "sh", c[] = "-c", name[] = "hactl", path[256];
    must(str_copy(path, sizeof(path), file));
    char *argv[] = {sh, c, command, name, path, NULL};
    fflush(s->out);
    status = spawn_and_wait(argv);
    if (status < 0)
        return session_fail(s, EXIT_FAILED, NULL, "cannot run the editor: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return session_fail(s, EXIT_FAILED, "Set EDITOR to an editor that is installed.",
                            "the editor (%s) failed, nothing was changed", editor);
    return EXIT_DONE;
}

/* Text in, text out; an invalid text may be edited again, and is kept when that is declined. */
static int edit_interactively(struct session *s, const struct buf *before, struct buf *after)
{
    const char *dir = getenv("TMPDIR");
    char path[256];
    struct err e;
    int fd, rc;

    if (!str_format(path, sizeof(path), "%s/hactl-%s-XXXXXX", dir && *dir ? dir : "/tmp",
                    s->cluster) ||
        (fd = mkostemp(path, O_CLOEXEC)) < 0)
        return session_fail(s, EXIT_FAILED, "Set TMPDIR to a writable directory.",
                            "cannot make a temporary file: %s", strerror(errno));
    bool ok = fd_write_all(fd, buf_str(before), before->len, &e);
    close(fd);
    rc = ok ? EXIT_DONE : session_fail_err(s, "write the temporary file", &e);
    while (rc == EXIT_DONE && (rc = run_editor(s, path)) == EXIT_DONE) {
        if (!fd_read_file(path, after, &e)) {
            rc = session_fail_err(s, "read the edited file", &e);
            break;
        }
        if (config_check_cluster_text(buf_str(after), &e))
            break;
        session_fail(s, EXIT_USAGE, NULL, "%s", e.msg);
        if (!s->in_tty || !session_confirm(s, "Edit again?"))
            return session_fail(s, EXIT_USAGE, "hactl edit-config --apply FILE tries it again.",
                                "nothing was changed; your text is in %s", path);
    }
    unlink(path);
    return rc;
}

static int apply_sets(struct session *s, const struct buf *before, struct buf *after)
{
    struct buf next;
    struct err e;
    int rc = EXIT_DONE;

    buf_init(&next, CONFIG_TEXT_MAX);
    buf_puts(after, buf_str(before));
    for (size_t i = 0; rc == EXIT_DONE && i < s->args.sets; i++) {
        const char *eq = strchr(s->args.set[i], '=');
        char path[256];
        size_t len = eq ? (size_t)(eq - s->args.set[i]) : 0;

        if (!eq || len == 0 || len >= sizeof(path)) {
            rc = session_fail(s, EXIT_USAGE, "For example -s replication.mode=sync.",
                              "--set %s: must be KEY=VALUE", s->args.set[i]);
            break;
        }
        memcpy(path, s->args.set[i], len);
        path[len] = '\0';
        if (!settings_set(buf_str(after), path, eq + 1, &next, &e)) {
            rc = session_fail(s, EXIT_USAGE, NULL, "--set %s: %s", path, e.msg);
            break;
        }
        struct buf t = *after;
        *after = next;
        next = t;
    }
    buf_done(&next);
    return rc;
}

static int read_apply(struct session *s, const char *file, struct buf *b)
{
    char chunk[4096];
    struct err e;
    size_t n;

    if (!str_eq(file, "-"))
        return fd_read_file(file, b, &e)
                   ? EXIT_DONE
                   : session_fail(s, EXIT_USAGE, NULL, "--apply: %s", e.msg);
    while ((n = fread(chunk, 1, sizeof(chunk), s->in)) > 0) {
        if (!buf_put(b, chunk, n))
            return session_fail(s, EXIT_USAGE, NULL, "--apply: larger than %d bytes",
                                CONFIG_TEXT_MAX);
    }
    return EXIT_DONE;
}

struct config_write {
    const char *before, *after;
};

static int write_change(struct session *s, struct json_object *data, void *arg)
{
    const struct config_write *w = arg;
    const char *now = jtext(jget(data, "config", NULL));

    if (!str_eq(now, w->before))
        return session_fail(s, EXIT_FAILED, "Look at `hactl show-config` and edit again.",
                            "somebody else changed the settings meanwhile; yours were not written");
    must(json_object_object_add(data, "config", json_object_new_string(w->after)) == 0);
    return EXIT_DONE;
}

static bool write_landed(struct json_object *data, void *arg)
{
    const struct config_write *w = arg;

    return str_eq(jtext(jget(data, "config", NULL)), w->after);
}

static int write_config(struct session *s, const struct buf *before, const struct buf *after)
{
    struct config_write w = {buf_str(before), buf_str(after)};
    struct state_change c = {write_change, write_landed, &w};
    struct err e;
    int rc;

    if (!config_check_cluster_text(w.after, &e))
        return session_fail(s, EXIT_USAGE, "Nothing was changed.", "%s", e.msg);
    if (!settings_diff(s, w.before, w.after)) {
        fputs("no change\n", s->out);
        return EXIT_DONE;
    }
    if (args_has(&s->args, OPT_DRY_RUN)) {
        fputs("dry run: valid, nothing was written\n", s->out);
        return EXIT_DONE;
    }
    if (!args_has(&s->args, OPT_FORCE) && !session_confirm(s, "Apply these settings?"))
        return s->in_tty ? session_fail(s, EXIT_FAILED, NULL, "not confirmed, nothing was written")
                         : EXIT_USAGE;
    session_set_deadline(s, EDIT_MS);
    if ((rc = state_update(s, &c)) == EXIT_DONE)
        fputs("written; the members take it over at once, `hactl list` shows where a restart is "
              "pending\n",
              s->out);
    return rc;
}

int cmd_edit_config(struct session *s)
{
    const char *file = s->args.value[OPT_APPLY];
    struct buf before, after;
    int rc;

    if (file && s->args.sets > 0)
        return session_fail(s, EXIT_USAGE, NULL, "--set and --apply exclude each other");
    if (args_has(&s->args, OPT_SOCKET))
        return session_fail(s, EXIT_USAGE, "Run it without --socket.",
                            "edit-config goes through the Kubernetes API");
    buf_init(&before, CONFIG_TEXT_MAX);
    buf_init(&after, CONFIG_TEXT_MAX);
    rc = read_config(s, &before);
    if (rc == EXIT_DONE)
        rc = file             ? read_apply(s, file, &after)
             : s->args.sets ? apply_sets(s, &before, &after)
                            : edit_interactively(s, &before, &after);
    if (rc == EXIT_DONE)
        rc = write_config(s, &before, &after);
    buf_done(&before);
    buf_done(&after);
    return rc;
}

/* What PostgreSQL itself says of its parameters, each fault with the line of its key. */
static int check_parameters(struct session *s, const struct config *c, const char *file,
                            const char *text)
{
    struct pgcheck p;
    struct err e;

    if (c->postgres.parameters.n == 0)
        return EXIT_DONE;
    if (!pgcheck_run(c, NULL, &p, &e))
        return session_fail(s, EXIT_FAILED, NULL, "postgres.parameters: %s", e.msg);
    if (p.program[0] == '\0') {
        fprintf(s->err, "hactl: postgres.parameters was not checked: %s%s\n",
                *c->postgres.bin_dir ? "there is no server in " : "no server is installed here",
                c->postgres.bin_dir);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < p.n; i++) {
        char path[200], line[40] = "";
        size_t at = str_format(path, sizeof(path), "postgres.parameters.%s", p.fault[i].name)
                        ? settings_line(text, path)
                        : 0;
        if (at > 0)
            (void)str_format(line, sizeof(line), "line %zu: ", at);
        session_fail(s, EXIT_USAGE, NULL, "%s: %spostgres.parameters.%s: %s", file, line,
                     p.fault[i].name, p.fault[i].text);
    }
    return p.n > 0 ? EXIT_USAGE : EXIT_DONE;
}

static int check_file(struct session *s, const char *file, struct buf *text)
{
    bool wide = args_has(&s->args, OPT_CLUSTER_WIDE);
    struct config_sources src = {.file = file, .env = environ, .check_only = true};
    struct config c = {0};
    struct err e;
    int rc;

    if (!fd_read_file(file, text, &e))
        return session_fail(s, EXIT_USAGE, NULL, "%s", e.msg);
    if (wide && !config_check_cluster_text(buf_str(text), &e))
        return session_fail(s, EXIT_USAGE, NULL, "%s", e.msg);
    if (wide) { /* on top of the file of this host, if there is one, as on a member */
        src.file = NULL;
        src.cluster_text = buf_str(text);
    }
    if (!config_load(&c, &src, &e))
        return session_fail(s, EXIT_USAGE, NULL, "%s", e.msg);
    rc = check_parameters(s, &c, file, buf_str(text));
    config_done(&c);
    if (rc == EXIT_DONE)
        fprintf(s->out, "%s: valid\n", file);
    return rc;
}

int cmd_config(struct session *s)
{
    const char *file = s->args.operands > 1 ? s->args.operand[1] : CONFIG_FILE;
    struct buf text;
    int rc;

    if (!str_eq(s->args.operand[0], "check"))
        return session_fail(s, EXIT_USAGE, NULL, "config: \"%s\" is not check", s->args.operand[0]);
    buf_init(&text, CONFIG_TEXT_MAX);
    rc = check_file(s, file, &text);
    buf_done(&text);
    return rc;
}
