/* Asks another member's server who it is: identity, timeline and its history. */
#ifndef PGHAD_PG_PEER_H
#define PGHAD_PG_PEER_H

#include "pg/engine.h"
#include "pg/history.h"

enum pg_peer_state { PG_PEER_IDLE, PG_PEER_RUNNING, PG_PEER_OK, PG_PEER_FAILED };

struct pg_peer_facts {
    int64_t at_ms;         /* when it was asked */
    uint64_t system_id;
    uint32_t server_version; /* 150018 */
    uint32_t timeline;
    uint32_t checkpoint_timeline;
    uint64_t flushed_lsn;
    enum tri in_recovery;
    struct pg_history history; /* of timeline */
};

struct pg_peer;

struct pg_peer *pg_peer_new(struct pg_engine *g, const struct pg_env *env);
void pg_peer_free(struct pg_peer *p);
/* As the members' role with the passfile of the epoch. A running question is dropped. */
void pg_peer_ask(struct pg_peer *p, const char *hostaddr, uint16_t port, uint64_t epoch,
                 int64_t deadline_ms);
enum pg_peer_state pg_peer_state(const struct pg_peer *p);
const struct pg_peer_facts *pg_peer_facts(const struct pg_peer *p); /* after PG_PEER_OK */
const struct err *pg_peer_error(const struct pg_peer *p);

/* Does WAL up to mine lie in the peer's history (then we can stream from it)? A position on the
 * peer's own timeline beyond its flushed end is diverged, too. */
enum tri pg_peer_diverged(const struct pg_peer_facts *f, struct position mine);

#endif
