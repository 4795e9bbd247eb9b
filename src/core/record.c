/* Positions, identities, the record. Must never decide anything: it only computes. */
#include "core/record.h"

static bool bytes_eq(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i])
            return false;
        if (a[i] == '\0')
            return true;
    }
    return true;
}

bool name_eq(const struct ha_name *a, const struct ha_name *b)
{
    return bytes_eq(a->s, b->s, sizeof a->s);
}

bool name_empty(const struct ha_name *a)
{
    return a->s[0] == '\0';
}

bool identity_same_pod(const struct identity *a, const struct identity *b)
{
    return name_eq(&a->name, &b->name) && bytes_eq(a->uid, b->uid, sizeof a->uid);
}

bool identity_eq(const struct identity *a, const struct identity *b)
{
    return identity_same_pod(a, b) && a->boot == b->boot;
}

int position_cmp(struct position a, struct position b)
{
    if (a.timeline != b.timeline)
        return a.timeline < b.timeline ? -1 : 1;
    if (a.lsn != b.lsn)
        return a.lsn < b.lsn ? -1 : 1;
    return 0;
}

int version_cmp(struct version a, struct version b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    if (a.rev != b.rev)
        return a.rev < b.rev ? -1 : 1;
    return 0;
}

int record_cmp(const struct record *a, const struct record *b)
{
    return version_cmp((struct version){a->epoch, a->rev}, (struct version){b->epoch, b->rev});
}

const struct record_member *record_find(const struct record *r, uint64_t volume)
{
    for (uint8_t i = 0; volume != 0 && i < r->n; i++)
        if (r->m[i].volume == volume)
            return &r->m[i];
    return NULL;
}

const struct record_member *record_find_name(const struct record *r, const struct ha_name *name)
{
    for (uint8_t i = 0; i < r->n; i++)
        if (name_eq(&r->m[i].name, name))
            return &r->m[i];
    return NULL;
}

uint8_t record_votes(const struct record *r)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < r->n; i++)
        n = (uint8_t)(n + (r->m[i].in_v ? 1 : 0));
    return n;
}

uint8_t record_needed(const struct record *r)
{
    uint8_t v = record_votes(r);
    return v > r->w ? (uint8_t)(v - r->w) : 1;
}

struct record_member *record_add(struct record *r, uint64_t volume, const struct ha_name *name)
{
    for (uint8_t i = 0; i < r->n; i++) {
        if (r->m[i].volume == volume) {
            r->m[i].name = *name;
            return &r->m[i];
        }
    }
    if (r->n >= HA_MEMBERS_MAX)
        return NULL;
    struct record_member *m = &r->m[r->n++];
    *m = (struct record_member){.volume = volume, .name = *name};
    return m;
}

void record_remove(struct record *r, uint64_t volume)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < r->n; i++)
        if (r->m[i].volume != volume)
            r->m[n++] = r->m[i];
    for (uint8_t i = n; i < r->n; i++)
        r->m[i] = (struct record_member){0};
    r->n = n;
}

static void ssn_insert(struct ssn *s, uint64_t volume)
{
    uint8_t i = s->n++;
    for (; i > 0 && s->volume[i - 1] > volume; i--)
        s->volume[i] = s->volume[i - 1];
    s->volume[i] = volume;
}

struct ssn ssn_of_record(const struct record *r, uint64_t self, bool writer, enum repl_mode mode)
{
    /* Asynchronous is W = 0 in the record; until that is recorded, confirmations are asked for. */
    struct ssn s = {.kind = SSN_SET, .mode = mode == REPL_SYNC ? REPL_SYNC : REPL_QUORUM, .w = r->w};
    if (r->w == 0 || r->sealed != 0) {
        s = (struct ssn){.kind = writer ? SSN_EMPTY : SSN_UNSATISFIABLE};
        return s;
    }
    for (uint8_t i = 0; i < r->n; i++)
        if (r->m[i].in_v && r->m[i].volume != self)
            ssn_insert(&s, r->m[i].volume);
    /* A record that asks for more confirmations than there are others to give them. */
    if (s.w > s.n)
        s = (struct ssn){.kind = SSN_UNSATISFIABLE};
    return s;
}

bool ssn_eq(const struct ssn *a, const struct ssn *b)
{
    if (a->kind != b->kind || a->kind == SSN_UNKNOWN)
        return false;
    if (a->kind != SSN_SET)
        return true;
    if (a->mode != b->mode || a->w != b->w || a->n != b->n)
        return false;
    for (uint8_t i = 0; i < a->n; i++)
        if (a->volume[i] != b->volume[i])
            return false;
    return true;
}

bool ssn_has(const struct ssn *s, uint64_t volume)
{
    for (uint8_t i = 0; i < s->n; i++)
        if (s->volume[i] == volume)
            return true;
    return false;
}
