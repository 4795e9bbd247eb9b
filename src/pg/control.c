/* Parsers of pg_controldata and pg_waldump, one table of fields. */
#include "pg/control.h"

#include <stddef.h>
#include <string.h>

#include "base/str.h"
#include "pg/env.h"

enum field_kind { F_U64, F_U32, F_LSN, F_STATE, F_ONOFF, F_NONZERO };

static const struct field {
    const char *label;
    enum field_kind kind;
    size_t at;
} fields[] = {
    {"Database system identifier", F_U64, offsetof(struct pg_control, system_id)},
    {"Catalog version number", F_U32, offsetof(struct pg_control, catalog_version)},
    {"Database cluster state", F_STATE, offsetof(struct pg_control, state)},
    {"Latest checkpoint location", F_LSN, offsetof(struct pg_control, checkpoint_lsn)},
    {"Latest checkpoint's REDO location", F_LSN, offsetof(struct pg_control, redo_lsn)},
    {"Latest checkpoint's TimeLineID", F_U32, offsetof(struct pg_control, timeline)},
    {"Minimum recovery ending location", F_LSN, offsetof(struct pg_control, min_recovery_lsn)},
    {"Min recovery ending loc's timeline", F_U32,
     offsetof(struct pg_control, min_recovery_timeline)},
    {"Bytes per WAL segment", F_U64, offsetof(struct pg_control, segment_bytes)},
    {"max_connections setting", F_U32, offsetof(struct pg_control, max_connections)},
    {"max_worker_processes setting", F_U32, offsetof(struct pg_control, max_worker_processes)},
    {"max_wal_senders setting", F_U32, offsetof(struct pg_control, max_wal_senders)},
    {"max_prepared_xacts setting", F_U32, offsetof(struct pg_control, max_prepared_xacts)},
    {"max_locks_per_xact setting", F_U32, offsetof(struct pg_control, max_locks_per_xact)},
    {"Data page checksum version", F_NONZERO, offsetof(struct pg_control, checksums)},
    {"wal_log_hints setting", F_ONOFF, offsetof(struct pg_control, log_hints)},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static const char *const states[] = {
    [PG_CONTROL_STARTING] = "starting up",
    [PG_CONTROL_SHUT_DOWN] = "shut down",
    [PG_CONTROL_SHUT_DOWN_RECOVERY] = "shut down in recovery",
    [PG_CONTROL_SHUTTING_DOWN] = "shutting down",
    [PG_CONTROL_CRASH_RECOVERY] = "in crash recovery",
    [PG_CONTROL_ARCHIVE_RECOVERY] = "in archive recovery",
    [PG_CONTROL_PRODUCTION] = "in production",
};

/* System identifiers use all 64 bits. */
static bool parse_u64(const char *s, uint64_t *ret)
{
    uint64_t v = 0;
    if (*s == '\0')
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

static bool store(void *at, enum field_kind kind, const char *value)
{
    uint64_t v;
    switch (kind) {
    case F_U64:
        return parse_u64(value, at);
    case F_U32:
        if (!parse_u64(value, &v) || v > UINT32_MAX)
            return false;
        *(uint32_t *)at = (uint32_t)v;
        return true;
    case F_LSN:
        return pg_lsn_parse(value, at);
    case F_STATE:
        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
            if (strcmp(states[i], value) == 0) {
                *(enum pg_control_state *)at = (enum pg_control_state)i;
                return true;
            }
        }
        return false;
    case F_ONOFF:
        *(bool *)at = strcmp(value, "on") == 0;
        return *(bool *)at || strcmp(value, "off") == 0;
    case F_NONZERO:
        if (!parse_u64(value, &v))
            return false;
        *(bool *)at = v != 0;
        return true;
    }
    return false;
}

static bool take_line(struct pg_control *c, const char *line, size_t len, unsigned *seen,
                      struct err *e)
{
    for (size_t i = 0; i < FIELDS; i++) {
        size_t n = strlen(fields[i].label);
        if (len <= n || strncmp(line, fields[i].label, n) != 0 || line[n] != ':')
            continue;
        const char *p = line + n + 1, *end = line + len;
        while (p < end && *p == ' ')
            p++;
        char value[64] = "";
        if ((size_t)(end - p) >= sizeof(value))
            return err_set(e, ERR_CORRUPT, "pg_controldata: \"%s\" is too long", fields[i].label);
        memcpy(value, p, (size_t)(end - p));
        if (*seen & 1u << i)
            return err_set(e, ERR_CORRUPT, "pg_controldata: \"%s\" twice", fields[i].label);
        if (!store((char *)c + fields[i].at, fields[i].kind, value))
            return err_set(e, ERR_CORRUPT, "pg_controldata: \"%s\" is \"%s\"", fields[i].label,
                           value);
        *seen |= 1u << i;
        return true;
    }
    if (len >= 8 && strncmp(line, "WARNING:", 8) == 0)
        return err_set(e, ERR_CORRUPT, "pg_controldata: %.*s", (int)len, line);
    return true;
}

bool pg_control_parse(struct pg_control *c, const char *text, struct err *e)
{
    unsigned seen = 0;
    *c = (struct pg_control){0};
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        if (!take_line(c, line, len, &seen, e))
            return false;
        line += len + (line[len] == '\n');
    }
    for (size_t i = 0; i < FIELDS; i++)
        if (!(seen & 1u << i))
            return err_set(e, ERR_CORRUPT, "pg_controldata: \"%s\" is missing", fields[i].label);
    if (c->system_id == 0 || c->timeline == 0 || c->redo_lsn == 0)
        return err_set(e, ERR_CORRUPT, "pg_controldata: zero identifier, timeline or position");
    return true;
}

bool pg_waldump_parse(const char *out, uint64_t *end, struct err *e)
{
    static const char head[] = "WAL statistics between ";
    char word[24];
    if (!str_starts(out, head))
        return err_set(e, ERR_NOT_FOUND, "pg_waldump: no valid record");
    const char *p = strstr(out, " and ");
    size_t len = p ? strcspn(p + 5, ":\n") : 0;
    if (!p || p[5 + len] != ':' || len >= sizeof(word))
        return err_set(e, ERR_CORRUPT, "pg_waldump: cannot read its first line");
    memcpy(word, p + 5, len);
    word[len] = '\0';
    if (!pg_lsn_parse(word, end))
        return err_set(e, ERR_CORRUPT, "pg_waldump: cannot read its first line");
    return true;
}

void pg_control_needs(const struct pg_control *c, uint32_t ret[PG_NEEDS])
{
    const uint32_t needs[PG_NEEDS] = {c->max_connections, c->max_worker_processes, c->max_wal_senders,
                                      c->max_prepared_xacts, c->max_locks_per_xact};
    memcpy(ret, needs, sizeof(needs));
}

struct position pg_control_floor(const struct pg_control *c)
{
    struct position at = {.timeline = c->timeline, .lsn = c->checkpoint_lsn};
    bool later = c->min_recovery_timeline > at.timeline ||
                 (c->min_recovery_timeline == at.timeline && c->min_recovery_lsn > at.lsn);
    if (c->min_recovery_lsn != 0 && c->min_recovery_timeline != 0 && later)
        at = (struct position){.timeline = c->min_recovery_timeline, .lsn = c->min_recovery_lsn};
    return at;
}
