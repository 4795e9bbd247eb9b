/* Children of the postmaster and their kinds, from /proc. */
#include "pg/proctree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define TITLE_SIZE 256

static const struct {
    const char *word; /* how the title begins after the cluster name */
    enum pg_child kind;
} titles[] = {
    {"walreceiver", PG_CHILD_WALRECEIVER},
    {"startup", PG_CHILD_STARTUP},
    {"checkpointer", PG_CHILD_CHECKPOINTER},
    {"walsender", PG_CHILD_WALSENDER},
    {"archiver", PG_CHILD_ARCHIVER},
    {"background writer", PG_CHILD_AUX},
    {"walwriter", PG_CHILD_AUX},
    {"autovacuum", PG_CHILD_AUX},
    {"logical replication", PG_CHILD_AUX},
    {"logger", PG_CHILD_AUX},
    {"parallel worker", PG_CHILD_AUX},
    {"slotsync worker", PG_CHILD_AUX},
    {"walsummarizer", PG_CHILD_AUX},
    {"io worker", PG_CHILD_AUX},
};

enum pg_child pg_proctree_kind(const char *title, const char *cluster_name)
{
    if (!str_starts(title, "postgres: "))
        return PG_CHILD_UNKNOWN; /* just forked: it still has the postmaster's command line */
    title += strlen("postgres: ");
    size_t n = strlen(cluster_name);
    if (n > 0) {
        if (strncmp(title, cluster_name, n) != 0 || !str_starts(title + n, ": "))
            return PG_CHILD_UNKNOWN;
        title += n + 2;
    }
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        size_t len = strlen(titles[i].word);
        if (strncmp(title, titles[i].word, len) == 0 && (title[len] == ' ' || title[len] == '\0'))
            return titles[i].kind;
    }
    return PG_CHILD_BACKEND;
}

/* A file of /proc, NUL-terminated; its size, or -1 when the process is gone. */
static ssize_t read_proc(const char *pid, const char *name, char *dst, size_t size)
{
    char path[64];
    if (!str_format(path, sizeof(path), "/proc/%s/%s", pid, name))
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, dst, size - 1);
    fd_close(&fd);
    if (n >= 0)
        dst[n] = '\0';
    return n;
}

/* "pid (comm) S ppid ...": comm may hold anything, so from the last parenthesis on. */
static bool read_stat(const char *pid, char *state, int64_t *ppid)
{
    char text[512];
    if (read_proc(pid, "stat", text, sizeof(text)) <= 0)
        return false;
    char *p = strrchr(text, ')');
    if (!p || p[1] != ' ' || p[2] == '\0' || p[3] != ' ')
        return false;
    *state = p[2];
    char *num = p + 4;
    num[strcspn(num, " ")] = '\0';
    return str_to_i64(num, 0, INT32_MAX, ppid);
}

static void add_child(struct pg_proctree *t, const char *name, pid_t pid, const char *cluster_name)
{
    char title[TITLE_SIZE];
    ssize_t n = read_proc(name, "cmdline", title, sizeof(title));
    if (n < 0)
        return; /* ended since */
    for (size_t len = strlen(title); len > 0 && title[len - 1] == ' '; len--)
        title[len - 1] = '\0';
    enum pg_child kind = pg_proctree_kind(title, cluster_name);
    t->n[kind]++;
    if (kind == PG_CHILD_WALRECEIVER)
        t->walreceiver = pid;
    else if (kind == PG_CHILD_CHECKPOINTER)
        t->checkpointer = pid;
    else if (kind == PG_CHILD_STARTUP) {
        t->startup = pid;
        const char *what = strstr(title, "startup");
        snprintf(t->startup_title, sizeof(t->startup_title), "%.*s",
                 (int)sizeof(t->startup_title) - 1, what + strlen("startup"));
    }
}

bool pg_proctree_read(struct pg_proctree *t, pid_t postmaster, const char *cluster_name,
                      struct err *e)
{
    *t = (struct pg_proctree){0};
    DIR *d = opendir("/proc");
    if (!d)
        return err_errno(e, ERR_FATAL, "open /proc");
    struct dirent *de;
    while ((de = readdir(d))) {
        int64_t pid, ppid;
        char state;
        if (!isdigit((unsigned char)de->d_name[0]) ||
            !str_to_i64(de->d_name, 1, INT32_MAX, &pid) || !read_stat(de->d_name, &state, &ppid))
            continue;
        if (state == 'Z' || state == 'X')
            continue;
        if (pid == postmaster)
            t->alive = true;
        else if (ppid == postmaster)
            add_child(t, de->d_name, (pid_t)pid, cluster_name);
    }
    closedir(d);
    return true;
}

enum tri pg_proctree_has_walreceiver(const struct pg_proctree *t)
{
    if (t->n[PG_CHILD_WALRECEIVER] > 0)
        return TRI_YES;
    /* Without the postmaster its children belong to somebody else and cannot be told apart. */
    if (!t->alive || t->n[PG_CHILD_UNKNOWN] > 0)
        return TRI_UNKNOWN;
    return TRI_NO;
}

bool pg_proctree_end_walreceiver(const struct pg_proctree *t, struct err *e)
{
    if (t->walreceiver <= 1)
        return true;
    if (kill(t->walreceiver, SIGTERM) != 0 && errno != ESRCH)
        return err_errno(e, ERR_FATAL, "SIGTERM to the walreceiver");
    kill(t->walreceiver, SIGCONT);
    return true;
}
