/* Timeline histories, and the placeholders that steer the choice of the next timeline. */
#include "pg/history.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define PLACEHOLDER "placeholder of pghad"
#define PLACEHOLDERS_MAX 4096 /* more means that the numbers are not what we think */

/* ---- parsing ---- */

/* One line: timeline, LSN, reason, separated by blanks; '#' begins a comment, as in PostgreSQL. */
static bool parse_line(struct pg_history *h, char *line, int number, struct err *e)
{
    char *p = line + strspn(line, " \t");
    if (*p == '\0' || *p == '#')
        return true;
    char *lsn = p + strcspn(p, " \t");
    if (*lsn)
        *lsn++ = '\0';
    lsn += strspn(lsn, " \t");
    char *reason = lsn + strcspn(lsn, " \t");
    if (*reason)
        *reason++ = '\0';
    reason += strspn(reason, " \t");
    int64_t tl;
    uint64_t end;
    if (!str_to_i64(p, 1, UINT32_MAX, &tl) || !pg_lsn_parse(lsn, &end) || end == 0)
        return err_set(e, ERR_CORRUPT, "history of timeline %u, line %d: not \"timeline LSN\"",
                       h->timeline, number);
    if ((uint32_t)tl >= h->timeline || (h->n > 0 && h->branch[h->n - 1].timeline >= (uint32_t)tl))
        return err_set(e, ERR_CORRUPT, "history of timeline %u, line %d: numbers must ascend",
                       h->timeline, number);
    if (h->n > 0 && h->branch[h->n - 1].end > end)
        return err_set(e, ERR_CORRUPT, "history of timeline %u, line %d: positions must ascend",
                       h->timeline, number);
    if (h->n == PG_HISTORY_MAX) {
        h->dropped_end = h->branch[0].end;
        memmove(h->branch, h->branch + 1, sizeof(h->branch) - sizeof(h->branch[0]));
        h->n--;
    }
    h->branch[h->n++] = (struct pg_branch){.timeline = (uint32_t)tl, .end = end};
    if (strcmp(reason, PLACEHOLDER) == 0)
        h->placeholder = true;
    return true;
}

bool pg_history_parse(struct pg_history *h, uint32_t timeline, const char *text, struct err *e)
{
    *h = (struct pg_history){.timeline = timeline};
    if (timeline == 0)
        return err_set(e, ERR_INVALID, "history: there is no timeline 0");
    size_t len = text ? strlen(text) : 0;
    if (len > PG_HISTORY_TEXT_MAX)
        return err_set(e, ERR_INVALID, "history of timeline %u: too long", timeline);
    char *all = len ? strdup(text) : NULL;
    must(len == 0 || all != NULL);
    bool ok = true;
    int number = 0;
    for (char *line = all; ok && line && *line;) {
        char *next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        ok = parse_line(h, line, ++number, e);
        line = next;
    }
    free(all);
    if (ok && timeline > 1 && h->n == 0)
        ok = err_set(e, ERR_CORRUPT, "history of timeline %u: no branch point", timeline);
    return ok;
}

static bool history_path(char dst[PG_PATH_SIZE], const char *wal_dir, uint32_t tl)
{
    return str_format(dst, PG_PATH_SIZE, "%s/%08X.history", wal_dir, tl);
}

bool pg_history_read(struct pg_history *h, const char *wal_dir, uint32_t timeline, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (timeline <= 1)
        return pg_history_parse(h, timeline, NULL, e);
    if (!history_path(path, wal_dir, timeline))
        return err_set(e, ERR_INVALID, "history: the path is too long");
    struct buf b;
    buf_init(&b, PG_HISTORY_TEXT_MAX);
    bool ok = fd_read_file(path, &b, e) && pg_history_parse(h, timeline, buf_str(&b), e);
    buf_done(&b);
    return ok;
}

/* ---- questions ---- */

uint64_t pg_history_end_of(const struct pg_history *h, uint32_t tl)
{
    if (tl == h->timeline)
        return UINT64_MAX;
    for (unsigned i = 0; i < h->n; i++)
        if (h->branch[i].timeline == tl)
            return h->branch[i].end;
    return 0;
}

bool pg_history_contains(const struct pg_history *h, uint32_t tl, uint64_t lsn)
{
    return lsn <= pg_history_end_of(h, tl) && pg_history_end_of(h, tl) != 0;
}

uint32_t pg_history_timeline_of(const struct pg_history *h, uint64_t lsn)
{
    if (lsn <= h->dropped_end)
        return 0;
    for (unsigned i = 0; i < h->n; i++)
        if (lsn <= h->branch[i].end)
            return h->branch[i].timeline;
    return h->timeline;
}

struct position pg_history_fork(const struct pg_history *a, const struct pg_history *b)
{
    /* The greatest timeline that both have; they share it up to where the first of them left it. */
    struct position best = {0};
    for (unsigned i = 0; i <= a->n; i++) {
        uint32_t tl = i < a->n ? a->branch[i].timeline : a->timeline;
        uint64_t ea = pg_history_end_of(a, tl), eb = pg_history_end_of(b, tl);
        if (eb != 0 && tl > best.timeline)
            best = (struct position){.timeline = tl, .lsn = ea < eb ? ea : eb};
    }
    return best;
}

/* ---- placeholders ---- */

static bool parse_name(const char *name, uint32_t *tl)
{
    char hex[9];
    uint64_t v;
    if (strlen(name) != 16 || strcmp(name + 8, ".history") != 0)
        return false;
    memcpy(hex, name, 8);
    hex[8] = '\0';
    if (!str_to_hex64(hex, &v))
        return false;
    *tl = (uint32_t)v;
    return true;
}

typedef bool visit_fn(const char *dir, uint32_t tl, void *arg, struct err *e);

/* Calls visit for each history file; stops at the first false. */
static bool each_history(const char *dir, visit_fn *visit, void *arg, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, ERR_FATAL, "open %s", dir);
    bool ok = true;
    struct dirent *de;
    while (ok && (de = readdir(d))) {
        uint32_t tl;
        if (parse_name(de->d_name, &tl))
            ok = visit(dir, tl, arg, e);
    }
    closedir(d);
    return ok;
}

static bool is_placeholder(const char *dir, uint32_t tl)
{
    struct pg_history h;
    return pg_history_read(&h, dir, tl, NULL) && h.placeholder;
}

static bool check_free(const char *dir, uint32_t tl, void *arg, struct err *e)
{
    const uint32_t *wanted = arg;
    if (tl >= *wanted && !is_placeholder(dir, tl))
        return err_set(e, ERR_INVALID,
                       "timeline %u cannot be chosen: a history of timeline %u exists", *wanted,
                       tl);
    return true;
}

static bool remove_one(const char *dir, uint32_t tl, void *arg, struct err *e)
{
    char path[PG_PATH_SIZE];
    const uint32_t *from = arg;
    if (tl < *from || !is_placeholder(dir, tl) || !history_path(path, dir, tl))
        return true;
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(e, ERR_FATAL, "remove %s", path);
    return true;
}

static bool write_one(const char *dir, uint32_t tl, struct err *e)
{
    static const char text[] = "1\t0/1000000\t" PLACEHOLDER "\n";
    char path[PG_PATH_SIZE], tmp[PG_PATH_SIZE];
    if (!history_path(path, dir, tl) || !str_format(tmp, sizeof(tmp), "%s.pghad", path))
        return err_set(e, ERR_INVALID, "placeholder: the path is too long");
    if (access(path, F_OK) == 0)
        return true;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "create %s", tmp);
    bool ok = fd_write_all(fd, text, sizeof(text) - 1, e);
    fd_close(&fd);
    /* link and not rename: a real history must never be replaced. */
    if (ok && link(tmp, path) != 0 && errno != EEXIST)
        ok = err_errno(e, ERR_FATAL, "create %s", path);
    unlink(tmp);
    return ok;
}

bool pg_placeholders_write(const struct pg_env *env, uint32_t current, uint32_t timeline,
                           struct err *e)
{
    char dir[PG_PATH_SIZE];
    if (!pg_path(dir, env->data_dir, "pg_wal"))
        return err_set(e, ERR_INVALID, "placeholder: the path is too long");
    if (timeline <= current || timeline - current > PLACEHOLDERS_MAX)
        return err_set(e, ERR_INVALID, "timeline %u cannot be chosen from timeline %u", timeline,
                       current);
    uint32_t from = timeline;
    if (!each_history(dir, check_free, &timeline, e) || !each_history(dir, remove_one, &from, e))
        return false;
    for (uint32_t tl = 2; tl < timeline; tl++)
        if (!write_one(dir, tl, e))
            return false;
    return true; /* what a crash of the machine takes away is written again before the next start */
}

static bool find_highest_real(const char *dir, uint32_t tl, void *arg, struct err *e)
{
    uint32_t *highest = arg;
    (void)e;
    if (tl > *highest && !is_placeholder(dir, tl))
        *highest = tl;
    return true;
}

bool pg_history_highest(const struct pg_env *env, uint32_t *ret, struct err *e)
{
    char dir[PG_PATH_SIZE];
    *ret = 1;
    if (!pg_path(dir, env->data_dir, "pg_wal"))
        return err_set(e, ERR_INVALID, "history: the path is too long");
    return each_history(dir, find_highest_real, ret, e);
}

bool pg_placeholders_settle(const struct pg_env *env, struct err *e)
{
    char dir[PG_PATH_SIZE];
    uint32_t highest = 1;
    if (!pg_path(dir, env->data_dir, "pg_wal"))
        return err_set(e, ERR_INVALID, "placeholder: the path is too long");
    if (!each_history(dir, find_highest_real, &highest, e))
        return false;
    for (uint32_t tl = 2; tl < highest; tl++)
        if (!write_one(dir, tl, e))
            return false;
    return each_history(dir, remove_one, &highest, e) && fd_sync_dir(dir, e);
}
