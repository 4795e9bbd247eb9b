/* Text of pghad.conf, pg_hba.conf, pg_ident.conf and synchronous_standby_names. */
#include "pg/conf.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"
#include "conf_private.h"
#include "pg/version.h"

#define NOBODY "pghad_none"
#define UNSATISFIABLE "ANY 1 (" NOBODY ")"

/* ---- synchronous_standby_names ---- */

bool pg_ssn_render(struct buf *b, const struct pg_ssn *s, struct err *e)
{
    if (s->kind == PG_SSN_EMPTY)
        return true;
    if (s->kind == PG_SSN_UNSATISFIABLE)
        return buf_puts(b, UNSATISFIABLE);
    if (s->kind == PG_SSN_OTHER || s->mode == REPL_ASYNC)
        return err_set(e, ERR_BUG, "synchronous_standby_names: nothing that can be written");
    if (s->w == 0 || s->n > HA_MEMBERS_MAX || s->w > s->n)
        return err_set(e, ERR_INVALID, "synchronous_standby_names: %u of %u members", s->w, s->n);
    buf_printf(b, "%s %u (", s->mode == REPL_SYNC ? "FIRST" : "ANY", s->w);
    for (unsigned i = 0; i < s->n; i++) {
        char name[PG_MEMBER_SIZE];
        for (unsigned j = 0; j < i; j++)
            if (s->volume[j] == s->volume[i])
                return err_set(e, ERR_INVALID, "synchronous_standby_names: a member twice");
        if (s->volume[i] == 0)
            return err_set(e, ERR_INVALID, "synchronous_standby_names: a member without volume id");
        pg_member_name(name, s->volume[i]);
        buf_printf(b, "%s\"%s\"", i ? ", " : "", name);
    }
    return buf_puts(b, ")") || err_set(e, ERR_BUG, "synchronous_standby_names: too long");
}

/* Reads the members up to the closing parenthesis, exactly as rendered. */
static bool parse_members(struct pg_ssn *s, const char *p)
{
    for (;;) {
        char name[PG_MEMBER_SIZE];
        size_t n = *p == '"' ? strcspn(p + 1, "\"") : 0;
        if (n == 0 || n >= sizeof(name) || p[n + 1] != '"' || s->n == HA_MEMBERS_MAX)
            return false;
        memcpy(name, p + 1, n);
        name[n] = '\0';
        uint64_t volume = pg_member_volume(name);
        for (uint8_t i = 0; i < s->n; i++)
            if (s->volume[i] == volume)
                return false; /* it would be counted twice */
        if (volume == 0)
            return false;
        s->volume[s->n++] = volume;
        p += n + 2;
        if (strcmp(p, ")") == 0)
            return true;
        if (!str_starts(p, ", "))
            return false;
        p += 2;
    }
}

void pg_ssn_parse(struct pg_ssn *s, const char *text)
{
    *s = (struct pg_ssn){.kind = PG_SSN_OTHER};
    if (text[0] == '\0') {
        s->kind = PG_SSN_EMPTY;
        return;
    }
    if (strcmp(text, UNSATISFIABLE) == 0) {
        s->kind = PG_SSN_UNSATISFIABLE;
        return;
    }
    struct pg_ssn r = {.kind = PG_SSN_SET, .mode = REPL_QUORUM};
    unsigned w = 0;
    int used = 0;
    if (sscanf(text, "ANY %2u (%n", &w, &used) != 1 || used == 0) {
        r.mode = REPL_SYNC;
        used = 0;
        if (sscanf(text, "FIRST %2u (%n", &w, &used) != 1 || used == 0)
            return;
    }
    r.w = (uint8_t)w;
    if (w > 0 && parse_members(&r, text + used) && w <= r.n)
        *s = r;
}

/* ---- pghad.conf ---- */

static void set(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s = ", name);
    pg_conf_quote(b, value);
    buf_puts(b, "\n");
}

static void set_path(struct buf *b, const char *name, const char *dir, const char *file)
{
    char path[PG_PATH_SIZE];
    must(pg_path(path, dir, file));
    set(b, name, path);
}

/* What the user may change. */
static void render_defaults(const struct pg_conf *c, struct buf *b)
{
    const struct pg_version *v = pg_version_find(c->env->major);
    buf_printf(b, "max_replication_slots = %u\n", c->max_slots);
    set(b, "wal_keep_size", c->wal_keep);
    set(b, "max_slot_wal_keep_size", c->wal_cap);
    /* A half-open walsender keeps its slot for the default minute. */
    set(b, "wal_sender_timeout", "5s");
    set(b, "wal_receiver_timeout", "5s");
    set(b, "tcp_keepalives_idle", "10");
    set(b, "tcp_keepalives_interval", "2");
    set(b, "tcp_keepalives_count", "3");
    set(b, "synchronous_commit", "on");
    set(b, "password_encryption", "scram-sha-256");
    set(b, "log_destination", c->log_json ? "jsonlog" : "stderr");
    set(b, "logging_collector", c->log_json ? "on" : "off");
    if (c->log_json) {
        set_path(b, "log_directory", c->env->state_dir, "log");
        set(b, "log_filename", "postgresql-%a.log");
        set(b, "log_truncate_on_rotation", "on");
        set(b, "log_rotation_size", "0");
        set(b, "log_rotation_age", "1d");
    }
    if (v && v->allow_alter_system)
        set(b, "allow_alter_system", "off");
}

/* What the user wants, but not less than the directory has seen. */
static void render_floors(const struct pg_conf *c, struct buf *b)
{
    for (int i = 0; i < FLOORS; i++) {
        uint32_t v = c->wish[i];
        if (v == 0 && pg_conf_floor_of("max_wal_senders") == i)
            v = c->max_senders;
        if (v < c->floor[i])
            v = c->floor[i];
        if (v)
            buf_printf(b, "%s = %u\n", pg_conf_floor_names[i], v);
    }
}

static void render_conninfo(const struct pg_conf *c, struct buf *b)
{
    const struct pg_upstream *u = &c->upstream;
    char member[PG_MEMBER_SIZE], port[8], passfile[PG_PATH_SIZE];
    pg_member_name(member, u->volume);
    if (u->provisional)
        member[0] = PG_PROVISIONAL;
    must(str_format(port, sizeof(port), "%u", u->port));
    must(pg_passfile_path(passfile, c->env, u->epoch));
    pg_conninfo_add(b, "hostaddr", u->hostaddr);
    if (u->host[0])
        pg_conninfo_add(b, "host", u->host);
    pg_conninfo_add(b, "port", port);
    pg_conninfo_add(b, "user", c->env->repl_user);
    pg_conninfo_add(b, "passfile", passfile);
    pg_conninfo_add(b, "application_name", member);
    pg_conninfo_add(b, "dbname", "postgres");
    pg_conninfo_add(b, "sslmode", u->sslmode[0] ? u->sslmode : "prefer");
    pg_conninfo_add(b, "gssencmode", "disable");
    pg_conninfo_add(b, "connect_timeout", "5");
    pg_conninfo_add(b, "keepalives_idle", "2");
    pg_conninfo_add(b, "keepalives_interval", "1");
    pg_conninfo_add(b, "keepalives_count", "3");
    pg_conninfo_add(b, "tcp_user_timeout", "5000");
}

static bool render_upstream(const struct pg_conf *c, struct buf *b)
{
    if (c->upstream.hostaddr[0] == '\0') {
        buf_puts(b, "primary_conninfo = ''\nprimary_slot_name = ''\nrestore_command = ''\n");
        return true;
    }
    char member[PG_MEMBER_SIZE];
    struct buf info;
    buf_init(&info, 8192);
    render_conninfo(c, &info);
    set(b, "primary_conninfo", buf_str(&info));
    bool ok = !info.overflow;
    buf_done(&info);
    pg_member_name(member, c->upstream.volume);
    set(b, "primary_slot_name", c->upstream.slot ? member : "");
    set(b, "restore_command", c->restore_command);
    return ok;
}

bool pg_conf_preload(const struct pg_conf *c, struct buf *b)
{
    if (!c->env->gate[0] || c->without_gate)
        return false;
    return buf_printf(b, "%s%s\"%s\"", c->preload, c->preload[0] ? ", " : "", c->env->gate);
}

static void render_gate(const struct pg_conf *c, struct buf *b)
{
    struct buf list;
    buf_init(&list, PG_CONF_TEXT_MAX);
    if (pg_conf_preload(c, &list)) {
        set(b, "shared_preload_libraries", buf_str(&list));
        set(b, "pghad_gate.strict", pg_conf_strict(c) ? "on" : "off");
    }
    buf_done(&list);
}

static bool keeps_failover_slots(const struct pg_conf *c)
{
    const struct pg_version *v = pg_version_find(c->env->major);
    return v && v->failover_slots && strcmp(c->wal_level, "logical") == 0;
}

/* Standbys keep copies of the failover slots, and their consumers get nothing that those have not confirmed
 * for whom commits wait: a subscriber that knew more than the next primary would be wrong for ever. */
static bool render_failover_slots(const struct pg_conf *c, struct buf *b)
{
    char member[PG_MEMBER_SIZE];
    struct buf names;
    buf_init(&names, PG_CONF_TEXT_MAX);
    if (c->ssn.kind == PG_SSN_UNSATISFIABLE)
        buf_puts(&names, NOBODY);
    for (uint8_t i = 0; c->ssn.kind == PG_SSN_SET && i < c->ssn.n; i++) {
        pg_member_name(member, c->ssn.volume[i]);
        buf_printf(&names, "%s%s", i ? ", " : "", member);
    }
    set(b, "sync_replication_slots", "on");
    set(b, "synchronized_standby_slots", buf_str(&names));
    bool ok = !names.overflow;
    buf_done(&names);
    return ok;
}

/* What only we set; last, so that it wins. */
static bool render_owned(const struct pg_conf *c, struct buf *b, struct err *e)
{
    const struct pg_env *env = c->env;
    char port[8];
    struct buf ssn;
    must(str_format(port, sizeof(port), "%u", env->port));
    set(b, "data_directory", env->data_dir);
    set(b, "hba_file", c->hba_file);
    set(b, "ident_file", c->ident_file);
    set(b, "cluster_name", env->cluster_name);
    set(b, "listen_addresses", c->listen_addresses);
    set(b, "port", port);
    set(b, "unix_socket_directories", env->socket_dir);
    if (!c->os_user[0])
        set(b, "unix_socket_permissions", "0700");
    set(b, "wal_level", c->wal_level);
    set(b, "hot_standby", "on");
    set(b, "update_process_title", "on"); /* the process list is evidence */
    set(b, "wal_log_hints", "on");
    set(b, "fsync", "on");
    set(b, "full_page_writes", "on");
    /* The postmaster must never become writable again by itself. */
    set(b, "restart_after_crash", "off");
    set(b, "recovery_target_timeline", "latest");
    /* A promotion that just missed its wake-up sleeps for this long. */
    set(b, "wal_retrieve_retry_interval", "100ms");
    set(b, "wal_receiver_status_interval", "1s");
    bool slots = keeps_failover_slots(c);
    set(b, "hot_standby_feedback", c->feedback || slots ? "on" : "off"); /* without, no copies are made */
    render_gate(c, b);
    buf_init(&ssn, PG_CONF_TEXT_MAX);
    bool ok = pg_ssn_render(&ssn, &c->ssn, e);
    set(b, "synchronous_standby_names", buf_str(&ssn));
    buf_done(&ssn);
    ok = ok && (!slots || render_failover_slots(c, b));
    return ok && (render_upstream(c, b) || err_set(e, ERR_INVALID, "primary_conninfo: too long"));
}

bool pg_conf_render(const struct pg_conf *c, struct buf *b, struct err *e)
{
    char path[PG_PATH_SIZE];
    must(pg_path(path, c->env->data_dir, "postgresql.conf"));
    buf_puts(b, "# Written by pghad, changes are lost. Parameters belong into pghad.yaml.\n");
    render_defaults(c, b);
    buf_puts(b, "include_if_exists = ");
    pg_conf_quote(b, path);
    buf_puts(b, "\n");
    if (c->include[0]) {
        buf_puts(b, "include_if_exists = ");
        pg_conf_quote(b, c->include);
        buf_puts(b, "\n");
    }
    buf_puts(b, "# parameters of the user\n");
    render_floors(c, b);
    buf_puts(b, buf_str(&c->params));
    buf_puts(b, "# parameters of pghad\n");
    if (!render_owned(c, b, e))
        return false;
    return !b->overflow || err_set(e, ERR_INVALID, "configuration: too long");
}

/* ---- pg_hba.conf, pg_ident.conf ---- */

static void render_local(const struct pg_conf *c, struct buf *b, const char *database)
{
    buf_printf(b, "local %s ", database);
    pg_sql_ident(b, c->env->superuser);
    if (c->os_user[0])
        buf_puts(b, " peer map=pghad\n");
    else
        buf_puts(b, " trust\n"); /* the socket's mode lets nobody else in */
}

static void render_members(const struct pg_conf *c, struct buf *b, const char *database)
{
    buf_printf(b, "host %s ", database);
    pg_sql_ident(b, c->env->repl_user);
    buf_puts(b, " all scram-sha-256\n");
}

bool pg_conf_render_hba(const struct pg_conf *c, struct buf *b, struct err *e)
{
    buf_puts(b, "# Written by pghad, changes are lost.\n");
    render_local(c, b, "all");
    render_local(c, b, "replication");
    render_members(c, b, "replication");
    render_members(c, b, "\"postgres\""); /* pg_rewind and questions between members */
    if (c->closed) {
        buf_puts(b, "# closed for clients\n"
                    "local all all reject\nlocal replication all reject\n"
                    "host all all all reject\nhost replication all all reject\n");
    }
    buf_puts(b, "# of the user\n");
    buf_puts(b, buf_str(&c->hba));
    buf_puts(b, "# everybody else\nlocal all all scram-sha-256\nhost all all all scram-sha-256\n");
    return !b->overflow || err_set(e, ERR_INVALID, "pg_hba.conf: too long");
}

bool pg_conf_render_ident(const struct pg_conf *c, struct buf *b, struct err *e)
{
    buf_puts(b, "# Written by pghad, changes are lost.\n");
    if (c->os_user[0]) {
        buf_puts(b, "pghad ");
        pg_sql_ident(b, c->os_user);
        buf_puts(b, " ");
        pg_sql_ident(b, c->env->superuser);
        buf_puts(b, "\n");
    }
    buf_puts(b, buf_str(&c->ident));
    return !b->overflow || err_set(e, ERR_INVALID, "pg_ident.conf: too long");
}
