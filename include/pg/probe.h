/* Keeps `struct pg_facts` of the local server fresh. */
#ifndef PGHAD_PG_PROBE_H
#define PGHAD_PG_PROBE_H

#include "pg/engine.h"
#include "pg/facts.h"

struct pg_probe;

/* env is borrowed. Starts without wanting a connection. */
struct pg_probe *pg_probe_new(struct pg_engine *g, const struct pg_env *env);
void pg_probe_free(struct pg_probe *p);

/* The server is (or may soon be) there: connect, retrying every 10 ms while it starts. false: it is
 * gone; the facts become invalid at once. */
void pg_probe_want(struct pg_probe *p, bool up);
/* Pause between two looks; 10 in a hurry (e.g. while promoting), 1000 in peace. */
void pg_probe_set_interval(struct pg_probe *p, int64_t interval_ms);
/* Look as soon as possible, whatever the interval. */
void pg_probe_kick(struct pg_probe *p);
/* Have a fresh session, begun later than after_ms, read the settings (fresh_*). May be called in
 * every turn until facts show what was waited for; looks are 5 ms apart at least. */
void pg_probe_kick_settings(struct pg_probe *p, int64_t after_ms);

const struct pg_facts *pg_probe_facts(const struct pg_probe *p);
/* TRI_YES: answered within the last two intervals and 1 s; TRI_NO: the last try was refused by the
 * server or nobody listens; else unknown. */
enum tri pg_probe_answers(const struct pg_probe *p, int64_t now_ms);
const struct err *pg_probe_error(const struct pg_probe *p);
/* The server said that it is starting up, or in recovery and not yet consistent. */
bool pg_probe_starting(const struct pg_probe *p);

#endif
