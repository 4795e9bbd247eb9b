/* JSON of requests and states, strict in both directions; and the token file. */
#include "http/peer.h"

#include <json-c/json.h>
#include <string.h>

#include "base/fd.h"
#include "base/jw.h"
#include "base/str.h"

/* Raised with each field that is added; a newer one is read as if it were ours. A field is never
 * taken away, and its words and meaning stay: a change of those is another field. */
#define VERSION 2
/* Messages of older versions lack what we need. Raised only when no member of such a release can be
 * left: two releases after a field was added it may be required. */
#define VERSION_OLDEST 1
#define DEPTH_MAX 4
#define PROMISE_MAX_MS 3600000

static const char *const ask_names[] = {"state", "vote", "promise"};
static const char *const data_names[] = {"unknown", "empty", "ok", "partial", "foreign", "broken"};
static const char *const process_names[] = {"down", "starting", "running", "stopping"};
static const char *const write_end_names[] = {"other", "planned", "crash"};
static const char *const tri_names[] = {"unknown", "no", "yes"};
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* --- writing --- */

static void put_hex(struct jw *j, const char *key, uint64_t v)
{
    char t[20];
    (void)str_format(t, sizeof(t), "%016llx", (unsigned long long)v);
    jw_string(j, key, t);
}

static void put_identity(struct jw *j, const struct identity *id)
{
    jw_string(j, "name", id->name.s);
    jw_string(j, "uid", id->uid);
    put_hex(j, "boot", id->boot);
}

bool peer_request_encode(const struct peer_request *r, struct buf *b)
{
    struct jw j;
    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_int(&j, "v", VERSION);
    jw_string(&j, "ask", ask_names[r->ask]);
    put_identity(&j, &r->from);
    jw_uint(&j, "epoch", r->epoch);
    jw_int(&j, "promise_ms", r->promise_ms);
    jw_object_end(&j);
    return !b->overflow;
}

bool peer_state_encode(const struct peer_state *s, struct buf *b)
{
    struct jw j;
    jw_init(&j, b);
    jw_object(&j, NULL);
    jw_int(&j, "v", VERSION);
    put_identity(&j, &s->id);
    put_hex(&j, "volume", s->volume);
    put_hex(&j, "system_id", s->system_id);
    jw_string(&j, "data", data_names[s->data]);
    jw_string(&j, "process", process_names[s->process]);
    jw_string(&j, "in_recovery", tri_names[s->in_recovery]);
    jw_uint(&j, "timeline", s->position.timeline);
    jw_uint(&j, "lsn", s->position.lsn);
    jw_uint(&j, "durable_epoch", s->durable_epoch);
    jw_uint(&j, "frozen_epoch", s->frozen_epoch);
    jw_uint(&j, "refused_epoch", s->refused_epoch);
    jw_uint(&j, "promised_epoch", s->promised_epoch);
    jw_int(&j, "promise_ms", s->promise_ms);
    jw_uint(&j, "record_epoch", s->record_epoch);
    jw_uint(&j, "record_rev", s->record_rev);
    jw_uint(&j, "lease_epoch", s->lease_epoch);
    put_hex(&j, "streams_from", s->streams_from);
    jw_bool(&j, "nofailover", s->nofailover);
    jw_bool(&j, "paused", s->paused);
    jw_uint(&j, "priority", s->priority);
    jw_int(&j, "written_ago_ms", s->written_ago_ms);
    jw_string(&j, "write_end", write_end_names[s->write_end]);
    jw_int(&j, "writer_silent_ms", s->writer_silent_ms);
    jw_string(&j, "rule", s->rule.s);
    jw_object_end(&j);
    return !b->overflow;
}

/* --- reading --- */

struct reader {
    struct json_object *o;
    bool ok;
    struct err *e;
};

/* The first mistake is the one reported. */
static void fail(struct reader *r, const char *key, const char *why)
{
    if (r->ok)
        err_set(r->e, ERR_INVALID, "peer message: %s %s", key, why);
    r->ok = false;
}

static struct json_object *get(struct reader *r, const char *key, enum json_type type)
{
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(r->o, key, &v)) {
        fail(r, key, "is missing");
        return NULL;
    }
    if (!json_object_is_type(v, type)) {
        fail(r, key, "has the wrong type");
        return NULL;
    }
    return v;
}

/* json-c turns numbers beyond its range into the nearest one, so its ends are not believed. */
static int64_t get_number(struct reader *r, const char *key, int64_t max)
{
    struct json_object *v = get(r, key, json_type_int);
    if (!v)
        return 0;
    int64_t n = json_object_get_int64(v);
    if (n < 0 || n > max || n == INT64_MAX) {
        fail(r, key, "is out of range");
        return 0;
    }
    return n;
}

/* A field that older members do not send. */
static int64_t get_newer(struct reader *r, const char *key, int64_t max)
{
    return json_object_object_get_ex(r->o, key, NULL) ? get_number(r, key, max) : 0;
}

static uint64_t get_u63(struct reader *r, const char *key)
{
    return (uint64_t)get_number(r, key, INT64_MAX - 1);
}

static const char *get_string(struct reader *r, const char *key, size_t max)
{
    struct json_object *v = get(r, key, json_type_string);
    if (!v)
        return "";
    const char *s = json_object_get_string(v);
    size_t n = (size_t)json_object_get_string_len(v);
    bool printable = n <= max && strlen(s) == n;
    for (size_t i = 0; printable && i < n; i++)
        printable = s[i] > ' ' && s[i] < 0x7F;
    if (!printable) {
        fail(r, key, "is too long or not printable");
        return "";
    }
    return s;
}

static uint64_t get_hex(struct reader *r, const char *key)
{
    uint64_t v = 0;
    const char *s = get_string(r, key, 16);
    if (r->ok && (strlen(s) != 16 || !str_to_hex64(s, &v)))
        fail(r, key, "must be 16 hexadecimal digits");
    return v;
}

static int get_word(struct reader *r, const char *key, const char *const *words, int n)
{
    const char *s = get_string(r, key, 31);
    for (int i = 0; i < n; i++)
        if (strcmp(words[i], s) == 0)
            return i;
    fail(r, key, "is not one of the known words");
    return 0;
}

static bool get_flag(struct reader *r, const char *key)
{
    struct json_object *v = get(r, key, json_type_boolean);
    return v && json_object_get_boolean(v);
}

static void get_identity(struct reader *r, struct identity *id)
{
    const char *name = get_string(r, "name", HA_NAME_SIZE - 1);
    if (r->ok && name[0] == '\0')
        fail(r, "name", "is empty");
    (void)str_copy(id->name.s, sizeof(id->name.s), name);
    (void)str_copy(id->uid, sizeof(id->uid), get_string(r, "uid", HA_UID_SIZE - 1));
    id->boot = get_hex(r, "boot");
}

/* The object in text, NULL with *e set. Owned by the caller. */
static struct json_object *parse(const char *text, size_t len, struct err *e)
{
    if (len == 0 || len > PEER_BODY_MAX) {
        err_set(e, ERR_INVALID, "peer message: %zu bytes, allowed are 1 to %d", len, PEER_BODY_MAX);
        return NULL;
    }
    struct json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
    if (!tok) {
        err_set(e, ERR_FATAL, "peer message: out of memory");
        return NULL;
    }
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(tok, text, (int)len);
    /* Every byte must belong to it: half a second message is not a message. */
    bool whole = json_tokener_get_error(tok) == json_tokener_success &&
                 json_tokener_get_parse_end(tok) == len;
    json_tokener_free(tok);
    if (whole && json_object_is_type(o, json_type_object))
        return o;
    json_object_put(o);
    err_set(e, ERR_INVALID, "peer message: not a JSON object");
    return NULL;
}

static void check_version(struct reader *r)
{
    if (get_number(r, "v", 1000000) < VERSION_OLDEST)
        fail(r, "v", "is a version of the protocol that is too old");
}

bool peer_request_decode(const char *text, size_t len, struct peer_request *ret, struct err *e)
{
    struct reader r = {.o = parse(text, len, e), .ok = true, .e = e};
    struct peer_request q = {0};
    if (!r.o)
        return false;
    check_version(&r);
    q.ask = (enum peer_ask)get_word(&r, "ask", ask_names, COUNT(ask_names));
    get_identity(&r, &q.from);
    q.epoch = get_u63(&r, "epoch");
    q.promise_ms = get_number(&r, "promise_ms", PROMISE_MAX_MS);
    json_object_put(r.o);
    if (r.ok)
        *ret = q;
    return r.ok;
}

bool peer_state_decode(const char *text, size_t len, struct peer_state *ret, struct err *e)
{
    struct reader r = {.o = parse(text, len, e), .ok = true, .e = e};
    struct peer_state s = {0};
    if (!r.o)
        return false;
    check_version(&r);
    get_identity(&r, &s.id);
    s.volume = get_hex(&r, "volume");
    s.system_id = get_hex(&r, "system_id");
    s.data = (enum data_state)get_word(&r, "data", data_names, COUNT(data_names));
    s.process = (enum pg_process)get_word(&r, "process", process_names, COUNT(process_names));
    s.in_recovery = (enum tri)get_word(&r, "in_recovery", tri_names, COUNT(tri_names));
    s.position.timeline = (uint32_t)get_number(&r, "timeline", TIMELINE_MAX);
    s.position.lsn = get_u63(&r, "lsn");
    s.durable_epoch = get_u63(&r, "durable_epoch");
    s.frozen_epoch = get_u63(&r, "frozen_epoch");
    s.refused_epoch = get_u63(&r, "refused_epoch");
    s.promised_epoch = get_u63(&r, "promised_epoch");
    s.promise_ms = get_number(&r, "promise_ms", PROMISE_MAX_MS);
    s.record_epoch = get_u63(&r, "record_epoch");
    s.record_rev = get_u63(&r, "record_rev");
    s.lease_epoch = get_u63(&r, "lease_epoch");
    s.streams_from = get_hex(&r, "streams_from");
    s.nofailover = get_flag(&r, "nofailover");
    s.paused = get_flag(&r, "paused");
    s.priority = (uint8_t)get_number(&r, "priority", UINT8_MAX);
    s.written_ago_ms = get_number(&r, "written_ago_ms", INT64_MAX - 1);
    s.write_end =
        (enum write_end)get_word(&r, "write_end", write_end_names, COUNT(write_end_names));
    s.writer_silent_ms = get_newer(&r, "writer_silent_ms", INT64_MAX - 1);
    (void)str_copy(s.rule.s, sizeof(s.rule.s), get_string(&r, "rule", HA_NAME_SIZE - 1));
    json_object_put(r.o);
    if (r.ok)
        *ret = s;
    return r.ok;
}

/* --- tokens --- */

static bool add_token(struct peer_tokens *t, const char *line, size_t n, struct err *e)
{
    if (n < PEER_TOKEN_MIN || n > PEER_TOKEN_MAX)
        return err_set(e, ERR_INVALID, "a token has %d to %d bytes, this one %zu", PEER_TOKEN_MIN,
                       PEER_TOKEN_MAX, n);
    for (size_t i = 0; i < n; i++)
        if (line[i] <= ' ' || line[i] >= 0x7F)
            return err_set(e, ERR_INVALID, "a token is of printable characters without blanks");
    if (t->n == PEER_TOKENS_MAX)
        return err_set(e, ERR_INVALID, "at most %d tokens are accepted", PEER_TOKENS_MAX);
    memcpy(t->t[t->n], line, n);
    t->t[t->n++][n] = '\0';
    return true;
}

bool peer_tokens_parse(struct peer_tokens *t, const char *text, struct err *e)
{
    struct peer_tokens fresh = {0};
    bool ok = true;
    while (ok && *text) {
        size_t n = strcspn(text, "\r\n");
        if (n > 0)
            ok = add_token(&fresh, text, n, e);
        text += n + strspn(text + n, "\r\n");
    }
    if (ok && fresh.n == 0)
        ok = err_set(e, ERR_INVALID, "there is no token");
    if (ok)
        *t = fresh;
    explicit_bzero(&fresh, sizeof(fresh));
    return ok;
}

bool peer_tokens_read(struct peer_tokens *t, const char *path, struct err *e)
{
    struct buf b;
    buf_init(&b, PEER_BODY_MAX);
    bool ok = fd_read_file(path, &b, e);
    if (ok && strlen(buf_str(&b)) != b.len)
        ok = err_set(e, ERR_INVALID, "%s: contains a zero byte", path);
    if (ok && !peer_tokens_parse(t, buf_str(&b), e))
        ok = err_wrap(e, "%s", path);
    if (b.data)
        explicit_bzero(b.data, b.cap);
    buf_done(&b);
    return ok;
}
