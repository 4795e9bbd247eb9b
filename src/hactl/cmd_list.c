/* list, topology, wait: the picture of the cluster. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "hactl/api.h"
#include "hactl/cluster.h"
#include "hactl/commands.h"
#include "hactl/render.h"
#include "hactl/session.h"
#include "hactl/socket.h"

#define WATCH_MS 1000
#define WAIT_POLL_MS 250
#define WAIT_DEFAULT_MS 300000

static int gather(struct session *s, struct cluster_view *v)
{
    int rc = session_connect(s);

    if (rc != EXIT_DONE)
        return rc;
    return api_is_socket(s->api) ? socket_gather(s, v) : cluster_gather(s, v, true);
}

static int show(struct session *s, void (*render)(struct session *, const struct cluster_view *))
{
    struct cluster_view v;
    int rc = gather(s, &v);

    if (rc != EXIT_DONE)
        return rc;
    render(s, &v);
    return v.alarms_n > 0 ? EXIT_DEGRADED : EXIT_DONE;
}

/* Each picture is complete before the old one is erased, so that nothing flickers. */
static int watch(struct session *s)
{
    int64_t end_ms = s->args.timeout_ms ? clock_boot_ms() + s->args.timeout_ms : 0;
    char stamp[32];
    int rc;

    do {
        struct cluster_view v;
        s->deadline_ms = clock_boot_ms() + API_REQUEST_MS;
        rc = gather(s, &v);
        if (rc == EXIT_USAGE || !s->api)
            return rc;
        if (s->out_tty)
            fputs("\033[H\033[J", s->out);
        if (s->output == OUTPUT_TABLE || s->output == OUTPUT_WIDE)
            fprintf(s->out, "%s\n", stamp_text(stamp, sizeof(stamp), clock_wall_us() / 1000000));
        if (rc == EXIT_DONE) {
            render_cluster(s, &v);
            rc = v.alarms_n > 0 ? EXIT_DEGRADED : EXIT_DONE;
        }
        fflush(s->out);
        if (ferror(s->out))
            return EXIT_FAILED;
        api_pause(s->api, WATCH_MS);
    } while (!end_ms || clock_boot_ms() < end_ms);
    return rc;
}

int cmd_list(struct session *s)
{
    return args_has(&s->args, OPT_WATCH) ? watch(s) : show(s, render_cluster);
}

int cmd_topology(struct session *s)
{
    return show(s, render_topology);
}

/* NULL when what is waited for holds, else what is missing. */
static const char *missing(const struct cluster_view *v, const char *what)
{
    size_t streaming = 0, votes = 0, votes_streaming = 0;

    for (size_t i = 0; i < v->n; i++) {
        if (v->m[i].role == ROLE_PRIMARY)
            continue;
        streaming += member_streams(&v->m[i]);
        votes += v->m[i].in_v;
        votes_streaming += v->m[i].in_v && member_streams(&v->m[i]);
    }
    const struct member_view *p = cluster_primary(v);
    if (!p)
        return "there is no writable primary";
    /* A member that died has left its last report behind; readiness is the kubelet's own look. */
    if (p->source != SOURCE_LIVE && !p->ready)
        return "the holder of the Lease does not answer and its pod is not ready";
    if (str_eq(what, "primary"))
        return NULL;
    if (streaming == 0)
        return "no replica streams";
    if (str_eq(what, "replica"))
        return NULL;
    if (!v->has_record)
        return "the cluster's record is not there yet";
    if (v->record.sealed)
        return "the primary is sealed: it writes alone";
    if (v->record.w == 0)
        return "commits do not wait for any replica yet";
    return votes_streaming < votes ? "not every voting replica streams" : NULL;
}

/* The reason is the last that was seen: a last look that the deadline cut short says nothing. */
int cmd_wait(struct session *s)
{
    const char *what = s->args.value[OPT_FOR] ? s->args.value[OPT_FOR] : "primary";
    const char *reason = NULL;
    struct hush h = {0};
    int64_t end_ms;
    int rc;

    session_set_deadline(s, WAIT_DEFAULT_MS);
    end_ms = s->deadline_ms;
    for (;;) {
        struct cluster_view v;
        int64_t now = clock_boot_ms();

        s->deadline_ms = now + 5000 < end_ms ? now + 5000 : end_ms;
        free(h.text);
        session_hush(s, &h); /* a cluster that cannot be read yet is what this command waits for */
        rc = gather(s, &v);
        session_speak(s, &h);
        if (rc == EXIT_DONE && !(reason = missing(&v, what))) {
            const struct member_view *p = cluster_primary(&v);
            fprintf(s->out, "%s: primary is %s\n", what, p ? p->name : "?");
            free(h.text);
            return EXIT_DONE;
        }
        if (clock_boot_ms() + WAIT_POLL_MS >= end_ms)
            break;
        if (s->api)
            api_pause(s->api, WAIT_POLL_MS);
        else if (rc != EXIT_DONE)
            break; /* no configuration to connect with: waiting does not help */
    }
    if (!reason && h.text)
        fputs(h.text, s->err);
    free(h.text);
    if (!reason)
        return rc;
    return session_fail(s, EXIT_FAILED, "See `hactl list` and `hactl explain`.",
                        "gave up waiting for %s: %s", what, reason);
}
