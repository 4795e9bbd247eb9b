/* Parsing of the probe's aggregates and small questions about facts. Pure. */
#include "pg/facts.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define FIELD_SIZE 128

/* Takes the next field (up to \t or the end of the line) into dst; false when it does not fit. */
static bool next_field(const char **p, char dst[FIELD_SIZE])
{
    size_t n = strcspn(*p, "\t\n");
    if (n >= FIELD_SIZE)
        return false;
    memcpy(dst, *p, n);
    dst[n] = '\0';
    *p += n;
    if (**p == '\t')
        (*p)++;
    return true;
}

static bool field_text(const char **p, char *dst, size_t size)
{
    char f[FIELD_SIZE];
    return next_field(p, f) && str_copy(dst, size, f);
}

static bool field_int(const char **p, int64_t min, int64_t max, int64_t *ret)
{
    char f[FIELD_SIZE];
    return next_field(p, f) && str_to_i64(f, min, max, ret);
}

/* Empty means unknown. */
static bool field_lsn(const char **p, uint64_t *ret)
{
    char f[FIELD_SIZE];
    if (!next_field(p, f))
        return false;
    *ret = 0;
    return f[0] == '\0' || pg_lsn_parse(f, ret);
}

static bool field_bool(const char **p, bool *ret)
{
    char f[FIELD_SIZE];
    if (!next_field(p, f))
        return false;
    *ret = strcmp(f, "t") == 0;
    return *ret || strcmp(f, "f") == 0;
}

static bool parse_sender(const char **p, struct pg_sender *s)
{
    int64_t pid;
    if (!field_int(p, 1, INT32_MAX, &pid) ||
        !field_text(p, s->application_name, sizeof(s->application_name)) ||
        !field_text(p, s->user, sizeof(s->user)) || !field_text(p, s->state, sizeof(s->state)) ||
        !field_text(p, s->sync_state, sizeof(s->sync_state)) || !field_lsn(p, &s->write_lsn) ||
        !field_lsn(p, &s->flush_lsn) || !field_lsn(p, &s->replay_lsn) ||
        !field_int(p, 0, INT64_MAX, &s->reply_us) || !field_int(p, 0, INT64_MAX, &s->start_us))
        return false;
    s->pid = (int32_t)pid;
    s->volume = pg_member_volume(s->application_name);
    s->streaming = strcmp(s->state, "streaming") == 0;
    return true;
}

static bool parse_slot(const char **p, struct pg_slot *s)
{
    if (!field_text(p, s->name, sizeof(s->name)) || !field_bool(p, &s->physical) ||
        !field_bool(p, &s->active) || !field_lsn(p, &s->restart_lsn) || !field_bool(p, &s->lost) ||
        !field_bool(p, &s->perishable))
        return false;
    s->volume = s->physical ? pg_member_volume(s->name) : 0;
    return true;
}

static bool end_of_row(const char **p)
{
    if (**p == '\n') {
        (*p)++;
        return true;
    }
    return **p == '\0';
}

bool pg_facts_parse_senders(struct pg_facts *f, const char *text, struct err *e)
{
    f->n_senders = 0;
    f->senders_cut = false;
    for (const char *p = text ? text : ""; *p;) {
        struct pg_sender s = {0};
        if (!parse_sender(&p, &s) || !end_of_row(&p))
            return err_set(e, ERR_CORRUPT, "pg_stat_replication: a row cannot be read");
        if (f->n_senders == PG_SENDERS_MAX)
            f->senders_cut = true;
        else
            f->sender[f->n_senders++] = s;
    }
    return true;
}

bool pg_facts_parse_slots(struct pg_facts *f, const char *text, struct err *e)
{
    f->n_slots = 0;
    f->slots_cut = false;
    for (const char *p = text ? text : ""; *p;) {
        struct pg_slot s = {0};
        if (!parse_slot(&p, &s) || !end_of_row(&p))
            return err_set(e, ERR_CORRUPT, "pg_replication_slots: a row cannot be read");
        if (f->n_slots == PG_SLOTS_MAX)
            f->slots_cut = true;
        else
            f->slot[f->n_slots++] = s;
    }
    return true;
}

const struct pg_sender *pg_facts_sender(const struct pg_facts *f, uint64_t volume)
{
    const struct pg_sender *best = NULL;
    for (unsigned i = 0; volume && i < f->n_senders; i++)
        if (f->sender[i].volume == volume &&
            (!best || f->sender[i].flush_lsn < best->flush_lsn))
            best = &f->sender[i];
    return best;
}

unsigned pg_facts_flushed(const struct pg_facts *f, uint64_t lsn, const uint64_t *volumes, size_t n)
{
    unsigned count = 0;
    for (size_t i = 0; i < n; i++) {
        bool twice = false;
        for (size_t j = 0; j < i; j++)
            twice = twice || volumes[j] == volumes[i];
        const struct pg_sender *s = twice ? NULL : pg_facts_sender(f, volumes[i]);
        if (s && s->streaming && s->flush_lsn >= lsn)
            count++;
    }
    return count;
}

const struct pg_slot *pg_facts_slot(const struct pg_facts *f, uint64_t volume)
{
    for (unsigned i = 0; volume && i < f->n_slots; i++)
        if (f->slot[i].volume == volume)
            return &f->slot[i];
    return NULL;
}
