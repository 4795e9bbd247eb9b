/* Intents, results and history as JSON: one table of fields per type serves both directions, so
 * that what is written is exactly what is accepted. */
#include "kube/intent.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum field_type {
    F_HEX64, /* uint64_t as 16 hexadecimal digits: JSON numbers lose digits above 2^53 */
    F_U64,
    F_U32,
    F_I64,
    F_I32,
    F_BOOL,
    F_NAME, /* struct ha_name; "" allowed */
    F_TEXT, /* char[size] */
    F_LSN,  /* uint64_t as X/X */
    F_KIND,
    F_STATE,
    F_PHASE,
    F_PHASES, /* int32_t[PHASE_COUNT] as an object of those reached */
};

struct field {
    const char *key;
    enum field_type type;
    bool required;
    size_t off;
    size_t size; /* F_TEXT: of the array */
    int64_t min;
    int64_t max;
};

/* 9999-12-31: a later stamp is a mistake. */
#define STAMP_MAX 253402300799

#define FIELD(s, member, k, t, req, lo, hi)                                                        \
    {                                                                                              \
        .key = (k), .type = (t), .required = (req), .off = offsetof(struct s, member),             \
        .size = sizeof(((struct s *)0)->member), .min = (lo), .max = (hi)                          \
    }

static const struct field intent_fields[] = {
    FIELD(intent, id, "id", F_HEX64, true, 0, 0),
    FIELD(intent, kind, "kind", F_KIND, true, 0, 0),
    FIELD(intent, epoch, "epoch", F_U64, true, 0, INT32_MAX),
    FIELD(intent, created_s, "created", F_I64, true, 0, STAMP_MAX),
    FIELD(intent, expires_s, "expires", F_I64, true, 0, STAMP_MAX),
    FIELD(intent, target, "target", F_NAME, false, 0, 0),
    FIELD(intent, force, "force", F_BOOL, false, 0, 0),
    FIELD(intent, accept_loss, "accept_data_loss", F_BOOL, false, 0, 0),
    FIELD(intent, created_by, "by", F_TEXT, false, 0, 0),
};

static const struct field result_fields[] = {
    FIELD(intent_result, id, "id", F_HEX64, true, 0, 0),
    FIELD(intent_result, kind, "kind", F_KIND, true, 0, 0),
    FIELD(intent_result, state, "state", F_STATE, true, 0, 0),
    FIELD(intent_result, phase, "phase", F_PHASE, true, 0, 0),
    FIELD(intent_result, updated_s, "updated", F_I64, true, 0, STAMP_MAX),
    FIELD(intent_result, phase_ms, "phases_ms", F_PHASES, false, 0, 0),
    FIELD(intent_result, total_ms, "total_ms", F_I32, false, -1, INT32_MAX),
    FIELD(intent_result, write_gap_ms, "write_gap_ms", F_I32, false, -1, INT32_MAX),
    FIELD(intent_result, primary, "primary", F_NAME, false, 0, 0),
    FIELD(intent_result, message, "message", F_TEXT, false, 0, 0),
    FIELD(intent_result, hint, "hint", F_TEXT, false, 0, 0),
};

static const struct field history_fields[] = {
    FIELD(history_entry, time_s, "time", F_I64, true, 0, STAMP_MAX),
    FIELD(history_entry, epoch, "epoch", F_U64, true, 0, INT32_MAX),
    FIELD(history_entry, timeline, "timeline", F_U32, true, 0, UINT32_MAX),
    FIELD(history_entry, lsn, "lsn", F_LSN, false, 0, 0),
    FIELD(history_entry, cause, "cause", F_TEXT, true, 0, 0),
    FIELD(history_entry, from, "from", F_NAME, false, 0, 0),
    FIELD(history_entry, to, "to", F_NAME, true, 0, 0),
    FIELD(history_entry, write_gap_ms, "write_gap_ms", F_I32, false, -1, INT32_MAX),
    FIELD(history_entry, lost_bytes, "lost_bytes", F_I64, false, -1, INT64_MAX),
    FIELD(history_entry, phase_ms, "phases_ms", F_PHASES, false, 0, 0),
    FIELD(history_entry, reason, "reason", F_TEXT, false, 0, 0),
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const kind_names[] = {
    [INTENT_NONE] = "none",       [INTENT_SWITCHOVER] = "switchover",
    [INTENT_FAILOVER] = "failover", [INTENT_RESTART] = "restart",
    [INTENT_REINIT] = "reinit",   [INTENT_RELOAD] = "reload",
};
static const char *const state_names[] = {
    [INTENT_STATE_NONE] = "none", [INTENT_ACCEPTED] = "accepted", [INTENT_RUNNING] = "running",
    [INTENT_DONE] = "done",       [INTENT_FAILED] = "failed",     [INTENT_REFUSED] = "refused",
};
static const char *const phase_names[] = {
    [PHASE_PREFLIGHT] = "preflight",
    [PHASE_CHECKPOINT] = "checkpoint",
    [PHASE_STOP] = "stop",
    [PHASE_RELEASE] = "release",
    [PHASE_DETECT] = "detect",
    [PHASE_ACQUIRE] = "acquire",
    [PHASE_PROMOTE] = "promote",
    [PHASE_FIRST_WRITE] = "first-write",
    [PHASE_START] = "start",
    [PHASE_CLONE] = "clone",
    [PHASE_STREAM] = "stream",
};
_Static_assert(COUNT(phase_names) == PHASE_COUNT, "a name for each phase");

static const char *name_of(const char *const *names, size_t n, unsigned v)
{
    return v < n ? names[v] : NULL;
}

static bool value_of(const char *const *names, size_t n, const char *s, unsigned *ret)
{
    for (unsigned i = 0; i < n; i++) {
        if (str_eq(names[i], s)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

const char *intent_kind_name(enum intent_kind kind)
{
    return name_of(kind_names, COUNT(kind_names), (unsigned)kind);
}

const char *intent_state_name(enum intent_state state)
{
    return name_of(state_names, COUNT(state_names), (unsigned)state);
}

const char *intent_phase_name(enum intent_phase phase)
{
    return name_of(phase_names, COUNT(phase_names), (unsigned)phase);
}

bool intent_state_final(enum intent_state state)
{
    return state == INTENT_DONE || state == INTENT_FAILED || state == INTENT_REFUSED;
}

static void phases_unknown(int32_t ms[PHASE_COUNT])
{
    for (size_t i = 0; i < PHASE_COUNT; i++)
        ms[i] = -1;
}

void intent_result_init(struct intent_result *r, const struct intent *in)
{
    *r = (struct intent_result){
        .id = in->id, .kind = in->kind, .total_ms = -1, .write_gap_ms = -1};
    phases_unknown(r->phase_ms);
}

/* The words of an enum field; NULL for other types. */
static const char *const *words_of(enum field_type t, size_t *n)
{
    if (t == F_KIND) {
        *n = COUNT(kind_names);
        return kind_names;
    }
    if (t == F_STATE) {
        *n = COUNT(state_names);
        return state_names;
    }
    *n = COUNT(phase_names);
    return phase_names;
}

static struct json_object *encode_phases(const void *p)
{
    int32_t ms[PHASE_COUNT];
    struct json_object *o = json_object_new_object();

    memcpy(ms, p, sizeof(ms));
    for (size_t i = 0; o && i < PHASE_COUNT; i++) {
        if (ms[i] >= 0)
            json_object_object_add(o, phase_names[i], json_object_new_int(ms[i]));
    }
    return o;
}

static struct json_object *encode_lsn(uint64_t v)
{
    char s[32];

    if (!str_format(s, sizeof(s), "%X/%X", (unsigned)(v >> 32), (unsigned)v))
        return NULL;
    return json_object_new_string(s);
}

/* NULL when the value has no representation (an enum outside its range) or memory is short. */
static struct json_object *encode_field(const struct field *f, const char *base)
{
    const void *p = base + f->off;
    uint64_t u64 = 0;
    int64_t i64 = 0;
    uint32_t u32 = 0;
    int32_t i32 = 0;
    char hex[17];
    bool b = false;
    size_t n;

    switch (f->type) {
    case F_HEX64:
        memcpy(&u64, p, sizeof(u64));
        if (!str_format(hex, sizeof(hex), "%016llx", (unsigned long long)u64))
            return NULL;
        return json_object_new_string(hex);
    case F_U64:
        memcpy(&u64, p, sizeof(u64));
        return json_object_new_uint64(u64);
    case F_U32:
        memcpy(&u32, p, sizeof(u32));
        return json_object_new_int64(u32);
    case F_I64:
        memcpy(&i64, p, sizeof(i64));
        return json_object_new_int64(i64);
    case F_I32:
        memcpy(&i32, p, sizeof(i32));
        return json_object_new_int(i32);
    case F_BOOL:
        memcpy(&b, p, sizeof(b));
        return json_object_new_boolean(b);
    case F_NAME:
    case F_TEXT:
        return json_object_new_string(p);
    case F_LSN:
        memcpy(&u64, p, sizeof(u64));
        return encode_lsn(u64);
    case F_PHASES:
        return encode_phases(p);
    case F_KIND:
    case F_STATE:
    case F_PHASE: {
        const char *const *words = words_of(f->type, &n);
        memcpy(&u32, p, sizeof(u32));
        const char *word = name_of(words, n, u32);
        return word ? json_object_new_string(word) : NULL;
    }
    }
    return NULL;
}

/* Says nothing, so left out: optional texts that are empty, flags that are off, durations -1. */
static bool is_default(const struct field *f, const char *base)
{
    const char *p = base + f->off;
    int64_t i64 = 0;
    int32_t i32 = 0;

    if (f->required)
        return false;
    switch (f->type) {
    case F_NAME:
    case F_TEXT:
    case F_BOOL:
        return *p == 0;
    case F_I32:
        memcpy(&i32, p, sizeof(i32));
        return i32 == -1;
    case F_I64:
    case F_LSN:
        memcpy(&i64, p, sizeof(i64));
        return i64 == (f->type == F_LSN ? 0 : -1);
    case F_HEX64:
    case F_U64:
    case F_U32:
    case F_KIND:
    case F_STATE:
    case F_PHASE:
    case F_PHASES:
        return false;
    }
    return false;
}

static bool encode(const struct field *fields, size_t n, const void *src, struct buf *b)
{
    struct json_object *o = json_object_new_object();
    bool ok = o != NULL;

    for (size_t i = 0; ok && i < n; i++) {
        if (is_default(&fields[i], src))
            continue;
        struct json_object *v = encode_field(&fields[i], src);
        ok = v && json_object_object_add(o, fields[i].key, v) == 0;
    }
    ok = ok && buf_puts(b, json_object_to_json_string_ext(
                               o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
    return ok;
}

/* Pod names are DNS subdomains (RFC 1123, as Kubernetes validates them). */
static bool name_valid(const char *s)
{
    for (; *s; s++) {
        if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-' || *s == '.'))
            return false;
    }
    return true;
}

static bool decode_lsn(const char *s, uint64_t *ret)
{
    const char *slash = strchr(s, '/');
    char hi[9];
    uint64_t h, l;

    if (!slash || slash - s > 8 || strlen(slash + 1) > 8)
        return false;
    memcpy(hi, s, (size_t)(slash - s));
    hi[slash - s] = '\0';
    if (!str_to_hex64(hi, &h) || !str_to_hex64(slash + 1, &l))
        return false;
    *ret = h << 32 | l;
    return true;
}

static bool decode_phases(struct json_object *v, void *p, struct err *e)
{
    int32_t ms[PHASE_COUNT];
    unsigned phase;

    phases_unknown(ms);
    if (!json_object_is_type(v, json_type_object))
        return err_set(e, ERR_INVALID, "must be an object");
    const struct json_object_iterator end = json_object_iter_end(v);
    for (struct json_object_iterator it = json_object_iter_begin(v);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        const char *key = json_object_iter_peek_name(&it);
        struct json_object *item = json_object_iter_peek_value(&it);

        if (!value_of(phase_names, COUNT(phase_names), key, &phase))
            return err_set(e, ERR_INVALID, "unknown phase \"%.40s\"", key);
        int64_t n = json_object_is_type(item, json_type_int) ? json_object_get_int64(item) : -1;
        if (n < 0 || n > INT32_MAX)
            return err_set(e, ERR_INVALID, "%s: must be milliseconds", key);
        ms[phase] = (int32_t)n;
    }
    memcpy(p, ms, sizeof(ms));
    return true;
}

static bool decode_int(const struct field *f, struct json_object *v, void *p, struct err *e)
{
    if (!json_object_is_type(v, json_type_int))
        return err_set(e, ERR_INVALID, "must be an integer");
    int64_t n = json_object_get_int64(v); /* json-c saturates: out of range stays out of range */
    if (n < f->min || n > f->max)
        return err_set(e, ERR_INVALID, "must be between %lld and %lld", (long long)f->min,
                       (long long)f->max);
    if (f->type == F_U64 || f->type == F_I64) {
        memcpy(p, &n, sizeof(n));
    } else { /* within 32 bits by the table's bounds */
        uint32_t u = (uint32_t)n;
        memcpy(p, &u, sizeof(u));
    }
    return true;
}

static bool decode_string(const struct field *f, struct json_object *v, void *p, struct err *e)
{
    if (!json_object_is_type(v, json_type_string))
        return err_set(e, ERR_INVALID, "must be a string");

    const char *s = json_object_get_string(v);
    size_t n;
    uint64_t u64 = 0;
    unsigned word = 0;

    if (strlen(s) != (size_t)json_object_get_string_len(v))
        return err_set(e, ERR_INVALID, "contains a NUL");
    switch (f->type) {
    case F_HEX64:
    case F_LSN:
        if (!(f->type == F_LSN ? decode_lsn(s, &u64) : str_to_hex64(s, &u64)))
            return err_set(e, ERR_INVALID, "\"%.40s\" is not hexadecimal", s);
        memcpy(p, &u64, sizeof(u64));
        return true;
    case F_NAME:
        if (!name_valid(s) || !str_copy(p, f->size, s))
            return err_set(e, ERR_INVALID, "\"%.70s\" is not a member's name", s);
        return true;
    case F_TEXT:
        if (!str_copy(p, f->size, s))
            return err_set(e, ERR_INVALID, "longer than %zu bytes", f->size - 1);
        return true;
    case F_KIND:
    case F_STATE:
    case F_PHASE: {
        const char *const *words = words_of(f->type, &n);
        if (!value_of(words, n, s, &word))
            return err_set(e, ERR_INVALID, "unknown word \"%.40s\"", s);
        memcpy(p, &word, sizeof(word));
        return true;
    }
    case F_U64:
    case F_U32:
    case F_I64:
    case F_I32:
    case F_BOOL:
    case F_PHASES:
        break;
    }
    return err_set(e, ERR_BUG, "not a text");
}

static bool decode_field(const struct field *f, struct json_object *v, char *base, struct err *e)
{
    void *p = base + f->off;

    switch (f->type) {
    case F_U64:
    case F_U32:
    case F_I64:
    case F_I32:
        return decode_int(f, v, p, e);
    case F_BOOL: {
        if (!json_object_is_type(v, json_type_boolean))
            return err_set(e, ERR_INVALID, "must be true or false");
        bool b = json_object_get_boolean(v) != 0;
        memcpy(p, &b, sizeof(b));
        return true;
    }
    case F_PHASES:
        return decode_phases(v, p, e);
    case F_HEX64:
    case F_NAME:
    case F_TEXT:
    case F_LSN:
    case F_KIND:
    case F_STATE:
    case F_PHASE:
        return decode_string(f, v, p, e);
    }
    return err_set(e, ERR_BUG, "type of field");
}

static bool decode_object(const struct field *fields, size_t n, struct json_object *o, char *dst,
                          struct err *e)
{
    uint32_t seen = 0;

    if (!json_object_is_type(o, json_type_object))
        return err_set(e, ERR_INVALID, "not a JSON object");
    const struct json_object_iterator end = json_object_iter_end(o);
    for (struct json_object_iterator it = json_object_iter_begin(o);
         !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        const char *key = json_object_iter_peek_name(&it);
        struct json_object *v = json_object_iter_peek_value(&it);
        size_t i = 0;
        while (i < n && !str_eq(fields[i].key, key))
            i++;
        if (i == n)
            return err_set(e, ERR_INVALID, "unknown key \"%.40s\"", key);
        if (!decode_field(&fields[i], v, dst, e))
            return err_wrap(e, "%s", key);
        seen |= 1U << i;
    }
    for (size_t i = 0; i < n; i++) {
        if (fields[i].required && !(seen & 1U << i))
            return err_set(e, ERR_INVALID, "%s: missing", fields[i].key);
    }
    return true;
}

/* dst has its defaults already. */
static bool decode(const struct field *fields, size_t n, const char *json, size_t len, void *dst,
                   struct err *e)
{
    if (len > INTENT_JSON_MAX)
        return err_set(e, ERR_INVALID, "longer than %d bytes", INTENT_JSON_MAX);

    struct json_tokener *t = json_tokener_new_ex(4);
    if (!t)
        return err_set(e, ERR_FATAL, "out of memory");
    json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(t, json, (int)len);
    enum json_tokener_error je = json_tokener_get_error(t);
    size_t end = json_tokener_get_parse_end(t);
    json_tokener_free(t);

    bool ok;
    if (je != json_tokener_success || end != len)
        ok = err_set(e, ERR_INVALID, "not JSON: %s",
                     je == json_tokener_continue  ? "incomplete"
                     : je == json_tokener_success ? "text after the end"
                                                  : json_tokener_error_desc(je));
    else
        ok = decode_object(fields, n, o, dst, e);
    json_object_put(o);
    return ok;
}

bool intent_encode(const struct intent *in, struct buf *b)
{
    return encode(intent_fields, COUNT(intent_fields), in, b);
}

bool intent_result_encode(const struct intent_result *r, struct buf *b)
{
    return encode(result_fields, COUNT(result_fields), r, b);
}

bool intent_decode(const char *json, size_t len, struct intent *ret, struct err *e)
{
    struct intent in = {0};

    if (!decode(intent_fields, COUNT(intent_fields), json, len, &in, e))
        return err_wrap(e, "intent");
    if (in.id == 0 || in.kind == INTENT_NONE)
        return err_set(e, ERR_INVALID, "intent: %s: must not be none", in.id == 0 ? "id" : "kind");
    if (in.target.s[0] == '\0' && in.kind != INTENT_SWITCHOVER && in.kind != INTENT_RELOAD)
        return err_set(e, ERR_INVALID, "intent: target: missing for %s", intent_kind_name(in.kind));
    *ret = in;
    return true;
}

bool intent_result_decode(const char *json, size_t len, struct intent_result *ret, struct err *e)
{
    struct intent_result r;

    intent_result_init(&r, &(struct intent){0});
    if (!decode(result_fields, COUNT(result_fields), json, len, &r, e))
        return err_wrap(e, "intent-result");
    *ret = r;
    return true;
}

bool intent_open(const struct intent *in, const struct intent_result *r, uint64_t lease_epoch,
                 int64_t now_s)
{
    if (in->id == 0 || in->kind == INTENT_NONE || now_s >= in->expires_s)
        return false;
    if (r->id != in->id || r->state == INTENT_STATE_NONE)
        return in->epoch == lease_epoch;
    return !intent_state_final(r->state);
}

void history_entry_init(struct history_entry *h)
{
    *h = (struct history_entry){.write_gap_ms = -1, .lost_bytes = -1};
    phases_unknown(h->phase_ms);
}

bool history_encode(const struct history_entry *h, struct buf *b)
{
    return encode(history_fields, COUNT(history_fields), h, b);
}

bool history_decode(const char *json, size_t len, struct history_entry *ret, struct err *e)
{
    struct history_entry h;

    history_entry_init(&h);
    if (!decode(history_fields, COUNT(history_fields), json, len, &h, e))
        return err_wrap(e, "history");
    *ret = h;
    return true;
}
