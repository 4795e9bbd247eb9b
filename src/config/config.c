/* Loading in order of the sources, reloading, and questions about the result. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/jw.h"
#include "base/must.h"
#include "base/str.h"
#include "config/option.h"

#define PASSWORD_MAX 1024

/* free() alone would leave the password in the heap for the next reader of a core dump. */
static void free_secret(char **s)
{
    if (*s)
        explicit_bzero(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

void config_done(struct config *c)
{
    for (size_t i = 0; i < option_count; i++)
        option_free(&option_table[i], c);
    free_secret(&c->postgres.superuser_password);
    *c = (struct config){0};
}

static void config_init(struct config *c)
{
    *c = (struct config){0};
    for (size_t i = 0; i < option_count; i++)
        option_init(&option_table[i], c);
    c->postgres.superuser_password = strdup("");
    must(c->postgres.superuser_password != NULL);
}

static bool apply_file(struct config *c, const char *named, struct err *e)
{
    const char *path = named ? named : CONFIG_FILE;
    struct buf b;
    struct err why = {0};
    buf_init(&b, CONFIG_TEXT_MAX);
    bool ok = fd_read_file(path, &b, &why);
    if (ok) {
        ok = config_yaml_apply(c, path, buf_str(&b), b.len, false, e);
    } else if (why.kind == ERR_NOT_FOUND && !named) {
        ok = true;
    } else if (e) {
        *e = why;
    }
    buf_done(&b);
    return ok;
}

static bool build(struct config *c, const struct config_sources *s, struct err *e)
{
    return config_env_image(c, s->env, e) && (s->no_file || apply_file(c, s->file, e)) &&
           (!s->cluster_text || config_yaml_apply(c, "cluster settings", s->cluster_text,
                                                  strlen(s->cluster_text), true, e)) &&
           config_env_pgha(c, s->env, e) && config_finish(c, s->check_only, e);
}

bool config_load(struct config *c, const struct config_sources *s, struct err *e)
{
    struct config fresh;
    config_init(&fresh);
    if (!build(&fresh, s, e)) {
        config_done(&fresh);
        return false;
    }
    config_done(c);
    *c = fresh;
    return true;
}

bool config_check_cluster_text(const char *text, struct err *e)
{
    struct config c;
    config_init(&c);
    bool ok = config_yaml_apply(&c, "cluster settings", text, strlen(text), true, e) &&
              config_finish(&c, true, e);
    config_done(&c);
    return ok;
}

static char *text_of(const struct option *o, const struct config *c)
{
    struct buf b;
    buf_init(&b, CONFIG_TEXT_MAX * 4);
    option_print(o, c, &b);
    char *s = strdup(buf_str(&b));
    must(s != NULL);
    buf_done(&b);
    return s;
}

static void note_change(struct config_changes *ch, const struct option *o, const struct config *old,
                        const struct config *fresh)
{
    struct config_change *v = realloc(ch->v, (ch->n + 1) * sizeof(*v));
    must(v != NULL);
    ch->v = v;
    ch->v[ch->n++] = (struct config_change){.name = o->name,
                                            .from = text_of(o, old),
                                            .to = text_of(o, fresh),
                                            .needs_restart = !(o->flags & OPT_RELOAD)};
}

void config_changes_done(struct config_changes *ch)
{
    for (size_t i = 0; i < ch->n; i++) {
        free(ch->v[i].from);
        free(ch->v[i].to);
    }
    free(ch->v);
    *ch = (struct config_changes){0};
}

bool config_reload(struct config *c, const struct config_sources *s, struct config_changes *ret,
                   struct err *e)
{
    struct config fresh = {0};
    if (!config_load(&fresh, s, e))
        return false;
    *ret = (struct config_changes){0};
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &option_table[i];
        if (option_equal(o, c, &fresh))
            continue;
        note_change(ret, o, c, &fresh);
        if (o->flags & OPT_RELOAD)
            option_copy(o, c, &fresh);
    }
    config_done(&fresh);
    return true;
}

static bool read_password(const char *path, const char *given, const char *what, struct buf *ret,
                          struct err *e)
{
    buf_clear(ret);
    if (path[0]) {
        if (!fd_read_file(path, ret, e))
            return err_wrap(e, "password of %s", what);
        while (ret->len > 0 && (ret->data[ret->len - 1] == '\n' || ret->data[ret->len - 1] == '\r'))
            ret->data[--ret->len] = '\0';
    } else {
        buf_puts(ret, given);
    }
    if (ret->len == 0)
        return err_set(e, path[0] ? ERR_INVALID : ERR_NOT_FOUND, "password of %s: %s", what,
                       path[0] ? "the file is empty" : "neither a value nor a file is set");
    if (strlen(buf_str(ret)) != ret->len || ret->len > PASSWORD_MAX || strpbrk(buf_str(ret), "\r\n"))
        return err_set(e, ERR_INVALID, "password of %s: must be one line of at most %d bytes", what,
                       PASSWORD_MAX);
    return true;
}

bool config_superuser_password(const struct config *c, struct buf *ret, struct err *e)
{
    return read_password(c->postgres.superuser_password_file, c->postgres.superuser_password,
                         c->postgres.superuser, ret, e);
}

bool config_replication_password(const struct config *c, struct buf *ret, struct err *e)
{
    return read_password(c->postgres.replication_password_file, "", c->postgres.replication_user,
                         ret, e);
}

bool config_get_text(const struct config *c, const char *name, struct buf *ret)
{
    const struct option *o = option_find(name);
    if (!o)
        return false;
    option_print(o, c, ret);
    return !ret->overflow;
}

static void write_json(struct jw *j, const struct option *o, const struct config *c)
{
    const char *key = strchr(o->name, '.') + 1;
    const char *p = (const char *)c + o->offset;
    if (o->type == OPT_BOOL) {
        jw_bool(j, key, *(const bool *)p);
    } else if (o->type == OPT_INT) {
        jw_int(j, key, *(const int64_t *)(const void *)p);
    } else if (o->type == OPT_LIST) {
        const struct config_list *l = (const void *)p;
        jw_array(j, key);
        for (size_t i = 0; i < l->n; i++)
            jw_string(j, NULL, l->v[i]);
        jw_array_end(j);
    } else if (o->type == OPT_MAP) {
        const struct config_map *m = (const void *)p;
        jw_object(j, key);
        for (size_t i = 0; i < m->n; i++)
            jw_string(j, m->v[i].key, m->v[i].value);
        jw_object_end(j);
    } else {
        char *text = text_of(o, c);
        jw_string(j, key, text);
        free(text);
    }
}

bool config_to_json(const struct config *c, struct buf *ret)
{
    struct jw j;
    jw_init(&j, ret);
    jw_object(&j, NULL);
    const char *section = "";
    size_t n = 0;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &option_table[i];
        size_t m = strcspn(o->name, ".");
        if (m != n || strncmp(section, o->name, n) != 0) {
            char key[32];
            must(m < sizeof(key));
            memcpy(key, o->name, m);
            key[m] = '\0';
            if (n > 0)
                jw_object_end(&j);
            jw_object(&j, key);
            section = o->name;
            n = m;
        }
        write_json(&j, o, c);
    }
    jw_object_end(&j);
    jw_object_end(&j);
    return !ret->overflow;
}
