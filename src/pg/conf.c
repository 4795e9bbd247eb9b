/* Model of the generated configuration, and its files. */
#include "pg/conf.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "conf_private.h"
#include "run_private.h"

/* Only we set these. wal_level is ours, too, except that the user may ask for logical. */
static const char *const owned[] = {
    "cluster_name", "config_file", "data_directory", "fsync",
    "full_page_writes", "hba_file", "hot_standby", "hot_standby_feedback", "ident_file",
    "listen_addresses", "port", "primary_conninfo", "primary_slot_name", "promote_trigger_file",
    "recovery_target", "recovery_target_action", "recovery_target_inclusive",
    "recovery_target_lsn", "recovery_target_name", "recovery_target_time",
    "recovery_target_timeline", "recovery_target_xid", "restart_after_crash", "restore_command",
    "sync_replication_slots", "synchronized_standby_slots", "synchronous_standby_names",
    "unix_socket_directories", "update_process_title", "wal_level", "wal_log_hints",
    "wal_receiver_status_interval", "wal_retrieve_retry_interval",
};

bool pg_conf_owned(const char *name)
{
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        if (strcasecmp(owned[i], name) == 0)
            return true;
    return false;
}

/* ---- floors ---- */

const char *const pg_conf_floor_names[FLOORS] = {
    "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions",
    "max_locks_per_transaction",
};

int pg_conf_floor_of(const char *name)
{
    for (int i = 0; i < FLOORS; i++)
        if (strcasecmp(pg_conf_floor_names[i], name) == 0)
            return i;
    return -1;
}

void pg_conf_set_floor(struct pg_conf *c, const struct pg_control *control)
{
    pg_control_needs(control, c->floor);
}

const char *const *pg_conf_raised(struct pg_conf *c)
{
    size_t n = 0;
    for (size_t i = 0; i < FLOORS; i++)
        if (c->wish[i] && c->wish[i] < c->floor[i])
            c->raised[n++] = pg_conf_floor_names[i];
    c->raised[n] = NULL;
    return c->raised;
}

/* ---- life ---- */

struct pg_conf *pg_conf_new(const struct pg_env *env)
{
    struct pg_conf *c = calloc(1, sizeof(*c));
    must(c != NULL);
    c->env = env;
    c->closed = true;
    c->ssn.kind = PG_SSN_UNSATISFIABLE; /* who knows nothing yet must not end anybody's wait */
    buf_init(&c->params, PG_CONF_TEXT_MAX);
    buf_init(&c->hba, PG_CONF_TEXT_MAX);
    buf_init(&c->ident, PG_CONF_TEXT_MAX);
    must(pg_path(c->file, env->state_dir, "pghad.conf"));
    must(pg_path(c->hba_file, env->state_dir, "pg_hba.conf"));
    must(pg_path(c->ident_file, env->state_dir, "pg_ident.conf"));
    must(pg_path(c->postgres, env->bin_dir, "postgres"));
    const struct passwd *pw = getpwuid(geteuid());
    if (pw)
        str_copy(c->os_user, sizeof(c->os_user), pw->pw_name);
    must(pg_conf_set_user(c, &(struct pg_user_conf){0}, NULL));
    return c;
}

void pg_conf_free(struct pg_conf *c)
{
    if (!c)
        return;
    buf_done(&c->params);
    buf_done(&c->hba);
    buf_done(&c->ident);
    free(c);
}

/* ---- the user's part ---- */

static bool plain(const char *s)
{
    for (; *s; s++)
        if (iscntrl((unsigned char)*s) && *s != '\t')
            return false;
    return true;
}

static bool good_name(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && *s != '.' && *s != '$')
            return false;
    return true;
}

static bool add_params(struct pg_conf *n, const struct pg_user_conf *u, struct err *e)
{
    for (size_t i = 0; i < u->n_params; i++) {
        const struct pg_param *p = &u->params[i];
        if (!good_name(p->name) || !plain(p->value))
            return err_set(e, ERR_INVALID, "parameter \"%s\": not a name and value", p->name);
        if (strcasecmp(p->name, "wal_level") == 0 &&
            (strcmp(p->value, "logical") == 0 || strcmp(p->value, "replica") == 0)) {
            str_copy(n->wal_level, sizeof(n->wal_level), p->value);
            continue;
        }
        if (pg_conf_owned(p->name))
            return err_set(e, ERR_INVALID, "parameter \"%s\" is set by pghad and cannot be given",
                           p->name);
        int floor = pg_conf_floor_of(p->name);
        int64_t v;
        if (floor >= 0) {
            if (!str_to_i64(p->value, 0, INT32_MAX, &v))
                return err_set(e, ERR_INVALID, "parameter \"%s\": not a whole number", p->name);
            n->wish[floor] = (uint32_t)v;
            continue; /* written with the floors */
        }
        buf_printf(&n->params, "%s = ", p->name);
        pg_conf_quote(&n->params, p->value);
        buf_puts(&n->params, "\n");
    }
    return true;
}

static bool add_lines(struct buf *b, const char *what, const char *const *lines, size_t n,
                      struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (!plain(lines[i]))
            return err_set(e, ERR_INVALID, "%s line %zu has control characters", what, i + 1);
        buf_puts(b, lines[i]);
        buf_puts(b, "\n");
    }
    return true;
}

static bool set_text(char *dst, size_t size, const char *value, const char *otherwise,
                     const char *what, struct err *e)
{
    if (!value)
        value = otherwise;
    if (!plain(value) || !str_copy(dst, size, value))
        return err_set(e, ERR_INVALID, "%s: too long, or it has control characters", what);
    return true;
}

static bool hba_lines_are_good(const struct pg_user_conf *u, struct err *e)
{
    for (size_t i = 0; i < u->n_hba; i++)
        if (!pg_conf_check_hba(u->hba[i], i + 1, e))
            return false;
    return true;
}

static bool fill(struct pg_conf *n, const struct pg_user_conf *u, struct err *e)
{
    str_copy(n->wal_level, sizeof(n->wal_level), "replica");
    memset(n->wish, 0, sizeof(n->wish));
    n->max_senders = u->max_senders ? u->max_senders : 16;
    n->max_slots = u->max_slots ? u->max_slots : 32;
    n->feedback = u->feedback;
    n->log_json = u->log_json;
    n->strict_commit = u->strict_commit;
    if (!add_params(n, u, e) || !hba_lines_are_good(u, e) || !add_lines(&n->hba, "hba", u->hba, u->n_hba, e) ||
        !add_lines(&n->ident, "ident", u->ident, u->n_ident, e) ||
        !set_text(n->include, sizeof(n->include), u->include, "", "include", e) ||
        !set_text(n->listen_addresses, sizeof(n->listen_addresses), u->listen_addresses, "*",
                  "listen_addresses", e) ||
        !set_text(n->wal_cap, sizeof(n->wal_cap), u->wal_cap, "10GB", "max_slot_wal_keep_size",
                  e) ||
        !set_text(n->wal_keep, sizeof(n->wal_keep), u->wal_keep, "256MB", "wal_keep_size", e) ||
        !set_text(n->restore_command, sizeof(n->restore_command), u->restore_command, "",
                  "restore_command", e))
        return false;
    if (n->params.overflow || n->hba.overflow || n->ident.overflow)
        return err_set(e, ERR_INVALID, "parameters, hba or ident: too long");
    return true;
}

static bool set_user(struct pg_conf *c, const struct pg_user_conf *u, bool check, struct err *e)
{
    struct pg_conf n = *c;
    buf_init(&n.params, PG_CONF_TEXT_MAX);
    buf_init(&n.hba, PG_CONF_TEXT_MAX);
    buf_init(&n.ident, PG_CONF_TEXT_MAX);
    bool ok = fill(&n, u, e) && (!check || pg_conf_check(&n, e));
    struct pg_conf *loser = ok ? c : &n;
    buf_done(&loser->params);
    buf_done(&loser->hba);
    buf_done(&loser->ident);
    if (ok)
        *c = n;
    return ok;
}

bool pg_conf_set_user(struct pg_conf *c, const struct pg_user_conf *u, struct err *e)
{
    return set_user(c, u, false, e);
}

bool pg_conf_try_user(struct pg_conf *c, const struct pg_user_conf *u, struct err *e)
{
    return set_user(c, u, true, e);
}

/* ---- our part ---- */

bool pg_conf_set_ssn(struct pg_conf *c, const struct pg_ssn *s, struct err *e)
{
    struct buf b;
    buf_init(&b, PG_CONF_TEXT_MAX);
    bool ok = pg_ssn_render(&b, s, e);
    buf_done(&b);
    if (ok)
        c->ssn = *s;
    return ok;
}

void pg_conf_set_upstream(struct pg_conf *c, const struct pg_upstream *u)
{
    c->upstream = u ? *u : (struct pg_upstream){0};
}

void pg_conf_set_closed(struct pg_conf *c, bool closed)
{
    c->closed = closed;
}

void pg_conf_keep_strict(struct pg_conf *c, bool keep)
{
    c->keep_strict = keep;
}

bool pg_conf_strict(const struct pg_conf *c)
{
    return c->strict_commit || c->keep_strict;
}

bool pg_conf_closed(const struct pg_conf *c)
{
    return c->closed;
}

const struct pg_upstream *pg_conf_upstream(const struct pg_conf *c)
{
    return &c->upstream;
}

const struct pg_ssn *pg_conf_ssn(const struct pg_conf *c)
{
    return &c->ssn;
}

/* ---- files ---- */

typedef bool render_fn(const struct pg_conf *, struct buf *, struct err *);

static bool write_one(const struct pg_conf *c, const char *path, render_fn *render, bool *changed,
                      struct err *e)
{
    struct buf b, old;
    buf_init(&b, PG_CONF_TEXT_MAX);
    buf_init(&old, PG_CONF_TEXT_MAX);
    bool ok = render(c, &b, e);
    bool same = ok && fd_read_file(path, &old, NULL) && old.len == b.len &&
                memcmp(buf_str(&old), buf_str(&b), b.len) == 0;
    if (ok && !same) {
        ok = fd_swap_file(path, b.data, b.len, 0600, e);
        *changed = true;
    }
    buf_done(&b);
    buf_done(&old);
    return ok;
}

/* Settings that PostgreSQL refuses are its own to refuse, in its own words, when it starts. Where it did
 * not come to an answer it is not asked again at once: the one who waits is the loop that renews. */
static bool ask_preload(struct pg_conf *c, struct err *e)
{
    struct err why = {0};
    if (!c->env->gate[0] || c->preload_known)
        return true;
    if (c->preload_next_ms > clock_boot_ms())
        return err_set(e, ERR_TRANSIENT, "it is not known which libraries postgres preloads");
    if (!pg_conf_check(c, &why)) {
        c->preload[0] = '\0';
        c->preload_known = why.kind == ERR_INVALID;
    }
    if (c->preload_known)
        return true;
    c->preload_next_ms = clock_boot_ms() + PRELOAD_AGAIN_MS;
    return err_set(e, ERR_TRANSIENT, "postgres did not say which libraries it preloads: %s",
                   why.kind != ERR_NONE ? why.msg : "no answer in time");
}

bool pg_conf_write(struct pg_conf *c, bool *changed, struct err *e)
{
    bool any = false;
    bool ok = ask_preload(c, e) && fd_mkdirs(c->env->state_dir, 0700, e);
    /* Before the settings that name it. */
    if (ok && c->upstream.hostaddr[0])
        ok = pg_passfile_write(c->env, c->upstream.epoch, e);
    ok = ok && write_one(c, c->hba_file, pg_conf_render_hba, &any, e) &&
         write_one(c, c->ident_file, pg_conf_render_ident, &any, e) &&
         write_one(c, c->file, pg_conf_render, &any, e);
    if (changed)
        *changed = any;
    return ok;
}

/* Name of a line "name = value" of postgresql.auto.conf, which the server writes itself. */
static void line_name(const char *line, size_t len, char name[PG_NAME_SIZE])
{
    size_t n = 0;
    while (n < len && n < PG_NAME_SIZE - 1 && (isalnum((unsigned char)line[n]) || line[n] == '_')) {
        name[n] = line[n];
        n++;
    }
    name[n] = '\0';
}

/* Removes what we own; *preload: it sets shared_preload_libraries. */
static bool strip_auto(const struct pg_conf *c, bool *preload, struct err *e)
{
    char name[PG_NAME_SIZE];
    char path[PG_PATH_SIZE];
    struct buf old, b;
    if (!pg_path(path, c->env->data_dir, "postgresql.auto.conf"))
        return err_set(e, ERR_INVALID, "postgresql.auto.conf: the path is too long");
    buf_init(&old, PG_CONF_TEXT_MAX);
    buf_init(&b, PG_CONF_TEXT_MAX);
    struct err why = {0};
    bool ok = fd_read_file(path, &old, &why);
    if (!ok && why.kind == ERR_NOT_FOUND)
        ok = true;
    else if (!ok && e)
        *e = why;
    for (const char *p = buf_str(&old); ok && *p;) {
        size_t len = strcspn(p, "\n");
        len += p[len] == '\n';
        line_name(p, len, name);
        *preload = *preload || strcasecmp(name, "shared_preload_libraries") == 0;
        if (!pg_conf_owned(name))
            buf_put(&b, p, len);
        p += len;
    }
    if (ok && b.len != old.len)
        ok = fd_replace_file(path, buf_str(&b), b.len, 0600, e);
    buf_done(&old);
    buf_done(&b);
    return ok;
}

bool pg_conf_strip_auto(const struct pg_conf *c, struct err *e)
{
    bool preload = false;
    return strip_auto(c, &preload, e);
}

bool pg_conf_read_floor(struct pg_conf *c, struct err *e)
{
    char tool[PG_PATH_SIZE];
    struct pg_control control;
    struct buf out;
    if (!pg_path(tool, c->env->bin_dir, "pg_controldata"))
        return err_set(e, ERR_INVALID, "directory of the binaries: the path is too long");
    const char *argv[] = {tool, "-D", c->env->data_dir, NULL};
    buf_init(&out, 65536);
    bool ok = pg_run(argv, &out, e) && pg_control_parse(&control, buf_str(&out), e);
    buf_done(&out);
    if (ok)
        pg_conf_set_floor(c, &control);
    return ok;
}

bool pg_conf_clean_auto(struct pg_conf *c, struct err *e)
{
    c->preload_in_auto = c->preload_known = false;
    c->preload_next_ms = 0; /* a start cannot go on without the answer */
    return strip_auto(c, &c->preload_in_auto, e) && pg_conf_read_floor(c, e) && ask_preload(c, e);
}

bool pg_conf_reload(pid_t postmaster, struct err *e)
{
    if (postmaster <= 1)
        return err_set(e, ERR_BUG, "reload: no postmaster");
    if (kill(postmaster, SIGHUP) != 0)
        return err_errno(e, ERR_TRANSIENT, "SIGHUP to the postmaster");
    return true;
}

/* Settings on the command line beat every file, postgresql.auto.conf included. */
const char *const *pg_conf_argv(struct pg_conf *c)
{
    must(str_format(c->arg[0], sizeof(c->arg[0]), "config_file=%s", c->file));
    must(str_format(c->arg[1], sizeof(c->arg[1]), "hba_file=%s", c->hba_file));
    must(str_format(c->arg[2], sizeof(c->arg[2]), "ident_file=%s", c->ident_file));
    str_copy(c->arg[3], sizeof(c->arg[3]), "restart_after_crash=off");
    str_copy(c->arg[4], sizeof(c->arg[4]), "hot_standby=on");
    size_t n = 0;
    c->argv[n++] = c->postgres;
    c->argv[n++] = "-D";
    c->argv[n++] = c->env->data_dir;
    for (int i = 0; i < 5; i++) {
        c->argv[n++] = "-c";
        c->argv[n++] = c->arg[i];
    }
    struct buf list;
    buf_init(&list, sizeof(c->preload_arg) - 32);
    if (c->preload_in_auto && pg_conf_preload(c, &list) &&
        str_format(c->preload_arg, sizeof(c->preload_arg), "shared_preload_libraries=%s",
                   buf_str(&list))) {
        c->argv[n++] = "-c";
        c->argv[n++] = c->preload_arg;
    }
    buf_done(&list);
    c->argv[n] = NULL;
    return c->argv;
}
