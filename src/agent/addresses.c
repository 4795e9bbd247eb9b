/* Addresses of the other members, kept beside the durable record: an agent that starts while the
 * Kubernetes API is away would otherwise know nobody to ask.
 *
 * A hint and nothing more. It is used until the API has told the pods, who answers there must know
 * the cluster's token and be the member of that name with our system id, and a right to write is
 * never extended by what a new agent process learns (docs/decisions/0012). */
#include "agent/addresses.h"

#include <arpa/inet.h>
#include <string.h>

#include "agent.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define FILE_MAX 8192
#define HEADER "pghad-addresses 1"
#define EVERY_MS 2000 /* between two writes: pods of a rolling update come one by one */

static bool file_path(const struct agent *a, char path[PG_PATH_SIZE])
{
    return str_format(path, PG_PATH_SIZE, "%s/members.addresses", a->env.state_dir);
}

static bool is_address(const char *s)
{
    unsigned char raw[16];
    return inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1;
}

bool addresses_parse(const char *text, struct addresses *ret)
{
    *ret = (struct addresses){0};
    if (!str_starts(text, HEADER "\n"))
        return false;
    for (const char *p = text + strlen(HEADER "\n"); *p != '\0';) {
        size_t len = strcspn(p, "\n");
        char line[HA_NAME_SIZE + 64];
        struct address *x = &ret->v[ret->n];
        if (ret->n == HA_MEMBERS_MAX || p[len] != '\n' || len >= sizeof line)
            return false;
        memcpy(line, p, len);
        line[len] = '\0';
        char *space = strchr(line, ' ');
        if (space == NULL || space == line)
            return false;
        *space = '\0';
        if (!is_address(space + 1) || !str_copy(x->name.s, sizeof x->name.s, line) ||
            !str_copy(x->ip, sizeof x->ip, space + 1))
            return false;
        ret->n++;
        p += len + 1;
    }
    return true;
}

bool addresses_format(const struct addresses *x, struct buf *b)
{
    buf_puts(b, HEADER "\n");
    for (size_t i = 0; i < x->n; i++)
        buf_printf(b, "%s %s\n", x->v[i].name.s, x->v[i].ip);
    return !b->overflow;
}

void addresses_load(struct agent *a)
{
    char path[PG_PATH_SIZE];
    struct err e = {0};
    struct buf b;
    buf_init(&b, FILE_MAX);
    if (!file_path(a, path) || !fd_read_file(path, &b, &e)) {
        if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
            log_event(LOG_WARNING, "addresses-unread", e.msg);
    } else if (strlen(buf_str(&b)) != b.len || !addresses_parse(buf_str(&b), &a->addresses)) {
        a->addresses = (struct addresses){0};
        log_event(LOG_WARNING, "addresses-damaged", "they are learnt again from the API",
                  LOG_S("path", path));
    }
    buf_done(&b);
    for (size_t i = 0; i < a->addresses.n; i++) {
        const struct address *x = &a->addresses.v[i];
        struct member *m = name_eq(&x->name, &a->id.name) ? NULL : member_slot(a, &x->name);
        if (m == NULL)
            continue;
        (void)str_copy(m->ip, sizeof m->ip, x->ip);
        m->hinted = true;
    }
}

/* What the API says replaces every hint: a member without a pod has no address. */
static struct addresses present(struct agent *a)
{
    struct addresses now = {0};
    for (uint8_t i = 0; i < a->n_members; i++) {
        struct member *m = &a->member[i];
        if (!m->peer.pod_known || m->ip[0] == '\0' || !is_address(m->ip))
            continue;
        now.v[now.n].name = m->peer.name;
        (void)str_copy(now.v[now.n].ip, sizeof now.v[now.n].ip, m->ip);
        now.n++;
    }
    return now;
}

static bool same(const struct addresses *x, const struct addresses *y)
{
    bool all = x->n == y->n;
    for (size_t i = 0; all && i < x->n; i++)
        all = name_eq(&x->v[i].name, &y->v[i].name) && strcmp(x->v[i].ip, y->v[i].ip) == 0;
    return all;
}

void addresses_keep(struct agent *a, int64_t now)
{
    if (now < a->addresses_next_ms)
        return;
    struct addresses x = present(a);
    if (x.n == 0 || same(&x, &a->addresses))
        return; /* nobody there is no better than who was there last */
    a->addresses_next_ms = now + EVERY_MS;
    char path[PG_PATH_SIZE];
    struct err e = {0};
    struct buf b;
    buf_init(&b, FILE_MAX);
    if (!file_path(a, path) || !addresses_format(&x, &b) ||
        !fd_replace_file(path, b.data, b.len, 0600, &e))
        log_event(LOG_WARNING, "addresses-unwritten", e.msg);
    else
        a->addresses = x;
    buf_done(&b);
}
