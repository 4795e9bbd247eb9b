/* INITDB: what the official image does at its first start, beside PGDATA, then moved into place.
 *
 * The scripts run against a temporary server that listens on a private socket only; it is no member
 * of the cluster yet and nobody else starts it. */
#include "pg/job.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "job_private.h"
#include "pg/account.h"
#include "pg/datadir.h"
#include "pg/version.h"

#define SERVER_START_MS 120000
#define SQL_MS 60000
#define SERVER_STOP_MS 120000

enum step {
    STEP_CLEAN_NEXT,
    STEP_CLEAN_DATA,
    STEP_INITDB,
    STEP_CONNECT,
    STEP_DATABASE,
    STEP_ROLES,
    STEP_SCRIPTS,
    STEP_STOP,
    STEP_CONTROL,
};

/* $0 is the log, $1 the file. Scripts that are not executable are sourced, as the image does. */
static const char wrapper[] =
    "exec >>\"$0\" 2>&1\n"
    "(set -o pipefail) 2>/dev/null && set -o pipefail\n"
    "set -e\n"
    "docker_process_sql() {\n"
    "  psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password \\\n"
    "    --username \"$POSTGRES_USER\" --dbname \"$POSTGRES_DB\" \"$@\"\n"
    "}\n"
    "f=$1\n"
    "echo \"running $f\"\n"
    "case \"$f\" in\n"
    "*.sh) if [ -x \"$f\" ]; then \"$f\"; else . \"$f\"; fi ;;\n"
    "*.sql) docker_process_sql -f \"$f\" ;;\n"
    "*.sql.gz) gunzip -c \"$f\" | docker_process_sql ;;\n"
    "*.sql.xz) xz -dc \"$f\" | docker_process_sql ;;\n"
    "*.sql.zst) zstd -dc \"$f\" | docker_process_sql ;;\n"
    "*) echo \"ignoring $f\" ;;\n"
    "esac\n";

static void enter(struct pg_job *j, enum step step);

static bool log_path(const struct pg_job *j, char dst[PG_PATH_SIZE])
{
    return pg_path(dst, j->env->state_dir, "initdb.log");
}

/* ---- initdb ---- */

/* Splits like a shell does without expansions: blanks separate, quotes group, backslash escapes.
 * The words are written into text itself. */
static bool split_args(char *text, const char **argv, size_t *n, size_t max, struct err *e)
{
    char *out = text;
    for (char *p = text; *p;) {
        p += strspn(p, " \t\n");
        if (!*p)
            break;
        if (*n == max)
            return err_set(e, ERR_INVALID, "POSTGRES_INITDB_ARGS: too many words");
        argv[(*n)++] = out;
        char quote = '\0';
        for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
            if (quote && *p == quote)
                quote = '\0';
            else if (!quote && (*p == '\'' || *p == '"'))
                quote = *p;
            else if (*p == '\\' && quote != '\'' && p[1])
                *out++ = *++p;
            else
                *out++ = *p;
        }
        if (quote)
            return err_set(e, ERR_INVALID, "POSTGRES_INITDB_ARGS: a quote is not closed");
        bool more = *p != '\0';
        *out++ = '\0';
        p += more;
    }
    return true;
}

/* As the official image: the locale of the environment. Without one, or where the image does not have
 * it, UTF-8 all the same: initdb itself would take SQL_ASCII. The user's own arguments come later and
 * win. */
static size_t add_locale(const char **argv, size_t n)
{
    static char arg[PG_NAME_SIZE + 16];
    const char *name = getenv("LC_ALL");
    if (!name || !name[0])
        name = getenv("LANG");
    locale_t known = name && name[0] ? newlocale(LC_ALL_MASK, name, (locale_t)0) : (locale_t)0;
    if (known)
        freelocale(known);
    if (known && strcmp(name, "C") != 0 && strcmp(name, "POSIX") != 0 &&
        str_format(arg, sizeof(arg), "--locale=%s", name)) {
        argv[n++] = arg;
        return n;
    }
    argv[n++] = "--locale=C.UTF-8";
    argv[n++] = "--encoding=UTF8";
    return n;
}

static bool write_pwfile(const struct pg_job *j, char path[PG_PATH_SIZE], struct err *e)
{
    char line[PG_SECRET_SIZE + 2];
    if (!pg_path(path, j->env->state_dir, "initdb.pw") ||
        !str_format(line, sizeof(line), "%s\n", j->env->superuser_password))
        return err_set(e, ERR_INVALID, "initdb: the path is too long");
    bool ok = fd_replace_file(path, line, strlen(line), 0600, e);
    explicit_bzero(line, sizeof(line));
    return ok;
}

static void forget_pwfile(const struct pg_job *j)
{
    char path[PG_PATH_SIZE];
    if (pg_path(path, j->env->state_dir, "initdb.pw"))
        unlink(path);
}

static void start_initdb(struct pg_job *j)
{
    const char *argv[JOB_ARGS_MAX + 1];
    char user[PG_NAME_SIZE + 16], pwpath[PG_PATH_SIZE], pwfile[PG_PATH_SIZE + 16];
    struct pg_account account;
    struct err e;
    size_t n = 0;
    if (!pg_account_make(j->env, &account, &e)) {
        job_fail(j, &e);
        return;
    }
    argv[n++] = job_tool(j, "initdb");
    argv[n++] = "-D";
    argv[n++] = j->next_dir;
    must(str_format(user, sizeof(user), "--username=%s", j->env->superuser));
    argv[n++] = user;
    n = add_locale(argv, n);
    if (j->checksums)
        argv[n++] = pg_version_find(j->env->major)->initdb_checksums;
    if (j->env->superuser_password[0]) {
        if (!write_pwfile(j, pwpath, &e)) {
            job_fail(j, &e);
            return;
        }
        must(str_format(pwfile, sizeof(pwfile), "--pwfile=%s", pwpath));
        argv[n++] = pwfile;
    }
    if (!split_args(j->initdb_args, argv, &n, JOB_ARGS_MAX, &e)) {
        job_fail(j, &e);
        return;
    }
    argv[n] = NULL;
    job_run(j, "initdb", argv, account.extra);
}

/* ---- the temporary server ---- */

static bool write_init_hba(const struct pg_job *j, char path[PG_PATH_SIZE], struct err *e)
{
    static const char text[] = "local all all trust\n";
    return (pg_path(path, j->env->state_dir, "initdb_hba.conf") ||
            err_set(e, ERR_INVALID, "initdb: the path is too long")) &&
           fd_replace_file(path, text, sizeof(text) - 1, 0600, e);
}

static bool start_server(struct pg_job *j, struct err *e)
{
    char log[PG_PATH_SIZE], hba[PG_PATH_SIZE], hba_arg[PG_PATH_SIZE + 16],
        sock_arg[PG_PATH_SIZE + 32], port_arg[32], conf_arg[PG_PATH_SIZE + 16],
        data_arg[PG_PATH_SIZE + 16];
    if (!fd_mkdirs(j->init_env.socket_dir, 0700, e) || !write_init_hba(j, hba, e) ||
        !log_path(j, log) || (j->conf && !pg_conf_write(j->conf, NULL, e)))
        return false;
    must(str_format(conf_arg, sizeof(conf_arg), "config_file=%s/%s",
                    j->conf ? j->env->state_dir : j->next_dir,
                    j->conf ? "pghad.conf" : "postgresql.conf"));
    must(str_format(data_arg, sizeof(data_arg), "data_directory=%s", j->next_dir));
    must(str_format(hba_arg, sizeof(hba_arg), "hba_file=%s", hba));
    must(str_format(sock_arg, sizeof(sock_arg), "unix_socket_directories=%s",
                    j->init_env.socket_dir));
    must(str_format(port_arg, sizeof(port_arg), "port=%u", j->init_env.port));
    const char *argv[] = {"/bin/sh", "-c", "exec \"$@\" >>\"$0\" 2>&1", log,
                          job_tool(j, "postgres"), "-D", j->next_dir, "-c", conf_arg, "-c",
                          data_arg, "-c", "listen_addresses=", "-c", sock_arg, "-c", hba_arg, "-c", port_arg,
                          "-c", "synchronous_standby_names=", "-c", "pghad_gate.strict=off",
                          "-c", "logging_collector=off", "-c", "archive_mode=off", NULL};
    j->server = job_start(j, argv, NULL, 0, e);
    return j->server != NULL;
}

static void start_connect(struct pg_job *j, int64_t now)
{
    struct err e;
    j->step_text = "starting the temporary server";
    if (!start_server(j, &e)) {
        job_fail(j, &e);
        return;
    }
    j->started_ms = now; /* of this step; the job's own start is not needed any more */
    j->conn = pg_conn_local(j->engine, &j->init_env, false);
    pg_conn_open(j->conn);
}

/* ---- database, roles, scripts ---- */

static void start_database(struct pg_job *j, int64_t now)
{
    struct buf b;
    struct err e;
    j->step_text = "creating the database";
    if (strcmp(j->database, "postgres") == 0) {
        enter(j, STEP_ROLES);
        return;
    }
    buf_init(&b, 1024);
    buf_puts(&b, "CREATE DATABASE ");
    pg_sql_ident(&b, j->database);
    if (!pg_conn_exec(j->conn, buf_str(&b), now + SQL_MS, &e))
        job_fail(j, &e);
    buf_done(&b);
}

static void start_roles(struct pg_job *j, int64_t now)
{
    struct err e;
    j->step_text = "creating the members' role";
    j->task = pg_task_new(j->engine, &j->init_env);
    if (!pg_task_roles(j->task, PG_ROLES_MEMBERS | PG_ROLES_SUPERUSER, now + SQL_MS, &e))
        job_fail(j, &e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_scripts(struct pg_job *j, struct err *e)
{
    DIR *d = opendir(j->script_dir);
    if (!d)
        return errno == ENOENT || err_errno(e, ERR_FATAL, "open %s", j->script_dir);
    struct dirent *de;
    bool ok = true;
    while (ok && (de = readdir(d))) {
        if (de->d_name[0] == '.')
            continue;
        if (j->n_scripts == JOB_SCRIPTS_MAX)
            ok = err_set(e, ERR_INVALID, "%s: more than %d files", j->script_dir, JOB_SCRIPTS_MAX);
        else
            must((j->script[j->n_scripts++] = strdup(de->d_name)) != NULL);
    }
    closedir(d);
    qsort(j->script, j->n_scripts, sizeof(j->script[0]), by_name);
    return ok;
}

/* Runs the next script, or goes on when there is none left. */
static void next_script(struct pg_job *j)
{
    char log[PG_PATH_SIZE], path[PG_PATH_SIZE], host[PG_PATH_SIZE + 16], port[24], user[128],
        db[128], pass[PG_SECRET_SIZE + 32], data[PG_PATH_SIZE + 16], search[PG_PATH_SIZE + 1024];
    if (j->script_at == j->n_scripts) {
        enter(j, STEP_STOP);
        return;
    }
    const char *old = getenv("PATH");
    must(log_path(j, log));
    bool ok = pg_path(path, j->script_dir, j->script[j->script_at]) &&
              str_format(host, sizeof(host), "PGHOST=%s", j->init_env.socket_dir) &&
              str_format(port, sizeof(port), "PGPORT=%u", j->init_env.port) &&
              str_format(user, sizeof(user), "POSTGRES_USER=%s", j->env->superuser) &&
              str_format(db, sizeof(db), "POSTGRES_DB=%s", j->database) &&
              str_format(pass, sizeof(pass), "POSTGRES_PASSWORD=%s", j->env->superuser_password) &&
              str_format(data, sizeof(data), "PGDATA=%s", j->next_dir) &&
              str_format(search, sizeof(search), "PATH=%s:%s", j->env->bin_dir,
                         old ? old : "/usr/bin:/bin");
    if (!ok) {
        struct err e;
        err_set(&e, ERR_INVALID, "initdb: a path or name is too long");
        job_fail(j, &e);
        return;
    }
    const char *shell = access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
    const char *argv[] = {shell, "-c", wrapper, log, path, NULL};
    const char *extra[] = {host, port, user, db, pass, data, search, NULL};
    job_run(j, "running the user's scripts", argv, extra);
    explicit_bzero(pass, sizeof(pass));
}

static void take_script(struct pg_job *j)
{
    if (!proc_ok(j->proc)) {
        struct err e;
        err_set(&e, ERR_INVALID, "script %s/%s failed, its output is in %s/initdb.log",
                j->script_dir, j->script[j->script_at], j->env->state_dir);
        job_fail(j, &e);
        return;
    }
    proc_free(j->proc);
    j->proc = NULL;
    j->script_at++;
    next_script(j);
}

/* ---- the end ---- */

static bool finish(struct pg_job *j, struct err *e)
{
    struct stat st;
    char log[PG_PATH_SIZE];
    if (!job_move(j->next_dir, j->env->data_dir, e))
        return false;
    j->pgstate->volume = j->volume;
    j->pgstate->system_id = j->control.system_id;
    /* An empty log says nothing. */
    if (log_path(j, log) && stat(log, &st) == 0 && st.st_size == 0)
        unlink(log);
    return pg_state_save(j->env, j->pgstate, e) && pg_marker_clear(j->env, PG_MARK_INITDB, e);
}

static void take_control(struct pg_job *j)
{
    struct err e;
    if (proc_ok(j->proc) && !pg_control_parse(&j->control, buf_str(proc_out(j->proc)), &e)) {
        job_fail(j, &e);
        return;
    }
    if (!job_child_ok(j))
        return;
    if (j->control.state != PG_CONTROL_SHUT_DOWN) {
        err_set(&e, ERR_CORRUPT, "initdb: the temporary server did not stop cleanly");
        job_fail(j, &e);
    } else if (!finish(j, &e)) {
        job_fail(j, &e);
    } else {
        job_done(j);
    }
}

/* ---- steps ---- */

static void enter(struct pg_job *j, enum step step)
{
    int64_t now = loop_now(pg_engine_loop(j->engine));
    j->step = (int)step;
    switch (step) {
    case STEP_CLEAN_NEXT:
        job_remove_tree(j, j->next_dir);
        return;
    case STEP_CLEAN_DATA:
        job_remove_tree(j, j->env->data_dir);
        return;
    case STEP_INITDB:
        start_initdb(j);
        return;
    case STEP_CONNECT:
        start_connect(j, now);
        return;
    case STEP_DATABASE:
        start_database(j, now);
        return;
    case STEP_ROLES:
        start_roles(j, now);
        return;
    case STEP_SCRIPTS:
        next_script(j);
        return;
    case STEP_STOP:
        j->step_text = "stopping the temporary server";
        j->started_ms = now;
        pg_task_free(j->task);
        j->task = NULL;
        pg_conn_free(j->conn);
        j->conn = NULL;
        proc_kill(j->server, SIGINT); /* fast stop: its sessions are ours */
        return;
    case STEP_CONTROL: {
        const char *argv[] = {job_tool(j, "pg_controldata"), "-D", j->next_dir, NULL};
        job_run(j, "reading pg_control", argv, NULL);
        return;
    }
    }
}

static void fail_with(struct pg_job *j, enum err_kind kind, const char *text)
{
    struct err e;
    err_set(&e, kind, "initdb: %s, see %s/initdb.log", text, j->env->state_dir);
    job_fail(j, &e);
}

/* The steps that wait for the server or a session. */
static void advance_server(struct pg_job *j, int64_t now)
{
    bool down = proc_state(j->server) == PROC_DONE;
    if (down && j->step != STEP_STOP) {
        fail_with(j, ERR_FATAL, "the temporary server ended");
        return;
    }
    switch ((enum step)j->step) {
    case STEP_CONNECT:
        if (pg_conn_state(j->conn) == PG_CONN_IDLE)
            enter(j, STEP_DATABASE);
        else if (now - j->started_ms > SERVER_START_MS)
            fail_with(j, ERR_TIMEOUT, "the temporary server does not answer");
        return;
    case STEP_DATABASE:
        if (pg_conn_state(j->conn) == PG_CONN_BUSY)
            return;
        if (pg_conn_query_state(j->conn) != PG_QUERY_OK)
            job_fail(j, pg_conn_query_error(j->conn));
        else
            enter(j, STEP_ROLES);
        return;
    case STEP_ROLES:
        if (pg_task_state(j->task) == PG_TASK_FAILED)
            job_fail(j, pg_task_error(j->task));
        else if (pg_task_state(j->task) == PG_TASK_OK)
            enter(j, STEP_SCRIPTS);
        return;
    case STEP_STOP:
        if (down && proc_ok(j->server))
            enter(j, STEP_CONTROL);
        else if (down)
            fail_with(j, ERR_FATAL, "the temporary server failed to stop");
        else if (now - j->started_ms > SERVER_STOP_MS)
            fail_with(j, ERR_TIMEOUT, "the temporary server does not stop");
        return;
    case STEP_SCRIPTS:
        take_script(j);
        return;
    case STEP_CLEAN_NEXT:
    case STEP_CLEAN_DATA:
    case STEP_INITDB:
    case STEP_CONTROL:
        return;
    }
}

static void advance(struct pg_job *j, int64_t now)
{
    if (j->step == STEP_CONTROL)
        take_control(j);
    else if (j->step >= STEP_CONNECT)
        advance_server(j, now);
    else {
        if (j->step == STEP_INITDB)
            forget_pwfile(j);
        if (job_child_ok(j))
            enter(j, (enum step)(j->step + 1));
    }
}

void job_release_initdb(struct pg_job *j)
{
    forget_pwfile(j);
    pg_task_free(j->task);
    j->task = NULL;
    pg_conn_free(j->conn);
    j->conn = NULL;
    proc_free(j->server);
    j->server = NULL;
    for (size_t i = 0; i < j->n_scripts; i++)
        free(j->script[i]);
    j->n_scripts = j->script_at = 0;
}

bool pg_job_begin_initdb(struct pg_job *j, const struct pg_initdb_spec *s, struct err *e)
{
    struct pg_datadir d;
    char log[PG_PATH_SIZE];
    if (!job_claim(j, PG_JOB_INITDB, s->deadline_ms, e) || !pg_datadir_look(j->env, 0, &d, e))
        return false;
    bool own_cut = d.state == DATA_PARTIAL && d.marker[PG_MARK_INITDB] &&
                   !d.marker[PG_MARK_CLONE] && !d.marker[PG_MARK_REWIND];
    if (d.state != DATA_EMPTY && !own_cut)
        return err_set(e, ERR_CONFLICT, "initdb: %s is not empty: %s", j->env->data_dir, d.why);
    char above[PG_PATH_SIZE];
    if (pg_path(above, j->env->state_dir, "../PG_VERSION") && access(above, F_OK) == 0)
        return err_set(e, ERR_CONFLICT, "initdb: the directory above %s is itself a data directory, of "
                       "a server that kept it at the root of the volume; it is not hidden by a new one",
                       j->env->data_dir);
    if (!pg_version_find(j->env->major))
        return err_set(e, ERR_INVALID, "initdb: PostgreSQL %u is not supported", j->env->major);
    const char *scripts = s->init_scripts ? s->init_scripts : "/docker-entrypoint-initdb.d";
    const char *db = s->database && s->database[0] ? s->database : j->env->superuser;
    j->init_env = *j->env;
    if (!str_copy(j->script_dir, sizeof(j->script_dir), scripts) ||
        !str_copy(j->database, sizeof(j->database), db) ||
        !str_copy(j->initdb_args, sizeof(j->initdb_args), s->initdb_args ? s->initdb_args : "") ||
        !str_format(j->init_env.socket_dir, sizeof(j->init_env.socket_dir), "%s/.pghad-init",
                    j->env->socket_dir))
        return err_set(e, ERR_INVALID, "initdb: an argument is too long");
    if (!list_scripts(j, e) || !pg_marker_set(j->env, PG_MARK_INITDB, "initdb", e) ||
        !log_path(j, log) || !fd_replace_file(log, "", 0, 0600, e)) {
        job_release_initdb(j);
        return false;
    }
    j->checksums = s->checksums;
    j->conf = s->conf;
    j->pgstate = s->state;
    /* An id that was chosen for the empty volume stays: others may know it already. */
    j->volume = s->state->volume ? s->state->volume : pg_volume_new();
    j->advance = advance;
    j->state = PG_JOB_RUNNING;
    enter(j, STEP_CLEAN_NEXT);
    return true;
}
