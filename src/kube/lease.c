/* Lease objects: decoding into struct lease, and the full object of a PUT. */
#include "kube/lease.h"

#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "jx.h"
#include "kube/record.h"

#define TIME_SIZE 40

void kube_lease_done(struct kube_lease *l)
{
    json_object_put(l->raw);
    *l = (struct kube_lease){0};
}

void kube_lease_copy(struct kube_lease *dst, const struct kube_lease *src)
{
    struct json_object *raw = json_object_get(src->raw);

    kube_lease_done(dst);
    *dst = *src;
    dst->raw = raw;
}

static bool take_spec(struct json_object *spec, struct lease *l, struct err *e)
{
    int64_t duration = 0, transitions = 0;
    struct json_object *holder = jx_get(spec, "holderIdentity");

    if (!jx_take_int(spec, "leaseDurationSeconds", false, 1, INT32_MAX, &duration, e) ||
        !jx_take_int(spec, "leaseTransitions", false, 0, INT32_MAX, &transitions, e))
        return false;
    l->duration_s = (int32_t)duration;
    l->epoch = (uint64_t)transitions;
    if (!holder)
        return true;
    /* Any text means that somebody holds it: a long or strange one must not blind us to that. */
    if (!json_object_is_type(holder, json_type_string))
        return err_set(e, ERR_CORRUPT, "holderIdentity: not a text");
    identity_parse(json_object_get_string(holder), &l->holder);
    if (l->holder.name.s[0] == '\0' && json_object_get_string_len(holder) > 0)
        l->holder = (struct identity){.name = {"?"}, .uid = "?"};
    return true;
}

/* A damaged annotation is a lost one, as after a tool that re-applied the object; holder and epoch
 * still count. */
static void take_annotations(struct json_object *notes, struct kube_lease *k)
{
    const char *record = jx_text(jx_get(notes, ANNOTATION_RECORD));
    const char *release = jx_text(jx_get(notes, ANNOTATION_RELEASE));
    const char *fresh = jx_text(jx_get(notes, ANNOTATION_FRESH));
    struct lease *l = &k->lease;

    l->fresh = str_eq(fresh, "true");
    if (record)
        l->has_record = record_decode(record, strlen(record), &l->record, &k->damage);
    if (release)
        release_decode(release, strlen(release), &l->release, &k->damage);
}

bool kube_lease_decode(struct json_object *obj, struct kube_lease *ret, struct err *e)
{
    struct kube_lease k = {.lease.exists = true};
    struct json_object *meta = jx_get(obj, "metadata"), *spec = jx_get(obj, "spec");
    struct json_object *notes = jx_get(meta, "annotations"), *kind = jx_get(obj, "kind");

    if (!json_object_is_type(obj, json_type_object) ||
        (kind && !str_eq(jx_text(kind), "Lease"))) /* items of a list carry no kind */
        return err_set(e, ERR_CORRUPT, "not a Lease");
    if (!json_object_is_type(meta, json_type_object) ||
        (spec && !json_object_is_type(spec, json_type_object)) ||
        (notes && !json_object_is_type(notes, json_type_object)))
        return err_set(e, ERR_CORRUPT, "Lease: a part has the wrong type");
    if (!jx_take_str(meta, "name", true, k.name, sizeof(k.name), e) ||
        !jx_take_str(meta, "uid", true, k.uid, sizeof(k.uid), e) ||
        !jx_take_str(meta, "resourceVersion", true, k.rv, sizeof(k.rv), e) ||
        !take_spec(spec, &k.lease, e))
        return err_wrap(e, "Lease");
    if (k.rv[0] == '\0' || k.uid[0] == '\0')
        return err_set(e, ERR_CORRUPT, "Lease without uid or resourceVersion");
    take_annotations(notes, &k);
    json_object_put(ret->raw);
    *ret = k;
    ret->raw = json_object_get(obj);
    return true;
}

bool kube_lease_parse(const char *text, size_t len, struct kube_lease *ret, struct err *e)
{
    struct json_object *o;
    bool ok;

    if (len > KUBE_LEASE_MAX)
        return err_set(e, ERR_CORRUPT, "Lease: longer than %d bytes", KUBE_LEASE_MAX);
    if (!jx_parse(text, len, &o, e))
        return false;
    ok = kube_lease_decode(o, ret, e);
    json_object_put(o);
    return ok;
}

/* ---- building ---- */

static bool put_json(struct json_object *notes, const char *key, struct buf *b)
{
    bool ok = !b->overflow;

    if (ok)
        jx_set_text(notes, key, buf_str(b));
    buf_done(b);
    return ok;
}

static bool set_annotations(struct json_object *notes, const struct kube_lease *last,
                            const struct lease *want, struct err *e)
{
    const struct lease *was = &last->lease;
    struct buf b;

    if (want->fresh)
        jx_set_text(notes, ANNOTATION_FRESH, "true");
    else
        json_object_object_del(notes, ANNOTATION_FRESH);

    /* Unchanged: kept as it is, with keys that a newer member may have put there. */
    if (want->has_record && !(was->has_record && memcmp(&want->record, &was->record,
                                                        sizeof(want->record)) == 0)) {
        buf_init(&b, RECORD_JSON_MAX);
        record_encode(&want->record, &b);
        if (!put_json(notes, ANNOTATION_RECORD, &b))
            return err_set(e, ERR_BUG, "the record does not fit");
    } else if (!want->has_record && was->has_record) {
        json_object_object_del(notes, ANNOTATION_RECORD);
    }
    if (!want->release.valid) {
        json_object_object_del(notes, ANNOTATION_RELEASE);
        return true;
    }
    buf_init(&b, RELEASE_JSON_MAX);
    release_encode(&want->release, &b);
    return put_json(notes, ANNOTATION_RELEASE, &b) ||
           err_set(e, ERR_BUG, "the release does not fit");
}

static bool same_holder(const struct identity *a, const struct identity *b)
{
    return str_eq(a->name.s, b->name.s) && str_eq(a->uid, b->uid) && a->boot == b->boot;
}

static bool set_spec(struct json_object *spec, const struct lease *was, const struct lease *want,
                     int64_t wall_us, struct err *e)
{
    char text[IDENTITY_TEXT_SIZE], now[TIME_SIZE];
    bool moved = !same_holder(&was->holder, &want->holder);

    if (want->epoch > INT32_MAX)
        return err_set(e, ERR_INVALID, "epoch %llu does not fit into leaseTransitions",
                       (unsigned long long)want->epoch);
    /* The text of an unchanged holder is carried through: we may not have understood it. */
    if (moved || !jx_get(spec, "holderIdentity")) {
        if (str_eq(want->holder.uid, "?") || !identity_format(&want->holder, text, sizeof(text)))
            return err_set(e, ERR_BUG, "the holder's identity cannot be written");
        jx_set_text(spec, "holderIdentity", text);
    }
    if (want->duration_s > 0)
        jx_set_int(spec, "leaseDurationSeconds", want->duration_s);
    else
        json_object_object_del(spec, "leaseDurationSeconds");
    jx_set_int(spec, "leaseTransitions", (int64_t)want->epoch);

    const char *renewed = jx_text(jx_get(spec, "renewTime"));
    do {
        if (!str_microtime(now, sizeof(now), wall_us++))
            return err_set(e, ERR_BUG, "the clock is out of range");
    } while (str_eq(now, renewed));
    jx_set_text(spec, "renewTime", now);
    if ((moved || was->epoch != want->epoch) && want->holder.name.s[0])
        jx_set_text(spec, "acquireTime", now);
    return true;
}

static bool finish(struct json_object *o, const struct kube_lease *last, const struct lease *want,
                   int64_t wall_us, struct buf *b, struct err *e)
{
    struct json_object *meta = jx_object_in(o, "metadata");

    jx_set_text(o, "apiVersion", "coordination.k8s.io/v1");
    jx_set_text(o, "kind", "Lease");
    json_object_object_del(meta, "managedFields");
    if (!set_annotations(jx_object_in(meta, "annotations"), last, want, e) ||
        !set_spec(jx_object_in(o, "spec"), &last->lease, want, wall_us, e))
        return false;
    return jx_print(o, b) || err_set(e, ERR_BUG, "the Lease is longer than %zu bytes", b->max);
}

bool kube_lease_build(const struct kube_lease *last, const struct lease *want, int64_t wall_us,
                      struct buf *b, struct err *e)
{
    struct json_object *o;
    bool ok;

    if (!last->raw || !last->lease.exists)
        return err_set(e, ERR_BUG, "PUT of a Lease that has not been read");
    o = jx_copy(last->raw);
    ok = finish(o, last, want, wall_us, b, e);
    json_object_put(o);
    return ok;
}

bool kube_lease_build_new(const char *ns, const char *name, const struct lease *want,
                          int64_t wall_us, struct buf *b, struct err *e)
{
    struct kube_lease none = {0};
    struct json_object *o = json_object_new_object();
    bool ok;

    must(o);
    jx_set_text(jx_object_in(o, "metadata"), "name", name);
    jx_set_text(jx_object_in(o, "metadata"), "namespace", ns);
    ok = finish(o, &none, want, wall_us, b, e);
    json_object_put(o);
    return ok;
}
