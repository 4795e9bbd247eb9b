/* Durable member state as strict text: one key per line, fixed order, a sum at the end. A file that
 * differs in any byte from what we would write is an error that names the line. */
#include "pg/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

#define STATE_MAX 16384
#define MAGIC "pghad-member-state 1"

static bool state_path(char dst[PG_PATH_SIZE], const struct pg_env *env, struct err *e)
{
    return pg_path(dst, env->state_dir, "member.state") ||
           err_set(e, ERR_INVALID, "member state: the path is too long");
}

/* FNV-1a: damage by accident, not by intent. */
static uint64_t sum_of(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h;
}

/* ---- writing ---- */

static void format_record(struct buf *b, const struct record *r)
{
    buf_printf(b, "record.epoch=%" PRIu64 "\nrecord.rev=%" PRIu64 "\n", r->epoch, r->rev);
    buf_printf(b, "record.w=%u\n", r->w);
    buf_printf(b, "record.next=%d\nrecord.next_w=%u\n", r->has_next, r->next_w);
    buf_printf(b, "record.sealed=%016" PRIx64 "\nrecord.writer=%016" PRIx64 "\n", r->sealed,
               r->writer);
    buf_printf(b, "record.writer_epoch=%" PRIu64 "\n", r->writer_epoch);
    buf_printf(b, "record.timeline=%" PRIu32 "\nrecord.members=%u\n", r->timeline, r->n);
    for (unsigned i = 0; i < r->n && i < HA_MEMBERS_MAX; i++) {
        const struct record_member *m = &r->m[i];
        buf_printf(b, "member=%016" PRIx64 " %d %d %" PRIu32 " %016" PRIx64 " %s\n", m->volume,
                   m->in_v, m->in_next, m->flushed.timeline, m->flushed.lsn, m->name.s);
    }
}

bool pg_state_format(struct buf *b, const struct pg_state *s, struct err *e)
{
    if (s->has_record && s->record.n > HA_MEMBERS_MAX)
        return err_set(e, ERR_BUG, "member state: %u members", s->record.n);
    buf_puts(b, MAGIC "\n");
    buf_printf(b, "epoch=%" PRIu64 "\nvolume=%016" PRIx64 "\nsystem_id=%" PRIu64 "\n", s->epoch,
               s->volume, s->system_id);
    if (s->has_record)
        format_record(b, &s->record);
    uint64_t sum = sum_of(b->data ? b->data : "", b->len);
    buf_printf(b, "sum=%016" PRIx64 "\n", sum);
    return !b->overflow || err_set(e, ERR_BUG, "member state: too long");
}

/* ---- reading ---- */

struct reader {
    const char *p;
    int line;
};

/* All 64 bits without a sign, as system identifiers have them; one spelling only. */
static bool parse_decimal(const char *s, uint64_t *ret)
{
    uint64_t v = 0;
    if (*s == '\0' || (s[0] == '0' && s[1]))
        return false;
    for (; *s; s++)
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return false;
    *ret = v;
    return true;
}

/* Reads one number after key=, in decimal or as 16 hexadecimal digits, and the end of the line. */
static bool read_num(struct reader *r, const char *key, bool hex, uint64_t max, uint64_t *ret)
{
    size_t n = strlen(key), len = strcspn(r->p, "\n");
    char value[32] = "";
    if (len < n + 2 || strncmp(r->p, key, n) != 0 || r->p[n] != '=' || r->p[len] != '\n' ||
        len - n - 1 >= sizeof(value))
        return false;
    memcpy(value, r->p + n + 1, len - n - 1);
    if (hex ? strlen(value) != 16 || !str_to_hex64(value, ret) : !parse_decimal(value, ret))
        return false;
    if (*ret > max)
        return false;
    r->p += len + 1;
    r->line++;
    return true;
}

static bool read_member(struct reader *r, struct record_member *m)
{
    size_t len = strcspn(r->p, "\n");
    char line[256], volume[17] = "", lsn[17] = "", timeline[11] = "";
    int64_t number;
    int in_v, in_next, used = 0;
    if (len >= sizeof(line) || r->p[len] != '\n')
        return false;
    memcpy(line, r->p, len);
    line[len] = '\0';
    if (sscanf(line, "member=%16[0-9a-f] %1d %1d %10[0-9] %16[0-9a-f] %n", volume, &in_v,
               &in_next, timeline, lsn, &used) != 5 ||
        used == 0 || !str_to_i64(timeline, 0, UINT32_MAX, &number) || strlen(volume) != 16 || strlen(lsn) != 16 || in_v < 0 || in_v > 1 ||
        in_next < 0 || in_next > 1)
        return false;
    m->flushed.timeline = (uint32_t)number;
    m->in_v = in_v == 1;
    m->in_next = in_next == 1;
    r->p += len + 1;
    r->line++;
    return str_to_hex64(volume, &m->volume) && str_to_hex64(lsn, &m->flushed.lsn) &&
           line[used] != '\0' && str_copy(m->name.s, sizeof(m->name.s), line + used);
}

static bool read_record(struct reader *in, struct record *r)
{
    uint64_t w, next, next_w, timeline, n;
    if (!read_num(in, "record.epoch", false, UINT64_MAX, &r->epoch) ||
        !read_num(in, "record.rev", false, UINT64_MAX, &r->rev) ||
        !read_num(in, "record.w", false, HA_MEMBERS_MAX, &w) ||
        !read_num(in, "record.next", false, 1, &next) ||
        !read_num(in, "record.next_w", false, HA_MEMBERS_MAX, &next_w) ||
        !read_num(in, "record.sealed", true, UINT64_MAX, &r->sealed) ||
        !read_num(in, "record.writer", true, UINT64_MAX, &r->writer) ||
        !read_num(in, "record.writer_epoch", false, UINT64_MAX, &r->writer_epoch) ||
        !read_num(in, "record.timeline", false, UINT32_MAX, &timeline) ||
        !read_num(in, "record.members", false, HA_MEMBERS_MAX, &n))
        return false;
    r->w = (uint8_t)w;
    r->has_next = next == 1;
    r->next_w = (uint8_t)next_w;
    r->timeline = (uint32_t)timeline;
    r->n = (uint8_t)n;
    for (unsigned i = 0; i < r->n; i++)
        if (!read_member(in, &r->m[i]))
            return false;
    return true;
}

bool pg_state_parse(struct pg_state *s, const char *text, struct err *e)
{
    struct reader in = {.p = text, .line = 1};
    *s = (struct pg_state){0};
    uint64_t sum = 0;
    const char *sum_at = NULL;
    bool ok = str_starts(in.p, MAGIC "\n");
    if (ok) {
        in.p += strlen(MAGIC "\n");
        in.line++;
        ok = read_num(&in, "epoch", false, UINT64_MAX, &s->epoch) &&
             read_num(&in, "volume", true, UINT64_MAX, &s->volume) &&
             read_num(&in, "system_id", false, UINT64_MAX, &s->system_id);
    }
    if (ok && str_starts(in.p, "record."))
        ok = s->has_record = read_record(&in, &s->record);
    if (ok) {
        sum_at = in.p;
        ok = read_num(&in, "sum", true, UINT64_MAX, &sum) && *in.p == '\0';
    }
    if (!ok)
        return err_set(e, ERR_CORRUPT, "member state: line %d is not as written", in.line);
    if (sum != sum_of(text, (size_t)(sum_at - text)))
        return err_set(e, ERR_CORRUPT, "member state: the sum does not match");
    return true;
}

/* ---- files ---- */

bool pg_state_load(const struct pg_env *env, struct pg_state *s, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!state_path(path, env, e))
        return false;
    struct buf b;
    buf_init(&b, STATE_MAX);
    bool ok = fd_read_file(path, &b, e);
    if (ok && strlen(buf_str(&b)) != b.len)
        ok = err_set(e, ERR_CORRUPT, "member state: it has a NUL byte");
    ok = ok && pg_state_parse(s, buf_str(&b), e);
    if (!ok && e && e->kind == ERR_CORRUPT)
        err_wrap(e, "%s", path);
    buf_done(&b);
    return ok;
}

bool pg_state_save(const struct pg_env *env, const struct pg_state *s, struct err *e)
{
    char path[PG_PATH_SIZE];
    if (!state_path(path, env, e) || !fd_mkdirs(env->state_dir, 0700, e))
        return false;
    struct buf b;
    buf_init(&b, STATE_MAX);
    bool ok = pg_state_format(&b, s, e) && fd_replace_file(path, b.data, b.len, 0600, e);
    buf_done(&b);
    return ok;
}
