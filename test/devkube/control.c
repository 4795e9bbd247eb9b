/* Control paths:
 *   POST   /devkube/faults        add a rule          GET /devkube/faults     rules, hit counts
 *   DELETE /devkube/faults[/ID]   remove all or one
 *   POST   /devkube/down          {"ms":N} | {"on":true|false}
 *   GET    /devkube/log[?since=RV]  committed lease writes
 *   GET    /devkube/stats           request counts    DELETE: start at zero */
#include "devkube/control.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define PREFIX "/devkube/"

bool control_is_path(const char *path)
{
    return str_starts(path, PREFIX);
}

static void add_fault(struct server *sv, const struct api_request *rq, struct reply *rp)
{
    struct json_object *o = jx_parse(rq->body, rq->body_len);
    faults_add(server_faults(sv), o, rp);
    json_object_put(o);
}

static void remove_faults(struct server *sv, const char *id, struct reply *rp)
{
    int64_t n;
    if (!*id)
        faults_clear(server_faults(sv));
    else if (!str_to_i64(id, 0, INT64_MAX, &n) || !faults_remove(server_faults(sv), n)) {
        reply_no_path(rp);
        return;
    }
    reply_json(rp, 200, faults_render(server_faults(sv)));
}

static void handle_faults(struct server *sv, const struct api_request *rq, const char *id,
                          struct reply *rp)
{
    if (str_eq(rq->method, "GET"))
        reply_json(rp, 200, faults_render(server_faults(sv)));
    else if (str_eq(rq->method, "POST") && !*id)
        add_fault(sv, rq, rp);
    else if (str_eq(rq->method, "DELETE"))
        remove_faults(sv, id, rp);
    else
        reply_method_not_allowed(rp);
    server_wake_watches(sv, NULL); /* freezing and thawing act at once */
}

static void handle_down(struct server *sv, const struct api_request *rq, struct reply *rp)
{
    struct json_object *o = jx_parse(rq->body, rq->body_len);
    int64_t ms = jx_int(o, "ms", 0);
    struct json_object *on = jx_get(o, "on");
    bool forever = json_object_is_type(on, json_type_boolean) && json_object_get_boolean(on);
    bool understood = ms > 0 || json_object_is_type(on, json_type_boolean);
    json_object_put(o);
    if (!understood || !str_eq(rq->method, "POST")) {
        reply_bad_request(rp, "POST {\"ms\":N} or {\"on\":true|false}");
        return;
    }
    if (forever && !server_has_control(sv)) {
        reply_bad_request(rp, "nothing could end it: start with --control, or give ms");
        return;
    }
    if (ms > 0 || forever)
        server_down(sv, ms);
    else
        server_up(sv);
    struct json_object *state = json_object_new_object();
    jx_set(state, "down", json_object_new_boolean(server_is_down(sv)));
    reply_json(rp, 200, state);
}

static void handle_stats(struct server *sv, const struct api_request *rq, struct reply *rp)
{
    int64_t connections;
    int64_t watches;
    if (str_eq(rq->method, "DELETE"))
        journal_reset_counts(server_journal(sv));
    server_counts(sv, &connections, &watches);
    struct json_object *o = json_object_new_object();
    jx_set_int(o, "rv", store_rv(server_store(sv)));
    jx_set_int(o, "boot_ms", clock_boot_ms());
    jx_set_int(o, "connections", connections);
    jx_set_int(o, "watches", watches);
    jx_set(o, "requests", journal_render_counts(server_journal(sv)));
    reply_json(rp, 200, o);
}

static void handle_log(struct server *sv, const struct api_request *rq, struct reply *rp)
{
    int64_t since = 0;
    const char *arg = api_arg(rq, "since");
    if (arg && !str_to_i64(arg, 0, INT64_MAX, &since))
        reply_bad_request(rp, "since is a resource version");
    else
        journal_render_log(server_journal(sv), since, rp);
}

void control_handle(struct server *sv, const struct api_request *rq, struct reply *rp)
{
    const char *what = rq->path + strlen(PREFIX);
    if (str_eq(what, "faults"))
        handle_faults(sv, rq, "", rp);
    else if (str_starts(what, "faults/"))
        handle_faults(sv, rq, what + strlen("faults/"), rp);
    else if (str_eq(what, "down"))
        handle_down(sv, rq, rp);
    else if (str_eq(what, "stats"))
        handle_stats(sv, rq, rp);
    else if (str_eq(what, "log"))
        handle_log(sv, rq, rp);
    else
        reply_no_path(rp);
}
