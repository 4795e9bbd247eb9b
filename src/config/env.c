/* Environment: the variables of the official postgres image and of the downward API (they come from
 * the image or the pod template, so the file may override them), and PGHA_SECTION_KEY above all. */
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "config/option.h"

#define VALUE_FILE_MAX 8192

static const char *env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (; env && *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

/* <name>_FILE of the official image: the file's content without its final newline. */
static bool value_from_file(const char *var, const char *path, struct buf *b, struct err *e)
{
    if (!fd_read_file(path, b, e))
        return err_wrap(e, "environment: %s", var);
    while (b->len > 0 && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == '\r'))
        b->data[--b->len] = '\0';
    if (strlen(buf_str(b)) != b->len)
        return err_set(e, ERR_INVALID, "environment: %s: %s contains a zero byte", var, path);
    return true;
}

static bool image_option(struct config *c, const struct option *o, char *const *env, struct err *e)
{
    char file_var[80];
    const char *value = env_get(env, o->env_alias);
    const char *file = NULL;
    if ((o->flags & OPT_ENV_FILE) && str_format(file_var, sizeof(file_var), "%s_FILE", o->env_alias))
        file = env_get(env, file_var);
    if (value && value[0] && file && file[0])
        return err_set(e, ERR_INVALID, "environment: %s and %s are both set; only one is allowed",
                       o->env_alias, file_var);
    if (file && file[0]) {
        struct buf b;
        buf_init(&b, VALUE_FILE_MAX);
        bool ok = value_from_file(file_var, file, &b, e);
        if (ok && !option_parse(o, c, buf_str(&b), e))
            ok = err_wrap(e, "environment: %s (%s)", file_var, o->name);
        buf_done(&b);
        return ok;
    }
    if (!value || !value[0])
        return true; /* the image's script reads an empty variable as unset, too */
    /* A Service named "pg" makes kubelet set PG...PORT=tcp://...; that is not meant for us. */
    if (strstr(value, "://"))
        return true;
    return option_parse(o, c, value, e) || err_wrap(e, "environment: %s (%s)", o->env_alias, o->name);
}

bool config_env_image(struct config *c, char *const *env, struct err *e)
{
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].env_alias && !image_option(c, &option_table[i], env, e))
            return false;
    const char *password = env_get(env, "POSTGRES_PASSWORD");
    const char *file = env_get(env, "POSTGRES_PASSWORD_FILE");
    if (password && password[0] && file && file[0])
        return err_set(e, ERR_INVALID, "environment: POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE "
                                       "are both set; only one is allowed");
    char *copy = strdup(password ? password : "");
    must(copy != NULL);
    free(c->postgres.superuser_password);
    c->postgres.superuser_password = copy;
    return true;
}

/* PGHA_POSTGRES_DATA_DIR for postgres.data_dir. */
static void pgha_name(const struct option *o, char *dst, size_t size)
{
    must(str_format(dst, size, "PGHA_%s", o->name));
    for (char *p = dst; *p; p++) {
        if (*p == '.')
            *p = '_';
        else if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
}

/* kubelet adds <SERVICE>_SERVICE_HOST, _SERVICE_PORT, _PORT, _PORT_5432_TCP... for every Service of
 * the namespace; one named pgha-postgres must not stop a member. */
static bool is_service_link(const char *name, size_t n, const char *value)
{
    static const char *const marks[] = {"_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP"};
    char copy[128];
    if (n >= sizeof(copy))
        return false;
    memcpy(copy, name, n);
    copy[n] = '\0';
    if (str_starts(value, "tcp://") || str_starts(value, "udp://"))
        return true;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (strstr(copy, marks[i]))
            return true;
    return false;
}

static const struct option *pgha_option(const char *name, size_t n)
{
    for (size_t i = 0; i < option_count; i++) {
        char var[80];
        pgha_name(&option_table[i], var, sizeof(var));
        if (strlen(var) == n && strncmp(var, name, n) == 0)
            return &option_table[i];
    }
    return NULL;
}

static bool starts_with_section(const char *name)
{
    for (size_t i = 0; i < option_count; i++) {
        char var[80];
        pgha_name(&option_table[i], var, sizeof(var));
        size_t n = strlen("PGHA_") + strcspn(option_table[i].name, ".") + 1;
        if (strncmp(var, name, n) == 0)
            return true;
    }
    return false;
}

static bool pgha_variable(struct config *c, const char *entry, struct err *e)
{
    size_t n = strcspn(entry, "=");
    const char *value = entry[n] ? entry + n + 1 : "";
    if (is_service_link(entry, n, value))
        return true;
    const struct option *o = pgha_option(entry, n);
    if (!o) {
        if (!starts_with_section(entry))
            return true; /* somebody else's variable with our prefix */
        return err_set(e, ERR_INVALID, "environment: %.*s is not a setting", (int)(n > 80 ? 80 : n),
                       entry);
    }
    if (o->type != OPT_LIST && o->type != OPT_MAP)
        return option_parse(o, c, value, e) ||
               err_wrap(e, "environment: %.*s (%s)", (int)n, entry, o->name);
    char where[128];
    str_format(where, sizeof(where), "environment: %.*s", (int)n, entry);
    return config_yaml_value(c, o, where, value, e);
}

bool config_env_pgha(struct config *c, char *const *env, struct err *e)
{
    for (; env && *env; env++)
        if (str_starts(*env, "PGHA_") && !pgha_variable(c, *env, e))
            return false;
    return true;
}
