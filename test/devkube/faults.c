/* Matching, counting and dice of fault rules; carrying them out is the server's business. */
#include "devkube/faults.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

#define RULES_MAX 64

struct rule {
    int64_t id;
    struct json_object *text; /* as posted; match patterns are read from here */
    struct fault_effects fx;
    int64_t nth;   /* fires from this match on, counted from 1 */
    int64_t count; /* at most so often; 0: no limit */
    double probability;
    uint64_t dice;
    int64_t seen;
    int64_t fired;
};

struct faults {
    struct store *st;
    struct rule rules[RULES_MAX];
    size_t n;
    int64_t last_id;
};

static const char *const patterns[] = {"source",   "user",      "verb",
                                       "resource", "namespace", "name"};

enum option_type { OPT_BOOL, OPT_INT };

static const struct option {
    const char *key;
    enum option_type type;
    size_t at;
} options[] = {
    {"refuse", OPT_BOOL, offsetof(struct rule, fx.refuse)},
    {"drop_before", OPT_BOOL, offsetof(struct rule, fx.drop_before)},
    {"drop_after", OPT_BOOL, offsetof(struct rule, fx.drop_after)},
    {"half_open", OPT_BOOL, offsetof(struct rule, fx.half_open)},
    {"chunk1", OPT_BOOL, offsetof(struct rule, fx.chunk1)},
    {"truncate", OPT_BOOL, offsetof(struct rule, fx.truncate)},
    {"garbage", OPT_BOOL, offsetof(struct rule, fx.garbage)},
    {"commit", OPT_BOOL, offsetof(struct rule, fx.commit)},
    {"ignore_timeout", OPT_BOOL, offsetof(struct rule, fx.ignore_timeout)},
    {"stale_list", OPT_BOOL, offsetof(struct rule, fx.stale_list)},
    {"freeze_watch", OPT_BOOL, offsetof(struct rule, fx.freeze_watch)},
    {"truncate_history", OPT_BOOL, offsetof(struct rule, fx.truncate_history)},
    {"delay_before_ms", OPT_INT, offsetof(struct rule, fx.delay_before_ms)},
    {"delay_after_ms", OPT_INT, offsetof(struct rule, fx.delay_after_ms)},
    {"status", OPT_INT, offsetof(struct rule, fx.status)},
    {"retry_after", OPT_INT, offsetof(struct rule, fx.retry_after)},
    {"huge", OPT_INT, offsetof(struct rule, fx.huge)},
    {"nth", OPT_INT, offsetof(struct rule, nth)},
    {"count", OPT_INT, offsetof(struct rule, count)},
    {"seed", OPT_INT, offsetof(struct rule, dice)},
};

struct faults *faults_new(struct store *st)
{
    struct faults *f = calloc(1, sizeof(*f));
    must(f);
    f->st = st;
    return f;
}

static void rule_done(struct rule *r)
{
    json_object_put(r->text);
    store_unref(r->fx.stale);
}

void faults_clear(struct faults *f)
{
    for (size_t i = 0; i < f->n; i++)
        rule_done(&f->rules[i]);
    f->n = 0;
}

void faults_free(struct faults *f)
{
    if (!f)
        return;
    faults_clear(f);
    free(f);
}

bool faults_remove(struct faults *f, int64_t id)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->rules[i].id != id)
            continue;
        rule_done(&f->rules[i]);
        f->n--;
        memmove(&f->rules[i], &f->rules[i + 1], (f->n - i) * sizeof(struct rule));
        return true;
    }
    return false;
}

static bool set_option(struct rule *r, const struct option *opt, struct json_object *val)
{
    char *at = (char *)r + opt->at;
    if (opt->type == OPT_BOOL) {
        bool on = json_object_get_boolean(val);
        memcpy(at, &on, sizeof(on));
        return json_object_is_type(val, json_type_boolean);
    }
    int64_t v = json_object_get_int64(val);
    memcpy(at, &v, sizeof(v));
    return json_object_is_type(val, json_type_int) && v >= 0;
}

/* False for an unknown key or a value of the wrong type: a misspelt fault must not pass a test. */
static bool set_member(struct rule *r, const char *key, struct json_object *val)
{
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        if (str_eq(key, patterns[i]))
            return json_object_is_type(val, json_type_string);
    }
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (str_eq(key, options[i].key))
            return set_option(r, &options[i], val);
    }
    if (str_eq(key, "probability")) {
        r->probability = json_object_get_double(val);
        return r->probability >= 0 && r->probability <= 1;
    }
    return str_eq(key, "message") && json_object_is_type(val, json_type_string) &&
           str_copy(r->fx.message, sizeof(r->fx.message), json_object_get_string(val));
}

static struct json_object *rule_render(const struct rule *r)
{
    struct json_object *o = jx_copy(r->text);
    jx_set_int(o, "id", r->id);
    jx_set_int(o, "seen", r->seen);
    jx_set_int(o, "fired", r->fired);
    return o;
}

bool faults_add(struct faults *f, const struct json_object *o, struct reply *rp)
{
    if (!json_object_is_type(o, json_type_object))
        return reply_bad_request(rp, "a fault rule is a JSON object");
    if (f->n == RULES_MAX)
        return reply_bad_request(rp, "there are %d rules already", RULES_MAX);
    struct rule r = {.nth = 1, .probability = 1};
    for (struct lh_entry *e = jx_head(o); e; e = e->next) {
        if (!set_member(&r, jx_key(e), jx_val(e)))
            return reply_bad_request(rp, "unknown fault option or bad value: \"%s\"", jx_key(e));
    }
    if (r.fx.status != 0 && (r.fx.status < 400 || r.fx.status > 599))
        return reply_bad_request(rp, "status must be an error code");
    r.id = ++f->last_id;
    r.text = jx_copy(o);
    if (r.fx.stale_list)
        r.fx.stale = store_snapshot(f->st);
    f->rules[f->n++] = r;
    reply_json(rp, 201, rule_render(&r));
    return true;
}

struct json_object *faults_render(const struct faults *f)
{
    struct json_object *items = json_object_new_array();
    for (size_t i = 0; i < f->n; i++)
        must(json_object_array_add(items, rule_render(&f->rules[i])) == 0);
    struct json_object *o = json_object_new_object();
    jx_set(o, "items", items);
    return o;
}

/* One of the globs in a comma-separated list; NULL matches everything. */
static bool pattern_match(const char *list, const char *s)
{
    char glob[256];
    if (!list)
        return true;
    for (;;) {
        size_t n = strcspn(list, ",");
        if (n < sizeof(glob)) {
            memcpy(glob, list, n);
            glob[n] = '\0';
            if (fnmatch(glob, s, 0) == 0)
                return true;
        }
        if (list[n] == '\0')
            return false;
        list += n + 1;
    }
}

static bool rule_match(const struct rule *r, const struct fault_key *k)
{
    const char *const have[] = {k->source, k->user, k->verb, k->resource, k->ns, k->name};
    _Static_assert(sizeof(have) == sizeof(patterns), "one value per pattern");
    for (size_t i = 0; i < sizeof(have) / sizeof(have[0]); i++) {
        if (!pattern_match(jx_str(r->text, patterns[i]), have[i]))
            return false;
    }
    return true;
}

/* splitmix64: one seed, one sequence, on every machine. */
static double roll(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) / (double)(1ull << 53);
}

/* Counts a match; true when the rule acts on it. */
static bool rule_fires(struct rule *r)
{
    r->seen++;
    if (r->seen < r->nth || (r->count > 0 && r->fired >= r->count))
        return false;
    if (r->probability < 1 && roll(&r->dice) >= r->probability)
        return false;
    r->fired++;
    return true;
}

bool faults_fire(struct faults *f, const struct fault_key *k, struct fault_effects *ret)
{
    for (size_t i = 0; i < f->n; i++) {
        struct rule *r = &f->rules[i];
        bool stream = r->fx.freeze_watch || r->fx.truncate_history;
        if (stream || !rule_match(r, k) || !rule_fires(r))
            continue;
        *ret = r->fx;
        if (ret->stale)
            store_ref(ret->stale);
        return true;
    }
    return false;
}

bool faults_refuse(struct faults *f, const char *source)
{
    for (size_t i = 0; i < f->n; i++) {
        struct rule *r = &f->rules[i];
        bool only_source = r->fx.refuse;
        for (size_t p = 1; p < sizeof(patterns) / sizeof(patterns[0]); p++)
            only_source = only_source && !jx_get(r->text, patterns[p]);
        if (only_source && pattern_match(jx_str(r->text, "source"), source) && rule_fires(r))
            return true;
    }
    return false;
}

bool faults_frozen(const struct faults *f, const struct fault_key *k)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->rules[i].fx.freeze_watch && rule_match(&f->rules[i], k))
            return true;
    }
    return false;
}

bool faults_expire(struct faults *f, const struct fault_key *k)
{
    for (size_t i = 0; i < f->n; i++) {
        struct rule *r = &f->rules[i];
        if (r->fx.truncate_history && rule_match(r, k) && rule_fires(r))
            return true;
    }
    return false;
}

static void answer_message(const struct fault_effects *fx, struct reply *rp)
{
    static const struct {
        int64_t code;
        const char *reason;
    } reasons[] = {{400, "BadRequest"},      {401, "Unauthorized"},     {403, "Forbidden"},
                   {404, "NotFound"},        {409, "Conflict"},         {410, "Expired"},
                   {422, "Invalid"},         {429, "TooManyRequests"},  {500, "InternalError"},
                   {503, "ServiceUnavailable"}, {504, "Timeout"}};
    const char *reason = "";
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].code == fx->status)
            reason = reasons[i].reason;
    }
    struct json_object *details = NULL;
    if (fx->retry_after > 0) {
        details = json_object_new_object();
        jx_set_int(details, "retryAfterSeconds", fx->retry_after);
    }
    reply_status(rp, (unsigned)fx->status, reason, details, "%s", fx->message);
}

static void answer_code(const struct fault_effects *fx, const struct api_request *rq,
                        struct reply *rp)
{
    if (fx->status == 401)
        reply_unauthorized(rp);
    else if (fx->status == 403 && rq->res)
        reply_forbidden(rp, rq->res, rq->ns, rq->target, rq->verb, rq->user);
    else if (fx->status == 404 && rq->res)
        reply_not_found(rp, rq->res, rq->target);
    else if (fx->status == 409 && rq->res)
        reply_stale(rp, rq->res, rq->target);
    else if (fx->status == 429)
        reply_too_many(rp, 1);
    else if (fx->status == 500)
        reply_status(rp, 500, "", NULL, "etcdserver: request timed out");
    else if (fx->status == 503)
        reply_status(rp, 503, "ServiceUnavailable", NULL, "apiserver is shutting down");
    else if (fx->status == 504)
        reply_timeout(rp);
    else
        reply_status(rp, (unsigned)fx->status, "", NULL, "injected fault");
    if (fx->status == 503)
        rp->retry_after_s = 1;
}

void faults_answer(const struct fault_effects *fx, const struct api_request *rq, struct reply *rp)
{
    if (*fx->message)
        answer_message(fx, rp);
    else
        answer_code(fx, rq, rp);
    if (fx->retry_after > 0)
        rp->retry_after_s = (int)fx->retry_after;
}
