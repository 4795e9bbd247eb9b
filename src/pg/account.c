/* A name for a uid that has none. */
#include "pg/account.h"

#include <glob.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"

static bool find_library(char dst[PG_PATH_SIZE])
{
    static const char *const patterns[] = {"/usr/lib/*/libnss_wrapper.so",
                                           "/usr/lib/libnss_wrapper.so",
                                           "/usr/lib64/libnss_wrapper.so"};
    bool found = false;
    for (size_t i = 0; !found && i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        glob_t g = {0};
        found = glob(patterns[i], 0, NULL, &g) == 0 && str_copy(dst, PG_PATH_SIZE, g.gl_pathv[0]);
        globfree(&g);
    }
    return found;
}

static bool write_file(const struct pg_env *env, const char *name, const char *what,
                       const char *tail, char dst[PG_ACCOUNT_SIZE], struct err *e)
{
    char path[PG_PATH_SIZE];
    struct buf b;
    buf_init(&b, 256);
    buf_printf(&b, "postgres:x:%s\n", tail);
    bool ok = (pg_path(path, env->state_dir, name) &&
               str_format(dst, PG_ACCOUNT_SIZE, "%s=%s", what, path)) ||
              err_set(e, ERR_INVALID, "%s: the path is too long", name);
    ok = ok && fd_mkdirs(env->state_dir, 0700, e) &&
         fd_replace_file(path, buf_str(&b), b.len, 0600, e);
    buf_done(&b);
    return ok;
}

bool pg_account_make(const struct pg_env *env, struct pg_account *a, struct err *e)
{
    char library[PG_PATH_SIZE], user[128], group[64];
    memset(a, 0, sizeof(*a));
    if (getpwuid(geteuid()))
        return true;
    if (!find_library(library))
        return err_set(e, ERR_NOT_FOUND,
                       "uid %u has no account, which initdb insists on: install libnss-wrapper, or "
                       "run as a user that exists in the image", (unsigned)geteuid());
    (void)str_format(user, sizeof(user), "%u:%u:PostgreSQL:/nonexistent:/bin/false",
                     (unsigned)geteuid(), (unsigned)getegid());
    (void)str_format(group, sizeof(group), "%u:", (unsigned)getegid());
    if (!write_file(env, "nss.passwd", "NSS_WRAPPER_PASSWD", user, a->passwd, e) ||
        !write_file(env, "nss.group", "NSS_WRAPPER_GROUP", group, a->group, e))
        return false;
    (void)str_format(a->preload, sizeof(a->preload), "LD_PRELOAD=%s", library);
    a->extra[0] = a->preload;
    a->extra[1] = a->passwd;
    a->extra[2] = a->group;
    return true;
}
