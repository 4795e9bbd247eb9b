/* Classification of PGDATA from its files, and the markers of unfinished operations. */
#include "pg/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define PM_STATUS_LINE 8 /* LOCK_FILE_LINE_PM_STATUS */

static const char *const marker_names[PG_MARKERS] = {
    [PG_MARK_INITDB] = "initdb.running",
    [PG_MARK_CLONE] = "clone.running",
    [PG_MARK_REWIND] = "rewind.running",
};

const char *pg_marker_name(enum pg_marker m)
{
    return marker_names[m];
}

bool pg_marker_set(const struct pg_env *env, enum pg_marker m, const char *note, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!pg_path(path, env->state_dir, marker_names[m]))
        return err_set(e, ERR_INVALID, "marker: the path is too long");
    struct buf b;
    buf_init(&b, 1024);
    buf_printf(&b, "%s\n", note ? note : "");
    bool ok = fd_mkdirs(env->state_dir, 0700, e) &&
              fd_replace_file(path, buf_str(&b), b.len, 0600, e);
    buf_done(&b);
    return ok;
}

bool pg_marker_clear(const struct pg_env *env, enum pg_marker m, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!pg_path(path, env->state_dir, marker_names[m]))
        return err_set(e, ERR_INVALID, "marker: the path is too long");
    if (unlink(path) != 0) {
        if (errno == ENOENT)
            return true;
        return err_errno(e, ERR_FATAL, "remove %s", path);
    }
    return fd_sync_dir(env->state_dir, e);
}

/* ---- looking ---- */

/* 1 there, 0 absent, -1 the file system refused. */
static int exists(const char *dir, const char *name)
{
    char path[PG_PATH_SIZE];
    struct stat st;
    if (!pg_path(path, dir, name))
        return -1;
    if (lstat(path, &st) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

/* Entries other than those a freshly made file system has; -1 when it cannot be read. */
static int count_entries(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : -1;
    int n = 0;
    struct dirent *de;
    while ((de = readdir(d)))
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
            strcmp(de->d_name, "lost+found") != 0)
            n++;
    closedir(d);
    return n;
}

static bool read_major(const char *dir, uint32_t *major)
{
    char path[PG_PATH_SIZE];
    int64_t v;
    struct buf b;
    buf_init(&b, 64);
    bool ok = pg_path(path, dir, "PG_VERSION") && fd_read_file(path, &b, NULL);
    if (ok && b.len > 0 && b.data[b.len - 1] == '\n')
        b.data[--b.len] = '\0';
    ok = ok && str_to_i64(buf_str(&b), 1, 999, &v);
    if (ok)
        *major = (uint32_t)v;
    buf_done(&b);
    return ok;
}

/* pg_control begins with the system identifier, two version numbers and the state, in the machine's
 * own order, in every version that we run (pg_control.h, ControlFileData). */
static bool read_control(const char *dir, struct pg_datadir *d)
{
    struct {
        uint64_t system_id;
        uint32_t control_version, catalog_version;
        uint32_t state;
    } head;
    char path[PG_PATH_SIZE];
    if (!pg_path(path, dir, "global/pg_control"))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, &head, sizeof(head));
    fd_close(&fd);
    if (n != (ssize_t)sizeof(head) || head.system_id == 0 || head.state > 6)
        return false;
    d->system_id = head.system_id;
    d->clean = head.state == 1 || head.state == 2; /* DB_SHUTDOWNED, DB_SHUTDOWNED_IN_RECOVERY */
    return true;
}

static uint32_t highest_timeline(const char *dir)
{
    char path[PG_PATH_SIZE];
    DIR *d = pg_path(path, dir, "pg_wal") ? opendir(path) : NULL;
    uint32_t best = 0;
    struct dirent *de;
    while (d && (de = readdir(d))) {
        char hex[9];
        uint64_t tl;
        size_t len = strlen(de->d_name);
        bool history = len == 16 && str_ends(de->d_name, ".history");
        bool segment = len >= 24 && strspn(de->d_name, "0123456789ABCDEF") == 24 &&
                       (len == 24 || str_ends(de->d_name, ".partial"));
        if (!history && !segment)
            continue;
        memcpy(hex, de->d_name, 8);
        hex[8] = '\0';
        if (str_to_hex64(hex, &tl) && tl > best)
            best = (uint32_t)tl;
    }
    if (d)
        closedir(d);
    return best;
}

static bool say(struct pg_datadir *d, enum data_state state, const char *why)
{
    d->state = state;
    str_copy(d->why, sizeof(d->why), why);
    return true;
}

/* PGDATA has content and no marker speaks against it. */
static bool classify(uint64_t expected, struct pg_datadir *d)
{
    if (!d->major)
        return say(d, DATA_BROKEN, "the directory is not empty and has no PG_VERSION of a known form");
    if (!d->system_id)
        return say(d, DATA_BROKEN, "global/pg_control is missing or cannot be read");
    if (expected && d->system_id != expected) {
        d->state = DATA_FOREIGN;
        str_format(d->why, sizeof(d->why), "system identifier %llu, this cluster has %llu",
                   (unsigned long long)d->system_id, (unsigned long long)expected);
        return true;
    }
    d->state = DATA_OK;
    return true;
}

bool pg_datadir_look(const struct pg_env *env, uint64_t expected_system_id, struct pg_datadir *d,
                     struct err *e)
{
    *d = (struct pg_datadir){.state = DATA_UNKNOWN};
    for (int m = 0; m < PG_MARKERS; m++) {
        int there = exists(env->state_dir, marker_names[m]);
        if (there < 0)
            return err_errno(e, ERR_FATAL, "look at %s", env->state_dir);
        d->marker[m] = there == 1;
    }
    int n = count_entries(env->data_dir);
    if (n < 0)
        return err_errno(e, ERR_FATAL, "look at %s", env->data_dir);
    if (n > 0) {
        if (!read_major(env->data_dir, &d->major))
            d->major = 0;
        read_control(env->data_dir, d);
        d->standby_signal = exists(env->data_dir, "standby.signal") == 1;
        d->timeline = highest_timeline(env->data_dir);
    }
    /* Before the markers: what another version left unfinished is not for this one to repair. */
    if (d->major && env->major && d->major != env->major) {
        d->state = DATA_FOREIGN;
        must(str_format(d->why, sizeof(d->why), "data of PostgreSQL %u, the binaries are %u", d->major,
                        env->major));
        return true;
    }
    if (d->marker[PG_MARK_REWIND])
        return say(d, DATA_PARTIAL, "a rewind did not finish");
    if (d->marker[PG_MARK_CLONE])
        return say(d, DATA_PARTIAL, "a clone did not finish");
    if (d->marker[PG_MARK_INITDB])
        return say(d, DATA_PARTIAL, "the first initialisation did not finish");
    if (n == 0) {
        d->state = DATA_EMPTY;
        return true;
    }
    return classify(expected_system_id, d);
}

/* ---- changing ---- */

bool pg_datadir_private(const struct pg_env *env, struct err *e)
{
    struct stat st;
    if (stat(env->data_dir, &st) != 0)
        return err_errno(e, ERR_FATAL, "look at %s", env->data_dir);
    /* Reading by the group is the owner's choice at initdb; writing by it is nobody's. */
    mode_t mode = st.st_mode & 07777;
    if (st.st_uid != geteuid())
        return err_set(e, ERR_DENIED, "%s belongs to uid %u and this is uid %u; PostgreSQL insists on its "
                       "owner: set runAsUser to %u, or chown the volume", env->data_dir,
                       (unsigned)st.st_uid, (unsigned)geteuid(), (unsigned)st.st_uid);
    if ((mode & 0027) == 0)
        return true;
    mode = (mode & 0020) ? 0700 : (mode & ~(mode_t)0027);
    if (chmod(env->data_dir, mode) != 0)
        return err_errno(e, ERR_FATAL, "chmod %s", env->data_dir);
    return true;
}

bool pg_standby_signal(const struct pg_env *env, struct err *e)
{
    char path[PG_PATH_SIZE], other[PG_PATH_SIZE];
    if (!pg_path(path, env->data_dir, "standby.signal") ||
        !pg_path(other, env->data_dir, "recovery.signal"))
        return err_set(e, ERR_INVALID, "standby.signal: the path is too long");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "create %s", path);
    bool ok = fsync(fd) == 0;
    fd_close(&fd);
    if (!ok)
        return err_errno(e, ERR_FATAL, "fsync %s", path);
    if (unlink(other) != 0 && errno != ENOENT)
        return err_errno(e, ERR_FATAL, "remove %s", other);
    return fd_sync_dir(env->data_dir, e);
}

bool pg_postmaster_pid_forget(const struct pg_env *env, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!pg_path(path, env->data_dir, "postmaster.pid"))
        return err_set(e, ERR_INVALID, "postmaster.pid: the path is too long");
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(e, ERR_FATAL, "remove %s", path);
    return true;
}

bool pg_postmaster_refuses(const char *data_dir)
{
    char path[PG_PATH_SIZE], text[1024];
    if (!pg_path(path, data_dir, "postmaster.pid"))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    fd_close(&fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *line = text;
    for (int i = 1; i < PM_STATUS_LINE && line != NULL; i++) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return line != NULL && (str_starts(line, "starting") || str_starts(line, "stopping"));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

bool pg_tree_remove(const char *path, struct err *e)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 || errno == ENOENT)
        return true;
    return err_errno(e, ERR_FATAL, "remove %s", path);
}
