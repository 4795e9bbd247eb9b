/* Names, paths, secrets and quoting shared by this area. */
#include "pg/env.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "loop/proc.h"
#include "pg/version.h"
#include "run_private.h"

#define RUN_MS 2000

bool pg_path(char *dst, const char *dir, const char *name)
{
    return str_format(dst, PG_PATH_SIZE, "%s/%s", dir, name);
}

bool pg_env_set_data_dir(struct pg_env *env, const char *data_dir, struct err *e)
{
    char dir[PG_PATH_SIZE];
    if (!str_copy(dir, sizeof(dir), data_dir))
        return err_set(e, ERR_INVALID, "data directory: the path is too long");
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        dir[--len] = '\0';
    char *slash = strrchr(dir, '/');
    if (dir[0] != '/' || slash == dir)
        return err_set(e, ERR_INVALID,
                       "data directory %s: must be absolute, below a directory of the volume",
                       data_dir);
    str_copy(env->data_dir, sizeof(env->data_dir), dir);
    *slash = '\0';
    if (!pg_path(env->state_dir, dir, "pghad"))
        return err_set(e, ERR_INVALID, "data directory: the path is too long");
    return true;
}

/* ---- binaries ---- */

/* "postgres (PostgreSQL) 15.18 (Debian ...)" */
static bool parse_version(const char *text, uint32_t *major)
{
    const char *p = strstr(text, "(PostgreSQL) ");
    if (!p)
        return false;
    p += strlen("(PostgreSQL) ");
    uint32_t v = 0;
    for (; isdigit((unsigned char)*p) && v < 1000; p++)
        v = v * 10 + (uint32_t)(*p - '0');
    *major = v;
    return v > 0;
}

bool pg_run(const char *const *argv, struct buf *out, struct err *e)
{
    static const char *const env[] = {"LC_ALL=C", "PATH=/usr/bin:/bin", NULL};
    struct loop *l = loop_new();
    must(l != NULL);
    struct loop_source src = proc_source();
    loop_add(l, &src);
    struct proc_spec spec = {
        .argv = argv, .env = env, .out_max = out->max, .deadline_ms = clock_boot_ms() + RUN_MS};
    struct proc *p = proc_start(l, &spec, e);
    while (p && proc_state(p) != PROC_DONE)
        loop_turn(l, RUN_MS);
    bool ok = p != NULL;
    if (ok && (!proc_ok(p) || !buf_puts(out, buf_str(proc_out(p)))))
        ok = err_set(e, ERR_TRANSIENT, "%s failed: %s", argv[0], proc_err_tail(p));
    proc_free(p);
    loop_free(l);
    return ok;
}

static bool ask_version(const char *path, uint32_t *major, struct err *e)
{
    const char *argv[] = {path, "--version", NULL};
    struct buf out;
    buf_init(&out, 1024);
    bool ok = pg_run(argv, &out, e);
    if (ok && !parse_version(buf_str(&out), major))
        ok = err_set(e, ERR_FATAL, "%s --version: no version in its answer", path);
    buf_done(&out);
    return ok;
}

void pg_env_find_gate(struct pg_env *env, const char *dir)
{
    /* A quote would end the name in the list of libraries. */
    if (strchr(dir, '"') ||
        !str_format(env->gate, sizeof(env->gate), "%s/pghad_gate-%u.so", dir, env->major) ||
        access(env->gate, R_OK) != 0)
        env->gate[0] = '\0';
}

bool pg_env_find_binaries(struct pg_env *env, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (env->bin_dir[0] == '\0') {
        const struct pg_version *v;
        for (unsigned i = 0; (v = pg_version_at(i)) != NULL; i++) {
            char dir[PG_PATH_SIZE];
            if (str_format(dir, sizeof(dir), "/usr/lib/postgresql/%u/bin", v->major) &&
                pg_path(path, dir, "postgres") && access(path, X_OK) == 0)
                str_copy(env->bin_dir, sizeof(env->bin_dir), dir);
        }
        if (env->bin_dir[0] == '\0')
            return err_set(e, ERR_NOT_FOUND, "no PostgreSQL found below /usr/lib/postgresql");
    }
    if (!pg_path(path, env->bin_dir, "postgres"))
        return err_set(e, ERR_INVALID, "directory of the binaries: the path is too long");
    if (!ask_version(path, &env->major, e))
        return false;
    if (!pg_version_find(env->major))
        return err_set(e, ERR_INVALID, "PostgreSQL %u in %s: this version is not supported",
                       env->major, env->bin_dir);
    return true;
}

/* ---- members ---- */

void pg_member_name(char dst[PG_MEMBER_SIZE], uint64_t volume)
{
    must(str_format(dst, PG_MEMBER_SIZE, "m_%016llx", (unsigned long long)volume));
}

uint64_t pg_member_volume(const char *name)
{
    uint64_t v;
    char again[PG_MEMBER_SIZE];
    if (!name || !str_starts(name, "m_") || !str_to_hex64(name + 2, &v))
        return 0;
    pg_member_name(again, v); /* one spelling only: 16 digits, lower case */
    return strcmp(again, name) == 0 ? v : 0;
}

uint64_t pg_volume_new(void)
{
    uint64_t v = 0;
    while (v == 0)
        must(getrandom(&v, sizeof(v), 0) == (ssize_t)sizeof(v));
    return v;
}

/* ---- secrets ---- */

bool pg_secret_load(char dst[PG_SECRET_SIZE], const char *value, const char *path, struct err *e)
{
    if (path && path[0]) {
        struct buf b;
        buf_init(&b, PG_SECRET_SIZE);
        bool ok = fd_read_file(path, &b, e);
        if (ok && b.len > 0 && b.data[b.len - 1] == '\n')
            b.data[--b.len] = '\0';
        if (ok && (strlen(buf_str(&b)) != b.len || strchr(buf_str(&b), '\n')))
            ok = err_set(e, ERR_INVALID, "%s: a password must be a single line", path);
        if (ok && b.len == 0)
            ok = err_set(e, ERR_NOT_FOUND, "%s: the file is empty", path);
        if (ok && !str_copy(dst, PG_SECRET_SIZE, buf_str(&b)))
            ok = err_set(e, ERR_INVALID, "%s: the password is too long", path);
        if (b.data)
            explicit_bzero(b.data, b.len);
        buf_done(&b);
        return ok;
    }
    if (!value || !value[0])
        return err_set(e, ERR_NOT_FOUND, "no password is set");
    if (!str_copy(dst, PG_SECRET_SIZE, value))
        return err_set(e, ERR_INVALID, "the password is too long");
    return true;
}

bool pg_passfile_path(char dst[PG_PATH_SIZE], const struct pg_env *env, uint64_t epoch)
{
    return str_format(dst, PG_PATH_SIZE, "%s/passfile.%llu", env->state_dir,
                      (unsigned long long)epoch);
}

/* libpq's password file: fields separated by colons, colon and backslash escaped. */
static void passfile_field(struct buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == ':' || *s == '\\')
            buf_put(b, "\\", 1);
        buf_put(b, s, 1);
    }
}

bool pg_passfile_write(const struct pg_env *env, uint64_t epoch, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!pg_passfile_path(path, env, epoch))
        return err_set(e, ERR_INVALID, "passfile: the path is too long");
    struct buf b, old;
    buf_init(&b, 4096);
    buf_init(&old, 4096);
    buf_puts(&b, "*:*:*:");
    passfile_field(&b, env->repl_user);
    buf_puts(&b, ":");
    passfile_field(&b, env->repl_password);
    buf_puts(&b, "\n");
    struct stat st;
    /* libpq ignores a password file that others can read, as an fsGroup makes it. */
    bool ok = fd_read_file(path, &old, NULL) && strcmp(buf_str(&old), buf_str(&b)) == 0 &&
              stat(path, &st) == 0 && (st.st_mode & 0077) == 0;
    if (!ok)
        ok = fd_mkdirs(env->state_dir, 0700, e) && fd_swap_file(path, b.data, b.len, 0600, e);
    explicit_bzero(b.data, b.len);
    buf_done(&b);
    buf_done(&old);
    return ok;
}

bool pg_passfile_drop(const struct pg_env *env, uint64_t keep_from, struct err *e)
{
    DIR *d = opendir(env->state_dir);
    if (!d) {
        if (errno == ENOENT)
            return true;
        return err_errno(e, ERR_FATAL, "open %s", env->state_dir);
    }
    bool ok = true;
    struct dirent *de;
    while (ok && (de = readdir(d))) {
        int64_t epoch;
        if (!str_starts(de->d_name, "passfile."))
            continue;
        /* A name that is no number is a left-over of an atomic write: as good as an old one. */
        if (str_to_i64(de->d_name + strlen("passfile."), 0, INT64_MAX, &epoch) &&
            (uint64_t)epoch >= keep_from)
            continue;
        if (unlinkat(dirfd(d), de->d_name, 0) != 0 && errno != ENOENT)
            ok = err_errno(e, ERR_FATAL, "remove %s/%s", env->state_dir, de->d_name);
    }
    closedir(d);
    return ok;
}

/* ---- quoting ---- */

void pg_conninfo_add(struct buf *b, const char *key, const char *value)
{
    if (b->len > 0)
        buf_puts(b, " ");
    buf_puts(b, key);
    buf_puts(b, "='");
    for (const char *s = value; *s; s++) {
        if (*s == '\'' || *s == '\\')
            buf_put(b, "\\", 1);
        buf_put(b, s, 1);
    }
    buf_puts(b, "'");
}

void pg_conf_quote(struct buf *b, const char *value)
{
    buf_puts(b, "'");
    for (const char *s = value; *s; s++) {
        if (*s == '\'' || *s == '\\')
            buf_put(b, s, 1);
        buf_put(b, s, 1);
    }
    buf_puts(b, "'");
}

void pg_sql_quote(struct buf *b, const char *value)
{
    if (strchr(value, '\\'))
        buf_puts(b, " E");
    pg_conf_quote(b, value);
}

void pg_sql_ident(struct buf *b, const char *name)
{
    buf_puts(b, "\"");
    for (const char *s = name; *s; s++) {
        if (*s == '"')
            buf_put(b, s, 1);
        buf_put(b, s, 1);
    }
    buf_puts(b, "\"");
}

/* ---- LSN ---- */

void pg_lsn_format(char dst[20], uint64_t lsn)
{
    must(str_format(dst, 20, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn));
}

bool pg_lsn_parse(const char *s, uint64_t *ret)
{
    const char *slash = s ? strchr(s, '/') : NULL;
    char hi[9], lo[9];
    uint64_t h, l;
    if (!slash || slash - s > 8 || strlen(slash + 1) > 8)
        return false;
    memset(hi, 0, sizeof(hi));
    memcpy(hi, s, (size_t)(slash - s));
    str_copy(lo, sizeof(lo), slash + 1);
    if (!str_to_hex64(hi, &h) || !str_to_hex64(lo, &l))
        return false;
    *ret = h << 32 | l;
    return true;
}
