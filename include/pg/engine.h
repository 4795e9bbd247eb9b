/* Drives every object of this area from one loop source.
 *
 * Connections are dispatched before the machines that wait for them, so that a result is acted upon
 * in the turn in which it arrived. The engine outlives every object made on it. */
#ifndef PGHAD_PG_ENGINE_H
#define PGHAD_PG_ENGINE_H

#include "loop/loop.h"

struct pg_engine;

struct pg_engine *pg_engine_new(struct loop *l); /* l is borrowed; the caller adds the source */
void pg_engine_free(struct pg_engine *g);
struct loop_source pg_engine_source(struct pg_engine *g);
struct loop *pg_engine_loop(struct pg_engine *g);

/* For the objects of this area. */
enum pg_driver_kind { PG_DRIVER_CONN, PG_DRIVER_MACHINE };

struct pg_driver {
    enum pg_driver_kind kind;
    void *ctx;
    void (*prepare)(void *ctx, struct loop *l);
    void (*dispatch)(void *ctx, struct loop *l);
    struct pg_driver *next;
};

/* The driver is embedded in its object; pg_engine_remove unlinks it at once and is safe at any
 * time. */
void pg_engine_add(struct pg_engine *g, struct pg_driver *d);
void pg_engine_remove(struct pg_engine *g, struct pg_driver *d);

#endif
