/* Asks PostgreSQL and looks at the lines of pg_hba.conf before anything of the user's is written:
 * one bad name makes a running server ignore every other setting of the file, ours included, and
 * keeps a stopped one from starting. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "conf_private.h"
#include "loop/proc.h"
#include "pg/datadir.h"

#define CHECK_MS 2000
#define FIELDS_MAX 16

/* ---- pg_hba.conf ---- */

/* The next field: quotes hold blanks together, commas make lists. */
static const char *next_field(const char *p, char dst[64])
{
    size_t n = 0;
    bool quoted = false, list = false;
    p += strspn(p, " \t");
    for (; *p && (quoted || list || (*p != ' ' && *p != '\t')) && (quoted || *p != '#'); p++) {
        quoted ^= *p == '"';
        list = !quoted && (*p == ',' || (list && (*p == ' ' || *p == '\t')));
        if (n < 63)
            dst[n++] = *p;
    }
    dst[n] = '\0';
    return n > 0 ? p : NULL;
}

static bool one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* What begins like an address must be one; anything else is a name or a word of PostgreSQL's. */
static bool address_is_good(const char *text)
{
    char host[64];
    unsigned char raw[16];
    int64_t bits;
    if (text[0] == '"' || text[strspn(text, "0123456789abcdefABCDEF.:")] != '/')
        return true;
    str_copy(host, sizeof(host), text);
    char *slash = strchr(host, '/');
    if (slash == NULL)
        return false; /* longer than any address */
    *slash = '\0';
    int family = strchr(host, ':') ? AF_INET6 : AF_INET;
    return inet_pton(family, host, raw) == 1 &&
           str_to_i64(slash + 1, 0, family == AF_INET ? 32 : 128, &bits);
}

bool pg_conf_check_hba(const char *line, size_t number, struct err *e)
{
    static const char *const types[] = {"host", "hostssl", "hostnossl", "hostgssenc",
                                        "hostnogssenc", NULL};
    static const char *const includes[] = {"include", "include_if_exists", "include_dir", NULL};
    static const char *const methods[] = {"trust", "reject", "md5", "password", "scram-sha-256",
                                          "gss", "sspi", "ident", "peer", "pam", "ldap", "radius",
                                          "cert", "bsd", "oauth", NULL};
    char f[FIELDS_MAX][64];
    size_t n = 0;
    const char *p = line;
    while (n < FIELDS_MAX && (p = next_field(p, f[n])) != NULL)
        n++;
    if (n == 0 || one_of(f[0], includes))
        return true;
    bool local = strcmp(f[0], "local") == 0;
    if (!local && !one_of(f[0], types))
        return err_set(e, ERR_INVALID, "hba line %zu: \"%s\" is no type of connection", number, f[0]);
    size_t at = local ? 3 : 4;
    /* An address without a mask after a slash has it in the next field. */
    if (!local && n > 5 && !one_of(f[4], methods) && strspn(f[4], "0123456789abcdef.:") == strlen(f[4]))
        at = 5;
    if (n <= at)
        return err_set(e, ERR_INVALID, "hba line %zu: type, database, user, %smethod are needed",
                       number, local ? "" : "address, ");
    if (!local && !address_is_good(f[3]))
        return err_set(e, ERR_INVALID, "hba line %zu: \"%s\" is no address", number, f[3]);
    for (size_t i = at + 1; i < n; i++)
        if (strchr(f[i], '=') == NULL)
            return err_set(e, ERR_INVALID, "hba line %zu: \"%s\" is no option", number, f[i]);
    if (!one_of(f[at], methods))
        return err_set(e, ERR_INVALID, "hba line %zu: \"%s\" is no authentication method", number,
                       f[at]);
    return true;
}

/* ---- postgresql.conf ---- */

/* "... LOG:  <what> in file "..." line 3": the first such line; where it is our own file, whose lines
 * nobody knows, without the place. */
static void explain(const char *text, const char *file, struct err *e)
{
    const char *best = NULL;
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        const char *log = strstr(p, "LOG:  ");
        const char *end = p + strcspn(p, "\n");
        if (log && log < end && strncmp(log + 6, "skipping", 8) != 0) {
            best = log + 6;
            break;
        }
    }
    if (!best)
        best = strstr(text, "FATAL:  ") ? strstr(text, "FATAL:  ") + 8 : text;
    char said[320];
    size_t n = strcspn(best, "\n");
    n = n < sizeof(said) - 1 ? n : sizeof(said) - 1;
    memcpy(said, best, n);
    said[n] = '\0';
    char *in = strstr(said, " in file \"");
    if (in && strstr(in, file))
        *in = '\0';
    err_set(e, ERR_INVALID, "PostgreSQL refuses its settings: %s", said);
}

/* The value is the last line, after whatever there is to complain about. */
static bool take_preload(struct pg_conf *c, const char *text, struct err *e)
{
    size_t n = strlen(text);
    n -= n > 0 && text[n - 1] == '\n';
    size_t from = n;
    while (from > 0 && text[from - 1] != '\n')
        from--;
    if (n - from >= sizeof(c->preload))
        return err_set(e, ERR_INVALID, "shared_preload_libraries: longer than %zu characters",
                       sizeof(c->preload) - 1);
    memcpy(c->preload, text + from, n - from);
    c->preload[n - from] = '\0';
    c->preload_known = true;
    return true;
}

/* An answer in time is needed to refuse anything: a slow disk is no fault of the settings. */
static bool ask(struct pg_conf *c, const char *file, struct err *e)
{
    char config[PG_PATH_SIZE + 32];
    static const char *const env[] = {"LC_ALL=C", "PATH=/usr/bin:/bin", NULL};
    must(str_format(config, sizeof(config), "config_file=%s", file));
    const char *argv[] = {c->postgres, "-C", "shared_preload_libraries", "-c", config, NULL};
    struct loop *l = loop_new();
    must(l != NULL);
    struct loop_source src = proc_source();
    loop_add(l, &src);
    struct proc_spec spec = {.argv = argv, .env = env, .out_max = 65536, .merge_stderr = true,
                             .deadline_ms = clock_boot_ms() + CHECK_MS};
    struct err why = {0};
    struct proc *p = proc_start(l, &spec, &why);
    while (p && proc_state(p) != PROC_DONE)
        loop_turn(l, CHECK_MS);
    bool refused = p && !proc_ok(p) && !proc_timed_out(p) && WIFEXITED(proc_status(p)) &&
                   strstr(buf_str(proc_out(p)), "FATAL:  ") != NULL;
    bool ok = !refused;
    if (refused)
        explain(buf_str(proc_out(p)), file, e);
    else if (p && proc_ok(p))
        ok = take_preload(c, buf_str(proc_out(p)), e);
    proc_free(p);
    loop_free(l);
    return ok;
}

bool pg_conf_check(struct pg_conf *c, struct err *e)
{
    char file[PG_PATH_SIZE];
    struct buf b;
    struct pg_datadir d;
    /* The postgresql.conf of another version's directory is not for these binaries, and no server will be
     * started on it: that is what has to be told, not the first name that this version does not know. */
    if (pg_datadir_look(c->env, 0, &d, NULL) && d.state == DATA_FOREIGN)
        return true;
    if (!pg_path(file, c->env->state_dir, "pghad.conf.check"))
        return err_set(e, ERR_INVALID, "settings: the path is too long");
    buf_init(&b, PG_CONF_TEXT_MAX);
    c->without_gate = true;
    bool ok = pg_conf_render(c, &b, e) && fd_mkdirs(c->env->state_dir, 0700, e) &&
              fd_swap_file(file, b.data, b.len, 0600, e);
    c->without_gate = false;
    buf_done(&b);
    ok = ok && ask(c, file, e);
    (void)unlink(file);
    return ok;
}
