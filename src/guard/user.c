/* From root to the database's user, once, before anything is spawned. */
#include "guard/user.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define GROUPS_MAX 64

struct ids {
    uid_t uid;
    gid_t gid;
    char name[64]; /* empty: numbers without an account */
    char home[PATH_MAX];
};

/* Accounts come from /etc/passwd and /etc/group alone: the name service would load libraries, which
 * may ask daemons and the network, into the first process of the container. */
static bool find_account(const char *user, struct ids *ids, struct err *e)
{
    FILE *f = fopen("/etc/passwd", "re");
    if (!f)
        return err_errno(e, ERR_FATAL, "open /etc/passwd");
    const struct passwd *pw;
    while ((pw = fgetpwent(f)) != NULL && !str_eq(pw->pw_name, user)) {
    }
    bool ok = false;
    if (!pw)
        err_set(e, ERR_INVALID,
                "there is no user \"%s\" in /etc/passwd to run PostgreSQL as (PGHA_USER)", user);
    else if (pw->pw_uid == 0)
        err_set(e, ERR_INVALID, "PGHA_USER must not be root");
    else if (!str_copy(ids->home, sizeof(ids->home), pw->pw_dir))
        err_set(e, ERR_INVALID, "home directory of %s too long", user);
    else
        ok = true;
    if (ok) {
        ids->uid = pw->pw_uid;
        ids->gid = pw->pw_gid;
    }
    fclose(f);
    return ok && str_copy(ids->name, sizeof(ids->name), user);
}

/* The groups of an account, its own included. Without /etc/group there is only that one. */
static size_t find_groups(const struct ids *ids, gid_t ret[GROUPS_MAX])
{
    size_t n = 0;
    ret[n++] = ids->gid;
    FILE *f = fopen("/etc/group", "re");
    const struct group *g;
    while (f && n < GROUPS_MAX && (g = fgetgrent(f)) != NULL)
        for (char **m = g->gr_mem; *m; m++)
            if (str_eq(*m, ids->name) && g->gr_gid != ids->gid) {
                ret[n++] = g->gr_gid;
                break;
            }
    if (f)
        fclose(f);
    return n;
}

static bool look_up(const char *user, struct ids *ids, struct err *e)
{
    char text[64];
    int64_t uid, gid;
    memset(ids, 0, sizeof(*ids));
    if (!str_copy(text, sizeof(text), user))
        return err_set(e, ERR_INVALID, "PGHA_USER is too long");
    char *colon = strchr(text, ':');
    if (colon) {
        *colon = '\0';
        if (!str_to_i64(text, 1, UINT32_MAX - 1, &uid) ||
            !str_to_i64(colon + 1, 0, UINT32_MAX - 1, &gid))
            return err_set(e, ERR_INVALID, "PGHA_USER: want a name or uid:gid, not root: %s", user);
        ids->uid = (uid_t)uid;
        ids->gid = (gid_t)gid;
        return true;
    }
    return find_account(user, ids, e);
}

static uid_t walk_uid; /* nftw has no argument for its callback */
static gid_t walk_gid;

static int chown_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)type;
    (void)ftw;
    if (st->st_uid == walk_uid)
        return 0;
    return lchown(path, walk_uid, walk_gid);
}

static bool give(const char *dir, const struct ids *ids, struct err *e)
{
    if (!fd_mkdirs(dir, 0755, e))
        return false;
    struct stat st;
    if (stat(dir, &st) != 0)
        return err_errno(e, ERR_FATAL, "stat %s", dir);
    if (st.st_uid == ids->uid)
        return true;
    walk_uid = ids->uid;
    walk_gid = ids->gid;
    if (nftw(dir, chown_entry, 16, FTW_PHYS) != 0)
        return err_errno(e, ERR_FATAL, "change the owner of %s", dir);
    if (chmod(dir, 0700) != 0)
        return err_errno(e, ERR_FATAL, "chmod %s", dir);
    return true;
}

/* The directory above data_dir, where copies are set aside, when it is a volume that root has just
 * mounted; any other directory keeps its owner. */
static bool give_volume_root(const char *data_dir, const struct ids *ids, struct err *e)
{
    char dir[PATH_MAX], above[PATH_MAX];
    struct stat here, up;
    if (!str_copy(dir, sizeof(dir), data_dir))
        return err_set(e, ERR_INVALID, "path too long: %s", data_dir);
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return true;
    *slash = '\0';
    if (!str_format(above, sizeof(above), "%s/..", dir) || stat(dir, &here) != 0 ||
        stat(above, &up) != 0)
        return true;
    if (here.st_uid != 0 || here.st_dev == up.st_dev)
        return true;
    if (chown(dir, ids->uid, ids->gid) != 0)
        return err_errno(e, ERR_FATAL, "change the owner of %s", dir);
    return true;
}

/* In a child: its memory goes with it, and a slow volume does not become a property of guard. */
static bool give_dirs(const char *data_dir, const char *state_dir, const struct ids *ids,
                      struct err *e)
{
    int pipe_fd[2];
    if (pipe2(pipe_fd, O_CLOEXEC) != 0)
        return err_errno(e, ERR_FATAL, "pipe");
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, ERR_FATAL, "fork");
    if (pid == 0) {
        struct err why = {0};
        bool ok = give_volume_root(data_dir, ids, &why) && give(data_dir, ids, &why) &&
                  give(state_dir, ids, &why);
        if (!ok)
            fd_write_all(pipe_fd[1], why.msg, strlen(why.msg), NULL);
        _exit(ok ? 0 : 1);
    }
    fd_close(&pipe_fd[1]);
    char why[512];
    ssize_t n = read(pipe_fd[0], why, sizeof(why) - 1);
    fd_close(&pipe_fd[0]);
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status == 0)
        return true;
    why[n > 0 ? n : 0] = '\0';
    return err_set(e, ERR_FATAL, "prepare the volume: %s", why);
}

static bool drop(const struct ids *ids, struct err *e)
{
    gid_t groups[GROUPS_MAX];
    size_t n = ids->name[0] ? find_groups(ids, groups) : 0;
    if (setgroups(n, groups) != 0)
        return err_errno(e, ERR_FATAL, "set the groups of uid %u", (unsigned)ids->uid);
    if (setresgid(ids->gid, ids->gid, ids->gid) != 0)
        return err_errno(e, ERR_FATAL, "become gid %u", (unsigned)ids->gid);
    if (setresuid(ids->uid, ids->uid, ids->uid) != 0)
        return err_errno(e, ERR_FATAL, "become uid %u", (unsigned)ids->uid);
    /* The kernel makes a process that changed its user unreadable; /proc/self must stay ours. */
    prctl(PR_SET_DUMPABLE, 1);
    if (ids->home[0] && (setenv("HOME", ids->home, 1) != 0 || setenv("USER", ids->name, 1) != 0))
        return err_errno(e, ERR_FATAL, "set HOME");
    return true;
}

bool user_become(const char *user, const char *data_dir, const char *state_dir, struct err *e)
{
    if (geteuid() != 0)
        return true;
    struct ids ids;
    if (!look_up(user, &ids, e) || !give_dirs(data_dir, state_dir, &ids, e) || !drop(&ids, e))
        return false;
    if (geteuid() == 0 || setuid(0) == 0)
        return err_set(e, ERR_BUG, "still root after becoming %s", user);
    return true;
}
