/* When the local server is asked whether its libraries sort as the indexes were built. */
#include "agent.h"
#include "base/log.h"

#define AGAIN_MS 600000 /* somebody may have built them anew */
#define ASK_MS 5000

void collations_turn(struct agent *a, int64_t now)
{
    if (a->server.pid == 0) {
        pg_collation_forget(a->collation);
        a->collation_next_ms = 0;
        return;
    }
    if (a->server.answered && now >= a->collation_next_ms && !pg_collation_asking(a->collation)) {
        a->collation_next_ms = now + AGAIN_MS;
        pg_collation_ask(a->collation, now + ASK_MS);
    }
    bool differs = pg_collation_differs(a->collation) == TRI_YES;
    if (differs && !a->collation_told) {
        const char *text = pg_collation_text(a->collation);
        log_event(LOG_WARNING, "collation-changed", text,
                  LOG_S("hint", "reindex, then ALTER DATABASE ... REFRESH COLLATION VERSION"));
        api_event(a->api, true, "CollationChanged", text, now);
    }
    a->collation_told = differs;
}
