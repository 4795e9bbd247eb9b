/* Files of frames: append with rotation, load with every check. */
#include "flight/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "flight/text.h"

struct part { /* one of the files of a directory */
    char name[16];
    bool present; /* has a header of our format */
    struct flight_header h;
};

/* ---- append ---- */

static void part_look(struct part *p, int dir, unsigned slot)
{
    unsigned char head[FLIGHT_HEADER_BYTES];
    struct err e;
    *p = (struct part){0};
    must(str_format(p->name, sizeof p->name, "flight.%u", slot));
    int fd = openat(dir, p->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = pread(fd, head, sizeof head, 0);
    p->present = n == (ssize_t)sizeof head && flight_header_get(&p->h, head, sizeof head, &e);
    fd_close(&fd);
}

/* Frames of the batch that the file has already: a writer was killed after it had written them. */
static size_t already_written(const char *frames, size_t len, const struct flight_scan *s)
{
    size_t at = 0, n;
    struct flight_meta m;
    while (s->frames > 0 && (n = flight_frame(frames + at, len - at, &m)) > 0 &&
           m.run == s->last.run && m.seq <= s->last.seq)
        at += n;
    return at;
}

enum appended { APPENDED, NO_ROOM, APPEND_FAILED };

/* NO_ROOM also for a damaged file: it is left as it is for people to look at. */
static enum appended append_to(int dir, const struct part *p, const char *frames, size_t len,
                               struct err *e)
{
    static char room[FLIGHT_FILE_BYTES];
    int fd = openat(dir, p->name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NO_ROOM;
    ssize_t n = pread(fd, room, sizeof room, 0);
    enum appended done = NO_ROOM;
    if (n >= FLIGHT_HEADER_BYTES) {
        struct flight_scan s = flight_scan(room + FLIGHT_HEADER_BYTES,
                                           (size_t)n - FLIGHT_HEADER_BYTES);
        size_t end = FLIGHT_HEADER_BYTES + s.end;
        size_t skip = already_written(frames, len, &s);
        if (!s.damaged && end + (len - skip) <= FLIGHT_FILE_BYTES) {
            bool ok = ftruncate(fd, (off_t)end) == 0 && lseek(fd, (off_t)end, SEEK_SET) >= 0;
            if (!ok)
                err_errno(e, ERR_FATAL, "cut %s", p->name);
            ok = ok && fd_write_all(fd, frames + skip, len - skip, e);
            done = ok ? APPENDED : APPEND_FAILED;
        }
    }
    fd_close(&fd);
    return done;
}

static bool begin_file(int dir, const struct flight_header *h, const void *frames, size_t len,
                       struct err *e)
{
    unsigned char head[FLIGHT_HEADER_BYTES];
    char name[16];
    must(str_format(name, sizeof name, "flight.%u", (unsigned)(h->file_seq % FLIGHT_FILES)));
    flight_header_put(head, h);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "open %s", name);
    bool ok = fd_write_all(fd, head, sizeof head, e) && fd_write_all(fd, frames, len, e);
    fd_close(&fd);
    return ok;
}

static bool append_locked(int dir, const struct ha_name *member, const void *frames, size_t len,
                          struct err *e)
{
    struct part p, newest = {0};
    struct flight_header own;
    for (unsigned i = 0; i < FLIGHT_FILES; i++) {
        part_look(&p, dir, i);
        if (p.present && (!newest.present || p.h.file_seq > newest.h.file_seq))
            newest = p;
    }
    flight_header_init(&own, member, newest.h.file_seq + 1);
    if (newest.present && newest.h.layout == own.layout && newest.h.policy == own.policy &&
        str_eq(newest.h.build, own.build)) {
        enum appended done = append_to(dir, &newest, frames, len, e);
        if (done != NO_ROOM)
            return done == APPENDED;
    }
    return begin_file(dir, &own, frames, len, e);
}

bool flight_append(const char *dir, const struct ha_name *member, const void *frames, size_t len,
                   struct err *e)
{
    must(len <= FLIGHT_FILE_BYTES - FLIGHT_HEADER_BYTES);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "open %s", dir);
    bool ok;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        ok = err_errno(e, ERR_TRANSIENT, "lock %s", dir);
    else
        ok = append_locked(fd, member, frames, len, e);
    fd_close(&fd); /* and the lock with it */
    return ok;
}

/* ---- load ---- */

void flight_begin(struct flight_cursor *c, const struct flight *f)
{
    memset(c, 0, sizeof *c);
    c->f = f;
}

bool flight_next(struct flight_cursor *c)
{
    const char *p = c->f->frames.data + c->at;
    size_t left = c->f->frames.len - c->at;
    if (left == 0)
        return false;
    size_t n = flight_frame(p, left, &c->meta);
    must(n > 0 && flight_decode(p, left, &c->turn, &c->meta)); /* checked by the load */
    c->at += n;
    return true;
}

static bool layout_is_ours(const struct flight_header *h, struct err *e)
{
    if (h->layout == flight_layout_hash())
        return true;
    return err_set(e, ERR_INVALID,
                   "recorded by build %.60s with layout %016llx; this program has layout %016llx: "
                   "read it with that build, which can also write it as text",
                   h->build, (unsigned long long)h->layout,
                   (unsigned long long)flight_layout_hash());
}

/* Frames that an interrupted append wrote twice, into two files, are taken once. */
static bool take_frames(struct flight *f, const char *data, size_t len,
                        const struct flight_leaves *leaves, struct err *e)
{
    struct flight_scan s = flight_scan(data, len);
    struct flight_scan have = flight_scan(f->frames.data, f->frames.len);
    if (s.damaged)
        return err_set(e, ERR_CORRUPT, "damaged after frame %zu (byte %zu)", s.frames,
                       FLIGHT_HEADER_BYTES + s.end);
    f->torn_bytes += len - s.end;
    size_t skip = already_written(data, s.end, &have), n;
    struct flight_turn *turn = &f->last;
    for (size_t at = skip; at < s.end; at += n) {
        struct flight_meta m;
        n = flight_frame(data + at, s.end - at, &m);
        if (f->turns == 0 && !m.key)
            return err_set(e, ERR_CORRUPT, "does not begin with a whole turn");
        if (!flight_decode(data + at, n, turn, &m) || !flight_sane(leaves, turn))
            return err_set(e, ERR_CORRUPT, "frame %zu makes no sense", f->turns + 1);
        f->turns++;
    }
    return buf_put(&f->frames, data + skip, s.end - skip) ||
           err_set(e, ERR_INVALID, "larger than a flight record can be");
}

static bool take_file(struct flight *f, const struct buf *b, struct err *e)
{
    struct flight_header h;
    struct flight_leaves leaves;
    if (!flight_header_get(&h, b->data, b->len, e) || !layout_is_ours(&h, e))
        return false;
    f->header = h;
    flight_leaves_init(&leaves);
    bool ok = take_frames(f, b->data + FLIGHT_HEADER_BYTES, b->len - FLIGHT_HEADER_BYTES, &leaves, e);
    flight_leaves_done(&leaves);
    return ok;
}

static bool load_file(struct flight *f, const char *path, struct err *e)
{
    struct buf b;
    buf_init(&b, FLIGHT_LOAD_BYTES);
    bool ok = fd_read_file(path, &b, e);
    if (ok && flight_is_text(b.data, b.len))
        ok = flight_from_text(f, buf_str(&b), b.len, e) || err_wrap(e, "%s", path);
    else if (ok)
        ok = take_file(f, &b, e) || err_wrap(e, "%s", path);
    buf_done(&b);
    return ok;
}

static int by_age(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    return x->h.file_seq < y->h.file_seq ? -1 : x->h.file_seq > y->h.file_seq;
}

/* Files of another layout are what an upgrade leaves behind: told, not an error. */
static bool load_dir(struct flight *f, const char *path, int dir, struct err *e)
{
    struct part p[FLIGHT_FILES];
    bool ok = true;
    size_t found = 0;
    char name[1024];
    for (unsigned i = 0; i < FLIGHT_FILES; i++) {
        part_look(&p[found], dir, i);
        found += p[found].present;
    }
    qsort(p, found, sizeof p[0], by_age);
    for (size_t i = 0; ok && i < found; i++) {
        struct buf b;
        struct err why;
        buf_init(&b, 2 * FLIGHT_FILE_BYTES);
        ok = str_format(name, sizeof name, "%s/%s", path, p[i].name) && fd_read_file(name, &b, e);
        if (ok && !layout_is_ours(&p[i].h, &why)) {
            f->foreign_files++;
            if (i + 1 == found && f->turns == 0) {
                *e = why;
                ok = err_wrap(e, "%s", name);
            }
        } else if (ok) {
            ok = take_file(f, &b, e) || err_wrap(e, "%s", name);
        }
        buf_done(&b);
    }
    if (ok && found == 0)
        return err_set(e, ERR_NOT_FOUND, "%s: there is no flight record", path);
    return ok;
}

bool flight_load(struct flight *f, const char *path, struct err *e)
{
    *f = (struct flight){0};
    buf_init(&f->frames, FLIGHT_LOAD_BYTES);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = dir >= 0 ? load_dir(f, path, dir, e) : load_file(f, path, e);
    if (ok && f->turns == 0)
        ok = err_set(e, ERR_CORRUPT, "%s: the flight record is empty", path);
    fd_close(&dir);
    if (!ok)
        flight_done(f);
    return ok;
}

void flight_done(struct flight *f)
{
    buf_done(&f->frames);
    *f = (struct flight){0};
}

bool flight_export(const struct flight *f, struct buf *b)
{
    unsigned char head[FLIGHT_HEADER_BYTES];
    flight_header_put(head, &f->header);
    return buf_put(b, head, sizeof head) && buf_put(b, f->frames.data, f->frames.len);
}
