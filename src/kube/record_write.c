/* Record and release to JSON. */
#include "base/jw.h"
#include "base/str.h"
#include "kube/record.h"

static void put_hex(struct jw *j, const char *key, uint64_t v)
{
    char s[20];

    str_format(s, sizeof(s), "%016llx", (unsigned long long)v);
    jw_string(j, key, s);
}

static void put_lsn(struct jw *j, const char *key, uint64_t lsn)
{
    char s[20];

    str_format(s, sizeof(s), "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    jw_string(j, key, s);
}

static void put_member(struct jw *j, const struct record_member *m)
{
    jw_object(j, NULL);
    put_hex(j, "volume", m->volume);
    jw_string(j, "name", m->name.s);
    if (m->in_v)
        jw_bool(j, "v", true);
    if (m->in_next)
        jw_bool(j, "next", true);
    if (m->flushed.timeline || m->flushed.lsn) {
        jw_uint(j, "timeline", m->flushed.timeline);
        put_lsn(j, "lsn", m->flushed.lsn);
    }
    jw_object_end(j);
}

bool record_encode(const struct record *r, struct buf *b)
{
    struct jw j;

    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_uint(&j, "epoch", r->epoch);
    jw_uint(&j, "rev", r->rev);
    jw_uint(&j, "w", r->w);
    if (r->has_next)
        jw_uint(&j, "next_w", r->next_w);
    if (r->sealed)
        put_hex(&j, "sealed", r->sealed);
    if (r->writer || r->writer_epoch) {
        put_hex(&j, "writer", r->writer);
        jw_uint(&j, "writer_epoch", r->writer_epoch);
    }
    jw_uint(&j, "timeline", r->timeline);
    jw_array(&j, "members");
    for (uint8_t i = 0; i < r->n; i++)
        put_member(&j, &r->m[i]);
    jw_array_end(&j);
    jw_object_end(&j);
    return !b->overflow;
}

bool release_encode(const struct release *r, struct buf *b)
{
    struct jw j;

    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_uint(&j, "epoch", r->epoch);
    jw_string(&j, "releaser", r->releaser.s);
    put_hex(&j, "volume", r->volume);
    jw_uint(&j, "timeline", r->end.timeline);
    put_lsn(&j, "lsn", r->end.lsn);
    jw_string(&j, "successor", r->successor.s);
    jw_object_end(&j);
    return !b->overflow;
}
