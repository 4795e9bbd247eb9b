/* The token file. A file that cannot be read keeps the tokens of the last good reading. */
#include "devkube/users.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define FILE_MAX ((size_t)1 << 20)

struct user {
    const char *token; /* the three point into the text */
    const char *name;
    const char *ns;
};

struct users {
    char *path;
    struct timespec mtime;
    ino_t inode;
    struct buf text;
    struct user *list;
    size_t n;
};

/* The next word of a line, or NULL; *p moves past it. */
static char *next_word(char **p)
{
    *p += strspn(*p, " \t");
    if (**p == '\0')
        return NULL;
    char *word = *p;
    *p += strcspn(*p, " \t");
    if (**p)
        *(*p)++ = '\0';
    return word;
}

static void parse_line(struct users *u, char *line)
{
    struct user user = {.token = next_word(&line), .name = next_word(&line)};
    user.ns = next_word(&line);
    if (!user.token || user.token[0] == '#' || !user.name)
        return;
    if (!user.ns)
        user.ns = "*";
    u->list = reallocarray(u->list, u->n + 1, sizeof(struct user));
    must(u->list);
    u->list[u->n++] = user;
}

static bool users_read(struct users *u, struct err *e)
{
    struct stat sb;
    struct buf fresh;
    buf_init(&fresh, FILE_MAX);
    if (stat(u->path, &sb) < 0) {
        buf_done(&fresh);
        return err_errno(e, ERR_INVALID, "stat %s", u->path);
    }
    if (!fd_read_file(u->path, &fresh, e)) {
        buf_done(&fresh);
        return false;
    }
    buf_done(&u->text);
    u->text = fresh;
    u->mtime = sb.st_mtim;
    u->inode = sb.st_ino;
    u->n = 0;
    for (char *p = u->text.data; p && *p;) {
        size_t len = strcspn(p, "\n");
        bool last = p[len] == '\0';
        p[len] = '\0';
        parse_line(u, p);
        p += len + (last ? 0 : 1);
    }
    return true;
}

struct users *users_new(const char *path, struct err *e)
{
    struct users *u = calloc(1, sizeof(*u));
    must(u);
    buf_init(&u->text, FILE_MAX);
    if (!path)
        return u;
    must(u->path = strdup(path));
    if (!users_read(u, e)) {
        users_free(u);
        return NULL;
    }
    return u;
}

void users_free(struct users *u)
{
    if (!u)
        return;
    free(u->path);
    free(u->list);
    buf_done(&u->text);
    free(u);
}

static void reread_if_changed(struct users *u)
{
    struct stat sb;
    struct err e;
    if (stat(u->path, &sb) < 0 ||
        (sb.st_ino == u->inode && sb.st_mtim.tv_sec == u->mtime.tv_sec &&
         sb.st_mtim.tv_nsec == u->mtime.tv_nsec))
        return;
    (void)users_read(u, &e);
}

bool users_find(struct users *u, const char *header, const char **user, const char **ns)
{
    const char *token = header && str_starts(header, "Bearer ") ? header + strlen("Bearer ") : "";
    if (!u->path) {
        *user = *token ? token : "system:anonymous";
        *ns = "*";
        return true;
    }
    reread_if_changed(u);
    for (size_t i = 0; i < u->n; i++) {
        if (!str_eq(u->list[i].token, token))
            continue;
        *user = u->list[i].name;
        *ns = u->list[i].ns;
        return true;
    }
    return false;
}
