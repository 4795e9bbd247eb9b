/* Record and release to JSON. */
#include "base/json.h"
#include "base/str.h"
#include "kube/record.h"

static void put_hex(struct json *j, const char *key, uint64_t v)
{
    char s[20];

    str_format(s, sizeof(s), "%016llx", (unsigned long long)v);
    json_string(j, key, s);
}

static void put_lsn(struct json *j, const char *key, uint64_t lsn)
{
    char s[20];

    str_format(s, sizeof(s), "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    json_string(j, key, s);
}

static void put_member(struct json *j, const struct record_member *m)
{
    json_object(j, NULL);
    put_hex(j, "volume", m->volume);
    json_string(j, "name", m->name.s);
    if (m->in_v)
        json_bool(j, "v", true);
    if (m->in_next)
        json_bool(j, "next", true);
    if (m->flushed.timeline || m->flushed.lsn) {
        json_uint(j, "timeline", m->flushed.timeline);
        put_lsn(j, "lsn", m->flushed.lsn);
    }
    json_object_end(j);
}

bool record_encode(const struct record *r, struct buf *b)
{
    struct json j;

    json_init(&j, b);
    json_object(&j, NULL);
    json_uint(&j, "epoch", r->epoch);
    json_uint(&j, "rev", r->rev);
    json_uint(&j, "w", r->w);
    if (r->has_next)
        json_uint(&j, "next_w", r->next_w);
    if (r->sealed)
        put_hex(&j, "sealed", r->sealed);
    if (r->writer || r->writer_epoch) {
        put_hex(&j, "writer", r->writer);
        json_uint(&j, "writer_epoch", r->writer_epoch);
    }
    json_uint(&j, "timeline", r->timeline);
    json_array(&j, "members");
    for (uint8_t i = 0; i < r->n; i++)
        put_member(&j, &r->m[i]);
    json_array_end(&j);
    json_object_end(&j);
    return !b->overflow;
}

bool release_encode(const struct release *r, struct buf *b)
{
    struct json j;

    json_init(&j, b);
    json_object(&j, NULL);
    json_uint(&j, "epoch", r->epoch);
    json_string(&j, "releaser", r->releaser.s);
    put_hex(&j, "volume", r->volume);
    json_uint(&j, "timeline", r->end.timeline);
    put_lsn(&j, "lsn", r->end.lsn);
    json_string(&j, "successor", r->successor.s);
    json_object_end(&j);
    return !b->overflow;
}
