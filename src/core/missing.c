/* Whom an election waits for, in words for people: the members of V whose report does not come or is void. */
#include "internal.h"

static void put(char *dst, size_t size, const char *text)
{
    size_t n = 0;
    while (n + 1 < size && dst[n] != '\0')
        n++;
    for (; *text != '\0' && n + 1 < size; text++)
        dst[n++] = *text;
    dst[n] = '\0';
}

/* Positions of the record grow with each renewal of a writer, past what the last answers say. They are
 * compared when it is long gone, or when every answer that counts is younger than the election. */
static bool comparable(const struct turn *t)
{
    bool electing = t->mine && !t->writer_me;
    return claim_counted(t) || (electing && t->now - t->m->elected_ms > FRESH_MS);
}

/* Why what a member shows of its volume can be no report (position_counts); NULL: it can. */
static const char *why_void(const struct record *rec, const struct record_member *line,
                            enum data_state data, struct position p)
{
    if (data != DATA_OK)
        return "(unusable)";
    if (p.lsn == 0)
        return "(no-position)";
    if (!allocated(rec, p) || line->flushed.lsn == UINT64_MAX) /* marked so: void_foreign */
        return "(promoted-by-hand)";
    return position_cmp(p, line->flushed) < 0 ? "(rolled-back)" : NULL;
}

/* One that answers with another volume has been replaced, and will not report any more. */
static const char *why_missing(const struct turn *t, const struct record *rec,
                               const struct record_member *line)
{
    const struct view *v = t->v;
    const struct peer *p = peer_of_volume(t, line->volume);
    bool own = line->volume == v->self.volume, answers = own || (p != NULL && peer_fresh(t, p));
    if (answers && !comparable(t))
        return NULL;
    if (own) /* what it does to have a position its rule says */
        return v->pg.position.lsn == 0 ? NULL : why_void(rec, line, DATA_OK, v->pg.position);
    if (answers)
        return why_void(rec, line, p->state.data, p->state.position);
    const struct peer *other = peer_of_name(t, &line->name);
    bool replaced = other != NULL && peer_fresh(t, other) && other->state.volume != line->volume;
    return replaced ? "(replaced)" : "";
}

void name_missing(const struct turn *t, char *dst, size_t size)
{
    const struct record *copy = t->rec->n > 0 && !t->stale ? t->rec : highest_copy(t);
    dst[0] = '\0';
    for (uint8_t i = 0; copy != NULL && i < copy->n; i++) {
        const char *why = copy->m[i].in_v ? why_missing(t, copy, &copy->m[i]) : NULL;
        if (why == NULL)
            continue;
        put(dst, size, dst[0] != '\0' ? " " : "");
        put(dst, size, copy->m[i].name.s);
        put(dst, size, why);
    }
}
