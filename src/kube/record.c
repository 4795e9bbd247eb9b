/* Record, release and identity as text. */
#include "kube/record.h"

#include <string.h>

#include "base/jw.h"
#include "base/str.h"
#include "jx.h"

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
    if (r->strict)
        jw_bool(&j, "strict", true);
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

static bool take_u64(struct json_object *o, const char *key, bool required, uint64_t *dst,
                     struct err *e)
{
    int64_t n = (int64_t)*dst;

    if (!jx_take_int(o, key, required, 0, INT64_MAX - 1, &n, e))
        return false;
    *dst = (uint64_t)n;
    return true;
}

static bool take_timeline(struct json_object *o, const char *key, bool required, uint32_t *dst,
                          struct err *e)
{
    int64_t n = *dst;

    if (!jx_take_int(o, key, required, 0, TIMELINE_MAX, &n, e))
        return false;
    *dst = (uint32_t)n;
    return true;
}

static bool take_count(struct json_object *o, const char *key, bool required, uint8_t *dst,
                       struct err *e)
{
    int64_t n = *dst;

    if (!jx_take_int(o, key, required, 0, HA_MEMBERS_MAX, &n, e))
        return false;
    *dst = (uint8_t)n;
    return true;
}

/* A name is written again, into the Lease and into durable copies, and must be the same when it is read
 * there: json-c lets some bytes pass as UTF-8 that are none. */
static bool take_pod_name(struct json_object *o, const char *key, bool may_be_empty,
                          struct ha_name *name, struct err *e)
{
    if (!jx_take_name(o, key, true, name, e))
        return false;
    if ((name->s[0] == '\0' && !may_be_empty) ||
        name->s[strspn(name->s, "abcdefghijklmnopqrstuvwxyz0123456789.-")])
        return err_set(e, ERR_CORRUPT, "%s: not that of a pod", key);
    return true;
}

static bool take_member(struct json_object *o, struct record_member *m, struct err *e)
{
    if (!json_object_is_type(o, json_type_object))
        return err_set(e, ERR_CORRUPT, "not an object");
    return jx_take_hex(o, "volume", true, &m->volume, e) &&
           take_pod_name(o, "name", false, &m->name, e) &&
           jx_take_bool(o, "v", false, &m->in_v, e) &&
           jx_take_bool(o, "next", false, &m->in_next, e) &&
           take_timeline(o, "timeline", false, &m->flushed.timeline, e) &&
           jx_take_lsn(o, "lsn", false, &m->flushed.lsn, e);
}

static bool take_members(struct json_object *list, struct record *r, struct err *e)
{
    size_t n;

    if (!json_object_is_type(list, json_type_array))
        return err_set(e, ERR_CORRUPT, "members: not a list");
    n = json_object_array_length(list);
    if (n > HA_MEMBERS_MAX)
        return err_set(e, ERR_CORRUPT, "members: more than %d", HA_MEMBERS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (!take_member(json_object_array_get_idx(list, i), &r->m[i], e))
            return err_wrap(e, "members[%zu]", i);
        /* A volume twice would have two votes. */
        for (size_t k = 0; k < i; k++)
            if (r->m[i].volume && r->m[k].volume == r->m[i].volume)
                return err_set(e, ERR_CORRUPT, "members[%zu]: volume listed twice", i);
    }
    r->n = (uint8_t)n;
    return true;
}

static bool take_record(struct json_object *o, struct record *r, struct err *e)
{
    r->has_next = jx_get(o, "next_w") != NULL;
    return take_u64(o, "epoch", true, &r->epoch, e) && take_u64(o, "rev", true, &r->rev, e) &&
           take_count(o, "w", true, &r->w, e) && take_count(o, "next_w", false, &r->next_w, e) &&
           jx_take_hex(o, "sealed", false, &r->sealed, e) &&
           jx_take_hex(o, "writer", false, &r->writer, e) &&
           take_u64(o, "writer_epoch", false, &r->writer_epoch, e) &&
           take_timeline(o, "timeline", true, &r->timeline, e) &&
           jx_take_bool(o, "strict", false, &r->strict, e) &&
           take_members(jx_get(o, "members"), r, e);
}

bool record_decode(const char *json, size_t len, struct record *ret, struct err *e)
{
    struct json_object *o;
    struct record r = {0};
    bool ok;

    if (len > RECORD_JSON_MAX)
        return err_set(e, ERR_CORRUPT, "record: longer than %d bytes", RECORD_JSON_MAX);
    if (!jx_parse(json, len, &o, e))
        return err_wrap(e, "record");
    ok = take_record(o, &r, e);
    json_object_put(o);
    if (!ok)
        return err_wrap(e, "record");
    *ret = r;
    return true;
}

bool release_decode(const char *json, size_t len, struct release *ret, struct err *e)
{
    struct json_object *o;
    struct release r = {.valid = true};
    bool ok;

    if (len > RELEASE_JSON_MAX)
        return err_set(e, ERR_CORRUPT, "release: longer than %d bytes", RELEASE_JSON_MAX);
    if (!jx_parse(json, len, &o, e))
        return err_wrap(e, "release");
    ok = take_u64(o, "epoch", true, &r.epoch, e) &&
         take_pod_name(o, "releaser", true, &r.releaser, e) &&
         jx_take_hex(o, "volume", true, &r.volume, e) &&
         take_timeline(o, "timeline", true, &r.end.timeline, e) &&
         jx_take_lsn(o, "lsn", true, &r.end.lsn, e) &&
         take_pod_name(o, "successor", true, &r.successor, e);
    json_object_put(o);
    if (!ok)
        return err_wrap(e, "release");
    *ret = r;
    return true;
}

bool identity_format(const struct identity *id, char *dst, size_t size)
{
    if (id->name.s[0] == '\0')
        return str_copy(dst, size, "");
    return str_format(dst, size, "%s_%s_%016llx", id->name.s, id->uid,
                      (unsigned long long)id->boot);
}

static bool parse_ours(const char *text, struct identity *id)
{
    const char *first = strchr(text, '_'), *last = strrchr(text, '_');

    if (!first || last == first || memchr(first + 1, '_', (size_t)(last - first - 1)))
        return false;
    size_t name = (size_t)(first - text), uid = (size_t)(last - first - 1);
    if (name == 0 || name >= HA_NAME_SIZE || uid == 0 || uid >= HA_UID_SIZE ||
        strlen(last + 1) != 16 || !str_to_hex64(last + 1, &id->boot))
        return false;
    memcpy(id->name.s, text, name);
    memcpy(id->uid, first + 1, uid);
    return !str_eq(id->uid, "?");
}

void identity_parse(const char *text, struct identity *ret)
{
    struct identity id = {0};
    size_t len = strlen(text);

    if (len > 0 && !parse_ours(text, &id)) {
        id = (struct identity){.uid = "?"};
        memcpy(id.name.s, text, len < HA_NAME_SIZE ? len : HA_NAME_SIZE - 1);
    }
    *ret = id;
}
