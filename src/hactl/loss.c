/* Reports that a failover would get, counted as the members count them: promise 5. */
#include "hactl/loss.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/record.h"

static bool ahead(int64_t timeline, uint64_t lsn, const struct member_view *m)
{
    return timeline > m->timeline || (timeline == m->timeline && lsn > m->lsn);
}

static bool has_volume(const struct member_view *m, const struct record_member *line)
{
    char volume[24];

    snprintf(volume, sizeof(volume), "%016llx", (unsigned long long)line->volume);
    return str_eq(m->volume, volume);
}

/* On a timeline that nobody has allocated: what is there is of no epoch. */
static bool promoted_by_hand(const struct record *r, const struct member_view *m)
{
    return r->timeline && m->timeline > r->timeline;
}

/* NULL where its report counts; else why it does not, as the members say it (src/core/missing.c). */
static const char *why_missing(const struct record *r, const struct record_member *line,
                               const struct member_view *m)
{
    if (!m || m->source != SOURCE_LIVE)
        return "";
    if (!has_volume(m, line))
        return "(replaced)";
    if (!m->lsn)
        return "(no-position)";
    if (promoted_by_hand(r, m) || line->flushed.lsn == UINT64_MAX) /* marked so */
        return "(promoted-by-hand)";
    return ahead(line->flushed.timeline, line->flushed.lsn, m) ? "(rolled-back)" : NULL;
}

static bool in_record(const struct record *r, const struct member_view *m)
{
    for (uint8_t i = 0; i < r->n; i++)
        if (has_volume(m, &r->m[i]))
            return true;
    return false;
}

static void note_absent(struct loss *l, const struct record_member *line, const char *why)
{
    size_t used = strlen(l->absent);

    snprintf(l->absent + used, sizeof(l->absent) - used, "%s%s%s", used ? " " : "", line->name.s, why);
}

static void note_wal(struct loss *l, const struct member_view *target, int64_t timeline, uint64_t lsn)
{
    if (lsn == UINT64_MAX || !ahead(timeline, lsn, target)) /* a mark is no WAL */
        return;
    l->older = l->older || timeline > target->timeline;
    if (lsn > target->lsn && lsn - target->lsn > l->bytes)
        l->bytes = lsn - target->lsn;
}

void loss_look(const struct cluster_view *v, const struct member_view *target, struct loss *ret)
{
    *ret = (struct loss){.known = v->any_live && v->has_record && target->lsn};
    if (!ret->known)
        return;
    bool live = target->source == SOURCE_LIVE;

    ret->needed = record_needed(&v->record);
    ret->stranger = live && !in_record(&v->record, target);
    ret->by_hand = live && promoted_by_hand(&v->record, target);
    for (uint8_t i = 0; i < v->record.n; i++) {
        const struct record_member *line = &v->record.m[i];
        const struct member_view *m = cluster_find(v, line->name.s);
        const char *why = why_missing(&v->record, line, m);
        if (!line->in_v)
            continue;
        ret->voters++;
        note_wal(ret, target, line->flushed.timeline, line->flushed.lsn);
        if (why) {
            note_absent(ret, line, why);
            continue;
        }
        ret->answer++;
        note_wal(ret, target, m->timeline, m->lsn);
        if (ahead(m->timeline, m->lsn, ret->more ? ret->more : target))
            ret->more = m;
    }
}
