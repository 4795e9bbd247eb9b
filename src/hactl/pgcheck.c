/* Asks an installed server about parameters: a file with them alone, and `postgres -C`, which reads it
 * and does nothing else (so it may also run as root). */
#include "hactl/pgcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define DEBIAN_ROOT "/usr/lib/postgresql"
#define OUTPUT_MAX (256 * 1024)

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool in_path(char *dst, size_t size)
{
    const char *p = getenv("PATH");

    while (p && *p) {
        size_t n = strcspn(p, ":");
        if (n > 0 && str_format(dst, size, "%.*s/postgres", (int)n, p) && is_program(dst))
            return true;
        p += n + (p[n] == ':');
    }
    return false;
}

static bool newest(char *dst, size_t size, const char *root)
{
    char pattern[256];
    glob_t g;
    bool found = false;

    if (!str_format(pattern, sizeof(pattern), "%s/*/bin/postgres", root) ||
        glob(pattern, 0, NULL, &g) != 0)
        return false;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        if (is_program(g.gl_pathv[i]) && (!found || strverscmp(g.gl_pathv[i], dst) > 0))
            found = str_copy(dst, size, g.gl_pathv[i]);
    }
    globfree(&g);
    return found;
}

static bool find_server(const struct config *c, const char *root, struct pgcheck *p)
{
    const char *dir = c->postgres.bin_dir;

    if (dir && *dir &&
        !(str_format(p->program, sizeof(p->program), "%s/postgres", dir) && is_program(p->program)))
        p->program[0] = '\0'; /* another one's opinion would be of another version */
    else if (!(dir && *dir) && !in_path(p->program, sizeof(p->program)) &&
             !newest(p->program, sizeof(p->program), root ? root : DEBIAN_ROOT))
        p->program[0] = '\0';
    return p->program[0] != '\0';
}

static bool is_faulty(const struct pgcheck *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcasecmp(p->fault[i].name, name) == 0)
            return true;
    }
    return false;
}

/* In quotes, ' and \ doubled (PostgreSQL manual, 20.1.2). Names that are known as faulty are left out:
 * the server judges values only when it knows every name. */
static void put_parameters(const struct config *c, const struct pgcheck *p, struct buf *b)
{
    for (size_t i = 0; i < c->postgres.parameters.n; i++) {
        const struct config_pair *x = &c->postgres.parameters.v[i];
        if (is_faulty(p, x->key))
            continue;
        buf_printf(b, "%s = '", x->key);
        for (const char *s = x->value; *s; s++) {
            if (*s == '\'' || *s == '\\')
                buf_put(b, s, 1);
            buf_put(b, s, 1);
        }
        buf_puts(b, "'\n");
    }
}

/* Both outputs go to the file; messages in English, since they are read by a program. */
static int ask(const char *program, const char *dir, const char *output)
{
    char flag[] = "-C", what[] = "port", data[] = "-D", folder[256], name[256];
    char c1[] = "LC_ALL=C", c2[] = "PATH=/usr/bin:/bin";
    char *argv[] = {name, flag, what, data, folder, NULL}, *env[] = {c1, c2, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none;
    int status = -1, rc;
    pid_t pid;

    /* It finds its own files by the path it was called with. */
    must(str_copy(folder, sizeof(folder), dir) && str_copy(name, sizeof(name), program));
    must(posix_spawn_file_actions_init(&fa) == 0 && posix_spawnattr_init(&attr) == 0);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    rc = posix_spawn(&pid, program, &fa, &attr, argv, env);
    while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    if (rc != 0)
        errno = rc;
    return rc == 0 ? status : -1;
}

/* "… LOG:  invalid value for parameter "work_mem": "lots"" */
static void take_line(struct pgcheck *p, const char *line, size_t len)
{
    static const char *const levels[] = {"LOG:  ", "FATAL:  ", "ERROR:  "};
    static const char mark[] = "parameter \"";
    char text[1024];
    const char *said = NULL, *name;

    if (len >= sizeof(text))
        len = sizeof(text) - 1;
    memcpy(text, line, len);
    text[len] = '\0';
    for (size_t i = 0; !said && i < sizeof(levels) / sizeof(levels[0]); i++) {
        said = strstr(text, levels[i]);
        said = said ? said + strlen(levels[i]) : NULL;
    }
    if (!said || !(name = strstr(said, mark)) || p->n == PGCHECK_FAULTS_MAX)
        return;
    name += sizeof(mark) - 1;
    struct pgcheck_fault *f = &p->fault[p->n];
    size_t n = strcspn(name, "\"");
    if (n == 0 || n >= sizeof(f->name))
        return;
    memcpy(f->name, name, n);
    f->name[n] = '\0';
    char *file = strstr(text, " in file \""); /* ours, and gone when this is read */
    if (file)
        *file = '\0';
    if (is_faulty(p, f->name) || !str_format(f->text, sizeof(f->text), "%.500s", said))
        return;
    p->n++;
}

/* True: every word was understood, faults may have been added. */
static bool one_round(const struct config *c, struct pgcheck *p, const char *dir, bool *again,
                      struct err *e)
{
    char conf[300], output[300];
    size_t known = p->n;
    struct buf b;
    bool ok;

    must(str_format(conf, sizeof(conf), "%s/postgresql.conf", dir) &&
         str_format(output, sizeof(output), "%s/output", dir));
    buf_init(&b, OUTPUT_MAX);
    put_parameters(c, p, &b);
    ok = !b.overflow ? fd_replace_file(conf, buf_str(&b), b.len, 0600, e)
                     : err_set(e, ERR_INVALID, "the parameters are too long");
    int status = ok ? ask(p->program, dir, output) : 0;
    if (ok && status < 0)
        ok = err_set(e, ERR_FATAL, "cannot run %s: %s", p->program, strerror(errno));
    ok = ok && fd_read_file(output, &b, e);
    for (const char *s = ok ? buf_str(&b) : ""; *s;) {
        size_t n = strcspn(s, "\n");
        take_line(p, s, n);
        s += n + (s[n] == '\n');
    }
    bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    *again = ok && failed && p->n > known && p->n < PGCHECK_FAULTS_MAX;
    if (ok && failed && p->n == known) {
        const char *s = strstr(buf_str(&b), "FATAL:  ");
        ok = err_set(e, ERR_FATAL, "%s says: %.300s", p->program,
                     s ? s + strlen("FATAL:  ") : buf_str(&b));
    }
    buf_done(&b);
    unlink(conf);
    unlink(output);
    return ok;
}

bool pgcheck_run(const struct config *c, const char *root, struct pgcheck *ret, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    char dir[256];
    bool ok = true, again = true;

    *ret = (struct pgcheck){0};
    if (!find_server(c, root, ret))
        return true;
    if (!str_format(dir, sizeof(dir), "%s/hactl-check-XXXXXX", tmp && *tmp ? tmp : "/tmp") ||
        !mkdtemp(dir))
        return err_set(e, ERR_FATAL, "cannot make a temporary directory: %s", strerror(errno));
    while (ok && again)
        ok = one_round(c, ret, dir, &again, e);
    rmdir(dir);
    return ok;
}
