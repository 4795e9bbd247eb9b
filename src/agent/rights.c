/* Rights that the API server withholds: told by log, alarm and Event. What to do without them is the
 * core's, which knows only that a request failed. */
#include <string.h>

#include "agent.h"
#include "base/log.h"
#include "base/str.h"

/* An API server that has just started refuses for a moment. */
#define TELL_AFTER_MS 1000
/* What is wanted is asked for again within half a minute at the latest; what is not says nothing. */
#define FORGET_AFTER_MS 45000

static bool is_told(const struct kube_denial *d, int64_t now)
{
    return d->count >= 2 && d->last_ms - d->since_ms >= TELL_AFTER_MS &&
           now - d->last_ms < FORGET_AFTER_MS;
}

/* "update leases, patch pods"; returns how many are told. */
static unsigned name_rights(const struct api *api, int64_t now, char *dst, size_t size,
                            const char **said)
{
    const struct kube_denial *d;
    size_t n = api_denials(api, &d), used = 0;
    unsigned told = 0;

    dst[0] = '\0';
    *said = "";
    for (size_t i = 0; i < n; i++) {
        if (!is_told(&d[i], now))
            continue;
        if (told++ == 0)
            *said = d[i].text;
        if (str_format(dst + used, size - used, "%s%s %s", used ? ", " : "", d[i].verb,
                       d[i].resource))
            used += strlen(dst + used);
        else
            dst[used] = '\0';
    }
    return told;
}

void rights_turn(struct agent *a, int64_t now)
{
    char names[sizeof a->rights_missing], note[STATUS_TEXT_SIZE + sizeof names];
    const char *said;
    unsigned n = name_rights(a->api, now, names, sizeof names, &said);

    if (str_eq(names, a->rights_missing))
        return;
    bool more = n > a->rights_missing_n;
    (void)str_copy(a->rights_missing, sizeof a->rights_missing, names);
    a->rights_missing_n = n;
    if (n == 0) {
        log_event(LOG_INFO, "access-restored", "the API server refuses nothing any more");
        api_event(a->api, false, "AccessRestored", "the API server refuses nothing any more", now);
        return;
    }
    (void)str_format(note, sizeof note, "forbidden: %s; the server says: %.150s", names, said);
    log_event(LOG_WARNING, "access-denied", note, LOG_S("missing", names));
    if (more)
        api_event(a->api, true, "AccessDenied", note, now);
}
