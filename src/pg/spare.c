/* The spare segment in pg_wal, and segments that were made and never written to. */
#include "pg/spare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define SPARE "xlogtemp.pghad"
#define UNFINISHED "xlogtemp.pghad.new"
#define SEGMENT_MIN (1u << 20)
#define ROOM 16 /* segments */
#define NAME_LEN 24

static bool wal_dir(const struct pg_env *env, char dst[PG_PATH_SIZE], struct err *e)
{
    return pg_path(dst, env->data_dir, "pg_wal") ||
           err_set(e, ERR_INVALID, "pg_wal: the path is too long");
}

static bool is_segment(const char *name)
{
    return strlen(name) == NAME_LEN && strspn(name, "0123456789ABCDEF") == NAME_LEN;
}

/* Size of one segment of the directory; 0 = it has none. */
static uint64_t segment_size(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *de;
    struct stat st;
    uint64_t size = 0;
    while (d && size == 0 && (de = readdir(d)))
        if (is_segment(de->d_name) && fstatat(dirfd(d), de->d_name, &st, 0) == 0 && st.st_size > 0)
            size = (uint64_t)st.st_size;
    if (d)
        closedir(d);
    return size;
}

static bool size_is_good(uint64_t size)
{
    return size >= SEGMENT_MIN && size <= PG_SPARE_BYTES_MAX && (size & (size - 1)) == 0;
}

bool pg_spare_there(const struct pg_env *env)
{
    char dir[PG_PATH_SIZE], path[PG_PATH_SIZE];
    return wal_dir(env, dir, NULL) && pg_path(path, dir, SPARE) && access(path, F_OK) == 0;
}

static bool fill(const char *path, uint64_t size, struct err *e)
{
    static const char zeros[1 << 18];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, ERR_TRANSIENT, "create %s", path);
    bool ok = true;
    for (uint64_t at = 0; ok && at < size; at += sizeof(zeros))
        ok = fd_write_all(fd, zeros, sizeof(zeros), e);
    if (ok && fsync(fd) != 0)
        ok = err_errno(e, ERR_TRANSIENT, "fsync %s", path);
    fd_close(&fd);
    return ok;
}

bool pg_spare_make(const struct pg_env *env, struct err *e)
{
    char dir[PG_PATH_SIZE], path[PG_PATH_SIZE], tmp[PG_PATH_SIZE];
    struct statvfs fs;
    if (!wal_dir(env, dir, e))
        return false;
    if (!pg_path(path, dir, SPARE) || !pg_path(tmp, dir, UNFINISHED))
        return err_set(e, ERR_INVALID, "spare segment: the path is too long");
    uint64_t size = segment_size(dir);
    if (!size_is_good(size))
        return err_set(e, ERR_INVALID, "spare segment: not for segments of %llu bytes",
                       (unsigned long long)size);
    if (statvfs(dir, &fs) != 0)
        return err_errno(e, ERR_TRANSIENT, "look at %s", dir);
    if ((uint64_t)fs.f_bavail * fs.f_frsize < ROOM * size)
        return err_set(e, ERR_INVALID, "spare segment: the volume has too little room");
    bool ok = fill(tmp, size, e);
    if (ok && rename(tmp, path) != 0)
        ok = err_errno(e, ERR_TRANSIENT, "rename %s", tmp);
    if (!ok)
        unlink(tmp);
    return ok;
}

bool pg_spare_use(const struct pg_env *env, uint32_t timeline, uint64_t lsn, struct err *e)
{
    char dir[PG_PATH_SIZE], spare[PG_PATH_SIZE], path[PG_PATH_SIZE], name[32];
    struct stat st;
    if (!wal_dir(env, dir, e))
        return false;
    if (!pg_path(spare, dir, SPARE))
        return err_set(e, ERR_INVALID, "spare segment: the path is too long");
    if (stat(spare, &st) != 0)
        return err_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_TRANSIENT, "look at %s", spare);
    uint64_t size = (uint64_t)st.st_size;
    if (!size_is_good(size))
        return err_set(e, ERR_INVALID, "%s: not the size of a segment", spare);
    uint64_t segment = lsn / size, per_id = UINT64_C(0x100000000) / size;
    must(str_format(name, sizeof(name), "%08X%08X%08X", timeline, (unsigned)(segment / per_id),
                    (unsigned)(segment % per_id)));
    if (!pg_path(path, dir, name))
        return err_set(e, ERR_INVALID, "spare segment: the path is too long");
    /* link and not rename: what the walreceiver has written must never be replaced. */
    if (link(spare, path) != 0)
        return err_errno(e, errno == EEXIST ? ERR_CONFLICT : ERR_TRANSIENT, "create %s", path);
    if (unlink(spare) != 0)
        return err_errno(e, ERR_TRANSIENT, "remove %s", spare);
    /* What is confirmed in it must be found again: the walreceiver syncs the file, not its name. */
    return fd_sync_dir(dir, e);
}

bool pg_spare_drop(const struct pg_env *env, struct err *e)
{
    char dir[PG_PATH_SIZE], path[PG_PATH_SIZE];
    if (!wal_dir(env, dir, e))
        return false;
    if (!pg_path(path, dir, SPARE))
        return err_set(e, ERR_INVALID, "spare segment: the path is too long");
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(e, ERR_TRANSIENT, "remove %s", path);
    return true;
}

/* A page that begins with zeros is no proof: storage that lost the first one may have kept others. */
bool pg_segment_begun(const char *path)
{
    static char part[1 << 16];
    static const char zeros[sizeof(part)];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true; /* not known: nothing may be concluded from it */
    ssize_t n;
    do
        n = read(fd, part, sizeof(part));
    while (n > 0 && memcmp(part, zeros, (size_t)n) == 0);
    fd_close(&fd);
    return n != 0;
}

/* Has an older timeline a segment of the same number? */
static bool has_older(const char *dir, const char *name)
{
    DIR *d = opendir(dir);
    struct dirent *de;
    bool found = false;
    while (d && !found && (de = readdir(d)))
        found = is_segment(de->d_name) && strcmp(de->d_name + 8, name + 8) == 0 &&
                strncmp(de->d_name, name, 8) < 0;
    if (d)
        closedir(d);
    return found;
}

bool pg_spare_settle(const struct pg_env *env, struct err *e)
{
    char dir[PG_PATH_SIZE], path[PG_PATH_SIZE];
    if (!wal_dir(env, dir, e))
        return false;
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, ERR_FATAL, "open %s", dir);
    bool ok = true;
    struct dirent *de;
    while (ok && (de = readdir(d))) {
        if (!is_segment(de->d_name) || !pg_path(path, dir, de->d_name) || pg_segment_begun(path) ||
            !has_older(dir, de->d_name))
            continue;
        if (unlink(path) != 0 && errno != ENOENT)
            ok = err_errno(e, ERR_TRANSIENT, "remove %s", path);
    }
    closedir(d);
    return ok;
}
