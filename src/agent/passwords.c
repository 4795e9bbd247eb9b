/* Passwords that change while everything runs.
 *
 * The files reach each node in their own time, a minute or two apart. The primary gives the roles what
 * its files say. A member needs the password of the members' role for a new connection only, and which
 * one is in force nobody can tell it beforehand: it knows the one before, too, and tries both. The
 * primary leaves the others time for their files before it changes that password. */
#include <string.h>

#include "agent.h"
#include "base/log.h"
#include "base/str.h"

#define LOOK_MS 2000
#define SETTLE_MS 60000  /* kubelet looks at its volumes about once a minute */
#define QUIET_MS 3000    /* without a stream, before the other password is tried */
#define FIRST_MS 1000    /* after a promotion, which has more urgent work */
#define AGAIN_MS 5000
#define LOGIN_MS 2000
#define TASK_MS 5000

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->len);
    buf_done(b);
}

/* The file that the next connection of a receiver reads. */
static void write_passfile(struct agent *a)
{
    struct err e;
    if (!pg_passfile_write(&a->env, a->state.epoch, &e))
        log_event(LOG_WARNING, "passfile-unwritten", e.msg);
}

static void look_at_members(struct agent *a, int64_t now)
{
    struct passwords *p = &a->passwords;
    struct buf b;
    struct err e;
    buf_init(&b, PG_SECRET_SIZE - 1);
    if (config_replication_password(&a->cfg, &b, &e) && strcmp(buf_str(&b), p->members) != 0) {
        if (p->members[0] != '\0') {
            (void)str_copy(p->older, sizeof p->older, p->members);
            p->changed_ms = now;
            log_event(LOG_INFO, "password-changed", "the members' password in the file is another one");
        }
        (void)str_copy(p->members, sizeof p->members, buf_str(&b));
        (void)str_copy(a->env.repl_password, sizeof a->env.repl_password, p->members);
        p->members_done = false;
        write_passfile(a);
    }
    wipe(&b);
}

static void look_at_superuser(struct agent *a)
{
    struct passwords *p = &a->passwords;
    struct buf b;
    struct err e;
    buf_init(&b, PG_SECRET_SIZE - 1);
    if (a->cfg.postgres.superuser_password_file[0] != '\0' &&
        config_superuser_password(&a->cfg, &b, &e) &&
        strcmp(buf_str(&b), a->env.superuser_password) != 0) {
        (void)str_copy(a->env.superuser_password, sizeof a->env.superuser_password, buf_str(&b));
        p->superuser_done = false;
        log_event(LOG_INFO, "password-changed", "the superuser's password in the file is another one");
    }
    wipe(&b);
}

/* Nothing streams in: perhaps because of the password. */
static void try_the_other(struct agent *a, int64_t now)
{
    struct passwords *p = &a->passwords;
    bool quiet = !a->view.pg.streaming && a->server.in_recovery != TRI_NO;
    if (!quiet || p->older[0] == '\0') {
        p->tried_ms = now;
        return;
    }
    if (now - p->tried_ms < QUIET_MS)
        return;
    p->tried_ms = now;
    bool newer = strcmp(a->env.repl_password, p->members) == 0;
    (void)str_copy(a->env.repl_password, sizeof a->env.repl_password, newer ? p->older : p->members);
    write_passfile(a);
}

static void set(struct agent *a, unsigned which, int64_t now)
{
    struct err e;
    if (!pg_task_roles(a->roles, which, now + TASK_MS, &e))
        log_event(LOG_WARNING, "passwords-unset", e.msg);
    else
        a->passwords.setting = which;
}

static void task_ended(struct agent *a)
{
    struct passwords *p = &a->passwords;
    if (pg_task_state(a->roles) == PG_TASK_OK) {
        p->superuser_done |= (p->setting & PG_ROLES_SUPERUSER) != 0;
        p->members_done |= (p->setting & PG_ROLES_MEMBERS) != 0;
        log_event(LOG_INFO, "passwords-set", "the roles have the passwords of the files",
                  LOG_I("members", (p->setting & PG_ROLES_MEMBERS) != 0),
                  LOG_I("superuser", (p->setting & PG_ROLES_SUPERUSER) != 0));
    } else {
        log_event(LOG_WARNING, "passwords-unset", pg_task_error(a->roles)->msg);
    }
    p->setting = 0;
    pg_task_cancel(a->roles); /* its session is not kept */
}

/* Whether the members' role gets in with the password of the file is asked of the server itself. */
static void judge_login(struct agent *a, int64_t now)
{
    struct passwords *p = &a->passwords;
    bool in = pg_peer_state(a->login) == PG_PEER_OK;
    p->asking = false;
    if (in) {
        p->members_done = true;
        return;
    }
    const struct err *e = pg_peer_error(a->login);
    if (e->kind != ERR_DENIED)
        return;
    if (p->changed_ms != 0 && now - p->changed_ms < SETTLE_MS) {
        p->again_ms = p->changed_ms + SETTLE_MS;
        return;
    }
    set(a, PG_ROLES_MEMBERS, now);
}

static void keep_roles(struct agent *a, int64_t now)
{
    struct passwords *p = &a->passwords;
    const uint64_t needed = FACT(RIGHT) | FACT(WRITER_ME) | FACT(PG_PRIMARY);
    if ((a->verdict.facts & needed) != needed) {
        if (p->since_ms != 0) { /* the next term as primary begins from the start */
            p->members_done = p->superuser_done = p->asking = false;
            p->setting = 0;
            pg_task_cancel(a->roles);
        }
        p->since_ms = 0;
        return;
    }
    if (p->since_ms == 0)
        p->since_ms = now;
    if (p->setting != 0) {
        if (pg_task_state(a->roles) != PG_TASK_RUNNING)
            task_ended(a);
        return;
    }
    if (p->asking) {
        if (pg_peer_state(a->login) != PG_PEER_RUNNING)
            judge_login(a, now);
        return;
    }
    if (now - p->since_ms < FIRST_MS || now < p->again_ms)
        return;
    p->again_ms = now + AGAIN_MS;
    bool named = a->cfg.postgres.superuser_password_file[0] != '\0';
    if (!p->superuser_done && named && a->env.superuser_password[0] != '\0') {
        set(a, PG_ROLES_SUPERUSER, now);
        p->again_ms = now;
    } else if (!p->members_done) {
        (void)str_copy(a->env.repl_password, sizeof a->env.repl_password, p->members);
        write_passfile(a);
        p->asking = true;
        pg_peer_ask(a->login, a->cfg.pod.ip, a->env.port, a->state.epoch, now + LOGIN_MS);
    }
}

void passwords_turn(struct agent *a, int64_t now)
{
    struct passwords *p = &a->passwords;
    if (p->members[0] == '\0')
        (void)str_copy(p->members, sizeof p->members, a->env.repl_password);
    if (now >= p->look_ms) {
        p->look_ms = now + LOOK_MS;
        look_at_members(a, now);
        look_at_superuser(a);
    }
    try_the_other(a, now);
    keep_roles(a, now);
}
